/* Founding and joining a family, and its table of members. */
#include "core/family.h"

enum {
    MOST_PROCESSES = 65534,
    MOST_THREADS = TOKEN_NUMBERS - 2,
    DEFAULT_PROCESSES = 8192,
    THREADS_PER_PROCESS = 4
};

/* An arena's objects are found by their place in 64-byte steps, in 31 bits. */
#define LARGEST_ARENA (UINT64_C(1) << 37)
#define SMALLEST_ARENA (UINT64_C(1) << 20)

static _Atomic uint64_t self;
_Atomic uint64_t family_now; /* its number; 0 while there is none */
static uint64_t families;    /* so far */

/* In a copy that is no member yet, the member that it was copied from. */
static _Atomic uint64_t original;
static int (*rejoin_copy)(void);
static void (*after_cancel)(void);

bool family_is_joined(void)
{
    return atomic_load_explicit(&self, memory_order_acquire) != 0 ||
           (atomic_load_explicit(&original, memory_order_relaxed) != 0 && rejoin_copy() == 0);
}

bool family_is_member(void)
{
    return atomic_load_explicit(&self, memory_order_acquire) != 0;
}

uint64_t family_number(void)
{
    return atomic_load_explicit(&family_now, memory_order_relaxed);
}

uint64_t family_original(void)
{
    return atomic_load(&original);
}

void family_set_rejoin(int (*rejoin)(void))
{
    rejoin_copy = rejoin;
}

void family_reset_copy(void)
{
    uint64_t before = atomic_load(&self);
    if (before != 0) {
        atomic_store(&original, before);
        atomic_store(&self, 0);
        atomic_store(&family_now, 0);
    }
    arena_reset_copy();
    thread_reset_copy();
}

uint64_t member_self(void)
{
    return atomic_load_explicit(&self, memory_order_relaxed);
}

uint64_t family_first(void)
{
    return UINT64_C(1) << 32 | 1; /* the first life of the first slot */
}

family_shared *family_common(void)
{
    return arena_entry(ARENA_MEMBERS, 0);
}

static member *entry(uint32_t slot)
{
    return slot == 0 ? NULL : arena_entry(ARENA_MEMBERS, slot);
}

static uint64_t make_state(uint64_t reference, enum member_state state)
{
    return (reference >> 32) << 32 | state;
}

static uint64_t reference_of(uint32_t slot, uint64_t state)
{
    return (state >> 32) << 32 | slot;
}

member *member_at(uint64_t reference)
{
    member *m = entry(member_slot(reference));
    return m != NULL && atomic_load(&m->state) >> 32 == reference >> 32 ? m : NULL;
}

enum member_state member_state_of(uint64_t reference)
{
    member *m = entry(member_slot(reference));
    uint64_t state = m != NULL ? atomic_load(&m->state) : 0;
    return state >> 32 == reference >> 32 ? (enum member_state)(state & 0xff) : MEMBER_FREE;
}

static int make_plan(arena_plan *plan, const kin_options *options)
{
    uint64_t size = options != NULL ? options->arena_size : 0;
    uint32_t processes = options != NULL ? options->max_processes : 0;
    uint32_t threads = options != NULL ? options->max_threads : 0;
    if (processes > MOST_PROCESSES || threads > MOST_THREADS || size > LARGEST_ARENA ||
        (size != 0 && size < SMALLEST_ARENA)) {
        return KIN_E_INVALID;
    }
    plan->size = size;
    plan->max_members = processes != 0 ? processes : DEFAULT_PROCESSES;
    plan->max_threads = threads != 0 ? threads : THREADS_PER_PROCESS * plan->max_members;
    plan->member_size = sizeof(member);
    plan->thread_size = sizeof(thread_record);
    plan->sync_size = SYNC_SIZE;
    return 0;
}

/* Becomes the member that is named. The identity is written first: whoever sees ALIVE may use
   it. */
static int enter(uint64_t reference)
{
    member *m = member_at(reference);
    int status = platform_process_self(&m->identity);
    if (status == 0) {
        status = platform_process_claim(&m->identity, arena_memory(), member_slot(reference));
    }
    if (status < 0) {
        return status;
    }
    arena_set_owner(member_slot(reference));
    atomic_store(&m->state, make_state(reference, MEMBER_ALIVE));
    atomic_store(&family_now, ++families);
    atomic_store(&original, 0);
    atomic_store(&self, reference);
    return 0;
}

/* Enters a slot that is waiting for just this token. */
static int enter_reserved(uint64_t reference, uint64_t token)
{
    /* To look first lets the system map what lies beside the entry at once; to write, as the lock
       does, maps one page. */
    member *m = member_at(reference);
    int status = m != NULL ? arena_lock() : KIN_E_ATTACH;
    if (status < 0) {
        return status;
    }
    m = member_at(reference);
    if (m != NULL && member_state_of(reference) == MEMBER_STARTING && m->token == token) {
        status = enter(reference);
    } else {
        status = KIN_E_ATTACH;
    }
    arena_unlock();
    return status;
}

int family_enter_copy(uint64_t reference, uint64_t token)
{
    return enter_reserved(reference, token);
}

int family_found(const kin_options *options)
{
    arena_plan plan;
    int status = make_plan(&plan, options);
    if (status == 0) {
        status = arena_create(&plan);
    }
    if (status < 0) {
        return status;
    }
    uint64_t reference;
    uint64_t token;
    status = arena_lock();
    if (status == 0) {
        status = arena_grow_table(ARENA_MEMBERS, 2);
        arena_unlock();
    }
    if (status == 0) {
        uint32_t first;
        /* Where generations begin tells this family's handles from those of others. */
        status = platform_random(&first, sizeof first);
        atomic_store(&family_common()->generation, first);
    }
    if (status == 0) {
        status = member_reserve(&reference, &token);
    }
    if (status == 0) {
        status = enter(reference);
    }
    if (status < 0) {
        arena_detach();
    }
    return status;
}

int family_join(intptr_t object, uint64_t size, uint64_t reference, uint64_t token)
{
    arena_plan plan;
    int status = make_plan(&plan, NULL);
    if (status == 0) {
        status = arena_attach(object, size, &plan);
    }
    if (status < 0) {
        return status;
    }
    status = enter_reserved(reference, token);
    if (status < 0) {
        arena_detach();
    }
    return status;
}

void family_forget(bool unmap)
{
    atomic_store(&self, 0);
    atomic_store(&family_now, 0);
    if (unmap) {
        arena_detach();
    }
}

/* A free slot from `start` on, or 0. With the lock held. */
static uint32_t find_free_slot(uint32_t start)
{
    uint32_t slots = arena_entries(ARENA_MEMBERS);
    for (uint32_t n = 1; n < slots; n++) {
        uint32_t slot = 1 + (start + n - 1) % (slots - 1);
        if ((atomic_load(&entry(slot)->state) & 0xff) == MEMBER_FREE) {
            return slot;
        }
    }
    return 0;
}

static int reserve_locked(uint64_t *reference, uint64_t token)
{
    family_shared *common = family_common();
    uint32_t slot = find_free_slot(common->free_member);
    if (slot == 0) {
        slot = arena_entries(ARENA_MEMBERS);
        int status = arena_grow_table(ARENA_MEMBERS, slot + 1);
        if (status < 0) {
            return status == KIN_E_LIMIT ? KIN_E_PROCESS_LIMIT : status;
        }
    }
    int status = arena_grow_table(ARENA_OWNERS, slot + 1);
    if (status < 0) {
        return status == KIN_E_LIMIT ? KIN_E_PROCESS_LIMIT : status;
    }
    common->free_member = slot;
    member *m = entry(slot);
    if (m == NULL) {
        return KIN_E_SYSTEM; /* it has just been made ready */
    }
    uint64_t life = (atomic_load(&m->state) >> 32) + 1;
    *reference = (life & UINT32_MAX) << 32 | slot;
    m->identity = (platform_identity){0};
    m->token = token;
    m->starter = member_self();
    atomic_store(&m->process, 0);
    atomic_store(&m->recoverer, 0);
    atomic_store(&m->state, make_state(*reference, MEMBER_STARTING));
    return 0;
}

int member_reserve(uint64_t *reference, uint64_t *token)
{
    int status = platform_random(token, sizeof *token);
    if (status == 0) {
        status = arena_lock();
    }
    if (status < 0) {
        return status;
    }
    status = reserve_locked(reference, *token);
    arena_unlock();
    return status;
}

void member_set_cancelled(void (*cancelled)(void))
{
    after_cancel = cancelled;
}

bool member_cancel(uint64_t reference)
{
    bool cancelled = false;
    if (arena_lock() < 0) {
        return false;
    }
    if (member_state_of(reference) == MEMBER_STARTING) {
        atomic_store(&entry(member_slot(reference))->state, make_state(reference, MEMBER_FREE));
        cancelled = true;
    }
    arena_unlock();
    if (cancelled && after_cancel != NULL) {
        after_cancel();
    }
    return cancelled;
}

int member_release(uint64_t reference)
{
    int status = arena_lock();
    if (status < 0) {
        return status;
    }
    if (member_state_of(reference) == MEMBER_DEAD) {
        atomic_store(&entry(member_slot(reference))->state, make_state(reference, MEMBER_FREE));
    }
    arena_unlock();
    return 0;
}

void member_each(void (*visit)(uint64_t reference, enum member_state state, void *context),
                 void *context)
{
    uint32_t slots = arena_entries(ARENA_MEMBERS);
    for (uint32_t slot = 1; slot < slots; slot++) {
        uint64_t state = atomic_load(&entry(slot)->state);
        if ((state & 0xff) != MEMBER_FREE) {
            visit(reference_of(slot, state), (enum member_state)(state & 0xff), context);
        }
    }
}
