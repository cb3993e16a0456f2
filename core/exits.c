/* Functions that run at the end of this process. */
#include "core/error.h"
#include "core/process.h"

enum { EXITS = 64 };

typedef struct exit_function {
    void (*function)(void *context);
    void *context;
} exit_function;

static platform_lock exits_lock;
static exit_function exits[EXITS];
static unsigned exit_count;

int kin_at_exit(void (*function)(void *context), void *context)
{
    error_clear();
    if (function == NULL) {
        return KIN_E_INVALID;
    }
    if (!family_is_joined()) {
        return KIN_E_INIT;
    }
    int status = KIN_E_LIMIT;
    platform_lock_acquire(&exits_lock);
    if (exit_count < EXITS) {
        exits[exit_count++] = (exit_function){function, context};
        status = 0;
    }
    platform_lock_release(&exits_lock);
    return status;
}

void process_run_exits(void)
{
    for (;;) {
        exit_function last = {0};
        platform_lock_acquire(&exits_lock);
        if (exit_count > 0) {
            last = exits[--exit_count];
        }
        platform_lock_release(&exits_lock);
        if (last.function == NULL) {
            return;
        }
        last.function(last.context); /* it may add others */
    }
}

static _Atomic bool is_ending;
static _Thread_local bool ends_here;

void process_begin_end(void)
{
    if (!ends_here && atomic_exchange(&is_ending, true)) {
        platform_sleep_ns(-1);
    }
    ends_here = true;
}

void exits_reset_copy(void)
{
    atomic_store(&is_ending, false);
    ends_here = false;
    exits_lock = (platform_lock){{0}};
    exit_count = 0;
}
