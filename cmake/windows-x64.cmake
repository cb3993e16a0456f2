# Builds for Windows (64 bit) with MinGW-w64, and runs under Wine.

set(CMAKE_SYSTEM_NAME Windows)
set(CMAKE_SYSTEM_PROCESSOR AMD64)
set(CMAKE_C_COMPILER x86_64-w64-mingw32-gcc)
set(CMAKE_CXX_COMPILER x86_64-w64-mingw32-g++)
set(CMAKE_RC_COMPILER x86_64-w64-mingw32-windres)
set(CMAKE_CROSSCOMPILING_EMULATOR ${CMAKE_CURRENT_LIST_DIR}/../ci/wine)

include(${CMAKE_CURRENT_LIST_DIR}/cache.cmake)
kin_find_in_cache(windows-x64 /usr/x86_64-w64-mingw32)
