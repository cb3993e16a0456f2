#include "support.h"

#include <stdlib.h>
#include <string.h>

void take_inventory(inventory *now)
{
    wait_close_parkers(); /* kept for the next time */
    now->handles = system_handles();
    now->children = system_has_children();
    assert_int_equal(kin_arena_read_usage(&now->usage), 0);
}

static bool is_equal(const char *what, uint64_t before, uint64_t now)
{
    if (before != now) {
        (void) fprintf(stderr, "%s: %llu before, %llu after\n", what, (unsigned long long) before,
                       (unsigned long long) now);
    }
    return before == now;
}

/* What another member is about to give back is waited for. */
static void let_settle(const inventory *before)
{
    inventory now;
    int64_t until = wait_deadline(LONG_MS / 20);
    do {
        take_inventory(&now);
        if (now.usage.processes <= before->usage.processes &&
            now.usage.threads <= before->usage.threads && now.usage.syncs <= before->usage.syncs &&
            now.usage.blocks <= before->usage.blocks) {
            return;
        }
        assert_int_equal(kin_sleep(1), 0);
    } while (kin_clock_ns() < until);
}

bool nothing_is_left(const inventory *before)
{
    inventory now;
    const char *broken;
    let_settle(before);
    if (arena_check(&broken) != 0) {
        (void) fprintf(stderr, "the arena: %s\n", broken);
        return false;
    }
    take_inventory(&now);
    bool same = now.handles <= before->handles + system_handle_slack() ||
                is_equal("handles", (uint64_t) before->handles, (uint64_t) now.handles);
    same = is_equal("processes", before->usage.processes, now.usage.processes) && same;
    same = is_equal("threads", before->usage.threads, now.usage.threads) && same;
    same = is_equal("syncs", before->usage.syncs, now.usage.syncs) && same;
    /* There may be fewer: one that another member was about to give back when the test began. */
    same = (now.usage.blocks <= before->usage.blocks ||
            is_equal("blocks", before->usage.blocks, now.usage.blocks)) &&
           same;
    return is_equal("children", before->children, now.children) && same;
}

static int do_nothing(void *argument, size_t size)
{
    (void) argument;
    return (int) size;
}

int warm_up(void **state)
{
    kin_pool pool;
    const kin_pool_options options = {.workers = 1};
    (void) state;
    assert_int_equal(end_of(start_daemon(do_nothing, NULL, 0)), 0);
    assert_int_equal(kin_pool_create(&pool, &options), 0);
    /* The thread in the background is known to the family once it has replaced a worker. */
    kin_process first = {0};
    kin_process now = {0};
    assert_int_equal(kin_active_children(&first, 1), 1);
    assert_int_equal(kin_process_kill(first), 0);
    while (kin_active_children(&now, 1) != 1 || now.id == first.id) {
        assert_int_equal(kin_sleep(1), 0);
    }
    assert_int_equal(kin_pool_destroy(pool), 0);
    return 0;
}

static inventory before_test;

int begin_test(void **state)
{
    (void) state;
    take_inventory(&before_test);
    return 0;
}

int end_test(void **state)
{
    (void) state;
    return nothing_is_left(&before_test) ? 0 : -1;
}

int end_settled_test(void **state)
{
    kin_arena_usage now;
    int64_t until = wait_deadline(LONG_MS);
    (void) state;
    do {
        assert_int_equal(kin_arena_read_usage(&now), 0);
    } while (now.blocks > before_test.usage.blocks && kin_clock_ns() < until);
    return nothing_is_left(&before_test) ? 0 : -1;
}

int run_again(const char *variable, const char *value, char *const *arguments)
{
    const platform_spawn spawn = {.arguments = arguments,
                                  .variable = variable,
                                  .value = value,
                                  .inherit = arena_memory()->object};
    platform_process process;
    int code = -1000;
    assert_int_equal(platform_process_spawn(&process, &spawn), 0);
    assert_int_equal(platform_process_wait(&process, INT64_C(1000000) * LONG_MS), 0);
    assert_int_equal(platform_process_exit_code(&process, &code), 0);
    platform_process_close(&process);
    return code;
}

int run_mode(const char *name)
{
    return run_again(TEST_MODE "=", name, NULL);
}

const test_mode *find_mode(const test_mode *modes, size_t count)
{
    char name[64];
    if (platform_environment_take(TEST_MODE, name, sizeof name) < 0) {
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        if (strcmp(modes[i].name, name) == 0) {
            return &modes[i];
        }
    }
    (void) fprintf(stderr, "there is no mode %s\n", name);
    exit(CHILD_FAILED);
}

void *shared_new(size_t size)
{
    uint64_t block;
    assert_int_equal(arena_allocate(&block, size, ARENA_ZERO), 0);
    assert_int_equal(arena_publish(block), 0);
    return arena_at(block);
}

void shared_free(void *memory)
{
    assert_int_equal(arena_free(arena_offset(memory)), 0);
}

void mark_add(mark *m)
{
    atomic_fetch_add(&m->value, 1);
    wait_raise(&m->signal);
}

bool mark_await(mark *m, uint32_t value)
{
    int64_t deadline = wait_deadline(LONG_MS);
    int status = 0;
    while (status == 0) {
        uint32_t seen = wait_count(&m->signal);
        if (atomic_load(&m->value) >= value) {
            return true;
        }
        status = wait_for_change(&m->signal, seen, deadline);
    }
    return atomic_load(&m->value) >= value;
}

static uint32_t count_sleepers(uint64_t id)
{
    uint32_t count = 0;
    for (uint32_t number = 1; number < arena_entries(ARENA_THREADS); number++) {
        count += atomic_load(&thread_at(number)->waits_for) == id;
    }
    return count;
}

void await_sleepers(uint64_t id, uint32_t count)
{
    int64_t deadline = wait_deadline(LONG_MS);
    while (count_sleepers(id) != count) {
        assert_true(kin_clock_ns() < deadline);
        assert_int_equal(kin_sleep(1), 0);
    }
}

kin_process start(kin_process_function function, const void *argument, size_t size)
{
    kin_process process = {0};
    assert_int_equal(kin_process_start(&process, function, argument, size, NULL), 0);
    assert_true(process.id != 0);
    return process;
}

kin_process start_daemon(kin_process_function function, const void *argument, size_t size)
{
    kin_process process = {0};
    kin_process_options options = {.daemon = true};
    assert_int_equal(kin_process_start(&process, function, argument, size, &options), 0);
    return process;
}

int end_of(kin_process process)
{
    int code = -1000;
    assert_int_equal(kin_process_join(process, LONG_MS), 0);
    assert_int_equal(kin_process_exit_code(process, &code), 0);
    assert_int_equal(kin_process_close(process), 0);
    return code;
}

void kill_and_close(kin_process process)
{
    assert_int_equal(kin_process_kill(process), 0);
    assert_int_equal(end_of(process), -KIN_SIGKILL);
}

int stay(void *argument, size_t size)
{
    uint64_t offset = 0;
    CHECK(size == sizeof offset);
    memcpy(&offset, argument, sizeof offset);
    if (offset != 0) {
        mark_add(arena_at(offset));
    }
    (void) kin_sleep(KIN_FOREVER);
    return CHILD_FAILED;
}

uint32_t next_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t) (*state >> 33);
}
