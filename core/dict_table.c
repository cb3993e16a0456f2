/* The table of a dictionary, and its changes; dict_table.h has the argument. */
#include "core/dict_table.h"

#include <string.h>

enum { FIRST_CAPACITY = 8 };
#define MOST_CAPACITY (UINT64_C(1) << 30)

static _Atomic uint64_t *index_of(dict_table *t)
{
    return (_Atomic uint64_t *) (void *) &t->entries[t->capacity];
}

static uint64_t index_word(uint64_t hash, uint64_t slot)
{
    return hash >> 32 << 32 | (slot + 1);
}

static void index_put(dict_table *t, uint64_t hash, uint64_t slot)
{
    _Atomic uint64_t *index = index_of(t);
    uint64_t mask = 2 * t->capacity - 1;
    uint64_t word = index_word(hash, slot);
    uint64_t at = hash & mask;
    uint64_t there;
    while ((there = STORE_GET(index[at])) != 0 && there != word) {
        at = (at + 1) & mask;
    }
    STORE_PUT(index[at], word);
}

/* ---- a change, once it is noted ---- */

static void apply(store *u)
{
    dict_root *root = dict_root_of(u);
    dict_table *t = dict_table_of(u);
    uint64_t slot = STORE_GET(root->slot);
    uint64_t added = STORE_GET(root->store.added);
    uint64_t dropped = STORE_GET(root->store.dropped);
    dict_entry *e = &t->entries[slot];
    if (STORE_GET(root->store.noted) == DICT_INSERT) {
        uint64_t hash = STORE_GET(root->hash);
        /* Who goes on with it may find that the number has been given. */
        if (STORE_GET(t->used) == slot) {
            uint64_t number = STORE_GET(root->number);
            STORE_PUT(e->number, number);
            STORE_PUT(e->hash, hash);
        }
        index_put(t, hash, slot);
        STORE_PUT(t->used, slot + 1);
        STORE_PUT(root->number, STORE_GET(e->number) + 1);
    }
    STORE_PUT(e->ref, added);
    STORE_PUT(root->live, STORE_GET(root->new_live));
    if (added != 0) {
        store_take(u->root, added);
    }
    if (dropped != 0) {
        store_give(u, dropped);
    }
    STORE_PUT(root->store.noted, 0);
}

static void change(store *u, uint64_t what, uint64_t slot, uint64_t hash, uint64_t added)
{
    dict_root *root = dict_root_of(u);
    uint64_t live = STORE_GET(root->live);
    STORE_PUT(root->slot, slot);
    STORE_PUT(root->hash, hash);
    STORE_PUT(root->store.added, added);
    STORE_PUT(root->store.dropped,
              what == DICT_INSERT ? 0 : STORE_GET(dict_table_of(u)->entries[slot].ref));
    STORE_PUT(root->new_live, what == DICT_INSERT   ? live + 1
                              : what == DICT_REMOVE ? live - 1
                                                    : live);
    /* This is it: from here on it will be done. */
    STORE_PUT(root->store.noted, what);
    apply(u);
}

/* ---- tables ---- */

static int rebuild(store *u, uint64_t capacity)
{
    dict_table *old = dict_table_of(u);
    object *o = NULL;
    if (capacity > MOST_CAPACITY) {
        return KIN_E_NOMEM;
    }
    uint64_t bytes = capacity * sizeof(dict_entry) + 2 * capacity * sizeof(uint64_t);
    if (bytes > arena_memory()->size) {
        return KIN_E_NOMEM;
    }
    int status = object_create(&o, sizeof(dict_table) + bytes);
    if (status < 0) {
        return status;
    }
    dict_table *t = (dict_table *) o;
    t->capacity = capacity;
    uint64_t used = 0;
    for (uint64_t i = 0; old != NULL && i < STORE_GET(old->used); i++) {
        const dict_entry *e = &old->entries[i];
        if (STORE_GET(e->ref) != 0) {
            STORE_PUT(t->entries[used].ref, STORE_GET(e->ref));
            STORE_PUT(t->entries[used].number, STORE_GET(e->number));
            STORE_PUT(t->entries[used].hash, STORE_GET(e->hash));
            index_put(t, STORE_GET(e->hash), used);
            used++;
        }
    }
    STORE_PUT(t->used, used);
    return store_link_table(u, o);
}

static uint64_t capacity_for(uint64_t count)
{
    uint64_t capacity = FIRST_CAPACITY;
    while (capacity < count && capacity <= MOST_CAPACITY) {
        capacity *= 2;
    }
    return capacity;
}

static int reserve(store *u, uint64_t count)
{
    return rebuild(u, capacity_for(count));
}

/* Room for one more. At least half of a new table is free. */
static int make_room(store *u)
{
    const dict_table *t = dict_table_of(u);
    if (t != NULL && STORE_GET(t->used) < t->capacity) {
        return 0;
    }
    return rebuild(u, capacity_for(2 * STORE_GET(dict_root_of(u)->live)));
}

static void drop(store_root *root, object *table)
{
    dict_table *t = (dict_table *) table;
    (void) root;
    for (uint64_t i = 0; i < STORE_GET(t->used); i++) {
        store_drop_node(STORE_GET(t->entries[i].ref));
    }
}

/* Numbers go on: who goes through it finds what comes after. */
static void succeed(store_root *root, const store_root *former)
{
    STORE_PUT(((dict_root *) root)->number, STORE_GET(((const dict_root *) former)->number));
}

/* ---- looking up ---- */

uint64_t dict_hash(const void *key, size_t size)
{
    const uint64_t k = UINT64_C(0x9e3779b97f4a7c15);
    const unsigned char *at = key;
    uint64_t h = arena_secret() ^ size * k;
    for (; size >= sizeof h; size -= sizeof h, at += sizeof h) {
        uint64_t word;
        memcpy(&word, at, sizeof word);
        h = (h ^ word) * k;
        h ^= h >> 29;
    }
    if (size > 0) {
        uint64_t word = 0;
        memcpy(&word, at, size);
        h = (h ^ word) * k;
        h ^= h >> 29;
    }
    h *= UINT64_C(0xbf58476d1ce4e5b9);
    h ^= h >> 32;
    h *= UINT64_C(0x94d049bb133111eb);
    return h ^ h >> 31;
}

void dict_find(dict_call *c)
{
    dict_table *t = dict_table_of(&c->u);
    c->ref = 0;
    if (t == NULL) {
        return;
    }
    _Atomic uint64_t *index = index_of(t);
    uint64_t mask = 2 * t->capacity - 1;
    uint64_t word;
    for (uint64_t at = c->hash & mask; (word = STORE_GET(index[at])) != 0; at = (at + 1) & mask) {
        if (word >> 32 != c->hash >> 32) {
            continue;
        }
        c->slot = (uint32_t) word - 1;
        const dict_entry *e = &t->entries[c->slot];
        uint64_t ref = STORE_GET(e->ref);
        if (ref != 0 && STORE_GET(e->hash) == c->hash) {
            store_node *n = store_node_at(ref);
            if (store_is_equal(n->bytes, n->key_size, c->key, c->key_size)) {
                c->ref = ref;
                return;
            }
        }
    }
}

int dict_put(dict_call *c, store_draft *d)
{
    uint64_t ref = 0;
    int status = c->ref == 0 ? make_room(&c->u) : 0;
    if (status == 0) {
        status = store_add(&c->u, d, &ref);
    }
    if (status == 0) {
        bool is_new = c->ref == 0;
        uint64_t slot = is_new ? STORE_GET(dict_table_of(&c->u)->used) : c->slot;
        change(&c->u, is_new ? DICT_INSERT : DICT_REPLACE, slot, c->hash, ref);
    }
    return status;
}

void dict_take_out(dict_call *c)
{
    change(&c->u, DICT_REMOVE, c->slot, c->hash, 0);
}

uint64_t dict_place_of(dict_table *t, uint64_t number, uint64_t hint)
{
    uint64_t low = 0;
    uint64_t high = STORE_GET(t->used);
    if (hint <= high && (hint == 0 || STORE_GET(t->entries[hint - 1].number) < number) &&
        (hint == high || STORE_GET(t->entries[hint].number) >= number)) {
        return hint;
    }
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (STORE_GET(t->entries[middle].number) < number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

void dict_table_set_up(void)
{
    static const store_kind how = {.root_size = sizeof(dict_root),
                                   .reserve = reserve,
                                   .apply = apply,
                                   .drop = drop,
                                   .succeed = succeed};
    store_register(KIND_DICT, &how);
}
