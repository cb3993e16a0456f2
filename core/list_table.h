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
    uint64_t batch; /* like `making`, of a chunk for many elements */
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

/* ---- many at once ----

   Their cells lie in a chunk of their own, which is filled before it is published; the large ones
   are published one after the other, and noted in the chunk first. */
typedef struct list_batch {
    object *chunk; /* private until it is published */
    const kin_buffer *items;
    uint64_t count;
} list_batch;

int list_batch_make(list_batch *b, const kin_buffer *items, size_t count);
int list_batch_append(store *u, list_batch *b);
void list_batch_drop(list_batch *b);

/* For apply and repair. */
void list_batch_link(store *u);
void list_batch_repair(store *u);

void list_table_set_up(void);

#endif
