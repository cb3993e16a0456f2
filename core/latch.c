/* The latch; latch.h has the argument. */
#include "core/latch.h"

#include "core/deadlock.h"

enum { LATCH_HELD = 100 }; /* no status of the interface */

/* Who has slept for so long looks whether the owner is still there, even if it was woken for
   another reason; and how long somebody who comes waits for one to whom a latch has been handed
   over. */
#define LOOK_NS INT64_C(20000000)
#define HANDED_NS INT64_C(100000000)

typedef struct waiting {
    sync *s;
    uint64_t id;
    uint64_t base;
    uint64_t state; /* as it was last seen */
    thread_self *t;
    int64_t deadline;
    unsigned how;
    bool waited;
    bool queued; /* it has slept */
    bool first;  /* it has been woken: nobody is before it */
    death_watch watch;
} waiting;

/* What the state says when somebody may sleep. */
static uint64_t sleepers(sync *s)
{
    if ((atomic_load(&s->head.flags) & LINE_SLEEPERS) != 0) {
        return LATCH_CONTENDED | LATCH_HEAD;
    }
    return (atomic_load(&s->line.flags) & LINE_SLEEPERS) != 0 ? LATCH_CONTENDED : 0;
}

static bool can_take(const waiting *w)
{
    return latch_owner(w->state) == 0 && ((w->state & LATCH_FAIR) == 0 || w->queued);
}

/* 0, KIN_OWNER_DIED, LATCH_HELD, or an error. */
static int take(waiting *w)
{
    w->state = atomic_load(&w->s->state);
    for (;;) {
        if ((w->state & SYNC_MASK) != w->base) {
            return w->waited ? KIN_E_DESTROYED : KIN_E_HANDLE;
        }
        uint64_t owner = latch_owner(w->state);
        if (owner == w->t->token) {
            return KIN_E_DEADLOCK;
        }
        if (!can_take(w)) {
            return LATCH_HELD;
        }
        uint64_t mine = w->base | w->t->token | (w->state & LATCH_CONTENDED);
        if ((w->how & LATCH_PASS) != 0 && (w->state & LATCH_DIED) == 0) {
            mine |= LATCH_PASSING;
        }
        if (w->queued) {
            mine |= sleepers(w->s); /* who gives it back is to wake the next */
        }
        if (atomic_compare_exchange_weak(&w->s->state, &w->state, mine)) {
            if (w->queued) {
                atomic_store_explicit(&w->s->since, platform_clock_ns(), memory_order_relaxed);
            }
            return (w->state & LATCH_DIED) != 0 ? KIN_OWNER_DIED : 0;
        }
    }
}

static bool wake_one(wait_line *line)
{
    if (line_wake(line, 1) > 0) {
        return true;
    }
    if ((atomic_load(&line->flags) & LINE_SLEEPERS) != 0) {
        atomic_fetch_and(&line->flags, ~(uint32_t) LINE_SLEEPERS);
        return line_wake(line, LINE_ALL) > 0;
    }
    return false;
}

/* Wakes the next one of those who sleep. False if there was none. */
static bool wake_next(sync *s, uint64_t state)
{
    return ((state & LATCH_HEAD) != 0 && wake_one(&s->head)) || wake_one(&s->line);
}

int latch_release(sync *s, uint64_t id, thread_self *t, uint64_t leave)
{
    uint64_t base = sync_base(id);
    uint64_t state = atomic_load(&s->state);
    uint64_t open;
    do {
        if ((state & SYNC_MASK) != base) {
            return KIN_E_HANDLE;
        }
        if (latch_owner(state) != t->token) {
            return KIN_E_NOT_OWNER;
        }
        open = base | leave | ((state & LATCH_CONTENDED) != 0 ? state & LATCH_FAIR : 0);
        if ((open & LATCH_FAIR) != 0) {
            atomic_store_explicit(&s->since, platform_clock_ns(), memory_order_relaxed);
        }
    } while (!atomic_compare_exchange_weak(&s->state, &state, open));
    if ((state & LATCH_CONTENDED) != 0 && !wake_next(s, state) && (open & LATCH_FAIR) != 0) {
        /* Nobody is there to whom it could be handed over. */
        (void) atomic_compare_exchange_strong(&s->state, &open, open & ~LATCH_FAIR);
    }
    latch_given(t);
    return 0;
}

static void wake(uint32_t number)
{
    thread_record *record = thread_at(number);
    uint64_t owner = atomic_load(&record->owner);
    if (line_wake(&record->bell, 1) == 0 && owner != 0) {
        (void) death_check(owner); /* nobody sleeps there: it may have been killed */
    }
}

void latch_wake_owed(thread_self *t)
{
    uint32_t number = t->owes;
    t->owes = 0;
    wake(number);
}

/* Of several all but the last are woken at once. */
void latch_wake(thread_self *t, uint32_t number)
{
    latch_given(t);
    t->owes = number;
}

void latch_look(sync *s, uint64_t id)
{
    uint64_t process;
    uint64_t state = atomic_load(&s->state);
    uint64_t owner = latch_owner(state);
    if ((state & SYNC_MASK) != sync_base(id) || owner == 0 || thread_is_there(owner, &process)) {
        return;
    }
    uint64_t open = sync_base(id) | LATCH_DIED;
    if ((state & LATCH_PASSING) != 0) {
        uint64_t none = id;
        (void) atomic_compare_exchange_strong(&s->extra, &none, id | LATCH_READERS);
        open = sync_base(id);
    }
    if (atomic_compare_exchange_strong(&s->state, &state, open)) {
        (void) wake_next(s, LATCH_HEAD);
    }
}

/* Is it known that the owner is gone? Then nobody, and least of all its recovery, need sleep. */
static bool is_left(const waiting *w)
{
    uint64_t process;
    uint64_t owner = latch_owner(w->state);
    return owner != 0 && !thread_is_there(owner, &process);
}

/* Is the owner still there, and whoever ends it? */
static void look_after_owner(waiting *w)
{
    uint64_t process;
    sync_look_at_keeper(w->s);
    uint64_t owner = latch_owner(w->state);
    if (owner != 0 &&
        (!thread_is_there(owner, &process) || death_check_again(&w->watch, process))) {
        latch_look(w->s, w->id);
    }
}

int latch_try_as(sync *s, uint64_t id, thread_self *t, unsigned how)
{
    waiting w = {.s = s, .id = id, .base = sync_base(id), .t = t, .how = how};
    int status = take(&w);
    if (status != LATCH_HELD) {
        return status;
    }
    if (latch_owner(w.state) == 0) {
        int64_t handed = atomic_load_explicit(&s->since, memory_order_relaxed);
        w.queued = platform_clock_ns() - handed >=
                   HANDED_NS; /* then whoever was to have it does not come */
        status = take(&w);
    } else if (death_is_time_to_look(id)) {
        look_after_owner(&w);
        death_watch_end(&w.watch);
        status = take(&w);
    }
    return status == LATCH_HELD ? KIN_E_TIMEOUT : status;
}

static int spin(waiting *w)
{
    int status = LATCH_HELD;
    wait_spin around = wait_spin_begin(SPIN_LOCK);
    while (status == LATCH_HELD && (atomic_load(&w->s->line.flags) & LINE_SLEEPERS) == 0 &&
           wait_spin_once(&around)) {
        status = take(w);
    }
    if (around.done > 0) {
        wait_spin_end(&around, status != LATCH_HELD);
    }
    return status;
}

/* How long to sleep, when the state is as it was seen last. All sleep to the deadline, or the
   end of a slice; the first to the end of the present owner's turn, or for as long as one to
   whom the latch was handed may take. */
static int64_t limit_of(const waiting *w, int64_t now)
{
    int64_t end = INT64_MAX;
    if (w->first && latch_owner(w->state) == 0) {
        end = now + HANDED_NS;
    } else if (w->first && (w->state & LATCH_FAIR) == 0) {
        end = atomic_load_explicit(&w->s->since, memory_order_relaxed) + LATCH_TURN_NS;
    }
    return end < w->deadline ? end : w->deadline;
}

/* Has the owner wake somebody. False if there is something else to be done now. An owner that comes
   and goes quickly must not be able to keep this from succeeding: there is as little as possible
   between a look and its swap. */
static bool ask_for_wake(waiting *w, int64_t now)
{
    int64_t since = atomic_load_explicit(&w->s->since, memory_order_relaxed);
    uint64_t fair = w->first && now - since >= LATCH_TURN_NS ? LATCH_FAIR : 0;
    uint64_t asked = LATCH_CONTENDED | sleepers(w->s);
    for (;;) {
        if ((w->state & SYNC_MASK) != w->base || can_take(w)) {
            return false;
        }
        uint64_t state = w->state | asked | (latch_owner(w->state) != 0 ? fair : 0);
        if (state == w->state || atomic_compare_exchange_weak(&w->s->state, &w->state, state)) {
            w->state = state;
            return true;
        }
    }
}

/* Sleeps until it is worth trying again. */
static int sleep(waiting *w)
{
    wait_line *line = w->first ? &w->s->head : &w->s->line;
    uint32_t seen = line_read(line);
    line_announce(line, LINE_SLEEPERS);
    int status = take(w);
    if (status != LATCH_HELD) {
        return status;
    }
    int64_t now = platform_clock_ns();
    if (!ask_for_wake(w, now)) {
        return LATCH_HELD;
    }
    /* Whom it watches already is looked at with one call, and less often. */
    status = line_sleep_for(line, seen, limit_of(w, now),
                            w->watch.reference != 0 ? WAIT_LONG_SLICE_NS : WAIT_SLICE_NS);
    w->queued = true;
    if (status == 0) {
        w->first = true;
    } else if (status == KIN_E_TIMEOUT) {
        int64_t woken = platform_clock_ns();
        if (woken - now >= LOOK_NS || woken >= w->deadline) {
            look_after_owner(w);
        }
        w->first = w->first || woken - now >= WAIT_SLICE_NS; /* it has lost its place in the line */
        status = 0;
    }
    return status < 0 ? status : take(w);
}

/* One that has been woken does not take it: another is to be woken in its place. If it has been
   handed over, and nobody is there, it is for whoever comes. */
static void pass_on(waiting *w)
{
    w->state = atomic_load(&w->s->state);
    while ((w->state & SYNC_MASK) == w->base && latch_owner(w->state) != 0) {
        if (atomic_compare_exchange_weak(&w->s->state, &w->state,
                                         w->state | LATCH_CONTENDED | sleepers(w->s))) {
            return;
        }
    }
    if (!wake_next(w->s, LATCH_HEAD) && (w->state & SYNC_MASK) == w->base &&
        (w->state & LATCH_FAIR) != 0) {
        (void) atomic_compare_exchange_strong(&w->s->state, &w->state, w->state & ~LATCH_FAIR);
    }
}

/* Before the first sleep, and as often as slices end. */
static bool is_deadlock(const waiting *w, int64_t *next)
{
    if ((w->how & LATCH_DETECT) == 0 || !deadlock_is_on()) {
        return false;
    }
    int64_t now = platform_clock_ns();
    if (now < *next) {
        return false;
    }
    *next = now + WAIT_SLICE_NS;
    return deadlock_is_closed(w->t);
}

static int wait_asleep(waiting *w)
{
    int64_t next = 0;
    int status = LATCH_HELD;
    wait_note note = wait_begin(w->t, w->id, w->deadline, (w->how & LATCH_DETECT) != 0);
    while (status == LATCH_HELD) {
        if (is_deadlock(w, &next)) {
            status = KIN_E_DEADLOCK;
            break;
        }
        status = sleep(w);
        if (status == LATCH_HELD && w->deadline != INT64_MAX &&
            platform_clock_ns() >= w->deadline) {
            status = KIN_E_TIMEOUT;
        }
    }
    wait_end(w->t, &note);
    death_watch_end(&w->watch);
    return status;
}

int latch_wait(sync *s, uint64_t id, thread_self *t, int64_t deadline_ns, unsigned how)
{
    waiting w = {
        .s = s, .id = id, .base = sync_base(id), .t = t, .deadline = deadline_ns, .how = how};
    int status = take(&w);
    w.waited = true;
    if (status == LATCH_HELD) {
        status = spin(&w);
    }
    if (status == LATCH_HELD && is_left(&w)) {
        latch_look(s, id);
        status = take(&w);
    }
    if (status == LATCH_HELD) {
        status = wait_asleep(&w);
        if (status < 0 && w.queued) {
            pass_on(&w);
        }
    }
    return status;
}
