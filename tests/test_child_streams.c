/* The standard streams of children, through include/kin/process.h: what they may be, with each
   start method, and what this process does with those that are pipes. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "support_options.h"

#include "core/arena.h"

#include <stdlib.h>
#include <string.h>

#if !defined _WIN32
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

#if WITH_THREAD_SANITIZER /* processes take half a second to start */
enum { THREADS = 4, EACH = 2 };
static const char *const closed_streams[] = {"7"};
#else
enum { THREADS = 4, EACH = 6 };
static const char *const closed_streams[] = {"1", "2", "4", "7"}; /* a bit each */
#endif

#if defined _WIN32
enum { MUCH = 2 * STREAM_MIB };
#else
enum { MUCH = 8 * STREAM_MIB };
#endif

/* What a child shares with the test. */
typedef struct board {
    mark arrived;
    mark go;
    _Atomic uint64_t handle;
    _Atomic uint64_t count;
} board;

static board *shared;

static board *board_of(const void *argument)
{
    uint64_t offset;
    memcpy(&offset, argument, sizeof offset);
    return arena_at(offset);
}

static kin_process start_as(kin_process_options options, int method, kin_process_function function)
{
    kin_process process = {0};
    uint64_t offset = arena_offset(shared);
    options.method = method;
    assert_int_equal(kin_process_start(&process, function, &offset, sizeof offset, &options), 0);
    return process;
}

static void assert_refused(kin_process_options options, int method, int expected)
{
    kin_process process = {0};
    options.method = method;
    assert_int_equal(kin_process_start(&process, stay, &(uint64_t){0}, sizeof(uint64_t), &options),
                     expected);
    assert_true(process.id == 0);
}

static const kin_stream null_stream = {.kind = KIN_STREAM_NULL};
static const kin_stream pipe_stream = {.kind = KIN_STREAM_PIPE};

static kin_stream file_stream(const char *path)
{
    return (kin_stream){.kind = KIN_STREAM_FILE, .path = path};
}

static kin_stream handle_stream(intptr_t handle)
{
    return (kin_stream){.kind = KIN_STREAM_HANDLE, .handle = handle};
}

static intptr_t standard(int number)
{
    return platform_stream_standard(number);
}

static bool say(int number, const char *text)
{
    return system_write(standard(number), text, strlen(text));
}

static void new_board(void)
{
    memset(shared, 0, sizeof *shared);
}

/* Reads until the end, or until there is as much; how much. */
static size_t read_all(kin_process process, int stream, void *buffer, size_t size)
{
    size_t length = 0;
    int status = 0;
    while (status == 0 && length < size) {
        size_t done = 0;
        status = kin_process_read(process, stream, (char *) buffer + length, size - length, &done,
                                  LONG_MS);
        assert_true(status == 0 ? done > 0 : done == 0);
        length += done;
    }
    assert_true(status == 0 || status == KIN_E_CLOSED);
    return length;
}

static void assert_says(kin_process process, int stream, const char *text)
{
    char found[256];
    size_t length = read_all(process, stream, found, sizeof found - 1);
    found[length] = '\0';
    assert_string_equal(found, text);
}

static void write_all(kin_process process, const void *data, size_t size)
{
    size_t done = 0;
    assert_int_equal(kin_process_write(process, data, size, &done, LONG_MS), 0);
    assert_int_equal(done, size);
}

/* ---- the null device and files ---- */

static int use_null(void *argument, size_t size)
{
    char text[8];
    (void) argument, (void) size;
    CHECK(system_read(standard(KIN_STDIN), text, sizeof text) == 0);
    for (int i = 0; i < 10; i++) {
        CHECK(system_write(standard(KIN_STDOUT), stream_pattern, 50000));
        CHECK(system_write(standard(KIN_STDERR), stream_pattern, 50000));
    }
    CHECK(printf("never to be seen\n") > 0);
    return 4;
}

static void have_null(int method)
{
    kin_process_options options = {
        .input = null_stream, .output = null_stream, .error = null_stream};
    assert_int_equal(end_of(start_as(options, method, use_null)), 4);
}

static void the_null_device_is_empty_and_takes_everything(void **state)
{
    (void) state;
    each_method(have_null);
}

static int copy_line(void *argument, size_t size)
{
    char text[64];
    (void) argument, (void) size;
    size_t length = read_to_end(standard(KIN_STDIN), text, sizeof text);
    CHECK(system_write(standard(KIN_STDOUT), text, length));
    CHECK(say(KIN_STDERR, "wrong"));
    CHECK(printf(", printed") > 0);
    CHECK(fprintf(stderr, "!") > 0);
    return 0;
}

static void have_files(int method)
{
    kin_process_options options = {.input = file_stream(place("in \xc3\xbc")),
                                   .output = file_stream(place("out")),
                                   .error = file_stream(place("err"))};
    write_file(place("out"), "something much longer that was there before");
    assert_int_equal(end_of(start_as(options, method, copy_line)), 0);
    assert_file(place("out"), "given, printed");
    assert_file(place("err"), "wrong!");
    options.output.append = true;
    options.error.append = true;
    assert_int_equal(end_of(start_as(options, method, copy_line)), 0);
    assert_file(place("out"), "given, printedgiven, printed");
    assert_file(place("err"), "wrong!wrong!");
    system_remove(place("out"));
    assert_int_equal(end_of(start_as(options, method, copy_line)), 0);
    assert_file(place("out"), "given, printed");
    system_remove(place("out"));
    system_remove(place("err"));
}

static void files_are_read_written_and_appended_to(void **state)
{
    (void) state;
    write_file(place("in \xc3\xbc"), "given");
    each_method(have_files);
    system_remove(place("in \xc3\xbc"));
}

static void have_no_files(int method)
{
    kin_process_options options = {.input = file_stream(place("missing"))};
    assert_refused(options, method, KIN_E_NOT_FOUND);
    options = (kin_process_options){.output = file_stream(place("missing" SEPARATOR "out"))};
    assert_refused(options, method, KIN_E_NOT_FOUND);
    /* What was opened before is closed again. */
    options.input = null_stream;
    assert_refused(options, method, KIN_E_NOT_FOUND);
    options = (kin_process_options){.output = file_stream(place("folder"))};
    assert_refused(options, method, KIN_E_PERMISSION);
    options = (kin_process_options){.error = file_stream(place("folder"))};
    assert_refused(options, method, KIN_E_PERMISSION);
}

static void files_that_cannot_be_opened_are_told_by_the_start(void **state)
{
    (void) state;
    system_make_directory(place("folder"));
    each_method(have_no_files);
    system_remove(place("folder"));
}

static void have_bad_streams(int method)
{
    static const kin_stream bad[] = {
        {.kind = -1},
        {.kind = KIN_STREAM_OUTPUT + 1},
        {.kind = KIN_STREAM_FILE},
        {.kind = KIN_STREAM_FILE, .path = ""},
        {.kind = KIN_STREAM_HANDLE, .handle = -1},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_refused((kin_process_options){.input = bad[i]}, method, KIN_E_INVALID);
        assert_refused((kin_process_options){.output = bad[i]}, method, KIN_E_INVALID);
        assert_refused((kin_process_options){.error = bad[i]}, method, KIN_E_INVALID);
    }
    const kin_stream output = {.kind = KIN_STREAM_OUTPUT};
    assert_refused((kin_process_options){.input = output}, method, KIN_E_INVALID);
    assert_refused((kin_process_options){.output = output}, method, KIN_E_INVALID);
}

static void streams_that_make_no_sense_are_refused(void **state)
{
    (void) state;
    each_method(have_bad_streams);
}

static void pass_to_server(int method)
{
    if (method == KIN_START_FORKSERVER) {
        for (int i = 0; i < 3; i++) {
            kin_process_options options = {0};
            kin_stream *streams[] = {&options.input, &options.output, &options.error};
            *streams[i] = pipe_stream;
            assert_refused(options, method, KIN_E_UNSUPPORTED);
            *streams[i] = handle_stream(standard(KIN_STDIN));
            assert_refused(options, method, KIN_E_UNSUPPORTED);
        }
    }
}

static void the_forkserver_takes_no_handles(void **state)
{
    (void) state;
    each_method(pass_to_server);
}

/* ---- handles, and where output goes ---- */

static int say_both(void *argument, size_t size)
{
    (void) argument, (void) size;
    CHECK(say(KIN_STDOUT, "out "));
    CHECK(say(KIN_STDERR, "err "));
    CHECK(say(KIN_STDOUT, "out"));
    return 0;
}

static void join_outputs(int method)
{
    kin_process_options options = {.output = file_stream(place("both")),
                                   .error = {.kind = KIN_STREAM_OUTPUT}};
    assert_int_equal(end_of(start_as(options, method, say_both)), 0);
    assert_file(place("both"), "out err out");
    system_remove(place("both"));
    if (method != KIN_START_FORKSERVER) {
        options.output = pipe_stream;
        kin_process process = start_as(options, method, say_both);
        assert_says(process, KIN_STDOUT, "out err out");
        assert_int_equal(end_of(process), 0);
    }
}

static void errors_go_where_output_goes(void **state)
{
    (void) state;
    each_method(join_outputs);
}

static int open_for_test(intptr_t *handle, const char *name, enum platform_open how)
{
    return platform_stream_open(handle, place(name), how);
}

static void hand_over(int method)
{
    intptr_t in;
    intptr_t out;
    if (method == KIN_START_FORKSERVER) {
        return;
    }
    assert_int_equal(open_for_test(&in, "in", PLATFORM_READ), 0);
    assert_int_equal(open_for_test(&out, "out", PLATFORM_WRITE), 0);
    kin_process_options options = {
        .input = handle_stream(in), .output = handle_stream(out), .error = handle_stream(out)};
    assert_int_equal(end_of(start_as(options, method, copy_line)), 0);
    assert_false(system_is_inherited(in));
    assert_false(system_is_inherited(out));
    assert_true(system_write(out, " kept", 5)); /* it is still this process's */
    platform_stream_close(in);
    platform_stream_close(out);
    char text[TEXT_SIZE];
    assert_int_equal(read_file(place("out"), text), strlen("givenwrong, printed! kept"));
    assert_int_equal(strncmp(text, "givenwrong", 10), 0);
    system_remove(place("out"));
    assert_refused(options, method, KIN_E_INVALID); /* those are closed */
}

static void handles_become_streams_and_stay_with_their_owner(void **state)
{
    (void) state;
    write_file(place("in"), "given");
    each_method(hand_over);
    system_remove(place("in"));
}

/* ---- this process's own streams are others, or closed: in a program of its own ---- */

static int tell_streams(void *argument, size_t size)
{
    (void) argument, (void) size;
    int open = 0;
    for (int i = 0; i < 3; i++) {
        open |= standard(i) != PLATFORM_NONE ? 1 << i : 0;
    }
    return open;
}

static int echo(void *argument, size_t size)
{
    unsigned char bytes[10000];
    ptrdiff_t length;
    (void) argument, (void) size;
    while ((length = system_read(standard(KIN_STDIN), bytes, sizeof bytes)) > 0) {
        CHECK(system_write(standard(KIN_STDOUT), bytes, (size_t) length));
    }
    CHECK(length == 0);
    return 7;
}

static int say_error(void *argument, size_t size)
{
    (void) argument, (void) size;
    CHECK(say(KIN_STDERR, "heard"));
    return tell_streams(NULL, 0);
}

/* No assertion here may depend on standard error. */
static void live_without(int closed, int method)
{
    char text[16];
    kin_process_options options = {0};
    assert_int_equal(end_of(start_as(options, method, tell_streams)), 7 & ~closed);
    options.daemon = true;
    assert_int_equal(end_of(start_as(options, method, tell_streams)), 7 & ~closed);
    options = (kin_process_options){.output = null_stream};
    assert_int_equal(end_of(start_as(options, method, tell_streams)), (7 & ~closed) | 2);
    options = (kin_process_options){.output = file_stream(place("file")),
                                    .error = {.kind = KIN_STREAM_OUTPUT}};
    assert_int_equal(end_of(start_as(options, method, say_error)), (7 & ~closed) | 6);
    assert_file(place("file"), "heard");
    system_remove(place("file"));
    if (method == KIN_START_FORKSERVER) {
        return;
    }
    options = (kin_process_options){.input = pipe_stream, .output = pipe_stream};
    kin_process process = start_as(options, method, echo);
    write_all(process, "through", 7);
    assert_int_equal(kin_process_close_stream(process, KIN_STDIN), 0);
    assert_int_equal(read_all(process, KIN_STDOUT, text, sizeof text), 7);
    assert_memory_equal(text, "through", 7);
    assert_int_equal(end_of(process), 7);
    options = (kin_process_options){.error = pipe_stream};
    process = start_as(options, method, say_error);
    assert_says(process, KIN_STDERR, "heard");
    assert_int_equal(end_of(process), (7 & ~closed) | 4);
    /* Where there is no output, errors go nowhere. */
    options = (kin_process_options){.error = {.kind = KIN_STREAM_OUTPUT}};
    assert_int_equal(end_of(start_as(options, method, tell_streams)), (7 & ~closed) | 4);
}

static int without; /* which are closed, a bit each */

static void live_without_some(int method)
{
    live_without(without, method);
}

static int mode_without(int argc, char **argv)
{
    kin_pool pool;
    const kin_pool_options two = {.workers = 2};
    char text[TEXT_SIZE];
    CHECK(system_variable("KIN_TEST_WITHOUT", text));
    without = atoi(text);
    for (int i = 0; i < 3; i++) {
        if ((without >> i & 1) != 0) {
            system_set_standard(i, PLATFORM_NONE);
        }
    }
    if (kin_init(&argc, &argv) < 0) {
        return 50;
    }
    shared = shared_new(sizeof *shared);
    make_place("closed");
    if (kin_pool_create(&pool, &two) < 0) {
        return 51;
    }
    each_method(live_without_some);
    for (int i = 0; i < 3; i++) { /* nothing of kin's has taken their places */
        if ((without >> i & 1) != 0 && standard(i) != PLATFORM_NONE) {
            return 52;
        }
    }
    remove_place();
    shared_free(shared);
    return kin_pool_destroy(pool) == 0 ? 0 : 53;
}

static void closed_streams_of_this_process_confuse_nobody(void **state)
{
    (void) state;
    for (size_t i = 0; i < sizeof closed_streams / sizeof *closed_streams; i++) {
        system_set_variable("KIN_TEST_WITHOUT", closed_streams[i]);
        assert_int_equal(run_mode("without"), 0);
    }
    system_set_variable("KIN_TEST_WITHOUT", NULL);
}

/* Standard output is a file: with OUTPUT errors of children go there, and swapped streams work. */
static void swap_streams(int method)
{
    kin_process_options options = {.error = {.kind = KIN_STREAM_OUTPUT}};
    if (method == KIN_START_FORKSERVER) {
        return; /* its children have the server's streams */
    }
    intptr_t in;
    intptr_t out;
    assert_int_equal(open_for_test(&in, "in", PLATFORM_READ), 0);
    assert_int_equal(open_for_test(&out, "out", PLATFORM_WRITE), 0);
    system_set_standard(KIN_STDOUT, out);
    system_set_standard(KIN_STDERR, in); /* whoever writes there fails */
    assert_int_equal(end_of(start_as(options, method, say_both)), 0);
    assert_file(place("out"), "out err out");
    options = (kin_process_options){.input = handle_stream(standard(KIN_STDERR)),
                                    .output = handle_stream(standard(KIN_STDOUT)),
                                    .error = handle_stream(standard(KIN_STDOUT))};
    assert_int_equal(end_of(start_as(options, method, copy_line)), 0);
    char text[TEXT_SIZE];
    (void) read_file(place("out"), text);
    assert_int_equal(strncmp(text, "out err outgivenwrong", 21), 0);
    platform_stream_close(in);
    platform_stream_close(out);
}

static int mode_swapped(int argc, char **argv)
{
    CHECK(kin_init(&argc, &argv) == 0);
    shared = shared_new(sizeof *shared);
    make_place("swapped");
    write_file(place("in"), "given");
    each_method(swap_streams);
    system_remove(place("in"));
    system_remove(place("out"));
    remove_place();
    shared_free(shared);
    return 0;
}

static void streams_of_this_process_are_passed_on_in_any_order(void **state)
{
    (void) state;
    assert_int_equal(run_mode("swapped"), 0);
}

/* ---- pipes ---- */

typedef struct transfer {
    kin_process process;
    size_t size;
    int status;
} transfer;

static void take_part(void *argument, unsigned number)
{
    transfer *t = argument;
    size_t done = 0;
    if (number == 0) {
        t->status = kin_process_write(t->process, stream_pattern, t->size, &done, LONG_MS);
        t->status = t->status == 0 && done != t->size ? 1 : t->status;
        t->status = t->status == 0 ? kin_process_close_stream(t->process, KIN_STDIN) : t->status;
        return;
    }
    int status = 0;
    size_t length = 0;
    while (status == 0 && length < STREAM_MOST) {
        status = kin_process_read(t->process, KIN_STDOUT, stream_taken + length,
                                  STREAM_MOST - length, &done, LONG_MS);
        length += done;
    }
    t->size = status == KIN_E_CLOSED ? length : 0;
}

static void pass_much(int method)
{
    if (method == KIN_START_FORKSERVER) {
        return;
    }
    kin_process_options options = {.input = pipe_stream, .output = pipe_stream};
    transfer t = {.process = start_as(options, method, echo), .size = MUCH};
    system_run_threads(2, take_part, &t);
    assert_int_equal(t.status, 0);
    assert_int_equal(t.size, MUCH);
    assert_memory_equal(stream_taken, stream_pattern, MUCH);
    assert_int_equal(end_of(t.process), 7);
}

static void much_goes_both_ways_at_once(void **state)
{
    (void) state;
    each_method(pass_much);
}

static int use_three(void *argument, size_t size)
{
    char text[8];
    (void) argument, (void) size;
    CHECK(read_to_end(standard(KIN_STDIN), text, sizeof text) == 2);
    CHECK(memcmp(text, "in", 2) == 0);
    CHECK(say(KIN_STDERR, "to the error"));
    CHECK(say(KIN_STDOUT, "to the output"));
    return 0;
}

static void have_three(int method)
{
    if (method == KIN_START_FORKSERVER) {
        return;
    }
    kin_process_options options = {
        .input = pipe_stream, .output = pipe_stream, .error = pipe_stream};
    kin_process process = start_as(options, method, use_three);
    assert_int_equal(kin_process_write(process, "in", 2, NULL, LONG_MS), 0);
    assert_int_equal(kin_process_write(process, NULL, 0, NULL, LONG_MS), 0);
    assert_int_equal(kin_process_close_stream(process, KIN_STDIN), 0);
    assert_says(process, KIN_STDOUT, "to the output");
    assert_says(process, KIN_STDERR, "to the error");
    assert_int_equal(end_of(process), 0);
}

static void each_of_the_three_may_be_a_pipe(void **state)
{
    (void) state;
    each_method(have_three);
}

static int say_when_told(void *argument, size_t size)
{
    board *b = board_of(argument);
    (void) size;
    CHECK(say(KIN_STDOUT, "first"));
    mark_add(&b->arrived);
    CHECK(mark_await(&b->go, 1));
    CHECK(say(KIN_STDOUT, "second"));
    mark_add(&b->arrived);
    CHECK(mark_await(&b->go, 2));
    size_t length = read_to_end(standard(KIN_STDIN), stream_taken, STREAM_MOST);
    atomic_store(&b->count, length);
    CHECK(memcmp(stream_taken, stream_pattern, length) == 0);
    return 0;
}

static void lose_patience(int method)
{
    char text[16];
    size_t done = 99;
    if (method == KIN_START_FORKSERVER) {
        return;
    }
    new_board();
    kin_process_options options = {.input = pipe_stream, .output = pipe_stream};
    kin_process process = start_as(options, method, say_when_told);
    assert_true(mark_await(&shared->arrived, 1));
    assert_int_equal(kin_process_read(process, KIN_STDOUT, text, 2, &done, 0), 0);
    assert_int_equal(done, 2); /* what there is, as much as there is room for */
    assert_int_equal(kin_process_read(process, KIN_STDOUT, text + 2, 14, &done, 0), 0);
    assert_memory_equal(text, "first", 5);
    assert_int_equal(done, 3);
    for (int timeout_ms = 0; timeout_ms <= 30; timeout_ms += 10) {
        int64_t began = kin_clock_ns();
        done = 99;
        assert_int_equal(kin_process_read(process, KIN_STDOUT, text, 16, &done, timeout_ms),
                         KIN_E_TIMEOUT);
        assert_int_equal(done, 0);
        assert_true(kin_clock_ns() - began >= timeout_ms * MILLISECOND);
    }
    mark_add(&shared->go);
    assert_true(mark_await(&shared->arrived, 2));
    assert_int_equal(kin_process_read(process, KIN_STDOUT, text, 16, &done, 0), 0);
    assert_int_equal(done, 6);
    assert_memory_equal(text, "second", 6);
    /* Nobody reads what is written now: the pipe takes a part of it, and what it took is said. */
    size_t written = 0;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(
            kin_process_write(process, stream_pattern + written, STREAM_MIB, &done, i * 10),
            KIN_E_TIMEOUT);
        assert_true(done < STREAM_MIB && (i > 0 || done > 0));
        written += done;
    }
    mark_add(&shared->go);
    assert_int_equal(kin_process_close_stream(process, KIN_STDIN), 0);
    assert_int_equal(end_of(process), 0);
    assert_int_equal(atomic_load(&shared->count), written);
}

static void what_takes_too_long_is_given_up_and_nothing_is_lost(void **state)
{
    (void) state;
    each_method(lose_patience);
}

static int say_and_stay(void *argument, size_t size)
{
    (void) size;
    CHECK(say(KIN_STDOUT, "last words"));
    mark_add(&board_of(argument)->arrived);
    return kin_sleep(KIN_FOREVER);
}

static void assert_ended(kin_process process, const char *left)
{
    char text[16];
    size_t done = 99;
    assert_says(process, KIN_STDOUT, left);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(kin_process_read(process, KIN_STDOUT, text, 16, &done, i * LONG_MS),
                         KIN_E_CLOSED);
        assert_int_equal(done, 0);
        done = 99;
        assert_int_equal(kin_process_write(process, text, 16, &done, i * LONG_MS), KIN_E_CLOSED);
        assert_int_equal(done, 0);
        done = 99;
    }
}

static void kill_speaker(int method)
{
    if (method == KIN_START_FORKSERVER) {
        return;
    }
    for (int i = 0; i < 2; i++) {
        new_board();
        kin_process_options options = {.input = pipe_stream, .output = pipe_stream};
        kin_process process = start_as(options, method, i == 0 ? say_and_stay : say_when_told);
        assert_true(mark_await(&shared->arrived, 1));
        assert_int_equal(kin_process_kill(process), 0);
        if (i == 0) { /* before it is joined, and after */
            assert_says(process, KIN_STDOUT, "last words");
        }
        assert_int_equal(kin_process_join(process, LONG_MS), 0);
        assert_ended(process, i == 0 ? "" : "first");
        assert_int_equal(end_of(process), -KIN_SIGKILL);
    }
}

static void what_a_killed_child_said_is_read_to_the_end(void **state)
{
    (void) state;
    each_method(kill_speaker);
}

static int say_last(void *argument, size_t size)
{
    (void) argument, (void) size;
    CHECK(say(KIN_STDOUT, "last words"));
    return 0;
}

static void read_the_dead(int method)
{
    char text[8];
    size_t done;
    if (method == KIN_START_FORKSERVER) {
        return;
    }
    kin_process_options options = {.input = pipe_stream, .output = pipe_stream};
    kin_process process = start_as(options, method, say_last);
    assert_int_equal(kin_process_join(process, LONG_MS), 0);
    assert_int_equal(kin_active_children(NULL, 0), 0);
    assert_ended(process, "last words");
    assert_int_equal(kin_process_close_stream(process, KIN_STDOUT), 0);
    assert_int_equal(kin_process_read(process, KIN_STDOUT, text, 8, &done, 0), KIN_E_STATE);
    assert_int_equal(kin_process_close_stream(process, KIN_STDOUT), KIN_E_STATE);
    assert_int_equal(kin_process_close_stream(process, KIN_STDERR), KIN_E_STATE);
    assert_int_equal(kin_process_close(process), 0);
    assert_int_equal(kin_process_read(process, KIN_STDOUT, text, 8, &done, 0), KIN_E_HANDLE);
    assert_int_equal(kin_process_write(process, text, 8, &done, 0), KIN_E_HANDLE);
    assert_int_equal(kin_process_close_stream(process, KIN_STDOUT), KIN_E_HANDLE);
}

static void what_is_left_is_read_after_the_join_until_the_close(void **state)
{
    (void) state;
    each_method(read_the_dead);
}

static int use_parents_child(void *argument, size_t size)
{
    char text[8];
    size_t done;
    (void) size;
    kin_process other = {atomic_load(&board_of(argument)->handle)};
    CHECK(kin_process_read(other, KIN_STDOUT, text, 8, &done, LONG_MS) == KIN_E_STATE);
    CHECK(kin_process_write(other, text, 8, &done, LONG_MS) == KIN_E_STATE);
    CHECK(kin_process_close_stream(other, KIN_STDIN) == KIN_E_STATE);
    return 0;
}

static void misuse(int method)
{
    char text[8];
    size_t done;
    new_board();
    kin_process plain = start_as((kin_process_options){0}, method, tell_streams);
    assert_int_equal(kin_process_read(plain, KIN_STDOUT, text, 8, &done, 0), KIN_E_STATE);
    assert_int_equal(kin_process_write(plain, text, 8, &done, 0), KIN_E_STATE);
    assert_int_equal(kin_process_close_stream(plain, KIN_STDIN), KIN_E_STATE);
    assert_int_equal(kin_process_join(plain, LONG_MS), 0);
    assert_int_equal(kin_process_close(plain), 0);
    kin_process_options options = {.input = pipe_stream, .output = pipe_stream};
    kin_process process = start_as(options, KIN_START_SPAWN, echo);
    atomic_store(&shared->handle, process.id);
    assert_int_equal(end_of(start_as((kin_process_options){0}, method, use_parents_child)), 0);
    assert_int_equal(kin_process_read(process, KIN_STDERR, text, 8, &done, 0), KIN_E_STATE);
    assert_int_equal(kin_process_read(process, KIN_STDIN, text, 8, &done, 0), KIN_E_INVALID);
    assert_int_equal(kin_process_read(process, 3, text, 8, &done, 0), KIN_E_INVALID);
    assert_int_equal(kin_process_read(process, KIN_STDOUT, NULL, 8, &done, 0), KIN_E_INVALID);
    assert_int_equal(kin_process_read(process, KIN_STDOUT, text, 0, &done, 0), KIN_E_INVALID);
    assert_int_equal(kin_process_read(process, KIN_STDOUT, text, 8, NULL, 0), KIN_E_INVALID);
    assert_int_equal(kin_process_read(process, KIN_STDOUT, text, 8, &done, -2), KIN_E_INVALID);
    assert_int_equal(kin_process_write(process, NULL, 8, &done, 0), KIN_E_INVALID);
    assert_int_equal(kin_process_write(process, text, 8, &done, -2), KIN_E_INVALID);
    assert_int_equal(kin_process_close_stream(process, -1), KIN_E_INVALID);
    assert_int_equal(kin_process_close_stream(process, 3), KIN_E_INVALID);
    assert_int_equal(kin_process_close_stream((kin_process){0}, KIN_STDIN), KIN_E_HANDLE);
    assert_int_equal(kin_process_close_stream((kin_process){process.id + 1}, 0), KIN_E_HANDLE);
    assert_int_equal(kin_process_close_stream(process, KIN_STDIN), 0);
    assert_says(process, KIN_STDOUT, "");
    assert_int_equal(end_of(process), 7);
}

static void streams_that_are_not_there_are_told(void **state)
{
    (void) state;
    each_method(misuse);
}

static void a_handle_of_another_kind_has_no_streams(void **state)
{
    (void) state;
    kin_pool pool;
    const kin_pool_options options = {.workers = 1};
    assert_int_equal(kin_pool_create(&pool, &options), 0);
    assert_int_equal(kin_process_close_stream((kin_process){pool.id}, KIN_STDIN), KIN_E_HANDLE);
    assert_int_equal(kin_pool_destroy(pool), 0);
}

/* ---- threads ---- */

typedef struct contest {
    kin_process process;
    _Atomic bool begun;
    int status;
    int other;
    size_t done;
    char text[16];
} contest;

/* The first one waits for what comes; the second one finds it doing so, then has the child say
   something, having closed the stream before that if it is to. */
static void read_against(contest *c, unsigned number, bool closes)
{
    char text[16];
    size_t done;
    if (number == 0) {
        do {
            c->status = kin_process_read(c->process, KIN_STDOUT, c->text, 16, &c->done, LONG_MS);
        } while (c->status == KIN_E_BUSY);
        return;
    }
    int64_t until = kin_clock_ns() + LONG_TIME;
    do {
        c->other = kin_process_read(c->process, KIN_STDOUT, text, 16, &done, 0);
    } while (c->other == KIN_E_TIMEOUT && kin_clock_ns() < until);
    if (closes && c->other == KIN_E_BUSY) {
        c->other = kin_process_close_stream(c->process, KIN_STDOUT);
        if (c->other == 0) {
            c->other = kin_process_read(c->process, KIN_STDOUT, text, 16, &done, LONG_MS);
        }
        if (c->other == KIN_E_STATE) {
            c->other = kin_process_close_stream(c->process, KIN_STDOUT);
        }
    }
    (void) kin_process_write(c->process, "said", 4, NULL, LONG_MS);
}

static void read_at_once(void *argument, unsigned number)
{
    read_against(argument, number, false);
}

static void read_and_close(void *argument, unsigned number)
{
    read_against(argument, number, true);
}

static void contend(int method)
{
    if (method == KIN_START_FORKSERVER) {
        return;
    }
    for (int i = 0; i < 2; i++) {
        kin_process_options options = {.input = pipe_stream, .output = pipe_stream};
        contest c = {.process = start_as(options, method, echo), .status = 1};
        system_run_threads(2, i == 0 ? read_at_once : read_and_close, &c);
        assert_int_equal(c.status, 0);
        assert_int_equal(c.other, i == 0 ? KIN_E_BUSY : KIN_E_STATE);
        assert_int_equal(c.done, 4);
        assert_memory_equal(c.text, "said", 4);
        assert_int_equal(kin_process_close_stream(c.process, KIN_STDIN), 0);
        assert_int_equal(end_of(c.process), 7);
    }
}

static void a_stream_is_read_by_one_thread_and_closed_behind_it(void **state)
{
    (void) state;
    each_method(contend);
}

static bool talk(int method)
{
    char text[32];
    size_t length = 0;
    size_t done = 0;
    int code = -1;
    kin_process process;
    kin_process_options options = {.method = method, .input = pipe_stream, .output = pipe_stream};
    uint64_t offset = arena_offset(shared);
    bool good = kin_process_start(&process, echo, &offset, sizeof offset, &options) == 0 &&
                kin_process_write(process, "many words", 10, &done, LONG_MS) == 0 && done == 10 &&
                kin_process_close_stream(process, KIN_STDIN) == 0;
    int status = good ? 0 : KIN_E_STATE;
    while (status == 0) {
        status = kin_process_read(process, KIN_STDOUT, text + length, 32 - length, &done, LONG_MS);
        length += done;
    }
    return good && status == KIN_E_CLOSED && length == 10 && memcmp(text, "many words", 10) == 0 &&
           kin_process_join(process, LONG_MS) == 0 && kin_process_exit_code(process, &code) == 0 &&
           code == 7 && kin_process_close(process) == 0;
}

static void talk_in_thread(void *argument, unsigned number)
{
    int *wrong = argument;
    bool forks = kin_has_start_method(KIN_START_FORK) == 1;
    for (int i = 0; i < EACH; i++) {
        int method = forks && (i + (int) number) % 2 != 0 ? KIN_START_FORK : KIN_START_SPAWN;
        wrong[number] += talk(method) ? 0 : 1;
    }
}

static void threads_have_children_with_pipes_at_the_same_time(void **state)
{
    (void) state;
    int wrong[THREADS] = {0};
    system_run_threads(THREADS, talk_in_thread, wrong);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(wrong[i], 0);
    }
}

/* ---- who else has an end ---- */

static int arrive_and_stay(void *argument, size_t size)
{
    (void) size;
    mark_add(&board_of(argument)->arrived);
    return kin_sleep(KIN_FOREVER);
}

static void live_beside(int method)
{
    kin_process_options options = {.input = pipe_stream, .output = pipe_stream};
    new_board();
    kin_process process = start_as(options, KIN_START_SPAWN, echo);
    kin_process beside = start_as((kin_process_options){0}, method, arrive_and_stay);
    assert_true(mark_await(&shared->arrived, 1));
    write_all(process, "seen", 4);
    assert_int_equal(kin_process_close_stream(process, KIN_STDIN), 0);
    assert_says(process, KIN_STDOUT, "seen"); /* to the end */
    assert_int_equal(end_of(process), 7);
    kill_and_close(beside);
}

static void children_do_not_hold_each_others_pipes(void **state)
{
    (void) state;
    each_method(live_beside);
}

#if !defined _WIN32

static void copies_of_the_user_do_not_hold_pipes(void **state)
{
    (void) state;
    kin_process_options options = {.input = pipe_stream, .output = pipe_stream};
    kin_process process = start_as(options, KIN_START_SPAWN, echo);
    pid_t pid = fork();
    if (pid == 0) {
        (void) sleep(LONG_MS / 1000);
        _exit(0);
    }
    assert_int_equal(kin_process_close_stream(process, KIN_STDIN), 0);
    assert_says(process, KIN_STDOUT, "");
    assert_int_equal(end_of(process), 7);
    assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

#endif

/* ---- a parent that ends ---- */

static int read_to_its_end(void *argument, size_t size)
{
    unsigned char bytes[16];
    (void) size;
    mark_add(&board_of(argument)->arrived);
    return read_to_end(standard(KIN_STDIN), bytes, sizeof bytes) == 0 ? 0 : CHILD_FAILED;
}

static int write_for_ever(void *argument, size_t size)
{
    (void) size;
    mark_add(&board_of(argument)->arrived);
    while (system_write(standard(KIN_STDOUT), stream_pattern, STREAM_MIB)) {
    }
    return 0;
}

static int leave_children(void *argument, size_t size)
{
    board *b = board_of(argument);
    kin_process process;
    (void) size;
    kin_process_options options = {
        .method = (int) atomic_load(&b->count), .input = pipe_stream, .output = pipe_stream};
    CHECK(kin_process_start(&process, read_to_its_end, argument, size, &options) == 0);
    CHECK(kin_process_start(&process, write_for_ever, argument, size, &options) == 0);
    CHECK(mark_await(&b->arrived, 2));
    return 0;
}

static void end_with_pipes(int method)
{
    if (method == KIN_START_FORKSERVER) {
        return;
    }
    new_board();
    atomic_store(&shared->count, (uint64_t) method);
    assert_int_equal(end_of(start_as((kin_process_options){0}, method, leave_children)), 0);
}

static void a_parent_ends_though_its_children_wait_for_their_pipes(void **state)
{
    (void) state;
    each_method(end_with_pipes);
}

static int prepare(void **state)
{
    int status = warm_up_all(state);
    shared = shared_new(sizeof *shared);
    make_place("streams");
    return status;
}

static int clear(void **state)
{
    (void) state;
    shared_free(shared);
    remove_place();
    return 0;
}

static const test_mode modes[] = {{"without", mode_without}, {"swapped", mode_swapped}};

int main(int argc, char **argv)
{
    stream_prepare();
    const test_mode *mode = find_mode(modes, sizeof modes / sizeof *modes);
    if (mode != NULL) {
        int code = mode->run(argc, argv);
        stream_clear();
        return code;
    }
    if (kin_init(&argc, &argv) < 0) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        SETTLED_TEST(the_null_device_is_empty_and_takes_everything),
        SETTLED_TEST(files_are_read_written_and_appended_to),
        SETTLED_TEST(files_that_cannot_be_opened_are_told_by_the_start),
        SETTLED_TEST(streams_that_make_no_sense_are_refused),
        SETTLED_TEST(the_forkserver_takes_no_handles),
        SETTLED_TEST(errors_go_where_output_goes),
        SETTLED_TEST(handles_become_streams_and_stay_with_their_owner),
        SETTLED_TEST(closed_streams_of_this_process_confuse_nobody),
        SETTLED_TEST(streams_of_this_process_are_passed_on_in_any_order),
        SETTLED_TEST(much_goes_both_ways_at_once),
        SETTLED_TEST(each_of_the_three_may_be_a_pipe),
        SETTLED_TEST(what_takes_too_long_is_given_up_and_nothing_is_lost),
        SETTLED_TEST(what_a_killed_child_said_is_read_to_the_end),
        SETTLED_TEST(what_is_left_is_read_after_the_join_until_the_close),
        SETTLED_TEST(streams_that_are_not_there_are_told),
        SETTLED_TEST(a_handle_of_another_kind_has_no_streams),
        SETTLED_TEST(a_stream_is_read_by_one_thread_and_closed_behind_it),
        SETTLED_TEST(threads_have_children_with_pipes_at_the_same_time),
        SETTLED_TEST(children_do_not_hold_each_others_pipes),
#if !defined _WIN32
        SETTLED_TEST(copies_of_the_user_do_not_hold_pipes),
#endif
        SETTLED_TEST(a_parent_ends_though_its_children_wait_for_their_pipes),
    };
    int failures = cmocka_run_group_tests(tests, prepare, clear);
    stream_clear();
    return failures;
}
