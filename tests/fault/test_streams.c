/* Injected failures of streams: each call to the system that the seam makes for them fails once.
   After that the function has said so, nothing has been left open, and the same works again. No
   byte is counted that has not gone through. */
#include "injection.h"

enum { MOST_CALLS = 100 };

/* Lets each call of an operation fail once; the operation gives a status and leaves nothing open.
 */
static void fail_each_call(int (*operation)(void))
{
    assert_int_equal(operation(), 0);
    const int handles = system_handles();
    for (int number = 1; number < MOST_CALLS; number++) {
        fault_arm(number);
        int status = operation();
        if (!fault_disarm()) {
            assert_int_equal(status, 0);
            assert_true(number > 1); /* or nothing has been shown */
            return;
        }
        if (status > 0 || status == KIN_E_TIMEOUT || status == KIN_E_CLOSED ||
            system_handles() != handles) {
            fail_msg("call %d, %s: %d, %d handles of %d", number, fault_call(), status,
                     system_handles(), handles);
        }
        assert_int_equal(operation(), 0);
    }
    fail();
}

static intptr_t own;
static intptr_t of_child;

static int close_with(int status)
{
    platform_stream_close(own);
    platform_stream_close(of_child);
    return status;
}

/* As an operation: what is expected is success; a failure is told as it is. */
static int expect(int status, int expected)
{
    return status == expected ? 0 : status != 0 ? status : 1;
}

static int open_file(void)
{
    static const enum platform_open ways[] = {PLATFORM_APPEND, PLATFORM_WRITE, PLATFORM_READ};
    char path[64];
    uint32_t number = 0;
    intptr_t file;
    int status = platform_random(&number, sizeof number);
    (void) snprintf(path, sizeof path, "stream %lu", (unsigned long) number);
    for (size_t i = 0; i < sizeof ways / sizeof *ways && status == 0; i++) {
        status = platform_stream_open(&file, path, ways[i]);
        platform_stream_close(file);
    }
    system_remove(path);
    return status;
}

static int open_null(void)
{
    intptr_t null;
    int status = platform_stream_null(&null, PLATFORM_WRITE);
    platform_stream_close(null);
    return status;
}

static int make_pipes(void)
{
    int status = platform_stream_pipe(&own, &of_child, PLATFORM_READ);
    (void) close_with(0);
    status = status == 0 ? platform_stream_pipe(&own, &of_child, PLATFORM_WRITE) : status;
    return close_with(status);
}

static int read_pipe(void)
{
    char bytes[8];
    size_t done;
    int status = platform_stream_pipe(&own, &of_child, PLATFORM_READ);
    if (status < 0) {
        return status;
    }
    int waited =
        expect(platform_stream_read(own, bytes, sizeof bytes, &done, MILLISECOND), KIN_E_TIMEOUT);
    status = done == 0 ? 0 : 1;
    status = status == 0 && !system_write(of_child, "abc", 3) ? 1 : status;
    int got = platform_stream_read(own, bytes, sizeof bytes, &done, MILLISECOND);
    status = status == 0 && done != (got == 0 ? 3 : 0) ? 1 : status;
    if (got != 0) { /* what was not read is still there */
        (void) platform_stream_read(own, bytes, sizeof bytes, &done, MILLISECOND);
        status = status == 0 && done != 3 ? 1 : status;
    }
    return close_with(status != 0 ? status : waited != 0 ? waited : got);
}

static int write_pipe(void)
{
    size_t done;
    int status = platform_stream_pipe(&own, &of_child, PLATFORM_WRITE);
    if (status < 0) {
        return status;
    }
    int written = expect(platform_stream_write(own, stream_pattern, STREAM_MIB, &done, MILLISECOND),
                         KIN_E_TIMEOUT);
    platform_stream_close(own);
    own = PLATFORM_NONE;
    status = read_to_end(of_child, stream_taken, STREAM_MIB) == done ? written : 1;
    return close_with(status);
}

#define STREAM_FAULT_TEST(name, operation) \
    static void name(void **state)         \
    {                                      \
        (void) state;                      \
        fail_each_call(operation);         \
    }

STREAM_FAULT_TEST(a_file_that_cannot_be_opened_leaves_nothing, open_file)
STREAM_FAULT_TEST(a_null_device_that_cannot_be_opened_leaves_nothing, open_null)
STREAM_FAULT_TEST(a_pipe_that_cannot_be_made_leaves_nothing, make_pipes)
STREAM_FAULT_TEST(a_read_that_fails_loses_nothing, read_pipe)
STREAM_FAULT_TEST(a_write_that_fails_tells_what_was_written, write_pipe)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_that_cannot_be_opened_leaves_nothing),
        cmocka_unit_test(a_null_device_that_cannot_be_opened_leaves_nothing),
        cmocka_unit_test(a_pipe_that_cannot_be_made_leaves_nothing),
        cmocka_unit_test(a_read_that_fails_loses_nothing),
        cmocka_unit_test(a_write_that_fails_tells_what_was_written),
    };
    stream_prepare();
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    stream_clear();
    return failures;
}
