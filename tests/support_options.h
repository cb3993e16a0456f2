/* What tests of a process's surroundings need of a system: what a child has is asked of the system
   itself. */
#ifndef KIN_TESTS_SUPPORT_OPTIONS_H
#define KIN_TESTS_SUPPORT_OPTIONS_H

#include "support_stream.h"

enum { MOST_CORES = 64, TEXT_SIZE = 8192 };

#if defined _WIN32
#define SEPARATOR "\\"
#else
#define SEPARATOR "/"
#endif

/* ---- of each system: support_options_posix.c, support_options_win32.c ---- */

/* Texts are UTF-8, TEXT_SIZE bytes at most. */
void system_directory(char *text);
void system_enter_directory(const char *path);

/* False if it is not set. Both as the system and as the C library see it. */
bool system_variable(const char *name, char *text);

/* True if a variable's name begins so. */
bool system_has_variable_like(const char *start);

/* Of the thread that calls, an enum kin_priority; negative if it is none of these. */
int system_priority(void);

/* The cores that the thread that calls may use; how many there are. */
size_t system_cores(int cores[MOST_CORES]);

/* True if this process leads a group, or a session, or (on Windows) a console of its own. */
bool system_leads_group(void);
bool system_leads_session(void);

/* True if the handle is open here, and that of a file. */
bool system_is_file(intptr_t handle);

/* The path of this program. */
void system_own_path(char *text);
void system_copy_file(const char *from, const char *to);

/* Runs a program without kin's help; its exit code. */
int system_run(const char *path);

/* The same with an argument, and with all the handles that this process has been given. Its exit
   code, or 0 at once if it is not to be waited for. */
int system_launch(const char *path, const char *argument, bool waits);

/* Argument `i` of this program, as the system has it; false if there is none. */
bool system_argument(int argc, char **argv, int i, char *text);

/* Gives a file that may be a running program another name; false if it may not be. */
bool system_rename(const char *from, const char *to);

/* This process's own standard stream from now on; PLATFORM_NONE: it has none. */
void system_set_standard(int number, intptr_t handle);

/* ---- support_options.c ---- */

/* Does `test` for each method that this system has. */
void each_method(void (*test)(int method));

/* True where the system can be told which cores a process may use. */
bool can_choose_cores(void);

/* A directory for the files of this program, relative to its own, and paths in it, which stay good
   for dozens of calls. */
void make_place(const char *name);
void remove_place(void);
const char *place(const char *name);

void write_file(const char *path, const char *text);

/* At most TEXT_SIZE - 1 bytes; how many. */
size_t read_file(const char *path, char *text);
void assert_file(const char *path, const char *text);

/* As warm_up, and starts the forkserver. */
int warm_up_all(void **state);

#endif
