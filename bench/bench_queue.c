/* Queues: an item there and back in one process, streams between processes, there and back between
   two, and a megabyte that is handed over without a copy. What takes several processes is run by
   this one and its children, which meet before and after each sample. */
#include "bench/bench.h"
#include "bench/limits_sync.h"

#include <kin/kin.h>

#include <stdatomic.h>
#include <string.h>

enum { ITEM = 64, CAPACITY = 1024, SAMPLES = 15, CROWD = 4, MIB = 1 << 20 };

static const kin_queue_options streaming = {.capacity = CAPACITY, .item_size = ITEM};

/* What others on the machine disturb least. */
static double best_of(const double *samples, bool most)
{
    double best = samples[0];
    for (int i = 1; i < SAMPLES; i++) {
        bool better = most ? samples[i] > best : samples[i] < best;
        best = better ? samples[i] : best;
    }
    return best;
}

/* ---- alone ---- */

enum { TURNS = 100000 };

static int measure_put_get(figure *f)
{
    double samples[SAMPLES] = {0};
    char item[ITEM] = {0};
    kin_queue q;
    int status = kin_queue_create(&q, &streaming);
    for (int i = 0; i < SAMPLES && status == 0; i++) {
        double start = bench_now_ns();
        for (int k = 0; k < TURNS && status == 0; k++) {
            status = kin_queue_put(q, item, sizeof item, KIN_FOREVER);
            status = status < 0 ? status : kin_queue_get(q, item, sizeof item, NULL, KIN_FOREVER);
        }
        samples[i] = (bench_now_ns() - start) / TURNS;
    }
    if (status < 0) {
        return status;
    }
    f->value = best_of(samples, false);
    return kin_queue_destroy(q);
}

/* ---- several processes ---- */

/* What they share. */
typedef struct field {
    _Alignas(64) _Atomic uint32_t arrived;
    _Alignas(64) _Atomic uint32_t words[2][16]; /* one for each side, on lines of their own */
    _Alignas(64) _Atomic uint64_t told;         /* by one side, in nanoseconds */
    _Alignas(64) unsigned char bytes[MIB];      /* of the limit's hand-over */
} field;

typedef struct crew {
    uint32_t form;
    uint32_t count; /* of processes, this one included */
    uint32_t number;
    kin_memory memory;
    kin_queue queues[2]; /* there and back */
} crew;

/* What one of them does in a sample: of kin, and of the limit. */
typedef void rounds(const crew *c, field *f);

enum {
    STREAM = 500000,
    STREAM_CROWDED = 200000,
    BATCH = 64,
    HOT = 20000,
    BLOCKED = 40,
    ASLEEP_US = 300,
    HANDED = 50
};

static void send_items(const crew *c, uint32_t count)
{
    char item[ITEM] = {0};
    for (uint32_t i = 0; i < count; i++) {
        (void) kin_queue_put(c->queues[0], item, sizeof item, KIN_FOREVER);
    }
}

static void receive_items(const crew *c, uint32_t count)
{
    char item[ITEM];
    for (uint32_t i = 0; i < count; i++) {
        (void) kin_queue_get(c->queues[0], item, sizeof item, NULL, KIN_FOREVER);
    }
}

static void stream(const crew *c, field *f)
{
    (void) f;
    if (c->number % 2 == 0) {
        send_items(c, STREAM);
    } else {
        receive_items(c, STREAM);
    }
}

static void stream_crowded(const crew *c, field *f)
{
    (void) f;
    if (c->number % 2 == 0) {
        send_items(c, STREAM_CROWDED);
    } else {
        receive_items(c, STREAM_CROWDED);
    }
}

static void stream_batches(const crew *c, field *f)
{
    static char bytes[BATCH][ITEM];
    kin_buffer items[BATCH];
    size_t done = 0;
    (void) f;
    for (size_t i = 0; i < STREAM; i += done) {
        size_t count = STREAM - i < BATCH ? STREAM - i : BATCH;
        for (size_t k = 0; k < count; k++) {
            items[k] = (kin_buffer){bytes[k], ITEM};
        }
        int status = c->number == 0
                         ? kin_queue_put_many(c->queues[0], items, count, &done, KIN_FOREVER)
                         : kin_queue_get_many(c->queues[0], items, count, &done, KIN_FOREVER);
        if (status < 0) {
            return;
        }
    }
}

static void ping(const crew *c, unsigned side)
{
    char item[ITEM] = {0};
    if (side == 0) {
        (void) kin_queue_put(c->queues[0], item, sizeof item, KIN_FOREVER);
        (void) kin_queue_get(c->queues[1], item, sizeof item, NULL, KIN_FOREVER);
    } else {
        (void) kin_queue_get(c->queues[0], item, sizeof item, NULL, KIN_FOREVER);
        (void) kin_queue_put(c->queues[1], item, sizeof item, KIN_FOREVER);
    }
}

static void hot(const crew *c, field *f)
{
    (void) f;
    for (int i = 0; i < HOT; i++) {
        ping(c, c->number);
    }
}

/* A word that goes there and back. */
static void hot_limit(const crew *c, field *f)
{
    _Atomic uint32_t *word = &f->words[0][0];
    uint32_t before = atomic_load(word) & ~1u;
    for (uint32_t i = 0; i < HOT; i++) {
        if (c->number == 0) {
            atomic_store(word, before + 2 * i + 1);
            while (atomic_load(word) == before + 2 * i + 1) {
            }
        } else {
            while (atomic_load(word) != before + 2 * i + 1) {
            }
            atomic_store(word, before + 2 * i + 2);
        }
    }
}

/* Each round begins when the other side is asleep for certain. */
static void rest(double us)
{
    double until = bench_now_ns() + us * 1000;
    while (bench_now_ns() < until) {
    }
}

static void blocked(const crew *c, field *f)
{
    double sum = 0;
    for (int i = 0; i < BLOCKED; i++) {
        if (c->number == 0) {
            rest(ASLEEP_US);
        }
        double start = bench_now_ns();
        ping(c, c->number);
        sum += bench_now_ns() - start;
    }
    if (c->number == 0) {
        atomic_store(&f->told, (uint64_t) sum);
    }
}

static void pass_word(_Atomic uint32_t *word)
{
    atomic_store(word, 1);
    limit_word_wake(word);
}

static void await_word(_Atomic uint32_t *word)
{
    while (atomic_load(word) == 0) {
        limit_word_wait(word, 0);
    }
    atomic_store(word, 0);
}

static void blocked_limit(const crew *c, field *f)
{
    double sum = 0;
    for (int i = 0; i < BLOCKED; i++) {
        if (c->number == 0) {
            rest(ASLEEP_US);
            double start = bench_now_ns();
            pass_word(&f->words[0][0]);
            await_word(&f->words[1][0]);
            sum += bench_now_ns() - start;
        } else {
            await_word(&f->words[0][0]);
            pass_word(&f->words[1][0]);
        }
    }
    if (c->number == 0) {
        atomic_store(&f->told, (uint64_t) sum);
    }
}

/* Written once by the one, read once by the other. */
static void write_all(void *to)
{
    static unsigned char from[MIB];
    memcpy(to, from, MIB);
}

static void read_all(const void *from)
{
    static volatile uint64_t sink;
    const unsigned char *bytes = from;
    uint64_t sum = 0;
    for (size_t i = 0; i < MIB; i += sizeof sum) {
        uint64_t word;
        memcpy(&word, bytes + i, sizeof word);
        sum += word;
    }
    sink = sum;
    (void) sink;
}

/* One at a time: the receiver says when it has read. */
static void hand_over(const crew *c, field *f)
{
    kin_message m;
    (void) f;
    for (int i = 0; i < HANDED; i++) {
        if (c->number == 0) {
            (void) kin_queue_reserve(c->queues[0], &m, MIB, KIN_FOREVER);
            write_all(m.data);
            (void) kin_queue_commit(&m);
            (void) kin_queue_get(c->queues[1], NULL, 0, NULL, KIN_FOREVER);
        } else {
            (void) kin_queue_take(c->queues[0], &m, KIN_FOREVER);
            read_all(m.data);
            (void) kin_queue_release(&m);
            (void) kin_queue_put(c->queues[1], NULL, 0, KIN_FOREVER);
        }
    }
}

/* Who waits sleeps, as with kin: each has something else to do. */
static void hand_over_limit(const crew *c, field *f)
{
    for (int i = 0; i < HANDED; i++) {
        if (c->number == 0) {
            write_all(f->bytes);
            pass_word(&f->words[0][0]);
            await_word(&f->words[1][0]);
        } else {
            await_word(&f->words[0][0]);
            read_all(f->bytes);
            pass_word(&f->words[1][0]);
        }
    }
}

static const struct {
    rounds *kin;
    rounds *limit;
    uint32_t crew;
    bool told;    /* by a side; else the time of the sample is taken */
    bool rate;    /* in millions a second; else in microseconds for each */
    double count; /* in a sample */
} forms[] = {
    {stream, NULL, 2, false, true, STREAM},
    {stream_crowded, NULL, 4, false, true, 2 * STREAM_CROWDED},
    {stream_batches, NULL, 2, false, true, STREAM},
    {hot, hot_limit, 2, false, false, HOT},
    {blocked, blocked_limit, 2, true, false, BLOCKED},
    {hand_over, hand_over_limit, 2, false, false, HANDED},
};
enum { STREAM_64, STREAM_2X2, BATCH_64, PINGPONG_HOT, PINGPONG_BLOCKED, HANDOVER };

static void meet(field *f, const crew *c, uint32_t meeting)
{
    (void) atomic_fetch_add(&f->arrived, 1);
    while (atomic_load(&f->arrived) < c->count * meeting) {
        if (c->count > 2) {
            (void) kin_sleep(0);
        }
    }
}

static double run_rounds(const crew *c, field *f, rounds *run, uint32_t meeting)
{
    if (c->number == 0) {
        atomic_store(&f->words[0][0], 0);
        atomic_store(&f->words[1][0], 0);
    }
    meet(f, c, meeting);
    double start = bench_now_ns();
    run(c, f);
    meet(f, c, meeting + 1);
    double time = bench_now_ns() - start;
    if (forms[c->form].told) {
        time = (double) atomic_load(&f->told);
    }
    return forms[c->form].rate ? forms[c->form].count / time * 1000
                               : time / forms[c->form].count / 1000;
}

static void run_all_rounds(const crew *c, double *with, double *without)
{
    field *f = kin_memory_address(c->memory);
    uint32_t meeting = 1;
    for (int i = 0; i < SAMPLES; i++) {
        with[i] = run_rounds(c, f, forms[c->form].kin, meeting);
        meeting += 2;
        without[i] = 0;
        if (forms[c->form].limit != NULL) {
            without[i] = run_rounds(c, f, forms[c->form].limit, meeting);
            meeting += 2;
        }
    }
}

static int take_part(void *argument, size_t size)
{
    double times[2][SAMPLES];
    (void) size;
    run_all_rounds(argument, times[0], times[1]);
    return 0;
}

static int measure_crew(figure *f, uint32_t form)
{
    double with[SAMPLES];
    double without[SAMPLES];
    kin_process others[CROWD];
    crew c = {.form = form, .count = forms[form].crew};
    int status = kin_memory_create(&c.memory, sizeof(field));
    for (int i = 0; i < 2 && status == 0; i++) {
        status = kin_queue_create(&c.queues[i], form == HANDOVER ? NULL : &streaming);
    }
    for (c.number = 1; c.number < c.count && status == 0; c.number++) {
        status = kin_process_start(&others[c.number], take_part, &c, sizeof c, NULL);
    }
    if (status < 0) {
        return status;
    }
    c.number = 0;
    run_all_rounds(&c, with, without);
    for (uint32_t i = 1; i < c.count; i++) {
        (void) kin_process_join(others[i], KIN_FOREVER);
        (void) kin_process_close(others[i]);
    }
    f->value = best_of(with, forms[form].rate);
    f->limit = best_of(without, false);
    (void) kin_queue_destroy(c.queues[0]);
    (void) kin_queue_destroy(c.queues[1]);
    return kin_memory_destroy(c.memory);
}

static int measure_stream(figure *f)
{
    return measure_crew(f, STREAM_64);
}

static int measure_stream_2x2(figure *f)
{
    return measure_crew(f, STREAM_2X2);
}

static int measure_batch(figure *f)
{
    return measure_crew(f, BATCH_64);
}

static int measure_pingpong_hot(figure *f)
{
    return measure_crew(f, PINGPONG_HOT);
}

static int measure_pingpong_blocked(figure *f)
{
    return measure_crew(f, PINGPONG_BLOCKED);
}

static int measure_handover(figure *f)
{
    return measure_crew(f, HANDOVER);
}

/* ---- what a hand-over costs when nobody touches the bytes ---- */

static int hand_over_untouched(kin_queue q)
{
    kin_message m;
    int status = kin_queue_reserve(q, &m, MIB, KIN_FOREVER);
    status = status < 0 ? status : kin_queue_commit(&m);
    status = status < 0 ? status : kin_queue_take(q, &m, KIN_FOREVER);
    return status < 0 ? status : kin_queue_release(&m);
}

static int measure_handover_only(figure *f)
{
    enum { TIMES = 2000 };
    double samples[SAMPLES] = {0};
    kin_queue q;
    int status = kin_queue_create(&q, NULL);
    for (int i = 0; i < SAMPLES && status == 0; i++) {
        double start = bench_now_ns();
        for (int k = 0; k < TIMES && status == 0; k++) {
            status = hand_over_untouched(q);
        }
        samples[i] = (bench_now_ns() - start) / TIMES / 1000;
    }
    if (status < 0) {
        return status;
    }
    f->value = best_of(samples, false);
    return kin_queue_destroy(q);
}

const benchmark queue_benchmarks[] = {
    {"queue.put_get_64", "ns", measure_put_get},
    {"queue.stream_64", "M/s", measure_stream},
    {"queue.stream_2x2_64", "M/s", measure_stream_2x2},
    {"queue.batch_64", "M/s", measure_batch},
    {"queue.pingpong_hot_64", "us", measure_pingpong_hot},
    {"queue.pingpong_blocked_64", "us", measure_pingpong_blocked},
    {"queue.handover_1mib", "us", measure_handover},
    {"queue.handover_only_1mib", "us", measure_handover_only},
    {NULL, NULL, NULL},
};
