/* Signals that kin's own threads leave to the program's. */
#ifndef KIN_POSIX_SIGNALS_H
#define KIN_POSIX_SIGNALS_H

#include "posix/wing.h"

#include <signal.h>

/* Blocks all signals in this thread, so that a thread made now starts with them blocked; and undoes
   that. */
void signals_block(sigset_t *before);
void signals_restore(const sigset_t *before);

/* The mask that a child should start with: this thread's, or, in a background thread, that of the
   thread of the program which had it made. */
void signals_for_child(sigset_t *mask);

/* In a copy that fork has made: its thread has that mask from now on. */
void signals_enter_copy(void);

#endif
