/* The background thread in which a process learns that others have ended. It is started when the
   first is watched. */
#ifndef KIN_CORE_WATCHER_H
#define KIN_CORE_WATCHER_H

#include "core/family.h"

typedef struct watcher_entry {
    void (*ended)(struct watcher_entry *entry); /* called once, in the background thread */
    const platform_process *process;
    void *context; /* the one's who watches */
    struct watcher_entry *next;
    uint64_t number; /* of this watching, never used again; 0: it has been told */
} watcher_entry;

/* Watches `process`, which stays open until watcher_remove. Errors: KIN_E_NOMEM,
   KIN_E_THREAD_LIMIT, KIN_E_DESCRIPTORS. */
int watcher_add(watcher_entry *entry, const platform_process *process);

/* Afterwards entry->ended is not running and will not run; it may itself call this. */
void watcher_remove(watcher_entry *entry);

/* In a copy that fork has made, in which there is no such thread. Safe in a signal handler. */
void watcher_reset_copy(void);

#endif
