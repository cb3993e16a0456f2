/* Named memory by the system's calls alone. */
#ifndef KIN_BENCH_LIMITS_SHM_H
#define KIN_BENCH_LIMITS_SHM_H

#include <stddef.h>

/* Makes it, maps it, writes one byte, unmaps it and takes the name away. Below 0: it failed. */
int limit_shm_make_touch_remove(const char *name, size_t size);

#endif
