/* Deaths in making, using and destroying objects with handles. */
#include "harness.h"

enum { SMALL = 200, LARGE = 100000, PARTS = 3 };

static object *made;
static object_guard guard;

static void make_object(crash_context *context)
{
    (void) crash_object(context, SMALL, 0);
}

static void make_large_object(crash_context *context)
{
    (void) crash_object(context, LARGE, 0);
}

static void make_unpublished(crash_context *context)
{
    (void) context;
    CRASH_REQUIRE(object_create(&made, SMALL) == 0);
}

static void make_large_unpublished(crash_context *context)
{
    (void) context;
    CRASH_REQUIRE(object_create(&made, LARGE) == 0);
}

/* The owner is the first. */
static void make_parts(crash_context *context)
{
    make_object(context);
    for (int i = 0; i < PARTS; i++) {
        (void) crash_object(context, SMALL, context->objects[0]);
    }
}

static void enter(crash_context *context)
{
    CRASH_REQUIRE(object_enter(&guard, context->objects[0], KIND_PART) == 0);
}

static void leave(crash_context *context)
{
    (void) context;
    object_leave(&guard);
}

static void make_and_enter(crash_context *context)
{
    make_object(context);
    enter(context);
}

static void destroy(crash_context *context)
{
    CRASH_REQUIRE(object_destroy(context->objects[0]) == 0);
}

/* The last user has to free it. */
static void make_enter_and_destroy(crash_context *context)
{
    make_and_enter(context);
    destroy(context);
}

static void create_and_drop(crash_context *context)
{
    make_unpublished(context);
    object_drop(made);
}

static void publish(crash_context *context)
{
    CRASH_REQUIRE(object_publish(made, KIND_PART, 0, &context->objects[0]) == 0);
}

static void create_and_publish(crash_context *context)
{
    make_object(context);
}

static void use(crash_context *context)
{
    enter(context);
    leave(context);
}

static void destroy_in_use(crash_context *context)
{
    destroy(context);
    leave(context);
}

static int destroy_part(object *o, uint64_t id, void *owner)
{
    if (atomic_load(&o->owner) == *(const uint64_t *) owner) {
        (void) object_destroy(id);
    }
    return 0;
}

static void destroy_with_parts(crash_context *context)
{
    uint64_t owner = context->objects[0];
    destroy(context);
    (void) object_each(destroy_part, &owner);
}

static int visit(object *o, uint64_t id, void *context)
{
    (void) o, (void) id, (void) context;
    return 0;
}

static void visit_all(crash_context *context)
{
    (void) context;
    (void) object_each(visit, NULL);
}

/* So that the slab stays a slab of objects when all others in it have gone. */
static void leave_object(crash_context *context)
{
    make_object(context);
}

static const crash_operation operations[] = {
    {"create and drop", NULL, create_and_drop, 0, NULL},
    {"publish", make_unpublished, publish, 0, NULL},
    {"publish a large one", make_large_unpublished, publish, 0, NULL},
    {"create and publish", NULL, create_and_publish, 0, NULL},
    {"enter and leave", make_object, use, 0, NULL},
    {"destroy", make_object, destroy, 0, NULL},
    {"destroy a large one", make_large_object, destroy, 0, NULL},
    {"destroy what is in use, and leave it", make_and_enter, destroy_in_use, 0, NULL},
    {"leave what has been destroyed", make_enter_and_destroy, leave, 0, NULL},
    {"destroy an owner and its parts", make_parts, destroy_with_parts, 0, NULL},
    {"visit each", make_parts, visit_all, 0, NULL},
};

int main(int argc, char **argv)
{
    return crash_main(argc, argv, operations, sizeof operations / sizeof *operations, leave_object,
                      600);
}
