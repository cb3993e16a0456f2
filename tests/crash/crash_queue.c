/* Deaths in queues that forget an item as soon as somebody has it: of those who put, get, wait,
   pass messages on, close and destroy. What was committed is there once and in order, the item of
   the dead one whole or not at all, and the queue goes on. */
#include "harness_queue.h"

#include "core/ring.h"

#include "tests/support_queue.h"

#include <string.h>

enum {
    RANDOM_DEATHS = 400,
    SMALL = 48,
    LARGE = QUEUE_LARGEST,
    BATCH = 5,
    GROWING = 40,
    TIMES_OUT_MS = 5
};

static unsigned char data[QUEUE_LARGEST];
static unsigned char made[GROWING][QUEUE_LARGEST]; /* what the child is going to put */
static kin_message held;

/* ---- those who are not stepped ---- */

static int take_once(void *argument, size_t size)
{
    queue_stage *s = queue_stage_of(argument, size, NULL);
    queue_take_next(s, s->queue);
    return 0;
}

static int put_once(void *argument, size_t size)
{
    uint32_t number;
    queue_stage *s = queue_stage_of(argument, size, &number);
    queue_put_next(s, (enum queue_producer)(BY_FIRST + number));
    return 0;
}

/* Until it is told to stop, and finds nothing. */
static int take_all(void *argument, size_t size)
{
    queue_stage *s = queue_stage_of(argument, size, NULL);
    for (;;) {
        kin_message m;
        int status = kin_queue_take(s->queue, &m, 20);
        if (status == KIN_E_TIMEOUT && atomic_load(&s->stop) != 0) {
            return 0;
        }
        CRASH_REQUIRE(status == 0 || status == KIN_E_TIMEOUT);
        if (status == 0) {
            queue_note_taken(s, m.data, m.size, m.deliveries);
            CRASH_REQUIRE(kin_queue_release(&m) == 0);
            queue_let_it_sleep();
        }
    }
}

/* Leaves it empty, or with room, for so long that one that is stepped, and slow, has its turn. */
static int feed(void *argument, size_t size)
{
    uint32_t number;
    queue_stage *s = queue_stage_of(argument, size, &number);
    while (atomic_load(&s->stop) == 0) {
        queue_let_it_sleep();
        if (kin_queue_is_empty(s->queue) == 1) {
            queue_put_next(s, (enum queue_producer)(BY_FIRST + number));
        }
    }
    return 0;
}

static int wait_for_end(void *argument, size_t size)
{
    uint32_t number;
    queue_stage *s = queue_stage_of(argument, size, &number);
    int status = number == 0 ? kin_queue_get(s->queue, data, sizeof data, NULL, KIN_FOREVER)
                             : kin_queue_peek(s->queue, data, sizeof data, NULL, KIN_FOREVER);
    CRASH_REQUIRE(status == KIN_E_DESTROYED);
    return 0;
}

static int wait_for_room_until_end(void *argument, size_t size)
{
    queue_stage *s = queue_stage_of(argument, size, NULL);
    CRASH_REQUIRE(kin_queue_put(s->queue, data, SMALL, KIN_FOREVER) == KIN_E_DESTROYED);
    return 0;
}

static int wait_for_close(void *argument, size_t size)
{
    queue_stage *s = queue_stage_of(argument, size, NULL);
    CRASH_REQUIRE(kin_queue_get(s->queue, data, sizeof data, NULL, KIN_FOREVER) == KIN_E_CLOSED);
    return 0;
}

static int wait_for_room_until_close(void *argument, size_t size)
{
    queue_stage *s = queue_stage_of(argument, size, NULL);
    CRASH_REQUIRE(kin_queue_put(s->queue, data, SMALL, KIN_FOREVER) == KIN_E_CLOSED);
    return 0;
}

/* ---- what they are stepped in ---- */

static void make(queue_stage *s)
{
    (void) s;
    for (uint32_t i = 0; i < GROWING; i++) {
        item_fill(made[i], queue_item_size(i), BY_CHILD, i);
    }
}

static void put(queue_stage *s)
{
    uint32_t number = atomic_load(&s->put[BY_CHILD]);
    size_t size = queue_item_size(number);
    int64_t priority = queue_item_priority(BY_CHILD, number);
    int status = priority == 0
                     ? kin_queue_put(s->queue, made[number], size, KIN_FOREVER)
                     : kin_queue_put_priority(s->queue, made[number], size, priority, KIN_FOREVER);
    CRASH_REQUIRE(status == 0);
    queue_note_put(s, BY_CHILD);
}

static void put_to_grow(queue_stage *s)
{
    for (int i = 0; i < GROWING; i++) {
        put(s);
    }
}

static void shrink(queue_stage *s)
{
    queue_user u;
    CRASH_REQUIRE(queue_enter(&u, s->queue.id, KIN_FOREVER) == 0);
    ring_shrink(&u, 0);
    CRASH_REQUIRE(kin_queue_get(s->queue, data, sizeof data, NULL, 0) == KIN_E_TIMEOUT);
}

static void put_in_vain(queue_stage *s)
{
    CRASH_REQUIRE(kin_queue_put(s->queue, data, SMALL, TIMES_OUT_MS) == KIN_E_TIMEOUT);
}

static void put_nothing(queue_stage *s)
{
    CRASH_REQUIRE(kin_queue_put(s->other, NULL, 0, KIN_FOREVER) == 0);
    CRASH_REQUIRE(kin_queue_get(s->other, NULL, 0, NULL, KIN_FOREVER) == 0);
}

static void put_several(queue_stage *s)
{
    kin_buffer items[BATCH];
    size_t done = 0;
    for (uint32_t i = 0; i < BATCH; i++) {
        items[i] = (kin_buffer){made[i], queue_item_size(i)};
    }
    CRASH_REQUIRE(kin_queue_put_many(s->queue, items, BATCH, &done, KIN_FOREVER) == 0);
    CRASH_REQUIRE(done == BATCH);
    atomic_fetch_add(&s->put[BY_CHILD], BATCH);
}

static void get(queue_stage *s)
{
    CRASH_REQUIRE(kin_queue_get(s->queue, data, sizeof data, NULL, KIN_FOREVER) == 0);
    atomic_fetch_add(&s->got, 1);
}

static void get_all_but_one(queue_stage *s)
{
    for (int i = 1; i < GROWING; i++) {
        get(s);
    }
}

static void get_several(queue_stage *s)
{
    static unsigned char all[BATCH][QUEUE_LARGEST];
    kin_buffer items[BATCH];
    size_t done = 0;
    for (uint32_t i = 0; i < BATCH; i++) {
        items[i] = (kin_buffer){all[i], sizeof all[i]};
    }
    CRASH_REQUIRE(kin_queue_get_many(s->queue, items, BATCH, &done, KIN_FOREVER) == 0);
    CRASH_REQUIRE(done == BATCH);
    atomic_fetch_add(&s->got, BATCH);
}

static void get_in_vain(queue_stage *s)
{
    int status = kin_queue_get(s->queue, data, sizeof data, NULL, TIMES_OUT_MS);
    CRASH_REQUIRE(status == KIN_E_TIMEOUT);
}

static void get_into_too_little(queue_stage *s)
{
    CRASH_REQUIRE(kin_queue_get(s->queue, data, 1, NULL, KIN_FOREVER) == KIN_E_TOO_SMALL);
}

static void peek(queue_stage *s)
{
    CRASH_REQUIRE(kin_queue_peek(s->queue, data, sizeof data, NULL, KIN_FOREVER) == 0);
}

static void take(queue_stage *s)
{
    CRASH_REQUIRE(kin_queue_take(s->queue, &held, KIN_FOREVER) == 0);
    atomic_fetch_add(&s->got, 1);
}

static void release(queue_stage *s)
{
    (void) s;
    CRASH_REQUIRE(kin_queue_release(&held) == 0);
}

static void take_and_release(queue_stage *s)
{
    take(s);
    release(s);
}

static void reserve(queue_stage *s)
{
    size_t size = queue_item_size(0);
    CRASH_REQUIRE(kin_queue_reserve(s->queue, &held, size, KIN_FOREVER) == 0);
    (void) queue_next_item(s, BY_CHILD, held.data);
}

static void commit(queue_stage *s)
{
    CRASH_REQUIRE(kin_queue_commit(&held) == 0);
    queue_note_put(s, BY_CHILD);
}

static void reserve_and_commit(queue_stage *s)
{
    size_t size = queue_item_size(0);
    CRASH_REQUIRE(kin_queue_reserve(s->queue, &held, size, KIN_FOREVER) == 0);
    memcpy(held.data, made[0], size);
    commit(s);
}

static void reserve_and_release(queue_stage *s)
{
    CRASH_REQUIRE(kin_queue_reserve(s->queue, &held, queue_item_size(0), KIN_FOREVER) == 0);
    release(s);
}

static void move_on(queue_stage *s)
{
    CRASH_REQUIRE(kin_queue_put_message(s->other, &held, KIN_FOREVER) == 0);
    atomic_store(&s->finished, 1);
}

static void reserve_elsewhere(queue_stage *s)
{
    size_t size = queue_item_size(0);
    CRASH_REQUIRE(kin_queue_reserve(s->other, &held, size, KIN_FOREVER) == 0);
    (void) queue_next_item(s, BY_CHILD, held.data);
}

static void put_message(queue_stage *s)
{
    CRASH_REQUIRE(kin_queue_put_message(s->queue, &held, KIN_FOREVER) == 0);
    queue_note_put(s, BY_CHILD);
}

static void close_it(queue_stage *s)
{
    CRASH_REQUIRE(kin_queue_close(s->queue) == 0);
    atomic_store(&s->closed, 1);
}

static void reopen(queue_stage *s)
{
    CRASH_REQUIRE(kin_queue_reopen(s->queue) == 0);
    atomic_store(&s->closed, 0);
}

static void destroy(queue_stage *s)
{
    CRASH_REQUIRE(kin_queue_destroy(s->queue) == 0);
}

static void make_and_destroy(queue_stage *s)
{
    kin_queue *own = (kin_queue *) &s->made;
    const kin_queue_options options = {.capacity = 10};
    CRASH_REQUIRE(kin_queue_create(own, &options) == 0);
    CRASH_REQUIRE(kin_queue_destroy(*own) == 0);
}

/* ---- what the survivor sees to ---- */

/* The others have what they wait for, whatever the dead one has done. */
static void put_for_two(queue_stage *s)
{
    queue_put_next(s, BY_SURVIVOR);
    queue_put_next(s, BY_SURVIVOR);
}

static void take_for_two(queue_stage *s)
{
    queue_take_next(s, s->queue);
    queue_take_next(s, s->queue);
}

static void see_them_go_on(queue_stage *s)
{
    queue_await_taken(s, atomic_load(&s->taken) + 4);
}

static void close_again(queue_stage *s)
{
    CRASH_REQUIRE(atomic_load(&s->closed) == 0 || kin_queue_is_closed(s->queue) == 1);
    CRASH_REQUIRE(kin_queue_close(s->queue) == 0);
    CRASH_REQUIRE(kin_queue_put(s->queue, data, SMALL, KIN_FOREVER) == KIN_E_CLOSED);
}

static void reopen_again(queue_stage *s)
{
    int closed = kin_queue_is_closed(s->queue);
    CRASH_REQUIRE(closed == 1 || closed == 0);
    CRASH_REQUIRE(kin_queue_reopen(s->queue) == 0 && kin_queue_is_closed(s->queue) == 0);
}

/* clang-format off: a table */
static const queue_operation operations[] = {
    {.name = "put a small item",
     .prior = 3,
     .size = SMALL,
     .prepare = make,
     .operate = put,
     .most_put = 1},
    {.name = "put a large item",
     .prior = 3,
     .size = LARGE,
     .prepare = make,
     .operate = put,
     .most_put = 1},
    {.name = "put an item into an empty queue",
     .prepare = make,
     .operate = put,
     .size = SMALL,
     .most_put = 1},
    {.name = "put and get nothing", .operate = put_nothing},
    {.name = "put so many that the queue grows",
     .prior = 30,
     .size = SMALL,
     .prepare = make,
     .operate = put_to_grow,
     .most_put = 1},
    {.name = "put so many large ones that it grows",
     .prior = 5,
     .size = 4 * SMALL,
     .prepare = make,
     .operate = put_to_grow,
     .most_put = 1},
    {.name = "put several", .prior = 2, .prepare = make, .operate = put_several, .most_put = BATCH},
    {.name = "put several into a bounded one",
     .options = {.capacity = 20},
     .prior = 2,
     .size = SMALL,
     .prepare = make,
     .operate = put_several,
     .most_put = BATCH},
    {.name = "put for those who wait",
     .size = SMALL,
     .prepare = make,
     .operate = put,
     .others = {take_once, take_once},
     .sleep = 2,
     .see = put_for_two,
     .most_put = 1},
    {.name = "put several for those who wait",
     .prepare = make,
     .operate = put_several,
     .others = {take_once, take_once},
     .sleep = 2,
     .see = put_for_two,
     .most_put = BATCH},
    {.name = "put in vain",
     .options = {.capacity = 2},
     .prior = 2,
     .size = SMALL,
     .operate = put_in_vain},
    {.name = "wait for room",
     .options = {.capacity = 1},
     .prior = 1,
     .size = SMALL,
     .prepare = make,
     .operate = put,
     .others = {take_all, feed},
     .see = see_them_go_on,
     .most_put = 1},
    {.name = "wait for room for bytes",
     .options = {.capacity_bytes = LARGE + LARGE / 2},
     .prior = 1,
     .size = LARGE,
     .prepare = make,
     .operate = put,
     .others = {take_all, feed},
     .see = see_them_go_on,
     .most_put = 1},
    {.name = "get a small item", .prior = 4, .size = SMALL, .operate = get, .most_got = 1},
    {.name = "get a large item", .prior = 4, .size = LARGE, .operate = get, .most_got = 1},
    {.name = "get the only item", .prior = 1, .size = SMALL, .operate = get, .most_got = 1},
    {.name = "get almost all of what has grown",
     .prior = GROWING + 1,
     .size = SMALL,
     .operate = get_all_but_one,
     .most_got = 1},
    {.name = "go on with a small ring", .operate = shrink},
    {.name = "get several", .prior = BATCH + 2, .operate = get_several, .most_got = BATCH},
    {.name = "get in vain", .operate = get_in_vain},
    {.name = "get into too small a buffer", .prior = 2, .operate = get_into_too_little},
    {.name = "get where others wait for room",
     .options = {.capacity = 2},
     .prior = 2,
     .size = SMALL,
     .operate = get,
     .others = {put_once, put_once},
     .sleep = 2,
     .see = take_for_two,
     .most_got = 1},
    {.name = "wait for an item",
     .size = SMALL,
     .operate = get,
     .others = {take_all, feed},
     .see = see_them_go_on,
     .most_got = 1},
    {.name = "wait for a message",
     .size = LARGE,
     .operate = take,
     .others = {take_all, feed},
     .see = see_them_go_on,
     .most_got = 1},
    {.name = "peek at a small item", .prior = 2, .size = SMALL, .operate = peek},
    {.name = "peek at a large item", .prior = 2, .size = LARGE, .operate = peek},
    {.name = "peek where another waits",
     .size = SMALL,
     .operate = peek,
     .others = {take_all, feed},
     .see = see_them_go_on},
    {.name = "take and release a small item",
     .prior = 3,
     .size = SMALL,
     .operate = take_and_release,
     .most_got = 1},
    {.name = "take and release a large item",
     .prior = 3,
     .size = LARGE,
     .operate = take_and_release,
     .most_got = 1},
    {.name = "reserve and commit a small message",
     .prior = 2,
     .size = SMALL,
     .prepare = make,
     .operate = reserve_and_commit,
     .most_put = 1},
    {.name = "reserve and commit a large message",
     .prior = 2,
     .size = LARGE,
     .prepare = make,
     .operate = reserve_and_commit,
     .most_put = 1},
    {.name = "reserve and release", .prior = 2, .size = LARGE, .operate = reserve_and_release},
    {.name = "commit for those who wait",
     .size = LARGE,
     .prepare = reserve,
     .operate = commit,
     .others = {take_once, take_once},
     .sleep = 2,
     .see = put_for_two,
     .most_put = 1},
    {.name = "put what was reserved elsewhere",
     .prior = 2,
     .size = LARGE,
     .prepare = reserve_elsewhere,
     .operate = put_message,
     .most_put = 1},
    {.name = "move a small message",
     .prior = 3,
     .size = SMALL,
     .prepare = take,
     .operate = move_on,
     .most_got = 1,
     .moves = true},
    {.name = "move a large message",
     .prior = 3,
     .size = LARGE,
     .prepare = take,
     .operate = move_on,
     .most_got = 1,
     .moves = true},
    {.name = "close before getters",
     .operate = close_it,
     .size = SMALL,
     .others = {wait_for_close, wait_for_close},
     .sleep = 2,
     .see = close_again,
     .after = reopen_again},
    {.name = "close before putters",
     .options = {.capacity = 2},
     .prior = 2,
     .size = SMALL,
     .operate = close_it,
     .others = {wait_for_room_until_close, wait_for_room_until_close},
     .sleep = 2,
     .see = close_again,
     .after = reopen_again},
    {.name = "reopen", .prior = 2, .prepare = close_it, .operate = reopen, .see = reopen_again},
    {.name = "make and destroy", .operate = make_and_destroy},
    {.name = "destroy before getters",
     .operate = destroy,
     .others = {wait_for_end, wait_for_end},
     .sleep = 2,
     .ends = true},
    {.name = "destroy before putters",
     .options = {.capacity = 3},
     .prior = 3,
     .operate = destroy,
     .others = {wait_for_room_until_end, wait_for_room_until_end},
     .sleep = 2,
     .ends = true},
    {.name = "destroy with many items", .prior = 100, .operate = destroy, .ends = true},
    {.name = "put on a stack",
     .options = {.order = KIN_QUEUE_LIFO},
     .prior = 3,
     .prepare = make,
     .operate = put,
     .most_put = 1},
    {.name = "put on a stack that grows",
     .options = {.order = KIN_QUEUE_LIFO},
     .prior = 30,
     .size = SMALL,
     .prepare = make,
     .operate = put_to_grow,
     .most_put = 1},
    {.name = "get from a stack",
     .options = {.order = KIN_QUEUE_LIFO},
     .prior = 4,
     .operate = get,
     .most_got = 1},
    {.name = "get several from a stack",
     .options = {.order = KIN_QUEUE_LIFO},
     .prior = BATCH + 3,
     .size = SMALL,
     .operate = get_several,
     .most_got = BATCH},
    {.name = "put by priority",
     .options = {.order = KIN_QUEUE_PRIORITY},
     .prior = 9,
     .prepare = make,
     .operate = put,
     .most_put = 1},
    {.name = "put by priority until it grows",
     .options = {.order = KIN_QUEUE_PRIORITY},
     .prior = 30,
     .size = SMALL,
     .prepare = make,
     .operate = put_to_grow,
     .most_put = 1},
    {.name = "get by priority",
     .options = {.order = KIN_QUEUE_PRIORITY},
     .prior = 20,
     .operate = get,
     .most_got = 1},
    {.name = "get several by priority",
     .options = {.order = KIN_QUEUE_PRIORITY},
     .prior = 20,
     .size = SMALL,
     .operate = get_several,
     .most_got = BATCH},
    {.name = "take by priority",
     .options = {.order = KIN_QUEUE_PRIORITY},
     .prior = 9,
     .operate = take_and_release,
     .most_got = 1},
};
/* clang-format on */

int main(int argc, char **argv)
{
    return queue_crash_main(argc, argv, operations, sizeof operations / sizeof *operations,
                            RANDOM_DEATHS);
}
