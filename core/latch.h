/* The latch: a word that one thread at a time owns, in the state of a sync. What locks, read-write
   locks and conditions have in common.

   The owner's token stands in the word, so one compare-and-swap takes it and another gives it back,
   and anybody can see whether the owner is still there. When it is not, whoever notices (a
   recovery, the end of the owner's thread, a waiter at the end of its slice) opens the latch with
   LATCH_DIED, which the next owner is told.

   Who has to wait spins, unless others sleep already, then sleeps in `line`. Who releases a latch
   with LATCH_CONTENDED clears it and wakes the first of the line, but leaves the latch open to
   whoever comes first: an owner that comes back at once need not wait for one who is still waking
   up. The one that was woken in vain keeps its place: it sleeps in `head`, where it is woken before
   the line. When the latch has not come to a sleeper for LATCH_TURN_NS, it sets LATCH_FAIR: then
   the latch is handed over at its release, open only for those who have slept. So each sleeper has
   its turn, in order, and throughput is that of a latch without order.

   If the one that was woken is killed, no one is woken in its place: the others look for themselves
   at the end of a slice. */
#ifndef KIN_CORE_LATCH_H
#define KIN_CORE_LATCH_H

#include "core/sync.h"

#define LATCH_CONTENDED (UINT64_C(1) << 16) /* somebody sleeps, and nobody has been woken since */
#define LATCH_DIED (UINT64_C(1) << 17)      /* open; the owner before died */
#define LATCH_FAIR (UINT64_C(1) << 18)      /* to be handed over; if open: handed over */
#define LATCH_HEAD (UINT64_C(1) << 19)      /* with CONTENDED: somebody sleeps in `head` */

/* The bit of LATCH_DIED while somebody owns it: no harm is done if that one dies. And what then is
   to stand in `extra`, where that is the id without it, see rwlock.c. */
#define LATCH_PASSING LATCH_DIED
#define LATCH_READERS (UINT64_C(1) << 63)

#define LATCH_TURN_NS INT64_C(1000000)

static inline uint64_t latch_owner(uint64_t state)
{
    return state >> TOKEN_SHIFT << TOKEN_SHIFT;
}

/* Takes a latch that is open and that nobody waits for, or does nothing. */
static inline bool latch_take(sync *s, uint64_t base, uint64_t token)
{
    uint64_t open = base;
    return atomic_compare_exchange_strong_explicit(&s->state, &open, base | token,
                                                   memory_order_acquire, memory_order_relaxed);
}

/* Gives back one that is owned and that nobody waits for, or does nothing. */
static inline bool latch_give(sync *s, uint64_t base, uint64_t token)
{
    uint64_t owned = base | token;
    return atomic_compare_exchange_strong_explicit(&s->state, &owned, base, memory_order_release,
                                                   memory_order_relaxed);
}

/* How it is taken: a wait that closes a cycle ends with KIN_E_DEADLOCK, if such are looked for;
   with LATCH_PASSING, unless the owner before died. */
enum { LATCH_DETECT = 1, LATCH_PASS = 2 };

/* Takes it, waiting if need be. 0; KIN_OWNER_DIED; KIN_E_TIMEOUT; KIN_E_DEADLOCK if the thread owns
   it already; KIN_E_HANDLE if the sync is not there, KIN_E_DESTROYED if it ceased to be meanwhile.
   */
int latch_wait(sync *s, uint64_t id, thread_self *t, int64_t deadline_ns, unsigned how);

static inline int latch_acquire(sync *s, uint64_t id, thread_self *t, int64_t deadline_ns)
{
    return latch_wait(s, id, t, deadline_ns, 0);
}

/* The same at once or not at all: KIN_E_TIMEOUT. */
int latch_try_as(sync *s, uint64_t id, thread_self *t, unsigned how);

static inline int latch_try(sync *s, uint64_t id, thread_self *t)
{
    return latch_try_as(s, id, t, 0);
}

/* Gives it back, whoever waits. `leave` is 0 or LATCH_DIED, which is left for the next owner.
   KIN_E_NOT_OWNER; KIN_E_HANDLE. */
int latch_release(sync *s, uint64_t id, thread_self *t, uint64_t leave);

/* Whoever has notified another thread while it owns a latch wakes it when it has given the latch
   back: before that the other could not go on. If it is killed before, the other wakes by itself at
   the end of its slice. To be called after each latch_give; latch_release does it. */
void latch_wake(thread_self *t, uint32_t number);
void latch_wake_owed(thread_self *t);

static inline void latch_given(thread_self *t)
{
    if (t->owes != 0) {
        latch_wake_owed(t);
    }
}

/* Opens it if its owner is gone. Needs no record for the thread. */
void latch_look(sync *s, uint64_t id);

/* Who has acquired it, for those who look: where in its code. */
static inline void latch_note_site(sync *s, const void *address)
{
    atomic_store_explicit(&s->site, (uint64_t) (uintptr_t) address, memory_order_relaxed);
}

#endif
