/* Shared memory with a name, for processes that are not of one family: programs that know nothing
   of each other but the name. Within a family kin_memory is simpler, and leaves nothing behind. All
   of this works without kin_init.

   A name has from 1 to KIN_SHM_NAME_MAX characters of printable ASCII; there is no slash, forward
   or back, in it, and no dot at its beginning. On POSIX it is what shm_open calls "/NAME", so that
   other programs can have a part in it; on Windows the file mapping "Local\kin.shm.NAME", which the
   programs of one session share.

   What has been made lasts, on POSIX, until kin_shm_unlink or the next start of the system, also
   when nobody has it open; on Windows it goes with the last process that has it open. A program for
   both keeps it open as long as it is needed, and then calls kin_shm_unlink once.

   A process that is killed while it makes one leaves it whole, or not there. */
#ifndef KIN_SHM_H
#define KIN_SHM_H

#include <kin/base.h>

#ifdef __cplusplus
extern "C" {
#endif

#define KIN_SHM_NAME_MAX 200

/* A view of named memory. Zero is none. Unlike other handles of kin it is good in one process
   alone, and in copies that fork makes of it: another opens the name. */
typedef struct kin_shm {
    uint64_t id;
} kin_shm;

typedef struct kin_shm_options {
    bool open_existing; /* kin_shm_create opens what is there already */
    bool read_only;     /* of this view: to write there is what SIGSEGV, or an access violation, is
                           for. Others may write */
    uint16_t reserved_flags;
    uint32_t mode; /* who may open what kin_shm_create makes: permission bits, at most 0777, just as
                      they stand, whatever the umask. Default 0600, the owner alone. On Windows it
                      says nothing: there it is who the user's own processes are */
    uint64_t reserved[4];
} kin_shm_options;

/* Makes memory of `size` bytes, all zero, with that name, and opens it. To others it is there once
   it is there for good: its whole size is taken from the system at once, so that it never runs out
   under those who use it.
   Returns 0; KIN_EXISTED if open_existing is set and it was there already: it may be larger, and it
   is as those have left it who had it before.
   Errors: KIN_E_INVALID (the name, a size of 0, options), KIN_E_EXISTS, KIN_E_TOO_SMALL (with
   open_existing: what is there has fewer bytes), KIN_E_NOMEM (also for a /dev/shm that is too
   small, as containers have it), KIN_E_PERMISSION, KIN_E_DESCRIPTORS, KIN_E_LIMIT (65,536 views),
   KIN_E_BUSY (plain POSIX, and Windows: others have been making it for a second),
   KIN_E_UNSUPPORTED, KIN_E_SYSTEM. After an error nothing is left. Takes time in proportion to the
   size, else does not block. Python: shared_memory.SharedMemory(name, create=True, size). */
KIN_API int kin_shm_create(kin_shm *shm, const char *name, size_t size,
                           const kin_shm_options *options);

/* Opens what another has made; of the options read_only counts. Errors: KIN_E_INVALID,
   KIN_E_NOT_FOUND (also while it is being made), KIN_E_PERMISSION, KIN_E_NOMEM, KIN_E_DESCRIPTORS,
   KIN_E_LIMIT, KIN_E_SYSTEM. On POSIX it opens also what other programs have made, which may take
   its memory from the system only when it is written to. Does not block.
   Python: shared_memory.SharedMemory(name). */
KIN_API int kin_shm_open(kin_shm *shm, const char *name, const kin_shm_options *options);

/* Where it is in this process, at the beginning of a page; NULL if the handle is not good. Good
   until it is closed here, whatever others do, die or unlink. Python: buf. */
KIN_API void *kin_shm_address(kin_shm shm);

/* Its size in bytes, as it was asked for; 0 if the handle is not good. Python: size. */
KIN_API size_t kin_shm_size(kin_shm shm);

/* Ends this process's view of it, as the end of the process does by itself. No thread may use it
   any more. Errors: KIN_E_HANDLE. Python: close. */
KIN_API int kin_shm_close(kin_shm shm);

/* Takes the name away, which then is free for another one; who has the memory open keeps it. On
   Windows there is nothing to take away: it does nothing, and the name is free when all have closed
   it. Errors: KIN_E_INVALID; on POSIX KIN_E_NOT_FOUND, KIN_E_PERMISSION, KIN_E_SYSTEM. Does not
   block. Python: unlink. */
KIN_API int kin_shm_unlink(const char *name);

#ifdef __cplusplus
}
#endif

#endif
