/* kin/event.h: events between threads and processes, and what deaths make of them. */
#include "support.h"

#include "core/event.h"

#include <string.h>

enum { MS = 1000000, WAITERS = 4, ROUNDS = 2000, THREADS = 6 };

/* What children and tests share. */
typedef struct board {
    kin_event event;
    kin_event answer;
    mark through; /* waiters that have been let in */
    mark arrived;
    uint64_t plain; /* written before an event is set, read after */
    uint32_t rounds;
    int32_t status; /* of a wait */
    _Atomic uint32_t inside;
    _Atomic uint32_t stop;
} board;

static board *new_board(const kin_event_options *options)
{
    board *b = shared_new(sizeof *b);
    b->rounds = ROUNDS;
    assert_int_equal(kin_event_create(&b->event, options), 0);
    assert_int_equal(kin_event_create(&b->answer, options), 0);
    return b;
}

static void free_board(board *b)
{
    assert_int_equal(kin_event_destroy(b->event), 0);
    assert_int_equal(kin_event_destroy(b->answer), 0);
    shared_free(b);
}

static kin_process start_on(kin_process_function function, const board *b)
{
    uint64_t offset = arena_offset(b);
    return start(function, &offset, sizeof offset);
}

static board *board_of(const void *argument)
{
    uint64_t offset;
    memcpy(&offset, argument, sizeof offset);
    return arena_at(offset);
}

static const kin_event_options resets_itself = {.auto_reset = true};

/* ---- alone ---- */

static void an_event_is_set_and_cleared(void **state)
{
    (void) state;
    kin_event e;
    assert_int_equal(kin_event_create(&e, NULL), 0);
    assert_int_equal(kin_event_is_set(e), 0);
    assert_int_equal(kin_event_wait(e, 0), KIN_E_TIMEOUT);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(kin_event_set(e), 0);
        assert_int_equal(kin_event_is_set(e), 1);
        assert_int_equal(kin_event_wait(e, 0), 0);
        assert_int_equal(kin_event_wait(e, KIN_FOREVER), 0);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(kin_event_clear(e), 0);
        assert_int_equal(kin_event_is_set(e), 0);
        assert_int_equal(kin_event_wait(e, 0), KIN_E_TIMEOUT);
    }
    assert_int_equal(kin_event_destroy(e), 0);
}

static void one_that_resets_itself_lets_one_wait_through(void **state)
{
    (void) state;
    kin_event e;
    assert_int_equal(kin_event_create(&e, &resets_itself), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(kin_event_wait(e, 0), KIN_E_TIMEOUT);
        assert_int_equal(kin_event_set(e), 0);
        assert_int_equal(kin_event_set(e), 0);
        assert_int_equal(kin_event_is_set(e), 1);
        assert_int_equal(kin_event_wait(e, KIN_FOREVER), 0);
        assert_int_equal(kin_event_is_set(e), 0);
    }
    assert_int_equal(kin_event_set(e), 0);
    assert_int_equal(kin_event_clear(e), 0);
    assert_int_equal(kin_event_wait(e, 1), KIN_E_TIMEOUT);
    assert_int_equal(kin_event_destroy(e), 0);
}

static void an_event_is_made_as_the_options_say(void **state)
{
    (void) state;
    kin_event e;
    char name[SYNC_NAME_SIZE];
    const kin_event_options set = {.name = "ready", .set = true};
    assert_int_equal(kin_event_create(&e, &set), 0);
    assert_int_equal(kin_event_is_set(e), 1);
    sync_name(sync_find(e.id, KIND_EVENT), name);
    assert_string_equal(name, "ready");
    assert_int_equal(kin_event_wait(e, 0), 0);
    assert_int_equal(kin_event_is_set(e), 1);
    assert_int_equal(kin_event_destroy(e), 0);
    const kin_event_options once = {.set = true, .auto_reset = true};
    assert_int_equal(kin_event_create(&e, &once), 0);
    assert_int_equal(kin_event_wait(e, 0), 0);
    assert_int_equal(kin_event_wait(e, 0), KIN_E_TIMEOUT);
    assert_int_equal(kin_event_destroy(e), 0);
}

static void no_call_takes_a_handle_that_is_none(kin_event e)
{
    assert_int_equal(kin_event_set(e), KIN_E_HANDLE);
    assert_int_equal(kin_event_clear(e), KIN_E_HANDLE);
    assert_int_equal(kin_event_is_set(e), KIN_E_HANDLE);
    assert_int_equal(kin_event_wait(e, 0), KIN_E_HANDLE);
    assert_int_equal(kin_event_wait(e, KIN_FOREVER), KIN_E_HANDLE);
    assert_int_equal(kin_event_destroy(e), KIN_E_HANDLE);
}

static void bad_handles_and_arguments_are_told(void **state)
{
    (void) state;
    kin_event e;
    kin_event other;
    kin_lock lock;
    const kin_event_options long_name = {.name = "01234567890123456789012345678901"};
    assert_int_equal(kin_event_create(NULL, NULL), KIN_E_INVALID);
    assert_int_equal(kin_event_create(&e, &long_name), KIN_E_INVALID);
    assert_int_equal(kin_event_create(&e, NULL), 0);
    assert_int_equal(kin_event_set(e), 0);
    assert_int_equal(kin_event_destroy(e), 0);
    no_call_takes_a_handle_that_is_none(e);
    assert_int_equal(kin_event_create(&other, NULL), 0); /* has the entry of the first */
    no_call_takes_a_handle_that_is_none(e);
    assert_int_equal(kin_lock_create(&lock, NULL), 0);
    const uint64_t forged[] = {0,
                               1,
                               UINT64_MAX,
                               other.id + 1,
                               other.id ^ (UINT64_C(1) << 40),
                               other.id | UINT64_C(1) << 63,
                               lock.id,
                               kin_current_process().id};
    for (size_t i = 0; i < sizeof forged / sizeof *forged; i++) {
        no_call_takes_a_handle_that_is_none((kin_event){forged[i]});
    }
    assert_int_equal(kin_event_is_set(other), 0);
    assert_int_equal(kin_lock_destroy(lock), 0);
    assert_int_equal(kin_event_destroy(other), 0);
}

static void a_wait_is_never_over_early(void **state)
{
    (void) state;
    kin_event e;
    static const int times[] = {1, 20, 250};
    assert_int_equal(kin_event_create(&e, NULL), 0);
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        int64_t before = kin_clock_ns();
        assert_int_equal(kin_event_wait(e, times[i]), KIN_E_TIMEOUT);
        int64_t took = kin_clock_ns() - before;
        assert_true(took >= (int64_t) times[i] * MS);
        print_message("a wait of %d ms took %.3f ms\n", times[i], (double) took / MS);
    }
    assert_int_equal(kin_event_destroy(e), 0);
}

/* ---- several processes ---- */

static int wait_once(void *argument, size_t size)
{
    (void) size;
    board *b = board_of(argument);
    b->status = kin_event_wait(b->event, LONG_MS);
    mark_add(&b->through);
    return b->status == 0 ? 0 : -b->status;
}

static void start_waiters(board *b, kin_process *waiters)
{
    for (int i = 0; i < WAITERS; i++) {
        waiters[i] = start_on(wait_once, b);
    }
    await_sleepers(b->event.id, WAITERS);
}

static void all_who_wait_go_on_when_it_is_set(void **state)
{
    (void) state;
    board *b = new_board(NULL);
    kin_process waiters[WAITERS];
    start_waiters(b, waiters);
    assert_int_equal(kin_event_set(b->event), 0);
    for (int i = 0; i < WAITERS; i++) {
        assert_int_equal(end_of(waiters[i]), 0);
    }
    free_board(b);
}

/* They sleep when it happens, so they can see it only by what the event remembers. */
static void those_who_waited_go_on_even_if_it_is_cleared_at_once(void **state)
{
    (void) state;
    board *b = new_board(NULL);
    kin_process waiters[WAITERS];
    start_waiters(b, waiters);
    assert_int_equal(kin_event_set(b->event), 0);
    assert_int_equal(kin_event_clear(b->event), 0);
    for (int i = 0; i < WAITERS; i++) {
        assert_int_equal(end_of(waiters[i]), 0);
    }
    assert_int_equal(kin_event_wait(b->event, 1), KIN_E_TIMEOUT);
    free_board(b);
}

static void each_set_of_one_that_resets_itself_lets_one_in(void **state)
{
    (void) state;
    board *b = new_board(&resets_itself);
    kin_process waiters[WAITERS];
    start_waiters(b, waiters);
    for (uint32_t i = 1; i <= WAITERS; i++) {
        assert_int_equal(kin_event_set(b->event), 0);
        assert_true(mark_await(&b->through, i));
        await_sleepers(b->event.id, WAITERS - i);
        assert_int_equal(kin_event_is_set(b->event), 0);
        assert_int_equal(atomic_load(&b->through.value), i);
    }
    for (int i = 0; i < WAITERS; i++) {
        assert_int_equal(end_of(waiters[i]), 0);
    }
    free_board(b);
}

static void those_who_wait_are_told_that_it_is_destroyed(void **state)
{
    (void) state;
    for (int i = 0; i < 2; i++) {
        board *b = new_board(i == 0 ? NULL : &resets_itself);
        kin_process waiters[WAITERS];
        start_waiters(b, waiters);
        assert_int_equal(kin_event_destroy(b->event), 0);
        for (int k = 0; k < WAITERS; k++) {
            assert_int_equal(end_of(waiters[k]), -KIN_E_DESTROYED);
        }
        assert_int_equal(kin_event_wait(b->event, 0), KIN_E_HANDLE);
        assert_int_equal(kin_event_create(&b->event, NULL), 0);
        free_board(b);
    }
}

/* Each hands the turn to the other; what one has written the other sees. */
static int answer(void *argument, size_t size)
{
    (void) size;
    board *b = board_of(argument);
    for (uint32_t i = 0; i < b->rounds; i++) {
        CHECK(kin_event_wait(b->event, LONG_MS) == 0);
        CHECK(kin_event_clear(b->event) == 0);
        CHECK(b->plain == 2 * i + 1);
        b->plain++;
        CHECK(kin_event_set(b->answer) == 0);
    }
    return 0;
}

static void hand_over(const kin_event_options *options)
{
    board *b = new_board(options);
    kin_process other = start_on(answer, b);
    for (uint32_t i = 0; i < b->rounds; i++) {
        assert_int_equal(b->plain, 2 * i);
        b->plain++;
        assert_int_equal(kin_event_set(b->event), 0);
        assert_int_equal(kin_event_wait(b->answer, LONG_MS), 0);
        assert_int_equal(kin_event_clear(b->answer), 0);
    }
    assert_int_equal(end_of(other), 0);
    free_board(b);
}

static void two_processes_take_turns(void **state)
{
    (void) state;
    hand_over(NULL);
    hand_over(&resets_itself);
}

static int make_event(void *argument, size_t size)
{
    (void) size;
    board *b = board_of(argument);
    return kin_event_create(&b->event, &resets_itself);
}

static void an_event_outlives_its_maker(void **state)
{
    (void) state;
    board *b = shared_new(sizeof *b);
    assert_int_equal(end_of(start_on(make_event, b)), 0);
    kin_process waiter = start_on(wait_once, b);
    await_sleepers(b->event.id, 1);
    assert_int_equal(kin_event_set(b->event), 0);
    assert_int_equal(end_of(waiter), 0);
    assert_int_equal(kin_event_destroy(b->event), 0);
    shared_free(b);
}

/* ---- threads ---- */

/* Who is let in sets it again: it is a lock. */
static void take_turns(void *argument, unsigned number)
{
    board *b = argument;
    (void) number;
    for (uint32_t i = 0; i < b->rounds; i++) {
        bool right = kin_event_wait(b->event, LONG_MS) == 0 && atomic_fetch_add(&b->inside, 1) == 0;
        b->plain++;
        right = right && atomic_fetch_sub(&b->inside, 1) == 1 && kin_event_set(b->event) == 0;
        if (!right) {
            atomic_store(&b->stop, 1);
        }
    }
}

static void one_thread_at_a_time_is_let_in(void **state)
{
    (void) state;
    board *b = new_board(&resets_itself);
    assert_int_equal(kin_event_set(b->event), 0);
    system_run_threads(THREADS, take_turns, b);
    assert_int_equal(atomic_load(&b->stop), 0);
    assert_int_equal(b->plain, (uint64_t) THREADS * b->rounds);
    assert_int_equal(kin_event_is_set(b->event), 1);
    free_board(b);
}

/* The first pulses until all others have seen so many, each of which must have been waiting. */
static void pulse_and_wait(void *argument, unsigned number)
{
    board *b = argument;
    if (number == 0) {
        while (atomic_load(&b->through.value) < THREADS - 1) {
            (void) kin_event_set(b->event);
            (void) kin_event_clear(b->event);
        }
        return;
    }
    for (uint32_t i = 0; i < 50; i++) {
        if (kin_event_wait(b->event, LONG_MS) != 0) {
            atomic_store(&b->stop, 1);
        }
    }
    mark_add(&b->through);
}

static void threads_miss_no_pulse(void **state)
{
    (void) state;
    board *b = new_board(NULL);
    system_run_threads(THREADS, pulse_and_wait, b);
    assert_int_equal(atomic_load(&b->stop), 0);
    free_board(b);
}

static void set_and_clear(void *argument, unsigned number)
{
    board *b = argument;
    for (uint32_t i = 0; i < b->rounds; i++) {
        int status = (i + number) % 2 == 0 ? kin_event_set(b->event) : kin_event_clear(b->event);
        if (status != 0 && status != KIN_E_HANDLE) {
            atomic_store(&b->stop, 1);
        }
        (void) kin_event_wait(b->event, 0);
        if (number == 0 && i == b->rounds / 2) {
            (void) kin_event_destroy(b->event);
            (void) kin_event_create(&b->answer, NULL);
        }
    }
}

/* Another event that has the entry is not touched by those who still know the first. */
static void one_that_is_destroyed_changes_no_other(void **state)
{
    (void) state;
    board *b = new_board(NULL);
    assert_int_equal(kin_event_destroy(b->answer), 0);
    system_run_threads(THREADS, set_and_clear, b);
    assert_int_equal(atomic_load(&b->stop), 0);
    assert_int_equal(kin_event_is_set(b->event), KIN_E_HANDLE);
    assert_int_equal(kin_event_is_set(b->answer), 0);
    assert_int_equal(kin_event_destroy(b->answer), 0);
    shared_free(b);
}

/* ---- deaths ---- */

/* Wherever the killed one stood, the wake-up reaches somebody. */
static void killed_waiters_swallow_nothing(void **state)
{
    (void) state;
    uint64_t seed = 1;
    board *b = new_board(&resets_itself);
    for (uint32_t i = 0; i < 10; i++) {
        kin_process victim = start_on(wait_once, b);
        await_sleepers(b->event.id, 1); /* it is the first in the line */
        kin_process waiter = start_on(wait_once, b);
        await_sleepers(b->event.id, 2);
        uint32_t before = atomic_load(&b->through.value);
        assert_int_equal(kin_event_set(b->event), 0);
        for (uint32_t k = next_random(&seed) % 3000; k > 0; k--) {
            platform_relax();
        }
        assert_int_equal(kin_process_kill(victim), 0);
        assert_int_equal(kin_process_join(victim, LONG_MS), 0);
        /* It may have been let in, and then killed. */
        bool let_in = atomic_load(&b->through.value) > before || kin_event_is_set(b->event) == 0;
        if (let_in) {
            assert_int_equal(kin_event_set(b->event), 0);
        }
        assert_int_equal(kin_process_join(waiter, LONG_MS), 0);
        assert_int_equal(kin_process_close(victim), 0);
        assert_int_equal(end_of(waiter), 0);
        assert_int_equal(kin_event_clear(b->event), 0);
    }
    free_board(b);
}

static int pulse_for_ever(void *argument, size_t size)
{
    (void) size;
    board *b = board_of(argument);
    mark_add(&b->arrived);
    for (;;) {
        CHECK(kin_event_set(b->event) == 0);
        CHECK(kin_event_clear(b->answer) == 0);
    }
}

static void those_who_set_are_killed_and_the_event_is_good(void **state)
{
    (void) state;
    for (uint32_t i = 0; i < 5; i++) {
        board *b = new_board(&resets_itself);
        kin_process setter = start_on(pulse_for_ever, b);
        assert_true(mark_await(&b->arrived, 1));
        for (int k = 0; k < 100; k++) {
            assert_int_equal(kin_event_wait(b->event, LONG_MS), 0);
        }
        kill_and_close(setter);
        (void) kin_event_wait(b->event, 0); /* it may have set it a last time */
        assert_int_equal(kin_event_is_set(b->event), 0);
        kin_process waiter = start_on(wait_once, b);
        await_sleepers(b->event.id, 1);
        assert_int_equal(kin_event_set(b->event), 0);
        assert_int_equal(end_of(waiter), 0);
        free_board(b);
    }
}

static int use_without_kin(int argc, char **argv)
{
    (void) argc, (void) argv;
    kin_event e = {1};
    bool right = kin_event_create(&e, NULL) == KIN_E_INIT && kin_event_set(e) == KIN_E_INIT &&
                 kin_event_clear(e) == KIN_E_INIT && kin_event_is_set(e) == KIN_E_INIT &&
                 kin_event_wait(e, 0) == KIN_E_INIT && kin_event_destroy(e) == KIN_E_INIT;
    return right ? 0 : CHILD_FAILED;
}

static void without_kin_init_nothing_works(void **state)
{
    (void) state;
    assert_int_equal(run_mode("without"), 0);
}

static const test_mode modes[] = {{"without", use_without_kin}};

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
        CLEAN_TEST(an_event_is_set_and_cleared),
        CLEAN_TEST(one_that_resets_itself_lets_one_wait_through),
        CLEAN_TEST(an_event_is_made_as_the_options_say),
        CLEAN_TEST(bad_handles_and_arguments_are_told),
        CLEAN_TEST(a_wait_is_never_over_early),
        CLEAN_TEST(all_who_wait_go_on_when_it_is_set),
        CLEAN_TEST(those_who_waited_go_on_even_if_it_is_cleared_at_once),
        CLEAN_TEST(each_set_of_one_that_resets_itself_lets_one_in),
        CLEAN_TEST(those_who_wait_are_told_that_it_is_destroyed),
        CLEAN_TEST(two_processes_take_turns),
        CLEAN_TEST(an_event_outlives_its_maker),
        CLEAN_TEST(one_thread_at_a_time_is_let_in),
        CLEAN_TEST(threads_miss_no_pulse),
        CLEAN_TEST(one_that_is_destroyed_changes_no_other),
        CLEAN_TEST(killed_waiters_swallow_nothing),
        CLEAN_TEST(those_who_set_are_killed_and_the_event_is_good),
        CLEAN_TEST(without_kin_init_nothing_works),
    };
    return cmocka_run_group_tests(tests, warm_up, NULL);
}
