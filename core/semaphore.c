/* Semaphores: what nobody contends, and those whose permits are owned; semaphore.h has the
   argument, and semaphore_wait.c the rest. */
#include "core/semaphore.h"
#include "core/error.h"
#include "core/wait_many.h"

#include <kin/semaphore.h>

static const kin_semaphore_options defaults;

static bool is_good(const kin_semaphore_options *how, uint32_t value, uint32_t bound)
{
    if (how->owned && (value == 0 || value > KIN_SEMAPHORE_OWNED_LIMIT)) {
        return false;
    }
    return !(how->empty && how->value > 0) && bound <= KIN_SEMAPHORE_LIMIT && value <= bound;
}

static int create(uint64_t *made, const kin_semaphore_options *how)
{
    uint32_t value = how->value > 0 ? how->value : how->empty ? 0 : 1;
    uint32_t bound = how->bound > 0 ? how->bound : KIN_SEMAPHORE_LIMIT;
    if (!is_good(how, value, bound)) {
        return KIN_E_INVALID;
    }
    sync *s = NULL;
    int status = sync_create(&s, KIND_SEMAPHORE, how->name);
    if (status < 0) {
        return status;
    }
    uint64_t id = atomic_load(&s->id);
    uint64_t own = value * SEMAPHORE_ONE;
    if (how->owned) {
        uint64_t part = 0;
        status = permits_create(&part, id, value);
        if (status < 0) {
            sync_drop(s);
            return status;
        }
        atomic_store(&s->part, part);
        own = SEMAPHORE_OWNED;
    }
    atomic_store(&s->options, bound);
    atomic_store(&s->state, sync_base(id) | own);
    *made = id;
    sync_publish(s);
    return 0;
}

int kin_semaphore_create(kin_semaphore *semaphore, const kin_semaphore_options *options)
{
    error_clear();
    return semaphore != NULL ? create(&semaphore->id, options != NULL ? options : &defaults)
                             : KIN_E_INVALID;
}

int kin_semaphore_destroy(kin_semaphore semaphore)
{
    error_clear();
    return sync_destroy(semaphore.id, KIND_SEMAPHORE);
}

/* ---- not the usual way: what is owned, waited for, or used for the first time ---- */

/* A semaphore in use by a call. */
typedef struct user {
    sync *s;
    uint64_t id;
    thread_self *t;
    uint64_t state;
    permits *p; /* NULL if it is not owned */
    object_guard guard;
} user;

static int enter(user *u, uint64_t id)
{
    int status = 0;
    *u = (user){.s = sync_find(id, KIND_SEMAPHORE), .id = id};
    if (u->s == NULL) {
        return sync_missing();
    }
    u->t = thread_current(&status);
    if (u->t == NULL) {
        return status;
    }
    u->state = atomic_load(&u->s->state);
    if ((u->state & SYNC_MASK) != sync_base(id)) {
        return KIN_E_HANDLE;
    }
    if ((u->state & SEMAPHORE_OWNED) != 0) {
        status = object_enter(&u->guard, atomic_load(&u->s->part), KIND_PART);
        if (status == 0 && atomic_load(&u->guard.object->owner) != id) {
            object_leave(&u->guard); /* it has been destroyed, and another has the entry */
            status = KIN_E_HANDLE;
        }
        u->p = status == 0 ? (permits *) u->guard.object : NULL;
    }
    return status;
}

static void leave(user *u)
{
    if (u->p != NULL) {
        object_leave(&u->guard);
    }
}

static KIN_COLD int acquire_slowly(uint64_t id, int timeout_ms)
{
    user u;
    error_clear();
    int status = enter(&u, id);
    if (status == 0) {
        status = semaphore_acquire(u.s, id, u.p, u.t, timeout_ms);
        leave(&u);
    }
    return status;
}

static int give(sync *s, uint64_t id, uint64_t *before, uint32_t count)
{
    uint64_t state = atomic_load(&s->state);
    do {
        if ((state & SYNC_MASK) != sync_base(id)) {
            return KIN_E_HANDLE;
        }
        uint32_t bound = atomic_load_explicit(&s->options, memory_order_relaxed);
        if (count > bound || semaphore_count(state) > bound - count) {
            return KIN_E_LIMIT;
        }
    } while (!atomic_compare_exchange_weak(&s->state, &state, state + count * SEMAPHORE_ONE));
    *before = state;
    return 0;
}

static KIN_COLD int release_slowly(uint64_t id, uint32_t count)
{
    user u;
    error_clear();
    if (count == 0) {
        return KIN_E_INVALID;
    }
    int status = enter(&u, id);
    if (status < 0) {
        return status;
    }
    if ((u.state & SEMAPHORE_FAIR) != 0) {
        atomic_store_explicit(&u.s->since, platform_clock_ns(), memory_order_relaxed);
    }
    if (u.p != NULL) {
        status = permits_give(u.p, count) ? 0 : KIN_E_NOT_OWNER;
    } else {
        status = give(u.s, id, &u.state, count);
    }
    if (status == 0) {
        semaphore_tell(u.s, u.state, count);
    }
    leave(&u);
    return status;
}

static int value_of(user *u, uint32_t enough)
{
    return (int) (u->p != NULL ? permits_free(u->p, enough) : semaphore_count(u->state));
}

/* ---- the interface ---- */

static inline sync *find_quickly(uint64_t id)
{
    return thread_known() != NULL ? sync_find(id, KIND_SEMAPHORE) : NULL;
}

int kin_semaphore_acquire(kin_semaphore semaphore, int timeout_ms)
{
    sync *s = find_quickly(semaphore.id);
    if (s != NULL) {
        uint64_t state = atomic_load_explicit(&s->state, memory_order_relaxed);
        if ((state & (SYNC_MASK | SEMAPHORE_FAIR)) == sync_base(semaphore.id) &&
            semaphore_count(state) > 0 &&
            atomic_compare_exchange_strong(&s->state, &state, state - SEMAPHORE_ONE)) {
            error_clear();
            return 0;
        }
    }
    return acquire_slowly(semaphore.id, timeout_ms);
}

int kin_semaphore_release(kin_semaphore semaphore, uint32_t count)
{
    sync *s = find_quickly(semaphore.id);
    if (s != NULL && count > 0) {
        uint64_t state = atomic_load_explicit(&s->state, memory_order_relaxed);
        uint32_t bound = atomic_load_explicit(&s->options, memory_order_relaxed);
        uint64_t usual = SYNC_MASK | SEMAPHORE_FAIR | SEMAPHORE_OWNED;
        if ((state & usual) == sync_base(semaphore.id) && count <= bound &&
            semaphore_count(state) <= bound - count &&
            atomic_compare_exchange_strong(&s->state, &state, state + count * SEMAPHORE_ONE)) {
            error_clear();
            if ((atomic_load(&s->line.flags) | atomic_load(&s->head.flags)) != 0) {
                semaphore_tell(s, state, count);
            }
            return 0;
        }
    }
    return release_slowly(semaphore.id, count);
}

int kin_semaphore_value(kin_semaphore semaphore)
{
    user u;
    error_clear();
    int status = enter(&u, semaphore.id);
    if (status == 0) {
        status = value_of(&u, KIN_SEMAPHORE_LIMIT);
        leave(&u);
    }
    return status;
}

/* ---- among other things ---- */

static int look_among(uint64_t id, void *watch, bool well)
{
    user u;
    (void) watch;
    int status = enter(&u, id);
    if (status == 0) {
        status = value_of(&u, 1) > 0;
        if (status == 0 && u.p != NULL && well) {
            permits_look_at_holders(u.p);
            status = value_of(&u, 1) > 0;
        }
        leave(&u);
    }
    return status;
}

static wait_line *line_of(uint64_t id)
{
    sync *s = sync_find(id, KIND_SEMAPHORE);
    return s != NULL ? &s->line : NULL;
}

void semaphore_set_up(void)
{
    static const wait_kind how = {.look = look_among, .gone = KIN_E_DESTROYED, .line = line_of};
    wait_register(KIND_SEMAPHORE, &how);
    semaphore_wait_set_up();
}
