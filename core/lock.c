/* Locks and recursive locks: a latch and little else. What nobody contends is done here with one
   compare-and-swap; the rest in latch.c. */
#include "core/lock.h"

#include "core/deadlock.h"

#include <kin/lock.h>

static int create(uint64_t *id, enum object_kind kind, const kin_lock_options *options)
{
    sync *s = NULL;
    int status = sync_create(&s, kind, options != NULL ? options->name : NULL);
    if (status == 0) {
        *id = atomic_load(&s->id);
        sync_publish(s);
    }
    return status;
}

int kin_lock_create(kin_lock *lock, const kin_lock_options *options)
{
    error_clear();
    return lock != NULL ? create(&lock->id, KIND_LOCK, options) : KIN_E_INVALID;
}

int kin_rlock_create(kin_rlock *lock, const kin_lock_options *options)
{
    error_clear();
    return lock != NULL ? create(&lock->id, KIND_RLOCK, options) : KIN_E_INVALID;
}

int kin_lock_destroy(kin_lock lock)
{
    error_clear();
    return sync_destroy(lock.id, KIND_LOCK);
}

int kin_rlock_destroy(kin_rlock lock)
{
    error_clear();
    return sync_destroy(lock.id, KIND_RLOCK);
}

/* The ways that are not the usual one are kept out of it. */
KIN_COLD int lock_acquire_slowly(uint64_t id, enum object_kind kind, int timeout_ms,
                                 const void *site)
{
    error_clear();
    int status = 0;
    sync *s = sync_find(id, kind);
    if (s == NULL) {
        return sync_missing();
    }
    thread_self *t = thread_current(&status);
    if (t == NULL) {
        return status;
    }
    status = timeout_ms == 0 ? latch_try(s, id, t)
                             : latch_wait(s, id, t, wait_deadline(timeout_ms), LATCH_DETECT);
    if (status >= 0) {
        t->held++;
        atomic_store_explicit(&s->depth, 1, memory_order_relaxed);
        latch_note_site(s, site);
    } else if (status == KIN_E_DEADLOCK) {
        deadlock_tell();
    }
    return status;
}

KIN_COLD int lock_release_slowly(uint64_t id, enum object_kind kind)
{
    error_clear();
    int status = 0;
    sync *s = sync_find(id, kind);
    if (s == NULL) {
        return sync_missing();
    }
    thread_self *t = thread_current(&status);
    if (t == NULL) {
        return status;
    }
    status = latch_release(s, id, t, 0);
    if (status == 0) {
        t->held--;
    }
    return status;
}

int kin_lock_acquire(kin_lock lock, int timeout_ms)
{
    sync *s = sync_find(lock.id, KIND_LOCK);
    thread_self *t = thread_known();
    if (s == NULL || t == NULL || !latch_take(s, sync_base(lock.id), t->token)) {
        return lock_acquire_slowly(lock.id, KIND_LOCK, timeout_ms, __builtin_return_address(0));
    }
    error_clear();
    t->held++;
    latch_note_site(s, __builtin_return_address(0));
    return 0;
}

int kin_lock_release(kin_lock lock)
{
    sync *s = sync_find(lock.id, KIND_LOCK);
    thread_self *t = thread_known();
    if (s == NULL || t == NULL || !latch_give(s, sync_base(lock.id), t->token)) {
        return lock_release_slowly(lock.id, KIND_LOCK);
    }
    error_clear();
    t->held--;
    latch_given(t);
    return 0;
}

int kin_rlock_acquire(kin_rlock lock, int timeout_ms)
{
    return lock_acquire_again(lock.id, KIND_RLOCK, timeout_ms, __builtin_return_address(0));
}

int kin_rlock_release(kin_rlock lock)
{
    return lock_release_again(lock.id, KIND_RLOCK);
}

void lock_set_up(void)
{
    sync_register(KIND_LOCK, latch_look);
    sync_register(KIND_RLOCK, latch_look);
}
