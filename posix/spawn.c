/* Starting processes: by posix_spawn, which costs the same however large this one is, and by fork.
   In the plain way each child gets one end of a socket pair, its lifeline; see process.c. */
#include "posix/process.h"
#include "posix/setting.h"
#include "posix/signals.h"
#include "posix/wing.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static const char lifeline_variable[] = "KIN_LIFELINE=";

static const char *own_program(const platform_spawn *spawn)
{
    if (spawn->program != NULL) {
        return spawn->program;
    }
#ifdef __linux__
    return "/proc/self/exe"; /* this very program, even if its file has been replaced or deleted */
#else
    return spawn->arguments != NULL && spawn->arguments[0] != NULL ? spawn->arguments[0] : "";
#endif
}

/* A relative path is this process's, not that of the directory in which the child starts. To be
   freed, if it is not `program` itself; NULL with errno set. */
static char *absolute_program(const char *program, const platform_setting *setting)
{
    if (setting == NULL || setting->directory == NULL || program[0] == '/' ||
        strchr(program, '/') == NULL) {
        return (char *) program;
    }
    size_t size = 4096 + strlen(program) + 2;
    char *path = SYSTEM(malloc(size), NULL, ENOMEM);
    if (path == NULL || SYSTEM(getcwd(path, 4096), NULL, ENOENT) == NULL) {
        free(path);
        return NULL;
    }
    size_t length = strlen(path);
    (void) snprintf(path + length, size - length, "/%s", program);
    return path;
}

/* All that is decided before the child is made. */
typedef struct launch {
    const platform_spawn *spawn;
    const char *program;
    char *const *arguments;
    char **environment;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    pid_t pid;
    int error;
} launch;

static int prepare(launch *start, int lifeline, const setting_streams *streams)
{
    const platform_spawn *spawn = start->spawn;
    posix_spawn_file_actions_t *actions = &start->actions;
    short flags = POSIX_SPAWN_SETSIGMASK;
    int error = spawn->setting != NULL
                    ? setting_add(actions, &start->attributes, &flags, spawn->setting, streams)
                    : 0;
    /* A descriptor duplicated onto itself loses its close-on-exec flag, in the child alone. */
    int arena = (int) spawn->inherit;
    if (error == 0) {
        error = SYSTEM(posix_spawn_file_actions_adddup2(actions, arena, arena), ENOMEM, 0);
    }
    if (error == 0 && lifeline >= 0) {
        error = SYSTEM(posix_spawn_file_actions_adddup2(actions, lifeline, lifeline), ENOMEM, 0);
    }
    sigset_t mask;
    signals_for_child(&mask);
    if (error == 0) {
        error = SYSTEM(posix_spawnattr_setsigmask(&start->attributes, &mask), ENOMEM, 0);
    }
    if (error == 0) {
        error = SYSTEM(posix_spawnattr_setflags(&start->attributes, flags), ENOMEM, 0);
    }
    return error;
}

static void launch_now(launch *start)
{
    start->error = SYSTEM(posix_spawnp(&start->pid, start->program, &start->actions,
                                       &start->attributes, start->arguments, start->environment),
                          EAGAIN, 0);
}

static void *launch_in_thread(void *argument)
{
    launch *start = argument;
    start->error = setting_enter_thread(start->spawn->setting);
    if (start->error == 0) {
        launch_now(start);
    }
    return NULL;
}

/* In a thread of its own, from which the child has its priority and its cores. */
static int launch_apart(launch *start)
{
    pthread_t thread;
    sigset_t before;
    signals_block(&before);
    int error = SYSTEM(pthread_create(&thread, NULL, launch_in_thread, start), EAGAIN, 0);
    signals_restore(&before);
    return error != 0 ? error : pthread_join(thread, NULL);
}

static int launch_prepared(launch *start, int lifeline, const setting_streams *streams)
{
    int error = SYSTEM(posix_spawn_file_actions_init(&start->actions), ENOMEM, 0);
    if (error != 0) {
        return error;
    }
    error = SYSTEM(posix_spawnattr_init(&start->attributes), ENOMEM, 0);
    if (error == 0) {
        error = prepare(start, lifeline, streams);
        if (error == 0 && setting_needs_thread(start->spawn->setting)) {
            error = launch_apart(start);
        } else if (error == 0) {
            launch_now(start);
        }
        (void) posix_spawnattr_destroy(&start->attributes);
    }
    (void) posix_spawn_file_actions_destroy(&start->actions);
    return error != 0 ? error : start->error;
}

static int spawn_prepared(pid_t *pid, const platform_spawn *spawn, char **environment, int lifeline)
{
    static char name[] = "kin";
    static char *const no_arguments[] = {name, NULL};
    const char *program = own_program(spawn);
    char *path = absolute_program(program, spawn->setting);
    launch start = {.spawn = spawn,
                    .program = path,
                    .arguments = spawn->arguments != NULL ? spawn->arguments : no_arguments,
                    .environment = environment};
    int error = path != NULL ? 0 : errno;
    if (error == 0) {
        setting_streams streams;
        error = setting_take_streams(&streams, spawn->setting);
        if (error == 0) {
            error = launch_prepared(&start, lifeline, &streams);
            setting_drop_streams(&streams);
        }
    }
    if (path != program) {
        free(path);
    }
    *pid = start.pid;
    return error;
}

/* A child of which nothing can be known is not left running. */
static void abandon(pid_t pid)
{
    (void) kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
}

int process_make_pair(int ends[2])
{
#ifdef SOCK_CLOEXEC
    const int type = SOCK_STREAM | SOCK_CLOEXEC;
#else
    const int type = SOCK_STREAM;
#endif
    if (SYSTEM(socketpair(AF_UNIX, type, 0, ends), -1, EMFILE) != 0) {
        return wing_error(errno);
    }
    for (int i = 0; i < 2; i++) {
        ends[i] = wing_above_standard(ends[i]);
        if (ends[i] < 0) {
            int status = wing_error(errno);
            if (ends[1 - i] >= 0) {
                (void) close(ends[1 - i]);
            }
            return status;
        }
    }
    return 0;
}

/* Starts the child; on success *object is what shows its end. */
static int spawn_watched(pid_t *pid, int *object, const platform_spawn *spawn, char **environment,
                         const int ends[2])
{
    int error = spawn_prepared(pid, spawn, environment, ends[1]);
    if (error != 0) {
        return wing_error(error);
    }
    error = setting_give(*pid, spawn->setting);
    if (error != 0) {
        abandon(*pid);
        return wing_error(error);
    }
    if (ends[0] >= 0) {
        *object = ends[0];
        return 0;
    }
    *object = process_pidfd_of((uint64_t) *pid); /* not reaped yet: the pid is surely its own */
    if (*object < 0) {
        int status = wing_error(errno);
        abandon(*pid);
        return status;
    }
    return 0;
}

static char *join_texts(const char *name, const char *value)
{
    size_t length = strlen(name);
    size_t size = length + strlen(value) + 1;
    char *text = SYSTEM(malloc(size), NULL, ENOMEM);
    if (text != NULL) {
        memcpy(text, name, length);
        memcpy(text + length, value, size - length);
    }
    return text;
}

int platform_process_spawn(platform_process *process, const platform_spawn *spawn)
{
    int ends[2] = {-1, -1};
    int object = -1;
    pid_t pid = 0;
    char number[16];
    char lifeline[sizeof lifeline_variable + sizeof number];
    char *second = NULL;
    int status = setting_check(spawn->setting);
    if (status < 0) {
        return status;
    }
    if (!process_has_pidfds()) {
        status = process_make_pair(ends);
        if (status < 0) {
            return status;
        }
        (void) snprintf(number, sizeof number, "%d", ends[1]);
        (void) snprintf(lifeline, sizeof lifeline, "%s%s", lifeline_variable, number);
        second = lifeline;
    }
    status = KIN_E_NOMEM;
    char *first = join_texts(spawn->variable, spawn->value);
    char **environment = first != NULL ? setting_environment(spawn->setting, first, second) : NULL;
    if (environment != NULL) {
        status = spawn_watched(&pid, &object, spawn, environment, ends);
    }
    free(environment);
    free(first);
    if (ends[1] >= 0) {
        (void) close(ends[1]);
    }
    if (status < 0) {
        if (ends[0] >= 0) {
            (void) close(ends[0]);
        }
        return status;
    }
    memset(process, 0, sizeof *process);
    process->identity.pid = (uint64_t) pid;
    process->identity.stamp = process_stamp_now();
    process->object = object;
    process->keep = PLATFORM_NONE;
    process->child = true;
    return 0;
}

static void (*fork_hook)(void);

bool platform_can_fork(void)
{
    return true;
}

static void run_fork_hook(void)
{
    process_drop_lifeline();
    fork_hook();
}

int platform_process_at_fork(void (*hook)(void))
{
    fork_hook = hook;
    int error = SYSTEM(pthread_atfork(NULL, NULL, run_fork_hook), ENOMEM, 0);
    return error == 0 ? 0 : wing_error(error);
}

void platform_process_disown(platform_process *process)
{
    process->child = false;
    platform_process_close(process);
}

/* In the copy: only descriptors and the signal mask are touched. */
static void settle_copy(int ends[2])
{
    signals_enter_copy();
    if (ends[0] >= 0) {
        (void) close(ends[0]);
        process_keep_lifeline(ends[1]);
    }
}

static int watch_copy(platform_process *process, pid_t pid, const int ends[2])
{
    int object = ends[0];
    if (object < 0) {
        object = process_pidfd_of((uint64_t) pid); /* not reaped yet: the pid is surely its own */
        if (object < 0) {
            int status = wing_error(errno);
            abandon(pid);
            return status;
        }
    }
    *process = (platform_process){.identity = {.pid = (uint64_t) pid, .stamp = process_stamp_now()},
                                  .object = object,
                                  .keep = PLATFORM_NONE,
                                  .child = true};
    return 0;
}

int platform_process_fork(platform_process *process)
{
    int ends[2] = {-1, -1};
    if (!process_has_pidfds()) {
        int status = process_make_pair(ends);
        if (status < 0) {
            return status;
        }
    }
    pid_t pid = SYSTEM(fork(), -1, EAGAIN);
    if (pid == 0) {
        settle_copy(ends);
        return 1;
    }
    int status = pid < 0 ? wing_error(errno) : watch_copy(process, pid, ends);
    if (ends[1] >= 0) {
        (void) close(ends[1]);
    }
    if (status < 0 && ends[0] >= 0) {
        (void) close(ends[0]);
    }
    return status;
}
