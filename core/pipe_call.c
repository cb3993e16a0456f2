/* The calls on connections: what of a message is the queue's affair, and what of a stream the
   stream's. A way that has been destroyed is a closed one to whoever had a good handle. */
#include "core/error.h"
#include "core/pipe.h"

enum { SENDS = true, RECEIVES = false };

/* What a queue says, as a connection does. */
static inline int as_connection(int status)
{
    return status == KIN_E_HANDLE || status == KIN_E_DESTROYED ? KIN_E_CLOSED : status;
}

/* True if a call that has come to nothing is to be made once more: whoever had the other end may
   have been found dead. Calls that wait look for themselves. */
static bool once_more(const pipe_end *p, int status, int timeout_ms)
{
    return status == KIN_E_TIMEOUT && timeout_ms == 0 && pipe_look_at_times(p->id);
}

/* An end of which the way is a queue, or is not. KIN_E_HANDLE, KIN_E_INIT, KIN_E_STATE. */
static int find_way(pipe_end *p, kin_connection connection, bool sends, bool stream)
{
    error_clear();
    *p = (pipe_end){0};
    if (!pipe_find(p, connection.id, sends)) {
        return sync_missing();
    }
    return p->way != 0 && pipe_is_stream(p) == stream ? 0 : KIN_E_STATE;
}

/* ---- both ---- */

static KIN_COLD int send_otherwise(const pipe_end *p, const void *data, size_t size, int timeout_ms)
{
    size_t done;
    error_clear();
    if (p->way == 0) {
        return KIN_E_STATE;
    }
    if (!pipe_is_stream(p)) {
        return as_connection(kin_queue_put((kin_queue){p->way}, data, size, timeout_ms));
    }
    return data != NULL || size == 0 ? pipe_stream_send(p, data, size, &done, timeout_ms)
                                     : KIN_E_INVALID;
}

int kin_connection_send(kin_connection connection, const void *data, size_t size, int timeout_ms)
{
    pipe_end p;
    if (!pipe_find(&p, connection.id, SENDS)) {
        error_clear();
        return sync_missing();
    }
    if (object_kind_of(p.way) != KIND_QUEUE) {
        return send_otherwise(&p, data, size, timeout_ms);
    }
    int status = kin_queue_put((kin_queue){p.way}, data, size, timeout_ms);
    if (once_more(&p, status, timeout_ms)) {
        status = send_otherwise(&p, data, size, 0);
    }
    return as_connection(status);
}

static KIN_COLD int receive_otherwise(const pipe_end *p, void *buffer, size_t capacity,
                                      size_t *size, int timeout_ms)
{
    size_t done = 0;
    error_clear();
    if (p->way == 0) {
        return KIN_E_STATE;
    }
    if (!pipe_is_stream(p)) {
        return as_connection(
            kin_queue_get((kin_queue){p->way}, buffer, capacity, size, timeout_ms));
    }
    if (buffer == NULL || capacity == 0) {
        return KIN_E_INVALID;
    }
    int status = pipe_stream_receive(p, buffer, 1, capacity, &done, timeout_ms);
    if (size != NULL && status == 0) {
        *size = done;
    }
    return status;
}

int kin_connection_receive(kin_connection connection, void *buffer, size_t capacity, size_t *size,
                           int timeout_ms)
{
    pipe_end p;
    if (!pipe_find(&p, connection.id, RECEIVES)) {
        error_clear();
        return sync_missing();
    }
    if (object_kind_of(p.way) != KIND_QUEUE) {
        return receive_otherwise(&p, buffer, capacity, size, timeout_ms);
    }
    int status = kin_queue_get((kin_queue){p.way}, buffer, capacity, size, timeout_ms);
    if (once_more(&p, status, timeout_ms)) {
        status = receive_otherwise(&p, buffer, capacity, size, 0);
    }
    return as_connection(status);
}

/* A look at the next message without room for it. */
static int poll_queue(const pipe_end *p, int timeout_ms)
{
    kin_queue queue = {p->way};
    int status = kin_queue_peek(queue, NULL, 0, NULL, timeout_ms);
    if (once_more(p, status, timeout_ms)) {
        status = kin_queue_peek(queue, NULL, 0, NULL, 0);
    }
    return status == KIN_E_TOO_SMALL ? 0 : as_connection(status);
}

int kin_connection_poll(kin_connection connection, int timeout_ms)
{
    pipe_end p;
    size_t done;
    error_clear();
    if (!pipe_find(&p, connection.id, RECEIVES)) {
        return sync_missing();
    }
    if (p.way == 0) {
        return KIN_E_STATE;
    }
    int status = pipe_is_stream(&p) ? pipe_stream_receive(&p, NULL, 0, 0, &done, timeout_ms)
                                    : poll_queue(&p, timeout_ms);
    if (status == KIN_E_TIMEOUT) {
        return 0;
    }
    bool other_is_closed = status == KIN_E_CLOSED && pipe_is_there(p.e, p.id);
    return status == 0 || other_is_closed ? 1 : status;
}

/* ---- streams ---- */

int kin_connection_write(kin_connection connection, const void *data, size_t size, size_t *done,
                         int timeout_ms)
{
    pipe_end p;
    size_t moved = 0;
    int status = find_way(&p, connection, SENDS, true);
    if (status == 0 && data == NULL && size > 0) {
        status = KIN_E_INVALID;
    }
    if (status == 0) {
        status = pipe_stream_send(&p, data, size, &moved, timeout_ms);
    }
    if (done != NULL) {
        *done = moved;
    }
    return status;
}

int kin_connection_read(kin_connection connection, void *buffer, size_t size, size_t *done,
                        int timeout_ms)
{
    pipe_end p;
    size_t moved = 0;
    int status = find_way(&p, connection, RECEIVES, true);
    if (status == 0 && buffer == NULL && size > 0) {
        status = KIN_E_INVALID;
    }
    if (status == 0 && size > 0) {
        status = pipe_stream_receive(&p, buffer, size, size, &moved, timeout_ms);
    }
    if (done != NULL) {
        *done = moved;
    }
    return status;
}

/* ---- messages without a copy ---- */

/* A handle that is not good may be that of the message, which the caller has given. */
static int of_message(const pipe_end *p, int status)
{
    bool others = status == KIN_E_HANDLE && sync_find(p->way, KIND_QUEUE) != NULL;
    return others ? status : as_connection(status);
}

int kin_connection_reserve(kin_connection connection, kin_message *given, size_t size,
                           int timeout_ms)
{
    pipe_end p;
    int status = find_way(&p, connection, SENDS, false);
    if (status < 0) {
        return status;
    }
    kin_queue queue = {p.way};
    status = kin_queue_reserve(queue, given, size, timeout_ms);
    if (once_more(&p, status, timeout_ms)) {
        status = kin_queue_reserve(queue, given, size, 0);
    }
    return as_connection(status);
}

int kin_connection_commit(kin_connection connection, kin_message *given)
{
    pipe_end p;
    int status = find_way(&p, connection, SENDS, false);
    if (status < 0) {
        return status;
    }
    if (given == NULL || given->queue != p.way) {
        return KIN_E_INVALID;
    }
    return of_message(&p, kin_queue_commit(given));
}

int kin_connection_take(kin_connection connection, kin_message *given, int timeout_ms)
{
    pipe_end p;
    int status = find_way(&p, connection, RECEIVES, false);
    if (status < 0) {
        return status;
    }
    kin_queue queue = {p.way};
    status = kin_queue_take(queue, given, timeout_ms);
    if (once_more(&p, status, timeout_ms)) {
        status = kin_queue_take(queue, given, 0);
    }
    return as_connection(status);
}

int kin_connection_send_message(kin_connection connection, kin_message *given, int timeout_ms)
{
    pipe_end p;
    int status = find_way(&p, connection, SENDS, false);
    if (status < 0) {
        return status;
    }
    kin_queue queue = {p.way};
    status = kin_queue_put_message(queue, given, timeout_ms);
    if (once_more(&p, status, timeout_ms)) {
        status = kin_queue_put_message(queue, given, 0);
    }
    return of_message(&p, status);
}
