/* The children of this process: what the system needs to have kept of each until it is reaped and
   closed. */
#include "core/process_object.h"
#include "core/setting.h"

#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 64 };

static platform_lock children_lock;
static child *children;
static child *buckets[BUCKETS]; /* the same by their ids */

/* In a copy: what the original had at that moment. Given back when the copy has children itself. */
static child *of_original;

child *child_new(void)
{
    child *c = calloc(1, sizeof *c);
    for (int i = 0; c != NULL && i < PLATFORM_STREAMS; i++) {
        c->streams[i] = PLATFORM_NONE;
    }
    return c;
}

void child_describe(child *c, uint64_t id, const process_object *p)
{
    c->id = id;
    c->member = p->member;
    c->daemon = p->daemon;
    c->process.pinned = p->leads && c->process.child;
    memcpy(c->groups, p->groups, sizeof c->groups);
}

/* Not while this process copies itself: a copy closes what it sees here, and nothing else. */
static void close_stream(child *c, int number)
{
    if (c->streams[number] != PLATFORM_NONE) {
        setting_lock(NULL);
        platform_stream_close(c->streams[number]);
        c->streams[number] = PLATFORM_NONE;
        setting_unlock();
    }
}

static void free_child(child *c)
{
    for (int i = 0; i < PLATFORM_STREAMS; i++) {
        close_stream(c, i);
    }
    platform_process_close(&c->process);
    free(c);
}

void child_take_streams(child *c, intptr_t *streams)
{
    setting_lock(NULL);
    for (int i = 0; i < PLATFORM_STREAMS; i++) {
        c->streams[i] = streams[i];
        streams[i] = PLATFORM_NONE;
    }
    setting_unlock();
}

int child_use_stream(child *c, int number, intptr_t *stream)
{
    platform_lock_acquire(&children_lock);
    bool open = c->streams[number] != PLATFORM_NONE && !c->stream_closing[number];
    bool free_to_use = open && !c->stream_used[number];
    if (free_to_use) {
        c->stream_used[number] = true;
        *stream = c->streams[number];
    }
    platform_lock_release(&children_lock);
    return free_to_use ? 0 : open ? KIN_E_BUSY : KIN_E_STATE;
}

void child_leave_stream(child *c, int number)
{
    platform_lock_acquire(&children_lock);
    c->stream_used[number] = false;
    if (c->stream_closing[number]) {
        close_stream(c, number);
    }
    platform_lock_release(&children_lock);
}

int child_close_stream(child *c, int number)
{
    platform_lock_acquire(&children_lock);
    bool open = c->streams[number] != PLATFORM_NONE && !c->stream_closing[number];
    if (open && c->stream_used[number]) {
        c->stream_closing[number] = true;
    } else if (open) {
        close_stream(c, number);
    }
    platform_lock_release(&children_lock);
    return open ? 0 : KIN_E_STATE;
}

void child_close_streams(child *c)
{
    for (int i = 0; i < PLATFORM_STREAMS; i++) {
        (void) child_close_stream(c, i);
    }
}

static child **bucket_of(uint64_t id)
{
    return &buckets[id * UINT64_C(0x9e3779b97f4a7c15) >> 58]; /* six bits */
}

/* Takes the one at `at` off the list. With the lock held. */
static child *unlink_child(child **at)
{
    child *found = *at;
    *at = found->next;
    for (at = bucket_of(found->id); *at != NULL; at = &(*at)->next_found) {
        if (*at == found) {
            *at = found->next_found;
            break;
        }
    }
    return found;
}

child *child_find(uint64_t id)
{
    platform_lock_acquire(&children_lock);
    child *c = *bucket_of(id);
    while (c != NULL && c->id != id) {
        c = c->next_found;
    }
    if (c != NULL) {
        c->users++;
    }
    platform_lock_release(&children_lock);
    return c;
}

void child_drop(child *c)
{
    platform_lock_acquire(&children_lock);
    bool last = --c->users == 0;
    platform_lock_release(&children_lock);
    if (last) {
        free_child(c);
    }
}

void child_add(child *c)
{
    platform_lock_acquire(&children_lock);
    while (of_original != NULL) {
        child *next = of_original->next;
        free(of_original);
        of_original = next;
    }
    c->users = 1;
    c->next = children;
    children = c;
    c->next_found = *bucket_of(c->id);
    *bucket_of(c->id) = c;
    platform_lock_release(&children_lock);
}

/* True if one of its groups is there. */
static bool has_group(const child *c)
{
    bool any = false;
    for (int i = 0; i < PROCESS_GROUPS && !any; i++) {
        any = c->groups[i] != 0 && object_is_there(c->groups[i]);
    }
    return any;
}

/* True if a child that has ended must not be reaped yet: others, which it has started, go by its
   number, and a group may ask for them. */
static bool is_needed(const child *c)
{
    if (!c->process.pinned || !has_group(c)) {
        return false;
    }
    const platform_leader leader = {c->process.identity, true};
    const platform_group group = {PLATFORM_NONE, &leader, 1};
    uint64_t *pids;
    size_t count;
    bool needed = platform_group_list(&group, &pids, &count) < 0 || count > 0;
    free(pids);
    return needed;
}

static void child_unlist(child *c)
{
    platform_lock_acquire(&children_lock);
    child **at = &children;
    while (*at != NULL && *at != c) {
        at = &(*at)->next;
    }
    bool listed = *at != NULL;
    if (listed) {
        (void) unlink_child(at);
    }
    platform_lock_release(&children_lock);
    if (listed) {
        early_unwatch(c);
        child_drop(c);
    }
}

/* Takes it off the list, unless it is pinned and still needed; then it stays until a sweep. */
void child_remove(uint64_t id)
{
    child *found = child_find(id);
    if (found == NULL) {
        return;
    }
    if (is_needed(found)) {
        platform_lock_acquire(&children_lock);
        found->aside = true;
        platform_lock_release(&children_lock);
        child_close_streams(found); /* nobody can use them any more */
    } else {
        child_unlist(found);
    }
    child_drop(found);
}

/* One whose handle is gone, and that has ended; held. Those that are pinned cost more to look at:
   now and then is enough, unless their group is gone. */
static child *find_forgotten(bool look_at_pinned, const child *after)
{
    platform_lock_acquire(&children_lock);
    child *c = children;
    for (bool passed = after == NULL; c != NULL; c = c->next) {
        bool candidate = passed && !object_is_there(c->id) &&
                         (!c->process.pinned || look_at_pinned || !has_group(c)) &&
                         platform_process_wait(&c->process, 0) == 0;
        if (candidate) {
            c->users++;
            break;
        }
        passed = passed || c == after;
    }
    platform_lock_release(&children_lock);
    return c;
}

static bool is_time_for_pinned(void)
{
    static _Atomic int64_t next;
    int64_t now = platform_clock_ns();
    int64_t due = atomic_load(&next);
    return now >= due && atomic_compare_exchange_strong(&next, &due, now + INT64_C(1000000000));
}

void child_sweep(void)
{
    bool first;
    int code;
    bool look_at_pinned = is_time_for_pinned();
    child *kept = NULL; /* held: where the search goes on */
    for (;;) {
        child *found = find_forgotten(look_at_pinned, kept);
        if (kept != NULL) {
            child_drop(kept);
        }
        if (found == NULL) {
            return;
        }
        (void) child_reap(found, NULL, &first, &code); /* who closed it has seen that it ended */
        if (is_needed(found)) {
            kept = found;
            continue;
        }
        kept = NULL;
        child_unlist(found);
        child_drop(found);
    }
}

static bool leads_in(const child *c, uint64_t group)
{
    bool in = false;
    for (int i = 0; i < PROCESS_GROUPS; i++) {
        in = in || c->groups[i] == group;
    }
    return in && c->process.pinned;
}

int child_leaders(uint64_t group, platform_leader **leaders, size_t *count)
{
    size_t most = 0;
    size_t found = 0;
    platform_lock_acquire(&children_lock);
    for (const child *c = children; c != NULL; c = c->next) {
        most += leads_in(c, group);
    }
    *leaders = most > 0 ? malloc(most * sizeof **leaders) : NULL;
    for (const child *c = children; c != NULL && *leaders != NULL; c = c->next) {
        if (leads_in(c, group)) {
            (*leaders)[found++] = (platform_leader){c->process.identity, c->process.child};
        }
    }
    platform_lock_release(&children_lock);
    *count = found;
    return found == most ? 0 : KIN_E_NOMEM;
}

uint64_t *child_list(size_t *count)
{
    size_t most = 0;
    platform_lock_acquire(&children_lock);
    for (child *c = children; c != NULL; c = c->next) {
        most++;
    }
    uint64_t *ids = most > 0 ? malloc(most * sizeof *ids) : NULL;
    *count = 0;
    for (child *c = children; c != NULL && ids != NULL; c = c->next) {
        if (!c->aside) {
            ids[(*count)++] = c->id;
        }
    }
    platform_lock_release(&children_lock);
    for (size_t i = 0; i < *count / 2; i++) { /* the list has the youngest first */
        uint64_t id = ids[i];
        ids[i] = ids[*count - 1 - i];
        ids[*count - 1 - i] = id;
    }
    return ids;
}

bool child_reap(child *c, process_object *p, bool *first, int *code)
{
    platform_lock_acquire(&children_lock);
    *first = !c->reaped;
    bool known = *first && platform_process_exit_code(&c->process, code) == 0;
    if (known && p != NULL) {
        process_store_code(p, *code);
    }
    c->reaped = true;
    platform_lock_release(&children_lock);
    return known;
}

int child_kill(child *c, bool ask)
{
    platform_lock_acquire(&children_lock);
    int status = c->reaped ? 0 : platform_process_kill(&c->process, ask);
    platform_lock_release(&children_lock);
    return status;
}

int process_watch(uint64_t id, watcher_entry *entry)
{
    child *c = child_find(id);
    if (c == NULL) {
        return KIN_E_HANDLE;
    }
    entry->context =
        c; /* held until process_unwatch: whoever closes the handle must not close what is
              watched */
    int status = watcher_add(entry, &c->process);
    if (status < 0) {
        entry->context = NULL;
        child_drop(c);
    }
    return status;
}

void process_unwatch(watcher_entry *entry)
{
    watcher_remove(entry);
    child *c = entry->context;
    entry->context = NULL;
    if (c != NULL) {
        child_drop(c);
    }
}

void child_forget_all(void)
{
    while (children != NULL) {
        child_unlist(children);
    }
}

void child_reset_copy(void)
{
    children_lock = (platform_lock){{0}};
    for (child *c = children; c != NULL; c = c->next) {
        platform_process_disown(&c->process);
        for (int i = 0; i < PLATFORM_STREAMS; i++) {
            platform_stream_close(c->streams[i]);
            c->streams[i] = PLATFORM_NONE;
        }
    }
    of_original = children != NULL ? children : of_original;
    children = NULL;
    for (int i = 0; i < BUCKETS; i++) {
        if (buckets[i] != NULL) { /* memory that is not written to is not copied */
            buckets[i] = NULL;
        }
    }
}
