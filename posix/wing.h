/* What the files of this wing share: the way in which they call the system and report its
   failures. */
#ifndef KIN_POSIX_WING_H
#define KIN_POSIX_WING_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "core/fault.h"
#include "core/platform.h"

#include <errno.h>

/* Linux has calls of its own that do better than plain POSIX; KIN_POSIX_PLAIN does without them. */
#if defined __linux__ && !defined KIN_POSIX_PLAIN
#define WING_LINUX 1
#else
#define WING_LINUX 0
#endif

/* Makes a system call; in a build for fault injection it may fail with `result` and errno `error`
   instead. */
#define SYSTEM(call, result, error) FAULT_OR(call, (errno = (error), (result)))

/* Moves a descriptor out of the way of the standard streams, if this process has closed its own: a
   child, and whoever prints, would take it for one. Close-on-exec either way. The new descriptor,
   or -1 with errno set and the old one closed. */
int wing_above_standard(int fd);

/* A pipe of descriptors like that. 0, or -1 with errno set. */
int wing_pipe(int ends[2]);

/* Notes errno for kin_system_error and says which KIN_E_* it is. Never 0. */
int wing_error(int system_error);

#endif
