/* The permits of an owned semaphore; permits.h says how they are kept. */
#include "core/permits.h"
#include "core/death.h"

/* Held while threads of this process give permits back: nobody else takes them from it. */
static platform_lock giving;

void permits_reset_copy(void)
{
    giving = (platform_lock){{0}};
}

int permits_create(uint64_t *id, uint64_t owner, uint32_t count)
{
    object *o = NULL;
    int status = object_create(&o, sizeof(permits) + count * sizeof(_Atomic uint64_t));
    if (status == 0) {
        permits *p = (permits *) o;
        p->count = count;
        status = object_publish(o, KIND_PART, owner, id);
        if (status < 0) {
            object_drop(o);
        }
    }
    return status;
}

static bool take_from(permits *p, uint32_t start, uint32_t end)
{
    for (uint32_t i = start; i < end; i++) {
        uint64_t none = 0;
        if (atomic_load_explicit(&p->holders[i], memory_order_relaxed) == 0 &&
            atomic_compare_exchange_strong(&p->holders[i], &none, member_self())) {
            atomic_store_explicit(&p->hint, i + 1, memory_order_relaxed);
            return true;
        }
    }
    return false;
}

bool permits_take(permits *p)
{
    uint32_t start = atomic_load_explicit(&p->hint, memory_order_relaxed);
    start = start < p->count ? start : 0;
    return take_from(p, start, p->count) || take_from(p, 0, start);
}

static uint32_t count_of(permits *p, uint64_t holder, uint32_t enough)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < p->count && count < enough; i++) {
        count += atomic_load(&p->holders[i]) == holder;
    }
    return count;
}

bool permits_give(permits *p, uint32_t count)
{
    uint64_t self = member_self();
    platform_lock_acquire(&giving);
    bool has = count_of(p, self, count) >= count;
    for (uint32_t i = 0; has && count > 0; i++) {
        if (atomic_load(&p->holders[i]) == self) {
            atomic_store(&p->holders[i], 0);
            atomic_store_explicit(&p->hint, i, memory_order_relaxed);
            count--;
        }
    }
    platform_lock_release(&giving);
    return has;
}

uint32_t permits_free(permits *p, uint32_t enough)
{
    return count_of(p, 0, enough);
}

static bool is_gone(uint64_t holder)
{
    enum member_state state = member_state_of(holder);
    return state == MEMBER_FREE || state == MEMBER_DEAD;
}

uint32_t permits_drop_dead(permits *p)
{
    uint32_t dropped = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        uint64_t holder = atomic_load(&p->holders[i]);
        dropped += holder != 0 && is_gone(holder) &&
                   atomic_compare_exchange_strong(&p->holders[i], &holder, 0);
    }
    return dropped;
}

void permits_look_at_holders(permits *p)
{
    uint64_t last = member_self();
    for (uint32_t i = 0; i < p->count; i++) {
        uint64_t holder = atomic_load(&p->holders[i]);
        if (holder != 0 && holder != last) {
            (void) death_check(holder);
            last = holder;
        }
    }
}
