/* The table of a list: a ring of the names of its elements.

   Element i of a list stands at position first + i, of which the lower bits say where in the ring.
   So both ends grow and shrink without moving anything, and positions never come to their end.
   In the middle one side moves by one: the shorter. `from` says how far that has come; a step that
   is done twice does no harm, as what it copies is still there until the next one.

   `moves` counts such changes, and the last ones are kept: so one that goes through a list knows
   what has become of its position. */
#ifndef KIN_CORE_LIST_TABLE_H
#define KIN_CORE_LIST_TABLE_H

#include "core/store.h"

enum { LIST_MOVES = 32 };

typedef struct list_table {
    object object;
    uint64_t capacity; /* a power of 2 */
    _Alignas(64) _Atomic uint64_t refs[];
} list_table;

/* What is noted in the root. */
enum { LIST_CHANGE = 1, LIST_EXTEND };

typedef struct list_root {
    store_root store;
    /* What is being done: refs[q] = refs[q + step] from `from` until `stop`, and there comes what
       is added; then as they will be: */
    _Atomic uint64_t from;
    _Atomic uint64_t stop;
    _Atomic uint64_t step; /* 1, or -1 */
    _Atomic uint64_t new_first;
    _Atomic uint64_t new_count;
    _Atomic uint64_t new_moves;
    _Atomic uint64_t move;
    /* As they are: */
    _Atomic uint64_t first;
    _Atomic uint64_t count;
    _Atomic uint64_t moves;
    _Atomic uint64_t last_moves[LIST_MOVES];
    /* For many at once, see list_extend.c: */
    uint64_t batch;                            /* like `making`, of a chunk for their cells */
    _Atomic uint64_t extending;                /* so many places behind the last may be set */
    _Atomic uint64_t new_heads[STORE_CLASSES]; /* as they will be afterwards */
    _Atomic uint64_t bump_chunk;               /* id */
    _Atomic uint64_t new_bump;
} list_root;

static inline list_root *list_root_of(const store *u)
{
    return (list_root *) u->root;
}

static inline list_table *list_table_of(const store *u)
{
    uint64_t id = STORE_GET(u->root->table);
    return id != 0 ? store_object_at(id) : NULL;
}

/* The name of the element at a position. */
static inline _Atomic uint64_t *list_place(list_table *t, uint64_t position)
{
    return &t->refs[position & (t->capacity - 1)];
}

/* Room for so many in all. */
int list_make_room(store *u, uint64_t count);

/* Of an index that is there, unless it is where an element is to be inserted; `added` has been made
   by store_add. */
void list_insert(store *u, uint64_t index, uint64_t added);
void list_replace(store *u, uint64_t index, uint64_t added);
void list_remove_at(store *u, uint64_t index);

/* Where a position is now that was good after `seen` moves. False if that was too long ago. */
bool list_follow(const list_root *root, uint64_t *position, uint64_t seen);

/* ---- many at once: list_extend.c ---- */

typedef struct list_extension {
    const kin_buffer *items;
    uint64_t count;
    uint64_t
        block; /* private; offsets of the objects that are large ones, 0 for the others. 0: there
                       are none */
} list_extension;

/* Without the latch: makes what is large. KIN_E_NOMEM, KIN_E_INVALID. */
int list_extension_make(list_extension *e, const kin_buffer *items, size_t count);
int list_extend(store *u, list_extension *e);
void list_extension_drop(list_extension *e);

void list_extend_apply(store *u);

/* After what is noted has been done: what has not been noted is undone. */
void list_extend_repair(store *u);

/* Does what is noted in the root. May be repeated. */
void list_apply(store *u);

void list_table_set_up(void);

#endif
