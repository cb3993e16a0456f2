/* Byte streams: files, the null device, and pipes of which this process's end takes timeouts.

   Pipes of CreatePipe know no overlapped operations, so a pipe is a named one of a single instance,
   whose name is a secret number and of no use once the child's end is open. Only the own end is
   overlapped: the child's is an ordinary handle of a file object of its own.

   An operation that is not over in time is cancelled and then waited for; if it was quicker, what
   it has moved counts. A cancelled write does not tell what part of it was read. So writes are made
   in pieces smaller than the pipe's buffer: one is pending only while it has no room, the reader
   cannot get at it before it has read all that is in the buffer, and then there is room, and it is
   not pending any more. A piece is taken whole or not at all. */
#include "win32/wing.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    BUFFER_SIZE = 64 << 10, /* of a pipe, as on Linux */
    PIECE_SIZE = BUFFER_SIZE / 4,
    PIPE_NAME_SIZE = 64
};

/* ---- files ---- */

static int open_wide(intptr_t *handle, const wchar_t *path, DWORD access, DWORD disposition)
{
    const DWORD share = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
    HANDLE file =
        SYSTEM(CreateFileW(path, access, share, NULL, disposition, FILE_ATTRIBUTE_NORMAL, NULL),
               INVALID_HANDLE_VALUE, ERROR_TOO_MANY_OPEN_FILES);
    if (file == INVALID_HANDLE_VALUE) {
        *handle = PLATFORM_NONE;
        return wing_last_error();
    }
    *handle = (intptr_t) file;
    return 0;
}

int platform_stream_open(intptr_t *handle, const char *path, enum platform_open how)
{
    /* Who may append but not write has each of his writes put at the end by the system. */
    static const struct {
        DWORD access;
        DWORD disposition;
    } ways[] = {
        [PLATFORM_READ] = {GENERIC_READ, OPEN_EXISTING},
        [PLATFORM_WRITE] = {GENERIC_WRITE | FILE_READ_ATTRIBUTES, CREATE_ALWAYS},
        [PLATFORM_APPEND] = {(FILE_GENERIC_WRITE & ~(DWORD) FILE_WRITE_DATA) | FILE_READ_ATTRIBUTES,
                             OPEN_ALWAYS},
    };
    wchar_t *wide;
    *handle = PLATFORM_NONE;
    int status = wing_wide(path, &wide);
    if (status != 0) {
        return status;
    }
    status = open_wide(handle, wide, ways[how].access, ways[how].disposition);
    free(wide);
    return status;
}

int platform_stream_null(intptr_t *handle, enum platform_open how)
{
    return open_wide(handle, L"NUL",
                     how == PLATFORM_READ ? GENERIC_READ : GENERIC_WRITE | FILE_READ_ATTRIBUTES,
                     OPEN_EXISTING);
}

void platform_stream_close(intptr_t handle)
{
    if (handle != PLATFORM_NONE) {
        CloseHandle((HANDLE) handle);
    }
}

/* ---- pipes ---- */

static int name_pipe(wchar_t *name)
{
    uint32_t secret[4];
    int status = platform_random(secret, sizeof secret);
    if (status == 0) {
        swprintf(name, PIPE_NAME_SIZE, L"\\\\.\\pipe\\kin-%08lx%08lx%08lx%08lx",
                 (unsigned long) secret[0], (unsigned long) secret[1], (unsigned long) secret[2],
                 (unsigned long) secret[3]);
    }
    return status;
}

int platform_stream_pipe(intptr_t *own, intptr_t *of_child, enum platform_open how)
{
    /* The pipe is there, and its first and only instance is this one, or it is not made. Should
       somebody see its name and be quicker than the child's end, that end cannot be opened. */
    const DWORD direction = how == PLATFORM_READ ? PIPE_ACCESS_INBOUND : PIPE_ACCESS_OUTBOUND;
    const DWORD mode = PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS;
    /* What CreatePipe gives its ends: a reader may change the mode, a writer look at the state. */
    const DWORD access = how == PLATFORM_READ ? GENERIC_WRITE | FILE_READ_ATTRIBUTES
                                              : GENERIC_READ | FILE_WRITE_ATTRIBUTES;
    wchar_t name[PIPE_NAME_SIZE];
    *own = PLATFORM_NONE;
    *of_child = PLATFORM_NONE;
    int status = name_pipe(name);
    if (status != 0) {
        return status;
    }
    HANDLE pipe = SYSTEM(
        CreateNamedPipeW(name, direction | FILE_FLAG_OVERLAPPED | FILE_FLAG_FIRST_PIPE_INSTANCE,
                         mode, 1, BUFFER_SIZE, BUFFER_SIZE, 0, NULL),
        INVALID_HANDLE_VALUE, ERROR_NO_SYSTEM_RESOURCES);
    if (pipe == INVALID_HANDLE_VALUE) {
        return wing_last_error();
    }
    HANDLE end = SYSTEM(CreateFileW(name, access, 0, NULL, OPEN_EXISTING, 0, NULL),
                        INVALID_HANDLE_VALUE, ERROR_NO_SYSTEM_RESOURCES);
    if (end == INVALID_HANDLE_VALUE) {
        status = wing_last_error();
        CloseHandle(pipe);
        return status;
    }
    *own = (intptr_t) pipe;
    *of_child = (intptr_t) end;
    return 0;
}

/* ---- reading and writing ---- */

static int64_t deadline(int64_t timeout_ns)
{
    int64_t now = platform_clock_ns();
    return timeout_ns < 0 || timeout_ns > INT64_MAX - now ? INT64_MAX : now + timeout_ns;
}

static int64_t time_left(int64_t until)
{
    int64_t left = until - platform_clock_ns();
    return left > 0 ? left : 0;
}

static int pipe_error(DWORD error)
{
    bool closed =
        error == ERROR_BROKEN_PIPE || error == ERROR_PIPE_NOT_CONNECTED || error == ERROR_NO_DATA;
    return closed ? KIN_E_CLOSED : wing_error(error);
}

/* Waits for the end of a read or write that has been started, or ends it when the time is over. 0
   and *moved, what it has moved in any case; or why it has moved nothing. */
static int finish(HANDLE pipe, OVERLAPPED *operation, bool pending, DWORD *moved, int64_t until)
{
    int status = pending ? wing_wait(operation->hEvent, time_left(until)) : 0;
    if (status != 0) {
        CancelIoEx(pipe, operation); /* fails only if it is over by now */
    }
    /* Whatever fails, the system must have done with what lies on the stack. */
    if (GetOverlappedResult(pipe, operation, moved, TRUE)) {
        return 0;
    }
    DWORD error = GetLastError();
    *moved = 0;
    return status != 0 && error == ERROR_OPERATION_ABORTED ? status : pipe_error(error);
}

static int make_event(HANDLE *event)
{
    *event = SYSTEM(CreateEventW(NULL, TRUE, FALSE, NULL), NULL, ERROR_NO_SYSTEM_RESOURCES);
    return *event == NULL ? wing_last_error() : 0;
}

static bool is_begun(BOOL succeeded, bool *pending)
{
    *pending = !succeeded && GetLastError() == ERROR_IO_PENDING;
    return succeeded || *pending;
}

static int read_once(HANDLE pipe, HANDLE event, void *buffer, size_t size, size_t *done,
                     int64_t until)
{
    OVERLAPPED operation = {.hEvent = event};
    DWORD moved = 0;
    bool pending;
    /* The system may copy into memory of its own first, so no more is asked for than there can
       be. */
    const DWORD most = size < BUFFER_SIZE ? (DWORD) size : BUFFER_SIZE;
    if (!is_begun(SYSTEM(ReadFile(pipe, buffer, most, NULL, &operation), FALSE,
                         ERROR_NO_SYSTEM_RESOURCES),
                  &pending)) {
        return pipe_error(GetLastError());
    }
    int status = finish(pipe, &operation, pending, &moved, until);
    *done = moved;
    return status;
}

static bool has_bytes(HANDLE pipe)
{
    DWORD available = 0;
    return PeekNamedPipe(pipe, NULL, 0, NULL, &available, NULL) && available > 0;
}

int platform_stream_read(intptr_t own, void *buffer, size_t size, size_t *done, int64_t timeout_ns)
{
    HANDLE pipe = (HANDLE) own;
    const int64_t until = deadline(timeout_ns);
    HANDLE event;
    *done = 0;
    int status = size > 0 ? make_event(&event) : 0;
    if (size == 0 || status != 0) {
        return status;
    }
    /* A write of no bytes at the other end ends a read, with nothing, and is not the end. */
    do {
        status = read_once(pipe, event, buffer, size, done, until);
        if (status == 0 && *done == 0 && time_left(until) == 0) {
            status = KIN_E_TIMEOUT;
        }
    } while ((status == 0 && *done == 0) || (status == KIN_E_TIMEOUT && has_bytes(pipe)));
    CloseHandle(event);
    return status;
}

static int write_piece(HANDLE pipe, HANDLE event, const unsigned char *data, size_t size,
                       size_t *done, int64_t until)
{
    OVERLAPPED operation = {.hEvent = event};
    DWORD moved = 0;
    bool pending;
    const DWORD piece = size < PIECE_SIZE ? (DWORD) size : PIECE_SIZE;
    if (!is_begun(SYSTEM(WriteFile(pipe, data, piece, NULL, &operation), FALSE,
                         ERROR_NO_SYSTEM_RESOURCES),
                  &pending)) {
        return pipe_error(GetLastError());
    }
    int status = finish(pipe, &operation, pending, &moved, until);
    *done += moved;
    return status;
}

int platform_stream_write(intptr_t own, const void *data, size_t size, size_t *done,
                          int64_t timeout_ns)
{
    const int64_t until = deadline(timeout_ns);
    size_t late = 0; /* written when the time was over */
    HANDLE event;
    *done = 0;
    int status = size > 0 ? make_event(&event) : 0;
    if (size == 0 || status != 0) {
        return status;
    }
    while (status == 0 && *done < size) {
        status = write_piece((HANDLE) own, event, (const unsigned char *) data + *done,
                             size - *done, done, until);
        /* What there is room for is written, but a reader that keeps up does not have this go on
           for as long as there is data. */
        late += time_left(until) == 0 ? PIECE_SIZE : 0;
        if (status == 0 && *done < size && late >= BUFFER_SIZE) {
            status = KIN_E_TIMEOUT;
        }
    }
    CloseHandle(event);
    return status;
}

intptr_t platform_stream_standard(int number)
{
    static const DWORD names[] = {STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, STD_ERROR_HANDLE};
    DWORD flags;
    HANDLE handle = GetStdHandle(names[number]);
    bool there =
        handle != NULL && handle != INVALID_HANDLE_VALUE && GetHandleInformation(handle, &flags);
    return there ? (intptr_t) handle : PLATFORM_NONE;
}
