/* Waiting for any or all of many things at once, of whatever kind.

   A thing is looked at first by what the family knows of it, which asks nothing of the system; then
   it has a watch, which is this wait's own, tell when it is worth looking at again. So a wait for n
   things costs as many system calls as watching each once. What nothing tells of (a process that is
   on its way in another member) is looked at again and again, at least every WAIT_SLICE_NS. Nothing
   of it is shared: a killed waiter leaves nothing. */
#ifndef KIN_CORE_WAITABLE_H
#define KIN_CORE_WAITABLE_H

#include "core/wait.h"

#include <stddef.h>

/* What a look gives beside errors. */
enum { WAITABLE_TOLD = 0, WAITABLE_READY = 1, WAITABLE_UNTOLD = 2 };

typedef struct waitable waitable;

typedef struct waitable_kind {
    /* WAITABLE_READY if that is known, else 0; or why it cannot be waited for. */
    int (*know)(waitable *thing);
    /* WAITABLE_READY; or WAITABLE_TOLD: `watch` tells `cookie` when this is to be called again; or
       WAITABLE_UNTOLD: nothing tells. */
    int (*look)(waitable *thing, platform_watch *watch, uint64_t cookie);
    /* Gives back what look has taken, when the watch is gone. */
    void (*release)(waitable *thing);
} waitable_kind;

struct waitable {
    const waitable_kind *kind;
    uint64_t id;
    size_t index; /* its number for the caller */
    bool ready;
    bool untold;
    bool watched; /* from here on it is the kind's own */
    void *context;
    platform_process process;
};

/* Waits until all are ready, or any, of which *index is then the lowest that is known of. `things`
   name their kind, id and index; the rest is zero, and given back at the end. 0, KIN_E_TIMEOUT, or
   why one of them cannot be waited for. */
int waitable_wait_all(waitable *things, size_t count, int64_t deadline);
int waitable_wait_any(waitable *things, size_t count, size_t *index, int64_t deadline);

#endif
