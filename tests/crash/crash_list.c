/* Deaths in everything that can be done with a list. */
#include "harness_tables.h"

#include <string.h>

static void append(kin_list list, size_t size)
{
    CRASH_REQUIRE(kin_list_append(list, tables_bytes() + size % 100, size) == 0);
}

/* ---- what there is before ---- */

static void has_some(const tables *t)
{
    static const size_t sizes[] = {8, 60, TABLES_MEDIUM, 100, TABLES_LARGE - 100, 8};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        append(t->list, sizes[i]);
    }
    append(t->list, 30);
    CRASH_REQUIRE(kin_list_delete(t->list, -1) == 0);
}

static void is_full(const tables *t)
{
    has_some(t);
    append(t->list, 20);
    append(t->list, 33);
}

/* The next one needs another chunk. */
static void has_full_chunk(const tables *t)
{
    for (int i = 0; i < 6; i++) {
        append(t->list, 290);
    }
}

/* ---- what is done ---- */

static void append_small(tables *t)
{
    append(t->list, 70);
}

static void append_medium(tables *t)
{
    append(t->list, TABLES_MEDIUM);
}

static void append_900(tables *t)
{
    append(t->list, 900);
}

static void insert_first(tables *t)
{
    CRASH_REQUIRE(kin_list_insert(t->list, 0, "new", 3) == 0);
}

static void insert_left(tables *t)
{
    CRASH_REQUIRE(kin_list_insert(t->list, 2, "new", 3) == 0);
}

static void insert_right(tables *t)
{
    CRASH_REQUIRE(kin_list_insert(t->list, -2, "new", 3) == 0);
}

static void insert_large(tables *t)
{
    CRASH_REQUIRE(kin_list_insert(t->list, 3, tables_bytes(), TABLES_LARGE) == 0);
}

static void extend(tables *t)
{
    const kin_buffer items[] = {{(void *) (uintptr_t) "a", 1},
                                {(void *) (uintptr_t) tables_bytes(), TABLES_MEDIUM},
                                {NULL, 0},
                                {(void *) (uintptr_t) tables_bytes(), TABLES_LARGE},
                                {(void *) (uintptr_t) tables_bytes(), 100}};
    CRASH_REQUIRE(kin_list_extend(t->list, items, sizeof items / sizeof *items) == 0);
}

static void set(tables *t)
{
    CRASH_REQUIRE(kin_list_set(t->list, 1, tables_bytes(), 64) == 0);
}

static void set_large(tables *t)
{
    CRASH_REQUIRE(kin_list_set(t->list, 2, tables_bytes(), TABLES_MEDIUM + 1) == 0);
}

static void pop_first(tables *t)
{
    int64_t number;
    CRASH_REQUIRE(kin_list_pop(t->list, 0, &number, 7, NULL) == KIN_E_TOO_SMALL);
    CRASH_REQUIRE(kin_list_pop(t->list, 0, &number, sizeof number, NULL) == 0);
}

static void pop_last(tables *t)
{
    int64_t number;
    CRASH_REQUIRE(kin_list_pop(t->list, -1, &number, sizeof number, NULL) == 0);
}

static void pop_medium(tables *t)
{
    unsigned char element[TABLES_MEDIUM];
    CRASH_REQUIRE(kin_list_pop(t->list, 2, element, sizeof element, NULL) == 0);
}

static void delete_left(tables *t)
{
    CRASH_REQUIRE(kin_list_delete(t->list, 1) == 0);
}

static void delete_right(tables *t)
{
    CRASH_REQUIRE(kin_list_delete(t->list, -3) == 0);
}

static void find_and_remove(tables *t)
{
    CRASH_REQUIRE(kin_list_remove(t->list, tables_bytes(), 100) == 0);
}

static void increment(tables *t)
{
    CRASH_REQUIRE(kin_list_increment(t->list, 0, 5, NULL) == 0);
}

static void compare_and_set(tables *t)
{
    CRASH_REQUIRE(kin_list_compare_set(t->list, 0, "one", 3, "two", 3) == KIN_E_STATE);
    CRASH_REQUIRE(kin_list_compare_set(t->list, 0, tables_bytes() + 8, 8, "two", 3) == 0);
}

static void read_all(tables *t)
{
    unsigned char element[TABLES_MEDIUM];
    kin_list_cursor cursor = {0};
    CRASH_REQUIRE(kin_list_get(t->list, 1, element, sizeof element, NULL) == 0);
    CRASH_REQUIRE(kin_list_get(t->list, 2, element, sizeof element, NULL) == 0);
    CRASH_REQUIRE(kin_list_find(t->list, tables_bytes(), 100, 0) == 3);
    CRASH_REQUIRE(kin_list_length(t->list) == 6);
    CRASH_REQUIRE(kin_list_next(t->list, &cursor, element, sizeof element, NULL) == 0);
}

static void clear(tables *t)
{
    CRASH_REQUIRE(kin_list_clear(t->list) == 0);
}

static void destroy(tables *t)
{
    CRASH_REQUIRE(kin_list_destroy(t->list) == 0);
}

static void create(tables *t)
{
    const kin_list_options options = {.name = "made", .expected = 20};
    CRASH_REQUIRE(kin_list_create(&t->made_list, &options) == 0);
    CRASH_REQUIRE(kin_list_append(t->made_list, "a", 1) == 0);
}

static const tables_operation operations[] = {
    {"append the first", NULL, append_small, 0},
    {"append", has_some, append_small, 0},
    {"append one of medium size", has_some, append_medium, 0},
    {"append to a full table", is_full, append_small, 0},
    {"append to a full chunk", has_full_chunk, append_900, 0},
    {"insert first", has_some, insert_first, 0},
    {"insert, and move those before", has_some, insert_left, 0},
    {"insert, and move those behind", has_some, insert_right, 0},
    {"insert a large one", has_some, insert_large, 0},
    {"insert into a full table", is_full, insert_left, 0},
    {"extend", has_some, extend, 0},
    {"extend what is empty", NULL, extend, 0},
    {"set", has_some, set, 0},
    {"set a large one", has_some, set_large, 0},
    {"pop the first", has_some, pop_first, 0},
    {"pop the last", has_some, pop_last, 0},
    {"pop one of medium size", has_some, pop_medium, 0},
    {"delete, and move those before", has_some, delete_left, 0},
    {"delete, and move those behind", has_some, delete_right, 0},
    {"find and remove", has_some, find_and_remove, 0},
    {"increment", has_some, increment, 0},
    {"compare and set", has_some, compare_and_set, 0},
    {"read", has_some, read_all, 0},
    {"clear", has_some, clear, 0},
    {"destroy", has_some, destroy, TABLES_END},
    {"create", NULL, create, 0},
};

/* ---- at random: the first element is a number ---- */

static void read_one(const tables *t, int64_t index, bool pops)
{
    static unsigned char element[TABLES_LARGE];
    size_t size = 0;
    int status = pops ? kin_list_pop(t->list, index, element, sizeof element, &size)
                      : kin_list_get(t->list, index, element, sizeof element, &size);
    CRASH_REQUIRE(status == KIN_E_NOT_FOUND || (status == 0 && tables_is_whole(element, size)));
}

static void turn(tables *t, uint64_t *seed, unsigned number)
{
    static unsigned char element[TABLES_LARGE];
    int64_t index = 1 + (int64_t) (crash_random(seed) % TABLES_KEYS);
    uint64_t what = crash_random(seed) % 64;
    size_t size = tables_make_value(element, crash_random(seed));
    const kin_buffer items[] = {{element, size}, {element, size}};
    if (what < 12 && kin_list_length(t->list) < 2 * TABLES_KEYS) {
        CRASH_REQUIRE(kin_list_insert(t->list, index, element, size) == 0);
    } else if (what < 14 && kin_list_length(t->list) < 2 * TABLES_KEYS) {
        CRASH_REQUIRE(kin_list_extend(t->list, items, 2) == 0);
    } else if (what < 50) {
        read_one(t, index, what < 30);
    } else {
        atomic_fetch_add(&t->begun[number], 1);
        CRASH_REQUIRE(kin_list_increment(t->list, 0, 1, NULL) == 0);
        atomic_fetch_add(&t->done[number], 1);
    }
}

static int64_t total(const tables *t)
{
    int64_t value = 0;
    CRASH_REQUIRE(kin_list_get(t->list, 0, &value, sizeof value, NULL) == 0);
    return value;
}

int main(int argc, char **argv)
{
    return tables_main(argc, argv, operations, sizeof operations / sizeof *operations, turn, total);
}
