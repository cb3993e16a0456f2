/* Groups of processes. A member is in a group because its process object says so; what is no member
   is found by the system, see platform.h. A group that is closed takes nobody in any more: who
   kills it closes it first, then kills all whose process objects it finds; who starts a process
   publishes its object first, then looks whether the group is closed; and so does the process
   itself once it is a member. So none that is under way escapes.

   Who destroys a group notes itself in it, then looks whether anybody is there; who starts a
   process publishes its object, then waits until nobody is about to destroy the group. One of the
   two sees the other. A destroyer that has died counts as none. */
#include "core/group.h"

#include "core/error.h"
#include "core/log.h"

#include <stdlib.h>
#include <string.h>

enum { NS_IN_MS = 1000000, LOOK_FIRST_MS = 2, LOOK_LAST_MS = 100 };

typedef struct group_object {
    object object;
    uint64_t creator;
    _Atomic uint32_t closed;    /* it has been killed */
    _Atomic uint64_t destroyer; /* the member that looks whether it may be destroyed, or 0 */
    _Atomic uint32_t given_up;  /* how often it was not to be destroyed */
} group_object;

static group_object *group_of(const object_guard *guard)
{
    return (group_object *) guard->object;
}

/* Makes this member the one that may destroy the group; false if another is about it, which lives
   as far as is known. */
static bool claim(group_object *g)
{
    uint64_t other = 0;
    return atomic_compare_exchange_strong(&g->destroyer, &other, member_self()) ||
           (member_state_of(other) != MEMBER_ALIVE &&
            atomic_compare_exchange_strong(&g->destroyer, &other, member_self()));
}

static void give_up_claim(group_object *g)
{
    uint64_t self = member_self();
    atomic_fetch_add(&g->given_up, 1);
    (void) atomic_compare_exchange_strong(&g->destroyer, &self, 0);
}

/* ---- what this process has open ---- */

typedef struct held_group {
    struct held_group *next;
    uint64_t id;
    intptr_t object;
} held_group;

static platform_lock held_lock;
static held_group *held_groups;

/* The system's object for a group, open until group_forget. */
static int open_group(uint64_t id, intptr_t *system_object)
{
    *system_object = PLATFORM_NONE;
    if (platform_group_has_leaders()) {
        return 0;
    }
    int status = 0;
    platform_lock_acquire(&held_lock);
    held_group *held = held_groups;
    while (held != NULL && held->id != id) {
        held = held->next;
    }
    if (held == NULL) {
        held = malloc(sizeof *held);
        status =
            held != NULL ? platform_group_open(&held->object, arena_secret(), id) : KIN_E_NOMEM;
        if (status == 0) {
            held->id = id;
            held->next = held_groups;
            held_groups = held;
        } else {
            free(held);
        }
    }
    if (status == 0) {
        *system_object = held->object;
    }
    platform_lock_release(&held_lock);
    return status;
}

void group_forget(bool all)
{
    platform_lock_acquire(&held_lock);
    for (held_group **at = &held_groups; *at != NULL;) {
        held_group *held = *at;
        if (all || !object_is_there(held->id)) {
            *at = held->next;
            platform_group_close(held->object);
            free(held);
        } else {
            at = &held->next;
        }
    }
    platform_lock_release(&held_lock);
}

void group_reset_copy(void)
{
    held_lock = (platform_lock){{0}};
    held_groups = NULL;
}

/* ---- who is in it ---- */

static bool is_in(const process_object *p, uint64_t group)
{
    for (int i = 0; i < PROCESS_GROUPS; i++) {
        if (p->groups[i] == group) {
            return true;
        }
    }
    return false;
}

typedef struct found_processes {
    uint64_t group;
    uint64_t *ids;
    size_t count;
    size_t capacity;
    bool self; /* the caller is among them, but not in `ids` */
    int status;
} found_processes;

static void find_member(uint64_t reference, enum member_state state, void *context)
{
    found_processes *found = context;
    member *m = member_at(reference);
    object_guard guard;
    if (found->status < 0 || m == NULL || (state != MEMBER_ALIVE && state != MEMBER_STARTING) ||
        object_enter(&guard, atomic_load(&m->process), KIND_PROCESS) < 0) {
        return;
    }
    const process_object *p = process_of(&guard);
    if (!is_in(p, found->group) || p->member != reference) {
        object_leave(&guard);
        return;
    }
    if (reference == member_self()) {
        found->self = true;
    } else if (found->count < found->capacity) {
        found->ids[found->count++] = atomic_load(&p->object.id);
    } else {
        size_t capacity = found->capacity == 0 ? 32 : 2 * found->capacity;
        uint64_t *ids = realloc(found->ids, capacity * sizeof *ids);
        if (ids == NULL) {
            found->status = KIN_E_NOMEM;
        } else {
            found->ids = ids;
            found->capacity = capacity;
            found->ids[found->count++] = atomic_load(&p->object.id);
        }
    }
    object_leave(&guard);
}

/* The members of the family in the group, that are there or on their way; in memory to be freed. */
static int find_members(found_processes *found, uint64_t group)
{
    *found = (found_processes){.group = group};
    member_each(find_member, found);
    if (found->status < 0) {
        free(found->ids);
        found->ids = NULL;
    }
    return found->status;
}

static uint64_t pid_of(uint64_t id)
{
    int pid = kin_process_pid((kin_process){id});
    return pid > 0 ? (uint64_t) pid : 0;
}

/* Takes those out that have ended. */
static void drop_ended(found_processes *found)
{
    size_t kept = 0;
    for (size_t i = 0; i < found->count; i++) {
        if (kin_process_is_alive((kin_process){found->ids[i]}) > 0) {
            found->ids[kept++] = found->ids[i];
        }
    }
    found->count = kept;
}

/* ---- what is no member ---- */

typedef struct found_leaders {
    uint64_t group;
    platform_leader *leaders;
    size_t count;
    size_t capacity;
} found_leaders;

static int find_leader(object *o, uint64_t id, void *context)
{
    found_leaders *found = context;
    process_object *p = (process_object *) o;
    if (object_kind_of(id) != KIND_PROCESS || !p->leads || !is_in(p, found->group) ||
        atomic_load(&p->pid) == 0) {
        return 0;
    }
    if (found->count == found->capacity) {
        size_t capacity = found->capacity == 0 ? 16 : 2 * found->capacity;
        platform_leader *leaders = realloc(found->leaders, capacity * sizeof *leaders);
        if (leaders == NULL) {
            return KIN_E_NOMEM;
        }
        found->leaders = leaders;
        found->capacity = capacity;
    }
    found->leaders[found->count++] =
        (platform_leader){{.pid = atomic_load(&p->pid), .stamp = atomic_load(&p->stamp)}, false};
    return 0;
}

/* Those that are children of this process, closed or not, it has not reaped. */
static int mark_own(found_leaders *found)
{
    size_t count;
    platform_leader *own;
    int status = child_leaders(found->group, &own, &count);
    for (size_t i = 0; i < count && status == 0; i++) {
        platform_leader *known = found->leaders;
        platform_leader *end = found->leaders + found->count;
        while (known < end && known->identity.pid != own[i].identity.pid) {
            known++;
        }
        if (known < end) {
            *known = own[i];
            continue;
        }
        if (found->count == found->capacity) {
            size_t capacity = found->capacity + count;
            platform_leader *leaders = realloc(found->leaders, capacity * sizeof *leaders);
            if (leaders == NULL) {
                status = KIN_E_NOMEM;
                break;
            }
            found->leaders = leaders;
            found->capacity = capacity;
        }
        found->leaders[found->count++] = own[i];
    }
    free(own);
    return status;
}

/* What the system is to be asked about; the leaders are in memory to be freed. */
static int describe(platform_group *group, uint64_t id)
{
    found_leaders found = {.group = id};
    int status = open_group(id, &group->object);
    if (status == 0 && platform_group_has_leaders()) {
        status = object_each(find_leader, &found);
        if (status == 0) {
            status = mark_own(&found);
        }
    }
    if (status < 0) {
        free(found.leaders);
        found.leaders = NULL;
        found.count = 0;
    }
    group->leaders = found.leaders;
    group->leader_count = found.count;
    return status;
}

static void end_description(platform_group *group)
{
    free((void *) group->leaders);
}

static bool is_member_pid(uint64_t pid, const found_processes *members)
{
    for (size_t i = 0; i < members->count; i++) {
        if (pid_of(members->ids[i]) == pid) {
            return true;
        }
    }
    return false;
}

/* The pids of those in the group that are alive and no members; to be freed. */
static int find_others(const platform_group *group, const found_processes *members,
                       uint64_t **others, size_t *count)
{
    size_t all;
    platform_identity self;
    int status = platform_group_list(group, others, &all);
    if (status == 0) {
        status = platform_process_self(&self);
    }
    *count = 0;
    for (size_t i = 0; i < all && status == 0; i++) {
        if ((*others)[i] != self.pid && !is_member_pid((*others)[i], members)) {
            (*others)[(*count)++] = (*others)[i];
        }
    }
    return status;
}

/* All in the group but the caller: members, and how many others. */
static int look_into(uint64_t id, found_processes *members, size_t *others)
{
    platform_group group;
    uint64_t *pids = NULL;
    *others = 0;
    int status = find_members(members, id);
    if (status < 0) {
        return status;
    }
    drop_ended(members);
    status = describe(&group, id);
    if (status == 0) {
        status = find_others(&group, members, &pids, others);
        free(pids);
        end_description(&group);
    }
    if (status < 0) {
        free(members->ids);
        members->ids = NULL;
    }
    return status;
}

/* ---- starts ---- */

bool group_is_in_any(void)
{
    object_guard guard;
    bool any = false;
    if (object_enter(&guard, kin_current_process().id, KIND_PROCESS) == 0) {
        any = process_of(&guard)->groups[0] != 0;
        object_leave(&guard);
    }
    return any;
}

int group_note(process_object *p, const kin_process_options *options, bool apart)
{
    object_guard guard;
    int count = 0;
    if (apart) {
        return 0;
    }
    if (options->group.id != 0) {
        int status = object_enter(&guard, options->group.id, KIND_GROUP);
        if (status < 0) {
            return status;
        }
        object_leave(&guard);
        p->groups[count++] = options->group.id;
    }
    int status = object_enter(&guard, kin_current_process().id, KIND_PROCESS);
    if (status < 0) {
        return status;
    }
    const process_object *self = process_of(&guard);
    for (int i = 0; i < PROCESS_GROUPS && self->groups[i] != 0; i++) {
        if (is_in(p, self->groups[i]) || !object_is_there(self->groups[i])) {
            continue;
        }
        if (count == PROCESS_GROUPS) {
            status = KIN_E_LIMIT;
            break;
        }
        p->groups[count++] = self->groups[i];
    }
    object_leave(&guard);
    p->leads = count > 0 && platform_group_has_leaders() &&
               (options->group.id != 0 || options->new_process_group || options->new_session);
    return status;
}

int group_settle(setting *s, const process_object *p)
{
    s->platform.group = s->platform.group || p->leads;
    return p->groups[0] != 0 ? open_group(p->groups[0], &s->platform.job) : 0;
}

bool group_is_closed(const process_object *p)
{
    for (int i = 0; i < PROCESS_GROUPS && p->groups[i] != 0; i++) {
        object_guard guard;
        if (object_enter(&guard, p->groups[i], KIND_GROUP) == 0) {
            bool closed = atomic_load(&group_of(&guard)->closed) != 0;
            object_leave(&guard);
            if (closed) {
                return true;
            }
        }
    }
    return false;
}

/* Waits until nobody is about to destroy the group who has looked too early. Who gives it up does
   so after that; the next one sees what is published by now. */
static int await_admission(uint64_t id)
{
    object_guard guard;
    int status = object_enter(&guard, id, KIND_GROUP);
    if (status < 0) {
        return status;
    }
    group_object *g = group_of(&guard);
    const uint32_t before = atomic_load(&g->given_up);
    for (;;) {
        uint64_t destroyer = atomic_load(&g->destroyer);
        if (!object_is_there(id)) {
            status = KIN_E_HANDLE;
            break;
        }
        if (destroyer == 0 || atomic_load(&g->given_up) != before || death_check(destroyer)) {
            break;
        }
        platform_sleep_ns(NS_IN_MS);
    }
    object_leave(&guard);
    return status;
}

int group_admit(const process_object *p)
{
    int status = 0;
    for (int i = 0; i < PROCESS_GROUPS && p->groups[i] != 0 && status == 0; i++) {
        status = await_admission(p->groups[i]);
    }
    return status == 0 && group_is_closed(p) ? KIN_E_STATE : status;
}

void group_enter(const process_object *p)
{
    for (int i = 0; i < PROCESS_GROUPS && p->groups[i] != 0; i++) {
        intptr_t unused;
        (void) open_group(p->groups[i], &unused); /* without it others cannot find the rest */
    }
    if (group_is_closed(p)) {
        platform_process_die();
    }
}

/* ---- recovery ---- */

static void find_any(uint64_t reference, enum member_state state, void *context)
{
    found_processes *found = context;
    member *m = member_at(reference);
    object_guard guard;
    if (m != NULL && (state == MEMBER_ALIVE || state == MEMBER_STARTING) &&
        object_enter(&guard, atomic_load(&m->process), KIND_PROCESS) == 0) {
        found->count += is_in(process_of(&guard), found->group);
        object_leave(&guard);
    }
}

/* A group whose maker and members are all gone is of no use to anybody. */
static int recover(object *o, uint64_t id, uint64_t dead)
{
    group_object *g = (group_object *) o;
    enum member_state state = member_state_of(g->creator);
    if (g->creator == dead || state == MEMBER_FREE || state == MEMBER_DEAD) {
        found_processes found = {.group = id};
        if (!claim(g)) {
            return 0; /* somebody has it in hand; the next recovery looks again */
        }
        member_each(find_any, &found);
        if (found.count == 0) {
            (void) object_destroy(id);
        } else {
            give_up_claim(g);
        }
    }
    return 0;
}

void group_set_up(void)
{
    death_register(KIND_GROUP, recover);
}

/* ---- the interface ---- */

int kin_group_create(kin_group *group)
{
    error_clear();
    if (group == NULL) {
        return KIN_E_INVALID;
    }
    if (!family_is_joined()) {
        return KIN_E_INIT;
    }
    group_forget(false);
    object *created;
    uint64_t id;
    int status = object_create(&created, sizeof(group_object));
    if (status < 0) {
        return status;
    }
    ((group_object *) created)->creator = member_self();
    status = object_publish(created, KIND_GROUP, 0, &id);
    if (status < 0) {
        object_drop(created);
        return status;
    }
    intptr_t unused;
    status = open_group(id, &unused);
    if (status < 0) {
        (void) object_destroy(id);
        return status;
    }
    group->id = id;
    return 0;
}

static int enter_group(object_guard *guard, kin_group group)
{
    error_clear();
    return object_enter(guard, group.id, KIND_GROUP);
}

int kin_group_count(kin_group group)
{
    object_guard guard;
    int status = enter_group(&guard, group);
    if (status < 0) {
        return status;
    }
    found_processes members;
    size_t others;
    status = look_into(group.id, &members, &others);
    if (status == 0) {
        status = (int) (members.count + others + members.self);
        free(members.ids);
    }
    object_leave(&guard);
    return status;
}

int kin_group_processes(kin_group group, kin_process *processes, size_t capacity)
{
    object_guard guard;
    if (processes == NULL && capacity > 0) {
        error_clear();
        return KIN_E_INVALID;
    }
    int status = enter_group(&guard, group);
    if (status < 0) {
        return status;
    }
    found_processes members;
    status = find_members(&members, group.id);
    if (status == 0) {
        drop_ended(&members);
        size_t count = 0;
        for (; count < members.count; count++) {
            if (count < capacity) {
                processes[count].id = members.ids[count];
            }
        }
        if (members.self && count++ < capacity) {
            processes[count - 1] = kin_current_process();
        }
        status = (int) count;
        free(members.ids);
    }
    object_leave(&guard);
    return status;
}

/* The last step of ending a group that the caller is in. */
static int end_self(bool ask)
{
    if (!ask) {
        platform_process_die();
    }
    return kin_process_terminate(kin_current_process());
}

static int end_members(const found_processes *members, bool ask)
{
    int status = 0;
    for (size_t i = 0; i < members->count; i++) {
        int ended = process_end_in_group(members->ids[i], ask);
        if (ended < 0 && ended != KIN_E_HANDLE) {
            status = ended;
        }
    }
    return status;
}

static int end_others(uint64_t id, const found_processes *members, bool ask)
{
    platform_group group;
    uint64_t *others = NULL;
    size_t count;
    int status = describe(&group, id);
    if (status < 0) {
        return status;
    }
    if (ask) {
        status = find_others(&group, members, &others, &count);
        if (status == 0) {
            status = platform_group_ask(&group, others, count);
        }
        free(others);
    } else {
        status = platform_group_kill(&group);
    }
    end_description(&group);
    return status;
}

static int end_group(kin_group group, bool ask)
{
    object_guard guard;
    int status = enter_group(&guard, group);
    if (status < 0) {
        return status;
    }
    if (!ask) {
        atomic_store(&group_of(&guard)->closed, 1); /* see the top of this file */
    }
    LOG(KIN_LOG_DEBUG, "a group is %s", ask ? "asked to end" : "killed");
    found_processes members;
    bool self = false;
    status = find_members(&members, group.id);
    if (status == 0) {
        self = members.self;
        status = end_members(&members, ask);
        int others = end_others(group.id, &members, ask);
        status = others < 0 ? others : status;
        free(members.ids);
    }
    object_leave(&guard);
    return self ? end_self(ask) : status;
}

int kin_group_terminate(kin_group group)
{
    return end_group(group, true);
}

int kin_group_kill(kin_group group)
{
    return end_group(group, false);
}

/* Waits for each of them; why one did not run its function does not matter here. */
static int join_members(const found_processes *members, int64_t deadline)
{
    for (size_t i = 0; i < members->count; i++) {
        int status = process_await((kin_process){members->ids[i]}, deadline);
        if (status < 0 && status != KIN_E_HANDLE) {
            return status; /* to go on would be to ask again and again */
        }
    }
    return 0;
}

/* Nothing tells of the end of those that are no members: they are looked at, ever more seldom. */
static int rest(int *wait_ms, int64_t deadline)
{
    int64_t left = deadline == INT64_MAX ? INT64_MAX : deadline - platform_clock_ns();
    int64_t wait = (int64_t) *wait_ms * NS_IN_MS;
    if (left <= 0) {
        return KIN_E_TIMEOUT;
    }
    platform_sleep_ns(wait < left ? wait : left);
    *wait_ms = *wait_ms * 2 < LOOK_LAST_MS ? *wait_ms * 2 : LOOK_LAST_MS;
    return 0;
}

int kin_group_join(kin_group group, int timeout_ms)
{
    object_guard guard;
    if (timeout_ms < KIN_FOREVER) {
        error_clear();
        return KIN_E_INVALID;
    }
    int64_t deadline = wait_deadline(timeout_ms);
    int status = enter_group(&guard, group);
    if (status < 0) {
        return status;
    }
    int wait_ms = LOOK_FIRST_MS;
    bool done = false;
    while (status == 0 && !done) {
        found_processes members;
        size_t others;
        status = look_into(group.id, &members, &others);
        if (status < 0) {
            break;
        }
        done = members.count == 0 && others == 0;
        if (members.self) {
            status = KIN_E_DEADLOCK;
        } else if (members.count > 0) {
            status = join_members(&members, deadline);
        } else if (!done) {
            status = rest(&wait_ms, deadline);
        }
        free(members.ids);
    }
    object_leave(&guard);
    return status;
}

int kin_group_destroy(kin_group group)
{
    object_guard guard;
    int status = enter_group(&guard, group);
    if (status < 0) {
        return status;
    }
    group_object *g = group_of(&guard);
    found_processes members;
    size_t others;
    while (!claim(g)) {
        if (!object_is_there(group.id)) {
            object_leave(&guard);
            return KIN_E_HANDLE;
        }
        (void) death_check(atomic_load(&g->destroyer));
        platform_sleep_ns(NS_IN_MS); /* it takes but a moment */
    }
    status = look_into(group.id, &members, &others);
    if (status == 0) {
        status = members.count > 0 || others > 0 || members.self ? KIN_E_RUNNING : 0;
        free(members.ids);
    }
    if (status == 0) {
        status = object_destroy(group.id);
    } else {
        give_up_claim(g);
    }
    object_leave(&guard);
    group_forget(false);
    child_sweep();
    return status;
}
