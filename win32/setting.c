/* What a process is started with: its environment, and what the system is told of priority, cores,
   group and session. */
#include "win32/setting.h"

#include <stdlib.h>
#include <string.h>

bool text_append(text *to, const wchar_t *from, size_t length)
{
    if (to->capacity - to->length < length) {
        size_t capacity = (to->capacity + length) * 2;
        wchar_t *larger = WING_RESIZE(to->data, capacity * sizeof *larger);
        if (larger == NULL) {
            return false;
        }
        to->data = larger;
        to->capacity = capacity;
    }
    memcpy(to->data + to->length, from, length * sizeof *from);
    to->length += length;
    return true;
}

/* ---- environment ---- */

/* The length of a variable's name. The system itself has some that begin with the sign. */
static size_t name_length(const wchar_t *variable)
{
    return variable[0] == L'\0' ? 0 : 1 + wcscspn(variable + 1, L"=");
}

static bool same_name(const wchar_t *one, const wchar_t *other)
{
    size_t length = name_length(one);
    return length == name_length(other) &&
           CompareStringOrdinal(one, (int) length, other, (int) length, TRUE) == CSTR_EQUAL;
}

static bool is_among(const wchar_t *variable, wchar_t *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (same_name(variable, list[i])) {
            return true;
        }
    }
    return false;
}

/* Programs do not start without knowing where the system is. */
static bool is_needed(const wchar_t *variable)
{
    return same_name(variable, L"SystemRoot");
}

/* The order in which the system looks for a variable. */
static int compare_names(const void *one, const void *other)
{
    const wchar_t *first = *(wchar_t *const *) one;
    const wchar_t *second = *(wchar_t *const *) other;
    return CompareStringOrdinal(first, (int) name_length(first), second, (int) name_length(second),
                                TRUE) -
           CSTR_EQUAL;
}

static size_t count_of(const wchar_t *block)
{
    size_t count = 0;
    for (; *block != L'\0'; block += wcslen(block) + 1) {
        count++;
    }
    return count;
}

/* What stays of this process's own, and what is added. */
static size_t choose(const wchar_t **chosen, const wchar_t *own, bool bare, wchar_t *const *added,
                     size_t count)
{
    size_t kept = 0;
    for (; *own != L'\0'; own += wcslen(own) + 1) {
        if ((!bare || is_needed(own)) && !is_among(own, added, count)) {
            chosen[kept++] = own;
        }
    }
    /* Of two that set the same variable the later one counts. */
    for (size_t i = 0; i < count; i++) {
        if (added[i][name_length(added[i])] == L'=' &&
            !is_among(added[i], added + i + 1, count - i - 1)) {
            chosen[kept++] = added[i];
        }
    }
    return kept;
}

static bool append_all(text *block, const wchar_t *own, bool bare, wchar_t *const *added,
                       size_t count)
{
    const wchar_t **chosen = WING_ALLOCATE((count_of(own) + count + 1) * sizeof *chosen);
    if (chosen == NULL) {
        return false;
    }
    size_t kept = choose(chosen, own, bare, added, count);
    qsort(chosen, kept, sizeof *chosen, compare_names);
    bool good = true;
    for (size_t i = 0; i < kept && good; i++) {
        good = text_append(block, chosen[i], wcslen(chosen[i]) + 1);
    }
    free(chosen);
    return good && text_append(block, L"", 1) && (kept > 0 || text_append(block, L"", 1));
}

static int widen_all(wchar_t **wide, size_t *count, const char *const *variables)
{
    int status = 0;
    *count = 0;
    while (variables != NULL && variables[*count] != NULL && status == 0) {
        status = wing_wide(variables[*count], &wide[*count]);
        *count += status == 0;
    }
    return status;
}

static int widen_joined(wchar_t **wide, const char *name, const char *value)
{
    const size_t name_size = strlen(name);
    const size_t value_size = strlen(value);
    char *joined = WING_ALLOCATE(name_size + value_size + 1);
    if (joined == NULL) {
        return wing_last_error();
    }
    memcpy(joined, name, name_size);
    memcpy(joined + name_size, value, value_size);
    int status = wing_wide(joined, wide);
    free(joined);
    return status;
}

static int make_block(wchar_t **environment, bool bare, wchar_t *const *added, size_t count)
{
    text block = {0};
    int status = 0;
    wchar_t *own = SYSTEM(GetEnvironmentStringsW(), NULL, ERROR_NOT_ENOUGH_MEMORY);
    if (own == NULL || !append_all(&block, own, bare, added, count)) {
        status = wing_last_error();
        free(block.data);
    } else {
        *environment = block.data;
    }
    if (own != NULL) {
        FreeEnvironmentStringsW(own);
    }
    return status;
}

int setting_environment(wchar_t **environment, const platform_setting *setting, const char *name,
                        const char *value)
{
    const char *const *variables = setting != NULL ? setting->variables : NULL;
    const bool bare = setting != NULL && setting->bare;
    size_t most = 1;
    size_t count = 0;
    *environment = NULL;
    if (name == NULL && variables == NULL && !bare) {
        return 0;
    }
    while (variables != NULL && variables[most - 1] != NULL) {
        most++;
    }
    wchar_t **added = WING_ALLOCATE(most * sizeof *added);
    if (added == NULL) {
        return wing_last_error();
    }
    int status = widen_all(added, &count, variables);
    if (status == 0 && name != NULL) {
        status = widen_joined(&added[count], name, value);
        count += status == 0;
    }
    if (status == 0) {
        status = make_block(environment, bare, added, count);
    }
    for (size_t i = 0; i < count; i++) {
        free(added[i]);
    }
    free(added);
    return status;
}

/* ---- the rest ---- */

static DWORD class_of(const platform_setting *setting)
{
    static const DWORD classes[] = {0, IDLE_PRIORITY_CLASS, BELOW_NORMAL_PRIORITY_CLASS,
                                    NORMAL_PRIORITY_CLASS, HIGH_PRIORITY_CLASS};
    return classes[setting->priority];
}

DWORD setting_flags(const platform_setting *setting)
{
    if (setting == NULL) {
        return 0;
    }
    return class_of(setting) | (setting->group ? CREATE_NEW_PROCESS_GROUP : 0u) |
           (setting->session ? DETACHED_PROCESS : 0u);
}

bool setting_needs_halt(const platform_setting *setting)
{
    return setting != NULL && (setting->core_count > 0 || setting->priority != 0);
}

static bool is_handle(intptr_t handle)
{
    DWORD flags;
    return handle > 0 && GetHandleInformation((HANDLE) handle, &flags);
}

int setting_check(const platform_setting *setting)
{
    for (int i = 0; setting != NULL && i < PLATFORM_STREAMS; i++) {
        if (setting->streams[i] != PLATFORM_NONE && !is_handle(setting->streams[i])) {
            return KIN_E_INVALID;
        }
    }
    for (size_t i = 0; setting != NULL && i < setting->handle_count; i++) {
        if (!is_handle(setting->handles[i])) {
            return KIN_E_INVALID;
        }
    }
    return 0;
}

static int give_cores(HANDLE process, const int *cores, size_t count)
{
    DWORD_PTR mask = 0;
    for (size_t i = 0; i < count; i++) {
        if ((size_t) cores[i] >= 8 * sizeof mask) {
            return KIN_E_INVALID; /* a process has the cores of one group */
        }
        mask |= (DWORD_PTR) 1 << cores[i];
    }
    DWORD_PTR given;
    DWORD_PTR all;
    if (SYSTEM(GetProcessAffinityMask(process, &given, &all), FALSE, ERROR_ACCESS_DENIED) &&
        (mask & ~all) != 0) {
        return KIN_E_INVALID;
    }
    if (SYSTEM(SetProcessAffinityMask(process, mask), FALSE, ERROR_ACCESS_DENIED)) {
        return 0;
    }
    DWORD error = GetLastError();
    int status = wing_error(error);
    return error == ERROR_INVALID_PARAMETER ? KIN_E_INVALID : status;
}

int setting_give(HANDLE process, const platform_setting *setting)
{
    int status = 0;
    if (setting != NULL && setting->core_count > 0) {
        status = give_cores(process, setting->cores, setting->core_count);
    }
    /* CreateProcess has done that already, but not in Wine. */
    if (status == 0 && setting != NULL && setting->priority != 0 &&
        GetPriorityClass(process) != class_of(setting) &&
        !SYSTEM(SetPriorityClass(process, class_of(setting)), FALSE, ERROR_ACCESS_DENIED)) {
        status = wing_last_error();
    }
    return status;
}

int platform_setting_prepare(platform_prepared *prepared, const platform_setting *setting)
{
    (void) prepared, (void) setting;
    return KIN_E_UNSUPPORTED; /* there are no copies */
}

int platform_setting_enter(const platform_setting *setting, const platform_prepared *prepared)
{
    (void) setting, (void) prepared;
    return KIN_E_UNSUPPORTED;
}

void platform_setting_finish(platform_prepared *prepared)
{
    (void) prepared;
}
