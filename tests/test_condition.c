/* kin/condition.h: conditions between threads and processes, and what deaths make of them. */
#include "support.h"

#include "core/sync.h"

#include <string.h>

enum { MOST = 16, MS = 1000000 };

/* What children and tests share. All but the handles is under the condition's lock. */
typedef struct board {
    kin_condition condition;
    uint32_t depth;            /* how often waiters acquire the lock */
    int32_t timeout_ms;        /* of their waits */
    uint32_t open;             /* what predicates ask for */
    uint32_t asked;            /* how often */
    _Atomic uint32_t returned; /* waiters that are through */
    uint32_t who[MOST];        /* in their order */
    int32_t status[MOST];      /* of each waiter's wait */
} board;

typedef struct waiter {
    uint64_t board;
    uint32_t number;
    uint32_t waits_for; /* it has a predicate */
} waiter;

static board *new_board(const kin_condition_options *options)
{
    board *b = shared_new(sizeof *b);
    b->depth = 1;
    b->timeout_ms = LONG_MS;
    assert_int_equal(kin_condition_create(&b->condition, options), 0);
    return b;
}

static void free_board(board *b)
{
    assert_int_equal(kin_condition_destroy(b->condition), 0);
    shared_free(b);
}

static void lock(const board *b)
{
    assert_int_equal(kin_condition_acquire(b->condition, LONG_MS), 0);
}

static void unlock(const board *b)
{
    assert_int_equal(kin_condition_release(b->condition), 0);
}

static bool is_open(void *context)
{
    board *b = context;
    b->asked++;
    return b->open != 0;
}

static int wait_as(board *b, uint32_t number, bool waits_for)
{
    for (uint32_t i = 0; i < b->depth; i++) {
        CHECK(kin_condition_acquire(b->condition, LONG_MS) >= 0);
    }
    int status = waits_for ? kin_condition_wait_for(b->condition, is_open, b, b->timeout_ms)
                           : kin_condition_wait(b->condition, b->timeout_ms);
    uint32_t before = atomic_load(&b->returned);
    b->status[number] = status;
    b->who[before % MOST] = number;
    atomic_store(&b->returned, before + 1);
    if (status == KIN_E_DESTROYED) {
        return 0;
    }
    for (uint32_t i = 0; i < b->depth; i++) {
        CHECK(kin_condition_release(b->condition) == 0);
    }
    CHECK(kin_condition_release(b->condition) == KIN_E_NOT_OWNER);
    return 0;
}

static int be_waiter(void *argument, size_t size)
{
    waiter w;
    CHECK(size == sizeof w);
    memcpy(&w, argument, sizeof w);
    return wait_as(arena_at(w.board), w.number, w.waits_for != 0);
}

/* How many threads wait there and have not been notified. */
static uint32_t count_waiting(const board *b)
{
    uint32_t count = 0;
    for (uint32_t number = 1; number < arena_entries(ARENA_THREADS); number++) {
        thread_record *record = thread_at(number);
        uint32_t phase = atomic_load(&record->phase) & PHASE_MASK;
        count += atomic_load(&record->condition) == b->condition.id && (phase == 1 || phase == 2);
    }
    return count;
}

static void await_waiting(const board *b, uint32_t count)
{
    int64_t until = wait_deadline(LONG_MS);
    while (count_waiting(b) != count) {
        assert_true(kin_clock_ns() < until);
        assert_int_equal(kin_sleep(1), 0);
    }
}

/* Without the lock: it may be for somebody else to learn that its owner died. */
static void await_returned(board *b, uint32_t count)
{
    int64_t until = wait_deadline(LONG_MS);
    while (atomic_load(&b->returned) < count) {
        assert_true(kin_clock_ns() < until);
        assert_int_equal(kin_sleep(1), 0);
    }
    assert_int_equal(atomic_load(&b->returned), count);
}

/* Starts processes that wait, one after the other. */
static void start_waiters(board *b, kin_process *processes, uint32_t count, bool waits_for)
{
    for (uint32_t i = 0; i < count; i++) {
        waiter w = {arena_offset(b), i, waits_for};
        processes[i] = start(be_waiter, &w, sizeof w);
        await_waiting(b, i + 1);
    }
}

static void end_waiters(const kin_process *processes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(end_of(processes[i]), 0);
    }
}

static void notify(const board *b, uint32_t count)
{
    lock(b);
    assert_int_equal(kin_condition_notify(b->condition, count), 0);
    unlock(b);
}

static void notify_all(const board *b)
{
    lock(b);
    assert_int_equal(kin_condition_notify_all(b->condition), 0);
    unlock(b);
}

/* ---- without anybody else ---- */

static void bad_arguments_are_errors(void **state)
{
    (void) state;
    kin_lock lock_of = {0};
    kin_rlock rlock_of = {0};
    kin_condition c = {0};
    assert_int_equal(kin_lock_create(&lock_of, NULL), 0);
    assert_int_equal(kin_rlock_create(&rlock_of, NULL), 0);
    kin_condition_options options = {.lock = lock_of, .rlock = rlock_of};
    assert_int_equal(kin_condition_create(NULL, NULL), KIN_E_INVALID);
    assert_int_equal(kin_condition_create(&c, &options), KIN_E_INVALID);
    options = (kin_condition_options){.lock = {rlock_of.id}};
    assert_int_equal(kin_condition_create(&c, &options), KIN_E_HANDLE);
    options = (kin_condition_options){.rlock = {lock_of.id}};
    assert_int_equal(kin_condition_create(&c, &options), KIN_E_HANDLE);
    options = (kin_condition_options){.name = "a name that is longer than may be"};
    assert_int_equal(kin_condition_create(&c, &options), KIN_E_INVALID);
    assert_int_equal(kin_lock_destroy(lock_of), 0);
    options = (kin_condition_options){.lock = lock_of};
    assert_int_equal(kin_condition_create(&c, &options), KIN_E_HANDLE);
    assert_int_equal(c.id, 0);
    assert_int_equal(kin_rlock_destroy(rlock_of), 0);
}

static void use_in_vain(kin_condition c, int expected)
{
    assert_int_equal(kin_condition_acquire(c, 0), expected);
    assert_int_equal(kin_condition_release(c), expected);
    assert_int_equal(kin_condition_wait(c, 0), expected);
    assert_int_equal(kin_condition_wait_for(c, is_open, NULL, 0), expected);
    assert_int_equal(kin_condition_notify(c, 1), expected);
    assert_int_equal(kin_condition_notify_all(c), expected);
}

static void stale_and_forged_handles_are_errors(void **state)
{
    (void) state;
    kin_condition c = {0};
    use_in_vain(c, KIN_E_HANDLE);
    kin_rlock rlock_of = {0};
    assert_int_equal(kin_rlock_create(&rlock_of, NULL), 0);
    use_in_vain((kin_condition){rlock_of.id}, KIN_E_HANDLE);
    kin_condition_options options = {.rlock = rlock_of, .name = "c"};
    assert_int_equal(kin_condition_create(&c, &options), 0);
    use_in_vain((kin_condition){c.id ^ UINT64_C(1) << 40}, KIN_E_HANDLE);
    assert_int_equal(kin_rlock_destroy(rlock_of), 0);
    use_in_vain(c, KIN_E_HANDLE); /* its lock is gone */
    assert_int_equal(kin_condition_destroy(c), 0);
    use_in_vain(c, KIN_E_HANDLE);
    assert_int_equal(kin_condition_destroy(c), KIN_E_HANDLE);
}

static void who_does_not_own_the_lock_may_do_nothing(void **state)
{
    (void) state;
    board *b = new_board(NULL);
    assert_int_equal(kin_condition_wait(b->condition, 0), KIN_E_NOT_OWNER);
    assert_int_equal(kin_condition_wait_for(b->condition, is_open, b, 0), KIN_E_NOT_OWNER);
    assert_int_equal(b->asked, 0);
    assert_int_equal(kin_condition_notify(b->condition, 1), KIN_E_NOT_OWNER);
    assert_int_equal(kin_condition_notify_all(b->condition), KIN_E_NOT_OWNER);
    assert_int_equal(kin_condition_release(b->condition), KIN_E_NOT_OWNER);
    assert_int_equal(kin_condition_wait_for(b->condition, NULL, NULL, 0), KIN_E_INVALID);
    free_board(b);
}

static void notify_is_not_kept_for_later(void **state)
{
    (void) state;
    board *b = new_board(NULL);
    notify(b, 3);
    notify_all(b);
    lock(b);
    assert_int_equal(kin_condition_notify(b->condition, 0), 0);
    assert_int_equal(kin_condition_wait(b->condition, 0), KIN_E_TIMEOUT);
    unlock(b);
    free_board(b);
}

static void a_wait_ends_in_time_and_not_before(void **state)
{
    (void) state;
    board *b = new_board(NULL);
    lock(b);
    lock(b);
    for (int ms = 0; ms <= 250; ms += 50) {
        int64_t begun = kin_clock_ns();
        assert_int_equal(kin_condition_wait(b->condition, ms), KIN_E_TIMEOUT);
        int64_t took = kin_clock_ns() - begun;
        assert_true(took >= (int64_t) ms * MS);
        print_message("%d ms: %lld us late\n", ms, (long long) (took - (int64_t) ms * MS) / 1000);
    }
    unlock(b);
    unlock(b);
    assert_int_equal(kin_condition_release(b->condition), KIN_E_NOT_OWNER);
    free_board(b);
}

static void a_predicate_is_asked_before_and_after(void **state)
{
    (void) state;
    board *b = new_board(NULL);
    lock(b);
    assert_int_equal(kin_condition_wait_for(b->condition, is_open, b, 20), KIN_E_TIMEOUT);
    assert_int_equal(b->asked, 2);
    b->open = 1;
    assert_int_equal(kin_condition_wait_for(b->condition, is_open, b, 0), 0);
    assert_int_equal(b->asked, 3);
    unlock(b);
    free_board(b);
}

/* ---- with others ---- */

/* The lock is the user's: to acquire it by either name is the same. */
static void a_lock_of_the_users_serves(void **state)
{
    (void) state;
    kin_condition_options options = {0};
    kin_process process;
    assert_int_equal(kin_lock_create(&options.lock, NULL), 0);
    board *b = new_board(&options);
    assert_int_equal(kin_lock_acquire(options.lock, 0), 0);
    assert_int_equal(kin_condition_acquire(b->condition, 0), KIN_E_DEADLOCK);
    unlock(b);
    start_waiters(b, &process, 1, false);
    assert_int_equal(kin_lock_acquire(options.lock, LONG_MS), 0);
    assert_int_equal(kin_condition_notify(b->condition, 1), 0);
    assert_int_equal(kin_lock_release(options.lock), 0); /* wakes it */
    assert_int_equal(end_of(process), 0);
    assert_int_equal(b->status[0], 0);
    free_board(b);
    assert_int_equal(kin_lock_acquire(options.lock, 0), 0);
    assert_int_equal(kin_lock_release(options.lock), 0);
    assert_int_equal(kin_lock_destroy(options.lock), 0);
}

static void wait_deep(const kin_condition_options *options)
{
    kin_process process;
    board *b = new_board(options);
    b->depth = 3; /* be_waiter checks that it owns the lock as often afterwards */
    start_waiters(b, &process, 1, false);
    lock(b);
    lock(b);
    assert_int_equal(kin_condition_notify_all(b->condition), 0);
    unlock(b);
    unlock(b);
    assert_int_equal(end_of(process), 0);
    assert_int_equal(b->status[0], 0);
    free_board(b);
}

static void a_recursive_lock_is_given_up_wholly(void **state)
{
    (void) state;
    wait_deep(NULL);
    kin_condition_options options = {0};
    assert_int_equal(kin_rlock_create(&options.rlock, NULL), 0);
    wait_deep(&options);
    assert_int_equal(kin_rlock_destroy(options.rlock), 0);
}

static void as_many_as_told_are_woken_the_first_first(void **state)
{
    enum { WAITERS = 6 };
    kin_process processes[WAITERS];
    (void) state;
    board *b = new_board(NULL);
    start_waiters(b, processes, WAITERS, false);
    lock(b);
    assert_int_equal(kin_condition_notify(b->condition, 2), 0);
    assert_int_equal(count_waiting(b), WAITERS - 2);
    unlock(b);
    await_returned(b, 2);
    assert_true(b->who[0] + b->who[1] == 1); /* 0 and 1 */
    notify(b, 1);
    await_returned(b, 3);
    assert_int_equal(b->who[2], 2);
    notify(b, 1);
    await_returned(b, 4);
    assert_int_equal(b->who[3], 3);
    lock(b);
    assert_int_equal(kin_condition_notify(b->condition, 100), 0);
    assert_int_equal(count_waiting(b), 0);
    unlock(b);
    end_waiters(processes, WAITERS);
    assert_int_equal(b->returned, WAITERS);
    free_board(b);
}

static void all_are_woken(void **state)
{
    enum { WAITERS = 4 };
    kin_process processes[WAITERS];
    (void) state;
    board *b = new_board(NULL);
    start_waiters(b, processes, WAITERS, false);
    notify_all(b);
    end_waiters(processes, WAITERS);
    for (int i = 0; i < WAITERS; i++) {
        assert_int_equal(b->status[i], 0);
    }
    free_board(b);
}

static void a_predicate_is_waited_for(void **state)
{
    kin_process process;
    (void) state;
    board *b = new_board(NULL);
    start_waiters(b, &process, 1, true);
    lock(b);
    uint32_t asked = b->asked;
    unlock(b);
    notify(b, 1); /* it looks, and waits again */
    int64_t until = wait_deadline(LONG_MS);
    for (bool again = false; !again;) {
        assert_true(kin_clock_ns() < until);
        lock(b);
        again = b->asked > asked && count_waiting(b) == 1;
        unlock(b);
    }
    lock(b);
    assert_int_equal(b->returned, 0);
    b->open = 1;
    assert_int_equal(kin_condition_notify(b->condition, 1), 0);
    unlock(b);
    assert_int_equal(end_of(process), 0);
    assert_int_equal(b->status[0], 0);
    free_board(b);
}

static int create_and_go(void *argument, size_t size)
{
    uint64_t offset;
    CHECK(size == sizeof offset);
    memcpy(&offset, argument, sizeof offset);
    board *b = arena_at(offset);
    return kin_condition_create(&b->condition, NULL);
}

static void a_condition_outlives_its_creator(void **state)
{
    enum { WAITERS = 2 };
    kin_process processes[WAITERS];
    (void) state;
    board *b = shared_new(sizeof *b);
    uint64_t offset = arena_offset(b);
    assert_int_equal(end_of(start(create_and_go, &offset, sizeof offset)), 0);
    b->depth = 1;
    b->timeout_ms = LONG_MS;
    start_waiters(b, processes, WAITERS, false);
    notify_all(b);
    end_waiters(processes, WAITERS);
    free_board(b);
}

/* ---- the end of a condition, and of its lock ---- */

static void await_end(board *b, kin_process *processes, uint32_t count)
{
    end_waiters(processes, count);
    assert_int_equal(b->returned, count);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(b->status[i], KIN_E_DESTROYED);
    }
    shared_free(b);
}

static void those_who_wait_learn_that_it_is_destroyed(void **state)
{
    enum { WAITERS = 3 };
    kin_process processes[WAITERS];
    (void) state;
    board *b = new_board(NULL);
    start_waiters(b, processes, WAITERS, false);
    kin_condition c = b->condition;
    assert_int_equal(kin_condition_destroy(c), 0);
    use_in_vain(c, KIN_E_HANDLE);
    /* Without the lock they count as they like. */
    for (uint32_t i = 0; i < WAITERS; i++) {
        assert_int_equal(end_of(processes[i]), 0);
        assert_int_equal(b->status[i], KIN_E_DESTROYED);
    }
    shared_free(b);
}

static int wait_with_lock(void *argument, size_t size)
{
    waiter w;
    CHECK(size == sizeof w);
    memcpy(&w, argument, sizeof w);
    board *b = arena_at(w.board);
    kin_lock of = {w.number | (uint64_t) w.waits_for << 32};
    CHECK(kin_lock_acquire(of, LONG_MS) == 0);
    CHECK(kin_condition_wait(b->condition, LONG_MS) == KIN_E_DESTROYED);
    b->status[b->returned++] = KIN_E_DESTROYED;
    CHECK(kin_lock_release(of) == 0); /* it is still there */
    return 0;
}

static void a_lock_of_the_users_survives(void **state)
{
    enum { WAITERS = 3 };
    kin_process processes[WAITERS];
    (void) state;
    kin_condition_options options = {0};
    assert_int_equal(kin_lock_create(&options.lock, NULL), 0);
    board *b = new_board(&options);
    for (uint32_t i = 0; i < WAITERS; i++) {
        waiter w = {arena_offset(b), (uint32_t) options.lock.id,
                    (uint32_t) (options.lock.id >> 32)};
        processes[i] = start(wait_with_lock, &w, sizeof w);
        await_waiting(b, i + 1);
    }
    assert_int_equal(kin_condition_destroy(b->condition), 0);
    await_end(b, processes, WAITERS);
    assert_int_equal(kin_lock_destroy(options.lock), 0);
}

static void the_end_of_the_lock_ends_waits(void **state)
{
    kin_process process;
    (void) state;
    kin_condition_options options = {0};
    assert_int_equal(kin_lock_create(&options.lock, NULL), 0);
    board *b = new_board(&options);
    kin_condition c = b->condition;
    start_waiters(b, &process, 1, false);
    assert_int_equal(kin_lock_destroy(options.lock), 0);
    await_end(b, &process, 1);
    assert_int_equal(kin_condition_destroy(c), 0);
}

/* ---- deaths ---- */

/* Nobody in the family notices it at once. */
static void kill_unseen(kin_process process)
{
    system_kill(kin_process_pid(process));
}

static void bury(kin_process process)
{
    assert_int_not_equal(end_of(process), 0);
}

static void the_dead_are_not_notified(void **state)
{
    enum { WAITERS = 3 };
    kin_process processes[WAITERS];
    (void) state;
    for (int noticed = 0; noticed < 2; noticed++) {
        board *b = new_board(NULL);
        start_waiters(b, processes, WAITERS, false);
        kill_unseen(processes[0]);
        if (noticed) {
            bury(processes[0]);
        }
        notify(b, 1);
        await_returned(b, 1);
        assert_int_equal(b->who[0], 1);
        notify(b, 1);
        await_returned(b, 2);
        assert_int_equal(b->who[1], 2);
        if (!noticed) {
            bury(processes[0]);
        }
        end_waiters(processes + 1, 2);
        free_board(b);
    }
}

/* It cannot return before it has the lock. */
static void a_notification_of_the_dead_goes_to_the_next(void **state)
{
    enum { WAITERS = 4 };
    kin_process processes[WAITERS];
    (void) state;
    for (int noticed = 0; noticed < 2; noticed++) {
        board *b = new_board(NULL);
        start_waiters(b, processes, WAITERS, false);
        lock(b);
        assert_int_equal(kin_condition_notify(b->condition, 2), 0);
        kill_unseen(processes[0]);
        kill_unseen(processes[1]);
        if (noticed) {
            bury(processes[0]);
            bury(processes[1]);
            assert_int_equal(count_waiting(b), 0);
        }
        unlock(b);
        await_returned(b, 2);
        assert_int_equal(b->status[2], 0);
        assert_int_equal(b->status[3], 0);
        if (!noticed) {
            bury(processes[0]);
            bury(processes[1]);
        }
        end_waiters(processes + 2, 2);
        free_board(b);
    }
}

static int notify_and_stay(void *argument, size_t size)
{
    waiter w;
    CHECK(size == sizeof w);
    memcpy(&w, argument, sizeof w);
    board *b = arena_at(w.board);
    CHECK(kin_condition_acquire(b->condition, LONG_MS) == 0);
    CHECK(kin_condition_notify(b->condition, w.number) == 0);
    b->open = 1;
    return kin_sleep(KIN_FOREVER);
}

/* Kills one that owns the lock and has notified so many. */
static void kill_owner(board *b, uint32_t notified)
{
    waiter w = {arena_offset(b), notified, 0};
    kin_process owner = start(notify_and_stay, &w, sizeof w);
    int64_t until = wait_deadline(LONG_MS);
    while (*(volatile uint32_t *) &b->open == 0) {
        assert_true(kin_clock_ns() < until);
        assert_int_equal(kin_sleep(1), 0);
    }
    kill_and_close(owner);
}

/* What the dead one has notified is notified; one of all learns that it died, and if it has
   notified nobody, that is told to one who waits. */
static void the_death_of_one_who_notifies_is_told_once(void **state)
{
    enum { WAITERS = 3 };
    kin_process processes[WAITERS];
    (void) state;
    for (uint32_t notified = 0; notified < 3; notified++) {
        board *b = new_board(NULL);
        start_waiters(b, processes, WAITERS, notified == 0);
        kill_owner(b, notified);
        uint32_t expected = notified > 0 ? notified : 1;
        int64_t until = wait_deadline(LONG_MS);
        while (count_waiting(b) != WAITERS - expected) {
            assert_true(kin_clock_ns() < until);
            assert_int_equal(kin_sleep(1), 0);
        }
        await_returned(b, expected);
        uint32_t told = 0;
        for (uint32_t i = 0; i < expected; i++) {
            told += b->status[b->who[i]] == KIN_OWNER_DIED;
        }
        assert_int_equal(told, 1);
        notify_all(b);
        end_waiters(processes, WAITERS);
        assert_int_equal(b->returned, WAITERS);
        free_board(b);
    }
}

/* Waiters are killed at random, some before and some after they were notified, none of which the
   family has noticed. Then as many of the living return as there were notifications, the rest at
   the call for all. */
static void deaths_at_random_lose_and_make_no_notification(void **state)
{
    enum { WAITERS = 8, ROUNDS = 6 };
    kin_process processes[WAITERS];
    uint64_t seed = 4711;
    (void) state;
    for (int round = 0; round < ROUNDS; round++) {
        bool dead[WAITERS] = {false};
        uint32_t living = WAITERS;
        board *b = new_board(NULL);
        start_waiters(b, processes, WAITERS, false);
        uint32_t notified = 1 + next_random(&seed) % 3;
        for (int i = 0; i < 2; i++) {
            uint32_t victim = next_random(&seed) % WAITERS;
            living -= !dead[victim];
            dead[victim] = true;
            kill_unseen(processes[victim]);
        }
        lock(b);
        for (uint32_t i = 0; i < notified; i++) {
            assert_int_equal(kin_condition_notify(b->condition, 1), 0);
            uint32_t victim = next_random(&seed) % WAITERS;
            living -= !dead[victim];
            dead[victim] = true;
            kill_unseen(processes[victim]);
        }
        unlock(b);
        await_returned(b, notified);
        for (uint32_t i = 0; i < WAITERS; i++) {
            if (dead[i]) {
                bury(processes[i]);
            }
        }
        lock(b);
        assert_int_equal(b->returned, notified);
        assert_int_equal(count_waiting(b), living - notified);
        assert_int_equal(kin_condition_notify_all(b->condition), 0);
        unlock(b);
        for (uint32_t i = 0; i < WAITERS; i++) {
            if (!dead[i]) {
                assert_int_equal(end_of(processes[i]), 0);
                assert_int_equal(b->status[i], 0);
            }
        }
        assert_int_equal(b->returned, living);
        free_board(b);
    }
}

/* ---- many calls ---- */

enum { TURNS = 5000 };

static int take_turns(board *b, uint32_t number)
{
    CHECK(kin_condition_acquire(b->condition, LONG_MS) == 0);
    for (uint32_t i = 0; i < TURNS; i++) {
        while (b->open % 2 != number) {
            CHECK(kin_condition_wait(b->condition, LONG_MS) == 0);
        }
        b->open++;
        CHECK(kin_condition_notify(b->condition, 1) == 0);
    }
    CHECK(kin_condition_release(b->condition) == 0);
    return 0;
}

static int be_second(void *argument, size_t size)
{
    uint64_t offset;
    CHECK(size == sizeof offset);
    memcpy(&offset, argument, sizeof offset);
    return take_turns(arena_at(offset), 1);
}

static void two_processes_take_turns(void **state)
{
    (void) state;
    board *b = new_board(NULL);
    uint64_t offset = arena_offset(b);
    kin_process process = start(be_second, &offset, sizeof offset);
    assert_int_equal(take_turns(b, 0), 0);
    assert_int_equal(end_of(process), 0);
    assert_int_equal(b->open, 2 * TURNS);
    free_board(b);
}

/* Threads put into and take from a store with little room; some give up at times. */
enum { THREADS = 6, ITEMS = 2000, ROOM = 3 };

typedef struct store {
    kin_lock lock;
    kin_condition not_empty;
    kin_condition not_full;
    uint32_t items; /* under the lock */
    uint32_t taken;
    _Atomic int failures;
} store;

static int put_or_take(store *s, bool puts)
{
    kin_condition mine = puts ? s->not_full : s->not_empty;
    kin_condition other = puts ? s->not_empty : s->not_full;
    for (int i = 0; i < ITEMS; i++) {
        CHECK(kin_lock_acquire(s->lock, LONG_MS) == 0);
        while (s->items == (puts ? ROOM : 0)) {
            int status = kin_condition_wait(mine, i % 7 == 0 ? 0 : LONG_MS);
            CHECK(status == 0 || (status == KIN_E_TIMEOUT && i % 7 == 0));
        }
        s->items += puts ? 1 : UINT32_MAX;
        s->taken += !puts;
        CHECK(kin_condition_notify(other, 1) == 0);
        CHECK(kin_lock_release(s->lock) == 0);
    }
    return 0;
}

static void use_store(void *argument, unsigned number)
{
    store *s = argument;
    if (put_or_take(s, number % 2 == 0) != 0) {
        atomic_fetch_add(&s->failures, 1);
    }
}

static void threads_share_two_conditions_of_one_lock(void **state)
{
    (void) state;
    store s = {.items = 0};
    assert_int_equal(kin_lock_create(&s.lock, NULL), 0);
    kin_condition_options options = {.lock = s.lock};
    assert_int_equal(kin_condition_create(&s.not_empty, &options), 0);
    assert_int_equal(kin_condition_create(&s.not_full, &options), 0);
    system_run_threads(THREADS, use_store, &s);
    assert_int_equal(s.failures, 0);
    assert_int_equal(s.items, 0);
    assert_int_equal(s.taken, ITEMS * THREADS / 2);
    assert_int_equal(kin_condition_destroy(s.not_empty), 0);
    assert_int_equal(kin_condition_destroy(s.not_full), 0);
    assert_int_equal(kin_lock_destroy(s.lock), 0);
}

/* A thread that ends as the owner is dead to the others. */
static void wait_or_end(void *argument, unsigned number)
{
    board *b = argument;
    if (number == 0) {
        int status = wait_as(b, 0, false);
        b->returned += status == 0 ? 0 : 100;
        return;
    }
    while (count_waiting(b) == 0) {
        (void) kin_sleep(1);
    }
    if (kin_condition_acquire(b->condition, LONG_MS) != 0) {
        b->returned += 100;
    }
}

static void the_end_of_a_thread_that_owns_the_lock_is_told(void **state)
{
    (void) state;
    board *b = new_board(NULL);
    system_run_threads(2, wait_or_end, b);
    assert_int_equal(b->returned, 1);
    assert_int_equal(b->status[0], KIN_OWNER_DIED);
    free_board(b);
}

int main(int argc, char **argv)
{
    if (kin_init(&argc, &argv) < 0) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        CLEAN_TEST(bad_arguments_are_errors),
        CLEAN_TEST(stale_and_forged_handles_are_errors),
        CLEAN_TEST(who_does_not_own_the_lock_may_do_nothing),
        CLEAN_TEST(notify_is_not_kept_for_later),
        CLEAN_TEST(a_wait_ends_in_time_and_not_before),
        CLEAN_TEST(a_predicate_is_asked_before_and_after),
        CLEAN_TEST(a_lock_of_the_users_serves),
        CLEAN_TEST(a_recursive_lock_is_given_up_wholly),
        CLEAN_TEST(as_many_as_told_are_woken_the_first_first),
        CLEAN_TEST(all_are_woken),
        CLEAN_TEST(a_predicate_is_waited_for),
        CLEAN_TEST(a_condition_outlives_its_creator),
        CLEAN_TEST(those_who_wait_learn_that_it_is_destroyed),
        CLEAN_TEST(a_lock_of_the_users_survives),
        CLEAN_TEST(the_end_of_the_lock_ends_waits),
        CLEAN_TEST(the_dead_are_not_notified),
        CLEAN_TEST(a_notification_of_the_dead_goes_to_the_next),
        CLEAN_TEST(the_death_of_one_who_notifies_is_told_once),
        CLEAN_TEST(deaths_at_random_lose_and_make_no_notification),
        CLEAN_TEST(two_processes_take_turns),
        CLEAN_TEST(threads_share_two_conditions_of_one_lock),
        CLEAN_TEST(the_end_of_a_thread_that_owns_the_lock_is_told),
    };
    return cmocka_run_group_tests(tests, warm_up, NULL);
}
