/* Deaths in queues that know who has what until it is done: of those who get, take, finish, return
   and move items, of those who join, and of those who find that somebody has died. What was not
   done comes back first, in order and marked, or goes to the dead letters; what was done does not;
   and a join ends. */
#include "harness_queue.h"

#include "tests/support_queue.h"

enum { RANDOM_DEATHS = 250, SMALL = 48, LARGE = QUEUE_LARGEST, BATCH = 4, TIMES_OUT_MS = 5 };

static unsigned char data[QUEUE_LARGEST];
static unsigned char made[BATCH][QUEUE_LARGEST]; /* what the child is going to put */
static kin_message message;
static kin_message second;

/* ---- those who are not stepped ---- */

static int join_once(void *argument, size_t size)
{
    queue_stage *s = queue_stage_of(argument, size, NULL);
    CRASH_REQUIRE(kin_queue_join(s->queue, KIN_FOREVER) == 0);
    return 0;
}

static int take_once(void *argument, size_t size)
{
    queue_stage *s = queue_stage_of(argument, size, NULL);
    queue_take_next(s, s->queue);
    return 0;
}

static int join_until_end(void *argument, size_t size)
{
    queue_stage *s = queue_stage_of(argument, size, NULL);
    CRASH_REQUIRE(kin_queue_join(s->queue, KIN_FOREVER) == KIN_E_DESTROYED);
    return 0;
}

/* ---- what they are stepped in ---- */

static void make(queue_stage *s)
{
    (void) s;
    for (uint32_t i = 0; i < BATCH; i++) {
        item_fill(made[i], queue_item_size(i), BY_CHILD, i);
    }
}

static void put(queue_stage *s)
{
    uint32_t number = atomic_load(&s->put[BY_CHILD]);
    size_t size = queue_item_size(number);
    CRASH_REQUIRE(kin_queue_put(s->queue, made[number], size, KIN_FOREVER) == 0);
    queue_note_put(s, BY_CHILD);
}

static void put_all(queue_stage *s)
{
    for (int i = 0; i < BATCH; i++) {
        put(s);
    }
}

static void get(queue_stage *s)
{
    CRASH_REQUIRE(kin_queue_get(s->queue, data, sizeof data, NULL, KIN_FOREVER) == 0);
    atomic_fetch_add(&s->got, 1);
}

static void get_two(queue_stage *s)
{
    get(s);
    get(s);
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

static void finish(queue_stage *s)
{
    CRASH_REQUIRE(kin_queue_task_done(s->queue) == 0);
    atomic_fetch_add(&s->finished, 1);
}

static void finish_two(queue_stage *s)
{
    finish(s);
    finish(s);
}

static void get_and_finish(queue_stage *s)
{
    get(s);
    finish(s);
}

static void take(queue_stage *s)
{
    CRASH_REQUIRE(kin_queue_take(s->queue, &message, KIN_FOREVER) == 0);
    atomic_fetch_add(&s->got, 1);
}

static void take_two(queue_stage *s)
{
    take(s);
    CRASH_REQUIRE(kin_queue_take(s->queue, &second, KIN_FOREVER) == 0);
    atomic_fetch_add(&s->got, 1);
}

static void release(queue_stage *s)
{
    CRASH_REQUIRE(kin_queue_release(&message) == 0);
    atomic_fetch_add(&s->finished, 1);
}

static void take_and_release(queue_stage *s)
{
    take(s);
    release(s);
}

static void give_back(queue_stage *s)
{
    (void) s;
    CRASH_REQUIRE(kin_queue_return(&message) == 0);
}

static void give_both_back(queue_stage *s)
{
    (void) s;
    CRASH_REQUIRE(kin_queue_return(&second) == 0);
    CRASH_REQUIRE(kin_queue_return(&message) == 0);
}

static void take_and_give_back(queue_stage *s)
{
    take(s);
    give_back(s);
}

static void move_on(queue_stage *s)
{
    CRASH_REQUIRE(kin_queue_put_message(s->other, &message, KIN_FOREVER) == 0);
}

static void join_in_vain(queue_stage *s)
{
    CRASH_REQUIRE(kin_queue_join(s->queue, TIMES_OUT_MS) == KIN_E_TIMEOUT);
}

static void join_at_once(queue_stage *s)
{
    CRASH_REQUIRE(kin_queue_join(s->queue, KIN_FOREVER) == 0);
}

static void destroy(queue_stage *s)
{
    CRASH_REQUIRE(kin_queue_destroy(s->queue) == 0);
}

/* ---- what the survivor sees to ---- */

/* So that all is done, and those who join are told. */
static void take_all(queue_stage *s)
{
    kin_message m;
    while (kin_queue_join(s->queue, 0) == KIN_E_TIMEOUT) {
        int status = kin_queue_take(s->queue, &m, 1);
        CRASH_REQUIRE(status == 0 || status == KIN_E_TIMEOUT);
        if (status == 0) {
            queue_note_taken(s, m.data, m.size, m.deliveries);
            CRASH_REQUIRE(kin_queue_release(&m) == 0);
        }
    }
}

static void put_one(queue_stage *s)
{
    queue_put_next(s, BY_SURVIVOR);
}

#define JOINABLE .options = {.joinable = true}
#define REDELIVER .options = {.redeliver = true}
#define REDELIVER_BY(by) .options = {.redeliver = true, .order = (by)}

/* clang-format off: a table */
static const queue_operation operations[] = {
    {.name = "put what is to be done",
     JOINABLE,
     .prior = 2,
     .prepare = make,
     .operate = put_all,
     .most_put = 1},
    {.name = "get and finish a small item",
     JOINABLE,
     .prior = 3,
     .size = SMALL,
     .operate = get_and_finish,
     .most_got = 1,
     .most_finished = 1},
    {.name = "get and finish a large item",
     JOINABLE,
     .prior = 3,
     .size = LARGE,
     .operate = get_and_finish,
     .most_got = 1,
     .most_finished = 1},
    {.name = "get several to be done",
     JOINABLE,
     .prior = BATCH + 1,
     .operate = get_several,
     .most_got = BATCH},
    {.name = "take and release what is to be done",
     JOINABLE,
     .prior = 3,
     .size = LARGE,
     .operate = take_and_release,
     .most_got = 1,
     .most_finished = 1},
    {.name = "finish the last for those who join",
     JOINABLE,
     .prior = 1,
     .size = SMALL,
     .prepare = get,
     .operate = finish,
     .others = {join_once, join_once},
     .sleep = 2,
     .most_finished = 1},
    {.name = "die with the last of those who join",
     JOINABLE,
     .prior = 2,
     .size = SMALL,
     .prepare = get,
     .operate = get,
     .others = {join_once, join_once},
     .sleep = 2,
     .see = take_all,
     .most_got = 1},
    {.name = "join in vain", JOINABLE, .prior = 1, .operate = join_in_vain},
    {.name = "join an empty one", JOINABLE, .operate = join_at_once},
    {.name = "put what may come back",
     REDELIVER,
     .prior = 2,
     .prepare = make,
     .operate = put_all,
     .most_put = 1},
    {.name = "get what comes back",
     REDELIVER,
     .prior = 4,
     .size = SMALL,
     .operate = get_two,
     .most_got = 1},
    {.name = "get what is large and comes back",
     REDELIVER,
     .prior = 4,
     .size = LARGE,
     .operate = get_two,
     .most_got = 1},
    {.name = "get several that come back",
     REDELIVER,
     .prior = BATCH + 2,
     .operate = get_several,
     .most_got = BATCH},
    {.name = "take what comes back", REDELIVER, .prior = 4, .operate = take_two, .most_got = 1},
    {.name = "get and finish",
     REDELIVER,
     .prior = 4,
     .operate = get_and_finish,
     .most_got = 1,
     .most_finished = 1},
    {.name = "finish two",
     REDELIVER,
     .prior = 4,
     .prepare = get_two,
     .operate = finish_two,
     .most_finished = 1},
    {.name = "take and release",
     REDELIVER,
     .prior = 4,
     .operate = take_and_release,
     .most_got = 1,
     .most_finished = 1},
    {.name = "release",
     REDELIVER,
     .prior = 3,
     .size = LARGE,
     .prepare = take,
     .operate = release,
     .most_finished = 1},
    {.name = "get in vain what may come back", REDELIVER, .operate = get_in_vain},
    {.name = "return", REDELIVER, .prior = 3, .size = SMALL, .prepare = take, .operate = give_back},
    {.name = "return a large one",
     REDELIVER,
     .prior = 3,
     .size = LARGE,
     .prepare = take,
     .operate = give_back},
    {.name = "return two", REDELIVER, .prior = 4, .prepare = take_two, .operate = give_both_back},
    {.name = "take and return",
     REDELIVER,
     .prior = 3,
     .operate = take_and_give_back,
     .most_got = 1},
    {.name = "return for one who waits",
     REDELIVER,
     .prior = 1,
     .size = SMALL,
     .prepare = take,
     .operate = give_back,
     .others = {take_once},
     .sleep = 1},
    {.name = "die before one who waits",
     REDELIVER,
     .prior = 1,
     .size = LARGE,
     .prepare = take,
     .operate = join_in_vain,
     .others = {take_once},
     .sleep = 1,
     .see = put_one},
    {.name = "move what would come back",
     REDELIVER,
     .prior = 3,
     .size = SMALL,
     .prepare = take,
     .operate = move_on,
     .moves = true},
    {.name = "move a large one that would",
     REDELIVER,
     .prior = 3,
     .size = LARGE,
     .prepare = take,
     .operate = move_on,
     .moves = true},
    {.name = "get from a stack that redelivers",
     REDELIVER_BY(KIN_QUEUE_LIFO),
     .prior = 4,
     .operate = get_two,
     .most_got = 1},
    {.name = "get by priority what comes back",
     REDELIVER_BY(KIN_QUEUE_PRIORITY),
     .prior = 6,
     .operate = get_two,
     .most_got = 1},
    {.name = "get and finish by priority",
     REDELIVER_BY(KIN_QUEUE_PRIORITY),
     .prior = 6,
     .operate = get_and_finish,
     .most_got = 1,
     .most_finished = 1},
    {.name = "get what goes to the dead letters",
     REDELIVER,
     .prior = 4,
     .operate = get_two,
     .most_got = 1,
     .letters = true},
    {.name = "take what goes to the dead letters",
     REDELIVER,
     .prior = 4,
     .operate = take_two,
     .most_got = 1,
     .letters = true},
    {.name = "return to the dead letters",
     REDELIVER,
     .prior = 3,
     .prepare = take,
     .operate = give_back,
     .letters = true},
    {.name = "find what a dead one had",
     REDELIVER,
     .prior = 5,
     .size = SMALL,
     .operate = get_two,
     .most_got = 1,
     .victim = true},
    {.name = "find what is large and a dead one had",
     REDELIVER,
     .prior = 5,
     .size = LARGE,
     .operate = get_two,
     .most_got = 1,
     .victim = true},
    {.name = "find a dead one on a stack",
     REDELIVER_BY(KIN_QUEUE_LIFO),
     .prior = 5,
     .operate = get_two,
     .most_got = 1,
     .victim = true},
    {.name = "find that a dead one had what is to be done",
     JOINABLE,
     .prior = 3,
     .size = SMALL,
     .operate = join_in_vain,
     .most_got = 2,
     .victim = true},
    {.name = "destroy before those who join",
     JOINABLE,
     .prior = 2,
     .prepare = get,
     .operate = destroy,
     .others = {join_until_end, join_until_end},
     .sleep = 2,
     .ends = true},
    {.name = "destroy what somebody has",
     REDELIVER,
     .prior = 4,
     .prepare = take_two,
     .operate = destroy,
     .ends = true},
};
/* clang-format on */

int main(int argc, char **argv)
{
    return queue_crash_main(argc, argv, operations, sizeof operations / sizeof *operations,
                            RANDOM_DEATHS);
}
