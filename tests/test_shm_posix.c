/* Named shared memory where it is an object of shm_open: permissions, other programs, copies made
   by fork, too little room. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "support.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined __linux__
#include <sched.h>
#include <sys/mount.h>
#endif

enum { SMALL = 5000, NOBODY = 65534, SKIPPED = 77, ROOM = 1 << 20, SIGNALLED = 96 << 20 };

static const char *name_of(const char *what)
{
    static char text[64];
    (void) snprintf(text, sizeof text, "kin-posix %d.%s", (int) getpid(), what);
    return text;
}

/* As shm_open has it. */
static const char *slash(const char *name)
{
    static char text[80];
    (void) snprintf(text, sizeof text, "/%s", name);
    return text;
}

static int mode_of(const char *name)
{
    struct stat information = {0};
    int fd = shm_open(slash(name), O_RDONLY, 0);
    assert_true(fd >= 0 && fstat(fd, &information) == 0 && close(fd) == 0);
    return (int) (information.st_mode & 07777);
}

/* How a copy ends that does that; below 0: by a signal. */
static int in_copy(int (*function)(const char *name), const char *name)
{
    int status = 0;
    (void) fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        _exit(function(name));
    }
    assert_true(pid > 0 && waitpid(pid, &status, 0) == pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void remove_all(kin_shm shm, const char *name)
{
    assert_int_equal(kin_shm_close(shm), 0);
    assert_int_equal(kin_shm_unlink(name), 0);
    assert_int_equal(kin_shm_open(&shm, name, NULL), KIN_E_NOT_FOUND);
}

/* ---- permissions ---- */

static void it_is_its_owners_alone_unless_a_mode_says_more(void **state)
{
    static const uint32_t modes[] = {0600, 0640, 0666, 0777, 0400};
    const char *name = name_of("mode");
    kin_shm shm;
    (void) state;
    assert_int_equal(kin_shm_create(&shm, name, 1, NULL), 0);
    assert_int_equal(mode_of(name), 0600);
    remove_all(shm, name);
    mode_t before = umask(077);
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        const kin_shm_options options = {.mode = modes[i]};
        assert_int_equal(kin_shm_create(&shm, name, 1, &options), 0);
        assert_int_equal(mode_of(name), modes[i]);
        remove_all(shm, name);
    }
    (void) umask(before);
}

static int be_somebody_else(const char *name)
{
    const kin_shm_options either = {.open_existing = true};
    kin_shm shm;
    CHECK(setgid(NOBODY) == 0 && setuid(NOBODY) == 0);
    CHECK(kin_shm_open(&shm, name, NULL) == KIN_E_PERMISSION);
    CHECK(kin_shm_create(&shm, name, 1, &either) == KIN_E_PERMISSION);
    CHECK(kin_shm_create(&shm, name, 1, NULL) == KIN_E_EXISTS);
    CHECK(kin_shm_unlink(name) == KIN_E_PERMISSION && kin_system_error() != 0);
    return 0;
}

static int read_as_somebody_else(const char *name)
{
    const kin_shm_options options = {.read_only = true};
    kin_shm shm;
    CHECK(setgid(NOBODY) == 0 && setuid(NOBODY) == 0);
    CHECK(kin_shm_open(&shm, name, NULL) == KIN_E_PERMISSION);
    CHECK(kin_shm_open(&shm, name, &options) == 0 && kin_shm_size(shm) == SMALL);
    CHECK(kin_shm_close(shm) == 0);
    CHECK(kin_shm_create(&shm, "kin-posix of nobody", SMALL, NULL) == 0);
    CHECK(kin_shm_unlink("kin-posix of nobody") == 0);
    return 0;
}

static void another_user_can_do_what_the_mode_permits(void **state)
{
    const kin_shm_options readable = {.mode = 0644};
    const char *name = name_of("others");
    kin_shm shm;
    (void) state;
    if (getuid() != 0) {
        skip();
    }
    assert_int_equal(kin_shm_create(&shm, name, SMALL, NULL), 0);
    assert_int_equal(in_copy(be_somebody_else, name), 0);
    remove_all(shm, name);
    assert_int_equal(kin_shm_create(&shm, name, SMALL, &readable), 0);
    assert_int_equal(in_copy(read_as_somebody_else, name), 0);
    remove_all(shm, name);
}

/* ---- other programs ---- */

static void other_programs_find_it_by_shm_open(void **state)
{
    const char *name = name_of("found");
    struct stat information = {0};
    kin_shm shm;
    (void) state;
    assert_int_equal(kin_shm_create(&shm, name, SMALL, NULL), 0);
    int fd = shm_open(slash(name), O_RDWR, 0);
    assert_true(fd >= 0 && fstat(fd, &information) == 0);
    assert_int_equal(information.st_size, SMALL);
    assert_int_equal(pwrite(fd, "x", 1, SMALL - 1), 1);
    assert_int_equal(((const char *) kin_shm_address(shm))[SMALL - 1], 'x');
    assert_int_equal(close(fd), 0);
    remove_all(shm, name);
}

/* One without a size is not there yet. Whoever makes it next takes it over. */
static void what_another_has_begun_is_opened_when_it_has_a_size(void **state)
{
    const kin_shm_options options = {.open_existing = true};
    const char *name = name_of("begun");
    kin_shm shm;
    (void) state;
    for (int way = 0; way < 3; way++) {
        int fd = shm_open(slash(name), O_RDWR | O_CREAT | O_EXCL, 0400);
        assert_true(fd >= 0);
        assert_int_equal(kin_shm_open(&shm, name, NULL), KIN_E_NOT_FOUND);
        if (way == 0) {
            assert_int_equal(ftruncate(fd, SMALL), 0);
            assert_int_equal(kin_shm_open(&shm, name, NULL), 0);
        } else {
            assert_int_equal(kin_shm_create(&shm, name, SMALL, way == 1 ? NULL : &options), 0);
            assert_int_equal(mode_of(name), 0600);
        }
        assert_int_equal(kin_shm_size(shm), SMALL);
        ((char *) kin_shm_address(shm))[SMALL - 1] = 1;
        assert_int_equal(close(fd), 0);
        remove_all(shm, name);
    }
}

static int hold_and_wait(const char *name)
{
    int fd = shm_open(slash(name), O_RDWR | O_CREAT | O_EXCL, 0600);
    CHECK(fd >= 0 && flock(fd, LOCK_EX) == 0);
    (void) kill(getppid(), SIGUSR1);
    (void) pause();
    return CHILD_FAILED;
}

/* Of the ways that have the name first. */
static void what_a_live_process_is_making_is_waited_for(void **state)
{
    const char *name = name_of("making");
    sigset_t ready;
    sigset_t before;
    int signal_number = 0;
    int status = 0;
    kin_shm shm;
    (void) state;
    assert_true(sigemptyset(&ready) == 0 && sigaddset(&ready, SIGUSR1) == 0);
    assert_int_equal(sigprocmask(SIG_BLOCK, &ready, &before), 0);
    pid_t pid = fork();
    if (pid == 0) {
        _exit(hold_and_wait(name));
    }
    assert_int_equal(sigwait(&ready, &signal_number), 0);
    assert_int_equal(kin_shm_open(&shm, name, NULL), KIN_E_NOT_FOUND);
    assert_int_equal(kin_shm_create(&shm, name, SMALL, NULL), KIN_E_BUSY);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(kin_shm_create(&shm, name, SMALL, NULL), 0);
    remove_all(shm, name);
    assert_int_equal(sigprocmask(SIG_SETMASK, &before, NULL), 0);
}

/* ---- copies ---- */

static kin_shm of_original;

static int use_what_the_original_had(const char *name)
{
    kin_shm shm;
    unsigned char *bytes = kin_shm_address(of_original);
    CHECK(bytes != NULL && kin_shm_size(of_original) == SMALL && bytes[0] == 1);
    bytes[1] = 2;
    CHECK(kin_shm_open(&shm, name, NULL) == 0);
    CHECK(((unsigned char *) kin_shm_address(shm))[1] == 2);
    CHECK(kin_shm_close(shm) == 0 && kin_shm_close(of_original) == 0);
    CHECK(kin_shm_close(of_original) == KIN_E_HANDLE);
    return 0;
}

static void a_copy_has_what_its_original_had_open(void **state)
{
    const char *name = name_of("fork");
    (void) state;
    assert_int_equal(kin_shm_create(&of_original, name, SMALL, NULL), 0);
    unsigned char *bytes = kin_shm_address(of_original);
    bytes[0] = 1;
    assert_int_equal(in_copy(use_what_the_original_had, name), 0);
    assert_int_equal(bytes[1], 2);
    remove_all(of_original, name);
}

/* ---- too little room ---- */

static int exceed_the_limit_of_files(const char *name)
{
    const struct rlimit limit = {ROOM, ROOM};
    kin_shm shm;
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    CHECK(kin_shm_create(&shm, name, ROOM + 1, NULL) == KIN_E_NOMEM);
    CHECK(kin_shm_create(&shm, name, ROOM, NULL) == 0 && kin_shm_unlink(name) == 0);
    return 0;
}

static void a_limit_of_file_sizes_is_an_error_and_no_signal(void **state)
{
    (void) state;
    assert_int_equal(in_copy(exceed_the_limit_of_files, name_of("limit")), 0);
}

static int exceed_the_limit_of_descriptors(const char *name)
{
    const struct rlimit limit = {3, 3};
    kin_shm shm;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    CHECK(kin_shm_create(&shm, name, SMALL, NULL) == KIN_E_DESCRIPTORS);
    CHECK(kin_shm_open(&shm, name, NULL) == KIN_E_DESCRIPTORS);
    return 0;
}

static void a_lack_of_descriptors_is_told(void **state)
{
    (void) state;
    assert_int_equal(in_copy(exceed_the_limit_of_descriptors, name_of("descriptors")), 0);
}

static int live_without_standard_streams(const char *name)
{
    kin_shm shm;
    (void) close(STDIN_FILENO);
    (void) close(STDOUT_FILENO);
    CHECK(kin_shm_create(&shm, name, SMALL, NULL) == 0 && kin_shm_close(shm) == 0);
    CHECK(kin_shm_open(&shm, name, NULL) == 0 && kin_shm_close(shm) == 0);
    CHECK(kin_shm_unlink(name) == 0);
    return fcntl(STDIN_FILENO, F_GETFD) < 0 && fcntl(STDOUT_FILENO, F_GETFD) < 0 ? 0 : 1;
}

static void standard_streams_that_are_closed_stay_so(void **state)
{
    (void) state;
    assert_int_equal(in_copy(live_without_standard_streams, name_of("streams")), 0);
}

#if defined __linux__

static unsigned count_names(void)
{
    unsigned count = 0;
    DIR *folder = opendir("/dev/shm");
    assert_non_null(folder);
    while (readdir(folder) != NULL) {
        count++;
    }
    assert_int_equal(closedir(folder), 0);
    return count;
}

static int fill_a_small_system(const char *name)
{
    const kin_shm_options either = {.open_existing = true};
    kin_shm shm;
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=1m") != 0) {
        return SKIPPED;
    }
    unsigned before = count_names();
    CHECK(kin_shm_create(&shm, name, 4 * ROOM, NULL) == KIN_E_NOMEM && kin_system_error() != 0);
    CHECK(kin_shm_create(&shm, name, ROOM + 1, &either) == KIN_E_NOMEM);
    CHECK(count_names() == before);
    for (int again = 0; again < 3; again++) { /* what failed has taken nothing */
        CHECK(kin_shm_create(&shm, name, ROOM, NULL) == 0);
        memset(kin_shm_address(shm), 1, ROOM);
        kin_shm other;
        CHECK(kin_shm_create(&other, "kin-posix more", 1, NULL) == KIN_E_NOMEM);
        CHECK(count_names() == before + 1);
        CHECK(kin_shm_close(shm) == 0 && kin_shm_unlink(name) == 0);
    }
    return 0;
}

static void a_small_dev_shm_is_an_error_and_no_signal(void **state)
{
    (void) state;
    int code = in_copy(fill_a_small_system, name_of("small"));
    if (code == SKIPPED) {
        skip();
    }
    assert_int_equal(code, 0);
}

static void nothing_is_left_in_dev_shm(void **state)
{
    char prefix[64];
    (void) state;
    (void) snprintf(prefix, sizeof prefix, "kin-posix %d.", (int) getpid());
    DIR *folder = opendir("/dev/shm");
    assert_non_null(folder);
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        assert_true(strncmp(entry->d_name, prefix, strlen(prefix)) != 0);
    }
    assert_int_equal(closedir(folder), 0);
}

#endif

/* ---- signals ---- */

static volatile sig_atomic_t ticks;

static void tick(int number)
{
    (void) number;
    ticks++;
}

/* The system gives up to take much memory at each signal. */
static void signals_do_not_keep_it_from_being_made(void **state)
{
    const struct itimerval each = {{0, 2000}, {0, 2000}};
    const struct itimerval none = {{0, 0}, {0, 0}};
    struct sigaction action = {0};
    struct sigaction before;
    const char *name = name_of("signals");
    kin_shm shm;
    (void) state;
    action.sa_handler = tick;
    assert_int_equal(sigaction(SIGALRM, &action, &before), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &each, NULL), 0);
    int status = kin_shm_create(&shm, name, SIGNALLED, NULL);
    assert_int_equal(setitimer(ITIMER_REAL, &none, NULL), 0);
    assert_int_equal(sigaction(SIGALRM, &before, NULL), 0);
    assert_int_equal(status, 0);
    assert_true(ticks > 0);
    ((char *) kin_shm_address(shm))[SIGNALLED - 1] = 1;
    remove_all(shm, name);
}

int main(int argc, char **argv)
{
    if (kin_init(&argc, &argv) < 0) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        CLEAN_TEST(it_is_its_owners_alone_unless_a_mode_says_more),
        CLEAN_TEST(another_user_can_do_what_the_mode_permits),
        CLEAN_TEST(other_programs_find_it_by_shm_open),
        CLEAN_TEST(what_another_has_begun_is_opened_when_it_has_a_size),
        CLEAN_TEST(what_a_live_process_is_making_is_waited_for),
        CLEAN_TEST(a_copy_has_what_its_original_had_open),
        CLEAN_TEST(a_limit_of_file_sizes_is_an_error_and_no_signal),
        CLEAN_TEST(a_lack_of_descriptors_is_told),
        CLEAN_TEST(standard_streams_that_are_closed_stay_so),
        CLEAN_TEST(signals_do_not_keep_it_from_being_made),
#if defined __linux__
        CLEAN_TEST(a_small_dev_shm_is_an_error_and_no_signal),
        CLEAN_TEST(nothing_is_left_in_dev_shm),
#endif
    };
    return cmocka_run_group_tests(tests, warm_up, NULL);
}
