/* Counts the primes from 100000 to 200000, once in this process and once in a pool of spawned
   workers, with a progress bar if it writes to a terminal. Prints both counts, which are 8392, both
   times, and the speedup. */
#ifndef _WIN32
#define _POSIX_C_SOURCE 200809L
#endif

#include "check.h"

#include <stdint.h>

#ifdef _WIN32
#include <io.h>
#define is_terminal(stream) (_isatty(_fileno(stream)) != 0)
#else
#include <unistd.h>
#define is_terminal(stream) (isatty(fileno(stream)) != 0)
#endif

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

enum { FIRST = 100000, COUNT = 100000, BAR = 40 };

static void show_progress(size_t done, size_t total, void *context)
{
    (void) context;
    int full = (int) (done * BAR / total);
    printf("\r[%.*s%*s] %3d%%", full, "########################################", BAR - full, "",
           (int) (done * 100 / total));
    fflush(stdout);
}

int main(int argc, char **argv)
{
    check(kin_init(&argc, &argv), "kin_init");

    static int64_t numbers[COUNT];
    static uint8_t prime[COUNT];
    for (int i = 0; i < COUNT; i++) {
        numbers[i] = FIRST + i;
    }

    int64_t start = kin_clock_ns();
    int alone = 0;
    for (int i = 0; i < COUNT; i++) {
        alone += is_prime(numbers[i]);
    }
    double alone_ms = (double) (kin_clock_ns() - start) / 1e6;

    kin_pool pool;
    kin_map_options options = {.progress = is_terminal(stdout) ? show_progress : NULL};
    check(kin_pool_create(&pool, NULL), "pool");
    start = kin_clock_ns();
    check(kin_pool_map(pool, is_prime_task, numbers, COUNT, sizeof *numbers, prime, sizeof *prime,
                       &options),
          "map");
    double pool_ms = (double) (kin_clock_ns() - start) / 1e6;
    check(kin_pool_close(pool), "close");
    check(kin_pool_join(pool, KIN_FOREVER), "join");
    check(kin_pool_destroy(pool), "destroy");
    if (options.progress != NULL) {
        printf("\n");
    }

    int together = 0;
    for (int i = 0; i < COUNT; i++) {
        together += prime[i];
    }
    printf("one process: %d primes in %.1f ms\n", alone, alone_ms);
    printf("pool:        %d primes in %.1f ms, speedup %.2f\n", together, pool_ms,
           alone_ms / pool_ms);
    return alone == 8392 && together == 8392 ? 0 : 1;
}
