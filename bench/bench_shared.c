/* Counters and arrays: against a bare atomic operation, a lock of the system's with a load in it,
   and memcpy. */
#include "bench/bench.h"
#include "bench/limits_sync.h"

#include <kin/kin.h>

#include <stdlib.h>
#include <string.h>

enum { SAMPLES = 15, TURNS = 500000, COPIES = 200, LENGTH = 131072 };

static double time_counter(kin_counter counter)
{
    double start = bench_now_ns();
    for (int i = 0; i < TURNS; i++) {
        (void) kin_counter_add(counter, 1, NULL);
    }
    return (bench_now_ns() - start) / TURNS;
}

static double time_atomic(_Atomic int64_t *number)
{
    double start = bench_now_ns();
    for (int i = 0; i < TURNS; i++) {
        (void) atomic_fetch_add(number, 1);
    }
    return (bench_now_ns() - start) / TURNS;
}

static int measure_counter(figure *f)
{
    double with[SAMPLES];
    double without[SAMPLES];
    kin_counter counter;
    kin_memory memory;
    int status = kin_counter_create(&counter, NULL);
    status = status < 0 ? status : kin_memory_create(&memory, sizeof(_Atomic int64_t));
    if (status < 0) {
        return status;
    }
    for (int i = 0; i < SAMPLES; i++) {
        with[i] = time_counter(counter);
        without[i] = time_atomic(kin_memory_address(memory));
    }
    f->value = bench_median(with, SAMPLES);
    f->limit = bench_median(without, SAMPLES);
    (void) kin_memory_destroy(memory);
    return kin_counter_destroy(counter);
}

static double time_get(kin_array array)
{
    uint64_t value;
    double start = bench_now_ns();
    for (size_t i = 0; i < TURNS; i++) {
        (void) kin_array_get(array, i % LENGTH, &value);
    }
    return (bench_now_ns() - start) / TURNS;
}

static double time_locked(void *limits, const volatile uint64_t *numbers)
{
    double start = bench_now_ns();
    for (size_t i = 0; i < TURNS; i++) {
        limit_lock(limits);
        (void) numbers[i % LENGTH];
        limit_unlock(limits);
    }
    return (bench_now_ns() - start) / TURNS;
}

static int measure_get(figure *f)
{
    double with[SAMPLES];
    double without[SAMPLES];
    kin_array array;
    kin_memory memory;
    int status = kin_array_create(&array, sizeof(uint64_t), LENGTH, NULL);
    status = status < 0 ? status : kin_memory_create(&memory, limit_sync_size());
    if (status < 0) {
        return status;
    }
    void *limits = kin_memory_address(memory);
    bool limited = limit_sync_init(limits) == 0;
    for (int i = 0; i < SAMPLES; i++) {
        with[i] = time_get(array);
        without[i] = limited ? time_locked(limits, kin_array_address(array)) : 0;
    }
    f->value = bench_median(with, SAMPLES);
    f->limit = limited ? bench_median(without, SAMPLES) : 0;
    (void) kin_memory_destroy(memory);
    return kin_array_destroy(array);
}

static double time_read(kin_array array, uint64_t *own)
{
    double start = bench_now_ns();
    for (int i = 0; i < COPIES; i++) {
        (void) kin_array_read(array, 0, LENGTH, own);
    }
    return (bench_now_ns() - start) / COPIES / 1000;
}

static double time_copy(const void *shared, volatile uint64_t *own)
{
    double start = bench_now_ns();
    for (int i = 0; i < COPIES; i++) {
        memcpy((void *) (uintptr_t) own, shared, LENGTH * sizeof *own);
        own[0] = own[1]; /* so that the compiler leaves the copies alone */
    }
    return (bench_now_ns() - start) / COPIES / 1000;
}

static int measure_read(figure *f)
{
    double with[SAMPLES];
    double without[SAMPLES];
    kin_array array;
    uint64_t *own = malloc(LENGTH * sizeof *own);
    int status = own != NULL ? kin_array_create(&array, sizeof *own, LENGTH, NULL) : KIN_E_NOMEM;
    if (status == 0) {
        for (int i = 0; i < SAMPLES; i++) {
            with[i] = time_read(array, own);
            without[i] = time_copy(kin_array_address(array), own);
        }
        f->value = bench_median(with, SAMPLES);
        f->limit = bench_median(without, SAMPLES);
        status = kin_array_destroy(array);
    }
    free(own);
    return status;
}

const benchmark shared_benchmarks[] = {
    {"counter.add", "ns", measure_counter},
    {"array.get", "ns", measure_get},
    {"array.read_1mib", "us", measure_read},
    {NULL, NULL, NULL},
};
