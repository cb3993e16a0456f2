/* One thread for all that a process watches. `turn` is held while an entry's function runs, so that
   watcher_remove can wait for it; `list` guards the list. */
#include "core/watcher.h"

#include "core/log.h"

static platform_lock turn;
static platform_lock list;
static watcher_entry *entries;
static platform_watch *watch;
static platform_watch *of_original; /* in a copy, until it has one itself */
static uint64_t numbers;
static _Thread_local bool is_watcher;

static watcher_entry *find_entry(uint64_t number)
{
    watcher_entry *e = entries;
    while (e != NULL && e->number != number) {
        e = e->next;
    }
    return e;
}

/* What the thread is started with, and says. */
typedef struct watcher_start {
    platform_watch *watch;
    _Atomic int status; /* 1: not known yet */
} watcher_start;

static void tell(uint64_t number)
{
    log_hold();
    platform_lock_acquire(&turn);
    platform_lock_acquire(&list);
    watcher_entry *entry = find_entry(number);
    if (entry != NULL) {
        entry->number = 0;
    }
    platform_lock_release(&list);
    if (entry != NULL) {
        entry->ended(entry);
    }
    platform_lock_release(&turn);
    log_release();
}

static void run(void *argument)
{
    watcher_start *start = argument;
    platform_watch *mine = start->watch;
    int status = 0;
    is_watcher = true;
    /* What it is told to do, it must be able to do: it takes what a thread needs of the family
       before it is relied on. */
    bool ready = thread_current(&status) != NULL;
    atomic_store(&start->status, ready ? 0 : status); /* from here on `start` is gone */
    while (ready) {
        uint64_t number = 0;
        if (platform_watch_wait(mine, &number, -1) < 0) {
            platform_sleep_ns(10 * 1000000); /* out of something: it may be there again */
        }
        if (number != 0) {
            tell(number);
        }
    }
}

/* With `list` held. */
static int start(void)
{
    if (watch != NULL) {
        return 0;
    }
    if (of_original != NULL) {
        platform_watch_destroy(of_original);
        of_original = NULL;
    }
    watcher_start how = {.status = 1};
    int status = platform_watch_create(&how.watch);
    if (status < 0) {
        return status;
    }
    status = platform_thread_start(run, &how);
    while (status == 0 && atomic_load(&how.status) == 1) {
        platform_sleep_ns(20000);
    }
    status = status < 0 ? status : atomic_load(&how.status);
    if (status < 0) {
        platform_watch_destroy(how.watch);
        return status;
    }
    watch = how.watch;
    return 0;
}

int watcher_add(watcher_entry *entry, const platform_process *process)
{
    platform_lock_acquire(&list);
    int status = start();
    if (status == 0) {
        entry->process = process;
        entry->number = ++numbers;
        entry->next = entries;
        entries = entry;
        status = platform_watch_add(watch, process, entry->number);
        if (status < 0) {
            entries = entry->next;
            entry->process = NULL;
        }
    }
    platform_lock_release(&list);
    return status;
}

void watcher_remove(watcher_entry *entry)
{
    if (!is_watcher) {
        platform_lock_acquire(&turn);
    }
    platform_lock_acquire(&list);
    for (watcher_entry **at = &entries; *at != NULL; at = &(*at)->next) {
        if (*at == entry) {
            *at = entry->next;
            platform_watch_remove(watch, entry->process);
            entry->process = NULL;
            break;
        }
    }
    platform_lock_release(&list);
    if (!is_watcher) {
        platform_lock_release(&turn);
    }
}

void watcher_reset_copy(void)
{
    turn = (platform_lock){{0}};
    list = (platform_lock){{0}};
    entries = NULL;
    of_original = watch != NULL ? watch : of_original;
    watch = NULL;
    is_watcher = false;
}
