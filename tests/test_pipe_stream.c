/* kin/pipe.h: streams, which are pipes of bytes. */
#include "support.h"

#include "core/pipe.h"

#include <string.h>

enum { MS = 1000000, SMALL = 64, LARGE = 3000000, THREADS = 4, PER_THREAD = 200000 };

typedef struct board {
    kin_connection mine;
    kin_connection theirs;
    _Atomic uint64_t moved;
    _Atomic uint32_t wrong;
    uint32_t capacity;
} board;

static const kin_pipe_options small = {.stream = true, .capacity = SMALL};
static const kin_pipe_options usual = {.stream = true};

static board *new_board(const kin_pipe_options *options)
{
    board *b = shared_new(sizeof *b);
    assert_int_equal(kin_pipe_create(&b->mine, &b->theirs, options), 0);
    return b;
}

static board *board_of(const void *argument)
{
    uint64_t offset;
    memcpy(&offset, argument, sizeof offset);
    return arena_at(offset);
}

static kin_process start_with_end(kin_process_function function, const board *b)
{
    uint64_t offset = arena_offset(b);
    kin_process process = start(function, &offset, sizeof offset);
    assert_int_equal(kin_connection_give(b->theirs, process), 0);
    return process;
}

static void close_both(kin_connection a, kin_connection b)
{
    assert_int_equal(kin_connection_close(a), 0);
    assert_int_equal(kin_connection_close(b), 0);
}

/* The byte at each place of what is sent. */
static unsigned char byte_at(uint64_t at)
{
    return (unsigned char) (at * 31 + at / 257);
}

/* ---- alone ---- */

static void bytes_have_no_bounds(void **state)
{
    (void) state;
    kin_connection ends[2];
    char text[32];
    size_t size = 0;
    assert_int_equal(kin_pipe_create(&ends[0], &ends[1], &usual), 0);
    for (int i = 0; i < 2; i++) {
        kin_connection a = ends[i];
        kin_connection b = ends[1 - i];
        assert_int_equal(kin_connection_poll(b, 0), 0);
        assert_int_equal(kin_connection_send(a, "one ", 4, 0), 0);
        assert_int_equal(kin_connection_send(a, "two ", 4, 0), 0);
        assert_int_equal(kin_connection_send(a, NULL, 0, 0), 0);
        assert_int_equal(kin_connection_write(a, "three", 6, &size, 0), 0);
        assert_int_equal(size, 6);
        assert_int_equal(kin_connection_poll(b, 0), 1);
        assert_int_equal(kin_connection_receive(b, text, 3, &size, 0), 0);
        assert_int_equal(size, 3);
        assert_memory_equal(text, "one", 3);
        assert_int_equal(kin_connection_receive(b, text, sizeof text, &size, 0), 0);
        assert_int_equal(size, 11);
        assert_string_equal(text, " two three");
        assert_int_equal(kin_connection_receive(b, text, sizeof text, &size, 0), KIN_E_TIMEOUT);
        assert_int_equal(kin_connection_read(b, NULL, 0, &size, 0), 0);
    }
    close_both(ends[0], ends[1]);
}

static void what_has_been_moved_is_told(void **state)
{
    (void) state;
    kin_connection a;
    kin_connection b;
    unsigned char bytes[2 * SMALL];
    size_t done = 99;
    assert_int_equal(kin_pipe_create(&a, &b, &small), 0);
    for (uint64_t at = 0; at < sizeof bytes; at++) {
        bytes[at] = byte_at(at);
    }
    assert_int_equal(kin_connection_read(b, bytes, 1, &done, 0), KIN_E_TIMEOUT);
    assert_int_equal(done, 0);
    assert_int_equal(kin_connection_write(a, bytes, sizeof bytes, &done, 1), KIN_E_TIMEOUT);
    assert_int_equal(done, SMALL);
    assert_int_equal(kin_connection_send(a, bytes, 1, 0), KIN_E_TIMEOUT);
    memset(bytes, 0, sizeof bytes);
    assert_int_equal(kin_connection_read(b, bytes, 10, &done, 0), 0);
    assert_int_equal(done, 10);
    assert_int_equal(kin_connection_send(a, "0123456789", 10, 0), 0); /* around the end */
    assert_int_equal(kin_connection_read(b, bytes + 10, SMALL + 1, &done, 1), KIN_E_TIMEOUT);
    assert_int_equal(done, SMALL);
    for (uint64_t at = 0; at < SMALL; at++) {
        assert_int_equal(bytes[at], byte_at(at));
    }
    assert_memory_equal(bytes + SMALL, "0123456789", 10);
    assert_int_equal(kin_connection_write(a, "abc", 3, NULL, 0), 0);
    assert_int_equal(kin_connection_close(a), 0);
    assert_int_equal(kin_connection_read(b, bytes, 4, &done, KIN_FOREVER), KIN_E_CLOSED);
    assert_int_equal(done, 3);
    assert_int_equal(kin_connection_read(b, bytes, 4, NULL, KIN_FOREVER), KIN_E_CLOSED);
    assert_int_equal(kin_connection_write(b, "abc", 3, &done, KIN_FOREVER), KIN_E_CLOSED);
    assert_int_equal(done, 0);
    assert_int_equal(kin_connection_close(b), 0);
}

/* Of a long write, too, which has found the stream before. */
static void nothing_is_sent_by_an_end_that_is_gone(void **state)
{
    (void) state;
    kin_connection a;
    kin_connection b;
    pipe_end p = {0};
    stream_side s = {0};
    char text[4];
    size_t size = 0;
    assert_int_equal(kin_pipe_create(&a, &b, &usual), 0);
    assert_true(pipe_find(&p, a.id, true));
    assert_int_equal(stream_enter(&s, p.way, p.e, p.id), 0);
    assert_int_equal(stream_send(&s, "one", 3, &size), 0);
    assert_int_equal(kin_connection_close(a), 0);
    assert_int_equal(stream_send(&s, "two", 3, &size), KIN_E_CLOSED);
    assert_int_equal(size, 0);
    assert_int_equal(kin_connection_receive(b, text, sizeof text, &size, 0), 0);
    assert_int_equal(size, 3);
    assert_int_equal(kin_connection_receive(b, text, sizeof text, &size, 0), KIN_E_CLOSED);
    assert_int_equal(kin_connection_close(b), 0);
}

/* As one that is about to send what it has copied. */
static int be_at_work(void *argument, size_t size)
{
    board *b = board_of(argument);
    (void) size;
    pipe_end p = {0};
    stream_side s = {0};
    CHECK(pipe_find(&p, b->theirs.id, true));
    CHECK(stream_enter(&s, p.way, p.e, p.id) == 0);
    CHECK(latch_take(s.mine, sync_base(s.id), s.t->token));
    atomic_store(&b->moved, 1);
    (void) kin_sleep(KIN_FOREVER);
    return CHILD_FAILED;
}

static void the_end_is_told_when_nobody_sends_any_more(void **state)
{
    (void) state;
    char byte;
    board *b = new_board(&usual);
    uint64_t offset = arena_offset(b);
    kin_process sender = start(be_at_work, &offset, sizeof offset);
    while (atomic_load(&b->moved) == 0) {
        platform_sleep_ns(MS);
    }
    assert_int_equal(kin_connection_close(b->theirs), 0);
    assert_int_equal(kin_connection_receive(b->mine, &byte, 1, NULL, 0), KIN_E_TIMEOUT);
    kill_and_close(sender);
    assert_int_equal(kin_connection_receive(b->mine, &byte, 1, NULL, LONG_MS), KIN_E_CLOSED);
    assert_int_equal(kin_connection_close(b->mine), 0);
    shared_free(b);
}

/* A call that does not wait does not wait for whoever is at work on its side, either. */
static void who_does_not_wait_is_not_kept_by_another(void **state)
{
    (void) state;
    board *b = new_board(&usual);
    uint64_t offset = arena_offset(b);
    kin_process sender = start(be_at_work, &offset, sizeof offset);
    while (atomic_load(&b->moved) == 0) {
        platform_sleep_ns(MS);
    }
    assert_int_equal(kin_connection_send(b->theirs, "x", 1, 0), KIN_E_TIMEOUT);
    assert_int_equal(kin_connection_send(b->theirs, "x", 1, 1), KIN_E_TIMEOUT);
    kill_and_close(sender);
    assert_int_equal(kin_connection_send(b->theirs, "x", 1, 0), 0);
    close_both(b->mine, b->theirs);
    shared_free(b);
}

static void the_capacity_is_a_power_of_two(void **state)
{
    (void) state;
    static const struct {
        uint32_t wanted, has;
    } cases[] = {{1, 64}, {64, 64}, {65, 128}, {0, 65536}, {100000, 131072}};
    static unsigned char bytes[262144];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kin_connection a;
        kin_connection b;
        size_t done = 0;
        const kin_pipe_options how = {.stream = true, .capacity = cases[i].wanted, .one_way = true};
        assert_int_equal(kin_pipe_create(&a, &b, &how), 0);
        assert_int_equal(kin_connection_write(b, bytes, sizeof bytes, &done, 0), KIN_E_TIMEOUT);
        assert_int_equal(done, cases[i].has);
        close_both(a, b);
    }
}

static void bad_arguments_are_told(void **state)
{
    (void) state;
    kin_connection a;
    kin_connection b;
    kin_message m = {0};
    size_t done;
    char byte;
    const kin_pipe_options how = {.stream = true, .one_way = true};
    assert_int_equal(kin_pipe_create(&a, &b, &how), 0);
    assert_int_equal(kin_connection_send(a, "x", 1, KIN_FOREVER), KIN_E_STATE);
    assert_int_equal(kin_connection_write(a, "x", 1, &done, KIN_FOREVER), KIN_E_STATE);
    assert_int_equal(kin_connection_receive(b, &byte, 1, NULL, KIN_FOREVER), KIN_E_STATE);
    assert_int_equal(kin_connection_read(b, &byte, 1, NULL, KIN_FOREVER), KIN_E_STATE);
    assert_int_equal(kin_connection_poll(b, KIN_FOREVER), KIN_E_STATE);
    assert_int_equal(kin_connection_reserve(b, &m, 1, 0), KIN_E_STATE);
    assert_int_equal(kin_connection_commit(b, &m), KIN_E_STATE);
    assert_int_equal(kin_connection_take(a, &m, 0), KIN_E_STATE);
    assert_int_equal(kin_connection_send_message(b, &m, 0), KIN_E_STATE);
    assert_int_equal(kin_connection_send(b, NULL, 1, 0), KIN_E_INVALID);
    assert_int_equal(kin_connection_write(b, NULL, 1, &done, 0), KIN_E_INVALID);
    assert_int_equal(kin_connection_receive(a, NULL, 1, NULL, 0), KIN_E_INVALID);
    assert_int_equal(kin_connection_receive(a, &byte, 0, NULL, 0), KIN_E_INVALID);
    assert_int_equal(kin_connection_read(a, NULL, 1, NULL, 0), KIN_E_INVALID);
    kin_wait_item item = {.id = b.id};
    assert_int_equal(kin_wait(&item, 1, false, 1), KIN_E_TIMEOUT);
    assert_int_equal(kin_connection_close(a), 0);
    assert_int_equal(kin_wait(&item, 1, false, LONG_MS), 0);
    assert_int_equal(item.ready, 1);
    assert_int_equal(kin_connection_close(b), 0);
}

static void a_wait_is_never_over_early(void **state)
{
    (void) state;
    kin_connection a;
    kin_connection b;
    unsigned char bytes[SMALL] = {0};
    static const int times[] = {1, 20, 250};
    assert_int_equal(kin_pipe_create(&a, &b, &small), 0);
    assert_int_equal(kin_connection_send(a, bytes, sizeof bytes, 0), 0);
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        int64_t before = kin_clock_ns();
        assert_int_equal(kin_connection_receive(a, bytes, 1, NULL, times[i]), KIN_E_TIMEOUT);
        assert_int_equal(kin_connection_poll(a, times[i]), 0);
        assert_int_equal(kin_connection_send(a, bytes, 1, times[i]), KIN_E_TIMEOUT);
        assert_true(kin_clock_ns() - before >= 3 * (int64_t) times[i] * MS);
    }
    close_both(a, b);
}

/* ---- two sides ---- */

/* Sends what is expected, in pieces of all sizes. */
static int send_all(kin_connection c, uint64_t total)
{
    static unsigned char piece[100000];
    uint64_t seed = 7;
    for (uint64_t at = 0; at < total;) {
        uint64_t size = next_random(&seed) % 7 == 0 ? next_random(&seed) % sizeof piece
                                                    : next_random(&seed) % 300;
        size = size < total - at ? size : total - at;
        for (uint64_t i = 0; i < size; i++) {
            piece[i] = byte_at(at + i);
        }
        CHECK(kin_connection_send(c, piece, (size_t) size, LONG_MS) == 0);
        at += size;
    }
    return 0;
}

/* Receives until the other side is gone; how many bytes. */
static int receive_all(kin_connection c, uint64_t *total)
{
    static unsigned char piece[50000];
    uint64_t seed = 8;
    int status;
    *total = 0;
    for (;;) {
        size_t done;
        size_t most = 1 + next_random(&seed) % sizeof piece;
        status = kin_connection_receive(c, piece, most, &done, LONG_MS);
        if (status != 0) {
            break;
        }
        CHECK(done > 0 && done <= most);
        for (uint64_t i = 0; i < done; i++) {
            CHECK(piece[i] == byte_at(*total + i));
        }
        *total += done;
    }
    CHECK(status == KIN_E_CLOSED);
    return 0;
}

static int send_and_end(void *argument, size_t size)
{
    board *b = board_of(argument);
    (void) size;
    return send_all(b->theirs, LARGE);
}

static int receive_and_tell(void *argument, size_t size)
{
    board *b = board_of(argument);
    (void) size;
    uint64_t total;
    int status = receive_all(b->theirs, &total);
    atomic_store(&b->moved, total);
    return status;
}

static void all_bytes_arrive_in_order(void **state)
{
    (void) state;
    static const kin_pipe_options how[] = {{.stream = true, .capacity = SMALL},
                                           {.stream = true},
                                           {.stream = true, .capacity = 2000000}};
    for (size_t i = 0; i < sizeof how / sizeof *how; i++) {
        uint64_t total;
        board *b = new_board(&how[i]);
        kin_process child = start_with_end(send_and_end, b);
        assert_int_equal(receive_all(b->mine, &total), 0);
        assert_true(total == LARGE);
        assert_int_equal(end_of(child), 0);
        assert_int_equal(kin_connection_close(b->mine), 0);
        assert_int_equal(kin_pipe_create(&b->mine, &b->theirs, &how[i]), 0);
        child = start_with_end(receive_and_tell, b);
        assert_int_equal(send_all(b->mine, LARGE), 0);
        assert_int_equal(kin_connection_close(b->mine), 0);
        assert_int_equal(end_of(child), 0);
        assert_true(atomic_load(&b->moved) == LARGE);
        shared_free(b);
    }
}

static int send_back(void *argument, size_t size)
{
    board *b = board_of(argument);
    (void) size;
    unsigned char bytes[1000];
    size_t done;
    int status;
    while ((status = kin_connection_receive(b->theirs, bytes, sizeof bytes, &done, LONG_MS)) == 0) {
        CHECK(kin_connection_send(b->theirs, bytes, done, LONG_MS) == 0);
    }
    return status == KIN_E_CLOSED ? 0 : CHILD_FAILED;
}

static void bytes_come_back(void **state)
{
    (void) state;
    static unsigned char bytes[20000];
    static unsigned char back[sizeof bytes];
    board *b = new_board(&usual);
    kin_process child = start_with_end(send_back, b);
    for (uint64_t at = 0; at < sizeof bytes; at++) {
        bytes[at] = byte_at(at);
    }
    for (size_t i = 0; i < 100; i++) {
        size_t size = i * 37 + 1;
        assert_int_equal(kin_connection_send(b->mine, bytes, size, LONG_MS), 0);
        assert_int_equal(kin_connection_read(b->mine, back, size, NULL, LONG_MS), 0);
        assert_memory_equal(bytes, back, size);
    }
    assert_int_equal(kin_connection_close(b->mine), 0);
    assert_int_equal(end_of(child), 0);
    shared_free(b);
}

/* Each byte says which thread has sent it; so many of each arrive. */
static void send_or_count(void *argument, unsigned number)
{
    board *b = argument;
    unsigned char bytes[333];
    size_t done;
    if (number % 2 == 0) {
        memset(bytes, (int) number + 1, sizeof bytes);
        for (uint32_t sent = 0; sent < PER_THREAD; sent += (uint32_t) done) {
            size_t left = PER_THREAD - sent;
            if (kin_connection_write(b->mine, bytes, left < sizeof bytes ? left : sizeof bytes,
                                     &done, LONG_MS) != 0) {
                atomic_fetch_add(&b->wrong, 1);
                return;
            }
        }
        return;
    }
    for (uint32_t received = 0; received < PER_THREAD; received += (uint32_t) done) {
        size_t left = PER_THREAD - received;
        if (kin_connection_receive(b->theirs, bytes, left < sizeof bytes ? left : sizeof bytes,
                                   &done, LONG_MS) != 0) {
            atomic_fetch_add(&b->wrong, 1);
            return;
        }
        for (size_t i = 0; i < done; i++) {
            atomic_fetch_add(&b->moved, bytes[i]);
        }
    }
}

static void threads_share_an_end(void **state)
{
    (void) state;
    board *b = new_board(&small);
    system_run_threads(THREADS, send_or_count, b);
    assert_int_equal(atomic_load(&b->wrong), 0);
    assert_true(atomic_load(&b->moved) == (uint64_t) PER_THREAD * (1 + 3));
    assert_int_equal(kin_connection_poll(b->theirs, 0), 0);
    close_both(b->mine, b->theirs);
    shared_free(b);
}

static int wait_at_its_end(void *argument, size_t size)
{
    board *b = board_of(argument);
    (void) size;
    unsigned char bytes[2 * SMALL] = {0};
    size_t done = 0;
    int status = b->capacity == 0
                     ? kin_connection_read(b->theirs, bytes, 2, &done, LONG_MS)
                     : kin_connection_write(b->theirs, bytes, sizeof bytes, &done, LONG_MS);
    atomic_store(&b->moved, done);
    return status == KIN_E_CLOSED ? 0 : CHILD_FAILED;
}

/* By the close of either end; receivers, and senders for whom there is no room. */
static void those_who_wait_are_told_of_a_close(void **state)
{
    (void) state;
    for (int i = 0; i < 4; i++) {
        board *b = new_board(&small);
        bool sends = i % 2 != 0;
        b->capacity = sends;
        pipe_end p = {0};
        assert_true(pipe_find(&p, b->theirs.id, sends));
        assert_int_equal(kin_connection_send(b->mine, "x", 1, 0), 0);
        kin_process child = start_with_end(wait_at_its_end, b);
        await_sleepers(p.way, 1);
        assert_int_equal(kin_connection_close(i < 2 ? b->mine : b->theirs), 0);
        assert_int_equal(end_of(child), 0);
        assert_int_equal(atomic_load(&b->moved), sends ? SMALL : 1);
        (void) kin_connection_close(b->theirs); /* its owner's end has done that */
        (void) kin_connection_close(b->mine);
        shared_free(b);
    }
}

int main(int argc, char **argv)
{
    if (kin_init(&argc, &argv) < 0) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        CLEAN_TEST(bytes_have_no_bounds),
        CLEAN_TEST(what_has_been_moved_is_told),
        CLEAN_TEST(nothing_is_sent_by_an_end_that_is_gone),
        CLEAN_TEST(the_end_is_told_when_nobody_sends_any_more),
        CLEAN_TEST(who_does_not_wait_is_not_kept_by_another),
        CLEAN_TEST(the_capacity_is_a_power_of_two),
        CLEAN_TEST(bad_arguments_are_told),
        CLEAN_TEST(a_wait_is_never_over_early),
        CLEAN_TEST(all_bytes_arrive_in_order),
        CLEAN_TEST(bytes_come_back),
        CLEAN_TEST(threads_share_an_end),
        CLEAN_TEST(those_who_wait_are_told_of_a_close),
    };
    return cmocka_run_group_tests(tests, warm_up, NULL);
}
