/* Injected failures of system calls. A wing makes each call to its system that can fail through its
   macro SYSTEM, which asks fault_now first when the library is built with KIN_FAULTS; otherwise
   nothing of it is left. The tests that link that build define fault_now and let the Nth call
   fail. */
#ifndef KIN_CORE_FAULT_H
#define KIN_CORE_FAULT_H

#include <stdbool.h>

#ifdef KIN_FAULTS
/* True if this call is to fail. `call` is its text. */
bool fault_now(const char *call);
#define FAULT_OR(call, failure) (fault_now(#call) ? (failure) : (call))
#else
#define FAULT_OR(call, failure) (call)
#endif

#endif
