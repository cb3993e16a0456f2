/* Queues that know who has what: items that have to be done, and those that come back when the one
   that has them dies. */
#include "support.h"
#include "support_queue.h"

#include <stdlib.h>
#include <string.h>

enum { ITEMS = 6, LARGE = 100000, EACH = 300, WORKERS = 4, THREADS = 4, HUGE = 1 << 20 };

/* What a test and its children share. */
typedef struct board {
    kin_queue queue;
    kin_queue other;
    mark arrived;
    mark go;
    uint32_t count; /* items that a child gets */
    uint32_t way;   /* in which it gets them */
    _Atomic uint64_t got;
    _Atomic uint32_t wrong;
    _Atomic unsigned char met[WORKERS * EACH];
} board;

enum { BY_GET, BY_TAKE, BY_MANY, BY_ALL, WAYS };

static const kin_queue_options joinable = {.joinable = true};
static const kin_queue_options redeliver = {.redeliver = true};

static kin_queue new_queue(const kin_queue_options *options)
{
    kin_queue q = {0};
    assert_int_equal(kin_queue_create(&q, options), 0);
    return q;
}

static board *new_board(const kin_queue_options *options)
{
    board *b = shared_new(sizeof *b);
    b->queue = new_queue(options);
    return b;
}

static void free_board(board *b)
{
    assert_int_equal(atomic_load(&b->wrong), 0);
    assert_int_equal(kin_queue_destroy(b->queue), 0);
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

static size_t size_of(uint64_t number)
{
    static const size_t sizes[] = {ITEM_LEAST, 120, 121, 4000, LARGE};
    return sizes[number % 5];
}

static void put(kin_queue q, uint64_t first, uint64_t count)
{
    static unsigned char item[LARGE];
    for (uint64_t i = first; i < first + count; i++) {
        item_fill(item, size_of(i), 1, i);
        assert_int_equal(kin_queue_put(q, item, size_of(i), LONG_MS), 0);
    }
}

/* Gets the next one, which is that, and has been delivered so often; and is done with it. */
static void see(kin_queue q, uint64_t number, uint32_t deliveries)
{
    kin_message m;
    assert_int_equal(kin_queue_take(q, &m, LONG_MS), 0);
    assert_int_equal(m.size, size_of(number));
    assert_true(item_is(m.data, m.size, 1, number));
    assert_int_equal(m.deliveries, deliveries);
    assert_int_equal(kin_queue_release(&m), 0);
}

static void get(kin_queue q, uint64_t number)
{
    static unsigned char item[LARGE];
    size_t size = 0;
    assert_int_equal(kin_queue_get(q, item, sizeof item, &size, 0), 0);
    assert_true(size == size_of(number) && item_is(item, size, 1, number));
}

/* ---- done ---- */

static void a_join_ends_when_all_items_are_done(void **state)
{
    (void) state;
    const kin_queue_options *const options[] = {&joinable, &redeliver};
    for (int i = 0; i < 2; i++) {
        kin_queue q = new_queue(options[i]);
        assert_int_equal(kin_queue_join(q, KIN_FOREVER), 0);
        assert_int_equal(kin_queue_task_done(q), KIN_E_STATE);
        put(q, 0, ITEMS);
        for (uint64_t k = 0; k < ITEMS; k++) {
            assert_int_equal(kin_queue_join(q, 0), KIN_E_TIMEOUT);
            get(q, k);
        }
        assert_int_equal(kin_queue_size(q), 0);
        for (int k = 0; k < ITEMS; k++) {
            assert_int_equal(kin_queue_join(q, 1), KIN_E_TIMEOUT);
            assert_int_equal(kin_queue_task_done(q), 0);
        }
        assert_int_equal(kin_queue_join(q, KIN_FOREVER), 0);
        assert_int_equal(kin_queue_task_done(q), KIN_E_STATE);
        put(q, 0, 1);
        assert_int_equal(kin_queue_join(q, 0), KIN_E_TIMEOUT);
        get(q, 0);
        assert_int_equal(kin_queue_task_done(q), 0);
        assert_int_equal(kin_queue_join(q, 0), 0);
        assert_int_equal(kin_queue_destroy(q), 0);
    }
}

static void a_message_is_done_when_it_is_released(void **state)
{
    (void) state;
    const kin_queue_options *const options[] = {&joinable, &redeliver};
    for (int i = 0; i < 2; i++) {
        kin_queue q = new_queue(options[i]);
        kin_queue other = new_queue(NULL);
        kin_message first;
        kin_message second;
        kin_message reserved;
        put(q, 0, 2);
        assert_int_equal(kin_queue_take(q, &first, 0), 0);
        assert_int_equal(kin_queue_take(q, &second, 0), 0);
        assert_int_equal(kin_queue_task_done(q), KIN_E_STATE); /* not for messages */
        assert_int_equal(kin_queue_release(&second), 0);
        assert_int_equal(kin_queue_join(q, 0), KIN_E_TIMEOUT);
        assert_int_equal(kin_queue_put_message(other, &first, 0), 0); /* so it is by this */
        assert_int_equal(kin_queue_join(q, KIN_FOREVER), 0);
        see(other, 0, 1);
        assert_int_equal(kin_queue_reserve(q, &reserved, 10, 0), 0);
        assert_int_equal(kin_queue_join(q, KIN_FOREVER), 0); /* not put yet */
        assert_int_equal(kin_queue_release(&reserved), 0);
        assert_int_equal(kin_queue_join(q, KIN_FOREVER), 0);
        assert_int_equal(kin_queue_destroy(q), 0);
        assert_int_equal(kin_queue_destroy(other), 0);
    }
}

static void batches_are_done_one_by_one(void **state)
{
    (void) state;
    kin_queue q = new_queue(&joinable);
    unsigned char data[3][200];
    kin_buffer items[3];
    size_t done = 0;
    for (int i = 0; i < 3; i++) {
        items[i] = (kin_buffer){data[i], sizeof data[i]};
        memset(data[i], i, sizeof data[i]);
    }
    assert_int_equal(kin_queue_put_many(q, items, 3, &done, 0), 0);
    assert_int_equal(kin_queue_get_many(q, items, 3, &done, 0), 0);
    assert_int_equal(done, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(kin_queue_join(q, 0), KIN_E_TIMEOUT);
        assert_int_equal(kin_queue_task_done(q), 0);
    }
    assert_int_equal(kin_queue_join(q, 0), 0);
    assert_int_equal(kin_queue_destroy(q), 0);
}

static void other_queues_have_nothing_to_be_done(void **state)
{
    (void) state;
    kin_queue q = new_queue(NULL);
    put(q, 0, 1);
    get(q, 0);
    assert_int_equal(kin_queue_task_done(q), KIN_E_STATE);
    assert_int_equal(kin_queue_join(q, 0), KIN_E_STATE);
    assert_int_equal(kin_queue_join(q, KIN_FOREVER), KIN_E_STATE);
    assert_int_equal(kin_queue_destroy(q), 0);
    kin_message m;
    q = new_queue(&joinable);
    put(q, 0, 1);
    assert_int_equal(kin_queue_take(q, &m, 0), 0);
    assert_int_equal(kin_queue_return(&m), KIN_E_STATE);
    assert_int_equal(kin_queue_release(&m), 0);
    assert_int_equal(kin_queue_destroy(q), 0);
}

static int join_once(void *argument, size_t size)
{
    (void) size;
    board *b = board_of(argument);
    mark_add(&b->arrived);
    return -kin_queue_join(b->queue, LONG_MS);
}

static void those_who_join_are_told(void **state)
{
    (void) state;
    board *b = new_board(&joinable);
    for (int i = 0; i < 2; i++) {
        put(b->queue, 0, 1);
        kin_process joiners[2] = {start_on(join_once, b), start_on(join_once, b)};
        assert_true(await_queue_sleepers(2));
        get(b->queue, 0);
        if (i == 0) {
            assert_int_equal(kin_queue_task_done(b->queue), 0);
        } else {
            assert_int_equal(kin_queue_destroy(b->queue), 0);
        }
        for (int k = 0; k < 2; k++) {
            assert_int_equal(end_of(joiners[k]), i == 0 ? 0 : -KIN_E_DESTROYED);
        }
    }
    assert_int_equal(kin_queue_task_done(b->queue), KIN_E_HANDLE);
    shared_free(b);
}

/* ---- deaths ---- */

/* Gets some in one of the ways, and stays until it is killed or told to go. */
static int get_and_stay(void *argument, size_t unused)
{
    (void) unused;
    board *b = board_of(argument);
    static unsigned char data[ITEMS][LARGE];
    kin_buffer items[ITEMS];
    kin_message m;
    size_t done = 0;
    for (uint32_t i = 0; i < b->count; i += (uint32_t) done) {
        uint32_t way = b->way == BY_ALL ? i % 2 : b->way;
        done = 1;
        if (way == BY_GET) {
            CHECK(kin_queue_get(b->queue, data[0], LARGE, NULL, LONG_MS) == 0);
        } else if (way == BY_TAKE) {
            CHECK(kin_queue_take(b->queue, &m, LONG_MS) == 0);
        } else {
            for (size_t k = 0; k < ITEMS; k++) {
                items[k] = (kin_buffer){data[k], LARGE};
            }
            CHECK(kin_queue_get_many(b->queue, items, b->count - i, &done, LONG_MS) == 0);
        }
    }
    mark_add(&b->arrived);
    return mark_await(&b->go, 1) ? 0 : CHILD_FAILED;
}

/* A board with so many items, of which a child has so many. */
static board *board_with_holder(const kin_queue_options *options, uint32_t way, uint32_t count,
                                kin_process *holder)
{
    board *b = new_board(options);
    b->way = way;
    b->count = count;
    put(b->queue, 0, ITEMS);
    *holder = start_on(get_and_stay, b);
    assert_true(mark_await(&b->arrived, 1));
    assert_int_equal(kin_queue_size(b->queue), ITEMS - (int) count);
    return b;
}

static void what_the_dead_had_is_done(void **state)
{
    (void) state;
    kin_process holder;
    for (uint32_t way = 0; way < WAYS; way++) {
        board *b = board_with_holder(&joinable, way, 3, &holder);
        for (uint64_t i = 3; i < ITEMS; i++) {
            see(b->queue, i, 1);
        }
        assert_int_equal(kin_queue_join(b->queue, 1), KIN_E_TIMEOUT);
        if (way % 2 == 0) {
            assert_int_equal(kin_process_kill(holder), 0);
        } else {
            mark_add(&b->go); /* also when it ends as it should */
        }
        assert_int_equal(kin_queue_join(b->queue, LONG_MS), 0); /* nobody has joined it */
        assert_int_equal(end_of(holder), way % 2 == 0 ? -KIN_SIGKILL : 0);
        assert_int_equal(kin_queue_size(b->queue), 0);
        free_board(b);
    }
}

static void what_the_dead_had_comes_next(void **state)
{
    (void) state;
    kin_process holder;
    for (uint32_t way = 0; way < WAYS; way++) {
        for (uint32_t count = 1; count <= ITEMS; count += 2) {
            board *b = board_with_holder(&redeliver, way, count, &holder);
            if (way % 2 == 0) {
                kill_and_close(holder);
            } else {
                mark_add(&b->go);
                assert_int_equal(end_of(holder), 0);
            }
            for (uint64_t i = 0; i < ITEMS; i++) {
                see(b->queue, i, i < count ? 2 : 1);
            }
            assert_int_equal(kin_queue_size(b->queue), 0);
            assert_int_equal(kin_queue_join(b->queue, 0), 0);
            free_board(b);
        }
    }
}

static int take_number_zero(void *argument, size_t size)
{
    (void) size;
    board *b = board_of(argument);
    kin_message m;
    CHECK(kin_queue_take(b->queue, &m, LONG_MS) == 0);
    CHECK(item_is(m.data, m.size, 1, 0));
    CHECK(m.deliveries == 2);
    return -kin_queue_release(&m);
}

/* Nobody else looks after the dead. */
static void one_who_waits_gets_what_the_dead_had(void **state)
{
    (void) state;
    board *b = new_board(&redeliver);
    b->count = 1;
    put(b->queue, 0, 1);
    kin_process holder = start_on(get_and_stay, b);
    assert_true(mark_await(&b->arrived, 1));
    kin_process waiter = start_on(take_number_zero, b);
    assert_true(await_queue_sleepers(1));
    assert_int_equal(kin_process_kill(holder), 0);
    assert_int_equal(end_of(waiter), 0);
    assert_int_equal(kin_queue_join(b->queue, LONG_MS), 0);
    assert_int_equal(end_of(holder), -KIN_SIGKILL);
    free_board(b);
}

static void it_comes_back_to_a_queue_that_is_closed(void **state)
{
    (void) state;
    kin_process holder;
    kin_message m;
    board *b = board_with_holder(&redeliver, BY_GET, ITEMS, &holder);
    assert_int_equal(kin_queue_close(b->queue), 0);
    assert_int_equal(kin_queue_take(b->queue, &m, 0), KIN_E_CLOSED);
    kill_and_close(holder);
    for (uint64_t i = 0; i < ITEMS; i++) {
        see(b->queue, i, 2);
    }
    assert_int_equal(kin_queue_take(b->queue, &m, 0), KIN_E_CLOSED);
    free_board(b);
}

static void nothing_comes_back_to_one_that_is_destroyed(void **state)
{
    (void) state;
    const kin_queue_options *const options[] = {&joinable, &redeliver};
    for (uint32_t way = 0; way < WAYS; way++) {
        kin_process holder;
        board *b = board_with_holder(options[way % 2], way, 3, &holder);
        assert_int_equal(kin_queue_destroy(b->queue), 0);
        kin_queue next = new_queue(options[way % 2]);
        kill_and_close(holder);
        assert_int_equal(kin_queue_size(next), 0);
        assert_int_equal(kin_queue_destroy(next), 0);
        shared_free(b);
    }
}

static void what_is_done_does_not_come_back(void **state)
{
    (void) state;
    kin_process holder;
    board *b = board_with_holder(&redeliver, BY_TAKE, 2, &holder);
    kin_message m;
    get(b->queue, 2);
    get(b->queue, 3);
    assert_int_equal(kin_queue_take(b->queue, &m, 0), 0);
    assert_int_equal(kin_queue_task_done(b->queue), 0); /* the one that it has had longest */
    assert_int_equal(kin_queue_release(&m), 0);
    kill_and_close(holder);
    see(b->queue, 0, 2);
    see(b->queue, 1, 2);
    see(b->queue, 5, 1);
    assert_int_equal(kin_queue_join(b->queue, 0), KIN_E_TIMEOUT);
    assert_int_equal(kin_queue_task_done(b->queue), 0);
    assert_int_equal(kin_queue_task_done(b->queue), KIN_E_STATE);
    assert_int_equal(kin_queue_join(b->queue, 0), 0);
    free_board(b);
}

static int get_three_and_do_two(void *argument, size_t unused)
{
    (void) unused;
    board *b = board_of(argument);
    static unsigned char item[LARGE];
    for (int i = 0; i < 3; i++) {
        CHECK(kin_queue_get(b->queue, item, sizeof item, NULL, LONG_MS) == 0);
    }
    CHECK(kin_queue_task_done(b->queue) == 0);
    CHECK(kin_queue_task_done(b->queue) == 0);
    return 0;
}

static void the_oldest_is_done_first(void **state)
{
    (void) state;
    board *b = new_board(&redeliver);
    put(b->queue, 0, ITEMS);
    assert_int_equal(end_of(start_on(get_three_and_do_two, b)), 0);
    see(b->queue, 2, 2);
    see(b->queue, 3, 1);
    free_board(b);
}

/* ---- given back ---- */

static void what_is_returned_comes_next(void **state)
{
    (void) state;
    const kin_queue_options lifo = {.redeliver = true, .order = KIN_QUEUE_LIFO};
    const kin_queue_options sorted = {.redeliver = true, .order = KIN_QUEUE_PRIORITY};
    const kin_queue_options *const options[] = {&redeliver, &lifo, &sorted};
    for (int i = 0; i < 3; i++) {
        kin_queue q = new_queue(options[i]);
        kin_message m;
        for (uint64_t k = 0; k < ITEMS; k++) {
            put(q, i == 1 ? ITEMS - 1 - k : k, 1);
        }
        for (uint32_t times = 1; times < 5; times++) {
            assert_int_equal(kin_queue_take(q, &m, 0), 0);
            assert_true(item_is(m.data, m.size, 1, 0));
            assert_int_equal(m.deliveries, times);
            assert_int_equal(kin_queue_return(&m), 0);
            assert_int_equal(kin_queue_size(q), ITEMS);
            assert_int_equal(kin_queue_join(q, 0), KIN_E_TIMEOUT);
        }
        for (uint64_t k = 0; k < ITEMS; k++) {
            see(q, k, k == 0 ? 5 : 1);
        }
        assert_int_equal(kin_queue_join(q, 0), 0);
        assert_int_equal(kin_queue_destroy(q), 0);
    }
}

static void an_item_is_not_delivered_more_often_than_wanted(void **state)
{
    (void) state;
    for (int letters = 0; letters < 4; letters++) {
        const kin_queue_options full = {.capacity = 1};
        kin_queue_options three = {.redeliver = true, .max_deliveries = 3};
        kin_queue dead = new_queue(&full);
        kin_message m;
        if (letters > 0) {
            three.dead_letters = dead;
        }
        kin_queue q = new_queue(&three);
        assert_int_equal(kin_queue_put(dead, NULL, 0, 0), 0); /* whatever its bounds */
        put(q, 0, 2);
        for (uint32_t i = 1; i <= 3; i++) {
            assert_int_equal(kin_queue_take(q, &m, 0), 0);
            assert_true(item_is(m.data, m.size, 1, 0));
            assert_int_equal(m.deliveries, i);
            if (i == 3 && letters == 2) {
                assert_int_equal(kin_queue_close(dead), 0);
            } else if (i == 3 && letters == 3) {
                assert_int_equal(kin_queue_destroy(dead), 0);
            }
            assert_int_equal(kin_queue_return(&m), 0);
        }
        see(q, 1, 1);
        assert_int_equal(kin_queue_size(q), 0);
        assert_int_equal(kin_queue_join(q, LONG_MS), 0);
        if (letters < 3) {
            assert_int_equal(kin_queue_size(dead), letters == 1 ? 2 : 1);
            assert_int_equal(kin_queue_take(dead, &m, 0), 0);
            assert_int_equal(kin_queue_release(&m), 0);
            if (letters == 1) {
                assert_int_equal(kin_queue_take(dead, &m, 0), 0);
                assert_true(item_is(m.data, m.size, 1, 0));
                assert_int_equal(kin_queue_release(&m), 0);
            }
            assert_int_equal(kin_queue_destroy(dead), 0);
        }
        assert_int_equal(kin_queue_destroy(q), 0);
    }
}

static void what_kills_all_who_get_it_goes_to_the_dead_letters(void **state)
{
    (void) state;
    kin_queue_options twice = {.redeliver = true, .max_deliveries = 2};
    board *b = shared_new(sizeof *b);
    b->other = new_queue(&redeliver); /* may redeliver as well */
    twice.dead_letters = b->other;
    b->queue = new_queue(&twice);
    b->count = 3;
    put(b->queue, 0, ITEMS);
    for (uint32_t way = 0; way < 2; way++) {
        b->way = way;
        kin_process holder = start_on(get_and_stay, b);
        assert_true(mark_await(&b->arrived, way + 1));
        assert_int_equal(kin_process_kill(holder), 0);
        assert_int_equal(end_of(holder), -KIN_SIGKILL);
    }
    for (uint64_t i = 3; i < ITEMS; i++) {
        see(b->queue, i, 1);
    }
    assert_int_equal(kin_queue_join(b->queue, LONG_MS), 0);
    assert_int_equal(kin_queue_size(b->other), 3);
    for (uint64_t i = 0; i < 3; i++) {
        kin_message m;
        assert_int_equal(kin_queue_take(b->other, &m, 0), 0);
        assert_true(item_is(m.data, m.size, 1, i));
        assert_int_equal(kin_queue_release(&m), 0);
    }
    assert_int_equal(kin_queue_destroy(b->other), 0);
    free_board(b);
}

/* ---- in numbers ---- */

/* Does each item that it gets; threads do so side by side. */
static void do_items(void *argument, unsigned number)
{
    board *b = argument;
    static _Thread_local unsigned char item[LARGE];
    item_mark label;
    int status = 0;
    while (status == 0) {
        size_t size = 0;
        kin_message m;
        if (number % 2 == 0) {
            status = kin_queue_get(b->queue, item, sizeof item, &size, LONG_MS);
        } else if ((status = kin_queue_take(b->queue, &m, LONG_MS)) == 0) {
            size = m.size;
            memcpy(item, m.data, size);
        }
        if (status == 0) {
            bool right = item_is_whole(item, size, &label) && label.number < WORKERS * EACH &&
                         atomic_fetch_add(&b->met[label.number], 1) == 0;
            int done = number % 2 == 0 ? kin_queue_task_done(b->queue) : kin_queue_release(&m);
            atomic_fetch_add(&b->wrong, !right || done != 0);
            atomic_fetch_add(&b->got, 1);
        }
    }
    atomic_fetch_add(&b->wrong, status != KIN_E_CLOSED);
}

static int do_items_in_threads(void *argument, size_t size)
{
    (void) size;
    system_run_threads(THREADS, do_items, board_of(argument));
    return 0;
}

static void many_do_the_items_and_one_waits_for_all(void **state)
{
    (void) state;
    const kin_queue_options bounded = {.joinable = true, .capacity = 20};
    const kin_queue_options *const options[] = {&joinable, &redeliver, &bounded};
    for (int i = 0; i < 3; i++) {
        kin_process workers[WORKERS];
        board *b = new_board(options[i]);
        for (int k = 0; k < WORKERS; k++) {
            workers[k] = start_on(do_items_in_threads, b);
        }
        put(b->queue, 0, (uint64_t) WORKERS * EACH);
        assert_int_equal(kin_queue_join(b->queue, LONG_MS), 0);
        for (int k = 0; k < WORKERS * EACH; k++) {
            assert_int_equal(atomic_load(&b->met[k]), 1);
        }
        assert_int_equal(kin_queue_close(b->queue), 0);
        for (int k = 0; k < WORKERS; k++) {
            assert_int_equal(end_of(workers[k]), 0);
        }
        free_board(b);
    }
}

/* One thread is hasty: it says that an item is done which another is just getting. */
static void get_or_finish(void *argument, unsigned number)
{
    board *b = argument;
    static unsigned char item[2][HUGE];
    size_t size = 0;
    if (number == 0) {
        item_fill(item[0], HUGE, 1, 0);
        int status = kin_queue_get(b->queue, item[0], HUGE, &size, LONG_MS);
        atomic_fetch_add(&b->wrong, status != 0 || !item_is(item[0], size, 1, b->count));
    } else {
        int64_t until = kin_clock_ns() + INT64_C(1000000) * LONG_MS;
        item_fill(item[1], HUGE, 2, 0);
        while (kin_queue_task_done(b->queue) != 0 && kin_clock_ns() < until) {
        }
        atomic_fetch_add(&b->wrong, kin_queue_put(b->queue, item[1], HUGE, LONG_MS) != 0);
        atomic_fetch_add(&b->wrong, kin_queue_get(b->queue, item[1], HUGE, NULL, LONG_MS) != 0);
        atomic_fetch_add(&b->wrong, kin_queue_task_done(b->queue) != 0);
    }
}

static void what_is_done_too_early_is_whole_nevertheless(void **state)
{
    (void) state;
    board *b = new_board(&joinable);
    static unsigned char item[HUGE];
    for (b->count = 0; b->count < 30; b->count++) {
        item_fill(item, HUGE, 1, b->count);
        assert_int_equal(kin_queue_put(b->queue, item, HUGE, 0), 0);
        system_run_threads(2, get_or_finish, b);
        assert_int_equal(atomic_load(&b->wrong), 0);
        assert_int_equal(kin_queue_join(b->queue, 0), 0);
    }
    free_board(b);
}

int main(int argc, char **argv)
{
    if (kin_init(&argc, &argv) < 0) {
        return EXIT_FAILURE;
    }
    const struct CMUnitTest tests[] = {
        CLEAN_TEST(a_join_ends_when_all_items_are_done),
        CLEAN_TEST(a_message_is_done_when_it_is_released),
        CLEAN_TEST(batches_are_done_one_by_one),
        CLEAN_TEST(other_queues_have_nothing_to_be_done),
        CLEAN_TEST(those_who_join_are_told),
        CLEAN_TEST(what_the_dead_had_is_done),
        CLEAN_TEST(what_the_dead_had_comes_next),
        CLEAN_TEST(one_who_waits_gets_what_the_dead_had),
        CLEAN_TEST(it_comes_back_to_a_queue_that_is_closed),
        CLEAN_TEST(nothing_comes_back_to_one_that_is_destroyed),
        CLEAN_TEST(what_is_done_does_not_come_back),
        CLEAN_TEST(the_oldest_is_done_first),
        CLEAN_TEST(what_is_returned_comes_next),
        CLEAN_TEST(an_item_is_not_delivered_more_often_than_wanted),
        CLEAN_TEST(what_kills_all_who_get_it_goes_to_the_dead_letters),
        CLEAN_TEST(what_is_done_too_early_is_whole_nevertheless),
        CLEAN_TEST(many_do_the_items_and_one_waits_for_all),
    };
    return cmocka_run_group_tests(tests, warm_up, NULL);
}
