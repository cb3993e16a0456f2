/* The whole seam between the portable core and a system: what posix/ and win32/ implement, in files
   of the same names. The core calls nothing else of a system; a wing calls nothing of the core but
   platform_note_error.

   Unless a comment says otherwise a function returns 0 or a negative KIN_E_*, may be called from
   any thread, and does not block. Times are in nanoseconds; a timeout below 0 means for ever. A
   signal never ends a wait early unless "may return early" is said. Handles of the system
   (descriptors, HANDLEs) travel as intptr_t, PLATFORM_NONE being none; none of them is inherited by
   a process that somebody else starts. */
#ifndef KIN_CORE_PLATFORM_H
#define KIN_CORE_PLATFORM_H

#include <kin/base.h>

#include <stdatomic.h>

#define PLATFORM_NONE ((intptr_t) -1)

/* Of a thread's variable that costs no call to find, also in a shared library; a few words for all
   of kin. */
#if defined __ELF__
#define PLATFORM_FAST_TLS __attribute__((tls_model("initial-exec")))
#else
#define PLATFORM_FAST_TLS
#endif

/* ---- errors ---- */

/* Given by the core: keeps the system's error number of this thread for kin_system_error. */
void platform_note_error(int64_t system_error);

/* ---- memory.c: the one shared mapping ---- */

typedef struct platform_memory {
    unsigned char *base; /* where this process sees it; aligned to a page */
    size_t size;         /* bytes reserved; a multiple of 64 KiB */
    intptr_t object;     /* the memfd, the shared memory descriptor, or the section */
} platform_memory;

/* The size to reserve when the user does not say. */
size_t platform_memory_default_size(void);

/* The unit in which memory is committed and given back: a power of two, at most 64 KiB. */
size_t platform_memory_page_size(void);

/* Makes a shared object without a name, of exactly `size` bytes with nothing committed, and maps
   all of it. KIN_E_NOMEM when the system refuses that much: the core then tries less. */
int platform_memory_create(platform_memory *memory, size_t size);

/* Maps the object that the parent passed on (see platform_spawn.inherit); checks that it is a
   shared memory object of at least `size` bytes and takes it over: it is not passed on to other
   programs. KIN_E_ATTACH if it is not one. */
int platform_memory_attach(platform_memory *memory, intptr_t object, size_t size);

/* Makes [offset, offset + size) usable in every process that has it mapped; both in pages. What is
   committed
   already stays as it is; what is new is zero. KIN_E_NOMEM, and nothing else ever happens, when the
   system is full. May be called by several processes at a time. */
int platform_memory_commit(const platform_memory *memory, size_t offset, size_t size);

/* Gives [offset, offset + size), in pages, back to the system. The contents are undefined until it
   is committed again. */
int platform_memory_release(const platform_memory *memory, size_t offset, size_t size);

/* Bytes of a huge page, a power of two; 0 if this mapping cannot have any. */
size_t platform_memory_huge_page_size(const platform_memory *memory);

/* Has the whole huge pages of [offset, offset + size), which is committed, be such, or the memory
   of it lie at a node of the system's. What it holds stays. KIN_E_UNSUPPORTED when the system does
   not do it; there may be no such node. Nothing of it concerns what is committed there later. */
int platform_memory_use_huge_pages(const platform_memory *memory, size_t offset, size_t size);
int platform_memory_use_node(const platform_memory *memory, size_t offset, size_t size,
                             uint32_t node);

/* Bytes that the system has given to the object; 0 where it cannot tell. */
uint64_t platform_memory_usage(const platform_memory *memory);

/* Unmaps and closes. */
void platform_memory_detach(platform_memory *memory);

/* ---- shm.c: memory with a name, for processes that are of no family ---- */

typedef struct platform_shm {
    unsigned char *base; /* aligned to a page */
    size_t size;         /* as it was asked for */
    intptr_t object;     /* what keeps the name where it goes with the last one that has it open */
} platform_shm;

enum { PLATFORM_SHM_MODE = 0600 };

/* Makes it, with at most PTRDIFF_MAX zero bytes, all of them committed; `name` has been checked by
   the core, `mode` is POSIX's or 0 for PLATFORM_SHM_MODE. Others see all of it or nothing, also if
   this process is killed. KIN_E_EXISTS; KIN_E_BUSY when another process has been making it for a
   second; KIN_E_NOMEM, KIN_E_PERMISSION, KIN_E_DESCRIPTORS, KIN_E_UNSUPPORTED, KIN_E_SYSTEM, after
   which nothing is left. */
int platform_shm_create(platform_shm *shm, const char *name, size_t size, uint32_t mode,
                        bool read_only);

/* Opens it. KIN_E_NOT_FOUND (also while it is being made), and the errors above. */
int platform_shm_open(platform_shm *shm, const char *name, bool read_only);
void platform_shm_close(platform_shm *shm);

/* Takes the name away; nothing where it goes by itself. */
int platform_shm_unlink(const char *name);

/* ---- mutex.c: one lock in shared memory whose owner may die ---- */

/* The part in shared memory; zeroed before platform_mutex_create. */
typedef struct platform_mutex_shared {
    _Alignas(64) unsigned char opaque[128];
} platform_mutex_shared;

typedef struct platform_mutex {
    platform_mutex_shared *shared;
    intptr_t object;
} platform_mutex;

/* Makes the lock in `shared`; and opens one that another process made. `shared` stays where it is
   until close. */
int platform_mutex_create(platform_mutex *mutex, platform_mutex_shared *shared);
int platform_mutex_open(platform_mutex *mutex, platform_mutex_shared *shared);

/* Waits for the lock. 0, or KIN_OWNER_DIED: it is held, and the owner before died while it held it.
   If this owner dies too, the next one is told again. Not recursive. */
int platform_mutex_lock(platform_mutex *mutex);
void platform_mutex_unlock(platform_mutex *mutex);
void platform_mutex_close(platform_mutex *mutex);

/* ---- wait.c: waiting for a word of shared memory, and for one's turn ---- */

/* True where platform_word_wait works between processes. Elsewhere the core parks threads (see
   wait.h). */
bool platform_has_word_wait(void);

/* Sleeps while *word == expected, until platform_word_wake on the same word in any process. May
   return early.
   0 or KIN_E_TIMEOUT. */
int platform_word_wait(_Atomic uint32_t *word, uint32_t expected, int64_t timeout_ns);

/* Wakes up to `count` sleepers, those first that have slept longest; how many there were. */
uint32_t platform_word_wake(_Atomic uint32_t *word, uint32_t count);

/* A place to sleep for one thread, known to every process by its number in the family. `shared` is
   in shared memory. */
typedef struct platform_parker_shared {
    _Alignas(8) unsigned char opaque[48];
} platform_parker_shared;

typedef struct platform_parker {
    platform_parker_shared *shared;
    intptr_t object;
} platform_parker;

/* `family` is the family's secret, the same in all members; `number` tells its threads apart.
   create makes it anew whatever a dead predecessor left; open is for those who wake. */
int platform_parker_create(platform_parker *parker, platform_parker_shared *shared, uint64_t family,
                           uint32_t number);
int platform_parker_open(platform_parker *parker, platform_parker_shared *shared, uint64_t family,
                         uint32_t number);

/* Sleeps until platform_unpark has been called since the last platform_park returned 0. 0 or
   KIN_E_TIMEOUT.
   Only the thread that created it parks. May return early. */
int platform_park(platform_parker *parker, int64_t timeout_ns);
void platform_unpark(platform_parker *parker);
void platform_parker_close(platform_parker *parker);

/* A moment's rest for a processor that spins. */
static inline void platform_relax(void)
{
#if defined __x86_64__ || defined __i386__
    __builtin_ia32_pause();
#elif defined __aarch64__ || defined __arm__
    __asm__ __volatile__("yield");
#endif
}

/* ---- process.c ---- */

/* What tells a process from all others, also from a later one with the same pid. */
typedef struct platform_identity {
    uint64_t pid;
    uint64_t stamp; /* made by platform_process_self; what it says is the wing's own matter */
    uint64_t slot;  /* the process's number in the family, 0 if none; see platform_process_claim */
} platform_identity;

/* A process that is watched: owned by one process, which closes it. */
typedef struct platform_process {
    platform_identity identity;
    intptr_t object; /* pidfd, lifeline or HANDLE */
    intptr_t keep;   /* second handle, where a system needs one; PLATFORM_NONE */
    bool child;      /* a child of this process, which reaps it */
    bool pinned; /* it is reaped by platform_process_close and not before, so that nobody else has
                        its pid */
} platform_process;

enum { PLATFORM_STREAMS = 3 };

/* What a process starts with besides its program. platform_setting_none() is what this process
   has. */
typedef struct platform_setting {
    const char *directory;        /* working directory; NULL: this process's */
    const char *const *variables; /* "NAME=value" sets one, "NAME" takes it away; NULL, or a NULL at
                                     the end */
    bool bare;                    /* nothing of this process's environment but `variables` */
    intptr_t streams[PLATFORM_STREAMS]; /* standard input, output and error; PLATFORM_NONE: this
                                           process's */
    const intptr_t *handles;            /* to be inherited under the same numbers */
    size_t handle_count;
    int priority; /* an enum kin_priority */
    const int *cores;
    size_t core_count; /* 0: this process's */
    bool group;        /* a process group of its own */
    bool session;      /* a session of its own, without a terminal */
    intptr_t job;      /* of platform_group_open: the child and all that it starts is in it */
} platform_setting;

static inline platform_setting platform_setting_none(void)
{
    return (platform_setting){.streams = {PLATFORM_NONE, PLATFORM_NONE, PLATFORM_NONE},
                              .job = PLATFORM_NONE};
}

typedef struct platform_spawn {
    const char *program; /* a path, or a name to look for as a shell does; NULL: this program */
    char *const
        *arguments; /* argv for it, with a NULL at the end; NULL: see platform_knows_arguments */
    const char
        *variable; /* "NAME=": one variable to add to the environment, with the value below */
    const char *value;
    intptr_t inherit; /* the memory object: the child has it under the same number */
    bool daemon;      /* the child must not outlive this process (see platform_process_follow) */
    const platform_setting *setting; /* NULL: what this process has */
} platform_spawn;

/* True where `arguments` NULL gives the child this process's command line, better than argv can;
   elsewhere it then gets a name alone. */
bool platform_knows_arguments(void);

/* Identity of this process. */
int platform_process_self(platform_identity *identity);

/* Marks this process as the one that has `slot` in the family, for as long as it lives. Called
   once, before its identity is published; `memory` is the family's. Where a system tells processes
   apart by itself it does nothing. */
int platform_process_claim(platform_identity *identity, const platform_memory *memory,
                           uint64_t slot);

/* Starts a program. KIN_E_NOT_FOUND (the program or the directory), KIN_E_INVALID (a handle, a core
   or a variable that is none), KIN_E_UNSUPPORTED (a setting that this system lacks),
   KIN_E_PERMISSION, KIN_E_NOMEM, KIN_E_DESCRIPTORS, KIN_E_PROCESS_LIMIT, KIN_E_SYSTEM; after a
   failure nothing is left. On success `process` is to be closed. May be called by several threads
   at a time. */
int platform_process_spawn(platform_process *process, const platform_spawn *spawn);

/* True where platform_process_fork works. */
bool platform_can_fork(void);

/* Makes a copy of this process, in which only the calling thread goes on. 0 in this process, which
   closes `process`; 1 in the copy. KIN_E_UNSUPPORTED where there is no fork; else errors as of
   platform_process_spawn. */
int platform_process_fork(platform_process *process);

/* In a copy that platform_process_fork made: takes over a setting, whose handles it has already
   unless they are streams. `prepared` is what platform_setting_prepare made of it in the original.
   After a failure the copy is to end. Safe in a signal handler. */
typedef struct platform_prepared {
    void *environment; /* NULL: this process's */
} platform_prepared;
int platform_setting_prepare(platform_prepared *prepared, const platform_setting *setting);
int platform_setting_enter(const platform_setting *setting, const platform_prepared *prepared);
void platform_setting_finish(platform_prepared *prepared);

/* From now on `hook` runs in each copy of this process that is made by fork, also by the user's,
   before fork returns there. It may do only what a signal handler may. Once. */
int platform_process_at_fork(void (*hook)(void));

/* Closes in a copy what belongs to the original. Safe in a signal handler. */
void platform_process_disown(platform_process *process);

/* True where any process can watch a child by its identity from its first moment; elsewhere only
   its parent can, until the child has claimed its slot. */
bool platform_sees_early_ends(void);

/* Watches a process by its identity, `memory` being the family's. KIN_E_ENDED if it is not alive
   any more. */
int platform_process_open(platform_process *process, const platform_identity *identity,
                          const platform_memory *memory);

/* Waits for its end. 0 or KIN_E_TIMEOUT. */
int platform_process_wait(const platform_process *process, int64_t timeout_ns);

/* A descriptor or handle of the caller's own, to be closed by the system's means, that is readable
   or signalled once the process has ended; NULL: one that is so at once. KIN_E_DESCRIPTORS;
   KIN_E_UNSUPPORTED where nothing shows the end of a process that is not a child. */
int platform_process_sentinel(const platform_process *process, intptr_t *sentinel);

/* How it ended, once platform_process_wait has returned 0; a child is reaped. Code as
   kin_process_exit_code gives it. KIN_E_SYSTEM when the system cannot tell, because somebody else
   reaped it. */
int platform_process_exit_code(platform_process *process, int *code);

/* The same for any process that has ended, by its identity alone, while the system still knows:
   until its parent has reaped or closed it. KIN_E_SYSTEM when it does not. */
int platform_process_code_of(const platform_identity *identity, int *code);

/* Ends it: at once, or (`ask`) by a request that it may catch, see terminate.c. One that has ended
   is no error. */
int platform_process_kill(const platform_process *process, bool ask);
void platform_process_close(platform_process *process);

/* In a child that was started with `daemon`: from now on the end of `parent` ends this process at
   once, whatever ends it. May start a thread. */
int platform_process_follow(const platform_process *parent);

/* In a started child: what it needs to watch its parent, taken from what it inherited. KIN_E_ENDED
   if that is gone. */
int platform_process_parent(platform_process *parent, const platform_identity *identity,
                            const platform_memory *memory);

/* Ends this process as platform_process_kill does. */
_Noreturn void platform_process_die(void);

/* Ends this process at once, with nothing run or flushed. */
_Noreturn void platform_process_exit_now(int code);

/* From now on the end of this process by abort tells itself by its exit code, -6, unless the
   program has a handler of its own for that. Nothing where the system does it. */
void platform_process_tell_abort(void);

/* Runs `hook` once when this process ends by exit or by returning from main, while its other
   threads still run (on Windows: not from DllMain). KIN_E_NOMEM. */
int platform_process_at_exit(void (*hook)(void));

/* ---- group.c: all that descends from some processes, members or not ---- */

/* A process that was started with `group` or `session`; what it starts stays with it. */
typedef struct platform_leader {
    platform_identity identity;
    bool own; /* a child of the caller's that is pinned */
} platform_leader;

typedef struct platform_group {
    intptr_t object; /* of platform_group_open */
    const platform_leader *leaders;
    size_t leader_count;
} platform_group;

/* True where a group is known by its leaders, and `object` says nothing; else it is the other way
   round. */
bool platform_group_has_leaders(void);

/* The system's object for the family's group `number`, which is made if nobody has it open;
   PLATFORM_NONE where there are leaders. */
int platform_group_open(intptr_t *object, uint64_t family, uint64_t number);
void platform_group_close(intptr_t object);

/* The pids of all that are alive in the group, in memory to be freed (NULL if there are none).
   Those of leaders that are gone, and nobody's children any more, are not found. */
int platform_group_list(const platform_group *group, uint64_t **pids, size_t *count);

/* Kills all that are in the group; the caller, if it is one of them, at last. */
int platform_group_kill(const platform_group *group);

/* Asks those of the group that have one of these pids to end; on a system that cannot ask, ends
   them. */
int platform_group_ask(const platform_group *group, const uint64_t *pids, size_t count);

/* ---- terminate.c: being asked to end ---- */

/* From now on what asks this process to end (platform_process_kill with `ask`; on POSIX SIGTERM
   from anybody, on Windows also Ctrl+Break and the closing of the console) counts for
   platform_terminate_wait, and does nothing else. May be repeated. */
int platform_terminate_catch(void);

/* Such a request does again what it did before. One that platform_terminate_wait still tells of is
   to be answered by platform_terminate_default. */
void platform_terminate_release(void);

/* Takes one request. 0 or KIN_E_TIMEOUT. Requests that come at the same moment may be one. One
   thread, started by platform_thread_start, after the first platform_terminate_catch. */
int platform_terminate_wait(int64_t timeout_ns);

/* What a request does to a process that does not catch it: may end it. */
void platform_terminate_default(void);

/* Ends this process at once as one that has been asked to, whatever its other threads do or
   hold. */
_Noreturn void platform_terminate_now(void);

/* In a copy that fork has made: nothing is caught. Safe in a signal handler. */
void platform_terminate_reset_copy(void);

/* ---- watch.c: waiting for the end of any of many processes ---- */

typedef struct platform_watch platform_watch;

int platform_watch_create(platform_watch **watch);

/* From now on platform_watch_wait tells `cookie` (not 0) once when the process has ended; `process`
   stays open until platform_watch_remove, after which the cookie is not told any more, or
   platform_watch_destroy. Any thread, also during a wait. */
int platform_watch_add(platform_watch *watch, const platform_process *process, uint64_t cookie);
void platform_watch_remove(platform_watch *watch, const platform_process *process);

/* 0 and a cookie; 0 and cookie 0 after platform_watch_wake, or early; KIN_E_TIMEOUT. What had ended
   when it was added is told also by a wait of 0. One thread at a time. */
int platform_watch_wait(platform_watch *watch, uint64_t *cookie, int64_t timeout_ns);
void platform_watch_wake(platform_watch *watch);
void platform_watch_destroy(platform_watch *watch);

/* ---- stream.c: what a child's standard streams can be ---- */

/* PLATFORM_WRITE creates a file, or empties the one that is there; PLATFORM_APPEND creates it, or
   goes on at its end wherever that is at each write. */
enum platform_open { PLATFORM_READ, PLATFORM_WRITE, PLATFORM_APPEND };

/* Opens a file for a child, which reads and writes it as any other. `path` is UTF-8 (on POSIX
   whatever the system takes). A FIFO is waited for. KIN_E_NOT_FOUND (also for a missing directory
   on the way), KIN_E_PERMISSION (also for a directory, a file system that is read only, or a file
   that somebody keeps for himself), KIN_E_INVALID (not UTF-8, on Windows), KIN_E_DESCRIPTORS,
   KIN_E_NOMEM (also for a full disk), KIN_E_SYSTEM. This function and the next two give
   PLATFORM_NONE after a failure. */
int platform_stream_open(intptr_t *handle, const char *path, enum platform_open how);

/* The same for what is always empty and takes everything: /dev/null, NUL. */
int platform_stream_null(intptr_t *handle, enum platform_open how);

/* Makes a pipe between this process, whose end is for the next two functions alone, and a child,
   whose end is an ordinary one that blocks. `how` says what this process does: PLATFORM_READ or
   PLATFORM_WRITE. The other side sees the end of a stream when the last handle of this side is
   gone, in whatever process: this one closes `of_child` when the child has it, and a copy of this
   process that is made by fork has both. KIN_E_DESCRIPTORS, KIN_E_NOMEM, KIN_E_SYSTEM. */
int platform_stream_pipe(intptr_t *own, intptr_t *of_child, enum platform_open how);

/* Reads what there is: at least one byte, at most `size`. 0 and *done; KIN_E_TIMEOUT when nothing
   has come; KIN_E_CLOSED at the end, when nobody can write any more and all is read. A timeout of 0
   gives what is there. One thread reads a pipe at a time. */
int platform_stream_read(intptr_t own, void *buffer, size_t size, size_t *done, int64_t timeout_ns);

/* Writes all. *done says how much the pipe has taken, also after a failure: the rest has not been
   written and never will be. KIN_E_TIMEOUT; KIN_E_CLOSED when nobody can read any more, of which no
   signal reaches the program. A timeout of 0 writes what there is room for. One thread writes a
   pipe at a time. */
int platform_stream_write(intptr_t own, const void *data, size_t size, size_t *done,
                          int64_t timeout_ns);

/* This process's own standard stream 0, 1 or 2; PLATFORM_NONE if it has none. Not to be closed. */
intptr_t platform_stream_standard(int number);

/* Closes any of them; what has been written can still be read. PLATFORM_NONE is nothing to
   close. */
void platform_stream_close(intptr_t handle);

/* ---- module.c: functions across processes ---- */

typedef struct platform_module {
    uint64_t build[2]; /* of this build of the module and no other */
    uintptr_t base;
    char path[512]; /* UTF-8; "" for the program itself */
} platform_module;

/* The module that holds `address`; KIN_E_FUNCTION if none does. */
int platform_module_of(platform_module *module, uintptr_t address);

/* The module with that build, loaded from that path if it is not loaded yet. Sets base.
   KIN_E_FUNCTION if this process cannot have it. Checks that [base, base + offset] is within the
   module and may be executed. */
int platform_module_find(platform_module *module, uintptr_t offset);

/* The same in another process: the path of what is mapped there at the address (UTF-8), and how far
   behind its base. KIN_E_FUNCTION if nothing is, KIN_E_ENDED, KIN_E_PERMISSION,
   KIN_E_UNSUPPORTED where it cannot be told. */
int platform_module_elsewhere(const platform_identity *identity, uint64_t address, char *path,
                              size_t size, uint64_t *offset);

/* ---- thread.c ---- */

/* A small number that differs between threads that run at the same time, as far as possible. Costs
   a nanosecond. */
uint32_t platform_thread_stripe(void);

/* Starts a detached thread with all signals blocked and a small stack (256 KiB). KIN_E_NOMEM,
   KIN_E_THREAD_LIMIT. */
int platform_thread_start(void (*function)(void *), void *argument);

/* From now on `hook(value)` runs at the end of a thread that gave a value other than NULL with
   platform_thread_set. */
int platform_thread_at_exit(void (*hook)(void *value));
void platform_thread_set(void *value);

/* A lock between the threads of this process; zeroed memory is an open one. Never held across a
   wait on others. */
typedef struct platform_lock {
    uintptr_t opaque[8];
} platform_lock;

void platform_lock_acquire(platform_lock *lock);
void platform_lock_release(platform_lock *lock);

/* ---- system.c: clock, cores, chance, environment ---- */

int64_t platform_clock_ns(void);
void platform_sleep_ns(int64_t duration_ns);

/* Nanoseconds since 1970 in UTC, by a clock that may be set. */
int64_t platform_wall_clock_ns(void);
int platform_usable_cores(void);
int platform_random(void *bytes, size_t size);

/* Takes `name` out of this process's environment and copies its value to `buffer`. KIN_E_NOT_FOUND
   if it is not set, does not fit, or this program is privileged (setuid, file capabilities) and
   must not trust it. Only while there is one thread. */
int platform_environment_take(const char *name, char *buffer, size_t size);

/* The same, but leaves it there. */
int platform_environment_read(const char *name, char *buffer, size_t size);

/* Writes to standard error, with one call of the system. What cannot be written is lost. */
void platform_write_error(const char *text, size_t size);

/* Writes what standard output and error of the C library hold. */
void platform_flush_output(void);

#endif
