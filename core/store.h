/* Stores: what lists and dictionaries have in common. A store is a sync whose latch whoever uses it
   owns, readers too. Its part, the root, holds everything else, and owns all other objects of it:
   if the root is gone, they are destroyed by whoever comes first.

   An element is a node: a key (none in a list) and a value. Small ones are cells, which lie in
   chunks and go from free lists into the table and back; large ones are objects of their own. The
   table is an object, too, and is replaced when it is to grow.

   A change is noted in the root before it is made. `noted` is the store that decides: from then on
   the change is made, by its author, or by the next owner of the latch, who does again whatever has
   been noted: all steps can be repeated. So nobody ever sees anything between before and after.

   An object is linked by one store. Before it is published its id is noted in `making`; what a
   table or root replaces is noted in `retired` or `former` before it is replaced. The next owner
   destroys what is noted and not linked; ids are never used again, so that can be repeated, too. */
#ifndef KIN_CORE_STORE_H
#define KIN_CORE_STORE_H

#include "core/latch.h"

#include <kin/queue.h>

enum {
    STORE_CLASSES = 20, /* of cells */
    STORE_CELL = 1024,  /* bytes of the largest */
    STORE_KEPT = 3
};

/* What names a node: of a cell its offset and class, of an object its id with a bit that no id
   has. 0 is none. */
#define STORE_LARGE (UINT64_C(1) << 63)
enum { STORE_CLASS_SHIFT = 48 };

typedef struct store_node {
    _Atomic uint64_t next; /* of a free cell */
    uint64_t key_size;
    uint64_t value_size;
    unsigned char bytes[]; /* the key, then, at a multiple of 8, the value */
} store_node;

/* A chunk: cells from its first byte to `bump`; behind it, up to `end`, there are none yet. */
typedef struct store_chunk {
    object object;
    _Atomic uint64_t previous; /* id */
    _Atomic uint64_t bump;     /* offset in the arena, as is the next */
    uint64_t end;
    _Alignas(64) unsigned char bytes[];
} store_chunk;

/* All under the latch. Stores are in the order of the program to whoever goes on after a kill. */
typedef struct store_root {
    object object;
    uint64_t making;                       /* id of an object that is about to be linked */
    _Atomic uint64_t former;               /* the root that this one has replaced */
    _Atomic uint64_t retired;              /* the table that the present one has replaced */
    _Atomic uint64_t table;                /* id */
    _Atomic uint64_t chunk;                /* the newest: id */
    _Atomic uint64_t heads[STORE_CLASSES]; /* free cells */

    /* What is being done: `noted` says what, 0 for nothing; the nodes that come in and go out. The
       kinds note more. */
    _Alignas(64) _Atomic uint64_t noted;
    _Atomic uint64_t added;
    _Atomic uint64_t dropped;
} store_root;

#define STORE_PUT(field, value) atomic_store_explicit(&(field), value, memory_order_release)
#define STORE_GET(field) atomic_load_explicit(&(field), memory_order_relaxed)

/* Clears a note of an id, after all that was done before and before all that comes. */
static inline void store_forget(uint64_t *note)
{
    atomic_signal_fence(memory_order_seq_cst);
    *note = 0;
    atomic_signal_fence(memory_order_seq_cst);
}

/* A store in use by a call. */
typedef struct store {
    sync *s;
    uint64_t id;
    thread_self *t;
    store_root *root;
    unsigned kept; /* objects that stay readable until store_finish */
    object_guard guards[STORE_KEPT];
} store;

/* What a kind is. */
typedef struct store_kind {
    uint64_t root_size;
    /* Makes room for so many elements in all. KIN_E_NOMEM. */
    int (*reserve)(store *u, uint64_t count);
    /* Does what is noted in the root. May be repeated. */
    void (*apply)(store *u);
    /* Calls store_drop_node for each node of a table. */
    void (*drop)(store_root *root, object *table);
    /* What a root takes over from the one that it replaces. */
    void (*succeed)(store_root *root, const store_root *former);
    /* After what is noted has been done: destroys what is noted elsewhere. May be NULL. */
    void (*repair)(store *u);
} store_kind;

void store_register(enum object_kind kind, const store_kind *how);

/* *id is written before the store is known. */
int store_create(uint64_t *id, enum object_kind kind, const char *name, uint64_t expected);

/* Ends it. Waits for whoever uses it. */
int store_destroy(uint64_t id, enum object_kind kind);

/* Replaces all that it has by nothing, in one step. */
int store_clear(uint64_t id, enum object_kind kind);

/* Becomes the owner of a store, which is whole: 0. Else KIN_E_HANDLE, KIN_E_DESTROYED, KIN_E_INIT,
   KIN_E_THREAD_LIMIT, KIN_E_LIMIT (calls are nested too deep). */
int store_enter(store *u, uint64_t id, enum object_kind kind);

/* Gives it back; then frees what was kept. Both: store_leave. */
void store_release(store *u);
void store_finish(store *u);
void store_leave(store *u);

static inline store_node *store_node_at(uint64_t ref)
{
    uint64_t offset = (ref & STORE_LARGE) != 0 ? object_place(ref & ~STORE_LARGE) + sizeof(object)
                                               : ref & ((UINT64_C(1) << STORE_CLASS_SHIFT) - 1);
    return (store_node *) (void *) (arena_now.base + offset);
}

static inline void *store_object_at(uint64_t id)
{
    return arena_now.base + object_place(id);
}

static inline unsigned char *store_value_of(store_node *n)
{
    return n->bytes + ((n->key_size + 7) & ~UINT64_C(7));
}

/* ---- nodes that come in ---- */

typedef struct store_draft {
    const void *key;
    uint64_t key_size;
    const void *value;
    uint64_t value_size;
    uint64_t size; /* of the node */
    object *large; /* private; NULL for a cell */
} store_draft;

/* Without the latch, for it may take long. KIN_E_NOMEM, KIN_E_INVALID. */
int store_draft_make(store_draft *d, const void *key, size_t key_size, const void *value,
                     size_t value_size);
void store_draft_drop(store_draft *d);

/* Bytes of a node; UINT64_MAX if it can be none. And the class of its cell. */
uint64_t store_node_size(uint64_t key_size, uint64_t value_size);
unsigned store_class(uint64_t size);
uint64_t store_class_size(unsigned class);
void store_fill(store_node *n, const store_draft *d);

/* Makes the node for a draft and gives its ref, to be noted as `added` at once. KIN_E_NOMEM. */
int store_add(store *u, store_draft *d, uint64_t *ref);

/* ---- for apply ---- */

/* The node that has been added is not free any more; the one that was dropped is. */
void store_take(store_root *root, uint64_t ref);
void store_give(store *u, uint64_t ref);

/* For drop. */
void store_drop_node(uint64_t ref);

/* Links a table that is complete; frees the old one. After a failure the new one is gone. */
int store_link_table(store *u, object *table);

/* Destroys an object, which stays readable until store_finish. */
void store_discard_object(store *u, uint64_t id);

/* Destroys what a dead owner has noted, if that ever got published. */
void store_destroy_made(uint64_t id);

/* ---- nodes that are read ---- */

/* Whether they fit into the buffers (NULL: not wanted), whose sizes become theirs. 0 or
   KIN_E_TOO_SMALL. */
int store_fit(const store_node *n, kin_buffer *key, kin_buffer *value);

/* Copies them, then leaves: what is large is copied without the latch. */
void store_copy_and_leave(store *u, uint64_t ref, const kin_buffer *key, const kin_buffer *value);

/* What kin_..._get and the like do with their arguments. */
static inline bool store_is_buffer(const void *data, size_t size)
{
    return data != NULL || size == 0;
}

bool store_is_equal(const void *a, uint64_t a_size, const void *b, uint64_t b_size);

/* Adds to a value that is a number, by one store. KIN_E_STATE if it is none. */
int store_increment(store_node *n, int64_t delta, int64_t *value);

#endif
