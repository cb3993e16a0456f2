/* Processes. Python: multiprocessing.Process.

   A process is started with a function and its arguments; both travel to it by themselves. Its
   handle means the
   same in every member of the family, so any member may join it, kill it or ask how it ended. The
   handle stays
   good until kin_process_close. */
#ifndef KIN_PROCESS_H
#define KIN_PROCESS_H

#include <kin/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A process of the family. Zero is no process. */
typedef struct kin_process {
    uint64_t id;
} kin_process;

/* Processes that are ended and joined as one: see kin/group.h. Zero is no group. */
typedef struct kin_group {
    uint64_t id;
} kin_group;

/* What a child runs. `argument` is the child's own copy, aligned for any type; it may write to it.
   What is
   returned becomes the exit code (on POSIX its low eight bits). */
typedef int (*kin_process_function)(void *argument, size_t size);

/* The numbers of the two signals that end processes, the same on every system. */
enum { KIN_SIGKILL = 9, KIN_SIGTERM = 15 };

/* How the system is asked for a process.
   SPAWN starts the program anew: the same everywhere, clean, and independent of the parent's size.
   FORK copies this process, with all that it has in memory and one thread, the calling one. Of what
   other threads held at that moment (locks of other libraries, say) nothing is right in the copy.
   Not on Windows.
   FORKSERVER has a process that was spawned for the purpose, and has one thread, copied. Not on
   Windows. */
enum kin_start_method {
    KIN_START_DEFAULT = 0,
    KIN_START_SPAWN = 1,
    KIN_START_FORK = 2,
    KIN_START_FORKSERVER = 3
};

/* Chooses what KIN_START_DEFAULT means from now on in the whole family; at first it is
   KIN_START_SPAWN.
   Errors: KIN_E_INIT, KIN_E_INVALID, KIN_E_UNSUPPORTED (not on this system). Python:
   set_start_method. */
KIN_API int kin_set_start_method(int method);

/* What KIN_START_DEFAULT means; negative: KIN_E_INIT. Python: get_start_method. */
KIN_API int kin_get_start_method(void);

/* 1 if this system has the method, else 0. Python: get_all_start_methods. */
KIN_API int kin_has_start_method(int method);

/* Has function(NULL, 0) run once in the forkserver before it forks anything, to load what all
   children need. Only before the first process is started that way: KIN_E_STATE otherwise. Errors:
   KIN_E_INIT, KIN_E_INVALID, KIN_E_FUNCTION, KIN_E_UNSUPPORTED, KIN_E_NOMEM. Python:
   set_forkserver_preload. */
KIN_API int kin_set_forkserver_preload(kin_process_function function);

/* The three standard streams, as kin_process_read and others name them. */
enum { KIN_STDIN = 0, KIN_STDOUT = 1, KIN_STDERR = 2 };

/* What a standard stream of a child is.
   INHERIT: that of the process that starts it. NULL: reads the end, swallows all output.
   FILE: `path`; for output it is created, or emptied, or, with `append`, written to at its end. A
   FIFO is waited for.
   PIPE: to the process that starts it; see kin_process_read and kin_process_write.
   HANDLE: `handle`, a descriptor or HANDLE of the process that starts it, which keeps it.
   OUTPUT: for standard error alone: where standard output goes.
   Python: the stdin, stdout and stderr of subprocess.Popen. */
enum kin_stream_kind {
    KIN_STREAM_INHERIT = 0,
    KIN_STREAM_NULL = 1,
    KIN_STREAM_FILE = 2,
    KIN_STREAM_PIPE = 3,
    KIN_STREAM_HANDLE = 4,
    KIN_STREAM_OUTPUT = 5
};

typedef struct kin_stream {
    int kind; /* an enum kin_stream_kind */
    bool append;
    const char *path; /* UTF-8 */
    intptr_t handle;
} kin_stream;

/* How the system shares out processor time: nice values of 19, 10, 0 and -10, or the priority
   classes of Windows up to HIGH. To raise it may need a privilege: KIN_E_PERMISSION. */
enum kin_priority {
    KIN_PRIORITY_INHERIT = 0,
    KIN_PRIORITY_IDLE = 1,
    KIN_PRIORITY_LOW = 2,
    KIN_PRIORITY_NORMAL = 3,
    KIN_PRIORITY_HIGH = 4
};

/* How a process is started. Zero means the default; all that is reserved is zero. Texts are UTF-8.
   What is not said here the process has from the one that starts it, and relative paths begin at
   that one's directory; under KIN_START_FORKSERVER it is the server's, which had it from the first
   that started a process so. */
typedef struct kin_process_options {
    /* Up to 255 bytes; default "process-N". */
    const char *name;
    /* It ends when its parent ends, even when the parent is killed. It has no children that are no
       daemons. */
    bool daemon;
    /* It has only what `environment` says, and nothing of this process's (on Windows SystemRoot
       stays). */
    bool clean_environment;
    /* A process group of its own: what a terminal sends to this one does not reach it. */
    bool new_process_group;
    /* A session of its own, without a terminal (on Windows: without a console). */
    bool new_session;
    /* An enum kin_start_method. */
    int method;
    uint32_t reserved_method;
    /* The executable to start, a path or a name to look for in PATH; default: this program. Only
       with KIN_START_SPAWN. See kin_process_start. */
    const char *program;
    /* Its argv, a NULL at the end. Default: for a function the arguments of this process, else the
       program's name alone. */
    const char *const *arguments;
    /* Its working directory. */
    const char *directory;
    /* A NULL at the end: "NAME=value" sets a variable, "NAME" takes one away; of two for the same
       the later one counts. */
    const char *const *environment;
    kin_stream input;
    kin_stream output;
    kin_stream error;
    /* Descriptors or HANDLEs that it has under the same numbers; a process that is spawned has no
       others. The process that starts it keeps them, and passes them on to nobody else. */
    const intptr_t *inherit;
    size_t inherit_count;
    /* Numbers of the cores that it may use, all of which must be there. */
    const int *cores;
    size_t core_count;
    /* An enum kin_priority. */
    int priority;
    uint32_t reserved_priority;
    /* It is started into this group, and those of this process; default: those alone. */
    kin_group group;
    uint64_t reserved[7];
} kin_process_options;

/* Starts a process that runs function(argument, size). Returns when the system has started it, not
   when it has reached the function; failures after that are told by kin_process_join. But whatever
   of the options cannot be had is told here, with every method.
   process: the new handle. function: any function of this program or of a shared library that it
   loads. argument, size: copied; NULL and 0 for none. options: NULL for all defaults.
   With `program` in the options, that program must have the function too: be a build of this one,
   or load the same shared library before it calls kin_init.
   Without a function (NULL, only with a program) its own main goes on: kin_init makes it a member
   of the family and returns, and kin_process_argument tells what it was given. This is how an
   interpreter is started. One that never calls kin_init is a process like others, but no member: it
   does not follow its parent as a daemon, and ends on its own. One that only launches another,
   which then calls kin_init, makes that one the member; the handle goes on standing for what was
   started, whose end and exit code it tells.
   Errors: KIN_E_INVALID, KIN_E_INIT, KIN_E_NOMEM, KIN_E_NOT_FOUND (no such program, directory or
   file), KIN_E_PERMISSION, KIN_E_DESCRIPTORS, KIN_E_PROCESS_LIMIT, KIN_E_FUNCTION (the function is
   in no module), KIN_E_HANDLE (the group), KIN_E_STATE (the group has been killed; or this process
   is a daemon, and the child would be none), KIN_E_LIMIT (too many groups), KIN_E_UNSUPPORTED (a
   method or an option that this system lacks; KIN_START_FORKSERVER with handles to pass: streams
   that are pipes or handles, `inherit`), KIN_E_SYSTEM. After an error nothing is left behind.
   Does not block; a copy is waited for until it has what the options say.
   Python: Process(...).start, subprocess.Popen. */
KIN_API int kin_process_start(kin_process *process, kin_process_function function,
                              const void *argument, size_t size,
                              const kin_process_options *options);

/* In a process that was started without a function: what it was given. Good until the end of the
   process. KIN_E_STATE in all others. Errors: KIN_E_INIT, KIN_E_INVALID. */
KIN_API int kin_process_argument(const void **argument, size_t *size);

/* Reads what a child has written to a stream that is a pipe: at least one byte, at most `size`, and
   *done says how many. stream: KIN_STDOUT or KIN_STDERR. Only in the process that started the
   child, before kin_process_close; also when the child has ended. Errors: KIN_E_CLOSED (all has
   been read, and nobody is left who could write more), KIN_E_TIMEOUT, KIN_E_HANDLE, KIN_E_INVALID,
   KIN_E_STATE (not such a stream, closed, or not this process's child), KIN_E_BUSY (another thread
   is reading it). Python: Popen.stdout.read1. */
KIN_API int kin_process_read(kin_process process, int stream, void *buffer, size_t size,
                             size_t *done, int timeout_ms);

/* Writes all of `data` to the child's standard input, which is a pipe. *done (NULL if not wanted)
   says how much was written, also after an error. KIN_E_CLOSED: the child, and who else had it, has
   closed it; no SIGPIPE comes of that. Else as kin_process_read. Python: Popen.stdin.write. */
KIN_API int kin_process_write(kin_process process, const void *data, size_t size, size_t *done,
                              int timeout_ms);

/* Closes this process's end of a stream that is a pipe: the child reads the end, or can write no
   more. A call of another thread that is under way with it is finished first. Errors: KIN_E_HANDLE,
   KIN_E_INVALID, KIN_E_STATE. Python: Popen.stdin.close. */
KIN_API int kin_process_close_stream(kin_process process, int stream);

/* Waits until the process has ended. Any member may join, any number of times. One whose output
   goes to a pipe that nobody reads, or whose input nobody closes, may never end.
   Errors: KIN_E_TIMEOUT, KIN_E_HANDLE, KIN_E_DEADLOCK (it is the caller itself); and, once it has
   ended without running its function, why: KIN_E_NO_INIT, KIN_E_FUNCTION, KIN_E_VERSION,
   KIN_E_ATTACH, KIN_E_NOMEM.
   Python: Process.join. */
KIN_API int kin_process_join(kin_process process, int timeout_ms);

/* Waits until one of many processes has ended, as kin_process_join does for one: of any number of
   them, on every system, from any member; a process may be anybody's child, have ended before, be
   on its way or be given twice.
   processes, count: at least one. index: set to the number of one that has ended, the lowest if
   several are seen to have ended at first look. timeout_ms: milliseconds, 0 to look only,
   KIN_FOREVER.
   One that another member closes meanwhile has ended. The caller itself is not waited for.
   Errors: KIN_E_TIMEOUT, KIN_E_HANDLE (one of them is no process: nothing is waited for),
   KIN_E_INVALID, KIN_E_INIT, KIN_E_DEADLOCK (there is but the caller itself), KIN_E_NOMEM,
   KIN_E_DESCRIPTORS (each process that is not a child of the caller costs one meanwhile). Why a
   process did not run its function is not told here but by kin_process_join.
   Python: multiprocessing.connection.wait over sentinels. */
KIN_API int kin_process_wait_any(const kin_process *processes, size_t count, size_t *index,
                                 int timeout_ms);

/* Waits until all of them have ended; their exit codes can then be read at once. Of none there is
   nothing to wait for: 0. Otherwise as kin_process_wait_any, but KIN_E_DEADLOCK if the caller is
   among them. After an error any of them may have ended. */
KIN_API int kin_process_wait_all(const kin_process *processes, size_t count, int timeout_ms);

/* Gives something of the system's own that shows the end of a process, for poll, epoll, libuv or
   WaitForMultipleObjects: a descriptor that is readable, or a HANDLE that is signalled, once the
   process has ended; at once if it has. It is the caller's own and not inherited by other programs;
   it is to be closed with close or CloseHandle, also after the handle of the process. Nothing is to
   be read from it. When it shows the end kin_process_join takes but a moment.
   process: of any member. sentinel: the descriptor or HANDLE.
   Errors: KIN_E_HANDLE, KIN_E_INVALID, KIN_E_INIT, KIN_E_DESCRIPTORS; KIN_E_UNSUPPORTED on a POSIX
   system without pidfds, for a process that is not a child of the caller. Blocks only while
   another member is starting the process. Python: Process.sentinel. */
KIN_API int kin_process_sentinel(kin_process process, intptr_t *sentinel);

/* How the process ended: what its function returned or what it gave to exit, or the negative number
   of the signal that killed it (-KIN_SIGKILL after kin_process_kill, on Windows too).
   Windows has no signals; there the numbers of POSIX stand for: -2 Ctrl+C, -4 an instruction that
   does not exist, -5 a breakpoint, -6 abort and what the system ends as beyond repair, -8
   arithmetic, -11 memory that it may not use.
   Errors: KIN_E_RUNNING (not ended), KIN_E_HANDLE, KIN_E_INVALID; KIN_E_SYSTEM if the system could
   not tell.
   Does not block. Python: Process.exitcode. */
KIN_API int kin_process_exit_code(kin_process process, int *code);

/* 1 if the process has been started and has not ended, 0 if it has ended. Errors: KIN_E_HANDLE.
   Python: Process.is_alive. */
KIN_API int kin_process_is_alive(kin_process process);

/* The system's number for the process, also after its end (it may then belong to another process);
   negative: KIN_E_HANDLE. Python: Process.pid. */
KIN_API int kin_process_pid(kin_process process);

/* Its name; empty for a bad handle, never NULL. Good until the handle is closed. Python:
   Process.name. */
KIN_API const char *kin_process_name(kin_process process);

/* Kills the process at once. It is dead when kin_process_join says so. One that has ended already
   is no error. Errors: KIN_E_HANDLE, KIN_E_PERMISSION, KIN_E_SYSTEM; KIN_E_UNSUPPORTED for a
   program that has not called kin_init and is another process's child, on systems that tell
   processes apart by their pid alone. Python: Process.kill. */
KIN_API int kin_process_kill(kin_process process);

/* Asks the process to end. One that has a handler (kin_on_terminate) is left to end by itself, in
   the time that it has set; any other is ended at once, with the exit code -KIN_SIGTERM, unless on
   POSIX it has a handler for SIGTERM of its own: that is what is sent.
   Otherwise like kin_process_kill: returns when the process has been asked. Python:
   Process.terminate. */
KIN_API int kin_process_terminate(kin_process process);

/* Gives the handle back. The process must have ended: KIN_E_RUNNING otherwise. Calls of others that
   are under
   way with this handle are finished or get KIN_E_HANDLE. Python: Process.close. */
KIN_API int kin_process_close(kin_process process);

/* Ends this process with an exit code as returning from its function, or from main, does: functions
   of kin_at_exit run, daemon children are killed, the others joined, streams flushed. Does not
   return. Python: sys.exit. */
KIN_API KIN_NORETURN void kin_exit(int code);

/* Has function(context) run when this process ends by kin_exit, exit, or by returning; not when it
   is killed. The last one given runs first; up to 64. A process that was forked begins with none.
   Errors: KIN_E_INIT, KIN_E_INVALID, KIN_E_LIMIT. Python: multiprocessing.util.Finalize. */
KIN_API int kin_at_exit(void (*function)(void *context), void *context);

/* Has handler(context) run when this process is asked to end: by kin_process_terminate of any
   member, on POSIX by SIGTERM from anybody, on Windows also by Ctrl+Break or the closing of its
   console. It runs in a thread of kin's own (with a stack of 256 KiB), not in a signal handler, so
   it may do anything: set a flag, call kin_exit. It runs once for each request, one after the
   other; requests that come at the same moment may count as one.
   grace_ms: if the process has not ended that many milliseconds after the first request it is ended
   with the exit code -KIN_SIGTERM, whatever its threads do or hold, the handler too; KIN_FOREVER:
   never.
   The last one given counts. NULL takes it back, as kin_shutdown does: a request then does what it
   did before (a handler for SIGTERM of the program's own, which is replaced in between, is
   restored), and one that the handler has not been called for counts as new. The handler may still
   be running when this returns. A process that was forked begins without.
   Errors: KIN_E_INIT, KIN_E_INVALID (grace_ms), KIN_E_NOMEM, KIN_E_THREAD_LIMIT, KIN_E_SYSTEM.
   Does not block. Python: signal.signal(SIGTERM, ...). */
KIN_API int kin_on_terminate(void (*handler)(void *context), void *context, int grace_ms);

/* Says in words why this process is going to end as it does, for whoever asks with
   kin_process_error; up to 255 bytes are kept. Errors: KIN_E_INIT, KIN_E_INVALID. */
KIN_API int kin_set_error(const char *message);

/* Copies what the process said with kin_set_error to `text`, cut to `size` bytes with the end mark;
   empty if it said nothing. Errors: KIN_E_HANDLE, KIN_E_INVALID. Python: the traceback that a child
   leaves. */
KIN_API int kin_process_error(kin_process process, char *text, size_t size);

/* The process that calls. The zero handle before kin_init. Python: current_process. */
KIN_API kin_process kin_current_process(void);

/* The one that started this process; the zero handle in the first of a family. Python:
   parent_process. */
KIN_API kin_process kin_parent_process(void);

/* Writes up to `capacity` handles of this process's children that are alive to `children` and
   returns how many
   there are. NULL and 0 only count. 0 before kin_init. Python: active_children. */
KIN_API size_t kin_active_children(kin_process *children, size_t capacity);

#ifdef __cplusplus
}
#endif

#endif
