/* The process that created a pool: it starts the workers, watches them from its background thread,
   and starts others in the place of those that die. The claims of a dead worker are released by
   whoever recovers it. */
#include "core/error.h"
#include "core/log.h"
#include "core/pool_object.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EARLY_DEATHS = 3, BACK_OFF_NS = 20000000, WARM_BYTES = 1 << 20 };

/* A place for a worker, as its creator sees it. */
typedef struct place {
    watcher_entry watch; /* first: the entry is the place */
    struct local_pool *pool;
    uint32_t number;
    uint64_t process; /* 0: none now */
} place;

/* A pool that this process created. */
typedef struct local_pool {
    struct local_pool *next;
    uint64_t id;
    platform_lock lock; /* guards the places */
    bool ending;        /* no worker is started any more */
    bool complete;      /* kin_pool_create has returned it */
    unsigned users;     /* threads that use this, and the list; under pools_lock */
    uint32_t count;
    char *program;
    place places[];
} local_pool;

static platform_lock pools_lock;
static local_pool *pools;
static local_pool *of_original; /* in a copy, until it has one itself */

static void worker_ended(watcher_entry *entry);

/* Starts a worker for an empty place. With the pool's lock held. */
static int start_worker(place *at, const pool_object *p)
{
    local_pool *local = at->pool;
    worker_start start = {.pool = local->id, .place = at->number};
    atomic_store(&worker_at(p, at->number)->ready, 0);
    char name[40];
    (void) snprintf(name, sizeof name, "pool-worker-%u", at->number + 1);
    kin_process_options options = {.name = name, .daemon = true, .program = local->program};
    kin_process process;
    int status = kin_process_start(&process, worker_run, &start, sizeof start, &options);
    if (status < 0) {
        return status;
    }
    at->watch.ended = worker_ended;
    status = process_watch(process.id, &at->watch);
    if (status < 0) {
        (void) kin_process_kill(process);
        (void) kin_process_join(process, KIN_FOREVER);
        (void) kin_process_close(process);
        return status;
    }
    at->process = process.id;
    LOG(KIN_LOG_DEBUG, "a pool's worker %u is started", at->number + 1);
    return 0;
}

static bool any_process(const local_pool *local)
{
    for (uint32_t i = 0; i < local->count; i++) {
        if (local->places[i].process != 0) {
            return true;
        }
    }
    return false;
}

/* Fills the empty places of a pool that still has something to do. With the pool's lock held. */
static void replace_workers(local_pool *local, pool_object *p)
{
    uint32_t state = atomic_load(&p->state);
    if (local->ending || state >= POOL_TERMINATED || (state == POOL_CLOSED && !pool_has_jobs(p))) {
        return;
    }
    int status = 0;
    for (uint32_t i = 0; i < local->count && status == 0; i++) {
        if (local->places[i].process == 0) {
            status = start_worker(&local->places[i], p);
            if (status == 0) {
                LOG(KIN_LOG_INFO, "a pool's worker %u is replaced", i + 1);
            }
        }
    }
    if (status < 0 && (!any_process(local) || !local->complete)) {
        pool_fail(p, status);
    }
}

/* A worker has ended before it was ready, with `status` from its join. If that is how all of them
   fare the pool fails; if others work, the next attempts come more slowly. */
static void note_early_death(const local_pool *local, pool_object *p, int status)
{
    uint32_t deaths = atomic_fetch_add(&p->early_deaths, 1) + 1;
    bool others = pool_count_workers(p, true) > 0;
    if (status < 0 && (!others || !local->complete)) {
        pool_fail(p, status);
    } else if (deaths >= EARLY_DEATHS && !others) {
        pool_fail(p, KIN_E_POOL_DIED);
    } else if (deaths >= EARLY_DEATHS) {
        platform_sleep_ns(BACK_OFF_NS);
    }
}

static void log_worker_end(const place *at, const pool_object *p)
{
    int code = 0;
    if (!log_is_on(KIN_LOG_WARNING)) {
        return;
    }
    bool died = kin_process_exit_code((kin_process){at->process}, &code) != 0 || code != 0;
    died = died && atomic_load(&p->state) < POOL_TERMINATED;
    LOG(died ? KIN_LOG_WARNING : KIN_LOG_DEBUG, "a pool's worker %u %s with exit code %d",
        at->number + 1, died ? "died" : "ended", code);
}

/* In the background: a worker has ended. */
static void worker_ended(watcher_entry *entry)
{
    place *at = (place *) entry;
    local_pool *local = at->pool;
    object_guard guard;
    process_unwatch(entry);
    platform_lock_acquire(&local->lock);
    kin_process process = {at->process};
    int status = kin_process_join(process, KIN_FOREVER);
    bool entered = object_enter(&guard, local->id, KIND_POOL) == 0;
    if (entered) {
        log_worker_end(at, pool_of(&guard));
    }
    at->process = 0;
    if (entered) {
        pool_object *p = pool_of(&guard);
        if (atomic_load(&worker_at(p, at->number)->ready) == 0) {
            note_early_death(local, p, status);
        }
        replace_workers(local, p);
        wait_raise(&p->changed);
        object_leave(&guard);
    }
    platform_lock_release(&local->lock);
    (void) kin_process_close(process);
}

/* What it gives is to be dropped. */
static local_pool *find_local(uint64_t id)
{
    platform_lock_acquire(&pools_lock);
    local_pool *local = pools;
    while (local != NULL && local->id != id) {
        local = local->next;
    }
    if (local != NULL) {
        local->users++;
    }
    platform_lock_release(&pools_lock);
    return local;
}

static void free_local(local_pool *local)
{
    free(local->program);
    free(local);
}

static void drop_local(local_pool *local)
{
    platform_lock_acquire(&pools_lock);
    bool last = --local->users == 0;
    platform_lock_release(&pools_lock);
    if (last) {
        free_local(local);
    }
}

static void add_local(local_pool *local)
{
    platform_lock_acquire(&pools_lock);
    while (of_original != NULL) {
        local_pool *next = of_original->next;
        free_local(of_original);
        of_original = next;
    }
    local->users = 1;
    local->next = pools;
    pools = local;
    platform_lock_release(&pools_lock);
}

/* Takes a pool, or with 0 any, off the list; NULL if it is not on it. The list's use of it is the
   caller's then. */
static local_pool *remove_local(uint64_t id)
{
    local_pool *found = NULL;
    platform_lock_acquire(&pools_lock);
    for (local_pool **at = &pools; *at != NULL; at = &(*at)->next) {
        if (id == 0 || (*at)->id == id) {
            found = *at;
            *at = found->next;
            break;
        }
    }
    platform_lock_release(&pools_lock);
    return found;
}

/* Ends all workers of a pool and waits until they have ended. */
static void end_workers(local_pool *local)
{
    platform_lock_acquire(&local->lock);
    local->ending = true;
    platform_lock_release(&local->lock);
    for (uint32_t i = 0; i < local->count; i++) {
        /* From here on nobody but this thread touches the place. */
        process_unwatch(&local->places[i].watch);
        kin_process process = {local->places[i].process};
        if (process.id != 0) {
            (void) kin_process_kill(process);
            (void) kin_process_join(process, KIN_FOREVER);
            (void) kin_process_close(process);
            local->places[i].process = 0;
        }
    }
}

static int make_local(local_pool **made, uint32_t workers, const kin_pool_options *options)
{
    local_pool *local = calloc(1, sizeof *local + workers * sizeof *local->places);
    if (local == NULL) {
        return KIN_E_NOMEM;
    }
    local->count = workers;
    for (uint32_t i = 0; i < workers; i++) {
        local->places[i].pool = local;
        local->places[i].number = i;
    }
    if (options->program != NULL) {
        size_t size = strlen(options->program) + 1;
        local->program = malloc(size);
        if (local->program == NULL) {
            free(local);
            return KIN_E_NOMEM;
        }
        memcpy(local->program, options->program, size);
    }
    *made = local;
    return 0;
}

static int make_pool(uint64_t *id, uint32_t workers, const kin_pool_options *options)
{
    uint64_t table = arena_align(sizeof(pool_object));
    uint64_t argument = arena_align(table + workers * sizeof(worker));
    object *created;
    int status = object_create(&created, argument + options->argument_size);
    if (status < 0) {
        return status;
    }
    pool_object *p = (pool_object *) created;
    p->creator = member_self();
    p->worker_count = workers;
    p->workers = arena_offset(p) + table;
    p->argument = arena_offset(p) + argument;
    p->argument_size = options->argument_size;
    p->has_initializer = options->initializer != NULL;
    if (options->argument_size > 0) {
        memcpy(arena_at(p->argument), options->argument, options->argument_size);
    }
    if (options->initializer != NULL) {
        status = function_describe(&p->initializer, (uintptr_t) options->initializer);
    }
    if (status == 0) {
        status = object_publish(created, KIND_POOL, 0, id);
    }
    if (status < 0) {
        object_drop(created);
    }
    return status;
}

static int start_workers(local_pool *local, const pool_object *p)
{
    int status = 0;
    log_hold();
    platform_lock_acquire(&local->lock);
    for (uint32_t i = 0; i < local->count && status == 0; i++) {
        status = start_worker(&local->places[i], p);
    }
    platform_lock_release(&local->lock);
    log_release();
    return status;
}

/* While the workers start, memory is made ready for the first work that they will be given: to have
   it committed page by page costs a multiple of filling it. It stays with the arena as free memory;
   without it nothing is lost. */
static void warm_up(void)
{
    uint64_t block;
    if (arena_allocate(&block, WARM_BYTES, 0) == 0) {
        (void) arena_free(block);
    }
}

/* Waits until all workers are ready, or the pool has failed. */
static int await_workers(pool_object *p)
{
    for (;;) {
        uint32_t seen = wait_count(&p->changed);
        if (atomic_load(&p->state) == POOL_DEAD) {
            return atomic_load(&p->failure);
        }
        if (pool_count_workers(p, true) == p->worker_count) {
            return 0;
        }
        int status = wait_for_change(&p->changed, seen, INT64_MAX);
        if (status < 0) {
            return status;
        }
    }
}

/* Ends a pool that is off the list. */
static void unmake(local_pool *local, pool_object *p)
{
    if (p != NULL) {
        pool_set_state(p, POOL_TERMINATED);
    }
    end_workers(local);
    (void) object_destroy(local->id);
    drop_local(local);
}

int kin_pool_create(kin_pool *pool, const kin_pool_options *options)
{
    static const kin_pool_options defaults;
    error_clear();
    if (options == NULL) {
        options = &defaults;
    }
    if (pool == NULL || options->workers > POOL_MOST_WORKERS || options->reserved_workers != 0 ||
        (options->argument == NULL && options->argument_size > 0)) {
        return KIN_E_INVALID;
    }
    if (!family_is_joined()) {
        return KIN_E_INIT;
    }
    uint32_t workers = options->workers;
    if (workers == 0) {
        int cores = platform_usable_cores();
        workers = cores < POOL_MOST_WORKERS ? (uint32_t) cores : POOL_MOST_WORKERS;
    }
    local_pool *local;
    int status = make_local(&local, workers, options);
    if (status < 0) {
        return status;
    }
    status = make_pool(&local->id, workers, options);
    if (status < 0) {
        free_local(local);
        return status;
    }
    object_guard guard;
    uint64_t id = local->id;
    status = object_enter(&guard, id, KIND_POOL);
    if (status < 0) {
        (void) object_destroy(id);
        free_local(local);
        return status;
    }
    add_local(local);
    status = start_workers(local, pool_of(&guard));
    if (status == 0) {
        warm_up();
        status = await_workers(pool_of(&guard));
    }
    if (status < 0) {
        (void) remove_local(id);
        unmake(local, pool_of(&guard));
    } else {
        platform_lock_acquire(&local->lock);
        local->complete = true;
        platform_lock_release(&local->lock);
        pool->id = id;
    }
    object_leave(&guard);
    return status;
}

int supervisor_kill(uint64_t pool, pool_object *p)
{
    local_pool *local = find_local(pool);
    if (local == NULL) {
        return p->creator == member_self() ? KIN_E_HANDLE : KIN_E_STATE;
    }
    pool_set_state(p, POOL_TERMINATED);
    log_hold();
    platform_lock_acquire(&local->lock);
    for (uint32_t i = 0; i < local->count; i++) {
        if (local->places[i].process != 0) {
            (void) kin_process_kill(
                (kin_process){local->places[i].process}); /* it may have ended */
        }
    }
    platform_lock_release(&local->lock);
    log_release();
    drop_local(local);
    return 0;
}

int supervisor_destroy(uint64_t pool, pool_object *p)
{
    local_pool *local = remove_local(pool);
    if (local == NULL) {
        return p->creator == member_self() ? KIN_E_HANDLE : KIN_E_STATE;
    }
    unmake(local, p);
    return 0;
}

void pool_end_all(void)
{
    for (local_pool *local = remove_local(0); local != NULL; local = remove_local(0)) {
        object_guard guard;
        bool entered = object_enter(&guard, local->id, KIND_POOL) == 0;
        unmake(local, entered ? pool_of(&guard) : NULL);
        if (entered) {
            object_leave(&guard);
        }
    }
}

void pool_reset_copy(void)
{
    pools_lock = (platform_lock){{0}};
    of_original = pools != NULL ? pools : of_original;
    pools = NULL;
}
