/* Blocks of shared memory with handles. */
#include "core/error.h"
#include "core/object.h"

#include <kin/memory.h>

typedef struct memory_object {
    object object;
    uint64_t size;
    _Alignas(64) unsigned char bytes[];
} memory_object;

int kin_memory_create(kin_memory *memory, size_t size)
{
    error_clear();
    if (memory == NULL || size == 0) {
        return KIN_E_INVALID;
    }
    if (!family_is_joined()) {
        return KIN_E_INIT;
    }
    if (size > arena_memory()->size) {
        return KIN_E_NOMEM;
    }
    object *o = NULL;
    int status = object_create(&o, sizeof(memory_object) + size);
    if (status < 0) {
        return status;
    }
    ((memory_object *) o)->size = size;
    status = object_publish(o, KIND_MEMORY, 0, &memory->id);
    if (status < 0) {
        object_drop(o);
    }
    return status;
}

void *kin_memory_address(kin_memory memory)
{
    void *address = NULL;
    object_guard guard;
    if (object_enter(&guard, memory.id, KIND_MEMORY) == 0) {
        address = ((memory_object *) guard.object)->bytes;
    }
    object_leave(&guard);
    return address;
}

size_t kin_memory_size(kin_memory memory)
{
    size_t size = 0;
    object_guard guard;
    if (object_enter(&guard, memory.id, KIND_MEMORY) == 0) {
        size = (size_t) ((memory_object *) guard.object)->size;
    }
    object_leave(&guard);
    return size;
}

int kin_memory_destroy(kin_memory memory)
{
    error_clear();
    return object_kind_of(memory.id) == KIND_MEMORY ? object_destroy(memory.id) : KIN_E_HANDLE;
}
