/* How processes end, and what is told of it: exit codes, signals, and what Windows has in their
   place. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "support.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#if defined _WIN32
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#else
#include <sys/resource.h>
#include <unistd.h>
#endif

static const int methods[] = {KIN_START_SPAWN, KIN_START_FORK, KIN_START_FORKSERVER};
enum { METHODS = sizeof methods / sizeof *methods };

/* How many processes there are at a time. */
enum { BATCH = 32, CODES = 256 };

/* The ways to end with a number. */
enum way { BY_RETURN, BY_EXIT, BY_KIN_EXIT, WAYS };

typedef struct order {
    int way;
    int number;
} order;

static kin_process start_by(int method, kin_process_function function, const order *given)
{
    const kin_process_options options = {.method = method};
    kin_process process = {0};
    assert_int_equal(kin_process_start(&process, function, given, sizeof *given, &options), 0);
    return process;
}

/* Starts a process for each order, many at a time; each must end with the code that belongs to
   it. */
static void check_all(int method, kin_process_function function, const order *orders,
                      const int *codes, int count)
{
    kin_process processes[BATCH];
    for (int first = 0; first < count; first += BATCH) {
        int now = count - first < BATCH ? count - first : BATCH;
        for (int i = 0; i < now; i++) {
            processes[i] = start_by(method, function, &orders[first + i]);
        }
        for (int i = 0; i < now; i++) {
            int code = end_of(processes[i]);
            if (code != codes[first + i]) {
                fail_msg("method %d, order %d %d: exit code %d, not %d", method,
                         orders[first + i].way, orders[first + i].number, code, codes[first + i]);
            }
        }
    }
}

static int end_with(void *argument, size_t size)
{
    const order *given = argument;
    CHECK(size == sizeof *given);
    switch (given->way) {
    case BY_EXIT:
        exit(given->number);
    case BY_KIN_EXIT:
        kin_exit(given->number);
    default:
        return given->number;
    }
}

/* Where a start takes long, all codes in one way and a part of them in the others: what a code goes
   through is the same from there on. */
static bool is_tried(enum way way, int code)
{
#if defined _WIN32
    return way == BY_RETURN || code % 4 == (int) way || code < 4 || code > 251 ||
           (code >= 124 && code <= 129);
#else
    return (int) way + code >= 0;
#endif
}

static void check_codes(enum way way)
{
    order orders[CODES];
    int codes[CODES];
    int count = 0;
    for (int i = 0; i < CODES; i++) {
        if (is_tried(way, i)) {
            orders[count] = (order){(int) way, i};
            codes[count++] = i;
        }
    }
    for (int i = 0; i < METHODS; i++) {
        if (kin_has_start_method(methods[i])) {
            check_all(methods[i], end_with, orders, codes, count);
        }
    }
}

static void each_exit_code_that_a_function_returns_is_told(void **state)
{
    (void) state;
    check_codes(BY_RETURN);
}

static void each_exit_code_given_to_exit_is_told(void **state)
{
    (void) state;
    check_codes(BY_EXIT);
}

static void each_exit_code_given_to_kin_exit_is_told(void **state)
{
    (void) state;
    check_codes(BY_KIN_EXIT);
}

/* What others than the parent are told is the same. */
static int join_other(void *argument, size_t size)
{
    kin_process other;
    int code = CHILD_FAILED;
    CHECK(size == sizeof other);
    memcpy(&other, argument, sizeof other);
    CHECK(kin_process_join(other, LONG_MS) == 0);
    CHECK(kin_process_exit_code(other, &code) == 0);
    return code < 0 ? -code : code;
}

static int abort_at_once(void *argument, size_t size)
{
    (void) argument, (void) size;
#if !defined _WIN32
    const struct rlimit no_core = {0, 0};
    CHECK(setrlimit(RLIMIT_CORE, &no_core) == 0);
    (void) signal(SIGABRT, SIG_DFL); /* a sanitizer may have set another */
#endif
    abort();
}

static void abort_is_told_as_its_signal(void **state)
{
    const order none = {0, 0};
    (void) state;
    for (int i = 0; i < METHODS; i++) {
        if (kin_has_start_method(methods[i])) {
            kin_process process = start_by(methods[i], abort_at_once, &none);
            kin_process sibling = start(join_other, &process, sizeof process);
            assert_int_equal(end_of(sibling), 6);
            assert_int_equal(end_of(process), -6);
        }
    }
}

static int mode_abort(int argc, char **argv)
{
    CHECK(kin_init(&argc, &argv) == 0);
    return abort_at_once(NULL, 0);
}

static void abort_in_a_first_process_is_told_too(void **state)
{
    (void) state;
    assert_int_equal(run_mode("abort"), -6);
}

static void end_with_77(int number)
{
    (void) number;
    _Exit(77);
}

static int mode_own_handler(int argc, char **argv)
{
    (void) signal(SIGABRT, end_with_77);
    CHECK(kin_init(&argc, &argv) == 0);
    abort();
}

static int abort_with_handler(void *argument, size_t size)
{
    (void) argument, (void) size;
    (void) signal(SIGABRT, end_with_77);
    abort();
}

static void a_handler_of_the_programs_own_stays(void **state)
{
    (void) state;
    assert_int_equal(run_mode("own_handler"), 77);
    assert_int_equal(end_of(start(abort_with_handler, NULL, 0)), 77);
}

#if defined _WIN32

/* Things that end a process, and what is told of it. */
enum { BY_CODE, BY_MEMORY, BY_INSTRUCTION, BY_DIVISION, BY_BREAKPOINT };

static volatile int one = 1;
static volatile int zero;
static int *volatile nowhere;

static int break_down(void *argument, size_t size)
{
    const order *given = argument;
    CHECK(size == sizeof *given);
    (void) SetErrorMode(SEM_NOGPFAULTERRORBOX | SEM_FAILCRITICALERRORS);
    switch (given->way) {
    case BY_CODE:
        (void) TerminateProcess(GetCurrentProcess(), (UINT) given->number);
        break;
    case BY_MEMORY:
        *nowhere = 1;
        break;
    case BY_INSTRUCTION:
        __asm__ __volatile__("ud2");
        break;
    case BY_DIVISION:
        return one / zero;
    case BY_BREAKPOINT:
        __asm__ __volatile__("int3");
        break;
    default:
        break;
    }
    return CHILD_FAILED;
}

static void what_ends_a_process_is_told_in_the_numbers_of_posix(void **state)
{
    static const order orders[] = {
        {BY_MEMORY, 0},
        {BY_INSTRUCTION, 0},
        {BY_DIVISION, 0},
        {BY_BREAKPOINT, 0},
        {BY_CODE, (int) 0xc000013a}, /* Ctrl+C */
        {BY_CODE, (int) 0xc0000409}, /* fail-fast */
        {BY_CODE, (int) 0xc0000374}, /* a heap that is corrupt */
        {BY_CODE, (int) 0x40000015}, /* a fatal exit of the program */
        {BY_CODE, (int) 0xc00000fd}, /* a stack that is full */
        {BY_CODE, (int) 0xe06b6900}, /* no signal */
        {BY_CODE, (int) 0xe06b69ff},
        {BY_CODE, 70000},
    };
    static const int codes[] = {
        -11, -4, -8, -5, -2, -6, -6, -6, -11, (int) 0xe06b6900, (int) 0xe06b69ff, 70000};
    (void) state;
    check_all(KIN_START_SPAWN, break_down, orders, codes, sizeof codes / sizeof *codes);
}

static void numbers_of_signals_are_told(void **state)
{
    static const int numbers[] = {1, 2, 3, 6, 9, 15, 31, 32, 63, 64};
    enum { SIGNALS = sizeof numbers / sizeof *numbers };
    order orders[SIGNALS];
    int codes[SIGNALS];
    (void) state;
    for (int i = 0; i < SIGNALS; i++) {
        orders[i] = (order){BY_CODE, (int) (0xe06b6900u + (unsigned) numbers[i])};
        codes[i] = -numbers[i];
    }
    check_all(KIN_START_SPAWN, break_down, orders, codes, SIGNALS);
}

#else

/* Ends by a signal at itself, whatever it had been set to. */
static int raise_at_self(void *argument, size_t size)
{
    const order *given = argument;
    sigset_t raised;
    const struct rlimit no_core = {0, 0};
    CHECK(size == sizeof *given);
    CHECK(setrlimit(RLIMIT_CORE, &no_core) == 0);
    CHECK(given->number == SIGKILL || signal(given->number, SIG_DFL) != SIG_ERR);
    CHECK(sigemptyset(&raised) == 0 && sigaddset(&raised, given->number) == 0);
    CHECK(sigprocmask(SIG_UNBLOCK, &raised, NULL) == 0);
    CHECK(kill(getpid(), given->number) == 0);
    (void) kin_sleep(LONG_MS);
    return CHILD_FAILED;
}

/* Those that do nothing, or stop or continue a process. */
static bool ends_a_process(int number)
{
    static const int harmless[] = {
        SIGCHLD,
        SIGCONT,
        SIGSTOP,
        SIGTSTP,
        SIGTTIN,
        SIGTTOU,
        SIGURG,
#if defined SIGWINCH
        SIGWINCH
#endif
    };
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++) {
        if (harmless[i] == number) {
            return false;
        }
    }
#if defined SIGRTMIN
    return number < 32 || (number >= SIGRTMIN && number <= SIGRTMAX);
#else
    return number < 32;
#endif
}

static void each_signal_that_ends_a_process_is_told(void **state)
{
    order orders[NSIG];
    int codes[NSIG];
    int count = 0;
    (void) state;
    for (int number = 1; number < NSIG; number++) {
        if (ends_a_process(number)) {
            orders[count] = (order){0, number};
            codes[count++] = -number;
        }
    }
    assert_true(count >= 20);
    for (int i = 0; i < METHODS; i++) {
        check_all(methods[i], raise_at_self, orders, codes, count);
    }
}

#endif

static const test_mode modes[] = {
    {"abort", mode_abort},
    {"own_handler", mode_own_handler},
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
        cmocka_unit_test(each_exit_code_that_a_function_returns_is_told),
        cmocka_unit_test(each_exit_code_given_to_exit_is_told),
        cmocka_unit_test(each_exit_code_given_to_kin_exit_is_told),
        cmocka_unit_test(abort_is_told_as_its_signal),
        cmocka_unit_test(abort_in_a_first_process_is_told_too),
        cmocka_unit_test(a_handler_of_the_programs_own_stays),
#if defined _WIN32
        cmocka_unit_test(what_ends_a_process_is_told_in_the_numbers_of_posix),
        cmocka_unit_test(numbers_of_signals_are_told),
#else
        cmocka_unit_test(each_signal_that_ends_a_process_is_told),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
