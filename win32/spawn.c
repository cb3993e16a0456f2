/* Starting processes. A child inherits the memory object and the standard handles and nothing else,
   by PROC_THREAD_ATTRIBUTE_HANDLE_LIST; the memory object, and what else it is to inherit, is
   inheritable only while spawn_lock is held.

   Daemons are in one job of this process, whose handle is never closed: the system closes it when
   this process ends, in whatever way, and then kills them. The job lets their own children out,
   which have their own parent to follow.

   CreateProcess makes a process, and then lets it run. Were this process killed in between, the
   child would stand still for ever; so others too are born into such a job, which is disarmed when
   they run. */
#include "win32/setting.h"
#include "win32/wing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* PROC_THREAD_ATTRIBUTE_JOB_LIST of Windows 10. */
#define JOB_LIST_ATTRIBUTE 0x0002000d

enum { STANDARD_HANDLES = 3, ATTRIBUTES = 2, JOB_NAME_SIZE = 64, CREATE_ATTEMPTS = 3 };

/* All that CreateProcessW needs. */
typedef struct launch {
    wchar_t *program;
    wchar_t *command_line;
    wchar_t *environment;
    wchar_t *directory;
    STARTUPINFOEXW startup;
    HANDLE copies[STANDARD_HANDLES]; /* inheritable ones of standard handles that are not */
    HANDLE *inherited;
    size_t inherited_count;
    HANDLE jobs[2];
    size_t job_count;
    HANDLE *opened; /* those that are inheritable for the moment, under spawn_lock */
    size_t opened_count;
} launch;

static SRWLOCK spawn_lock = SRWLOCK_INIT;
static HANDLE daemon_job; /* made with the first daemon, never closed; under spawn_lock */

/* What every runtime takes as it is. The rest is quoted, also so that none expands wildcards. */
static bool is_plain(const wchar_t *argument)
{
    return argument[0] != L'\0' && wcspbrk(argument, L" \t\n\v\"'`*?[]{}") == NULL;
}

/* Backslashes count only before a quote. */
static bool append_quoted(text *to, const wchar_t *argument)
{
    if (is_plain(argument)) {
        return text_append(to, argument, wcslen(argument));
    }
    bool good = text_append(to, L"\"", 1);
    while (good && *argument != L'\0') {
        size_t slashes = wcsspn(argument, L"\\");
        size_t plain = wcscspn(argument + slashes, L"\\\"");
        bool doubled = argument[slashes] == L'\0' || argument[slashes] == L'"';
        good =
            text_append(to, argument, slashes) && (!doubled || text_append(to, argument, slashes));
        argument += slashes;
        if (good && *argument == L'"') {
            good = text_append(to, L"\\\"", 2);
            argument++;
        } else {
            good = good && text_append(to, argument, plain);
            argument += plain;
        }
    }
    return good && text_append(to, L"\"", 1);
}

/* The name of the program is read without escapes, so it cannot hold a quote; no file name does. */
static bool append_program(text *to, const wchar_t *argument)
{
    return text_append(to, L"\"", 1) && text_append(to, argument, wcslen(argument)) &&
           text_append(to, L"\"", 1);
}

static int make_command_line(char *const *arguments, wchar_t **command_line)
{
    text line = {0};
    int status = 0;
    if (arguments == NULL) {
        const wchar_t *own = GetCommandLineW();
        if (!text_append(&line, own, wcslen(own) + 1)) {
            return wing_last_error();
        }
        *command_line = line.data;
        return 0;
    }
    for (size_t i = 0; arguments[i] != NULL && status == 0; i++) {
        wchar_t *argument;
        status = wing_wide_argument(arguments[i], &argument);
        if (status != 0) {
            break;
        }
        if (i == 0 && wcschr(argument, L'"') != NULL) {
            status = KIN_E_INVALID;
        } else if ((i > 0 && !text_append(&line, L" ", 1)) ||
                   !(i == 0 ? append_program(&line, argument) : append_quoted(&line, argument))) {
            status = wing_last_error();
        }
        free(argument);
    }
    if (status == 0 && !text_append(&line, L"", 1)) {
        status = wing_last_error();
    }
    if (status != 0) {
        free(line.data);
        return status;
    }
    *command_line = line.data;
    return 0;
}

/* A name is looked for as CreateProcess does; a path is this process's, not the child's. */
static int find_program(const char *name, wchar_t **program)
{
    wchar_t *wide;
    int status = wing_wide(name, &wide);
    if (status != 0 || wide[0] == L'\0' || wcscspn(wide, L"/\\:") < wcslen(wide)) {
        *program = status == 0 ? wide : NULL;
        return status;
    }
    DWORD length =
        SYSTEM(SearchPathW(NULL, wide, L".exe", 0, NULL, NULL), 0u, ERROR_FILE_NOT_FOUND);
    *program = length > 0 ? WING_ALLOCATE(length * sizeof **program) : NULL;
    if (*program == NULL || SearchPathW(NULL, wide, L".exe", length, *program, NULL) >= length) {
        status = wing_last_error();
        free(*program);
        *program = NULL;
    }
    free(wide);
    return status;
}

static int prepare_text(launch *start, const platform_spawn *spawn)
{
    int status = spawn->program != NULL ? find_program(spawn->program, &start->program)
                                        : wing_module_path(NULL, &start->program);
    if (status == 0 && spawn->setting != NULL && spawn->setting->directory != NULL) {
        status = wing_wide(spawn->setting->directory, &start->directory);
    }
    if (status == 0) {
        status = make_command_line(spawn->arguments, &start->command_line);
    }
    if (status == 0) {
        status =
            setting_environment(&start->environment, spawn->setting, spawn->variable, spawn->value);
    }
    return status;
}

/* The system refuses a list that names a handle twice. */
static void add_inherited(launch *start, HANDLE handle)
{
    for (size_t i = 0; i < start->inherited_count; i++) {
        if (start->inherited[i] == handle) {
            return;
        }
    }
    start->inherited[start->inherited_count++] = handle;
}

/* What the child gets for one standard handle of this process; NULL where there is none. */
static int pass_standard_handle(launch *start, size_t index, HANDLE own, HANDLE *passed)
{
    DWORD flags;
    *passed = NULL;
    if (own == NULL || own == INVALID_HANDLE_VALUE || !GetHandleInformation(own, &flags)) {
        return 0;
    }
    if ((flags & HANDLE_FLAG_INHERIT) == 0) {
        if (!SYSTEM(DuplicateHandle(GetCurrentProcess(), own, GetCurrentProcess(),
                                    &start->copies[index], 0, TRUE, DUPLICATE_SAME_ACCESS),
                    FALSE, ERROR_NO_SYSTEM_RESOURCES)) {
            return wing_last_error();
        }
        own = start->copies[index];
    }
    add_inherited(start, own);
    *passed = own;
    return 0;
}

/* Makes a handle inheritable for the moment, if it is not. */
static int open_handle(launch *start, HANDLE handle)
{
    DWORD flags;
    if (!GetHandleInformation(handle, &flags)) {
        return KIN_E_INVALID;
    }
    add_inherited(start, handle);
    if ((flags & HANDLE_FLAG_INHERIT) != 0) {
        return 0;
    }
    if (!SYSTEM(SetHandleInformation(handle, HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT), FALSE,
                ERROR_INVALID_HANDLE)) {
        return wing_last_error();
    }
    start->opened[start->opened_count++] = handle;
    return 0;
}

static void close_handles_again(launch *start)
{
    while (start->opened_count > 0) {
        SetHandleInformation(start->opened[--start->opened_count], HANDLE_FLAG_INHERIT, 0);
    }
}

static int prepare_streams(launch *start, const platform_setting *setting)
{
    static const DWORD own[] = {STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, STD_ERROR_HANDLE};
    STARTUPINFOW *info = &start->startup.StartupInfo;
    HANDLE *passed[] = {&info->hStdInput, &info->hStdOutput, &info->hStdError};
    int status = 0;
    info->cb = sizeof start->startup;
    info->dwFlags = STARTF_USESTDHANDLES;
    for (size_t i = 0; i < STANDARD_HANDLES && status == 0; i++) {
        bool given = setting != NULL && setting->streams[i] != PLATFORM_NONE;
        HANDLE handle = given ? (HANDLE) setting->streams[i] : GetStdHandle(own[i]);
        status = pass_standard_handle(start, i, handle, passed[i]);
    }
    return status;
}

/* Under spawn_lock. */
static int prepare_handles(launch *start, const platform_spawn *spawn)
{
    const platform_setting *setting = spawn->setting;
    size_t count = setting != NULL ? setting->handle_count : 0;
    start->inherited = WING_ALLOCATE((STANDARD_HANDLES + 1 + count) * sizeof *start->inherited);
    start->opened = WING_ALLOCATE((1 + count) * sizeof *start->opened);
    if (start->inherited == NULL || start->opened == NULL) {
        return wing_last_error();
    }
    int status = prepare_streams(start, setting);
    if (status == 0 && spawn->inherit != PLATFORM_NONE) {
        status = open_handle(start, (HANDLE) spawn->inherit);
    }
    for (size_t i = 0; i < count && status == 0; i++) {
        status = open_handle(start, (HANDLE) setting->handles[i]);
    }
    return status;
}

/* Makes a job that ends those in it when its last handle is closed; or no more, if not `deadly`. */
static bool set_deadly(HANDLE job, bool deadly)
{
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits = {0};
    limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_SILENT_BREAKAWAY_OK;
    if (deadly) {
        limits.BasicLimitInformation.LimitFlags |= JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
    }
    return SYSTEM(
        SetInformationJobObject(job, JobObjectExtendedLimitInformation, &limits, sizeof limits),
        FALSE, ERROR_ACCESS_DENIED);
}

/* For a child that is no daemon. Without one it is started all the same: NULL. */
static HANDLE make_birth_job(void)
{
    HANDLE job = SYSTEM(CreateJobObjectW(NULL, NULL), NULL, ERROR_NO_SYSTEM_RESOURCES);
    if (job != NULL && !set_deadly(job, true)) {
        CloseHandle(job);
        job = NULL;
    }
    return job;
}

/* One that cannot be disarmed is never closed. */
static void end_birth_job(HANDLE job)
{
    if (job != NULL && set_deadly(job, false)) {
        CloseHandle(job);
    }
}

/* The name is there for the daemons, which look whether they are in it. */
static void name_job(wchar_t *name, const platform_identity *owner)
{
    swprintf(name, JOB_NAME_SIZE, L"Local\\kin-daemons-%08lx-%08lx%08lx",
             (unsigned long) owner->pid, (unsigned long) (owner->stamp >> 32),
             (unsigned long) (owner->stamp & 0xffffffff));
}

/* Under spawn_lock. */
static int make_daemon_job(void)
{
    wchar_t name[JOB_NAME_SIZE];
    platform_identity self;
    if (daemon_job != NULL) {
        return 0;
    }
    int status = platform_process_self(&self);
    if (status != 0) {
        return status;
    }
    name_job(name, &self);
    HANDLE job = SYSTEM(CreateJobObjectW(NULL, name), NULL, ERROR_NO_SYSTEM_RESOURCES);
    if (job == NULL) {
        return wing_last_error();
    }
    if (!set_deadly(job, true)) {
        status = wing_last_error();
        CloseHandle(job);
        return status;
    }
    daemon_job = job;
    return 0;
}

/* Should the parent end meanwhile, the handle opened here is the last one, and ends this process
   when it is closed. */
bool wing_is_daemon_of(const platform_identity *parent)
{
    wchar_t name[JOB_NAME_SIZE];
    BOOL inside = FALSE;
    name_job(name, parent);
    HANDLE job = SYSTEM(OpenJobObjectW(JOB_OBJECT_QUERY, FALSE, name), NULL, ERROR_FILE_NOT_FOUND);
    if (job == NULL) {
        return false;
    }
    if (!SYSTEM(IsProcessInJob(GetCurrentProcess(), job, &inside), FALSE, ERROR_ACCESS_DENIED)) {
        inside = FALSE;
    }
    CloseHandle(job);
    return inside != FALSE;
}

/* Windows 10 starts a process in a job. Where that is refused, enter_job does it later. */
static int prepare_attributes(launch *start)
{
    SIZE_T size = 0;
    InitializeProcThreadAttributeList(NULL, ATTRIBUTES, 0, &size);
    LPPROC_THREAD_ATTRIBUTE_LIST list = WING_ALLOCATE(size);
    if (list == NULL) {
        return wing_last_error();
    }
    if (!SYSTEM(InitializeProcThreadAttributeList(list, ATTRIBUTES, 0, &size), FALSE,
                ERROR_NOT_ENOUGH_MEMORY)) {
        int status = wing_last_error();
        free(list);
        return status;
    }
    start->startup.lpAttributeList = list;
    if (start->inherited_count > 0 &&
        !SYSTEM(UpdateProcThreadAttribute(
                    list, 0, PROC_THREAD_ATTRIBUTE_HANDLE_LIST, start->inherited,
                    start->inherited_count * sizeof start->inherited[0], NULL, NULL),
                FALSE, ERROR_NOT_ENOUGH_MEMORY)) {
        return wing_last_error();
    }
    if (start->job_count > 0) {
        UpdateProcThreadAttribute(list, 0, JOB_LIST_ATTRIBUTE, start->jobs,
                                  start->job_count * sizeof start->jobs[0], NULL, NULL);
    }
    return 0;
}

static void end_launch(launch *start)
{
    if (start->startup.lpAttributeList != NULL) {
        DeleteProcThreadAttributeList(start->startup.lpAttributeList);
        free(start->startup.lpAttributeList);
    }
    for (size_t i = 0; i < STANDARD_HANDLES; i++) {
        if (start->copies[i] != NULL) {
            CloseHandle(start->copies[i]);
        }
    }
    close_handles_again(start);
    free(start->inherited);
    free(start->opened);
    free(start->environment);
    free(start->directory);
    free(start->command_line);
    free(start->program);
}

/* Wine gives ERROR_INTERNAL_ERROR for a process that ended before any code of its program ran. It
   happens to one in several thousand: Wine needs a page at a fixed address (KUSER_SHARED_DATA), and
   the system may have put the heap of Wine's loader there by chance. Nothing is left of such a
   process, and the next one has its heap elsewhere. */
static bool try_create(launch *start, const platform_setting *setting, PROCESS_INFORMATION *created)
{
    const DWORD mode = EXTENDED_STARTUPINFO_PRESENT | CREATE_UNICODE_ENVIRONMENT |
                       (setting_needs_halt(setting) ? CREATE_SUSPENDED : 0u) |
                       setting_flags(setting);
    for (int attempt = 1;; attempt++) {
        if (SYSTEM(CreateProcessW(start->program, start->command_line, NULL, NULL,
                                  start->inherited_count > 0, mode, start->environment,
                                  start->directory, &start->startup.StartupInfo, created),
                   FALSE, ERROR_NOT_ENOUGH_QUOTA)) {
            return true;
        }
        if (attempt == CREATE_ATTEMPTS || GetLastError() != ERROR_INTERNAL_ERROR) {
            return false;
        }
    }
}

/* Under spawn_lock. */
static int create_process(launch *start, const platform_spawn *spawn, PROCESS_INFORMATION *created)
{
    int status = 0;
    if (!try_create(start, spawn->setting, created)) {
        DWORD error = GetLastError();
        status = wing_error(error);
        /* A quota is what a job has on the number of its processes. */
        status = error == ERROR_NOT_ENOUGH_QUOTA ? KIN_E_PROCESS_LIMIT : status;
    }
    return status;
}

/* The child is not kept suspended for that: if this process were killed then, and the child is in
   no job yet, it would stay so for ever. As it is the child finds out itself
   (platform_process_follow). One that has ended already needs no job. */
static int enter_job(HANDLE job, HANDLE child)
{
    BOOL inside = FALSE;
    if ((SYSTEM(IsProcessInJob(child, job, &inside), FALSE, ERROR_ACCESS_DENIED) && inside) ||
        SYSTEM(AssignProcessToJobObject(job, child), FALSE, ERROR_ACCESS_DENIED)) {
        return 0;
    }
    DWORD error = GetLastError();
    return WaitForSingleObject(child, 0) == WAIT_OBJECT_0 ? 0 : wing_error(error);
}

static bool has_group(const platform_spawn *spawn)
{
    return spawn->setting != NULL && spawn->setting->job != PLATFORM_NONE;
}

/* The jobs of a group and of a parent's daemons could only be nested if all that are in one of them
   were in the other: a daemon of a group follows its parent by itself (platform_process_follow). */
static bool needs_daemon_job(const platform_spawn *spawn)
{
    return spawn->daemon && !has_group(spawn);
}

/* The outer one first. */
static void choose_jobs(launch *start, const platform_spawn *spawn, HANDLE birth_job)
{
    if (needs_daemon_job(spawn)) {
        start->jobs[start->job_count++] = daemon_job;
        return;
    }
    if (has_group(spawn)) {
        start->jobs[start->job_count++] = (HANDLE) spawn->setting->job;
    }
    if (birth_job != NULL) {
        start->jobs[start->job_count++] = birth_job;
    }
}

static int enter_jobs(const platform_spawn *spawn, HANDLE child)
{
    return needs_daemon_job(spawn) ? enter_job(daemon_job, child)
           : has_group(spawn)      ? enter_job((HANDLE) spawn->setting->job, child)
                                   : 0;
}

static int adopt(platform_process *process, const platform_spawn *spawn,
                 const PROCESS_INFORMATION *created)
{
    platform_identity identity = {.pid = created->dwProcessId};
    int status = enter_jobs(spawn, created->hProcess);
    if (status == 0) {
        status = setting_give(created->hProcess, spawn->setting);
    }
    if (status == 0 && setting_needs_halt(spawn->setting) &&
        SYSTEM(ResumeThread(created->hThread), (DWORD) -1, ERROR_ACCESS_DENIED) == (DWORD) -1) {
        status = wing_last_error();
    }
    if (status == 0) {
        status = wing_process_stamp(created->hProcess, &identity.stamp);
    }
    CloseHandle(created->hThread);
    if (status != 0) {
        TerminateProcess(created->hProcess, WING_KILLED);
        WaitForSingleObject(created->hProcess, INFINITE);
        CloseHandle(created->hProcess);
        return status;
    }
    *process =
        (platform_process){identity, (intptr_t) created->hProcess, PLATFORM_NONE, true, false};
    return 0;
}

bool platform_knows_arguments(void)
{
    return true; /* in UTF-16, where the argv of main has lost what its code page lacks */
}

int platform_process_spawn(platform_process *process, const platform_spawn *spawn)
{
    launch start = {0};
    PROCESS_INFORMATION created;
    int status = setting_check(spawn->setting);
    if (status != 0) {
        return status;
    }
    HANDLE birth_job = needs_daemon_job(spawn) ? NULL : make_birth_job();
    status = prepare_text(&start, spawn);
    AcquireSRWLockExclusive(&spawn_lock);
    if (status == 0 && needs_daemon_job(spawn)) {
        status = make_daemon_job();
    }
    if (status == 0) {
        status = prepare_handles(&start, spawn);
    }
    if (status == 0) {
        choose_jobs(&start, spawn, birth_job);
        status = prepare_attributes(&start);
    }
    if (status == 0) {
        status = create_process(&start, spawn, &created);
    }
    end_launch(&start);
    ReleaseSRWLockExclusive(&spawn_lock);
    if (status == 0) {
        status = adopt(process, spawn, &created);
    }
    end_birth_job(birth_job); /* it runs by now */
    return status;
}
