/* The frame of the kill tests; harness.h has the plan. */
#include "harness.h"

#include "core/heap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CHILD_FAILED = 99,
    CONTEXTS = 8,
    COSTLY_IN = 64,  /* one in so many of what is chosen at random */
    GROWTH = 1 << 20 /* bytes that may stay committed: tables, and slabs for later */
};

#define THOROUGH (CRASH_SECOND / 2) /* for each operation: with less, fewer die at random, too */
#define HANG (20 * CRASH_SECOND)
#define CROWDED (5 * CRASH_SECOND) /* for a death beside busy children on all processors */
#define LIFE (60 * CRASH_SECOND)   /* of a child at random whose survivor is gone */

static const crash_operation *operations;
static unsigned operation_count;
static crash_part *stage_part;
static crash_context *contexts;
static unsigned wanted_deaths;
static bool in_child;
static uint64_t row_seed;
static int64_t row_time = CRASH_SECOND;

static struct {
    unsigned operations;
    uint64_t instructions;
    uint64_t deaths;
    int64_t longest; /* that the survivor was busy with a death */
} sums;

/* Where the survivor is. */
static struct {
    const char *_Atomic name;
    _Atomic uint64_t victim_at;
    _Atomic uint64_t at;
    _Atomic int64_t until; /* 0: nowhere */
} place;

uint64_t crash_random(uint64_t *state)
{
    *state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = *state;
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static uint64_t number_from(const char *variable, uint64_t otherwise)
{
    const char *text = getenv(variable);
    return text != NULL ? strtoull(text, NULL, 0) : otherwise;
}

unsigned crash_wanted(unsigned deaths)
{
    uint64_t wanted = deaths;
    if (row_time > 0 && row_time < THOROUGH) {
        wanted = (uint64_t) (deaths * row_time / THOROUGH) + 1;
    }
    return (unsigned) number_from("KIN_CRASH_DEATHS", wanted);
}

/* ---- when something is wrong ---- */

static void say_place(const char *what)
{
    const char *name = atomic_load(&place.name);
    (void) fprintf(stderr, "%s: %s, after %lld instructions", what, name != NULL ? name : "nowhere",
                   (long long) atomic_load(&place.at));
    if (atomic_load(&place.victim_at) != 0) {
        (void) fprintf(stderr, ", its victim after %lld",
                       (long long) atomic_load(&place.victim_at));
    }
    (void) fprintf(stderr, "\n");
}

void crash_require(bool condition, const char *file, int line, const char *text)
{
    if (condition) {
        return;
    }
    (void) fprintf(stderr, "%s:%d: %s%s\n", file, line, in_child ? "child: " : "", text);
    if (in_child) {
        platform_process_exit_now(CHILD_FAILED);
    }
    say_place("not so");
    fail();
}

/* Those who hang would hold on to the output, for which whoever started the test waits. */
static void end_family(void)
{
    for (uint32_t slot = 1; slot < arena_entries(ARENA_MEMBERS); slot++) {
        const member *m = arena_entry(ARENA_MEMBERS, slot);
        platform_process process;
        if (slot != member_slot(member_self()) &&
            (atomic_load(&m->state) & UINT32_MAX) == MEMBER_ALIVE &&
            platform_process_open(&process, &m->identity, arena_memory()) == 0) {
            (void) platform_process_kill(&process, false);
        }
    }
}

static void watch_over(void *argument)
{
    (void) argument;
    for (;;) {
        platform_sleep_ns(CRASH_SECOND / 4);
        int64_t until = atomic_load(&place.until);
        if (until != 0 && platform_clock_ns() > until) {
            say_place("hangs");
            end_family();
            platform_process_exit_now(CHILD_FAILED);
        }
    }
}

void crash_watch(const char *name, uint64_t victim_at, uint64_t at)
{
    atomic_store(&place.name, name);
    atomic_store(&place.victim_at, victim_at);
    atomic_store(&place.at, at);
    atomic_store(&place.until, platform_clock_ns() + HANG);
}

void crash_calm(void)
{
    atomic_store(&place.until, 0);
}

/* ---- what the survivor looks at ---- */

void crash_look(kin_arena_usage *usage)
{
    CRASH_REQUIRE(kin_arena_read_usage(usage) == 0);
}

static bool is_as_before(const kin_arena_usage *before, const kin_arena_usage *now)
{
    return now->blocks == before->blocks && now->processes == before->processes &&
           now->threads == before->threads && now->syncs == before->syncs;
}

void crash_check(const kin_arena_usage *before, bool patience)
{
    kin_arena_usage now;
    crash_look(&now);
    int64_t until = platform_clock_ns() + CRASH_SECOND;
    /* A thread that looks after a child which has not joined may be about to end. */
    while ((patience ? !is_as_before(before, &now) : now.threads > before->threads) &&
           platform_clock_ns() < until) {
        platform_sleep_ns(CRASH_SECOND / 1000);
        if (patience) {
            death_sweep();
        }
        crash_look(&now);
    }
    if (!is_as_before(before, &now)) {
        (void) fprintf(stderr, "blocks %llu -> %llu, processes %lu -> %lu, threads %lu -> %lu\n",
                       (unsigned long long) before->blocks, (unsigned long long) now.blocks,
                       (unsigned long) before->processes, (unsigned long) now.processes,
                       (unsigned long) before->threads, (unsigned long) now.threads);
    }
    CRASH_REQUIRE(is_as_before(before, &now));
    const char *wrong = NULL;
    int status = arena_check(&wrong);
    crash_require(status == 0, __FILE__, __LINE__, wrong != NULL ? wrong : "arena_check");
}

void crash_go_on(void)
{
    static const uint64_t sizes[] = {64, 3072, 50000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint64_t block;
        CRASH_REQUIRE(arena_allocate(&block, sizes[i], 0) == 0);
        memset(arena_at(block), 1, (size_t) sizes[i]);
        CRASH_REQUIRE(arena_free(block) == 0);
    }
}

kin_process crash_start(kin_process_function function, const void *argument, size_t size)
{
    kin_process process = {0};
    int status = kin_process_start(&process, function, argument, size, NULL);
    if (status < 0) {
        (void) fprintf(stderr, "the system's error %lld\n", (long long) kin_system_error());
    }
    crash_require(status == 0, __FILE__, __LINE__, kin_strerror(status));
    return process;
}

int crash_end(kin_process process, bool early)
{
    int code = 0;
    int status = kin_process_join(process, KIN_FOREVER);
    CRASH_REQUIRE(status == 0 || (early && status == KIN_E_NO_INIT));
    CRASH_REQUIRE(kin_process_exit_code(process, &code) == 0);
    CRASH_REQUIRE(kin_process_close(process) == 0);
    return code;
}

/* ---- what children have ---- */

enum { STATE_FREE = 0, STATE_PRIVATE = 1, STATE_PUBLISHED = 3 };

static unsigned state_of(uint64_t block)
{
    uint32_t number = (uint32_t) ((block - heap.header->heap_offset) >> UNIT_SHIFT);
    uint64_t head = unit_head(number);
    if (head_kind(head) == HEAD_INSIDE) {
        number -= head_length(head);
        head = unit_head(number);
    }
    if (head_kind(head) == HEAD_SLAB) {
        uint64_t size = slab_block_size(head_class(head));
        return slab_block_state(number, (uint32_t) ((block - unit_offset(number)) / size));
    }
    if (head_kind(head) == HEAD_SPAN && block == unit_offset(number)) {
        return (head & HEAD_PUBLISHED) != 0 ? STATE_PUBLISHED : STATE_PRIVATE;
    }
    return STATE_FREE;
}

static unsigned free_place(const uint64_t *places, unsigned count)
{
    unsigned i = 0;
    while (i < count && places[i] != 0) {
        i++;
    }
    CRASH_REQUIRE(i < count);
    return i;
}

unsigned crash_allocate(crash_context *context, uint64_t size, unsigned flags)
{
    unsigned i = free_place(context->blocks, CRASH_BLOCKS);
    CRASH_REQUIRE(arena_allocate(&context->blocks[i], size, flags) == 0);
    memcpy(arena_at(context->blocks[i]), &context->stamp, sizeof context->stamp);
    return i;
}

unsigned crash_object(crash_context *context, uint64_t size, uint64_t owner)
{
    unsigned i = free_place(context->objects, CRASH_OBJECTS);
    object *o;
    CRASH_REQUIRE(object_create(&o, size) == 0);
    CRASH_REQUIRE(object_publish(o, KIND_PART, owner, &context->objects[i]) == 0);
    return i;
}

/* In a child that lives on: all that it noted is its own. */
static void give_back(crash_context *context)
{
    for (unsigned i = 0; i < CRASH_BLOCKS; i++) {
        if (context->blocks[i] != 0) {
            CRASH_REQUIRE(arena_free(context->blocks[i]) == 0);
            context->blocks[i] = 0;
        }
    }
    for (unsigned i = 0; i < CRASH_OBJECTS; i++) {
        (void) object_destroy(context->objects[i]); /* it may be gone */
        context->objects[i] = 0;
    }
    if (context->slot != 0) {
        (void) member_cancel(context->slot); /* it may have been given back */
        context->slot = 0;
    }
    if (context->process.id != 0) {
        CRASH_REQUIRE(kin_process_join(context->process, KIN_FOREVER) == 0);
        CRASH_REQUIRE(kin_process_close(context->process) == 0);
        context->process.id = 0;
    }
}

/* In the survivor, when all children are dead: only what had been published may still be there. */
static void inherit(crash_context *context)
{
    for (unsigned i = 0; i < CRASH_BLOCKS; i++) {
        uint64_t block = context->blocks[i];
        uint64_t stamp = 0;
        if (block == 0 || arena_block_size(block) == 0) {
            continue;
        }
        memcpy(&stamp, arena_at(block), sizeof stamp);
        if (stamp == context->stamp && state_of(block) != STATE_FREE) {
            CRASH_REQUIRE(state_of(block) == STATE_PUBLISHED);
            CRASH_REQUIRE(arena_free(block) == 0);
        }
    }
    for (unsigned i = 0; i < CRASH_OBJECTS; i++) {
        uint64_t id = context->objects[i];
        if (object_is_there(id)) {
            CRASH_REQUIRE(state_of((id & UINT32_MAX >> 1) * 64) == STATE_PUBLISHED);
            CRASH_REQUIRE(object_destroy(id) == 0);
        }
    }
    if (context->slot != 0) {
        CRASH_REQUIRE(member_state_of(context->slot) == MEMBER_FREE);
    }
}

/* ---- step by step ---- */

typedef struct order {
    uint64_t context;
    uint32_t operation;
    uint32_t is_victim;
} order;

static int live_by_steps(void *argument, size_t size)
{
    order told;
    in_child = true;
    CRASH_REQUIRE(size == sizeof told);
    memcpy(&told, argument, sizeof told);
    crash_context *context = arena_at(told.context);
    const crash_operation *o = &operations[told.operation];
    if (told.is_victim) {
        o = o->victim;
    }
    context->self = member_self();
    if ((o->flags & CRASH_JOINS) == 0) {
        if (o->prepare != NULL) {
            o->prepare(context);
        }
        step_begin();
        o->operate(context);
    }
    step_end();
    platform_process_exit_now(CHILD_FAILED); /* it ought to have been killed */
}

static crash_context *new_context(unsigned i)
{
    static uint64_t stamps = UINT64_C(0x706d617473000000);
    memset(&contexts[i], 0, sizeof contexts[i]);
    contexts[i].stamp = ++stamps;
    return &contexts[i];
}

static kin_process start_stepped(const crash_operation *o, bool is_victim)
{
    order told = {.context = arena_offset(new_context(is_victim)),
                  .operation = (uint32_t) (o - operations),
                  .is_victim = is_victim};
    if ((o->flags & CRASH_IN_GROUP) != 0 && !is_victim) {
        CRASH_REQUIRE(kin_group_create(&contexts[0].group) == 0);
    }
    step_from_main((o->flags & CRASH_JOINS) != 0);
    kin_process process = crash_start(live_by_steps, &told, sizeof told);
    step_from_main(false);
    CRASH_REQUIRE(step_await(process));
    return process;
}

/* What a child and its victim execute. */
typedef struct life {
    const crash_operation *operation;
    step_path path;
    step_path victim_path;
    uint64_t at; /* where the child dies; 0: after the last, and its path is to be learnt */
    uint64_t victim_at;
} life;

static void end_stepped(kin_process process, const crash_operation *o)
{
    CRASH_REQUIRE(crash_end(process, (o->flags & CRASH_JOINS) != 0) == -KIN_SIGKILL);
}

static void step_and_kill(kin_process process, step_path *path, uint64_t at)
{
    step_result result = at == 0 ? step_learn(process, path) : step_on(process, path, at);
    CRASH_REQUIRE(result != STEP_ENDED);
    step_kill(process);
    crash_count(at == 0 ? path->count : at, 1);
}

static void bury(const life *l, kin_process child, kin_process victim)
{
    const crash_operation *o = l->operation;
    bool child_first = l->at % 2 == 0;
    if (child_first) {
        end_stepped(child, o);
    }
    if (o->victim != NULL) {
        end_stepped(victim, o->victim);
    }
    if (!child_first) {
        end_stepped(child, o);
    }
}

static int do_nothing(void *argument, size_t size)
{
    (void) argument, (void) size;
    return 0;
}

/* The survivor's group takes processes in unless it was to be killed; and it ends all that the dead
   one has left in it. */
static void end_group(const crash_context *context)
{
    const kin_process_options options = {.group = context->group};
    kin_process process;
    int status = kin_process_start(&process, do_nothing, NULL, 0, &options);
    if (status == 0) {
        (void) crash_end(process, false);
    }
    CRASH_REQUIRE(status == 0 || status == KIN_E_HANDLE ||
                  (context->group_killed && status == KIN_E_STATE));
    if (status == KIN_E_HANDLE) {
        CRASH_REQUIRE(kin_group_count(context->group) == KIN_E_HANDLE); /* it was destroyed */
        return;
    }
    CRASH_REQUIRE(kin_group_kill(context->group) == 0);
    CRASH_REQUIRE(kin_group_join(context->group, 1000) == 0);
    CRASH_REQUIRE(kin_group_destroy(context->group) == 0);
}

static void live_and_die(life *l)
{
    const crash_operation *o = l->operation;
    kin_arena_usage before;
    kin_process victim = {0};
    crash_watch(o->name, l->victim_at, l->at);
    crash_look(&before);
    kin_process child = start_stepped(o, false);
    if (o->victim != NULL) {
        victim = start_stepped(o, true);
        contexts[0].victim = contexts[1].self;
        step_and_kill(victim, &l->victim_path, l->victim_at);
    }
    step_and_kill(child, &l->path, l->at);

    int64_t died = platform_clock_ns();
    bury(l, child, victim);
    inherit(&contexts[0]);
    if ((o->flags & CRASH_IN_GROUP) != 0) {
        end_group(&contexts[0]);
    }
    if (o->victim != NULL) {
        inherit(&contexts[1]);
    }
    crash_check(&before, (o->flags & CRASH_STARTS) != 0);
    crash_go_on();
    crash_limit(died, CRASH_SECOND);
    step_bury_orphans();
    crash_calm();
}

static uint64_t common_divisor(uint64_t a, uint64_t b)
{
    while (b != 0) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

void crash_row_begin(crash_row *row, const step_path *path)
{
    uint64_t length = path->count;
    *row = (crash_row){.path = path};
    /* By the golden ratio each new one falls into one of the largest gaps; without a common divisor
       all are met. */
    row->stride = (uint64_t) ((double) length * 0.6180339887);
    while (common_divisor(row->stride, length) != 1) {
        row->stride++;
    }
    row->at = crash_random(&row_seed) % length;
    row->until = row_time == 0 ? INT64_MAX : platform_clock_ns() + row_time;
}

/* After `at` instructions comes the one with that index. */
static bool comes_now(const crash_row *row)
{
    uint64_t index = row->at % row->path->count;
    return row->path->is_first[index] != row->again;
}

bool crash_row_next(crash_row *row)
{
    uint64_t length = row->path->count;
    do {
        if (row->looked == length) {
            if (row->again) {
                return false;
            }
            row->again = true;
            row->looked = 0;
        }
        row->looked++;
        row->at = (row->at + row->stride) % length;
        row->at = row->at == 0 ? length : row->at;
    } while (!comes_now(row));
    return platform_clock_ns() < row->until;
}

void crash_count(uint64_t instructions, unsigned deaths)
{
    sums.instructions += instructions;
    sums.deaths += deaths;
}

static void trim_and_look(kin_arena_usage *usage)
{
    CRASH_REQUIRE(kin_arena_trim() == 0);
    crash_look(usage);
}

static unsigned long long different(const step_path *path)
{
    unsigned long long count = 0;
    for (size_t i = 0; i < path->count; i++) {
        count += path->is_first[i];
    }
    return count;
}

void crash_limit(int64_t since, int64_t limit)
{
    int64_t time = platform_clock_ns() - since;
    sums.longest = time > sums.longest ? time : sums.longest;
    CRASH_REQUIRE(time < limit);
}

void crash_tell(uint64_t deaths, const step_path *path)
{
    print_message("             %llu deaths in %llu instructions, %llu different ones\n",
                  (unsigned long long) deaths, (unsigned long long) path->count, different(path));
    sums.operations++;
}

/* A victim has a row of its own, at another pace. */
static void die_at_each(life *l)
{
    const crash_operation *o = l->operation;
    crash_row row;
    crash_row victim_row = {0};
    uint64_t deaths = 0;
    crash_row_begin(&row, &l->path);
    for (; crash_row_next(&row); deaths++) {
        if (o->victim != NULL && (deaths == 0 || !crash_row_next(&victim_row))) {
            crash_row_begin(&victim_row, &l->victim_path);
            (void) crash_row_next(&victim_row);
        }
        l->at = row.at;
        l->victim_at = victim_row.at;
        live_and_die(l);
    }
    crash_tell(deaths, &l->path);
}

static const char *why_not;

void crash_need_steps(void)
{
    if (why_not != NULL) {
        print_message("             %s\n", why_not);
        skip();
    }
}

static void test_steps(void **state)
{
    crash_need_steps();
    life l = {.operation = *state};
    live_and_die(&l);
    kin_arena_usage before;
    kin_arena_usage after;
    trim_and_look(&before);
    die_at_each(&l);
    trim_and_look(&after);
    CRASH_REQUIRE(after.committed <= before.committed + GROWTH);
    step_forget(&l.path);
    step_forget(&l.victim_path);
}

int crash_begin_steps(void **state)
{
    (void) state;
    if (why_not == NULL) {
        step_prepare(true);
    }
    return 0;
}

int crash_end_steps(void **state)
{
    (void) state;
    if (why_not == NULL) {
        step_prepare(false);
    }
    crash_calm();
    return 0;
}

/* ---- at random ---- */

uint64_t crash_seed(void)
{
    return row_seed;
}

static const crash_operation *choose(uint64_t *seed)
{
    for (;;) {
        const crash_operation *o = &operations[crash_random(seed) % operation_count];
        bool rare = (o->flags & (CRASH_COSTLY | CRASH_STARTS | CRASH_LEAVES)) != 0;
        bool never = (o->flags & (CRASH_JOINS | CRASH_IN_GROUP)) != 0 ||
                     ((o->flags & CRASH_STARTS) != 0 && !crash_may_start_and_die());
        if (!never && (!rare || crash_random(seed) % COSTLY_IN == 0)) {
            return o;
        }
    }
}

/* The life of a child that is killed at some moment. */
static int live_at_random(void *argument, size_t size)
{
    in_child = true;
    CRASH_REQUIRE(size == sizeof(uint64_t));
    uint64_t offset;
    memcpy(&offset, argument, sizeof offset);
    crash_context *context = arena_at(offset);
    int64_t until = platform_clock_ns() + LIFE;
    uint64_t seed = context->seed;
    for (bool first = true; platform_clock_ns() < until; first = false) {
        const crash_operation *o = choose(&seed);
        if (o->prepare != NULL) {
            o->prepare(context);
        }
        o->operate(context);
        if ((o->flags & CRASH_LEAVES) != 0) {
            return 0;
        }
        give_back(context);
        if (first) {
            wait_raise(&context->busy);
        }
    }
    return CHILD_FAILED;
}

static void await_busy(crash_context *context, kin_process process)
{
    while (wait_count(&context->busy) == 0 && kin_process_is_alive(process) == 1) {
        CRASH_REQUIRE(wait_for_change(&context->busy, 0, INT64_MAX) == 0);
    }
}

/* Kills the child; some before they have joined, most of them at work, some long after. True if it
   was killed. */
static bool kill_at_random(crash_context *context, kin_process process, uint64_t *seed)
{
    bool early = crash_random(seed) % 8 == 0;
    if (!early) {
        await_busy(context, process);
    }
    platform_sleep_ns((int64_t) (crash_random(seed) % 1000000));
    CRASH_REQUIRE(kin_process_kill(process) == 0);
    int64_t died = platform_clock_ns();
    int code = crash_end(process, early);
    crash_limit(died, CROWDED);
    if (code != -KIN_SIGKILL && code != 0) {
        (void) fprintf(stderr, "the child ended by itself, with %d\n", code);
    }
    CRASH_REQUIRE(code == -KIN_SIGKILL || code == 0);
    return code != 0;
}

static int end_random(void **state)
{
    (void) state;
    crash_calm();
    return 0;
}

static unsigned live_and_die_together(uint64_t *seed)
{
    kin_arena_usage before;
    kin_process processes[CONTEXTS];
    unsigned deaths = 0;
    crash_look(&before);
    for (unsigned i = 0; i < CONTEXTS; i++) {
        crash_context *context = new_context(i);
        context->seed = crash_random(seed);
        uint64_t offset = arena_offset(context);
        processes[i] = crash_start(live_at_random, &offset, sizeof offset);
    }
    for (unsigned i = 0; i < CONTEXTS; i++) {
        deaths += kill_at_random(&contexts[i], processes[i], seed);
        crash_go_on();
    }
    death_sweep(); /* children of the dead */
    for (unsigned i = 0; i < CONTEXTS; i++) {
        inherit(&contexts[i]);
    }
    crash_check(&before, true);
    return deaths;
}

static void test_random(void **state)
{
    (void) state;
    unsigned deaths = 0;
    kin_arena_usage before = {0};
    kin_arena_usage after;
    uint64_t seed = crash_seed();
    unsigned wanted = crash_wanted(wanted_deaths);
    for (bool first = true; deaths < wanted; first = false) {
        crash_watch("at random", 0, deaths);
        deaths += live_and_die_together(&seed);
        step_bury_orphans();
        if (first) {
            trim_and_look(&before);
        }
    }
    crash_calm();
    crash_count(0, deaths);
    print_message("             %u deaths at random\n", deaths);
    trim_and_look(&after);
    /* What is committed depends on what they had at one time: not every system takes it back. */
    CRASH_REQUIRE(after.used <= before.used + GROWTH);
}

/* ---- main ---- */

static int set_stage(void *argument, size_t size)
{
    in_child = true;
    (void) argument, (void) size;
    static crash_context context;
    stage_part(&context);
    return 0;
}

static int begin_all(void **state)
{
    (void) state;
    uint64_t block;
    if (arena_allocate(&block, CONTEXTS * sizeof *contexts, ARENA_ZERO) < 0 ||
        arena_publish(block) < 0 || platform_thread_start(watch_over, NULL) < 0) {
        return -1;
    }
    contexts = arena_at(block);
    const char *why;
    why_not = step_possible(&why) ? NULL : why;
    int status;
    if (thread_current(&status) == NULL) { /* counts from now on */
        return -1;
    }
    step_adopt_orphans();
    row_seed = number_from("KIN_CRASH_SEED", (uint64_t) platform_clock_ns());
    const char *seconds = getenv("KIN_CRASH_SECONDS");
    row_time = seconds != NULL ? (int64_t) (strtod(seconds, NULL) * 1e9) : CRASH_SECOND;
    print_message("KIN_CRASH_SEED=%llu\n", (unsigned long long) row_seed);
    if (stage_part != NULL && crash_end(crash_start(set_stage, NULL, 0), false) != 0) {
        return -1;
    }
    return 0;
}

static int end_all(void **state)
{
    (void) state;
    print_message("%u operations, %llu instructions, %llu deaths, after each at most %llu ms\n",
                  sums.operations, (unsigned long long) sums.instructions,
                  (unsigned long long) sums.deaths, (unsigned long long) sums.longest / 1000000);
    return sums.deaths > 0 ? 0 : -1;
}

/* Those that are wanted; how many. */
static size_t choose_tests(struct CMUnitTest *chosen, const struct CMUnitTest *tests, size_t count)
{
    size_t wanted = 0;
    const char *only = getenv("KIN_CRASH_ONLY");
    for (size_t i = 0; i < count && wanted < CRASH_TESTS; i++) {
        if (only == NULL || strstr(tests[i].name, only) != NULL) {
            chosen[wanted++] = tests[i];
        }
    }
    return wanted;
}

int crash_run(int argc, char **argv, const struct CMUnitTest *tests, size_t count)
{
    struct CMUnitTest chosen[CRASH_TESTS];
    if (step_is_from_main()) {
        in_child = true;
        step_begin();
    }
    kin_options options = {.arena_size = UINT64_C(256) << 20};
    int status = kin_init_with(&argc, &argv, &options);
    if (status < 0) {
        (void) fprintf(stderr, "kin_init: %s\n", kin_strerror(status));
        return CHILD_FAILED;
    }
    size_t wanted = choose_tests(chosen, tests, count);
    return _cmocka_run_group_tests("crash", chosen, wanted, begin_all, end_all);
}

int crash_main(int argc, char **argv, const crash_operation *table, unsigned count,
               crash_part *stage, unsigned random_deaths)
{
    operations = table;
    operation_count = count;
    stage_part = stage;
    wanted_deaths = random_deaths;

    struct CMUnitTest tests[CRASH_TESTS];
    CRASH_REQUIRE(count < CRASH_TESTS);
    for (unsigned i = 0; i < count; i++) {
        tests[i] = (struct CMUnitTest){table[i].name, test_steps, crash_begin_steps,
                                       crash_end_steps, (void *) (uintptr_t) &table[i]};
    }
    tests[count] =
        (struct CMUnitTest){"a death at a random moment", test_random, NULL, end_random, NULL};
    return crash_run(argc, argv, tests, count + 1);
}
