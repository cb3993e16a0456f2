/* What recursive locks have in common with other things that have a lock of their own. */
#ifndef KIN_CORE_LOCK_H
#define KIN_CORE_LOCK_H

#include "core/error.h"
#include "core/latch.h"

/* The ways that are not the usual one, for a sync of any kind whose state is a latch. Errors as of
   kin_lock_acquire and kin_lock_release. */
int lock_acquire_slowly(uint64_t id, enum object_kind kind, int timeout_ms, const void *site);
int lock_release_slowly(uint64_t id, enum object_kind kind);

/* True if the calling thread owns it: then it stays so. */
static inline bool lock_is_mine(sync *s, uint64_t id, const thread_self *t)
{
    uint64_t state = atomic_load_explicit(&s->state, memory_order_relaxed);
    return (state & SYNC_MASK) == sync_base(id) && latch_owner(state) == t->token;
}

/* Acquires one recursively, and releases it; `depth` is how often its owner has acquired it. */
static inline int lock_acquire_again(uint64_t id, enum object_kind kind, int timeout_ms,
                                     const void *site)
{
    sync *s = sync_find(id, kind);
    thread_self *t = thread_known();
    if (s != NULL && t != NULL) {
        if (latch_take(s, sync_base(id), t->token)) {
            error_clear();
            t->held++;
            atomic_store_explicit(&s->depth, 1, memory_order_relaxed);
            latch_note_site(s, site);
            return 0;
        }
        if (lock_is_mine(s, id, t)) {
            error_clear();
            uint32_t depth = atomic_load_explicit(&s->depth, memory_order_relaxed);
            if (depth == UINT32_MAX) {
                return KIN_E_LIMIT;
            }
            atomic_store_explicit(&s->depth, depth + 1, memory_order_relaxed);
            return 0;
        }
    }
    return lock_acquire_slowly(id, kind, timeout_ms, site);
}

static inline int lock_release_again(uint64_t id, enum object_kind kind)
{
    sync *s = sync_find(id, kind);
    thread_self *t = thread_known();
    if (s != NULL && t != NULL) {
        uint32_t depth = atomic_load_explicit(&s->depth, memory_order_relaxed);
        if (depth > 1 && lock_is_mine(s, id, t)) {
            error_clear();
            atomic_store_explicit(&s->depth, depth - 1, memory_order_relaxed);
            return 0;
        }
        if (latch_give(s, sync_base(id), t->token)) {
            error_clear();
            t->held--;
            latch_given(t);
            return 0;
        }
    }
    return lock_release_slowly(id, kind);
}

#endif
