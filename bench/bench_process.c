/* Starting processes and waiting for their end, against the system's own ways with the same
   program. */
#include "bench/bench.h"
#include "bench/limits.h"

#include <kin/kin.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 301, MANY = 1000 };

static int nothing(void *argument, size_t size)
{
    (void) argument, (void) size;
    return 0;
}

static int start_and_join(int method)
{
    const kin_process_options options = {.method = method};
    kin_process process;
    int status = kin_process_start(&process, nothing, NULL, 0, &options);
    if (status == 0) {
        status = kin_process_join(process, KIN_FOREVER);
    }
    if (status == 0) {
        status = kin_process_close(process);
    }
    return status;
}

static int limit_spawn(void)
{
    return limit_spawn_wait(BENCH_EXIT);
}

/* The two in turn, so that both meet the same moods of the machine. */
static int measure_pair(figure *f, int method, int (*limit)(void))
{
    double with[ROUNDS];
    double without[ROUNDS];
    if (!kin_has_start_method(method)) {
        return KIN_E_UNSUPPORTED;
    }
    for (int round = -1; round < ROUNDS; round++) {
        double start = bench_now_ns();
        int status = start_and_join(method);
        double middle = bench_now_ns();
        if (status < 0) {
            return status;
        }
        if (limit() != 0) {
            return KIN_E_SYSTEM;
        }
        if (round >= 0) { /* the first one starts the forkserver */
            with[round] = (middle - start) / 1e3;
            without[round] = (bench_now_ns() - middle) / 1e3;
        }
    }
    f->value = bench_median(with, ROUNDS);
    f->limit = bench_median(without, ROUNDS);
    return 0;
}

static int measure_spawn_join(figure *f)
{
    return measure_pair(f, KIN_START_SPAWN, limit_spawn);
}

static int measure_fork_join(figure *f)
{
    return measure_pair(f, KIN_START_FORK, limit_fork_wait);
}

static int measure_forkserver_join(figure *f)
{
    return measure_pair(f, KIN_START_FORKSERVER, limit_fork_wait);
}

static int measure_spawns(double *us)
{
    enum { TIMES = 101 };
    double samples[TIMES];
    for (int i = 0; i < TIMES; i++) {
        double start = bench_now_ns();
        int status = start_and_join(KIN_START_SPAWN);
        if (status < 0) {
            return status;
        }
        samples[i] = (bench_now_ns() - start) / 1e3;
    }
    *us = bench_median(samples, TIMES);
    return 0;
}

/* From a parent with 4 GiB of memory that it has written to; the limit is the same from a small
   one. */
static int measure_spawn_join_4gib(figure *f)
{
    const uint64_t bytes = UINT64_C(4) << 30;
    int status = measure_spawns(&f->limit);
    unsigned char *memory = status == 0 && bytes <= SIZE_MAX ? malloc((size_t) bytes) : NULL;
    if (memory == NULL) {
        return status < 0 ? status : KIN_E_NOMEM;
    }
    memset(memory, 1, (size_t) bytes);
    status = measure_spawns(&f->value);
    free(memory);
    return status;
}

static int stay(void *argument, size_t size)
{
    (void) argument, (void) size;
    return kin_sleep(KIN_FOREVER); /* it is killed */
}

static const kin_process_options daemon_options = {.daemon = true};

/* Processes a second: as many are started, all alive at a time, then ended. */
static int measure_thousand(figure *f)
{
    static kin_process processes[MANY];
    int started = 0;
    int status = 0;
    double start = bench_now_ns();
    for (; started < MANY && status == 0; started++) {
        status = kin_process_start(&processes[started], stay, NULL, 0, &daemon_options);
    }
    started -= status < 0;
    for (int i = 0; i < started; i++) {
        (void) kin_process_kill(processes[i]);
    }
    for (int i = 0; i < started; i++) {
        int joined = kin_process_join(processes[i], KIN_FOREVER);
        status = joined < 0 ? joined : status;
        (void) kin_process_close(processes[i]);
    }
    f->value = MANY / ((bench_now_ns() - start) / 1e9);
    return status;
}

const benchmark process_benchmarks[] = {
    {"process.spawn_join", "us", measure_spawn_join},
    {"process.fork_join", "us", measure_fork_join},
    {"process.forkserver_join", "us", measure_forkserver_join},
    {"process.spawn_join_4gib", "us", measure_spawn_join_4gib},
    {"process.thousand", "1/s", measure_thousand},
    {NULL, NULL, NULL},
};
