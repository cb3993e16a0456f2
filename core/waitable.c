/* Waiting for any or all of many things; waitable.h says how. */
#include "core/waitable.h"

#define FIRST_SLICE_NS INT64_C(1000000)

typedef struct waiting {
    waitable *things;
    size_t count;
    size_t left;   /* that are not ready */
    size_t untold; /* of which nothing tells */
    size_t lowest; /* index of one that is ready; SIZE_MAX */
    bool any;      /* one is enough */
    int64_t slice; /* until the untold are looked at again */
    int64_t deadline;
    platform_watch *watch;
} waiting;

static bool is_over(const waiting *w)
{
    return w->left == 0 || (w->any && w->lowest != SIZE_MAX);
}

static void note_ready(waiting *w, waitable *thing)
{
    thing->ready = true;
    w->left--;
    w->lowest = thing->index < w->lowest ? thing->index : w->lowest;
}

/* What is known, without asking the system. */
static int know_all(waiting *w)
{
    for (size_t i = 0; i < w->count; i++) {
        waitable *thing = &w->things[i];
        int status = thing->kind->know(thing);
        if (status < 0) {
            return status;
        }
        if (status == WAITABLE_READY) {
            note_ready(w, thing);
        }
    }
    return 0;
}

static int look(waiting *w, size_t number)
{
    waitable *thing = &w->things[number];
    if (thing->ready) {
        return 0;
    }
    int status = thing->kind->look(thing, w->watch, number + 1);
    w->untold -= thing->untold;
    thing->untold = status == WAITABLE_UNTOLD;
    w->untold += thing->untold;
    if (status == WAITABLE_READY) {
        note_ready(w, thing);
    }
    return status < 0 ? status : 0;
}

static int look_at_all(waiting *w)
{
    int status = 0;
    for (size_t i = 0; i < w->count && status == 0; i++) {
        status = look(w, i);
    }
    return status;
}

static int look_at_untold(waiting *w)
{
    int status = 0;
    for (size_t i = 0; i < w->count && status == 0 && w->untold > 0; i++) {
        status = w->things[i].untold ? look(w, i) : 0;
    }
    return status;
}

/* All that can be told at once: the lowest of them is wanted. */
static int take_news(waiting *w)
{
    for (;;) {
        uint64_t cookie = 0;
        int status = platform_watch_wait(w->watch, &cookie, 0);
        if (status == 0 && cookie != 0) {
            status = look(w, (size_t) cookie - 1);
        }
        if (status < 0) {
            return status == KIN_E_TIMEOUT ? 0 : status;
        }
    }
}

static int wait_for_news(waiting *w)
{
    uint64_t cookie = 0;
    int64_t left = -1;
    if (w->deadline != INT64_MAX) {
        left = w->deadline - platform_clock_ns();
        left = left > 0 ? left : 0;
    }
    bool is_slice = w->untold > 0 && (left < 0 || w->slice < left);
    int status = platform_watch_wait(w->watch, &cookie, is_slice ? w->slice : left);
    if (status == 0) {
        return cookie != 0 ? look(w, (size_t) cookie - 1) : 0;
    }
    if (status != KIN_E_TIMEOUT) {
        return status;
    }
    status = look_at_untold(w);
    w->slice = 2 * w->slice < WAIT_SLICE_NS ? 2 * w->slice : WAIT_SLICE_NS;
    return status < 0 || is_slice || is_over(w) ? status : KIN_E_TIMEOUT;
}

static int watch_and_wait(waiting *w)
{
    int status = platform_watch_create(&w->watch);
    if (status < 0) {
        return status;
    }
    status = look_at_all(w);
    if (status == 0) {
        status = take_news(w);
    }
    while (status == 0 && !is_over(w)) {
        status = wait_for_news(w);
    }
    platform_watch_destroy(w->watch);
    for (size_t i = 0; i < w->count; i++) {
        w->things[i].kind->release(&w->things[i]);
    }
    return status;
}

static int wait_for(waiting *w)
{
    w->left = w->count;
    w->lowest = SIZE_MAX;
    w->slice = FIRST_SLICE_NS;
    int status = know_all(w);
    return status < 0 || is_over(w) ? status : watch_and_wait(w);
}

int waitable_wait_all(waitable *things, size_t count, int64_t deadline)
{
    waiting w = {.things = things, .count = count, .deadline = deadline};
    return wait_for(&w);
}

int waitable_wait_any(waitable *things, size_t count, size_t *index, int64_t deadline)
{
    waiting w = {.things = things, .count = count, .deadline = deadline, .any = true};
    int status = wait_for(&w);
    if (status == 0) {
        *index = w.lowest;
    }
    return status;
}
