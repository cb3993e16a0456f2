/* Semaphores between threads and processes. Python: multiprocessing.Semaphore, BoundedSemaphore.

   A semaphore has permits: to acquire takes one, and waits while there is none; to release gives
   some back. What nobody contends makes no system call. Semaphores are fair: a permit that comes
   back may go to whoever comes first, but one who has waited in vain for more than about a
   millisecond has it before all who come later.

   Anybody may release an ordinary semaphore, so nobody knows who has its permits, and those that a
   process had when it was killed stay lost. One that is `owned` knows which process has which
   permit: only that one can give it back, and when it ends, its permits come back by themselves. */
#ifndef KIN_SEMAPHORE_H
#define KIN_SEMAPHORE_H

#include <kin/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A semaphore. Zero is none. */
typedef struct kin_semaphore {
    uint64_t id;
} kin_semaphore;

/* The most permits that there can be; and the most of a semaphore that is owned. */
#define KIN_SEMAPHORE_LIMIT 2147483647u
#define KIN_SEMAPHORE_OWNED_LIMIT 65536u

/* How a semaphore is made. Zero means the default. */
typedef struct kin_semaphore_options {
    const char *name; /* for those who look at it; at most 31 bytes; NULL: none */
    uint32_t value;   /* permits at the beginning; 0: one, or none if `empty` */
    uint32_t bound;   /* there are never more permits than this; 0: KIN_SEMAPHORE_LIMIT */
    bool empty;       /* no permits at the beginning; `value` is 0 */
    bool owned;       /* permits belong to the process that acquired them; not `empty` */
    uint64_t reserved[5];
} kin_semaphore_options;

/* Makes a semaphore. It lasts until it is destroyed or the family ends. Errors: KIN_E_INVALID (also
   for more permits than the bound or the limit), KIN_E_INIT, KIN_E_NOMEM, KIN_E_LIMIT (too many
   locks and the like), KIN_E_THREAD_LIMIT. Does not block. Python: Semaphore(value);
   BoundedSemaphore(value), where `bound` is `value`. */
KIN_API int kin_semaphore_create(kin_semaphore *semaphore, const kin_semaphore_options *options);

/* Waits for a permit and takes it. 0. Errors: KIN_E_HANDLE, KIN_E_INIT, KIN_E_TIMEOUT;
   KIN_E_DESTROYED if it is destroyed meanwhile; KIN_E_THREAD_LIMIT in a thread that uses kin for
   the first time; of one that is owned KIN_E_LIMIT in calls that are nested too deep. KIN_E_TIMEOUT
   may be told although there are permits, if they are for those who have waited. If the caller is
   killed while it waits, its turn goes to the next within 200 ms. Permits of an owned semaphore
   that dead processes had are found in the same time. Python: acquire. */
KIN_API int kin_semaphore_acquire(kin_semaphore semaphore, int timeout_ms);

/* Gives `count` permits back, all or none. What was written before is seen by who takes them.
   Errors: KIN_E_INVALID for a count of 0; KIN_E_LIMIT beyond the bound; KIN_E_NOT_OWNER if this
   process has fewer of one that is owned; KIN_E_HANDLE, KIN_E_INIT, KIN_E_THREAD_LIMIT. Does not
   block. Python: release. */
KIN_API int kin_semaphore_release(kin_semaphore semaphore, uint32_t count);

/* How many permits can be had at this moment; or an error: KIN_E_HANDLE, KIN_E_INIT,
   KIN_E_THREAD_LIMIT, KIN_E_LIMIT. Does not block. Python: get_value. */
KIN_API int kin_semaphore_value(kin_semaphore semaphore);

/* Ends a semaphore. Those who wait for it get KIN_E_DESTROYED, whoever uses it later KIN_E_HANDLE.
   Errors: KIN_E_HANDLE, KIN_E_INIT, KIN_E_THREAD_LIMIT. Does not block. */
KIN_API int kin_semaphore_destroy(kin_semaphore semaphore);

#ifdef __cplusplus
}
#endif

#endif
