/* What a process may do with the streams of its children that are pipes. */
#include "core/error.h"
#include "core/process_object.h"

static int64_t left_of(int64_t deadline)
{
    if (deadline == INT64_MAX) {
        return -1;
    }
    int64_t left = deadline - platform_clock_ns();
    return left > 0 ? left : 0;
}

/* To be dropped. */
static int find_child(kin_process process, child **c)
{
    error_clear();
    if (object_kind_of(process.id) != KIND_PROCESS || !object_is_there(process.id)) {
        return KIN_E_HANDLE;
    }
    *c = child_find(process.id);
    return *c != NULL ? 0 : KIN_E_STATE;
}

/* The stream of a child, to be used until leave_stream. */
static int enter_stream(kin_process process, int number, child **c, intptr_t *stream)
{
    int status = find_child(process, c);
    if (status < 0) {
        return status;
    }
    status = child_use_stream(*c, number, stream);
    if (status < 0) {
        child_drop(*c);
    }
    return status;
}

static void leave_stream(child *c, int number)
{
    child_leave_stream(c, number);
    child_drop(c);
}

int kin_process_read(kin_process process, int stream, void *buffer, size_t size, size_t *done,
                     int timeout_ms)
{
    child *c;
    intptr_t own;
    if ((stream != KIN_STDOUT && stream != KIN_STDERR) || buffer == NULL || size == 0 ||
        done == NULL || timeout_ms < KIN_FOREVER) {
        error_clear();
        return KIN_E_INVALID;
    }
    *done = 0;
    int64_t deadline = wait_deadline(timeout_ms);
    int status = enter_stream(process, stream, &c, &own);
    if (status == 0) {
        status = platform_stream_read(own, buffer, size, done, left_of(deadline));
        leave_stream(c, stream);
    }
    return status;
}

int kin_process_write(kin_process process, const void *data, size_t size, size_t *done,
                      int timeout_ms)
{
    child *c;
    intptr_t own;
    size_t written = 0;
    if ((data == NULL && size > 0) || timeout_ms < KIN_FOREVER) {
        error_clear();
        return KIN_E_INVALID;
    }
    int64_t deadline = wait_deadline(timeout_ms);
    int status = enter_stream(process, KIN_STDIN, &c, &own);
    if (status == 0) {
        status = platform_stream_write(own, data, size, &written, left_of(deadline));
        leave_stream(c, KIN_STDIN);
    }
    if (done != NULL) {
        *done = written;
    }
    return status;
}

int kin_process_close_stream(kin_process process, int stream)
{
    child *c;
    if (stream < KIN_STDIN || stream > KIN_STDERR) {
        error_clear();
        return KIN_E_INVALID;
    }
    int status = find_child(process, &c);
    if (status == 0) {
        status = child_close_stream(c, stream);
        child_drop(c);
    }
    return status;
}
