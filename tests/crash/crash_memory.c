/* Deaths of those who make, resize and destroy blocks of memory, use arrays with and without their
   locks, and change counters and wait for them. Within a second all others go on. A block has the
   one size or the other and what it held; the elements of an array are whole, and all of one write
   unless the next one is told that its owner died; a counter has been changed or not, and who waits
   for what it has come to goes on. */
#include "harness.h"

#include <string.h>

enum { RANDOM_DEATHS = 150, CROWD = 6, OTHERS = 2, MANY = 300, LENGTH = 12, TIMES_OUT_MS = 5 };
enum { SMALL = 200, SIZE = 60000, SHRUNK = 9000, GROWN = 150000, FIRST = 1000 };

#define MILLISECOND INT64_C(1000000)

typedef struct stage {
    kin_memory memory;
    kin_array array; /* its elements are all alike */
    kin_counter counter;
    uint64_t made; /* by the one that dies */
    _Atomic uint32_t stop;
    _Atomic uint32_t told; /* of deaths of the array's owners */
    wait_signal moved;
} stage;

typedef struct order {
    uint64_t stage;
    uint32_t operation;
    uint32_t number;
} order;

static stage *stage_of(const void *argument, size_t size, order *told)
{
    CRASH_REQUIRE(size == sizeof *told);
    memcpy(told, argument, size);
    return arena_at(told->stage);
}

static bool is_stopped(stage *s)
{
    return atomic_load(&s->stop) != 0 || death_check(family_first());
}

static bool is_all(const unsigned char *bytes, unsigned char value, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != value) {
            return false;
        }
    }
    return true;
}

/* ---- what they die in ---- */

static void make_and_destroy_memory(stage *s, size_t size)
{
    kin_memory *made = (kin_memory *) &s->made;
    CRASH_REQUIRE(kin_memory_create(made, size) == 0);
    CRASH_REQUIRE(kin_memory_destroy(*made) == 0);
}

static void make_and_destroy_small_memory(stage *s)
{
    make_and_destroy_memory(s, SMALL);
}

static void make_and_destroy_large_memory(stage *s)
{
    make_and_destroy_memory(s, SIZE);
}

static void make_as_wished(stage *s)
{
    const kin_memory_options how = {.alignment = 4096, .on_node = true};
    kin_memory *made = (kin_memory *) &s->made;
    CRASH_REQUIRE(kin_memory_create_with(made, SIZE, &how) == 0);
}

static void grow(stage *s)
{
    CRASH_REQUIRE(kin_memory_resize(s->memory, GROWN) == 0);
}

static void shrink(stage *s)
{
    CRASH_REQUIRE(kin_memory_resize(s->memory, SHRUNK) == 0);
}

/* What is given up may be somebody else's when it is wanted back. */
static void resize_in_turns(stage *s)
{
    CRASH_REQUIRE(kin_memory_resize(s->memory, SHRUNK) == 0);
    int status = kin_memory_resize(s->memory, SIZE);
    CRASH_REQUIRE(status == 0 || status == KIN_E_NOMEM);
}

static void make_and_destroy_array(stage *s)
{
    static const uint64_t initial[LENGTH] = {1};
    const kin_array_options how = {.initial = initial};
    kin_array *made = (kin_array *) &s->made;
    CRASH_REQUIRE(kin_array_create(made, sizeof *initial, LENGTH, &how) == 0);
    CRASH_REQUIRE(kin_array_destroy(*made) == 0);
}

static void make_large_array(stage *s)
{
    CRASH_REQUIRE(kin_array_create((kin_array *) &s->made, 1, SIZE, NULL) == 0);
}

/* One more in each of them, with the lock. Whoever is told of a death makes them alike again. */
static void add_locked(stage *s, int status)
{
    uint64_t values[LENGTH];
    CRASH_REQUIRE(kin_array_read(s->array, 0, LENGTH, values) == 0);
    for (size_t i = 0; i < LENGTH; i++) {
        CRASH_REQUIRE(status == KIN_OWNER_DIED || values[i] == values[0]);
        CRASH_REQUIRE(values[i] - values[LENGTH - 1] <= 1);
    }
    atomic_fetch_add(&s->told, (uint32_t) status);
    for (size_t i = 0; i < LENGTH; i++) {
        values[i] = values[LENGTH - 1] + 1;
    }
    CRASH_REQUIRE(kin_array_write(s->array, 0, LENGTH, values) == 0);
}

static int lock_array(stage *s)
{
    int status = kin_array_lock(s->array, KIN_FOREVER);
    CRASH_REQUIRE(status == 0 || status == KIN_OWNER_DIED);
    return status;
}

static void add_to_all(stage *s)
{
    add_locked(s, lock_array(s));
    CRASH_REQUIRE(kin_array_unlock(s->array) == 0);
}

static void write_all(stage *s)
{
    static const uint64_t values[LENGTH];
    int status = kin_array_write(s->array, 0, LENGTH, values);
    CRASH_REQUIRE(status == 0 || status == KIN_OWNER_DIED);
}

static void read_all(stage *s)
{
    uint64_t values[LENGTH];
    CRASH_REQUIRE(kin_array_read(s->array, 0, LENGTH, values) == 0);
    CRASH_REQUIRE(kin_array_get(s->array, 0, values) == 0);
}

/* Where others are killed while they have the lock, a reader may be the one who is told. */
static void read_all_among_others(stage *s)
{
    int status = lock_array(s);
    if (status == KIN_OWNER_DIED) {
        add_locked(s, status);
    }
    read_all(s);
    CRASH_REQUIRE(kin_array_unlock(s->array) == 0);
}

static void change_counter(stage *s)
{
    int64_t expected = FIRST + 1;
    CRASH_REQUIRE(kin_counter_add(s->counter, 1, NULL) == 0);
    CRASH_REQUIRE(kin_counter_compare_exchange(s->counter, &expected, FIRST + 2) == 1);
    CRASH_REQUIRE(kin_counter_set(s->counter, FIRST + 3) == 0);
}

static void make_and_destroy_counter(stage *s)
{
    kin_counter *made = (kin_counter *) &s->made;
    CRASH_REQUIRE(kin_counter_create(made, NULL) == 0);
    CRASH_REQUIRE(kin_counter_destroy(*made) == 0);
}

static void wait_in_vain(stage *s)
{
    CRASH_REQUIRE(kin_counter_wait(s->counter, FIRST + 10, TIMES_OUT_MS) == KIN_E_TIMEOUT);
}

static void wait_for_more(stage *s)
{
    int64_t value = 0;
    CRASH_REQUIRE(kin_counter_get(s->counter, &value) == 0);
    CRASH_REQUIRE(kin_counter_wait(s->counter, value + 1, KIN_FOREVER) == 0);
}

static void destroy_all(stage *s)
{
    CRASH_REQUIRE(kin_memory_destroy(s->memory) == 0);
    CRASH_REQUIRE(kin_array_destroy(s->array) == 0);
    CRASH_REQUIRE(kin_counter_destroy(s->counter) == 0);
}

/* ---- those who are not stepped ---- */

static int repeat(const void *argument, size_t size, void (*operate)(stage *s))
{
    order told;
    stage *s = stage_of(argument, size, &told);
    while (!is_stopped(s)) {
        operate(s);
        wait_raise(&s->moved);
        platform_sleep_ns(MILLISECOND); /* one that is stepped is slow */
    }
    return 0;
}

static int resize_again_and_again(void *argument, size_t size)
{
    return repeat(argument, size, resize_in_turns);
}

static int add_again_and_again(void *argument, size_t size)
{
    return repeat(argument, size, add_to_all);
}

static void count_one(stage *s)
{
    CRASH_REQUIRE(kin_counter_add(s->counter, 1, NULL) == 0);
}

static int count_again_and_again(void *argument, size_t size)
{
    return repeat(argument, size, count_one);
}

/* For something that the one that dies, or else the survivor, makes it. */
static int wait_for_one(void *argument, size_t size)
{
    order told;
    stage *s = stage_of(argument, size, &told);
    CRASH_REQUIRE(kin_counter_wait(s->counter, FIRST + 1 + told.number, KIN_FOREVER) == 0);
    return 0;
}

static int wait_for_end(void *argument, size_t size)
{
    order told;
    stage *s = stage_of(argument, size, &told);
    CRASH_REQUIRE(kin_counter_wait(s->counter, FIRST + 10, KIN_FOREVER) == KIN_E_DESTROYED);
    return 0;
}

/* ---- what the survivor sees to ---- */

static void see_memory(stage *s, size_t before, size_t after)
{
    const unsigned char *bytes = kin_memory_address(s->memory);
    size_t size = kin_memory_size(s->memory);
    CRASH_REQUIRE(size == before || size == after);
    CRASH_REQUIRE(is_all(bytes, 1, size < before ? size : before));
    CRASH_REQUIRE(size <= before || is_all(bytes + before, 0, size - before));
    CRASH_REQUIRE(kin_memory_resize(s->memory, SHRUNK) == 0);
    CRASH_REQUIRE(kin_memory_resize(s->memory, GROWN) == 0);
    CRASH_REQUIRE(is_all(bytes, 1, SHRUNK) && is_all(bytes + SHRUNK, 0, GROWN - SHRUNK));
}

static void see_grown(stage *s)
{
    see_memory(s, SIZE, GROWN);
}

static void see_shrunk(stage *s)
{
    see_memory(s, SIZE, SHRUNK);
}

/* What the first page holds stays whatever they do. */
static void see_them_resize(stage *s)
{
    uint32_t seen = wait_count(&s->moved);
    while (wait_count(&s->moved) - seen < 5) {
        CRASH_REQUIRE(kin_memory_resize(s->memory, SHRUNK / 2 + SHRUNK) >= KIN_E_NOMEM);
        platform_sleep_ns(MILLISECOND / 10);
    }
    CRASH_REQUIRE(is_all(kin_memory_address(s->memory), 1, SHRUNK));
}

static void add_many(stage *s)
{
    for (int i = 0; i < MANY; i++) {
        add_to_all(s);
    }
    CRASH_REQUIRE(atomic_load(&s->told) <= 1);
}

/* Nobody is told of the death of one that only read. */
static void add_untold(stage *s)
{
    add_many(s);
    CRASH_REQUIRE(atomic_load(&s->told) == 0);
}

static void see_counted(stage *s)
{
    int64_t value = 0;
    CRASH_REQUIRE(kin_counter_get(s->counter, &value) == 0);
    CRASH_REQUIRE(value >= FIRST && value <= FIRST + 3);
    CRASH_REQUIRE(kin_counter_set(s->counter, FIRST + 3) == 0);
}

static void see_waiters_go_on(stage *s)
{
    for (int i = 0; i < 5; i++) {
        wait_for_more(s);
    }
}

typedef struct operation {
    const char *name;
    void (*operate)(stage *s);
    int (*others[OTHERS])(void *argument, size_t size);
    uint32_t sleep; /* so many of the others sleep before it begins */
    void (*see)(stage *s);
    bool ends; /* all of it */
} operation;

static const operation operations[] = {
    {"make and destroy small memory", make_and_destroy_small_memory, {NULL}, 0, NULL, false},
    {"make and destroy large memory", make_and_destroy_large_memory, {NULL}, 0, NULL, false},
    {"make memory as wished", make_as_wished, {NULL}, 0, NULL, false},
    {"grow", grow, {NULL}, 0, see_grown, false},
    {"shrink", shrink, {NULL}, 0, see_shrunk, false},
    {"resize in turns",
     resize_in_turns,
     {resize_again_and_again, resize_again_and_again},
     0,
     see_them_resize,
     false},
    {"make and destroy an array", make_and_destroy_array, {NULL}, 0, NULL, false},
    {"make a large array", make_large_array, {NULL}, 0, NULL, false},
    {"change an array", add_to_all, {NULL}, 0, add_many, false},
    {"change an array in turns",
     add_to_all,
     {add_again_and_again, add_again_and_again},
     0,
     add_many,
     false},
    {"write an array", write_all, {NULL}, 0, add_many, false},
    {"read an array", read_all, {NULL}, 0, add_untold, false},
    {"change a counter", change_counter, {wait_for_one, wait_for_one}, 2, see_counted, false},
    {"make and destroy a counter", make_and_destroy_counter, {NULL}, 0, NULL, false},
    {"wait for a counter",
     wait_for_more,
     {count_again_and_again, NULL},
     0,
     see_waiters_go_on,
     false},
    {"wait for a counter in vain", wait_in_vain, {wait_for_one, NULL}, 1, see_counted, false},
    {"destroy all", destroy_all, {wait_for_end, wait_for_end}, 2, NULL, true},
};
enum { OPERATIONS = sizeof operations / sizeof *operations };

static int live_by_steps(void *argument, size_t size)
{
    order told;
    stage *s = stage_of(argument, size, &told);
    step_begin();
    operations[told.operation].operate(s);
    step_end();
    return 0;
}

/* ---- the survivor ---- */

static stage *new_stage(void)
{
    uint64_t block;
    const kin_counter_options counter = {.value = FIRST};
    CRASH_REQUIRE(kin_arena_trim() == 0); /* the same ways each time */
    CRASH_REQUIRE(arena_allocate(&block, sizeof(stage), ARENA_ZERO) == 0);
    CRASH_REQUIRE(arena_publish(block) == 0);
    stage *s = arena_at(block);
    CRASH_REQUIRE(kin_memory_create(&s->memory, 2 * GROWN) == 0);
    memset(kin_memory_address(s->memory), 1, 2 * GROWN);
    CRASH_REQUIRE(kin_array_create(&s->array, sizeof(uint64_t), LENGTH, NULL) == 0);
    CRASH_REQUIRE(kin_counter_create(&s->counter, &counter) == 0);
    return s;
}

static void free_made(uint64_t id)
{
    int status = kin_memory_destroy((kin_memory){id});
    status = status == KIN_E_HANDLE ? kin_array_destroy((kin_array){id}) : status;
    status = status == KIN_E_HANDLE ? kin_counter_destroy((kin_counter){id}) : status;
    CRASH_REQUIRE(status == 0 || status == KIN_E_HANDLE);
}

/* ended: it may be gone. */
static void free_stage(stage *s, bool ended)
{
    int status = kin_memory_destroy(s->memory);
    CRASH_REQUIRE(status == 0 || (ended && status == KIN_E_HANDLE));
    status = kin_array_destroy(s->array);
    CRASH_REQUIRE(status == 0 || (ended && status == KIN_E_HANDLE));
    status = kin_counter_destroy(s->counter);
    CRASH_REQUIRE(status == 0 || (ended && status == KIN_E_HANDLE));
    free_made(s->made);
    CRASH_REQUIRE(arena_free(arena_offset(s)) == 0);
}

static uint32_t sleepers_of(const stage *s)
{
    uint32_t count = 0;
    for (uint32_t number = 1; number < arena_entries(ARENA_THREADS); number++) {
        count += atomic_load(&thread_at(number)->waits_for) == s->counter.id;
    }
    return count;
}

static kin_process start_stepped(const operation *o, stage *s, kin_process *others)
{
    order told = {.stage = arena_offset(s), .operation = (uint32_t) (o - operations)};
    for (told.number = 0; told.number < OTHERS && o->others[told.number] != NULL; told.number++) {
        others[told.number] = crash_start(o->others[told.number], &told, sizeof told);
    }
    while (sleepers_of(s) < o->sleep) {
        platform_sleep_ns(MILLISECOND / 10);
    }
    kin_process child = crash_start(live_by_steps, &told, sizeof told);
    CRASH_REQUIRE(step_await(child));
    /* Only now, when nobody else comes for it, there is room behind it. */
    CRASH_REQUIRE(kin_memory_resize(s->memory, SIZE) == 0);
    return child;
}

static void die_after(const operation *o, step_path *path, uint64_t at)
{
    kin_arena_usage before;
    kin_process others[OTHERS] = {{0}};
    crash_watch(o->name, 0, at);
    crash_look(&before);
    stage *s = new_stage();
    kin_process child = start_stepped(o, s, others);
    step_result result = at == 0 ? step_learn(child, path) : step_on(child, path, at);
    CRASH_REQUIRE(result != STEP_ENDED);
    int64_t died = platform_clock_ns();
    step_kill(child);
    crash_count(at == 0 ? path->count : at, 1);
    /* Half of the deaths are noticed by those alone who come to the same thing. */
    bool unseen = at % 2 == 0 && o->see != NULL;
    if (!unseen) {
        CRASH_REQUIRE(crash_end(child, false) == -KIN_SIGKILL);
    }
    if (o->see != NULL) {
        o->see(s);
    }
    if (o->ends) {
        int status = kin_counter_destroy(s->counter); /* the dead one may have come to it */
        CRASH_REQUIRE(status == 0 || status == KIN_E_HANDLE);
    }
    atomic_store(&s->stop, 1);
    for (int i = 0; i < OTHERS && o->others[i] != NULL; i++) {
        CRASH_REQUIRE(crash_end(others[i], false) == 0);
    }
    if (unseen) {
        CRASH_REQUIRE(crash_end(child, false) == -KIN_SIGKILL);
    }
    free_stage(s, o->ends);
    crash_limit(died, CRASH_SECOND);
    crash_check(&before, false);
    crash_calm();
}

static void die_at_each(void **state)
{
    const operation *o = *state;
    crash_need_steps();
    step_path path = {0};
    die_after(o, &path, 0);
    crash_row row;
    uint64_t deaths = 0;
    crash_row_begin(&row, &path);
    for (; crash_row_next(&row); deaths++) {
        die_after(o, &path, row.at);
    }
    crash_tell(deaths, &path);
    step_forget(&path);
}

/* ---- at random: a crowd uses all of it ---- */

static void use_all(stage *s)
{
    add_to_all(s);
    read_all_among_others(s);
    count_one(s);
    resize_in_turns(s);
}

static int be_in_the_crowd(void *argument, size_t size)
{
    order told;
    stage *s = stage_of(argument, size, &told);
    while (!is_stopped(s)) {
        use_all(s);
        wait_raise(&s->moved);
    }
    return 0;
}

static void await_moves(stage *s)
{
    uint32_t begun = wait_count(&s->moved);
    for (uint32_t seen = begun; seen - begun < 20; seen = wait_count(&s->moved)) {
        CRASH_REQUIRE(wait_for_change(&s->moved, seen, INT64_MAX) == 0);
    }
}

static void a_crowd_dies_at_random(void **state)
{
    (void) state;
    uint64_t seed = crash_seed();
    kin_arena_usage before;
    kin_process crowd[CROWD];
    crash_watch("a crowd at random", 0, 0);
    crash_look(&before);
    stage *s = new_stage();
    order told = {.stage = arena_offset(s)};
    for (int i = 0; i < CROWD; i++) {
        crowd[i] = crash_start(be_in_the_crowd, &told, sizeof told);
    }
    unsigned deaths = crash_wanted(RANDOM_DEATHS);
    for (unsigned i = 0; i < deaths; i++) {
        crash_watch("a crowd at random", 0, i);
        await_moves(s);
        platform_sleep_ns((int64_t) (crash_random(&seed) % MILLISECOND));
        kin_process *one = &crowd[crash_random(&seed) % CROWD];
        CRASH_REQUIRE(kin_process_kill(*one) == 0);
        CRASH_REQUIRE(crash_end(*one, true) == -KIN_SIGKILL);
        crash_count(0, 1);
        *one = crash_start(be_in_the_crowd, &told, sizeof told);
    }
    await_moves(s);
    atomic_store(&s->stop, 1);
    for (int i = 0; i < CROWD; i++) {
        CRASH_REQUIRE(crash_end(crowd[i], false) == 0);
    }
    add_to_all(s);
    CRASH_REQUIRE(atomic_load(&s->told) <= deaths);
    CRASH_REQUIRE(is_all(kin_memory_address(s->memory), 1, SHRUNK));
    free_stage(s, false);
    crash_check(&before, true);
    crash_calm();
}

int main(int argc, char **argv)
{
    struct CMUnitTest tests[OPERATIONS + 1];
    for (int i = 0; i < OPERATIONS; i++) {
        tests[i] = (struct CMUnitTest){operations[i].name, die_at_each, crash_begin_steps,
                                       crash_end_steps, (void *) (uintptr_t) &operations[i]};
    }
    tests[OPERATIONS] = (struct CMUnitTest) cmocka_unit_test(a_crowd_dies_at_random);
    return crash_run(argc, argv, tests, OPERATIONS + 1);
}
