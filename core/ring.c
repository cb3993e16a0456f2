/* Rings; ring.h has the argument. */
#include "core/ring.h"

/* So often is looked again at what others change meanwhile. */
enum { TRIES = 64 };

#if defined RING_WATCHED
uint64_t ring_peek(ring_slot *word)
{
    return atomic_load_explicit(word, memory_order_acquire);
}
#endif

static uint64_t place_of(uint64_t descriptor)
{
    return (descriptor & 0x7fffffff) * 64;
}

static uint32_t log_of(uint64_t descriptor)
{
    return (uint32_t) (descriptor >> 31) & 31;
}

uint32_t ring_log_for(uint64_t items, uint32_t stride)
{
    uint32_t log = 0;
    while ((UINT64_C(1) << log) < items && (UINT64_C(2) << log) * stride <= RING_MOST_BYTES) {
        log++;
    }
    return log;
}

int ring_create(object **created, uint32_t slots_log, uint32_t stride)
{
    return object_create(created, RING_HEADER + ((uint64_t) stride << slots_log));
}

/* How far behind the next item the head may be for the ring to have room in any case. */
static uint32_t limit_of(sync *d, uint64_t descriptor)
{
    uint32_t slots = ring_slots(descriptor);
    return slots < queue_capacity(d) ? slots : queue_capacity(d);
}

static void set_ring_of_put(sync *d, sync *p, uint64_t descriptor)
{
    atomic_store(&p->options, limit_of(d, descriptor));
    atomic_store(&p->site, descriptor);
}

int ring_begin(sync *d, sync *p, sync *c, uint32_t stride, uint32_t slots_log)
{
    uint64_t id;
    object *o = NULL;
    int status = ring_create(&o, slots_log, stride);
    if (status < 0) {
        return status;
    }
    status = object_publish(o, KIND_PART, atomic_load(&d->id), &id);
    if (status < 0) {
        object_drop(o);
        return status;
    }
    atomic_store(&d->part, id); /* freed with it, should it never get as far as that */
    uint64_t descriptor = ring_describe((ring *) o, slots_log, stride);
    set_ring_of_put(d, p, descriptor);
    atomic_store(&c->site, descriptor);
    /* No two that use the entry one after the other have the same tag. */
    atomic_store(&c->extra, head_make(object_generation(atomic_load(&c->id)) & 0xffff, 0));
    return 0;
}

/* ---- putting ---- */

/* Its successor begins at the tail. What is noted first is undone or finished by ring_repair_put.
   */
static int link_ring(queue_user *u, object *o, uint32_t slots_log, uint64_t before)
{
    uint64_t old = ring_of(u->p);
    ring *r = (ring *) o;
    uint64_t descriptor = ring_describe(r, slots_log, ring_stride(old));
    uint64_t id = object_make_id(arena_offset(o), KIND_PART);
    r->start = ring_tail(u->p);
    r->before = before;
    atomic_store(&u->p->part, id);
    int status = object_publish_as(o, id, u->id);
    if (status == 0) {
        atomic_store(&ring_at(old)->next, descriptor);
        atomic_store(&ring_at(old)->end, ring_mark(r->start));
        set_ring_of_put(u->d, u->p, descriptor);
    }
    atomic_store(&u->p->part, 0);
    return status;
}

static uint64_t bytes_in_slot(ring_slot *slot)
{
    uint32_t size = ring_mark_size(atomic_load_explicit(&slot[0], memory_order_acquire));
    return size == RING_REFERENCE ? atomic_load_explicit(&slot[3], memory_order_relaxed) : size;
}

/* Bytes of all items before the tail, since the queue began. */
static uint64_t bytes_until_tail(queue_user *u)
{
    uint64_t descriptor = ring_of(u->p);
    uint64_t tail = ring_tail(u->p);
    if (tail == ring_at(descriptor)->start) {
        return ring_at(descriptor)->before;
    }
    ring_slot *slot = ring_slot_at(descriptor, ring_forward(tail, RING_POSITION));
    return atomic_load_explicit(&slot[1], memory_order_relaxed) + bytes_in_slot(slot);
}

/* Bytes of all items before the head; false if it moves meanwhile. It may lie in an older ring,
   which is there as long as the head has not moved on. */
static bool bytes_until_head(queue_user *u, uint64_t *bytes)
{
    uint64_t head = atomic_load(&u->c->extra);
    uint64_t position = head_position(head);
    uint64_t descriptor = ring_of(u->c);
    if (position == ring_tail(u->p)) {
        *bytes = bytes_until_tail(u);
        return true;
    }
    for (int i = 0; i < TRIES; i++) {
        ring_slot *slot = ring_slot_at(descriptor, position);
        if (ring_is_in(atomic_load_explicit(&slot[0], memory_order_acquire), position)) {
            *bytes = atomic_load_explicit(&slot[1], memory_order_relaxed);
            break;
        }
        uint64_t end = atomic_load(&ring_at(descriptor)->end);
        uint64_t next = atomic_load(&ring_at(descriptor)->next);
        if (atomic_load(&u->c->extra) != head || !ring_is_in(end, position)) {
            return false;
        }
        descriptor = next;
    }
    return atomic_load(&u->c->extra) == head;
}

int ring_check_bytes(queue_user *u, const queue_item *item)
{
    uint64_t most = queue_most_bytes(u->d);
    if ((u->state & QUEUE_BYTES) == 0 || item->over) {
        return 0;
    }
    if (item->size > most) {
        return KIN_E_LIMIT;
    }
    uint64_t taken = 0;
    for (int i = 0; i < TRIES; i++) {
        if (bytes_until_head(u, &taken)) {
            return bytes_until_tail(u) - taken > most - item->size ? QUEUE_FULL : 0;
        }
    }
    return QUEUE_FULL; /* there are getters, who tell when there is room */
}

/* 0, QUEUE_FULL or QUEUE_GROW. */
static int look_for_room(queue_user *u, queue_item *item)
{
    uint64_t tail = ring_tail(u->p);
    uint64_t descriptor = ring_of(u->p);
    uint64_t head = head_position(atomic_load(&u->c->extra));
    uint64_t count = ring_distance(head, tail);
    uint64_t here = ring_distance(ring_at(descriptor)->start, tail);
    atomic_store_explicit(&u->p->depth, (uint32_t) head, memory_order_relaxed);
    if (count >= queue_capacity(u->d) && !item->over) {
        return QUEUE_FULL;
    }
    if ((here < count ? here : count) < ring_slots(descriptor)) {
        return 0;
    }
    uint32_t log = log_of(descriptor);
    bool larger = (uint64_t) ring_stride(descriptor) << (log + 1) <= RING_MOST_BYTES;
    item->grow = larger ? log + 1 : log;
    item->stride = ring_stride(descriptor);
    return QUEUE_GROW;
}

static void write_slot(queue_user *u, const queue_item *item)
{
    uint64_t tail = ring_tail(u->p);
    ring_slot *slot = ring_slot_at(ring_of(u->p), tail);
    unsigned at = ring_item_word(u->state);
    uint64_t size = item->size;
    if ((u->state & QUEUE_BYTES) != 0) {
        atomic_store_explicit(&slot[1], bytes_until_tail(u), memory_order_relaxed);
    }
    if (item->message != NULL) {
        message *m = item->message;
        atomic_store_explicit(&slot[at], item->message_id, memory_order_relaxed);
        atomic_store_explicit(&slot[at + 1], size, memory_order_relaxed);
        atomic_store(&m->holder, item->holder | MESSAGE_GIVEN);
        atomic_store(&m->position, tail);
        atomic_store(&m->door, 0);
        atomic_store(&m->queue, u->id);
        atomic_store(&m->object.owner, u->id);
        size = RING_REFERENCE;
    } else {
        ring_write(&slot[at], item->data, item->size);
    }
    /* This commits it. Pairs with the loads of those who get, and of ring_repair_put. From here on
       the message is whoever's that gets it. */
    atomic_store_explicit(&slot[0], ring_mark(tail) | size, memory_order_release);
    atomic_store_explicit(&u->p->extra, ring_forward(tail, 1), memory_order_relaxed);
}

int ring_put(queue_user *u, queue_item *item)
{
    int status = ring_check_bytes(u, item);
    if (status == 0 && !ring_has_room(u->p, ring_tail(u->p))) {
        status = look_for_room(u, item);
    }
    if (status == QUEUE_GROW && item->spare != NULL) {
        uint64_t before = (u->state & QUEUE_BYTES) != 0 ? bytes_until_tail(u) : 0;
        status = link_ring(u, item->spare, item->spare_log, before);
        item->spare = status == 0 ? NULL : item->spare;
    }
    if (status == 0) {
        write_slot(u, item);
    }
    return status;
}

/* The descriptor of the ring that is to be replaced by a small one; 0: none. With the latch. */
static uint64_t find_idle(queue_user *u, uint64_t most)
{
    uint64_t descriptor = ring_of(u->p);
    bool large = (uint64_t) ring_stride(descriptor) << log_of(descriptor) > most;
    return large && ring_of(u->c) == descriptor && ring_count(u) == 0 ? descriptor : 0;
}

void ring_shrink(queue_user *u, uint64_t most)
{
    object *o = NULL;
    if (queue_lock(u) != 0) {
        return;
    }
    uint64_t idle = find_idle(u, most);
    queue_unlock(u);
    bool linked = false;
    if (idle != 0 && ring_create(&o, RING_LEAST_LOG, ring_stride(idle)) == 0 &&
        queue_lock(u) == 0) {
        uint64_t before = (u->state & QUEUE_BYTES) != 0 ? bytes_until_tail(u) : 0;
        linked = find_idle(u, most) == idle && link_ring(u, o, RING_LEAST_LOG, before) == 0;
        queue_unlock(u);
    }
    if (!linked && o != NULL) {
        object_drop(o);
    }
}

/* Has the ring of those who put been given its successor? It is there as long as no getter has gone
   on from it. */
static bool has_successor(queue_user *u, uint64_t old, uint64_t successor, uint64_t *descriptor)
{
    for (;;) {
        uint64_t of_get = ring_of(u->c);
        uint64_t end = atomic_load(&ring_at(old)->end);
        *descriptor = atomic_load(&ring_at(old)->next);
        if (place_of(of_get) == successor) {
            *descriptor = of_get;
            return true;
        }
        if (ring_of(u->c) == of_get) {
            return end != 0;
        }
    }
}

/* What had not been published the recovery of its maker gives back. */
static void destroy_published(uint64_t id)
{
    if (arena_is_published(object_place(id))) {
        (void) object_destroy(id); /* KIN_E_HANDLE: done already */
    }
}

void ring_repair_put(queue_user *u)
{
    uint64_t part = atomic_load(&u->p->part);
    uint64_t descriptor = ring_of(u->p);
    if (part != 0) {
        uint64_t next;
        if (place_of(descriptor) == object_place(part)) {
            set_ring_of_put(u->d, u->p, descriptor);
        } else if (has_successor(u, descriptor, object_place(part), &next)) {
            set_ring_of_put(u->d, u->p, next);
        } else {
            destroy_published(part);
        }
        atomic_store(&u->p->part, 0);
        descriptor = ring_of(u->p);
    }
    /* What was committed, and not counted. */
    uint64_t tail = ring_tail(u->p);
    while (ring_is_in(atomic_load(&ring_slot_at(descriptor, tail)[0]), tail)) {
        tail = ring_forward(tail, 1);
    }
    atomic_store(&u->p->extra, tail);
}

/* ---- getting ---- */

uint64_t ring_lock_head(sync *c)
{
    uint64_t head = atomic_load(&c->extra);
    if ((head & HEAD_LOCKED) != 0) { /* by one who died; it may have gone on to another ring */
        head = head_of_next_ring(head);
        atomic_store(&c->extra, head);
        return head;
    }
    while (!atomic_compare_exchange_weak(&c->extra, &head, head | HEAD_LOCKED)) {
    }
    return head | HEAD_LOCKED;
}

void ring_unlock_head(sync *c, uint64_t head)
{
    atomic_store(&c->extra, head & ~HEAD_LOCKED);
}

void ring_repair_get(queue_user *u)
{
    uint64_t part = atomic_load(&u->c->part);
    if (part != 0) {
        if (place_of(ring_of(u->c)) != object_place(part)) {
            (void) object_destroy(part); /* KIN_E_HANDLE: done already */
        }
        atomic_store(&u->c->part, 0);
    }
}

/* Leaves a ring in which nothing is left for its successor. */
static void go_on(queue_user *u, ring *r, uint64_t *head)
{
    uint64_t id = atomic_load(&r->object.id);
    atomic_store(&u->c->part, id);
    atomic_store(&u->c->site, atomic_load(&r->next));
    *head = head_of_next_ring(*head);
    atomic_store(&u->c->extra, *head);
    (void) object_destroy(id); /* nobody else does */
    atomic_store(&u->c->part, 0);
}

ring_slot *ring_front(queue_user *u, uint64_t *head)
{
    for (;;) {
        uint64_t descriptor = ring_of(u->c);
        uint64_t position = head_position(*head);
        ring_slot *slot = ring_slot_at(descriptor, position);
        if (ring_is_in(atomic_load_explicit(&slot[0], memory_order_acquire), position)) {
            return slot;
        }
        ring *r = ring_at(descriptor);
        if (!ring_is_in(atomic_load(&r->end), position)) {
            return NULL;
        }
        go_on(u, r, head);
    }
}

uint64_t ring_count(queue_user *u)
{
    return ring_distance(head_position(atomic_load(&u->c->extra)), ring_tail(u->p));
}

/* ---- all of them ---- */

bool ring_holds(queue_user *u, message *m, uint64_t id)
{
    uint64_t position = atomic_load(&m->position);
    uint64_t head = head_position(atomic_load(&u->c->extra));
    unsigned at = ring_item_word(u->state);
    if (ring_distance(head, position) >= ring_count(u)) {
        return false;
    }
    for (uint64_t descriptor = ring_of(u->c);;) {
        ring_slot *slot = ring_slot_at(descriptor, position);
        uint64_t word = atomic_load(&slot[0]);
        if (ring_is_in(word, position)) {
            return ring_mark_size(word) == RING_REFERENCE && atomic_load(&slot[at]) == id;
        }
        if (atomic_load(&ring_at(descriptor)->end) == 0) {
            return false;
        }
        descriptor = atomic_load(&ring_at(descriptor)->next);
    }
}

/* Frees the messages that lie in one ring, from a position on; the position behind its last. */
static uint64_t destroy_messages(uint64_t descriptor, uint64_t position, unsigned at)
{
    for (;; position = ring_forward(position, 1)) {
        ring_slot *slot = ring_slot_at(descriptor, position);
        uint64_t word = atomic_load(&slot[0]);
        if (!ring_is_in(word, position)) {
            return position;
        }
        if (ring_mark_size(word) == RING_REFERENCE) {
            (void) object_destroy(atomic_load(&slot[at])); /* KIN_E_HANDLE: done already */
        }
    }
}

void ring_destroy(queue_user *u)
{
    uint64_t descriptor = ring_of(u->c);
    uint64_t position = head_position(atomic_load(&u->c->extra));
    /* Should this be cut short, the rest is found as parts of what is not there any more. */
    atomic_store(&u->c->site, 0);
    while (descriptor != 0) {
        ring *r = ring_at(descriptor);
        position = destroy_messages(descriptor, position, ring_item_word(u->state));
        uint64_t id = atomic_load(&r->object.id);
        descriptor = atomic_load(&r->end) != 0 ? atomic_load(&r->next) : 0;
        (void) object_destroy(id);
    }
}
