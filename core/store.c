/* Stores as a whole: making, using and ending them, and what the next owner of the latch does after
   a death. store.h has the argument; the nodes are in store_node.c. */
#include "core/store.h"

#include "core/error.h"

#include <string.h>

/* As deep as a call goes in objects that it uses. */
enum { DEPTH = STORE_KEPT + 3 };

static store_kind kinds[KINDS];

static const store_kind *kind_of(uint64_t id)
{
    return &kinds[object_kind_of(id)];
}

/* ---- the end ---- */

static int destroy_part_of(object *o, uint64_t id, void *root)
{
    if (atomic_load(&o->owner) == *(const uint64_t *) root) {
        (void) object_destroy(id);
    }
    return 0;
}

static bool drop_table(const store_kind *how, store_root *root)
{
    object_guard guard;
    uint64_t id = STORE_GET(root->table);
    if (id == 0) {
        return true;
    }
    bool there = object_enter(&guard, id, KIND_PART) == 0;
    if (there) {
        how->drop(root, guard.object);
        (void) object_destroy(id);
    }
    object_leave(&guard);
    return there;
}

static bool drop_chunks(store_root *root)
{
    bool there = true;
    for (uint64_t id = STORE_GET(root->chunk); id != 0 && there;) {
        object_guard guard;
        uint64_t chunk = id;
        there = object_enter(&guard, chunk, KIND_PART) == 0;
        if (there) {
            id = STORE_GET(((store_chunk *) guard.object)->previous);
            (void) object_destroy(chunk);
        }
        object_leave(&guard);
    }
    return there;
}

/* Of a root that is destroyed but readable. A recovery may be destroying what has lost its owner:
   then there is no way along what links it, and all objects are looked at. */
static void drop_parts(const store_kind *how, store_root *root, uint64_t id)
{
    bool nodes = drop_table(how, root);
    if (!drop_chunks(root) || !nodes) {
        (void) object_each(destroy_part_of, &id);
    }
}

/* The root first: whoever is killed after that leaves parts without owner. */
static void discard_root(uint64_t root, const store_kind *how)
{
    object_guard guard;
    if (object_enter(&guard, root, KIND_PART) == 0) {
        (void) object_destroy(root);
        drop_parts(how, (store_root *) guard.object, root);
    }
    object_leave(&guard);
}

/* Nobody owns the latch but the one that destroys the store; see enter_slowly. */
static void ended(sync *s, uint64_t id)
{
    uint64_t root = atomic_load(&s->part);
    if (root != 0) {
        discard_root(root, kind_of(id));
    }
}

void store_register(enum object_kind kind, const store_kind *how)
{
    kinds[kind] = *how;
    sync_register(kind, latch_look);
    sync_register_end(kind, ended);
}

/* ---- the beginning ---- */

static int make_root(store *u)
{
    object *o = NULL;
    uint64_t id = 0;
    int status = object_create(&o, kind_of(u->id)->root_size);
    if (status < 0) {
        return status;
    }
    status = object_publish(o, KIND_PART, u->id, &id);
    if (status < 0) {
        object_drop(o);
        return status;
    }
    atomic_store(&u->s->part, id);
    u->root = (store_root *) o;
    return 0;
}

int store_create(uint64_t *id, enum object_kind kind, const char *name, uint64_t expected)
{
    store u = {0};
    int status = sync_create(&u.s, kind, name);
    if (status < 0) {
        return status;
    }
    u.id = atomic_load(&u.s->id);
    status = make_root(&u);
    if (status == 0 && expected > 0) {
        status = kinds[kind].reserve(&u, expected);
    }
    if (status < 0) {
        sync_drop(u.s);
        return status;
    }
    *id = u.id;
    sync_publish(u.s);
    return 0;
}

/* ---- use ---- */

void store_destroy_made(uint64_t id)
{
    if (id != 0 && arena_is_published(object_place(id))) {
        (void) object_destroy(id);
    }
}

/* What the owner before has left. May be cut short and repeated at any place. */
static void repair(store *u)
{
    store_root *root = u->root;
    const store_kind *how = kind_of(u->id);
    if (STORE_GET(root->noted) != 0) {
        how->apply(u);
    }
    if (how->repair != NULL) {
        how->repair(u);
    }
    uint64_t table = STORE_GET(root->table);
    if (root->making != table && root->making != STORE_GET(root->chunk)) {
        store_destroy_made(root->making);
    }
    store_forget(&root->making);
    uint64_t retired = STORE_GET(root->retired);
    if (retired != 0 && retired != table) {
        (void) object_destroy(retired);
    }
    STORE_PUT(root->retired, 0);
    uint64_t former = STORE_GET(root->former);
    if (former != 0) {
        discard_root(former, how);
        STORE_PUT(root->former, 0);
    }
}

static void begin(store *u, sync *s, uint64_t id, thread_self *t)
{
    u->s = s;
    u->id = id;
    u->t = t;
    u->kept = 0;
    u->root = store_object_at(atomic_load_explicit(&s->part, memory_order_relaxed));
}

static KIN_COLD int enter_slowly(store *u, uint64_t id, enum object_kind kind)
{
    int status = 0;
    sync *s = sync_find(id, kind);
    if (s == NULL) {
        return sync_missing() == KIN_E_INIT ? KIN_E_INIT : KIN_E_HANDLE;
    }
    thread_self *t = thread_current(&status);
    if (t == NULL) {
        return status < 0 ? status : KIN_E_INIT;
    }
    if (t->depth + DEPTH > HAZARDS - HAZARDS_FOR_RECOVERY) {
        return KIN_E_LIMIT;
    }
    status = latch_acquire(s, id, t, INT64_MAX);
    if (status < 0) {
        return status;
    }
    if (status == KIN_OWNER_DIED && !sync_is_known(s, id)) {
        /* The one that died was destroying it, and a recovery goes on with that. All who come
           before it is done find the mark, and have not touched anything. */
        (void) latch_release(s, id, t, LATCH_DIED);
        return KIN_E_DESTROYED;
    }
    begin(u, s, id, t);
    if (status == KIN_OWNER_DIED) {
        repair(u);
    }
    return 0;
}

int store_enter(store *u, uint64_t id, enum object_kind kind)
{
    sync *s = sync_find(id, kind);
    thread_self *t = thread_known();
    if (s == NULL || t == NULL || t->depth + DEPTH > HAZARDS - HAZARDS_FOR_RECOVERY ||
        !latch_take(s, sync_base(id), t->token)) {
        return enter_slowly(u, id, kind);
    }
    begin(u, s, id, t);
    return 0;
}

void store_release(store *u)
{
    if (latch_give(u->s, sync_base(u->id), u->t->token)) {
        latch_given(u->t);
    } else {
        (void) latch_release(u->s, u->id, u->t, 0); /* it is ours: cannot fail */
    }
}

void store_finish(store *u)
{
    while (u->kept > 0) {
        object_leave(&u->guards[--u->kept]);
    }
}

void store_leave(store *u)
{
    store_release(u);
    store_finish(u);
}

void store_discard_object(store *u, uint64_t id)
{
    if (u->kept < STORE_KEPT && object_enter(&u->guards[u->kept], id, KIND_PART) == 0) {
        u->kept++;
    }
    (void) object_destroy(id); /* KIN_E_HANDLE: it has been done before */
}

int store_link_table(store *u, object *table)
{
    store_root *root = u->root;
    uint64_t former = STORE_GET(root->table);
    STORE_PUT(root->retired, former);
    int status = object_publish(table, KIND_PART, atomic_load(&root->object.id), &root->making);
    if (status < 0) {
        object_drop(table);
        store_forget(&root->making);
        return status;
    }
    STORE_PUT(root->table, root->making);
    store_forget(&root->making);
    if (former != 0) {
        store_discard_object(u, former);
    }
    STORE_PUT(root->retired, 0);
    return 0;
}

int store_clear(uint64_t id, enum object_kind kind)
{
    store u;
    const store_kind *how = &kinds[kind];
    int status = store_enter(&u, id, kind);
    if (status < 0) {
        return status;
    }
    store_root *former = u.root;
    uint64_t former_id = atomic_load(&u.s->part);
    object *o = NULL;
    status = object_create(&o, how->root_size);
    if (status == 0) {
        store_root *root = (store_root *) o;
        how->succeed(root, former);
        STORE_PUT(root->former, former_id);
        status = object_publish(o, KIND_PART, id, &former->making);
        if (status < 0) {
            object_drop(o);
            store_forget(&former->making);
        }
    }
    if (status < 0) {
        store_leave(&u);
        return status;
    }
    /* This is it. */
    atomic_store(&u.s->part, former->making);
    object_guard guard;
    bool readable = object_enter(&guard, former_id, KIND_PART) == 0;
    (void) object_destroy(former_id);
    STORE_PUT(((store_root *) o)->former, 0);
    store_release(&u);
    if (readable) {
        drop_parts(how, former, former_id);
    }
    object_leave(&guard);
    return 0;
}

int store_destroy(uint64_t id, enum object_kind kind)
{
    store u;
    int status = store_enter(&u, id, kind);
    if (status < 0) {
        return status == KIN_E_DESTROYED ? KIN_E_HANDLE : status;
    }
    /* With its state it loses the latch. */
    status = sync_destroy(id, kind);
    if (status < 0) {
        store_release(&u);
    }
    store_finish(&u);
    return status;
}
