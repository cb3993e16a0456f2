/* Waiting for any or all of several things at once. Python: multiprocessing.connection.wait. */
#ifndef KIN_WAIT_H
#define KIN_WAIT_H

#include <kin/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One of the things: the `id` of a handle. */
typedef struct kin_wait_item {
    uint64_t id;
    int32_t ready; /* set by kin_wait: 1 if it is ready, 0 if not, or why it cannot be waited for */
    uint32_t reserved;
} kin_wait_item;

/* Waits until one of the items is ready, or with `all` until all are ready at the same time. There
   may be thousands, of any kinds, and one more than once. Ready is
   - a process that has ended;
   - an event that is set;
   - a semaphore that has a permit;
   - a queue that has an item, or that is closed;
   - a connection from which something can be received, or of which the other end is closed.
   Nothing is taken: an event that resets itself stays set, a semaphore keeps its permits. Another
   may be faster, so take what you want with a timeout of 0. What is ready for less time than it
   takes to look may be missed.

   0: `ready` says of each item whether it is. An item that cannot be waited for is a reason to stop
   waiting: it has the error in `ready`, which is KIN_E_HANDLE, KIN_E_DEADLOCK for the calling
   process, or KIN_E_DESTROYED if it was destroyed meanwhile; without `all` the call returns 0, with
   `all` that error. A process that somebody closes meanwhile is ready.

   Other errors: KIN_E_TIMEOUT (`ready` is set, too); KIN_E_INVALID for no items, but none at all
   are all ready; KIN_E_INIT, KIN_E_NOMEM, KIN_E_THREAD_LIMIT, KIN_E_DESCRIPTORS, KIN_E_SYSTEM. If
   others are killed, what that makes ready is noticed. */
KIN_API int kin_wait(kin_wait_item *items, size_t count, bool all, int timeout_ms);

#ifdef __cplusplus
}
#endif

#endif
