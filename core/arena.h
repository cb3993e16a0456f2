/* The arena: the one shared mapping of a family, and blocks of memory in it.

   A block is named by its offset, which is the same in every process; 0 is none. A fresh block is
   private: when
   the member that allocated it dies, it is given back. arena_publish, once the block hangs on
   something that other members can see, lets it outlive its maker. Any member may free any block.

   heap.h describes the structures and the argument for why a kill at any instruction leaves them
   whole. */
#ifndef KIN_CORE_ARENA_H
#define KIN_CORE_ARENA_H

#include "core/platform.h"

/* Tables of entries of one size, which grow and never move or shrink: what was once readable in one
   stays so. */
enum arena_table {
    ARENA_UNITS,
    ARENA_OWNERS,
    ARENA_MEMBERS,
    ARENA_THREADS,
    ARENA_SYNCS,
    ARENA_TABLES
};

/* What the layers above need to be in every arena; they say it once, when one is made. */
typedef struct arena_plan {
    uint64_t size; /* bytes to reserve; 0: the system's default */
    uint32_t max_members;
    uint32_t max_threads;
    uint32_t member_size; /* bytes of an entry */
    uint32_t thread_size;
    uint32_t sync_size; /* their number follows from the arena's size */
} arena_plan;

int arena_create(const arena_plan *plan);

/* Joins the arena that is behind `object`. KIN_E_ATTACH if there is none, KIN_E_VERSION if it is
   laid out differently. */
int arena_attach(intptr_t object, uint64_t size, const arena_plan *plan);
void arena_detach(void);

/* What a look-up in the table of syncs needs, as this process sees it: where the arena and the
   table in it begin, and how many entries are ready. Without an arena there are none. */
typedef struct arena_view {
    unsigned char *base;
    uint64_t syncs;
    const _Atomic uint32_t *ready;
} arena_view;
extern arena_view arena_now;

/* The mapping, for passing it to a child. */
const platform_memory *arena_memory(void);

/* A random number that all members share and others do not know. */
uint64_t arena_secret(void);

/* In the name of which member (1 to max_members) this process allocates from now on. */
void arena_set_owner(uint32_t owner);

/* In a copy that fork has made: what the original allocates from is not ours. Safe in a signal
   handler. */
void arena_reset_copy(void);

/* The family's lock. Held for microseconds, never across a wait or a call of the user's. If its
   owner died, what the owner left half done is repaired before this returns. KIN_E_SYSTEM if the
   system fails. */
int arena_lock(void);
void arena_unlock(void);

enum { ARENA_ZERO = 1, ARENA_OBJECT = 2 };

/* Bytes at the beginning of an object's block that are the object's own affair, zero or not: others
   may look at them at any time. */
enum { ARENA_FIRST = 32 };

/* Allocates a private block, aligned to 64 bytes. flags: ARENA_ZERO fills it with zeros, which
   memory that the system has just given has already; ARENA_OBJECT says that it is for an object
   with a handle (see object.h), of at least ARENA_FIRST bytes. KIN_E_NOMEM. */
int arena_allocate(uint64_t *block, uint64_t size, unsigned flags);

/* Lets a private block outlive its maker. */
int arena_publish(uint64_t block);

/* False for a block that is private or free: of one that a dead member has not published nobody but
   its recovery may dispose. `block` may be anything. */
bool arena_is_published(uint64_t block);

/* Frees a block, private or not. KIN_E_INVALID for anything that is not a block. */
int arena_free(uint64_t block);

/* Makes a block hold `size` bytes where it is: if that is more than it held, what is added is zero;
   if it is less, what is not needed is given back. One thread at a time, which keeps the block from
   being freed. KIN_E_NOMEM if there is no room behind it: then it is as before. Killed in it, the
   block holds as much as before, as afterwards, or something between. */
int arena_resize(uint64_t block, uint64_t size);

/* The next offset at which a part of a block can begin, aligned as the block is. */
static inline uint64_t arena_align(uint64_t offset)
{
    return (offset + 63) & ~UINT64_C(63);
}

/* Bytes that a block holds; 0 if it is none. */
uint64_t arena_block_size(uint64_t block);

/* Where a block, or anything at an offset, is in this process. */
void *arena_at(uint64_t offset);
uint64_t arena_offset(const void *address);

/* True if [address, address + size) lies in the arena. */
bool arena_holds(const void *address, uint64_t size);

/* Entry `index` of a table, but that of units, or NULL beyond what has been made ready. */
void *arena_entry(enum arena_table table, uint32_t index);
uint32_t arena_entries(enum arena_table table);

/* Makes at least `count` entries ready, zeroed. With the lock held. KIN_E_NOMEM; KIN_E_LIMIT beyond
   its maximum. */
int arena_grow_table(enum arena_table table, uint32_t count);

/* Gives back what a dead member owned privately, and takes what it had published into common care.
   May be called again after having been cut short. */
int arena_recover(uint32_t owner);

/* Calls visit for each published object block. Objects may come and go meanwhile: visit must expect
   anything
   in what it is given. Stops when visit returns other than 0, and returns that. */
int arena_each_object(int (*visit)(uint64_t block, void *context), void *context);

/* True if a published object's block may begin at this offset, which may be anything; its first
   bytes can then be read. The first word of an object that its maker could not publish before it
   died is cleared. */
bool arena_may_hold_object(uint64_t offset);

/* Gives all unused memory back to the system. */
int arena_trim(void);

/* Fills in what concerns memory. */
int arena_read_usage(kin_arena_usage *usage);

/* Walks everything and checks every invariant of heap.h. 0, or KIN_E_BROKEN with the text of what
   is wrong. For tests. */
int arena_check(const char **what);

#endif
