/* What core/object.h promises. Objects of KIND_PART are used: nothing else in the library looks at
   them. */
#include "support.h"

#include <stdlib.h>
#include <string.h>

enum { MANY = 300, THREADS = 4, ROUNDS = 3000, SLOTS = 16, VICTIMS = 20 };

/* Objects that a thread can use at a time. */
enum { MOST_USED = HAZARDS - HAZARDS_FOR_RECOVERY };

typedef struct thing {
    object object;
    uint64_t number;
} thing;

static uint64_t make(uint64_t number, uint64_t owner, uint64_t size)
{
    object *o;
    uint64_t id = 0;
    assert_int_equal(object_create(&o, size), 0);
    thing *t = (thing *) o;
    assert_true(t->number == 0);
    t->number = number;
    assert_false(object_is_there(id));
    assert_int_equal(object_publish(o, KIND_PART, owner, &id), 0);
    assert_true(object_is_there(id) && object_kind_of(id) == KIND_PART);
    return id;
}

static uint64_t make_thing(uint64_t number)
{
    return make(number, 0, sizeof(thing));
}

static uint64_t count_blocks(void)
{
    kin_arena_usage usage;
    assert_int_equal(kin_arena_read_usage(&usage), 0);
    return usage.blocks;
}

static void assert_stale(uint64_t id)
{
    object_guard guard;
    assert_false(object_is_there(id));
    assert_int_equal(object_enter(&guard, id, KIND_PART), KIN_E_HANDLE);
    assert_int_equal(object_destroy(id), KIN_E_HANDLE);
}

static void a_handle_is_good_until_its_object_is_destroyed(void **state)
{
    static const uint64_t sizes[] = {sizeof(thing), 64, 1000, 6144, 6145, 300000};
    (void) state;
    for (uint64_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        object_guard guard;
        uint64_t id = make(i + 5, 0, sizes[i]);
        assert_int_equal(object_enter(&guard, id, KIND_PROCESS), KIN_E_HANDLE);
        assert_int_equal(object_enter(&guard, id, KIND_PART), 0);
        assert_true(((thing *) guard.object)->number == i + 5);
        object_leave(&guard);
        assert_int_equal(object_destroy(id), 0);
        assert_stale(id);
    }
}

static void an_object_that_was_not_published_is_dropped(void **state)
{
    (void) state;
    object *o;
    uint64_t before = count_blocks();
    assert_int_equal(object_create(&o, sizeof(thing)), 0);
    assert_true(count_blocks() == before + 1);
    object_drop(o);
    assert_true(count_blocks() == before);
    assert_int_equal(object_create(&o, UINT64_C(1) << 50), KIN_E_NOMEM);
}

static void handles_of_the_same_place_differ(void **state)
{
    uint64_t ids[MANY];
    int same_place = 0;
    (void) state;
    for (int i = 0; i < MANY; i++) {
        ids[i] = make_thing(1);
        assert_int_equal(object_destroy(ids[i]), 0);
        for (int before = 0; before < i; before++) {
            assert_true(ids[before] != ids[i]);
            same_place += (uint32_t) ids[before] << 1 == (uint32_t) ids[i] << 1;
        }
        assert_stale(ids[i]);
    }
    assert_true(same_place > 0); /* or this has not shown anything */
}

static void any_number_may_be_asked_for(void **state)
{
    uint64_t random = 23;
    (void) state;
    uint64_t id = make_thing(1);
    assert_stale(0);
    assert_stale(UINT64_MAX);
    for (int bit = 0; bit < 64; bit++) {
        assert_false(object_is_there(id ^ UINT64_C(1) << bit));
    }
    for (int i = 0; i < 100 * ROUNDS; i++) {
        uint64_t any = (uint64_t) next_random(&random) << 33 ^ next_random(&random);
        assert_false(object_is_there(any));
        assert_false(
            object_is_there((any & ~UINT64_C(0x7fffffff)) | (id + any % 512) % 0x7fffffff));
    }
    assert_int_equal(object_destroy(id), 0);
}

static void a_used_object_is_freed_by_its_last_user(void **state)
{
    object_guard first;
    object_guard second;
    (void) state;
    uint64_t before = count_blocks();
    uint64_t id = make_thing(77);
    assert_int_equal(object_enter(&first, id, KIND_PART), 0);
    assert_int_equal(object_enter(&second, id, KIND_PART), 0);
    assert_int_equal(object_destroy(id), 0);
    assert_stale(id);
    assert_true(((thing *) first.object)->number == 77);
    object_leave(&second);
    assert_true(count_blocks() == before + 1);
    assert_true(((thing *) first.object)->number == 77);
    object_leave(&first);
    assert_true(count_blocks() == before);
}

static void a_thread_uses_a_few_objects_at_a_time(void **state)
{
    object_guard guards[MOST_USED + 1];
    uint64_t ids[MOST_USED + 1];
    (void) state;
    for (unsigned i = 0; i <= MOST_USED; i++) {
        ids[i] = make_thing(i);
        assert_int_equal(object_enter(&guards[i], ids[i], KIND_PART),
                         i < MOST_USED ? 0 : KIN_E_LIMIT);
    }
    for (unsigned i = MOST_USED; i-- > 0;) {
        assert_true(((thing *) guards[i].object)->number == i);
        object_leave(&guards[i]);
    }
    for (unsigned i = 0; i <= MOST_USED; i++) {
        assert_int_equal(object_destroy(ids[i]), 0);
    }
}

/* ---- owners ---- */

static void what_has_lost_its_owner_goes_with_the_next_recovery(void **state)
{
    (void) state;
    uint64_t owner = make_thing(1);
    uint64_t part = make(2, owner, sizeof(thing));
    uint64_t other = make_thing(3);
    uint64_t kept = make(4, other, sizeof(thing));
    assert_int_equal(object_destroy(owner), 0);
    assert_true(object_is_there(part));
    kin_process process = start(stay, &(uint64_t){0}, sizeof(uint64_t));
    kill_and_close(process);
    assert_int_equal(object_recover(UINT64_C(1) << 63), 0); /* that of somebody else: the child may
                                                               not have come so far */
    assert_stale(part);
    assert_true(object_is_there(kept));
    assert_int_equal(object_destroy(kept), 0);
    assert_int_equal(object_destroy(other), 0);
}

static int note_visit(object *o, uint64_t id, void *context)
{
    uint64_t *sum = context;
    if (object_kind_of(id) == KIND_PART) {
        *sum += ((thing *) o)->number;
    }
    return 0;
}

static int stop_at(object *o, uint64_t id, void *context)
{
    (void) o;
    return id == *(uint64_t *) context ? 7 : 0;
}

static void all_objects_are_visited(void **state)
{
    uint64_t ids[MANY];
    uint64_t before = 0;
    uint64_t sum = 0;
    uint64_t expected = 0;
    (void) state;
    assert_int_equal(object_each(note_visit, &before), 0);
    for (uint64_t i = 0; i < MANY; i++) {
        ids[i] = make(i, 0, i % 50 == 0 ? 20000 : sizeof(thing));
        expected += i;
    }
    assert_int_equal(object_each(note_visit, &sum), 0);
    assert_true(sum == before + expected);
    assert_int_equal(object_each(stop_at, &ids[MANY / 2]), 7);
    for (uint64_t i = 0; i < MANY; i += 2) {
        assert_int_equal(object_destroy(ids[i]), 0);
        expected -= i;
    }
    sum = 0;
    assert_int_equal(object_each(note_visit, &sum), 0);
    assert_true(sum == before + expected);
    for (int i = 1; i < MANY; i += 2) {
        assert_int_equal(object_destroy(ids[i]), 0);
    }
}

/* ---- many at work ---- */

/* Handles that threads and processes make, use and destroy at the same time. */
typedef struct table {
    _Atomic uint64_t ids[SLOTS];
    _Atomic uint64_t made;
    _Atomic uint64_t destroyed;
    _Atomic uint64_t wrong;
    mark arrived;
} table;

static uint64_t make_another(table *t)
{
    object *o;
    uint64_t id;
    if (object_create(&o, sizeof(thing)) < 0) {
        return 0;
    }
    ((thing *) o)->number = 12345;
    if (object_publish(o, KIND_PART, 0, &id) < 0) {
        return 0;
    }
    atomic_fetch_add(&t->made, 1);
    return id;
}

static void use_thing(table *t, uint64_t id, bool destroy)
{
    object_guard guard;
    if (object_enter(&guard, id, KIND_PART) < 0) {
        return;
    }
    thing *used = (thing *) guard.object;
    if (destroy && object_destroy(id) == 0) {
        atomic_fetch_add(&t->destroyed, 1);
    }
    for (int i = 0; i < 20; i++) {
        t->wrong += *(volatile uint64_t *) &used->number != 12345;
    }
    object_leave(&guard);
}

static void work_on_table(table *t, uint64_t *random)
{
    _Atomic uint64_t *slot = &t->ids[next_random(random) % SLOTS];
    uint64_t id = atomic_load(slot);
    if (id == 0 || !object_is_there(id)) {
        uint64_t made = make_another(t);
        uint64_t before = atomic_exchange(slot, made);
        t->wrong += made == 0;
        use_thing(t, before, true);
    } else {
        use_thing(t, id, next_random(random) % 8 == 0);
    }
}

static void work_in_thread(void *argument, unsigned number)
{
    uint64_t random = number + 1;
    for (int i = 0; i < ROUNDS; i++) {
        work_on_table(argument, &random);
    }
}

static void clear_table(table *t)
{
    for (int i = 0; i < SLOTS; i++) {
        if (object_destroy(atomic_load(&t->ids[i])) == 0) {
            atomic_fetch_add(&t->destroyed, 1);
        }
    }
    assert_int_equal(atomic_load(&t->wrong), 0);
}

static void of_many_destroyers_one_succeeds(void **state)
{
    (void) state;
    table *t = shared_new(sizeof *t);
    system_run_threads(THREADS, work_in_thread, t);
    clear_table(t);
    assert_true(atomic_load(&t->made) > ROUNDS / 8);
    assert_true(atomic_load(&t->made) == atomic_load(&t->destroyed));
    shared_free(t);
}

static void use_this_process(void *argument, unsigned number)
{
    _Atomic int *wrong = argument;
    (void) number;
    if (kin_process_is_alive(kin_current_process()) != 1) {
        atomic_fetch_add(wrong, 1);
    }
}

/* What the library does at the end of a thread the system calls under locks of its own. */
static void threads_that_end_at_once_do_not_wait_for_each_other(void **state)
{
    _Atomic int wrong = 0;
    (void) state;
    for (int i = 0; i < MANY; i++) {
        system_run_threads(THREADS, use_this_process, &wrong);
    }
    assert_int_equal(atomic_load(&wrong), 0);
}

static int work_in_process(void *argument, size_t size)
{
    uint64_t told[2];
    CHECK(size == sizeof told);
    memcpy(told, argument, sizeof told);
    table *t = arena_at(told[0]);
    uint64_t random = told[1];
    mark_add(&t->arrived);
    for (int i = 0; i < ROUNDS || told[1] >= THREADS; i++) {
        work_on_table(t, &random);
    }
    return 0;
}

static void processes_share_objects(void **state)
{
    kin_process processes[THREADS];
    (void) state;
    table *t = shared_new(sizeof *t);
    for (uint64_t i = 0; i < THREADS; i++) {
        const uint64_t told[2] = {arena_offset(t), i};
        processes[i] = start(work_in_process, told, sizeof told);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(end_of(processes[i]), 0);
    }
    clear_table(t);
    assert_true(atomic_load(&t->made) == atomic_load(&t->destroyed));
    shared_free(t);
}

static int use_for_ever(void *argument, size_t size)
{
    object_guard guard;
    uint64_t told[2];
    CHECK(size == sizeof told);
    memcpy(told, argument, sizeof told);
    CHECK(object_enter(&guard, told[1], KIND_PART) == 0);
    mark_add(arena_at(told[0]));
    (void) kin_sleep(KIN_FOREVER);
    return CHILD_FAILED;
}

static void the_death_of_a_user_lets_go_of_the_object(void **state)
{
    (void) state;
    mark *m = shared_new(sizeof *m);
    uint64_t before = count_blocks();
    uint64_t id = make_thing(9);
    const uint64_t told[2] = {arena_offset(m), id};
    kin_process process = start(use_for_ever, told, sizeof told);
    assert_true(mark_await(m, 1));
    assert_int_equal(object_destroy(id), 0);
    assert_stale(id);
    assert_true(count_blocks() > before);
    kill_and_close(process);
    assert_true(count_blocks() == before);
    shared_free(m);
}

static void members_killed_at_any_moment_leave_no_dying_object(void **state)
{
    uint64_t random = 41;
    (void) state;
    for (uint32_t i = 0; i < VICTIMS; i++) {
        table *t = shared_new(sizeof *t);
        uint64_t before = count_blocks();
        const uint64_t told[2] = {arena_offset(t), THREADS + i};
        kin_process process = start(work_in_process, told, sizeof told);
        assert_true(mark_await(&t->arrived, 1));
        for (uint32_t spin = next_random(&random) % 20000; spin > 0; spin--) {
            (void) kin_clock_ns();
        }
        kill_and_close(process);
        clear_table(t);
        /* Between its publication and its entry in the table an object is known to nobody but its
           maker. */
        assert_true(count_blocks() <= before + 2);
        uint64_t left = 0;
        assert_int_equal(object_each(note_visit, &left), 0);
        assert_true(count_blocks() == before || left > 0);
        shared_free(t);
    }
}

static int destroy_all(uint64_t block, void *context)
{
    (void) context;
    const object *o = arena_at(block);
    uint64_t id = atomic_load(&o->id);
    if (object_kind_of(id) == KIND_PART) {
        (void) object_destroy(id);
    }
    return 0;
}

/* What the victims of the test before had published and told nobody. */
static int clear_lost(void **state)
{
    (void) arena_each_object(destroy_all, NULL);
    return end_test(state);
}

int main(int argc, char **argv)
{
    if (kin_init(&argc, &argv) < 0) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        CLEAN_TEST(a_handle_is_good_until_its_object_is_destroyed),
        CLEAN_TEST(an_object_that_was_not_published_is_dropped),
        CLEAN_TEST(handles_of_the_same_place_differ),
        CLEAN_TEST(any_number_may_be_asked_for),
        CLEAN_TEST(a_used_object_is_freed_by_its_last_user),
        CLEAN_TEST(a_thread_uses_a_few_objects_at_a_time),
        CLEAN_TEST(what_has_lost_its_owner_goes_with_the_next_recovery),
        CLEAN_TEST(all_objects_are_visited),
        CLEAN_TEST(of_many_destroyers_one_succeeds),
        CLEAN_TEST(threads_that_end_at_once_do_not_wait_for_each_other),
        CLEAN_TEST(processes_share_objects),
        CLEAN_TEST(the_death_of_a_user_lets_go_of_the_object),
        cmocka_unit_test_setup_teardown(members_killed_at_any_moment_leave_no_dying_object,
                                        begin_test, clear_lost),
    };
    return cmocka_run_group_tests(tests, warm_up, NULL);
}
