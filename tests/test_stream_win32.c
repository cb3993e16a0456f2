/* What only Windows can do to a stream: paths that are no UTF-8, files that somebody keeps for
   himself, kinds of handles. */
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include "support_stream.h"

#include <string.h>

static void a_path_that_is_no_utf8_is_refused(void **state)
{
    (void) state;
    intptr_t file = 0;
    assert_int_equal(platform_stream_open(&file, "a\xff", PLATFORM_WRITE), KIN_E_INVALID);
    assert_int_equal(file, PLATFORM_NONE);
}

static void a_file_that_somebody_keeps_for_himself_is_not_opened(void **state)
{
    (void) state;
    char path[64];
    intptr_t file = 0;
    (void) snprintf(path, sizeof path, "stream %lu", (unsigned long) GetCurrentProcessId());
    HANDLE kept = CreateFileA(path, GENERIC_READ | GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, 0, NULL);
    assert_true(kept != INVALID_HANDLE_VALUE);
    for (enum platform_open how = PLATFORM_READ; how <= PLATFORM_APPEND; how++) {
        assert_int_equal(platform_stream_open(&file, path, how), KIN_E_PERMISSION);
        assert_int_equal(file, PLATFORM_NONE);
    }
    CloseHandle(kept);
    /* What is opened here is kept from nobody: it can be opened again, renamed and deleted. */
    intptr_t other = 0;
    assert_int_equal(platform_stream_open(&file, path, PLATFORM_WRITE), 0);
    assert_int_equal(platform_stream_open(&other, path, PLATFORM_APPEND), 0);
    assert_true(DeleteFileA(path));
    platform_stream_close(file);
    platform_stream_close(other);
    assert_false(system_exists(path));
}

static void a_child_knows_what_its_streams_are(void **state)
{
    (void) state;
    intptr_t own;
    intptr_t of_child;
    intptr_t null;
    for (enum platform_open how = PLATFORM_READ; how <= PLATFORM_WRITE; how++) {
        assert_int_equal(platform_stream_pipe(&own, &of_child, how), 0);
        assert_int_equal(GetFileType((HANDLE) of_child), FILE_TYPE_PIPE);
        platform_stream_close(own);
        platform_stream_close(of_child);
        assert_int_equal(platform_stream_null(&null, how), 0);
        assert_int_equal(GetFileType((HANDLE) null), FILE_TYPE_CHAR);
        platform_stream_close(null);
    }
}

/* As programs see their standard input: they look how much there is before they read. */
static void a_child_can_look_into_its_end(void **state)
{
    (void) state;
    intptr_t own;
    intptr_t of_child;
    size_t done;
    DWORD there = 0;
    DWORD mode = PIPE_READMODE_BYTE | PIPE_WAIT;
    char bytes[8];
    assert_int_equal(platform_stream_pipe(&own, &of_child, PLATFORM_WRITE), 0);
    assert_int_equal(platform_stream_write(own, "abc", 3, &done, 0), 0);
    assert_true(PeekNamedPipe((HANDLE) of_child, NULL, 0, NULL, &there, NULL));
    assert_int_equal(there, 3);
    assert_true(SetNamedPipeHandleState((HANDLE) of_child, &mode, NULL, NULL));
    assert_int_equal(system_read(of_child, bytes, sizeof bytes), 3);
    platform_stream_close(own);
    platform_stream_close(of_child);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STREAM_TEST(a_path_that_is_no_utf8_is_refused),
        STREAM_TEST(a_file_that_somebody_keeps_for_himself_is_not_opened),
        STREAM_TEST(a_child_knows_what_its_streams_are),
        STREAM_TEST(a_child_can_look_into_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
