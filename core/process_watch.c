/* Processes among other things that a thread waits for: the background thread learns of their ends
   and rings the bell. Each wait watches for itself, so the process is in the list of that thread as
   often as it is waited for. */
#include "core/process_object.h"
#include "core/wait_many.h"

#include <stdlib.h>

typedef struct process_watching {
    watcher_entry entry;
    platform_process process; /* the child's, or one that is opened for this */
    child *c;                 /* kept meanwhile; NULL: not a child of this process */
    wait_line *bell;
    _Atomic bool told; /* that it has ended */
} process_watching;

static void tell(watcher_entry *entry)
{
    process_watching *w = entry->context;
    atomic_store(&w->told, true);
    (void) line_wake(w->bell, 1);
}

static int look(uint64_t id, void *watch, bool well)
{
    object_guard guard;
    int status = object_enter(&guard, id, KIND_PROCESS);
    if (status < 0) {
        return status;
    }
    process_watching *w = watch;
    process_object *p = process_of(&guard);
    if (p->member == member_self()) {
        status = KIN_E_DEADLOCK;
    } else if (atomic_load(&p->state) == PROCESS_ENDED) {
        status = 1;
    } else if (w != NULL ? atomic_load(&w->told) : well) {
        status = process_look(id, p);
    }
    object_leave(&guard);
    return status;
}

static void close_process(process_watching *w)
{
    if (w->c != NULL) {
        child_drop(w->c);
    } else {
        platform_process_close(&w->process);
    }
    free(w);
}

/* What is to be watched; KIN_E_ENDED or KIN_E_STATE if nothing can tell of its end. */
static int open_process(process_watching *w, uint64_t id, process_object *p)
{
    w->c = child_find(id);
    if (w->c != NULL) {
        w->process = w->c->process;
        return 0;
    }
    return process_open_other(p, &w->process);
}

static int begin(uint64_t id, wait_line *bell, void **watch)
{
    object_guard guard;
    process_watching *w = *watch;
    if (w != NULL) {
        return !atomic_load(&w->told); /* somebody else is about to note its end */
    }
    int status = object_enter(&guard, id, KIND_PROCESS);
    if (status < 0) {
        return status == KIN_E_HANDLE ? 0 : status; /* the next look tells */
    }
    w = calloc(1, sizeof *w);
    status = w != NULL ? open_process(w, id, process_of(&guard)) : KIN_E_NOMEM;
    object_leave(&guard);
    if (status < 0) {
        free(w);
        return status == KIN_E_ENDED || status == KIN_E_STATE ? 0 : status;
    }
    w->bell = bell;
    w->entry = (watcher_entry){.ended = tell, .context = w};
    status = watcher_add(&w->entry, &w->process);
    if (status < 0) {
        close_process(w);
        return status;
    }
    *watch = w;
    return 1;
}

static void end(void *watch)
{
    process_watching *w = watch;
    watcher_remove(&w->entry);
    close_process(w);
}

void process_watch_set_up(void)
{
    static const wait_kind how = {.look = look, .gone = 1, .begin = begin, .end = end};
    wait_register(KIND_PROCESS, &how);
}
