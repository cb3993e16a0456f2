/* kin/queue.h, alone: what each call does, with items of every size, and what each refuses. */
#include "support.h"
#include "support_queue.h"

#include <stdlib.h>
#include <string.h>

enum { MS = 1000000, KIB = 1024, MIB = 1024 * 1024, LARGE = 3 * MIB, BATCH = 40 };

static kin_queue new_queue(const kin_queue_options *options)
{
    kin_queue q = {0};
    assert_int_equal(kin_queue_create(&q, options), 0);
    assert_true(q.id != 0);
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

static void is_empty_and_open(kin_queue q)
{
    uint64_t number;
    assert_int_equal(kin_queue_size(q), 0);
    assert_int_equal(kin_queue_is_empty(q), 1);
    assert_int_equal(kin_queue_get(q, &number, sizeof number, NULL, 0), KIN_E_TIMEOUT);
    assert_int_equal(kin_queue_peek(q, &number, sizeof number, NULL, 0), KIN_E_TIMEOUT);
}

static void what_is_put_is_got(void **state)
{
    (void) state;
    kin_queue q = new_queue(NULL);
    is_empty_and_open(q);
    assert_int_equal(kin_queue_is_full(q), 0);
    assert_int_equal(kin_queue_is_closed(q), 0);
    for (uint64_t i = 1; i <= 500; i++) {
        put_number(q, i);
        assert_int_equal(kin_queue_size(q), i);
    }
    assert_int_equal(kin_queue_is_empty(q), 0);
    assert_int_equal(kin_queue_is_full(q), 0);
    for (uint64_t i = 1; i <= 500; i++) {
        assert_int_equal(get_number(q), i);
        assert_int_equal(kin_queue_size(q), 500 - i);
    }
    is_empty_and_open(q);
    assert_int_equal(kin_queue_destroy(q), 0);
}

/* ---- sizes ---- */

/* A number of that many bytes; nothing for none. */
static void fill(unsigned char *bytes, size_t size, uint64_t number)
{
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (unsigned char) (number * 31 + i * 7 + (i >> 8));
    }
}

static bool is_filled(const unsigned char *bytes, size_t size, uint64_t number)
{
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != (unsigned char) (number * 31 + i * 7 + (i >> 8))) {
            return false;
        }
    }
    return true;
}

static unsigned char *bytes_new(size_t size)
{
    unsigned char *bytes = malloc(size);
    assert_non_null(bytes);
    return bytes;
}

static void get_filled(kin_queue q, unsigned char *buffer, size_t size, uint64_t number)
{
    size_t got = SIZE_MAX;
    memset(buffer, 0xa5, size + 1);
    assert_int_equal(kin_queue_get(q, buffer, size, &got, 0), 0); /* just large enough */
    assert_int_equal(got, size);
    assert_true(is_filled(buffer, size, number));
    assert_int_equal(buffer[size], 0xa5); /* and no byte more */
}

/* One alone, then several at once, for the items beside it. */
static void pass_size(kin_queue q, unsigned char *from, unsigned char *to, size_t size)
{
    enum { AT_ONCE = 3 };
    for (uint64_t count = 1; count <= AT_ONCE; count += AT_ONCE - 1) {
        for (uint64_t i = 0; i < count; i++) {
            fill(from, size, size + i);
            assert_int_equal(kin_queue_put(q, size != 0 ? from : NULL, size, 0), 0);
        }
        for (uint64_t i = 0; i < count; i++) {
            get_filled(q, to, size, size + i);
        }
    }
    assert_int_equal(kin_queue_size(q), 0);
}

static void an_item_may_have_any_size(void **state)
{
    (void) state;
    static const size_t inline_sizes[] = {0, 1, 8, 64, 119, 120, 121, 1000, KIN_QUEUE_ITEM_LIMIT};
    static const size_t sizes[] = {
        0,       1,       2,       7,   8,       16,       56,    63,   64,      65,
        119,     120,     121,     127, 128,     129,      1000,  4095, 4 * KIB, 4 * KIB + 1,
        6 * KIB, 8 * KIB, MIB - 1, MIB, MIB + 1, 64 * KIB, LARGE, 0,    1,       LARGE};
    unsigned char *from = bytes_new(LARGE + 1);
    unsigned char *to = bytes_new(LARGE + 1);
    for (size_t i = 0; i < sizeof inline_sizes / sizeof *inline_sizes; i++) {
        size_t limit = inline_sizes[i];
        const kin_queue_options options = {.item_size = (uint32_t) limit,
                                           .capacity = i % 2 == 0 ? 0 : BATCH};
        kin_queue q = new_queue(&options);
        for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
            if (sizes[k] < LARGE || i == 0) {
                pass_size(q, from, to, sizes[k]);
            }
        }
        for (size_t size = limit > 3 ? limit - 3 : 0; size < limit + 4; size++) {
            pass_size(q, from, to, size);
        }
        assert_int_equal(kin_queue_destroy(q), 0);
    }
    free(from);
    free(to);
}

static size_t mixed_size(uint64_t *seed)
{
    static const size_t most[] = {1, 64, 121, 130, 5000, 200000};
    return next_random(seed) % most[next_random(seed) % 6];
}

static void sizes_may_be_mixed(void **state)
{
    (void) state;
    enum { ROUNDS = 3000, MOST = 60 };
    kin_queue q = new_queue(NULL);
    unsigned char *buffer = bytes_new(200001);
    uint64_t seed = 5;
    uint64_t in_seed = 7;
    uint64_t out_seed = 7;
    uint64_t in = 0;
    uint64_t out = 0;
    while (out < ROUNDS) {
        bool put = in < ROUNDS && (in == out || (in - out < MOST && next_random(&seed) % 2 == 0));
        if (put) {
            size_t size = mixed_size(&in_seed);
            fill(buffer, size, in++);
            assert_int_equal(kin_queue_put(q, buffer, size, 0), 0);
        } else {
            get_filled(q, buffer, mixed_size(&out_seed), out++);
        }
        assert_int_equal(kin_queue_size(q), in - out);
    }
    free(buffer);
    assert_int_equal(kin_queue_destroy(q), 0);
}

static void a_buffer_that_is_too_small_leaves_the_item(void **state)
{
    (void) state;
    static const size_t sizes[] = {1, 64, 120, 121, 5000, MIB};
    kin_queue q = new_queue(NULL);
    unsigned char *buffer = bytes_new(MIB + 1);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t size = 0;
        fill(buffer, sizes[i], i);
        assert_int_equal(kin_queue_put(q, buffer, sizes[i], 0), 0);
        put_number(q, i);
        memset(buffer, 0xa5, sizes[i]);
        assert_int_equal(kin_queue_get(q, buffer, sizes[i] - 1, &size, 0), KIN_E_TOO_SMALL);
        assert_int_equal(size, sizes[i]);
        size = 0;
        assert_int_equal(kin_queue_get(q, NULL, 0, &size, KIN_FOREVER), KIN_E_TOO_SMALL);
        assert_int_equal(size, sizes[i]);
        assert_int_equal(kin_queue_get(q, buffer, 0, NULL, 0), KIN_E_TOO_SMALL);
        assert_int_equal(kin_queue_peek(q, buffer, sizes[i] - 1, &size, 0), KIN_E_TOO_SMALL);
        assert_int_equal(kin_queue_size(q), 2);
        get_filled(q, buffer, sizes[i], i);
        assert_int_equal(get_number(q), i);
    }
    free(buffer);
    assert_int_equal(kin_queue_destroy(q), 0);
}

static void who_peeks_leaves_the_item(void **state)
{
    (void) state;
    kin_queue q = new_queue(NULL);
    unsigned char buffer[5001];
    uint64_t number = 0;
    size_t size = 0;
    put_number(q, 17);
    fill(buffer, 5000, 3);
    assert_int_equal(kin_queue_put(q, buffer, 5000, 0), 0);
    for (int i = 0; i < 3; i++) {
        number = 0;
        assert_int_equal(kin_queue_peek(q, &number, sizeof number, &size, KIN_FOREVER), 0);
        assert_int_equal(size, sizeof number);
        assert_int_equal(number, 17);
        assert_int_equal(kin_queue_size(q), 2);
    }
    assert_int_equal(kin_queue_peek(q, &number, sizeof number, NULL, 0), 0);
    assert_int_equal(get_number(q), 17);
    memset(buffer, 0, sizeof buffer);
    assert_int_equal(kin_queue_peek(q, buffer, 5000, &size, 0), 0);
    assert_true(size == 5000 && is_filled(buffer, 5000, 3));
    get_filled(q, buffer, 5000, 3);
    is_empty_and_open(q);
    assert_int_equal(kin_queue_destroy(q), 0);
}

/* ---- several at once ---- */

static void several_are_put_and_got_at_once(void **state)
{
    (void) state;
    kin_queue q = new_queue(NULL);
    unsigned char bytes[BATCH][200];
    kin_buffer items[BATCH];
    size_t done = 0;
    for (size_t i = 0; i < BATCH; i++) {
        items[i] = (kin_buffer){bytes[i], i * 5};
        fill(bytes[i], items[i].size, i);
    }
    assert_int_equal(kin_queue_put_many(q, items, BATCH, &done, 0), 0);
    assert_int_equal(done, BATCH);
    assert_int_equal(kin_queue_put_many(q, items, 1, NULL, 0), 0);
    assert_int_equal(kin_queue_size(q), BATCH + 1);
    for (size_t first = 0; first < BATCH; first += done) {
        for (size_t i = 0; i < BATCH; i++) {
            memset(bytes[i], 0, sizeof bytes[i]);
            items[i] = (kin_buffer){bytes[i], sizeof bytes[i]};
        }
        done = 0;
        assert_int_equal(kin_queue_get_many(q, items, BATCH / 4, &done, 0), 0);
        assert_int_equal(done, BATCH / 4); /* as many as wanted are there */
        for (size_t i = 0; i < done; i++) {
            assert_int_equal(items[i].size, (first + i) * 5);
            assert_true(is_filled(bytes[i], items[i].size, first + i));
        }
    }
    done = 7;
    assert_int_equal(kin_queue_get_many(q, items, BATCH, &done, KIN_FOREVER), 0);
    assert_int_equal(done, 1); /* it waits for one, not for all */
    assert_int_equal(kin_queue_get_many(q, items, BATCH, &done, 0), KIN_E_TIMEOUT);
    assert_int_equal(done, 0);
    assert_int_equal(kin_queue_destroy(q), 0);
}

static void those_before_the_first_that_cannot_be_put_are(void **state)
{
    (void) state;
    const kin_queue_options three = {.capacity = 3};
    const kin_queue_options bytes = {.capacity_bytes = 100};
    unsigned char data[101] = {1, 2, 3};
    kin_buffer items[5] = {{data, 1}, {data, 2}, {data, 3}, {data, 4}, {data, 5}};
    size_t done = 0;
    kin_queue q = new_queue(&three);
    assert_int_equal(kin_queue_put_many(q, items, 5, &done, 0), KIN_E_TIMEOUT);
    assert_int_equal(done, 3);
    assert_int_equal(kin_queue_size(q), 3);
    assert_int_equal(kin_queue_put_many(q, items, 5, &done, 1), KIN_E_TIMEOUT);
    assert_int_equal(done, 0);
    assert_int_equal(kin_queue_close(q), 0);
    assert_int_equal(kin_queue_put_many(q, items, 5, &done, 0), KIN_E_CLOSED);
    assert_int_equal(done, 0);
    assert_int_equal(kin_queue_destroy(q), 0);

    q = new_queue(&bytes);
    items[2].size = 101;
    assert_int_equal(kin_queue_put_many(q, items, 5, &done, KIN_FOREVER), KIN_E_LIMIT);
    assert_int_equal(done, 2);
    assert_int_equal(kin_queue_size(q), 2);
    items[2] = (kin_buffer){NULL, 1};
    assert_int_equal(kin_queue_put_many(q, items, 5, &done, 0), KIN_E_INVALID);
    assert_true(done == 0 || done == 2);
    assert_int_equal(kin_queue_destroy(q), 0);
}

static void a_too_large_one_ends_a_batch(void **state)
{
    (void) state;
    kin_queue q = new_queue(NULL);
    unsigned char data[3][100];
    size_t done = 9;
    for (int i = 0; i < 2; i++) {
        put_number(q, 1);
        fill(data[0], 100, 2);
        assert_int_equal(kin_queue_put(q, data[0], 100, 0), 0);
        put_number(q, 3);
        kin_buffer items[3] = {{data[0], 8}, {data[1], 99}, {data[2], 100}};
        assert_int_equal(kin_queue_get_many(q, items, 3, &done, 0), 0);
        assert_int_equal(done, 1);
        assert_int_equal(items[0].size, 8);
        assert_int_equal(kin_queue_size(q), 2);
        assert_int_equal(kin_queue_get_many(q, &items[1], 2, &done, 0), KIN_E_TOO_SMALL);
        assert_int_equal(done, 0);
        items[1] = (kin_buffer){data[1], 100};
        items[2] = (kin_buffer){data[2], 100};
        assert_int_equal(kin_queue_get_many(q, &items[1], 2, &done, 0), 0);
        assert_int_equal(done, 2);
        assert_true(items[1].size == 100 && items[2].size == 8 && is_filled(data[1], 100, 2));
    }
    is_empty_and_open(q);
    assert_int_equal(kin_queue_destroy(q), 0);
}

/* ---- as a whole ---- */

static void a_closed_one_takes_nothing_and_gives_the_rest(void **state)
{
    (void) state;
    kin_queue q = new_queue(NULL);
    uint64_t number = 0;
    kin_message message;
    kin_buffer buffer = {&number, sizeof number};
    size_t done = 0;
    put_number(q, 1);
    put_number(q, 2);
    assert_int_equal(kin_queue_close(q), 0);
    assert_int_equal(kin_queue_close(q), 0);
    assert_int_equal(kin_queue_is_closed(q), 1);
    assert_int_equal(kin_queue_put(q, &number, sizeof number, KIN_FOREVER), KIN_E_CLOSED);
    assert_int_equal(kin_queue_put(q, &number, sizeof number, 0), KIN_E_CLOSED);
    assert_int_equal(kin_queue_reserve(q, &message, 10, KIN_FOREVER), KIN_E_CLOSED);
    assert_int_equal(kin_queue_size(q), 2);
    assert_int_equal(kin_queue_peek(q, &number, sizeof number, NULL, 0), 0);
    assert_int_equal(get_number(q), 1);
    assert_int_equal(kin_queue_get_many(q, &buffer, 1, &done, KIN_FOREVER), 0);
    assert_int_equal(number, 2);
    assert_int_equal(kin_queue_get(q, &number, sizeof number, NULL, KIN_FOREVER), KIN_E_CLOSED);
    assert_int_equal(kin_queue_get(q, &number, sizeof number, NULL, 0), KIN_E_CLOSED);
    assert_int_equal(kin_queue_peek(q, &number, sizeof number, NULL, KIN_FOREVER), KIN_E_CLOSED);
    assert_int_equal(kin_queue_take(q, &message, KIN_FOREVER), KIN_E_CLOSED);
    assert_int_equal(kin_queue_get_many(q, &buffer, 1, &done, KIN_FOREVER), KIN_E_CLOSED);
    assert_int_equal(done, 0);
    assert_int_equal(kin_queue_reopen(q), 0);
    assert_int_equal(kin_queue_reopen(q), 0);
    assert_int_equal(kin_queue_is_closed(q), 0);
    is_empty_and_open(q);
    put_number(q, 3);
    assert_int_equal(get_number(q), 3);
    assert_int_equal(kin_queue_close(q), 0);
    assert_int_equal(kin_queue_destroy(q), 0);
}

static void a_full_one_that_is_closed_says_so(void **state)
{
    (void) state;
    const kin_queue_options one = {.capacity = 1};
    kin_queue q = new_queue(&one);
    put_number(q, 1);
    assert_int_equal(kin_queue_close(q), 0);
    assert_int_equal(kin_queue_put(q, NULL, 0, KIN_FOREVER), KIN_E_CLOSED);
    assert_int_equal(kin_queue_put(q, NULL, 0, 0), KIN_E_CLOSED);
    assert_int_equal(kin_queue_reopen(q), 0);
    assert_int_equal(kin_queue_put(q, NULL, 0, 0), KIN_E_TIMEOUT);
    assert_int_equal(get_number(q), 1);
    assert_int_equal(kin_queue_destroy(q), 0);
}

static void a_wait_is_never_over_early(void **state)
{
    (void) state;
    static const int times[] = {1, 10, 60};
    const kin_queue_options one = {.capacity = 1};
    kin_queue q = new_queue(&one);
    uint64_t number = 0;
    kin_message m;
    for (size_t i = 0; i < 3 * sizeof times / sizeof *times; i++) {
        int time = times[i / 3];
        int64_t before = kin_clock_ns();
        int status = i % 3 == 0   ? kin_queue_get(q, &number, sizeof number, NULL, time)
                     : i % 3 == 1 ? kin_queue_peek(q, &number, sizeof number, NULL, time)
                                  : kin_queue_take(q, &m, time);
        int64_t took = kin_clock_ns() - before;
        assert_int_equal(status, KIN_E_TIMEOUT);
        assert_true(took >= (int64_t) time * MS);
        print_message("a wait of %d ms took %.3f ms\n", time, (double) took / MS);
    }
    assert_int_equal(kin_queue_put(q, NULL, 0, 0), 0);
    for (size_t i = 0; i < 2 * sizeof times / sizeof *times; i++) {
        int time = times[i / 2];
        int64_t before = kin_clock_ns();
        int status = i % 2 == 0 ? kin_queue_put(q, &number, sizeof number, time)
                                : kin_queue_reserve(q, &m, 10, time);
        int64_t took = kin_clock_ns() - before;
        assert_int_equal(status, KIN_E_TIMEOUT);
        assert_true(took >= (int64_t) time * MS);
    }
    assert_int_equal(kin_queue_destroy(q), 0);
}

/* ---- what is refused ---- */

static void bad_options_are_refused(void **state)
{
    (void) state;
    kin_queue q;
    kin_event event;
    const kin_queue_options bad[] = {
        {.name = "01234567890123456789012345678901"},
        {.item_size = KIN_QUEUE_ITEM_LIMIT + 1},
        {.order = KIN_QUEUE_PRIORITY + 1},
        {.order = UINT32_MAX},
    };
    assert_int_equal(kin_queue_create(NULL, NULL), KIN_E_INVALID);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(kin_queue_create(&q, &bad[i]), KIN_E_INVALID);
    }
    assert_int_equal(kin_event_create(&event, NULL), 0);
    kin_queue_options letters = {.redeliver = true, .max_deliveries = 1};
    letters.dead_letters = (kin_queue){event.id};
    assert_int_equal(kin_queue_create(&q, &letters), KIN_E_HANDLE);
    letters.dead_letters = (kin_queue){12345};
    assert_int_equal(kin_queue_create(&q, &letters), KIN_E_HANDLE);
    letters.dead_letters = new_queue(NULL);
    assert_int_equal(kin_queue_destroy(letters.dead_letters), 0);
    assert_int_equal(kin_queue_create(&q, &letters), KIN_E_HANDLE);
    assert_int_equal(kin_event_destroy(event), 0);
    const kin_queue_options named = {.name = "0123456789012345678901234567890"};
    q = new_queue(&named);
    assert_int_equal(kin_queue_destroy(q), 0);
}

static bool every_call_says(kin_queue q, int error)
{
    uint64_t number = 0;
    size_t done;
    kin_message m;
    kin_buffer b = {&number, sizeof number};
    return kin_queue_put(q, &number, sizeof number, KIN_FOREVER) == error &&
           kin_queue_put_priority(q, &number, sizeof number, 0, 0) == error &&
           kin_queue_get(q, &number, sizeof number, NULL, KIN_FOREVER) == error &&
           kin_queue_peek(q, &number, sizeof number, NULL, 0) == error &&
           kin_queue_put_many(q, &b, 1, &done, 0) == error &&
           kin_queue_get_many(q, &b, 1, &done, 0) == error &&
           kin_queue_reserve(q, &m, 100, 0) == error && kin_queue_take(q, &m, 0) == error &&
           kin_queue_task_done(q) == error && kin_queue_join(q, KIN_FOREVER) == error &&
           kin_queue_size(q) == error && kin_queue_is_empty(q) == error &&
           kin_queue_is_full(q) == error && kin_queue_is_closed(q) == error &&
           kin_queue_close(q) == error && kin_queue_reopen(q) == error &&
           kin_queue_destroy(q) == error;
}

static void bad_handles_are_told(void **state)
{
    (void) state;
    kin_lock lock;
    kin_memory memory;
    kin_queue q = new_queue(NULL);
    assert_int_equal(kin_queue_destroy(q), 0);
    assert_true(every_call_says(q, KIN_E_HANDLE));
    kin_queue other = new_queue(NULL); /* perhaps in the same place */
    assert_true(every_call_says(q, KIN_E_HANDLE));
    assert_true(every_call_says((kin_queue){0}, KIN_E_HANDLE));
    assert_true(every_call_says((kin_queue){UINT64_MAX}, KIN_E_HANDLE));
    assert_true(every_call_says((kin_queue){other.id ^ UINT64_C(1) << 40}, KIN_E_HANDLE));
    assert_int_equal(kin_lock_create(&lock, NULL), 0);
    assert_int_equal(kin_memory_create(&memory, 100), 0);
    assert_true(every_call_says((kin_queue){lock.id}, KIN_E_HANDLE));
    assert_true(every_call_says((kin_queue){memory.id}, KIN_E_HANDLE));
    assert_true(every_call_says((kin_queue){kin_current_process().id}, KIN_E_HANDLE));
    assert_int_equal(kin_lock_acquire((kin_lock){other.id}, 0), KIN_E_HANDLE);
    assert_int_equal(kin_lock_destroy((kin_lock){other.id}), KIN_E_HANDLE);
    assert_int_equal(kin_lock_destroy(lock), 0);
    assert_int_equal(kin_memory_destroy(memory), 0);
    is_empty_and_open(other);
    assert_int_equal(kin_queue_destroy(other), 0);
}

static void bad_arguments_are_told(void **state)
{
    (void) state;
    kin_queue q = new_queue(NULL);
    uint64_t number = 5;
    size_t done = 1;
    assert_int_equal(kin_queue_put(q, NULL, 1, 0), KIN_E_INVALID);
    assert_int_equal(kin_queue_put_priority(q, &number, 8, 1, 0), KIN_E_INVALID);
    assert_int_equal(kin_queue_put_priority(q, &number, 8, -1, 0), KIN_E_INVALID);
    assert_int_equal(kin_queue_put_many(q, NULL, 1, &done, 0), KIN_E_INVALID);
    assert_int_equal(kin_queue_reserve(q, NULL, 1, 0), KIN_E_INVALID);
    is_empty_and_open(q);
    assert_int_equal(kin_queue_put_many(q, NULL, 0, &done, 0), 0);
    assert_int_equal(done, 0);
    assert_int_equal(kin_queue_put_priority(q, &number, 8, 0, 0), 0);
    assert_int_equal(kin_queue_get(q, NULL, 8, NULL, 0), KIN_E_INVALID);
    assert_int_equal(kin_queue_peek(q, NULL, 8, NULL, 0), KIN_E_INVALID);
    assert_int_equal(kin_queue_take(q, NULL, 0), KIN_E_INVALID);
    assert_int_equal(kin_queue_get_many(q, NULL, 1, &done, 0), KIN_E_INVALID);
    kin_buffer none = {NULL, 8};
    assert_int_equal(kin_queue_get_many(q, &none, 1, &done, 0), KIN_E_INVALID);
    assert_int_equal(kin_queue_get_many(q, &none, 0, &done, 0), KIN_E_INVALID);
    assert_int_equal(kin_queue_commit(NULL), KIN_E_INVALID);
    assert_int_equal(kin_queue_release(NULL), KIN_E_INVALID);
    assert_int_equal(kin_queue_return(NULL), KIN_E_INVALID);
    assert_int_equal(kin_queue_put_message(q, NULL, 0), KIN_E_INVALID);
    assert_int_equal(get_number(q), 5);
    if (SIZE_MAX > UINT32_MAX) { /* more than the arena could ever hold */
        assert_int_equal(kin_queue_put(q, &number, SIZE_MAX, 0), KIN_E_NOMEM);
        kin_message message;
        assert_int_equal(kin_queue_reserve(q, &message, SIZE_MAX / 2, 0), KIN_E_NOMEM);
    }
    is_empty_and_open(q);
    assert_int_equal(kin_queue_destroy(q), 0);
}

static int use_without_kin(int argc, char **argv)
{
    (void) argc, (void) argv;
    kin_queue q = {1};
    kin_message m = {0};
    CHECK(kin_queue_create(&q, NULL) == KIN_E_INIT);
    CHECK(every_call_says(q, KIN_E_INIT));
    CHECK(kin_queue_commit(&m) < 0);
    CHECK(kin_queue_release(&m) < 0);
    CHECK(kin_queue_put_message(q, &m, 0) < 0);
    return 0;
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
        return EXIT_FAILURE;
    }
    const struct CMUnitTest tests[] = {
        CLEAN_TEST(what_is_put_is_got),
        CLEAN_TEST(an_item_may_have_any_size),
        CLEAN_TEST(sizes_may_be_mixed),
        CLEAN_TEST(a_buffer_that_is_too_small_leaves_the_item),
        CLEAN_TEST(who_peeks_leaves_the_item),
        CLEAN_TEST(several_are_put_and_got_at_once),
        CLEAN_TEST(those_before_the_first_that_cannot_be_put_are),
        CLEAN_TEST(a_too_large_one_ends_a_batch),
        CLEAN_TEST(a_closed_one_takes_nothing_and_gives_the_rest),
        CLEAN_TEST(a_full_one_that_is_closed_says_so),
        CLEAN_TEST(a_wait_is_never_over_early),
        CLEAN_TEST(bad_options_are_refused),
        CLEAN_TEST(bad_handles_are_told),
        CLEAN_TEST(bad_arguments_are_told),
        CLEAN_TEST(without_kin_init_nothing_works),
    };
    return cmocka_run_group_tests(tests, warm_up, NULL);
}
