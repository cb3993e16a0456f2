/* What the test programs share: a second life of the same program without kin, memory and marks
   that members of the family wait for, and the check that a test leaves nothing behind. */
#ifndef KIN_TESTS_SUPPORT_H
#define KIN_TESTS_SUPPORT_H

#include "core/process.h"
#include "core/wait.h"

#include <kin/kin.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { CHILD_FAILED = 99, LONG_MS = 60000 };

/* An assertion outside of a test, in a child or in a thread: what the function returns says that it
   failed. */
#define CHECK(condition)                                                   \
    do {                                                                   \
        if (!(condition)) {                                                \
            (void) fprintf(stderr, "line %d: %s\n", __LINE__, #condition); \
            return CHILD_FAILED;                                           \
        }                                                                  \
    } while (0)

/* A test that must leave neither memory, descriptors, processes nor damage behind. */
#define CLEAN_TEST(test) cmocka_unit_test_setup_teardown(test, begin_test, end_test)

/* The same where there is a forkserver: it looks at its children when it likes, and an object that
   it is looking at is freed a moment after it has been closed. */
#define SETTLED_TEST(test) cmocka_unit_test_setup_teardown(test, begin_test, end_settled_test)

#if !defined __has_feature
#define __has_feature(feature) 0
#endif
#if defined __SANITIZE_THREAD__ || __has_feature(thread_sanitizer)
#define WITH_THREAD_SANITIZER 1
#else
#define WITH_THREAD_SANITIZER 0
#endif
#if defined __SANITIZE_ADDRESS__ || __has_feature(address_sanitizer) || WITH_THREAD_SANITIZER
#define WITH_SANITIZER 1
#else
#define WITH_SANITIZER 0
#endif

/* ---- of each system: support_posix.c, support_win32.c ---- */

/* Descriptors or handles that this process has open. */
int system_handles(void);

/* How many more may be there for a while, because the system keeps some of its own. */
int system_handle_slack(void);

/* True if this process has children that run or have not been reaped. */
bool system_has_children(void);

/* NULL takes it away. */
void system_set_variable(const char *name, const char *value);

/* From now on what this process and its children write to standard error goes to that file; with
   NULL, once, where it went before. */
void system_redirect_errors(const char *path);

/* Ends this process at once as if it had been killed by somebody outside of the family. */
void system_kill_self(void);

/* Runs function(argument, number) in that many threads at once, and waits for their end. */
void system_run_threads(unsigned count, void (*function)(void *argument, unsigned number),
                        void *argument);

/* Threads of this process, as far as the system tells. */
int system_threads(void);

/* Ends a process at once, by the system's own means. */
void system_kill(int pid);

void system_close_sentinel(intptr_t sentinel);

/* How long the processors have worked for this process. */
int64_t system_processor_ns(void);

/* Has this process use one processor, if the system can be told; and as many as before. */
bool system_keep_one_core(void);
void system_keep_all_cores(void);

/* mblen, as a shared library has it where there is one. */
kin_process_function system_library_function(void);

/* ---- support.c ---- */

/* For the whole of a program: once, what is made at first use and kept. */
int warm_up(void **state);

int begin_test(void **state);
int end_test(void **state);
int end_settled_test(void **state);

/* What a process has and what the family uses. */
typedef struct inventory {
    int handles;
    bool children;
    kin_arena_usage usage;
} inventory;
void take_inventory(inventory *now);

/* True if there is no more than before; says what else there is. Also checks the arena. */
bool nothing_is_left(const inventory *before);

/* Runs this program again with that variable ("NAME=") in its environment, and gives its exit code.
   It has the family's memory object. arguments: argv, or NULL. */
int run_again(const char *variable, const char *value, char *const *arguments);

/* The same with KIN_TEST_MODE, which find_mode takes away again: main runs what it finds in place
   of kin_init. */
typedef struct test_mode {
    const char *name;
    int (*run)(int argc, char **argv);
} test_mode;
#define TEST_MODE "KIN_TEST_MODE"
const test_mode *find_mode(const test_mode *modes, size_t count);
int run_mode(const char *name);

/* Zeroed memory that all members see; they find it by its offset. */
void *shared_new(size_t size);
void shared_free(void *memory);

/* A number to wait for. */
typedef struct mark {
    wait_signal signal;
    _Atomic uint32_t value;
} mark;
void mark_add(mark *m);

/* Until it is at least that. False if it takes too long. */
bool mark_await(mark *m, uint32_t value);

/* Until so many threads of the family sleep for that, or are about to: a lock, an event, ... */
void await_sleepers(uint64_t id, uint32_t count);

/* Starts a process of this family, or fails the test. */
kin_process start(kin_process_function function, const void *argument, size_t size);
kin_process start_daemon(kin_process_function function, const void *argument, size_t size);

/* Joins it, closes it, and gives its exit code. */
int end_of(kin_process process);
void kill_and_close(kin_process process);

/* A function for processes that wait to be killed; its argument is the offset of a mark that it
   adds to, or 0. */
int stay(void *argument, size_t size);

uint32_t next_random(uint64_t *state);

#endif
