/* ctest: alone

   Ten million items through eight processes: all come, once, in the order of their producers. */
#include "support.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { PRODUCERS = 4, CONSUMERS = 4, BATCH = 32 };

#if defined _WIN32 || WITH_SANITIZER
enum { ITEMS = 300000 };
#elif defined KIN_POSIX_PLAIN || defined __i386__
enum { ITEMS = 2000000 };
#else
enum { ITEMS = 10000000 };
#endif

/* An item says whose it is. */
typedef struct item {
    uint32_t producer;
    uint32_t number;
    uint64_t sum; /* of both */
} item;

typedef struct board {
    kin_queue queue;
    uint32_t each; /* items of a producer */
    bool batches;
    _Atomic uint32_t next;
    _Atomic uint64_t count;
    _Atomic uint64_t sums[PRODUCERS]; /* of the numbers */
    _Atomic uint64_t squares[PRODUCERS];
} board;

static board *board_of(const void *argument)
{
    uint64_t offset;
    memcpy(&offset, argument, sizeof offset);
    return arena_at(offset);
}

static item make(uint32_t producer, uint32_t number)
{
    return (item){producer, number, (uint64_t) producer * 1000003 + number * UINT64_C(7919)};
}

static int produce(void *argument, size_t size)
{
    (void) size;
    board *b = board_of(argument);
    uint32_t me = atomic_fetch_add(&b->next, 1);
    item all[BATCH];
    kin_buffer items[BATCH];
    for (uint32_t i = 0; i < b->each;) {
        uint32_t count = b->batches ? BATCH : 1;
        count = count < b->each - i ? count : b->each - i;
        for (uint32_t k = 0; k < count; k++) {
            all[k] = make(me, i + k);
            items[k] = (kin_buffer){&all[k], sizeof all[k]};
        }
        if (b->batches) {
            CHECK(kin_queue_put_many(b->queue, items, count, NULL, LONG_MS) == 0);
        } else {
            CHECK(kin_queue_put(b->queue, all, sizeof *all, LONG_MS) == 0);
        }
        i += count;
    }
    return 0;
}

static int consume(void *argument, size_t unused)
{
    (void) unused;
    board *b = board_of(argument);
    item all[BATCH];
    kin_buffer items[BATCH];
    int64_t last[PRODUCERS];
    uint64_t sums[PRODUCERS] = {0};
    uint64_t squares[PRODUCERS] = {0};
    uint64_t count = 0;
    memset(last, -1, sizeof last);
    for (;;) {
        size_t done = 1;
        for (size_t i = 0; i < BATCH; i++) {
            items[i] = (kin_buffer){&all[i], sizeof all[i]};
        }
        int status = b->batches
                         ? kin_queue_get_many(b->queue, items, BATCH, &done, LONG_MS)
                         : kin_queue_get(b->queue, all, sizeof *all, &items[0].size, LONG_MS);
        if (status == KIN_E_CLOSED) {
            break;
        }
        CHECK(status == 0);
        for (size_t i = 0; i < done; i++) {
            const item *it = &all[i];
            CHECK(items[i].size == sizeof *it && it->producer < PRODUCERS);
            CHECK(it->sum == make(it->producer, it->number).sum);
            CHECK((int64_t) it->number > last[it->producer]);
            last[it->producer] = it->number;
            sums[it->producer] += it->number;
            squares[it->producer] += (uint64_t) it->number * it->number;
            count++;
        }
    }
    for (int i = 0; i < PRODUCERS; i++) {
        atomic_fetch_add(&b->sums[i], sums[i]);
        atomic_fetch_add(&b->squares[i], squares[i]);
    }
    atomic_fetch_add(&b->count, count);
    return 0;
}

static void pass(const char *name, const kin_queue_options *options, bool batches, uint32_t items)
{
    board *b = shared_new(sizeof *b);
    uint64_t offset = arena_offset(b);
    kin_process all[PRODUCERS + CONSUMERS];
    b->each = items / PRODUCERS;
    b->batches = batches;
    assert_int_equal(kin_queue_create(&b->queue, options), 0);
    int64_t before = kin_clock_ns();
    for (int i = 0; i < PRODUCERS + CONSUMERS; i++) {
        all[i] = start(i < PRODUCERS ? produce : consume, &offset, sizeof offset);
    }
    for (int i = 0; i < PRODUCERS + CONSUMERS; i++) {
        assert_int_equal(end_of(all[i]), 0);
        if (i == PRODUCERS - 1) {
            assert_int_equal(kin_queue_close(b->queue), 0);
        }
    }
    double seconds = (double) (kin_clock_ns() - before) / 1e9;
    assert_int_equal(atomic_load(&b->count), (uint64_t) PRODUCERS * b->each);
    uint64_t sum = 0;
    uint64_t squares = 0;
    for (uint64_t i = 0; i < b->each; i++) {
        sum += i;
        squares += i * i;
    }
    for (int i = 0; i < PRODUCERS; i++) {
        assert_int_equal(atomic_load(&b->sums[i]), sum);
        assert_int_equal(atomic_load(&b->squares[i]), squares);
    }
    (void) printf("# %s: %u items in %.2f s\n", name, items, seconds);
    assert_int_equal(kin_queue_destroy(b->queue), 0);
    shared_free(b);
}

static void millions_go_through(void **state)
{
    (void) state;
    const kin_queue_options bounded = {.capacity = 1024, .item_size = sizeof(item)};
    const kin_queue_options small = {.capacity = 16};
    pass("in batches", &bounded, true, ITEMS / 2);
    pass("one by one", &bounded, false, ITEMS / 10 * 4);
    pass("through little room", &small, false, ITEMS / 20);
    pass("without bounds", NULL, false, ITEMS / 20);
}

int main(int argc, char **argv)
{
    if (kin_init(&argc, &argv) < 0) {
        return EXIT_FAILURE;
    }
    const struct CMUnitTest tests[] = {
        CLEAN_TEST(millions_go_through),
    };
    return cmocka_run_group_tests(tests, warm_up, NULL);
}
