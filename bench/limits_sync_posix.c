/* The system's means of synchronizing, on POSIX. */
#ifndef _WIN32

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "bench/limits_sync.h"

#include <pthread.h>
#include <semaphore.h>
#include <time.h>
#include <unistd.h>
#if defined __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#endif

typedef struct limits {
    _Alignas(64) pthread_mutex_t robust;
    _Alignas(64) sem_t semaphore;
    _Alignas(64) pthread_mutex_t mutex;
    _Alignas(64) pthread_cond_t condition;
    _Alignas(64) pthread_barrier_t barrier;
} limits;

static limits *in(void *memory)
{
    return memory;
}

size_t limit_sync_size(void)
{
    return sizeof(limits);
}

static int init_mutexes(limits *l)
{
    pthread_mutexattr_t attributes;
    int failed = pthread_mutexattr_init(&attributes);
    if (failed != 0) {
        return failed;
    }
    failed |= pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    failed |= pthread_mutex_init(&l->mutex, &attributes);
    failed |= pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    failed |= pthread_mutex_init(&l->robust, &attributes);
    (void) pthread_mutexattr_destroy(&attributes);
    return failed;
}

static int init_condition(limits *l)
{
    pthread_condattr_t attributes;
    int failed = pthread_condattr_init(&attributes);
    if (failed == 0) {
        failed |= pthread_condattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
        failed |= pthread_cond_init(&l->condition, &attributes);
        (void) pthread_condattr_destroy(&attributes);
    }
    return failed;
}

static int init_barrier(limits *l)
{
    pthread_barrierattr_t attributes;
    int failed = pthread_barrierattr_init(&attributes);
    if (failed == 0) {
        failed |= pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
        failed |= pthread_barrier_init(&l->barrier, &attributes, 2);
        (void) pthread_barrierattr_destroy(&attributes);
    }
    return failed;
}

int limit_sync_init(void *memory)
{
    limits *l = in(memory);
    int failed = sem_init(&l->semaphore, 1, 1);
    failed |= init_mutexes(l);
    failed |= init_condition(l);
    failed |= init_barrier(l);
    return failed == 0 ? 0 : -1;
}

void limit_lock(void *memory)
{
    (void) pthread_mutex_lock(&in(memory)->robust);
}

void limit_unlock(void *memory)
{
    (void) pthread_mutex_unlock(&in(memory)->robust);
}

void limit_semaphore_wait(void *memory)
{
    (void) sem_wait(&in(memory)->semaphore);
}

void limit_semaphore_post(void *memory)
{
    (void) sem_post(&in(memory)->semaphore);
}

void limit_condition_lock(void *memory)
{
    (void) pthread_mutex_lock(&in(memory)->mutex);
}

void limit_condition_unlock(void *memory)
{
    (void) pthread_mutex_unlock(&in(memory)->mutex);
}

void limit_condition_wait(void *memory)
{
    (void) pthread_cond_wait(&in(memory)->condition, &in(memory)->mutex);
}

void limit_condition_signal(void *memory)
{
    (void) pthread_cond_signal(&in(memory)->condition);
}

void limit_barrier_wait(void *memory)
{
    (void) pthread_barrier_wait(&in(memory)->barrier);
}

#if defined __linux__

void limit_word_wait(_Atomic uint32_t *word, uint32_t value)
{
    (void) syscall(SYS_futex, word, FUTEX_WAIT, value, NULL, NULL, 0);
}

void limit_word_wake(_Atomic uint32_t *word)
{
    (void) syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

#else

/* There is no such thing: it is looked at again and again. */
void limit_word_wait(_Atomic uint32_t *word, uint32_t value)
{
    (void) word, (void) value;
}

void limit_word_wake(_Atomic uint32_t *word)
{
    (void) word;
}

#endif

int64_t limit_processor_ns(void)
{
    struct timespec t;
    return clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) == 0
               ? (int64_t) t.tv_sec * 1000000000 + t.tv_nsec
               : -1;
}

#else

typedef int limits_sync_posix_has_nothing;

#endif
