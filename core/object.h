/* Objects, and handles to them.

   A handle's id says where its object lies, of which kind it is, and its generation, which no other
   object at that place has for a long time (and which begins at random in each family). The
   object's first word is its id: a handle is good as long as the two are equal, and that is all
   that a look-up compares.

   Who uses an object first writes its id to a hazard of its thread's record, then looks at the id
   again. Who destroys one changes the id, from when on handles to it are stale, then looks for
   hazards. One of the two sees the other, so memory is never taken from under a user; the last user
   frees what its destroyer had to leave.

   An object may belong to another (`owner`): what a pool's map copies in, for instance. It is freed
   after its owner; if the one that does so is killed in between, the next recovery finds what has
   no owner any more. */
#ifndef KIN_CORE_OBJECT_H
#define KIN_CORE_OBJECT_H

#include "core/family.h"

enum object_kind {
    KIND_NONE,
    KIND_PART,
    KIND_PROCESS,
    KIND_POOL,
    KIND_JOB,
    KIND_SERVER,
    KIND_GROUP,
    /* Those of sync.h, which lie elsewhere. */
    KIND_LOCK,
    KIND_RLOCK,
    KIND_RWLOCK,
    KIND_SEMAPHORE,
    KIND_EVENT,
    KIND_CONDITION,
    KIND_BARRIER,
    KIND_QUEUE,
    KIND_QUEUE_PUT,
    KIND_QUEUE_GET,
    KIND_CONNECTION,
    KIND_LIST,
    KIND_DICT,
    KIND_ARRAY,
    KIND_COUNTER,
    KIND_STREAM,
    /* And others again. */
    KIND_MEMORY,
    KIND_MESSAGE,
    KINDS,
    KIND_FIRST_SYNC = KIND_LOCK,
    KIND_LAST_SYNC = KIND_STREAM
};

/* An id: place (31 bits, in steps of 64 bytes), kind (5), generation (27), and above them a bit
   that no handle has. */
enum { OBJECT_PLACE_BITS = 31, OBJECT_KIND_SHIFT = 31, OBJECT_GENERATION_SHIFT = 36 };

static inline uint64_t object_place(uint64_t id)
{
    return (id & ((UINT64_C(1) << OBJECT_PLACE_BITS) - 1)) * 64;
}

static inline enum object_kind object_kind_of(uint64_t id)
{
    return (enum object_kind)(id >> OBJECT_KIND_SHIFT & 31);
}

static inline uint64_t object_generation(uint64_t id)
{
    return id >> OBJECT_GENERATION_SHIFT & 0x7ffffff;
}

/* An id that no object has had for a long time, for one of this kind at this offset. */
uint64_t object_make_id(uint64_t offset, enum object_kind kind);

/* Stands first in every object. */
typedef struct object {
    _Atomic uint64_t id;
    _Atomic uint64_t
        destroyer;          /* the member that destroys it; OBJECT_LEFT: the last user frees it */
    _Atomic uint64_t owner; /* id of the object that it belongs to, or 0 */
    uint64_t reserved;
} object;

typedef struct object_guard {
    thread_self *thread;
    object *object;
} object_guard;

/* Allocates a private object of `size` bytes, zeroed behind its first part. KIN_E_NOMEM. */
int object_create(object **created, uint64_t size);

/* The same, of which only the first `zeroed` bytes are. */
int object_create_bare(object **created, uint64_t size, uint64_t zeroed);

/* Gives it an id of this kind and lets it outlive its maker. To be called when it is complete. */
int object_publish(object *object, enum object_kind kind, uint64_t owner, uint64_t *id);

/* The same with an id that object_make_id has made for it, and that may have been noted before. */
int object_publish_as(object *object, uint64_t id, uint64_t owner);

/* Frees a private object that never got published. */
void object_drop(object *object);

/* Looks up a handle and keeps its object from being freed until object_leave. KIN_E_HANDLE,
   KIN_E_INIT, KIN_E_THREAD_LIMIT, KIN_E_LIMIT. Guards are left in the opposite order in which they
   were entered. */
int object_enter(object_guard *guard, uint64_t id, enum object_kind kind);
void object_leave(object_guard *guard);

/* Destroys an object: its handles are stale from now on, and it is freed as soon as nobody uses it.
   KIN_E_HANDLE if it is not there any more. May be called by one who is using it. */
int object_destroy(uint64_t id);

/* True if the handle is good now, be it of a sync. */
bool object_is_there(uint64_t id);

/* Calls visit for each object with its id, used meanwhile, until it returns other than 0, which is
   then returned. Fails like object_enter when it cannot look at all of them. */
int object_each(int (*visit)(object *object, uint64_t id, void *context), void *context);

/* What `dead` was destroying when it died, and what has lost its owner, is freed. */
int object_recover(uint64_t dead);

#endif
