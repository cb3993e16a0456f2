/* Deaths in allocating, publishing and freeing, on every way through the heap. */
#include "harness.h"

#include <string.h>

/* Blocks of 6144 bytes lie four to a slab: few calls bring a slab into any state. */
enum { FEW_TO_A_SLAB = 6144, LARGE = 100000, RARE = 192, HUGE = 9 << 20 };

static void allocate(crash_context *context, uint64_t size, unsigned flags)
{
    CRASH_REQUIRE(arena_allocate(&context->blocks[CRASH_BLOCKS - 1], size, flags) == 0);
}

static void free_block(crash_context *context, unsigned i)
{
    CRASH_REQUIRE(arena_free(context->blocks[i]) == 0);
    context->blocks[i] = 0;
}

static void allocate_one(crash_context *context)
{
    (void) crash_allocate(context, 64, 0);
}

static void allocate_five(crash_context *context)
{
    for (int i = 0; i < 5; i++) {
        (void) crash_allocate(context, FEW_TO_A_SLAB, 0);
    }
}

/* The first slab is listed, the second one is full. */
static void allocate_two_slabs(crash_context *context)
{
    allocate_five(context);
    for (int i = 0; i < 3; i++) {
        (void) crash_allocate(context, FEW_TO_A_SLAB, 0);
    }
    free_block(context, 1);
}

/* One block is left in a slab that is not current. */
static void leave_one(crash_context *context)
{
    allocate_five(context);
    for (unsigned i = 0; i < 3; i++) {
        free_block(context, i);
    }
}

static void trim(crash_context *context)
{
    (void) context;
    CRASH_REQUIRE(arena_trim() == 0);
}

/* Free memory stays committed, more than is asked for next. */
static void leave_committed(crash_context *context)
{
    free_block(context, crash_allocate(context, 3 * LARGE, 0));
}

static void allocate_large_one(crash_context *context)
{
    (void) crash_allocate(context, LARGE, 0);
}

/* The second lies between two that are free. */
static void allocate_three(crash_context *context)
{
    for (int i = 0; i < 4; i++) {
        allocate_large_one(context);
    }
    free_block(context, 0);
    free_block(context, 2);
}

static void allocate_huge(crash_context *context)
{
    (void) crash_allocate(context, HUGE, 0);
}

static void take_small(crash_context *context)
{
    allocate(context, 64, 0);
}

static void take_rare(crash_context *context)
{
    allocate(context, RARE, 0);
}

static void take_few(crash_context *context)
{
    allocate(context, FEW_TO_A_SLAB, 0);
}

static void take_large(crash_context *context)
{
    allocate(context, LARGE, 0);
}

static void take_large_object(crash_context *context)
{
    allocate(context, LARGE, ARENA_OBJECT);
}

/* Whatever the dead have left: what is said to be zero is. */
static void take_zero(crash_context *context)
{
    allocate(context, LARGE, ARENA_ZERO);
    const unsigned char *bytes = arena_at(context->blocks[CRASH_BLOCKS - 1]);
    CRASH_REQUIRE(bytes[0] == 0 && memcmp(bytes, bytes + 1, LARGE - 1) == 0);
    memset(arena_at(context->blocks[CRASH_BLOCKS - 1]), 1, LARGE);
}

static void publish(crash_context *context)
{
    CRASH_REQUIRE(arena_publish(context->blocks[0]) == 0);
}

static void publish_and_free(crash_context *context)
{
    publish(context);
    CRASH_REQUIRE(arena_free(context->blocks[0]) == 0);
    context->blocks[0] = 0;
}

static void free_first(crash_context *context)
{
    free_block(context, 0);
}

static void free_second(crash_context *context)
{
    free_block(context, 1);
}

static void free_fourth(crash_context *context)
{
    free_block(context, 3);
}

static void publish_first(crash_context *context)
{
    CRASH_REQUIRE(arena_publish(context->blocks[0]) == 0);
}

/* Behind the first lies a free one, committed; and behind that nothing. */
static void leave_room(crash_context *context)
{
    allocate_large_one(context);
    allocate_large_one(context);
    publish_first(context);
    free_block(context, 1);
}

/* And that is not committed. */
static void leave_bare_room(crash_context *context)
{
    leave_room(context);
    trim(context);
}

/* And another one behind it. */
static void leave_little_room(crash_context *context)
{
    for (int i = 0; i < 3; i++) {
        allocate_large_one(context);
    }
    publish_first(context);
    free_block(context, 1);
}

static void resize(crash_context *context, uint64_t size)
{
    /* Others may have taken the room, of those who die at random. */
    int status = arena_resize(context->blocks[0], size);
    CRASH_REQUIRE(status == 0 || status == KIN_E_NOMEM);
    CRASH_REQUIRE(status < 0 || arena_block_size(context->blocks[0]) >= size);
}

static void grow_a_little(crash_context *context)
{
    resize(context, LARGE + LARGE / 2);
}

static void grow_much(crash_context *context)
{
    resize(context, 4 * LARGE);
}

static void grow_in_vain(crash_context *context)
{
    resize(context, 100 * LARGE);
}

static void shrink(crash_context *context)
{
    resize(context, LARGE / 3);
}

static void allocate_and_publish(crash_context *context)
{
    allocate_large_one(context);
    publish_first(context);
}

static void allocate_huge_and_publish(crash_context *context)
{
    allocate_huge(context);
    publish_first(context);
}

static void count(crash_context *context)
{
    (void) context;
    kin_arena_usage usage;
    CRASH_REQUIRE(kin_arena_read_usage(&usage) == 0);
}

/* A slab that belonged to a member that is dead, with one block that lives on. */
static void leave_slab(crash_context *context)
{
    CRASH_REQUIRE(arena_allocate(&context->blocks[0], RARE, 0) == 0);
    CRASH_REQUIRE(arena_publish(context->blocks[0]) == 0);
}

static const crash_operation operations[] = {
    {"allocate from a slab with room", allocate_one, take_small, 0, NULL},
    {"allocate from a dead member's slab", NULL, take_rare, 0, NULL},
    {"allocate from a listed slab", allocate_two_slabs, take_few, 0, NULL},
    {"allocate from a fresh slab", trim, take_few, 0, NULL},
    {"allocate from a fresh slab in committed memory", leave_committed, take_few, 0, NULL},
    {"allocate a large block", trim, take_large, 0, NULL},
    {"allocate a large block in committed memory", leave_committed, take_large, 0, NULL},
    {"allocate a large object", trim, take_large_object, 0, NULL},
    {"allocate a large block of zeros", trim, take_zero, CRASH_COSTLY, NULL},
    {"publish a small block", allocate_one, publish, 0, NULL},
    {"publish a large block", allocate_large_one, publish, 0, NULL},
    {"publish and free", allocate_five, publish_and_free, 0, NULL},
    {"free to the current slab", allocate_one, free_first, 0, NULL},
    {"free from a full slab", allocate_five, free_second, 0, NULL},
    {"free the last of a slab", leave_one, free_fourth, 0, NULL},
    {"free a large block between two free ones", allocate_three, free_second, 0, NULL},
    {"free so much that it is given back", allocate_huge, free_first, CRASH_COSTLY, NULL},
    {"grow into a committed span", leave_room, grow_a_little, 0, NULL},
    {"grow into one that is not", leave_bare_room, grow_a_little, 0, NULL},
    {"grow into several spans", leave_room, grow_much, 0, NULL},
    {"grow in vain", leave_little_room, grow_in_vain, 0, NULL},
    {"shrink", allocate_and_publish, shrink, 0, NULL},
    {"shrink beside a free span", leave_room, shrink, 0, NULL},
    {"shrink so much that it is given back", allocate_huge_and_publish, shrink, CRASH_COSTLY, NULL},
    {"trim", leave_committed, trim, 0, NULL},
    {"count all there is", allocate_five, count, CRASH_COSTLY, NULL},
};

int main(int argc, char **argv)
{
    return crash_main(argc, argv, operations, sizeof operations / sizeof *operations, leave_slab,
                      800);
}
