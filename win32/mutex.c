/* The lock whose owner may die: a mutex of the system, found by a random name that is kept in
   shared memory. The system gives the mutex of a dead owner to the next one with WAIT_ABANDONED.

   A named mutex goes with its last handle. Should a child be alone in the world before it has
   opened it, its open makes the mutex anew; that the one before was held then is told by `held`,
   which the owner sets and clears. A death between these stores and the system's own is told by
   WAIT_ABANDONED, at worst for nothing. */
#include "win32/wing.h"

#include <stdio.h>

#define NAME_PREFIX "Local\\kin-"
enum { NAME_SIZE = 10 + 32 + 1, NAME_ATTEMPTS = 8 };

typedef struct shared_part {
    _Atomic uint32_t held; /* written only by the owner of the mutex, read by the next one */
    char name[NAME_SIZE];  /* written once, before anybody else knows of it */
} shared_part;

_Static_assert(sizeof(shared_part) <= sizeof(platform_mutex_shared), "it must fit");

static shared_part *part_of(platform_mutex_shared *shared)
{
    return (shared_part *) (void *) shared->opaque;
}

static void widen_name(wchar_t *wide, const char *name)
{
    size_t length = 0;
    for (; length < NAME_SIZE - 1 && name[length] != '\0'; length++) {
        wide[length] = (unsigned char) name[length];
    }
    wide[length] = L'\0';
}

static HANDLE open_or_create(const char *name)
{
    wchar_t wide[NAME_SIZE];
    widen_name(wide, name);
    SetLastError(ERROR_SUCCESS);
    return SYSTEM(CreateMutexW(NULL, FALSE, wide), NULL, ERROR_NO_SYSTEM_RESOURCES);
}

int platform_mutex_create(platform_mutex *mutex, platform_mutex_shared *shared)
{
    shared_part *part = part_of(shared);
    for (int attempt = 0; attempt < NAME_ATTEMPTS; attempt++) {
        uint64_t random[2];
        int status = platform_random(random, sizeof random);
        if (status != 0) {
            return status;
        }
        snprintf(part->name, sizeof part->name, NAME_PREFIX "%08lx%08lx%08lx%08lx",
                 (unsigned long) (random[0] >> 32), (unsigned long) (random[0] & 0xffffffff),
                 (unsigned long) (random[1] >> 32), (unsigned long) (random[1] & 0xffffffff));
        HANDLE object = open_or_create(part->name);
        if (object != NULL && GetLastError() != ERROR_ALREADY_EXISTS) {
            *mutex = (platform_mutex){shared, (intptr_t) object};
            return 0;
        }
        if (object == NULL && GetLastError() != ERROR_INVALID_HANDLE) {
            return wing_last_error();
        }
        /* Somebody has something of that name. */
        if (object != NULL) {
            CloseHandle(object);
        }
    }
    return KIN_E_SYSTEM;
}

int platform_mutex_open(platform_mutex *mutex, platform_mutex_shared *shared)
{
    HANDLE object = open_or_create(part_of(shared)->name);
    if (object == NULL) {
        return wing_last_error();
    }
    *mutex = (platform_mutex){shared, (intptr_t) object};
    return 0;
}

/* Under Wine a killed thread may run on for a moment after a waiter was given its mutex. The server
   that stops it answers nothing else before it has done so: to ask it something is to wait for
   it. */
static void await_stop(HANDLE object)
{
    DWORD flags;
    GetHandleInformation(object, &flags);
}

int platform_mutex_lock(platform_mutex *mutex)
{
    shared_part *part = part_of(mutex->shared);
    int status = wing_wait((HANDLE) mutex->object, -1);
    if (status < 0) {
        return status;
    }
    if (status == KIN_OWNER_DIED) {
        await_stop((HANDLE) mutex->object);
    }
    /* Relaxed: the system's mutex orders it. */
    if (atomic_exchange_explicit(&part->held, 1, memory_order_relaxed) != 0) {
        return KIN_OWNER_DIED;
    }
    return status;
}

void platform_mutex_unlock(platform_mutex *mutex)
{
    atomic_store_explicit(&part_of(mutex->shared)->held, 0, memory_order_relaxed);
    ReleaseMutex((HANDLE) mutex->object);
}

void platform_mutex_close(platform_mutex *mutex)
{
    CloseHandle((HANDLE) mutex->object);
    *mutex = (platform_mutex){NULL, PLATFORM_NONE};
}
