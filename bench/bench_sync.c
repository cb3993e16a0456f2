/* Locks, semaphores, events, conditions and barriers, each beside what the system has of the kind.
   What takes two processes is a duel: this process and a child do the same rounds, of kin and of
   the limit in turn. */
#include "bench/bench.h"
#include "bench/limits_sync.h"

#include <kin/kin.h>

#include <stdlib.h>

enum { SAMPLES = 15, TURNS = 1000000 };

/* ---- alone ---- */

typedef struct alone {
    kin_lock lock;
    kin_rlock rlock;
    kin_semaphore semaphore;
    void *limits;
} alone;

typedef void turns(const alone *a, unsigned count);

static void lock_turns(const alone *a, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        (void) kin_lock_acquire(a->lock, KIN_FOREVER);
        (void) kin_lock_release(a->lock);
    }
}

static void rlock_turns(const alone *a, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        (void) kin_rlock_acquire(a->rlock, KIN_FOREVER);
        (void) kin_rlock_release(a->rlock);
    }
}

static void semaphore_turns(const alone *a, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        (void) kin_semaphore_acquire(a->semaphore, KIN_FOREVER);
        (void) kin_semaphore_release(a->semaphore, 1);
    }
}

static void limit_lock_turns(const alone *a, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        limit_lock(a->limits);
        limit_unlock(a->limits);
    }
}

static void limit_semaphore_turns(const alone *a, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        limit_semaphore_wait(a->limits);
        limit_semaphore_post(a->limits);
    }
}

static double time_turns(turns *run, const alone *a)
{
    double start = bench_now_ns();
    run(a, TURNS);
    return (bench_now_ns() - start) / TURNS;
}

static int measure_turns(figure *f, turns *run, turns *limit)
{
    double with[SAMPLES];
    double without[SAMPLES];
    alone a;
    kin_memory memory;
    int status = kin_memory_create(&memory, limit_sync_size());
    status = status < 0 ? status : kin_lock_create(&a.lock, NULL);
    status = status < 0 ? status : kin_rlock_create(&a.rlock, NULL);
    status = status < 0 ? status : kin_semaphore_create(&a.semaphore, NULL);
    if (status < 0) {
        return status;
    }
    a.limits = kin_memory_address(memory);
    bool limited = limit_sync_init(a.limits) == 0;
    for (int i = 0; i < SAMPLES; i++) {
        with[i] = time_turns(run, &a);
        without[i] = limited ? time_turns(limit, &a) : 0;
    }
    f->value = bench_median(with, SAMPLES);
    f->limit = limited ? bench_median(without, SAMPLES) : 0;
    (void) kin_lock_destroy(a.lock);
    (void) kin_rlock_destroy(a.rlock);
    (void) kin_semaphore_destroy(a.semaphore);
    return kin_memory_destroy(memory);
}

static int measure_lock(figure *f)
{
    return measure_turns(f, lock_turns, limit_lock_turns);
}

static int measure_rlock(figure *f)
{
    return measure_turns(f, rlock_turns, limit_lock_turns);
}

static int measure_semaphore(figure *f)
{
    return measure_turns(f, semaphore_turns, limit_semaphore_turns);
}

/* ---- with another process ---- */

/* What the two share. */
typedef struct field {
    _Alignas(64) _Atomic uint32_t arrived; /* at the beginnings of their rounds */
    _Alignas(64) _Atomic uint32_t stop;
    _Alignas(64) _Atomic uint32_t words[2][16]; /* one for each side, on lines of their own */
    _Alignas(64) uint32_t turn;                 /* under a lock */
    _Alignas(64) _Atomic uint64_t done[2][8];
    _Alignas(64) unsigned char limits[];
} field;

typedef struct duel {
    unsigned form;
    kin_memory memory;
    kin_lock lock;
    kin_event events[2];
    kin_condition condition;
    kin_barrier barrier;
} duel;

/* What one side does in a sample, `side` being 0 in the parent. */
typedef void rounds(const duel *d, field *f, unsigned side);

enum { HOT = 20000, BLOCKED = 40, PASSES = 2000, CONTEND_MS = 60, ASLEEP_US = 300 };

static void meet(field *f, uint32_t meeting)
{
    atomic_fetch_add(&f->arrived, 1);
    while (atomic_load(&f->arrived) < 2 * meeting) {
    }
}

static void contend(const duel *d, field *f, unsigned side, bool limit)
{
    uint64_t done = 0;
    while (!atomic_load_explicit(&f->stop, memory_order_relaxed)) {
        if (limit) {
            limit_lock(f->limits);
            f->turn++;
            limit_unlock(f->limits);
        } else {
            (void) kin_lock_acquire(d->lock, KIN_FOREVER);
            f->turn++;
            (void) kin_lock_release(d->lock);
        }
        done++;
        if (side == 0 && done % 4096 == 0 &&
            bench_now_ns() > (double) atomic_load(&f->done[0][1])) {
            atomic_store(&f->stop, 1);
        }
    }
    atomic_store(&f->done[side][0], done);
}

static void contend_kin(const duel *d, field *f, unsigned side)
{
    contend(d, f, side, false);
}

static void contend_limit(const duel *d, field *f, unsigned side)
{
    contend(d, f, side, true);
}

static void hot_kin(const duel *d, field *f, unsigned side)
{
    (void) f;
    for (unsigned i = 0; i < HOT; i++) {
        if (side == 0) {
            (void) kin_event_set(d->events[0]);
        }
        (void) kin_event_wait(d->events[1 - side], KIN_FOREVER);
        if (side == 1) {
            (void) kin_event_set(d->events[1]);
        }
    }
}

static void hot_limit(const duel *d, field *f, unsigned side)
{
    (void) d;
    _Atomic uint32_t *word = &f->words[0][0];
    uint32_t before = atomic_load(word) & ~1u;
    for (uint32_t i = 0; i < HOT; i++) {
        if (side == 0) {
            atomic_store(word, before + 2 * i + 1);
            while (atomic_load(word) == before + 2 * i + 1) {
            }
        } else {
            while (atomic_load(word) != before + 2 * i + 1) {
            }
            atomic_store(word, before + 2 * i + 2);
        }
    }
}

/* Each round begins when the other side is asleep for certain. */
static void rest(double us)
{
    double until = bench_now_ns() + us * 1000;
    while (bench_now_ns() < until) {
    }
}

static void blocked_kin(const duel *d, field *f, unsigned side)
{
    double sum = 0;
    for (unsigned i = 0; i < BLOCKED; i++) {
        if (side == 0) {
            rest(ASLEEP_US);
            double start = bench_now_ns();
            (void) kin_event_set(d->events[0]);
            (void) kin_event_wait(d->events[1], KIN_FOREVER);
            sum += bench_now_ns() - start;
        } else {
            (void) kin_event_wait(d->events[0], KIN_FOREVER);
            (void) kin_event_set(d->events[1]);
        }
    }
    atomic_store(&f->done[side][0], (uint64_t) sum);
}

static void pass_word(_Atomic uint32_t *word)
{
    atomic_store(word, 1);
    limit_word_wake(word);
}

static void await_word(_Atomic uint32_t *word)
{
    while (atomic_load(word) == 0) {
        limit_word_wait(word, 0);
    }
    atomic_store(word, 0);
}

static void blocked_limit(const duel *d, field *f, unsigned side)
{
    (void) d;
    double sum = 0;
    for (unsigned i = 0; i < BLOCKED; i++) {
        if (side == 0) {
            rest(ASLEEP_US);
            double start = bench_now_ns();
            pass_word(&f->words[0][0]);
            await_word(&f->words[1][0]);
            sum += bench_now_ns() - start;
        } else {
            await_word(&f->words[0][0]);
            pass_word(&f->words[1][0]);
        }
    }
    atomic_store(&f->done[side][0], (uint64_t) sum);
}

static void notify_kin(const duel *d, field *f, unsigned side)
{
    (void) kin_condition_acquire(d->condition, KIN_FOREVER);
    for (unsigned i = 0; i < PASSES; i++) {
        while (f->turn != side) {
            (void) kin_condition_wait(d->condition, KIN_FOREVER);
        }
        f->turn = 1 - side;
        (void) kin_condition_notify(d->condition, 1);
    }
    (void) kin_condition_release(d->condition);
}

static void notify_limit(const duel *d, field *f, unsigned side)
{
    (void) d;
    limit_condition_lock(f->limits);
    for (unsigned i = 0; i < PASSES; i++) {
        while (f->turn != side) {
            limit_condition_wait(f->limits);
        }
        f->turn = 1 - side;
        limit_condition_signal(f->limits);
    }
    limit_condition_unlock(f->limits);
}

static void cycle_kin(const duel *d, field *f, unsigned side)
{
    (void) f, (void) side;
    for (unsigned i = 0; i < PASSES; i++) {
        (void) kin_barrier_wait(d->barrier, NULL, KIN_FOREVER);
    }
}

static void cycle_limit(const duel *d, field *f, unsigned side)
{
    (void) d, (void) side;
    for (unsigned i = 0; i < PASSES; i++) {
        limit_barrier_wait(f->limits);
    }
}

/* How a sample is told: by the time of the rounds, by what a side says, or by how much both have
   done in a time. */
enum telling { BY_TIME, BY_WORD, BY_COUNT };

static const struct {
    rounds *kin;
    rounds *limit;
    enum telling telling;
    unsigned count;
    double unit; /* in nanoseconds */
} forms[] = {
    {contend_kin, contend_limit, BY_COUNT, 1, 1},
    {hot_kin, hot_limit, BY_TIME, HOT, 1},
    {blocked_kin, blocked_limit, BY_WORD, BLOCKED, 1000},
    {notify_kin, notify_limit, BY_TIME, PASSES, 1000},
    {cycle_kin, cycle_limit, BY_TIME, PASSES, 1000},
};
enum { CONTEND, HANDOFF_HOT, HANDOFF_BLOCKED, NOTIFY, CYCLE };

static double run_rounds(const duel *d, field *f, rounds *run, uint32_t meeting, unsigned side)
{
    if (side == 0) {
        atomic_store(&f->stop, 0);
        atomic_store(&f->words[0][0], 0);
        atomic_store(&f->words[1][0], 0);
        f->turn = 0;
        atomic_store(&f->done[0][1], (uint64_t) bench_now_ns() + CONTEND_MS * UINT64_C(1000000));
    }
    meet(f, meeting);
    double start = bench_now_ns();
    run(d, f, side);
    double time = bench_now_ns() - start;
    meet(f, meeting + 1);
    switch (forms[d->form].telling) {
    case BY_WORD:
        time = (double) atomic_load(&f->done[0][0]);
        break;
    case BY_COUNT:
        time /= (double) (atomic_load(&f->done[0][0]) + atomic_load(&f->done[1][0]));
        break;
    case BY_TIME:
        break;
    }
    return time / forms[d->form].count / forms[d->form].unit;
}

static void run_duel(const duel *d, unsigned side, bool limited, double *with, double *without)
{
    field *f = kin_memory_address(d->memory);
    uint32_t meeting = 1;
    for (int i = 0; i < SAMPLES; i++) {
        with[i] = run_rounds(d, f, forms[d->form].kin, meeting, side);
        meeting += 2;
        if (limited) {
            without[i] = run_rounds(d, f, forms[d->form].limit, meeting, side);
            meeting += 2;
        }
    }
}

typedef struct challenge {
    duel duel;
    bool limited;
} challenge;

static int accept(void *argument, size_t size)
{
    double times[2][SAMPLES];
    const challenge *c = argument;
    (void) size;
    run_duel(&c->duel, 1, c->limited, times[0], times[1]);
    return 0;
}

static int create_all(duel *d)
{
    kin_event_options passed_on = {.auto_reset = true};
    int status = kin_memory_create(&d->memory, sizeof(field) + limit_sync_size());
    status = status < 0 ? status : kin_lock_create(&d->lock, NULL);
    status = status < 0 ? status : kin_event_create(&d->events[0], &passed_on);
    status = status < 0 ? status : kin_event_create(&d->events[1], &passed_on);
    status = status < 0 ? status : kin_condition_create(&d->condition, NULL);
    return status < 0 ? status : kin_barrier_create(&d->barrier, 2, NULL);
}

static int destroy_all(const duel *d)
{
    (void) kin_lock_destroy(d->lock);
    (void) kin_event_destroy(d->events[0]);
    (void) kin_event_destroy(d->events[1]);
    (void) kin_condition_destroy(d->condition);
    (void) kin_barrier_destroy(d->barrier);
    return kin_memory_destroy(d->memory);
}

static int measure_duel(figure *f, unsigned form)
{
    double with[SAMPLES];
    double without[SAMPLES];
    challenge c = {.duel = {.form = form}};
    kin_process other;
    int status = create_all(&c.duel);
    if (status < 0) {
        return status;
    }
    field *shared = kin_memory_address(c.duel.memory);
    c.limited = limit_sync_init(shared->limits) == 0;
    status = kin_process_start(&other, accept, &c, sizeof c, NULL);
    if (status < 0) {
        return status;
    }
    run_duel(&c.duel, 0, c.limited, with, without);
    f->value = bench_median(with, SAMPLES);
    f->limit = c.limited ? bench_median(without, SAMPLES) : 0;
    status = kin_process_join(other, KIN_FOREVER);
    (void) kin_process_close(other);
    int destroyed = destroy_all(&c.duel);
    return status < 0 ? status : destroyed;
}

static int measure_contended(figure *f)
{
    return measure_duel(f, CONTEND);
}

static int measure_handoff_hot(figure *f)
{
    return measure_duel(f, HANDOFF_HOT);
}

static int measure_handoff_blocked(figure *f)
{
    return measure_duel(f, HANDOFF_BLOCKED);
}

static int measure_notify(figure *f)
{
    return measure_duel(f, NOTIFY);
}

static int measure_cycle(figure *f)
{
    return measure_duel(f, CYCLE);
}

/* ---- waiting costs nothing ---- */

enum { IDLE_MS = 2000 };

typedef struct hold {
    kin_lock lock;
    kin_event held;
} hold;

static int hold_it(void *argument, size_t size)
{
    const hold *h = argument;
    (void) size;
    (void) kin_lock_acquire(h->lock, KIN_FOREVER);
    (void) kin_event_set(h->held);
    return kin_sleep(2 * IDLE_MS);
}

static int measure_idle(figure *f)
{
    hold h;
    kin_process other;
    int status = kin_lock_create(&h.lock, NULL);
    status = status < 0 ? status : kin_event_create(&h.held, NULL);
    status = status < 0 ? status : kin_process_start(&other, hold_it, &h, sizeof h, NULL);
    if (status < 0) {
        return status;
    }
    (void) kin_event_wait(h.held, KIN_FOREVER);
    int64_t before = limit_processor_ns();
    status = kin_lock_acquire(h.lock, IDLE_MS);
    f->value = (double) (limit_processor_ns() - before) / 1000;
    (void) kin_process_kill(other);
    (void) kin_process_join(other, KIN_FOREVER);
    (void) kin_process_close(other);
    (void) kin_lock_destroy(h.lock);
    (void) kin_event_destroy(h.held);
    return status == KIN_E_TIMEOUT ? 0 : status < 0 ? status : KIN_E_STATE;
}

const benchmark sync_benchmarks[] = {
    {"lock.uncontended", "ns", measure_lock},
    {"lock.contended_2", "ns", measure_contended},
    {"lock.idle_cpu", "us", measure_idle},
    {"rlock.uncontended", "ns", measure_rlock},
    {"semaphore.uncontended", "ns", measure_semaphore},
    {"event.handoff_hot", "ns", measure_handoff_hot},
    {"event.handoff_blocked", "us", measure_handoff_blocked},
    {"condition.notify", "us", measure_notify},
    {"barrier.cycle", "us", measure_cycle},
    {NULL, NULL, NULL},
};
