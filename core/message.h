/* Messages: items that lie in blocks of their own, which change hands without a copy.

   A message belongs to the member that holds it, or to a queue. Which of the two a kill has left it
   to says not the message but the queue: there one store puts it in or takes it out (see queue.h).
   So the recovery of a holder looks into the queue that the message names. What lies nowhere goes
   `home`, if it has one, or is freed. `owner` of its object is the queue that it lies in, so that
   what a destroyed queue has left is freed like any part. */
#ifndef KIN_CORE_MESSAGE_H
#define KIN_CORE_MESSAGE_H

#include "core/object.h"

enum { MESSAGE_LEVELS = 8 };

/* On a shelf it waits, or somebody has taken it (as a message, or as a copy), or is done with it.
   Elsewhere: on its way home, where it was taken; or on its way to the dead letters. */
enum message_state {
    MESSAGE_WAITS,
    MESSAGE_TAKEN,
    MESSAGE_COPIED,
    MESSAGE_DONE,
    MESSAGE_MOVES,
    MESSAGE_DEAD
};

/* In `home`: it goes back to its place there, as one that is delivered again. */
#define MESSAGE_BACK (UINT64_C(1) << 63)

typedef struct message {
    object object;
    _Atomic uint64_t holder;   /* the member that has it, or puts it; 0: the queue */
    _Atomic uint64_t queue;    /* that it is in, is being put into or taken from; 0: none */
    _Atomic uint64_t position; /* there, if that is a ring */
    _Atomic uint64_t door;     /* if it is a shelf, its KIN_QUEUE_PUT, else 0 */
    _Atomic uint64_t home;     /* the queue to which it goes if it is in none, see MESSAGE_BACK */
    uint64_t size;             /* bytes of the item, and that there is room for */
    uint64_t room;

    /* On a shelf, see shelf.c. */
    _Atomic uint32_t state;
    _Atomic uint32_t deliveries;
    int64_t priority;
    uint64_t order;
    int64_t home_priority;
    uint64_t home_order;
    _Atomic uint64_t taken; /* counts those that are taken, in their order */
    _Atomic uint64_t links[MESSAGE_LEVELS];

    _Alignas(64) unsigned char bytes[];
} message;

/* Makes a message of `size` bytes, not initialized, that this member holds. KIN_E_NOMEM. */
int message_create(message **created, uint64_t *id, uint64_t size);

static inline message *message_of(const object_guard *guard)
{
    return (message *) guard->object;
}

static inline uint64_t message_id(message *m)
{
    return atomic_load(&m->object.id);
}

/* With this the holder has given it to the queue, if that has it: from then on whoever takes it is
   the holder, and the one before must not touch it any more. No reference has the bit. */
#define MESSAGE_GIVEN (UINT64_C(1) << 31)

static inline bool message_is_held(message *m, uint64_t holder)
{
    return atomic_load(&m->holder) == holder;
}

/* Is it up to the recovery of that member what becomes of it? */
static inline bool message_was_held(message *m, uint64_t holder)
{
    return (atomic_load(&m->holder) & ~MESSAGE_GIVEN) == holder;
}

/* It is the queue's in which it lies. With the latch that who takes it from there must have. */
static inline void message_leave(message *m)
{
    atomic_store(&m->holder, 0);
}

#endif
