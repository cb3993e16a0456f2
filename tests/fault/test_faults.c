/* Injected failures: each call to the system that the library makes in an operation is made to fail
   once, the first, the second, and so on until the operation is through without meeting it. After
   each failure the operation has given a sensible answer, nothing is left behind, and the same
   operation succeeds. In children, which read from the environment which of their calls is to fail,
   nobody may wait for ever either. */
#include "injection.h"

#include <string.h>

enum { MOST_CALLS = 1000, NOT_MET = 0, MET = 1 };

/* After how many of the failures there is more to do. */
#if defined _WIN32
enum { REPEAT_EACH = 8 }; /* processes take their time there */
#else
enum { REPEAT_EACH = 1 };
#endif

/* ---- operations ---- */

static int count_up(void *argument, size_t size)
{
    CHECK(size == sizeof(int));
    return *(int *) argument + 1;
}

static int start_as(const kin_process_options *options)
{
    int number = 41;
    kin_process process;
    int status = kin_process_start(&process, count_up, &number, sizeof number, options);
    return status == 0 ? join_and_close(process, 42) : status;
}

static int start_plain(void)
{
    return start_as(NULL);
}

static int start_a_daemon(void)
{
    const kin_process_options options = {.daemon = true};
    return start_as(&options);
}

static int start_forked(void)
{
    const kin_process_options options = {.method = KIN_START_FORK};
    return start_as(&options);
}

static int start_by_server(void)
{
    const kin_process_options options = {.method = KIN_START_FORKSERVER, .daemon = true};
    return start_as(&options);
}

static int look_at_size(void *argument, size_t size)
{
    (void) argument;
    return size == 100000 ? 3 : CHILD_FAILED;
}

static int start_large(void)
{
    static unsigned char bytes[100000];
    kin_process process;
    int status = kin_process_start(&process, look_at_size, bytes, sizeof bytes, NULL);
    return status == 0 ? join_and_close(process, 3) : status;
}

static int kill_one(void)
{
    kin_process process;
    const uint64_t none = 0;
    int status = kin_process_start(&process, stay, &none, sizeof none, NULL);
    if (status < 0) {
        return status;
    }
    status = kin_process_kill(process);
    if (status < 0 && kin_process_kill(process) < 0) {
        return 1;
    }
    int joined = join_and_close(process, -KIN_SIGKILL);
    return status < 0 ? status : joined;
}

static int square(kin_call *call)
{
    int number = *(const int *) call->argument;
    *(int *) call->result = number * number + 1;
    return 0;
}

static int use_pool(void)
{
    enum { ITEMS = 10 };
    int items[ITEMS];
    int results[ITEMS] = {0};
    kin_pool pool;
    const kin_pool_options options = {.workers = 2};
    int status = kin_pool_create(&pool, &options);
    if (status < 0) {
        return status;
    }
    for (int i = 0; i < ITEMS; i++) {
        items[i] = i;
    }
    status =
        kin_pool_map(pool, square, items, ITEMS, sizeof *items, results, sizeof *results, NULL);
    for (int i = 0; i < ITEMS && status == 0; i++) {
        status = results[i] == i * i + 1 ? 0 : 1;
    }
    int destroyed = kin_pool_destroy(pool);
    if (destroyed < 0 && kin_pool_destroy(pool) < 0) {
        return 1;
    }
    return status != 0 ? status : destroyed;
}

static int allocate_large(void)
{
    uint64_t block;
    int status = arena_allocate(&block, 5 << 20, ARENA_ZERO);
    return status == 0 ? arena_free(block) : status;
}

static int allocate_many(void)
{
    enum { MANY = 300 };
    uint64_t blocks[MANY];
    int count = 0;
    int status = 0;
    while (count < MANY && status == 0) {
        status = arena_allocate(&blocks[count], 3000, 0);
        count += status == 0;
    }
    while (count > 0) {
        int freed = arena_free(blocks[--count]);
        status = status == 0 ? freed : status;
    }
    return status;
}

static int grow_and_trim(void)
{
    uint64_t block;
    int status = arena_allocate(&block, 12 << 20, 0);
    if (status == 0) {
        status = arena_free(block);
    }
    int trimmed = kin_arena_trim();
    return status != 0 ? status : trimmed;
}

static void ask_in_thread(void *argument, unsigned number)
{
    int *status = argument;
    (void) number;
    *status = kin_process_is_alive(kin_current_process());
}

static int use_in_a_thread(void)
{
    int status = 0;
    system_run_threads(1, ask_in_thread, &status);
    return status == 1 ? 0 : status;
}

static int use_clock_and_cores(void)
{
    int64_t before = kin_clock_ns();
    int status = kin_sleep(2);
    if (status == 0 && kin_clock_ns() - before < 2000000) {
        return 1;
    }
    return kin_usable_cores() >= 1 ? status : 1;
}

/* ---- waiting for many ---- */

/* A child that stays, and its child, which to us is another's. */
typedef struct relatives {
    mark arrived;
    _Atomic uint64_t grandchild;
} relatives;

static kin_process stayers[2];

static int have_child(void *argument, size_t size)
{
    uint64_t offset;
    kin_process process;
    CHECK(size == sizeof offset);
    memcpy(&offset, argument, sizeof offset);
    relatives *r = arena_at(offset);
    const uint64_t arrived = arena_offset(&r->arrived);
    const kin_process_options options = {.daemon = true};
    CHECK(kin_process_start(&process, stay, &arrived, sizeof arrived, &options) == 0);
    atomic_store(&r->grandchild, process.id);
    mark_add(&r->arrived);
    return kin_sleep(KIN_FOREVER);
}

static int wait_for_stayers(void)
{
    size_t index;
    int any = kin_process_wait_any(stayers, 2, &index, 1);
    int all = kin_process_wait_all(stayers, 2, 1);
    int status = any != KIN_E_TIMEOUT ? any : all;
    return status == KIN_E_TIMEOUT ? 0 : status == 0 ? 1 : status;
}

/* The test looks whether descriptors are left. */
static int have_sentinels(void)
{
    int status = 0;
    for (int i = 0; i < 2 && (status == 0 || status == KIN_E_UNSUPPORTED); i++) {
        intptr_t sentinel;
        status = kin_process_sentinel(stayers[i], &sentinel);
        if (status == 0) {
            system_close_sentinel(sentinel);
        }
    }
    return status == KIN_E_UNSUPPORTED ? 0 : status;
}

static void waits_for_those_who_stay_fail_and_leave_nothing(void **state)
{
    (void) state;
    relatives *r = shared_new(sizeof *r);
    const uint64_t offset = arena_offset(r);
    stayers[0] = start_daemon(have_child, &offset, sizeof offset);
    assert_true(mark_await(&r->arrived, 2));
    stayers[1].id = atomic_load(&r->grandchild);
    fail_each(wait_for_stayers);
    fail_each(have_sentinels);
    kill_and_close(stayers[0]);
    int status = kin_process_join(stayers[1], LONG_MS);
    assert_true(status == 0 || status == KIN_E_HANDLE);
    shared_free(r);
}

static int close_all(kin_process *processes, size_t count, int status)
{
    for (size_t i = 0; i < count; i++) {
        int closed = join_and_close(processes[i], 42);
        status = status == 0 ? closed : status;
    }
    return status;
}

/* The starts do not fail: they have a test of their own. */
static int wait_for_two(void)
{
    const int number = 41;
    size_t index = 2;
    int armed = fault_pause();
    kin_process processes[2] = {start(count_up, &number, sizeof number),
                                start(count_up, &number, sizeof number)};
    fault_resume(armed);
    int status = kin_process_wait_any(processes, 2, &index, LONG_MS);
    if (status == 0) {
        status = index < 2 ? kin_process_wait_all(processes, 2, LONG_MS) : 1;
    }
    return close_all(processes, 2, status);
}

/* System calls that can fail, of one wait for the ends of so many that are there. */
static int calls_for(size_t count)
{
    enum { ENOUGH = 1000000 };
    const int number = 41;
    kin_process processes[64];
    assert_true(count <= 64);
    for (size_t i = 0; i < count; i++) {
        processes[i] = start(count_up, &number, sizeof number);
    }
    fault_arm(ENOUGH);
    int status = kin_process_wait_all(processes, count, LONG_MS);
    int left = fault_pause();
    (void) fault_disarm();
    assert_int_equal(status, 0);
    assert_int_equal(close_all(processes, count, 0), 0);
    return ENOUGH - left;
}

static void a_wait_for_many_costs_a_few_calls_for_each(void **state)
{
    (void) state;
    int few = calls_for(4);
    int many = calls_for(64);
    print_message("calls for 4: %d, for 64: %d\n", few, many);
    assert_true(many < 64 * 20);
}

FAULT_TEST(a_start_that_fails_leaves_nothing, start_plain)
FAULT_TEST(a_start_of_a_daemon_that_fails_leaves_nothing, start_a_daemon)
FAULT_TEST(a_start_with_much_to_copy_that_fails_leaves_nothing, start_large)
FAULT_TEST(a_kill_that_fails_can_be_repeated, kill_one)
FAULT_TEST(a_pool_that_fails_leaves_nothing, use_pool)
FAULT_TEST(a_large_allocation_that_fails_leaves_nothing, allocate_large)
FAULT_TEST(allocations_that_fail_leave_nothing, allocate_many)
FAULT_TEST(what_cannot_be_given_back_stays_usable, grow_and_trim)
FAULT_TEST(a_thread_that_cannot_join_is_told, use_in_a_thread)
FAULT_TEST(a_wait_for_two_that_fails_can_be_repeated, wait_for_two)
FAULT_TEST(clock_and_cores_do_without_what_fails, use_clock_and_cores)

static void a_fork_that_fails_leaves_nothing(void **state)
{
    (void) state;
    if (kin_has_start_method(KIN_START_FORK) == 0) {
        skip();
    }
    fail_each(start_forked);
}

static void a_start_by_the_forkserver_that_fails_leaves_nothing(void **state)
{
    (void) state;
    if (kin_has_start_method(KIN_START_FORKSERVER) == 0) {
        skip();
    }
    fail_each(start_by_server);
}

/* ---- failures in children ---- */

static int tell_failed(void *argument, size_t size)
{
    uint64_t block;
    (void) argument;
    (void) size;
    int status = arena_allocate(&block, 100000, 0);
    if (status == 0) {
        status = arena_free(block);
    }
    CHECK(status == 0 || fault_happened());
    return fault_happened() ? MET : NOT_MET;
}

/* Starts a child of which that call fails; true if it has got as far as that. */
static bool fail_in_child(int number, bool daemon)
{
    kin_process process;
    int code = -1000;
    const kin_process_options options = {.daemon = daemon};
    fault_tell_children(number);
    assert_int_equal(kin_process_start(&process, tell_failed, NULL, 0, &options), 0);
    fault_tell_children(0);
    int status = kin_process_join(process, LONG_MS);
    assert_int_equal(kin_process_exit_code(process, &code), 0);
    assert_int_equal(kin_process_close(process), 0);
    if (!fault_is_sensible(status) || status == KIN_E_TIMEOUT || code == CHILD_FAILED) {
        fail_msg("call %d: exit code %d, %s", number, code, kin_error_name(status));
    }
    assert_true(status < 0 || code == MET || code == NOT_MET || code >= 125);
    return status < 0 || code != NOT_MET;
}

static void a_child_that_cannot_join_is_told_to_its_parent(void **state)
{
    (void) state;
    for (int daemon = 0; daemon < 2; daemon++) {
        inventory before;
        int number = 1;
        take_inventory(&before);
        while (fail_in_child(number, daemon != 0)) {
            if (!nothing_is_left(&before)) {
                fail_msg("call %d of a child", number);
            }
            number++;
            assert_true(number < MOST_CALLS);
        }
        assert_true(number > 1);
    }
}

static int tell_failed_task(kin_call *call)
{
    *(int *) call->result = fault_happened() ? MET + 1 : NOT_MET + 1;
    return 0;
}

/* Has that call fail in each of a pool's first workers; true if one of them has got as far as
   that. */
static bool fail_in_workers(int number)
{
    enum { ITEMS = 50 };
    int results[ITEMS] = {0};
    kin_pool pool;
    const kin_pool_options options = {.workers = 2};
    const kin_map_options chunks = {.chunk = 1, .timeout_ms = LONG_MS};
    fault_tell_children(number);
    int status = kin_pool_create(&pool, &options);
    fault_tell_children(0);
    bool met = status < 0;
    if (status == 0) {
        status =
            kin_pool_map(pool, tell_failed_task, NULL, ITEMS, 0, results, sizeof *results, &chunks);
        for (int i = 0; i < ITEMS; i++) {
            met = met || results[i] != NOT_MET + 1;
        }
        assert_int_equal(kin_pool_destroy(pool), 0);
    }
    if (!fault_is_sensible(status) || status == KIN_E_TIMEOUT) {
        fail_msg("call %d of a worker: %s", number, kin_error_name(status));
    }
    return met;
}

static void a_pool_whose_workers_fail_ends_or_goes_on(void **state)
{
    inventory before;
    int number = 1;
    (void) state;
    take_inventory(&before);
    while (fail_in_workers(number)) {
        if (!nothing_is_left(&before)) {
            fail_msg("call %d of a worker", number);
        }
        number++;
        assert_true(number < MOST_CALLS);
    }
    assert_true(number > 1);
}

/* ---- founding and leaving ---- */

static int mode_init(int argc, char **argv)
{
    int handles = system_handles();
    int number = fault_number();
    fault_arm(number);
    int status = kin_init(&argc, &argv);
    bool met = fault_disarm();
    fault_tell_children(0);
    CHECK(fault_is_sensible(status) && (met || status == 0));
    if (status < 0) {
        CHECK(kin_current_process().id == 0);
        CHECK(system_handles() <= handles + system_handle_slack());
        CHECK(kin_init(&argc, &argv) == 0);
    }
    CHECK(start_plain() == 0);
    CHECK(number % REPEAT_EACH != 0 || use_pool() == 0);
    return met ? MET : NOT_MET;
}

static int mode_shutdown(int argc, char **argv)
{
    int number = fault_number();
    const int none = 0;
    kin_process process;
    fault_tell_children(0);
    CHECK(kin_init(&argc, &argv) == 0);
    const kin_process_options daemon = {.daemon = true};
    CHECK(kin_process_start(&process, stay, &(uint64_t){0}, sizeof(uint64_t), &daemon) == 0);
    CHECK(kin_process_start(&process, count_up, &none, sizeof none, NULL) == 0);
    fault_arm(number);
    int status = kin_shutdown();
    bool met = fault_disarm();
    CHECK(fault_is_sensible(status) && (met || status == 0));
    CHECK(status == 0 || kin_shutdown() == 0);
    CHECK(kin_init(&argc, &argv) == 0);
    CHECK(start_plain() == 0);
    return met ? MET : NOT_MET;
}

static _Atomic int requests;

static void count_request(void *context)
{
    (void) context;
    atomic_fetch_add(&requests, 1);
}

/* What could not be done can be done again; a request that was made arrives. */
static int mode_terminate(int argc, char **argv)
{
    int number = fault_number();
    fault_tell_children(0);
    CHECK(kin_init(&argc, &argv) == 0);
    fault_arm(number);
    int status = kin_on_terminate(count_request, NULL, KIN_FOREVER);
    if (status == 0) {
        status = kin_process_terminate(kin_current_process());
    }
    bool met = fault_disarm();
    CHECK(fault_is_sensible(status) && (met || status == 0));
    CHECK(status == 0 || kin_on_terminate(count_request, NULL, KIN_FOREVER) == 0);
    CHECK(status == 0 || kin_process_terminate(kin_current_process()) == 0);
    while (atomic_load(&requests) == 0) {
        CHECK(kin_sleep(1) == 0);
    }
    CHECK(kin_on_terminate(NULL, NULL, 0) == 0);
    CHECK(kin_shutdown() == 0);
    return met ? MET : NOT_MET;
}

static void fail_each_in_mode(const char *mode)
{
    for (int number = 1; number < MOST_CALLS; number++) {
        fault_tell_children(number);
        int code = run_mode(mode);
        fault_tell_children(0);
        if (code != MET && code != NOT_MET) {
            fail_msg("call %d in mode %s: %d", number, mode, code);
        }
        if (code == NOT_MET) {
            assert_true(number > 1);
            return;
        }
    }
    fail();
}

static void a_family_that_cannot_be_founded_leaves_nothing(void **state)
{
    (void) state;
    fail_each_in_mode("init");
}

static void a_family_is_left_in_spite_of_failures(void **state)
{
    (void) state;
    fail_each_in_mode("shutdown");
}

static void a_handler_of_requests_can_be_set_in_spite_of_failures(void **state)
{
    (void) state;
    fail_each_in_mode("terminate");
}

static const test_mode modes[] = {
    {"init", mode_init},
    {"shutdown", mode_shutdown},
    {"terminate", mode_terminate},
};

int main(int argc, char **argv)
{
    const test_mode *mode = find_mode(modes, sizeof modes / sizeof *modes);
    if (mode != NULL) {
        return mode->run(argc, argv);
    }
    fault_arm(fault_number());
    if (kin_init(&argc, &argv) < 0) {
        return 1;
    }
    if (fault_number() != 0) {
        return CHILD_FAILED; /* a child must not come back as a founder, whatever fails */
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_start_that_fails_leaves_nothing),
        cmocka_unit_test(a_start_of_a_daemon_that_fails_leaves_nothing),
        cmocka_unit_test(a_start_with_much_to_copy_that_fails_leaves_nothing),
        cmocka_unit_test(a_kill_that_fails_can_be_repeated),
        cmocka_unit_test(a_pool_that_fails_leaves_nothing),
        cmocka_unit_test(a_large_allocation_that_fails_leaves_nothing),
        cmocka_unit_test(allocations_that_fail_leave_nothing),
        cmocka_unit_test(what_cannot_be_given_back_stays_usable),
        cmocka_unit_test(a_thread_that_cannot_join_is_told),
        cmocka_unit_test(a_wait_for_two_that_fails_can_be_repeated),
        cmocka_unit_test(waits_for_those_who_stay_fail_and_leave_nothing),
        cmocka_unit_test(a_wait_for_many_costs_a_few_calls_for_each),
        cmocka_unit_test(clock_and_cores_do_without_what_fails),
        cmocka_unit_test(a_fork_that_fails_leaves_nothing),
        cmocka_unit_test(a_child_that_cannot_join_is_told_to_its_parent),
        cmocka_unit_test(a_pool_whose_workers_fail_ends_or_goes_on),
        cmocka_unit_test(a_family_that_cannot_be_founded_leaves_nothing),
        cmocka_unit_test(a_family_is_left_in_spite_of_failures),
        cmocka_unit_test(a_handler_of_requests_can_be_set_in_spite_of_failures),
        cmocka_unit_test(a_start_by_the_forkserver_that_fails_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, warm_up, NULL);
}
