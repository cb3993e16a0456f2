/* Errors: their names and texts, and the system's number behind the last one of each thread. */
#ifndef KIN_CORE_ERROR_H
#define KIN_CORE_ERROR_H

#include "core/platform.h"

/* The system's number behind the calling thread's last failure. */
extern _Thread_local PLATFORM_FAST_TLS int64_t error_of_system;

/* What it is instead, if the failure has a text of its own. */
#define ERROR_HAS_DETAIL INT64_MIN

/* Where the calling thread's text is written; error_set_detail, as the last thing before a
   failure is returned, says that it is there. */
enum { ERROR_DETAIL_SIZE = 1024 };
char *error_detail_text(void);
void error_set_detail(void);

/* Starts a public call that may fail: forgets the system error of an earlier one. */
static inline void error_clear(void)
{
    error_of_system = 0;
}

/* Of a function that is not on the usual way: it is kept out of it. */
#if defined __GNUC__
#define KIN_COLD __attribute__((noinline, cold))
#else
#define KIN_COLD
#endif

#endif
