/* Named memory by named file mappings, which the system keeps as long as somebody has a handle.

   A mapping has a size in whole pages. The exact one, and that it is made, says its last word: a
   mark, and how many bytes at the end are not the user's, the word among them. It is 0 in a new
   mapping, and who swaps it has made the memory, whoever of several the mapping came from. Until
   then it is not there for openers. A creator that is killed before leaves at most a mapping
   without that word, for as long as others look at it: the next creator takes it over if it has
   as many pages as it needs, else waits until the others have looked. */
#include "win32/wing.h"

#include <stdio.h>

#define NAME_PREFIX L"Local\\kin.shm."

enum { NAME_SIZE = 256, MAKE_TRIES = 1000, NS_IN_MS = 1000000 };

#define MARK UINT32_C(0x6b690000)
#define MARK_BITS UINT32_C(0xffff0000)

static void widen_name(wchar_t wide[NAME_SIZE], const char *name)
{
    (void) swprintf(wide, NAME_SIZE, NAME_PREFIX L"%hs", name); /* is ASCII, and fits */
}

static _Atomic uint32_t *last_word(unsigned char *base, size_t total)
{
    return (_Atomic uint32_t *) (void *) (base + total - sizeof(uint32_t));
}

/* Maps the whole of it. `total`: its size in pages. */
static int map(platform_shm *shm, size_t *total, HANDLE section, DWORD access)
{
    MEMORY_BASIC_INFORMATION region;
    void *base = SYSTEM(MapViewOfFile(section, access, 0, 0, 0), NULL, ERROR_NOT_ENOUGH_MEMORY);
    if (base == NULL) {
        return wing_last_error();
    }
    if (SYSTEM(VirtualQuery(base, &region, sizeof region), 0u, ERROR_INVALID_PARAMETER) == 0) {
        int status = wing_last_error();
        UnmapViewOfFile(base);
        return status;
    }
    *shm = (platform_shm){base, 0, (intptr_t) section};
    *total = region.RegionSize;
    return 0;
}

/* Whether it is made; then its size is known. */
static bool read_size(platform_shm *shm, size_t total)
{
    /* Acquire: pairs with the swap of who made it. */
    uint32_t word = atomic_load_explicit(last_word(shm->base, total), memory_order_acquire);
    uint32_t rest = word & ~MARK_BITS;
    if ((word & MARK_BITS) != MARK || rest < sizeof word || rest >= total) {
        return false;
    }
    shm->size = total - rest;
    return true;
}

/* One try: KIN_E_BUSY when there is a mapping that is neither made nor of use. */
static int make(platform_shm *shm, const wchar_t *name, size_t size, bool read_only)
{
    const size_t page = platform_memory_page_size();
    const size_t whole = (size + sizeof(uint32_t) + page - 1) / page * page;
    size_t total;
    HANDLE section = SYSTEM(
        CreateFileMappingW(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE | SEC_COMMIT,
                           (DWORD) ((uint64_t) whole >> 32), (DWORD) (whole & 0xffffffff), name),
        NULL, ERROR_COMMITMENT_LIMIT);
    if (section == NULL) {
        DWORD error = GetLastError();
        int status = wing_error(error);
        /* An invalid handle is something else of that name; an invalid parameter a size beyond what
           a section can have at all. */
        return error == ERROR_INVALID_HANDLE      ? KIN_E_EXISTS
               : error == ERROR_INVALID_PARAMETER ? KIN_E_NOMEM
                                                  : status;
    }
    int status = map(shm, &total, section, FILE_MAP_READ | FILE_MAP_WRITE);
    if (status < 0) {
        CloseHandle(section);
        return status;
    }
    uint32_t none = 0;
    DWORD before;
    if (total != whole) {
        status = read_size(shm, total) ? KIN_E_EXISTS : KIN_E_BUSY;
    } else if (!atomic_compare_exchange_strong(last_word(shm->base, total), &none,
                                               MARK | (uint32_t) (whole - size))) {
        status = KIN_E_EXISTS;
    } else if (read_only && !SYSTEM(VirtualProtect(shm->base, total, PAGE_READONLY, &before), FALSE,
                                    ERROR_NOT_ENOUGH_MEMORY)) {
        status = wing_last_error();
    }
    shm->size = size;
    if (status < 0) {
        platform_shm_close(shm);
    }
    return status;
}

int platform_shm_create(platform_shm *shm, const char *name, size_t size, uint32_t mode,
                        bool read_only)
{
    wchar_t wide[NAME_SIZE];
    int status = KIN_E_BUSY;
    (void) mode;
    widen_name(wide, name);
    for (int tries = 0; status == KIN_E_BUSY && tries < MAKE_TRIES; tries++) {
        if (tries > 0) {
            platform_sleep_ns(NS_IN_MS);
        }
        status = make(shm, wide, size, read_only);
    }
    return status;
}

int platform_shm_open(platform_shm *shm, const char *name, bool read_only)
{
    wchar_t wide[NAME_SIZE];
    DWORD access = read_only ? FILE_MAP_READ : FILE_MAP_READ | FILE_MAP_WRITE;
    size_t total = 0;
    widen_name(wide, name);
    HANDLE section = SYSTEM(OpenFileMappingW(access, FALSE, wide), NULL, ERROR_NO_SYSTEM_RESOURCES);
    if (section == NULL) {
        DWORD error = GetLastError();
        int status = wing_error(error);
        return error == ERROR_INVALID_HANDLE ? KIN_E_NOT_FOUND : status; /* not a mapping */
    }
    int status = map(shm, &total, section, access);
    if (status != 0) {
        CloseHandle(section);
    } else if (!read_size(shm, total)) {
        platform_shm_close(shm);
        status = KIN_E_NOT_FOUND;
    }
    return status;
}

void platform_shm_close(platform_shm *shm)
{
    UnmapViewOfFile(shm->base);
    CloseHandle((HANDLE) shm->object);
    *shm = (platform_shm){NULL, 0, PLATFORM_NONE};
}

int platform_shm_unlink(const char *name)
{
    (void) name;
    return 0;
}
