/* Which KIN_E_* an errno is, and descriptors. */
#include "posix/wing.h"

#include <fcntl.h>
#include <unistd.h>

int wing_above_standard(int fd)
{
    if (fd > STDERR_FILENO) {
        return fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 ? fd : -1;
    }
    int moved = SYSTEM(fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1), -1, EMFILE);
    int error = errno;
    (void) close(fd);
    errno = error;
    return moved;
}

static int make_pipe(int ends[2])
{
#if WING_LINUX
    return SYSTEM(pipe2(ends, O_CLOEXEC), -1, EMFILE);
#else
    return SYSTEM(pipe(ends), -1, EMFILE); /* wing_above_standard sets the flag */
#endif
}

int wing_pipe(int ends[2])
{
    if (make_pipe(ends) != 0) {
        return -1;
    }
    for (int i = 0; i < 2; i++) {
        ends[i] = wing_above_standard(ends[i]);
        if (ends[i] < 0) {
            int error = errno;
            (void) close(ends[1 - i]);
            errno = error;
            return -1;
        }
    }
    return 0;
}

int wing_error(int system_error)
{
    platform_note_error(system_error);
    switch (system_error) {
    case ENOMEM:
    case ENOSPC:
        return KIN_E_NOMEM;
    case EMFILE:
    case ENFILE:
        return KIN_E_DESCRIPTORS;
    case EAGAIN:
        return KIN_E_PROCESS_LIMIT;
    case ENOENT:
    case ENOTDIR:
        return KIN_E_NOT_FOUND;
    case EEXIST:
        return KIN_E_EXISTS;
    case EACCES:
    case EPERM:
    case EROFS:
    case EISDIR:
    case ETXTBSY:
        return KIN_E_PERMISSION;
    case ENOSYS:
    case EOPNOTSUPP:
        return KIN_E_UNSUPPORTED;
    case EDOM: /* said by this wing alone: what was asked for is not there */
        return KIN_E_INVALID;
    case ETIMEDOUT:
        return KIN_E_TIMEOUT;
    default:
        return KIN_E_SYSTEM;
    }
}
