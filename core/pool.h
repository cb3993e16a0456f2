/* Pools. */
#ifndef KIN_CORE_POOL_H
#define KIN_CORE_POOL_H

#include "core/job.h"
#include "core/process.h"

/* Once, before the family is founded or joined. */
void pool_set_up(void);

/* At the end of a member: terminates and forgets the pools that it created. */
void pool_end_all(void);

/* In a copy that fork has made: those are the original's. Safe in a signal handler. */
void pool_reset_copy(void);

#endif
