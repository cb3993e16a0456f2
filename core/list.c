/* Lists: a store whose table is a ring, see list_table.h; and the interface. */
#include "core/list.h"
#include "core/error.h"
#include "core/list_table.h"

#include <kin/list.h>

#include <string.h>

static const kin_list_options defaults;

int kin_list_create(kin_list *list, const kin_list_options *options)
{
    error_clear();
    const kin_list_options *how = options != NULL ? options : &defaults;
    return list != NULL ? store_create(&list->id, KIND_LIST, how->name, how->expected)
                        : KIN_E_INVALID;
}

int kin_list_destroy(kin_list list)
{
    error_clear();
    return store_destroy(list.id, KIND_LIST);
}

int kin_list_clear(kin_list list)
{
    error_clear();
    return store_clear(list.id, KIND_LIST);
}

static uint64_t count_of(const store *u)
{
    return STORE_GET(list_root_of(u)->count);
}

static uint64_t ref_at(const store *u, uint64_t index)
{
    return STORE_GET(*list_place(list_table_of(u), STORE_GET(list_root_of(u)->first) + index));
}

/* Enters; *at is the index counted from the beginning. */
static int enter_at(store *u, kin_list list, int64_t index, uint64_t *at)
{
    int status = store_enter(u, list.id, KIND_LIST);
    if (status < 0) {
        return status;
    }
    uint64_t count = count_of(u);
    *at = index < 0 ? count + (uint64_t) index : (uint64_t) index;
    if (*at >= count) {
        store_leave(u);
        return KIN_E_NOT_FOUND;
    }
    return 0;
}

static void end(store *u, store_draft *d)
{
    store_leave(u);
    store_draft_drop(d);
}

static int insert(kin_list list, int64_t index, const void *data, size_t size)
{
    store u;
    store_draft d;
    uint64_t added;
    error_clear();
    int status = store_draft_make(&d, NULL, 0, data, size);
    if (status < 0) {
        return status;
    }
    status = store_enter(&u, list.id, KIND_LIST);
    if (status < 0) {
        store_draft_drop(&d);
        return status;
    }
    int64_t count = (int64_t) count_of(&u);
    int64_t from_start = index < 0 ? index + count : index;
    int64_t at = from_start < 0 ? 0 : from_start < count ? from_start : count;
    status = list_make_room(&u, (uint64_t) count + 1);
    if (status == 0) {
        status = store_add(&u, &d, &added);
    }
    if (status == 0) {
        list_insert(&u, (uint64_t) at, added);
    }
    end(&u, &d);
    return status;
}

int kin_list_append(kin_list list, const void *data, size_t size)
{
    return insert(list, INT64_MAX, data, size);
}

int kin_list_insert(kin_list list, int64_t index, const void *data, size_t size)
{
    return insert(list, index, data, size);
}

int kin_list_extend(kin_list list, const kin_buffer *items, size_t count)
{
    store u;
    list_extension e;
    error_clear();
    if (items == NULL && count > 0) {
        return KIN_E_INVALID;
    }
    if (!family_is_joined()) {
        return KIN_E_INIT;
    }
    int status = list_extension_make(&e, items, count);
    if (status < 0) {
        return status;
    }
    status = store_enter(&u, list.id, KIND_LIST);
    if (status == 0) {
        status = count > 0 ? list_extend(&u, &e) : 0;
        store_leave(&u);
    }
    list_extension_drop(&e);
    return status;
}

static int get(kin_list list, int64_t index, kin_buffer *item, size_t *size, bool removes)
{
    store u;
    uint64_t at;
    error_clear();
    if (!store_is_buffer(item->data, item->size)) {
        return KIN_E_INVALID;
    }
    int status = enter_at(&u, list, index, &at);
    if (status < 0) {
        return status;
    }
    uint64_t ref = ref_at(&u, at);
    status = store_fit(store_node_at(ref), NULL, item);
    if (size != NULL) {
        *size = item->size;
    }
    if (status < 0) {
        store_leave(&u);
        return status;
    }
    if (removes) {
        list_remove_at(&u, at);
    }
    store_copy_and_leave(&u, ref, NULL, item);
    return 0;
}

int kin_list_get(kin_list list, int64_t index, void *buffer, size_t capacity, size_t *size)
{
    kin_buffer item = {buffer, capacity};
    return get(list, index, &item, size, false);
}

int kin_list_pop(kin_list list, int64_t index, void *buffer, size_t capacity, size_t *size)
{
    kin_buffer item = {buffer, capacity};
    return get(list, index, &item, size, true);
}

int kin_list_set(kin_list list, int64_t index, const void *data, size_t size)
{
    store u;
    store_draft d;
    uint64_t at;
    uint64_t added;
    error_clear();
    int status = store_draft_make(&d, NULL, 0, data, size);
    if (status < 0) {
        return status;
    }
    status = enter_at(&u, list, index, &at);
    if (status < 0) {
        store_draft_drop(&d);
        return status;
    }
    status = store_add(&u, &d, &added);
    if (status == 0) {
        list_replace(&u, at, added);
    }
    end(&u, &d);
    return status;
}

int kin_list_delete(kin_list list, int64_t index)
{
    store u;
    uint64_t at;
    error_clear();
    int status = enter_at(&u, list, index, &at);
    if (status == 0) {
        list_remove_at(&u, at);
        store_leave(&u);
    }
    return status;
}

/* The first one from `start` on that has these bytes. */
static bool find(const store *u, uint64_t start, const void *data, size_t size, uint64_t *at)
{
    uint64_t count = count_of(u);
    for (*at = start; *at < count; ++*at) {
        store_node *n = store_node_at(ref_at(u, *at));
        if (store_is_equal(store_value_of(n), n->value_size, data, size)) {
            return true;
        }
    }
    return false;
}

int64_t kin_list_find(kin_list list, const void *data, size_t size, int64_t start)
{
    store u;
    uint64_t at;
    error_clear();
    if (!store_is_buffer(data, size)) {
        return KIN_E_INVALID;
    }
    int status = store_enter(&u, list.id, KIND_LIST);
    if (status < 0) {
        return status;
    }
    int64_t from = start < 0 ? start + (int64_t) count_of(&u) : start;
    bool found = find(&u, from > 0 ? (uint64_t) from : 0, data, size, &at);
    store_leave(&u);
    return found ? (int64_t) at : KIN_E_NOT_FOUND;
}

int kin_list_remove(kin_list list, const void *data, size_t size)
{
    store u;
    uint64_t at;
    error_clear();
    if (!store_is_buffer(data, size)) {
        return KIN_E_INVALID;
    }
    int status = store_enter(&u, list.id, KIND_LIST);
    if (status < 0) {
        return status;
    }
    bool found = find(&u, 0, data, size, &at);
    if (found) {
        list_remove_at(&u, at);
    }
    store_leave(&u);
    return found ? 0 : KIN_E_NOT_FOUND;
}

int kin_list_increment(kin_list list, int64_t index, int64_t delta, int64_t *value)
{
    store u;
    uint64_t at;
    error_clear();
    int status = enter_at(&u, list, index, &at);
    if (status == 0) {
        status = store_increment(store_node_at(ref_at(&u, at)), delta, value);
        store_leave(&u);
    }
    return status;
}

int kin_list_compare_set(kin_list list, int64_t index, const void *expected, size_t expected_size,
                         const void *data, size_t size)
{
    store u;
    store_draft d;
    uint64_t at;
    uint64_t added;
    error_clear();
    if (!store_is_buffer(expected, expected_size)) {
        return KIN_E_INVALID;
    }
    int status = store_draft_make(&d, NULL, 0, data, size);
    if (status < 0) {
        return status;
    }
    status = enter_at(&u, list, index, &at);
    if (status < 0) {
        store_draft_drop(&d);
        return status;
    }
    store_node *n = store_node_at(ref_at(&u, at));
    if (!store_is_equal(store_value_of(n), n->value_size, expected, expected_size)) {
        status = KIN_E_STATE;
    } else {
        status = store_add(&u, &d, &added);
    }
    if (status == 0) {
        list_replace(&u, at, added);
    }
    end(&u, &d);
    return status;
}

int64_t kin_list_length(kin_list list)
{
    store u;
    error_clear();
    int64_t length = store_enter(&u, list.id, KIND_LIST);
    if (length == 0) {
        length = (int64_t) count_of(&u);
        store_leave(&u);
    }
    return length;
}

/* The index of the next one. */
static int place_of(const list_root *root, const kin_list_cursor *cursor, uint64_t *at)
{
    uint64_t first = STORE_GET(root->first);
    uint64_t position = cursor->begun != 0 ? cursor->position : first;
    if (cursor->begun != 0 && !list_follow(root, &position, cursor->moves)) {
        return KIN_E_STATE;
    }
    *at = (int64_t) (position - first) > 0 ? position - first : 0;
    return *at < STORE_GET(root->count) ? 0 : KIN_E_NOT_FOUND;
}

int kin_list_next(kin_list list, kin_list_cursor *cursor, void *buffer, size_t capacity,
                  size_t *size)
{
    store u;
    kin_buffer item = {buffer, capacity};
    uint64_t at = 0;
    uint64_t ref = 0;
    error_clear();
    if (cursor == NULL || !store_is_buffer(buffer, capacity)) {
        return KIN_E_INVALID;
    }
    int status = store_enter(&u, list.id, KIND_LIST);
    if (status < 0) {
        return status;
    }
    const list_root *root = list_root_of(&u);
    status = place_of(root, cursor, &at);
    if (status == 0) {
        ref = ref_at(&u, at);
        status = store_fit(store_node_at(ref), NULL, &item);
        if (size != NULL) {
            *size = item.size;
        }
    }
    if (status < 0) {
        store_leave(&u);
        return status;
    }
    *cursor = (kin_list_cursor){
        .position = STORE_GET(root->first) + at + 1, .moves = STORE_GET(root->moves), .begun = 1};
    store_copy_and_leave(&u, ref, NULL, &item);
    return 0;
}

void list_set_up(void)
{
    list_table_set_up();
}
