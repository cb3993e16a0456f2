/* Who holds what, and who waits for whom: for those who look at a program that hangs. Nothing here
   waits for anything, whatever the rest of the family does. What is told was so a moment ago. */
#ifndef KIN_HOLDER_H
#define KIN_HOLDER_H

#include <kin/lock.h>
#include <kin/process.h>
#include <kin/rwlock.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Who has a lock. */
typedef struct kin_lock_holder {
    kin_process process; /* zero: nobody owns it. The handle may have been closed */
    uint64_t pid;
    uint32_t thread;  /* its number in the family, as in the texts of kin_dump */
    uint32_t depth;   /* how often it has acquired it; 0: nobody owns it */
    uint32_t waiters; /* threads that wait for it */
    uint32_t readers; /* threads that have it to read */
    uint64_t site;    /* where it was acquired: an offset in the module, or if that is not known an
                         address in the process */
    char module[512]; /* path of the program or library that acquired it; "": not known */
    char name[32];    /* the lock's */
    uint64_t reserved[8];
} kin_lock_holder;

/* Tells who owns a lock. Where it was acquired is known on Linux and Windows as module and offset,
   elsewhere as an address. If the owner is dead and nobody has noticed so far, it is told as the
   owner. Errors: KIN_E_INVALID, KIN_E_HANDLE, KIN_E_INIT, KIN_E_THREAD_LIMIT in a thread that uses
   kin for the first time. Does not block. */
KIN_API int kin_lock_owner(kin_lock lock, kin_lock_holder *holder);

/* The same of a recursive lock: where it was acquired first. */
KIN_API int kin_rlock_owner(kin_rlock lock, kin_lock_holder *holder);

/* The same of a read-write lock: who has it to write, or waits for readers to do so. Where a reader
   acquired it is not known. */
KIN_API int kin_rwlock_owner(kin_rwlock lock, kin_lock_holder *holder);

/* Calls line(text, context) for each lock, semaphore, event, condition, barrier, array and counter
   of the family, with its kind, name, owner and where that acquired it; then for each thread that
   reads it or waits for it. At last for each thread that waits for the end of a process. A text is
   one line without its end, good during the call. line: NULL writes to standard error. Errors:
   KIN_E_INIT, KIN_E_THREAD_LIMIT in a thread that uses kin for the first time. Takes time in
   proportion to syncs times threads. Does not block. */
KIN_API int kin_dump(void (*line)(const char *text, void *context), void *context);

#ifdef __cplusplus
}
#endif

#endif
