/* What differs between the systems for the kill tests. */
#include "harness.h"

bool crash_may_start_and_die(void)
{
    return true;
}
