/* Who holds what: read from the states of syncs and the records of threads. Nothing is locked, so
   each thing is looked at as it is just now. */
#include "core/error.h"
#include "core/latch.h"
#include "core/who.h"

#include <kin/holder.h>

#include <inttypes.h>
#include <string.h>

enum { LINE_SIZE = 1536, TRIES = 16, NS_IN_MS = 1000000 };

/* ---- one lock ---- */

static bool is_latch(enum object_kind kind)
{
    return kind == KIND_LOCK || kind == KIND_RLOCK || kind == KIND_RWLOCK || kind == KIND_ARRAY;
}

/* What is known of an owner. */
typedef struct owning {
    uint64_t token; /* 0: nobody */
    uint64_t member;
    uint64_t site;
    uint32_t depth;
    bool passing;
} owning;

/* False if the sync is not there. What was read while the owner changed is read again. */
static bool look_at_owner(sync *s, uint64_t id, owning *o)
{
    for (int i = 0; i < TRIES; i++) {
        uint64_t state = atomic_load(&s->state);
        if ((state & SYNC_MASK) != sync_base(id)) {
            return false;
        }
        *o = (owning){.token = latch_owner(state), .passing = (state & LATCH_PASSING) != 0};
        if (o->token == 0 || !thread_is_there(o->token, &o->member)) {
            o->token = 0;
            return true;
        }
        bool recursive = object_kind_of(id) == KIND_RLOCK || object_kind_of(id) == KIND_ARRAY;
        o->depth = recursive ? atomic_load(&s->depth) : 1;
        o->site = atomic_load(&s->site);
        if (latch_owner(atomic_load(&s->state)) == o->token) {
            break;
        }
    }
    return true;
}

static void count_others(uint64_t id, kin_lock_holder *holder)
{
    for (uint32_t number = thread_next(0); number != 0; number = thread_next(number)) {
        thread_record *record = thread_at(number);
        if (atomic_load(&record->owner) != 0) {
            holder->waiters += atomic_load(&record->waits_for) == id;
            holder->readers += thread_reads(record, id);
        }
    }
}

static int find_owner(uint64_t id, enum object_kind kind, kin_lock_holder *holder)
{
    int status = 0;
    owning o;
    error_clear();
    if (holder == NULL) {
        return KIN_E_INVALID;
    }
    sync *s = sync_find(id, kind);
    if (s == NULL) {
        return sync_missing();
    }
    if (thread_current(&status) == NULL) {
        return status;
    }
    *holder = (kin_lock_holder){0};
    if (!look_at_owner(s, id, &o)) {
        return KIN_E_HANDLE;
    }
    sync_name(s, holder->name);
    count_others(id, holder);
    member *m = o.token != 0 ? member_at(o.member) : NULL;
    if (m != NULL) {
        holder->process.id = atomic_load(&m->process);
        holder->pid = m->identity.pid;
        holder->thread = token_number(o.token);
        holder->depth = o.depth;
        who_find_site(o.member, o.site, holder->module, sizeof holder->module, &holder->site);
    }
    return 0;
}

int kin_lock_owner(kin_lock lock, kin_lock_holder *holder)
{
    return find_owner(lock.id, KIND_LOCK, holder);
}

int kin_rlock_owner(kin_rlock lock, kin_lock_holder *holder)
{
    return find_owner(lock.id, KIND_RLOCK, holder);
}

int kin_rwlock_owner(kin_rwlock lock, kin_lock_holder *holder)
{
    return find_owner(lock.id, KIND_RWLOCK, holder);
}

/* ---- all ---- */

typedef struct dump {
    void (*line)(const char *text, void *context);
    void *context;
} dump;

static void tell(const dump *d, char *buffer, who_text *text)
{
    if (d->line != NULL) {
        d->line(buffer, d->context);
        return;
    }
    size_t length = (size_t) (text->at - buffer);
    buffer[length] = '\n'; /* in place of the zero */
    platform_write_error(buffer, length + 1);
}

/* Since when, if the wait has been noted with that. */
static void add_duration(who_text *text, const thread_record *record)
{
    int64_t since = atomic_load(&record->waits_from);
    if (since != 0) {
        who_add(text, " for %" PRId64 " ms", (platform_clock_ns() - since) / NS_IN_MS);
    }
}

static void tell_threads(const dump *d, uint64_t id)
{
    for (uint32_t number = thread_next(0); number != 0; number = thread_next(number)) {
        thread_record *record = thread_at(number);
        uint64_t owner = atomic_load(&record->owner);
        bool reads = thread_reads(record, id);
        bool waits = atomic_load(&record->waits_for) == id;
        if (owner != 0 && (reads || waits)) {
            char buffer[LINE_SIZE];
            who_text text = {buffer, sizeof buffer};
            who_add(&text, reads ? "  read by " : "  waited for by ");
            who_add_thread(&text, owner, number);
            if (waits) {
                add_duration(&text, record);
            }
            tell(d, buffer, &text);
        }
    }
}

static void tell_sync(sync *s, uint64_t id, void *context)
{
    const dump *d = context;
    char buffer[LINE_SIZE];
    owning o = {0};
    if (is_latch(object_kind_of(id)) && !look_at_owner(s, id, &o)) {
        return;
    }
    who_text text = {buffer, sizeof buffer};
    who_add_sync(&text, id);
    if (o.token != 0) {
        who_add(&text, o.passing ? " to be had by " : " owned by ");
        who_add_thread(&text, o.member, token_number(o.token));
        who_add_site(&text, o.member, o.passing ? 0 : o.site);
        if (o.depth > 1) {
            who_add(&text, ", %" PRIu32 " times", o.depth);
        }
    }
    tell(d, buffer, &text);
    tell_threads(d, id);
}

static void tell_joins(const dump *d)
{
    for (uint32_t number = thread_next(0); number != 0; number = thread_next(number)) {
        thread_record *record = thread_at(number);
        uint64_t owner = atomic_load(&record->owner);
        uint64_t id = atomic_load(&record->waits_for);
        if (owner != 0 && object_kind_of(id) == KIND_PROCESS) {
            char buffer[LINE_SIZE];
            who_text text = {buffer, sizeof buffer};
            who_add_thread(&text, owner, number);
            who_add(&text, " waits for the end of ");
            who_add_process(&text, id);
            add_duration(&text, record);
            tell(d, buffer, &text);
        }
    }
}

int kin_dump(void (*line)(const char *text, void *context), void *context)
{
    int status = 0;
    dump d = {line, context};
    error_clear();
    if (thread_current(&status) == NULL) {
        return status;
    }
    sync_each(tell_sync, &d);
    tell_joins(&d);
    return 0;
}
