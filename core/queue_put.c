/* Putting items into a queue. What an open ring without a bound of bytes has room for takes two
   atomic operations; all else goes the long way. */
#include "core/error.h"
#include "core/ring.h"
#include "core/shelf.h"

/* Items that are put with the latch in one go. */
enum { RUN = 64 };

/* Slots that getters have read lately are asked for so many items before they are needed: an atomic
   operation waits for all that has been written before it. */
enum { AHEAD = 8 };
#if defined __GNUC__
#define PREFETCH_TO_WRITE(address) __builtin_prefetch((const void *) (address), 1)
#else
#define PREFETCH_TO_WRITE(address) ((void) (address))
#endif

/* ---- one try ---- */

static int put_on_shelf(queue_user *u, queue_item *item)
{
    shelf *s = shelf_of(u);
    if (!item->over) {
        uint64_t most = queue_most_bytes(u->d);
        bool bounded = (u->state & QUEUE_BYTES) != 0;
        if (bounded && item->size > most) {
            return KIN_E_LIMIT;
        }
        if (atomic_load(&s->waiting) >= queue_capacity(u->d) ||
            (bounded && s->bytes > most - item->size)) {
            return QUEUE_FULL;
        }
    }
    shelf_put(u, item->message, item->priority, item->is_back);
    return 0;
}

int queue_put_locked(queue_user *u, queue_item *item)
{
    if ((u->state & QUEUE_CLOSED) != 0 && !item->force) {
        return KIN_E_CLOSED;
    }
    return (u->state & QUEUE_SHELF) != 0 ? put_on_shelf(u, item) : ring_put(u, item);
}

/* As large as it is asked for, or as there is memory for. */
static int make_ring(queue_item *item)
{
    uint32_t log = item->grow;
    int status = ring_create(&item->spare, log, item->stride);
    while (status == KIN_E_NOMEM && log > RING_LEAST_LOG) {
        status = ring_create(&item->spare, --log, item->stride);
    }
    item->spare_log = log;
    return status;
}

int queue_put_once(queue_user *u, queue_item *item)
{
    for (;;) {
        int status = queue_lock(u);
        if (status == 0) {
            status = queue_put_locked(u, item);
            queue_unlock(u);
        }
        if (status == 0) {
            queue_tell_getters(u->d, 1);
        }
        if (status != QUEUE_GROW) {
            return status;
        }
        status = make_ring(item);
        if (status < 0) {
            return status;
        }
    }
}

/* ---- as long as it takes ---- */

static int attempt(queue_user *u, void *context)
{
    return queue_put_once(u, context);
}

/* Who waits in vain takes the line of those who get from them: it is better to come when there is
   room for some. */
static bool is_worth_it(queue_user *u, void *context)
{
    (void) context;
    uint32_t capacity = queue_capacity(u->d);
    if ((u->state & (QUEUE_BYTES | QUEUE_SHELF)) != 0) {
        return true;
    }
    uint64_t head = head_position(atomic_load(&u->c->extra));
    uint64_t count = ring_distance(head, ring_tail(u->p));
    return count <= capacity - (capacity + 3) / 4;
}

int queue_put_item(queue_user *u, queue_item *item)
{
    queue_wait w = {.u = u,
                    .line = &u->d->head,
                    .attempt = attempt,
                    .is_worth_it = is_worth_it,
                    .context = item,
                    .nothing = QUEUE_FULL,
                    .slowly = queue_capacity(u->d) >= RUN};
    int status = queue_wait_for(&w);
    if (item->spare != NULL) {
        object_drop(item->spare);
        item->spare = NULL;
    }
    return status;
}

/* Does it need a message? */
static bool is_apart(const queue_user *u, size_t size)
{
    return (u->state & QUEUE_SHELF) != 0 || size > ring_room(ring_of(u->p), u->state);
}

static int put_copy(queue_user *u, queue_item *item)
{
    if (!is_apart(u, item->size)) {
        return queue_put_item(u, item);
    }
    int status = message_create(&item->message, &item->message_id, item->size);
    if (status < 0) {
        return status;
    }
    item->holder = member_self();
    if (item->size > 0) {
        memcpy(item->message->bytes, item->data, item->size);
    }
    status = queue_put_item(u, item);
    if (status != 0) {
        (void) object_destroy(item->message_id); /* ours, nobody else knows it */
    }
    return status;
}

static int put_slowly(uint64_t id, queue_item *item, int timeout_ms)
{
    queue_user u;
    error_clear();
    if (item->data == NULL && item->size > 0) {
        return KIN_E_INVALID;
    }
    int status = queue_enter(&u, id, timeout_ms);
    if (status < 0) {
        return status;
    }
    if (item->priority != 0 && (u.state & QUEUE_PRIORITY) == 0) {
        return KIN_E_INVALID;
    }
    if ((u.state & QUEUE_BYTES) != 0 && item->size > queue_most_bytes(u.d)) {
        return KIN_E_LIMIT;
    }
    return put_copy(&u, item);
}

static KIN_COLD int put_bytes(uint64_t id, const void *data, size_t size, int64_t priority,
                              int timeout_ms)
{
    queue_item item = {.data = data, .size = size, .priority = priority};
    return put_slowly(id, &item, timeout_ms);
}

/* ---- the usual way ---- */

/* With the latch. False if there is something else to be done. */
static inline bool write_quickly(sync *p, sync *c, const void *data, size_t size, uint64_t ahead)
{
    uint64_t tail = ring_tail(p);
    uint64_t descriptor = atomic_load_explicit(&p->site, memory_order_relaxed);
    if (size > ring_stride(descriptor) - 8) {
        return false;
    }
    if (!ring_has_room(p, tail)) {
        uint64_t head = head_position(atomic_load_explicit(&c->extra, memory_order_acquire));
        atomic_store_explicit(&p->depth, (uint32_t) head, memory_order_relaxed);
        if (!ring_has_room(p, tail)) {
            return false;
        }
    }
    ring_slot *slot = ring_slot_at(descriptor, tail);
    if (ahead != 0) {
        PREFETCH_TO_WRITE(ring_slot_at(descriptor, tail + ahead));
    }
    ring_write(&slot[1], data, size);
    /* This commits it. Pairs with the loads of those who get, and of ring_repair_put. */
    atomic_store_explicit(&slot[0], ring_mark(tail) | size, memory_order_release);
    atomic_store_explicit(&p->extra, ring_forward(tail, 1), memory_order_relaxed);
    return true;
}

/* In a thread that is known. */
static inline bool put_quickly(sync *d, uint64_t id, const void *data, size_t size)
{
    uint64_t token = thread_own.token;
    uint64_t base = sync_base(id);
    uint64_t p_id = queue_put_id(d);
    sync *p = sync_find(p_id, KIND_QUEUE_PUT);
    sync *c = sync_find_place(queue_get_id(d));
    if (p == NULL || c == NULL || atomic_load_explicit(&d->state, memory_order_relaxed) != base ||
        !latch_take(p, sync_base(p_id), token)) {
        return false;
    }
    /* As long as the latch is held the queue stays what it is. */
    bool done = atomic_load_explicit(&d->state, memory_order_acquire) == base &&
                atomic_load_explicit(&d->id, memory_order_relaxed) == id &&
                write_quickly(p, c, data, size, AHEAD);
    queue_give(p, p_id, &thread_own);
    return done;
}

int kin_queue_put(kin_queue queue, const void *data, size_t size, int timeout_ms)
{
    bool quick = thread_known() != NULL && (data != NULL || size == 0);
    sync *d = quick ? sync_find(queue.id, KIND_QUEUE) : NULL;
    queue_gets = 0;
    if (d != NULL && put_quickly(d, queue.id, data, size)) {
        error_clear();
        queue_tell_getters(d, 1);
        return 0;
    }
    return put_bytes(queue.id, data, size, 0, timeout_ms);
}

int kin_queue_put_priority(kin_queue queue, const void *data, size_t size, int64_t priority,
                           int timeout_ms)
{
    return put_bytes(queue.id, data, size, priority, timeout_ms);
}

/* ---- many ---- */

/* Puts what lies in the ring and has room there, with the latch once; how many. */
static size_t put_run(queue_user *u, const kin_buffer *items, size_t count)
{
    size_t done = 0;
    if ((u->state & (QUEUE_SHELF | QUEUE_BYTES)) != 0 || queue_lock(u) != 0) {
        return 0;
    }
    if ((u->state & QUEUE_CLOSED) == 0) {
        while (done < count && done < RUN && (items[done].data != NULL || items[done].size == 0) &&
               write_quickly(u->p, u->c, items[done].data, items[done].size, 0)) {
            done++;
        }
    }
    queue_unlock(u);
    if (done > 0) {
        queue_tell_getters(u->d, (uint32_t) done);
    }
    return done;
}

/* What is left of the time. */
static int rest_of(int64_t deadline, int timeout_ms)
{
    if (timeout_ms <= 0) {
        return timeout_ms;
    }
    int64_t left = deadline - platform_clock_ns();
    return left > 0 ? (int) ((left + 999999) / 1000000) : 0;
}

static int put_all(queue_user *u, const kin_buffer *items, size_t count, size_t *done,
                   int timeout_ms)
{
    int64_t deadline = wait_deadline(timeout_ms);
    while (*done < count) {
        size_t run = put_run(u, items + *done, count - *done);
        *done += run;
        if (run == 0) {
            queue_item item = {.data = items[*done].data, .size = items[*done].size};
            int status = put_slowly(u->id, &item, rest_of(deadline, timeout_ms));
            if (status != 0) {
                /* It was there when this call began. */
                return status == KIN_E_HANDLE ? KIN_E_DESTROYED : status;
            }
            *done += 1;
        }
    }
    return 0;
}

int kin_queue_put_many(kin_queue queue, const kin_buffer *items, size_t count, size_t *done,
                       int timeout_ms)
{
    queue_user u;
    size_t put = 0;
    error_clear();
    if (items == NULL && count > 0) {
        return KIN_E_INVALID;
    }
    queue_gets = 0;
    int status = queue_enter(&u, queue.id, timeout_ms);
    if (status == 0) {
        status = put_all(&u, items, count, &put, timeout_ms);
    }
    if (done != NULL) {
        *done = put;
    }
    return status;
}
