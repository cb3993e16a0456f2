/* The table of a dictionary: its entries in the order in which they came in, and an index to them
   by hash.

   An entry is never moved within a table, and is empty once its element is gone; a table that is
   full is replaced by one that has the others. The index is open addressing with places for twice
   as many; it is never cleaned up, as what it says of an empty entry is not believed. Each element
   has a number, higher than those of all before it: so one that goes through a dictionary knows
   where it is, whatever becomes of the table. */
#ifndef KIN_CORE_DICT_TABLE_H
#define KIN_CORE_DICT_TABLE_H

#include "core/store.h"

typedef struct dict_entry {
    _Atomic uint64_t ref; /* 0: its element is gone */
    _Atomic uint64_t number;
    _Atomic uint64_t hash;
} dict_entry;

typedef struct dict_table {
    object object;
    uint64_t capacity;                 /* a power of 2 */
    _Atomic uint64_t used;             /* entries, the empty ones too */
    _Alignas(64) dict_entry entries[]; /* then the index: upper half of the hash, and entry + 1 */
} dict_table;

/* What is noted in the root. */
enum { DICT_INSERT = 1, DICT_REPLACE, DICT_REMOVE };

typedef struct dict_root {
    store_root store;
    /* As they will be afterwards, and about the entry: */
    _Atomic uint64_t slot;
    _Atomic uint64_t hash;
    _Atomic uint64_t new_live;
    /* As they are: */
    _Atomic uint64_t live;   /* elements */
    _Atomic uint64_t number; /* of the next one */
} dict_root;

static inline dict_root *dict_root_of(const store *u)
{
    return (dict_root *) u->root;
}

static inline dict_table *dict_table_of(const store *u)
{
    uint64_t id = STORE_GET(u->root->table);
    return id != 0 ? store_object_at(id) : NULL;
}

/* A call about one key. */
typedef struct dict_call {
    store u;
    const void *key;
    size_t key_size;
    uint64_t hash;
    uint64_t slot;
    uint64_t ref; /* 0: the key is not there */
} dict_call;

uint64_t dict_hash(const void *key, size_t size);

/* Finds the key, whose hash is known. */
void dict_find(dict_call *c);

/* Gives the key that has been looked for the value of the draft. KIN_E_NOMEM. */
int dict_put(dict_call *c, store_draft *d);

/* Removes the key that has been found. */
void dict_take_out(dict_call *c);

/* The first entry with at least that number; `hint` may be where it is. */
uint64_t dict_place_of(dict_table *t, uint64_t number, uint64_t hint);

void dict_table_set_up(void);

#endif
