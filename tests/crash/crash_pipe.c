/* Deaths of those who have an end of a pipe, in each of its calls. Within a second the other side
   has received all that was sent before, whole and in order, and then is told; and nothing of the
   pipe is left. */
#include "harness.h"

#include "core/pipe.h"

#include <string.h>

enum { RANDOM_DEATHS = 100, PAIRS = 3, TIMES_OUT_MS = 5, BIG = 5000, SMALL = 16, LOADED = 4 };

#define MILLISECOND INT64_C(1000000)

typedef struct stage {
    kin_connection mine;   /* the survivor's, or that of one who is not stepped */
    kin_connection theirs; /* of the one that dies */
    kin_connection made[2];
    kin_message message;
    _Atomic uint64_t sent; /* messages, or bytes, whose sending had returned */
    _Atomic uint64_t most; /* as many may have been sent */
    _Atomic uint64_t got;  /* by the other, when it was told of the end */
    _Atomic uint32_t rounds;
} stage;

typedef struct order {
    uint64_t stage;
    uint32_t operation;
    uint32_t number;
} order;

static stage *stage_of(const void *argument, size_t size, order *told)
{
    CRASH_REQUIRE(size == sizeof *told);
    memcpy(told, argument, size);
    return arena_at(told->stage);
}

/* ---- what is sent: message n has so many bytes, all of them n; a stream has one after the
   other ---- */

static unsigned char byte_at(uint64_t at)
{
    return (unsigned char) (at * 37 + at / 255);
}

static size_t size_of(uint64_t number)
{
    return number % 3 == 2 ? BIG : SMALL;
}

static bool is_stream(kin_connection c)
{
    pipe_end p = {0};
    bool sends = pipe_find(&p, c.id, true) && p.way != 0;
    return (sends || pipe_find(&p, c.id, false)) && pipe_is_stream(&p);
}

/* Quickly: it is stepped. */
static void fill(unsigned char *bytes, bool stream, uint64_t from, size_t size)
{
    if (!stream) {
        memset(bytes, byte_at(from), size);
    }
    for (size_t i = 0; stream && i < size; i++) {
        bytes[i] = byte_at(from + i);
    }
}

static bool is_filled(const unsigned char *bytes, bool stream, uint64_t from, size_t size)
{
    size_t i = 0;
    while (i < size && bytes[i] == byte_at(stream ? from + i : from)) {
        i++;
    }
    return i == size;
}

static void send_one(stage *s)
{
    unsigned char bytes[BIG];
    uint64_t at = atomic_load(&s->sent);
    bool stream = is_stream(s->theirs);
    size_t size = stream ? SMALL : size_of(at);
    uint64_t next = at + (stream ? size : 1);
    fill(bytes, stream, at, size);
    atomic_store(&s->most, next);
    CRASH_REQUIRE(kin_connection_send(s->theirs, bytes, size, KIN_FOREVER) == 0);
    atomic_store(&s->sent, next);
}

/* Until the other side is gone; how many messages or bytes there were. */
static uint64_t receive_rest(kin_connection c)
{
    unsigned char bytes[BIG];
    uint64_t at = 0;
    size_t size = 0;
    int status;
    bool stream = is_stream(c);
    while ((status = kin_connection_receive(c, bytes, sizeof bytes, &size, KIN_FOREVER)) == 0) {
        CRASH_REQUIRE((stream || size == size_of(at)) && is_filled(bytes, stream, at, size));
        at += stream ? size : 1;
    }
    CRASH_REQUIRE(status == KIN_E_CLOSED);
    CRASH_REQUIRE(kin_connection_poll(c, 0) == 1);
    return at;
}

/* ---- those who are not stepped ---- */

static int receive_all(void *argument, size_t size)
{
    order told;
    stage *s = stage_of(argument, size, &told);
    atomic_store(&s->got, receive_rest(s->mine));
    return 0;
}

static int send_until_told(void *argument, size_t size)
{
    order told;
    unsigned char bytes[SMALL] = {0};
    stage *s = stage_of(argument, size, &told);
    int status;
    do {
        status = kin_connection_send(s->mine, bytes, sizeof bytes, KIN_FOREVER);
    } while (status == 0);
    CRASH_REQUIRE(status == KIN_E_CLOSED);
    return 0;
}

static int wait_among_many(void *argument, size_t size)
{
    order told;
    stage *s = stage_of(argument, size, &told);
    kin_wait_item items[] = {{.id = kin_parent_process().id}, {.id = s->mine.id}};
    CRASH_REQUIRE(kin_wait(items, 2, false, KIN_FOREVER) == 0);
    CRASH_REQUIRE(items[0].ready == 0 && items[1].ready == 1);
    atomic_store(&s->got, receive_rest(s->mine));
    return 0;
}

static int stay(void *argument, size_t size)
{
    order told;
    (void) stage_of(argument, size, &told);
    return kin_sleep(KIN_FOREVER);
}

/* ---- what they are stepped in ---- */

static void make_and_close(stage *s, const kin_pipe_options *how)
{
    CRASH_REQUIRE(kin_pipe_create(&s->made[0], &s->made[1], how) == 0);
    CRASH_REQUIRE(kin_connection_send(s->made[1], "12345678", 8, 0) == 0);
    CRASH_REQUIRE(kin_connection_close(s->made[0]) == 0);
    CRASH_REQUIRE(kin_connection_close(s->made[1]) == 0);
}

static void make_messages(stage *s)
{
    make_and_close(s, NULL);
}

static void make_stream(stage *s)
{
    const kin_pipe_options how = {.stream = true};
    make_and_close(s, &how);
}

static void make_one_way(stage *s)
{
    const kin_pipe_options how = {.one_way = true};
    make_and_close(s, &how);
}

static void make_and_give(stage *s)
{
    CRASH_REQUIRE(kin_pipe_create(&s->made[0], &s->made[1], NULL) == 0);
    CRASH_REQUIRE(kin_connection_give(s->made[0], kin_parent_process()) == 0);
}

static void give(stage *s)
{
    CRASH_REQUIRE(kin_connection_give(s->theirs, kin_parent_process()) == 0);
}

static void send_three(stage *s)
{
    for (int i = 0; i < 3; i++) {
        send_one(s);
    }
}

static void send_and_close(stage *s)
{
    send_one(s);
    CRASH_REQUIRE(kin_connection_close(s->theirs) == 0);
}

static void close_end(stage *s)
{
    CRASH_REQUIRE(kin_connection_close(s->theirs) == 0);
}

static void receive(stage *s)
{
    unsigned char bytes[BIG];
    for (int i = 0; i < LOADED; i++) {
        size_t size;
        int status = kin_connection_receive(s->theirs, bytes, SMALL, &size, KIN_FOREVER);
        CRASH_REQUIRE(status == 0 && size == SMALL);
    }
}

static void receive_large(stage *s)
{
    unsigned char bytes[BIG];
    for (int i = 0; i < LOADED; i++) {
        size_t size;
        int status = kin_connection_receive(s->theirs, bytes, sizeof bytes, &size, KIN_FOREVER);
        CRASH_REQUIRE(status == 0 && size == BIG);
    }
}

static void poll_and_wait(stage *s)
{
    char byte;
    kin_wait_item item = {.id = s->theirs.id};
    CRASH_REQUIRE(kin_connection_poll(s->theirs, 0) == 0);
    CRASH_REQUIRE(kin_connection_poll(s->theirs, TIMES_OUT_MS) == 0);
    CRASH_REQUIRE(kin_wait(&item, 1, false, TIMES_OUT_MS) == KIN_E_TIMEOUT);
    CRASH_REQUIRE(kin_connection_receive(s->theirs, &byte, 1, NULL, TIMES_OUT_MS) == KIN_E_TIMEOUT);
}

static void send_without_a_copy(stage *s)
{
    uint64_t at = atomic_load(&s->sent);
    CRASH_REQUIRE(kin_connection_reserve(s->theirs, &s->message, size_of(at), KIN_FOREVER) == 0);
    fill(s->message.data, false, at, size_of(at));
    atomic_store(&s->most, at + 1);
    CRASH_REQUIRE(kin_connection_commit(s->theirs, &s->message) == 0);
    atomic_store(&s->sent, at + 1);
}

static void take_and_release(stage *s)
{
    for (int i = 0; i < LOADED; i++) {
        CRASH_REQUIRE(kin_connection_take(s->theirs, &s->message, KIN_FOREVER) == 0);
        CRASH_REQUIRE(kin_queue_release(&s->message) == 0);
    }
}

static void find_the_other_gone(stage *s)
{
    CRASH_REQUIRE(receive_rest(s->theirs) == 0);
}

typedef struct operation {
    const char *name;
    void (*prepare)(stage *s);
    void (*operate)(stage *s);
    kin_process_function other; /* has the other end, instead of the survivor */
    kin_pipe_options how;
    size_t loaded;    /* the survivor has sent it LOADED messages of so many bytes */
    bool other_dies;  /* before it, unnoticed */
    bool other_fills; /* it waits for room before the first step */
} operation;

#define STREAM .how = {.stream = true, .capacity = 64}

static const operation operations[] = {
    {.name = "make and close messages", .operate = make_messages},
    {.name = "make and close a stream", .operate = make_stream},
    {.name = "make and close one way", .operate = make_one_way},
    {.name = "make and give", .operate = make_and_give},
    {.name = "give", .prepare = send_one, .operate = give},
    {.name = "give a stream", .prepare = send_one, .operate = give, STREAM},
    {.name = "send", .prepare = send_one, .operate = send_three},
    {.name = "send in a stream", .prepare = send_one, .operate = send_three, STREAM},
    {.name = "send to one who waits", .operate = send_three, .other = receive_all},
    {.name = "send to one who waits for a stream",
     .operate = send_three,
     .other = receive_all,
     STREAM},
    {.name = "send to one who waits for many", .operate = send_three, .other = wait_among_many},
    {.name = "close", .prepare = send_three, .operate = close_end, .loaded = SMALL},
    {.name = "close a stream",
     .prepare = send_three,
     .operate = close_end,
     .loaded = SMALL,
     STREAM},
    {.name = "close to one who waits", .operate = send_and_close, .other = receive_all},
    {.name = "close to one who waits for a stream",
     .operate = send_and_close,
     .other = wait_among_many,
     STREAM},
    {.name = "receive", .operate = receive, .loaded = SMALL},
    {.name = "receive large ones", .operate = receive_large, .loaded = BIG},
    {.name = "receive from a stream", .operate = receive, .loaded = SMALL, STREAM},
    {.name = "receive from one who waits for room",
     .operate = receive,
     .other = send_until_told,
     .how = {.capacity = 2},
     .other_fills = true},
    {.name = "receive from one who waits for room in a stream",
     .operate = receive,
     .other = send_until_told,
     .other_fills = true,
     STREAM},
    {.name = "poll and wait in vain", .operate = poll_and_wait},
    {.name = "poll and wait in vain for a stream", .operate = poll_and_wait, STREAM},
    {.name = "send without a copy", .prepare = send_one, .operate = send_without_a_copy},
    {.name = "take and release", .operate = take_and_release, .loaded = BIG},
    {.name = "find the other gone",
     .operate = find_the_other_gone,
     .other = stay,
     .other_dies = true},
    {.name = "find the other of a stream gone",
     .operate = find_the_other_gone,
     .other = stay,
     .other_dies = true,
     STREAM},
};
enum { OPERATIONS = sizeof operations / sizeof *operations };

static int live_by_steps(void *argument, size_t size)
{
    order told;
    stage *s = stage_of(argument, size, &told);
    const operation *o = &operations[told.operation];
    if (o->prepare != NULL) {
        o->prepare(s);
    }
    step_begin();
    o->operate(s);
    step_end();
    return 0;
}

/* ---- the survivor ---- */

static stage *new_stage(const kin_pipe_options *how)
{
    uint64_t block;
    CRASH_REQUIRE(arena_allocate(&block, sizeof(stage), ARENA_ZERO) == 0);
    CRASH_REQUIRE(arena_publish(block) == 0);
    stage *s = arena_at(block);
    CRASH_REQUIRE(kin_pipe_create(&s->mine, &s->theirs, how) == 0);
    return s;
}

/* What is there no more has been closed with its owner. */
static void close_if_there(kin_connection c)
{
    int status = c.id != 0 ? kin_connection_close(c) : KIN_E_HANDLE;
    CRASH_REQUIRE(status == 0 || status == KIN_E_HANDLE);
}

static void free_stage(stage *s)
{
    close_if_there(s->mine);
    close_if_there(s->theirs);
    close_if_there(s->made[0]);
    close_if_there(s->made[1]);
    CRASH_REQUIRE(arena_free(arena_offset(s)) == 0);
}

static void load(const operation *o, stage *s)
{
    unsigned char bytes[BIG] = {0};
    for (int i = 0; o->loaded > 0 && i < LOADED; i++) {
        CRASH_REQUIRE(kin_connection_send(s->mine, bytes, o->loaded, 0) == 0);
    }
}

/* There is no room for what the other sends. */
static void await_full(stage *s)
{
    uint64_t way = 0;
    pipe_end p = {0};
    CRASH_REQUIRE(pipe_find(&p, s->mine.id, true));
    way = p.way;
    for (bool asleep = false; !asleep;) {
        for (uint32_t number = 1; number < arena_entries(ARENA_THREADS); number++) {
            asleep = asleep || atomic_load(&thread_at(number)->waits_for) == way;
        }
        platform_sleep_ns(MILLISECOND / 10);
    }
}

static kin_process start_stepped(const operation *o, stage *s, kin_process *other)
{
    order told = {.stage = arena_offset(s), .operation = (uint32_t) (o - operations)};
    kin_process child = crash_start(live_by_steps, &told, sizeof told);
    CRASH_REQUIRE(step_await(child));
    CRASH_REQUIRE(kin_connection_give(s->theirs, child) == 0);
    load(o, s);
    if (o->other != NULL) {
        *other = crash_start(o->other, &told, sizeof told);
        CRASH_REQUIRE(kin_connection_give(s->mine, *other) == 0);
    }
    if (o->other_fills) {
        await_full(s);
    }
    if (o->other_dies) {
        step_kill(*other);
    }
    return child;
}

static void see_what_is_left(const operation *o, stage *s, kin_process other)
{
    if (other.id != 0) {
        CRASH_REQUIRE(crash_end(other, o->other_dies) == (o->other_dies ? -KIN_SIGKILL : 0));
    } else {
        close_if_there(s->theirs); /* it may have been given to the survivor */
        atomic_store(&s->got, receive_rest(s->mine));
        CRASH_REQUIRE(kin_connection_send(s->mine, "x", 1, 0) == KIN_E_CLOSED);
    }
    if (!o->other_dies && !o->other_fills) {
        uint64_t got = atomic_load(&s->got);
        CRASH_REQUIRE(got >= atomic_load(&s->sent) && got <= atomic_load(&s->most));
    }
}

static void die_after(const operation *o, step_path *path, uint64_t at)
{
    kin_arena_usage before;
    kin_process other = {0};
    crash_watch(o->name, 0, at);
    crash_look(&before);
    stage *s = new_stage(&o->how);
    kin_process child = start_stepped(o, s, &other);
    step_result result = at == 0 ? step_learn(child, path) : step_on(child, path, at);
    CRASH_REQUIRE(result != STEP_ENDED);
    int64_t died = platform_clock_ns();
    step_kill(child);
    crash_count(at == 0 ? path->count : at, 1);
    /* Half of the deaths are noticed by those alone who wait. */
    bool unseen = at % 2 == 0 && o->operate != give;
    if (!unseen) {
        CRASH_REQUIRE(crash_end(child, false) == -KIN_SIGKILL);
    }
    see_what_is_left(o, s, other);
    if (unseen) {
        CRASH_REQUIRE(crash_end(child, false) == -KIN_SIGKILL);
    }
    crash_limit(died, CRASH_SECOND);
    free_stage(s);
    crash_check(&before, false);
    crash_calm();
}

static void die_at_each(void **state)
{
    const operation *o = *state;
    crash_need_steps();
    step_path path = {0};
    die_after(o, &path, 0);
    crash_row row;
    uint64_t deaths = 0;
    crash_row_begin(&row, &path);
    for (; crash_row_next(&row); deaths++) {
        die_after(o, &path, row.at);
    }
    crash_tell(deaths, &path);
    step_forget(&path);
}

/* ---- at random: pairs talk to each other, and either is killed ---- */

static int talk(void *argument, size_t size)
{
    order told;
    unsigned char bytes[BIG] = {0};
    stage *s = stage_of(argument, size, &told);
    bool first = told.number == 0;
    kin_connection c = first ? s->mine : s->theirs;
    for (uint64_t i = 0;; i++) {
        size_t length = SMALL;
        bool fails = first && kin_connection_send(c, bytes, size_of(i), KIN_FOREVER) < 0;
        fails = fails || kin_connection_receive(c, bytes, sizeof bytes, &length, KIN_FOREVER) < 0;
        fails = fails || (!first && kin_connection_send(c, bytes, length, KIN_FOREVER) < 0);
        if (fails) {
            return 0;
        }
        atomic_fetch_add(&s->rounds, 1);
    }
}

typedef struct pair {
    stage *stage;
    kin_process talkers[2];
    uint32_t victim;
    int64_t died;
} pair;

static void start_pair(pair *p, const kin_pipe_options *how)
{
    p->stage = new_stage(how);
    order told = {.stage = arena_offset(p->stage)};
    for (; told.number < 2; told.number++) {
        kin_connection end = told.number == 0 ? p->stage->mine : p->stage->theirs;
        p->talkers[told.number] = crash_start(talk, &told, sizeof told);
        CRASH_REQUIRE(kin_connection_give(end, p->talkers[told.number]) == 0);
    }
}

/* Kills one of them at any moment, even before it has come. */
static void kill_one(pair *p, uint64_t *seed)
{
    p->victim = (uint32_t) (crash_random(seed) % 2);
    while (crash_random(seed) % 8 != 0 && atomic_load(&p->stage->rounds) < 20) {
        platform_sleep_ns(MILLISECOND / 10);
    }
    platform_sleep_ns((int64_t) (crash_random(seed) % MILLISECOND));
    CRASH_REQUIRE(kin_process_kill(p->talkers[p->victim]) == 0);
    p->died = platform_clock_ns();
    crash_count(0, 1);
}

/* The other ends by itself. */
static void end_pair(const pair *p)
{
    CRASH_REQUIRE(crash_end(p->talkers[1 - p->victim], false) == 0);
    crash_limit(p->died, CRASH_SECOND);
    CRASH_REQUIRE(crash_end(p->talkers[p->victim], true) == -KIN_SIGKILL);
    free_stage(p->stage);
}

/* One pair after the other loses somebody while the others talk, and all are waited for together:
   it may be a while until the one that is left looks. */
static void pairs_die_at_random(void **state)
{
    (void) state;
    static const kin_pipe_options how[PAIRS] = {
        {.capacity = 4}, {.stream = true}, {.stream = true, .capacity = 64}};
    uint64_t seed = crash_seed();
    kin_arena_usage before;
    pair pairs[PAIRS];
    crash_watch("pairs at random", 0, 0);
    crash_look(&before);
    unsigned deaths = crash_wanted(RANDOM_DEATHS);
    for (unsigned i = 0; i < deaths; i += PAIRS) {
        crash_watch("pairs at random", 0, i);
        for (int k = 0; k < PAIRS; k++) {
            start_pair(&pairs[k], &how[k]);
        }
        unsigned first = (unsigned) (crash_random(&seed) % PAIRS);
        for (unsigned k = 0; k < PAIRS; k++) {
            kill_one(&pairs[(first + k) % PAIRS], &seed);
        }
        for (unsigned k = 0; k < PAIRS; k++) {
            end_pair(&pairs[(first + k) % PAIRS]);
        }
    }
    crash_check(&before, true);
    crash_calm();
}

int main(int argc, char **argv)
{
    struct CMUnitTest tests[OPERATIONS + 1];
    for (int i = 0; i < OPERATIONS; i++) {
        tests[i] = (struct CMUnitTest){operations[i].name, die_at_each, crash_begin_steps,
                                       crash_end_steps, (void *) (uintptr_t) &operations[i]};
    }
    tests[OPERATIONS] = (struct CMUnitTest) cmocka_unit_test(pairs_die_at_random);
    return crash_run(argc, argv, tests, OPERATIONS + 1);
}
