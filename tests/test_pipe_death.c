/* kin/pipe.h: whoever has an end of a pipe may be killed, before it has used it, or at any moment:
   the other side has what was sent to it, and then is told. */
#include "support.h"

#include "core/pipe.h"

#include <string.h>

enum { MS = 1000000, KILLS = 24, NUMBERS = 500 };

/* What children and tests share. */
typedef struct board {
    kin_connection mine;
    kin_connection theirs;
    kin_process process;
    mark given;
    mark arrived;
    mark go;
    _Atomic uint64_t sent;
    _Atomic int32_t status;
} board;

static const kin_pipe_options kinds[] = {
    {.name = "messages"}, {.stream = true}, {.capacity = 4}, {.stream = true, .capacity = 64}};
enum { KINDS_OF_PIPES = sizeof kinds / sizeof *kinds };

static board *new_board(int kind)
{
    board *b = shared_new(sizeof *b);
    assert_int_equal(kin_pipe_create(&b->mine, &b->theirs, &kinds[kind]), 0);
    return b;
}

static kin_process start_on(kin_process_function function, const board *b)
{
    uint64_t offset = arena_offset(b);
    return start(function, &offset, sizeof offset);
}

static kin_process start_with_end(kin_process_function function, board *b)
{
    kin_process process = start_on(function, b);
    assert_int_equal(kin_connection_give(b->theirs, process), 0);
    mark_add(&b->given);
    return process;
}

static kin_process start_staying(void)
{
    uint64_t nothing = 0;
    return start(stay, &nothing, sizeof nothing);
}

/* One that has been killed perhaps before it had joined. */
static void await_end(kin_process process)
{
    int status = kin_process_join(process, LONG_MS);
    assert_true(status == 0 || status == KIN_E_NO_INIT);
    assert_int_equal(kin_process_close(process), 0);
}

static board *board_of(const void *argument)
{
    uint64_t offset;
    memcpy(&offset, argument, sizeof offset);
    return arena_at(offset);
}

/* A number, as a message or as so many bytes. */
static int receive_number(kin_connection c, uint64_t *number)
{
    int status = kin_connection_read(c, number, sizeof *number, NULL, LONG_MS);
    return status == KIN_E_STATE ? kin_connection_receive(c, number, sizeof *number, NULL, LONG_MS)
                                 : status;
}

static void the_other_side_is_gone(kin_connection c)
{
    uint64_t number;
    assert_int_equal(receive_number(c, &number), KIN_E_CLOSED);
    assert_int_equal(kin_connection_receive(c, &number, 1, NULL, 0), KIN_E_CLOSED);
    assert_int_equal(kin_connection_poll(c, 0), 1);
    assert_int_equal(kin_connection_send(c, "x", 1, LONG_MS), KIN_E_CLOSED);
}

/* It is noticed in time, by whoever waits, without anybody who looks after the process. */
static void it_is_found_gone_in_time(kin_connection c)
{
    int64_t before = kin_clock_ns();
    the_other_side_is_gone(c);
    /* A second is promised; the machine may be busy. */
    assert_true(kin_clock_ns() - before < 10 * INT64_C(1000) * MS);
}

static void free_board(board *b)
{
    assert_int_equal(kin_connection_close(b->mine), 0);
    assert_int_equal(kin_connection_close(b->theirs), KIN_E_HANDLE);
    shared_free(b);
}

/* ---- killed while it uses its end ---- */

static int send_numbers(void *argument, size_t size)
{
    board *b = board_of(argument);
    (void) size;
    for (uint64_t i = 0;; i++) {
        CHECK(kin_connection_send(b->theirs, &i, sizeof i, LONG_MS) == 0);
        atomic_store(&b->sent, i + 1);
        if (i + 1 == NUMBERS / 2) {
            mark_add(&b->arrived);
        }
    }
}

static void what_the_killed_had_sent_is_received(void **state)
{
    (void) state;
    for (int i = 0; i < KILLS; i++) {
        board *b = new_board(i % KINDS_OF_PIPES);
        kin_process peer = start_with_end(send_numbers, b);
        uint64_t number = 0;
        uint64_t next = 0;
        uint64_t most = (uint64_t) i * 17 % NUMBERS;
        while (next < most) {
            assert_int_equal(receive_number(b->mine, &number), 0);
            assert_true(number == next);
            next++;
        }
        assert_int_equal(kin_process_kill(peer), 0);
        int status;
        while ((status = receive_number(b->mine, &number)) == 0) {
            assert_true(number == next);
            next++;
        }
        assert_int_equal(status, KIN_E_CLOSED);
        assert_true(next == atomic_load(&b->sent) || next == atomic_load(&b->sent) + 1);
        it_is_found_gone_in_time(b->mine);
        assert_int_equal(end_of(peer), -KIN_SIGKILL);
        free_board(b);
    }
}

static void a_sender_for_whom_there_is_no_room_is_told(void **state)
{
    (void) state;
    for (int kind = 2; kind < KINDS_OF_PIPES; kind++) {
        board *b = new_board(kind);
        kin_process peer = start_staying();
        assert_int_equal(kin_connection_give(b->theirs, peer), 0);
        while (kin_connection_send(b->mine, "0123456789abcdef", 16, 0) == 0) {
        }
        assert_int_equal(kin_connection_send(b->mine, "x", 1, 0), KIN_E_TIMEOUT);
        assert_int_equal(kin_process_kill(peer), 0);
        assert_int_equal(kin_connection_send(b->mine, "x", 1, LONG_MS), KIN_E_CLOSED);
        it_is_found_gone_in_time(b->mine);
        assert_int_equal(end_of(peer), -KIN_SIGKILL);
        free_board(b);
    }
}

static void one_who_only_tries_learns_of_a_death(void **state)
{
    (void) state;
    for (int kind = 0; kind < KINDS_OF_PIPES; kind++) {
        char byte;
        board *b = new_board(kind);
        kin_process peer = start_staying();
        assert_int_equal(kin_connection_give(b->theirs, peer), 0);
        assert_int_equal(kin_connection_receive(b->mine, &byte, 1, NULL, 0), KIN_E_TIMEOUT);
        assert_int_equal(kin_process_kill(peer), 0);
        int64_t deadline = wait_deadline(LONG_MS);
        while (kin_connection_receive(b->mine, &byte, 1, NULL, 0) == KIN_E_TIMEOUT) {
            assert_true(kin_clock_ns() < deadline);
        }
        the_other_side_is_gone(b->mine);
        assert_int_equal(end_of(peer), -KIN_SIGKILL);
        free_board(b);
    }
}

/* ---- killed before it has used its end ---- */

static int do_nothing(void *argument, size_t size)
{
    (void) argument, (void) size;
    return 0;
}

static void an_end_given_to_one_who_dies_unused_is_closed(void **state)
{
    (void) state;
    for (int kind = 0; kind < KINDS_OF_PIPES; kind++) {
        board *b = new_board(kind);
        kin_process peer = start_staying();
        assert_int_equal(kin_connection_give(b->theirs, peer), 0);
        assert_int_equal(kin_process_kill(peer), 0);
        it_is_found_gone_in_time(b->mine);
        assert_int_equal(end_of(peer), -KIN_SIGKILL);
        free_board(b);
    }
}

static void an_end_given_to_the_dead_is_closed(void **state)
{
    (void) state;
    for (int kind = 0; kind < KINDS_OF_PIPES; kind++) {
        board *b = new_board(kind);
        kin_process peer = start_on(do_nothing, b);
        assert_int_equal(kin_process_join(peer, KIN_FOREVER), 0);
        assert_int_equal(kin_connection_send(b->theirs, "12345678", 8, 0), 0);
        assert_int_equal(kin_connection_give(b->theirs, peer), 0);
        assert_int_equal(kin_connection_send(b->theirs, "x", 1, 0), KIN_E_HANDLE);
        uint64_t number;
        assert_int_equal(receive_number(b->mine, &number), 0);
        it_is_found_gone_in_time(b->mine);
        assert_int_equal(kin_process_close(peer), 0);
        free_board(b);
    }
}

static int wait_for_the_end(void *argument, size_t size)
{
    board *b = board_of(argument);
    (void) size;
    uint64_t number;
    mark_add(&b->arrived);
    CHECK(receive_number(b->mine, &number) == KIN_E_CLOSED);
    return 0;
}

/* Neither its parent looks, nor has it joined. */
static void one_who_dies_on_its_way_is_noticed(void **state)
{
    (void) state;
    for (int i = 0; i < 2 * KINDS_OF_PIPES; i++) {
        board *b = new_board(i % KINDS_OF_PIPES);
        kin_process other = {0};
        if (i < KINDS_OF_PIPES) {
            other = start_on(wait_for_the_end, b);
            assert_true(mark_await(&b->arrived, 1));
        }
        kin_process peer = start_staying();
        assert_int_equal(kin_connection_give(b->theirs, peer), 0);
        system_kill(kin_process_pid(peer));
        if (other.id != 0) {
            assert_int_equal(end_of(other), 0);
        }
        it_is_found_gone_in_time(b->mine);
        await_end(peer);
        free_board(b);
    }
}

static void ends_of_those_who_never_came_are_freed(void **state)
{
    (void) state;
    for (int kind = 0; kind < KINDS_OF_PIPES; kind++) {
        board *b = new_board(kind);
        kin_process children[2];
        for (int i = 0; i < 2; i++) {
            children[i] = start_staying();
            assert_int_equal(kin_connection_give(i == 0 ? b->mine : b->theirs, children[i]), 0);
            system_kill(kin_process_pid(children[i]));
        }
        for (int i = 0; i < 2; i++) {
            await_end(children[i]);
        }
        assert_int_equal(kin_connection_close(b->mine), KIN_E_HANDLE);
        assert_int_equal(kin_connection_close(b->theirs), KIN_E_HANDLE);
        shared_free(b);
    }
}

/* ---- whose is it? ---- */

static int make_pipes_and_stay(void *argument, size_t size)
{
    board *b = board_of(argument);
    (void) size;
    kin_connection one;
    kin_connection other;
    for (int kind = 0; kind < KINDS_OF_PIPES; kind++) {
        CHECK(kin_pipe_create(&one, &other, &kinds[kind]) == 0);
        CHECK(kin_connection_send(one, "never received", 14, LONG_MS) == 0);
    }
    CHECK(kin_pipe_create(&b->mine, &b->theirs, &kinds[atomic_load(&b->sent)]) == 0);
    CHECK(kin_connection_give(b->mine, kin_parent_process()) == 0);
    CHECK(kin_connection_send(b->theirs, "12345678", 8, LONG_MS) == 0);
    mark_add(&b->arrived);
    return mark_await(&b->go, 1) ? 0 : CHILD_FAILED;
}

/* Those that it had never given, too; it is killed, or ends as it should. */
static void the_ends_of_their_maker_are_closed(void **state)
{
    (void) state;
    for (int i = 0; i < 2 * KINDS_OF_PIPES; i++) {
        uint64_t number;
        board *b = shared_new(sizeof *b);
        atomic_store(&b->sent, (uint64_t) i % KINDS_OF_PIPES);
        kin_process peer = start_on(make_pipes_and_stay, b);
        assert_true(mark_await(&b->arrived, 1));
        if (i < KINDS_OF_PIPES) {
            assert_int_equal(kin_process_kill(peer), 0);
        } else {
            mark_add(&b->go);
        }
        assert_int_equal(receive_number(b->mine, &number), 0);
        it_is_found_gone_in_time(b->mine);
        assert_int_equal(end_of(peer), i < KINDS_OF_PIPES ? -KIN_SIGKILL : 0);
        free_board(b);
    }
}

static int send_back(void *argument, size_t size)
{
    board *b = board_of(argument);
    (void) size;
    uint64_t number;
    while (receive_number(b->theirs, &number) == 0) {
        CHECK(kin_connection_send(b->theirs, &number, sizeof number, LONG_MS) == 0);
    }
    return 0;
}

static int give_it_on_and_stay(void *argument, size_t size)
{
    board *b = board_of(argument);
    const kin_process_options apart = {.daemon = false};
    CHECK(kin_process_start(&b->process, send_back, argument, size, &apart) == 0);
    CHECK(mark_await(&b->given, 1)); /* to this one, before it gives it on */
    CHECK(kin_connection_give(b->theirs, b->process) == 0);
    mark_add(&b->arrived);
    return mark_await(&b->go, 1) ? 0 : CHILD_FAILED;
}

static void what_has_been_given_on_belongs_to_the_last(void **state)
{
    (void) state;
    for (int kind = 0; kind < KINDS_OF_PIPES; kind++) {
        board *b = new_board(kind);
        kin_process peer = start_with_end(give_it_on_and_stay, b);
        uint64_t number = 5;
        assert_true(mark_await(&b->arrived, 1));
        for (uint64_t i = 0; i < 10; i++) {
            if (i == 1) {
                kill_and_close(peer); /* the other one has joined */
            }
            assert_int_equal(kin_connection_send(b->mine, &i, sizeof i, LONG_MS), 0);
            assert_int_equal(receive_number(b->mine, &number), 0);
            assert_true(number == i);
        }
        system_kill(kin_process_pid(b->process));
        it_is_found_gone_in_time(b->mine);
        free_board(b);
    }
}

/* As one that is killed right after it has begun to close an end, whoever owns that. */
static int begin_to_close(void *argument, size_t size)
{
    board *b = board_of(argument);
    (void) size;
    sync *e = sync_find(b->theirs.id, KIND_CONNECTION);
    CHECK(e != NULL && sync_is_known(e, b->theirs.id));
    atomic_store(&e->keeper, member_self() | UINT64_C(1) << 31);
    mark_add(&b->arrived);
    (void) kin_sleep(KIN_FOREVER);
    return CHILD_FAILED;
}

/* Who closed it is noticed by none but the other side, which waits, or only tries. */
static void what_somebody_had_begun_to_close_is_closed(void **state)
{
    (void) state;
    for (int i = 0; i < 2 * KINDS_OF_PIPES; i++) {
        char byte;
        int status;
        board *b = new_board(i % KINDS_OF_PIPES);
        kin_process closer = start_on(begin_to_close, b);
        assert_true(mark_await(&b->arrived, 1));
        system_kill(kin_process_pid(closer));
        int64_t deadline = wait_deadline(LONG_MS / 4);
        do {
            status = kin_connection_receive(b->mine, &byte, 1, NULL,
                                            i < KINDS_OF_PIPES ? LONG_MS / 4 : 0);
        } while (status == KIN_E_TIMEOUT && kin_clock_ns() < deadline);
        assert_int_equal(status, KIN_E_CLOSED);
        it_is_found_gone_in_time(b->mine);
        await_end(closer);
        free_board(b);
    }
}

/* Who closed the other end had not been able to close what it sent in: made up for by who waits. */
static void a_queue_that_was_left_open_is_closed(void **state)
{
    (void) state;
    char byte;
    board *b = new_board(0);
    pipe_end p = {0};
    assert_true(pipe_find(&p, b->mine.id, false));
    assert_int_equal(kin_connection_close(b->theirs), 0);
    assert_int_equal(kin_queue_reopen((kin_queue){p.way}), 0);
    assert_int_equal(kin_connection_receive(b->mine, &byte, 1, NULL, LONG_MS), KIN_E_CLOSED);
    the_other_side_is_gone(b->mine);
    free_board(b);
}

static void an_end_can_be_taken_back(void **state)
{
    (void) state;
    uint64_t number = 0;
    board *b = new_board(0);
    kin_process peer = start_staying();
    assert_int_equal(kin_connection_give(b->theirs, peer), 0);
    assert_int_equal(kin_connection_give(b->theirs, kin_current_process()), 0);
    kill_and_close(peer);
    assert_int_equal(kin_connection_send(b->theirs, "12345678", 8, 0), 0);
    assert_int_equal(receive_number(b->mine, &number), 0);
    assert_int_equal(kin_connection_receive(b->mine, &number, 8, NULL, 300), KIN_E_TIMEOUT);
    assert_int_equal(kin_connection_close(b->theirs), 0);
    free_board(b);
}

/* ---- in a crowd ---- */

static int chat(void *argument, size_t size)
{
    board *b = board_of(argument);
    (void) size;
    uint64_t number;
    for (uint64_t i = 0;; i++) {
        if (kin_connection_send(b->theirs, &i, sizeof i, LONG_MS) != 0 ||
            receive_number(b->theirs, &number) != 0) {
            return 0;
        }
        CHECK(number == i);
        atomic_store(&b->sent, i);
        if (i == 20) {
            mark_add(&b->arrived);
        }
    }
}

static int answer(void *argument, size_t size)
{
    board *b = board_of(argument);
    (void) size;
    uint64_t number;
    while (receive_number(b->mine, &number) == 0 &&
           kin_connection_send(b->mine, &number, sizeof number, LONG_MS) == 0) {
    }
    return 0;
}

/* Of two children either is killed in the midst of it, and the other ends by itself. */
static void the_other_one_ends_by_itself(void **state)
{
    (void) state;
    for (int i = 0; i < KILLS; i++) {
        board *b = new_board(i % KINDS_OF_PIPES);
        kin_process one = start_with_end(chat, b);
        kin_process other = start_on(answer, b);
        assert_int_equal(kin_connection_give(b->mine, other), 0);
        assert_true(mark_await(&b->arrived, 1));
        platform_sleep_ns(i * INT64_C(7919) % MS);
        system_kill(kin_process_pid(i % 2 == 0 ? one : other));
        assert_int_equal(end_of(i % 2 == 0 ? other : one), 0);
        await_end(i % 2 == 0 ? one : other);
        assert_int_equal(kin_connection_close(b->mine), KIN_E_HANDLE);
        assert_int_equal(kin_connection_close(b->theirs), KIN_E_HANDLE);
        shared_free(b);
    }
}

int main(int argc, char **argv)
{
    if (kin_init(&argc, &argv) < 0) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        CLEAN_TEST(what_the_killed_had_sent_is_received),
        CLEAN_TEST(a_sender_for_whom_there_is_no_room_is_told),
        CLEAN_TEST(one_who_only_tries_learns_of_a_death),
        CLEAN_TEST(an_end_given_to_one_who_dies_unused_is_closed),
        CLEAN_TEST(an_end_given_to_the_dead_is_closed),
        CLEAN_TEST(one_who_dies_on_its_way_is_noticed),
        CLEAN_TEST(ends_of_those_who_never_came_are_freed),
        CLEAN_TEST(the_ends_of_their_maker_are_closed),
        CLEAN_TEST(what_has_been_given_on_belongs_to_the_last),
        CLEAN_TEST(what_somebody_had_begun_to_close_is_closed),
        CLEAN_TEST(a_queue_that_was_left_open_is_closed),
        CLEAN_TEST(an_end_can_be_taken_back),
        CLEAN_TEST(the_other_one_ends_by_itself),
    };
    return cmocka_run_group_tests(tests, warm_up, NULL);
}
