/* Processes: how they end, and what may be asked of them. Only the parent can reap a child; others
   see its end by its identity. Whoever sees it first has the member's recovery run, which marks the
   process object as ended. */
#include "core/error.h"
#include "core/log.h"
#include "core/process_object.h"

#include <stdlib.h>
#include <string.h>

enum { NS_IN_MS = 1000000 };

void process_store_code(process_object *p, int code)
{
    atomic_store(&p->exit_code, code);
    atomic_store(&p->code_known, 1);
}

void process_note_code(int code)
{
    object_guard guard;
    if (object_enter(&guard, kin_current_process().id, KIND_PROCESS) == 0) {
        process_store_code(process_of(&guard), code);
        object_leave(&guard);
    }
}

void process_expect_end(void)
{
    object_guard guard;
    if (object_enter(&guard, kin_current_process().id, KIND_PROCESS) == 0) {
        atomic_store(&process_of(&guard)->expected, 1);
        object_leave(&guard);
    }
}

static unsigned pid_of(process_object *p)
{
    return (unsigned) atomic_load(&p->pid);
}

/* Told by the parent alone, once. */
static void log_end(process_object *p)
{
    int error = atomic_load(&p->error);
    int code = atomic_load(&p->exit_code);
    if (!log_is_on(KIN_LOG_ERROR) || p->parent != member_self() ||
        atomic_exchange(&p->told, 1) != 0) {
        return;
    }
    if (error < 0) {
        LOG(KIN_LOG_ERROR, "%s (pid %u) could not run its function: %s", p->name, pid_of(p),
            kin_error_name(error));
    } else if (atomic_load(&p->code_known) == 0) {
        LOG(KIN_LOG_INFO, "%s (pid %u) ended", p->name, pid_of(p));
    } else if (code < 0) {
        LOG(KIN_LOG_INFO, "%s (pid %u) was ended by signal %d", p->name, pid_of(p), -code);
    } else {
        LOG(KIN_LOG_INFO, "%s (pid %u) ended with exit code %d", p->name, pid_of(p), code);
    }
}

static void log_death(process_object *p)
{
    bool known = atomic_load(&p->code_known) != 0;
    bool normal = atomic_load(&p->expected) != 0 || (known && atomic_load(&p->exit_code) >= 0);
    LOG(normal ? KIN_LOG_DEBUG : KIN_LOG_WARNING, "%s (pid %u) %s: what it held is given back",
        p->name, pid_of(p), normal ? "is gone" : "died");
}

static void mark_ended(process_object *p)
{
    atomic_store(&p->state, PROCESS_ENDED);
    wait_raise(&p->changed);
}

/* Why a process that never joined did not. A guest need not. */
static int error_of(const process_object *p, bool known, int code)
{
    if (p->guest) {
        return 0;
    }
    if (known && code < 0) {
        return 0; /* it was killed on its way: its exit code says so */
    }
    switch (known ? code : 0) {
    case EXIT_NOMEM:
        return KIN_E_NOMEM;
    case EXIT_VERSION:
        return KIN_E_VERSION;
    case EXIT_ATTACH:
        return KIN_E_ATTACH;
    default:
        return KIN_E_NO_INIT;
    }
}

/* The child has ended: reaps it, says so in its object, and has what it held given back. */
static void reap(child *c, process_object *p)
{
    int code = 0;
    bool first;
    bool known = child_reap(c, p, &first, &code);
    if (!first) {
        return;
    }
    atomic_store(&c->noted, true);
    if (member_cancel(p->member)) {
        int none = 0;
        (void) atomic_compare_exchange_strong(&p->error, &none, error_of(p, known, code));
    }
    if (p->guest) {
        (void) death_check(p->member); /* it may be another process, which goes on */
    } else {
        death_recover(p->member);
    }
    mark_ended(p);
    log_end(p);
}

static bool is_gone(uint64_t reference)
{
    enum member_state state = member_state_of(reference);
    return state != MEMBER_ALIVE && reference != member_self();
}

void process_destroy(uint64_t id, uint64_t part)
{
    if (object_destroy(id) == 0 && part != 0) {
        (void) object_destroy(part); /* recovery does it otherwise */
    }
}

/* If the system still tells how it ended; its parent will know for sure. */
static void note_code(process_object *p)
{
    int code;
    member *m = member_at(p->member);
    if (m != NULL && atomic_load(&p->code_known) == 0) {
        platform_identity identity = m->identity;
        if (platform_process_code_of(&identity, &code) == 0) {
            process_store_code(p, code);
        }
    }
}

/* True of a guest whose member is a process that the one which was started has started: an
   interpreter behind a launcher, say. The handle stands for what was started. */
static bool is_apart(const process_object *p)
{
    const member *m = member_at(p->member);
    return p->guest && m != NULL && m->identity.pid != atomic_load(&p->pid);
}

/* What a death means for a process object: it was that process, or its parent, or neither. */
static int recover(object *o, uint64_t id, uint64_t dead)
{
    process_object *p = (process_object *) o;
    if (p->member == dead && atomic_load(&p->state) != PROCESS_ENDED && !is_apart(p)) {
        note_code(p);
        log_death(p);
        mark_ended(p);
    }
    if (p->parent != dead && (p->parent == 0 || !is_gone(p->parent))) {
        return 0;
    }
    if (p->parent == dead) {
        (void) member_cancel(p->member); /* if it has not come so far it will be refused */
    }
    bool never =
        atomic_load(&p->state) == PROCESS_STARTING && member_state_of(p->member) == MEMBER_FREE;
    bool left = p->guest && atomic_load(&p->state) == PROCESS_RUNNING && is_gone(p->member);
    if (never || left || atomic_load(&p->state) == PROCESS_ENDED) {
        mark_ended(p); /* those who wait for it hold it until they have seen that */
        process_destroy(id, p->launch); /* nobody is left to close it */
    }
    return 0;
}

void process_set_up(void)
{
    death_register(KIND_PROCESS, recover);
}

bool process_early_identity(const process_object *p, platform_identity *identity)
{
    *identity = (platform_identity){.stamp = atomic_load(&p->stamp)};
    identity->pid = atomic_load(&p->pid); /* written before the stamp */
    return identity->stamp != 0;
}

/* One that has not joined yet may end before it does. */
static void look_on_its_way(process_object *p)
{
    int code = 0;
    int none = 0;
    platform_process process;
    platform_identity identity;
    int status = process_early_identity(p, &identity)
                     ? platform_process_open(&process, &identity, arena_memory())
                     : KIN_E_UNSUPPORTED;
    if (status == 0) {
        platform_process_close(&process);
    }
    if (status == KIN_E_ENDED && member_cancel(p->member)) {
        bool known = platform_process_code_of(&identity, &code) == 0;
        if (known) {
            process_store_code(p, code);
        }
        (void) atomic_compare_exchange_strong(&p->error, &none, error_of(p, known, code));
        mark_ended(p);
    }
}

/* A guest's process, as its starter has noted it. */
static void look_at_guest(process_object *p)
{
    int code;
    platform_process process;
    platform_identity identity;
    if (!p->guest || !process_early_identity(p, &identity)) {
        return;
    }
    int status = platform_process_open(&process, &identity, arena_memory());
    if (status == 0) {
        platform_process_close(&process);
    }
    if (status != KIN_E_ENDED) {
        return;
    }
    if (atomic_load(&p->code_known) == 0 && platform_process_code_of(&identity, &code) == 0) {
        process_store_code(p, code);
    }
    if (!member_cancel(p->member)) {
        (void) death_check(p->member);
    }
    mark_ended(p);
}

bool process_look(uint64_t id, process_object *p)
{
    child *c = child_find(id);
    if (c != NULL) {
        bool ended = platform_process_wait(&c->process, 0) == 0;
        if (ended) {
            reap(c, p);
        }
        child_drop(c);
        return ended;
    }
    if (atomic_load(&p->state) != PROCESS_ENDED) {
        (void) look_at_guest(p);
    }
    if (atomic_load(&p->state) == PROCESS_RUNNING) {
        (void) death_check(p->member);
    } else if (atomic_load(&p->state) == PROCESS_STARTING) {
        look_on_its_way(p);
        (void) death_check(p->member); /* it may have died between joining and saying so */
        (void) death_check(p->parent); /* if the parent is gone the child is refused */
        if (is_gone(p->parent) && member_state_of(p->member) != MEMBER_ALIVE) {
            mark_ended(p);
        }
    }
    bool ended = atomic_load(&p->state) == PROCESS_ENDED;
    if (ended) {
        log_end(p);
    }
    return ended;
}

void process_look_at_children(void)
{
    size_t count;
    uint64_t *ids = child_list(&count);
    for (size_t i = 0; i < count; i++) {
        object_guard guard;
        if (object_enter(&guard, ids[i], KIND_PROCESS) == 0) {
            bool ended = process_look(ids[i], process_of(&guard));
            object_leave(&guard);
            if (ended) {
                child_remove(ids[i]);
            }
        }
    }
    free(ids);
    child_sweep();
}

/* True if it is up to this process to know how its child ended: it has looked. */
static bool is_own(uint64_t id)
{
    child *c = child_find(id);
    bool own = c != NULL && c->process.child && atomic_load(&c->noted);
    if (c != NULL) {
        child_drop(c);
    }
    return own;
}

/* Whoever reaps the process says how it ended a moment after others have seen that it did. */
static int await_code(uint64_t id, process_object *p)
{
    int64_t deadline = platform_clock_ns() + INT64_C(1000) * NS_IN_MS;
    while (atomic_load(&p->code_known) == 0) {
        uint32_t seen = wait_count(&p->changed);
        bool nobody = is_own(id) || (is_gone(p->parent) && p->method != KIN_START_FORKSERVER);
        if (atomic_load(&p->code_known) == 0 &&
            (nobody || wait_for_change(&p->changed, seen, deadline) < 0)) {
            return KIN_E_SYSTEM;
        }
    }
    return 0;
}

int kin_process_exit_code(kin_process process, int *code)
{
    error_clear();
    if (code == NULL) {
        return KIN_E_INVALID;
    }
    object_guard guard;
    int status = object_enter(&guard, process.id, KIND_PROCESS);
    if (status < 0) {
        return status;
    }
    process_object *p = process_of(&guard);
    /* Another thread may have reaped it, and be about to mark it: what process_look says counts. */
    bool ended = process_look(process.id, p);
    status = ended ? await_code(process.id, p) : KIN_E_RUNNING;
    if (status == 0) {
        *code = atomic_load(&p->exit_code);
    }
    object_leave(&guard);
    return status;
}

int kin_process_is_alive(kin_process process)
{
    error_clear();
    object_guard guard;
    int status = object_enter(&guard, process.id, KIND_PROCESS);
    if (status < 0) {
        return status;
    }
    process_object *p = process_of(&guard);
    status = p->member == member_self() || !process_look(process.id, p);
    object_leave(&guard);
    return status;
}

int kin_process_pid(kin_process process)
{
    error_clear();
    object_guard guard;
    int status = object_enter(&guard, process.id, KIND_PROCESS);
    if (status < 0) {
        return status;
    }
    int pid = (int) atomic_load(&process_of(&guard)->pid);
    object_leave(&guard);
    return pid;
}

const char *kin_process_name(kin_process process)
{
    error_clear();
    object_guard guard;
    if (object_enter(&guard, process.id, KIND_PROCESS) < 0) {
        return "";
    }
    const char *name = process_of(&guard)->name;
    object_leave(&guard);
    return name;
}

/* A process that this one did not start. */
static int end_other(process_object *p, bool ask)
{
    for (;;) {
        uint32_t seen = wait_count(&p->changed);
        platform_process process;
        int status = process_open_other(p, &process);
        if (status == 0) {
            status = platform_process_kill(&process, ask);
            platform_process_close(&process);
        }
        if (status != KIN_E_STATE) {
            return status == KIN_E_ENDED ? 0 : status;
        }
        if (p->guest && atomic_load(&p->pid) != 0) {
            return KIN_E_UNSUPPORTED; /* only members can be named by others than their parents */
        }
        /* It is on its way: it can be named as soon as it has joined. */
        if (death_check(p->parent)) {
            return 0;
        }
        status = wait_for_change(&p->changed, seen, INT64_MAX);
        if (status < 0) {
            return status;
        }
    }
}

static int end_process(kin_process process, bool ask)
{
    error_clear();
    object_guard guard;
    int status = object_enter(&guard, process.id, KIND_PROCESS);
    if (status < 0) {
        return status;
    }
    process_object *p = process_of(&guard);
    child *c = child_find(process.id);
    bool ended = atomic_load(&p->state) == PROCESS_ENDED;
    atomic_store(&p->expected, 1);
    if (c != NULL) {
        status = child_kill(c, ask);
        child_drop(c);
    } else {
        status = end_other(p, ask);
    }
    if (status < 0) {
        LOG(KIN_LOG_ERROR, "%s (pid %u) could not be %s: %s", p->name, pid_of(p),
            ask ? "asked to end" : "killed", kin_error_name(status));
    } else if (!ended) {
        LOG(KIN_LOG_INFO, "%s (pid %u) was %s", p->name, pid_of(p),
            ask ? "asked to end" : "killed");
    }
    object_leave(&guard);
    return status;
}

int process_end_in_group(uint64_t id, bool ask)
{
    object_guard guard;
    int status = object_enter(&guard, id, KIND_PROCESS);
    if (status < 0) {
        return status;
    }
    process_object *p = process_of(&guard);
    child *c = child_find(id);
    bool can_be_named = c != NULL || atomic_load(&p->state) != PROCESS_STARTING ||
                        (p->guest && atomic_load(&p->stamp) != 0);
    if (c != NULL) {
        child_drop(c);
    }
    object_leave(&guard);
    return ask || can_be_named ? end_process((kin_process){id}, ask) : 0;
}

int kin_process_kill(kin_process process)
{
    return end_process(process, false);
}

int kin_process_terminate(kin_process process)
{
    return end_process(process, true);
}

int kin_process_close(kin_process process)
{
    error_clear();
    object_guard guard;
    int status = object_enter(&guard, process.id, KIND_PROCESS);
    if (status < 0) {
        return status;
    }
    process_object *p = process_of(&guard);
    if (p->member == member_self() || !process_look(process.id, p)) {
        status = KIN_E_RUNNING;
    } else {
        process_destroy(process.id, p->launch);
    }
    object_leave(&guard);
    if (status == 0) {
        child_remove(process.id);
    }
    return status;
}

int kin_set_error(const char *message)
{
    error_clear();
    if (message == NULL) {
        return KIN_E_INVALID;
    }
    object_guard guard;
    int status = object_enter(&guard, kin_current_process().id, KIND_PROCESS);
    if (status < 0) {
        return status == KIN_E_HANDLE ? KIN_E_INIT : status;
    }
    process_object *p = process_of(&guard);
    size_t length = strlen(message);
    length = length < sizeof p->message - 1 ? length : sizeof p->message - 1;
    memcpy(p->message, message, length);
    p->message[length] = '\0';
    object_leave(&guard);
    return 0;
}

int kin_process_error(kin_process process, char *text, size_t size)
{
    error_clear();
    if (text == NULL || size == 0) {
        return KIN_E_INVALID;
    }
    object_guard guard;
    int status = object_enter(&guard, process.id, KIND_PROCESS);
    if (status < 0) {
        return status;
    }
    const process_object *p = process_of(&guard);
    size_t most = (size < sizeof p->message ? size : sizeof p->message) - 1;
    memcpy(text, p->message, most);
    text[most] = '\0';
    object_leave(&guard);
    return 0;
}

kin_process kin_current_process(void)
{
    kin_process none = {0};
    member *m = family_is_joined() ? member_at(member_self()) : NULL;
    return m == NULL ? none : (kin_process){atomic_load(&m->process)};
}

kin_process kin_parent_process(void)
{
    kin_process parent = {0};
    object_guard guard;
    if (object_enter(&guard, kin_current_process().id, KIND_PROCESS) == 0) {
        parent.id = process_of(&guard)->parent_process;
        object_leave(&guard);
    }
    return parent;
}

size_t kin_active_children(kin_process *list, size_t capacity)
{
    if (!family_is_joined()) {
        return 0;
    }
    size_t count;
    size_t alive = 0;
    child_sweep();
    uint64_t *ids = child_list(&count);
    for (size_t i = 0; i < count; i++) {
        kin_process process = {ids[i]};
        if (kin_process_is_alive(process) > 0) {
            if (list != NULL && alive < capacity) {
                list[alive] = process;
            }
            alive++;
        }
    }
    free(ids);
    return alive;
}

void process_end_children(void)
{
    size_t count;
    child_sweep();
    uint64_t *ids = child_list(&count);
    for (size_t i = 0; i < count; i++) {
        child *c = child_find(ids[i]);
        if (c != NULL) {
            child_close_streams(c); /* it may wait for what comes, or for what goes */
            if (c->daemon && kin_process_kill((kin_process){ids[i]}) < 0) {
                ids[i] = 0; /* not to be waited for: it ends with this process */
            }
            child_drop(c);
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (ids[i] != 0) {
            (void) kin_process_join((kin_process){ids[i]}, KIN_FOREVER);
        }
    }
    if (ids != NULL) { /* most have no children, and a copy's end is faster without a call */
        free(ids);
    }
}
