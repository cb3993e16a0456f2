/* kin/lock.h: locks and recursive locks. What holds for both is tested with both. */
#include "support.h"

#include "core/arena.h"
#include "core/latch.h"

#include <kin/lock.h>

#include <stdlib.h>
#include <string.h>

enum {
    THREADS = 4,
    TURNS = 20000,
    PROCESSES = 4,
    CROWD = 64,
    SOON_MS = 30,
    CROWD_MS = WITH_SANITIZER ? 4000 : 1000
};

#if UINTPTR_MAX == UINT32_MAX
enum { CROWDED = CROWD / 2 };
#else
enum { CROWDED = CROWD };
#endif

/* Either kind. */
typedef struct any_lock {
    kin_lock plain;
    kin_rlock recursive;
    bool is_recursive;
} any_lock;

/* What children and tests share. */
typedef struct board {
    any_lock lock;
    mark arrived;
    mark go;
    mark done;
    _Atomic uint32_t stop;
    _Atomic int32_t status;
    uint64_t left; /* both are changed by who owns the lock, and equal when nobody does */
    uint64_t right;
    _Atomic uint64_t shares[CROWD];
    _Atomic uint32_t next;
} board;

static int acquire(any_lock l, int timeout_ms)
{
    return l.is_recursive ? kin_rlock_acquire(l.recursive, timeout_ms)
                          : kin_lock_acquire(l.plain, timeout_ms);
}

static int release(any_lock l)
{
    return l.is_recursive ? kin_rlock_release(l.recursive) : kin_lock_release(l.plain);
}

static int destroy(any_lock l)
{
    return l.is_recursive ? kin_rlock_destroy(l.recursive) : kin_lock_destroy(l.plain);
}

static any_lock new_lock(bool is_recursive)
{
    any_lock l = {.is_recursive = is_recursive};
    const kin_lock_options options = {.name = "a lock"};
    assert_int_equal(is_recursive ? kin_rlock_create(&l.recursive, &options)
                                  : kin_lock_create(&l.plain, &options),
                     0);
    return l;
}

static board *new_board(bool is_recursive)
{
    board *b = shared_new(sizeof *b);
    b->lock = new_lock(is_recursive);
    return b;
}

static void end_board(board *b)
{
    assert_int_equal(destroy(b->lock), 0);
    shared_free(b);
}

static kin_process start_on(board *b, kin_process_function function)
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

static void run_thread(void (*function)(void *argument, unsigned number), void *argument)
{
    system_run_threads(1, function, argument);
}

/* A test with each kind. */
#define WITH_BOTH(name)                         \
    static void name##_with(bool is_recursive); \
    static void name(void **state)              \
    {                                           \
        (void) state;                           \
        name##_with(false);                     \
        name##_with(true);                      \
    }                                           \
    static void name##_with(bool is_recursive)

/* ---- one thread ---- */

WITH_BOTH(a_lock_is_acquired_and_released)
{
    any_lock l = new_lock(is_recursive);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(acquire(l, i == 0 ? KIN_FOREVER : i == 1 ? 0 : LONG_MS), 0);
        assert_int_equal(release(l), 0);
        assert_int_equal(release(l), KIN_E_NOT_OWNER);
    }
    assert_int_equal(destroy(l), 0);
}

static void a_lock_is_not_acquired_twice(void **state)
{
    (void) state;
    kin_lock lock;
    assert_int_equal(kin_lock_create(&lock, NULL), 0);
    assert_int_equal(kin_lock_acquire(lock, KIN_FOREVER), 0);
    assert_int_equal(kin_lock_acquire(lock, KIN_FOREVER), KIN_E_DEADLOCK);
    assert_int_equal(kin_lock_acquire(lock, LONG_MS), KIN_E_DEADLOCK);
    assert_int_equal(kin_lock_acquire(lock, 0), KIN_E_DEADLOCK);
    assert_int_equal(kin_lock_release(lock), 0);
    assert_int_equal(kin_lock_release(lock), KIN_E_NOT_OWNER);
    assert_int_equal(kin_lock_destroy(lock), 0);
}

static void try_in_thread(void *argument, unsigned number)
{
    (void) number;
    board *b = argument;
    int status = acquire(b->lock, 0);
    atomic_store(&b->status, status);
    if (status >= 0) {
        (void) release(b->lock);
    }
}

static int status_elsewhere(board *b)
{
    run_thread(try_in_thread, b);
    return atomic_load(&b->status);
}

static void a_recursive_lock_is_released_as_often_as_acquired(void **state)
{
    (void) state;
    enum { DEPTH = 1000 };
    board *b = new_board(true);
    for (int i = 0; i < DEPTH; i++) {
        assert_int_equal(acquire(b->lock, i % 2 == 0 ? 0 : KIN_FOREVER), 0);
    }
    for (int i = 0; i < DEPTH; i++) {
        if (i % 50 == 49) {
            assert_int_equal(status_elsewhere(b), KIN_E_TIMEOUT);
        }
        assert_int_equal(release(b->lock), 0);
    }
    assert_int_equal(release(b->lock), KIN_E_NOT_OWNER);
    assert_int_equal(status_elsewhere(b), 0);
    end_board(b);
}

static void a_recursive_lock_has_a_limit(void **state)
{
    (void) state;
    kin_rlock lock;
    assert_int_equal(kin_rlock_create(&lock, NULL), 0);
    assert_int_equal(kin_rlock_acquire(lock, 0), 0);
    sync *s = sync_find(lock.id, KIND_RLOCK);
    atomic_store(&s->depth, UINT32_MAX);
    assert_int_equal(kin_rlock_acquire(lock, 0), KIN_E_LIMIT);
    assert_int_equal(kin_rlock_release(lock), 0);
    assert_int_equal(kin_rlock_acquire(lock, 0), 0);
    atomic_store(&s->depth, 1);
    assert_int_equal(kin_rlock_release(lock), 0);
    assert_int_equal(kin_rlock_release(lock), KIN_E_NOT_OWNER);
    assert_int_equal(kin_rlock_destroy(lock), 0);
}

static void bad_arguments_are_errors(void **state)
{
    (void) state;
    kin_lock lock;
    kin_rlock other;
    const kin_lock_options longest = {.name = "1234567890123456789012345678901"};
    const kin_lock_options too_long = {.name = "12345678901234567890123456789012"};
    assert_int_equal(kin_lock_create(NULL, NULL), KIN_E_INVALID);
    assert_int_equal(kin_rlock_create(NULL, NULL), KIN_E_INVALID);
    assert_int_equal(kin_lock_create(&lock, &too_long), KIN_E_INVALID);
    assert_int_equal(kin_rlock_create(&other, &too_long), KIN_E_INVALID);
    assert_int_equal(kin_lock_create(&lock, &longest), 0);
    assert_int_equal(kin_rlock_create(&other, NULL), 0);
    /* The one is not the other. */
    assert_int_equal(kin_lock_acquire((kin_lock){other.id}, 0), KIN_E_HANDLE);
    assert_int_equal(kin_rlock_acquire((kin_rlock){lock.id}, 0), KIN_E_HANDLE);
    assert_int_equal(kin_lock_release((kin_lock){other.id}), KIN_E_HANDLE);
    assert_int_equal(kin_rlock_release((kin_rlock){lock.id}), KIN_E_HANDLE);
    assert_int_equal(kin_lock_destroy((kin_lock){other.id}), KIN_E_HANDLE);
    assert_int_equal(kin_rlock_destroy((kin_rlock){lock.id}), KIN_E_HANDLE);
    assert_int_equal(kin_lock_acquire((kin_lock){kin_current_process().id}, 0), KIN_E_HANDLE);
    assert_int_equal(kin_lock_acquire(lock, -2), 0); /* as KIN_FOREVER */
    assert_int_equal(kin_lock_release(lock), 0);
    assert_int_equal(kin_lock_destroy(lock), 0);
    assert_int_equal(kin_rlock_destroy(other), 0);
}

static void handles_that_are_none_are_errors(void **state)
{
    (void) state;
    uint64_t seed = 7;
    kin_lock lock;
    assert_int_equal(kin_lock_create(&lock, NULL), 0);
    for (int i = 0; i < 100000; i++) {
        uint64_t id = i < 64 ? lock.id ^ UINT64_C(1) << i
                             : (uint64_t) next_random(&seed) << 32 | next_random(&seed);
        if (id != lock.id) {
            assert_int_equal(kin_lock_acquire((kin_lock){id}, 0), KIN_E_HANDLE);
            assert_int_equal(kin_lock_release((kin_lock){id}), KIN_E_HANDLE);
            assert_int_equal(kin_lock_destroy((kin_lock){id}), KIN_E_HANDLE);
        }
    }
    assert_int_equal(kin_lock_acquire((kin_lock){0}, 0), KIN_E_HANDLE);
    assert_int_equal(kin_lock_destroy(lock), 0);
}

WITH_BOTH(a_destroyed_lock_is_no_lock)
{
    any_lock l = new_lock(is_recursive);
    any_lock owned = new_lock(is_recursive);
    assert_int_equal(acquire(owned, 0), 0);
    assert_int_equal(destroy(l), 0);
    assert_int_equal(destroy(owned), 0);
    any_lock next = new_lock(is_recursive); /* in the place of one of the two */
    for (int i = 0; i < 2; i++) {
        any_lock gone = i == 0 ? l : owned;
        assert_int_equal(acquire(gone, KIN_FOREVER), KIN_E_HANDLE);
        assert_int_equal(acquire(gone, 0), KIN_E_HANDLE);
        assert_int_equal(release(gone), KIN_E_HANDLE);
        assert_int_equal(destroy(gone), KIN_E_HANDLE);
    }
    assert_int_equal(acquire(next, 0), 0);
    assert_int_equal(release(next), 0);
    assert_int_equal(destroy(next), 0);
}

/* In place of kin_init. */
static int without_init(int argc, char **argv)
{
    (void) argc, (void) argv;
    kin_lock lock;
    CHECK(kin_lock_create(&lock, NULL) == KIN_E_INIT);
    CHECK(kin_lock_acquire((kin_lock){1}, 0) == KIN_E_INIT);
    CHECK(kin_lock_release((kin_lock){1}) == KIN_E_INIT);
    CHECK(kin_lock_destroy((kin_lock){1}) == KIN_E_INIT);
    CHECK(kin_rlock_acquire((kin_rlock){1}, 0) == KIN_E_INIT);
    CHECK(kin_rlock_release((kin_rlock){1}) == KIN_E_INIT);
    return 0;
}

static int another_family(int argc, char **argv)
{
    kin_lock old;
    kin_lock lock;
    kin_lock second;
    CHECK(kin_init(&argc, &argv) == 0);
    CHECK(kin_lock_create(&old, NULL) == 0);
    CHECK(kin_lock_acquire(old, 0) == 0);
    CHECK(kin_shutdown() == 0);
    CHECK(kin_lock_release(old) == KIN_E_INIT);
    CHECK(kin_init(&argc, &argv) == 0);
    CHECK(kin_lock_acquire(old, 0) == KIN_E_HANDLE);
    CHECK(kin_lock_create(&lock, NULL) == 0);
    CHECK(kin_lock_create(&second, NULL) == 0);
    CHECK(kin_lock_acquire(old, 0) == KIN_E_HANDLE);
    CHECK(kin_lock_destroy(old) == KIN_E_HANDLE);
    CHECK(kin_lock_acquire(lock, 0) == 0);
    CHECK(kin_lock_release(lock) == 0);
    return kin_shutdown();
}

static void locks_need_a_family(void **state)
{
    (void) state;
    assert_int_equal(run_mode("without_init"), 0);
}

static void locks_are_of_one_family(void **state)
{
    (void) state;
    assert_int_equal(run_mode("another_family"), 0);
}

/* ---- times ---- */

static int hold(void *argument, size_t size)
{
    board *b = board_of(argument);
    CHECK(size == sizeof(uint64_t));
    CHECK(acquire(b->lock, LONG_MS) == 0);
    mark_add(&b->arrived);
    CHECK(mark_await(&b->go, 1));
    return release(b->lock);
}

WITH_BOTH(a_timeout_is_never_early)
{
    board *b = new_board(is_recursive);
    kin_process holder = start_on(b, hold);
    assert_true(mark_await(&b->arrived, 1));
    assert_int_equal(acquire(b->lock, 0), KIN_E_TIMEOUT);
    int64_t worst = 0;
    for (int ms = 1; ms < 300; ms = ms * 2 + 1) {
        int64_t begun = kin_clock_ns();
        assert_int_equal(acquire(b->lock, ms), KIN_E_TIMEOUT);
        int64_t late = kin_clock_ns() - begun - (int64_t) ms * 1000000;
        assert_true(late >= 0);
        worst = late > worst ? late : worst;
    }
    print_message("a timeout was at most %d us late\n", (int) (worst / 1000));
    assert_int_equal(release(b->lock), KIN_E_NOT_OWNER);
    mark_add(&b->go);
    assert_int_equal(acquire(b->lock, LONG_MS), 0);
    assert_int_equal(release(b->lock), 0);
    assert_int_equal(end_of(holder), 0);
    end_board(b);
}

static int wait_for_lock(void *argument, size_t size)
{
    board *b = board_of(argument);
    CHECK(size == sizeof(uint64_t));
    mark_add(&b->arrived);
    int64_t worked = -system_processor_ns();
    int status = acquire(b->lock, KIN_FOREVER);
    worked += system_processor_ns();
    atomic_store(&b->shares[0], (uint64_t) worked);
    return status == 0 ? release(b->lock) : CHILD_FAILED;
}

static void who_waits_needs_no_processor(void **state)
{
    (void) state;
    board *b = new_board(false);
    assert_int_equal(acquire(b->lock, 0), 0);
    kin_process waiter = start_on(b, wait_for_lock);
    assert_true(mark_await(&b->arrived, 1));
    assert_int_equal(kin_sleep(1000), 0);
    assert_int_equal(release(b->lock), 0);
    assert_int_equal(end_of(waiter), 0);
    print_message("to wait for a second took %d us of a processor\n",
                  (int) (atomic_load(&b->shares[0]) / 1000));
    end_board(b);
}

/* ---- exclusion ---- */

static int take_turns(board *b, int turns)
{
    for (int i = 0; i < turns; i++) {
        int again = b->lock.is_recursive ? i % 3 : 0;
        for (int n = 0; n <= again; n++) {
            CHECK(acquire(b->lock, LONG_MS) == 0);
        }
        CHECK(b->left == b->right);
        b->left++;
        b->right++;
        for (int n = 0; n <= again; n++) {
            CHECK(release(b->lock) == 0);
        }
    }
    return 0;
}

static void take_turns_in_thread(void *argument, unsigned number)
{
    (void) number;
    board *b = argument;
    if (take_turns(b, TURNS) != 0) {
        atomic_store(&b->status, CHILD_FAILED);
    }
}

static int take_turns_in_process(void *argument, size_t size)
{
    CHECK(size == sizeof(uint64_t));
    return take_turns(board_of(argument), TURNS);
}

WITH_BOTH(one_thread_at_a_time_has_a_lock)
{
    board *b = new_board(is_recursive);
    system_run_threads(THREADS, take_turns_in_thread, b);
    assert_int_equal(atomic_load(&b->status), 0);
    assert_int_equal(b->left, THREADS * TURNS);
    end_board(b);
}

WITH_BOTH(one_process_at_a_time_has_a_lock)
{
    kin_process processes[PROCESSES];
    board *b = new_board(is_recursive);
    for (int i = 0; i < PROCESSES; i++) {
        processes[i] = start_on(b, take_turns_in_process);
    }
    for (int i = 0; i < PROCESSES; i++) {
        assert_int_equal(end_of(processes[i]), 0);
    }
    assert_int_equal(b->left, PROCESSES * TURNS);
    end_board(b);
}

static int take_turns_with_timeouts(void *argument, size_t size)
{
    board *b = board_of(argument);
    CHECK(size == sizeof(uint64_t));
    uint64_t seed = (uint64_t) kin_clock_ns();
    while (atomic_load(&b->stop) == 0) {
        int status = acquire(b->lock, (int) (next_random(&seed) % 3));
        CHECK(status == 0 || status == KIN_E_TIMEOUT);
        if (status == 0) {
            CHECK(b->left == b->right);
            b->left++;
            b->right++;
            CHECK(release(b->lock) == 0);
        }
    }
    return 0;
}

/* One that gives up has not taken a wake-up away from the others. */
static void those_who_give_up_do_not_stop_the_others(void **state)
{
    (void) state;
    kin_process processes[PROCESSES];
    kin_process patient;
    board *b = new_board(false);
    for (int i = 0; i < PROCESSES; i++) {
        processes[i] = start_on(b, take_turns_with_timeouts);
    }
    for (int i = 0; i < 5; i++) {
        patient = start_on(b, take_turns_in_process);
        assert_int_equal(end_of(patient), 0);
    }
    atomic_store(&b->stop, 1);
    for (int i = 0; i < PROCESSES; i++) {
        assert_int_equal(end_of(processes[i]), 0);
    }
    end_board(b);
}

/* A lock that is made by one, used by another, and outlives both. */
static int make_lock(void *argument, size_t size)
{
    board *b = board_of(argument);
    CHECK(size == sizeof(uint64_t));
    return kin_lock_create(&b->lock.plain, NULL);
}

static void a_lock_outlives_its_maker(void **state)
{
    (void) state;
    board *b = shared_new(sizeof *b);
    assert_int_equal(end_of(start_on(b, make_lock)), 0);
    kin_process holder = start_on(b, hold);
    assert_true(mark_await(&b->arrived, 1));
    assert_int_equal(acquire(b->lock, 0), KIN_E_TIMEOUT);
    mark_add(&b->go);
    assert_int_equal(end_of(holder), 0);
    assert_int_equal(acquire(b->lock, 0), 0);
    assert_int_equal(release(b->lock), 0);
    end_board(b);
}

/* ---- deaths ---- */

static int hold_deeply(board *b)
{
    CHECK(acquire(b->lock, LONG_MS) >= 0);
    if (b->lock.is_recursive) {
        CHECK(acquire(b->lock, LONG_MS) == 0);
        CHECK(acquire(b->lock, LONG_MS) == 0);
    }
    mark_add(&b->arrived);
    return 0;
}

static int hold_and_stay(void *argument, size_t size)
{
    CHECK(size == sizeof(uint64_t));
    CHECK(hold_deeply(board_of(argument)) == 0);
    kin_sleep(KIN_FOREVER);
    return 0;
}

static int hold_and_end(void *argument, size_t size)
{
    CHECK(size == sizeof(uint64_t));
    return hold_deeply(board_of(argument));
}

static int hold_and_exit(void *argument, size_t size)
{
    CHECK(size == sizeof(uint64_t));
    exit(hold_deeply(board_of(argument)));
}

static int hold_and_shut_down(void *argument, size_t size)
{
    CHECK(size == sizeof(uint64_t));
    CHECK(hold_deeply(board_of(argument)) == 0);
    return kin_shutdown();
}

static void hold_in_thread(void *argument, unsigned number)
{
    (void) number;
    board *b = argument;
    if (hold_deeply(b) != 0) {
        atomic_store(&b->status, CHILD_FAILED);
    }
}

/* The next one is told, once, and has it once. */
static void check_after_death(board *b)
{
    int64_t begun = kin_clock_ns();
    assert_int_equal(acquire(b->lock, LONG_MS), KIN_OWNER_DIED);
    print_message("got it %d us later\n", (int) ((kin_clock_ns() - begun) / 1000));
    assert_int_equal(status_elsewhere(b), KIN_E_TIMEOUT);
    assert_int_equal(release(b->lock), 0);
    assert_int_equal(release(b->lock), KIN_E_NOT_OWNER);
    assert_int_equal(status_elsewhere(b), 0);
    assert_int_equal(acquire(b->lock, 0), 0);
    assert_int_equal(release(b->lock), 0);
}

WITH_BOTH(a_killed_owners_lock_goes_to_the_next)
{
    board *b = new_board(is_recursive);
    kin_process holder = start_on(b, hold_and_stay);
    assert_true(mark_await(&b->arrived, 1));
    assert_int_equal(acquire(b->lock, 0), KIN_E_TIMEOUT);
    assert_int_equal(kin_process_kill(holder), 0);
    check_after_death(b);
    assert_int_equal(end_of(holder), -KIN_SIGKILL);
    end_board(b);
}

/* Without waiting, too, it is got some time. */
WITH_BOTH(who_only_tries_gets_a_dead_owners_lock)
{
    int status;
    board *b = new_board(is_recursive);
    kin_process holder = start_on(b, hold_and_stay);
    assert_true(mark_await(&b->arrived, 1));
    assert_int_equal(kin_process_kill(holder), 0);
    int64_t until = kin_clock_ns() + INT64_C(1000000) * LONG_MS;
    do {
        status = acquire(b->lock, 0);
    } while (status == KIN_E_TIMEOUT && kin_clock_ns() < until);
    assert_int_equal(status, KIN_OWNER_DIED);
    assert_int_equal(release(b->lock), 0);
    assert_int_equal(end_of(holder), -KIN_SIGKILL);
    end_board(b);
}

WITH_BOTH(the_lock_of_an_owner_that_ended_goes_to_the_next)
{
    static const kin_process_function functions[] = {hold_and_end, hold_and_exit,
                                                     hold_and_shut_down};
    board *b = new_board(is_recursive);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(end_of(start_on(b, functions[i])), 0);
        check_after_death(b);
    }
    end_board(b);
}

WITH_BOTH(the_lock_of_a_thread_that_ended_goes_to_the_next)
{
    board *b = new_board(is_recursive);
    run_thread(hold_in_thread, b);
    assert_int_equal(atomic_load(&b->status), 0);
    assert_int_equal(acquire(b->lock, 0), KIN_OWNER_DIED); /* it is open at once */
    assert_int_equal(release(b->lock), 0);
    run_thread(hold_in_thread, b);
    check_after_death(b);
    end_board(b);
}

/* Also while others wait for it already. */
static int wait_and_count(void *argument, size_t size)
{
    board *b = board_of(argument);
    CHECK(size == sizeof(uint64_t));
    mark_add(&b->go);
    int status = acquire(b->lock, LONG_MS);
    CHECK(status >= 0);
    b->left += status == KIN_OWNER_DIED;
    b->right++;
    CHECK(release(b->lock) == 0);
    return 0;
}

WITH_BOTH(one_of_those_who_wait_is_told_of_a_death)
{
    kin_process waiters[PROCESSES];
    board *b = new_board(is_recursive);
    kin_process holder = start_on(b, hold_and_stay);
    assert_true(mark_await(&b->arrived, 1));
    for (int i = 0; i < PROCESSES; i++) {
        waiters[i] = start_on(b, wait_and_count);
    }
    assert_true(mark_await(&b->go, PROCESSES));
    assert_int_equal(kin_sleep(SOON_MS), 0); /* most of them sleep by now */
    assert_int_equal(kin_process_kill(holder), 0);
    for (int i = 0; i < PROCESSES; i++) {
        assert_int_equal(end_of(waiters[i]), 0);
    }
    assert_int_equal(end_of(holder), -KIN_SIGKILL);
    assert_int_equal(b->left, 1);
    assert_int_equal(b->right, PROCESSES);
    end_board(b);
}

/* One that dies as well, before it has released what it got from the dead, leaves the next one the
   same news. */
WITH_BOTH(the_heir_of_an_heir_is_told)
{
    board *b = new_board(is_recursive);
    for (uint32_t i = 1; i <= 3; i++) {
        kin_process holder = start_on(b, hold_and_stay);
        assert_true(mark_await(&b->arrived, i));
        assert_int_equal(kin_process_kill(holder), 0);
        assert_int_equal(end_of(holder), -KIN_SIGKILL);
    }
    check_after_death(b);
    end_board(b);
}

/* Waiters are killed while others go on, and so are owners. */
static int turn_until_killed(void *argument, size_t size)
{
    board *b = board_of(argument);
    CHECK(size == sizeof(uint64_t));
    uint64_t seed = (uint64_t) kin_clock_ns();
    mark_add(&b->arrived);
    for (;;) {
        int status = acquire(b->lock, KIN_FOREVER);
        CHECK(status >= 0);
        if (status == 0) {
            CHECK(b->left == b->right);
        }
        b->left++;
        b->right = b->left;
        if (next_random(&seed) % 64 == 0) {
            kin_sleep(1); /* the others fall asleep */
        }
        CHECK(release(b->lock) == 0);
    }
}

static void those_who_are_killed_do_not_stop_the_others(void **state)
{
    (void) state;
    enum { DEATHS = WITH_SANITIZER ? 40 : 100, TURNERS = 5 };
    kin_process turners[TURNERS];
    uint64_t seed = 11;
    board *b = new_board(false);
    for (int i = 0; i < TURNERS; i++) {
        turners[i] = start_on(b, turn_until_killed);
    }
    assert_true(mark_await(&b->arrived, TURNERS));
    int64_t longest = 0;
    for (uint32_t i = 0; i < DEATHS; i++) {
        uint32_t which = next_random(&seed) % TURNERS;
        assert_int_equal(kin_process_kill(turners[which]), 0);
        int64_t begun = kin_clock_ns();
        assert_in_range(acquire(b->lock, LONG_MS) + 1, 1, 2);
        int64_t took = kin_clock_ns() - begun;
        longest = took > longest ? took : longest;
        b->right = b->left;
        assert_int_equal(release(b->lock), 0);
        assert_int_equal(end_of(turners[which]), -KIN_SIGKILL);
        turners[which] = start_on(b, turn_until_killed);
    }
    for (int i = 0; i < TURNERS; i++) {
        kill_and_close(turners[i]);
    }
    print_message("after a death the lock was had within %d us\n", (int) (longest / 1000));
    end_board(b);
}

/* ---- destroying ---- */

static int wait_in_vain(void *argument, size_t size)
{
    board *b = board_of(argument);
    CHECK(size == sizeof(uint64_t));
    mark_add(&b->arrived);
    int status = acquire(b->lock, LONG_MS);
    /* It may come when the lock is gone already. */
    CHECK(status == KIN_E_DESTROYED || status == KIN_E_HANDLE);
    CHECK(acquire(b->lock, LONG_MS) == KIN_E_HANDLE);
    return status == KIN_E_DESTROYED;
}

WITH_BOTH(those_who_wait_for_a_destroyed_lock_are_told)
{
    kin_process waiters[PROCESSES];
    board *b = new_board(is_recursive);
    assert_int_equal(acquire(b->lock, 0), 0);
    for (int i = 0; i < PROCESSES; i++) {
        waiters[i] = start_on(b, wait_in_vain);
    }
    assert_true(mark_await(&b->arrived, PROCESSES));
    /* Until all sleep, as their records say. */
    uint64_t id = is_recursive ? b->lock.recursive.id : b->lock.plain.id;
    for (unsigned asleep = 0; asleep < PROCESSES;) {
        asleep = 0;
        for (uint32_t number = 1; number < arena_entries(ARENA_THREADS); number++) {
            asleep += atomic_load(&thread_at(number)->waits_for) == id;
        }
    }
    assert_int_equal(destroy(b->lock), 0);
    any_lock next = new_lock(is_recursive); /* in the same place */
    for (int i = 0; i < PROCESSES; i++) {
        assert_int_equal(end_of(waiters[i]), 1);
    }
    assert_int_equal(release(b->lock), KIN_E_HANDLE);
    assert_int_equal(destroy(next), 0);
    shared_free(b);
}

static int make_and_destroy(void *argument, size_t size)
{
    (void) argument, (void) size;
    for (int i = 0; i < TURNS / 10; i++) {
        kin_lock locks[5];
        for (int n = 0; n < 5; n++) {
            CHECK(kin_lock_create(&locks[n], NULL) == 0);
            CHECK(kin_lock_acquire(locks[n], 0) == 0);
        }
        for (int n = 0; n < 5; n++) {
            CHECK(n % 2 == 0 || kin_lock_release(locks[n]) == 0);
            CHECK(kin_lock_destroy(locks[n]) == 0);
        }
    }
    return 0;
}

static void many_make_and_destroy_locks_at_once(void **state)
{
    (void) state;
    kin_process processes[PROCESSES];
    for (int i = 0; i < PROCESSES; i++) {
        processes[i] = start(make_and_destroy, NULL, 0);
    }
    for (int i = 0; i < PROCESSES; i++) {
        assert_int_equal(end_of(processes[i]), 0);
    }
}

/* More than the table has at first. */
static void there_can_be_many_locks(void **state)
{
    (void) state;
    enum { MANY = 5000 };
    kin_lock *locks = malloc(MANY * sizeof *locks);
    assert_non_null(locks);
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(kin_lock_create(&locks[i], NULL), 0);
        assert_int_equal(kin_lock_acquire(locks[i], 0), 0);
    }
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(kin_lock_release(locks[i]), 0);
        assert_int_equal(kin_lock_destroy(locks[i]), 0);
    }
    free(locks);
}

static int fill_the_table(int argc, char **argv)
{
    const kin_options options = {.arena_size = 2 << 20};
    CHECK(kin_init_with(&argc, &argv, &options) == 0);
    uint32_t made = 0;
    int status;
    kin_lock last = {0};
    kin_lock first = {0};
    kin_lock lock;
    while ((status = kin_lock_create(&lock, NULL)) == 0) {
        first = made == 0 ? lock : first;
        last = lock;
        made++;
    }
    CHECK(status == KIN_E_LIMIT || status == KIN_E_NOMEM);
    CHECK(made > 32);
    CHECK(kin_lock_destroy(first) == 0);
    CHECK(kin_lock_create(&lock, NULL) == 0);
    CHECK(kin_lock_create(&first, NULL) == status);
    CHECK(kin_lock_acquire(last, 0) == 0);
    return kin_shutdown();
}

static void a_full_table_is_an_error(void **state)
{
    (void) state;
    assert_int_equal(run_mode("fill_the_table"), 0);
}

/* ---- fairness ---- */

static int count_turns(void *argument, size_t size)
{
    board *b = board_of(argument);
    CHECK(size == sizeof(uint64_t));
    uint32_t number = atomic_fetch_add(&b->next, 1);
    mark_add(&b->arrived);
    CHECK(mark_await(&b->go, 1));
    while (atomic_load(&b->stop) == 0) {
        CHECK(acquire(b->lock, LONG_MS) == 0);
        b->left++;
        b->right++;
        CHECK(release(b->lock) == 0);
        atomic_fetch_add_explicit(&b->shares[number], 1, memory_order_relaxed);
    }
    return 0;
}

static void share_between(uint32_t count)
{
    static kin_process processes[CROWD];
    uint64_t least = UINT64_MAX;
    uint64_t most = 0;
    uint64_t sum = 0;
    board *b = new_board(false);
    for (uint32_t i = 0; i < count; i++) {
        processes[i] = start_on(b, count_turns);
    }
    assert_true(mark_await(&b->arrived, count));
    mark_add(&b->go);
    int64_t until = kin_clock_ns() + INT64_C(1000000) * LONG_MS;
    assert_int_equal(kin_sleep(CROWD_MS), 0);
    /* Nobody starves. */
    for (uint32_t i = 0; i < count; i++) {
        while (atomic_load(&b->shares[i]) == 0 && kin_clock_ns() < until) {
            assert_int_equal(kin_sleep(1), 0);
        }
    }
    atomic_store(&b->stop, 1);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(end_of(processes[i]), 0);
    }
    for (uint32_t i = 0; i < count; i++) {
        uint64_t share = atomic_load(&b->shares[i]);
        assert_true(share > 0);
        least = share < least ? share : least;
        most = share > most ? share : most;
        sum += share;
    }
    print_message("%u processes: %u turns; shares from %u to %u\n", (unsigned) count,
                  (unsigned) sum, (unsigned) least, (unsigned) most);
    assert_int_equal(b->left, b->right);
    assert_int_equal(b->left, sum);
    end_board(b);
}

static void nobody_starves(void **state)
{
    (void) state;
    for (uint32_t count = 2; count <= CROWDED; count *= count < 8 ? 2 : 8) {
        share_between(count);
    }
}

/* ---- copies ---- */

static int release_what_was_inherited(void *argument, size_t size)
{
    board *b = board_of(argument);
    CHECK(size == sizeof(uint64_t));
    CHECK(release(b->lock) == KIN_E_NOT_OWNER);
    CHECK(acquire(b->lock, 0) == KIN_E_TIMEOUT);
    CHECK(acquire(b->lock, SOON_MS) == KIN_E_TIMEOUT);
    return 0;
}

WITH_BOTH(a_copy_does_not_own_what_its_original_owns)
{
    if (!kin_has_start_method(KIN_START_FORK)) {
        return;
    }
    const kin_process_options options = {.method = KIN_START_FORK};
    board *b = new_board(is_recursive);
    uint64_t offset = arena_offset(b);
    kin_process copy;
    assert_int_equal(acquire(b->lock, 0), 0);
    assert_int_equal(
        kin_process_start(&copy, release_what_was_inherited, &offset, sizeof offset, &options), 0);
    assert_int_equal(end_of(copy), 0);
    assert_int_equal(release(b->lock), 0);
    end_board(b);
}

int main(int argc, char **argv)
{
    static const test_mode modes[] = {{"without_init", without_init},
                                      {"another_family", another_family},
                                      {"fill_the_table", fill_the_table}};
    const test_mode *mode = find_mode(modes, sizeof modes / sizeof *modes);
    if (mode != NULL) {
        return mode->run(argc, argv);
    }
    const struct CMUnitTest tests[] = {
        CLEAN_TEST(a_lock_is_acquired_and_released),
        CLEAN_TEST(a_lock_is_not_acquired_twice),
        CLEAN_TEST(a_recursive_lock_is_released_as_often_as_acquired),
        CLEAN_TEST(a_recursive_lock_has_a_limit),
        CLEAN_TEST(bad_arguments_are_errors),
        CLEAN_TEST(handles_that_are_none_are_errors),
        CLEAN_TEST(a_destroyed_lock_is_no_lock),
        CLEAN_TEST(locks_need_a_family),
        CLEAN_TEST(locks_are_of_one_family),
        CLEAN_TEST(a_timeout_is_never_early),
        CLEAN_TEST(who_waits_needs_no_processor),
        CLEAN_TEST(one_thread_at_a_time_has_a_lock),
        CLEAN_TEST(one_process_at_a_time_has_a_lock),
        CLEAN_TEST(those_who_give_up_do_not_stop_the_others),
        CLEAN_TEST(a_lock_outlives_its_maker),
        CLEAN_TEST(a_killed_owners_lock_goes_to_the_next),
        CLEAN_TEST(who_only_tries_gets_a_dead_owners_lock),
        CLEAN_TEST(the_lock_of_an_owner_that_ended_goes_to_the_next),
        CLEAN_TEST(the_lock_of_a_thread_that_ended_goes_to_the_next),
        CLEAN_TEST(one_of_those_who_wait_is_told_of_a_death),
        CLEAN_TEST(the_heir_of_an_heir_is_told),
        CLEAN_TEST(those_who_are_killed_do_not_stop_the_others),
        CLEAN_TEST(those_who_wait_for_a_destroyed_lock_are_told),
        CLEAN_TEST(many_make_and_destroy_locks_at_once),
        CLEAN_TEST(there_can_be_many_locks),
        CLEAN_TEST(a_full_table_is_an_error),
        CLEAN_TEST(nobody_starves),
        CLEAN_TEST(a_copy_does_not_own_what_its_original_owns),
    };
    int status = kin_init(&argc, &argv);
    return status < 0 ? status : cmocka_run_group_tests(tests, warm_up, NULL);
}
