/* What calls do with a stream: they move what can be moved at once, and wait for the other side to
   go on. That the other end has been closed a receiver sees when nothing is left; a sender by the
   stream, which is destroyed with the end that receives from it. */
#include "core/pipe.h"

typedef struct transfer {
    const pipe_end *p;
    stream_side s;
    bool sends;
    void *buffer;     /* of a receiver */
    const void *data; /* of a sender */
    size_t size;      /* how many bytes are wanted at most */
    size_t done;      /* so many of them have been moved */
    int64_t deadline; /* 0: it has not waited yet */
    int timeout_ms;
} transfer;

static int receive_once(transfer *t)
{
    size_t moved;
    void *to = t->size > 0 ? (unsigned char *) t->buffer + t->done : NULL;
    int status = stream_receive(&t->s, to, t->size - t->done, &moved);
    if (status == STREAM_NOTHING && pipe_is_alone(t->p)) {
        status = stream_await_senders(&t->s);
        if (status == 0) {
            /* What was sent is there by now. */
            status = stream_receive(&t->s, to, t->size - t->done, &moved);
            status = status == STREAM_NOTHING ? KIN_E_CLOSED : status;
        }
    }
    t->done += moved;
    return status;
}

static int send_once(transfer *t)
{
    size_t moved;
    const unsigned char *from = (const unsigned char *) t->data + t->done;
    int status = stream_send(&t->s, from, t->size - t->done, &moved);
    t->done += moved;
    return status;
}

static int attempt(transfer *t)
{
    return t->sends ? send_once(t) : receive_once(t);
}

/* A look without a latch. Who waits for room takes the line of those who make it: it is better to
   come when there is some. */
static bool is_worth_it(const transfer *t)
{
    if (!t->sends) {
        return stream_filled(&t->s) > 0 || pipe_is_alone(t->p);
    }
    uint64_t capacity = atomic_load_explicit(&t->s.mine->options, memory_order_relaxed);
    return stream_room(&t->s) >= capacity / 4 || !pipe_is_there(t->p->e, t->p->id) ||
           atomic_load(&t->s.mine->id) != t->s.id;
}

static int spin(transfer *t)
{
    int status = STREAM_NOTHING;
    wait_spin around = wait_spin_begin(SPIN_CHANGE);
    while (status == STREAM_NOTHING && wait_spin_once(&around)) {
        if (is_worth_it(t)) {
            status = attempt(t);
        }
    }
    wait_spin_end(&around, status != STREAM_NOTHING);
    return status;
}

/* Sleeps until it is worth trying again, and tries. Who was woken tries even if its time is
   over. */
static int sleep(transfer *t)
{
    wait_line *line = stream_line(&t->s);
    uint32_t seen = line_read(line);
    line_announce(line, LINE_SLEEPERS);
    int status = attempt(t);
    if (status != STREAM_NOTHING) {
        return status;
    }
    int slept = line_sleep(line, seen, t->deadline);
    if (slept == KIN_E_TIMEOUT) {
        pipe_look(t->p->id);
    }
    status = attempt(t);
    if (status == STREAM_NOTHING && slept < 0 && slept != KIN_E_TIMEOUT) {
        return slept;
    }
    return status;
}

static int wait_asleep(transfer *t)
{
    thread_record *record = t->s.t->record;
    int status = STREAM_NOTHING;
    uint64_t before = atomic_load(&record->waits_for); /* this wait may be within another */
    atomic_store(&record->waits_for, t->s.id);
    while (status == STREAM_NOTHING) {
        status = sleep(t);
        if (status == STREAM_NOTHING && t->deadline != INT64_MAX &&
            platform_clock_ns() >= t->deadline) {
            status = KIN_E_TIMEOUT;
        }
    }
    atomic_store(&record->waits_for, before);
    /* Whoever was to wake others may have been killed, and this one may have been woken for what it
       leaves. */
    if (status != KIN_E_TIMEOUT && is_worth_it(t)) {
        line_tell(stream_line(&t->s), 1);
    }
    return status;
}

/* Moves at least a byte. */
static int go_on(transfer *t)
{
    int status = attempt(t);
    if (status != STREAM_NOTHING) {
        return status;
    }
    if (t->timeout_ms == 0) {
        status = pipe_look_at_times(t->p->id) ? attempt(t) : STREAM_NOTHING;
        return status == STREAM_NOTHING ? KIN_E_TIMEOUT : status;
    }
    if (t->deadline == 0) {
        t->deadline = wait_deadline(t->timeout_ms);
    }
    status = spin(t);
    return status == STREAM_NOTHING ? wait_asleep(t) : status;
}

static int move(transfer *t, size_t least)
{
    int status = stream_enter(&t->s, t->p->way, t->p->e, t->p->id);
    t->s.timeout_ms = t->timeout_ms;
    if (status == 0 && least == 0) {
        return t->sends ? 0 : go_on(t);
    }
    while (status == 0 && t->done < least) {
        status = go_on(t);
    }
    return status;
}

int pipe_stream_send(const pipe_end *p, const void *data, size_t size, size_t *done, int timeout_ms)
{
    transfer t = {.p = p, .sends = true, .data = data, .size = size, .timeout_ms = timeout_ms};
    int status = move(&t, size);
    *done = t.done;
    return status;
}

int pipe_stream_receive(const pipe_end *p, void *buffer, size_t least, size_t size, size_t *done,
                        int timeout_ms)
{
    transfer t = {.p = p, .buffer = buffer, .size = size, .timeout_ms = timeout_ms};
    int status = move(&t, least);
    *done = t.done;
    return status;
}
