/* Events between threads and processes. Python: multiprocessing.Event.

   An event is set or not, and whoever waits for it waits until it is set. One that resets itself is
   clear again as soon as one waiter has seen it set, which lets exactly one in for each time that
   it is set. Nobody owns an event: a process that is killed while it waits for one, sets it or
   clears it leaves it as it is, and all others go on. */
#ifndef KIN_EVENT_H
#define KIN_EVENT_H

#include <kin/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* An event. Zero is none. */
typedef struct kin_event {
    uint64_t id;
} kin_event;

/* How an event is made. Zero means the default. */
typedef struct kin_event_options {
    const char *name; /* for those who look at it; at most 31 bytes; NULL: none */
    bool set;         /* it is set from the beginning */
    bool auto_reset;  /* it is clear again when one waiter has seen it set */
    uint64_t reserved[6];
} kin_event_options;

/* Makes an event. It lasts until it is destroyed or the family ends. Errors: KIN_E_INVALID,
   KIN_E_INIT, KIN_E_NOMEM, KIN_E_LIMIT (too many locks and the like), KIN_E_THREAD_LIMIT. Does not
   block. Python: Event(). */
KIN_API int kin_event_create(kin_event *event, const kin_event_options *options);

/* Sets it. All who wait for it go on, even if it is cleared at once; of one that resets itself, one
   goes on. To set one that is set changes nothing, and wakes nobody. What was written before is
   seen by whoever sees the event set. Errors: KIN_E_HANDLE, KIN_E_INIT; KIN_E_THREAD_LIMIT in a
   thread that uses kin for the first time. Does not block. If the caller is killed meanwhile,
   either nothing has happened or the event is set and those who wait find out within 200 ms.
   Python: set. */
KIN_API int kin_event_set(kin_event event);

/* Clears it. One that is clear stays so. Errors as of kin_event_set. Does not block. Python:
   clear. */
KIN_API int kin_event_clear(kin_event event);

/* 1 if it is set, else 0, at this moment. Errors as of kin_event_set. Does not block. Python:
   is_set. */
KIN_API int kin_event_is_set(kin_event event);

/* Waits until it is set; one that resets itself is then cleared. 0. Errors: KIN_E_HANDLE,
   KIN_E_INIT, KIN_E_TIMEOUT; KIN_E_DESTROYED if it is destroyed meanwhile; KIN_E_THREAD_LIMIT in a
   thread that uses kin for the first time. Python: wait. */
KIN_API int kin_event_wait(kin_event event, int timeout_ms);

/* Ends an event. Those who wait for it get KIN_E_DESTROYED, whoever uses it later KIN_E_HANDLE.
   Errors: KIN_E_HANDLE, KIN_E_INIT, KIN_E_THREAD_LIMIT. Does not block. */
KIN_API int kin_event_destroy(kin_event event);

#ifdef __cplusplus
}
#endif

#endif
