#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "support.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#if WITH_THREAD_SANITIZER
/* Without this each process that has other threads sleeps for a second at its end. */
const char *__tsan_default_options(void);

const char *__tsan_default_options(void)
{
    return "atexit_sleep_ms=0";
}
#endif

int system_handles(void)
{
    int count = 0;
    long most = sysconf(_SC_OPEN_MAX);
    for (int fd = 0; fd < most && fd < 4096; fd++) {
        count += fcntl(fd, F_GETFD) >= 0;
    }
    return count;
}

int system_handle_slack(void)
{
    return 0;
}

bool system_has_children(void)
{
    siginfo_t information;
    return waitid(P_ALL, 0, &information, WEXITED | WNOHANG | WNOWAIT) == 0 || errno != ECHILD;
}

void system_set_variable(const char *name, const char *value)
{
    assert_int_equal(value != NULL ? setenv(name, value, 1) : unsetenv(name), 0);
}

void system_redirect_errors(const char *path)
{
    static int before = -1;
    if (path == NULL) {
        assert_true(dup2(before, STDERR_FILENO) == STDERR_FILENO && close(before) == 0);
        return;
    }
    before = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
    assert_true(fd >= 0 && dup2(fd, STDERR_FILENO) == STDERR_FILENO && close(fd) == 0);
}

void system_kill_self(void)
{
    (void) kill(getpid(), SIGKILL);
}

typedef struct runner {
    void (*function)(void *argument, unsigned number);
    void *argument;
    unsigned number;
    pthread_t thread;
} runner;

static void *run(void *argument)
{
    runner *mine = argument;
    mine->function(mine->argument, mine->number);
    return NULL;
}

void system_run_threads(unsigned count, void (*function)(void *argument, unsigned number),
                        void *argument)
{
    runner *runners = calloc(count, sizeof *runners);
    assert_non_null(runners);
    for (unsigned i = 0; i < count; i++) {
        runners[i].function = function;
        runners[i].argument = argument;
        runners[i].number = i;
        assert_int_equal(pthread_create(&runners[i].thread, NULL, run, &runners[i]), 0);
    }
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(pthread_join(runners[i].thread, NULL), 0);
    }
    free(runners);
}

int system_threads(void)
{
    int count = 0;
    DIR *threads = opendir("/proc/self/task");
    while (threads != NULL && readdir(threads) != NULL) {
        count++;
    }
    if (threads != NULL) {
        (void) closedir(threads);
    }
    return count;
}

void system_kill(int pid)
{
    assert_true(pid > 0);
    assert_int_equal(kill(pid, SIGKILL), 0);
}

void system_close_sentinel(intptr_t sentinel)
{
    assert_int_equal(close((int) sentinel), 0);
}

int64_t system_processor_ns(void)
{
    struct timespec used;
    assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used), 0);
    return used.tv_sec * INT64_C(1000000000) + used.tv_nsec;
}

#if defined __linux__

static cpu_set_t all_cores;

bool system_keep_one_core(void)
{
    cpu_set_t one;
    unsigned core = 0;
    assert_int_equal(sched_getaffinity(0, sizeof all_cores, &all_cores), 0);
    while (!CPU_ISSET(core, &all_cores)) {
        core++;
    }
    CPU_ZERO(&one);
    CPU_SET(core, &one);
    return sched_setaffinity(0, sizeof one, &one) == 0;
}

void system_keep_all_cores(void)
{
    assert_int_equal(sched_setaffinity(0, sizeof all_cores, &all_cores), 0);
}

#else

bool system_keep_one_core(void)
{
    return false;
}

void system_keep_all_cores(void)
{
}

#endif

kin_process_function system_library_function(void)
{
    kin_process_function function = NULL;
    void *found = dlsym(RTLD_DEFAULT, "mblen");
    if (found == NULL) { /* a static program */
        return (kin_process_function) mblen;
    }
    memcpy(&function, &found, sizeof function);
    return function;
}
