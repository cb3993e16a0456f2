#include "core/error.h"

_Thread_local PLATFORM_FAST_TLS int64_t error_of_system;

void platform_note_error(int64_t system_error)
{
    error_of_system = system_error;
}

int64_t kin_system_error(void)
{
    return error_of_system == ERROR_HAS_DETAIL ? 0 : error_of_system;
}

static _Thread_local char detail[ERROR_DETAIL_SIZE];

char *error_detail_text(void)
{
    return detail;
}

void error_set_detail(void)
{
    error_of_system = ERROR_HAS_DETAIL;
}

const char *kin_error_detail(void)
{
    return error_of_system == ERROR_HAS_DETAIL ? detail : "";
}

static const struct {
    int status;
    const char *name;
    const char *text;
} statuses[] = {
    {KIN_OK, "KIN_OK", "success"},
    {KIN_OWNER_DIED, "KIN_OWNER_DIED", "acquired; the owner before died while it held it"},
    {KIN_EXISTED, "KIN_EXISTED", "opened; it was there already"},
    {KIN_E_INVALID, "KIN_E_INVALID", "an argument is not valid"},
    {KIN_E_HANDLE, "KIN_E_HANDLE",
     "the handle is stale, forged, of another kind or of another family"},
    {KIN_E_NOMEM, "KIN_E_NOMEM", "no memory is left"},
    {KIN_E_TIMEOUT, "KIN_E_TIMEOUT", "the time is over"},
    {KIN_E_INIT, "KIN_E_INIT", "kin_init has not been called in this process"},
    {KIN_E_NO_INIT, "KIN_E_NO_INIT", "the child ended without calling kin_init"},
    {KIN_E_FUNCTION, "KIN_E_FUNCTION",
     "the function is not in the child: another build, or a missing module"},
    {KIN_E_NOT_FOUND, "KIN_E_NOT_FOUND", "it does not exist"},
    {KIN_E_PERMISSION, "KIN_E_PERMISSION", "the system does not permit it"},
    {KIN_E_DESCRIPTORS, "KIN_E_DESCRIPTORS", "no descriptor or system handle is left"},
    {KIN_E_PROCESS_LIMIT, "KIN_E_PROCESS_LIMIT", "there is no room for another process"},
    {KIN_E_THREAD_LIMIT, "KIN_E_THREAD_LIMIT", "there is no room for another thread"},
    {KIN_E_SYSTEM, "KIN_E_SYSTEM", "the system failed"},
    {KIN_E_UNSUPPORTED, "KIN_E_UNSUPPORTED", "this system cannot do it"},
    {KIN_E_STATE, "KIN_E_STATE", "not possible in the present state"},
    {KIN_E_BUSY, "KIN_E_BUSY", "it is in use"},
    {KIN_E_CLOSED, "KIN_E_CLOSED", "it is closed, or the other side is gone"},
    {KIN_E_DESTROYED, "KIN_E_DESTROYED", "destroyed while the call waited for it"},
    {KIN_E_WORKER_DIED, "KIN_E_WORKER_DIED", "the worker that ran the task died"},
    {KIN_E_TASK, "KIN_E_TASK", "the task reported an error"},
    {KIN_E_POOL_DIED, "KIN_E_POOL_DIED", "the pool has lost the process that runs it"},
    {KIN_E_ENDED, "KIN_E_ENDED", "the process has ended"},
    {KIN_E_RUNNING, "KIN_E_RUNNING", "the process has not ended yet"},
    {KIN_E_VERSION, "KIN_E_VERSION", "the family runs another version of kin"},
    {KIN_E_ATTACH, "KIN_E_ATTACH", "the child could not join the family that started it"},
    {KIN_E_TOO_SMALL, "KIN_E_TOO_SMALL", "the buffer is too small"},
    {KIN_E_BROKEN, "KIN_E_BROKEN", "broken by the death of a party to it"},
    {KIN_E_DEADLOCK, "KIN_E_DEADLOCK", "to wait would never end"},
    {KIN_E_CANCELLED, "KIN_E_CANCELLED", "cancelled before it ran"},
    {KIN_E_NOT_OWNER, "KIN_E_NOT_OWNER", "the caller does not own it"},
    {KIN_E_LIMIT, "KIN_E_LIMIT", "a limit is reached"},
    {KIN_E_EXISTS, "KIN_E_EXISTS", "it exists already"},
};

enum { STATUSES = sizeof statuses / sizeof *statuses };

const char *kin_strerror(int status)
{
    for (int i = 0; i < STATUSES; i++) {
        if (statuses[i].status == status) {
            return statuses[i].text;
        }
    }
    return "not a status of kin";
}

const char *kin_error_name(int status)
{
    for (int i = 0; i < STATUSES; i++) {
        if (statuses[i].status == status) {
            return statuses[i].name;
        }
    }
    return "KIN_E_UNKNOWN";
}
