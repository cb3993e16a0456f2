/* Messages: items that are filled and read where they lie, kept, moved between queues, and lost
   with the process that has them. */
#include "support.h"
#include "support_queue.h"

#include <stdlib.h>
#include <string.h>

enum { KIB = 1024, MIB = 1024 * 1024, KEPT = 60, STATIONS = 3, LAPS = 200, THREADS = 4 };

/* What a test and its children share. */
typedef struct board {
    kin_queue queues[STATIONS];
    kin_message message;
    mark arrived;
    _Atomic uint32_t next;
    _Atomic uint32_t released;
    _Atomic uint32_t refused;
} board;

static kin_queue new_queue(const kin_queue_options *options)
{
    kin_queue q = {0};
    assert_int_equal(kin_queue_create(&q, options), 0);
    return q;
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

static kin_message reserve(kin_queue q, size_t size, uint64_t number)
{
    kin_message m;
    assert_int_equal(kin_queue_reserve(q, &m, size, 0), 0);
    assert_int_equal(m.size, size);
    assert_true(size == 0 || (uintptr_t) m.data % 64 == 0);
    if (size >= ITEM_LEAST) {
        item_fill(m.data, size, 1, number);
    }
    return m;
}

static void send(kin_queue q, size_t size, uint64_t number)
{
    kin_message m = reserve(q, size, number);
    assert_int_equal(kin_queue_commit(&m), 0);
}

static kin_message take(kin_queue q, size_t size, uint64_t number)
{
    kin_message m;
    assert_int_equal(kin_queue_take(q, &m, 0), 0);
    assert_int_equal(m.size, size);
    assert_int_equal(m.deliveries, 1);
    assert_true(size == 0 || (uintptr_t) m.data % 64 == 0);
    assert_true(size < ITEM_LEAST || item_is(m.data, size, 1, number));
    return m;
}

static void receive(kin_queue q, size_t size, uint64_t number)
{
    kin_message m = take(q, size, number);
    assert_int_equal(kin_queue_release(&m), 0);
}

/* ---- alone ---- */

static void a_message_comes_as_it_was_filled(void **state)
{
    (void) state;
    static const size_t sizes[] = {0, 1, 63, 64, 65, 120, 121, 4096, 4097, 100000, MIB, 5 * MIB};
    const kin_queue_options small = {.item_size = 16};
    const kin_queue_options large = {.item_size = KIN_QUEUE_ITEM_LIMIT};
    const kin_queue_options *const options[] = {NULL, &small, &large};
    for (size_t i = 0; i < 3; i++) {
        kin_queue q = new_queue(options[i]);
        for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
            kin_message m = reserve(q, sizes[k], k);
            assert_int_equal(kin_queue_size(q), 0); /* not there before it is committed */
            assert_int_equal(kin_queue_commit(&m), 0);
            assert_int_equal(kin_queue_size(q), 1);
            receive(q, sizes[k], k);
            assert_int_equal(kin_queue_size(q), 0);
        }
        assert_int_equal(kin_queue_destroy(q), 0);
    }
}

static void messages_and_copies_go_together(void **state)
{
    (void) state;
    static const size_t sizes[] = {16, 120, 300, 100000};
    static unsigned char item[100000];
    kin_queue q = new_queue(NULL);
    for (uint64_t i = 0; i < 4; i++) {
        size_t got = 0;
        send(q, sizes[i], i);
        item_fill(item, sizes[i], 1, i + 10);
        assert_int_equal(kin_queue_put(q, item, sizes[i], 0), 0);
        assert_int_equal(kin_queue_get(q, item, sizeof item, &got, 0), 0);
        assert_true(got == sizes[i] && item_is(item, got, 1, i));
        receive(q, sizes[i], i + 10);
    }
    assert_int_equal(kin_queue_destroy(q), 0);
}

static void it_may_be_made_smaller(void **state)
{
    (void) state;
    static const size_t sizes[][2] = {{5000, 4999}, {5000, 16}, {MIB, 50000}, {100, 0}, {120, 17}};
    kin_queue q = new_queue(NULL);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        kin_message m = reserve(q, sizes[i][0], 0);
        m.size = sizes[i][1];
        if (m.size >= ITEM_LEAST) {
            item_fill(m.data, m.size, 1, i);
        }
        assert_int_equal(kin_queue_commit(&m), 0);
        receive(q, sizes[i][1], i);
    }
    kin_message m = reserve(q, 100, 7);
    m.size = 101;
    assert_int_equal(kin_queue_commit(&m), KIN_E_INVALID);
    m.size = SIZE_MAX;
    assert_int_equal(kin_queue_commit(&m), KIN_E_INVALID);
    m.size = 100;
    assert_int_equal(kin_queue_commit(&m), 0);
    receive(q, 100, 7);
    assert_int_equal(kin_queue_destroy(q), 0);
}

static void they_come_in_the_order_of_their_commits(void **state)
{
    (void) state;
    enum { COUNT = 10 };
    kin_message all[COUNT];
    kin_queue q = new_queue(NULL);
    for (uint64_t i = 0; i < COUNT; i++) {
        all[i] = reserve(q, (size_t) (50 + i * 1000), i);
    }
    for (size_t i = COUNT; i > 0; i--) {
        assert_int_equal(kin_queue_commit(&all[i - 1]), 0);
    }
    for (size_t i = COUNT; i > 0; i--) {
        receive(q, 50 + (i - 1) * 1000, i - 1);
    }
    assert_int_equal(kin_queue_destroy(q), 0);
}

/* A reserved one keeps no room: so each may be one more than the capacity. */
static void what_is_reserved_can_always_be_committed(void **state)
{
    (void) state;
    const kin_queue_options one = {.capacity = 1, .capacity_bytes = 5000};
    kin_queue q = new_queue(&one);
    kin_message first = reserve(q, 5000, 1);
    kin_message second = reserve(q, 100, 2);
    kin_message none;
    assert_int_equal(kin_queue_reserve(q, &none, 5001, KIN_FOREVER), KIN_E_LIMIT);
    assert_int_equal(kin_queue_put(q, NULL, 0, 0), 0);
    assert_int_equal(kin_queue_reserve(q, &none, 1, 0), KIN_E_TIMEOUT);
    assert_int_equal(kin_queue_commit(&first), 0);
    assert_int_equal(kin_queue_commit(&second), 0);
    assert_int_equal(kin_queue_size(q), 3);
    assert_int_equal(kin_queue_is_full(q), 1);
    receive(q, 0, 0);
    receive(q, 5000, 1);
    assert_int_equal(kin_queue_put(q, NULL, 0, 0), KIN_E_TIMEOUT);
    receive(q, 100, 2);
    assert_int_equal(kin_queue_put(q, NULL, 0, 0), 0);
    assert_int_equal(kin_queue_destroy(q), 0);
}

static void messages_are_kept_while_the_queue_goes_on(void **state)
{
    (void) state;
    static const size_t sizes[] = {16, 100, 121, 4000, 50000};
    kin_message kept[KEPT];
    kin_queue q = new_queue(NULL);
    for (uint64_t i = 0; i < KEPT; i++) {
        send(q, sizes[i % 5], i);
        kept[i] = take(q, sizes[i % 5], i);
        for (uint64_t k = 0; k < 20; k++) {
            send(q, sizes[k % 5], 1000 + k);
        }
        for (uint64_t k = 0; k < 20; k++) {
            receive(q, sizes[k % 5], 1000 + k);
        }
    }
    for (uint64_t i = 0; i < KEPT; i++) {
        kin_message *m = &kept[i * 7 % KEPT]; /* in another order */
        assert_true(item_is(m->data, m->size, 1, i * 7 % KEPT));
        assert_int_equal(kin_queue_release(m), 0);
    }
    assert_int_equal(kin_queue_destroy(q), 0);
}

static void no_call_takes_a_message_that_is_none(void **state)
{
    (void) state;
    kin_queue q = new_queue(NULL);
    send(q, 5000, 1);
    kin_message m = take(q, 5000, 1);
    kin_message copy = m;
    assert_int_equal(kin_queue_commit(&m), KIN_E_INVALID); /* it is not a reserved one */
    m = copy;
    assert_int_equal(kin_queue_return(&m), KIN_E_STATE);
    m = copy;
    assert_int_equal(kin_queue_release(&m), 0);
    m = copy;
    assert_int_equal(kin_queue_release(&m), KIN_E_HANDLE);
    m = copy;
    assert_int_equal(kin_queue_put_message(q, &m, 0), KIN_E_HANDLE);
    kin_message made = reserve(q, 5000, 2);
    copy = made;
    assert_int_equal(kin_queue_commit(&made), 0);
    made = copy;
    assert_true(kin_queue_commit(&made) < 0); /* it is the queue's now */
    made = copy;
    assert_true(kin_queue_release(&made) < 0);
    assert_int_equal(kin_queue_size(q), 1);
    receive(q, 5000, 2);
    kin_message zero = {0};
    assert_true(kin_queue_release(&zero) < 0);
    assert_true(kin_queue_commit(&zero) < 0);
    assert_true(kin_queue_return(&zero) < 0);
    assert_true(kin_queue_put_message(q, &zero, 0) < 0);
    kin_message forged = {.queue = q.id, .id = q.id, .size = 10, .data = &zero};
    assert_true(kin_queue_release(&forged) < 0);
    assert_true(kin_queue_commit(&forged) < 0);
    assert_true(kin_queue_put_message(q, &forged, 0) < 0);
    forged.id = UINT64_MAX;
    assert_true(kin_queue_release(&forged) < 0);
    assert_int_equal(kin_queue_size(q), 0);
    assert_int_equal(kin_queue_destroy(q), 0);
}

/* ---- moved ---- */

static void a_message_moves_between_queues_without_a_copy(void **state)
{
    (void) state;
    static const size_t sizes[] = {16, 120, 5000, MIB};
    const kin_queue_options small = {.item_size = 16, .order = KIN_QUEUE_LIFO};
    const kin_queue_options sorted = {.order = KIN_QUEUE_PRIORITY};
    kin_queue queues[] = {new_queue(NULL), new_queue(&small), new_queue(&sorted)};
    for (size_t i = 0; i < 4; i++) {
        kin_message m = reserve(queues[0], sizes[i], i);
        const void *data = m.data;
        assert_int_equal(kin_queue_put_message(queues[1], &m, 0), 0); /* not where it was to go */
        assert_int_equal(kin_queue_size(queues[0]), 0);
        for (size_t k = 1; k < 7; k++) {
            m = take(queues[k % 3], sizes[i], i);
            if (sizes[i] > KIN_QUEUE_ITEM_LIMIT) {
                assert_ptr_equal(m.data, data);
            }
            assert_int_equal(kin_queue_put_message(queues[(k + 1) % 3], &m, 0), 0);
            assert_int_equal(kin_queue_size(queues[k % 3]), 0);
            assert_int_equal(kin_queue_size(queues[(k + 1) % 3]), 1);
        }
        m = take(queues[1], sizes[i], i);
        assert_int_equal(kin_queue_put_message(queues[1], &m, 0), 0); /* and back where it was */
        receive(queues[1], sizes[i], i);
    }
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(kin_queue_destroy(queues[i]), 0);
    }
}

static void who_cannot_put_it_keeps_it(void **state)
{
    (void) state;
    const kin_queue_options one = {.capacity = 1, .capacity_bytes = 1000};
    kin_queue from = new_queue(NULL);
    kin_queue to = new_queue(&one);
    for (int i = 0; i < 2; i++) {
        kin_message large = reserve(from, 1001, 1);
        kin_message m = reserve(from, 1000, 2);
        if (i == 1) { /* the same with such as have been taken */
            assert_int_equal(kin_queue_commit(&large), 0);
            assert_int_equal(kin_queue_commit(&m), 0);
            large = take(from, 1001, 1);
            m = take(from, 1000, 2);
        }
        assert_int_equal(kin_queue_put_message(to, &large, KIN_FOREVER), KIN_E_LIMIT);
        assert_int_equal(kin_queue_put(to, NULL, 0, 0), 0);
        assert_int_equal(kin_queue_put_message(to, &m, 0), KIN_E_TIMEOUT);
        assert_int_equal(kin_queue_put_message(to, &m, 5), KIN_E_TIMEOUT);
        assert_int_equal(kin_queue_close(to), 0);
        assert_int_equal(kin_queue_put_message(to, &m, KIN_FOREVER), KIN_E_CLOSED);
        assert_int_equal(kin_queue_reopen(to), 0);
        assert_int_equal(kin_queue_put_message((kin_queue){77}, &m, 0), KIN_E_HANDLE);
        receive(to, 0, 0);
        assert_int_equal(kin_queue_put_message(to, &m, KIN_FOREVER), 0);
        receive(to, 1000, 2);
        assert_true(item_is(large.data, large.size, 1, 1));
        assert_int_equal(kin_queue_release(&large), 0);
    }
    assert_int_equal(kin_queue_destroy(from), 0);
    assert_int_equal(kin_queue_destroy(to), 0);
}

static void a_queue_that_is_closed_or_gone_leaves_it_to_its_maker(void **state)
{
    (void) state;
    kin_queue q = new_queue(NULL);
    kin_queue other = new_queue(NULL);
    kin_message m = reserve(q, 3000, 1);
    kin_message gone = reserve(q, 3000, 2);
    send(q, 3000, 3);
    kin_message taken = take(q, 3000, 3);
    send(q, 3000, 4);
    kin_message moved = take(q, 3000, 4);
    send(q, 3000, 5);
    assert_int_equal(kin_queue_close(q), 0);
    assert_int_equal(kin_queue_commit(&m), KIN_E_CLOSED);
    assert_int_equal(kin_queue_reopen(q), 0);
    assert_int_equal(kin_queue_commit(&m), 0);
    assert_int_equal(kin_queue_close(q), 0);
    assert_int_equal(kin_queue_commit(&gone), KIN_E_CLOSED);
    assert_int_equal(kin_queue_put_message(other, &gone, 0), 0);
    receive(other, 3000, 2);
    assert_int_equal(kin_queue_reopen(q), 0);
    gone = reserve(q, 3000, 6);
    m = reserve(q, 3000, 7);
    assert_int_equal(kin_queue_destroy(q), 0);
    assert_int_equal(kin_queue_commit(&gone), KIN_E_HANDLE);
    assert_true(item_is(gone.data, 3000, 1, 6));
    assert_int_equal(kin_queue_put_message(other, &gone, 0), 0);
    assert_int_equal(kin_queue_release(&m), 0);
    assert_true(item_is(taken.data, 3000, 1, 3)); /* those that were taken stay, too */
    assert_int_equal(kin_queue_release(&taken), 0);
    assert_int_equal(kin_queue_put_message(other, &moved, 0), 0);
    receive(other, 3000, 6);
    receive(other, 3000, 4);
    assert_int_equal(kin_queue_destroy(other), 0);
}

/* ---- several processes ---- */

/* Adds to each message that comes, and sends it on. */
static int pass_on(void *argument, size_t size)
{
    (void) size;
    board *b = board_of(argument);
    uint32_t me = atomic_fetch_add(&b->next, 1);
    for (;;) {
        kin_message m;
        int status = kin_queue_take(b->queues[me], &m, LONG_MS);
        if (status == KIN_E_CLOSED) {
            return 0;
        }
        CHECK(status == 0);
        uint64_t *words = m.data;
        words[0]++;
        words[m.size / 8 - 1]++;
        CHECK(kin_queue_put_message(b->queues[(me + 1) % STATIONS], &m, LONG_MS) == 0);
    }
}

static void messages_go_round_among_processes(void **state)
{
    (void) state;
    board *b = shared_new(sizeof *b);
    kin_process all[STATIONS - 1];
    for (int i = 0; i < STATIONS; i++) {
        b->queues[i] = new_queue(NULL);
    }
    for (int i = 0; i < STATIONS - 1; i++) {
        all[i] = start_on(pass_on, b);
    }
    for (uint64_t i = 0; i < 8; i++) {
        kin_message m;
        assert_int_equal(kin_queue_reserve(b->queues[0], &m, (size_t) 16 << (2 * i), 0), 0);
        memset(m.data, 0, m.size);
        assert_int_equal(kin_queue_commit(&m), 0);
    }
    for (int i = 0; i < 8 * LAPS; i++) {
        kin_message m;
        assert_int_equal(kin_queue_take(b->queues[STATIONS - 1], &m, LONG_MS), 0);
        const uint64_t *words = m.data;
        if (words[0] == (STATIONS - 1) * LAPS) {
            assert_int_equal(words[m.size / 8 - 1], (STATIONS - 1) * LAPS);
            assert_int_equal(kin_queue_release(&m), 0);
        } else {
            assert_int_equal(kin_queue_put_message(b->queues[0], &m, 0), 0);
        }
    }
    for (int i = 0; i < STATIONS; i++) {
        assert_int_equal(kin_queue_size(b->queues[i]), 0);
        assert_int_equal(kin_queue_close(b->queues[i]), 0);
    }
    for (int i = 0; i < STATIONS - 1; i++) {
        assert_int_equal(end_of(all[i]), 0);
    }
    for (int i = 0; i < STATIONS; i++) {
        assert_int_equal(kin_queue_destroy(b->queues[i]), 0);
    }
    shared_free(b);
}

static int hold_some(void *argument, size_t size)
{
    (void) size;
    board *b = board_of(argument);
    kin_message m;
    for (int i = 0; i < 3; i++) {
        CHECK(kin_queue_take(b->queues[0], &m, LONG_MS) == 0);
        CHECK(kin_queue_reserve(b->queues[0], &m, i == 0 ? 50 : 100000, 0) == 0);
    }
    mark_add(&b->arrived);
    return mark_await(&b->arrived, 2) ? 0 : CHILD_FAILED;
}

static void what_a_process_has_is_gone_with_it(void **state)
{
    (void) state;
    for (int i = 0; i < 3; i++) {
        kin_arena_usage before;
        kin_arena_usage after;
        board *b = shared_new(sizeof *b);
        b->queues[0] = new_queue(NULL);
        assert_int_equal(kin_arena_read_usage(&before), 0);
        for (uint64_t k = 0; k < 4; k++) {
            send(b->queues[0], k == 0 ? 60 : 50000, k);
        }
        kin_process holder = start_on(hold_some, b);
        assert_true(mark_await(&b->arrived, 1));
        assert_int_equal(kin_queue_size(b->queues[0]), 1);
        if (i == 1) {
            kill_and_close(holder);
        } else {
            if (i == 2) {
                assert_int_equal(kin_queue_destroy(b->queues[0]), 0);
            }
            mark_add(&b->arrived);
            assert_int_equal(end_of(holder), 0);
        }
        if (i < 2) {
            receive(b->queues[0], 50000, 3);
            assert_int_equal(kin_queue_size(b->queues[0]), 0);
            assert_int_equal(kin_arena_read_usage(&after), 0);
            assert_true(after.blocks <= before.blocks + 2); /* and what the queue keeps */
            assert_int_equal(kin_queue_destroy(b->queues[0]), 0);
        }
        shared_free(b);
    }
}

static void release_copy(void *argument, unsigned number)
{
    (void) number;
    board *b = argument;
    kin_message copy = b->message;
    int status = kin_queue_release(&copy);
    atomic_fetch_add(status == 0 ? &b->released : &b->refused, 1);
}

static void of_many_who_release_it_one_does(void **state)
{
    (void) state;
    board *b = shared_new(sizeof *b);
    b->queues[0] = new_queue(NULL);
    for (uint32_t i = 1; i <= 50; i++) {
        send(b->queues[0], i % 2 == 0 ? 100 : 10000, i);
        b->message = take(b->queues[0], i % 2 == 0 ? 100 : 10000, i);
        system_run_threads(THREADS, release_copy, b);
        assert_int_equal(atomic_load(&b->released), i);
        assert_int_equal(atomic_load(&b->refused), (THREADS - 1) * i);
    }
    assert_int_equal(kin_queue_destroy(b->queues[0]), 0);
    shared_free(b);
}

int main(int argc, char **argv)
{
    if (kin_init(&argc, &argv) < 0) {
        return EXIT_FAILURE;
    }
    const struct CMUnitTest tests[] = {
        CLEAN_TEST(a_message_comes_as_it_was_filled),
        CLEAN_TEST(messages_and_copies_go_together),
        CLEAN_TEST(it_may_be_made_smaller),
        CLEAN_TEST(they_come_in_the_order_of_their_commits),
        CLEAN_TEST(what_is_reserved_can_always_be_committed),
        CLEAN_TEST(messages_are_kept_while_the_queue_goes_on),
        CLEAN_TEST(no_call_takes_a_message_that_is_none),
        CLEAN_TEST(a_message_moves_between_queues_without_a_copy),
        CLEAN_TEST(who_cannot_put_it_keeps_it),
        CLEAN_TEST(a_queue_that_is_closed_or_gone_leaves_it_to_its_maker),
        CLEAN_TEST(messages_go_round_among_processes),
        CLEAN_TEST(what_a_process_has_is_gone_with_it),
        CLEAN_TEST(of_many_who_release_it_one_does),
    };
    return cmocka_run_group_tests(tests, warm_up, NULL);
}
