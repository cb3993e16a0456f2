/* Deaths in everything that can be done with a dictionary. */
#include "harness_tables.h"

#include <string.h>

static const char name[] = "a key that all know";

static void set(kin_dict dict, const char *key, size_t size)
{
    CRASH_REQUIRE(kin_dict_set(dict, key, strlen(key), tables_bytes(), size) == 0);
}

/* ---- what there is before ---- */

static void has_some(const tables *t)
{
    set(t->dict, "small", 64);
    set(t->dict, "large", TABLES_LARGE);
    set(t->dict, "medium", TABLES_MEDIUM);
    set(t->dict, "number", 8);
    set(t->dict, name, 30);
    set(t->dict, "other", 64);
    CRASH_REQUIRE(kin_dict_remove(t->dict, "other", 5) == 0);
}

/* The next key needs another table, which has none of the empty places. */
static void is_full(const tables *t)
{
    has_some(t);
    set(t->dict, "7", 5);
    set(t->dict, "8", 200);
}

/* The next value needs another chunk. */
static void has_full_chunk(const tables *t)
{
    static const char keys[] = "01234";
    for (int i = 0; i < 5; i++) {
        CRASH_REQUIRE(kin_dict_set(t->dict, &keys[i], 1, tables_bytes(), 290) == 0);
    }
}

/* ---- what is done ---- */

static void insert(tables *t)
{
    set(t->dict, "new", 64);
}

static void insert_large(tables *t)
{
    set(t->dict, "new", TABLES_LARGE);
}

static void insert_medium(tables *t)
{
    set(t->dict, "new", TABLES_MEDIUM);
}

static void insert_900(tables *t)
{
    set(t->dict, "new", 900);
}

static void replace(tables *t)
{
    set(t->dict, "small", 60);
}

static void replace_by_other_size(tables *t)
{
    set(t->dict, "small", 500);
}

static void replace_large(tables *t)
{
    set(t->dict, "large", TABLES_LARGE - 1);
}

static void replace_medium_by_small(tables *t)
{
    set(t->dict, "medium", 3);
}

static void insert_new(tables *t)
{
    CRASH_REQUIRE(kin_dict_set_new(t->dict, "small", 5, "one", 3) == KIN_E_EXISTS);
    CRASH_REQUIRE(kin_dict_set_new(t->dict, "new", 3, "one", 3) == 0);
}

static void set_default(tables *t)
{
    CRASH_REQUIRE(kin_dict_set_default(t->dict, "small", 5, "one", 3, NULL) == 0);
    CRASH_REQUIRE(kin_dict_set_default(t->dict, "new", 3, "one", 3, NULL) == 0);
}

static void update(tables *t)
{
    const kin_dict_item items[] = {
        {"small", 5, "one", 3}, {"new", 3, tables_bytes(), TABLES_MEDIUM}, {"large", 5, "two", 3}};
    CRASH_REQUIRE(kin_dict_update(t->dict, items, 3) == 0);
}

static void drop(tables *t)
{
    CRASH_REQUIRE(kin_dict_remove(t->dict, "small", 5) == 0);
}

static void drop_large(tables *t)
{
    CRASH_REQUIRE(kin_dict_remove(t->dict, "large", 5) == 0);
}

static void pop(tables *t)
{
    unsigned char value[64];
    CRASH_REQUIRE(kin_dict_pop(t->dict, "small", 5, value, 10, NULL) == KIN_E_TOO_SMALL);
    CRASH_REQUIRE(kin_dict_pop(t->dict, "small", 5, value, sizeof value, NULL) == 0);
}

static void pop_medium(tables *t)
{
    unsigned char value[TABLES_MEDIUM];
    CRASH_REQUIRE(kin_dict_pop(t->dict, "medium", 6, value, sizeof value, NULL) == 0);
}

static void increment(tables *t)
{
    CRASH_REQUIRE(kin_dict_increment(t->dict, "number", 6, 1, NULL) == 0);
}

static void increment_new(tables *t)
{
    CRASH_REQUIRE(kin_dict_increment(t->dict, "new", 3, 1, NULL) == 0);
}

static void compare_and_replace(tables *t)
{
    CRASH_REQUIRE(kin_dict_compare_set(t->dict, "small", 5, "one", 3, "two", 3) == KIN_E_STATE);
    CRASH_REQUIRE(
        kin_dict_compare_set(t->dict, "small", 5, tables_bytes(), 64, tables_bytes() + 1, 64) == 0);
}

static void compare_and_insert(tables *t)
{
    CRASH_REQUIRE(kin_dict_compare_set(t->dict, "new", 3, NULL, 0, "two", 3) == 0);
}

static void compare_and_drop(tables *t)
{
    CRASH_REQUIRE(kin_dict_compare_set(t->dict, "small", 5, tables_bytes(), 64, NULL, 0) == 0);
}

static void read_all(tables *t)
{
    unsigned char value[TABLES_MEDIUM];
    kin_dict_cursor cursor = {0};
    CRASH_REQUIRE(kin_dict_get(t->dict, "small", 5, value, sizeof value, NULL) == 0);
    CRASH_REQUIRE(kin_dict_get(t->dict, "medium", 6, value, sizeof value, NULL) == 0);
    CRASH_REQUIRE(kin_dict_has(t->dict, "new", 3) == 0);
    CRASH_REQUIRE(kin_dict_length(t->dict) == 5);
    CRASH_REQUIRE(kin_dict_next(t->dict, &cursor, NULL, NULL) == 0);
}

static void clear(tables *t)
{
    CRASH_REQUIRE(kin_dict_clear(t->dict) == 0);
}

static void destroy(tables *t)
{
    CRASH_REQUIRE(kin_dict_destroy(t->dict) == 0);
}

static void create(tables *t)
{
    const kin_dict_options options = {.name = "made", .expected = 20};
    CRASH_REQUIRE(kin_dict_create(&t->made_dict, &options) == 0);
    CRASH_REQUIRE(kin_dict_set(t->made_dict, "a", 1, "b", 1) == 0);
}

static const tables_operation operations[] = {
    {"insert the first", NULL, insert, 0},
    {"insert", has_some, insert, 0},
    {"insert a large one", has_some, insert_large, 0},
    {"insert one of medium size", has_some, insert_medium, 0},
    {"insert into a full table", is_full, insert, 0},
    {"insert a large one into a full table", is_full, insert_large, 0},
    {"insert into a full chunk", has_full_chunk, insert_900, 0},
    {"insert what is new", has_some, insert_new, 0},
    {"set a default", has_some, set_default, 0},
    {"replace", has_some, replace, 0},
    {"replace by another size", has_some, replace_by_other_size, 0},
    {"replace a large one", has_some, replace_large, 0},
    {"replace medium by small", has_some, replace_medium_by_small, 0},
    {"update", has_some, update, TABLES_PARTS},
    {"remove", has_some, drop, 0},
    {"remove a large one", has_some, drop_large, 0},
    {"pop", has_some, pop, 0},
    {"pop one of medium size", has_some, pop_medium, 0},
    {"increment", has_some, increment, 0},
    {"increment what is not there", has_some, increment_new, 0},
    {"compare and replace", has_some, compare_and_replace, 0},
    {"compare and insert", has_some, compare_and_insert, 0},
    {"compare and remove", has_some, compare_and_drop, 0},
    {"read", has_some, read_all, 0},
    {"clear", has_some, clear, 0},
    {"clear what is empty", NULL, clear, 0},
    {"destroy", has_some, destroy, TABLES_END},
    {"create", NULL, create, 0},
};

/* ---- at random ---- */

static void read_one(const tables *t, uint32_t key, bool pops)
{
    static unsigned char value[TABLES_LARGE];
    size_t size = 0;
    int status = pops ? kin_dict_pop(t->dict, &key, sizeof key, value, sizeof value, &size)
                      : kin_dict_get(t->dict, &key, sizeof key, value, sizeof value, &size);
    CRASH_REQUIRE(status == KIN_E_NOT_FOUND || (status == 0 && tables_is_whole(value, size)));
}

static void turn(tables *t, uint64_t *seed, unsigned number)
{
    static unsigned char value[TABLES_LARGE];
    uint32_t key = (uint32_t) (crash_random(seed) % TABLES_KEYS);
    uint64_t what = crash_random(seed) % 64;
    size_t size = tables_make_value(value, crash_random(seed));
    if (what < 16) {
        CRASH_REQUIRE(kin_dict_set(t->dict, &key, sizeof key, value, size) == 0);
    } else if (what < 40) {
        read_one(t, key, what < 24);
    } else if (what < 63) {
        atomic_fetch_add(&t->begun[number], 1);
        CRASH_REQUIRE(kin_dict_increment(t->dict, name, sizeof name, 1, NULL) == 0);
        atomic_fetch_add(&t->done[number], 1);
    } else if (crash_random(seed) % 8 == 0) {
        CRASH_REQUIRE(kin_dict_clear(t->made_dict) == 0);
    } else {
        CRASH_REQUIRE(kin_dict_set(t->made_dict, &key, sizeof key, value, size) == 0);
    }
}

static int64_t total(const tables *t)
{
    int64_t value = 0;
    CRASH_REQUIRE(kin_dict_get(t->dict, name, sizeof name, &value, sizeof value, NULL) == 0);
    return value;
}

int main(int argc, char **argv)
{
    return tables_main(argc, argv, operations, sizeof operations / sizeof *operations, turn, total);
}
