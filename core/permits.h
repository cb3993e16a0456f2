/* The permits of an owned semaphore: a place for each, in which the member that has it stands, or
   0. The places are all there is to know, each change is one compare-and-swap, and whatever stands
   there of a member that is gone can be taken away by anybody. */
#ifndef KIN_CORE_PERMITS_H
#define KIN_CORE_PERMITS_H

#include "core/object.h"

typedef struct permits {
    object object;
    uint32_t count;
    _Atomic uint32_t hint; /* where one may be free */
    _Alignas(64) _Atomic uint64_t holders[];
} permits;

/* Makes an object of that many, all free, for `owner`. KIN_E_NOMEM. */
int permits_create(uint64_t *id, uint64_t owner, uint32_t count);

/* Takes one for this member. False if none is free. */
bool permits_take(permits *p);

/* Gives `count` of this member's back, or none: false if it has not so many. */
bool permits_give(permits *p, uint32_t count);

/* How many are free; it is enough to know of so many. */
uint32_t permits_free(permits *p, uint32_t enough);

/* Takes back those of members that are known to be gone; how many. */
uint32_t permits_drop_dead(permits *p);

/* Looks whether the members that have some are still there. */
void permits_look_at_holders(permits *p);

/* In a copy that fork has made. Safe in a signal handler. */
void permits_reset_copy(void);

#endif
