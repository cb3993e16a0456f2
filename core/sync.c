/* The table of syncs; sync.h has the argument. */
#include "core/sync.h"

#include <string.h>

/* What `keeper` is: 0; the member that makes it; its id, with a bit that no id and no reference
   has, while it is known; the member that destroys it, with a bit that no reference has. So who
   destroys a sync cannot name itself in another that has taken the entry. */
#define KNOWN (UINT64_C(1) << 63)
#define DESTROYING (UINT64_C(1) << 31)

/* So many entries are made at a time. */
enum { GROWTH = 32 };

static void (*looks[KINDS])(sync *s, uint64_t id);
static void (*ends[KINDS])(sync *s, uint64_t id);
static void (*deaths[KINDS])(sync *s, uint64_t id, thread_record *record);

void sync_register(enum object_kind kind, void (*look)(sync *s, uint64_t id))
{
    looks[kind] = look;
}

void sync_register_end(enum object_kind kind, void (*ended)(sync *s, uint64_t id))
{
    ends[kind] = ended;
}

void sync_register_death(enum object_kind kind,
                         void (*died)(sync *s, uint64_t id, thread_record *record))
{
    deaths[kind] = died;
}

int sync_missing(void)
{
    return family_is_joined() ? KIN_E_HANDLE : KIN_E_INIT;
}

static sync *entry(uint32_t number)
{
    return arena_entry(ARENA_SYNCS, number);
}

/* Takes a free entry from `start` on. */
static sync *take_from(uint32_t start)
{
    family_shared *common = family_common();
    uint32_t entries = arena_entries(ARENA_SYNCS);
    for (uint32_t number = start; number < entries; number++) {
        sync *s = entry(number);
        uint64_t none = 0;
        if (atomic_load(&s->keeper) == 0 &&
            atomic_compare_exchange_strong(&s->keeper, &none, member_self())) {
            atomic_store(&common->free_sync, number + 1);
            return s;
        }
    }
    return NULL;
}

/* A free entry that a killed member has not said to be free is found when the table is full. Others
   may take all that has been made. */
static int take(sync **taken)
{
    family_shared *common = family_common();
    *taken = take_from(atomic_load(&common->free_sync));
    for (int status = 0; *taken == NULL;) {
        if (status < 0) {
            return status;
        }
        status = arena_lock();
        if (status == 0) {
            status = arena_grow_table(ARENA_SYNCS, arena_entries(ARENA_SYNCS) + GROWTH);
            arena_unlock();
        }
        *taken = take_from(status == KIN_E_LIMIT ? 0 : atomic_load(&common->free_sync));
    }
    return 0;
}

/* Gives an entry back. The lowest free one is used first. */
static void give(sync *s)
{
    uint32_t number = (uint32_t) ((arena_offset(s) - arena_now.syncs) / SYNC_SIZE);
    atomic_store(&s->keeper, 0);
    _Atomic uint32_t *hint = &family_common()->free_sync;
    uint32_t now = atomic_load(hint);
    while (number < now && !atomic_compare_exchange_weak(hint, &now, number)) {
    }
}

/* Of an entry that this member keeps. */
static void clear(sync *s)
{
    uint64_t id = atomic_load(&s->id);
    uint64_t part = atomic_load(&s->part);
    /* First nothing can be done with it any more, then those who wait learn it. The id stays until
       all is done that depends on the kind: one that goes on with this has to know it. */
    atomic_store(&s->state, 0);
    (void) line_wake(&s->line, LINE_ALL);
    (void) line_wake(&s->head, LINE_ALL);
    line_tell_them(&s->line, LINE_ALL);
    void (*ended)(sync * s, uint64_t id) = id != 0 ? ends[object_kind_of(id)] : NULL;
    if (ended != NULL) {
        ended(s, id);
    }
    atomic_store(&s->id, 0);
    if (part != 0) {
        (void) object_destroy(part); /* KIN_E_HANDLE: gone already; else the next recovery does */
        atomic_store(&s->part, 0);
    }
    give(s);
}

static void set_name(sync *s, const char *name)
{
    char text[SYNC_NAME_SIZE] = "";
    if (name != NULL) {
        memcpy(text, name, strlen(name));
    }
    for (size_t i = 0; i < sizeof text / sizeof(uint64_t); i++) {
        uint64_t word;
        memcpy(&word, text + i * sizeof word, sizeof word);
        atomic_store_explicit(&s->name[i], word, memory_order_relaxed);
    }
}

void sync_name(sync *s, char name[SYNC_NAME_SIZE])
{
    for (size_t i = 0; i < SYNC_NAME_SIZE / sizeof(uint64_t); i++) {
        uint64_t word = atomic_load_explicit(&s->name[i], memory_order_relaxed);
        memcpy(name + i * sizeof word, &word, sizeof word);
    }
    name[SYNC_NAME_SIZE - 1] = '\0';
}

int sync_create(sync **created, enum object_kind kind, const char *name)
{
    int status = 0;
    if (name != NULL && strlen(name) >= SYNC_NAME_SIZE) {
        return KIN_E_INVALID;
    }
    if (thread_current(&status) == NULL) {
        return status;
    }
    sync *s = NULL;
    status = take(&s);
    if (status < 0) {
        return status;
    }
    atomic_store(&s->since, 0);
    atomic_store(&s->site, 0);
    atomic_store(&s->depth, 0);
    atomic_store(&s->options, 0);
    atomic_store(&s->extra, 0);
    atomic_store(&s->part, 0);
    atomic_store(&s->related, 0);
    set_name(s, name);
    uint64_t id = object_make_id(arena_offset(s), kind);
    /* The id first: what it will own is told by that from the beginning. */
    atomic_store(&s->id, id);
    atomic_store(&s->state, sync_base(id));
    *created = s;
    return 0;
}

void sync_publish(sync *s)
{
    atomic_store(&s->keeper, KNOWN | atomic_load(&s->id));
}

void sync_drop(sync *s)
{
    clear(s);
}

int sync_destroy(uint64_t id, enum object_kind kind)
{
    int status = 0;
    if (thread_current(&status) == NULL) {
        return status;
    }
    sync *s = sync_find(id, kind);
    uint64_t known = KNOWN | id;
    /* Who destroys it is noted before anything else. */
    if (s == NULL ||
        !atomic_compare_exchange_strong(&s->keeper, &known, member_self() | DESTROYING)) {
        return KIN_E_HANDLE;
    }
    clear(s);
    return 0;
}

void sync_look_at_keeper(sync *s)
{
    uint64_t keeper = atomic_load(&s->keeper);
    uint64_t its = keeper & ~DESTROYING;
    if (keeper != its && (keeper & KNOWN) == 0 && its != member_self()) {
        (void) death_check(its);
    }
}

bool sync_is_known(sync *s, uint64_t id)
{
    return atomic_load(&s->keeper) == (KNOWN | id);
}

void sync_each(void (*visit)(sync *s, uint64_t id, void *context), void *context)
{
    uint32_t entries = arena_entries(ARENA_SYNCS);
    for (uint32_t number = 0; number < entries; number++) {
        sync *s = entry(number);
        uint64_t id = atomic_load(&s->id);
        if (id != 0 && atomic_load(&s->keeper) == (KNOWN | id)) {
            visit(s, id, context);
        }
    }
}

static void look_at(sync *s, uint64_t id, void *context)
{
    (void) context;
    void (*look)(sync * s, uint64_t id) = looks[object_kind_of(id)];
    if (look != NULL) {
        look(s, id);
    }
}

static void look_at_all(void)
{
    sync_each(look_at, NULL);
}

/* Syncs that a dead member was making or destroying. */
static void recover(uint64_t dead)
{
    uint32_t entries = arena_entries(ARENA_SYNCS);
    for (uint32_t number = 0; number < entries; number++) {
        sync *s = entry(number);
        uint64_t keeper = atomic_load(&s->keeper);
        bool its = keeper == dead || keeper == (dead | DESTROYING);
        if (its &&
            atomic_compare_exchange_strong(&s->keeper, &keeper, member_self() | DESTROYING)) {
            clear(s);
        }
    }
    look_at_all();
}

uint64_t sync_count(void)
{
    uint64_t count = 0;
    uint32_t entries = arena_entries(ARENA_SYNCS);
    for (uint32_t number = 0; number < entries; number++) {
        count += atomic_load(&entry(number)->keeper) != 0;
    }
    return count;
}

static void tell_death(uint64_t id, thread_record *record)
{
    enum object_kind kind = object_kind_of(id);
    void (*tell)(sync * s, uint64_t id, thread_record * record) = deaths[kind % KINDS];
    sync *s = tell != NULL ? sync_find(id, kind) : NULL;
    if (s != NULL) {
        tell(s, id, record);
    }
}

/* One that has been notified of a condition waits for a lock, and one that runs a barrier's action
   for anything; both have to do with what they came to wait for. */
static void died(thread_record *record)
{
    uint64_t id = atomic_load(&record->waits_for);
    uint64_t condition = atomic_load(&record->condition);
    uint64_t barrier = atomic_load(&record->barrier);
    tell_death(condition, record);
    tell_death(barrier, record);
    if (id != condition && id != barrier) {
        tell_death(id, record);
    }
}

void sync_set_up(void)
{
    thread_set_death(died);
    death_register_extra(recover);
    thread_set_end(look_at_all);
    member_set_cancelled(look_at_all);
}
