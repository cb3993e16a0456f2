/* The main job: counting the primes from 100000 to 200000 alone and in a pool. The limit is the
   number of processors. */
#include "bench/bench.h"

#include <kin/kin.h>

enum { FIRST = 100000, COUNT = 100000, PRIMES = 8392, ROUNDS = 15 };

static int is_prime(int64_t n)
{
    for (int64_t divisor = 2; divisor * divisor <= n; divisor++) {
        if (n % divisor == 0) {
            return 0;
        }
    }
    return n >= 2;
}

static int is_prime_task(kin_call *call)
{
    *(uint8_t *) call->result = (uint8_t) is_prime(*(const int64_t *) call->argument);
    return 0;
}

static int64_t numbers[COUNT];
static uint8_t prime[COUNT];

static int count_alone(void)
{
    int count = 0;
    for (int i = 0; i < COUNT; i++) {
        count += is_prime(numbers[i]);
    }
    return count;
}

/* Each round is a pool of its own, as in a program that does the job once. */
static int count_in_pool(int *count, double *ns)
{
    kin_pool pool;
    int status = kin_pool_create(&pool, NULL);
    if (status < 0) {
        return status;
    }
    double start = bench_now_ns();
    status = kin_pool_map(pool, is_prime_task, numbers, COUNT, sizeof *numbers, prime,
                          sizeof *prime, NULL);
    *ns = bench_now_ns() - start;
    *count = 0;
    for (int i = 0; i < COUNT; i++) {
        *count += prime[i];
    }
    int destroyed = kin_pool_destroy(pool);
    return status < 0 ? status : destroyed;
}

static int measure_primes(figure *f)
{
    double speedups[ROUNDS];
    for (int i = 0; i < COUNT; i++) {
        numbers[i] = FIRST + i;
    }
    for (int round = 0; round < ROUNDS; round++) {
        double start = bench_now_ns();
        int alone = count_alone();
        double alone_ns = bench_now_ns() - start;
        int together;
        double pool_ns;
        int status = count_in_pool(&together, &pool_ns);
        if (status < 0) {
            return status;
        }
        if (alone != PRIMES || together != PRIMES) {
            return KIN_E_BROKEN;
        }
        speedups[round] = alone_ns / pool_ns;
    }
    f->value = bench_median(speedups, ROUNDS);
    f->limit = kin_usable_cores();
    return 0;
}

const benchmark pool_benchmarks[] = {
    {"pool.primes_speedup", "times", measure_primes},
    {NULL, NULL, NULL},
};
