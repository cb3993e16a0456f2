/* All that descends from some processes: each of these leads a process group, whose number nobody
   else gets as long as the leader has not been reaped. */
#include "posix/process.h"

#include <ctype.h>
#include <dirent.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

bool platform_group_has_leaders(void)
{
    return true;
}

int platform_group_open(intptr_t *object, uint64_t family, uint64_t number)
{
    (void) family, (void) number;
    *object = PLATFORM_NONE;
    return 0;
}

void platform_group_close(intptr_t object)
{
    (void) object;
}

/* True if the number of its process group is surely that of what it has started. */
static bool is_sure(const platform_leader *leader)
{
    return leader->own ||
           (leader->identity.stamp != 0 && kill((pid_t) leader->identity.pid, 0) == 0 &&
            process_is_same(&leader->identity));
}

typedef struct pid_list {
    uint64_t *pids;
    size_t count;
    size_t capacity;
} pid_list;

static bool append(pid_list *list, uint64_t pid)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity == 0 ? 16 : 2 * list->capacity;
        uint64_t *pids = SYSTEM(realloc(list->pids, capacity * sizeof *pids), NULL, ENOMEM);
        if (pids == NULL) {
            return false;
        }
        list->pids = pids;
        list->capacity = capacity;
    }
    list->pids[list->count++] = pid;
    return true;
}

/* Of a process that has ended there is nothing to list. */
static bool is_alive_in(uint64_t pid, const uint64_t *groups, size_t count)
{
    process_stat stat;
    long long group;
    if (!process_read_stat(pid, &stat) || process_stat_state(&stat) == 'Z' ||
        process_stat_state(&stat) == 'X' || !process_stat_number(&stat, 5, &group)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if ((uint64_t) group == groups[i]) {
            return true;
        }
    }
    return false;
}

static int list_groups(const uint64_t *groups, size_t count, pid_list *list)
{
    DIR *folder = SYSTEM(opendir("/proc"), NULL, EMFILE);
    if (folder == NULL) {
        return errno == ENOENT ? 0 : wing_error(errno); /* no /proc: nobody is found */
    }
    int status = 0;
    const struct dirent *entry;
    while (status == 0 && (entry = readdir(folder)) != NULL) {
        uint64_t pid = isdigit((unsigned char) entry->d_name[0])
                           ? (uint64_t) strtoull(entry->d_name, NULL, 10)
                           : 0;
        if (pid != 0 && is_alive_in(pid, groups, count) && !append(list, pid)) {
            status = wing_error(ENOMEM);
        }
    }
    (void) closedir(folder);
    return status;
}

int platform_group_list(const platform_group *group, uint64_t **pids, size_t *count)
{
    pid_list list = {0};
    *pids = NULL;
    *count = 0;
    if (group->leader_count == 0) {
        return 0;
    }
    uint64_t *groups = SYSTEM(malloc(group->leader_count * sizeof *groups), NULL, ENOMEM);
    if (groups == NULL) {
        return wing_error(ENOMEM);
    }
    size_t sure = 0;
    for (size_t i = 0; i < group->leader_count; i++) {
        if (is_sure(&group->leaders[i])) {
            groups[sure++] = group->leaders[i].identity.pid;
        }
    }
    int status = sure > 0 ? list_groups(groups, sure, &list) : 0;
    free(groups);
    if (status < 0) {
        free(list.pids);
        return status;
    }
    *pids = list.pids;
    *count = list.count;
    return 0;
}

static int kill_group(uint64_t group)
{
    if (SYSTEM(kill(-(pid_t) group, SIGKILL), -1, EPERM) == 0 || errno == ESRCH) {
        return 0;
    }
    return wing_error(errno);
}

int platform_group_kill(const platform_group *group)
{
    int status = 0;
    bool within = false;
    const uint64_t own = (uint64_t) getpgrp();
    for (size_t i = 0; i < group->leader_count; i++) {
        uint64_t number = group->leaders[i].identity.pid;
        const platform_leader *leader = &group->leaders[i];
        if (number == own && (leader->identity.stamp == 0 || is_sure(leader))) {
            within = true;
        } else if (is_sure(leader)) {
            int killed = kill_group(number);
            status = killed < 0 ? killed : status;
        }
    }
    return within ? kill_group(own) : status;
}

int platform_group_ask(const platform_group *group, const uint64_t *pids, size_t count)
{
    int status = 0;
    for (size_t i = 0; i < count; i++) {
        pid_t number = getpgid((pid_t) pids[i]);
        bool inside = false;
        for (size_t k = 0; k < group->leader_count && !inside; k++) {
            inside = number > 0 && (uint64_t) number == group->leaders[k].identity.pid;
        }
        if (inside && SYSTEM(kill((pid_t) pids[i], SIGTERM), -1, EPERM) != 0 && errno != ESRCH) {
            status = wing_error(errno);
        }
    }
    return status;
}
