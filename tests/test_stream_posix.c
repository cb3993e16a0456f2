/* What only POSIX can do to a stream: signals, descriptors that run out, standard streams that are
   closed, permissions. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "support_stream.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

static intptr_t own;
static intptr_t of_child;

static void open_pipe(enum platform_open how)
{
    assert_int_equal(platform_stream_pipe(&own, &of_child, how), 0);
}

static void close_pipe(void)
{
    platform_stream_close(own);
    platform_stream_close(of_child);
}

/* ---- SIGPIPE ---- */

static _Atomic int signals;

static void count_signal(int number)
{
    (void) number;
    atomic_fetch_add(&signals, 1);
}

static void set_handler(int number, void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler}; /* calls are not begun anew */
    (void) sigemptyset(&action.sa_mask);
    assert_int_equal(sigaction(number, &action, NULL), 0);
}

static void set_blocked(int number, bool blocked)
{
    sigset_t set;
    (void) sigemptyset(&set);
    (void) sigaddset(&set, number);
    assert_int_equal(pthread_sigmask(blocked ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL), 0);
}

static bool is_pending(int number)
{
    sigset_t set;
    (void) sigemptyset(&set);
    assert_int_equal(sigpending(&set), 0);
    return sigismember(&set, number) == 1;
}

static void write_to_nobody(void)
{
    size_t done = 77;
    sigset_t before;
    sigset_t after;
    open_pipe(PLATFORM_WRITE);
    platform_stream_close(of_child);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &before), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(platform_stream_write(own, "a", 1, &done, 0), KIN_E_CLOSED);
        assert_int_equal(done, 0);
    }
    assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &after), 0);
    for (int number = 1; number < 32; number++) {
        assert_int_equal(sigismember(&after, number), sigismember(&before, number));
    }
    platform_stream_close(own);
}

static void a_closed_pipe_sends_the_program_no_signal(void **state)
{
    (void) state;
    set_handler(SIGPIPE, SIG_DFL); /* which would end it */
    write_to_nobody();
    set_handler(SIGPIPE, SIG_IGN);
    write_to_nobody();
    signals = 0;
    set_handler(SIGPIPE, count_signal);
    write_to_nobody();
    assert_int_equal(signals, 0);
    set_blocked(SIGPIPE, true);
    write_to_nobody();
    assert_false(is_pending(SIGPIPE));
    set_blocked(SIGPIPE, false);
    assert_int_equal(signals, 0);
    set_handler(SIGPIPE, SIG_DFL);
}

static void a_signal_that_the_program_has_waiting_stays(void **state)
{
    (void) state;
    signals = 0;
    set_handler(SIGPIPE, count_signal);
    set_blocked(SIGPIPE, true);
    assert_int_equal(raise(SIGPIPE), 0);
    write_to_nobody();
    assert_true(is_pending(SIGPIPE));
    assert_int_equal(signals, 0);
    set_blocked(SIGPIPE, false);
    assert_int_equal(signals, 1);
    set_handler(SIGPIPE, SIG_DFL);
}

/* ---- a storm of signals ---- */

static void set_storm(bool on)
{
    const int every_us = on ? 500 : 0;
    const struct itimerval timer = {{0, every_us}, {0, every_us}};
    if (on) {
        set_handler(SIGALRM, count_signal);
    }
    assert_int_equal(setitimer(ITIMER_REAL, &timer, NULL), 0);
    if (!on) {
        set_handler(SIGALRM, SIG_IGN);
    }
}

/* Waits for what does not come, each time for that long, until signals have come meanwhile. */
static bool wait_in_storm(enum platform_open how, int64_t wait, size_t *written)
{
    bool good = true;
    int64_t begun = platform_clock_ns();
    for (signals = 0; good && signals < 4 && platform_clock_ns() - begun < LONG_TIME;) {
        char byte;
        size_t done = 0;
        int64_t since = platform_clock_ns();
        int status = how == PLATFORM_READ
                         ? platform_stream_read(own, &byte, 1, &done, wait)
                         : platform_stream_write(own, stream_pattern, STREAM_MIB, &done, wait);
        good = status == KIN_E_TIMEOUT && platform_clock_ns() - since >= wait;
        *written += done;
    }
    return good && signals >= 4;
}

static void no_signal_cuts_a_wait_short(void **state)
{
    (void) state;
    for (enum platform_open how = PLATFORM_READ; how <= PLATFORM_WRITE; how++) {
        size_t written = 0;
        open_pipe(how);
        set_storm(true);
        bool good = wait_in_storm(how, 100 * MILLISECOND, &written);
        set_storm(false);
        assert_true(good);
        platform_stream_close(own);
        if (how == PLATFORM_WRITE) {
            assert_int_equal(read_to_end(of_child, stream_taken, STREAM_MIB), written);
        }
        platform_stream_close(of_child);
    }
}

static int results[2];

/* A reader as slow as it can be while the storm goes on, and the writer; or the other way round. */
static void use_own(void *how, unsigned number)
{
    const bool reads = *(enum platform_open *) how == PLATFORM_READ;
    const size_t size = 4 * STREAM_MIB;
    size_t done = 0;
    size_t length = 0;
    int status = 0;
    if (number == 0 && reads) {
        while (status == 0) {
            status = platform_stream_read(own, stream_taken + length, 4096, &done, LONG_TIME);
            length += done;
        }
        results[0] = status == KIN_E_CLOSED && length == size ? 0 : CHILD_FAILED;
    } else if (number == 0) {
        status = platform_stream_write(own, stream_pattern, size, &done, LONG_TIME);
        results[0] = status == 0 && done == size ? 0 : CHILD_FAILED;
    } else if (reads) {
        results[1] = system_write(of_child, stream_pattern, size) ? 0 : CHILD_FAILED;
    } else {
        results[1] = read_to_end(of_child, stream_taken, size) == size ? 0 : CHILD_FAILED;
    }
    platform_stream_close(number == 0 ? own : of_child);
}

static void nothing_is_lost_in_a_storm_of_signals(void **state)
{
    (void) state;
    for (enum platform_open how = PLATFORM_READ; how <= PLATFORM_WRITE; how++) {
        memset(stream_taken, 0, 4 * STREAM_MIB);
        open_pipe(how);
        set_storm(true);
        system_run_threads(2, use_own, &how);
        set_storm(false);
        assert_int_equal(results[0], 0);
        assert_int_equal(results[1], 0);
        assert_memory_equal(stream_taken, stream_pattern, 4 * STREAM_MIB);
    }
}

/* ---- descriptors ---- */

static void only_the_own_end_does_not_block(void **state)
{
    (void) state;
    for (enum platform_open how = PLATFORM_READ; how <= PLATFORM_WRITE; how++) {
        open_pipe(how);
        assert_int_equal(fcntl((int) own, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
        assert_int_equal(fcntl((int) of_child, F_GETFL) & O_NONBLOCK, 0);
        close_pipe();
    }
}

static void no_stream_takes_the_place_of_a_standard_one(void **state)
{
    (void) state;
    int saved[3];
    intptr_t handles[5];
    int status = 0;
    (void) fflush(stdout);
    (void) fflush(stderr);
    for (int i = 0; i < 3; i++) {
        saved[i] = fcntl(i, F_DUPFD_CLOEXEC, 50);
        assert_true(saved[i] >= 50);
    }
    for (int i = 0; i < 3; i++) {
        (void) close(i);
    }
    status += platform_stream_pipe(&handles[0], &handles[1], PLATFORM_READ);
    status += platform_stream_pipe(&handles[2], &handles[3], PLATFORM_WRITE);
    status += platform_stream_null(&handles[4], PLATFORM_READ);
    bool closed = true;
    for (int i = 0; i < 3; i++) {
        closed = closed && fcntl(i, F_GETFD) < 0;
        (void) dup2(saved[i], i);
        (void) close(saved[i]);
    }
    assert_int_equal(status, 0);
    assert_true(closed);
    assert_true(system_write(handles[1], "a", 1));
    for (int i = 0; i < 5; i++) {
        assert_true(handles[i] > 2);
        assert_false(system_is_inherited(handles[i]));
        platform_stream_close(handles[i]);
    }
}

/* How many more descriptors this process may have. */
static void leave_descriptors(int count, struct rlimit *before)
{
    assert_int_equal(getrlimit(RLIMIT_NOFILE, before), 0);
    int next = fcntl(0, F_DUPFD_CLOEXEC, 0);
    assert_true(next >= 0);
    (void) close(next);
    const struct rlimit limit = {(rlim_t) (next + count), before->rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void descriptors_that_run_out_are_told(void **state)
{
    (void) state;
    struct rlimit before;
    int statuses[4];
    intptr_t file = 0;
    leave_descriptors(0, &before);
    statuses[0] = platform_stream_open(&file, "/dev/null", PLATFORM_READ);
    statuses[1] = platform_stream_null(&file, PLATFORM_WRITE);
    statuses[2] = platform_stream_pipe(&own, &of_child, PLATFORM_READ);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    leave_descriptors(1, &before);
    statuses[3] = platform_stream_pipe(&own, &of_child, PLATFORM_WRITE);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(statuses[i], KIN_E_DESCRIPTORS);
    }
    assert_int_equal(file, PLATFORM_NONE);
    assert_int_equal(own, PLATFORM_NONE);
    assert_int_equal(of_child, PLATFORM_NONE);
}

/* ---- permissions ---- */

static void what_is_not_permitted_is_told(void **state)
{
    (void) state;
    const uid_t nobody = 65534;
    char path[64];
    intptr_t file;
    (void) snprintf(path, sizeof path, "stream %ld", (long) getpid());
    assert_int_equal(platform_stream_open(&file, path, PLATFORM_WRITE), 0);
    platform_stream_close(file);
    assert_int_equal(chmod(path, 0), 0);
    /* Nothing stops root, who therefore is somebody else for a moment. */
    bool root = geteuid() == 0;
    bool stopped = !root || seteuid(nobody) == 0;
    int statuses[3] = {0};
    for (enum platform_open how = PLATFORM_READ; how <= PLATFORM_APPEND; how++) {
        statuses[how] = stopped ? platform_stream_open(&file, path, how) : 0;
    }
    if (root) {
        assert_int_equal(seteuid(0), 0);
    }
    system_remove(path);
    if (!stopped) {
        skip();
    }
    for (enum platform_open how = PLATFORM_READ; how <= PLATFORM_APPEND; how++) {
        assert_int_equal(statuses[how], KIN_E_PERMISSION);
    }
}

static int prepare(void **state)
{
    (void) state;
    stream_prepare();
    return 0;
}

static int clear(void **state)
{
    (void) state;
    stream_clear();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STREAM_TEST(a_closed_pipe_sends_the_program_no_signal),
        STREAM_TEST(a_signal_that_the_program_has_waiting_stays),
        STREAM_TEST(no_signal_cuts_a_wait_short),
        STREAM_TEST(nothing_is_lost_in_a_storm_of_signals),
        STREAM_TEST(only_the_own_end_does_not_block),
        STREAM_TEST(no_stream_takes_the_place_of_a_standard_one),
        STREAM_TEST(descriptors_that_run_out_are_told),
        STREAM_TEST(what_is_not_permitted_is_told),
    };
    return cmocka_run_group_tests(tests, prepare, clear);
}
