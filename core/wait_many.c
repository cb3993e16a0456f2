/* Waiting for many things; wait_many.h has the argument. Processes alone are waited for as
   kin_process_wait_any does it, which needs no other thread. */
#include "core/wait_many.h"
#include "core/error.h"
#include "core/process_object.h"
#include "core/sync.h"

#include <kin/wait.h>

#include <stdlib.h>

enum { NOT_YET = 100 }; /* no status of the interface */

/* After so much time what nothing tells of is looked at again; then after twice as much, and so
   on. */
#define FIRST_SLICE_NS INT64_C(1000000)

typedef struct many {
    kin_wait_item *items;
    size_t count;
    bool all;
    bool waited;
    void **watches; /* of each item, where its kind makes them */
    size_t untold;  /* items of which nothing tells */
    int64_t slice;
    wait_line *bell;
    int64_t deadline;
} many;

static const wait_kind *kinds[KINDS];

void wait_register(enum object_kind kind, const wait_kind *how)
{
    kinds[kind] = how;
}

static const wait_kind *kind_of(uint64_t id)
{
    enum object_kind kind = object_kind_of(id);
    return kind < KINDS ? kinds[kind] : NULL;
}

static void look_at(many *m, size_t number, bool well)
{
    kin_wait_item *item = &m->items[number];
    const wait_kind *kind = kind_of(item->id);
    void *watch = m->watches != NULL ? m->watches[number] : NULL;
    sync *s = well ? sync_find_place(item->id) : NULL;
    if (s != NULL) {
        sync_look_at_keeper(s);
    }
    item->ready = kind != NULL ? kind->look(item->id, watch, well) : KIN_E_HANDLE;
    if (item->ready == KIN_E_HANDLE && m->waited && kind != NULL) {
        item->ready = kind->gone;
    }
}

/* 0 or an error if there is nothing to wait for any more, else NOT_YET. */
static int verdict(const many *m)
{
    size_t ready = 0;
    int error = 0;
    for (size_t i = 0; i < m->count; i++) {
        ready += m->items[i].ready > 0;
        error = error == 0 && m->items[i].ready < 0 ? m->items[i].ready : error;
    }
    if (m->all) {
        return error < 0 ? error : ready == m->count ? 0 : NOT_YET;
    }
    return error < 0 || ready > 0 ? 0 : NOT_YET;
}

static int look_at_all(many *m, bool well)
{
    for (size_t i = 0; i < m->count; i++) {
        look_at(m, i, well);
    }
    return verdict(m);
}

/* ---- processes alone ---- */

static bool are_processes(const many *m)
{
    size_t i = 0;
    while (i < m->count && object_kind_of(m->items[i].id) == KIND_PROCESS) {
        i++;
    }
    return i == m->count;
}

static int wait_for_processes(many *m)
{
    kin_process *processes = calloc(m->count, sizeof *processes);
    if (processes == NULL) {
        return KIN_E_NOMEM;
    }
    for (size_t i = 0; i < m->count; i++) {
        processes[i].id = m->items[i].id;
    }
    size_t index = 0;
    int status = m->all ? process_wait_all(processes, m->count, m->deadline)
                        : process_wait_any(processes, m->count, &index, m->deadline);
    m->waited = true;
    (void) look_at_all(m, false);
    for (size_t i = 0; status == 0 && i < m->count; i++) {
        if (m->all || m->items[i].id == processes[index].id) {
            m->items[i].ready = 1; /* even if it has been closed */
        }
    }
    free(processes);
    return status;
}

/* ---- things of all kinds ---- */

static uint64_t bits_of(const many *m)
{
    uint64_t bits = 0;
    for (size_t i = 0; i < m->count; i++) {
        const wait_kind *kind = kind_of(m->items[i].id);
        wait_line *line = kind->line != NULL ? kind->line(m->items[i].id) : NULL;
        bits |= line != NULL ? line_bit(line) : 0;
    }
    return bits;
}

/* The announcement comes before the look; a watch tells also of what has happened before. */
static int follow_and_look_at(many *m, size_t number, bool well)
{
    uint64_t id = m->items[number].id;
    const wait_kind *kind = kind_of(id);
    wait_line *line = kind->line != NULL ? kind->line(id) : NULL;
    if (line != NULL) {
        line_announce(line, LINE_WATCHED);
    }
    look_at(m, number, well);
    if (kind->begin == NULL || m->items[number].ready != 0) {
        return 0;
    }
    int status = kind->begin(id, m->bell, &m->watches[number]);
    m->untold += status == 0;
    return status;
}

/* NOT_YET, or what ends the wait. */
static int follow_and_look(many *m, bool well)
{
    m->untold = 0;
    for (size_t i = 0; i < m->count; i++) {
        int status = follow_and_look_at(m, i, well);
        if (status < 0) {
            return status;
        }
    }
    return verdict(m);
}

/* That a process has ended may have been told to one item before others that mean the same process,
   and may be noted of it a moment later: the system is asked once, so that all of them say so. */
static void look_once_more(many *m)
{
    for (size_t i = 0; i < m->count; i++) {
        const wait_kind *kind = kind_of(m->items[i].id);
        if (kind != NULL && kind->begin != NULL && m->items[i].ready == 0) {
            int ready = kind->look(m->items[i].id, NULL, true);
            m->items[i].ready = ready == KIN_E_HANDLE ? kind->gone : ready;
        }
    }
}

/* Until it is worth looking again. *well: whatever others do, they may have died. */
static int sleep(many *m, uint32_t seen, bool *well)
{
    int64_t now = platform_clock_ns();
    if (m->deadline != INT64_MAX && now >= m->deadline) {
        return KIN_E_TIMEOUT;
    }
    int64_t limit = m->deadline;
    if (m->untold > 0) {
        limit = now + m->slice < limit ? now + m->slice : limit;
        m->slice = 2 * m->slice < WAIT_SLICE_NS ? 2 * m->slice : WAIT_SLICE_NS;
    }
    int status = line_sleep(m->bell, seen, limit);
    *well = status == KIN_E_TIMEOUT;
    return status < 0 && status != KIN_E_TIMEOUT ? status : NOT_YET;
}

static int wait_as(many *m, thread_self *t)
{
    int status = NOT_YET;
    bool well = true;
    m->bell = &t->record->bell;
    m->slice = FIRST_SLICE_NS;
    atomic_store(&t->record->watches, bits_of(m));
    while (status == NOT_YET) {
        uint32_t seen = line_read(m->bell);
        status = follow_and_look(m, well);
        m->waited = true;
        if (status == NOT_YET) {
            status = sleep(m, seen, &well);
        }
    }
    atomic_store(&t->record->watches, 0);
    return status;
}

static int wait_for_all_kinds(many *m)
{
    int status = 0;
    thread_self *t = thread_current(&status);
    if (t == NULL) {
        return status;
    }
    m->watches = calloc(m->count, sizeof *m->watches);
    if (m->watches == NULL) {
        return KIN_E_NOMEM;
    }
    status = wait_as(m, t);
    if (status == 0) {
        look_once_more(m);
    }
    for (size_t i = 0; i < m->count; i++) {
        if (m->watches[i] != NULL) {
            kind_of(m->items[i].id)->end(m->watches[i]);
        }
    }
    free(m->watches);
    return status;
}

static int wait_for(many *m)
{
    return are_processes(m) ? wait_for_processes(m) : wait_for_all_kinds(m);
}

int kin_wait(kin_wait_item *items, size_t count, bool all, int timeout_ms)
{
    many m = {.items = items, .count = count, .all = all, .deadline = wait_deadline(timeout_ms)};
    error_clear();
    if (count > 0 ? items == NULL : !all) {
        return KIN_E_INVALID;
    }
    if (!family_is_joined()) {
        return KIN_E_INIT;
    }
    int status = look_at_all(&m, false);
    if (status == NOT_YET && timeout_ms == 0) {
        status = look_at_all(&m, true);
        return status == NOT_YET ? KIN_E_TIMEOUT : status;
    }
    return status == NOT_YET ? wait_for(&m) : status;
}
