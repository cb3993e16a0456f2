/* Threads of this process, and the lock between them. */
#include "win32/wing.h"

#include <stdlib.h>

/* Reserved, not used: the user's functions may run there. */
enum { STACK_SIZE = 256 << 10 };

typedef struct thread_start {
    void (*function)(void *);
    void *argument;
} thread_start;

/* The index is made once and kept; the hook may be set anew. */
static SRWLOCK exit_lock = SRWLOCK_INIT;
static _Atomic DWORD exit_index = FLS_OUT_OF_INDEXES;
static void (*_Atomic exit_hook)(void *);

/* The system's numbers are multiples of four. */
uint32_t platform_thread_stripe(void)
{
    return GetCurrentThreadId() >> 2;
}

static DWORD WINAPI run_thread(void *start_of_thread)
{
    thread_start start = *(thread_start *) start_of_thread;
    free(start_of_thread);
    start.function(start.argument);
    return 0;
}

int platform_thread_start(void (*function)(void *), void *argument)
{
    thread_start *start = WING_ALLOCATE(sizeof *start);
    if (start == NULL) {
        return wing_last_error();
    }
    *start = (thread_start){function, argument};
    HANDLE thread = SYSTEM(
        CreateThread(NULL, STACK_SIZE, run_thread, start, STACK_SIZE_PARAM_IS_A_RESERVATION, NULL),
        NULL, ERROR_MAX_THRDS_REACHED);
    if (thread == NULL) {
        int status = wing_last_error();
        free(start);
        return status;
    }
    CloseHandle(thread);
    return 0;
}

/* The system also calls this for the last thread of a process that ends, when nothing is left to be
   told. It may hold a lock of its own over all such calls, for which another thread that ends waits
   with the lock of the loader: that one must not be asked for here. */
static void NTAPI thread_ends(void *value)
{
    void (*hook)(void *) = atomic_load_explicit(&exit_hook, memory_order_acquire);
    if (value != NULL && hook != NULL && !wing_is_ending()) {
        hook(value);
    }
}

int platform_thread_at_exit(void (*hook)(void *value))
{
    int status = 0;
    (void) wing_is_ending(); /* the first call, which must not be in thread_ends */
    /* Release: pairs with the load in thread_ends. */
    atomic_store_explicit(&exit_hook, hook, memory_order_release);
    AcquireSRWLockExclusive(&exit_lock);
    if (atomic_load_explicit(&exit_index, memory_order_relaxed) == FLS_OUT_OF_INDEXES) {
        DWORD index = SYSTEM(FlsAlloc(thread_ends), FLS_OUT_OF_INDEXES, ERROR_NOT_ENOUGH_MEMORY);
        if (index == FLS_OUT_OF_INDEXES) {
            status = wing_last_error();
        }
        /* Release: pairs with the load in platform_thread_set. */
        atomic_store_explicit(&exit_index, index, memory_order_release);
    }
    ReleaseSRWLockExclusive(&exit_lock);
    return status;
}

void platform_thread_set(void *value)
{
    DWORD index = atomic_load_explicit(&exit_index, memory_order_acquire);
    if (index != FLS_OUT_OF_INDEXES) {
        FlsSetValue(index, value);
    }
}

_Static_assert(sizeof(SRWLOCK) <= sizeof(platform_lock), "it must fit");

void platform_lock_acquire(platform_lock *lock)
{
    AcquireSRWLockExclusive((SRWLOCK *) (void *) lock->opaque);
}

void platform_lock_release(platform_lock *lock)
{
    ReleaseSRWLockExclusive((SRWLOCK *) (void *) lock->opaque);
}
