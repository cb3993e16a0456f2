/* Named shared memory where it is a named file mapping, whose last word says that it is made. */
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include "support.h"

#include <wchar.h>
#include <windows.h>

enum { PAGE = 4096, LAST_WORD = 4, SMALL = 5000 };

/* This process's own, and as the system has it. */
static char name[64];
static wchar_t wide[64];

/* One of so many bytes that nobody has made. */
static HANDLE begin(DWORD size)
{
    HANDLE mapping = CreateFileMappingW(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, size, wide);
    assert_true(mapping != NULL && GetLastError() != ERROR_ALREADY_EXISTS);
    return mapping;
}

static void remove_all(kin_shm shm)
{
    assert_int_equal(kin_shm_close(shm), 0);
    assert_int_equal(kin_shm_open(&shm, name, NULL), KIN_E_NOT_FOUND);
}

/* As a creator leaves it that is killed while others have it open. */
static void what_is_not_made_yet_is_taken_over_by_who_needs_as_many_pages(void **state)
{
    static const size_t fitting[] = {PAGE - LAST_WORD + 1, SMALL, 2 * PAGE - LAST_WORD};
    kin_shm shm = {0};
    (void) state;
    for (size_t i = 0; i < sizeof fitting / sizeof *fitting; i++) {
        HANDLE mapping = begin(2 * PAGE);
        assert_int_equal(kin_shm_open(&shm, name, NULL), KIN_E_NOT_FOUND);
        assert_int_equal(kin_shm_create(&shm, name, fitting[i], NULL), 0);
        assert_int_equal(kin_shm_size(shm), fitting[i]);
        kin_shm second = {0};
        assert_int_equal(kin_shm_create(&second, name, fitting[i], NULL), KIN_E_EXISTS);
        assert_int_equal(kin_shm_open(&second, name, NULL), 0);
        assert_int_equal(kin_shm_size(second), fitting[i]);
        assert_int_equal(kin_shm_close(second), 0);
        assert_true(CloseHandle(mapping));
        remove_all(shm);
    }
}

static void what_is_not_made_and_does_not_fit_is_waited_for(void **state)
{
    const kin_shm_options options = {.open_existing = true};
    kin_shm shm = {0};
    (void) state;
    HANDLE mapping = begin(2 * PAGE);
    assert_int_equal(kin_shm_create(&shm, name, 2 * PAGE, &options), KIN_E_BUSY);
    assert_true(CloseHandle(mapping));
    assert_int_equal(kin_shm_create(&shm, name, 2 * PAGE, &options), 0);
    remove_all(shm);
}

static void let_go(void *argument, unsigned number)
{
    kin_shm *shm = argument;
    if (number == 0) {
        shm->id = kin_shm_create(shm, name, PAGE, NULL) == 0 ? shm->id : 0;
    } else {
        (void) kin_sleep(20);
        (void) CloseHandle((HANDLE) (uintptr_t) shm[1].id);
    }
}

static void who_waits_goes_on_when_the_others_have_let_go(void **state)
{
    kin_shm shm[2] = {{0}, {(uintptr_t) begin(5 * PAGE)}};
    (void) state;
    system_run_threads(2, let_go, shm);
    assert_int_equal(kin_shm_size(shm[0]), PAGE);
    remove_all(shm[0]);
}

static void something_else_of_the_name_is_in_the_way(void **state)
{
    kin_shm shm = {0};
    (void) state;
    HANDLE event = CreateEventW(NULL, TRUE, FALSE, wide);
    assert_non_null(event);
    assert_int_equal(kin_shm_create(&shm, name, 1, NULL), KIN_E_EXISTS);
    assert_int_equal(kin_shm_open(&shm, name, NULL), KIN_E_NOT_FOUND);
    assert_true(CloseHandle(event));
}

static void other_programs_find_it_as_a_file_mapping(void **state)
{
    kin_shm shm = {0};
    (void) state;
    assert_int_equal(kin_shm_create(&shm, name, SMALL, NULL), 0);
    HANDLE mapping = OpenFileMappingW(FILE_MAP_READ, FALSE, wide);
    assert_non_null(mapping);
    const unsigned char *bytes = MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, 0);
    assert_non_null(bytes);
    ((unsigned char *) kin_shm_address(shm))[SMALL - 1] = 7;
    assert_int_equal(bytes[SMALL - 1], 7);
    assert_true(UnmapViewOfFile(bytes) && CloseHandle(mapping));
    remove_all(shm);
}

int main(int argc, char **argv)
{
    if (kin_init(&argc, &argv) < 0) {
        return 1;
    }
    const unsigned long pid = GetCurrentProcessId();
    (void) snprintf(name, sizeof name, "kin-mapping %lu", pid);
    (void) swprintf(wide, sizeof wide / sizeof *wide, L"Local\\kin.shm.%hs", name);
    const struct CMUnitTest tests[] = {
        CLEAN_TEST(what_is_not_made_yet_is_taken_over_by_who_needs_as_many_pages),
        CLEAN_TEST(what_is_not_made_and_does_not_fit_is_waited_for),
        CLEAN_TEST(who_waits_goes_on_when_the_others_have_let_go),
        CLEAN_TEST(something_else_of_the_name_is_in_the_way),
        CLEAN_TEST(other_programs_find_it_as_a_file_mapping),
    };
    return cmocka_run_group_tests(tests, warm_up, NULL);
}
