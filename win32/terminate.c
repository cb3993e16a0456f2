/* Being asked to end. Windows has no signal for it: a process that wants to be asked has a
   semaphore with a name that follows from its identity, and whoever wants it to end counts that up.
   It is made when requests are first caught, and stays: when they are not caught any more it is
   this process itself that answers them as a request to others is answered. So none is lost in
   between, and whoever is killed at whatever point leaves nothing behind. */
#include "win32/wing.h"

#include <limits.h>
#include <stdio.h>

enum { NAME_SIZE = 64 };

static HANDLE requests; /* made once, never closed */
static bool has_console_handler;

static void name_requests(wchar_t *name, const platform_identity *process)
{
    swprintf(name, NAME_SIZE, L"Local\\kin-terminate-%08lx-%08lx%08lx",
             (unsigned long) process->pid, (unsigned long) (process->stamp >> 32),
             (unsigned long) (process->stamp & 0xffffffff));
}

int wing_ask_to_end(const platform_identity *identity)
{
    wchar_t name[NAME_SIZE];
    name_requests(name, identity);
    HANDLE theirs = SYSTEM(OpenSemaphoreW(SEMAPHORE_MODIFY_STATE, FALSE, name), NULL,
                           ERROR_NO_SYSTEM_RESOURCES);
    if (theirs == NULL) {
        DWORD error = GetLastError();
        return error == ERROR_FILE_NOT_FOUND ? KIN_E_NOT_FOUND : wing_error(error);
    }
    int status = 0;
    if (!SYSTEM(ReleaseSemaphore(theirs, 1, NULL), FALSE, ERROR_INVALID_HANDLE) &&
        GetLastError() != ERROR_TOO_MANY_POSTS) {
        status = wing_last_error();
    }
    CloseHandle(theirs);
    return status;
}

/* Runs in a thread of the system's. When it returns from anything but Ctrl+Break the system ends
   the process: what there is of time is the handler's. */
static BOOL WINAPI console_event(DWORD event)
{
    if (event == CTRL_C_EVENT) {
        return FALSE;
    }
    ReleaseSemaphore(requests, 1, NULL);
    if (event != CTRL_BREAK_EVENT) {
        Sleep(INFINITE);
    }
    return TRUE;
}

int platform_terminate_catch(void)
{
    if (requests == NULL) {
        wchar_t name[NAME_SIZE];
        platform_identity self;
        int status = platform_process_self(&self);
        if (status != 0) {
            return status;
        }
        name_requests(name, &self);
        requests =
            SYSTEM(CreateSemaphoreW(NULL, 0, LONG_MAX, name), NULL, ERROR_NO_SYSTEM_RESOURCES);
        if (requests == NULL) {
            return wing_last_error();
        }
    }
    /* Without a console there is nothing that could come from it. */
    if (!has_console_handler) {
        has_console_handler =
            SYSTEM(SetConsoleCtrlHandler(console_event, TRUE), FALSE, ERROR_INVALID_HANDLE);
    }
    return 0;
}

void platform_terminate_release(void)
{
    if (has_console_handler) {
        SetConsoleCtrlHandler(console_event, FALSE);
        has_console_handler = false;
    }
}

int platform_terminate_wait(int64_t timeout_ns)
{
    int status = wing_wait(requests, timeout_ns);
    return status <= 0 ? status : 0;
}

void platform_terminate_default(void)
{
    platform_terminate_now();
}

_Noreturn void platform_terminate_now(void)
{
    platform_process_exit_now((int) WING_TERMINATED);
}

void platform_terminate_reset_copy(void)
{
    /* Nobody can fork. */
}
