/* The ground of this wing: errors, text, and what several of its files need. */
#include "win32/wing.h"

#include <stdlib.h>
#include <string.h>

/* ERROR_ELEVATION_REQUIRED, which MinGW-w64 does not name. */
#define ELEVATION_REQUIRED 740

int wing_error(DWORD system_error)
{
    platform_note_error((int64_t) system_error);
    switch (system_error) {
    case ERROR_NOT_ENOUGH_MEMORY:
    case ERROR_OUTOFMEMORY:
    case ERROR_COMMITMENT_LIMIT:
    case ERROR_COMMITMENT_MINIMUM:
    case ERROR_PAGEFILE_QUOTA:
    case ERROR_WORKING_SET_QUOTA:
    case ERROR_NOT_ENOUGH_QUOTA:
    case ERROR_NO_SYSTEM_RESOURCES:
    case ERROR_NONPAGED_SYSTEM_RESOURCES:
    case ERROR_PAGED_SYSTEM_RESOURCES:
    case ERROR_DISK_FULL:
        return KIN_E_NOMEM;
    case ERROR_FILE_NOT_FOUND:
    case ERROR_PATH_NOT_FOUND:
    case ERROR_INVALID_NAME:
    case ERROR_INVALID_DRIVE:
    case ERROR_DIRECTORY:
    case ERROR_BAD_PATHNAME:
    case ERROR_BAD_NETPATH:
    case ERROR_BAD_NET_NAME:
    case ERROR_MOD_NOT_FOUND:
    case ERROR_ENVVAR_NOT_FOUND:
        return KIN_E_NOT_FOUND;
    case ERROR_ALREADY_EXISTS:
    case ERROR_FILE_EXISTS:
        return KIN_E_EXISTS;
    case ERROR_ACCESS_DENIED:
    case ERROR_PRIVILEGE_NOT_HELD:
    case ELEVATION_REQUIRED:
    case ERROR_ACCESS_DISABLED_BY_POLICY:
    case ERROR_SHARING_VIOLATION:
    case ERROR_WRITE_PROTECT:
        return KIN_E_PERMISSION;
    case ERROR_TOO_MANY_OPEN_FILES:
        return KIN_E_DESCRIPTORS;
    case ERROR_NO_PROC_SLOTS:
        return KIN_E_PROCESS_LIMIT;
    case ERROR_MAX_THRDS_REACHED:
        return KIN_E_THREAD_LIMIT;
    case ERROR_NOT_SUPPORTED:
    case ERROR_CALL_NOT_IMPLEMENTED:
        return KIN_E_UNSUPPORTED;
    case ERROR_NO_UNICODE_TRANSLATION:
        return KIN_E_INVALID;
    default:
        return KIN_E_SYSTEM;
    }
}

int wing_last_error(void)
{
    return wing_error(GetLastError());
}

void *wing_allocate(size_t size)
{
    void *memory = calloc(1, size);
    if (memory == NULL) {
        SetLastError(ERROR_NOT_ENOUGH_MEMORY);
    }
    return memory;
}

void *wing_resize(void *memory, size_t size)
{
    void *resized = realloc(memory, size);
    if (resized == NULL) {
        SetLastError(ERROR_NOT_ENOUGH_MEMORY);
    }
    return resized;
}

static int widen(UINT code_page, const char *text, wchar_t **wide)
{
    const DWORD flags = code_page == CP_UTF8 ? MB_ERR_INVALID_CHARS : 0;
    int length = SYSTEM(MultiByteToWideChar(code_page, flags, text, -1, NULL, 0), 0,
                        ERROR_NO_UNICODE_TRANSLATION);
    if (length == 0) {
        return wing_last_error();
    }
    *wide = WING_ALLOCATE((size_t) length * sizeof **wide);
    if (*wide == NULL) {
        return wing_last_error();
    }
    MultiByteToWideChar(code_page, flags, text, -1, *wide, length);
    return 0;
}

int wing_wide(const char *text, wchar_t **wide)
{
    return widen(CP_UTF8, text, wide);
}

int wing_wide_argument(const char *argument, wchar_t **wide)
{
    int status = widen(CP_UTF8, argument, wide);
    return status == KIN_E_INVALID ? widen(CP_ACP, argument, wide) : status;
}

int wing_module_path(HMODULE module, wchar_t **path)
{
    wchar_t *buffer = NULL;
    for (DWORD capacity = MAX_PATH;; capacity *= 2) {
        wchar_t *larger = WING_RESIZE(buffer, capacity * sizeof *buffer);
        if (larger == NULL) {
            int status = wing_last_error();
            free(buffer);
            return status;
        }
        buffer = larger;
        DWORD length =
            SYSTEM(GetModuleFileNameW(module, buffer, capacity), 0u, ERROR_MOD_NOT_FOUND);
        if (length == 0) {
            int status = wing_last_error();
            free(buffer);
            return status;
        }
        if (length < capacity) {
            *path = buffer;
            return 0;
        }
    }
}

wing_function wing_find_function(const wchar_t *module, const char *name)
{
    HMODULE loaded = GetModuleHandleW(module);
    return loaded == NULL ? NULL : (wing_function) GetProcAddress(loaded, name);
}

bool wing_is_ending(void)
{
    typedef BOOLEAN(NTAPI * query_function)(void);
    static _Atomic wing_function known;
    wing_function found = atomic_load_explicit(&known, memory_order_relaxed);
    if (found == NULL) {
        found = wing_find_function(L"ntdll.dll", "RtlDllShutdownInProgress");
        atomic_store_explicit(&known, found, memory_order_relaxed);
    }
    return found != NULL && ((query_function) found)();
}

int wing_process_stamp(HANDLE process, uint64_t *stamp)
{
    FILETIME created, ended, kernel, user;
    if (!SYSTEM(GetProcessTimes(process, &created, &ended, &kernel, &user), FALSE,
                ERROR_ACCESS_DENIED)) {
        return wing_last_error();
    }
    *stamp = (uint64_t) created.dwHighDateTime << 32 | created.dwLowDateTime;
    return 0;
}

uint64_t wing_hash(uint64_t hash, const void *bytes, size_t size)
{
    const uint64_t prime = 0x100000001b3;
    const unsigned char *at = bytes;
    for (; size >= sizeof(uint64_t); at += sizeof(uint64_t), size -= sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, at, sizeof word);
        hash = (hash ^ word) * prime;
        hash ^= hash >> 29;
    }
    for (; size > 0; at++, size--) {
        hash = (hash ^ *at) * prime;
    }
    return hash ^ hash >> 32;
}
