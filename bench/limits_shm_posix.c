/* Named memory, on POSIX. */
#ifndef _WIN32

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "bench/limits_shm.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

int limit_shm_make_touch_remove(const char *name, size_t size)
{
    char slash[256];
    (void) snprintf(slash, sizeof slash, "/%s", name);
    int fd = shm_open(slash, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (fd < 0) {
        return -1;
    }
    int result = -1;
    if (ftruncate(fd, (off_t) size) == 0) {
        void *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (base != MAP_FAILED) {
            *(volatile unsigned char *) base = 1;
            result = munmap(base, size);
        }
    }
    (void) close(fd);
    return shm_unlink(slash) == 0 ? result : -1;
}

#else
typedef int limits_shm_posix_is_for_posix;
#endif
