#include "injection.h"

#include "core/fault.h"

#include <stdlib.h>
#include <string.h>

#define FAULT_VARIABLE "KIN_TEST_FAULT"

enum { MOST_CALLS = 1000 };

/* After how many of the failures the operation is repeated without one. */
#if defined _WIN32
enum { REPEAT_EACH = 8 }; /* processes take their time there */
#else
enum { REPEAT_EACH = 1 };
#endif

static _Atomic int countdown; /* the call that brings it to 0 fails */

/* What has failed. In shared memory while copies are made: in them calls may fail as well. */
typedef struct failure {
    _Atomic int failed;
    char call[64];
} failure;

static failure own_failure;
static failure *happened = &own_failure;

bool fault_now(const char *call)
{
    int left = atomic_load(&countdown);
    while (left > 0 && !atomic_compare_exchange_weak(&countdown, &left, left - 1)) {
    }
    if (left == 1 && atomic_load(&happened->failed) == 0) {
        (void) snprintf(happened->call, sizeof happened->call, "%s", call);
        atomic_store(&happened->failed, 1);
    }
    return left == 1;
}

void fault_arm(int number)
{
    (void) snprintf(happened->call, sizeof happened->call, "none");
    atomic_store(&happened->failed, 0);
    atomic_store(&countdown, number);
}

bool fault_disarm(void)
{
    atomic_store(&countdown, 0);
    return atomic_load(&happened->failed) != 0;
}

int fault_pause(void)
{
    return atomic_exchange(&countdown, 0);
}

void fault_resume(int left)
{
    atomic_store(&countdown, left);
}

bool fault_happened(void)
{
    return atomic_load(&happened->failed) != 0;
}

const char *fault_call(void)
{
    return happened->call;
}

void fault_share(void)
{
    happened = shared_new(sizeof *happened);
}

void fault_unshare(void)
{
    failure *shared = happened;
    happened = &own_failure;
    shared_free(shared);
}

int fault_number(void)
{
    const char *text = getenv(FAULT_VARIABLE);
    return text != NULL ? atoi(text) : 0;
}

void fault_tell_children(int number)
{
    char text[16];
    (void) snprintf(text, sizeof text, "%d", number);
    system_set_variable(FAULT_VARIABLE, number > 0 ? text : NULL);
}

/* No system fails to lock a sound mutex: for that it is enough that nothing breaks. */
static bool may_leave_blocks(void)
{
    const char *call = happened->call;
    return strncmp(call, "pthread_mutex_lock", 18) == 0 || strncmp(call, "WaitFor", 7) == 0;
}

bool fault_is_sensible(int status)
{
    const char *call = happened->call;
    if (status == KIN_E_INVALID) {
        return strncmp(call, "MultiByteToWideChar", 19) == 0; /* it says so of what is not UTF-8 */
    }
    return status <= 0 && status >= KIN_E_LIMIT && status != KIN_E_DEADLOCK;
}

static void fail_with_call(int number, const char *what, int status)
{
    fail_msg("call %d, %s: %s, %s", number, happened->call, what, kin_error_name(status));
}

/* What a failed lock has left is found by a sweep, or is no fault of ours. */
static void check_inventory(int number, inventory *before)
{
    death_sweep();
    if (may_leave_blocks()) {
        take_inventory(before);
        const char *broken;
        assert_int_equal(arena_check(&broken), 0);
    } else if (!nothing_is_left(before)) {
        fail_with_call(number, "something is left", 0);
    }
}

void fail_each(int (*operation)(void))
{
    inventory before;
    assert_int_equal(operation(), 0);
    take_inventory(&before);
    for (int number = 1; number < MOST_CALLS; number++) {
        fault_arm(number);
        int status = operation();
        bool met = fault_disarm();
        if (!fault_is_sensible(status)) {
            fail_with_call(number, "gives", status);
        }
        check_inventory(number, &before);
        if (number % REPEAT_EACH == 0) {
            int again = operation();
            if (again != 0) {
                fail_with_call(number, "and again", again);
            }
            check_inventory(number, &before);
        }
        if (!met) {
            assert_int_equal(status, 0);
            assert_true(number > 1); /* or nothing has been shown */
            return;
        }
    }
    fail();
}

int join_and_close(kin_process process, int expected)
{
    int code = -1000;
    int status = kin_process_join(process, LONG_MS);
    int again = status == 0 ? 0 : kin_process_join(process, LONG_MS);
    if (again == 0 && (kin_process_exit_code(process, &code) != 0 || code != expected)) {
        status = status == 0 ? KIN_E_SYSTEM : status;
    }
    int closed = kin_process_close(process);
    return closed == 0 ? status : kin_process_close(process) < 0 ? 1 : status;
}
