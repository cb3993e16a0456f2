# Where ci/install keeps what it has built for other systems: CMocka for each of them. The same
# place as in ci/lib.sh.

if(NOT "$ENV{KIN_CACHE}" STREQUAL "")
    set(kin_cache "$ENV{KIN_CACHE}")
elseif(NOT "$ENV{XDG_CACHE_HOME}" STREQUAL "")
    set(kin_cache "$ENV{XDG_CACHE_HOME}/kin")
elseif(NOT "$ENV{HOME}" STREQUAL "")
    set(kin_cache "$ENV{HOME}/.cache/kin")
else()
    execute_process(COMMAND id -u OUTPUT_VARIABLE kin_user OUTPUT_STRIP_TRAILING_WHITESPACE)
    set(kin_cache "/tmp/kin-cache-${kin_user}")
endif()

# Looks for libraries and headers below the cached prefix of `toolchain`, and not among those of
# this machine.
macro(kin_find_in_cache toolchain)
    list(APPEND CMAKE_FIND_ROOT_PATH ${kin_cache}/prefix/${toolchain} ${ARGN})
    set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
    set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
    set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
    set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
endmacro()
