/* Spans: the chain of free and used runs of units, and the bins in which the free ones are found.
   heap.h has the invariants; each function below leaves the chain whole at every store. */
#include "core/heap.h"

void list_push(uint32_t *first, uint32_t number)
{
    unit *u = unit_at(number);
    u->next = *first;
    u->previous = 0;
    if (*first != 0) {
        unit_at(*first - 1)->previous = number + 1;
    }
    *first = number + 1;
}

void list_remove(uint32_t *first, uint32_t number)
{
    unit *u = unit_at(number);
    if (u->previous != 0) {
        unit_at(u->previous - 1)->next = u->next;
    } else {
        *first = u->next;
    }
    if (u->next != 0) {
        unit_at(u->next - 1)->previous = u->previous;
    }
    u->next = 0;
    u->previous = 0;
}

static unsigned floor_log2(uint32_t n)
{
    return 31 - (unsigned) __builtin_clz(n);
}

static uint32_t *bin_of(uint32_t length, bool committed)
{
    return &heap.header->bins[committed][floor_log2(length)];
}

/* Writes the head of a free span, without which its tail is nothing; then its tail. */
static void write_free(uint32_t number, uint32_t length, bool committed)
{
    unit_store(number, head_make(HEAD_FREE, committed ? HEAD_COMMITTED : 0, 0, 0, length));
    if (length > 1) {
        unit_store(number + length - 1, head_make(HEAD_TAIL, 0, 0, 0, length));
    }
}

static void add_free(uint32_t number, uint32_t length, bool committed)
{
    list_push(bin_of(length, committed), number);
    if (committed) {
        heap.header->free_committed += length;
    }
}

static void remove_free(uint32_t number, uint32_t length, bool committed)
{
    list_remove(bin_of(length, committed), number);
    if (committed) {
        heap.header->free_committed -= length;
    }
}

static uint64_t private_span(uint32_t length, unsigned class, uint64_t flags)
{
    return head_make(HEAD_SPAN, flags, class, heap.owner, length);
}

/* Takes the first `length` of the `run` units of a free span. */
static void take_free(uint32_t number, uint32_t run, uint32_t length, bool committed,
                      unsigned class, uint64_t flags)
{
    remove_free(number, run, committed);
    uint32_t rest = run - length;
    if (rest > 0) {
        write_free(number + length, rest, committed);
    } else if (run > 1) {
        unit_store(number + run - 1, 0);
    }
    unit_store(number, private_span(length, class, flags));
    if (rest > 0) {
        add_free(number + length, rest, committed);
    }
}

/* A free span of at least `length` units; its number + 1, or 0. */
static uint32_t find_free(uint32_t length, bool committed)
{
    unsigned bin = floor_log2(length);
    const uint32_t *bins = heap.header->bins[committed];
    /* Those in the first bin may be too short; a few are tried, then the next larger ones do. */
    int tries = 32;
    for (uint32_t at = bins[bin]; at != 0 && tries > 0; at = unit_at(at - 1)->next, tries--) {
        if (head_length(unit_head(at - 1)) >= length) {
            return at;
        }
    }
    for (bin++; bin < BINS; bin++) {
        if (bins[bin] != 0) {
            return bins[bin];
        }
    }
    return 0;
}

/* Lengthens the chain by one private span. */
static int extend_top(uint32_t *number, uint32_t length, unsigned class)
{
    heap_header *header = heap.header;
    uint32_t top = atomic_load(&header->top);
    uint32_t limit = header->tables[ARENA_UNITS].limit;
    if (length > limit - top) {
        return KIN_E_NOMEM;
    }
    int status = arena_grow_table(ARENA_UNITS, top + length);
    if (status < 0) {
        return status;
    }
    unit_store(top, private_span(length, class, 0));
    atomic_store(&header->top, top + length);
    *number = top;
    return 0;
}

static bool is_free(uint32_t number, bool committed, uint32_t *length)
{
    uint64_t head = unit_head(number);
    *length = head_length(head);
    return head_kind(head) == HEAD_FREE && ((head & HEAD_COMMITTED) != 0) == committed;
}

/* The free span of the same sort that ends right before `number`. */
static bool free_before(uint32_t number, bool committed, uint32_t *start, uint32_t *length)
{
    if (number == 0) {
        return false;
    }
    uint64_t last = unit_head(number - 1);
    uint32_t back = head_kind(last) == HEAD_TAIL ? head_length(last) : 1;
    *start = number - back;
    return is_free(*start, committed, length) && *length == back;
}

void span_make_free(uint32_t number, uint32_t length, bool committed)
{
    heap_header *header = heap.header;
    unit_store(number, head_make(HEAD_FREE, committed ? HEAD_COMMITTED : 0, 0, 0, length));
    for (uint32_t i = 1; i < length && length <= 4; i++) {
        unit_store(number + i, 0); /* it may have been a slab */
    }
    uint32_t end = number + length;
    uint32_t other, start;
    if (end < atomic_load(&header->top) && is_free(end, committed, &other)) {
        remove_free(end, other, committed);
        length += other;
        unit_store(number, head_make(HEAD_FREE, committed ? HEAD_COMMITTED : 0, 0, 0, length));
        unit_store(end, 0);
    }
    if (free_before(number, committed, &start, &other)) {
        remove_free(start, other, committed);
        length += other;
        unit_store(start, head_make(HEAD_FREE, committed ? HEAD_COMMITTED : 0, 0, 0, length));
        unit_store(number, 0);
        if (other > 1) {
            unit_store(number - 1, 0);
        }
        number = start;
    }
    if (!committed && number + length == atomic_load(&header->top)) {
        if (length > 1) {
            unit_store(number + length - 1, 0);
        }
        atomic_store(&header->top, number);
        unit_store(number, 0);
        return;
    }
    write_free(number, length, committed);
    add_free(number, length, committed);
}

bool span_is_fresh(void)
{
    /* What shares a page with others has been committed with them. */
    return heap.header->unclean == 0 && platform_memory_page_size() <= UNIT_SIZE;
}

int span_commit(uint32_t number, uint32_t taken, uint32_t length, unsigned class)
{
    size_t page = platform_memory_page_size();
    uint64_t start = unit_offset(number) & ~(uint64_t) (page - 1);
    uint64_t end = (unit_offset(number + taken) + page - 1) & ~(uint64_t) (page - 1);
    int status = platform_memory_commit(&heap.memory, (size_t) start, (size_t) (end - start));
    if (status == 0 && taken == length) {
        return 0;
    }
    int locked = arena_lock();
    if (locked < 0) {
        return locked;
    }
    if (status < 0) {
        span_make_free(number, taken, false);
    } else {
        /* The rest's head lies inside the span until the span is shortened. */
        unit_store(number + length, head_make(HEAD_FREE, HEAD_COMMITTED, 0, 0, taken - length));
        unit_store(number, private_span(length, class, 0));
        span_make_free(number + length, taken - length, true);
    }
    arena_unlock();
    return status;
}

/* So many units are taken at a time of memory that is not committed yet. */
static uint32_t in_steps(uint32_t length)
{
    return length < COMMIT_UNITS ? COMMIT_UNITS : length;
}

int span_take_at(uint32_t number, uint32_t length, uint32_t *taken)
{
    uint32_t top = atomic_load(&heap.header->top);
    uint32_t run = heap.header->tables[ARENA_UNITS].limit - top;
    bool committed = false;
    if (number < top) {
        uint64_t head = unit_head(number);
        run = head_kind(head) == HEAD_FREE ? head_length(head) : 0;
        committed = (head & HEAD_COMMITTED) != 0;
    }
    uint32_t wanted = committed ? length : in_steps(length);
    *taken = run < wanted ? run : wanted;
    if (*taken == 0) {
        return KIN_E_NOMEM;
    }
    if (number == top) {
        return extend_top(&number, *taken, 0);
    }
    take_free(number, run, *taken, committed, 0, 0);
    return committed;
}

/* Finds room; *taken may be more than asked for, of memory that is not committed yet. 0, or 1 if it
   is committed. */
static int reserve_span(uint32_t *number, uint32_t length, unsigned class, uint32_t *taken)
{
    uint32_t found = find_free(length, true);
    if (found != 0) {
        *number = found - 1;
        *taken = length;
        take_free(*number, head_length(unit_head(*number)), length, true, class, 0);
        return 1;
    }
    uint32_t wanted = in_steps(length);
    found = find_free(length, false);
    if (found != 0) {
        *number = found - 1;
        uint32_t run = head_length(unit_head(*number));
        *taken = run < wanted ? run : wanted;
        take_free(*number, run, *taken, false, class, 0);
        return 0;
    }
    *taken = wanted;
    int status = extend_top(number, wanted, class);
    if (status < 0 && wanted > length) {
        *taken = length;
        status = extend_top(number, length, class);
    }
    return status;
}

int span_allocate(uint32_t *number, uint32_t length, unsigned class, bool *fresh)
{
    for (bool compacted = false;; compacted = true) {
        uint32_t taken = 0;
        int status = arena_lock();
        if (status < 0) {
            return status;
        }
        bool fragmented = heap.header->free_committed > 0;
        status = reserve_span(number, length, class, &taken);
        *fresh = status == 0 && span_is_fresh();
        arena_unlock();
        if (status > 0) {
            return 0;
        }
        if (status == 0) {
            status = span_commit(*number, taken, length, class);
            if (status == 0) {
                return 0;
            }
        }
        /* Free memory that is committed does not merge with what is not: make it all of one sort,
           once. */
        if (compacted || !fragmented || span_give_back(0) < 0) {
            return status;
        }
    }
}

int span_free(uint32_t number)
{
    int status = arena_lock();
    if (status < 0) {
        return status;
    }
    uint64_t head = unit_head(number);
    if (head_kind(head) != HEAD_SPAN || (head & HEAD_LEAVING) != 0) {
        arena_unlock();
        return KIN_E_INVALID;
    }
    span_make_free(number, head_length(head), true);
    bool surplus = heap.header->free_committed > KEEP_UNITS;
    arena_unlock();
    /* What cannot be given back stays free: no error of the caller's. */
    if (surplus) {
        (void) span_give_back(KEEP_UNITS / 2);
    }
    return 0;
}

/* The largest free span that is committed; its number + 1, or 0. */
static uint32_t largest_committed(void)
{
    for (unsigned bin = BINS; bin-- > 0;) {
        if (heap.header->bins[1][bin] != 0) {
            return heap.header->bins[1][bin];
        }
    }
    return 0;
}

int span_give_back(uint64_t keep)
{
    size_t page = platform_memory_page_size();
    for (;;) {
        int status = arena_lock();
        if (status < 0) {
            return status;
        }
        uint32_t found = heap.header->free_committed > keep ? largest_committed() : 0;
        if (found == 0) {
            arena_unlock();
            return 0;
        }
        uint32_t number = found - 1;
        uint32_t length = head_length(unit_head(number));
        take_free(number, length, length, true, 0, HEAD_LEAVING);
        arena_unlock();

        uint64_t start = (unit_offset(number) + page - 1) & ~(uint64_t) (page - 1);
        uint64_t end = unit_offset(number + length) & ~(uint64_t) (page - 1);
        int released = 0;
        if (start < end) {
            released =
                platform_memory_release(&heap.memory, (size_t) start, (size_t) (end - start));
        }
        status = arena_lock();
        if (status < 0) {
            return status;
        }
        span_make_free(number, length, released < 0);
        arena_unlock();
        if (released < 0) {
            return released;
        }
    }
}

/* Inside a span nothing may look like a head. */
static void clear_inside(uint32_t number, uint32_t length)
{
    for (uint32_t i = 1; i < length; i++) {
        if (unit_head(number + i) != 0) {
            unit_store(number + i, 0);
        }
    }
}

/* Makes what follows from one free span's head anew; returns how many units it has with those
   merged into it. */
static uint32_t repair_free(uint32_t number, uint32_t top)
{
    uint64_t head = unit_head(number);
    bool committed = (head & HEAD_COMMITTED) != 0;
    uint32_t length = head_length(head);
    uint32_t other;
    while (number + length < top && is_free(number + length, committed, &other)) {
        length += other;
        unit_store(number, head_make(HEAD_FREE, head & HEAD_COMMITTED, 0, 0, length));
    }
    clear_inside(number, length);
    if (!committed && number + length == top) {
        atomic_store(&heap.header->top, number);
        unit_store(number, 0);
        return length;
    }
    write_free(number, length, committed);
    add_free(number, length, committed);
    return length;
}

void span_repair(void)
{
    heap_header *header = heap.header;
    memset(header->bins, 0, sizeof header->bins);
    header->free_committed = 0;
    uint32_t owners = atomic_load(&header->tables[ARENA_OWNERS].ready);
    memset(heap.owners, 0, owners * sizeof *heap.owners);
    uint32_t top = atomic_load(&header->top);
    for (uint32_t number = 0; number < top;) {
        uint64_t head = unit_head(number);
        uint32_t length = head_length(head);
        if (length == 0 || length > top - number) {
            break; /* somebody wrote where he must not: arena_check tells */
        }
        unit_at(number)->next = 0;
        unit_at(number)->previous = 0;
        if (head_kind(head) == HEAD_FREE) {
            length = repair_free(number, top);
        } else if (head_kind(head) == HEAD_SLAB) {
            slab_repair(number);
        } else {
            clear_inside(number, length); /* it was about to be shortened, or to become a slab */
        }
        number += length;
    }
    /* Beyond the chain nothing may look like a head. */
    uint32_t ready = atomic_load(&header->tables[ARENA_UNITS].ready);
    for (uint32_t number = atomic_load(&header->top); number < ready; number++) {
        if (unit_head(number) != 0) {
            unit_store(number, 0);
        }
    }
}
