/* Pipes as core/platform.h promises them, with a thread at each end: one uses the end that takes
   timeouts, the other one that of a child. */
#include "support_stream.h"

#include <string.h>

enum { ROUNDS = 100, PAIRS = 4 };

#if defined _WIN32
enum { MUCH = STREAM_MOST / 2 };
#else
enum { MUCH = STREAM_MOST };
#endif

/* What the two sides of a pipe do, the first with this process's end, the second with the child's;
   0 or CHILD_FAILED. An end is closed when its side is done. */
typedef struct talk {
    int (*sides[2])(struct talk *talk);
    intptr_t own;
    intptr_t of_child;
    size_t size;
    int64_t timeout_ns;
    uint64_t chance;
    size_t written;        /* as the writer was told */
    size_t read;           /* by the reader */
    _Atomic uint32_t step; /* how far the first side has got */
    int results[2];
} talk;

static void take_side(void *argument, unsigned number)
{
    talk *t = argument;
    t->results[number] = t->sides[number](t);
    platform_stream_close(number == 0 ? t->own : t->of_child);
}

static void hold_talk(talk *t, enum platform_open how)
{
    assert_int_equal(platform_stream_pipe(&t->own, &t->of_child, how), 0);
    system_run_threads(2, take_side, t);
    assert_int_equal(t->results[0], 0);
    assert_int_equal(t->results[1], 0);
}

static bool await_step(talk *t, uint32_t step)
{
    int64_t until = platform_clock_ns() + LONG_TIME;
    while (atomic_load(&t->step) < step && platform_clock_ns() < until) {
        platform_sleep_ns(MILLISECOND / 10);
    }
    return atomic_load(&t->step) >= step;
}

static int own_reads_all(talk *t)
{
    size_t done = 1;
    int status = 0;
    while (status == 0) {
        status = platform_stream_read(t->own, stream_taken + t->read, STREAM_MOST + 1 - t->read,
                                      &done, LONG_TIME);
        CHECK(status != 0 || done > 0);
        t->read += done;
    }
    CHECK(status == KIN_E_CLOSED && done == 0);
    CHECK(memcmp(stream_taken, stream_pattern, t->read) == 0);
    return 0;
}

static int child_writes_all(talk *t)
{
    CHECK(system_write(t->of_child, stream_pattern, t->size));
    return 0;
}

static int own_writes_all(talk *t)
{
    CHECK(platform_stream_write(t->own, stream_pattern, t->size, &t->written, LONG_TIME) == 0);
    CHECK(t->written == t->size);
    return 0;
}

static int child_reads_all(talk *t)
{
    t->read += read_to_end(t->of_child, stream_taken + t->read, STREAM_MOST + 1 - t->read);
    CHECK(memcmp(stream_taken, stream_pattern, t->read) == 0);
    return 0;
}

static void much_is_read_as_it_was_written(void **state)
{
    (void) state;
    talk t = {.sides = {own_reads_all, child_writes_all}, .size = MUCH};
    hold_talk(&t, PLATFORM_READ);
    assert_int_equal(t.read, MUCH);
}

static void much_is_written_as_it_is_read(void **state)
{
    (void) state;
    talk t = {.sides = {own_writes_all, child_reads_all}, .size = MUCH};
    hold_talk(&t, PLATFORM_WRITE);
    assert_int_equal(t.read, MUCH);
}

/* The next piece that somebody reads or writes; now and then after a pause. */
static size_t next_piece(talk *t, size_t most)
{
    size_t piece = next_random(&t->chance) % 4 == 0 ? next_random(&t->chance) % 40000
                                                    : next_random(&t->chance) % 500;
    if (next_random(&t->chance) % 16 == 0) {
        platform_sleep_ns(next_random(&t->chance) % 3000000);
    }
    return piece + 1 < most ? piece + 1 : most;
}

static int own_reads_impatiently(talk *t)
{
    size_t done;
    int status = 0;
    while (status != KIN_E_CLOSED) {
        uint64_t chance = t->read;
        int64_t timeout_ns = next_random(&chance) % 3 * (MILLISECOND / 2);
        status = platform_stream_read(t->own, stream_taken + t->read, 10000, &done, timeout_ns);
        CHECK(status == 0 ? done > 0 && done <= 10000 : done == 0);
        CHECK(status == 0 || status == KIN_E_TIMEOUT || status == KIN_E_CLOSED);
        t->read += done;
    }
    CHECK(memcmp(stream_taken, stream_pattern, t->read) == 0);
    return 0;
}

static int child_writes_pieces(talk *t)
{
    size_t at = 0;
    while (at < t->size) {
        size_t piece = next_piece(t, t->size - at);
        CHECK(system_write(t->of_child, stream_pattern + at, piece));
        at += piece;
    }
    return 0;
}

static void nothing_is_lost_by_reads_that_are_given_up(void **state)
{
    (void) state;
    talk t = {
        .sides = {own_reads_impatiently, child_writes_pieces}, .size = 4 * STREAM_MIB, .chance = 1};
    hold_talk(&t, PLATFORM_READ);
    assert_int_equal(t.read, t.size);
}

static int own_writes_in_time(talk *t)
{
    int status = platform_stream_write(t->own, stream_pattern, t->size, &t->written, t->timeout_ns);
    CHECK(status == (t->written == t->size ? 0 : KIN_E_TIMEOUT));
    return 0;
}

static int child_reads_pieces(talk *t)
{
    size_t piece;
    size_t length;
    do {
        piece = next_piece(t, STREAM_MOST + 1 - t->read);
        length = read_to_end(t->of_child, stream_taken + t->read, piece);
        t->read += length;
    } while (length == piece);
    CHECK(memcmp(stream_taken, stream_pattern, t->read) == 0);
    return 0;
}

static void what_has_been_written_is_known_when_the_time_is_over(void **state)
{
    (void) state;
    uint64_t chance = 2;
    bool partly = false;
    for (int i = 0; i < ROUNDS; i++) {
        talk t = {.sides = {own_writes_in_time, child_reads_pieces},
                  .size = 1 + next_random(&chance) % STREAM_MIB,
                  .timeout_ns = next_random(&chance) % 4000000,
                  .chance = (uint64_t) i};
        hold_talk(&t, PLATFORM_WRITE);
        assert_int_equal(t.read, t.written);
        partly = partly || (t.written > 0 && t.written < t.size);
    }
    assert_true(partly);
}

static int child_reads_a_part(talk *t)
{
    t->read = read_to_end(t->of_child, stream_taken, t->size / 3);
    CHECK(await_step(t, 1));
    return child_reads_all(t);
}

static int own_writes_until_nobody_reads(talk *t)
{
    int status = own_writes_in_time(t);
    atomic_store(&t->step, 1);
    return status;
}

static void a_reader_that_stops_costs_the_writer_its_time_alone(void **state)
{
    (void) state;
    talk t = {.sides = {own_writes_until_nobody_reads, child_reads_a_part},
              .size = 3 * STREAM_MIB,
              .timeout_ns = 300 * MILLISECOND};
    hold_talk(&t, PLATFORM_WRITE);
    assert_true(t.written > 0 && t.written < t.size);
    assert_int_equal(t.read, t.written);
}

static int own_writes_without_waiting(talk *t)
{
    CHECK(platform_stream_write(t->own, stream_pattern, t->size, &t->written, 0) == KIN_E_TIMEOUT);
    CHECK(t->written > 0);
    return 0;
}

static void a_write_that_does_not_wait_ends_though_the_reader_keeps_up(void **state)
{
    (void) state;
    talk t = {.sides = {own_writes_without_waiting, child_reads_all}, .size = MUCH};
    hold_talk(&t, PLATFORM_WRITE);
    assert_int_equal(t.read, t.written);
}

static int own_reads_three(talk *t)
{
    size_t done = 0;
    for (uint32_t i = 1; i <= 3; i++) {
        atomic_store(&t->step, i);
        CHECK(platform_stream_read(t->own, stream_taken, 10, &done, i == 2 ? -1 : LONG_TIME) == 0);
        CHECK(done == i && memcmp(stream_taken, stream_pattern, i) == 0);
    }
    return 0;
}

static int child_writes_three_late(talk *t)
{
    for (uint32_t i = 1; i <= 3; i++) {
        CHECK(await_step(t, i));
        platform_sleep_ns(20 * MILLISECOND); /* most likely it waits by now */
        CHECK(system_write(t->of_child, "", 0));
        platform_sleep_ns(MILLISECOND);
        CHECK(system_write(t->of_child, stream_pattern, i));
    }
    return 0;
}

static void a_read_that_waits_gets_what_comes(void **state)
{
    (void) state;
    talk t = {.sides = {own_reads_three, child_writes_three_late}};
    hold_talk(&t, PLATFORM_READ);
}

static int own_reads_until_closed(talk *t)
{
    size_t done = 1;
    atomic_store(&t->step, 1);
    CHECK(platform_stream_read(t->own, stream_taken, 10, &done, t->timeout_ns) == KIN_E_CLOSED);
    CHECK(done == 0);
    return 0;
}

static int own_writes_until_closed(talk *t)
{
    atomic_store(&t->step, 1);
    CHECK(platform_stream_write(t->own, stream_pattern, STREAM_MIB, &t->written, t->timeout_ns) ==
          KIN_E_CLOSED);
    CHECK(t->written < STREAM_MIB);
    return 0;
}

static int child_closes_late(talk *t)
{
    CHECK(await_step(t, 1));
    platform_sleep_ns((int64_t) t->size * MILLISECOND);
    return 0;
}

static void who_waits_is_told_that_the_other_end_is_closed(void **state)
{
    (void) state;
    for (size_t pause = 0; pause < 8; pause++) {
        talk t = {.sides = {own_reads_until_closed, child_closes_late},
                  .size = 5 * pause,
                  .timeout_ns = pause % 2 == 0 ? -1 : LONG_TIME};
        hold_talk(&t, PLATFORM_READ);
        t.step = 0;
        t.sides[0] = own_writes_until_closed;
        hold_talk(&t, PLATFORM_WRITE);
    }
}

/* Two pipes, to a thread that sends back what it gets. */
typedef struct echo {
    intptr_t to;
    intptr_t from;
    intptr_t child_in;
    intptr_t child_out;
    int results[2];
} echo;

static int ask(const echo *e)
{
    unsigned char answer[3000];
    for (size_t i = 0; i < ROUNDS; i++) {
        size_t size = 1 + i * 29 % sizeof answer;
        size_t done;
        size_t length = 0;
        CHECK(platform_stream_write(e->to, stream_pattern + i, size, &done, LONG_TIME) == 0);
        while (length < size) {
            CHECK(platform_stream_read(e->from, answer + length, size - length, &done, LONG_TIME) ==
                  0);
            length += done;
        }
        CHECK(memcmp(answer, stream_pattern + i, size) == 0);
    }
    return 0;
}

static int give_back(const echo *e)
{
    unsigned char bytes[1000];
    ptrdiff_t length = system_read(e->child_in, bytes, sizeof bytes);
    while (length > 0) {
        CHECK(system_write(e->child_out, bytes, (size_t) length));
        length = system_read(e->child_in, bytes, sizeof bytes);
    }
    return length == 0 ? 0 : CHILD_FAILED;
}

static void take_part(void *argument, unsigned number)
{
    echo *e = (echo *) argument + number / 2;
    if (number % 2 == 0) {
        e->results[0] = ask(e);
        platform_stream_close(e->to);
        platform_stream_close(e->from);
    } else {
        e->results[1] = give_back(e);
        platform_stream_close(e->child_in);
        platform_stream_close(e->child_out);
    }
}

static void many_streams_are_used_at_one_time(void **state)
{
    (void) state;
    echo echoes[PAIRS];
    for (int i = 0; i < PAIRS; i++) {
        echo *e = &echoes[i];
        assert_int_equal(platform_stream_pipe(&e->to, &e->child_in, PLATFORM_WRITE), 0);
        assert_int_equal(platform_stream_pipe(&e->from, &e->child_out, PLATFORM_READ), 0);
    }
    system_run_threads(2 * PAIRS, take_part, echoes);
    for (int i = 0; i < PAIRS; i++) {
        assert_int_equal(echoes[i].results[0], 0);
        assert_int_equal(echoes[i].results[1], 0);
    }
}

static int prepare(void **state)
{
    (void) state;
    stream_prepare();
    return 0;
}

static int clear(void **state)
{
    (void) state;
    stream_clear();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STREAM_TEST(much_is_read_as_it_was_written),
        STREAM_TEST(much_is_written_as_it_is_read),
        STREAM_TEST(nothing_is_lost_by_reads_that_are_given_up),
        STREAM_TEST(what_has_been_written_is_known_when_the_time_is_over),
        STREAM_TEST(a_reader_that_stops_costs_the_writer_its_time_alone),
        STREAM_TEST(a_write_that_does_not_wait_ends_though_the_reader_keeps_up),
        STREAM_TEST(a_read_that_waits_gets_what_comes),
        STREAM_TEST(who_waits_is_told_that_the_other_end_is_closed),
        STREAM_TEST(many_streams_are_used_at_one_time),
    };
    return cmocka_run_group_tests(tests, prepare, clear);
}
