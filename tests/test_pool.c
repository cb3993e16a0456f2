/* What include/kin/pool.h promises. */
#include "support.h"

#include <stdlib.h>
#include <string.h>

enum { WORKERS = 3, THREADS = 4, ROUNDS = 8, CROWD = 70, MAPS = 64, MANY = 20000 };

/* What the members of a test share. */
typedef struct board {
    mark arrived;
    mark go;
    _Atomic uint64_t handle;
    _Atomic uint32_t initialized;
    _Atomic uint32_t calls[MAPS + 1];
} board;

typedef struct item {
    uint64_t board;
    int64_t number;
} item;

static kin_pool make_pool(uint32_t workers)
{
    kin_pool pool = {0};
    const kin_pool_options options = {.workers = workers};
    assert_int_equal(kin_pool_create(&pool, &options), 0);
    assert_true(pool.id != 0);
    return pool;
}

static const item *item_of(const kin_call *call)
{
    return call->argument;
}

static board *board_of(const kin_call *call)
{
    return arena_at(item_of(call)->board);
}

static void fill(item *items, size_t count, const board *b)
{
    for (size_t i = 0; i < count; i++) {
        items[i] = (item){b != NULL ? arena_offset(b) : 0, (int64_t) i};
    }
}

static int64_t value_of(int64_t number)
{
    return number * 3 + 7;
}

static int compute(kin_call *call)
{
    if (call->argument_size != sizeof(item) || call->result_size != sizeof(int64_t) ||
        *(int64_t *) call->result != 0 || item_of(call)->number != (int64_t) call->index) {
        return 1;
    }
    *(int64_t *) call->result = value_of(item_of(call)->number);
    return 0;
}

/* Maps `task` over `count` items, of which `lost` must have zeros for results, and all others must
   be right. */
static void assert_map(kin_pool pool, kin_task task, size_t count, const board *b,
                       const kin_map_options *options, int expected, size_t lost)
{
    item *items = calloc(count + 1, sizeof *items);
    int64_t *results = calloc(count + 1, sizeof *results);
    if (items == NULL || results == NULL) {
        fail_msg("no memory");
        return;
    }
    fill(items, count, b);
    memset(results, 0x55, (count + 1) * sizeof *results);
    const int64_t guard = results[count];
    int status =
        kin_pool_map(pool, task, items, count, sizeof *items, results, sizeof *results, options);
    assert_int_equal(status, expected);
    size_t zeros = 0;
    for (size_t i = 0; i < count; i++) {
        zeros += results[i] == 0;
        if (results[i] != 0 && results[i] != value_of((int64_t) i)) {
            fail_msg("result %zu is %lld", i, (long long) results[i]);
        }
    }
    assert_int_equal(zeros, lost);
    assert_true(results[count] == guard);
    free(items);
    free(results);
}

static void assert_works(kin_pool pool)
{
    assert_map(pool, compute, 100, NULL, NULL, 0, 0);
}

/* ---- maps ---- */

static void a_map_calls_the_task_for_each_item(void **state)
{
    static const size_t counts[] = {0, 1, 2, WORKERS, 63, 64, 1000, MANY};
    (void) state;
    kin_pool pool = make_pool(WORKERS);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        assert_map(pool, compute, counts[i], NULL, NULL, 0, 0);
    }
    assert_int_equal(kin_pool_destroy(pool), 0);
}

static void any_chunk_will_do(void **state)
{
    static const size_t chunks[] = {1, 2, 7, 999, 1000, 1001, SIZE_MAX / 2, SIZE_MAX};
    (void) state;
    kin_pool pool = make_pool(WORKERS);
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        const kin_map_options options = {.chunk = chunks[i]};
        assert_map(pool, compute, 1000, NULL, &options, 0, 0);
    }
    assert_int_equal(kin_pool_destroy(pool), 0);
}

static uint64_t pool_board; /* in workers: what the initializer was given */

static int initialize(void *argument, size_t size)
{
    if (size != sizeof pool_board || pool_board != 0) {
        return 1;
    }
    memcpy(&pool_board, argument, size);
    atomic_fetch_add(&((board *) arena_at(pool_board))->initialized, 1);
    return 0;
}

static kin_pool make_pool_with(const board *b, kin_initializer initializer, int expected)
{
    kin_pool pool = {0};
    uint64_t offset = b != NULL ? arena_offset(b) : 0;
    const kin_pool_options options = {.workers = WORKERS,
                                      .initializer = initializer,
                                      .argument = &offset,
                                      .argument_size = sizeof offset};
    assert_int_equal(kin_pool_create(&pool, &options), expected);
    assert_true((pool.id != 0) == (expected == 0));
    return pool;
}

static int count_call(kin_call *call)
{
    if (call->argument != NULL || call->argument_size != 0 || call->result != NULL ||
        call->result_size != 0 || pool_board == 0) {
        return 1;
    }
    atomic_fetch_add(&((board *) arena_at(pool_board))->calls[call->index], 1);
    return 0;
}

static void items_and_results_may_be_missing(void **state)
{
    (void) state;
    board *b = shared_new(sizeof *b);
    kin_pool pool = make_pool_with(b, initialize, 0);
    assert_int_equal(kin_pool_map(pool, count_call, NULL, MAPS, 0, NULL, 0, NULL), 0);
    for (int i = 0; i < MAPS; i++) {
        assert_int_equal(atomic_load(&b->calls[i]), 1);
    }
    assert_int_equal(atomic_load(&b->calls[MAPS]), 0);
    assert_int_equal(kin_pool_destroy(pool), 0);
    shared_free(b);
}

enum { LARGE = 100000, LARGE_RESULT = 50001, LARGE_COUNT = 20 };

static int compute_large(kin_call *call)
{
    const unsigned char *bytes = call->argument;
    unsigned char *results = call->result;
    for (size_t i = 0; i < LARGE; i++) {
        if (bytes[i] != (unsigned char) (call->index + i)) {
            return 1;
        }
    }
    for (size_t i = 0; i < LARGE_RESULT; i++) {
        results[i] = (unsigned char) (call->index * 3 + i);
    }
    return 0;
}

static void assert_large_map(kin_pool pool, unsigned char *items, unsigned char *results)
{
    for (size_t i = 0; i < (size_t) LARGE * LARGE_COUNT; i++) {
        items[i] = (unsigned char) (i / LARGE + i % LARGE);
    }
    assert_int_equal(
        kin_pool_map(pool, compute_large, items, LARGE_COUNT, LARGE, results, LARGE_RESULT, NULL),
        0);
    for (size_t i = 0; i < (size_t) LARGE_RESULT * LARGE_COUNT; i++) {
        if (results[i] != (unsigned char) (i / LARGE_RESULT * 3 + i % LARGE_RESULT)) {
            fail_msg("byte %zu is %d", i, results[i]);
        }
    }
}

static void items_and_results_of_many_bytes_arrive(void **state)
{
    (void) state;
    kin_pool pool = make_pool(WORKERS);
    unsigned char *items = malloc((size_t) LARGE * LARGE_COUNT);
    unsigned char *results = malloc((size_t) LARGE_RESULT * LARGE_COUNT);
    assert_true(items != NULL && results != NULL);
    assert_large_map(pool, items, results);
    free(items);
    free(results);
    items = shared_new((size_t) LARGE * LARGE_COUNT);
    results = shared_new((size_t) LARGE_RESULT * LARGE_COUNT);
    assert_large_map(pool, items, results); /* what is shared already is used where it is */
    shared_free(items);
    shared_free(results);
    assert_int_equal(kin_pool_destroy(pool), 0);
}

typedef struct told {
    size_t done;
    size_t total;
    int calls;
    bool wrong;
} told;

static void note_progress(size_t done, size_t total, void *context)
{
    told *t = context;
    t->wrong = t->wrong || done <= t->done || done > total || total != t->total;
    t->done = done;
    t->calls++;
}

static void progress_grows_and_ends_at_the_total(void **state)
{
    (void) state;
    kin_pool pool = make_pool(WORKERS);
    for (size_t count = 1; count <= 1000; count *= 10) {
        told t = {.total = count};
        const kin_map_options options = {.progress = note_progress, .context = &t, .chunk = 3};
        assert_map(pool, compute, count, NULL, &options, 0, 0);
        assert_false(t.wrong);
        assert_true(t.done == count && t.calls >= 1);
    }
    assert_int_equal(kin_pool_destroy(pool), 0);
}

static void release_when_half_is_done(size_t done, size_t total, void *context)
{
    if (done >= total / 2) {
        mark_add(context);
    }
}

/* The second half waits for what the progress of the first one sets off. */
static int compute_in_halves(kin_call *call)
{
    if (call->index >= MAPS / 2 && !mark_await(&board_of(call)->go, 1)) {
        return 1;
    }
    return compute(call);
}

static void progress_is_told_while_the_map_runs(void **state)
{
    (void) state;
    board *b = shared_new(sizeof *b);
    kin_pool pool = make_pool(WORKERS);
    const kin_map_options options = {
        .chunk = 1, .progress = release_when_half_is_done, .context = &b->go};
    assert_map(pool, compute_in_halves, MAPS, b, &options, 0, 0);
    assert_int_equal(kin_pool_destroy(pool), 0);
    shared_free(b);
}

static void bad_arguments_are_refused(void **state)
{
    const char bytes[8] = {0};
    char results[8] = {0};
    kin_pool none = {0};
    const kin_pool_options many = {.workers = 4097};
    const kin_pool_options reserved = {.reserved_workers = 1};
    const kin_pool_options no_argument = {.workers = 1, .argument_size = 1};
    const kin_map_options flags = {.reserved_flags = 1};
    (void) state;
    assert_int_equal(kin_pool_create(NULL, NULL), KIN_E_INVALID);
    assert_int_equal(kin_pool_create(&none, &many), KIN_E_INVALID);
    assert_int_equal(kin_pool_create(&none, &reserved), KIN_E_INVALID);
    assert_int_equal(kin_pool_create(&none, &no_argument), KIN_E_INVALID);
    kin_pool pool = make_pool(1);
    assert_int_equal(kin_pool_map(pool, NULL, bytes, 1, 8, results, 8, NULL), KIN_E_INVALID);
    assert_int_equal(kin_pool_map(pool, compute, NULL, 1, 8, results, 8, NULL), KIN_E_INVALID);
    assert_int_equal(kin_pool_map(pool, compute, bytes, 1, 8, NULL, 8, NULL), KIN_E_INVALID);
    assert_int_equal(kin_pool_map(pool, compute, bytes, 1, 8, results, 8, &flags), KIN_E_INVALID);
    assert_int_equal(kin_pool_map(pool, compute, bytes, SIZE_MAX / 4, 8, results, 8, NULL),
                     KIN_E_NOMEM);
    assert_int_equal(kin_pool_map(pool, compute, bytes, 1, SIZE_MAX, results, SIZE_MAX, NULL),
                     KIN_E_NOMEM);
    assert_works(pool);
    assert_int_equal(kin_pool_destroy(pool), 0);
}

static void what_is_no_function_is_refused(void **state)
{
    static int data;
    void *address = &data;
    kin_task task;
    kin_initializer initializer;
    (void) state;
    memcpy(&task, &address, sizeof task);
    memcpy(&initializer, &address, sizeof initializer);
    (void) make_pool_with(NULL, initializer, KIN_E_FUNCTION);
    kin_pool pool = make_pool(1);
    assert_int_equal(kin_pool_map(pool, task, NULL, 1, 0, NULL, 0, NULL), KIN_E_FUNCTION);
    assert_works(pool);
    assert_int_equal(kin_pool_destroy(pool), 0);
}

/* ---- failures of tasks and workers ---- */

enum { BAD_ITEM = 37 };

static int fail_once(kin_call *call)
{
    (void) compute(call);
    return call->index == BAD_ITEM ? 1 : 0;
}

static int die_once(kin_call *call)
{
    (void) compute(call);
    if (call->index == BAD_ITEM) {
        (void) kin_process_kill(kin_current_process());
        (void) kin_sleep(KIN_FOREVER);
    }
    return 0;
}

static int exit_once(kin_call *call)
{
    (void) compute(call);
    if (call->index == BAD_ITEM) {
        exit(0);
    }
    return 0;
}

static int die_always(kin_call *call)
{
    (void) compute(call);
    (void) kin_process_kill(kin_current_process());
    (void) kin_sleep(KIN_FOREVER);
    return 0;
}

static void a_failed_task_loses_only_its_own_item(void **state)
{
    (void) state;
    kin_pool pool = make_pool(WORKERS);
    for (size_t chunk = 1; chunk < 100; chunk *= 9) {
        const kin_map_options options = {.chunk = chunk};
        assert_map(pool, fail_once, 100, NULL, &options, KIN_E_TASK, 1);
    }
    assert_int_equal(kin_pool_workers(pool), WORKERS);
    assert_works(pool);
    assert_int_equal(kin_pool_destroy(pool), 0);
}

/* Until all places of a pool are filled again. */
static void await_workers(kin_pool pool, int count)
{
    int64_t until = kin_clock_ns() + LONG_MS * INT64_C(1000000);
    while (kin_pool_workers(pool) != count && kin_clock_ns() < until) {
        assert_int_equal(kin_sleep(1), 0);
    }
    assert_int_equal(kin_pool_workers(pool), count);
}

static void a_killed_worker_loses_only_its_own_item(void **state)
{
    (void) state;
    kin_pool pool = make_pool(WORKERS);
    for (size_t chunk = 1; chunk < 1000; chunk *= 7) {
        const kin_map_options options = {.chunk = chunk};
        assert_map(pool, die_once, 100, NULL, &options, KIN_E_WORKER_DIED, 1);
        assert_works(pool);
    }
    assert_map(pool, exit_once, 100, NULL, NULL, KIN_E_WORKER_DIED, 1);
    await_workers(pool, WORKERS);
    assert_works(pool);
    assert_int_equal(kin_pool_destroy(pool), 0);
}

static void the_only_worker_is_replaced_as_often_as_it_dies(void **state)
{
    (void) state;
    kin_pool pool = make_pool(1);
    assert_map(pool, die_always, ROUNDS, NULL, NULL, KIN_E_WORKER_DIED, ROUNDS);
    assert_works(pool);
    assert_int_equal(kin_pool_destroy(pool), 0);
}

static int compute_when_told(kin_call *call)
{
    mark_add(&board_of(call)->arrived);
    return mark_await(&board_of(call)->go, 1) ? compute(call) : 1;
}

typedef struct mapper {
    kin_pool pool;
    board *board;
    size_t count;
    size_t lost;
    _Atomic int statuses[MAPS];
    _Atomic int wrong;
} mapper;

/* One map in a thread of its own. */
static void map_in_thread(void *argument, unsigned number)
{
    mapper *m = argument;
    item items[ROUNDS * 2];
    int64_t results[ROUNDS * 2] = {0};
    size_t lost = 0;
    const kin_map_options options = {.chunk = 1};
    fill(items, m->count, m->board);
    int status;
    do { /* until there is a place for it */
        status = kin_pool_map(m->pool, compute_when_told, items, m->count, sizeof *items, results,
                              sizeof *results, &options);
    } while (status == KIN_E_LIMIT);
    m->statuses[number] = status;
    for (size_t i = 0; i < m->count; i++) {
        lost += results[i] == 0;
        m->wrong += results[i] != 0 && results[i] != value_of((int64_t) i);
    }
    m->wrong += lost != m->lost;
}

static void kill_workers_of_map(void *argument, unsigned number)
{
    mapper *m = argument;
    if (number == 1) {
        map_in_thread(argument, 0);
        return;
    }
    kin_process children[WORKERS];
    m->wrong += !mark_await(&m->board->arrived, WORKERS);
    m->wrong += kin_active_children(children, WORKERS) != WORKERS;
    for (int i = 0; i < WORKERS; i++) {
        m->wrong += kin_process_kill(children[i]) != 0;
    }
    mark_add(&m->board->go);
}

static void a_pool_survives_the_death_of_all_its_workers(void **state)
{
    (void) state;
    board *b = shared_new(sizeof *b);
    mapper m = {.pool = make_pool(WORKERS), .board = b, .count = 10, .lost = WORKERS};
    system_run_threads(2, kill_workers_of_map, &m);
    assert_int_equal(m.statuses[0], KIN_E_WORKER_DIED);
    assert_int_equal(m.wrong, 0);
    await_workers(m.pool, WORKERS);
    assert_works(m.pool);
    assert_int_equal(kin_pool_destroy(m.pool), 0);
    shared_free(b);
}

static void idle_workers_that_are_killed_are_replaced(void **state)
{
    kin_process children[WORKERS];
    (void) state;
    kin_pool pool = make_pool(WORKERS);
    for (int round = 0; round < 3; round++) {
        await_workers(pool, WORKERS);
        size_t count = kin_active_children(children, WORKERS);
        for (size_t i = 0; i < count && i < WORKERS; i++) {
            (void) kin_process_kill(children[i]); /* it may have been replaced by now */
        }
        assert_works(pool);
    }
    assert_int_equal(kin_pool_destroy(pool), 0);
}

/* ---- initializers ---- */

static void the_initializer_runs_once_in_each_worker(void **state)
{
    (void) state;
    board *b = shared_new(sizeof *b);
    kin_pool pool = make_pool_with(b, initialize, 0);
    assert_int_equal(atomic_load(&b->initialized), WORKERS);
    assert_works(pool);
    assert_int_equal(atomic_load(&b->initialized), WORKERS);
    assert_map(pool, die_once, 100, NULL, NULL, KIN_E_WORKER_DIED, 1);
    while (atomic_load(&b->initialized) < WORKERS + 1) {
        assert_works(pool);
    }
    assert_int_equal(kin_pool_map(pool, count_call, NULL, MAPS, 0, NULL, 0, NULL), 0);
    assert_int_equal(atomic_load(&b->initialized), WORKERS + 1);
    assert_int_equal(kin_pool_destroy(pool), 0);
    shared_free(b);
}

static int refuse(void *argument, size_t size)
{
    (void) argument;
    return size == sizeof(uint64_t) ? 1 : 0;
}

static int refuse_once(void *argument, size_t size)
{
    (void) size;
    board *b = arena_at(*(uint64_t *) argument);
    return atomic_fetch_add(&b->initialized, 1) == 1 ? 1 : 0;
}

static int die_at_start(void *argument, size_t size)
{
    (void) argument;
    (void) size;
    (void) kin_process_kill(kin_current_process());
    return 0;
}

static int exit_at_start(void *argument, size_t size)
{
    (void) argument;
    (void) size;
    exit(0);
}

static void a_pool_whose_initializer_fails_is_not_made(void **state)
{
    (void) state;
    board *b = shared_new(sizeof *b);
    (void) make_pool_with(NULL, refuse, KIN_E_TASK);
    (void) make_pool_with(b, refuse_once, KIN_E_TASK);
    (void) make_pool_with(NULL, die_at_start, KIN_E_POOL_DIED);
    (void) make_pool_with(NULL, exit_at_start, KIN_E_POOL_DIED);
    assert_int_equal(kin_active_children(NULL, 0), 0);
    shared_free(b);
}

static void a_pool_of_a_wrong_program_is_not_made(void **state)
{
    kin_pool pool = {0};
    const kin_pool_options missing = {.workers = WORKERS, .program = "./no-such-program.exe"};
    const kin_pool_options plain = {.workers = WORKERS};
    (void) state;
    assert_int_equal(kin_pool_create(&pool, &missing), KIN_E_NOT_FOUND);
    system_set_variable(TEST_MODE, "no_init");
    assert_int_equal(kin_pool_create(&pool, &plain), KIN_E_NO_INIT);
    system_set_variable(TEST_MODE, NULL);
    assert_true(pool.id == 0);
    assert_int_equal(kin_active_children(NULL, 0), 0);
}

/* ---- many at once ---- */

static void a_map_that_times_out_leaves_the_pool_usable(void **state)
{
    (void) state;
    board *b = shared_new(sizeof *b);
    kin_pool pool = make_pool(WORKERS);
    item items[10];
    int64_t results[10] = {0};
    const kin_map_options options = {.timeout_ms = 30, .chunk = 1};
    fill(items, 10, b);
    int64_t before = kin_clock_ns();
    assert_int_equal(kin_pool_map(pool, compute_when_told, items, 10, sizeof *items, results,
                                  sizeof *results, &options),
                     KIN_E_TIMEOUT);
    assert_true(kin_clock_ns() - before >= 30 * INT64_C(1000000));
    mark_add(&b->go);
    assert_works(pool);
    assert_true(atomic_load(&b->arrived.value) <= WORKERS); /* the rest has been dropped */
    assert_int_equal(kin_pool_destroy(pool), 0);
    shared_free(b);
}

static void map_often(void *argument, unsigned number)
{
    mapper *m = argument;
    item items[ROUNDS * 2];
    int64_t results[ROUNDS * 2];
    fill(items, ROUNDS * 2, NULL);
    for (size_t round = 0; round < 5 * ROUNDS; round++) {
        size_t count = (round + number) % (ROUNDS * 2) + 1;
        memset(results, 0, sizeof results);
        m->wrong += kin_pool_map(m->pool, compute, items, count, sizeof *items, results,
                                 sizeof *results, NULL) != 0;
        for (size_t i = 0; i < count; i++) {
            m->wrong += results[i] != value_of((int64_t) i);
        }
    }
}

static void several_threads_may_map_at_once(void **state)
{
    (void) state;
    mapper m = {.pool = make_pool(WORKERS)};
    system_run_threads(THREADS, map_often, &m);
    assert_int_equal(m.wrong, 0);
    assert_int_equal(kin_pool_destroy(m.pool), 0);
}

/* All but the last thread map; that one tries when all places are taken, then lets the others
   go. */
static void crowd_maps(void *argument, unsigned number)
{
    mapper *m = argument;
    if (number < MAPS) {
        map_in_thread(argument, number);
        return;
    }
    item items[1];
    int64_t results[1];
    const kin_map_options short_time = {.timeout_ms = 1};
    fill(items, 1, m->board);
    int64_t until = kin_clock_ns() + LONG_MS * INT64_C(1000000);
    int status;
    do {
        status = kin_pool_map(m->pool, compute, items, 1, sizeof *items, results, sizeof *results,
                              &short_time);
    } while (status == KIN_E_TIMEOUT && kin_clock_ns() < until);
    m->wrong += status != KIN_E_LIMIT;
    mark_add(&m->board->go);
}

static void more_maps_than_fit_are_refused(void **state)
{
    (void) state;
    board *b = shared_new(sizeof *b);
    mapper m = {.pool = make_pool(1), .board = b, .count = 1};
    system_run_threads(MAPS + 1, crowd_maps, &m);
    for (int i = 0; i < MAPS; i++) {
        assert_int_equal(m.statuses[i], 0);
    }
    assert_int_equal(m.wrong, 0);
    assert_works(m.pool);
    assert_int_equal(kin_pool_destroy(m.pool), 0);
    shared_free(b);
}

static void pools_of_many_workers_work(void **state)
{
    (void) state;
    kin_pool pool = make_pool(CROWD);
    assert_int_equal(kin_pool_workers(pool), CROWD);
    assert_map(pool, compute, MANY, NULL, NULL, 0, 0);
    assert_map(pool, die_once, MANY, NULL, NULL, KIN_E_WORKER_DIED, 1);
    assert_int_equal(kin_pool_destroy(pool), 0);
}

static void a_pool_has_a_worker_for_each_core(void **state)
{
    kin_pool pool;
    (void) state;
    assert_int_equal(kin_pool_create(&pool, NULL), 0);
    assert_int_equal(kin_pool_workers(pool), kin_usable_cores());
    assert_works(pool);
    assert_int_equal(kin_pool_destroy(pool), 0);
}

/* ---- other members ---- */

/* What a child that uses a pool is given. */
typedef struct guest {
    kin_pool pool;
    uint64_t board;
    kin_task task;
} guest;

/* Maps on the pool of another; the exit code is the error, made positive. */
static int map_as_guest(void *argument, size_t size)
{
    item items[10];
    int64_t results[10] = {0};
    CHECK(size == sizeof(guest));
    const guest *g = argument;
    const kin_map_options options = {.chunk = 1};
    fill(items, 10, arena_at(g->board));
    int status = kin_pool_map(g->pool, g->task == NULL ? compute : compute_when_told, items, 10,
                              sizeof *items, results, sizeof *results, &options);
    for (int64_t i = 0; i < 10 && status == 0; i++) {
        CHECK(results[i] == value_of(i));
    }
    return -status;
}

static void every_member_may_map_on_every_pool(void **state)
{
    kin_process guests[3];
    (void) state;
    guest g = {.pool = make_pool(WORKERS)};
    for (int i = 0; i < 3; i++) {
        guests[i] = start(map_as_guest, &g, sizeof g);
    }
    assert_works(g.pool);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(end_of(guests[i]), 0);
    }
    assert_int_equal(kin_pool_destroy(g.pool), 0);
    assert_int_equal(end_of(start(map_as_guest, &g, sizeof g)), -KIN_E_HANDLE);
}

static void the_death_of_a_caller_frees_the_pool(void **state)
{
    (void) state;
    for (uint32_t round = 0; round < 3; round++) {
        board *b = shared_new(sizeof *b);
        guest g = {make_pool(WORKERS), arena_offset(b), compute_when_told};
        kin_process caller = start(map_as_guest, &g, sizeof g);
        assert_true(mark_await(&b->arrived, round));
        kill_and_close(caller);
        mark_add(&b->go);
        assert_works(g.pool);
        assert_true(atomic_load(&b->arrived.value) <= 2 * WORKERS);
        assert_int_equal(kin_pool_destroy(g.pool), 0);
        shared_free(b);
    }
}

/* Has a pool, whose handle it shows, until it is killed. */
static int have_pool(void *argument, size_t size)
{
    kin_pool pool;
    const kin_pool_options options = {.workers = WORKERS};
    CHECK(size == sizeof(uint64_t));
    board *b = arena_at(*(uint64_t *) argument);
    CHECK(kin_pool_create(&pool, &options) == 0);
    atomic_store(&b->handle, pool.id);
    mark_add(&b->arrived);
    (void) kin_sleep(KIN_FOREVER);
    return CHILD_FAILED;
}

/* In place of the tasks' release the creator is killed. */
static void kill_creator(void *argument, unsigned number)
{
    mapper *m = argument;
    if (number == 0) {
        map_in_thread(argument, 0);
        return;
    }
    kin_process creator = {m->board->calls[0] | (uint64_t) m->board->calls[1] << 32};
    m->wrong += !mark_await(&m->board->arrived, 1 + WORKERS);
    m->wrong += kin_process_kill(creator) != 0;
    int64_t before = kin_clock_ns();
    while (m->statuses[0] == 1 && kin_clock_ns() - before < 2000 * INT64_C(1000000)) {
        (void) kin_sleep(1);
    }
    m->wrong += m->statuses[0] != KIN_E_POOL_DIED;
}

static void the_death_of_its_creator_is_told_to_those_who_map(void **state)
{
    (void) state;
    board *b = shared_new(sizeof *b);
    uint64_t offset = arena_offset(b);
    kin_process creator = start(have_pool, &offset, sizeof offset);
    assert_true(mark_await(&b->arrived, 1));
    mapper m = {.pool = {atomic_load(&b->handle)}, .board = b, .count = 10, .lost = 10};
    m.statuses[0] = 1;
    b->calls[0] = (uint32_t) creator.id;
    b->calls[1] = (uint32_t) (creator.id >> 32);
    system_run_threads(2, kill_creator, &m);
    assert_int_equal(m.wrong, 0);
    assert_int_equal(end_of(creator), -KIN_SIGKILL);
    int status = kin_pool_map(m.pool, compute, NULL, 1, 0, NULL, 0, NULL);
    assert_true(status == KIN_E_HANDLE || status == KIN_E_POOL_DIED);
    kin_arena_usage usage;
    do { /* its workers follow it */
        death_sweep();
        assert_int_equal(kin_arena_read_usage(&usage), 0);
    } while (usage.processes > 1);
    shared_free(b);
}

static int try_to_end(void *argument, size_t size)
{
    CHECK(size == sizeof(kin_pool));
    const kin_pool *pool = argument;
    CHECK(kin_pool_terminate(*pool) == KIN_E_STATE);
    CHECK(kin_pool_destroy(*pool) == KIN_E_STATE);
    CHECK(kin_pool_workers(*pool) == WORKERS);
    CHECK(kin_pool_join(*pool, 0) == KIN_E_STATE);
    CHECK(kin_pool_close(*pool) == 0);
    CHECK(kin_pool_join(*pool, LONG_MS) == 0);
    return 0;
}

static void only_its_creator_may_end_a_pool(void **state)
{
    (void) state;
    kin_pool pool = make_pool(WORKERS);
    assert_int_equal(end_of(start(try_to_end, &pool, sizeof pool)), 0);
    assert_int_equal(kin_pool_map(pool, compute, NULL, 0, 0, NULL, 0, NULL), KIN_E_CLOSED);
    assert_int_equal(kin_pool_join(pool, LONG_MS), 0);
    assert_int_equal(kin_pool_destroy(pool), 0);
}

/* A pool of its own; it is destroyed, or left to the end of the process. */
static int use_own_pool(void *argument, size_t size)
{
    kin_pool pool;
    item items[100];
    int64_t results[100];
    CHECK(size == sizeof(int));
    const kin_pool_options options = {.workers = WORKERS};
    fill(items, 100, NULL);
    CHECK(kin_pool_create(&pool, &options) == 0);
    CHECK(kin_pool_map(pool, compute, items, 100, sizeof *items, results, sizeof *results, NULL) ==
          0);
    for (int64_t i = 0; i < 100; i++) {
        CHECK(results[i] == value_of(i));
    }
    CHECK(*(int *) argument == 0 || kin_pool_destroy(pool) == 0);
    return 0;
}

static void children_may_have_pools(void **state)
{
    (void) state;
    for (int destroy = 0; destroy < 2; destroy++) {
        assert_int_equal(end_of(start(use_own_pool, &destroy, sizeof destroy)), 0);
        assert_int_equal(end_of(start_daemon(use_own_pool, &destroy, sizeof destroy)), 0);
    }
    kin_arena_usage usage;
    assert_int_equal(kin_arena_read_usage(&usage), 0);
    assert_int_equal(usage.processes, 1);
}

/* ---- ends ---- */

static void a_closed_pool_takes_no_more_work(void **state)
{
    (void) state;
    kin_pool pool = make_pool(WORKERS);
    assert_int_equal(kin_pool_join(pool, KIN_FOREVER), KIN_E_STATE);
    assert_works(pool);
    assert_int_equal(kin_pool_close(pool), 0);
    assert_int_equal(kin_pool_close(pool), 0);
    assert_int_equal(kin_pool_map(pool, compute, NULL, 0, 0, NULL, 0, NULL), KIN_E_CLOSED);
    item items[1];
    int64_t results[1];
    fill(items, 1, NULL);
    assert_int_equal(
        kin_pool_map(pool, compute, items, 1, sizeof *items, results, sizeof *results, NULL),
        KIN_E_CLOSED);
    assert_int_equal(kin_pool_join(pool, LONG_MS), 0);
    assert_int_equal(kin_pool_workers(pool), 0);
    assert_int_equal(kin_pool_join(pool, 0), 0);
    assert_int_equal(kin_pool_close(pool), 0);
    assert_int_equal(kin_pool_destroy(pool), 0);
    assert_int_equal(kin_pool_destroy(pool), KIN_E_HANDLE);
}

static void pools_end_in_every_order(void **state)
{
    static const char *const orders[] = {"d",    "cd",   "td",  "cjd",  "tjd",  "cctd",
                                         "ctjd", "tcjd", "ttd", "tjjd", "cjtd", "tjcd"};
    (void) state;
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        kin_pool pool = make_pool(WORKERS);
        for (const char *step = orders[i]; *step != '\0'; step++) {
            int status = *step == 'c'   ? kin_pool_close(pool)
                         : *step == 't' ? kin_pool_terminate(pool)
                         : *step == 'j' ? kin_pool_join(pool, LONG_MS)
                                        : kin_pool_destroy(pool);
            assert_int_equal(status, 0);
        }
        assert_int_equal(kin_pool_close(pool), KIN_E_HANDLE);
    }
}

/* A map in one thread; the other one ends the pool as soon as the first tasks wait. */
typedef struct ending {
    mapper map;
    int (*end)(kin_pool pool);
    int status;
} ending;

static void end_during_map(void *argument, unsigned number)
{
    ending *e = argument;
    if (number == 0) {
        map_in_thread(&e->map, 0);
        return;
    }
    e->map.wrong += !mark_await(&e->map.board->arrived, WORKERS);
    e->status = e->end(e->map.pool);
    mark_add(&e->map.board->go);
}

static void assert_ended_during_map(int (*end)(kin_pool pool), int expected, size_t lost)
{
    board *b = shared_new(sizeof *b);
    ending e = {.map = {.pool = make_pool(WORKERS), .board = b, .count = 10, .lost = lost},
                .end = end};
    system_run_threads(2, end_during_map, &e);
    assert_int_equal(e.status, 0);
    assert_int_equal(e.map.statuses[0], expected);
    assert_int_equal(e.map.wrong, 0);
    int status = kin_pool_destroy(e.map.pool);
    assert_true(status == 0 || (status == KIN_E_HANDLE && end == kin_pool_destroy));
    shared_free(b);
}

static void a_map_of_a_pool_that_is_closed_is_finished(void **state)
{
    (void) state;
    assert_ended_during_map(kin_pool_close, 0, 0);
}

static void a_map_of_a_pool_that_is_terminated_ends(void **state)
{
    (void) state;
    assert_ended_during_map(kin_pool_terminate, KIN_E_CLOSED, 10);
    assert_ended_during_map(kin_pool_destroy, KIN_E_CLOSED, 10);
}

static int close_and_time_out(kin_pool pool)
{
    int status = kin_pool_close(pool);
    int64_t before = kin_clock_ns();
    if (status == 0 && kin_pool_join(pool, 20) != KIN_E_TIMEOUT) {
        status = 1;
    }
    return status == 0 && kin_clock_ns() - before < 20 * INT64_C(1000000) ? 2 : status;
}

static void join_waits_for_the_work_of_a_closed_pool(void **state)
{
    (void) state;
    assert_ended_during_map(close_and_time_out, 0, 0);
}

static void a_pool_that_is_not_destroyed_ends_with_its_creator(void **state)
{
    (void) state;
    assert_int_equal(run_mode("leave_pools"), 0);
}

static int mode_leave_pools(int argc, char **argv)
{
    kin_pool pools[2];
    const kin_pool_options options = {.workers = WORKERS};
    CHECK(kin_init(&argc, &argv) == 0);
    for (int i = 0; i < 2; i++) {
        CHECK(kin_pool_create(&pools[i], &options) == 0);
    }
    CHECK(kin_pool_close(pools[1]) == 0);
    return 0;
}

static void pools_come_and_go(void **state)
{
    (void) state;
    for (int i = 0; i < 20; i++) {
        kin_pool pool = make_pool(WORKERS);
        if (i % 3 == 0) {
            assert_works(pool);
        }
        assert_int_equal(kin_pool_destroy(pool), 0);
    }
}

/* ---- handles ---- */

static void assert_no_pool(uint64_t id)
{
    const kin_pool pool = {id};
    assert_int_equal(kin_pool_map(pool, compute, NULL, 1, 0, NULL, 0, NULL), KIN_E_HANDLE);
    assert_int_equal(kin_pool_workers(pool), KIN_E_HANDLE);
    assert_int_equal(kin_pool_close(pool), KIN_E_HANDLE);
    assert_int_equal(kin_pool_join(pool, KIN_FOREVER), KIN_E_HANDLE);
    assert_int_equal(kin_pool_terminate(pool), KIN_E_HANDLE);
    assert_int_equal(kin_pool_destroy(pool), KIN_E_HANDLE);
}

static void forged_handles_are_no_pools(void **state)
{
    uint64_t random = 11;
    (void) state;
    kin_pool pool = make_pool(1);
    assert_no_pool(0);
    assert_no_pool(UINT64_MAX);
    assert_no_pool(kin_current_process().id);
    for (int bit = 0; bit < 64; bit++) {
        assert_no_pool(pool.id ^ UINT64_C(1) << bit);
    }
    for (int i = 0; i < 2000; i++) {
        assert_no_pool((uint64_t) next_random(&random) << 33 ^ next_random(&random));
        assert_no_pool(pool.id + 1 + next_random(&random));
    }
    assert_works(pool);
    assert_int_equal(kin_pool_destroy(pool), 0);
    assert_no_pool(pool.id);
}

static int mode_no_init(int argc, char **argv)
{
    (void) argc;
    (void) argv;
    return 3;
}

static const test_mode modes[] = {
    {"leave_pools", mode_leave_pools},
    {"no_init", mode_no_init},
};

int main(int argc, char **argv)
{
    const test_mode *mode = find_mode(modes, sizeof modes / sizeof *modes);
    if (mode != NULL) {
        return mode->run(argc, argv);
    }
    if (kin_init(&argc, &argv) < 0) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        CLEAN_TEST(a_map_calls_the_task_for_each_item),
        CLEAN_TEST(any_chunk_will_do),
        CLEAN_TEST(items_and_results_may_be_missing),
        CLEAN_TEST(items_and_results_of_many_bytes_arrive),
        CLEAN_TEST(progress_grows_and_ends_at_the_total),
        CLEAN_TEST(progress_is_told_while_the_map_runs),
        CLEAN_TEST(bad_arguments_are_refused),
        CLEAN_TEST(what_is_no_function_is_refused),
        CLEAN_TEST(a_failed_task_loses_only_its_own_item),
        CLEAN_TEST(a_killed_worker_loses_only_its_own_item),
        CLEAN_TEST(the_only_worker_is_replaced_as_often_as_it_dies),
        CLEAN_TEST(a_pool_survives_the_death_of_all_its_workers),
        CLEAN_TEST(idle_workers_that_are_killed_are_replaced),
        CLEAN_TEST(the_initializer_runs_once_in_each_worker),
        CLEAN_TEST(a_pool_whose_initializer_fails_is_not_made),
        CLEAN_TEST(a_pool_of_a_wrong_program_is_not_made),
        CLEAN_TEST(a_map_that_times_out_leaves_the_pool_usable),
        CLEAN_TEST(several_threads_may_map_at_once),
        CLEAN_TEST(more_maps_than_fit_are_refused),
        CLEAN_TEST(pools_of_many_workers_work),
        CLEAN_TEST(a_pool_has_a_worker_for_each_core),
        CLEAN_TEST(every_member_may_map_on_every_pool),
        CLEAN_TEST(the_death_of_a_caller_frees_the_pool),
        CLEAN_TEST(the_death_of_its_creator_is_told_to_those_who_map),
        CLEAN_TEST(only_its_creator_may_end_a_pool),
        CLEAN_TEST(children_may_have_pools),
        CLEAN_TEST(a_closed_pool_takes_no_more_work),
        CLEAN_TEST(pools_end_in_every_order),
        CLEAN_TEST(a_map_of_a_pool_that_is_closed_is_finished),
        CLEAN_TEST(a_map_of_a_pool_that_is_terminated_ends),
        CLEAN_TEST(join_waits_for_the_work_of_a_closed_pool),
        CLEAN_TEST(a_pool_that_is_not_destroyed_ends_with_its_creator),
        CLEAN_TEST(pools_come_and_go),
        CLEAN_TEST(forged_handles_are_no_pools),
    };
    return cmocka_run_group_tests(tests, warm_up, NULL);
}
