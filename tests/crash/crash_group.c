/* Deaths in making and ending groups, and in starting processes into them. */
#include "harness.h"

static int stay(void *argument, size_t size)
{
    (void) argument, (void) size;
    kin_sleep(KIN_FOREVER);
    return 0;
}

static void create_and_destroy(crash_context *context)
{
    kin_group group;
    (void) context;
    CRASH_REQUIRE(kin_group_create(&group) == 0);
    CRASH_REQUIRE(kin_group_destroy(group) == 0);
}

/* With all that a start gives to the system in the child itself. */
static void start(crash_context *context)
{
    static const char *const variables[] = {"KIN_CRASH_VARIABLE=1", NULL};
    const kin_process_options options = {.group = context->group,
                                         .method = KIN_START_SPAWN,
                                         .directory = ".",
                                         .environment = variables,
                                         .input = {.kind = KIN_STREAM_PIPE},
                                         .output = {.kind = KIN_STREAM_NULL}};
    CRASH_REQUIRE(kin_process_start(&context->process, stay, NULL, 0, &options) == 0);
}

static void destroy(crash_context *context)
{
    CRASH_REQUIRE(kin_group_destroy(context->group) == 0);
}

static void destroy_in_vain(crash_context *context)
{
    CRASH_REQUIRE(kin_group_destroy(context->group) == KIN_E_RUNNING);
}

static void kill_all(crash_context *context)
{
    context->group_killed = true;
    CRASH_REQUIRE(kin_group_kill(context->group) == 0);
}

static void terminate(crash_context *context)
{
    CRASH_REQUIRE(kin_group_terminate(context->group) == 0);
}

static const crash_operation operations[] = {
    {"create and destroy a group", NULL, create_and_destroy, 0, NULL},
    {"start a process in a group", NULL, start, CRASH_STARTS | CRASH_IN_GROUP, NULL},
    {"destroy a group", NULL, destroy, CRASH_STARTS | CRASH_IN_GROUP, NULL},
    {"destroy a group that has somebody", start, destroy_in_vain, CRASH_STARTS | CRASH_IN_GROUP,
     NULL},
    {"kill a group", start, kill_all, CRASH_STARTS | CRASH_IN_GROUP, NULL},
    {"terminate a group", start, terminate, CRASH_STARTS | CRASH_IN_GROUP, NULL},
};

int main(int argc, char **argv)
{
    return crash_main(argc, argv, operations, sizeof operations / sizeof *operations, NULL, 100);
}
