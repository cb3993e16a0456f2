/* Windows has nothing of this kind in shared memory: what works between processes there are objects
   of the system's. */
#ifdef _WIN32

#include "bench/limits_sync.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

size_t limit_sync_size(void)
{
    return 64;
}

int limit_sync_init(void *memory)
{
    (void) memory;
    return -1;
}

void limit_lock(void *memory)
{
    (void) memory;
}

void limit_unlock(void *memory)
{
    (void) memory;
}

void limit_semaphore_wait(void *memory)
{
    (void) memory;
}

void limit_semaphore_post(void *memory)
{
    (void) memory;
}

void limit_condition_lock(void *memory)
{
    (void) memory;
}

void limit_condition_unlock(void *memory)
{
    (void) memory;
}

void limit_condition_wait(void *memory)
{
    (void) memory;
}

void limit_condition_signal(void *memory)
{
    (void) memory;
}

void limit_barrier_wait(void *memory)
{
    (void) memory;
}

void limit_word_wait(_Atomic uint32_t *word, uint32_t value)
{
    (void) word;
    (void) value;
}

void limit_word_wake(_Atomic uint32_t *word)
{
    (void) word;
}

int64_t limit_processor_ns(void)
{
    FILETIME created, ended, kernel, user;
    if (!GetProcessTimes(GetCurrentProcess(), &created, &ended, &kernel, &user)) {
        return -1;
    }
    uint64_t ticks = ((uint64_t) kernel.dwHighDateTime << 32 | kernel.dwLowDateTime) +
                     ((uint64_t) user.dwHighDateTime << 32 | user.dwLowDateTime);
    return (int64_t) ticks * 100;
}

#else

typedef int limits_sync_win32_has_nothing;

#endif
