/* Lines about what kin does; include/kin/log.h says what they are. A line that is not wanted costs
   a load and a comparison. */
#ifndef KIN_CORE_LOG_H
#define KIN_CORE_LOG_H

#include <kin/log.h>

#include <stdatomic.h>

#if defined __GNUC__
#define LOG_CHECKED __attribute__((format(printf, 2, 3)))
#else
#define LOG_CHECKED
#endif

extern _Atomic int log_level;

static inline bool log_is_on(int level)
{
    return atomic_load_explicit(&log_level, memory_order_relaxed) >= level;
}

/* Tells a line. Like printf; only %s, %d, %u and %%. To be used through LOG alone. */
LOG_CHECKED void log_write(int level, const char *format, ...);

#define LOG(level, ...)                    \
    do {                                   \
        if (log_is_on(level)) {            \
            log_write(level, __VA_ARGS__); \
        }                                  \
    } while (0)

/* Between the two, lines of this thread are kept, because it holds something (a lock, a claim) that
   the callback could come to want; they are told at the last release. They nest. */
void log_hold(void);
void log_release(void);

/* Sets the level that KIN_LOG asks for, once, unless the user has set one. */
void log_set_up(void);

/* The member that speaks, from now on. */
void log_set_name(const char *name);

/* In a copy that fork has made. Safe in a signal handler. */
void log_reset_copy(void);

#endif
