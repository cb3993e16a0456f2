/* What a process is started with, as spawn.c needs it. */
#ifndef KIN_WIN32_SETTING_H
#define KIN_WIN32_SETTING_H

#include "win32/wing.h"

/* Text that grows. */
typedef struct text {
    wchar_t *data;
    size_t length;
    size_t capacity;
} text;

/* False when there is no memory. */
bool text_append(text *to, const wchar_t *from, size_t length);

/* The environment that `setting` (which may be NULL) makes of this process's, with one more
   variable, `name` ("NAME=") and `value`; both may be NULL. To be freed; NULL for exactly this
   process's own. */
int setting_environment(wchar_t **environment, const platform_setting *setting, const char *name,
                        const char *value);

/* The flags of CreateProcess that a setting asks for. */
DWORD setting_flags(const platform_setting *setting);

/* What is wrong with the setting, before anything is done for it. */
int setting_check(const platform_setting *setting);

/* True if there is something that is given to a process between its making and its first step: it
   is made suspended. */
bool setting_needs_halt(const platform_setting *setting);

/* Gives it that: the cores that it may use, and its priority. */
int setting_give(HANDLE process, const platform_setting *setting);

#endif
