/* Deaths of those who wait for a condition and of those who notify. What is in the store is taken
   by those who are left, within a second: no notification is lost with one who died. Whoever learns
   that an owner died notifies all. */
#include "harness.h"

#include <string.h>

enum { RANDOM_DEATHS = 150, CROWD = 6, ROOM = 2, MANY = 1000, TIMES_OUT_MS = 5 };

#define MILLISECOND INT64_C(1000000)

typedef struct stage {
    kin_condition condition;
    kin_condition other;    /* of the same lock: the crowd's for room */
    kin_lock lock;          /* of both, if it is the user's */
    _Atomic uint32_t items; /* all of this under the lock */
    _Atomic uint32_t waiting;
    _Atomic uint32_t taken;
    _Atomic uint32_t stop;
    wait_signal moved;
} stage;

typedef struct order {
    uint64_t stage;
    uint32_t operation;
    uint32_t number;
} order;

static stage *stage_of(const void *argument, size_t size, order *told)
{
    CRASH_REQUIRE(size == sizeof *told);
    memcpy(told, argument, size);
    return arena_at(told->stage);
}

/* What an owner's death means to the next. */
static void repair(stage *s, int status)
{
    CRASH_REQUIRE(status == 0 || status == KIN_OWNER_DIED);
    if (status == KIN_OWNER_DIED) {
        CRASH_REQUIRE(kin_condition_notify_all(s->condition) == 0);
        CRASH_REQUIRE(s->other.id == 0 || kin_condition_notify_all(s->other) == 0);
    }
}

static void lock(stage *s)
{
    repair(s, kin_condition_acquire(s->condition, KIN_FOREVER));
}

static void unlock(stage *s)
{
    CRASH_REQUIRE(kin_condition_release(s->condition) == 0);
}

static void wait_at(stage *s, kin_condition condition)
{
    atomic_fetch_add(&s->waiting, 1);
    repair(s, kin_condition_wait(condition, KIN_FOREVER));
    atomic_fetch_sub(&s->waiting, 1);
}

/* ---- those who are not stepped ---- */

static int take_until_stopped(void *argument, size_t size)
{
    order told;
    stage *s = stage_of(argument, size, &told);
    lock(s);
    while (atomic_load(&s->stop) == 0) {
        if (atomic_load(&s->items) > 0) {
            atomic_fetch_sub(&s->items, 1);
            atomic_fetch_add(&s->taken, 1);
        } else {
            wait_at(s, s->condition);
        }
    }
    unlock(s);
    return 0;
}

/* Puts an item whenever there is none and two wait. */
static int put_until_stopped(void *argument, size_t size)
{
    order told;
    stage *s = stage_of(argument, size, &told);
    while (atomic_load(&s->stop) == 0) {
        lock(s);
        if (atomic_load(&s->items) == 0 && atomic_load(&s->waiting) >= 2) {
            atomic_store(&s->items, 1);
            CRASH_REQUIRE(kin_condition_notify(s->condition, 1) == 0);
        }
        unlock(s);
        CRASH_REQUIRE(kin_sleep(1) == 0);
    }
    return 0;
}

static int wait_for_end(void *argument, size_t size)
{
    order told;
    stage *s = stage_of(argument, size, &told);
    int status = kin_condition_acquire(s->condition, KIN_FOREVER);
    CRASH_REQUIRE(status == 0 || status == KIN_OWNER_DIED);
    atomic_fetch_add(&s->waiting, 1);
    status = kin_condition_wait(s->condition, KIN_FOREVER);
    CRASH_REQUIRE(status == KIN_E_DESTROYED);
    return 0;
}

/* ---- what they are stepped in ---- */

static void wait_and_take(stage *s)
{
    lock(s);
    while (atomic_load(&s->items) == 0) {
        wait_at(s, s->condition);
    }
    atomic_fetch_sub(&s->items, 1);
    unlock(s);
}

static void wait_in_vain(stage *s)
{
    lock(s);
    int status = kin_condition_wait(s->condition, TIMES_OUT_MS);
    CRASH_REQUIRE(status == KIN_E_TIMEOUT || status == 0);
    unlock(s);
}

static void put_and_notify(stage *s)
{
    lock(s);
    atomic_fetch_add(&s->items, 1);
    CRASH_REQUIRE(kin_condition_notify(s->condition, 1) == 0);
    unlock(s);
}

static void put_and_notify_all(stage *s)
{
    lock(s);
    atomic_fetch_add(&s->items, 2);
    CRASH_REQUIRE(kin_condition_notify_all(s->condition) == 0);
    unlock(s);
}

static void create_and_destroy(stage *s)
{
    CRASH_REQUIRE(kin_condition_create(&s->other, NULL) == 0);
    CRASH_REQUIRE(kin_condition_destroy(s->other) == 0);
}

static void destroy(stage *s)
{
    CRASH_REQUIRE(kin_condition_destroy(s->condition) == 0);
}

typedef struct operation {
    const char *name;
    void (*operate)(stage *s);
    int (*others[2])(void *argument, size_t size);
    bool has_lock; /* of the user's */
    bool ends;     /* the condition */
} operation;

static const operation operations[] = {
    {"wait and be notified", wait_and_take, {take_until_stopped, put_until_stopped}, false, false},
    {"wait with a lock of the user's",
     wait_and_take,
     {take_until_stopped, put_until_stopped},
     true,
     false},
    {"wait in vain", wait_in_vain, {take_until_stopped, NULL}, false, false},
    {"notify", put_and_notify, {take_until_stopped, take_until_stopped}, false, false},
    {"notify all", put_and_notify_all, {take_until_stopped, take_until_stopped}, true, false},
    {"create and destroy", create_and_destroy, {NULL, NULL}, false, false},
    {"destroy", destroy, {wait_for_end, wait_for_end}, false, true},
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

static stage *new_stage(bool has_lock)
{
    uint64_t block;
    CRASH_REQUIRE(arena_allocate(&block, sizeof(stage), ARENA_ZERO) == 0);
    CRASH_REQUIRE(arena_publish(block) == 0);
    stage *s = arena_at(block);
    kin_condition_options options = {.name = "stage"};
    if (has_lock) {
        CRASH_REQUIRE(kin_lock_create(&s->lock, NULL) == 0);
        options.lock = s->lock;
    }
    CRASH_REQUIRE(kin_condition_create(&s->condition, &options) == 0);
    return s;
}

static void free_stage(stage *s)
{
    if (s->lock.id != 0) {
        CRASH_REQUIRE(kin_lock_destroy(s->lock) == 0);
    }
    CRASH_REQUIRE(arena_free(arena_offset(s)) == 0);
}

/* Until nothing is left in the store. */
static void await_taken(stage *s)
{
    while (atomic_load(&s->items) > 0) {
        platform_sleep_ns(MILLISECOND / 10);
    }
}

static void go_on(stage *s)
{
    for (int i = 0; i < MANY; i++) {
        lock(s);
        CRASH_REQUIRE(kin_condition_notify(s->condition, 1) == 0);
        unlock(s);
    }
    lock(s);
    int status = kin_condition_wait(s->condition, 0);
    CRASH_REQUIRE(status == KIN_E_TIMEOUT || status == 0 || status == KIN_OWNER_DIED);
    unlock(s);
}

/* All goes on without the dead one. */
static void survive(stage *s, const operation *o)
{
    if (o->ends) {
        int status = kin_condition_destroy(s->condition); /* the dead one may have come to it */
        CRASH_REQUIRE(status == 0 || status == KIN_E_HANDLE);
        return;
    }
    await_taken(s);
    go_on(s);
    if (o->others[0] != NULL) {
        lock(s);
        atomic_fetch_add(&s->items, 1);
        CRASH_REQUIRE(kin_condition_notify(s->condition, 1) == 0);
        unlock(s);
        await_taken(s);
    }
    lock(s);
    atomic_store(&s->stop, 1);
    CRASH_REQUIRE(kin_condition_notify_all(s->condition) == 0);
    unlock(s);
}

static void die_after(const operation *o, step_path *path, uint64_t at)
{
    kin_arena_usage before;
    kin_process others[2] = {{0}, {0}};
    crash_watch(o->name, 0, at);
    crash_look(&before);
    stage *s = new_stage(o->has_lock);
    order told = {.stage = arena_offset(s), .operation = (uint32_t) (o - operations)};
    uint32_t count = 0;
    for (int i = 0; i < 2 && o->others[i] != NULL; i++) {
        others[i] = crash_start(o->others[i], &told, sizeof told);
        count += o->others[i] != put_until_stopped;
    }
    while (atomic_load(&s->waiting) < count) {
        platform_sleep_ns(MILLISECOND / 10);
    }
    kin_process child = crash_start(live_by_steps, &told, sizeof told);
    CRASH_REQUIRE(step_await(child));
    step_result result = at == 0 ? step_learn(child, path) : step_on(child, path, at);
    CRASH_REQUIRE(result != STEP_ENDED);
    int64_t died = platform_clock_ns();
    step_kill(child);
    crash_count(at == 0 ? path->count : at, 1);
    bool unseen = at % 2 == 0 && o->others[0] != NULL; /* by all but those who wait */
    if (!unseen) {
        CRASH_REQUIRE(crash_end(child, false) == -KIN_SIGKILL);
    }
    survive(s, o);
    for (int i = 0; i < 2 && o->others[i] != NULL; i++) {
        CRASH_REQUIRE(crash_end(others[i], false) == 0);
    }
    if (unseen) {
        CRASH_REQUIRE(crash_end(child, false) == -KIN_SIGKILL);
    }
    crash_limit(died, CRASH_SECOND);
    if (!o->ends) {
        CRASH_REQUIRE(kin_condition_destroy(s->condition) == 0);
        int status = kin_condition_destroy(s->other); /* if the dead one has published it */
        CRASH_REQUIRE(status == 0 || status == KIN_E_HANDLE);
    }
    free_stage(s);
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

/* ---- at random: a crowd that puts and takes, with a condition for each ---- */

static int put_or_take(void *argument, size_t size)
{
    order told;
    stage *s = stage_of(argument, size, &told);
    bool puts = told.number % 2 == 0;
    for (bool stop = false; !stop;) {
        lock(s);
        while (atomic_load(&s->items) == (puts ? ROOM : 0) && atomic_load(&s->stop) == 0) {
            repair(s, kin_condition_wait(puts ? s->other : s->condition, KIN_FOREVER));
        }
        stop = atomic_load(&s->stop) != 0;
        if (!stop) {
            atomic_fetch_add(&s->items, puts ? 1 : UINT32_MAX);
            CRASH_REQUIRE(kin_condition_notify(puts ? s->condition : s->other, 1) == 0);
        }
        unlock(s);
        wait_raise(&s->moved);
    }
    return 0;
}

static void await_moves(stage *s)
{
    for (int i = 0; i < 20; i++) {
        uint32_t seen = wait_count(&s->moved);
        while (wait_count(&s->moved) == seen) {
            CRASH_REQUIRE(wait_for_change(&s->moved, seen, INT64_MAX) == 0);
        }
    }
}

static void a_crowd_dies_at_random(void **state)
{
    (void) state;
    uint64_t seed = crash_seed();
    kin_arena_usage before;
    kin_process crowd[CROWD];
    crash_watch("a crowd at random", 0, 0);
    crash_look(&before);
    stage *s = new_stage(true);
    const kin_condition_options options = {.lock = s->lock};
    CRASH_REQUIRE(kin_condition_create(&s->other, &options) == 0);
    order told = {.stage = arena_offset(s)};
    for (told.number = 0; told.number < CROWD; told.number++) {
        crowd[told.number] = crash_start(put_or_take, &told, sizeof told);
    }
    unsigned deaths = crash_wanted(RANDOM_DEATHS);
    for (unsigned i = 0; i < deaths; i++) {
        crash_watch("a crowd at random", 0, i);
        await_moves(s);
        platform_sleep_ns((int64_t) (crash_random(&seed) % MILLISECOND));
        told.number = (uint32_t) (crash_random(&seed) % CROWD);
        CRASH_REQUIRE(kin_process_kill(crowd[told.number]) == 0);
        CRASH_REQUIRE(crash_end(crowd[told.number], true) == -KIN_SIGKILL);
        crash_count(0, 1);
        crowd[told.number] = crash_start(put_or_take, &told, sizeof told);
    }
    await_moves(s);
    lock(s);
    atomic_store(&s->stop, 1);
    CRASH_REQUIRE(kin_condition_notify_all(s->condition) == 0);
    CRASH_REQUIRE(kin_condition_notify_all(s->other) == 0);
    unlock(s);
    for (int i = 0; i < CROWD; i++) {
        CRASH_REQUIRE(crash_end(crowd[i], false) == 0);
    }
    CRASH_REQUIRE(kin_condition_destroy(s->condition) == 0);
    CRASH_REQUIRE(kin_condition_destroy(s->other) == 0);
    free_stage(s);
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
    tests[OPERATIONS] = (struct CMUnitTest) cmocka_unit_test(a_crowd_dies_at_random);
    return crash_run(argc, argv, tests, OPERATIONS + 1);
}
