/* Waiting for many things of different kinds. Each kind says how one of it is looked at, without
   changing it, and what tells that it may have changed: a line, or a watch of its own.

   Who waits sets the bits of all lines in its thread's record. Then, again and again: it reads its
   bell, announces itself at each line and looks at the thing behind it, and sleeps as long as the
   bell is what it has read. Who changes a thing looks afterwards whether anybody is announced, and
   rings the bells of those whose bits are set. So one of the two sees the other, for each thing by
   itself. A killed waiter leaves announcements, which whoever finds nobody takes away; one that was
   killed before it rang is made up for at the end of a slice, when all are looked at again. */
#ifndef KIN_CORE_WAIT_MANY_H
#define KIN_CORE_WAIT_MANY_H

#include "core/object.h"
#include "core/wait.h"

typedef struct wait_kind {
    /* 1 if it is ready, 0 if not, or why it cannot be waited for: KIN_E_HANDLE if it is not there.
       `watch` is what `begin` has made, or NULL. `well`: ask the system as well, and look after
       those whose death would make it ready. */
    int (*look)(uint64_t id, void *watch, bool well);

    /* What becomes of one that is not there any more after some time: KIN_E_DESTROYED, or 1. */
    int gone;

    /* The line that is told of each change for the better: of an entry in the table of syncs, as it
       may be read for ever. NULL if it is not there. A kind without lines has no such function. */
    wait_line *(*line)(uint64_t id);

    /* For a kind without lines: called whenever it has been looked at and is not ready. Makes what
       wakes the bell when it is worth looking again, if it has not done so before (*watch is NULL),
       until `end`. 1 if that will tell; 0 if nothing does: then it is looked at again soon. */
    int (*begin)(uint64_t id, wait_line *bell, void **watch);
    void (*end)(void *watch);
} wait_kind;

void wait_register(enum object_kind kind, const wait_kind *how);

#endif
