/* Lines about what kin does: made here, and told by the callback or on standard error. */
#include "core/log.h"

#include "core/error.h"
#include "core/platform.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE = 1024, NAME = 256, MS_IN_DAY = 86400000, NS_IN_MS = 1000000 };

/* A line that waits until this thread holds nothing. */
typedef struct kept_line {
    struct kept_line *next;
    int level;
    char text[];
} kept_line;

_Atomic int log_level;

static platform_lock lock; /* over what follows */
static bool is_chosen;     /* the level, by the user or by KIN_LOG */
static void (*told)(int level, const char *line, void *context);
static void *told_context;
static char own_name[NAME] = "-";

static _Thread_local unsigned holds;
static _Thread_local unsigned lost;   /* lines that could not be kept */
static _Thread_local bool is_telling; /* in the callback */
static _Thread_local kept_line *first_kept;
static kept_line *_Atomic of_original; /* in a copy: what the thread that forked had kept */

static const char *const level_names[] = {"none", "error", "warning", "info", "debug"};
enum { LEVELS = sizeof level_names / sizeof *level_names };

int kin_set_log(int level, void (*callback)(int level, const char *line, void *context),
                void *context)
{
    error_clear();
    if (level < KIN_LOG_NONE || level > KIN_LOG_DEBUG) {
        return KIN_E_INVALID;
    }
    platform_lock_acquire(&lock);
    is_chosen = true;
    told = callback;
    told_context = context;
    atomic_store(&log_level, level);
    platform_lock_release(&lock);
    return 0;
}

void log_set_up(void)
{
    char text[16];
    int status = platform_environment_read("KIN_LOG", text, sizeof text);
    platform_lock_acquire(&lock);
    for (int level = 0; level < LEVELS && status == 0 && !is_chosen; level++) {
        if (strcmp(text, level_names[level]) == 0) {
            atomic_store(&log_level, level);
        }
    }
    is_chosen = true;
    platform_lock_release(&lock);
}

void log_set_name(const char *name)
{
    size_t length = 0;
    platform_lock_acquire(&lock);
    for (; length < sizeof own_name - 1 && name[length] != '\0'; length++) {
        own_name[length] = name[length];
    }
    own_name[length] = '\0';
    platform_lock_release(&lock);
}

static bool is_leap(int year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

/* The wall clock's time, in UTC, as text. */
static void write_time(char *text, size_t size)
{
    static const int days_of[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int64_t now = platform_wall_clock_ns() / NS_IN_MS;
    now = now > 0 ? now : 0;
    int days = (int) (now / MS_IN_DAY);
    int in_day = (int) (now % MS_IN_DAY);
    int year = 1970;
    for (; days >= 365 + is_leap(year); year++) {
        days -= 365 + is_leap(year);
    }
    int month = 0;
    for (; days >= days_of[month] + (month == 1 && is_leap(year)); month++) {
        days -= days_of[month] + (month == 1 && is_leap(year));
    }
    (void) snprintf(text, size, "%04d-%02d-%02d %02d:%02d:%02d.%03d", year, month + 1, days + 1,
                    in_day / 3600000, in_day / 60000 % 60, in_day / 1000 % 60, in_day % 1000);
}

static unsigned own_pid(void)
{
    platform_identity self;
    return platform_process_self(&self) == 0 ? (unsigned) self.pid : 0;
}

/* A line is one line, whatever the names in it hold. `size` is at least that of what is before. */
static void make_line(char *text, size_t size, int level, const char *format, va_list arguments)
{
    char name[NAME];
    char time[64];
    platform_lock_acquire(&lock);
    memcpy(name, own_name, sizeof name);
    platform_lock_release(&lock);
    write_time(time, sizeof time);
    int begun =
        snprintf(text, size, "%s kin[%s %u] %s: ", time, name, own_pid(), level_names[level]);
    if (begun > 0 && (size_t) begun < size) {
        (void) vsnprintf(text + begun, size - (size_t) begun, format, arguments);
    }
    for (char *at = text; *at != '\0'; at++) {
        if ((unsigned char) *at < ' ' || *at == 0x7f) {
            *at = '?';
        }
    }
}

/* With one byte of room behind the text's end. */
static void tell(int level, char *text)
{
    if (!log_is_on(level)) {
        return; /* it has been kept, and is not wanted any more */
    }
    platform_lock_acquire(&lock);
    void (*callback)(int, const char *, void *) = told;
    void *context = told_context;
    platform_lock_release(&lock);
    int64_t system_error = kin_system_error(); /* is that of what is told about */
    is_telling = true;
    if (callback != NULL) {
        callback(level, text, context);
    } else {
        size_t length = strlen(text);
        text[length] = '\n';
        platform_write_error(text, length + 1);
    }
    is_telling = false;
    platform_note_error(system_error);
}

static void keep(int level, const char *text)
{
    kept_line **last = &first_kept;
    while (*last != NULL) {
        last = &(*last)->next;
    }
    size_t size = strlen(text) + 1;
    kept_line *line = malloc(sizeof *line + size + 1);
    if (line == NULL) {
        lost++;
        return;
    }
    line->next = NULL;
    line->level = level;
    memcpy(line->text, text, size);
    *last = line;
}

void log_write(int level, const char *format, ...)
{
    char text[LINE + 1];
    va_list arguments;
    if (is_telling) {
        return;
    }
    va_start(arguments, format);
    make_line(text, LINE, level, format, arguments);
    va_end(arguments);
    if (holds > 0) {
        keep(level, text);
    } else {
        tell(level, text);
    }
}

void log_hold(void)
{
    holds++;
}

void log_release(void)
{
    if (--holds > 0 || is_telling) {
        return;
    }
    while (first_kept != NULL) {
        kept_line *line = first_kept;
        first_kept = line->next;
        tell(line->level, line->text);
        free(line);
    }
    if (lost > 0) {
        unsigned count = lost;
        lost = 0;
        LOG(KIN_LOG_ERROR, "%u lines could not be kept: no memory", count);
    }
    kept_line *old = atomic_load(&of_original) != NULL ? atomic_exchange(&of_original, NULL) : NULL;
    while (old != NULL) {
        kept_line *next = old->next;
        free(old);
        old = next;
    }
}

/* What was kept is told by the original. */
void log_reset_copy(void)
{
    lock = (platform_lock){{0}};
    if (first_kept != NULL) {
        atomic_store(&of_original, first_kept);
    }
    first_kept = NULL;
    holds = 0;
    lost = 0;
    is_telling = false;
}
