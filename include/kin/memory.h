/* Memory that all processes of a family share. Python: multiprocessing.shared_memory, RawArray. */
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

/* The most that can be asked for as alignment, and the last node. */
#define KIN_MEMORY_ALIGNMENT_LIMIT 4096u
#define KIN_MEMORY_NODE_LIMIT 65535u

/* How a block is made. Zero means the default. Huge pages and nodes are wishes: what the system
   does not do, or refuses, is done without, unless `required`. Windows does neither. */
typedef struct kin_memory_options {
    uint32_t alignment; /* its address in every process is a multiple of this power of two; default
                           64, at most KIN_MEMORY_ALIGNMENT_LIMIT */
    uint32_t node;      /* with on_node: the NUMA node */
    bool on_node;       /* its memory is to be that of a NUMA node */
    bool huge_pages;    /* of a block of at least one huge page (2 MiB): its whole pages are to be
                           such, and it begins with one. Takes up to 2 MiB more */
    bool required;      /* KIN_E_UNSUPPORTED if it cannot be as wished */
    uint8_t reserved_flags[5];
    uint64_t reserved[6];
} kin_memory_options;

/* Makes a block of `size` bytes, all zero, aligned to 64 bytes. It lasts until it is destroyed or
   the family ends; if the caller is killed before it returns, the block is there and whole, or not
   at all. Errors: KIN_E_INVALID, KIN_E_INIT, KIN_E_NOMEM, KIN_E_THREAD_LIMIT. Does not block.
   Python: SharedMemory(create=True), RawArray. */
KIN_API int kin_memory_create(kin_memory *memory, size_t size);

/* The same with options. KIN_E_INVALID for options out of range; KIN_E_UNSUPPORTED. */
KIN_API int kin_memory_create_with(kin_memory *memory, size_t size,
                                   const kin_memory_options *options);

/* Where it is in this process; NULL if the handle is not good. Good until it is destroyed by
   whomever, however often it is resized: a block that others may destroy must not be used any more
   when they do. Python: buf. */
KIN_API void *kin_memory_address(kin_memory memory);

/* Its size in bytes; 0 if the handle is not good. Python: size. */
KIN_API size_t kin_memory_size(kin_memory memory);

/* Makes it larger or smaller where it is: its address stays, in every process, and so does what it
   holds. New bytes are zero. Nobody may use those that are given up. To grow it needs room right
   behind it; KIN_E_NOMEM if there is none, or no memory: then it is as before. A smaller block
   always has room to become as large again as the memory that it keeps: 8 KiB steps, of small ones
   less. Other members see the new size at once. If the caller is killed meanwhile it has the one
   size or the other. Errors: KIN_E_INVALID for a size of 0, KIN_E_HANDLE, KIN_E_INIT, KIN_E_NOMEM,
   KIN_E_THREAD_LIMIT, KIN_E_LIMIT in calls that are nested too deep. Waits while another thread
   resizes it. Python: mmap.resize. */
KIN_API int kin_memory_resize(kin_memory memory, size_t size);

/* Gives it back. Nobody may use it any more. Errors: KIN_E_HANDLE, KIN_E_INIT, KIN_E_THREAD_LIMIT.
   Does not block. Python: unlink. */
KIN_API int kin_memory_destroy(kin_memory memory);

#ifdef __cplusplus
}
#endif

#endif
