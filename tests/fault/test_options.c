/* Injected failures of a start with all options, with each method: each call to the system fails
   once, also in the copies that fork makes. The start tells it, or the join; nothing is left. */
#include "injection.h"

#include <string.h>

static int echo_input(void *argument, size_t size)
{
    char text[16];
    (void) argument, (void) size;
    size_t length = read_to_end(platform_stream_standard(KIN_STDIN), text, sizeof text);
    CHECK(system_write(platform_stream_standard(KIN_STDOUT), text, length));
    CHECK(system_write(platform_stream_standard(KIN_STDERR), text, length));
    return 42;
}

/* What fails is tried once more. */
static int talk_to(kin_process process)
{
    char text[16];
    size_t length = 0;
    size_t done = 0;
    int status = kin_process_write(process, "abc", 3, &done, LONG_MS);
    size_t written = done;
    if (status < 0 && kin_process_write(process, &"abc"[done], 3 - done, &done, LONG_MS) == 0) {
        written += done;
    }
    int closed = kin_process_close_stream(process, KIN_STDIN);
    int read = 0;
    for (int failures = 0; read != KIN_E_CLOSED && failures < 2; failures += read < 0 ? 1 : 0) {
        read = kin_process_read(process, KIN_STDOUT, text + length, sizeof text - length, &done,
                                LONG_MS);
        length += done;
        status = read < 0 && read != KIN_E_CLOSED ? read : status;
    }
    return closed != 0 || written != 3 || length != 3 || memcmp(text, "abc", 3) != 0 ? 1 : status;
}

static bool has_cores;

static int start_with_all(int method)
{
    static const char path[] = "options of faults";
    static const char *const environment[] = {"KIN_TEST_NEW=1", "KIN_TEST_NONE", NULL};
    const bool passes = method != KIN_START_FORKSERVER;
    const int core = 0;
    kin_process process;
    intptr_t handle;
    int status = platform_stream_null(&handle, PLATFORM_READ);
    if (status < 0) {
        return status;
    }
    const kin_stream stream = {.kind = passes ? KIN_STREAM_PIPE : KIN_STREAM_NULL};
    const kin_process_options options = {.method = method,
                                         .directory = ".",
                                         .environment = environment,
                                         .new_process_group = true,
                                         .new_session = true,
                                         .priority = KIN_PRIORITY_LOW,
                                         .cores = &core,
                                         .core_count = has_cores ? 1 : 0,
                                         .inherit = &handle,
                                         .inherit_count = passes ? 1 : 0,
                                         .input = stream,
                                         .output = stream,
                                         .error = {.kind = KIN_STREAM_FILE, .path = path}};
    status = kin_process_start(&process, echo_input, NULL, 0, &options);
    if (status == 0) {
        int talked = passes ? talk_to(process) : 0;
        int joined = join_and_close(process, 42);
        status = joined != 0 ? joined : talked;
    }
    platform_stream_close(handle);
    system_remove(path);
    return status;
}

static int spawn_with_all(void)
{
    return start_with_all(KIN_START_SPAWN);
}

static int fork_with_all(void)
{
    return start_with_all(KIN_START_FORK);
}

static int ask_with_all(void)
{
    return start_with_all(KIN_START_FORKSERVER);
}

/* A program that is looked for, with arguments; it never joins. */
static int start_program(void)
{
#if defined _WIN32
    static const char *const arguments[] = {"cmd", "/c", "exit 42", NULL};
    const kin_process_options options = {.program = "cmd", .arguments = arguments};
#else
    static const char *const arguments[] = {"sh", "-c", "exit 42", NULL};
    const kin_process_options options = {.program = "sh", .arguments = arguments};
#endif
    kin_process process;
    int status = kin_process_start(&process, NULL, NULL, 0, &options);
    return status == 0 ? join_and_close(process, 42) : status;
}

FAULT_TEST(a_start_with_all_options_that_fails_leaves_nothing, spawn_with_all)
FAULT_TEST(a_start_of_a_program_that_fails_leaves_nothing, start_program)

static void a_fork_with_all_options_that_fails_leaves_nothing(void **state)
{
    (void) state;
    if (kin_has_start_method(KIN_START_FORK) == 0) {
        skip();
    }
    fail_each(fork_with_all);
}

static void a_start_by_the_forkserver_with_options_that_fails_leaves_nothing(void **state)
{
    (void) state;
    if (kin_has_start_method(KIN_START_FORKSERVER) == 0) {
        skip();
    }
    fail_each(ask_with_all);
}

static int prepare(void **state)
{
    int status = warm_up(state);
    fault_share();
    has_cores = can_choose_cores();
    return status;
}

static int clear(void **state)
{
    (void) state;
    fault_unshare();
    return 0;
}

int main(int argc, char **argv)
{
    if (kin_init(&argc, &argv) < 0) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_start_with_all_options_that_fails_leaves_nothing),
        cmocka_unit_test(a_start_of_a_program_that_fails_leaves_nothing),
        cmocka_unit_test(a_fork_with_all_options_that_fails_leaves_nothing),
        cmocka_unit_test(a_start_by_the_forkserver_with_options_that_fails_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, prepare, clear);
}
