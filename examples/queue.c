/* Two producers, three consumers, one bounded queue, an end mark for each consumer, and a hand-over
   without a copy. Prints: "received 2000 items, sum 1999000" and "a megabyte without a copy 1". */
#include "check.h"
#include <string.h>

enum { PRODUCERS = 2, CONSUMERS = 3, ITEMS = 1000, LAST = -1 };

typedef struct {
    kin_queue items;
    kin_queue totals;
    int first;
} work;

static int producer(void *argument, size_t size)
{
    (void) size;
    work *w = argument;
    for (int i = 0; i < ITEMS; i++) {
        int item = w->first + i;
        check(kin_queue_put(w->items, &item, sizeof item, KIN_FOREVER), "put");
    }
    return 0;
}

static int consumer(void *argument, size_t size)
{
    (void) size;
    work *w = argument;
    long total[2] = {0, 0};
    for (;;) {
        int item;
        check(kin_queue_get(w->items, &item, sizeof item, NULL, KIN_FOREVER), "get");
        if (item == LAST) {
            break;
        }
        total[0] += 1;
        total[1] += item;
    }
    return check(kin_queue_put(w->totals, total, sizeof total, KIN_FOREVER), "put");
}

static int megabyte(void *argument, size_t size)
{
    (void) size;
    kin_message message;
    check(kin_queue_reserve(*(kin_queue *) argument, &message, 1 << 20, KIN_FOREVER), "reserve");
    memset(message.data, 'k', message.size);
    check(kin_queue_commit(&message), "commit");
    return 0;
}

int main(int argc, char **argv)
{
    check(kin_init(&argc, &argv), "kin_init");
    work w = {.first = 0};
    kin_queue_options small = {.capacity = 16};
    check(kin_queue_create(&w.items, &small), "queue");
    check(kin_queue_create(&w.totals, NULL), "queue");

    kin_process producers[PRODUCERS], consumers[CONSUMERS], sender;
    for (int i = 0; i < CONSUMERS; i++) {
        check(kin_process_start(&consumers[i], consumer, &w, sizeof w, NULL), "start");
    }
    for (int i = 0; i < PRODUCERS; i++, w.first += ITEMS) {
        check(kin_process_start(&producers[i], producer, &w, sizeof w, NULL), "start");
    }
    for (int i = 0; i < PRODUCERS; i++) {
        check(kin_process_join(producers[i], KIN_FOREVER), "join");
    }
    for (int i = 0; i < CONSUMERS; i++) {
        int last = LAST;
        check(kin_queue_put(w.items, &last, sizeof last, KIN_FOREVER), "put");
    }
    long count = 0, sum = 0;
    for (int i = 0; i < CONSUMERS; i++) {
        long total[2];
        check(kin_queue_get(w.totals, total, sizeof total, NULL, KIN_FOREVER), "get");
        count += total[0];
        sum += total[1];
    }
    printf("received %ld items, sum %ld\n", count, sum);

    kin_message message;
    check(kin_process_start(&sender, megabyte, &w.totals, sizeof w.totals, NULL), "start");
    check(kin_queue_take(w.totals, &message, KIN_FOREVER), "take");
    const char *bytes = message.data;
    printf("a megabyte without a copy %d\n",
           message.size == 1 << 20 && bytes[0] == 'k' && bytes[message.size - 1] == 'k');
    check(kin_queue_release(&message), "release");
    return 0;
}
