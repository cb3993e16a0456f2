#include "support_queue.h"

#include "core/wait.h"

#include "core/object.h"

#include <string.h>

enum { PATIENCE_MS = 60000 };

static uint64_t next_word(uint64_t *state)
{
    *state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = *state;
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    return z ^ z >> 27;
}

static uint64_t seed_of(const item_mark *mark)
{
    return mark->number * UINT64_C(1000003) + mark->producer * UINT64_C(7919) + mark->size;
}

void item_fill(void *data, size_t size, uint32_t producer, uint64_t number)
{
    item_mark mark = {.producer = producer, .size = (uint32_t) size, .number = number};
    unsigned char *bytes = data;
    uint64_t state = seed_of(&mark);
    memcpy(bytes, &mark, sizeof mark);
    for (size_t at = sizeof mark; at < size; at += sizeof(uint64_t)) {
        uint64_t word = next_word(&state);
        memcpy(bytes + at, &word, size - at < sizeof word ? size - at : sizeof word);
    }
}

bool item_is_whole(const void *data, size_t size, item_mark *mark)
{
    const unsigned char *bytes = data;
    if (size < sizeof *mark) {
        return false;
    }
    memcpy(mark, bytes, sizeof *mark);
    if (mark->size != (uint32_t) size) {
        return false;
    }
    uint64_t state = seed_of(mark);
    for (size_t at = sizeof *mark; at < size; at += sizeof(uint64_t)) {
        uint64_t word = next_word(&state);
        if (memcmp(bytes + at, &word, size - at < sizeof word ? size - at : sizeof word) != 0) {
            return false;
        }
    }
    return true;
}

bool item_is(const void *data, size_t size, uint32_t producer, uint64_t number)
{
    item_mark mark;
    return item_is_whole(data, size, &mark) && mark.producer == producer && mark.number == number;
}

uint32_t queue_sleepers(void)
{
    uint32_t count = 0;
    for (uint32_t number = 1; number < arena_entries(ARENA_THREADS); number++) {
        enum object_kind kind = object_kind_of(atomic_load(&thread_at(number)->waits_for));
        count += kind >= KIND_QUEUE && kind <= KIND_QUEUE_GET;
    }
    return count;
}

bool await_queue_sleepers(uint32_t count)
{
    int64_t deadline = wait_deadline(PATIENCE_MS);
    while (queue_sleepers() != count) {
        if (kin_clock_ns() > deadline) {
            return false;
        }
        (void) kin_sleep(1);
    }
    return true;
}
