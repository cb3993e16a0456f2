/* Named memory: names, options, and the handles of this process's views.

   The family has no part in it, so the handles are in a table of the process's own, which takes no
   lock: a copy made by fork at any moment can go on with it. An entry is taken from the list of the
   free, or is the next one that was never used; it is filled, and then its id is stored, by which
   the handle is good. Who closes takes the id out of it by a compare-and-swap that one alone wins.
   An id is the entry's number and how often it has been used, counted from where chance has put it
   in this process: so those of others, or of before, are not good. Entries are never given back. */
#include "core/error.h"
#include "core/fault.h"

#include <kin/shm.h>

#include <stdlib.h>
#include <string.h>

enum { CHUNK = 64, CHUNKS = 1024, OPEN_TRIES = 100, MODE_BITS = 0777 };

typedef struct view {
    _Atomic uint64_t id;   /* of the good handle; 0: none */
    _Atomic uint32_t next; /* in the list of the free: number of the one below, 0 for none */
    uint32_t number;       /* its own. This and the next: of who has it */
    uint32_t uses;
    _Atomic uintptr_t base;
    _Atomic size_t size;
    intptr_t object;
} view;

static view *_Atomic chunks[CHUNKS];
static _Atomic uint32_t used; /* entries that were ever used, numbered from 1 */

/* The number of the first of the free; above it a count of changes, so that who has read `next` of
   an entry that has come and gone meanwhile fails to swap. */
static _Atomic uint64_t free_list;

static _Atomic uint64_t first_use; /* what `uses` begins with; above its 32 bits: it is known */

/* ---- the table ---- */

static view *view_at(uint32_t number)
{
    uint32_t index = number - 1;
    if (number == 0 || index >= CHUNK * CHUNKS) {
        return NULL;
    }
    /* Acquire: pairs with the exchange that made it. */
    view *chunk = atomic_load_explicit(&chunks[index / CHUNK], memory_order_acquire);
    return chunk != NULL ? &chunk[index % CHUNK] : NULL;
}

/* The same, with a chunk made for it if there is none; NULL without memory. */
static view *make_view(uint32_t number)
{
    view *known = view_at(number);
    if (known != NULL) {
        return known;
    }
    view *other = NULL;
    view *chunk = FAULT_OR(calloc(CHUNK, sizeof *chunk), NULL);
    if (chunk != NULL &&
        !atomic_compare_exchange_strong(&chunks[(number - 1) / CHUNK], &other, chunk)) {
        free(chunk); /* another thread was faster */
        chunk = other;
    }
    return chunk != NULL ? &chunk[(number - 1) % CHUNK] : NULL;
}

static view *take_free(void)
{
    uint64_t head = atomic_load(&free_list);
    view *first = view_at((uint32_t) head);
    while (first != NULL) {
        uint64_t next = atomic_load(&first->next);
        if (atomic_compare_exchange_weak(&free_list, &head, ((head >> 32) + 1) << 32 | next)) {
            return first;
        }
        first = view_at((uint32_t) head);
    }
    return NULL;
}

static void give_free(view *v)
{
    uint64_t head = atomic_load(&free_list);
    uint64_t changed;
    do {
        atomic_store(&v->next, (uint32_t) head);
        changed = ((head >> 32) + 1) << 32 | v->number;
    } while (!atomic_compare_exchange_weak(&free_list, &head, changed));
}

static int read_first_use(uint32_t *first)
{
    uint64_t known = atomic_load(&first_use);
    if (known == 0) {
        uint32_t random;
        int status = platform_random(&random, sizeof random);
        if (status < 0) {
            return status;
        }
        uint64_t chosen = UINT64_C(1) << 32 | random;
        known = atomic_compare_exchange_strong(&first_use, &known, chosen) ? chosen : known;
    }
    *first = (uint32_t) known;
    return 0;
}

static int take_unused(view **taken)
{
    uint32_t first = 0;
    int status = read_first_use(&first);
    if (status < 0) {
        return status;
    }
    view *v;
    uint32_t before = atomic_load(&used);
    do {
        if (before == CHUNK * CHUNKS) {
            return KIN_E_LIMIT;
        }
        v = make_view(before + 1);
        if (v == NULL) {
            return KIN_E_NOMEM;
        }
    } while (!atomic_compare_exchange_weak(&used, &before, before + 1));
    v->number = before + 1;
    v->uses = first;
    *taken = v;
    return 0;
}

/* An entry for this thread alone, until show or give_free. */
static int take(view **taken)
{
    *taken = take_free();
    return *taken != NULL ? 0 : take_unused(taken);
}

static uint64_t show(view *v, const platform_shm *shm)
{
    uint64_t id = (uint64_t) ++v->uses << 32 | v->number;
    v->object = shm->object;
    atomic_store(&v->size, shm->size);
    atomic_store(&v->base, (uintptr_t) shm->base);
    atomic_store(&v->id, id);
    return id;
}

/* What a handle names. The id is looked at again behind what is read: if it is still the same, that
   has not been for another one. */
static bool look(platform_shm *shm, uint64_t id)
{
    view *v = view_at((uint32_t) id);
    if (v == NULL || atomic_load(&v->id) != id) {
        return false;
    }
    shm->base = (unsigned char *) atomic_load(&v->base);
    shm->size = atomic_load(&v->size);
    return atomic_load(&v->id) == id;
}

/* ---- the interface ---- */

static bool is_name(const char *name)
{
    if (name == NULL || name[0] == '.') {
        return false;
    }
    size_t length = 0;
    for (; name[length] != '\0'; length++) {
        char c = name[length];
        if (length == KIN_SHM_NAME_MAX || c < ' ' || c > '~' || c == '/' || c == '\\') {
            return false;
        }
    }
    return length > 0;
}

static const kin_shm_options defaults;

/* Those who make and unlink it meanwhile may have their way for a while, but not for ever: there
   are also things that can be neither opened nor made. */
static int open_or_create(platform_shm *shm, const char *name, size_t size,
                          const kin_shm_options *options)
{
    int status = KIN_E_NOT_FOUND;
    for (int tries = 0; tries < OPEN_TRIES; tries++) {
        status = platform_shm_open(shm, name, options->read_only);
        if (status == 0) {
            return KIN_EXISTED;
        }
        if (status == KIN_E_NOT_FOUND) {
            status = platform_shm_create(shm, name, size, options->mode, options->read_only);
        }
        if (status != KIN_E_EXISTS) {
            return status;
        }
    }
    return status;
}

static int create(platform_shm *shm, const char *name, size_t size, const kin_shm_options *options)
{
    if (!options->open_existing) {
        return platform_shm_create(shm, name, size, options->mode, options->read_only);
    }
    int status = open_or_create(shm, name, size, options);
    if (status >= 0 && shm->size < size) {
        platform_shm_close(shm);
        return KIN_E_TOO_SMALL;
    }
    return status;
}

int kin_shm_create(kin_shm *shm, const char *name, size_t size, const kin_shm_options *options)
{
    error_clear();
    options = options != NULL ? options : &defaults;
    if (shm == NULL || !is_name(name) || size == 0 ||
        (options->mode & ~(uint32_t) MODE_BITS) != 0) {
        return KIN_E_INVALID;
    }
    if (size > PTRDIFF_MAX) {
        return KIN_E_NOMEM;
    }
    view *v;
    platform_shm made;
    int status = take(&v); /* first: what is made cannot be taken back any more */
    if (status < 0) {
        return status;
    }
    status = create(&made, name, size, options);
    if (status < 0) {
        give_free(v);
        return status;
    }
    shm->id = show(v, &made);
    return status;
}

int kin_shm_open(kin_shm *shm, const char *name, const kin_shm_options *options)
{
    error_clear();
    options = options != NULL ? options : &defaults;
    if (shm == NULL || !is_name(name)) {
        return KIN_E_INVALID;
    }
    view *v;
    platform_shm opened;
    int status = take(&v);
    if (status < 0) {
        return status;
    }
    status = platform_shm_open(&opened, name, options->read_only);
    if (status < 0) {
        give_free(v);
        return status;
    }
    shm->id = show(v, &opened);
    return 0;
}

void *kin_shm_address(kin_shm shm)
{
    platform_shm found;
    return look(&found, shm.id) ? found.base : NULL;
}

size_t kin_shm_size(kin_shm shm)
{
    platform_shm found;
    return look(&found, shm.id) ? found.size : 0;
}

int kin_shm_close(kin_shm shm)
{
    error_clear();
    view *v = view_at((uint32_t) shm.id);
    uint64_t id = shm.id;
    if (v == NULL || id == 0 || !atomic_compare_exchange_strong(&v->id, &id, 0)) {
        return KIN_E_HANDLE;
    }
    platform_shm closed = {(unsigned char *) atomic_load(&v->base), atomic_load(&v->size),
                           v->object};
    give_free(v);
    platform_shm_close(&closed);
    return 0;
}

int kin_shm_unlink(const char *name)
{
    error_clear();
    return is_name(name) ? platform_shm_unlink(name) : KIN_E_INVALID;
}
