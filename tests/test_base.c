/* What include/kin/base.h promises. Much of it concerns the founding of a family: for that this
   program is run again in one of the modes below, before which kin_init has not been called. */
#include "support.h"

#include <stdlib.h>
#include <string.h>

#if !defined _WIN32
#include <sys/resource.h>
#endif

enum { ENDED_AS_NO_CHILD = 42, NO_SUCH_FILE = 2 };

static int own_argc;
static char **own_argv;

static int do_nothing(void *argument, size_t size)
{
    (void) argument;
    (void) size;
    return 0;
}

/* A child can be started, and ends. For modes. */
static int check_family(void)
{
    kin_process process;
    int code = -1;
    CHECK(kin_process_start(&process, do_nothing, NULL, 0, NULL) == 0);
    CHECK(kin_process_join(process, LONG_MS) == 0);
    CHECK(kin_process_exit_code(process, &code) == 0 && code == 0);
    CHECK(kin_process_close(process) == 0);
    return 0;
}

/* ---- statuses ---- */

static void every_status_has_a_name_and_a_text_of_its_own(void **state)
{
    (void) state;
    for (int status = KIN_E_EXISTS; status <= KIN_EXISTED; status++) {
        const char *name = kin_error_name(status);
        assert_true(strncmp(name, "KIN_", 4) == 0 && strcmp(name, "KIN_E_UNKNOWN") != 0);
        assert_true(strncmp(name, "KIN_E_", 6) == 0 || status >= 0);
        assert_true(strlen(kin_strerror(status)) > 5);
        for (int other = KIN_E_EXISTS; other < status; other++) {
            assert_string_not_equal(name, kin_error_name(other));
            assert_string_not_equal(kin_strerror(status), kin_strerror(other));
        }
    }
    assert_string_equal(kin_error_name(KIN_E_TIMEOUT), "KIN_E_TIMEOUT");
    assert_string_equal(kin_error_name(KIN_OK), "KIN_OK");
}

static void an_unknown_status_has_a_name_and_a_text(void **state)
{
    static const int unknown[] = {KIN_E_EXISTS - 1, 3, INT32_MIN, INT32_MAX};
    (void) state;
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        assert_string_equal(kin_error_name(unknown[i]), "KIN_E_UNKNOWN");
        assert_true(strlen(kin_strerror(unknown[i])) > 0);
    }
}

static void the_version_is_that_of_the_header(void **state)
{
    char text[32];
    (void) state;
    (void) snprintf(text, sizeof text, "%d.%d.%d", KIN_VERSION_MAJOR, KIN_VERSION_MINOR,
                    KIN_VERSION_PATCH);
    assert_string_equal(kin_version(), text);
}

static void ask_for_error(void *told, unsigned number)
{
    (void) number;
    *(int64_t *) told = kin_system_error();
}

static void the_systems_error_is_told_until_the_next_call_of_the_thread(void **state)
{
    kin_process process;
    kin_arena_usage usage;
    int64_t elsewhere = -1;
    const kin_process_options options = {.program = "there-is-no-such-program.exe"};
    (void) state;
    assert_int_equal(kin_process_start(&process, do_nothing, NULL, 0, &options), KIN_E_NOT_FOUND);
    assert_int_equal(kin_system_error(), NO_SUCH_FILE);
    assert_int_equal(kin_system_error(), NO_SUCH_FILE);
    system_run_threads(1, ask_for_error, &elsewhere);
    assert_int_equal(elsewhere, 0);
    assert_int_equal(kin_arena_read_usage(&usage), 0);
    assert_int_equal(kin_system_error(), 0);
}

/* ---- joining and leaving ---- */

static void a_second_kin_init_does_nothing(void **state)
{
    const kin_process before = kin_current_process();
    const kin_options nonsense = {.arena_size = 1};
    (void) state;
    assert_int_equal(kin_init(NULL, NULL), 0);
    assert_int_equal(kin_init_with(NULL, NULL, &nonsense), 0);
    assert_true(kin_current_process().id == before.id);
}

static int mode_before_init(int argc, char **argv)
{
    kin_process process = {1};
    kin_pool pool = {1};
    kin_arena_usage usage;
    int code;
    (void) argc;
    (void) argv;
    CHECK(kin_process_start(&process, do_nothing, NULL, 0, NULL) == KIN_E_INIT);
    CHECK(kin_process_join(process, 0) == KIN_E_INIT);
    CHECK(kin_process_exit_code(process, &code) == KIN_E_INIT);
    CHECK(kin_process_is_alive(process) == KIN_E_INIT);
    CHECK(kin_process_pid(process) == KIN_E_INIT);
    CHECK(strcmp(kin_process_name(process), "") == 0);
    CHECK(kin_process_kill(process) == KIN_E_INIT);
    CHECK(kin_process_terminate(process) == KIN_E_INIT);
    CHECK(kin_process_close(process) == KIN_E_INIT);
    CHECK(kin_current_process().id == 0 && kin_parent_process().id == 0);
    CHECK(kin_active_children(&process, 1) == 0);
    CHECK(kin_pool_create(&pool, NULL) == KIN_E_INIT);
    CHECK(kin_pool_workers(pool) == KIN_E_INIT);
    CHECK(kin_pool_close(pool) == KIN_E_INIT && kin_pool_join(pool, 0) == KIN_E_INIT);
    CHECK(kin_pool_terminate(pool) == KIN_E_INIT && kin_pool_destroy(pool) == KIN_E_INIT);
    CHECK(kin_arena_read_usage(&usage) == KIN_E_INIT && kin_arena_trim() == KIN_E_INIT);
    CHECK(kin_shutdown() == KIN_E_INIT);
    CHECK(kin_clock_ns() > 0 && kin_sleep(0) == 0 && kin_usable_cores() >= 1);
    return 0;
}

static void calls_before_kin_init_say_so(void **state)
{
    (void) state;
    assert_int_equal(run_mode("before_init"), 0);
}

static int mode_bad_options(int argc, char **argv)
{
    static const kin_options bad[] = {
        {.arena_size = 1},        {.arena_size = (1 << 20) - 1}, {.arena_size = UINT64_MAX},
        {.max_processes = 65535}, {.max_processes = UINT32_MAX},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK(kin_init_with(&argc, &argv, &bad[i]) == KIN_E_INVALID);
        CHECK(kin_current_process().id == 0);
    }
    CHECK(kin_init(&argc, &argv) == 0);
    return check_family();
}

static void options_out_of_range_are_refused(void **state)
{
    (void) state;
    assert_int_equal(run_mode("bad_options"), 0);
}

static int check_size(uint64_t size, uint32_t processes)
{
    const kin_options options = {.arena_size = size, .max_processes = processes};
    kin_arena_usage usage;
    int handles = system_handles();
    CHECK(kin_init_with(&own_argc, &own_argv, &options) == 0);
    CHECK(kin_arena_read_usage(&usage) == 0);
    CHECK(usage.reserved >= size && usage.reserved < size + 65536);
    CHECK(usage.committed < usage.reserved && usage.used <= usage.reserved);
    CHECK(usage.processes == 1);
    CHECK(check_family() == 0);
    CHECK(kin_shutdown() == 0);
    CHECK(system_handles() <= handles + system_handle_slack());
    return 0;
}

static int mode_sizes(int argc, char **argv)
{
    own_argc = argc;
    own_argv = argv;
    CHECK(kin_init(&argc, &argv) == 0 && check_family() == 0 && kin_shutdown() == 0);
    CHECK(check_size(1 << 20, 0) == 0);
    CHECK(check_size((1 << 20) + 1, 2) == 0);
    CHECK(check_size(3 << 20, 65534) == 0);
    CHECK(check_size(100 << 20, 65534) == 0);
    return sizeof(void *) > 4 && !WITH_SANITIZER ? check_size(UINT64_C(12) << 30, 0) : 0;
}

static void arenas_of_all_sizes_serve_and_leave_nothing(void **state)
{
    (void) state;
    assert_int_equal(run_mode("sizes"), 0);
}

#if !defined _WIN32

static int check_limited(int resource, uint64_t limit)
{
    kin_arena_usage usage;
    struct rlimit before;
    CHECK(getrlimit(resource, &before) == 0);
    const struct rlimit low = {.rlim_cur = (rlim_t) limit, .rlim_max = before.rlim_max};
    CHECK(setrlimit(resource, &low) == 0);
    CHECK(kin_init(&own_argc, &own_argv) == 0);
    CHECK(kin_arena_read_usage(&usage) == 0);
    CHECK(usage.reserved >= limit / 8 && usage.reserved <= limit);
    CHECK(check_family() == 0);
    CHECK(kin_shutdown() == 0);
    CHECK(setrlimit(resource, &before) == 0);
    return 0;
}

static int mode_little_address_space(int argc, char **argv)
{
    own_argc = argc;
    own_argv = argv;
    return check_limited(RLIMIT_AS, UINT64_C(512) << 20);
}

static int mode_small_files(int argc, char **argv)
{
    own_argc = argc;
    own_argv = argv;
    return check_limited(RLIMIT_FSIZE, UINT64_C(64) << 20);
}

static int mode_no_room(int argc, char **argv)
{
    const struct rlimit none = {.rlim_cur = 1 << 19, .rlim_max = RLIM_INFINITY};
    struct rlimit before;
    int handles = system_handles();
    CHECK(getrlimit(RLIMIT_FSIZE, &before) == 0);
    CHECK(setrlimit(RLIMIT_FSIZE, &none) == 0);
    CHECK(kin_init(&argc, &argv) == KIN_E_NOMEM);
    CHECK(system_handles() == handles);
    CHECK(setrlimit(RLIMIT_FSIZE, &before) == 0);
    CHECK(kin_init(&argc, &argv) == 0);
    return check_family();
}

static void a_reserve_that_the_system_refuses_is_made_smaller(void **state)
{
    (void) state;
    if (WITH_SANITIZER) {
        skip(); /* it needs its address space itself */
    }
    assert_int_equal(run_mode("little_address_space"), 0);
}

static void a_limit_on_files_is_no_signal(void **state)
{
    (void) state;
    assert_int_equal(run_mode("small_files"), 0);
    assert_int_equal(run_mode("no_room"), 0);
}

#endif

static int mode_shutdown(int argc, char **argv)
{
    int handles = 0;
    uint64_t last = 0;
    for (int i = 0; i < 20; i++) {
        /* Each lies elsewhere: what is kept of the one before is of no use. */
        const kin_options options = {.arena_size = (uint64_t) (32 + i % 3 * 64) << 20};
        CHECK(kin_init_with(i % 2 == 0 ? &argc : NULL, i % 2 == 0 ? &argv : NULL, &options) == 0);
        CHECK(kin_current_process().id != 0 && kin_current_process().id != last);
        CHECK(i == 0 || kin_process_is_alive((kin_process){last}) == KIN_E_HANDLE);
        last = kin_current_process().id;
        CHECK(check_family() == 0);
        CHECK(kin_shutdown() == 0);
        CHECK(kin_shutdown() == KIN_E_INIT);
        /* What a process makes at first use and keeps has been made by then. */
        handles = i == 0 ? system_handles() : handles;
        CHECK(system_handles() <= handles + system_handle_slack() && !system_has_children());
    }
    return 0;
}

static void after_kin_shutdown_another_family_can_be_founded(void **state)
{
    (void) state;
    assert_int_equal(run_mode("shutdown"), 0);
}

static int mode_shutdown_with_children(int argc, char **argv)
{
    kin_process process;
    kin_pool pool;
    const kin_pool_options two = {.workers = 2};
    const kin_process_options daemon = {.daemon = true};
    CHECK(kin_init(&argc, &argv) == 0);
    for (int i = 0; i < 3; i++) {
        CHECK(kin_process_start(&process, stay, &(uint64_t){0}, sizeof(uint64_t), &daemon) == 0);
        CHECK(kin_process_start(&process, do_nothing, NULL, 0, NULL) == 0);
    }
    CHECK(kin_pool_create(&pool, &two) == 0);
    CHECK(kin_shutdown() == 0);
    CHECK(!system_has_children());
    const kin_options smaller = {.arena_size = 16 << 20};
    CHECK(kin_init_with(&argc, &argv, &smaller) == 0);
    CHECK(kin_pool_create(&pool, &two) == 0 && kin_pool_destroy(pool) == 0);
    return check_family();
}

static void kin_shutdown_ends_daemons_and_pools_and_joins_the_rest(void **state)
{
    (void) state;
    assert_int_equal(run_mode("shutdown_with_children"), 0);
}

/* ---- what a child is told ---- */

static char second_argument[] = "two words";
static char third_argument[] = "\"quoted\\";

static int check_arguments(void *argument, size_t size)
{
    (void) argument;
    (void) size;
    CHECK(own_argc == 3 && own_argv[3] == NULL);
    CHECK(strcmp(own_argv[1], second_argument) == 0);
    CHECK(strcmp(own_argv[2], third_argument) == 0);
    return 0;
}

static int mode_arguments(int argc, char **argv)
{
    kin_process process;
    int code = -1;
    CHECK(kin_init(&argc, &argv) == 0);
    argv[1] = argv[2]; /* what was kept is a copy */
    CHECK(kin_process_start(&process, check_arguments, NULL, 0, NULL) == 0);
    CHECK(kin_process_join(process, LONG_MS) == 0);
    CHECK(kin_process_exit_code(process, &code) == 0 && code == 0);
    return 0;
}

static void children_see_the_command_line_of_their_parent(void **state)
{
    char *arguments[] = {own_argv[0], second_argument, third_argument, NULL};
    (void) state;
    assert_int_equal(run_again(TEST_MODE "=", "arguments", arguments), 0);
}

static int check_environment(void *argument, size_t size)
{
    (void) argument;
    (void) size;
    CHECK(getenv("KIN_CHILD") == NULL && getenv("KIN_LIFELINE") == NULL);
    CHECK(getenv("PATH") != NULL);
    return 0;
}

static void what_a_child_was_told_is_taken_out_of_its_environment(void **state)
{
    (void) state;
    assert_int_equal(end_of(start(check_environment, NULL, 0)), 0);
    assert_int_equal(end_of(start_daemon(check_environment, NULL, 0)), 0);
    assert_null(getenv("KIN_CHILD"));
}

/* A process that claims to be a child ends with an error and runs nothing of main. */
static void assert_refused(const char *told)
{
    int code = run_again("KIN_CHILD=", told, NULL);
    if (code < 125 || code > 127) {
        fail_msg("\"%s\" ended with %d", told, code);
    }
}

static void forged_births_are_refused(void **state)
{
    static const char *const forged[] = {
        "",
        "garbage",
        "1",
        "1:",
        "1:::::",
        "1:0:0:0:0",
        "1:1:100000:1:1",
        "1:2:fffffffffffffff:100000001:1",
        "2:3:100000:100000001:0",
        "1:ffffffffffffffff:100000:100000001:0",
        "1:7fffffff:100000:100000001:0",
        "1:fff:ffffffffffffffff:ffffffffffffffff:ffffffffffffffff",
        "1:-1:-1:-1:-1",
        "%s%s%s%n",
    };
    (void) state;
    system_set_variable("KIN_TEST_FORGED", "1");
    for (size_t i = 0; i < sizeof forged / sizeof *forged; i++) {
        assert_refused(forged[i]);
    }
    system_set_variable("KIN_TEST_FORGED", NULL);
}

static void births_into_this_family_need_all_their_numbers(void **state)
{
    char text[96];
    const platform_memory *memory = arena_memory();
    const uint64_t references[] = {member_self(), member_self() + 1,     UINT64_C(1) << 32,
                                   UINT64_MAX,    UINT64_C(0x1ffffffff), 0};
    (void) state;
    system_set_variable("KIN_TEST_FORGED", "1");
    for (size_t i = 0; i < sizeof references / sizeof *references; i++) {
        (void) snprintf(text, sizeof text, "1:%llx:%llx:%llx:1",
                        (unsigned long long) memory->object, (unsigned long long) memory->size,
                        (unsigned long long) references[i]);
        assert_refused(text);
    }
    const uint64_t sizes[] = {0, memory->size - 1, memory->size / 2, memory->size * 2, 1 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        (void) snprintf(text, sizeof text, "1:%llx:%llx:100000002:1",
                        (unsigned long long) memory->object, (unsigned long long) sizes[i]);
        assert_refused(text);
    }
    system_set_variable("KIN_TEST_FORGED", NULL);
    assert_int_equal(check_family(), 0);
}

/* ---- time and processors ---- */

static int tell_time(void *argument, size_t size)
{
    CHECK(size == sizeof(uint64_t));
    *(int64_t *) arena_at(*(uint64_t *) argument) = kin_clock_ns();
    return 0;
}

static void all_processes_have_one_clock_that_never_goes_back(void **state)
{
    (void) state;
    int64_t *told = shared_new(sizeof *told);
    uint64_t offset = arena_offset(told);
    int64_t before = kin_clock_ns();
    assert_int_equal(end_of(start(tell_time, &offset, sizeof offset)), 0);
    int64_t after = kin_clock_ns();
    assert_true(before < *told && *told < after);
    for (int i = 0; i < 10000; i++) {
        before = after;
        after = kin_clock_ns();
        assert_true(after >= before);
    }
    shared_free(told);
}

static void sleep_is_never_short(void **state)
{
    (void) state;
    for (int milliseconds = 0; milliseconds < 8; milliseconds++) {
        int64_t before = kin_clock_ns();
        assert_int_equal(kin_sleep(milliseconds), 0);
        assert_true(kin_clock_ns() - before >= milliseconds * INT64_C(1000000));
    }
    assert_int_equal(kin_sleep(-2), KIN_E_INVALID);
    assert_int_equal(kin_sleep(INT32_MIN), KIN_E_INVALID);
}

static void there_is_a_core_to_use(void **state)
{
    (void) state;
    int cores = kin_usable_cores();
    assert_true(cores >= 1 && cores < 1 << 20);
    assert_int_equal(kin_usable_cores(), cores);
    if (system_keep_one_core()) {
        assert_int_equal(kin_usable_cores(), 1);
        system_keep_all_cores();
    }
    assert_int_equal(kin_usable_cores(), cores);
}

/* ---- usage ---- */

static void usage_tells_of_members_threads_and_blocks(void **state)
{
    kin_arena_usage before;
    kin_arena_usage now;
    (void) state;
    assert_int_equal(kin_arena_read_usage(NULL), KIN_E_INVALID);
    mark *m = shared_new(sizeof *m);
    uint64_t offset = arena_offset(m);
    assert_int_equal(kin_arena_read_usage(&before), 0);
    assert_true(before.processes == 1 && before.threads >= 1 && before.blocks >= 2);
    assert_true(before.used <= before.committed && before.committed <= before.reserved);
    kin_process process = start(stay, &offset, sizeof offset);
    assert_true(mark_await(m, 1));
    assert_int_equal(kin_arena_read_usage(&now), 0);
    assert_int_equal(now.processes, 2);
    assert_true(now.threads == before.threads + 1);
    assert_true(now.blocks > before.blocks);
    kill_and_close(process);
    assert_int_equal(kin_arena_read_usage(&now), 0);
    assert_int_equal(now.processes, 1);
    assert_true(now.threads == before.threads && now.blocks == before.blocks);
    shared_free(m);
}

static void trim_keeps_what_is_in_use(void **state)
{
    enum { SIZE = 6 << 20 };
    kin_arena_usage full;
    kin_arena_usage trimmed;
    (void) state;
    unsigned char *kept = shared_new(SIZE);
    unsigned char *freed = shared_new(SIZE);
    memset(kept, 7, SIZE);
    shared_free(freed);
    assert_int_equal(kin_arena_read_usage(&full), 0);
    assert_int_equal(kin_arena_trim(), 0);
    assert_int_equal(kin_arena_read_usage(&trimmed), 0);
    assert_true(trimmed.committed <= full.committed && trimmed.used == full.used);
#if defined __linux__
    assert_true(trimmed.committed + SIZE - (128 << 10) <= full.committed);
#endif
    for (size_t i = 0; i < SIZE; i++) {
        if (kept[i] != 7) {
            fail_msg("byte %zu is %d", i, kept[i]);
        }
    }
    shared_free(kept);
}

static const test_mode modes[] = {
    {"before_init", mode_before_init},
    {"bad_options", mode_bad_options},
    {"sizes", mode_sizes},
#if !defined _WIN32
    {"little_address_space", mode_little_address_space},
    {"small_files", mode_small_files},
    {"no_room", mode_no_room},
#endif
    {"shutdown", mode_shutdown},
    {"shutdown_with_children", mode_shutdown_with_children},
    {"arguments", mode_arguments},
};

int main(int argc, char **argv)
{
    own_argc = argc;
    own_argv = argv;
    const test_mode *mode = find_mode(modes, sizeof modes / sizeof *modes);
    if (mode != NULL) {
        return mode->run(argc, argv);
    }
    if (kin_init(&argc, &argv) < 0) {
        return 1;
    }
    if (getenv("KIN_TEST_FORGED") != NULL) {
        return ENDED_AS_NO_CHILD;
    }
    const struct CMUnitTest tests[] = {
        CLEAN_TEST(every_status_has_a_name_and_a_text_of_its_own),
        CLEAN_TEST(an_unknown_status_has_a_name_and_a_text),
        CLEAN_TEST(the_version_is_that_of_the_header),
        CLEAN_TEST(the_systems_error_is_told_until_the_next_call_of_the_thread),
        CLEAN_TEST(a_second_kin_init_does_nothing),
        CLEAN_TEST(calls_before_kin_init_say_so),
        CLEAN_TEST(options_out_of_range_are_refused),
        CLEAN_TEST(arenas_of_all_sizes_serve_and_leave_nothing),
#if !defined _WIN32
        CLEAN_TEST(a_reserve_that_the_system_refuses_is_made_smaller),
        CLEAN_TEST(a_limit_on_files_is_no_signal),
#endif
        CLEAN_TEST(after_kin_shutdown_another_family_can_be_founded),
        CLEAN_TEST(kin_shutdown_ends_daemons_and_pools_and_joins_the_rest),
        CLEAN_TEST(children_see_the_command_line_of_their_parent),
        CLEAN_TEST(what_a_child_was_told_is_taken_out_of_its_environment),
        CLEAN_TEST(forged_births_are_refused),
        CLEAN_TEST(births_into_this_family_need_all_their_numbers),
        CLEAN_TEST(all_processes_have_one_clock_that_never_goes_back),
        CLEAN_TEST(sleep_is_never_short),
        CLEAN_TEST(there_is_a_core_to_use),
        CLEAN_TEST(usage_tells_of_members_threads_and_blocks),
        CLEAN_TEST(trim_keeps_what_is_in_use),
    };
    return cmocka_run_group_tests(tests, warm_up, NULL);
}
