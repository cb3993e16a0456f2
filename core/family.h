/* The family: its members and their threads.

   A member is named by a reference, (life << 32 | slot): the slot is its entry in the member table,
   and life counts how often that has been used, so that a reference to one that is gone never means
   its successor. 0 is none. Slot 0
   is no member: that entry holds what the family has in common. */
#ifndef KIN_CORE_FAMILY_H
#define KIN_CORE_FAMILY_H

#include "core/arena.h"

/* A slot goes FREE -> STARTING -> ALIVE -> DEAD -> FREE. Changes are made with the family's lock
   held. */
enum member_state { MEMBER_FREE, MEMBER_STARTING, MEMBER_ALIVE, MEMBER_DEAD };

typedef struct member {
    _Alignas(64) _Atomic uint64_t state; /* life << 32 | enum member_state */
    uint64_t token;                      /* what the one that starts must know; STARTING */
    uint64_t starter;                    /* the member that reserved it; STARTING */
    platform_identity identity;          /* written before ALIVE */
    _Atomic uint64_t process;            /* handle of its process object */
    _Atomic uint64_t recoverer;          /* the member that clears up behind it; DEAD */
} member;

/* Entry 0 of the member table. */
typedef struct family_shared {
    _Alignas(64) _Atomic uint32_t generation; /* of the next object, see object.h */
    _Atomic uint32_t names;                   /* processes named so far */
    _Atomic uint32_t start_method;            /* the default one; 0: spawn */
    _Atomic uint64_t forkserver; /* the process object of the family's server, see forkserver.h */
    _Atomic uint32_t detect_deadlocks; /* see deadlock.h */
    _Atomic uint32_t free_sync;        /* where to look for a free entry, see sync.c */
    uint32_t free_member;              /* where to look for a free slot; under the lock */
    uint32_t free_thread;
} family_shared;

/* Bytes of an entry of the table of syncs, see sync.h. */
enum { SYNC_SIZE = 128 };

/* As deep as calls may nest: a task that maps, the callback of that map that maps, ... The last few
   are for recovery, which may begin in any of them. */
enum { HAZARDS = 16, HAZARDS_FOR_RECOVERY = 5 };

/* Read locks that a thread may hold at one time. */
enum { READS = 16 };

/* Those who wait for something that has a line, see wait.h. */
typedef struct wait_line {
    _Atomic uint32_t sequence; /* moves on when somebody is woken */
    _Atomic uint32_t flags;    /* whether anybody may be there */
} wait_line;

/* Of a thread's phase: what of it the wait at hand is in; above it is the count of its waits. */
enum { PHASE_MASK = 3 };

/* A thread of a member that uses kin. */
typedef struct thread_record {
    _Alignas(64) _Atomic uint64_t owner; /* its member; 0: free. Set under the lock */
    _Atomic uint64_t hazards[HAZARDS];   /* objects that it is using, see object.h */
    _Atomic uint64_t waits_on; /* offset of the word that it sleeps on, without word waits */
    _Atomic int64_t waits_since;
    platform_parker_shared parker;
    _Atomic uint32_t life; /* how often the record has been used: with its number a token */

    /* What it waits for, for those who are to wake it or want to know: the id of a sync or a
       process, 0 for nothing; the rest says that kind. */
    _Atomic uint32_t phase;
    _Atomic uint64_t waits_for;
    _Atomic uint64_t ticket;
    _Atomic uint64_t condition; /* the one that it waits for, until it has its lock again */
    _Atomic uint64_t barrier;   /* the one that it is a party to, also while it runs the action */
    _Atomic uint64_t cycle;     /* in which */

    /* About that wait, where wait_begin has begun it; else 0. */
    _Atomic uint64_t waits;      /* moves on whenever waits_for changes */
    _Atomic int64_t waits_from;  /* moments */
    _Atomic int64_t waits_until; /* INT64_MAX: for ever */
    _Atomic uint32_t waits_can_end;

    _Atomic uint32_t is_main; /* it is the first of its process to use kin: its end is the latter's
                               */

    _Atomic uint64_t reads[READS]; /* ids of what it has locked to read, see rwlock.c */
    _Atomic uint64_t watches;      /* while it waits for many: a mask of them, see wait.h */
    wait_line bell;                /* and where it sleeps then */

    /* Of each 64th: which of the 64 from this one on are in use. Says so of one before it can be
       found to do anything, and no more when it shows nothing any more. */
    _Atomic uint64_t used;
} thread_record;

/* A token names a thread among all that there have been: life (24 bits), number (20), and 20 bits
   below for others. 0 is none. */
enum { TOKEN_SHIFT = 20, TOKEN_LIFE_SHIFT = 40, TOKEN_NUMBERS = 1 << 20, TOKEN_LIVES = 1 << 24 };

/* This process's view of one of its own threads. */
typedef struct thread_self {
    thread_record *record;
    uint64_t token;
    uint32_t number;
    unsigned depth;      /* hazards in use */
    unsigned recoveries; /* under way in this thread */
    unsigned held;       /* locks that it holds */
    uint32_t owes;       /* number of a thread to wake when it gives a lock back, see latch.h */
    bool has_parker;
    platform_parker parker;
} thread_self;

/* The calling thread, and the family for which that was made; see thread_known. */
extern _Thread_local PLATFORM_FAST_TLS thread_self thread_own;
extern _Thread_local PLATFORM_FAST_TLS uint64_t thread_family;
extern _Atomic uint64_t family_now; /* what family_number gives */

/* Makes a family with this process as its first member; or joins the one behind `object`. */
int family_found(const kin_options *options);
int family_join(intptr_t object, uint64_t size, uint64_t reference, uint64_t token);

/* Ends this process's membership as far as this layer goes; what it held is given back by
   death_recover before. */
void family_forget(bool unmap);

/* Which family of this process's life it is in: 1, 2, ...; 0 for none. Members of two of them may
   have equal references. */
uint64_t family_number(void);

/* In a copy that fork has made of this process: becomes the member that is named. */
int family_enter_copy(uint64_t reference, uint64_t token);

/* In such a copy, before anything else: it is no member yet. Safe in a signal handler. */
void family_reset_copy(void);

/* The member of which this process is a copy that has not become a member yet; 0 if it is none. */
uint64_t family_original(void);

/* What makes such a copy a member, at its first use of kin. */
void family_set_rejoin(int (*rejoin)(void));

/* True between kin_init and the end of membership. */
bool family_is_member(void);

/* The same, and in a copy after it has become a member, now if need be. */
bool family_is_joined(void);

family_shared *family_common(void);

static inline uint32_t member_slot(uint64_t reference)
{
    return (uint32_t) reference;
}

/* This process; and the first of the family. */
uint64_t member_self(void);
uint64_t family_first(void);

/* The entry behind a reference; NULL if that member is gone or there never was one. */
member *member_at(uint64_t reference);
enum member_state member_state_of(uint64_t reference);

/* Reserves a slot for a process that is about to start. KIN_E_PROCESS_LIMIT, KIN_E_NOMEM. */
int member_reserve(uint64_t *reference, uint64_t *token);

/* Frees a slot that is still STARTING. False if the process has entered it meanwhile. */
bool member_cancel(uint64_t reference);

/* What is done after that: there may be things that belong to the member. */
void member_set_cancelled(void (*cancelled)(void));

/* Frees the slot of a dead member, when all that it held has been given back. */
int member_release(uint64_t reference);

/* Calls visit for each slot in use with its reference and state. */
void member_each(void (*visit)(uint64_t reference, enum member_state state, void *context),
                 void *context);

/* The calling thread; NULL, with *status set, if no record can be had for it. */
thread_self *thread_current(int *status);

/* The calling thread if it has a record, else NULL. Costs a nanosecond. */
static inline thread_self *thread_known(void)
{
    return thread_family != 0 &&
                   thread_family == atomic_load_explicit(&family_now, memory_order_relaxed)
               ? &thread_own
               : NULL;
}

/* The number of the next record after that one which may be in use, after 0 the first; 0: there is
   none. Misses none that is in use all the time. */
uint32_t thread_next(uint32_t number);

/* The calling thread's record is given back, as at its end. */
void thread_leave(void);

/* False if the thread of a token has ended; else its member, as far as the family knows. */
bool thread_is_there(uint64_t token, uint64_t *owner);

/* Called at the end of a thread that held locks, when it has no record any more. */
void thread_set_end(void (*ended)(void));

/* Called with the record of each thread of a dead member, before it is freed; may be repeated. */
void thread_set_death(void (*died)(thread_record *record));

/* Ends what the calling thread has open for its family. */
void thread_forget(void);

/* What names the thread that has the record now; and the number of its record. */
uint64_t thread_token(uint32_t number);

static inline uint32_t token_number(uint64_t token)
{
    return (uint32_t) (token >> TOKEN_SHIFT) % TOKEN_NUMBERS;
}

/* True if the thread has locked a sync of that id to read. */
static inline bool thread_reads(thread_record *record, uint64_t id)
{
    for (int i = 0; i < READS; i++) {
        if (atomic_load(&record->reads[i]) == id) {
            return true;
        }
    }
    return false;
}

/* A record by its number; NULL beyond the last. */
thread_record *thread_at(uint32_t number);

/* In a copy that fork has made: its thread is new. Safe in a signal handler. */
void thread_reset_copy(void);

/* Frees the records of a dead member's threads. */
void thread_release_all(uint64_t owner);

#endif
