/* Growing and shrinking a large block where it is.

   What is to be added is first made a private span of its own, right behind the block, committed
   outside the lock like any other, and made zero; then one store to the block's head takes it in.
   Who is killed before that store leaves a private span, which goes back with what else was its;
   who is killed after it leaves a second head inside a span, which the repair of the lock clears.
   There may be several pieces, as free memory that is committed and such that is not are spans of
   their own: whether there are enough of them is looked at first. What is given up gets a head of
   its own inside the block, then one store shortens the block. */
#include "core/heap.h"

static uint64_t with_length(uint64_t head, uint32_t length)
{
    return (uint32_t) head | (uint64_t) length << HEAD_LENGTH_SHIFT;
}

/* With the lock held. False if the block is not in use. */
static bool read_block(uint32_t number, uint64_t *head)
{
    *head = unit_head(number);
    return head_kind(*head) == HEAD_SPAN && (*head & HEAD_LEAVING) == 0;
}

/* Whether `length` units are free from `number` on. With the lock held. */
static bool is_room(uint32_t number, uint32_t length)
{
    uint32_t top = atomic_load(&heap.header->top);
    uint32_t room = 0;
    while (room < length && number + room < top) {
        uint64_t head = unit_head(number + room);
        if (head_kind(head) != HEAD_FREE) {
            return false;
        }
        room += head_length(head);
    }
    return room >= length || length - room <= heap.header->tables[ARENA_UNITS].limit - top;
}

/* A block that grows, and the piece that it grows by. */
typedef struct growth {
    uint32_t number;
    uint32_t length; /* that it is to have */
    uint32_t before;
    uint32_t piece, taken, kept;
    bool committed, zero;
} growth;

/* Takes a piece. 1 if there is nothing to be added any more. */
static int take_piece(growth *g)
{
    uint64_t head;
    int status = arena_lock();
    if (status < 0) {
        return status;
    }
    uint32_t now = read_block(g->number, &head) ? head_length(head) : 0;
    g->before = g->before == 0 ? now : g->before;
    g->piece = g->number + now;
    if (now == 0) {
        status = KIN_E_INVALID;
    } else if (now >= g->length) {
        status = 1;
    } else if (!is_room(g->piece, g->length - now)) {
        status = KIN_E_NOMEM;
    } else {
        status = span_take_at(g->piece, g->length - now, &g->taken);
        g->committed = status > 0;
        g->zero = status == 0 && span_is_fresh();
        g->kept = g->taken < g->length - now ? g->taken : g->length - now;
        status = status > 0 ? 0 : status;
    }
    arena_unlock();
    return status;
}

static int add_piece(const growth *g)
{
    int status = g->committed ? 0 : span_commit(g->piece, g->taken, g->kept, 0);
    if (status < 0) {
        return status;
    }
    if (!g->zero) {
        memset(arena_at(unit_offset(g->piece)), 0, (size_t) g->kept << UNIT_SHIFT);
    }
    status = arena_lock();
    if (status < 0) {
        return status;
    }
    uint64_t head = unit_head(g->number);
    unit_store(g->number, with_length(head, head_length(head) + g->kept));
    unit_store(g->piece, 0);
    arena_unlock();
    return 0;
}

int span_grow(uint32_t number, uint32_t length)
{
    growth g = {.number = number, .length = length};
    int status = 0;
    while (status == 0) {
        status = take_piece(&g);
        if (status == 0) {
            status = add_piece(&g);
        }
    }
    if (status < 0 && g.before != 0) {
        (void) span_shrink(number, g.before); /* if it fails the block has more than it needs */
    }
    return status < 0 ? status : 0;
}

int span_shrink(uint32_t number, uint32_t length)
{
    uint64_t head;
    bool surplus = false;
    int status = arena_lock();
    if (status < 0) {
        return status;
    }
    if (!read_block(number, &head)) {
        status = KIN_E_INVALID;
    } else if (head_length(head) > length) {
        uint32_t rest = head_length(head) - length;
        unit_store(number + length, head_make(HEAD_FREE, HEAD_COMMITTED, 0, 0, rest));
        unit_store(number, with_length(head, length));
        span_make_free(number + length, rest, true);
        surplus = heap.header->free_committed > KEEP_UNITS;
    }
    arena_unlock();
    /* What cannot be given back stays free: no error of the caller's. */
    if (surplus) {
        (void) span_give_back(KEEP_UNITS / 2);
    }
    return status;
}
