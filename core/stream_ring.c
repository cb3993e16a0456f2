/* Streams; stream_ring.h has the argument. */
#include "core/stream_ring.h"

#include <string.h>

enum { HEADER = 64 };

/* No more is copied at one time with a latch; so the other side can begin with it as well. */
enum { PIECE = 16384 };

/* A latch is waited for so long even by a call that does not wait; and before the next try, when
   the system refuses to wait. */
#define TRY_NS INT64_C(100000000)
#define PAUSE_NS INT64_C(1000000)

static void describe(sync *s, const sync *other, uint64_t owner, const object *ring,
                     uint32_t capacity)
{
    atomic_store(&s->site, atomic_load(&other->id));
    atomic_store(&s->related, owner);
    atomic_store(&s->options, capacity);
    atomic_store(&s->depth, (uint32_t) ((arena_offset(ring) + HEADER) / 64));
}

/* What is not finished is freed: the entries with their maker, the ring with the entry. */
static int make(sync **r, sync **w, object **ring, uint32_t capacity)
{
    uint64_t part;
    int status = sync_create(r, KIND_STREAM, NULL);
    if (status == 0) {
        status = sync_create(w, KIND_STREAM, NULL);
    }
    if (status == 0) {
        status = object_create_bare(ring, HEADER + (uint64_t) capacity, HEADER);
    }
    if (status == 0) {
        status = object_publish(*ring, KIND_PART, atomic_load(&(*r)->id), &part);
        if (status < 0) {
            object_drop(*ring);
        } else {
            atomic_store(&(*r)->part, part);
        }
    }
    return status;
}

int stream_create(_Atomic uint64_t *receives, _Atomic uint64_t *sends, uint64_t owner,
                  uint32_t capacity)
{
    sync *r = NULL;
    sync *w = NULL;
    object *ring = NULL;
    int status = make(&r, &w, &ring, capacity);
    if (status < 0) {
        if (w != NULL) {
            sync_drop(w);
        }
        if (r != NULL) {
            sync_drop(r);
        }
        return status;
    }
    describe(r, w, owner, ring, capacity);
    describe(w, r, owner, ring, capacity);
    atomic_store(receives, atomic_load(&r->id));
    atomic_store(sends, atomic_load(&w->id));
    sync_publish(r); /* first: from then on it is found by its owner, and the other by it */
    sync_publish(w);
    return 0;
}

static void give(sync *side, uint64_t id, thread_self *t)
{
    uint64_t base = sync_base(id);
    uint64_t owned = base | t->token;
    /* Whoever then looks for sleepers has stored before what those look at. */
    if (!atomic_compare_exchange_strong(&side->state, &owned, base)) {
        (void) latch_release(side, id, t, 0);
    }
}

/* When its latch has been had, nobody is at work on this side any more. */
static void end_side(sync *s, uint64_t id)
{
    thread_self *t = thread_known();
    if (t == NULL) {
        return;
    }
    int status = latch_wait(s, id, t, INT64_MAX, 0);
    while (status < 0 && status != KIN_E_HANDLE && status != KIN_E_DESTROYED &&
           status != KIN_E_DEADLOCK) {
        platform_sleep_ns(PAUSE_NS); /* the system refuses: nobody else may come to end it */
        status = latch_wait(s, id, t, INT64_MAX, 0);
    }
    if (status >= 0) {
        (void) sync_destroy(id, KIND_STREAM); /* KIN_E_HANDLE: somebody is about it */
    }
}

void stream_destroy(uint64_t receives)
{
    sync *r = sync_find(receives, KIND_STREAM);
    if (r == NULL) {
        return;
    }
    uint64_t sends = atomic_load(&r->site);
    sync *w = sync_find(sends, KIND_STREAM);
    if (w != NULL) {
        end_side(w, sends);
    }
    end_side(r, receives);
}

void stream_tell_end(uint64_t sends)
{
    sync *w = sync_find(sends, KIND_STREAM);
    sync *r = w != NULL ? sync_find(atomic_load(&w->site), KIND_STREAM) : NULL;
    if (r != NULL) {
        line_tell(&w->drain, LINE_ALL);
        line_tell(&r->drain, LINE_ALL);
    }
}

int stream_enter(stream_side *s, uint64_t id, sync *end, uint64_t end_id)
{
    int status = 0;
    *s = (stream_side){.mine = sync_find(id, KIND_STREAM), .id = id, .end = end, .end_id = end_id};
    s->t = thread_current(&status);
    if (s->t == NULL || s->mine == NULL) {
        return s->t == NULL ? status : KIN_E_CLOSED;
    }
    s->owner_id = atomic_load(&s->mine->related);
    s->owner = sync_find_place(s->owner_id);
    s->other = sync_find_place(atomic_load(&s->mine->site));
    bool right = atomic_load(&s->mine->id) == id && s->owner != NULL && s->other != NULL;
    return right ? 0 : KIN_E_CLOSED;
}

static inline uint64_t count_of(sync *s)
{
    return atomic_load(&s->extra);
}

uint64_t stream_filled(const stream_side *s)
{
    return count_of(s->other) - count_of(s->mine);
}

uint64_t stream_room(const stream_side *s)
{
    uint64_t capacity = atomic_load_explicit(&s->mine->options, memory_order_relaxed);
    return capacity - (count_of(s->mine) - count_of(s->other));
}

static int64_t patience(const stream_side *s)
{
    if (s->timeout_ms < 0) {
        return INT64_MAX;
    }
    int64_t wanted = (int64_t) s->timeout_ms * 1000000;
    return platform_clock_ns() + (wanted > TRY_NS ? wanted : TRY_NS);
}

static int take(const stream_side *s, sync *side, uint64_t id)
{
    if (latch_take(side, sync_base(id), s->t->token)) {
        return 0;
    }
    /* One who has died with it has left nothing half done. */
    int status = latch_wait(side, id, s->t, patience(s), 0);
    return status >= 0                                           ? 0
           : status == KIN_E_HANDLE || status == KIN_E_DESTROYED ? KIN_E_CLOSED
                                                                 : status;
}

static inline bool is_there(sync *connection, uint64_t id)
{
    return (atomic_load(&connection->state) & SYNC_MASK) == sync_base(id) &&
           atomic_load(&connection->id) == id;
}

/* With the latch: how far the other side has come, which pairs with the store of one who has moved
   bytes. False if the stream is being ended, or nothing is to be sent in it any more by this end.
   */
static inline bool look_at_other(const stream_side *s, uint64_t *count)
{
    *count = count_of(s->other);
    return is_there(s->owner, s->owner_id) && is_there(s->end, s->end_id);
}

/* How many bytes can be moved in one copy, from position `at` on. */
static size_t piece_of(const stream_side *s, uint64_t there, uint64_t at, size_t size)
{
    uint64_t capacity = atomic_load_explicit(&s->mine->options, memory_order_relaxed);
    uint64_t most = capacity - (at & (capacity - 1));
    most = there < most ? there : most;
    most = size < most ? size : most;
    return (size_t) (most < PIECE ? most : PIECE);
}

static unsigned char *place_of(const stream_side *s, uint64_t at)
{
    uint64_t capacity = atomic_load_explicit(&s->mine->options, memory_order_relaxed);
    uint64_t offset = (uint64_t) atomic_load_explicit(&s->mine->depth, memory_order_relaxed) * 64;
    return (unsigned char *) arena_at(offset) + (at & (capacity - 1));
}

int stream_receive(stream_side *s, void *buffer, size_t size, size_t *done)
{
    uint64_t sent;
    *done = 0;
    int status = take(s, s->mine, s->id);
    if (status < 0) {
        return status;
    }
    uint64_t received = count_of(s->mine);
    status = look_at_other(s, &sent) ? STREAM_NOTHING : KIN_E_CLOSED;
    if (status == STREAM_NOTHING && sent != received) {
        *done = piece_of(s, sent - received, received, size);
        if (*done > 0) {
            memcpy(buffer, place_of(s, received), *done);
        }
        atomic_store_explicit(&s->mine->extra, received + *done, memory_order_release);
        status = 0;
    }
    give(s->mine, s->id, s->t);
    if (*done > 0) {
        line_tell(&s->other->drain, 1);
    }
    return status;
}

int stream_await_senders(stream_side *s)
{
    uint64_t sends = atomic_load(&s->mine->site);
    sync *w = sync_find(sends, KIND_STREAM);
    int status = w != NULL ? take(s, w, sends) : KIN_E_CLOSED;
    if (status == 0) {
        give(w, sends, s->t);
    }
    return status == KIN_E_CLOSED ? 0 : status; /* nobody is at work in what has been ended */
}

int stream_send(stream_side *s, const void *data, size_t size, size_t *done)
{
    uint64_t received;
    *done = 0;
    int status = take(s, s->mine, s->id);
    if (status < 0) {
        return status;
    }
    uint64_t sent = count_of(s->mine);
    uint64_t capacity = atomic_load_explicit(&s->mine->options, memory_order_relaxed);
    status = look_at_other(s, &received) ? STREAM_NOTHING : KIN_E_CLOSED;
    if (status == STREAM_NOTHING && sent - received < capacity) {
        *done = piece_of(s, capacity - (sent - received), sent, size);
        memcpy(place_of(s, sent), data, *done);
        atomic_store_explicit(&s->mine->extra, sent + *done, memory_order_release);
        status = 0;
    }
    give(s->mine, s->id, s->t);
    if (status == 0) {
        line_tell(&s->other->drain, 1);
    }
    return status;
}

static void ended(sync *s, uint64_t id)
{
    (void) id;
    (void) line_wake(&s->drain, LINE_ALL);
    line_tell_watchers(&s->drain);
}

/* It may have been woken for what is still there. */
static void died(sync *s, uint64_t id, thread_record *record)
{
    (void) id, (void) record;
    line_tell(&s->drain, 1);
}

void stream_set_up(void)
{
    sync_register(KIND_STREAM, latch_look);
    sync_register_end(KIND_STREAM, ended);
    sync_register_death(KIND_STREAM, died);
}
