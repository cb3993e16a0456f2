/* Read-write locks. The state is a latch, which writers own.

   A reader writes the id to a free slot of its thread's record, then looks whether somebody owns
   the latch: if not, it has the lock. A writer takes the latch, then looks who has the id in a
   slot, and waits until nobody has. One of the two sees the other. A reader that sees an owner
   takes its slot back, gets the latch in its turn, writes its slot and gives the latch back. One
   that has the lock already gets it again whoever waits: the writer that waits waits for it anyway.

   To look at all threads is what a writer is spared if no reader has come since the last one did:
   `extra` is the id, with LATCH_READERS once somebody may have it to read. A reader writes its
   slot, then sees to that bit, then looks for an owner. A writer, as the owner, clears the bit,
   then looks at the slots. So a reader that has seen the bit set and gets in has been seen by the
   writer that cleared it; and one that comes later sets it again. A writer that gives up sets the
   bit again; if it dies while it waits for readers, it has LATCH_PASSING, and whoever opens the
   latch sets it.

   While a thread holds the latch to pass only, or waits for readers, its death does no harm, and
   the next one is not told. */
#include "core/deadlock.h"
#include "core/error.h"
#include "core/latch.h"

#include <kin/rwlock.h>

int kin_rwlock_create(kin_rwlock *lock, const kin_lock_options *options)
{
    error_clear();
    if (lock == NULL) {
        return KIN_E_INVALID;
    }
    sync *s = NULL;
    int status = sync_create(&s, KIND_RWLOCK, options != NULL ? options->name : NULL);
    if (status == 0) {
        lock->id = atomic_load(&s->id);
        atomic_store(&s->extra, lock->id);
        sync_publish(s);
    }
    return status;
}

int kin_rwlock_destroy(kin_rwlock lock)
{
    error_clear();
    return sync_destroy(lock.id, KIND_RWLOCK);
}

/* ---- slots ---- */

/* A slot of this thread's that has `id`, or NULL. Only the thread itself writes them. */
static inline _Atomic uint64_t *slot_with(const thread_self *t, uint64_t id)
{
    for (int i = 0; i < READS; i++) {
        _Atomic uint64_t *slot = &t->record->reads[i];
        if (atomic_load_explicit(slot, memory_order_relaxed) == id) {
            return slot;
        }
    }
    return NULL;
}

/* One for a lock that has been destroyed while this thread had it is free again. */
static KIN_COLD _Atomic uint64_t *reclaim_slot(thread_self *t)
{
    for (int i = 0; i < READS; i++) {
        _Atomic uint64_t *slot = &t->record->reads[i];
        if (sync_find(atomic_load(slot), KIND_RWLOCK) == NULL) {
            atomic_store(slot, 0);
            t->held--;
            return slot;
        }
    }
    return NULL;
}

static inline void note_reader(sync *s, uint64_t id)
{
    if (atomic_load(&s->extra) == id) {
        uint64_t none = id;
        (void) atomic_compare_exchange_strong(&s->extra, &none, id | LATCH_READERS);
    }
}

/* Empties a slot, and tells a writer that may wait for that. */
static inline void empty(sync *s, _Atomic uint64_t *slot)
{
    atomic_store(slot, 0);
    if (latch_owner(atomic_load(&s->state)) != 0) {
        line_tell(&s->drain, 1);
    }
}

/* ---- readers ---- */

/* Gets the latch and gives it back, with the slot written in between. `leave`: that the last writer
   died is for the next writer to know as well. */
static int pass(sync *s, uint64_t id, thread_self *t, _Atomic uint64_t *slot, int timeout_ms)
{
    int status = KIN_E_TIMEOUT;
    if (timeout_ms != 0) {
        status = latch_wait(s, id, t, wait_deadline(timeout_ms), LATCH_PASS | LATCH_DETECT);
    } else {
        /* Another reader that passes is about to be gone. */
        wait_spin around = wait_spin_begin(SPIN_LOCK);
        do {
            status = latch_try_as(s, id, t, LATCH_PASS);
        } while (status == KIN_E_TIMEOUT && (atomic_load(&s->state) & LATCH_PASSING) != 0 &&
                 wait_spin_once(&around));
    }
    if (status >= 0) {
        atomic_store(slot, id);
        note_reader(s, id);
        int released = latch_release(s, id, t, status == KIN_OWNER_DIED ? LATCH_DIED : 0);
        if (released < 0) {
            atomic_store(slot, 0);
            status = KIN_E_DESTROYED;
        }
    }
    return status;
}

static KIN_COLD int read_slowly(uint64_t id, int timeout_ms)
{
    error_clear();
    int status = 0;
    sync *s = sync_find(id, KIND_RWLOCK);
    if (s == NULL) {
        return sync_missing();
    }
    thread_self *t = thread_current(&status);
    if (t == NULL) {
        return status;
    }
    _Atomic uint64_t *slot = slot_with(t, 0);
    slot = slot != NULL ? slot : reclaim_slot(t);
    if (slot == NULL) {
        return KIN_E_LIMIT;
    }
    if (slot_with(t, id) != NULL) {
        atomic_store(slot, id);
    } else {
        status = pass(s, id, t, slot, timeout_ms);
    }
    if (status >= 0) {
        t->held++;
    } else if (status == KIN_E_DEADLOCK) {
        deadlock_tell();
    }
    return status;
}

int kin_rwlock_read(kin_rwlock lock, int timeout_ms)
{
    sync *s = sync_find(lock.id, KIND_RWLOCK);
    thread_self *t = thread_known();
    _Atomic uint64_t *slot = s != NULL && t != NULL ? slot_with(t, 0) : NULL;
    if (slot == NULL) {
        return read_slowly(lock.id, timeout_ms);
    }
    atomic_store(slot, lock.id);
    note_reader(s, lock.id);
    uint64_t state = atomic_load(&s->state);
    if ((state & SYNC_MASK) == sync_base(lock.id) && latch_owner(state) == 0) {
        error_clear();
        t->held++;
        return (state & LATCH_DIED) != 0 ? KIN_OWNER_DIED : 0;
    }
    empty(s, slot);
    return read_slowly(lock.id, timeout_ms);
}

/* ---- writers ---- */

static bool has_readers(uint64_t id)
{
    for (uint32_t number = thread_next(0); number != 0; number = thread_next(number)) {
        thread_record *record = thread_at(number);
        if (atomic_load(&record->owner) != 0 && thread_reads(record, id)) {
            return true;
        }
    }
    return false;
}

/* Are they still there? */
static void look_after_readers(uint64_t id)
{
    if (!death_is_time_to_look(id)) {
        return;
    }
    for (uint32_t number = thread_next(0); number != 0; number = thread_next(number)) {
        thread_record *record = thread_at(number);
        uint64_t owner = atomic_load(&record->owner);
        if (owner != 0 && thread_reads(record, id)) {
            (void) death_check(owner);
        }
    }
}

static bool is_there(sync *s, uint64_t id)
{
    return (atomic_load(&s->state) & SYNC_MASK) == sync_base(id);
}

/* 0 when no reader is left. */
static int drain_asleep(sync *s, uint64_t id, thread_self *t, int64_t deadline)
{
    int64_t next = 0;
    int status = KIN_E_TIMEOUT;
    wait_note note = wait_begin(t, id, deadline, true);
    for (;;) {
        uint32_t seen = line_read(&s->drain);
        line_announce(&s->drain, LINE_SLEEPERS);
        if (!is_there(s, id)) {
            status = KIN_E_DESTROYED;
            break;
        }
        if (!has_readers(id)) {
            status = 0;
            break;
        }
        int64_t now = platform_clock_ns();
        if (deadline != INT64_MAX && now >= deadline) {
            break;
        }
        if (now >= next && deadlock_is_on() && deadlock_is_closed(t)) {
            status = KIN_E_DEADLOCK;
            break;
        }
        next = now >= next ? now + WAIT_SLICE_NS : next;
        status = line_sleep(&s->drain, seen, deadline);
        if (status == KIN_E_TIMEOUT) {
            sync_look_at_keeper(s);
            look_after_readers(id);
        } else if (status < 0) {
            break;
        }
        status = KIN_E_TIMEOUT;
    }
    wait_end(t, &note);
    return status;
}

static int drain(sync *s, uint64_t id, thread_self *t, int64_t deadline)
{
    uint64_t some = id | LATCH_READERS;
    (void) atomic_compare_exchange_strong(&s->extra, &some, id);
    if (!has_readers(id)) {
        return 0;
    }
    if (deadline == 0) {
        look_after_readers(id);
        return has_readers(id) ? KIN_E_TIMEOUT : 0;
    }
    wait_spin around = wait_spin_begin(SPIN_LOCK);
    bool gone = false;
    while (!gone && wait_spin_once(&around)) {
        gone = !has_readers(id);
    }
    wait_spin_end(&around, gone);
    return gone ? 0 : drain_asleep(s, id, t, deadline);
}

/* From here on this thread's death does harm. */
static int stop_passing(sync *s, uint64_t id)
{
    uint64_t state = atomic_load(&s->state);
    while ((state & SYNC_MASK) == sync_base(id)) {
        if ((state & LATCH_PASSING) == 0 ||
            atomic_compare_exchange_weak(&s->state, &state, state & ~LATCH_PASSING)) {
            return 0;
        }
    }
    return KIN_E_DESTROYED;
}

/* As the owner of the latch, which `status` came with. */
static int enter(sync *s, uint64_t id, thread_self *t, int64_t deadline, int status)
{
    int drained = 0;
    if (status == KIN_OWNER_DIED || atomic_load(&s->extra) != id) {
        drained = drain(s, id, t, deadline);
    }
    if (drained == 0) {
        drained = stop_passing(s, id);
    }
    if (drained < 0) {
        note_reader(s, id);
        (void) latch_release(s, id, t, status == KIN_OWNER_DIED ? LATCH_DIED : 0);
        return drained;
    }
    return status;
}

static KIN_COLD int write_slowly(uint64_t id, int timeout_ms, const void *site)
{
    error_clear();
    int status = 0;
    sync *s = sync_find(id, KIND_RWLOCK);
    if (s == NULL) {
        return sync_missing();
    }
    thread_self *t = thread_current(&status);
    if (t == NULL) {
        return status;
    }
    if (slot_with(t, id) != NULL) {
        return KIN_E_DEADLOCK;
    }
    int64_t deadline = timeout_ms == 0 ? 0 : wait_deadline(timeout_ms);
    status = timeout_ms == 0 ? latch_try_as(s, id, t, LATCH_PASS)
                             : latch_wait(s, id, t, deadline, LATCH_PASS | LATCH_DETECT);
    if (status >= 0) {
        status = enter(s, id, t, deadline, status);
    }
    if (status >= 0) {
        t->held++;
        latch_note_site(s, site);
    } else if (status == KIN_E_DEADLOCK) {
        deadlock_tell();
    }
    return status;
}

/* Takes a latch as latch_take does, and looks at what readers do in an order that all agree on. */
static inline bool take(sync *s, uint64_t id, const thread_self *t)
{
    uint64_t open = sync_base(id);
    return atomic_load_explicit(&s->extra, memory_order_relaxed) == id &&
           atomic_compare_exchange_strong(&s->state, &open, open | t->token);
}

/* Without readers, a lock like any other. */
int kin_rwlock_write(kin_rwlock lock, int timeout_ms)
{
    sync *s = sync_find(lock.id, KIND_RWLOCK);
    thread_self *t = thread_known();
    if (s != NULL && t != NULL && take(s, lock.id, t)) {
        if (atomic_load(&s->extra) == lock.id) {
            error_clear();
            t->held++;
            latch_note_site(s, __builtin_return_address(0));
            return 0;
        }
        (void) latch_release(s, lock.id, t, 0); /* a reader has just come */
    }
    return write_slowly(lock.id, timeout_ms, __builtin_return_address(0));
}

/* ---- either ---- */

static KIN_COLD int release_slowly(uint64_t id)
{
    error_clear();
    int status = 0;
    sync *s = sync_find(id, KIND_RWLOCK);
    if (s == NULL) {
        thread_self *t = thread_known();
        _Atomic uint64_t *slot = t != NULL && id != 0 ? slot_with(t, id) : NULL;
        if (slot != NULL) {
            atomic_store(slot, 0);
            t->held--;
        }
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

int kin_rwlock_release(kin_rwlock lock)
{
    sync *s = sync_find(lock.id, KIND_RWLOCK);
    thread_self *t = thread_known();
    if (s != NULL && t != NULL) {
        if (latch_give(s, sync_base(lock.id), t->token)) {
            error_clear();
            t->held--;
            return 0;
        }
        _Atomic uint64_t *slot = slot_with(t, lock.id);
        if (slot != NULL) {
            error_clear();
            empty(s, slot);
            t->held--;
            return 0;
        }
    }
    return release_slowly(lock.id);
}

/* ---- when somebody has died, and when it has been destroyed ---- */

static void look(sync *s, uint64_t id)
{
    latch_look(s, id);
    line_tell(&s->drain, 1);
}

static void ended(sync *s, uint64_t id)
{
    (void) id;
    (void) line_wake(&s->drain, LINE_ALL);
}

void rwlock_set_up(void)
{
    sync_register(KIND_RWLOCK, look);
    sync_register_end(KIND_RWLOCK, ended);
}
