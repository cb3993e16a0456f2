/* The table of a list, and its changes; list_table.h has the argument. */
#include "core/list_table.h"

enum { FIRST_CAPACITY = 8 };
#define MOST_CAPACITY (UINT64_C(1) << 32)

/* What is noted. */
enum { CHANGE = 1, EXTEND };

/* A move as it is kept: a position, and which side of it moved by one, and whether to the front.
   Positions lose their two upper bits. */
enum { MOVED_LEFT = 1, MOVED_DOWN = 2, MOVE_SHIFT = 2 };

/* ---- a change, once it is noted ---- */

static void shift(list_root *root, list_table *t)
{
    uint64_t stop = STORE_GET(root->stop);
    uint64_t step = STORE_GET(root->step);
    for (uint64_t q = STORE_GET(root->from); q != stop; q += step) {
        STORE_PUT(*list_place(t, q), STORE_GET(*list_place(t, q + step)));
        STORE_PUT(root->from, q + step);
    }
}

static void apply(store *u)
{
    list_root *root = list_root_of(u);
    uint64_t added = STORE_GET(root->store.added);
    uint64_t dropped = STORE_GET(root->store.dropped);
    if (STORE_GET(root->store.noted) == EXTEND) {
        list_batch_link(u);
    } else {
        list_table *t = list_table_of(u);
        uint64_t moves = STORE_GET(root->new_moves);
        shift(root, t);
        STORE_PUT(*list_place(t, STORE_GET(root->stop)), added);
        STORE_PUT(root->last_moves[moves % LIST_MOVES], STORE_GET(root->move));
        STORE_PUT(root->moves, moves);
        STORE_PUT(root->first, STORE_GET(root->new_first));
    }
    STORE_PUT(root->count, STORE_GET(root->new_count));
    if (added != 0) {
        store_take(u->root, added);
    }
    if (dropped != 0) {
        store_give(u, dropped);
    }
    STORE_PUT(root->store.noted, 0);
}

typedef struct plan {
    uint64_t from, stop, step;
    uint64_t first, count;
    uint64_t added, dropped;
    uint64_t move; /* 0: nothing moves but the ends */
} plan;

static void change(store *u, const plan *p)
{
    list_root *root = list_root_of(u);
    uint64_t moves = STORE_GET(root->moves) + (p->from != p->stop);
    STORE_PUT(root->store.added, p->added);
    STORE_PUT(root->store.dropped, p->dropped);
    STORE_PUT(root->from, p->from);
    STORE_PUT(root->stop, p->stop);
    STORE_PUT(root->step, p->step);
    STORE_PUT(root->new_first, p->first);
    STORE_PUT(root->new_count, p->count);
    STORE_PUT(root->new_moves, moves);
    STORE_PUT(root->move,
              p->from != p->stop ? p->move : STORE_GET(root->last_moves[moves % LIST_MOVES]));
    /* This is it: from here on it will be done. */
    STORE_PUT(root->store.noted, CHANGE);
    apply(u);
}

void list_insert(store *u, uint64_t index, uint64_t added)
{
    const list_root *root = list_root_of(u);
    uint64_t first = STORE_GET(root->first);
    uint64_t count = STORE_GET(root->count);
    uint64_t at = first + index;
    plan p = {.first = first, .count = count + 1, .added = added, .move = at << MOVE_SHIFT};
    if (index < count - index) {
        p.from = first - 1;
        p.stop = at - 1;
        p.step = 1;
        p.first = first - 1;
        p.move |= MOVED_LEFT | MOVED_DOWN;
    } else {
        p.from = first + count;
        p.stop = at;
        p.step = UINT64_MAX;
    }
    change(u, &p);
}

void list_replace(store *u, uint64_t index, uint64_t added)
{
    const list_root *root = list_root_of(u);
    uint64_t first = STORE_GET(root->first);
    plan p = {.from = first + index,
              .stop = first + index,
              .first = first,
              .count = STORE_GET(root->count),
              .added = added,
              .dropped = STORE_GET(*list_place(list_table_of(u), first + index))};
    change(u, &p);
}

void list_remove_at(store *u, uint64_t index)
{
    const list_root *root = list_root_of(u);
    uint64_t first = STORE_GET(root->first);
    uint64_t count = STORE_GET(root->count);
    uint64_t at = first + index;
    plan p = {.from = at,
              .first = first,
              .count = count - 1,
              .dropped = STORE_GET(*list_place(list_table_of(u), at)),
              .move = at << MOVE_SHIFT};
    if (index < count - 1 - index) {
        p.stop = first;
        p.step = UINT64_MAX;
        p.first = first + 1;
        p.move |= MOVED_LEFT;
    } else {
        p.stop = first + count - 1;
        p.step = 1;
        p.move |= MOVED_DOWN;
    }
    change(u, &p);
}

/* Those that have been seen are before `position`. What moved was behind the place of the change, or
   before it. */
static uint64_t follow(uint64_t position, uint64_t move)
{
    uint64_t at = move >> MOVE_SHIFT << MOVE_SHIFT;
    bool is_seen = (int64_t) (at - (position << MOVE_SHIFT)) < 0;
    if (is_seen == ((move & MOVED_LEFT) != 0)) {
        return position;
    }
    return (move & MOVED_DOWN) != 0 ? position - 1 : position + 1;
}

bool list_follow(const list_root *root, uint64_t *position, uint64_t seen)
{
    uint64_t moves = STORE_GET(root->moves);
    if (moves - seen > LIST_MOVES) {
        return false;
    }
    for (uint64_t i = seen + 1; i <= moves; i++) {
        *position = follow(*position, STORE_GET(root->last_moves[i % LIST_MOVES]));
    }
    return true;
}

/* ---- the table ---- */

int list_make_room(store *u, uint64_t count)
{
    const list_root *root = list_root_of(u);
    list_table *old = list_table_of(u);
    uint64_t capacity = FIRST_CAPACITY;
    object *o = NULL;
    if (old != NULL && count <= old->capacity) {
        return 0;
    }
    while (capacity < count && capacity < MOST_CAPACITY) {
        capacity *= 2;
    }
    if (capacity < count || capacity * sizeof(uint64_t) > arena_memory()->size) {
        return KIN_E_NOMEM;
    }
    int status = object_create(&o, sizeof(list_table) + capacity * sizeof(uint64_t));
    if (status < 0) {
        return status;
    }
    list_table *t = (list_table *) o;
    t->capacity = capacity;
    uint64_t first = STORE_GET(root->first);
    for (uint64_t q = first; q != first + STORE_GET(root->count); q++) {
        STORE_PUT(*list_place(t, q), STORE_GET(*list_place(old, q)));
    }
    return store_link_table(u, o);
}

static void drop(store_root *root, object *table)
{
    const list_root *list = (const list_root *) root;
    uint64_t first = STORE_GET(list->first);
    for (uint64_t q = first; q != first + STORE_GET(list->count); q++) {
        store_drop_node(STORE_GET(*list_place((list_table *) table, q)));
    }
}

/* Positions go on: who goes through it finds what comes after. */
static void succeed(store_root *root, const store_root *former)
{
    list_root *list = (list_root *) root;
    const list_root *before = (const list_root *) former;
    STORE_PUT(list->first, STORE_GET(before->first) + STORE_GET(before->count));
    STORE_PUT(list->moves, STORE_GET(before->moves));
    for (unsigned i = 0; i < LIST_MOVES; i++) {
        STORE_PUT(list->last_moves[i], STORE_GET(before->last_moves[i]));
    }
}

/* ---- many at once ---- */

/* In a batch, before the cells. */
typedef struct batch_item {
    uint64_t ref; /* of a cell; or where the private object is */
    uint64_t id;  /* of the object, noted before it is published; 0: a cell */
} batch_item;

static batch_item *items_of(store_chunk *c)
{
    return (batch_item *) (void *) c->bytes;
}

static uint64_t size_of(const kin_buffer *item)
{
    return store_node_size(0, item->size);
}

static int measure(const list_batch *b, uint64_t *size)
{
    uint64_t most = arena_memory()->size;
    *size = sizeof(store_chunk) + arena_align(b->count * sizeof(batch_item));
    for (uint64_t i = 0; i < b->count; i++) {
        uint64_t node = size_of(&b->items[i]);
        if (!store_is_buffer(b->items[i].data, b->items[i].size)) {
            return KIN_E_INVALID;
        }
        *size += node <= STORE_CELL ? store_class_size(store_class(node)) : 0;
        if (node > most || *size > most) {
            return KIN_E_NOMEM;
        }
    }
    return 0;
}

static int fill(const list_batch *b)
{
    store_chunk *c = (store_chunk *) b->chunk;
    batch_item *items = items_of(c);
    uint64_t at = arena_offset(c->bytes) + arena_align(b->count * sizeof(batch_item));
    for (uint64_t i = 0; i < b->count; i++) {
        store_draft d;
        int status = store_draft_make(&d, NULL, 0, b->items[i].data, b->items[i].size);
        if (status < 0) {
            return status;
        }
        if (d.large != NULL) {
            items[i].ref = arena_offset(d.large);
            items[i].id = STORE_LARGE; /* it has none yet */
        } else {
            unsigned class = store_class(d.size);
            items[i].ref = at | (uint64_t) class << STORE_CLASS_SHIFT;
            store_fill(store_node_at(items[i].ref), &d);
            at += store_class_size(class);
        }
        c->count = i + 1;
    }
    STORE_PUT(c->bump, at);
    c->end = at;
    return 0;
}

/* Large ones that have been published are destroyed by their ids, the others are ours alone. */
static void drop_items(store_chunk *c, bool ours)
{
    for (uint64_t i = 0; i < c->count; i++) {
        const batch_item *item = &items_of(c)[i];
        if (item->id == STORE_LARGE && ours) {
            object_drop(arena_at(item->ref));
        } else if (item->id != 0 && item->id != STORE_LARGE) {
            store_destroy_made(item->id);
        }
    }
}

void list_batch_drop(list_batch *b)
{
    if (b->chunk != NULL) {
        drop_items((store_chunk *) b->chunk, true);
        object_drop(b->chunk);
        b->chunk = NULL;
    }
}

int list_batch_make(list_batch *b, const kin_buffer *items, size_t count)
{
    uint64_t size = 0;
    *b = (list_batch){.items = items, .count = count};
    if (count > arena_memory()->size / sizeof(batch_item)) {
        return KIN_E_NOMEM;
    }
    int status = measure(b, &size);
    if (status == 0) {
        status = object_create(&b->chunk, size);
    }
    if (status == 0) {
        status = fill(b);
        if (status < 0) {
            list_batch_drop(b);
        }
    }
    return status;
}

static int publish_items(store_chunk *c, uint64_t owner)
{
    for (uint64_t i = 0; i < c->count; i++) {
        batch_item *item = &items_of(c)[i];
        if (item->id == STORE_LARGE) {
            int status = object_publish(arena_at(item->ref), KIND_PART, owner, &item->id);
            if (status < 0) {
                item->id = STORE_LARGE;
                return status;
            }
        }
    }
    return 0;
}

int list_batch_append(store *u, list_batch *b)
{
    list_root *root = list_root_of(u);
    store_chunk *c = (store_chunk *) b->chunk;
    uint64_t owner = atomic_load(&u->root->object.id);
    int status = list_make_room(u, STORE_GET(root->count) + b->count);
    if (status < 0) {
        return status;
    }
    status = object_publish(b->chunk, KIND_PART, owner, &root->batch);
    if (status < 0) {
        store_forget(&root->batch);
        return status;
    }
    b->chunk = NULL;
    status = publish_items(c, owner);
    if (status < 0) {
        drop_items(c, true);
        store_discard_object(u, root->batch);
        store_forget(&root->batch);
        return status;
    }
    STORE_PUT(root->store.added, 0);
    STORE_PUT(root->store.dropped, 0);
    STORE_PUT(root->new_count, STORE_GET(root->count) + c->count);
    /* This is it: from here on it will be done. */
    STORE_PUT(root->store.noted, EXTEND);
    apply(u);
    return 0;
}

/* Behind the newest chunk, from which others get their cells. */
void list_batch_link(store *u)
{
    list_root *root = list_root_of(u);
    uint64_t id = root->batch;
    if (id == 0) {
        return; /* it has been done */
    }
    store_chunk *c = store_object_at(id);
    list_table *t = list_table_of(u);
    uint64_t newest = STORE_GET(root->store.chunk);
    uint64_t end = STORE_GET(root->first) + STORE_GET(root->new_count);
    for (uint64_t i = 0; i < c->count; i++) {
        const batch_item *item = &items_of(c)[i];
        uint64_t ref = item->id != 0 ? item->id | STORE_LARGE : item->ref;
        STORE_PUT(*list_place(t, end - c->count + i), ref);
    }
    if (newest == 0) {
        STORE_PUT(root->store.chunk, id);
    } else if (newest != id) {
        store_chunk *before = store_object_at(newest);
        if (STORE_GET(before->previous) != id) {
            STORE_PUT(c->previous, STORE_GET(before->previous));
            STORE_PUT(before->previous, id);
        }
    }
    store_forget(&root->batch);
}

void list_batch_repair(store *u)
{
    list_root *root = list_root_of(u);
    uint64_t id = root->batch;
    if (id != 0 && arena_is_published(object_place(id)) && object_is_there(id)) {
        drop_items(store_object_at(id), false);
        (void) object_destroy(id);
    }
    store_forget(&root->batch);
}

void list_table_set_up(void)
{
    static const store_kind how = {.root_size = sizeof(list_root),
                                   .reserve = list_make_room,
                                   .apply = apply,
                                   .drop = drop,
                                   .succeed = succeed,
                                   .repair = list_batch_repair};
    store_register(KIND_LIST, &how);
}
