/* Pipes: connections between two sides, of messages or of bytes. Python: multiprocessing.Pipe and
   Connection.

   A pipe has two ends, which are handles as all others are: each process of the family can use one
   as soon as it knows it, several threads and processes at a time. But each end belongs to one
   process: to the one that has made the pipe, until it is given to another. When that process ends
   or is killed, its end is closed, even if it had never used it. So whoever is at the other end is
   never left waiting: within a second it receives KIN_E_CLOSED, after everything that had been sent
   to it. A program that hands an end to a child should therefore give it to that child.

   Messages are received as they were sent, whole and in order, from none to gigabytes; they can be
   handed over without a copy. A stream has bytes without bounds between them. What is sent is in
   shared memory when the call returns, and not lost with its sender. */
#ifndef KIN_PIPE_H
#define KIN_PIPE_H

#include <kin/base.h>
#include <kin/process.h>
#include <kin/queue.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One end of a pipe. Zero is none. */
typedef struct kin_connection {
    uint64_t id;
} kin_connection;

/* The most bytes that a stream can keep in each direction. */
#define KIN_STREAM_LIMIT 1073741824u

/* How a pipe is made. Zero means the default: messages, both ways. */
typedef struct kin_pipe_options {
    const char *name;   /* for those who look at it; at most 31 bytes; NULL: none */
    uint64_t capacity;  /* so many messages, or bytes of a stream, can be on their way in each
                           direction before who sends more has to wait. Default 1024 messages; 64
                           KiB. Of a stream a power of two, or the next one; at most
                           KIN_STREAM_LIMIT, at least 64 */
    uint32_t item_size; /* so large are most messages, see kin_queue_options; not of a stream */
    bool one_way;       /* the first end can only receive, the second only send */
    bool stream;        /* bytes instead of messages */
    uint16_t reserved_flags;
    uint64_t reserved[6];
} kin_pipe_options;

/* Makes a pipe; both ends belong to the calling process. options: NULL for all defaults. Errors:
   KIN_E_INVALID, KIN_E_INIT, KIN_E_NOMEM, KIN_E_LIMIT (too many pipes, locks and the like),
   KIN_E_THREAD_LIMIT. Does not block. Python: Pipe(); Pipe(duplex=False). */
KIN_API int kin_pipe_create(kin_connection *first, kin_connection *second,
                            const kin_pipe_options *options);

/* From now on the end belongs to that process, which may still be starting; whoever had it before
   may go on using it. If the process has ended already, that is no error: the end is closed, as it
   would be had the process ended a moment later. Errors: KIN_E_HANDLE (of either), KIN_E_INIT,
   KIN_E_THREAD_LIMIT. Does not block. */
KIN_API int kin_connection_give(kin_connection connection, kin_process process);

/* Closes an end, whoever it belongs to; its handle is stale from now on. The other side receives
   what was sent to it, then KIN_E_CLOSED; what was sent here and not received is gone, and the
   other side cannot send any more. Calls that wait at this end return KIN_E_CLOSED. Errors:
   KIN_E_HANDLE (closed already), KIN_E_INIT, KIN_E_THREAD_LIMIT. Python: close. */
KIN_API int kin_connection_close(kin_connection connection);

/* ---- messages, and streams ---- */

/* Sends a message of `size` bytes (data may be NULL for 0), waiting while `capacity` are on their
   way. Of a stream, sends all the bytes, waiting for room as often as it takes; those of several
   senders may be mixed. 0. Errors: KIN_E_CLOSED if the other end is closed, or closed meanwhile;
   KIN_E_TIMEOUT; KIN_E_STATE if this end can only receive; KIN_E_NOMEM if the arena is full, at
   once; KIN_E_INVALID, KIN_E_HANDLE, KIN_E_INIT, KIN_E_THREAD_LIMIT. After an error no message has
   been sent, nor when the caller is killed meanwhile, unless all of it has; but of a stream a
   beginning may have been: kin_connection_write tells how much. Python: send_bytes. */
KIN_API int kin_connection_send(kin_connection connection, const void *data, size_t size,
                                int timeout_ms);

/* Receives a message into `buffer`. size: NULL, or how many bytes it has. Of a stream, receives
   what is there, at least one byte and at most `capacity`; waits while there is nothing. 0. Errors:
   KIN_E_CLOSED if the other end is closed and everything has been received; KIN_E_TOO_SMALL for a
   message of more than `capacity` bytes: *size says how many, and it stays the next one;
   KIN_E_TIMEOUT; KIN_E_STATE if this end can only send; KIN_E_INVALID (also for no capacity of a
   stream), KIN_E_HANDLE, KIN_E_INIT, KIN_E_THREAD_LIMIT. If the caller is killed meanwhile, what
   was sent has not been received, or was the caller's. Python: recv_bytes, recv_bytes_into. */
KIN_API int kin_connection_receive(kin_connection connection, void *buffer, size_t capacity,
                                   size_t *size, int timeout_ms);

/* 1 if kin_connection_receive would not wait: something is there, or the other end is closed. Waits
   for that; 0 if it is not so in time. Errors: KIN_E_STATE if this end can only send; KIN_E_HANDLE,
   KIN_E_INIT, KIN_E_THREAD_LIMIT; KIN_E_CLOSED if this end is closed meanwhile. kin_wait waits for
   the same of many (and, of an end that can only send, for the other to be closed). Python: poll,
   multiprocessing.connection.wait. */
KIN_API int kin_connection_poll(kin_connection connection, int timeout_ms);

/* ---- streams alone: KIN_E_STATE for others ---- */

/* As kin_connection_send, and *done (NULL: nobody wants to know) says how many bytes have been
   sent: all if the result is 0, else those at the beginning. */
KIN_API int kin_connection_write(kin_connection connection, const void *data, size_t size,
                                 size_t *done, int timeout_ms);

/* Receives exactly `size` bytes, as they come. *done says how many are in `buffer`: all if the
   result is 0, else those that came before the error. Errors as of kin_connection_receive. */
KIN_API int kin_connection_read(kin_connection connection, void *buffer, size_t size, size_t *done,
                                int timeout_ms);

/* ---- messages without a copy: KIN_E_STATE for streams ---- */

/* Waits until there is room, and makes a message of `size` bytes to be filled in place, as
   kin_queue_reserve does. Errors as of kin_connection_send. If the caller is killed before it
   commits, the message is gone. */
KIN_API int kin_connection_reserve(kin_connection connection, kin_message *message, size_t size,
                                   int timeout_ms);

/* Sends a message that has been reserved for this end; never waits. Errors: KIN_E_CLOSED;
   KIN_E_INVALID if it is none, or larger than it was; KIN_E_NOMEM, KIN_E_HANDLE, KIN_E_INIT,
   KIN_E_THREAD_LIMIT. After an error the message is still the caller's. */
KIN_API int kin_connection_commit(kin_connection connection, kin_message *message);

/* Receives a message as it is. It is the caller's until it is sent, put, or released with
   kin_queue_release, also when the pipe is gone. Errors as of kin_connection_receive. */
KIN_API int kin_connection_take(kin_connection connection, kin_message *message, int timeout_ms);

/* Sends a message that was taken from a connection or a queue, or reserved for another, as
   kin_queue_put_message does. Errors as of kin_connection_send; after one it is still the
   caller's. */
KIN_API int kin_connection_send_message(kin_connection connection, kin_message *message,
                                        int timeout_ms);

#ifdef __cplusplus
}
#endif

#endif
