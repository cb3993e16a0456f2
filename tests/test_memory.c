/* kin/memory.h: blocks of shared memory, of any size, and how they are resized in place. */
#include "core/heap.h"
#include "support.h"

#include <string.h>

enum { KIB = 1024, MIB = 1 << 20, THREADS = 4, ROUNDS = 400, VICTIMS = 20, MANY = 4096 };

/* What children and tests share. */
typedef struct board {
    kin_memory memory;
    mark arrived;
    mark go;
    _Atomic uint32_t wrong;
    _Atomic uint32_t stop;
} board;

static kin_process start_on(kin_process_function function, const board *b)
{
    uint64_t offset = arena_offset(b);
    return start(function, &offset, sizeof offset);
}

static board *board_of(const void *argument)
{
    uint64_t offset;
    memcpy(&offset, argument, sizeof offset);
    return arena_at(offset);
}

static bool is_all(const void *memory, unsigned char value, size_t size)
{
    const unsigned char *bytes = memory;
    return size == 0 || (bytes[0] == value && memcmp(bytes, bytes + 1, size - 1) == 0);
}

static kin_memory create(size_t size)
{
    kin_memory memory;
    assert_int_equal(kin_memory_create(&memory, size), 0);
    assert_int_equal(kin_memory_size(memory), size);
    assert_int_equal((uintptr_t) kin_memory_address(memory) % 64, 0);
    return memory;
}

static void destroy(kin_memory memory)
{
    assert_int_equal(kin_memory_destroy(memory), 0);
}

static void a_block_is_zero_whatever_was_there(void **state)
{
    (void) state;
    for (size_t size = 1; size <= 3 * MIB; size = size * 3 + 1) {
        for (int i = 0; i < 3; i++) {
            kin_memory memory = create(size);
            assert_true(is_all(kin_memory_address(memory), 0, size));
            memset(kin_memory_address(memory), 0xff, size);
            destroy(memory);
            if (i == 1) {
                assert_int_equal(kin_arena_trim(), 0); /* what the system gives is zero too */
            }
        }
    }
}

static void no_call_takes_a_handle_that_is_none(kin_memory memory)
{
    assert_null(kin_memory_address(memory));
    assert_int_equal(kin_memory_size(memory), 0);
    assert_int_equal(kin_memory_resize(memory, 1), KIN_E_HANDLE);
    assert_int_equal(kin_memory_destroy(memory), KIN_E_HANDLE);
}

static void bad_handles_and_arguments_are_told(void **state)
{
    (void) state;
    kin_memory memory;
    assert_int_equal(kin_memory_create(NULL, 1), KIN_E_INVALID);
    assert_int_equal(kin_memory_create(&memory, 0), KIN_E_INVALID);
    assert_int_equal(kin_memory_create(&memory, SIZE_MAX), KIN_E_NOMEM);
    assert_int_equal(kin_memory_create(&memory, SIZE_MAX - 4096), KIN_E_NOMEM);
    assert_int_equal(kin_memory_create(&memory, arena_memory()->size), KIN_E_NOMEM);
    memory = create(100);
    assert_int_equal(kin_memory_resize(memory, 0), KIN_E_INVALID);
    assert_int_equal(kin_memory_resize(memory, SIZE_MAX), KIN_E_NOMEM);
    assert_int_equal(kin_memory_size(memory), 100);
    destroy(memory);
    no_call_takes_a_handle_that_is_none(memory);
    kin_memory other = create(100);
    no_call_takes_a_handle_that_is_none(memory); /* the other has its place */
    kin_event event;
    assert_int_equal(kin_event_create(&event, NULL), 0);
    const uint64_t forged[] = {0, 1, UINT64_MAX, event.id, kin_current_process().id, other.id + 1};
    for (size_t i = 0; i < sizeof forged / sizeof *forged; i++) {
        no_call_takes_a_handle_that_is_none((kin_memory){forged[i]});
    }
    assert_int_equal(kin_event_destroy(event), 0);
    destroy(other);
}

static void a_block_is_aligned_as_it_was_wished(void **state)
{
    (void) state;
    static const size_t sizes[] = {1, 100, 5000, 100000};
    for (uint32_t alignment = 1; alignment <= KIN_MEMORY_ALIGNMENT_LIMIT; alignment *= 2) {
        const kin_memory_options how = {.alignment = alignment};
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            kin_memory memory;
            assert_int_equal(kin_memory_create_with(&memory, sizes[i], &how), 0);
            assert_int_equal((uintptr_t) kin_memory_address(memory) % alignment, 0);
            memset(kin_memory_address(memory), 0xff, sizes[i]);
            destroy(memory);
        }
    }
    const kin_memory_options bad[] = {
        {.alignment = 3},
        {.alignment = 2 * KIN_MEMORY_ALIGNMENT_LIMIT},
        {.node = 1},
        {.node = KIN_MEMORY_NODE_LIMIT + 1, .on_node = true},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        kin_memory memory;
        assert_int_equal(kin_memory_create_with(&memory, 1, &bad[i]), KIN_E_INVALID);
    }
}

/* Such a wish is fulfilled, or told to be not, or not minded; the block is one like any other. */
static void wish(kin_memory_options how, bool impossible)
{
    enum { SIZE = 5 * MIB };
    kin_memory memory;
    assert_int_equal(kin_memory_create_with(&memory, SIZE, &how), 0);
    assert_true(is_all(kin_memory_address(memory), 0, SIZE));
    memset(kin_memory_address(memory), 1, SIZE);
    assert_int_equal(kin_memory_resize(memory, SIZE / 2), 0);
    assert_int_equal(kin_memory_resize(memory, SIZE), 0);
    assert_true(is_all(kin_memory_address(memory), 1, SIZE / 2));
    destroy(memory);
    how.required = true;
    int status = kin_memory_create_with(&memory, SIZE, &how);
    assert_true(status == KIN_E_UNSUPPORTED || (status == 0 && !impossible));
    if (status == 0) {
        assert_int_equal(kin_memory_size(memory), SIZE);
        assert_true(!how.huge_pages || (uintptr_t) kin_memory_address(memory) % (2 * MIB) == 0);
        destroy(memory);
    }
    print_message("%s: %s\n", how.huge_pages ? "huge pages" : "a node", kin_error_name(status));
}

static void huge_pages_and_nodes_are_wishes(void **state)
{
    (void) state;
    wish((kin_memory_options){.huge_pages = true}, false);
    wish((kin_memory_options){.on_node = true}, false);
    wish((kin_memory_options){.on_node = true, .huge_pages = true}, false);
    wish((kin_memory_options){.on_node = true, .node = 1000}, true);
    wish((kin_memory_options){.on_node = true, .node = KIN_MEMORY_NODE_LIMIT}, true);
    kin_memory memory;
    const kin_memory_options small = {.huge_pages = true, .required = true};
    assert_int_equal(kin_memory_create_with(&memory, 100, &small), KIN_E_UNSUPPORTED);
}

/* ---- resizing ---- */

static void resize(kin_memory memory, size_t size)
{
    const void *address = kin_memory_address(memory);
    assert_int_equal(kin_memory_resize(memory, size), 0);
    assert_int_equal(kin_memory_size(memory), size);
    assert_ptr_equal(kin_memory_address(memory), address);
}

static void a_block_grows_and_shrinks_where_it_is(void **state)
{
    (void) state;
    assert_int_equal(kin_arena_trim(), 0);
    for (int i = 0; i < 2; i++) {
        kin_memory memory = create(100 * KIB);
        unsigned char *bytes = kin_memory_address(memory);
        kin_memory behind = create(9 * MIB);
        destroy(behind); /* now there is free memory behind it, committed the second time */
        memset(bytes, 1, 100 * KIB);
        resize(memory, 300 * KIB);
        assert_true(is_all(bytes, 1, 100 * KIB));
        assert_true(is_all(bytes + 100 * KIB, 0, 200 * KIB));
        memset(bytes, 2, 300 * KIB);
        resize(memory, 10 * KIB);
        assert_true(is_all(bytes, 2, 10 * KIB));
        resize(memory, 9 * MIB);
        assert_true(is_all(bytes, 2, 10 * KIB));
        assert_true(is_all(bytes + 10 * KIB, 0, 9 * MIB - 10 * KIB));
        memset(bytes, 3, 9 * MIB);
        resize(memory, 9 * MIB);
        resize(memory, 1);
        resize(memory, 8 * KIB - 64); /* within what it has */
        assert_int_equal(bytes[0], 3);
        assert_true(is_all(bytes + 1, 0, 8 * KIB - 65));
        destroy(memory);
    }
}

/* Of whatever size a block is, more than it has room for is refused, and nothing has happened. */
static void a_block_that_cannot_grow_stays_as_it_is(void **state)
{
    (void) state;
    static const size_t sizes[] = {1, 64, 1000, 6000, 100 * KIB, MIB};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        kin_memory memory = create(sizes[i]);
        kin_memory wall = create(sizes[i]); /* of the large ones it is right behind it */
        unsigned char *bytes = kin_memory_address(memory);
        memset(bytes, 1, sizes[i]);
        memset(kin_memory_address(wall), 2, sizes[i]);
        const size_t most = arena_memory()->size / 2;
        assert_int_equal(kin_memory_resize(memory, most), KIN_E_NOMEM);
        assert_int_equal(kin_memory_size(memory), sizes[i]);
        assert_true(is_all(bytes, 1, sizes[i]));
        assert_true(is_all(kin_memory_address(wall), 2, sizes[i]));
        destroy(memory);
        destroy(wall);
    }
}

static void what_is_given_up_is_used_again(void **state)
{
    (void) state;
    kin_arena_usage before;
    kin_arena_usage after;
    kin_memory memory = create(20 * MIB);
    assert_int_equal(kin_arena_read_usage(&before), 0);
    resize(memory, 100);
    assert_int_equal(kin_arena_read_usage(&after), 0);
    assert_true(after.used + 19 * MIB < before.used);
    assert_int_equal(after.blocks, before.blocks);
    destroy(memory);
}

static int look_at_sizes(void *argument, size_t size)
{
    (void) size;
    board *b = board_of(argument);
    const unsigned char *bytes = kin_memory_address(b->memory);
    for (uint32_t i = 1; i <= 20; i++) {
        CHECK(mark_await(&b->go, i));
        CHECK(kin_memory_size(b->memory) == (size_t) i * 10 * KIB);
        CHECK(bytes[i * 10 * KIB - 1] == i);
        CHECK(kin_memory_address(b->memory) == bytes);
        mark_add(&b->arrived);
    }
    return 0;
}

static void others_see_the_new_size_at_once(void **state)
{
    (void) state;
    board *b = shared_new(sizeof *b);
    b->memory = create(200 * KIB);
    unsigned char *bytes = kin_memory_address(b->memory);
    kin_process child = start_on(look_at_sizes, b);
    for (uint32_t i = 1; i <= 20; i++) {
        resize(b->memory, (size_t) i * 10 * KIB); /* the first makes it small */
        bytes[i * 10 * KIB - 1] = (unsigned char) i;
        mark_add(&b->go);
        assert_true(mark_await(&b->arrived, i));
        if (i == 1) {
            kin_memory room = create(MIB);
            destroy(room);
        }
    }
    assert_int_equal(end_of(child), 0);
    destroy(b->memory);
    shared_free(b);
}

/* Many resize one block: it has always one of their sizes, and its first page is never touched. */
static void resize_at_random(board *b, unsigned number, uint32_t rounds)
{
    uint64_t random = number + 1;
    const unsigned char *bytes = kin_memory_address(b->memory);
    for (uint32_t i = 0; i < rounds && atomic_load(&b->stop) == 0; i++) {
        size_t size = (1 + next_random(&random) % 40) * 8 * KIB;
        int status = kin_memory_resize(b->memory, size);
        bool good = (status == 0 || status == KIN_E_NOMEM) && is_all(bytes, 7, 4 * KIB) &&
                    kin_memory_size(b->memory) % (8 * KIB) == 0;
        if (!good) {
            atomic_store(&b->wrong, 1);
        }
        if (number < THREADS && next_random(&random) % 4 == 0) {
            kin_memory other; /* it takes the room away for a while, of one that is not killed */
            if (kin_memory_create(&other, 8 * KIB) == 0) {
                (void) kin_memory_destroy(other);
            }
        }
        mark_add(&b->arrived);
    }
}

static void be_thread(void *argument, unsigned number)
{
    resize_at_random(argument, number, ROUNDS);
}

static int be_process(void *argument, size_t size)
{
    (void) size;
    resize_at_random(board_of(argument), 100, UINT32_MAX);
    return 0;
}

static board *new_board(void)
{
    board *b = shared_new(sizeof *b);
    b->memory = create(64 * KIB);
    memset(kin_memory_address(b->memory), 7, 4 * KIB);
    return b;
}

static void free_board(board *b)
{
    assert_int_equal(atomic_load(&b->wrong), 0);
    destroy(b->memory);
    shared_free(b);
}

static void many_may_resize_a_block(void **state)
{
    (void) state;
    board *b = new_board();
    kin_process child = start_on(be_process, b);
    system_run_threads(THREADS, be_thread, b);
    atomic_store(&b->stop, 1);
    assert_int_equal(end_of(child), 0);
    free_board(b);
}

static void killed_while_they_resize_they_hold_nobody_up(void **state)
{
    (void) state;
    uint64_t random = 5;
    board *b = new_board();
    for (int i = 0; i < VICTIMS; i++) {
        uint32_t before = atomic_load(&b->arrived.value);
        kin_process victim = start_on(be_process, b);
        assert_true(mark_await(&b->arrived, before + 1 + next_random(&random) % 50));
        assert_int_equal(kin_process_kill(victim), 0);
        size_t size = (1 + next_random(&random) % 4) * 8 * KIB;
        int status = kin_memory_resize(b->memory, size);
        assert_true(status == 0 || status == KIN_E_NOMEM);
        assert_int_equal(end_of(victim), -KIN_SIGKILL);
    }
    free_board(b);
}

/* ---- whose it is ---- */

static int make_block(void *argument, size_t size)
{
    (void) size;
    board *b = board_of(argument);
    CHECK(kin_memory_create(&b->memory, MIB) == 0);
    memset(kin_memory_address(b->memory), 9, MIB);
    mark_add(&b->arrived);
    (void) kin_sleep(KIN_FOREVER);
    return CHILD_FAILED;
}

static void a_block_outlives_its_maker(void **state)
{
    (void) state;
    board *b = shared_new(sizeof *b);
    kin_process maker = start_on(make_block, b);
    assert_true(mark_await(&b->arrived, 1));
    kill_and_close(maker);
    assert_true(is_all(kin_memory_address(b->memory), 9, MIB));
    destroy(b->memory);
    shared_free(b);
}

static int destroy_it(void *argument, size_t size)
{
    (void) size;
    return kin_memory_destroy(board_of(argument)->memory);
}

static void anybody_may_destroy_a_block_once(void **state)
{
    (void) state;
    board *b = shared_new(sizeof *b);
    b->memory = create(MIB);
    assert_int_equal(end_of(start_on(destroy_it, b)), 0);
    no_call_takes_a_handle_that_is_none(b->memory);
    shared_free(b);
}

/* ---- very large ones ---- */

enum { GIB_STEP = 64 * MIB };

static int look_at_gib(void *argument, size_t size)
{
    (void) size;
    unsigned char *bytes = kin_memory_address(board_of(argument)->memory);
    for (size_t at = 0; at < (size_t) 1 << 30; at += GIB_STEP) {
        CHECK(bytes[at] == 1 && bytes[at + 1] == 0);
        bytes[at + 1] = 2;
    }
    return 0;
}

static void a_block_can_have_a_gibibyte(void **state)
{
    (void) state;
    const size_t gib = (size_t) 1 << 30;
    board *b = shared_new(sizeof *b);
    int status = kin_memory_create(&b->memory, gib);
    if (status == KIN_E_NOMEM) {
        shared_free(b);
        print_message("there is no memory for it\n");
        skip();
    }
    assert_int_equal(status, 0);
    unsigned char *bytes = kin_memory_address(b->memory);
    for (size_t at = 0; at < gib; at += GIB_STEP) {
        bytes[at]++;
    }
    assert_int_equal(end_of(start_on(look_at_gib, b)), 0);
    assert_int_equal(bytes[gib - GIB_STEP + 1], 2);
    assert_int_equal(bytes[gib - 1], 0);
    resize(b->memory, gib / 2);
    destroy(b->memory);
    assert_int_equal(kin_arena_trim(), 0);
    shared_free(b);
}

/* In a family with little memory: all of it is used up, and again. */
static int fill_arena(int argc, char **argv)
{
    static kin_memory blocks[MANY];
    const kin_options options = {.arena_size = 8 * MIB};
    const char *broken;
    CHECK(kin_init_with(&argc, &argv, &options) == 0);
    for (size_t size = 100; size < 4 * MIB; size *= 10) {
        size_t count = 0;
        int status = 0;
        while (count < MANY && status == 0) {
            status = kin_memory_create(&blocks[count], size);
            count += status == 0;
        }
        CHECK(count == MANY || status == KIN_E_NOMEM);
        CHECK(count > 0 && arena_check(&broken) == 0);
        CHECK(size < MIB || kin_memory_resize(blocks[0], 7 * MIB) == KIN_E_NOMEM);
        while (count > 0) {
            CHECK(kin_memory_size(blocks[--count]) == size);
            CHECK(kin_memory_destroy(blocks[count]) == 0);
        }
    }
    CHECK(kin_memory_create(&blocks[0], 2 * MIB) == 0);
    CHECK(kin_memory_destroy(blocks[0]) == 0);
    return arena_check(&broken) == 0 ? 0 : CHILD_FAILED;
}

static void a_full_arena_is_whole(void **state)
{
    (void) state;
    assert_int_equal(run_mode("full"), 0);
}

static int use_without_kin(int argc, char **argv)
{
    (void) argc, (void) argv;
    kin_memory memory = {0};
    CHECK(kin_memory_create(&memory, 1) == KIN_E_INIT);
    CHECK(kin_memory_address(memory) == NULL);
    CHECK(kin_memory_size(memory) == 0);
    CHECK(kin_memory_resize(memory, 1) == KIN_E_INIT);
    CHECK(kin_memory_destroy(memory) == KIN_E_HANDLE);
    return 0;
}

static void without_kin_init_nothing_works(void **state)
{
    (void) state;
    assert_int_equal(run_mode("without"), 0);
}

static const test_mode modes[] = {{"without", use_without_kin}, {"full", fill_arena}};

int main(int argc, char **argv)
{
    const test_mode *mode = find_mode(modes, sizeof modes / sizeof *modes);
    if (mode != NULL) {
        return mode->run(argc, argv);
    }
    if (kin_init(&argc, &argv) < 0) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        CLEAN_TEST(a_block_is_zero_whatever_was_there),
        CLEAN_TEST(bad_handles_and_arguments_are_told),
        CLEAN_TEST(a_block_is_aligned_as_it_was_wished),
        CLEAN_TEST(huge_pages_and_nodes_are_wishes),
        CLEAN_TEST(a_block_grows_and_shrinks_where_it_is),
        CLEAN_TEST(a_block_that_cannot_grow_stays_as_it_is),
        CLEAN_TEST(what_is_given_up_is_used_again),
        CLEAN_TEST(others_see_the_new_size_at_once),
        CLEAN_TEST(many_may_resize_a_block),
        CLEAN_TEST(killed_while_they_resize_they_hold_nobody_up),
        CLEAN_TEST(a_block_outlives_its_maker),
        CLEAN_TEST(anybody_may_destroy_a_block_once),
        CLEAN_TEST(a_block_can_have_a_gibibyte),
        CLEAN_TEST(a_full_arena_is_whole),
        CLEAN_TEST(without_kin_init_nothing_works),
    };
    return cmocka_run_group_tests(tests, warm_up, NULL);
}
