/* Counters. The value stands in the sync's state, above the bits that say which sync it is, so each
   change is one compare-and-swap that fails on whatever else has the entry by now. In a word of its
   own it could have 64 bits and be added to blindly; but then one who was stopped before that would
   add to a stranger's word, or every call would need a hazard.

   Who waits sleeps in the line. So that not every change wakes all, the least value that is waited
   for stands in `related`: who waits reads the line, lowers that, announces itself, then looks at
   the value; who changes the value looks for somebody announced, then whether that value is
   reached, and if so raises it out of reach and wakes all, of whom those that go on waiting lower
   it again. Whoever lowers it after it was raised has read the line before it moves on, and does
   not sleep; or it came to announce itself after the change, and sees the value. If the one who
   raised it is killed before it wakes the others, these look at the end of a slice.

   `related` changes by compare-and-swap alone, and carries the generation and a bit that no id has:
   it is not mistaken for another sync's. */
#include "core/error.h"
#include "core/sync.h"

#include <kin/counter.h>

enum { COUNTER_SHORT = 100 }; /* no status of the interface */

#define AWAITED (UINT64_C(1) << 63)

static inline bool is_live(uint64_t state, uint64_t id)
{
    return (state & SYNC_MASK) == sync_base(id);
}

/* A signed number in the upper 48 bits. */
static inline int64_t value_of(uint64_t state)
{
    return (int64_t) state >> SYNC_BITS;
}

static inline uint64_t state_with(uint64_t id, int64_t value)
{
    return sync_base(id) | (uint64_t) value << SYNC_BITS;
}

static inline bool is_in_range(int64_t value)
{
    return value >= KIN_COUNTER_MIN && value <= KIN_COUNTER_MAX;
}

/* The same a bit lower, and without SYNC_LIVE. */
static uint64_t awaited_with(uint64_t id, int64_t value)
{
    return AWAITED | state_with(id, value) >> SYNC_GENERATION_SHIFT;
}

static bool is_awaited(uint64_t word, uint64_t id)
{
    uint64_t state = word << SYNC_GENERATION_SHIFT | SYNC_LIVE;
    return (word & AWAITED) != 0 && is_live(state, id);
}

static int64_t awaited_of(uint64_t word)
{
    return value_of(word << SYNC_GENERATION_SHIFT);
}

int kin_counter_create(kin_counter *counter, const kin_counter_options *options)
{
    static const kin_counter_options defaults;
    const kin_counter_options *how = options != NULL ? options : &defaults;
    error_clear();
    if (counter == NULL) {
        return KIN_E_INVALID;
    }
    if (!is_in_range(how->value)) {
        return KIN_E_LIMIT;
    }
    sync *s = NULL;
    int status = sync_create(&s, KIND_COUNTER, how->name);
    if (status == 0) {
        counter->id = atomic_load(&s->id);
        atomic_store(&s->related, awaited_with(counter->id, KIN_COUNTER_MAX));
        atomic_store(&s->state, state_with(counter->id, how->value));
        sync_publish(s);
    }
    return status;
}

int kin_counter_destroy(kin_counter counter)
{
    error_clear();
    return sync_destroy(counter.id, KIND_COUNTER);
}

/* The counter, and what a call needs of its thread; NULL and why not. Not on the usual way. */
static KIN_COLD sync *find_slowly(uint64_t id, thread_self **t, int *status)
{
    sync *s = sync_find(id, KIND_COUNTER);
    *status = 0;
    if (s == NULL) {
        *status = sync_missing();
    } else if ((*t = thread_current(status)) == NULL) {
        s = NULL;
    }
    return s;
}

static inline sync *find(uint64_t id, int *status)
{
    thread_self *t = NULL;
    sync *s = thread_known() != NULL ? sync_find(id, KIND_COUNTER) : NULL;
    *status = 0;
    return s != NULL ? s : find_slowly(id, &t, status);
}

/* ---- changing it ---- */

/* Wakes those who wait if one of them waits for no more than that. */
static KIN_COLD void tell_them(sync *s, uint64_t id, int64_t value)
{
    uint64_t awaited = atomic_load(&s->related);
    do {
        if (!is_awaited(awaited, id) || awaited_of(awaited) > value) {
            return;
        }
    } while (
        !atomic_compare_exchange_weak(&s->related, &awaited, awaited_with(id, KIN_COUNTER_MAX)));
    line_tell_them(&s->line, LINE_ALL);
}

/* After the change; pairs with line_announce in sleep. */
static inline void tell(sync *s, uint64_t id, int64_t value)
{
    if (atomic_load(&s->line.flags) != 0) {
        tell_them(s, id, value);
    }
}

int kin_counter_add(kin_counter counter, int64_t amount, int64_t *value)
{
    int status = 0;
    int64_t sum = 0;
    error_clear();
    sync *s = find(counter.id, &status);
    if (s == NULL) {
        return status;
    }
    uint64_t state = atomic_load_explicit(&s->state, memory_order_relaxed);
    do {
        if (!is_live(state, counter.id)) {
            return KIN_E_HANDLE;
        }
        if (__builtin_add_overflow(value_of(state), amount, &sum) || !is_in_range(sum)) {
            return KIN_E_LIMIT;
        }
    } while (!atomic_compare_exchange_weak(&s->state, &state, state_with(counter.id, sum)));
    if (value != NULL) {
        *value = sum;
    }
    tell(s, counter.id, sum);
    return 0;
}

int kin_counter_get(kin_counter counter, int64_t *value)
{
    int status = 0;
    error_clear();
    if (value == NULL) {
        return KIN_E_INVALID;
    }
    sync *s = find(counter.id, &status);
    if (s == NULL) {
        return status;
    }
    uint64_t state = atomic_load(&s->state);
    if (!is_live(state, counter.id)) {
        return KIN_E_HANDLE;
    }
    *value = value_of(state);
    return 0;
}

int kin_counter_set(kin_counter counter, int64_t value)
{
    int status = 0;
    error_clear();
    if (!is_in_range(value)) {
        return KIN_E_LIMIT;
    }
    sync *s = find(counter.id, &status);
    if (s == NULL) {
        return status;
    }
    uint64_t state = atomic_load_explicit(&s->state, memory_order_relaxed);
    do {
        if (!is_live(state, counter.id)) {
            return KIN_E_HANDLE;
        }
    } while (!atomic_compare_exchange_weak(&s->state, &state, state_with(counter.id, value)));
    tell(s, counter.id, value);
    return 0;
}

int kin_counter_compare_exchange(kin_counter counter, int64_t *expected, int64_t value)
{
    int status = 0;
    error_clear();
    if (expected == NULL) {
        return KIN_E_INVALID;
    }
    if (!is_in_range(value)) {
        return KIN_E_LIMIT;
    }
    sync *s = find(counter.id, &status);
    if (s == NULL) {
        return status;
    }
    uint64_t state = atomic_load(&s->state);
    do {
        if (!is_live(state, counter.id)) {
            return KIN_E_HANDLE;
        }
        if (value_of(state) != *expected) {
            *expected = value_of(state);
            return 0;
        }
    } while (!atomic_compare_exchange_weak(&s->state, &state, state_with(counter.id, value)));
    tell(s, counter.id, value);
    return 1;
}

/* ---- waiting ---- */

/* 0, COUNTER_SHORT or KIN_E_HANDLE. */
static int look(sync *s, uint64_t id, int64_t at_least)
{
    uint64_t state = atomic_load(&s->state);
    if (!is_live(state, id)) {
        return KIN_E_HANDLE;
    }
    return value_of(state) >= at_least ? 0 : COUNTER_SHORT;
}

static int spin(sync *s, uint64_t id, int64_t at_least)
{
    int status = COUNTER_SHORT;
    wait_spin around = wait_spin_begin(SPIN_CHANGE);
    while (status == COUNTER_SHORT && wait_spin_once(&around)) {
        status = look(s, id, at_least);
    }
    wait_spin_end(&around, status != COUNTER_SHORT);
    return status;
}

static void lower(sync *s, uint64_t id, int64_t at_least)
{
    uint64_t awaited = atomic_load(&s->related);
    while (is_awaited(awaited, id) && awaited_of(awaited) > at_least &&
           !atomic_compare_exchange_weak(&s->related, &awaited, awaited_with(id, at_least))) {
    }
}

static int sleep(sync *s, uint64_t id, int64_t at_least, int64_t deadline)
{
    uint32_t seen = line_read(&s->line);
    lower(s, id, at_least);
    line_announce(&s->line, LINE_SLEEPERS);
    int status = look(s, id, at_least);
    if (status != COUNTER_SHORT) {
        return status;
    }
    int slept = line_sleep(&s->line, seen, deadline);
    if (slept == KIN_E_TIMEOUT) {
        sync_look_at_keeper(s);
    }
    status = look(s, id, at_least);
    if (status != COUNTER_SHORT || slept == 0) {
        return status;
    }
    if (slept != KIN_E_TIMEOUT) {
        return slept;
    }
    bool over = deadline != INT64_MAX && platform_clock_ns() >= deadline;
    return over ? KIN_E_TIMEOUT : COUNTER_SHORT;
}

static int wait(sync *s, uint64_t id, thread_self *t, int64_t at_least, int timeout_ms)
{
    int64_t deadline = wait_deadline(timeout_ms);
    int status = spin(s, id, at_least);
    if (status == COUNTER_SHORT) {
        wait_note note = wait_begin(t, id, deadline, false);
        while (status == COUNTER_SHORT) {
            status = sleep(s, id, at_least, deadline);
        }
        wait_end(t, &note);
    }
    return status == KIN_E_HANDLE ? KIN_E_DESTROYED : status;
}

int kin_counter_wait(kin_counter counter, int64_t at_least, int timeout_ms)
{
    int status = 0;
    thread_self *t = NULL;
    error_clear();
    if (at_least > KIN_COUNTER_MAX) {
        return KIN_E_LIMIT;
    }
    sync *s = find_slowly(counter.id, &t, &status);
    if (s == NULL) {
        return status;
    }
    status = look(s, counter.id, at_least);
    if (status != COUNTER_SHORT) {
        return status;
    }
    return timeout_ms == 0 ? KIN_E_TIMEOUT : wait(s, counter.id, t, at_least, timeout_ms);
}
