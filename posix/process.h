/* What the files about processes share. */
#ifndef KIN_POSIX_PROCESS_H
#define KIN_POSIX_PROCESS_H

#include "posix/wing.h"

/* True where processes are watched by pidfds; else the plain ways are used, see process.c. */
bool process_has_pidfds(void);

/* A pidfd of the process that has this pid now, or -1 with errno set. */
int process_pidfd_of(uint64_t pid);

/* Nanoseconds since boot, where there are pidfds to tell processes apart by that; else 0. */
uint64_t process_stamp_now(void);

/* /proc/PID/stat as it was read at once; false if there is none. */
typedef struct process_stat {
    char text[1024];
    const char *behind_name;
} process_stat;
bool process_read_stat(uint64_t pid, process_stat *stat);

/* Its field 3, which is a letter; and one behind that. */
char process_stat_state(const process_stat *stat);
bool process_stat_number(const process_stat *stat, int field, long long *value);

/* True if the process that has the pid now began before the identity was taken, and so is the
   one. */
bool process_is_same(const platform_identity *identity);

/* Plain: from now on `fd` is this process's end of what it shares with its parent. */
void process_keep_lifeline(int fd);

/* In a copy: it has inherited that of its original, whose end nobody would see before its own. Safe
   in a signal handler. */
void process_drop_lifeline(void);

/* Two connected descriptors, each of which shows when the other is closed; neither is inherited by
   a program. */
int process_make_pair(int ends[2]);

/* Has it ended? Does not wait. */
bool process_has_ended(const platform_process *process);

/* A descriptor that becomes readable when it may have ended; -1 if there is none. */
int process_poll_fd(const platform_process *process);

/* How long to wait for that descriptor before looking again, because it may say nothing; -1: it can
   be relied on. */
int process_slice_ms(void);

#endif
