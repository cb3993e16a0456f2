/* What the state of a semaphore says.

   The upper half of the word counts the permits, so that one compare-and-swap takes or gives some.
   Those of an owned one are counted elsewhere, see permits.h; there the upper half is 0, and its
   part has the places.

   Who has to wait spins, unless others sleep already, then sleeps in `line`. Who gives permits back
   wakes as many sleepers, but the permits go to whoever comes first. One that was woken in vain
   sleeps in `head`, where it is woken before the line. When it has waited for SEMAPHORE_TURN_NS it
   sets SEMAPHORE_FAIR: then permits go to those alone who have slept, until one of them has got
   one. While it is set, `since` is when permits have come back.

   If one that was woken is killed before it takes a permit, its recovery wakes another, and the
   others look for themselves at the end of a slice. FAIR that is left by one who is gone is taken
   away by whoever gives permits back and finds nobody asleep, and disregarded SEMAPHORE_HANDED_NS
   after permits have come back. */
#ifndef KIN_CORE_SEMAPHORE_H
#define KIN_CORE_SEMAPHORE_H

#include "core/permits.h"
#include "core/sync.h"

#define SEMAPHORE_FAIR (UINT64_C(1) << 16)
#define SEMAPHORE_OWNED (UINT64_C(1) << 17) /* never changes */
#define SEMAPHORE_ONE (UINT64_C(1) << 32)

#define SEMAPHORE_TURN_NS INT64_C(1000000)
#define SEMAPHORE_HANDED_NS INT64_C(10000000)

static inline uint32_t semaphore_count(uint64_t state)
{
    return (uint32_t) (state >> 32);
}

/* Those who wait for a semaphore sleep and wake: semaphore_wait.c. `p` is NULL but for an owned
   one. */

/* Takes a permit, waiting if need be. Errors as of kin_semaphore_acquire. */
int semaphore_acquire(sync *s, uint64_t id, permits *p, thread_self *t, int timeout_ms);

/* After permits have come back: wakes so many of those who sleep. `state` is as it was before. */
void semaphore_tell(sync *s, uint64_t state, uint32_t count);

/* What is to be done about deaths. */
void semaphore_wait_set_up(void);

void semaphore_set_up(void);

#endif
