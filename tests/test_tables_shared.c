/* kin/dict.h, kin/list.h: what several threads and processes do with one dictionary or list. */
#include "support.h"

#include <string.h>

enum { PROCESSES = 4, THREADS = 4, ROUNDS = 20000, STAY = 50, ELEMENTS = 4000, LARGEST = 9000 };

/* What children and tests share. */
typedef struct board {
    kin_dict dict;
    kin_list list;
    mark arrived;
    mark go;
    _Atomic uint32_t stop;
    _Atomic uint32_t winners;
    _Atomic uint32_t ended; /* calls that were told that it is gone */
    _Atomic uint32_t wrong;
    _Atomic uint64_t sum;
    uint32_t rounds;
} board;

static board *new_board(void)
{
    board *b = shared_new(sizeof *b);
    assert_int_equal(kin_dict_create(&b->dict, NULL), 0);
    assert_int_equal(kin_list_create(&b->list, NULL), 0);
    b->rounds = WITH_SANITIZER ? ROUNDS / 10 : ROUNDS;
    return b;
}

static void free_board(board *b)
{
    int statuses[] = {kin_dict_destroy(b->dict), kin_list_destroy(b->list)};
    for (int i = 0; i < 2; i++) {
        assert_true(statuses[i] == 0 || statuses[i] == KIN_E_HANDLE);
    }
    assert_int_equal(atomic_load(&b->wrong), 0);
    shared_free(b);
}

typedef struct order {
    uint64_t board;
    uint32_t number;
    uint32_t what;
} order;

/* What is done by each of several, in processes or threads. */
typedef void doing(board *b, unsigned number);

static void require(board *b, bool condition)
{
    if (!condition) {
        atomic_fetch_add(&b->wrong, 1);
    }
}

/* ---- numbers ---- */

static void add_to_numbers(board *b, unsigned number)
{
    for (uint32_t i = 0; i < b->rounds; i++) {
        int64_t delta = number + 1;
        require(b, kin_dict_increment(b->dict, "number", 6, delta, NULL) == 0);
        require(b, kin_list_increment(b->list, 0, delta, NULL) == 0);
    }
}

/* The same by comparing and replacing. */
static void replace_numbers(board *b, unsigned number)
{
    for (uint32_t i = 0; i < b->rounds / 4;) {
        int64_t old = 0;
        require(b, kin_dict_get(b->dict, "number", 6, &old, sizeof old, NULL) == 0);
        int64_t now = old + number + 1;
        int status = kin_dict_compare_set(b->dict, "number", 6, &old, 8, &now, 8);
        require(b, status == 0 || status == KIN_E_STATE);
        i += status == 0;
    }
    for (uint32_t i = 0; i < b->rounds / 4;) {
        int64_t old = 0;
        require(b, kin_list_get(b->list, 0, &old, sizeof old, NULL) == 0);
        int64_t now = old + number + 1;
        int status = kin_list_compare_set(b->list, 0, &old, 8, &now, 8);
        require(b, status == 0 || status == KIN_E_STATE);
        i += status == 0;
    }
}

static void race_for_keys(board *b, unsigned number)
{
    for (uint32_t i = 0; i < b->rounds / 10; i++) {
        int status = kin_dict_set_new(b->dict, &i, sizeof i, &number, sizeof number);
        require(b, status == 0 || status == KIN_E_EXISTS);
        atomic_fetch_add(&b->winners, status == 0);
    }
}

/* ---- values that tell whether they are whole ---- */

static size_t make_value(unsigned char *value, uint64_t seed)
{
    size_t size = sizeof seed + (size_t) (seed >> 4) % 200;
    if (seed % 16 == 0) {
        size = LARGEST - (size_t) (seed % 7);
    }
    memset(value, (int) (seed % 251), size);
    memcpy(value, &seed, sizeof seed);
    return size;
}

static bool is_whole(const unsigned char *value, size_t size)
{
    unsigned char expected[LARGEST];
    uint64_t seed;
    memcpy(&seed, value, sizeof seed);
    return size >= sizeof seed && make_value(expected, seed) == size &&
           memcmp(value, expected, size) == 0;
}

static void change_values(board *b, unsigned number)
{
    unsigned char value[LARGEST];
    uint64_t seed = number;
    size_t size = 0;
    for (uint32_t i = 0; i < b->rounds / 4; i++) {
        int64_t key = next_random(&seed) % STAY;
        size_t made = make_value(value, (uint64_t) next_random(&seed) << 8);
        require(b, kin_dict_set(b->dict, &key, sizeof key, value, made) == 0);
        require(b, kin_list_set(b->list, key, value, made) == 0);
        key = next_random(&seed) % STAY;
        require(b, kin_dict_get(b->dict, &key, sizeof key, value, sizeof value, &size) == 0);
        require(b, is_whole(value, size));
        require(b, kin_list_get(b->list, key, value, sizeof value, &size) == 0);
        require(b, is_whole(value, size));
        key = STAY + next_random(&seed) % STAY;
        int status = i % 2 == 0
                         ? kin_dict_set(b->dict, &key, sizeof key, value, size)
                         : kin_dict_pop(b->dict, &key, sizeof key, value, sizeof value, &size);
        require(b, status == 0 || status == KIN_E_NOT_FOUND);
        require(b, is_whole(value, size));
    }
}

/* Goes through it again and again: the first STAY keys are there all the time. */
static void go_through(board *b, unsigned number)
{
    (void) number;
    unsigned char value[LARGEST];
    for (uint32_t i = 0; i < b->rounds / 200; i++) {
        uint32_t met = 0;
        int64_t key = 0;
        kin_dict_cursor cursor = {0};
        for (;;) {
            kin_buffer k = {&key, sizeof key};
            kin_buffer v = {value, sizeof value};
            int status = kin_dict_next(b->dict, &cursor, &k, &v);
            if (status < 0) {
                require(b, status == KIN_E_NOT_FOUND);
                break;
            }
            require(b, is_whole(value, v.size));
            met += key < STAY;
        }
        require(b, met == STAY);
    }
}

static void change_or_go_through(board *b, unsigned number)
{
    if (number % 2 == 0) {
        change_values(b, number);
    } else {
        go_through(b, number);
    }
}

/* ---- elements that are handed over ---- */

static void put_in(board *b, unsigned number)
{
    unsigned char elements[2][LARGEST];
    for (uint32_t i = 0; i < ELEMENTS / PROCESSES; i += 4) {
        uint64_t seed = (uint64_t) (number * ELEMENTS + i) << 4 | (i % 100 != 0);
        size_t sizes[2] = {make_value(elements[0], seed), make_value(elements[1], seed + 16)};
        kin_buffer items[2] = {{elements[0], sizes[0]}, {elements[1], sizes[1]}};
        require(b, kin_list_extend(b->list, items, 2) == 0);
        require(b, kin_list_insert(b->list, 0, elements[0], sizes[0]) == 0);
        require(b, kin_list_insert(b->list, (int64_t) i / 2, elements[1], sizes[1]) == 0);
        atomic_fetch_add(&b->sum, 4 * seed + 32);
    }
    atomic_fetch_sub(&b->stop, 1);
}

static void take_out(board *b, unsigned number)
{
    unsigned char element[LARGEST];
    for (int64_t i = 0;; i++) {
        size_t size = 0;
        uint64_t seed;
        bool last = atomic_load(&b->stop) == 0;
        int64_t index = i % 3 == 0 ? 0 : i % 3 == 1 ? -1 : (int64_t) (number * 10);
        int status = kin_list_pop(b->list, index, element, sizeof element, &size);
        if (status == KIN_E_NOT_FOUND && last && kin_list_length(b->list) == 0) {
            return;
        }
        require(b, status == 0 || status == KIN_E_NOT_FOUND);
        if (status == 0) {
            require(b, is_whole(element, size));
            memcpy(&seed, element, sizeof seed);
            atomic_fetch_sub(&b->sum, seed);
            atomic_fetch_add(&b->winners, 1);
        }
    }
}

static void put_in_or_take_out(board *b, unsigned number)
{
    if (number < PROCESSES) {
        put_in(b, number);
    } else {
        take_out(b, number - PROCESSES);
    }
}

/* ---- until it is gone ---- */

static bool is_gone(board *b, int64_t status)
{
    bool gone = status == KIN_E_HANDLE || status == KIN_E_DESTROYED;
    require(b, gone || status >= 0 || status == KIN_E_NOT_FOUND);
    return gone;
}

static void use_until_it_is_gone(board *b, unsigned number)
{
    unsigned char value[LARGEST];
    uint64_t seed = number;
    size_t size = 0;
    mark_add(&b->arrived);
    for (;;) {
        int64_t key = next_random(&seed) % STAY;
        size_t made = make_value(value, (uint64_t) next_random(&seed));
        if (is_gone(b, kin_dict_set(b->dict, &key, sizeof key, value, made)) ||
            is_gone(b, kin_list_insert(b->list, key, value, made)) ||
            is_gone(b, kin_list_delete(b->list, key)) || is_gone(b, kin_list_length(b->list))) {
            break;
        }
        int status = kin_dict_get(b->dict, &key, sizeof key, value, sizeof value, &size);
        require(b, status != 0 || is_whole(value, size));
        if (is_gone(b, status)) {
            break;
        }
    }
    atomic_fetch_add(&b->ended, 1);
}

static void use_and_clear(board *b, unsigned number)
{
    unsigned char value[LARGEST];
    uint64_t seed = number;
    size_t size = 0;
    for (uint32_t i = 0; i < b->rounds / 4; i++) {
        int64_t key = next_random(&seed) % STAY;
        size_t made = make_value(value, (uint64_t) next_random(&seed));
        require(b, kin_dict_set(b->dict, &key, sizeof key, value, made) == 0);
        require(b, kin_list_append(b->list, value, made) == 0);
        int status = kin_dict_get(b->dict, &key, sizeof key, value, sizeof value, &size);
        require(b, status == KIN_E_NOT_FOUND || (status == 0 && is_whole(value, size)));
        status = kin_list_get(b->list, key, value, sizeof value, &size);
        require(b, status == KIN_E_NOT_FOUND || (status == 0 && is_whole(value, size)));
        if (i % 64 == number) {
            require(b, kin_dict_clear(b->dict) == 0 && kin_list_clear(b->list) == 0);
        }
    }
}

/* ---- in processes and threads ---- */

static doing *const doings[] = {add_to_numbers,       replace_numbers,    race_for_keys,
                                change_or_go_through, put_in_or_take_out, use_until_it_is_gone,
                                use_and_clear};
enum { ADD, REPLACE, RACE, CHANGE, HAND_OVER, USE, CLEAR };

static int live(void *argument, size_t size)
{
    order told;
    CHECK(size == sizeof told);
    memcpy(&told, argument, sizeof told);
    board *b = arena_at(told.board);
    doings[told.what](b, told.number);
    return atomic_load(&b->wrong) == 0 ? 0 : CHILD_FAILED;
}

static void in_processes(board *b, uint32_t what, unsigned count)
{
    kin_process processes[2 * PROCESSES];
    for (unsigned i = 0; i < count; i++) {
        const order told = {arena_offset(b), i, what};
        processes[i] = start(live, &told, sizeof told);
    }
    if (what == USE) {
        assert_true(mark_await(&b->arrived, count));
        assert_int_equal(kin_dict_destroy(b->dict), 0);
        assert_int_equal(kin_list_destroy(b->list), 0);
    }
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(end_of(processes[i]), 0);
    }
}

typedef struct thread_order {
    board *b;
    uint32_t what;
} thread_order;

static void live_in_thread(void *argument, unsigned number)
{
    const thread_order *told = argument;
    if (told->what == USE && number == 0) {
        (void) mark_await(&told->b->arrived, THREADS - 1);
        require(told->b, kin_dict_destroy(told->b->dict) == 0);
        require(told->b, kin_list_destroy(told->b->list) == 0);
    } else {
        doings[told->what](told->b, number);
    }
}

static void in_threads(board *b, uint32_t what, unsigned count)
{
    thread_order told = {b, what};
    system_run_threads(count, live_in_thread, &told);
    assert_int_equal(atomic_load(&b->wrong), 0);
}

/* First in processes, then in threads of this one. */
typedef void running(board *b, uint32_t what, unsigned count);
static running *const ways[] = {in_processes, in_threads};
enum { WAYS = 2 };

/* ---- the tests ---- */

static void begin_numbers(const board *b)
{
    const int64_t none = 0;
    assert_int_equal(kin_dict_set(b->dict, "number", 6, &none, sizeof none), 0);
    assert_int_equal(kin_list_append(b->list, &none, sizeof none), 0);
}

static void numbers_are(const board *b, int64_t expected)
{
    int64_t number = 0;
    assert_int_equal(kin_dict_get(b->dict, "number", 6, &number, sizeof number, NULL), 0);
    assert_int_equal(number, expected);
    assert_int_equal(kin_list_get(b->list, 0, &number, sizeof number, NULL), 0);
    assert_int_equal(number, expected);
}

static const int64_t shares = PROCESSES * (PROCESSES + 1) / 2;

static void no_addition_is_lost(void **state)
{
    (void) state;
    for (int way = 0; way < WAYS; way++) {
        board *b = new_board();
        begin_numbers(b);
        ways[way](b, ADD, PROCESSES);
        numbers_are(b, shares * b->rounds);
        free_board(b);
    }
}

static void no_replacement_is_lost(void **state)
{
    (void) state;
    for (int way = 0; way < WAYS; way++) {
        board *b = new_board();
        begin_numbers(b);
        ways[way](b, REPLACE, PROCESSES);
        numbers_are(b, shares * (b->rounds / 4));
        free_board(b);
    }
}

static void of_several_one_sets_a_key_anew(void **state)
{
    (void) state;
    for (int way = 0; way < WAYS; way++) {
        board *b = new_board();
        ways[way](b, RACE, PROCESSES);
        assert_int_equal(atomic_load(&b->winners), b->rounds / 10);
        assert_int_equal(kin_dict_length(b->dict), b->rounds / 10);
        free_board(b);
    }
}

static void values_are_never_torn_and_met_once(void **state)
{
    (void) state;
    for (int way = 0; way < WAYS; way++) {
        unsigned char value[LARGEST];
        board *b = new_board();
        for (int64_t i = 0; i < STAY; i++) {
            size_t size = make_value(value, (uint64_t) i);
            assert_int_equal(kin_dict_set(b->dict, &i, sizeof i, value, size), 0);
            assert_int_equal(kin_list_append(b->list, value, size), 0);
        }
        ways[way](b, CHANGE, PROCESSES);
        assert_int_equal(kin_list_length(b->list), STAY);
        free_board(b);
    }
}

static void each_element_is_taken_out_once(void **state)
{
    (void) state;
    for (int way = 0; way < WAYS; way++) {
        board *b = new_board();
        atomic_store(&b->stop, PROCESSES); /* those who still put some in */
        ways[way](b, HAND_OVER, 2 * PROCESSES);
        assert_int_equal(atomic_load(&b->winners), ELEMENTS);
        assert_int_equal(atomic_load(&b->sum), 0);
        free_board(b);
    }
}

static void those_who_use_it_are_told_that_it_is_gone(void **state)
{
    (void) state;
    for (int i = 0; i < 20; i++) {
        board *b = new_board();
        unsigned count = i % 4 == 0 ? PROCESSES : THREADS;
        ways[i % 4 != 0](b, USE, count);
        assert_int_equal(atomic_load(&b->ended), i % 4 == 0 ? count : count - 1);
        free_board(b);
    }
}

static void it_is_cleared_under_those_who_use_it(void **state)
{
    (void) state;
    for (int way = 0; way < WAYS; way++) {
        board *b = new_board();
        ways[way](b, CLEAR, PROCESSES);
        free_board(b);
    }
}

static int make_tables(void *argument, size_t size)
{
    uint64_t offset;
    CHECK(size == sizeof offset);
    memcpy(&offset, argument, sizeof offset);
    board *b = arena_at(offset);
    static const char large[LARGEST] = "large";
    CHECK(kin_dict_create(&b->dict, NULL) == 0);
    CHECK(kin_list_create(&b->list, NULL) == 0);
    CHECK(kin_dict_set(b->dict, "a", 1, large, sizeof large) == 0);
    CHECK(kin_dict_set(b->dict, "b", 1, "small", 6) == 0);
    CHECK(kin_list_append(b->list, large, sizeof large) == 0);
    return 0;
}

static void they_outlive_their_maker(void **state)
{
    (void) state;
    char value[LARGEST];
    board *b = shared_new(sizeof *b);
    const uint64_t offset = arena_offset(b);
    assert_int_equal(end_of(start(make_tables, &offset, sizeof offset)), 0);
    assert_int_equal(kin_dict_get(b->dict, "a", 1, value, sizeof value, NULL), 0);
    assert_string_equal(value, "large");
    assert_int_equal(kin_dict_get(b->dict, "b", 1, value, sizeof value, NULL), 0);
    assert_string_equal(value, "small");
    assert_int_equal(kin_list_pop(b->list, 0, value, sizeof value, NULL), 0);
    assert_string_equal(value, "large");
    free_board(b);
}

int main(int argc, char **argv)
{
    if (kin_init(&argc, &argv) < 0) {
        return CHILD_FAILED;
    }
    const struct CMUnitTest tests[] = {
        CLEAN_TEST(no_addition_is_lost),
        CLEAN_TEST(no_replacement_is_lost),
        CLEAN_TEST(of_several_one_sets_a_key_anew),
        CLEAN_TEST(values_are_never_torn_and_met_once),
        CLEAN_TEST(each_element_is_taken_out_once),
        CLEAN_TEST(those_who_use_it_are_told_that_it_is_gone),
        CLEAN_TEST(it_is_cleared_under_those_who_use_it),
        CLEAN_TEST(they_outlive_their_maker),
    };
    return cmocka_run_group_tests(tests, warm_up, NULL);
}
