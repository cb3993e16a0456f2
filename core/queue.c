/* Queues as a whole: made, closed, looked at, destroyed; queue.h says what they are made of. */
#include "core/queue.h"
#include "core/error.h"
#include "core/ring.h"
#include "core/shelf.h"
#include "core/wait_many.h"

enum { ITEM_DEFAULT = 120, ITEM_LEAST = 16, SLOTS_AT_FIRST = 16 };

#define TRY_NS INT64_C(100000000) /* a call that does not wait waits so long for a latch */

/* ---- the latches ---- */

int queue_enter(queue_user *u, uint64_t id, int timeout_ms)
{
    int status = 0;
    *u = (queue_user){.d = sync_find(id, KIND_QUEUE), .id = id, .timeout_ms = timeout_ms};
    if (u->d == NULL) {
        return sync_missing() == KIN_E_INIT ? KIN_E_INIT : KIN_E_HANDLE;
    }
    u->t = thread_current(&status);
    if (u->t == NULL) {
        return status < 0 ? status : KIN_E_INIT;
    }
    u->p_id = queue_put_id(u->d);
    u->c_id = queue_get_id(u->d);
    /* Not looked at yet: who gets would take the line from who puts, and the other way round. A
       latch that is not the queue's any more cannot be had. */
    u->p = sync_find_place(u->p_id);
    u->c = sync_find_place(u->c_id);
    bool whole = queue_is_there(u, &u->state) && u->p != NULL &&
                 (u->c != NULL || (u->state & QUEUE_SHELF) != 0);
    return whole ? 0 : KIN_E_HANDLE;
}

int64_t queue_patience(const queue_user *u)
{
    if (u->timeout_ms < 0) {
        return INT64_MAX;
    }
    int64_t wanted = (int64_t) u->timeout_ms * 1000000;
    return platform_clock_ns() + (wanted > TRY_NS ? wanted : TRY_NS);
}

static void repair(queue_user *u)
{
    if ((u->state & QUEUE_SHELF) != 0) {
        shelf_repair(u);
    } else {
        ring_repair_put(u);
    }
}

int queue_lock(queue_user *u)
{
    uint64_t state;
    int status = latch_take(u->p, sync_base(u->p_id), u->t->token)
                     ? 0
                     : latch_wait(u->p, u->p_id, u->t, queue_patience(u), 0);
    if (status < 0) {
        return status == KIN_E_HANDLE || status == KIN_E_DESTROYED ? queue_gone(u) : status;
    }
    if (!queue_is_there(u, &state)) {
        (void) latch_release(u->p, u->p_id, u->t, status == KIN_OWNER_DIED ? LATCH_DIED : 0);
        return queue_gone(u);
    }
    u->state = state;
    if (status == KIN_OWNER_DIED) {
        repair(u);
    }
    return 0;
}

void queue_unlock(queue_user *u)
{
    queue_give(u->p, u->p_id, u->t);
}

/* Whoever owned the latch of those who get and has died is made up for. */
static int wait_for_get(queue_user *u)
{
    int status = latch_wait(u->c, u->c_id, u->t, INT64_MAX, 0);
    if (status >= 0 && !sync_is_known(u->c, u->c_id)) {
        (void) latch_release(u->c, u->c_id, u->t, LATCH_DIED);
        return KIN_E_HANDLE;
    }
    if (status == KIN_OWNER_DIED) {
        uint64_t head = ring_lock_head(u->c);
        ring_repair_get(u);
        ring_unlock_head(u->c, head);
    }
    if (status >= 0) {
        queue_give(u->c, u->c_id, u->t);
    }
    return status < 0 ? status : 0;
}

/* The latch of those who get, with the other one. False if it is not free: then none of them is
   held. */
static bool take_get(queue_user *u)
{
    if (latch_take(u->c, sync_base(u->c_id), u->t->token)) {
        (void) ring_lock_head(u->c);
        return true;
    }
    queue_unlock(u);
    return false;
}

int queue_lock_all(queue_user *u)
{
    for (;;) {
        int status = queue_lock(u);
        if (status < 0 || u->c == NULL || take_get(u)) {
            return status;
        }
        status = wait_for_get(u);
        if (status < 0) {
            return status == KIN_E_HANDLE || status == KIN_E_DESTROYED ? queue_gone(u) : status;
        }
    }
}

void queue_unlock_all(queue_user *u)
{
    if (u->c != NULL) {
        /* Whom this thread is to wake may be dead: no recovery must begin before both latches have
           been given back. */
        uint32_t owes = u->t->owes;
        u->t->owes = 0;
        ring_unlock_head(u->c, atomic_load(&u->c->extra));
        queue_give(u->c, u->c_id, u->t);
        u->t->owes = owes;
    }
    queue_unlock(u);
}

/* ---- the end ---- */

/* The same of a queue that is not there any more, and for good. */
static bool lock_the_last_time(queue_user *u)
{
    for (;;) {
        int status = latch_wait(u->p, u->p_id, u->t, INT64_MAX, 0);
        if (status < 0) {
            return false;
        }
        /* Where the rings have been freed already there is nothing to repair. */
        if (status == KIN_OWNER_DIED && (u->c == NULL || ring_of(u->c) != 0)) {
            repair(u);
        }
        if (u->c == NULL || take_get(u)) {
            return true;
        }
        if (wait_for_get(u) < 0) {
            return false;
        }
    }
}

static void destroy_content(queue_user *u)
{
    if (!lock_the_last_time(u)) {
        return; /* another recovery has done it */
    }
    if (u->c == NULL) {
        shelf_clear(u);
    } else {
        ring_destroy(u);
    }
}

/* Its handle is stale. Those who are still at work own a latch; when none does, nobody touches what
   it has any more. If its maker has died, it may lack something. */
static void ended(sync *d, uint64_t id)
{
    queue_user u = {.d = d, .id = id, .p_id = queue_put_id(d), .c_id = queue_get_id(d)};
    (void) line_wake(&d->drain, LINE_ALL);
    u.t = thread_known();
    u.p = sync_find(u.p_id, KIND_QUEUE_PUT);
    u.c = sync_find(u.c_id, KIND_QUEUE_GET);
    if (u.t == NULL) {
        return;
    }
    u.state = u.p != NULL ? atomic_load(&u.p->related) : 0;
    if (u.p != NULL && (u.c != NULL || (u.state & QUEUE_SHELF) != 0)) {
        destroy_content(&u);
    }
    (void) sync_destroy(u.c_id, KIND_QUEUE_GET); /* KIN_E_HANDLE: it is not there */
    (void) sync_destroy(u.p_id, KIND_QUEUE_PUT);
}

int kin_queue_destroy(kin_queue queue)
{
    error_clear();
    return sync_destroy(queue.id, KIND_QUEUE);
}

/* ---- the beginning ---- */

static const kin_queue_options defaults;

static bool is_good(const kin_queue_options *how)
{
    bool fits = how->item_size <= KIN_QUEUE_ITEM_LIMIT && how->order <= KIN_QUEUE_PRIORITY;
    bool comes_back = how->max_deliveries == 0 || how->redeliver;
    return fits && comes_back && (how->dead_letters.id == 0 || how->max_deliveries > 0);
}

static uint64_t flags_of(const kin_queue_options *how)
{
    uint64_t flags = how->capacity_bytes > 0 ? QUEUE_BYTES : 0;
    flags |= how->joinable || how->redeliver ? QUEUE_JOINABLE : 0;
    flags |= how->redeliver ? QUEUE_REDELIVER : 0;
    flags |= how->order == KIN_QUEUE_PRIORITY ? QUEUE_PRIORITY : 0;
    flags |= how->order == KIN_QUEUE_LIFO ? QUEUE_LIFO : 0;
    return (flags & (QUEUE_JOINABLE | QUEUE_PRIORITY | QUEUE_LIFO)) != 0 ? flags | QUEUE_SHELF
                                                                         : flags;
}

static void set_bounds(sync *d, const kin_queue_options *how)
{
    uint64_t most = how->capacity;
    atomic_store(&d->options, most == 0 || most > QUEUE_MOST_ITEMS ? (uint32_t) QUEUE_MOST_ITEMS
                                                                   : (uint32_t) most);
    atomic_store(&d->extra, how->capacity_bytes);
    atomic_store(&d->depth, how->max_deliveries);
    atomic_store(&d->related, how->dead_letters.id);
}

/* Room for its items. */
static int furnish(sync *d, sync *p, sync *c, const kin_queue_options *how)
{
    uint64_t flags = flags_of(how);
    if ((flags & QUEUE_SHELF) != 0) {
        return shelf_create(p);
    }
    uint32_t item = how->item_size == 0 ? ITEM_DEFAULT : how->item_size;
    uint32_t words = (item < ITEM_LEAST ? ITEM_LEAST : item + 7) / 8 + ring_item_word(flags);
    uint32_t slots = queue_capacity(d) < SLOTS_AT_FIRST ? queue_capacity(d) : SLOTS_AT_FIRST;
    return ring_begin(d, p, c, words * 8, ring_log_for(slots, words * 8));
}

/* Whoever has the handle has all of it; what its maker has not finished is freed. */
static void publish(sync *d, sync *p, sync *c, uint64_t flags)
{
    atomic_store(&p->related, flags);
    atomic_store(&d->since, (int64_t) atomic_load(&p->id));
    if (c != NULL) {
        atomic_store(&d->site, atomic_load(&c->id));
    }
    atomic_store(&d->state, sync_base(atomic_load(&d->id)) | flags);
    sync_publish(d);
    sync_publish(p);
    if (c != NULL) {
        sync_publish(c);
    }
}

static void drop(sync *s)
{
    if (s != NULL) {
        sync_drop(s);
    }
}

/* Whoever is to destroy it knows it, from one of the two, before it is there. */
static int create(uint64_t *made, _Atomic uint64_t *noted, uint64_t connection,
                  const kin_queue_options *how)
{
    sync *d = NULL;
    sync *p = NULL;
    sync *c = NULL;
    uint64_t flags = flags_of(how);
    int status = sync_create(&d, KIND_QUEUE, how->name);
    if (status == 0) {
        set_bounds(d, how);
        if (connection != 0) {
            atomic_store(&d->related, connection);
        }
        status = sync_create(&p, KIND_QUEUE_PUT, NULL);
    }
    if (status == 0 && (flags & QUEUE_SHELF) == 0) {
        status = sync_create(&c, KIND_QUEUE_GET, NULL);
    }
    if (status == 0) {
        status = furnish(d, p, c, how);
    }
    if (status < 0) {
        drop(c);
        drop(p);
        drop(d);
        return status;
    }
    if (noted != NULL) {
        atomic_store(noted, atomic_load(&d->id));
    } else if (made != NULL) {
        *made = atomic_load(&d->id);
    }
    publish(d, p, c, flags);
    return 0;
}

int queue_create_for(_Atomic uint64_t *noted, uint64_t connection, const kin_queue_options *how)
{
    return create(NULL, noted, connection, how);
}

int kin_queue_create(kin_queue *queue, const kin_queue_options *options)
{
    const kin_queue_options *how = options != NULL ? options : &defaults;
    error_clear();
    if (queue == NULL || !is_good(how)) {
        return KIN_E_INVALID;
    }
    if (how->dead_letters.id != 0 && sync_find(how->dead_letters.id, KIND_QUEUE) == NULL) {
        return sync_missing();
    }
    return create(&queue->id, NULL, 0, how);
}

/* ---- open and closed ---- */

static int set_closed(uint64_t id, bool closed)
{
    queue_user u;
    int status = queue_enter(&u, id, KIN_FOREVER);
    if (status == 0) {
        status = queue_lock(&u);
    }
    if (status < 0) {
        return status;
    }
    uint64_t state = closed ? u.state | QUEUE_CLOSED : u.state & ~QUEUE_CLOSED;
    /* Fails if it is being destroyed. */
    bool done = atomic_compare_exchange_strong(&u.d->state, &u.state, state);
    queue_unlock(&u);
    if (done && closed) {
        queue_tell_getters(u.d, LINE_ALL);
        queue_tell_putters(u.d, LINE_ALL);
    }
    return done ? 0 : KIN_E_HANDLE;
}

int queue_close(uint64_t id)
{
    return set_closed(id, true);
}

int kin_queue_close(kin_queue queue)
{
    error_clear();
    return set_closed(queue.id, true);
}

int kin_queue_reopen(kin_queue queue)
{
    error_clear();
    return set_closed(queue.id, false);
}

int kin_queue_is_closed(kin_queue queue)
{
    queue_user u;
    error_clear();
    int status = queue_enter(&u, queue.id, KIN_FOREVER);
    return status == 0 ? (u.state & QUEUE_CLOSED) != 0 : status;
}

/* ---- how much there is ---- */

/* Items and their bytes. Bytes are known where they are bounded. */
static int count(uint64_t id, queue_user *u, uint64_t *items, bool *is_full)
{
    error_clear();
    int status = queue_enter(u, id, KIN_FOREVER);
    if (status == 0) {
        status = queue_lock(u);
    }
    if (status < 0) {
        return status;
    }
    queue_item least = {.size = 1};
    if ((u->state & QUEUE_SHELF) != 0) {
        shelf *s = shelf_of(u);
        *items = atomic_load(&s->waiting);
        *is_full = *items >= queue_capacity(u->d) ||
                   ((u->state & QUEUE_BYTES) != 0 && s->bytes >= queue_most_bytes(u->d));
    } else {
        *items = ring_count(u);
        *is_full = *items >= queue_capacity(u->d) || ring_check_bytes(u, &least) == QUEUE_FULL;
    }
    queue_unlock(u);
    return 0;
}

int64_t kin_queue_size(kin_queue queue)
{
    queue_user u;
    uint64_t items = 0;
    bool is_full = false;
    int status = count(queue.id, &u, &items, &is_full);
    return status < 0 ? status : (int64_t) items;
}

int kin_queue_is_empty(kin_queue queue)
{
    int64_t items = kin_queue_size(queue);
    return items < 0 ? (int) items : items == 0;
}

int kin_queue_is_full(kin_queue queue)
{
    queue_user u;
    uint64_t items = 0;
    bool is_full = false;
    int status = count(queue.id, &u, &items, &is_full);
    return status < 0 ? status : is_full;
}

/* ---- among other things, and set-up ---- */

static int look_among(uint64_t id, void *watch, bool well)
{
    (void) watch;
    queue_user u;
    int status = queue_enter(&u, id, KIN_FOREVER);
    if (status < 0) {
        return status;
    }
    if (well && (u.state & QUEUE_REDELIVER) != 0) {
        queue_look_at_holders(&u);
    }
    bool closed = (u.state & QUEUE_CLOSED) != 0;
    int64_t items = kin_queue_size((kin_queue){id});
    return items < 0 ? (int) items : items > 0 || closed;
}

static wait_line *line_of(uint64_t id)
{
    sync *s = sync_find(id, KIND_QUEUE);
    return s != NULL ? &s->line : NULL;
}

/* Some may have been woken for what is still there. */
static void died(sync *s, uint64_t id, thread_record *record)
{
    (void) id, (void) record;
    queue_tell_getters(s, 1);
    queue_tell_putters(s, 1);
    queue_tell_joiners(s);
}

void queue_set_up(void)
{
    static const wait_kind how = {.look = look_among, .gone = KIN_E_DESTROYED, .line = line_of};
    wait_register(KIND_QUEUE, &how);
    sync_register_end(KIND_QUEUE, ended);
    sync_register_death(KIND_QUEUE, died);
    sync_register(KIND_QUEUE_PUT, latch_look);
    sync_register(KIND_QUEUE_GET, latch_look);
    queue_recover_set_up();
}
