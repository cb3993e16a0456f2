/* Streams as core/platform.h promises them: files, the null device, and pipes whose two ends are
   used in turn. */
#include "support_stream.h"

#include <string.h>

static char directory[64];

/* ---- files ---- */

static const char *path_of(const char *name)
{
    static char path[256];
    (void) snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static void write_text(const char *name, enum platform_open how, const char *text)
{
    intptr_t file;
    assert_int_equal(platform_stream_open(&file, path_of(name), how), 0);
    assert_true(system_write(file, text, strlen(text)));
    platform_stream_close(file);
}

static void assert_text(const char *name, const char *text)
{
    char buffer[256];
    intptr_t file;
    assert_int_equal(platform_stream_open(&file, path_of(name), PLATFORM_READ), 0);
    size_t length = read_to_end(file, buffer, sizeof buffer);
    platform_stream_close(file);
    assert_int_equal(length, strlen(text));
    assert_memory_equal(buffer, text, length);
}

static void a_file_is_created_and_emptied(void **state)
{
    (void) state;
    write_text("file", PLATFORM_WRITE, "the first that is written");
    assert_text("file", "the first that is written");
    write_text("file", PLATFORM_WRITE, "less");
    assert_text("file", "less");
    system_remove(path_of("file"));
}

static void what_is_appended_comes_at_the_end(void **state)
{
    (void) state;
    intptr_t first;
    intptr_t second;
    write_text("log", PLATFORM_APPEND, "new");
    write_text("log", PLATFORM_APPEND, ", more");
    assert_text("log", "new, more");
    assert_int_equal(platform_stream_open(&first, path_of("log"), PLATFORM_APPEND), 0);
    assert_int_equal(platform_stream_open(&second, path_of("log"), PLATFORM_APPEND), 0);
    assert_true(system_write(first, " 1", 2));
    assert_true(system_write(second, " 2", 2));
    assert_true(system_write(first, " 3", 2));
    platform_stream_close(first);
    platform_stream_close(second);
    assert_text("log", "new, more 1 2 3");
    system_remove(path_of("log"));
}

static void a_path_is_utf8_and_may_have_spaces(void **state)
{
    (void) state;
    const char *name = "two words \xc3\xa4\xc3\x9f \xe6\xbc\xa2\xe5\xad\x97 \xf0\x9f\x98\x80";
    write_text(name, PLATFORM_WRITE, "found");
    assert_true(system_exists(path_of(name)));
    assert_text(name, "found");
    system_remove(path_of(name));
    assert_false(system_exists(path_of(name)));
}

static void assert_not_opened(const char *path, enum platform_open how, int expected)
{
    intptr_t file = 0;
    assert_int_equal(platform_stream_open(&file, path, how), expected);
    assert_int_equal(file, PLATFORM_NONE);
}

static void what_cannot_be_opened_says_why(void **state)
{
    (void) state;
    assert_not_opened(path_of("missing"), PLATFORM_READ, KIN_E_NOT_FOUND);
    assert_not_opened("", PLATFORM_READ, KIN_E_NOT_FOUND);
    for (enum platform_open how = PLATFORM_READ; how <= PLATFORM_APPEND; how++) {
        assert_not_opened(path_of("no directory/file"), how, KIN_E_NOT_FOUND);
        assert_not_opened(directory, how, KIN_E_PERMISSION);
    }
    assert_false(system_exists(path_of("missing")));
}

static void the_null_device_is_empty_and_takes_everything(void **state)
{
    (void) state;
    for (enum platform_open how = PLATFORM_READ; how <= PLATFORM_APPEND; how++) {
        char byte;
        intptr_t null;
        assert_int_equal(platform_stream_null(&null, how), 0);
        assert_false(system_is_inherited(null));
        if (how == PLATFORM_READ) {
            assert_int_equal(system_read(null, &byte, 1), 0);
        } else {
            assert_true(system_write(null, stream_pattern, STREAM_MIB));
        }
        platform_stream_close(null);
    }
    platform_stream_close(PLATFORM_NONE);
}

static void nothing_is_inherited(void **state)
{
    (void) state;
    intptr_t file;
    assert_int_equal(platform_stream_open(&file, path_of("file"), PLATFORM_WRITE), 0);
    assert_false(system_is_inherited(file));
    platform_stream_close(file);
    system_remove(path_of("file"));
    for (enum platform_open how = PLATFORM_READ; how <= PLATFORM_WRITE; how++) {
        intptr_t own;
        intptr_t of_child;
        assert_int_equal(platform_stream_pipe(&own, &of_child, how), 0);
        assert_false(system_is_inherited(own));
        assert_false(system_is_inherited(of_child));
        platform_stream_close(own);
        platform_stream_close(of_child);
    }
}

/* ---- pipes, from one thread ---- */

static intptr_t own;
static intptr_t of_child;

static void open_pipe(enum platform_open how)
{
    assert_int_equal(platform_stream_pipe(&own, &of_child, how), 0);
    assert_true(own != PLATFORM_NONE && of_child != PLATFORM_NONE && own != of_child);
}

static void close_own(void)
{
    platform_stream_close(own);
    own = PLATFORM_NONE;
}

static void close_child(void)
{
    platform_stream_close(of_child);
    of_child = PLATFORM_NONE;
}

static void assert_read(int64_t timeout_ns, size_t size, const char *text)
{
    char buffer[64];
    size_t done = 77;
    assert_true(size <= sizeof buffer);
    assert_int_equal(platform_stream_read(own, buffer, size, &done, timeout_ns), 0);
    assert_int_equal(done, strlen(text));
    assert_memory_equal(buffer, text, done);
}

static void assert_no_read(int64_t timeout_ns, int expected)
{
    char buffer[64];
    size_t done = 77;
    assert_int_equal(platform_stream_read(own, buffer, sizeof buffer, &done, timeout_ns), expected);
    assert_int_equal(done, 0);
}

static void a_read_gives_what_there_is(void **state)
{
    (void) state;
    open_pipe(PLATFORM_READ);
    assert_true(system_write(of_child, "abcdef", 6));
    assert_read(-1, 2, "ab");
    assert_read(LONG_TIME, 0, "");
    assert_read(LONG_TIME, 64, "cdef");
    assert_true(system_write(of_child, "gh", 2));
    assert_true(system_write(of_child, "i", 1));
    assert_read(0, 1, "g"); /* not to wait is not to do without */
    assert_read(INT64_MAX, 1, "h");
    assert_read(0, 64, "i");
    assert_no_read(0, KIN_E_TIMEOUT);
    close_own();
    close_child();
}

static void the_end_comes_after_what_was_written(void **state)
{
    (void) state;
    open_pipe(PLATFORM_READ);
    assert_true(system_write(of_child, "last", 4));
    close_child();
    assert_read(0, 3, "las");
    assert_read(0, 3, "t");
    assert_no_read(0, KIN_E_CLOSED);
    assert_no_read(-1, KIN_E_CLOSED);
    close_own();
    open_pipe(PLATFORM_READ);
    close_child();
    assert_no_read(-1, KIN_E_CLOSED);
    close_own();
}

static void a_write_of_nothing_is_not_the_end(void **state)
{
    (void) state;
    open_pipe(PLATFORM_READ);
    assert_true(system_write(of_child, "", 0));
    assert_no_read(0, KIN_E_TIMEOUT);
    assert_true(system_write(of_child, "", 0));
    assert_true(system_write(of_child, "", 0));
    assert_true(system_write(of_child, "a", 1));
    assert_read(0, 64, "a");
    assert_true(system_write(of_child, "", 0));
    assert_no_read(MILLISECOND, KIN_E_TIMEOUT);
    assert_true(system_write(of_child, "", 0));
    close_child();
    assert_no_read(-1, KIN_E_CLOSED);
    close_own();
}

static void assert_write(size_t size, int64_t timeout_ns, int expected, size_t *done)
{
    *done = STREAM_MOST;
    assert_int_equal(platform_stream_write(own, stream_pattern, size, done, timeout_ns), expected);
    assert_true(*done <= size);
}

static void a_child_reads_what_was_written_to_its_end(void **state)
{
    (void) state;
    char buffer[64];
    size_t done;
    open_pipe(PLATFORM_WRITE);
    assert_write(10, 0, 0, &done);
    assert_int_equal(done, 10);
    assert_write(0, 0, 0, &done);
    assert_int_equal(done, 0);
    assert_write(20, -1, 0, &done);
    assert_int_equal(done, 20);
    close_own();
    assert_int_equal(read_to_end(of_child, buffer, sizeof buffer), 30);
    assert_memory_equal(buffer, stream_pattern, 10);
    assert_memory_equal(buffer + 10, stream_pattern, 20);
    close_child();
}

static void a_write_that_does_not_wait_fills_the_pipe(void **state)
{
    (void) state;
    size_t first;
    size_t more;
    open_pipe(PLATFORM_WRITE);
    assert_write(STREAM_MIB, 0, KIN_E_TIMEOUT, &first);
    assert_true(first >= 4096);
    assert_write(STREAM_MIB, 0, KIN_E_TIMEOUT, &more);
    assert_true(more < 16384); /* what is left of a piece */
    first += more;
    assert_write(STREAM_MIB, 2 * MILLISECOND, KIN_E_TIMEOUT, &more);
    assert_int_equal(more, 0);
    assert_int_equal(read_to_end(of_child, stream_taken, first), first);
    assert_write(4096, 0, 0, &more);
    assert_int_equal(more, 4096);
    close_own();
    assert_int_equal(read_to_end(of_child, stream_taken, STREAM_MIB), 4096);
    close_child();
}

static void a_write_that_nobody_can_read_is_refused(void **state)
{
    (void) state;
    size_t done;
    open_pipe(PLATFORM_WRITE);
    assert_write(10, 0, 0, &done);
    close_child();
    assert_write(10, -1, KIN_E_CLOSED, &done);
    assert_int_equal(done, 0);
    assert_write(STREAM_MIB, 0, KIN_E_CLOSED, &done);
    assert_int_equal(done, 0);
    close_own();
}

static void no_wait_is_cut_short(void **state)
{
    (void) state;
    const int64_t times[] = {1, MILLISECOND / 10, MILLISECOND, 7 * MILLISECOND + 1,
                             50 * MILLISECOND};
    size_t done;
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        open_pipe(PLATFORM_READ);
        int64_t begun = platform_clock_ns();
        assert_no_read(times[i], KIN_E_TIMEOUT);
        assert_true(platform_clock_ns() - begun >= times[i]);
        close_own();
        close_child();
        open_pipe(PLATFORM_WRITE);
        begun = platform_clock_ns();
        assert_write(STREAM_MIB, times[i], KIN_E_TIMEOUT, &done);
        assert_true(platform_clock_ns() - begun >= times[i]);
        close_own();
        close_child();
    }
}

/* ---- all of them ---- */

static int prepare(void **state)
{
    (void) state;
    uint64_t number;
    assert_int_equal(platform_random(&number, sizeof number), 0);
    (void) snprintf(directory, sizeof directory, "streams %llu", (unsigned long long) number);
    system_make_directory(directory);
    stream_prepare();
    return 0;
}

static int clear(void **state)
{
    (void) state;
    static const char *const names[] = {"file", "log"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        system_remove(path_of(names[i])); /* of a test that has failed */
    }
    system_remove(directory);
    stream_clear();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STREAM_TEST(a_file_is_created_and_emptied),
        STREAM_TEST(what_is_appended_comes_at_the_end),
        STREAM_TEST(a_path_is_utf8_and_may_have_spaces),
        STREAM_TEST(what_cannot_be_opened_says_why),
        STREAM_TEST(the_null_device_is_empty_and_takes_everything),
        STREAM_TEST(nothing_is_inherited),
        STREAM_TEST(a_read_gives_what_there_is),
        STREAM_TEST(the_end_comes_after_what_was_written),
        STREAM_TEST(a_write_of_nothing_is_not_the_end),
        STREAM_TEST(a_child_reads_what_was_written_to_its_end),
        STREAM_TEST(a_write_that_does_not_wait_fills_the_pipe),
        STREAM_TEST(a_write_that_nobody_can_read_is_refused),
        STREAM_TEST(no_wait_is_cut_short),
    };
    return cmocka_run_group_tests(tests, prepare, clear);
}
