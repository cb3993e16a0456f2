/* The lock whose owner may die: a robust mutex, shared between processes. The kernel marks it when
   the thread that holds it ends. */
#include "posix/wing.h"

#include <pthread.h>

_Static_assert(sizeof(pthread_mutex_t) <= sizeof(platform_mutex_shared), "room for the mutex");

static pthread_mutex_t *mutex_of(platform_mutex *mutex)
{
    return (pthread_mutex_t *) (void *) mutex->shared->opaque;
}

int platform_mutex_create(platform_mutex *mutex, platform_mutex_shared *shared)
{
    mutex->shared = shared;
    mutex->object = PLATFORM_NONE;
    pthread_mutexattr_t attributes;
    int error = SYSTEM(pthread_mutexattr_init(&attributes), ENOMEM, 0);
    if (error != 0) {
        return wing_error(error);
    }
    error = SYSTEM(pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED), ENOSYS, 0);
    if (error == 0) {
        error = SYSTEM(pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST), ENOSYS, 0);
    }
    if (error == 0) {
        error = SYSTEM(pthread_mutex_init(mutex_of(mutex), &attributes), ENOMEM, 0);
    }
    (void) pthread_mutexattr_destroy(&attributes);
    return error == 0 ? 0 : wing_error(error);
}

int platform_mutex_open(platform_mutex *mutex, platform_mutex_shared *shared)
{
    mutex->shared = shared;
    mutex->object = PLATFORM_NONE;
    return 0;
}

int platform_mutex_lock(platform_mutex *mutex)
{
    int error = SYSTEM(pthread_mutex_lock(mutex_of(mutex)), EINVAL, 0);
    if (error == EOWNERDEAD) {
        /* Usable again at once: if this owner dies as well, the next one gets EOWNERDEAD too. */
        error = pthread_mutex_consistent(mutex_of(mutex));
        return error == 0 ? KIN_OWNER_DIED : wing_error(error);
    }
    return error == 0 ? 0 : wing_error(error);
}

void platform_mutex_unlock(platform_mutex *mutex)
{
    (void) pthread_mutex_unlock(mutex_of(mutex)); /* held by this thread: cannot fail */
}

void platform_mutex_close(platform_mutex *mutex)
{
    mutex->shared = NULL;
}
