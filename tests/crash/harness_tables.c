/* Deaths in lists and dictionaries; harness_tables.h says how. */
#include "harness_tables.h"

#include "core/dict_table.h"
#include "core/list_table.h"

#include <stdlib.h>
#include <string.h>

enum { PICTURE = 1 << 20, RANDOM_DEATHS = 200, TWICE_IN = 4 };

#define MILLISECOND INT64_C(1000000)

static const tables_operation *operations;
static tables_turn *crowd_turn;
static int64_t (*crowd_total)(const tables *t);

typedef struct order {
    uint64_t tables;
    uint32_t operation;
    uint32_t number;
} order;

static tables *tables_of(const void *argument, size_t size, order *told)
{
    CRASH_REQUIRE(size == sizeof *told);
    memcpy(told, argument, size);
    return arena_at(told->tables);
}

const unsigned char *tables_bytes(void)
{
    static unsigned char bytes[TABLES_LARGE];
    for (unsigned i = 0; bytes[1] == 0 && i < TABLES_LARGE; i++) {
        bytes[TABLES_LARGE - 1 - i] = (unsigned char) (1 + (i * 7 + i / 251) % 255);
    }
    return bytes;
}

size_t tables_make_value(unsigned char *value, uint64_t seed)
{
    static const uint16_t sizes[] = {8, 24, 60, 100, 300, 900, TABLES_MEDIUM, 9000};
    size_t size = sizes[seed % 8] + (size_t) (seed >> 3) % 8;
    memcpy(value, &seed, sizeof seed);
    for (size_t i = sizeof seed; i < size; i++) {
        value[i] = (unsigned char) (seed % 251 + i);
    }
    return size;
}

bool tables_is_whole(const unsigned char *value, size_t size)
{
    static unsigned char expected[TABLES_LARGE];
    uint64_t seed;
    memcpy(&seed, value, sizeof seed);
    return tables_make_value(expected, seed) == size && memcmp(value, expected, size) == 0;
}

/* ---- pictures of what tables have ---- */

typedef struct picture {
    size_t size;
    bool gone[2];
    unsigned char bytes[PICTURE];
} picture;

static picture first;
static picture last;
static picture now;

static void add(picture *p, const void *data, size_t size)
{
    CRASH_REQUIRE(p->size + sizeof size + size <= PICTURE);
    memcpy(p->bytes + p->size, &size, sizeof size);
    p->size += sizeof size;
    if (size > 0) {
        memcpy(p->bytes + p->size, data, size);
        p->size += size;
    }
}

/* One that waits when the author dies learns it as it happens. */
static bool is_gone(int status)
{
    return status == KIN_E_HANDLE || status == KIN_E_DESTROYED;
}

static void add_dict(picture *p, kin_dict dict)
{
    static unsigned char key[TABLES_LARGE];
    static unsigned char value[TABLES_LARGE];
    kin_dict_cursor cursor = {0};
    int64_t count = 0;
    for (;; count++) {
        kin_buffer k = {key, sizeof key};
        kin_buffer v = {value, sizeof value};
        int status = kin_dict_next(dict, &cursor, &k, &v);
        if (status < 0) {
            p->gone[0] = is_gone(status);
            CRASH_REQUIRE(status == KIN_E_NOT_FOUND || p->gone[0]);
            break;
        }
        add(p, key, k.size);
        add(p, value, v.size);
        size_t size = 0;
        CRASH_REQUIRE(kin_dict_get(dict, key, k.size, value, sizeof value, &size) == 0);
        CRASH_REQUIRE(size == v.size);
    }
    CRASH_REQUIRE(p->gone[0] || kin_dict_length(dict) == count);
}

static void add_list(picture *p, kin_list list)
{
    static unsigned char element[TABLES_LARGE];
    kin_list_cursor cursor = {0};
    int64_t count = 0;
    for (;; count++) {
        size_t size = 0;
        int status = kin_list_next(list, &cursor, element, sizeof element, &size);
        if (status < 0) {
            p->gone[1] = is_gone(status);
            CRASH_REQUIRE(status == KIN_E_NOT_FOUND || p->gone[1]);
            break;
        }
        add(p, element, size);
    }
    CRASH_REQUIRE(p->gone[1] || kin_list_length(list) == count);
}

static void look(picture *p, const tables *t)
{
    p->size = 0;
    p->gone[0] = p->gone[1] = false;
    add_dict(p, t->dict);
    add_list(p, t->list);
}

static bool is_same(const picture *a, const picture *b)
{
    return a->size == b->size && a->gone[0] == b->gone[0] && a->gone[1] == b->gone[1] &&
           memcmp(a->bytes, b->bytes, a->size) == 0;
}

/* ---- cells: each is in use once, or free once ---- */

static uint64_t bytes_of(uint64_t ref)
{
    return ref == 0 || (ref & STORE_LARGE) != 0
               ? 0
               : store_class_size((unsigned) (ref >> STORE_CLASS_SHIFT));
}

static uint64_t bytes_in_use(const store *u)
{
    uint64_t sum = 0;
    if (object_kind_of(u->id) == KIND_DICT) {
        dict_table *t = dict_table_of(u);
        for (uint64_t i = 0; t != NULL && i < t->used; i++) {
            sum += bytes_of(t->entries[i].ref);
        }
        return sum;
    }
    const list_root *root = list_root_of(u);
    for (uint64_t i = 0; i < root->count; i++) {
        sum += bytes_of(*list_place(list_table_of(u), root->first + i));
    }
    return sum;
}

static void check_cells(uint64_t id)
{
    store u;
    int status = store_enter(&u, id, object_kind_of(id));
    if (is_gone(status)) {
        return;
    }
    CRASH_REQUIRE(status == 0);
    uint64_t made = 0;
    uint64_t used = bytes_in_use(&u);
    for (uint64_t chunk = u.root->chunk; chunk != 0;) {
        store_chunk *c = store_object_at(chunk);
        CRASH_REQUIRE(atomic_load(&c->object.id) == chunk && c->bump <= c->end);
        made += c->bump - arena_offset(c->bytes);
        chunk = c->previous;
    }
    for (int i = 0; i < STORE_CLASSES; i++) {
        for (uint64_t ref = u.root->heads[i]; ref != 0; ref = store_node_at(ref)->next) {
            used += bytes_of(ref);
            CRASH_REQUIRE(used <= made);
        }
    }
    CRASH_REQUIRE(used == made);
    CRASH_REQUIRE(u.root->making == 0 && u.root->former == 0 && u.root->retired == 0);
    store_leave(&u);
}

/* ---- the survivor ---- */

static tables *new_tables(void)
{
    uint64_t block;
    CRASH_REQUIRE(arena_allocate(&block, sizeof(tables), ARENA_ZERO) == 0);
    CRASH_REQUIRE(arena_publish(block) == 0);
    tables *t = arena_at(block);
    CRASH_REQUIRE(kin_dict_create(&t->dict, NULL) == 0);
    CRASH_REQUIRE(kin_list_create(&t->list, NULL) == 0);
    return t;
}

static void free_tables(tables *t)
{
    const int statuses[] = {kin_dict_destroy(t->dict), kin_list_destroy(t->list),
                            kin_dict_destroy(t->made_dict), kin_list_destroy(t->made_list)};
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        CRASH_REQUIRE(statuses[i] == 0 || statuses[i] == KIN_E_HANDLE);
    }
    CRASH_REQUIRE(arena_free(arena_offset(t)) == 0);
}

static int live_by_steps(void *argument, size_t size)
{
    order told;
    tables *t = tables_of(argument, size, &told);
    (void) tables_bytes();
    if (told.number != 0) {
        step_begin();
        (void) kin_dict_length(t->dict);
        (void) kin_list_length(t->list);
        step_end();
        return 0;
    }
    step_begin();
    operations[told.operation].operate(t);
    step_end();
    return 0;
}

/* Starts one, and kills it after so many instructions: 0 for all, which it learns. */
static kin_process die_in(const order *told, step_path *path, uint64_t at)
{
    kin_process child = crash_start(live_by_steps, told, sizeof *told);
    CRASH_REQUIRE(step_await(child));
    step_result result = at == 0 ? step_learn(child, path) : step_on(child, path, at);
    CRASH_REQUIRE(result != STEP_ENDED);
    step_kill(child);
    crash_count(at == 0 ? path->count : at, 1);
    return child;
}

static void bury(kin_process child)
{
    CRASH_REQUIRE(crash_end(child, false) == -KIN_SIGKILL);
}

static void check_and_go_on(const tables_operation *o, const tables *t, bool is_first)
{
    look(&now, t);
    if (is_first) {
        last = now;
    }
    bool right = is_same(&now, &first) || is_same(&now, &last);
    CRASH_REQUIRE(right || (o->flags & TABLES_PARTS) != 0);
    CRASH_REQUIRE((o->flags & TABLES_END) != 0 || !(now.gone[0] || now.gone[1]));
    check_cells(t->dict.id);
    check_cells(t->list.id);
    if (!now.gone[0]) {
        dict_go_on(t);
    }
    if (!now.gone[1]) {
        list_go_on(t);
    }
}

/* second_at: the second one dies after so many instructions; 0: there is none. */
static void die_after(const tables_operation *o, step_path *path, uint64_t at, step_path *second,
                      uint64_t second_at)
{
    kin_arena_usage before;
    crash_watch(o->name, second_at, at);
    crash_look(&before);
    tables *t = new_tables();
    if (o->prepare != NULL) {
        o->prepare(t);
    }
    look(&first, t);
    order told = {arena_offset(t), (uint32_t) (o - operations), 0};
    kin_process child = die_in(&told, path, at);
    int64_t died = platform_clock_ns();
    bool unseen = at % 16 == 1; /* but by those who wait */
    if (!unseen) {
        bury(child);
    }
    if (second_at > 0) {
        told.number = 1;
        bury(die_in(&told, second, second->count == 0 ? 0 : second_at));
        died = platform_clock_ns();
    }
    check_and_go_on(o, t, at == 0);
    if (unseen) {
        bury(child);
    }
    crash_limit(died, CRASH_SECOND);
    free_tables(t);
    crash_check(&before, false);
    crash_calm();
}

static void die_at_each(void **state)
{
    const tables_operation *o = *state;
    crash_need_steps();
    step_path path = {0};
    step_path second = {0};
    crash_row row;
    crash_row second_row = {0};
    uint64_t deaths = 0;
    die_after(o, &path, 0, NULL, 0);
    crash_row_begin(&row, &path);
    for (; crash_row_next(&row); deaths++) {
        bool twice = deaths % TWICE_IN == 0 && (o->flags & TABLES_END) == 0;
        if (twice && second.count > 0 &&
            (second_row.path == NULL || !crash_row_next(&second_row))) {
            crash_row_begin(&second_row, &second);
            (void) crash_row_next(&second_row);
        }
        die_after(o, &path, row.at, &second,
                  !twice              ? 0
                  : second_row.at > 0 ? second_row.at
                                      : UINT64_MAX);
    }
    crash_tell(deaths, &path);
    step_forget(&path);
    step_forget(&second);
}

/* ---- at random ---- */

static int live_in_a_crowd(void *argument, size_t size)
{
    order told;
    tables *t = tables_of(argument, size, &told);
    uint64_t seed = told.operation;
    while (atomic_load(&t->stop) == 0 && !death_check(family_first())) {
        for (int i = 0; i < 50; i++) {
            crowd_turn(t, &seed, told.number);
        }
        wait_raise(&t->moved);
    }
    return 0;
}

static void await_moves(tables *t)
{
    uint32_t begun = wait_count(&t->moved);
    uint32_t seen;
    while ((seen = wait_count(&t->moved)) - begun < 10) {
        CRASH_REQUIRE(wait_for_change(&t->moved, seen, INT64_MAX) == 0);
    }
}

static kin_process start_one(const tables *t, unsigned number, uint64_t *seed)
{
    order told = {arena_offset(t), (uint32_t) crash_random(seed), number};
    return crash_start(live_in_a_crowd, &told, sizeof told);
}

static void check_total(const tables *t)
{
    uint64_t begun = 0;
    uint64_t done = 0;
    for (int i = 0; i < TABLES_CROWD; i++) {
        begun += atomic_load(&t->begun[i]);
        done += atomic_load(&t->done[i]);
    }
    uint64_t total = (uint64_t) crowd_total(t);
    CRASH_REQUIRE(done <= total && total <= begun && done > 0);
}

static void a_crowd_dies_at_random(void **state)
{
    (void) state;
    uint64_t seed = crash_seed();
    kin_arena_usage before;
    kin_process crowd[TABLES_CROWD];
    crash_watch("a crowd at random", 0, 0);
    crash_look(&before);
    tables *t = new_tables();
    const int64_t none = 0;
    CRASH_REQUIRE(kin_list_append(t->list, &none, sizeof none) == 0);
    CRASH_REQUIRE(kin_dict_create(&t->made_dict, NULL) == 0);
    for (unsigned i = 0; i < TABLES_CROWD; i++) {
        crowd[i] = start_one(t, i, &seed);
    }
    unsigned deaths = crash_wanted(RANDOM_DEATHS);
    for (unsigned i = 0; i < deaths; i++) {
        crash_watch("a crowd at random", 0, i);
        await_moves(t);
        platform_sleep_ns((int64_t) (crash_random(&seed) % MILLISECOND));
        unsigned one = (unsigned) (crash_random(&seed) % TABLES_CROWD);
        CRASH_REQUIRE(kin_process_kill(crowd[one]) == 0);
        CRASH_REQUIRE(crash_end(crowd[one], true) == -KIN_SIGKILL);
        crash_count(0, 1);
        crowd[one] = start_one(t, one, &seed);
    }
    await_moves(t);
    atomic_store(&t->stop, 1);
    for (int i = 0; i < TABLES_CROWD; i++) {
        CRASH_REQUIRE(crash_end(crowd[i], false) == 0);
    }
    check_cells(t->dict.id);
    check_cells(t->list.id);
    check_cells(t->made_dict.id);
    check_total(t);
    look(&now, t);
    free_tables(t);
    crash_check(&before, true);
    crash_calm();
}

int tables_main(int argc, char **argv, const tables_operation *table, unsigned count,
                tables_turn *turn, int64_t (*total)(const tables *t))
{
    struct CMUnitTest tests[CRASH_TESTS];
    operations = table;
    crowd_turn = turn;
    crowd_total = total;
    CRASH_REQUIRE(count < CRASH_TESTS);
    for (unsigned i = 0; i < count; i++) {
        tests[i] = (struct CMUnitTest){table[i].name, die_at_each, crash_begin_steps,
                                       crash_end_steps, (void *) (uintptr_t) &table[i]};
    }
    tests[count] = (struct CMUnitTest) cmocka_unit_test(a_crowd_dies_at_random);
    return crash_run(argc, argv, tests, count + 1);
}

/* ---- going on ---- */

void dict_go_on(const tables *t)
{
    enum { COUNT = 40 };
    unsigned char value[100];
    for (uint32_t turn = 0; turn < 2; turn++) {
        for (uint32_t i = 0; i < COUNT; i++) {
            memset(value, (int) i, sizeof value);
            CRASH_REQUIRE(kin_dict_set(t->dict, &i, sizeof i, value, i + turn) == 0);
        }
    }
    for (uint32_t i = 0; i < COUNT; i++) {
        size_t size = 0;
        CRASH_REQUIRE(kin_dict_pop(t->dict, &i, sizeof i, value, sizeof value, &size) == 0);
        CRASH_REQUIRE(size == i + 1 && value[0] == i && value[i] == i);
    }
    look(&now, t);
    check_cells(t->dict.id);
}

void list_go_on(const tables *t)
{
    enum { COUNT = 40 };
    int64_t length = kin_list_length(t->list);
    for (uint32_t i = 0; i < COUNT; i++) {
        CRASH_REQUIRE(kin_list_insert(t->list, i / 2, &i, sizeof i) == 0);
    }
    for (uint32_t i = 0; i < COUNT; i++) {
        uint32_t number = UINT32_MAX;
        uint32_t index = i < COUNT / 2 ? 0 : COUNT - 1 - i;
        CRASH_REQUIRE(kin_list_pop(t->list, index, &number, sizeof number, NULL) == 0);
        CRASH_REQUIRE(number < COUNT);
    }
    CRASH_REQUIRE(kin_list_length(t->list) == length);
    look(&now, t);
    check_cells(t->list.id);
}
