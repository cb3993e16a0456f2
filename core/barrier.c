/* Barriers. The state says how many have arrived in the present cycle, whether that is broken, the
   cycle's number, and how the cycles before it have ended, so that one who looks late learns how
   its own did. Each change is one swap; the last to arrive opens the barrier by beginning the next
   cycle, at once or, when all have arrived, after the action. A broken cycle lasts until a reset,
   which begins the next one.

   Who is about to arrive notes barrier and cycle in its thread's record first, and takes that away
   when it knows how the cycle ended. So whoever learns that a thread died finds there which cycle
   it may be missing from: if that is still under way it is broken. As one missing party is enough,
   each that sleeps looks after one other only, the next in the table of threads: then of all that
   are dead at least one is seen.

   The cycle's number comes round after a million, and what is known of how they ended goes back to
   the last twelve: one that was stopped for longer while others went on is told that its own ended
   well. */
#include "core/barrier.h"

#include "core/error.h"
#include "core/function.h"
#include "core/sync.h"

#include <kin/barrier.h>

#include <string.h>

enum { PENDING = 100 }; /* no status of the interface */

enum { CYCLE_BITS = 20, HISTORY_BITS = 12 };

#define ARRIVED_SHIFT SYNC_BITS
#define ARRIVED_ONE (UINT64_C(1) << ARRIVED_SHIFT)
#define BROKEN (UINT64_C(1) << 31)
#define CYCLE_SHIFT 32
#define CYCLE_MASK ((1u << CYCLE_BITS) - 1)
#define HISTORY_SHIFT (CYCLE_SHIFT + CYCLE_BITS)
#define HISTORY_MASK ((1u << HISTORY_BITS) - 1)

/* In a barrier's options, above the number of parties. */
#define HAS_ACTION (1u << 31)

/* The part of a barrier that has an action. */
typedef struct action_part {
    object object;
    function_reference function;
    uint64_t argument; /* offset */
    uint64_t argument_size;
} action_part;

/* One who waits. */
typedef struct party {
    sync *b;
    uint64_t id;
    uint64_t base;
    thread_self *t;
    int64_t deadline;
    uint32_t cycle;
    uint32_t index;
    bool waited;
} party;

static inline uint32_t arrived_in(uint64_t state)
{
    return (uint32_t) (state >> ARRIVED_SHIFT) & KIN_BARRIER_MOST_PARTIES;
}

static inline uint32_t cycle_of(uint64_t state)
{
    return (uint32_t) (state >> CYCLE_SHIFT) & CYCLE_MASK;
}

/* The next cycle's beginning. */
static inline uint64_t next_cycle(uint64_t state, bool broken)
{
    uint64_t history = (state >> HISTORY_SHIFT << 1 | broken) & HISTORY_MASK;
    uint64_t cycle = (cycle_of(state) + 1) & CYCLE_MASK;
    return (state & SYNC_MASK) | cycle << CYCLE_SHIFT | history << HISTORY_SHIFT;
}

static inline uint32_t parties_of(sync *b)
{
    return atomic_load_explicit(&b->options, memory_order_relaxed) & ~HAS_ACTION;
}

/* What the state says of a cycle that one has arrived in. */
static int outcome(const party *p, uint64_t state)
{
    if ((state & SYNC_MASK) != p->base) {
        return KIN_E_DESTROYED;
    }
    uint32_t past = (cycle_of(state) - p->cycle) & CYCLE_MASK;
    if (past == 0) {
        return (state & BROKEN) != 0 ? KIN_E_BROKEN : PENDING;
    }
    bool broken = past <= HISTORY_BITS && (state >> HISTORY_SHIFT >> (past - 1) & 1) != 0;
    return broken ? KIN_E_BROKEN : 0;
}

/* Wakes all who sleep. Who has announced itself before that is woken or does not fall asleep. */
static void wake_all(sync *b)
{
    if ((atomic_load(&b->line.flags) & LINE_SLEEPERS) != 0) {
        atomic_fetch_and(&b->line.flags, ~(uint32_t) LINE_SLEEPERS);
        (void) line_wake(&b->line, LINE_ALL);
    }
}

/* Breaks p's cycle if it is still under way: PENDING. Else how it has ended. */
static int break_cycle(const party *p)
{
    uint64_t state = atomic_load(&p->b->state);
    int ended;
    while ((ended = outcome(p, state)) == PENDING) {
        if (atomic_compare_exchange_weak(&p->b->state, &state, state | BROKEN)) {
            wake_all(p->b);
            return PENDING;
        }
    }
    return ended;
}

/* ---- those who wait, and what they have to know of each other ---- */

static void note(const party *p, uint64_t state)
{
    thread_record *record = p->t->record;
    atomic_store_explicit(&record->cycle, cycle_of(state), memory_order_relaxed);
    atomic_store_explicit(&record->barrier, p->id, memory_order_relaxed);
}

static void forget(const party *p)
{
    atomic_store_explicit(&p->t->record->barrier, 0, memory_order_release);
}

/* The member whose thread that is, if it is another's and takes part in the same cycle; else 0. */
static uint64_t fellow(const party *p, uint32_t number)
{
    thread_record *record = thread_at(number);
    uint64_t owner = atomic_load(&record->owner);
    bool takes_part =
        atomic_load(&record->barrier) == p->id && atomic_load(&record->cycle) == p->cycle;
    return takes_part && owner != member_self() ? owner : 0;
}

/* The next one in the table who takes part: has it died? Then its recovery breaks the barrier. */
static void look_after_next(const party *p)
{
    uint32_t records = arena_entries(ARENA_THREADS);
    for (uint32_t i = 1; i < records; i++) {
        uint32_t number = (p->t->number + i - 1) % (records - 1) + 1;
        uint64_t owner = fellow(p, number);
        if (owner != 0) {
            (void) death_check(owner);
            return;
        }
    }
}

static int spin(const party *p)
{
    int ended = outcome(p, atomic_load_explicit(&p->b->state, memory_order_acquire));
    wait_spin around = wait_spin_begin(SPIN_CHANGE);
    while (ended == PENDING && wait_spin_once(&around)) {
        ended = outcome(p, atomic_load_explicit(&p->b->state, memory_order_acquire));
    }
    if (around.done > 0) {
        wait_spin_end(&around, ended != PENDING);
    }
    return ended;
}

/* Sleeps until p's cycle is over: 0, KIN_E_BROKEN, KIN_E_DESTROYED; or KIN_E_TIMEOUT, or why it
   cannot sleep. */
static int sleep(const party *p)
{
    int status = PENDING;
    wait_note before = wait_begin(p->t, p->id, p->deadline, false);
    while (status == PENDING) {
        uint32_t seen = line_read(&p->b->line);
        line_announce(&p->b->line, LINE_SLEEPERS);
        status = outcome(p, atomic_load(&p->b->state));
        if (status != PENDING) {
            break;
        }
        status = line_sleep(&p->b->line, seen, p->deadline);
        if (status == KIN_E_TIMEOUT) {
            sync_look_at_keeper(p->b);
            look_after_next(p);
            bool over = p->deadline != INT64_MAX && platform_clock_ns() >= p->deadline;
            status = over ? KIN_E_TIMEOUT : 0;
        }
        status = status == 0 ? PENDING : status;
    }
    wait_end(p->t, &before);
    return status;
}

static int await(const party *p)
{
    int status = spin(p);
    return status == PENDING ? sleep(p) : status;
}

/* The same for one of the parties: if it gives up it breaks the barrier. */
static int await_others(const party *p)
{
    int status = await(p);
    if (status == 0 || status == KIN_E_BROKEN || status == KIN_E_DESTROYED) {
        return status;
    }
    int ended = break_cycle(p);
    return ended == PENDING ? status : ended;
}

/* ---- arriving ---- */

/* All have arrived and one of them runs the action: waits for the next cycle. 0 when there may be
   one. */
static int await_next(party *p, uint64_t state)
{
    forget(p); /* not one of them */
    p->cycle = cycle_of(state);
    p->waited = true;
    int status = await(p);
    return status == KIN_E_BROKEN ? 0 : status; /* it may have been reset */
}

/* Counts this one in. 0, or PENDING if it is the last and the barrier has not been opened. */
static int arrive(party *p)
{
    uint32_t options = atomic_load_explicit(&p->b->options, memory_order_relaxed);
    uint32_t parties = options & ~HAS_ACTION;
    uint64_t state = atomic_load(&p->b->state);
    uint64_t next;
    bool last;
    do {
        while ((state & SYNC_MASK) == p->base && (state & BROKEN) == 0 &&
               arrived_in(state) >= parties) {
            int status = await_next(p, state);
            if (status != 0) {
                return status;
            }
            state = atomic_load(&p->b->state);
        }
        if ((state & SYNC_MASK) != p->base) {
            return p->waited ? KIN_E_DESTROYED : KIN_E_HANDLE;
        }
        if ((state & BROKEN) != 0) {
            return KIN_E_BROKEN;
        }
        note(p, state);
        p->cycle = cycle_of(state);
        p->index = arrived_in(state);
        last = p->index + 1 == parties;
        next = last && (options & HAS_ACTION) == 0 ? next_cycle(state, false) : state + ARRIVED_ONE;
    } while (!atomic_compare_exchange_weak(&p->b->state, &state, next));
    if (!last) {
        return await_others(p);
    }
    if ((options & HAS_ACTION) != 0) {
        return PENDING;
    }
    wake_all(p->b);
    return 0;
}

/* What the action gives, or why it could not be run. */
static int run_action(const party *p)
{
    object_guard guard;
    int status = object_enter(&guard, atomic_load(&p->b->part), KIND_PART);
    if (status < 0) {
        return status == KIN_E_HANDLE ? KIN_E_DESTROYED : status;
    }
    uintptr_t address;
    action_part *part = (action_part *) guard.object;
    status = function_resolve(&part->function, &address);
    if (status == 0) {
        kin_barrier_action action;
        memcpy(&action, &address, sizeof action);
        status = action(arena_at(part->argument), (size_t) part->argument_size);
    }
    object_leave(&guard);
    return status;
}

/* Runs the action, then opens the barrier unless it has been broken meanwhile. */
static int act(const party *p)
{
    int status = run_action(p);
    uint64_t state = atomic_load(&p->b->state);
    int ended;
    while (status >= 0 && (ended = outcome(p, state)) == PENDING) {
        if (atomic_compare_exchange_weak(&p->b->state, &state, next_cycle(state, false))) {
            wake_all(p->b);
            return 0;
        }
    }
    if (status >= 0) {
        return ended;
    }
    (void) break_cycle(p);
    return status;
}

static int wait(party *p)
{
    if (atomic_load_explicit(&p->t->record->barrier, memory_order_relaxed) != 0) {
        return KIN_E_STATE; /* an action */
    }
    int status = arrive(p);
    if (status == PENDING) {
        status = act(p);
    }
    forget(p);
    return status;
}

int kin_barrier_wait(kin_barrier barrier, uint32_t *index, int timeout_ms)
{
    int status = 0;
    party p = {.b = sync_find(barrier.id, KIND_BARRIER), .id = barrier.id, .t = thread_known()};
    error_clear();
    if (p.b == NULL) {
        return sync_missing();
    }
    if (p.t == NULL && (p.t = thread_current(&status)) == NULL) {
        return status;
    }
    if (timeout_ms < 0) {
        int32_t own = (int32_t) atomic_load_explicit(&p.b->depth, memory_order_relaxed);
        timeout_ms = own > 0 ? own : KIN_FOREVER;
    }
    p.base = sync_base(barrier.id);
    p.deadline = wait_deadline(timeout_ms);
    status = wait(&p);
    if (status == 0 && index != NULL) {
        *index = p.index;
    }
    return status;
}

/* ---- what needs no waiting ---- */

/* Changes the state to what `change` makes of it. */
static int change(kin_barrier barrier, uint64_t (*to)(uint64_t state))
{
    error_clear();
    int status = 0;
    sync *b = sync_find(barrier.id, KIND_BARRIER);
    if (b == NULL) {
        return sync_missing();
    }
    if (thread_current(&status) == NULL) {
        return status;
    }
    uint64_t state = atomic_load(&b->state);
    do {
        if ((state & SYNC_MASK) != sync_base(barrier.id)) {
            return KIN_E_HANDLE;
        }
    } while (!atomic_compare_exchange_weak(&b->state, &state, to(state)));
    wake_all(b);
    return 0;
}

static uint64_t as_new(uint64_t state)
{
    return next_cycle(state, true);
}

static uint64_t as_broken(uint64_t state)
{
    return state | BROKEN;
}

int kin_barrier_reset(kin_barrier barrier)
{
    return change(barrier, as_new);
}

int kin_barrier_abort(kin_barrier barrier)
{
    return change(barrier, as_broken);
}

/* What `tell` finds in it. */
static int look(kin_barrier barrier, int (*tell)(uint64_t state, uint32_t parties))
{
    error_clear();
    sync *b = sync_find(barrier.id, KIND_BARRIER);
    if (b == NULL) {
        return sync_missing();
    }
    uint32_t parties = parties_of(b);
    uint64_t state = atomic_load(&b->state);
    return (state & SYNC_MASK) == sync_base(barrier.id) ? tell(state, parties) : KIN_E_HANDLE;
}

static int tell_parties(uint64_t state, uint32_t parties)
{
    (void) state;
    return (int) parties;
}

static int tell_waiting(uint64_t state, uint32_t parties)
{
    (void) parties;
    return (state & BROKEN) != 0 ? 0 : (int) arrived_in(state);
}

static int tell_broken(uint64_t state, uint32_t parties)
{
    (void) parties;
    return (state & BROKEN) != 0;
}

int kin_barrier_parties(kin_barrier barrier)
{
    return look(barrier, tell_parties);
}

int kin_barrier_n_waiting(kin_barrier barrier)
{
    return look(barrier, tell_waiting);
}

int kin_barrier_is_broken(kin_barrier barrier)
{
    return look(barrier, tell_broken);
}

/* ---- making and ending ---- */

/* The part belongs to the barrier from the beginning: it goes with it whoever dies when. */
static int make_part(sync *b, const kin_barrier_options *options)
{
    object *o = NULL;
    uint64_t id;
    uint64_t argument = arena_align(sizeof(action_part));
    int status = object_create(&o, argument + options->argument_size);
    if (status < 0) {
        return status;
    }
    action_part *part = (action_part *) o;
    part->argument = arena_offset(o) + argument;
    part->argument_size = options->argument_size;
    status = function_describe(&part->function, (uintptr_t) options->action);
    if (status == 0) {
        if (options->argument_size > 0) {
            memcpy(arena_at(part->argument), options->argument, options->argument_size);
        }
        status = object_publish(o, KIND_PART, atomic_load(&b->id), &id);
    }
    if (status < 0) {
        object_drop(o);
        return status;
    }
    atomic_store(&b->part, id);
    return 0;
}

static bool is_valid(const kin_barrier_options *o)
{
    return o->timeout_ms >= KIN_FOREVER && o->reserved_number == 0 &&
           (o->argument != NULL || o->argument_size == 0) &&
           o->argument_size <= arena_memory()->size;
}

int kin_barrier_create(kin_barrier *barrier, uint32_t parties, const kin_barrier_options *options)
{
    static const kin_barrier_options defaults;
    error_clear();
    options = options != NULL ? options : &defaults;
    if (!family_is_joined()) {
        return KIN_E_INIT;
    }
    if (barrier == NULL || parties < 1 || parties > KIN_BARRIER_MOST_PARTIES ||
        !is_valid(options)) {
        return KIN_E_INVALID;
    }
    sync *b = NULL;
    int status = sync_create(&b, KIND_BARRIER, options->name);
    if (status < 0) {
        return status;
    }
    atomic_store(&b->options, parties | (options->action != NULL ? HAS_ACTION : 0));
    atomic_store(&b->depth, (uint32_t) (options->timeout_ms > 0 ? options->timeout_ms : 0));
    status = options->action != NULL ? make_part(b, options) : 0;
    if (status < 0) {
        sync_drop(b);
        return status;
    }
    barrier->id = atomic_load(&b->id);
    sync_publish(b);
    return 0;
}

int kin_barrier_destroy(kin_barrier barrier)
{
    error_clear();
    return sync_destroy(barrier.id, KIND_BARRIER);
}

/* A thread has died that took part, or was about to. */
static void died(sync *b, uint64_t id, thread_record *record)
{
    if (atomic_load(&record->barrier) == id) {
        party p = {.b = b,
                   .id = id,
                   .base = sync_base(id),
                   .cycle = (uint32_t) atomic_load(&record->cycle)};
        (void) break_cycle(&p); /* it may be over: as good */
    }
}

void barrier_set_up(void)
{
    sync_register_death(KIND_BARRIER, died);
}
