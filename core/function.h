/* Functions across processes: by the module that they are in, its build, and their place in it. */
#ifndef KIN_CORE_FUNCTION_H
#define KIN_CORE_FUNCTION_H

#include "core/platform.h"

typedef struct function_reference {
    uint64_t offset;
    platform_module module;
} function_reference;

/* KIN_E_FUNCTION if the address is in no module. */
int function_describe(function_reference *reference, uintptr_t address);

/* Where the function is in this process. KIN_E_FUNCTION if it is not, or in another build. */
int function_resolve(const function_reference *reference, uintptr_t *address);

#endif
