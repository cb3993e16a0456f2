/* Waiting for the ends of processes, of many at once and by the system's own means. */
#if !defined _GNU_SOURCE
#define _GNU_SOURCE 1 /* for poll and epoll with their names */
#endif
#include "support.h"

#include <stdlib.h>
#include <string.h>

#if defined _WIN32
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#else
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>
#endif
#if defined __linux__
#include <sys/epoll.h>
#endif

/* More than Windows waits for at once. */
#if defined _WIN32
enum { MANY = 200 };
#elif WITH_SANITIZER
enum { MANY = 80 };
#else
enum { MANY = 300 };
#endif

enum { FEW = 8, THREADS = 4, MOST = 512, LATE_MS = 200 };

/* True where any process has a sentinel; elsewhere only children have. */
#if defined _WIN32 || (defined __linux__ && !defined KIN_POSIX_PLAIN)
#define ALL_HAVE_SENTINELS 1
#else
#define ALL_HAVE_SENTINELS 0
#endif

/* What the members of a test share. */
typedef struct board {
    mark arrived;
    mark go;
    mark done;
    _Atomic uint32_t count;
    kin_process processes[MOST];
} board;

static board *board_of(const void *argument)
{
    uint64_t offset;
    memcpy(&offset, argument, sizeof offset);
    return arena_at(offset);
}

static kin_process start_on(board *b, kin_process_function function, int method)
{
    const kin_process_options options = {.method = method};
    const uint64_t offset = arena_offset(b);
    kin_process process = {0};
    assert_int_equal(kin_process_start(&process, function, &offset, sizeof offset, &options), 0);
    return process;
}

static int await_go(void *argument, size_t size)
{
    (void) size;
    mark_add(&board_of(argument)->arrived);
    CHECK(mark_await(&board_of(argument)->go, 1));
    return 5;
}

/* Starts so many that stay until the go, by all methods in turn. */
static void start_many(board *b, size_t count)
{
    assert_true(count <= MOST);
    for (size_t i = 0; i < count; i++) {
        int method = KIN_START_SPAWN + (int) i % 3;
        b->processes[i] =
            start_on(b, await_go, kin_has_start_method(method) ? method : KIN_START_SPAWN);
    }
    atomic_store(&b->count, (uint32_t) count);
}

static board *board_with(size_t count)
{
    board *b = shared_new(sizeof *b);
    start_many(b, count);
    return b;
}

static void kill_one(kin_process process)
{
    assert_int_equal(kin_process_kill(process), 0);
}

static void close_all(board *b)
{
    size_t count = atomic_load(&b->count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(kin_process_close(b->processes[i]), 0);
    }
    shared_free(b);
}

static void end_all(board *b)
{
    mark_add(&b->go);
    assert_int_equal(kin_process_wait_all(b->processes, atomic_load(&b->count), LONG_MS), 0);
    close_all(b);
}

static int code_of(kin_process process)
{
    int code = -1000;
    assert_int_equal(kin_process_exit_code(process, &code), 0);
    return code;
}

/* ---- any ---- */

static void the_one_of_many_that_ends_is_told(void **state)
{
    size_t index = 99;
    (void) state;
    board *b = board_with(FEW);
    assert_int_equal(kin_process_wait_any(b->processes, FEW, &index, 0), KIN_E_TIMEOUT);
    assert_int_equal(kin_process_wait_any(b->processes, FEW, &index, 20), KIN_E_TIMEOUT);
    assert_int_equal(index, 99);
    kill_one(b->processes[5]);
    assert_int_equal(kin_process_wait_any(b->processes, FEW, &index, KIN_FOREVER), 0);
    assert_int_equal(index, 5);
    assert_int_equal(code_of(b->processes[5]), -KIN_SIGKILL);
    /* It has ended and is told again; of those without it none has. */
    assert_int_equal(kin_process_wait_any(b->processes, FEW, &index, 0), 0);
    assert_int_equal(index, 5);
    assert_int_equal(kin_process_wait_any(b->processes, 5, &index, 10), KIN_E_TIMEOUT);
    end_all(b);
}

static void of_several_that_have_ended_the_first_is_told(void **state)
{
    size_t index = 99;
    (void) state;
    for (int known = 0; known < 2; known++) {
        board *b = board_with(FEW);
        const size_t killed[] = {6, 2, 4};
        for (size_t i = 0; i < 3; i++) {
            kill_one(b->processes[killed[i]]);
            while (known == 0 ? kin_process_is_alive(b->processes[killed[i]]) != 0
                              : kin_process_join(b->processes[killed[i]], LONG_MS) != 0) {
            }
        }
        assert_int_equal(kin_process_wait_any(b->processes, FEW, &index, 0), 0);
        assert_int_equal(index, 2);
        assert_int_equal(kin_process_wait_any(b->processes + 3, FEW - 3, &index, LONG_MS), 0);
        assert_int_equal(index, 1);
        end_all(b);
    }
}

#if ALL_HAVE_SENTINELS

/* Until the system shows the end of it; the library has not looked. */
static void await_by_system(kin_process process);

static void ends_that_nobody_has_seen_yet_are_found_at_once(void **state)
{
    size_t index = 99;
    (void) state;
    board *b = board_with(FEW);
    kill_one(b->processes[7]);
    kill_one(b->processes[3]);
    await_by_system(b->processes[7]);
    await_by_system(b->processes[3]);
    assert_int_equal(kin_process_wait_any(b->processes, FEW, &index, 0), 0);
    assert_int_equal(index, 3);
    mark_add(&b->go);
    for (size_t i = 0; i < FEW; i++) {
        await_by_system(b->processes[i]);
    }
    assert_int_equal(kin_process_wait_all(b->processes, FEW, 0), 0);
    close_all(b);
}

#endif

static void one_given_twice_is_one(void **state)
{
    size_t index = 99;
    (void) state;
    board *b = board_with(2);
    const kin_process a = b->processes[0];
    const kin_process c = b->processes[1];
    const kin_process twice[] = {a, c, a, c, c, a};
    assert_int_equal(kin_process_wait_any(twice, 6, &index, 5), KIN_E_TIMEOUT);
    kill_one(c);
    assert_int_equal(kin_process_wait_any(twice, 6, &index, LONG_MS), 0);
    assert_int_equal(index, 1);
    assert_int_equal(kin_process_wait_all(twice, 6, 5), KIN_E_TIMEOUT);
    kill_one(a);
    assert_int_equal(kin_process_wait_all(twice, 6, LONG_MS), 0);
    assert_int_equal(kin_process_wait_any(twice, 6, &index, 0), 0);
    assert_int_equal(index, 0);
    close_all(b);
}

/* ---- all ---- */

static void all_are_waited_for_and_have_exit_codes(void **state)
{
    (void) state;
    board *b = board_with(FEW);
    assert_int_equal(kin_process_wait_all(b->processes, FEW, 0), KIN_E_TIMEOUT);
    kill_one(b->processes[3]);
    int64_t before = kin_clock_ns();
    assert_int_equal(kin_process_wait_all(b->processes, FEW, 30), KIN_E_TIMEOUT);
    assert_true(kin_clock_ns() - before >= 30 * INT64_C(1000000));
    mark_add(&b->go);
    assert_int_equal(kin_process_wait_all(b->processes, FEW, KIN_FOREVER), 0);
    for (size_t i = 0; i < FEW; i++) {
        assert_int_equal(code_of(b->processes[i]), i == 3 ? -KIN_SIGKILL : 5);
    }
    assert_int_equal(kin_process_wait_all(b->processes, FEW, 0), 0);
    close_all(b);
}

static void many_are_waited_for(void **state)
{
    static bool told[MANY];
    (void) state;
    board *b = board_with(MANY);
    kin_process left[MANY];
    size_t index;
    memcpy(left, b->processes, sizeof left);
    memset(told, 0, sizeof told);
    assert_int_equal(kin_process_wait_all(left, MANY, 1), KIN_E_TIMEOUT);
    mark_add(&b->go);
    for (size_t count = MANY; count > 0; count--) {
        assert_int_equal(kin_process_wait_any(left, count, &index, LONG_MS), 0);
        assert_true(index < count);
        assert_int_equal(code_of(left[index]), 5);
        left[index] = left[count - 1];
    }
    assert_int_equal(kin_process_wait_all(b->processes, MANY, 0), 0);
    close_all(b);
}

/* ---- what is refused ---- */

static void bad_waits_are_refused(void **state)
{
    size_t index = 99;
    (void) state;
    board *b = board_with(2);
    const kin_process self = kin_current_process();
    kin_process list[4] = {b->processes[0], b->processes[1], {0}, self};
    kin_pool pool;
    const kin_pool_options one = {.workers = 1};
    assert_int_equal(kin_process_wait_any(NULL, 1, &index, 0), KIN_E_INVALID);
    assert_int_equal(kin_process_wait_any(list, 0, &index, 0), KIN_E_INVALID);
    assert_int_equal(kin_process_wait_any(list, 1, NULL, 0), KIN_E_INVALID);
    assert_int_equal(kin_process_wait_all(NULL, 1, 0), KIN_E_INVALID);
    assert_int_equal(kin_process_wait_all(NULL, 0, KIN_FOREVER), 0);
    assert_int_equal(kin_process_wait_all(list, SIZE_MAX / 2, 0), KIN_E_NOMEM);
    assert_int_equal(kin_process_wait_any(list, 3, &index, KIN_FOREVER), KIN_E_HANDLE);
    assert_int_equal(kin_process_wait_all(list, 3, KIN_FOREVER), KIN_E_HANDLE);
    assert_int_equal(kin_pool_create(&pool, &one), 0);
    list[2].id = pool.id;
    assert_int_equal(kin_process_wait_any(list, 3, &index, KIN_FOREVER), KIN_E_HANDLE);
    assert_int_equal(kin_process_wait_all(list, 3, KIN_FOREVER), KIN_E_HANDLE);
    assert_int_equal(kin_pool_destroy(pool), 0);
    list[2] = self;
    assert_int_equal(kin_process_wait_any(list + 2, 2, &index, KIN_FOREVER), KIN_E_DEADLOCK);
    assert_int_equal(kin_process_wait_all(list, 3, KIN_FOREVER), KIN_E_DEADLOCK);
    assert_int_equal(kin_process_wait_any(list, 4, &index, 5), KIN_E_TIMEOUT);
    kill_one(list[1]);
    assert_int_equal(kin_process_wait_any(list, 4, &index, LONG_MS), 0);
    assert_int_equal(index, 1);
    end_all(b);
    assert_int_equal(kin_process_wait_any(list, 2, &index, 0), KIN_E_HANDLE);
    assert_int_equal(kin_process_wait_all(list, 2, 0), KIN_E_HANDLE);
}

static int mode_no_family(int argc, char **argv)
{
    kin_process process = {UINT64_C(0x123456789)};
    size_t index;
    intptr_t sentinel;
    CHECK(kin_process_wait_any(&process, 1, &index, 0) == KIN_E_INIT);
    CHECK(kin_process_wait_all(&process, 1, 0) == KIN_E_INIT);
    CHECK(kin_process_wait_all(NULL, 0, 0) == KIN_E_INIT);
    CHECK(kin_process_sentinel(process, &sentinel) == KIN_E_INIT);
    CHECK(kin_init(&argc, &argv) == 0);
    CHECK(kin_process_wait_any(&process, 1, &index, 0) == KIN_E_HANDLE);
    CHECK(kin_process_sentinel(process, &sentinel) == KIN_E_HANDLE);
    return 0;
}

static void without_a_family_nothing_is_waited_for(void **state)
{
    (void) state;
    assert_int_equal(run_mode("no_family"), 0);
}

#if !defined _WIN32

/* A child waits for its siblings, each of which costs it a descriptor, and has few. */
static int wait_with_few_descriptors(void *argument, size_t size)
{
    board *b = board_of(argument);
    size_t index;
    struct rlimit before;
    (void) size;
    CHECK(getrlimit(RLIMIT_NOFILE, &before) == 0);
    int next = dup(0);
    CHECK(next >= 0 && close(next) == 0);
    const struct rlimit few = {.rlim_cur = (rlim_t) next + 4, .rlim_max = before.rlim_max};
    CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
    int status = kin_process_wait_any(b->processes, FEW, &index, 10);
    CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
    CHECK(status == (ALL_HAVE_SENTINELS ? KIN_E_DESCRIPTORS : KIN_E_TIMEOUT));
    CHECK(dup(0) == next && close(next) == 0); /* none is left open */
    CHECK(kin_process_wait_any(b->processes, FEW, &index, 10) == KIN_E_TIMEOUT);
    return 0;
}

static void without_descriptors_a_wait_fails_and_leaves_nothing(void **state)
{
    (void) state;
    board *b = board_with(FEW);
    assert_int_equal(end_of(start_on(b, wait_with_few_descriptors, 0)), 0);
    end_all(b);
}

#endif

/* ---- from other members ---- */

static int wait_as_other(void *argument, size_t size)
{
    board *b = board_of(argument);
    size_t count = atomic_load(&b->count);
    size_t index = SIZE_MAX;
    int code = 0;
    (void) size;
    CHECK(kin_process_wait_all(b->processes, count, 5) == KIN_E_TIMEOUT);
    CHECK(kin_process_wait_any(b->processes, count, &index, 5) == KIN_E_TIMEOUT);
    mark_add(&b->done);
    CHECK(kin_process_wait_any(b->processes, count, &index, LONG_MS) == 0);
    CHECK(index < count && kin_process_is_alive(b->processes[index]) == 0);
    mark_add(&b->done);
    CHECK(kin_process_wait_all(b->processes, count, LONG_MS) == 0);
    for (size_t i = 0; i < count; i++) {
        CHECK(kin_process_exit_code(b->processes[i], &code) == 0);
        CHECK(code == (i == 1 ? -KIN_SIGKILL : 5));
    }
    return 0;
}

/* Whoever of its siblings and its parent's siblings it is. */
static void every_member_may_wait_for_many(void **state)
{
    (void) state;
    for (int method = KIN_START_SPAWN; method <= KIN_START_FORKSERVER; method++) {
        if (!kin_has_start_method(method)) {
            continue;
        }
        board *b = board_with(FEW);
        kin_process waiters[2] = {start_on(b, wait_as_other, method),
                                  start_on(b, wait_as_other, method)};
        assert_true(mark_await(&b->done, 2));
        kill_one(b->processes[1]);
        assert_true(mark_await(&b->done, 4));
        mark_add(&b->go);
        assert_int_equal(kin_process_wait_all(waiters, 2, LONG_MS), 0);
        assert_int_equal(end_of(waiters[0]), 0);
        assert_int_equal(end_of(waiters[1]), 0);
        end_all(b);
    }
}

/* A parent that looks at nothing, after it has killed all but the first of its children. */
static int have_children(void *argument, size_t size)
{
    board *b = board_of(argument);
    (void) size;
    start_many(b, FEW);
    mark_add(&b->done);
    CHECK(mark_await(&b->done, 2));
    for (size_t i = 1; i < FEW; i++) {
        CHECK(kin_process_kill(b->processes[i]) == 0);
    }
    CHECK(mark_await(&b->done, 3));
    return 0;
}

static void ends_are_seen_though_the_parent_does_not_look(void **state)
{
    size_t index = 99;
    (void) state;
    board *b = shared_new(sizeof *b);
    kin_process parent = start_on(b, have_children, 0);
    assert_true(mark_await(&b->done, 1));
    assert_true(mark_await(&b->arrived, FEW));
    assert_int_equal(kin_process_wait_any(b->processes, FEW, &index, 5), KIN_E_TIMEOUT);
    mark_add(&b->done);
    assert_int_equal(kin_process_wait_any(b->processes, FEW, &index, LONG_MS), 0);
    assert_true(index > 0);
    assert_int_equal(kin_process_wait_all(b->processes + 1, FEW - 1, LONG_MS), 0);
    for (size_t i = 1; i < FEW; i++) {
        assert_int_equal(code_of(b->processes[i]), -KIN_SIGKILL);
    }
    mark_add(&b->go);
    assert_int_equal(kin_process_wait_all(b->processes, FEW, LONG_MS), 0);
    for (size_t i = 0; i < FEW; i++) {
        assert_int_equal(kin_process_close(b->processes[i]), 0);
    }
    mark_add(&b->done);
    assert_int_equal(end_of(parent), 0);
    shared_free(b);
}

static int wait_for_ever(void *argument, size_t size)
{
    board *b = board_of(argument);
    size_t index;
    (void) size;
    mark_add(&b->done);
    (void) kin_process_wait_any(b->processes, FEW, &index, KIN_FOREVER);
    return CHILD_FAILED;
}

static void a_killed_waiter_leaves_nothing(void **state)
{
    (void) state;
    board *b = board_with(FEW);
    for (uint32_t i = 1; i <= 5; i++) {
        kin_process waiter = start_on(b, wait_for_ever, 0);
        assert_true(mark_await(&b->done, i));
        kill_and_close(waiter);
    }
    end_all(b);
}

/* Joins each of them, and closes it. */
static int close_each(void *argument, size_t size)
{
    board *b = board_of(argument);
    (void) size;
    for (size_t i = 0; i < FEW; i++) {
        CHECK(kin_process_join(b->processes[i], LONG_MS) == 0);
        CHECK(kin_process_close(b->processes[i]) == 0);
    }
    return 0;
}

static void what_is_closed_meanwhile_has_ended(void **state)
{
    int seen = 0;
    (void) state;
    for (int i = 0; i < 6; i++) {
        board *b = board_with(FEW);
        kin_process closer = start_on(b, close_each, 0);
        assert_true(mark_await(&b->arrived, FEW));
        mark_add(&b->go);
        int status = kin_process_wait_all(b->processes, FEW, LONG_MS);
        assert_true(status == 0 || status == KIN_E_HANDLE); /* all were closed before */
        seen += status == 0;
        assert_int_equal(end_of(closer), 0);
        assert_int_equal(kin_process_wait_all(b->processes, FEW, LONG_MS), KIN_E_HANDLE);
        assert_int_equal(kin_active_children(NULL, 0), 0);
        shared_free(b);
    }
    assert_true(seen > 0);
}

typedef struct waiters {
    board *b;
    int wrong[THREADS];
} waiters;

static void wait_in_thread(void *argument, unsigned number)
{
    waiters *w = argument;
    size_t index = SIZE_MAX;
    int status = kin_process_wait_any(w->b->processes, FEW, &index, LONG_MS);
    w->wrong[number] += status != 0 || index >= FEW;
    if (number == 0) {
        mark_add(&w->b->go);
    }
    w->wrong[number] += kin_process_wait_all(w->b->processes, FEW, LONG_MS) != 0;
    for (size_t i = 0; i < FEW; i++) {
        int code = 0;
        w->wrong[number] += kin_process_exit_code(w->b->processes[i], &code) != 0;
    }
}

static void several_threads_may_wait_for_the_same(void **state)
{
    (void) state;
    for (int i = 0; i < 5; i++) {
        waiters w = {.b = board_with(FEW)};
        kill_one(w.b->processes[i]);
        system_run_threads(THREADS, wait_in_thread, &w);
        for (int thread = 0; thread < THREADS; thread++) {
            assert_int_equal(w.wrong[thread], 0);
        }
        close_all(w.b);
    }
}

/* ---- on their way ---- */

/* Comes late, and ends. */
static int mode_late(int argc, char **argv)
{
    platform_sleep_ns(INT64_C(1000000) * LATE_MS);
    CHECK(kin_init(&argc, &argv) == 0);
    return CHILD_FAILED;
}

static int mode_never(int argc, char **argv)
{
    (void) argc, (void) argv;
    platform_sleep_ns(-1);
    return CHILD_FAILED;
}

static int return_five(void *argument, size_t size)
{
    (void) argument, (void) size;
    return 5;
}

static kin_process start_in_mode(board *b, const char *mode)
{
    system_set_variable(TEST_MODE, mode);
    kin_process process = start_on(b, return_five, KIN_START_SPAWN);
    system_set_variable(TEST_MODE, NULL);
    return process;
}

/* Has one that comes late, one that never does, and one that is no child at all. */
static int have_late_children(void *argument, size_t size)
{
    board *b = board_of(argument);
    (void) size;
    b->processes[0] = start_in_mode(b, "late");
    b->processes[1] = start_in_mode(b, "never");
    b->processes[2] = start_in_mode(b, "no_init");
    mark_add(&b->arrived);
    CHECK(mark_await(&b->go, 1));
    CHECK(kin_process_kill(b->processes[1]) == 0);
    if (!ALL_HAVE_SENTINELS) { /* then others learn of it when it looks */
        CHECK(kin_process_wait_all(b->processes, 3, LONG_MS) == 0);
    }
    CHECK(mark_await(&b->go, 2));
    return 0;
}

static void those_on_their_way_in_other_members_are_seen_to_end(void **state)
{
    size_t index = 99;
    (void) state;
    board *b = shared_new(sizeof *b);
    kin_process parent = start_on(b, have_late_children, 0);
    assert_true(mark_await(&b->arrived, 1));
    assert_int_equal(kin_process_wait_any(b->processes + 1, 1, &index, 5), KIN_E_TIMEOUT);
    assert_int_equal(kin_process_wait_all(b->processes, 2, 0), KIN_E_TIMEOUT);
    mark_add(&b->go);
    assert_int_equal(kin_process_wait_all(b->processes, 3, LONG_MS), 0);
    assert_int_equal(code_of(b->processes[0]), 5);
    assert_int_equal(code_of(b->processes[1]), -KIN_SIGKILL);
    assert_int_equal(code_of(b->processes[2]), 3);
    assert_int_equal(kin_process_join(b->processes[1], 0), 0);
    assert_int_equal(kin_process_join(b->processes[2], 0), KIN_E_NO_INIT);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(kin_process_close(b->processes[i]), 0);
    }
    mark_add(&b->go);
    assert_int_equal(end_of(parent), 0);
    shared_free(b);
}

static void those_on_their_way_here_are_seen_to_end(void **state)
{
    size_t index = 99;
    (void) state;
    board *b = shared_new(sizeof *b);
    b->processes[0] = start_in_mode(b, "never");
    b->processes[1] = start_in_mode(b, "late");
    b->processes[2] = start_in_mode(b, "never");
    atomic_store(&b->count, 3);
    assert_int_equal(kin_process_wait_any(b->processes, 3, &index, LONG_MS), 0);
    assert_int_equal(index, 1);
    kill_one(b->processes[0]);
    kill_one(b->processes[2]);
    assert_int_equal(kin_process_wait_all(b->processes, 3, LONG_MS), 0);
    assert_int_equal(code_of(b->processes[2]), -KIN_SIGKILL);
    close_all(b);
}

static int have_late_orphans(void *argument, size_t size)
{
    board *b = board_of(argument);
    (void) size;
    for (size_t i = 0; i < 3; i++) {
        b->processes[i] = start_in_mode(b, "late");
    }
    mark_add(&b->arrived);
    return kin_sleep(KIN_FOREVER);
}

/* Whose parent is killed while they are on their way: they are refused, and end. */
static void orphans_on_their_way_are_seen_to_end(void **state)
{
    (void) state;
    board *b = shared_new(sizeof *b);
    kin_process parent = start_on(b, have_late_orphans, 0);
    assert_true(mark_await(&b->arrived, 1));
    kill_and_close(parent);
    int status = kin_process_wait_all(b->processes, 3, LONG_MS);
    assert_true(status == 0 || status == KIN_E_HANDLE); /* nobody is left to close them */
    shared_free(b);
}

#if ALL_HAVE_SENTINELS

static int have_child_that_never_comes(void *argument, size_t size)
{
    board *b = board_of(argument);
    (void) size;
    b->processes[0] = start_in_mode(b, "never");
    mark_add(&b->arrived);
    CHECK(mark_await(&b->go, 1));
    return 0;
}

static void one_that_never_arrives_can_be_killed_by_others(void **state)
{
    (void) state;
    board *b = shared_new(sizeof *b);
    kin_process parent = start_on(b, have_child_that_never_comes, 0);
    assert_true(mark_await(&b->arrived, 1));
    assert_int_equal(kin_process_is_alive(b->processes[0]), 1);
    assert_int_equal(kin_process_kill(b->processes[0]), 0);
    assert_int_equal(kin_process_join(b->processes[0], LONG_MS), 0);
    assert_int_equal(kin_process_is_alive(b->processes[0]), 0);
    assert_int_equal(end_of(b->processes[0]), -KIN_SIGKILL);
    mark_add(&b->go);
    assert_int_equal(end_of(parent), 0);
    shared_free(b);
}

#endif

/* ---- what it costs ---- */

static int wait_at_rest(void *argument, size_t size)
{
    board *b = board_of(argument);
    size_t index;
    (void) size;
    int64_t before = system_processor_ns();
    int64_t since = kin_clock_ns();
    CHECK(kin_process_wait_any(b->processes, FEW, &index, 600) == KIN_E_TIMEOUT);
    CHECK(kin_process_wait_all(b->processes, FEW, 600) == KIN_E_TIMEOUT);
    int64_t used = system_processor_ns() - before;
    CHECK(used < (kin_clock_ns() - since) / 5);
    return 0;
}

/* For children, for siblings, and for what is on its way in another member. */
static void a_wait_rests(void **state)
{
    (void) state;
    board *b = board_with(FEW);
    const uint64_t offset = arena_offset(b);
    assert_true(mark_await(&b->arrived, FEW));
    assert_int_equal(wait_at_rest((void *) (uintptr_t) &offset, sizeof offset), 0);
    assert_int_equal(end_of(start_on(b, wait_at_rest, 0)), 0);
    kin_process late = start_in_mode(b, "never");
    kin_process before = b->processes[0];
    b->processes[0] = late;
    assert_int_equal(end_of(start_on(b, wait_at_rest, 0)), 0);
    b->processes[0] = before;
    kill_and_close(late);
    end_all(b);
}

/* ---- sentinels ---- */

#if defined _WIN32

static bool is_ready(intptr_t sentinel, int timeout_ms)
{
    DWORD result = WaitForSingleObject((HANDLE) sentinel, (DWORD) timeout_ms);
    assert_true(result == WAIT_OBJECT_0 || result == WAIT_TIMEOUT);
    return result == WAIT_OBJECT_0;
}

static bool is_inherited(intptr_t sentinel)
{
    DWORD flags = 0;
    assert_true(GetHandleInformation((HANDLE) sentinel, &flags));
    return (flags & HANDLE_FLAG_INHERIT) != 0;
}

#else

static bool is_ready(intptr_t sentinel, int timeout_ms)
{
    struct pollfd poller = {.fd = (int) sentinel, .events = POLLIN};
    int shown = poll(&poller, 1, timeout_ms);
    assert_true(shown >= 0 && (poller.revents & (POLLNVAL | POLLERR)) == 0);
    assert_true(shown == 0 || (poller.revents & POLLIN) != 0);
    return shown > 0;
}

static bool is_inherited(intptr_t sentinel)
{
    int flags = fcntl((int) sentinel, F_GETFD);
    assert_true(flags >= 0);
    return (flags & FD_CLOEXEC) == 0;
}

#endif

static intptr_t sentinel_of(kin_process process)
{
    intptr_t sentinel = -1;
    assert_int_equal(kin_process_sentinel(process, &sentinel), 0);
    assert_false(is_inherited(sentinel));
    return sentinel;
}

#if ALL_HAVE_SENTINELS

static void await_by_system(kin_process process)
{
    intptr_t sentinel = sentinel_of(process);
    assert_true(is_ready(sentinel, LONG_MS));
    system_close_sentinel(sentinel);
}

#endif

/* What the forkserver starts is no child to the system. */
static bool has_sentinel(int method)
{
    return ALL_HAVE_SENTINELS || method != KIN_START_FORKSERVER;
}

static void a_sentinel_shows_the_end(void **state)
{
    (void) state;
    for (int method = KIN_START_SPAWN; method <= KIN_START_FORKSERVER; method++) {
        if (!kin_has_start_method(method) || !has_sentinel(method)) {
            continue;
        }
        board *b = shared_new(sizeof *b);
        kin_process process = start_on(b, await_go, method);
        intptr_t early = sentinel_of(process); /* it is on its way, most likely */
        assert_true(mark_await(&b->arrived, 1));
        intptr_t late = sentinel_of(process);
        assert_true(early != late);
        assert_false(is_ready(early, 0));
        assert_false(is_ready(late, 10));
        mark_add(&b->go);
        assert_true(is_ready(early, LONG_MS));
        assert_true(is_ready(late, LONG_MS));
        assert_int_equal(kin_process_join(process, LONG_MS), 0);
        intptr_t after = sentinel_of(process);
        assert_true(is_ready(after, 0));
        assert_int_equal(end_of(process), 5);
        assert_true(is_ready(early, 0)); /* it is the caller's own */
        system_close_sentinel(early);
        system_close_sentinel(late);
        system_close_sentinel(after);
        shared_free(b);
    }
}

static void bad_sentinels_are_refused(void **state)
{
    intptr_t sentinel = -1;
    (void) state;
    board *b = board_with(1);
    kin_process process = b->processes[0];
    assert_int_equal(kin_process_sentinel(process, NULL), KIN_E_INVALID);
    assert_int_equal(kin_process_sentinel((kin_process){0}, &sentinel), KIN_E_HANDLE);
    int status = kin_process_sentinel(kin_current_process(), &sentinel);
    assert_int_equal(status, ALL_HAVE_SENTINELS ? 0 : KIN_E_UNSUPPORTED);
    if (status == 0) {
        assert_false(is_ready(sentinel, 0));
        system_close_sentinel(sentinel);
    }
    end_all(b);
    assert_int_equal(kin_process_sentinel(process, &sentinel), KIN_E_HANDLE);
}

static int see_by_sentinels(void *argument, size_t size)
{
    board *b = board_of(argument);
    intptr_t sentinels[FEW] = {0};
    (void) size;
    for (size_t i = 0; i < FEW; i++) {
        int status = kin_process_sentinel(b->processes[i], &sentinels[i]);
        CHECK(status == (ALL_HAVE_SENTINELS ? 0 : KIN_E_UNSUPPORTED));
        CHECK(status < 0 || !is_ready(sentinels[i], 0));
    }
    mark_add(&b->done);
    for (size_t i = 0; i < FEW; i++) {
        CHECK(!ALL_HAVE_SENTINELS || is_ready(sentinels[i], LONG_MS));
        CHECK(kin_process_join(b->processes[i], LONG_MS) == 0);
        CHECK(kin_process_sentinel(b->processes[i], &sentinels[i]) == 0);
        CHECK(is_ready(sentinels[i], 0));
    }
    return 0;
}

static void other_members_have_sentinels_too(void **state)
{
    (void) state;
    board *b = board_with(FEW);
    assert_true(mark_await(&b->arrived, FEW));
    kin_process other = start_on(b, see_by_sentinels, 0);
    assert_true(mark_await(&b->done, 1));
    mark_add(&b->go);
    assert_int_equal(end_of(other), 0);
    end_all(b);
}

static void one_on_its_way_in_another_member_has_a_sentinel(void **state)
{
    intptr_t sentinels[3] = {0};
    (void) state;
    board *b = shared_new(sizeof *b);
    kin_process parent = start_on(b, have_late_children, 0);
    assert_true(mark_await(&b->arrived, 1));
    for (size_t i = 0; i < 2 && ALL_HAVE_SENTINELS; i++) {
        sentinels[i] = sentinel_of(b->processes[i]);
        assert_false(i == 1 && is_ready(sentinels[i], 10));
    }
    mark_add(&b->go);
    assert_int_equal(kin_process_wait_all(b->processes, 3, LONG_MS), 0);
    for (size_t i = 0; i < 3; i++) {
        assert_true(i == 2 || !ALL_HAVE_SENTINELS || is_ready(sentinels[i], 0));
        intptr_t after = sentinel_of(b->processes[i]);
        assert_true(is_ready(after, 0));
        system_close_sentinel(after);
        if (i < 2 && ALL_HAVE_SENTINELS) {
            system_close_sentinel(sentinels[i]);
        }
    }
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(kin_process_close(b->processes[i]), 0);
    }
    mark_add(&b->go);
    assert_int_equal(end_of(parent), 0);
    shared_free(b);
}

#if !defined _WIN32

static int have_copy(void *argument, size_t size)
{
    board *b = board_of(argument);
    (void) size;
    b->processes[0] = start_on(b, await_go, KIN_START_FORK);
    mark_add(&b->done);
    return kin_sleep(KIN_FOREVER);
}

/* What a copy inherits of its original must not hide that one's end. */
static void a_copy_does_not_hide_the_end_of_its_original(void **state)
{
    (void) state;
    for (int method = KIN_START_SPAWN; method <= KIN_START_FORK; method++) {
        board *b = shared_new(sizeof *b);
        kin_process process = start_on(b, have_copy, method);
        intptr_t sentinel = sentinel_of(process);
        assert_true(mark_await(&b->done, 1));
        assert_true(mark_await(&b->arrived, 1));
        kill_one(process);
        assert_true(is_ready(sentinel, LONG_MS));
        assert_int_equal(end_of(process), -KIN_SIGKILL);
        assert_int_equal(kin_process_is_alive(b->processes[0]), 1);
        mark_add(&b->go);
        int status = kin_process_join(b->processes[0], LONG_MS);
        assert_true(status == 0 || status == KIN_E_HANDLE);
        system_close_sentinel(sentinel);
        shared_free(b);
    }
}

static void without_descriptors_there_is_no_sentinel(void **state)
{
    struct rlimit before;
    intptr_t sentinel = -1;
    (void) state;
    board *b = board_with(1);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    int next = dup(0);
    assert_true(next >= 0 && close(next) == 0);
    const struct rlimit none = {.rlim_cur = (rlim_t) next, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    int status = kin_process_sentinel(b->processes[0], &sentinel);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(status, KIN_E_DESCRIPTORS);
    end_all(b);
}

#endif

#if defined __linux__

static void sentinels_work_with_epoll(void **state)
{
    (void) state;
    board *b = shared_new(sizeof *b);
    intptr_t sentinels[FEW];
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    assert_true(epoll >= 0);
    for (uint32_t i = 0; i < FEW; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        b->processes[i] = start_on(b, await_go, i % 2 == 0 ? KIN_START_SPAWN : KIN_START_FORK);
        if (i == 3) { /* one that has ended already */
            kill_one(b->processes[i]);
            assert_int_equal(kin_process_join(b->processes[i], LONG_MS), 0);
        }
        sentinels[i] = sentinel_of(b->processes[i]);
        assert_int_equal(epoll_ctl(epoll, EPOLL_CTL_ADD, (int) sentinels[i], &event), 0);
    }
    atomic_store(&b->count, FEW);
    struct epoll_event event;
    assert_int_equal(epoll_wait(epoll, &event, 1, LONG_MS), 1);
    assert_int_equal(event.data.u32, 3);
    assert_int_equal(epoll_ctl(epoll, EPOLL_CTL_DEL, (int) sentinels[3], NULL), 0);
    assert_int_equal(epoll_wait(epoll, &event, 1, 10), 0);
    kill_one(b->processes[6]);
    assert_int_equal(epoll_wait(epoll, &event, 1, LONG_MS), 1);
    assert_int_equal(event.data.u32, 6);
    assert_true((event.events & EPOLLIN) != 0);
    assert_int_equal(close(epoll), 0);
    for (size_t i = 0; i < FEW; i++) {
        system_close_sentinel(sentinels[i]);
    }
    end_all(b);
}

#endif

#if defined _WIN32

static void sentinels_work_with_wait_for_multiple_objects(void **state)
{
    (void) state;
    board *b = board_with(FEW);
    HANDLE handles[FEW];
    kill_one(b->processes[3]);
    assert_int_equal(kin_process_join(b->processes[3], LONG_MS), 0);
    for (size_t i = 0; i < FEW; i++) {
        handles[i] = (HANDLE) sentinel_of(b->processes[i]);
    }
    assert_int_equal(WaitForMultipleObjects(FEW, handles, FALSE, LONG_MS), WAIT_OBJECT_0 + 3);
    assert_int_equal(WaitForMultipleObjects(3, handles, FALSE, 10), WAIT_TIMEOUT);
    kill_one(b->processes[1]);
    assert_int_equal(WaitForMultipleObjects(3, handles, FALSE, LONG_MS), WAIT_OBJECT_0 + 1);
    mark_add(&b->go);
    assert_int_equal(WaitForMultipleObjects(FEW, handles, TRUE, LONG_MS), WAIT_OBJECT_0);
    for (size_t i = 0; i < FEW; i++) {
        system_close_sentinel((intptr_t) handles[i]);
    }
    end_all(b);
}

#endif

static int mode_no_init(int argc, char **argv)
{
    (void) argc, (void) argv;
    return 3;
}

static const test_mode modes[] = {
    {"no_family", mode_no_family},
    {"late", mode_late},
    {"never", mode_never},
    {"no_init", mode_no_init},
};

/* The first one that the forkserver starts, and the server itself. */
static int start_server(void **state)
{
    int status = warm_up(state);
    if (kin_has_start_method(KIN_START_FORKSERVER)) {
        const kin_process_options options = {.method = KIN_START_FORKSERVER};
        kin_process process;
        assert_int_equal(kin_process_start(&process, return_five, NULL, 0, &options), 0);
        assert_int_equal(end_of(process), 5);
    }
    return status;
}

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
        SETTLED_TEST(the_one_of_many_that_ends_is_told),
        SETTLED_TEST(of_several_that_have_ended_the_first_is_told),
#if ALL_HAVE_SENTINELS
        SETTLED_TEST(ends_that_nobody_has_seen_yet_are_found_at_once),
#endif
        SETTLED_TEST(one_given_twice_is_one),
        SETTLED_TEST(all_are_waited_for_and_have_exit_codes),
        SETTLED_TEST(many_are_waited_for),
        SETTLED_TEST(bad_waits_are_refused),
        SETTLED_TEST(without_a_family_nothing_is_waited_for),
        SETTLED_TEST(every_member_may_wait_for_many),
        SETTLED_TEST(ends_are_seen_though_the_parent_does_not_look),
        SETTLED_TEST(a_killed_waiter_leaves_nothing),
        SETTLED_TEST(what_is_closed_meanwhile_has_ended),
        SETTLED_TEST(several_threads_may_wait_for_the_same),
        SETTLED_TEST(those_on_their_way_in_other_members_are_seen_to_end),
        SETTLED_TEST(those_on_their_way_here_are_seen_to_end),
        SETTLED_TEST(orphans_on_their_way_are_seen_to_end),
#if ALL_HAVE_SENTINELS
        SETTLED_TEST(one_that_never_arrives_can_be_killed_by_others),
#endif
        SETTLED_TEST(a_wait_rests),
        SETTLED_TEST(a_sentinel_shows_the_end),
        SETTLED_TEST(bad_sentinels_are_refused),
        SETTLED_TEST(other_members_have_sentinels_too),
        SETTLED_TEST(one_on_its_way_in_another_member_has_a_sentinel),
#if !defined _WIN32
        SETTLED_TEST(without_descriptors_a_wait_fails_and_leaves_nothing),
        SETTLED_TEST(a_copy_does_not_hide_the_end_of_its_original),
        SETTLED_TEST(without_descriptors_there_is_no_sentinel),
#endif
#if defined __linux__
        SETTLED_TEST(sentinels_work_with_epoll),
#endif
#if defined _WIN32
        SETTLED_TEST(sentinels_work_with_wait_for_multiple_objects),
#endif
    };
    return cmocka_run_group_tests(tests, start_server, NULL);
}
