/* Lists and dictionaries that nobody else uses meanwhile. They have no limit: no system has the
   like. */
#include "bench/bench.h"

#include <kin/kin.h>

#include <string.h>

enum { SAMPLES = 21, TURNS = 100000, KEYS = 1024, VALUE = 64, ELEMENT = 16 };

/* Keys of 8 to 16 bytes. */
typedef struct key {
    char text[16];
    size_t size;
} key;

static key keys[KEYS];

static void make_keys(void)
{
    for (unsigned i = 0; i < KEYS; i++) {
        memset(keys[i].text, 'k', sizeof keys[i].text);
        for (unsigned n = i, at = 0; at < 4; n /= 10, at++) {
            keys[i].text[at] = (char) ('0' + n % 10);
        }
        keys[i].size = 8 + i % 9;
    }
}

/* In no order that a processor foresees. */
static const key *key_of(unsigned turn)
{
    return &keys[turn * 613 % KEYS];
}

static int dict_turns(kin_dict dict, bool sets)
{
    char value[VALUE] = "value";
    int status = 0;
    for (unsigned i = 0; i < TURNS && status == 0; i++) {
        const key *k = key_of(i);
        status = sets ? kin_dict_set(dict, k->text, k->size, value, sizeof value)
                      : kin_dict_get(dict, k->text, k->size, value, sizeof value, NULL);
    }
    return status;
}

static int measure_dict(figure *f, bool sets)
{
    double times[SAMPLES];
    kin_dict dict;
    make_keys();
    int status = kin_dict_create(&dict, NULL);
    if (status < 0) {
        return status;
    }
    status = dict_turns(dict, true);
    for (int i = 0; i < SAMPLES && status == 0; i++) {
        double start = bench_now_ns();
        status = dict_turns(dict, sets);
        times[i] = (bench_now_ns() - start) / TURNS;
    }
    f->value = bench_median(times, SAMPLES);
    int destroyed = kin_dict_destroy(dict);
    return status < 0 ? status : destroyed;
}

static int measure_get(figure *f)
{
    return measure_dict(f, false);
}

static int measure_set(figure *f)
{
    return measure_dict(f, true);
}

static int append_turns(kin_list list)
{
    char element[ELEMENT] = "element";
    int status = 0;
    for (unsigned i = 0; i < TURNS && status == 0; i++) {
        status = kin_list_append(list, element, sizeof element);
    }
    return status;
}

static int get_turns(kin_list list)
{
    char element[ELEMENT];
    int status = 0;
    for (unsigned i = 0; i < TURNS && status == 0; i++) {
        status = kin_list_get(list, i * 613 % KEYS, element, sizeof element, NULL);
    }
    return status;
}

static int measure_list(figure *f, int (*turns)(kin_list list), bool clears)
{
    double times[SAMPLES];
    kin_list list;
    int status = kin_list_create(&list, NULL);
    if (status < 0) {
        return status;
    }
    status = append_turns(list);
    for (int i = 0; i < SAMPLES && status == 0; i++) {
        status = clears ? kin_list_clear(list) : 0;
        double start = bench_now_ns();
        status = status == 0 ? turns(list) : status;
        times[i] = (bench_now_ns() - start) / TURNS;
    }
    f->value = bench_median(times, SAMPLES);
    int destroyed = kin_list_destroy(list);
    return status < 0 ? status : destroyed;
}

static int measure_append(figure *f)
{
    return measure_list(f, append_turns, true);
}

static int measure_list_get(figure *f)
{
    return measure_list(f, get_turns, false);
}

const benchmark table_benchmarks[] = {
    {"dict.get", "ns", measure_get},
    {"dict.set", "ns", measure_set},
    {"list.append", "ns", measure_append},
    {"list.get", "ns", measure_list_get},
    {NULL, NULL, NULL},
};
