/* Queues in which not the first is next: the last, or the one with the lowest priority. */
#include "support.h"
#include "support_queue.h"

#include <stdlib.h>
#include <string.h>

#if WITH_SANITIZER || defined _WIN32
enum { MANY = 1500, SHARED = 1000 };
#else
enum { MANY = 20000, SHARED = 10000 };
#endif

enum { LARGEST = 6000, PRODUCERS = 3, CONSUMERS = 2, PRIORITIES = 5 };

static const kin_queue_options lifo = {.order = KIN_QUEUE_LIFO};
static const kin_queue_options by_priority = {.order = KIN_QUEUE_PRIORITY};

static kin_queue new_queue(const kin_queue_options *options)
{
    kin_queue q = {0};
    assert_int_equal(kin_queue_create(&q, options), 0);
    return q;
}

static void put_number(kin_queue q, uint64_t number, int64_t priority)
{
    assert_int_equal(kin_queue_put_priority(q, &number, sizeof number, priority, 0), 0);
}

static uint64_t get_number(kin_queue q)
{
    uint64_t number = 0;
    size_t size = 0;
    assert_int_equal(kin_queue_get(q, &number, sizeof number, &size, 0), 0);
    assert_int_equal(size, sizeof number);
    return number;
}

static void is_empty(kin_queue q)
{
    uint64_t number;
    assert_int_equal(kin_queue_size(q), 0);
    assert_int_equal(kin_queue_is_empty(q), 1);
    assert_int_equal(kin_queue_get(q, &number, sizeof number, NULL, 0), KIN_E_TIMEOUT);
}

/* ---- the last first ---- */

static void the_last_comes_first(void **state)
{
    (void) state;
    kin_queue q = new_queue(&lifo);
    is_empty(q);
    for (uint64_t i = 0; i < MANY; i++) {
        put_number(q, i, 0);
        uint64_t seen = 0;
        assert_int_equal(kin_queue_peek(q, &seen, sizeof seen, NULL, 0), 0);
        assert_int_equal(seen, i);
    }
    assert_int_equal(kin_queue_size(q), MANY);
    for (uint64_t i = MANY; i > MANY / 2; i--) {
        assert_int_equal(get_number(q), i - 1);
    }
    put_number(q, 77, 0);
    assert_int_equal(get_number(q), 77);
    for (uint64_t i = MANY / 2; i > 0; i--) {
        assert_int_equal(get_number(q), i - 1);
    }
    is_empty(q);
    assert_int_equal(kin_queue_put_priority(q, NULL, 0, 1, 0), KIN_E_INVALID);
    assert_int_equal(kin_queue_destroy(q), 0);
}

static void a_stack_goes_up_and_down_with_items_of_any_size(void **state)
{
    (void) state;
    static unsigned char item[LARGEST];
    kin_queue q = new_queue(&lifo);
    uint64_t seed = 3;
    size_t sizes[100];
    uint64_t numbers[100];
    size_t depth = 0;
    for (uint64_t i = 0; i < MANY; i++) {
        if (depth == 0 || (depth < 100 && next_random(&seed) % 2 == 0)) {
            size_t most = next_random(&seed) % 4 == 0 ? LARGEST : 150;
            sizes[depth] = ITEM_LEAST + next_random(&seed) % (most - ITEM_LEAST);
            numbers[depth] = i;
            item_fill(item, sizes[depth], 1, i);
            assert_int_equal(kin_queue_put(q, item, sizes[depth], 0), 0);
            depth++;
        } else {
            size_t size = 0;
            depth--;
            assert_int_equal(kin_queue_get(q, item, sizeof item, &size, 0), 0);
            assert_int_equal(size, sizes[depth]);
            assert_true(item_is(item, size, 1, numbers[depth]));
        }
        assert_int_equal(kin_queue_size(q), depth);
    }
    assert_int_equal(kin_queue_destroy(q), 0);
}

static void a_batch_of_the_last_is_in_order(void **state)
{
    (void) state;
    kin_queue q = new_queue(&lifo);
    uint64_t numbers[10];
    kin_buffer items[10];
    size_t done = 0;
    for (uint64_t i = 0; i < 10; i++) {
        numbers[i] = i;
        items[i] = (kin_buffer){&numbers[i], sizeof numbers[i]};
    }
    assert_int_equal(kin_queue_put_many(q, items, 10, &done, 0), 0);
    assert_int_equal(done, 10);
    assert_int_equal(kin_queue_get_many(q, items, 7, &done, 0), 0);
    assert_int_equal(done, 7);
    for (uint64_t i = 0; i < 7; i++) {
        assert_int_equal(numbers[i], 9 - i);
    }
    assert_int_equal(get_number(q), 2);
    assert_int_equal(kin_queue_destroy(q), 0);
}

/* ---- by priority ---- */

static void the_lowest_priority_comes_first(void **state)
{
    (void) state;
    static const int64_t priorities[] = {5, -3, 0, INT64_MAX, INT64_MIN, 7, -1, 5, -3, INT64_MIN};
    static const uint64_t order[] = {4, 9, 1, 8, 6, 2, 0, 7, 5, 3};
    kin_queue q = new_queue(&by_priority);
    is_empty(q);
    for (uint64_t i = 0; i < 10; i++) {
        put_number(q, i, priorities[i]);
    }
    uint64_t seen = 99;
    assert_int_equal(kin_queue_peek(q, &seen, sizeof seen, NULL, 0), 0);
    assert_int_equal(seen, order[0]);
    for (uint64_t i = 0; i < 10; i++) {
        assert_int_equal(get_number(q), order[i]);
    }
    assert_int_equal(kin_queue_put(q, &seen, sizeof seen, 0), 0); /* as one with 0 */
    put_number(q, 1, 1);
    put_number(q, 2, -1);
    assert_int_equal(get_number(q), 2);
    assert_int_equal(get_number(q), order[0]);
    assert_int_equal(get_number(q), 1);
    is_empty(q);
    assert_int_equal(kin_queue_destroy(q), 0);
}

static void of_equal_ones_the_first_comes_first(void **state)
{
    (void) state;
    kin_queue q = new_queue(&by_priority);
    for (uint64_t i = 0; i < MANY; i++) {
        put_number(q, i, 7);
    }
    for (uint64_t i = 0; i < MANY / 2; i++) {
        assert_int_equal(get_number(q), i);
    }
    put_number(q, 1000000, 6);
    put_number(q, 1000001, 8);
    put_number(q, 1000002, 7);
    assert_int_equal(get_number(q), 1000000);
    for (uint64_t i = MANY / 2; i < MANY; i++) {
        assert_int_equal(get_number(q), i);
    }
    assert_int_equal(get_number(q), 1000002);
    assert_int_equal(get_number(q), 1000001);
    assert_int_equal(kin_queue_destroy(q), 0);
}

/* What ought to be in the queue: few priorities, so that ties are frequent. */
typedef struct model {
    uint64_t *numbers[64]; /* of each priority, in the order in which they came */
    size_t first[64];
    size_t end[64];
} model;

static void random_items_come_as_they_should(void **state)
{
    (void) state;
    static unsigned char item[LARGEST];
    static model m;
    kin_queue q = new_queue(&by_priority);
    uint64_t seed = 17;
    size_t there = 0;
    memset(&m, 0, sizeof m);
    for (int i = 0; i < 64; i++) {
        m.numbers[i] = calloc(MANY, sizeof(uint64_t));
        assert_non_null(m.numbers[i]);
    }
    for (uint64_t i = 0; i < 2 * (uint64_t) MANY; i++) {
        bool put = i < MANY ? next_random(&seed) % 4 != 0 : next_random(&seed) % 4 == 0;
        if (put) {
            uint32_t priority = next_random(&seed) % 64;
            size_t size = ITEM_LEAST + next_random(&seed) % (i % 50 == 0 ? 5000 : 100);
            item_fill(item, size, priority, i);
            assert_int_equal(kin_queue_put_priority(q, item, size, (int64_t) priority - 32, 0), 0);
            m.numbers[priority][m.end[priority]++] = i;
            there++;
        } else if (there > 0) {
            uint32_t lowest = 0;
            size_t size = 0;
            while (m.first[lowest] == m.end[lowest]) {
                lowest++;
            }
            assert_int_equal(kin_queue_get(q, item, sizeof item, &size, 0), 0);
            assert_true(item_is(item, size, lowest, m.numbers[lowest][m.first[lowest]]));
            m.first[lowest]++;
            there--;
        }
        assert_int_equal(kin_queue_size(q), there);
    }
    for (int i = 0; i < 64; i++) {
        free(m.numbers[i]);
    }
    assert_int_equal(kin_queue_destroy(q), 0);
}

static void messages_have_priorities_too(void **state)
{
    (void) state;
    kin_queue q = new_queue(&by_priority);
    static const int64_t priorities[] = {3, -5, 0};
    for (size_t i = 0; i < 3; i++) {
        kin_message m;
        assert_int_equal(kin_queue_reserve(q, &m, 1000 * i + 10, 0), 0);
        memset(m.data, (int) i, m.size);
        m.priority = priorities[i];
        assert_int_equal(kin_queue_commit(&m), 0);
    }
    static const size_t order[] = {1, 2, 0};
    for (size_t i = 0; i < 3; i++) {
        kin_message m;
        assert_int_equal(kin_queue_take(q, &m, 0), 0);
        assert_int_equal(m.size, 1000 * order[i] + 10);
        assert_int_equal(m.priority, priorities[order[i]]);
        assert_int_equal(((const unsigned char *) m.data)[m.size - 1], order[i]);
        assert_int_equal(kin_queue_release(&m), 0);
    }
    /* Where there are none a reserved one must have none. */
    kin_message m;
    kin_queue plain = new_queue(NULL);
    assert_int_equal(kin_queue_reserve(plain, &m, 10, 0), 0);
    assert_true(m.priority == 0);
    assert_int_equal(kin_queue_release(&m), 0);
    assert_int_equal(kin_queue_destroy(plain), 0);
    assert_int_equal(kin_queue_destroy(q), 0);
}

static void a_batch_is_in_the_order_of_priorities(void **state)
{
    (void) state;
    kin_queue q = new_queue(&by_priority);
    uint64_t numbers[20] = {0};
    kin_buffer items[20];
    size_t done = 0;
    for (uint64_t i = 0; i < 20; i++) {
        put_number(q, i, (int64_t) (19 - i));
        items[i] = (kin_buffer){&numbers[i], sizeof numbers[i]};
    }
    assert_int_equal(kin_queue_get_many(q, items, 20, &done, 0), 0);
    assert_int_equal(done, 20);
    for (uint64_t i = 0; i < 20; i++) {
        assert_int_equal(numbers[i], 19 - i);
    }
    assert_int_equal(kin_queue_destroy(q), 0);
}

static void bounds_and_ends_are_as_of_others(void **state)
{
    (void) state;
    for (int i = 0; i < 2; i++) {
        kin_queue_options options = i == 0 ? lifo : by_priority;
        options.capacity = 3;
        options.capacity_bytes = 100;
        options.item_size = 32;
        kin_queue q = new_queue(&options);
        unsigned char data[200] = {0};
        kin_message m;
        assert_int_equal(kin_queue_put(q, data, 101, 0), KIN_E_LIMIT);
        assert_int_equal(kin_queue_put(q, data, 100, 0), 0);
        assert_int_equal(kin_queue_put(q, data, 1, 0), KIN_E_TIMEOUT);
        assert_int_equal(kin_queue_get(q, data, 99, NULL, 0), KIN_E_TOO_SMALL);
        assert_int_equal(kin_queue_get(q, data, 100, NULL, 0), 0);
        for (int k = 0; k < 3; k++) {
            assert_int_equal(kin_queue_put(q, data, 10, 0), 0);
        }
        assert_int_equal(kin_queue_is_full(q), 1);
        assert_int_equal(kin_queue_put(q, data, 10, 1), KIN_E_TIMEOUT);
        assert_int_equal(kin_queue_close(q), 0);
        assert_int_equal(kin_queue_put(q, data, 10, KIN_FOREVER), KIN_E_CLOSED);
        for (int k = 0; k < 3; k++) {
            assert_int_equal(kin_queue_take(q, &m, 0), 0);
            assert_int_equal(kin_queue_release(&m), 0);
        }
        assert_int_equal(kin_queue_take(q, &m, KIN_FOREVER), KIN_E_CLOSED);
        assert_int_equal(kin_queue_reopen(q), 0);
        assert_int_equal(kin_queue_put(q, data, 10, 0), 0);
        assert_int_equal(kin_queue_destroy(q), 0);
        assert_int_equal(kin_queue_put(q, data, 10, 0), KIN_E_HANDLE);
    }
}

/* ---- several processes ---- */

typedef struct board {
    kin_queue queue;
    _Atomic uint32_t next;
    _Atomic uint32_t wrong;
    _Atomic uint64_t got;
    _Atomic unsigned char met[PRODUCERS][SHARED];
} board;

static board *board_of(const void *argument)
{
    uint64_t offset;
    memcpy(&offset, argument, sizeof offset);
    return arena_at(offset);
}

static int produce(void *argument, size_t size)
{
    (void) size;
    board *b = board_of(argument);
    static unsigned char item[LARGEST];
    uint32_t me = atomic_fetch_add(&b->next, 1);
    uint64_t seed = me;
    bool priorities = kin_queue_put_priority(b->queue, NULL, 0, 1, 0) == 0;
    for (uint64_t i = 0; i < SHARED; i++) {
        size_t length = ITEM_LEAST + next_random(&seed) % (i % 100 == 0 ? 5000 : 150);
        int64_t priority = priorities ? (int64_t) (i % PRIORITIES) : 0;
        item_fill(item, length, me, i);
        CHECK(kin_queue_put_priority(b->queue, item, length, priority, LONG_MS) == 0);
    }
    return 0;
}

static int consume(void *argument, size_t unused)
{
    (void) unused;
    board *b = board_of(argument);
    static unsigned char item[LARGEST];
    for (;;) {
        size_t size = 0;
        item_mark label;
        int status = kin_queue_get(b->queue, item, sizeof item, &size, LONG_MS);
        if (status == KIN_E_CLOSED) {
            return 0;
        }
        CHECK(status == 0);
        if (size > 0) { /* none: a producer has tried whether there are priorities */
            CHECK(item_is_whole(item, size, &label));
            CHECK(label.producer < PRODUCERS && label.number < SHARED);
            CHECK(atomic_fetch_add(&b->met[label.producer][label.number], 1) == 0);
            atomic_fetch_add(&b->got, 1);
        }
    }
}

/* Without anybody who puts, each consumer sees priorities rise, and numbers of one producer that
   have the same priority as well. */
static int consume_in_order(void *argument, size_t unused)
{
    (void) unused;
    board *b = board_of(argument);
    static unsigned char item[LARGEST];
    int64_t last[PRODUCERS];
    uint64_t lowest = 0;
    memset(last, -1, sizeof last);
    for (;;) {
        size_t size = 0;
        item_mark label;
        int status = kin_queue_get(b->queue, item, sizeof item, &size, 0);
        if (status == KIN_E_TIMEOUT || status == KIN_E_CLOSED) {
            return 0;
        }
        CHECK(status == 0);
        if (size == 0) {
            continue;
        }
        CHECK(item_is_whole(item, size, &label));
        uint64_t priority = label.number % PRIORITIES;
        CHECK(priority >= lowest);
        if (priority > lowest) {
            memset(last, -1, sizeof last);
            lowest = priority;
        }
        CHECK((int64_t) label.number > last[label.producer]);
        last[label.producer] = (int64_t) label.number;
        CHECK(atomic_fetch_add(&b->met[label.producer][label.number], 1) == 0);
        atomic_fetch_add(&b->got, 1);
    }
}

static void many_use_it(const kin_queue_options *options, bool one_after_the_other)
{
    board *b = shared_new(sizeof *b);
    uint64_t offset = arena_offset(b);
    kin_process all[PRODUCERS + CONSUMERS];
    b->queue = new_queue(options);
    for (int i = 0; i < PRODUCERS; i++) {
        all[i] = start(produce, &offset, sizeof offset);
    }
    for (int i = 0; i < PRODUCERS && one_after_the_other; i++) {
        assert_int_equal(end_of(all[i]), 0);
    }
    for (int i = PRODUCERS; i < PRODUCERS + CONSUMERS; i++) {
        all[i] = start(one_after_the_other ? consume_in_order : consume, &offset, sizeof offset);
    }
    for (int i = 0; i < PRODUCERS && !one_after_the_other; i++) {
        assert_int_equal(end_of(all[i]), 0);
    }
    assert_int_equal(kin_queue_close(b->queue), 0);
    for (int i = PRODUCERS; i < PRODUCERS + CONSUMERS; i++) {
        int code = end_of(all[i]);
        assert_int_equal(code, 0);
    }
    assert_int_equal(atomic_load(&b->got), (uint64_t) PRODUCERS * SHARED);
    assert_int_equal(kin_queue_size(b->queue), 0);
    assert_int_equal(kin_queue_destroy(b->queue), 0);
    shared_free(b);
}

static void processes_get_each_once(void **state)
{
    (void) state;
    kin_queue_options options = lifo;
    many_use_it(&options, false);
    options.capacity = 10;
    many_use_it(&options, false);
    options = by_priority;
    many_use_it(&options, false);
    options.capacity = 10;
    many_use_it(&options, false);
}

static void processes_see_priorities_rise(void **state)
{
    (void) state;
    many_use_it(&by_priority, true);
}

int main(int argc, char **argv)
{
    if (kin_init(&argc, &argv) < 0) {
        return EXIT_FAILURE;
    }
    const struct CMUnitTest tests[] = {
        CLEAN_TEST(the_last_comes_first),
        CLEAN_TEST(a_stack_goes_up_and_down_with_items_of_any_size),
        CLEAN_TEST(a_batch_of_the_last_is_in_order),
        CLEAN_TEST(the_lowest_priority_comes_first),
        CLEAN_TEST(of_equal_ones_the_first_comes_first),
        CLEAN_TEST(random_items_come_as_they_should),
        CLEAN_TEST(messages_have_priorities_too),
        CLEAN_TEST(a_batch_is_in_the_order_of_priorities),
        CLEAN_TEST(bounds_and_ends_are_as_of_others),
        CLEAN_TEST(processes_get_each_once),
        CLEAN_TEST(processes_see_priorities_rise),
    };
    return cmocka_run_group_tests(tests, warm_up, NULL);
}
