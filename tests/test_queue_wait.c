/* Queues between threads and processes: the order of each producer's items, bounds that hold, those
   who wait and what they are told, and copies that fork makes. */
#include "support.h"
#include "support_queue.h"

#include "core/platform.h"
#include "core/queue.h"

#include <stdlib.h>
#include <string.h>

#if !defined _WIN32
#include <sys/wait.h>
#include <unistd.h>
#endif

enum { MS = 1000000, PRODUCERS = 3, CONSUMERS = 3, LARGEST = 3000 };

#if WITH_SANITIZER || defined _WIN32
enum { ITEMS = 2000 };
#else
enum { ITEMS = 20000 };
#endif

/* What a test and its children share. */
typedef struct board {
    kin_queue queue;
    kin_queue other;
    mark arrived;
    mark through;
    uint32_t items;         /* of each producer */
    uint32_t largest;       /* sizes are up to that; 0: all are the least */
    uint32_t batch;         /* so many are got at once; 0: one, by kin_queue_get */
    uint64_t capacity;      /* looked at all the time; 0: not */
    _Atomic uint32_t next;  /* producer's number */
    _Atomic uint32_t wrong; /* the line where something was not as it should be */
    _Atomic uint32_t stop;
    _Atomic uint64_t got;
    _Atomic unsigned char met[PRODUCERS * 2][ITEMS]; /* how often each item came */
} board;

static board *new_board(const kin_queue_options *options)
{
    board *b = shared_new(sizeof *b);
    assert_int_equal(kin_queue_create(&b->queue, options), 0);
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

#define RIGHT(b, condition)                      \
    do {                                         \
        if (!(condition)) {                      \
            atomic_store(&(b)->wrong, __LINE__); \
        }                                        \
    } while (0)

/* ---- order ---- */

static void produce(board *b)
{
    unsigned char item[LARGEST];
    uint32_t me = atomic_fetch_add(&b->next, 1);
    uint64_t seed = me;
    for (uint32_t i = 0; i < b->items; i++) {
        size_t size = ITEM_LEAST;
        if (b->largest != 0) {
            size += next_random(&seed) % (b->largest - ITEM_LEAST);
        }
        item_fill(item, size, me, i);
        RIGHT(b, kin_queue_put(b->queue, item, size, LONG_MS) == 0);
    }
}

/* Last items that one consumer has seen. */
typedef struct seen {
    int64_t last[PRODUCERS * 2];
} seen;

static void look_at(board *b, seen *s, const void *data, size_t size)
{
    item_mark label;
    if (!item_is_whole(data, size, &label) || label.producer >= PRODUCERS * 2 ||
        label.number >= b->items) {
        RIGHT(b, false);
        return;
    }
    RIGHT(b, (int64_t) label.number > s->last[label.producer]); /* in the order of its producer */
    s->last[label.producer] = (int64_t) label.number;
    RIGHT(b, atomic_fetch_add(&b->met[label.producer][label.number], 1) == 0);
    atomic_fetch_add(&b->got, 1);
    if (b->capacity != 0) {
        int64_t there = kin_queue_size(b->queue);
        RIGHT(b, there >= 0 && (uint64_t) there <= b->capacity);
    }
}

static int get_batch(board *b, seen *s)
{
    enum { MOST = 8 };
    static _Thread_local unsigned char data[MOST][LARGEST];
    kin_buffer items[MOST];
    size_t done = 0;
    for (size_t i = 0; i < MOST; i++) {
        items[i] = (kin_buffer){data[i], LARGEST};
    }
    int status = kin_queue_get_many(b->queue, items, b->batch, &done, LONG_MS);
    RIGHT(b, status == 0 ? done >= 1 && done <= b->batch : done == 0);
    for (size_t i = 0; i < done; i++) {
        look_at(b, s, items[i].data, items[i].size);
    }
    return status;
}

/* Until the queue is closed and empty. */
static void consume(board *b)
{
    unsigned char item[LARGEST];
    seen s;
    int status = 0;
    memset(&s, -1, sizeof s);
    while (status == 0) {
        size_t size = 0;
        if (b->batch != 0) {
            status = get_batch(b, &s);
        } else {
            status = kin_queue_get(b->queue, item, sizeof item, &size, LONG_MS);
            if (status == 0) {
                look_at(b, &s, item, size);
            }
        }
    }
    RIGHT(b, status == KIN_E_CLOSED);
}

static int be_producer(void *argument, size_t size)
{
    (void) size;
    produce(board_of(argument));
    return 0;
}

static int be_consumer(void *argument, size_t size)
{
    (void) size;
    consume(board_of(argument));
    return 0;
}

/* Thread 0 closes when all producers have ended, the others are half of each. */
static void be_thread(void *argument, unsigned number)
{
    board *b = argument;
    if (number % 2 == 0) {
        produce(b);
        mark_add(&b->through);
    } else {
        consume(b);
    }
    if (number == 0) {
        RIGHT(b, mark_await(&b->through, PRODUCERS * 2));
        RIGHT(b, kin_queue_close(b->queue) == 0);
    }
}

static int be_process_of_producers(void *argument, size_t size)
{
    (void) size;
    board *b = board_of(argument);
    produce(b);
    mark_add(&b->through);
    return 0;
}

static void see_all_got(const board *b, uint32_t producers)
{
    assert_int_equal(atomic_load(&b->wrong), 0);
    assert_int_equal(atomic_load(&b->got), (uint64_t) producers * b->items);
    for (uint32_t i = 0; i < producers; i++) {
        for (uint32_t k = 0; k < b->items; k++) {
            assert_int_equal(atomic_load(&b->met[i][k]), 1);
        }
    }
    assert_int_equal(kin_queue_size(b->queue), 0);
}

static const kin_queue_options bounded = {.capacity = 5};
static const kin_queue_options hundred = {.capacity = 100, .item_size = 16};
static const kin_queue_options of_bytes = {.capacity_bytes = 20000};

static const struct {
    const kin_queue_options *options;
    uint32_t largest;
    uint32_t batch;
} crowds[] = {
    {NULL, 0, 0}, {NULL, LARGEST, 0}, {&bounded, 0, 0},  {&bounded, 200, 3},
    {NULL, 0, 8}, {&hundred, 0, 1},   {&hundred, 64, 8}, {&of_bytes, LARGEST, 0},
};
enum { CROWDS = sizeof crowds / sizeof *crowds };

static board *new_crowd(size_t i, uint32_t items)
{
    board *b = new_board(crowds[i].options);
    b->items = items;
    b->largest = crowds[i].largest;
    b->batch = crowds[i].batch;
    b->capacity = crowds[i].options != NULL ? crowds[i].options->capacity : 0;
    return b;
}

static void processes_get_each_item_once_and_in_order(void **state)
{
    (void) state;
    for (size_t i = 0; i < CROWDS; i++) {
        kin_process all[PRODUCERS + CONSUMERS];
        board *b = new_crowd(i, ITEMS / 2);
        for (int k = 0; k < PRODUCERS + CONSUMERS; k++) {
            all[k] = start_on(k < PRODUCERS ? be_producer : be_consumer, b);
        }
        for (int k = 0; k < PRODUCERS + CONSUMERS; k++) {
            assert_int_equal(end_of(all[k]), 0);
            if (k == PRODUCERS - 1) {
                assert_int_equal(kin_queue_close(b->queue), 0);
            }
        }
        see_all_got(b, PRODUCERS);
        free_board(b);
    }
}

static void threads_of_several_processes_do_so_too(void **state)
{
    (void) state;
    for (size_t i = 0; i < CROWDS; i++) {
        kin_process all[PRODUCERS];
        board *b = new_crowd(i, ITEMS / 8);
        for (int k = 0; k < PRODUCERS; k++) {
            all[k] = start_on(be_process_of_producers, b);
        }
        system_run_threads(PRODUCERS * 2, be_thread, b);
        for (int k = 0; k < PRODUCERS; k++) {
            assert_int_equal(end_of(all[k]), 0);
        }
        see_all_got(b, PRODUCERS * 2);
        free_board(b);
    }
}

/* ---- those who wait ---- */

static int get_once(void *argument, size_t size)
{
    (void) size;
    board *b = board_of(argument);
    uint64_t number = 0;
    int status = kin_queue_get(b->queue, &number, sizeof number, NULL, LONG_MS);
    atomic_fetch_add(&b->got, number);
    mark_add(&b->through);
    return -status;
}

static int put_once(void *argument, size_t size)
{
    (void) size;
    board *b = board_of(argument);
    uint64_t number = 1;
    int status = kin_queue_put(b->queue, &number, sizeof number, LONG_MS);
    mark_add(&b->through);
    return -status;
}

static int peek_once(void *argument, size_t size)
{
    (void) size;
    board *b = board_of(argument);
    uint64_t number = 0;
    int status = kin_queue_peek(b->queue, &number, sizeof number, NULL, LONG_MS);
    mark_add(&b->through);
    return -status;
}

static int take_once(void *argument, size_t size)
{
    (void) size;
    board *b = board_of(argument);
    kin_message m;
    int status = kin_queue_take(b->queue, &m, LONG_MS);
    return -(status == 0 ? kin_queue_release(&m) : status);
}

static int reserve_once(void *argument, size_t size)
{
    (void) size;
    board *b = board_of(argument);
    kin_message m;
    int status = kin_queue_reserve(b->queue, &m, 1000, LONG_MS);
    return -(status == 0 ? kin_queue_commit(&m) : status);
}

static int put_large_once(void *argument, size_t size)
{
    (void) size;
    board *b = board_of(argument);
    static unsigned char data[50000];
    return -kin_queue_put(b->queue, data, sizeof data, LONG_MS);
}

static void as_many_getters_go_on_as_there_are_items(void **state)
{
    (void) state;
    enum { WAITERS = 4 };
    board *b = new_board(NULL);
    kin_process waiters[WAITERS];
    uint64_t one = 1;
    for (int i = 0; i < WAITERS; i++) {
        waiters[i] = start_on(get_once, b);
    }
    assert_true(await_queue_sleepers(WAITERS));
    assert_int_equal(kin_queue_put(b->queue, &one, sizeof one, 0), 0);
    assert_true(mark_await(&b->through, 1));
    assert_true(await_queue_sleepers(WAITERS - 1));
    kin_buffer rest[WAITERS - 1];
    for (int i = 0; i < WAITERS - 1; i++) {
        rest[i] = (kin_buffer){&one, sizeof one};
    }
    assert_int_equal(kin_queue_put_many(b->queue, rest, WAITERS - 1, NULL, 0), 0);
    for (int i = 0; i < WAITERS; i++) {
        assert_int_equal(end_of(waiters[i]), 0);
    }
    assert_int_equal(atomic_load(&b->got), WAITERS);
    free_board(b);
}

/* Whoever is woken first: the one who only looks must not swallow it. */
static void an_item_that_is_peeked_at_still_wakes_one_who_gets_it(void **state)
{
    (void) state;
    board *b = new_board(NULL);
    uint64_t one = 1;
    for (int i = 0; i < 6; i++) {
        kin_process waiters[2];
        waiters[0] = start_on(i % 2 == 0 ? peek_once : get_once, b);
        assert_true(await_queue_sleepers(1));
        waiters[1] = start_on(i % 2 == 0 ? get_once : peek_once, b);
        assert_true(await_queue_sleepers(2));
        assert_int_equal(kin_queue_put(b->queue, &one, sizeof one, 0), 0);
        assert_int_equal(end_of(waiters[1 - i % 2]), 0);
        /* The other may have come too late. */
        assert_int_equal(kin_queue_put(b->queue, &one, sizeof one, 0), 0);
        assert_int_equal(end_of(waiters[i % 2]), 0);
        assert_int_equal(kin_queue_get(b->queue, &one, sizeof one, NULL, 0), 0);
    }
    free_board(b);
}

static void putters_go_on_as_there_is_room(void **state)
{
    (void) state;
    enum { WAITERS = 3 };
    const kin_queue_options two = {.capacity = 2};
    board *b = new_board(&two);
    kin_process waiters[WAITERS];
    uint64_t number = 1;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(kin_queue_put(b->queue, &number, sizeof number, 0), 0);
    }
    for (int i = 0; i < WAITERS; i++) {
        waiters[i] = start_on(put_once, b);
    }
    assert_true(await_queue_sleepers(WAITERS));
    for (uint32_t i = 1; i <= WAITERS; i++) {
        assert_int_equal(kin_queue_size(b->queue), 2);
        assert_int_equal(kin_queue_get(b->queue, &number, sizeof number, NULL, 0), 0);
        assert_true(mark_await(&b->through, i));
    }
    for (int i = 0; i < WAITERS; i++) {
        assert_int_equal(end_of(waiters[i]), 0);
    }
    assert_int_equal(kin_queue_size(b->queue), 2);
    free_board(b);
}

/* A large item waits for the room of many small ones; or a few small ones for that of a large. */
static void room_of_bytes_is_waited_for(void **state)
{
    (void) state;
    const kin_queue_options options = {.capacity_bytes = 50000};
    static unsigned char data[50000];
    board *b = new_board(&options);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(kin_queue_put(b->queue, data, 1000, 0), 0);
    }
    kin_process waiter = start_on(put_large_once, b);
    assert_true(await_queue_sleepers(1));
    for (int i = 0; i < 50; i++) {
        size_t size = 0;
        assert_int_equal(kin_queue_get(b->queue, data, sizeof data, &size, LONG_MS), 0);
        assert_int_equal(size, 1000);
    }
    assert_int_equal(end_of(waiter), 0);
    assert_int_equal(kin_queue_size(b->queue), 1);
    kin_process small[3] = {start_on(put_once, b), start_on(put_once, b), start_on(put_once, b)};
    assert_true(await_queue_sleepers(3));
    assert_int_equal(kin_queue_get(b->queue, data, sizeof data, NULL, 0), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(end_of(small[i]), 0);
    }
    free_board(b);
}

/* Whether by closing or by destroying: all are told the same. */
static void told_by(int (*end)(kin_queue queue), int error)
{
    kin_process_function getters[] = {get_once, peek_once, take_once, get_once};
    kin_process_function putters[] = {put_once, reserve_once, put_once, reserve_once};
    const kin_queue_options one = {.capacity = 1};
    for (int i = 0; i < 2; i++) {
        board *b = new_board(&one);
        kin_process waiters[4];
        if (i == 1) {
            assert_int_equal(kin_queue_put(b->queue, NULL, 0, 0), 0);
        }
        for (int k = 0; k < 4; k++) {
            waiters[k] = start_on(i == 0 ? getters[k] : putters[k], b);
        }
        assert_true(await_queue_sleepers(4));
        assert_int_equal(end(b->queue), 0);
        for (int k = 0; k < 4; k++) {
            assert_int_equal(end_of(waiters[k]), -error);
        }
        int status = kin_queue_destroy(b->queue);
        assert_int_equal(status, error == KIN_E_CLOSED ? 0 : KIN_E_HANDLE);
        shared_free(b);
    }
}

static void those_who_wait_are_told_that_it_is_closed(void **state)
{
    (void) state;
    told_by(kin_queue_close, KIN_E_CLOSED);
}

static void those_who_wait_are_told_that_it_is_destroyed(void **state)
{
    (void) state;
    told_by(kin_queue_destroy, KIN_E_DESTROYED);
}

/* ---- those who have not come to it yet ---- */

static int put_many_once(void *argument, size_t size)
{
    (void) size;
    board *b = board_of(argument);
    uint64_t number = 1;
    kin_buffer item = {&number, sizeof number};
    return -kin_queue_put_many(b->queue, &item, 1, NULL, LONG_MS);
}

static int get_large_once(void *argument, size_t size)
{
    (void) size;
    board *b = board_of(argument);
    static unsigned char data[50000];
    return -kin_queue_get(b->queue, data, sizeof data, NULL, LONG_MS);
}

static int destroy_it(void *argument, size_t size)
{
    (void) size;
    return -kin_queue_destroy(board_of(argument)->queue);
}

/* A latch of a queue is kept from all others until the queue is being destroyed: by then they wait
   for nothing else. */
static void told_before_its_turn(kin_process_function wait, enum object_kind kind)
{
    static const unsigned char large[50000];
    int status = 0;
    board *b = new_board(NULL);
    assert_int_equal(kin_queue_put(b->queue, large, sizeof large, 0), 0);
    sync *d = sync_find(b->queue.id, KIND_QUEUE);
    uint64_t id = kind == KIND_QUEUE_PUT ? queue_put_id(d) : queue_get_id(d);
    sync *latch = sync_find(id, kind);
    assert_non_null(latch);
    assert_int_equal(latch_acquire(latch, id, thread_current(&status), INT64_MAX), 0);
    kin_process waiter = start_on(wait, b);
    assert_true(await_queue_sleepers(1));
    kin_process destroyer = start_on(destroy_it, b);
    while (atomic_load(&d->state) != 0) {
        assert_int_equal(kin_sleep(1), 0);
    }
    assert_int_equal(latch_release(latch, id, thread_current(&status), 0), 0);
    assert_int_equal(end_of(waiter), -KIN_E_DESTROYED);
    assert_int_equal(end_of(destroyer), 0);
    shared_free(b);
}

static void those_who_wait_for_their_turn_are_told_that_it_is_destroyed(void **state)
{
    (void) state;
    kin_process_function putters[] = {put_once, put_many_once, reserve_once, put_large_once};
    kin_process_function getters[] = {get_large_once, take_once};
    for (size_t i = 0; i < sizeof putters / sizeof *putters; i++) {
        told_before_its_turn(putters[i], KIND_QUEUE_PUT);
    }
    for (size_t i = 0; i < sizeof getters / sizeof *getters; i++) {
        told_before_its_turn(getters[i], KIND_QUEUE_GET);
    }
}

/* ---- waiting for many things ---- */

static bool is_ready(kin_queue q, int timeout_ms)
{
    kin_wait_item item = {.id = q.id};
    int status = kin_wait(&item, 1, false, timeout_ms);
    assert_true(status == 0 || status == KIN_E_TIMEOUT);
    assert_int_equal(item.ready, status == 0);
    return status == 0;
}

static int put_when_watched(void *argument, size_t size)
{
    (void) size;
    board *b = board_of(argument);
    while (atomic_load(&b->stop) == 0) {
        bool watched = false;
        for (uint32_t i = 1; i < arena_entries(ARENA_THREADS) && !watched; i++) {
            watched = atomic_load(&thread_at(i)->watches) != 0;
        }
        if (watched) {
            platform_sleep_ns(5 * MS);
            uint64_t number = 9;
            return -kin_queue_put(b->other, &number, sizeof number, 0);
        }
        platform_sleep_ns(MS / 10);
    }
    return CHILD_FAILED;
}

static void a_queue_with_an_item_can_be_waited_for(void **state)
{
    (void) state;
    board *b = new_board(NULL);
    uint64_t number = 3;
    assert_int_equal(kin_queue_create(&b->other, NULL), 0);
    assert_false(is_ready(b->queue, 0));
    assert_false(is_ready(b->queue, 5));
    assert_int_equal(kin_queue_put(b->queue, &number, sizeof number, 0), 0);
    assert_true(is_ready(b->queue, 0));
    assert_int_equal(kin_queue_size(b->queue), 1); /* nothing is taken */
    assert_int_equal(kin_queue_get(b->queue, &number, sizeof number, NULL, 0), 0);
    assert_false(is_ready(b->queue, 0));
    kin_process putter = start_on(put_when_watched, b);
    kin_wait_item items[] = {{.id = b->queue.id}, {.id = b->other.id}};
    assert_int_equal(kin_wait(items, 2, false, LONG_MS), 0);
    assert_true(items[0].ready == 0 && items[1].ready == 1);
    assert_int_equal(end_of(putter), 0);
    assert_int_equal(kin_queue_close(b->queue), 0);
    assert_true(is_ready(b->queue, 0)); /* one that is closed does not let wait */
    assert_int_equal(kin_wait(items, 2, true, LONG_MS), 0);
    assert_int_equal(kin_queue_destroy(b->other), 0);
    assert_int_equal(kin_wait(items, 2, false, 0), 0);
    assert_int_equal(items[1].ready, KIN_E_HANDLE);
    free_board(b);
}

/* ---- fork in the middle ---- */

#if !defined _WIN32
static void a_copy_by_fork_uses_the_same_queue(void **state)
{
    (void) state;
    board *b = new_board(NULL);
    const kin_process_options by_fork = {.method = KIN_START_FORK};
    uint64_t offset = arena_offset(b);
    b->items = 200;
    b->largest = LARGEST;
    produce(b); /* so that this process has used it */
    kin_process copy;
    assert_int_equal(kin_process_start(&copy, be_producer, &offset, sizeof offset, &by_fork), 0);
    assert_int_equal(end_of(copy), 0);
    pid_t pid = fork();
    if (pid == 0) {
        produce(b);
        b->other.id = kin_current_process().id;
        _exit(0);
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(kin_process_join((kin_process){b->other.id}, LONG_MS), 0);
    assert_int_equal(kin_process_close((kin_process){b->other.id}), 0);
    assert_int_equal(kin_queue_size(b->queue), 3 * b->items);
    assert_int_equal(kin_queue_close(b->queue), 0);
    assert_int_equal(kin_process_start(&copy, be_consumer, &offset, sizeof offset, &by_fork), 0);
    consume(b);
    assert_int_equal(end_of(copy), 0);
    see_all_got(b, 3);
    free_board(b);
}
#endif

int main(int argc, char **argv)
{
    if (kin_init(&argc, &argv) < 0) {
        return EXIT_FAILURE;
    }
    const struct CMUnitTest tests[] = {
        CLEAN_TEST(processes_get_each_item_once_and_in_order),
        CLEAN_TEST(threads_of_several_processes_do_so_too),
        CLEAN_TEST(as_many_getters_go_on_as_there_are_items),
        CLEAN_TEST(an_item_that_is_peeked_at_still_wakes_one_who_gets_it),
        CLEAN_TEST(putters_go_on_as_there_is_room),
        CLEAN_TEST(room_of_bytes_is_waited_for),
        CLEAN_TEST(those_who_wait_are_told_that_it_is_closed),
        CLEAN_TEST(those_who_wait_are_told_that_it_is_destroyed),
        CLEAN_TEST(those_who_wait_for_their_turn_are_told_that_it_is_destroyed),
        CLEAN_TEST(a_queue_with_an_item_can_be_waited_for),
#if !defined _WIN32
        CLEAN_TEST(a_copy_by_fork_uses_the_same_queue),
#endif
    };
    return cmocka_run_group_tests(tests, warm_up, NULL);
}
