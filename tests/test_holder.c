/* kin/holder.h: who holds what, and who waits for whom. */
#include "support.h"

#include "core/arena.h"
#include "core/latch.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { WAITERS = 3 };

typedef struct board {
    kin_lock lock;
    kin_rlock recursive;
    kin_rwlock shared;
    mark arrived;
    mark go;
    _Atomic uint64_t process;
    _Atomic uint64_t near; /* an offset in the module of where the lock is acquired */
} board;

static board *new_board(void)
{
    board *b = shared_new(sizeof *b);
    const kin_lock_options plain = {.name = "plain"};
    const kin_lock_options deep = {.name = "1234567890123456789012345678901"};
    assert_int_equal(kin_lock_create(&b->lock, &plain), 0);
    assert_int_equal(kin_rlock_create(&b->recursive, &deep), 0);
    assert_int_equal(kin_rwlock_create(&b->shared, NULL), 0);
    return b;
}

static void end_board(board *b)
{
    assert_int_equal(kin_lock_destroy(b->lock), 0);
    assert_int_equal(kin_rlock_destroy(b->recursive), 0);
    assert_int_equal(kin_rwlock_destroy(b->shared), 0);
    shared_free(b);
}

static kin_process start_on(board *b, kin_process_function function)
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

static void await_waiting(uint64_t id, uint32_t count)
{
    int64_t until = kin_clock_ns() + INT64_C(1000000) * LONG_MS;
    for (uint32_t waiting = 0; waiting != count;) {
        assert_true(kin_clock_ns() < until);
        waiting = 0;
        for (uint32_t number = 1; number < arena_entries(ARENA_THREADS); number++) {
            waiting += atomic_load(&thread_at(number)->waits_for) == id;
        }
    }
}

static int hold_all(void *argument, size_t size)
{
    board *b = board_of(argument);
    platform_module here;
    CHECK(size == sizeof(uint64_t));
    CHECK(platform_module_of(&here, (uintptr_t) hold_all) == 0);
    atomic_store(&b->near, (uintptr_t) hold_all - here.base);
    atomic_store(&b->process, kin_current_process().id);
    CHECK(kin_lock_acquire(b->lock, 0) == 0);
    CHECK(kin_rlock_acquire(b->recursive, 0) == 0);
    CHECK(kin_rlock_acquire(b->recursive, 0) == 0);
    CHECK(kin_rlock_acquire(b->recursive, 0) == 0);
    CHECK(kin_rwlock_write(b->shared, 0) == 0);
    mark_add(&b->arrived);
    CHECK(mark_await(&b->go, 1));
    CHECK(kin_rwlock_release(b->shared) == 0);
    CHECK(kin_rlock_release(b->recursive) == 0);
    CHECK(kin_rlock_release(b->recursive) == 0);
    CHECK(kin_rlock_release(b->recursive) == 0);
    return kin_lock_release(b->lock);
}

static int wait_for_all(void *argument, size_t size)
{
    board *b = board_of(argument);
    CHECK(size == sizeof(uint64_t));
    CHECK(kin_lock_acquire(b->lock, LONG_MS) == 0);
    CHECK(kin_lock_release(b->lock) == 0);
    CHECK(kin_rlock_acquire(b->recursive, LONG_MS) == 0);
    return kin_rlock_release(b->recursive);
}

/* The call is not far from the beginning of the function that makes it. */
static void check_site(const board *b, const kin_lock_holder *holder)
{
    if (holder->module[0] == '\0') {
        assert_int_not_equal(holder->site, 0);
#if defined _WIN32 || (defined __linux__ && !defined KIN_POSIX_PLAIN)
        fail_msg("the module is not known");
#endif
        return;
    }
    uint64_t near = atomic_load(&b->near);
    assert_non_null(strstr(holder->module, "test_holder"));
    assert_in_range(holder->site, near > 65536 ? near - 65536 : 0, near + 65536);
}

static void check_holder(const board *b, const kin_lock_holder *holder, kin_process process,
                         uint32_t depth)
{
    assert_int_equal(holder->process.id, process.id);
    assert_int_equal(holder->pid, kin_process_pid(process));
    assert_int_equal(holder->depth, depth);
    assert_int_not_equal(holder->thread, 0);
    check_site(b, holder);
}

static void an_owner_is_known(void **state)
{
    (void) state;
    kin_lock_holder holder;
    kin_process waiters[WAITERS];
    board *b = new_board();
    assert_int_equal(kin_lock_owner(b->lock, &holder), 0);
    assert_int_equal(holder.process.id, 0);
    assert_int_equal(holder.depth, 0);
    assert_string_equal(holder.name, "plain");
    kin_process process = start_on(b, hold_all);
    assert_true(mark_await(&b->arrived, 1));
    for (int i = 0; i < WAITERS; i++) {
        waiters[i] = start_on(b, wait_for_all);
    }
    await_waiting(b->lock.id, WAITERS);
    assert_int_equal(kin_lock_owner(b->lock, &holder), 0);
    check_holder(b, &holder, process, 1);
    assert_int_equal(holder.waiters, WAITERS);
    print_message("%s+0x%" PRIx64 "\n", holder.module, holder.site);
    assert_int_equal(kin_rlock_owner(b->recursive, &holder), 0);
    check_holder(b, &holder, process, 3);
    assert_int_equal(holder.waiters, 0);
    assert_string_equal(holder.name, "1234567890123456789012345678901");
    assert_int_equal(kin_rwlock_owner(b->shared, &holder), 0);
    check_holder(b, &holder, process, 1);
    assert_string_equal(holder.name, "");
    mark_add(&b->go);
    assert_int_equal(end_of(process), 0);
    for (int i = 0; i < WAITERS; i++) {
        assert_int_equal(end_of(waiters[i]), 0);
    }
    assert_int_equal(kin_rlock_owner(b->recursive, &holder), 0);
    assert_int_equal(holder.pid, 0);
    end_board(b);
}

static int read_and_hold(void *argument, size_t size)
{
    board *b = board_of(argument);
    CHECK(size == sizeof(uint64_t));
    CHECK(kin_rwlock_read(b->shared, 0) == 0);
    CHECK(kin_rwlock_read(b->shared, 0) == 0);
    mark_add(&b->arrived);
    CHECK(mark_await(&b->go, 1));
    CHECK(kin_rwlock_release(b->shared) == 0);
    return kin_rwlock_release(b->shared);
}

static void readers_are_counted(void **state)
{
    (void) state;
    kin_process readers[WAITERS];
    kin_lock_holder holder;
    board *b = new_board();
    for (int i = 0; i < WAITERS; i++) {
        readers[i] = start_on(b, read_and_hold);
    }
    assert_true(mark_await(&b->arrived, WAITERS));
    assert_int_equal(kin_rwlock_owner(b->shared, &holder), 0);
    assert_int_equal(holder.readers, WAITERS);
    assert_int_equal(holder.process.id, 0);
    mark_add(&b->go);
    for (int i = 0; i < WAITERS; i++) {
        assert_int_equal(end_of(readers[i]), 0);
    }
    assert_int_equal(kin_rwlock_owner(b->shared, &holder), 0);
    assert_int_equal(holder.readers, 0);
    end_board(b);
}

static void bad_arguments_are_errors(void **state)
{
    (void) state;
    kin_lock_holder holder;
    board *b = new_board();
    assert_int_equal(kin_lock_owner(b->lock, NULL), KIN_E_INVALID);
    assert_int_equal(kin_rlock_owner(b->recursive, NULL), KIN_E_INVALID);
    assert_int_equal(kin_rwlock_owner(b->shared, NULL), KIN_E_INVALID);
    assert_int_equal(kin_lock_owner((kin_lock){b->shared.id}, &holder), KIN_E_HANDLE);
    assert_int_equal(kin_rlock_owner((kin_rlock){b->lock.id}, &holder), KIN_E_HANDLE);
    assert_int_equal(kin_rwlock_owner((kin_rwlock){0}, &holder), KIN_E_HANDLE);
    end_board(b);
}

static int without_init(int argc, char **argv)
{
    kin_lock_holder holder;
    (void) argc, (void) argv;
    CHECK(kin_lock_owner((kin_lock){1}, &holder) == KIN_E_INIT);
    CHECK(kin_dump(NULL, NULL) == KIN_E_INIT);
    CHECK(kin_error_detail()[0] == '\0');
    return 0;
}

static void it_needs_a_family(void **state)
{
    (void) state;
    assert_int_equal(run_mode("without_init"), 0);
}

/* ---- all ---- */

typedef struct lines {
    char text[20][1600];
    unsigned count;
} lines;

static void keep(const char *text, void *context)
{
    lines *l = context;
    if (l->count < 20) {
        (void) snprintf(l->text[l->count++], sizeof l->text[0], "%s", text);
    }
}

/* The number of a line that has both; fails if there is none. */
static unsigned line_with(const lines *l, const char *what, const char *more)
{
    for (unsigned i = 0; i < l->count; i++) {
        if (strstr(l->text[i], what) != NULL && strstr(l->text[i], more) != NULL) {
            return i;
        }
    }
    for (unsigned i = 0; i < l->count; i++) {
        print_message("%s\n", l->text[i]);
    }
    fail_msg("no line with %s and %s", what, more);
    return 0;
}

static void all_is_told(void **state)
{
    (void) state;
    char pid[32];
    lines *l = calloc(1, sizeof *l);
    board *b = new_board();
    assert_non_null(l);
    kin_process process = start_on(b, hold_all);
    assert_true(mark_await(&b->arrived, 1));
    kin_process waiter = start_on(b, wait_for_all);
    await_waiting(b->lock.id, 1);
    assert_int_equal(kin_dump(keep, l), 0);
    (void) snprintf(pid, sizeof pid, "(pid %d,", kin_process_pid(process));
    unsigned owned = line_with(l, "lock \"plain\" owned by ", pid);
    (void) line_with(l, "recursive lock \"1234567890123456789012345678901\" owned by ", pid);
    (void) line_with(l, "3 times", pid);
    (void) line_with(l, "read-write lock ", pid);
    (void) line_with(l, " at ", pid);
    (void) snprintf(pid, sizeof pid, "(pid %d,", kin_process_pid(waiter));
    assert_int_equal(line_with(l, "  waited for by ", pid), owned + 1);
    (void) line_with(l, " ms", pid);
    for (unsigned i = 0; i < l->count; i++) {
        assert_null(strchr(l->text[i], '\n'));
        print_message("%s\n", l->text[i]);
    }
    mark_add(&b->go);
    assert_int_equal(end_of(process), 0);
    assert_int_equal(end_of(waiter), 0);
    end_board(b);
    *l = (lines){{{0}}, 0};
    assert_int_equal(kin_dump(keep, l), 0);
    assert_int_equal(l->count, 0);
    free(l);
}

static int join_other(void *argument, size_t size)
{
    board *b = board_of(argument);
    CHECK(size == sizeof(uint64_t));
    return kin_process_join((kin_process){atomic_load(&b->process)}, LONG_MS);
}

static void joins_and_readers_are_told(void **state)
{
    (void) state;
    lines *l = calloc(1, sizeof *l);
    board *b = new_board();
    assert_non_null(l);
    kin_process reader = start_on(b, read_and_hold);
    assert_true(mark_await(&b->arrived, 1));
    atomic_store(&b->process, reader.id);
    kin_process joiner = start_on(b, join_other);
    await_waiting(reader.id, 1);
    assert_int_equal(kin_dump(keep, l), 0);
    char pid[32];
    (void) snprintf(pid, sizeof pid, "(pid %d,", kin_process_pid(reader));
    (void) line_with(l, "  read by ", pid);
    (void) snprintf(pid, sizeof pid, "(pid %d,", kin_process_pid(joiner));
    (void) line_with(l, " waits for the end of ", pid);
    assert_int_equal(kin_dump(NULL, NULL), 0);
    mark_add(&b->go);
    assert_int_equal(end_of(reader), 0);
    assert_int_equal(end_of(joiner), 0);
    end_board(b);
    free(l);
}

static void an_array_is_told_like_a_lock(void **state)
{
    (void) state;
    kin_array array;
    lines *l = calloc(1, sizeof *l);
    const kin_array_options how = {.name = "prices"};
    assert_non_null(l);
    assert_int_equal(kin_array_create(&array, 1, 1, &how), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(kin_array_lock(array, 0), 0);
    }
    assert_int_equal(kin_dump(keep, l), 0);
    (void) line_with(l, "array \"prices\" owned by ", ", 2 times");
    assert_int_equal(kin_array_destroy(array), 0);
    free(l);
}

int main(int argc, char **argv)
{
    static const test_mode modes[] = {{"without_init", without_init}};
    const test_mode *mode = find_mode(modes, sizeof modes / sizeof *modes);
    if (mode != NULL) {
        return mode->run(argc, argv);
    }
    const struct CMUnitTest tests[] = {
        CLEAN_TEST(an_owner_is_known),
        CLEAN_TEST(readers_are_counted),
        CLEAN_TEST(bad_arguments_are_errors),
        CLEAN_TEST(it_needs_a_family),
        CLEAN_TEST(all_is_told),
        CLEAN_TEST(joins_and_readers_are_told),
        CLEAN_TEST(an_array_is_told_like_a_lock),
    };
    int status = kin_init(&argc, &argv);
    return status < 0 ? status : cmocka_run_group_tests(tests, warm_up, NULL);
}
