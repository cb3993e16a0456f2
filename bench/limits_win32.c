/* The limits on Windows. */
#ifdef _WIN32

#include "bench/limits.h"

#include <windows.h>

#include <psapi.h>
#include <stdio.h>

int limit_spawn_wait(const char *argument)
{
    wchar_t program[4096];
    wchar_t line[4200];
    DWORD length = GetModuleFileNameW(NULL, program, 4096);
    if (length == 0 || length == 4096 ||
        swprintf(line, sizeof line / sizeof *line, L"\"%ls\" %hs", program, argument) < 0) {
        return -1;
    }
    STARTUPINFOW start = {.cb = sizeof start};
    PROCESS_INFORMATION process;
    if (!CreateProcessW(program, line, NULL, NULL, FALSE, 0, NULL, NULL, &start, &process)) {
        return -1;
    }
    DWORD code = 0;
    (void) WaitForSingleObject(process.hProcess, INFINITE);
    BOOL known = GetExitCodeProcess(process.hProcess, &code);
    (void) CloseHandle(process.hThread);
    (void) CloseHandle(process.hProcess);
    return known ? (int) code : -1;
}

int limit_fork_wait(void)
{
    return -1;
}

int64_t limit_private_kib(void)
{
    PROCESS_MEMORY_COUNTERS_EX counters = {.cb = sizeof counters};
    if (!K32GetProcessMemoryInfo(GetCurrentProcess(), (PROCESS_MEMORY_COUNTERS *) &counters,
                                 sizeof counters)) {
        return -1;
    }
    return (int64_t) (counters.PrivateUsage / 1024);
}

#else
typedef int limits_win32_is_for_windows;
#endif
