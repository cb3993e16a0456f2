#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "support_options.h"

#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

void system_directory(char *text)
{
    assert_non_null(getcwd(text, TEXT_SIZE));
}

void system_enter_directory(const char *path)
{
    assert_int_equal(chdir(path), 0);
}

bool system_variable(const char *name, char *text)
{
    const char *value = getenv(name);
    if (value != NULL) {
        (void) snprintf(text, TEXT_SIZE, "%s", value);
    }
    return value != NULL;
}

bool system_has_variable_like(const char *start)
{
    for (char **at = environ; *at != NULL; at++) {
        if (strncmp(*at, start, strlen(start)) == 0) {
            return true;
        }
    }
    return false;
}

int system_priority(void)
{
    int nice = getpriority(PRIO_PROCESS, 0);
    return nice == 19    ? KIN_PRIORITY_IDLE
           : nice == 10  ? KIN_PRIORITY_LOW
           : nice == 0   ? KIN_PRIORITY_NORMAL
           : nice == -10 ? KIN_PRIORITY_HIGH
                         : -1;
}

size_t system_cores(int cores[MOST_CORES])
{
    size_t count = 0;
#if defined __linux__
    cpu_set_t set;
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    for (int i = 0; i < CPU_SETSIZE && count < MOST_CORES; i++) {
        if (CPU_ISSET((unsigned) i, &set)) {
            cores[count++] = i;
        }
    }
#else
    cores[count++] = 0;
#endif
    return count;
}

bool system_leads_group(void)
{
    return getpgrp() == getpid();
}

bool system_leads_session(void)
{
    return getsid(0) == getpid();
}

bool system_is_file(intptr_t handle)
{
    struct stat about;
    return fstat((int) handle, &about) == 0 && S_ISREG(about.st_mode);
}

void system_own_path(char *text)
{
    ssize_t length = readlink("/proc/self/exe", text, TEXT_SIZE - 1);
    assert_true(length > 0);
    text[length] = '\0';
}

void system_copy_file(const char *from, const char *to)
{
    char bytes[65536];
    ssize_t length;
    int source = open(from, O_RDONLY | O_CLOEXEC);
    int target = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
    assert_true(source >= 0 && target >= 0);
    while ((length = read(source, bytes, sizeof bytes)) > 0) {
        assert_true(write(target, bytes, (size_t) length) == length);
    }
    (void) close(source);
    (void) close(target);
}

int system_launch(const char *path, const char *argument, bool waits)
{
    char *const arguments[] = {(char *) path, (char *) argument, NULL};
    pid_t pid;
    int status = 0;
    assert_int_equal(posix_spawn(&pid, path, NULL, NULL, arguments, environ), 0);
    if (waits) {
        assert_int_equal(waitpid(pid, &status, 0), pid);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int system_run(const char *path)
{
    return system_launch(path, NULL, true);
}

bool system_argument(int argc, char **argv, int i, char *text)
{
    if (i < argc) {
        (void) snprintf(text, TEXT_SIZE, "%s", argv[i]);
    }
    return i < argc;
}

bool system_rename(const char *from, const char *to)
{
    return rename(from, to) == 0;
}

void system_set_standard(int number, intptr_t handle)
{
    if (handle == PLATFORM_NONE) {
        (void) close(number);
    } else {
        assert_int_equal(dup2((int) handle, number), number);
    }
}
