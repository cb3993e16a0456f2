/* The children of this process that have not joined yet, where only it can see that one of them has
   ended (see platform_sees_early_ends). Others may wait for what such a child was to do, and this
   process may be busy with something else: so a thread looks at them, as long as there are any. */
#include "core/log.h"
#include "core/process_object.h"

#define SOON_NS INT64_C(20000000)
#define LATER_NS INT64_C(200000000)
enum { LOOKS_SOON = 50 }; /* then they are looked at more seldom: they are guests, or slow */

static platform_lock early_lock;
static child *early;     /* by next_early, each of them held */
static unsigned awaited; /* starts that will add theirs */
static unsigned looks;   /* since the last was added */
static bool has_thread;
static child *noted; /* whose end is being noted */

/* Takes the first off the list that need not be looked at again; NULL if there is none. *ended: it
   has not joined, and never will. With the lock held. */
static child *take_done(bool *ended)
{
    for (child **at = &early; *at != NULL; at = &(*at)->next_early) {
        child *c = *at;
        bool joined = member_state_of(c->member) != MEMBER_STARTING;
        *ended = !joined && platform_process_wait(&c->process, 0) == 0;
        if (joined || *ended) {
            *at = c->next_early;
            return c;
        }
    }
    return NULL;
}

/* The thread becomes one of the family's for that; if it cannot, whoever comes to look does it. */
static void note_end(const child *c)
{
    int status = 0;
    object_guard guard;
    if (thread_current(&status) != NULL && object_enter(&guard, c->id, KIND_PROCESS) == 0) {
        (void) process_look(c->id, process_of(&guard));
        object_leave(&guard);
    }
}

/* False if the thread is to end. */
static bool go_on(void)
{
    bool ended;
    child *c;
    log_hold();
    platform_lock_acquire(&early_lock);
    while ((c = take_done(&ended)) != NULL) {
        noted = c;
        platform_lock_release(&early_lock);
        if (ended) {
            note_end(c);
        }
        child_drop(c);
        platform_lock_acquire(&early_lock);
        noted = NULL;
    }
    looks += looks < LOOKS_SOON;
    has_thread = early != NULL || awaited > 0;
    bool more = has_thread;
    platform_lock_release(&early_lock);
    thread_leave();
    log_release();
    return more;
}

static void run(void *argument)
{
    (void) argument;
    do {
        platform_lock_acquire(&early_lock);
        bool soon = looks < LOOKS_SOON;
        platform_lock_release(&early_lock);
        platform_sleep_ns(soon ? SOON_NS : LATER_NS);
    } while (go_on());
}

int early_prepare(void)
{
    int status = 0;
    if (platform_sees_early_ends()) {
        return 0;
    }
    platform_lock_acquire(&early_lock);
    if (!has_thread) {
        status = platform_thread_start(run, NULL);
        has_thread = status == 0;
    }
    awaited += status == 0;
    platform_lock_release(&early_lock);
    return status;
}

void early_watch(uint64_t id)
{
    if (platform_sees_early_ends()) {
        return;
    }
    child *c = id != 0 ? child_find(id) : NULL;
    platform_lock_acquire(&early_lock);
    awaited--;
    if (c != NULL) {
        c->next_early = early;
        early = c;
        looks = 0;
    }
    platform_lock_release(&early_lock);
}

void early_unwatch(child *c)
{
    if (platform_sees_early_ends()) {
        return;
    }
    platform_lock_acquire(&early_lock);
    child **at = &early;
    while (*at != NULL && *at != c) {
        at = &(*at)->next_early;
    }
    bool found = *at != NULL;
    if (found) {
        *at = c->next_early;
    }
    while (noted == c) { /* whoever closes it has closed all of it */
        platform_lock_release(&early_lock);
        platform_sleep_ns(20000);
        platform_lock_acquire(&early_lock);
    }
    platform_lock_release(&early_lock);
    if (found) {
        child_drop(c);
    }
}

void early_reset_copy(void)
{
    early_lock = (platform_lock){{0}};
    early = NULL;
    noted = NULL;
    awaited = 0;
    looks = 0;
    has_thread = false;
}
