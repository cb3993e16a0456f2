/* What the deaths in lists and dictionaries have in common. A child dies in an operation, after
   each instruction; then the survivor finds the table as it was before or as it is after the
   operation, which it has seen once before, byte by byte; all cells of it are in use or free; and
   it goes on.

   Of two that die one after the other, the second dies while it puts right what the first has left.
   */
#ifndef KIN_TESTS_CRASH_HARNESS_TABLES_H
#define KIN_TESTS_CRASH_HARNESS_TABLES_H

#include "harness.h"

enum { TABLES_CROWD = 5, TABLES_LARGE = 20000, TABLES_MEDIUM = 1500, TABLES_KEYS = 24 };

/* In the arena. */
typedef struct tables {
    kin_dict dict;
    kin_list list;
    kin_dict made_dict; /* by the one that dies */
    kin_list made_list;
    _Atomic uint32_t stop;
    wait_signal moved;
    _Atomic uint64_t begun[TABLES_CROWD]; /* additions to a number */
    _Atomic uint64_t done[TABLES_CROWD];
} tables;

enum {
    TABLES_END = 1,  /* the table may be gone afterwards */
    TABLES_PARTS = 2 /* several steps: there may be some of them */
};

typedef struct tables_operation {
    const char *name;
    void (*prepare)(const tables *t); /* in the survivor */
    void (*operate)(tables *t);       /* in the child */
    unsigned flags;
} tables_operation;

/* Of each kind: what the survivor does with a table that is whole, so that it is empty. */
void dict_go_on(const tables *t);
void list_go_on(const tables *t);

/* Bytes for values, all different. */
const unsigned char *tables_bytes(void);

/* What one of a crowd does at random, once. */
typedef void tables_turn(tables *t, uint64_t *seed, unsigned number);

/* The whole of main. `total`: the number that the crowd has added to. */
int tables_main(int argc, char **argv, const tables_operation *table, unsigned count,
                tables_turn *turn, int64_t (*total)(const tables *t));

/* A value that tells whether it is whole; its size. */
size_t tables_make_value(unsigned char *value, uint64_t seed);
bool tables_is_whole(const unsigned char *value, size_t size);

#endif
