/* The forkserver: one process of the family, spawned when the first is asked for, that has a single
   thread and forks children for the members that ask. A child's parent is the one that asked; to
   the system it is the server, which therefore reaps it and says how it ended. Requests are ids of
   process objects in a table that outlives the server: if it is killed, whoever waits starts
   another, which finds them there. */
#ifndef KIN_CORE_FORKSERVER_H
#define KIN_CORE_FORKSERVER_H

#include "core/process_object.h"

/* Has the server start the process that `id` means, and waits until it runs or an error is
   known. */
int forkserver_start(uint64_t id, process_object *p);

/* At the end of a family's first member: ends the server if nobody else is there who could need
   it. */
void forkserver_end(void);

#endif
