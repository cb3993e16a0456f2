/* Death: noticing that a member is gone, and giving back what it held. Whoever notices does it; if
   that one dies half-way, the next one who notices begins again: each step can be repeated. What is
   to be done for an object of some kind, only that kind knows; it registers a hook. */
#ifndef KIN_CORE_DEATH_H
#define KIN_CORE_DEATH_H

#include "core/object.h"

/* Puts right what a dead member has to do with an object. May be called again after having failed
   or been cut short. */
typedef int (*death_hook)(object *object, uint64_t id, uint64_t dead);

void death_register(enum object_kind kind, death_hook hook);

/* What is to be done beside the objects, once the dead one's threads have been given back. May be
   repeated. */
void death_register_extra(void (*recover)(uint64_t dead));

/* True if the member is gone; what it held has then been given back, or another member is about
   it. */
bool death_check(uint64_t reference);

/* The same for one who looks again and again during a wait: after the first time it costs one
   system call. Zero to begin with, and to be ended by death_watch_end. */
typedef struct death_watch {
    uint64_t reference; /* of whom it watches; 0: nobody */
    platform_process process;
} death_watch;
bool death_check_again(death_watch *watch, uint64_t reference);
void death_watch_end(death_watch *watch);

/* For one who does not wait, or looks often: is it time to look whether those are still there who
   keep others from an object? Not again and again, but each object has its turn,
   however many of them a thread tries. */
bool death_is_time_to_look(uint64_t id);

/* In a copy that fork has made: what others watch is not this process's. Safe in a signal
   handler. */
void death_reset_copy(void);

/* To be called when the member is known to have ended, or by a member that leaves. */
void death_recover(uint64_t reference);

/* Looks at all members; or at one, each time at the next, so that those whom nobody waits for are
   found in time. */
void death_sweep(void);
void death_look_around(void);

#endif
