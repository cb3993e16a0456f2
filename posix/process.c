/* Processes. Two ways to know that one has ended and to name it without trusting its pid:
   - with pidfds (Linux 5.3): the descriptor stands for one process. Opened by pid it could be that
   of a later process; so a member notes the time since boot when it joined, and a process that
   started later is not the one.
   - plain: each child has a lifeline, a socket pair with one end in the parent and one in the
   child, which shows each the end of the other; and each member locks the byte of its slot in the
   arena's descriptor, a lock that the kernel drops when the process ends. Who is neither parent nor
   child looks at that lock from time to time. */
#include "posix/process.h"
#include "posix/wing.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#if WING_LINUX
#include <sys/syscall.h>
#endif

enum { NS_IN_MS = 1000000, LOOK_AGAIN_MS = 20, CLAIM_TRIES = 500 };

/* Plain: this process's end of the socket pair that it shares with its parent. */
static int own_lifeline = -1;
static pid_t lifeline_owner; /* that parent, as the system sees it */

/* ---- pidfds ---- */

#if WING_LINUX && defined SYS_pidfd_open

int process_pidfd_of(uint64_t pid)
{
    int fd = (int) SYSTEM(syscall(SYS_pidfd_open, (pid_t) pid, 0), -1, EMFILE);
    return fd >= 0 && fd <= STDERR_FILENO ? wing_above_standard(fd) : fd;
}

static int pidfd_signal(int fd, int signal_number)
{
    return (int) SYSTEM(syscall(SYS_pidfd_send_signal, fd, signal_number, NULL, 0), -1, EPERM);
}

bool process_has_pidfds(void)
{
    static _Atomic int known; /* 1 yes, -1 no */
    int have = atomic_load_explicit(&known, memory_order_relaxed);
    if (have == 0) {
        /* With flags that do not exist it opens nothing, if it is there. */
        have = syscall(SYS_pidfd_open, 0, UINT32_MAX) < 0 && errno == EINVAL ? 1 : -1;
        atomic_store_explicit(&known, have, memory_order_relaxed);
    }
    return have > 0;
}

uint64_t process_stamp_now(void)
{
    struct timespec now;
    (void) clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t) now.tv_sec * 1000000000u + (uint64_t) now.tv_nsec;
}

#else

int process_pidfd_of(uint64_t pid)
{
    (void) pid;
    errno = ENOSYS;
    return -1;
}

static int pidfd_signal(int fd, int signal_number)
{
    (void) fd, (void) signal_number;
    errno = ENOSYS;
    return -1;
}

bool process_has_pidfds(void)
{
    return false;
}

uint64_t process_stamp_now(void)
{
    return 0;
}

#endif

bool process_read_stat(uint64_t pid, process_stat *stat)
{
    char path[40];
    (void) snprintf(path, sizeof path, "/proc/%llu/stat", (unsigned long long) pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t length = read(fd, stat->text, sizeof stat->text - 1);
    (void) close(fd);
    if (length <= 0) {
        return false;
    }
    stat->text[length] = '\0';
    stat->behind_name = strrchr(stat->text, ')'); /* the name may hold anything */
    return stat->behind_name != NULL && stat->behind_name[1] == ' ';
}

char process_stat_state(const process_stat *stat)
{
    return stat->behind_name[2];
}

bool process_stat_number(const process_stat *stat, int field, long long *value)
{
    const char *at = stat->behind_name;
    for (int before = 2; at != NULL && before < field; before++) {
        at = strchr(at + 1, ' ');
    }
    if (at == NULL) {
        return false;
    }
    char *end;
    *value = strtoll(at + 1, &end, 10);
    return end != at + 1;
}

static bool is_of(const process_stat *stat, const platform_identity *identity)
{
    long long ticks;
    if (!process_stat_number(stat, 22, &ticks)) {
        return true;
    }
    uint64_t in_second = (uint64_t) sysconf(_SC_CLK_TCK);
    return (uint64_t) ticks * (1000000000u / in_second) <= identity->stamp;
}

bool process_is_same(const platform_identity *identity)
{
    process_stat stat;
    return !process_read_stat(identity->pid, &stat) || /* the pid is all there is */
           is_of(&stat, identity);
}

/* ---- identity ---- */

bool platform_knows_arguments(void)
{
    return false;
}

int platform_process_self(platform_identity *identity)
{
    identity->pid = (uint64_t) getpid();
    identity->stamp = process_stamp_now();
    identity->slot = 0;
    return 0;
}

void process_keep_lifeline(int fd)
{
    own_lifeline = fd;
    lifeline_owner = getppid();
}

void process_drop_lifeline(void)
{
    if (own_lifeline >= 0) {
        (void) close(own_lifeline);
        own_lifeline = -1;
    }
}

static struct flock slot_lock(uint64_t slot, short type)
{
    struct flock lock;
    memset(&lock, 0, sizeof lock);
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    lock.l_start = (off_t) slot;
    lock.l_len = 1;
    return lock;
}

/* That with which this process was started. */
static void take_lifeline(void)
{
    static _Atomic bool taken;
    char text[16];
    if (!atomic_exchange(&taken, true) &&
        platform_environment_take("KIN_LIFELINE", text, sizeof text) == 0) {
        process_keep_lifeline(atoi(text));
        (void) fcntl(own_lifeline, F_SETFD,
                     FD_CLOEXEC); /* if it is none it cannot be waited for either */
    }
}

int platform_process_claim(platform_identity *identity, const platform_memory *memory,
                           uint64_t slot)
{
    identity->slot = slot;
    take_lifeline();
    if (process_has_pidfds()) {
        return 0;
    }
    /* One that has just left the family, and lives, holds the lock until it has closed the
       arena. */
    for (int tries = 0;; tries++) {
        struct flock lock = slot_lock(slot, F_WRLCK);
        if (SYSTEM(fcntl((int) memory->object, F_SETLK, &lock), -1, ENOLCK) == 0) {
            return 0;
        }
        if ((errno != EAGAIN && errno != EACCES) || tries == CLAIM_TRIES) {
            return wing_error(errno);
        }
        platform_sleep_ns(NS_IN_MS);
    }
}

/* Plain: is the lock of its slot still held by the process with that pid? */
static bool holds_slot(const platform_identity *identity, int arena)
{
    if (identity->pid == (uint64_t) getpid()) {
        return true; /* one's own locks do not show */
    }
    struct flock lock = slot_lock(identity->slot, F_WRLCK);
    if (fcntl(arena, F_GETLK, &lock) != 0) {
        return true;
    }
    return lock.l_type != F_UNLCK && lock.l_pid == (pid_t) identity->pid;
}

/* ---- watching ---- */

bool platform_sees_early_ends(void)
{
    return process_has_pidfds();
}

int platform_process_open(platform_process *process, const platform_identity *identity,
                          const platform_memory *memory)
{
    memset(process, 0, sizeof *process);
    process->identity = *identity;
    process->object = PLATFORM_NONE;
    process->keep = memory->object;
    if (!process_has_pidfds()) {
        return holds_slot(identity, (int) memory->object) ? 0 : KIN_E_ENDED;
    }
    int fd = process_pidfd_of(identity->pid);
    if (fd < 0) {
        /* No process, or (ENOENT, EINVAL) a thread of another that has the number now. */
        bool gone = errno == ESRCH || errno == ENOENT || errno == EINVAL;
        return gone ? KIN_E_ENDED : wing_error(errno);
    }
    process->object = fd;
    if (!process_is_same(identity) || platform_process_wait(process, 0) == 0) {
        platform_process_close(process);
        return KIN_E_ENDED;
    }
    return 0;
}

int platform_process_parent(platform_process *parent, const platform_identity *identity,
                            const platform_memory *memory)
{
    if (process_has_pidfds() || own_lifeline < 0 || identity->pid != (uint64_t) lifeline_owner) {
        return platform_process_open(parent, identity, memory);
    }
    *parent =
        (platform_process){.identity = *identity, .object = own_lifeline, .keep = memory->object};
    return platform_process_wait(parent, 0) == 0 ? KIN_E_ENDED : 0;
}

bool process_has_ended(const platform_process *process)
{
    if (!process_has_pidfds()) {
        if (process->child) {
            siginfo_t information;
            memset(&information, 0, sizeof information);
            /* ECHILD: somebody else has reaped it. One that is traced by this process, as in our
               tests, is told of here whenever it stops. */
            return waitid(P_PID, (id_t) process->identity.pid, &information,
                          WEXITED | WNOHANG | WNOWAIT) != 0 ||
                   (information.si_pid != 0 && information.si_code != CLD_TRAPPED);
        }
        if (process->object == PLATFORM_NONE) {
            return !holds_slot(&process->identity, (int) process->keep);
        }
    }
    struct pollfd poller = {.fd = (int) process->object, .events = POLLIN};
    return poll(&poller, 1, 0) > 0;
}

int process_poll_fd(const platform_process *process)
{
    return process->object == PLATFORM_NONE ? -1 : (int) process->object;
}

int process_slice_ms(void)
{
    return process_has_pidfds() ? -1 : LOOK_AGAIN_MS;
}

int platform_process_wait(const platform_process *process, int64_t timeout_ns)
{
    int64_t until = timeout_ns > 0 ? platform_clock_ns() + timeout_ns : 0;
    for (;;) {
        if (process_has_ended(process)) {
            return 0;
        }
        int64_t left = timeout_ns < 0 ? -1 : timeout_ns > 0 ? until - platform_clock_ns() : 0;
        if (timeout_ns >= 0 && left <= 0) {
            return KIN_E_TIMEOUT;
        }
        int wait_ms = left < 0 || left / NS_IN_MS > 60000 ? 60000 : (int) (left / NS_IN_MS) + 1;
        int slice = process_slice_ms();
        if (slice >= 0 && slice < wait_ms) {
            wait_ms = slice;
        }
        struct pollfd poller = {.fd = process_poll_fd(process), .events = POLLIN};
        (void) poll(&poller, 1, wait_ms); /* for whatever reason it returns, we look again */
        if (slice >= 0 && poller.revents != 0) {
            platform_sleep_ns(
                NS_IN_MS); /* the lifeline is cut a moment before the process is gone */
        }
    }
}

int platform_process_sentinel(const platform_process *process, intptr_t *sentinel)
{
    int ends[2];
    if (process == NULL) {
        int status = process_make_pair(ends);
        if (status == 0) {
            (void) close(ends[1]);
            *sentinel = ends[0];
        }
        return status;
    }
    if (process->object == PLATFORM_NONE) {
        return KIN_E_UNSUPPORTED;
    }
    int fd = SYSTEM(fcntl((int) process->object, F_DUPFD_CLOEXEC, STDERR_FILENO + 1), -1, EMFILE);
    if (fd < 0) {
        return wing_error(errno);
    }
    *sentinel = fd;
    return 0;
}

/* ---- the end ---- */

static int code_of(int how, int value)
{
    return how == CLD_EXITED ? value : -value;
}

int platform_process_code_of(const platform_identity *identity, int *code)
{
    process_stat stat;
    long long status;
    /* The pid of one that has not been reaped is not given to another; the plain way has no stamp
       to make sure. */
    if (!process_read_stat(identity->pid, &stat) || process_stat_state(&stat) != 'Z' ||
        !process_stat_number(&stat, 52, &status) ||
        (identity->stamp != 0 && !is_of(&stat, identity))) {
        return KIN_E_SYSTEM;
    }
    *code = WIFSIGNALED((int) status) ? -WTERMSIG((int) status) : WEXITSTATUS((int) status);
    return 0;
}

/* One that is traced may have ended and not be given to its parent before its tracer is done with
   it: to name it by its pidfd allows to wait for that. */
static int wait_for_status(const platform_process *process, int keep, siginfo_t *information)
{
    const idtype_t pidfd = (idtype_t) 3; /* P_PIDFD, which is not in all headers */
    bool by_fd = process_has_pidfds();
    for (;;) {
        memset(information, 0, sizeof *information);
        int result = by_fd ? waitid(pidfd, (id_t) process->object, information, WEXITED | keep)
                           : waitid(P_PID, (id_t) process->identity.pid, information,
                                    WEXITED | WNOHANG | keep);
        if (result != 0 && by_fd && errno == EINVAL) {
            by_fd = false; /* Linux 5.3 */
        } else if (result == 0 || errno != EINTR) {
            return result;
        }
    }
}

int platform_process_exit_code(platform_process *process, int *code)
{
    if (process->child) {
        siginfo_t information;
        if (wait_for_status(process, process->pinned ? WNOWAIT : 0, &information) != 0) {
            return wing_error(errno);
        }
        if (information.si_pid == 0) {
            return KIN_E_SYSTEM; /* somebody else has reaped it, and the pid is that of another
                                    child */
        }
        *code = code_of(information.si_code, information.si_status);
        return 0;
    }
    return platform_process_code_of(&process->identity, code);
}

int platform_process_kill(const platform_process *process, bool ask)
{
    int number = ask ? SIGTERM : SIGKILL;
    if (process_has_ended(process)) {
        return 0;
    }
    int result;
    if (process_has_pidfds()) {
        result = pidfd_signal((int) process->object, number);
    } else {
        result = SYSTEM(kill((pid_t) process->identity.pid, number), -1, EPERM);
    }
    return result == 0 || errno == ESRCH ? 0 : wing_error(errno);
}

/* One that has been let go is reaped now, if it has ended. */
static void unpin(platform_process *process)
{
    siginfo_t information;
    if (process->child && process->pinned && process_has_ended(process)) {
        (void) wait_for_status(process, 0, &information);
    }
}

void platform_process_close(platform_process *process)
{
    unpin(process);
    if (process->object != PLATFORM_NONE) {
        (void) close((int) process->object);
        process->object = PLATFORM_NONE;
    }
}

static void follow(void *argument)
{
    const platform_process *parent = argument;
    while (platform_process_wait(parent, -1) != 0) {
    }
    (void) kill(getpid(), SIGKILL);
}

int platform_process_follow(const platform_process *parent)
{
    static platform_process followed; /* one parent, once */
    followed = *parent;
    return platform_thread_start(follow, &followed);
}

_Noreturn void platform_process_die(void)
{
    for (;;) {
        (void) kill(getpid(), SIGKILL);
    }
}

/* Found when the program is loaded: each copy that fork makes would have to look for it anew. */
static void (*const volatile exit_at_once)(int code) = _exit;

_Noreturn void platform_process_exit_now(int code)
{
    for (;;) {
        exit_at_once(code);
    }
}

void platform_process_tell_abort(void)
{
    /* It is the system's own way: SIGABRT. */
}

int platform_process_at_exit(void (*hook)(void))
{
    return SYSTEM(atexit(hook), 1, ENOMEM) == 0 ? 0 : wing_error(ENOMEM);
}
