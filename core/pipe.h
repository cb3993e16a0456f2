/* How a pipe is made.

   Each end is an entry of the table of syncs, which rarely changes, so that all processors can keep
   it: in which way it sends (site), from which it receives (extra), which the other end is
   (related). Its state says whom it belongs to. Each direction is a queue (queue.h), or a stream
   (stream_ring.h), and belongs to the end that receives from it. When an end is closed, the way
   from which it receives is destroyed, so that nothing more can be sent there; the way in which it
   sends is closed, so that the other end has what was sent, and then is told. Neither needs to know
   of the other's fate, and all of it can be repeated: who closes an end destroys its entry, which
   the recovery of one who was killed at it finishes.

   The end of one who is gone is closed by whoever sees that: every recovery looks at all ends,
   waiters look at the end of each slice at those of their pipe, and who gives an end looks whether
   the new owner is there. First its owner is replaced by nobody, by one compare-and-swap: so an end
   that has been given away in the last moment stays open. */
#ifndef KIN_CORE_PIPE_H
#define KIN_CORE_PIPE_H

#include "core/queue.h"
#include "core/stream_ring.h"

#include <kin/pipe.h>

/* An end in use by a call. */
typedef struct pipe_end {
    sync *e;
    uint64_t id;
    uint64_t way; /* in which it sends, or from which it receives; 0: it cannot */
} pipe_end;

static inline bool pipe_is_there(sync *e, uint64_t id)
{
    return (atomic_load_explicit(&e->state, memory_order_acquire) & SYNC_MASK) == sync_base(id) &&
           atomic_load_explicit(&e->id, memory_order_acquire) == id;
}

/* False if it is not there. */
static inline bool pipe_find(pipe_end *p, uint64_t id, bool sends)
{
    p->e = sync_find(id, KIND_CONNECTION);
    p->id = id;
    if (p->e == NULL) {
        return false;
    }
    p->way = atomic_load_explicit(sends ? &p->e->site : &p->e->extra, memory_order_acquire);
    return pipe_is_there(p->e, id);
}

static inline bool pipe_is_stream(const pipe_end *p)
{
    return object_kind_of(p->way) == KIND_STREAM;
}

/* Has the other end ceased to be? */
bool pipe_is_alone(const pipe_end *p);

/* At the normal end of this process: closes the ends that belong to it, which others then need not
   find out. */
void pipe_end_all(void);

/* Looks whether those are there who have the ends of a pipe; if not, they are closed. */
void pipe_look(uint64_t id);

/* The same for one who does not wait; not again and again. True if it has looked. */
bool pipe_look_at_times(uint64_t id);

/* pipe_stream.c: what the calls do with a stream. */
int pipe_stream_send(const pipe_end *p, const void *data, size_t size, size_t *done,
                     int timeout_ms);

/* At least `least` bytes, at most `size`. Of 0 and 0: until there is something to receive. */
int pipe_stream_receive(const pipe_end *p, void *buffer, size_t least, size_t size, size_t *done,
                        int timeout_ms);

void pipe_set_up(void);

#endif
