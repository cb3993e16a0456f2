/* Failures on demand: the Nth call to the system fails that this process, or a copy of it, makes
   through the seam. */
#ifndef KIN_TESTS_FAULT_INJECTION_H
#define KIN_TESTS_FAULT_INJECTION_H

#include "support_options.h"

/* Has call `number` from now on fail; 0: none. disarm is true if it has. */
void fault_arm(int number);
bool fault_disarm(void);
bool fault_happened(void);

/* No call fails until fault_resume; how many were left until one would have. */
int fault_pause(void);
void fault_resume(int left);

/* The call that failed, as it stands in the source; "none". */
const char *fault_call(void);

/* What has failed is told by shared memory from now on, so that copies tell it too. */
void fault_share(void);
void fault_unshare(void);

/* Has a call of each child fail that is spawned from now on, as it reads with fault_number. */
void fault_tell_children(int number);
int fault_number(void);

/* True of what a function may give after such a failure. */
bool fault_is_sensible(int status);

/* Lets each call of an operation fail once. `operation` gives a status, and leaves nothing whatever
   that is. */
void fail_each(int (*operation)(void));

#define FAULT_TEST(name, operation) \
    static void name(void **state)  \
    {                               \
        (void) state;               \
        fail_each(operation);       \
    }

/* As an operation. A join may fail itself; then it is tried once more. */
int join_and_close(kin_process process, int expected);

#endif
