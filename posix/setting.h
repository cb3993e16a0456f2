/* What a process is started with, as spawn.c needs it. */
#ifndef KIN_POSIX_SETTING_H
#define KIN_POSIX_SETTING_H

#include "posix/wing.h"

#include <spawn.h>

/* The environment that `setting` (which may be NULL) makes of this process's, with up to two more
   variables ("NAME=value" or NULL) and room for them. To be freed, the array alone; NULL with errno
   set. */
char **setting_environment(const platform_setting *setting, char *first, char *second);

/* The streams of a setting as descriptors that no other of them overwrites. */
typedef struct setting_streams {
    int from[PLATFORM_STREAMS]; /* -1: as it is */
    int copies[PLATFORM_STREAMS];
} setting_streams;

/* 0 or an errno; both are safe in a signal handler. */
int setting_take_streams(setting_streams *streams, const platform_setting *setting);
void setting_drop_streams(setting_streams *streams);

/* Adds all that posix_spawn can do by itself. 0, or an errno. */
int setting_add(posix_spawn_file_actions_t *actions, posix_spawnattr_t *attributes, short *flags,
                const platform_setting *setting, const setting_streams *streams);

/* What is wrong with the setting, before anything is done for it. */
int setting_check(const platform_setting *setting);

/* True if there is something that posix_spawn cannot do: a child has it from the thread that starts
   it, which is to be one of its own. */
bool setting_needs_thread(const platform_setting *setting);

/* Gives this thread what such a child is to have. 0 or an errno. */
int setting_enter_thread(const platform_setting *setting);

/* The same for a process that runs already, where threads have no priority of their own. */
int setting_give(pid_t pid, const platform_setting *setting);

#endif
