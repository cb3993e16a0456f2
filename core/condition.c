/* Conditions. Who waits for one is written in the records of the threads that wait, and nowhere
   else: `condition` is its id, `ticket` the order in which they came, and `phase` what becomes of
   this wait. A phase is never the same in two waits of a record, so a swap of it fails unless
   ticket and condition are those that were read with it.

   WAITING (it spins, or is ASLEEP at the record's bell) goes to NOTIFIED by one who notifies, or to
   IDLE by the waiter, whose time is over; one of the two succeeds. Until the thread has the lock
   again its record says NOTIFIED. If it dies before that, its recovery notifies the next one; so a
   notification is lost at no instruction, and none goes to a record that nobody uses.

   All waiters are among the records whose numbers the state of the condition gives, as a range: it
   grows with each who comes, and is empty again when one who notifies has found nobody left. Only
   who owns the lock changes it, so it is never too small; the dead leave it too large. */
#include "core/condition.h"

#include "core/error.h"
#include "core/latch.h"

#include <kin/condition.h>

enum { IDLE, WAITING, ASLEEP, NOTIFIED, PHASE_STEP };

enum { OWN_LOCK = 1 }; /* in a condition's options */

/* So many are chosen in one look at the records. */
enum { CHOICE = 16 };

/* How long to wait before trying again what the system has refused. */
enum { PAUSE_NS = 1000000 };

/* The range in a state: 20 bits each, of which the higher number is 0 if it is empty. */
#define LOW_SHIFT SYNC_BITS
#define HIGH_SHIFT (SYNC_BITS + 20)
#define NUMBER_MASK UINT64_C(0xfffff)

/* What an operation has to do with. */
typedef struct used {
    sync *c;
    uint64_t id;
    sync *lock;
    uint64_t lock_id;
    thread_self *t;
    uint64_t site; /* of the user's call */
    bool owns;     /* the lock goes with the condition */
} used;

static inline uint32_t lowest(uint64_t state)
{
    return (uint32_t) (state >> LOW_SHIFT & NUMBER_MASK);
}

static inline uint32_t highest(uint64_t state)
{
    return (uint32_t) (state >> HIGH_SHIFT & NUMBER_MASK);
}

static inline uint64_t with_number(uint64_t state, uint32_t number)
{
    uint64_t low = lowest(state);
    uint64_t high = highest(state);
    low = high == 0 || number < low ? number : low;
    high = number > high ? number : high;
    return (state & SYNC_MASK) | low << LOW_SHIFT | high << HIGH_SHIFT;
}

static inline bool is_waiting(uint32_t phase)
{
    return (phase & PHASE_MASK) == WAITING || (phase & PHASE_MASK) == ASLEEP;
}

static inline uint32_t with_state(uint32_t phase, uint32_t state)
{
    return (phase & ~(uint32_t) PHASE_MASK) | state;
}

static inline bool is_there(sync *c, uint64_t id)
{
    return (atomic_load(&c->state) & SYNC_MASK) == sync_base(id);
}

/* ---- notifying ---- */

typedef struct chosen {
    uint64_t ticket;
    uint32_t number;
    uint32_t phase;
} chosen;

typedef struct choice {
    chosen those[CHOICE]; /* in the order in which they came */
    uint32_t count;
    uint32_t most;
    uint32_t seen; /* all who wait, chosen or not */
} choice;

static void consider(choice *made, chosen one)
{
    made->seen++;
    if (made->count == made->most) {
        if (made->those[made->count - 1].ticket < one.ticket) {
            return;
        }
        made->count--;
    }
    uint32_t i = made->count++;
    for (; i > 0 && made->those[i - 1].ticket > one.ticket; i--) {
        made->those[i] = made->those[i - 1];
    }
    made->those[i] = one;
}

/* Those who wait for the condition, the first `most` of them. */
static void choose(choice *made, uint64_t id, uint64_t state)
{
    made->count = 0;
    made->seen = 0;
    for (uint32_t number = lowest(state); number <= highest(state); number++) {
        thread_record *record = thread_at(number);
        if (record == NULL) {
            return; /* the state of another condition, or none */
        }
        uint32_t phase = atomic_load(&record->phase);
        if (is_waiting(phase) && atomic_load(&record->condition) == id &&
            atomic_load(&record->owner) != 0) {
            consider(made, (chosen){atomic_load(&record->ticket), number, phase});
        }
    }
}

/* False if it does not wait any more, or has just fallen asleep. `t` owns the lock, or is NULL. */
static bool notify_one(const chosen *one, thread_self *t)
{
    thread_record *record = thread_at(one->number);
    uint32_t phase = one->phase;
    if (!atomic_compare_exchange_strong(&record->phase, &phase, with_state(phase, NOTIFIED))) {
        return false;
    }
    if ((phase & PHASE_MASK) == ASLEEP && t != NULL) {
        latch_wake(t, one->number);
    } else if ((phase & PHASE_MASK) == ASLEEP) {
        (void) line_wake(&record->bell, 1);
    }
    return true;
}

/* Notifies up to `count`. True if nobody is left who waits, as far as can be told. */
static bool notify_some(sync *c, uint64_t id, uint32_t count, thread_self *t)
{
    choice made;
    do {
        made.most = count < CHOICE ? count : CHOICE;
        uint64_t state = atomic_load(&c->state);
        if ((state & SYNC_MASK) != sync_base(id) || highest(state) == 0) {
            return false;
        }
        choose(&made, id, state);
        for (uint32_t i = 0; i < made.count; i++) {
            if (notify_one(&made.those[i], t)) {
                made.seen--;
                count--;
            }
        }
    } while (made.seen > 0 && count > 0);
    return made.seen == 0;
}

/* ---- what every operation begins with ---- */

/* False, with *status set, if that cannot be done. */
static bool find(used *u, kin_condition condition, void *site, int *status)
{
    *u = (used){.id = condition.id, .site = (uint64_t) (uintptr_t) site, .t = thread_known()};
    u->c = sync_find(condition.id, KIND_CONDITION);
    if (u->c == NULL) {
        *status = sync_missing();
        return false;
    }
    if (u->t == NULL && (u->t = thread_current(status)) == NULL) {
        return false;
    }
    u->lock_id = atomic_load(&u->c->related);
    u->owns = atomic_load(&u->c->options) == OWN_LOCK;
    /* If it is not there, what was read is another's. */
    u->lock = is_there(u->c, u->id) ? sync_find(u->lock_id, object_kind_of(u->lock_id)) : NULL;
    *status = u->lock != NULL ? 0 : KIN_E_HANDLE;
    return u->lock != NULL;
}

/* The same, for one who has to own the lock. */
static bool find_owned(used *u, kin_condition condition, void *site, int *status)
{
    if (!find(u, condition, site, status)) {
        return false;
    }
    uint64_t state = atomic_load(&u->lock->state);
    if ((state & SYNC_MASK) != sync_base(u->lock_id)) {
        *status = KIN_E_HANDLE;
    } else if (latch_owner(state) != u->t->token) {
        *status = KIN_E_NOT_OWNER;
    }
    return *status == 0;
}

/* ---- the lock, for one who waits ---- */

static void give_lock(const used *u)
{
    if (latch_give(u->lock, sync_base(u->lock_id), u->t->token)) {
        latch_given(u->t);
    } else {
        (void) latch_release(u->lock, u->lock_id, u->t, 0); /* KIN_E_HANDLE is noticed later */
    }
    u->t->held--;
}

static void note_lock(const used *u, uint32_t depth)
{
    u->t->held++;
    atomic_store_explicit(&u->lock->depth, depth, memory_order_relaxed);
    atomic_store_explicit(&u->lock->site, u->site, memory_order_relaxed);
}

/* 0, KIN_OWNER_DIED, KIN_E_DESTROYED. A cycle does not end it: the thread is to have the lock. */
static int take_lock(const used *u)
{
    if (latch_take(u->lock, sync_base(u->lock_id), u->t->token)) {
        return 0;
    }
    for (;;) {
        int status = latch_acquire(u->lock, u->lock_id, u->t, INT64_MAX);
        if (status >= 0 || status == KIN_E_DESTROYED) {
            return status;
        }
        if (status == KIN_E_HANDLE) {
            return KIN_E_DESTROYED;
        }
        platform_sleep_ns(PAUSE_NS); /* the system refuses: it is to return with the lock */
    }
}

/* ---- waiting ---- */

/* From here on others find that this thread waits. */
static int enter(const used *u, uint32_t *phase)
{
    thread_record *record = u->t->record;
    uint64_t state = atomic_load(&u->c->state);
    uint64_t wider;
    do {
        if ((state & SYNC_MASK) != sync_base(u->id)) {
            return KIN_E_HANDLE;
        }
        wider = with_number(state, u->t->number);
    } while (state != wider && !atomic_compare_exchange_weak(&u->c->state, &state, wider));
    /* If the condition has just ended, it is a moment of something else: a nanosecond later. */
    uint64_t ticket = (uint64_t) atomic_fetch_add(&u->c->since, 1);
    *phase = with_state(atomic_load(&record->phase) + PHASE_STEP, WAITING);
    atomic_store_explicit(&record->ticket, ticket, memory_order_relaxed);
    atomic_store_explicit(&record->condition, u->id, memory_order_relaxed);
    /* Pairs with the end of the condition: it ends and looks who waits; we wait, then look whether
       it is there. */
    atomic_store(&record->phase, *phase);
    return 0;
}

/* It has the lock again, or never will: whatever it was notified of is in its hands. */
static void leave(const used *u)
{
    thread_record *record = u->t->record;
    atomic_store(&record->phase, with_state(atomic_load(&record->phase), IDLE));
    atomic_store_explicit(&record->condition, 0, memory_order_relaxed);
}

/* Ends the wait unless it has been notified. */
static bool give_up(const used *u)
{
    _Atomic uint32_t *phase = &u->t->record->phase;
    uint32_t now = atomic_load(phase);
    return is_waiting(now) && atomic_compare_exchange_strong(phase, &now, with_state(now, IDLE));
}

/* Has somebody died who was notified? The recovery notifies another, who may be dead as well. */
static void look_after_notified(sync *c, uint64_t id)
{
    bool again;
    do {
        again = false;
        uint64_t state = atomic_load(&c->state);
        for (uint32_t number = lowest(state); number <= highest(state); number++) {
            thread_record *record = thread_at(number);
            uint64_t owner = record != NULL ? atomic_load(&record->owner) : 0;
            uint32_t phase = owner != 0 ? atomic_load(&record->phase) : IDLE;
            if ((phase & PHASE_MASK) == NOTIFIED && owner != member_self() &&
                atomic_load(&record->condition) == id && death_check(owner)) {
                again = again || atomic_load(&record->phase) != phase;
            }
        }
    } while (again);
}

/* Has the lock's owner died? It may have been about to notify; so one of those who wait is to have
   the lock, which is then held: KIN_OWNER_DIED. Else 0, or KIN_E_DESTROYED. */
static int look_after_lock(const used *u)
{
    uint64_t process;
    uint64_t state = atomic_load(&u->lock->state);
    uint64_t owner = latch_owner(state);
    if ((state & SYNC_MASK) != sync_base(u->lock_id)) {
        return KIN_E_DESTROYED;
    }
    if (owner != 0 && (!thread_is_there(owner, &process) || death_check(process))) {
        latch_look(u->lock, u->lock_id);
        state = atomic_load(&u->lock->state);
    }
    if (latch_owner(state) != 0 || (state & LATCH_DIED) == 0) {
        return 0;
    }
    int status = latch_try(u->lock, u->lock_id, u->t);
    if (status == 0) {
        (void) latch_release(u->lock, u->lock_id, u->t, 0); /* another was told */
    }
    return status == KIN_OWNER_DIED ? status : 0;
}

static bool spin(const used *u, uint32_t phase)
{
    wait_spin around = wait_spin_begin(SPIN_CHANGE);
    bool changed = false;
    do {
        changed = atomic_load_explicit(&u->t->record->phase, memory_order_acquire) != phase;
    } while (!changed && wait_spin_once(&around));
    if (around.done > 0) {
        wait_spin_end(&around, changed);
    }
    return changed;
}

/* Until it is notified: 0; KIN_OWNER_DIED: then it has the lock; KIN_E_TIMEOUT, KIN_E_DESTROYED, or
   why it cannot sleep. */
static int sleep(const used *u, uint32_t phase, int64_t deadline)
{
    thread_record *record = u->t->record;
    int status = 0;
    while (status == 0) {
        uint32_t seen = line_read(&record->bell);
        if (atomic_load(&record->phase) != phase) {
            return 0;
        }
        if (!is_there(u->c, u->id)) {
            return KIN_E_DESTROYED;
        }
        status = line_sleep(&record->bell, seen, deadline);
        if (status == KIN_E_TIMEOUT) {
            sync_look_at_keeper(u->c);
            sync_look_at_keeper(u->lock);
            look_after_notified(u->c, u->id);
            status = look_after_lock(u);
            if (status == 0 && deadline != INT64_MAX && platform_clock_ns() >= deadline) {
                status = KIN_E_TIMEOUT;
            }
        }
    }
    return status;
}

static int sleep_until_notified(const used *u, uint32_t phase, int64_t deadline)
{
    thread_record *record = u->t->record;
    if (spin(u, phase)) {
        return 0;
    }
    int status = 0;
    wait_note before = wait_begin(u->t, u->id, deadline, false);
    uint32_t asleep = with_state(phase, ASLEEP);
    if (atomic_compare_exchange_strong(&record->phase, &phase, asleep)) {
        status = sleep(u, asleep, deadline);
    }
    wait_end(u->t, &before);
    return status;
}

/* For one who owns the lock. */
static int wait_until(const used *u, int64_t deadline)
{
    uint32_t depth = atomic_load_explicit(&u->lock->depth, memory_order_relaxed);
    uint32_t phase;
    int status = enter(u, &phase);
    if (status < 0) {
        return status;
    }
    give_lock(u);
    status = sleep_until_notified(u, phase, deadline);
    if (status != 0 && !give_up(u) && status < 0) {
        status = 0; /* notified at the same moment */
    }
    if (status == KIN_E_DESTROYED && u->owns) {
        leave(u);
        return status; /* the lock may be there for a moment, and is nobody's any more */
    }
    int locked = status == KIN_OWNER_DIED ? status : take_lock(u);
    leave(u);
    if (locked >= 0) {
        note_lock(u, depth);
    }
    return locked != 0 ? locked : status;
}

int kin_condition_wait(kin_condition condition, int timeout_ms)
{
    error_clear();
    used u;
    int status = 0;
    if (!find_owned(&u, condition, __builtin_return_address(0), &status)) {
        return status;
    }
    return wait_until(&u, wait_deadline(timeout_ms));
}

int kin_condition_wait_for(kin_condition condition, bool (*predicate)(void *context), void *context,
                           int timeout_ms)
{
    error_clear();
    used u;
    if (predicate == NULL) {
        return KIN_E_INVALID;
    }
    int status = 0;
    int64_t deadline = wait_deadline(timeout_ms);
    if (!find_owned(&u, condition, __builtin_return_address(0), &status)) {
        return status;
    }
    while (status == 0 && !predicate(context)) {
        status = wait_until(&u, deadline);
    }
    return status == KIN_E_TIMEOUT && predicate(context) ? 0 : status;
}

/* ---- notifying, as the user does ---- */

static int notify(kin_condition condition, uint32_t count, void *site)
{
    error_clear();
    used u;
    int status = 0;
    if (!find_owned(&u, condition, site, &status)) {
        return status;
    }
    uint64_t state = atomic_load(&u.c->state);
    if (count > 0 && highest(state) != 0 && notify_some(u.c, u.id, count, u.t)) {
        /* Nobody can have come meanwhile without the lock. If it is not the same condition any
           more, nothing is changed. */
        (void) atomic_compare_exchange_strong(&u.c->state, &state, sync_base(u.id));
    }
    return 0;
}

int kin_condition_notify(kin_condition condition, uint32_t count)
{
    return notify(condition, count, __builtin_return_address(0));
}

int kin_condition_notify_all(kin_condition condition)
{
    return notify(condition, UINT32_MAX, __builtin_return_address(0));
}

/* ---- the lock, as the user sees it ---- */

int kin_condition_acquire(kin_condition condition, int timeout_ms)
{
    used u;
    error_clear();
    int status = 0;
    if (!find(&u, condition, __builtin_return_address(0), &status)) {
        return status;
    }
    status = object_kind_of(u.lock_id) == KIND_LOCK
                 ? kin_lock_acquire((kin_lock){u.lock_id}, timeout_ms)
                 : kin_rlock_acquire((kin_rlock){u.lock_id}, timeout_ms);
    if (status >= 0) {
        atomic_store_explicit(&u.lock->site, u.site, memory_order_relaxed);
    }
    return status;
}

int kin_condition_release(kin_condition condition)
{
    used u;
    error_clear();
    int status = 0;
    if (!find(&u, condition, NULL, &status)) {
        return status;
    }
    return object_kind_of(u.lock_id) == KIND_LOCK ? kin_lock_release((kin_lock){u.lock_id})
                                                  : kin_rlock_release((kin_rlock){u.lock_id});
}

/* ---- making and ending ---- */

/* Until both are known they are their maker's. The lock is so first: the condition ends it. */
static int make_lock(sync *c, const char *name)
{
    sync *lock = NULL;
    int status = sync_create(&lock, KIND_RLOCK, name);
    if (status == 0) {
        atomic_store(&lock->related, atomic_load(&c->id));
        atomic_store(&c->related, atomic_load(&lock->id));
        atomic_store(&c->options, OWN_LOCK);
        sync_publish(lock);
    }
    return status;
}

int kin_condition_create(kin_condition *condition, const kin_condition_options *options)
{
    static const kin_condition_options defaults;
    error_clear();
    options = options != NULL ? options : &defaults;
    uint64_t lock = options->lock.id != 0 ? options->lock.id : options->rlock.id;
    if (condition == NULL || (options->lock.id != 0 && options->rlock.id != 0)) {
        return KIN_E_INVALID;
    }
    if (lock != 0 && sync_find(lock, options->lock.id != 0 ? KIND_LOCK : KIND_RLOCK) == NULL) {
        return sync_missing();
    }
    sync *c = NULL;
    int status = sync_create(&c, KIND_CONDITION, options->name);
    if (status < 0) {
        return status;
    }
    atomic_store(&c->related, lock);
    status = lock == 0 ? make_lock(c, options->name) : 0;
    if (status < 0) {
        sync_drop(c);
        return status;
    }
    condition->id = atomic_load(&c->id);
    sync_publish(c);
    return 0;
}

int kin_condition_destroy(kin_condition condition)
{
    error_clear();
    return sync_destroy(condition.id, KIND_CONDITION);
}

/* Those who wait are to find that it has ended; its own lock ends with it. May be repeated. */
static void ended(sync *c, uint64_t id)
{
    for (uint32_t number = thread_next(0); number != 0; number = thread_next(number)) {
        thread_record *record = thread_at(number);
        if (atomic_load(&record->condition) == id) {
            (void) line_wake(&record->bell, 1);
        }
    }
    if (atomic_load(&c->options) == OWN_LOCK) {
        (void) sync_destroy(atomic_load(&c->related), KIND_RLOCK); /* it may be gone already */
    }
}

/* A thread has died in it. What it was notified of is given to the next before its record says no
   more of it: killed in between, another notifies once too often rather than not at all. */
static void died(sync *c, uint64_t id, thread_record *record)
{
    uint32_t phase = atomic_load(&record->phase);
    while (is_waiting(phase)) {
        if (atomic_compare_exchange_weak(&record->phase, &phase, with_state(phase, IDLE))) {
            return;
        }
    }
    if ((phase & PHASE_MASK) == NOTIFIED) {
        (void) notify_some(c, id, 1, NULL);
        (void) atomic_compare_exchange_strong(&record->phase, &phase, with_state(phase, IDLE));
    }
}

void condition_set_up(void)
{
    sync_register_end(KIND_CONDITION, ended);
    sync_register_death(KIND_CONDITION, died);
}
