/* Dictionaries: the interface. */
#include "core/dict.h"
#include "core/dict_table.h"
#include "core/error.h"

#include <kin/dict.h>

#include <string.h>

static int begin(dict_call *c, kin_dict dict, const void *key, size_t size)
{
    c->key = key;
    c->key_size = size;
    if (!store_is_buffer(key, size)) {
        return KIN_E_INVALID;
    }
    if (!family_is_joined()) {
        return KIN_E_INIT;
    }
    c->hash = dict_hash(key, size);
    int status = store_enter(&c->u, dict.id, KIND_DICT);
    if (status == 0) {
        dict_find(c);
    }
    return status;
}

static void end(dict_call *c, store_draft *d)
{
    store_leave(&c->u);
    store_draft_drop(d);
}

/* ---- the interface ---- */

static const kin_dict_options defaults;

int kin_dict_create(kin_dict *dict, const kin_dict_options *options)
{
    error_clear();
    const kin_dict_options *how = options != NULL ? options : &defaults;
    return dict != NULL ? store_create(&dict->id, KIND_DICT, how->name, how->expected)
                        : KIN_E_INVALID;
}

int kin_dict_destroy(kin_dict dict)
{
    error_clear();
    return store_destroy(dict.id, KIND_DICT);
}

int kin_dict_clear(kin_dict dict)
{
    error_clear();
    return store_clear(dict.id, KIND_DICT);
}

/* May the key be there already, or absent? */
enum may { ANY, ABSENT };

static int set(kin_dict dict, const kin_dict_item *item, enum may may)
{
    dict_call c;
    store_draft d;
    error_clear();
    int status = store_draft_make(&d, item->key, item->key_size, item->value, item->value_size);
    if (status < 0) {
        return status;
    }
    status = begin(&c, dict, item->key, item->key_size);
    if (status < 0) {
        store_draft_drop(&d);
        return status;
    }
    status = may == ABSENT && c.ref != 0 ? KIN_E_EXISTS : dict_put(&c, &d);
    end(&c, &d);
    return status;
}

int kin_dict_set(kin_dict dict, const void *key, size_t key_size, const void *value,
                 size_t value_size)
{
    return set(dict, &(kin_dict_item){key, key_size, value, value_size}, ANY);
}

int kin_dict_set_new(kin_dict dict, const void *key, size_t key_size, const void *value,
                     size_t value_size)
{
    return set(dict, &(kin_dict_item){key, key_size, value, value_size}, ABSENT);
}

int kin_dict_update(kin_dict dict, const kin_dict_item *items, size_t count)
{
    error_clear();
    int status = items != NULL || count == 0 ? 0 : KIN_E_INVALID;
    for (size_t i = 0; i < count && status == 0; i++) {
        status = set(dict, &items[i], ANY);
    }
    return status;
}

/* Reads what has been found, and removes it if that is wanted and it fits. Leaves. */
static int read_and_leave(dict_call *c, kin_buffer *value, bool removes)
{
    int status = c->ref != 0 ? store_fit(store_node_at(c->ref), NULL, value) : KIN_E_NOT_FOUND;
    if (status < 0) {
        store_leave(&c->u);
        return status;
    }
    if (removes) {
        dict_take_out(c);
    }
    store_copy_and_leave(&c->u, c->ref, NULL, value);
    return 0;
}

static int get(kin_dict dict, const void *key, size_t key_size, kin_buffer *value, size_t *size,
               bool removes)
{
    dict_call c;
    error_clear();
    if (!store_is_buffer(value->data, value->size)) {
        return KIN_E_INVALID;
    }
    int status = begin(&c, dict, key, key_size);
    if (status < 0) {
        return status;
    }
    status = read_and_leave(&c, value, removes);
    if (size != NULL && (status == 0 || status == KIN_E_TOO_SMALL)) {
        *size = value->size;
    }
    return status;
}

int kin_dict_get(kin_dict dict, const void *key, size_t key_size, void *buffer, size_t capacity,
                 size_t *size)
{
    kin_buffer value = {buffer, capacity};
    return get(dict, key, key_size, &value, size, false);
}

int kin_dict_pop(kin_dict dict, const void *key, size_t key_size, void *buffer, size_t capacity,
                 size_t *size)
{
    kin_buffer value = {buffer, capacity};
    return get(dict, key, key_size, &value, size, true);
}

int kin_dict_set_default(kin_dict dict, const void *key, size_t key_size, const void *value,
                         size_t value_size, kin_buffer *present)
{
    dict_call c;
    store_draft d;
    error_clear();
    if (present != NULL && !store_is_buffer(present->data, present->size)) {
        return KIN_E_INVALID;
    }
    int status = store_draft_make(&d, key, key_size, value, value_size);
    if (status < 0) {
        return status;
    }
    status = begin(&c, dict, key, key_size);
    if (status == 0 && c.ref != 0) {
        status = read_and_leave(&c, present, false);
    } else if (status == 0) {
        bool fits = present == NULL || present->size >= value_size;
        status = fits ? dict_put(&c, &d) : KIN_E_TOO_SMALL;
        store_leave(&c.u);
        if (present != NULL && status == 0 && value_size > 0) {
            memcpy(present->data, value, value_size);
        }
        if (present != NULL) {
            present->size = value_size;
        }
    }
    store_draft_drop(&d);
    return status;
}

int kin_dict_has(kin_dict dict, const void *key, size_t key_size)
{
    dict_call c;
    error_clear();
    int status = begin(&c, dict, key, key_size);
    if (status == 0) {
        status = c.ref != 0;
        store_leave(&c.u);
    }
    return status;
}

int kin_dict_remove(kin_dict dict, const void *key, size_t key_size)
{
    dict_call c;
    error_clear();
    int status = begin(&c, dict, key, key_size);
    return status == 0 ? read_and_leave(&c, NULL, true) : status;
}

int kin_dict_increment(kin_dict dict, const void *key, size_t key_size, int64_t delta,
                       int64_t *value)
{
    dict_call c;
    store_draft d;
    error_clear();
    int status = store_draft_make(&d, key, key_size, &delta, sizeof delta);
    if (status < 0) {
        return status;
    }
    status = begin(&c, dict, key, key_size);
    if (status < 0) {
        store_draft_drop(&d);
        return status;
    }
    if (c.ref != 0) {
        status = store_increment(store_node_at(c.ref), delta, value);
    } else {
        status = dict_put(&c, &d);
        if (status == 0 && value != NULL) {
            *value = delta;
        }
    }
    end(&c, &d);
    return status;
}

static int compare(const dict_call *c, const void *expected, size_t size)
{
    if (c->ref == 0) {
        return expected == NULL ? 0 : KIN_E_NOT_FOUND;
    }
    if (expected == NULL) {
        return KIN_E_EXISTS;
    }
    store_node *n = store_node_at(c->ref);
    return store_is_equal(store_value_of(n), n->value_size, expected, size) ? 0 : KIN_E_STATE;
}

int kin_dict_compare_set(kin_dict dict, const void *key, size_t key_size, const void *expected,
                         size_t expected_size, const void *value, size_t value_size)
{
    dict_call c;
    store_draft d = {0};
    error_clear();
    if (!store_is_buffer(expected, expected_size) || !store_is_buffer(value, value_size)) {
        return KIN_E_INVALID;
    }
    int status = value != NULL ? store_draft_make(&d, key, key_size, value, value_size) : 0;
    if (status < 0) {
        return status;
    }
    status = begin(&c, dict, key, key_size);
    if (status < 0) {
        store_draft_drop(&d);
        return status;
    }
    status = compare(&c, expected, expected_size);
    if (status == 0 && value != NULL) {
        status = dict_put(&c, &d);
    } else if (status == 0 && c.ref != 0) {
        dict_take_out(&c);
    }
    end(&c, &d);
    return status;
}

int64_t kin_dict_length(kin_dict dict)
{
    store u;
    error_clear();
    int64_t length = store_enter(&u, dict.id, KIND_DICT);
    if (length == 0) {
        length = (int64_t) STORE_GET(dict_root_of(&u)->live);
        store_leave(&u);
    }
    return length;
}

int kin_dict_next(kin_dict dict, kin_dict_cursor *cursor, kin_buffer *key, kin_buffer *value)
{
    store u;
    error_clear();
    if (cursor == NULL || (key != NULL && !store_is_buffer(key->data, key->size)) ||
        (value != NULL && !store_is_buffer(value->data, value->size))) {
        return KIN_E_INVALID;
    }
    int status = store_enter(&u, dict.id, KIND_DICT);
    if (status < 0) {
        return status;
    }
    dict_table *t = dict_table_of(&u);
    uint64_t used = t != NULL ? STORE_GET(t->used) : 0;
    uint64_t at = t != NULL ? dict_place_of(t, cursor->number, cursor->place) : 0;
    while (at < used && STORE_GET(t->entries[at].ref) == 0) {
        at++;
    }
    uint64_t ref = at < used ? STORE_GET(t->entries[at].ref) : 0;
    status = ref != 0 ? store_fit(store_node_at(ref), key, value) : KIN_E_NOT_FOUND;
    if (status < 0) {
        store_leave(&u);
        return status;
    }
    cursor->number = STORE_GET(t->entries[at].number) + 1;
    cursor->place = at + 1;
    store_copy_and_leave(&u, ref, key, value);
    return 0;
}

void dict_set_up(void)
{
    dict_table_set_up();
}
