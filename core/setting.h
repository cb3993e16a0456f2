/* What the options of a start say of the process's surroundings: from kin_process_options to what
   the system is told, with the files and pipes that are opened for it. */
#ifndef KIN_CORE_SETTING_H
#define KIN_CORE_SETTING_H

#include "core/platform.h"

#include <kin/process.h>

/* While a process is being started. */
typedef struct setting {
    platform_setting platform;
    intptr_t own[PLATFORM_STREAMS];      /* this process's ends of pipes; PLATFORM_NONE */
    intptr_t of_child[PLATFORM_STREAMS]; /* what was opened for the child alone */
    struct setting *next;                /* those that other threads have open */
} setting;

/* Whether the options make sense, for this method. */
int setting_check_options(const kin_process_options *options, int method);

/* Opens what is needed. setting_close closes what was opened for the child; the pipes' ends in
   `own` too, unless they were taken away. */
int setting_open(setting *s, const kin_process_options *options);
void setting_close(setting *s);

/* Held while this process copies itself for the start that `mine` is for: the copy then knows all
   that others have open. */
void setting_lock(const setting *mine);
void setting_unlock(void);

/* In a copy that fork has made: closes what the original's starts had open, but not `mine`. Safe in
   a signal handler. */
void setting_reset_copy(void);

/* The same as bytes, for the forkserver's copy to do. pack writes setting_packed_size bytes, which
   are none if nothing is asked for. */
size_t setting_packed_size(const kin_process_options *options);
void setting_pack(void *bytes, const kin_process_options *options);

/* In the copy: has all of it. The bytes are to stay: the environment points to them. */
int setting_enter_packed(void *bytes);

#endif
