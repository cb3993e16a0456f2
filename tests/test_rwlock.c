/* kin/rwlock.h: read-write locks. */
#include "support.h"

#include "core/arena.h"
#include "core/latch.h"

#include <kin/rwlock.h>

#include <stdlib.h>
#include <string.h>

enum { THREADS = 4, TURNS = 5000, PROCESSES = 4, SOON_MS = 30, WORDS = 16 };

typedef struct board {
    kin_rwlock lock;
    mark arrived;
    mark go;
    mark more;
    _Atomic uint32_t stop;
    _Atomic int32_t status;
    _Atomic int32_t code;
    _Atomic uint32_t inside;
    _Atomic uint32_t most_inside;
    _Atomic uint64_t reads;
    _Atomic uint64_t writes;
    uint64_t words[WORDS]; /* all equal when nobody writes */
} board;

static board *new_board(void)
{
    board *b = shared_new(sizeof *b);
    const kin_lock_options options = {.name = "a read-write lock"};
    assert_int_equal(kin_rwlock_create(&b->lock, &options), 0);
    return b;
}

static void end_board(board *b)
{
    assert_int_equal(kin_rwlock_destroy(b->lock), 0);
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

/* How many threads wait for the lock, as their records say. */
static uint32_t count_waiting(const board *b)
{
    uint32_t waiting = 0;
    for (uint32_t number = 1; number < arena_entries(ARENA_THREADS); number++) {
        waiting += atomic_load(&thread_at(number)->waits_for) == b->lock.id;
    }
    return waiting;
}

static void await_waiting(const board *b, uint32_t count)
{
    int64_t until = kin_clock_ns() + INT64_C(1000000) * LONG_MS;
    while (count_waiting(b) != count) {
        assert_true(kin_clock_ns() < until);
        assert_int_equal(kin_sleep(1), 0);
    }
}

/* ---- elsewhere ---- */

static void read_in_thread(void *argument, unsigned number)
{
    (void) number;
    board *b = argument;
    int status = kin_rwlock_read(b->lock, 0);
    atomic_store(&b->status, status < 0 ? status : kin_rwlock_release(b->lock) + status);
}

static void write_in_thread(void *argument, unsigned number)
{
    (void) number;
    board *b = argument;
    int status = kin_rwlock_write(b->lock, 0);
    atomic_store(&b->status, status < 0 ? status : kin_rwlock_release(b->lock) + status);
}

static int read_elsewhere(board *b)
{
    system_run_threads(1, read_in_thread, b);
    return atomic_load(&b->status);
}

static int write_elsewhere(board *b)
{
    system_run_threads(1, write_in_thread, b);
    return atomic_load(&b->status);
}

/* ---- who may come in ---- */

static void readers_share_and_a_writer_does_not(void **state)
{
    (void) state;
    board *b = new_board();
    for (int i = 0; i < 3; i++) {
        assert_int_equal(kin_rwlock_read(b->lock, i == 0 ? 0 : KIN_FOREVER), 0);
        assert_int_equal(read_elsewhere(b), 0);
        assert_int_equal(write_elsewhere(b), KIN_E_TIMEOUT);
        assert_int_equal(read_elsewhere(b), 0);
        assert_int_equal(kin_rwlock_release(b->lock), 0);
        assert_int_equal(kin_rwlock_release(b->lock), KIN_E_NOT_OWNER);
        assert_int_equal(kin_rwlock_write(b->lock, i == 0 ? 0 : KIN_FOREVER), 0);
        assert_int_equal(read_elsewhere(b), KIN_E_TIMEOUT);
        assert_int_equal(write_elsewhere(b), KIN_E_TIMEOUT);
        assert_int_equal(kin_rwlock_release(b->lock), 0);
        assert_int_equal(kin_rwlock_release(b->lock), KIN_E_NOT_OWNER);
        assert_int_equal(write_elsewhere(b), 0);
    }
    end_board(b);
}

static void a_thread_may_read_several_times(void **state)
{
    (void) state;
    enum { DEPTH = 5 };
    board *b = new_board();
    for (int i = 0; i < DEPTH; i++) {
        assert_int_equal(kin_rwlock_read(b->lock, 0), 0);
    }
    for (int i = 0; i < DEPTH; i++) {
        assert_int_equal(write_elsewhere(b), KIN_E_TIMEOUT);
        assert_int_equal(kin_rwlock_release(b->lock), 0);
    }
    assert_int_equal(kin_rwlock_release(b->lock), KIN_E_NOT_OWNER);
    assert_int_equal(write_elsewhere(b), 0);
    end_board(b);
}

static void to_wait_for_oneself_is_a_deadlock(void **state)
{
    (void) state;
    static const int timeouts[] = {0, 10, KIN_FOREVER};
    board *b = new_board();
    for (int i = 0; i < 3; i++) {
        assert_int_equal(kin_rwlock_read(b->lock, 0), 0);
        assert_int_equal(kin_rwlock_write(b->lock, timeouts[i]), KIN_E_DEADLOCK);
        assert_int_equal(kin_rwlock_release(b->lock), 0);
        assert_int_equal(kin_rwlock_write(b->lock, 0), 0);
        assert_int_equal(kin_rwlock_write(b->lock, timeouts[i]), KIN_E_DEADLOCK);
        assert_int_equal(kin_rwlock_read(b->lock, timeouts[i]), KIN_E_DEADLOCK);
        assert_int_equal(kin_rwlock_release(b->lock), 0);
        assert_int_equal(kin_rwlock_release(b->lock), KIN_E_NOT_OWNER);
    }
    end_board(b);
}

static void a_thread_has_so_many_read_locks(void **state)
{
    (void) state;
    kin_rwlock locks[READS + 1];
    for (int i = 0; i <= READS; i++) {
        assert_int_equal(kin_rwlock_create(&locks[i], NULL), 0);
        assert_int_equal(kin_rwlock_read(locks[i], 0), i < READS ? 0 : KIN_E_LIMIT);
    }
    assert_int_equal(kin_rwlock_read(locks[0], 0), KIN_E_LIMIT);
    assert_int_equal(kin_rwlock_release(locks[READS]), KIN_E_NOT_OWNER);
    assert_int_equal(kin_rwlock_write(locks[READS], 0), 0);
    assert_int_equal(kin_rwlock_release(locks[READS]), 0);
    /* One that has been destroyed counts no more, released or not. */
    assert_int_equal(kin_rwlock_destroy(locks[0]), 0);
    assert_int_equal(kin_rwlock_read(locks[READS], 0), 0);
    assert_int_equal(kin_rwlock_destroy(locks[1]), 0);
    assert_int_equal(kin_rwlock_release(locks[1]), KIN_E_HANDLE);
    assert_int_equal(kin_rwlock_read(locks[2], 0), 0);
    assert_int_equal(kin_rwlock_release(locks[2]), 0);
    for (int i = 2; i <= READS; i++) {
        assert_int_equal(kin_rwlock_release(locks[i]), 0);
        assert_int_equal(kin_rwlock_release(locks[i]), KIN_E_NOT_OWNER);
        assert_int_equal(kin_rwlock_destroy(locks[i]), 0);
    }
}

static void bad_handles_are_errors(void **state)
{
    (void) state;
    kin_lock other;
    uint64_t seed = 3;
    board *b = new_board();
    const kin_lock_options too_long = {.name = "12345678901234567890123456789012"};
    assert_int_equal(kin_rwlock_create(NULL, NULL), KIN_E_INVALID);
    assert_int_equal(kin_rwlock_create(&b->lock, &too_long), KIN_E_INVALID);
    assert_int_equal(kin_lock_create(&other, NULL), 0);
    for (int i = 0; i < 10000; i++) {
        uint64_t id = i == 0   ? 0
                      : i == 1 ? other.id
                      : i < 66 ? b->lock.id ^ UINT64_C(1) << (i - 2)
                               : (uint64_t) next_random(&seed) << 32 | next_random(&seed);
        kin_rwlock forged = {id};
        assert_int_equal(kin_rwlock_read(forged, 0), KIN_E_HANDLE);
        assert_int_equal(kin_rwlock_write(forged, KIN_FOREVER), KIN_E_HANDLE);
        assert_int_equal(kin_rwlock_release(forged), KIN_E_HANDLE);
        assert_int_equal(kin_rwlock_destroy(forged), KIN_E_HANDLE);
    }
    kin_rwlock gone = b->lock;
    assert_int_equal(kin_rwlock_destroy(gone), 0);
    assert_int_equal(kin_rwlock_create(&b->lock, NULL), 0);
    assert_int_equal(kin_rwlock_read(gone, 0), KIN_E_HANDLE);
    assert_int_equal(kin_rwlock_write(gone, 0), KIN_E_HANDLE);
    assert_int_equal(kin_rwlock_release(gone), KIN_E_HANDLE);
    assert_int_equal(kin_lock_destroy(other), 0);
    end_board(b);
}

static int without_init(int argc, char **argv)
{
    kin_rwlock lock = {1};
    (void) argc, (void) argv;
    CHECK(kin_rwlock_create(&lock, NULL) == KIN_E_INIT);
    CHECK(kin_rwlock_read((kin_rwlock){1}, 0) == KIN_E_INIT);
    CHECK(kin_rwlock_write((kin_rwlock){1}, 0) == KIN_E_INIT);
    CHECK(kin_rwlock_release((kin_rwlock){1}) == KIN_E_INIT);
    return 0;
}

static void read_write_locks_need_a_family(void **state)
{
    (void) state;
    assert_int_equal(run_mode("without_init"), 0);
}

/* ---- waiting ---- */

static int read_and_hold(void *argument, size_t size)
{
    board *b = board_of(argument);
    CHECK(size == sizeof(uint64_t));
    CHECK(kin_rwlock_read(b->lock, LONG_MS) >= 0);
    mark_add(&b->arrived);
    CHECK(mark_await(&b->go, 1));
    return kin_rwlock_release(b->lock);
}

static int write_and_hold(void *argument, size_t size)
{
    board *b = board_of(argument);
    CHECK(size == sizeof(uint64_t));
    CHECK(kin_rwlock_write(b->lock, LONG_MS) >= 0);
    mark_add(&b->arrived);
    CHECK(mark_await(&b->go, 1));
    return kin_rwlock_release(b->lock);
}

static void check_timeouts(board *b, int (*lock)(kin_rwlock lock, int timeout_ms))
{
    assert_int_equal(lock(b->lock, 0), KIN_E_TIMEOUT);
    for (int ms = 1; ms < 250; ms = ms * 3 + 1) {
        int64_t begun = kin_clock_ns();
        assert_int_equal(lock(b->lock, ms), KIN_E_TIMEOUT);
        assert_true(kin_clock_ns() - begun >= (int64_t) ms * 1000000);
    }
}

static void a_timeout_is_never_early(void **state)
{
    (void) state;
    for (int writes = 0; writes < 2; writes++) {
        board *b = new_board();
        kin_process holder = start_on(b, writes ? write_and_hold : read_and_hold);
        assert_true(mark_await(&b->arrived, 1));
        if (writes) {
            check_timeouts(b, kin_rwlock_read);
        }
        check_timeouts(b, kin_rwlock_write);
        if (!writes) {
            assert_int_equal(kin_rwlock_read(b->lock, 0), 0); /* the writer that gave up is gone */
            assert_int_equal(kin_rwlock_release(b->lock), 0);
        }
        mark_add(&b->go);
        assert_int_equal(kin_rwlock_write(b->lock, LONG_MS), 0);
        assert_int_equal(kin_rwlock_release(b->lock), 0);
        assert_int_equal(end_of(holder), 0);
        end_board(b);
    }
}

/* While a writer waits for a reader, that one may read again; others wait behind the writer. */
static int write_once(void *argument, size_t size)
{
    board *b = board_of(argument);
    CHECK(size == sizeof(uint64_t));
    int status = kin_rwlock_write(b->lock, LONG_MS);
    atomic_store(&b->code, status);
    CHECK(status >= 0);
    atomic_fetch_add(&b->writes, 1);
    return kin_rwlock_release(b->lock);
}

static int read_after_writer(void *argument, size_t size)
{
    board *b = board_of(argument);
    CHECK(size == sizeof(uint64_t));
    CHECK(kin_rwlock_read(b->lock, LONG_MS) == 0);
    CHECK(atomic_load(&b->writes) == 1);
    return kin_rwlock_release(b->lock);
}

static void a_writer_keeps_new_readers_out(void **state)
{
    (void) state;
    board *b = new_board();
    assert_int_equal(kin_rwlock_read(b->lock, 0), 0);
    kin_process writer = start_on(b, write_once);
    await_waiting(b, 1);
    assert_int_equal(kin_rwlock_read(b->lock, KIN_FOREVER), 0);
    assert_int_equal(kin_rwlock_release(b->lock), 0);
    assert_int_equal(read_elsewhere(b), KIN_E_TIMEOUT);
    kin_process reader = start_on(b, read_after_writer);
    await_waiting(b, 2);
    assert_int_equal(kin_rwlock_release(b->lock), 0);
    assert_int_equal(end_of(writer), 0);
    assert_int_equal(end_of(reader), 0);
    end_board(b);
}

/* ---- exclusion ---- */

static bool words_are_equal(const board *b)
{
    for (int i = 1; i < WORDS; i++) {
        if (b->words[i] != b->words[0]) {
            return false;
        }
    }
    return true;
}

static int read_once(board *b, int timeout_ms)
{
    int status = kin_rwlock_read(b->lock, timeout_ms);
    if (status == KIN_E_TIMEOUT) {
        return 0;
    }
    CHECK(status == 0);
    uint32_t now = atomic_fetch_add(&b->inside, 1) + 1;
    uint32_t most = atomic_load(&b->most_inside);
    while (most < now && !atomic_compare_exchange_weak(&b->most_inside, &most, now)) {
    }
    CHECK(words_are_equal(b));
    atomic_fetch_sub(&b->inside, 1);
    atomic_fetch_add(&b->reads, 1);
    CHECK(kin_rwlock_release(b->lock) == 0);
    return 0;
}

static int write_all(board *b, int timeout_ms)
{
    int status = kin_rwlock_write(b->lock, timeout_ms);
    if (status == KIN_E_TIMEOUT) {
        return 0;
    }
    CHECK(status == 0);
    CHECK(atomic_load(&b->inside) == 0);
    CHECK(words_are_equal(b));
    for (int i = 0; i < WORDS; i++) {
        b->words[i]++;
    }
    atomic_fetch_add(&b->writes, 1);
    CHECK(kin_rwlock_release(b->lock) == 0);
    return 0;
}

static int take_turns(board *b, uint64_t seed)
{
    static const int timeouts[] = {KIN_FOREVER, LONG_MS, 0, 1};
    for (int i = 0; i < TURNS; i++) {
        int timeout_ms = timeouts[next_random(&seed) % 4];
        bool writes = next_random(&seed) % 4 == 0;
        CHECK((writes ? write_all(b, timeout_ms) : read_once(b, timeout_ms)) == 0);
    }
    return 0;
}

static void take_turns_in_thread(void *argument, unsigned number)
{
    board *b = argument;
    if (take_turns(b, number + 1) != 0) {
        atomic_store(&b->status, CHILD_FAILED);
    }
}

static int take_turns_in_process(void *argument, size_t size)
{
    CHECK(size == sizeof(uint64_t));
    return take_turns(board_of(argument), (uint64_t) kin_clock_ns());
}

static void check_turns(board *b)
{
    assert_true(words_are_equal(b));
    assert_int_equal(b->words[0], atomic_load(&b->writes));
    print_message("%u reads, %u writes, at most %u readers at a time\n",
                  (unsigned) atomic_load(&b->reads), (unsigned) atomic_load(&b->writes),
                  (unsigned) atomic_load(&b->most_inside));
}

static void threads_read_or_one_writes(void **state)
{
    (void) state;
    board *b = new_board();
    system_run_threads(THREADS, take_turns_in_thread, b);
    assert_int_equal(atomic_load(&b->status), 0);
    check_turns(b);
    end_board(b);
}

static void processes_read_or_one_writes(void **state)
{
    (void) state;
    kin_process processes[PROCESSES];
    board *b = new_board();
    for (int i = 0; i < PROCESSES; i++) {
        processes[i] = start_on(b, take_turns_in_process);
    }
    for (int i = 0; i < PROCESSES; i++) {
        assert_int_equal(end_of(processes[i]), 0);
    }
    check_turns(b);
    end_board(b);
}

static int read_until_stopped(void *argument, size_t size)
{
    board *b = board_of(argument);
    CHECK(size == sizeof(uint64_t));
    mark_add(&b->arrived);
    while (atomic_load(&b->stop) == 0) {
        CHECK(read_once(b, KIN_FOREVER) == 0);
    }
    return 0;
}

static int write_until_stopped(void *argument, size_t size)
{
    board *b = board_of(argument);
    CHECK(size == sizeof(uint64_t));
    mark_add(&b->arrived);
    while (atomic_load(&b->stop) == 0) {
        CHECK(write_all(b, KIN_FOREVER) == 0);
    }
    return 0;
}

/* Many readers do not starve a writer, nor many writers a reader. */
static void neither_readers_nor_writers_starve(void **state)
{
    (void) state;
    enum { TIMES = 100 };
    for (int writes = 0; writes < 2; writes++) {
        kin_process processes[PROCESSES];
        board *b = new_board();
        for (int i = 0; i < PROCESSES; i++) {
            processes[i] = start_on(b, writes ? write_until_stopped : read_until_stopped);
        }
        assert_true(mark_await(&b->arrived, PROCESSES));
        for (int i = 0; i < TIMES; i++) {
            assert_int_equal(writes ? read_once(b, LONG_MS) : write_all(b, LONG_MS), 0);
        }
        assert_true(atomic_load(writes ? &b->reads : &b->writes) >= TIMES);
        atomic_store(&b->stop, 1);
        for (int i = 0; i < PROCESSES; i++) {
            assert_int_equal(end_of(processes[i]), 0);
        }
        check_turns(b);
        end_board(b);
    }
}

/* ---- deaths ---- */

static int read_and_stay(void *argument, size_t size)
{
    board *b = board_of(argument);
    CHECK(size == sizeof(uint64_t));
    CHECK(kin_rwlock_read(b->lock, LONG_MS) >= 0);
    CHECK(kin_rwlock_read(b->lock, LONG_MS) >= 0);
    mark_add(&b->arrived);
    kin_sleep(KIN_FOREVER);
    return 0;
}

static int write_and_stay(void *argument, size_t size)
{
    board *b = board_of(argument);
    CHECK(size == sizeof(uint64_t));
    CHECK(kin_rwlock_write(b->lock, LONG_MS) >= 0);
    mark_add(&b->arrived);
    kin_sleep(KIN_FOREVER);
    return 0;
}

static void kill_holder(board *b, kin_process_function function)
{
    uint32_t arrived = atomic_load(&b->arrived.value);
    kin_process holder = start_on(b, function);
    assert_true(mark_await(&b->arrived, arrived + 1));
    assert_int_equal(kin_process_kill(holder), 0);
    assert_int_equal(end_of(holder), -KIN_SIGKILL);
}

static void what_a_dead_reader_had_is_open(void **state)
{
    (void) state;
    board *b = new_board();
    kill_holder(b, read_and_stay);
    assert_int_equal(kin_rwlock_write(b->lock, 0), 0);
    assert_int_equal(kin_rwlock_release(b->lock), 0);
    /* Also for a writer that waits already. */
    kin_process holder = start_on(b, read_and_stay);
    assert_true(mark_await(&b->arrived, 2));
    kin_process writer = start_on(b, write_once);
    await_waiting(b, 1);
    assert_int_equal(kin_process_kill(holder), 0);
    assert_int_equal(end_of(writer), 0);
    assert_int_equal(atomic_load(&b->code), 0);
    assert_int_equal(end_of(holder), -KIN_SIGKILL);
    end_board(b);
}

/* Without anybody who notices the death but who tries. */
static void who_only_tries_gets_what_a_dead_reader_had(void **state)
{
    (void) state;
    int status;
    board *b = new_board();
    kin_process holder = start_on(b, read_and_stay);
    assert_true(mark_await(&b->arrived, 1));
    assert_int_equal(kin_process_kill(holder), 0);
    int64_t until = kin_clock_ns() + INT64_C(1000000) * LONG_MS;
    do {
        status = kin_rwlock_write(b->lock, 0);
    } while (status == KIN_E_TIMEOUT && kin_clock_ns() < until);
    assert_int_equal(status, 0);
    assert_int_equal(kin_rwlock_release(b->lock), 0);
    assert_int_equal(end_of(holder), -KIN_SIGKILL);
    end_board(b);
}

static void all_are_told_of_a_dead_writer_until_the_next_one(void **state)
{
    (void) state;
    board *b = new_board();
    kill_holder(b, write_and_stay);
    assert_int_equal(kin_rwlock_read(b->lock, LONG_MS), KIN_OWNER_DIED);
    assert_int_equal(read_elsewhere(b), KIN_OWNER_DIED);
    assert_int_equal(write_elsewhere(b), KIN_E_TIMEOUT); /* it has not had it */
    assert_int_equal(read_elsewhere(b), KIN_OWNER_DIED);
    assert_int_equal(kin_rwlock_release(b->lock), 0);
    assert_int_equal(kin_rwlock_write(b->lock, 0), KIN_OWNER_DIED);
    assert_int_equal(kin_rwlock_release(b->lock), 0);
    assert_int_equal(kin_rwlock_read(b->lock, 0), 0);
    assert_int_equal(kin_rwlock_release(b->lock), 0);
    assert_int_equal(kin_rwlock_write(b->lock, 0), 0);
    assert_int_equal(kin_rwlock_release(b->lock), 0);
    end_board(b);
}

/* A writer that is killed while it waits for readers has changed nothing, and leaves the readers to
   the next writer. */
static void a_writer_killed_in_waiting_does_no_harm(void **state)
{
    (void) state;
    board *b = new_board();
    for (int i = 0; i < 3; i++) {
        assert_int_equal(kin_rwlock_read(b->lock, 0), 0);
        kin_process writer = start_on(b, write_once);
        await_waiting(b, 1);
        assert_int_equal(kin_process_kill(writer), 0);
        assert_int_equal(end_of(writer), -KIN_SIGKILL);
        assert_int_equal(read_elsewhere(b), 0);
        assert_int_equal(write_elsewhere(b), KIN_E_TIMEOUT);
        assert_int_equal(kin_rwlock_release(b->lock), 0);
        assert_int_equal(write_elsewhere(b), 0);
    }
    end_board(b);
}

/* One that gives up neither. */
static void a_writer_that_gives_up_does_no_harm(void **state)
{
    (void) state;
    board *b = new_board();
    kin_process holder = start_on(b, read_and_hold);
    assert_true(mark_await(&b->arrived, 1));
    assert_int_equal(kin_rwlock_write(b->lock, SOON_MS), KIN_E_TIMEOUT);
    assert_int_equal(write_elsewhere(b), KIN_E_TIMEOUT);
    assert_int_equal(read_elsewhere(b), 0);
    mark_add(&b->go);
    assert_int_equal(end_of(holder), 0);
    assert_int_equal(write_elsewhere(b), 0);
    end_board(b);
}

static void end_with_lock(void *argument, unsigned number)
{
    board *b = argument;
    atomic_store(&b->status, number == 0 ? kin_rwlock_read(b->lock, LONG_MS) : CHILD_FAILED);
}

static void end_with_write_lock(void *argument, unsigned number)
{
    board *b = argument;
    atomic_store(&b->status, number == 0 ? kin_rwlock_write(b->lock, LONG_MS) : CHILD_FAILED);
}

static void a_thread_that_ends_leaves_what_a_process_does(void **state)
{
    (void) state;
    board *b = new_board();
    system_run_threads(1, end_with_lock, b);
    assert_int_equal(atomic_load(&b->status), 0);
    assert_int_equal(kin_rwlock_write(b->lock, 0), 0);
    assert_int_equal(kin_rwlock_release(b->lock), 0);
    system_run_threads(1, end_with_write_lock, b);
    assert_int_equal(atomic_load(&b->status), 0);
    assert_int_equal(kin_rwlock_read(b->lock, 0), KIN_OWNER_DIED);
    assert_int_equal(kin_rwlock_release(b->lock), 0);
    assert_int_equal(kin_rwlock_write(b->lock, 0), KIN_OWNER_DIED);
    assert_int_equal(kin_rwlock_release(b->lock), 0);
    assert_int_equal(kin_rwlock_write(b->lock, 0), 0);
    assert_int_equal(kin_rwlock_release(b->lock), 0);
    end_board(b);
}

static int turn_until_killed(void *argument, size_t size)
{
    board *b = board_of(argument);
    uint64_t seed = (uint64_t) kin_clock_ns();
    CHECK(size == sizeof(uint64_t));
    mark_add(&b->arrived);
    for (;;) {
        bool writes = next_random(&seed) % 3 == 0;
        int status =
            writes ? kin_rwlock_write(b->lock, KIN_FOREVER) : kin_rwlock_read(b->lock, KIN_FOREVER);
        CHECK(status >= 0);
        CHECK(status == KIN_OWNER_DIED || words_are_equal(b));
        for (int i = 0; i < WORDS && writes; i++) {
            b->words[i] = status == KIN_OWNER_DIED && i > 0 ? b->words[0] : b->words[i] + 1;
        }
        if (next_random(&seed) % 64 == 0) {
            kin_sleep(1);
        }
        CHECK(kin_rwlock_release(b->lock) == 0);
    }
}

static void those_who_are_killed_do_not_stop_the_others(void **state)
{
    (void) state;
    enum { DEATHS = WITH_SANITIZER ? 40 : 100, TURNERS = 5 };
    kin_process turners[TURNERS];
    uint64_t seed = 17;
    board *b = new_board();
    for (int i = 0; i < TURNERS; i++) {
        turners[i] = start_on(b, turn_until_killed);
    }
    assert_true(mark_await(&b->arrived, TURNERS));
    int64_t longest = 0;
    for (uint32_t i = 0; i < DEATHS; i++) {
        uint32_t which = next_random(&seed) % TURNERS;
        assert_int_equal(kin_process_kill(turners[which]), 0);
        int64_t begun = kin_clock_ns();
        int status =
            i % 2 == 0 ? kin_rwlock_write(b->lock, LONG_MS) : kin_rwlock_read(b->lock, LONG_MS);
        int64_t took = kin_clock_ns() - begun;
        longest = took > longest ? took : longest;
        assert_in_range(status + 1, 1, 2);
        assert_true(status == KIN_OWNER_DIED || words_are_equal(b));
        for (int word = 1; word < WORDS && i % 2 == 0; word++) {
            b->words[word] = b->words[0];
        }
        assert_int_equal(kin_rwlock_release(b->lock), 0);
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
    bool writes = atomic_fetch_add(&b->reads, 1) % 2 == 0;
    int status = writes ? kin_rwlock_write(b->lock, LONG_MS) : kin_rwlock_read(b->lock, LONG_MS);
    CHECK(kin_rwlock_read(b->lock, LONG_MS) == KIN_E_HANDLE);
    return status == KIN_E_DESTROYED ? 0 : CHILD_FAILED;
}

/* The first of those who wait is a writer, which waits for this reader (or writer); the others wait
   for that one. */
static void those_who_wait_for_a_destroyed_one_are_told(void **state)
{
    (void) state;
    for (int writes = 0; writes < 2; writes++) {
        kin_process waiters[PROCESSES];
        kin_rwlock next;
        board *b = new_board();
        assert_int_equal(writes ? kin_rwlock_write(b->lock, 0) : kin_rwlock_read(b->lock, 0), 0);
        for (uint32_t i = 0; i < PROCESSES; i++) {
            waiters[i] = start_on(b, wait_in_vain);
            await_waiting(b, i + 1);
        }
        int64_t begun = kin_clock_ns();
        assert_int_equal(kin_rwlock_destroy(b->lock), 0);
        assert_int_equal(kin_rwlock_create(&next, NULL), 0);
        for (int i = 0; i < PROCESSES; i++) {
            assert_int_equal(end_of(waiters[i]), 0);
        }
        print_message("all knew after %d us\n", (int) ((kin_clock_ns() - begun) / 1000));
        assert_int_equal(kin_rwlock_release(b->lock), KIN_E_HANDLE);
        assert_int_equal(kin_rwlock_destroy(next), 0);
        shared_free(b);
    }
}

int main(int argc, char **argv)
{
    static const test_mode modes[] = {{"without_init", without_init}};
    const test_mode *mode = find_mode(modes, sizeof modes / sizeof *modes);
    if (mode != NULL) {
        return mode->run(argc, argv);
    }
    const struct CMUnitTest tests[] = {
        CLEAN_TEST(readers_share_and_a_writer_does_not),
        CLEAN_TEST(a_thread_may_read_several_times),
        CLEAN_TEST(to_wait_for_oneself_is_a_deadlock),
        CLEAN_TEST(a_thread_has_so_many_read_locks),
        CLEAN_TEST(bad_handles_are_errors),
        CLEAN_TEST(read_write_locks_need_a_family),
        CLEAN_TEST(a_timeout_is_never_early),
        CLEAN_TEST(a_writer_keeps_new_readers_out),
        CLEAN_TEST(threads_read_or_one_writes),
        CLEAN_TEST(processes_read_or_one_writes),
        CLEAN_TEST(neither_readers_nor_writers_starve),
        CLEAN_TEST(what_a_dead_reader_had_is_open),
        CLEAN_TEST(who_only_tries_gets_what_a_dead_reader_had),
        CLEAN_TEST(all_are_told_of_a_dead_writer_until_the_next_one),
        CLEAN_TEST(a_writer_killed_in_waiting_does_no_harm),
        CLEAN_TEST(a_writer_that_gives_up_does_no_harm),
        CLEAN_TEST(a_thread_that_ends_leaves_what_a_process_does),
        CLEAN_TEST(those_who_are_killed_do_not_stop_the_others),
        CLEAN_TEST(those_who_wait_for_a_destroyed_one_are_told),
    };
    int status = kin_init(&argc, &argv);
    return status < 0 ? status : cmocka_run_group_tests(tests, warm_up, NULL);
}
