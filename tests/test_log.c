/* What include/kin/log.h promises. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "support.h"

#include "core/process_object.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#if !defined _WIN32
#include <signal.h>
#include <unistd.h>
#endif

enum { LINES = 400, LINE = 600, THREADS = 4, ROUNDS = 200 };

/* ---- lines that were told to `note` ---- */

typedef struct noted {
    _Atomic int level; /* set when the text is there */
    char text[LINE];
} noted;

static noted lines[LINES];
static _Atomic unsigned line_count;

static void note(int level, const char *line, void *context)
{
    unsigned number = atomic_fetch_add(&line_count, 1);
    if (context == lines && number < LINES) {
        (void) snprintf(lines[number].text, LINE, "%s", line);
        atomic_store(&lines[number].level, level);
    }
}

static void listen_to(int level)
{
    atomic_store(&line_count, 0);
    for (unsigned i = 0; i < LINES; i++) {
        atomic_store(&lines[i].level, KIN_LOG_NONE);
    }
    assert_int_equal(kin_set_log(level, note, lines), 0);
}

static void be_silent(void)
{
    assert_int_equal(kin_set_log(KIN_LOG_NONE, NULL, NULL), 0);
}

/* How many lines of that level hold `text`. */
static unsigned count_lines_with(int level, const char *text, const char *and)
{
    unsigned found = 0;
    for (unsigned i = 0; i < LINES; i++) {
        found += atomic_load(&lines[i].level) == level && strstr(lines[i].text, text) != NULL &&
                 strstr(lines[i].text, and) != NULL;
    }
    return found;
}

static unsigned count_lines(int level, const char *text)
{
    return count_lines_with(level, text, "");
}

/* The level that a line names, or -1 if it is not as it should be. */
static int parse(const char *line, char *name, size_t size, unsigned *pid, const char **text)
{
    static const char *const levels[] = {"none", "error", "warning", "info", "debug"};
    int year, month, day, hour, minute, second, thousandth;
    int end = 0;
    char level[16];
    char read[256];
    (void) sscanf(line, "%4d-%2d-%2d %2d:%2d:%2d.%3d kin[%255[^ ] %u] %15[a-z]: %n", &year, &month,
                  &day, &hour, &minute, &second, &thousandth, read, pid, level, &end);
    if (end == 0 || year < 2024 || month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 ||
        minute > 59 || second > 60 || line[23] != ' ' || line[end] == '\0') {
        return -1;
    }
    time_t now = time(NULL);
    const struct tm *today = gmtime(&now);
    time_t before = now - 600;
    bool same = today->tm_mday == day && today->tm_mon + 1 == month &&
                abs(today->tm_hour * 60 + today->tm_min - hour * 60 - minute) < 10;
    today = gmtime(&before);
    if (!same && (today->tm_mday != day || today->tm_mon + 1 != month)) {
        return -1;
    }
    (void) snprintf(name, size, "%s", read);
    *text = line + end;
    for (int i = 1; i < 5; i++) {
        if (strcmp(level, levels[i]) == 0) {
            return i;
        }
    }
    return -1;
}

static void assert_lines_are_good(int most)
{
    unsigned count = atomic_load(&line_count);
    for (unsigned i = 0; i < count && i < LINES; i++) {
        char name[256];
        unsigned pid;
        const char *text;
        int level = parse(lines[i].text, name, sizeof name, &pid, &text);
        assert_int_equal(level, atomic_load(&lines[i].level));
        assert_in_range(level, KIN_LOG_ERROR, most);
        assert_string_equal(name, "main");
        assert_int_equal(pid, kin_process_pid(kin_current_process()));
        assert_null(strchr(lines[i].text, '\n'));
    }
}

/* ---- children ---- */

static int return_three(void *argument, size_t size)
{
    (void) argument, (void) size;
    return 3;
}

static int die(void *argument, size_t size)
{
    (void) argument, (void) size;
    system_kill_self();
    return CHILD_FAILED;
}

static int call_back(kin_call *call)
{
    (void) call;
    return 0;
}

/* ---- tests ---- */

static void a_level_that_is_none_is_refused(void **state)
{
    (void) state;
    assert_int_equal(kin_set_log(-1, note, NULL), KIN_E_INVALID);
    assert_int_equal(kin_set_log(5, NULL, NULL), KIN_E_INVALID);
}

static void nothing_is_told_at_level_none(void **state)
{
    (void) state;
    listen_to(KIN_LOG_NONE);
    assert_int_equal(end_of(start(return_three, NULL, 0)), 3);
    assert_int_equal(end_of(start(die, NULL, 0)), -KIN_SIGKILL);
    assert_int_equal(atomic_load(&line_count), 0);
    be_silent();
}

/* Something for each level: a start that fails, a death, an end. */
static void do_something_of_each(void)
{
    kin_process process;
    const kin_process_options missing = {.name = "lost", .program = "./no-such-program"};
    assert_int_equal(kin_process_start(&process, return_three, NULL, 0, &missing), KIN_E_NOT_FOUND);
    assert_true(kin_system_error() != 0); /* what it was is still known after it has been told */
    assert_int_equal(end_of(start(die, NULL, 0)), -KIN_SIGKILL);
    assert_int_equal(end_of(start(return_three, NULL, 0)), 3);
}

static void each_level_includes_those_before(void **state)
{
    (void) state;
    for (int level = KIN_LOG_NONE; level <= KIN_LOG_DEBUG; level++) {
        listen_to(level);
        do_something_of_each();
        be_silent();
        assert_lines_are_good(level);
        assert_int_equal(count_lines(KIN_LOG_ERROR, "lost could not be started"), level >= 1);
        assert_int_equal(count_lines(KIN_LOG_ERROR, "KIN_E_NOT_FOUND"), level >= 1);
        assert_int_equal(count_lines(KIN_LOG_WARNING, " died"), level >= 2);
        assert_int_equal(count_lines(KIN_LOG_INFO, "ended with exit code 3"), level >= 3);
        assert_int_equal(count_lines(KIN_LOG_INFO, "was ended by signal 9"), level >= 3);
        assert_int_equal(count_lines(KIN_LOG_INFO, "is started by spawn"), level >= 3 ? 2 : 0);
        assert_int_equal(count_lines(KIN_LOG_DEBUG, "is gone"), level >= 4);
    }
}

static void ends_that_were_asked_for_are_no_warnings(void **state)
{
    const uint64_t none = 0;
    (void) state;
    listen_to(KIN_LOG_DEBUG);
    kin_process process = start(stay, &none, sizeof none);
    assert_int_equal(kin_process_kill(process), 0);
    assert_int_equal(kin_process_join(process, LONG_MS), 0);
    assert_int_equal(kin_process_kill(process), 0); /* it has ended: nothing to tell */
    assert_int_equal(end_of(process), -KIN_SIGKILL);
    process = start(stay, &none, sizeof none);
    assert_int_equal(kin_process_terminate(process), 0);
    assert_int_equal(end_of(process), -KIN_SIGTERM);
    be_silent();
    assert_int_equal(count_lines(KIN_LOG_INFO, "was killed"), 1);
    assert_int_equal(count_lines(KIN_LOG_INFO, "was asked to end"), 1);
    assert_int_equal(count_lines(KIN_LOG_WARNING, ""), 0);
}

static void why_a_function_did_not_run_is_told(void **state)
{
    (void) state;
    system_set_variable(TEST_MODE, "no_init");
    listen_to(KIN_LOG_ERROR);
    kin_process process = start(return_three, NULL, 0);
    system_set_variable(TEST_MODE, NULL);
    assert_int_equal(kin_process_join(process, LONG_MS), KIN_E_NO_INIT);
    assert_int_equal(kin_process_close(process), 0);
    be_silent();
    assert_int_equal(count_lines(KIN_LOG_ERROR, "could not run its function: KIN_E_NO_INIT"), 1);
}

static void names_cannot_break_a_line(void **state)
{
    kin_process process;
    const kin_process_options options = {.name = "two\nlines\x7f\x1b[1m"};
    (void) state;
    listen_to(KIN_LOG_INFO);
    assert_int_equal(kin_process_start(&process, return_three, NULL, 0, &options), 0);
    assert_int_equal(end_of(process), 3);
    be_silent();
    assert_lines_are_good(KIN_LOG_INFO);
    assert_int_equal(count_lines(KIN_LOG_INFO, "two?lines??[1m (pid"), 2);
}

static void long_names_are_cut(void **state)
{
    char name[256];
    char program[900];
    kin_process process;
    const kin_process_options options = {.name = name, .program = program};
    (void) state;
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    memset(program, 'p', sizeof program - 1);
    program[sizeof program - 1] = '\0';
    listen_to(KIN_LOG_ERROR);
    assert_true(kin_process_start(&process, return_three, NULL, 0, &options) < 0);
    be_silent();
    assert_lines_are_good(KIN_LOG_ERROR);
    assert_int_equal(count_lines(KIN_LOG_ERROR, name), 1);
}

/* The line is told by the thread in the background. */
static void a_worker_that_dies_and_its_successor_are_told_of(void **state)
{
    kin_pool pool;
    const kin_pool_options options = {.workers = 1};
    kin_process first;
    kin_process now = {0};
    (void) state;
    listen_to(KIN_LOG_DEBUG);
    assert_int_equal(kin_pool_create(&pool, &options), 0);
    assert_int_equal(kin_active_children(&first, 1), 1);
    assert_int_equal(kin_process_kill(first), 0);
    int64_t deadline = wait_deadline(LONG_MS);
    while ((kin_active_children(&now, 1) != 1 || now.id == first.id ||
            count_lines(KIN_LOG_INFO, "worker 1 is replaced") == 0) &&
           kin_clock_ns() < deadline) {
        assert_int_equal(kin_sleep(1), 0);
    }
    assert_int_equal(kin_pool_destroy(pool), 0);
    be_silent();
    assert_lines_are_good(KIN_LOG_DEBUG);
    assert_int_equal(count_lines(KIN_LOG_WARNING, "worker 1 died with exit code -9"), 1);
    assert_int_equal(count_lines(KIN_LOG_INFO, "worker 1 is replaced"), 1);
    static const char name[] = "pool-worker-1";
    assert_int_equal(count_lines_with(KIN_LOG_INFO, name, "is started by"), 2);
    assert_int_equal(count_lines_with(KIN_LOG_INFO, name, "ended"), 2);
    unsigned killed = count_lines_with(KIN_LOG_INFO, name, "was killed");
    assert_in_range(killed, 1, 2); /* the second one may have seen before that the pool has ended */
    assert_int_equal(count_lines(KIN_LOG_INFO, name), 4 + killed);
}

static void a_forkserver_is_told_of(void **state)
{
    const kin_process_options options = {.method = KIN_START_FORKSERVER};
    kin_process process;
    (void) state;
    if (!kin_has_start_method(KIN_START_FORKSERVER)) {
        return;
    }
    listen_to(KIN_LOG_DEBUG);
    assert_int_equal(kin_process_start(&process, return_three, NULL, 0, &options), 0);
    assert_int_equal(end_of(process), 3);
    be_silent();
    assert_int_equal(count_lines(KIN_LOG_INFO, "started the forkserver"), 1);
    assert_int_equal(count_lines(KIN_LOG_INFO, "is started by forkserver"), 1);
    assert_int_equal(count_lines(KIN_LOG_INFO, " ended"), 1);
}

/* ---- the callback ---- */

/* Uses kin for what it is told about, and starts processes, of which it would be told again. */
static void use_kin(int level, const char *line, void *context)
{
    kin_arena_usage usage;
    kin_process children[4];
    kin_process process;
    const kin_process_options missing = {.program = "./no-such-program"};
    (void) level;
    _Atomic unsigned *calls = context;
    atomic_fetch_add(calls, 1);
    size_t count = kin_active_children(children, 4);
    for (size_t i = 0; i < count && i < 4; i++) {
        (void) kin_process_join(children[i], 0);
    }
    (void) kin_arena_read_usage(&usage);
    (void) kin_init(NULL, NULL);
    if (strstr(line, "could not be started") != NULL || strstr(line, " ended") != NULL) {
        (void) kin_process_start(&process, return_three, NULL, 0, &missing);
        if (kin_process_start(&process, return_three, NULL, 0, NULL) == 0) {
            (void) kin_process_join(process, KIN_FOREVER);
            (void) kin_process_close(process);
        }
    }
}

static void the_callback_may_use_kin(void **state)
{
    kin_pool pool;
    const kin_pool_options options = {.workers = 2};
    _Atomic unsigned calls = 0;
    (void) state;
    assert_int_equal(kin_set_log(KIN_LOG_DEBUG, use_kin, &calls), 0);
    do_something_of_each();
    /* What ends while it is in the callback, it is not told of. */
    assert_true(atomic_load(&calls) >= 3 && atomic_load(&calls) < 20);
    assert_int_equal(kin_pool_create(&pool, &options), 0);
    int items[8] = {0};
    assert_int_equal(kin_pool_map(pool, call_back, items, 8, sizeof *items, NULL, 0, NULL), 0);
    assert_int_equal(kin_pool_destroy(pool), 0);
    be_silent();
}

static kin_pool ended_pool;

static void end_pool(int level, const char *line, void *context)
{
    (void) level;
    if (strstr(line, "died") != NULL && strstr(line, "worker 1") != NULL) {
        (void) kin_pool_terminate(ended_pool);
        atomic_fetch_add((_Atomic unsigned *) context, 1);
    }
}

/* In the thread that is about to replace a worker. */
static void the_callback_may_use_what_it_is_told_about(void **state)
{
    const kin_pool_options options = {.workers = 2};
    kin_process first;
    _Atomic unsigned told = 0;
    (void) state;
    assert_int_equal(kin_pool_create(&ended_pool, &options), 0);
    assert_int_equal(kin_active_children(&first, 1), 2);
    assert_int_equal(kin_set_log(KIN_LOG_WARNING, end_pool, &told), 0);
    assert_int_equal(kin_process_kill(first), 0);
    int64_t deadline = wait_deadline(LONG_MS);
    while (atomic_load(&told) == 0 && kin_clock_ns() < deadline) {
        assert_int_equal(kin_sleep(1), 0);
    }
    assert_int_equal(atomic_load(&told), 1);
    be_silent();
    assert_int_equal(kin_pool_destroy(ended_pool), 0);
}

static void log_in_thread(void *argument, unsigned number)
{
    _Atomic unsigned *calls = argument;
    const kin_process_options missing = {.program = "./no-such-program"};
    kin_process process;
    for (int i = 0; i < ROUNDS; i++) {
        if (number == 0) {
            (void) kin_set_log(i % 5, i % 2 == 0 ? use_kin : note, calls);
        } else {
            (void) kin_process_start(&process, return_three, NULL, 0, &missing);
        }
    }
}

static void threads_may_speak_while_the_level_changes(void **state)
{
    _Atomic unsigned calls = 0;
    (void) state;
    system_run_threads(THREADS, log_in_thread, &calls);
    be_silent();
}

#if !defined _WIN32

/* In the copy: the callback is still the one that was set before, and counts in shared memory. */
static void count_shared(int level, const char *line, void *context)
{
    (void) level;
    if (strstr(line, "joined the family") != NULL && strstr(line, "kin[process-") != NULL) {
        mark_add(context);
    }
}

static void a_copy_by_fork_speaks_as_its_original_did(void **state)
{
    const kin_process_options options = {.method = KIN_START_FORK};
    kin_process process;
    (void) state;
    mark *m = shared_new(sizeof *m);
    assert_int_equal(kin_set_log(KIN_LOG_DEBUG, count_shared, m), 0);
    for (uint32_t i = 0; i < 10; i++) {
        assert_int_equal(kin_process_start(&process, return_three, NULL, 0, &options), 0);
        assert_int_equal(end_of(process), 3);
        assert_int_equal(atomic_load(&m->value), i + 1);
    }
    be_silent();
    shared_free(m);
}

#endif

/* ---- KIN_LOG, and standard error ---- */

static char path[64];

/* What has been written to standard error since `redirect`. */
static char *read_errors(void)
{
    enum { MOST = 65536 };
    static char text[MOST];
    system_redirect_errors(NULL);
    FILE *file = fopen(path, "rb");
    size_t size = file != NULL ? fread(text, 1, MOST - 1, file) : 0;
    if (file != NULL) {
        (void) fclose(file);
    }
    text[size] = '\0';
    assert_int_equal(remove(path), 0);
    return text;
}

static int fail_in_mode(const char *what, const char *text)
{
    (void) printf("%s in:\n%s\n", what, text);
    return CHILD_FAILED;
}

/* Counts the lines in what was written; -1 if one is not as it should be. */
static int count_written(char *text, int most, unsigned *names)
{
    int count = 0;
    for (char *at = text; *at != '\0'; count++) {
        char name[256];
        unsigned pid;
        const char *rest;
        char *end = strchr(at, '\n');
        if (end == NULL) {
            return -1;
        }
        *end = '\0';
        int level = parse(at, name, sizeof name, &pid, &rest);
        if (level < 1 || level > most) {
            *end = '\n';
            return -1;
        }
        *names |= strcmp(name, "main") == 0 ? 1 : 0;
        *names |= strcmp(name, "process-1") == 0 ? 2 : 0;
        *names |= strcmp(name, "-") == 0 ? 4 : 0;
        *end = '\n';
        at = end + 1;
    }
    return count;
}

/* A life of a family, with standard error in a file. */
static int live(int *argc, char ***argv)
{
    kin_process process;
    (void) snprintf(path, sizeof path, "kin-test-log-%llx.txt",
                    (unsigned long long) kin_clock_ns());
    system_redirect_errors(path); /* the children write there too */
    if (kin_init(argc, argv) != 0 ||
        kin_process_start(&process, return_three, NULL, 0, NULL) != 0 ||
        kin_process_join(process, LONG_MS) != 0 || kin_shutdown() != 0) {
        return CHILD_FAILED;
    }
    return 0;
}

static int mode_silent(int argc, char **argv)
{
    if (live(&argc, &argv) != 0) {
        return fail_in_mode("no life", read_errors());
    }
    char *text = read_errors();
    return text[0] == '\0' ? 0 : fail_in_mode("not silent", text);
}

static int mode_debug(int argc, char **argv)
{
    unsigned names = 0;
    if (live(&argc, &argv) != 0) {
        return fail_in_mode("no life", read_errors());
    }
    char *text = read_errors();
    int count = count_written(text, KIN_LOG_DEBUG, &names);
    if (count < 6 || names != 3 || strstr(text, "founded a family") == NULL ||
        strstr(text, "leaving the family") == NULL || strstr(text, "joined the family") == NULL) {
        return fail_in_mode("missing", text);
    }
    return 0;
}

static int mode_info(int argc, char **argv)
{
    unsigned names = 0;
    if (live(&argc, &argv) != 0) {
        return fail_in_mode("no life", read_errors());
    }
    char *text = read_errors();
    int count = count_written(text, KIN_LOG_INFO, &names);
    return count == 2 && names == 1 ? 0 : fail_in_mode("not two lines", text);
}

/* What the program says itself counts more than the environment; its children know that alone. */
static int mode_chosen(int argc, char **argv)
{
    unsigned names = 0;
    if (kin_set_log(KIN_LOG_NONE, NULL, NULL) != 0 || live(&argc, &argv) != 0) {
        return fail_in_mode("no life", read_errors());
    }
    char *text = read_errors();
    int count = count_written(text, KIN_LOG_DEBUG, &names);
    return count > 0 && names == 2 ? 0 : fail_in_mode("not the child alone", text);
}

/* A child that cannot join says so, without a name. */
static int mode_stranger(int argc, char **argv)
{
    unsigned names = 0;
    (void) snprintf(path, sizeof path, "kin-test-log-%llx.txt",
                    (unsigned long long) kin_clock_ns());
    system_redirect_errors(path);
    if (kin_init(&argc, &argv) != 0) {
        return fail_in_mode("no life", read_errors());
    }
    system_set_variable("KIN_LOG", "error");
    if (run_again("KIN_CHILD=", "1:0:0:0:0", NULL) != EXIT_ATTACH) {
        return fail_in_mode("joined", read_errors());
    }
    char *text = read_errors();
    int count = count_written(text, KIN_LOG_ERROR, &names);
    return count == 1 && names == 4 && strstr(text, "cannot join") != NULL
               ? 0
               : fail_in_mode("not one line", text);
}

#if !defined _WIN32

/* Nobody reads standard error any more: that must end nobody, nor leave a signal behind. */
static int mode_unread(int argc, char **argv)
{
    int ends[2];
    sigset_t pending;
    kin_process process;
    if (pipe(ends) != 0 || dup2(ends[1], STDERR_FILENO) < 0 || close(ends[0]) != 0 ||
        kin_set_log(KIN_LOG_DEBUG, NULL, NULL) != 0 || kin_init(&argc, &argv) != 0 ||
        kin_process_start(&process, return_three, NULL, 0, NULL) != 0 ||
        kin_process_join(process, LONG_MS) != 0 || kin_shutdown() != 0) {
        return CHILD_FAILED;
    }
    return sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 0 ? 0 : 1;
}

static void an_unread_pipe_as_standard_error_ends_nobody(void **state)
{
    (void) state;
    assert_int_equal(run_mode("unread"), 0);
}

#endif

static int mode_no_init(int argc, char **argv)
{
    (void) argc, (void) argv;
    return 3;
}

static void run_with(const char *value, const char *mode)
{
    system_set_variable("KIN_LOG", value);
    int code = run_mode(mode);
    system_set_variable("KIN_LOG", NULL);
    assert_int_equal(code, 0);
}

static void the_environment_chooses_the_level(void **state)
{
    (void) state;
    run_with(NULL, "silent");
    run_with("debug", "debug");
    run_with("info", "info");
    run_with("error", "silent");
    run_with("warning", "silent");
    run_with("none", "silent");
}

static void another_value_means_nothing(void **state)
{
    static const char *const values[] = {"DEBUG", "loud", "4", "debug and much more than fits",
                                         " "};
    (void) state;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        run_with(values[i], "silent");
    }
}

static void the_program_counts_more_than_the_environment(void **state)
{
    (void) state;
    run_with("debug", "chosen");
}

static void a_child_that_cannot_join_says_so(void **state)
{
    (void) state;
    run_with(NULL, "stranger");
}

static const test_mode modes[] = {
    {"silent", mode_silent}, {"debug", mode_debug},       {"info", mode_info},
    {"chosen", mode_chosen}, {"stranger", mode_stranger}, {"no_init", mode_no_init},
#if !defined _WIN32
    {"unread", mode_unread},
#endif
};

int main(int argc, char **argv)
{
    const test_mode *mode = find_mode(modes, sizeof modes / sizeof *modes);
    if (mode != NULL) {
        return mode->run(argc, argv);
    }
    if (kin_init(&argc, &argv) < 0) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        CLEAN_TEST(a_level_that_is_none_is_refused),
        CLEAN_TEST(nothing_is_told_at_level_none),
        CLEAN_TEST(each_level_includes_those_before),
        CLEAN_TEST(ends_that_were_asked_for_are_no_warnings),
        CLEAN_TEST(why_a_function_did_not_run_is_told),
        CLEAN_TEST(names_cannot_break_a_line),
        CLEAN_TEST(long_names_are_cut),
        CLEAN_TEST(a_worker_that_dies_and_its_successor_are_told_of),
        CLEAN_TEST(the_callback_may_use_kin),
        CLEAN_TEST(the_callback_may_use_what_it_is_told_about),
        CLEAN_TEST(threads_may_speak_while_the_level_changes),
#if !defined _WIN32
        CLEAN_TEST(a_copy_by_fork_speaks_as_its_original_did),
        CLEAN_TEST(an_unread_pipe_as_standard_error_ends_nobody),
#endif
        CLEAN_TEST(the_environment_chooses_the_level),
        CLEAN_TEST(another_value_means_nothing),
        CLEAN_TEST(the_program_counts_more_than_the_environment),
        CLEAN_TEST(a_child_that_cannot_join_says_so),
        cmocka_unit_test(a_forkserver_is_told_of),
    };
    return cmocka_run_group_tests(tests, warm_up, NULL);
}
