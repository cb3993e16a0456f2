/* Waiting. Windows has no way to wait for a word that works between processes, so every thread has
   a parker: an event with a name that follows from the family and the thread's number. */
#include "win32/wing.h"

#include <stdio.h>

enum { PARKER_NAME_SIZE = 10 + 16 + 1 + 10 + 1 };

bool platform_has_word_wait(void)
{
    return false;
}

int platform_word_wait(_Atomic uint32_t *word, uint32_t expected, int64_t timeout_ns)
{
    (void) word;
    (void) expected;
    (void) timeout_ns;
    return KIN_E_UNSUPPORTED;
}

uint32_t platform_word_wake(_Atomic uint32_t *word, uint32_t count)
{
    (void) word;
    (void) count;
    return 0;
}

/* The system counts in milliseconds and may come back a little early: the clock decides. */
int wing_wait(HANDLE object, int64_t timeout_ns)
{
    const int64_t millisecond = 1000000;
    const DWORD longest = 1u << 30;
    int64_t start = timeout_ns > 0 ? platform_clock_ns() : 0;
    int64_t left = timeout_ns;
    for (;;) {
        DWORD wait = INFINITE;
        if (timeout_ns >= 0) {
            int64_t rounded = left / millisecond + (left % millisecond != 0);
            wait = rounded < (int64_t) longest ? (DWORD) rounded : longest;
        }
        switch (SYSTEM(WaitForSingleObject(object, wait), WAIT_FAILED, ERROR_INVALID_HANDLE)) {
        case WAIT_OBJECT_0:
            return 0;
        case WAIT_ABANDONED:
            return KIN_OWNER_DIED;
        case WAIT_TIMEOUT:
            break;
        default:
            return wing_last_error();
        }
        if (timeout_ns >= 0) {
            left = timeout_ns > 0 ? timeout_ns - (platform_clock_ns() - start) : 0;
            if (left <= 0) {
                return KIN_E_TIMEOUT;
            }
        }
    }
}

static void parker_name(wchar_t *name, uint64_t family, uint32_t number)
{
    swprintf(name, PARKER_NAME_SIZE, L"Local\\kin-%08lx%08lx-%lu", (unsigned long) (family >> 32),
             (unsigned long) (family & 0xffffffff), (unsigned long) number);
}

int platform_parker_create(platform_parker *parker, platform_parker_shared *shared, uint64_t family,
                           uint32_t number)
{
    wchar_t name[PARKER_NAME_SIZE];
    parker_name(name, family, number);
    HANDLE event = SYSTEM(CreateEventW(NULL, FALSE, FALSE, name), NULL, ERROR_NO_SYSTEM_RESOURCES);
    if (event == NULL) {
        return wing_last_error();
    }
    /* It exists already if somebody still has the event of a thread before; that handle stays good
       for this one. */
    if (!SYSTEM(ResetEvent(event), FALSE, ERROR_INVALID_HANDLE)) {
        int status = wing_last_error();
        CloseHandle(event);
        return status;
    }
    *parker = (platform_parker){shared, (intptr_t) event};
    return 0;
}

int platform_parker_open(platform_parker *parker, platform_parker_shared *shared, uint64_t family,
                         uint32_t number)
{
    wchar_t name[PARKER_NAME_SIZE];
    parker_name(name, family, number);
    HANDLE event = SYSTEM(OpenEventW(EVENT_MODIFY_STATE, FALSE, name), NULL, ERROR_FILE_NOT_FOUND);
    if (event == NULL) {
        return wing_last_error();
    }
    *parker = (platform_parker){shared, (intptr_t) event};
    return 0;
}

int platform_park(platform_parker *parker, int64_t timeout_ns)
{
    return wing_wait((HANDLE) parker->object, timeout_ns);
}

void platform_unpark(platform_parker *parker)
{
    SetEvent((HANDLE) parker->object);
}

void platform_parker_close(platform_parker *parker)
{
    CloseHandle((HANDLE) parker->object);
    *parker = (platform_parker){NULL, PLATFORM_NONE};
}
