/* Deadlocks, where the family looks for them: cycles of threads each of which waits for a lock that
   the next one holds, or for the end of the process whose first thread is the next one. Who waits
   looks before it falls asleep and at the end of each slice.

   A cycle is walked twice. A thread that was in the same wait at both walks (`waits` tells) was in
   it all the time between, and held then what it held at the second walk, for one that waits
   acquires and releases nothing. So if both walks find the same, the cycle was closed at the moment
   when the second began: no alarm is false.

   A thread of the cycle that would give up earlier than the one that looks does not count: the
   latter may get what it waits for. Of those that would wait longest, or for ever, the one that
   came last is told. So a wait is ended only if it would have been in vain, and of each cycle one.
 */
#ifndef KIN_CORE_DEADLOCK_H
#define KIN_CORE_DEADLOCK_H

#include "core/family.h"

/* For a new family: as the options say, or KIN_DEADLOCK in the environment. */
void deadlock_set_up(const kin_options *options);

static inline bool deadlock_is_on(void)
{
    return atomic_load_explicit(&family_common()->detect_deadlocks, memory_order_relaxed) != 0;
}

/* True if the calling thread, which has said by wait_begin what it waits for, is to give up. */
bool deadlock_is_closed(thread_self *t);

/* To be called last by what returns KIN_E_DEADLOCK to the user: if it was found here, the cycle is
   what kin_error_detail tells. */
void deadlock_tell(void);

#endif
