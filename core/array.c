/* Arrays. The sync is a latch, the array's lock; the elements lie in a part of it, which a call
   keeps from being freed while it copies. So a stale handle never leads to another's elements, and
   whoever destroys an array need not wait for those who use it.

   A call that takes the lock to read takes it to pass only (LATCH_PASSING): if it dies, it has done
   no harm, and nobody is told. Copies go word by word where the elements are such, so that each of
   them is written by a single store. */
#include "core/deadlock.h"
#include "core/lock.h"

#include <kin/array.h>

#include <string.h>

typedef struct array_part {
    object object;
    uint64_t length;
    uint64_t element_size;
    bool unlocked;
    _Alignas(64) unsigned char bytes[];
} array_part;

static int create_part(uint64_t *id, uint64_t owner, uint64_t element_size, uint64_t length,
                       const kin_array_options *how)
{
    uint64_t most = arena_memory()->size - sizeof(array_part);
    if (element_size > most || length > most / element_size) {
        return KIN_E_NOMEM;
    }
    object *o = NULL;
    int status = object_create(&o, sizeof(array_part) + length * element_size);
    if (status < 0) {
        return status;
    }
    array_part *p = (array_part *) o;
    p->length = length;
    p->element_size = element_size;
    p->unlocked = how->unlocked;
    if (how->initial != NULL) {
        memcpy(p->bytes, how->initial, (size_t) (length * element_size));
    }
    status = object_publish(o, KIND_PART, owner, id);
    if (status < 0) {
        object_drop(o);
    }
    return status;
}

int kin_array_create(kin_array *array, size_t element_size, size_t length,
                     const kin_array_options *options)
{
    static const kin_array_options defaults;
    const kin_array_options *how = options != NULL ? options : &defaults;
    sync *s = NULL;
    error_clear();
    if (array == NULL || element_size == 0 || length == 0) {
        return KIN_E_INVALID;
    }
    int status = sync_create(&s, KIND_ARRAY, how->name);
    if (status < 0) {
        return status;
    }
    uint64_t part = 0;
    uint64_t id = atomic_load(&s->id);
    status = create_part(&part, id, element_size, length, how);
    if (status < 0) {
        sync_drop(s);
        return status;
    }
    atomic_store(&s->part, part);
    array->id = id;
    sync_publish(s);
    return 0;
}

int kin_array_destroy(kin_array array)
{
    error_clear();
    return sync_destroy(array.id, KIND_ARRAY);
}

int kin_array_lock(kin_array array, int timeout_ms)
{
    return lock_acquire_again(array.id, KIND_ARRAY, timeout_ms, __builtin_return_address(0));
}

int kin_array_unlock(kin_array array)
{
    return lock_release_again(array.id, KIND_ARRAY);
}

/* ---- in use by a call ---- */

typedef struct user {
    sync *s;
    uint64_t id;
    thread_self *t;
    array_part *p;
    object_guard guard;
    bool locked;      /* by this call */
    uint64_t passing; /* LATCH_PASSING or 0 */
} user;

/* If it fails there is no part. */
static int enter(user *u, uint64_t id)
{
    int status = 0;
    *u = (user){.s = sync_find(id, KIND_ARRAY), .id = id};
    if (u->s == NULL) {
        return sync_missing();
    }
    u->t = thread_current(&status);
    if (u->t == NULL) {
        return status;
    }
    status = object_enter(&u->guard, atomic_load(&u->s->part), KIND_PART);
    if (status < 0) {
        return status;
    }
    if (atomic_load(&u->guard.object->owner) != id) {
        object_leave(&u->guard); /* it has been destroyed, and another has the entry */
        return KIN_E_HANDLE;
    }
    u->p = (array_part *) u->guard.object;
    return 0;
}

static void leave(user *u)
{
    if (u->p != NULL) {
        object_leave(&u->guard);
    }
}

/* Takes the lock unless the thread has it or need not. */
static int lock(user *u, bool to_write, const void *site)
{
    int status = 0;
    if (u->p->unlocked || lock_is_mine(u->s, u->id, u->t)) {
        return 0;
    }
    u->passing = to_write ? 0 : LATCH_PASSING;
    if (!latch_take(u->s, sync_base(u->id), u->t->token | u->passing)) {
        status =
            latch_wait(u->s, u->id, u->t, INT64_MAX, LATCH_DETECT | (to_write ? 0u : LATCH_PASS));
    }
    if (status >= 0) {
        u->locked = true;
        u->t->held++;
        atomic_store_explicit(&u->s->depth, 1, memory_order_relaxed);
        latch_note_site(u->s, site);
    } else if (status == KIN_E_DEADLOCK) {
        deadlock_tell();
    }
    return status;
}

/* KIN_E_DESTROYED if the array was destroyed meanwhile. */
static int unlock(user *u)
{
    int status = 0;
    if (!u->locked) {
        return 0;
    }
    if (latch_give(u->s, sync_base(u->id), u->t->token | u->passing)) {
        latch_given(u->t);
    } else {
        status = latch_release(u->s, u->id, u->t, 0);
    }
    u->t->held--;
    return status < 0 ? KIN_E_DESTROYED : 0;
}

/* ---- copies ---- */

enum { WORD = sizeof(uint64_t) };

/* One of 1, 2, 4 or 8 bytes. */
typedef union word {
    uint8_t of8;
    uint16_t of16;
    uint32_t of32;
    uint64_t of64;
} word;

static inline void store_word(void *shared, const void *own, size_t size)
{
    word w;
    memcpy(&w, own, size);
    switch (size) {
    case 1:
        atomic_store_explicit((_Atomic uint8_t *) shared, w.of8, memory_order_relaxed);
        break;
    case 2:
        atomic_store_explicit((_Atomic uint16_t *) shared, w.of16, memory_order_relaxed);
        break;
    case 4:
        atomic_store_explicit((_Atomic uint32_t *) shared, w.of32, memory_order_relaxed);
        break;
    default:
        atomic_store_explicit((_Atomic uint64_t *) shared, w.of64, memory_order_relaxed);
    }
}

static inline void load_word(void *shared, void *own, size_t size)
{
    word w;
    switch (size) {
    case 1:
        w.of8 = atomic_load_explicit((_Atomic uint8_t *) shared, memory_order_relaxed);
        break;
    case 2:
        w.of16 = atomic_load_explicit((_Atomic uint16_t *) shared, memory_order_relaxed);
        break;
    case 4:
        w.of32 = atomic_load_explicit((_Atomic uint32_t *) shared, memory_order_relaxed);
        break;
    default:
        w.of64 = atomic_load_explicit((_Atomic uint64_t *) shared, memory_order_relaxed);
    }
    memcpy(own, &w, size);
}

/* Copies a word between shared memory, where it is aligned, and the caller's own. */
static inline void copy_word(unsigned char *own, unsigned char *shared, size_t size, bool to_write)
{
    if (to_write) {
        store_word(shared, own, size);
    } else {
        load_word(shared, own, size);
    }
}

/* `shared` and `bytes` are multiples of `unit`. Between the ends larger words do. */
static inline void copy_words(unsigned char *own, unsigned char *shared, size_t bytes, size_t unit,
                              bool to_write)
{
    size_t at = 0;
    for (; at < bytes && (uintptr_t) (shared + at) % WORD != 0; at += unit) {
        copy_word(own + at, shared + at, unit, to_write);
    }
    for (; bytes - at >= WORD; at += WORD) {
        copy_word(own + at, shared + at, WORD, to_write);
    }
    for (; at < bytes; at += unit) {
        copy_word(own + at, shared + at, unit, to_write);
    }
}

static void copy(array_part *p, size_t index, size_t count, void *own, bool to_write)
{
    size_t unit = (size_t) p->element_size;
    unsigned char *shared = p->bytes + index * unit;
    if (unit <= WORD && (unit & (unit - 1)) == 0) {
        if (to_write) {
            copy_words(own, shared, count * unit, unit, true);
        } else {
            copy_words(own, shared, count * unit, unit, false);
        }
    } else if (to_write) {
        memcpy(shared, own, count * unit);
    } else {
        memcpy(own, shared, count * unit);
    }
}

static int access(uint64_t id, size_t index, size_t count, void *own, bool to_write,
                  const void *site)
{
    user u;
    error_clear();
    int status = enter(&u, id);
    if (u.p == NULL) {
        return status;
    }
    if ((own == NULL && count > 0) || index > u.p->length || count > u.p->length - index) {
        status = KIN_E_INVALID;
    } else if (count > 0) {
        status = lock(&u, to_write, site);
        if (status >= 0) {
            copy(u.p, index, count, own, to_write);
            int unlocked = unlock(&u);
            status = unlocked < 0 ? unlocked : status;
        }
    }
    leave(&u);
    return status;
}

int kin_array_read(kin_array array, size_t index, size_t count, void *elements)
{
    return access(array.id, index, count, elements, false, __builtin_return_address(0));
}

int kin_array_write(kin_array array, size_t index, size_t count, const void *elements)
{
    /* It is only read. */
    return access(array.id, index, count, (void *) (uintptr_t) elements, true,
                  __builtin_return_address(0));
}

int kin_array_get(kin_array array, size_t index, void *element)
{
    return access(array.id, index, 1, element, false, __builtin_return_address(0));
}

int kin_array_set(kin_array array, size_t index, const void *element)
{
    return access(array.id, index, 1, (void *) (uintptr_t) element, true,
                  __builtin_return_address(0));
}

/* ---- as a whole ---- */

void *kin_array_address(kin_array array)
{
    user u;
    (void) enter(&u, array.id);
    void *address = u.p != NULL ? u.p->bytes : NULL;
    leave(&u);
    return address;
}

size_t kin_array_length(kin_array array)
{
    user u;
    (void) enter(&u, array.id);
    uint64_t length = u.p != NULL ? u.p->length : 0;
    leave(&u);
    return (size_t) length;
}

size_t kin_array_element_size(kin_array array)
{
    user u;
    (void) enter(&u, array.id);
    uint64_t size = u.p != NULL ? u.p->element_size : 0;
    leave(&u);
    return (size_t) size;
}

void array_set_up(void)
{
    sync_register(KIND_ARRAY, latch_look);
}
