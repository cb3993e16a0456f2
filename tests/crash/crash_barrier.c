/* Deaths of parties to a barrier: while they arrive, wait, run the action, give up, or change it.
   Those who are left are through, or told that it is broken, within a second; after a reset they
   meet as before. */
#include "harness.h"

#include <string.h>

enum { RANDOM_DEATHS = 150, CROWD = 3, MANY = 1000, TIMES_OUT_MS = 5, NOTHING = 1 };

#define MILLISECOND INT64_C(1000000)

typedef struct stage {
    kin_barrier barrier;
    kin_barrier other;      /* what the stepped one makes */
    _Atomic uint32_t comes; /* the one that is not stepped may come */
    _Atomic uint32_t go;    /* the survivor has reset it */
    _Atomic int32_t status; /* of its first wait; NOTHING until then */
    _Atomic uint32_t acts;
    _Atomic uint32_t stop;
    wait_signal met;
} stage;

typedef struct order {
    uint64_t stage;
    uint32_t operation;
    uint32_t unused;
} order;

static stage *stage_of(const void *argument, size_t size, order *told)
{
    CRASH_REQUIRE(size == sizeof *told);
    memcpy(told, argument, size);
    return arena_at(told->stage);
}

static int act(void *argument, size_t size)
{
    uint64_t offset;
    CRASH_REQUIRE(size == sizeof offset);
    memcpy(&offset, argument, sizeof offset);
    stage *s = arena_at(offset);
    atomic_fetch_add(&s->acts, 1);
    return 0;
}

/* ---- the one that is not stepped ---- */

static int meet(void *argument, size_t size)
{
    order told;
    stage *s = stage_of(argument, size, &told);
    while (atomic_load(&s->comes) == 0 && kin_barrier_n_waiting(s->barrier) == 0) {
        platform_sleep_ns(MILLISECOND / 10);
    }
    atomic_store(&s->status, kin_barrier_wait(s->barrier, NULL, KIN_FOREVER));
    while (atomic_load(&s->go) == 0) {
        platform_sleep_ns(MILLISECOND / 10);
    }
    for (int i = 0; i < MANY && atomic_load(&s->stop) == 0; i++) {
        CRASH_REQUIRE(kin_barrier_wait(s->barrier, NULL, KIN_FOREVER) == 0);
    }
    return 0;
}

/* ---- what they are stepped in ---- */

static void wait_for_it(stage *s)
{
    CRASH_REQUIRE(kin_barrier_wait(s->barrier, NULL, KIN_FOREVER) == 0);
}

static void wait_in_vain(stage *s)
{
    CRASH_REQUIRE(kin_barrier_wait(s->barrier, NULL, TIMES_OUT_MS) == KIN_E_TIMEOUT);
}

static void reset(stage *s)
{
    CRASH_REQUIRE(kin_barrier_reset(s->barrier) == 0);
}

static void abort_it(stage *s)
{
    CRASH_REQUIRE(kin_barrier_abort(s->barrier) == 0);
}

static void destroy(stage *s)
{
    CRASH_REQUIRE(kin_barrier_destroy(s->barrier) == 0);
}

static void create_and_destroy(stage *s)
{
    const kin_barrier_options options = {.action = act, .argument = "x", .argument_size = 1};
    CRASH_REQUIRE(kin_barrier_create(&s->other, 2, &options) == 0);
    CRASH_REQUIRE(kin_barrier_destroy(s->other) == 0);
}

typedef struct operation {
    const char *name;
    void (*operate)(stage *s);
    uint32_t parties;
    bool acts;
    bool comes_first; /* the other one waits before it begins */
    bool ends;
} operation;

static const operation operations[] = {
    {"wait for another", wait_for_it, 2, false, false, false},
    {"come last", wait_for_it, 2, false, true, false},
    {"come last and act", wait_for_it, 2, true, true, false},
    {"wait in vain", wait_in_vain, 3, false, true, false},
    {"reset", reset, 2, false, true, false},
    {"abort", abort_it, 2, false, true, false},
    {"create and destroy", create_and_destroy, 2, false, true, false},
    {"destroy", destroy, 2, true, true, true},
};
enum { OPERATIONS = sizeof operations / sizeof *operations };

static int live_by_steps(void *argument, size_t size)
{
    order told;
    stage *s = stage_of(argument, size, &told);
    step_begin();
    operations[told.operation].operate(s);
    step_end();
    return 0;
}

/* ---- the survivor ---- */

static stage *new_stage(uint32_t parties, bool acts)
{
    uint64_t block;
    CRASH_REQUIRE(arena_allocate(&block, sizeof(stage), ARENA_ZERO) == 0);
    CRASH_REQUIRE(arena_publish(block) == 0);
    stage *s = arena_at(block);
    atomic_store(&s->status, NOTHING);
    const kin_barrier_options options = {
        .action = acts ? act : NULL, .argument = &block, .argument_size = sizeof block};
    CRASH_REQUIRE(kin_barrier_create(&s->barrier, parties, &options) == 0);
    return s;
}

static void await_waiting(stage *s, int count)
{
    while (kin_barrier_n_waiting(s->barrier) < count) {
        platform_sleep_ns(MILLISECOND / 10);
    }
}

/* Until the other one is through, or told. If the dead one has not come to the barrier, nor to what
   ends the wait, the other waits with good reason, and may be helped. */
static void see_through(stage *s, const operation *o)
{
    atomic_store(&s->comes, 1);
    while (atomic_load(&s->status) == NOTHING) {
        if (kin_barrier_n_waiting(s->barrier) == 1) {
            int status = o->parties == 2 ? kin_barrier_wait(s->barrier, NULL, KIN_FOREVER)
                                         : kin_barrier_abort(s->barrier);
            CRASH_REQUIRE(status == 0 || status == KIN_E_BROKEN);
        }
        platform_sleep_ns(MILLISECOND / 10);
    }
    int status = atomic_load(&s->status);
    CRASH_REQUIRE(status == 0 || status == KIN_E_BROKEN);
}

static void survive(stage *s, const operation *o)
{
    if (o->ends) {
        int status = kin_barrier_destroy(s->barrier); /* the dead one may have come to it */
        CRASH_REQUIRE(status == 0 || status == KIN_E_HANDLE);
        atomic_store(&s->stop, 1);
        atomic_store(&s->go, 1);
        while (atomic_load(&s->status) == NOTHING) {
            platform_sleep_ns(MILLISECOND / 10);
        }
        CRASH_REQUIRE(atomic_load(&s->status) == KIN_E_DESTROYED);
        return;
    }
    see_through(s, o);
    CRASH_REQUIRE(kin_barrier_reset(s->barrier) == 0);
    if (o->parties == 2) {
        atomic_store(&s->go, 1);
        for (int i = 0; i < MANY; i++) {
            CRASH_REQUIRE(kin_barrier_wait(s->barrier, NULL, KIN_FOREVER) == 0);
        }
    } else {
        atomic_store(&s->stop, 1);
        atomic_store(&s->go, 1);
    }
}

static void die_after(const operation *o, step_path *path, uint64_t at)
{
    kin_arena_usage before;
    crash_watch(o->name, 0, at);
    crash_look(&before);
    stage *s = new_stage(o->parties, o->acts);
    order told = {.stage = arena_offset(s), .operation = (uint32_t) (o - operations)};
    kin_process other = crash_start(meet, &told, sizeof told);
    if (o->comes_first) {
        atomic_store(&s->comes, 1);
        await_waiting(s, 1);
    }
    kin_process child = crash_start(live_by_steps, &told, sizeof told);
    CRASH_REQUIRE(step_await(child));
    step_result result = at == 0 ? step_learn(child, path) : step_on(child, path, at);
    CRASH_REQUIRE(result != STEP_ENDED);
    int64_t died = platform_clock_ns();
    step_kill(child);
    crash_count(at == 0 ? path->count : at, 1);
    /* Of one that waited, and whose end nobody sees, the one that waits with it finds out. */
    bool unseen =
        at % 2 == 0 && atomic_load(&s->status) == NOTHING && kin_barrier_n_waiting(s->barrier) == 2;
    if (!unseen) {
        CRASH_REQUIRE(crash_end(child, false) == -KIN_SIGKILL);
    }
    survive(s, o);
    CRASH_REQUIRE(crash_end(other, false) == 0);
    if (unseen) {
        CRASH_REQUIRE(crash_end(child, false) == -KIN_SIGKILL);
    }
    crash_limit(died, CRASH_SECOND);
    if (!o->ends) {
        CRASH_REQUIRE(kin_barrier_destroy(s->barrier) == 0);
        int status = kin_barrier_destroy(s->other); /* if the dead one has published it */
        CRASH_REQUIRE(status == 0 || status == KIN_E_HANDLE);
    }
    CRASH_REQUIRE(arena_free(arena_offset(s)) == 0);
    crash_check(&before, false);
    crash_calm();
}

static void die_at_each(void **state)
{
    const operation *o = *state;
    crash_need_steps();
    step_path path = {0};
    die_after(o, &path, 0);
    crash_row row;
    uint64_t deaths = 0;
    crash_row_begin(&row, &path);
    for (; crash_row_next(&row); deaths++) {
        die_after(o, &path, row.at);
    }
    crash_tell(deaths, &path);
    step_forget(&path);
}

/* ---- at random ---- */

static int meet_until_stopped(void *argument, size_t size)
{
    order told;
    stage *s = stage_of(argument, size, &told);
    while (atomic_load(&s->stop) == 0) {
        int status = kin_barrier_wait(s->barrier, NULL, KIN_FOREVER);
        CRASH_REQUIRE(status == 0 || status == KIN_E_BROKEN);
        if (status == 0) {
            wait_raise(&s->met);
        } else {
            platform_sleep_ns(MILLISECOND / 10); /* until somebody resets it */
        }
    }
    return 0;
}

/* A broken barrier is reset, as often as it takes. */
static void await_meetings(stage *s)
{
    for (int i = 0; i < 20; i++) {
        uint32_t seen = wait_count(&s->met);
        while (wait_count(&s->met) == seen) {
            if (kin_barrier_is_broken(s->barrier) == 1) {
                CRASH_REQUIRE(kin_barrier_reset(s->barrier) == 0);
            }
            int64_t soon = platform_clock_ns() + MILLISECOND;
            int status = wait_for_change(&s->met, seen, soon);
            CRASH_REQUIRE(status == 0 || status == KIN_E_TIMEOUT);
        }
    }
}

static void parties_die_at_random(void **state)
{
    (void) state;
    uint64_t seed = crash_seed();
    kin_arena_usage before;
    kin_process crowd[CROWD];
    crash_watch("parties at random", 0, 0);
    crash_look(&before);
    stage *s = new_stage(CROWD, true);
    order told = {.stage = arena_offset(s)};
    for (int i = 0; i < CROWD; i++) {
        crowd[i] = crash_start(meet_until_stopped, &told, sizeof told);
    }
    unsigned deaths = crash_wanted(RANDOM_DEATHS);
    for (unsigned i = 0; i < deaths; i++) {
        crash_watch("parties at random", 0, i);
        await_meetings(s);
        platform_sleep_ns((int64_t) (crash_random(&seed) % MILLISECOND));
        uint32_t victim = (uint32_t) (crash_random(&seed) % CROWD);
        CRASH_REQUIRE(kin_process_kill(crowd[victim]) == 0);
        CRASH_REQUIRE(crash_end(crowd[victim], true) == -KIN_SIGKILL);
        crash_count(0, 1);
        crowd[victim] = crash_start(meet_until_stopped, &told, sizeof told);
    }
    await_meetings(s);
    atomic_store(&s->stop, 1);
    CRASH_REQUIRE(kin_barrier_abort(s->barrier) == 0);
    for (int i = 0; i < CROWD; i++) {
        CRASH_REQUIRE(crash_end(crowd[i], false) == 0);
    }
    CRASH_REQUIRE(kin_barrier_destroy(s->barrier) == 0);
    CRASH_REQUIRE(arena_free(arena_offset(s)) == 0);
    crash_check(&before, true);
    crash_calm();
}

int main(int argc, char **argv)
{
    struct CMUnitTest tests[OPERATIONS + 1];
    for (int i = 0; i < OPERATIONS; i++) {
        tests[i] = (struct CMUnitTest){operations[i].name, die_at_each, crash_begin_steps,
                                       crash_end_steps, (void *) (uintptr_t) &operations[i]};
    }
    tests[OPERATIONS] = (struct CMUnitTest) cmocka_unit_test(parties_die_at_random);
    return crash_run(argc, argv, tests, OPERATIONS + 1);
}
