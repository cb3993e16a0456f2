/* A daemon has no children but daemons: whatever it starts ends with it. */
#include "support.h"

#include <stdlib.h>
#include <string.h>

static const int methods[] = {KIN_START_SPAWN, KIN_START_FORK, KIN_START_FORKSERVER};
enum { METHODS = sizeof methods / sizeof *methods, WORKERS = 2 };

static int return_three(void *argument, size_t size)
{
    (void) argument, (void) size;
    return 3;
}

static int start_in_child(int method, bool daemon, kin_process *process)
{
    const kin_process_options options = {.method = method, .daemon = daemon};
    return kin_process_start(process, return_three, NULL, 0, &options);
}

/* In a daemon: only daemons can be started, whatever the method. */
static int start_both(void *argument, size_t size)
{
    (void) argument, (void) size;
    for (int i = 0; i < METHODS; i++) {
        kin_process process = {0};
        int code = 0;
        if (!kin_has_start_method(methods[i])) {
            continue;
        }
        CHECK(start_in_child(methods[i], false, &process) == KIN_E_STATE && process.id == 0);
        CHECK(kin_process_start(&process, return_three, NULL, 0, NULL) == KIN_E_STATE);
        CHECK(kin_active_children(NULL, 0) == 0);
        CHECK(start_in_child(methods[i], true, &process) == 0);
        CHECK(kin_process_join(process, LONG_MS) == 0);
        CHECK(kin_process_exit_code(process, &code) == 0 && code == 3);
        CHECK(kin_process_close(process) == 0);
    }
    return 0;
}

/* Daemons of daemons keep to the same. */
static int start_deeper(void *argument, size_t size)
{
    int depth;
    kin_process process;
    int code = CHILD_FAILED;
    const kin_process_options options = {.daemon = true};
    CHECK(size == sizeof depth);
    memcpy(&depth, argument, sizeof depth);
    CHECK(start_both(NULL, 0) == 0);
    if (--depth == 0) {
        return 0;
    }
    CHECK(kin_process_start(&process, start_deeper, &depth, sizeof depth, &options) == 0);
    CHECK(kin_process_join(process, LONG_MS) == 0);
    CHECK(kin_process_exit_code(process, &code) == 0);
    CHECK(kin_process_close(process) == 0);
    return code;
}

/* In a family of its own, in which the daemon is the first to need the forkserver. */
static int mode_family(int argc, char **argv)
{
    kin_process process;
    int code = CHILD_FAILED;
    CHECK(kin_init(&argc, &argv) == 0);
    for (int i = 0; i < METHODS; i++) {
        int depth = 2;
        const kin_process_options options = {.method = methods[i], .daemon = true};
        if (!kin_has_start_method(methods[i])) {
            continue;
        }
        CHECK(kin_process_start(&process, start_deeper, &depth, sizeof depth, &options) == 0);
        CHECK(kin_process_join(process, LONG_MS) == 0);
        CHECK(kin_process_exit_code(process, &code) == 0 && code == 0);
        CHECK(kin_process_close(process) == 0);
    }
    CHECK(kin_shutdown() == 0);
    return system_has_children() ? 1 : 0;
}

static void a_daemon_starts_nothing_but_daemons(void **state)
{
    (void) state;
    assert_int_equal(run_mode("family"), 0);
}

static int have_no_daemon(void *argument, size_t size)
{
    kin_process process;
    (void) argument, (void) size;
    CHECK(kin_process_start(&process, return_three, NULL, 0, NULL) == 0);
    return 0;
}

static void others_start_what_they_like(void **state)
{
    (void) state;
    assert_int_equal(end_of(start(have_no_daemon, NULL, 0)), 0);
}

static int add_one(kin_call *call)
{
    *(int *) call->result = *(const int *) call->argument + 1;
    return 0;
}

static int use_pool(void *argument, size_t size)
{
    kin_pool pool;
    int items[10];
    int results[10];
    const kin_pool_options options = {.workers = WORKERS};
    (void) argument, (void) size;
    for (int i = 0; i < 10; i++) {
        items[i] = i;
    }
    CHECK(kin_pool_create(&pool, &options) == 0);
    CHECK(kin_pool_map(pool, add_one, items, 10, sizeof *items, results, sizeof *results, NULL) ==
          0);
    for (int i = 0; i < 10; i++) {
        CHECK(results[i] == i + 1);
    }
    CHECK(kin_pool_destroy(pool) == 0);
    return 0;
}

static void a_daemon_may_have_a_pool(void **state)
{
    (void) state;
    assert_int_equal(end_of(start_daemon(use_pool, NULL, 0)), 0);
}

static int start_in_worker(kin_call *call)
{
    kin_process process;
    *(int *) call->result = kin_process_start(&process, return_three, NULL, 0, NULL);
    return 0;
}

static void workers_are_daemons_themselves(void **state)
{
    kin_pool pool;
    const kin_pool_options options = {.workers = WORKERS};
    int items[4] = {0};
    int results[4] = {0};
    (void) state;
    assert_int_equal(kin_pool_create(&pool, &options), 0);
    assert_int_equal(kin_pool_map(pool, start_in_worker, items, 4, sizeof *items, results,
                                  sizeof *results, NULL),
                     0);
    assert_int_equal(kin_pool_destroy(pool), 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(results[i], KIN_E_STATE);
    }
}

static const test_mode modes[] = {{"family", mode_family}};

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
        CLEAN_TEST(a_daemon_starts_nothing_but_daemons),
        CLEAN_TEST(others_start_what_they_like),
        CLEAN_TEST(a_daemon_may_have_a_pool),
        CLEAN_TEST(workers_are_daemons_themselves),
    };
    return cmocka_run_group_tests(tests, warm_up, NULL);
}
