/* What every wing promises in core/platform.h, the same on all systems.

   The tests are a family of their own: one memory object, inherited by the children, which are this
   program again. A child finds in its environment what it is to be, and its number; it enters its
   identity into the shared memory and does its part, a function named role_*. Children are daemons
   unless a test needs others, so that none is left whatever fails. The parent sleeps on a parker
   until a child has told something. */
#include "core/platform.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#if defined _WIN32
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#else
#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>
#endif

#define CHILD_VARIABLE "KIN_TEST_CHILD"

/* A child's assertion: what it returns is its exit code. */
#define CHECK(condition)                                                          \
    do {                                                                          \
        if (!(condition)) {                                                       \
            (void) fprintf(stderr, "child: line %d: %s\n", __LINE__, #condition); \
            return CHILD_FAILED;                                                  \
        }                                                                         \
    } while (0)

enum {
    CHILD_FAILED = 99,
    MEMORY_SIZE = 1 << 20,
    COMMITTED = 1 << 18, /* of these, from the start */
    STEP = 1 << 16,
    MEMBERS = 256,
    TEST_NUMBER = 1,
    WATCHED = 70, /* more than the 64 that Windows waits for at once */
    ROUNDS = 2000,
    THREADS = 4,
    HOOK_RAN = 1,
    HOOK_RAN_AMONG_THREADS = 2
};

#define MILLISECOND INT64_C(1000000)
#define LONG_TIME (60000 * MILLISECOND)

typedef struct family {
    platform_mutex_shared mutex;
    platform_mutex_shared spare_mutex;
    platform_parker_shared parker;       /* of the test itself */
    platform_parker_shared child_parker; /* of role_park */
    uint64_t secret;
    platform_identity members[MEMBERS];
    _Atomic uint32_t joined[MEMBERS];
    _Atomic uint32_t told[MEMBERS]; /* what a member tells once it is where it should be */
    _Atomic uint32_t word;
    _Atomic uint32_t hook;
    uint32_t counter; /* under the mutex */
    int64_t clock;
    intptr_t foreign; /* a memory object that is nobody's heritage */
    platform_module module;
    uintptr_t offset;
} family;

static platform_memory memory;
static family *shared;
static char *program;
static uint32_t own_number = TEST_NUMBER;
static uint32_t next_number = TEST_NUMBER + 1;
static platform_parker own_parker;  /* the test's */
static platform_parker test_parker; /* a child's way to wake the test */

static const char *const awkward[] = {
    "",        "plain",    "two words",   "\"",         "\\",        "\\\"", "end\\",
    "end\\\\", "a\\\\b c", "a\\\\\"b",    "\"quoted\"", "tab\there", "*",    "?.c",
    "%PATH%",  "^&|<>",    "--x=\"y z\"", "'single'",   " "};
enum { AWKWARD = sizeof awkward / sizeof *awkward };

/* Starts this program again as a member with that number. */
static int start_number(platform_process *process, const char *role, uint32_t number, bool daemon,
                        char **arguments)
{
    char value[128];
    char *none[] = {program, NULL};
    (void) snprintf(value, sizeof value, "%lld %lu %lu %d %s", (long long) memory.object,
                    (unsigned long) number, (unsigned long) own_number, daemon, role);
    const platform_spawn spawn = {
        .arguments = arguments != NULL ? arguments : none,
        .variable = CHILD_VARIABLE "=",
        .value = value,
        .inherit = memory.object,
        .daemon = daemon,
    };
    return platform_process_spawn(process, &spawn);
}

static uint32_t start(platform_process *process, const char *role)
{
    uint32_t number = next_number++;
    assert_true(number < MEMBERS);
    assert_int_equal(start_number(process, role, number, true, NULL), 0);
    return number;
}

/* Waits for its end and gives its exit code. */
static int end_of(platform_process *process)
{
    int code = -1000;
    assert_int_equal(platform_process_wait(process, LONG_TIME), 0);
    assert_int_equal(platform_process_exit_code(process, &code), 0);
    platform_process_close(process);
    return code;
}

static void run(const char *role)
{
    platform_process process;
    (void) start(&process, role);
    assert_int_equal(end_of(&process), 0);
}

static void tell(uint32_t what)
{
    atomic_store(&shared->told[own_number], what);
    platform_unpark(&test_parker);
}

/* Until that member has told. */
static void await(uint32_t number)
{
    while (atomic_load(&shared->told[number]) == 0) {
        assert_int_equal(platform_park(&own_parker, LONG_TIME), 0);
    }
}

static uint32_t start_and_await(platform_process *process, const char *role)
{
    uint32_t number = start(process, role);
    await(number);
    return number;
}

static void kill_and_close(platform_process *process)
{
    assert_int_equal(platform_process_kill(process, false), 0);
    assert_int_equal(end_of(process), -9);
}

/* ---- memory ---- */

static bool is_zero(const unsigned char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != 0) {
            return false;
        }
    }
    return true;
}

static void memory_is_aligned_and_new_memory_is_zero(void **state)
{
    (void) state;
    const size_t page = platform_memory_page_size();
    platform_memory mine;
    assert_true(page >= 512 && page <= 65536 && (page & (page - 1)) == 0);
    assert_true(platform_memory_default_size() >= MEMORY_SIZE);
    assert_int_equal(platform_memory_default_size() % 65536, 0);
    assert_int_equal(platform_memory_create(&mine, MEMORY_SIZE), 0);
    assert_int_equal((uintptr_t) mine.base % page, 0);
    assert_int_equal(mine.size, MEMORY_SIZE);
    assert_int_equal(platform_memory_commit(&mine, page, 2 * page), 0);
    assert_true(is_zero(mine.base + page, 2 * page));
    assert_int_equal(platform_memory_commit(&mine, MEMORY_SIZE - page, page), 0);
    assert_true(is_zero(mine.base + MEMORY_SIZE - page, page));
    platform_memory_detach(&mine);
    assert_int_equal(mine.object, PLATFORM_NONE);
}

static void what_is_committed_stays_when_it_is_committed_again(void **state)
{
    (void) state;
    platform_memory mine;
    assert_int_equal(platform_memory_create(&mine, MEMORY_SIZE), 0);
    assert_int_equal(platform_memory_commit(&mine, 0, STEP), 0);
    memset(mine.base, 7, STEP);
    assert_int_equal(platform_memory_commit(&mine, 0, 2 * STEP), 0);
    for (size_t i = 0; i < STEP; i++) {
        assert_int_equal(mine.base[i], 7);
    }
    assert_true(is_zero(mine.base + STEP, STEP));
    uint64_t usage = platform_memory_usage(&mine);
    assert_true(usage == 0 || (usage >= 2 * STEP && usage <= MEMORY_SIZE));
    platform_memory_detach(&mine);
}

static void released_memory_is_zero_when_it_is_committed_again(void **state)
{
    (void) state;
    platform_memory mine;
    assert_int_equal(platform_memory_create(&mine, MEMORY_SIZE), 0);
    assert_int_equal(platform_memory_commit(&mine, 0, 3 * STEP), 0);
    memset(mine.base, 7, 3 * STEP);
    /* With a part that has never been committed. */
    int status = platform_memory_release(&mine, STEP, 4 * STEP);
    if (status != KIN_E_UNSUPPORTED) {
        assert_int_equal(status, 0);
        assert_int_equal(platform_memory_commit(&mine, STEP, 4 * STEP), 0);
        assert_true(is_zero(mine.base + STEP, 4 * STEP));
    }
    assert_int_equal(mine.base[0], 7);
    assert_int_equal(mine.base[STEP - 1], 7);
    platform_memory_detach(&mine);
}

static void more_than_there_can_be_is_refused(void **state)
{
    (void) state;
    platform_memory mine;
    assert_int_equal(platform_memory_create(&mine, SIZE_MAX - 65535), KIN_E_NOMEM);
}

static void only_the_memory_object_is_attached(void **state)
{
    (void) state;
    platform_memory mine;
    platform_process process;
    assert_int_equal(platform_memory_attach(&mine, PLATFORM_NONE, STEP), KIN_E_ATTACH);
    assert_int_equal(platform_memory_attach(&mine, 0x7ffffff0, STEP), KIN_E_ATTACH);
    assert_int_equal(platform_memory_attach(&mine, 54321, STEP), KIN_E_ATTACH);
    assert_int_equal(platform_memory_attach(&mine, memory.object, 2 * MEMORY_SIZE), KIN_E_ATTACH);
    (void) start_and_await(&process, "stay");
    assert_int_equal(platform_memory_attach(&mine, process.object, STEP), KIN_E_ATTACH);
    kill_and_close(&process);
}

static int role_commit(int argc, char **argv)
{
    (void) argc;
    (void) argv;
    for (size_t offset = COMMITTED; offset < MEMORY_SIZE; offset += STEP) {
        CHECK(platform_memory_commit(&memory, offset, STEP) == 0);
        memory.base[offset + own_number] = 1;
    }
    return 0;
}

static void what_one_commits_all_can_use(void **state)
{
    (void) state;
    platform_process processes[2];
    uint32_t numbers[2];
    for (int i = 0; i < 2; i++) {
        numbers[i] = start(&processes[i], "commit");
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(end_of(&processes[i]), 0);
    }
    for (size_t offset = COMMITTED; offset < MEMORY_SIZE; offset += STEP) {
        assert_int_equal(memory.base[offset + numbers[0]], 1);
        assert_int_equal(memory.base[offset + numbers[1]], 1);
        assert_int_equal(memory.base[offset + MEMBERS], 0);
    }
}

static int role_look_for_foreign(int argc, char **argv)
{
    platform_memory foreign;
    (void) argc;
    (void) argv;
    CHECK(platform_memory_attach(&foreign, shared->foreign, STEP) == KIN_E_ATTACH);
    return 0;
}

static void a_child_inherits_nothing_but_the_memory(void **state)
{
    (void) state;
    platform_memory foreign;
    assert_int_equal(platform_memory_create(&foreign, MEMORY_SIZE), 0);
    shared->foreign = foreign.object;
    run("look_for_foreign");
    platform_memory_detach(&foreign);
}

/* ---- mutex ---- */

static int role_count(int argc, char **argv)
{
    platform_mutex mutex;
    (void) argc;
    (void) argv;
    CHECK(platform_mutex_open(&mutex, &shared->mutex) == 0);
    for (int i = 0; i < ROUNDS; i++) {
        CHECK(platform_mutex_lock(&mutex) == 0);
        shared->counter++;
        platform_mutex_unlock(&mutex);
    }
    platform_mutex_close(&mutex);
    return 0;
}

static void a_mutex_excludes_other_processes(void **state)
{
    (void) state;
    platform_mutex mutex;
    platform_process processes[3];
    shared->counter = 0;
    assert_int_equal(platform_mutex_open(&mutex, &shared->mutex), 0);
    for (int i = 0; i < 3; i++) {
        (void) start(&processes[i], "count");
    }
    for (int i = 0; i < ROUNDS; i++) {
        assert_int_equal(platform_mutex_lock(&mutex), 0);
        shared->counter++;
        platform_mutex_unlock(&mutex);
    }
    for (int i = 0; i < 3; i++) {
        assert_int_equal(end_of(&processes[i]), 0);
    }
    assert_int_equal(shared->counter, 4 * ROUNDS);
    platform_mutex_close(&mutex);
}

static int role_lock_and_stay(int argc, char **argv)
{
    platform_mutex mutex;
    (void) argc;
    (void) argv;
    CHECK(platform_mutex_open(&mutex, &shared->mutex) == 0);
    int status = platform_mutex_lock(&mutex);
    tell(status == 0 ? 1 : 2);
    platform_sleep_ns(-1);
    return CHILD_FAILED;
}

static void the_next_owner_is_told_of_the_death_of_each_before(void **state)
{
    (void) state;
    platform_mutex mutex;
    platform_process first;
    platform_process second;
    assert_int_equal(platform_mutex_open(&mutex, &shared->mutex), 0);
    uint32_t first_number = start_and_await(&first, "lock_and_stay");
    assert_int_equal(atomic_load(&shared->told[first_number]), 1);
    uint32_t second_number = start(&second, "lock_and_stay");
    kill_and_close(&first);
    await(second_number);
    assert_int_equal(atomic_load(&shared->told[second_number]), 2);
    kill_and_close(&second);
    assert_int_equal(platform_mutex_lock(&mutex), KIN_OWNER_DIED);
    platform_mutex_unlock(&mutex);
    assert_int_equal(platform_mutex_lock(&mutex), 0);
    platform_mutex_unlock(&mutex);
    platform_mutex_close(&mutex);
}

static void lock_and_end(void *mutex)
{
    uint32_t status = platform_mutex_lock(mutex) == 0 ? 1 : 2;
    atomic_store(&shared->told[TEST_NUMBER], status);
    platform_unpark(&test_parker);
}

static void the_next_owner_is_told_of_the_end_of_a_thread(void **state)
{
    (void) state;
    platform_mutex mutex;
    atomic_store(&shared->told[TEST_NUMBER], 0);
    assert_int_equal(platform_mutex_open(&mutex, &shared->mutex), 0);
    assert_int_equal(platform_thread_start(lock_and_end, &mutex), 0);
    await(TEST_NUMBER);
    assert_int_equal(atomic_load(&shared->told[TEST_NUMBER]), 1);
    assert_int_equal(platform_mutex_lock(&mutex), KIN_OWNER_DIED);
    platform_mutex_unlock(&mutex);
    platform_mutex_close(&mutex);
}

static int role_lock_spare_and_stay(int argc, char **argv)
{
    platform_mutex mutex;
    (void) argc;
    (void) argv;
    CHECK(platform_mutex_open(&mutex, &shared->spare_mutex) == 0);
    CHECK(platform_mutex_lock(&mutex) == 0);
    tell(1);
    platform_sleep_ns(-1);
    return CHILD_FAILED;
}

static void one_who_comes_when_all_others_are_gone_is_told(void **state)
{
    (void) state;
    platform_mutex mutex;
    platform_process process;
    assert_int_equal(platform_mutex_create(&mutex, &shared->spare_mutex), 0);
    (void) start_and_await(&process, "lock_spare_and_stay");
    platform_mutex_close(&mutex);
    kill_and_close(&process);
    assert_int_equal(platform_mutex_open(&mutex, &shared->spare_mutex), 0);
    assert_int_equal(platform_mutex_lock(&mutex), KIN_OWNER_DIED);
    platform_mutex_unlock(&mutex);
    platform_mutex_close(&mutex);
}

/* ---- waiting ---- */

static int role_wake_word(int argc, char **argv)
{
    (void) argc;
    (void) argv;
    atomic_store(&shared->word, 1);
    platform_word_wake(&shared->word, 1);
    return 0;
}

static void a_word_wakes_those_who_wait_for_it(void **state)
{
    (void) state;
    platform_process process;
    if (!platform_has_word_wait()) {
        skip();
    }
    atomic_store(&shared->word, 0);
    assert_int_equal(platform_word_wait(&shared->word, 5, -1), 0);
    int64_t before = platform_clock_ns();
    int status = platform_word_wait(&shared->word, 0, 5 * MILLISECOND);
    assert_true(status == 0 || platform_clock_ns() - before >= 5 * MILLISECOND);
    (void) start(&process, "wake_word");
    while (atomic_load(&shared->word) == 0) {
        assert_int_equal(platform_word_wait(&shared->word, 0, LONG_TIME), 0);
    }
    assert_int_equal(end_of(&process), 0);
}

static void a_parker_keeps_one_wake_and_times_out_without(void **state)
{
    (void) state;
    platform_parker parker;
    platform_parker waker;
    platform_parker_shared place = {{0}};
    assert_int_equal(platform_parker_create(&parker, &place, shared->secret, 1000), 0);
    assert_int_equal(platform_park(&parker, 0), KIN_E_TIMEOUT);
    int64_t before = platform_clock_ns();
    assert_int_equal(platform_park(&parker, 5 * MILLISECOND + 1), KIN_E_TIMEOUT);
    assert_true(platform_clock_ns() - before >= 5 * MILLISECOND - MILLISECOND);
    assert_int_equal(platform_parker_open(&waker, &place, shared->secret, 1000), 0);
    platform_unpark(&waker);
    assert_int_equal(platform_park(&parker, -1), 0);
    assert_int_equal(platform_park(&parker, 0), KIN_E_TIMEOUT);
    platform_parker_close(&waker);
    platform_parker_close(&parker);
}

static void a_parker_made_anew_forgets_its_predecessor(void **state)
{
    (void) state;
    platform_parker parker;
    platform_parker waker;
    platform_parker_shared place = {{0}};
    assert_int_equal(platform_parker_create(&parker, &place, shared->secret, 1001), 0);
    assert_int_equal(platform_parker_open(&waker, &place, shared->secret, 1001), 0);
    platform_unpark(&waker);
    platform_parker_close(&parker);
    assert_int_equal(platform_parker_create(&parker, &place, shared->secret, 1001), 0);
    assert_int_equal(platform_park(&parker, 0), KIN_E_TIMEOUT);
    platform_unpark(&waker);
    assert_int_equal(platform_park(&parker, LONG_TIME), 0);
    platform_parker_close(&waker);
    platform_parker_close(&parker);
}

static int role_park(int argc, char **argv)
{
    platform_parker parker;
    (void) argc;
    (void) argv;
    CHECK(platform_parker_create(&parker, &shared->child_parker, shared->secret, 1002) == 0);
    tell(1);
    while (atomic_load(&shared->word) == 0) {
        CHECK(platform_park(&parker, LONG_TIME) == 0);
    }
    platform_parker_close(&parker);
    return 0;
}

static void a_parked_process_is_woken_by_another(void **state)
{
    (void) state;
    platform_process process;
    platform_parker waker;
    atomic_store(&shared->word, 0);
    (void) start_and_await(&process, "park");
    assert_int_equal(platform_parker_open(&waker, &shared->child_parker, shared->secret, 1002), 0);
    atomic_store(&shared->word, 1);
    platform_unpark(&waker);
    assert_int_equal(end_of(&process), 0);
    platform_parker_close(&waker);
}

/* ---- processes ---- */

static int role_stay(int argc, char **argv)
{
    (void) argc;
    (void) argv;
    tell(1);
    platform_sleep_ns(-1);
    return CHILD_FAILED;
}

static int role_exit_code(int argc, char **argv)
{
    return argc == 2 ? atoi(argv[1]) : CHILD_FAILED;
}

static void the_exit_code_of_a_child_is_told(void **state)
{
    (void) state;
    char *codes[] = {(char *) "0", (char *) "1", (char *) "127", (char *) "255"};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        platform_process process;
        char *arguments[] = {program, codes[i], NULL};
        assert_int_equal(start_number(&process, "exit_code", next_number++, true, arguments), 0);
        assert_int_equal(end_of(&process), atoi(codes[i]));
    }
}

static int role_arguments(int argc, char **argv)
{
    CHECK(argc == AWKWARD + 1);
    for (int i = 0; i < AWKWARD; i++) {
        CHECK(strcmp(argv[i + 1], awkward[i]) == 0);
    }
    return 0;
}

static void arguments_arrive_as_they_are(void **state)
{
    (void) state;
    platform_process process;
    char *arguments[AWKWARD + 2] = {program};
    for (size_t i = 0; i < AWKWARD; i++) {
        arguments[i + 1] = (char *) awkward[i];
    }
    assert_int_equal(start_number(&process, "arguments", next_number++, true, arguments), 0);
    assert_int_equal(end_of(&process), 0);
}

static int role_environment(int argc, char **argv)
{
    const char *path = getenv("PATH");
    (void) argc;
    (void) argv;
    CHECK(getenv(CHILD_VARIABLE) == NULL);
    CHECK(path != NULL && path[0] != '\0');
    return 0;
}

static void a_child_has_the_environment_and_its_variable_is_taken(void **state)
{
    (void) state;
    char text[16];
    run("environment");
    assert_null(getenv(CHILD_VARIABLE));
    assert_int_equal(platform_environment_take("KIN_TEST_NOT_SET", text, sizeof text),
                     KIN_E_NOT_FOUND);
}

/* A child with just this variable, which main looks at before anything else. */
static int try_variable(const char *variable, const char *value)
{
    platform_process process;
    char *arguments[] = {program, NULL};
    const platform_spawn spawn = {
        .arguments = arguments, .variable = variable, .value = value, .inherit = memory.object};
    assert_int_equal(platform_process_spawn(&process, &spawn), 0);
    return end_of(&process);
}

static int take_short(void)
{
    char text[8];
    CHECK(platform_environment_take("KIN_TEST_SHORT", text, sizeof text) == 0);
    CHECK(strcmp(text, "gr\xc3\xbc\xc3\x9f"
                       "e") == 0);
    CHECK(getenv("KIN_TEST_SHORT") == NULL);
    CHECK(platform_environment_take("KIN_TEST_SHORT", text, sizeof text) == KIN_E_NOT_FOUND);
    return 0;
}

static int take_long(void)
{
    char text[8];
    CHECK(platform_environment_take("KIN_TEST_LONG", text, sizeof text) == KIN_E_NOT_FOUND);
    CHECK(getenv("KIN_TEST_LONG") == NULL);
    return 0;
}

static void a_variable_is_taken_in_utf8_if_it_fits(void **state)
{
    (void) state;
    assert_int_equal(try_variable("KIN_TEST_SHORT=", "gr\xc3\xbc\xc3\x9f"
                                                     "e"),
                     0);
    assert_int_equal(try_variable("KIN_TEST_LONG=", "12345678"), 0);
}

static void what_cannot_be_started_leaves_an_error(void **state)
{
    (void) state;
    platform_process process;
    char *arguments[] = {program, NULL};
    platform_spawn spawn = {.program = "./there-is-no-such-program.exe",
                            .arguments = arguments,
                            .variable = CHILD_VARIABLE "=",
                            .value = "",
                            .inherit = memory.object};
    for (int daemon = 0; daemon < 2; daemon++) {
        spawn.daemon = daemon != 0;
        spawn.program = "./there-is-no-such-program.exe";
        assert_int_equal(platform_process_spawn(&process, &spawn), KIN_E_NOT_FOUND);
        spawn.program = "./there-is-no-such-directory/program.exe";
        assert_int_equal(platform_process_spawn(&process, &spawn), KIN_E_NOT_FOUND);
        spawn.program = ".";
        assert_true(platform_process_spawn(&process, &spawn) < 0);
    }
}

static void a_process_is_killed_and_its_code_says_so(void **state)
{
    (void) state;
    platform_process process;
    (void) start_and_await(&process, "stay");
    assert_int_equal(platform_process_wait(&process, 0), KIN_E_TIMEOUT);
    int64_t before = platform_clock_ns();
    assert_int_equal(platform_process_wait(&process, 5 * MILLISECOND), KIN_E_TIMEOUT);
    assert_true(platform_clock_ns() - before >= 5 * MILLISECOND);
    assert_int_equal(platform_process_kill(&process, false), 0);
    assert_int_equal(platform_process_wait(&process, LONG_TIME), 0);
    assert_int_equal(platform_process_kill(&process, false), 0);
    assert_int_equal(end_of(&process), -9);
    (void) start_and_await(&process, "stay");
    assert_int_equal(platform_process_kill(&process, true), 0);
    assert_int_equal(end_of(&process), -15);
}

static int role_crash(int argc, char **argv)
{
    (void) argc;
    (void) argv;
#ifdef _WIN32
    /* What the system gives to one that has touched memory that is not there. A real crash may open
       a dialogue. */
    platform_process_exit_now((int) 0xc0000005u);
#else
    (void) signal(SIGSEGV, SIG_DFL);
    (void) raise(SIGSEGV);
    return CHILD_FAILED;
#endif
}

static void a_crash_is_told_as_a_signal(void **state)
{
    (void) state;
    platform_process process;
    (void) start(&process, "crash");
    assert_int_equal(end_of(&process), -11);
}

static void a_process_is_found_by_its_identity_while_it_lives(void **state)
{
    (void) state;
    platform_process process;
    platform_process other;
    uint32_t number = start_and_await(&process, "stay");
    platform_identity identity = shared->members[number];
    assert_int_equal(identity.pid, process.identity.pid);
    assert_int_equal(platform_process_open(&other, &identity, &memory), 0);
    assert_int_equal(platform_process_wait(&other, 0), KIN_E_TIMEOUT);
    /* The same pid, but of another life. */
    platform_process stranger;
    platform_identity before = {.pid = identity.pid, .stamp = 0, .slot = MEMBERS};
    assert_int_equal(platform_process_open(&stranger, &before, &memory), KIN_E_ENDED);
    assert_int_equal(platform_process_kill(&other, false), 0);
    assert_int_equal(platform_process_wait(&other, LONG_TIME), 0);
    assert_int_equal(platform_process_open(&stranger, &identity, &memory), KIN_E_ENDED);
    assert_int_equal(platform_process_kill(&other, false), 0);
    platform_process_close(&other);
    assert_int_equal(end_of(&process), -9);
    assert_int_equal(platform_process_open(&stranger, &identity, &memory), KIN_E_ENDED);
}

/* Starts a daemon and one that is none, then stays. */
static int role_have_children(int argc, char **argv)
{
    platform_process process;
    (void) argc;
    (void) argv;
    CHECK(start_number(&process, "stay", own_number + 1, true, NULL) == 0);
    CHECK(start_number(&process, "stay", own_number + 2, false, NULL) == 0);
    return role_stay(argc, argv);
}

static void only_daemons_end_with_their_killed_parent(void **state)
{
    (void) state;
    platform_process parent;
    platform_process daemon;
    platform_process other;
    uint32_t number = start_and_await(&parent, "have_children");
    next_number += 2;
    await(number + 1);
    await(number + 2);
    assert_int_equal(platform_process_open(&daemon, &shared->members[number + 1], &memory), 0);
    assert_int_equal(platform_process_open(&other, &shared->members[number + 2], &memory), 0);
    kill_and_close(&parent);
    assert_int_equal(platform_process_wait(&daemon, LONG_TIME), 0);
    assert_int_equal(platform_process_wait(&other, 100 * MILLISECOND), KIN_E_TIMEOUT);
    assert_int_equal(platform_process_kill(&other, false), 0);
    assert_int_equal(platform_process_wait(&other, LONG_TIME), 0);
    platform_process_close(&daemon);
    platform_process_close(&other);
}

typedef struct spawner {
    platform_process processes[3];
    uint32_t first_number;
    int status;
    _Atomic bool done;
} spawner;

static void spawn_some(void *spawner_of_thread)
{
    spawner *mine = spawner_of_thread;
    for (uint32_t i = 0; i < 3; i++) {
        int status = start_number(&mine->processes[i], "look_for_foreign", mine->first_number + i,
                                  true, NULL);
        mine->status = mine->status != 0 ? mine->status : status;
    }
    atomic_store(&mine->done, true);
    platform_unpark(&test_parker);
}

static void several_threads_start_processes_at_a_time(void **state)
{
    (void) state;
    static spawner spawners[THREADS];
    platform_memory foreign;
    assert_int_equal(platform_memory_create(&foreign, MEMORY_SIZE), 0);
    shared->foreign = foreign.object;
    for (int i = 0; i < THREADS; i++) {
        spawners[i].first_number = next_number;
        next_number += 3;
        assert_int_equal(platform_thread_start(spawn_some, &spawners[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        while (!atomic_load(&spawners[i].done)) {
            assert_int_equal(platform_park(&own_parker, LONG_TIME), 0);
        }
        assert_int_equal(spawners[i].status, 0);
        for (int j = 0; j < 3; j++) {
            assert_int_equal(end_of(&spawners[i].processes[j]), 0);
        }
    }
    platform_memory_detach(&foreign);
}

static _Atomic bool thread_asked;
static _Atomic bool thread_answered;

static void answer(void *unused)
{
    (void) unused;
    while (!atomic_load(&thread_asked)) {
        platform_sleep_ns(MILLISECOND);
    }
    atomic_store(&thread_answered, true);
}

/* Another thread still answers when it runs. */
static void exit_hook(void)
{
    int64_t until = platform_clock_ns() + LONG_TIME / 2;
    atomic_store(&thread_asked, true);
    while (!atomic_load(&thread_answered) && platform_clock_ns() < until) {
        platform_sleep_ns(MILLISECOND);
    }
    atomic_fetch_add(&shared->hook,
                     atomic_load(&thread_answered) ? HOOK_RAN_AMONG_THREADS : HOOK_RAN);
}

static int role_hook(int argc, char **argv)
{
    CHECK(argc == 2);
    CHECK(platform_process_at_exit(exit_hook) == 0);
    CHECK(platform_thread_start(answer, NULL) == 0);
    if (strcmp(argv[1], "exit") == 0) {
        exit(3);
    }
    if (strcmp(argv[1], "exit_now") == 0) {
        platform_process_exit_now(3);
    }
    return 3;
}

static uint32_t hook_after(const char *how)
{
    platform_process process;
    char *arguments[] = {program, (char *) how, NULL};
    atomic_store(&shared->hook, 0);
    assert_int_equal(start_number(&process, "hook", next_number++, true, arguments), 0);
    assert_int_equal(end_of(&process), 3);
    return atomic_load(&shared->hook);
}

static void the_exit_hook_runs_once_at_a_normal_end_while_threads_run(void **state)
{
    (void) state;
    assert_int_equal(hook_after("return"), HOOK_RAN_AMONG_THREADS);
    assert_int_equal(hook_after("exit"), HOOK_RAN_AMONG_THREADS);
    assert_int_equal(hook_after("exit_now"), 0);
}

/* ---- watching ---- */

#if defined _WIN32

static void allow_descriptors(unsigned count)
{
    (void) count; /* there is no limit */
}

static bool is_shown(intptr_t sentinel, int timeout_ms)
{
    return WaitForSingleObject((HANDLE) sentinel, (DWORD) timeout_ms) == WAIT_OBJECT_0;
}

static void close_sentinel(intptr_t sentinel)
{
    assert_true(CloseHandle((HANDLE) sentinel));
}

#else

static void allow_descriptors(unsigned count)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_cur < count) {
        limit.rlim_cur = count;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    }
}

static bool is_shown(intptr_t sentinel, int timeout_ms)
{
    struct pollfd poller = {.fd = (int) sentinel, .events = POLLIN};
    int shown = poll(&poller, 1, timeout_ms);
    return shown > 0 && (poller.revents & POLLIN) != 0;
}

static void close_sentinel(intptr_t sentinel)
{
    assert_int_equal(close((int) sentinel), 0);
}

#endif

/* A watch may come back for nothing, as it does after a wake. */
static int wait_for_end(platform_watch *watch, uint64_t *cookie, int64_t timeout_ns)
{
    int status;
    do {
        status = platform_watch_wait(watch, cookie, timeout_ns);
    } while (status == 0 && *cookie == 0);
    return status;
}

static void a_watch_tells_the_end_of_each_of_many_once(void **state)
{
    (void) state;
    static platform_process processes[WATCHED];
    static bool told[WATCHED + 1];
    platform_watch *watch;
    uint64_t cookie;
    assert_int_equal(platform_watch_create(&watch), 0);
    for (size_t i = 0; i < WATCHED; i++) {
        (void) start(&processes[i], "stay");
        assert_int_equal(platform_watch_add(watch, &processes[i], i + 1), 0);
    }
    assert_int_equal(wait_for_end(watch, &cookie, 0), KIN_E_TIMEOUT);
    /* The last one alone, then all. */
    assert_int_equal(platform_process_kill(&processes[WATCHED - 1], false), 0);
    assert_int_equal(wait_for_end(watch, &cookie, LONG_TIME), 0);
    assert_int_equal(cookie, WATCHED);
    for (size_t i = 0; i < WATCHED - 1; i++) {
        assert_int_equal(platform_process_kill(&processes[i], false), 0);
    }
    for (size_t i = 0; i < WATCHED - 1; i++) {
        assert_int_equal(wait_for_end(watch, &cookie, LONG_TIME), 0);
        assert_true(cookie > 0 && cookie < WATCHED);
        assert_false(told[cookie]);
        told[cookie] = true;
    }
    assert_int_equal(wait_for_end(watch, &cookie, 20 * MILLISECOND), KIN_E_TIMEOUT);
    for (size_t i = 0; i < WATCHED; i++) {
        platform_watch_remove(watch, &processes[i]);
        assert_int_equal(end_of(&processes[i]), -9);
    }
    platform_watch_destroy(watch);
}

static void a_watch_tells_nothing_of_what_was_removed(void **state)
{
    (void) state;
    platform_process first;
    platform_process second;
    platform_watch *watch;
    uint64_t cookie;
    (void) start_and_await(&first, "stay");
    (void) start_and_await(&second, "stay");
    assert_int_equal(platform_watch_create(&watch), 0);
    assert_int_equal(platform_watch_add(watch, &first, 1), 0);
    assert_int_equal(platform_watch_add(watch, &second, 2), 0);
    platform_watch_remove(watch, &first);
    /* Of this one the end may be known already, but has not been told. */
    assert_int_equal(platform_process_kill(&second, false), 0);
    assert_int_equal(platform_process_wait(&second, LONG_TIME), 0);
    platform_watch_remove(watch, &second);
    assert_int_equal(platform_process_kill(&first, false), 0);
    assert_int_equal(platform_process_wait(&first, LONG_TIME), 0);
    assert_int_equal(wait_for_end(watch, &cookie, 50 * MILLISECOND), KIN_E_TIMEOUT);
    /* What has ended before it is added is told too; and it may stay to the end. */
    assert_int_equal(platform_watch_add(watch, &first, 3), 0);
    assert_int_equal(wait_for_end(watch, &cookie, LONG_TIME), 0);
    assert_int_equal(cookie, 3);
    platform_watch_destroy(watch);
    assert_int_equal(end_of(&first), -9);
    assert_int_equal(end_of(&second), -9);
}

/* Each of a few processes is watched many times, through objects of its own. */
static void a_watch_has_no_limit_of_processes(void **state)
{
    (void) state;
    enum { FEW = 5, ALL = 1500 };
    static platform_process processes[ALL];
    static bool told[ALL + 1];
    platform_process few[FEW];
    platform_identity identities[FEW];
    platform_watch *watch;
    uint64_t cookie;
    memset(told, 0, sizeof told);
    assert_int_equal(platform_watch_create(&watch), 0);
    for (size_t i = 0; i < FEW; i++) {
        uint32_t number = start_and_await(&few[i], "stay");
        identities[i] = shared->members[number];
    }
    allow_descriptors(ALL + 100);
    for (size_t i = 0; i < ALL; i++) {
        assert_int_equal(platform_process_open(&processes[i], &identities[i % FEW], &memory), 0);
        assert_int_equal(platform_watch_add(watch, &processes[i], i + 1), 0);
    }
    assert_int_equal(wait_for_end(watch, &cookie, 0), KIN_E_TIMEOUT);
    for (size_t ended = 0; ended < FEW; ended++) {
        assert_int_equal(platform_process_kill(&few[ended], false), 0);
        for (size_t i = 0; i < ALL / FEW; i++) {
            assert_int_equal(wait_for_end(watch, &cookie, LONG_TIME), 0);
            assert_true(cookie > 0 && (cookie - 1) % FEW == ended);
            assert_false(told[cookie]);
            told[cookie] = true;
        }
    }
    assert_int_equal(wait_for_end(watch, &cookie, 20 * MILLISECOND), KIN_E_TIMEOUT);
    platform_watch_destroy(watch);
    for (size_t i = 0; i < ALL; i++) {
        platform_process_close(&processes[i]);
    }
    for (size_t i = 0; i < FEW; i++) {
        assert_int_equal(end_of(&few[i]), -9);
    }
}

static void what_has_ended_before_it_is_watched_is_told_without_waiting(void **state)
{
    (void) state;
    enum { FEW = 4 };
    platform_process few[FEW];
    platform_watch *watch;
    uint64_t cookie;
    uint64_t sum = 0;
    assert_int_equal(platform_watch_create(&watch), 0);
    for (size_t i = 0; i < FEW; i++) {
        (void) start_and_await(&few[i], "stay");
        assert_int_equal(platform_process_kill(&few[i], false), 0);
        assert_int_equal(platform_process_wait(&few[i], LONG_TIME), 0);
        assert_int_equal(platform_watch_add(watch, &few[i], i + 1), 0);
    }
    for (size_t i = 0; i < FEW; i++) {
        assert_int_equal(platform_watch_wait(watch, &cookie, 0), 0);
        assert_true(cookie != 0);
        sum += cookie;
    }
    assert_int_equal(sum, FEW * (FEW + 1) / 2);
    assert_int_equal(platform_watch_wait(watch, &cookie, 0), KIN_E_TIMEOUT);
    platform_watch_wake(watch);
    assert_int_equal(platform_watch_wait(watch, &cookie, 0), 0);
    assert_int_equal(cookie, 0);
    for (size_t i = 0; i < FEW; i++) {
        platform_watch_remove(watch, &few[i]);
        assert_int_equal(end_of(&few[i]), -9);
    }
    platform_watch_destroy(watch);
}

static void a_sentinel_shows_the_end(void **state)
{
    (void) state;
    platform_process process;
    intptr_t sentinel = PLATFORM_NONE;
    intptr_t ready = PLATFORM_NONE;
    (void) start_and_await(&process, "stay");
    assert_int_equal(platform_process_sentinel(&process, &sentinel), 0);
    assert_int_equal(platform_process_sentinel(NULL, &ready), 0);
    assert_true(is_shown(ready, 0));
    assert_false(is_shown(sentinel, 10));
    assert_int_equal(platform_process_kill(&process, false), 0);
    assert_true(is_shown(sentinel, -1));
    assert_int_equal(end_of(&process), -9);
    assert_true(is_shown(sentinel, 0));
    close_sentinel(sentinel);
    close_sentinel(ready);
}

typedef struct assistant {
    platform_watch *watch;
    platform_process process;
    int status;
    _Atomic bool done; /* it has nothing to do with the watch any more */
} assistant;

static void wake_watch(void *assistant_of_test)
{
    assistant *mine = assistant_of_test;
    platform_watch_wake(mine->watch);
    atomic_store(&mine->done, true);
    platform_unpark(&test_parker);
}

static void add_to_watch(void *assistant_of_test)
{
    assistant *mine = assistant_of_test;
    mine->status = platform_watch_add(mine->watch, &mine->process, 9);
    atomic_store(&mine->done, true);
    platform_unpark(&test_parker);
}

static void await_assistant(assistant *started)
{
    while (!atomic_load(&started->done)) {
        assert_int_equal(platform_park(&own_parker, LONG_TIME), 0);
    }
}

static void a_waiting_watch_can_be_woken_and_added_to(void **state)
{
    (void) state;
    static assistant waker;
    static assistant adder = {.status = -1};
    uint64_t cookie = 7;
    assert_int_equal(platform_watch_create(&waker.watch), 0);
    adder.watch = waker.watch;
    assert_int_equal(platform_thread_start(wake_watch, &waker), 0);
    assert_int_equal(platform_watch_wait(waker.watch, &cookie, LONG_TIME), 0);
    assert_int_equal(cookie, 0);
    await_assistant(&waker);
    (void) start_and_await(&adder.process, "stay");
    assert_int_equal(platform_process_kill(&adder.process, false), 0);
    assert_int_equal(platform_thread_start(add_to_watch, &adder), 0);
    assert_int_equal(wait_for_end(adder.watch, &cookie, LONG_TIME), 0);
    assert_int_equal(cookie, 9);
    await_assistant(&adder);
    assert_int_equal(adder.status, 0);
    platform_watch_remove(adder.watch, &adder.process);
    platform_watch_destroy(adder.watch);
    assert_int_equal(end_of(&adder.process), -9);
}

/* ---- functions ---- */

static int add_three(int number)
{
    return number + 3;
}

static uintptr_t address_of_data;

static int role_call(int argc, char **argv)
{
    (void) argc;
    (void) argv;
    platform_module found = shared->module;
    found.base = 0;
    CHECK(platform_module_find(&found, shared->offset) == 0);
    int (*function)(int) = (int (*)(int))(found.base + shared->offset);
    CHECK(function == add_three);
    CHECK(function((int) own_number) == (int) own_number + 3);
    return 0;
}

static void a_function_is_found_in_another_process(void **state)
{
    (void) state;
    platform_module found;
    assert_int_equal(platform_module_of(&shared->module, (uintptr_t) add_three), 0);
    assert_string_equal(shared->module.path, "");
    shared->offset = (uintptr_t) add_three - shared->module.base;
    found = shared->module;
    assert_int_equal(platform_module_find(&found, shared->offset), 0);
    assert_true(found.base == shared->module.base);
    run("call");
}

static int role_call_library(int argc, char **argv)
{
    (void) argc;
    (void) argv;
    platform_module found = shared->module;
    found.base = 0;
    CHECK(platform_module_find(&found, shared->offset) == 0);
    CHECK(found.base + shared->offset == (uintptr_t) getenv);
    return 0;
}

static void a_function_of_a_shared_library_is_found_in_another_process(void **state)
{
    (void) state;
    assert_int_equal(platform_module_of(&shared->module, (uintptr_t) getenv), 0);
    shared->offset = (uintptr_t) getenv - shared->module.base;
    run("call_library");
}

static void what_is_no_function_of_this_build_is_refused(void **state)
{
    (void) state;
    platform_module module;
    platform_module other;
    void *heap = malloc(16);
    assert_int_equal(platform_module_of(&module, (uintptr_t) heap), KIN_E_FUNCTION);
    free(heap);
    assert_int_equal(platform_module_of(&module, (uintptr_t) &module), KIN_E_FUNCTION);
    assert_int_equal(platform_module_of(&module, 0), KIN_E_FUNCTION);
    assert_int_equal(platform_module_of(&module, UINTPTR_MAX), KIN_E_FUNCTION);
    assert_int_equal(platform_module_of(&module, (uintptr_t) &address_of_data), KIN_E_FUNCTION);
    assert_int_equal(platform_module_of(&module, (uintptr_t) add_three), 0);
    uintptr_t offset = (uintptr_t) add_three - module.base;
    for (int i = 0; i < 2; i++) {
        other = module;
        other.build[i]++;
        assert_int_equal(platform_module_find(&other, offset), KIN_E_FUNCTION);
    }
    other = module;
    assert_int_equal(platform_module_find(&other, (uintptr_t) &address_of_data - module.base),
                     KIN_E_FUNCTION);
    assert_int_equal(platform_module_find(&other, UINTPTR_MAX / 2), KIN_E_FUNCTION);
    (void) snprintf(other.path, sizeof other.path, "%s", "/there/is/no/such/library");
    other.build[0]++;
    assert_int_equal(platform_module_find(&other, offset), KIN_E_FUNCTION);
}

/* ---- threads ---- */

typedef struct worker {
    uint32_t stripe;
    void *value;
    _Atomic bool done;
} worker;

static platform_lock lock;
static uint32_t under_lock;
static _Atomic uint32_t ended_threads;

static void work(void *worker_of_thread)
{
    worker *mine = worker_of_thread;
    mine->stripe = platform_thread_stripe();
    platform_thread_set(mine->value);
    for (int i = 0; i < ROUNDS; i++) {
        platform_lock_acquire(&lock);
        under_lock++;
        platform_lock_release(&lock);
    }
    atomic_store(&mine->done, true);
    platform_unpark(&test_parker);
}

static void thread_ended(void *value)
{
    atomic_fetch_add(&ended_threads, *(uint32_t *) value);
    platform_unpark(&test_parker);
}

static void threads_have_stripes_locks_and_ends(void **state)
{
    (void) state;
    static worker workers[THREADS];
    static uint32_t weight = 10;
    assert_int_equal(platform_thread_at_exit(thread_ended), 0);
    for (int i = 0; i < THREADS; i++) {
        /* One gives no value, so that its end is not told. */
        workers[i].value = i > 0 ? &weight : NULL;
        assert_int_equal(platform_thread_start(work, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        while (!atomic_load(&workers[i].done)) {
            assert_int_equal(platform_park(&own_parker, LONG_TIME), 0);
        }
    }
    while (atomic_load(&ended_threads) < (THREADS - 1) * weight) {
        assert_int_equal(platform_park(&own_parker, LONG_TIME), 0);
    }
    assert_int_equal(atomic_load(&ended_threads), (THREADS - 1) * weight);
    assert_int_equal(under_lock, THREADS * ROUNDS);
    assert_int_equal(platform_thread_stripe(), platform_thread_stripe());
    assert_int_not_equal(platform_thread_stripe(), workers[0].stripe);
}

/* ---- clock, cores, chance ---- */

static int role_read_clock(int argc, char **argv)
{
    (void) argc;
    (void) argv;
    shared->clock = platform_clock_ns();
    return 0;
}

static void all_processes_have_one_clock(void **state)
{
    (void) state;
    int64_t before = platform_clock_ns();
    run("read_clock");
    int64_t after = platform_clock_ns();
    assert_true(before <= shared->clock && shared->clock <= after);
    for (int i = 0; i < ROUNDS; i++) {
        before = after;
        after = platform_clock_ns();
        assert_true(after >= before);
    }
}

static void sleep_is_never_short(void **state)
{
    (void) state;
    static const int64_t times[] = {0, 1, 50000, MILLISECOND, 3 * MILLISECOND + 1};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        int64_t before = platform_clock_ns();
        platform_sleep_ns(times[i]);
        assert_true(platform_clock_ns() - before >= times[i]);
    }
}

static void there_are_cores_and_chance(void **state)
{
    (void) state;
    static unsigned char bytes[2][70000];
    int cores = platform_usable_cores();
    assert_true(cores >= 1 && cores < 1 << 20);
    assert_int_equal(platform_random(bytes[0], sizeof bytes[0]), 0);
    assert_int_equal(platform_random(bytes[1], sizeof bytes[1]), 0);
    assert_memory_not_equal(bytes[0], bytes[1], sizeof bytes[0]);
    assert_memory_not_equal(bytes[0] + sizeof bytes[0] - 32, bytes[1] + sizeof bytes[1] - 32, 32);
}

/* ---- the two mains ---- */

static const struct role {
    const char *name;
    int (*run)(int argc, char **argv);
} roles[] = {
    {"commit", role_commit},
    {"look_for_foreign", role_look_for_foreign},
    {"count", role_count},
    {"lock_and_stay", role_lock_and_stay},
    {"lock_spare_and_stay", role_lock_spare_and_stay},
    {"wake_word", role_wake_word},
    {"park", role_park},
    {"stay", role_stay},
    {"exit_code", role_exit_code},
    {"arguments", role_arguments},
    {"environment", role_environment},
    {"crash", role_crash},
    {"have_children", role_have_children},
    {"hook", role_hook},
    {"call", role_call},
    {"call_library", role_call_library},
    {"read_clock", role_read_clock},
};

/* Attaches, enters itself, finds its parent. */
static int join(intptr_t object, uint32_t number, uint32_t parent_number, bool daemon)
{
    static platform_process parent;
    CHECK(platform_memory_attach(&memory, object, (size_t) 2 * MEMORY_SIZE) == KIN_E_ATTACH);
    CHECK(platform_memory_attach(&memory, object, MEMORY_SIZE) == 0);
    CHECK(memory.size == MEMORY_SIZE && memory.object == object);
    shared = (family *) (void *) memory.base;
    own_number = number;
    CHECK(platform_process_self(&shared->members[number]) == 0);
    CHECK(platform_process_claim(&shared->members[number], &memory, number) == 0);
    atomic_store(&shared->joined[number], 1);
    CHECK(platform_parker_open(&test_parker, &shared->parker, shared->secret, TEST_NUMBER) == 0);
    int status = platform_process_parent(&parent, &shared->members[parent_number], &memory);
    CHECK(status == 0 || status == KIN_E_ENDED);
    if (daemon) {
        CHECK(status == 0);
        CHECK(platform_process_follow(&parent) == 0);
    }
    return 0;
}

static int run_child(const char *text, int argc, char **argv)
{
    char *at;
    intptr_t object = (intptr_t) strtoll(text, &at, 10);
    uint32_t number = (uint32_t) strtoul(at, &at, 10);
    uint32_t parent_number = (uint32_t) strtoul(at, &at, 10);
    bool daemon = strtol(at, &at, 10) != 0;
    CHECK(*at == ' ' && number > TEST_NUMBER && number < MEMBERS && parent_number < number);
    if (join(object, number, parent_number, daemon) != 0) {
        return CHILD_FAILED;
    }
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        if (strcmp(roles[i].name, at + 1) == 0) {
            return roles[i].run(argc, argv);
        }
    }
    return CHILD_FAILED;
}

static int found_family(void **state)
{
    (void) state;
    platform_mutex mutex;
    _Static_assert(sizeof(family) <= COMMITTED, "the family must fit");
    CHECK(platform_memory_create(&memory, MEMORY_SIZE) == 0);
    CHECK(platform_memory_commit(&memory, 0, COMMITTED) == 0);
    shared = (family *) (void *) memory.base;
    CHECK(platform_random(&shared->secret, sizeof shared->secret) == 0);
    CHECK(platform_process_self(&shared->members[TEST_NUMBER]) == 0);
    CHECK(platform_process_claim(&shared->members[TEST_NUMBER], &memory, TEST_NUMBER) == 0);
    CHECK(platform_parker_create(&own_parker, &shared->parker, shared->secret, TEST_NUMBER) == 0);
    CHECK(platform_parker_open(&test_parker, &shared->parker, shared->secret, TEST_NUMBER) == 0);
    /* It stays open, as there is always a member that has it. */
    return platform_mutex_create(&mutex, &shared->mutex);
}

int main(int argc, char **argv)
{
    char text[128];
    program = argv[0];
    if (platform_environment_take(CHILD_VARIABLE, text, sizeof text) == 0) {
        return run_child(text, argc, argv);
    }
    if (getenv("KIN_TEST_SHORT") != NULL) {
        return take_short();
    }
    if (getenv("KIN_TEST_LONG") != NULL) {
        return take_long();
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_aligned_and_new_memory_is_zero),
        cmocka_unit_test(what_is_committed_stays_when_it_is_committed_again),
        cmocka_unit_test(released_memory_is_zero_when_it_is_committed_again),
        cmocka_unit_test(more_than_there_can_be_is_refused),
        cmocka_unit_test(only_the_memory_object_is_attached),
        cmocka_unit_test(what_one_commits_all_can_use),
        cmocka_unit_test(a_child_inherits_nothing_but_the_memory),
        cmocka_unit_test(a_mutex_excludes_other_processes),
        cmocka_unit_test(the_next_owner_is_told_of_the_death_of_each_before),
        cmocka_unit_test(the_next_owner_is_told_of_the_end_of_a_thread),
        cmocka_unit_test(one_who_comes_when_all_others_are_gone_is_told),
        cmocka_unit_test(a_word_wakes_those_who_wait_for_it),
        cmocka_unit_test(a_parker_keeps_one_wake_and_times_out_without),
        cmocka_unit_test(a_parker_made_anew_forgets_its_predecessor),
        cmocka_unit_test(a_parked_process_is_woken_by_another),
        cmocka_unit_test(the_exit_code_of_a_child_is_told),
        cmocka_unit_test(arguments_arrive_as_they_are),
        cmocka_unit_test(a_child_has_the_environment_and_its_variable_is_taken),
        cmocka_unit_test(a_variable_is_taken_in_utf8_if_it_fits),
        cmocka_unit_test(what_cannot_be_started_leaves_an_error),
        cmocka_unit_test(a_process_is_killed_and_its_code_says_so),
        cmocka_unit_test(a_crash_is_told_as_a_signal),
        cmocka_unit_test(a_process_is_found_by_its_identity_while_it_lives),
        cmocka_unit_test(only_daemons_end_with_their_killed_parent),
        cmocka_unit_test(several_threads_start_processes_at_a_time),
        cmocka_unit_test(the_exit_hook_runs_once_at_a_normal_end_while_threads_run),
        cmocka_unit_test(a_watch_tells_the_end_of_each_of_many_once),
        cmocka_unit_test(a_watch_has_no_limit_of_processes),
        cmocka_unit_test(what_has_ended_before_it_is_watched_is_told_without_waiting),
        cmocka_unit_test(a_sentinel_shows_the_end),
        cmocka_unit_test(a_watch_tells_nothing_of_what_was_removed),
        cmocka_unit_test(a_waiting_watch_can_be_woken_and_added_to),
        cmocka_unit_test(a_function_is_found_in_another_process),
        cmocka_unit_test(a_function_of_a_shared_library_is_found_in_another_process),
        cmocka_unit_test(what_is_no_function_of_this_build_is_refused),
        cmocka_unit_test(threads_have_stripes_locks_and_ends),
        cmocka_unit_test(all_processes_have_one_clock),
        cmocka_unit_test(sleep_is_never_short),
        cmocka_unit_test(there_are_cores_and_chance),
    };
    return cmocka_run_group_tests(tests, found_family, NULL);
}
