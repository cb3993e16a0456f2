/* What include/kin/shm.h promises on each system. */
#include "support.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE = 4096, LARGE = 3 << 20, THREADS = 8, ROUNDS = 150, NAMES = 3, MANY = 200 };
enum { SEGMENT_FAULT = 11 }; /* SIGSEGV, or what stands for an access violation */

#if defined _WIN32
enum { NAMES_LAST = false }; /* they go with the last process that has them open */
#else
enum { NAMES_LAST = true };
#endif

/* ---- names that are this process's own ---- */

typedef struct name {
    char text[64];
} name;

static name name_of(const char *what)
{
    name made;
    platform_identity self;
    assert_int_equal(platform_process_self(&self), 0);
    (void) snprintf(made.text, sizeof made.text, "kin-test %llu.%s", (unsigned long long) self.pid,
                    what);
    return made;
}

static bool is_there(const char *text)
{
    kin_shm shm;
    int status = kin_shm_open(&shm, text, NULL);
    assert_int_equal(status, status == 0 ? kin_shm_close(shm) : KIN_E_NOT_FOUND);
    return status == 0;
}

static kin_shm create(const char *text, size_t size)
{
    kin_shm shm = {0};
    assert_int_equal(kin_shm_create(&shm, text, size, NULL), 0);
    assert_int_equal(kin_shm_size(shm), size);
    assert_non_null(kin_shm_address(shm));
    return shm;
}

static kin_shm open_as(const char *text, bool read_only)
{
    kin_shm shm = {0};
    const kin_shm_options options = {.read_only = read_only};
    assert_int_equal(kin_shm_open(&shm, text, &options), 0);
    return shm;
}

static unsigned char *bytes_of(kin_shm shm)
{
    return kin_shm_address(shm);
}

/* And nothing is left of it. */
static void remove_all(kin_shm shm, const char *text)
{
    assert_int_equal(kin_shm_close(shm), 0);
    assert_int_equal(is_there(text), NAMES_LAST);
    assert_int_equal(kin_shm_unlink(text), 0);
    assert_false(is_there(text));
}

/* ---- what is made ---- */

static void what_is_made_is_zero_and_has_the_size_asked_for(void **state)
{
    static const size_t sizes[] = {1,        2,     PAGE - 5, PAGE - 4,     PAGE - 3,
                                   PAGE - 1, PAGE,  PAGE + 1, 2 * PAGE - 4, 16 * PAGE,
                                   65537,    LARGE, LARGE + 1};
    const name n = name_of("sizes");
    (void) state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        kin_shm shm = create(n.text, sizes[i]);
        const unsigned char *bytes = bytes_of(shm);
        assert_int_equal((uintptr_t) bytes % PAGE, 0);
        for (size_t at = 0; at < sizes[i]; at++) {
            assert_int_equal(bytes[at], 0);
        }
        memset(bytes_of(shm), 0xff, sizes[i]);
        kin_shm second = open_as(n.text, false);
        assert_int_equal(kin_shm_size(second), sizes[i]);
        assert_ptr_not_equal(kin_shm_address(second), bytes);
        assert_memory_equal(kin_shm_address(second), bytes, sizes[i]);
        bytes_of(second)[sizes[i] - 1] = 7;
        assert_int_equal(bytes[sizes[i] - 1], 7);
        assert_int_equal(kin_shm_close(second), 0);
        remove_all(shm, n.text);
    }
}

static void what_is_there_is_not_made_again(void **state)
{
    const name n = name_of("twice");
    (void) state;
    kin_shm shm = create(n.text, 1000);
    kin_shm other = {77};
    bytes_of(shm)[999] = 1;
    assert_int_equal(kin_shm_create(&other, n.text, 1000, NULL), KIN_E_EXISTS);
    assert_int_equal(kin_shm_create(&other, n.text, 1, NULL), KIN_E_EXISTS);
    assert_int_equal(kin_shm_create(&other, n.text, LARGE, NULL), KIN_E_EXISTS);
    assert_true(other.id == 77);
    assert_int_equal(kin_shm_size(shm), 1000);
    assert_int_equal(bytes_of(shm)[999], 1);
    remove_all(shm, n.text);
}

static void what_is_there_can_be_opened_in_place_of_a_creation(void **state)
{
    static const size_t smaller[] = {1, 999, 1000};
    static const size_t larger[] = {1001, PAGE, LARGE};
    const kin_shm_options options = {.open_existing = true};
    const name n = name_of("either");
    kin_shm shm;
    kin_shm other = {0};
    (void) state;
    assert_int_equal(kin_shm_create(&shm, n.text, 1000, &options), 0);
    bytes_of(shm)[999] = 1;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(kin_shm_create(&other, n.text, smaller[i], &options), KIN_EXISTED);
        assert_int_equal(kin_shm_size(other), 1000);
        assert_int_equal(bytes_of(other)[999], 1);
        assert_int_equal(kin_shm_close(other), 0);
        assert_int_equal(kin_shm_create(&other, n.text, larger[i], &options), KIN_E_TOO_SMALL);
    }
    remove_all(shm, n.text);
}

static void who_has_it_open_keeps_it_when_the_name_is_taken_away(void **state)
{
    const name n = name_of("unlinked");
    (void) state;
    kin_shm shm = create(n.text, LARGE);
    bytes_of(shm)[LARGE - 1] = 1;
    assert_int_equal(kin_shm_unlink(n.text), 0);
    assert_int_equal(is_there(n.text), !NAMES_LAST);
    if (NAMES_LAST) {
        kin_shm other = create(n.text, 5);
        assert_int_equal(bytes_of(other)[0], 0);
        remove_all(other, n.text);
        assert_int_equal(kin_shm_unlink(n.text), KIN_E_NOT_FOUND);
    }
    assert_int_equal(bytes_of(shm)[LARGE - 1], 1);
    bytes_of(shm)[0] = 1;
    assert_int_equal(kin_shm_size(shm), LARGE);
    assert_int_equal(kin_shm_close(shm), 0);
    assert_false(is_there(n.text));
}

static void what_is_not_there_is_not_found(void **state)
{
    const name n = name_of("none");
    kin_shm shm = {77};
    (void) state;
    assert_int_equal(kin_shm_open(&shm, n.text, NULL), KIN_E_NOT_FOUND);
    assert_true(shm.id == 77);
    assert_int_equal(kin_shm_unlink(n.text), NAMES_LAST ? KIN_E_NOT_FOUND : 0);
}

/* ---- bad input ---- */

static void assert_bad_name(const char *text)
{
    const kin_shm_options options = {.open_existing = true};
    kin_shm shm = {77};
    assert_int_equal(kin_shm_create(&shm, text, 1, NULL), KIN_E_INVALID);
    assert_int_equal(kin_shm_create(&shm, text, 1, &options), KIN_E_INVALID);
    assert_int_equal(kin_shm_open(&shm, text, NULL), KIN_E_INVALID);
    assert_int_equal(kin_shm_unlink(text), KIN_E_INVALID);
    assert_true(shm.id == 77);
}

static void names_that_are_none_are_refused(void **state)
{
    static const char *const bad[] = {"",       "/",     "/name",       "name/", "na/me",
                                      "na\\me", ".",     "..",          ".name", "na\nme",
                                      "\x7f",   "n\x01", "n\xc3\xa4me", "\xff",  NULL};
    char text[KIN_SHM_NAME_MAX + 2];
    (void) state;
    for (int i = 0; bad[i] != NULL; i++) {
        assert_bad_name(bad[i]);
    }
    assert_bad_name(NULL);
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    assert_bad_name(text);
}

static void the_longest_and_the_oddest_names_are_good(void **state)
{
    char text[KIN_SHM_NAME_MAX + 1];
    const name n = name_of("!\"#$%&'()*+,-.:;<=>?@[]^_`{|}~");
    (void) state;
    memset(text, 'x', sizeof text);
    memcpy(text, n.text, strlen(n.text));
    text[sizeof text - 1] = '\0';
    remove_all(create(text, 10), text);
    remove_all(create(n.text, 10), n.text);
    memset(text, ' ', 3);
    text[4] = '\0';
    kin_shm lower = create(text, 3);
    assert_false(is_there("X   "));
    remove_all(lower, text);
}

static void sizes_and_options_out_of_range_are_refused(void **state)
{
    const kin_shm_options bad = {.mode = 01000};
    const name n = name_of("bad");
    kin_shm shm = {77};
    (void) state;
    assert_int_equal(kin_shm_create(&shm, n.text, 0, NULL), KIN_E_INVALID);
    assert_int_equal(kin_shm_create(&shm, n.text, 1, &bad), KIN_E_INVALID);
    assert_int_equal(kin_shm_create(NULL, n.text, 1, NULL), KIN_E_INVALID);
    assert_int_equal(kin_shm_open(NULL, n.text, NULL), KIN_E_INVALID);
    assert_int_equal(kin_shm_create(&shm, n.text, SIZE_MAX, NULL), KIN_E_NOMEM);
    assert_int_equal(kin_shm_create(&shm, n.text, (size_t) PTRDIFF_MAX + 1, NULL), KIN_E_NOMEM);
    if (sizeof(void *) == 8) { /* else there may be so much */
        assert_int_equal(kin_shm_create(&shm, n.text, PTRDIFF_MAX, NULL), KIN_E_NOMEM);
        assert_int_equal(kin_shm_create(&shm, n.text, PTRDIFF_MAX / 2, NULL), KIN_E_NOMEM);
    }
    assert_true(shm.id == 77);
    assert_false(is_there(n.text));
}

static void stale_and_forged_handles_are_refused(void **state)
{
    const name n = name_of("stale");
    (void) state;
    kin_shm shm = create(n.text, 10);
    const kin_shm forged[] = {{0},
                              {UINT64_MAX},
                              {1},
                              {shm.id + 1},
                              {shm.id + (UINT64_C(1) << 32)},
                              {shm.id - (UINT64_C(1) << 32)},
                              {shm.id & UINT32_MAX},
                              {shm.id | UINT32_MAX}};
    for (size_t i = 0; i < sizeof forged / sizeof *forged; i++) {
        assert_int_equal(kin_shm_close(forged[i]), KIN_E_HANDLE);
        assert_null(kin_shm_address(forged[i]));
        assert_int_equal(kin_shm_size(forged[i]), 0);
    }
    remove_all(shm, n.text);
    kin_shm next = create(n.text, 10); /* in the same place of the table */
    assert_true(next.id != shm.id);
    assert_int_equal(kin_shm_close(shm), KIN_E_HANDLE);
    assert_null(kin_shm_address(shm));
    assert_int_equal(kin_shm_size(shm), 0);
    remove_all(next, n.text);
}

static void many_can_be_open_at_once(void **state)
{
    static kin_shm views[MANY];
    const name n = name_of("many");
    (void) state;
    kin_shm shm = create(n.text, sizeof(int));
    for (int i = 0; i < MANY; i++) {
        views[i] = open_as(n.text, i % 2 == 0);
    }
    *(int *) kin_shm_address(shm) = 42;
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(*(const int *) kin_shm_address(views[i]), 42);
        assert_int_equal(kin_shm_close(views[i]), 0);
    }
    remove_all(shm, n.text);
}

/* ---- other processes ---- */

typedef struct told {
    name name;
    kin_shm shm;
} told;

static kin_process start_told(kin_process_function function, const name *n, kin_shm shm)
{
    const told t = {*n, shm};
    return start(function, &t, sizeof t);
}

static int answer(void *argument, size_t size)
{
    const told *t = argument;
    kin_shm shm;
    CHECK(size == sizeof *t && kin_shm_address(t->shm) == NULL); /* that is its parent's */
    CHECK(kin_shm_close(t->shm) == KIN_E_HANDLE);
    CHECK(kin_shm_open(&shm, t->name.text, NULL) == 0 && kin_shm_size(shm) == LARGE);
    unsigned char *bytes = bytes_of(shm);
    CHECK(bytes[0] == 1 && bytes[LARGE - 1] == 2);
    bytes[LARGE / 2] = 3;
    return 7; /* and its view ends with it */
}

static void another_process_opens_it_by_its_name(void **state)
{
    const name n = name_of("shared");
    (void) state;
    kin_shm shm = create(n.text, LARGE);
    bytes_of(shm)[0] = 1;
    bytes_of(shm)[LARGE - 1] = 2;
    assert_int_equal(end_of(start_told(answer, &n, shm)), 7);
    assert_int_equal(bytes_of(shm)[LARGE / 2], 3);
    remove_all(shm, n.text);
}

static int write_where_it_may_only_read(void *argument, size_t size)
{
    const told *t = argument;
    const kin_shm_options options = {.read_only = true, .open_existing = true};
    kin_shm shm = {0};
    CHECK(size == sizeof *t && signal(SIGSEGV, SIG_DFL) != SIG_ERR);
    CHECK(kin_shm_create(&shm, t->name.text, 10, &options) == KIN_EXISTED);
    CHECK(bytes_of(shm)[5] == 5 && kin_shm_close(shm) == 0);
    CHECK(kin_shm_open(&shm, t->name.text, &options) == 0 && bytes_of(shm)[5] == 5);
    ((volatile unsigned char *) bytes_of(shm))[5] = 6;
    return CHILD_FAILED;
}

static int write_what_it_made_read_only(void *argument, size_t size)
{
    const told *t = argument;
    const kin_shm_options options = {.read_only = true};
    kin_shm shm = {0};
    CHECK(size == sizeof *t && signal(SIGSEGV, SIG_DFL) != SIG_ERR);
    CHECK(kin_shm_create(&shm, t->name.text, 10, &options) == 0 && kin_shm_size(shm) == 10);
    CHECK(bytes_of(shm)[9] == 0 && kin_shm_unlink(t->name.text) == 0);
    ((volatile unsigned char *) bytes_of(shm))[9] = 6;
    return CHILD_FAILED;
}

static void to_write_to_a_read_only_view_is_a_fault(void **state)
{
    const name n = name_of("read only");
    const name own = name_of("made read only");
    (void) state;
    kin_shm shm = create(n.text, 10);
    kin_shm reader = open_as(n.text, true);
    bytes_of(shm)[5] = 5;
    assert_int_equal(bytes_of(reader)[5], 5);
    assert_int_equal(end_of(start_told(write_where_it_may_only_read, &n, shm)), -SEGMENT_FAULT);
    assert_int_equal(bytes_of(reader)[5], 5);
    assert_int_equal(kin_shm_close(reader), 0);
    remove_all(shm, n.text);
    assert_int_equal(end_of(start_told(write_what_it_made_read_only, &own, shm)), -SEGMENT_FAULT);
    assert_false(is_there(own.text));
}

static int make_and_end(void *argument, size_t size)
{
    const told *t = argument;
    kin_shm shm;
    CHECK(size == sizeof *t && kin_shm_create(&shm, t->name.text, 100, NULL) == 0);
    bytes_of(shm)[50] = 9;
    return 0;
}

static void what_a_process_made_outlives_it_where_names_do(void **state)
{
    const name n = name_of("outlives");
    (void) state;
    assert_int_equal(end_of(start_told(make_and_end, &n, (kin_shm){0})), 0);
    assert_int_equal(is_there(n.text), NAMES_LAST);
    if (NAMES_LAST) {
        kin_shm shm = open_as(n.text, false);
        assert_int_equal(bytes_of(shm)[50], 9);
        remove_all(shm, n.text);
    }
}

/* Not a member of any family. */
static int live_without_kin(int argc, char **argv)
{
    (void) argc, (void) argv;
    const name n = name_of("no family");
    kin_shm shm;
    kin_shm second;
    CHECK(kin_shm_create(&shm, n.text, 5000, NULL) == 0);
    CHECK(kin_shm_create(&second, n.text, 5000, NULL) == KIN_E_EXISTS);
    CHECK(kin_shm_open(&second, n.text, NULL) == 0 && kin_shm_size(second) == 5000);
    bytes_of(shm)[4999] = 4;
    CHECK(bytes_of(second)[4999] == 4);
    CHECK(kin_shm_close(shm) == 0 && kin_shm_close(second) == 0 && kin_shm_unlink(n.text) == 0);
    CHECK(kin_shm_open(&second, n.text, NULL) == KIN_E_NOT_FOUND);
    return 3;
}

static void it_works_without_kin_init(void **state)
{
    (void) state;
    assert_int_equal(run_mode("live_without_kin"), 3);
}

/* ---- threads ---- */

/* The first word of what they make says who has made it, once it has. */
typedef struct crowd {
    name names[NAMES];
    _Atomic uint32_t made[NAMES];
    _Atomic uint32_t existed;
    _Atomic uint32_t failures;
} crowd;

static bool is_whole(kin_shm shm, unsigned which)
{
    const size_t size = kin_shm_size(shm);
    const unsigned char *bytes = bytes_of(shm);
    return bytes != NULL && size == PAGE * (which + 1) && bytes[size - 1] <= 1 && bytes[0] <= 1;
}

/* True if it went as it may go. */
static bool use_one(crowd *c, unsigned which, uint32_t choice)
{
    const kin_shm_options options = {.open_existing = choice % 3 == 0};
    const char *text = c->names[which].text;
    kin_shm shm;
    if (choice % 7 == 0) {
        int status = kin_shm_unlink(text);
        return status == 0 || status == KIN_E_NOT_FOUND;
    }
    int status = choice % 3 == 1 ? kin_shm_open(&shm, text, NULL)
                                 : kin_shm_create(&shm, text, PAGE * (which + 1), &options);
    if (status < 0) {
        return status == (choice % 3 == 1 ? KIN_E_NOT_FOUND : KIN_E_EXISTS) ||
               (!NAMES_LAST && status == KIN_E_NOT_FOUND);
    }
    atomic_fetch_add(choice % 3 != 1 && status == 0 ? &c->made[which] : &c->existed, 1);
    bool whole = is_whole(shm, which);
    if (whole) {
        bytes_of(shm)[0] = 1;
        bytes_of(shm)[kin_shm_size(shm) - 1] = 1;
    }
    int closed = kin_shm_close(shm);
    return closed == 0 && kin_shm_close(shm) == KIN_E_HANDLE && whole;
}

static void be_in_the_crowd(void *argument, unsigned number)
{
    crowd *c = argument;
    uint64_t random = number;
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint32_t choice = next_random(&random);
        if (!use_one(c, choice % NAMES, choice >> 8)) {
            atomic_fetch_add(&c->failures, 1);
        }
    }
}

static void threads_make_open_close_and_unlink_the_same_names_at_once(void **state)
{
    static crowd c;
    static const char *const names[NAMES] = {"crowd 0", "crowd 1", "crowd 2"};
    (void) state;
    for (unsigned i = 0; i < NAMES; i++) {
        c.names[i] = name_of(names[i]);
    }
    system_run_threads(THREADS, be_in_the_crowd, &c);
    assert_int_equal(atomic_load(&c.failures), 0);
    for (unsigned i = 0; i < NAMES; i++) {
        assert_true(atomic_load(&c.made[i]) > 0);
        int status = kin_shm_unlink(c.names[i].text);
        assert_true(status == 0 || status == KIN_E_NOT_FOUND);
        assert_false(is_there(c.names[i].text));
    }
    assert_true(atomic_load(&c.existed) > 0);
}

/* Of those who make the same at the same time, one has made it. */
typedef struct race {
    name name;
    kin_shm views[THREADS];
    int statuses[THREADS];
} race;

static void race_to_make(void *argument, unsigned number)
{
    race *r = argument;
    const kin_shm_options options = {.open_existing = number % 2 == 0};
    r->statuses[number] = kin_shm_create(&r->views[number], r->name.text, 100, &options);
}

static void of_many_creators_one_makes_it(void **state)
{
    static race r;
    (void) state;
    r.name = name_of("race");
    for (int round = 0; round < ROUNDS; round++) {
        unsigned makers = 0;
        system_run_threads(THREADS, race_to_make, &r);
        for (unsigned i = 0; i < THREADS; i++) {
            makers += r.statuses[i] == 0;
            assert_true(r.statuses[i] == 0 ||
                        r.statuses[i] == (i % 2 == 0 ? KIN_EXISTED : KIN_E_EXISTS));
        }
        assert_int_equal(makers, 1);
        for (unsigned i = 0; i < THREADS; i++) {
            assert_true(r.statuses[i] < 0 || kin_shm_close(r.views[i]) == 0);
        }
        assert_int_equal(kin_shm_unlink(r.name.text), 0);
        assert_false(is_there(r.name.text));
    }
}

int main(int argc, char **argv)
{
    static const test_mode modes[] = {{"live_without_kin", live_without_kin}};
    const test_mode *mode = find_mode(modes, sizeof modes / sizeof *modes);
    if (mode != NULL) {
        return mode->run(argc, argv);
    }
    if (kin_init(&argc, &argv) < 0) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        CLEAN_TEST(what_is_made_is_zero_and_has_the_size_asked_for),
        CLEAN_TEST(what_is_there_is_not_made_again),
        CLEAN_TEST(what_is_there_can_be_opened_in_place_of_a_creation),
        CLEAN_TEST(who_has_it_open_keeps_it_when_the_name_is_taken_away),
        CLEAN_TEST(what_is_not_there_is_not_found),
        CLEAN_TEST(names_that_are_none_are_refused),
        CLEAN_TEST(the_longest_and_the_oddest_names_are_good),
        CLEAN_TEST(sizes_and_options_out_of_range_are_refused),
        CLEAN_TEST(stale_and_forged_handles_are_refused),
        CLEAN_TEST(many_can_be_open_at_once),
        CLEAN_TEST(another_process_opens_it_by_its_name),
        CLEAN_TEST(to_write_to_a_read_only_view_is_a_fault),
        CLEAN_TEST(what_a_process_made_outlives_it_where_names_do),
        CLEAN_TEST(it_works_without_kin_init),
        CLEAN_TEST(threads_make_open_close_and_unlink_the_same_names_at_once),
        CLEAN_TEST(of_many_creators_one_makes_it),
    };
    return cmocka_run_group_tests(tests, warm_up, NULL);
}
