/* Slabs: blocks of one size, taken and freed by one compare-and-swap each. heap.h has the
   invariants. */
#include "core/heap.h"

enum { STRIPES = 4 };

#define LOW_BITS UINT64_C(0x555555555555) /* the lower bit of each of a word's 24 blocks */
#define BLOCK_BITS UINT64_C(0xffffffffffff)
#define TAG_ONE (UINT64_C(1) << 48)
#define ALL_CLOSED (LOW_BITS << 1)

enum { BLOCK_FREE = 0, BLOCK_PRIVATE = 1, BLOCK_CLOSED = 2, BLOCK_PUBLISHED = 3 };

/* Twice the same: for blocks, and for objects. */
static const struct size_class {
    uint16_t size;
    uint8_t units;
    uint8_t blocks;
    uint32_t reciprocal; /* 2^32 / size, rounded up: multiplied it divides exactly, as offsets are
                       small */
} classes[CLASSES] = {
#define CLASS(size, units)                                                 \
    {                                                                      \
        size, units, (units) *UNIT_SIZE / (size), 0xffffffffu / (size) + 1 \
    }
#define SIZES                                                                                \
    CLASS(64, 1), CLASS(128, 1), CLASS(192, 1), CLASS(256, 1), CLASS(384, 1), CLASS(512, 1), \
        CLASS(768, 1), CLASS(1024, 1), CLASS(1536, 1), CLASS(2048, 1), CLASS(3072, 3),       \
        CLASS(4096, 4), CLASS(6144, 3)
    SIZES, SIZES
#undef SIZES
#undef CLASS
};

/* The slabs that this process allocates from, unit number + 1. Only hints: a take checks what it
   finds. Threads are spread over stripes so that they meet at a word less often. */
static struct {
    _Alignas(64) _Atomic uint32_t slabs[CLASSES];
    _Atomic uint8_t words[CLASSES]; /* where room was found last */
} current[STRIPES];

static const struct size_class *class_of(unsigned class)
{
    return &classes[class];
}

int slab_class(uint64_t size)
{
    static const uint8_t small[17] = {0, 0, 1, 2, 3, 4, 4, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7};
    if (size <= 1024) {
        return small[(size + 63) / 64];
    }
    for (int class = 8; class < SIZE_CLASSES; class ++) {
        if (size <= classes[class].size) {
            return class;
        }
    }
    return -1;
}

uint32_t slab_block_size(unsigned class)
{
    return class_of(class)->size;
}

uint32_t slab_block_count(unsigned class)
{
    return class_of(class)->blocks;
}

/* The bits of a word when no block in it is used: blocks that the class does not have count as
   published. */
static uint64_t empty_bits(unsigned class, unsigned word)
{
    unsigned blocks = class_of(class)->blocks;
    unsigned first = word * BLOCKS_IN_WORD;
    if (first + BLOCKS_IN_WORD <= blocks) {
        return 0;
    }
    unsigned here = first < blocks ? blocks - first : 0;
    return BLOCK_BITS & ~((UINT64_C(1) << 2 * here) - 1);
}

static uint64_t free_bits(uint64_t word)
{
    return ~(word | word >> 1) & LOW_BITS;
}

static bool has_room(uint32_t number)
{
    for (unsigned i = 0; i < WORDS; i++) {
        if (free_bits(atomic_load(&unit_at(number)->words[i])) != 0) {
            return true;
        }
    }
    return false;
}

static bool is_empty(uint32_t number, unsigned class)
{
    for (unsigned i = 0; i < WORDS; i++) {
        uint64_t word = atomic_load_explicit(&unit_at(number)->words[i], memory_order_relaxed);
        if ((word & BLOCK_BITS) != empty_bits(class, i)) {
            return false;
        }
    }
    return true;
}

enum take { TAKE_DONE, TAKE_FULL, TAKE_STRANGE, TAKE_AGAIN };

/* Takes a block in one word of a slab. STRANGE: the slab is not this process's any more; AGAIN:
   somebody else changed the word at the same time. */
static inline enum take take_in_word(uint32_t number, unsigned class, unsigned i, uint64_t *block)
{
    const uint64_t same =
        HEAD_KIND_MASK | UINT64_C(0xff) << HEAD_CLASS_SHIFT | UINT64_C(0xffff) << HEAD_OWNER_SHIFT;
    unit *u = unit_at(number);
    uint64_t word = atomic_load(&u->words[i]);
    uint64_t room = free_bits(word);
    if (room == 0) {
        return TAKE_FULL;
    }
    /* Read after the word: if the swap succeeds the slab was this one all the time. */
    if ((atomic_load(&u->head) & same) != head_make(HEAD_SLAB, 0, class, heap.owner, 0)) {
        return TAKE_STRANGE;
    }
    unsigned bit = (unsigned) __builtin_ctzll(room);
    if (!atomic_compare_exchange_strong(&u->words[i], &word,
                                        word | (uint64_t) BLOCK_PRIVATE << bit)) {
        return TAKE_AGAIN;
    }
    *block = unit_offset(number) + (i * BLOCKS_IN_WORD + bit / 2) * class_of(class)->size;
    return TAKE_DONE;
}

static bool slab_take(uint32_t number, unsigned class, _Atomic uint8_t *hint, uint64_t *block)
{
    for (unsigned i = 0; i < WORDS; i++) {
        enum take result;
        do {
            result = take_in_word(number, class, i, block);
        } while (result == TAKE_AGAIN);
        if (result == TAKE_DONE) {
            atomic_store_explicit(hint, (uint8_t) i, memory_order_relaxed);
        }
        if (result != TAKE_FULL) {
            return result == TAKE_DONE;
        }
    }
    return false;
}

/* Turns a fresh private span into a current slab. With the lock held. */
static void slab_make(uint32_t number, unsigned class)
{
    const struct size_class *c = class_of(class);
    for (uint32_t i = 1; i < c->units; i++) {
        unit_store(number + i, head_make(HEAD_INSIDE, 0, 0, 0, i));
    }
    for (unsigned i = 0; i < WORDS; i++) {
        _Atomic uint64_t *word = &unit_at(number)->words[i];
        uint64_t tag = (atomic_load(word) & ~BLOCK_BITS) + TAG_ONE;
        atomic_store(word, tag | empty_bits(class, i));
    }
    unit_store(number, head_make(HEAD_SLAB, HEAD_CURRENT, class, heap.owner, c->units));
}

/* Makes a listed slab of `owner` this process's current one; its number + 1, or 0. With the lock
   held. */
static uint32_t adopt_listed(uint32_t owner, unsigned class)
{
    uint32_t *list = &heap.owners[owner].slabs[class];
    uint32_t found = *list;
    if (found != 0) {
        uint32_t number = found - 1;
        list_remove(list, number);
        unit_store(number, head_make(HEAD_SLAB, HEAD_CURRENT, class, heap.owner,
                                     head_length(unit_head(number))));
    }
    return found;
}

static void list_slab(uint32_t number, uint64_t head)
{
    unit_store(number, (head & ~HEAD_CURRENT) | HEAD_LISTED);
    list_push(&heap.owners[head_owner(head)].slabs[head_class(head)], number);
}

/* Ends the slab's time as the current one. With the lock held. Whoever freed a block while it was
   current left the listing to us: that block is seen here, or its freer sees that the slab is not
   current any more. */
static void leave_current(uint32_t number, unsigned class)
{
    uint64_t head = unit_head(number);
    if (head_kind(head) != HEAD_SLAB || head_owner(head) != heap.owner ||
        head_class(head) != class || (head & HEAD_CURRENT) == 0) {
        return;
    }
    unit_store(number, head & ~HEAD_CURRENT);
    if (has_room(number)) {
        list_slab(number, head);
    }
}

/* Gives this stripe another current slab, in place of `old`, which is full. */
static int refill(unsigned stripe, unsigned class, uint32_t old)
{
    int status = arena_lock();
    if (status < 0) {
        return status;
    }
    _Atomic uint32_t *slot = &current[stripe].slabs[class];
    if (atomic_load(slot) != old) {
        arena_unlock();
        return 0;
    }
    if (old != 0) {
        leave_current(old - 1, class);
    }
    uint32_t found = adopt_listed(heap.owner, class);
    if (found == 0) {
        found = adopt_listed(0, class);
    }
    atomic_store(slot, found);
    arena_unlock();
    if (found != 0) {
        return 0;
    }

    uint32_t number;
    bool fresh;
    status = span_allocate(&number, class_of(class)->units, 0, &fresh);
    if (status < 0) {
        return status;
    }
    status = arena_lock();
    if (status < 0) {
        return status;
    }
    slab_make(number, class);
    if (atomic_load(slot) == 0) {
        atomic_store(slot, number + 1);
    } else {
        leave_current(number, class); /* another thread was faster: keep this one for later */
    }
    arena_unlock();
    return 0;
}

/* When the word in which there was room last has none. */
static __attribute__((noinline)) int allocate_slowly(uint64_t *block, unsigned stripe,
                                                     unsigned class)
{
    for (;;) {
        uint32_t slab = atomic_load_explicit(&current[stripe].slabs[class], memory_order_relaxed);
        if (slab != 0 && slab_take(slab - 1, class, &current[stripe].words[class], block)) {
            return 0;
        }
        int status = refill(stripe, class, slab);
        if (status < 0) {
            return status;
        }
    }
}

int slab_allocate(uint64_t *block, unsigned class, unsigned stripe)
{
    stripe %= STRIPES;
    uint32_t slab = atomic_load_explicit(&current[stripe].slabs[class], memory_order_relaxed);
    unsigned hint = atomic_load_explicit(&current[stripe].words[class], memory_order_relaxed);
    if (slab != 0 && take_in_word(slab - 1, class, hint, block) == TAKE_DONE) {
        return 0;
    }
    return allocate_slowly(block, stripe, class);
}

/* Which block of the slab begins at `block`; false if none does. */
static bool block_index(uint32_t number, uint64_t head, uint64_t block, uint32_t *index)
{
    const struct size_class *c = class_of(head_class(head));
    uint32_t distance = (uint32_t) (block - unit_offset(number));
    *index = (uint32_t) ((uint64_t) distance * c->reciprocal >> 32);
    return *index * c->size == distance && *index < c->blocks;
}

static _Atomic uint64_t *block_word(uint32_t number, uint32_t index, unsigned *shift)
{
    *shift = index % BLOCKS_IN_WORD * 2;
    return &unit_at(number)->words[index / BLOCKS_IN_WORD];
}

unsigned slab_block_state(uint32_t number, uint32_t index)
{
    unsigned shift;
    _Atomic uint64_t *word = block_word(number, index, &shift);
    return (unsigned) (atomic_load(word) >> shift) & 3;
}

int slab_publish(uint32_t number, uint64_t head, uint64_t block)
{
    uint32_t index;
    if (!block_index(number, head, block, &index)) {
        return KIN_E_INVALID;
    }
    unsigned shift;
    _Atomic uint64_t *word = block_word(number, index, &shift);
    uint64_t old = atomic_load(word);
    do {
        if ((old >> shift & 3) != BLOCK_PRIVATE) {
            return KIN_E_INVALID;
        }
    } while (!atomic_compare_exchange_weak(word, &old, old | (uint64_t) BLOCK_PUBLISHED << shift));
    return 0;
}

bool slab_is_published(uint32_t number, uint64_t head, uint64_t block)
{
    uint32_t index;
    return block_index(number, head, block, &index) &&
           slab_block_state(number, index) == BLOCK_PUBLISHED;
}

/* Takes the slab out of the heap if no block of it is used. With the lock held. */
static bool retire(uint32_t number)
{
    uint64_t head = unit_head(number);
    unsigned class = head_class(head);
    _Atomic uint64_t *words = unit_at(number)->words;
    unsigned closed = 0;
    for (; closed < WORDS; closed++) {
        uint64_t empty = empty_bits(class, closed);
        uint64_t old = atomic_load(&words[closed]);
        uint64_t tag = (old & ~BLOCK_BITS) + TAG_ONE;
        if ((old & BLOCK_BITS) != empty ||
            !atomic_compare_exchange_strong(&words[closed], &old, tag | ALL_CLOSED)) {
            break;
        }
    }
    if (closed < WORDS) {
        while (closed-- > 0) {
            uint64_t tag = atomic_load(&words[closed]) & ~BLOCK_BITS;
            atomic_store(&words[closed], tag | empty_bits(class, closed));
        }
        return false;
    }
    if ((head & HEAD_LISTED) != 0) {
        list_remove(&heap.owners[head_owner(head)].slabs[class], number);
    }
    span_make_free(number, head_length(head), true);
    return true;
}

bool slab_settle(uint32_t number)
{
    uint64_t head = unit_head(number);
    if (head_kind(head) != HEAD_SLAB || (head & HEAD_CURRENT) != 0) {
        return false;
    }
    if (is_empty(number, head_class(head)) && retire(number)) {
        return true;
    }
    if ((head & HEAD_LISTED) == 0 && has_room(number)) {
        list_slab(number, head);
    }
    return false;
}

/* After a free that found the slab neither current nor listed, or empty: the slab may be anything
   by now. */
static __attribute__((noinline)) int tend(uint32_t number)
{
    uint64_t seen = unit_head(number);
    if ((seen & HEAD_LISTED) != 0 && !is_empty(number, head_class(seen))) {
        return 0;
    }
    int status = arena_lock();
    if (status < 0) {
        return status;
    }
    bool surplus = slab_settle(number) && heap.header->free_committed > KEEP_UNITS;
    arena_unlock();
    if (surplus) {
        (void) span_give_back(KEEP_UNITS / 2); /* what cannot be given back stays free */
    }
    return 0;
}

int slab_free(uint32_t number, uint64_t head, uint64_t block)
{
    uint32_t index;
    if (!block_index(number, head, block, &index)) {
        return KIN_E_INVALID;
    }
    unsigned shift;
    _Atomic uint64_t *word = block_word(number, index, &shift);
    uint64_t old = atomic_load(word);
    uint64_t freed;
    do {
        if ((old >> shift & 1) == 0) {
            return KIN_E_INVALID; /* free or closed */
        }
        freed = old & ~((uint64_t) 3 << shift);
    } while (!atomic_compare_exchange_weak(word, &old, freed));
    /* After the free; see leave_current. */
    uint64_t now = unit_head(number);
    if ((now & HEAD_CURRENT) != 0) {
        return 0;
    }
    bool emptied = (freed & BLOCK_BITS) == empty_bits(head_class(head), index / BLOCKS_IN_WORD);
    return (now & HEAD_LISTED) != 0 && !emptied ? 0 : tend(number);
}

/* Opens blocks that a killed member had begun to close. With the lock held. */
static void reopen(uint32_t number, unsigned class)
{
    for (unsigned i = 0; i < WORDS; i++) {
        _Atomic uint64_t *word = &unit_at(number)->words[i];
        uint64_t old = atomic_load(word);
        if ((old & BLOCK_BITS) == ALL_CLOSED) {
            atomic_store(word, (old & ~BLOCK_BITS) | empty_bits(class, i));
        }
    }
}

void slab_repair(uint32_t number)
{
    uint64_t head = unit_head(number) & ~HEAD_LISTED;
    reopen(number, head_class(head));
    unit_store(number, head);
    if ((head & HEAD_CURRENT) == 0 && has_room(number)) {
        list_slab(number, head);
    }
}

/* An object that was not published yet must not be found by the id that may stand in it, now or in
   its successor. */
static void forget_objects(uint32_t number, unsigned class)
{
    for (uint32_t i = 0; i < slab_block_count(class); i++) {
        if (slab_block_state(number, i) == BLOCK_PRIVATE) {
            uint64_t block = unit_offset(number) + (uint64_t) i * slab_block_size(class);
            atomic_store((_Atomic uint64_t *) arena_at(block), 0);
        }
    }
}

bool slab_recover(uint32_t number)
{
    uint64_t head = unit_head(number);
    if (head_class(head) >= SIZE_CLASSES) {
        forget_objects(number, head_class(head));
    }
    for (unsigned i = 0; i < WORDS; i++) {
        _Atomic uint64_t *word = &unit_at(number)->words[i];
        uint64_t old = atomic_load(word);
        uint64_t kept;
        do {
            uint64_t published = old & old >> 1 & LOW_BITS;
            kept = (old & ~BLOCK_BITS) | published | published << 1;
        } while (!atomic_compare_exchange_weak(word, &old, kept));
    }
    if ((head & HEAD_LISTED) != 0) {
        list_remove(&heap.owners[head_owner(head)].slabs[head_class(head)], number);
    }
    head = head_make(HEAD_SLAB, 0, head_class(head), 0, head_length(head));
    unit_store(number, head);
    if (is_empty(number, head_class(head)) && retire(number)) {
        return true;
    }
    if (has_room(number)) {
        list_slab(number, head);
    }
    return false;
}

void slab_forget(void)
{
    for (unsigned stripe = 0; stripe < STRIPES; stripe++) {
        for (unsigned class = 0; class < CLASSES; class ++) {
            if (atomic_load(&current[stripe].slabs[class]) != 0) { /* else memory is not copied */
                atomic_store(&current[stripe].slabs[class], 0);
            }
        }
    }
}
