/* The kill tests of queues. An operation is what a child does with a queue that has some items, and
   who else is at it. The child is killed after each instruction of it, and at random moments. Then
   the survivor makes up the books from what everybody has noted in the stage:

   - each item that was committed is there once, whole and in order, but for those that the dead one
   had or may just have taken, which are the next ones; with `redeliver` those are there too, first
   and marked as delivered, but for those that were done;
   - of what the dead one was putting there is the beginning: nothing that it had not begun,
   everything that it had finished;
   - the queue goes on, can be joined if it is joinable, and leaves nothing. */
#ifndef KIN_TESTS_CRASH_HARNESS_QUEUE_H
#define KIN_TESTS_CRASH_HARNESS_QUEUE_H

#include "harness.h"

/* Who puts items: the survivor, the child that dies, and two others. */
enum queue_producer { BY_SURVIVOR, BY_CHILD, BY_FIRST, BY_SECOND, QUEUE_PRODUCERS };

enum { QUEUE_OTHERS = 2, QUEUE_ITEMS = 400, QUEUE_LARGEST = 10000 };

/* An item that somebody has got. */
typedef struct queue_entry {
    uint32_t producer;
    uint32_t number;
    uint32_t deliveries;
} queue_entry;

typedef struct queue_stage {
    kin_queue queue;
    kin_queue other;
    uint64_t made; /* a queue that the child makes */
    _Atomic uint32_t go;
    _Atomic uint32_t begun;                /* the child has, if it is not stepped; and may go on */
    _Atomic uint32_t put[QUEUE_PRODUCERS]; /* items that are committed for certain */
    _Atomic uint32_t got;                  /* that the child has got for certain */
    _Atomic uint32_t finished;             /* of these, that are done */
    _Atomic uint32_t closed;               /* the child has closed it */
    _Atomic uint32_t stop;
    _Atomic uint32_t taken; /* entries of the list */
    wait_signal moved;      /* raised at each */
    queue_entry list[QUEUE_ITEMS];
} queue_stage;

typedef void queue_part(queue_stage *s);

typedef struct queue_operation {
    const char *name;
    kin_queue_options options;
    uint32_t prior;      /* so many items are there before */
    uint32_t size;       /* of each item; 0: small and large ones in turn */
    queue_part *prepare; /* in the child */
    queue_part *operate; /* here it dies */
    kin_process_function others[QUEUE_OTHERS];
    uint32_t sleep;    /* so many of the others sleep before it begins */
    queue_part *see;   /* in the survivor, so that the others end or go on */
    queue_part *after; /* when they have ended */
    uint32_t most_put; /* what one call does at most, and what may so be in doubt */
    uint32_t most_got;
    uint32_t most_finished;
    bool letters; /* the other queue has the dead letters of this one */
    bool moves;   /* what the child had got before may be in the other queue */
    bool victim;  /* somebody else has taken two items, and died unnoticed */
    bool ends;    /* the queue may be destroyed */
} queue_operation;

/* The whole of main. */
int queue_crash_main(int argc, char **argv, const queue_operation *table, size_t count,
                     unsigned random_deaths);

/* ---- for children and others; they note what they do ---- */

queue_stage *queue_stage_of(const void *argument, size_t size, uint32_t *number);

/* The number'th item of a producer: how large it is, and what its priority is. */
size_t queue_item_size(uint32_t number);
int64_t queue_item_priority(enum queue_producer producer, uint32_t number);

/* Makes the next item of that producer; its size. */
size_t queue_next_item(queue_stage *s, enum queue_producer producer, void *data);
void queue_note_put(queue_stage *s, enum queue_producer producer);
void queue_put_next(queue_stage *s, enum queue_producer producer);

/* In others and the survivor: notes an item that was got. */
void queue_note_taken(queue_stage *s, const void *data, size_t size, uint32_t deliveries);
void queue_take_next(queue_stage *s, kin_queue queue);
void queue_await_taken(queue_stage *s, uint32_t count);

/* Long enough for one that is stepped, and slow, to fall asleep where others are long asleep. */
void queue_let_it_sleep(void);

#endif
