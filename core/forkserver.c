/* The forkserver; forkserver.h says what it is. */
#include "core/forkserver.h"

#include "core/error.h"
#include "core/group.h"
#include "core/log.h"
#include "core/setting.h"

#include <stdlib.h>
#include <string.h>

enum { REQUESTS = 64, NS_IN_MS = 1000000 };

typedef struct server_object {
    object object;
    _Atomic uint64_t process; /* the server's process object; 0 before the first */
    _Atomic uint64_t starter; /* the member that is starting one */
    function_reference preload;
    uint32_t has_preload;
    _Alignas(64) wait_signal asked;      /* raised when there is a request */
    _Atomic uint64_t requests[REQUESTS]; /* process objects; 0: free */
} server_object;

static server_object *server_of(const object_guard *guard)
{
    return (server_object *) guard->object;
}

/* ---- the server ---- */

/* What the process is started with, in memory of the server's own: whoever asked may die, and what
   it had in the arena with it. Nothing, for most. */
typedef struct server_request {
    void *setting;
    size_t size;
} server_request;

static int read_request(server_request *r, const process_object *p)
{
    object_guard launched;
    int status = object_enter(&launched, p->launch, KIND_PART);
    if (status < 0) {
        return status;
    }
    const launch *l = (const launch *) launched.object;
    r->size = (size_t) l->setting_size;
    r->setting = r->size > 0 ? malloc(r->size) : NULL;
    if (r->setting != NULL) {
        memcpy(r->setting, l->argument + l->setting, r->size);
    }
    object_leave(&launched);
    return r->setting != NULL || r->size == 0 ? 0 : KIN_E_NOMEM;
}

static int enter_request(void *context)
{
    const server_request *r = context;
    return setting_enter_packed(r->setting);
}

/* Forks the process that is asked for; in the copy it does not come back. */
static int fork_for(child *c, const process_object *p, uint64_t token)
{
    server_request r;
    uint64_t reference = p->member;
    int status = read_request(&r, p);
    if (status < 0) {
        return status;
    }
    status = platform_process_fork(&c->process);
    if (status > 0) {
        birth_live_copy(reference, token, r.size > 0 ? enter_request : NULL, &r);
    }
    free(r.setting);
    return status;
}

static void serve(uint64_t id)
{
    object_guard guard;
    if (object_enter(&guard, id, KIND_PROCESS) < 0) {
        return; /* nobody wants it any more */
    }
    process_object *p = process_of(&guard);
    const member *m = member_at(p->member);
    child *c = child_new();
    if (m == NULL || member_state_of(p->member) != MEMBER_STARTING) {
        free(c);
        object_leave(&guard);
        return;
    }
    int status = c != NULL ? fork_for(c, p, m->token) : KIN_E_NOMEM;
    if (status == 0) {
        child_describe(c, id, p);
        atomic_store(&p->pid, c->process.identity.pid);
        atomic_store(&p->stamp, c->process.identity.stamp);
        child_add(c);
    } else {
        free(c);
        atomic_store(&p->error, status);
        wait_raise(&p->changed);
    }
    object_leave(&guard);
}

static void note_other(uint64_t reference, enum member_state state, void *context)
{
    if (state == MEMBER_ALIVE && reference != member_self() && !death_check(reference)) {
        *(bool *) context = true;
    }
}

/* True if another member is alive. */
static bool has_family(void)
{
    bool any = false;
    member_each(note_other, &any);
    return any;
}

static int run_server(void *argument, size_t size)
{
    object_guard guard;
    uint64_t id;
    if (size != sizeof id) {
        return 1;
    }
    memcpy(&id, argument, sizeof id);
    if (object_enter(&guard, id, KIND_SERVER) < 0) {
        return 1;
    }
    server_object *s = server_of(&guard);
    kin_process_function preload;
    uintptr_t address;
    if (s->has_preload && function_resolve(&s->preload, &address) == 0) {
        memcpy(&preload, &address, sizeof preload);
        (void) preload(NULL, 0); /* what it returns is its own affair */
    }
    int64_t looked = platform_clock_ns();
    int status = 0;
    while (status == 0) {
        uint32_t seen = wait_count(&s->asked);
        for (int i = 0; i < REQUESTS; i++) {
            uint64_t request = atomic_load(&s->requests[i]);
            if (request != 0) {
                serve(request);
                /* Cleared after it was served: another server would find it, and see that it is
                   served. Who asked may have taken it back meanwhile, and another have put his
                   there. */
                (void) atomic_compare_exchange_strong(&s->requests[i], &request, 0);
            }
        }
        process_look_at_children();
        if (platform_clock_ns() - looked > 500 * (int64_t) NS_IN_MS) {
            looked = platform_clock_ns();
            if (!has_family()) {
                break;
            }
        }
        status = wait_for_change(&s->asked, seen, INT64_MAX);
    }
    object_leave(&guard);
    return status == 0 ? 0 : 1;
}

/* ---- those who ask ---- */

/* Enters the family's server object, which is made if there is none. */
static int enter_server(object_guard *guard)
{
    _Atomic uint64_t *known = &family_common()->forkserver;
    for (;;) {
        uint64_t id = atomic_load(known);
        if (id != 0) {
            return object_enter(guard, id, KIND_SERVER);
        }
        object *created;
        int status = object_create(&created, sizeof(server_object));
        if (status == 0) {
            status = object_publish(created, KIND_SERVER, 0, &id);
            if (status < 0) {
                object_drop(created);
            }
        }
        if (status < 0) {
            return status;
        }
        uint64_t none = 0;
        if (!atomic_compare_exchange_strong(known, &none, id)) {
            (void) object_destroy(id);
        }
    }
}

static bool is_alive(const server_object *s)
{
    object_guard guard;
    uint64_t id = atomic_load(&s->process);
    if (id == 0 || object_enter(&guard, id, KIND_PROCESS) < 0) {
        return false;
    }
    process_object *p = process_of(&guard);
    bool alive = kin_process_is_alive((kin_process){id}) > 0 && atomic_load(&p->error) == 0;
    object_leave(&guard);
    return alive;
}

static int spawn_server(server_object *s, uint64_t id)
{
    kin_process process;
    /* It is the family's: in none of the groups of who happens to need it first, nor in what a
       system takes for one. */
    kin_process_options options = {
        .name = "forkserver", .method = KIN_START_SPAWN, .new_process_group = group_is_in_any()};
    int status = process_start_apart(&process, run_server, &id, sizeof id, &options);
    if (status == 0) {
        child *c = child_find(process.id);
        if (c != NULL) {
            c->aside = true;
            child_drop(c);
        }
        uint64_t before = atomic_exchange(&s->process, process.id);
        LOG(before != 0 ? KIN_LOG_WARNING : KIN_LOG_INFO, "%s the forkserver (pid %d)",
            before != 0 ? "replaced" : "started", kin_process_pid(process));
        if (before != 0) {
            (void) kin_process_close((kin_process){before}); /* only the one that started it can */
        }
    }
    return status;
}

/* Has a server run. */
static int ensure_server(server_object *s)
{
    uint64_t id = atomic_load(&s->object.id);
    while (!is_alive(s)) {
        uint64_t starter = 0;
        if (!atomic_compare_exchange_strong(&s->starter, &starter, member_self())) {
            if (!death_check(starter) ||
                !atomic_compare_exchange_strong(&s->starter, &starter, member_self())) {
                platform_sleep_ns(NS_IN_MS); /* another is about it */
                continue;
            }
        }
        log_hold();
        int status = is_alive(s) ? 0 : spawn_server(s, id);
        atomic_store(&s->starter, 0);
        log_release();
        if (status < 0) {
            return status;
        }
    }
    return 0;
}

static int add_request(server_object *s, uint64_t id)
{
    for (;;) {
        for (int i = 0; i < REQUESTS; i++) {
            uint64_t none = 0;
            if (atomic_compare_exchange_strong(&s->requests[i], &none, id)) {
                wait_raise(&s->asked);
                return 0;
            }
        }
        int status = ensure_server(s); /* it takes them off the table */
        if (status < 0) {
            return status;
        }
        platform_sleep_ns(NS_IN_MS);
    }
}

/* Takes back a request that no server will see to. */
static void drop_request(server_object *s, uint64_t id)
{
    for (int i = 0; i < REQUESTS; i++) {
        uint64_t mine = id;
        (void) atomic_compare_exchange_strong(&s->requests[i], &mine, 0);
    }
}

static int await_start(server_object *s, process_object *p)
{
    for (;;) {
        uint32_t seen = wait_count(&p->changed);
        int status = process_has_begun(p);
        if (status > 0) {
            return 0;
        }
        if (status == 0) {
            int64_t before = platform_clock_ns();
            status = wait_for_change(&p->changed, seen, INT64_MAX);
            if (status == 0 && platform_clock_ns() - before >= WAIT_SLICE_NS) {
                status = ensure_server(s);
            }
        }
        if (status < 0) {
            return status;
        }
    }
}

int forkserver_start(uint64_t id, process_object *p)
{
    object_guard guard;
    int status = enter_server(&guard);
    if (status < 0) {
        return status;
    }
    server_object *s = server_of(&guard);
    status = ensure_server(s);
    if (status == 0) {
        status = add_request(s, id);
    }
    if (status == 0) {
        status = await_start(s, p);
    }
    if (status < 0) {
        drop_request(s, id);
    }
    object_leave(&guard);
    return status;
}

int kin_set_forkserver_preload(kin_process_function function)
{
    error_clear();
    if (function == NULL) {
        return KIN_E_INVALID;
    }
    if (!platform_can_fork()) {
        return KIN_E_UNSUPPORTED;
    }
    if (!family_is_joined()) {
        return KIN_E_INIT;
    }
    object_guard guard;
    int status = enter_server(&guard);
    if (status < 0) {
        return status;
    }
    server_object *s = server_of(&guard);
    status = KIN_E_STATE;
    if (atomic_load(&s->process) == 0 && !s->has_preload) {
        status = function_describe(&s->preload, (uintptr_t) function);
        s->has_preload = status == 0;
    }
    object_leave(&guard);
    return status;
}

typedef struct count_others {
    uint64_t server;
    uint32_t count;
} count_others;

static void count_other(uint64_t reference, enum member_state state, void *context)
{
    count_others *others = context;
    if (state != MEMBER_DEAD && reference != member_self() && reference != others->server &&
        !death_check(reference)) {
        others->count++;
    }
}

void forkserver_end(void)
{
    object_guard guard;
    object_guard process;
    uint64_t id = atomic_load(&family_common()->forkserver);
    if (id == 0 || object_enter(&guard, id, KIND_SERVER) < 0) {
        return;
    }
    uint64_t server = atomic_load(&server_of(&guard)->process);
    if (object_enter(&process, server, KIND_PROCESS) == 0) {
        count_others others = {.server = process_of(&process)->member};
        member_each(count_other, &others);
        if (others.count == 0) {
            (void) kin_process_kill((kin_process){server});
            (void) kin_process_join((kin_process){server}, KIN_FOREVER);
        }
        object_leave(&process);
    }
    object_leave(&guard);
}
