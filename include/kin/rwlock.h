/* Read-write locks: any number of readers at a time, or one writer. Python has none.

   A reader that no writer is in the way of touches nothing that it shares with other readers. A
   writer keeps new readers out while it waits for the present ones; readers and writers that
   have to wait get the lock in their turns, as with kin_lock, so that neither starve. What a
   dead thread or process has locked to read is open again; what it has locked to write goes to
   the next one with KIN_OWNER_DIED, and readers are told so too, until a writer has had it: what
   the lock protects may be half changed. */
#ifndef KIN_RWLOCK_H
#define KIN_RWLOCK_H

#include <kin/lock.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A read-write lock. Zero is none. */
typedef struct kin_rwlock {
    uint64_t id;
} kin_rwlock;

/* Makes one that is open. It lasts until it is destroyed or the family ends. Errors as of
   kin_lock_create. Does not block. */
KIN_API int kin_rwlock_create(kin_rwlock *lock, const kin_lock_options *options);

/* Waits until nobody has it to write, and locks it to read; the same thread may do so several
   times, also while a writer waits. 0; or KIN_OWNER_DIED: locked, but the last writer ended
   without releasing it. Errors: KIN_E_HANDLE, KIN_E_INIT, KIN_E_TIMEOUT; KIN_E_DEADLOCK if this
   thread has it to write, or if to wait would close a cycle and such are looked for; KIN_E_LIMIT
   if this thread has 16 read locks; KIN_E_DESTROYED if it is destroyed meanwhile;
   KIN_E_THREAD_LIMIT in a thread that uses kin for the first time. */
KIN_API int kin_rwlock_read(kin_rwlock lock, int timeout_ms);

/* Waits until nobody else has it, and locks it to write. 0; or KIN_OWNER_DIED: locked, but the last
   writer ended without releasing it. Errors as of kin_rwlock_read, but not KIN_E_LIMIT;
   KIN_E_DEADLOCK also if this thread has it to read. */
KIN_API int kin_rwlock_write(kin_rwlock lock, int timeout_ms);

/* Releases what this thread has: the lock to write, or to read once. Errors: KIN_E_NOT_OWNER,
   KIN_E_HANDLE, KIN_E_INIT. Does not block. */
KIN_API int kin_rwlock_release(kin_rwlock lock);

/* Ends it, locked or not. Those who wait for it get KIN_E_DESTROYED, whoever uses it later
   KIN_E_HANDLE. Errors: KIN_E_HANDLE, KIN_E_INIT. Does not block. */
KIN_API int kin_rwlock_destroy(kin_rwlock lock);

#ifdef __cplusplus
}
#endif

#endif
