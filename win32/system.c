/* Clock, cores, chance and environment. */
#include "win32/wing.h"

#include <ntsecapi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What Windows 10 names CREATE_WAITABLE_TIMER_HIGH_RESOLUTION; an older one refuses it. */
#define PRECISE_TIMER 0x00000002

/* What an outer system puts into JOBOBJECT_CPU_RATE_CONTROL_INFORMATION: parts of all processors in
   1/10000. */
enum { RATE_WHOLE = 10000 };

/* The performance counter is the same in all processes and never goes back. */
int64_t platform_clock_ns(void)
{
    static _Atomic int64_t cached_frequency;
    const int64_t second = 1000000000;
    LARGE_INTEGER counter;
    /* Relaxed: every thread would store the same number, and it says nothing about other memory. */
    int64_t frequency = atomic_load_explicit(&cached_frequency, memory_order_relaxed);
    if (frequency == 0) {
        LARGE_INTEGER read;
        QueryPerformanceFrequency(&read);
        frequency = read.QuadPart;
        atomic_store_explicit(&cached_frequency, frequency, memory_order_relaxed);
    }
    QueryPerformanceCounter(&counter);
    return counter.QuadPart / frequency * second +
           counter.QuadPart % frequency * second / frequency;
}

int64_t platform_wall_clock_ns(void)
{
    const int64_t from_1601_to_1970 = INT64_C(116444736000000000); /* in units of 100 ns */
    FILETIME now;
    GetSystemTimeAsFileTime(&now);
    int64_t units = (int64_t) ((uint64_t) now.dwHighDateTime << 32 | now.dwLowDateTime);
    return (units - from_1601_to_1970) * 100;
}

static void sleep_with_timer(HANDLE timer, int64_t duration_ns)
{
    /* Negative: from now on; in units of 100 ns. */
    LARGE_INTEGER due = {.QuadPart = -(duration_ns / 100 + 1)};
    if (!SetWaitableTimer(timer, &due, 0, NULL, NULL, FALSE) ||
        WaitForSingleObject(timer, INFINITE) != WAIT_OBJECT_0) {
        Sleep(1);
    }
}

void platform_sleep_ns(int64_t duration_ns)
{
    const int64_t millisecond = 1000000;
    const int64_t longest = INT64_C(86400) * 1000 * millisecond;
    if (duration_ns == 0) {
        return;
    }
    if (duration_ns < 0) {
        for (;;) {
            Sleep(INFINITE);
        }
    }
    HANDLE timer = SYSTEM(CreateWaitableTimerExW(NULL, NULL, PRECISE_TIMER, TIMER_ALL_ACCESS), NULL,
                          ERROR_INVALID_PARAMETER);
    int64_t start = platform_clock_ns();
    for (int64_t left = duration_ns; left > 0; left = duration_ns - (platform_clock_ns() - start)) {
        int64_t step = left < longest ? left : longest;
        if (timer != NULL) {
            sleep_with_timer(timer, step);
        } else {
            Sleep((DWORD) (step / millisecond + 1));
        }
    }
    if (timer != NULL) {
        CloseHandle(timer);
    }
}

/* The part of all processors that a hard limit of this process's innermost job leaves, in 1/10000.
   */
static DWORD allowed_rate(void)
{
    JOBOBJECT_CPU_RATE_CONTROL_INFORMATION rate = {0};
    const DWORD hard = JOB_OBJECT_CPU_RATE_CONTROL_ENABLE | JOB_OBJECT_CPU_RATE_CONTROL_HARD_CAP;
    if (!SYSTEM(QueryInformationJobObject(NULL, JobObjectCpuRateControlInformation, &rate,
                                          sizeof rate, NULL),
                FALSE, ERROR_ACCESS_DENIED) ||
        (rate.ControlFlags & hard) != hard || rate.CpuRate == 0 || rate.CpuRate > RATE_WHOLE) {
        return RATE_WHOLE;
    }
    return rate.CpuRate;
}

/* An affinity mask speaks of one group of at most 64 processors. A process that may use all of its
   group is not restricted at all, and the system spreads its children over all groups. */
int platform_usable_cores(void)
{
    DWORD_PTR mask = 0;
    DWORD_PTR group = 0;
    DWORD all = GetActiveProcessorCount(ALL_PROCESSOR_GROUPS);
    DWORD usable = all;
    if (SYSTEM(GetProcessAffinityMask(GetCurrentProcess(), &mask, &group), FALSE,
               ERROR_ACCESS_DENIED) &&
        mask != 0 && (GetActiveProcessorGroupCount() <= 1 || mask != group)) {
        usable = (DWORD) __builtin_popcountll(mask);
    }
    uint64_t limit = ((uint64_t) all * allowed_rate() + RATE_WHOLE - 1) / RATE_WHOLE;
    if (usable > limit) {
        usable = (DWORD) limit;
    }
    return usable > 0 ? (int) usable : 1;
}

int platform_random(void *bytes, size_t size)
{
    const size_t largest = (size_t) 1 << 30;
    unsigned char *at = bytes;
    while (size > 0) {
        size_t step = size < largest ? size : largest;
        if (!SYSTEM(RtlGenRandom(at, (ULONG) step), FALSE, ERROR_NOT_READY)) {
            return wing_last_error();
        }
        at += step;
        size -= step;
    }
    return 0;
}

/* Each C runtime in the process has a copy of the environment of its own; getenv reads that. */
static void forget_in_runtimes(const wchar_t *name)
{
    static const wchar_t *const runtimes[] = {L"ucrtbase.dll", L"ucrtbased.dll", L"msvcrt.dll"};
    typedef int(__cdecl * put_function)(const wchar_t *, const wchar_t *);
    for (size_t i = 0; i < sizeof runtimes / sizeof runtimes[0]; i++) {
        put_function put = (put_function) wing_find_function(runtimes[i], "_wputenv_s");
        if (put != NULL) {
            put(name, L"");
        }
    }
}

static int read_variable(const wchar_t *name, wchar_t **value)
{
    DWORD capacity = 128;
    wchar_t *buffer = NULL;
    for (;;) {
        wchar_t *larger = WING_RESIZE(buffer, capacity * sizeof *buffer);
        if (larger == NULL) {
            int status = wing_last_error();
            free(buffer);
            return status;
        }
        buffer = larger;
        SetLastError(ERROR_SUCCESS);
        DWORD length =
            SYSTEM(GetEnvironmentVariableW(name, buffer, capacity), 0u, ERROR_NOT_ENOUGH_MEMORY);
        if (length == 0 && GetLastError() != ERROR_SUCCESS) {
            int status = wing_last_error();
            free(buffer);
            return status;
        }
        if (length < capacity) {
            *value = buffer;
            return 0;
        }
        capacity = length + 1;
    }
}

static int copy_variable(const wchar_t *name, char *buffer, size_t size)
{
    wchar_t *value = NULL;
    int status = read_variable(name, &value);
    if (status == 0) {
        int capacity = size < INT32_MAX ? (int) size : INT32_MAX;
        if (capacity == 0 || WideCharToMultiByte(CP_UTF8, WC_ERR_INVALID_CHARS, value, -1, buffer,
                                                 capacity, NULL, NULL) == 0) {
            status = KIN_E_INVALID; /* it is there, and not for us */
        }
    }
    free(value);
    return status;
}

/* No program of Windows runs with more rights than the one that starts it and with that one's
   environment. */
int platform_environment_take(const char *name, char *buffer, size_t size)
{
    wchar_t *wide = NULL;
    int status = wing_wide(name, &wide);
    if (status != 0) {
        return status;
    }
    status = copy_variable(wide, buffer, size);
    if (status == 0 || status == KIN_E_INVALID) {
        SetEnvironmentVariableW(wide, NULL);
        forget_in_runtimes(wide);
    }
    free(wide);
    return status == KIN_E_INVALID ? KIN_E_NOT_FOUND : status;
}

int platform_environment_read(const char *name, char *buffer, size_t size)
{
    wchar_t *wide = NULL;
    int status = wing_wide(name, &wide);
    if (status != 0) {
        return status;
    }
    status = copy_variable(wide, buffer, size);
    free(wide);
    return status == KIN_E_INVALID ? KIN_E_NOT_FOUND : status;
}

void platform_write_error(const char *text, size_t size)
{
    DWORD written;
    HANDLE error = GetStdHandle(STD_ERROR_HANDLE);
    if (error != NULL && error != INVALID_HANDLE_VALUE) {
        (void) SYSTEM(WriteFile(error, text, (DWORD) size, &written, NULL), FALSE,
                      ERROR_WRITE_FAULT);
    }
}

void platform_flush_output(void)
{
    (void) fflush(stdout);
    (void) fflush(stderr);
}
