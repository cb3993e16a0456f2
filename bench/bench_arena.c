/* Allocating and freeing in the arena, against malloc and free. */
#include "bench/bench.h"

#include "core/arena.h"

#include <stdlib.h>

enum { ROUNDS = 21, CALLS = 200000 };

static int measure_alloc_free(figure *f)
{
    static void *volatile kept; /* so that the compiler leaves malloc and free alone */
    double with[ROUNDS];
    double without[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        double start = bench_now_ns();
        for (int i = 0; i < CALLS; i++) {
            uint64_t block;
            int status = arena_allocate(&block, 64, 0);
            if (status < 0) {
                return status;
            }
            (void) arena_free(block);
        }
        with[round] = (bench_now_ns() - start) / CALLS;
        start = bench_now_ns();
        for (int i = 0; i < CALLS; i++) {
            kept = malloc(64);
            free(kept);
        }
        without[round] = (bench_now_ns() - start) / CALLS;
    }
    f->value = bench_median(with, ROUNDS);
    f->limit = bench_median(without, ROUNDS);
    return 0;
}

const benchmark arena_benchmarks[] = {
    {"arena.alloc_free_64", "ns", measure_alloc_free},
    {NULL, NULL, NULL},
};
