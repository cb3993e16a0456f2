/* The table of a list, and its changes; list_table.h has the argument. */
#include "core/list_table.h"

enum { FIRST_CAPACITY = 8 };
#define MOST_CAPACITY (UINT64_C(1) << 32)

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

void list_apply(store *u)
{
    list_root *root = list_root_of(u);
    uint64_t added = STORE_GET(root->store.added);
    uint64_t dropped = STORE_GET(root->store.dropped);
    if (STORE_GET(root->store.noted) == LIST_EXTEND) {
        list_extend_apply(u);
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
    STORE_PUT(root->store.noted, LIST_CHANGE);
    list_apply(u);
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

/* Those that have been seen are before `position`. What moved was behind the place of the change,
   or before it. */
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
    for (uint64_t q = first; old != NULL && q != first + STORE_GET(root->count); q++) {
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

void list_table_set_up(void)
{
    static const store_kind how = {.root_size = sizeof(list_root),
                                   .reserve = list_make_room,
                                   .apply = list_apply,
                                   .drop = drop,
                                   .succeed = succeed,
                                   .repair = list_extend_repair};
    store_register(KIND_LIST, &how);
}
