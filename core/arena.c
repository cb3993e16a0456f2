/* The arena as a whole: making and joining it, its tables, its lock, and which of span.c and slab.c
   does what. */
#include "core/heap.h"

heap_view heap;

static const _Atomic uint32_t no_entries;
arena_view arena_now = {NULL, 0, &no_entries};

#define ARENA_MAGIC UINT64_C(0x616e6572616e696b) /* "kinarena" */

/* Of members and threads there are NEAR_BYTES beside the header. */
enum { ALIGNMENT = 65536, SMALLEST = 1 << 20, LAYOUT_VERSION = 4, NEAR_BYTES = 8192 };

/* Of the arena no more than so much is set aside for syncs, and never more than so many. */
enum { SYNCS_SHARE = 64, MOST_SYNCS = 1 << 22 };

static uint64_t round_up(uint64_t n, uint64_t step)
{
    return (n + step - 1) / step * step;
}

static uint64_t layout_of(const arena_plan *plan)
{
    return (uint64_t) LAYOUT_VERSION << 48 ^ (uint64_t) sizeof(heap_header) << 32 ^
           (uint64_t) plan->sync_size << 32 ^ (uint64_t) plan->member_size << 16 ^
           plan->thread_size;
}

/* Who joins knows the size of the arena alone. Below the header is room for as many units as it
   could have. */
static uint64_t header_offset(uint64_t size)
{
    return round_up((size >> UNIT_SHIFT) * sizeof(unit), ALIGNMENT);
}

/* What the header takes, with the members and threads beside it. */
static uint64_t near_bytes(void)
{
    uint64_t page = platform_memory_page_size();
    return round_up(round_up(sizeof(heap_header), 64) + 2 * (uint64_t) NEAR_BYTES,
                    page > UNIT_SIZE ? page : UNIT_SIZE);
}

/* Where each table and the heap lie in an arena of `size` bytes. Tables that would take more than a
   quarter of it are made smaller. False if it is too small for anything. */
static bool lay_out(heap_header *header, uint64_t size, const arena_plan *plan)
{
    const uint32_t sizes[ARENA_TABLES] = {sizeof(unit), sizeof(heap_owner), plan->member_size,
                                          plan->thread_size, plan->sync_size};
    uint64_t syncs = size / SYNCS_SHARE / plan->sync_size;
    uint64_t members = plan->max_members;
    uint64_t threads = plan->max_threads;
    while (members > 1 &&
           members * (sizeof(heap_owner) + plan->member_size) + threads * plan->thread_size >
               size / 4) {
        members /= 2;
        threads /= 2;
    }
    const uint64_t limits[ARENA_TABLES] = {0, members + 1, members + 1,
                                           (threads > 1 ? threads : 1) + 1,
                                           syncs < MOST_SYNCS ? syncs : MOST_SYNCS};
    const uint64_t start = header_offset(size);
    uint64_t near = start + round_up(sizeof *header, 64);
    uint64_t far = size;
    for (int i = 0; i < ARENA_TABLES; i++) {
        heap_table *t = &header->tables[i];
        uint64_t most = i == ARENA_MEMBERS || i == ARENA_THREADS ? NEAR_BYTES / sizes[i] : 0;
        uint64_t room = round_up(limits[i] * sizes[i], ALIGNMENT);
        if (room > far) {
            return false;
        }
        far -= room;
        t->offset = far;
        t->entry_size = sizes[i];
        t->limit = (uint32_t) limits[i];
        t->near_offset = near;
        t->near_count = (uint32_t) (most < limits[i] ? most : limits[i]);
        near += (uint64_t) t->near_count * sizes[i];
    }
    const uint64_t at = start + near_bytes();
    if (at >= far || far - at < COMMIT_UNITS * UNIT_SIZE) {
        return false;
    }
    header->heap_offset = at;
    header->tables[ARENA_UNITS].offset = start;
    header->tables[ARENA_UNITS].limit = (uint32_t) ((far - at) >> UNIT_SHIFT);
    return true;
}

static heap_header *header_at(uint64_t size)
{
    return (heap_header *) (void *) (heap.memory.base + header_offset(size));
}

static void set_view(void)
{
    heap.header = header_at(heap.memory.size);
    heap.units = (unit *) (void *) heap.header;
    heap.owners = arena_at(heap.header->tables[ARENA_OWNERS].offset);
    heap.heap = heap.memory.base + heap.header->heap_offset;
    arena_now = (arena_view){heap.memory.base, heap.header->tables[ARENA_SYNCS].offset,
                             &heap.header->tables[ARENA_SYNCS].ready};
}

static void unmap(void)
{
    arena_now = (arena_view){NULL, 0, &no_entries};
    platform_memory_detach(&heap.memory);
}

static int reserve(uint64_t size)
{
    uint64_t most = size != 0 ? size : platform_memory_default_size();
    for (most = round_up(most, ALIGNMENT); most >= SMALLEST; most = round_up(most / 2, ALIGNMENT)) {
        int status =
            most > SIZE_MAX ? KIN_E_NOMEM : platform_memory_create(&heap.memory, (size_t) most);
        if (status != KIN_E_NOMEM) {
            return status;
        }
    }
    return KIN_E_NOMEM;
}

static int fill_header(const arena_plan *plan)
{
    int status = platform_memory_commit(&heap.memory, (size_t) header_offset(heap.memory.size),
                                        (size_t) near_bytes());
    if (status < 0) {
        return status;
    }
    heap_header *header = header_at(heap.memory.size);
    header->size = heap.memory.size;
    header->layout = layout_of(plan);
    if (!lay_out(header, header->size, plan)) {
        return KIN_E_NOMEM;
    }
    set_view();
    status = platform_random(&header->secret, sizeof header->secret);
    if (status == 0) {
        status = arena_grow_table(ARENA_OWNERS, 2);
    }
    if (status == 0) {
        status = platform_mutex_create(&heap.lock, &header->lock);
    }
    if (status == 0) {
        atomic_store(&header->magic, ARENA_MAGIC);
    }
    return status;
}

int arena_create(const arena_plan *plan)
{
    int status = reserve(plan->size);
    if (status < 0) {
        return status;
    }
    status = fill_header(plan);
    if (status < 0) {
        unmap();
    }
    slab_forget();
    return status;
}

int arena_attach(intptr_t object, uint64_t size, const arena_plan *plan)
{
    if (size < SMALLEST || size > SIZE_MAX) {
        return KIN_E_ATTACH;
    }
    int status = platform_memory_attach(&heap.memory, object, (size_t) size);
    if (status < 0) {
        return status;
    }
    const heap_header *header = header_at(size);
    if (atomic_load(&header->magic) != ARENA_MAGIC || header->size != size) {
        status = KIN_E_ATTACH;
    } else if (header->layout != layout_of(plan)) {
        status = KIN_E_VERSION;
    } else {
        set_view();
        status = platform_mutex_open(&heap.lock, &heap.header->lock);
    }
    if (status < 0) {
        unmap();
    }
    slab_forget();
    return status;
}

void arena_detach(void)
{
    platform_mutex_close(&heap.lock);
    unmap();
    memset(&heap, 0, sizeof heap);
}

const platform_memory *arena_memory(void)
{
    return &heap.memory;
}

uint64_t arena_secret(void)
{
    return heap.header->secret;
}

void arena_set_owner(uint32_t owner)
{
    heap.owner = owner;
}

void arena_reset_copy(void)
{
    heap.owner = 0;
    slab_forget();
}

int arena_lock(void)
{
    int status = platform_mutex_lock(&heap.lock);
    if (status == KIN_OWNER_DIED) {
        /* Should this process die in the repair, the next one is told again and begins it anew. */
        span_repair();
        status = 0;
    }
    return status;
}

void arena_unlock(void)
{
    platform_mutex_unlock(&heap.lock);
}

void *arena_at(uint64_t offset)
{
    return heap.memory.base + offset;
}

uint64_t arena_offset(const void *address)
{
    return (uint64_t) ((const unsigned char *) address - heap.memory.base);
}

bool arena_holds(const void *address, uint64_t size)
{
    uintptr_t base = (uintptr_t) heap.memory.base;
    uintptr_t at = (uintptr_t) address;
    return at >= base && at - base <= heap.memory.size && size <= heap.memory.size - (at - base);
}

void *arena_entry(enum arena_table table, uint32_t index)
{
    heap_table *t = &heap.header->tables[table];
    /* Pairs with the store in arena_grow_table: what is ready is committed. */
    if (index >= atomic_load_explicit(&t->ready, memory_order_acquire)) {
        return NULL;
    }
    return arena_at((index < t->near_count ? t->near_offset : t->offset) +
                    (uint64_t) index * t->entry_size);
}

uint32_t arena_entries(enum arena_table table)
{
    return atomic_load(&heap.header->tables[table].ready);
}

int arena_grow_table(enum arena_table table, uint32_t count)
{
    heap_table *t = &heap.header->tables[table];
    uint32_t ready = atomic_load(&t->ready);
    if (count <= ready) {
        return 0;
    }
    if (count > t->limit) {
        return KIN_E_LIMIT;
    }
    if (count <= t->near_count) {
        atomic_store_explicit(&t->ready, t->near_count, memory_order_release);
        return 0;
    }
    ready = ready > t->near_count ? ready : t->near_count;
    uint64_t page = platform_memory_page_size();
    bool down = table == ARENA_UNITS;
    uint64_t from = (uint64_t) ready * t->entry_size;
    uint64_t to = (uint64_t) count * t->entry_size;
    uint64_t start = (down ? t->offset - to : t->offset + from) / page * page;
    uint64_t end = round_up(down ? t->offset - from : t->offset + to, page);
    int status = platform_memory_commit(&heap.memory, (size_t) start, (size_t) (end - start));
    if (status < 0) {
        return status;
    }
    /* All that is committed now is ready, up to the limit. */
    uint64_t whole = (down ? t->offset - start : end - t->offset) / t->entry_size;
    atomic_store_explicit(&t->ready, whole < t->limit ? (uint32_t) whole : t->limit,
                          memory_order_release);
    return 0;
}

int arena_allocate(uint64_t *block, uint64_t size, unsigned flags)
{
    unsigned stripe = platform_thread_stripe();
    int class = slab_class(size);
    unsigned object = (flags & ARENA_OBJECT) != 0 ? SIZE_CLASSES : 0;
    bool fresh = false;
    int status;
    if (class >= 0) {
        status = slab_allocate(block, (unsigned) class + object, stripe);
    } else if (size > heap.memory.size) {
        return KIN_E_NOMEM;
    } else {
        uint32_t number;
        status = span_allocate(&number, (uint32_t) ((size + UNIT_SIZE - 1) >> UNIT_SHIFT),
                               object != 0 ? OBJECT_SPAN : 0, &fresh);
        *block = status == 0 ? unit_offset(number) : 0;
    }
    if (status == 0 && (flags & ARENA_ZERO) != 0 && !fresh) {
        uint64_t first = object != 0 ? ARENA_FIRST : 0;
        memset(arena_at(*block + first), 0, (size_t) (size - first));
    }
    return status;
}

/* The span that holds `block`, a multiple of 64 in the heap. */
static bool find_span(uint64_t block, uint32_t *number, uint64_t *head)
{
    if (block < heap.header->heap_offset || block % 64 != 0) {
        return false;
    }
    uint64_t n = (block - heap.header->heap_offset) >> UNIT_SHIFT;
    if (n >= atomic_load_explicit(&heap.header->top, memory_order_relaxed)) {
        return false;
    }
    *number = (uint32_t) n;
    *head = unit_head(*number);
    if (head_kind(*head) == HEAD_INSIDE && head_length(*head) <= *number) {
        *number -= head_length(*head);
        *head = unit_head(*number);
    }
    return true;
}

static bool is_large_block(uint64_t block, uint32_t number, uint64_t head)
{
    return head_kind(head) == HEAD_SPAN && block == unit_offset(number);
}

int arena_publish(uint64_t block)
{
    uint32_t number;
    uint64_t head;
    if (!find_span(block, &number, &head)) {
        return KIN_E_INVALID;
    }
    if (head_kind(head) == HEAD_SLAB) {
        return slab_publish(number, head, block);
    }
    if (!is_large_block(block, number, head)) {
        return KIN_E_INVALID;
    }
    int status = arena_lock();
    if (status < 0) {
        return status;
    }
    head = unit_head(number);
    if (is_large_block(block, number, head) && (head & (HEAD_PUBLISHED | HEAD_LEAVING)) == 0) {
        unit_store(number, head | HEAD_PUBLISHED);
    } else {
        status = KIN_E_INVALID;
    }
    arena_unlock();
    return status;
}

bool arena_is_published(uint64_t block)
{
    uint32_t number;
    uint64_t head;
    if (!find_span(block, &number, &head)) {
        return false;
    }
    return head_kind(head) == HEAD_SLAB
               ? slab_is_published(number, head, block)
               : is_large_block(block, number, head) && (head & HEAD_PUBLISHED) != 0;
}

int arena_free(uint64_t block)
{
    uint32_t number;
    uint64_t head;
    if (!find_span(block, &number, &head)) {
        return KIN_E_INVALID;
    }
    if (head_kind(head) == HEAD_SLAB) {
        return slab_free(number, head, block);
    }
    return is_large_block(block, number, head) ? span_free(number) : KIN_E_INVALID;
}

int arena_resize(uint64_t block, uint64_t size)
{
    uint32_t number;
    uint64_t head;
    if (!find_span(block, &number, &head)) {
        return KIN_E_INVALID;
    }
    if (head_kind(head) == HEAD_SLAB) {
        return size <= slab_block_size(head_class(head)) ? 0 : KIN_E_NOMEM;
    }
    if (!is_large_block(block, number, head)) {
        return KIN_E_INVALID;
    }
    if (size > heap.memory.size) {
        return KIN_E_NOMEM;
    }
    uint32_t length = size > UNIT_SIZE ? (uint32_t) ((size + UNIT_SIZE - 1) >> UNIT_SHIFT) : 1;
    return length > head_length(head) ? span_grow(number, length) : span_shrink(number, length);
}

uint64_t arena_block_size(uint64_t block)
{
    uint32_t number;
    uint64_t head;
    if (!find_span(block, &number, &head)) {
        return 0;
    }
    if (head_kind(head) == HEAD_SLAB) {
        return slab_block_size(head_class(head));
    }
    return is_large_block(block, number, head) ? (uint64_t) head_length(head) << UNIT_SHIFT : 0;
}

bool arena_may_hold_object(uint64_t offset)
{
    uint32_t number;
    uint64_t head;
    return find_span(offset, &number, &head) && head_class(head) >= SIZE_CLASSES &&
           (head_kind(head) == HEAD_SLAB ||
            (is_large_block(offset, number, head) && (head & HEAD_PUBLISHED) != 0));
}

/* A large block that a dead member had not published: its memory may be committed in part. */
static int recover_span(uint32_t number, uint64_t head)
{
    uint32_t length = head_length(head);
    unit_store(number, head_make(HEAD_SPAN, HEAD_LEAVING, 0, heap.owner, length));
    arena_unlock();
    uint64_t page = platform_memory_page_size();
    uint64_t start = round_up(unit_offset(number), page);
    uint64_t end = unit_offset(number + length) / page * page;
    /* If it cannot be given back it stays, and is used again with the span. */
    bool kept = start < end &&
                platform_memory_release(&heap.memory, (size_t) start, (size_t) (end - start)) < 0;
    int status = arena_lock();
    if (status == 0) {
        if (kept) {
            heap.header->unclean = 1;
        }
        span_make_free(number, length, false);
    }
    return status;
}

int arena_recover(uint32_t owner)
{
    int status = arena_lock();
    if (status < 0) {
        return status;
    }
    uint32_t before = 0; /* the span before `number`, into which that may be merged */
    for (uint32_t number = 0; number < atomic_load(&heap.header->top);) {
        uint64_t head = unit_head(number);
        uint32_t length = head_length(head);
        if (length == 0) {
            break;
        }
        bool owned = head_owner(head) == owner;
        if (head_kind(head) == HEAD_SLAB && (owned ? slab_recover(number) : slab_settle(number))) {
            number = before;
        } else if (owned && head_kind(head) == HEAD_SPAN && (head & HEAD_PUBLISHED) == 0) {
            status = recover_span(number, head);
            if (status < 0) {
                return status; /* the lock could not be had again */
            }
            before = number = 0; /* the lock was let go meanwhile: anything may have moved */
        } else {
            before = number;
            number += length;
        }
    }
    arena_unlock();
    return status;
}

int arena_each_object(int (*visit)(uint64_t block, void *context), void *context)
{
    uint32_t top = atomic_load(&heap.header->top);
    for (uint32_t number = 0; number < top; number++) {
        uint64_t head = unit_head(number);
        unsigned class = head_class(head);
        if (head_kind(head) == HEAD_SPAN && class >= SIZE_CLASSES && (head & HEAD_PUBLISHED) != 0) {
            int status = visit(unit_offset(number), context);
            if (status != 0) {
                return status;
            }
        }
        if (head_kind(head) != HEAD_SLAB || class < SIZE_CLASSES) {
            continue;
        }
        for (uint32_t i = 0; i < slab_block_count(class); i++) {
            if (slab_block_state(number, i) == 3) {
                int status = visit(unit_offset(number) + i * slab_block_size(class), context);
                if (status != 0) {
                    return status;
                }
            }
        }
    }
    return 0;
}

int arena_trim(void)
{
    return span_give_back(0);
}

/* What arena_read_usage and arena_check count on their walk. */
typedef struct census {
    uint64_t blocks;
    uint64_t used; /* bytes */
    uint64_t free_committed;
    uint32_t free_spans;
    uint32_t listed;
} census;

static const char *check_words(uint32_t number, uint64_t head, census *count)
{
    unsigned class = head_class(head);
    bool room = false;
    for (uint32_t i = 0; i < slab_block_count(class); i++) {
        switch (slab_block_state(number, i)) {
        case 0:
            room = true;
            break;
        case 2:
            return "a slab in use has closed blocks";
        default:
            count->blocks++;
        }
    }
    if (room && (head & (HEAD_CURRENT | HEAD_LISTED)) == 0) {
        return "a slab has room and is on no list";
    }
    return NULL;
}

static const char *check_slab(uint32_t number, uint64_t head, census *count)
{
    if (head_class(head) >= CLASSES || head_owner(head) >= arena_entries(ARENA_OWNERS)) {
        return "a slab has an impossible class or owner";
    }
    for (uint32_t i = 1; i < head_length(head); i++) {
        uint64_t inside = unit_head(number + i);
        if (head_kind(inside) != HEAD_INSIDE || head_length(inside) != i) {
            return "a unit inside a slab does not say so";
        }
    }
    count->listed += (head & HEAD_LISTED) != 0;
    return check_words(number, head, count);
}

static const char *check_inside(uint32_t number, uint64_t head)
{
    uint32_t length = head_length(head);
    bool is_free = head_kind(head) == HEAD_FREE;
    for (uint32_t i = 1; i < length; i++) {
        uint64_t expected = is_free && i == length - 1 ? head_make(HEAD_TAIL, 0, 0, 0, length) : 0;
        if (unit_head(number + i) != expected) {
            return "a unit inside a span looks like a head";
        }
    }
    return NULL;
}

static const char *walk(census *count)
{
    uint32_t top = atomic_load(&heap.header->top);
    for (uint32_t number = 0; number < top;) {
        uint64_t head = unit_head(number);
        uint32_t length = head_length(head);
        const char *wrong = NULL;
        if (length == 0 || length > top - number) {
            return "the chain of spans is broken";
        }
        switch (head_kind(head)) {
        case HEAD_FREE:
            count->free_spans++;
            count->free_committed += (head & HEAD_COMMITTED) != 0 ? length : 0;
            wrong = check_inside(number, head);
            break;
        case HEAD_SPAN:
            count->blocks++;
            count->used += (uint64_t) length << UNIT_SHIFT;
            wrong = check_inside(number, head);
            break;
        case HEAD_SLAB:
            count->used += (uint64_t) length << UNIT_SHIFT;
            wrong = check_slab(number, head, count);
            break;
        default:
            wrong = "the chain meets something that is no span";
        }
        if (wrong != NULL) {
            return wrong;
        }
        number += length;
    }
    return NULL;
}

static const char *check_lists(const census *count)
{
    uint32_t listed = 0;
    uint32_t free_spans = 0;
    for (uint32_t owner = 0; owner < arena_entries(ARENA_OWNERS); owner++) {
        for (unsigned class = 0; class < CLASSES; class ++) {
            uint32_t at = heap.owners[owner].slabs[class];
            for (; at != 0; at = unit_at(at - 1)->next, listed++) {
                uint64_t head = unit_head(at - 1);
                if (head_kind(head) != HEAD_SLAB || head_owner(head) != owner ||
                    head_class(head) != class || (head & HEAD_LISTED) == 0 ||
                    listed > count->listed) {
                    return "a list of slabs holds what does not belong there";
                }
            }
        }
    }
    for (unsigned i = 0; i < 2 * BINS; i++) {
        uint32_t at = heap.header->bins[i / BINS][i % BINS];
        for (; at != 0; at = unit_at(at - 1)->next, free_spans++) {
            uint64_t head = unit_head(at - 1);
            if (head_kind(head) != HEAD_FREE || head_length(head) >> i % BINS != 1 ||
                ((head & HEAD_COMMITTED) != 0) != (i >= BINS) || free_spans > count->free_spans) {
                return "a bin holds what does not belong there";
            }
        }
    }
    if (listed != count->listed || free_spans != count->free_spans) {
        return "a free span or a slab with room cannot be found";
    }
    if (count->free_committed != heap.header->free_committed) {
        return "the free committed units are miscounted";
    }
    return NULL;
}

int arena_check(const char **what)
{
    census count = {0};
    int status = arena_lock();
    if (status < 0) {
        *what = "the lock cannot be had";
        return status;
    }
    *what = walk(&count);
    if (*what == NULL) {
        *what = check_lists(&count);
    }
    arena_unlock();
    return *what == NULL ? 0 : KIN_E_BROKEN;
}

static uint64_t table_bytes(enum arena_table table)
{
    heap_table *t = &heap.header->tables[table];
    return (uint64_t) atomic_load(&t->ready) * t->entry_size;
}

int arena_read_usage(kin_arena_usage *usage)
{
    census count = {0};
    int status = arena_lock();
    if (status < 0) {
        return status;
    }
    (void) walk(&count);
    uint64_t tables = sizeof(heap_header);
    for (int i = 0; i < ARENA_TABLES; i++) {
        tables += table_bytes((enum arena_table) i);
    }
    arena_unlock();
    usage->reserved = heap.memory.size;
    usage->used = count.used + tables;
    usage->blocks = count.blocks;
    usage->committed = platform_memory_usage(&heap.memory);
    if (usage->committed == 0) {
        usage->committed = usage->used + (count.free_committed << UNIT_SHIFT);
    }
    return 0;
}
