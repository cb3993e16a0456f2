/* What a process is started with: directory, environment, streams, priority, cores, group and
   session. posix_spawn does most of it in the child. Priority and cores a child has from the thread
   that starts it; so that thread is made for the purpose (see spawn.c), and this process keeps what
   it has. In a copy made by fork all of it is done by the copy itself. */
#include "posix/setting.h"

#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

extern char **environ;

/* ---- environment ---- */

static size_t name_length(const char *variable)
{
    return strcspn(variable, "=");
}

static bool same_name(const char *one, const char *other)
{
    size_t length = name_length(one);
    return length == name_length(other) && strncmp(one, other, length) == 0;
}

static bool is_among(const char *variable, const char *const *list)
{
    for (size_t i = 0; list != NULL && list[i] != NULL; i++) {
        if (same_name(variable, list[i])) {
            return true;
        }
    }
    return false;
}

static size_t count_of(const char *const *list)
{
    size_t count = 0;
    while (list != NULL && list[count] != NULL) {
        count++;
    }
    return count;
}

char **setting_environment(const platform_setting *setting, char *first, char *second)
{
    const char *const *own =
        setting != NULL && setting->bare ? NULL : (const char *const *) environ;
    const char *const *added = setting != NULL ? setting->variables : NULL;
    const char *const last[] = {first != NULL ? first : second, second, NULL};
    size_t count = count_of(own) + count_of(added) + 3;
    char **made = SYSTEM(malloc(count * sizeof *made), NULL, ENOMEM);
    if (made == NULL) {
        return NULL;
    }
    size_t kept = 0;
    for (size_t i = 0; own != NULL && own[i] != NULL; i++) {
        if (!is_among(own[i], added) && !is_among(own[i], last)) {
            made[kept++] = (char *) own[i];
        }
    }
    /* Of two that set the same variable the later one counts. */
    for (size_t i = 0; added != NULL && added[i] != NULL; i++) {
        if (strchr(added[i], '=') != NULL && !is_among(added[i], added + i + 1) &&
            !is_among(added[i], last)) {
            made[kept++] = (char *) added[i];
        }
    }
    if (first != NULL) {
        made[kept++] = first;
    }
    if (second != NULL) {
        made[kept++] = second;
    }
    made[kept] = NULL;
    return made;
}

/* ---- streams ---- */

int setting_take_streams(setting_streams *streams, const platform_setting *setting)
{
    for (int i = 0; i < PLATFORM_STREAMS; i++) {
        streams->from[i] = setting != NULL ? (int) setting->streams[i] : -1;
        streams->copies[i] = -1;
    }
    for (int i = 0; i < PLATFORM_STREAMS; i++) {
        int from = streams->from[i];
        if (from < 0 || from > STDERR_FILENO || from == i) {
            continue;
        }
        streams->copies[i] = SYSTEM(fcntl(from, F_DUPFD_CLOEXEC, STDERR_FILENO + 1), -1, EMFILE);
        if (streams->copies[i] < 0) {
            int error = errno;
            setting_drop_streams(streams);
            return error;
        }
        streams->from[i] = streams->copies[i];
    }
    return 0;
}

void setting_drop_streams(setting_streams *streams)
{
    for (int i = 0; i < PLATFORM_STREAMS; i++) {
        if (streams->copies[i] >= 0) {
            (void) close(streams->copies[i]);
            streams->copies[i] = -1;
        }
    }
}

static bool is_open(intptr_t handle)
{
    return handle >= 0 && handle <= INT32_MAX && fcntl((int) handle, F_GETFD) >= 0;
}

int setting_check(const platform_setting *setting)
{
    for (int i = 0; setting != NULL && i < PLATFORM_STREAMS; i++) {
        if (setting->streams[i] != PLATFORM_NONE && !is_open(setting->streams[i])) {
            return KIN_E_INVALID;
        }
    }
    for (size_t i = 0; setting != NULL && i < setting->handle_count; i++) {
        if (!is_open(setting->handles[i])) {
            return KIN_E_INVALID;
        }
    }
#if !WING_LINUX
    if (setting != NULL && setting->core_count > 0) {
        return KIN_E_UNSUPPORTED;
    }
#endif
#ifndef POSIX_SPAWN_SETSID
    if (setting != NULL && setting->session) {
        return KIN_E_UNSUPPORTED;
    }
#endif
#ifndef KIN_HAVE_ADDCHDIR
    if (setting != NULL && setting->directory != NULL) {
        return KIN_E_UNSUPPORTED;
    }
#endif
    return 0;
}

/* ---- what posix_spawn can do ---- */

static int add_directory(posix_spawn_file_actions_t *actions, const char *directory)
{
#ifdef KIN_HAVE_ADDCHDIR
    return SYSTEM(posix_spawn_file_actions_addchdir_np(actions, directory), ENOMEM, 0);
#else
    (void) actions, (void) directory;
    return ENOSYS;
#endif
}

/* A descriptor duplicated onto itself loses its close-on-exec flag, in the child alone. */
static int add_descriptor(posix_spawn_file_actions_t *actions, int from, int to)
{
    return SYSTEM(posix_spawn_file_actions_adddup2(actions, from, to), ENOMEM, 0);
}

int setting_add(posix_spawn_file_actions_t *actions, posix_spawnattr_t *attributes, short *flags,
                const platform_setting *setting, const setting_streams *streams)
{
    int error = setting->directory != NULL ? add_directory(actions, setting->directory) : 0;
    for (int i = 0; i < PLATFORM_STREAMS && error == 0; i++) {
        if (streams->from[i] >= 0) {
            error = add_descriptor(actions, streams->from[i], i);
        }
    }
    for (size_t i = 0; i < setting->handle_count && error == 0; i++) {
        error = add_descriptor(actions, (int) setting->handles[i], (int) setting->handles[i]);
    }
#ifdef POSIX_SPAWN_SETSID
    if (setting->session) {
        *flags |= POSIX_SPAWN_SETSID;
    }
#endif
    if (setting->group && !setting->session && error == 0) {
        *flags |= POSIX_SPAWN_SETPGROUP;
        error = SYSTEM(posix_spawnattr_setpgroup(attributes, 0), ENOMEM, 0);
    }
    return error;
}

/* ---- priority and cores ---- */

static const int niceness[] = {0, 19, 10, 0, -10}; /* by enum kin_priority */

#if WING_LINUX

bool setting_needs_thread(const platform_setting *setting)
{
    return setting != NULL && (setting->priority != 0 || setting->core_count > 0);
}

/* EDOM if one of them is not there for this process: the system takes those that are. */
static int enter_cores(const int *cores, size_t count)
{
    enum { MOST_CORES = 8192 };
    unsigned long set[MOST_CORES / (8 * sizeof(unsigned long))] = {0};
    unsigned long given[sizeof set / sizeof *set] = {0};
    const size_t bits = 8 * sizeof *set;
    for (size_t i = 0; i < count; i++) {
        if (cores[i] >= MOST_CORES) {
            return EDOM;
        }
        set[(size_t) cores[i] / bits] |= 1ul << ((size_t) cores[i] % bits);
    }
    if (SYSTEM(sched_setaffinity(0, sizeof set, (cpu_set_t *) (void *) set), -1, EPERM) != 0 ||
        SYSTEM(sched_getaffinity(0, sizeof given, (cpu_set_t *) (void *) given), -1, EPERM) != 0) {
        return errno == EINVAL ? EDOM : errno;
    }
    return memcmp(given, set, sizeof set) == 0 ? 0 : EDOM;
}

int setting_enter_thread(const platform_setting *setting)
{
    int error = setting->core_count > 0 ? enter_cores(setting->cores, setting->core_count) : 0;
    /* To Linux a process here is a thread. */
    if (error == 0 && setting->priority != 0 &&
        SYSTEM(setpriority(PRIO_PROCESS, 0, niceness[setting->priority]), -1, EACCES) != 0) {
        error = errno;
    }
    return error;
}

int setting_give(pid_t pid, const platform_setting *setting)
{
    (void) pid, (void) setting;
    return 0;
}

#else

bool setting_needs_thread(const platform_setting *setting)
{
    (void) setting;
    return false;
}

int setting_enter_thread(const platform_setting *setting)
{
    return setting_give(0, setting);
}

int setting_give(pid_t pid, const platform_setting *setting)
{
    return setting == NULL || setting->priority == 0 ||
                   SYSTEM(setpriority(PRIO_PROCESS, (id_t) pid, niceness[setting->priority]), -1,
                          EACCES) == 0
               ? 0
               : errno;
}

#endif

/* ---- a copy ---- */

int platform_setting_prepare(platform_prepared *prepared, const platform_setting *setting)
{
    prepared->environment = NULL;
    int status = setting_check(setting);
    if (status == 0 && (setting->variables != NULL || setting->bare)) {
        prepared->environment = setting_environment(setting, NULL, NULL);
        status = prepared->environment != NULL ? 0 : wing_error(errno);
    }
    return status;
}

void platform_setting_finish(platform_prepared *prepared)
{
    free(prepared->environment);
}

static int enter_streams(const platform_setting *setting)
{
    setting_streams streams;
    int error = setting_take_streams(&streams, setting);
    for (int i = 0; i < PLATFORM_STREAMS && error == 0; i++) {
        int from = streams.from[i];
        if (from == i) {
            error = SYSTEM(fcntl(from, F_SETFD, 0), -1, EBADF) == 0 ? 0 : errno;
        } else if (from >= 0) {
            error = SYSTEM(dup2(from, i), -1, EMFILE) >= 0 ? 0 : errno;
        }
    }
    setting_drop_streams(&streams);
    return error;
}

int platform_setting_enter(const platform_setting *setting, const platform_prepared *prepared)
{
    int error = 0;
    if (setting->session) {
        error = SYSTEM(setsid(), -1, EPERM) >= 0 ? 0 : errno;
    } else if (setting->group) {
        error = SYSTEM(setpgid(0, 0), -1, EPERM) == 0 ? 0 : errno;
    }
    error = error == 0 ? setting_enter_thread(setting) : error;
    if (error == 0 && setting->directory != NULL) {
        error = SYSTEM(chdir(setting->directory), -1, EACCES) == 0 ? 0 : errno;
    }
    error = error == 0 ? enter_streams(setting) : error;
    if (error == 0 && prepared->environment != NULL) {
        environ = prepared->environment; /* and stays */
    }
    return error == 0 ? 0 : wing_error(error);
}
