/* What the system's own means of synchronizing do between processes, in memory that these share.
   Only POSIX has such; elsewhere limit_sync_init fails, and figures have no limit. */
#ifndef KIN_BENCH_LIMITS_SYNC_H
#define KIN_BENCH_LIMITS_SYNC_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* A robust mutex, a semaphore, a mutex with a condition, a barrier for two, and bare words. */
size_t limit_sync_size(void);

/* In zeroed memory of that size. Below 0: there is none of it. */
int limit_sync_init(void *memory);

void limit_lock(void *memory);
void limit_unlock(void *memory);
void limit_semaphore_wait(void *memory);
void limit_semaphore_post(void *memory);

/* The condition's mutex, the wait and the wake of one. */
void limit_condition_lock(void *memory);
void limit_condition_unlock(void *memory);
void limit_condition_wait(void *memory);
void limit_condition_signal(void *memory);

void limit_barrier_wait(void *memory);

/* Sleeps while *word == value, without looking before; wakes one. */
void limit_word_wait(_Atomic uint32_t *word, uint32_t value);
void limit_word_wake(_Atomic uint32_t *word);

/* Nanoseconds that the processors have worked for this process. */
int64_t limit_processor_ns(void);

#endif
