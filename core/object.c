/* Objects and handles; object.h has the argument. */
#include "core/object.h"

#include <string.h>

#define GENERATION_MASK UINT64_C(0x7ffffff)
#define DYING (UINT64_C(1) << 63)

#define OBJECT_LEFT UINT64_MAX

_Static_assert(sizeof(object) == ARENA_FIRST, "what is not zeroed with the rest");

static object *object_at(uint64_t id)
{
    return arena_at(object_place(id));
}

uint64_t object_make_id(uint64_t offset, enum object_kind kind)
{
    uint64_t generation = atomic_fetch_add(&family_common()->generation, 1);
    return offset / 64 | (uint64_t) kind << OBJECT_KIND_SHIFT |
           (generation & GENERATION_MASK) << OBJECT_GENERATION_SHIFT;
}

int object_create_bare(object **created, uint64_t size, uint64_t zeroed)
{
    uint64_t block;
    int status =
        arena_allocate(&block, size, zeroed < size ? ARENA_OBJECT : ARENA_OBJECT | ARENA_ZERO);
    if (status < 0) {
        return status;
    }
    object *o = arena_at(block);
    /* Who holds a stale handle may be looking at the first part. */
    atomic_store(&o->id, 0);
    atomic_store(&o->destroyer, 0);
    atomic_store(&o->owner, 0);
    if (zeroed < size) {
        memset(o + 1, 0, (size_t) zeroed - sizeof *o);
    }
    *created = o;
    return 0;
}

int object_create(object **created, uint64_t size)
{
    return object_create_bare(created, size, size);
}

int object_publish_as(object *o, uint64_t id, uint64_t owner)
{
    atomic_store(&o->owner, owner);
    atomic_store(&o->id, id);
    int status = arena_publish(arena_offset(o));
    if (status < 0) {
        atomic_store(&o->id, 0);
    }
    return status;
}

int object_publish(object *o, enum object_kind kind, uint64_t owner, uint64_t *id)
{
    *id = object_make_id(arena_offset(o), kind);
    return object_publish_as(o, *id, owner);
}

void object_drop(object *o)
{
    (void) arena_free(arena_offset(o)); /* a block of ours: cannot fail but with the system */
}

/* The first word of an entry of that table is its id, too. */
static bool is_sync(uint64_t id)
{
    uint64_t offset = object_place(id) - arena_now.syncs;
    return offset % SYNC_SIZE == 0 && offset / SYNC_SIZE < arena_entries(ARENA_SYNCS) &&
           atomic_load(&object_at(id)->id) == id;
}

bool object_is_there(uint64_t id)
{
    enum object_kind kind = object_kind_of(id);
    if (kind >= KIND_FIRST_SYNC && kind <= KIND_LAST_SYNC) {
        return is_sync(id);
    }
    return id != 0 && (id & DYING) == 0 && arena_may_hold_object(object_place(id)) &&
           atomic_load(&object_at(id)->id) == id;
}

/* Looks at all, also when one uses it: whoever has left it before this has read all that it wanted
   to read before what is done now. A thread that comes from now on sees that the object is
   dying. */
static bool is_used(uint64_t id)
{
    bool used = false;
    for (uint32_t number = thread_next(0); number != 0; number = thread_next(number)) {
        thread_record *record = thread_at(number);
        for (int i = 0; i < HAZARDS; i++) {
            used = atomic_load(&record->hazards[i]) == id || used;
        }
    }
    return used;
}

/* Frees a dying object that was left, unless somebody still uses it or another is faster. */
static void free_left(uint64_t id)
{
    object *o = object_at(id);
    do {
        uint64_t left = OBJECT_LEFT;
        if (atomic_load(&o->id) != (id | DYING) ||
            !atomic_compare_exchange_strong(&o->destroyer, &left, member_self())) {
            return;
        }
        uint64_t now = atomic_load(&o->id);
        if (now == (id | DYING) && !is_used(id)) {
            (void) arena_free(
                object_place(id)); /* it is a block: cannot fail but with the system */
            return;
        }
        /* Its user may just have left; or another object lies here by now, is left as well, and was
           taken from whoever leaves it: look again at the one that it is. */
        atomic_store(&o->destroyer, OBJECT_LEFT);
        id = now & ~DYING;
    } while (!is_used(id));
}

/* Whoever had a hazard may have kept others from freeing what is dying, even if it was too late to
   use it. */
static void clear_hazard(_Atomic uint64_t *hazard)
{
    uint64_t id = atomic_load_explicit(hazard, memory_order_relaxed);
    atomic_store(hazard, 0);
    /* The memory may be anything by now; only a dying object of this very id is of interest. */
    if (arena_may_hold_object(object_place(id)) &&
        atomic_load(&object_at(id)->id) == (id | DYING) &&
        atomic_load(&object_at(id)->destroyer) == OBJECT_LEFT) {
        free_left(id);
    }
}

int object_enter(object_guard *guard, uint64_t id, enum object_kind kind)
{
    int status = KIN_E_INIT;
    *guard = (object_guard){0};
    thread_self *thread = thread_current(&status);
    if (thread == NULL) {
        return status;
    }
    if (object_kind_of(id) != kind || (kind >= KIND_FIRST_SYNC && kind <= KIND_LAST_SYNC) ||
        !object_is_there(id)) {
        return KIN_E_HANDLE;
    }
    unsigned most = thread->recoveries > 0 ? HAZARDS : HAZARDS - HAZARDS_FOR_RECOVERY;
    if (thread->depth >= most) {
        return KIN_E_LIMIT;
    }
    /* Pairs with the change of the id and the search for hazards in object_destroy. */
    atomic_store(&thread->record->hazards[thread->depth], id);
    if (!object_is_there(id)) {
        clear_hazard(&thread->record->hazards[thread->depth]);
        return KIN_E_HANDLE;
    }
    thread->depth++;
    guard->thread = thread;
    guard->object = object_at(id);
    return 0;
}

void object_leave(object_guard *guard)
{
    thread_self *thread = guard->thread;
    if (thread == NULL) {
        return; /* nothing was entered */
    }
    thread->depth--;
    clear_hazard(&thread->record->hazards[thread->depth]);
}

/* A dying object whose destroyer this member is. */
static void finish(uint64_t id)
{
    object *o = object_at(id);
    if (!is_used(id)) {
        (void) arena_free(object_place(id));
        return;
    }
    atomic_store(&o->destroyer, OBJECT_LEFT);
    free_left(id);
}

int object_destroy(uint64_t id)
{
    object_guard guard;
    int status = object_enter(&guard, id, object_kind_of(id));
    if (status < 0) {
        return status;
    }
    object *o = guard.object;
    uint64_t none = 0;
    /* The destroyer is noted before the id changes: should it die, its recovery knows what to
       finish. */
    if (!atomic_compare_exchange_strong(&o->destroyer, &none, member_self())) {
        status = KIN_E_HANDLE;
    } else {
        atomic_store(&o->id, id | DYING);
        atomic_store(&o->destroyer, OBJECT_LEFT);
    }
    object_leave(&guard); /* frees it, if nobody else uses it */
    return status;
}

typedef struct each {
    int (*visit)(object *object, uint64_t id, void *context);
    void *context;
} each;

static int visit_block(uint64_t block, void *context)
{
    const each *e = context;
    const object *o = arena_at(block);
    uint64_t id = atomic_load(&o->id);
    if ((id & DYING) != 0 || object_place(id) != block) {
        return 0;
    }
    object_guard guard;
    int status = object_enter(&guard, id, object_kind_of(id));
    if (status < 0) {
        return status == KIN_E_HANDLE ? 0 : status; /* gone meanwhile */
    }
    status = e->visit(guard.object, id, e->context);
    object_leave(&guard);
    return status;
}

int object_each(int (*visit)(object *object, uint64_t id, void *context), void *context)
{
    each e = {visit, context};
    return arena_each_object(visit_block, &e);
}

/* One block, which may be an object in any state. */
static int recover_block(uint64_t block, void *context)
{
    uint64_t dead = *(const uint64_t *) context;
    object *o = arena_at(block);
    uint64_t id = atomic_load(&o->id);
    if (object_place(id) != block || object_kind_of(id) == KIND_NONE) {
        return 0;
    }
    uint64_t owner = atomic_load(&o->owner);
    if ((id & DYING) == 0) {
        uint64_t noted = dead;
        if (atomic_compare_exchange_strong(&o->destroyer, &noted, member_self())) {
            /* Who came after the dead one has been told that it is gone. */
            atomic_store(&o->id, id | DYING);
            finish(id);
            return 0;
        }
        /* Who takes something from its owner says so before that can be gone. */
        bool orphan = owner != 0 && !object_is_there(owner) && atomic_load(&o->owner) == owner;
        int status = orphan ? object_destroy(id) : 0;
        return status == KIN_E_HANDLE ? 0 : status; /* somebody else did: as good */
    }
    uint64_t destroyer = dead;
    if (atomic_compare_exchange_strong(&o->destroyer, &destroyer, member_self())) {
        finish(id & ~DYING);
    } else if (destroyer == OBJECT_LEFT) {
        free_left(id & ~DYING);
    }
    return 0;
}

int object_recover(uint64_t dead)
{
    return arena_each_object(recover_block, &dead);
}
