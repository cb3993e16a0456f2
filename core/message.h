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

typedef struct message {
    object object;
    _Atomic uint64_t holder;   /* the member that has it; 0: the queue */
    _Atomic uint64_t queue;    /* that it is in, is being put into or taken from; 0: none */
    _Atomic uint64_t position; /* there, if that is a ring; else 0, and */
    _Atomic uint64_t door;     /* the KIN_QUEUE_PUT of its shelf */
    _Atomic uint64_t home;     /* the queue to which it goes if it is in none */
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

static inline bool message_is_held(message *m, uint64_t holder)
{
    return atomic_load(&m->holder) == holder;
}

/* It lies in `queue`, if `holder` has it still: whoever has taken it from there meanwhile keeps
   it. */
static inline void message_leave_to(message *m, uint64_t holder)
{
    (void) atomic_compare_exchange_strong(&m->holder, &holder, 0);
}

#endif
