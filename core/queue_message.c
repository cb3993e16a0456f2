/* Items without a copy, and items that have to be done. A message in the hands of this process is
   told by its holder; which queue has still to do with it, it says itself. */
#include "core/error.h"
#include "core/ring.h"
#include "core/shelf.h"

/* What `reserved[0]` of a kin_message says. */
enum { HAND_NONE, HAND_RESERVED, HAND_TAKEN };

/* ---- what is in the caller's hands ---- */

static void fill_in(kin_message *given, uint64_t queue, message *m, unsigned hand)
{
    *given = (kin_message){.data = m->bytes,
                           .size = (size_t) m->size,
                           .priority = m->priority,
                           .deliveries = atomic_load(&m->deliveries),
                           .queue = queue,
                           .id = message_id(m),
                           .reserved = {hand}};
}

/* The message, if this process has it. It is kept until object_leave. */
static int grasp(object_guard *guard, const kin_message *given, message **m)
{
    error_clear();
    if (given == NULL ||
        (given->reserved[0] != HAND_RESERVED && given->reserved[0] != HAND_TAKEN)) {
        return KIN_E_INVALID;
    }
    int status = object_enter(guard, given->id, KIND_MESSAGE);
    if (status < 0) {
        return status;
    }
    *m = message_of(guard);
    if (!message_is_held(*m, member_self())) {
        object_leave(guard);
        return KIN_E_HANDLE;
    }
    return 0;
}

static void let_go(kin_message *given)
{
    *given = (kin_message){0};
}

/* ---- reserved ---- */

static bool has_room(queue_user *u, size_t size)
{
    bool has = true;
    if ((u->state & QUEUE_SHELF) != 0) {
        shelf *s = shelf_of(u);
        has = atomic_load(&s->waiting) < queue_capacity(u->d) &&
              ((u->state & QUEUE_BYTES) == 0 ||
               (size <= queue_most_bytes(u->d) && s->bytes <= queue_most_bytes(u->d) - size));
    } else {
        queue_item item = {.size = size};
        has = ring_count(u) < queue_capacity(u->d) && ring_check_bytes(u, &item) == 0;
    }
    return has;
}

static int look_for_room(queue_user *u, void *context)
{
    int status = queue_lock(u);
    if (status == 0) {
        bool has = has_room(u, *(const size_t *) context);
        status = (u->state & QUEUE_CLOSED) != 0 ? KIN_E_CLOSED : has ? 0 : QUEUE_FULL;
        queue_unlock(u);
    }
    return status;
}

int kin_queue_reserve(kin_queue queue, kin_message *message_given, size_t size, int timeout_ms)
{
    queue_user u;
    uint64_t id;
    message *m = NULL;
    error_clear();
    if (message_given == NULL) {
        return KIN_E_INVALID;
    }
    int status = queue_enter(&u, queue.id, timeout_ms);
    if (status < 0) {
        return status;
    }
    if ((u.state & QUEUE_BYTES) != 0 && size > queue_most_bytes(u.d)) {
        return KIN_E_LIMIT;
    }
    queue_wait w = {.u = &u,
                    .line = &u.d->head,
                    .attempt = look_for_room,
                    .context = &size,
                    .nothing = QUEUE_FULL};
    status = queue_wait_for(&w);
    if (status == 0) {
        status = message_create(&m, &id, size);
    }
    if (status == 0) {
        fill_in(message_given, queue.id, m, HAND_RESERVED);
    }
    return status;
}

/* Of one that is in no queue; whatever the bounds. */
static int put_in(queue_user *u, kin_message *given, message *m)
{
    int64_t priority = (u->state & QUEUE_PRIORITY) != 0 ? given->priority : 0;
    m->size = given->size;
    queue_item item = {.size = given->size,
                       .message = m,
                       .message_id = given->id,
                       .holder = member_self(),
                       .priority = priority,
                       .over = true};
    return queue_put_item(u, &item);
}

static int commit(kin_message *given, message *m)
{
    queue_user u;
    if (given->size > m->room) {
        return KIN_E_INVALID;
    }
    int status = queue_enter(&u, given->queue, KIN_FOREVER);
    status = status == 0 ? put_in(&u, given, m) : status;
    return status == KIN_E_DESTROYED ? KIN_E_HANDLE : status; /* it does not wait for the queue */
}

int kin_queue_commit(kin_message *given)
{
    message *m = NULL;
    object_guard guard;
    int status = grasp(&guard, given, &m);
    if (status < 0) {
        return status;
    }
    status = given->reserved[0] == HAND_RESERVED ? commit(given, m) : KIN_E_INVALID;
    object_leave(&guard);
    if (status == 0) {
        let_go(given);
    }
    return status;
}

/* ---- taken ---- */

int kin_queue_take(kin_queue queue, kin_message *given, int timeout_ms)
{
    queue_user u;
    queue_request r = {.wish = QUEUE_TAKE};
    error_clear();
    if (given == NULL) {
        return KIN_E_INVALID;
    }
    int status = queue_enter(&u, queue.id, timeout_ms);
    if (status == 0) {
        status = queue_get_item(&u, &r);
    }
    if (status == 0) {
        fill_in(given, queue.id, r.taken, HAND_TAKEN);
    }
    return status;
}

/* Owns the latch of the shelf on which the message stands as taken; false if it stands on none, or
   that is gone. */
static bool lock_its_shelf(queue_user *u, message *m)
{
    uint64_t queue = atomic_load(&m->queue);
    if (queue == 0 || queue_enter(u, queue, KIN_FOREVER) < 0 || (u->state & QUEUE_JOINABLE) == 0 ||
        queue_lock(u) < 0) {
        return false;
    }
    uint32_t state = atomic_load(&m->state);
    if (atomic_load(&m->queue) == queue && (state == MESSAGE_TAKEN || state == MESSAGE_COPIED)) {
        return true;
    }
    queue_unlock(u);
    return false;
}

/* In the queue that it was taken from it is done; the caller still has it. */
static void end_taking(message *m, enum message_state state)
{
    queue_user u;
    if (lock_its_shelf(&u, m)) {
        m->home_priority = m->priority;
        m->home_order = m->order;
        atomic_store(&m->home, state == MESSAGE_MOVES ? u.id | MESSAGE_BACK : 0);
        shelf_remove(&u, m, state);
        queue_unlock(&u);
    } else {
        shelf_leave(m);
    }
    atomic_store(&m->queue, 0);
}

int kin_queue_release(kin_message *given)
{
    message *m = NULL;
    object_guard guard;
    int status = grasp(&guard, given, &m);
    if (status < 0) {
        return status;
    }
    end_taking(m, MESSAGE_DONE);
    status = object_destroy(given->id);
    object_leave(&guard);
    if (status == 0) {
        let_go(given);
    }
    return status;
}

/* What is too often given back is as that whose consumers die. */
static int give_back(message *m, uint64_t id)
{
    queue_user u;
    if (!lock_its_shelf(&u, m)) {
        return KIN_E_STATE;
    }
    bool redeliver = (u.state & QUEUE_REDELIVER) != 0;
    bool stays = redeliver && queue_settle_on_shelf(&u, m);
    queue_unlock(&u);
    if (!redeliver) {
        return KIN_E_STATE;
    }
    return stays ? 0 : queue_settle(m, id, member_self());
}

int kin_queue_return(kin_message *given)
{
    message *m = NULL;
    object_guard guard;
    int status = grasp(&guard, given, &m);
    if (status < 0) {
        return status;
    }
    status = given->reserved[0] == HAND_TAKEN ? give_back(m, given->id) : KIN_E_STATE;
    object_leave(&guard);
    if (status == 0) {
        let_go(given);
    }
    return status;
}

/* Should this process die before it is in the new queue, it goes home. */
static int move(queue_user *u, kin_message *given, message *m)
{
    if (given->size > m->room) {
        return KIN_E_INVALID;
    }
    /* First it is made sure that there is room: until then nothing is done about where it is. */
    queue_wait w = {.u = u,
                    .line = &u->d->head,
                    .attempt = look_for_room,
                    .context = &given->size,
                    .nothing = QUEUE_FULL};
    if ((u->state & QUEUE_BYTES) != 0 && given->size > queue_most_bytes(u->d)) {
        return KIN_E_LIMIT;
    }
    int status = queue_wait_for(&w);
    if (status == 0) {
        end_taking(m, MESSAGE_MOVES);
        status = put_in(u, given, m);
    }
    return status;
}

int kin_queue_put_message(kin_queue queue, kin_message *given, int timeout_ms)
{
    queue_user u;
    message *m = NULL;
    object_guard guard;
    int status = grasp(&guard, given, &m);
    if (status < 0) {
        return status;
    }
    status = queue_enter(&u, queue.id, timeout_ms);
    if (status == 0) {
        status = move(&u, given, m);
    }
    object_leave(&guard);
    if (status == 0) {
        let_go(given);
    }
    return status;
}

/* ---- done ---- */

int kin_queue_task_done(kin_queue queue)
{
    queue_user u;
    error_clear();
    int status = queue_enter(&u, queue.id, KIN_FOREVER);
    if (status < 0) {
        return status;
    }
    if ((u.state & QUEUE_JOINABLE) == 0) {
        return KIN_E_STATE;
    }
    status = queue_lock(&u);
    if (status < 0) {
        return status;
    }
    message *m = shelf_oldest_copied(&u);
    uint64_t id = 0;
    if (m != NULL) {
        id = message_id(m);
        shelf_remove(&u, m, MESSAGE_DONE);
        atomic_store(&m->queue, 0);
    }
    queue_unlock(&u);
    return m != NULL ? object_destroy(id) : KIN_E_STATE;
}

static int look_for_end(queue_user *u, void *context)
{
    (void) context;
    int status = queue_lock(u);
    if (status == 0) {
        shelf *s = shelf_of(u);
        status = s->taken + atomic_load(&s->waiting) == 0 ? 0 : QUEUE_NOTHING;
        queue_unlock(u);
    }
    return status;
}

int kin_queue_join(kin_queue queue, int timeout_ms)
{
    queue_user u;
    error_clear();
    int status = queue_enter(&u, queue.id, timeout_ms);
    if (status < 0) {
        return status;
    }
    queue_wait w = {
        .u = &u, .line = &u.d->drain, .attempt = look_for_end, .nothing = QUEUE_NOTHING};
    return (u.state & QUEUE_JOINABLE) != 0 ? queue_wait_for(&w) : KIN_E_STATE;
}
