#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include "support.h"

#include <tlhelp32.h>
#include <winternl.h>

#include <stdlib.h>
#include <string.h>

typedef NTSTATUS NTAPI query_function(SYSTEM_INFORMATION_CLASS, PVOID, ULONG, PULONG);

static ULONG own_handles(const unsigned char *processes)
{
    for (const unsigned char *at = processes;;) {
        const SYSTEM_PROCESS_INFORMATION *each = (const void *) at;
        if ((uintptr_t) each->UniqueProcessId == GetCurrentProcessId()) {
            return each->HandleCount;
        }
        assert_true(each->NextEntryOffset != 0);
        at += each->NextEntryOffset;
    }
}

/* The number of a process's handles, which under Wine is how many there is room for. */
static ULONG told_handles(void)
{
    const NTSTATUS too_small = (NTSTATUS) 0xc0000004;
    FARPROC found = GetProcAddress(GetModuleHandleA("ntdll.dll"), "NtQuerySystemInformation");
    query_function *query = (query_function *) (void (*)(void)) found;
    unsigned char *processes = NULL;
    NTSTATUS status = too_small;
    assert_non_null((void *) (uintptr_t) found);
    for (ULONG size = 256 << 10; status == too_small; size *= 2) {
        free(processes);
        processes = malloc(size);
        assert_non_null(processes);
        status = query(SystemProcessInformation, processes, size, NULL);
    }
    assert_int_equal(status, 0);
    ULONG told = own_handles(processes);
    free(processes);
    return told;
}

/* Under Wine GetProcessHandleCount gives 0, and each possible handle has to be asked for: not more
   than there is room for, or it would take a tenth of a second. (Wine's list of everybody's handles
   would do, but Wine 8 ends in making it while there is a process that has none.) */
int system_handles(void)
{
    DWORD exact = 0;
    if (GetProcessHandleCount(GetCurrentProcess(), &exact) && exact > 0) {
        return (int) exact;
    }
    int count = 0;
    ULONG room = told_handles();
    for (uintptr_t number = 1; number <= room; number++) {
        DWORD flags;
        count += GetHandleInformation((HANDLE) (4 * number), &flags) != 0;
    }
    assert_true(count > 0);
    return count;
}

/* The threads that wait for it. */
int system_handle_slack(void)
{
    return 4;
}

/* Those of this program alone: the system may have given us others. */
bool system_has_children(void)
{
    bool found = false;
    PROCESSENTRY32 own = {.dwSize = sizeof own};
    PROCESSENTRY32 each = {.dwSize = sizeof each};
    HANDLE snapshot = CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0);
    assert_true(snapshot != INVALID_HANDLE_VALUE);
    for (BOOL more = Process32First(snapshot, &each); more; more = Process32Next(snapshot, &each)) {
        if (each.th32ProcessID == GetCurrentProcessId()) {
            own = each;
        }
    }
    for (BOOL more = Process32First(snapshot, &each); more; more = Process32Next(snapshot, &each)) {
        found = found || (each.th32ParentProcessID == own.th32ProcessID &&
                          strcmp(each.szExeFile, own.szExeFile) == 0);
    }
    CloseHandle(snapshot);
    return found;
}

/* The system's environment and the runtime's copy of it. */
void system_set_variable(const char *name, const char *value)
{
    char text[256];
    (void) snprintf(text, sizeof text, "%s=%s", name, value != NULL ? value : "");
    assert_int_equal(_putenv(text), 0);
    assert_true(value == NULL || SetEnvironmentVariableA(name, value));
}

void system_redirect_errors(const char *path)
{
    static HANDLE before;
    HANDLE now = GetStdHandle(STD_ERROR_HANDLE);
    if (path == NULL) {
        assert_true(SetStdHandle(STD_ERROR_HANDLE, before) && CloseHandle(now));
        return;
    }
    before = now;
    HANDLE file = CreateFileA(path, FILE_APPEND_DATA, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL,
                              CREATE_ALWAYS, FILE_ATTRIBUTE_NORMAL, NULL);
    assert_true(file != INVALID_HANDLE_VALUE && SetStdHandle(STD_ERROR_HANDLE, file));
}

void system_kill_self(void)
{
    TerminateProcess(GetCurrentProcess(), 0xe06b6909);
}

typedef struct runner {
    void (*function)(void *argument, unsigned number);
    void *argument;
    unsigned number;
    HANDLE thread;
} runner;

static DWORD WINAPI run(void *argument)
{
    runner *mine = argument;
    mine->function(mine->argument, mine->number);
    return 0;
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
        runners[i].thread = CreateThread(NULL, 0, run, &runners[i], 0, NULL);
        assert_non_null(runners[i].thread);
    }
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(WaitForSingleObject(runners[i].thread, INFINITE), WAIT_OBJECT_0);
        CloseHandle(runners[i].thread);
    }
    free(runners);
}

int system_threads(void)
{
    int count = 0;
    THREADENTRY32 each = {.dwSize = sizeof each};
    HANDLE snapshot = CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0);
    assert_true(snapshot != INVALID_HANDLE_VALUE);
    for (BOOL more = Thread32First(snapshot, &each); more; more = Thread32Next(snapshot, &each)) {
        count += each.th32OwnerProcessID == GetCurrentProcessId();
    }
    CloseHandle(snapshot);
    return count;
}

void system_kill(int pid)
{
    HANDLE process = OpenProcess(PROCESS_TERMINATE, FALSE, (DWORD) pid);
    assert_non_null(process);
    assert_true(TerminateProcess(process, 5));
    CloseHandle(process);
}

void system_close_sentinel(intptr_t sentinel)
{
    assert_true(CloseHandle((HANDLE) sentinel));
}

int64_t system_processor_ns(void)
{
    FILETIME created, ended, kernel, user;
    assert_true(GetProcessTimes(GetCurrentProcess(), &created, &ended, &kernel, &user));
    uint64_t in_kernel = (uint64_t) kernel.dwHighDateTime << 32 | kernel.dwLowDateTime;
    uint64_t in_user = (uint64_t) user.dwHighDateTime << 32 | user.dwLowDateTime;
    return (int64_t) (in_kernel + in_user) * 100;
}

static DWORD_PTR all_cores;

bool system_keep_one_core(void)
{
    DWORD_PTR of_system;
    return GetProcessAffinityMask(GetCurrentProcess(), &all_cores, &of_system) && all_cores != 0 &&
           SetProcessAffinityMask(GetCurrentProcess(), all_cores & (~all_cores + 1));
}

void system_keep_all_cores(void)
{
    assert_true(SetProcessAffinityMask(GetCurrentProcess(), all_cores));
}

kin_process_function system_library_function(void)
{
    HMODULE library = GetModuleHandleA("ucrtbase.dll");
    library = library != NULL ? library : GetModuleHandleA("msvcrt.dll");
    FARPROC found = library != NULL ? GetProcAddress(library, "mblen") : NULL;
    assert_non_null((void *) (uintptr_t) found);
    return (kin_process_function) (void (*)(void)) found;
}
