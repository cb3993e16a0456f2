/* Being asked to end: kin_process_terminate and kin_on_terminate of kin/process.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "support.h"

#include "core/arena.h"
#include "core/platform.h"

#include <stdlib.h>
#include <string.h>

#if !defined _WIN32
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

static const int methods[] = {KIN_START_SPAWN, KIN_START_FORK, KIN_START_FORKSERVER};
enum { METHODS = sizeof methods / sizeof *methods };
enum { GRACE = 300, THREADS = 4, ASKS = 50, ASKERS = 20 };

/* What a child does. */
enum part {
    EXIT_IN_HANDLER,
    SET_A_FLAG,
    IGNORE,
    HANG_IN_HANDLER,
    HANG_AT_EXIT,
    HANG_EVERYWHERE,
    COUNT_SLOWLY,
    COUNT,
    NO_HANDLER,
    TAKE_BACK,
    TAKE_BACK_IN_HANDLER,
    REGISTER_TWICE,
    CHANGE_GRACE,
    HAVE_DAEMON
};

typedef struct board {
    mark arrived;
    mark asked; /* added to by handlers */
    mark go;
    _Atomic uint64_t handle;
    _Atomic uint32_t at_once; /* handlers that run, and the most that ever did */
    _Atomic uint32_t most_at_once;
} board;

typedef struct order {
    uint64_t board;
    int part;
    int grace_ms;
} order;

static board *own_board; /* in a child */

static void exit_with_40(void *context)
{
    mark_add(&((board *) context)->asked);
    kin_exit(40);
}

static void count(void *context)
{
    board *b = context;
    uint32_t now = atomic_fetch_add(&b->at_once, 1) + 1;
    uint32_t most = atomic_load(&b->most_at_once);
    while (now > most && !atomic_compare_exchange_weak(&b->most_at_once, &most, now)) {
    }
    mark_add(&b->asked);
    atomic_fetch_sub(&b->at_once, 1);
}

static void count_slowly(void *context)
{
    board *b = context;
    atomic_fetch_add(&b->at_once, 1);
    mark_add(&b->asked);
    (void) mark_await(&b->go, 1);
    atomic_fetch_sub(&b->at_once, 1);
}

static void hang(void *context)
{
    mark_add(&((board *) context)->asked);
    (void) kin_sleep(KIN_FOREVER);
}

static void hang_at_exit(void *context)
{
    (void) context;
    (void) kin_sleep(KIN_FOREVER);
}

static void take_back_and_count(void *context)
{
    board *b = context;
    mark_add(&b->asked);
    if (kin_on_terminate(NULL, NULL, 0) == 0) {
        mark_add(&b->go);
    }
}

/* In threads of a child: one in a system call, others with locks of the C library and of kin. */
static void hang_in_thread(void *argument, unsigned number)
{
    board *b = argument;
    if (number == 0) {
#if defined _WIN32
        _lock_file(stdout);
        _lock_file(stderr);
#else
        flockfile(stdout);
        flockfile(stderr);
#endif
    } else if (number == 1) {
        (void) arena_lock();
    }
    mark_add(&b->arrived);
    for (;;) {
        platform_sleep_ns(-1);
    }
}

static int start_daemon_in_child(const order *given)
{
    const kin_process_options options = {.daemon = true};
    uint64_t offset = arena_offset(&own_board->go);
    kin_process daemon;
    (void) given;
    CHECK(kin_process_start(&daemon, stay, &offset, sizeof offset, &options) == 0);
    atomic_store(&own_board->handle, daemon.id);
    CHECK(mark_await(&own_board->go, 1));
    return 0;
}

static int set_up_part(const order *given)
{
    board *b = own_board;
    int grace = given->grace_ms;
    switch (given->part) {
    case EXIT_IN_HANDLER:
        return kin_on_terminate(exit_with_40, b, grace);
    case HAVE_DAEMON:
        CHECK(start_daemon_in_child(given) == 0);
        return grace < 0 ? 0 : kin_on_terminate(grace == 0 ? exit_with_40 : count, b, GRACE);
    case SET_A_FLAG:
    case IGNORE:
    case COUNT:
        return kin_on_terminate(count, b, grace);
    case HANG_IN_HANDLER:
    case HANG_EVERYWHERE:
        return kin_on_terminate(hang, b, grace);
    case HANG_AT_EXIT:
        CHECK(kin_at_exit(hang_at_exit, b) == 0);
        return kin_on_terminate(exit_with_40, b, grace);
    case COUNT_SLOWLY:
        return kin_on_terminate(count_slowly, b, grace);
    case TAKE_BACK:
        CHECK(kin_on_terminate(NULL, NULL, 0) == 0); /* there is none */
        CHECK(kin_on_terminate(count, b, grace) == 0);
        CHECK(kin_on_terminate(NULL, NULL, 0) == 0);
        return kin_on_terminate(NULL, NULL, 0);
    case TAKE_BACK_IN_HANDLER:
        return kin_on_terminate(take_back_and_count, b, grace);
    case REGISTER_TWICE:
        CHECK(kin_on_terminate(hang, NULL, 0) == 0);
        return kin_on_terminate(exit_with_40, b, grace);
    case CHANGE_GRACE:
        return kin_on_terminate(count, b, KIN_FOREVER);
    default:
        return 0;
    }
}

/* The thread sanitizer loses a signal that comes to a thread which is not in a system call that it
   knows: there SIGTERM is blocked in all threads but the one of kin's that waits for it. */
static void shield(bool blocked)
{
#if WITH_THREAD_SANITIZER
    sigset_t mask;
    (void) sigemptyset(&mask);
    (void) sigaddset(&mask, SIGTERM);
    (void) pthread_sigmask(blocked ? SIG_BLOCK : SIG_UNBLOCK, &mask, NULL);
#else
    (void) blocked;
#endif
}

/* A process that arrives, and waits for what comes. */
static int play(void *argument, size_t size)
{
    const order *given = argument;
    CHECK(size == sizeof *given);
    own_board = arena_at(given->board);
    shield(given->part != NO_HANDLER && given->part != TAKE_BACK &&
           (given->part != HAVE_DAEMON || given->grace_ms >= 0));
    CHECK(set_up_part(given) == 0);
    if (given->part == HANG_EVERYWHERE) {
        system_run_threads(THREADS, hang_in_thread, own_board);
    }
    mark_add(&own_board->arrived);
    if (given->part == SET_A_FLAG) {
        CHECK(mark_await(&own_board->asked, 1));
        return 41;
    }
    if (given->part == CHANGE_GRACE) {
        CHECK(mark_await(&own_board->asked, 1));
        CHECK(kin_on_terminate(count, own_board, GRACE) == 0);
    }
    if (given->part == COUNT || given->part == COUNT_SLOWLY) {
        CHECK(mark_await(&own_board->go, 2));
        return 42;
    }
    if (given->part == TAKE_BACK_IN_HANDLER) {
        CHECK(mark_await(&own_board->go, 1));
        shield(false);
    }
    (void) kin_sleep(KIN_FOREVER);
    return CHILD_FAILED;
}

static kin_process start_part(int method, board *b, enum part part, int grace_ms)
{
    const kin_process_options options = {.method = method};
    const order given = {arena_offset(b), (int) part, grace_ms};
    kin_process process = {0};
    assert_int_equal(kin_process_start(&process, play, &given, sizeof given, &options), 0);
    assert_true(mark_await(&b->arrived, part == HANG_EVERYWHERE ? THREADS : 1));
    return process;
}

/* Starts a child that does that, asks it, and gives its exit code. */
static int ask_part(int method, enum part part, int grace_ms, uint32_t asked)
{
    board *b = shared_new(sizeof *b);
    kin_process process = start_part(method, b, part, grace_ms);
    assert_int_equal(kin_process_terminate(process), 0);
    int code = end_of(process);
    assert_int_equal(atomic_load(&b->asked.value), asked);
    shared_free(b);
    return code;
}

/* The thread sanitizer delivers no signals in a copy of a process that had several threads. */
static bool is_tried(int method)
{
    return kin_has_start_method(method) && !(WITH_THREAD_SANITIZER && method == KIN_START_FORK);
}

static void each_method(void (*test)(int method))
{
    for (int i = 0; i < METHODS; i++) {
        if (is_tried(methods[i])) {
            test(methods[i]);
        }
    }
}

/* ---- what happens ---- */

static void bad_arguments_are_refused(void **state)
{
    (void) state;
    assert_int_equal(kin_on_terminate(count, NULL, -2), KIN_E_INVALID);
    assert_int_equal(kin_on_terminate(NULL, NULL, -2), KIN_E_INVALID);
    assert_int_equal(kin_on_terminate(NULL, NULL, 0), 0);
}

static void exit_in_handler(int method)
{
    assert_int_equal(ask_part(method, EXIT_IN_HANDLER, KIN_FOREVER, 1), 40);
    assert_int_equal(ask_part(method, EXIT_IN_HANDLER, LONG_MS, 1), 40);
}

static void a_handler_may_end_its_process(void **state)
{
    (void) state;
    each_method(exit_in_handler);
}

static void set_a_flag(int method)
{
    assert_int_equal(ask_part(method, SET_A_FLAG, KIN_FOREVER, 1), 41);
}

static void a_handler_may_have_its_process_end(void **state)
{
    (void) state;
    each_method(set_a_flag);
}

static void ignore(int method)
{
    assert_int_equal(ask_part(method, IGNORE, GRACE, 1), -KIN_SIGTERM);
}

static void who_ignores_it_is_ended_after_the_grace(void **state)
{
    (void) state;
    int64_t before = kin_clock_ns();
    each_method(ignore);
    assert_true(kin_clock_ns() - before >= GRACE * INT64_C(1000000));
}

static void who_has_no_handler_is_ended(void **state)
{
    (void) state;
    for (int i = 0; i < METHODS; i++) {
        if (kin_has_start_method(methods[i])) {
            assert_int_equal(ask_part(methods[i], NO_HANDLER, 0, 0), -KIN_SIGTERM);
        }
    }
}

static void who_has_not_joined_yet_is_ended(void **state)
{
    (void) state;
    board *b = shared_new(sizeof *b);
    for (int i = 0; i < 10; i++) {
        const order given = {arena_offset(b), NO_HANDLER, 0};
        kin_process process = start(play, &given, sizeof given);
        assert_int_equal(kin_process_terminate(process), 0);
        assert_int_equal(end_of(process), -KIN_SIGTERM);
    }
    shared_free(b);
}

/* ---- the hard end ---- */

static void a_handler_that_hangs_does_not_keep_its_process(void **state)
{
    (void) state;
    assert_int_equal(ask_part(KIN_START_SPAWN, HANG_IN_HANDLER, GRACE, 1), -KIN_SIGTERM);
}

static void what_hangs_at_exit_does_not_keep_its_process(void **state)
{
    (void) state;
    assert_int_equal(ask_part(KIN_START_SPAWN, HANG_AT_EXIT, GRACE, 1), -KIN_SIGTERM);
}

static void threads_that_hold_locks_do_not_keep_their_process(void **state)
{
    (void) state;
    assert_int_equal(ask_part(KIN_START_SPAWN, HANG_EVERYWHERE, GRACE, 1), -KIN_SIGTERM);
}

static void a_grace_that_is_set_later_counts_from_the_first_request(void **state)
{
    (void) state;
    assert_int_equal(ask_part(KIN_START_SPAWN, CHANGE_GRACE, 0, 1), -KIN_SIGTERM);
}

static void no_grace_is_an_end_at_once(void **state)
{
    (void) state;
    board *b = shared_new(sizeof *b);
    kin_process process = start_part(KIN_START_SPAWN, b, HANG_IN_HANDLER, 0);
    assert_int_equal(kin_process_terminate(process), 0);
    assert_int_equal(end_of(process), -KIN_SIGTERM);
    shared_free(b);
}

static void a_kill_is_no_request(void **state)
{
    (void) state;
    board *b = shared_new(sizeof *b);
    kin_process process = start_part(KIN_START_SPAWN, b, COUNT, KIN_FOREVER);
    kill_and_close(process);
    assert_int_equal(atomic_load(&b->asked.value), 0);
    shared_free(b);
}

/* ---- handlers ---- */

static void a_handler_that_is_taken_back_does_not_run(void **state)
{
    (void) state;
    assert_int_equal(ask_part(KIN_START_SPAWN, TAKE_BACK, LONG_MS, 0), -KIN_SIGTERM);
}

/* The first request only takes the handler back; the second does what it did before. */
static void a_handler_may_take_itself_back(void **state)
{
    (void) state;
    board *b = shared_new(sizeof *b);
    kin_process process = start_part(KIN_START_SPAWN, b, TAKE_BACK_IN_HANDLER, GRACE);
    assert_int_equal(kin_process_terminate(process), 0);
    assert_true(mark_await(&b->go, 1));
    assert_int_equal(kin_process_join(process, 2 * GRACE),
                     KIN_E_TIMEOUT); /* nor is there a grace */
    assert_int_equal(kin_process_terminate(process), 0);
    assert_int_equal(end_of(process), -KIN_SIGTERM);
    assert_int_equal(atomic_load(&b->asked.value), 1);
    shared_free(b);
}

static void the_last_handler_counts(void **state)
{
    (void) state;
    assert_int_equal(ask_part(KIN_START_SPAWN, REGISTER_TWICE, LONG_MS, 1), 40);
}

static void each_request_has_its_turn(void **state)
{
    (void) state;
    board *b = shared_new(sizeof *b);
    kin_process process = start_part(KIN_START_SPAWN, b, COUNT_SLOWLY, KIN_FOREVER);
    assert_int_equal(kin_process_terminate(process), 0);
    assert_true(mark_await(&b->asked, 1));
    assert_int_equal(kin_process_terminate(process), 0); /* while the handler runs */
    assert_int_equal(kin_process_join(process, 50), KIN_E_TIMEOUT);
    assert_int_equal(atomic_load(&b->asked.value), 1);
    assert_int_equal(atomic_load(&b->at_once), 1);
    mark_add(&b->go);
    assert_true(mark_await(&b->asked, 2));
    assert_int_equal(kin_process_is_alive(process), 1);
    mark_add(&b->go);
    assert_int_equal(end_of(process), 42);
    shared_free(b);
}

/* ---- those who ask ---- */

static int ask_other(void *argument, size_t size)
{
    kin_process other;
    CHECK(size == sizeof other);
    memcpy(&other, argument, sizeof other);
    CHECK(kin_process_terminate(other) == 0);
    return 0;
}

static void ask_by_sibling(int method)
{
    board *b = shared_new(sizeof *b);
    kin_process process = start_part(method, b, EXIT_IN_HANDLER, LONG_MS);
    assert_int_equal(end_of(start(ask_other, &process, sizeof process)), 0);
    assert_int_equal(end_of(process), 40);
    assert_int_equal(atomic_load(&b->asked.value), 1);
    shared_free(b);
}

static void every_member_may_ask(void **state)
{
    (void) state;
    each_method(ask_by_sibling);
}

static int mode_ask_self(int argc, char **argv)
{
    CHECK(kin_init(&argc, &argv) == 0);
    board *b = shared_new(sizeof *b);
    CHECK(kin_on_terminate(exit_with_40, b, LONG_MS) == 0);
    CHECK(kin_process_terminate(kin_current_process()) == 0);
    (void) kin_sleep(LONG_MS);
    return CHILD_FAILED;
}

static void a_process_may_ask_itself(void **state)
{
    (void) state;
    assert_int_equal(run_mode("ask_self"), 40);
}

typedef struct storm {
    kin_process process;
    _Atomic int wrong;
} storm;

static void ask_often(void *argument, unsigned number)
{
    storm *s = argument;
    (void) number;
    for (int i = 0; i < ASKS; i++) {
        s->wrong += kin_process_terminate(s->process) != 0;
    }
}

static int storm_in_child(void *argument, size_t size)
{
    storm s = {.wrong = 0};
    CHECK(size == sizeof s.process);
    memcpy(&s.process, argument, sizeof s.process);
    system_run_threads(THREADS, ask_often, &s);
    return s.wrong;
}

static void a_storm_of_requests_is_weathered(void **state)
{
    (void) state;
    for (int i = 0; i < METHODS; i++) {
        if (!is_tried(methods[i])) {
            continue;
        }
        board *b = shared_new(sizeof *b);
        storm s = {start_part(methods[i], b, COUNT, KIN_FOREVER), 0};
        kin_process other = start(storm_in_child, &s.process, sizeof s.process);
        system_run_threads(THREADS, ask_often, &s);
        assert_int_equal(s.wrong, 0);
        assert_int_equal(end_of(other), 0);
        assert_true(mark_await(&b->asked, 1));
        assert_int_equal(kin_process_is_alive(s.process), 1);
        atomic_store(&b->go.value, 2);
        mark_add(&b->go);
        assert_int_equal(end_of(s.process), 42);
        assert_int_equal(atomic_load(&b->most_at_once), 1);
        assert_true(atomic_load(&b->asked.value) <= 2 * THREADS * ASKS);
        shared_free(b);
    }
}

/* What is asked for while the process ends, or after that, is no error. */
static void a_storm_that_ends_the_process_is_no_error(void **state)
{
    (void) state;
    board *b = shared_new(sizeof *b);
    storm s = {start_part(KIN_START_SPAWN, b, EXIT_IN_HANDLER, LONG_MS), 0};
    kin_process other = start(storm_in_child, &s.process, sizeof s.process);
    system_run_threads(THREADS, ask_often, &s);
    assert_int_equal(s.wrong, 0);
    assert_int_equal(end_of(other), 0);
    int code = end_of(s.process);
    /* In its last moments nobody is there any more who would run the handler. */
    assert_true(code == 40 || code == -KIN_SIGTERM);
    shared_free(b);
}

static int ask_until_killed(void *argument, size_t size)
{
    kin_process other;
    CHECK(size == sizeof other);
    memcpy(&other, argument, sizeof other);
    for (;;) {
        CHECK(kin_process_terminate(other) == 0);
    }
}

static void who_asks_may_be_killed_at_any_moment(void **state)
{
    uint64_t random = 5;
    (void) state;
    board *b = shared_new(sizeof *b);
    kin_process process = start_part(KIN_START_SPAWN, b, COUNT, KIN_FOREVER);
    for (int i = 0; i < ASKERS; i++) {
        uint32_t before = atomic_load(&b->asked.value);
        kin_process asker = start(ask_until_killed, &process, sizeof process);
        assert_true(mark_await(&b->asked, before + 1));
        for (uint32_t spin = next_random(&random) % 4096; spin > 0; spin--) {
            (void) kin_clock_ns();
        }
        kill_and_close(asker);
    }
    assert_int_equal(kin_process_is_alive(process), 1);
    atomic_store(&b->go.value, 2);
    mark_add(&b->go);
    assert_int_equal(end_of(process), 42);
    shared_free(b);
}

/* ---- daemons ---- */

/* Asked for without a handler (grace below 0), with one that ends the process, and one that does
   not. */
static void end_with_daemon(int grace_ms, int expected)
{
    board *b = shared_new(sizeof *b);
    kin_process process = start_part(KIN_START_SPAWN, b, HAVE_DAEMON, grace_ms);
    kin_process daemon = {atomic_load(&b->handle)};
    assert_int_equal(kin_process_is_alive(daemon), 1);
    assert_int_equal(kin_process_terminate(process), 0);
    assert_int_equal(end_of(process), expected);
    int status = kin_process_join(daemon, LONG_MS);
    assert_true(status == 0 || status == KIN_E_HANDLE);
    shared_free(b);
}

static void daemons_end_with_who_was_asked(void **state)
{
    (void) state;
    end_with_daemon(-1, -KIN_SIGTERM);
    end_with_daemon(0, 40);
    end_with_daemon(1, -KIN_SIGTERM);
}

/* ---- before, after, and in copies ---- */

static void fail_in_handler(void *context)
{
    (void) context;
    _Exit(CHILD_FAILED);
}

/* As one from outside does. */
static bool ask_this_process(void)
{
    platform_identity self;
    platform_process process;
    const platform_memory none = {.object = PLATFORM_NONE};
    return platform_process_self(&self) == 0 &&
           platform_process_open(&process, &self, &none) == 0 &&
           platform_process_kill(&process, true) == 0;
}

static int mode_shutdown(int argc, char **argv)
{
    CHECK(kin_on_terminate(fail_in_handler, NULL, 0) == KIN_E_INIT);
    CHECK(kin_init(&argc, &argv) == 0);
    CHECK(kin_on_terminate(fail_in_handler, NULL, KIN_FOREVER) == 0);
    CHECK(kin_shutdown() == 0);
    CHECK(kin_on_terminate(fail_in_handler, NULL, 0) == KIN_E_INIT);
    (void) ask_this_process();
    (void) kin_sleep(LONG_MS);
    return CHILD_FAILED;
}

static void kin_shutdown_takes_the_handler_back(void **state)
{
    (void) state;
    assert_int_equal(run_mode("shutdown"), -KIN_SIGTERM);
}

static int mode_again(int argc, char **argv)
{
    for (int i = 0; i < 3; i++) {
        CHECK(kin_init(&argc, &argv) == 0);
        CHECK(kin_on_terminate(fail_in_handler, NULL, KIN_FOREVER) == 0);
        CHECK(kin_shutdown() == 0);
    }
    CHECK(kin_init(&argc, &argv) == 0);
    board *b = shared_new(sizeof *b);
    for (uint32_t i = 0; i < 20; i++) {
        CHECK(kin_on_terminate(count, b, KIN_FOREVER) == 0);
        CHECK(ask_this_process());
        CHECK(mark_await(&b->asked, i + 1));
        CHECK(kin_on_terminate(NULL, NULL, 0) == 0);
    }
    CHECK(kin_on_terminate(exit_with_40, b, KIN_FOREVER) == 0);
    CHECK(ask_this_process());
    (void) kin_sleep(LONG_MS);
    return CHILD_FAILED;
}

static void handlers_can_be_set_again_and_again(void **state)
{
    (void) state;
    assert_int_equal(run_mode("again"), 40);
}

#if !defined _WIN32

static void exit_with_55(int number)
{
    (void) number;
    _exit(55);
}

static _Atomic int noted; /* by a handler, in whatever thread it runs */

static void note_signal(int number)
{
    noted = number;
}

static int be_asked_by_signal(void *argument, size_t size)
{
    (void) argument, (void) size;
    CHECK(kill(getpid(), SIGTERM) == 0);
    (void) kin_sleep(LONG_MS);
    return CHILD_FAILED;
}

/* A handler of the program's own is replaced, and comes back. */
static int mode_own_handler(int argc, char **argv)
{
    struct sigaction found;
    CHECK(signal(SIGTERM, exit_with_55) != SIG_ERR);
    CHECK(kin_init(&argc, &argv) == 0);
    board *b = shared_new(sizeof *b);
    CHECK(kin_on_terminate(count, b, KIN_FOREVER) == 0);
    CHECK(kill(getpid(), SIGTERM) == 0);
    CHECK(mark_await(&b->asked, 1));
    CHECK(kin_on_terminate(NULL, NULL, 0) == 0);
    CHECK(sigaction(SIGTERM, NULL, &found) == 0 && found.sa_handler == exit_with_55);
    return be_asked_by_signal(NULL, 0);
}

static void a_handler_of_the_programs_own_is_restored(void **state)
{
    (void) state;
    assert_int_equal(run_mode("own_handler"), 55);
}

/* Nobody in the program lets SIGTERM through; afterwards it is left to those who wait for it. */
static int mode_blocked(int argc, char **argv)
{
    sigset_t mask;
    int number = 0;
    CHECK(sigemptyset(&mask) == 0 && sigaddset(&mask, SIGTERM) == 0);
    CHECK(sigprocmask(SIG_BLOCK, &mask, NULL) == 0);
    CHECK(kin_init(&argc, &argv) == 0);
    board *b = shared_new(sizeof *b);
    for (uint32_t i = 0; i < 20; i++) {
        CHECK(kin_on_terminate(count, b, KIN_FOREVER) == 0);
        CHECK(kill(getpid(), SIGTERM) == 0);
        CHECK(mark_await(&b->asked, i + 1));
        CHECK(kin_on_terminate(NULL, NULL, 0) == 0);
        CHECK(kill(getpid(), SIGTERM) == 0);
        CHECK(sigwait(&mask, &number) == 0 && number == SIGTERM);
    }
    return 44;
}

static void a_signal_that_the_program_blocks_is_a_request_all_the_same(void **state)
{
    (void) state;
    assert_int_equal(run_mode("blocked"), 44);
}

/* The copies that kin makes, and those of the program's own, begin without, also while requests
   come in. */
static int mode_copies(int argc, char **argv)
{
    CHECK(kin_init(&argc, &argv) == 0);
    own_board = shared_new(sizeof *own_board);
    CHECK(kin_on_terminate(count, own_board, KIN_FOREVER) == 0);
    for (int i = 0; i < METHODS; i++) {
        const kin_process_options options = {.method = methods[i]};
        kin_process process;
        int code = 0;
        CHECK(kin_process_start(&process, be_asked_by_signal, NULL, 0, &options) == 0);
        CHECK(kin_process_join(process, LONG_MS) == 0);
        CHECK(kin_process_exit_code(process, &code) == 0 && code == -KIN_SIGTERM);
    }
    for (int i = 0; i < 200; i++) {
        int status = 0;
        pid_t copy = fork();
        if (copy == 0) {
            _exit(be_asked_by_signal(NULL, 0));
        }
        CHECK(copy > 0);
        CHECK(i % 2 == 0 || kill(copy, SIGTERM) == 0); /* perhaps before fork has returned there */
        CHECK(i % 3 != 0 || kill(getpid(), SIGTERM) == 0);
        CHECK(waitpid(copy, &status, 0) == copy);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    }
    CHECK(mark_await(&own_board->asked, 1));
    /* And may have their own. */
    pid_t copy = fork();
    int status = 0;
    if (copy == 0 && WITH_THREAD_SANITIZER) {
        _exit(40); /* see is_tried */
    }
    if (copy == 0) {
        if (kin_on_terminate(exit_with_40, own_board, LONG_MS) == 0) {
            (void) be_asked_by_signal(NULL, 0);
        }
        _exit(CHILD_FAILED);
    }
    CHECK(copy > 0 && waitpid(copy, &status, 0) == copy);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 40);
    return 45;
}

static void copies_begin_without_a_handler(void **state)
{
    (void) state;
    assert_int_equal(run_mode("copies"), 45);
}

static int be_preloaded(void *argument, size_t size)
{
    (void) argument, (void) size;
    return kin_on_terminate(fail_in_handler, NULL, KIN_FOREVER);
}

static int mode_preload(int argc, char **argv)
{
    const kin_process_options options = {.method = KIN_START_FORKSERVER};
    CHECK(kin_init(&argc, &argv) == 0);
    CHECK(kin_set_forkserver_preload(be_preloaded) == 0);
    for (int i = 0; i < 5; i++) {
        kin_process process;
        int code = 0;
        CHECK(kin_process_start(&process, be_asked_by_signal, NULL, 0, &options) == 0);
        CHECK(kin_process_join(process, LONG_MS) == 0);
        CHECK(kin_process_exit_code(process, &code) == 0 && code == -KIN_SIGTERM);
    }
    return 46;
}

static void copies_of_a_forkserver_begin_without_its_handler(void **state)
{
    (void) state;
    assert_int_equal(run_mode("preload"), 46);
}

/* A handler that the program sets later is its own affair; taking kin's back leaves it. */
static int mode_replaced(int argc, char **argv)
{
    struct sigaction found;
    CHECK(kin_init(&argc, &argv) == 0);
    CHECK(kin_on_terminate(fail_in_handler, NULL, 0) == 0);
    CHECK(signal(SIGTERM, note_signal) != SIG_ERR);
    CHECK(kill(getpid(), SIGTERM) == 0);
    while (noted != SIGTERM) {
        CHECK(kin_sleep(1) == 0);
    }
    CHECK(kin_on_terminate(NULL, NULL, 0) == 0);
    CHECK(sigaction(SIGTERM, NULL, &found) == 0 && found.sa_handler == note_signal);
    return 47;
}

static void a_handler_that_the_program_sets_later_stays(void **state)
{
    (void) state;
    assert_int_equal(run_mode("replaced"), 47);
}

#endif

static const test_mode modes[] = {
    {"ask_self", mode_ask_self},       {"shutdown", mode_shutdown}, {"again", mode_again},
#if !defined _WIN32
    {"own_handler", mode_own_handler}, {"blocked", mode_blocked},   {"copies", mode_copies},
    {"preload", mode_preload},         {"replaced", mode_replaced},
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
    /* Without setup: the forkserver looks at its children when it likes. */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_arguments_are_refused),
        cmocka_unit_test(a_handler_may_end_its_process),
        cmocka_unit_test(a_handler_may_have_its_process_end),
        cmocka_unit_test(who_ignores_it_is_ended_after_the_grace),
        cmocka_unit_test(who_has_no_handler_is_ended),
        cmocka_unit_test(who_has_not_joined_yet_is_ended),
        cmocka_unit_test(a_handler_that_hangs_does_not_keep_its_process),
        cmocka_unit_test(what_hangs_at_exit_does_not_keep_its_process),
        cmocka_unit_test(threads_that_hold_locks_do_not_keep_their_process),
        cmocka_unit_test(a_grace_that_is_set_later_counts_from_the_first_request),
        cmocka_unit_test(no_grace_is_an_end_at_once),
        cmocka_unit_test(a_kill_is_no_request),
        cmocka_unit_test(a_handler_that_is_taken_back_does_not_run),
        cmocka_unit_test(a_handler_may_take_itself_back),
        cmocka_unit_test(the_last_handler_counts),
        cmocka_unit_test(each_request_has_its_turn),
        cmocka_unit_test(every_member_may_ask),
        cmocka_unit_test(a_process_may_ask_itself),
        cmocka_unit_test(a_storm_of_requests_is_weathered),
        cmocka_unit_test(a_storm_that_ends_the_process_is_no_error),
        cmocka_unit_test(who_asks_may_be_killed_at_any_moment),
        cmocka_unit_test(daemons_end_with_who_was_asked),
        cmocka_unit_test(kin_shutdown_takes_the_handler_back),
        cmocka_unit_test(handlers_can_be_set_again_and_again),
#if !defined _WIN32
        cmocka_unit_test(a_handler_of_the_programs_own_is_restored),
        cmocka_unit_test(a_signal_that_the_program_blocks_is_a_request_all_the_same),
        cmocka_unit_test(copies_begin_without_a_handler),
        cmocka_unit_test(copies_of_a_forkserver_begin_without_its_handler),
        cmocka_unit_test(a_handler_that_the_program_sets_later_stays),
#endif
    };
    return cmocka_run_group_tests(tests, warm_up, NULL);
}
