#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "support_stream.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

ptrdiff_t system_read(intptr_t handle, void *buffer, size_t size)
{
    ssize_t length;
    do {
        length = read((int) handle, buffer, size);
    } while (length < 0 && errno == EINTR);
    return length;
}

bool system_write(intptr_t handle, const void *data, size_t size)
{
    size_t done = 0;
    do {
        ssize_t length = write((int) handle, (const unsigned char *) data + done, size - done);
        if (length < 0 && errno != EINTR) {
            return false;
        }
        done += length > 0 ? (size_t) length : 0;
    } while (done < size);
    return true;
}

bool system_is_inherited(intptr_t handle)
{
    return (fcntl((int) handle, F_GETFD) & FD_CLOEXEC) == 0;
}

void system_make_directory(const char *path)
{
    assert_int_equal(mkdir(path, 0700), 0);
}

bool system_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

void system_remove(const char *path)
{
    struct stat about;
    if (lstat(path, &about) == 0) {
        (void) (S_ISDIR(about.st_mode) ? rmdir(path) : unlink(path));
    }
}
