/* Queues between threads and processes. Python: multiprocessing.Queue, SimpleQueue, JoinableQueue;
   queue.PriorityQueue, LifoQueue.

   Many may put, many may get. An item is a number of bytes, from none to gigabytes. Small ones lie
   in the queue itself, larger ones in blocks of their own that change hands without a copy. When a
   put returns the item is in shared memory: no thread carries it, and what was committed is never
   lost, whoever is killed. Items of one producer come out in the order in which they went in. What
   is neither empty nor full and nobody contends makes no system call.

   An ordinary queue forgets an item as soon as somebody has it: if that one is killed, the item is
   gone with it. One that is `joinable` or `redeliver` knows who has what until it is done. */
#ifndef KIN_QUEUE_H
#define KIN_QUEUE_H

#include <kin/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A queue. Zero is none. */
typedef struct kin_queue {
    uint64_t id;
} kin_queue;

/* Which item is next. */
enum kin_queue_order {
    KIN_QUEUE_FIFO = 0,    /* the one that has been there longest */
    KIN_QUEUE_LIFO = 1,    /* the one that came last */
    KIN_QUEUE_PRIORITY = 2 /* the one with the lowest priority; of these, the first that came */
};

/* The most bytes of an item that lie in the queue itself, see kin_queue_options.item_size. */
#define KIN_QUEUE_ITEM_LIMIT 4096u

/* How a queue is made. Zero means the default: first in first out, without bounds, which is
   Python's SimpleQueue. */
typedef struct kin_queue_options {
    const char *name;        /* for those who look at it; at most 31 bytes; NULL: none */
    uint64_t capacity;       /* there are never more items than this; 0: as many as fit */
    uint64_t capacity_bytes; /* nor more bytes in all of them; 0: as many as fit */
    uint32_t item_size;      /* so large are most items: they are kept in the queue itself, each in
                                 so much memory; at most KIN_QUEUE_ITEM_LIMIT. Default 120 */
    uint32_t order;          /* an enum kin_queue_order */
    bool joinable;           /* who gets an item says when it is done: kin_queue_task_done */
    bool redeliver;          /* and if it dies before that, the item comes back; implies joinable */
    uint16_t reserved_flags;
    uint32_t max_deliveries; /* with redeliver: an item that has been delivered so often does not
                                 come back any more; 0: it always does */
    kin_queue dead_letters;  /* it goes to this queue then, whatever the bounds of that are; none:
                                 it is gone, as is one for a queue that is closed or destroyed */
    uint64_t reserved[6];
} kin_queue_options;

/* An item in shared memory: one that is to be filled, or one that has been taken. Its data are the
   caller's alone, aligned to 64 bytes, until it is committed, put or released. To be used in the
   process that has it. */
typedef struct kin_message {
    void *data;
    size_t size;         /* of a reserved one: may be made smaller before it is committed */
    int64_t priority;    /* of a reserved one: may be set before it is committed */
    uint32_t deliveries; /* how often it has been delivered, of a queue with `redeliver`; else 1 */
    uint32_t reserved_flags;
    uint64_t queue; /* the rest is the library's */
    uint64_t id;
    uint64_t reserved[2];
} kin_message;

/* One of several items: where its bytes are, and how many. */
typedef struct kin_buffer {
    void *data;
    size_t size;
} kin_buffer;

/* Makes a queue. It lasts until it is destroyed or the family ends. Errors: KIN_E_INVALID,
   KIN_E_INIT, KIN_E_NOMEM, KIN_E_LIMIT (too many queues, locks and the like), KIN_E_THREAD_LIMIT;
   KIN_E_HANDLE if dead_letters is not a queue. Does not block. Python: Queue(maxsize). */
KIN_API int kin_queue_create(kin_queue *queue, const kin_queue_options *options);

/* Puts a copy of `size` bytes (data may be NULL for 0) into the queue, waiting while that is full.
   0. Errors: KIN_E_TIMEOUT; KIN_E_CLOSED; KIN_E_LIMIT for an item larger than capacity_bytes;
   KIN_E_NOMEM if the arena is full, at once; KIN_E_INVALID, KIN_E_HANDLE, KIN_E_INIT,
   KIN_E_THREAD_LIMIT; KIN_E_DESTROYED if the queue is destroyed meanwhile. After an error nothing
   has been put. If the caller is killed the item is in the queue, whole, or not at all. Python:
   put, put_nowait. */
KIN_API int kin_queue_put(kin_queue queue, const void *data, size_t size, int timeout_ms);

/* The same with a priority, which only a queue with KIN_QUEUE_PRIORITY has: elsewhere it is
   KIN_E_INVALID if it is not 0. The lowest comes first. */
KIN_API int kin_queue_put_priority(kin_queue queue, const void *data, size_t size, int64_t priority,
                                   int timeout_ms);

/* Waits for an item, copies it to `buffer` and takes it off the queue. size: NULL, or how many
   bytes it has. 0. Errors: KIN_E_TIMEOUT; KIN_E_CLOSED if the queue is closed and empty;
   KIN_E_TOO_SMALL if the item has more than `capacity` bytes: *size says how many, and it stays
   where it is; KIN_E_INVALID, KIN_E_HANDLE, KIN_E_INIT, KIN_E_THREAD_LIMIT; KIN_E_DESTROYED if the
   queue is destroyed meanwhile. If the caller is killed the item is still there, or was the
   caller's. Python: get, get_nowait. */
KIN_API int kin_queue_get(kin_queue queue, void *buffer, size_t capacity, size_t *size,
                          int timeout_ms);

/* The same, but the item stays in the queue, for whoever gets it next. */
KIN_API int kin_queue_peek(kin_queue queue, void *buffer, size_t capacity, size_t *size,
                           int timeout_ms);

/* Puts `count` items, one after the other; others may put some in between. *done (NULL: nobody
   wants to know) says how many have been put: all if the result is 0, else those before the first
   that could not be. Errors as of kin_queue_put. */
KIN_API int kin_queue_put_many(kin_queue queue, const kin_buffer *items, size_t count, size_t *done,
                               int timeout_ms);

/* Waits for one item, then gets as many as are there, at most `count`. Each buffer's `size` says
   how many bytes it has room for, and afterwards how many the item has. *done says how many have
   been got: at least one if the result is 0. An item that is too large for its buffer ends it; if
   it is the first, that is KIN_E_TOO_SMALL. Errors as of kin_queue_get. If the caller is killed
   meanwhile, it may have taken the first of them and not the others. */
KIN_API int kin_queue_get_many(kin_queue queue, kin_buffer *items, size_t count, size_t *done,
                               int timeout_ms);

/* ---- without a copy ---- */

/* Waits until the queue has room and makes a message of `size` bytes, which are not initialized, to
   be filled in place. The room is not kept: kin_queue_commit always succeeds, so there may be more
   items than the capacity, but no more than one for each message that is reserved at one time.
   Errors as of kin_queue_put. If the caller is killed before it commits, the message is gone. */
KIN_API int kin_queue_reserve(kin_queue queue, kin_message *message, size_t size, int timeout_ms);

/* Puts a reserved message into its queue; it is not the caller's any more. Errors: KIN_E_CLOSED;
   KIN_E_HANDLE if the queue is gone; KIN_E_INVALID if it is no reserved message, or larger than it
   was; KIN_E_NOMEM. After an error the message is still the caller's: it can be put elsewhere, or
   released. */
KIN_API int kin_queue_commit(kin_message *message);

/* Waits for an item and takes it off the queue as it is. It may be kept as long as the caller
   likes. A message that is not released is gone when the process that has taken it ends, or comes
   back to a queue with `redeliver`. Errors as of kin_queue_get. */
KIN_API int kin_queue_take(kin_queue queue, kin_message *message, int timeout_ms);

/* Gives a message up: one that was taken is done with, as by kin_queue_task_done; one that was
   reserved will not be put. Errors: KIN_E_INVALID, KIN_E_HANDLE (released already), KIN_E_INIT. */
KIN_API int kin_queue_release(kin_message *message);

/* Gives a message that was taken from a queue with `redeliver` back to it: it comes next, or goes
   to the dead letters, as one whose consumer has died does. Errors: KIN_E_STATE if the queue does
   not redeliver, is gone, or has nothing to do with the message any more; those of
   kin_queue_release. */
KIN_API int kin_queue_return(kin_message *message);

/* Puts a message that was taken, or reserved for another queue, into this one, without a copy; in
   that from which it was taken it is done. Errors as of kin_queue_put; after one the message is
   still the caller's. If the caller is killed meanwhile, the message is in the new queue, or what
   that from which it was taken does with it. */
KIN_API int kin_queue_put_message(kin_queue queue, kin_message *message, int timeout_ms);

/* ---- items that have to be done ---- */

/* Says that one item which this process got from a joinable queue is done: the one that it has had
   longest. Not for messages that it has taken, which are done when they are released. Errors:
   KIN_E_STATE if this process has none, or the queue is not joinable; KIN_E_HANDLE, KIN_E_INIT,
   KIN_E_THREAD_LIMIT. Waits for others for microseconds at most. Python:
   JoinableQueue.task_done. */
KIN_API int kin_queue_task_done(kin_queue queue);

/* Waits until each item that has been put into a joinable queue is done. What a process had when it
   died is done, or comes back with `redeliver`. Errors: KIN_E_TIMEOUT; KIN_E_STATE if the queue is
   not joinable; KIN_E_HANDLE, KIN_E_INIT, KIN_E_DESTROYED, KIN_E_THREAD_LIMIT. Python:
   JoinableQueue.join. */
KIN_API int kin_queue_join(kin_queue queue, int timeout_ms);

/* ---- as a whole ---- */

/* How many items wait in the queue at this moment, exactly; or an error: KIN_E_HANDLE, KIN_E_INIT,
   KIN_E_THREAD_LIMIT. Waits for others for microseconds at most. Python: qsize, which not every
   system has. */
KIN_API int64_t kin_queue_size(kin_queue queue);

/* 1 if no item waits, else 0, or an error as above. Python: empty. */
KIN_API int kin_queue_is_empty(kin_queue queue);

/* 1 if there is no room for another item, of one byte; else 0, or an error as above. Python:
   full. */
KIN_API int kin_queue_is_full(kin_queue queue);

/* 1 if it is closed, else 0, or an error as above. Does not block. Python 3.13:
   queue.Queue.is_shutdown. */
KIN_API int kin_queue_is_closed(kin_queue queue);

/* From now on nothing can be put: KIN_E_CLOSED. What is there can be got, then that gives
   KIN_E_CLOSED too. Those who wait are told. Closing a closed one does nothing. Waits for
   others for microseconds at most. Errors: KIN_E_HANDLE, KIN_E_INIT, KIN_E_THREAD_LIMIT. Python
   3.13: queue.Queue.shutdown. */
KIN_API int kin_queue_close(kin_queue queue);

/* Undoes kin_queue_close: from now on items can be put again. Opening an open one does nothing.
   Errors as there. Python has none. */
KIN_API int kin_queue_reopen(kin_queue queue);

/* Ends a queue with all that is in it. Those who wait get KIN_E_DESTROYED, whoever uses it later
   KIN_E_HANDLE. Messages that have been taken stay with those who have them. Errors: KIN_E_HANDLE,
   KIN_E_INIT, KIN_E_THREAD_LIMIT. */
KIN_API int kin_queue_destroy(kin_queue queue);

#ifdef __cplusplus
}
#endif

#endif
