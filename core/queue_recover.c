/* What becomes of the messages of a member that has died. Each names the queue with which it has to
   do; with both latches of that it is clear whether it lies there. If so it is the queue's; what
   was taken and not done comes back, goes to the dead letters, or is gone. What lies nowhere goes
   home, or is freed. All of it may be repeated. */
#include "core/ring.h"
#include "core/shelf.h"

/* Puts it where it belongs, which takes it from its holder. */
static int put_at_home(message *m, uint64_t id, uint64_t holder)
{
    queue_user u;
    uint64_t home = atomic_load(&m->home);
    bool back = (home & MESSAGE_BACK) != 0;
    home &= ~MESSAGE_BACK;
    int status = home != 0 ? queue_enter(&u, home, KIN_FOREVER) : KIN_E_HANDLE;
    if (status == 0 && back && (u.state & QUEUE_REDELIVER) == 0) {
        status = KIN_E_HANDLE; /* it is done there */
    }
    if (status == 0) {
        queue_item item = {.size = (size_t) m->size,
                           .message = m,
                           .message_id = id,
                           .holder = holder,
                           .force = back,
                           .over = true,
                           .is_back = back};
        status = queue_put_once(&u, &item);
        if (item.spare != NULL) {
            object_drop(item.spare);
        }
    }
    return status;
}

int queue_settle(message *m, uint64_t id, uint64_t holder)
{
    int status = put_at_home(m, id, holder);
    if (status == KIN_E_HANDLE || status == KIN_E_DESTROYED || status == KIN_E_CLOSED ||
        status == KIN_E_LIMIT) {
        status = object_destroy(id);
        return status == KIN_E_HANDLE ? 0 : status;
    }
    return status;
}

static bool comes_back(queue_user *u, message *m)
{
    uint32_t most = queue_most_deliveries(u->d);
    return (u->state & QUEUE_REDELIVER) != 0 && (most == 0 || atomic_load(&m->deliveries) < most);
}

bool queue_settle_on_shelf(queue_user *u, message *m)
{
    switch (atomic_load(&m->state)) {
    case MESSAGE_WAITS:
        atomic_store(&m->home, 0);
        atomic_store(&m->object.owner, u->id);
        message_leave(m);
        return true;
    case MESSAGE_TAKEN:
    case MESSAGE_COPIED:
        if (comes_back(u, m)) {
            shelf_give_back(u, m);
            queue_tell_getters(u->d, 1);
            return true;
        }
        atomic_store(&m->home, (u->state & QUEUE_REDELIVER) != 0 ? queue_dead_letters(u->d) : 0);
        shelf_remove(u, m, MESSAGE_DEAD);
        return false;
    default:
        shelf_remove(u, m, (enum message_state) atomic_load(&m->state));
        return false;
    }
}

/* Does it lie in the queue that it names? Then it is the queue's from now on. If that is gone, it
   is gone with it, whether it was there already or not. */
static int leave_to_queue(message *m, uint64_t id, uint64_t holder, bool *lies)
{
    queue_user u;
    uint64_t queue = atomic_load(&m->queue);
    *lies = false;
    if (queue == 0) {
        return 0;
    }
    int status = queue_enter(&u, queue, KIN_FOREVER);
    if (status == 0) {
        status = queue_lock_all(&u);
    }
    if (status == KIN_E_HANDLE || status == KIN_E_DESTROYED) {
        shelf_leave(m);
        *lies = true;
        status = object_destroy(id);
        return status == KIN_E_HANDLE ? 0 : status;
    }
    if (status < 0) {
        return status;
    }
    if (!message_was_held(m, holder)) {
        *lies = true; /* somebody has taken it meanwhile */
    } else if (u.c == NULL) {
        *lies = shelf_holds(&u, m) && queue_settle_on_shelf(&u, m);
    } else if (ring_holds(&u, m, id)) {
        atomic_store(&m->home, 0);
        atomic_store(&m->object.owner, u.id);
        message_leave(m);
        *lies = true;
    }
    queue_unlock_all(&u);
    return 0;
}

static int recover(object *o, uint64_t id, uint64_t dead)
{
    message *m = (message *) o;
    bool lies = false;
    if (!message_was_held(m, dead)) {
        return 0;
    }
    int status = leave_to_queue(m, id, dead, &lies);
    bool is_over = lies || message_id(m) != id; /* it may have been destroyed with its queue */
    return status < 0 || is_over ? status : queue_settle(m, id, dead);
}

void queue_recover_set_up(void)
{
    death_register(KIND_MESSAGE, recover);
}
