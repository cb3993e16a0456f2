/* Counters between threads and processes: a number that each call reads or changes as a whole,
   without a lock, and that can be waited for. Python: a Value with get_lock().

   Each change is one atomic operation: a process that is killed in it has made it or not, and holds
   up nobody. The numbers are those of 48 bits, from KIN_COUNTER_MIN to KIN_COUNTER_MAX; the rest of
   the word tells that the counter is the one that was meant. */
#ifndef KIN_COUNTER_H
#define KIN_COUNTER_H

#include <kin/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A counter. Zero is none. */
typedef struct kin_counter {
    uint64_t id;
} kin_counter;

#define KIN_COUNTER_MIN (-INT64_C(140737488355328))
#define KIN_COUNTER_MAX INT64_C(140737488355327)

/* How a counter is made. Zero means the default. */
typedef struct kin_counter_options {
    const char *name; /* for those who look at it; at most 31 bytes; NULL: none */
    int64_t value;    /* at the beginning */
    uint64_t reserved[6];
} kin_counter_options;

/* Makes a counter. It lasts until it is destroyed or the family ends. Errors: KIN_E_INVALID,
   KIN_E_INIT, KIN_E_NOMEM, KIN_E_LIMIT (a value out of range; too many locks and the like),
   KIN_E_THREAD_LIMIT. Does not block. Python: Value('q', value). */
KIN_API int kin_counter_create(kin_counter *counter, const kin_counter_options *options);

/* Adds `amount`, which may be negative. *value (NULL: nobody wants to know) is what it is then.
   What was written before is seen by who sees the new value. Errors: KIN_E_LIMIT if that would be
   out of range: it stays as it is; KIN_E_HANDLE, KIN_E_INIT, KIN_E_THREAD_LIMIT in a thread that
   uses kin for the first time. Does not block. Python: value += amount, under its lock. */
KIN_API int kin_counter_add(kin_counter counter, int64_t amount, int64_t *value);

/* Reads it. Errors: KIN_E_INVALID, KIN_E_HANDLE, KIN_E_INIT, KIN_E_THREAD_LIMIT. Does not block. */
KIN_API int kin_counter_get(kin_counter counter, int64_t *value);

/* Sets it. Errors as of kin_counter_add. Does not block. */
KIN_API int kin_counter_set(kin_counter counter, int64_t value);

/* Sets it to `value` if it is *expected: 1. If not, *expected becomes what it is: 0. Errors as of
   kin_counter_add; KIN_E_INVALID. Does not block. */
KIN_API int kin_counter_compare_exchange(kin_counter counter, int64_t *expected, int64_t value);

/* Waits until it is `at_least` that. 0. A value that is reached, and left again before the caller
   has seen it, may be missed. Errors: KIN_E_TIMEOUT; KIN_E_LIMIT for more than KIN_COUNTER_MAX;
   KIN_E_HANDLE, KIN_E_INIT, KIN_E_THREAD_LIMIT; KIN_E_DESTROYED if it is destroyed meanwhile. If
   whoever reaches the value is killed before it wakes those who wait, they see it within 200 ms. */
KIN_API int kin_counter_wait(kin_counter counter, int64_t at_least, int timeout_ms);

/* Ends a counter. Those who wait for it get KIN_E_DESTROYED, whoever uses it later KIN_E_HANDLE.
   Errors: KIN_E_HANDLE, KIN_E_INIT, KIN_E_THREAD_LIMIT. Does not block. */
KIN_API int kin_counter_destroy(kin_counter counter);

#ifdef __cplusplus
}
#endif

#endif
