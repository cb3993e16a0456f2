/* What the system does without kin, measured beside it. Implemented for each system with the
   system's calls alone. */
#ifndef KIN_BENCH_LIMITS_H
#define KIN_BENCH_LIMITS_H

#include <stdint.h>

/* Starts this program with one argument, `argument`, waits for its end, and returns its exit code;
   below 0: failed. */
int limit_spawn_wait(const char *argument);

/* Forks, and waits for the copy, which ends at once. Below 0 where there is no fork. */
int limit_fork_wait(void);

/* KiB of memory that this process has to itself; below 0 if the system does not tell. */
int64_t limit_private_kib(void);

#endif
