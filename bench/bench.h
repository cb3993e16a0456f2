/* The frame of the benchmarks: each is a function that measures a figure and, beside it in the same
   run, its limit. */
#ifndef KIN_BENCH_BENCH_H
#define KIN_BENCH_BENCH_H

#include <stddef.h>
#include <stdint.h>

typedef struct figure {
    double value;
    double limit; /* 0: there is none */
} figure;

typedef struct benchmark {
    const char *name;
    const char *unit;
    int (*measure)(figure *figure); /* 0, or a KIN_E_* */
} benchmark;

/* The tables, each ending with a benchmark without a name. */
extern const benchmark memory_benchmarks[];
extern const benchmark arena_benchmarks[];
extern const benchmark process_benchmarks[];
extern const benchmark pool_benchmarks[];
extern const benchmark sync_benchmarks[];
extern const benchmark queue_benchmarks[];
extern const benchmark shm_benchmarks[];
extern const benchmark shared_benchmarks[];
extern const benchmark table_benchmarks[];
extern const benchmark pipe_benchmarks[];

/* The median of `count` samples, which it sorts. */
double bench_median(double *samples, size_t count);

double bench_now_ns(void);

/* With the first argument the program ends at once, with exit code 0; with the second its exit code
   is bench_tell_private: its private memory without kin, in steps of 16 KiB. */
#define BENCH_EXIT "--end"
#define BENCH_PRIVATE "--private"

int bench_tell_private(void);

#endif
