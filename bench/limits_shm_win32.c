/* Named memory, on Windows. */
#ifdef _WIN32

#include "bench/limits_shm.h"

#include <windows.h>

#include <stdio.h>

int limit_shm_make_touch_remove(const char *name, size_t size)
{
    wchar_t wide[256];
    (void) swprintf(wide, sizeof wide / sizeof *wide, L"Local\\%hs", name);
    HANDLE section = CreateFileMappingW(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE,
                                        (DWORD) ((unsigned long long) size >> 32),
                                        (DWORD) (size & 0xffffffff), wide);
    if (section == NULL) {
        return -1;
    }
    int result = -1;
    void *base = MapViewOfFile(section, FILE_MAP_READ | FILE_MAP_WRITE, 0, 0, 0);
    if (base != NULL) {
        *(volatile unsigned char *) base = 1;
        result = UnmapViewOfFile(base) ? 0 : -1;
    }
    return CloseHandle(section) ? result : -1;
}

#else
typedef int limits_shm_win32_is_for_windows;
#endif
