/* Syncs: the objects that members of the family synchronize by. They lie in a table of their own,
   which never moves or shrinks, and an entry never becomes anything else. So who uses a sync needs
   no hazard, and a call costs one atomic operation: the word that it changes carries part of the
   sync's generation, and is changed only by comparing and swapping, which fails on the word of
   another sync that has taken the entry.

   `state` begins with these bits in each kind; the rest is the kind's own. Only a sync that is
   there has SYNC_LIVE, so an operation never succeeds on one that is not. (A stopped thread would
   have to miss 32,768 objects that are made, of which the last is a sync of the same kind in the
   same entry, to take it for the one that it knew.)

   `keeper` says who makes or destroys it, until it is known and after it has ceased to be: if that
   member dies, its recovery frees the entry. What a sync needs besides lies in an object of its
   own, its part, which it owns as any object may. */
#ifndef KIN_CORE_SYNC_H
#define KIN_CORE_SYNC_H

#include "core/death.h"
#include "core/wait.h"

enum {
    SYNC_LIVE = 1,
    SYNC_GENERATION_SHIFT = 1,
    SYNC_GENERATION_BITS = 15,
    SYNC_BITS = 16 /* from here on the state is the kind's own */
};

#define SYNC_MASK ((UINT64_C(1) << SYNC_BITS) - 1)

enum { SYNC_NAME_SIZE = 32 }; /* with the zero at its end */

typedef struct sync {
    _Alignas(64) _Atomic uint64_t id;
    _Atomic uint64_t state;
    wait_line line;
    wait_line head;        /* a second one, see latch.h */
    _Atomic int64_t since; /* a moment, as the kind says */
    _Atomic uint64_t site; /* of the last acquisition: an address in the owner's process */
    _Atomic uint32_t depth;
    _Atomic uint32_t options; /* the kind's own; set before it is known */
    _Atomic uint64_t extra;   /* the kind's own */

    _Alignas(64) _Atomic uint64_t keeper;
    _Atomic uint64_t part;    /* id of the object that belongs to it, or 0 */
    _Atomic uint64_t related; /* of a condition: its lock; of a lock that is such: the condition; of
                                 a counter: what is waited for, see counter.c */
    wait_line drain;          /* a third one, see rwlock.c */
    _Atomic uint64_t name[SYNC_NAME_SIZE / 8]; /* set before it is known */
} sync;

_Static_assert(sizeof(sync) == SYNC_SIZE, "an entry of the table");

/* What a state that has nothing of its kind begins with. */
static inline uint64_t sync_base(uint64_t id)
{
    return SYNC_LIVE | (object_generation(id) & ((1u << SYNC_GENERATION_BITS) - 1))
                           << SYNC_GENERATION_SHIFT;
}

/* The sync behind a handle, or NULL. What it gives may be another's at any moment: the state
   decides. */
static inline sync *sync_find(uint64_t id, enum object_kind kind)
{
    uint64_t offset = object_place(id) - arena_now.syncs;
    uint32_t ready = atomic_load_explicit(arena_now.ready, memory_order_acquire);
    if (object_kind_of(id) != kind || offset % SYNC_SIZE != 0 || offset / SYNC_SIZE >= ready) {
        return NULL;
    }
    sync *s = (sync *) (void *) (arena_now.base + object_place(id));
    return atomic_load_explicit(&s->id, memory_order_acquire) == id ? s : NULL;
}

/* The entry of an id that was one once, whatever it is now; NULL if there is none. */
static inline sync *sync_find_place(uint64_t id)
{
    uint64_t offset = object_place(id) - arena_now.syncs;
    uint32_t ready = atomic_load_explicit(arena_now.ready, memory_order_acquire);
    return offset % SYNC_SIZE == 0 && offset / SYNC_SIZE < ready
               ? (sync *) (void *) (arena_now.base + object_place(id))
               : NULL;
}

/* Why sync_find gives NULL: KIN_E_HANDLE, or KIN_E_INIT. */
int sync_missing(void);

/* A sync of this kind whose handle nobody knows yet, all zero but id, state and name. KIN_E_NOMEM,
   KIN_E_LIMIT, KIN_E_INIT; KIN_E_INVALID for a name (which may be NULL) that is too long. */
int sync_create(sync **created, enum object_kind kind, const char *name);

/* It is complete: it outlives its maker. Or it is given up, with its part. */
void sync_publish(sync *s);
void sync_drop(sync *s);

/* Ends it: its handle is stale, all who wait at its lines are woken and find that its state is not
   live any more. KIN_E_HANDLE if it is not there. Its part, if it has one, is destroyed. */
int sync_destroy(uint64_t id, enum object_kind kind);

/* Whoever is ending it may have been killed at that, before those who wait could see it: makes up
   for that. For each that waits, at the end of every slice; may run a recovery. */
void sync_look_at_keeper(sync *s);

/* True unless somebody makes or destroys it, or has died while doing so. */
bool sync_is_known(sync *s, uint64_t id);

/* Calls visit for each sync that is there. What it is given may cease to be at any moment. Needs no
   record for the thread. */
void sync_each(void (*visit)(sync *s, uint64_t id, void *context), void *context);

/* What is to be done for a sync of some kind when threads have ended, whatever they were: also what
   threads of living members have left. Called at the recovery of a member and at the end of a
   thread that held something. May be repeated, and needs no record for the thread. */
void sync_register(enum object_kind kind, void (*look)(sync *s, uint64_t id));

/* What is to be done for a sync of some kind when a thread has died that waited for it. `record` is
   as the thread has left it. May be repeated; needs no record for the thread that calls. */
void sync_register_death(enum object_kind kind,
                         void (*died)(sync *s, uint64_t id, thread_record *record));

/* What wakes those who wait for a sync in other places than its lines, when it has been destroyed.
   None for most. */
void sync_register_end(enum object_kind kind, void (*ended)(sync *s, uint64_t id));

/* Its name, with a zero at the end. */
void sync_name(sync *s, char name[SYNC_NAME_SIZE]);

/* How many entries are in use. */
uint64_t sync_count(void);

void sync_set_up(void);

/* lock.c, rwlock.c, array.c */
void lock_set_up(void);
void rwlock_set_up(void);
void array_set_up(void);

#endif
