/* The limits on POSIX. */
#ifndef _WIN32

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "bench/limits.h"

#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

int limit_spawn_wait(const char *argument)
{
    char name[] = "kin-bench";
    char *copy = strdup(argument);
    char *arguments[] = {name, copy, NULL};
    pid_t pid;
    int status = 0;
    int result = -1;
    if (copy != NULL && posix_spawn(&pid, "/proc/self/exe", NULL, NULL, arguments, environ) == 0) {
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
        }
        result = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    }
    free(copy);
    return result;
}

int limit_fork_wait(void)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        _exit(0);
    }
    if (pid < 0) {
        return -1;
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int64_t limit_private_kib(void)
{
    FILE *file = fopen("/proc/self/smaps_rollup", "r");
    if (file == NULL) {
        return -1;
    }
    char line[256];
    int64_t total = 0;
    long long kib;
    while (fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "Private_Clean: %lld", &kib) == 1 ||
            sscanf(line, "Private_Dirty: %lld", &kib) == 1) {
            total += kib;
        }
    }
    (void) fclose(file);
    return total;
}

#else
typedef int limits_posix_is_for_posix;
#endif
