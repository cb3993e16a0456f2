/* Byte streams: files, the null device, and pipes of which this process's end takes timeouts.

   Only the own end of a pipe is non-blocking: each end of a pipe has a state of its own, so the
   child's end stays an ordinary one. A read or write is tried first and waits in poll when the
   system says that it would block; it is tried once more when the time is over.

   A write that nobody can read raises SIGPIPE in the thread that writes. That thread keeps it
   blocked meanwhile and takes it back, so that the program sees nothing of it, whatever it does
   with SIGPIPE otherwise. */
#include "posix/wing.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifndef O_LARGEFILE
#define O_LARGEFILE 0
#endif

enum { NEW_FILE_MODE = 0666 }; /* less what the umask takes away */

/* ---- files ---- */

static int open_path(intptr_t *handle, const char *path, int flags)
{
    int fd;
    *handle = PLATFORM_NONE;
    do {
        fd = SYSTEM(open(path, flags | O_CLOEXEC | O_NOCTTY | O_LARGEFILE, NEW_FILE_MODE), -1,
                    EMFILE);
    } while (fd < 0 && errno == EINTR);
    if (fd >= 0) {
        fd = wing_above_standard(fd);
    }
    if (fd < 0) {
        return wing_error(errno);
    }
    *handle = fd;
    return 0;
}

/* A directory can be opened for reading, but nothing can be read from it. */
static int refuse_directory(intptr_t *handle)
{
    struct stat about;
    int status = 0;
    if (SYSTEM(fstat((int) *handle, &about), -1, EIO) != 0) {
        status = wing_error(errno);
    } else if (S_ISDIR(about.st_mode)) {
        status = wing_error(EISDIR);
    }
    if (status < 0) {
        platform_stream_close(*handle);
        *handle = PLATFORM_NONE;
    }
    return status;
}

int platform_stream_open(intptr_t *handle, const char *path, enum platform_open how)
{
    static const int flags[] = {
        [PLATFORM_READ] = O_RDONLY,
        [PLATFORM_WRITE] = O_WRONLY | O_CREAT | O_TRUNC,
        [PLATFORM_APPEND] = O_WRONLY | O_CREAT | O_APPEND,
    };
    int status = open_path(handle, path, flags[how]);
    return status == 0 && how == PLATFORM_READ ? refuse_directory(handle) : status;
}

int platform_stream_null(intptr_t *handle, enum platform_open how)
{
    return open_path(handle, "/dev/null", how == PLATFORM_READ ? O_RDONLY : O_WRONLY);
}

void platform_stream_close(intptr_t handle)
{
    if (handle != PLATFORM_NONE) {
        (void) close((int) handle);
    }
}

/* ---- pipes ---- */

int platform_stream_pipe(intptr_t *own, intptr_t *of_child, enum platform_open how)
{
    int ends[2];
    const int mine = how == PLATFORM_READ ? 0 : 1;
    *own = PLATFORM_NONE;
    *of_child = PLATFORM_NONE;
    if (wing_pipe(ends) != 0) {
        return wing_error(errno);
    }
    if (SYSTEM(fcntl(ends[mine], F_SETFL, O_NONBLOCK), -1, EIO) != 0) {
        int status = wing_error(errno);
        platform_stream_close(ends[0]);
        platform_stream_close(ends[1]);
        return status;
    }
    *own = ends[mine];
    *of_child = ends[1 - mine];
    return 0;
}

/* ---- reading and writing ---- */

static int64_t deadline(int64_t timeout_ns)
{
    int64_t now = platform_clock_ns();
    return timeout_ns < 0 || timeout_ns > INT64_MAX - now ? INT64_MAX : now + timeout_ns;
}

/* Sleeps until the stream may be ready, a signal has come, or the time is over. KIN_E_TIMEOUT if it
   was over before. */
static int await_ready(int fd, short events, int64_t until)
{
    const int64_t millisecond = 1000000;
    struct pollfd poller = {.fd = fd, .events = events};
    int64_t left = until - platform_clock_ns();
    if (left <= 0) {
        return KIN_E_TIMEOUT;
    }
    int64_t rounded = left / millisecond + (left % millisecond != 0);
    int wait_ms = rounded < INT_MAX ? (int) rounded : INT_MAX;
    if (SYSTEM(poll(&poller, 1, wait_ms), -1, ENOMEM) < 0 && errno != EINTR) {
        return wing_error(errno);
    }
    return 0;
}

static size_t at_most(size_t size)
{
    return size < SSIZE_MAX ? size : SSIZE_MAX;
}

static bool would_block(int error)
{
    return error == EAGAIN || error == EWOULDBLOCK;
}

int platform_stream_read(intptr_t own, void *buffer, size_t size, size_t *done, int64_t timeout_ns)
{
    const int fd = (int) own;
    const int64_t until = deadline(timeout_ns);
    *done = 0;
    while (size > 0) {
        ssize_t length = SYSTEM(read(fd, buffer, at_most(size)), -1, EIO);
        if (length > 0) {
            *done = (size_t) length;
            return 0;
        }
        if (length == 0) {
            return KIN_E_CLOSED;
        }
        int status = 0;
        if (would_block(errno)) {
            status = await_ready(fd, POLLIN, until);
        } else if (errno != EINTR) {
            status = wing_error(errno);
        }
        if (status < 0) {
            return status;
        }
    }
    return 0;
}

/* Writes a part. KIN_E_TIMEOUT if the time is over before all is written. */
static int write_some(int fd, const unsigned char *data, size_t size, size_t *done, int64_t until)
{
    ssize_t length = SYSTEM(write(fd, data + *done, at_most(size - *done)), -1, EIO);
    if (length >= 0) {
        *done += (size_t) length;
        /* A reader that keeps up would have the loop go on for as long as there is data. */
        return *done < size && platform_clock_ns() >= until ? KIN_E_TIMEOUT : 0;
    }
    if (would_block(errno)) {
        return await_ready(fd, POLLOUT, until);
    }
    if (errno == EINTR) {
        return 0;
    }
    return errno == EPIPE ? KIN_E_CLOSED : wing_error(errno);
}

/* Takes back the SIGPIPE that a write has raised in this thread, where it is blocked. */
static void take_pipe_signal(const sigset_t *pipe_signal)
{
#if WING_LINUX
    const struct timespec none = {0};
    while (sigtimedwait(pipe_signal, NULL, &none) < 0 && errno == EINTR) {
    }
#else
    sigset_t pending;
    int taken;
    if (sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE)) {
        (void) sigwait(pipe_signal, &taken);
    }
#endif
}

int platform_stream_write(intptr_t own, const void *data, size_t size, size_t *done,
                          int64_t timeout_ns)
{
    const int64_t until = deadline(timeout_ns);
    sigset_t pipe_signal;
    sigset_t mask;
    sigset_t pending;
    int status = 0;
    *done = 0;
    (void) sigemptyset(&pipe_signal);
    (void) sigaddset(&pipe_signal, SIGPIPE);
    (void) pthread_sigmask(SIG_BLOCK, &pipe_signal, &mask);
    /* One that is pending is not ours: the program has it blocked, and is to get it later. */
    (void) sigemptyset(&pending);
    (void) sigpending(&pending);
    while (*done < size && status == 0) {
        status = write_some((int) own, data, size, done, until);
    }
    if (status == KIN_E_CLOSED && !sigismember(&pending, SIGPIPE)) {
        take_pipe_signal(&pipe_signal);
    }
    (void) pthread_sigmask(SIG_SETMASK, &mask, NULL);
    return status;
}

intptr_t platform_stream_standard(int number)
{
    return fcntl(number, F_GETFD) >= 0 ? number : PLATFORM_NONE;
}
