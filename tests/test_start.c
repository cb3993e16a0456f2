/* The start methods of kin/process.h, and how a process that was started ends: what holds for each
   method, and what for copies alone. */
#include "support.h"

#include "core/arena.h"
#include "core/process_object.h"

#include <stdlib.h>
#include <string.h>

#if !defined _WIN32
#include <sys/wait.h>
#include <unistd.h>
#endif

static const int methods[] = {KIN_START_SPAWN, KIN_START_FORK, KIN_START_FORKSERVER};
enum { METHODS = sizeof methods / sizeof *methods };

/* What children and tests share. */
typedef struct board {
    mark arrived;
    mark go;
    _Atomic uint64_t handle;
    _Atomic uint32_t order; /* what ran at the end, a digit each */
} board;

static kin_process start_by(int method, bool daemon, kin_process_function function,
                            const void *argument, size_t size)
{
    const kin_process_options options = {.method = method, .daemon = daemon};
    kin_process process = {0};
    assert_int_equal(kin_process_start(&process, function, argument, size, &options), 0);
    return process;
}

static board *board_of(const void *argument)
{
    uint64_t offset;
    memcpy(&offset, argument, sizeof offset);
    return arena_at(offset);
}

static uint64_t offset_of(const board *b)
{
    return arena_offset(b);
}

/* Does `test` for each method that this system has. */
static void each_method(void (*test)(int method))
{
    for (int i = 0; i < METHODS; i++) {
        if (kin_has_start_method(methods[i])) {
            test(methods[i]);
        }
    }
}

static void the_system_has_the_methods_that_it_says(void **state)
{
    (void) state;
    assert_int_equal(kin_has_start_method(KIN_START_SPAWN), 1);
    assert_int_equal(kin_has_start_method(99), 0);
    for (int i = 0; i < METHODS; i++) {
        const kin_process_options options = {.method = methods[i]};
        kin_process process;
        int status = kin_process_start(&process, NULL, NULL, 0, &options);
        assert_int_equal(status, KIN_E_INVALID);
#if defined _WIN32
        assert_int_equal(kin_has_start_method(methods[i]), methods[i] == KIN_START_SPAWN);
#else
        assert_int_equal(kin_has_start_method(methods[i]), 1);
#endif
    }
}

static int add_seven(void *argument, size_t size)
{
    CHECK(size == sizeof(int));
    int *number = argument;
    *number += 7;
    return *number;
}

static void run_each_way(int method)
{
    for (int i = 0; i < 20; i++) {
        int number = i;
        assert_int_equal(end_of(start_by(method, false, add_seven, &number, sizeof number)), i + 7);
        assert_int_equal(number, i);
    }
}

static void a_function_runs_with_each_method(void **state)
{
    (void) state;
    each_method(run_each_way);
}

static int start_with_default(void *argument, size_t size)
{
    (void) argument, (void) size;
    object_guard guard;
    CHECK(object_enter(&guard, kin_current_process().id, KIND_PROCESS) == 0);
    int method = (int) process_of(&guard)->method;
    object_leave(&guard);
    return method;
}

static void use_as_default(int method)
{
    assert_int_equal(kin_set_start_method(method), 0);
    assert_int_equal(kin_get_start_method(), method);
    assert_int_equal(end_of(start(start_with_default, NULL, 0)), method);
}

static void the_default_method_is_chosen_for_the_family(void **state)
{
    (void) state;
    assert_int_equal(kin_get_start_method(), KIN_START_SPAWN);
    each_method(use_as_default);
    assert_int_equal(kin_set_start_method(KIN_START_DEFAULT), 0);
    assert_int_equal(kin_get_start_method(), KIN_START_SPAWN);
    assert_int_equal(kin_set_start_method(17), KIN_E_INVALID);
    assert_int_equal(kin_set_start_method(-1), KIN_E_INVALID);
#if defined _WIN32
    assert_int_equal(kin_set_start_method(KIN_START_FORK), KIN_E_UNSUPPORTED);
    assert_int_equal(kin_set_start_method(KIN_START_FORKSERVER), KIN_E_UNSUPPORTED);
#endif
}

static int knows_its_family(void *argument, size_t size)
{
    (void) size;
    kin_process parent;
    memcpy(&parent, argument, sizeof parent);
    CHECK(kin_parent_process().id == parent.id);
    CHECK(kin_process_is_alive(parent) == 1);
    CHECK(kin_active_children(NULL, 0) == 0);
    CHECK(kin_process_is_alive(kin_current_process()) == 1);
    CHECK(kin_process_join(kin_current_process(), KIN_FOREVER) == KIN_E_DEADLOCK);
    return 0;
}

static void know_family(int method)
{
    kin_process self = kin_current_process();
    assert_int_equal(end_of(start_by(method, false, knows_its_family, &self, sizeof self)), 0);
}

static void a_child_knows_itself_and_its_parent_with_each_method(void **state)
{
    (void) state;
    each_method(know_family);
}

static int arrive_and_stay(void *argument, size_t size)
{
    (void) size;
    mark_add(&board_of(argument)->arrived);
    return kin_sleep(KIN_FOREVER);
}

static void kill_it(int method)
{
    int code = 0;
    board *b = shared_new(sizeof *b);
    uint64_t offset = offset_of(b);
    for (int i = 0; i < 5; i++) {
        kin_process process = start_by(method, false, arrive_and_stay, &offset, sizeof offset);
        if (i % 2 == 0) {
            assert_true(mark_await(&b->arrived, (uint32_t) i / 2 + 1));
        }
        assert_int_equal(kin_active_children(NULL, 0), 1);
        assert_int_equal(kin_process_kill(process), 0);
        assert_int_equal(kin_process_join(process, LONG_MS), 0);
        assert_int_equal(kin_process_exit_code(process, &code), 0);
        assert_int_equal(code, -KIN_SIGKILL);
        assert_int_equal(kin_process_close(process), 0);
        if (i % 2 != 0) {
            atomic_store(&b->arrived.value,
                         (uint32_t) i / 2 + 1); /* it may have come so far or not */
        }
    }
    shared_free(b);
}

static void a_killed_child_says_so_with_each_method(void **state)
{
    (void) state;
    each_method(kill_it);
}

static int have_daemon(void *argument, size_t size)
{
    uint64_t offset;
    memcpy(&offset, argument, sizeof offset);
    board *b = board_of(argument);
    const kin_process_options options = {.method = (int) atomic_load(&b->order), .daemon = true};
    kin_process process;
    (void) size;
    CHECK(kin_process_start(&process, arrive_and_stay, &offset, sizeof offset, &options) == 0);
    atomic_store(&b->handle, process.id);
    CHECK(mark_await(&b->arrived, 1));
    mark_add(&b->go);
    return kin_sleep(KIN_FOREVER);
}

static void kill_parent_of_daemon(int method)
{
    board *b = shared_new(sizeof *b);
    uint64_t offset = offset_of(b);
    atomic_store(&b->order, (uint32_t) method);
    kin_process parent = start_by(KIN_START_SPAWN, false, have_daemon, &offset, sizeof offset);
    assert_true(mark_await(&b->go, 1));
    kin_process daemon = {atomic_load(&b->handle)};
    kill_and_close(parent);
    int status = kin_process_join(daemon, LONG_MS);
    assert_true(status == 0 || status == KIN_E_HANDLE);
    shared_free(b);
}

static void a_daemon_ends_with_its_killed_parent_with_each_method(void **state)
{
    (void) state;
    each_method(kill_parent_of_daemon);
}

/* ---- the end of a process ---- */

static void note_one(void *context)
{
    board *b = context;
    atomic_store(&b->order, atomic_load(&b->order) * 10 + 1);
}

static void note_two(void *context)
{
    board *b = context;
    atomic_store(&b->order, atomic_load(&b->order) * 10 + 2);
    (void) kin_at_exit(note_one, context);
}

static int end_by_exit(void *argument, size_t size)
{
    board *b = board_of(argument);
    (void) size;
    CHECK(kin_at_exit(note_one, b) == 0);
    CHECK(kin_at_exit(note_two, b) == 0);
    CHECK(kin_at_exit(NULL, NULL) == KIN_E_INVALID);
    CHECK(kin_set_error(NULL) == KIN_E_INVALID);
    CHECK(kin_set_error("no root of -1") == 0);
    kin_exit(33);
}

static void end_in_order(int method)
{
    char text[64];
    char few[8]; /* for seven bytes and the end mark */
    int code = 0;
    board *b = shared_new(sizeof *b);
    uint64_t offset = offset_of(b);
    kin_process process = start_by(method, false, end_by_exit, &offset, sizeof offset);
    assert_int_equal(kin_process_join(process, LONG_MS), 0);
    assert_int_equal(kin_process_exit_code(process, &code), 0);
    assert_int_equal(code, 33);
    assert_int_equal(atomic_load(&b->order), 211); /* the last one first, then what it added */
    assert_int_equal(kin_process_error(process, text, sizeof text), 0);
    assert_string_equal(text, "no root of -1");
    assert_int_equal(kin_process_error(process, few, sizeof few), 0);
    assert_string_equal(few, "no root");
    assert_int_equal(kin_process_error(process, NULL, 1), KIN_E_INVALID);
    assert_int_equal(kin_process_close(process), 0);
    assert_int_equal(kin_process_error(process, text, sizeof text), KIN_E_HANDLE);
    shared_free(b);
}

static void exit_functions_run_last_first_and_a_message_stays(void **state)
{
    (void) state;
    each_method(end_in_order);
}

static int be_silent(void *argument, size_t size)
{
    (void) argument, (void) size;
    return 0;
}

static void who_says_nothing_has_no_message(void **state)
{
    (void) state;
    char text[4] = "abc";
    kin_process process = start(be_silent, NULL, 0);
    assert_int_equal(kin_process_join(process, LONG_MS), 0);
    assert_int_equal(kin_process_error(process, text, sizeof text), 0);
    assert_string_equal(text, "");
    assert_int_equal(kin_process_close(process), 0);
}

static int add_too_many(void *argument, size_t size)
{
    (void) size;
    for (int i = 0; i < 64; i++) {
        CHECK(kin_at_exit(note_one, board_of(argument)) == 0);
    }
    CHECK(kin_at_exit(note_one, board_of(argument)) == KIN_E_LIMIT);
    return 5;
}

static void there_is_a_limit_of_exit_functions(void **state)
{
    (void) state;
    board *b = shared_new(sizeof *b);
    uint64_t offset = offset_of(b);
    assert_int_equal(end_of(start(add_too_many, &offset, sizeof offset)), 5);
    shared_free(b);
}

/* ---- copies ---- */

#if !defined _WIN32

static int inherited = 1; /* changed before copies are made */

static int read_inherited(void *argument, size_t size)
{
    (void) argument, (void) size;
    return inherited;
}

static void only_a_fork_has_what_its_parent_had(void **state)
{
    (void) state;
    inherited = 40;
    assert_int_equal(end_of(start_by(KIN_START_FORK, false, read_inherited, NULL, 0)), 40);
    assert_int_equal(end_of(start_by(KIN_START_FORKSERVER, false, read_inherited, NULL, 0)), 1);
    assert_int_equal(end_of(start_by(KIN_START_SPAWN, false, read_inherited, NULL, 0)), 1);
    inherited = 1;
}

static int use_everything(void *argument, size_t size)
{
    (void) argument, (void) size;
    CHECK(end_of(start_by(KIN_START_FORK, false, be_silent, NULL, 0)) == 0);
    CHECK(end_of(start_by(KIN_START_SPAWN, false, be_silent, NULL, 0)) == 0);
    CHECK(end_of(start_by(KIN_START_FORKSERVER, false, be_silent, NULL, 0)) == 0);
    return 0;
}

static void copies_start_processes_of_their_own(void **state)
{
    (void) state;
    assert_int_equal(end_of(start_by(KIN_START_FORK, false, use_everything, NULL, 0)), 0);
    assert_int_equal(end_of(start_by(KIN_START_FORKSERVER, false, use_everything, NULL, 0)), 0);
}

static void fork_in_thread(void *argument, unsigned number)
{
    (void) number;
    int *wrong = argument;
    for (int i = 0; i < 25; i++) {
        const kin_process_options options = {.method = i % 2 != 0 ? KIN_START_FORK
                                                                  : KIN_START_FORKSERVER};
        kin_process process;
        int code = -1;
        if (kin_process_start(&process, be_silent, NULL, 0, &options) < 0 ||
            kin_process_join(process, LONG_MS) < 0 || kin_process_exit_code(process, &code) < 0 ||
            code != 0 || kin_process_close(process) < 0) {
            wrong[number]++;
        }
    }
}

static void threads_fork_at_the_same_time(void **state)
{
    (void) state;
    int wrong[4] = {0};
    system_run_threads(4, fork_in_thread, wrong);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(wrong[i], 0);
    }
}

/* A copy that the user makes: not started by kin, nor told of it. */
static void live_as_copy(uint64_t original, board *b)
{
    int result = 1;
    kin_process process;
    if (kin_current_process().id != original && kin_parent_process().id == original &&
        kin_active_children(NULL, 0) == 0 &&
        kin_process_start(&process, be_silent, NULL, 0, NULL) == 0 &&
        kin_process_join(process, LONG_MS) == 0 && kin_process_close(process) == 0) {
        result = 0;
    }
    atomic_store(&b->handle, kin_current_process().id);
    _exit(result);
}

static void a_copy_that_the_user_makes_is_a_member_of_its_own(void **state)
{
    (void) state;
    board *b = shared_new(sizeof *b);
    uint64_t original = kin_current_process().id;
    kin_process process = start_by(KIN_START_SPAWN, true, arrive_and_stay,
                                   &(uint64_t){offset_of(b)}, sizeof(uint64_t));
    pid_t pid = fork();
    if (pid == 0) {
        live_as_copy(original, b);
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    kin_process copy = {atomic_load(&b->handle)};
    assert_true(copy.id != original);
    assert_int_equal(kin_process_join(copy, LONG_MS), 0);
    assert_int_equal(kin_process_close(copy), 0);
    assert_int_equal(kin_process_is_alive(process), 1); /* the copy's end is not its parent's */
    kill_and_close(process);
    shared_free(b);
}

static void a_copy_that_never_uses_kin_is_none(void **state)
{
    (void) state;
    kin_arena_usage first;
    kin_arena_usage after;
    assert_int_equal(kin_arena_read_usage(&first), 0);
    pid_t pid = fork();
    if (pid == 0) {
        exit(0); /* with what runs at the end of the original */
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(kin_arena_read_usage(&after), 0);
    assert_int_equal(after.processes, first.processes);
    assert_true(after.blocks <= first.blocks);
}

/* ---- the forkserver ---- */

static int see_server(object *o, uint64_t id, void *context)
{
    if (object_kind_of(id) == KIND_PROCESS &&
        strcmp(((process_object *) o)->name, "forkserver") == 0 &&
        atomic_load(&((process_object *) o)->state) != PROCESS_ENDED) {
        *(uint64_t *) context = id;
    }
    return 0;
}

/* The server of this family: the one that has the name. */
static uint64_t find_server(void)
{
    uint64_t found = 0;
    assert_int_equal(object_each(see_server, &found), 0);
    return found;
}

static void a_killed_forkserver_is_replaced(void **state)
{
    (void) state;
    for (int i = 0; i < 8; i++) {
        int number = i;
        kin_process server = {find_server()};
        assert_true(server.id != 0);
        assert_int_equal(kin_process_kill(server), 0);
        if (i % 2 != 0) {
            assert_int_equal(kin_process_join(server, LONG_MS), 0);
        }
        assert_int_equal(
            end_of(start_by(KIN_START_FORKSERVER, false, add_seven, &number, sizeof number)),
            i + 7);
    }
}

static void children_outlive_their_forkserver(void **state)
{
    (void) state;
    board *b = shared_new(sizeof *b);
    uint64_t offset = offset_of(b);
    kin_process process =
        start_by(KIN_START_FORKSERVER, false, arrive_and_stay, &offset, sizeof offset);
    assert_true(mark_await(&b->arrived, 1));
    kin_process server = {find_server()};
    assert_int_equal(kin_process_kill(server), 0);
    assert_int_equal(kin_process_join(server, LONG_MS), 0);
    assert_int_equal(kin_process_is_alive(process), 1);
    assert_int_equal(kin_process_kill(process), 0);
    assert_int_equal(kin_process_join(process, LONG_MS), 0);
    assert_int_equal(kin_process_close(process), 0);
    assert_int_equal(end_of(start_by(KIN_START_FORKSERVER, false, be_silent, NULL, 0)), 0);
    shared_free(b);
}

static int preload(void *argument, size_t size)
{
    (void) argument, (void) size;
    inherited = 77;
    return 0;
}

/* In a program of its own: a family's server is started once. */
static int mode_preload(int argc, char **argv)
{
    CHECK(kin_init(&argc, &argv) == 0);
    CHECK(kin_set_forkserver_preload(NULL) == KIN_E_INVALID);
    CHECK(kin_set_forkserver_preload(preload) == 0);
    kin_process process = start_by(KIN_START_FORKSERVER, false, read_inherited, NULL, 0);
    CHECK(end_of(process) == 77);
    CHECK(end_of(start_by(KIN_START_FORK, false, read_inherited, NULL, 0)) == 1);
    CHECK(kin_set_forkserver_preload(preload) == KIN_E_STATE);
    return 0;
}

static void what_is_preloaded_is_there_in_all_children(void **state)
{
    (void) state;
    assert_int_equal(run_mode("preload"), 0);
}

static const test_mode modes[] = {{"preload", mode_preload}};

static int start_server(void **state)
{
    int status = warm_up(state);
    assert_int_equal(end_of(start_by(KIN_START_FORKSERVER, false, be_silent, NULL, 0)), 0);
    return status;
}

#else

static int start_server(void **state)
{
    return warm_up(state);
}

#endif

int main(int argc, char **argv)
{
#if !defined _WIN32
    const test_mode *mode = find_mode(modes, sizeof modes / sizeof *modes);
    if (mode != NULL) {
        return mode->run(argc, argv);
    }
#endif
    if (kin_init(&argc, &argv) < 0) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        SETTLED_TEST(the_system_has_the_methods_that_it_says),
        SETTLED_TEST(a_function_runs_with_each_method),
        SETTLED_TEST(the_default_method_is_chosen_for_the_family),
        SETTLED_TEST(a_child_knows_itself_and_its_parent_with_each_method),
        SETTLED_TEST(a_killed_child_says_so_with_each_method),
        SETTLED_TEST(a_daemon_ends_with_its_killed_parent_with_each_method),
        SETTLED_TEST(exit_functions_run_last_first_and_a_message_stays),
        SETTLED_TEST(who_says_nothing_has_no_message),
        SETTLED_TEST(there_is_a_limit_of_exit_functions),
#if !defined _WIN32
        SETTLED_TEST(only_a_fork_has_what_its_parent_had),
        SETTLED_TEST(copies_start_processes_of_their_own),
        SETTLED_TEST(threads_fork_at_the_same_time),
        SETTLED_TEST(a_copy_that_the_user_makes_is_a_member_of_its_own),
        SETTLED_TEST(a_copy_that_never_uses_kin_is_none),
        SETTLED_TEST(a_killed_forkserver_is_replaced),
        SETTLED_TEST(children_outlive_their_forkserver),
        SETTLED_TEST(what_is_preloaded_is_there_in_all_children),
#endif
    };
    return cmocka_run_group_tests(tests, start_server, NULL);
}
