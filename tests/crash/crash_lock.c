/* Deaths of those who have locks, wait for them, and release them: locks, recursive locks and
   read-write locks. Whoever is left gets the lock within a second, and a thousand times more; who
   waits is told at most once of each death, and no two have a lock at once. */
#include "harness.h"

#include "core/latch.h"

#include <string.h>

enum { RANDOM_DEATHS = 200, CROWD = 6, OTHERS = 2, MANY = 1000, IN_VAIN_MS = 3 };

#define MILLISECOND INT64_C(1000000)

/* How a lock is had: as a lock, as a recursive one, to write and to read. */
enum way { PLAIN, RECURSIVE, WRITE, READ };

typedef struct stage {
    kin_lock plain;
    kin_rlock recursive;
    kin_rwlock shared;
    kin_lock made;           /* by the one that dies */
    _Atomic uint32_t writer; /* one that has it alone is inside */
    _Atomic uint32_t readers;
    _Atomic uint32_t owned; /* the one that dies has it */
    _Atomic uint32_t go;    /* it may go on */
    _Atomic uint32_t stop;
    _Atomic uint32_t done;
    wait_signal moved;
} stage;

typedef struct order {
    uint64_t stage;
    uint32_t operation;
    uint32_t way;
} order;

static stage *stage_of(const void *argument, size_t size, order *told)
{
    CRASH_REQUIRE(size == sizeof *told);
    memcpy(told, argument, size);
    return arena_at(told->stage);
}

/* ---- all ways alike ---- */

static uint64_t id_of(const stage *s, uint32_t way)
{
    return way == PLAIN ? s->plain.id : way == RECURSIVE ? s->recursive.id : s->shared.id;
}

static int acquire(const stage *s, uint32_t way, int timeout_ms)
{
    switch (way) {
    case PLAIN:
        return kin_lock_acquire(s->plain, timeout_ms);
    case RECURSIVE:
        return kin_rlock_acquire(s->recursive, timeout_ms);
    case WRITE:
        return kin_rwlock_write(s->shared, timeout_ms);
    default:
        return kin_rwlock_read(s->shared, timeout_ms);
    }
}

static int release(const stage *s, uint32_t way)
{
    return way == PLAIN       ? kin_lock_release(s->plain)
           : way == RECURSIVE ? kin_rlock_release(s->recursive)
                              : kin_rwlock_release(s->shared);
}

static int destroy(const stage *s, uint32_t way)
{
    return way == PLAIN       ? kin_lock_destroy(s->plain)
           : way == RECURSIVE ? kin_rlock_destroy(s->recursive)
                              : kin_rwlock_destroy(s->shared);
}

static void lock(const stage *s, uint32_t way)
{
    int status = acquire(s, way, KIN_FOREVER);
    CRASH_REQUIRE(status == 0 || status == KIN_OWNER_DIED);
}

static void unlock(const stage *s, uint32_t way)
{
    CRASH_REQUIRE(release(s, way) == 0);
}

static void nap(void)
{
    platform_sleep_ns(MILLISECOND / 10);
}

/* True when it is told so; or when the survivor is gone, because the test has failed. */
static bool is_stopped(stage *s)
{
    return atomic_load(&s->stop) != 0 || death_check(family_first());
}

/* ---- those who are not stepped ---- */

static int take_turns(void *argument, size_t size)
{
    order told;
    stage *s = stage_of(argument, size, &told);
    for (int i = 0; !is_stopped(s); i++) {
        lock(s, told.way);
        if (i % 4 == 0) {
            nap();
        }
        unlock(s, told.way);
        wait_raise(&s->moved);
        platform_sleep_ns(MILLISECOND); /* one that is stepped is slow */
    }
    return 0;
}

static int write_in_turns(void *argument, size_t size)
{
    order told;
    CRASH_REQUIRE(size == sizeof told);
    memcpy(&told, argument, size);
    told.way = WRITE;
    return take_turns(&told, sizeof told);
}

/* The same as a reader, beside those who write. */
static int read_in_turns(void *argument, size_t size)
{
    order told;
    stage *s = stage_of(argument, size, &told);
    while (!is_stopped(s)) {
        lock(s, READ);
        nap();
        unlock(s, READ);
        wait_raise(&s->moved);
        platform_sleep_ns(MILLISECOND);
    }
    return 0;
}

static int hold_until_stopped(void *argument, size_t size)
{
    order told;
    stage *s = stage_of(argument, size, &told);
    uint32_t way = told.way == READ ? (uint32_t) WRITE : told.way;
    lock(s, way);
    wait_raise(&s->moved);
    while (!is_stopped(s)) {
        nap();
    }
    unlock(s, way);
    return 0;
}

/* A writer waits for it. */
static int read_until_stopped(void *argument, size_t size)
{
    order told;
    stage *s = stage_of(argument, size, &told);
    lock(s, READ);
    wait_raise(&s->moved);
    while (!is_stopped(s)) {
        nap();
    }
    unlock(s, READ);
    return 0;
}

static int wait_for_turn(void *argument, size_t size)
{
    order told;
    stage *s = stage_of(argument, size, &told);
    uint32_t way = told.way == READ ? (uint32_t) WRITE : told.way;
    lock(s, way);
    unlock(s, way);
    return 0;
}

static int wait_for_end(void *argument, size_t size)
{
    order told;
    stage *s = stage_of(argument, size, &told);
    int status = acquire(s, told.way, KIN_FOREVER);
    if (status >= 0) { /* the dead one had not come to it */
        status = release(s, told.way);
        CRASH_REQUIRE(status == 0 || status == KIN_E_HANDLE);
        return 0;
    }
    CRASH_REQUIRE(status == KIN_E_DESTROYED);
    return 0;
}

/* ---- what they are stepped in ---- */

static void acquire_and_release(stage *s, uint32_t way)
{
    lock(s, way);
    if (way == RECURSIVE || way == READ) {
        lock(s, way);
        unlock(s, way);
    }
    unlock(s, way);
}

static void wait_in_vain(stage *s, uint32_t way)
{
    CRASH_REQUIRE(acquire(s, way, 0) == KIN_E_TIMEOUT);
    CRASH_REQUIRE(acquire(s, way, IN_VAIN_MS) == KIN_E_TIMEOUT);
}

static void create_and_destroy(stage *s, uint32_t way)
{
    (void) way;
    const kin_lock_options options = {.name = "made"};
    CRASH_REQUIRE(kin_lock_create(&s->made, &options) == 0);
    CRASH_REQUIRE(kin_lock_destroy(s->made) == 0);
}

static void end_lock(stage *s, uint32_t way)
{
    CRASH_REQUIRE(destroy(s, way) == 0);
}

static void leave(stage *s, uint32_t way)
{
    (void) s, (void) way;
    CRASH_REQUIRE(kin_shutdown() == 0);
}

static void give_back(stage *s, uint32_t way)
{
    unlock(s, way);
}

static void look_at_holders(stage *s, uint32_t way)
{
    (void) way;
    kin_lock_holder holder;
    CRASH_REQUIRE(kin_lock_owner(s->plain, &holder) == 0);
}

/* What the others do: at the end of it they stop by themselves, or are told to. */
typedef struct operation {
    const char *name;
    void (*operate)(stage *s, uint32_t way);
    int (*others[OTHERS])(void *argument, size_t size);
    uint32_t way;
    bool owns; /* it has the lock before, and the others wait for it */
    bool ends; /* the lock */
} operation;

static const operation operations[] = {
    {"acquire and release", acquire_and_release, {NULL}, PLAIN, false, false},
    {"acquire a recursive lock", acquire_and_release, {NULL}, RECURSIVE, false, false},
    {"write", acquire_and_release, {NULL}, WRITE, false, false},
    {"read", acquire_and_release, {NULL}, READ, false, false},
    {"acquire in turns", acquire_and_release, {take_turns, take_turns}, PLAIN, false, false},
    {"acquire a recursive lock in turns",
     acquire_and_release,
     {take_turns, NULL},
     RECURSIVE,
     false,
     false},
    {"write in turns", acquire_and_release, {take_turns, read_in_turns}, WRITE, false, false},
    {"read in turns", acquire_and_release, {take_turns, write_in_turns}, READ, false, false},
    {"wait in vain", wait_in_vain, {hold_until_stopped, NULL}, PLAIN, false, false},
    {"wait in vain to write", wait_in_vain, {read_until_stopped, NULL}, WRITE, false, false},
    {"wait in vain to read", wait_in_vain, {hold_until_stopped, NULL}, READ, false, false},
    {"release to others", give_back, {wait_for_turn, wait_for_turn}, PLAIN, true, false},
    {"release a recursive lock to others",
     give_back,
     {wait_for_turn, NULL},
     RECURSIVE,
     true,
     false},
    {"end to write", give_back, {wait_for_turn, wait_for_turn}, WRITE, true, false},
    {"end to read", give_back, {wait_for_turn, wait_for_turn}, READ, true, false},
    {"shut down as an owner", leave, {wait_for_turn, NULL}, PLAIN, true, false},
    {"shut down as a reader", leave, {wait_for_turn, NULL}, READ, true, false},
    {"create and destroy", create_and_destroy, {NULL}, PLAIN, false, false},
    {"destroy", end_lock, {wait_for_end, wait_for_end}, PLAIN, true, true},
    {"destroy one that is read", end_lock, {wait_for_end, NULL}, WRITE, true, true},
    {"ask who has it", look_at_holders, {hold_until_stopped, NULL}, PLAIN, false, false},
};
enum { OPERATIONS = sizeof operations / sizeof *operations };

static int live_by_steps(void *argument, size_t size)
{
    order told;
    stage *s = stage_of(argument, size, &told);
    const operation *o = &operations[told.operation];
    if (o->owns) {
        lock(s, o->way);
        atomic_store(&s->owned, 1);
        while (atomic_load(&s->go) == 0) {
            nap();
        }
    }
    step_begin();
    o->operate(s, o->way);
    step_end();
    return 0;
}

/* ---- the survivor ---- */

static stage *new_stage(void)
{
    uint64_t block;
    CRASH_REQUIRE(arena_allocate(&block, sizeof(stage), ARENA_ZERO) == 0);
    CRASH_REQUIRE(arena_publish(block) == 0);
    stage *s = arena_at(block);
    CRASH_REQUIRE(kin_lock_create(&s->plain, NULL) == 0);
    CRASH_REQUIRE(kin_rlock_create(&s->recursive, NULL) == 0);
    CRASH_REQUIRE(kin_rwlock_create(&s->shared, NULL) == 0);
    return s;
}

/* ended: a way in which one may be gone. */
static void free_stage(stage *s, int ended)
{
    for (int way = PLAIN; way <= WRITE; way++) {
        int status = destroy(s, (uint32_t) way);
        CRASH_REQUIRE(status == 0 || (way == ended && status == KIN_E_HANDLE));
    }
    int status = kin_lock_destroy(s->made);
    CRASH_REQUIRE(status == 0 || status == KIN_E_HANDLE);
    CRASH_REQUIRE(arena_free(arena_offset(s)) == 0);
}

/* Alone again: it is as if nothing had happened. */
static void go_on(const stage *s, uint32_t way)
{
    for (int i = 0; i < MANY; i++) {
        int status = acquire(s, way, 0);
        CRASH_REQUIRE(status == 0 || (i == 0 && status == KIN_OWNER_DIED));
        unlock(s, way);
    }
    CRASH_REQUIRE(release(s, way) == KIN_E_NOT_OWNER);
    if (way == READ) {
        go_on(s, WRITE);
    }
}

static void await_waiting(uint64_t id, uint32_t count)
{
    for (uint32_t waiting = 0; waiting < count;) {
        waiting = 0;
        for (uint32_t number = 1; number < arena_entries(ARENA_THREADS); number++) {
            waiting += atomic_load(&thread_at(number)->waits_for) == id;
        }
    }
}

static uint32_t start_others(const operation *o, const order *told, kin_process *others)
{
    uint32_t count = 0;
    for (; count < OTHERS && o->others[count] != NULL; count++) {
        others[count] = crash_start(o->others[count], told, sizeof *told);
    }
    return count;
}

/* Those who hold it have it, those who take turns have had one. */
static void await_moved(stage *s, uint32_t count)
{
    while (wait_count(&s->moved) < count) {
        nap();
    }
}

static void die_after(const operation *o, step_path *path, uint64_t at)
{
    kin_arena_usage before;
    kin_process others[OTHERS] = {{0}};
    kin_process child;
    uint32_t count;
    crash_watch(o->name, 0, at);
    crash_look(&before);
    stage *s = new_stage();
    order told = {arena_offset(s), (uint32_t) (o - operations), o->way};
    if (o->owns) {
        child = crash_start(live_by_steps, &told, sizeof told);
        while (atomic_load(&s->owned) == 0) {
            nap();
        }
        count = start_others(o, &told, others);
        await_waiting(id_of(s, o->way), count);
        atomic_store(&s->go, 1);
    } else {
        count = start_others(o, &told, others);
        /* Of the readers in turns, one waits for the writer that stays. */
        await_moved(s, count > 0);
        child = crash_start(live_by_steps, &told, sizeof told);
    }
    CRASH_REQUIRE(step_await(child));
    step_result result = at == 0 ? step_learn(child, path) : step_on(child, path, at);
    CRASH_REQUIRE(result != STEP_ENDED);
    int64_t died = platform_clock_ns();
    step_kill(child);
    crash_count(at == 0 ? path->count : at, 1);
    atomic_store(&s->stop, 1);
    bool unseen = at % 2 == 0 && count > 0; /* by all but those who wait */
    if (!unseen) {
        CRASH_REQUIRE(crash_end(child, false) == -KIN_SIGKILL);
    }
    if (o->ends) {
        int status = destroy(s, o->way); /* the dead one may have come to it */
        CRASH_REQUIRE(status == 0 || status == KIN_E_HANDLE);
    }
    for (uint32_t i = 0; i < count; i++) {
        CRASH_REQUIRE(crash_end(others[i], false) == 0);
    }
    if (unseen) {
        CRASH_REQUIRE(crash_end(child, false) == -KIN_SIGKILL);
    }
    if (!o->ends) {
        go_on(s, o->way);
    }
    crash_limit(died, CRASH_SECOND);
    free_stage(s, o->ends ? (int) o->way : -1);
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

/* ---- at random: a crowd that uses all three ---- */

/* Nobody is inside but who may be; the dead are forgotten by the next one that is told of them. */
static void be_alone(stage *s, int status)
{
    if (status == KIN_OWNER_DIED) {
        atomic_store(&s->writer, 0);
    }
    CRASH_REQUIRE(atomic_exchange(&s->writer, 1) == 0);
    if (wait_count(&s->moved) % 16 == 0) {
        nap();
    }
    atomic_store(&s->writer, 0);
}

static int use_all(void *argument, size_t size)
{
    order told;
    stage *s = stage_of(argument, size, &told);
    uint64_t seed = told.way;
    while (!is_stopped(s)) {
        uint32_t way = (uint32_t) (crash_random(&seed) % (READ + 1));
        int status = acquire(s, way, crash_random(&seed) % 2 == 0 ? KIN_FOREVER : 1);
        CRASH_REQUIRE(status >= 0 || status == KIN_E_TIMEOUT);
        if (status < 0) {
            continue;
        }
        if (way == WRITE) {
            be_alone(s, status);
        } else if (way == READ) {
            CRASH_REQUIRE(status == KIN_OWNER_DIED || atomic_load(&s->writer) == 0);
        } else if (crash_random(&seed) % 8 == 0) {
            nap();
        }
        unlock(s, way);
        wait_raise(&s->moved);
    }
    return 0;
}

static void await_moves(stage *s)
{
    uint32_t begun = wait_count(&s->moved);
    while (wait_count(&s->moved) - begun < 50) {
        uint32_t seen = wait_count(&s->moved);
        if (seen - begun < 50) {
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
    stage *s = new_stage();
    order told = {.stage = arena_offset(s)};
    for (int i = 0; i < CROWD; i++) {
        told.way = (uint32_t) crash_random(&seed);
        crowd[i] = crash_start(use_all, &told, sizeof told);
    }
    unsigned deaths = crash_wanted(RANDOM_DEATHS);
    for (unsigned i = 0; i < deaths; i++) {
        crash_watch("a crowd at random", 0, i);
        await_moves(s);
        platform_sleep_ns((int64_t) (crash_random(&seed) % MILLISECOND));
        kin_process *one = &crowd[crash_random(&seed) % CROWD];
        CRASH_REQUIRE(kin_process_kill(*one) == 0);
        CRASH_REQUIRE(crash_end(*one, true) == -KIN_SIGKILL);
        crash_count(0, 1);
        told.way = (uint32_t) crash_random(&seed);
        *one = crash_start(use_all, &told, sizeof told);
    }
    await_moves(s);
    atomic_store(&s->stop, 1);
    for (int i = 0; i < CROWD; i++) {
        CRASH_REQUIRE(crash_end(crowd[i], false) == 0);
    }
    for (uint32_t way = PLAIN; way <= READ; way++) {
        int status = acquire(s, way, 0);
        CRASH_REQUIRE(status == 0 || status == KIN_OWNER_DIED);
        unlock(s, way);
    }
    free_stage(s, -1);
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
