/* Who is who, in words. */
#include "core/who.h"

#include "core/process_object.h"
#include "core/sync.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void who_add(who_text *text, const char *format, ...)
{
    va_list arguments;
    if (text->left == 0) {
        return;
    }
    va_start(arguments, format);
    int length = vsnprintf(text->at, text->left, format, arguments);
    va_end(arguments);
    size_t added = length < 0 ? 0 : (size_t) length;
    added = added < text->left ? added : text->left - 1;
    text->at += added;
    text->left -= added;
}

static void copy_name(uint64_t process, char name[PROCESS_NAME_SIZE])
{
    object_guard guard;
    memcpy(name, "?", 2);
    if (object_enter(&guard, process, KIND_PROCESS) == 0) {
        memcpy(name, process_of(&guard)->name, PROCESS_NAME_SIZE);
        name[PROCESS_NAME_SIZE - 1] = '\0';
        object_leave(&guard);
    }
}

void who_add_process(who_text *text, uint64_t id)
{
    char name[PROCESS_NAME_SIZE];
    copy_name(id, name);
    who_add(text, "%s", name);
}

void who_add_thread(who_text *text, uint64_t reference, uint32_t number)
{
    char name[PROCESS_NAME_SIZE];
    member *m = member_at(reference);
    if (m == NULL) {
        who_add(text, "a process that is gone");
        return;
    }
    copy_name(atomic_load(&m->process), name);
    who_add(text, "%s (pid %" PRIu64 ", thread %" PRIu32 ")", name, m->identity.pid, number);
}

static const char *name_of_kind(enum object_kind kind)
{
    switch (kind) {
    case KIND_LOCK:
        return "lock";
    case KIND_RLOCK:
        return "recursive lock";
    case KIND_RWLOCK:
        return "read-write lock";
    case KIND_SEMAPHORE:
        return "semaphore";
    case KIND_EVENT:
        return "event";
    case KIND_CONDITION:
        return "condition";
    case KIND_BARRIER:
        return "barrier";
    case KIND_QUEUE:
    case KIND_QUEUE_PUT:
    case KIND_QUEUE_GET:
        return "queue";
    case KIND_CONNECTION:
        return "connection";
    case KIND_LIST:
        return "list";
    case KIND_DICT:
        return "dictionary";
    case KIND_ARRAY:
        return "array";
    case KIND_COUNTER:
        return "counter";
    default:
        return "object";
    }
}

void who_add_sync(who_text *text, uint64_t id)
{
    char name[SYNC_NAME_SIZE] = "";
    sync *s = sync_find(id, object_kind_of(id));
    if (s != NULL) {
        sync_name(s, name);
    }
    if (name[0] != '\0') {
        who_add(text, "%s \"%s\"", name_of_kind(object_kind_of(id)), name);
    } else {
        who_add(text, "%s %" PRIx64, name_of_kind(object_kind_of(id)), id);
    }
}

void who_find_site(uint64_t reference, uint64_t address, char *module, size_t size,
                   uint64_t *offset)
{
    member *m = member_at(reference);
    *offset = address;
    module[0] = '\0';
    if (m != NULL && address != 0) {
        platform_identity identity = m->identity;
        if (platform_module_elsewhere(&identity, address, module, size, offset) < 0) {
            *offset = address;
            module[0] = '\0';
        }
    }
}

void who_add_site(who_text *text, uint64_t reference, uint64_t address)
{
    char module[512];
    uint64_t offset;
    if (address == 0) {
        return;
    }
    who_find_site(reference, address, module, sizeof module, &offset);
    if (module[0] != '\0') {
        who_add(text, " at %s+0x%" PRIx64, module, offset);
    } else {
        who_add(text, " at 0x%" PRIx64, offset);
    }
}
