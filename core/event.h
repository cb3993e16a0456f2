/* What the state of an event says, for event.c and for those who look at events among others. */
#ifndef KIN_CORE_EVENT_H
#define KIN_CORE_EVENT_H

#include "core/sync.h"

#define EVENT_SET (UINT64_C(1) << 16)
#define EVENT_AUTO (UINT64_C(1) << 17) /* it resets itself; never changes */

/* Above these: how often it has been set. */
#define EVENT_EPOCH (UINT64_C(1) << 18)
#define EVENT_EPOCHS (~(EVENT_EPOCH - 1))

void event_set_up(void);

#endif
