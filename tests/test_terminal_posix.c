/* Control-C at a terminal: it reaches all processes that the terminal has in its foreground, and
   the whole family ends; or its first process takes it, and ends the family as it likes. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "support.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PROCESSES = 8, TEXT_SIZE = 4096, TOLD = 7 };

/* ---- the family at the terminal ---- */

static int report_and_stay(void *argument, size_t size)
{
    (void) argument, (void) size;
    (void) printf("pid %d\n", (int) getpid());
    (void) fflush(stdout);
    (void) kin_sleep(KIN_FOREVER);
    return 0;
}

static int have_a_child(void *argument, size_t size)
{
    const kin_process_options daemon = {.daemon = true};
    kin_process child;
    CHECK(kin_process_start(&child, report_and_stay, NULL, 0, &daemon) == 0);
    return report_and_stay(argument, size);
}

static int report_in_task(kin_call *call)
{
    (void) call;
    return report_and_stay(NULL, 0);
}

static int start_family(void)
{
    static const int methods[] = {KIN_START_SPAWN, KIN_START_FORK, KIN_START_FORKSERVER};
    for (size_t i = 0; i < 2 * sizeof methods / sizeof *methods; i++) {
        const kin_process_options options = {.method = methods[i / 2], .daemon = i % 2 != 0};
        kin_process process;
        kin_process_function function = i == 0 ? have_a_child : report_and_stay;
        CHECK(kin_process_start(&process, function, NULL, 0, &options) == 0);
    }
    return 0;
}

static int run_family(int argc, char **argv)
{
    CHECK(kin_init(&argc, &argv) == 0);
    CHECK(start_family() == 0);
    return report_and_stay(NULL, 0);
}

static volatile sig_atomic_t interrupted;

static void note_interrupt(int number)
{
    (void) number;
    interrupted = 1;
}

/* The user's own handler is left alone, and the family's first process ends as it likes. */
static int run_with_handler(int argc, char **argv)
{
    CHECK(kin_init(&argc, &argv) == 0);
    CHECK(start_family() == 0);
    struct sigaction action = {.sa_handler = note_interrupt};
    CHECK(sigaction(SIGINT, &action, NULL) == 0);
    (void) printf("pid %d\n", (int) getpid());
    (void) fflush(stdout);
    while (!interrupted) {
        kin_sleep(10);
    }
    return TOLD;
}

/* One whose first process waits in a call of kin's. */
static int run_pool(int argc, char **argv)
{
    enum { WORKERS = 2 };
    const kin_pool_options options = {.workers = WORKERS};
    kin_pool pool;
    CHECK(kin_init(&argc, &argv) == 0);
    CHECK(kin_pool_create(&pool, &options) == 0);
    for (int i = WORKERS; i < PROCESSES; i++) {
        (void) printf("pid %d\n", (int) getpid());
    }
    (void) fflush(stdout);
    return kin_pool_map(pool, report_in_task, NULL, WORKERS, 0, NULL, 0, NULL);
}

/* ---- the terminal ---- */

static pid_t run_at_terminal(const char *mode, int *terminal)
{
    *terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(*terminal >= 0);
    assert_int_equal(grantpt(*terminal), 0);
    assert_int_equal(unlockpt(*terminal), 0);
    char name[128];
    assert_int_equal(ptsname_r(*terminal, name, sizeof name), 0);
    system_set_variable(TEST_MODE, mode);
    pid_t pid = fork();
    if (pid == 0) {
        (void) setsid();
        int fd = open(name, O_RDWR);
        bool good = fd >= 0 && ioctl(fd, TIOCSCTTY, 0) == 0 && dup2(fd, 0) == 0 &&
                    dup2(fd, 1) == 1 && dup2(fd, 2) == 2;
        if (good) {
            (void) close(fd);
            (void) execl("/proc/self/exe", "test", (char *) NULL);
        }
        _exit(CHILD_FAILED);
    }
    system_set_variable(TEST_MODE, NULL);
    return pid;
}

/* Reads until all have said who they are. */
static void read_pids(int terminal, pid_t *pids)
{
    char text[TEXT_SIZE];
    size_t length = 0;
    int count = 0;
    while (count < PROCESSES) {
        ssize_t more = read(terminal, text + length, sizeof text - 1 - length);
        assert_true(more > 0);
        length += (size_t) more;
        text[length] = '\0';
        count = 0;
        for (char *at = text; (at = strstr(at, "pid ")) != NULL && strchr(at, '\n') != NULL; at++) {
            assert_true(count < PROCESSES);
            pids[count++] = (pid_t) strtol(at + 4, NULL, 10);
        }
    }
}

static int await_exit(pid_t pid)
{
    int status;
    int64_t until = kin_clock_ns() + INT64_C(1000000) * LONG_MS;
    pid_t ended;
    while ((ended = waitpid(pid, &status, WNOHANG)) == 0 && kin_clock_ns() < until) {
        kin_sleep(5);
    }
    if (ended == 0) {
        (void) kill(pid, SIGKILL);
        (void) waitpid(pid, &status, 0);
        fail_msg("it goes on");
    }
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static void interrupt(const char *mode, int expected)
{
    pid_t pids[PROCESSES];
    int terminal;
    pid_t pid = run_at_terminal(mode, &terminal);
    read_pids(terminal, pids);
    assert_int_equal(write(terminal, "\003", 1), 1);
    int64_t begin = kin_clock_ns();
    assert_int_equal(await_exit(pid), expected);
    for (int i = 0; i < PROCESSES; i++) {
        while (kill(pids[i], 0) == 0 && kin_clock_ns() - begin < INT64_C(1000000) * LONG_MS) {
            kin_sleep(2);
        }
        assert_true(kill(pids[i], 0) != 0);
    }
    (void) printf("%s: all gone after %lld us\n", mode,
                  (long long) (kin_clock_ns() - begin) / 1000);
    (void) close(terminal);
}

static void control_c_ends_the_whole_family(void **state)
{
    (void) state;
    interrupt("family", -SIGINT);
}

static void control_c_ends_a_map(void **state)
{
    (void) state;
    interrupt("pool", -SIGINT);
}

static void a_handler_of_the_user_decides(void **state)
{
    (void) state;
    interrupt("handler", TOLD);
}

static const test_mode modes[] = {
    {"family", run_family}, {"handler", run_with_handler}, {"pool", run_pool}};

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
        CLEAN_TEST(control_c_ends_the_whole_family),
        CLEAN_TEST(control_c_ends_a_map),
        CLEAN_TEST(a_handler_of_the_user_decides),
    };
    return cmocka_run_group_tests(tests, warm_up, NULL);
}
