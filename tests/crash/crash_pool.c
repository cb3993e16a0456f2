/* Deaths of a pool's workers and of those who give them work. A map ends, and says that a worker
   died if an item was lost; all other items are right. */
#include "harness.h"

#include <stdio.h>
#include <string.h>

enum {
    ITEMS = 6,
    CHUNK = 2,
    MANY_ITEMS = 200,
    WORKERS = 3,
    MAPPERS = 2,
    RANDOM_DEATHS = 200,
    MILLISECOND = 1000000,
    MAP_FAILED = 3
};

typedef struct item {
    uint64_t shared; /* offset */
    uint64_t number;
} item;

typedef struct shared_part {
    _Atomic uint32_t begun; /* the worker that is stepped has begun */
    _Atomic uint32_t stop;
    wait_signal mapped; /* raised after each map */
} shared_part;

typedef struct map_order {
    kin_pool pool;
    uint64_t shared;
} map_order;

static bool is_stepped; /* in the worker */

static uint64_t result_of(const item *i)
{
    return i->number * 3 + 1;
}

static int take_item(kin_call *call)
{
    const item *i = call->argument;
    uint64_t result = result_of(i);
    memcpy(call->result, &result, sizeof result);
    return 0;
}

/* The first worker that comes here is stepped from here on. */
static int take_first_item(kin_call *call)
{
    const item *i = call->argument;
    shared_part *shared = arena_at(i->shared);
    if (atomic_exchange(&shared->begun, 1) == 0) {
        is_stepped = true;
        step_begin();
    }
    return take_item(call);
}

static int take_last_item(kin_call *call)
{
    if (is_stepped) {
        step_end();
    }
    return take_item(call);
}

/* Lost items are zeros, and told. */
static bool map_is_right(const map_order *order, kin_task task, size_t count)
{
    item items[MANY_ITEMS];
    uint64_t results[MANY_ITEMS];
    for (size_t i = 0; i < count; i++) {
        items[i] = (item){order->shared, i};
    }
    kin_map_options options = {.chunk = CHUNK};
    int status = kin_pool_map(order->pool, task, items, count, sizeof *items, results,
                              sizeof *results, &options);
    size_t lost = 0;
    for (size_t i = 0; i < count; i++) {
        if (results[i] != 0 && results[i] != result_of(&items[i])) {
            (void) fprintf(stderr, "item %u has a wrong result\n", (unsigned) i);
            return false;
        }
        lost += results[i] == 0;
    }
    if (status != (lost > 0 ? KIN_E_WORKER_DIED : 0)) {
        (void) fprintf(stderr, "%u items lost, and told: %s\n", (unsigned) lost,
                       kin_strerror(status));
        return false;
    }
    return true;
}

static int map_twice(void *argument, size_t size)
{
    map_order order;
    CRASH_REQUIRE(size == sizeof order);
    memcpy(&order, argument, sizeof order);
    bool right = map_is_right(&order, take_first_item, ITEMS);
    return map_is_right(&order, take_last_item, ITEMS) && right ? 0 : MAP_FAILED;
}

static int map_until_stopped(void *argument, size_t size)
{
    map_order order;
    CRASH_REQUIRE(size == sizeof order);
    memcpy(&order, argument, sizeof order);
    shared_part *shared = arena_at(order.shared);
    while (atomic_load(&shared->stop) == 0) {
        if (!map_is_right(&order, take_item, MANY_ITEMS)) {
            return MAP_FAILED;
        }
        wait_raise(&shared->mapped);
    }
    return 0;
}

static shared_part *new_shared(void)
{
    uint64_t block;
    CRASH_REQUIRE(arena_allocate(&block, sizeof(shared_part), ARENA_ZERO) == 0);
    CRASH_REQUIRE(arena_publish(block) == 0);
    return arena_at(block);
}

static void free_shared(shared_part *shared)
{
    CRASH_REQUIRE(arena_free(arena_offset(shared)) == 0);
}

static kin_pool new_pool(uint32_t workers)
{
    kin_pool pool = {0};
    kin_pool_options options = {.workers = workers};
    CRASH_REQUIRE(kin_pool_create(&pool, &options) == 0);
    return pool;
}

/* The watching thread stays once it is there. */
static void look_after_a_pool(kin_arena_usage *before)
{
    CRASH_REQUIRE(kin_pool_destroy(new_pool(1)) == 0);
    crash_look(before);
}

/* ---- step by step ---- */

static void die_after(step_path *path, uint64_t at)
{
    kin_arena_usage before;
    crash_watch("map", 0, at);
    crash_look(&before);
    shared_part *shared = new_shared();
    map_order order = {new_pool(1), arena_offset(shared)};
    kin_process worker;
    CRASH_REQUIRE(kin_active_children(&worker, 1) == 1);
    kin_process mapper = crash_start(map_twice, &order, sizeof order);
    CRASH_REQUIRE(step_await(worker));
    step_result result = at == 0 ? step_learn(worker, path) : step_on(worker, path, at);
    CRASH_REQUIRE(result != STEP_ENDED);
    int64_t died = platform_clock_ns();
    step_kill(worker);
    crash_count(at == 0 ? path->count : at, 1);
    CRASH_REQUIRE(crash_end(mapper, false) == 0);
    crash_limit(died, CRASH_SECOND);
    CRASH_REQUIRE(kin_pool_destroy(order.pool) == 0);
    free_shared(shared);
    crash_check(&before, false);
    crash_calm();
}

static void a_worker_dies_in_a_map(void **state)
{
    (void) state;
    crash_need_steps();
    kin_arena_usage usage;
    look_after_a_pool(&usage);
    step_path path = {0};
    die_after(&path, 0);
    crash_row row;
    uint64_t deaths = 0;
    crash_row_begin(&row, &path);
    for (; crash_row_next(&row); deaths++) {
        die_after(&path, row.at);
    }
    crash_tell(deaths, &path);
    step_forget(&path);
}

/* ---- at random ---- */

static bool has_ended(kin_process process)
{
    if (kin_process_is_alive(process) == 1) {
        return false;
    }
    int code = 0;
    (void) kin_process_exit_code(process, &code);
    (void) fprintf(stderr, "a mapper has ended with %d\n", code);
    return true;
}

/* Waits until a map is done and all workers are there: a pool whose workers all die on their way
   gives up. */
static void await_work(const map_order *order, const kin_process *mappers)
{
    shared_part *shared = arena_at(order->shared);
    do {
        uint32_t seen = wait_count(&shared->mapped);
        while (wait_count(&shared->mapped) == seen) {
            for (int i = 0; i < MAPPERS; i++) {
                CRASH_REQUIRE(!has_ended(mappers[i]));
            }
            CRASH_REQUIRE(wait_for_change(&shared->mapped, seen, INT64_MAX) == 0);
        }
    } while (kin_pool_workers(order->pool) < WORKERS);
}

/* Kills a mapper, and starts another, or a worker, in whose place the pool starts another. */
static void kill_one(const map_order *order, kin_process *mappers, uint64_t *seed)
{
    kin_process children[2 * (WORKERS + MAPPERS)];
    size_t most = sizeof children / sizeof *children;
    size_t count = kin_active_children(children, most);
    kin_process chosen = children[crash_random(seed) % (count < most ? count : most)];
    int status = kin_process_kill(chosen);
    CRASH_REQUIRE(status == 0 || status == KIN_E_HANDLE); /* it is gone already */
    for (int i = 0; i < MAPPERS; i++) {
        if (mappers[i].id == chosen.id) {
            CRASH_REQUIRE(crash_end(mappers[i], true) == -KIN_SIGKILL);
            mappers[i] = crash_start(map_until_stopped, order, sizeof *order);
        }
    }
    crash_count(0, 1);
}

static void workers_and_mappers_die_at_random(void **state)
{
    (void) state;
    uint64_t seed = crash_seed();
    kin_arena_usage before;
    look_after_a_pool(&before);
    crash_watch("maps at random", 0, 0);
    shared_part *shared = new_shared();
    map_order order = {new_pool(WORKERS), arena_offset(shared)};
    kin_process mappers[MAPPERS];
    for (int i = 0; i < MAPPERS; i++) {
        mappers[i] = crash_start(map_until_stopped, &order, sizeof order);
    }
    unsigned deaths = crash_wanted(RANDOM_DEATHS);
    for (unsigned i = 0; i < deaths; i++) {
        crash_watch("maps at random", 0, i);
        await_work(&order, mappers);
        platform_sleep_ns((int64_t) (crash_random(&seed) % (2 * MILLISECOND)));
        kill_one(&order, mappers, &seed);
    }
    atomic_store(&shared->stop, 1);
    for (int i = 0; i < MAPPERS; i++) {
        CRASH_REQUIRE(crash_end(mappers[i], false) == 0);
    }
    CRASH_REQUIRE(kin_pool_destroy(order.pool) == 0);
    free_shared(shared);
    crash_check(&before, true);
    crash_calm();
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_worker_dies_in_a_map, crash_begin_steps, crash_end_steps),
        cmocka_unit_test(workers_and_mappers_die_at_random),
    };
    return crash_run(argc, argv, tests, sizeof tests / sizeof *tests);
}
