/* Events. The state is all there is to one: each change is one compare-and-swap, and a death before
   or after it leaves an event as good as any.

   To set an event moves its epoch on, so one who waits sees that it has been set even if it has
   been cleared since. An event that resets itself is cleared by whoever waits, and has one waiter
   woken; if that one is killed, or another comes first, the event is set or has done its work.
   Those who sleep look for themselves at the end of a slice, so the wake-up that one takes to its
   grave delays the others by no more than that. */
#include "core/event.h"
#include "core/error.h"
#include "core/wait_many.h"

#include <kin/event.h>

enum { EVENT_UNSET = 100 }; /* no status of the interface */

static inline bool is_live(uint64_t state, uint64_t id)
{
    return (state & SYNC_MASK) == sync_base(id);
}

int kin_event_create(kin_event *event, const kin_event_options *options)
{
    static const kin_event_options defaults;
    const kin_event_options *how = options != NULL ? options : &defaults;
    error_clear();
    if (event == NULL) {
        return KIN_E_INVALID;
    }
    sync *s = NULL;
    int status = sync_create(&s, KIND_EVENT, how->name);
    if (status == 0) {
        event->id = atomic_load(&s->id);
        atomic_store(&s->state, sync_base(event->id) | (how->set ? EVENT_SET : 0) |
                                    (how->auto_reset ? EVENT_AUTO : 0));
        sync_publish(s);
    }
    return status;
}

int kin_event_destroy(kin_event event)
{
    error_clear();
    return sync_destroy(event.id, KIND_EVENT);
}

/* The event, and what a call needs of its thread; NULL and why not. Not on the usual way. */
static KIN_COLD sync *find(uint64_t id, thread_self **t, int *status)
{
    sync *s = sync_find(id, KIND_EVENT);
    *status = 0;
    if (s == NULL) {
        *status = sync_missing();
    } else if ((*t = thread_current(status)) == NULL) {
        s = NULL;
    }
    return s;
}

/* True if a thread that kin knows has a handle that may be good. */
static inline sync *find_quickly(uint64_t id)
{
    return thread_known() != NULL ? sync_find(id, KIND_EVENT) : NULL;
}

/* That is one atomic change even if it is set already: what the caller has written before is then
   seen by one who clears it afterwards. */
static inline int set(sync *s, uint64_t id)
{
    uint64_t state = atomic_load_explicit(&s->state, memory_order_relaxed);
    uint64_t next;
    do {
        if (!is_live(state, id)) {
            return KIN_E_HANDLE;
        }
        next = (state & EVENT_SET) != 0 ? state : (state | EVENT_SET) + EVENT_EPOCH;
    } while (!atomic_compare_exchange_weak(&s->state, &state, next));
    if (next != state) {
        line_tell(&s->line, (state & EVENT_AUTO) != 0 ? 1 : LINE_ALL);
    }
    return 0;
}

static KIN_COLD int set_slowly(uint64_t id)
{
    int status = 0;
    thread_self *t = NULL;
    sync *s = find(id, &t, &status);
    return s != NULL ? set(s, id) : status;
}

int kin_event_set(kin_event event)
{
    error_clear();
    sync *s = find_quickly(event.id);
    return s != NULL ? set(s, event.id) : set_slowly(event.id);
}

static inline int clear(sync *s, uint64_t id)
{
    uint64_t state = atomic_load(&s->state);
    do {
        if (!is_live(state, id)) {
            return KIN_E_HANDLE;
        }
    } while ((state & EVENT_SET) != 0 &&
             !atomic_compare_exchange_weak(&s->state, &state, state & ~EVENT_SET));
    return 0;
}

static KIN_COLD int clear_slowly(uint64_t id)
{
    int status = 0;
    thread_self *t = NULL;
    sync *s = find(id, &t, &status);
    return s != NULL ? clear(s, id) : status;
}

int kin_event_clear(kin_event event)
{
    error_clear();
    sync *s = find_quickly(event.id);
    return s != NULL ? clear(s, event.id) : clear_slowly(event.id);
}

static inline int is_set(sync *s, uint64_t id)
{
    uint64_t state = atomic_load(&s->state);
    return is_live(state, id) ? (state & EVENT_SET) != 0 : KIN_E_HANDLE;
}

static KIN_COLD int is_set_slowly(uint64_t id)
{
    int status = 0;
    thread_self *t = NULL;
    sync *s = find(id, &t, &status);
    return s != NULL ? is_set(s, id) : status;
}

int kin_event_is_set(kin_event event)
{
    error_clear();
    sync *s = find_quickly(event.id);
    return s != NULL ? is_set(s, event.id) : is_set_slowly(event.id);
}

/* ---- waiting ---- */

/* 0 if the call need not wait (any more), else EVENT_UNSET or KIN_E_HANDLE. `first` is the state as
   the call has found it. */
static inline int look(sync *s, uint64_t id, uint64_t first)
{
    uint64_t state = atomic_load(&s->state);
    for (;;) {
        if (!is_live(state, id)) {
            return KIN_E_HANDLE;
        }
        if ((state & EVENT_AUTO) == 0) {
            bool over = (state & EVENT_SET) != 0 || ((state ^ first) & EVENT_EPOCHS) != 0;
            return over ? 0 : EVENT_UNSET;
        }
        if ((state & EVENT_SET) == 0) {
            return EVENT_UNSET;
        }
        if (atomic_compare_exchange_weak(&s->state, &state, state & ~EVENT_SET)) {
            return 0;
        }
    }
}

static int spin(sync *s, uint64_t id, uint64_t first)
{
    int status = EVENT_UNSET;
    wait_spin around = wait_spin_begin(SPIN_CHANGE);
    while (status == EVENT_UNSET && wait_spin_once(&around)) {
        status = look(s, id, first);
    }
    wait_spin_end(&around, status != EVENT_UNSET);
    return status;
}

/* Sleeps until it is worth looking again, and looks: whoever is woken takes what it was woken for,
   even if its time is over. */
static int sleep(sync *s, uint64_t id, uint64_t first, int64_t deadline)
{
    uint32_t seen = line_read(&s->line);
    line_announce(&s->line, LINE_SLEEPERS);
    int status = look(s, id, first);
    if (status != EVENT_UNSET) {
        return status;
    }
    int slept = line_sleep(&s->line, seen, deadline);
    if (slept == KIN_E_TIMEOUT) {
        sync_look_at_keeper(s);
    }
    status = look(s, id, first);
    if (status != EVENT_UNSET || slept == 0) {
        return status;
    }
    if (slept != KIN_E_TIMEOUT) {
        return slept;
    }
    bool over = deadline != INT64_MAX && platform_clock_ns() >= deadline;
    return over ? KIN_E_TIMEOUT : EVENT_UNSET;
}

static KIN_COLD int wait_slowly(uint64_t id, int timeout_ms)
{
    int status = 0;
    thread_self *t = NULL;
    sync *s = find(id, &t, &status);
    if (s == NULL) {
        return status;
    }
    uint64_t first = atomic_load(&s->state);
    status = look(s, id, first);
    if (status != EVENT_UNSET) {
        return status;
    }
    if (timeout_ms == 0) {
        return KIN_E_TIMEOUT;
    }
    status = spin(s, id, first);
    if (status == EVENT_UNSET) {
        int64_t deadline = wait_deadline(timeout_ms);
        uint64_t before = atomic_load(&t->record->waits_for); /* it may be within another wait */
        atomic_store(&t->record->waits_for, id);
        while (status == EVENT_UNSET) {
            status = sleep(s, id, first, deadline);
        }
        atomic_store(&t->record->waits_for, before);
    }
    return status == KIN_E_HANDLE ? KIN_E_DESTROYED : status;
}

int kin_event_wait(kin_event event, int timeout_ms)
{
    error_clear();
    sync *s = find_quickly(event.id);
    if (s != NULL) {
        uint64_t state = atomic_load(&s->state);
        uint64_t clear_state = state & ~EVENT_SET;
        if (is_live(state, event.id) && state != clear_state &&
            ((state & EVENT_AUTO) == 0 ||
             atomic_compare_exchange_strong(&s->state, &state, clear_state))) {
            return 0;
        }
    }
    return wait_slowly(event.id, timeout_ms);
}

/* ---- among other things ---- */

static int look_among(uint64_t id, void *watch, bool well)
{
    (void) watch, (void) well;
    sync *s = sync_find(id, KIND_EVENT);
    return s != NULL ? is_set(s, id) : KIN_E_HANDLE;
}

static wait_line *line_of(uint64_t id)
{
    sync *s = sync_find(id, KIND_EVENT);
    return s != NULL ? &s->line : NULL;
}

void event_set_up(void)
{
    static const wait_kind how = {.look = look_among, .gone = KIN_E_DESTROYED, .line = line_of};
    wait_register(KIND_EVENT, &how);
}
