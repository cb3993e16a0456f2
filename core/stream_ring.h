/* Streams: one direction of a pipe that has bytes without bounds.

   It is two entries of the table of syncs, one for those who receive and one for those who send,
   and a ring of bytes. The state of each is a latch, which is held while bytes are copied to or
   from the ring; `extra` says how many have been received, or sent, since the stream began. Each of
   the two moves on by one store after the bytes have been copied: so what a killed sender had not
   counted has not been sent, and what a killed receiver had not counted is still there. Nobody has
   to repair anything. (Items of a queue would need a place for how much of the first one has been
   received, which only a second store could keep.)

   What each side needs to know it finds in its own entry: id of the other (site), place of the ring
   (depth), bytes of it (options), and the connection that receives and owns all of it (related).
   Whoever has a latch, and has read the other side's counter, looks whether that connection is
   there, and one who sends whether its own is. If so it goes on. Who ends the stream does so after
   the connection has ceased to be, and has each latch once: then nobody is at work with the ring
   any more, nor begins. In the same way a receiver knows that it has all, when the connection that
   sends has ceased to be. Only one latch is held at a time. */
#ifndef KIN_CORE_STREAM_RING_H
#define KIN_CORE_STREAM_RING_H

#include "core/latch.h"

enum { STREAM_NOTHING = 100 }; /* no status of the interface: there are no bytes, or no room */

/* One side of a stream in use by a call. */
typedef struct stream_side {
    sync *mine;
    sync *other; /* its entry, whatever that is by now */
    sync *owner; /* the connection that receives */
    sync *end;   /* the caller's own connection */
    uint64_t id;
    uint64_t owner_id;
    uint64_t end_id;
    int timeout_ms; /* a latch is waited for as long, or a moment if that is longer */
    thread_self *t;
} stream_side;

/* Makes one whose receiving side belongs to the connection `owner`. Stores the id of that side to
   *receives, where the recovery of the connection finds it, before it outlives its maker.
   KIN_E_NOMEM, KIN_E_LIMIT. */
int stream_create(_Atomic uint64_t *receives, _Atomic uint64_t *sends, uint64_t owner,
                  uint32_t capacity);

/* Ends it. May be repeated. */
void stream_destroy(uint64_t receives);

/* Wakes all who wait for bytes of it, or for room: there will be no more. */
void stream_tell_end(uint64_t sends);

/* For a call on the connection `end`. KIN_E_CLOSED if it has been ended. */
int stream_enter(stream_side *s, uint64_t id, sync *end, uint64_t end_id);

/* Where those sleep who wait for the other side to go on. */
static inline wait_line *stream_line(const stream_side *s)
{
    return &s->mine->drain;
}

/* Bytes that are there to be received; bytes that there is room for. A guess, without the latch. */
uint64_t stream_filled(const stream_side *s);
uint64_t stream_room(const stream_side *s);

/* Moves as many bytes as can be at once, at most `size`; *done says how many, not 0 if the result
   is 0 and `size` is not. STREAM_NOTHING; KIN_E_CLOSED if it has been ended, or the connection that
   is to send has ceased to be; KIN_E_TIMEOUT if the latch was not to be had. */
int stream_receive(stream_side *s, void *buffer, size_t size, size_t *done);
int stream_send(stream_side *s, const void *data, size_t size, size_t *done);

/* For a receiver who has seen that the connection that sends has ceased to be: waits for whoever is
   still at work there. Afterwards there is all that is ever sent. KIN_E_TIMEOUT. */
int stream_await_senders(stream_side *s);

void stream_set_up(void);

#endif
