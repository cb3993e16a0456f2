/* Whoever is about to destroy something is killed before those who wait for it could see that, and
   nobody notices the death but them: they are told all the same. */
#include "support.h"

#include "core/sync.h"

#include <string.h>

enum { MOST_MS = 20000 };

/* What `keeper` says beside the member, see sync.c. */
#define DESTROYING (UINT64_C(1) << 31)

typedef struct board {
    uint64_t id; /* of what is waited for */
    mark begun;
} board;

static board *board_of(const void *argument)
{
    uint64_t offset;
    memcpy(&offset, argument, sizeof offset);
    return arena_at(offset);
}

/* As far as sync_destroy has come when it has said who destroys. */
static int begin_to_destroy(void *argument, size_t size)
{
    (void) size;
    board *b = board_of(argument);
    sync *s = sync_find(b->id, object_kind_of(b->id));
    CHECK(s != NULL);
    atomic_store(&s->keeper, member_self() | DESTROYING);
    mark_add(&b->begun);
    (void) kin_sleep(KIN_FOREVER);
    return 0;
}

/* ---- what is waited for, and how ---- */

static void make_event(board *b)
{
    assert_int_equal(kin_event_create((kin_event *) &b->id, NULL), 0);
}

static int wait_for_event(board *b)
{
    return kin_event_wait((kin_event){b->id}, MOST_MS);
}

static int wait_among_others(board *b)
{
    kin_wait_item item = {.id = b->id};
    int status = kin_wait(&item, 1, false, MOST_MS);
    return status == 0 ? item.ready : status;
}

static void make_semaphore(board *b)
{
    const kin_semaphore_options options = {.empty = true};
    assert_int_equal(kin_semaphore_create((kin_semaphore *) &b->id, &options), 0);
}

static int wait_for_semaphore(board *b)
{
    return kin_semaphore_acquire((kin_semaphore){b->id}, MOST_MS);
}

static void make_counter(board *b)
{
    assert_int_equal(kin_counter_create((kin_counter *) &b->id, NULL), 0);
}

static int wait_for_counter(board *b)
{
    return kin_counter_wait((kin_counter){b->id}, 1, MOST_MS);
}

static void make_lock(board *b)
{
    assert_int_equal(kin_lock_create((kin_lock *) &b->id, NULL), 0);
    assert_int_equal(kin_lock_acquire((kin_lock){b->id}, 0), 0);
}

static int wait_for_lock(board *b)
{
    return kin_lock_acquire((kin_lock){b->id}, MOST_MS);
}

static void make_read_lock(board *b)
{
    assert_int_equal(kin_rwlock_create((kin_rwlock *) &b->id, NULL), 0);
    assert_int_equal(kin_rwlock_read((kin_rwlock){b->id}, 0), 0);
}

static void leave_read_lock(board *b)
{
    assert_int_equal(kin_rwlock_release((kin_rwlock){b->id}), KIN_E_HANDLE);
}

static int wait_for_readers(board *b)
{
    return kin_rwlock_write((kin_rwlock){b->id}, MOST_MS);
}

static void make_barrier(board *b)
{
    assert_int_equal(kin_barrier_create((kin_barrier *) &b->id, 2, NULL), 0);
}

static int wait_at_barrier(board *b)
{
    return kin_barrier_wait((kin_barrier){b->id}, NULL, MOST_MS);
}

static void make_condition(board *b)
{
    assert_int_equal(kin_condition_create((kin_condition *) &b->id, NULL), 0);
}

/* Its own lock has gone with it, or not yet. */
static int wait_for_condition(board *b)
{
    kin_condition c = {b->id};
    int status = kin_condition_acquire(c, MOST_MS);
    return status == 0 ? kin_condition_wait(c, MOST_MS) : status;
}

static void make_queue(board *b)
{
    assert_int_equal(kin_queue_create((kin_queue *) &b->id, NULL), 0);
}

static int wait_for_item(board *b)
{
    char byte;
    return kin_queue_get((kin_queue){b->id}, &byte, 1, NULL, MOST_MS);
}

static void make_full_queue(board *b)
{
    const kin_queue_options options = {.capacity = 1};
    assert_int_equal(kin_queue_create((kin_queue *) &b->id, &options), 0);
    assert_int_equal(kin_queue_put((kin_queue){b->id}, "x", 1, 0), 0);
}

static int wait_for_room(board *b)
{
    return kin_queue_put((kin_queue){b->id}, "x", 1, MOST_MS);
}

static void make_joinable_queue(board *b)
{
    const kin_queue_options options = {.joinable = true};
    assert_int_equal(kin_queue_create((kin_queue *) &b->id, &options), 0);
    assert_int_equal(kin_queue_put((kin_queue){b->id}, "x", 1, 0), 0);
}

static int wait_until_done(board *b)
{
    return kin_queue_join((kin_queue){b->id}, MOST_MS);
}

static const struct {
    const char *name;
    void (*make)(board *b);
    int (*wait)(board *b);
    void (*leave)(board *b);
} things[] = {
    {"an event", make_event, wait_for_event, NULL},
    {"an event among other things", make_event, wait_among_others, NULL},
    {"a semaphore", make_semaphore, wait_for_semaphore, NULL},
    {"a semaphore among other things", make_semaphore, wait_among_others, NULL},
    {"a counter", make_counter, wait_for_counter, NULL},
    {"a lock", make_lock, wait_for_lock, NULL},
    {"a lock that is read", make_read_lock, wait_for_readers, leave_read_lock},
    {"a barrier", make_barrier, wait_at_barrier, NULL},
    {"a condition", make_condition, wait_for_condition, NULL},
    {"an item", make_queue, wait_for_item, NULL},
    {"an item among other things", make_queue, wait_among_others, NULL},
    {"room in a queue", make_full_queue, wait_for_room, NULL},
    {"the end of all work", make_joinable_queue, wait_until_done, NULL},
};
enum { THINGS = sizeof things / sizeof *things };

/* ---- each of them ---- */

typedef struct order {
    uint64_t board;
    uint32_t thing;
} order;

static int wait_for_thing(void *argument, size_t size)
{
    order told;
    CHECK(size == sizeof told);
    memcpy(&told, argument, sizeof told);
    return -things[told.thing].wait(arena_at(told.board));
}

static bool somebody_waits(uint64_t id)
{
    bool waits = false;
    for (uint32_t number = 1; number < arena_entries(ARENA_THREADS); number++) {
        thread_record *record = thread_at(number);
        waits = waits || atomic_load(&record->waits_for) == id || atomic_load(&record->watches);
    }
    return waits;
}

static void see_told(uint32_t thing)
{
    board *b = shared_new(sizeof *b);
    order told = {arena_offset(b), thing};
    things[thing].make(b);
    kin_process waiter = start(wait_for_thing, &told, sizeof told);
    while (!somebody_waits(b->id)) {
        assert_int_equal(kin_sleep(1), 0);
    }
    kin_process destroyer = start(begin_to_destroy, &told.board, sizeof told.board);
    assert_true(mark_await(&b->begun, 1));
    assert_int_equal(kin_process_kill(destroyer), 0);
    int status = -end_of(waiter);
    if (status != KIN_E_DESTROYED) {
        fail_msg("who waits for %s is told %d", things[thing].name, status);
    }
    assert_int_equal(end_of(destroyer), -KIN_SIGKILL);
    assert_null(sync_find(b->id, object_kind_of(b->id)));
    if (things[thing].leave != NULL) {
        things[thing].leave(b);
    }
    shared_free(b);
}

static void those_who_wait_learn_of_an_end_that_was_cut_short(void **state)
{
    (void) state;
    for (uint32_t thing = 0; thing < THINGS; thing++) {
        see_told(thing);
    }
}

int main(int argc, char **argv)
{
    if (kin_init(&argc, &argv) < 0) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        CLEAN_TEST(those_who_wait_learn_of_an_end_that_was_cut_short),
    };
    return cmocka_run_group_tests(tests, warm_up, NULL);
}
