/* Noticing deaths, and recovery. */
#include "core/death.h"

#include "core/log.h"

/* How often one who does not wait looks, and so many objects are told apart by a thread. */
#define LOOK_NS INT64_C(20000000)
enum { LOG_LOOKS = 4, LOOKS = 1 << LOG_LOOKS };

static death_hook hooks[KINDS];

void death_register(enum object_kind kind, death_hook hook)
{
    hooks[kind] = hook;
}

static void (*extra)(uint64_t dead);

void death_register_extra(void (*recover)(uint64_t dead))
{
    extra = recover;
}

/* Also of a member that is leaving, which recovers itself. */
static bool is_running(uint64_t reference)
{
    member *m = member_at(reference);
    if (reference == member_self()) {
        return true;
    }
    enum member_state state = member_state_of(reference);
    if (m == NULL || state == MEMBER_FREE || state == MEMBER_STARTING) {
        return false;
    }
    platform_identity identity = m->identity;
    platform_process process;
    int status = platform_process_open(&process, &identity, arena_memory());
    if (status == 0) {
        platform_process_close(&process);
    }
    /* If it cannot be looked at now, it can the next time: nobody is declared dead on suspicion.
       Should the entry have become another's meanwhile, this one is gone anyway. */
    return status != KIN_E_ENDED;
}

/* Makes this member the one that clears up behind the dead one, if nobody is or `gone` was. If
   somebody is, *recoverer is who. With the lock held, so that the entry cannot become another's. */
static bool claim_locked(uint64_t reference, uint64_t gone, uint64_t *recoverer)
{
    member *m = member_at(reference);
    *recoverer = 0;
    if (m == NULL) {
        return false;
    }
    uint64_t alive = (reference >> 32) << 32 | MEMBER_ALIVE;
    (void) atomic_compare_exchange_strong(&m->state, &alive, (reference >> 32) << 32 | MEMBER_DEAD);
    if (member_state_of(reference) != MEMBER_DEAD) {
        return false;
    }
    *recoverer = atomic_load(&m->recoverer);
    if (*recoverer != 0 && *recoverer != gone) {
        return false;
    }
    atomic_store(&m->recoverer, member_self());
    return true;
}

/* False if there is nothing to clear up, or another is about it. */
static bool claim(uint64_t reference)
{
    for (uint64_t recoverer = 0;;) {
        uint64_t gone = recoverer;
        if (arena_lock() < 0) {
            return false;
        }
        bool claimed = claim_locked(reference, gone, &recoverer);
        arena_unlock();
        if (claimed || recoverer == 0 || is_running(recoverer)) {
            return claimed;
        }
    }
}

/* What a hook had no memory for: the rest goes on, which may give some back, and all is done again
   later. */
typedef struct hook_run {
    uint64_t dead;
    int status;
} hook_run;

static int run_hook(object *o, uint64_t id, void *context)
{
    hook_run *run = context;
    death_hook hook = hooks[object_kind_of(id)];
    int status = hook != NULL ? hook(o, id, run->dead) : 0;
    run->status = status == KIN_E_NOMEM ? status : run->status;
    return status == KIN_E_NOMEM ? 0 : status;
}

/* What the dead one was doing for other members: starting them, or clearing up behind them. */
static void take_over(uint64_t reference, enum member_state state, void *context)
{
    uint64_t dead = *(const uint64_t *) context;
    member *m = member_at(reference);
    if (m == NULL || reference == dead) {
        return;
    }
    if (state == MEMBER_STARTING && m->starter == dead) {
        (void) member_cancel(reference);
    } else if (state == MEMBER_DEAD && atomic_load(&m->recoverer) == dead) {
        death_recover(reference);
    }
}

static int recover(uint64_t reference)
{
    bool other = reference != member_self();
    if (other) {
        thread_release_all(reference); /* first: what it used is not used any more */
    }
    int status = object_recover(reference); /* what it had begun to destroy, others could not */
    hook_run run = {.dead = reference};
    if (status == 0) {
        status = object_each(run_hook, &run);
    }
    if (status == 0) {
        extra(reference);
        member_each(take_over, &reference);
        status = object_recover(reference); /* parts of what the hooks have destroyed */
    }
    if (status == 0 && !other) {
        thread_release_all(reference);
        extra(reference);
    }
    if (status == 0) {
        status = arena_recover(member_slot(reference));
    }
    status = status == 0 ? run.status : status;
    return status == 0 ? member_release(reference) : status;
}

void death_recover(uint64_t reference)
{
    int status = 0;
    thread_self *thread = thread_current(&status);
    if (thread == NULL || !claim(reference)) {
        return;
    }
    log_hold();
    thread->recoveries++;
    status = recover(reference);
    thread->recoveries--;
    if (status < 0) {
        member *m = member_at(reference);
        if (m != NULL) {
            atomic_store(&m->recoverer, 0); /* the next one who looks tries again */
        }
    }
    log_release();
}

bool death_check(uint64_t reference)
{
    switch (member_state_of(reference)) {
    case MEMBER_FREE:
        return true;
    case MEMBER_STARTING:
        return false;
    case MEMBER_ALIVE:
        if (is_running(reference)) {
            return member_state_of(reference) == MEMBER_FREE;
        }
        break;
    case MEMBER_DEAD:
        break;
    }
    death_recover(reference);
    return true;
}

/* ---- looking again and again ---- */

/* Those that are open; who finds no place looks anew each time. */
enum { WATCHES = 16 };
static death_watch *watches[WATCHES];
static platform_lock watches_lock;

void death_reset_copy(void)
{
    watches_lock = (platform_lock){{0}};
    for (int i = 0; i < WATCHES; i++) {
        if (watches[i] != NULL) {
            platform_process_disown(&watches[i]->process);
            watches[i] = NULL;
        }
    }
}

/* True if it is alive and watched from now on. */
static bool begin_watch(death_watch *watch, uint64_t reference)
{
    member *m = member_at(reference);
    if (m == NULL || reference == member_self()) {
        return false;
    }
    platform_identity identity = m->identity;
    platform_lock_acquire(&watches_lock);
    int place = 0;
    while (place < WATCHES && watches[place] != NULL) {
        place++;
    }
    if (place < WATCHES && platform_process_open(&watch->process, &identity, arena_memory()) == 0) {
        watch->reference = reference;
        watches[place] = watch;
    }
    platform_lock_release(&watches_lock);
    /* The entry may have become another's while we looked. */
    return watch->reference != 0 && member_state_of(reference) == MEMBER_ALIVE;
}

void death_watch_end(death_watch *watch)
{
    if (watch->reference == 0) {
        return;
    }
    platform_lock_acquire(&watches_lock);
    for (int i = 0; i < WATCHES; i++) {
        if (watches[i] == watch) {
            watches[i] = NULL;
        }
    }
    platform_process_close(&watch->process);
    watch->reference = 0;
    platform_lock_release(&watches_lock);
}

bool death_check_again(death_watch *watch, uint64_t reference)
{
    if (watch->reference == reference && member_state_of(reference) == MEMBER_ALIVE &&
        platform_process_wait(&watch->process, 0) == KIN_E_TIMEOUT) {
        return false;
    }
    death_watch_end(watch);
    return !begin_watch(watch, reference) && death_check(reference);
}

/* Two that have the same place are looked at each time: that costs more, but nobody is missed. */
bool death_is_time_to_look(uint64_t id)
{
    static _Thread_local struct {
        uint64_t id;
        int64_t next;
    } looked[LOOKS];
    unsigned place = (unsigned) (id * UINT64_C(0x9e3779b97f4a7c15) >> (64 - LOG_LOOKS));
    int64_t now = platform_clock_ns();
    if (looked[place].id == id && now < looked[place].next) {
        return false;
    }
    looked[place].id = id;
    looked[place].next = now + LOOK_NS;
    return true;
}

static void look(uint64_t reference, enum member_state state, void *context)
{
    (void) state, (void) context;
    (void) death_check(reference);
}

void death_sweep(void)
{
    member_each(look, NULL);
}

void death_look_around(void)
{
    static _Atomic uint32_t next;
    uint32_t slots = arena_entries(ARENA_MEMBERS);
    uint32_t slot = atomic_fetch_add(&next, 1) % slots;
    member *m = slot > 0 ? arena_entry(ARENA_MEMBERS, slot) : NULL;
    uint64_t state = m != NULL ? atomic_load(&m->state) : 0;
    if (state != 0) {
        (void) death_check((state >> 32) << 32 | slot);
    }
}
