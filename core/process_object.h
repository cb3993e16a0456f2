/* Process objects, and the children among them that this process started itself.

   A process object is what handles mean: it is made by the one that starts the process, says how it
   ended, and stays until it is closed (or, when nobody is left who could close it, until the
   process has ended). Its launch, a part of it, holds the function and the argument. The member
   slot is reserved with it, and entered by the child. */
#ifndef KIN_CORE_PROCESS_OBJECT_H
#define KIN_CORE_PROCESS_OBJECT_H

#include "core/death.h"
#include "core/function.h"
#include "core/process.h"
#include "core/wait.h"

enum process_state { PROCESS_STARTING, PROCESS_RUNNING, PROCESS_ENDED };

enum { PROCESS_NAME_SIZE = 256, PROCESS_GROUPS = 4 };

/* With these a child says that it could not even join. */
enum { EXIT_NOMEM = 125, EXIT_VERSION = 126, EXIT_ATTACH = 127 };

typedef struct process_object {
    object object;
    uint64_t member;                 /* the slot reserved for it */
    uint64_t parent;                 /* the member that started it; 0 for the first of a family */
    uint64_t parent_process;         /* its process object */
    uint64_t launch;                 /* its launch */
    uint64_t groups[PROCESS_GROUPS]; /* those that it is in, the innermost first; 0: no more */
    uint32_t leads;                  /* what it starts goes by its number, see platform_leader */
    _Atomic uint64_t pid;
    _Atomic uint64_t stamp; /* with pid an identity, before it has joined; 0: not known */
    _Atomic uint32_t state;
    _Atomic int32_t exit_code; /* good if code_known, which is set after it */
    _Atomic uint32_t code_known;
    _Atomic int32_t error;    /* why its function did not run */
    _Atomic uint32_t refused; /* a copy could not have what it was to start with: error says why */
    uint32_t daemon;
    uint32_t guest;            /* a program that runs its own main, and need not join */
    uint32_t method;           /* how it was started, an enum kin_start_method */
    _Atomic uint32_t expected; /* its end: somebody has asked for it, or it has begun */
    _Atomic uint32_t told;     /* the parent has logged its end */
    wait_signal changed;       /* raised when state changes */
    char name[PROCESS_NAME_SIZE];
    char message[PROCESS_NAME_SIZE]; /* what it said with kin_set_error */
} process_object;

typedef struct launch {
    object object;
    function_reference function; /* for a process that is spawned */
    uint64_t address;            /* for a copy, in which all is where it was */
    uint64_t setting; /* for the forkserver's copy: where, behind the argument; 0: none */
    uint64_t setting_size;
    uint64_t size;
    _Alignas(64) unsigned char argument[];
} launch;

/* A child of this process. */
typedef struct child {
    struct child *next;
    struct child *next_found; /* in its bucket */
    struct child *next_early; /* see early.c */
    uint64_t id;
    uint64_t member; /* the slot reserved for it */
    platform_process process;
    intptr_t streams[PLATFORM_STREAMS]; /* this process's ends of pipes; PLATFORM_NONE */
    bool stream_used[PLATFORM_STREAMS]; /* a thread reads or writes */
    bool stream_closing[PLATFORM_STREAMS];
    uint32_t users; /* threads that wait for it, and the list */
    bool daemon;
    uint64_t groups[PROCESS_GROUPS]; /* those that it is in */
    bool aside;                      /* not the user's: neither joined at the end nor told of */
    bool reaped;
    _Atomic bool noted; /* whoever reaped it has said in its object how it ended */
} child;

static inline process_object *process_of(const object_guard *guard)
{
    return (process_object *) guard->object;
}

/* children.c: the list of this process's children. What child_find gives is to be dropped. */
child *child_find(uint64_t id);
void child_drop(child *c);
void child_add(child *c);

/* A child that is not known yet; NULL without memory. */
child *child_new(void);

/* Notes what the process object says of it, once it has been started. */
void child_describe(child *c, uint64_t id, const process_object *p);

/* Gives it the ends of pipes; they are not in `streams` any more. */
void child_take_streams(child *c, intptr_t *streams);

/* This process's end of a pipe, for as long as it is used; KIN_E_STATE if there is none, KIN_E_BUSY
   while another thread has it. */
int child_use_stream(child *c, int number, intptr_t *stream);
void child_leave_stream(child *c, int number);

/* Closes it when nobody uses it any more. */
int child_close_stream(child *c, int number);
void child_close_streams(child *c);

/* Takes the child off the list; the last user frees it. */
void child_remove(uint64_t id);

/* The children that lead what they started, of a group, in memory to be freed. */
int child_leaders(uint64_t group, platform_leader **leaders, size_t *count);

/* Reaps and forgets those whose handles other members have closed. */
void child_sweep(void);

/* The ids of all children that are not set aside, oldest first, in memory to be freed; NULL with
   *count 0 if there are none or no memory. */
uint64_t *child_list(size_t *count);

/* Reaps the child, once. *first: this call did; then the result says whether *code is known. It is
   noted in `p`, if there is still one, before another thread can see that the child has been
   reaped. */
bool child_reap(child *c, process_object *p, bool *first, int *code);

/* Ends the child unless it has been reaped. */
int child_kill(child *c, bool ask);

void child_forget_all(void);

/* In a copy that fork has made: those are the original's. Safe in a signal handler. */
void child_reset_copy(void);

/* early.c: children that nobody else can see ending before they have joined. Before one is started:
   KIN_E_NOMEM, KIN_E_THREAD_LIMIT. After that, once: the id of the child, 0 if there is none. */
int early_prepare(void);
void early_watch(uint64_t id);

/* It is nobody's any more. */
void early_unwatch(child *c);

/* In a copy that fork has made. Safe in a signal handler. */
void early_reset_copy(void);

/* start.c: what kin_process_start does, for kin itself: any process may start any. */
int process_start(kin_process *process, kin_process_function function, const void *argument,
                  size_t size, const kin_process_options *options);

/* The same for one that belongs to the family: it is in no group. */
int process_start_apart(kin_process *process, kin_process_function function, const void *argument,
                        size_t size, const kin_process_options *options);

/* birth.c: the life of a child that has just become a member. Returns in a guest alone. */
void birth_live(void);

/* In a copy that kin has made: becomes the member, has what it is started with by enter(context),
   and lives. */
_Noreturn void birth_live_copy(uint64_t reference, uint64_t token, int (*enter)(void *context),
                               void *context);

/* Of a copy: 1 if it has what it is started with, or has ended without telling; 0 if it is not so
   far; or why it cannot start. */
int process_has_begun(const process_object *p);

/* process.c */

/* Waits for its end, whatever it was. Errors as of kin_process_join, but not those that tell why
   its function did not run. */
int process_await(kin_process process, int64_t deadline);

/* Ends a member of a group; one that is still on its way is not waited for if it is to be killed:
   that the group is closed is enough. */
int process_end_in_group(uint64_t id, bool ask);

void process_store_code(process_object *p, int code);

/* Notes with which exit code this process is going to end. */
void process_note_code(int code);

/* Looks once more at a process that is not known to have ended; true if it has. */
bool process_look(uint64_t id, process_object *p);

/* process_wait.c: opens one that this process did not start. KIN_E_ENDED if it is gone, though the
   family may not know it yet; KIN_E_STATE if it is on its way and nothing names it. */
int process_open_other(process_object *p, platform_process *process);

/* What kin_process_wait_any and kin_process_wait_all do when their arguments are good. */
int process_wait_any(const kin_process *processes, size_t count, size_t *index, int64_t deadline);
int process_wait_all(const kin_process *processes, size_t count, int64_t deadline);

/* By which it can be named before it has joined; false if its starter has not noted that. */
bool process_early_identity(const process_object *p, platform_identity *identity);

/* Reaps the children that have ended, and takes them off the list. */
void process_look_at_children(void);

/* Destroys a process object and its launch. */
void process_destroy(uint64_t id, uint64_t part);

#endif
