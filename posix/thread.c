/* Threads: stripes, kin's own background threads, the end of a thread, and a lock within the
   process. */
#include "posix/signals.h"
#include "posix/wing.h"

#include <limits.h>
#include <pthread.h>
#include <stdlib.h>

uint32_t platform_thread_stripe(void)
{
    static _Atomic uint32_t threads;
    static _Thread_local PLATFORM_FAST_TLS uint32_t mine;
    if (mine == 0) {
        mine = atomic_fetch_add_explicit(&threads, 1, memory_order_relaxed) + 1;
    }
    return mine - 1;
}

/* What a background thread is to do, and which signals its maker had blocked: children that it
   starts begin with those, not with its own. */
typedef struct thread_start {
    void (*function)(void *);
    void *argument;
    sigset_t mask;
} thread_start;

static _Thread_local const sigset_t *maker_mask;

void signals_block(sigset_t *before)
{
    sigset_t all;
    (void) sigfillset(&all);
    (void) pthread_sigmask(SIG_SETMASK, &all, before);
}

void signals_restore(const sigset_t *before)
{
    (void) pthread_sigmask(SIG_SETMASK, before, NULL);
}

void signals_for_child(sigset_t *mask)
{
    if (maker_mask != NULL) {
        *mask = *maker_mask;
    } else {
        (void) pthread_sigmask(SIG_SETMASK, NULL, mask);
    }
}

void signals_enter_copy(void)
{
    if (maker_mask != NULL) {
        signals_restore(maker_mask);
    }
}

static void *run(void *argument)
{
    thread_start start = *(thread_start *) argument;
    free(argument);
    maker_mask = &start.mask;
    start.function(start.argument);
    return NULL;
}

int platform_thread_start(void (*function)(void *), void *argument)
{
    thread_start *start = SYSTEM(malloc(sizeof *start), NULL, ENOMEM);
    if (start == NULL) {
        return wing_error(ENOMEM);
    }
    start->function = function;
    start->argument = argument;
    pthread_attr_t attributes;
    pthread_t thread;
    int error = SYSTEM(pthread_attr_init(&attributes), ENOMEM, 0);
    if (error == 0) {
        size_t stack = 256 * 1024;
        (void) pthread_attr_setstacksize(&attributes, stack);
        (void) pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        sigset_t before;
        signals_for_child(&start->mask);
        signals_block(&before);
        error = SYSTEM(pthread_create(&thread, &attributes, run, start), EAGAIN, 0);
        signals_restore(&before);
        (void) pthread_attr_destroy(&attributes);
    }
    if (error != 0) {
        free(start);
        return error == EAGAIN ? (platform_note_error(error), KIN_E_THREAD_LIMIT)
                               : wing_error(error);
    }
    return 0;
}

static pthread_key_t exit_key;

int platform_thread_at_exit(void (*hook)(void *value))
{
    int error = SYSTEM(pthread_key_create(&exit_key, hook), EAGAIN, 0);
    return error == 0 ? 0 : (platform_note_error(error), KIN_E_THREAD_LIMIT);
}

void platform_thread_set(void *value)
{
    (void) pthread_setspecific(exit_key,
                               value); /* without memory for it the hook is missed, no more */
}

_Static_assert(sizeof(pthread_mutex_t) <= sizeof(platform_lock), "room for the mutex");

static pthread_mutex_t *mutex_of(platform_lock *lock)
{
    return (pthread_mutex_t *) (void *) lock->opaque;
}

void platform_lock_acquire(platform_lock *lock)
{
    (void) pthread_mutex_lock(mutex_of(lock));
}

void platform_lock_release(platform_lock *lock)
{
    (void) pthread_mutex_unlock(mutex_of(lock));
}
