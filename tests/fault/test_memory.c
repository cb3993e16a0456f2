/* Injected failures of what blocks of memory, arrays and counters ask of the system: it is told, or
   done without; nothing is left, and the same works again. */
#include "core/heap.h"
#include "injection.h"

#include <string.h>

enum { LARGE = 3 << 20, SMALLER = 100000 };

static bool has_huge_pages, has_nodes;

static int make_and_destroy(const kin_memory_options *how)
{
    kin_memory memory;
    int status = kin_memory_create_with(&memory, LARGE, how);
    if (status < 0) {
        return status;
    }
    const unsigned char *bytes = kin_memory_address(memory);
    bool whole = bytes[0] == 0 && memcmp(bytes, bytes + 1, LARGE - 1) == 0;
    status = kin_memory_destroy(memory);
    return whole ? status : 1;
}

static int make_with_huge_pages(void)
{
    const kin_memory_options how = {.huge_pages = true, .required = has_huge_pages};
    return make_and_destroy(&how);
}

static int make_on_a_node(void)
{
    const kin_memory_options how = {.on_node = true, .required = has_nodes};
    return make_and_destroy(&how);
}

/* What has not been done has changed nothing. */
static int grow_and_shrink(void)
{
    kin_memory memory;
    int status = kin_memory_create(&memory, LARGE);
    if (status < 0) {
        return status;
    }
    unsigned char *bytes = kin_memory_address(memory);
    int shrunk = kin_memory_resize(memory, SMALLER);
    memset(bytes, 1, SMALLER);
    size_t before = kin_memory_size(memory);
    int trimmed = kin_arena_trim();
    int grown = kin_memory_resize(memory, LARGE);
    bool whole = kin_memory_size(memory) == (grown == 0 ? LARGE : before) && bytes[0] == 1 &&
                 memcmp(bytes, bytes + 1, SMALLER - 1) == 0;
    if (grown == 0 && shrunk == 0) {
        whole = whole && bytes[SMALLER] == 0 &&
                memcmp(bytes + SMALLER, bytes + SMALLER + 1, LARGE - SMALLER - 1) == 0;
    }
    status = kin_memory_destroy(memory);
    if (status < 0 && kin_memory_destroy(memory) == 0) {
        status = KIN_E_SYSTEM;
    }
    status = shrunk < 0 ? shrunk : trimmed < 0 ? trimmed : grown < 0 ? grown : status;
    return whole ? status : 1;
}

static int use_an_array(void)
{
    kin_array array;
    uint64_t value = 7;
    int status = kin_array_create(&array, sizeof value, LARGE / sizeof value, NULL);
    if (status < 0) {
        return status;
    }
    int used = kin_array_set(array, 9, &value);
    if (used == 0) {
        used = kin_array_get(array, 9, &value);
    }
    status = kin_array_destroy(array);
    if (status < 0 && kin_array_destroy(array) == 0) {
        status = KIN_E_SYSTEM;
    }
    return used < 0 ? used : value == 7 ? status : 1;
}

static void wait_in_thread(void *argument, unsigned number)
{
    kin_counter counter = *(const kin_counter *) argument;
    int status = 0;
    do {
        status =
            number == 0 ? kin_counter_wait(counter, 1, LONG_MS) : kin_counter_add(counter, 1, NULL);
    } while (status < 0); /* the next call is not made to fail */
}

static int use_a_counter(void)
{
    kin_counter counter;
    int status = kin_counter_create(&counter, NULL);
    if (status < 0) {
        return status;
    }
    system_run_threads(2, wait_in_thread, &counter);
    status = kin_counter_destroy(counter);
    return status < 0 && kin_counter_destroy(counter) == 0 ? KIN_E_SYSTEM : status;
}

static int dirty_and_stay(void *argument, size_t size)
{
    uint64_t block;
    CHECK(arena_allocate(&block, LARGE, 0) == 0);
    memset(arena_at(block), 0xff, LARGE);
    return stay(argument, size);
}

/* What a dead member leaves is given back to the system, or if it cannot be is used again as it is:
   who gets it next must not see it. */
static int make_after_a_death(void)
{
    static const kin_memory_options defaults;
    int left = fault_pause();
    assert_int_equal(kin_arena_trim(), 0);
    mark *arrived = shared_new(sizeof *arrived);
    uint64_t offset = arena_offset(arrived);
    kin_process dirty = start(dirty_and_stay, &offset, sizeof offset);
    assert_true(mark_await(arrived, 1));
    assert_int_equal(kin_process_kill(dirty), 0);
    fault_resume(left);
    int joined = kin_process_join(dirty, KIN_FOREVER);
    int status = make_and_destroy(&defaults);
    left = fault_pause();
    (void) join_and_close(dirty, -KIN_SIGKILL);
    shared_free(arrived);
    fault_resume(left);
    return joined < 0 ? joined : status;
}

FAULT_TEST(memory_with_huge_pages_that_fails_leaves_nothing, make_with_huge_pages)
FAULT_TEST(memory_on_a_node_that_fails_leaves_nothing, make_on_a_node)
FAULT_TEST(memory_that_cannot_be_resized_stays_as_it_is, grow_and_shrink)
FAULT_TEST(an_array_that_fails_leaves_nothing, use_an_array)
FAULT_TEST(a_counter_that_fails_leaves_nothing, use_a_counter)

static void what_the_dead_leave_is_seen_by_nobody(void **state)
{
    (void) state;
    fail_each(make_after_a_death);
    assert_int_equal(heap.header->unclean, 1); /* that it could not be given back has been met */
}

static int prepare(void **state)
{
    int status = warm_up(state);
    const kin_memory_options huge = {.huge_pages = true, .required = true};
    const kin_memory_options node = {.on_node = true, .required = true};
    has_huge_pages = make_and_destroy(&huge) == 0;
    has_nodes = make_and_destroy(&node) == 0;
    return status;
}

int main(int argc, char **argv)
{
    if (kin_init(&argc, &argv) < 0) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_with_huge_pages_that_fails_leaves_nothing),
        cmocka_unit_test(memory_on_a_node_that_fails_leaves_nothing),
        cmocka_unit_test(memory_that_cannot_be_resized_stays_as_it_is),
        cmocka_unit_test(an_array_that_fails_leaves_nothing),
        cmocka_unit_test(a_counter_that_fails_leaves_nothing),
        cmocka_unit_test(what_the_dead_leave_is_seen_by_nobody),
    };
    return cmocka_run_group_tests(tests, prepare, NULL);
}
