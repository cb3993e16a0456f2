/* All that descends from some processes: they are in a job, which what they start is born into. Its
   name is there for other members of the family, as long as one of them has it open. */
#include "win32/wing.h"

#include <stdlib.h>

enum { JOB_NAME_SIZE = 64 };

bool platform_group_has_leaders(void)
{
    return false;
}

int platform_group_open(intptr_t *object, uint64_t family, uint64_t number)
{
    wchar_t name[JOB_NAME_SIZE];
    swprintf(name, JOB_NAME_SIZE, L"Local\\kin-group-%08lx%08lx-%08lx%08lx",
             (unsigned long) (family >> 32), (unsigned long) (family & 0xffffffff),
             (unsigned long) (number >> 32), (unsigned long) (number & 0xffffffff));
    HANDLE job = SYSTEM(CreateJobObjectW(NULL, name), NULL, ERROR_NO_SYSTEM_RESOURCES);
    if (job == NULL) {
        return wing_last_error();
    }
    *object = (intptr_t) job;
    return 0;
}

void platform_group_close(intptr_t object)
{
    if (object != PLATFORM_NONE) {
        CloseHandle((HANDLE) object);
    }
}

int platform_group_list(const platform_group *group, uint64_t **pids, size_t *count)
{
    *pids = NULL;
    *count = 0;
    for (size_t capacity = 64;; capacity *= 2) {
        size_t size = sizeof(JOBOBJECT_BASIC_PROCESS_ID_LIST) + capacity * sizeof(ULONG_PTR);
        JOBOBJECT_BASIC_PROCESS_ID_LIST *list = WING_ALLOCATE(size);
        if (list == NULL) {
            return wing_last_error();
        }
        BOOL told =
            SYSTEM(QueryInformationJobObject((HANDLE) group->object, JobObjectBasicProcessIdList,
                                             list, (DWORD) size, NULL),
                   FALSE, ERROR_ACCESS_DENIED);
        DWORD error = told ? ERROR_SUCCESS : GetLastError();
        if (told && list->NumberOfProcessIdsInList >= list->NumberOfAssignedProcesses) {
            size_t found = list->NumberOfProcessIdsInList;
            uint64_t *made = found > 0 ? WING_ALLOCATE(found * sizeof *made) : NULL;
            for (size_t i = 0; i < found && made != NULL; i++) {
                made[i] = list->ProcessIdList[i];
            }
            free(list);
            *pids = made;
            *count = made != NULL ? found : 0;
            return found > 0 && made == NULL ? wing_last_error() : 0;
        }
        free(list);
        if (!told && error != ERROR_MORE_DATA) {
            return wing_error(error);
        }
    }
}

int platform_group_kill(const platform_group *group)
{
    return SYSTEM(TerminateJobObject((HANDLE) group->object, WING_KILLED), FALSE,
                  ERROR_ACCESS_DENIED)
               ? 0
               : wing_last_error();
}

/* Only a process that is in the job: another may have the number by now. */
static int end_one(HANDLE job, DWORD pid)
{
    BOOL inside = FALSE;
    HANDLE process =
        SYSTEM(OpenProcess(PROCESS_TERMINATE | PROCESS_QUERY_INFORMATION | SYNCHRONIZE, FALSE, pid),
               NULL, ERROR_ACCESS_DENIED);
    if (process == NULL) {
        DWORD error = GetLastError();
        return error == ERROR_INVALID_PARAMETER ? 0 : wing_error(error);
    }
    int status = 0;
    if (!SYSTEM(IsProcessInJob(process, job, &inside), FALSE, ERROR_ACCESS_DENIED) ||
        (inside &&
         !SYSTEM(TerminateProcess(process, WING_TERMINATED), FALSE, ERROR_ACCESS_DENIED))) {
        DWORD error = GetLastError();
        status = WaitForSingleObject(process, 0) == WAIT_OBJECT_0 ? 0 : wing_error(error);
    }
    CloseHandle(process);
    return status;
}

int platform_group_ask(const platform_group *group, const uint64_t *pids, size_t count)
{
    int status = 0;
    for (size_t i = 0; i < count; i++) {
        int ended = end_one((HANDLE) group->object, (DWORD) pids[i]);
        status = ended < 0 ? ended : status;
    }
    return status;
}
