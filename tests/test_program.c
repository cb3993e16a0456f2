/* Other programs as children: guests, whose own main goes on and becomes a member of the family or
   not, programs of the system, and builds of this one; their arguments; and this program's file
   when it is not where it was.

   The guests are this program itself, with an argument that says what it is to be. */
#include "support_options.h"

#include "core/arena.h"

#include <stdlib.h>
#include <string.h>

#if defined _WIN32
#define SUFFIX ".exe"
#else
#define SUFFIX ""
#endif

enum { CODE = 23, SILENT_CODE = 31, LAUNCHER_CODE = 5 };

/* What a guest is given. */
typedef struct gift {
    uint64_t board;
    uint64_t parent;
    uint64_t other; /* a process */
    int method;
    char text[32];
} gift;

/* What it shares with the test. */
typedef struct board {
    mark arrived;
    mark go;
    _Atomic uint64_t handle;
    _Atomic int number;
} board;

static board *shared;
static char own_path[TEXT_SIZE];

static gift new_gift(void)
{
    memset(shared, 0, sizeof *shared);
    return (gift){.board = arena_offset(shared),
                  .parent = kin_current_process().id,
                  .text = "what it is given"};
}

/* Has a program, this one if none is given, start as a guest of that kind. */
static int try_guest(kin_process *process, kin_process_options options, const char *kind,
                     const gift *given)
{
    const char *const arguments[] = {"a guest", kind, NULL};
    options.program = options.program != NULL ? options.program : own_path;
    options.arguments = options.arguments != NULL ? options.arguments : arguments;
    process->id = 0;
    return kin_process_start(process, NULL, given, given != NULL ? sizeof *given : 0, &options);
}

static kin_process start_guest(kin_process_options options, const char *kind, const gift *given)
{
    kin_process process;
    assert_int_equal(try_guest(&process, options, kind, given), 0);
    return process;
}

static const kin_process_options defaults;
static const kin_stream pipe_stream = {.kind = KIN_STREAM_PIPE};

/* ---- what guests do ---- */

static const gift *read_gift(void)
{
    const void *argument = NULL;
    size_t size = 0;
    return kin_process_argument(&argument, &size) == 0 && size == sizeof(gift) ? argument : NULL;
}

static board *board_of(const gift *given)
{
    return arena_at(given->board);
}

static const char guest_name[] = "a \"guest\" of \xc3\xbc";

static int guest_member(int argc, char **argv)
{
    const void *argument;
    size_t size;
    CHECK(kin_init(&argc, &argv) == 0);
    CHECK(kin_init(&argc, &argv) == 0);
    const gift *given = read_gift();
    CHECK(given != NULL);
    CHECK(strcmp(given->text, "what it is given") == 0);
    CHECK((uintptr_t) given % 64 == 0);
    CHECK(kin_process_argument(NULL, &size) == KIN_E_INVALID);
    CHECK(kin_process_argument(&argument, NULL) == KIN_E_INVALID);
    CHECK(kin_parent_process().id == given->parent);
    CHECK(strcmp(kin_process_name(kin_current_process()), guest_name) == 0);
    CHECK(kin_process_is_alive(kin_current_process()) == 1);
    CHECK(kin_process_join(kin_current_process(), 0) == KIN_E_DEADLOCK);
    board *b = board_of(given);
    atomic_store(&b->handle, kin_current_process().id);
    mark_add(&b->arrived);
    CHECK(mark_await(&b->go, 1));
    uint64_t block;
    for (int i = 0; i < 100; i++) {
        CHECK(arena_allocate(&block, 5000, ARENA_ZERO) == 0);
        CHECK(arena_free(block) == 0);
    }
    atomic_store(&b->number, atomic_load(&b->number) + 1);
    return CODE;
}

static int guest_without(int argc, char **argv)
{
    const void *argument = &argument;
    size_t size = 1;
    CHECK(kin_init(&argc, &argv) == 0);
    CHECK(kin_process_argument(&argument, &size) == 0);
    CHECK(argument == NULL && size == 0);
    CHECK(kin_shutdown() == 0);
    CHECK(kin_process_argument(&argument, &size) == KIN_E_INIT);
    kin_exit(CODE);
}

/* It tells by its output that it is there, and waits for the end of its input. */
static int guest_silent(int argc, char **argv)
{
    char text[8];
    (void) argc, (void) argv;
    CHECK(system_write(platform_stream_standard(KIN_STDOUT), "here", 4));
    (void) read_to_end(platform_stream_standard(KIN_STDIN), text, sizeof text);
    return SILENT_CODE;
}

static int add_one(void *argument, size_t size)
{
    const void *given;
    size_t given_size;
    CHECK(size == sizeof(int));
    CHECK(kin_process_argument(&given, &given_size) == KIN_E_STATE);
    return *(int *) argument + 1;
}

static int start_and_join(int method)
{
    const int number = 41;
    int code = -1;
    kin_process process;
    const kin_process_options options = {.method = method};
    int status = kin_process_start(&process, add_one, &number, sizeof number, &options);
    if (status == 0) {
        status = kin_process_join(process, LONG_MS);
        CHECK(kin_process_exit_code(process, &code) == 0);
        CHECK(kin_process_close(process) == 0);
        CHECK(status != 0 || code == 42);
    }
    return status;
}

static void start_by(int method)
{
    assert_int_equal(start_and_join(method), 0);
}

static int guest_parent(int argc, char **argv)
{
    CHECK(kin_init(&argc, &argv) == 0);
    kin_pool pool;
    const kin_pool_options two = {.workers = 2};
    each_method(start_by);
    CHECK(kin_pool_create(&pool, &two) == 0);
    CHECK(kin_pool_destroy(pool) == 0);
    return CODE;
}

static int guest_in_directory(int argc, char **argv)
{
    char here[TEXT_SIZE];
    (void) argc, (void) argv;
    system_directory(here);
    return strstr(here, "another one") != NULL ? CODE : CHILD_FAILED;
}

/* Its file is taken from it before it starts what it starts. */
static int guest_moved(int argc, char **argv)
{
    CHECK(kin_init(&argc, &argv) == 0);
    board *b = board_of(read_gift());
    mark_add(&b->arrived);
    CHECK(mark_await(&b->go, 1));
    atomic_store(&b->number, start_and_join(KIN_START_SPAWN));
    return CODE;
}

/* What stands between this family and a guest. */
static int guest_behind(int argc, char **argv)
{
    (void) argc, (void) argv;
    int code = system_launch(own_path, "member", true);
    return code == CODE ? LAUNCHER_CODE : code;
}

static int guest_left(int argc, char **argv)
{
    (void) argc, (void) argv;
    (void) system_launch(own_path, "member", false);
    char text[8];
    (void) read_to_end(platform_stream_standard(KIN_STDIN), text, sizeof text);
    return LAUNCHER_CODE;
}

/* ---- arguments ---- */

static char long_argument[4097];

static const char *const arguments[] = {
    "a program",
    "arguments",
    "plain",
    "",
    "with some spaces",
    " ",
    "a \"quoted\" word",
    "\"",
    "\\",
    "ends with \\",
    "ends with two\\\\",
    "c:\\no\\quotes\\",
    "\\\"",
    "\\\\\" \\\\\\\" \\x",
    "*",
    "t?st_*",
    "[a-z]",
    "{a,b}",
    "'single'",
    "`back`",
    "%PATH% $HOME $(ls) ^& | < > ;",
    "tab\tand\nline",
    "s\xc3\xbc\xc3\x9f \xe2\x98\x83 \xf0\x9f\x8e\x84",
    "-x=y",
    "/c",
    long_argument,
    "",
    NULL,
};

static bool has_arguments(int argc, char **argv)
{
    char text[TEXT_SIZE];
    int i = 1;
    for (; arguments[i] != NULL; i++) {
        if (!system_argument(argc, argv, i, text) || strcmp(text, arguments[i]) != 0) {
            (void) fprintf(stderr, "argument %d: %.60s\n", i, text);
            return false;
        }
    }
    return !system_argument(argc, argv, i, text);
}

static bool had_arguments;

/* Also what is a child with a function comes by here, as far as kin_init. */
static int guest_arguments(int argc, char **argv)
{
    had_arguments = has_arguments(argc, argv);
    CHECK(kin_init(&argc, &argv) == 0);
    return had_arguments ? CODE : CHILD_FAILED;
}

static void arguments_arrive_as_they_are(void **state)
{
    (void) state;
    kin_process_options options = {.arguments = arguments};
    assert_int_equal(end_of(start_guest(options, NULL, NULL)), CODE);
}

static int tell_arguments(void *argument, size_t size)
{
    (void) argument, (void) size;
    return had_arguments ? CODE : CHILD_FAILED;
}

static void a_function_may_have_arguments_too(void **state)
{
    (void) state;
    kin_process process;
    kin_process_options options = {.arguments = arguments};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(kin_process_start(&process, tell_arguments, NULL, 0, &options), 0);
        assert_int_equal(end_of(process), CODE);
        options.program = own_path; /* a build of this one, even the same */
    }
}

/* ---- guests ---- */

static void a_guest_is_a_member_that_goes_its_own_way(void **state)
{
    (void) state;
    gift given = new_gift();
    kin_process_options options = {.name = guest_name};
    kin_process process = start_guest(options, "member", &given);
    assert_true(mark_await(&shared->arrived, 1));
    assert_int_equal(atomic_load(&shared->handle), process.id);
    assert_int_equal(kin_process_is_alive(process), 1);
    assert_int_equal(kin_active_children(NULL, 0), 1);
    assert_int_equal(kin_process_join(process, 0), KIN_E_TIMEOUT);
    mark_add(&shared->go);
    assert_int_equal(end_of(process), CODE);
    assert_int_equal(end_of(start_guest(defaults, "without", NULL)), CODE);
}

static void only_guests_are_given_an_argument(void **state)
{
    (void) state;
    const void *argument;
    size_t size;
    assert_int_equal(kin_process_argument(&argument, &size), KIN_E_STATE);
    each_method(start_by); /* nor do other children have one */
}

static int join_other(void *argument, size_t size)
{
    int code = -1;
    const gift *given = argument;
    kin_process other = {given->other};
    CHECK(size == sizeof *given);
    CHECK(kin_process_join(other, 0) == KIN_E_TIMEOUT);
    CHECK(kin_process_is_alive(other) == 1);
    mark_add(&board_of(given)->arrived);
    CHECK(kin_process_join(other, LONG_MS) == 0);
    CHECK(kin_process_exit_code(other, &code) == 0);
    CHECK(kin_process_is_alive(other) == 0);
    return code;
}

static void others_join_a_guest(void **state)
{
    (void) state;
    static const char *const kinds[] = {"member", "silent", "behind"};
    static const int codes[] = {CODE, SILENT_CODE, LAUNCHER_CODE};
    for (int i = 0; i < 3; i++) {
        gift given = new_gift();
        kin_process_options options = {
            .name = guest_name, .input = pipe_stream, .output = pipe_stream};
        kin_process process = start_guest(options, kinds[i], &given);
        uint32_t members = i == 1 ? 0 : 1;
        assert_true(mark_await(&shared->arrived, members));
        given.other = process.id;
        kin_process other = start(join_other, &given, sizeof given);
        assert_true(mark_await(&shared->arrived, members + 1));
        mark_add(&shared->go);
        assert_int_equal(kin_process_close_stream(process, KIN_STDIN), 0);
        assert_int_equal(kin_process_join(process, LONG_MS), 0);
        assert_int_equal(end_of(other), codes[i]);
        assert_int_equal(end_of(process), codes[i]);
    }
}

static void a_program_that_never_joins_is_a_process_like_others(void **state)
{
    (void) state;
    char text[8];
    size_t done;
    kin_process_options options = {.input = pipe_stream, .output = pipe_stream};
    kin_process process = start_guest(options, "silent", NULL);
    assert_int_equal(kin_process_read(process, KIN_STDOUT, text, 8, &done, LONG_MS), 0);
    assert_int_equal(kin_process_is_alive(process), 1);
    assert_true(kin_process_pid(process) > 0);
    assert_int_equal(kin_process_close_stream(process, KIN_STDIN), 0);
    assert_int_equal(end_of(process), SILENT_CODE);
}

static int kill_other(void *argument, size_t size)
{
    const gift *given = argument;
    CHECK(size == sizeof *given);
    return -kin_process_kill((kin_process){given->other});
}

static void a_guest_is_killed_before_and_after_it_joins(void **state)
{
    (void) state;
    for (int i = 0; i < 4; i++) {
        char text[8];
        size_t done;
        gift given = new_gift();
        kin_process_options options = {.name = guest_name};
        if (i % 2 == 0) {
            options.input = pipe_stream;
            options.output = pipe_stream;
        }
        kin_process process = start_guest(options, i % 2 == 0 ? "silent" : "member", &given);
        if (i % 2 == 0) {
            assert_int_equal(kin_process_read(process, KIN_STDOUT, text, 8, &done, LONG_MS), 0);
        } else {
            assert_true(mark_await(&shared->arrived, 1));
        }
        if (i >= 2) { /* by another than its parent, where one that has not joined can be named */
            given.other = process.id;
            int code = end_of(start(kill_other, &given, sizeof given));
            assert_true(code == 0 || (i == 2 && code == -KIN_E_UNSUPPORTED));
            if (code != 0) {
                assert_int_equal(kin_process_kill(process), 0);
            }
        } else {
            assert_int_equal(kin_process_kill(process), 0);
        }
        assert_int_equal(end_of(process), -KIN_SIGKILL);
    }
}

static int have_guest(void *argument, size_t size)
{
    gift given = *(const gift *) argument;
    kin_process process;
    board *b = board_of(&given);
    const kin_process_options options = {.name = guest_name, .daemon = true};
    CHECK(size == sizeof given);
    given.parent = kin_current_process().id;
    CHECK(try_guest(&process, options, "member", &given) == 0);
    CHECK(mark_await(&b->arrived, 1));
    mark_add(&b->arrived);
    return kin_sleep(KIN_FOREVER);
}

static void a_guest_that_is_a_daemon_ends_with_its_parent(void **state)
{
    (void) state;
    gift given = new_gift();
    kin_process parent = start(have_guest, &given, sizeof given);
    assert_true(mark_await(&shared->arrived, 2));
    kill_and_close(parent);
    int status = kin_process_join((kin_process){atomic_load(&shared->handle)}, LONG_MS);
    assert_true(status == 0 || status == KIN_E_HANDLE);
}

static void a_guest_has_children_and_pools_of_its_own(void **state)
{
    (void) state;
    assert_int_equal(end_of(start_guest(defaults, "parent", NULL)), CODE);
}

/* ---- guests behind other programs ---- */

static void a_guest_behind_another_program_is_the_member(void **state)
{
    (void) state;
    gift given = new_gift();
    kin_process_options options = {.name = guest_name};
    kin_process process = start_guest(options, "behind", &given);
    assert_true(mark_await(&shared->arrived, 1));
    assert_int_equal(atomic_load(&shared->handle), process.id);
    mark_add(&shared->go);
    assert_int_equal(end_of(process), LAUNCHER_CODE);
    assert_int_equal(atomic_load(&shared->number), 1);
}

static void await_members(uint64_t count)
{
    kin_arena_usage usage;
    int64_t until = kin_clock_ns() + LONG_TIME;
    do {
        assert_int_equal(kin_arena_read_usage(&usage), 0);
    } while (usage.processes > count && kin_clock_ns() < until);
    assert_int_equal(usage.processes, count);
}

/* The handle stands for what was started. What that has started is a member for as long as it
   lives. */
static void a_member_outlives_the_program_that_started_it(void **state)
{
    (void) state;
    kin_arena_usage before;
    assert_int_equal(kin_arena_read_usage(&before), 0);
    for (int i = 0; i < 3; i++) {
        gift given = new_gift();
        kin_process_options options = {.name = guest_name, .input = pipe_stream};
        kin_process process = start_guest(options, "left", &given);
        assert_true(mark_await(&shared->arrived, 1));
        if (i == 2) {
            assert_int_equal(kin_process_kill(process), 0);
        } else {
            assert_int_equal(kin_process_close_stream(process, KIN_STDIN), 0);
        }
        if (i == 0) { /* the member goes first */
            mark_add(&shared->go);
            await_members(before.processes);
        }
        assert_int_equal(end_of(process), i == 2 ? -KIN_SIGKILL : LAUNCHER_CODE);
        if (i != 0) {
            kin_arena_usage usage;
            const char *broken;
            assert_int_equal(kin_arena_read_usage(&usage), 0);
            assert_int_equal(usage.processes, before.processes + 1);
            assert_int_equal(atomic_load(&shared->number), 0);
            mark_add(&shared->go);
            await_members(before.processes);
            assert_int_equal(arena_check(&broken), 0);
        }
        assert_int_equal(atomic_load(&shared->number), 1);
    }
}

/* ---- programs of the system ---- */

static void programs_are_found_by_name(void **state)
{
    (void) state;
    char text[64] = "";
    size_t done = 0;
#if defined _WIN32
    kin_process_options options = {.program = "cmd.exe",
                                   .arguments = (const char *const[]){"cmd", "/c", "exit 7", NULL}};
    assert_int_equal(end_of(start_guest(options, NULL, NULL)), 7);
    options.program = "cmd";
    options.output = pipe_stream;
    options.arguments = (const char *const[]){"cmd", "/c", "echo spoken", NULL};
#else
    kin_process_options options = {.program = "sh",
                                   .arguments = (const char *const[]){"sh", "-c", "exit 7", NULL}};
    assert_int_equal(end_of(start_guest(options, NULL, NULL)), 7);
    options.input = pipe_stream;
    options.output = pipe_stream;
    options.arguments = (const char *const[]){"sh", "-c", "read word; echo $word", NULL};
#endif
    kin_process process = start_guest(options, NULL, NULL);
    if (options.input.kind == KIN_STREAM_PIPE) {
        assert_int_equal(kin_process_write(process, "spoken\n", 7, NULL, LONG_MS), 0);
    }
    assert_int_equal(kin_process_read(process, KIN_STDOUT, text, sizeof text, &done, LONG_MS), 0);
    assert_int_equal(strncmp(text, "spoken", 6), 0);
    assert_int_equal(end_of(process), 0);
}

static void a_function_is_not_run_by_a_program_that_has_no_kin(void **state)
{
    (void) state;
    int code = -1;
    const int number = 1;
    kin_process process;
#if defined _WIN32
    const kin_process_options options = {
        .program = "cmd.exe", .arguments = (const char *const[]){"cmd", "/c", "exit 7", NULL}};
#else
    const kin_process_options options = {
        .program = "sh", .arguments = (const char *const[]){"sh", "-c", "exit 7", NULL}};
#endif
    assert_int_equal(kin_process_start(&process, add_one, &number, sizeof number, &options), 0);
    assert_int_equal(kin_process_join(process, LONG_MS), KIN_E_NO_INIT);
    assert_int_equal(kin_process_exit_code(process, &code), 0);
    assert_int_equal(code, 7);
    assert_int_equal(kin_process_close(process), 0);
}

static void assert_refused(kin_process_options options, kin_process_function function, int expected)
{
    kin_process process = {0};
    assert_int_equal(kin_process_start(&process, function, NULL, 0, &options), expected);
    assert_true(process.id == 0);
}

static void programs_that_are_not_there_are_told_by_the_start(void **state)
{
    (void) state;
    static const char *const missing[] = {"no-such-program-anywhere", "./no such/program",
                                          "/no/such/program"};
    for (size_t i = 0; i < sizeof missing / sizeof *missing; i++) {
        assert_refused((kin_process_options){.program = missing[i]}, NULL, KIN_E_NOT_FOUND);
        assert_refused((kin_process_options){.program = missing[i]}, add_one, KIN_E_NOT_FOUND);
    }
    assert_refused((kin_process_options){.program = ""}, NULL, KIN_E_NOT_FOUND);
    char here[TEXT_SIZE];
    system_directory(here);
#if defined _WIN32
    kin_process process;
    int status = try_guest(&process, (kin_process_options){.program = here}, NULL, NULL);
    assert_true(status == KIN_E_PERMISSION || status == KIN_E_SYSTEM);
#else
    assert_refused((kin_process_options){.program = here}, NULL, KIN_E_PERMISSION);
#endif
}

static void a_program_is_spawned_and_nothing_else(void **state)
{
    (void) state;
    static const char *const none[] = {NULL};
    assert_refused((kin_process_options){0}, NULL, KIN_E_INVALID);
    assert_refused((kin_process_options){.arguments = none}, add_one, KIN_E_INVALID);
    if (!kin_has_start_method(KIN_START_FORK)) {
        return;
    }
    for (int method = KIN_START_FORK; method <= KIN_START_FORKSERVER; method++) {
        kin_process_options options = {.program = own_path, .method = method};
        assert_refused(options, NULL, KIN_E_INVALID);
        assert_refused(options, add_one, KIN_E_INVALID);
        options = (kin_process_options){.arguments = arguments, .method = method};
        assert_refused(options, add_one, KIN_E_INVALID);
        assert_int_equal(kin_set_start_method(method), 0); /* of the default it is no part */
        assert_int_equal(end_of(start_guest(defaults, "without", NULL)), CODE);
        assert_int_equal(kin_set_start_method(KIN_START_DEFAULT), 0);
    }
}

/* ---- the program's file ---- */

static void a_relative_path_begins_where_the_parent_is(void **state)
{
    (void) state;
    system_make_directory(place("another one"));
    system_copy_file(own_path, place("a copy" SUFFIX));
    kin_process_options options = {.program = place("a copy" SUFFIX)};
    options.directory = place("another one");
    assert_int_equal(end_of(start_guest(options, "in directory", NULL)), CODE);
    system_remove(place("a copy" SUFFIX));
    system_remove(place("another one"));
}

/* Its file has another name, or is no more, when it starts a child; then another is in its
   place. */
static void a_program_whose_file_is_gone_goes_on(void **state)
{
    (void) state;
    for (int i = 0; i < 3; i++) {
        gift given = new_gift();
        system_copy_file(own_path, place("a copy" SUFFIX));
        kin_process_options options = {.program = place("a copy" SUFFIX)};
        kin_process process = start_guest(options, "moved", &given);
        assert_true(mark_await(&shared->arrived, 1));
        if (i == 0) {
            system_remove(place("a copy" SUFFIX));
        } else {
            assert_true(system_rename(place("a copy" SUFFIX), place("moved" SUFFIX)));
        }
        if (i == 2) {
            write_file(place("a copy" SUFFIX), "no program at all");
        }
        bool gone = !system_exists(place("a copy" SUFFIX));
        mark_add(&shared->go);
        assert_int_equal(end_of(process), CODE);
        int status = atomic_load(&shared->number);
#if defined _WIN32
        /* The system keeps the file of what runs; it may have another name, and is not found. */
        assert_true(i != 0 || !gone);
        assert_int_equal(status, i == 0 ? 0 : gone ? KIN_E_NOT_FOUND : status);
        assert_true(i != 2 || status < 0);
#else
        assert_true(gone == (i < 2));
        assert_int_equal(status, 0);
#endif
        system_remove(place("a copy" SUFFIX));
        system_remove(place("moved" SUFFIX));
    }
}

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} guests[] = {
    {"member", guest_member}, {"without", guest_without}, {"silent", guest_silent},
    {"parent", guest_parent}, {"moved", guest_moved},     {"in directory", guest_in_directory},
    {"behind", guest_behind}, {"left", guest_left},       {"arguments", guest_arguments},
};

static int prepare(void **state)
{
    int status = warm_up_all(state);
    shared = shared_new(sizeof *shared);
    make_place("programs");
    return status;
}

static int clear(void **state)
{
    (void) state;
    shared_free(shared);
    remove_place();
    return 0;
}

int main(int argc, char **argv)
{
    memset(long_argument, 'x', sizeof long_argument - 1);
    system_own_path(own_path);
    for (size_t i = 0; i < sizeof guests / sizeof *guests && argc > 1; i++) {
        if (strcmp(argv[1], guests[i].name) == 0) {
            return guests[i].run(argc, argv);
        }
    }
    if (kin_init(&argc, &argv) < 0) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        SETTLED_TEST(arguments_arrive_as_they_are),
        SETTLED_TEST(a_function_may_have_arguments_too),
        SETTLED_TEST(a_guest_is_a_member_that_goes_its_own_way),
        SETTLED_TEST(only_guests_are_given_an_argument),
        SETTLED_TEST(others_join_a_guest),
        SETTLED_TEST(a_program_that_never_joins_is_a_process_like_others),
        SETTLED_TEST(a_guest_is_killed_before_and_after_it_joins),
        SETTLED_TEST(a_guest_that_is_a_daemon_ends_with_its_parent),
        SETTLED_TEST(a_guest_has_children_and_pools_of_its_own),
        SETTLED_TEST(a_guest_behind_another_program_is_the_member),
        SETTLED_TEST(a_member_outlives_the_program_that_started_it),
        SETTLED_TEST(programs_are_found_by_name),
        SETTLED_TEST(a_function_is_not_run_by_a_program_that_has_no_kin),
        SETTLED_TEST(programs_that_are_not_there_are_told_by_the_start),
        SETTLED_TEST(a_program_is_spawned_and_nothing_else),
        SETTLED_TEST(a_relative_path_begins_where_the_parent_is),
        SETTLED_TEST(a_program_whose_file_is_gone_goes_on),
    };
    return cmocka_run_group_tests(tests, prepare, clear);
}
