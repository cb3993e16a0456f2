/* What kin costs in memory: in the arena of a program that has done nothing yet, and in each
   child. */
#include "bench/bench.h"
#include "bench/limits.h"

#include <kin/kin.h>

static int measure_idle_arena(figure *f)
{
    kin_arena_usage usage;
    int status = kin_arena_read_usage(&usage);
    f->value = (double) usage.committed / 1024;
    return status;
}

/* The same program without kin says it as its exit code, in these steps, as it has no other way. */
enum { STEP_KIB = 16 };

static int tell_private(kin_call *call)
{
    *(int64_t *) call->result = limit_private_kib();
    return 0;
}

static int measure_per_process(figure *f)
{
    enum { TIMES = 5 };
    double with[TIMES];
    double without[TIMES];
    for (int i = 0; i < TIMES; i++) {
        kin_pool pool;
        kin_pool_options one = {.workers = 1};
        int64_t kib = -1;
        int status = kin_pool_create(&pool, &one);
        if (status == 0) {
            status = kin_pool_map(pool, tell_private, NULL, 1, 0, &kib, sizeof kib, NULL);
        }
        if (status == 0) {
            status = kin_pool_destroy(pool);
        }
        if (status < 0) {
            return status;
        }
        int steps = limit_spawn_wait(BENCH_PRIVATE);
        if (steps < 0 || kib < 0) {
            return KIN_E_UNSUPPORTED;
        }
        with[i] = (double) kib;
        without[i] = (double) steps * STEP_KIB;
    }
    f->value = bench_median(with, TIMES) - bench_median(without, TIMES);
    return 0;
}

int bench_tell_private(void)
{
    return (int) (limit_private_kib() / STEP_KIB);
}

const benchmark memory_benchmarks[] = {
    {"memory.idle_arena", "KiB", measure_idle_arena},
    {"memory.per_process", "KiB", measure_per_process},
    {NULL, NULL, NULL},
};
