/* Pools: their state, what a death means for them, maps, and the other public calls but
   kin_pool_create. */
#include "core/pool_object.h"

#include "core/error.h"
#include "core/log.h"

enum { CHUNKS_FOR_EACH = 32, PROGRESS_NS = 20000000, RELEASE_NS = 10000000 };

/* Fails like object_enter when it cannot look at all of them. */
static int each_job(pool_object *p, void (*visit)(job *j, void *context), void *context)
{
    for (int i = 0; i < POOL_JOBS; i++) {
        uint64_t id = atomic_load(&p->jobs[i]);
        object_guard guard;
        int status = id != 0 ? object_enter(&guard, id, KIND_JOB) : KIN_E_HANDLE;
        if (status == 0) {
            visit((job *) guard.object, context);
            object_leave(&guard);
        } else if (status != KIN_E_HANDLE) {
            return status;
        }
    }
    return 0;
}

static void tell_job(job *j, void *context)
{
    (void) context;
    wait_raise(&j->progress);
}

static void tell_all(pool_object *p)
{
    wait_raise(&p->work);
    wait_raise(&p->changed);
    (void) each_job(p, tell_job, NULL); /* whoever is not told looks at the end of its slice */
}

void pool_set_state(pool_object *p, enum pool_state state)
{
    uint32_t now = atomic_load(&p->state);
    while (now < state && !atomic_compare_exchange_weak(&p->state, &now, state)) {
    }
    tell_all(p);
}

void pool_fail(pool_object *p, int status)
{
    int none = 0;
    if (atomic_compare_exchange_strong(&p->failure, &none, status)) {
        LOG(KIN_LOG_ERROR, "a pool of %u workers failed: %s", p->worker_count,
            kin_error_name(status));
    }
    pool_set_state(p, POOL_DEAD);
}

bool pool_has_jobs(pool_object *p)
{
    for (int i = 0; i < POOL_JOBS; i++) {
        if (atomic_load(&p->jobs[i]) != 0) {
            return true;
        }
    }
    return false;
}

uint32_t pool_count_workers(const pool_object *p, bool ready)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < p->worker_count; i++) {
        worker *w = worker_at(p, i);
        count += atomic_load(&w->member) != 0 && (!ready || atomic_load(&w->ready) != 0);
    }
    return count;
}

static void release_claims(job *j, void *context)
{
    job_release(j, *(const uint32_t *) context);
}

static int recover_pool(object *o, uint64_t id, uint64_t dead)
{
    pool_object *p = (pool_object *) o;
    for (uint32_t i = 0; i < p->worker_count; i++) {
        worker *w = worker_at(p, i);
        if (atomic_load(&w->member) != dead) {
            continue;
        }
        uint32_t number = i + 1;
        int status = each_job(p, release_claims, &number);
        if (status < 0) {
            return status;
        }
        /* Last: until then a repetition finds it, and the next worker waits. */
        uint64_t gone = dead;
        (void) atomic_compare_exchange_strong(&w->member, &gone, 0);
        wait_raise(&p->work);
        wait_raise(&p->changed);
    }
    if (p->creator == dead) {
        /* Its workers end with it, and nobody else may destroy the pool. */
        pool_fail(p, KIN_E_POOL_DIED);
        (void) object_destroy(id); /* another did: as good */
    }
    return 0;
}

static void drop_job(pool_object *p, uint64_t id)
{
    for (int i = 0; i < POOL_JOBS; i++) {
        uint64_t expected = id;
        (void) atomic_compare_exchange_strong(&p->jobs[i], &expected, 0);
    }
}

/* A job whose caller is dead is nobody's. */
static int recover_job(object *o, uint64_t id, uint64_t dead)
{
    job *j = (job *) o;
    if (j->caller != dead) {
        return 0;
    }
    atomic_store(&j->cancelled, KIN_E_CANCELLED);
    object_guard guard;
    int status = object_enter(&guard, atomic_load(&o->owner), KIND_POOL);
    if (status == 0) {
        drop_job(pool_of(&guard), id);
        wait_raise(&pool_of(&guard)->work);
        object_leave(&guard);
    } else if (status != KIN_E_HANDLE) {
        return status;
    }
    (void) object_destroy(id); /* another did: as good */
    return 0;
}

void pool_set_up(void)
{
    death_register(KIND_POOL, recover_pool);
    death_register(KIND_JOB, recover_job);
}

static bool add_job(pool_object *p, uint64_t id)
{
    for (int i = 0; i < POOL_JOBS; i++) {
        uint64_t none = 0;
        if (atomic_load(&p->jobs[i]) == 0 &&
            atomic_compare_exchange_strong(&p->jobs[i], &none, id)) {
            return true;
        }
    }
    return false;
}

static int error_of_state(pool_object *p)
{
    switch (atomic_load(&p->state)) {
    case POOL_OPEN:
        return 0;
    case POOL_DEAD:
        return KIN_E_POOL_DIED;
    default:
        return KIN_E_CLOSED;
    }
}

/* Until when to sleep: workers do not tell of each chunk, so that whoever shows the progress looks
   by himself. */
static int64_t next_look(const kin_map_options *options, int64_t deadline)
{
    int64_t soon = platform_clock_ns() + PROGRESS_NS;
    return options->progress != NULL && soon < deadline ? soon : deadline;
}

/* Waits for the job, which the pool goes on with even if it is closed meanwhile. */
static int await_job(pool_object *p, job *j, const kin_map_options *options, int64_t deadline)
{
    uint64_t told = 0;
    int64_t looked = platform_clock_ns();
    for (;;) {
        uint32_t seen = wait_count(&j->progress);
        uint64_t done = job_done(j);
        if (done > told && options->progress != NULL) {
            options->progress((size_t) done, (size_t) j->count, options->context);
            told = done;
        }
        if (done == j->count) {
            return atomic_load(&j->failure);
        }
        int cancelled = atomic_load(&j->cancelled);
        if (cancelled != 0) {
            return cancelled;
        }
        uint32_t state = atomic_load(&p->state);
        if (state >= POOL_TERMINATED) {
            return error_of_state(p);
        }
        int status = wait_for_change(&j->progress, seen, next_look(options, deadline));
        if (status < 0 && (status != KIN_E_TIMEOUT || platform_clock_ns() >= deadline)) {
            return status;
        }
        /* Now and then: is the one that looks after the workers still there? */
        if (platform_clock_ns() - looked >= WAIT_SLICE_NS) {
            looked = platform_clock_ns();
            if (death_check(p->creator)) {
                return KIN_E_POOL_DIED;
            }
        }
    }
}

/* The caller's memory is not left as long as a worker may write to it. That ends: a pool that is
   terminated or dead has its workers killed, and other workers find that the job is cancelled after
   the item that they are at. */
static void await_release(job *j)
{
    while (job_reaches_out(j)) {
        uint32_t seen = wait_count(&j->progress);
        death_sweep();
        (void) wait_for_change(&j->progress, seen, platform_clock_ns() + RELEASE_NS);
    }
}

static int perform(pool_object *p, job *j, uint64_t id, const kin_map_options *options,
                   int64_t deadline)
{
    if (!add_job(p, id)) {
        return KIN_E_LIMIT;
    }
    wait_raise(&p->work);
    /* Looked at after the job has been added: workers of a closed pool look for jobs before they
       end. */
    int status = error_of_state(p);
    if (status == KIN_E_CLOSED && atomic_load(&p->state) == POOL_CLOSED && job_has_begun(j)) {
        status = 0; /* closed since: what a worker has begun had been given before */
    }
    if (status == 0) {
        status = await_job(p, j, options, deadline);
    }
    job_cancel(j, KIN_E_CANCELLED);
    drop_job(p, id);
    if (atomic_load(&p->state) == POOL_CLOSED) {
        wait_raise(&p->work);
    }
    await_release(j);
    return status;
}

static int run_map(pool_object *p, const job_order *order, const kin_map_options *options)
{
    int64_t deadline = options->timeout_ms == 0
                           ? INT64_MAX
                           : platform_clock_ns() + (int64_t) options->timeout_ms * 1000000;
    uint64_t id;
    object_guard guard;
    int status = job_create(&id, order, atomic_load(&p->object.id));
    if (status < 0) {
        return status;
    }
    status = object_enter(&guard, id, KIND_JOB);
    if (status < 0) {
        (void) object_destroy(
            id); /* or, without a hazard for that either, the recovery of this process does it */
        return status;
    }
    job *j = (job *) guard.object;
    status = perform(p, j, id, options, deadline);
    if (status == 0 || status == KIN_E_TASK || status == KIN_E_WORKER_DIED) {
        job_deliver(j, order);
    }
    (void) object_destroy(id);
    object_leave(&guard);
    return status;
}

/* 1 to `count`, whatever was asked for. */
static uint64_t chunk_for(const pool_object *p, size_t count, size_t asked)
{
    uint64_t chunk = asked != 0 ? asked : count / ((uint64_t) p->worker_count * CHUNKS_FOR_EACH);
    return chunk > count ? count : chunk > 0 ? chunk : 1;
}

int kin_pool_map(kin_pool pool, kin_task task, const void *items, size_t count, size_t item_size,
                 void *results, size_t result_size, const kin_map_options *options)
{
    static const kin_map_options defaults;
    error_clear();
    if (options == NULL) {
        options = &defaults;
    }
    if (task == NULL || options->reserved_flags != 0 ||
        (items == NULL && item_size > 0 && count > 0) ||
        (results == NULL && result_size > 0 && count > 0)) {
        return KIN_E_INVALID;
    }
    object_guard guard;
    int status = object_enter(&guard, pool.id, KIND_POOL);
    if (status < 0) {
        return status;
    }
    pool_object *p = pool_of(&guard);
    status = error_of_state(p);
    if (status == 0 && count > 0) {
        job_order order = {.task = task,
                           .items = items,
                           .count = count,
                           .item_size = item_size,
                           .results = results,
                           .result_size = result_size,
                           .chunk_size = chunk_for(p, count, options->chunk),
                           .in_place = options->timeout_ms == 0};
        status = run_map(p, &order, options);
    }
    object_leave(&guard);
    return status;
}

int kin_pool_workers(kin_pool pool)
{
    error_clear();
    object_guard guard;
    int status = object_enter(&guard, pool.id, KIND_POOL);
    if (status == 0) {
        status = (int) pool_count_workers(pool_of(&guard), false);
        object_leave(&guard);
    }
    return status;
}

int kin_pool_close(kin_pool pool)
{
    error_clear();
    object_guard guard;
    int status = object_enter(&guard, pool.id, KIND_POOL);
    if (status == 0) {
        pool_set_state(pool_of(&guard), POOL_CLOSED);
        object_leave(&guard);
    }
    return status;
}

static int await_end(pool_object *p, int64_t deadline)
{
    for (;;) {
        uint32_t seen = wait_count(&p->changed);
        uint32_t state = atomic_load(&p->state);
        if (state == POOL_OPEN) {
            return KIN_E_STATE;
        }
        if (pool_count_workers(p, false) == 0 && (state >= POOL_TERMINATED || !pool_has_jobs(p))) {
            return 0;
        }
        int status = wait_for_change(&p->changed, seen, deadline);
        if (status < 0) {
            return status;
        }
        if (death_check(p->creator)) {
            return KIN_E_POOL_DIED;
        }
    }
}

int kin_pool_join(kin_pool pool, int timeout_ms)
{
    error_clear();
    int64_t deadline = wait_deadline(timeout_ms);
    object_guard guard;
    int status = object_enter(&guard, pool.id, KIND_POOL);
    if (status == 0) {
        status = await_end(pool_of(&guard), deadline);
        object_leave(&guard);
    }
    return status;
}

int kin_pool_terminate(kin_pool pool)
{
    error_clear();
    object_guard guard;
    int status = object_enter(&guard, pool.id, KIND_POOL);
    if (status == 0) {
        status = supervisor_kill(pool.id, pool_of(&guard));
        object_leave(&guard);
    }
    return status;
}

int kin_pool_destroy(kin_pool pool)
{
    error_clear();
    object_guard guard;
    int status = object_enter(&guard, pool.id, KIND_POOL);
    if (status == 0) {
        status = supervisor_destroy(pool.id, pool_of(&guard));
        object_leave(&guard);
    }
    return status;
}
