/* Conditions: waiting, with a lock, for what others say by notifying. Python:
   multiprocessing.Condition.

   A condition has a lock: one of the user's, which several conditions may share, or a recursive one
   of its own. Who waits gives the lock up, sleeps until it is notified, and has the lock again when
   the call returns. Those who have waited longest are notified first, and nobody who comes later
   takes a notification from them. None is given to somebody who is gone: if a waiter is killed
   after it was notified, before it has returned, the next one is notified in its place. */
#ifndef KIN_CONDITION_H
#define KIN_CONDITION_H

#include <kin/lock.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A condition. Zero is none. */
typedef struct kin_condition {
    uint64_t id;
} kin_condition;

/* How a condition is made. Zero means the default. */
typedef struct kin_condition_options {
    const char *name; /* for those who look at it; at most 31 bytes; NULL: none */
    kin_lock lock;    /* the lock to use; it has to outlast the condition */
    kin_rlock rlock;  /* or a recursive one; neither: one of the condition's own, a recursive one */
    uint64_t reserved[5];
} kin_condition_options;

/* Makes a condition. It lasts until it is destroyed or the family ends. Errors: KIN_E_INVALID (also
   for two locks), KIN_E_HANDLE (the lock), KIN_E_INIT, KIN_E_NOMEM, KIN_E_LIMIT,
   KIN_E_THREAD_LIMIT. Does not block. Python: Condition(lock). */
KIN_API int kin_condition_create(kin_condition *condition, const kin_condition_options *options);

/* Waits for the condition's lock and takes it, as kin_lock_acquire or kin_rlock_acquire does, with
   what they return; KIN_E_HANDLE also if the lock has been destroyed. Python: acquire. */
KIN_API int kin_condition_acquire(kin_condition condition, int timeout_ms);

/* Releases it, once. Errors: KIN_E_NOT_OWNER, KIN_E_HANDLE, KIN_E_INIT. Does not block. Python:
   release. */
KIN_API int kin_condition_release(kin_condition condition);

/* Releases the lock, however often the calling thread has acquired it, waits until notified or
   until the time is over, and then waits for the lock, however long that takes, and has it again as
   often. `timeout_ms` is for being notified alone: 0 gives others the lock for a moment. Nobody is
   woken without a reason, but what the notification was about may have changed before this call has
   the lock again.
   0: notified. KIN_E_TIMEOUT: not notified; the lock is held.
   KIN_OWNER_DIED: the lock is held, and its owner before ended without releasing it: what it
   protects may be half changed. That is told also to one that nobody has notified (the dead one may
   have been about to), and instead of any other result.
   KIN_E_DESTROYED: the condition or its lock was destroyed meanwhile; the lock is held if it is
   still there, which the condition's own is not.
   Without having waited, and with nothing changed: KIN_E_NOT_OWNER if the calling thread does not
   own the lock; KIN_E_HANDLE; KIN_E_INIT. If the system cannot let the thread sleep it says so, as
   KIN_E_SYSTEM; the lock is held. Python: wait. */
KIN_API int kin_condition_wait(kin_condition condition, int timeout_ms);

/* Waits, as kin_condition_wait does, until predicate(context) is true; it is called with the lock
   held, first before any waiting and last when the time is over. 0: it is true. KIN_E_TIMEOUT: it
   is false. All else is as kin_condition_wait says: after KIN_OWNER_DIED the predicate has not been
   asked. KIN_E_INVALID without a predicate. Python: wait_for. */
KIN_API int kin_condition_wait_for(kin_condition condition, bool (*predicate)(void *context),
                                   void *context, int timeout_ms);

/* Notifies up to `count` of those who wait now, those first that have waited longest. If nobody
   waits nothing happens, and nothing is kept for later. Errors: KIN_E_NOT_OWNER if the calling
   thread does not own the lock, KIN_E_HANDLE, KIN_E_INIT. Does not block. Python: notify. */
KIN_API int kin_condition_notify(kin_condition condition, uint32_t count);

/* The same for all who wait now. Python: notify_all. */
KIN_API int kin_condition_notify_all(kin_condition condition);

/* Ends a condition, and its lock if that is its own. Those who wait get KIN_E_DESTROYED, whoever
   uses it later KIN_E_HANDLE. Errors: KIN_E_HANDLE, KIN_E_INIT. Does not block. */
KIN_API int kin_condition_destroy(kin_condition condition);

#ifdef __cplusplus
}
#endif

#endif
