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

enum { POPULATE_FROM = 64 * 1024 };

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

static int map(platform_memory *memory, int fd, size_t size)
{
    int flags = MAP_SHARED;
#ifdef MAP_NORESERVE
    flags |= MAP_NORESERVE;
#endif
    void *base = SYSTEM(mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0), MAP_FAILED, ENOMEM);
    if (base == MAP_FAILED) {
        return wing_error(errno);
    }
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
