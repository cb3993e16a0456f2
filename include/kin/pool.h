/* Pools of worker processes. Python: multiprocessing.Pool and
   concurrent.futures.ProcessPoolExecutor.

   A pool's workers are daemons of the process that created it, which also replaces those that die.
   Any member
   of the family may give work to it. Results are written by the workers straight into shared
   memory. */
#ifndef KIN_POOL_H
#define KIN_POOL_H

#include <kin/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A pool. Zero is no pool. */
typedef struct kin_pool {
    uint64_t id;
} kin_pool;

/* One call of a task in a worker. */
typedef struct kin_call {
    const void *argument; /* the item, in shared memory: read it, do not write it */
    size_t argument_size;
    void *result;       /* where the result goes, in shared memory; zeroed; NULL if there is none */
    size_t result_size; /* bytes of it */
    uint64_t index;     /* which item of the map it is, from 0 */
    uint64_t reserved[4];
} kin_call;

/* A task. Returns 0; anything else is an error of the task: the others still run, and the map says
   KIN_E_TASK. */
typedef int (*kin_task)(kin_call *call);

/* Runs once in each new worker, before its first task. Anything but 0 ends the worker, and the pool
   with it. */
typedef int (*kin_initializer)(void *argument, size_t size);

/* How a pool is made. Zero means the default. */
typedef struct kin_pool_options {
    uint32_t workers;            /* default: kin_usable_cores(); at most 4096 */
    uint32_t reserved_workers;   /* must be 0 */
    kin_initializer initializer; /* default: none */
    const void *argument;        /* for the initializer; copied */
    size_t argument_size;        /* bytes of it */
    const char *program;         /* as in kin_process_options */
    uint64_t reserved[10];
} kin_pool_options;

/* Called in the thread that waits for a map as more of it gets done: `done` of `total` items. At
   most every 20 milliseconds, and at the end. */
typedef void (*kin_progress)(size_t done, size_t total, void *context);

/* How a map runs. Zero means the default. */
typedef struct kin_map_options {
    size_t
        chunk; /* items that a worker takes at a time; default: so many that each worker takes some
                  32 */
    kin_progress progress; /* default: none */
    void *context;         /* handed to progress */
    uint32_t timeout_ms;   /* default: no limit */
    uint32_t reserved_flags;
    uint64_t reserved[8];
} kin_map_options;

/* Starts a pool, and returns when all of its workers are ready, or with the reason why they cannot
   be.
   Errors: KIN_E_INVALID, KIN_E_INIT, KIN_E_TASK (the initializer failed), and all of
   kin_process_start and kin_process_join. After an error nothing is left behind. Blocks while the
   workers start.
   When the calling process dies, its workers die with it, and calls of others get
   KIN_E_POOL_DIED. */
KIN_API int kin_pool_create(kin_pool *pool, const kin_pool_options *options);

/* Calls task for each of `count` items of `item_size` bytes, and stores each result, `result_size`
   bytes, at the same index of `results`. Both may be 0 and then NULL. Items are copied to shared
   memory once.
   Returns when all are done. If a worker dies, only the item that it was at is lost: the rest is
   done by others, and the call says KIN_E_WORKER_DIED; if a task fails it says KIN_E_TASK. The
   first loss or failure is told, and the results of all lost and failed items are zeros.
   Errors: KIN_E_INVALID, KIN_E_HANDLE, KIN_E_INIT, KIN_E_NOMEM, KIN_E_CLOSED (the pool is closed or
   terminated), KIN_E_POOL_DIED, KIN_E_FUNCTION (the workers do not have the task), KIN_E_TIMEOUT
   (what is not done is dropped), KIN_E_LIMIT (64 maps at one time). Python: Pool.map. */
KIN_API int kin_pool_map(kin_pool pool, kin_task task, const void *items, size_t count,
                         size_t item_size, void *results, size_t result_size,
                         const kin_map_options *options);

/* How many workers are alive; negative: KIN_E_HANDLE. */
KIN_API int kin_pool_workers(kin_pool pool);

/* Takes no more work. What was given is done, then the workers end. Closing twice is no error.
   Errors: KIN_E_HANDLE. Does not block. Python: Pool.close. */
KIN_API int kin_pool_close(kin_pool pool);

/* Waits until all workers of a closed or terminated pool have ended.
   Errors: KIN_E_HANDLE, KIN_E_STATE (not closed), KIN_E_TIMEOUT. Python: Pool.join. */
KIN_API int kin_pool_join(kin_pool pool, int timeout_ms);

/* Kills the workers; maps under way get KIN_E_CLOSED. Only the process that created the pool may:
   KIN_E_STATE otherwise. Errors: KIN_E_HANDLE. Does not wait. Python: Pool.terminate. */
KIN_API int kin_pool_terminate(kin_pool pool);

/* Gives the pool back; one that still runs is terminated and waited for. Only the process that
   created the pool may: KIN_E_STATE otherwise. Errors: KIN_E_HANDLE. Python: leaving the
   with-block. */
KIN_API int kin_pool_destroy(kin_pool pool);

#ifdef __cplusplus
}
#endif

#endif
