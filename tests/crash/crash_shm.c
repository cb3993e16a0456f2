/* Deaths of those who make, open and unlink named memory. Afterwards it is there with all its
   bytes, or it is not there; others can make it, open it and unlink it at once; and nothing else of
   it is left. */
#include "harness.h"

#include <stdio.h>
#include <string.h>

#if defined __linux__
#include <dirent.h>
#endif

enum { SMALL = 5000, LARGE = 300000, OTHER = 9000, RANDOM_DEATHS = 300, ENDED_LATE_US = 400 };

#if defined _WIN32
enum { NAMES_LAST = false };
#else
enum { NAMES_LAST = true };
#endif

typedef struct told {
    char name[64];
    uint32_t operation;
    uint64_t begun; /* offset of a word of the arena: how often it has begun */
} told;

static void write_name(char *text, size_t size)
{
    platform_identity self;
    CRASH_REQUIRE(platform_process_self(&self) == 0);
    (void) snprintf(text, size, "kin-crash %llu", (unsigned long long) self.pid);
}

/* ---- what they die in ---- */

static kin_shm had;

static void make(const char *name)
{
    kin_shm shm;
    CRASH_REQUIRE(kin_shm_create(&shm, name, SMALL, NULL) == 0);
}

static void make_large(const char *name)
{
    const kin_shm_options options = {.mode = 0640};
    kin_shm shm;
    CRASH_REQUIRE(kin_shm_create(&shm, name, LARGE, &options) == 0);
}

static void make_or_open(const char *name)
{
    const kin_shm_options options = {.open_existing = true};
    kin_shm shm;
    CRASH_REQUIRE(kin_shm_create(&shm, name, SMALL, &options) >= 0);
}

static void fail_to_make(const char *name)
{
    kin_shm shm;
    CRASH_REQUIRE(kin_shm_create(&shm, name, SMALL, NULL) == KIN_E_EXISTS);
}

static void fail_to_make_so_much(const char *name)
{
    const size_t much = sizeof(void *) == 8 ? PTRDIFF_MAX / 2 : SIZE_MAX;
    kin_shm shm;
    CRASH_REQUIRE(kin_shm_create(&shm, name, much, NULL) == KIN_E_NOMEM);
}

static void prepare_one(const char *name)
{
    CRASH_REQUIRE(kin_shm_create(&had, name, SMALL, NULL) == 0);
}

static void open_one(const char *name)
{
    kin_shm shm;
    CRASH_REQUIRE(kin_shm_open(&shm, name, NULL) == 0);
}

static void close_one(const char *name)
{
    (void) name;
    CRASH_REQUIRE(kin_shm_close(had) == 0);
}

static void unlink_one(const char *name)
{
    CRASH_REQUIRE(kin_shm_unlink(name) == 0);
}

static void do_all(const char *name)
{
    kin_shm shm;
    if (kin_shm_create(&shm, name, SMALL, NULL) == 0) {
        *(unsigned char *) kin_shm_address(shm) = 1;
        CRASH_REQUIRE(kin_shm_close(shm) == 0);
    }
    (void) kin_shm_unlink(name);
}

typedef struct operation {
    const char *name;
    void (*prepare)(const char *name);
    void (*operate)(const char *name);
    bool must_be_there; /* whatever it died at, where names last */
} operation;

static const operation operations[] = {
    {"make", NULL, make, false},
    {"make a large one", NULL, make_large, false},
    {"make in place of opening", NULL, make_or_open, false},
    {"open in place of making", prepare_one, make_or_open, true},
    {"make what is there", prepare_one, fail_to_make, true},
    {"make what there is no memory for", NULL, fail_to_make_so_much, false},
    {"open", prepare_one, open_one, true},
    {"close", prepare_one, close_one, true},
    {"unlink", prepare_one, unlink_one, false},
    {"make, close, unlink", NULL, do_all, false},
};

enum { OPERATIONS = sizeof operations / sizeof *operations };

/* ---- the survivor ---- */

/* Names of this program, whether or not there is something behind them. */
static unsigned count_names(const char *name)
{
    unsigned count = 0;
#if defined __linux__
    DIR *folder = opendir("/dev/shm");
    CRASH_REQUIRE(folder != NULL);
    if (folder != NULL) {
        for (const struct dirent *entry; (entry = readdir(folder)) != NULL;) {
            count += strncmp(entry->d_name, name, strlen(name)) == 0;
        }
        (void) closedir(folder);
    }
#else
    (void) name;
#endif
    return count;
}

/* Only the plain ways have the name before the rest. */
static unsigned most_names(bool is_there)
{
#if defined KIN_POSIX_PLAIN
    (void) is_there;
    return 1;
#else
    return is_there ? 1 : 0;
#endif
}

static void check_whole(kin_shm shm)
{
    size_t size = kin_shm_size(shm);
    unsigned char *bytes = kin_shm_address(shm);
    CRASH_REQUIRE(size == SMALL || size == LARGE);
    for (size_t i = 0; i < size; i++) {
        CRASH_REQUIRE(bytes[i] <= (i == 0 ? 1 : 0));
    }
    memset(bytes, 1, size);
}

/* What a death has left; then the same name is used again. */
static void go_on(const char *name, bool must_be_there)
{
    kin_shm shm;
    kin_shm second;
    int status = kin_shm_open(&shm, name, NULL);
    CRASH_REQUIRE(status == 0 || (status == KIN_E_NOT_FOUND && !(must_be_there && NAMES_LAST)));
    CRASH_REQUIRE(count_names(name) <= most_names(status == 0));
    if (status == 0) {
        check_whole(shm);
        CRASH_REQUIRE(kin_shm_create(&second, name, OTHER, NULL) == KIN_E_EXISTS);
        CRASH_REQUIRE(kin_shm_close(shm) == 0 && kin_shm_unlink(name) == 0);
    }
    CRASH_REQUIRE(kin_shm_create(&shm, name, OTHER, NULL) == 0);
    CRASH_REQUIRE(kin_shm_open(&second, name, NULL) == 0 && kin_shm_size(second) == OTHER);
    CRASH_REQUIRE(kin_shm_close(second) == 0 && kin_shm_close(shm) == 0);
    CRASH_REQUIRE(kin_shm_unlink(name) == 0 && count_names(name) == 0);
    CRASH_REQUIRE(kin_shm_open(&shm, name, NULL) == KIN_E_NOT_FOUND);
}

/* ---- step by step ---- */

static int live_by_steps(void *argument, size_t size)
{
    const told *t = argument;
    CRASH_REQUIRE(size == sizeof *t);
    const operation *o = &operations[t->operation];
    if (o->prepare != NULL) {
        o->prepare(t->name);
    }
    step_begin();
    o->operate(t->name);
    step_end();
    return 0;
}

static void die_after(const operation *o, step_path *path, uint64_t at)
{
    kin_arena_usage before;
    told t = {.operation = (uint32_t) (o - operations)};
    write_name(t.name, sizeof t.name);
    crash_watch(o->name, 0, at);
    crash_look(&before);
    kin_process child = crash_start(live_by_steps, &t, sizeof t);
    CRASH_REQUIRE(step_await(child));
    step_result result = at == 0 ? step_learn(child, path) : step_on(child, path, at);
    CRASH_REQUIRE(result != STEP_ENDED);
    int64_t died = platform_clock_ns();
    step_kill(child);
    crash_count(at == 0 ? path->count : at, 1);
    go_on(t.name, o->must_be_there);
    CRASH_REQUIRE(crash_end(child, false) == -KIN_SIGKILL);
    crash_limit(died, CRASH_SECOND);
    crash_check(&before, false);
    crash_calm();
}

static void die_at_each(void **state)
{
    const operation *o = *state;
    crash_need_steps();
    step_path path = {0};
    die_after(o, &path, 0);
    crash_row row;
    uint64_t deaths = 0;
    crash_row_begin(&row, &path);
    for (; crash_row_next(&row); deaths++) {
        die_after(o, &path, row.at);
    }
    crash_tell(deaths, &path);
    step_forget(&path);
}

/* ---- at random ---- */

static int live_at_random(void *argument, size_t size)
{
    told *t = argument;
    CRASH_REQUIRE(size == sizeof *t);
    _Atomic uint32_t *begun = arena_at(t->begun);
    while (atomic_load(begun) < UINT32_MAX) {
        do_all(t->name);
        atomic_fetch_add(begun, 1);
    }
    return 0;
}

/* Two at a time of one name, so that one may die while the other looks at what it makes. */
static void die_at_random(void **state)
{
    told t = {{0}, 0, 0};
    uint64_t random = crash_seed();
    unsigned deaths = crash_wanted(RANDOM_DEATHS);
    (void) state;
    write_name(t.name, sizeof t.name);
    CRASH_REQUIRE(arena_allocate(&t.begun, sizeof(uint32_t), ARENA_ZERO) == 0);
    CRASH_REQUIRE(arena_publish(t.begun) == 0);
    _Atomic uint32_t *begun = arena_at(t.begun);
    for (unsigned i = 0; i < deaths; i += 2) {
        kin_process children[2];
        crash_watch("at random", 0, i);
        atomic_store(begun, 0);
        children[0] = crash_start(live_at_random, &t, sizeof t);
        children[1] = crash_start(live_at_random, &t, sizeof t);
        while (atomic_load(begun) < 4) {
            platform_sleep_ns(100000);
        }
        int64_t until =
            platform_clock_ns() + (int64_t) (crash_random(&random) % ENDED_LATE_US) * 1000;
        while (platform_clock_ns() < until) {
        }
        CRASH_REQUIRE(kin_process_kill(children[0]) == 0);
        CRASH_REQUIRE(kin_process_kill(children[1]) == 0);
        int64_t died = platform_clock_ns();
        CRASH_REQUIRE(crash_end(children[0], false) == -KIN_SIGKILL);
        CRASH_REQUIRE(crash_end(children[1], false) == -KIN_SIGKILL);
        go_on(t.name, false);
        crash_limit(died, CRASH_SECOND);
        crash_count(0, 2);
        crash_calm();
    }
    CRASH_REQUIRE(arena_free(t.begun) == 0);
}

int main(int argc, char **argv)
{
    struct CMUnitTest tests[OPERATIONS + 1];
    for (unsigned i = 0; i < OPERATIONS; i++) {
        tests[i] = (struct CMUnitTest){operations[i].name, die_at_each, crash_begin_steps,
                                       crash_end_steps, (void *) (uintptr_t) &operations[i]};
    }
    tests[OPERATIONS] = (struct CMUnitTest) cmocka_unit_test(die_at_random);
    return crash_run(argc, argv, tests, OPERATIONS + 1);
}
