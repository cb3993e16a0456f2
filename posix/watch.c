/* Waiting for the end of any of many processes: poll over their descriptors and a pipe that wakes
   the waiter. All ends that a poll has shown are noted and then told one after another, without
   asking again; so the ends of n processes that are there together cost one call.

   In the plain way a descriptor says too little (see process.c): there each process is looked at
   once a slice as well. */
#include "posix/process.h"
#include "posix/wing.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NS_IN_MS = 1000000, LONGEST_MS = 60000, WITHOUT_POLL_MS = 20 };

typedef struct watched {
    const platform_process *process;
    uint64_t cookie; /* 0 once it has been told */
    bool ended;      /* it is to be told */
    bool cut;        /* plain: its lifeline is cut and yet it lives; from now on it says nothing */
} watched;

struct platform_watch {
    pthread_mutex_t lock; /* over all but the waiter's own */
    watched *entries;
    size_t count;
    size_t capacity;
    size_t untold;     /* entries that have ended */
    size_t next;       /* where to look for them */
    uint64_t removals; /* so far; each may have moved entries */
    bool woken;
    bool waits; /* the waiter may be asleep: whoever changes something writes to the pipe */
    int wake[2];
    struct pollfd *pollers; /* these are the waiter's own */
    size_t *polled;         /* of which entry each of them is */
    size_t poller_capacity;
    int64_t looked; /* when it last looked at all */
};

/* What the waiter is about to wait for. */
typedef struct round {
    size_t pollers;
    uint64_t removals;
    bool looks_at_all;
} round;

int platform_watch_create(platform_watch **watch)
{
    platform_watch *w = SYSTEM(calloc(1, sizeof *w), NULL, ENOMEM);
    if (w == NULL) {
        return wing_error(ENOMEM);
    }
    if (wing_pipe(w->wake) != 0) {
        int status = wing_error(errno);
        free(w);
        return status;
    }
    for (int i = 0; i < 2; i++) {
        (void) fcntl(w->wake[i], F_SETFL, O_NONBLOCK);
    }
    (void) pthread_mutex_init(&w->lock, NULL);
    *watch = w;
    return 0;
}

/* With the lock held. When the pipe is full the waiter is awake anyway. */
static void stir(platform_watch *watch)
{
    if (watch->waits) {
        (void) !write(watch->wake[1], "", 1);
    }
}

int platform_watch_add(platform_watch *watch, const platform_process *process, uint64_t cookie)
{
    int status = 0;
    (void) pthread_mutex_lock(&watch->lock);
    if (watch->count == watch->capacity) {
        size_t capacity = watch->capacity == 0 ? 16 : 2 * watch->capacity;
        watched *entries =
            SYSTEM(realloc(watch->entries, capacity * sizeof *entries), NULL, ENOMEM);
        if (entries == NULL) {
            status = wing_error(ENOMEM);
        } else {
            watch->entries = entries;
            watch->capacity = capacity;
        }
    }
    if (status == 0) {
        watch->entries[watch->count++] = (watched){.process = process, .cookie = cookie};
        stir(watch);
    }
    (void) pthread_mutex_unlock(&watch->lock);
    return status;
}

void platform_watch_remove(platform_watch *watch, const platform_process *process)
{
    (void) pthread_mutex_lock(&watch->lock);
    for (size_t i = 0; i < watch->count; i++) {
        if (watch->entries[i].process == process) {
            watch->untold -= watch->entries[i].ended;
            watch->entries[i] = watch->entries[--watch->count];
            watch->next = 0;
            watch->removals++;
            stir(watch);
            break;
        }
    }
    (void) pthread_mutex_unlock(&watch->lock);
}

/* True if there was something to tell: *cookie of one that has ended, or 0 after a wake. With the
   lock held. */
static bool take_news(platform_watch *watch, uint64_t *cookie)
{
    *cookie = 0;
    if (watch->woken) {
        watch->woken = false;
        return true;
    }
    if (watch->untold == 0) {
        watch->next = 0;
        return false;
    }
    /* Those before `next` have been told. */
    while (!watch->entries[watch->next].ended) {
        watch->next++;
    }
    watched *entry = &watch->entries[watch->next++];
    *cookie = entry->cookie;
    entry->cookie = 0;
    entry->ended = false;
    watch->untold--;
    return true;
}

static bool make_pollers(platform_watch *watch)
{
    size_t capacity = watch->capacity + 1;
    if (watch->poller_capacity >= capacity) {
        return true;
    }
    struct pollfd *pollers =
        SYSTEM(realloc(watch->pollers, capacity * sizeof *pollers), NULL, ENOMEM);
    if (pollers == NULL) {
        return false;
    }
    watch->pollers = pollers;
    size_t *polled = SYSTEM(realloc(watch->polled, capacity * sizeof *polled), NULL, ENOMEM);
    if (polled == NULL) {
        return false;
    }
    watch->polled = polled;
    watch->poller_capacity = capacity;
    return true;
}

/* Lists what is to be polled; without memory for it, nothing, and all are looked at one by one
   after a while. With the lock held. */
static void prepare(platform_watch *watch, round *now)
{
    *now = (round){.removals = watch->removals};
    if (!make_pollers(watch)) {
        now->looks_at_all = true;
        return;
    }
    watch->pollers[now->pollers++] = (struct pollfd){.fd = watch->wake[0], .events = POLLIN};
    for (size_t i = 0; i < watch->count; i++) {
        const watched *entry = &watch->entries[i];
        int fd = process_poll_fd(entry->process);
        if (entry->cookie != 0 && !entry->ended && !entry->cut && fd >= 0) {
            watch->pollers[now->pollers] = (struct pollfd){.fd = fd, .events = POLLIN};
            watch->polled[now->pollers++] = i;
        }
    }
}

/* With the lock held, as for all that follows until platform_watch_wait. */
static void note_end(platform_watch *watch, watched *entry)
{
    if (entry->cookie != 0 && !entry->ended) {
        entry->ended = true;
        watch->untold++;
    }
}

static void look_at_all(platform_watch *watch)
{
    for (size_t i = 0; i < watch->count; i++) {
        watched *entry = &watch->entries[i];
        if (entry->cookie != 0 && !entry->ended && process_has_ended(entry->process)) {
            note_end(watch, entry);
        }
    }
    watch->looked = platform_clock_ns();
}

/* If entries have been moved meanwhile, the next poll shows the same again. */
static void look_at_polled(platform_watch *watch, const round *now)
{
    for (size_t i = 1; i < now->pollers && now->removals == watch->removals; i++) {
        watched *entry = &watch->entries[watch->polled[i]];
        if (watch->pollers[i].revents == 0) {
            continue;
        }
        if (process_slice_ms() < 0 || process_has_ended(entry->process)) {
            note_end(watch, entry);
        } else {
            entry->cut = true;
        }
    }
}

static void drain(int fd)
{
    char bytes[64];
    while (read(fd, bytes, sizeof bytes) > 0) {
    }
}

/* Sleeps until there may be something, at most so long. */
static void wait_for_news(platform_watch *watch, round *now, int wait_ms)
{
    int slice = now->looks_at_all ? WITHOUT_POLL_MS : process_slice_ms();
    if (slice >= 0 && (wait_ms < 0 || slice < wait_ms)) {
        wait_ms = slice;
    }
    int shown = now->pollers == 0
                    ? -1
                    : SYSTEM(poll(watch->pollers, (nfds_t) now->pollers, wait_ms), -1, ENOMEM);
    if (shown < 0) {
        /* A signal; or the system does not poll so many. */
        bool interrupted = now->pollers > 0 && errno == EINTR;
        if (!interrupted) {
            bool is_long = wait_ms < 0 || wait_ms > WITHOUT_POLL_MS;
            platform_sleep_ns((int64_t) NS_IN_MS * (is_long ? WITHOUT_POLL_MS : wait_ms));
        }
        now->looks_at_all = now->looks_at_all || !interrupted;
        now->pollers = 0;
    } else if (slice >= 0 && shown > (watch->pollers[0].revents != 0 ? 1 : 0)) {
        platform_sleep_ns(NS_IN_MS); /* a lifeline is cut a moment before the process is gone */
    }
    int64_t next_look = watch->looked + (int64_t) slice * NS_IN_MS;
    if (slice >= 0 && (wait_ms == 0 || platform_clock_ns() >= next_look)) {
        now->looks_at_all = true;
    }
}

/* Looks once, for which it waits at most so long; true if there was something to tell. */
static bool look(platform_watch *watch, uint64_t *cookie, int wait_ms)
{
    round now;
    (void) pthread_mutex_lock(&watch->lock);
    bool news = take_news(watch, cookie);
    if (!news) {
        prepare(watch, &now);
        watch->waits = true;
        (void) pthread_mutex_unlock(&watch->lock);
        wait_for_news(watch, &now, wait_ms);
        (void) pthread_mutex_lock(&watch->lock);
        watch->waits = false;
        drain(watch->wake[0]);
        if (now.looks_at_all) {
            look_at_all(watch);
        } else {
            look_at_polled(watch, &now);
        }
        news = take_news(watch, cookie);
    }
    (void) pthread_mutex_unlock(&watch->lock);
    return news;
}

int platform_watch_wait(platform_watch *watch, uint64_t *cookie, int64_t timeout_ns)
{
    int64_t until = timeout_ns > 0 ? platform_clock_ns() + timeout_ns : 0;
    for (;;) {
        int64_t left = timeout_ns > 0 ? until - platform_clock_ns() : 0;
        bool last = timeout_ns >= 0 && left <= 0;
        int wait_ms = timeout_ns < 0 ? -1 : 0;
        if (timeout_ns > 0 && !last) {
            int64_t left_ms = (left + NS_IN_MS - 1) / NS_IN_MS;
            wait_ms = left_ms < LONGEST_MS ? (int) left_ms : LONGEST_MS;
        }
        if (look(watch, cookie, wait_ms)) {
            return 0;
        }
        if (last) {
            return KIN_E_TIMEOUT;
        }
    }
}

void platform_watch_wake(platform_watch *watch)
{
    (void) pthread_mutex_lock(&watch->lock);
    watch->woken = true;
    stir(watch);
    (void) pthread_mutex_unlock(&watch->lock);
}

void platform_watch_destroy(platform_watch *watch)
{
    (void) close(watch->wake[0]);
    (void) close(watch->wake[1]);
    (void) pthread_mutex_destroy(&watch->lock);
    free(watch->entries);
    free(watch->pollers);
    free(watch->polled);
    free(watch);
}
