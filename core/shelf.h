/* Shelves: where the items of a queue lie that has another order, or whose items have to be done.

   All are messages, in one list by priority and order of arrival; links[0] of each names the next
   one, and one store to such a link puts a message on the shelf or takes it off. The other links
   skip some: they, the counts and `first` follow from the list and are made anew when the latch's
   owner has died. The order of one that comes back is what it was, so it comes before those that
   came after it.

   Where items have to be done, one that is taken stays on the shelf and only its state says so.
   Everything here is done with the latch of those who put. */
#ifndef KIN_CORE_SHELF_H
#define KIN_CORE_SHELF_H

#include "core/queue.h"

typedef struct shelf {
    object object;
    _Atomic uint64_t heads[MESSAGE_LEVELS];
    _Atomic uint64_t waiting; /* messages that wait; also looked at without the latch, as a hint */
    uint64_t taken;           /* that are taken and not done */
    uint64_t bytes;           /* of those that wait */
    uint64_t first;           /* none that waits lies before this one; 0: not known */
    uint64_t sequence;        /* numbers those that come, and those that are taken */
} shelf;

/* A shelf for a queue that is being made: the part of its KIN_QUEUE_PUT. */
int shelf_create(sync *p);

/* Of a queue that is there. */
shelf *shelf_of(queue_user *u);

/* Puts a message there: at its end, or where it was (`back`: home_priority and home_order). */
void shelf_put(queue_user *u, message *m, int64_t priority, bool back);

/* The next message that waits, or NULL. It stays. */
message *shelf_front(queue_user *u);

/* Takes one that waits, for this member: off the shelf, unless it has to be done. */
void shelf_take(queue_user *u, message *m);

/* One that is taken waits again; or is done, and then off the shelf. */
void shelf_give_back(queue_user *u, message *m);
void shelf_remove(queue_user *u, message *m, enum message_state state);

/* True if it lies there. */
bool shelf_holds(queue_user *u, const message *m);

/* What this member has got as a copy and has had longest, or NULL. */
message *shelf_oldest_copied(queue_user *u);

/* Members that have taken something from it, at most `most`, each once, without those who have the
   first `skip` messages that are taken; how many. */
size_t shelf_holders(queue_user *u, uint64_t *holders, size_t most, size_t skip);

void shelf_repair(queue_user *u);

/* Takes everything off the shelf of a queue that is not there any more, and frees it; messages that
   are taken stay with those who have them. May be repeated. */
void shelf_clear(queue_user *u);

/* Makes sure that a message is on no shelf of a queue that is not there any more. */
void shelf_leave(message *m);

#endif
