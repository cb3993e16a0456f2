/* What the files of this wing share: the way in which they call the system and report its failures.
   Windows 8 is the oldest system; what later ones add is looked up when the program runs. */
#ifndef KIN_WIN32_WING_H
#define KIN_WIN32_WING_H

#undef _WIN32_WINNT
#define _WIN32_WINNT 0x0602
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX

#include "core/fault.h"
#include "core/platform.h"

#include <wchar.h>
#include <windows.h>

/* Makes a system call; in a build for fault injection it may fail with `result` and GetLastError
   `error` instead. */
#define SYSTEM(call, result, error) FAULT_OR(call, (SetLastError(error), (result)))

/* Memory of this process, whose lack is reported like every other failure. */
#define WING_ALLOCATE(size) SYSTEM(wing_allocate(size), NULL, ERROR_NOT_ENOUGH_MEMORY)
#define WING_RESIZE(memory, size) SYSTEM(wing_resize(memory, size), NULL, ERROR_NOT_ENOUGH_MEMORY)

/* The exit code of a process that was ended in a way for which POSIX has a signal: "ki" and the
   number of the signal, with the bits of an error that is nobody else's. */
#define WING_SIGNALLED(number) (0xe06b6900u | (number))
#define WING_KILLED WING_SIGNALLED(9u)
#define WING_TERMINATED WING_SIGNALLED(15u)
#define WING_ABORTED WING_SIGNALLED(6u)

/* Notes the error for kin_system_error and says which KIN_E_* it is. Never 0. */
int wing_error(DWORD system_error);

/* wing_error of GetLastError. */
int wing_last_error(void);

/* malloc of zeroed memory and realloc, which set ERROR_NOT_ENOUGH_MEMORY; given back with free. */
void *wing_allocate(size_t size);
void *wing_resize(void *memory, size_t size);

/* A copy of `text` in UTF-16, to be freed. KIN_E_NOMEM, or KIN_E_INVALID if it is not UTF-8. */
int wing_wide(const char *text, wchar_t **wide);

/* The same for an argument of a program: what main was given is in the code page of the process, so
   what is not UTF-8 is taken for that. */
int wing_wide_argument(const char *argument, wchar_t **wide);

/* The path of `module` (NULL: of the program itself), to be freed. */
int wing_module_path(HMODULE module, wchar_t **path);

/* A function of a loaded module, or NULL. To be cast to its own type. */
typedef void (*wing_function)(void);
wing_function wing_find_function(const wchar_t *module, const char *name);

/* Waits for a system object. 0, KIN_OWNER_DIED for an abandoned mutex, KIN_E_TIMEOUT or another
   failure. Never early. */
int wing_wait(HANDLE object, int64_t timeout_ns);

/* True once the process ends and its other threads are gone: locks may then be held by nobody. The
   first call takes the lock of the system's loader. */
bool wing_is_ending(void);

/* When the process started, as a number that is never 0. */
int wing_process_stamp(HANDLE process, uint64_t *stamp);

/* True if this process is in the job of `parent`'s daemons, and so ends with it. */
bool wing_is_daemon_of(const platform_identity *parent);

/* Asks a process to end that catches such requests (see terminate.c). KIN_E_NOT_FOUND if it does
   not. */
int wing_ask_to_end(const platform_identity *identity);

/* One step of a hash over bytes (FNV-1a over words, then over what is left), started with any
   number. */
uint64_t wing_hash(uint64_t hash, const void *bytes, size_t size);

#endif
