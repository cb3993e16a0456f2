/* Deadlocks that are looked for: who closes a cycle is told. */
#include "support.h"

#include "core/arena.h"
#include "core/latch.h"

#include <kin/rwlock.h>

#include <stdlib.h>
#include <string.h>

enum { MOST = 4, PROCESSES = 5, TURNS = WITH_SANITIZER ? 300 : 1500 };

typedef struct board {
    kin_lock locks[MOST];
    kin_rlock recursive;
    kin_rwlock shared;
    mark arrived;
    mark go;
    kin_process first;
    _Atomic uint32_t next;
    _Atomic uint32_t told; /* with KIN_E_DEADLOCK */
    _Atomic uint32_t had;
    _Atomic uint32_t timeouts;
    _Atomic uint32_t stop;
    uint32_t parties;
    int timeout_ms;
} board;

static board *new_board(void)
{
    static const char *const names[MOST] = {"red", "green", "blue", "black"};
    board *b = shared_new(sizeof *b);
    for (int i = 0; i < MOST; i++) {
        const kin_lock_options options = {.name = names[i]};
        assert_int_equal(kin_lock_create(&b->locks[i], &options), 0);
    }
    assert_int_equal(kin_rlock_create(&b->recursive, NULL), 0);
    assert_int_equal(kin_rwlock_create(&b->shared, NULL), 0);
    return b;
}

static void end_board(board *b)
{
    for (int i = 0; i < MOST; i++) {
        assert_int_equal(kin_lock_destroy(b->locks[i]), 0);
    }
    assert_int_equal(kin_rlock_destroy(b->recursive), 0);
    assert_int_equal(kin_rwlock_destroy(b->shared), 0);
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

static void await_waiting_for(uint64_t id)
{
    int64_t until = kin_clock_ns() + INT64_C(1000000) * LONG_MS;
    for (bool found = false; !found;) {
        assert_true(kin_clock_ns() < until);
        for (uint32_t number = 1; number < arena_entries(ARENA_THREADS); number++) {
            found = found || atomic_load(&thread_at(number)->waits_for) == id;
        }
    }
}

/* ---- cycles of locks ---- */

/* Each has the lock of its number and wants the next one's. */
static int close_cycle(void *argument, size_t size)
{
    board *b = board_of(argument);
    CHECK(size == sizeof(uint64_t));
    uint32_t number = atomic_fetch_add(&b->next, 1);
    kin_lock own = b->locks[number];
    kin_lock other = b->locks[(number + 1) % b->parties];
    CHECK(kin_lock_acquire(own, 0) == 0);
    mark_add(&b->arrived);
    CHECK(mark_await(&b->go, 1));
    CHECK(kin_error_detail()[0] == '\0');
    int status = kin_lock_acquire(other, b->timeout_ms);
    if (status == KIN_E_DEADLOCK) {
        const char *detail = kin_error_detail();
        CHECK(strstr(detail, " waits for lock \"") != NULL);
        CHECK(strstr(detail, "red") != NULL && strstr(detail, "green") != NULL);
        CHECK((strstr(detail, "blue") != NULL) == (b->parties > 2));
        CHECK(kin_system_error() == 0);
        CHECK(atomic_fetch_add(&b->told, 1) != 0 || fprintf(stdout, "%s\n", detail) > 0);
        CHECK(fflush(stdout) == 0);
        CHECK(kin_lock_acquire(own, 0) == KIN_E_DEADLOCK);
        CHECK(kin_error_detail()[0] == '\0'); /* of this one there is no more to say */
    } else {
        CHECK(status == 0);
        CHECK(kin_error_detail()[0] == '\0');
        atomic_fetch_add(&b->had, 1);
        CHECK(kin_lock_release(other) == 0);
    }
    return kin_lock_release(own);
}

static void check_cycle(uint32_t parties, int timeout_ms)
{
    kin_process processes[MOST];
    board *b = new_board();
    b->parties = parties;
    b->timeout_ms = timeout_ms;
    for (uint32_t i = 0; i < parties; i++) {
        processes[i] = start_on(b, close_cycle);
    }
    assert_true(mark_await(&b->arrived, parties));
    mark_add(&b->go);
    for (uint32_t i = 0; i < parties; i++) {
        assert_int_equal(end_of(processes[i]), 0);
    }
    /* One is told, and then the others go on. */
    assert_int_equal(atomic_load(&b->told), 1);
    assert_int_equal(atomic_load(&b->had), parties - 1);
    end_board(b);
}

static void one_of_a_cycle_is_told(void **state)
{
    (void) state;
    for (uint32_t parties = 2; parties <= MOST; parties++) {
        check_cycle(parties, KIN_FOREVER);
    }
}

/* Also where the wait would end some time: who would give up first, in vain, is told. */
static void waits_with_timeouts_are_looked_at(void **state)
{
    (void) state;
    check_cycle(2, LONG_MS);
    check_cycle(3, LONG_MS);
}

/* One that will give up is in nobody's way. */
static int give_up_soon(void *argument, size_t size)
{
    board *b = board_of(argument);
    CHECK(size == sizeof(uint64_t));
    CHECK(kin_lock_acquire(b->locks[0], 0) == 0);
    mark_add(&b->arrived);
    int status = kin_lock_acquire(b->locks[1], 500);
    CHECK(status == KIN_E_TIMEOUT || status == KIN_E_DEADLOCK); /* it would end in vain */
    return kin_lock_release(b->locks[0]);
}

static void who_will_give_up_closes_no_cycle(void **state)
{
    (void) state;
    board *b = new_board();
    assert_int_equal(kin_lock_acquire(b->locks[1], 0), 0);
    kin_process process = start_on(b, give_up_soon);
    assert_true(mark_await(&b->arrived, 1));
    await_waiting_for(b->locks[1].id);
    assert_int_equal(kin_lock_acquire(b->locks[0], KIN_FOREVER), 0);
    assert_int_equal(kin_lock_release(b->locks[0]), 0);
    assert_int_equal(kin_lock_release(b->locks[1]), 0);
    assert_int_equal(end_of(process), 0);
    end_board(b);
}

/* ---- other things ---- */

static int have_recursive_and_wait(void *argument, size_t size)
{
    board *b = board_of(argument);
    CHECK(size == sizeof(uint64_t));
    CHECK(kin_rlock_acquire(b->recursive, 0) == 0);
    CHECK(kin_rlock_acquire(b->recursive, 0) == 0);
    mark_add(&b->arrived);
    CHECK(kin_lock_acquire(b->locks[0], KIN_FOREVER) == 0);
    CHECK(kin_lock_release(b->locks[0]) == 0);
    CHECK(kin_rlock_release(b->recursive) == 0);
    return kin_rlock_release(b->recursive);
}

static int read_and_wait(void *argument, size_t size)
{
    board *b = board_of(argument);
    CHECK(size == sizeof(uint64_t));
    CHECK(kin_rwlock_read(b->shared, 0) == 0);
    mark_add(&b->arrived);
    CHECK(kin_lock_acquire(b->locks[0], KIN_FOREVER) == 0);
    CHECK(kin_lock_release(b->locks[0]) == 0);
    return kin_rwlock_release(b->shared);
}

static int write_and_wait(void *argument, size_t size)
{
    board *b = board_of(argument);
    CHECK(size == sizeof(uint64_t));
    CHECK(kin_rwlock_write(b->shared, 0) == 0);
    mark_add(&b->arrived);
    CHECK(kin_lock_acquire(b->locks[0], KIN_FOREVER) == 0);
    CHECK(kin_lock_release(b->locks[0]) == 0);
    return kin_rwlock_release(b->shared);
}

static int just_read(void *argument, size_t size)
{
    board *b = board_of(argument);
    CHECK(size == sizeof(uint64_t));
    CHECK(kin_rwlock_read(b->shared, 0) == 0);
    mark_add(&b->arrived);
    CHECK(mark_await(&b->go, 1));
    return kin_rwlock_release(b->shared);
}

static board *board_with_first_lock(void)
{
    board *b = new_board();
    assert_int_equal(kin_lock_acquire(b->locks[0], 0), 0);
    return b;
}

static void end_with_lock(board *b, kin_process process)
{
    assert_true(strstr(kin_error_detail(), "\"red\"") != NULL);
    assert_int_equal(kin_lock_release(b->locks[0]), 0);
    assert_string_equal(kin_error_detail(), "");
    assert_int_equal(end_of(process), 0);
    end_board(b);
}

static void a_recursive_lock_may_be_in_a_cycle(void **state)
{
    (void) state;
    board *b = board_with_first_lock();
    kin_process process = start_on(b, have_recursive_and_wait);
    await_waiting_for(b->locks[0].id);
    assert_int_equal(kin_rlock_acquire(b->recursive, KIN_FOREVER), KIN_E_DEADLOCK);
    assert_true(strstr(kin_error_detail(), "recursive lock") != NULL);
    end_with_lock(b, process);
}

/* A writer waits for all readers: one in the cycle is enough. */
static void a_reader_may_be_in_a_cycle(void **state)
{
    (void) state;
    board *b = board_with_first_lock();
    kin_process other = start_on(b, just_read);
    assert_true(mark_await(&b->arrived, 1));
    kin_process process = start_on(b, read_and_wait);
    await_waiting_for(b->locks[0].id);
    assert_int_equal(kin_rwlock_write(b->shared, KIN_FOREVER), KIN_E_DEADLOCK);
    assert_true(strstr(kin_error_detail(), "read-write lock") != NULL);
    assert_int_equal(kin_rwlock_read(b->shared, KIN_FOREVER), 0); /* there is no writer left */
    assert_int_equal(kin_rwlock_release(b->shared), 0);
    assert_int_equal(kin_rwlock_write(b->shared, KIN_FOREVER), KIN_E_DEADLOCK);
    mark_add(&b->go);
    assert_int_equal(end_of(other), 0);
    assert_int_equal(kin_rwlock_write(b->shared, KIN_FOREVER), KIN_E_DEADLOCK);
    end_with_lock(b, process);
}

static void a_writer_may_be_in_a_cycle(void **state)
{
    (void) state;
    for (int writes = 0; writes < 2; writes++) {
        board *b = board_with_first_lock();
        kin_process process = start_on(b, write_and_wait);
        await_waiting_for(b->locks[0].id);
        assert_int_equal(writes ? kin_rwlock_write(b->shared, KIN_FOREVER)
                                : kin_rwlock_read(b->shared, KIN_FOREVER),
                         KIN_E_DEADLOCK);
        end_with_lock(b, process);
    }
}

/* ---- joins ---- */

static int wait_for_first_lock(void *argument, size_t size)
{
    board *b = board_of(argument);
    CHECK(size == sizeof(uint64_t));
    int status = kin_lock_acquire(b->locks[0], b->timeout_ms);
    CHECK(status == 0 || status == KIN_E_DEADLOCK);
    if (status == KIN_E_DEADLOCK) {
        CHECK(strstr(kin_error_detail(), "waits for the end of ") != NULL);
        atomic_fetch_add(&b->told, 1);
        return 0;
    }
    return kin_lock_release(b->locks[0]);
}

static void to_join_one_that_waits_for_us_is_a_deadlock(void **state)
{
    (void) state;
    board *b = board_with_first_lock();
    b->timeout_ms = KIN_FOREVER;
    kin_process process = start_on(b, wait_for_first_lock);
    await_waiting_for(b->locks[0].id);
    assert_int_equal(kin_process_join(process, KIN_FOREVER), KIN_E_DEADLOCK);
    assert_true(strstr(kin_error_detail(), "waits for the end of ") != NULL);
    print_message("%s\n", kin_error_detail());
    assert_int_equal(kin_process_join(process, 0), KIN_E_TIMEOUT);
    assert_string_equal(kin_error_detail(), "");
    assert_int_equal(kin_process_join(process, 300), KIN_E_DEADLOCK);
    end_with_lock(b, process);
}

/* In the other order the child is told. */
static int wait_and_be_joined(void *argument, size_t size)
{
    board *b = board_of(argument);
    CHECK(mark_await(&b->go, 1));
    return wait_for_first_lock(argument, size);
}

static void let_go(void *argument, unsigned number)
{
    board *b = argument;
    if (number == 0) {
        await_waiting_for(b->first.id);
        mark_add(&b->go);
    } else {
        int status = kin_lock_acquire(b->locks[0], 0);
        status = status == 0 ? kin_process_join(b->first, KIN_FOREVER) : CHILD_FAILED;
        (void) kin_lock_release(b->locks[0]);
        atomic_store(&b->stop, status == 0 ? 1 : CHILD_FAILED);
    }
}

static void to_wait_for_who_joins_us_is_a_deadlock(void **state)
{
    (void) state;
    board *b = new_board();
    b->timeout_ms = KIN_FOREVER;
    b->first = start_on(b, wait_and_be_joined);
    system_run_threads(2, let_go, b);
    assert_int_equal(atomic_load(&b->stop), 1);
    assert_int_equal(atomic_load(&b->told), 1);
    assert_int_equal(end_of(b->first), 0);
    end_board(b);
}

static int join_first(void *argument, size_t size)
{
    board *b = board_of(argument);
    CHECK(size == sizeof(uint64_t));
    CHECK(mark_await(&b->go, 1));
    int status = kin_process_join(b->first, KIN_FOREVER);
    CHECK(status == KIN_E_DEADLOCK || status == 0);
    atomic_fetch_add(&b->told, status == KIN_E_DEADLOCK);
    return 0;
}

/* Two that wait for each other's end. */
static int join_each_other(void *argument, size_t size)
{
    board *b = board_of(argument);
    CHECK(size == sizeof(uint64_t));
    b->first = kin_current_process();
    kin_process child = start_on(b, join_first);
    mark_add(&b->go);
    int status = kin_process_join(child, KIN_FOREVER);
    CHECK(status == KIN_E_DEADLOCK || status == 0);
    atomic_fetch_add(&b->told, status == KIN_E_DEADLOCK);
    return 0;
}

static void two_that_join_each_other_are_told(void **state)
{
    (void) state;
    board *b = new_board();
    assert_int_equal(end_of(start_on(b, join_each_other)), 0);
    assert_true(atomic_load(&b->told) >= 1);
    end_board(b);
}

/* ---- false alarms ---- */

/* Some in an order that makes no cycle, with and without timeouts, and some that only join. */
static int contend(void *argument, size_t size)
{
    board *b = board_of(argument);
    CHECK(size == sizeof(uint64_t));
    uint64_t seed = (uint64_t) kin_clock_ns() ^ atomic_fetch_add(&b->next, 1) << 20;
    for (int i = 0; i < TURNS; i++) {
        uint32_t low = next_random(&seed) % (MOST - 1);
        uint32_t high = low + 1 + next_random(&seed) % (MOST - 1 - low);
        int timeout_ms = next_random(&seed) % 2 == 0 ? KIN_FOREVER : (int) (next_random(&seed) % 5);
        bool writes = next_random(&seed) % 4 == 0;
        int status = kin_lock_acquire(b->locks[low], timeout_ms);
        if (status == 0) {
            status = kin_lock_acquire(b->locks[high], timeout_ms);
            if (status == 0) {
                status = writes ? kin_rwlock_write(b->shared, timeout_ms)
                                : kin_rwlock_read(b->shared, timeout_ms);
                if (next_random(&seed) % 16 == 0) {
                    kin_sleep(1);
                }
                CHECK(status != 0 || kin_rwlock_release(b->shared) == 0);
                CHECK(kin_lock_release(b->locks[high]) == 0);
            }
            CHECK(kin_lock_release(b->locks[low]) == 0);
        }
        CHECK(status == 0 || status == KIN_E_TIMEOUT);
        atomic_fetch_add(&b->timeouts, status == KIN_E_TIMEOUT);
    }
    return 0;
}

static void there_are_no_false_alarms(void **state)
{
    (void) state;
    kin_process processes[PROCESSES];
    board *b = new_board();
    for (int i = 0; i < PROCESSES; i++) {
        processes[i] = start_on(b, contend);
    }
    for (int i = 0; i < PROCESSES; i++) {
        assert_int_equal(end_of(processes[i]), 0);
    }
    print_message("%u times timed out\n", (unsigned) atomic_load(&b->timeouts));
    end_board(b);
}

/* In any order, and told or not: all goes on. */
static int cross(void *argument, size_t size)
{
    board *b = board_of(argument);
    CHECK(size == sizeof(uint64_t));
    uint64_t seed = (uint64_t) kin_clock_ns() ^ atomic_fetch_add(&b->next, 1) << 20;
    for (int i = 0; i < TURNS / 10; i++) {
        uint32_t one = next_random(&seed) % MOST;
        uint32_t two = (one + 1 + next_random(&seed) % (MOST - 1)) % MOST;
        CHECK(kin_lock_acquire(b->locks[one], KIN_FOREVER) == 0);
        kin_sleep(i % 2);
        int status = kin_lock_acquire(b->locks[two], KIN_FOREVER);
        CHECK(status == 0 || (status == KIN_E_DEADLOCK && kin_error_detail()[0] != '\0'));
        atomic_fetch_add(status == 0 ? &b->had : &b->told, 1);
        CHECK(status != 0 || kin_lock_release(b->locks[two]) == 0);
        CHECK(kin_lock_release(b->locks[one]) == 0);
    }
    return 0;
}

static void those_who_lock_in_any_order_go_on(void **state)
{
    (void) state;
    kin_process processes[PROCESSES];
    board *b = new_board();
    for (int i = 0; i < PROCESSES; i++) {
        processes[i] = start_on(b, cross);
    }
    for (int i = 0; i < PROCESSES; i++) {
        assert_int_equal(end_of(processes[i]), 0);
    }
    print_message("%u times told, %u times had\n", (unsigned) atomic_load(&b->told),
                  (unsigned) atomic_load(&b->had));
    end_board(b);
}

/* A cycle that has somebody in it who is dead is none: its locks will be open. */
static int have_and_wait(void *argument, size_t size)
{
    board *b = board_of(argument);
    CHECK(size == sizeof(uint64_t));
    CHECK(kin_lock_acquire(b->locks[1], 0) == 0);
    return kin_lock_acquire(b->locks[0], KIN_FOREVER);
}

static void the_dead_close_no_cycle(void **state)
{
    (void) state;
    board *b = board_with_first_lock();
    kin_process process = start_on(b, have_and_wait);
    await_waiting_for(b->locks[0].id);
    assert_int_equal(kin_process_kill(process), 0);
    system_kill(kin_process_pid(process)); /* in case of doubt */
    int status = kin_lock_acquire(b->locks[1], KIN_FOREVER);
    if (status == KIN_E_DEADLOCK) { /* it had not died yet */
        assert_int_equal(end_of(process), -KIN_SIGKILL);
        status = kin_lock_acquire(b->locks[1], KIN_FOREVER);
    } else {
        assert_int_equal(end_of(process), -KIN_SIGKILL);
    }
    assert_int_equal(status, KIN_OWNER_DIED);
    assert_int_equal(kin_lock_release(b->locks[1]), 0);
    assert_int_equal(kin_lock_release(b->locks[0]), 0);
    end_board(b);
}

/* ---- how it is switched on ---- */

/* Two locks crossed by this process's child and by itself; what this one is told. */
static int cross_with_child(void *argument, size_t size)
{
    kin_lock locks[2];
    CHECK(size == sizeof locks);
    memcpy(locks, argument, size);
    CHECK(kin_lock_acquire(locks[1], 0) == 0);
    int status = kin_lock_acquire(locks[0], LONG_MS);
    return status == 0 ? kin_lock_release(locks[0]) : 1;
}

static int status_of_crossing(void)
{
    kin_lock locks[2];
    kin_process child;
    CHECK(kin_lock_create(&locks[0], NULL) == 0);
    CHECK(kin_lock_create(&locks[1], NULL) == 0);
    CHECK(kin_lock_acquire(locks[0], 0) == 0);
    CHECK(kin_process_start(&child, cross_with_child, locks, sizeof locks, NULL) == 0);
    for (bool waits = false; !waits; kin_sleep(1)) {
        for (uint32_t number = 1; number < arena_entries(ARENA_THREADS); number++) {
            waits = waits || atomic_load(&thread_at(number)->waits_for) == locks[0].id;
        }
    }
    int status = kin_lock_acquire(locks[1], 700);
    CHECK(kin_lock_release(locks[0]) == 0);
    CHECK(kin_process_join(child, LONG_MS) == 0);
    return status;
}

static int with_options(int argc, char **argv)
{
    const kin_options options = {.detect_deadlocks = 1};
    CHECK(kin_init_with(&argc, &argv, &options) == 0);
    CHECK(status_of_crossing() == KIN_E_DEADLOCK);
    return kin_shutdown();
}

static int without_options(int argc, char **argv)
{
    system_set_variable("KIN_DEADLOCK", NULL);
    CHECK(kin_init(&argc, &argv) == 0);
    CHECK(status_of_crossing() == KIN_E_TIMEOUT);
    return kin_shutdown();
}

static int with_variable(int argc, char **argv)
{
    system_set_variable("KIN_DEADLOCK", "1");
    CHECK(kin_init(&argc, &argv) == 0);
    CHECK(status_of_crossing() == KIN_E_DEADLOCK);
    return kin_shutdown();
}

static void deadlocks_are_looked_for_if_that_is_wanted(void **state)
{
    (void) state;
    assert_int_equal(run_mode("with_options"), 0);
    assert_int_equal(run_mode("without_options"), 0);
    assert_int_equal(run_mode("with_variable"), 0);
}

int main(int argc, char **argv)
{
    static const test_mode modes[] = {{"with_options", with_options},
                                      {"without_options", without_options},
                                      {"with_variable", with_variable}};
    const test_mode *mode = find_mode(modes, sizeof modes / sizeof *modes);
    if (mode != NULL) {
        return mode->run(argc, argv);
    }
    const struct CMUnitTest tests[] = {
        CLEAN_TEST(one_of_a_cycle_is_told),
        CLEAN_TEST(waits_with_timeouts_are_looked_at),
        CLEAN_TEST(who_will_give_up_closes_no_cycle),
        CLEAN_TEST(a_recursive_lock_may_be_in_a_cycle),
        CLEAN_TEST(a_reader_may_be_in_a_cycle),
        CLEAN_TEST(a_writer_may_be_in_a_cycle),
        CLEAN_TEST(to_join_one_that_waits_for_us_is_a_deadlock),
        CLEAN_TEST(to_wait_for_who_joins_us_is_a_deadlock),
        CLEAN_TEST(two_that_join_each_other_are_told),
        CLEAN_TEST(there_are_no_false_alarms),
        CLEAN_TEST(those_who_lock_in_any_order_go_on),
        CLEAN_TEST(the_dead_close_no_cycle),
        CLEAN_TEST(deadlocks_are_looked_for_if_that_is_wanted),
    };
    const kin_options options = {.detect_deadlocks = 1};
    int status = kin_init_with(&argc, &argv, &options);
    return status < 0 ? status : cmocka_run_group_tests(tests, warm_up, NULL);
}
