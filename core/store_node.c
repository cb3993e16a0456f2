/* The nodes of a store: where they come from, how they are read, and where they go. */
#include "core/store.h"

#include <string.h>

/* Bytes of chunks: each is twice as large as the one before. */
enum { FIRST_CHUNK = 2048, MOST_CHUNK = 65536 };

/* Up to 128 bytes a class for each 16, above that four for each doubling. */
enum { SMALL = 128, SMALL_CLASSES = 8, SMALL_SHIFT = 7 };

unsigned store_class(uint64_t size)
{
    if (size <= SMALL) {
        return (unsigned) ((size + 15) / 16 - 1);
    }
    uint32_t s = (uint32_t) size - 1;
    unsigned log = 31 - (unsigned) __builtin_clz(s);
    return SMALL_CLASSES + (log - SMALL_SHIFT) * 4 + ((s >> (log - 2)) & 3);
}

uint64_t store_class_size(unsigned class)
{
    if (class < SMALL_CLASSES) {
        return (class + 1) * UINT64_C(16);
    }
    unsigned log = SMALL_SHIFT + (class - SMALL_CLASSES) / 4;
    return (UINT64_C(1) << log) + (((class - SMALL_CLASSES) & 3) + 1) * (UINT64_C(1) << (log - 2));
}

uint64_t store_node_size(uint64_t key_size, uint64_t value_size)
{
    const uint64_t most = UINT64_C(1) << 40; /* more than any arena has */
    if (key_size > most || value_size > most) {
        return UINT64_MAX;
    }
    return sizeof(store_node) + ((key_size + 7) & ~UINT64_C(7)) + value_size;
}

void store_fill(store_node *n, const store_draft *d)
{
    n->key_size = d->key_size;
    n->value_size = d->value_size;
    if (d->key_size > 0) {
        memcpy(n->bytes, d->key, (size_t) d->key_size);
    }
    if (d->value_size > 0) {
        memcpy(store_value_of(n), d->value, (size_t) d->value_size);
    }
}

int store_draft_make(store_draft *d, const void *key, size_t key_size, const void *value,
                     size_t value_size)
{
    *d = (store_draft){.key = key,
                       .key_size = key_size,
                       .value = value,
                       .value_size = value_size,
                       .size = store_node_size(key_size, value_size)};
    if (!store_is_buffer(key, key_size) || !store_is_buffer(value, value_size)) {
        return KIN_E_INVALID;
    }
    if (d->size <= STORE_CELL) {
        return 0;
    }
    if (!family_is_joined()) {
        return KIN_E_INIT;
    }
    if (d->size > arena_memory()->size) {
        return KIN_E_NOMEM;
    }
    int status = object_create(&d->large, sizeof(object) + d->size);
    if (status == 0) {
        store_fill((store_node *) (void *) (d->large + 1), d);
    }
    return status;
}

void store_draft_drop(store_draft *d)
{
    if (d->large != NULL) {
        object_drop(d->large);
        d->large = NULL;
    }
}

static store_chunk *chunk_of(store_root *root)
{
    uint64_t id = STORE_GET(root->chunk);
    return id != 0 ? store_object_at(id) : NULL;
}

static int add_chunk(store *u)
{
    store_root *root = u->root;
    store_chunk *newest = chunk_of(root);
    uint64_t size = newest != NULL ? 2 * (newest->end - arena_offset(newest)) : FIRST_CHUNK;
    size = size < FIRST_CHUNK ? FIRST_CHUNK : size < MOST_CHUNK ? size : MOST_CHUNK;
    object *o = NULL;
    int status = object_create(&o, size);
    if (status < 0) {
        return status;
    }
    store_chunk *c = (store_chunk *) o;
    STORE_PUT(c->previous, STORE_GET(root->chunk));
    STORE_PUT(c->bump, arena_offset(c->bytes));
    c->end = arena_offset(c) + size;
    status = object_publish(o, KIND_PART, atomic_load(&root->object.id), &root->making);
    if (status < 0) {
        object_drop(o);
    } else {
        STORE_PUT(root->chunk, root->making);
    }
    store_forget(&root->making);
    return status;
}

/* A place for a cell, which stays free until store_take. */
static int find_place(store *u, uint64_t size, uint64_t *ref)
{
    unsigned class = store_class(size);
    *ref = STORE_GET(u->root->heads[class]);
    if (*ref != 0) {
        return 0;
    }
    store_chunk *c = chunk_of(u->root);
    if (c == NULL || c->end - STORE_GET(c->bump) < store_class_size(class)) {
        int status = add_chunk(u);
        if (status < 0) {
            return status;
        }
        c = chunk_of(u->root);
    }
    *ref = STORE_GET(c->bump) | (uint64_t) class << STORE_CLASS_SHIFT;
    return 0;
}

int store_add(store *u, store_draft *d, uint64_t *ref)
{
    if (d->large == NULL) {
        int status = find_place(u, d->size, ref);
        if (status == 0) {
            store_fill(store_node_at(*ref), d);
        }
        return status;
    }
    store_root *root = u->root;
    uint64_t owner = atomic_load(&root->object.id);
    int status = object_publish(d->large, KIND_PART, owner, &root->making);
    if (status < 0) {
        store_forget(&root->making);
        return status;
    }
    d->large = NULL;
    *ref = root->making | STORE_LARGE;
    return 0;
}

void store_take(store_root *root, uint64_t ref)
{
    if ((ref & STORE_LARGE) != 0) {
        store_forget(&root->making); /* it is linked */
        return;
    }
    unsigned class = (unsigned) (ref >> STORE_CLASS_SHIFT);
    uint64_t offset = ref & ((UINT64_C(1) << STORE_CLASS_SHIFT) - 1);
    store_chunk *c = chunk_of(root);
    if (STORE_GET(c->bump) == offset) {
        STORE_PUT(c->bump, offset + store_class_size(class));
    } else if (STORE_GET(root->heads[class]) == ref) {
        STORE_PUT(root->heads[class], STORE_GET(store_node_at(ref)->next));
    }
}

void store_give(store *u, uint64_t ref)
{
    if ((ref & STORE_LARGE) != 0) {
        store_discard_object(u, ref & ~STORE_LARGE);
        return;
    }
    _Atomic uint64_t *head = &u->root->heads[ref >> STORE_CLASS_SHIFT];
    if (STORE_GET(*head) != ref) {
        STORE_PUT(store_node_at(ref)->next, STORE_GET(*head));
        STORE_PUT(*head, ref);
    }
}

void store_drop_node(uint64_t ref)
{
    if ((ref & STORE_LARGE) != 0) {
        (void) object_destroy(ref & ~STORE_LARGE); /* KIN_E_HANDLE: gone already */
    }
}

static int fit(uint64_t size, kin_buffer *buffer)
{
    if (buffer == NULL) {
        return 0;
    }
    size_t capacity = buffer->size;
    buffer->size = (size_t) size;
    return size <= capacity ? 0 : KIN_E_TOO_SMALL;
}

int store_fit(const store_node *n, kin_buffer *key, kin_buffer *value)
{
    int key_fits = fit(n->key_size, key);
    int value_fits = fit(n->value_size, value);
    return key_fits < 0 ? key_fits : value_fits;
}

static bool keep(store *u, uint64_t id)
{
    for (unsigned i = 0; i < u->kept; i++) {
        if (u->guards[i].object == store_object_at(id)) {
            return true;
        }
    }
    if (u->kept < STORE_KEPT && object_enter(&u->guards[u->kept], id, KIND_PART) == 0) {
        u->kept++;
        return true;
    }
    return false;
}

static void copy(const kin_buffer *to, const void *from)
{
    if (to != NULL && to->size > 0) {
        memcpy(to->data, from, to->size);
    }
}

void store_copy_and_leave(store *u, uint64_t ref, const kin_buffer *key, const kin_buffer *value)
{
    store_node *n = store_node_at(ref);
    /* What is small may be a number, which others change in its place. */
    bool later = n->value_size > STORE_CELL;
    if (!later) {
        copy(value, store_value_of(n));
    }
    bool kept = (ref & STORE_LARGE) != 0 && keep(u, ref & ~STORE_LARGE);
    if (kept) {
        store_release(u);
    }
    copy(key, n->bytes);
    if (later) {
        copy(value, store_value_of(n));
    }
    if (!kept) {
        store_release(u);
    }
    store_finish(u);
}

bool store_is_equal(const void *a, uint64_t a_size, const void *b, uint64_t b_size)
{
    return a_size == b_size && (a_size == 0 || memcmp(a, b, (size_t) a_size) == 0);
}

int store_increment(store_node *n, int64_t delta, int64_t *value)
{
    if (n->value_size != sizeof *value) {
        return KIN_E_STATE;
    }
    _Atomic uint64_t *number = (_Atomic uint64_t *) (void *) store_value_of(n);
    uint64_t sum = STORE_GET(*number) + (uint64_t) delta;
    STORE_PUT(*number, sum);
    if (value != NULL) {
        memcpy(value, &sum, sizeof sum);
    }
    return 0;
}
