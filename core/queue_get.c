/* Getting items from a queue. What lies in a ring is copied first, and taken by one
   compare-and-swap that says at the same time that the copy is right; all else is done with a
   latch. */
#include "core/error.h"
#include "core/ring.h"
#include "core/shelf.h"

/* Items got with one swap; gets without a put that are a stream; how far that is fetched ahead; and
   looks at the next slot, which together take about as long as a look at all. */
enum { RUN = 64, STREAM = 16, AHEAD = 16, LOOKS = 32 };

#if defined __GNUC__
#define PREFETCH(address) __builtin_prefetch((const void *) (address))
#else
#define PREFETCH(address) ((void) (address))
#endif

/* ---- a ring, without a latch ---- */

/* What a look at the head gives. */
typedef struct front {
    uint64_t head;
    uint64_t descriptor;
    ring_slot *slot;
    uint64_t word; /* the slot's */
} front;

/* 0 if there is an item; QUEUE_NOTHING, QUEUE_LATCH, or KIN_E_HANDLE if the entry is not that of
   the queue any more: what is read then means nothing. */
static inline int look_at_front(sync *c, uint64_t c_id, front *f)
{
    for (;;) {
        f->head = atomic_load_explicit(&c->extra, memory_order_acquire);
        f->descriptor = atomic_load_explicit(&c->site, memory_order_acquire);
        if (atomic_load_explicit(&c->id, memory_order_acquire) != c_id) {
            return KIN_E_HANDLE;
        }
        if ((f->head & HEAD_LOCKED) != 0 || f->descriptor == 0) {
            return QUEUE_LATCH;
        }
        uint64_t position = head_position(f->head);
        f->slot = ring_slot_at(f->descriptor, position);
        f->word = ring_peek(&f->slot[0]);
        if (ring_is_in(f->word, position)) {
            f->word = atomic_load_explicit(&f->slot[0], memory_order_acquire); /* it may be used */
            return 0;
        }
        uint64_t end = ring_peek(&ring_at(f->descriptor)->end);
        if (atomic_load(&c->extra) == f->head) {
            return ring_is_in(end, position) ? QUEUE_LATCH : QUEUE_NOTHING;
        }
    }
}

/* In a stream of items those that are known to be there are fetched before they are needed; to ask
   for others would take them from the one who writes them. How many there are is looked at when
   those that were known of have been got. Nothing depends on whether that is right. */
static inline void fetch_ahead(sync *d, uint64_t c_id, const front *f)
{
    static _Thread_local PLATFORM_FAST_TLS uint64_t known_of;
    static _Thread_local PLATFORM_FAST_TLS uint32_t known;
    uint32_t position = (uint32_t) head_position(f->head);
    if (queue_gets <= STREAM) {
        return;
    }
    if (known_of == c_id && (int32_t) (known - position) > 0) {
        if ((int32_t) (known - position) > AHEAD) {
            PREFETCH(ring_slot_at(f->descriptor, position + AHEAD));
        }
        return;
    }
    sync *p = sync_find_place(queue_put_id(d));
    if (p != NULL) {
        known = (uint32_t) ring_tail(p);
        known_of = c_id;
    }
}

/* 0; QUEUE_NOTHING, QUEUE_LATCH, KIN_E_TOO_SMALL, KIN_E_HANDLE. `at`: where in a slot the item is;
   `taken`: how many are taken, 1 or 0. */
static inline int get_quickly(sync *d, sync *c, uint64_t c_id, void *buffer, size_t capacity,
                              size_t *size, unsigned at, unsigned taken)
{
    for (;;) {
        front f;
        int status = look_at_front(c, c_id, &f);
        if (status != 0) {
            return status;
        }
        fetch_ahead(d, c_id, &f);
        uint32_t has = ring_mark_size(f.word);
        if (has == RING_REFERENCE) {
            return QUEUE_LATCH;
        }
        unsigned count = taken;
        if (has > capacity) {
            count = 0;
            status = KIN_E_TOO_SMALL;
        } else {
            ring_read(buffer, &f.slot[at], has);
        }
        /* If nothing has moved, what has been read was the item. */
        if (atomic_compare_exchange_strong(&c->extra, &f.head, head_forward(f.head, count))) {
            *size = has;
            return status;
        }
    }
}

/* ---- a ring, with the latch ---- */

static int take_inline(queue_user *u, queue_request *r, ring_slot *slot, uint64_t *head)
{
    size_t size = r->size;
    unsigned at = ring_item_word(u->state);
    if (r->wish == QUEUE_TAKE) {
        if (r->spare == NULL || r->spare->room < size) {
            r->spare_size = size;
            return QUEUE_SPARE;
        }
        r->spare->size = size;
        ring_read(r->spare->bytes, &slot[at], size);
    } else {
        ring_read(r->buffer, &slot[at], size);
    }
    if (r->wish != QUEUE_LOOK) {
        *head = head_forward(*head, 1);
        atomic_store(&u->c->extra, *head);
    }
    if (r->wish == QUEUE_TAKE) {
        r->taken = r->spare;
        atomic_store(&r->taken->deliveries, 1);
        r->spare = NULL;
    }
    return 0;
}

static int take_message(queue_user *u, queue_request *r, uint64_t id, uint64_t *head)
{
    if (r->wish == QUEUE_LOOK) {
        int status = object_enter(&r->guard, id, KIND_MESSAGE);
        r->looked_at = status == 0 ? message_of(&r->guard) : NULL;
        r->looked = *head | HEAD_LOCKED;
        return status;
    }
    message *m = arena_at(object_place(id));
    /* Should this member die before the head moves on, its recovery finds it in the ring still. */
    atomic_store(&m->holder, member_self());
    atomic_store(&m->object.owner, 0);
    atomic_store(&m->home, 0);
    *head = head_forward(*head, 1);
    atomic_store(&u->c->extra, *head);
    atomic_store(&m->queue, 0);
    atomic_store(&m->deliveries, 1);
    r->taken = m;
    return 0;
}

static int take_front(queue_user *u, queue_request *r, uint64_t *head)
{
    ring_slot *slot = ring_front(u, head);
    if (slot == NULL) {
        return QUEUE_NOTHING;
    }
    unsigned at = ring_item_word(u->state);
    uint32_t size = ring_mark_size(atomic_load(&slot[0]));
    bool apart = size == RING_REFERENCE;
    r->size = apart ? (size_t) atomic_load(&slot[at + 1]) : size;
    if (r->wish != QUEUE_TAKE && r->size > r->capacity) {
        return KIN_E_TOO_SMALL;
    }
    return apart ? take_message(u, r, atomic_load(&slot[at]), head) : take_inline(u, r, slot, head);
}

static int get_with_latch(queue_user *u, queue_request *r)
{
    uint64_t state;
    uint64_t base = sync_base(u->c_id);
    int status = latch_take(u->c, base, u->t->token)
                     ? 0
                     : latch_wait(u->c, u->c_id, u->t, queue_patience(u), 0);
    if (status < 0) {
        return status == KIN_E_HANDLE || status == KIN_E_DESTROYED ? queue_gone(u) : status;
    }
    if (!sync_is_known(u->c, u->c_id)) { /* somebody has died who was about to end it */
        (void) latch_release(u->c, u->c_id, u->t, LATCH_DIED);
        return queue_gone(u);
    }
    uint64_t head = ring_lock_head(u->c);
    if (status == KIN_OWNER_DIED) {
        ring_repair_get(u);
    }
    status = queue_is_there(u, &state) ? take_front(u, r, &head) : queue_gone(u);
    ring_unlock_head(u->c, head);
    queue_give(u->c, u->c_id, u->t);
    return status;
}

/* ---- a shelf ---- */

static int take_from_shelf(queue_user *u, queue_request *r)
{
    message *m = shelf_front(u);
    if (m == NULL) {
        return QUEUE_NOTHING;
    }
    r->size = (size_t) m->size;
    if (r->wish != QUEUE_TAKE && r->size > r->capacity) {
        return KIN_E_TOO_SMALL;
    }
    if (r->wish == QUEUE_LOOK) {
        int status = object_enter(&r->guard, message_id(m), KIND_MESSAGE);
        r->looked_at = status == 0 ? m : NULL;
        r->looked = atomic_load(&m->deliveries);
        return status;
    }
    shelf_take(u, m);
    r->taken = m;
    return 0;
}

static int get_from_shelf(queue_user *u, queue_request *r)
{
    int status = queue_lock(u);
    if (status == 0) {
        status = take_from_shelf(u, r);
        queue_unlock(u);
    }
    return status;
}

/* ---- one try, of any kind ---- */

static int get_any(queue_user *u, queue_request *r)
{
    if (u->c == NULL) {
        return get_from_shelf(u, r);
    }
    int status = QUEUE_LATCH;
    if (r->wish != QUEUE_TAKE) {
        status = get_quickly(u->d, u->c, u->c_id, r->buffer, r->capacity, &r->size,
                             ring_item_word(u->state), r->wish == QUEUE_COPY);
    } else {
        front f;
        status = look_at_front(u->c, u->c_id, &f);
        status = status == 0 ? QUEUE_LATCH : status;
    }
    if (status == KIN_E_HANDLE) {
        return queue_gone(u);
    }
    return status == QUEUE_LATCH ? get_with_latch(u, r) : status;
}

/* Is what has been looked at still the next one? It may have been taken, and changed, meanwhile. */
static bool is_still_next(queue_user *u, const queue_request *r)
{
    message *m = r->looked_at;
    if (u->c == NULL) {
        bool next = queue_lock(u) == 0;
        if (next) {
            next = shelf_front(u) == m && atomic_load(&m->deliveries) == r->looked;
            queue_unlock(u);
        }
        return next;
    }
    return (atomic_load(&u->c->extra) | HEAD_LOCKED) == r->looked;
}

static void copy_out(const queue_request *r, const message *m)
{
    if (r->size > 0) {
        memcpy(r->buffer, m->bytes, r->size);
    }
}

/* It has been copied: from now on it can be done, unless that is not to be said of it, or nobody
   can say it any more. */
static void end_copy(queue_user *u, message *m)
{
    uint64_t state;
    uint64_t id = message_id(m);
    object_guard guard;
    if ((u->state & QUEUE_JOINABLE) == 0) {
        (void) object_destroy(id); /* ours */
    } else if (object_enter(&guard, id, KIND_MESSAGE) == 0) {
        atomic_store(&m->state, MESSAGE_COPIED);
        if (!queue_is_there(u, &state)) {
            shelf_leave(m);
            (void) object_destroy(
                id); /* KIN_E_HANDLE: who destroyed the queue has seen the state */
        }
        object_leave(&guard);
    }
}

/* Copies what lies apart to the caller. False: again. */
static bool bring(queue_user *u, queue_request *r)
{
    bool right = true;
    if (r->looked_at != NULL) {
        copy_out(r, r->looked_at);
        right = is_still_next(u, r);
        object_leave(&r->guard);
        r->looked_at = NULL;
    } else if (r->taken != NULL && r->wish == QUEUE_COPY) {
        copy_out(r, r->taken);
        end_copy(u, r->taken);
        r->taken = NULL;
    }
    return right;
}

static int make_spare(queue_request *r)
{
    if (r->spare != NULL) {
        (void) object_destroy(r->spare_id);
        r->spare = NULL;
    }
    return message_create(&r->spare, &r->spare_id, r->spare_size);
}

/* Empty and closed, or not there any more? Nothing is put into a closed one, so what is found empty
   after it was seen closed stays so. */
static int why_nothing(queue_user *u, bool *closed)
{
    uint64_t state;
    if (!queue_is_there(u, &state)) {
        return queue_gone(u);
    }
    if (*closed) {
        return KIN_E_CLOSED;
    }
    *closed = (state & QUEUE_CLOSED) != 0;
    return *closed ? 0 : QUEUE_NOTHING;
}

int queue_get_once(queue_user *u, queue_request *r)
{
    bool closed = false;
    for (;;) {
        int status = get_any(u, r);
        if (status == QUEUE_SPARE) {
            status = make_spare(r);
        } else if (status == QUEUE_NOTHING) {
            status = why_nothing(u, &closed);
        } else if (status == 0 && bring(u, r)) {
            if (r->wish != QUEUE_LOOK) {
                queue_tell_putters(u->d, 1);
            }
            return 0;
        }
        if (status != 0) {
            return status;
        }
    }
}

/* ---- as long as it takes ---- */

static int attempt(queue_user *u, void *context)
{
    return queue_get_once(u, context);
}

static bool is_worth_it(queue_user *u, void *context)
{
    front f;
    (void) context;
    if (u->c != NULL) {
        return look_at_front(u->c, u->c_id, &f) != QUEUE_NOTHING ||
               (atomic_load(&u->d->state) & QUEUE_CLOSED) != 0;
    }
    uint64_t part = atomic_load(&u->p->part);
    return part == 0 || atomic_load(&((shelf *) arena_at(object_place(part)))->waiting) != 0;
}

int queue_get_item(queue_user *u, queue_request *r)
{
    queue_wait w = {.u = u,
                    .line = &u->d->line,
                    .attempt = attempt,
                    .is_worth_it = is_worth_it,
                    .context = r,
                    .nothing = QUEUE_NOTHING,
                    .slowly = queue_gets > STREAM,
                    .has_spun = r->has_spun};
    int status = queue_wait_for(&w);
    if (r->spare != NULL) {
        (void) object_destroy(r->spare_id); /* ours, and not needed */
        r->spare = NULL;
    }
    return status;
}

/* ---- the interface ---- */

static int get_slowly(uint64_t id, queue_request *r, size_t *size, int timeout_ms)
{
    queue_user u;
    error_clear();
    if (r->buffer == NULL && r->capacity > 0) {
        return KIN_E_INVALID;
    }
    int status = queue_enter(&u, id, timeout_ms);
    if (status == 0) {
        status = queue_get_item(&u, r);
    } else if (status == KIN_E_HANDLE && r->has_spun) {
        status = KIN_E_DESTROYED; /* it was there when the call began to wait */
    }
    if (size != NULL && (status == 0 || status == KIN_E_TOO_SMALL)) {
        *size = r->size;
    }
    return status;
}

/* KIN_QUEUE_GET of an open or closed ring without a bound of bytes; NULL for all others. What has
   been read is the queue's if that is there afterwards. */
static inline sync *find_get(sync *d, uint64_t id, uint64_t *c_id)
{
    *c_id = queue_get_id(d);
    uint64_t state = atomic_load_explicit(&d->state, memory_order_acquire);
    bool right = (state & ~QUEUE_CLOSED) == sync_base(id) &&
                 atomic_load_explicit(&d->id, memory_order_acquire) == id;
    return right ? sync_find_place(*c_id) : NULL;
}

static KIN_COLD int get_copy(uint64_t id, void *buffer, size_t capacity, size_t *size,
                             int timeout_ms, bool has_spun)
{
    queue_request r = {
        .wish = QUEUE_COPY, .buffer = buffer, .capacity = capacity, .has_spun = has_spun};
    return get_slowly(id, &r, size, timeout_ms);
}

/* Until the slot that is next has changed, but not for long. The end of the slot is asked for again
   and again, so that it comes together with the beginning. */
static inline void watch_front(const front *f)
{
    const unsigned char *end = (const unsigned char *) f->slot + ring_stride(f->descriptor) - 8;
    for (int i = 0; i < LOOKS; i++) {
        if (ring_peek(&f->slot[0]) != f->word) {
            return;
        }
        PREFETCH(end);
    }
}

/* What is about to come is had without a detour. Not for a stream, see queue_gets. */
static int spin_for_one(sync *d, sync *c, uint64_t c_id, void *buffer, size_t capacity,
                        size_t *size)
{
    front f;
    int status = QUEUE_NOTHING;
    wait_spin around = wait_spin_begin(SPIN_CHANGE);
    while (status == QUEUE_NOTHING && wait_spin_once(&around) &&
           (atomic_load_explicit(&d->state, memory_order_relaxed) & QUEUE_CLOSED) == 0) {
        status = look_at_front(c, c_id, &f);
        if (status == QUEUE_NOTHING) {
            watch_front(&f);
            around.done++;
        }
        if (status == QUEUE_NOTHING || status == 0) {
            status = get_quickly(d, c, c_id, buffer, capacity, size, 1, 1);
        }
    }
    wait_spin_end(&around, status != QUEUE_NOTHING);
    return status;
}

int kin_queue_get(kin_queue queue, void *buffer, size_t capacity, size_t *size, int timeout_ms)
{
    size_t has;
    uint64_t c_id = 0;
    queue_gets++;
    sync *d = thread_known() != NULL && buffer != NULL ? sync_find(queue.id, KIND_QUEUE) : NULL;
    sync *c = d != NULL ? find_get(d, queue.id, &c_id) : NULL;
    int status = QUEUE_LATCH;
    bool spin = false;
    if (c != NULL) {
        status = get_quickly(d, c, c_id, buffer, capacity, &has, 1, 1);
        spin = status == QUEUE_NOTHING && timeout_ms != 0 && queue_gets <= STREAM;
        status = spin ? spin_for_one(d, c, c_id, buffer, capacity, &has) : status;
    }
    if (status != 0) {
        return get_copy(queue.id, buffer, capacity, size, timeout_ms, spin);
    }
    error_clear();
    if (size != NULL) {
        *size = has;
    }
    queue_tell_putters(d, 1);
    return 0;
}

int kin_queue_peek(kin_queue queue, void *buffer, size_t capacity, size_t *size, int timeout_ms)
{
    queue_request r = {.wish = QUEUE_LOOK, .buffer = buffer, .capacity = capacity};
    return get_slowly(queue.id, &r, size, timeout_ms);
}

/* ---- many ---- */

/* Copies the items that lie in one ring from the head on, as far as they fit; how many. */
static uint64_t copy_run(const front *f, kin_buffer *items, size_t count, size_t *sizes)
{
    uint64_t done = 0;
    uint64_t position = head_position(f->head);
    while (done < count && done < RUN) {
        ring_slot *slot = ring_slot_at(f->descriptor, ring_forward(position, done));
        uint64_t word = atomic_load_explicit(&slot[0], memory_order_acquire);
        uint32_t size = ring_mark_size(word);
        if (!ring_is_in(word, ring_forward(position, done)) || size == RING_REFERENCE ||
            size > items[done].size || (items[done].data == NULL && size > 0)) {
            break;
        }
        ring_read(items[done].data, &slot[1], size);
        sizes[done++] = size;
    }
    return done;
}

static size_t get_run(queue_user *u, kin_buffer *items, size_t count)
{
    size_t sizes[RUN];
    front f;
    if (u->c == NULL || (u->state & QUEUE_BYTES) != 0) {
        return 0;
    }
    while (look_at_front(u->c, u->c_id, &f) == 0) {
        uint64_t done = copy_run(&f, items, count, sizes);
        if (done == 0) {
            return 0;
        }
        if (atomic_compare_exchange_strong(&u->c->extra, &f.head, head_forward(f.head, done))) {
            for (uint64_t i = 0; i < done; i++) {
                items[i].size = sizes[i];
            }
            queue_tell_putters(u->d, (uint32_t) done);
            return (size_t) done;
        }
    }
    return 0;
}

static int get_one(queue_user *u, kin_buffer *item)
{
    queue_request r = {.wish = QUEUE_COPY, .buffer = item->data, .capacity = item->size};
    if (item->data == NULL && item->size > 0) {
        return KIN_E_INVALID;
    }
    int status = queue_get_item(u, &r);
    if (status == 0 || status == KIN_E_TOO_SMALL) {
        item->size = r.size;
    }
    return status;
}

/* Waits for the first one alone. */
static int get_all(queue_user *u, kin_buffer *items, size_t count, size_t *done)
{
    while (*done < count) {
        size_t run = get_run(u, items + *done, count - *done);
        *done += run;
        if (run == 0) {
            size_t room = items[*done].size;
            u->timeout_ms = *done == 0 ? u->timeout_ms : 0;
            int status = get_one(u, &items[*done]);
            if (status != 0) {
                if (*done > 0) {
                    items[*done].size = room;
                }
                return *done > 0 ? 0 : status;
            }
            *done += 1;
        }
    }
    return 0;
}

int kin_queue_get_many(kin_queue queue, kin_buffer *items, size_t count, size_t *done,
                       int timeout_ms)
{
    queue_user u;
    size_t got = 0;
    error_clear();
    if (items == NULL || count == 0) {
        return KIN_E_INVALID;
    }
    queue_gets += STREAM;
    int status = queue_enter(&u, queue.id, timeout_ms);
    if (status == 0) {
        status = get_all(&u, items, count, &got);
    }
    if (done != NULL) {
        *done = got;
    }
    return status;
}
