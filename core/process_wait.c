/* Waiting for the ends of processes: of one, of many, and by the system's own means. A child of
   this process is watched by what its start has given; any other is opened by its identity. */
#include "core/deadlock.h"
#include "core/error.h"
#include "core/process_object.h"
#include "core/waitable.h"

#include <stdlib.h>

#define NOTICE_NS INT64_C(10000000) /* others notice an end in about this time */

int process_open_other(process_object *p, platform_process *process)
{
    platform_identity identity;
    uint32_t state = atomic_load(&p->state);
    /* A guest's member may be another process: a handle stands for what was started. */
    bool joined = state == PROCESS_RUNNING && !(p->guest && process_early_identity(p, &identity));
    if (joined) {
        member *m = member_at(p->member);
        if (m == NULL) {
            return KIN_E_ENDED;
        }
        identity = m->identity;
    } else if (!process_early_identity(p, &identity)) {
        return state == PROCESS_ENDED ? KIN_E_ENDED : KIN_E_STATE;
    }
    int status = platform_process_open(process, &identity, arena_memory());
    if (status == 0 && joined && member_state_of(p->member) != MEMBER_ALIVE) {
        platform_process_close(process); /* the entry has become another's while we looked */
        status = KIN_E_ENDED;
    }
    return status;
}

/* ---- one ---- */

/* Waits for what others will do, but not for long. */
static int wait_for_notice(process_object *p, uint32_t seen, int64_t deadline)
{
    int64_t until = platform_clock_ns() + NOTICE_NS;
    int status = wait_for_change(&p->changed, seen, until < deadline ? until : deadline);
    return status == KIN_E_TIMEOUT && platform_clock_ns() < deadline ? 0 : status;
}

static int wait_until(const platform_process *process, int64_t deadline)
{
    int64_t left = deadline == INT64_MAX ? -1 : deadline - platform_clock_ns();
    return platform_process_wait(process, deadline != INT64_MAX && left < 0 ? 0 : left);
}

/* Then it is to be looked at. */
static int wait_for_other(uint64_t id, process_object *p, int64_t deadline)
{
    platform_process process;
    uint32_t seen = wait_count(&p->changed);
    int status = process_open_other(p, &process);
    if (status == KIN_E_STATE) {
        return wait_for_change(&p->changed, seen, deadline);
    }
    if (status == KIN_E_ENDED) {
        /* Nobody else may be about to notice: a forkserver does with the next request. */
        return process_look(id, p) ? 0 : wait_for_notice(p, seen, deadline);
    }
    if (status == 0) {
        status = wait_until(&process, deadline);
        if (status == 0) {
            (void) process_look(id, p); /* while its exit code is there */
        }
        platform_process_close(&process);
    }
    return status;
}

static int wait_for(uint64_t id, process_object *p, child *c, int64_t deadline)
{
    int status = 0;
    if (c != NULL) {
        status = wait_until(&c->process, deadline);
        if (status == 0) {
            (void) process_look(id, p);
        }
    }
    while (status == 0 && atomic_load(&p->state) != PROCESS_ENDED) {
        status = wait_for_other(id, p, deadline);
        if ((status == 0 || status == KIN_E_TIMEOUT) && process_look(id, p)) {
            status = 0;
        }
    }
    return status;
}

/* In slices, at whose ends it is looked whether they can end at all. */
static int wait_warily(uint64_t id, process_object *p, child *c, int64_t deadline)
{
    thread_self *t = thread_known();
    for (;;) {
        int64_t until = platform_clock_ns() + WAIT_SLICE_NS;
        int status = wait_for(id, p, c, until < deadline ? until : deadline);
        if (status != KIN_E_TIMEOUT || until >= deadline) {
            return status;
        }
        if (deadlock_is_closed(t)) {
            return KIN_E_DEADLOCK;
        }
    }
}

/* `wary`: it may end with KIN_E_DEADLOCK. */
static int wait_noted(uint64_t id, process_object *p, child *c, int64_t deadline, bool wary)
{
    thread_self *t = thread_known(); /* it has entered an object */
    wait_note note = wait_begin(t, id, deadline, wary);
    int status = KIN_E_DEADLOCK;
    if (!wary) {
        status = wait_for(id, p, c, deadline);
    } else if (!deadlock_is_closed(t)) {
        status = wait_warily(id, p, c, deadline);
    }
    wait_end(t, &note);
    return status;
}

static int join(uint64_t id, process_object *p, int64_t deadline, bool wary)
{
    child *c = child_find(id);
    int status = KIN_E_DEADLOCK;
    if (p->member != member_self()) {
        status = wait_noted(id, p, c, deadline, wary && deadlock_is_on());
    }
    if (c != NULL) {
        child_drop(c);
    }
    return status;
}

int process_await(kin_process process, int64_t deadline)
{
    object_guard guard;
    int status = object_enter(&guard, process.id, KIND_PROCESS);
    if (status == 0) {
        status = join(process.id, process_of(&guard), deadline, false);
        object_leave(&guard);
    }
    return status;
}

int kin_process_join(kin_process process, int timeout_ms)
{
    error_clear();
    object_guard guard;
    int64_t deadline = wait_deadline(timeout_ms);
    int status = object_enter(&guard, process.id, KIND_PROCESS);
    if (status < 0) {
        return status;
    }
    process_object *p = process_of(&guard);
    status = join(process.id, p, deadline, timeout_ms != 0);
    if (status == 0) {
        status = atomic_load(&p->error);
    }
    object_leave(&guard);
    if (status == KIN_E_DEADLOCK) {
        deadlock_tell();
    }
    return status;
}

/* ---- the system's own means ---- */

static int make_sentinel_of_other(uint64_t id, process_object *p, intptr_t *sentinel)
{
    for (;;) {
        platform_process process;
        uint32_t seen = wait_count(&p->changed);
        int status = process_open_other(p, &process);
        if (status == 0) {
            status = platform_process_sentinel(&process, sentinel);
            platform_process_close(&process);
            return status;
        }
        if (status != KIN_E_ENDED && status != KIN_E_STATE) {
            return status;
        }
        if (process_look(id, p)) {
            return platform_process_sentinel(NULL, sentinel);
        }
        status = wait_for_notice(p, seen, INT64_MAX);
        if (status < 0) {
            return status;
        }
    }
}

int kin_process_sentinel(kin_process process, intptr_t *sentinel)
{
    error_clear();
    if (sentinel == NULL) {
        return KIN_E_INVALID;
    }
    object_guard guard;
    int status = object_enter(&guard, process.id, KIND_PROCESS);
    if (status < 0) {
        return status;
    }
    child *c = child_find(process.id);
    if (c != NULL) {
        status = platform_process_sentinel(&c->process, sentinel);
        child_drop(c);
    } else {
        status = make_sentinel_of_other(process.id, process_of(&guard), sentinel);
    }
    object_leave(&guard);
    return status;
}

/* ---- many ---- */

static int know(waitable *thing)
{
    object_guard guard;
    int status = object_enter(&guard, thing->id, KIND_PROCESS);
    if (status < 0) {
        return status;
    }
    process_object *p = process_of(&guard);
    if (p->member == member_self()) {
        status = KIN_E_DEADLOCK;
    } else if (atomic_load(&p->state) == PROCESS_ENDED) {
        status = WAITABLE_READY;
    }
    object_leave(&guard);
    return status;
}

static void release(waitable *thing)
{
    child *c = thing->context;
    if (c != NULL) {
        child_drop(c);
    } else if (thing->watched) {
        platform_process_close(&thing->process);
    }
    thing->context = NULL;
    thing->watched = false;
}

static int look_well(waitable *thing, process_object *p)
{
    (void) process_look(thing->id, p);
    return atomic_load(&p->state) == PROCESS_ENDED ? WAITABLE_READY : WAITABLE_UNTOLD;
}

/* What has ended already, a watch tells at once. */
static int begin_watch(waitable *thing, process_object *p, platform_watch *watch, uint64_t cookie)
{
    const platform_process *process = &thing->process;
    child *c = child_find(thing->id);
    if (c != NULL) {
        thing->context = c;
        process = &c->process;
    } else {
        int status = process_open_other(p, &thing->process);
        if (status == KIN_E_ENDED || status == KIN_E_STATE) {
            return look_well(thing, p);
        }
        if (status < 0) {
            return status;
        }
    }
    thing->watched = true;
    return platform_watch_add(watch, process, cookie);
}

static int look(waitable *thing, platform_watch *watch, uint64_t cookie)
{
    object_guard guard;
    int status = object_enter(&guard, thing->id, KIND_PROCESS);
    if (status < 0) {
        return status == KIN_E_HANDLE ? WAITABLE_READY : status; /* who closed it saw its end */
    }
    process_object *p = process_of(&guard);
    if (atomic_load(&p->state) == PROCESS_ENDED) {
        status = WAITABLE_READY;
    } else if (thing->watched) {
        status = look_well(thing, p); /* its end has been told, or it is about to be noticed */
    } else {
        status = begin_watch(thing, p, watch, cookie);
    }
    object_leave(&guard);
    return status;
}

static const waitable_kind process_kind = {.know = know, .look = look, .release = release};

static int compare(const void *left, const void *right)
{
    const waitable *a = left;
    const waitable *b = right;
    if (a->id != b->id) {
        return a->id < b->id ? -1 : 1;
    }
    return (a->index > b->index) - (a->index < b->index);
}

/* Each process once, under the lowest of its numbers, with or without this one; how many there
   are. */
static size_t list_things(waitable *things, const kin_process *processes, size_t count,
                          bool with_self)
{
    size_t kept = 0;
    uint64_t self = kin_current_process().id;
    for (size_t i = 0; i < count; i++) {
        things[i] = (waitable){.kind = &process_kind, .id = processes[i].id, .index = i};
    }
    qsort(things, count, sizeof *things, compare);
    for (size_t i = 0; i < count; i++) {
        if ((with_self || things[i].id != self) &&
            (kept == 0 || things[i].id != things[kept - 1].id)) {
            things[kept++] = things[i];
        }
    }
    return kept;
}

static waitable *allocate_things(size_t count)
{
    return count <= SIZE_MAX / sizeof(waitable) ? malloc(count * sizeof(waitable)) : NULL;
}

int process_wait_any(const kin_process *processes, size_t count, size_t *index, int64_t deadline)
{
    waitable *things = allocate_things(count);
    if (things == NULL) {
        return KIN_E_NOMEM;
    }
    count = list_things(things, processes, count, false);
    int status = count == 0 ? KIN_E_DEADLOCK : waitable_wait_any(things, count, index, deadline);
    free(things);
    return status;
}

int process_wait_all(const kin_process *processes, size_t count, int64_t deadline)
{
    waitable *things = allocate_things(count);
    if (things == NULL) {
        return KIN_E_NOMEM;
    }
    count = list_things(things, processes, count, true);
    int status = waitable_wait_all(things, count, deadline);
    free(things);
    return status;
}

int kin_process_wait_any(const kin_process *processes, size_t count, size_t *index, int timeout_ms)
{
    error_clear();
    int64_t deadline = wait_deadline(timeout_ms);
    if (processes == NULL || count == 0 || index == NULL) {
        return KIN_E_INVALID;
    }
    if (!family_is_joined()) {
        return KIN_E_INIT;
    }
    return process_wait_any(processes, count, index, deadline);
}

int kin_process_wait_all(const kin_process *processes, size_t count, int timeout_ms)
{
    error_clear();
    int64_t deadline = wait_deadline(timeout_ms);
    if (processes == NULL && count > 0) {
        return KIN_E_INVALID;
    }
    if (!family_is_joined()) {
        return KIN_E_INIT;
    }
    return count == 0 ? 0 : process_wait_all(processes, count, deadline);
}
