#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include "support_options.h"

#include <stdlib.h>
#include <string.h>

static const wchar_t *widen(const char *text)
{
    static wchar_t wide[2][TEXT_SIZE];
    static unsigned next;
    wchar_t *to = wide[next++ % 2];
    assert_true(MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, text, -1, to, TEXT_SIZE) > 0);
    return to;
}

static void narrow(const wchar_t *wide, char *text)
{
    assert_true(WideCharToMultiByte(CP_UTF8, 0, wide, -1, text, TEXT_SIZE, NULL, NULL) > 0);
}

void system_directory(char *text)
{
    wchar_t wide[MAX_PATH];
    DWORD length = GetCurrentDirectoryW(MAX_PATH, wide);
    assert_true(length > 0 && length < MAX_PATH);
    narrow(wide, text);
}

void system_enter_directory(const char *path)
{
    assert_true(SetCurrentDirectoryW(widen(path)));
}

bool system_variable(const char *name, char *text)
{
    wchar_t wide[TEXT_SIZE];
    SetLastError(ERROR_SUCCESS);
    DWORD length = GetEnvironmentVariableW(widen(name), wide, TEXT_SIZE);
    if (length == 0 && GetLastError() == ERROR_ENVVAR_NOT_FOUND) {
        return false;
    }
    wide[length < TEXT_SIZE ? length : 0] = L'\0';
    narrow(wide, text);
    return true;
}

bool system_has_variable_like(const char *start)
{
    bool found = false;
    const wchar_t *wanted = widen(start);
    wchar_t *all = GetEnvironmentStringsW();
    assert_non_null(all);
    for (const wchar_t *at = all; *at != L'\0'; at += wcslen(at) + 1) {
        found = found || wcsncmp(at, wanted, wcslen(wanted)) == 0;
    }
    FreeEnvironmentStringsW(all);
    return found || getenv(start) != NULL;
}

int system_priority(void)
{
    DWORD found = GetPriorityClass(GetCurrentProcess());
    return found == IDLE_PRIORITY_CLASS           ? KIN_PRIORITY_IDLE
           : found == BELOW_NORMAL_PRIORITY_CLASS ? KIN_PRIORITY_LOW
           : found == NORMAL_PRIORITY_CLASS       ? KIN_PRIORITY_NORMAL
           : found == HIGH_PRIORITY_CLASS         ? KIN_PRIORITY_HIGH
                                                  : -1;
}

size_t system_cores(int cores[MOST_CORES])
{
    DWORD_PTR own;
    DWORD_PTR all;
    size_t count = 0;
    assert_true(GetProcessAffinityMask(GetCurrentProcess(), &own, &all));
    for (int i = 0; i < 8 * (int) sizeof own; i++) {
        if ((own >> i & 1) != 0) {
            cores[count++] = i;
        }
    }
    return count;
}

/* The system does not tell. */
bool system_leads_group(void)
{
    return true;
}

bool system_leads_session(void)
{
    return GetConsoleWindow() == NULL;
}

bool system_is_file(intptr_t handle)
{
    return GetFileType((HANDLE) handle) == FILE_TYPE_DISK;
}

void system_own_path(char *text)
{
    wchar_t wide[MAX_PATH];
    DWORD length = GetModuleFileNameW(NULL, wide, MAX_PATH);
    assert_true(length > 0 && length < MAX_PATH);
    narrow(wide, text);
}

void system_copy_file(const char *from, const char *to)
{
    assert_true(CopyFileW(widen(from), widen(to), FALSE));
}

static int run(const char *path, wchar_t *line, bool inherits, bool waits)
{
    STARTUPINFOW startup = {.cb = sizeof startup};
    PROCESS_INFORMATION created;
    DWORD code = 0;
    assert_true(
        CreateProcessW(widen(path), line, NULL, NULL, inherits, 0, NULL, NULL, &startup, &created));
    if (waits) {
        assert_int_equal(WaitForSingleObject(created.hProcess, INFINITE), WAIT_OBJECT_0);
        assert_true(GetExitCodeProcess(created.hProcess, &code));
    }
    CloseHandle(created.hThread);
    CloseHandle(created.hProcess);
    return (int) code;
}

int system_run(const char *path)
{
    return run(path, NULL, false, true);
}

int system_launch(const char *path, const char *argument, bool waits)
{
    wchar_t line[TEXT_SIZE];
    (void) swprintf(line, TEXT_SIZE, L"\"%ls\" %ls", widen(path), widen(argument));
    return run(path, line, true, waits);
}

typedef wchar_t **WINAPI split_function(const wchar_t *line, int *count);

/* What main is given has passed through a code page. The library that knows better takes longer to
   load than a process takes to start: only who asks has it. */
bool system_argument(int argc, char **argv, int i, char *text)
{
    int count = 0;
    (void) argc, (void) argv;
    FARPROC found = GetProcAddress(LoadLibraryW(L"shell32.dll"), "CommandLineToArgvW");
    assert_non_null((void *) (uintptr_t) found);
    wchar_t **all = ((split_function *) (void (*)(void)) found)(GetCommandLineW(), &count);
    assert_non_null(all);
    if (i < count) {
        narrow(all[i], text);
    }
    LocalFree(all);
    return i < count;
}

bool system_rename(const char *from, const char *to)
{
    return MoveFileW(widen(from), widen(to));
}

void system_set_standard(int number, intptr_t handle)
{
    static const DWORD names[] = {STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, STD_ERROR_HANDLE};
    assert_true(SetStdHandle(names[number], handle == PLATFORM_NONE ? NULL : (HANDLE) handle));
}
