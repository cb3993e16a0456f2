/* How a queue is made.

   It is three entries of the table of syncs, which nobody has to keep from being freed. KIN_QUEUE
   is what the handle means: it rarely changes, so all processors can keep it. KIN_QUEUE_PUT is for
   those who put: its state is a latch, beside it stands where the next item goes. KIN_QUEUE_GET is
   for those who get: its head says which item is next, a latch keeps others off when more than one
   word has to change. The lines of KIN_QUEUE are where getters (line), putters (head) and joiners
   (drain) sleep.

   The items of an ordinary queue lie in a ring (ring.h). Those of one with another order, or whose
   items have to be done, are messages in order on a shelf (shelf.h), under the latch of those who
   put; it has no KIN_QUEUE_GET.

   Nobody waits for anything, or runs a recovery, while it owns one of these latches; who wants both
   takes the second only if that is free. So a recovery may wait for any of them. */
#ifndef KIN_CORE_QUEUE_H
#define KIN_CORE_QUEUE_H

#include "core/latch.h"
#include "core/message.h"

#include <kin/queue.h>

/* In the state of KIN_QUEUE. Only CLOSED ever changes, with the latch of those who put. */
#define QUEUE_CLOSED (UINT64_C(1) << 16)
#define QUEUE_SHELF (UINT64_C(1) << 17)
#define QUEUE_JOINABLE (UINT64_C(1) << 18)
#define QUEUE_REDELIVER (UINT64_C(1) << 19)
#define QUEUE_PRIORITY (UINT64_C(1) << 20)
#define QUEUE_LIFO (UINT64_C(1) << 21)
#define QUEUE_BYTES (UINT64_C(1) << 22) /* there is a bound of bytes */

enum { QUEUE_MOST_ITEMS = 0x7fffffff };

/* No statuses of the interface: what a try gives when it is not over. */
enum {
    QUEUE_NOTHING = 100, /* no item is there */
    QUEUE_FULL,          /* no room is there */
    QUEUE_GROW,          /* it needs a new ring, of so many slots as `grow` says */
    QUEUE_LATCH,         /* it cannot be done without the latch */
    QUEUE_SPARE          /* it needs a message of so many bytes as `spare_size` says */
};

/* Where of KIN_QUEUE what stands. */
static inline uint64_t queue_put_id(sync *d)
{
    return (uint64_t) atomic_load_explicit(&d->since, memory_order_acquire);
}

static inline uint64_t queue_get_id(sync *d)
{
    return atomic_load_explicit(&d->site, memory_order_acquire);
}

static inline uint32_t queue_capacity(sync *d)
{
    return atomic_load_explicit(&d->options, memory_order_relaxed);
}

static inline uint64_t queue_most_bytes(sync *d)
{
    return atomic_load_explicit(&d->extra, memory_order_relaxed);
}

static inline uint32_t queue_most_deliveries(sync *d)
{
    return atomic_load_explicit(&d->depth, memory_order_relaxed);
}

static inline uint64_t queue_dead_letters(sync *d)
{
    return atomic_load_explicit(&d->related, memory_order_relaxed);
}

/* A queue in use by a call. */
typedef struct queue_user {
    sync *d;
    sync *p;
    sync *c; /* NULL: it has a shelf */
    uint64_t id;
    uint64_t p_id;
    uint64_t c_id;
    uint64_t state; /* as it was when it was entered; CLOSED may have changed */
    thread_self *t;
    int timeout_ms; /* of the call; a latch is waited for somewhat longer than that */
    bool waited;    /* or may have: a queue that is gone has been destroyed meanwhile */
} queue_user;

/* KIN_E_HANDLE, KIN_E_INIT, KIN_E_THREAD_LIMIT. */
int queue_enter(queue_user *u, uint64_t id, int timeout_ms);

/* What is said of one that has ceased to be. */
static inline int queue_gone(const queue_user *u)
{
    return u->waited ? KIN_E_DESTROYED : KIN_E_HANDLE;
}

/* Is it there, and what does its state say? */
static inline bool queue_is_there(const queue_user *u, uint64_t *state)
{
    *state = atomic_load(&u->d->state);
    return (*state & SYNC_MASK) == sync_base(u->id) && atomic_load(&u->d->id) == u->id;
}

/* Gives back a latch that the thread owns. Whoever then looks for sleepers has stored before what
   those look at. */
static inline void queue_give(sync *s, uint64_t id, thread_self *t)
{
    uint64_t owned = sync_base(id) | t->token;
    if (!atomic_compare_exchange_strong(&s->state, &owned, sync_base(id))) {
        (void) latch_release(s, id, t, 0); /* somebody waits for it, or it is no more */
    }
}

/* The latch of those who put: whoever has it finds the queue whole, and it stays. KIN_E_TIMEOUT; as
   queue_gone. */
int queue_lock(queue_user *u);
void queue_unlock(queue_user *u);

/* Both latches. */
int queue_lock_all(queue_user *u);
void queue_unlock_all(queue_user *u);

/* An item that is put: bytes, or a message, which then is the queue's. */
typedef struct queue_item {
    const void *data;
    size_t size;
    message *message;
    uint64_t message_id;
    uint64_t holder; /* of the message */
    int64_t priority;
    bool over;     /* whatever the bounds */
    bool force;    /* even if it is closed */
    bool is_back;  /* it has a place on the shelf already: home_priority, home_order */
    uint32_t grow; /* so large a ring is asked for: the logarithm of its slots */
    uint32_t stride;
    object *spare; /* one that is not used yet, or NULL */
    uint32_t spare_log;
} queue_item;

/* Puts an item, with the latch. 0, QUEUE_FULL, QUEUE_GROW, KIN_E_CLOSED, KIN_E_LIMIT. */
int queue_put_locked(queue_user *u, queue_item *item);

/* The same with all that it takes, but no waiting for room. */
int queue_put_once(queue_user *u, queue_item *item);

/* The same as long as it takes. KIN_E_TIMEOUT. */
int queue_put_item(queue_user *u, queue_item *item);

/* What is wanted of an item. */
enum queue_wish { QUEUE_COPY, QUEUE_LOOK, QUEUE_TAKE };

typedef struct queue_request {
    enum queue_wish wish;
    void *buffer;
    size_t capacity;
    size_t size;    /* of the item */
    bool has_spun;  /* it is not worth spinning any more */
    message *taken; /* of TAKE; of COPY if it is to be copied from there */
    message *spare; /* for an item that is to be taken and lies in the ring; or NULL */
    size_t spare_size;
    uint64_t spare_id;
    message *looked_at; /* of LOOK: a message that is to be copied, kept meanwhile */
    uint64_t looked;    /* what will have changed if it has been taken meanwhile */
    object_guard guard;
} queue_request;

/* After items have been put, and after some have been taken. */
static inline void queue_tell_getters(sync *d, uint32_t count)
{
    line_tell(&d->line, count);
}

static inline void queue_tell_putters(sync *d, uint32_t count)
{
    line_tell(&d->head, count);
}

static inline void queue_tell_joiners(sync *d)
{
    line_tell(&d->drain, LINE_ALL);
}

/* One try to get an item: 0, QUEUE_NOTHING, KIN_E_TOO_SMALL, KIN_E_CLOSED, KIN_E_NOMEM, or as
   queue_gone. */
int queue_get_once(queue_user *u, queue_request *r);

/* The same as long as it takes. */
int queue_get_item(queue_user *u, queue_request *r);

/* How many items this thread has got since it has put one: what comes in a stream is worth waiting
   for a moment longer, until there is more of it. */
extern _Thread_local PLATFORM_FAST_TLS unsigned queue_gets;

/* A wait for one of a queue's lines: what is tried, and how. */
typedef struct queue_wait {
    queue_user *u;
    wait_line *line;
    int (*attempt)(queue_user *u, void *context);
    bool (*is_worth_it)(queue_user *u, void *context); /* a look without a latch; NULL: none */
    void *context;
    int nothing;   /* what the attempt gives when it is to be made again */
    bool slowly;   /* not to be looked for all the time */
    bool has_spun; /* nor at all before sleeping */
} queue_wait;

/* Attempts until there is something, or the time of the call is over. KIN_E_TIMEOUT; what the
   attempt gives. */
int queue_wait_for(queue_wait *w);

/* Until when a latch is waited for. */
int64_t queue_patience(const queue_user *u);

/* Members that have taken something from its shelf, or that have the ends of the pipe that it
   belongs to: looks whether they are there. */
void queue_look_at_holders(queue_user *u);

/* A queue that belongs to a connection, which stands in `related`. Its id is stored to *noted,
   where the recovery of the connection finds it, before it outlives its maker. */
int queue_create_for(_Atomic uint64_t *noted, uint64_t connection, const kin_queue_options *how);

/* As kin_queue_close does, but what the system has said before stays to be told. */
int queue_close(uint64_t id);

/* What looks whether those are there who have the ends of a connection's pipe. */
void queue_set_look(void (*look)(uint64_t connection));

/* queue_recover.c: what becomes of the messages of the dead. */
void queue_recover_set_up(void);

/* What is to be done, with the latch, about one that stands on a shelf, when its holder has died or
   gives it back. False if it stands there no more: it is to be settled. */
bool queue_settle_on_shelf(queue_user *u, message *m);

/* Brings a message that lies nowhere to its home, or frees it. */
int queue_settle(message *m, uint64_t id, uint64_t holder);

void queue_set_up(void);

#endif
