/* The options of kin_process_start that say in what surroundings a process begins: its directory,
   environment, handles, priority, cores, group and session. With each start method, and with what
   the process that starts it keeps. */
#include "support_options.h"

#include "core/arena.h"

#include <string.h>

/* What a child tells. */
typedef struct board {
    _Atomic uint32_t known; /* it has been there, or what it was asked for */
    int numbers[MOST_CORES];
    size_t count;
    char text[TEXT_SIZE];
} board;

/* What a child is asked for. */
typedef struct question {
    uint64_t board;
    int number;
    bool at_once; /* it has what it was given from the first */
    intptr_t handle;
    char name[32];
} question;

static board *answers;
static bool at_once; /* the system gives a child its priority before it runs, and cores */

static board *board_of(const void *argument)
{
    return arena_at(((const question *) argument)->board);
}

/* Runs it in a child, to its end; its exit code. */
static int ask(kin_process_options options, int method, kin_process_function function, question q)
{
    kin_process process;
    options.method = method;
    q.board = arena_offset(answers);
    q.at_once = at_once;
    memset(answers, 0, sizeof *answers);
    assert_int_equal(kin_process_start(&process, function, &q, sizeof q, &options), 0);
    return end_of(process);
}

static const question nothing;

static int never(void *argument, size_t size)
{
    (void) argument, (void) size;
    return CHILD_FAILED;
}

/* Nothing comes of such a start, with this method. */
static void assert_refused(kin_process_options options, int method, int expected)
{
    kin_process process = {0};
    options.method = method;
    assert_int_equal(kin_process_start(&process, never, NULL, 0, &options), expected);
    assert_true(process.id == 0);
    assert_int_equal(kin_active_children(NULL, 0), 0);
}

/* ---- directory ---- */

static int tell_directory(void *argument, size_t size)
{
    CHECK(size == sizeof(question));
    system_directory(board_of(argument)->text);
    return 0;
}

static const char *const names[] = {"plain", "with some spaces", "s\xc3\xbc\xc3\x9f \xe2\x98\x83"};
enum { NAMES = sizeof names / sizeof *names };

static void start_in_directories(int method)
{
    char here[TEXT_SIZE];
    char expected[TEXT_SIZE + 256];
    system_directory(here);
    for (int i = 0; i < 2 * NAMES; i++) {
        const char *name = place(names[i / 2]);
        (void) snprintf(expected, sizeof expected, "%s%s%s", here, SEPARATOR, name);
        kin_process_options options = {.directory = i % 2 == 0 ? name : expected};
        assert_int_equal(ask(options, method, tell_directory, nothing), 0);
        assert_string_equal(answers->text, expected);
    }
    system_directory(expected);
    assert_string_equal(expected, here);
    assert_int_equal(ask((kin_process_options){0}, method, tell_directory, nothing), 0);
    assert_string_equal(answers->text, here);
}

static void a_process_starts_in_its_directory(void **state)
{
    (void) state;
    for (int i = 0; i < NAMES; i++) {
        system_make_directory(place(names[i]));
    }
    each_method(start_in_directories);
    for (int i = 0; i < NAMES; i++) {
        system_remove(place(names[i]));
    }
}

static void start_in_none(int method)
{
    kin_process_options options = {.directory = place("missing")};
    assert_refused(options, method, KIN_E_NOT_FOUND);
    options.directory = place("missing" SEPARATOR "deeper");
    assert_refused(options, method, KIN_E_NOT_FOUND);
    options.directory = place("file");
    assert_refused(options, method, KIN_E_NOT_FOUND);
    options.directory = "";
    assert_refused(options, method, KIN_E_NOT_FOUND);
}

static void a_directory_that_is_none_is_told_by_the_start(void **state)
{
    (void) state;
    write_file(place("file"), "");
    each_method(start_in_none);
    system_remove(place("file"));
}

/* ---- environment ---- */

static int tell_variable(void *argument, size_t size)
{
    const question *q = argument;
    CHECK(size == sizeof *q);
    atomic_store(&board_of(q)->known, system_variable(q->name, board_of(q)->text));
    return 0;
}

/* What a child has for it; NULL: nothing. */
static const char *value_in_child(kin_process_options options, int method, const char *name)
{
    question q = nothing;
    (void) snprintf(q.name, sizeof q.name, "%s", name);
    assert_int_equal(ask(options, method, tell_variable, q), 0);
    return atomic_load(&answers->known) != 0 ? answers->text : NULL;
}

static void assert_value(const char *const *environment, int method, const char *name,
                         const char *expected)
{
    kin_process_options options = {.environment = environment};
    const char *found = value_in_child(options, method, name);
    if (expected == NULL) {
        assert_null(found);
    } else {
        assert_non_null(found);
        assert_string_equal(found, expected);
    }
}

#define VARIABLES(...) ((const char *const[]){__VA_ARGS__, NULL})

static void change_environment(int method)
{
    static const char *const none[] = {NULL};
    assert_value(NULL, method, "KIN_TEST_KEPT", "as it was");
    assert_value(none, method, "KIN_TEST_KEPT", "as it was");
    assert_value(VARIABLES("KIN_TEST_NEW=1"), method, "KIN_TEST_NEW", "1");
    assert_value(VARIABLES("KIN_TEST_NEW=1"), method, "KIN_TEST_KEPT", "as it was");
    assert_value(VARIABLES("KIN_TEST_KEPT=new"), method, "KIN_TEST_KEPT", "new");
    assert_value(VARIABLES("KIN_TEST_KEPT"), method, "KIN_TEST_KEPT", NULL);
    assert_value(VARIABLES("KIN_TEST_KEP=x"), method, "KIN_TEST_KEPT", "as it was");
    assert_value(VARIABLES("KIN_TEST_NONE"), method, "KIN_TEST_NONE", NULL);
    assert_value(VARIABLES("KIN_TEST_NEW=a=b=c"), method, "KIN_TEST_NEW", "a=b=c");
    /* Of two that say something of a variable the later one counts. */
    assert_value(VARIABLES("KIN_TEST_NEW=1", "KIN_TEST_NEW=2"), method, "KIN_TEST_NEW", "2");
    assert_value(VARIABLES("KIN_TEST_KEPT=1", "KIN_TEST_KEPT"), method, "KIN_TEST_KEPT", NULL);
    assert_value(VARIABLES("KIN_TEST_KEPT", "KIN_TEST_KEPT=3"), method, "KIN_TEST_KEPT", "3");
    assert_value(VARIABLES("KIN_TEST_NEW="), method, "KIN_TEST_NEW", "");
#if defined _WIN32
    assert_value(VARIABLES("kin_Test_kept=any"), method, "KIN_TEST_KEPT", "any");
    assert_value(VARIABLES("kin_test_kept"), method, "KIN_TEST_KEPT", NULL);
    assert_value(VARIABLES("a_b=1", "A_B=2"), method, "a_B", "2");
#else
    assert_value(VARIABLES("kin_test_kept=other"), method, "KIN_TEST_KEPT", "as it was");
#endif
}

static void the_environment_is_changed_as_it_says(void **state)
{
    (void) state;
    char text[TEXT_SIZE];
    each_method(change_environment);
    assert_true(system_variable("KIN_TEST_KEPT", text));
    assert_string_equal(text, "as it was");
    assert_false(system_variable("KIN_TEST_NEW", text));
}

static void have_long_values(int method)
{
    enum { LENGTH = 4096 };
    static char variable[16 + LENGTH + 1] = "KIN_TEST_LONG=";
    char *value = variable + strlen("KIN_TEST_LONG=");
    memset(value, 'x', LENGTH);
    assert_value(VARIABLES(variable), method, "KIN_TEST_LONG", value);
    for (int i = 0; i + 3 <= LENGTH; i += 3) {
        memcpy(value + i, "\xe2\x98\x83", 3);
    }
    value[LENGTH / 3 * 3] = '\0';
    assert_value(VARIABLES(variable), method, "KIN_TEST_LONG", value);
    assert_value(VARIABLES("KIN_TEST_QUOTED=\"a b\" 'c' \\ %PATH% $HOME\n;"), method,
                 "KIN_TEST_QUOTED", "\"a b\" 'c' \\ %PATH% $HOME\n;");
}

static void values_may_be_long_and_hold_any_text(void **state)
{
    (void) state;
    each_method(have_long_values);
}

static void have_little(int method)
{
    kin_process_options options = {.clean_environment = true};
    assert_null(value_in_child(options, method, "KIN_TEST_KEPT"));
    assert_null(value_in_child(options, method, "PATH"));
    options.environment = VARIABLES("KIN_TEST_NEW=1", "KIN_TEST_KEPT");
    assert_string_equal(value_in_child(options, method, "KIN_TEST_NEW"), "1");
    assert_null(value_in_child(options, method, "KIN_TEST_KEPT"));
#if defined _WIN32
    assert_non_null(value_in_child(options, method, "SystemRoot"));
#endif
}

static void a_clean_environment_has_only_what_is_given(void **state)
{
    (void) state;
    each_method(have_little);
}

static void have_bad_variables(int method)
{
    kin_process_options options = {.environment = VARIABLES("")};
    assert_refused(options, method, KIN_E_INVALID);
    options.environment = VARIABLES("KIN_TEST_NEW=1", "=x");
    assert_refused(options, method, KIN_E_INVALID);
    options.environment = VARIABLES("=");
    assert_refused(options, method, KIN_E_INVALID);
}

static void variables_without_a_name_are_refused(void **state)
{
    (void) state;
    each_method(have_bad_variables);
}

/* In a program that a child starts by its own means. */
static int mode_look(int argc, char **argv)
{
    (void) argc, (void) argv;
    return system_has_variable_like("KIN_CHILD") || system_has_variable_like("KIN_LIFELINE");
}

static int look_for_secrets(void *argument, size_t size)
{
    char path[TEXT_SIZE];
    (void) argument;
    CHECK(size == sizeof(question));
    CHECK(!system_has_variable_like("KIN_CHILD"));
    CHECK(!system_has_variable_like("KIN_LIFELINE"));
    system_own_path(path);
    system_set_variable(TEST_MODE, "look");
    CHECK(system_run(path) == 0);
    return 0;
}

static void start_with_secrets(int method)
{
    kin_process_options options = {0};
    assert_int_equal(ask(options, method, look_for_secrets, nothing), 0);
    options.environment = VARIABLES("KIN_TEST_NEW=1", "ZZZ=2", "A=3");
    assert_int_equal(ask(options, method, look_for_secrets, nothing), 0);
    options.clean_environment = true;
    assert_int_equal(ask(options, method, look_for_secrets, nothing), 0);
}

static void what_a_child_is_told_with_stays_hidden(void **state)
{
    (void) state;
    each_method(start_with_secrets);
}

static void the_forkserver_has_an_environment_of_its_own(void **state)
{
    (void) state;
    if (!kin_has_start_method(KIN_START_FORKSERVER)) {
        skip();
    }
    system_set_variable("KIN_TEST_LATE", "1"); /* the server runs already */
    assert_value(NULL, KIN_START_SPAWN, "KIN_TEST_LATE", "1");
    assert_value(NULL, KIN_START_FORKSERVER, "KIN_TEST_LATE", NULL);
    assert_value(VARIABLES("KIN_TEST_NEW=1"), KIN_START_FORKSERVER, "KIN_TEST_LATE", NULL);
    system_set_variable("KIN_TEST_LATE", NULL);
}

/* ---- handles ---- */

static int read_handle(void *argument, size_t size)
{
    const question *q = argument;
    char text[16];
    CHECK(size == sizeof *q);
    CHECK(system_is_file(q->handle));
    CHECK(read_to_end(q->handle, text, sizeof text) == 6);
    CHECK(memcmp(text, "passed", 6) == 0);
    return 0;
}

static int lack_handle(void *argument, size_t size)
{
    const question *q = argument;
    CHECK(size == sizeof *q);
    return system_is_file(q->handle) ? 1 : 0;
}

static void pass_handles(int method)
{
    intptr_t file;
    intptr_t other;
    assert_int_equal(platform_stream_open(&file, place("file"), PLATFORM_READ), 0);
    assert_int_equal(platform_stream_open(&other, place("file"), PLATFORM_READ), 0);
    kin_process_options options = {.inherit = &file, .inherit_count = 1};
    question q = {.handle = file};
    if (method == KIN_START_FORKSERVER) {
        assert_refused(options, method, KIN_E_UNSUPPORTED);
    } else {
        assert_int_equal(ask(options, method, read_handle, q), 0);
        options.inherit = (intptr_t[]){other, file};
        options.inherit_count = 2;
        q.handle = other;
        assert_int_equal(ask(options, method, read_handle, q), 0);
    }
    assert_false(system_is_inherited(file));
    assert_false(system_is_inherited(other));
    if (method == KIN_START_SPAWN) { /* a copy has them all */
        options = (kin_process_options){.inherit = &file, .inherit_count = 1};
        assert_int_equal(ask(options, method, lack_handle, q), 0);
        assert_int_equal(ask((kin_process_options){0}, method, lack_handle, q), 0);
    }
    platform_stream_close(file);
    platform_stream_close(other);
}

static void handles_are_passed_on_under_their_numbers(void **state)
{
    (void) state;
    write_file(place("file"), "passed");
    each_method(pass_handles);
    system_remove(place("file"));
}

static void pass_none(int method)
{
    static const intptr_t numbers[] = {-1, -2, 1000001, INTPTR_MAX};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        kin_process_options options = {.inherit = &numbers[i], .inherit_count = 1};
        assert_refused(options, method,
                       method == KIN_START_FORKSERVER ? KIN_E_UNSUPPORTED : KIN_E_INVALID);
    }
    kin_process_options options = {.inherit_count = 1};
    assert_refused(options, method, KIN_E_INVALID);
}

static void handles_that_are_none_are_refused(void **state)
{
    (void) state;
    each_method(pass_none);
}

/* ---- priority and cores ---- */

static int tell_priority(void *argument, size_t size)
{
    const question *q = argument;
    CHECK(size == sizeof *q);
    int64_t until = kin_clock_ns() + LONG_TIME;
    while (!q->at_once && q->number != 0 && system_priority() != q->number &&
           kin_clock_ns() < until) {
        CHECK(kin_sleep(1) == 0);
    }
    return system_priority();
}

static void give_priorities(int method)
{
    int own = system_priority();
    kin_process_options options = {0};
    assert_int_equal(ask(options, method, tell_priority, nothing), own);
    for (int priority = KIN_PRIORITY_IDLE; priority <= KIN_PRIORITY_LOW; priority++) {
        question q = {.number = priority};
        options.priority = priority;
        assert_int_equal(ask(options, method, tell_priority, q), priority);
        assert_int_equal(system_priority(), own);
    }
    assert_int_equal(ask((kin_process_options){0}, method, tell_priority, nothing), own);
}

static void a_process_has_its_priority(void **state)
{
    (void) state;
    each_method(give_priorities);
}

/* To raise it takes a right that the tests may have or not. */
static void raise_priorities(int method)
{
    question q = {.board = arena_offset(answers), .at_once = at_once};
    for (int priority = KIN_PRIORITY_NORMAL; priority <= KIN_PRIORITY_HIGH; priority++) {
        kin_process process;
        kin_process_options options = {.method = method, .priority = priority};
        q.number = priority;
        int status = kin_process_start(&process, tell_priority, &q, sizeof q, &options);
        if (status == 0) {
            assert_int_equal(end_of(process), priority);
        } else {
            assert_int_equal(status, KIN_E_PERMISSION);
        }
    }
}

static void a_priority_is_raised_or_permission_is_lacking(void **state)
{
    (void) state;
    each_method(raise_priorities);
}

static void have_bad_numbers(int method)
{
    assert_refused((kin_process_options){.priority = KIN_PRIORITY_HIGH + 1}, method, KIN_E_INVALID);
    assert_refused((kin_process_options){.priority = -1}, method, KIN_E_INVALID);
    assert_refused((kin_process_options){.reserved_priority = 1}, method, KIN_E_INVALID);
    assert_refused((kin_process_options){.reserved = {[6] = 1}}, method, KIN_E_INVALID);
    assert_refused((kin_process_options){.core_count = 1}, method, KIN_E_INVALID);
    assert_refused((kin_process_options){.cores = (int[]){-1}, .core_count = 1}, method,
                   KIN_E_INVALID);
}

static void numbers_out_of_range_are_refused(void **state)
{
    (void) state;
    each_method(have_bad_numbers);
}

static int tell_cores(void *argument, size_t size)
{
    board *b = board_of(argument);
    CHECK(size == sizeof(question));
    b->count = system_cores(b->numbers);
    return 0;
}

static void assert_cores(const int *expected, size_t count)
{
    assert_int_equal(answers->count, count);
    assert_memory_equal(answers->numbers, expected, count * sizeof *expected);
}

static void give_cores(int method)
{
    int own[MOST_CORES];
    int now[MOST_CORES];
    size_t count = system_cores(own);
    for (size_t i = 0; i < count && i < 4; i++) {
        kin_process_options options = {.cores = &own[i], .core_count = 1};
        assert_int_equal(ask(options, method, tell_cores, nothing), 0);
        assert_cores(&own[i], 1);
    }
    kin_process_options options = {.cores = own, .core_count = count};
    assert_int_equal(ask(options, method, tell_cores, nothing), 0);
    assert_cores(own, count);
    assert_int_equal(ask((kin_process_options){0}, method, tell_cores, nothing), 0);
    assert_cores(own, count);
    assert_int_equal(system_cores(now), count);
    assert_memory_equal(now, own, count * sizeof *own);
}

static void lack_cores(int method)
{
    int own[MOST_CORES];
    size_t count = system_cores(own);
    const int none[] = {own[count - 1] + 1, 1000, 1023, 1024, 1000000, INT32_MAX};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        kin_process_options options = {.cores = &none[i], .core_count = 1};
        if (i == 0 && own[count - 1] >= 63) {
            continue;
        }
        assert_refused(options, method, KIN_E_INVALID);
        options.cores = (int[]){own[0], none[i]};
        options.core_count = 2;
        assert_refused(options, method, KIN_E_INVALID);
    }
}

static void a_process_has_its_cores(void **state)
{
    (void) state;
    if (!at_once) {
        skip();
    }
    each_method(give_cores);
}

static void cores_that_are_not_there_are_refused(void **state)
{
    (void) state;
    if (!at_once) {
        skip();
    }
    each_method(lack_cores);
}

static void choose_cores_anyway(int method)
{
    kin_process_options options = {.cores = (int[]){0}, .core_count = 1};
    assert_refused(options, method, KIN_E_UNSUPPORTED);
}

static void cores_cannot_be_chosen_everywhere(void **state)
{
    (void) state;
    if (at_once) {
        skip();
    }
    each_method(choose_cores_anyway);
}

/* ---- group and session ---- */

static int tell_leads(void *argument, size_t size)
{
    (void) argument;
    CHECK(size == sizeof(question));
    return (system_leads_group() ? 1 : 0) + (system_leads_session() ? 2 : 0);
}

static void lead(int method)
{
    kin_process_options group = {.new_process_group = true};
    kin_process_options session = {.new_session = true};
    kin_process_options both = {.new_process_group = true, .new_session = true};
    assert_int_equal(ask(group, method, tell_leads, nothing) & 1, 1);
    assert_int_equal(ask(session, method, tell_leads, nothing), 3);
    assert_int_equal(ask(both, method, tell_leads, nothing), 3);
#if !defined _WIN32
    assert_int_equal(ask((kin_process_options){0}, method, tell_leads, nothing), 0);
    assert_int_equal(ask(group, method, tell_leads, nothing), 1);
#endif
}

static void a_process_leads_its_group_or_session(void **state)
{
    (void) state;
    each_method(lead);
}

/* ---- all at once ---- */

static int have_all(void *argument, size_t size)
{
    char text[TEXT_SIZE];
    const question *q = argument;
    CHECK(size == sizeof *q);
    CHECK(system_leads_group());
    CHECK(system_leads_session());
    CHECK(!q->at_once || system_priority() == KIN_PRIORITY_LOW);
    CHECK(system_variable("KIN_TEST_NEW", text) && strcmp(text, "1") == 0);
    CHECK(!system_variable("KIN_TEST_KEPT", text));
    CHECK(strcmp(kin_process_name(kin_current_process()), "\"all\" of it") == 0);
    return tell_directory(argument, size);
}

static void start_with_all(int method)
{
    int own[MOST_CORES];
    char here[TEXT_SIZE];
    size_t count = at_once ? system_cores(own) : 0;
    kin_process_options options = {.name = "\"all\" of it",
                                   .directory = place("plain"),
                                   .environment = VARIABLES("KIN_TEST_NEW=1", "KIN_TEST_KEPT"),
                                   .new_process_group = true,
                                   .new_session = true,
                                   .daemon = true,
                                   .priority = KIN_PRIORITY_LOW,
                                   .cores = own,
                                   .core_count = count};
    system_directory(here);
    assert_int_equal(ask(options, method, have_all, nothing), 0);
    assert_int_equal(strncmp(answers->text, here, strlen(here)), 0);
    assert_string_equal(answers->text + strlen(here) + 1, place("plain"));
}

static void all_options_go_together(void **state)
{
    (void) state;
    system_make_directory(place("plain"));
    each_method(start_with_all);
    system_remove(place("plain"));
}

static int prepare(void **state)
{
    int status = warm_up_all(state);
    answers = shared_new(sizeof *answers);
    at_once = can_choose_cores();
    make_place("options");
    return status;
}

static int clear(void **state)
{
    (void) state;
    shared_free(answers);
    remove_place();
    return 0;
}

static const test_mode modes[] = {{"look", mode_look}};

int main(int argc, char **argv)
{
    const test_mode *mode = find_mode(modes, sizeof modes / sizeof *modes);
    if (mode != NULL) {
        return mode->run(argc, argv);
    }
    if (kin_init(&argc, &argv) < 0) {
        return 1;
    }
    system_set_variable("KIN_TEST_KEPT", "as it was");
    const struct CMUnitTest tests[] = {
        SETTLED_TEST(a_process_starts_in_its_directory),
        SETTLED_TEST(a_directory_that_is_none_is_told_by_the_start),
        SETTLED_TEST(the_environment_is_changed_as_it_says),
        SETTLED_TEST(values_may_be_long_and_hold_any_text),
        SETTLED_TEST(a_clean_environment_has_only_what_is_given),
        SETTLED_TEST(variables_without_a_name_are_refused),
        SETTLED_TEST(what_a_child_is_told_with_stays_hidden),
        SETTLED_TEST(the_forkserver_has_an_environment_of_its_own),
        SETTLED_TEST(handles_are_passed_on_under_their_numbers),
        SETTLED_TEST(handles_that_are_none_are_refused),
        SETTLED_TEST(a_process_has_its_priority),
        SETTLED_TEST(a_priority_is_raised_or_permission_is_lacking),
        SETTLED_TEST(numbers_out_of_range_are_refused),
        SETTLED_TEST(a_process_has_its_cores),
        SETTLED_TEST(cores_that_are_not_there_are_refused),
        SETTLED_TEST(cores_cannot_be_chosen_everywhere),
        SETTLED_TEST(a_process_leads_its_group_or_session),
        SETTLED_TEST(all_options_go_together),
    };
    return cmocka_run_group_tests(tests, prepare, clear);
}
