/* Waiting for the end of any of many processes. The system's thread pool watches each of them, with
   no limit of 64 to the whole; its callback puts the entry on a list and sets an event, on which
   platform_watch_wait sleeps.

   The event is only a hint: what counts is the list, under a lock that no wait is made under. An
   entry is freed when UnregisterWaitEx says that its callback has come back; the callback waits for
   nothing but the lock. */
#include "win32/wing.h"

#include <stdlib.h>

enum { BUCKETS = 1024 };

typedef struct entry {
    struct entry *next;       /* in its bucket */
    struct entry *next_ended; /* in the list of those that have ended and are not told yet */
    platform_watch *watch;
    const platform_process *process;
    uint64_t cookie;
    HANDLE registration; /* NULL: it had ended before it was added, no callback will come */
    bool removed;        /* the callback keeps off */
} entry;

struct platform_watch {
    SRWLOCK lock; /* over all that follows but the event */
    entry *first_ended;
    entry **last_ended; /* where the next one is linked */
    bool woken;
    entry *buckets[BUCKETS]; /* by handle */
    HANDLE event;            /* resets itself; set when there is news */
};

/* Handles are multiples of four. */
static entry **bucket_of(platform_watch *watch, const platform_process *process)
{
    return &watch->buckets[((uintptr_t) process->object >> 2) % BUCKETS];
}

int platform_watch_create(platform_watch **watch)
{
    platform_watch *made = WING_ALLOCATE(sizeof *made);
    if (made == NULL) {
        return wing_last_error();
    }
    made->event = SYSTEM(CreateEventW(NULL, FALSE, FALSE, NULL), NULL, ERROR_NO_SYSTEM_RESOURCES);
    if (made->event == NULL) {
        int status = wing_last_error();
        free(made);
        return status;
    }
    InitializeSRWLock(&made->lock);
    made->last_ended = &made->first_ended;
    *watch = made;
    return 0;
}

/* Puts it on the list. Under the lock. */
static void note_ended(platform_watch *watch, entry *ended)
{
    ended->next_ended = NULL;
    *watch->last_ended = ended;
    watch->last_ended = &ended->next_ended;
    SetEvent(watch->event);
}

static void CALLBACK process_ended(void *entry_of_process, BOOLEAN timed_out)
{
    entry *ended = entry_of_process;
    platform_watch *watch = ended->watch;
    (void) timed_out;
    AcquireSRWLockExclusive(&watch->lock);
    if (!ended->removed) {
        note_ended(watch, ended);
    }
    ReleaseSRWLockExclusive(&watch->lock);
}

static void forget_ended(platform_watch *watch, const entry *gone)
{
    for (entry **at = &watch->first_ended; *at != NULL; at = &(*at)->next_ended) {
        if (*at == gone) {
            *at = gone->next_ended;
            if (*at == NULL) {
                watch->last_ended = at;
            }
            return;
        }
    }
}

/* Takes the entry of a process out of everything but the thread pool; NULL if there is none. Under
   the lock. */
static entry *unlink_entry(platform_watch *watch, const platform_process *process)
{
    for (entry **at = bucket_of(watch, process); *at != NULL; at = &(*at)->next) {
        if ((*at)->process == process) {
            entry *found = *at;
            *at = found->next;
            forget_ended(watch, found);
            found->removed = true;
            return found;
        }
    }
    return NULL;
}

/* Waits until a callback that runs has come back. */
static void free_entry(entry *gone)
{
    if (gone->registration != NULL) {
        UnregisterWaitEx(gone->registration, INVALID_HANDLE_VALUE);
    }
    free(gone);
}

int platform_watch_add(platform_watch *watch, const platform_process *process, uint64_t cookie)
{
    entry *added = WING_ALLOCATE(sizeof *added);
    if (added == NULL) {
        return wing_last_error();
    }
    added->watch = watch;
    added->process = process;
    added->cookie = cookie;
    /* The thread pool tells an end only after a while, even one that is long past. */
    bool ended = WaitForSingleObject((HANDLE) process->object, 0) == WAIT_OBJECT_0;
    if (!ended && !SYSTEM(RegisterWaitForSingleObject(
                              &added->registration, (HANDLE) process->object, process_ended, added,
                              INFINITE, WT_EXECUTEINWAITTHREAD | WT_EXECUTEONLYONCE),
                          FALSE, ERROR_MAX_THRDS_REACHED)) {
        int status = wing_last_error();
        free(added);
        return status;
    }
    /* The callback may have run already: it finds all it needs, and the entry goes only after it is
       linked here. */
    AcquireSRWLockExclusive(&watch->lock);
    entry **bucket = bucket_of(watch, process);
    added->next = *bucket;
    *bucket = added;
    if (ended) {
        note_ended(watch, added);
    }
    ReleaseSRWLockExclusive(&watch->lock);
    return 0;
}

void platform_watch_remove(platform_watch *watch, const platform_process *process)
{
    AcquireSRWLockExclusive(&watch->lock);
    entry *found = unlink_entry(watch, process);
    ReleaseSRWLockExclusive(&watch->lock);
    if (found != NULL) {
        free_entry(found);
    }
}

/* True if there was something to tell. */
static bool take_news(platform_watch *watch, uint64_t *cookie)
{
    bool news = true;
    AcquireSRWLockExclusive(&watch->lock);
    if (watch->woken) {
        watch->woken = false;
        *cookie = 0;
    } else if (watch->first_ended != NULL) {
        entry *ended = watch->first_ended;
        *cookie = ended->cookie;
        watch->first_ended = ended->next_ended;
        if (watch->first_ended == NULL) {
            watch->last_ended = &watch->first_ended;
        }
    } else {
        news = false;
    }
    ReleaseSRWLockExclusive(&watch->lock);
    return news;
}

int platform_watch_wait(platform_watch *watch, uint64_t *cookie, int64_t timeout_ns)
{
    int64_t start = platform_clock_ns();
    while (!take_news(watch, cookie)) {
        int64_t left = timeout_ns;
        if (timeout_ns > 0) {
            int64_t gone = platform_clock_ns() - start;
            left = gone < timeout_ns ? timeout_ns - gone : 0;
        }
        int status = wing_wait(watch->event, left);
        if (status != 0) {
            return status;
        }
    }
    return 0;
}

void platform_watch_wake(platform_watch *watch)
{
    AcquireSRWLockExclusive(&watch->lock);
    watch->woken = true;
    SetEvent(watch->event);
    ReleaseSRWLockExclusive(&watch->lock);
}

void platform_watch_destroy(platform_watch *watch)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        for (;;) {
            AcquireSRWLockExclusive(&watch->lock);
            entry *found =
                watch->buckets[i] == NULL ? NULL : unlink_entry(watch, watch->buckets[i]->process);
            ReleaseSRWLockExclusive(&watch->lock);
            if (found == NULL) {
                break;
            }
            free_entry(found);
        }
    }
    CloseHandle(watch->event);
    free(watch);
}
