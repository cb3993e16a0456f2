/* What include/kin/process.h promises. */
#include "support.h"

#include <stdlib.h>
#include <string.h>

#if !defined _WIN32
#include <sys/resource.h>
#include <unistd.h>
#endif

enum { MANY = 200, KILLED = 100, THREADS = 4, EACH = 10, FORGERIES = 5000 };

static const char *own_path;

/* What the members of a test share. */
typedef struct board {
    mark arrived;
    mark go;
    _Atomic uint64_t handles[8];
    _Atomic int results[8];
} board;

/* What a child is given. */
typedef struct task {
    uint64_t board;
    uint64_t other; /* a process */
    uint32_t number;
} task;

static const task *task_of(const void *argument)
{
    return argument;
}

static board *board_of(const void *argument)
{
    return arena_at(task_of(argument)->board);
}

static kin_process other_of(const void *argument)
{
    return (kin_process){task_of(argument)->other};
}

static task task_with(const board *b, kin_process other)
{
    return (task){arena_offset(b), other.id, 0};
}

static int return_code(void *argument, size_t size)
{
    CHECK(size == sizeof(int));
    return *(int *) argument;
}

static int exit_with_code(void *argument, size_t size)
{
    CHECK(size == sizeof(int));
    exit(*(int *) argument);
}

/* Arrives, and ends when it is told to. */
static int await_go(void *argument, size_t size)
{
    CHECK(size == sizeof(task));
    mark_add(&board_of(argument)->arrived);
    CHECK(mark_await(&board_of(argument)->go, 1));
    return 5;
}

/* ---- what travels ---- */

static void the_exit_code_is_what_the_function_gives(void **state)
{
    static const int codes[] = {0, 1, 7, 42, 124, 125, 126, 127, 128, 200, 255};
    (void) state;
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        assert_int_equal(end_of(start(return_code, &codes[i], sizeof *codes)), codes[i]);
        assert_int_equal(end_of(start(exit_with_code, &codes[i], sizeof *codes)), codes[i]);
    }
}

static int check_argument(void *argument, size_t size)
{
    unsigned char *bytes = argument;
    CHECK((uintptr_t) argument % 64 == 0);
    for (size_t i = 0; i < size; i++) {
        CHECK(bytes[i] == (unsigned char) (i * 7 + size));
    }
    memset(bytes, 0, size);
    return 3;
}

static void the_argument_is_a_copy_of_any_size(void **state)
{
    static const size_t sizes[] = {0, 1, 63, 64, 65, 4096, 6144, 6145, 10 << 20};
    (void) state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t size = sizes[i];
        unsigned char *bytes = malloc(size + 1);
        assert_non_null(bytes);
        for (size_t at = 0; at < size; at++) {
            bytes[at] = (unsigned char) (at * 7 + size);
        }
        kin_process process = start(check_argument, size > 0 ? bytes : NULL, size);
        memset(bytes, 1, size);
        assert_int_equal(end_of(process), 3);
        assert_true(size == 0 || bytes[size - 1] == 1);
        free(bytes);
    }
}

static void bad_arguments_are_refused(void **state)
{
    kin_process process = {0};
    int code = 0;
    (void) state;
    assert_int_equal(kin_process_start(NULL, return_code, NULL, 0, NULL), KIN_E_INVALID);
    assert_int_equal(kin_process_start(&process, NULL, NULL, 0, NULL), KIN_E_INVALID);
    assert_int_equal(kin_process_start(&process, return_code, NULL, 1, NULL), KIN_E_INVALID);
    assert_int_equal(kin_process_exit_code(kin_current_process(), NULL), KIN_E_INVALID);
    assert_int_equal(kin_process_start(&process, return_code, &code, SIZE_MAX / 2, NULL),
                     KIN_E_NOMEM);
    assert_true(process.id == 0);
}

static int check_name(void *argument, size_t size)
{
    CHECK(size > 0);
    return strcmp(kin_process_name(kin_current_process()), argument) == 0 ? 0 : 1;
}

static void assert_named(const char *name)
{
    kin_process process;
    const kin_process_options options = {.name = name};
    assert_int_equal(kin_process_start(&process, check_name, name, strlen(name) + 1, &options), 0);
    assert_string_equal(kin_process_name(process), name);
    assert_int_equal(end_of(process), 0);
    assert_string_equal(kin_process_name(process), "");
}

static void names_are_kept(void **state)
{
    char name[257];
    int zero = 0;
    (void) state;
    memset(name, 'n', sizeof name);
    name[255] = '\0';
    assert_named(name);
    assert_named("");
    assert_named("gr\xc3\xbc\xc3\x9f"
                 "e");
    name[255] = 'n';
    name[256] = '\0';
    kin_process process = {0};
    const kin_process_options options = {.name = name};
    assert_int_equal(kin_process_start(&process, return_code, &zero, sizeof zero, &options),
                     KIN_E_INVALID);
}

static void unnamed_processes_are_numbered(void **state)
{
    const int zero = 0;
    int numbers[2] = {0, 0};
    (void) state;
    for (int i = 0; i < 2; i++) {
        kin_process process = start(return_code, &zero, sizeof zero);
        assert_int_equal(sscanf(kin_process_name(process), "process-%d", &numbers[i]), 1);
        assert_int_equal(end_of(process), 0);
    }
    assert_int_equal(numbers[1], numbers[0] + 1);
    assert_string_equal(kin_process_name(kin_current_process()), "main");
}

/* ---- who is who ---- */

static int tell_who(void *argument, size_t size)
{
    CHECK(size == sizeof(task));
    board *b = board_of(argument);
    CHECK(kin_parent_process().id == task_of(argument)->other);
    CHECK(kin_process_is_alive(kin_parent_process()) == 1);
    atomic_store(&b->handles[0], kin_current_process().id);
    atomic_store(&b->handles[1], (uint64_t) kin_process_pid(kin_current_process()));
    CHECK(kin_process_join(kin_current_process(), 0) == KIN_E_DEADLOCK);
    CHECK(kin_process_close(kin_current_process()) == KIN_E_RUNNING);
    CHECK(kin_process_is_alive(kin_current_process()) == 1);
    return 0;
}

static void processes_know_themselves_and_their_parents(void **state)
{
    (void) state;
    board *b = shared_new(sizeof *b);
    task given = task_with(b, kin_current_process());
    assert_true(kin_parent_process().id == 0);
    kin_process process = start(tell_who, &given, sizeof given);
    assert_int_equal(kin_process_join(process, LONG_MS), 0);
    assert_true(atomic_load(&b->handles[0]) == process.id);
    assert_true((int64_t) atomic_load(&b->handles[1]) == kin_process_pid(process));
    assert_int_equal(end_of(process), 0);
    assert_int_equal(kin_process_join(kin_current_process(), KIN_FOREVER), KIN_E_DEADLOCK);
    assert_int_equal(kin_process_close(kin_current_process()), KIN_E_RUNNING);
    shared_free(b);
}

static void active_children_are_those_that_have_not_ended(void **state)
{
    kin_process children[3];
    kin_process found[4] = {{0}, {0}, {0}, {0}};
    (void) state;
    board *b = shared_new(sizeof *b);
    task given = task_with(b, (kin_process){0});
    assert_int_equal(kin_active_children(NULL, 0), 0);
    for (int i = 0; i < 3; i++) {
        children[i] = start(await_go, &given, sizeof given);
    }
    assert_int_equal(kin_active_children(NULL, 0), 3);
    assert_int_equal(kin_active_children(found, 4), 3);
    for (int i = 0; i < 3; i++) {
        assert_true(found[i].id == children[i].id);
    }
    assert_true(found[3].id == 0);
    found[1].id = 0;
    assert_int_equal(kin_active_children(found, 1), 3);
    assert_true(found[1].id == 0);
    kill_and_close(children[1]);
    assert_int_equal(kin_active_children(found, 4), 2);
    assert_true(found[1].id == children[2].id);
    mark_add(&b->go);
    assert_int_equal(end_of(children[0]), 5);
    assert_int_equal(kin_process_join(children[2], LONG_MS), 0);
    assert_int_equal(kin_active_children(found, 4), 0);
    assert_int_equal(end_of(children[2]), 5);
    shared_free(b);
}

/* ---- joining ---- */

static void a_process_is_running_until_it_has_ended(void **state)
{
    int code = -1000;
    (void) state;
    board *b = shared_new(sizeof *b);
    task given = task_with(b, (kin_process){0});
    kin_process process = start(await_go, &given, sizeof given);
    for (uint32_t round = 0; round < 2; round++) {
        assert_int_equal(kin_process_is_alive(process), 1);
        assert_int_equal(kin_process_exit_code(process, &code), KIN_E_RUNNING);
        assert_int_equal(kin_process_close(process), KIN_E_RUNNING);
        assert_int_equal(kin_process_join(process, 0), KIN_E_TIMEOUT);
        assert_true(mark_await(&b->arrived, 1)); /* the first round may have met it on its way */
    }
    int64_t pid = kin_process_pid(process);
    assert_true(pid > 0 && pid != kin_process_pid(kin_current_process()));
    assert_int_equal(code, -1000);
    mark_add(&b->go);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(kin_process_join(process, KIN_FOREVER), 0);
        assert_int_equal(kin_process_is_alive(process), 0);
        assert_int_equal(kin_process_exit_code(process, &code), 0);
        assert_int_equal(code, 5);
        assert_true(kin_process_pid(process) == pid);
    }
    assert_int_equal(end_of(process), 5);
    shared_free(b);
}

static void a_join_that_times_out_is_not_short(void **state)
{
    (void) state;
    board *b = shared_new(sizeof *b);
    task given = task_with(b, (kin_process){0});
    kin_process process = start(await_go, &given, sizeof given);
    for (int milliseconds = 0; milliseconds < 50; milliseconds += 12) {
        int64_t before = kin_clock_ns();
        assert_int_equal(kin_process_join(process, milliseconds), KIN_E_TIMEOUT);
        assert_true(kin_clock_ns() - before >= milliseconds * INT64_C(1000000));
    }
    mark_add(&b->go);
    assert_int_equal(end_of(process), 5);
    shared_free(b);
}

typedef struct joiner {
    kin_process process;
    mark *go;
    _Atomic uint32_t started;
    int statuses[THREADS];
    int codes[THREADS];
} joiner;

static void join_in_thread(void *argument, unsigned number)
{
    joiner *j = argument;
    if (atomic_fetch_add(&j->started, 1) + 1 == THREADS) {
        mark_add(j->go);
    }
    j->statuses[number] = kin_process_join(j->process, LONG_MS);
    if (kin_process_exit_code(j->process, &j->codes[number]) < 0) {
        j->codes[number] = -1000;
    }
}

static void several_threads_may_join_a_process_at_once(void **state)
{
    (void) state;
    board *b = shared_new(sizeof *b);
    task given = task_with(b, (kin_process){0});
    joiner j = {.process = start(await_go, &given, sizeof given), .go = &b->go};
    system_run_threads(THREADS, join_in_thread, &j);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(j.statuses[i], 0);
        assert_int_equal(j.codes[i], 5);
    }
    assert_int_equal(end_of(j.process), 5);
    shared_free(b);
}

static void look_in_thread(void *argument, unsigned number)
{
    joiner *j = argument;
    if (atomic_fetch_add(&j->started, 1) + 1 == THREADS) {
        mark_add(j->go);
    }
    while (kin_process_is_alive(j->process) > 0) {
    }
    j->statuses[number] = kin_process_exit_code(j->process, &j->codes[number]);
}

/* One of them reaps it; for the others, too, it has ended from then on. */
static void what_is_not_alive_has_an_exit_code(void **state)
{
    enum { ROUNDS = 50 };
    (void) state;
    for (int round = 0; round < ROUNDS; round++) {
        board *b = shared_new(sizeof *b);
        task given = task_with(b, (kin_process){0});
        joiner j = {.process = start(await_go, &given, sizeof given), .go = &b->go};
        system_run_threads(THREADS, look_in_thread, &j);
        for (int i = 0; i < THREADS; i++) {
            assert_int_equal(j.statuses[i], 0);
            assert_int_equal(j.codes[i], 5);
        }
        assert_int_equal(end_of(j.process), 5);
        shared_free(b);
    }
}

/* Joins another process, and tells how that ended. */
static int join_other(void *argument, size_t size)
{
    int code = CHILD_FAILED;
    CHECK(size == sizeof(task));
    CHECK(kin_process_is_alive(other_of(argument)) == 1);
    CHECK(kin_process_exit_code(other_of(argument), &code) == KIN_E_RUNNING);
    CHECK(kin_process_join(other_of(argument), 0) == KIN_E_TIMEOUT);
    CHECK(kin_process_join(other_of(argument), 15) == KIN_E_TIMEOUT);
    mark_add(&board_of(argument)->arrived);
    CHECK(kin_process_join(other_of(argument), LONG_MS) == 0);
    CHECK(kin_process_is_alive(other_of(argument)) == 0);
    CHECK(kin_process_exit_code(other_of(argument), &code) == 0);
    return code;
}

static int have_grandchild_join(void *argument, size_t size)
{
    kin_process grandchild;
    int code;
    CHECK(kin_process_start(&grandchild, join_other, argument, size, NULL) == 0);
    CHECK(kin_process_join(grandchild, LONG_MS) == 0);
    CHECK(kin_process_exit_code(grandchild, &code) == 0);
    return code;
}

static void every_member_may_join_every_process(void **state)
{
    (void) state;
    board *b = shared_new(sizeof *b);
    task given = task_with(b, (kin_process){0});
    kin_process process = start(await_go, &given, sizeof given);
    given.other = process.id;
    kin_process sibling = start(join_other, &given, sizeof given);
    kin_process uncle = start(have_grandchild_join, &given, sizeof given);
    assert_true(mark_await(&b->arrived, 3));
    mark_add(&b->go);
    /* The parent joins as well, and may reap it before the others have looked. */
    assert_int_equal(kin_process_join(process, LONG_MS), 0);
    assert_int_equal(end_of(sibling), 5);
    assert_int_equal(end_of(uncle), 5);
    assert_int_equal(end_of(process), 5);
    shared_free(b);
}

static void others_may_learn_of_an_end_before_the_parent_does(void **state)
{
    (void) state;
    board *b = shared_new(sizeof *b);
    task given = task_with(b, (kin_process){0});
    kin_process process = start(await_go, &given, sizeof given);
    given.other = process.id;
    kin_process sibling = start(join_other, &given, sizeof given);
    assert_true(mark_await(&b->arrived, 2));
    mark_add(&b->go);
    assert_int_equal(end_of(sibling), 5);
    assert_int_equal(end_of(process), 5);
    shared_free(b);
}

static int kill_other(void *argument, size_t size)
{
    CHECK(size == sizeof(task));
    if (task_of(argument)->number == 0) {
        CHECK(kin_process_kill(other_of(argument)) == 0);
    } else {
        CHECK(kin_process_terminate(other_of(argument)) == 0);
    }
    CHECK(kin_process_join(other_of(argument), LONG_MS) == 0);
    CHECK(kin_process_kill(other_of(argument)) == 0);
    return 0;
}

static void every_member_may_kill_every_process(void **state)
{
    (void) state;
    for (uint32_t ask = 0; ask < 2; ask++) {
        board *b = shared_new(sizeof *b);
        task given = task_with(b, (kin_process){0});
        given.number = ask;
        kin_process process = start(await_go, &given, sizeof given);
        given.other = process.id;
        assert_int_equal(end_of(start(kill_other, &given, sizeof given)), 0);
        assert_int_equal(end_of(process), ask != 0 ? -KIN_SIGTERM : -KIN_SIGKILL);
        shared_free(b);
    }
}

/* ---- ends ---- */

static void a_killed_process_says_so(void **state)
{
    int code;
    (void) state;
    mark *m = shared_new(sizeof *m);
    uint64_t offset = arena_offset(m);
    for (uint32_t i = 0; i < 2; i++) {
        kin_process process = start(stay, &offset, sizeof offset);
        assert_true(mark_await(m, i + 1));
        assert_int_equal(i == 0 ? kin_process_kill(process) : kin_process_terminate(process), 0);
        assert_int_equal(kin_process_join(process, LONG_MS), 0);
        assert_int_equal(kin_process_exit_code(process, &code), 0);
        assert_int_equal(code, i == 0 ? -9 : -15);
        assert_int_equal(kin_process_kill(process), 0);
        assert_int_equal(kin_process_terminate(process), 0);
        assert_int_equal(end_of(process), code);
    }
    shared_free(m);
}

static void processes_killed_on_their_way_leave_nothing(void **state)
{
    uint64_t random = 1;
    (void) state;
    for (int i = 0; i < KILLED; i++) {
        kin_process process = start(stay, &(uint64_t){0}, sizeof(uint64_t));
        for (uint32_t spin = next_random(&random) % 4096; spin > 0; spin--) {
            (void) kin_clock_ns();
        }
        kill_and_close(process);
    }
}

static void loops_of_start_and_join_leave_nothing(void **state)
{
    (void) state;
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(end_of(start(return_code, &i, sizeof i)), i);
    }
}

typedef struct starter {
    _Atomic int wrong;
} starter;

static void start_some(void *argument, unsigned number)
{
    starter *s = argument;
    kin_process processes[EACH];
    for (int i = 0; i < EACH; i++) {
        int code = (int) number * EACH + i;
        s->wrong += kin_process_start(&processes[i], return_code, &code, sizeof code, NULL) != 0;
    }
    for (int i = 0; i < EACH; i++) {
        int code = -1;
        s->wrong += kin_process_join(processes[i], LONG_MS) != 0;
        s->wrong += kin_process_exit_code(processes[i], &code) != 0;
        s->wrong += code != (int) number * EACH + i;
        s->wrong += kin_process_close(processes[i]) != 0;
    }
}

static void several_threads_start_processes_at_once(void **state)
{
    (void) state;
    starter s = {0};
    system_run_threads(THREADS, start_some, &s);
    assert_int_equal(s.wrong, 0);
}

/* ---- families of processes ---- */

/* Starts a daemon and another child, and waits to be killed, or ends when it is told to. */
static int have_children(void *argument, size_t size)
{
    const kin_process_options daemon = {.daemon = true};
    kin_process children[2];
    board *b = board_of(argument);
    CHECK(kin_process_start(&children[0], await_go, argument, size, &daemon) == 0);
    CHECK(kin_process_start(&children[1], await_go, argument, size, NULL) == 0);
    atomic_store(&b->handles[0], children[0].id);
    atomic_store(&b->handles[1], children[1].id);
    CHECK(mark_await(&b->arrived, 2));
    mark_add(&b->arrived);
    (void) kin_sleep(KIN_FOREVER);
    return CHILD_FAILED;
}

/* Of a process that nobody is left to close, the handle goes with its end. */
static void assert_gone(kin_process process)
{
    int status = kin_process_join(process, LONG_MS);
    assert_true(status == 0 || status == KIN_E_HANDLE);
    assert_true(kin_process_is_alive(process) <= 0);
}

static void only_daemons_end_with_a_killed_parent(void **state)
{
    (void) state;
    board *b = shared_new(sizeof *b);
    task given = task_with(b, (kin_process){0});
    kin_process parent = start(have_children, &given, sizeof given);
    assert_true(mark_await(&b->arrived, 3));
    kin_process daemon = {atomic_load(&b->handles[0])};
    kin_process other = {atomic_load(&b->handles[1])};
    assert_int_equal(kin_process_is_alive(daemon), 1);
    kill_and_close(parent);
    assert_gone(daemon);
    assert_int_equal(kin_process_join(other, 50), KIN_E_TIMEOUT);
    assert_int_equal(kin_process_is_alive(other), 1);
    mark_add(&b->go);
    assert_gone(other);
    shared_free(b);
}

/* Released when its parent is about to end, looks whether that waits for it. */
static int outlast_parent(void *argument, size_t size)
{
    board *b = board_of(argument);
    CHECK(size == sizeof(task));
    CHECK(mark_await(&b->go, 1));
    CHECK(kin_process_join(kin_parent_process(), 100) == KIN_E_TIMEOUT);
    atomic_store(&b->results[0], 1);
    return 0;
}

static int end_before_children(void *argument, size_t size)
{
    const kin_process_options daemon = {.daemon = true};
    kin_process child;
    board *b = board_of(argument);
    CHECK(kin_process_start(&child, await_go, argument, size, &daemon) == 0);
    task second = *task_of(argument);
    second.number = 1;
    CHECK(kin_process_start(&child, outlast_parent, &second, sizeof second, NULL) == 0);
    CHECK(mark_await(&b->arrived, 1));
    mark_add(&b->go);
    if (task_of(argument)->number != 0) {
        exit(6);
    }
    return 6;
}

static void a_process_joins_its_children_at_its_end(void **state)
{
    (void) state;
    for (uint32_t how = 0; how < 2; how++) {
        board *b = shared_new(sizeof *b);
        task given = task_with(b, (kin_process){0});
        given.number = how;
        assert_int_equal(end_of(start(end_before_children, &given, sizeof given)), 6);
        assert_int_equal(atomic_load(&b->results[0]), 1);
        shared_free(b);
    }
}

static int have_grandchild(void *argument, size_t size)
{
    kin_process child;
    CHECK(kin_process_start(&child, await_go, argument, size, NULL) == 0);
    atomic_store(&board_of(argument)->handles[0], child.id);
    mark_add(&board_of(argument)->arrived);
    CHECK(mark_await(&board_of(argument)->go, 2));
    return 0;
}

static void grandchildren_can_be_joined_and_closed(void **state)
{
    int code = -1;
    (void) state;
    board *b = shared_new(sizeof *b);
    task given = task_with(b, (kin_process){0});
    kin_process child = start(have_grandchild, &given, sizeof given);
    assert_true(mark_await(&b->arrived, 2));
    kin_process grandchild = {atomic_load(&b->handles[0])};
    mark_add(&b->go);
    assert_int_equal(kin_process_join(grandchild, LONG_MS), 0);
    assert_int_equal(kin_process_exit_code(grandchild, &code), 0);
    assert_int_equal(code, 5);
    assert_int_equal(kin_process_close(grandchild), 0);
    assert_int_equal(kin_process_is_alive(grandchild), KIN_E_HANDLE);
    mark_add(&b->go);
    assert_int_equal(end_of(child), 0);
    shared_free(b);
}

static void generations_of_killed_parents_leave_nothing(void **state)
{
    (void) state;
    for (int i = 0; i < 10; i++) {
        board *b = shared_new(sizeof *b);
        task given = task_with(b, (kin_process){0});
        kin_process parent = start(have_children, &given, sizeof given);
        if (i % 2 != 0) {
            assert_true(mark_await(&b->arrived, 1 + (uint32_t) i % 3));
        }
        kill_and_close(parent);
        mark_add(&b->go);
        kin_arena_usage usage;
        do { /* whoever of them has been started ends now, and is cleared up by who looks */
            death_sweep();
            assert_int_equal(kin_arena_read_usage(&usage), 0);
        } while (usage.processes > 1);
        shared_free(b);
    }
}

/* ---- handles ---- */

/* Every call with a handle that is none. */
static void assert_no_process(uint64_t id)
{
    const kin_process process = {id};
    int code;
    assert_int_equal(kin_process_join(process, KIN_FOREVER), KIN_E_HANDLE);
    assert_int_equal(kin_process_exit_code(process, &code), KIN_E_HANDLE);
    assert_int_equal(kin_process_is_alive(process), KIN_E_HANDLE);
    assert_int_equal(kin_process_pid(process), KIN_E_HANDLE);
    assert_string_equal(kin_process_name(process), "");
    assert_int_equal(kin_process_kill(process), KIN_E_HANDLE);
    assert_int_equal(kin_process_terminate(process), KIN_E_HANDLE);
    assert_int_equal(kin_process_close(process), KIN_E_HANDLE);
}

static void forged_handles_are_no_processes(void **state)
{
    uint64_t random = 7;
    const uint64_t own = kin_current_process().id;
    (void) state;
    assert_no_process(0);
    assert_no_process(UINT64_MAX);
    for (int bit = 0; bit < 64; bit++) {
        assert_no_process(own ^ UINT64_C(1) << bit);
        assert_no_process(UINT64_C(1) << bit);
    }
    for (int i = 0; i < FORGERIES; i++) {
        uint64_t high = next_random(&random);
        uint64_t id = high << 40 ^ (uint64_t) next_random(&random) << 20 ^ next_random(&random);
        assert_no_process(id);
        /* With a place that may exist. */
        assert_no_process((id & ~UINT64_C(0x7fffffff)) | (own + id % 4096) % 0x7fffffff);
    }
}

static void handles_of_other_kinds_are_no_processes(void **state)
{
    kin_pool pool;
    const kin_pool_options one = {.workers = 1};
    (void) state;
    assert_int_equal(kin_pool_create(&pool, &one), 0);
    assert_no_process(pool.id);
    assert_int_equal(kin_pool_destroy(pool), 0);
    assert_no_process(pool.id);
}

static void a_closed_handle_stays_stale(void **state)
{
    enum { OLD = 50 };
    uint64_t old[OLD];
    const int zero = 0;
    (void) state;
    for (int i = 0; i < OLD; i++) {
        kin_process process = start(return_code, &zero, sizeof zero);
        old[i] = process.id;
        assert_int_equal(end_of(process), 0);
        for (int before = 0; before <= i; before++) {
            assert_int_equal(kin_process_is_alive((kin_process){old[before]}), KIN_E_HANDLE);
        }
        assert_no_process(old[i]);
    }
}

static int close_other(void *argument, size_t size)
{
    CHECK(size == sizeof(task));
    CHECK(kin_process_join(other_of(argument), LONG_MS) == 0);
    CHECK(kin_process_close(other_of(argument)) == 0);
    CHECK(kin_process_close(other_of(argument)) == KIN_E_HANDLE);
    return 0;
}

static void a_handle_closed_by_another_member_is_stale_here_too(void **state)
{
    (void) state;
    board *b = shared_new(sizeof *b);
    task given = task_with(b, (kin_process){0});
    kin_process process = start(await_go, &given, sizeof given);
    mark_add(&b->go);
    given.other = process.id;
    assert_int_equal(end_of(start(close_other, &given, sizeof given)), 0);
    assert_no_process(process.id);
    assert_int_equal(kin_active_children(NULL, 0), 0);
    shared_free(b);
}

static int mode_families(int argc, char **argv)
{
    kin_process old = {0};
    const int zero = 0;
    for (int i = 0; i < 10; i++) {
        kin_process process;
        CHECK(kin_init(&argc, &argv) == 0);
        CHECK(kin_process_start(&process, return_code, &zero, sizeof zero, NULL) == 0);
        CHECK(i == 0 ||
              (kin_process_join(old, KIN_FOREVER) == KIN_E_HANDLE &&
               kin_process_kill(old) == KIN_E_HANDLE && kin_process_close(old) == KIN_E_HANDLE));
        old = process;
        CHECK(kin_process_join(process, LONG_MS) == 0);
        CHECK(kin_shutdown() == 0);
        CHECK(kin_process_join(old, KIN_FOREVER) == KIN_E_INIT);
    }
    return 0;
}

static void handles_of_another_family_are_stale(void **state)
{
    (void) state;
    assert_int_equal(run_mode("families"), 0);
}

/* ---- functions ---- */

static void a_function_of_a_shared_library_runs(void **state)
{
    (void) state;
    assert_int_equal(end_of(start(system_library_function(), "A", 1)), 1);
}

static void assert_no_function(void *address)
{
    kin_process process = {0};
    kin_process_function function;
    memcpy(&function, &address, sizeof function);
    assert_int_equal(kin_process_start(&process, function, NULL, 0, NULL), KIN_E_FUNCTION);
    assert_true(process.id == 0);
}

static void what_is_no_function_is_refused(void **state)
{
    static int data;
    int local = 0;
    void *heap_block = malloc(100);
    (void) state;
    assert_no_function(heap_block);
    assert_no_function(&local);
    assert_no_function(&data);
    assert_no_function(arena_at(0));
    free(heap_block);
}

/* The path of another program in this one's folder. */
static void path_of(char *path, size_t size, const char *name)
{
    size_t folder = strlen(own_path);
    const char *suffix = folder > 4 && strcmp(own_path + folder - 4, ".exe") == 0 ? ".exe" : "";
    while (folder > 0 && own_path[folder - 1] != '/' && own_path[folder - 1] != '\\') {
        folder--;
    }
    assert_true(folder + strlen(name) + 5 < size);
    (void) snprintf(path, size, "%.*s%s%s", (int) folder, own_path, name, suffix);
}

static void a_function_is_not_run_by_another_program(void **state)
{
    char path[1024];
    const int zero = 0;
    kin_process process;
    const kin_process_options options = {.program = path};
    (void) state;
    path_of(path, sizeof path, "test_base");
    for (int i = 0; i < 3; i++) {
        assert_int_equal(kin_process_start(&process, return_code, &zero, sizeof zero, &options), 0);
        assert_int_equal(kin_process_join(process, LONG_MS), KIN_E_FUNCTION);
        assert_int_equal(kin_process_join(process, 0), KIN_E_FUNCTION);
        assert_int_equal(kin_process_is_alive(process), 0);
        assert_int_equal(kin_process_close(process), 0);
    }
}

static int mode_no_init(int argc, char **argv)
{
    (void) argc;
    (void) argv;
    return 3;
}

static void a_program_without_kin_init_is_told(void **state)
{
    int code = -1;
    const int zero = 0;
    (void) state;
    for (int daemon = 0; daemon < 2; daemon++) {
        system_set_variable(TEST_MODE, "no_init");
        kin_process process = daemon != 0 ? start_daemon(return_code, &zero, sizeof zero)
                                          : start(return_code, &zero, sizeof zero);
        system_set_variable(TEST_MODE, NULL);
        assert_int_equal(kin_process_join(process, LONG_MS), KIN_E_NO_INIT);
        assert_int_equal(kin_process_join(process, 0), KIN_E_NO_INIT);
        assert_int_equal(kin_process_exit_code(process, &code), 0);
        assert_int_equal(code, 3);
        assert_int_equal(kin_process_is_alive(process), 0);
        assert_int_equal(kin_process_close(process), 0);
    }
}

static int join_without_init(void *argument, size_t size)
{
    CHECK(size == sizeof(task));
    CHECK(kin_process_join(other_of(argument), LONG_MS) == KIN_E_NO_INIT);
    return 0;
}

static void other_members_are_told_of_a_program_without_kin_init(void **state)
{
    const int zero = 0;
    (void) state;
    board *b = shared_new(sizeof *b);
    system_set_variable(TEST_MODE, "no_init");
    kin_process process = start(return_code, &zero, sizeof zero);
    system_set_variable(TEST_MODE, NULL);
    /* Nobody but its parent can see its end: whoever waits for it is told when the parent has
       looked. */
    task given = task_with(b, process);
    kin_process sibling = start(join_without_init, &given, sizeof given);
    assert_int_equal(kin_process_join(process, LONG_MS), KIN_E_NO_INIT);
    assert_int_equal(end_of(sibling), 0);
    assert_int_equal(kin_process_close(process), 0);
    shared_free(b);
}

/* ---- limits ---- */

static void a_missing_program_leaves_nothing(void **state)
{
    static const char *const missing[] = {"./there-is-no-such-program.exe",
                                          "./there-is-no-such-folder/program.exe", ""};
    const int zero = 0;
    (void) state;
    for (size_t i = 0; i < sizeof missing / sizeof *missing; i++) {
        kin_process process = {0};
        kin_process_options options = {.program = missing[i], .daemon = i % 2 != 0};
        assert_int_equal(kin_process_start(&process, return_code, &zero, sizeof zero, &options),
                         KIN_E_NOT_FOUND);
        assert_true(process.id == 0);
        options.program = ".";
        assert_true(kin_process_start(&process, return_code, &zero, sizeof zero, &options) < 0);
    }
    assert_int_equal(kin_active_children(NULL, 0), 0);
}

static int mode_few_processes(int argc, char **argv)
{
    const kin_options few = {.max_processes = 3};
    const uint64_t none = 0;
    const int zero = 0;
    kin_process processes[2];
    kin_process more;
    CHECK(kin_init_with(&argc, &argv, &few) == 0);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 2; i++) {
            CHECK(kin_process_start(&processes[i], stay, &none, sizeof none, NULL) == 0);
        }
        for (int i = 0; i < 3; i++) {
            CHECK(kin_process_start(&more, return_code, &zero, sizeof zero, NULL) ==
                  KIN_E_PROCESS_LIMIT);
        }
        CHECK(kin_process_kill(processes[0]) == 0);
        CHECK(kin_process_join(processes[0], LONG_MS) == 0);
        CHECK(kin_process_start(&more, return_code, &zero, sizeof zero, NULL) == 0);
        CHECK(kin_process_join(more, LONG_MS) == 0);
        CHECK(kin_process_kill(processes[1]) == 0);
        CHECK(kin_process_join(processes[1], LONG_MS) == 0);
    }
    return 0;
}

static void more_processes_than_allowed_are_refused(void **state)
{
    (void) state;
    assert_int_equal(run_mode("few_processes"), 0);
}

static int look_at_size(void *argument, size_t size)
{
    (void) argument;
    return size == 1 << 20 ? 0 : 1;
}

static int mode_small_arena(int argc, char **argv)
{
    enum { SIZE = 1 << 20, MOST = 8 };
    const kin_options small = {.arena_size = 4 << 20, .max_processes = 16};
    static unsigned char bytes[SIZE];
    kin_process processes[MOST];
    kin_arena_usage before;
    kin_arena_usage after;
    CHECK(kin_init_with(&argc, &argv, &small) == 0);
    for (int round = 0; round < 3; round++) {
        int count = 0;
        int status = 0;
        CHECK(kin_arena_read_usage(&before) == 0);
        while (count < MOST && status == 0) {
            status = kin_process_start(&processes[count], look_at_size, bytes, SIZE, NULL);
            count += status == 0;
        }
        CHECK(status == KIN_E_NOMEM && count >= 2);
        for (int i = 0; i < count; i++) {
            CHECK(kin_process_join(processes[i], LONG_MS) == 0);
            CHECK(kin_process_close(processes[i]) == 0);
        }
        CHECK(kin_arena_read_usage(&after) == 0);
        CHECK(after.blocks == before.blocks);
    }
    return 0;
}

static void a_full_arena_is_an_error_that_passes(void **state)
{
    (void) state;
    assert_int_equal(run_mode("small_arena"), 0);
}

#if !defined _WIN32

static void without_descriptors_nothing_is_started_or_left(void **state)
{
    const int zero = 0;
    struct rlimit before;
    kin_process process = {0};
    (void) state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    int next = dup(0);
    assert_true(next >= 0 && close(next) == 0);
    const struct rlimit none = {.rlim_cur = (rlim_t) next, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    int status = kin_process_start(&process, return_code, &zero, sizeof zero, NULL);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(status, KIN_E_DESCRIPTORS);
    assert_int_equal(kin_active_children(NULL, 0), 0);
    assert_int_equal(end_of(start(return_code, &zero, sizeof zero)), 0);
}

#endif

static const test_mode modes[] = {
    {"families", mode_families},
    {"no_init", mode_no_init},
    {"few_processes", mode_few_processes},
    {"small_arena", mode_small_arena},
};

int main(int argc, char **argv)
{
    own_path = argv[0];
    const test_mode *mode = find_mode(modes, sizeof modes / sizeof *modes);
    if (mode != NULL) {
        return mode->run(argc, argv);
    }
    if (kin_init(&argc, &argv) < 0) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        CLEAN_TEST(the_exit_code_is_what_the_function_gives),
        CLEAN_TEST(the_argument_is_a_copy_of_any_size),
        CLEAN_TEST(bad_arguments_are_refused),
        CLEAN_TEST(names_are_kept),
        CLEAN_TEST(unnamed_processes_are_numbered),
        CLEAN_TEST(processes_know_themselves_and_their_parents),
        CLEAN_TEST(active_children_are_those_that_have_not_ended),
        CLEAN_TEST(a_process_is_running_until_it_has_ended),
        CLEAN_TEST(a_join_that_times_out_is_not_short),
        CLEAN_TEST(several_threads_may_join_a_process_at_once),
        CLEAN_TEST(what_is_not_alive_has_an_exit_code),
        CLEAN_TEST(every_member_may_join_every_process),
        CLEAN_TEST(others_may_learn_of_an_end_before_the_parent_does),
        CLEAN_TEST(every_member_may_kill_every_process),
        CLEAN_TEST(a_killed_process_says_so),
        CLEAN_TEST(processes_killed_on_their_way_leave_nothing),
        CLEAN_TEST(loops_of_start_and_join_leave_nothing),
        CLEAN_TEST(several_threads_start_processes_at_once),
        CLEAN_TEST(only_daemons_end_with_a_killed_parent),
        CLEAN_TEST(a_process_joins_its_children_at_its_end),
        CLEAN_TEST(grandchildren_can_be_joined_and_closed),
        CLEAN_TEST(generations_of_killed_parents_leave_nothing),
        CLEAN_TEST(forged_handles_are_no_processes),
        CLEAN_TEST(handles_of_other_kinds_are_no_processes),
        CLEAN_TEST(a_closed_handle_stays_stale),
        CLEAN_TEST(a_handle_closed_by_another_member_is_stale_here_too),
        CLEAN_TEST(handles_of_another_family_are_stale),
        CLEAN_TEST(a_function_of_a_shared_library_runs),
        CLEAN_TEST(what_is_no_function_is_refused),
        CLEAN_TEST(a_function_is_not_run_by_another_program),
        CLEAN_TEST(a_program_without_kin_init_is_told),
        CLEAN_TEST(other_members_are_told_of_a_program_without_kin_init),
        CLEAN_TEST(a_missing_program_leaves_nothing),
        CLEAN_TEST(more_processes_than_allowed_are_refused),
        CLEAN_TEST(a_full_arena_is_an_error_that_passes),
#if !defined _WIN32
        CLEAN_TEST(without_descriptors_nothing_is_started_or_left),
#endif
    };
    return cmocka_run_group_tests(tests, warm_up, NULL);
}
