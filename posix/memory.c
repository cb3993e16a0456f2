/* The shared mapping: a memfd on Linux, elsewhere (and on kernels without it) a shared memory
   object whose name is taken away as soon as it is open. Its size is the whole reserve from the
   start; space is committed by fallocate, which tells when there is none, so that touching memory
   never ends in SIGBUS. */
#include "posix/wing.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#if WING_LINUX
#include <sys/syscall.h>
#endif

enum { POPULATE_FROM = 64 * 1024 };

/* Only where addresses are plenty can a mapping begin where a huge page does. */
#if WING_LINUX && UINTPTR_MAX > 0xffffffff
#define HUGE_PAGE ((size_t) 2 << 20)
#endif

size_t platform_memory_default_size(void)
{
    return sizeof(void *) == 8 ? (size_t) (UINT64_C(64) << 30) : (size_t) 1 << 30;
}

size_t platform_memory_page_size(void)
{
    static _Atomic size_t page;
    size_t known = atomic_load_explicit(&page, memory_order_relaxed);
    if (known == 0) {
        known = (size_t) sysconf(_SC_PAGESIZE);
        atomic_store_explicit(&page, known, memory_order_relaxed);
    }
    return known;
}

static int open_by_name(void)
{
    for (int tries = 0; tries < 16; tries++) {
        uint64_t number;
        char name[32];
        int status = platform_random(&number, sizeof number);
        if (status < 0) {
            return -1;
        }
        (void) snprintf(name, sizeof name, "/kin-%016llx", (unsigned long long) number);
        int fd = SYSTEM(shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600), -1, EMFILE);
        if (fd >= 0) {
            (void) shm_unlink(name); /* it was made a moment ago by us: this cannot fail */
            return fd;
        }
        if (errno != EEXIST) {
            return -1;
        }
    }
    return -1;
}

static int open_object(void)
{
#if WING_LINUX
    int fd = SYSTEM(memfd_create("kin", MFD_CLOEXEC), -1, EMFILE);
    if (fd >= 0 || (errno != ENOSYS && errno != EPERM)) {
        return fd < 0 ? fd : wing_above_standard(fd);
    }
#endif
    int named = open_by_name();
    return named < 0 ? named : wing_above_standard(named);
}

static void *map_at(void *hint, int fd, size_t size)
{
    int flags = MAP_SHARED;
#ifdef MAP_NORESERVE
    flags |= MAP_NORESERVE;
#endif
    return SYSTEM(mmap(hint, size, PROT_READ | PROT_WRITE, flags, fd, 0), MAP_FAILED, ENOMEM);
}

/* Huge pages need a beginning at a multiple of their size: another mapping, right below the one
   that the system has given, has it. If that cannot be had the first one does. */
static void *align(void *base, int fd, size_t size)
{
#ifdef HUGE_PAGE
    uintptr_t at = (uintptr_t) base;
    if (size < HUGE_PAGE || at % HUGE_PAGE == 0 || at < size + HUGE_PAGE) {
        return base;
    }
    uintptr_t below = (at - size) / HUGE_PAGE * HUGE_PAGE;
    void *other = map_at((void *) below, fd, size); /* NOLINT(performance-no-int-to-ptr) */
    if (other == MAP_FAILED) {
        return base;
    }
    bool aligned = (uintptr_t) other % HUGE_PAGE == 0;
    (void) munmap(aligned ? base : other, size);
    return aligned ? other : base;
#else
    (void) fd, (void) size;
    return base;
#endif
}

static int map(platform_memory *memory, int fd, size_t size)
{
    void *base = map_at(NULL, fd, size);
    if (base == MAP_FAILED) {
        return wing_error(errno);
    }
    base = align(base, fd, size);
    memory->base = base;
    memory->size = size;
    memory->object = fd;
    return 0;
}

int platform_memory_create(platform_memory *memory, size_t size)
{
    int fd = open_object();
    if (fd < 0) {
        return wing_error(errno);
    }
    int status;
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < size) {
        status = KIN_E_NOMEM; /* to try would end the process with SIGXFSZ */
    } else if (SYSTEM(ftruncate(fd, (off_t) size), -1, EFBIG) == 0) {
        status = map(memory, fd, size);
    } else {
        bool too_large = errno == EFBIG || errno == EINVAL;
        status = wing_error(errno);
        status = too_large ? KIN_E_NOMEM : status;
    }
    if (status < 0) {
        (void) close(fd);
    }
    return status;
}

int platform_memory_attach(platform_memory *memory, intptr_t object, size_t size)
{
    int fd = (int) object;
    struct stat information;
    if (fd != object || fd < 0 || SYSTEM(fstat(fd, &information), -1, EBADF) != 0 ||
        (uint64_t) information.st_size < size) {
        platform_note_error(errno);
        return KIN_E_ATTACH;
    }
    if (SYSTEM(fcntl(fd, F_SETFD, FD_CLOEXEC), -1, EBADF) != 0) {
        return wing_error(errno);
    }
    return map(memory, fd, size);
}

int platform_memory_commit(const platform_memory *memory, size_t offset, size_t size)
{
#ifdef __APPLE__
    (void) memory, (void) offset,
        (void) size; /* committed as it is touched; nothing better is there */
    return 0;
#else
    int error;
    do {
#if WING_LINUX
        error = SYSTEM(fallocate((int) memory->object, FALLOC_FL_KEEP_SIZE, (off_t) offset,
                                 (off_t) size),
                       -1, ENOSPC) == 0
                    ? 0
                    : errno;
#else
        error =
            SYSTEM(posix_fallocate((int) memory->object, (off_t) offset, (off_t) size), ENOSPC, 0);
#endif
    } while (error == EINTR);
    if (error == 0) {
#ifdef MADV_POPULATE_WRITE
        /* Who asks for it writes to it next: mapped at once it costs a tenth of a fault for each
           page. */
        if (size >= POPULATE_FROM) {
            (void) madvise(memory->base + offset, size, MADV_POPULATE_WRITE);
        }
#endif
        return 0;
    }
    (void) wing_error(error);
    return KIN_E_NOMEM;
#endif
}

int platform_memory_release(const platform_memory *memory, size_t offset, size_t size)
{
#ifdef FALLOC_FL_PUNCH_HOLE
    if (SYSTEM(fallocate((int) memory->object, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                         (off_t) offset, (off_t) size),
               -1, EIO) == 0) {
        return 0;
    }
    return wing_error(errno);
#else
    (void) memory, (void) offset, (void) size;
    return KIN_E_UNSUPPORTED;
#endif
}

size_t platform_memory_huge_page_size(const platform_memory *memory)
{
#ifdef HUGE_PAGE
    return (uintptr_t) memory->base % HUGE_PAGE == 0 ? HUGE_PAGE : 0;
#else
    (void) memory;
    return 0;
#endif
}

#if WING_LINUX

enum { COLLAPSE = 25, BIND = 2, STRICT_AND_MOVE = 3 }; /* as the kernel has them */
enum { NODES = 1024, BITS = 8 * sizeof(unsigned long) };

/* It is told what there is, not what is to come: neither the mapping nor the object keeps anything
   of it when the memory has been given back. */
int platform_memory_use_huge_pages(const platform_memory *memory, size_t offset, size_t size)
{
    size_t huge = platform_memory_huge_page_size(memory);
    if (huge == 0) {
        return KIN_E_UNSUPPORTED;
    }
    size_t start = (offset + huge - 1) / huge * huge;
    size_t end = (offset + size) / huge * huge;
    if (start < end &&
        SYSTEM(madvise(memory->base + start, end - start, COLLAPSE), -1, EINVAL) != 0) {
        (void) wing_error(errno);
        return KIN_E_UNSUPPORTED;
    }
    return 0;
}

static long bind_to(const platform_memory *memory, size_t offset, size_t size, int mode,
                    const unsigned long *nodes, unsigned how)
{
    return SYSTEM(syscall(SYS_mbind, memory->base + offset, size, mode, nodes,
                          nodes != NULL ? (unsigned long) NODES + 1 : 0UL, how),
                  -1, ENOSYS);
}

int platform_memory_use_node(const platform_memory *memory, size_t offset, size_t size,
                             uint32_t node)
{
    unsigned long nodes[NODES / BITS] = {0};
    if (node >= NODES) {
        return KIN_E_UNSUPPORTED;
    }
    nodes[node / BITS] = 1UL << node % BITS;
    /* What this process has not looked at yet is not moved. */
    for (size_t at = 0; at < size; at += platform_memory_page_size()) {
        (void) *(const volatile unsigned char *) (memory->base + offset + at);
    }
    long bound = bind_to(memory, offset, size, BIND, nodes, STRICT_AND_MOVE);
    if (bound != 0) {
        (void) wing_error(errno);
    }
    /* All of it has its place now. What is committed there later shall go where it likes. */
    (void) bind_to(memory, offset, size, 0, NULL, 0);
    return bound == 0 ? 0 : KIN_E_UNSUPPORTED;
}

#else

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

#endif

uint64_t platform_memory_usage(const platform_memory *memory)
{
    struct stat information;
    if (fstat((int) memory->object, &information) != 0) {
        return 0;
    }
    return (uint64_t) information.st_blocks * 512;
}

void platform_memory_detach(platform_memory *memory)
{
    (void) munmap(memory->base, memory->size);
    (void) close((int) memory->object);
    memory->base = NULL;
    memory->object = PLATFORM_NONE;
}
