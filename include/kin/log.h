/* What kin says about its own doings, for debugging: silent unless it is asked to speak.

   The environment variable KIN_LOG=error, warning, info, debug or none sets the level in each
   process that calls kin_init and has not called kin_set_log; children inherit it. Another value
   means nothing.

   A line reads "2026-11-21 06:23:34.123 kin[process-3 4711] info: process-4 (pid 4712) ended with
   exit code 0": the time in UTC, the name of the member that speaks ("-" before it is one), its
   pid, and the level. A control character, in a name say, is shown as a question mark.
   Python: multiprocessing.log_to_stderr and get_logger. */
#ifndef KIN_LOG_H
#define KIN_LOG_H

#include <kin/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Each level includes those before it.
   ERROR: what could not be done: a process that could not be started or could not run its function,
   a pool that failed.
   WARNING: a process that died without having been asked to; what it held is given back.
   INFO: processes start and end.
   DEBUG: families are founded, joined and left; pools and their workers. */
enum kin_log_level {
    KIN_LOG_NONE = 0,
    KIN_LOG_ERROR = 1,
    KIN_LOG_WARNING = 2,
    KIN_LOG_INFO = 3,
    KIN_LOG_DEBUG = 4
};

/* Chooses what is told from now on in this process, and in copies of it that fork makes. May be
   called before kin_init. level: an enum kin_log_level.
   callback: gets each line, without an end of line, and `context`; NULL: lines go to standard
   error, each with one write. It is called in any thread, also in kin's own, when kin holds nothing
   there: it may call kin, but what kin would tell because of that, in the same thread, is not told.
   It should be brief, and must not wait for what other threads or processes do. When this returns
   another thread may still be in the callback before.
   Errors: KIN_E_INVALID. Does not block. Python: log_to_stderr, get_logger. */
KIN_API int kin_set_log(int level, void (*callback)(int level, const char *line, void *context),
                        void *context);

#ifdef __cplusplus
}
#endif

#endif
