/* ctest: alone

   Processes in great numbers: a thousand alive at once, thousands started and killed one after
   another at any moment of their way, many threads that start them, generations that end with
   their oldest, and a forkserver that is killed under those who use it. Whatever happens nothing
   is left. */
#include "support.h"

#include "core/process_object.h"

#include <stdlib.h>
#include <string.h>

#if !defined _WIN32
#include <sys/resource.h>
#endif

/* How much of it: Wine and the sanitizers take their time, and memory; the plain way looks at what
   the forkserver has started every 20 ms. */
#if defined _WIN32
enum { ALIVE = 150, SPAWNED = 300, FORKED = 0, SERVED = 0, EACH = 12, ROUNDS = 0 };
#elif WITH_SANITIZER
enum { ALIVE = 120, SPAWNED = 300, FORKED = 400, SERVED = 300, EACH = 15, ROUNDS = 15 };
#elif defined KIN_POSIX_PLAIN
enum { ALIVE = 1000, SPAWNED = 500, FORKED = 1000, SERVED = 300, EACH = 40, ROUNDS = 50 };
#elif defined __clang__ || defined __i386__ || !defined __GLIBC__
enum { ALIVE = 1000, SPAWNED = 500, FORKED = 1000, SERVED = 1000, EACH = 50, ROUNDS = 100 };
#else
enum { ALIVE = 1000, SPAWNED = 1000, FORKED = 6000, SERVED = 3000, EACH = 50, ROUNDS = 400 };
#endif

enum { NAME_SIZE = 32, THREADS = 8, SERVER_THREADS = 4, GENERATIONS = 3, WARM = 60 };

#define NS_IN_MS INT64_C(1000000)

static const int methods[] = {KIN_START_SPAWN, KIN_START_FORK, KIN_START_FORKSERVER};
enum { METHODS = sizeof methods / sizeof *methods };

/* What the members of a test share. */
typedef struct board {
    mark arrived;
    mark go;
    _Atomic uint64_t generations[GENERATIONS];
} board;

static board *board_at(const void *argument)
{
    uint64_t offset;
    memcpy(&offset, argument, sizeof offset);
    return arena_at(offset);
}

/* One of those that this system has. */
static int method_for(size_t number)
{
    int method = methods[number % METHODS];
    return kin_has_start_method(method) ? method : KIN_START_SPAWN;
}

static int return_seven(void *argument, size_t size)
{
    (void) argument, (void) size;
    return 7;
}

static int await_go(void *argument, size_t size)
{
    (void) size;
    mark_add(&board_at(argument)->arrived);
    CHECK(mark_await(&board_at(argument)->go, 1));
    return 7;
}

static int code_of(kin_process process)
{
    int code = -1000;
    assert_int_equal(kin_process_exit_code(process, &code), 0);
    return code;
}

/* ---- a thousand at once ---- */

static void name_of(char *name, size_t number)
{
    (void) snprintf(name, NAME_SIZE, "one of many, %u", (unsigned) number);
}

static void check_names(const kin_process *processes)
{
    char name[NAME_SIZE];
    kin_process *found = calloc(ALIVE + 1, sizeof *found);
    assert_non_null(found);
    assert_int_equal(kin_active_children(found, ALIVE + 1), ALIVE);
    for (size_t i = 0; i < ALIVE; i++) {
        assert_true(found[i].id == processes[i].id);
        name_of(name, i);
        assert_string_equal(kin_process_name(processes[i]), name);
        assert_int_equal(kin_process_is_alive(processes[i]), 1);
    }
    free(found);
}

/* Kills some of them, each of which is told. The rest of the list is what is left. */
static size_t kill_some(kin_process *left, size_t count, size_t kills)
{
    uint64_t random = 11;
    size_t index = 0;
    for (; kills > 0; kills--) {
        size_t victim = next_random(&random) % count;
        assert_int_equal(kin_process_wait_any(left, count, &index, 0), KIN_E_TIMEOUT);
        assert_int_equal(kin_process_kill(left[victim]), 0);
        assert_int_equal(kin_process_wait_any(left, count, &index, LONG_MS), 0);
        assert_int_equal(index, victim);
        assert_int_equal(code_of(left[victim]), -KIN_SIGKILL);
        left[victim] = left[--count];
        assert_int_equal(kin_active_children(NULL, 0), count);
    }
    return count;
}

static void many_are_alive_at_once(void **state)
{
    char name[NAME_SIZE];
    size_t index = 0;
    size_t count = ALIVE;
    (void) state;
    board *b = shared_new(sizeof *b);
    const uint64_t offset = arena_offset(b);
    kin_process *processes = calloc(ALIVE, sizeof *processes);
    kin_process *left = calloc(ALIVE, sizeof *left);
    assert_true(processes != NULL && left != NULL);
    int64_t begun = kin_clock_ns();
    for (size_t i = 0; i < ALIVE; i++) {
        const kin_process_options options = {.name = name, .method = method_for(i)};
        name_of(name, i);
        assert_int_equal(
            kin_process_start(&processes[i], await_go, &offset, sizeof offset, &options), 0);
    }
    assert_true(mark_await(&b->arrived, ALIVE));
    print_message("%d alive after %lld ms\n", ALIVE,
                  (long long) ((kin_clock_ns() - begun) / NS_IN_MS));
    check_names(processes);
    assert_int_equal(kin_process_wait_all(processes, ALIVE, 0), KIN_E_TIMEOUT);
    memcpy(left, processes, ALIVE * sizeof *left);
    count = kill_some(left, count, ALIVE / 10);
    mark_add(&b->go);
    for (size_t i = ALIVE / 2; i > 0; i--) {
        assert_int_equal(kin_process_wait_any(left, count, &index, LONG_MS), 0);
        assert_int_equal(code_of(left[index]), 7);
        left[index] = left[--count];
    }
    assert_int_equal(kin_process_wait_all(left, count, LONG_MS), 0);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(code_of(left[i]), 7);
    }
    assert_int_equal(kin_active_children(NULL, 0), 0);
    for (size_t i = 0; i < ALIVE; i++) {
        assert_int_equal(kin_process_close(processes[i]), 0);
    }
    free(processes);
    free(left);
    shared_free(b);
}

/* ---- started and killed ---- */

static void spin(int64_t duration_ns)
{
    int64_t until = kin_clock_ns() + duration_ns;
    while (kin_clock_ns() < until) {
    }
}

/* Starts a process and kills it a moment later, up to a millisecond or (every fourth) none. It may
   have come to its end before. */
static void start_and_kill(int method, uint64_t *random, int number)
{
    kin_process process;
    const kin_process_options options = {.method = method, .daemon = number % 5 == 0};
    assert_int_equal(kin_process_start(&process, return_seven, NULL, 0, &options), 0);
    uint32_t moment = next_random(random) % 1000000;
    if (number % 4 != 0) {
        spin(moment);
    }
    assert_int_equal(kin_process_kill(process), 0);
    assert_int_equal(kin_process_join(process, LONG_MS), 0);
    int code = code_of(process);
    assert_true(code == -KIN_SIGKILL || code == 7);
    assert_int_equal(kin_process_close(process), 0);
}

static void start_and_kill_many(int method, int count)
{
    uint64_t random = 5;
    inventory before;
    inventory now;
    for (int i = 0; i < WARM; i++) {
        start_and_kill(method, &random, i);
    }
    take_inventory(&before);
    int threads = system_threads();
    int64_t begun = kin_clock_ns();
    for (int i = 0; i < count; i++) {
        start_and_kill(method, &random, i);
    }
    print_message("%d started and killed by method %d in %lld ms\n", count, method,
                  (long long) ((kin_clock_ns() - begun) / NS_IN_MS));
    int64_t until = wait_deadline(LONG_MS); /* the forkserver looks at its children now and then */
    do {
        take_inventory(&now);
    } while ((now.usage.used > before.usage.used || now.usage.blocks != before.usage.blocks) &&
             kin_clock_ns() < until);
    assert_true(nothing_is_left(&before));
    assert_true(now.usage.used <= before.usage.used);
    assert_true(system_threads() <= threads);
    assert_int_equal(kin_active_children(NULL, 0), 0);
}

static void those_started_and_killed_leave_nothing(void **state)
{
    (void) state;
    static const int counts[METHODS] = {SPAWNED, FORKED, SERVED};
    for (size_t i = 0; i < METHODS; i++) {
        if (kin_has_start_method(methods[i])) {
            start_and_kill_many(methods[i], counts[i]);
        }
    }
}

/* ---- threads ---- */

static void start_in_thread(void *argument, unsigned number)
{
    int *wrong = argument;
    for (size_t i = 0; i < EACH; i++) {
        const kin_process_options options = {.method = method_for(i + number)};
        kin_process process;
        int code = -1;
        if (kin_process_start(&process, return_seven, NULL, 0, &options) < 0 ||
            kin_process_join(process, LONG_MS) < 0 || kin_process_exit_code(process, &code) < 0 ||
            code != 7 || kin_process_close(process) < 0) {
            wrong[number]++;
        }
    }
}

static void many_threads_start_and_join(void **state)
{
    int wrong[THREADS] = {0};
    (void) state;
    system_run_threads(THREADS, start_in_thread, wrong);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(wrong[i], 0);
    }
}

/* ---- generations ---- */

typedef struct descent {
    uint64_t board;
    uint32_t generation;
    int32_t method;
} descent;

/* Has a daemon, which has one, and so on. */
static int have_daemon(void *argument, size_t size)
{
    descent mine;
    CHECK(size == sizeof mine);
    memcpy(&mine, argument, sizeof mine);
    board *b = arena_at(mine.board);
    if (mine.generation < GENERATIONS) {
        kin_process process;
        const descent next = {mine.board, mine.generation + 1, mine.method};
        const kin_process_options options = {.method = mine.method, .daemon = true};
        CHECK(kin_process_start(&process, have_daemon, &next, sizeof next, &options) == 0);
        atomic_store(&b->generations[mine.generation], process.id);
    }
    mark_add(&b->arrived);
    return kin_sleep(KIN_FOREVER);
}

/* Once all of them are gone, how long that took. */
static int64_t await_generations(const board *b, int64_t since)
{
    for (size_t i = 0; i < GENERATIONS;) {
        kin_process daemon = {atomic_load(&b->generations[i])};
        i += kin_process_is_alive(daemon) <= 0;
        assert_true(kin_clock_ns() - since < NS_IN_MS * LONG_MS);
    }
    return kin_clock_ns() - since;
}

static void kill_the_oldest(int method)
{
    int64_t longest = 0;
    for (int i = 0; i < 5; i++) {
        board *b = shared_new(sizeof *b);
        const descent first = {.board = arena_offset(b), .method = method};
        kin_process parent = start(have_daemon, &first, sizeof first);
        assert_true(mark_await(&b->arrived, GENERATIONS + 1));
        int64_t since = kin_clock_ns();
        system_kill(kin_process_pid(parent));
        int64_t gone = await_generations(b, since);
        longest = gone > longest ? gone : longest;
        assert_true(end_of(parent) != 0);
        shared_free(b);
    }
    print_message("generations by method %d are gone within %lld us\n", method,
                  (long long) (longest / 1000));
    assert_true(longest < 1000 * NS_IN_MS);
}

/* A daemon on POSIX has a thread. The sanitizers do not keep their own locks out of a copy that is
   made while another thread holds them. */
static bool may_have_daemons(int method)
{
    return kin_has_start_method(method) && (method != KIN_START_FORK || !WITH_SANITIZER);
}

static void generations_of_daemons_end_with_the_oldest(void **state)
{
    (void) state;
    for (size_t i = 0; i < METHODS; i++) {
        if (may_have_daemons(methods[i])) {
            kill_the_oldest(methods[i]);
        }
    }
}

/* ---- a forkserver under fire ---- */

typedef struct fire {
    _Atomic unsigned busy; /* threads that still start */
    _Atomic unsigned worked;
    _Atomic unsigned failed;
    _Atomic unsigned wrong;
} fire;

static int see_server(object *o, uint64_t id, void *context)
{
    const process_object *p = (const process_object *) o;
    if (object_kind_of(id) == KIND_PROCESS && strcmp(p->name, "forkserver") == 0 &&
        atomic_load(&p->state) != PROCESS_ENDED) {
        *(uint64_t *) context = id;
    }
    return 0;
}

static unsigned starts_of(fire *f)
{
    return atomic_load(&f->worked) + atomic_load(&f->failed) + atomic_load(&f->wrong);
}

/* Kills it some time after it has served, or, every third time, right after the one before, when it
   is most likely on its way. */
static void kill_server(fire *f, uint64_t *random, unsigned number)
{
    uint64_t server = 0;
    unsigned before = starts_of(f);
    while (number % 3 != 0 && starts_of(f) == before && atomic_load(&f->busy) > 0) {
        (void) kin_sleep(1);
    }
    spin(next_random(random) % (5 * NS_IN_MS));
    if (object_each(see_server, &server) == 0 && server != 0) {
        (void) kin_process_kill((kin_process){server}); /* another may have closed it */
    }
}

static void use_server(fire *f)
{
    const kin_process_options options = {.method = KIN_START_FORKSERVER};
    kin_process process = {0};
    int code = -1000;
    int status = kin_process_start(&process, return_seven, NULL, 0, &options);
    if (status < 0) {
        atomic_fetch_add(&f->failed, 1);
        return;
    }
    status = kin_process_join(process, LONG_MS);
    int told = kin_process_exit_code(process, &code);
    int closed = kin_process_close(process);
    if (status == 0 && told == 0 && code == 7 && closed == 0) {
        atomic_fetch_add(&f->worked, 1);
    } else {
        (void) fprintf(stderr, "join: %s, exit code: %s, %d, close: %s\n", kin_error_name(status),
                       kin_error_name(told), code, kin_error_name(closed));
        atomic_fetch_add(&f->wrong, 1);
    }
}

static void start_under_fire(void *argument, unsigned number)
{
    fire *f = argument;
    uint64_t random = 3;
    if (number < SERVER_THREADS) {
        for (int i = 0; i < ROUNDS; i++) {
            use_server(f);
        }
        atomic_fetch_sub(&f->busy, 1);
    }
    for (unsigned i = 0; number >= SERVER_THREADS && atomic_load(&f->busy) > 0; i++) {
        kill_server(f, &random, i);
    }
}

static void a_forkserver_may_be_killed_while_it_is_used(void **state)
{
    (void) state;
    if (!kin_has_start_method(KIN_START_FORKSERVER)) {
        skip();
    }
    fire f = {.busy = SERVER_THREADS};
    int64_t begun = kin_clock_ns();
    system_run_threads(SERVER_THREADS + 1, start_under_fire, &f);
    print_message("under fire %u starts worked, %u failed, in %lld ms\n", atomic_load(&f.worked),
                  atomic_load(&f.failed), (long long) ((kin_clock_ns() - begun) / NS_IN_MS));
    assert_int_equal(atomic_load(&f.wrong), 0);
    const kin_process_options options = {.method = KIN_START_FORKSERVER};
    kin_process process;
    assert_int_equal(kin_process_start(&process, return_seven, NULL, 0, &options), 0);
    assert_int_equal(end_of(process), 7);
    assert_int_equal(kin_active_children(NULL, 0), 0);
}

/* ---- */

/* As many descriptors as children, and the first one of each method. */
static int prepare(void **state)
{
    int status = warm_up(state);
#if !defined _WIN32
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_cur < 2 * ALIVE) {
        limit.rlim_cur = 2 * ALIVE;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    }
#endif
    for (size_t i = 0; i < METHODS; i++) {
        const kin_process_options options = {.method = method_for(i)};
        kin_process process;
        assert_int_equal(kin_process_start(&process, return_seven, NULL, 0, &options), 0);
        assert_int_equal(end_of(process), 7);
    }
    return status;
}

int main(int argc, char **argv)
{
    if (kin_init(&argc, &argv) < 0) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        SETTLED_TEST(many_are_alive_at_once),
        SETTLED_TEST(those_started_and_killed_leave_nothing),
        SETTLED_TEST(many_threads_start_and_join),
        SETTLED_TEST(generations_of_daemons_end_with_the_oldest),
        SETTLED_TEST(a_forkserver_may_be_killed_while_it_is_used),
    };
    return cmocka_run_group_tests(tests, prepare, NULL);
}
