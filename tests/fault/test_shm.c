/* Injected failures of making, opening and unlinking named memory: each call to the system fails
   once. What cannot be done is told, and no name and no view is left. */
#include "injection.h"

#include <string.h>

enum { SIZE = 5000, LARGE = 1 << 20, FRESH = 70 };

static const char *name(void)
{
    static char text[64];
    platform_identity self;
    int left = fault_pause();
    (void) platform_process_self(&self);
    fault_resume(left);
    (void) snprintf(text, sizeof text, "kin-fault %llu", (unsigned long long) self.pid);
    return text;
}

/* After a failure the name is free; after a success it is somebody's until it is unlinked. */
static int end_with(int status, kin_shm shm)
{
    const char *text = name();
    kin_shm other;
    int left = fault_pause();
    if (status >= 0 &&
        (((unsigned char *) kin_shm_address(shm))[kin_shm_size(shm) - 1] != 0 ||
         kin_shm_create(&other, text, SIZE, NULL) != KIN_E_EXISTS || kin_shm_close(shm) != 0)) {
        return 1;
    }
    int unlinked = status >= 0 ? kin_shm_unlink(text) : 0;
    bool is_left = unlinked != 0 || kin_shm_open(&other, text, NULL) != KIN_E_NOT_FOUND;
    fault_resume(left);
    return is_left ? 1 : status;
}

static int create_as(size_t size, const kin_shm_options *options)
{
    kin_shm shm = {0};
    return end_with(kin_shm_create(&shm, name(), size, options), shm);
}

static int create_plain(void)
{
    return create_as(SIZE, NULL);
}

static int create_with_options(void)
{
    const kin_shm_options options = {.open_existing = true, .read_only = true, .mode = 0640};
    return create_as(LARGE, &options);
}

/* What failed to be opened is still there. */
static int open_what_is_there(void)
{
    const kin_shm_options options = {.read_only = true};
    kin_shm shm = {0};
    kin_shm view = {0};
    int left = fault_pause();
    int status = kin_shm_create(&shm, name(), SIZE, NULL);
    fault_resume(left);
    if (status < 0) {
        return status;
    }
    status = kin_shm_open(&view, name(), &options);
    left = fault_pause();
    bool closed = status < 0 || (kin_shm_size(view) == SIZE && kin_shm_close(view) == 0);
    fault_resume(left);
    int ended = end_with(0, shm);
    return closed && ended == 0 ? status : 1;
}

static int open_in_place_of_creation(void)
{
    const kin_shm_options options = {.open_existing = true};
    kin_shm shm = {0};
    kin_shm view = {0};
    int left = fault_pause();
    int status = kin_shm_create(&shm, name(), SIZE, NULL);
    fault_resume(left);
    if (status < 0) {
        return status;
    }
    status = kin_shm_create(&view, name(), SIZE, &options);
    bool closed = status < 0 || (kin_shm_size(view) == SIZE && kin_shm_close(view) == 0);
    int ended = end_with(0, shm);
    return !closed || ended != 0 ? 1 : status == KIN_EXISTED ? 0 : status;
}

static int unlink_it(void)
{
    kin_shm shm = {0};
    int left = fault_pause();
    int status = kin_shm_create(&shm, name(), SIZE, NULL);
    status = status < 0 ? status : kin_shm_close(shm);
    fault_resume(left);
    int unlinked = kin_shm_unlink(name());
    left = fault_pause();
    int again = unlinked < 0 ? kin_shm_unlink(name()) : 0;
    fault_resume(left);
    return status < 0 ? status : again != 0 ? 1 : unlinked;
}

/* The table of views grows, in this process, with the first ones that are open at once. */
static int open_many(void)
{
    static unsigned rounds;
    static kin_shm views[FRESH * 8];
    unsigned count = 0;
    int status = 0;
    kin_shm shm = {0};
    int left = fault_pause();
    int made = kin_shm_create(&shm, name(), SIZE, NULL);
    unsigned before = rounds < 6 ? FRESH * rounds++ : FRESH * 6;
    for (; made == 0 && count < before; count++) {
        made = kin_shm_open(&views[count], name(), NULL);
    }
    fault_resume(left);
    while (made == 0 && status == 0 && count < before + FRESH) {
        status = kin_shm_open(&views[count], name(), NULL);
        count += status == 0;
    }
    left = fault_pause();
    while (count > 0) {
        made = kin_shm_close(views[--count]) != 0 ? 1 : made;
    }
    fault_resume(left);
    int ended = end_with(0, shm);
    return made != 0 || ended != 0 ? 1 : status;
}

/* Before any other: where handles begin is asked of the system once, and the table is made. */
static void a_first_creation_that_fails_is_told(void **state)
{
    bool met = true;
    (void) state;
    for (int number = 1; met; number++) {
        fault_arm(number);
        int status = create_plain();
        met = fault_disarm();
        assert_true(fault_is_sensible(status) && (met || status == 0));
        assert_true(number < 20);
    }
}

FAULT_TEST(a_creation_that_fails_leaves_nothing, create_plain)
FAULT_TEST(a_creation_with_options_that_fails_leaves_nothing, create_with_options)
FAULT_TEST(an_open_that_fails_leaves_nothing, open_what_is_there)
FAULT_TEST(an_open_in_place_of_a_creation_that_fails_leaves_nothing, open_in_place_of_creation)
FAULT_TEST(opening_many_that_fails_leaves_nothing, open_many)

static void an_unlink_that_fails_is_told(void **state)
{
    (void) state;
#if defined _WIN32
    assert_int_equal(unlink_it(), 0); /* there is nothing that could fail */
#else
    fail_each(unlink_it);
#endif
}

int main(int argc, char **argv)
{
    if (kin_init(&argc, &argv) < 0) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_first_creation_that_fails_is_told),
        cmocka_unit_test(a_creation_that_fails_leaves_nothing),
        cmocka_unit_test(a_creation_with_options_that_fails_leaves_nothing),
        cmocka_unit_test(an_open_that_fails_leaves_nothing),
        cmocka_unit_test(an_open_in_place_of_a_creation_that_fails_leaves_nothing),
        cmocka_unit_test(opening_many_that_fails_leaves_nothing),
        cmocka_unit_test(an_unlink_that_fails_is_told),
    };
    return cmocka_run_group_tests(tests, warm_up, NULL);
}
