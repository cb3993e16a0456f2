/* ctest: alone

   A storm: processes use every primitive at random while another kills one of them again and again,
   and starts it anew. Nobody may get stuck, nobody may be where another is, and what was taken must
   come back. KIN_STORM_SECONDS says how long; KIN_STORM_SEED repeats what was left to chance. */
#include "support.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { PROCESSES = 8, PERMITS = 3, PARTIES = 3, SHORT_MS = 20, STUCK_MS = 20000, DEPTH = 3 };

/* Two words that only one who is alone may change: they are equal whenever nobody is at it. */
typedef struct guarded {
    _Alignas(64) _Atomic uint64_t left;
    _Atomic uint64_t inside; /* the process that is at it */
    _Alignas(64) _Atomic uint64_t right;
} guarded;

enum {
    USE_LOCK,
    USE_RLOCK,
    USE_WRITE,
    USE_READ,
    USE_OWNED,
    USE_SEMAPHORE,
    USE_EVENT,
    USE_CONDITION,
    USE_BARRIER,
    USE_MANY,
    USES
};

static const char *const use_names[USES] = {"lock",      "rlock", "write",     "read",    "owned",
                                            "semaphore", "event", "condition", "barrier", "many"};

typedef struct place {
    _Alignas(64) _Atomic uint64_t beats; /* uses so far */
    _Atomic uint32_t use;                /* what it is at */
    _Atomic uint32_t kills;
} place;

typedef struct storm {
    kin_lock lock;
    kin_rlock rlock;
    kin_rwlock rwlock;
    kin_semaphore owned;
    kin_semaphore semaphore;
    kin_event event;
    kin_condition condition;
    kin_barrier barrier;
    uint64_t seed;
    _Atomic uint32_t failures;
    _Atomic uint32_t line; /* of the first failure */
    _Atomic int32_t status;
    _Atomic uint64_t died; /* how often an owner's death was told */
    _Atomic uint64_t uses[USES];
    guarded by_lock, by_rlock, by_rwlock, by_condition;
    place places[PROCESSES];
} storm;

static storm *common;

static void blame(int line, int status)
{
    uint32_t none = 0;
    if (atomic_compare_exchange_strong(&common->line, &none, (uint32_t) line)) {
        atomic_store(&common->status, status);
    }
    atomic_fetch_add(&common->failures, 1);
}

#define EXPECT(condition, status)      \
    do {                               \
        if (!(condition)) {            \
            blame(__LINE__, (status)); \
        }                              \
    } while (0)

/* Now and then somebody takes its time over it: so that it is killed there. */
static void linger(void)
{
    static _Thread_local uint64_t seed;
    seed += (uintptr_t) &seed;
    uint32_t turns = next_random(&seed) % 8 == 0 ? 100000 : 20;
    for (volatile uint32_t i = 0; i < turns; i++) {
    }
}

/* Changes what is guarded; `notice` says whether the one before may have left it half changed. */
static void change(guarded *g, int notice, uint64_t me)
{
    uint64_t before = atomic_exchange(&g->inside, me);
    uint64_t left = atomic_load_explicit(&g->left, memory_order_relaxed);
    uint64_t right = atomic_load_explicit(&g->right, memory_order_relaxed);
    if (notice == KIN_OWNER_DIED) {
        atomic_fetch_add(&common->died, 1);
    } else {
        EXPECT(before == 0, (int) before);
        EXPECT(left == right, notice);
    }
    left = left > right ? left : right;
    atomic_store_explicit(&g->left, left + 1, memory_order_relaxed);
    linger();
    atomic_store_explicit(&g->right, left + 1, memory_order_relaxed);
    EXPECT(atomic_exchange(&g->inside, 0) == me, notice);
}

static void use_lock(uint64_t me, uint64_t *seed)
{
    int timeout = next_random(seed) % 4 == 0 ? (int) (next_random(seed) % 3) : LONG_MS;
    int status = kin_lock_acquire(common->lock, timeout);
    if (status == KIN_E_TIMEOUT && timeout < LONG_MS) {
        return;
    }
    EXPECT(status >= 0, status);
    if (status >= 0) {
        change(&common->by_lock, status, me);
        status = kin_lock_release(common->lock);
        EXPECT(status == 0, status);
    }
}

static void use_rlock(uint64_t me, uint64_t *seed)
{
    int depth = 1 + (int) (next_random(seed) % DEPTH);
    int status = kin_rlock_acquire(common->rlock, LONG_MS);
    EXPECT(status >= 0, status);
    if (status < 0) {
        return;
    }
    for (int i = 1; i < depth; i++) {
        EXPECT(kin_rlock_acquire(common->rlock, 0) == 0, i);
    }
    change(&common->by_rlock, status, me);
    for (int i = 0; i < depth; i++) {
        status = kin_rlock_release(common->rlock);
        EXPECT(status == 0, status);
    }
}

static void use_write(uint64_t me)
{
    int status = kin_rwlock_write(common->rwlock, LONG_MS);
    EXPECT(status >= 0, status);
    if (status >= 0) {
        change(&common->by_rwlock, status, me);
        status = kin_rwlock_release(common->rwlock);
        EXPECT(status == 0, status);
    }
}

static void use_read(void)
{
    int status = kin_rwlock_read(common->rwlock, LONG_MS);
    EXPECT(status >= 0, status);
    if (status < 0) {
        return;
    }
    uint64_t left = atomic_load(&common->by_rwlock.left);
    linger();
    uint64_t right = atomic_load(&common->by_rwlock.right);
    /* What a dead writer left stays so until the next one. */
    EXPECT(left == right || status == KIN_OWNER_DIED, status);
    status = kin_rwlock_release(common->rwlock);
    EXPECT(status == 0, status);
}

static void use_owned(void)
{
    int status = kin_semaphore_acquire(common->owned, LONG_MS);
    EXPECT(status == 0, status);
    if (status == 0) {
        status = kin_semaphore_release(common->owned, 1);
        EXPECT(status == 0, status);
    }
}

/* Gives before it takes, so that a kill in between never takes away. */
static void use_semaphore(void)
{
    int status = kin_semaphore_release(common->semaphore, 1);
    EXPECT(status == 0, status);
    status = kin_semaphore_acquire(common->semaphore, LONG_MS);
    EXPECT(status == 0, status);
}

static void use_event(uint64_t *seed)
{
    int status = 0;
    switch (next_random(seed) % 3) {
    case 0:
        status = kin_event_set(common->event);
        break;
    case 1:
        status = kin_event_clear(common->event);
        break;
    default:
        status = kin_event_wait(common->event, SHORT_MS);
        status = status == KIN_E_TIMEOUT ? 0 : status;
    }
    EXPECT(status == 0, status);
}

static void use_condition(uint64_t me, uint64_t *seed)
{
    int status = kin_condition_acquire(common->condition, LONG_MS);
    EXPECT(status >= 0, status);
    if (status < 0) {
        return;
    }
    change(&common->by_condition, status, me);
    switch (next_random(seed) % 3) {
    case 0:
        status = kin_condition_notify(common->condition, 1);
        EXPECT(status >= 0, status);
        break;
    case 1:
        status = kin_condition_notify_all(common->condition);
        EXPECT(status >= 0, status);
        break;
    default:
        status = kin_condition_wait(common->condition, SHORT_MS);
        EXPECT(status >= 0 || status == KIN_E_TIMEOUT, status);
        change(&common->by_condition, status, me);
    }
    status = kin_condition_release(common->condition);
    EXPECT(status == 0, status);
}

static void use_barrier(void)
{
    int status = kin_barrier_wait(common->barrier, NULL, SHORT_MS);
    EXPECT(status == 0 || status == KIN_E_TIMEOUT || status == KIN_E_BROKEN, status);
    if (status < 0) {
        status = kin_barrier_reset(common->barrier);
        EXPECT(status == 0, status);
    }
}

static void use_many(uint64_t *seed)
{
    kin_wait_item items[] = {
        {.id = common->event.id}, {.id = common->semaphore.id}, {.id = common->owned.id}};
    int status = kin_wait(items, 3, next_random(seed) % 2 == 0, SHORT_MS);
    EXPECT(status == 0 || status == KIN_E_TIMEOUT, status);
}

static void use(uint32_t what, uint64_t me, uint64_t *seed)
{
    switch (what) {
    case USE_LOCK:
        use_lock(me, seed);
        break;
    case USE_RLOCK:
        use_rlock(me, seed);
        break;
    case USE_WRITE:
        use_write(me);
        break;
    case USE_READ:
        use_read();
        break;
    case USE_OWNED:
        use_owned();
        break;
    case USE_SEMAPHORE:
        use_semaphore();
        break;
    case USE_EVENT:
        use_event(seed);
        break;
    case USE_CONDITION:
        use_condition(me, seed);
        break;
    case USE_BARRIER:
        use_barrier();
        break;
    default:
        use_many(seed);
    }
    atomic_fetch_add(&common->uses[what], 1);
}

typedef struct part {
    kin_memory memory;
    uint32_t number;
    uint32_t life;
} part;

static int live(void *argument, size_t size)
{
    (void) size;
    const part *p = argument;
    common = kin_memory_address(p->memory);
    CHECK(common != NULL);
    place *mine = &common->places[p->number];
    uint64_t me = (uint64_t) (p->life + 1) << 32 | (p->number + 1);
    uint64_t seed = common->seed * 1000003 + me;
    for (;;) {
        uint32_t what = next_random(&seed) % USES;
        atomic_store(&mine->use, what);
        use(what, me, &seed);
        atomic_fetch_add(&mine->beats, 1);
    }
}

/* ---- the one who kills ---- */

static kin_memory memory;

static void create(void)
{
    kin_semaphore_options owned = {.value = PERMITS, .owned = true};
    kin_semaphore_options plain = {.value = PROCESSES};
    assert_int_equal(kin_memory_create(&memory, sizeof(storm)), 0);
    common = kin_memory_address(memory);
    assert_int_equal(kin_lock_create(&common->lock, NULL), 0);
    assert_int_equal(kin_rlock_create(&common->rlock, NULL), 0);
    assert_int_equal(kin_rwlock_create(&common->rwlock, NULL), 0);
    assert_int_equal(kin_semaphore_create(&common->owned, &owned), 0);
    assert_int_equal(kin_semaphore_create(&common->semaphore, &plain), 0);
    assert_int_equal(kin_event_create(&common->event, NULL), 0);
    assert_int_equal(kin_condition_create(&common->condition, NULL), 0);
    assert_int_equal(kin_barrier_create(&common->barrier, PARTIES, NULL), 0);
}

static void destroy(void)
{
    assert_int_equal(kin_lock_destroy(common->lock), 0);
    assert_int_equal(kin_rlock_destroy(common->rlock), 0);
    assert_int_equal(kin_rwlock_destroy(common->rwlock), 0);
    assert_int_equal(kin_semaphore_destroy(common->owned), 0);
    assert_int_equal(kin_semaphore_destroy(common->semaphore), 0);
    assert_int_equal(kin_event_destroy(common->event), 0);
    assert_int_equal(kin_condition_destroy(common->condition), 0);
    assert_int_equal(kin_barrier_destroy(common->barrier), 0);
    assert_int_equal(kin_memory_destroy(memory), 0);
}

typedef struct watched {
    kin_process process;
    uint64_t beats;
    int64_t since;
} watched;

static void begin(watched *w, uint32_t number, uint32_t life)
{
    part p = {.memory = memory, .number = number, .life = life};
    w->process = start(live, &p, sizeof p);
    w->beats = atomic_load(&common->places[number].beats);
    w->since = kin_clock_ns();
}

/* True if it goes on; says where it hangs. */
static bool goes_on(watched *w, uint32_t number)
{
    uint64_t beats = atomic_load(&common->places[number].beats);
    int64_t now = kin_clock_ns();
    if (beats != w->beats) {
        w->beats = beats;
        w->since = now;
    }
    if (now - w->since < STUCK_MS * INT64_C(1000000)) {
        return true;
    }
    (void) fprintf(stderr, "process %u is stuck: %s\n", number,
                   use_names[atomic_load(&common->places[number].use)]);
    return false;
}

static uint64_t seconds_wanted(void)
{
    const char *text = getenv("KIN_STORM_SECONDS");
    long seconds = text != NULL ? strtol(text, NULL, 10) : 5;
    return seconds > 0 ? (uint64_t) seconds : 5;
}

static void rage(watched *all, uint64_t *kills)
{
    uint64_t seed = common->seed;
    int64_t until = kin_clock_ns() + (int64_t) seconds_wanted() * INT64_C(1000000000);
    bool going = true;
    while (going && kin_clock_ns() < until && atomic_load(&common->failures) == 0) {
        uint32_t victim = next_random(&seed) % PROCESSES;
        assert_int_equal(kin_sleep(10), 0);
        for (uint32_t i = 0; i < PROCESSES; i++) {
            going = goes_on(&all[i], i) && going;
        }
        if (going) {
            kill_and_close(all[victim].process);
            begin(&all[victim], victim, (uint32_t)++ * kills);
        }
    }
    /* And without deaths everybody goes on. */
    int64_t calm = kin_clock_ns();
    for (uint32_t i = 0; i < PROCESSES && going && atomic_load(&common->failures) == 0; i++) {
        uint64_t beats = atomic_load(&common->places[i].beats);
        while (going && atomic_load(&common->places[i].beats) < beats + 10) {
            going = kin_clock_ns() - calm < STUCK_MS * INT64_C(1000000);
            assert_int_equal(kin_sleep(1), 0);
        }
    }
    assert_true(going);
}

static void nobody_is_stuck_and_nothing_is_lost(void **state)
{
    (void) state;
    watched all[PROCESSES];
    uint64_t kills = 0;
    create();
    const char *seed = getenv("KIN_STORM_SEED");
    common->seed = seed != NULL ? strtoull(seed, NULL, 10) : (uint64_t) kin_clock_ns();
    for (uint32_t i = 0; i < PROCESSES; i++) {
        begin(&all[i], i, 0);
    }
    rage(all, &kills);
    for (uint32_t i = 0; i < PROCESSES; i++) {
        kill_and_close(all[i].process);
    }
    if (atomic_load(&common->failures) != 0) {
        (void) fprintf(stderr, "seed %" PRIu64 ": line %u, %d\n", common->seed,
                       atomic_load(&common->line), (int) atomic_load(&common->status));
    }
    assert_int_equal(atomic_load(&common->failures), 0);
    /* What the dead had is back, all of it. */
    for (int i = 0; i < PERMITS; i++) {
        assert_int_equal(kin_semaphore_acquire(common->owned, 1000), 0);
    }
    assert_int_equal(kin_semaphore_acquire(common->owned, 0), KIN_E_TIMEOUT);
    int value = kin_semaphore_value(common->semaphore);
    assert_true(value >= PROCESSES && (uint64_t) value <= PROCESSES + kills + PROCESSES);
    assert_true(kin_lock_acquire(common->lock, 1000) >= 0);
    assert_true(kin_rlock_acquire(common->rlock, 1000) >= 0);
    assert_true(kin_rwlock_write(common->rwlock, 1000) >= 0);
    assert_true(kin_condition_acquire(common->condition, 1000) >= 0);
    uint64_t uses = 0;
    for (int i = 0; i < USES; i++) {
        uses += atomic_load(&common->uses[i]);
        assert_true(atomic_load(&common->uses[i]) > 0);
    }
    (void) printf("# %" PRIu64 " kills, %" PRIu64 " uses, %" PRIu64 " deaths told to the next\n",
                  kills, uses, atomic_load(&common->died));
    destroy();
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CLEAN_TEST(nobody_is_stuck_and_nothing_is_lost),
    };
    if (kin_init(&argc, &argv) < 0) {
        return EXIT_FAILURE;
    }
    return cmocka_run_group_tests(tests, warm_up, NULL);
}
