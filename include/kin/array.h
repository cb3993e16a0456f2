/* Arrays of elements of one size in shared memory, with a lock of their own. Python:
   multiprocessing.Array, Value (an array of one), RawArray, RawValue.

   Calls that read or write elements take the array's lock by themselves, unless the array was made
   `unlocked`; what has to be done as a whole by several calls is done between kin_array_lock and
   kin_array_unlock. If a thread ends, or its process is killed, while it writes or after it has
   locked the array, the next one that comes to the lock is told by KIN_OWNER_DIED: some of the
   elements may be new and others old. The death of one that only reads is told to nobody. An
   element of 1, 2, 4 or 8 bytes is never torn, not even without the lock; one of another size may
   be. */
#ifndef KIN_ARRAY_H
#define KIN_ARRAY_H

#include <kin/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* An array. Zero is none. */
typedef struct kin_array {
    uint64_t id;
} kin_array;

/* How an array is made. Zero means the default. */
typedef struct kin_array_options {
    const char *name;    /* for those who look at it; at most 31 bytes; NULL: none */
    const void *initial; /* its elements at the beginning, which are copied; NULL: all bytes 0 */
    bool unlocked;       /* to read and to write does not take the lock */
    uint64_t reserved[5];
} kin_array_options;

/* Makes an array of `length` elements of `element_size` bytes, neither of them 0. Its first byte is
   aligned to 64 bytes. It lasts until it is destroyed or the family ends. Errors: KIN_E_INVALID,
   KIN_E_INIT, KIN_E_NOMEM, KIN_E_LIMIT (too many arrays, locks and the like), KIN_E_THREAD_LIMIT.
   Does not block. Python: Array(typecode, size_or_initializer, lock=not unlocked). */
KIN_API int kin_array_create(kin_array *array, size_t element_size, size_t length,
                             const kin_array_options *options);

/* Copies the `count` elements from `index` on to `elements`. 0; KIN_OWNER_DIED: done, but the
   lock's owner before ended without releasing it. Errors: KIN_E_INVALID if they are not all within
   the array, or elements is NULL; KIN_E_HANDLE, KIN_E_INIT, KIN_E_THREAD_LIMIT; KIN_E_LIMIT in
   calls that are nested too deep; KIN_E_DESTROYED if it is destroyed meanwhile; KIN_E_DEADLOCK if
   to wait for the lock would close a cycle and such are looked for. Waits for the lock. Python:
   array[i:j]. */
KIN_API int kin_array_read(kin_array array, size_t index, size_t count, void *elements);

/* Copies `count` elements from `elements` to those from `index` on. All else as kin_array_read. If
   this process is killed in the middle of it some of them may have been written: the next one who
   has the lock is told KIN_OWNER_DIED. Python: array[i:j] = elements. */
KIN_API int kin_array_write(kin_array array, size_t index, size_t count, const void *elements);

/* kin_array_read of one element. Python: array[i], value.value. */
KIN_API int kin_array_get(kin_array array, size_t index, void *element);

/* kin_array_write of one element. Python: array[i] = x, value.value = x. */
KIN_API int kin_array_set(kin_array array, size_t index, const void *element);

/* Waits for the array's lock and takes it; its owner may take it again, and releases it as often.
   Whoever gets it after its owner's death has taken it once. Returns what kin_rlock_acquire does.
   Works for an `unlocked` array as well. Python: get_lock().acquire. */
KIN_API int kin_array_lock(kin_array array, int timeout_ms);

/* Releases the array's lock once. Returns what kin_rlock_release does. Does not block. Python:
   get_lock().release. */
KIN_API int kin_array_unlock(kin_array array);

/* Where its elements are in this process, for direct use; NULL if the handle is not good. Good
   until it is destroyed by whomever. Python: get_obj(). */
KIN_API void *kin_array_address(kin_array array);

/* How many elements it has; 0 if the handle is not good. Does not block. Python: len. */
KIN_API size_t kin_array_length(kin_array array);

/* The bytes of one element; 0 if the handle is not good. Does not block. Python: ctypes.sizeof. */
KIN_API size_t kin_array_element_size(kin_array array);

/* Ends an array, locked or not. Those who wait for its lock get KIN_E_DESTROYED, whoever uses it
   later KIN_E_HANDLE; a call that is copying finishes that first. Errors: KIN_E_HANDLE, KIN_E_INIT,
   KIN_E_THREAD_LIMIT. Does not block. */
KIN_API int kin_array_destroy(kin_array array);

#ifdef __cplusplus
}
#endif

#endif
