/* kin/pipe.h: pipes of messages, between threads and processes, and what becomes of them when one
   side is gone. Streams are tested in test_pipe_stream.c. */
#include "support.h"

#include "core/pipe.h"

#include <string.h>

enum { MS = 1000000, SECOND_MS = 1000, MANY = 3000, THREADS = 4, BIG = 1 << 20, PIPES = 8 };

/* What children and tests share. */
typedef struct board {
    kin_connection mine;
    kin_connection theirs;
    mark arrived;
    mark go;
    _Atomic uint64_t sum;
    _Atomic int32_t status;
    uint32_t count;
} board;

static board *new_board(const kin_pipe_options *options)
{
    board *b = shared_new(sizeof *b);
    assert_int_equal(kin_pipe_create(&b->mine, &b->theirs, options), 0);
    return b;
}

static kin_process start_on(kin_process_function function, const board *b)
{
    uint64_t offset = arena_offset(b);
    return start(function, &offset, sizeof offset);
}

static kin_process start_with_end(kin_process_function function, const board *b)
{
    kin_process process = start_on(function, b);
    assert_int_equal(kin_connection_give(b->theirs, process), 0);
    return process;
}

static board *board_of(const void *argument)
{
    uint64_t offset;
    memcpy(&offset, argument, sizeof offset);
    return arena_at(offset);
}

/* What those wait for who wait at an end. */
static uint64_t way_of(kin_connection c, bool sends)
{
    pipe_end p = {0};
    assert_true(pipe_find(&p, c.id, sends));
    return p.way;
}

static void send_number(kin_connection c, uint64_t number)
{
    assert_int_equal(kin_connection_send(c, &number, sizeof number, LONG_MS), 0);
}

static uint64_t receive_number(kin_connection c)
{
    uint64_t number = 0;
    size_t size = 0;
    assert_int_equal(kin_connection_receive(c, &number, sizeof number, &size, LONG_MS), 0);
    assert_int_equal(size, sizeof number);
    return number;
}

/* Within a second, and every time from then on; nothing can be sent any more either. */
static void the_other_side_is_gone(kin_connection c)
{
    char byte;
    int64_t before = kin_clock_ns();
    assert_int_equal(kin_connection_receive(c, &byte, 1, NULL, LONG_MS), KIN_E_CLOSED);
    assert_true(kin_clock_ns() - before < 10 * INT64_C(1000) * MS);
    assert_int_equal(kin_connection_receive(c, &byte, 1, NULL, 0), KIN_E_CLOSED);
    assert_int_equal(kin_connection_poll(c, 0), 1);
    assert_int_equal(kin_connection_send(c, "x", 1, LONG_MS), KIN_E_CLOSED);
}

static void close_end(kin_connection c)
{
    assert_int_equal(kin_connection_close(c), 0);
    assert_int_equal(kin_connection_close(c), KIN_E_HANDLE);
}

static void free_board(board *b)
{
    close_end(b->mine);
    assert_int_equal(kin_connection_close(b->theirs), KIN_E_HANDLE);
    shared_free(b);
}

/* ---- alone ---- */

static unsigned char content_of(size_t size, size_t at)
{
    return (unsigned char) (size * 7 + at * 13 + at / 251);
}

static void messages_go_both_ways_whole_and_in_order(void **state)
{
    (void) state;
    static unsigned char data[BIG + 1];
    static unsigned char copy[BIG + 1];
    const size_t sizes[] = {0, 1, 8, 119, 120, 121, 5000, BIG, BIG + 1};
    enum { SIZES = sizeof sizes / sizeof *sizes };
    kin_connection ends[2];
    assert_int_equal(kin_pipe_create(&ends[0], &ends[1], NULL), 0);
    for (int way = 0; way < 2; way++) {
        for (size_t i = 0; i < SIZES; i++) {
            for (size_t at = 0; at < sizes[i]; at++) {
                data[at] = content_of(sizes[i], at);
            }
            assert_int_equal(kin_connection_send(ends[way], data, sizes[i], 0), 0);
        }
    }
    for (int way = 0; way < 2; way++) {
        for (size_t i = 0; i < SIZES; i++) {
            size_t size = 1234;
            assert_int_equal(kin_connection_poll(ends[1 - way], 0), 1);
            assert_int_equal(kin_connection_receive(ends[1 - way], copy, sizeof copy, &size, 0), 0);
            assert_int_equal(size, sizes[i]);
            for (size_t at = 0; at < size; at++) {
                assert_true(copy[at] == content_of(size, at));
            }
        }
        assert_int_equal(kin_connection_poll(ends[1 - way], 0), 0);
    }
    close_end(ends[0]);
    close_end(ends[1]);
}

static void a_message_that_is_too_large_stays(void **state)
{
    (void) state;
    kin_connection a;
    kin_connection b;
    char text[300] = "some text";
    size_t size = 0;
    assert_int_equal(kin_pipe_create(&a, &b, NULL), 0);
    for (int i = 0; i < 2; i++) {
        size_t is = i == 0 ? 10 : sizeof text;
        assert_int_equal(kin_connection_send(a, text, is, 0), 0);
        assert_int_equal(kin_connection_receive(b, NULL, 0, &size, 0), KIN_E_TOO_SMALL);
        assert_int_equal(size, is);
        assert_int_equal(kin_connection_receive(b, text, is - 1, &size, 0), KIN_E_TOO_SMALL);
        assert_int_equal(size, is);
        assert_int_equal(kin_connection_receive(b, text, is, NULL, 0), 0);
        assert_string_equal(text, "some text");
    }
    close_end(a);
    close_end(b);
}

static void one_way_is_one_way(void **state)
{
    (void) state;
    kin_connection reader;
    kin_connection writer;
    kin_message m;
    char byte;
    const kin_pipe_options how = {.one_way = true, .name = "one way"};
    assert_int_equal(kin_pipe_create(&reader, &writer, &how), 0);
    assert_int_equal(kin_connection_send(reader, "x", 1, KIN_FOREVER), KIN_E_STATE);
    assert_int_equal(kin_connection_reserve(reader, &m, 1, KIN_FOREVER), KIN_E_STATE);
    assert_int_equal(kin_connection_receive(writer, &byte, 1, NULL, KIN_FOREVER), KIN_E_STATE);
    assert_int_equal(kin_connection_take(writer, &m, KIN_FOREVER), KIN_E_STATE);
    assert_int_equal(kin_connection_poll(writer, KIN_FOREVER), KIN_E_STATE);
    kin_wait_item item = {.id = writer.id};
    assert_int_equal(kin_wait(&item, 1, false, 1), KIN_E_TIMEOUT);
    send_number(writer, 5);
    assert_int_equal(receive_number(reader), 5);
    assert_int_equal(kin_connection_close(reader), 0);
    assert_int_equal(kin_wait(&item, 1, false, LONG_MS), 0);
    assert_int_equal(item.ready, 1);
    assert_int_equal(kin_connection_send(writer, "x", 1, KIN_FOREVER), KIN_E_CLOSED);
    close_end(writer);
}

static void bad_options_are_refused(void **state)
{
    (void) state;
    kin_connection a;
    kin_connection b;
    const kin_pipe_options bad[] = {
        {.name = "01234567890123456789012345678901"},
        {.item_size = KIN_QUEUE_ITEM_LIMIT + 1},
        {.stream = true, .item_size = 1},
        {.stream = true, .capacity = KIN_STREAM_LIMIT + UINT64_C(1)},
    };
    assert_int_equal(kin_pipe_create(NULL, &b, NULL), KIN_E_INVALID);
    assert_int_equal(kin_pipe_create(&a, NULL, NULL), KIN_E_INVALID);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(kin_pipe_create(&a, &b, &bad[i]), KIN_E_INVALID);
    }
}

static void no_call_takes_a_handle_that_is_none(kin_connection c)
{
    char byte = 0;
    size_t size;
    kin_message m = {0};
    assert_int_equal(kin_connection_send(c, &byte, 1, KIN_FOREVER), KIN_E_HANDLE);
    assert_int_equal(kin_connection_receive(c, &byte, 1, &size, KIN_FOREVER), KIN_E_HANDLE);
    assert_int_equal(kin_connection_poll(c, KIN_FOREVER), KIN_E_HANDLE);
    assert_int_equal(kin_connection_write(c, &byte, 1, &size, KIN_FOREVER), KIN_E_HANDLE);
    assert_int_equal(kin_connection_read(c, &byte, 1, &size, KIN_FOREVER), KIN_E_HANDLE);
    assert_int_equal(kin_connection_reserve(c, &m, 1, KIN_FOREVER), KIN_E_HANDLE);
    assert_int_equal(kin_connection_commit(c, &m), KIN_E_HANDLE);
    assert_int_equal(kin_connection_take(c, &m, KIN_FOREVER), KIN_E_HANDLE);
    assert_int_equal(kin_connection_send_message(c, &m, KIN_FOREVER), KIN_E_HANDLE);
    assert_int_equal(kin_connection_give(c, kin_current_process()), KIN_E_HANDLE);
    assert_int_equal(kin_connection_close(c), KIN_E_HANDLE);
}

static void bad_handles_and_arguments_are_told(void **state)
{
    (void) state;
    kin_connection a;
    kin_connection b;
    kin_event event;
    kin_message m = {0};
    assert_int_equal(kin_event_create(&event, NULL), 0);
    assert_int_equal(kin_pipe_create(&a, &b, NULL), 0);
    const uint64_t forged[] = {1,
                               UINT64_MAX,
                               event.id,
                               kin_current_process().id,
                               a.id ^ UINT64_C(1) << 40,
                               way_of(a, true)};
    for (size_t i = 0; i < sizeof forged / sizeof *forged; i++) {
        no_call_takes_a_handle_that_is_none((kin_connection){forged[i]});
    }
    assert_int_equal(kin_connection_send(a, NULL, 1, 0), KIN_E_INVALID);
    assert_int_equal(kin_connection_receive(a, NULL, 1, NULL, 0), KIN_E_INVALID);
    assert_int_equal(kin_connection_reserve(a, NULL, 1, 0), KIN_E_INVALID);
    assert_int_equal(kin_connection_take(a, NULL, 0), KIN_E_INVALID);
    assert_int_equal(kin_connection_commit(a, NULL), KIN_E_INVALID);
    assert_int_equal(kin_connection_commit(a, &m), KIN_E_INVALID);
    assert_int_equal(kin_connection_write(a, "", 1, NULL, 0), KIN_E_STATE);
    assert_int_equal(kin_connection_read(a, &m, 1, NULL, 0), KIN_E_STATE);
    assert_int_equal(kin_connection_give(a, (kin_process){event.id}), KIN_E_HANDLE);
    assert_int_equal(kin_connection_give(a, (kin_process){0}), KIN_E_HANDLE);
    assert_int_equal(kin_event_destroy(event), 0);
    close_end(a);
    kin_connection c;
    kin_connection d;
    assert_int_equal(kin_pipe_create(&c, &d, NULL), 0);
    no_call_takes_a_handle_that_is_none(a); /* another has its entry */
    kin_wait_item item = {.id = a.id};
    assert_int_equal(kin_wait(&item, 1, false, KIN_FOREVER), 0);
    assert_int_equal(item.ready, KIN_E_HANDLE);
    close_end(b);
    close_end(c);
    close_end(d);
}

static void a_wait_is_never_over_early(void **state)
{
    (void) state;
    kin_connection a;
    kin_connection b;
    char byte;
    static const int times[] = {1, 20, 250};
    const kin_pipe_options small = {.capacity = 1};
    assert_int_equal(kin_pipe_create(&a, &b, &small), 0);
    send_number(a, 1);
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        int64_t before = kin_clock_ns();
        assert_int_equal(kin_connection_receive(a, &byte, 1, NULL, times[i]), KIN_E_TIMEOUT);
        assert_int_equal(kin_connection_poll(a, times[i]), 0);
        assert_int_equal(kin_connection_send(a, &byte, 1, times[i]), KIN_E_TIMEOUT);
        assert_true(kin_clock_ns() - before >= 3 * (int64_t) times[i] * MS);
    }
    assert_int_equal(kin_connection_receive(a, &byte, 1, NULL, 0), KIN_E_TIMEOUT);
    assert_int_equal(kin_connection_send(a, &byte, 1, 0), KIN_E_TIMEOUT);
    assert_int_equal(receive_number(b), 1);
    assert_int_equal(kin_connection_send(a, &byte, 1, 0), 0);
    close_end(a);
    close_end(b);
}

static void what_was_sent_before_a_close_is_received(void **state)
{
    (void) state;
    for (int side = 0; side < 2; side++) {
        kin_connection ends[2];
        char byte;
        assert_int_equal(kin_pipe_create(&ends[0], &ends[1], NULL), 0);
        kin_connection closed = ends[side];
        kin_connection left = ends[1 - side];
        for (uint64_t i = 0; i < 100; i++) {
            send_number(closed, i);
            send_number(left, i);
        }
        close_end(closed);
        assert_int_equal(kin_connection_receive(closed, &byte, 1, NULL, 0), KIN_E_HANDLE);
        assert_int_equal(kin_connection_send(left, "x", 1, KIN_FOREVER), KIN_E_CLOSED);
        for (uint64_t i = 0; i < 100; i++) {
            assert_int_equal(receive_number(left), i);
        }
        the_other_side_is_gone(left);
        close_end(left);
    }
}

static void messages_go_without_a_copy(void **state)
{
    (void) state;
    kin_connection a;
    kin_connection b;
    kin_message m = {0};
    kin_message other = {0};
    assert_int_equal(kin_pipe_create(&a, &b, NULL), 0);
    assert_int_equal(kin_connection_reserve(a, &m, BIG, 0), 0);
    memset(m.data, 'm', BIG);
    void *where = m.data;
    assert_int_equal(kin_connection_commit(b, &m), KIN_E_INVALID); /* it is for the other way */
    assert_int_equal(kin_connection_commit(a, &m), 0);
    assert_int_equal(kin_connection_take(b, &m, 0), 0);
    assert_ptr_equal(m.data, where);
    assert_int_equal(m.size, BIG);
    assert_int_equal(kin_connection_send_message(b, &m, 0), 0); /* back again */
    assert_int_equal(kin_connection_reserve(a, &other, 1, 0), 0);
    assert_int_equal(kin_connection_close(b), 0);
    assert_int_equal(kin_connection_commit(a, &other), KIN_E_CLOSED);
    assert_int_equal(kin_connection_send_message(a, &other, 0), KIN_E_CLOSED);
    assert_int_equal(kin_queue_release(&other), 0);
    assert_int_equal(kin_connection_take(a, &m, 0), 0);
    assert_ptr_equal(m.data, where);
    assert_int_equal(kin_connection_take(a, &other, LONG_MS), KIN_E_CLOSED);
    close_end(a);
    assert_true(((char *) m.data)[BIG - 1] == 'm');
    assert_int_equal(kin_queue_release(&m), 0);
}

/* ---- two sides ---- */

static int echo(void *argument, size_t size)
{
    board *b = board_of(argument);
    (void) size;
    uint64_t number;
    int status;
    while ((status = kin_connection_receive(b->theirs, &number, sizeof number, NULL, LONG_MS)) ==
           0) {
        number = ~number;
        CHECK(kin_connection_send(b->theirs, &number, sizeof number, LONG_MS) == 0);
    }
    CHECK(status == KIN_E_CLOSED);
    return 0;
}

static void many_messages_go_both_ways_at_once(void **state)
{
    (void) state;
    const kin_pipe_options how = {.capacity = 50};
    board *b = new_board(&how);
    kin_process child = start_with_end(echo, b);
    uint64_t sent = 0;
    uint64_t number;
    for (uint64_t received = 0; received < MANY; received++) {
        while (sent < MANY && sent < received + 40) {
            send_number(b->mine, sent++);
        }
        number = receive_number(b->mine);
        assert_true(number == ~received);
    }
    close_end(b->mine);
    assert_int_equal(end_of(child), 0);
    assert_int_equal(kin_connection_close(b->theirs), KIN_E_HANDLE);
    shared_free(b);
}

static void add_and_pass(void *argument, unsigned number)
{
    board *b = argument;
    uint64_t value = number;
    for (uint32_t i = 0; i < MANY; i++) {
        if (number % 2 == 0) {
            (void) kin_connection_send(b->mine, &value, sizeof value, LONG_MS);
        } else if (kin_connection_receive(b->theirs, &value, sizeof value, NULL, LONG_MS) == 0) {
            atomic_fetch_add(&b->sum, value + 1);
        }
    }
}

static void threads_share_an_end(void **state)
{
    (void) state;
    const kin_pipe_options how = {.capacity = 10};
    board *b = new_board(&how);
    system_run_threads(THREADS, add_and_pass, b);
    assert_int_equal(atomic_load(&b->sum), MANY * (1 + 3));
    close_end(b->theirs);
    free_board(b);
}

static int wait_at_its_end(void *argument, size_t size)
{
    board *b = board_of(argument);
    (void) size;
    char byte;
    int status = b->count == 0 ? kin_connection_receive(b->theirs, &byte, 1, NULL, LONG_MS)
                               : kin_connection_send(b->theirs, "x", 1, LONG_MS);
    atomic_store(&b->status, status);
    return 0;
}

/* By the close of either end; receivers, and senders for whom there is no room. */
static void those_who_wait_are_told_of_a_close(void **state)
{
    (void) state;
    const kin_pipe_options how = {.capacity = 1};
    for (int i = 0; i < 4; i++) {
        board *b = new_board(&how);
        b->count = (uint32_t) i % 2;
        send_number(b->theirs, 1);
        kin_process child = start_on(wait_at_its_end, b);
        await_sleepers(way_of(b->theirs, i % 2 != 0), 1);
        close_end(i < 2 ? b->mine : b->theirs);
        assert_int_equal(end_of(child), 0);
        assert_int_equal(atomic_load(&b->status), KIN_E_CLOSED);
        close_end(i < 2 ? b->theirs : b->mine);
        shared_free(b);
    }
}

static void many_connections_and_a_process_are_waited_for(void **state)
{
    (void) state;
    board *b[PIPES];
    kin_wait_item items[PIPES + 1] = {{0}};
    kin_process children[PIPES];
    for (int i = 0; i < PIPES; i++) {
        const kin_pipe_options how = {.stream = i % 2 != 0};
        b[i] = new_board(&how);
        children[i] = start_with_end(echo, b[i]);
        items[i].id = b[i]->mine.id;
    }
    uint64_t never = 0;
    kin_process staying = start(stay, &never, sizeof never);
    items[PIPES].id = staying.id;
    assert_int_equal(kin_wait(items, PIPES + 1, false, 0), KIN_E_TIMEOUT);
    for (int i = 0; i < PIPES; i++) {
        send_number(b[i]->mine, (uint64_t) i);
        assert_int_equal(kin_wait(items, PIPES + 1, false, LONG_MS), 0);
        for (int j = 0; j <= PIPES; j++) {
            assert_int_equal(items[j].ready, i == j);
        }
        assert_true(receive_number(b[i]->mine) == ~(uint64_t) i);
    }
    assert_int_equal(kin_process_kill(children[3]), 0);
    assert_int_equal(kin_wait(items, PIPES + 1, false, LONG_MS), 0);
    assert_int_equal(items[3].ready, 1);
    kill_and_close(staying);
    assert_int_equal(kin_connection_close(b[5]->mine), 0);
    assert_int_equal(kin_wait(items, PIPES + 1, false, LONG_MS), 0);
    assert_int_equal(items[5].ready, KIN_E_HANDLE);
    for (int i = 0; i < PIPES; i++) {
        if (i != 5) {
            close_end(b[i]->mine);
        }
        assert_int_equal(end_of(children[i]), i == 3 ? -KIN_SIGKILL : 0);
        shared_free(b[i]);
    }
}

static int use_without_kin(int argc, char **argv)
{
    (void) argc, (void) argv;
    kin_connection a = {1};
    kin_connection b;
    char byte = 0;
    bool right = kin_pipe_create(&a, &b, NULL) == KIN_E_INIT &&
                 kin_connection_send(a, &byte, 1, 0) == KIN_E_INIT &&
                 kin_connection_receive(a, &byte, 1, NULL, 0) == KIN_E_INIT &&
                 kin_connection_poll(a, 0) == KIN_E_INIT &&
                 kin_connection_write(a, &byte, 1, NULL, 0) == KIN_E_INIT &&
                 kin_connection_give(a, (kin_process){0}) == KIN_E_INIT &&
                 kin_connection_close(a) == KIN_E_INIT;
    return right ? 0 : CHILD_FAILED;
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
        return 1;
    }
    const struct CMUnitTest tests[] = {
        CLEAN_TEST(messages_go_both_ways_whole_and_in_order),
        CLEAN_TEST(a_message_that_is_too_large_stays),
        CLEAN_TEST(one_way_is_one_way),
        CLEAN_TEST(bad_options_are_refused),
        CLEAN_TEST(bad_handles_and_arguments_are_told),
        CLEAN_TEST(a_wait_is_never_over_early),
        CLEAN_TEST(what_was_sent_before_a_close_is_received),
        CLEAN_TEST(messages_go_without_a_copy),
        CLEAN_TEST(many_messages_go_both_ways_at_once),
        CLEAN_TEST(threads_share_an_end),
        CLEAN_TEST(those_who_wait_are_told_of_a_close),
        CLEAN_TEST(many_connections_and_a_process_are_waited_for),
        CLEAN_TEST(without_kin_init_nothing_works),
    };
    return cmocka_run_group_tests(tests, warm_up, NULL);
}
