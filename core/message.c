/* Messages; message.h has the argument. */
#include "core/message.h"

int message_create(message **created, uint64_t *id, uint64_t size)
{
    object *o = NULL;
    if (size > arena_memory()->size) {
        return KIN_E_NOMEM;
    }
    int status = object_create_bare(&o, sizeof(message) + size, sizeof(message));
    if (status < 0) {
        return status;
    }
    message *m = (message *) o;
    m->size = size;
    m->room = size;
    atomic_store_explicit(&m->holder, member_self(), memory_order_relaxed);
    status = object_publish(o, KIND_MESSAGE, 0, id);
    if (status < 0) {
        object_drop(o);
    }
    *created = m;
    return status;
}
