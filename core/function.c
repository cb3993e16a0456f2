/* Functions across processes. */
#include "core/function.h"

int function_describe(function_reference *reference, uintptr_t address)
{
    int status = platform_module_of(&reference->module, address);
    if (status < 0) {
        return status;
    }
    reference->offset = address - reference->module.base;
    return 0;
}

int function_resolve(const function_reference *reference, uintptr_t *address)
{
    platform_module module = reference->module;
    int status = platform_module_find(&module, (uintptr_t) reference->offset);
    if (status < 0) {
        return status;
    }
    *address = module.base + (uintptr_t) reference->offset;
    return 0;
}
