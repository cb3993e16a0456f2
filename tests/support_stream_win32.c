#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include "support_stream.h"

#include <stdlib.h>

/* A write of nothing at the other end is not the end. */
ptrdiff_t system_read(intptr_t handle, void *buffer, size_t size)
{
    DWORD length = 0;
    while (length == 0 && size > 0) {
        if (!ReadFile((HANDLE) handle, buffer, (DWORD) size, &length, NULL)) {
            return GetLastError() == ERROR_BROKEN_PIPE ? 0 : -1;
        }
        if (length == 0 && GetFileType((HANDLE) handle) != FILE_TYPE_PIPE) {
            return 0;
        }
    }
    return (ptrdiff_t) length;
}

bool system_write(intptr_t handle, const void *data, size_t size)
{
    DWORD length = 0;
    return WriteFile((HANDLE) handle, data, (DWORD) size, &length, NULL) && length == size;
}

bool system_is_inherited(intptr_t handle)
{
    DWORD flags = HANDLE_FLAG_INHERIT;
    return !GetHandleInformation((HANDLE) handle, &flags) || (flags & HANDLE_FLAG_INHERIT) != 0;
}

static const wchar_t *widen(const char *path)
{
    static wchar_t wide[512];
    assert_true(MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, wide, 512) > 0);
    return wide;
}

void system_make_directory(const char *path)
{
    assert_true(CreateDirectoryW(widen(path), NULL));
}

bool system_exists(const char *path)
{
    return GetFileAttributesW(widen(path)) != INVALID_FILE_ATTRIBUTES;
}

void system_remove(const char *path)
{
    if (!DeleteFileW(widen(path))) {
        (void) RemoveDirectoryW(widen(path));
    }
}
