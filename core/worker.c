/* The life of a worker: it looks through the pool's jobs for free chunks, and ends when the pool
   does. */
#include "core/pool_object.h"

#include <string.h>

/* The task of the job that this worker had last. */
typedef struct known_task {
    uint64_t job;
    kin_task task;
} known_task;

static int find_task(known_task *known, const job *j, uint64_t id)
{
    if (known->job == id) {
        return 0;
    }
    uintptr_t address;
    int status = function_resolve(&j->task, &address);
    if (status == 0) {
        known->job = id;
        memcpy(&known->task, &address, sizeof known->task);
    }
    return status;
}

/* Works on one job as long as it has free chunks; true if it had any. */
static bool work_on(uint64_t id, uint32_t number, known_task *known)
{
    object_guard guard;
    if (object_enter(&guard, id, KIND_JOB) < 0) {
        return false;
    }
    job *j = (job *) guard.object;
    uint64_t chunk;
    bool any = false;
    while (job_claim(j, number, &chunk)) {
        any = true;
        int status = find_task(known, j, id);
        if (status < 0) {
            job_cancel(j, status);
        }
        job_run(j, chunk, known->task);
    }
    if (any) {
        wait_raise(
            &j->progress); /* after its last chunk was done: if that was the last of all, the caller
                              is told */
    }
    object_leave(&guard);
    return any;
}

static bool work(pool_object *p, uint32_t number, known_task *known)
{
    bool any = false;
    for (int i = 0; i < POOL_JOBS; i++) {
        uint64_t id = atomic_load(&p->jobs[i]);
        any = (id != 0 && work_on(id, number, known)) || any;
    }
    return any;
}

static int initialize(pool_object *p)
{
    if (!p->has_initializer) {
        return 0;
    }
    uintptr_t address;
    int status = function_resolve(&p->initializer, &address);
    if (status < 0) {
        pool_fail(p, status);
        return status;
    }
    kin_initializer initializer;
    memcpy(&initializer, &address, sizeof initializer);
    if (initializer(arena_at(p->argument), (size_t) p->argument_size) != 0) {
        pool_fail(p, KIN_E_TASK);
        return KIN_E_TASK;
    }
    return 0;
}

/* The place is free when what the one before had claimed has been freed for others, by whoever
   recovers it. */
static void take_place(worker *w)
{
    uint64_t before = 0;
    while (!atomic_compare_exchange_strong(&w->member, &before, member_self())) {
        (void) death_check(before);
        platform_sleep_ns(1000000);
        before = 0;
    }
}

int worker_run(void *argument, size_t size)
{
    const worker_start *start = argument;
    object_guard guard;
    if (size != sizeof *start || object_enter(&guard, start->pool, KIND_POOL) < 0) {
        return 1;
    }
    pool_object *p = pool_of(&guard);
    worker *w = worker_at(p, start->place);
    take_place(w);
    known_task known = {0};
    int status = initialize(p);
    if (status == 0) {
        atomic_store(&w->ready, 1);
        atomic_store(&p->early_deaths, 0);
        wait_raise(&p->changed);
    }
    while (status == 0) {
        uint32_t seen = wait_count(&p->work);
        uint32_t state = atomic_load(&p->state);
        if (state >= POOL_TERMINATED) {
            break;
        }
        if (work(p, start->place + 1, &known)) {
            continue;
        }
        /* Read before the jobs: a map adds its job, then looks whether the pool is still open. */
        if (state == POOL_CLOSED && !pool_has_jobs(p)) {
            break;
        }
        status = wait_for_change(&p->work, seen, INT64_MAX);
    }
    object_leave(&guard);
    return status == 0 ? 0 : 1;
}
