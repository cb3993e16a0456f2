/* Deaths in joining and leaving, in starting others, and in clearing up behind those who died
   before. */
#include "harness.h"

static int do_nothing(void *argument, size_t size)
{
    (void) argument, (void) size;
    return 0;
}

static void reserve(crash_context *context)
{
    uint64_t token;
    CRASH_REQUIRE(member_reserve(&context->slot, &token) == 0);
}

static void cancel(crash_context *context)
{
    CRASH_REQUIRE(member_cancel(context->slot));
}

static void start(crash_context *context)
{
    CRASH_REQUIRE(kin_process_start(&context->process, do_nothing, "x", 1, NULL) == 0);
}

static void join(crash_context *context)
{
    CRASH_REQUIRE(kin_process_join(context->process, KIN_FOREVER) == 0);
}

static void start_and_join(crash_context *context)
{
    start(context);
    join(context);
}

static void close_process(crash_context *context)
{
    CRASH_REQUIRE(kin_process_close(context->process) == 0);
    context->process.id = 0;
}

static void shut_down(crash_context *context)
{
    (void) context;
    CRASH_REQUIRE(kin_shutdown() == 0);
}

/* Something of everything, so that there is much to clear up. */
static void collect(crash_context *context)
{
    for (int i = 0; i < 3; i++) {
        (void) crash_allocate(context, 6144, 0);
    }
    (void) crash_allocate(context, 100000, 0);
    (void) crash_object(context, 200, 0);
    (void) crash_object(context, 200, context->objects[0]);
    reserve(context);
}

static void collect_more(crash_context *context)
{
    (void) crash_allocate(context, 6144, 0);
    (void) crash_allocate(context, 6144, 0);
    (void) crash_allocate(context, 50000, 0);
    CRASH_REQUIRE(arena_free(context->blocks[3]) == 0);
    context->blocks[3] = 0;
    CRASH_REQUIRE(object_destroy(context->objects[0]) == 0);
}

static void recover_victim(crash_context *context)
{
    death_recover(context->victim);
}

static void sweep(crash_context *context)
{
    (void) context;
    death_sweep();
}

static void lock(crash_context *context)
{
    (void) context;
    CRASH_REQUIRE(arena_lock() == 0);
    arena_unlock();
}

static void allocate(crash_context *context)
{
    (void) crash_allocate(context, 6144, 0);
}

static const crash_operation victim_of_much = {"have much", collect, collect_more, 0, NULL};
static const crash_operation victim_in_allocation = {"allocate", NULL, allocate, 0, NULL};
static const crash_operation victim_in_recovery = {"sweep", collect, sweep, 0, NULL};

static const crash_operation operations[] = {
    {"reserve a place for a member", NULL, reserve, 0, NULL},
    {"cancel a place for a member", reserve, cancel, 0, NULL},
    {"join the family", NULL, NULL, CRASH_JOINS, NULL},
    {"leave the family", collect, shut_down, CRASH_LEAVES, NULL},
    {"start a process", NULL, start, CRASH_STARTS, NULL},
    {"join a process", start, join, CRASH_STARTS, NULL},
    {"close a process", start_and_join, close_process, CRASH_STARTS, NULL},
    {"look after the dead", collect, sweep, 0, NULL},
    {"recover one that died at work", NULL, recover_victim, 0, &victim_of_much},
    {"recover one that died in recovery", NULL, recover_victim, 0, &victim_in_recovery},
    {"repair what one left half done", NULL, lock, 0, &victim_in_allocation},
    {"repair and recover", NULL, recover_victim, 0, &victim_in_allocation},
};

int main(int argc, char **argv)
{
    return crash_main(argc, argv, operations, sizeof operations / sizeof *operations, NULL, 600);
}
