/* Deaths of those who set events and wait for them, who take and give permits of semaphores, and
   who wait for many things. Within a second all others go on: what was set or released before the
   death is taken by those who are left, permits that belonged to the dead one come back, and a
   thousand more operations succeed. */
#include "harness.h"

#include <string.h>

enum { RANDOM_DEATHS = 150, CROWD = 6, PERMITS = 2, MANY = 1000, TIMES_OUT_MS = 5, OTHERS = 2 };

#define MILLISECOND INT64_C(1000000)

typedef struct stage {
    kin_event event;
    kin_semaphore semaphore;
    uint64_t other; /* what the child makes itself */
    _Atomic uint32_t taken;
    _Atomic uint32_t inside;
    _Atomic uint32_t stop;
    _Atomic uint32_t takers; /* of events, that have not ended */
    wait_signal moved;       /* raised when something has been taken */
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

static void note_taken(stage *s)
{
    atomic_fetch_add(&s->taken, 1);
    wait_raise(&s->moved);
}

/* Those who sleep for the things of a stage, one by one or together. */
static uint32_t sleepers_of(const stage *s)
{
    uint32_t count = 0;
    for (uint32_t number = 1; number < arena_entries(ARENA_THREADS); number++) {
        thread_record *record = thread_at(number);
        uint64_t id = atomic_load(&record->waits_for);
        count += atomic_load(&record->watches) != 0 ||
                 (id != 0 && (id == s->event.id || id == s->semaphore.id));
    }
    return count;
}

/* Long enough for one that is stepped, and slow, to fall asleep where others are long asleep. */
static void let_it_sleep(void)
{
    platform_sleep_ns(20 * MILLISECOND);
}

/* ---- those who are not stepped ---- */

static int wait_once(void *argument, size_t size)
{
    order told;
    stage *s = stage_of(argument, size, &told);
    CRASH_REQUIRE(kin_event_wait(s->event, KIN_FOREVER) == 0);
    return 0;
}

static int take_events(void *argument, size_t size)
{
    order told;
    stage *s = stage_of(argument, size, &told);
    atomic_fetch_add(&s->takers, 1);
    while (atomic_load(&s->stop) == 0) {
        CRASH_REQUIRE(kin_event_wait(s->event, KIN_FOREVER) == 0);
        note_taken(s);
    }
    atomic_fetch_sub(&s->takers, 1);
    return 0;
}

static int set_events(void *argument, size_t size)
{
    order told;
    stage *s = stage_of(argument, size, &told);
    while (atomic_load(&s->stop) == 0) {
        let_it_sleep();
        CRASH_REQUIRE(kin_event_set(s->event) == 0);
    }
    return 0;
}

static int wait_for_end(void *argument, size_t size)
{
    order told;
    stage *s = stage_of(argument, size, &told);
    int status = told.number == 0 ? kin_event_wait(s->event, KIN_FOREVER)
                                  : kin_semaphore_acquire(s->semaphore, KIN_FOREVER);
    CRASH_REQUIRE(status == KIN_E_DESTROYED);
    return 0;
}

static int take_permits(void *argument, size_t size)
{
    order told;
    stage *s = stage_of(argument, size, &told);
    while (atomic_load(&s->stop) == 0) {
        CRASH_REQUIRE(kin_semaphore_acquire(s->semaphore, KIN_FOREVER) == 0);
        note_taken(s);
    }
    return 0;
}

static int give_permits(void *argument, size_t size)
{
    order told;
    stage *s = stage_of(argument, size, &told);
    while (atomic_load(&s->stop) == 0) {
        let_it_sleep();
        if (kin_semaphore_value(s->semaphore) == 0) {
            CRASH_REQUIRE(kin_semaphore_release(s->semaphore, 1) == 0);
        }
    }
    return 0;
}

/* Owned ones: has one for a while, and then none for so long that one that is stepped, and slow,
   comes to it. */
static int use_permits(void *argument, size_t size)
{
    order told;
    stage *s = stage_of(argument, size, &told);
    while (atomic_load(&s->stop) == 0) {
        CRASH_REQUIRE(kin_semaphore_acquire(s->semaphore, KIN_FOREVER) == 0);
        CRASH_REQUIRE(atomic_fetch_add(&s->inside, 1) == 0);
        platform_sleep_ns(10 * MILLISECOND);
        atomic_fetch_sub(&s->inside, 1);
        CRASH_REQUIRE(kin_semaphore_release(s->semaphore, 1) == 0);
        note_taken(s);
        let_it_sleep();
    }
    return 0;
}

static int use_permit_once(void *argument, size_t size)
{
    order told;
    stage *s = stage_of(argument, size, &told);
    CRASH_REQUIRE(kin_semaphore_acquire(s->semaphore, KIN_FOREVER) == 0);
    CRASH_REQUIRE(kin_semaphore_release(s->semaphore, 1) == 0);
    return 0;
}

static void wait_for_many(stage *s)
{
    kin_wait_item items[] = {{.id = s->semaphore.id}, {.id = s->event.id}};
    CRASH_REQUIRE(kin_wait(items, 2, false, KIN_FOREVER) == 0);
    CRASH_REQUIRE(items[0].ready == 0 && items[1].ready == 1);
}

static int wait_for_many_once(void *argument, size_t size)
{
    order told;
    wait_for_many(stage_of(argument, size, &told));
    return 0;
}

/* Sets the event when both of the others sleep for it, one of which may be gone. */
static int set_when_all_sleep(void *argument, size_t size)
{
    order told;
    stage *s = stage_of(argument, size, &told);
    while (sleepers_of(s) < 2 && atomic_load(&s->stop) == 0) {
        platform_sleep_ns(MILLISECOND / 10);
    }
    CRASH_REQUIRE(kin_event_set(s->event) == 0);
    return 0;
}

/* ---- what they are stepped in ---- */

static void set(stage *s)
{
    CRASH_REQUIRE(kin_event_set(s->event) == 0);
}

static void set_and_clear(stage *s)
{
    set(s);
    CRASH_REQUIRE(kin_event_clear(s->event) == 0);
}

static void wait_for_event(stage *s)
{
    CRASH_REQUIRE(kin_event_wait(s->event, KIN_FOREVER) == 0);
}

static void wait_for_event_in_vain(stage *s)
{
    CRASH_REQUIRE(kin_event_wait(s->event, TIMES_OUT_MS) == KIN_E_TIMEOUT);
}

static void make_and_destroy_event(stage *s)
{
    kin_event *made = (kin_event *) &s->other;
    CRASH_REQUIRE(kin_event_create(made, NULL) == 0);
    CRASH_REQUIRE(kin_event_destroy(*made) == 0);
}

static void make_and_destroy_semaphore(stage *s)
{
    const kin_semaphore_options owned = {.value = PERMITS, .owned = true};
    kin_semaphore *made = (kin_semaphore *) &s->other;
    CRASH_REQUIRE(kin_semaphore_create(made, &owned) == 0);
    CRASH_REQUIRE(kin_semaphore_destroy(*made) == 0);
}

static void destroy_both(stage *s)
{
    CRASH_REQUIRE(kin_event_destroy(s->event) == 0);
    CRASH_REQUIRE(kin_semaphore_destroy(s->semaphore) == 0);
}

static void acquire(stage *s)
{
    CRASH_REQUIRE(kin_semaphore_acquire(s->semaphore, KIN_FOREVER) == 0);
}

static void acquire_in_vain(stage *s)
{
    CRASH_REQUIRE(kin_semaphore_acquire(s->semaphore, TIMES_OUT_MS) == KIN_E_TIMEOUT);
}

static void acquire_all(stage *s)
{
    for (int i = 0; i < PERMITS; i++) {
        acquire(s);
    }
}

static void release_all(stage *s)
{
    CRASH_REQUIRE(kin_semaphore_release(s->semaphore, PERMITS) == 0);
}

static void acquire_and_release_one(stage *s)
{
    acquire(s);
    CRASH_REQUIRE(kin_semaphore_release(s->semaphore, 1) == 0);
}

static void acquire_and_release(stage *s)
{
    acquire_all(s);
    release_all(s);
}

/* ---- what the survivor sees to ---- */

static void await_taken(stage *s, uint32_t count)
{
    for (;;) {
        uint32_t seen = wait_count(&s->moved);
        if ((int32_t) (atomic_load(&s->taken) - count) >= 0) {
            return;
        }
        CRASH_REQUIRE(wait_for_change(&s->moved, seen, INT64_MAX) == 0);
    }
}

static void set_for_those_who_wait(stage *s)
{
    set(s);
}

/* What has been set is taken, and so is each time more. */
static void set_again_and_again(stage *s)
{
    while (kin_event_is_set(s->event) == 1) {
        platform_sleep_ns(MILLISECOND / 10);
    }
    for (int i = 0; i < MANY; i++) {
        uint32_t before = atomic_load(&s->taken);
        set(s);
        await_taken(s, before + 1);
    }
}

static void see_them_go_on(stage *s)
{
    await_taken(s, atomic_load(&s->taken) + 5);
}

static void stop_takers_of_events(stage *s)
{
    atomic_store(&s->stop, 1);
    while (atomic_load(&s->takers) > 0) {
        set(s);
        platform_sleep_ns(MILLISECOND / 10);
    }
}

static void release_again_and_again(stage *s)
{
    while (kin_semaphore_value(s->semaphore) > 0) {
        platform_sleep_ns(MILLISECOND / 10);
    }
    for (int i = 0; i < MANY; i++) {
        uint32_t before = atomic_load(&s->taken);
        CRASH_REQUIRE(kin_semaphore_release(s->semaphore, 1) == 0);
        await_taken(s, before + 1);
    }
}

/* All or nothing has been released. */
static void see_permits_taken(stage *s)
{
    while (kin_semaphore_value(s->semaphore) > 0) {
        platform_sleep_ns(MILLISECOND / 10);
    }
    if (atomic_load(&s->taken) != 0) {
        await_taken(s, PERMITS);
        CRASH_REQUIRE(atomic_load(&s->taken) == PERMITS);
    }
    release_again_and_again(s);
}

static void stop_takers_of_permits(stage *s)
{
    atomic_store(&s->stop, 1);
    CRASH_REQUIRE(kin_semaphore_release(s->semaphore, OTHERS) == 0);
}

static void stop_users(stage *s)
{
    atomic_store(&s->stop, 1);
}

/* What the dead one had is lost, and nothing else. */
static void count_permits(stage *s)
{
    int value = kin_semaphore_value(s->semaphore);
    CRASH_REQUIRE(value >= 0 && value <= PERMITS);
    CRASH_REQUIRE(value == PERMITS ||
                  kin_semaphore_release(s->semaphore, (uint32_t) (PERMITS - value)) == 0);
    for (int i = 0; i < MANY; i++) {
        acquire_and_release(s);
    }
}

static void have_all_permits(stage *s)
{
    for (int i = 0; i < MANY; i++) {
        acquire_and_release(s);
    }
}

typedef struct operation {
    const char *name;
    void (*prepare)(stage *s);
    void (*operate)(stage *s);
    int (*others[OTHERS])(void *argument, size_t size);
    uint32_t sleep; /* so many of the others sleep before it begins */
    void (*see)(stage *s);
    void (*stop)(stage *s);
    bool auto_reset; /* the event */
    bool owned;      /* the semaphore */
    uint32_t permits;
    bool ends; /* both */
} operation;

static const operation operations[] = {
    {.name = "set",
     .operate = set,
     .others = {wait_once, wait_once},
     .sleep = 2,
     .see = set_for_those_who_wait},
    {.name = "set and clear",
     .operate = set_and_clear,
     .others = {wait_once, wait_once},
     .sleep = 2,
     .see = set_for_those_who_wait},
    {.name = "set one that resets itself",
     .operate = set,
     .others = {take_events, take_events},
     .sleep = 2,
     .see = set_again_and_again,
     .stop = stop_takers_of_events,
     .auto_reset = true},
    {.name = "wait for an event that resets itself",
     .operate = wait_for_event,
     .others = {take_events, set_events},
     .see = see_them_go_on,
     .stop = stop_takers_of_events,
     .auto_reset = true},
    {.name = "wait for an event in vain",
     .operate = wait_for_event_in_vain,
     .others = {wait_once, NULL},
     .sleep = 1,
     .see = set_for_those_who_wait},
    {.name = "make and destroy an event", .operate = make_and_destroy_event},
    {.name = "make and destroy a semaphore", .operate = make_and_destroy_semaphore},
    {.name = "destroy",
     .operate = destroy_both,
     .others = {wait_for_end, wait_for_end},
     .sleep = 2,
     .ends = true},
    {.name = "acquire and release",
     .operate = acquire_and_release,
     .see = count_permits,
     .permits = PERMITS},
    {.name = "release",
     .operate = release_all,
     .others = {take_permits, take_permits},
     .sleep = 2,
     .see = see_permits_taken,
     .stop = stop_takers_of_permits},
    {.name = "wait for a permit",
     .operate = acquire,
     .others = {take_permits, give_permits},
     .see = see_them_go_on,
     .stop = stop_takers_of_permits},
    {.name = "wait for a permit in vain", .operate = acquire_in_vain, .see = count_permits},
    {.name = "acquire and release what is owned",
     .operate = acquire_and_release,
     .see = have_all_permits,
     .owned = true,
     .permits = PERMITS},
    {.name = "wait for what is owned",
     .operate = acquire_and_release_one,
     .others = {use_permits, use_permits},
     .see = see_them_go_on,
     .stop = stop_users,
     .owned = true,
     .permits = 1},
    {.name = "release what is owned",
     .prepare = acquire_all,
     .operate = release_all,
     .others = {use_permit_once, use_permit_once},
     .sleep = 2,
     .owned = true,
     .permits = PERMITS},
    {.name = "wait for many",
     .operate = wait_for_many,
     .others = {wait_for_many_once, set_when_all_sleep},
     .sleep = 1,
     .see = set_for_those_who_wait,
     .stop = stop_users},
};
enum { OPERATIONS = sizeof operations / sizeof *operations };

static int live_by_steps(void *argument, size_t size)
{
    order told;
    stage *s = stage_of(argument, size, &told);
    const operation *o = &operations[told.operation];
    if (o->prepare != NULL) {
        o->prepare(s);
    }
    step_begin();
    o->operate(s);
    step_end();
    return 0;
}

/* ---- the survivor ---- */

static stage *new_stage(const operation *o)
{
    uint64_t block;
    CRASH_REQUIRE(arena_allocate(&block, sizeof(stage), ARENA_ZERO) == 0);
    CRASH_REQUIRE(arena_publish(block) == 0);
    stage *s = arena_at(block);
    const kin_event_options event = {.auto_reset = o->auto_reset};
    const kin_semaphore_options semaphore = {
        .owned = o->owned, .value = o->permits, .empty = o->permits == 0};
    CRASH_REQUIRE(kin_event_create(&s->event, &event) == 0);
    CRASH_REQUIRE(kin_semaphore_create(&s->semaphore, &semaphore) == 0);
    return s;
}

static void free_stage(stage *s, bool ended)
{
    int status = kin_event_destroy(s->event);
    CRASH_REQUIRE(status == 0 || (ended && status == KIN_E_HANDLE));
    status = kin_semaphore_destroy(s->semaphore);
    CRASH_REQUIRE(status == 0 || (ended && status == KIN_E_HANDLE));
    /* If the dead one has published it. */
    status = kin_event_destroy((kin_event){s->other});
    if (status == KIN_E_HANDLE) {
        status = kin_semaphore_destroy((kin_semaphore){s->other});
    }
    CRASH_REQUIRE(status == 0 || status == KIN_E_HANDLE);
    CRASH_REQUIRE(arena_free(arena_offset(s)) == 0);
}

static kin_process start_stepped(const operation *o, stage *s, kin_process *others)
{
    order told = {.stage = arena_offset(s), .operation = (uint32_t) (o - operations)};
    kin_process child = {0};
    if (o->prepare != NULL) {
        child = crash_start(live_by_steps, &told, sizeof told);
        CRASH_REQUIRE(step_await(child));
    }
    for (told.number = 0; told.number < OTHERS && o->others[told.number] != NULL; told.number++) {
        others[told.number] = crash_start(o->others[told.number], &told, sizeof told);
    }
    while (sleepers_of(s) < o->sleep) {
        platform_sleep_ns(MILLISECOND / 10);
    }
    if (o->prepare == NULL) {
        child = crash_start(live_by_steps, &told, sizeof told);
        CRASH_REQUIRE(step_await(child));
    }
    return child;
}

static void survive(const operation *o, stage *s)
{
    if (o->ends) {
        int status = kin_event_destroy(s->event); /* the dead one may have come to it */
        CRASH_REQUIRE(status == 0 || status == KIN_E_HANDLE);
        status = kin_semaphore_destroy(s->semaphore);
        CRASH_REQUIRE(status == 0 || status == KIN_E_HANDLE);
    }
    if (o->see != NULL) {
        o->see(s);
    }
    if (o->stop != NULL) {
        o->stop(s);
    }
}

static void die_after(const operation *o, step_path *path, uint64_t at)
{
    kin_arena_usage before;
    kin_process others[OTHERS] = {{0}};
    crash_watch(o->name, 0, at);
    crash_look(&before);
    stage *s = new_stage(o);
    kin_process child = start_stepped(o, s, others);
    step_result result = at == 0 ? step_learn(child, path) : step_on(child, path, at);
    CRASH_REQUIRE(result != STEP_ENDED);
    int64_t died = platform_clock_ns();
    step_kill(child);
    crash_count(at == 0 ? path->count : at, 1);
    /* Half of the deaths are noticed by those alone who wait. */
    bool unseen = at % 2 == 0 && o->others[0] != NULL;
    if (!unseen) {
        CRASH_REQUIRE(crash_end(child, false) == -KIN_SIGKILL);
    }
    survive(o, s);
    for (int i = 0; i < OTHERS && o->others[i] != NULL; i++) {
        CRASH_REQUIRE(crash_end(others[i], false) == 0);
    }
    if (unseen) {
        CRASH_REQUIRE(crash_end(child, false) == -KIN_SIGKILL);
    }
    CRASH_REQUIRE(!o->owned || kin_semaphore_value(s->semaphore) == (int) o->permits);
    crash_limit(died, CRASH_SECOND);
    free_stage(s, o->ends);
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

/* ---- at random: a crowd hands events on and uses permits that are owned ---- */

static int hand_on(void *argument, size_t size)
{
    order told;
    stage *s = stage_of(argument, size, &told);
    while (atomic_load(&s->stop) == 0) {
        kin_wait_item items[] = {{.id = s->event.id}, {.id = kin_parent_process().id}};
        if (told.number % 3 == 0) {
            CRASH_REQUIRE(kin_wait(items, 2, false, 50) <= 0);
        }
        int status = kin_event_wait(s->event, 20);
        CRASH_REQUIRE(status == 0 || status == KIN_E_TIMEOUT);
        status = kin_semaphore_acquire(s->semaphore, KIN_FOREVER);
        CRASH_REQUIRE(status == 0);
        if (told.number % 2 == 0) {
            CRASH_REQUIRE(kin_event_set(s->event) == 0);
        }
        CRASH_REQUIRE(kin_semaphore_release(s->semaphore, 1) == 0);
        CRASH_REQUIRE(kin_event_set(s->event) == 0);
        note_taken(s);
    }
    return 0;
}

static void a_crowd_dies_at_random(void **state)
{
    (void) state;
    const operation crowded = {.auto_reset = true, .owned = true, .permits = PERMITS};
    uint64_t seed = crash_seed();
    kin_arena_usage before;
    kin_process crowd[CROWD];
    crash_watch("a crowd at random", 0, 0);
    crash_look(&before);
    stage *s = new_stage(&crowded);
    order told = {.stage = arena_offset(s)};
    for (told.number = 0; told.number < CROWD; told.number++) {
        crowd[told.number] = crash_start(hand_on, &told, sizeof told);
    }
    unsigned deaths = crash_wanted(RANDOM_DEATHS);
    for (unsigned i = 0; i < deaths; i++) {
        crash_watch("a crowd at random", 0, i);
        await_taken(s, atomic_load(&s->taken) + 20);
        platform_sleep_ns((int64_t) (crash_random(&seed) % MILLISECOND));
        told.number = (uint32_t) (crash_random(&seed) % CROWD);
        CRASH_REQUIRE(kin_process_kill(crowd[told.number]) == 0);
        CRASH_REQUIRE(crash_end(crowd[told.number], true) == -KIN_SIGKILL);
        crash_count(0, 1);
        crowd[told.number] = crash_start(hand_on, &told, sizeof told);
    }
    await_taken(s, atomic_load(&s->taken) + 20);
    atomic_store(&s->stop, 1);
    for (int i = 0; i < CROWD; i++) {
        CRASH_REQUIRE(crash_end(crowd[i], false) == 0);
    }
    CRASH_REQUIRE(kin_semaphore_value(s->semaphore) == PERMITS);
    have_all_permits(s);
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
