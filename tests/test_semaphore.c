/* kin/semaphore.h: semaphores between threads and processes, bounded and owned ones, and what
   deaths make of them. */
#include "support.h"

#include "core/semaphore.h"

#include <string.h>

enum { MS = 1000000, WAITERS = 4, ROUNDS = 3000, THREADS = 6, PERMITS = 3 };

/* What children and tests share. */
typedef struct board {
    kin_semaphore semaphore;
    mark arrived;
    mark through;
    mark go;
    uint32_t rounds;
    uint32_t count; /* permits that a child takes */
    _Atomic uint32_t inside;
    _Atomic uint32_t most; /* that there have been inside */
    _Atomic uint32_t wrong;
    _Atomic uint32_t stop;
} board;

static board *new_board(const kin_semaphore_options *options)
{
    board *b = shared_new(sizeof *b);
    b->rounds = ROUNDS;
    b->count = 1;
    assert_int_equal(kin_semaphore_create(&b->semaphore, options), 0);
    return b;
}

static void free_board(board *b)
{
    assert_int_equal(kin_semaphore_destroy(b->semaphore), 0);
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

static void take_all(kin_semaphore s, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(kin_semaphore_acquire(s, KIN_FOREVER), 0);
    }
    assert_int_equal(kin_semaphore_value(s), 0);
    assert_int_equal(kin_semaphore_acquire(s, 0), KIN_E_TIMEOUT);
}

static const kin_semaphore_options empty = {.empty = true};
static const kin_semaphore_options owned = {.value = PERMITS, .owned = true};

/* ---- alone ---- */

static void permits_are_taken_and_given_back(void **state)
{
    (void) state;
    kin_semaphore s;
    const kin_semaphore_options three = {.value = 3};
    assert_int_equal(kin_semaphore_create(&s, NULL), 0);
    assert_int_equal(kin_semaphore_value(s), 1);
    assert_int_equal(kin_semaphore_destroy(s), 0);
    assert_int_equal(kin_semaphore_create(&s, &empty), 0);
    take_all(s, 0);
    assert_int_equal(kin_semaphore_release(s, 1), 0);
    take_all(s, 1);
    assert_int_equal(kin_semaphore_destroy(s), 0);
    assert_int_equal(kin_semaphore_create(&s, &three), 0);
    take_all(s, 3);
    assert_int_equal(kin_semaphore_release(s, 5), 0);
    assert_int_equal(kin_semaphore_value(s), 5);
    take_all(s, 5);
    assert_int_equal(kin_semaphore_destroy(s), 0);
}

static void a_bound_is_not_exceeded(void **state)
{
    (void) state;
    kin_semaphore s;
    const kin_semaphore_options bounded = {.value = 2, .bound = 3};
    assert_int_equal(kin_semaphore_create(&s, &bounded), 0);
    assert_int_equal(kin_semaphore_release(s, 2), KIN_E_LIMIT);
    assert_int_equal(kin_semaphore_value(s), 2);
    assert_int_equal(kin_semaphore_release(s, 1), 0);
    assert_int_equal(kin_semaphore_release(s, 1), KIN_E_LIMIT);
    assert_int_equal(kin_semaphore_release(s, UINT32_MAX), KIN_E_LIMIT);
    take_all(s, 3);
    assert_int_equal(kin_semaphore_release(s, 4), KIN_E_LIMIT);
    assert_int_equal(kin_semaphore_release(s, 3), 0);
    assert_int_equal(kin_semaphore_value(s), 3);
    assert_int_equal(kin_semaphore_destroy(s), 0);
    const kin_semaphore_options most = {.value = KIN_SEMAPHORE_LIMIT};
    assert_int_equal(kin_semaphore_create(&s, &most), 0);
    assert_int_equal(kin_semaphore_value(s), KIN_SEMAPHORE_LIMIT);
    assert_int_equal(kin_semaphore_release(s, 1), KIN_E_LIMIT);
    assert_int_equal(kin_semaphore_acquire(s, 0), 0);
    assert_int_equal(kin_semaphore_release(s, UINT32_MAX), KIN_E_LIMIT);
    assert_int_equal(kin_semaphore_release(s, 1), 0);
    assert_int_equal(kin_semaphore_destroy(s), 0);
}

static void bad_options_are_refused(void **state)
{
    (void) state;
    kin_semaphore s;
    const kin_semaphore_options bad[] = {
        {.name = "01234567890123456789012345678901"},
        {.value = 1, .empty = true},
        {.value = 3, .bound = 2},
        {.value = KIN_SEMAPHORE_LIMIT + 1},
        {.bound = KIN_SEMAPHORE_LIMIT + 1},
        {.value = KIN_SEMAPHORE_OWNED_LIMIT + 1, .owned = true},
        {.empty = true, .owned = true},
        {.value = 3, .bound = 2, .owned = true},
    };
    assert_int_equal(kin_semaphore_create(NULL, NULL), KIN_E_INVALID);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(kin_semaphore_create(&s, &bad[i]), KIN_E_INVALID);
    }
}

static void no_call_takes_a_handle_that_is_none(kin_semaphore s)
{
    assert_int_equal(kin_semaphore_acquire(s, 0), KIN_E_HANDLE);
    assert_int_equal(kin_semaphore_acquire(s, KIN_FOREVER), KIN_E_HANDLE);
    assert_int_equal(kin_semaphore_release(s, 1), KIN_E_HANDLE);
    assert_int_equal(kin_semaphore_value(s), KIN_E_HANDLE);
    assert_int_equal(kin_semaphore_destroy(s), KIN_E_HANDLE);
}

static void bad_handles_and_arguments_are_told(void **state)
{
    (void) state;
    kin_semaphore s;
    kin_semaphore other;
    kin_event event;
    const kin_semaphore_options *const kinds[] = {NULL, &owned};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(kin_semaphore_create(&s, kinds[i]), 0);
        assert_int_equal(kin_semaphore_release(s, 0), KIN_E_INVALID);
        assert_int_equal(kin_semaphore_destroy(s), 0);
        no_call_takes_a_handle_that_is_none(s);
        assert_int_equal(kin_semaphore_create(&other, kinds[1 - i]), 0);
        no_call_takes_a_handle_that_is_none(s); /* the other has its entry */
        assert_int_equal(kin_semaphore_destroy(other), 0);
    }
    assert_int_equal(kin_event_create(&event, NULL), 0);
    const uint64_t forged[] = {0, 1, UINT64_MAX, event.id, kin_current_process().id};
    for (size_t i = 0; i < sizeof forged / sizeof *forged; i++) {
        no_call_takes_a_handle_that_is_none((kin_semaphore){forged[i]});
    }
    assert_int_equal(kin_event_destroy(event), 0);
}

static void a_wait_is_never_over_early(void **state)
{
    (void) state;
    kin_semaphore s;
    static const int times[] = {1, 20, 250};
    assert_int_equal(kin_semaphore_create(&s, &empty), 0);
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        int64_t before = kin_clock_ns();
        assert_int_equal(kin_semaphore_acquire(s, times[i]), KIN_E_TIMEOUT);
        int64_t took = kin_clock_ns() - before;
        assert_true(took >= (int64_t) times[i] * MS);
        print_message("a wait of %d ms took %.3f ms\n", times[i], (double) took / MS);
    }
    assert_int_equal(kin_semaphore_destroy(s), 0);
}

static void permits_of_an_owned_one_are_given_back_by_their_owner(void **state)
{
    (void) state;
    kin_semaphore s;
    assert_int_equal(kin_semaphore_create(&s, &owned), 0);
    assert_int_equal(kin_semaphore_release(s, 1), KIN_E_NOT_OWNER);
    assert_int_equal(kin_semaphore_acquire(s, 0), 0);
    assert_int_equal(kin_semaphore_acquire(s, 0), 0);
    assert_int_equal(kin_semaphore_release(s, 3), KIN_E_NOT_OWNER);
    assert_int_equal(kin_semaphore_value(s), PERMITS - 2);
    assert_int_equal(kin_semaphore_release(s, 2), 0);
    assert_int_equal(kin_semaphore_release(s, 1), KIN_E_NOT_OWNER);
    take_all(s, PERMITS);
    assert_int_equal(kin_semaphore_release(s, PERMITS), 0);
    assert_int_equal(kin_semaphore_value(s), PERMITS);
    assert_int_equal(kin_semaphore_destroy(s), 0);
}

static void an_owned_one_can_be_large(void **state)
{
    (void) state;
    kin_semaphore s;
    const kin_semaphore_options large = {.value = KIN_SEMAPHORE_OWNED_LIMIT, .owned = true};
    assert_int_equal(kin_semaphore_create(&s, &large), 0);
    take_all(s, KIN_SEMAPHORE_OWNED_LIMIT);
    assert_int_equal(kin_semaphore_release(s, KIN_SEMAPHORE_OWNED_LIMIT), 0);
    assert_int_equal(kin_semaphore_value(s), KIN_SEMAPHORE_OWNED_LIMIT);
    assert_int_equal(kin_semaphore_destroy(s), 0);
}

/* ---- several processes ---- */

static int acquire_once(void *argument, size_t size)
{
    (void) size;
    board *b = board_of(argument);
    int status = kin_semaphore_acquire(b->semaphore, LONG_MS);
    mark_add(&b->through);
    return -status;
}

static void start_waiters(board *b, kin_process *waiters)
{
    for (int i = 0; i < WAITERS; i++) {
        waiters[i] = start_on(acquire_once, b);
    }
    await_sleepers(b->semaphore.id, WAITERS);
}

static void as_many_go_on_as_there_are_permits(void **state)
{
    (void) state;
    board *b = new_board(&empty);
    kin_process waiters[WAITERS];
    start_waiters(b, waiters);
    assert_int_equal(kin_semaphore_release(b->semaphore, 1), 0);
    assert_true(mark_await(&b->through, 1));
    await_sleepers(b->semaphore.id, WAITERS - 1);
    assert_int_equal(kin_semaphore_release(b->semaphore, WAITERS - 1), 0);
    for (int i = 0; i < WAITERS; i++) {
        assert_int_equal(end_of(waiters[i]), 0);
    }
    assert_int_equal(kin_semaphore_value(b->semaphore), 0);
    free_board(b);
}

static void those_who_wait_are_told_that_it_is_destroyed(void **state)
{
    (void) state;
    const kin_semaphore_options one = {.owned = true};
    for (int i = 0; i < 2; i++) {
        board *b = new_board(i == 0 ? &empty : &one);
        kin_process waiters[WAITERS];
        if (i == 1) {
            take_all(b->semaphore, 1);
        }
        start_waiters(b, waiters);
        assert_int_equal(kin_semaphore_destroy(b->semaphore), 0);
        for (int k = 0; k < WAITERS; k++) {
            assert_int_equal(end_of(waiters[k]), -KIN_E_DESTROYED);
        }
        assert_int_equal(kin_semaphore_acquire(b->semaphore, 0), KIN_E_HANDLE);
        shared_free(b);
    }
}

static void come_and_go(board *b)
{
    for (uint32_t i = 0; i < b->rounds; i++) {
        if (kin_semaphore_acquire(b->semaphore, LONG_MS) != 0) {
            atomic_store(&b->wrong, 1);
        }
        uint32_t now = atomic_fetch_add(&b->inside, 1) + 1;
        uint32_t most = atomic_load(&b->most);
        while (now > most && !atomic_compare_exchange_weak(&b->most, &most, now)) {
        }
        atomic_fetch_sub(&b->inside, 1);
        if (kin_semaphore_release(b->semaphore, 1) != 0) {
            atomic_store(&b->wrong, 1);
        }
    }
}

static int be_guest(void *argument, size_t size)
{
    (void) size;
    come_and_go(board_of(argument));
    return 0;
}

static void be_thread(void *argument, unsigned number)
{
    (void) number;
    come_and_go(argument);
}

/* Threads and processes, with few permits and with many. */
static void crowd(const kin_semaphore_options *options, uint32_t most)
{
    board *b = new_board(options);
    kin_process guests[WAITERS];
    for (int i = 0; i < WAITERS; i++) {
        guests[i] = start_on(be_guest, b);
    }
    system_run_threads(THREADS, be_thread, b);
    for (int i = 0; i < WAITERS; i++) {
        assert_int_equal(end_of(guests[i]), 0);
    }
    assert_int_equal(atomic_load(&b->wrong), 0);
    assert_true(atomic_load(&b->most) <= most);
    assert_int_equal(kin_semaphore_value(b->semaphore), most);
    free_board(b);
}

static void no_more_are_inside_than_there_are_permits(void **state)
{
    (void) state;
    const kin_semaphore_options three = {.value = PERMITS, .bound = PERMITS};
    const kin_semaphore_options one = {.owned = true};
    crowd(NULL, 1);
    crowd(&three, PERMITS);
    crowd(&one, 1);
    crowd(&owned, PERMITS);
}

/* All threads release what one process has: each permit comes back once. */
static void give_too_many(void *argument, unsigned number)
{
    board *b = argument;
    for (uint32_t i = 0; i < b->rounds; i++) {
        uint32_t count = 1 + (i + number) % PERMITS;
        int status = kin_semaphore_release(b->semaphore, count);
        if (status == 0) {
            atomic_fetch_sub(&b->inside, count);
        } else if (status != KIN_E_NOT_OWNER) {
            atomic_store(&b->wrong, 1);
        }
        if (kin_semaphore_acquire(b->semaphore, 0) == 0) {
            atomic_fetch_add(&b->inside, 1);
        }
    }
}

static void threads_that_release_too_much_lose_no_permits(void **state)
{
    (void) state;
    board *b = new_board(&owned);
    system_run_threads(THREADS, give_too_many, b);
    assert_int_equal(atomic_load(&b->wrong), 0);
    assert_int_equal(kin_semaphore_value(b->semaphore), (int) (PERMITS - atomic_load(&b->inside)));
    free_board(b);
}

static int come_back_at_once(void *argument, size_t size)
{
    (void) size;
    board *b = board_of(argument);
    mark_add(&b->arrived);
    while (atomic_load(&b->stop) == 0) {
        CHECK(kin_semaphore_acquire(b->semaphore, LONG_MS) == 0);
        CHECK(kin_semaphore_release(b->semaphore, 1) == 0);
    }
    return 0;
}

/* The others are always there first; and yet this one has its turn, again and again. */
static void nobody_starves(void **state)
{
    (void) state;
    const kin_semaphore_options one = {.owned = true};
    for (int i = 0; i < 2; i++) {
        board *b = new_board(i == 0 ? NULL : &one);
        kin_process others[WAITERS];
        for (int k = 0; k < WAITERS; k++) {
            others[k] = start_on(come_back_at_once, b);
        }
        assert_true(mark_await(&b->arrived, WAITERS));
        int64_t longest = 0;
        for (int k = 0; k < 20; k++) {
            int64_t before = kin_clock_ns();
            assert_int_equal(kin_semaphore_acquire(b->semaphore, LONG_MS), 0);
            int64_t took = kin_clock_ns() - before;
            longest = took > longest ? took : longest;
            assert_int_equal(kin_semaphore_release(b->semaphore, 1), 0);
        }
        print_message("the longest wait among greedy ones: %.3f ms\n", (double) longest / MS);
        atomic_store(&b->stop, 1);
        for (int k = 0; k < WAITERS; k++) {
            assert_int_equal(end_of(others[k]), 0);
        }
        free_board(b);
    }
}

static int make_semaphore(void *argument, size_t size)
{
    (void) size;
    return kin_semaphore_create(&board_of(argument)->semaphore, &owned);
}

static void a_semaphore_outlives_its_maker(void **state)
{
    (void) state;
    board *b = shared_new(sizeof *b);
    assert_int_equal(end_of(start_on(make_semaphore, b)), 0);
    take_all(b->semaphore, PERMITS);
    kin_process waiter = start_on(acquire_once, b);
    await_sleepers(b->semaphore.id, 1);
    assert_int_equal(kin_semaphore_release(b->semaphore, 1), 0);
    assert_int_equal(end_of(waiter), 0);
    free_board(b);
}

/* ---- deaths ---- */

static int take_and_stay(void *argument, size_t size)
{
    (void) size;
    board *b = board_of(argument);
    for (uint32_t i = 0; i < b->count; i++) {
        CHECK(kin_semaphore_acquire(b->semaphore, LONG_MS) == 0);
    }
    mark_add(&b->arrived);
    (void) kin_sleep(KIN_FOREVER);
    return CHILD_FAILED;
}

static void permits_of_the_killed_come_back(void **state)
{
    (void) state;
    board *b = new_board(&owned);
    kin_process waiters[WAITERS];
    b->count = PERMITS;
    kin_process holder = start_on(take_and_stay, b);
    assert_true(mark_await(&b->arrived, 1));
    assert_int_equal(kin_semaphore_value(b->semaphore), 0);
    assert_int_equal(kin_semaphore_acquire(b->semaphore, 1), KIN_E_TIMEOUT);
    assert_int_equal(kin_semaphore_release(b->semaphore, 1), KIN_E_NOT_OWNER);
    start_waiters(b, waiters);
    assert_int_equal(kin_process_kill(holder), 0);
    assert_true(mark_await(&b->through, PERMITS)); /* nobody has joined it */
    assert_int_equal(end_of(holder), -KIN_SIGKILL);
    /* The first three have ended with their permits, which come back as well. */
    for (int i = 0; i < WAITERS; i++) {
        assert_int_equal(end_of(waiters[i]), 0);
    }
    take_all(b->semaphore, PERMITS);
    free_board(b);
}

/* Who does not wait finds out, too. */
static void one_who_only_tries_gets_what_the_dead_had(void **state)
{
    (void) state;
    board *b = new_board(&owned);
    b->count = PERMITS;
    kin_process holder = start_on(take_and_stay, b);
    assert_true(mark_await(&b->arrived, 1));
    assert_int_equal(kin_process_kill(holder), 0);
    int64_t deadline = wait_deadline(LONG_MS);
    while (kin_semaphore_acquire(b->semaphore, 0) != 0) {
        assert_true(kin_clock_ns() < deadline);
    }
    assert_int_equal(end_of(holder), -KIN_SIGKILL);
    free_board(b);
}

static int take_and_end(void *argument, size_t size)
{
    (void) size;
    board *b = board_of(argument);
    return kin_semaphore_acquire(b->semaphore, LONG_MS);
}

static void permits_come_back_from_one_that_ends_as_it_should(void **state)
{
    (void) state;
    board *b = new_board(&owned);
    for (int i = 0; i < 2 * PERMITS; i++) {
        assert_int_equal(end_of(start_on(take_and_end, b)), 0);
    }
    take_all(b->semaphore, PERMITS);
    free_board(b);
}

/* Wherever the killed one stood, the wake-up reaches somebody. */
static void killed_waiters_swallow_nothing(void **state)
{
    (void) state;
    uint64_t seed = 7;
    board *b = new_board(&empty);
    for (uint32_t i = 0; i < 10; i++) {
        kin_process victim = start_on(acquire_once, b);
        await_sleepers(b->semaphore.id, 1);
        kin_process waiter = start_on(acquire_once, b);
        await_sleepers(b->semaphore.id, 2);
        uint32_t before = atomic_load(&b->through.value);
        assert_int_equal(kin_semaphore_release(b->semaphore, 1), 0);
        for (uint32_t k = next_random(&seed) % 3000; k > 0; k--) {
            platform_relax();
        }
        assert_int_equal(kin_process_kill(victim), 0);
        assert_int_equal(kin_process_join(victim, LONG_MS), 0);
        /* It may have got the permit, and taken it to its grave. */
        if (atomic_load(&b->through.value) > before || kin_semaphore_value(b->semaphore) == 0) {
            assert_int_equal(kin_semaphore_release(b->semaphore, 1), 0);
        }
        assert_int_equal(kin_process_close(victim), 0);
        assert_int_equal(end_of(waiter), 0);
        while (kin_semaphore_acquire(b->semaphore, 0) == 0) {
        }
    }
    free_board(b);
}

static int use_owned_for_ever(void *argument, size_t size)
{
    (void) size;
    board *b = board_of(argument);
    mark_add(&b->arrived);
    for (uint32_t i = 0;; i++) {
        uint32_t count = 1 + i % 2;
        uint32_t got = 0;
        while (got < count && kin_semaphore_acquire(b->semaphore, 10) == 0) {
            got++;
        }
        CHECK(got == 0 || kin_semaphore_release(b->semaphore, got) == 0);
    }
}

static void permits_are_conserved_among_the_killed(void **state)
{
    (void) state;
    uint64_t seed = 11;
    board *b = new_board(&owned);
    kin_process users[WAITERS];
    for (int i = 0; i < WAITERS; i++) {
        users[i] = start_on(use_owned_for_ever, b);
    }
    for (uint32_t i = 0; i < 12; i++) {
        assert_true(mark_await(&b->arrived, WAITERS + i));
        int which = (int) (next_random(&seed) % WAITERS);
        platform_sleep_ns((int64_t) (next_random(&seed) % MS));
        kill_and_close(users[which]);
        users[which] = start_on(use_owned_for_ever, b);
        assert_int_equal(kin_semaphore_acquire(b->semaphore, LONG_MS), 0);
        assert_int_equal(kin_semaphore_release(b->semaphore, 1), 0);
    }
    for (int i = 0; i < WAITERS; i++) {
        kill_and_close(users[i]);
    }
    take_all(b->semaphore, PERMITS);
    free_board(b);
}

static int use_without_kin(int argc, char **argv)
{
    (void) argc, (void) argv;
    kin_semaphore s = {1};
    bool right = kin_semaphore_create(&s, NULL) == KIN_E_INIT &&
                 kin_semaphore_acquire(s, 0) == KIN_E_INIT &&
                 kin_semaphore_release(s, 1) == KIN_E_INIT &&
                 kin_semaphore_value(s) == KIN_E_INIT && kin_semaphore_destroy(s) == KIN_E_INIT;
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
        CLEAN_TEST(permits_are_taken_and_given_back),
        CLEAN_TEST(a_bound_is_not_exceeded),
        CLEAN_TEST(bad_options_are_refused),
        CLEAN_TEST(bad_handles_and_arguments_are_told),
        CLEAN_TEST(a_wait_is_never_over_early),
        CLEAN_TEST(permits_of_an_owned_one_are_given_back_by_their_owner),
        CLEAN_TEST(an_owned_one_can_be_large),
        CLEAN_TEST(as_many_go_on_as_there_are_permits),
        CLEAN_TEST(those_who_wait_are_told_that_it_is_destroyed),
        CLEAN_TEST(no_more_are_inside_than_there_are_permits),
        CLEAN_TEST(threads_that_release_too_much_lose_no_permits),
        CLEAN_TEST(nobody_starves),
        CLEAN_TEST(a_semaphore_outlives_its_maker),
        CLEAN_TEST(permits_of_the_killed_come_back),
        CLEAN_TEST(one_who_only_tries_gets_what_the_dead_had),
        CLEAN_TEST(permits_come_back_from_one_that_ends_as_it_should),
        CLEAN_TEST(killed_waiters_swallow_nothing),
        CLEAN_TEST(permits_are_conserved_among_the_killed),
        CLEAN_TEST(without_kin_init_nothing_works),
    };
    return cmocka_run_group_tests(tests, warm_up, NULL);
}
