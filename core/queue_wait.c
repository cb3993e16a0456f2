/* Waiting for a queue's items, for room in it, and until all is done. */
#include "core/queue.h"
#include "core/ring.h"
#include "core/shelf.h"

enum { HOLDERS = 16, SLOW = 128, KEPT_BYTES = 32 << 10 };

_Thread_local PLATFORM_FAST_TLS unsigned queue_gets;

static void (*look_at_connection)(uint64_t connection);

void queue_set_look(void (*look)(uint64_t connection))
{
    look_at_connection = look;
}

/* Each time at the next ones, if there are many. */
void queue_look_at_holders(queue_user *u)
{
    static _Atomic uint32_t next;
    uint64_t holders[HOLDERS];
    size_t count = 0;
    size_t skip = atomic_load(&next);
    uint64_t related = queue_dead_letters(u->d);
    if (object_kind_of(related) == KIND_CONNECTION) {
        look_at_connection(related);
        return;
    }
    if ((u->state & QUEUE_JOINABLE) == 0 || queue_lock(u) != 0) {
        return;
    }
    count = shelf_holders(u, holders, HOLDERS, skip);
    queue_unlock(u);
    atomic_store(&next, count == HOLDERS ? (uint32_t) skip + HOLDERS : 0);
    for (size_t i = 0; i < count; i++) {
        (void) death_check(holders[i]);
    }
}

static int spin(queue_wait *w)
{
    int status = w->nothing;
    wait_spin around = wait_spin_begin(SPIN_CHANGE);
    while (status == w->nothing && wait_spin_once(&around)) {
        for (int i = 0; w->slowly && i < SLOW; i++) {
            platform_relax();
        }
        around.done += w->slowly ? SLOW : 0;
        if (w->is_worth_it == NULL || w->is_worth_it(w->u, w->context)) {
            status = w->attempt(w->u, w->context);
        }
    }
    wait_spin_end(&around, status != w->nothing);
    return status;
}

/* Sleeps until it is worth trying again, and tries. Who was woken tries even if its time is over.
   */
static int sleep(queue_wait *w, int64_t deadline)
{
    uint32_t seen = line_read(w->line);
    line_announce(w->line, LINE_SLEEPERS);
    int status = w->attempt(w->u, w->context);
    if (status != w->nothing) {
        return status;
    }
    int slept = line_sleep(w->line, seen, deadline);
    if (slept == KIN_E_TIMEOUT) {
        sync_look_at_keeper(w->u->d);
        queue_look_at_holders(w->u);
        if (w->line == &w->u->d->line && w->u->c != NULL) {
            ring_shrink(w->u, KEPT_BYTES); /* nothing has come for a while */
        }
    }
    status = w->attempt(w->u, w->context);
    return status == w->nothing && slept < 0 && slept != KIN_E_TIMEOUT ? slept : status;
}

/* Whoever was to wake others may have been killed, and this one may have been woken for what it
   leaves. */
static void pass_on(queue_wait *w)
{
    if (w->is_worth_it == NULL || w->is_worth_it(w->u, w->context)) {
        line_tell(w->line, 1);
    }
}

static int wait_asleep(queue_wait *w, int64_t deadline)
{
    thread_record *record = w->u->t->record;
    int status = w->nothing;
    uint64_t before = atomic_load(&record->waits_for); /* this wait may be within another */
    atomic_store(&record->waits_for, w->u->id);
    while (status == w->nothing) {
        status = sleep(w, deadline);
        if (status == w->nothing && deadline != INT64_MAX && platform_clock_ns() >= deadline) {
            status = KIN_E_TIMEOUT;
        }
    }
    atomic_store(&record->waits_for, before);
    if (status != KIN_E_TIMEOUT) {
        pass_on(w);
    }
    return status;
}

int queue_wait_for(queue_wait *w)
{
    /* The first attempt may have to wait as well, for a latch. */
    w->u->waited = w->u->waited || w->u->timeout_ms != 0;
    int status = w->attempt(w->u, w->context);
    if (status != w->nothing) {
        return status;
    }
    if (w->u->timeout_ms == 0) {
        if ((w->u->state & QUEUE_JOINABLE) != 0 && death_is_time_to_look(w->u->id)) {
            queue_look_at_holders(w->u);
            status = w->attempt(w->u, w->context);
        }
        return status == w->nothing ? KIN_E_TIMEOUT : status;
    }
    int64_t deadline = wait_deadline(w->u->timeout_ms);
    status = w->has_spun ? w->nothing : spin(w);
    return status == w->nothing ? wait_asleep(w, deadline) : status;
}
