/* Many threads that get items, and say that these are done. */
#include "support.h"
#include "support_queue.h"

#include <stdlib.h>
#include <string.h>

enum { LARGE = 100000, EACH = 300, WORKERS = 4, THREADS = 4, HUGE = 1 << 20 };

/* What a test and its children share. */
typedef struct board {
    kin_queue queue;
    uint32_t count; /* so many have been done too early */
    _Atomic uint32_t wrong;
    _Atomic unsigned char met[WORKERS * EACH];
} board;

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
        CLEAN_TEST(what_is_done_too_early_is_whole_nevertheless),
        CLEAN_TEST(many_do_the_items_and_one_waits_for_all),
    };
    return cmocka_run_group_tests(tests, warm_up, NULL);
}
