/* Waiting for a semaphore's permits, and waking those who do; semaphore.h has the argument. */
#include "core/error.h"
#include "core/semaphore.h"

enum { NO_PERMIT = 100 }; /* no status of the interface */

/* Up to so many places are looked at again and again. */
enum { FEW_PLACES = 64 };

typedef struct waiting {
    sync *s;
    uint64_t id;
    permits *p;
    uint64_t state; /* as it was last seen */
    int64_t began;
    int64_t deadline;
    bool queued; /* it has slept */
    bool first;  /* it has been woken in vain */
} waiting;

/* Wakes up to `count` of those who sleep in a line; how many there were. */
static uint32_t wake(wait_line *line, uint32_t count)
{
    uint32_t woken = 0;
    if ((atomic_load(&line->flags) & LINE_SLEEPERS) != 0) {
        woken = line_wake(line, count);
        if (woken < count) {
            atomic_fetch_and(&line->flags, ~(uint32_t) LINE_SLEEPERS);
            woken += line_wake(line, LINE_ALL);
        }
    }
    return woken;
}

static uint32_t wake_next(sync *s, uint32_t count)
{
    uint32_t woken = wake(&s->head, count);
    return woken < count ? woken + wake(&s->line, count - woken) : woken;
}

void semaphore_tell(sync *s, uint64_t state, uint32_t count)
{
    uint32_t woken = wake_next(s, count);
    if ((state & SEMAPHORE_FAIR) != 0 && woken == 0) {
        /* Nobody is there for whom the permits could be kept. */
        uint64_t now = atomic_load(&s->state);
        while (((now ^ state) & SYNC_MASK) == 0 && (now & SEMAPHORE_FAIR) != 0 &&
               !atomic_compare_exchange_weak(&s->state, &now, now & ~SEMAPHORE_FAIR)) {
        }
        (void) wake_next(s, count);
    }
    /* Who waits for many things has seen that there was no permit; that there is one more is no
       news. */
    if (semaphore_count(state) == 0) {
        line_tell_watchers(&s->line);
    }
}

/* Are the permits that there may be kept for those who have slept? Not for ever, should those be
   gone. */
static bool is_kept_from(const waiting *w)
{
    if ((w->state & SEMAPHORE_FAIR) == 0 || w->queued) {
        return false;
    }
    int64_t since = atomic_load_explicit(&w->s->since, memory_order_relaxed);
    return platform_clock_ns() - since < SEMAPHORE_HANDED_NS;
}

/* One who has had to wait has got a permit: the others are no worse off than before. */
static void end_fairness(waiting *w)
{
    while ((w->state & SYNC_MASK) == sync_base(w->id) && (w->state & SEMAPHORE_FAIR) != 0 &&
           !atomic_compare_exchange_weak(&w->s->state, &w->state, w->state & ~SEMAPHORE_FAIR)) {
    }
}

static int take_owned(waiting *w)
{
    if (is_kept_from(w) || !permits_take(w->p)) {
        return NO_PERMIT;
    }
    end_fairness(w);
    return 0;
}

static int take_counted(waiting *w)
{
    while (semaphore_count(w->state) > 0 && !is_kept_from(w)) {
        uint64_t less = (w->state & ~SEMAPHORE_FAIR) - SEMAPHORE_ONE;
        if (atomic_compare_exchange_weak(&w->s->state, &w->state, less)) {
            return 0;
        }
        if ((w->state & SYNC_MASK) != sync_base(w->id)) {
            return KIN_E_HANDLE;
        }
    }
    return NO_PERMIT;
}

/* Whoever was to wake others may have been killed: there may be permits for them. */
static void pass_on(const waiting *w)
{
    if (w->p != NULL ? permits_free(w->p, 1) > 0 : semaphore_count(w->state) > 1) {
        (void) wake_next(w->s, 1);
    }
}

/* 0, NO_PERMIT or KIN_E_HANDLE. */
static int take(waiting *w)
{
    w->state = atomic_load(&w->s->state);
    if ((w->state & SYNC_MASK) != sync_base(w->id)) {
        return KIN_E_HANDLE;
    }
    int status = w->p != NULL ? take_owned(w) : take_counted(w);
    if (status == 0 && w->queued) {
        pass_on(w);
    }
    return status;
}

static int spin(waiting *w)
{
    int status = NO_PERMIT;
    wait_spin around = wait_spin_begin(SPIN_LOCK);
    if (w->p != NULL && w->p->count > FEW_PLACES) {
        return status;
    }
    while (status == NO_PERMIT && (atomic_load(&w->s->line.flags) & LINE_SLEEPERS) == 0 &&
           wait_spin_once(&around)) {
        status = take(w);
    }
    if (around.done > 0) {
        wait_spin_end(&around, status != NO_PERMIT);
    }
    return status;
}

/* The next permits are for those who sleep, if this one has waited for so long. False if the state
   has changed: it is to be looked at again. */
static bool ask_for_fairness(waiting *w, int64_t now)
{
    if (!w->first || (w->state & SEMAPHORE_FAIR) != 0 || now - w->began < SEMAPHORE_TURN_NS) {
        return true;
    }
    atomic_store_explicit(&w->s->since, now, memory_order_relaxed);
    uint64_t fair = w->state | SEMAPHORE_FAIR;
    if (!atomic_compare_exchange_strong(&w->s->state, &w->state, fair)) {
        return false;
    }
    w->state = fair;
    return true;
}

/* How long to sleep: until its time or its turn has come, or that of those for whom permits are
   kept is over. */
static int64_t limit_of(const waiting *w, int64_t now)
{
    int64_t limit = w->deadline;
    int64_t turn = INT64_MAX;
    if ((w->state & SEMAPHORE_FAIR) == 0) {
        turn = w->first ? w->began + SEMAPHORE_TURN_NS : INT64_MAX;
    } else if (!w->queued) {
        turn = now + SEMAPHORE_HANDED_NS;
    }
    return turn < limit ? turn : limit;
}

/* Those for whom one waits may be gone. */
static void look_after(const waiting *w)
{
    sync_look_at_keeper(w->s);
    if (w->p != NULL) {
        permits_look_at_holders(w->p);
    }
}

/* Sleeps until it is worth trying again, and tries. Who was woken for a permit tries even if its
   time is over, so a wake-up is never lost. */
static int sleep(waiting *w)
{
    wait_line *line = w->first ? &w->s->head : &w->s->line;
    uint32_t seen = line_read(line);
    line_announce(line, LINE_SLEEPERS);
    int status = take(w);
    if (status != NO_PERMIT) {
        return status;
    }
    int64_t now = platform_clock_ns();
    if (!ask_for_fairness(w, now)) {
        return NO_PERMIT;
    }
    int slept = line_sleep(line, seen, limit_of(w, now));
    w->queued = true;
    w->first = w->first || slept == 0;
    if (slept == KIN_E_TIMEOUT) {
        look_after(w);
    }
    status = take(w);
    if (status == NO_PERMIT && slept < 0 && slept != KIN_E_TIMEOUT) {
        return slept;
    }
    return status;
}

/* For one who does not wait: may those who have the permits be gone? */
static int take_from_the_dead(waiting *w)
{
    if (w->p == NULL || !death_is_time_to_look(w->id)) {
        return KIN_E_TIMEOUT;
    }
    permits_look_at_holders(w->p);
    int status = take(w);
    return status == NO_PERMIT ? KIN_E_TIMEOUT : status;
}

static int wait(waiting *w, thread_self *t)
{
    int status = NO_PERMIT;
    uint64_t before = atomic_load(&t->record->waits_for); /* this wait may be within another */
    atomic_store(&t->record->waits_for, w->id);
    while (status == NO_PERMIT) {
        status = sleep(w);
        if (status == NO_PERMIT && w->deadline != INT64_MAX && platform_clock_ns() >= w->deadline) {
            status = KIN_E_TIMEOUT;
        }
    }
    atomic_store(&t->record->waits_for, before);
    return status;
}

int semaphore_acquire(sync *s, uint64_t id, permits *p, thread_self *t, int timeout_ms)
{
    waiting w = {.s = s, .id = id, .p = p};
    int status = take(&w);
    if (status != NO_PERMIT) {
        return status;
    }
    if (timeout_ms == 0) {
        return take_from_the_dead(&w);
    }
    status = spin(&w);
    if (status == NO_PERMIT) {
        w.began = platform_clock_ns();
        w.deadline = wait_deadline(timeout_ms);
        status = wait(&w, t);
    }
    return status == KIN_E_HANDLE ? KIN_E_DESTROYED : status;
}

/* Takes the permits of the dead back. Those of a thread that ends belong to its process. */
static void look(sync *s, uint64_t id)
{
    object_guard guard;
    uint64_t state = atomic_load(&s->state);
    if (thread_known() == NULL || (state & SYNC_MASK) != sync_base(id) ||
        (state & SEMAPHORE_OWNED) == 0 ||
        object_enter(&guard, atomic_load(&s->part), KIND_PART) < 0) {
        return; /* those who wait look for themselves */
    }
    if (atomic_load(&guard.object->owner) == id) {
        uint32_t dropped = permits_drop_dead((permits *) guard.object);
        if (dropped > 0) {
            semaphore_tell(s, state, dropped);
        }
    }
    object_leave(&guard);
}

/* The permit for which a thread was woken may be there still. */
static void died(sync *s, uint64_t id, thread_record *record)
{
    (void) id, (void) record;
    (void) wake_next(s, 1);
}

void semaphore_wait_set_up(void)
{
    sync_register(KIND_SEMAPHORE, look);
    sync_register_death(KIND_SEMAPHORE, died);
}
