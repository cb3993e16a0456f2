/* Lists between threads and processes. Python: SyncManager.list, but without a server: a list lies
   in the family's shared memory, and each call is a look or a change there.

   Elements are numbers of bytes, from none to as many as the arena holds. An index counts from the
   first, 0, or from the last, -1, as in Python. Every call is done whole or not at all, also if the
   caller is killed in it: everybody else finds the list as it was before or after, and nothing of
   the dead one's stays behind. What nobody contends makes no system call. Calls on one list happen
   one after the other; an element of more than 1 KiB is copied without keeping others from theirs.

   To append, to insert first, to get, to set and to pop at either end takes the same time however
   long the list is. In the middle, to insert or to remove moves a name of 8 bytes for each element
   on the shorter side, and to find looks at each. All of a list comes back to the arena when it is
   destroyed or cleared; what single elements leave is used for others of about the same size.

   Errors that every call can give: KIN_E_HANDLE; KIN_E_DESTROYED if it is destroyed while the call
   waits for its turn; KIN_E_INIT; KIN_E_THREAD_LIMIT; KIN_E_LIMIT in calls that are nested too
   deep; KIN_E_INVALID for a NULL that is said to have a size. After an error all is as before. */
#ifndef KIN_LIST_H
#define KIN_LIST_H

#include <kin/base.h>
#include <kin/queue.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A list. Zero is none. */
typedef struct kin_list {
    uint64_t id;
} kin_list;

/* How a list is made. Zero means the default. */
typedef struct kin_list_options {
    const char *name;  /* for those who look at it; at most 31 bytes; NULL: none */
    uint64_t expected; /* elements for which there is room from the beginning; 0: a few */
    uint64_t reserved[6];
} kin_list_options;

/* Where one is who goes through a list. Zero: at the beginning. */
typedef struct kin_list_cursor {
    uint64_t position;
    uint64_t moves;
    uint64_t begun;
    uint64_t reserved;
} kin_list_cursor;

/* Makes a list without elements. It lasts until it is destroyed or the family ends. Errors:
   KIN_E_INVALID, KIN_E_INIT, KIN_E_NOMEM, KIN_E_LIMIT (too many lists, locks and the like),
   KIN_E_THREAD_LIMIT. Does not block. Python: SyncManager.list(). */
KIN_API int kin_list_create(kin_list *list, const kin_list_options *options);

/* Adds an element at the end. Errors: KIN_E_NOMEM; those of every call. Python: append. */
KIN_API int kin_list_append(kin_list list, const void *data, size_t size);

/* Adds an element before the one with that index; beyond the first or last one, there. Errors as of
   kin_list_append. Python: insert. */
KIN_API int kin_list_insert(kin_list list, int64_t index, const void *data, size_t size);

/* Adds several at the end, all in one step. Errors as of kin_list_append. Python: extend. */
KIN_API int kin_list_extend(kin_list list, const kin_buffer *items, size_t count);

/* Copies an element to `buffer`. size: NULL, or how many bytes it has. Errors: KIN_E_NOT_FOUND if
   there is none with that index; KIN_E_TOO_SMALL if it has more than `capacity` bytes: *size says
   how many; those of every call. Python: l[index]. */
KIN_API int kin_list_get(kin_list list, int64_t index, void *buffer, size_t capacity, size_t *size);

/* The same, and removes it, unless the buffer is too small. If the caller is killed it is still
   there, or was the caller's. Python: pop(index), where the default is -1. */
KIN_API int kin_list_pop(kin_list list, int64_t index, void *buffer, size_t capacity, size_t *size);

/* Replaces an element. Errors: KIN_E_NOT_FOUND; KIN_E_NOMEM; those of every call. Python:
   l[index] = data. */
KIN_API int kin_list_set(kin_list list, int64_t index, const void *data, size_t size);

/* Removes an element. Errors: KIN_E_NOT_FOUND; those of every call. Python: del l[index]. */
KIN_API int kin_list_delete(kin_list list, int64_t index);

/* Removes the first element that has these bytes. Errors: KIN_E_NOT_FOUND; those of every call.
   Others wait while it looks. Python: remove. */
KIN_API int kin_list_remove(kin_list list, const void *data, size_t size);

/* The index of the first element, from that with the index `start` on, that has these bytes; or
   KIN_E_NOT_FOUND, or an error of every call. Others wait while it looks. Python: index. */
KIN_API int64_t kin_list_find(kin_list list, const void *data, size_t size, int64_t start);

/* Adds `delta` to an element that is an int64_t. value: NULL, or what it is now. An overflow wraps
   around. Errors: KIN_E_STATE if it does not have 8 bytes; KIN_E_NOT_FOUND; those of every call.
   Python: l[index] += delta, which is no single step there. */
KIN_API int kin_list_increment(kin_list list, int64_t index, int64_t delta, int64_t *value);

/* Replaces an element if it is `expected`. Errors: KIN_E_STATE if it is not; KIN_E_NOT_FOUND;
   KIN_E_NOMEM; those of every call. */
KIN_API int kin_list_compare_set(kin_list list, int64_t index, const void *expected,
                                 size_t expected_size, const void *data, size_t size);

/* How many elements there are at this moment, exactly; or an error of every call. Python: len. */
KIN_API int64_t kin_list_length(kin_list list);

/* Gives the next element and moves the cursor on. Each element that is there all the time is given
   exactly once, whatever others do meanwhile: what they insert or remove does not make it skip or
   repeat any. One that comes in is given if it comes behind those that have been. If since the last
   call there were more than 32 insertions or removals in the middle, the cursor does not know any
   more where it was: KIN_E_STATE, and it has to begin anew. A cursor can be copied, and used in any
   process. Errors: KIN_E_NOT_FOUND at the end; KIN_E_TOO_SMALL, then the cursor stays where it is,
   and *size says how many bytes are needed; those of every call. Python: iter. */
KIN_API int kin_list_next(kin_list list, kin_list_cursor *cursor, void *buffer, size_t capacity,
                          size_t *size);

/* Removes all elements, in one step. Errors: KIN_E_NOMEM; those of every call. Python: clear. */
KIN_API int kin_list_clear(kin_list list);

/* Ends a list with all that is in it. Those who wait for their turn get KIN_E_DESTROYED, whoever
   uses it later KIN_E_HANDLE. Errors: those of every call. */
KIN_API int kin_list_destroy(kin_list list);

#ifdef __cplusplus
}
#endif

#endif
