/* The threads of the family: each that uses kin has a record, which it gets at its first call and
   gives back at its end; those of a dead member are freed in its recovery. */
#include "core/family.h"

_Thread_local PLATFORM_FAST_TLS thread_self thread_own;
_Thread_local PLATFORM_FAST_TLS uint64_t thread_family;

static void (*end_of_holder)(void);
static void (*death_of)(thread_record *record);

void thread_forget(void)
{
    if (thread_own.has_parker) {
        platform_parker_close(&thread_own.parker);
    }
    thread_own.has_parker = false;
    thread_family = 0;
}

/* What a record says that others look for. */
static void clear(thread_record *record)
{
    for (int i = 0; i < HAZARDS; i++) {
        atomic_store(&record->hazards[i], 0);
    }
    for (int i = 0; i < READS; i++) {
        atomic_store(&record->reads[i], 0);
    }
    atomic_store(&record->waits_on, 0);
    atomic_store(&record->waits_for, 0);
    atomic_store(&record->condition, 0);
    atomic_store(&record->barrier, 0);
    atomic_fetch_and(&record->phase, ~(uint32_t) PHASE_MASK);
    atomic_fetch_add(&record->waits, 1);
    atomic_store(&record->waits_from, 0);
    atomic_store(&record->waits_until, 0);
    atomic_store(&record->waits_can_end, 0);
    atomic_store(&record->watches, 0);
}

void thread_set_end(void (*ended)(void))
{
    end_of_holder = ended;
}

void thread_set_death(void (*died)(thread_record *record))
{
    death_of = died;
}

/* In the record of each 64th, and of 0, which is nobody's. */
static _Atomic uint64_t *used_with(uint32_t number)
{
    thread_record *first = arena_entry(ARENA_THREADS, number / 64 * 64);
    return &first->used;
}

uint32_t thread_next(uint32_t number)
{
    uint32_t records = arena_entries(ARENA_THREADS);
    for (number++; number < records; number = (number / 64 + 1) * 64) {
        uint64_t used = atomic_load(used_with(number)) >> (number % 64);
        if (used != 0) {
            return number + (uint32_t) __builtin_ctzll(used);
        }
    }
    return 0;
}

/* Nothing is left in it for which others look. */
static void give_back(uint32_t number)
{
    thread_record *record = thread_at(number);
    clear(record);
    atomic_fetch_and(used_with(number), ~(UINT64_C(1) << (number % 64)));
    atomic_store(&record->owner, 0);
}

static void leave(void *value)
{
    thread_self *t = value;
    /* The family may have been left before, and its arena unmapped. */
    bool in_family = thread_known() != NULL;
    thread_forget();
    if (in_family) {
        unsigned held = t->held;
        give_back(t->number);
        if (held > 0 && end_of_holder != NULL) {
            end_of_holder();
        }
    }
}

void thread_leave(void)
{
    if (thread_known() != NULL) {
        leave(&thread_own);
    }
}

static platform_lock lock;

void thread_reset_copy(void)
{
    lock = (platform_lock){{0}};
    thread_own.has_parker = false; /* that of the original, who goes on using it */
    thread_family = 0;
}

static int set_hook(void)
{
    static bool done;
    int status = 0;
    platform_lock_acquire(&lock);
    if (!done) {
        status = platform_thread_at_exit(leave);
        done = status == 0;
    }
    platform_lock_release(&lock);
    return status;
}

thread_record *thread_at(uint32_t number)
{
    return number == 0 ? NULL : arena_entry(ARENA_THREADS, number);
}

static uint32_t find_free(uint32_t start, uint32_t records)
{
    for (uint32_t n = 1; n < records; n++) {
        uint32_t number = 1 + (start + n - 1) % (records - 1);
        if (atomic_load(&thread_at(number)->owner) == 0) {
            return number;
        }
    }
    return 0;
}

/* The family, as family_number tells it, in which this process has a main thread. Under the
   lock. */
static uint64_t main_of;

/* With the lock held. */
static int take_record(uint32_t *number)
{
    family_shared *common = family_common();
    uint32_t records = arena_entries(ARENA_THREADS);
    *number = find_free(common->free_thread, records);
    if (*number == 0) {
        *number = records > 0 ? records : 1;
        int status = arena_grow_table(ARENA_THREADS, *number + 1);
        if (status < 0) {
            return status == KIN_E_LIMIT ? KIN_E_THREAD_LIMIT : status;
        }
    }
    common->free_thread = *number;
    thread_record *record = thread_at(*number);
    clear(record);
    atomic_store(&record->is_main, main_of != family_number());
    main_of = family_number();
    atomic_store(&record->life, (atomic_load(&record->life) + 1) % TOKEN_LIVES);
    atomic_fetch_or(used_with(*number), UINT64_C(1) << (*number % 64));
    atomic_store(&record->owner, member_self());
    return 0;
}

uint64_t thread_token(uint32_t number)
{
    return (uint64_t) atomic_load(&thread_at(number)->life) << TOKEN_LIFE_SHIFT |
           (uint64_t) number << TOKEN_SHIFT;
}

bool thread_is_there(uint64_t token, uint64_t *owner)
{
    uint32_t number = token_number(token);
    thread_record *record = thread_at(number);
    *owner = record != NULL ? atomic_load(&record->owner) : 0;
    return *owner != 0 && thread_token(number) >> TOKEN_SHIFT == token >> TOKEN_SHIFT;
}

thread_self *thread_current(int *status)
{
    if (thread_known() != NULL) {
        return &thread_own;
    }
    if (!family_is_joined()) {
        *status = KIN_E_INIT;
        return NULL;
    }
    thread_forget(); /* what is left of an earlier family */
    *status = set_hook();
    if (*status == 0) {
        *status = arena_lock();
    }
    if (*status < 0) {
        return NULL;
    }
    uint32_t number;
    *status = take_record(&number);
    arena_unlock();
    if (*status < 0) {
        return NULL;
    }
    thread_own = (thread_self){.record = thread_at(number), .number = number};
    thread_own.token = thread_token(number);
    if (!platform_has_word_wait()) {
        *status = platform_parker_create(&thread_own.parker, &thread_own.record->parker,
                                         arena_secret(), number);
        if (*status < 0) {
            give_back(number);
            return NULL;
        }
        thread_own.has_parker = true;
    }
    thread_family = family_number();
    platform_thread_set(&thread_own);
    return &thread_own;
}

void thread_release_all(uint64_t owner)
{
    uint32_t records = arena_entries(ARENA_THREADS);
    for (uint32_t number = 1; number < records; number++) {
        thread_record *record = thread_at(number);
        if (atomic_load(&record->owner) == owner) {
            death_of(record);
            give_back(number);
        }
    }
}
