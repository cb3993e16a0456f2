/* Named memory, against the system's calls for the same. */
#include "bench/bench.h"
#include "bench/limits_shm.h"

#include <kin/kin.h>

enum { ROUNDS = 301, TURNS = 50, SIZE = 4096 };

static int make_touch_remove(void)
{
    static const char name[] = "kin-bench";
    kin_shm shm;
    int status = kin_shm_create(&shm, name, SIZE, NULL);
    if (status == 0) {
        *(volatile unsigned char *) kin_shm_address(shm) = 1;
        status = kin_shm_close(shm);
        int unlinked = kin_shm_unlink(name);
        status = status < 0 ? status : unlinked;
    }
    return status;
}

/* Nanoseconds for one, or below 0 if it cannot be done. */
static double time_turns(int (*turn)(void))
{
    double start = bench_now_ns();
    for (int i = 0; i < TURNS; i++) {
        int status = turn();
        if (status < 0) {
            return status;
        }
    }
    return (bench_now_ns() - start) / TURNS;
}

static int limit_turn(void)
{
    return limit_shm_make_touch_remove("kin-bench-limit", SIZE);
}

/* In turns: what else the machine does meets both. */
static int measure_create_unlink(figure *f)
{
    double with[ROUNDS];
    double without[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        with[round] = time_turns(make_touch_remove);
        if (with[round] < 0) {
            return (int) with[round];
        }
        without[round] = time_turns(limit_turn);
    }
    f->value = bench_median(with, ROUNDS) / 1000;
    f->limit = bench_median(without, ROUNDS) / 1000;
    return f->limit > 0 ? 0 : KIN_E_SYSTEM;
}

const benchmark shm_benchmarks[] = {
    {"shm.create_unlink", "us", measure_create_unlink},
    {NULL, NULL, NULL},
};
