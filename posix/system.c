/* The clock, usable processors, chance, and the environment. */
#include "posix/wing.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifdef __linux__
#include <stdio_ext.h>
#include <sys/auxv.h>
#include <sys/random.h>
#endif

enum { NS_IN_SECOND = 1000000000 };

int64_t platform_clock_ns(void)
{
    struct timespec now;
    (void) clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t) now.tv_sec * NS_IN_SECOND + now.tv_nsec;
}

int64_t platform_wall_clock_ns(void)
{
    struct timespec now;
    (void) clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t) now.tv_sec * NS_IN_SECOND + now.tv_nsec;
}

void platform_sleep_ns(int64_t duration_ns)
{
    int64_t until = platform_clock_ns() + (duration_ns > 0 ? duration_ns : 0);
    for (;;) {
        int64_t left = duration_ns < 0 ? INT64_C(3600) * NS_IN_SECOND : until - platform_clock_ns();
        if (left <= 0) {
            return;
        }
        struct timespec time = {.tv_sec = (time_t) (left / NS_IN_SECOND),
                                .tv_nsec = (long) (left % NS_IN_SECOND)};
        (void) nanosleep(&time, NULL);
    }
}

#ifdef __linux__

static int allowed_cores(void)
{
    for (int cores = 1024; cores <= 1 << 20; cores *= 4) {
        cpu_set_t *set = CPU_ALLOC((size_t) cores);
        if (set == NULL) {
            break;
        }
        size_t size = CPU_ALLOC_SIZE((size_t) cores);
        int count = 0;
        int result = SYSTEM(sched_getaffinity(0, size, set), -1, EPERM);
        int error = errno;
        if (result == 0) {
            count = CPU_COUNT_S(size, set);
        }
        CPU_FREE(set);
        if (count > 0) {
            return count;
        }
        if (result == 0 || error != EINVAL) {
            break;
        }
    }
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int) online : 1;
}

static bool read_text(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t length = read(fd, text, size - 1);
    (void) close(fd);
    text[length > 0 ? length : 0] = '\0';
    return length > 0;
}

/* The processors that `quota` of `period` microseconds amounts to, rounded up. */
static int cores_of(long long quota, long long period, int most)
{
    if (quota <= 0 || period <= 0) {
        return most;
    }
    long long cores = (quota + period - 1) / period;
    return cores < most ? (int) cores : most;
}

/* Least of the quotas from the group at `path` (of version 2) up to the root. */
static int quota_of_group(char *path, int most)
{
    for (;;) {
        char file[4200];
        char text[64];
        long long quota;
        long long period;
        (void) snprintf(file, sizeof file, "/sys/fs/cgroup%s/cpu.max", path);
        if (read_text(file, text, sizeof text) && sscanf(text, "%lld %lld", &quota, &period) == 2) {
            most = cores_of(quota, period, most);
        }
        char *slash = strrchr(path, '/');
        if (slash == NULL) {
            return most;
        }
        *slash = '\0';
    }
}

static int quota_of_old_group(const char *path, int most)
{
    static const char *const roots[] = {"/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"};
    for (size_t i = 0; i < 2 * sizeof roots / sizeof *roots; i++) {
        /* In a container its own group is often mounted as the root. */
        char file[4200];
        char quota[32];
        char period[32];
        const char *group = i % 2 == 0 ? path : "";
        (void) snprintf(file, sizeof file, "%s%s/cpu.cfs_quota_us", roots[i / 2], group);
        if (!read_text(file, quota, sizeof quota)) {
            continue;
        }
        (void) snprintf(file, sizeof file, "%s%s/cpu.cfs_period_us", roots[i / 2], group);
        if (read_text(file, period, sizeof period)) {
            most = cores_of(atoll(quota), atoll(period), most);
        }
    }
    return most;
}

static int quota(int most)
{
    char groups[4096];
    if (!read_text("/proc/self/cgroup", groups, sizeof groups)) {
        return most;
    }
    char *next;
    for (char *line = strtok_r(groups, "\n", &next); line != NULL;
         line = strtok_r(NULL, "\n", &next)) {
        char *names = strchr(line, ':');
        char *path = names != NULL ? strchr(names + 1, ':') : NULL;
        if (path == NULL) {
            continue;
        }
        *path++ = '\0';
        if (names[1] == '\0') {
            most = quota_of_group(path, most);
        } else if (strcmp(names + 1, "cpu") == 0 || strcmp(names + 1, "cpu,cpuacct") == 0 ||
                   strcmp(names + 1, "cpuacct,cpu") == 0) {
            most = quota_of_old_group(path, most);
        }
    }
    return most;
}

int platform_usable_cores(void)
{
    return quota(allowed_cores());
}

static bool is_privileged(void)
{
    return getauxval(AT_SECURE) != 0;
}

#else

int platform_usable_cores(void)
{
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int) online : 1;
}

static bool is_privileged(void)
{
    return getuid() != geteuid() || getgid() != getegid();
}

#endif

static int random_from_device(void *bytes, size_t size)
{
    int fd = SYSTEM(open("/dev/urandom", O_RDONLY | O_CLOEXEC), -1, EMFILE);
    if (fd < 0) {
        return wing_error(errno);
    }
    ssize_t length = read(fd, bytes, size);
    int error = errno;
    (void) close(fd);
    return length == (ssize_t) size ? 0 : wing_error(length < 0 ? error : EIO);
}

int platform_random(void *bytes, size_t size)
{
#if WING_LINUX
    if (SYSTEM(getrandom(bytes, size, 0), -1, ENOSYS) == (ssize_t) size) {
        return 0;
    }
#endif
    return random_from_device(bytes, size);
}

int platform_environment_read(const char *name, char *buffer, size_t size)
{
    const char *value = getenv(name);
    size_t length = value != NULL ? strlen(value) : 0;
    if (value == NULL || length >= size || is_privileged()) {
        return KIN_E_NOT_FOUND;
    }
    memcpy(buffer, value, length + 1);
    return 0;
}

int platform_environment_take(const char *name, char *buffer, size_t size)
{
    int status = platform_environment_read(name, buffer, size);
    if (getenv(name) != NULL && unsetenv(name) != 0) {
        return wing_error(errno);
    }
    return status;
}

/* If standard error is a pipe that nobody reads any more, the signal that says so must not end the
   program. */
void platform_write_error(const char *text, size_t size)
{
    sigset_t pipe_signal;
    sigset_t before;
    sigset_t pending;
    (void) sigemptyset(&pipe_signal);
    (void) sigaddset(&pipe_signal, SIGPIPE);
    (void) pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
    (void) sigpending(&pending);
    ssize_t written;
    do {
        written = SYSTEM(write(STDERR_FILENO, text, size), -1, EIO);
    } while (written < 0 && errno == EINTR);
    if (written < 0 && errno == EPIPE && sigismember(&pending, SIGPIPE) == 0) {
        int taken;
        (void) sigwait(&pipe_signal, &taken);
    }
    (void) pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* One that has nothing to write is not touched: the end of a copy that fork has made is faster if
   it writes to less memory. */
static void flush(FILE *stream)
{
#ifdef __linux__
    if (__fpending(stream) == 0) {
        return;
    }
#endif
    (void) fflush(stream);
}

void platform_flush_output(void)
{
    flush(stdout);
    flush(stderr);
}
