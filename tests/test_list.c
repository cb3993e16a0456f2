/* kin/list.h: lists in one process; what several do with one at a time is in
   test_tables_shared.c. */
#include "support.h"

#include <string.h>

enum { LARGE = 100000, STEPS = 40000, MOST = 600 };

static kin_list new_list(void)
{
    kin_list l;
    assert_int_equal(kin_list_create(&l, NULL), 0);
    return l;
}

static void append(kin_list l, int64_t number)
{
    assert_int_equal(kin_list_append(l, &number, sizeof number), 0);
}

static int64_t at(kin_list l, int64_t index)
{
    int64_t number = 0;
    size_t size = 0;
    assert_int_equal(kin_list_get(l, index, &number, sizeof number, &size), 0);
    assert_int_equal(size, sizeof number);
    return number;
}

static int64_t pop(kin_list l, int64_t index)
{
    int64_t number = 0;
    assert_int_equal(kin_list_pop(l, index, &number, sizeof number, NULL), 0);
    return number;
}

/* The list has just these. */
static void has(kin_list l, const int64_t *numbers, int64_t count)
{
    assert_int_equal(kin_list_length(l), count);
    for (int64_t i = 0; i < count; i++) {
        assert_int_equal(at(l, i), numbers[i]);
        assert_int_equal(at(l, i - count), numbers[i]);
    }
    int64_t none;
    assert_int_equal(kin_list_get(l, count, &none, sizeof none, NULL), KIN_E_NOT_FOUND);
    assert_int_equal(kin_list_get(l, -count - 1, &none, sizeof none, NULL), KIN_E_NOT_FOUND);
}

static void elements_are_where_they_were_put(void **state)
{
    (void) state;
    const kin_list_options options = {.name = "numbers", .expected = 100};
    const kin_list_options *const kinds[] = {NULL, &options};
    for (int i = 0; i < 2; i++) {
        kin_list l;
        const int64_t numbers[] = {7, 1, 2, 5, 3, 9};
        assert_int_equal(kin_list_create(&l, kinds[i]), 0);
        has(l, NULL, 0);
        append(l, 1);
        append(l, 2);
        append(l, 3);
        assert_int_equal(kin_list_insert(l, 0, &numbers[0], 8), 0);
        assert_int_equal(kin_list_insert(l, -1, &numbers[3], 8), 0);
        assert_int_equal(kin_list_insert(l, 100, &numbers[5], 8), 0);
        has(l, numbers, 6);
        assert_int_equal(kin_list_insert(l, -100, &numbers[5], 8), 0);
        assert_int_equal(at(l, 0), 9);
        assert_int_equal(kin_list_delete(l, 0), 0);
        has(l, numbers, 6);
        assert_int_equal(kin_list_set(l, 2, &numbers[5], 8), 0);
        assert_int_equal(kin_list_set(l, -4, &numbers[2], 8), 0);
        assert_int_equal(kin_list_set(l, 6, &numbers[2], 8), KIN_E_NOT_FOUND);
        has(l, numbers, 6);
        assert_int_equal(pop(l, -1), 9);
        assert_int_equal(pop(l, 0), 7);
        assert_int_equal(pop(l, 2), 5);
        has(l, (const int64_t[]){1, 2, 3}, 3);
        assert_int_equal(kin_list_delete(l, 3), KIN_E_NOT_FOUND);
        assert_int_equal(kin_list_destroy(l), 0);
    }
}

static void what_does_not_fit_stays(void **state)
{
    (void) state;
    char element[8];
    size_t size = 0;
    kin_list l = new_list();
    assert_int_equal(kin_list_append(l, "element", 7), 0);
    assert_int_equal(kin_list_get(l, 0, element, 6, &size), KIN_E_TOO_SMALL);
    assert_int_equal(size, 7);
    size = 0;
    assert_int_equal(kin_list_pop(l, 0, element, 6, &size), KIN_E_TOO_SMALL);
    assert_int_equal(size, 7);
    assert_int_equal(kin_list_length(l), 1);
    assert_int_equal(kin_list_pop(l, -1, element, 7, NULL), 0);
    assert_memory_equal(element, "element", 7);
    assert_int_equal(kin_list_pop(l, -1, element, 7, NULL), KIN_E_NOT_FOUND);
    assert_int_equal(kin_list_append(l, NULL, 0), 0);
    assert_int_equal(kin_list_pop(l, 0, NULL, 0, &size), 0);
    assert_int_equal(size, 0);
    assert_int_equal(kin_list_destroy(l), 0);
}

static void elements_are_found_by_their_bytes(void **state)
{
    (void) state;
    kin_list l = new_list();
    const int64_t numbers[] = {3, 5, 3, 7};
    for (int i = 0; i < 4; i++) {
        append(l, numbers[i]);
    }
    const int64_t other = 6;
    assert_int_equal(kin_list_find(l, &numbers[0], 8, 0), 0);
    assert_int_equal(kin_list_find(l, &numbers[0], 8, 1), 2);
    assert_int_equal(kin_list_find(l, &numbers[0], 8, -2), 2);
    assert_int_equal(kin_list_find(l, &numbers[0], 8, 3), KIN_E_NOT_FOUND);
    assert_int_equal(kin_list_find(l, &numbers[0], 8, -100), 0);
    assert_int_equal(kin_list_find(l, &other, 8, 0), KIN_E_NOT_FOUND);
    assert_int_equal(kin_list_find(l, &numbers[0], 7, 0), KIN_E_NOT_FOUND);
    assert_int_equal(kin_list_remove(l, &numbers[0], 8), 0);
    assert_int_equal(kin_list_remove(l, &other, 8), KIN_E_NOT_FOUND);
    has(l, &numbers[1], 3);
    assert_int_equal(kin_list_destroy(l), 0);
}

static void numbers_are_added_to_and_replaced_if_expected(void **state)
{
    (void) state;
    int64_t value = 0;
    const int64_t five = 5;
    kin_list l = new_list();
    append(l, 1);
    append(l, 2);
    assert_int_equal(kin_list_increment(l, -1, 5, &value), 0);
    assert_int_equal(value, 7);
    assert_int_equal(kin_list_increment(l, 0, -3, NULL), 0);
    has(l, (const int64_t[]){-2, 7}, 2);
    assert_int_equal(kin_list_increment(l, 2, 1, &value), KIN_E_NOT_FOUND);
    assert_int_equal(kin_list_compare_set(l, 1, &five, 8, "text", 4), KIN_E_STATE);
    assert_int_equal(kin_list_compare_set(l, 2, &value, 8, "text", 4), KIN_E_NOT_FOUND);
    assert_int_equal(kin_list_compare_set(l, 1, &value, 8, "text", 4), 0);
    assert_int_equal(kin_list_increment(l, 1, 1, &value), KIN_E_STATE);
    assert_int_equal(kin_list_compare_set(l, 1, "text", 4, &five, 8), 0);
    has(l, (const int64_t[]){-2, 5}, 2);
    assert_int_equal(kin_list_destroy(l), 0);
}

static void several_come_in_at_once(void **state)
{
    (void) state;
    static unsigned char bytes[LARGE];
    static unsigned char got[LARGE];
    static const size_t sizes[] = {0, 8, 1000, 1001, 100, LARGE, 5000, 3};
    enum { SIZES = sizeof sizes / sizeof *sizes, TURNS = 5 };
    kin_buffer items[SIZES];
    kin_list l = new_list();
    for (size_t i = 0; i < LARGE; i++) {
        bytes[i] = (unsigned char) (i * 7 / 3);
    }
    for (size_t i = 0; i < SIZES; i++) {
        items[i] = (kin_buffer){bytes + i, sizes[i] - (sizes[i] == LARGE) * i};
    }
    assert_int_equal(kin_list_extend(l, NULL, 0), 0);
    for (int64_t turn = 0; turn < TURNS; turn++) {
        assert_int_equal(kin_list_extend(l, items, SIZES), 0);
        append(l, turn);
    }
    assert_int_equal(kin_list_length(l), TURNS * (SIZES + 1));
    for (int64_t turn = 0; turn < TURNS; turn++) {
        for (size_t i = 0; i < SIZES; i++) {
            size_t size = 0;
            assert_int_equal(kin_list_pop(l, 0, got, LARGE, &size), 0);
            assert_int_equal(size, items[i].size);
            assert_memory_equal(got, items[i].data, size);
        }
        assert_int_equal(pop(l, 0), turn);
    }
    items[SIZES - 1].data = NULL;
    assert_int_equal(kin_list_extend(l, items, SIZES), KIN_E_INVALID);
    assert_int_equal(kin_list_extend(l, NULL, 1), KIN_E_INVALID);
    assert_int_equal(kin_list_length(l), 0);
    assert_int_equal(kin_list_destroy(l), 0);
}

/* What a list of numbers ought to have. */
typedef struct model {
    int64_t numbers[MOST];
    size_t count;
} model;

static void model_insert(model *m, size_t index, int64_t number)
{
    memmove(&m->numbers[index + 1], &m->numbers[index], (m->count - index) * sizeof number);
    m->numbers[index] = number;
    m->count++;
}

static void model_remove(model *m, size_t index)
{
    m->count--;
    memmove(&m->numbers[index], &m->numbers[index + 1], (m->count - index) * sizeof *m->numbers);
}

static void step(kin_list l, model *m, uint64_t *seed, int64_t number)
{
    size_t index = m->count > 0 ? next_random(seed) % m->count : 0;
    uint32_t what = next_random(seed) % 8;
    if (m->count == 0 || (what < 4 && m->count < MOST)) {
        index = what == 0 ? m->count : what == 1 ? 0 : index;
        assert_int_equal(kin_list_insert(l, (int64_t) index, &number, sizeof number), 0);
        model_insert(m, index, number);
    } else if (what < 7) {
        index = what == 4 ? m->count - 1 : what == 5 ? 0 : index;
        assert_int_equal(pop(l, (int64_t) index - (index % 2 != 0 ? (int64_t) m->count : 0)),
                         m->numbers[index]);
        model_remove(m, index);
    } else {
        assert_int_equal(kin_list_set(l, (int64_t) index, &number, sizeof number), 0);
        m->numbers[index] = number;
    }
}

static void it_is_a_list_whatever_is_done_with_it(void **state)
{
    (void) state;
    static model m;
    uint64_t seed = 5;
    kin_list l = new_list();
    for (int64_t i = 0; i < STEPS; i++) {
        step(l, &m, &seed, i);
        if (i % 500 == 0) {
            has(l, m.numbers, (int64_t) m.count);
        }
        if (i % 15000 == 14999) {
            assert_int_equal(kin_list_clear(l), 0);
            m.count = 0;
        }
    }
    assert_int_equal(kin_list_destroy(l), 0);
}

/* The next number; -1 at the end. */
static int64_t next(kin_list l, kin_list_cursor *cursor)
{
    int64_t number = 0;
    int status = kin_list_next(l, cursor, &number, sizeof number, NULL);
    assert_true(status == 0 || status == KIN_E_NOT_FOUND);
    return status == 0 ? number : -1;
}

static void one_goes_through_it_in_order(void **state)
{
    (void) state;
    char small[4];
    size_t size = 0;
    kin_list l = new_list();
    kin_list_cursor cursor = {0};
    assert_int_equal(next(l, &cursor), -1);
    for (int64_t i = 0; i < 50; i++) {
        append(l, i);
    }
    for (int64_t i = 0; i < 50; i++) {
        assert_int_equal(kin_list_next(l, &cursor, small, sizeof small, &size), KIN_E_TOO_SMALL);
        assert_int_equal(size, 8);
        assert_int_equal(next(l, &cursor), i);
    }
    assert_int_equal(next(l, &cursor), -1);
    append(l, 50);
    assert_int_equal(next(l, &cursor), 50);
    assert_int_equal(kin_list_clear(l), 0);
    assert_int_equal(next(l, &cursor), -1);
    append(l, 51);
    assert_int_equal(next(l, &cursor), 51);
    assert_int_equal(kin_list_next(l, NULL, NULL, 0, NULL), KIN_E_INVALID);
    assert_int_equal(kin_list_destroy(l), 0);
}

/* Numbers below STAY stay; others come and go at any place between two steps. */
static void what_is_there_all_the_time_is_met_once(void **state)
{
    (void) state;
    enum { STAY = 100 };
    uint64_t seed = 23;
    for (int turn = 0; turn < 40; turn++) {
        kin_list l = new_list();
        kin_list_cursor cursor = {0};
        int64_t expected = 0;
        int64_t other = STAY;
        int64_t number;
        for (int64_t i = 0; i < STAY; i++) {
            append(l, i);
        }
        while ((number = next(l, &cursor)) >= 0) {
            if (number < STAY) {
                assert_int_equal(number, expected); /* and they stay in order */
                expected++;
            }
            for (uint32_t i = next_random(&seed) % 20; i > 0 && other < 3000; i--) {
                int64_t index = next_random(&seed) % (uint32_t) (kin_list_length(l) + 1);
                if (next_random(&seed) % 2 == 0) {
                    assert_int_equal(kin_list_insert(l, index, &other, sizeof other), 0);
                    other++;
                } else if (index < kin_list_length(l) && at(l, index) >= STAY) {
                    assert_int_equal(kin_list_delete(l, index), 0);
                }
            }
        }
        assert_int_equal(expected, STAY);
        assert_int_equal(kin_list_destroy(l), 0);
    }
}

static void a_cursor_says_when_it_is_lost(void **state)
{
    (void) state;
    int64_t number = 100;
    kin_list l = new_list();
    kin_list_cursor cursor = {0};
    for (int64_t i = 0; i < 10; i++) {
        append(l, i);
    }
    assert_int_equal(next(l, &cursor), 0);
    for (int i = 0; i < 1000; i++) { /* at the ends nothing moves */
        append(l, 5);
        assert_int_equal(kin_list_insert(l, 0, &number, sizeof number), 0);
    }
    assert_int_equal(next(l, &cursor), 1);
    for (int i = 0; i < 33; i++) {
        assert_int_equal(kin_list_insert(l, 5, &number, sizeof number), 0);
    }
    assert_int_equal(kin_list_next(l, &cursor, &number, sizeof number, NULL), KIN_E_STATE);
    cursor = (kin_list_cursor){0};
    assert_int_equal(next(l, &cursor), 100);
    assert_int_equal(kin_list_destroy(l), 0);
}

static void memory_comes_back(void **state)
{
    (void) state;
    static const unsigned char bytes[5000];
    kin_arena_usage before;
    kin_arena_usage full;
    kin_arena_usage after;
    kin_list l = new_list();
    assert_int_equal(kin_arena_read_usage(&before), 0);
    for (size_t i = 0; i < 3000; i++) {
        assert_int_equal(kin_list_append(l, bytes, i % 10 == 0 ? 5000 : i % 200), 0);
    }
    assert_int_equal(kin_arena_read_usage(&full), 0);
    for (size_t i = 0; i < 15000; i++) {
        assert_int_equal(kin_list_delete(l, 0), 0);
        assert_int_equal(kin_list_append(l, bytes, i % 10 == 0 ? 5000 : i % 200), 0);
    }
    assert_int_equal(kin_arena_read_usage(&after), 0);
    assert_true(after.blocks <= full.blocks + 2);
    assert_int_equal(kin_list_clear(l), 0);
    assert_int_equal(kin_arena_read_usage(&after), 0);
    assert_int_equal(after.blocks, before.blocks);
    append(l, 1);
    assert_int_equal(kin_list_destroy(l), 0);
}

static void no_call_takes_a_handle_that_is_none(kin_list l)
{
    static const char large[3000];
    kin_list_cursor cursor = {0};
    char byte = 0;
    kin_buffer item = {&byte, 1};
    assert_int_equal(kin_list_append(l, "a", 1), KIN_E_HANDLE);
    assert_int_equal(kin_list_append(l, large, sizeof large), KIN_E_HANDLE);
    assert_int_equal(kin_list_insert(l, 0, "a", 1), KIN_E_HANDLE);
    assert_int_equal(kin_list_extend(l, &item, 1), KIN_E_HANDLE);
    assert_int_equal(kin_list_get(l, 0, &byte, 1, NULL), KIN_E_HANDLE);
    assert_int_equal(kin_list_pop(l, 0, &byte, 1, NULL), KIN_E_HANDLE);
    assert_int_equal(kin_list_set(l, 0, "a", 1), KIN_E_HANDLE);
    assert_int_equal(kin_list_delete(l, 0), KIN_E_HANDLE);
    assert_int_equal(kin_list_remove(l, "a", 1), KIN_E_HANDLE);
    assert_int_equal(kin_list_find(l, "a", 1, 0), KIN_E_HANDLE);
    assert_int_equal(kin_list_increment(l, 0, 1, NULL), KIN_E_HANDLE);
    assert_int_equal(kin_list_compare_set(l, 0, "a", 1, "b", 1), KIN_E_HANDLE);
    assert_int_equal(kin_list_length(l), KIN_E_HANDLE);
    assert_int_equal(kin_list_next(l, &cursor, &byte, 1, NULL), KIN_E_HANDLE);
    assert_int_equal(kin_list_clear(l), KIN_E_HANDLE);
    assert_int_equal(kin_list_destroy(l), KIN_E_HANDLE);
}

static void bad_handles_and_arguments_are_told(void **state)
{
    (void) state;
    kin_dict dict;
    const kin_list_options long_name = {.name = "01234567890123456789012345678901"};
    const kin_list_options too_many = {.expected = UINT64_MAX};
    kin_list l = new_list();
    append(l, 1);
    assert_int_equal(kin_list_append(l, NULL, 1), KIN_E_INVALID);
    assert_int_equal(kin_list_append(l, "a", SIZE_MAX), KIN_E_NOMEM);
    assert_int_equal(kin_list_set(l, 0, NULL, 1), KIN_E_INVALID);
    assert_int_equal(kin_list_get(l, 0, NULL, 1, NULL), KIN_E_INVALID);
    assert_int_equal(kin_list_pop(l, 0, NULL, 1, NULL), KIN_E_INVALID);
    assert_int_equal(kin_list_find(l, NULL, 1, 0), KIN_E_INVALID);
    assert_int_equal(kin_list_remove(l, NULL, 1), KIN_E_INVALID);
    assert_int_equal(kin_list_compare_set(l, 0, NULL, 1, "a", 1), KIN_E_INVALID);
    assert_int_equal(kin_list_extend(l, &(kin_buffer){"", 1}, SIZE_MAX / 2), KIN_E_NOMEM);
    assert_int_equal(kin_list_destroy(l), 0);
    no_call_takes_a_handle_that_is_none(l);
    kin_list other = new_list();
    no_call_takes_a_handle_that_is_none(l); /* the other has its entry */
    assert_int_equal(kin_list_destroy(other), 0);
    assert_int_equal(kin_dict_create(&dict, NULL), 0);
    const uint64_t forged[] = {0, 1, UINT64_MAX, dict.id, kin_current_process().id};
    for (size_t i = 0; i < sizeof forged / sizeof *forged; i++) {
        no_call_takes_a_handle_that_is_none((kin_list){forged[i]});
    }
    assert_int_equal(kin_dict_destroy(dict), 0);
    assert_int_equal(kin_list_create(NULL, NULL), KIN_E_INVALID);
    assert_int_equal(kin_list_create(&l, &long_name), KIN_E_INVALID);
    assert_int_equal(kin_list_create(&l, &too_many), KIN_E_NOMEM);
}

static int without_a_family(int argc, char **argv)
{
    const kin_list l = {1};
    kin_list made;
    (void) argc, (void) argv;
    CHECK(kin_list_create(&made, NULL) == KIN_E_INIT);
    CHECK(kin_list_append(l, "a", 1) == KIN_E_INIT);
    CHECK(kin_list_extend(l, NULL, 0) == KIN_E_INIT);
    CHECK(kin_list_length(l) == KIN_E_INIT);
    CHECK(kin_list_clear(l) == KIN_E_INIT);
    CHECK(kin_list_destroy(l) == KIN_E_INIT);
    return 0;
}

/* Fills a small arena, and goes on with what fits. */
static int in_a_full_arena(int argc, char **argv)
{
    static unsigned char element[20000];
    const kin_options options = {.arena_size = UINT64_C(4) << 20};
    const kin_buffer many[] = {
        {element, 100}, {element, 20000}, {element, 20000}, {element, 20000}};
    kin_list l;
    kin_arena_usage before;
    kin_arena_usage after;
    const char *broken;
    CHECK(kin_init_with(&argc, &argv, &options) == 0);
    CHECK(kin_arena_read_usage(&before) == 0);
    CHECK(kin_list_create(&l, NULL) == 0);
    int64_t done = 0;
    while (kin_list_extend(l, many, 4) == 0) {
        done += 4;
    }
    CHECK(kin_list_length(l) == done);
    CHECK(arena_check(&broken) == 0);
    while (kin_list_insert(l, done / 2, element, 100) == 0) {
        done++;
    }
    CHECK(kin_list_length(l) == done);
    for (int64_t i = 0; i < done; i++) {
        size_t size = 0;
        CHECK(kin_list_get(l, i, element, sizeof element, &size) == 0);
        CHECK(size == 100 || size == 20000);
    }
    CHECK(kin_list_delete(l, 1) == 0); /* a large one */
    CHECK(kin_list_append(l, element, 100) == 0 || kin_list_length(l) == done - 1);
    CHECK(kin_list_clear(l) == 0);
    CHECK(kin_list_append(l, element, sizeof element) == 0);
    CHECK(kin_list_destroy(l) == 0);
    CHECK(arena_check(&broken) == 0);
    CHECK(kin_arena_read_usage(&after) == 0);
    CHECK(after.blocks == before.blocks);
    return 0;
}

static const test_mode modes[] = {{"without a family", without_a_family},
                                  {"in a full arena", in_a_full_arena}};

static void nothing_goes_without_a_family(void **state)
{
    (void) state;
    assert_int_equal(run_mode("without a family"), 0);
}

static void a_full_arena_is_told_and_nothing_is_lost(void **state)
{
    (void) state;
    assert_int_equal(run_mode("in a full arena"), 0);
}

int main(int argc, char **argv)
{
    const test_mode *mode = find_mode(modes, sizeof modes / sizeof *modes);
    if (mode != NULL) {
        return mode->run(argc, argv);
    }
    if (kin_init(&argc, &argv) < 0) {
        return CHILD_FAILED;
    }
    const struct CMUnitTest tests[] = {
        CLEAN_TEST(elements_are_where_they_were_put),
        CLEAN_TEST(what_does_not_fit_stays),
        CLEAN_TEST(elements_are_found_by_their_bytes),
        CLEAN_TEST(numbers_are_added_to_and_replaced_if_expected),
        CLEAN_TEST(several_come_in_at_once),
        CLEAN_TEST(it_is_a_list_whatever_is_done_with_it),
        CLEAN_TEST(one_goes_through_it_in_order),
        CLEAN_TEST(what_is_there_all_the_time_is_met_once),
        CLEAN_TEST(a_cursor_says_when_it_is_lost),
        CLEAN_TEST(memory_comes_back),
        CLEAN_TEST(bad_handles_and_arguments_are_told),
        CLEAN_TEST(nothing_goes_without_a_family),
        CLEAN_TEST(a_full_arena_is_told_and_nothing_is_lost),
    };
    return cmocka_run_group_tests(tests, warm_up, NULL);
}
