/* How the arena is laid out, and why a kill at any instruction leaves it whole. Private to arena.c,
   span.c, span_resize.c, slab.c.

   Layout: the unit table, which grows downwards from the header; the header; the first members and
   threads; the heap, divided into units of 8 KiB; the tables of owners, members and threads. Each
   table is reserved for its maximum and committed as it grows. Unit i is described by entry i of
   the unit table. So all that a young process looks at lies together: it has few page faults.

   Spans. Units [0, top) are a chain of spans: the head of a span's first unit says what it is and
   how many units it has, the next span begins behind it. The chain is the truth, and each change of
   it is one store to one head: splitting writes the new second head first (inside a span, where
   nobody looks), then shortens the first; merging lengthens the first. Everything else about free
   spans (bins, links, tails, counters) follows from the chain and
   is made anew from it by heap_repair when the lock's owner died. Heads change only under the lock.

   A span is FREE; or SPAN, a large block, private to its owner or PUBLISHED; or SLAB, cut into
   blocks of one class. Blocks for objects, whatever their size, are told from others by their
   class.
   Units inside a slab are INSIDE, with their distance from the first; the last unit of a longer
   free span is TAIL.

   Slabs. Two bits a block: 00 free, 01 private to the slab's owner, 11 published, 10 closed. Six
   words of 24 blocks lie in the unit table, not in the slab, so that they stay words of blocks
   whatever becomes of the memory. Blocks are taken and freed by one compare-and-swap, without the
   lock. The upper 16 bits of a word are a tag. To
   take a slab away, each of its words is changed from "all free" to "all closed" with another tag:
   a slow allocator's compare-and-swap then fails, as the word it read is no more. An allocator
   reads word, then head, then swaps: success means that the slab was still the one that it took it
   for.

   Only a slab's owner allocates in it, so a private block belongs to the slab's owner; when that
   dies, clearing the 01s gives back exactly what it had not published. A slab with room is on the
   list of its owner and class (LISTED) or one that a process allocates from (CURRENT) or full.
   Whoever frees a block of a slab that is neither lists it. Owner clears CURRENT, then looks for
   room; freer frees, then looks for CURRENT: one of the two sees the other. */
#ifndef KIN_CORE_HEAP_H
#define KIN_CORE_HEAP_H

#include "core/arena.h"

#include <string.h>

enum {
    UNIT_SIZE = 8192,
    UNIT_SHIFT = 13,
    WORDS = 6,
    BLOCKS_IN_WORD = 24,
    BINS = 28,
    SIZE_CLASSES = 13,
    CLASSES = 2 * SIZE_CLASSES, /* the upper half is for objects */
    COMMIT_UNITS = 16,          /* memory is asked for in no smaller steps: 128 KiB */
    KEEP_UNITS = 1024           /* so much free memory stays committed: 8 MiB */
};

/* The parts of a head. */
enum { HEAD_UNUSED, HEAD_FREE, HEAD_SPAN, HEAD_SLAB, HEAD_INSIDE, HEAD_TAIL };
#define HEAD_KIND_MASK UINT64_C(7)
#define HEAD_COMMITTED (UINT64_C(1) << 3) /* FREE: all of its memory is committed */
#define HEAD_PUBLISHED (UINT64_C(1) << 4) /* SPAN */
#define HEAD_LEAVING (UINT64_C(1) << 5)   /* SPAN: somebody is giving its memory back */
#define HEAD_CURRENT (UINT64_C(1) << 6)   /* SLAB */
#define HEAD_LISTED (UINT64_C(1) << 7)    /* SLAB */
#define HEAD_CLASS_SHIFT 8
#define HEAD_OWNER_SHIFT 16
#define HEAD_LENGTH_SHIFT 32

typedef struct unit {
    _Alignas(64) _Atomic uint64_t head;
    uint32_t next,
        previous; /* in a bin or in a list of slabs; unit number + 1, 0 for none; under the lock */
    _Atomic uint64_t words[WORDS];
} unit;

/* Slabs with room, by owner and class. Owner 0 stands for all that are dead. Under the lock;
   follows from the heads. */
typedef struct heap_owner {
    _Alignas(64) uint32_t slabs[CLASSES];
} heap_owner;

typedef struct heap_table {
    uint64_t offset;
    uint64_t near_offset; /* of the first entries, for which `offset` is not */
    uint32_t near_count;
    uint32_t entry_size;
    uint32_t limit;
    _Atomic uint32_t
        ready; /* entries that are committed; stored after the commit, read by anyone */
} heap_table;

typedef struct heap_header {
    _Atomic uint64_t magic; /* stored last, when the arena is complete */
    uint64_t layout;        /* differs between versions that do not understand each other */
    uint64_t secret;
    uint64_t size;
    uint64_t heap_offset;
    heap_table tables[ARENA_TABLES];
    platform_mutex_shared lock;
    /* Under the lock: */
    _Atomic uint32_t top; /* units that have ever been used; also read without the lock */
    uint32_t
        bins[2][BINS]; /* free spans, not committed and committed, by the logarithm of their length;
                                 unit number + 1 */
    uint64_t free_committed; /* units in free spans whose memory is committed */
    uint32_t unclean;        /* free memory that is not committed may not be zero; never undone */
} heap_header;

/* This process's view. */
typedef struct heap_view {
    platform_memory memory;
    platform_mutex lock;
    heap_header *header;
    unit *units; /* the end of the table, see unit_at */
    heap_owner *owners;
    unsigned char *heap;
    uint32_t owner;
} heap_view;

extern heap_view heap;

/* They lie one below the other, from the header downwards. */
static inline unit *unit_at(uint32_t number)
{
    return heap.units - 1 - number;
}

static inline uint64_t head_make(unsigned kind, uint64_t flags, unsigned class, uint32_t owner,
                                 uint32_t length)
{
    return kind | flags | (uint64_t) class << HEAD_CLASS_SHIFT |
           (uint64_t) owner << HEAD_OWNER_SHIFT | (uint64_t) length << HEAD_LENGTH_SHIFT;
}

static inline unsigned head_kind(uint64_t head)
{
    return (unsigned) (head & HEAD_KIND_MASK);
}

static inline unsigned head_class(uint64_t head)
{
    return (unsigned) (head >> HEAD_CLASS_SHIFT) & 0xff;
}

static inline uint32_t head_owner(uint64_t head)
{
    return (uint32_t) (head >> HEAD_OWNER_SHIFT) & 0xffff;
}

static inline uint32_t head_length(uint64_t head)
{
    return (uint32_t) (head >> HEAD_LENGTH_SHIFT);
}

/* Pairs with unit_store: whoever sees a head sees what was written to the unit before it. */
static inline uint64_t unit_head(uint32_t number)
{
    return atomic_load(&unit_at(number)->head);
}

static inline void unit_store(uint32_t number, uint64_t head)
{
    atomic_store(&unit_at(number)->head, head);
}

static inline uint64_t unit_offset(uint32_t number)
{
    return heap.header->heap_offset + ((uint64_t) number << UNIT_SHIFT);
}

/* A doubly linked list through units; `first` is a bin or a slab list. Under the lock. */
void list_push(uint32_t *first, uint32_t number);
void list_remove(uint32_t *first, uint32_t number);

/* span.c. All expect the lock to be held but those that take it themselves. */

/* Allocates a private span of `length` units, committed; *fresh: the system has just given its
   memory, which is zero. Takes the lock itself. `class` is OBJECT_SPAN for a large object, else
   0. */
enum { OBJECT_SPAN = SIZE_CLASSES };
int span_allocate(uint32_t *number, uint32_t length, unsigned class, bool *fresh);

/* Makes a private span of units that are free and begin at `number`, or are added to the chain
   there: at most as many as are asked for, or COMMIT_UNITS. 0; 1 if they are committed; KIN_E_NOMEM
   if there are none. */
int span_take_at(uint32_t number, uint32_t length, uint32_t *taken);

/* Makes a private span's memory usable, and keeps only the first `length` of its `taken` units; if
   it cannot, the span is free again. Takes the lock itself. */
int span_commit(uint32_t number, uint32_t taken, uint32_t length, unsigned class);

/* True if memory of the heap that is not committed will be zero when it is. */
bool span_is_fresh(void);

/* Frees a large block; takes the lock itself. KIN_E_INVALID if it is none. */
int span_free(uint32_t number);

/* Makes a span that is not in use any more free, and merges it with its neighbours. Gives no memory
   back. */
void span_make_free(uint32_t number, uint32_t length, bool committed);

/* Makes all that follows from the chain anew, spans first, then slabs. */
void span_repair(void);

/* Gives free memory back to the system until at most `keep` units of it are committed. Takes the
   lock itself. */
int span_give_back(uint64_t keep);

/* span_resize.c. Make a large block that is in use longer or shorter where it is. For one thread at
   a time of those that keep the block from being freed. Take the lock themselves. */

/* What is added is zero. KIN_E_NOMEM if what lies behind it is not free; then it is as before. */
int span_grow(uint32_t number, uint32_t length);
int span_shrink(uint32_t number, uint32_t length);

/* slab.c */

/* The class for a block of `size` bytes, or -1 if it is too large for any. */
int slab_class(uint64_t size);
uint32_t slab_block_size(unsigned class);
uint32_t slab_block_count(unsigned class);
int slab_allocate(uint64_t *block, unsigned class, unsigned stripe);
int slab_publish(uint32_t number, uint64_t head, uint64_t block);
bool slab_is_published(uint32_t number, uint64_t head, uint64_t block);
int slab_free(uint32_t number, uint64_t head, uint64_t block);

/* Two bits of block `index`. */
unsigned slab_block_state(uint32_t number, uint32_t index);

/* Lists a slab of which a killed member may have left the words half closed or the flags half
   set. */
void slab_repair(uint32_t number);

/* Clears what the dead owner of the slab had not published, and gives the slab to owner 0 or, if
   empty, back. Returns true if the span is free now. */
bool slab_recover(uint32_t number);

/* Does for a slab what one who freed a block of it does last, and may have been killed before. True
   if the span is free now. */
bool slab_settle(uint32_t number);

/* Forgets this process's current slabs. */
void slab_forget(void);

#endif
