/* The frame of the kill tests of queues; harness_queue.h has the plan. */
#include "harness_queue.h"

#include "tests/support_queue.h"

#include <stdlib.h>
#include <string.h>

enum { GOES_ON = 20, VICTIMS_ITEMS = 2, LATE = 1000 };

#define MILLISECOND INT64_C(1000000)

static const queue_operation *operations;
static size_t operation_count;
static const queue_operation *current; /* in each process the one that it takes part in */
static unsigned wanted_deaths;

typedef struct order {
    uint64_t stage;
    uint32_t operation;
    uint32_t number;
    uint32_t stepped;
} order;

queue_stage *queue_stage_of(const void *argument, size_t size, uint32_t *number)
{
    order told;
    CRASH_REQUIRE(size == sizeof told);
    memcpy(&told, argument, sizeof told);
    current = &operations[told.operation];
    if (number != NULL) {
        *number = told.number;
    }
    return arena_at(told.stage);
}

void queue_let_it_sleep(void)
{
    platform_sleep_ns(20 * MILLISECOND);
}

/* ---- items ---- */

size_t queue_item_size(uint32_t number)
{
    static const size_t sizes[] = {ITEM_LEAST, 100, QUEUE_LARGEST / 2, QUEUE_LARGEST};
    return current->size != 0 ? current->size : sizes[number % 4];
}

/* Two of the survivor's have the same one; the child's come among these. */
int64_t queue_item_priority(enum queue_producer producer, uint32_t number)
{
    return current->options.order != KIN_QUEUE_PRIORITY ? 0
           : producer == BY_SURVIVOR                    ? (int64_t) (number / 2)
                                                        : (int64_t) number;
}

size_t queue_next_item(queue_stage *s, enum queue_producer producer, void *data)
{
    uint32_t number = atomic_load(&s->put[producer]);
    size_t size = queue_item_size(number);
    item_fill(data, size, producer, number);
    return size;
}

void queue_note_put(queue_stage *s, enum queue_producer producer)
{
    atomic_fetch_add(&s->put[producer], 1);
}

void queue_put_next(queue_stage *s, enum queue_producer producer)
{
    static unsigned char data[QUEUE_LARGEST];
    int64_t priority = queue_item_priority(producer, atomic_load(&s->put[producer]));
    size_t size = queue_next_item(s, producer, data);
    CRASH_REQUIRE(kin_queue_put_priority(s->queue, data, size, priority, KIN_FOREVER) == 0);
    queue_note_put(s, producer);
}

void queue_note_taken(queue_stage *s, const void *data, size_t size, uint32_t deliveries)
{
    item_mark label;
    CRASH_REQUIRE(item_is_whole(data, size, &label));
    uint32_t i = atomic_fetch_add(&s->taken, 1);
    CRASH_REQUIRE(i < QUEUE_ITEMS && label.producer < QUEUE_PRODUCERS);
    s->list[i] = (queue_entry){label.producer, (uint32_t) label.number, deliveries};
    wait_raise(&s->moved);
}

void queue_await_taken(queue_stage *s, uint32_t count)
{
    for (;;) {
        uint32_t seen = wait_count(&s->moved);
        if (atomic_load(&s->taken) >= count) {
            return;
        }
        CRASH_REQUIRE(wait_for_change(&s->moved, seen, INT64_MAX) == 0);
    }
}

/* False if there is none. */
static bool take_one(queue_stage *s, kin_queue queue, int timeout_ms)
{
    kin_message m;
    int status = kin_queue_take(queue, &m, timeout_ms);
    if (status == KIN_E_TIMEOUT && timeout_ms == 0) {
        return false;
    }
    CRASH_REQUIRE(status == 0);
    queue_note_taken(s, m.data, m.size, m.deliveries);
    CRASH_REQUIRE(kin_queue_release(&m) == 0);
    return true;
}

void queue_take_next(queue_stage *s, kin_queue queue)
{
    (void) take_one(s, queue, KIN_FOREVER);
}

/* ---- children ---- */

static int live(void *argument, size_t size)
{
    order told;
    queue_stage *s = queue_stage_of(argument, size, NULL);
    memcpy(&told, argument, sizeof told);
    if (current->prepare != NULL) {
        current->prepare(s);
    }
    if (told.stepped) {
        step_begin();
        current->operate(s);
        step_end();
    } else {
        atomic_store(&s->begun, 1);
        wait_raise(&s->moved);
        while (atomic_load(&s->go) == 0) {
            platform_relax();
        }
        current->operate(s);
        (void) kin_sleep(KIN_FOREVER);
    }
    return 0;
}

/* Takes what comes first, and dies of it. */
static int be_victim(void *argument, size_t size)
{
    static unsigned char data[QUEUE_LARGEST];
    queue_stage *s = queue_stage_of(argument, size, NULL);
    for (int i = 0; i < VICTIMS_ITEMS; i++) {
        CRASH_REQUIRE(kin_queue_get(s->queue, data, sizeof data, NULL, KIN_FOREVER) == 0);
    }
    step_begin();
    step_end();
    return 0;
}

/* ---- the books ---- */

static bool is_lifo(const queue_operation *o)
{
    return o->options.order == KIN_QUEUE_LIFO;
}

static int compare(const void *a, const void *b)
{
    const queue_entry *x = a;
    const queue_entry *y = b;
    return x->producer != y->producer ? (x->producer > y->producer) - (x->producer < y->producer)
                                      : (x->number > y->number) - (x->number < y->number);
}

static void reverse(queue_entry *list, uint32_t count)
{
    for (uint32_t i = 0; i < count / 2; i++) {
        queue_entry other = list[i];
        list[i] = list[count - 1 - i];
        list[count - 1 - i] = other;
    }
}

/* With priorities the whole list rises. */
static void check_priorities(const queue_stage *s, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        const queue_entry *e = &s->list[i];
        CRASH_REQUIRE(queue_item_priority(e[-1].producer, e[-1].number) <=
                      queue_item_priority(e->producer, e->number));
    }
}

/* How many items of a producer there are: all of them in order, and one after the other unless some
   may be missing in between. The first is *first. */
static uint32_t count_of(const queue_stage *s, uint32_t count, uint32_t producer, bool scattered,
                         uint32_t *first)
{
    uint32_t next = 0;
    uint32_t there = 0;
    for (uint32_t i = 0; i < count; i++) {
        const queue_entry *e = &s->list[i];
        if (e->producer == producer) {
            *first = there == 0 ? e->number : *first;
            CRASH_REQUIRE(there == 0 || e->number == next || (scattered && e->number > next));
            next = e->number + 1;
            there++;
        }
    }
    return there;
}

static bool redelivers(const queue_operation *o)
{
    return o->options.redeliver;
}

static bool has_to_be_done(const queue_operation *o)
{
    return o->options.joinable || redelivers(o);
}

/* What has been delivered to the dead one comes first, and says so. */
static void check_deliveries(const queue_operation *o, const queue_stage *s, uint32_t count)
{
    uint32_t certain = atomic_load(&s->got) + (o->victim ? VICTIMS_ITEMS : 0);
    for (uint32_t i = 0; i < count; i++) {
        const queue_entry *e = &s->list[i];
        bool may = redelivers(o) && !o->letters && e->producer == BY_SURVIVOR;
        CRASH_REQUIRE(e->deliveries >= 1 && e->deliveries <= (may ? 3u : 1u));
        if (may && e->number < certain && !is_lifo(o)) {
            CRASH_REQUIRE(e->deliveries >= 2);
        }
        if (may && e->number >= certain + o->most_got && !is_lifo(o)) {
            CRASH_REQUIRE(e->deliveries == 1);
        }
    }
}

/* unordered: it was noticed late that the dead one had something; or others have got some, too. */
static void check_books(const queue_operation *o, queue_stage *s, bool unordered)
{
    uint32_t count = atomic_load(&s->taken);
    if (is_lifo(o)) {
        reverse(s->list, count);
    }
    if (o->options.order == KIN_QUEUE_PRIORITY && !redelivers(o)) {
        check_priorities(s, count);
    }
    if (unordered) {
        qsort(s->list, count, sizeof *s->list, compare);
    }
    if (!o->moves) {
        check_deliveries(o, s, count);
    }
    uint32_t certain = redelivers(o) ? atomic_load(&s->finished) : atomic_load(&s->got);
    uint32_t doubt = redelivers(o) ? o->most_finished : o->most_got;
    uint32_t lost = 0;
    bool scattered = o->others[1] != NULL;
    for (uint32_t producer = 0; producer < QUEUE_PRODUCERS; producer++) {
        uint32_t first = 0;
        uint32_t there = count_of(s, count, producer, scattered, &first);
        uint32_t put = atomic_load(&s->put[producer]);
        if (producer == BY_CHILD) {
            CRASH_REQUIRE(first == 0 && there >= put && there <= put + o->most_put);
        } else {
            CRASH_REQUIRE(there <= put);
            CRASH_REQUIRE(there == 0 || first + there == put || is_lifo(o) || scattered);
            lost += put - there;
        }
    }
    if (o->moves) {
        certain = 0; /* it is where it was, or there, or else it is gone with the dead one */
        doubt = redelivers(o) || atomic_load(&s->finished) != 0 ? 0 : doubt;
    }
    CRASH_REQUIRE(lost >= certain && lost <= certain + doubt);
}

/* Takes what is left. Until the death is known to everybody it waits for what has to be there. */
static void drain(const queue_operation *o, queue_stage *s, kin_process *unseen)
{
    if (unseen->id != 0) {
        uint32_t away = redelivers(o) && !o->letters ? atomic_load(&s->finished) + o->most_finished
                                                     : atomic_load(&s->got) + o->most_got;
        uint32_t put = atomic_load(&s->put[BY_SURVIVOR]);
        while (atomic_load(&s->taken) + away < put && !o->moves) {
            queue_take_next(s, s->queue);
        }
        CRASH_REQUIRE(crash_end(*unseen, false) == -KIN_SIGKILL);
        unseen->id = 0;
    }
    while ((o->letters || o->moves) && take_one(s, s->other, 0)) {
    }
    while (take_one(s, s->queue, 0)) {
    }
    CRASH_REQUIRE(kin_queue_size(s->queue) == 0 && kin_queue_is_empty(s->queue) == 1);
}

static void go_on(const queue_stage *s)
{
    static unsigned char data[QUEUE_LARGEST];
    bool bounded = current->options.capacity != 0 || current->options.capacity_bytes != 0;
    for (uint32_t i = 0; i < GOES_ON; i++) {
        size_t size = queue_item_size(i);
        item_fill(data, size, 9, i);
        CRASH_REQUIRE(kin_queue_put(s->queue, data, size, KIN_FOREVER) == 0);
        if (!bounded && i % 2 == 0) {
            continue; /* two at a time */
        }
        for (uint32_t left = bounded ? 1 : 2; left > 0; left--) {
            uint32_t which = current->options.order == KIN_QUEUE_LIFO ? i + left - (bounded ? 1 : 2)
                                                                      : i - left + 1;
            size_t got = 0;
            CRASH_REQUIRE(kin_queue_get(s->queue, data, sizeof data, &got, KIN_FOREVER) == 0);
            CRASH_REQUIRE(item_is(data, got, 9, which));
            CRASH_REQUIRE(!has_to_be_done(current) || kin_queue_task_done(s->queue) == 0);
        }
    }
}

/* ---- the survivor ---- */

static queue_stage *new_stage(const queue_operation *o)
{
    uint64_t block;
    kin_queue_options options = o->options;
    CRASH_REQUIRE(arena_allocate(&block, sizeof(queue_stage), ARENA_ZERO) == 0);
    CRASH_REQUIRE(arena_publish(block) == 0);
    queue_stage *s = arena_at(block);
    current = o;
    CRASH_REQUIRE(kin_queue_create(&s->other, NULL) == 0);
    if (o->letters) {
        options.dead_letters = s->other;
        options.max_deliveries = 1;
    }
    CRASH_REQUIRE(kin_queue_create(&s->queue, &options) == 0);
    for (uint32_t i = 0; i < o->prior; i++) {
        queue_put_next(s, BY_SURVIVOR);
    }
    return s;
}

static void destroy_again(kin_queue queue, bool may_be_gone)
{
    int status = kin_queue_destroy(queue);
    CRASH_REQUIRE(status == 0 || (may_be_gone && status == KIN_E_HANDLE));
}

static void free_stage(queue_stage *s, bool ended)
{
    destroy_again(s->queue, ended);
    destroy_again(s->other, false);
    destroy_again((kin_queue){s->made}, true);
    CRASH_REQUIRE(arena_free(arena_offset(s)) == 0);
}

static void survive(const queue_operation *o, queue_stage *s, kin_process *others,
                    kin_process *unseen)
{
    bool unordered = (unseen->id != 0 && redelivers(o)) || o->others[1] != NULL || o->letters;
    if (o->ends) {
        destroy_again(s->queue, true); /* the dead one may have come to it */
    }
    if (o->see != NULL) {
        o->see(s);
    }
    atomic_store(&s->stop, 1);
    for (int i = 0; i < QUEUE_OTHERS && o->others[i] != NULL; i++) {
        CRASH_REQUIRE(crash_end(others[i], false) == 0);
    }
    if (o->after != NULL) {
        o->after(s);
    }
    if (o->ends) {
        CRASH_REQUIRE(unseen->id == 0 || crash_end(*unseen, false) == -KIN_SIGKILL);
        return;
    }
    drain(o, s, unseen);
    check_books(o, s, unordered);
    go_on(s);
    if (has_to_be_done(o)) {
        CRASH_REQUIRE(kin_queue_join(s->queue, LATE) == 0);
    }
}

static kin_process start_child(const order *told, queue_stage *s)
{
    kin_process child = crash_start(live, told, sizeof *told);
    if (told->stepped) {
        CRASH_REQUIRE(step_await(child));
    } else {
        for (uint32_t seen = 0; atomic_load(&s->begun) == 0;) {
            CRASH_REQUIRE(wait_for_change(&s->moved, seen, INT64_MAX) == 0);
            seen = wait_count(&s->moved);
        }
    }
    return child;
}

/* Where the child prepares something it comes before the others. */
static kin_process start_all(const queue_operation *o, queue_stage *s, kin_process *others,
                             bool stepped)
{
    order told = {
        .stage = arena_offset(s), .operation = (uint32_t) (o - operations), .stepped = stepped};
    kin_process child = {0};
    bool first = o->prepare != NULL;
    if (first) {
        child = start_child(&told, s);
    }
    for (; told.number < QUEUE_OTHERS && o->others[told.number] != NULL; told.number++) {
        others[told.number] = crash_start(o->others[told.number], &told, sizeof told);
    }
    while (queue_sleepers() < o->sleep) {
        platform_sleep_ns(MILLISECOND / 10);
    }
    return first ? child : start_child(&told, s);
}

/* Its death is noticed by whoever comes to the queue. */
static kin_process start_victim(const queue_operation *o, queue_stage *s)
{
    order told = {.stage = arena_offset(s), .operation = (uint32_t) (o - operations)};
    kin_process victim = crash_start(be_victim, &told, sizeof told);
    CRASH_REQUIRE(step_await(victim));
    step_kill(victim);
    crash_count(0, 1);
    return victim;
}

static void end_life(const queue_operation *o, queue_stage *s, kin_process child,
                     kin_process victim, kin_process *others, bool unseen, int64_t limit)
{
    int64_t died = platform_clock_ns();
    kin_process late = child;
    if (!unseen) {
        CRASH_REQUIRE(crash_end(child, false) == -KIN_SIGKILL);
        late.id = 0;
    }
    if (victim.id != 0) {
        CRASH_REQUIRE(crash_end(victim, false) == -KIN_SIGKILL);
    }
    survive(o, s, others, &late);
    crash_limit(died, limit);
    free_stage(s, o->ends);
}

static void die_after(const queue_operation *o, step_path *path, uint64_t at)
{
    kin_arena_usage before;
    kin_process others[QUEUE_OTHERS] = {{0}};
    kin_process victim = {0};
    crash_watch(o->name, 0, at);
    crash_look(&before);
    queue_stage *s = new_stage(o);
    kin_process child = start_all(o, s, others, true);
    if (o->victim) {
        victim = start_victim(o, s);
    }
    step_result result = at == 0 ? step_learn(child, path) : step_on(child, path, at);
    CRASH_REQUIRE(result != STEP_ENDED);
    step_kill(child);
    crash_count(at == 0 ? path->count : at, 1);
    /* Half of the deaths are noticed by those alone who use the queue. */
    end_life(o, s, child, victim, others, at % 2 == 0 && !o->victim, CRASH_SECOND);
    crash_check(&before, false);
    crash_calm();
}

static void die_at_each(void **state)
{
    const queue_operation *o = *state;
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

/* ---- at random ---- */

static void die_at_random(const queue_operation *o, uint64_t *seed, unsigned number)
{
    kin_arena_usage before;
    kin_process others[QUEUE_OTHERS] = {{0}};
    crash_watch(o->name, 0, number);
    crash_look(&before);
    queue_stage *s = new_stage(o);
    kin_process child = start_all(o, s, others, false);
    uint64_t most = crash_random(seed) % 4 == 0 ? 2 * MILLISECOND : 30000;
    int64_t until = platform_clock_ns() + (int64_t) (crash_random(seed) % most);
    atomic_store(&s->go, 1);
    while (platform_clock_ns() < until) {
    }
    CRASH_REQUIRE(kin_process_kill(child) == 0);
    crash_count(0, 1);
    end_life(o, s, child, (kin_process){0}, others, false, 5 * CRASH_SECOND);
    crash_check(&before, true);
    crash_calm();
}

static void all_die_at_random(void **state)
{
    (void) state;
    uint64_t seed = crash_seed();
    unsigned deaths = crash_wanted(wanted_deaths);
    for (unsigned i = 0; i < deaths; i++) {
        const queue_operation *o = &operations[i % operation_count];
        if (!o->victim) {
            die_at_random(o, &seed, i);
        }
    }
}

int queue_crash_main(int argc, char **argv, const queue_operation *table, size_t count,
                     unsigned random_deaths)
{
    static struct CMUnitTest tests[CRASH_TESTS];
    operations = table;
    operation_count = count;
    wanted_deaths = random_deaths;
    CRASH_REQUIRE(count < CRASH_TESTS);
    for (size_t i = 0; i < count; i++) {
        tests[i] = (struct CMUnitTest){table[i].name, die_at_each, crash_begin_steps,
                                       crash_end_steps, (void *) (uintptr_t) &table[i]};
    }
    tests[count] = (struct CMUnitTest) cmocka_unit_test(all_die_at_random);
    return crash_run(argc, argv, tests, count + 1);
}
