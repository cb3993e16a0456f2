/* The kill harness. An operation is a few lines: what a child prepares, and what it is killed in.
   Each meets death twice:

   - step by step: a child is stepped through the operation and killed after so many instructions,
   at each of them if KIN_CRASH_SECONDS=0 says so, else at as many, evenly spread, as there are
   seconds for each operation (one, or what KIN_CRASH_SECONDS says);
   - at random: several children run all the operations in a random order and are killed at random
   moments.

   After each death (of the random ones, after that of all) the survivor frees what the dead may
   have published, and then nothing may be left: the arena is whole, blocks, members and threads are
   as many as before, and the survivor can go on, all of it within a second.

   With less than half a second for each operation, fewer die at random in proportion.

   KIN_CRASH_ONLY runs the tests with that text in their names, KIN_CRASH_SEED repeats what was left
   to chance, and KIN_CRASH_DEATHS says how many deaths at random there shall be. */
#ifndef KIN_TESTS_CRASH_HARNESS_H
#define KIN_TESTS_CRASH_HARNESS_H

#include "core/death.h"
#include "core/wait.h"

#include <kin/kin.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { CRASH_BLOCKS = 16, CRASH_OBJECTS = 8 };

/* What a child and the survivor share, in the arena. What the child notes here before it publishes
   it is found by the survivor, which gives it back. What it does not publish, nobody but the
   library gives back. */
typedef struct crash_context {
    uint64_t stamp;                  /* of this child; in the first word of the blocks that
                                        crash_allocate gives */
    uint64_t blocks[CRASH_BLOCKS];   /* all that the child has; with a stamp if it may publish it */
    uint64_t objects[CRASH_OBJECTS]; /* handles; the object may be gone, or not be there yet */
    uint64_t self;                   /* the child as a member */
    uint64_t slot;                   /* a member's place that it may have reserved */
    uint64_t victim;                 /* the member that died just before the operation, if it has a
                                        victim */
    kin_process process;             /* a child of its own */
    kin_group group;                 /* the survivor's, see CRASH_IN_GROUP */
    bool group_killed;               /* noted before it is killed */
    uint64_t seed;
    wait_signal busy; /* raised when a child that dies at random has begun */
} crash_context;

typedef void crash_part(crash_context *context);

enum {
    CRASH_JOINS = 1,    /* what the child dies in is how it joins, not `operate` */
    CRASH_LEAVES = 2,   /* after it the child is no member any more */
    CRASH_STARTS = 4,   /* starts processes, which may live on for a moment */
    CRASH_COSTLY = 8,   /* rare among those at random */
    CRASH_IN_GROUP = 16 /* has a group of the survivor's; not at random */
};

typedef struct crash_operation {
    const char *name;
    crash_part *prepare; /* in the child; NULL for nothing to prepare */
    crash_part *operate; /* in the child: here it dies */
    unsigned flags;
    /* Another child has died in this, which nobody has noticed yet. NULL for none. */
    const struct crash_operation *victim;
} crash_operation;

/* Ends the child, or fails the survivor's test, if it is not so. */
#define CRASH_REQUIRE(condition) crash_require((condition), __FILE__, __LINE__, #condition)
void crash_require(bool condition, const char *file, int line, const char *text);

/* In a child. Allocates a private block with its stamp; which of context->blocks it is. */
unsigned crash_allocate(crash_context *context, uint64_t size, unsigned flags);

/* In a child. Makes an object and publishes it; which of context->objects it is. */
unsigned crash_object(crash_context *context, uint64_t size, uint64_t owner);

/* The whole of main: kin_init, a test for each operation step by step, and one at random with so
   many deaths. `stage`, if not NULL, runs once in a child that ends well before the first test. */
int crash_main(int argc, char **argv, const crash_operation *table, unsigned count,
               crash_part *stage, unsigned random_deaths);

/* ---- for tests with an order of their own ---- */

/* The whole of main with other tests, at most so many. At their end the sums are printed; that
   nobody died is a failure. */
enum { CRASH_TESTS = 65 };
int crash_run(int argc, char **argv, const struct CMUnitTest *tests, size_t count);

/* Before and after a test that steps; and at its beginning: skips it where there are no single
   steps. */
int crash_begin_steps(void **state);
int crash_end_steps(void **state);
void crash_need_steps(void);

/* From here on the program has twenty seconds to come to the next call, or to crash_calm, or else
   it says where it was, and ends. `at`: the number of instructions. */
void crash_watch(const char *name, uint64_t victim_at, uint64_t at);
void crash_calm(void);

/* What a child executes, from its step_begin to its step_end. */
typedef struct step_path {
    uintptr_t *addresses; /* of each instruction */
    bool *is_first;       /* the path has not been there before */
    size_t count, room;
} step_path;

/* The numbers of instructions to die after, from 1 to the length of the path, as long as there is
   time: spread over all of it, and first those before an instruction that the path has not met
   earlier. */
typedef struct crash_row {
    const step_path *path;
    uint64_t stride;
    uint64_t at;
    uint64_t looked; /* at so many of them, in this round */
    bool again;      /* the second round: all the others */
    int64_t until;
} crash_row;
void crash_row_begin(crash_row *row, const step_path *path);
bool crash_row_next(crash_row *row);

/* Fails if it took longer since then, in nanoseconds; and notes for the end how long it took. */
#define CRASH_SECOND INT64_C(1000000000)
void crash_limit(int64_t since, int64_t limit);

/* For the sums; and one operation more, with what is to be said of it. */
void crash_count(uint64_t instructions, unsigned deaths);
void crash_tell(uint64_t deaths, const step_path *path);

/* For tests at random: how many deaths are wanted instead of so many, and where chance begins. */
unsigned crash_wanted(unsigned deaths);
uint64_t crash_seed(void);
uint64_t crash_random(uint64_t *state);

/* What the family uses, and whether it uses no more than before. With `patience` it may take a
   moment. */
void crash_look(kin_arena_usage *usage);
void crash_check(const kin_arena_usage *before, bool patience);

/* Allocates and frees in the survivor. */
void crash_go_on(void);

kin_process crash_start(kin_process_function function, const void *argument, size_t size);

/* Joins and closes it; its exit code. `early`: it may have died before it joined. */
int crash_end(kin_process process, bool early);

/* ---- of each system: harness_posix.c, harness_win32.c ---- */

/* False where the system itself leaves something of a process behind whose parent dies while it
   starts it. */
bool crash_may_start_and_die(void);

/* ---- single steps: harness_step.c ---- */

typedef enum { STEP_DONE, STEP_FINISHED, STEP_ENDED } step_result;

/* False where there are no single steps; says why. */
bool step_possible(const char **why);

/* In the child: waits to be stepped, with all that it does from here on; and the end of that. */
void step_begin(void);
void step_end(void);

/* Whether children stop at the very beginning of main, before they join. And in the child: was it
   told so? */
void step_from_main(bool on);
bool step_is_from_main(void);

/* Waits until the child has come to step_begin; false if it ended before. Only the thread that
   started the child may call this and the next one. */
bool step_await(kin_process process);

/* Steps it to its step_end, and notes the path: that of all the next ones, if they do the same. */
step_result step_learn(kin_process process, step_path *path);
void step_forget(step_path *path);

/* Lets it execute that many instructions, or fewer if it comes to its step_end: then FINISHED.
   ENDED: it is gone. */
step_result step_on(kin_process process, const step_path *path, uint64_t steps);

/* Kills it and waits until it is dead, which nobody is told yet. */
void step_kill(kin_process process);

/* Before the first child that is stepped, and after the last. */
void step_prepare(bool on);

/* Removes dead processes whose parents died before them. Only while no child is left. */
void step_adopt_orphans(void);
void step_bury_orphans(void);

#endif
