/* Many elements at once. They are named in the places behind the last one, where nobody looks, and
   their cells are filled while they are still free; then one store decides that they are there.
   What is large has been made before, and is published one after the other. Cells that are free are
   taken first, in the order of their lists; the others come from one chunk: the newest, if it has
   room for all, else one that is made for them, and linked behind the newest.

   If the author is killed before that store, the next owner destroys the large ones, which it finds
   by their places, and clears these. All places that have no element are 0. */
#include "core/list_table.h"

static uint64_t size_of(const kin_buffer *item)
{
    return store_node_size(0, item->size);
}

/* ---- without the latch ---- */

static uint64_t *larges_of(const list_extension *e)
{
    return arena_at(e->block);
}

static int measure(const list_extension *e, bool *large)
{
    uint64_t most = arena_memory()->size;
    *large = false;
    for (uint64_t i = 0; i < e->count; i++) {
        if (!store_is_buffer(e->items[i].data, e->items[i].size)) {
            return KIN_E_INVALID;
        }
        *large = *large || size_of(&e->items[i]) > STORE_CELL;
        if (size_of(&e->items[i]) > most) {
            return KIN_E_NOMEM;
        }
    }
    return 0;
}

void list_extension_drop(list_extension *e)
{
    for (uint64_t i = 0; e->block != 0 && i < e->count; i++) {
        if (larges_of(e)[i] != 0) {
            object_drop(arena_at(larges_of(e)[i]));
        }
    }
    if (e->block != 0) {
        (void) arena_free(e->block); /* ours: cannot fail but with the system */
        e->block = 0;
    }
}

static int make_larges(list_extension *e)
{
    int status = arena_allocate(&e->block, e->count * sizeof(uint64_t), ARENA_ZERO);
    if (status < 0) {
        e->block = 0;
        return status;
    }
    for (uint64_t i = 0; i < e->count; i++) {
        store_draft d;
        status = store_draft_make(&d, NULL, 0, e->items[i].data, e->items[i].size);
        if (status < 0) {
            list_extension_drop(e);
            return status;
        }
        larges_of(e)[i] = d.large != NULL ? arena_offset(d.large) : 0;
    }
    return 0;
}

int list_extension_make(list_extension *e, const kin_buffer *items, size_t count)
{
    bool large;
    *e = (list_extension){.items = items, .count = count};
    if (count > arena_memory()->size / sizeof(uint64_t)) {
        return KIN_E_NOMEM;
    }
    int status = measure(e, &large);
    return status == 0 && large ? make_larges(e) : status;
}

/* ---- with it ---- */

/* What is left of the free cells, as they are taken. */
typedef struct supply {
    uint64_t heads[STORE_CLASSES];
    uint64_t chunk; /* id; 0: none is needed */
    uint64_t bump;
} supply;

/* Bytes of cells that are not on the free lists. */
static uint64_t count_fresh(const store_root *root, const list_extension *e)
{
    uint64_t needed[STORE_CLASSES] = {0};
    uint64_t fresh = 0;
    for (uint64_t i = 0; i < e->count; i++) {
        uint64_t size = size_of(&e->items[i]);
        if (size <= STORE_CELL) {
            needed[store_class(size)]++;
        }
    }
    for (unsigned class = 0; class < STORE_CLASSES; class ++) {
        uint64_t ref = STORE_GET(root->heads[class]);
        for (; needed[class] > 0 && ref != 0; needed[class]--) {
            ref = STORE_GET(store_node_at(ref)->next);
        }
        fresh += needed[class] * store_class_size(class);
    }
    return fresh;
}

static int make_chunk(list_root *root, uint64_t bytes)
{
    object *o = NULL;
    if (bytes > arena_memory()->size) {
        return KIN_E_NOMEM;
    }
    int status = object_create(&o, sizeof(store_chunk) + bytes);
    if (status < 0) {
        return status;
    }
    store_chunk *c = (store_chunk *) o;
    STORE_PUT(c->bump, arena_offset(c->bytes));
    c->end = arena_offset(c->bytes) + bytes;
    status = object_publish(o, KIND_PART, atomic_load(&root->store.object.id), &root->batch);
    if (status < 0) {
        object_drop(o);
        store_forget(&root->batch);
    }
    return status;
}

static int find_supply(store *u, const list_extension *e, supply *s)
{
    list_root *root = list_root_of(u);
    uint64_t fresh = count_fresh(u->root, e);
    uint64_t newest = STORE_GET(root->store.chunk);
    for (unsigned class = 0; class < STORE_CLASSES; class ++) {
        s->heads[class] = STORE_GET(root->store.heads[class]);
    }
    s->chunk = fresh > 0 ? newest : 0;
    s->bump = 0;
    if (fresh == 0) {
        return 0;
    }
    store_chunk *c = newest != 0 ? store_object_at(newest) : NULL;
    if (c == NULL || c->end - STORE_GET(c->bump) < fresh) {
        int status = make_chunk(root, fresh);
        if (status < 0) {
            return status;
        }
        s->chunk = root->batch;
        c = store_object_at(s->chunk);
    }
    s->bump = STORE_GET(c->bump);
    return 0;
}

static uint64_t take_cell(supply *s, const kin_buffer *item)
{
    const store_draft d = {.value = item->data, .value_size = item->size};
    unsigned class = store_class(size_of(item));
    uint64_t ref = s->heads[class];
    if (ref != 0) {
        s->heads[class] = STORE_GET(store_node_at(ref)->next);
    } else {
        ref = s->bump | (uint64_t) class << STORE_CLASS_SHIFT;
        s->bump += store_class_size(class);
    }
    store_fill(store_node_at(ref), &d);
    return ref;
}

static int place_large(store *u, list_extension *e, uint64_t i, _Atomic uint64_t *place)
{
    store_root *root = u->root;
    object *o = arena_at(larges_of(e)[i]);
    int status = object_publish(o, KIND_PART, atomic_load(&root->object.id), &root->making);
    if (status == 0) {
        larges_of(e)[i] = 0;
        STORE_PUT(*place, root->making | STORE_LARGE);
    }
    store_forget(&root->making);
    return status;
}

static _Atomic uint64_t *place_behind(const store *u, uint64_t i)
{
    const list_root *root = list_root_of(u);
    return list_place(list_table_of(u), STORE_GET(root->first) + STORE_GET(root->count) + i);
}

void list_extend_repair(store *u)
{
    list_root *root = list_root_of(u);
    for (uint64_t i = 0; i < STORE_GET(root->extending); i++) {
        _Atomic uint64_t *place = place_behind(u, i);
        store_drop_node(STORE_GET(*place));
        STORE_PUT(*place, 0);
    }
    STORE_PUT(root->extending, 0);
    store_destroy_made(root->batch);
    store_forget(&root->batch);
}

static void link_batch(list_root *root)
{
    uint64_t id = root->batch;
    uint64_t newest = STORE_GET(root->store.chunk);
    if (id == 0 || newest == id) {
        return;
    }
    if (newest == 0) {
        STORE_PUT(root->store.chunk, id);
        return;
    }
    store_chunk *before = store_object_at(newest);
    if (STORE_GET(before->previous) != id) {
        STORE_PUT(((store_chunk *) store_object_at(id))->previous, STORE_GET(before->previous));
        STORE_PUT(before->previous, id);
    }
}

void list_extend_apply(store *u)
{
    list_root *root = list_root_of(u);
    uint64_t chunk = STORE_GET(root->bump_chunk);
    for (unsigned class = 0; class < STORE_CLASSES; class ++) {
        STORE_PUT(root->store.heads[class], STORE_GET(root->new_heads[class]));
    }
    if (chunk != 0) {
        STORE_PUT(((store_chunk *) store_object_at(chunk))->bump, STORE_GET(root->new_bump));
    }
    link_batch(root);
    store_forget(&root->batch);
    STORE_PUT(root->extending, 0);
}

static void commit(store *u, const list_extension *e, const supply *s)
{
    list_root *root = list_root_of(u);
    for (unsigned class = 0; class < STORE_CLASSES; class ++) {
        STORE_PUT(root->new_heads[class], s->heads[class]);
    }
    STORE_PUT(root->bump_chunk, s->chunk);
    STORE_PUT(root->new_bump, s->bump);
    STORE_PUT(root->store.added, 0);
    STORE_PUT(root->store.dropped, 0);
    STORE_PUT(root->new_count, STORE_GET(root->count) + e->count);
    /* This is it: from here on it will be done. */
    STORE_PUT(root->store.noted, LIST_EXTEND);
    list_apply(u);
}

int list_extend(store *u, list_extension *e)
{
    supply s;
    list_root *root = list_root_of(u);
    int status = list_make_room(u, STORE_GET(root->count) + e->count);
    if (status == 0) {
        status = find_supply(u, e, &s);
    }
    if (status < 0) {
        return status;
    }
    STORE_PUT(root->extending, e->count);
    for (uint64_t i = 0; i < e->count && status == 0; i++) {
        if (size_of(&e->items[i]) > STORE_CELL) {
            status = place_large(u, e, i, place_behind(u, i));
        } else {
            STORE_PUT(*place_behind(u, i), take_cell(&s, &e->items[i]));
        }
    }
    if (status < 0) {
        list_extend_repair(u);
        return status;
    }
    commit(u, e, &s);
    return 0;
}
