/* Pipes between two processes: a message there and back when both are awake, beside a bare word in
   shared memory; and the bytes of a stream, beside a copy in memory. */
#include "bench/bench.h"

#include <kin/kin.h>

#include <stdatomic.h>
#include <string.h>

enum { SAMPLES = 15, ROUNDS = 20000, MESSAGE = 64, PIECE = 1 << 20, PIECES = 64 };

/* What the two share; each of the words is on a line of its own. */
typedef struct field {
    _Alignas(64) _Atomic uint32_t arrived;
    _Alignas(64) _Atomic uint32_t word;
} field;

typedef struct duel {
    kin_memory memory;
    kin_connection ends[2];
} duel;

static void meet(field *f, uint32_t meeting)
{
    atomic_fetch_add(&f->arrived, 1);
    while (atomic_load(&f->arrived) < 2 * meeting) {
    }
}

static void pass_message(const duel *d, unsigned side)
{
    unsigned char message[MESSAGE] = {0};
    kin_connection end = d->ends[side];
    for (unsigned i = 0; i < ROUNDS; i++) {
        if (side == 0) {
            (void) kin_connection_send(end, message, sizeof message, KIN_FOREVER);
        }
        (void) kin_connection_receive(end, message, sizeof message, NULL, KIN_FOREVER);
        if (side == 1) {
            (void) kin_connection_send(end, message, sizeof message, KIN_FOREVER);
        }
    }
}

static void pass_word(_Atomic uint32_t *word, unsigned side)
{
    uint32_t before = atomic_load(word) & ~1u;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        uint32_t there = before + 2 * i + 1;
        if (side == 0) {
            atomic_store(word, there);
            while (atomic_load(word) == there) {
            }
        } else {
            while (atomic_load(word) != there) {
            }
            atomic_store(word, there + 1);
        }
    }
}

static void run_duel(const duel *d, unsigned side, double *with, double *without)
{
    field *f = kin_memory_address(d->memory);
    uint32_t meeting = 1;
    for (int i = 0; i < SAMPLES; i++) {
        meet(f, meeting++);
        double start = bench_now_ns();
        pass_message(d, side);
        with[i] = (bench_now_ns() - start) / ROUNDS;
        meet(f, meeting++);
        if (side == 0) {
            atomic_store(&f->word, 0);
        }
        meet(f, meeting++);
        start = bench_now_ns();
        pass_word(&f->word, side);
        without[i] = (bench_now_ns() - start) / ROUNDS;
    }
}

static int accept_duel(void *argument, size_t size)
{
    double times[2][SAMPLES];
    (void) size;
    run_duel(argument, 1, times[0], times[1]);
    return 0;
}

static int measure_pingpong(figure *f)
{
    double with[SAMPLES];
    double without[SAMPLES];
    duel d;
    kin_process other;
    int status = kin_memory_create(&d.memory, sizeof(field));
    status = status < 0 ? status : kin_pipe_create(&d.ends[0], &d.ends[1], NULL);
    status = status < 0 ? status : kin_process_start(&other, accept_duel, &d, sizeof d, NULL);
    status = status < 0 ? status : kin_connection_give(d.ends[1], other);
    if (status < 0) {
        return status;
    }
    run_duel(&d, 0, with, without);
    f->value = bench_median(with, SAMPLES);
    f->limit = bench_median(without, SAMPLES);
    status = kin_process_join(other, KIN_FOREVER);
    (void) kin_process_close(other);
    (void) kin_connection_close(d.ends[0]);
    int destroyed = kin_memory_destroy(d.memory);
    return status < 0 ? status : destroyed;
}

/* ---- streams ---- */

static unsigned char bytes[PIECE];
static unsigned char copy[PIECE];

static int send_stream(void *argument, size_t size)
{
    const kin_connection *end = argument;
    unsigned char ready;
    int status = 0;
    (void) size;
    memset(bytes, 1, sizeof bytes);
    while (status == 0 && kin_connection_receive(*end, &ready, 1, NULL, KIN_FOREVER) == 0) {
        for (int i = 0; i < PIECES && status == 0; i++) {
            status = kin_connection_send(*end, bytes, sizeof bytes, KIN_FOREVER);
        }
    }
    return status;
}

static double mib_per_second(double start)
{
    return (double) PIECE * PIECES / (1 << 20) / ((bench_now_ns() - start) / 1e9);
}

/* Each sample begins when the other is told so. */
static int time_stream(kin_connection end, double *speed)
{
    int status = kin_connection_send(end, "", 1, KIN_FOREVER);
    double start = bench_now_ns();
    for (int i = 0; i < PIECES && status == 0; i++) {
        status = kin_connection_read(end, copy, sizeof copy, NULL, KIN_FOREVER);
    }
    *speed = mib_per_second(start);
    return status;
}

static double time_copies(void)
{
    double start = bench_now_ns();
    for (int i = 0; i < PIECES; i++) {
        memcpy(copy, bytes, sizeof copy);
        /* So that no compiler leaves a copy out. */
        atomic_signal_fence(memory_order_seq_cst);
    }
    return mib_per_second(start);
}

static int measure_stream(figure *f)
{
    double with[SAMPLES];
    double without[SAMPLES];
    kin_connection ends[2];
    kin_process other;
    const kin_pipe_options how = {.stream = true};
    int status = kin_pipe_create(&ends[0], &ends[1], &how);
    status = status < 0 ? status
                        : kin_process_start(&other, send_stream, &ends[1], sizeof ends[1], NULL);
    status = status < 0 ? status : kin_connection_give(ends[1], other);
    if (status < 0) {
        return status;
    }
    memset(bytes, 1, sizeof bytes);
    for (int i = 0; i < SAMPLES && status == 0; i++) {
        status = time_stream(ends[0], &with[i]);
        without[i] = time_copies();
    }
    f->value = bench_median(with, SAMPLES);
    f->limit = bench_median(without, SAMPLES);
    (void) kin_connection_close(ends[0]);
    int joined = kin_process_join(other, KIN_FOREVER);
    (void) kin_process_close(other);
    return status < 0 ? status : joined;
}

const benchmark pipe_benchmarks[] = {
    {"pipe.pingpong_hot_64", "ns", measure_pingpong},
    {"pipe.stream_bandwidth", "MiB/s", measure_stream},
    {NULL, NULL, NULL},
};
