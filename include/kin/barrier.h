/* Barriers: so many parties wait until all of them are there. Python: multiprocessing.Barrier.

   When the last one has come all go on, and the barrier is ready for the next time. If a party
   gives up, or dies while it waits, the barrier is broken: the others get KIN_E_BROKEN at once,
   within a second if somebody was killed, and so does whoever comes later, until it is reset. */
#ifndef KIN_BARRIER_H
#define KIN_BARRIER_H

#include <kin/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A barrier. Zero is none. */
typedef struct kin_barrier {
    uint64_t id;
} kin_barrier;

/* What runs each time when all parties are there, in the last one that has come, before any of them
   goes on. It may change the argument, which is one for all who run it. Negative: it has failed.
   It may use kin, but not wait at a barrier. */
typedef int (*kin_barrier_action)(void *argument, size_t size);

enum { KIN_BARRIER_MOST_PARTIES = 32767 };

/* How a barrier is made. Zero means the default. */
typedef struct kin_barrier_options {
    const char *name;          /* for those who look at it; at most 31 bytes; NULL: none */
    kin_barrier_action action; /* NULL: none; to be found in every process that waits, as a function
                                  to be started is */
    const void *argument;      /* for the action; copied */
    size_t argument_size;      /* bytes of it */
    int timeout_ms;            /* what KIN_FOREVER means to kin_barrier_wait; 0: for ever */
    int reserved_number;       /* must be 0 */
    uint64_t reserved[4];
} kin_barrier_options;

/* Makes a barrier for 1 to KIN_BARRIER_MOST_PARTIES parties. It lasts until it is destroyed or the
   family ends. Errors: KIN_E_INVALID, KIN_E_FUNCTION (the action), KIN_E_INIT, KIN_E_NOMEM,
   KIN_E_LIMIT, KIN_E_THREAD_LIMIT. Does not block. Python: Barrier(parties, action, timeout). */
KIN_API int kin_barrier_create(kin_barrier *barrier, uint32_t parties,
                               const kin_barrier_options *options);

/* Waits until as many have come as there are parties. *index, if not NULL, says how many had come
   before this one: each of them gets another number. Any threads may be the parties; one that comes
   while the action runs waits for the next time.
   0: all were there. KIN_E_BROKEN: the barrier is broken, or was broken, aborted or reset while
   this call waited. KIN_E_TIMEOUT: the time is over, and that breaks the barrier for the others
   (unless this one was still waiting for an action to end). What the action returned, if it failed,
   in the one that ran it, or KIN_E_FUNCTION if it is not there: that breaks the barrier as well, as
   does the death of a party that waits or runs the action.
   KIN_E_DESTROYED: destroyed meanwhile. KIN_E_HANDLE; KIN_E_INIT; KIN_E_STATE in an action. If the
   system cannot let the thread sleep it says so, as KIN_E_SYSTEM, and that breaks it too.
   A timeout of 0 is for one who expects to be the last. KIN_FOREVER means the barrier's own
   timeout, if it has one. Python: wait. */
KIN_API int kin_barrier_wait(kin_barrier barrier, uint32_t *index, int timeout_ms);

/* Makes the barrier as new, broken or not. Those who wait get KIN_E_BROKEN. Errors: KIN_E_HANDLE,
   KIN_E_INIT. Does not block. Python: reset. */
KIN_API int kin_barrier_reset(kin_barrier barrier);

/* Breaks the barrier: those who wait get KIN_E_BROKEN, and whoever comes until it is reset. Errors:
   KIN_E_HANDLE, KIN_E_INIT. Does not block. Python: abort. */
KIN_API int kin_barrier_abort(kin_barrier barrier);

/* How many parties it is for. Negative: KIN_E_HANDLE, KIN_E_INIT. Python: parties. */
KIN_API int kin_barrier_parties(kin_barrier barrier);

/* How many wait at this moment; 0 if it is broken. Negative: KIN_E_HANDLE, KIN_E_INIT. Python:
   n_waiting. */
KIN_API int kin_barrier_n_waiting(kin_barrier barrier);

/* 1 if it is broken, else 0. Negative: KIN_E_HANDLE, KIN_E_INIT. Python: broken. */
KIN_API int kin_barrier_is_broken(kin_barrier barrier);

/* Ends a barrier. Those who wait get KIN_E_DESTROYED, whoever uses it later KIN_E_HANDLE. Errors:
   KIN_E_HANDLE, KIN_E_INIT. Does not block. */
KIN_API int kin_barrier_destroy(kin_barrier barrier);

#ifdef __cplusplus
}
#endif

#endif
