/* kin/group.h: processes that are ended, joined and counted as one, members or not. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "support.h"
#include "support_options.h"

#include "core/arena.h"

#include <stdlib.h>
#include <string.h>

#if defined _WIN32
#include <windows.h>
#else
#include <time.h>
#include <unistd.h>
#endif

enum { FEW = 3 };

/* What children and tests share. */
typedef struct board {
    mark arrived;
    mark go;
    kin_group group;
    _Atomic uint64_t handle;
    _Atomic uint64_t stranger;
    _Atomic int32_t status;
} board;

static board *board_of(const void *argument)
{
    uint64_t offset;
    memcpy(&offset, argument, sizeof offset);
    return arena_at(offset);
}

static kin_process start_in(kin_group group, int method, kin_process_function function,
                            const board *b)
{
    const kin_process_options options = {.method = method, .group = group};
    uint64_t offset = arena_offset(b);
    kin_process process = {0};
    assert_int_equal(kin_process_start(&process, function, &offset, sizeof offset, &options), 0);
    return process;
}

static kin_group new_group(void)
{
    kin_group group = {0};
    assert_int_equal(kin_group_create(&group), 0);
    return group;
}

static int arrive_and_stay(void *argument, size_t size)
{
    CHECK(size == sizeof(uint64_t));
    mark_add(&board_of(argument)->arrived);
    kin_sleep(KIN_FOREVER);
    return 0;
}

static int code_of(kin_process process)
{
    int code = 1000;
    assert_int_equal(kin_process_join(process, LONG_MS), 0);
    assert_int_equal(kin_process_exit_code(process, &code), 0);
    assert_int_equal(kin_process_close(process), 0);
    return code;
}

/* Until the group has that many; what ends or starts is seen after a while. */
static bool await_count(kin_group group, int count)
{
    int64_t until = kin_clock_ns() + INT64_C(1000000) * LONG_MS;
    while (kin_group_count(group) != count) {
        if (kin_clock_ns() > until) {
            return false;
        }
        kin_sleep(5);
    }
    return true;
}

static void an_empty_group_has_nobody(void **state)
{
    (void) state;
    kin_group group = new_group();
    assert_int_equal(kin_group_count(group), 0);
    assert_int_equal(kin_group_processes(group, NULL, 0), 0);
    assert_int_equal(kin_group_join(group, 0), 0);
    assert_int_equal(kin_group_terminate(group), 0);
    assert_int_equal(kin_group_destroy(group), 0);
}

static void a_bad_group_is_an_error(void **state)
{
    (void) state;
    kin_group group = new_group();
    kin_process process = {0};
    const kin_process_options options = {.group = group};
    assert_int_equal(kin_group_create(NULL), KIN_E_INVALID);
    assert_int_equal(kin_group_join(group, -2), KIN_E_INVALID);
    assert_int_equal(kin_group_processes(group, NULL, 1), KIN_E_INVALID);
    assert_int_equal(kin_group_destroy(group), 0);
    assert_int_equal(kin_group_destroy(group), KIN_E_HANDLE);
    assert_int_equal(kin_group_count(group), KIN_E_HANDLE);
    assert_int_equal(kin_group_kill(group), KIN_E_HANDLE);
    assert_int_equal(kin_group_terminate(group), KIN_E_HANDLE);
    assert_int_equal(kin_group_join(group, 0), KIN_E_HANDLE);
    assert_int_equal(kin_group_processes(group, NULL, 0), KIN_E_HANDLE);
    assert_int_equal(kin_process_start(&process, stay, NULL, 0, &options), KIN_E_HANDLE);
    assert_int_equal(kin_group_count((kin_group){kin_current_process().id}), KIN_E_HANDLE);
    assert_int_equal(kin_process_start(&process, stay, "x", SIZE_MAX, NULL), KIN_E_NOMEM);
}

static void end_with_method(int method)
{
    for (int ask = 0; ask < 2; ask++) {
        kin_process processes[FEW];
        kin_process listed[FEW + 1];
        kin_process late;
        board *b = shared_new(sizeof *b);
        kin_group group = new_group();
        for (int i = 0; i < FEW; i++) {
            processes[i] = start_in(group, method, arrive_and_stay, b);
        }
        assert_true(mark_await(&b->arrived, FEW));
        assert_int_equal(kin_group_count(group), FEW);
        assert_int_equal(kin_group_processes(group, listed, FEW + 1), FEW);
        assert_int_equal(kin_group_join(group, 20), KIN_E_TIMEOUT);
        assert_int_equal(kin_group_destroy(group), KIN_E_RUNNING);
        assert_int_equal(ask ? kin_group_terminate(group) : kin_group_kill(group), 0);
        assert_int_equal(kin_group_join(group, LONG_MS), 0);
        assert_int_equal(kin_group_count(group), 0);
        for (int i = 0; i < FEW; i++) {
            assert_int_equal(code_of(processes[i]), ask ? -KIN_SIGTERM : -KIN_SIGKILL);
        }
        const kin_process_options options = {.method = method, .group = group};
        uint64_t offset = arena_offset(b);
        int status = kin_process_start(&late, arrive_and_stay, &offset, sizeof offset, &options);
        assert_int_equal(status, ask ? 0 : KIN_E_STATE);
        if (status == 0) {
            kill_and_close(late);
        }
        assert_int_equal(kin_group_destroy(group), 0);
        shared_free(b);
    }
}

static void a_group_ends_as_one_with_each_method(void **state)
{
    (void) state;
    each_method(end_with_method);
}

/* Starts two of its own, which are in the group as well. */
static int have_children(void *argument, size_t size)
{
    kin_process children[2];
    board *b = board_of(argument);
    CHECK(size == sizeof(uint64_t));
    for (int i = 0; i < 2; i++) {
        const kin_process_options options = {
            .method =
                i == 1 && kin_has_start_method(KIN_START_FORK) ? KIN_START_FORK : KIN_START_SPAWN,
            .new_process_group = i == 1};
        CHECK(kin_process_start(&children[i], arrive_and_stay, argument, size, &options) == 0);
    }
    mark_add(&b->arrived);
    kin_sleep(KIN_FOREVER);
    return 0;
}

static void grandchildren_are_in_the_group(void **state)
{
    (void) state;
    for (int ask = 0; ask < 2; ask++) {
        board *b = shared_new(sizeof *b);
        kin_group group = new_group();
        kin_process process = start_in(group, KIN_START_SPAWN, have_children, b);
        assert_true(mark_await(&b->arrived, 3));
        assert_int_equal(kin_group_count(group), 3);
        assert_int_equal(ask ? kin_group_terminate(group) : kin_group_kill(group), 0);
        assert_int_equal(kin_group_join(group, LONG_MS), 0);
        assert_int_equal(code_of(process), ask ? -KIN_SIGTERM : -KIN_SIGKILL);
        assert_int_equal(kin_group_destroy(group), 0);
        shared_free(b);
    }
}

/* Starts a process that kin knows nothing of, and gives its pid. */
static uint64_t start_stranger(const char *mode)
{
#if defined _WIN32
    wchar_t path[MAX_PATH];
    STARTUPINFOW info = {.cb = sizeof info};
    PROCESS_INFORMATION made;
    GetModuleFileNameW(NULL, path, MAX_PATH);
    system_set_variable(TEST_MODE, mode);
    BOOL good = CreateProcessW(path, NULL, NULL, NULL, FALSE, 0, NULL, NULL, &info, &made);
    system_set_variable(TEST_MODE, NULL);
    if (!good) {
        return 0;
    }
    CloseHandle(made.hThread);
    CloseHandle(made.hProcess);
    return made.dwProcessId;
#else
    pid_t pid = fork();
    if (pid == 0) {
        const struct timespec time = {strcmp(mode, "rest") == 0 ? 0 : 100, 400000000};
        (void) nanosleep(&time, NULL);
        _exit(0);
    }
    return (uint64_t) pid;
#endif
}

static int sit(int argc, char **argv)
{
    (void) argc, (void) argv;
    kin_sleep(100000);
    return 0;
}

static int rest(int argc, char **argv)
{
    (void) argc, (void) argv;
    kin_sleep(400);
    return 0;
}

static int have_a_stranger(void *argument, size_t size)
{
    board *b = board_of(argument);
    CHECK(size == sizeof(uint64_t));
    atomic_store(&b->stranger, start_stranger("sit"));
    CHECK(atomic_load(&b->stranger) != 0);
    mark_add(&b->arrived);
    kin_sleep(KIN_FOREVER);
    return 0;
}

static void find_strangers(int method)
{
    for (int ask = 0; ask < 2; ask++) {
        board *b = shared_new(sizeof *b);
        kin_group group = new_group();
        kin_process process = start_in(group, method, have_a_stranger, b);
        assert_true(mark_await(&b->arrived, 1));
        assert_int_equal(kin_group_count(group), 2);
        assert_int_equal(kin_group_processes(group, NULL, 0), 1);
        /* It stays in the group when the member that started it is gone and forgotten. */
        kill_and_close(process);
        assert_true(await_count(group, 1));
        assert_int_equal(kin_group_destroy(group), KIN_E_RUNNING);
        assert_int_equal(kin_group_join(group, 30), KIN_E_TIMEOUT);
        assert_int_equal(ask ? kin_group_terminate(group) : kin_group_kill(group), 0);
        assert_int_equal(kin_group_join(group, LONG_MS), 0);
        assert_int_equal(kin_group_destroy(group), 0);
        shared_free(b);
    }
}

static void strangers_are_in_the_group(void **state)
{
    (void) state;
    find_strangers(KIN_START_SPAWN);
    if (kin_has_start_method(KIN_START_FORK)) {
        find_strangers(KIN_START_FORK);
    }
}

/* One in the group that has another started by the forkserver, which starts a stranger. */
static int have_a_stranger_by_the_forkserver(void *argument, size_t size)
{
    const kin_process_options options = {.method = KIN_START_FORKSERVER};
    kin_process process;
    CHECK(kin_process_start(&process, have_a_stranger, argument, size, &options) == 0);
    kin_sleep(KIN_FOREVER);
    return 0;
}

static void strangers_of_the_forkservers_are_in_the_group(void **state)
{
    (void) state;
#if defined KIN_POSIX_PLAIN
    skip(); /* only the server, whose children they are of, could find them */
#endif
    if (!kin_has_start_method(KIN_START_FORKSERVER)) {
        skip();
    }
    board *b = shared_new(sizeof *b);
    kin_group group = new_group();
    kin_process process = start_in(group, KIN_START_SPAWN, have_a_stranger_by_the_forkserver, b);
    assert_true(mark_await(&b->arrived, 1));
    assert_int_equal(kin_group_count(group), 3);
    assert_int_equal(kin_group_kill(group), 0);
    assert_int_equal(kin_group_join(group, LONG_MS), 0);
    assert_int_equal(code_of(process), -KIN_SIGKILL);
    assert_int_equal(kin_group_destroy(group), 0);
    shared_free(b);
}

static int leave_a_stranger(void *argument, size_t size)
{
    CHECK(size == sizeof(uint64_t));
    atomic_store(&board_of(argument)->stranger, start_stranger("rest"));
    return 3;
}

static void a_join_waits_for_strangers(void **state)
{
    (void) state;
    board *b = shared_new(sizeof *b);
    kin_group group = new_group();
    int64_t begin = kin_clock_ns();
    kin_process process = start_in(group, KIN_START_SPAWN, leave_a_stranger, b);
    assert_int_equal(kin_group_join(group, LONG_MS), 0);
    assert_true(kin_clock_ns() - begin >= INT64_C(400000000));
    assert_int_equal(code_of(process), 3);
    assert_int_equal(kin_group_destroy(group), 0);
    shared_free(b);
}

static int look_from_within(void *argument, size_t size)
{
    board *b = board_of(argument);
    CHECK(size == sizeof(uint64_t));
    kin_process self = {0};
    CHECK(kin_group_count(b->group) == 1);
    CHECK(kin_group_processes(b->group, &self, 1) == 1);
    CHECK(self.id == kin_current_process().id);
    CHECK(kin_group_join(b->group, LONG_MS) == KIN_E_DEADLOCK);
    CHECK(kin_group_destroy(b->group) == KIN_E_RUNNING);
    (void) kin_group_kill(b->group);
    return CHILD_FAILED;
}

static void one_in_the_group_kills_itself_with_it(void **state)
{
    (void) state;
    board *b = shared_new(sizeof *b);
    b->group = new_group();
    kin_process process = start_in(b->group, KIN_START_SPAWN, look_from_within, b);
    assert_int_equal(code_of(process), -KIN_SIGKILL);
    assert_int_equal(kin_group_destroy(b->group), 0);
    shared_free(b);
}

static int kill_group_of_others(void *argument, size_t size)
{
    board *b = board_of(argument);
    CHECK(size == sizeof(uint64_t));
    CHECK(kin_group_count(b->group) == FEW);
    CHECK(kin_group_kill(b->group) == 0);
    CHECK(kin_group_join(b->group, LONG_MS) == 0);
    return 0;
}

static void any_member_may_end_the_group(void **state)
{
    (void) state;
    kin_process processes[FEW];
    board *b = shared_new(sizeof *b);
    uint64_t offset = arena_offset(b);
    b->group = new_group();
    for (int i = 0; i < FEW; i++) {
        processes[i] = start_in(b->group, KIN_START_SPAWN, arrive_and_stay, b);
    }
    assert_true(mark_await(&b->arrived, FEW));
    assert_int_equal(end_of(start(kill_group_of_others, &offset, sizeof offset)), 0);
    for (int i = 0; i < FEW; i++) {
        assert_int_equal(code_of(processes[i]), -KIN_SIGKILL);
    }
    assert_int_equal(kin_group_destroy(b->group), 0);
    shared_free(b);
}

/* Makes a group with a daemon in it. */
static int make_a_group(void *argument, size_t size)
{
    board *b = board_of(argument);
    CHECK(size == sizeof(uint64_t));
    CHECK(kin_group_create(&b->group) == 0);
    const kin_process_options options = {.group = b->group, .daemon = true};
    kin_process process;
    CHECK(kin_process_start(&process, arrive_and_stay, argument, size, &options) == 0);
    CHECK(mark_await(&b->arrived, 1));
    mark_add(&b->arrived);
    kin_sleep(KIN_FOREVER);
    return 0;
}

static void a_group_goes_with_its_maker_and_its_members(void **state)
{
    (void) state;
    board *b = shared_new(sizeof *b);
    uint64_t offset = arena_offset(b);
    kin_process maker = start(make_a_group, &offset, sizeof offset);
    assert_true(mark_await(&b->arrived, 2));
    assert_int_equal(kin_group_count(b->group), 1);
    kill_and_close(maker);
    int64_t until = kin_clock_ns() + INT64_C(1000000) * LONG_MS;
    while (kin_group_count(b->group) != KIN_E_HANDLE && kin_clock_ns() < until) {
        kin_arena_usage usage;
        (void) kin_arena_read_usage(&usage); /* which looks who is dead */
        kin_sleep(5);
    }
    assert_int_equal(kin_group_count(b->group), KIN_E_HANDLE);
    shared_free(b);
}

/* Makes a group with one in it that has started a stranger. */
static int make_a_group_of_strangers(void *argument, size_t size)
{
    board *b = board_of(argument);
    CHECK(size == sizeof(uint64_t));
    CHECK(kin_group_create(&b->group) == 0);
    const kin_process_options options = {.group = b->group};
    kin_process process;
    CHECK(kin_process_start(&process, have_a_stranger, argument, size, &options) == 0);
    CHECK(mark_await(&b->arrived, 1));
    mark_add(&b->arrived);
    kin_sleep(KIN_FOREVER);
    return 0;
}

static void strangers_are_found_without_the_maker(void **state)
{
    (void) state;
#if defined KIN_POSIX_PLAIN
    skip(); /* only the maker, whose child led them, could find them */
#endif
    board *b = shared_new(sizeof *b);
    uint64_t offset = arena_offset(b);
    kin_process maker = start(make_a_group_of_strangers, &offset, sizeof offset);
    assert_true(mark_await(&b->arrived, 2));
    kill_and_close(maker);
    assert_int_equal(kin_group_count(b->group), 2);
    assert_int_equal(kin_group_kill(b->group), 0);
    int status = kin_group_join(b->group, LONG_MS);
    /* It goes with its last member. */
    assert_true(status == 0 || status == KIN_E_HANDLE);
    assert_true(kin_group_destroy(b->group) == 0 || status == KIN_E_HANDLE ||
                kin_group_count(b->group) == KIN_E_HANDLE);
    shared_free(b);
}

static int start_deeper(void *argument, size_t size)
{
    board *b = board_of(argument);
    CHECK(size == sizeof(uint64_t));
    kin_group group;
    kin_process process;
    CHECK(kin_group_create(&group) == 0);
    const kin_process_options options = {.group = group};
    int status = kin_process_start(&process, start_deeper, argument, size, &options);
    if (status < 0) {
        atomic_store(&b->status, status);
    } else {
        mark_add(&b->arrived);
        CHECK(kin_process_join(process, LONG_MS) == 0);
        CHECK(kin_process_close(process) == 0);
    }
    CHECK(kin_group_destroy(group) == 0);
    return 0;
}

static void groups_are_nested_up_to_a_limit(void **state)
{
    (void) state;
    board *b = shared_new(sizeof *b);
    kin_group group = new_group();
    kin_process process = start_in(group, KIN_START_SPAWN, start_deeper, b);
    assert_int_equal(code_of(process), 0);
    assert_int_equal(atomic_load(&b->arrived.value), 3);
    assert_int_equal(atomic_load(&b->status), KIN_E_LIMIT);
    assert_int_equal(kin_group_destroy(group), 0);
    shared_free(b);
}

enum { STARTERS = 2, STARTS = 12 };

typedef struct storm {
    kin_group group;
    board *board;
    _Atomic int refused;
    _Atomic int wrong;
    kin_process processes[STARTERS][STARTS];
} storm;

static void start_many(void *argument, unsigned number)
{
    storm *s = argument;
    if (number == STARTERS) {
        kin_sleep(15);
        s->wrong += kin_group_kill(s->group) != 0;
        return;
    }
    uint64_t offset = arena_offset(s->board);
    for (int i = 0; i < STARTS; i++) {
        const kin_process_options options = {
            .group = s->group,
            .method = i % 2 == 1 && kin_has_start_method(KIN_START_FORK) ? KIN_START_FORK
                                                                         : KIN_START_SPAWN};
        int status = kin_process_start(&s->processes[number][i], arrive_and_stay, &offset,
                                       sizeof offset, &options);
        s->refused += status == KIN_E_STATE;
        s->wrong += status != 0 && status != KIN_E_STATE;
    }
}

static void none_that_is_on_its_way_escapes_a_kill(void **state)
{
    (void) state;
    static storm s;
    memset(&s, 0, sizeof s);
    s.board = shared_new(sizeof *s.board);
    s.group = new_group();
    system_run_threads(STARTERS + 1, start_many, &s);
    assert_int_equal(s.wrong, 0);
    assert_int_equal(kin_group_join(s.group, LONG_MS), 0);
    int killed = 0;
    for (int i = 0; i < STARTERS * STARTS; i++) {
        kin_process process = s.processes[i / STARTS][i % STARTS];
        if (process.id != 0) {
            assert_int_equal(code_of(process), -KIN_SIGKILL);
            killed++;
        }
    }
    assert_int_equal(killed + s.refused, STARTERS * STARTS);
    assert_int_equal(kin_group_destroy(s.group), 0);
    shared_free(s.board);
}

enum { DESTROYERS = 2, DESTROYS = 200 };

/* One thread starts, the others try to destroy the group, in which somebody is all the time. */
static void start_or_destroy(void *argument, unsigned number)
{
    storm *s = argument;
    if (number < DESTROYERS) {
        for (int i = 0; i < DESTROYS || atomic_load(&s->refused) == 0; i++) {
            s->wrong += kin_group_destroy(s->group) != KIN_E_RUNNING;
        }
        return;
    }
    for (int i = 0; i < STARTS; i++) {
        s->processes[0][i] = start_in(s->group, KIN_START_SPAWN, arrive_and_stay, s->board);
    }
    s->wrong += !mark_await(&s->board->arrived, STARTS + 1);
    atomic_store(&s->refused, 1);
}

static void a_destroy_that_is_refused_changes_nothing(void **state)
{
    (void) state;
    static storm s;
    memset(&s, 0, sizeof s);
    s.board = shared_new(sizeof *s.board);
    s.group = new_group();
    kin_process first = start_in(s.group, KIN_START_SPAWN, arrive_and_stay, s.board);
    system_run_threads(DESTROYERS + 1, start_or_destroy, &s);
    assert_int_equal(s.wrong, 0);
    assert_int_equal(kin_group_count(s.group), STARTS + 1);
    assert_int_equal(kin_group_kill(s.group), 0);
    assert_int_equal(code_of(first), -KIN_SIGKILL);
    for (int i = 0; i < STARTS; i++) {
        assert_int_equal(code_of(s.processes[0][i]), -KIN_SIGKILL);
    }
    assert_int_equal(kin_group_destroy(s.group), 0);
    shared_free(s.board);
}

static int do_nothing(void *argument, size_t size)
{
    (void) argument, (void) size;
    return 0;
}

/* The first of its family that needs the forkserver. */
static int start_by_the_forkserver(void *argument, size_t size)
{
    (void) argument, (void) size;
    const kin_process_options options = {.method = KIN_START_FORKSERVER};
    kin_process process;
    CHECK(kin_process_start(&process, do_nothing, NULL, 0, &options) == 0);
    CHECK(kin_process_join(process, LONG_MS) == 0);
    return 0;
}

static int use_forkserver_in_group(int argc, char **argv)
{
    kin_group group;
    kin_process process;
    CHECK(kin_init(&argc, &argv) == 0);
    CHECK(kin_group_create(&group) == 0);
    const kin_process_options options = {.group = group};
    CHECK(kin_process_start(&process, start_by_the_forkserver, NULL, 0, &options) == 0);
    CHECK(kin_group_join(group, LONG_MS / 4) == 0);
    CHECK(kin_group_destroy(group) == 0);
    return 0;
}

static void the_forkserver_is_in_no_group(void **state)
{
    (void) state;
    if (!kin_has_start_method(KIN_START_FORKSERVER)) {
        skip();
    }
    assert_int_equal(run_mode("forkserver"), 0);
}

static const test_mode modes[] = {
    {"sit", sit}, {"rest", rest}, {"forkserver", use_forkserver_in_group}};

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
        SETTLED_TEST(an_empty_group_has_nobody),
        SETTLED_TEST(a_bad_group_is_an_error),
        SETTLED_TEST(a_group_ends_as_one_with_each_method),
        SETTLED_TEST(grandchildren_are_in_the_group),
        SETTLED_TEST(strangers_are_in_the_group),
        SETTLED_TEST(strangers_of_the_forkservers_are_in_the_group),
        SETTLED_TEST(a_join_waits_for_strangers),
        SETTLED_TEST(one_in_the_group_kills_itself_with_it),
        SETTLED_TEST(any_member_may_end_the_group),
        SETTLED_TEST(a_group_goes_with_its_maker_and_its_members),
        SETTLED_TEST(strangers_are_found_without_the_maker),
        SETTLED_TEST(groups_are_nested_up_to_a_limit),
        SETTLED_TEST(the_forkserver_is_in_no_group),
        SETTLED_TEST(none_that_is_on_its_way_escapes_a_kill),
        SETTLED_TEST(a_destroy_that_is_refused_changes_nothing),
    };
    return cmocka_run_group_tests(tests, warm_up_all, NULL);
}
