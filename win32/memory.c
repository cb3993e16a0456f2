/* The shared mapping: a section backed by the page file, made with SEC_RESERVE, so that its pages
   are charged only when a process commits them; what one process commits is there for all that have
   it mapped. The section has no name and goes when its last handle and view are gone.

   Reserving is not quite free: Windows keeps 8 bytes for each page of a section, 1/512 of its size,
   from its start. That is why the default is not as large as on POSIX. */
#include "win32/wing.h"

#include <string.h>

enum { RELEASE_STEP = 1 << 20 };

size_t platform_memory_default_size(void)
{
#ifdef _WIN64
    return (size_t) 16 << 30;
#else
    return (size_t) 512 << 20;
#endif
}

size_t platform_memory_page_size(void)
{
    SYSTEM_INFO information;
    GetSystemInfo(&information);
    return information.dwPageSize;
}

int platform_memory_create(platform_memory *memory, size_t size)
{
    HANDLE section = SYSTEM(
        CreateFileMappingW(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE | SEC_RESERVE,
                           (DWORD) ((uint64_t) size >> 32), (DWORD) (size & 0xffffffff), NULL),
        NULL, ERROR_COMMITMENT_LIMIT);
    if (section == NULL) {
        DWORD error = GetLastError();
        int status = wing_error(error);
        /* An invalid parameter is a size beyond what a section can have at all. */
        return error == ERROR_INVALID_PARAMETER ? KIN_E_NOMEM : status;
    }
    void *base = SYSTEM(MapViewOfFile(section, FILE_MAP_READ | FILE_MAP_WRITE, 0, 0, size), NULL,
                        ERROR_NOT_ENOUGH_MEMORY);
    if (base == NULL) {
        wing_last_error();
        CloseHandle(section);
        return KIN_E_NOMEM;
    }
    *memory = (platform_memory){base, size, (intptr_t) section};
    return 0;
}

/* A view of what create makes looks so; that of an image does not. */
static bool is_shared_memory(const void *base)
{
    MEMORY_BASIC_INFORMATION region;
    return SYSTEM(VirtualQuery(base, &region, sizeof region), 0u, ERROR_INVALID_PARAMETER) != 0 &&
           region.AllocationBase == base && region.Type == MEM_MAPPED &&
           region.AllocationProtect == PAGE_READWRITE;
}

int platform_memory_attach(platform_memory *memory, intptr_t object, size_t size)
{
    HANDLE section = (HANDLE) object;
    /* Fails for whatever is not a section, and for one that is smaller. */
    void *base = SYSTEM(MapViewOfFile(section, FILE_MAP_READ | FILE_MAP_WRITE, 0, 0, size), NULL,
                        ERROR_INVALID_HANDLE);
    if (base == NULL) {
        return wing_last_error() == KIN_E_NOMEM ? KIN_E_NOMEM : KIN_E_ATTACH;
    }
    if (!is_shared_memory(base) || !SYSTEM(SetHandleInformation(section, HANDLE_FLAG_INHERIT, 0),
                                           FALSE, ERROR_INVALID_HANDLE)) {
        wing_last_error();
        UnmapViewOfFile(base);
        return KIN_E_ATTACH;
    }
    *memory = (platform_memory){base, size, object};
    return 0;
}

int platform_memory_commit(const platform_memory *memory, size_t offset, size_t size)
{
    if (SYSTEM(VirtualAlloc(memory->base + offset, size, MEM_COMMIT, PAGE_READWRITE), NULL,
               ERROR_COMMITMENT_LIMIT) == NULL) {
        wing_last_error();
        return KIN_E_NOMEM;
    }
    return 0;
}

/* Makes committed pages zero and tells the system that it need not keep them. Whether it drops them
   or not, they read as zero from then on, which is what commit promises. Unlocking what is not
   locked takes pages out of the working set; that it reports ERROR_NOT_LOCKED is of no interest. */
static int release_committed(unsigned char *base, size_t size)
{
    for (size_t done = 0; done < size; done += RELEASE_STEP) {
        size_t step = size - done < RELEASE_STEP ? size - done : RELEASE_STEP;
        memset(base + done, 0, step);
        if (SYSTEM(VirtualAlloc(base + done, step, MEM_RESET, PAGE_READWRITE), NULL,
                   ERROR_INVALID_PARAMETER) == NULL) {
            return wing_last_error();
        }
        VirtualUnlock(base + done, step);
    }
    return 0;
}

/* Views of a section cannot be decommitted: the physical pages go back, the charge stays until the
   family ends. */
int platform_memory_release(const platform_memory *memory, size_t offset, size_t size)
{
    unsigned char *at = memory->base + offset;
    unsigned char *end = at + size;
    while (at < end) {
        MEMORY_BASIC_INFORMATION region;
        if (SYSTEM(VirtualQuery(at, &region, sizeof region), 0u, ERROR_INVALID_PARAMETER) == 0) {
            return wing_last_error();
        }
        unsigned char *next = (unsigned char *) region.BaseAddress + region.RegionSize;
        next = next < end ? next : end;
        if (region.State == MEM_COMMIT) {
            int status = release_committed(at, (size_t) (next - at));
            if (status != 0) {
                return status;
            }
        }
        at = next;
    }
    return 0;
}

/* Windows has large pages only for sections that are committed and locked at once, and takes a node
   only where addresses are reserved, which a view's are already. */
size_t platform_memory_huge_page_size(const platform_memory *memory)
{
    (void) memory;
    return 0;
}

int platform_memory_use_huge_pages(const platform_memory *memory, size_t offset, size_t size)
{
    (void) memory, (void) offset, (void) size;
    return KIN_E_UNSUPPORTED;
}

int platform_memory_use_node(const platform_memory *memory, size_t offset, size_t size,
                             uint32_t node)
{
    (void) memory, (void) offset, (void) size, (void) node;
    return KIN_E_UNSUPPORTED;
}

/* What is committed: Windows does not tell how much of a section is in physical memory. */
uint64_t platform_memory_usage(const platform_memory *memory)
{
    uint64_t committed = 0;
    const unsigned char *end = memory->base + memory->size;
    for (const unsigned char *at = memory->base; at < end;) {
        MEMORY_BASIC_INFORMATION region;
        if (SYSTEM(VirtualQuery(at, &region, sizeof region), 0u, ERROR_INVALID_PARAMETER) == 0) {
            return 0;
        }
        if (region.State == MEM_COMMIT) {
            committed += region.RegionSize;
        }
        at = (unsigned char *) region.BaseAddress + region.RegionSize;
    }
    return committed;
}

void platform_memory_detach(platform_memory *memory)
{
    UnmapViewOfFile(memory->base);
    CloseHandle((HANDLE) memory->object);
    *memory = (platform_memory){NULL, 0, PLATFORM_NONE};
}
