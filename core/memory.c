/* Blocks of shared memory with handles. A block's bytes lie behind its object's first part, at
   `start`, and its size is one word.

   A block is resized where it is, by one thread at a time, which stands in `resizer`. One that
   grows has its new bytes, all zero, before its size says so; one that shrinks has its new size
   before anything is given back. So whoever reads a size has so many bytes. Killed in between, a
   block has more memory than it needs, and the next one that wants to resize it finds that the one
   in `resizer` is gone and takes its place: as soon as the recovery of that one is over, which
   gives back what it was about to add. */
#include "core/death.h"
#include "core/error.h"
#include "core/wait.h"

#include <kin/memory.h>

#include <string.h>

/* How long a recovery that somebody else is about is waited for at most, and between two looks. */
#define RECOVERY_NS INT64_C(1000000000)
#define PAUSE_NS INT64_C(1000000)

enum { ALIGNMENT = 64, ON_NODE = 1, HUGE_PAGES = 2, NODE_SHIFT = 8 };

typedef struct memory_object {
    object object;
    _Atomic uint64_t size;
    uint32_t start;           /* of the bytes, from the object's own first one */
    uint32_t wishes;          /* flags and the node; for what is added */
    _Atomic uint64_t resizer; /* a thread's token, and the slot of its member; or 0 */
    wait_signal resized;
} memory_object;

static unsigned char *bytes_of(memory_object *m)
{
    return (unsigned char *) m + m->start;
}

static bool is_good(const kin_memory_options *how)
{
    uint64_t alignment = how->alignment;
    return (alignment & (alignment - 1)) == 0 && alignment <= KIN_MEMORY_ALIGNMENT_LIMIT &&
           (how->node == 0 || how->on_node) && how->node <= KIN_MEMORY_NODE_LIMIT;
}

/* Where the bytes have to begin. */
static uint64_t alignment_of(const kin_memory_options *how, uint64_t size)
{
    uint64_t huge = how->huge_pages ? platform_memory_huge_page_size(arena_memory()) : 0;
    uint64_t wanted = huge != 0 && size >= huge ? huge : how->alignment;
    return wanted > ALIGNMENT ? wanted : ALIGNMENT;
}

/* Has [from, to) of the block's bytes placed as it was wished for. */
static int place(memory_object *m, uint64_t from, uint64_t to)
{
    uint64_t page = platform_memory_page_size();
    uint64_t start = arena_offset(bytes_of(m) + from) / page * page;
    uint64_t end = (arena_offset(bytes_of(m) + to) + page - 1) / page * page;
    int status = 0;
    if ((m->wishes & ON_NODE) != 0) {
        status = platform_memory_use_node(arena_memory(), (size_t) start, (size_t) (end - start),
                                          m->wishes >> NODE_SHIFT);
    }
    if ((m->wishes & HUGE_PAGES) != 0) {
        int huge =
            platform_memory_use_huge_pages(arena_memory(), (size_t) start, (size_t) (end - start));
        status = status < 0 ? status : huge;
    }
    return status;
}

static int create(uint64_t *id, uint64_t size, const kin_memory_options *how)
{
    uint64_t alignment = alignment_of(how, size);
    uint64_t most = arena_memory()->size;
    if (size > most || most - size < sizeof(memory_object) + alignment) {
        return KIN_E_NOMEM;
    }
    object *o = NULL;
    int status = object_create(&o, sizeof(memory_object) + alignment - ALIGNMENT + size);
    if (status < 0) {
        return status;
    }
    memory_object *m = (memory_object *) o;
    uint64_t first = arena_offset(o) + sizeof *m;
    m->start = (uint32_t) (sizeof *m + (alignment - first % alignment) % alignment);
    m->wishes =
        (how->on_node ? ON_NODE | how->node << NODE_SHIFT : 0) | (how->huge_pages ? HUGE_PAGES : 0);
    atomic_store(&m->size, size);
    bool refused = place(m, 0, size) < 0 || (how->huge_pages && alignment <= ALIGNMENT);
    status = refused && how->required ? KIN_E_UNSUPPORTED : 0;
    if (status == 0) {
        status = object_publish(o, KIND_MEMORY, 0, id);
    }
    if (status < 0) {
        object_drop(o);
    }
    return status;
}

int kin_memory_create_with(kin_memory *memory, size_t size, const kin_memory_options *options)
{
    static const kin_memory_options defaults;
    const kin_memory_options *how = options != NULL ? options : &defaults;
    error_clear();
    if (memory == NULL || size == 0 || !is_good(how)) {
        return KIN_E_INVALID;
    }
    return family_is_joined() ? create(&memory->id, size, how) : KIN_E_INIT;
}

int kin_memory_create(kin_memory *memory, size_t size)
{
    return kin_memory_create_with(memory, size, NULL);
}

void *kin_memory_address(kin_memory memory)
{
    void *address = NULL;
    object_guard guard;
    if (object_enter(&guard, memory.id, KIND_MEMORY) == 0) {
        address = bytes_of((memory_object *) guard.object);
    }
    object_leave(&guard);
    return address;
}

size_t kin_memory_size(kin_memory memory)
{
    size_t size = 0;
    object_guard guard;
    if (object_enter(&guard, memory.id, KIND_MEMORY) == 0) {
        size = (size_t) atomic_load(&((memory_object *) guard.object)->size);
    }
    object_leave(&guard);
    return size;
}

int kin_memory_destroy(kin_memory memory)
{
    error_clear();
    return object_kind_of(memory.id) == KIND_MEMORY ? object_destroy(memory.id) : KIN_E_HANDLE;
}

/* ---- resizing ---- */

/* Of one that is gone. */
static bool is_being_recovered(uint64_t resizer)
{
    uint32_t slot = (uint32_t) resizer & ((UINT32_C(1) << TOKEN_SHIFT) - 1);
    const member *its = arena_entry(ARENA_MEMBERS, slot);
    uint64_t state = its != NULL ? atomic_load(&its->state) : MEMBER_FREE;
    uint64_t reference = state >> 32 << 32 | slot;
    return (state & 0xff) == MEMBER_DEAD && death_check(reference) &&
           member_state_of(reference) == MEMBER_DEAD;
}

static int begin_resize(memory_object *m, const thread_self *t)
{
    int status = 0;
    int64_t patience = 0;
    uint64_t mine = t->token | member_slot(member_self());
    while (status == 0) {
        uint32_t seen = wait_count(&m->resized);
        uint64_t process;
        uint64_t other = 0;
        if (atomic_compare_exchange_strong(&m->resizer, &other, mine)) {
            return 0;
        }
        if (thread_is_there(other, &process) && !death_check(process)) {
            status = wait_for_change(&m->resized, seen, INT64_MAX);
        } else if (patience < RECOVERY_NS && is_being_recovered(other)) {
            platform_sleep_ns(PAUSE_NS);
            patience += PAUSE_NS;
        } else if (atomic_compare_exchange_strong(&m->resizer, &other, mine)) {
            return 0;
        }
    }
    return status;
}

static void end_resize(memory_object *m)
{
    atomic_store(&m->resizer, 0);
    wait_raise(&m->resized);
}

static int grow(memory_object *m, uint64_t before, uint64_t size)
{
    uint64_t block = arena_offset(m);
    uint64_t room = arena_block_size(block) - m->start;
    int status = size > room ? arena_resize(block, m->start + size) : 0;
    if (status < 0) {
        return status;
    }
    /* What is added to the block is zero; what it had may have been in use before it shrank. */
    memset(bytes_of(m) + before, 0, (size_t) ((size < room ? size : room) - before));
    if (size > room) {
        (void) place(m, room, size); /* a wish */
    }
    atomic_store(&m->size, size);
    return 0;
}

static int resize(memory_object *m, uint64_t size)
{
    int status = 0;
    thread_self *t = thread_current(&status);
    if (t == NULL) {
        return status;
    }
    if (size > arena_memory()->size - m->start) {
        return KIN_E_NOMEM;
    }
    status = begin_resize(m, t);
    if (status < 0) {
        return status;
    }
    uint64_t before = atomic_load(&m->size);
    if (size > before) {
        status = grow(m, before, size);
    } else {
        atomic_store(&m->size, size);
        (void) arena_resize(arena_offset(m), m->start + size); /* else it keeps what it has */
    }
    end_resize(m);
    return status;
}

int kin_memory_resize(kin_memory memory, size_t size)
{
    error_clear();
    if (size == 0) {
        return KIN_E_INVALID;
    }
    object_guard guard;
    int status = object_enter(&guard, memory.id, KIND_MEMORY);
    if (status == 0) {
        status = resize((memory_object *) guard.object, size);
    }
    object_leave(&guard);
    return status;
}
