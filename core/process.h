/* Processes as objects of the family. */
#ifndef KIN_CORE_PROCESS_H
#define KIN_CORE_PROCESS_H

#include "core/death.h"
#include "core/watcher.h"

#include <kin/process.h>

/* Once, before the family is founded or joined. */
void process_set_up(void);

/* How kin_wait waits for processes among other things; see wait_many.h. */
void process_watch_set_up(void);

/* Makes the process object of a member that was not started by kin: a family's first, or a copy of
   the member `original` that the user has made. */
int process_found(uint64_t original);

/* Makes this copy a member. */
int process_rejoin(void);

/* This process has begun to end as it should: who finds it dead has nothing to warn of. */
void process_expect_end(void);

/* Functions that run at the end of this process, which this does. */
void process_run_exits(void);

/* Of several threads that end this process only the first comes back. */
void process_begin_end(void);

/* Takes back the handler of kin_on_terminate. */
void terminate_forget(void);
void terminate_reset_copy(void);

/* In a copy that fork has made. Safe in a signal handler. */
void process_reset_copy(void);
void exits_reset_copy(void);

/* What a child was told by the one that started it. 1; 0 if this process is no such child; an
   error if that cannot be told. */
typedef struct process_birth {
    intptr_t object;
    uint64_t size;
    uint64_t reference;
    uint64_t token;
    bool guest; /* its own main goes on */
} process_birth;
int process_read_birth(process_birth *birth);

/* The same as text, for the child; PROCESS_BIRTH_SIZE bytes. */
enum { PROCESS_BIRTH_SIZE = 112 };
void process_write_birth(char *text, const process_birth *birth);

/* In a child: joins, runs the function and exits. Returns in a guest alone. */
int process_live(const process_birth *birth);

/* At the end of this process's membership. */
void birth_forget(void);

/* Keeps the command line for children. */
int process_keep_arguments(int argc, char **argv);

/* Calls entry->ended in the background when this child has ended. */
int process_watch(uint64_t id, watcher_entry *entry);

/* The end of that; see watcher_remove. The entry may be watching nothing. */
void process_unwatch(watcher_entry *entry);

/* All that a member does at its normal end; set by whoever knows it all. */
void process_set_end(void (*end)(void));
void process_end(void);

/* Kills daemons, joins the others: what a member does at its end. */
void process_end_children(void);

/* Forgets this process's children. */
void process_forget(void);

#endif
