/* Pipes: their ends are made, given, closed, and looked after; pipe.h has the argument. */
#include "core/pipe.h"

#include "core/error.h"
#include "core/process_object.h"
#include "core/wait_many.h"

enum { MESSAGES_DEFAULT = 1024, BYTES_DEFAULT = 65536, BYTES_LEAST = 64 };

/* ---- owners ---- */

/* In the state, above what all syncs have there: slot (16 bits) and life of the member. */
enum { OWNER_SLOT_SHIFT = SYNC_BITS, OWNER_LIFE_SHIFT = 32 };
#define NOBODY (UINT64_C(0xffff) << OWNER_SLOT_SHIFT) /* no member has that slot */

static uint64_t state_for(uint64_t id, uint64_t owner)
{
    return sync_base(id) | (uint64_t) member_slot(owner) << OWNER_SLOT_SHIFT |
           owner >> 32 << OWNER_LIFE_SHIFT;
}

static uint64_t owner_of(uint64_t state)
{
    return state >> OWNER_LIFE_SHIFT << 32 | (state >> OWNER_SLOT_SHIFT & 0xffff);
}

static bool is_gone(uint64_t owner)
{
    enum member_state state = member_state_of(owner);
    return state == MEMBER_FREE || state == MEMBER_DEAD;
}

/* One that has ended before it joined is known by its process object. */
static void look_at_process(uint64_t owner)
{
    object_guard guard;
    member *m = member_at(owner);
    uint64_t process = m != NULL ? atomic_load(&m->process) : 0;
    if (process != 0 && object_enter(&guard, process, KIND_PROCESS) == 0) {
        (void) process_look(process, process_of(&guard));
        object_leave(&guard);
    }
}

/* Closes an end whose owner is gone. */
static void close_if_left(sync *e, uint64_t id)
{
    uint64_t state = atomic_load(&e->state);
    if ((state & SYNC_MASK) != sync_base(id) || atomic_load(&e->id) != id) {
        return;
    }
    uint64_t nobody = sync_base(id) | NOBODY;
    bool left = state == nobody || (is_gone(owner_of(state)) &&
                                    atomic_compare_exchange_strong(&e->state, &state, nobody));
    if (left) {
        (void) sync_destroy(id, KIND_CONNECTION); /* KIN_E_HANDLE: somebody else does */
    }
}

static void look_at_owner(sync *e, uint64_t id)
{
    /* Whoever closes it, which need not be its owner, may have been killed before the state says
       so. */
    sync_look_at_keeper(e);
    uint64_t state = atomic_load(&e->state);
    if ((state & SYNC_MASK) != sync_base(id)) {
        return;
    }
    uint64_t owner = owner_of(state);
    if (owner != member_self() && state != (sync_base(id) | NOBODY)) {
        if (member_state_of(owner) == MEMBER_STARTING) {
            look_at_process(owner);
        }
        (void) death_check(owner);
    }
    close_if_left(e, id);
}

static bool is_open(uint64_t way)
{
    sync *queue = object_kind_of(way) == KIND_QUEUE ? sync_find(way, KIND_QUEUE) : NULL;
    return queue != NULL && (atomic_load(&queue->state) & QUEUE_CLOSED) == 0;
}

/* Whoever closed the other end may have been refused by the system: then the queues are as they
   were. What is destroyed is destroyed once; a stream needs nothing. */
static void close_from_here(sync *e, uint64_t id)
{
    uint64_t receives = atomic_load(&e->extra);
    uint64_t sends = atomic_load(&e->site);
    if (pipe_is_there(e, id)) {
        if (is_open(receives)) {
            (void) queue_close(receives);
        }
        if (object_kind_of(sends) == KIND_QUEUE) {
            (void) sync_destroy(sends, KIND_QUEUE); /* KIN_E_HANDLE: done already */
        }
    }
}

void pipe_look(uint64_t id)
{
    sync *e = sync_find(id, KIND_CONNECTION);
    if (e == NULL) {
        return;
    }
    uint64_t other = atomic_load(&e->related);
    sync *o = sync_find(other, KIND_CONNECTION);
    if (o != NULL) {
        look_at_owner(o, other);
    } else {
        close_from_here(e, id);
    }
    look_at_owner(e, id);
}

bool pipe_look_at_times(uint64_t id)
{
    bool due = death_is_time_to_look(id);
    if (due) {
        pipe_look(id);
    }
    return due;
}

bool pipe_is_alone(const pipe_end *p)
{
    uint64_t other = atomic_load(&p->e->related);
    sync *o = sync_find(other, KIND_CONNECTION);
    return o == NULL || !pipe_is_there(o, other);
}

/* At every recovery, and whenever a member is known not to come. */
static void look(sync *e, uint64_t id)
{
    if (thread_known() != NULL) {
        close_if_left(e, id);
    }
}

static void close_own(sync *e, uint64_t id, void *context)
{
    (void) context;
    uint64_t own = state_for(id, member_self());
    /* As for the dead: an end that is given away at this moment stays open, or cannot be given. */
    if (object_kind_of(id) == KIND_CONNECTION &&
        atomic_compare_exchange_strong(&e->state, &own, sync_base(id) | NOBODY)) {
        (void) sync_destroy(id, KIND_CONNECTION); /* KIN_E_HANDLE: somebody else does */
    }
}

void pipe_end_all(void)
{
    if (thread_known() != NULL) {
        sync_each(close_own, NULL);
    }
}

/* ---- the end ---- */

static void destroy_way(uint64_t way)
{
    if (object_kind_of(way) == KIND_QUEUE) {
        (void) sync_destroy(way, KIND_QUEUE); /* KIN_E_HANDLE: done already */
    } else if (way != 0) {
        stream_destroy(way);
    }
}

static void close_way(uint64_t way)
{
    if (object_kind_of(way) == KIND_QUEUE) {
        (void) queue_close(way); /* KIN_E_HANDLE: the other end is gone */
    } else if (way != 0) {
        stream_tell_end(way);
    }
}

/* Its state says already that it is not there. */
static void ended(sync *e, uint64_t id)
{
    (void) id;
    destroy_way(atomic_load(&e->extra));
    close_way(atomic_load(&e->site));
}

int kin_connection_close(kin_connection connection)
{
    error_clear();
    return sync_destroy(connection.id, KIND_CONNECTION);
}

/* ---- the beginning ---- */

static const kin_pipe_options defaults;

static bool is_good(const kin_pipe_options *how)
{
    return how->item_size <= KIN_QUEUE_ITEM_LIMIT && (!how->stream || how->item_size == 0) &&
           (!how->stream || how->capacity <= KIN_STREAM_LIMIT);
}

/* A power of two. */
static uint32_t bytes_for(const kin_pipe_options *how)
{
    uint32_t bytes = BYTES_LEAST;
    while (bytes < (how->capacity == 0 ? BYTES_DEFAULT : how->capacity)) {
        bytes *= 2;
    }
    return bytes;
}

/* The way from one end to another. If its maker is killed, the end that receives has it. */
static int create_way(sync *from, sync *to, const kin_pipe_options *how)
{
    if (how->stream) {
        return stream_create(&to->extra, &from->site, atomic_load(&to->id), bytes_for(how));
    }
    const kin_queue_options queue = {.name = how->name,
                                     .capacity =
                                         how->capacity == 0 ? MESSAGES_DEFAULT : how->capacity,
                                     .item_size = how->item_size};
    int status = queue_create_for(&to->extra, atomic_load(&to->id), &queue);
    atomic_store(&from->site, atomic_load(&to->extra));
    return status;
}

static int furnish(sync *first, sync *second, const kin_pipe_options *how)
{
    int status = create_way(second, first, how);
    if (status == 0 && !how->one_way) {
        status = create_way(first, second, how);
    }
    return status;
}

static void publish(sync *e, sync *other)
{
    uint64_t id = atomic_load(&e->id);
    atomic_store(&e->related, atomic_load(&other->id));
    atomic_store(&e->state, state_for(id, member_self()));
}

static int create(uint64_t *first, uint64_t *second, const kin_pipe_options *how)
{
    sync *a = NULL;
    sync *b = NULL;
    int status = sync_create(&a, KIND_CONNECTION, how->name);
    if (status == 0) {
        status = sync_create(&b, KIND_CONNECTION, how->name);
    }
    if (status == 0) {
        status = furnish(a, b, how);
    }
    if (status < 0) {
        if (b != NULL) {
            sync_drop(b);
        }
        if (a != NULL) {
            sync_drop(a);
        }
        return status;
    }
    publish(a, b);
    publish(b, a);
    *first = atomic_load(&a->id);
    *second = atomic_load(&b->id);
    sync_publish(a);
    sync_publish(b);
    return 0;
}

int kin_pipe_create(kin_connection *first, kin_connection *second, const kin_pipe_options *options)
{
    const kin_pipe_options *how = options != NULL ? options : &defaults;
    error_clear();
    if (first == NULL || second == NULL || !is_good(how)) {
        return KIN_E_INVALID;
    }
    return create(&first->id, &second->id, how);
}

/* ---- given ---- */

/* One store, which an end that is being closed for its last owner's death refuses. */
static int give(sync *e, uint64_t id, uint64_t owner)
{
    uint64_t state = atomic_load(&e->state);
    uint64_t base = sync_base(id);
    do {
        if ((state & SYNC_MASK) != base || state == (base | NOBODY) || atomic_load(&e->id) != id) {
            return KIN_E_HANDLE;
        }
    } while (!atomic_compare_exchange_weak(&e->state, &state, state_for(id, owner)));
    /* Its recovery may have looked at all ends before that. */
    close_if_left(e, id);
    return 0;
}

int kin_connection_give(kin_connection connection, kin_process process)
{
    int status = 0;
    object_guard guard;
    error_clear();
    if (thread_current(&status) == NULL) {
        return status;
    }
    sync *e = sync_find(connection.id, KIND_CONNECTION);
    if (e == NULL) {
        return KIN_E_HANDLE;
    }
    status = object_enter(&guard, process.id, KIND_PROCESS);
    if (status == 0) {
        status = give(e, connection.id, process_of(&guard)->member);
        object_leave(&guard);
    }
    return status;
}

/* ---- among other things ---- */

/* What there is to be waited for is that the other side is gone, if it can only send. */
static int look_at_queue(const pipe_end *p, bool sends)
{
    kin_queue queue = {p->way};
    int closed = kin_queue_is_closed(queue);
    if (closed != 0) {
        return closed == KIN_E_HANDLE && sends ? 1 : closed;
    }
    int64_t items = sends ? 0 : kin_queue_size(queue);
    return items < 0 ? (int) items : items > 0;
}

static int look_at_stream(const pipe_end *p, bool sends)
{
    size_t done;
    if (sends) {
        return pipe_is_alone(p);
    }
    int status = pipe_stream_receive(p, NULL, 0, 0, &done, 0);
    if (status == KIN_E_TIMEOUT) {
        return 0;
    }
    return status == 0 || status == KIN_E_CLOSED ? 1 : status;
}

static int look_among(uint64_t id, void *watch, bool well)
{
    pipe_end p;
    (void) watch;
    if (well) {
        pipe_look(id);
    }
    if (!pipe_find(&p, id, false)) {
        return sync_missing();
    }
    bool sends = p.way == 0;
    if (sends) {
        (void) pipe_find(&p, id, true);
    }
    int status = pipe_is_stream(&p) ? look_at_stream(&p, sends) : look_at_queue(&p, sends);
    /* It may have been closed while we looked. */
    return status >= 0 && !pipe_is_there(p.e, id) ? KIN_E_HANDLE : status;
}

static wait_line *line_of(uint64_t id)
{
    pipe_end p;
    stream_side s;
    if (!pipe_find(&p, id, false)) {
        return NULL;
    }
    bool sends = p.way == 0;
    if (sends) {
        (void) pipe_find(&p, id, true);
    }
    if (pipe_is_stream(&p)) {
        return stream_enter(&s, p.way, p.e, id) == 0 ? stream_line(&s) : NULL;
    }
    sync *queue = sync_find(p.way, KIND_QUEUE);
    return queue != NULL ? &queue->line : NULL;
}

void pipe_set_up(void)
{
    static const wait_kind how = {.look = look_among, .gone = KIN_E_DESTROYED, .line = line_of};
    wait_register(KIND_CONNECTION, &how);
    sync_register(KIND_CONNECTION, look);
    sync_register_end(KIND_CONNECTION, ended);
    queue_set_look(pipe_look);
    stream_set_up();
}
