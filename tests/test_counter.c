/* kin/counter.h: counters between threads and processes, and waits for what they come to. */
#include "support.h"

#include <string.h>

enum { MS = 1000000, WAITERS = 4, THREADS = 4, ROUNDS = 20000, VICTIMS = 40, MANY = 100000 };

/* What children and tests share. */
typedef struct board {
    kin_counter counter;
    kin_counter other;
    mark arrived;
    _Atomic uint32_t wrong;
    _Atomic uint32_t stop;
} board;

static kin_counter create(int64_t value)
{
    kin_counter c;
    const kin_counter_options how = {.value = value};
    assert_int_equal(kin_counter_create(&c, &how), 0);
    return c;
}

static board *new_board(int64_t value)
{
    board *b = shared_new(sizeof *b);
    b->counter = create(value);
    b->other = create(0);
    return b;
}

static void free_board(board *b)
{
    assert_int_equal(atomic_load(&b->wrong), 0);
    assert_int_equal(kin_counter_destroy(b->counter), 0);
    assert_int_equal(kin_counter_destroy(b->other), 0);
    shared_free(b);
}

static kin_process start_on(kin_process_function function, const board *b, int64_t number)
{
    const int64_t told[2] = {(int64_t) arena_offset(b), number};
    return start(function, told, sizeof told);
}

static board *board_of(const void *argument, int64_t *number)
{
    int64_t told[2];
    memcpy(told, argument, sizeof told);
    *number = told[1];
    return arena_at((uint64_t) told[0]);
}

static void assert_is(kin_counter c, int64_t expected)
{
    int64_t value = ~expected;
    assert_int_equal(kin_counter_get(c, &value), 0);
    assert_true(value == expected);
}

/* ---- alone ---- */

static void it_counts(void **state)
{
    (void) state;
    kin_counter c;
    int64_t value = 0;
    assert_int_equal(kin_counter_create(&c, NULL), 0);
    assert_is(c, 0);
    assert_int_equal(kin_counter_add(c, 5, &value), 0);
    assert_true(value == 5);
    assert_int_equal(kin_counter_add(c, -7, &value), 0);
    assert_true(value == -2);
    assert_int_equal(kin_counter_add(c, 0, NULL), 0);
    assert_is(c, -2);
    assert_int_equal(kin_counter_set(c, KIN_COUNTER_MAX - 1), 0);
    assert_is(c, KIN_COUNTER_MAX - 1);
    assert_int_equal(kin_counter_destroy(c), 0);
    c = create(-1000000000000);
    assert_is(c, -1000000000000);
    assert_int_equal(kin_counter_destroy(c), 0);
}

static void it_is_exchanged_if_it_is_what_was_expected(void **state)
{
    (void) state;
    kin_counter c = create(3);
    int64_t expected = 4;
    assert_int_equal(kin_counter_compare_exchange(c, &expected, 10), 0);
    assert_true(expected == 3);
    assert_is(c, 3);
    assert_int_equal(kin_counter_compare_exchange(c, &expected, -10), 1);
    assert_true(expected == 3);
    assert_is(c, -10);
    expected = INT64_MIN;
    assert_int_equal(kin_counter_compare_exchange(c, &expected, 0), 0);
    assert_true(expected == -10);
    assert_int_equal(kin_counter_destroy(c), 0);
}

static void it_does_not_overflow(void **state)
{
    (void) state;
    kin_counter c = create(KIN_COUNTER_MAX);
    int64_t expected = KIN_COUNTER_MAX;
    int64_t value = 77;
    assert_int_equal(kin_counter_add(c, 1, &value), KIN_E_LIMIT);
    assert_int_equal(kin_counter_add(c, INT64_MAX, &value), KIN_E_LIMIT);
    assert_int_equal(kin_counter_set(c, KIN_COUNTER_MAX + 1), KIN_E_LIMIT);
    assert_int_equal(kin_counter_set(c, INT64_MIN), KIN_E_LIMIT);
    assert_int_equal(kin_counter_compare_exchange(c, &expected, KIN_COUNTER_MIN - 1), KIN_E_LIMIT);
    assert_true(value == 77);
    assert_is(c, KIN_COUNTER_MAX);
    assert_int_equal(kin_counter_add(c, KIN_COUNTER_MIN, NULL), 0);
    assert_is(c, -1);
    assert_int_equal(kin_counter_add(c, KIN_COUNTER_MIN + 1, NULL), 0);
    assert_is(c, KIN_COUNTER_MIN);
    assert_int_equal(kin_counter_add(c, -1, NULL), KIN_E_LIMIT);
    assert_int_equal(kin_counter_add(c, INT64_MIN, NULL), KIN_E_LIMIT);
    assert_is(c, KIN_COUNTER_MIN);
    assert_int_equal(kin_counter_wait(c, KIN_COUNTER_MAX + 1, 0), KIN_E_LIMIT);
    assert_int_equal(kin_counter_wait(c, INT64_MIN, 0), 0);
    assert_int_equal(kin_counter_destroy(c), 0);
}

static void no_call_takes_a_handle_that_is_none(kin_counter c)
{
    int64_t value = 0;
    assert_int_equal(kin_counter_add(c, 1, &value), KIN_E_HANDLE);
    assert_int_equal(kin_counter_get(c, &value), KIN_E_HANDLE);
    assert_int_equal(kin_counter_set(c, 1), KIN_E_HANDLE);
    assert_int_equal(kin_counter_compare_exchange(c, &value, 1), KIN_E_HANDLE);
    assert_int_equal(kin_counter_wait(c, 0, 0), KIN_E_HANDLE);
    assert_int_equal(kin_counter_wait(c, 1, KIN_FOREVER), KIN_E_HANDLE);
    assert_int_equal(kin_counter_destroy(c), KIN_E_HANDLE);
}

static void bad_handles_and_arguments_are_told(void **state)
{
    (void) state;
    kin_counter c;
    kin_event event;
    const kin_counter_options long_name = {.name = "01234567890123456789012345678901"};
    const kin_counter_options high = {.value = KIN_COUNTER_MAX + 1};
    const kin_counter_options low = {.value = KIN_COUNTER_MIN - 1};
    assert_int_equal(kin_counter_create(NULL, NULL), KIN_E_INVALID);
    assert_int_equal(kin_counter_create(&c, &long_name), KIN_E_INVALID);
    assert_int_equal(kin_counter_create(&c, &high), KIN_E_LIMIT);
    assert_int_equal(kin_counter_create(&c, &low), KIN_E_LIMIT);
    c = create(1);
    assert_int_equal(kin_counter_get(c, NULL), KIN_E_INVALID);
    assert_int_equal(kin_counter_compare_exchange(c, NULL, 1), KIN_E_INVALID);
    assert_int_equal(kin_counter_destroy(c), 0);
    no_call_takes_a_handle_that_is_none(c);
    kin_counter other = create(1);
    no_call_takes_a_handle_that_is_none(c); /* the other has its entry */
    assert_is(other, 1);
    assert_int_equal(kin_event_create(&event, NULL), 0);
    const uint64_t forged[] = {0, 1, UINT64_MAX, event.id, kin_current_process().id, other.id + 1};
    for (size_t i = 0; i < sizeof forged / sizeof *forged; i++) {
        no_call_takes_a_handle_that_is_none((kin_counter){forged[i]});
    }
    assert_int_equal(kin_event_destroy(event), 0);
    assert_int_equal(kin_counter_destroy(other), 0);
}

static void a_wait_is_never_over_early(void **state)
{
    (void) state;
    static const int times[] = {1, 20, 250};
    kin_counter c = create(9);
    assert_int_equal(kin_counter_wait(c, 9, 0), 0);
    assert_int_equal(kin_counter_wait(c, 10, 0), KIN_E_TIMEOUT);
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        int64_t before = kin_clock_ns();
        assert_int_equal(kin_counter_wait(c, 10, times[i]), KIN_E_TIMEOUT);
        assert_true(kin_clock_ns() - before >= (int64_t) times[i] * MS);
    }
    assert_int_equal(kin_counter_destroy(c), 0);
}

/* ---- several at work ---- */

static void count_up(board *b)
{
    for (int i = 0; i < ROUNDS; i++) {
        int64_t value = 0;
        if (kin_counter_add(b->counter, 3, &value) != 0 || value <= 0 ||
            kin_counter_add(b->counter, -2, NULL) != 0) {
            atomic_store(&b->wrong, 1);
        }
        int64_t expected = 0;
        while (kin_counter_compare_exchange(b->other, &expected, expected + 1) == 0) {
        }
    }
}

static void be_thread(void *argument, unsigned number)
{
    (void) number;
    count_up(argument);
}

static int be_process(void *argument, size_t size)
{
    int64_t number;
    (void) size;
    count_up(board_of(argument, &number));
    return 0;
}

static void nothing_that_is_added_is_lost(void **state)
{
    (void) state;
    board *b = new_board(0);
    kin_process children[2] = {start_on(be_process, b, 0), start_on(be_process, b, 0)};
    system_run_threads(THREADS, be_thread, b);
    assert_int_equal(end_of(children[0]), 0);
    assert_int_equal(end_of(children[1]), 0);
    assert_is(b->counter, (THREADS + 2) * ROUNDS);
    assert_is(b->other, (THREADS + 2) * ROUNDS);
    free_board(b);
}

static int wait_for(void *argument, size_t size)
{
    int64_t number;
    int64_t value = 0;
    (void) size;
    board *b = board_of(argument, &number);
    int status = kin_counter_wait(b->counter, number, LONG_MS);
    CHECK(status != 0 || (kin_counter_get(b->counter, &value) == 0 && value >= number));
    mark_add(&b->arrived);
    return -status;
}

/* Each is woken by what it waits for, and not before. */
static void those_go_on_whose_value_is_reached(void **state)
{
    (void) state;
    board *b = new_board(-5);
    kin_process waiters[WAITERS];
    for (int i = 0; i < WAITERS; i++) {
        waiters[i] = start_on(wait_for, b, 10 * (WAITERS - i)); /* the last waits for the least */
        await_sleepers(b->counter.id, (uint32_t) i + 1);
    }
    for (uint32_t i = 1; i <= WAITERS; i++) {
        assert_int_equal(kin_counter_set(b->counter, 10 * i - 1), 0);
        assert_int_equal(atomic_load(&b->arrived.value), i - 1);
        assert_int_equal(kin_counter_add(b->counter, i == 2 ? 5 : 1, NULL), 0);
        assert_true(mark_await(&b->arrived, i));
        await_sleepers(b->counter.id, WAITERS - i);
    }
    for (int i = 0; i < WAITERS; i++) {
        assert_int_equal(end_of(waiters[i]), 0);
    }
    free_board(b);
}

static void those_who_wait_are_told_that_it_is_destroyed(void **state)
{
    (void) state;
    board *b = new_board(0);
    kin_process waiters[WAITERS];
    for (int i = 0; i < WAITERS; i++) {
        waiters[i] = start_on(wait_for, b, 1 + i);
    }
    await_sleepers(b->counter.id, WAITERS);
    assert_int_equal(kin_counter_destroy(b->counter), 0);
    for (int i = 0; i < WAITERS; i++) {
        assert_int_equal(end_of(waiters[i]), -KIN_E_DESTROYED);
    }
    b->counter = create(0);
    free_board(b);
}

/* Two in turn wait for the other to take the next step. */
static void step_in_turn(void *argument, unsigned number)
{
    board *b = argument;
    for (int64_t i = number; i < 2000; i += 2) {
        if (kin_counter_wait(b->counter, i, LONG_MS) != 0 ||
            kin_counter_add(b->counter, 1, NULL) != 0) {
            atomic_store(&b->wrong, 1);
        }
    }
}

static void no_step_is_missed(void **state)
{
    (void) state;
    board *b = new_board(0);
    system_run_threads(2, step_in_turn, b);
    assert_is(b->counter, 2000);
    free_board(b);
}

/* Many add while many wait for this and that. */
static void add_or_wait(void *argument, unsigned number)
{
    board *b = argument;
    for (int64_t i = 1; i <= 500; i++) {
        int status = number % 2 == 0 ? kin_counter_add(b->counter, 1, NULL)
                                     : kin_counter_wait(b->counter, 2 * i + number % 3, LONG_MS);
        if (status != 0) {
            atomic_store(&b->wrong, 1);
        }
    }
    if (number == 0) {
        (void) kin_counter_add(b->counter, 10, NULL); /* for those who wait for a bit more */
    }
}

static void nobody_is_forgotten_in_a_crowd(void **state)
{
    (void) state;
    board *b = new_board(0);
    system_run_threads(4, add_or_wait, b);
    assert_is(b->counter, 1010);
    free_board(b);
}

/* ---- deaths ---- */

/* What has been counted in the first has, or will have been, counted in the second. */
static int count_in_both(void *argument, size_t size)
{
    int64_t number;
    (void) size;
    board *b = board_of(argument, &number);
    mark_add(&b->arrived);
    for (;;) {
        CHECK(kin_counter_add(b->counter, 1, NULL) == 0);
        CHECK(kin_counter_add(b->other, 1, NULL) == 0);
    }
}

static void the_killed_have_counted_or_not(void **state)
{
    (void) state;
    board *b = new_board(0);
    for (uint32_t i = 1; i <= VICTIMS; i++) {
        int64_t before = 0;
        int64_t first = 0;
        int64_t second = 0;
        assert_int_equal(kin_counter_get(b->other, &before), 0);
        kin_process victim = start_on(count_in_both, b, 0);
        assert_true(mark_await(&b->arrived, i));
        assert_int_equal(kin_counter_wait(b->other, before + i, LONG_MS), 0);
        kill_and_close(victim);
        assert_int_equal(kin_counter_get(b->counter, &first), 0);
        assert_int_equal(kin_counter_get(b->other, &second), 0);
        assert_true(first - second == 0 || first - second == 1);
        assert_int_equal(kin_counter_set(b->counter, second), 0);
    }
    free_board(b);
}

static void killed_waiters_swallow_nothing(void **state)
{
    (void) state;
    board *b = new_board(0);
    for (int i = 0; i < VICTIMS / 4; i++) {
        assert_int_equal(kin_counter_set(b->counter, 0), 0);
        kin_process waiters[3];
        for (int k = 0; k < 3; k++) {
            waiters[k] = start_on(wait_for, b, 1);
        }
        await_sleepers(b->counter.id, 3);
        assert_int_equal(kin_process_kill(waiters[0]), 0);
        assert_int_equal(kin_counter_add(b->counter, 1, NULL), 0);
        for (int k = 1; k < 3; k++) {
            assert_int_equal(end_of(waiters[k]), 0);
        }
        int code = end_of(waiters[0]);
        assert_true(code == -KIN_SIGKILL || code == 0);
    }
    free_board(b);
}

/* ---- limits ---- */

static int fill_table(int argc, char **argv)
{
    static kin_counter counters[MANY];
    const kin_options options = {.arena_size = 8 << 20};
    const char *broken;
    size_t count = 0;
    int status = 0;
    CHECK(kin_init_with(&argc, &argv, &options) == 0);
    while (count < MANY && status == 0) {
        status = kin_counter_create(&counters[count], NULL);
        count += status == 0;
    }
    CHECK(count > 0 && (status == KIN_E_NOMEM || status == KIN_E_LIMIT));
    CHECK(kin_counter_add(counters[count - 1], 1, NULL) == 0);
    while (count > 0) {
        CHECK(kin_counter_destroy(counters[--count]) == 0);
    }
    CHECK(kin_counter_create(&counters[0], NULL) == 0);
    CHECK(kin_counter_destroy(counters[0]) == 0);
    return arena_check(&broken) == 0 ? 0 : CHILD_FAILED;
}

static void there_can_be_many_and_then_no_more(void **state)
{
    (void) state;
    assert_int_equal(run_mode("full"), 0);
}

static int use_without_kin(int argc, char **argv)
{
    (void) argc, (void) argv;
    kin_counter c = {0};
    int64_t value = 0;
    CHECK(kin_counter_create(&c, NULL) == KIN_E_INIT);
    CHECK(kin_counter_add(c, 1, NULL) == KIN_E_INIT);
    CHECK(kin_counter_get(c, &value) == KIN_E_INIT);
    CHECK(kin_counter_set(c, 1) == KIN_E_INIT);
    CHECK(kin_counter_compare_exchange(c, &value, 1) == KIN_E_INIT);
    CHECK(kin_counter_wait(c, 1, 0) == KIN_E_INIT);
    CHECK(kin_counter_destroy(c) == KIN_E_INIT);
    return 0;
}

static void without_kin_init_nothing_works(void **state)
{
    (void) state;
    assert_int_equal(run_mode("without"), 0);
}

static const test_mode modes[] = {{"without", use_without_kin}, {"full", fill_table}};

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
        CLEAN_TEST(it_counts),
        CLEAN_TEST(it_is_exchanged_if_it_is_what_was_expected),
        CLEAN_TEST(it_does_not_overflow),
        CLEAN_TEST(bad_handles_and_arguments_are_told),
        CLEAN_TEST(a_wait_is_never_over_early),
        CLEAN_TEST(nothing_that_is_added_is_lost),
        CLEAN_TEST(those_go_on_whose_value_is_reached),
        CLEAN_TEST(those_who_wait_are_told_that_it_is_destroyed),
        CLEAN_TEST(no_step_is_missed),
        CLEAN_TEST(nobody_is_forgotten_in_a_crowd),
        CLEAN_TEST(the_killed_have_counted_or_not),
        CLEAN_TEST(killed_waiters_swallow_nothing),
        CLEAN_TEST(there_can_be_many_and_then_no_more),
        CLEAN_TEST(without_kin_init_nothing_works),
    };
    return cmocka_run_group_tests(tests, warm_up, NULL);
}
