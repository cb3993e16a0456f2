/* kin/barrier.h: barriers between threads and processes, and what deaths make of them. */
#include "support.h"

#include "core/sync.h"

#include <string.h>

enum { MOST = 8, MS = 1000000 };

/* What children and tests share. */
typedef struct board {
    kin_barrier barrier;
    int32_t timeout_ms;
    uint32_t rounds;
    _Atomic uint32_t go;
    mark acting;           /* an action has begun */
    _Atomic uint32_t acts; /* how often it has run */
    _Atomic int32_t status[MOST];
    _Atomic uint32_t index[MOST];
    _Atomic uint64_t told[MOST]; /* when it returned */
    uint32_t slots[MOST];        /* each party writes one, all read all */
    _Atomic int failures;
} board;

typedef struct place {
    uint64_t board;
    uint32_t number;
    uint32_t unused;
} place;

static kin_barrier new_barrier(uint32_t parties, const kin_barrier_options *options)
{
    kin_barrier barrier = {0};
    assert_int_equal(kin_barrier_create(&barrier, parties, options), 0);
    return barrier;
}

static board *new_board(void)
{
    board *b = shared_new(sizeof *b);
    b->timeout_ms = LONG_MS;
    b->rounds = 1;
    return b;
}

static board *new_board_for(uint32_t parties)
{
    board *b = new_board();
    b->barrier = new_barrier(parties, NULL);
    return b;
}

static void free_board(board *b)
{
    assert_int_equal(kin_barrier_destroy(b->barrier), 0);
    shared_free(b);
}

static int wait_as(board *b, uint32_t number)
{
    uint32_t index = MOST;
    int status = 0;
    for (uint32_t i = 0; i < b->rounds && status == 0; i++) {
        status = kin_barrier_wait(b->barrier, &index, b->timeout_ms);
    }
    atomic_store(&b->told[number], (uint64_t) kin_clock_ns());
    atomic_store(&b->index[number], index);
    atomic_store(&b->status[number], status);
    return 0;
}

static int be_party(void *argument, size_t size)
{
    place p;
    CHECK(size == sizeof p);
    memcpy(&p, argument, sizeof p);
    return wait_as(arena_at(p.board), p.number);
}

static kin_process start_party(const board *b, uint32_t number)
{
    place p = {arena_offset(b), number, 0};
    return start(be_party, &p, sizeof p);
}

static void await_waiting(const board *b, int count)
{
    int64_t until = wait_deadline(LONG_MS);
    while (kin_barrier_n_waiting(b->barrier) != count) {
        assert_true(kin_clock_ns() < until);
        assert_int_equal(kin_sleep(1), 0);
    }
}

static void start_parties(const board *b, kin_process *processes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        processes[i] = start_party(b, i);
    }
    await_waiting(b, (int) count);
}

/* They end, and have been told that. */
static void end_parties(const board *b, const kin_process *processes, uint32_t first,
                        uint32_t count, int status)
{
    for (uint32_t i = first; i < first + count; i++) {
        assert_int_equal(end_of(processes[i]), 0);
        assert_int_equal(atomic_load(&b->status[i]), status);
    }
}

/* ---- without anybody else ---- */

static int act(void *argument, size_t size)
{
    (void) size;
    *(uint32_t *) argument += 1;
    return 0;
}

static void bad_arguments_are_errors(void **state)
{
    (void) state;
    kin_barrier barrier = {0};
    uint32_t number = 0;
    assert_int_equal(kin_barrier_create(NULL, 2, NULL), KIN_E_INVALID);
    assert_int_equal(kin_barrier_create(&barrier, 0, NULL), KIN_E_INVALID);
    assert_int_equal(kin_barrier_create(&barrier, KIN_BARRIER_MOST_PARTIES + 1, NULL),
                     KIN_E_INVALID);
    kin_barrier_options options = {.timeout_ms = -2};
    assert_int_equal(kin_barrier_create(&barrier, 2, &options), KIN_E_INVALID);
    options = (kin_barrier_options){.reserved_number = 1};
    assert_int_equal(kin_barrier_create(&barrier, 2, &options), KIN_E_INVALID);
    options = (kin_barrier_options){.action = act, .argument_size = 4};
    assert_int_equal(kin_barrier_create(&barrier, 2, &options), KIN_E_INVALID);
    options = (kin_barrier_options){.action = act, .argument = &number, .argument_size = SIZE_MAX};
    assert_int_equal(kin_barrier_create(&barrier, 2, &options), KIN_E_INVALID);
    options.argument_size = (size_t) arena_memory()->size;
    assert_int_equal(kin_barrier_create(&barrier, 2, &options), KIN_E_NOMEM);
    options = (kin_barrier_options){.name = "a name that is longer than may be"};
    assert_int_equal(kin_barrier_create(&barrier, 2, &options), KIN_E_INVALID);
    uintptr_t nowhere = (uintptr_t) &number;
    memcpy(&options.action, &nowhere, sizeof nowhere);
    options.name = NULL;
    assert_int_equal(kin_barrier_create(&barrier, 2, &options), KIN_E_FUNCTION);
    assert_int_equal(barrier.id, 0);
}

static void use_in_vain(kin_barrier barrier)
{
    uint32_t index = 77;
    assert_int_equal(kin_barrier_wait(barrier, &index, 0), KIN_E_HANDLE);
    assert_int_equal(index, 77);
    assert_int_equal(kin_barrier_reset(barrier), KIN_E_HANDLE);
    assert_int_equal(kin_barrier_abort(barrier), KIN_E_HANDLE);
    assert_int_equal(kin_barrier_parties(barrier), KIN_E_HANDLE);
    assert_int_equal(kin_barrier_n_waiting(barrier), KIN_E_HANDLE);
    assert_int_equal(kin_barrier_is_broken(barrier), KIN_E_HANDLE);
    assert_int_equal(kin_barrier_destroy(barrier), KIN_E_HANDLE);
}

static void stale_and_forged_handles_are_errors(void **state)
{
    (void) state;
    kin_lock lock = {0};
    assert_int_equal(kin_lock_create(&lock, NULL), 0);
    use_in_vain((kin_barrier){0});
    use_in_vain((kin_barrier){lock.id});
    kin_barrier barrier = new_barrier(1, NULL);
    use_in_vain((kin_barrier){barrier.id ^ UINT64_C(1) << 40});
    assert_int_equal(kin_barrier_destroy(barrier), 0);
    use_in_vain(barrier);
    assert_int_equal(kin_lock_destroy(lock), 0);
}

static void one_party_never_waits(void **state)
{
    (void) state;
    uint32_t number = 7;
    kin_barrier_options options = {
        .action = act, .argument = &number, .argument_size = sizeof number, .name = "one"};
    kin_barrier plain = new_barrier(1, NULL);
    kin_barrier acting = new_barrier(1, &options);
    for (int i = 0; i < 100; i++) {
        uint32_t index = 77;
        assert_int_equal(kin_barrier_wait(plain, &index, 0), 0);
        assert_int_equal(index, 0);
        assert_int_equal(kin_barrier_wait(acting, NULL, 0), 0);
    }
    assert_int_equal(number, 7); /* the action has a copy */
    assert_int_equal(kin_barrier_parties(plain), 1);
    assert_int_equal(kin_barrier_n_waiting(plain), 0);
    assert_int_equal(kin_barrier_is_broken(plain), 0);
    assert_int_equal(kin_barrier_destroy(plain), 0);
    assert_int_equal(kin_barrier_destroy(acting), 0);
}

static void wait_in_vain(kin_barrier barrier, int timeout_ms, int64_t least_ms)
{
    int64_t begun = kin_clock_ns();
    uint32_t index = 77;
    assert_int_equal(kin_barrier_wait(barrier, &index, timeout_ms), KIN_E_TIMEOUT);
    int64_t took = kin_clock_ns() - begun;
    assert_int_equal(index, 77);
    assert_true(took >= least_ms * MS);
    print_message("%lld ms: %lld us late\n", (long long) least_ms,
                  (long long) (took - least_ms * MS) / 1000);
    assert_int_equal(kin_barrier_is_broken(barrier), 1);
    assert_int_equal(kin_barrier_n_waiting(barrier), 0);
    assert_int_equal(kin_barrier_wait(barrier, NULL, 0), KIN_E_BROKEN);
    assert_int_equal(kin_barrier_reset(barrier), 0);
    assert_int_equal(kin_barrier_is_broken(barrier), 0);
}

static void a_timeout_breaks_it_and_is_not_early(void **state)
{
    (void) state;
    const kin_barrier_options options = {.timeout_ms = 70};
    kin_barrier barrier = new_barrier(KIN_BARRIER_MOST_PARTIES, NULL);
    kin_barrier hasty = new_barrier(2, &options);
    assert_int_equal(kin_barrier_parties(barrier), KIN_BARRIER_MOST_PARTIES);
    wait_in_vain(barrier, 0, 0);
    wait_in_vain(barrier, 50, 50);
    wait_in_vain(barrier, 250, 250);
    wait_in_vain(hasty, KIN_FOREVER, 70);
    wait_in_vain(hasty, 20, 20);
    assert_int_equal(kin_barrier_destroy(barrier), 0);
    assert_int_equal(kin_barrier_destroy(hasty), 0);
}

/* ---- with others ---- */

static void each_party_has_another_index(void **state)
{
    enum { PARTIES = 4 };
    kin_process processes[PARTIES];
    uint32_t index = MOST;
    unsigned seen = 0;
    (void) state;
    board *b = new_board_for(PARTIES);
    start_parties(b, processes, PARTIES - 1);
    assert_int_equal(kin_barrier_wait(b->barrier, &index, 0), 0);
    assert_int_equal(index, PARTIES - 1);
    end_parties(b, processes, 0, PARTIES - 1, 0);
    for (int i = 0; i < PARTIES - 1; i++) {
        seen |= 1u << b->index[i];
    }
    assert_int_equal(seen, (1u << (PARTIES - 1)) - 1);
    free_board(b);
}

/* All have written before anyone reads, and all have read before anyone writes again. */
static int write_and_read(board *b, uint32_t parties, uint32_t number)
{
    for (uint32_t i = 1; i <= b->rounds; i++) {
        b->slots[number] = i;
        CHECK(kin_barrier_wait(b->barrier, NULL, LONG_MS) == 0);
        for (uint32_t j = 0; j < parties; j++) {
            CHECK(b->slots[j] == i);
        }
        CHECK(kin_barrier_wait(b->barrier, NULL, LONG_MS) == 0);
    }
    return 0;
}

enum { THREADS = 4 };

static void be_thread(void *argument, unsigned number)
{
    board *b = argument;
    if (write_and_read(b, THREADS, number) != 0) {
        atomic_fetch_add(&b->failures, 1);
    }
}

static int be_process(void *argument, size_t size)
{
    place p;
    CHECK(size == sizeof p);
    memcpy(&p, argument, sizeof p);
    return write_and_read(arena_at(p.board), 2, p.number);
}

static void nobody_is_a_round_ahead(void **state)
{
    (void) state;
    board *b = new_board_for(THREADS);
    b->rounds = 1000;
    system_run_threads(THREADS, be_thread, b);
    assert_int_equal(b->failures, 0);
    free_board(b);

    b = new_board_for(2);
    b->rounds = 1000;
    place p = {arena_offset(b), 1, 0};
    kin_process process = start(be_process, &p, sizeof p);
    assert_int_equal(write_and_read(b, 2, 0), 0);
    assert_int_equal(end_of(process), 0);
    free_board(b);
}

/* More threads than parties: whoever comes is taken, an even number of times in all. */
static void come_and_go(void *argument, unsigned number)
{
    board *b = argument;
    (void) number;
    while (atomic_fetch_add(&b->go, 1) < b->rounds) {
        if (kin_barrier_wait(b->barrier, NULL, LONG_MS) != 0) {
            atomic_fetch_add(&b->failures, 1);
        }
    }
}

static int count_acts(void *argument, size_t size)
{
    uint64_t offset;
    CHECK(size == sizeof offset);
    memcpy(&offset, argument, sizeof offset);
    board *b = arena_at(offset);
    atomic_fetch_add(&b->acts, 1);
    return 1; /* not negative */
}

static void act_on(board *b, uint32_t parties, kin_barrier_action action)
{
    uint64_t offset = arena_offset(b);
    const kin_barrier_options options = {
        .action = action, .argument = &offset, .argument_size = sizeof offset};
    b->barrier = new_barrier(parties, &options);
}

static void more_threads_than_parties_share_it(void **state)
{
    (void) state;
    for (int has_action = 0; has_action < 2; has_action++) {
        board *b = new_board();
        if (has_action) {
            act_on(b, 2, count_acts);
        } else {
            b->barrier = new_barrier(2, NULL);
        }
        b->rounds = 4000;
        system_run_threads(2 * THREADS, come_and_go, b);
        assert_int_equal(b->failures, 0);
        assert_int_equal(b->acts, has_action ? 2000 : 0);
        free_board(b);
    }
}

static void an_action_runs_once_for_all(void **state)
{
    enum { PARTIES = 3, ROUNDS = 20 };
    kin_process processes[PARTIES - 1];
    (void) state;
    board *b = new_board();
    act_on(b, PARTIES, count_acts);
    b->rounds = ROUNDS;
    for (uint32_t i = 0; i < PARTIES - 1; i++) {
        processes[i] = start_party(b, i);
    }
    for (uint32_t i = 1; i <= ROUNDS; i++) {
        assert_int_equal(kin_barrier_wait(b->barrier, NULL, LONG_MS), 0);
        uint32_t acts = atomic_load(&b->acts);
        assert_true(acts == i); /* no next one without this party */
    }
    end_parties(b, processes, 0, PARTIES - 1, 0);
    free_board(b);
}

static int fail_to_act(void *argument, size_t size)
{
    (void) argument, (void) size;
    return -4711;
}

static void an_action_that_fails_breaks_it(void **state)
{
    kin_process process;
    (void) state;
    board *b = new_board();
    act_on(b, 2, fail_to_act);
    start_parties(b, &process, 1);
    assert_int_equal(kin_barrier_wait(b->barrier, NULL, LONG_MS), -4711);
    end_parties(b, &process, 0, 1, KIN_E_BROKEN);
    assert_int_equal(kin_barrier_is_broken(b->barrier), 1);
    free_board(b);
}

static int wait_again(void *argument, size_t size)
{
    uint64_t offset;
    CHECK(size == sizeof offset);
    memcpy(&offset, argument, sizeof offset);
    board *b = arena_at(offset);
    CHECK(kin_barrier_n_waiting(b->barrier) == 1);
    return kin_barrier_wait(b->barrier, NULL, 0) == KIN_E_STATE ? 0 : -1;
}

static void an_action_may_not_wait_at_a_barrier(void **state)
{
    (void) state;
    board *b = new_board();
    act_on(b, 1, wait_again);
    assert_int_equal(kin_barrier_wait(b->barrier, NULL, 0), 0);
    assert_int_equal(kin_barrier_wait(b->barrier, NULL, 0), 0);
    free_board(b);
}

/* Runs until it is told, and waits for other things meanwhile. */
static int act_long(void *argument, size_t size)
{
    uint64_t offset;
    kin_condition condition;
    CHECK(size == sizeof offset);
    memcpy(&offset, argument, sizeof offset);
    board *b = arena_at(offset);
    CHECK(kin_condition_create(&condition, NULL) == 0);
    CHECK(kin_condition_acquire(condition, 0) == 0);
    CHECK(kin_condition_wait(condition, 1) == KIN_E_TIMEOUT);
    CHECK(kin_condition_release(condition) == 0);
    CHECK(kin_condition_destroy(condition) == 0);
    mark_add(&b->acting);
    while (atomic_load(&b->go) == 0) {
        (void) kin_sleep(1);
    }
    return 0;
}

static void who_comes_during_the_action_waits_for_the_next(void **state)
{
    enum { PARTIES = 2 };
    kin_process processes[PARTIES + 1];
    (void) state;
    board *b = new_board();
    act_on(b, PARTIES, act_long);
    for (uint32_t i = 0; i < PARTIES; i++) {
        processes[i] = start_party(b, i);
    }
    assert_true(mark_await(&b->acting, 1));
    assert_int_equal(kin_barrier_n_waiting(b->barrier), PARTIES);
    assert_int_equal(kin_barrier_wait(b->barrier, NULL, 10), KIN_E_TIMEOUT);
    assert_int_equal(kin_barrier_is_broken(b->barrier), 0);
    processes[PARTIES] = start_party(b, PARTIES);
    atomic_store(&b->go, 1);
    end_parties(b, processes, 0, PARTIES, 0);
    assert_int_equal(kin_barrier_wait(b->barrier, NULL, LONG_MS), 0);
    end_parties(b, processes, PARTIES, 1, 0);
    free_board(b);
}

static void a_timeout_or_an_abort_or_a_reset_breaks_it_for_others(void **state)
{
    enum { PARTIES = 4, WAITERS = 2, WAYS = 3 };
    kin_process processes[WAITERS];
    (void) state;
    for (int way = 0; way < WAYS; way++) {
        board *b = new_board_for(PARTIES);
        start_parties(b, processes, WAITERS);
        if (way == 0) {
            assert_int_equal(kin_barrier_wait(b->barrier, NULL, 0), KIN_E_TIMEOUT);
        } else if (way == 1) {
            assert_int_equal(kin_barrier_abort(b->barrier), 0);
        } else {
            assert_int_equal(kin_barrier_reset(b->barrier), 0);
        }
        assert_int_equal(kin_barrier_is_broken(b->barrier), way != 2);
        end_parties(b, processes, 0, WAITERS, KIN_E_BROKEN);
        if (way != 2) {
            assert_int_equal(kin_barrier_wait(b->barrier, NULL, LONG_MS), KIN_E_BROKEN);
            assert_int_equal(kin_barrier_reset(b->barrier), 0);
        }
        kin_process again[PARTIES - 1];
        start_parties(b, again, PARTIES - 1);
        assert_int_equal(kin_barrier_wait(b->barrier, NULL, LONG_MS), 0);
        end_parties(b, again, 0, PARTIES - 1, 0);
        free_board(b);
    }
}

/* A waiter that finds its cycle over for long: as if it had been stopped meanwhile. */
static void who_looks_late_learns_how_its_own_cycle_ended(void **state)
{
    (void) state;
    for (unsigned late = 1; late <= 12; late += 11) {
        for (uint64_t broken = 0; broken < 2; broken++) {
            kin_process process;
            board *b = new_board_for(2);
            sync *s = sync_find(b->barrier.id, KIND_BARRIER);
            start_parties(b, &process, 1);
            uint64_t now = atomic_load(&s->state);
            uint64_t others = (broken ^ 1) * 0xfff;
            uint64_t history = (others & ~(UINT64_C(1) << (late - 1))) | broken << (late - 1);
            atomic_store(&s->state,
                         (now & SYNC_MASK) | ((now >> 32) + late) << 32 | (history & 0xfff) << 52);
            (void) line_wake(&s->line, LINE_ALL);
            end_parties(b, &process, 0, 1, broken ? KIN_E_BROKEN : 0);
            free_board(b);
        }
    }
}

static void those_who_wait_learn_that_it_is_destroyed(void **state)
{
    enum { WAITERS = 3 };
    kin_process processes[WAITERS];
    (void) state;
    board *b = new_board_for(WAITERS + 1);
    start_parties(b, processes, WAITERS);
    assert_int_equal(kin_barrier_destroy(b->barrier), 0);
    end_parties(b, processes, 0, WAITERS, KIN_E_DESTROYED);
    use_in_vain(b->barrier);
    shared_free(b);
}

static int create_and_go(void *argument, size_t size)
{
    uint64_t offset;
    CHECK(size == sizeof offset);
    memcpy(&offset, argument, sizeof offset);
    board *b = arena_at(offset);
    const kin_barrier_options options = {
        .action = count_acts, .argument = &offset, .argument_size = sizeof offset};
    return kin_barrier_create(&b->barrier, 2, &options);
}

static void a_barrier_outlives_its_creator(void **state)
{
    kin_process process;
    (void) state;
    board *b = new_board();
    uint64_t offset = arena_offset(b);
    assert_int_equal(end_of(start(create_and_go, &offset, sizeof offset)), 0);
    start_parties(b, &process, 1);
    assert_int_equal(kin_barrier_wait(b->barrier, NULL, LONG_MS), 0);
    end_parties(b, &process, 0, 1, 0);
    assert_int_equal(b->acts, 1);
    free_board(b);
}

/* ---- deaths ---- */

/* The dead one's parent may have noticed or not: the others look for themselves. */
static void the_death_of_one_who_waits_breaks_it(void **state)
{
    enum { WAITERS = 3 };
    kin_process processes[WAITERS];
    (void) state;
    for (uint32_t victim = 0; victim < WAITERS; victim++) {
        board *b = new_board_for(WAITERS + 1);
        start_parties(b, processes, WAITERS);
        int64_t died = kin_clock_ns();
        system_kill(kin_process_pid(processes[victim]));
        for (uint32_t i = 0; i < WAITERS; i++) {
            if (i != victim) {
                end_parties(b, processes, i, 1, KIN_E_BROKEN);
                print_message("%lld ms\n", (long long) ((int64_t) b->told[i] - died) / MS);
            }
        }
        assert_int_not_equal(end_of(processes[victim]), 0);
        assert_int_equal(kin_barrier_is_broken(b->barrier), 1);
        assert_int_equal(kin_barrier_wait(b->barrier, NULL, LONG_MS), KIN_E_BROKEN);
        assert_int_equal(kin_barrier_reset(b->barrier), 0);
        start_parties(b, processes, WAITERS);
        assert_int_equal(kin_barrier_wait(b->barrier, NULL, LONG_MS), 0);
        end_parties(b, processes, 0, WAITERS, 0);
        free_board(b);
    }
}

static void a_death_in_the_action_breaks_it(void **state)
{
    enum { PARTIES = 3 };
    kin_process processes[PARTIES];
    (void) state;
    board *b = new_board();
    act_on(b, PARTIES, act_long);
    start_parties(b, processes, PARTIES - 1);
    processes[PARTIES - 1] = start_party(b, PARTIES - 1);
    assert_true(mark_await(&b->acting, 1));
    system_kill(kin_process_pid(processes[PARTIES - 1]));
    end_parties(b, processes, 0, PARTIES - 1, KIN_E_BROKEN);
    assert_int_not_equal(end_of(processes[PARTIES - 1]), 0);
    free_board(b);
}

/* One that has been through leaves nothing behind, and what is over is not broken. */
static void a_death_after_the_barrier_does_not_break_it(void **state)
{
    kin_process process;
    (void) state;
    board *b = new_board_for(2);
    start_parties(b, &process, 1);
    assert_int_equal(kin_barrier_wait(b->barrier, NULL, LONG_MS), 0);
    assert_int_equal(kin_process_kill(process), 0);
    (void) end_of(process);
    assert_int_equal(kin_barrier_is_broken(b->barrier), 0);
    assert_int_equal(kin_barrier_n_waiting(b->barrier), 0);
    free_board(b);
}

/* Processes meet again and again while they are killed: the others are told, and meet again after a
   reset. */
static int meet_until_stopped(void *argument, size_t size)
{
    place p;
    CHECK(size == sizeof p);
    memcpy(&p, argument, sizeof p);
    board *b = arena_at(p.board);
    while (atomic_load(&b->go) == 0) {
        int status = kin_barrier_wait(b->barrier, NULL, LONG_MS);
        CHECK(status == 0 || status == KIN_E_BROKEN);
        atomic_fetch_add(&b->index[p.number], status == 0);
        if (status == KIN_E_BROKEN) {
            (void) kin_sleep(1); /* until somebody resets it */
        }
    }
    return 0;
}

static void those_who_are_left_meet_again(void **state)
{
    enum { PARTIES = 3, DEATHS = 8 };
    kin_process processes[PARTIES];
    uint64_t seed = 4711;
    (void) state;
    board *b = new_board_for(PARTIES);
    for (uint32_t i = 0; i < PARTIES; i++) {
        place p = {arena_offset(b), i, 0};
        processes[i] = start(meet_until_stopped, &p, sizeof p);
    }
    for (int death = 0; death <= DEATHS; death++) {
        uint32_t met = atomic_load(&b->index[0]);
        int64_t until = wait_deadline(LONG_MS);
        while (atomic_load(&b->index[0]) - met < 10) {
            assert_true(kin_clock_ns() < until);
            assert_int_equal(kin_sleep(1), 0);
        }
        if (death == DEATHS) {
            break;
        }
        uint32_t victim = next_random(&seed) % PARTIES;
        system_kill(kin_process_pid(processes[victim]));
        until = wait_deadline(LONG_MS);
        while (kin_barrier_is_broken(b->barrier) == 0 && kin_barrier_n_waiting(b->barrier) < 2) {
            assert_true(kin_clock_ns() < until);
        }
        assert_int_not_equal(end_of(processes[victim]), 0);
        place p = {arena_offset(b), victim, 0};
        processes[victim] = start(meet_until_stopped, &p, sizeof p);
        if (kin_barrier_is_broken(b->barrier)) {
            assert_int_equal(kin_barrier_reset(b->barrier), 0);
        }
    }
    atomic_store(&b->go, 1);
    assert_int_equal(kin_barrier_abort(b->barrier), 0);
    for (uint32_t i = 0; i < PARTIES; i++) {
        assert_int_equal(end_of(processes[i]), 0);
    }
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
        CLEAN_TEST(one_party_never_waits),
        CLEAN_TEST(a_timeout_breaks_it_and_is_not_early),
        CLEAN_TEST(each_party_has_another_index),
        CLEAN_TEST(nobody_is_a_round_ahead),
        CLEAN_TEST(more_threads_than_parties_share_it),
        CLEAN_TEST(an_action_runs_once_for_all),
        CLEAN_TEST(an_action_that_fails_breaks_it),
        CLEAN_TEST(an_action_may_not_wait_at_a_barrier),
        CLEAN_TEST(who_comes_during_the_action_waits_for_the_next),
        CLEAN_TEST(a_timeout_or_an_abort_or_a_reset_breaks_it_for_others),
        CLEAN_TEST(who_looks_late_learns_how_its_own_cycle_ended),
        CLEAN_TEST(those_who_wait_learn_that_it_is_destroyed),
        CLEAN_TEST(a_barrier_outlives_its_creator),
        CLEAN_TEST(the_death_of_one_who_waits_breaks_it),
        CLEAN_TEST(a_death_in_the_action_breaks_it),
        CLEAN_TEST(a_death_after_the_barrier_does_not_break_it),
        CLEAN_TEST(those_who_are_left_meet_again),
    };
    return cmocka_run_group_tests(tests, warm_up, NULL);
}
