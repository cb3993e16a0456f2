/* kin/dict.h: dictionaries in one process; what several do with one at a time is in
   test_tables_shared.c. */
#include "support.h"

#include <string.h>

enum { LARGE = 100000, KEYS = 700, STEPS = 60000 };

static kin_dict new_dict(void)
{
    kin_dict d;
    assert_int_equal(kin_dict_create(&d, NULL), 0);
    return d;
}

static void set(kin_dict d, const char *key, const char *value)
{
    assert_int_equal(kin_dict_set(d, key, strlen(key), value, strlen(value)), 0);
}

static void has_value(kin_dict d, const char *key, const char *expected)
{
    char value[64];
    size_t size = 0;
    assert_int_equal(kin_dict_get(d, key, strlen(key), value, sizeof value, &size), 0);
    assert_int_equal(size, strlen(expected));
    assert_memory_equal(value, expected, size);
    assert_int_equal(kin_dict_has(d, key, strlen(key)), 1);
}

static void lacks(kin_dict d, const char *key)
{
    assert_int_equal(kin_dict_has(d, key, strlen(key)), 0);
    assert_int_equal(kin_dict_get(d, key, strlen(key), NULL, 0, NULL), KIN_E_NOT_FOUND);
}

static void a_key_has_the_value_that_was_set_last(void **state)
{
    (void) state;
    const kin_dict_options options = {.name = "words", .expected = 100};
    const kin_dict_options *const kinds[] = {NULL, &options};
    for (int i = 0; i < 2; i++) {
        kin_dict d;
        assert_int_equal(kin_dict_create(&d, kinds[i]), 0);
        lacks(d, "a");
        set(d, "a", "one");
        set(d, "b", "two");
        set(d, "a", "three and more");
        set(d, "", "nothing is a key, too");
        has_value(d, "a", "three and more");
        has_value(d, "b", "two");
        has_value(d, "", "nothing is a key, too");
        set(d, "b", "");
        has_value(d, "b", "");
        assert_int_equal(kin_dict_length(d), 3);
        assert_int_equal(kin_dict_remove(d, "b", 1), 0);
        assert_int_equal(kin_dict_remove(d, "b", 1), KIN_E_NOT_FOUND);
        lacks(d, "b");
        assert_int_equal(kin_dict_length(d), 2);
        assert_int_equal(kin_dict_destroy(d), 0);
    }
}

static void only_an_absent_key_is_set_anew(void **state)
{
    (void) state;
    char value[8];
    kin_dict d = new_dict();
    kin_buffer present = {value, 2};
    assert_int_equal(kin_dict_set_new(d, "a", 1, "one", 3), 0);
    assert_int_equal(kin_dict_set_new(d, "a", 1, "two", 3), KIN_E_EXISTS);
    has_value(d, "a", "one");
    assert_int_equal(kin_dict_set_default(d, "a", 1, "two", 3, &present), KIN_E_TOO_SMALL);
    assert_int_equal(present.size, 3);
    assert_int_equal(kin_dict_set_default(d, "a", 1, "two", 3, &present), 0);
    assert_memory_equal(value, "one", 3);
    present.size = 2;
    assert_int_equal(kin_dict_set_default(d, "b", 1, "four", 4, &present), KIN_E_TOO_SMALL);
    assert_int_equal(present.size, 4);
    lacks(d, "b");
    assert_int_equal(kin_dict_set_default(d, "b", 1, "four", 4, &present), 0);
    assert_int_equal(present.size, 4);
    assert_memory_equal(value, "four", 4);
    assert_int_equal(kin_dict_set_default(d, "c", 1, "five", 4, NULL), 0);
    assert_int_equal(kin_dict_set_default(d, "c", 1, "six", 3, NULL), 0);
    has_value(d, "c", "five");
    assert_int_equal(kin_dict_destroy(d), 0);
}

static void what_does_not_fit_stays(void **state)
{
    (void) state;
    char value[8];
    size_t size = 0;
    kin_dict d = new_dict();
    set(d, "a", "value");
    assert_int_equal(kin_dict_get(d, "a", 1, value, 4, &size), KIN_E_TOO_SMALL);
    assert_int_equal(size, 5);
    size = 0;
    assert_int_equal(kin_dict_pop(d, "a", 1, value, 4, &size), KIN_E_TOO_SMALL);
    assert_int_equal(size, 5);
    assert_int_equal(kin_dict_pop(d, "a", 1, NULL, 0, NULL), KIN_E_TOO_SMALL);
    has_value(d, "a", "value");
    assert_int_equal(kin_dict_pop(d, "a", 1, value, 5, NULL), 0);
    assert_memory_equal(value, "value", 5);
    assert_int_equal(kin_dict_pop(d, "a", 1, value, 5, NULL), KIN_E_NOT_FOUND);
    assert_int_equal(kin_dict_length(d), 0);
    assert_int_equal(kin_dict_destroy(d), 0);
}

static void a_value_is_replaced_only_if_it_is_the_expected_one(void **state)
{
    (void) state;
    kin_dict d = new_dict();
    assert_int_equal(kin_dict_compare_set(d, "a", 1, "one", 3, "two", 3), KIN_E_NOT_FOUND);
    assert_int_equal(kin_dict_compare_set(d, "a", 1, NULL, 0, NULL, 0), 0);
    assert_int_equal(kin_dict_compare_set(d, "a", 1, NULL, 0, "one", 3), 0);
    assert_int_equal(kin_dict_compare_set(d, "a", 1, NULL, 0, "two", 3), KIN_E_EXISTS);
    assert_int_equal(kin_dict_compare_set(d, "a", 1, "on", 2, "two", 3), KIN_E_STATE);
    assert_int_equal(kin_dict_compare_set(d, "a", 1, "ono", 3, "two", 3), KIN_E_STATE);
    has_value(d, "a", "one");
    assert_int_equal(kin_dict_compare_set(d, "a", 1, "one", 3, "", 0), 0);
    has_value(d, "a", "");
    assert_int_equal(kin_dict_compare_set(d, "a", 1, "one", 3, NULL, 0), KIN_E_STATE);
    assert_int_equal(kin_dict_compare_set(d, "a", 1, "", 0, NULL, 0), 0);
    lacks(d, "a");
    assert_int_equal(kin_dict_destroy(d), 0);
}

static void numbers_are_added_to(void **state)
{
    (void) state;
    static const char long_key[3000] = "k";
    int64_t value = 0;
    kin_dict d = new_dict();
    assert_int_equal(kin_dict_increment(d, "n", 1, 5, &value), 0);
    assert_int_equal(value, 5);
    assert_int_equal(kin_dict_increment(d, "n", 1, -7, &value), 0);
    assert_int_equal(value, -2);
    assert_int_equal(kin_dict_increment(d, "n", 1, 1, NULL), 0);
    assert_int_equal(kin_dict_get(d, "n", 1, &value, sizeof value, NULL), 0);
    assert_int_equal(value, -1);
    value = INT64_MAX;
    assert_int_equal(kin_dict_set(d, "n", 1, &value, sizeof value), 0);
    assert_int_equal(kin_dict_increment(d, "n", 1, 1, &value), 0);
    assert_true(value == INT64_MIN);
    set(d, "s", "text");
    assert_int_equal(kin_dict_increment(d, "s", 1, 1, &value), KIN_E_STATE);
    has_value(d, "s", "text");
    for (int64_t i = 1; i <= 3; i++) {
        assert_int_equal(kin_dict_increment(d, long_key, sizeof long_key, 1, &value), 0);
        assert_int_equal(value, i);
    }
    assert_int_equal(kin_dict_destroy(d), 0);
}

static void keys_and_values_have_any_size(void **state)
{
    (void) state;
    static unsigned char bytes[LARGE];
    static unsigned char got[LARGE];
    static const size_t sizes[] = {0, 1, 7, 8, 64, 500, 991, 1000, 1001, 1024, 6000, 8192, LARGE};
    enum { SIZES = sizeof sizes / sizeof *sizes };
    kin_dict d = new_dict();
    uint64_t seed = 7;
    for (size_t i = 0; i < LARGE; i++) {
        bytes[i] = (unsigned char) next_random(&seed);
    }
    for (int turn = 0; turn < 3; turn++) {
        for (size_t k = 0; k < SIZES; k++) {
            size_t value_size = sizes[(k + (size_t) turn * 5) % SIZES];
            assert_int_equal(kin_dict_set(d, bytes, sizes[k], bytes + turn,
                                          value_size - (value_size == LARGE) * (size_t) turn),
                             0);
        }
        for (size_t k = 0; k < SIZES; k++) {
            size_t value_size = sizes[(k + (size_t) turn * 5) % SIZES];
            size_t size = 0;
            value_size -= (value_size == LARGE) * (size_t) turn;
            assert_int_equal(kin_dict_get(d, bytes, sizes[k], got, LARGE, &size), 0);
            assert_int_equal(size, value_size);
            assert_memory_equal(got, bytes + turn, size);
        }
    }
    assert_int_equal(kin_dict_length(d), SIZES);
    for (size_t k = 0; k < SIZES; k++) {
        assert_int_equal(kin_dict_pop(d, bytes, sizes[k], got, LARGE, NULL), 0);
    }
    assert_int_equal(kin_dict_length(d), 0);
    assert_int_equal(kin_dict_destroy(d), 0);
}

/* What a dictionary of numbers ought to have. */
typedef struct model {
    bool there[KEYS];
    uint32_t values[KEYS];
    uint64_t count;
} model;

static void step(kin_dict d, model *m, uint64_t *seed)
{
    unsigned char value[2048] = {0};
    uint32_t key = next_random(seed) % KEYS;
    uint32_t number = next_random(seed);
    size_t size = number % 64 == 0 ? 1500 : 4 + number % 100;
    size_t got = 0;
    memcpy(value, &number, sizeof number);
    switch (next_random(seed) % 5) {
    case 0:
    case 1:
        assert_int_equal(kin_dict_set(d, &key, sizeof key, value, size), 0);
        m->count += !m->there[key];
        m->there[key] = true;
        m->values[key] = number;
        break;
    case 2:
        assert_int_equal(kin_dict_remove(d, &key, sizeof key), m->there[key] ? 0 : KIN_E_NOT_FOUND);
        m->count -= m->there[key];
        m->there[key] = false;
        break;
    default:
        assert_int_equal(kin_dict_get(d, &key, sizeof key, value, sizeof value, &got),
                         m->there[key] ? 0 : KIN_E_NOT_FOUND);
        if (m->there[key]) {
            memcpy(&number, value, sizeof number);
            assert_int_equal(number, m->values[key]);
            assert_int_equal(got, number % 64 == 0 ? 1500 : 4 + number % 100);
        }
    }
}

static void it_has_what_was_put_in_and_not_taken_out(void **state)
{
    (void) state;
    static model m;
    uint64_t seed = 3;
    kin_dict d = new_dict();
    memset(&m, 0, sizeof m);
    for (int i = 0; i < STEPS; i++) {
        step(d, &m, &seed);
        if (i % 1000 == 0) {
            assert_int_equal(kin_dict_length(d), m.count);
        }
        if (i % 25000 == 24999) {
            assert_int_equal(kin_dict_clear(d), 0);
            memset(&m, 0, sizeof m);
        }
    }
    assert_int_equal(kin_dict_destroy(d), 0);
}

static void several_are_set_one_after_the_other(void **state)
{
    (void) state;
    kin_dict d = new_dict();
    const kin_dict_item items[] = {{"a", 1, "one", 3}, {"b", 1, "two", 3}, {"a", 1, "three", 5}};
    const kin_dict_item bad[] = {{"c", 1, "one", 3}, {NULL, 1, "two", 3}, {"d", 1, "three", 5}};
    assert_int_equal(kin_dict_update(d, items, 3), 0);
    has_value(d, "a", "three");
    has_value(d, "b", "two");
    assert_int_equal(kin_dict_update(d, NULL, 0), 0);
    assert_int_equal(kin_dict_update(d, NULL, 1), KIN_E_INVALID);
    assert_int_equal(kin_dict_update(d, bad, 3), KIN_E_INVALID);
    has_value(d, "c", "one");
    lacks(d, "d");
    assert_int_equal(kin_dict_destroy(d), 0);
}

/* The next key, which is a number; -1 at the end. */
static int64_t next_key(kin_dict d, kin_dict_cursor *cursor)
{
    int64_t key = 0;
    kin_buffer buffer = {&key, sizeof key};
    int status = kin_dict_next(d, cursor, &buffer, NULL);
    assert_true(status == 0 || status == KIN_E_NOT_FOUND);
    return status == 0 ? key : -1;
}

static void set_number(kin_dict d, int64_t key)
{
    assert_int_equal(kin_dict_set(d, &key, sizeof key, &key, sizeof key), 0);
}

static void remove_number(kin_dict d, int64_t key)
{
    assert_int_equal(kin_dict_remove(d, &key, sizeof key), 0);
}

static void one_goes_through_it_in_the_order_of_its_keys(void **state)
{
    (void) state;
    kin_dict d = new_dict();
    kin_dict_cursor cursor = {0};
    assert_int_equal(next_key(d, &cursor), -1);
    for (int64_t i = 0; i < 100; i++) {
        set_number(d, i);
    }
    set_number(d, 3); /* stays where it is */
    remove_number(d, 4);
    set_number(d, 4); /* comes last */
    for (int64_t i = 0; i < 100; i++) {
        if (i != 4) {
            assert_int_equal(next_key(d, &cursor), i);
        }
    }
    assert_int_equal(next_key(d, &cursor), 4);
    assert_int_equal(next_key(d, &cursor), -1);
    set_number(d, 200);
    assert_int_equal(next_key(d, &cursor), 200);
    assert_int_equal(kin_dict_destroy(d), 0);
}

static void what_is_there_all_the_time_is_met_once(void **state)
{
    (void) state;
    enum { STAY = 200 };
    int met[STAY] = {0};
    uint64_t seed = 11;
    kin_dict d = new_dict();
    kin_dict_cursor cursor = {0};
    for (int64_t i = 0; i < STAY; i++) {
        set_number(d, i);
        set_number(d, 1000 + i);
    }
    /* The table is replaced again and again, and empty entries go. */
    for (int64_t key, other = 10000; (key = next_key(d, &cursor)) >= 0; other++) {
        int64_t gone = 1000 + next_random(&seed) % STAY;
        if (key < STAY) {
            met[key]++;
        }
        (void) kin_dict_remove(d, &gone, sizeof gone);
        if (other < 12000) {
            set_number(d, other);
        }
        if (other % 3 != 0) {
            (void) kin_dict_remove(d, &other, sizeof other);
        }
        set_number(d, next_random(&seed) % STAY);
    }
    for (int i = 0; i < STAY; i++) {
        assert_int_equal(met[i], 1);
    }
    assert_int_equal(kin_dict_clear(d), 0);
    assert_int_equal(next_key(d, &cursor), -1);
    set_number(d, 5);
    assert_int_equal(next_key(d, &cursor), 5);
    assert_int_equal(kin_dict_destroy(d), 0);
}

static void a_step_that_does_not_fit_is_not_made(void **state)
{
    (void) state;
    char key[8];
    char value[8];
    kin_dict d = new_dict();
    kin_dict_cursor cursor = {0};
    kin_buffer k = {key, 2};
    kin_buffer v = {value, sizeof value};
    set(d, "abc", "1234");
    assert_int_equal(kin_dict_next(d, &cursor, &k, &v), KIN_E_TOO_SMALL);
    assert_int_equal(k.size, 3);
    assert_int_equal(v.size, 4);
    v.size = 3;
    assert_int_equal(kin_dict_next(d, &cursor, &k, &v), KIN_E_TOO_SMALL);
    assert_int_equal(kin_dict_next(d, &cursor, &k, &v), 0);
    assert_memory_equal(key, "abc", 3);
    assert_memory_equal(value, "1234", 4);
    assert_int_equal(kin_dict_next(d, &cursor, &k, &v), KIN_E_NOT_FOUND);
    cursor = (kin_dict_cursor){.place = UINT64_MAX};
    assert_int_equal(kin_dict_next(d, &cursor, NULL, NULL), 0);
    assert_int_equal(kin_dict_next(d, NULL, NULL, NULL), KIN_E_INVALID);
    assert_int_equal(kin_dict_destroy(d), 0);
}

static void memory_comes_back(void **state)
{
    (void) state;
    static const unsigned char bytes[5000];
    kin_arena_usage before;
    kin_arena_usage full;
    kin_arena_usage after;
    kin_dict d = new_dict();
    assert_int_equal(kin_arena_read_usage(&before), 0);
    for (int64_t i = 0; i < 3000; i++) {
        assert_int_equal(
            kin_dict_set(d, &i, sizeof i, bytes, i % 10 == 0 ? 5000 : (size_t) i % 200), 0);
    }
    assert_int_equal(kin_arena_read_usage(&full), 0);
    /* What is replaced is used again. */
    for (int turn = 0; turn < 5; turn++) {
        for (int64_t i = 0; i < 3000; i++) {
            assert_int_equal(
                kin_dict_set(d, &i, sizeof i, bytes, i % 10 == 0 ? 5000 : (size_t) i % 200), 0);
        }
    }
    assert_int_equal(kin_arena_read_usage(&after), 0);
    assert_true(after.blocks <= full.blocks + 4);
    assert_int_equal(kin_dict_clear(d), 0);
    assert_int_equal(kin_dict_length(d), 0);
    assert_int_equal(kin_arena_read_usage(&after), 0);
    assert_int_equal(after.blocks, before.blocks);
    assert_int_equal(kin_dict_destroy(d), 0);
}

static void no_call_takes_a_handle_that_is_none(kin_dict d)
{
    kin_dict_cursor cursor = {0};
    char byte = 0;
    static const char large[3000];
    const kin_dict_item item = {"a", 1, "b", 1};
    assert_int_equal(kin_dict_set(d, "a", 1, "b", 1), KIN_E_HANDLE);
    assert_int_equal(kin_dict_set(d, "a", 1, large, sizeof large), KIN_E_HANDLE);
    assert_int_equal(kin_dict_set_new(d, "a", 1, "b", 1), KIN_E_HANDLE);
    assert_int_equal(kin_dict_set_default(d, "a", 1, "b", 1, NULL), KIN_E_HANDLE);
    assert_int_equal(kin_dict_update(d, &item, 1), KIN_E_HANDLE);
    assert_int_equal(kin_dict_get(d, "a", 1, &byte, 1, NULL), KIN_E_HANDLE);
    assert_int_equal(kin_dict_pop(d, "a", 1, &byte, 1, NULL), KIN_E_HANDLE);
    assert_int_equal(kin_dict_has(d, "a", 1), KIN_E_HANDLE);
    assert_int_equal(kin_dict_remove(d, "a", 1), KIN_E_HANDLE);
    assert_int_equal(kin_dict_increment(d, "a", 1, 1, NULL), KIN_E_HANDLE);
    assert_int_equal(kin_dict_compare_set(d, "a", 1, NULL, 0, "b", 1), KIN_E_HANDLE);
    assert_int_equal(kin_dict_length(d), KIN_E_HANDLE);
    assert_int_equal(kin_dict_next(d, &cursor, NULL, NULL), KIN_E_HANDLE);
    assert_int_equal(kin_dict_clear(d), KIN_E_HANDLE);
    assert_int_equal(kin_dict_destroy(d), KIN_E_HANDLE);
}

static void bad_handles_are_told(void **state)
{
    (void) state;
    kin_list list;
    kin_dict d = new_dict();
    set(d, "a", "one");
    assert_int_equal(kin_dict_destroy(d), 0);
    no_call_takes_a_handle_that_is_none(d);
    kin_dict other = new_dict(); /* has its entry */
    no_call_takes_a_handle_that_is_none(d);
    assert_int_equal(kin_dict_destroy(other), 0);
    assert_int_equal(kin_list_create(&list, NULL), 0);
    const uint64_t forged[] = {0, 1, UINT64_MAX, list.id, kin_current_process().id};
    for (size_t i = 0; i < sizeof forged / sizeof *forged; i++) {
        no_call_takes_a_handle_that_is_none((kin_dict){forged[i]});
    }
    assert_int_equal(kin_list_destroy(list), 0);
}

static void bad_arguments_are_told(void **state)
{
    (void) state;
    kin_dict d;
    kin_buffer bad = {NULL, 1};
    kin_dict_cursor cursor = {0};
    const kin_dict_options long_name = {.name = "01234567890123456789012345678901"};
    const kin_dict_options too_many = {.expected = UINT64_MAX};
    assert_int_equal(kin_dict_create(NULL, NULL), KIN_E_INVALID);
    assert_int_equal(kin_dict_create(&d, &long_name), KIN_E_INVALID);
    assert_int_equal(kin_dict_create(&d, &too_many), KIN_E_NOMEM);
    d = new_dict();
    assert_int_equal(kin_dict_set(d, NULL, 1, "b", 1), KIN_E_INVALID);
    assert_int_equal(kin_dict_set(d, "a", 1, NULL, 1), KIN_E_INVALID);
    assert_int_equal(kin_dict_set(d, "a", SIZE_MAX, "b", 1), KIN_E_NOMEM);
    assert_int_equal(kin_dict_set(d, "a", 1, "b", SIZE_MAX), KIN_E_NOMEM);
    assert_int_equal(kin_dict_set_new(d, NULL, 1, "b", 1), KIN_E_INVALID);
    assert_int_equal(kin_dict_set_default(d, "a", 1, "b", 1, &bad), KIN_E_INVALID);
    assert_int_equal(kin_dict_get(d, NULL, 1, NULL, 0, NULL), KIN_E_INVALID);
    assert_int_equal(kin_dict_get(d, "a", 1, NULL, 1, NULL), KIN_E_INVALID);
    assert_int_equal(kin_dict_pop(d, "a", 1, NULL, 1, NULL), KIN_E_INVALID);
    assert_int_equal(kin_dict_has(d, NULL, 1), KIN_E_INVALID);
    assert_int_equal(kin_dict_remove(d, NULL, 1), KIN_E_INVALID);
    assert_int_equal(kin_dict_increment(d, NULL, 1, 1, NULL), KIN_E_INVALID);
    assert_int_equal(kin_dict_compare_set(d, "a", 1, NULL, 1, "b", 1), KIN_E_INVALID);
    assert_int_equal(kin_dict_compare_set(d, "a", 1, NULL, 0, NULL, 1), KIN_E_INVALID);
    assert_int_equal(kin_dict_next(d, &cursor, &bad, NULL), KIN_E_INVALID);
    assert_int_equal(kin_dict_next(d, &cursor, NULL, &bad), KIN_E_INVALID);
    assert_int_equal(kin_dict_length(d), 0);
    assert_int_equal(kin_dict_destroy(d), 0);
}

static int without_a_family(int argc, char **argv)
{
    const kin_dict d = {1};
    (void) argc, (void) argv;
    kin_dict made;
    CHECK(kin_dict_create(&made, NULL) == KIN_E_INIT);
    CHECK(kin_dict_set(d, "a", 1, "b", 1) == KIN_E_INIT);
    CHECK(kin_dict_has(d, "a", 1) == KIN_E_INIT);
    CHECK(kin_dict_length(d) == KIN_E_INIT);
    CHECK(kin_dict_clear(d) == KIN_E_INIT);
    CHECK(kin_dict_destroy(d) == KIN_E_INIT);
    return 0;
}

/* Fills a small arena, and goes on with what fits. */
static int in_a_full_arena(int argc, char **argv)
{
    static unsigned char value[20000];
    static unsigned char got[20000];
    const kin_options options = {.arena_size = UINT64_C(4) << 20};
    kin_dict d;
    int64_t key = 0;
    size_t size = 0;
    CHECK(kin_init_with(&argc, &argv, &options) == 0);
    CHECK(kin_dict_create(&d, NULL) == 0);
    int status;
    int64_t done = 0;
    while ((status = kin_dict_set(d, &done, sizeof done, value, done % 50 == 0 ? 20000 : 100)) ==
           0) {
        done++;
    }
    CHECK(status == KIN_E_NOMEM);
    while (kin_dict_set(d, &done, sizeof done, value, 100) == 0) {
        done++;
    }
    CHECK(kin_dict_length(d) == done);
    CHECK(kin_dict_set(d, &key, sizeof key, value, 20000 - 1) == KIN_E_NOMEM);
    for (key = 0; key < done; key++) {
        CHECK(kin_dict_get(d, &key, sizeof key, got, sizeof got, &size) == 0);
        CHECK(size == (key % 50 == 0 && size != 100 ? 20000 : 100));
        CHECK(memcmp(got, value, size) == 0);
    }
    for (key = 0; key < done; key += 2) {
        CHECK(kin_dict_remove(d, &key, sizeof key) == 0);
    }
    CHECK(kin_dict_set(d, "new", 3, value, 100) == 0);
    const char *broken;
    CHECK(kin_dict_destroy(d) == 0);
    CHECK(arena_check(&broken) == 0);
    CHECK(kin_dict_create(&d, NULL) == 0);
    for (key = 0; key < 100; key++) {
        CHECK(kin_dict_set(d, &key, sizeof key, value, sizeof value) == 0);
    }
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
        CLEAN_TEST(a_key_has_the_value_that_was_set_last),
        CLEAN_TEST(only_an_absent_key_is_set_anew),
        CLEAN_TEST(what_does_not_fit_stays),
        CLEAN_TEST(a_value_is_replaced_only_if_it_is_the_expected_one),
        CLEAN_TEST(numbers_are_added_to),
        CLEAN_TEST(keys_and_values_have_any_size),
        CLEAN_TEST(it_has_what_was_put_in_and_not_taken_out),
        CLEAN_TEST(several_are_set_one_after_the_other),
        CLEAN_TEST(one_goes_through_it_in_the_order_of_its_keys),
        CLEAN_TEST(what_is_there_all_the_time_is_met_once),
        CLEAN_TEST(a_step_that_does_not_fit_is_not_made),
        CLEAN_TEST(memory_comes_back),
        CLEAN_TEST(bad_handles_are_told),
        CLEAN_TEST(bad_arguments_are_told),
        CLEAN_TEST(nothing_goes_without_a_family),
        CLEAN_TEST(a_full_arena_is_told_and_nothing_is_lost),
    };
    return cmocka_run_group_tests(tests, warm_up, NULL);
}
