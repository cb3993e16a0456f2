/* A job: one map of a pool, which workers share out among themselves by chunks.

   Each chunk has a claim: 0 while it is free, the number of the worker that has it, or JOB_DONE;
   taking it is one compare-and-swap. Its position says which item comes next and whether that has
   been begun, so that after the death of the worker exactly the item that it was at is lost, and
   the rest of the chunk is freed for others. */
#ifndef KIN_CORE_JOB_H
#define KIN_CORE_JOB_H

#include "core/function.h"
#include "core/object.h"
#include "core/wait.h"

#include <kin/pool.h>

#define JOB_DONE UINT32_MAX

typedef struct job_chunk {
    _Atomic uint64_t position; /* index of the item * 2, + 1 once it has been begun */
    _Atomic uint32_t claim;
} job_chunk;

typedef struct job {
    object object;
    uint64_t caller; /* the member that waits for it */
    uint64_t count;  /* items */
    uint64_t item_size;
    uint64_t result_size;
    uint64_t items; /* offsets in the arena */
    uint64_t results;
    uint64_t chunks;     /* offset of the chunks */
    uint64_t chunk_size; /* items in each but the last */
    uint64_t chunk_count;
    function_reference task;
    _Alignas(64) _Atomic uint64_t next; /* version << 32 | where to look for a free chunk */
    _Atomic int32_t cancelled;          /* not 0: take no more of it, because of this */
    _Atomic int32_t failure;            /* the first */
    _Alignas(64) wait_signal
        progress; /* raised when a worker finds no more to do, and when something goes wrong */
} job;

/* What a map is asked to do. */
typedef struct job_order {
    kin_task task;
    const void *items;
    uint64_t count;
    uint64_t item_size;
    uint64_t result_size;
    void *results;
    uint64_t chunk_size;
    bool in_place; /* what lies in the arena may be used there: the caller waits as long as workers
                     are at it */
} job_order;

/* Makes a job of it that belongs to the object `owner`. Items and results that lie in the arena are
   used in place. */
int job_create(uint64_t *id, const job_order *order, uint64_t owner);

/* Copies the results to where they were asked for. */
void job_deliver(const job *j, const job_order *order);

/* Takes a free chunk for a worker (1 and up); false if none is free. */
bool job_claim(job *j, uint32_t worker, uint64_t *chunk);

/* Runs what is left of a claimed chunk, with `task` being the job's in this process. */
void job_run(job *j, uint64_t chunk, kin_task task);

/* From now on nobody takes more of it, because of `status`; tells the caller. */
void job_cancel(job *j, int status);

/* True if items or results lie outside the job, with the caller, and a worker has a chunk now. */
bool job_reaches_out(const job *j);

/* True if a worker has, or has had, some of it. */
bool job_has_begun(const job *j);

/* Items done, lost ones included. */
uint64_t job_done(const job *j);

/* Notes a failure, if it is the first, and tells the caller. */
void job_fail(job *j, int status);

/* Frees what a dead worker had claimed, and has the caller look what is left. May be repeated. */
void job_release(job *j, uint32_t worker);

#endif
