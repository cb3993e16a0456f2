/* kin/array.h: arrays and single values with a lock of their own, between threads and processes,
   and what deaths make of them. */
#include "support.h"

#include <string.h>

enum { LENGTH = 1000, WAITERS = 4, THREADS = 4, ROUNDS = 2000, VICTIMS = 30, MANY = 4096 };

/* What children and tests share. */
typedef struct board {
    kin_array array;
    mark arrived;
    _Atomic uint32_t wrong;
    _Atomic uint32_t stop;
} board;

static board *new_board(size_t element_size, size_t length, const kin_array_options *options)
{
    board *b = shared_new(sizeof *b);
    assert_int_equal(kin_array_create(&b->array, element_size, length, options), 0);
    return b;
}

static void free_board(board *b)
{
    assert_int_equal(atomic_load(&b->wrong), 0);
    assert_int_equal(kin_array_destroy(b->array), 0);
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

static const kin_array_options unlocked = {.unlocked = true};

/* ---- alone ---- */

/* Elements of all sizes, from every place on, and so many. */
static void ranges_are_copied(void **state)
{
    (void) state;
    static unsigned char in[40 * 24];
    static unsigned char out[sizeof in];
    for (size_t i = 0; i < sizeof in; i++) {
        in[i] = (unsigned char) (i * 7 + 1);
    }
    for (size_t size = 1; size <= 24; size++) {
        enum { COUNT = 40 };
        kin_array a;
        assert_int_equal(kin_array_create(&a, size, COUNT, size % 2 == 0 ? NULL : &unlocked), 0);
        assert_int_equal(kin_array_length(a), COUNT);
        assert_int_equal(kin_array_element_size(a), size);
        assert_int_equal((uintptr_t) kin_array_address(a) % 64, 0);
        for (size_t index = 0; index < 10; index++) {
            for (size_t count = 0; count <= COUNT - index; count++) {
                unsigned char *direct = kin_array_address(a);
                memset(direct, 0, COUNT * size);
                assert_int_equal(kin_array_write(a, index, count, in), 0);
                assert_memory_equal(direct + index * size, in, count * size);
                assert_true(index == 0 || direct[index * size - 1] == 0);
                assert_true(index + count == COUNT || direct[(index + count) * size] == 0);
                memset(out, 0, sizeof out);
                assert_int_equal(kin_array_read(a, index, count, out), 0);
                assert_memory_equal(out, in, count * size);
                assert_true(count * size == sizeof out || out[count * size] == 0);
            }
        }
        assert_int_equal(kin_array_destroy(a), 0);
    }
}

static void elements_are_set_and_got(void **state)
{
    (void) state;
    static const double initial[] = {1.5, 2.5, 3.5};
    const kin_array_options how = {.initial = initial, .name = "numbers"};
    kin_array a;
    double value = 0;
    assert_int_equal(kin_array_create(&a, sizeof value, 3, &how), 0);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(kin_array_get(a, i, &value), 0);
        assert_true(value == initial[i]);
        value *= 2;
        assert_int_equal(kin_array_set(a, i, &value), 0);
    }
    const double *direct = kin_array_address(a);
    assert_true(direct[0] == 3 && direct[1] == 5 && direct[2] == 7);
    assert_int_equal(kin_array_destroy(a), 0);
    assert_int_equal(kin_array_create(&a, sizeof value, LENGTH, NULL), 0);
    for (size_t i = 0; i < LENGTH; i++) {
        assert_int_equal(kin_array_get(a, i, &value), 0);
        assert_true(value == 0);
    }
    assert_int_equal(kin_array_destroy(a), 0);
}

static void nothing_outside_of_it_is_read_or_written(void **state)
{
    (void) state;
    kin_array a;
    uint32_t values[LENGTH + 1] = {0};
    assert_int_equal(kin_array_create(&a, sizeof *values, LENGTH, NULL), 0);
    static const struct {
        size_t index;
        size_t count;
    } bad[] = {{0, LENGTH + 1}, {1, LENGTH},   {LENGTH, 1},   {LENGTH + 1, 0},
               {SIZE_MAX, 1},   {1, SIZE_MAX}, {SIZE_MAX, 0}, {SIZE_MAX / 2, SIZE_MAX / 2 + 2}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(kin_array_read(a, bad[i].index, bad[i].count, values), KIN_E_INVALID);
        assert_int_equal(kin_array_write(a, bad[i].index, bad[i].count, values), KIN_E_INVALID);
    }
    assert_int_equal(kin_array_get(a, LENGTH, values), KIN_E_INVALID);
    assert_int_equal(kin_array_set(a, SIZE_MAX, values), KIN_E_INVALID);
    assert_int_equal(kin_array_get(a, 0, NULL), KIN_E_INVALID);
    assert_int_equal(kin_array_write(a, 0, 1, NULL), KIN_E_INVALID);
    assert_int_equal(kin_array_read(a, LENGTH, 0, NULL), 0);
    assert_int_equal(kin_array_destroy(a), 0);
}

static void no_call_takes_a_handle_that_is_none(kin_array a)
{
    uint64_t value = 0;
    assert_int_equal(kin_array_read(a, 0, 0, &value), KIN_E_HANDLE);
    assert_int_equal(kin_array_write(a, 0, 1, &value), KIN_E_HANDLE);
    assert_int_equal(kin_array_get(a, 0, &value), KIN_E_HANDLE);
    assert_int_equal(kin_array_set(a, 0, &value), KIN_E_HANDLE);
    assert_int_equal(kin_array_lock(a, 0), KIN_E_HANDLE);
    assert_int_equal(kin_array_lock(a, KIN_FOREVER), KIN_E_HANDLE);
    assert_int_equal(kin_array_unlock(a), KIN_E_HANDLE);
    assert_int_equal(kin_array_destroy(a), KIN_E_HANDLE);
    assert_null(kin_array_address(a));
    assert_int_equal(kin_array_length(a), 0);
    assert_int_equal(kin_array_element_size(a), 0);
}

static void bad_handles_and_arguments_are_told(void **state)
{
    (void) state;
    kin_array a;
    kin_array other;
    kin_rlock lock;
    const kin_array_options long_name = {.name = "01234567890123456789012345678901"};
    assert_int_equal(kin_array_create(NULL, 1, 1, NULL), KIN_E_INVALID);
    assert_int_equal(kin_array_create(&a, 0, 1, NULL), KIN_E_INVALID);
    assert_int_equal(kin_array_create(&a, 1, 0, NULL), KIN_E_INVALID);
    assert_int_equal(kin_array_create(&a, 1, 1, &long_name), KIN_E_INVALID);
    assert_int_equal(kin_array_create(&a, SIZE_MAX, 1, NULL), KIN_E_NOMEM);
    assert_int_equal(kin_array_create(&a, SIZE_MAX / 2 + 1, 2, NULL), KIN_E_NOMEM);
    assert_int_equal(kin_array_create(&a, 8, SIZE_MAX / 8 + 2, NULL), KIN_E_NOMEM);
    assert_int_equal(kin_array_create(&a, arena_memory()->size, 1, NULL), KIN_E_NOMEM);
    assert_int_equal(kin_array_create(&a, 8, 1, NULL), 0);
    assert_int_equal(kin_array_unlock(a), KIN_E_NOT_OWNER);
    assert_int_equal(kin_array_destroy(a), 0);
    no_call_takes_a_handle_that_is_none(a);
    assert_int_equal(kin_array_create(&other, 8, 1, NULL), 0);
    no_call_takes_a_handle_that_is_none(a); /* the other has its entry */
    assert_int_equal(kin_rlock_create(&lock, NULL), 0);
    const uint64_t forged[] = {0, 1, UINT64_MAX, lock.id, kin_current_process().id, other.id + 1};
    for (size_t i = 0; i < sizeof forged / sizeof *forged; i++) {
        no_call_takes_a_handle_that_is_none((kin_array){forged[i]});
    }
    assert_int_equal(kin_rlock_acquire((kin_rlock){other.id}, 0), KIN_E_HANDLE);
    assert_int_equal(kin_rlock_destroy(lock), 0);
    assert_int_equal(kin_array_destroy(other), 0);
}

static void try_to_lock(void *argument, unsigned number)
{
    board *b = argument;
    (void) number;
    if (kin_array_lock(b->array, 0) != KIN_E_TIMEOUT ||
        kin_array_unlock(b->array) != KIN_E_NOT_OWNER) {
        atomic_store(&b->wrong, 1);
    }
}

static void its_owner_may_lock_it_again(void **state)
{
    (void) state;
    int value = 5;
    board *b = new_board(sizeof value, 1, NULL);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(kin_array_lock(b->array, KIN_FOREVER), 0);
        assert_int_equal(kin_array_set(b->array, 0, &value), 0);
    }
    for (int i = 0; i < 3; i++) {
        system_run_threads(1, try_to_lock, b);
        assert_int_equal(kin_array_get(b->array, 0, &value), 0);
        assert_int_equal(kin_array_unlock(b->array), 0);
    }
    assert_int_equal(kin_array_unlock(b->array), KIN_E_NOT_OWNER);
    free_board(b);
}

/* ---- several at work ---- */

/* Under the lock one more is added to all elements, which are always alike; others read them. */
static bool add_to_all(kin_array a)
{
    uint32_t values[LENGTH];
    if (kin_array_lock(a, KIN_FOREVER) < 0 || kin_array_read(a, 0, LENGTH, values) < 0) {
        return false;
    }
    for (size_t i = 0; i < LENGTH; i++) {
        values[i]++;
    }
    return kin_array_write(a, 0, LENGTH, values) >= 0 && kin_array_unlock(a) == 0;
}

static bool are_alike(const uint32_t *values)
{
    return memcmp(values, values + 1, (LENGTH - 1) * sizeof *values) == 0;
}

static void work(board *b, unsigned number, uint32_t rounds)
{
    uint32_t values[LENGTH];
    for (uint32_t i = 0; i < rounds; i++) {
        if (number % 2 == 0 && !add_to_all(b->array)) {
            atomic_store(&b->wrong, 1);
        }
        if (kin_array_read(b->array, 0, LENGTH, values) != 0 || !are_alike(values)) {
            atomic_store(&b->wrong, 1);
        }
    }
}

static void be_thread(void *argument, unsigned number)
{
    work(argument, number, ROUNDS / 4);
}

static int be_process(void *argument, size_t size)
{
    (void) size;
    work(board_of(argument), 0, ROUNDS / 4);
    return 0;
}

static void what_is_written_as_a_whole_is_read_as_a_whole(void **state)
{
    (void) state;
    uint32_t value = 0;
    board *b = new_board(sizeof value, LENGTH, NULL);
    kin_process children[2] = {start_on(be_process, b), start_on(be_process, b)};
    system_run_threads(THREADS, be_thread, b);
    assert_int_equal(end_of(children[0]), 0);
    assert_int_equal(end_of(children[1]), 0);
    assert_int_equal(kin_array_get(b->array, LENGTH - 1, &value), 0);
    assert_int_equal(value, (THREADS / 2 + 2) * (ROUNDS / 4));
    free_board(b);
}

/* Each element is one of the numbers that have been written, never a mixture, also without the
   lock. */
static void write_unlocked(void *argument, unsigned number)
{
    board *b = argument;
    uint64_t values[LENGTH];
    const uint64_t pattern = (number % 2 == 0 ? 1 : 2) * UINT64_C(0x0101010101010101);
    for (size_t i = 0; i < LENGTH; i++) {
        values[i] = pattern;
    }
    for (uint32_t i = 0; i < ROUNDS / 4; i++) {
        if (kin_array_write(b->array, i % 3, LENGTH - 3, values) != 0 ||
            kin_array_read(b->array, 0, LENGTH, values) != 0) {
            atomic_store(&b->wrong, 1);
        }
        for (size_t k = 0; k < LENGTH; k++) {
            uint64_t v = values[k];
            if (v != 0 && v != UINT64_C(0x0101010101010101) && v != UINT64_C(0x0202020202020202)) {
                atomic_store(&b->wrong, 1);
            }
            values[k] = pattern;
        }
    }
}

static void no_element_is_torn(void **state)
{
    (void) state;
    board *b = new_board(sizeof(uint64_t), LENGTH, &unlocked);
    system_run_threads(THREADS, write_unlocked, b);
    free_board(b);
}

static int lock_it(void *argument, size_t size)
{
    (void) size;
    board *b = board_of(argument);
    mark_add(&b->arrived);
    return -kin_array_lock(b->array, LONG_MS);
}

static int read_it(void *argument, size_t size)
{
    (void) size;
    board *b = board_of(argument);
    int value;
    mark_add(&b->arrived);
    return -kin_array_get(b->array, 0, &value);
}

static void those_who_wait_are_told_that_it_is_destroyed(void **state)
{
    (void) state;
    board *b = new_board(sizeof(int), 1, NULL);
    kin_process waiters[WAITERS];
    assert_int_equal(kin_array_lock(b->array, KIN_FOREVER), 0);
    for (int i = 0; i < WAITERS; i++) {
        waiters[i] = start_on(i % 2 == 0 ? lock_it : read_it, b);
    }
    await_sleepers(b->array.id, WAITERS);
    assert_int_equal(kin_array_destroy(b->array), 0);
    for (int i = 0; i < WAITERS; i++) {
        assert_int_equal(end_of(waiters[i]), -KIN_E_DESTROYED);
    }
    assert_int_equal(kin_array_unlock(b->array), KIN_E_HANDLE);
    shared_free(b);
}

/* Those who copy are not disturbed by one who destroys the array. */
static void use_until_gone(void *argument, unsigned number)
{
    board *b = argument;
    uint32_t values[LENGTH] = {0};
    int status = 0;
    mark_add(&b->arrived);
    while (status == 0) {
        status = number % 2 == 0 ? kin_array_write(b->array, 0, LENGTH, values)
                                 : kin_array_read(b->array, 0, LENGTH, values);
        if (status == 0 && number == 0 && mark_await(&b->arrived, THREADS)) {
            status = kin_array_destroy(b->array);
        }
    }
    if (status != KIN_E_HANDLE && status != KIN_E_DESTROYED) {
        atomic_store(&b->wrong, 1);
    }
}

static void it_may_be_destroyed_in_use(void **state)
{
    (void) state;
    for (int i = 0; i < 20; i++) {
        board *b = new_board(sizeof(uint32_t), LENGTH, i % 2 == 0 ? NULL : &unlocked);
        system_run_threads(THREADS, use_until_gone, b);
        assert_int_equal(atomic_load(&b->wrong), 0);
        shared_free(b);
    }
}

/* ---- deaths ---- */

static int lock_and_stay(void *argument, size_t size)
{
    (void) size;
    board *b = board_of(argument);
    CHECK(kin_array_lock(b->array, KIN_FOREVER) == 0);
    CHECK(kin_array_lock(b->array, KIN_FOREVER) == 0);
    mark_add(&b->arrived);
    (void) kin_sleep(KIN_FOREVER);
    return CHILD_FAILED;
}

static void the_next_one_is_told_of_its_owners_death(void **state)
{
    (void) state;
    int value = 1;
    for (int i = 0; i < 3; i++) {
        board *b = new_board(sizeof value, 1, NULL);
        kin_process owner = start_on(lock_and_stay, b);
        assert_true(mark_await(&b->arrived, 1));
        kill_and_close(owner);
        int status = i == 0   ? kin_array_lock(b->array, 1000)
                     : i == 1 ? kin_array_get(b->array, 0, &value)
                              : kin_array_set(b->array, 0, &value);
        assert_int_equal(status, KIN_OWNER_DIED);
        if (i == 0) {
            assert_int_equal(kin_array_unlock(b->array), 0);
        }
        assert_int_equal(kin_array_get(b->array, 0, &value), 0);
        free_board(b);
    }
}

static int read_again_and_again(void *argument, size_t size)
{
    (void) size;
    board *b = board_of(argument);
    static uint32_t values[LENGTH];
    for (;;) {
        CHECK(kin_array_read(b->array, 0, LENGTH, values) == 0);
        mark_add(&b->arrived);
    }
}

static int write_again_and_again(void *argument, size_t size)
{
    (void) size;
    board *b = board_of(argument);
    for (;;) {
        CHECK(add_to_all(b->array));
        mark_add(&b->arrived);
    }
}

static void the_death_of_a_reader_is_told_to_nobody(void **state)
{
    (void) state;
    uint32_t values[LENGTH];
    board *b = new_board(sizeof *values, LENGTH, NULL);
    for (int i = 0; i < VICTIMS; i++) {
        uint32_t before = atomic_load(&b->arrived.value);
        kin_process reader = start_on(read_again_and_again, b);
        assert_true(mark_await(&b->arrived, before + 10 + (uint32_t) i));
        kill_and_close(reader);
        assert_int_equal(kin_array_read(b->array, 0, LENGTH, values), 0);
        assert_int_equal(kin_array_write(b->array, 0, LENGTH, values), 0);
    }
    free_board(b);
}

/* If nobody says that an owner died, all elements are alike. */
static void killed_writers_are_told_of_or_have_done_their_work(void **state)
{
    (void) state;
    uint32_t values[LENGTH];
    int told = 0;
    board *b = new_board(sizeof *values, LENGTH, NULL);
    for (int i = 0; i < VICTIMS; i++) {
        uint32_t before = atomic_load(&b->arrived.value);
        kin_process writer = start_on(write_again_and_again, b);
        assert_true(mark_await(&b->arrived, before + 5 + (uint32_t) i));
        kill_and_close(writer);
        int status = kin_array_lock(b->array, 1000);
        assert_true(status == 0 || status == KIN_OWNER_DIED);
        told += status;
        assert_int_equal(kin_array_read(b->array, 0, LENGTH, values), 0);
        assert_true(status == KIN_OWNER_DIED || are_alike(values));
        memset(values, 0, sizeof values);
        assert_int_equal(kin_array_write(b->array, 0, LENGTH, values), 0);
        assert_int_equal(kin_array_unlock(b->array), 0);
    }
    print_message("%d of %d died with the lock\n", told, VICTIMS);
    free_board(b);
}

/* ---- deadlocks ---- */

/* Each has one of two and comes for the other. */
typedef struct cycle {
    kin_array arrays[2];
    mark arrived;
    _Atomic int results[2];
} cycle;

static void close_cycle(void *argument, unsigned number)
{
    cycle *c = argument;
    int value = 0;
    int status = kin_array_lock(c->arrays[number], KIN_FOREVER);
    mark_add(&c->arrived);
    if (status == 0 && mark_await(&c->arrived, 2)) {
        status = number == 0 ? kin_array_get(c->arrays[1], 0, &value)
                             : kin_array_lock(c->arrays[0], KIN_FOREVER);
    }
    atomic_store(&c->results[number], status);
    if (number == 1 && status == 0) {
        (void) kin_array_unlock(c->arrays[0]);
    }
    (void) kin_array_unlock(c->arrays[number]);
}

static int find_deadlock(int argc, char **argv)
{
    const kin_options options = {.detect_deadlocks = 1};
    CHECK(kin_init_with(&argc, &argv, &options) == 0);
    cycle *c = shared_new(sizeof *c);
    for (int i = 0; i < 2; i++) {
        CHECK(kin_array_create(&c->arrays[i], sizeof(int), 1, NULL) == 0);
    }
    system_run_threads(2, close_cycle, c);
    int first = atomic_load(&c->results[0]);
    int second = atomic_load(&c->results[1]);
    CHECK((first == KIN_E_DEADLOCK && second == 0) || (first == 0 && second == KIN_E_DEADLOCK));
    return 0;
}

static void a_cycle_is_found_where_such_are_looked_for(void **state)
{
    (void) state;
    assert_int_equal(run_mode("cycle"), 0);
}

/* ---- limits ---- */

static int fill_arena(int argc, char **argv)
{
    static kin_array arrays[MANY];
    const kin_options options = {.arena_size = 8 << 20};
    const char *broken;
    size_t count = 0;
    int status = 0;
    CHECK(kin_init_with(&argc, &argv, &options) == 0);
    while (count < MANY && status == 0) {
        status = kin_array_create(&arrays[count], 1000, 10, NULL);
        count += status == 0;
    }
    CHECK(count > 0 && (status == KIN_E_NOMEM || status == KIN_E_LIMIT));
    CHECK(arena_check(&broken) == 0);
    kin_arena_usage usage;
    CHECK(kin_arena_read_usage(&usage) == 0 && usage.syncs == count);
    while (count > 0) {
        CHECK(kin_array_destroy(arrays[--count]) == 0);
    }
    CHECK(kin_arena_read_usage(&usage) == 0 && usage.syncs == 0);
    CHECK(kin_array_create(&arrays[0], 1, 1 << 20, NULL) == 0);
    CHECK(kin_array_destroy(arrays[0]) == 0);
    return arena_check(&broken) == 0 ? 0 : CHILD_FAILED;
}

static void a_full_arena_is_whole(void **state)
{
    (void) state;
    assert_int_equal(run_mode("full"), 0);
}

static int use_without_kin(int argc, char **argv)
{
    (void) argc, (void) argv;
    kin_array a = {0};
    int value = 0;
    CHECK(kin_array_create(&a, 1, 1, NULL) == KIN_E_INIT);
    CHECK(kin_array_get(a, 0, &value) == KIN_E_INIT);
    CHECK(kin_array_set(a, 0, &value) == KIN_E_INIT);
    CHECK(kin_array_lock(a, 0) == KIN_E_INIT);
    CHECK(kin_array_unlock(a) == KIN_E_INIT);
    CHECK(kin_array_destroy(a) == KIN_E_INIT);
    CHECK(kin_array_address(a) == NULL && kin_array_length(a) == 0);
    return 0;
}

static void without_kin_init_nothing_works(void **state)
{
    (void) state;
    assert_int_equal(run_mode("without"), 0);
}

static const test_mode modes[] = {
    {"without", use_without_kin}, {"full", fill_arena}, {"cycle", find_deadlock}};

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
        CLEAN_TEST(ranges_are_copied),
        CLEAN_TEST(elements_are_set_and_got),
        CLEAN_TEST(nothing_outside_of_it_is_read_or_written),
        CLEAN_TEST(bad_handles_and_arguments_are_told),
        CLEAN_TEST(its_owner_may_lock_it_again),
        CLEAN_TEST(what_is_written_as_a_whole_is_read_as_a_whole),
        CLEAN_TEST(no_element_is_torn),
        CLEAN_TEST(those_who_wait_are_told_that_it_is_destroyed),
        CLEAN_TEST(it_may_be_destroyed_in_use),
        CLEAN_TEST(the_next_one_is_told_of_its_owners_death),
        CLEAN_TEST(the_death_of_a_reader_is_told_to_nobody),
        CLEAN_TEST(killed_writers_are_told_of_or_have_done_their_work),
        CLEAN_TEST(a_cycle_is_found_where_such_are_looked_for),
        CLEAN_TEST(a_full_arena_is_whole),
        CLEAN_TEST(without_kin_init_nothing_works),
    };
    return cmocka_run_group_tests(tests, warm_up, NULL);
}
