/* Jobs: sharing out a map by chunks. job.h says how a death is told from the rest. */
#include "core/job.h"

#include <string.h>

static job_chunk *chunk_at(const job *j, uint64_t number)
{
    return (job_chunk *) arena_at(j->chunks) + number;
}

static uint64_t chunk_end(const job *j, uint64_t number)
{
    uint64_t end = (number + 1) * j->chunk_size;
    return end < j->count ? end : j->count;
}

/* True, and *total grows, if `count` things of `size` bytes can be asked for at all. */
static bool add_size(uint64_t *total, uint64_t count, uint64_t size)
{
    if (size != 0 && count > (UINT64_C(1) << 48) / size) {
        return false;
    }
    *total = arena_align(*total + count * size);
    return *total < UINT64_C(1) << 48;
}

/* Offsets of the parts behind the job itself; 0 for what is used in place. */
static bool lay_out(job *plan, const job_order *order, uint64_t *size)
{
    *size = arena_align(sizeof *plan);
    plan->chunks = *size;
    if (!add_size(size, plan->chunk_count, sizeof(job_chunk))) {
        return false;
    }
    uint64_t items = order->count * order->item_size;
    plan->items = *size;
    if (order->in_place && items > 0 && arena_holds(order->items, items)) {
        plan->items = 0;
    } else if (!add_size(size, order->count, order->item_size)) {
        return false;
    }
    uint64_t results = order->count * order->result_size;
    plan->results = *size;
    if (order->in_place && results > 0 && arena_holds(order->results, results)) {
        plan->results = 0;
    } else if (!add_size(size, order->count, order->result_size)) {
        return false;
    }
    return true;
}

int job_create(uint64_t *id, const job_order *order, uint64_t owner)
{
    job plan = {.caller = member_self(),
                .count = order->count,
                .item_size = order->item_size,
                .result_size = order->result_size,
                .chunk_size = order->chunk_size,
                .chunk_count = (order->count + order->chunk_size - 1) / order->chunk_size};
    uint64_t size;
    uint64_t most = UINT64_C(1) << 48;
    if ((order->item_size != 0 && order->count > most / order->item_size) ||
        (order->result_size != 0 && order->count > most / order->result_size) ||
        plan.chunk_count >= UINT32_MAX || !lay_out(&plan, order, &size)) {
        return KIN_E_NOMEM;
    }
    int status = function_describe(&plan.task, (uintptr_t) order->task);
    object *created;
    if (status == 0) {
        status = object_create(&created, size);
    }
    if (status != 0) {
        return status;
    }
    job *j = (job *) created;
    memcpy((unsigned char *) j + sizeof(object), (unsigned char *) &plan + sizeof(object),
           sizeof *j - sizeof(object));
    uint64_t base = arena_offset(j);
    j->chunks += base;
    if (plan.items == 0) {
        j->items = arena_offset(order->items);
    } else {
        j->items += base;
        if (order->item_size > 0 && order->count > 0) {
            memcpy(arena_at(j->items), order->items, (size_t) (order->count * order->item_size));
        }
    }
    j->results = plan.results == 0 ? arena_offset(order->results) : j->results + base;
    if (plan.results == 0) {
        memset(order->results, 0, (size_t) (order->count * order->result_size));
    }
    for (uint64_t i = 0; i < j->chunk_count; i++) {
        atomic_store_explicit(&chunk_at(j, i)->position, 2 * i * j->chunk_size,
                              memory_order_relaxed);
    }
    status = object_publish(created, KIND_JOB, owner, id);
    if (status < 0) {
        object_drop(created);
    }
    return status;
}

void job_deliver(const job *j, const job_order *order)
{
    void *results = arena_at(j->results);
    if (order->result_size > 0 && order->count > 0 && results != order->results) {
        memcpy(order->results, results, (size_t) (order->count * order->result_size));
    }
}

bool job_claim(job *j, uint32_t worker, uint64_t *chunk)
{
    if (atomic_load(&j->cancelled) != 0) {
        return false;
    }
    uint64_t next = atomic_load(&j->next);
    for (uint64_t i = next & UINT32_MAX; i < j->chunk_count; i++) {
        uint32_t free_claim = 0;
        /* Pairs with the store in job_release: who takes the chunk sees how far it is. */
        if (atomic_compare_exchange_strong(&chunk_at(j, i)->claim, &free_claim, worker)) {
            /* Fails if others were faster, or if chunks before this one have been freed
               meanwhile. */
            (void) atomic_compare_exchange_strong(&j->next, &next, (next >> 32) << 32 | (i + 1));
            *chunk = i;
            return true;
        }
    }
    return false;
}

void job_cancel(job *j, int status)
{
    int none = 0;
    (void) atomic_compare_exchange_strong(&j->cancelled, &none, status);
    wait_raise(&j->progress);
}

bool job_reaches_out(const job *j)
{
    uint64_t start = arena_offset(j);
    uint64_t end = start + arena_block_size(start);
    bool inside = j->items >= start && j->items <= end && j->results >= start && j->results <= end;
    for (uint64_t i = 0; !inside && i < j->chunk_count; i++) {
        uint32_t claim = atomic_load(&chunk_at(j, i)->claim);
        if (claim != 0 && claim != JOB_DONE) {
            return true;
        }
    }
    return false;
}

bool job_has_begun(const job *j)
{
    for (uint64_t i = 0; i < j->chunk_count; i++) {
        if (atomic_load(&chunk_at(j, i)->claim) != 0) {
            return true;
        }
    }
    return false;
}

static void clear_result(const job *j, uint64_t index)
{
    if (j->result_size > 0) {
        memset(arena_at(j->results + index * j->result_size), 0, (size_t) j->result_size);
    }
}

void job_fail(job *j, int status)
{
    int none = 0;
    (void) atomic_compare_exchange_strong(&j->failure, &none, status);
    wait_raise(&j->progress);
}

void job_run(job *j, uint64_t chunk, kin_task task)
{
    job_chunk *c = chunk_at(j, chunk);
    uint64_t end = chunk_end(j, chunk);
    uint64_t i = atomic_load(&c->position) / 2;
    const unsigned char *items = arena_at(j->items);
    unsigned char *results = arena_at(j->results);
    kin_call call = {.argument_size = (size_t) j->item_size,
                     .result_size = (size_t) j->result_size};
    for (; i < end && atomic_load_explicit(&j->cancelled, memory_order_relaxed) == 0; i++) {
        call.argument = call.argument_size > 0 ? items + i * call.argument_size : NULL;
        call.result = call.result_size > 0 ? results + i * call.result_size : NULL;
        call.index = i;
        atomic_store_explicit(&c->position, 2 * i + 1, memory_order_release);
        if (task(&call) != 0) {
            clear_result(j, i);
            job_fail(j, KIN_E_TASK);
        }
        atomic_store_explicit(&c->position, 2 * i + 2, memory_order_release);
    }
    /* Pairs with the load in job_done: who sees it done sees its results. */
    atomic_store(&c->claim, JOB_DONE);
}

uint64_t job_done(const job *j)
{
    uint64_t done = 0;
    for (uint64_t i = 0; i < j->chunk_count; i++) {
        if (atomic_load(&chunk_at(j, i)->claim) == JOB_DONE) {
            done += chunk_end(j, i) - i * j->chunk_size;
        }
    }
    return done;
}

void job_release(job *j, uint32_t worker)
{
    for (uint64_t i = 0; i < j->chunk_count; i++) {
        job_chunk *c = chunk_at(j, i);
        if (atomic_load(&c->claim) != worker) {
            continue;
        }
        uint64_t position = atomic_load(&c->position);
        if (position % 2 != 0) {
            clear_result(j, position / 2);
            job_fail(j, KIN_E_WORKER_DIED);
            position++;
            atomic_store(&c->position, position);
        }
        atomic_store(&c->claim, position / 2 == chunk_end(j, i) ? JOB_DONE : 0);
    }
    /* Back to the start, under another version: a claim that is under way cannot move it forward
       again. Always: one who did this before may have died just before this. */
    uint64_t next = atomic_load(&j->next);
    while (!atomic_compare_exchange_weak(&j->next, &next, ((next >> 32) + 1) << 32)) {
    }
    wait_raise(&j->progress); /* the dead one cannot */
}
