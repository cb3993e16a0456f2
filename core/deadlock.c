/* Finding deadlocks; deadlock.h has the argument. */
#include "core/deadlock.h"

#include "core/error.h"
#include "core/latch.h"
#include "core/process_object.h"
#include "core/who.h"

#include <stdio.h>
#include <string.h>

/* Longer ones are not found; and that many looks are enough for one search. */
enum { MOST_HOPS = 48, MOST_LOOKS = 4096 };

/* A thread that waits, as it was seen. */
typedef struct hop {
    uint64_t token;
    uint64_t member;
    uint64_t waits;
    uint64_t waits_for;
    int64_t from;
    int64_t until;
    uint32_t number;
    uint32_t can_end;
} hop;

typedef struct walk {
    hop path[MOST_HOPS];
    unsigned hops;
    unsigned looks;
} walk;

static _Thread_local bool is_found;

void deadlock_set_up(const kin_options *options)
{
    char text[4];
    bool on = options != NULL && options->detect_deadlocks != 0;
    bool set = platform_environment_read("KIN_DEADLOCK", text, sizeof text) == 0;
    atomic_store(&family_common()->detect_deadlocks, on || (set && strcmp(text, "1") == 0));
}

void deadlock_tell(void)
{
    if (is_found) {
        error_set_detail();
    }
    is_found = false;
}

/* False if it does not wait, or the wait has changed while we looked. */
static bool look_at(hop *h, uint32_t number)
{
    thread_record *record = thread_at(number);
    if (record == NULL) {
        return false;
    }
    *h = (hop){.number = number, .waits = atomic_load(&record->waits)};
    h->member = atomic_load(&record->owner);
    h->token = thread_token(number);
    h->waits_for = atomic_load(&record->waits_for);
    h->from = atomic_load(&record->waits_from);
    h->until = atomic_load(&record->waits_until);
    h->can_end = atomic_load(&record->waits_can_end);
    return h->member != 0 && h->waits_for != 0 && h->from != 0 &&
           atomic_load(&record->waits) == h->waits;
}

static bool walk_on(walk *w);

/* True if the cycle is closed with that thread. */
static bool step(walk *w, uint32_t number)
{
    if (number == w->path[0].number) {
        return true;
    }
    for (unsigned i = 1; i < w->hops; i++) {
        if (w->path[i].number == number) {
            return false; /* a cycle, but not this one's */
        }
    }
    if (w->hops == MOST_HOPS || ++w->looks > MOST_LOOKS) {
        return false;
    }
    hop *h = &w->path[w->hops];
    if (!look_at(h, number) || h->until < w->path[0].until) {
        return false;
    }
    w->hops++;
    if (walk_on(w)) {
        return true;
    }
    w->hops--;
    return false;
}

static bool step_to_readers(walk *w, const hop *writer)
{
    for (uint32_t number = thread_next(0); number != 0; number = thread_next(number)) {
        if (number != writer->number && thread_reads(thread_at(number), writer->waits_for) &&
            step(w, number)) {
            return true;
        }
    }
    return false;
}

static bool step_to_owner(walk *w, const hop *h)
{
    uint64_t process;
    enum object_kind kind = object_kind_of(h->waits_for);
    sync *s = sync_find(h->waits_for, kind);
    uint64_t state = s != NULL ? atomic_load(&s->state) : 0;
    uint64_t owner = latch_owner(state);
    if ((state & SYNC_MASK) != sync_base(h->waits_for) || owner == 0) {
        return false;
    }
    if (owner == h->token) {
        return kind == KIND_RWLOCK && step_to_readers(w, h);
    }
    return thread_is_there(owner, &process) && step(w, token_number(owner));
}

static bool step_to_process(walk *w, const hop *h)
{
    object_guard guard;
    if (object_enter(&guard, h->waits_for, KIND_PROCESS) < 0) {
        return false;
    }
    process_object *p = process_of(&guard);
    /* One whose end has been asked for, or has begun, does not wait for ever. */
    bool lasts = atomic_load(&p->state) == PROCESS_RUNNING && atomic_load(&p->expected) == 0;
    uint64_t runner = lasts ? p->member : 0;
    object_leave(&guard);
    if (runner == 0) {
        return false;
    }
    for (uint32_t number = thread_next(0); number != 0; number = thread_next(number)) {
        thread_record *record = thread_at(number);
        if (atomic_load(&record->owner) == runner && atomic_load(&record->is_main) != 0) {
            return step(w, number);
        }
    }
    return false;
}

/* From the last of the path. */
static bool walk_on(walk *w)
{
    const hop *h = &w->path[w->hops - 1];
    switch (object_kind_of(h->waits_for)) {
    case KIND_LOCK:
    case KIND_RLOCK:
    case KIND_RWLOCK:
    case KIND_ARRAY:
        return step_to_owner(w, h);
    case KIND_PROCESS:
        return step_to_process(w, h);
    default:
        return false;
    }
}

static bool find(walk *w, uint32_t number)
{
    w->hops = 1;
    w->looks = 0;
    return look_at(&w->path[0], number) && walk_on(w);
}

static bool are_equal(const walk *a, const walk *b)
{
    for (unsigned i = 0; i < a->hops && a->hops == b->hops; i++) {
        const hop *x = &a->path[i];
        const hop *y = &b->path[i];
        if (x->number != y->number || x->token != y->token || x->waits != y->waits ||
            x->waits_for != y->waits_for) {
            return false;
        }
    }
    return a->hops == b->hops;
}

static bool is_to_end(const walk *w)
{
    const hop *first = &w->path[0];
    for (unsigned i = 1; i < w->hops; i++) {
        const hop *h = &w->path[i];
        bool later = h->from > first->from || (h->from == first->from && h->number > first->number);
        if (h->can_end != 0 && h->until == first->until && later) {
            return false;
        }
    }
    return true;
}

/* The lock of one that is dead will be open soon. */
static bool are_alive(const walk *w)
{
    for (unsigned i = 1; i < w->hops; i++) {
        if (w->path[i].member != member_self() && death_check(w->path[i].member)) {
            return false;
        }
    }
    return true;
}

static void describe(const walk *w)
{
    who_text text = {.at = error_detail_text(), .left = ERROR_DETAIL_SIZE};
    who_add_thread(&text, w->path[0].member, w->path[0].number);
    for (unsigned i = 0; i < w->hops; i++) {
        const hop *next = &w->path[(i + 1) % w->hops];
        who_add(&text, i == 0 ? " waits for " : ", which waits for ");
        if (object_kind_of(w->path[i].waits_for) == KIND_PROCESS) {
            who_add(&text, "the end of ");
        } else {
            who_add_sync(&text, w->path[i].waits_for);
            who_add(&text, " of ");
        }
        who_add_thread(&text, next->member, next->number);
    }
}

bool deadlock_is_closed(thread_self *t)
{
    walk first;
    walk second;
    is_found = find(&first, t->number) && is_to_end(&first) && find(&second, t->number) &&
               are_equal(&first, &second) && are_alive(&first);
    if (is_found) {
        describe(&first);
    }
    return is_found;
}
