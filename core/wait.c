/* Signals; wait.h says what they are. Where a system lacks a wait on a word that works between
   processes, each thread parks in a place of its own, and whoever raises a signal looks in the
   table of threads for those that wait on it. */
#include "core/wait.h"

enum { SPINS_LEAST = 64, SPINS_MOST = 4096, NS_IN_MS = 1000000 };

int64_t wait_deadline(int timeout_ms)
{
    return timeout_ms < 0 ? INT64_MAX : platform_clock_ns() + (int64_t) timeout_ms * NS_IN_MS;
}

uint32_t wait_count(wait_signal *signal)
{
    return atomic_load(&signal->count);
}

/* Spins as long as spinning has helped of late, which is not at all on a single processor. */
static bool spin(wait_signal *signal, uint32_t seen)
{
    static _Atomic uint32_t spins = 1024;
    uint32_t most = atomic_load_explicit(&spins, memory_order_relaxed);
    for (uint32_t i = 0; i < most; i++) {
        if (atomic_load_explicit(&signal->count, memory_order_acquire) != seen) {
            if (most < SPINS_MOST) {
                atomic_store_explicit(&spins, most + most / 8 + 1, memory_order_relaxed);
            }
            return true;
        }
        platform_relax();
    }
    if (most > SPINS_LEAST) {
        atomic_store_explicit(&spins, most - most / 8, memory_order_relaxed);
    }
    return false;
}

static int park(thread_self *thread, wait_signal *signal, uint32_t seen, int64_t limit)
{
    thread_record *record = thread->record;
    atomic_store(&record->waits_on, arena_offset(&signal->count));
    int status = 0;
    /* Pairs with wait_raise: it counts, then looks who waits; we say that we wait, then look at the
       count. */
    if (atomic_load(&signal->count) == seen) {
        status = platform_park(&thread->parker, limit);
    }
    atomic_store(&record->waits_on, 0);
    return status;
}

int wait_for_change(wait_signal *signal, uint32_t seen, int64_t deadline_ns)
{
    if (spin(signal, seen)) {
        return 0;
    }
    int64_t left = WAIT_SLICE_NS;
    if (deadline_ns != INT64_MAX) {
        int64_t until = deadline_ns - platform_clock_ns();
        if (until <= 0) {
            return atomic_load(&signal->count) != seen ? 0 : KIN_E_TIMEOUT;
        }
        left = until < left ? until : left;
    }
    int status = 0;
    thread_self *thread = thread_current(&status);
    if (thread == NULL) {
        return status;
    }
    /* Pairs with the exchange in wait_raise: it sees that we may sleep, or we see that it has
       counted. */
    atomic_store(&signal->sleepers, 1);
    if (platform_has_word_wait()) {
        status = platform_word_wait(&signal->count, seen, left);
    } else {
        status = park(thread, signal, seen, left);
    }
    return status == KIN_E_TIMEOUT
               ? 0
               : status; /* the end of a slice: the next call tells a time that is over */
}

/* The parkers of others that this process has opened, by their number: one that belongs to a number
   stays good for whoever has the number next. */
enum { PARKERS_KEPT = 64 };
typedef struct kept_parker {
    uint32_t number;
    uint64_t family;
    platform_parker parker;
} kept_parker;
static kept_parker kept[PARKERS_KEPT];
static platform_lock kept_lock;

static void close_kept(kept_parker *k)
{
    if (k->number != 0) {
        platform_parker_close(&k->parker);
    }
    *k = (kept_parker){0};
}

void wait_close_parkers(void)
{
    platform_lock_acquire(&kept_lock);
    for (unsigned i = 0; i < PARKERS_KEPT; i++) {
        close_kept(&kept[i]);
    }
    platform_lock_release(&kept_lock);
}

void wait_reset_copy(void)
{
    kept_lock = (platform_lock){{0}};
}

/* Wakes the thread that has a record. */
static void unpark(thread_record *record, uint32_t number)
{
    kept_parker *k = &kept[number % PARKERS_KEPT];
    platform_lock_acquire(&kept_lock);
    if (k->number != number || k->family != arena_secret()) {
        close_kept(k);
        if (platform_parker_open(&k->parker, &record->parker, arena_secret(), number) == 0) {
            k->number = number;
            k->family = arena_secret();
        }
    }
    if (k->number == number) {
        platform_unpark(&k->parker);
    }
    platform_lock_release(&kept_lock);
}

static void unpark_all(wait_signal *signal)
{
    uint64_t offset = arena_offset(&signal->count);
    for (uint32_t number = thread_next(0); number != 0; number = thread_next(number)) {
        thread_record *record = thread_at(number);
        if (atomic_load(&record->waits_on) == offset && atomic_load(&record->owner) != 0) {
            unpark(record, number);
        }
    }
}

void wait_raise(wait_signal *signal)
{
    atomic_fetch_add(&signal->count, 1);
    if (atomic_load(&signal->sleepers) == 0 || atomic_exchange(&signal->sleepers, 0) == 0) {
        return;
    }
    if (platform_has_word_wait()) {
        platform_word_wake(&signal->count, UINT32_MAX);
    } else {
        unpark_all(signal);
    }
}

/* ---- who waits for what ---- */

static void note(thread_record *record, const wait_note *n)
{
    atomic_store(&record->waits_for, 0);
    atomic_fetch_add(&record->waits, 1);
    atomic_store(&record->waits_from, n->since);
    atomic_store(&record->waits_until, n->until);
    atomic_store(&record->waits_can_end, n->can_end);
    atomic_store(&record->waits_for, n->id);
}

wait_note wait_begin(thread_self *t, uint64_t id, int64_t deadline_ns, bool can_end)
{
    thread_record *record = t->record;
    wait_note before = {
        .id = atomic_load(&record->waits_for),
        .since = atomic_load(&record->waits_from),
        .until = atomic_load(&record->waits_until),
        .can_end = atomic_load(&record->waits_can_end),
    };
    wait_note now = {id, platform_clock_ns(), deadline_ns, can_end};
    note(record, &now);
    return before;
}

void wait_end(thread_self *t, const wait_note *before)
{
    note(t->record, before);
}

/* ---- lines ---- */

/* The time that is left, but no more than a slice. */
static int64_t slice_of(int64_t deadline_ns, int64_t slice_ns)
{
    if (deadline_ns == INT64_MAX) {
        return slice_ns;
    }
    int64_t left = deadline_ns - platform_clock_ns();
    return left < slice_ns ? left : slice_ns;
}

static int park_in(wait_line *line, uint32_t seen, int64_t limit)
{
    int status = 0;
    thread_self *thread = thread_current(&status);
    if (thread == NULL) {
        return status;
    }
    thread_record *record = thread->record;
    atomic_store(&record->waits_since, platform_clock_ns());
    atomic_store(&record->waits_on, arena_offset(&line->sequence));
    if (atomic_load(&line->sequence) == seen) {
        status = platform_park(&thread->parker, limit);
    }
    /* Whoever wakes this thread takes the word away from it first: then it has been woken, even if
       its time was over at the same moment. */
    return atomic_exchange(&record->waits_on, 0) == 0 ? 0 : status;
}

int line_sleep(wait_line *line, uint32_t seen, int64_t deadline_ns)
{
    return line_sleep_for(line, seen, deadline_ns, WAIT_SLICE_NS);
}

int line_sleep_for(wait_line *line, uint32_t seen, int64_t deadline_ns, int64_t slice_ns)
{
    int64_t left = slice_of(deadline_ns, slice_ns);
    if (left <= 0) {
        return KIN_E_TIMEOUT;
    }
    return platform_has_word_wait() ? platform_word_wait(&line->sequence, seen, left)
                                    : park_in(line, seen, left);
}

/* Takes the thread that has slept longest at this word, and since `before`, off it; its number, or
   0. */
static uint32_t take_sleeper(uint64_t offset, int64_t before)
{
    for (;;) {
        uint32_t oldest = 0;
        int64_t since = INT64_MAX;
        for (uint32_t number = thread_next(0); number != 0; number = thread_next(number)) {
            thread_record *record = thread_at(number);
            int64_t its = atomic_load(&record->waits_since);
            if (atomic_load(&record->waits_on) == offset && its < since && its <= before &&
                atomic_load(&record->owner) != 0) {
                oldest = number;
                since = its;
            }
        }
        uint64_t expected = offset;
        if (oldest == 0 ||
            atomic_compare_exchange_strong(&thread_at(oldest)->waits_on, &expected, 0)) {
            return oldest;
        }
    }
}

uint32_t line_wake(wait_line *line, uint32_t count)
{
    atomic_fetch_add(&line->sequence, 1);
    if (platform_has_word_wait()) {
        return platform_word_wake(&line->sequence, count);
    }
    /* Who has come since the line moved on has seen that; and one that is woken in vain, and comes
       back, is not woken again and again. */
    int64_t now = platform_clock_ns();
    uint64_t offset = arena_offset(&line->sequence);
    uint32_t woken = 0;
    for (uint32_t number; woken < count && (number = take_sleeper(offset, now)) != 0; woken++) {
        unpark(thread_at(number), number);
    }
    return woken;
}

uint64_t line_bit(const wait_line *line)
{
    uint64_t hash = arena_offset(line) / sizeof(uint64_t) * UINT64_C(0x9e3779b97f4a7c15);
    return UINT64_C(1) << (hash >> 58);
}

/* Wakes those who wait for this line among others, and some who do not; how many. */
static unsigned ring(const wait_line *line)
{
    unsigned rung = 0;
    uint64_t bit = line_bit(line);
    for (uint32_t number = thread_next(0); number != 0; number = thread_next(number)) {
        thread_record *record = thread_at(number);
        if ((atomic_load(&record->watches) & bit) != 0) {
            (void) line_wake(&record->bell, 1);
            rung++;
        }
    }
    return rung;
}

void line_tell_watchers(wait_line *line)
{
    if ((atomic_load(&line->flags) & LINE_WATCHED) != 0 && ring(line) == 0) {
        atomic_fetch_and(&line->flags, ~(uint32_t) LINE_WATCHED);
        (void) ring(line);
    }
}

void line_tell_them(wait_line *line, uint32_t count)
{
    uint32_t flags = atomic_load(&line->flags);
    /* Where all are woken, the flag can be cleared first, and one wake does. */
    if ((flags & LINE_SLEEPERS) != 0 && (count == LINE_ALL || line_wake(line, count) < count)) {
        atomic_fetch_and(&line->flags, ~(uint32_t) LINE_SLEEPERS);
        (void) line_wake(line, LINE_ALL);
    }
    line_tell_watchers(line);
}

/* ---- spinning ---- */

enum { SPIN_TIGHT = 64, SPIN_LEAST = 32, SPIN_MOST = 2048, SPIN_LONGEST = 32 };

static _Atomic uint32_t spin_limits[SPIN_KINDS] = {512, 512};

wait_spin wait_spin_begin(enum spin_kind kind)
{
    return (wait_spin){
        .most = atomic_load_explicit(&spin_limits[kind], memory_order_relaxed),
        .pause = 1,
        .kind = kind,
    };
}

/* What changes hands quickly is looked at without a rest. A lock is looked at less and less often:
   to look takes its line from the one who uses it. */
bool wait_spin_once(wait_spin *spin)
{
    if (spin->done >= spin->most) {
        return false;
    }
    if (spin->kind == SPIN_LOCK) {
        for (uint32_t i = 0; i < spin->pause; i++) {
            platform_relax();
        }
        spin->done += spin->pause;
        spin->pause = spin->pause < SPIN_LONGEST ? 2 * spin->pause : SPIN_LONGEST;
        return true;
    }
    if (spin->done++ >= SPIN_TIGHT) {
        platform_relax();
    }
    return true;
}

void wait_spin_end(const wait_spin *spin, bool helped)
{
    _Atomic uint32_t *limit = &spin_limits[spin->kind];
    uint32_t most = atomic_load_explicit(limit, memory_order_relaxed);
    if (helped && most < SPIN_MOST) {
        atomic_store_explicit(limit, most + most / 8 + 1, memory_order_relaxed);
    } else if (!helped && most > SPIN_LEAST) {
        atomic_store_explicit(limit, most - most / 8, memory_order_relaxed);
    }
}
