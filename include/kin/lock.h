/* Locks between threads and processes. Python: multiprocessing.Lock, RLock.

   A lock is owned by the thread that acquired it. If that thread ends while it owns the lock, or
   its process ends or is killed, the lock goes to the next one, who is told so by KIN_OWNER_DIED:
   what the lock protects may be half changed. An operation that nobody contends makes no system
   call. Locks are fair: who sleeps for one gets it in its turn, and no owner keeps it by coming
   back again and again for more than about a millisecond. */
#ifndef KIN_LOCK_H
#define KIN_LOCK_H

#include <kin/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A lock; a recursive one. Zero is none. */
typedef struct kin_lock {
    uint64_t id;
} kin_lock;

typedef struct kin_rlock {
    uint64_t id;
} kin_rlock;

/* How a lock of any kind is made. Zero means the default. */
typedef struct kin_lock_options {
    const char *name; /* for those who look at it; at most 31 bytes; NULL: none */
    uint64_t reserved[7];
} kin_lock_options;

/* Makes a lock that is open. It lasts until it is destroyed or the family ends. Errors:
   KIN_E_INVALID, KIN_E_INIT, KIN_E_NOMEM, KIN_E_LIMIT (too many locks and the like),
   KIN_E_THREAD_LIMIT. Does not block. Python: Lock(). */
KIN_API int kin_lock_create(kin_lock *lock, const kin_lock_options *options);

/* Waits for the lock and takes it. 0; or KIN_OWNER_DIED: taken, but the owner before ended without
   releasing it. Errors: KIN_E_HANDLE, KIN_E_INIT, KIN_E_TIMEOUT; KIN_E_DEADLOCK if this thread owns
   it already, or if to wait would close a cycle and such are looked for; KIN_E_DESTROYED if it is
   destroyed meanwhile; KIN_E_THREAD_LIMIT in a thread that uses kin for the first time. Python:
   acquire. */
KIN_API int kin_lock_acquire(kin_lock lock, int timeout_ms);

/* Releases it, and lets the next one in. Errors: KIN_E_NOT_OWNER if the calling thread does not own
   it, KIN_E_HANDLE, KIN_E_INIT. Does not block. Python: release, except that there any thread may
   release a Lock. */
KIN_API int kin_lock_release(kin_lock lock);

/* Ends a lock, owned or not. Those who wait for it get KIN_E_DESTROYED, whoever uses it later
   KIN_E_HANDLE. Errors: KIN_E_HANDLE, KIN_E_INIT. Does not block. */
KIN_API int kin_lock_destroy(kin_lock lock);

/* Makes a lock that its owner may acquire again, and then releases as often. As kin_lock_create.
   Python: RLock(). */
KIN_API int kin_rlock_create(kin_rlock *lock, const kin_lock_options *options);

/* As kin_lock_acquire, but an owner acquires it once more: KIN_E_LIMIT if it has done so 4294967295
   times. Whoever gets it after its owner's death has acquired it once. Python: acquire. */
KIN_API int kin_rlock_acquire(kin_rlock lock, int timeout_ms);

/* As kin_lock_release; with the last release of its owner the next one is let in. Python:
   release. */
KIN_API int kin_rlock_release(kin_rlock lock);

/* As kin_lock_destroy. */
KIN_API int kin_rlock_destroy(kin_rlock lock);

#ifdef __cplusplus
}
#endif

#endif
