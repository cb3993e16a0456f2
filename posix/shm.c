/* Named memory by shm_open. Its size is that of the object, and one that has no size is not there
   yet. Space is committed when it is made, so that to touch it never ends in SIGBUS.

   On Linux it is made without a name (O_TMPFILE where shm_open keeps its names), and is given the
   name when all of it is there: a creator that is killed leaves all or nothing, and nobody sees a
   half. Elsewhere, and where that cannot be done, the name comes first and the size last, by one
   call. A creator that is killed between the two leaves a name without a size. To openers that is
   not there, and the next creator takes it over: the lock on it, which goes with its owner, tells
   that nobody is making it, and who has it looks again whether there is a size. So the name alone
   can stay behind, and goes with the next one that makes or unlinks it. */
#include "posix/wing.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#if WING_LINUX && defined O_TMPFILE
#define HAS_UNNAMED 1
#else
#define HAS_UNNAMED 0
#endif

#define FOLDER "/dev/shm" /* of glibc's and musl's shm_open */

/* From here on, a creator looks first whether the name is free, before it takes so much memory. */
enum { LARGE = 64 * 1024, LEAST_STEP = 1 << 20, MAKE_TRIES = 1000, NS_IN_MS = 1000000 };
enum { PATH_SIZE = 256 };

/* The name for shm_open, "/NAME"; of the path FOLDER "/NAME" it is the end. */
static const char *write_path(char path[PATH_SIZE], const char *name)
{
    memcpy(path, FOLDER "/", sizeof FOLDER);
    memcpy(path + sizeof FOLDER, name, strlen(name) + 1); /* which the core has measured */
    return path + sizeof FOLDER - 1;
}

/* shm_open, with a descriptor that is in nobody's way. */
static int open_name(const char *slash_name, int flags, mode_t mode)
{
    int fd = SYSTEM(shm_open(slash_name, flags, mode), -1, EMFILE);
    return fd < 0 || fd > STDERR_FILENO ? fd : wing_above_standard(fd);
}

static int map(platform_shm *shm, int fd, size_t size, bool read_only)
{
    int protection = read_only ? PROT_READ : PROT_READ | PROT_WRITE;
    void *base = SYSTEM(mmap(NULL, size, protection, MAP_SHARED, fd, 0), MAP_FAILED, ENOMEM);
    if (base == MAP_FAILED) {
        return wing_error(errno);
    }
    *shm = (platform_shm){base, size, PLATFORM_NONE};
    return 0;
}

#if WING_LINUX

/* One call, unless signals cut it short, which gives back what that call had taken: then in steps,
   however many signals there are. The size comes last, at once: what has a size is complete. */
static int commit(int fd, size_t size)
{
    size_t done = 0;
    size_t step = size;
    while (done < size) {
        size_t part = size - done < step ? size - done : step;
        if (SYSTEM(fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t) done, (off_t) part), -1, ENOSPC) ==
            0) {
            done += part;
        } else if (errno != EINTR) {
            return errno;
        } else {
            step = step / 2 > LEAST_STEP ? step / 2 : LEAST_STEP;
        }
    }
    return SYSTEM(ftruncate(fd, (off_t) size), -1, ENOMEM) == 0 ? 0 : errno;
}

#elif defined __APPLE__

/* There it is committed as it is touched; nothing better is there. */
static int commit(int fd, size_t size)
{
    return SYSTEM(ftruncate(fd, (off_t) size), -1, ENOMEM) == 0 ? 0 : errno;
}

#else

static int commit(int fd, size_t size)
{
    int error;
    do {
        error = SYSTEM(posix_fallocate(fd, 0, (off_t) size), ENOSPC, 0);
    } while (error == EINTR);
    return error;
}

#endif

/* Gives the object its size and maps it. */
static int fill(platform_shm *shm, int fd, size_t size, bool read_only)
{
    struct rlimit limit;
    if ((uint64_t) size > (uint64_t) (sizeof(off_t) == 8 ? INT64_MAX : INT32_MAX) ||
        (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < size)) {
        return KIN_E_NOMEM; /* to try would end the process with SIGXFSZ */
    }
    int error = commit(fd, size);
    if (error == EFBIG || error == EINVAL) {
        platform_note_error(error);
        return KIN_E_NOMEM;
    }
    return error == 0 ? map(shm, fd, size, read_only) : wing_error(error);
}

/* Exactly this mode, which the umask may have made less of. */
static int set_mode(int fd, uint32_t mode)
{
    return mode == 0 || SYSTEM(fchmod(fd, (mode_t) mode), -1, EPERM) == 0 ? 0 : wing_error(errno);
}

static mode_t first_mode(uint32_t mode)
{
    return mode == 0 ? PLATFORM_SHM_MODE : (mode_t) mode;
}

#if HAS_UNNAMED

/* By its descriptor as of Linux 6.10, and in privileged processes; else by its place in /proc. 0 or
   errno. */
static int give_name(int fd, const char *path)
{
    if (SYSTEM(linkat(fd, "", AT_FDCWD, path, AT_EMPTY_PATH), -1, ENOENT) == 0) {
        return 0;
    }
    if (errno != ENOENT) {
        return errno;
    }
    char own[32];
    (void) snprintf(own, sizeof own, "/proc/self/fd/%d", fd);
    return SYSTEM(linkat(AT_FDCWD, own, AT_FDCWD, path, AT_SYMLINK_FOLLOW), -1, ENOENT) == 0
               ? 0
               : errno;
}

static int open_unnamed(uint32_t mode)
{
    int fd = SYSTEM(open(FOLDER, O_RDWR | O_TMPFILE | O_CLOEXEC, first_mode(mode)), -1, EMFILE);
    return fd < 0 || fd > STDERR_FILENO ? fd : wing_above_standard(fd);
}

/* KIN_E_EXISTS: there is something of that name, with or without a size. KIN_E_UNSUPPORTED: the
   name is to come first. */
static int create_unnamed(platform_shm *shm, const char *path, size_t size, uint32_t mode,
                          bool read_only)
{
    struct stat information;
    if (size >= LARGE && lstat(path, &information) == 0) {
        return KIN_E_EXISTS;
    }
    int fd = open_unnamed(mode);
    if (fd < 0) {
        int status = wing_error(errno);
        return status == KIN_E_NOMEM || status == KIN_E_DESCRIPTORS ? status : KIN_E_UNSUPPORTED;
    }
    int status = set_mode(fd, mode);
    status = status < 0 ? status : fill(shm, fd, size, read_only);
    if (status == 0) {
        int error = give_name(fd, path);
        if (error != 0) {
            platform_shm_close(shm);
            status = wing_error(error);
            status = status == KIN_E_NOMEM || status == KIN_E_EXISTS ? status : KIN_E_UNSUPPORTED;
        }
    }
    (void) close(fd);
    return status;
}

#else

static int create_unnamed(platform_shm *shm, const char *path, size_t size, uint32_t mode,
                          bool read_only)
{
    (void) shm, (void) path, (void) size, (void) mode, (void) read_only;
    return KIN_E_UNSUPPORTED;
}

#endif

/* The object of that name, which is made if it may be (`is_new`, which says then whether it was).
   KIN_E_NOT_FOUND: there is none, or not any more. */
static int open_to_make(int *fd, bool *is_new, const char *slash_name, uint32_t mode)
{
    if (*is_new) {
        *fd = open_name(slash_name, O_RDWR | O_CREAT | O_EXCL, first_mode(mode));
        if (*fd >= 0) {
            return 0;
        }
        if (errno == ENOENT || errno == ENOTDIR) {
            platform_note_error(errno);
            return KIN_E_UNSUPPORTED; /* there is no place for names */
        }
        if (errno != EEXIST) {
            return errno == ENAMETOOLONG ? KIN_E_INVALID : wing_error(errno);
        }
    }
    *is_new = false;
    *fd = open_name(slash_name, O_RDWR, 0);
    if (*fd >= 0) {
        return 0;
    }
    /* What cannot be opened is there nevertheless. */
    int status = wing_error(errno);
    return status == KIN_E_PERMISSION || status == KIN_E_SYSTEM ? KIN_E_EXISTS : status;
}

/* With the lock of an object that has no size. The name is taken away again if it cannot be made,
   unless somebody has done so before. */
static int make_locked(platform_shm *shm, int fd, const char *slash_name, size_t size,
                       uint32_t mode, bool read_only)
{
    int status = set_mode(fd, mode);
    status = status < 0 ? status : fill(shm, fd, size, read_only);
    struct stat information;
    if (status < 0 && fstat(fd, &information) == 0 && information.st_nlink > 0) {
        (void) shm_unlink(slash_name);
    }
    return status;
}

/* 0: it is there, and has no size. KIN_E_NOT_FOUND: its name has gone meanwhile. */
static int check_unmade(int fd)
{
    struct stat information;
    if (SYSTEM(fstat(fd, &information), -1, EBADF) != 0) {
        return wing_error(errno);
    }
    if (information.st_size > 0) {
        return KIN_E_EXISTS;
    }
    return information.st_nlink > 0 ? 0 : KIN_E_NOT_FOUND;
}

/* Where there are no such locks, what others have begun is left alone. */
static int lock(int fd, bool is_new)
{
    if (SYSTEM(flock(fd, LOCK_EX | LOCK_NB), -1, EWOULDBLOCK) == 0) {
        return 0;
    }
    if (errno == EWOULDBLOCK || errno == EINTR) {
        return KIN_E_BUSY;
    }
    return is_new ? 0 : KIN_E_EXISTS;
}

/* The size last. `is_new`: the name may be made. KIN_E_NOT_FOUND: the name has gone meanwhile.
   KIN_E_BUSY: another process is making it. */
static int make_named(platform_shm *shm, const char *slash_name, size_t size, uint32_t mode,
                      bool read_only, bool is_new)
{
    int fd;
    int status = open_to_make(&fd, &is_new, slash_name, mode);
    if (status < 0) {
        return status;
    }
    status = is_new ? 0 : check_unmade(fd);
    status = status < 0 ? status : lock(fd, is_new);
    status = status < 0 ? status : check_unmade(fd);
    if (status == 0) {
        mode = is_new || mode != 0 ? mode : PLATFORM_SHM_MODE;
        status = make_locked(shm, fd, slash_name, size, mode, read_only);
    }
    (void) flock(fd, LOCK_UN); /* a copy made by fork may have the descriptor for longer */
    (void) close(fd);
    return status;
}

int platform_shm_create(platform_shm *shm, const char *name, size_t size, uint32_t mode,
                        bool read_only)
{
    char path[PATH_SIZE];
    const char *slash_name = write_path(path, name);
    for (int tries = 0; tries < MAKE_TRIES; tries++) {
        int status = create_unnamed(shm, path, size, mode, read_only);
        if (status == KIN_E_EXISTS || status == KIN_E_UNSUPPORTED) {
            status =
                make_named(shm, slash_name, size, mode, read_only, status == KIN_E_UNSUPPORTED);
        }
        if (status != KIN_E_BUSY && status != KIN_E_NOT_FOUND) {
            return status;
        }
        platform_sleep_ns(NS_IN_MS);
    }
    return KIN_E_BUSY;
}

int platform_shm_open(platform_shm *shm, const char *name, bool read_only)
{
    char path[PATH_SIZE];
    int fd = open_name(write_path(path, name), read_only ? O_RDONLY : O_RDWR, 0);
    if (fd < 0) {
        return errno == ENAMETOOLONG ? KIN_E_INVALID : wing_error(errno);
    }
    struct stat information;
    int status;
    if (SYSTEM(fstat(fd, &information), -1, EBADF) != 0) {
        status = wing_error(errno);
    } else if (information.st_size <= 0) {
        status = KIN_E_NOT_FOUND;
    } else if ((uint64_t) information.st_size > PTRDIFF_MAX) {
        status = KIN_E_NOMEM;
    } else {
        status = map(shm, fd, (size_t) information.st_size, read_only);
    }
    (void) close(fd);
    return status;
}

void platform_shm_close(platform_shm *shm)
{
    (void) munmap(shm->base, shm->size);
    shm->base = NULL;
}

int platform_shm_unlink(const char *name)
{
    char path[PATH_SIZE];
    if (SYSTEM(shm_unlink(write_path(path, name)), -1, EACCES) == 0) {
        return 0;
    }
    return errno == ENAMETOOLONG ? KIN_E_INVALID : wing_error(errno);
}
