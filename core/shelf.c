/* Shelves; shelf.h has the argument. */
#include "core/shelf.h"

typedef _Atomic uint64_t link;

int shelf_create(sync *p)
{
    uint64_t id = 0;
    object *o = NULL;
    int status = object_create(&o, sizeof(shelf));
    if (status == 0) {
        status = object_publish(o, KIND_PART, atomic_load(&p->id), &id);
        if (status < 0) {
            object_drop(o);
        }
    }
    atomic_store(&p->part, id);
    return status;
}

shelf *shelf_of(queue_user *u)
{
    return arena_at(object_place(atomic_load_explicit(&u->p->part, memory_order_relaxed)));
}

static message *at(uint64_t offset)
{
    return offset != 0 ? arena_at(offset) : NULL;
}

static message *next_of(message *m)
{
    return at(atomic_load(&m->links[0]));
}

static message *first_of(shelf *s)
{
    return at(atomic_load(&s->heads[0]));
}

/* ---- the list ---- */

static bool comes_before(const message *a, const message *b)
{
    return a->priority != b->priority ? a->priority < b->priority : a->order < b->order;
}

/* How many links of a message are used: each level has a quarter of those below. */
static int levels_of(const message *m)
{
    int levels = 1;
    uint64_t hash = (m->order ^ (uint64_t) m->priority * 31) * UINT64_C(0x9e3779b97f4a7c15);
    for (hash >>= 32; levels < MESSAGE_LEVELS && (hash & 3) == 0; hash >>= 2) {
        levels++;
    }
    return levels;
}

/* The links on each level that pass over the place of `m`, or lead to it. */
static void find(shelf *s, const message *m, link *before[MESSAGE_LEVELS])
{
    link *links = s->heads;
    for (int level = MESSAGE_LEVELS - 1; level >= 0; level--) {
        message *next = at(atomic_load(&links[level]));
        while (next != NULL && comes_before(next, m)) {
            links = next->links;
            next = at(atomic_load(&links[level]));
        }
        before[level] = &links[level];
    }
}

static void insert(shelf *s, message *m)
{
    link *before[MESSAGE_LEVELS];
    find(s, m, before);
    int levels = levels_of(m);
    for (int level = 0; level < MESSAGE_LEVELS; level++) {
        atomic_store(&m->links[level], level < levels ? atomic_load(before[level]) : 0);
    }
    for (int level = 0; level < levels; level++) {
        atomic_store(before[level], arena_offset(m)); /* that of level 0 comes first: it commits */
    }
}

static void take_off(shelf *s, message *m)
{
    link *before[MESSAGE_LEVELS];
    find(s, m, before);
    for (int level = MESSAGE_LEVELS - 1; level >= 0; level--) {
        if (atomic_load(before[level]) == arena_offset(m)) {
            atomic_store(before[level], atomic_load(&m->links[level]));
        }
    }
}

bool shelf_holds(queue_user *u, const message *m)
{
    link *before[MESSAGE_LEVELS];
    find(shelf_of(u), m, before);
    return atomic_load(before[0]) == arena_offset(m);
}

/* ---- what is waiting and what is taken ---- */

static void count_waiting(shelf *s, const message *m, bool more)
{
    uint64_t waiting = atomic_load(&s->waiting);
    atomic_store(&s->waiting, more ? waiting + 1 : waiting - 1);
    s->bytes = more ? s->bytes + m->size : s->bytes - m->size;
}

static void note_first(shelf *s, message *m)
{
    message *first = at(s->first);
    if (first != NULL && comes_before(m, first)) {
        s->first = arena_offset(m);
    }
}

void shelf_put(queue_user *u, message *m, int64_t priority, bool back)
{
    shelf *s = shelf_of(u);
    uint64_t number = ++s->sequence;
    m->priority = back ? m->home_priority : priority;
    m->order = back ? m->home_order : (u->state & QUEUE_LIFO) != 0 ? ~number : number;
    atomic_store(&m->state, MESSAGE_WAITS);
    atomic_store(&m->door, u->p_id);
    atomic_store(&m->queue, u->id);
    atomic_store(&m->object.owner, u->id);
    insert(s, m);
    if (!back) {
        atomic_store(&m->deliveries, 0);
    }
    atomic_store(&m->home, 0);
    count_waiting(s, m, true);
    note_first(s, m);
    message_leave(m);
}

message *shelf_front(queue_user *u)
{
    shelf *s = shelf_of(u);
    message *m = s->first != 0 ? at(s->first) : first_of(s);
    while (m != NULL && atomic_load(&m->state) != MESSAGE_WAITS) {
        m = next_of(m);
    }
    s->first = m != NULL ? arena_offset(m) : 0;
    return m;
}

void shelf_take(queue_user *u, message *m)
{
    shelf *s = shelf_of(u);
    message *next = next_of(m);
    atomic_store(&m->taken, ++s->sequence);
    /* Until the last of these stores its recovery finds that it waits there still. */
    atomic_store(&m->holder, member_self());
    atomic_store(&m->object.owner, 0);
    atomic_store(&m->home, 0);
    s->first = next != NULL ? arena_offset(next) : 0;
    if ((u->state & QUEUE_JOINABLE) != 0) {
        atomic_store(&m->state, MESSAGE_TAKEN);
        s->taken++;
    } else {
        take_off(s, m);
        atomic_store(&m->queue, 0);
    }
    atomic_fetch_add(&m->deliveries, 1);
    count_waiting(s, m, false);
}

void shelf_give_back(queue_user *u, message *m)
{
    shelf *s = shelf_of(u);
    atomic_store(&m->state, MESSAGE_WAITS);
    s->taken--;
    count_waiting(s, m, true);
    note_first(s, m);
    atomic_store(&m->object.owner, u->id);
    message_leave(m);
}

void shelf_remove(queue_user *u, message *m, enum message_state state)
{
    shelf *s = shelf_of(u);
    atomic_store(&m->state, state);
    if (s->first == arena_offset(m)) {
        s->first = atomic_load(&m->links[0]);
    }
    take_off(s, m);
    s->taken--;
    if (s->taken + atomic_load(&s->waiting) == 0) {
        queue_tell_joiners(u->d);
    }
}

message *shelf_oldest_copied(queue_user *u)
{
    shelf *s = shelf_of(u);
    message *oldest = NULL;
    uint64_t left = s->taken;
    for (message *m = first_of(s); m != NULL && left > 0; m = next_of(m)) {
        left -= atomic_load(&m->state) != MESSAGE_WAITS;
        if (atomic_load(&m->state) == MESSAGE_COPIED && message_is_held(m, member_self()) &&
            (oldest == NULL || atomic_load(&m->taken) < atomic_load(&oldest->taken))) {
            oldest = m;
        }
    }
    return oldest;
}

size_t shelf_holders(queue_user *u, uint64_t *holders, size_t most, size_t skip)
{
    size_t count = 0;
    shelf *s = shelf_of(u);
    uint64_t left = s->taken;
    for (message *m = first_of(s); m != NULL && left > 0 && count < most; m = next_of(m)) {
        if (atomic_load(&m->state) == MESSAGE_WAITS) {
            continue;
        }
        left--;
        uint64_t holder = atomic_load(&m->holder);
        bool known = skip > 0 || holder == 0 || holder == member_self();
        skip -= skip > 0;
        for (size_t i = 0; i < count && !known; i++) {
            known = holders[i] == holder;
        }
        if (!known) {
            holders[count++] = holder;
        }
    }
    return count;
}

/* ---- after a death, and at the end ---- */

void shelf_repair(queue_user *u)
{
    shelf *s = shelf_of(u);
    link *last[MESSAGE_LEVELS];
    uint64_t waiting = 0;
    s->taken = 0;
    s->bytes = 0;
    s->first = 0;
    for (int level = 1; level < MESSAGE_LEVELS; level++) {
        atomic_store(&s->heads[level], 0);
        last[level] = &s->heads[level];
    }
    for (message *m = first_of(s); m != NULL; m = next_of(m)) {
        bool waits = atomic_load(&m->state) == MESSAGE_WAITS;
        waiting += waits;
        s->taken += !waits;
        s->bytes += waits ? m->size : 0;
        for (int level = levels_of(m) - 1; level > 0; level--) {
            atomic_store(&m->links[level], 0);
            atomic_store(last[level], arena_offset(m));
            last[level] = &m->links[level];
        }
    }
    atomic_store(&s->waiting, waiting);
}

void shelf_clear(queue_user *u)
{
    shelf *s = shelf_of(u);
    for (int level = 1; level < MESSAGE_LEVELS; level++) {
        atomic_store(&s->heads[level], 0);
    }
    for (message *m = first_of(s); m != NULL; m = first_of(s)) {
        uint64_t id = message_id(m);
        uint32_t state = atomic_load(&m->state);
        bool over = state == MESSAGE_WAITS || state == MESSAGE_COPIED;
        if (over) {
            /* Should this be cut short, it is found as a part of what is not there any more. */
            atomic_store(&m->object.owner, u->id);
        }
        atomic_store(&s->heads[0], atomic_load(&m->links[0]));
        if (over) {
            (void) object_destroy(id); /* nobody has a handle to it */
        }
    }
}

/* Whoever destroys the queue has the latch while messages stand on the shelf, and should it have
   died, whoever gets the latch goes on with that; unless the entry itself is about to go, and with
   it the shelf, which is empty then. */
void shelf_leave(message *m)
{
    uint64_t state;
    uint64_t id = atomic_load(&m->queue);
    queue_user u = {.id = id, .p_id = atomic_load(&m->door), .t = thread_known()};
    u.p = u.p_id != 0 ? sync_find(u.p_id, KIND_QUEUE_PUT) : NULL;
    u.d = sync_find_place(id);
    if (id == 0 || u.p == NULL || u.d == NULL || u.t == NULL) {
        return;
    }
    int status = latch_wait(u.p, u.p_id, u.t, INT64_MAX, 0);
    if (status < 0) {
        return;
    }
    bool is_there = queue_is_there(&u, &state);
    if (!is_there && sync_is_known(u.p, u.p_id)) {
        shelf_clear(&u);
    }
    (void) latch_release(u.p, u.p_id, u.t, status == KIN_OWNER_DIED && is_there ? LATCH_DIED : 0);
}
