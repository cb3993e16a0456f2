/* kin/wait.h: waiting for any or all of several things, and what deaths make of it. */
#include "support.h"

#include <stdlib.h>
#include <string.h>

enum { MS = 1000000, MANY = 2000, CHILDREN = 4, THREADS = 4, ROUNDS = 500 };

/* What children and tests share. */
typedef struct board {
    kin_event event;
    kin_semaphore semaphore;
    kin_process process;
    mark arrived;
    mark through;
    int32_t status;
    int32_t ready[3];
    bool all;
    _Atomic uint32_t wrong;
} board;

static board *new_board(const kin_event_options *options)
{
    const kin_semaphore_options empty = {.empty = true};
    board *b = shared_new(sizeof *b);
    assert_int_equal(kin_event_create(&b->event, options), 0);
    assert_int_equal(kin_semaphore_create(&b->semaphore, &empty), 0);
    return b;
}

static void free_board(board *b)
{
    assert_int_equal(kin_event_destroy(b->event), 0);
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

/* Until so many threads wait for many things. */
static void await_watchers(uint32_t count)
{
    int64_t deadline = wait_deadline(LONG_MS);
    for (;;) {
        uint32_t now = 0;
        for (uint32_t number = 1; number < arena_entries(ARENA_THREADS); number++) {
            now += atomic_load(&thread_at(number)->watches) != 0;
        }
        if (now == count) {
            return;
        }
        assert_true(kin_clock_ns() < deadline);
        assert_int_equal(kin_sleep(1), 0);
    }
}

static void assert_ready(const kin_wait_item *items, int first, int second)
{
    assert_int_equal(items[0].ready, first);
    assert_int_equal(items[1].ready, second);
}

/* ---- alone ---- */

static void what_is_ready_is_told_and_not_taken(void **state)
{
    (void) state;
    const kin_event_options resets_itself = {.auto_reset = true};
    board *b = new_board(&resets_itself);
    kin_wait_item items[] = {{.id = b->event.id, .ready = 77}, {.id = b->semaphore.id}};
    assert_int_equal(kin_wait(items, 2, false, 0), KIN_E_TIMEOUT);
    assert_ready(items, 0, 0);
    assert_int_equal(kin_event_set(b->event), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(kin_wait(items, 2, false, KIN_FOREVER), 0);
        assert_ready(items, 1, 0);
    }
    assert_int_equal(kin_wait(items, 2, true, 0), KIN_E_TIMEOUT);
    assert_int_equal(kin_wait(items, 2, true, 20), KIN_E_TIMEOUT);
    assert_ready(items, 1, 0);
    assert_int_equal(kin_semaphore_release(b->semaphore, 2), 0);
    assert_int_equal(kin_wait(items, 2, true, KIN_FOREVER), 0);
    assert_ready(items, 1, 1);
    assert_int_equal(kin_semaphore_value(b->semaphore), 2);
    assert_int_equal(kin_event_wait(b->event, 0), 0);
    assert_int_equal(kin_wait(items, 2, false, 0), 0);
    assert_ready(items, 0, 1);
    free_board(b);
}

static void bad_arguments_are_told(void **state)
{
    (void) state;
    kin_wait_item item = {0};
    assert_int_equal(kin_wait(NULL, 1, false, 0), KIN_E_INVALID);
    assert_int_equal(kin_wait(NULL, 1, true, 0), KIN_E_INVALID);
    assert_int_equal(kin_wait(NULL, 0, false, 0), KIN_E_INVALID);
    assert_int_equal(kin_wait(&item, 0, false, 0), KIN_E_INVALID);
    assert_int_equal(kin_wait(NULL, 0, true, 0), 0);
}

static void what_cannot_be_waited_for_is_told(void **state)
{
    (void) state;
    board *b = new_board(NULL);
    kin_event gone;
    kin_lock lock;
    assert_int_equal(kin_event_create(&gone, NULL), 0);
    assert_int_equal(kin_event_destroy(gone), 0);
    assert_int_equal(kin_lock_create(&lock, NULL), 0);
    const uint64_t bad[] = {0, 1, UINT64_MAX, gone.id, lock.id, b->event.id + 1};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        kin_wait_item items[] = {{.id = b->event.id}, {.id = bad[i]}};
        assert_int_equal(kin_wait(items, 2, false, KIN_FOREVER), 0);
        assert_ready(items, 0, KIN_E_HANDLE);
        assert_int_equal(kin_wait(items, 2, true, KIN_FOREVER), KIN_E_HANDLE);
        assert_ready(items, 0, KIN_E_HANDLE);
    }
    kin_wait_item self[] = {{.id = b->event.id}, {.id = kin_current_process().id}};
    assert_int_equal(kin_wait(self, 2, false, KIN_FOREVER), 0);
    assert_ready(self, 0, KIN_E_DEADLOCK);
    assert_int_equal(kin_wait(self + 1, 1, true, KIN_FOREVER), KIN_E_DEADLOCK);
    assert_int_equal(kin_lock_destroy(lock), 0);
    free_board(b);
}

static void a_wait_is_never_over_early(void **state)
{
    (void) state;
    board *b = new_board(NULL);
    static const int times[] = {1, 20, 250};
    kin_wait_item items[] = {{.id = b->event.id}, {.id = b->semaphore.id}};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        int64_t before = kin_clock_ns();
        assert_int_equal(kin_wait(items, 2, false, times[i]), KIN_E_TIMEOUT);
        int64_t took = kin_clock_ns() - before;
        assert_true(took >= (int64_t) times[i] * MS);
        print_message("a wait of %d ms took %.3f ms\n", times[i], (double) took / MS);
    }
    free_board(b);
}

/* ---- several processes ---- */

static int wait_on_board(void *argument, size_t size)
{
    (void) size;
    board *b = board_of(argument);
    kin_wait_item items[] = {{.id = b->event.id}, {.id = b->semaphore.id}, {.id = b->process.id}};
    b->status = kin_wait(items, b->process.id != 0 ? 3 : 2, b->all, LONG_MS);
    for (int i = 0; i < 3; i++) {
        b->ready[i] = items[i].ready;
    }
    mark_add(&b->through);
    return 0;
}

static kin_process start_waiter(board *b)
{
    kin_process waiter = start_on(wait_on_board, b);
    await_watchers(1);
    return waiter;
}

static void assert_told(kin_process waiter, const board *b, int first, int second, int third)
{
    assert_int_equal(end_of(waiter), 0);
    assert_int_equal(b->status, 0);
    assert_int_equal(b->ready[0], first);
    assert_int_equal(b->ready[1], second);
    assert_int_equal(b->ready[2], third);
}

static void any_change_ends_a_wait_for_any(void **state)
{
    (void) state;
    board *b = new_board(NULL);
    uint64_t nothing = 0;
    kin_process waiter = start_waiter(b);
    assert_int_equal(kin_event_set(b->event), 0);
    assert_told(waiter, b, 1, 0, 0);
    assert_int_equal(kin_event_clear(b->event), 0);
    waiter = start_waiter(b);
    assert_int_equal(kin_semaphore_release(b->semaphore, 1), 0);
    assert_told(waiter, b, 0, 1, 0);
    assert_int_equal(kin_semaphore_acquire(b->semaphore, 0), 0);
    /* A process that is not the waiter's child. */
    b->process = start(stay, &nothing, sizeof nothing);
    waiter = start_waiter(b);
    assert_int_equal(kin_process_kill(b->process), 0);
    assert_told(waiter, b, 0, 0, 1);
    assert_int_equal(end_of(b->process), -KIN_SIGKILL);
    free_board(b);
}

static void a_wait_for_all_ends_with_the_last(void **state)
{
    (void) state;
    board *b = new_board(NULL);
    uint64_t nothing = 0;
    b->all = true;
    b->process = start(stay, &nothing, sizeof nothing);
    kin_process waiter = start_waiter(b);
    assert_int_equal(kin_event_set(b->event), 0);
    assert_int_equal(kin_process_kill(b->process), 0);
    assert_int_equal(kin_process_join(b->process, LONG_MS), 0);
    assert_int_equal(kin_event_clear(b->event), 0);
    assert_int_equal(kin_semaphore_release(b->semaphore, 1), 0);
    assert_int_equal(atomic_load(&b->through.value), 0);
    await_watchers(1);
    assert_int_equal(kin_event_set(b->event), 0);
    assert_told(waiter, b, 1, 1, 1);
    assert_int_equal(kin_process_close(b->process), 0);
    free_board(b);
}

static void those_who_wait_are_told_what_is_destroyed(void **state)
{
    (void) state;
    for (int i = 0; i < 4; i++) {
        board *b = new_board(NULL);
        b->all = i % 2 != 0;
        kin_process waiter = start_waiter(b);
        assert_int_equal(
            i / 2 == 0 ? kin_event_destroy(b->event) : kin_semaphore_destroy(b->semaphore), 0);
        assert_int_equal(end_of(waiter), 0);
        assert_int_equal(b->status, b->all ? KIN_E_DESTROYED : 0);
        assert_int_equal(b->ready[0], i / 2 == 0 ? KIN_E_DESTROYED : 0);
        assert_int_equal(b->ready[1], i / 2 == 0 ? 0 : KIN_E_DESTROYED);
        if (i / 2 == 0) {
            assert_int_equal(kin_semaphore_destroy(b->semaphore), 0);
        } else {
            assert_int_equal(kin_event_destroy(b->event), 0);
        }
        shared_free(b);
    }
}

static int come_and_end(void *argument, size_t size)
{
    (void) size;
    board *b = board_of(argument);
    mark_add(&b->arrived);
    return kin_event_wait(b->event, LONG_MS);
}

/* Without anything else among them. */
static void processes_alone_are_waited_for(void **state)
{
    (void) state;
    board *b = new_board(NULL);
    kin_wait_item items[CHILDREN + 1];
    for (int i = 0; i < CHILDREN; i++) {
        items[i] = (kin_wait_item){.id = start_on(come_and_end, b).id};
    }
    items[CHILDREN] = items[0]; /* twice */
    assert_true(mark_await(&b->arrived, CHILDREN));
    assert_int_equal(kin_wait(items, CHILDREN + 1, false, 0), KIN_E_TIMEOUT);
    assert_int_equal(kin_wait(items, CHILDREN + 1, true, 5), KIN_E_TIMEOUT);
    assert_int_equal(kin_process_kill((kin_process){items[0].id}), 0);
    assert_int_equal(kin_wait(items, CHILDREN + 1, false, LONG_MS), 0);
    assert_ready(items, 1, 0);
    assert_int_equal(items[CHILDREN].ready, 1);
    assert_int_equal(kin_event_set(b->event), 0);
    assert_int_equal(kin_wait(items, CHILDREN + 1, true, LONG_MS), 0);
    for (int i = 0; i <= CHILDREN; i++) {
        assert_int_equal(items[i].ready, 1);
    }
    for (int i = 0; i < CHILDREN; i++) {
        assert_int_equal(end_of((kin_process){items[i].id}), i == 0 ? -KIN_SIGKILL : 0);
    }
    free_board(b);
}

/* Even with a timeout of 0, when nobody else has looked at it. */
static void a_process_that_has_ended_is_ready(void **state)
{
    (void) state;
    uint64_t nothing = 0;
    board *b = new_board(NULL);
    kin_process process = start(stay, &nothing, sizeof nothing);
    kin_wait_item items[] = {{.id = b->event.id}, {.id = process.id}};
    assert_int_equal(kin_process_kill(process), 0);
    int64_t deadline = wait_deadline(LONG_MS);
    while (kin_wait(items, 2, false, 0) == KIN_E_TIMEOUT) {
        assert_true(kin_clock_ns() < deadline);
    }
    assert_ready(items, 0, 1);
    assert_int_equal(end_of(process), -KIN_SIGKILL);
    free_board(b);
}

static void wait_for_child(void *argument, unsigned number)
{
    board *b = argument;
    kin_wait_item items[] = {{.id = b->event.id}, {.id = b->process.id}, {.id = b->process.id}};
    int status =
        number % 2 == 0 ? kin_wait(items, 3, false, LONG_MS) : kin_wait(items, 3, false, 1);
    bool right = number % 2 == 0 ? status == 0 && items[1].ready == 1 && items[2].ready == 1
                                 : status == KIN_E_TIMEOUT;
    if (!right) {
        atomic_store(&b->wrong, 1);
    }
    mark_add(&b->through);
    if (number % 2 != 0 && mark_await(&b->through, THREADS / 2)) {
        (void) kin_process_kill(b->process);
    }
}

/* One that gives up takes nothing away from the others. */
static void threads_wait_for_the_same_child(void **state)
{
    (void) state;
    uint64_t nothing = 0;
    board *b = new_board(NULL);
    b->process = start(stay, &nothing, sizeof nothing);
    system_run_threads(THREADS, wait_for_child, b);
    assert_int_equal(atomic_load(&b->wrong), 0);
    assert_int_equal(end_of(b->process), -KIN_SIGKILL);
    free_board(b);
}

/* Each hands one permit on, and waits for the next with others in between. */
static void wait_and_take(void *argument, unsigned number)
{
    board *b = argument;
    for (int i = 0; i < ROUNDS; i++) {
        kin_wait_item items[] = {{.id = b->event.id}, {.id = b->semaphore.id}};
        do {
            if (kin_wait(items, 2, false, LONG_MS) != 0 || items[0].ready != 0) {
                atomic_store(&b->wrong, number + 1);
                return;
            }
        } while (kin_semaphore_acquire(b->semaphore, 0) != 0);
        if (kin_semaphore_release(b->semaphore, 1) != 0) {
            atomic_store(&b->wrong, number + 1);
        }
    }
}

static void nothing_is_missed_among_threads(void **state)
{
    (void) state;
    board *b = new_board(NULL);
    assert_int_equal(kin_semaphore_release(b->semaphore, 1), 0);
    system_run_threads(THREADS, wait_and_take, b);
    assert_int_equal(atomic_load(&b->wrong), 0);
    assert_int_equal(kin_semaphore_value(b->semaphore), 1);
    free_board(b);
}

/* ---- many ---- */

typedef struct order {
    uint64_t items; /* offset */
    uint64_t board;
} order;

static uint64_t new_thing(size_t number)
{
    const kin_semaphore_options counted = {.empty = true};
    kin_event event = {0};
    kin_semaphore semaphore = {0};
    if (number % 2 == 0) {
        assert_int_equal(kin_event_create(&event, NULL), 0);
        return event.id;
    }
    assert_int_equal(kin_semaphore_create(&semaphore, &counted), 0);
    return semaphore.id;
}

/* Another process makes one after the other ready. */
static int make_ready(void *argument, size_t size)
{
    order o;
    CHECK(size == sizeof o);
    memcpy(&o, argument, sizeof o);
    const kin_wait_item *items = arena_at(o.items);
    board *b = arena_at(o.board);
    for (size_t i = 0; i < MANY - CHILDREN; i++) {
        bool is_event = i % 2 == 0;
        CHECK((is_event ? kin_event_set((kin_event){items[i].id})
                        : kin_semaphore_release((kin_semaphore){items[i].id}, 1)) == 0);
    }
    CHECK(kin_event_set(b->event) == 0);
    return 0;
}

static void thousands_of_things_are_waited_for(void **state)
{
    (void) state;
    board *b = new_board(NULL);
    kin_wait_item *items = shared_new(MANY * sizeof *items);
    for (size_t i = 0; i < MANY; i++) {
        bool is_child = i >= MANY - CHILDREN;
        items[i].id = is_child ? start_on(come_and_end, b).id : new_thing(i);
    }
    assert_int_equal(kin_wait(items, MANY, false, 0), KIN_E_TIMEOUT);
    assert_int_equal(kin_wait(items, MANY, false, 50), KIN_E_TIMEOUT);
    assert_int_equal(kin_process_kill((kin_process){items[MANY - 1].id}), 0);
    assert_int_equal(kin_wait(items, MANY, false, LONG_MS), 0);
    assert_int_equal(items[MANY - 1].ready, 1);
    for (size_t i = 0; i < MANY - 1; i++) {
        assert_int_equal(items[i].ready, 0);
    }
    order o = {arena_offset(items), arena_offset(b)};
    kin_process other = start(make_ready, &o, sizeof o);
    int64_t before = kin_clock_ns();
    assert_int_equal(kin_wait(items, MANY, true, LONG_MS), 0);
    print_message("all of %d things in %.3f ms\n", MANY, (double) (kin_clock_ns() - before) / MS);
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(items[i].ready, 1);
    }
    assert_int_equal(end_of(other), 0);
    for (size_t i = 0; i < MANY - CHILDREN; i++) {
        assert_int_equal(i % 2 == 0 ? kin_event_destroy((kin_event){items[i].id})
                                    : kin_semaphore_destroy((kin_semaphore){items[i].id}),
                         0);
    }
    for (size_t i = MANY - CHILDREN; i < MANY; i++) {
        assert_int_equal(end_of((kin_process){items[i].id}), i == MANY - 1 ? -KIN_SIGKILL : 0);
    }
    shared_free(items);
    free_board(b);
}

/* ---- deaths ---- */

static void killed_waiters_harm_nobody(void **state)
{
    (void) state;
    board *b = new_board(NULL);
    for (int i = 0; i < 5; i++) {
        kin_process victim = start_waiter(b);
        kin_process waiter = start_on(wait_on_board, b);
        await_watchers(2);
        assert_int_equal(kin_process_kill(victim), 0);
        assert_int_equal(
            i % 2 == 0 ? kin_event_set(b->event) : kin_semaphore_release(b->semaphore, 1), 0);
        assert_int_equal(end_of(waiter), 0);
        assert_int_equal(end_of(victim), -KIN_SIGKILL);
        await_watchers(0);
        assert_int_equal(kin_event_clear(b->event), 0);
        (void) kin_semaphore_acquire(b->semaphore, 0);
    }
    free_board(b);
}

static int take_and_stay(void *argument, size_t size)
{
    (void) size;
    board *b = board_of(argument);
    CHECK(kin_semaphore_acquire(b->semaphore, LONG_MS) == 0);
    mark_add(&b->arrived);
    (void) kin_sleep(KIN_FOREVER);
    return CHILD_FAILED;
}

/* Nobody but the waiter can notice that death: who has started the holder does nothing. */
static void permits_of_the_killed_are_noticed(void **state)
{
    (void) state;
    const kin_semaphore_options owned = {.owned = true};
    board *b = new_board(NULL);
    assert_int_equal(kin_semaphore_destroy(b->semaphore), 0);
    assert_int_equal(kin_semaphore_create(&b->semaphore, &owned), 0);
    kin_process holder = start_on(take_and_stay, b);
    assert_true(mark_await(&b->arrived, 1));
    kin_wait_item items[] = {{.id = b->event.id}, {.id = b->semaphore.id}};
    assert_int_equal(kin_wait(items, 2, false, 0), KIN_E_TIMEOUT);
    kin_process waiter = start_waiter(b);
    assert_int_equal(kin_process_kill(holder), 0);
    assert_told(waiter, b, 0, 1, 0);
    assert_int_equal(end_of(holder), -KIN_SIGKILL);
    free_board(b);
}

static int use_without_kin(int argc, char **argv)
{
    (void) argc, (void) argv;
    kin_wait_item item = {.id = 1};
    return kin_wait(&item, 1, false, 0) == KIN_E_INIT ? 0 : CHILD_FAILED;
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
        CLEAN_TEST(what_is_ready_is_told_and_not_taken),
        CLEAN_TEST(bad_arguments_are_told),
        CLEAN_TEST(what_cannot_be_waited_for_is_told),
        CLEAN_TEST(a_wait_is_never_over_early),
        CLEAN_TEST(any_change_ends_a_wait_for_any),
        CLEAN_TEST(a_wait_for_all_ends_with_the_last),
        CLEAN_TEST(those_who_wait_are_told_what_is_destroyed),
        CLEAN_TEST(processes_alone_are_waited_for),
        CLEAN_TEST(a_process_that_has_ended_is_ready),
        CLEAN_TEST(threads_wait_for_the_same_child),
        CLEAN_TEST(nothing_is_missed_among_threads),
        CLEAN_TEST(thousands_of_things_are_waited_for),
        CLEAN_TEST(killed_waiters_harm_nobody),
        CLEAN_TEST(permits_of_the_killed_are_noticed),
        CLEAN_TEST(without_kin_init_nothing_works),
    };
    return cmocka_run_group_tests(tests, warm_up, NULL);
}
