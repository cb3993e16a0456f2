/* ctest: alone

   A storm over queues: producers and consumers of which one is killed every 10 ms and started anew.
   Everybody notes in shared memory what it is about to do and what it has done, and in the end the
   books balance: whatever was committed has been got, once; but for what a killed consumer was just
   getting, and nothing at all where items come back, of which those that come twice say so.
   KIN_STORM_SECONDS says how long; KIN_STORM_SEED repeats what was left to chance. */
#include "support.h"
#include "support_queue.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    PRODUCERS = 4,
    CONSUMERS = 4,
    PROCESSES = PRODUCERS + CONSUMERS,
    MOST = 1 << 19, /* items of a producer in a round */
    BATCH = 4,
    LARGEST = 60000,
    STUCK_MS = 20000
};

enum { NOT_SENT, TRIED, SENT };

typedef struct place {
    _Alignas(64) _Atomic uint64_t beats;
    _Atomic uint32_t next;  /* of a producer: the next number */
    _Atomic uint32_t doubt; /* of a consumer: so many it may have got and not noted */
} place;

typedef struct books {
    kin_queue queue;
    uint64_t seed;
    bool redelivers;
    bool in_order;
    _Atomic uint32_t stop; /* 1: the producers; 2: the consumers as well, when nothing is left */
    _Atomic uint32_t failures;
    _Atomic uint32_t line; /* of the first failure */
    _Atomic int32_t status;
    _Atomic uint64_t again; /* items that came once more */
    place places[PROCESSES];
    _Atomic unsigned char sent[PRODUCERS][MOST];
    _Atomic unsigned char got[PRODUCERS][MOST]; /* how often */
    _Atomic unsigned char done[PRODUCERS][MOST];
} books;

static books *common;

static void blame(int line, int status)
{
    uint32_t none = 0;
    if (atomic_compare_exchange_strong(&common->line, &none, (uint32_t) line)) {
        atomic_store(&common->status, status);
    }
    atomic_fetch_add(&common->failures, 1);
}

#define EXPECT(condition, status)      \
    do {                               \
        if (!(condition)) {            \
            blame(__LINE__, (status)); \
        }                              \
    } while (0)

static size_t any_size(uint64_t *seed)
{
    uint32_t form = next_random(seed) % 64;
    size_t most = form == 0 ? LARGEST : form < 8 ? 5000 : 200;
    return ITEM_LEAST + next_random(seed) % (most - ITEM_LEAST);
}

/* ---- producers ---- */

static void put_some(uint32_t me, uint32_t first, uint32_t count, uint64_t *seed)
{
    static unsigned char data[BATCH][LARGEST];
    kin_buffer items[BATCH];
    kin_message message;
    size_t done = 0;
    int status;
    for (uint32_t i = 0; i < count; i++) {
        items[i] = (kin_buffer){data[i], any_size(seed)};
        item_fill(data[i], items[i].size, me, first + i);
    }
    for (uint32_t i = 0; i < count; i++) {
        atomic_store(&common->sent[me][first + i], TRIED);
    }
    if (count > 1) {
        status = kin_queue_put_many(common->queue, items, count, &done, LONG_MS);
        EXPECT(status < 0 || done == count, (int) done);
    } else if (next_random(seed) % 3 == 0) {
        status = kin_queue_reserve(common->queue, &message, items[0].size, LONG_MS);
        if (status == 0) {
            memcpy(message.data, data[0], items[0].size);
            status = kin_queue_commit(&message);
        }
    } else {
        status = kin_queue_put(common->queue, data[0], items[0].size, LONG_MS);
    }
    EXPECT(status == 0, status);
    for (uint32_t i = 0; i < count; i++) {
        atomic_store(&common->sent[me][first + i], SENT);
    }
}

static int produce(uint32_t me, uint64_t seed)
{
    place *mine = &common->places[me];
    while (atomic_load(&common->stop) == 0) {
        uint32_t count = next_random(&seed) % 4 == 0 ? BATCH : 1;
        uint32_t first = atomic_fetch_add(&mine->next, count);
        if (first + count > MOST) {
            atomic_fetch_sub(&mine->next, count);
            (void) kin_sleep(1);
        } else {
            put_some(me, first, count, &seed);
        }
        atomic_fetch_add(&mine->beats, 1);
    }
    return 0;
}

/* ---- consumers ---- */

/* last: the number that this consumer has seen last of each producer. */
static void note(const void *data, size_t size, uint32_t deliveries, int64_t *last,
                 item_mark *label)
{
    if (!item_is_whole(data, size, label) || label->producer >= PRODUCERS ||
        label->number >= MOST) {
        blame(__LINE__, (int) size);
        label->producer = 0;
        label->number = 0;
        return;
    }
    uint32_t before = atomic_fetch_add(&common->got[label->producer][label->number], 1);
    EXPECT(atomic_load(&common->sent[label->producer][label->number]) != NOT_SENT, (int) before);
    EXPECT(atomic_load(&common->done[label->producer][label->number]) == 0, (int) deliveries);
    if (before > 0) {
        EXPECT(common->redelivers && deliveries > 1, (int) deliveries);
        atomic_fetch_add(&common->again, 1);
    }
    if (common->in_order && last != NULL) {
        EXPECT((int64_t) label->number > last[label->producer], (int) label->number);
        last[label->producer] = (int64_t) label->number;
    }
}

static int take_one(place *mine, int64_t *last, int timeout_ms)
{
    kin_message message;
    item_mark label;
    atomic_store(&mine->doubt, 1);
    int status = kin_queue_take(common->queue, &message, timeout_ms);
    if (status == 0) {
        note(message.data, message.size, message.deliveries, last, &label);
        int released = kin_queue_release(&message);
        EXPECT(released == 0, released);
        if (released == 0) {
            atomic_store(&common->done[label.producer][label.number], 1);
        }
    }
    atomic_store(&mine->doubt, 0);
    return status;
}

static int get_one(place *mine, int64_t *last, int timeout_ms)
{
    static unsigned char data[LARGEST];
    size_t size = 0;
    item_mark label;
    atomic_store(&mine->doubt, 1);
    int status = kin_queue_get(common->queue, data, sizeof data, &size, timeout_ms);
    if (status == 0) {
        note(data, size, 1, last, &label);
    }
    atomic_store(&mine->doubt, 0);
    return status;
}

static int get_some(place *mine, int64_t *last, int timeout_ms)
{
    static unsigned char data[BATCH][LARGEST];
    kin_buffer items[BATCH];
    size_t done = 0;
    item_mark label;
    for (uint32_t i = 0; i < BATCH; i++) {
        items[i] = (kin_buffer){data[i], LARGEST};
    }
    atomic_store(&mine->doubt, BATCH);
    int status = kin_queue_get_many(common->queue, items, BATCH, &done, timeout_ms);
    atomic_store(&mine->doubt, (uint32_t) done);
    for (size_t i = 0; i < done; i++) {
        note(data[i], items[i].size, 1, last, &label);
        atomic_fetch_sub(&mine->doubt, 1);
    }
    return status;
}

static int consume(uint32_t me, uint64_t seed)
{
    place *mine = &common->places[me];
    int64_t last[PRODUCERS];
    memset(last, -1, sizeof last);
    for (;;) {
        uint32_t way = common->redelivers ? 0 : next_random(&seed) % 3;
        bool ends = atomic_load(&common->stop) == 2;
        int status = way == 0   ? take_one(mine, last, ends ? 0 : 100)
                     : way == 1 ? get_one(mine, last, ends ? 0 : 100)
                                : get_some(mine, last, ends ? 0 : 100);
        EXPECT(status == 0 || status == KIN_E_TIMEOUT, status);
        atomic_fetch_add(&mine->beats, 1);
        if (status != 0 && ends) {
            return 0;
        }
    }
}

typedef struct part {
    kin_memory memory;
    uint32_t number;
    uint32_t life;
} part;

static int live(void *argument, size_t size)
{
    (void) size;
    const part *p = argument;
    common = kin_memory_address(p->memory);
    CHECK(common != NULL);
    uint64_t seed = common->seed * 1000003 + p->life * 64 + p->number;
    return p->number < PRODUCERS ? produce(p->number, seed) : consume(p->number, seed);
}

/* ---- the one who kills ---- */

static kin_memory memory;

typedef struct watched {
    kin_process process;
    uint64_t beats;
    int64_t since;
} watched;

static void begin(watched *w, uint32_t number, uint32_t life)
{
    part p = {.memory = memory, .number = number, .life = life};
    w->process = start(live, &p, sizeof p);
    w->beats = atomic_load(&common->places[number].beats);
    w->since = kin_clock_ns();
}

static bool goes_on(watched *w, uint32_t number)
{
    uint64_t beats = atomic_load(&common->places[number].beats);
    int64_t now = kin_clock_ns();
    if (beats != w->beats) {
        w->beats = beats;
        w->since = now;
    }
    if (now - w->since < STUCK_MS * INT64_C(1000000)) {
        return true;
    }
    (void) fprintf(stderr, "%s %u is stuck; the queue has %lld\n",
                   number < PRODUCERS ? "producer" : "consumer", number,
                   (long long) kin_queue_size(common->queue));
    return false;
}

typedef struct sums {
    uint64_t kills;
    uint64_t doubts; /* items that killed consumers may have had */
    uint64_t sent;
    uint64_t tried; /* never known to be committed; of these so many came */
    uint64_t came;
    uint64_t missing;
} sums;

/* How much a consumer that is dead may have got and not noted. */
static void note_death(uint32_t number, sums *all)
{
    if (number >= PRODUCERS) {
        all->doubts += atomic_exchange(&common->places[number].doubt, 0);
    }
}

static void rage(watched *all, sums *s, int64_t until)
{
    uint64_t seed = common->seed;
    while (kin_clock_ns() < until && atomic_load(&common->failures) == 0) {
        uint32_t victim = next_random(&seed) % PROCESSES;
        assert_int_equal(kin_sleep(10), 0);
        for (uint32_t i = 0; i < PROCESSES; i++) {
            assert_true(goes_on(&all[i], i));
        }
        kill_and_close(all[victim].process);
        note_death(victim, s);
        begin(&all[victim], victim, (uint32_t) ++s->kills);
    }
    for (uint32_t i = 0; i < PROCESSES; i++) {
        if (i % PRODUCERS == 0) {
            atomic_store(&common->stop, 1 + i / PRODUCERS);
        }
        assert_int_equal(end_of(all[i].process), 0);
    }
}

static void balance(sums *s)
{
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        uint32_t next = atomic_load(&common->places[i].next);
        for (uint32_t k = 0; k < MOST; k++) {
            uint32_t sent = atomic_load(&common->sent[i][k]);
            uint32_t got = atomic_load(&common->got[i][k]);
            assert_true(sent == NOT_SENT || k < next);
            assert_true(got == 0 || sent != NOT_SENT);
            assert_true(got <= 1 || common->redelivers);
            s->sent += sent == SENT;
            s->tried += sent == TRIED;
            s->came += sent == TRIED && got != 0;
            s->missing += sent == SENT && got == 0;
        }
    }
}

static void run_round(const char *name, const kin_queue_options *options, int64_t time)
{
    watched all[PROCESSES];
    sums s = {0};
    place mine = {0};
    assert_int_equal(kin_memory_create(&memory, sizeof(books)), 0);
    common = kin_memory_address(memory);
    assert_int_equal(kin_queue_create(&common->queue, options), 0);
    const char *seed = getenv("KIN_STORM_SEED");
    common->seed = seed != NULL ? strtoull(seed, NULL, 10) : (uint64_t) kin_clock_ns();
    common->redelivers = options->redeliver;
    common->in_order = options->order == KIN_QUEUE_FIFO && !options->redeliver;
    for (uint32_t i = 0; i < PROCESSES; i++) {
        begin(&all[i], i, 0);
    }
    rage(all, &s, kin_clock_ns() + time);
    while (take_one(&mine, NULL, 0) == 0) {
    }
    if (atomic_load(&common->failures) != 0) {
        (void) fprintf(stderr, "%s, seed %" PRIu64 ": line %u, %d\n", name, common->seed,
                       atomic_load(&common->line), (int) atomic_load(&common->status));
    }
    assert_int_equal(atomic_load(&common->failures), 0);
    balance(&s);
    (void) printf("# %s: %" PRIu64 " kills, %" PRIu64 " items, %" PRIu64 " more of %" PRIu64
                  " tried, %" PRIu64 " gone of at most %" PRIu64 ", %" PRIu64 " came again\n",
                  name, s.kills, s.sent, s.came, s.tried, s.missing, s.doubts,
                  atomic_load(&common->again));
    assert_true(s.sent > 0);
    assert_true(s.missing <= (common->redelivers ? 0 : s.doubts));
    assert_true(s.tried <= s.kills * BATCH);
    assert_int_equal(kin_queue_size(common->queue), 0);
    if (common->redelivers) {
        assert_int_equal(kin_queue_join(common->queue, 1000), 0); /* all is done, too */
    }
    assert_int_equal(kin_queue_destroy(common->queue), 0);
    assert_int_equal(kin_memory_destroy(memory), 0);
}

static int64_t seconds_wanted(void)
{
    const char *text = getenv("KIN_STORM_SECONDS");
    long seconds = text != NULL ? strtol(text, NULL, 10) : 5;
    return seconds > 0 ? seconds : 5;
}

static void the_books_balance(void **state)
{
    (void) state;
    static const struct {
        const char *name;
        kin_queue_options options;
    } rounds[] = {
        {"bounded", {.capacity = 64}},
        {"large", {.capacity_bytes = 4 << 20}},
        {"redelivering", {.redeliver = true, .capacity = 64}},
        {"redelivering much", {.redeliver = true, .capacity_bytes = 4 << 20}},
        {"a stack", {.order = KIN_QUEUE_LIFO, .capacity = 100}},
        {"by priority, redelivering",
         {.order = KIN_QUEUE_PRIORITY, .redeliver = true, .capacity = 100}},
    };
    enum { ROUNDS = sizeof rounds / sizeof *rounds };
    for (size_t i = 0; i < ROUNDS; i++) {
        run_round(rounds[i].name, &rounds[i].options,
                  seconds_wanted() * INT64_C(1000000000) / ROUNDS);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CLEAN_TEST(the_books_balance),
    };
    if (kin_init(&argc, &argv) < 0) {
        return EXIT_FAILURE;
    }
    return cmocka_run_group_tests(tests, warm_up, NULL);
}
