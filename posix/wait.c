/* Waiting: a futex on Linux; elsewhere threads are parked, each on a semaphore of its own in shared
   memory. */
#include "posix/wing.h"

#include <limits.h>
#include <semaphore.h>
#include <time.h>
#include <unistd.h>

enum { NS_IN_SECOND = 1000000000 };

#if WING_LINUX

#include <linux/futex.h>
#include <sys/syscall.h>

#if !defined SYS_futex || (defined SYS_futex_time64 && __SIZEOF_LONG__ == 4)
#define FUTEX_CALL SYS_futex_time64
typedef struct kernel_time {
    int64_t tv_sec;
    int64_t tv_nsec;
} kernel_time;
#else
#define FUTEX_CALL SYS_futex
typedef struct kernel_time {
    long tv_sec;
    long tv_nsec;
} kernel_time;
#endif

bool platform_has_word_wait(void)
{
    return true;
}

int platform_word_wait(_Atomic uint32_t *word, uint32_t expected, int64_t timeout_ns)
{
    kernel_time time;
    kernel_time *limit = NULL;
    if (timeout_ns >= 0) {
        time.tv_sec = (__typeof__(time.tv_sec)) (timeout_ns / NS_IN_SECOND);
        time.tv_nsec = (__typeof__(time.tv_nsec)) (timeout_ns % NS_IN_SECOND);
        limit = &time;
    }
    if (syscall(FUTEX_CALL, word, FUTEX_WAIT, expected, limit, NULL, 0) != 0 &&
        errno == ETIMEDOUT) {
        return KIN_E_TIMEOUT;
    }
    return 0; /* woken, the word is another by now, or a signal came: the caller looks again */
}

uint32_t platform_word_wake(_Atomic uint32_t *word, uint32_t count)
{
    long woken = syscall(FUTEX_CALL, word, FUTEX_WAKE, count > INT_MAX ? INT_MAX : (int) count,
                         NULL, NULL, 0);
    return woken > 0 ? (uint32_t) woken : 0;
}

#else

bool platform_has_word_wait(void)
{
    return false;
}

int platform_word_wait(_Atomic uint32_t *word, uint32_t expected, int64_t timeout_ns)
{
    (void) word, (void) expected, (void) timeout_ns;
    return KIN_E_UNSUPPORTED;
}

uint32_t platform_word_wake(_Atomic uint32_t *word, uint32_t count)
{
    (void) word, (void) count;
    return 0;
}

#endif

_Static_assert(sizeof(sem_t) <= sizeof(platform_parker_shared), "room for the semaphore");

static sem_t *semaphore_of(platform_parker *parker)
{
    return (sem_t *) (void *) parker->shared->opaque;
}

int platform_parker_create(platform_parker *parker, platform_parker_shared *shared, uint64_t family,
                           uint32_t number)
{
    (void) family, (void) number;
    parker->shared = shared;
    parker->object = PLATFORM_NONE;
    if (SYSTEM(sem_init(semaphore_of(parker), 1, 0), -1, ENOSYS) != 0) {
        return wing_error(errno);
    }
    return 0;
}

int platform_parker_open(platform_parker *parker, platform_parker_shared *shared, uint64_t family,
                         uint32_t number)
{
    (void) family, (void) number;
    parker->shared = shared;
    parker->object = PLATFORM_NONE;
    return 0;
}

int platform_park(platform_parker *parker, int64_t timeout_ns)
{
    int result;
    if (timeout_ns < 0) {
        result = sem_wait(semaphore_of(parker));
    } else {
        struct timespec until;
        (void) clock_gettime(CLOCK_REALTIME, &until);
        int64_t ns = until.tv_nsec + timeout_ns % NS_IN_SECOND;
        until.tv_sec += (time_t) (timeout_ns / NS_IN_SECOND + ns / NS_IN_SECOND);
        until.tv_nsec = (long) (ns % NS_IN_SECOND);
        result = sem_timedwait(semaphore_of(parker), &until);
    }
    if (result != 0 && errno == ETIMEDOUT) {
        return KIN_E_TIMEOUT;
    }
    return 0;
}

void platform_unpark(platform_parker *parker)
{
    (void) sem_post(
        semaphore_of(parker)); /* fails only when it is full, and then it is up anyway */
}

void platform_parker_close(platform_parker *parker)
{
    parker->shared = NULL;
}
