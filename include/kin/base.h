/* The ground of the interface: joining the family, errors, the clock, and the types that all
   headers share.

   Every function returns 0, or a positive notice, on success and a negative KIN_E_* on failure;
   nothing is
   ever printed and nothing aborts. All functions may be called from any thread. Times that a call
   may wait
   are given as `timeout_ms`: KIN_FOREVER, 0 for "do not wait", or milliseconds. A signal never cuts
   a wait
   short. An options struct may be NULL, and a zero in it means the default: zero the whole
   struct. */
#ifndef KIN_BASE_H
#define KIN_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined _WIN32 || defined __CYGWIN__
#if defined KIN_STATIC
#define KIN_API
#elif defined KIN_BUILDING
#define KIN_API __declspec(dllexport)
#else
#define KIN_API __declspec(dllimport)
#endif
#elif defined __GNUC__
#define KIN_API __attribute__((visibility("default")))
#else
#define KIN_API
#endif

/* Of a function that does not return. */
#if defined __GNUC__
#define KIN_NORETURN __attribute__((noreturn))
#else
#define KIN_NORETURN
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define KIN_VERSION_MAJOR 0
#define KIN_VERSION_MINOR 1
#define KIN_VERSION_PATCH 0

/* What `timeout_ms` says to wait without end. */
#define KIN_FOREVER (-1)

/* What functions return. Failures are negative; notices, which are successes with news, are
   positive. */
enum {
    KIN_OK = 0,
    KIN_OWNER_DIED = 1,   /* acquired; the owner before died while it held it */
    KIN_EXISTED = 2,      /* opened; it was there already */
    KIN_E_INVALID = -1,   /* an argument is out of its range, or NULL where it may not be */
    KIN_E_HANDLE = -2,    /* the handle is stale, forged, of another kind or of another family */
    KIN_E_NOMEM = -3,     /* no memory, or the arena is full */
    KIN_E_TIMEOUT = -4,   /* the time is over, or the call would have had to wait */
    KIN_E_INIT = -5,      /* kin_init has not been called in this process */
    KIN_E_NO_INIT = -6,   /* the child ended without calling kin_init */
    KIN_E_FUNCTION = -7,  /* the function is not in the child: another build, or a missing module */
    KIN_E_NOT_FOUND = -8, /* the executable, or what is named, does not exist */
    KIN_E_PERMISSION = -9,     /* the system does not permit it */
    KIN_E_DESCRIPTORS = -10,   /* no descriptor or system handle is left */
    KIN_E_PROCESS_LIMIT = -11, /* the family, or the system, has no room for another process */
    KIN_E_THREAD_LIMIT = -12,  /* the family, or the system, has no room for another thread */
    KIN_E_SYSTEM = -13,        /* the system failed in another way: see kin_system_error */
    KIN_E_UNSUPPORTED = -14,   /* this system cannot do it */
    KIN_E_STATE = -15,         /* not possible in the object's present state */
    KIN_E_BUSY = -16,          /* in use by somebody else, or by the caller itself */
    KIN_E_CLOSED = -17,        /* closed, or the other side is gone */
    KIN_E_DESTROYED = -18,     /* destroyed while the call waited for it */
    KIN_E_WORKER_DIED = -19,   /* the worker that ran the task died */
    KIN_E_TASK = -20,          /* the task itself reported an error */
    KIN_E_POOL_DIED = -21, /* the process that runs the pool is gone, or no worker can be started */
    KIN_E_ENDED = -22,     /* the process has ended */
    KIN_E_RUNNING = -23,   /* the process has not ended yet */
    KIN_E_VERSION = -24,   /* the family runs another version of kin than this process */
    KIN_E_ATTACH = -25,    /* the child could not join the family that started it */
    KIN_E_TOO_SMALL = -26, /* the buffer is too small */
    KIN_E_BROKEN = -27,    /* broken by the death of a party to it */
    KIN_E_DEADLOCK = -28,  /* to wait would close a cycle */
    KIN_E_CANCELLED = -29, /* cancelled before it ran */
    KIN_E_LIMIT = -30,     /* a limit of kin's own is reached */
    KIN_E_NOT_OWNER = -31, /* the caller does not own it */
    KIN_E_EXISTS = -32     /* it exists already */
};

/* What kin_init may be told. Zero means the default. Only the first process of a family chooses. */
typedef struct kin_options {
    uint64_t
        arena_size; /* bytes to reserve for all shared objects; default 64 GiB (16 GiB on Windows;
                       with 32
                       bits 1 GiB and 512 MiB). Reserved is not used: memory is committed as it is
                       needed. What the system refuses is halved until it fits. From 1 MiB to 128
                       GiB. */
    uint32_t
        max_processes; /* processes alive at one time in the family; default 8192, at most 65534 */
    uint32_t
        max_threads; /* threads that use kin at one time in the family; default 4 x max_processes,
                        at most 1048574 */
    uint32_t
        detect_deadlocks; /* not 0: a wait for a lock, or for the end of a process, that would never
                             end because it closes a cycle of such returns KIN_E_DEADLOCK; see
                             kin_error_detail. KIN_DEADLOCK=1 in the environment of the family's
                             first process does the same. Default: off */
    uint32_t reserved_flags;
    uint64_t reserved[5];
} kin_options;

/* Makes this process a member of a family; must stand first in main. In a process that kin started,
   it runs
   the function that the process was started for and exits with what that returns: it does not come
   back.
   Otherwise it founds a family of one. A second call does nothing.
   argc, argv: those of main, or NULL; passed to children so that they see the same command line.
   Errors: KIN_E_NOMEM, KIN_E_DESCRIPTORS, KIN_E_SYSTEM. A child that cannot join (KIN_E_ATTACH,
   KIN_E_VERSION, KIN_E_NOMEM) ends with an exit code from 125 to 127, and whoever joins it gets the
   error.
   Does not block. Python: what `if __name__ == "__main__"` and freeze_support are for. */
KIN_API int kin_init(int *argc, char ***argv);

/* kin_init with options. NULL for all defaults. KIN_E_INVALID for options out of range. */
KIN_API int kin_init_with(int *argc, char ***argv, const kin_options *options);

/* Leaves the family before the process ends, as the process's normal exit does by itself: daemon
   children are killed, the others joined, and what this process held is given back. Handles are
   worthless afterwards;
   kin_init founds a new family. No other thread may be inside kin. Errors: KIN_E_INIT.
   Blocks until the non-daemon children have ended. */
KIN_API int kin_shutdown(void);

/* The version of the library that runs, as "0.1.0". */
KIN_API const char *kin_version(void);

/* A sentence in English about what a function returned; never NULL. Does not block. */
KIN_API const char *kin_strerror(int status);

/* The name of what a function returned, as "KIN_E_TIMEOUT"; never NULL. */
KIN_API const char *kin_error_name(int status);

/* The system's own number (errno, or GetLastError on Windows) behind the last failure of a kin
   function in this thread; 0 if the system had no part in it. */
KIN_API int64_t kin_system_error(void);

/* More about the last failure of a kin function in this thread: of KIN_E_DEADLOCK, when
   deadlocks are looked for, who waits for whom. In English; "" if there is no more to say; never
   NULL. Good until the next call of a kin function in this thread. */
KIN_API const char *kin_error_detail(void);

/* Nanoseconds of a clock that never goes back; comparable between processes of one machine.
   Python: time.monotonic_ns. */
KIN_API int64_t kin_clock_ns(void);

/* Sleeps. A signal does not shorten it. Negative: KIN_E_INVALID, but KIN_FOREVER sleeps for
   ever. */
KIN_API int kin_sleep(int milliseconds);

/* How many processors this process may use: its affinity, the quota of its container (rounded up)
   and, on
   Windows, all processor groups are respected. At least 1. Python: os.process_cpu_count. */
KIN_API int kin_usable_cores(void);

/* What the arena holds now. */
typedef struct kin_arena_usage {
    uint64_t reserved;  /* bytes of address space */
    uint64_t committed; /* bytes that the system has given to it */
    uint64_t used;      /* bytes in use by objects and tables, of these */
    uint32_t processes; /* members of the family that are alive */
    uint32_t threads;   /* of their threads, those that have used kin */
    uint64_t blocks;    /* blocks allocated */
    uint64_t syncs;     /* locks and the like, queues, pipes, lists and dictionaries */
} kin_arena_usage;

/* Reads how much shared memory the family uses, after what dead members held has been given back.
   Errors: KIN_E_INIT, KIN_E_INVALID. Takes time in proportion to the number of objects; for tests
   and diagnosis. */
KIN_API int kin_arena_read_usage(kin_arena_usage *usage);

/* Gives all unused memory of the arena back to the system. On Windows its pages are given back, but
   they stay charged as committed until the family ends. Errors: KIN_E_INIT. */
KIN_API int kin_arena_trim(void);

#ifdef __cplusplus
}
#endif

#endif
