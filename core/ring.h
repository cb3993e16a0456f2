/* Rings: where the items of an ordinary queue lie.

   A ring is a number of slots, a power of two; the item at position n lies in slot n modulo that.
   The first word of a slot says which position is in it, and how many bytes the item has, behind it
   are these, or where the message is that they lie in. That word is stored last, and is what
   commits the item: it is in the queue from then on. Where the next one goes stands with the latch
   of those who put, and follows from the slots, should its owner die.

   Who gets an item copies it first and then moves the head on by one compare-and-swap: that commits
   it, and says at the same time that what was copied was right. While the head is LOCKED, which the
   owner of the latch of those who get may do, that fails. A copier may read a slot of a ring that
   has been freed; it then fails as well, because the head's tag has changed with the ring.

   A ring that is full gets a successor, twice as large; its `next` and `end` say so, and getters
   that come to the end go on there and free it. So a queue uses what it needs, and nothing is ever
   moved. What is half done about that when its doer dies is noted as the part of its entry:
   for those who put the new ring, for those who get the old one.

   The descriptor of a ring in one word: place (31 bits), logarithm of the number of slots (5), size
   of a slot in words (10). */
#ifndef KIN_CORE_RING_H
#define KIN_CORE_RING_H

#include "core/queue.h"

#include <string.h>

/* A ring that follows another has so many slots at least, as a logarithm. */
enum { RING_HEADER = 128, RING_REFERENCE = 0xffff, RING_MOST_BYTES = 4 << 20, RING_LEAST_LOG = 4 };

typedef struct ring {
    object object;
    uint64_t start;        /* its first position */
    uint64_t before;       /* bytes of all items before that; of a queue with a bound of bytes */
    _Atomic uint64_t next; /* the descriptor of its successor, good if `end` is */
    _Atomic uint64_t end;  /* where that begins, as a slot's word; 0: it has none */
} ring;

/* ---- positions: 47 bits ---- */

#define RING_POSITION ((UINT64_C(1) << 47) - 1)
#define RING_VALID (UINT64_C(1) << 16)

static inline uint64_t ring_forward(uint64_t position, uint64_t count)
{
    return (position + count) & RING_POSITION;
}

static inline uint64_t ring_distance(uint64_t from, uint64_t to)
{
    return (to - from) & RING_POSITION;
}

/* A slot's word when this position is in it, without the size. */
static inline uint64_t ring_mark(uint64_t position)
{
    return position << 17 | RING_VALID;
}

static inline uint32_t ring_mark_size(uint64_t word)
{
    return (uint32_t) word & 0xffff;
}

static inline bool ring_is_in(uint64_t word, uint64_t position)
{
    return ((word ^ ring_mark(position)) & ~UINT64_C(0xffff)) == 0;
}

/* ---- the head: tag (16 bits), position, LOCKED ---- */

#define HEAD_LOCKED UINT64_C(1)
#define HEAD_TAG_SHIFT 48

#define HEAD_TAGGED (UINT64_C(1) << 63) /* in each tag: no position looks like a head */

static inline uint64_t head_make(uint64_t tag, uint64_t position)
{
    return tag << HEAD_TAG_SHIFT | HEAD_TAGGED | position << 1;
}

static inline uint64_t head_of_next_ring(uint64_t head)
{
    return (head + (UINT64_C(1) << HEAD_TAG_SHIFT)) | HEAD_TAGGED;
}

static inline uint64_t head_position(uint64_t head)
{
    return head >> 1 & RING_POSITION;
}

static inline uint64_t head_forward(uint64_t head, uint64_t count)
{
    return (head & ~(RING_POSITION << 1)) | ring_forward(head_position(head), count) << 1;
}

/* ---- descriptors and slots ---- */

static inline uint64_t ring_describe(ring *r, uint32_t slots_log, uint32_t stride)
{
    return arena_offset(r) / 64 | (uint64_t) slots_log << 31 | (uint64_t) (stride / 8) << 36;
}

static inline ring *ring_at(uint64_t descriptor)
{
    return (ring *) (void *) (arena_now.base + (descriptor & 0x7fffffff) * 64);
}

static inline uint32_t ring_slots(uint64_t descriptor)
{
    return 1u << (descriptor >> 31 & 31);
}

static inline uint32_t ring_stride(uint64_t descriptor)
{
    return (uint32_t) (descriptor >> 36) * 8;
}

/* Words of a slot: its mark; with a bound of bytes how many there were before; the item, or the id
   of its message and how many bytes that has. */
typedef _Atomic uint64_t ring_slot;

static inline ring_slot *ring_slot_at(uint64_t descriptor, uint64_t position)
{
    uint64_t index = position & (ring_slots(descriptor) - 1);
    return (ring_slot *) (void *) ((unsigned char *) ring_at(descriptor) + RING_HEADER +
                                   index * ring_stride(descriptor));
}

static inline unsigned ring_item_word(uint64_t state)
{
    return (state & QUEUE_BYTES) != 0 ? 2 : 1;
}

/* Bytes of an item that fit into a slot. */
static inline uint32_t ring_room(uint64_t descriptor, uint64_t state)
{
    return ring_stride(descriptor) - 8 * ring_item_word(state);
}

#if defined __SANITIZE_THREAD__
#define RING_WATCHED 1
#elif defined __has_feature
#if __has_feature(thread_sanitizer)
#define RING_WATCHED 1
#endif
#endif

/* A look, without a latch, at a word of a ring that may be freed meanwhile, and be anything:
   nothing is done with it before it is known that the ring was there. The thread sanitizer cannot
   know that; for it this is no access, and nothing follows from it. */
#if defined RING_WATCHED
__attribute__((noinline, no_sanitize("thread"))) uint64_t ring_peek(ring_slot *word);
#else
static inline uint64_t ring_peek(ring_slot *word)
{
    return atomic_load_explicit(word, memory_order_acquire);
}
#endif

/* Bytes to and from a slot, which others may be reading at the same time in vain. */
static inline void ring_write(ring_slot *to, const void *from, size_t size)
{
    const unsigned char *bytes = from;
    size_t words = size / 8;
    if (size % 8 != 0) {
        uint64_t word = 0;
        memcpy(&word, bytes + 8 * words, size % 8);
        atomic_store_explicit(&to[words], word, memory_order_relaxed);
    }
    for (size_t i = words; i-- > 0;) {
        uint64_t word;
        memcpy(&word, bytes + 8 * i, 8);
        atomic_store_explicit(&to[i], word, memory_order_relaxed);
    }
}

static inline void ring_read(void *to, ring_slot *from, size_t size)
{
    unsigned char *bytes = to;
    size_t words = size / 8;
    for (size_t i = 0; i < words; i++) {
        uint64_t word = atomic_load_explicit(&from[i], memory_order_relaxed);
        memcpy(bytes + 8 * i, &word, 8);
    }
    if (size % 8 != 0) {
        uint64_t word = atomic_load_explicit(&from[words], memory_order_relaxed);
        memcpy(bytes + 8 * words, &word, size % 8);
    }
}

/* ---- where what stands in the entries ---- */

/* Of those who put: the position of the next item, the ring that it goes to, what was last seen of
   the head, and how far behind that the next item may be. All with the latch. */
static inline uint64_t ring_tail(sync *p)
{
    return atomic_load_explicit(&p->extra, memory_order_relaxed);
}

static inline uint64_t ring_of(sync *s)
{
    return atomic_load_explicit(&s->site, memory_order_acquire);
}

static inline bool ring_has_room(sync *p, uint64_t tail)
{
    uint32_t seen = atomic_load_explicit(&p->depth, memory_order_relaxed);
    return (uint32_t) tail - seen < atomic_load_explicit(&p->options, memory_order_relaxed);
}

/* ---- ring.c ---- */

/* A private ring of so many slots, of which the next to be published is the first. KIN_E_NOMEM. */
int ring_create(object **created, uint32_t slots_log, uint32_t stride);

/* Of a queue that is being made: gives it its first ring. */
int ring_begin(sync *d, sync *p, sync *c, uint32_t stride, uint32_t slots_log);

/* Puts an item. With the latch, and room in the queue's sense. */
int ring_put(queue_user *u, queue_item *item);

/* Whether its bytes fit: 0, QUEUE_FULL or KIN_E_LIMIT. With the latch. */
int ring_check_bytes(queue_user *u, const queue_item *item);

/* So many slots that it takes for a queue. */
uint32_t ring_log_for(uint64_t items, uint32_t stride);

/* An empty queue whose ring takes more than `most` bytes goes on with a small one; whoever gets
   next frees the large one. Does nothing if it cannot. */
void ring_shrink(queue_user *u, uint64_t most);

/* Whatever the last owner of the latch has left half done. */
void ring_repair_put(queue_user *u);
void ring_repair_get(queue_user *u);

/* Locks the head, with the latch of those who get; and unlocks it, moved to there. */
uint64_t ring_lock_head(sync *c);
void ring_unlock_head(sync *c, uint64_t head);

/* The slot of the next item, or NULL; goes on to the next ring if need be. With the head locked,
   which may get another tag. */
ring_slot *ring_front(queue_user *u, uint64_t *head);

/* How many items there are. With the latch. */
uint64_t ring_count(queue_user *u);

/* True if the message lies there. With both latches. */
bool ring_holds(queue_user *u, message *m, uint64_t id);

/* Frees all rings and the messages in them, with both latches, for good. */
void ring_destroy(queue_user *u);

#endif
