/* Dictionaries between threads and processes. Python: SyncManager.dict, but without a server: a
   dictionary lies in the family's shared memory, and each call is a look or a change there.

   Keys and values are numbers of bytes, from none to as many as the arena holds. A key is there
   once. Every call is done whole or not at all, also if the caller is killed in it: everybody else
   finds the old value or the new one, never a part, and nothing of the dead one's stays behind.
   What nobody contends makes no system call. Calls on one dictionary happen one after the other; a
   value of more than 1 KiB is copied without keeping others from theirs.

   All of a dictionary comes back to the arena when it is destroyed or cleared; what single elements
   leave is used for others of about the same size. A table that is full is replaced by a larger one
   in one call, for which others wait: with a million elements about a tenth of a second.

   Errors that every call can give: KIN_E_HANDLE; KIN_E_DESTROYED if it is destroyed while the call
   waits for its turn; KIN_E_INIT; KIN_E_THREAD_LIMIT; KIN_E_LIMIT in calls that are nested too
   deep; KIN_E_INVALID for a NULL that is said to have a size. After an error all is as before. */
#ifndef KIN_DICT_H
#define KIN_DICT_H

#include <kin/base.h>
#include <kin/queue.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A dictionary. Zero is none. */
typedef struct kin_dict {
    uint64_t id;
} kin_dict;

/* How a dictionary is made. Zero means the default. */
typedef struct kin_dict_options {
    const char *name;  /* for those who look at it; at most 31 bytes; NULL: none */
    uint64_t expected; /* elements for which there is room from the beginning; 0: a few */
    uint64_t reserved[6];
} kin_dict_options;

/* One element, to be put in. */
typedef struct kin_dict_item {
    const void *key;
    size_t key_size;
    const void *value;
    size_t value_size;
} kin_dict_item;

/* Where one is who goes through a dictionary. Zero: at the beginning. */
typedef struct kin_dict_cursor {
    uint64_t number;
    uint64_t place;
    uint64_t reserved[2];
} kin_dict_cursor;

/* Makes a dictionary without elements. It lasts until it is destroyed or the family ends. Errors:
   KIN_E_INVALID, KIN_E_INIT, KIN_E_NOMEM, KIN_E_LIMIT (too many dictionaries, locks and the like),
   KIN_E_THREAD_LIMIT. Does not block. Python: SyncManager.dict(). */
KIN_API int kin_dict_create(kin_dict *dict, const kin_dict_options *options);

/* Gives a key a value, in place of the one that it has. Errors: KIN_E_NOMEM, then it has the old
   one; those of every call. Python: d[key] = value. */
KIN_API int kin_dict_set(kin_dict dict, const void *key, size_t key_size, const void *value,
                         size_t value_size);

/* The same for a key that is not there: else KIN_E_EXISTS. Of several who try it one succeeds. */
KIN_API int kin_dict_set_new(kin_dict dict, const void *key, size_t key_size, const void *value,
                             size_t value_size);

/* Gives a key that is not there a value. present: NULL, or a buffer for the value that the key has
   now; its `size` says how much room it has, and afterwards how many bytes the value has. Errors:
   KIN_E_TOO_SMALL if it is too small, then nothing has changed; KIN_E_NOMEM; those of every call.
   Python: setdefault. */
KIN_API int kin_dict_set_default(kin_dict dict, const void *key, size_t key_size, const void *value,
                                 size_t value_size, kin_buffer *present);

/* Sets several, one after the other; others may come in between, and a caller that is killed may
   have set the first of them only. Errors as of kin_dict_set, after the first that fails. Python:
   update. */
KIN_API int kin_dict_update(kin_dict dict, const kin_dict_item *items, size_t count);

/* Copies the value of a key to `buffer`. size: NULL, or how many bytes it has. Errors:
   KIN_E_NOT_FOUND; KIN_E_TOO_SMALL if it has more than `capacity` bytes: *size says how many;
   those of every call. Python: d[key], get. */
KIN_API int kin_dict_get(kin_dict dict, const void *key, size_t key_size, void *buffer,
                         size_t capacity, size_t *size);

/* The same, and removes the key, unless the buffer is too small. If the caller is killed the key is
   still there, or was the caller's. Python: pop. */
KIN_API int kin_dict_pop(kin_dict dict, const void *key, size_t key_size, void *buffer,
                         size_t capacity, size_t *size);

/* 1 if the key is there, else 0; or an error of every call. Python: key in d. */
KIN_API int kin_dict_has(kin_dict dict, const void *key, size_t key_size);

/* Removes a key. Errors: KIN_E_NOT_FOUND; those of every call. Python: del d[key]. */
KIN_API int kin_dict_remove(kin_dict dict, const void *key, size_t key_size);

/* Adds `delta` to a value that is an int64_t; one that is not there counts as 0. value: NULL, or
   what it is now. An overflow wraps around. Errors: KIN_E_STATE if the value does not have 8 bytes;
   KIN_E_NOMEM; those of every call. Python: d[key] += delta, which is no single step there. */
KIN_API int kin_dict_increment(kin_dict dict, const void *key, size_t key_size, int64_t delta,
                               int64_t *value);

/* If a key has the value `expected` (NULL: if it is not there) gives it another (NULL: removes it).
   A value of no bytes is any pointer but NULL. Errors: KIN_E_STATE if it has another value,
   KIN_E_NOT_FOUND if it has none, KIN_E_EXISTS if it has one; KIN_E_NOMEM; those of every call. */
KIN_API int kin_dict_compare_set(kin_dict dict, const void *key, size_t key_size,
                                 const void *expected, size_t expected_size, const void *value,
                                 size_t value_size);

/* How many keys there are at this moment, exactly; or an error of every call. Python: len. */
KIN_API int64_t kin_dict_length(kin_dict dict);

/* Gives the next element, in the order in which the keys came in (a key that gets another value
   stays where it is), and moves the cursor on. key, value: NULL, or a buffer whose `size` says how
   much room it has, and afterwards how many bytes there are. Each element that is there all the
   time is given exactly once, whatever others do meanwhile; one that comes in is given if it is
   still there when its turn comes. A cursor can be copied, and used in any process. Errors:
   KIN_E_NOT_FOUND at the end; KIN_E_TOO_SMALL, then the cursor stays where it is, and the sizes are
   those that are needed; those of every call. Python: items, keys, values, iter. */
KIN_API int kin_dict_next(kin_dict dict, kin_dict_cursor *cursor, kin_buffer *key,
                          kin_buffer *value);

/* Removes all keys, in one step. Errors: KIN_E_NOMEM; those of every call. Python: clear. */
KIN_API int kin_dict_clear(kin_dict dict);

/* Ends a dictionary with all that is in it. Those who wait for their turn get KIN_E_DESTROYED,
   whoever uses it later KIN_E_HANDLE. Errors: those of every call. */
KIN_API int kin_dict_destroy(kin_dict dict);

#ifdef __cplusplus
}
#endif

#endif
