/* Memory that all processes of a family share. */
#ifndef KIN_MEMORY_H
#define KIN_MEMORY_H

#include <kin/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A block of shared memory. Zero is none. */
typedef struct kin_memory {
    uint64_t id;
} kin_memory;

/* Makes a block of `size` bytes, all zero, aligned to 64 bytes. It lasts until it is destroyed or
   the family ends. Errors: KIN_E_INVALID, KIN_E_INIT, KIN_E_NOMEM, KIN_E_THREAD_LIMIT. Does not
   block. Python: shared_memory.SharedMemory(create=True), RawArray. */
KIN_API int kin_memory_create(kin_memory *memory, size_t size);

/* Where it is in this process; NULL if the handle is not good. Good until it is destroyed by
   whomever: a block that others may destroy must not be used any more when they do. */
KIN_API void *kin_memory_address(kin_memory memory);

/* Its size in bytes; 0 if the handle is not good. */
KIN_API size_t kin_memory_size(kin_memory memory);

/* Gives it back. Nobody may use it any more. Errors: KIN_E_HANDLE, KIN_E_INIT. Python: unlink. */
KIN_API int kin_memory_destroy(kin_memory memory);

#ifdef __cplusplus
}
#endif

#endif
