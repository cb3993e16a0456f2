/* The pool object: the table of its workers and of the jobs under way, which workers look through
   for free chunks. pool.c has the maps, worker.c the life of a worker, supervisor.c the creator,
   who starts workers and replaces them. */
#ifndef KIN_CORE_POOL_OBJECT_H
#define KIN_CORE_POOL_OBJECT_H

#include "core/job.h"
#include "core/pool.h"

enum { POOL_JOBS = 64, POOL_MOST_WORKERS = 4096 };

enum pool_state { POOL_OPEN, POOL_CLOSED, POOL_TERMINATED, POOL_DEAD };

typedef struct worker {
    _Atomic uint64_t member; /* the worker's own; 0: there is none in this place */
    _Atomic uint32_t ready;  /* the initializer of the one that is, or was, there has run */
    uint32_t reserved;
} worker;

typedef struct pool_object {
    object object;
    uint64_t creator;      /* member */
    uint32_t worker_count; /* places */
    _Atomic uint32_t state;
    _Atomic int32_t failure; /* why it is dead */
    _Atomic uint32_t
        early_deaths; /* of workers that were not ready yet, since the last one became so */
    function_reference initializer;
    uint32_t has_initializer;
    uint64_t argument_size;
    uint64_t argument;                /* offset */
    uint64_t workers;                 /* offset */
    _Alignas(64) wait_signal work;    /* raised for workers: a job, or another state */
    _Alignas(64) wait_signal changed; /* raised when a worker comes or goes, or the state changes */
    _Atomic uint64_t jobs[POOL_JOBS]; /* their ids; 0: free */
} pool_object;

static inline pool_object *pool_of(const object_guard *guard)
{
    return (pool_object *) guard->object;
}

static inline worker *worker_at(const pool_object *p, uint32_t number)
{
    return (worker *) arena_at(p->workers) + number;
}

/* State. */

/* Moves on to a later state, never back, and tells all who wait for the pool or one of its jobs. */
void pool_set_state(pool_object *p, enum pool_state state);

/* The pool cannot go on, because of `status`. */
void pool_fail(pool_object *p, int status);

bool pool_has_jobs(pool_object *p);

/* Places with a worker, or with one whose initializer has run. */
uint32_t pool_count_workers(const pool_object *p, bool ready);

/* worker.c */

/* What a worker is started with. */
typedef struct worker_start {
    uint64_t pool;
    uint32_t place;
} worker_start;

/* The life of a worker. */
int worker_run(void *argument, size_t size);

/* supervisor.c: for the process that created the pool; KIN_E_STATE in others. */

/* Ends the workers without waiting for them. */
int supervisor_kill(uint64_t pool, pool_object *p);

/* Ends the workers, waits for them, and destroys the pool. */
int supervisor_destroy(uint64_t pool, pool_object *p);

#endif
