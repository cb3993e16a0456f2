/* What the tests of queues share: items that say whose they are and whether they are whole, and how
   to wait for those who sleep at a queue. */
#ifndef KIN_TESTS_SUPPORT_QUEUE_H
#define KIN_TESTS_SUPPORT_QUEUE_H

#include <kin/kin.h>

/* How an item begins that is large enough; each byte after it follows from these. */
typedef struct item_mark {
    uint32_t producer;
    uint32_t size;
    uint64_t number;
} item_mark;

enum { ITEM_LEAST = sizeof(item_mark) };

/* size: at least ITEM_LEAST. */
void item_fill(void *data, size_t size, uint32_t producer, uint64_t number);

/* False if it is not what item_fill made, of just that size. */
bool item_is_whole(const void *data, size_t size, item_mark *mark);

/* The same for one that is known. */
bool item_is(const void *data, size_t size, uint32_t producer, uint64_t number);

/* How many threads of the family sleep at queues, or are about to. */
uint32_t queue_sleepers(void);

/* Until it is so many. False if it takes too long. */
bool await_queue_sleepers(uint32_t count);

#endif
