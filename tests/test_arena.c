/* What core/arena.h promises. That a kill at any instruction leaves the arena whole is shown in
   crash/; here children are killed at any moment. */
#include "core/heap.h"
#include "support.h"

#include <stdlib.h>
#include <string.h>

enum {
    LARGEST_SIZE = 20000,
    LIVE = 512,
    SLOTS = 64,
    ROUNDS = 20000,
    MEMBERS = 4,
    VICTIMS = 30,
    MIB = 1 << 20
};

/* A block's bytes follow from where it is and how large it is. */
static void fill(uint64_t block, size_t size)
{
    memset(arena_at(block), (int) (block / 64 * 31 + size) & 0xff, size);
}

static bool is_filled(uint64_t block, size_t size)
{
    const unsigned char *bytes = arena_at(block);
    const unsigned char expected = (unsigned char) (block / 64 * 31 + size);
    return bytes[0] == expected && memcmp(bytes, bytes + 1, size - 1) == 0;
}

static uint64_t allocate(size_t size)
{
    uint64_t block = 0;
    assert_int_equal(arena_allocate(&block, size, 0), 0);
    assert_true(block != 0 && block % 64 == 0);
    assert_true(arena_block_size(block) >= size);
    assert_true(arena_holds(arena_at(block), arena_block_size(block)));
    fill(block, size);
    return block;
}

static void release(uint64_t block, size_t size)
{
    if (!is_filled(block, size)) {
        fail_msg("a block of %zu bytes has lost its contents", size);
    }
    assert_int_equal(arena_free(block), 0);
}

static uint64_t count_blocks(void)
{
    kin_arena_usage usage;
    assert_int_equal(kin_arena_read_usage(&usage), 0);
    return usage.blocks;
}

static void blocks_of_all_sizes_keep_their_contents(void **state)
{
    static uint64_t blocks[LARGEST_SIZE + 1];
    (void) state;
    for (size_t size = 1; size <= LARGEST_SIZE; size++) {
        blocks[size] = allocate(size);
        if (size > LIVE) {
            release(blocks[size - LIVE], size - LIVE);
        }
    }
    for (size_t size = LARGEST_SIZE - LIVE + 1; size <= LARGEST_SIZE; size++) {
        release(blocks[size], size);
    }
    static const size_t large[] = {MIB - 1, MIB, 3 * MIB + 1, 17 * MIB};
    for (size_t i = 0; i < sizeof large / sizeof *large; i++) {
        blocks[i] = allocate(large[i]);
    }
    for (size_t i = 0; i < sizeof large / sizeof *large; i++) {
        release(blocks[i], large[i]);
    }
}

static void random_work_leaves_the_arena_whole(void **state)
{
    static uint64_t blocks[LIVE];
    static size_t sizes[LIVE];
    uint64_t random = 3;
    (void) state;
    for (int round = 0; round < 4 * ROUNDS; round++) {
        uint32_t at = next_random(&random) % LIVE;
        if (blocks[at] != 0) {
            release(blocks[at], sizes[at]);
            blocks[at] = 0;
        } else {
            uint32_t most = next_random(&random) % 100 == 0 ? 300000 : 3000;
            sizes[at] = 1 + next_random(&random) % most;
            blocks[at] = allocate(sizes[at]);
        }
    }
    for (int i = 0; i < LIVE; i++) {
        if (blocks[i] != 0) {
            release(blocks[i], sizes[i]);
            blocks[i] = 0;
        }
    }
}

static void zeroed_blocks_are_zero(void **state)
{
    static const unsigned char zeros[200000];
    (void) state;
    for (size_t size = 1; size <= sizeof zeros; size = size * 3 + 1) {
        release(allocate(size), size); /* what was there before was not zero */
        uint64_t block;
        assert_int_equal(arena_allocate(&block, size, ARENA_ZERO), 0);
        assert_memory_equal(arena_at(block), zeros, size);
        assert_int_equal(arena_free(block), 0);
    }
}

/* ---- many at work ---- */

/* Blocks change hands through these: who takes one out may not be the one that made it. */
typedef struct exchange {
    _Atomic uint64_t slots[SLOTS];
    _Atomic uint32_t wrong;
    mark arrived;
} exchange;

/* A block that tells its own size. */
static uint64_t make_parcel(uint64_t *random)
{
    uint64_t block;
    size_t most = next_random(random) % 50 == 0 ? 100000 : 1000;
    size_t size = sizeof(size_t) + 1 + next_random(random) % most;
    if (arena_allocate(&block, size, 0) < 0 || arena_publish(block) < 0) {
        return 0;
    }
    memset(arena_at(block), (int) (size & 0xff), size);
    memcpy(arena_at(block), &size, sizeof size);
    return block;
}

static bool is_parcel(uint64_t block)
{
    size_t size;
    memcpy(&size, arena_at(block), sizeof size);
    if (size < sizeof size || size > arena_block_size(block)) {
        return false;
    }
    const unsigned char *bytes = arena_at(block);
    for (size_t i = sizeof size; i < size; i++) {
        if (bytes[i] != (unsigned char) size) {
            return false;
        }
    }
    return true;
}

static void exchange_parcels(void *argument, unsigned number)
{
    exchange *e = argument;
    uint64_t random = number + 1;
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t mine = make_parcel(&random);
        uint64_t other = atomic_exchange(&e->slots[next_random(&random) % SLOTS], mine);
        if (mine == 0 || (other != 0 && (!is_parcel(other) || arena_free(other) != 0))) {
            atomic_fetch_add(&e->wrong, 1);
        }
    }
}

static void empty_slots(exchange *e)
{
    for (int i = 0; i < SLOTS; i++) {
        uint64_t block = atomic_exchange(&e->slots[i], 0);
        if (block != 0) {
            assert_true(is_parcel(block));
            assert_int_equal(arena_free(block), 0);
        }
    }
    assert_int_equal(atomic_load(&e->wrong), 0);
}

static void threads_may_free_what_others_have_allocated(void **state)
{
    (void) state;
    exchange *e = shared_new(sizeof *e);
    system_run_threads(MEMBERS, exchange_parcels, e);
    empty_slots(e);
    shared_free(e);
}

typedef struct order {
    uint64_t exchange;
    uint32_t number;
} order;

static int run_exchange(void *argument, size_t size)
{
    CHECK(size == sizeof(order));
    const order *o = argument;
    exchange_parcels(arena_at(o->exchange), o->number);
    return 0;
}

static void processes_may_free_what_others_have_allocated(void **state)
{
    kin_process processes[MEMBERS];
    (void) state;
    exchange *e = shared_new(sizeof *e);
    for (uint32_t i = 0; i < MEMBERS; i++) {
        const order o = {arena_offset(e), i};
        processes[i] = start(run_exchange, &o, sizeof o);
    }
    for (int i = 0; i < MEMBERS; i++) {
        assert_int_equal(end_of(processes[i]), 0);
    }
    empty_slots(e);
    shared_free(e);
}

/* ---- limits ---- */

static int fill_up(size_t size, uint64_t *blocks, int most)
{
    int count = 0;
    while (count < most && arena_allocate(&blocks[count], size, 0) == 0) {
        fill(blocks[count++], size);
    }
    return count;
}

static int mode_small(int argc, char **argv)
{
    enum { MOST = 4 * MIB / 64 };
    static uint64_t blocks[MOST];
    static const size_t sizes[] = {1, 64, 700, 5000, 7000, 100000, MIB};
    const kin_options small = {.arena_size = 4 * MIB, .max_processes = 8};
    const char *broken;
    CHECK(kin_init_with(&argc, &argv, &small) == 0);
    for (size_t i = 0; i < 2 * sizeof sizes / sizeof *sizes; i++) {
        size_t size = sizes[i / 2];
        uint64_t other;
        int count = fill_up(size, blocks, MOST);
        CHECK(count > 0 && count < MOST);
        CHECK((uint64_t) count * ((size + 63) / 64 * 64) >= 2 * MIB); /* most of it can be had */
        CHECK(arena_allocate(&other, 2 * MIB, 0) == KIN_E_NOMEM);
        CHECK(arena_allocate(&other, size, 0) == KIN_E_NOMEM);
        CHECK(arena_allocate(&other, UINT64_MAX, 0) == KIN_E_NOMEM);
        CHECK(arena_check(&broken) == 0);
        for (int b = 0; b < count; b++) {
            CHECK(is_filled(blocks[b], size));
            CHECK(arena_free(blocks[b]) == 0);
        }
        CHECK(arena_check(&broken) == 0);
    }
    return 0;
}

static void a_full_arena_is_usable_again_when_blocks_are_freed(void **state)
{
    (void) state;
    assert_int_equal(run_mode("small"), 0);
}

static int look_at_block(void *argument, size_t size)
{
    const uint64_t *told = argument;
    CHECK(size == 2 * sizeof(uint64_t));
    CHECK(is_filled(told[0], (size_t) told[1]));
    fill(told[0], (size_t) told[1] - 1);
    return 0;
}

static void growth_moves_nothing(void **state)
{
    enum { GROWTH = 24, SIZE = 5000 };
    uint64_t blocks[GROWTH];
    (void) state;
    uint64_t first = allocate(SIZE);
    const void *address = arena_at(first);
    for (size_t i = 0; i < GROWTH; i++) {
        blocks[i] = allocate(4 * MIB);
    }
    assert_true(arena_at(first) == address && is_filled(first, SIZE));
    uint64_t told[2] = {first, SIZE};
    assert_int_equal(end_of(start(look_at_block, told, sizeof told)), 0);
    assert_true(is_filled(first, SIZE - 1));
    told[0] = blocks[GROWTH - 1];
    told[1] = 4 * MIB;
    assert_int_equal(end_of(start(look_at_block, told, sizeof told)), 0);
    for (size_t i = 0; i < GROWTH - 1; i++) {
        release(blocks[i], 4 * MIB);
    }
    release(blocks[GROWTH - 1], 4 * MIB - 1);
    release(first, SIZE - 1);
}

static void freed_memory_is_given_back(void **state)
{
    enum { BLOCKS = 16, SIZE = 4 * MIB };
    uint64_t blocks[BLOCKS];
    kin_arena_usage before;
    kin_arena_usage full;
    kin_arena_usage after;
    (void) state;
    assert_int_equal(kin_arena_trim(), 0);
    assert_int_equal(kin_arena_read_usage(&before), 0);
    for (int i = 0; i < BLOCKS; i++) {
        blocks[i] = allocate(SIZE);
    }
    assert_int_equal(kin_arena_read_usage(&full), 0);
    assert_true(full.used >= before.used + (uint64_t) BLOCKS * SIZE);
    assert_true(full.committed >= full.used);
    for (int i = 0; i < BLOCKS; i++) {
        release(blocks[i], SIZE);
    }
    assert_int_equal(kin_arena_read_usage(&after), 0);
    assert_true(after.used <= before.used + MIB);
#if !defined _WIN32
    assert_true(after.committed <= before.committed + 9 * MIB); /* some is kept for the next time */
    assert_int_equal(kin_arena_trim(), 0);
    assert_int_equal(kin_arena_read_usage(&after), 0);
    assert_true(after.committed <= before.committed + MIB);
#endif
}

/* ---- misuse ---- */

static void assert_no_block(uint64_t offset)
{
    assert_int_equal(arena_free(offset), KIN_E_INVALID);
    assert_int_equal(arena_publish(offset), KIN_E_INVALID);
    assert_int_equal(arena_block_size(offset), 0);
}

static void what_is_no_block_is_refused(void **state)
{
    static const size_t sizes[] = {64, 128, 1000, 5000, 50000};
    (void) state;
    for (uint64_t offset = 0; offset < heap.header->heap_offset; offset += 4096) {
        assert_no_block(offset);
    }
    assert_no_block(UINT64_MAX);
    assert_no_block(UINT64_MAX / 64 * 64);
    assert_no_block(heap.memory.size);
    assert_no_block(heap.memory.size - 64);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint64_t block = allocate(sizes[i]);
        for (uint64_t inside = 1; inside < sizes[i]; inside++) {
            assert_int_equal(arena_free(block + inside), KIN_E_INVALID);
            assert_int_equal(arena_publish(block + inside), KIN_E_INVALID);
        }
        release(block, sizes[i]);
    }
}

static void a_block_is_freed_and_published_once(void **state)
{
    static const size_t sizes[] = {64, 1000, 6000, 50000, 5 * MIB};
    (void) state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint64_t kept = allocate(sizes[i]); /* so that the other one's neighbourhood stays */
        uint64_t block = allocate(sizes[i]);
        assert_int_equal(arena_publish(block), 0);
        assert_int_equal(arena_publish(block), KIN_E_INVALID);
        release(block, sizes[i]);
        assert_int_equal(arena_free(block), KIN_E_INVALID);
        assert_int_equal(arena_publish(block), KIN_E_INVALID);
        release(kept, sizes[i]);
    }
}

static void the_check_finds_damage(void **state)
{
    const char *what = NULL;
    (void) state;
    uint64_t block = allocate(50000);
    uint32_t number = (uint32_t) ((block - heap.header->heap_offset) >> UNIT_SHIFT);
    uint64_t head = unit_head(number);
    assert_int_equal(arena_check(&what), 0);
    assert_null(what);
    unit_store(number, head + (UINT64_C(1) << HEAD_LENGTH_SHIFT));
    assert_int_equal(arena_check(&what), KIN_E_BROKEN);
    assert_non_null(what);
    unit_store(number, head);
    heap.header->free_committed++;
    assert_int_equal(arena_check(&what), KIN_E_BROKEN);
    heap.header->free_committed--;
    assert_int_equal(arena_check(&what), 0);
    release(block, 50000);
}

/* ---- deaths ---- */

enum { KINDS_OF_BLOCKS = 8 };
static const size_t sizes_of_dead[KINDS_OF_BLOCKS] = {1, 64, 200, 1000, 4000, 6000, 9000, 3 * MIB};

typedef struct estate {
    mark arrived;
    _Atomic uint64_t published[KINDS_OF_BLOCKS];
} estate;

/* Leaves a published and three private blocks of each size. */
static int leave_blocks(void *argument, size_t size)
{
    CHECK(size == 2 * sizeof(uint64_t));
    const uint64_t *told = argument;
    estate *e = arena_at(told[0]);
    for (int i = 0; i < KINDS_OF_BLOCKS; i++) {
        uint64_t block;
        for (int extra = 0; extra < 3; extra++) {
            CHECK(arena_allocate(&block, sizes_of_dead[i], extra == 1 ? ARENA_OBJECT : 0) == 0);
        }
        CHECK(arena_allocate(&block, sizes_of_dead[i], 0) == 0);
        fill(block, sizes_of_dead[i]);
        CHECK(arena_publish(block) == 0);
        atomic_store(&e->published[i], block);
    }
    mark_add(&e->arrived);
    if (told[1] != 0) {
        (void) kin_sleep(KIN_FOREVER);
    }
    return 0;
}

static void what_a_dead_member_had_published_stays_and_the_rest_goes(void **state)
{
    (void) state;
    for (uint64_t killed = 0; killed < 2; killed++) {
        estate *e = shared_new(sizeof *e);
        uint64_t before = count_blocks();
        const uint64_t told[2] = {arena_offset(e), killed};
        kin_process process = start(leave_blocks, told, sizeof told);
        assert_true(mark_await(&e->arrived, 1));
        if (killed != 0) {
            kill_and_close(process);
        } else {
            assert_int_equal(end_of(process), 0);
        }
        assert_true(count_blocks() == before + KINDS_OF_BLOCKS);
        for (int i = 0; i < KINDS_OF_BLOCKS; i++) {
            uint64_t block = atomic_load(&e->published[i]);
            assert_true(arena_block_size(block) >= sizes_of_dead[i]);
            release(block, sizes_of_dead[i]);
        }
        shared_free(e);
    }
}

/* Works until it is killed. */
static int work_for_ever(void *argument, size_t size)
{
    static uint64_t blocks[SLOTS];
    CHECK(size == sizeof(order));
    const order *o = argument;
    exchange *e = arena_at(o->exchange);
    uint64_t random = o->number + 17;
    mark_add(&e->arrived);
    for (;;) {
        uint32_t at = next_random(&random) % SLOTS;
        if (blocks[at] != 0) {
            CHECK(arena_free(blocks[at]) == 0);
            blocks[at] = 0;
        } else {
            uint32_t most = next_random(&random) % 20 == 0 ? 60000 : 2000;
            CHECK(arena_allocate(&blocks[at], 1 + next_random(&random) % most, 0) == 0);
        }
    }
}

static void members_killed_at_any_moment_leave_no_block(void **state)
{
    const char *broken;
    uint64_t random = 5;
    (void) state;
    exchange *e = shared_new(sizeof *e);
    uint64_t before = count_blocks();
    for (uint32_t i = 0; i < VICTIMS; i++) {
        const order o = {arena_offset(e), i};
        kin_process process = start(work_for_ever, &o, sizeof o);
        assert_true(mark_await(&e->arrived, i + 1));
        for (uint32_t spin = next_random(&random) % 20000; spin > 0; spin--) {
            (void) kin_clock_ns();
        }
        kill_and_close(process);
        assert_int_equal(arena_check(&broken), 0);
        assert_true(count_blocks() == before);
    }
    shared_free(e);
}

static const test_mode modes[] = {{"small", mode_small}};

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
        CLEAN_TEST(blocks_of_all_sizes_keep_their_contents),
        CLEAN_TEST(random_work_leaves_the_arena_whole),
        CLEAN_TEST(zeroed_blocks_are_zero),
        CLEAN_TEST(threads_may_free_what_others_have_allocated),
        CLEAN_TEST(processes_may_free_what_others_have_allocated),
        CLEAN_TEST(a_full_arena_is_usable_again_when_blocks_are_freed),
        CLEAN_TEST(growth_moves_nothing),
        CLEAN_TEST(freed_memory_is_given_back),
        CLEAN_TEST(what_is_no_block_is_refused),
        CLEAN_TEST(a_block_is_freed_and_published_once),
        CLEAN_TEST(the_check_finds_damage),
        CLEAN_TEST(what_a_dead_member_had_published_stays_and_the_rest_goes),
        CLEAN_TEST(members_killed_at_any_moment_leave_no_block),
    };
    return cmocka_run_group_tests(tests, warm_up, NULL);
}
