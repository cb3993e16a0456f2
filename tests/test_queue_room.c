/* ctest: alone

   Queues and memory: bounds, growth to many items and back, an arena that is full, ten thousand
   queues, an item of a GiB. */
#include "support.h"
#include "support_queue.h"

#include <stdlib.h>
#include <string.h>

enum { KIB = 1024, MIB = 1024 * 1024, SLACK = MIB };

#if WITH_SANITIZER || defined _WIN32
enum { MANY_ITEMS = 20000, QUEUES = 2000 };
#else
enum { MANY_ITEMS = 100000, QUEUES = 10000 };
#endif

static kin_queue new_queue(const kin_queue_options *options)
{
    kin_queue q = {0};
    assert_int_equal(kin_queue_create(&q, options), 0);
    return q;
}

static void put_number(kin_queue q, uint64_t number)
{
    assert_int_equal(kin_queue_put(q, &number, sizeof number, 0), 0);
}

static uint64_t get_number(kin_queue q)
{
    uint64_t number = 0;
    size_t size = 0;
    assert_int_equal(kin_queue_get(q, &number, sizeof number, &size, 0), 0);
    assert_int_equal(size, sizeof number);
    return number;
}

static uint64_t used_now(void)
{
    kin_arena_usage usage;
    assert_int_equal(kin_arena_trim(), 0);
    assert_int_equal(kin_arena_read_usage(&usage), 0);
    return usage.used;
}

/* ---- bounds ---- */

static void there_are_never_more_items_than_the_capacity(void **state)
{
    (void) state;
    static const uint64_t capacities[] = {1, 2, 3, 7, 8, 100, 1000};
    for (size_t i = 0; i < sizeof capacities / sizeof *capacities; i++) {
        const kin_queue_options options = {.capacity = capacities[i], .item_size = 8};
        kin_queue q = new_queue(&options);
        for (int round = 0; round < 3; round++) {
            for (uint64_t k = 0; k < capacities[i]; k++) {
                assert_int_equal(kin_queue_is_full(q), 0);
                put_number(q, k);
            }
            assert_int_equal(kin_queue_is_full(q), 1);
            assert_int_equal(kin_queue_put(q, &i, sizeof i, 0), KIN_E_TIMEOUT);
            assert_int_equal(kin_queue_put(q, NULL, 0, 1), KIN_E_TIMEOUT);
            assert_int_equal(kin_queue_size(q), capacities[i]);
            assert_int_equal(get_number(q), 0);
            put_number(q, capacities[i]);
            for (uint64_t k = 1; k <= capacities[i]; k++) {
                assert_int_equal(get_number(q), k);
            }
            assert_int_equal(kin_queue_size(q), 0);
        }
        assert_int_equal(kin_queue_destroy(q), 0);
    }
}

static void nor_more_bytes_than_are_wanted(void **state)
{
    (void) state;
    const kin_queue_options options = {.capacity_bytes = 1000, .item_size = 100};
    static unsigned char data[1001];
    kin_queue q = new_queue(&options);
    assert_int_equal(kin_queue_put(q, data, 1001, KIN_FOREVER), KIN_E_LIMIT);
    assert_int_equal(kin_queue_put(q, data, SIZE_MAX, 0), KIN_E_LIMIT);
    assert_int_equal(kin_queue_put(q, data, 1000, 0), 0);
    assert_int_equal(kin_queue_put(q, data, 1, 0), KIN_E_TIMEOUT);
    assert_int_equal(kin_queue_put(q, data, 600, 1), KIN_E_TIMEOUT);
    assert_int_equal(kin_queue_get(q, data, 1000, NULL, 0), 0);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(kin_queue_put(q, data, i % 2 == 0 ? 99 : 101, 0), 0);
    }
    assert_int_equal(kin_queue_put(q, data, 1, 0), KIN_E_TIMEOUT);
    assert_int_equal(kin_queue_is_full(q), 1); /* not one byte more */
    assert_int_equal(kin_queue_put(q, NULL, 0, 0), 0);
    assert_int_equal(kin_queue_get(q, data, sizeof data, NULL, 0), 0);
    assert_int_equal(kin_queue_put(q, data, 100, 0), KIN_E_TIMEOUT);
    assert_int_equal(kin_queue_put(q, data, 99, 0), 0);
    assert_int_equal(kin_queue_size(q), 11);
    assert_int_equal(kin_queue_destroy(q), 0);
}

static void both_bounds_hold_together(void **state)
{
    (void) state;
    const kin_queue_options options = {.capacity = 4, .capacity_bytes = 10000};
    static unsigned char data[10000];
    kin_queue q = new_queue(&options);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(kin_queue_put(q, data, 10, 0), 0);
    }
    assert_int_equal(kin_queue_is_full(q), 1);
    assert_int_equal(kin_queue_put(q, data, 10, 0), KIN_E_TIMEOUT);
    assert_int_equal(kin_queue_get(q, data, sizeof data, NULL, 0), 0);
    assert_int_equal(kin_queue_put(q, data, 9971, 0), KIN_E_TIMEOUT);
    assert_int_equal(kin_queue_is_full(q), 0);
    assert_int_equal(kin_queue_put(q, data, 9970, 0), 0);
    assert_int_equal(kin_queue_destroy(q), 0);
}

/* ---- growth ---- */

static void grow_and_shrink(kin_queue q, size_t size)
{
    unsigned char item[1024];
    for (uint64_t i = 0; i < MANY_ITEMS; i++) {
        item_fill(item, size, 1, i);
        assert_int_equal(kin_queue_put(q, item, size, 0), 0);
        if (i % 3 == 0 && i > 0) { /* what is first is not always where memory begins */
            assert_int_equal(kin_queue_get(q, item, sizeof item, NULL, 0), 0);
            assert_true(item_is(item, size, 1, i / 3 - 1));
        }
    }
    uint64_t first = (MANY_ITEMS - 1) / 3;
    assert_int_equal(kin_queue_size(q), MANY_ITEMS - first);
    for (uint64_t i = first; i < MANY_ITEMS; i++) {
        size_t got = 0;
        assert_int_equal(kin_queue_get(q, item, sizeof item, &got, 0), 0);
        assert_int_equal(got, size);
        assert_true(item_is(item, size, 1, i));
    }
    assert_int_equal(kin_queue_size(q), 0);
}

static void it_grows_to_many_items_and_gives_the_memory_back(void **state)
{
    (void) state;
    static const size_t sizes[] = {ITEM_LEAST, 100, 700};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint64_t before = used_now();
        kin_queue q = new_queue(NULL);
        for (int round = 0; round < 2; round++) {
            grow_and_shrink(q, sizes[i]);
        }
        (void) printf("# %u bytes: %llu KiB are kept by the empty queue\n", (unsigned) sizes[i],
                      (unsigned long long) (used_now() - before) / 1024);
        assert_int_equal(kin_queue_destroy(q), 0);
        assert_true(used_now() <= before + SLACK);
    }
}

/* Whoever waits for more has the memory of a large ring given back; it grows again as before. */
static void one_that_is_not_used_needs_little(void **state)
{
    (void) state;
    static const kin_queue_options kinds[] = {{0}, {.capacity_bytes = UINT64_C(1) << 40}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        unsigned char byte;
        uint64_t before = used_now();
        kin_queue q = new_queue(&kinds[i]);
        for (int round = 0; round < 3; round++) {
            grow_and_shrink(q, 100);
            assert_int_equal(kin_queue_get(q, &byte, 1, NULL, 450), KIN_E_TIMEOUT);
            assert_true(used_now() <= before + 128 * KIB);
        }
        assert_int_equal(kin_queue_destroy(q), 0);
    }
}

static void what_is_in_it_is_given_back_with_it(void **state)
{
    (void) state;
    static unsigned char item[100000];
    const kin_queue_options orders[] = {{.order = KIN_QUEUE_FIFO},
                                        {.order = KIN_QUEUE_LIFO},
                                        {.order = KIN_QUEUE_PRIORITY},
                                        {.redeliver = true}};
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        uint64_t before = used_now();
        kin_queue q = new_queue(&orders[i]);
        for (size_t k = 0; k < 1000; k++) {
            assert_int_equal(kin_queue_put(q, item, k % 100 == 0 ? sizeof item : k, 0), 0);
        }
        assert_int_equal(kin_queue_destroy(q), 0);
        assert_true(used_now() <= before + SLACK);
    }
}

/* ---- many queues ---- */

static void make_many(const kin_queue_options *options, uint64_t most)
{
    kin_queue *all = calloc(QUEUES, sizeof *all);
    assert_non_null(all);
    uint64_t before = used_now();
    for (size_t i = 0; i < QUEUES; i++) {
        all[i] = new_queue(options);
    }
    uint64_t made = used_now();
    for (size_t i = 0; i < QUEUES; i++) {
        put_number(all[i], i);
    }
    uint64_t filled = used_now();
    (void) printf("# a queue costs %llu bytes, with an item %llu\n",
                  (unsigned long long) (made - before) / QUEUES,
                  (unsigned long long) (filled - before) / QUEUES);
    assert_true((made - before) / QUEUES <= most);
    assert_true((filled - before) / QUEUES <= most);
    for (size_t i = 0; i < QUEUES; i++) {
        assert_int_equal(get_number(all[i]), i);
        assert_int_equal(kin_queue_destroy(all[i]), 0);
    }
    free(all);
}

static void there_may_be_ten_thousand(void **state)
{
    (void) state;
    const kin_queue_options options = {.capacity = 64, .item_size = 64};
    const kin_queue_options large = {.capacity = 1000, .item_size = 8, .redeliver = true};
    make_many(NULL, 4096);
    make_many(&options, 4096 + 64 * 64);
    make_many(&large, 4096 + 1000 * 8);
}

/* ---- a large item ---- */

#if UINTPTR_MAX > UINT32_MAX && !defined _WIN32 && !WITH_SANITIZER
static void an_item_may_have_a_gib(void **state)
{
    (void) state;
    const size_t size = (size_t) 1 << 30;
    kin_queue q = new_queue(NULL);
    kin_message m;
    int status = kin_queue_reserve(q, &m, size, 0);
    if (status == KIN_E_NOMEM) {
        assert_int_equal(kin_queue_destroy(q), 0);
        skip();
    }
    assert_int_equal(status, 0);
    const unsigned char *address = m.data;
    item_fill(m.data, size, 1, 2);
    assert_int_equal(kin_queue_commit(&m), 0);
    assert_int_equal(kin_queue_take(q, &m, 0), 0);
    assert_ptr_equal(m.data, address);
    assert_int_equal(m.size, size);
    assert_true(item_is(m.data, size, 1, 2));
    unsigned char *copy = malloc(size);
    if (copy != NULL && kin_queue_put(q, m.data, size, 0) == 0) {
        size_t got = 0;
        assert_int_equal(kin_queue_release(&m), 0);
        assert_int_equal(kin_queue_get(q, copy, size, &got, 0), 0);
        assert_int_equal(got, size);
        assert_true(item_is(copy, size, 1, 2));
    } else {
        assert_int_equal(kin_queue_release(&m), 0);
    }
    free(copy);
    assert_int_equal(kin_queue_destroy(q), 0);
    assert_int_equal(kin_arena_trim(), 0);
}
#endif

/* ---- an arena that is full: in a life of its own ---- */

enum { ARENA = 6 * MIB, LARGEST = 9000 };

static size_t size_of(uint64_t number, uint32_t form)
{
    return form == 0 ? ITEM_LEAST : form == 1 ? 4096 : (size_t) (ITEM_LEAST + number * 37 % 8000);
}

/* As many as go in. The last status comes by every way at once. */
static int put_until_full(kin_queue q, uint32_t form, uint64_t *count)
{
    static unsigned char item[LARGEST];
    for (*count = 0;; ++*count) {
        size_t size = size_of(*count, form);
        item_fill(item, size, form, *count);
        int status = kin_queue_put(q, item, size, *count % 2 == 0 ? KIN_FOREVER : 0);
        if (status != 0) {
            return status;
        }
    }
}

static int get_all(kin_queue q, uint32_t form, uint64_t count, bool to_be_done)
{
    static unsigned char item[LARGEST];
    CHECK(kin_queue_size(q) == (int64_t) count);
    for (uint64_t i = 0; i < count; i++) {
        size_t size = 0;
        CHECK(kin_queue_get(q, item, sizeof item, &size, KIN_FOREVER) == 0);
        CHECK(size == size_of(i, form));
        CHECK(item_is(item, size, form, i));
        CHECK(!to_be_done || kin_queue_task_done(q) == 0);
    }
    CHECK(kin_queue_size(q) == 0);
    return 0;
}

static int fill_with(const kin_queue_options *options, uint32_t form)
{
    kin_queue q;
    uint64_t first = 0;
    kin_message m;
    bool to_be_done = options != NULL && (options->joinable || options->redeliver);
    CHECK(kin_queue_create(&q, options) == 0);
    for (int round = 0; round < 4; round++) {
        uint64_t count;
        CHECK(put_until_full(q, form, &count) == KIN_E_NOMEM);
        CHECK(count >= 100);
        first = round == 0 ? count : first;
        CHECK(count >= first / 10 * 4); /* it may have had to begin anew with what it has kept */
        if (form == 1) {
            CHECK(kin_queue_reserve(q, &m, ARENA, KIN_FOREVER) == KIN_E_NOMEM);
        }
        CHECK(get_all(q, form, count, to_be_done) == 0);
    }
    CHECK(kin_queue_reserve(q, &m, MIB, 0) == 0);
    CHECK(kin_queue_commit(&m) == 0);
    CHECK(kin_queue_destroy(q) == 0);
    return 0;
}

static int live_with_little(int argc, char **argv)
{
    const kin_options options = {.arena_size = ARENA, .max_processes = 16, .max_threads = 64};
    const kin_queue_options forms[] = {
        {.order = KIN_QUEUE_FIFO},
        {.order = KIN_QUEUE_FIFO, .item_size = KIN_QUEUE_ITEM_LIMIT},
        {.order = KIN_QUEUE_FIFO, .joinable = true},
        {.order = KIN_QUEUE_FIFO, .redeliver = true},
        {.order = KIN_QUEUE_PRIORITY},
        {.order = KIN_QUEUE_PRIORITY, .item_size = KIN_QUEUE_ITEM_LIMIT}};
    CHECK(kin_init_with(&argc, &argv, &options) == 0);
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        bool shelved = forms[i].joinable || forms[i].redeliver; /* not with the smallest ones */
        for (uint32_t form = shelved ? 1 : 0; form < 3; form++) {
            CHECK(fill_with(&forms[i], form) == 0);
        }
    }
    kin_queue *all = calloc(100000, sizeof *all);
    size_t made = 0;
    int status = 0;
    CHECK(all != NULL);
    while (made < 100000 && (status = kin_queue_create(&all[made], NULL)) == 0) {
        made++;
    }
    CHECK(status == KIN_E_NOMEM || status == KIN_E_LIMIT);
    while (made > 0) {
        CHECK(kin_queue_destroy(all[--made]) == 0);
    }
    free(all);
    return fill_with(NULL, 2);
}

static void a_full_arena_loses_nothing(void **state)
{
    (void) state;
    assert_int_equal(run_mode("little"), 0);
}

static const test_mode modes[] = {{"little", live_with_little}};

int main(int argc, char **argv)
{
    const test_mode *mode = find_mode(modes, sizeof modes / sizeof *modes);
    if (mode != NULL) {
        return mode->run(argc, argv);
    }
    if (kin_init(&argc, &argv) < 0) {
        return EXIT_FAILURE;
    }
    const struct CMUnitTest tests[] = {
        CLEAN_TEST(there_are_never_more_items_than_the_capacity),
        CLEAN_TEST(nor_more_bytes_than_are_wanted),
        CLEAN_TEST(both_bounds_hold_together),
        CLEAN_TEST(it_grows_to_many_items_and_gives_the_memory_back),
        CLEAN_TEST(one_that_is_not_used_needs_little),
        CLEAN_TEST(what_is_in_it_is_given_back_with_it),
        CLEAN_TEST(there_may_be_ten_thousand),
#if UINTPTR_MAX > UINT32_MAX && !defined _WIN32 && !WITH_SANITIZER
        CLEAN_TEST(an_item_may_have_a_gib),
#endif
        CLEAN_TEST(a_full_arena_loses_nothing),
    };
    return cmocka_run_group_tests(tests, warm_up, NULL);
}
