/* What differs between the systems for the kill tests. */
#include "harness.h"

#include <windows.h>

/* Wine makes a process in many steps of its own, and one that is cut short between them stays. */
bool crash_may_start_and_die(void)
{
    HMODULE ntdll = GetModuleHandleW(L"ntdll.dll");
    return ntdll == NULL || GetProcAddress(ntdll, "wine_get_version") == NULL;
}
