# Builds for Windows (32 bit) with MinGW-w64.

set(CMAKE_SYSTEM_NAME Windows)
set(CMAKE_SYSTEM_PROCESSOR X86)
set(CMAKE_C_COMPILER i686-w64-mingw32-gcc)
set(CMAKE_CXX_COMPILER i686-w64-mingw32-g++)
set(CMAKE_RC_COMPILER i686-w64-mingw32-windres)

include(${CMAKE_CURRENT_LIST_DIR}/cache.cmake)
kin_find_in_cache(windows-x86 /usr/i686-w64-mingw32)
