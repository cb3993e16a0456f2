/* Single steps by ptrace, on Linux with an x86 processor. (On others a step between a load and its
   store-conditional makes the store fail for ever.) A child asks to be traced and stops itself; it
   is stepped from there until
   it stops itself again. Its parent, which has to be its tracer, shares a processor with it: to
   hand over from one to another costs several times as much.

   A step takes 2 us, in some virtual machines 20. So the first child through an operation is
   stepped all the way, and its path noted; the next ones run up to a breakpoint on the last
   instruction before their end that the path had not met earlier, and are stepped from there. For
   this all of them are loaded to the same addresses. */
#if defined __linux__ && (defined __x86_64__ || defined __i386__)

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "harness.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

static const char from_main[] = "KIN_CRASH_FROM_MAIN";

static pid_t pid_of(kin_process process)
{
    return (pid_t) kin_process_pid(process);
}

/* Waits until the child has stopped or is dead; the signal that stopped it, or 0. Takes nothing
   from the system: the library has yet to learn how the child ended. */
static int await_stop(pid_t pid)
{
    siginfo_t information;
    int result;
    do {
        result = waitid(P_PID, (id_t) pid, &information, WEXITED | WSTOPPED | WNOWAIT);
    } while (result != 0 && errno == EINTR);
    CRASH_REQUIRE(result == 0);
    bool stopped = information.si_code == CLD_TRAPPED || information.si_code == CLD_STOPPED;
    if (!stopped) {
        (void) fprintf(stderr, "the child %s %d\n",
                       information.si_code == CLD_EXITED ? "exited with" : "was killed by signal",
                       information.si_status);
    }
    return stopped ? information.si_status : 0;
}

bool step_possible(const char **why)
{
    *why = "this system does not let processes be traced";
    pid_t pid = fork();
    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0) {
            (void) raise(SIGSTOP);
        }
        _exit(0);
    }
    if (pid < 0) {
        return false;
    }
    bool possible = await_stop(pid) == SIGSTOP && ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) == 0 &&
                    await_stop(pid) == SIGTRAP;
    (void) kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
    return possible;
}

void step_begin(void)
{
    CRASH_REQUIRE(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
    (void) raise(SIGSTOP);
}

void step_end(void)
{
    (void) raise(SIGSTOP);
}

void step_from_main(bool on)
{
    int failed = on ? setenv(from_main, "1", 1) : unsetenv(from_main);
    CRASH_REQUIRE(failed == 0);
}

bool step_is_from_main(void)
{
    return getenv(from_main) != NULL;
}

bool step_await(kin_process process)
{
    pid_t pid = pid_of(process);
    int number = await_stop(pid);
    while (number != SIGSTOP && number != 0) {
        /* A traced process stops at each signal that it gets, at the end of a child of its own. */
        if (ptrace(PTRACE_CONT, pid, NULL, (void *) (intptr_t) number) != 0) {
            return false;
        }
        number = await_stop(pid);
    }
    return number == SIGSTOP &&
           ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *) (intptr_t) PTRACE_O_EXITKILL) == 0;
}

#ifdef __x86_64__
#define COUNTER offsetof(struct user, regs.rip)
#else
#define COUNTER offsetof(struct user, regs.eip)
#endif

/* The address of the instruction that is next. */
static uintptr_t counter(pid_t pid)
{
    return (uintptr_t) ptrace(PTRACE_PEEKUSER, pid, (void *) COUNTER, NULL);
}

static void note(step_path *path, uintptr_t address)
{
    if (path->count == path->room) {
        path->room = path->room != 0 ? 2 * path->room : 1024;
        path->addresses = realloc(path->addresses, path->room * sizeof *path->addresses);
        CRASH_REQUIRE(path->addresses != NULL);
        if (path->addresses == NULL) {
            return; /* not reached: the requirement ends the test */
        }
    }
    path->addresses[path->count++] = address;
}

static step_result step_one(pid_t pid, int *pass_on)
{
    if (ptrace(PTRACE_SINGLESTEP, pid, NULL, (void *) (intptr_t) *pass_on) != 0) {
        return STEP_ENDED;
    }
    int number = await_stop(pid);
    *pass_on = number == SIGTRAP ? 0 : number;
    return number == 0 ? STEP_ENDED : number == SIGSTOP ? STEP_FINISHED : STEP_DONE;
}

/* Marks the instructions that the path meets for the first time. */
static void mark_first(step_path *path)
{
    size_t size = 4096;
    while (size < 4 * path->count) {
        size *= 2;
    }
    uintptr_t *met = calloc(size, sizeof *met);
    path->is_first = calloc(path->count, sizeof *path->is_first);
    CRASH_REQUIRE(met != NULL && path->is_first != NULL);
    if (met == NULL || path->is_first == NULL) {
        free(met);
        return; /* not reached: the requirement ends the test */
    }
    for (size_t i = 0; i < path->count; i++) {
        uintptr_t address = path->addresses[i];
        size_t at = address * 2654435761u % size;
        while (met[at] != 0 && met[at] != address) {
            at = (at + 1) % size;
        }
        path->is_first[i] = met[at] == 0;
        met[at] = address;
    }
    free(met);
}

/* Goes on until the next trap. */
static step_result run_to_trap(pid_t pid)
{
    int number = 0;
    do {
        int pass_on = number;
        CRASH_REQUIRE(ptrace(PTRACE_CONT, pid, NULL, (void *) (intptr_t) pass_on) == 0);
        number = await_stop(pid);
        if (number == 0 || number == SIGSTOP) {
            return number == 0 ? STEP_ENDED : STEP_FINISHED;
        }
    } while (number != SIGTRAP);
    return STEP_DONE;
}

/* By an instruction that is written there: any thread of the child may meet it. */
static step_result run_to_trap_at(pid_t pid, uintptr_t address)
{
    void *at = (void *) address;
    errno = 0;
    long code = ptrace(PTRACE_PEEKTEXT, pid, at, NULL);
    CRASH_REQUIRE(errno == 0);
    CRASH_REQUIRE(ptrace(PTRACE_POKETEXT, pid, at, (void *) ((code & ~0xffL) | 0xcc)) == 0);
    step_result result = run_to_trap(pid);
    if (result == STEP_DONE) {
        CRASH_REQUIRE(counter(pid) == address + 1);
        CRASH_REQUIRE(ptrace(PTRACE_POKETEXT, pid, at, (void *) code) == 0);
        CRASH_REQUIRE(ptrace(PTRACE_POKEUSER, pid, (void *) COUNTER, at) == 0);
    }
    return result;
}

static bool set_debug_register(pid_t pid, size_t number, uintptr_t value)
{
    size_t at = offsetof(struct user, u_debugreg) + number * sizeof(long);
    return ptrace(PTRACE_POKEUSER, pid, (void *) at, (void *) value) == 0;
}

/* Runs until the child is about to execute what lies at the address. A register of the processor
   stops the one thread, if such can be had. */
static step_result run_to(pid_t pid, uintptr_t address)
{
    enum { ADDRESS = 0, CONTROL = 7, ON = 1 };
    if (!set_debug_register(pid, ADDRESS, address) || !set_debug_register(pid, CONTROL, ON)) {
        return run_to_trap_at(pid, address);
    }
    step_result result = run_to_trap(pid);
    if (result == STEP_DONE) {
        CRASH_REQUIRE(counter(pid) == address);
        CRASH_REQUIRE(set_debug_register(pid, CONTROL, 0));
    }
    return result;
}

step_result step_learn(kin_process process, step_path *path)
{
    pid_t pid = pid_of(process);
    int pass_on = 0;
    step_result result;
    do {
        note(path, counter(pid));
        result = step_one(pid, &pass_on);
    } while (result == STEP_DONE);
    mark_first(path);
    return result;
}

step_result step_on(kin_process process, const step_path *path, uint64_t steps)
{
    pid_t pid = pid_of(process);
    uint64_t done = 0;
    step_result result = STEP_DONE;
    if (path != NULL && path->count > 0 && counter(pid) == path->addresses[0]) {
        done = steps < path->count ? steps : path->count - 1;
        while (!path->is_first[done]) {
            done--;
        }
        result = done > 0 ? run_to(pid, path->addresses[done]) : STEP_DONE;
    }
    int pass_on = 0;
    for (; result == STEP_DONE && done < steps; done++) {
        result = step_one(pid, &pass_on);
    }
    return result;
}

void step_forget(step_path *path)
{
    free(path->addresses);
    free(path->is_first);
    memset(path, 0, sizeof *path);
}

void step_kill(kin_process process)
{
    pid_t pid = pid_of(process);
    CRASH_REQUIRE(kill(pid, SIGKILL) == 0);
    siginfo_t information;
    while (waitid(P_PID, (id_t) pid, &information, WEXITED | WNOWAIT) != 0 && errno != ECHILD) {
        CRASH_REQUIRE(errno == EINTR); /* ECHILD: the library was faster */
    }
}

void step_prepare(bool on)
{
    static cpu_set_t before;
    if (on) {
        cpu_set_t one;
        platform_sleep_ns(CRASH_SECOND / 1000); /* who wakes is given a processor that is idle */
        CPU_ZERO(&one);
        CPU_SET((size_t) sched_getcpu(), &one);
        CRASH_REQUIRE(sched_getaffinity(0, sizeof before, &before) == 0);
        CRASH_REQUIRE(sched_setaffinity(0, sizeof one, &one) == 0);
    } else {
        CRASH_REQUIRE(sched_setaffinity(0, sizeof before, &before) == 0);
    }
    /* Refused in some containers: then every child is stepped all the way. */
    (void) personality(on ? PER_LINUX | ADDR_NO_RANDOMIZE : PER_LINUX);
}

void step_adopt_orphans(void)
{
    (void) prctl(PR_SET_CHILD_SUBREAPER, 1UL, 0UL, 0UL, 0UL); /* without it they are left to init */
}

void step_bury_orphans(void)
{
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
}

#else

#include "harness.h"

bool step_possible(const char **why)
{
    *why = "this system or processor has no single steps that can be relied on";
    return false;
}

void step_begin(void)
{
}

void step_end(void)
{
}

void step_from_main(bool on)
{
    (void) on;
}

bool step_is_from_main(void)
{
    return false;
}

bool step_await(kin_process process)
{
    (void) process;
    return false;
}

step_result step_learn(kin_process process, step_path *path)
{
    (void) process, (void) path;
    return STEP_ENDED;
}

step_result step_on(kin_process process, const step_path *path, uint64_t steps)
{
    (void) process, (void) path, (void) steps;
    return STEP_ENDED;
}

void step_forget(step_path *path)
{
    (void) path;
}

void step_kill(kin_process process)
{
    (void) process;
}

void step_prepare(bool on)
{
    (void) on;
}

void step_adopt_orphans(void)
{
}

void step_bury_orphans(void)
{
}

#endif
