/* Processes: telling them apart, watching and ending them, and the end of this one (spawn.c starts
   them).

   A process is told from others by its number and the time of its creation; its handle is signalled
   when it has ended. Windows has no signals: an exit code of our own marks what
   platform_process_kill has ended, and what has ended itself by abort. */
#include "win32/wing.h"

#include <signal.h>
#include <stdlib.h>
#include <winternl.h>

/* One who asks for this much may see, wait for and end a process. */
#define WATCH_RIGHTS (SYNCHRONIZE | PROCESS_QUERY_LIMITED_INFORMATION | PROCESS_TERMINATE)

/* The numbers that POSIX has for the ways in which a process ends. */
enum {
    SIGNAL_INTERRUPT = 2,
    SIGNAL_ILLEGAL = 4,
    SIGNAL_TRAP = 5,
    SIGNAL_ABORT = 6,
    SIGNAL_FLOAT = 8,
    SIGNAL_MEMORY = 11,
    SIGNAL_HIGHEST = 64
};

/* Of a process that ends itself because it is beyond repair; not all headers name them. */
#define FATAL_APP_EXIT 0x40000015u
#define FAIL_FAST 0xc0000409u
#define HEAP_CORRUPTION 0xc0000374u
#define ASSERTION_FAILURE 0xc0000420u

enum { EXIT_HOOKS = 4 };

int platform_process_self(platform_identity *identity)
{
    *identity = (platform_identity){.pid = GetCurrentProcessId()};
    return wing_process_stamp(GetCurrentProcess(), &identity->stamp);
}

int platform_process_claim(platform_identity *identity, const platform_memory *memory,
                           uint64_t slot)
{
    (void) memory;
    identity->slot = slot;
    return 0;
}

/* All processes of the system, to be freed; NULL if they cannot be told. */
static unsigned char *read_processes(void)
{
    typedef NTSTATUS(NTAPI * query_function)(SYSTEM_INFORMATION_CLASS, PVOID, ULONG, PULONG);
    const NTSTATUS too_small = (NTSTATUS) 0xc0000004;
    const ULONG largest = 64 << 20;
    query_function query =
        (query_function) wing_find_function(L"ntdll.dll", "NtQuerySystemInformation");
    for (ULONG size = 256 << 10; query != NULL && size <= largest; size *= 2) {
        unsigned char *processes = WING_ALLOCATE(size);
        if (processes == NULL) {
            return NULL;
        }
        NTSTATUS answer = SYSTEM(query(SystemProcessInformation, processes, size, NULL),
                                 (NTSTATUS) 0xc0000022, ERROR_ACCESS_DENIED);
        if (answer >= 0) {
            return processes;
        }
        free(processes);
        if (answer != too_small) {
            return NULL;
        }
    }
    return NULL;
}

/* Of a process that may not be opened: most likely its number has gone to a stranger, who must not
   be taken for it. KIN_E_ENDED if so, KIN_E_PERMISSION if it lives. */
static int examine_stranger(const platform_identity *identity)
{
    unsigned char *processes = read_processes();
    int status = processes == NULL ? KIN_E_PERMISSION : KIN_E_ENDED;
    for (unsigned char *at = processes; at != NULL;) {
        const SYSTEM_PROCESS_INFORMATION *each = (const SYSTEM_PROCESS_INFORMATION *) (void *) at;
        if ((uintptr_t) each->UniqueProcessId == identity->pid &&
            (uint64_t) each->CreateTime.QuadPart == identity->stamp) {
            status = KIN_E_PERMISSION;
            break;
        }
        at = each->NextEntryOffset == 0 ? NULL : at + each->NextEntryOffset;
    }
    free(processes);
    return status;
}

bool platform_can_fork(void)
{
    return false;
}

int platform_process_fork(platform_process *process)
{
    (void) process;
    return KIN_E_UNSUPPORTED;
}

int platform_process_at_fork(void (*hook)(void))
{
    (void) hook;
    return 0; /* nobody can fork */
}

void platform_process_disown(platform_process *process)
{
    (void) process;
}

bool platform_sees_early_ends(void)
{
    return true;
}

int platform_process_open(platform_process *process, const platform_identity *identity,
                          const platform_memory *memory)
{
    (void) memory;
    if (identity->pid == 0 || identity->pid > UINT32_MAX) {
        return KIN_E_ENDED;
    }
    HANDLE object =
        SYSTEM(OpenProcess(WATCH_RIGHTS, FALSE, (DWORD) identity->pid), NULL, ERROR_ACCESS_DENIED);
    if (object == NULL) {
        DWORD error = GetLastError();
        int status = wing_error(error);
        if (error == ERROR_INVALID_PARAMETER) {
            return KIN_E_ENDED;
        }
        return error == ERROR_ACCESS_DENIED ? examine_stranger(identity) : status;
    }
    uint64_t stamp;
    int status = wing_process_stamp(object, &stamp);
    if (status == 0 &&
        (stamp != identity->stamp || WaitForSingleObject(object, 0) == WAIT_OBJECT_0)) {
        status = KIN_E_ENDED;
    }
    if (status != 0) {
        CloseHandle(object);
        return status;
    }
    *process = (platform_process){*identity, (intptr_t) object, PLATFORM_NONE, false, false};
    return 0;
}

int platform_process_parent(platform_process *parent, const platform_identity *identity,
                            const platform_memory *memory)
{
    return platform_process_open(parent, identity, memory);
}

int platform_process_wait(const platform_process *process, int64_t timeout_ns)
{
    return wing_wait((HANDLE) process->object, timeout_ns);
}

int platform_process_sentinel(const platform_process *process, intptr_t *sentinel)
{
    HANDLE handle = NULL;
    if (process == NULL) {
        handle = SYSTEM(CreateEventW(NULL, TRUE, TRUE, NULL), NULL, ERROR_NO_SYSTEM_RESOURCES);
    } else if (!SYSTEM(DuplicateHandle(GetCurrentProcess(), (HANDLE) process->object,
                                       GetCurrentProcess(), &handle, SYNCHRONIZE, FALSE, 0),
                       FALSE, ERROR_NO_SYSTEM_RESOURCES)) {
        handle = NULL;
    }
    if (handle == NULL) {
        return wing_last_error();
    }
    *sentinel = (intptr_t) handle;
    return 0;
}

/* What POSIX would say of a process that ended with this code: exceptions that nobody handled, and
   codes of our own. 0: nothing. */
static int signal_of(DWORD code)
{
    if (code > WING_SIGNALLED(0u) && code <= WING_SIGNALLED((DWORD) SIGNAL_HIGHEST)) {
        return (int) (code & 0xff);
    }
    switch (code) {
    case (DWORD) STATUS_ACCESS_VIOLATION:
    case (DWORD) STATUS_IN_PAGE_ERROR:
    case (DWORD) STATUS_GUARD_PAGE_VIOLATION:
    case (DWORD) STATUS_STACK_OVERFLOW:
        return SIGNAL_MEMORY;
    case (DWORD) STATUS_ILLEGAL_INSTRUCTION:
    case (DWORD) STATUS_PRIVILEGED_INSTRUCTION:
        return SIGNAL_ILLEGAL;
    case (DWORD) STATUS_INTEGER_DIVIDE_BY_ZERO:
    case (DWORD) STATUS_INTEGER_OVERFLOW:
    case (DWORD) STATUS_FLOAT_DENORMAL_OPERAND:
    case (DWORD) STATUS_FLOAT_DIVIDE_BY_ZERO:
    case (DWORD) STATUS_FLOAT_INEXACT_RESULT:
    case (DWORD) STATUS_FLOAT_INVALID_OPERATION:
    case (DWORD) STATUS_FLOAT_OVERFLOW:
    case (DWORD) STATUS_FLOAT_STACK_CHECK:
    case (DWORD) STATUS_FLOAT_UNDERFLOW:
        return SIGNAL_FLOAT;
    case (DWORD) STATUS_CONTROL_C_EXIT:
        return SIGNAL_INTERRUPT;
    case (DWORD) STATUS_BREAKPOINT:
    case (DWORD) STATUS_SINGLE_STEP:
        return SIGNAL_TRAP;
    case FATAL_APP_EXIT:
    case FAIL_FAST:
    case HEAP_CORRUPTION:
    case ASSERTION_FAILURE:
        return SIGNAL_ABORT;
    default:
        return 0;
    }
}

int platform_process_exit_code(platform_process *process, int *code)
{
    DWORD ended;
    if (!SYSTEM(GetExitCodeProcess((HANDLE) process->object, &ended), FALSE, ERROR_ACCESS_DENIED)) {
        wing_last_error();
        return KIN_E_SYSTEM;
    }
    int number = signal_of(ended);
    *code = number != 0 ? -number : (int) ended;
    return 0;
}

int platform_process_code_of(const platform_identity *identity, int *code)
{
    uint64_t stamp;
    HANDLE object =
        SYSTEM(OpenProcess(WATCH_RIGHTS, FALSE, (DWORD) identity->pid), NULL, ERROR_ACCESS_DENIED);
    if (object == NULL) {
        (void) wing_last_error();
        return KIN_E_SYSTEM;
    }
    int status = KIN_E_SYSTEM;
    if (wing_process_stamp(object, &stamp) == 0 && stamp == identity->stamp &&
        WaitForSingleObject(object, 0) == WAIT_OBJECT_0) {
        platform_process ended = {*identity, (intptr_t) object, PLATFORM_NONE, false, false};
        status = platform_process_exit_code(&ended, code);
    }
    CloseHandle(object);
    return status;
}

int platform_process_kill(const platform_process *process, bool ask)
{
    const DWORD code = ask ? WING_TERMINATED : WING_KILLED;
    int asked = ask ? wing_ask_to_end(&process->identity) : KIN_E_NOT_FOUND;
    if (asked != KIN_E_NOT_FOUND) {
        return asked;
    }
    if (SYSTEM(TerminateProcess((HANDLE) process->object, code), FALSE, ERROR_ACCESS_DENIED)) {
        return 0;
    }
    /* The system also denies it to end what has ended. */
    DWORD error = GetLastError();
    return WaitForSingleObject((HANDLE) process->object, 0) == WAIT_OBJECT_0 ? 0
                                                                             : wing_error(error);
}

void platform_process_close(platform_process *process)
{
    CloseHandle((HANDLE) process->object);
    process->object = PLATFORM_NONE;
}

_Noreturn void platform_process_exit_now(int code)
{
    for (;;) {
        TerminateProcess(GetCurrentProcess(), (UINT) code);
    }
}

_Noreturn void platform_process_die(void)
{
    platform_process_exit_now((int) WING_KILLED);
}

typedef void(__cdecl *signal_handler)(int);
typedef signal_handler(__cdecl *signal_function)(int, signal_handler);

static void __cdecl tell_abort(int number)
{
    (void) number;
    platform_process_exit_now((int) WING_ABORTED);
}

/* A handler of the user's stays. */
static void set_abort_handler(signal_function set)
{
    signal_handler before = set(SIGABRT, tell_abort);
    if (before != SIG_DFL && before != SIG_ERR) {
        (void) set(SIGABRT, before);
    }
}

/* As with the end of the process, the program may have another C runtime than kin. */
void platform_process_tell_abort(void)
{
    static const wchar_t *const runtimes[] = {L"ucrtbase.dll", L"ucrtbased.dll", L"msvcrt.dll"};
    set_abort_handler(signal);
    for (size_t i = 0; i < sizeof runtimes / sizeof runtimes[0]; i++) {
        signal_function of_runtime = (signal_function) wing_find_function(runtimes[i], "signal");
        if (of_runtime != NULL) {
            set_abort_handler(of_runtime);
        }
    }
}

static void CALLBACK parent_ended(void *unused, BOOLEAN timed_out)
{
    (void) unused;
    (void) timed_out;
    platform_process_exit_now((int) WING_KILLED);
}

int platform_process_follow(const platform_process *parent)
{
    HANDLE kept;
    HANDLE registration;
    if (WaitForSingleObject((HANDLE) parent->object, 0) == WAIT_OBJECT_0) {
        parent_ended(NULL, FALSE);
    }
    if (wing_is_daemon_of(&parent->identity)) {
        return 0;
    }
    if (!SYSTEM(DuplicateHandle(GetCurrentProcess(), (HANDLE) parent->object, GetCurrentProcess(),
                                &kept, 0, FALSE, DUPLICATE_SAME_ACCESS),
                FALSE, ERROR_NO_SYSTEM_RESOURCES)) {
        return wing_last_error();
    }
    if (!SYSTEM(RegisterWaitForSingleObject(&registration, kept, parent_ended, NULL, INFINITE,
                                            WT_EXECUTEINWAITTHREAD | WT_EXECUTEONLYONCE),
                FALSE, ERROR_MAX_THRDS_REACHED)) {
        int status = wing_last_error();
        CloseHandle(kept);
        return status;
    }
    return 0;
}

/* Each entry is taken by the exchange of whoever runs it. */
static void (*_Atomic exit_hooks[EXIT_HOOKS])(void);
static SRWLOCK hooks_lock = SRWLOCK_INIT;
static bool hooks_registered;

static void __cdecl run_exit_hooks(void)
{
    /* A runtime that is not the program's own calls this when the threads are gone. */
    if (wing_is_ending()) {
        return;
    }
    for (size_t i = EXIT_HOOKS; i-- > 0;) {
        void (*hook)(void) = atomic_exchange(&exit_hooks[i], NULL);
        if (hook != NULL) {
            hook();
        }
    }
}

static int __cdecl run_exit_hooks_for_onexit(void)
{
    run_exit_hooks();
    return 0;
}

/* Our own atexit is the end of the process if kin is in the program itself, but in a DLL it is the
   end of the DLL, with the loader's lock held and all other threads dead. So the C runtimes that
   are loaded are asked as well: the first one to end runs the hooks. This code must then stay where
   it is. (A DLL cannot know the end of a program that has its runtime linked in.) */
static bool register_with_runtimes(void)
{
    typedef int(__cdecl * ucrt_atexit)(void(__cdecl *)(void));
    typedef int(__cdecl * exit_function)(void);
    typedef exit_function(__cdecl * msvcrt_onexit)(exit_function);
    static const wchar_t *const universal[] = {L"ucrtbase.dll", L"ucrtbased.dll"};
    HMODULE self;
    if (!SYSTEM(GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS |
                                       GET_MODULE_HANDLE_EX_FLAG_PIN,
                                   (const wchar_t *) (uintptr_t) run_exit_hooks, &self),
                FALSE, ERROR_MOD_NOT_FOUND)) {
        return false;
    }
    bool registered = atexit(run_exit_hooks) == 0;
    for (size_t i = 0; i < sizeof universal / sizeof universal[0]; i++) {
        ucrt_atexit at_exit = (ucrt_atexit) wing_find_function(universal[i], "_crt_atexit");
        registered = (at_exit != NULL && at_exit(run_exit_hooks) == 0) || registered;
    }
    msvcrt_onexit on_exit = (msvcrt_onexit) wing_find_function(L"msvcrt.dll", "_onexit");
    return (on_exit != NULL && on_exit(run_exit_hooks_for_onexit) != NULL) || registered;
}

int platform_process_at_exit(void (*hook)(void))
{
    int status = KIN_E_NOMEM;
    AcquireSRWLockExclusive(&hooks_lock);
    if (!hooks_registered) {
        hooks_registered = SYSTEM(register_with_runtimes(), false, ERROR_NOT_ENOUGH_MEMORY);
    }
    for (size_t i = 0; i < EXIT_HOOKS && hooks_registered && status != 0; i++) {
        void (*none)(void) = NULL;
        if (atomic_compare_exchange_strong(&exit_hooks[i], &none, hook)) {
            status = 0;
        }
    }
    ReleaseSRWLockExclusive(&hooks_lock);
    return status;
}
