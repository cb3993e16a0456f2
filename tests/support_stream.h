/* What tests of streams need of a system: a child's end of one is used with the system's own plain
   calls, as a child uses it. */
#ifndef KIN_TESTS_SUPPORT_STREAM_H
#define KIN_TESTS_SUPPORT_STREAM_H

#include "support.h"

#define MILLISECOND INT64_C(1000000)
#define LONG_TIME (LONG_MS * MILLISECOND)

enum { STREAM_MIB = 1 << 20, STREAM_MOST = 16 * STREAM_MIB };

/* STREAM_MOST bytes in which a shift or a gap shows, and room for one more than that. */
extern unsigned char *stream_pattern;
extern unsigned char *stream_taken;
void stream_prepare(void);
void stream_clear(void);

/* ---- of each system: support_stream_posix.c, support_stream_win32.c ---- */

/* Waits for up to `size` bytes. How many there are, 0 at the end, or -1. */
ptrdiff_t system_read(intptr_t handle, void *buffer, size_t size);

/* Writes all, also nothing. False if that fails. */
bool system_write(intptr_t handle, const void *data, size_t size);

/* True if children that somebody else starts have it too. */
bool system_is_inherited(intptr_t handle);

/* Files and directories, with paths in UTF-8. */
void system_make_directory(const char *path);
bool system_exists(const char *path);
void system_remove(const char *path);

/* ---- support_stream.c ---- */

/* Reads until the end or until the buffer is full; how much that was. */
size_t read_to_end(intptr_t handle, void *buffer, size_t size);

/* Fails a test that leaves more handles than there were. */
int count_handles(void **state);
int compare_handles(void **state);
#define STREAM_TEST(test) cmocka_unit_test_setup_teardown(test, count_handles, compare_handles)

#endif
