# What is common to the targets of kin.

include(CheckCSourceCompiles)

# Some 32-bit systems keep 64-bit atomic operations in a library of their own, and old C libraries
# keep shm_open in librt and dladdr in libdl.
function(kin_find_needed_library variable library source)
    check_c_source_compiles("${source}" KIN_HAS_${variable})
    if(NOT KIN_HAS_${variable})
        set(CMAKE_REQUIRED_LIBRARIES ${library})
        check_c_source_compiles("${source}" KIN_HAS_${variable}_IN_LIBRARY)
        if(KIN_HAS_${variable}_IN_LIBRARY)
            set(kin_system_libraries ${kin_system_libraries} ${library} PARENT_SCOPE)
        endif()
    endif()
endfunction()

set(kin_system_libraries)
set(kin_threads)
kin_find_needed_library(ATOMIC_64 atomic "
    #include <stdatomic.h>
    #include <stdint.h>
    static _Atomic uint64_t number;
    int main(void) { uint64_t none = 0; atomic_fetch_add(&number, 1);
        return atomic_compare_exchange_strong(&number, &none, 2) || atomic_load(&number) == 1; }")
if(NOT WIN32)
    set(THREADS_PREFER_PTHREAD_FLAG ON)
    find_package(Threads REQUIRED)
    set(kin_threads Threads::Threads)
    kin_find_needed_library(SHM_OPEN rt "
        #include <sys/mman.h>
        #include <fcntl.h>
        int main(void) { return shm_open(\"/kin\", O_RDWR, 0); }")
    kin_find_needed_library(DLADDR dl "
        #define _GNU_SOURCE
        #include <dlfcn.h>
        int main(void) { Dl_info info; return dladdr((void *) &info, &info); }")
    check_c_source_compiles("
        #define _GNU_SOURCE
        #include <spawn.h>
        int main(void) { posix_spawn_file_actions_t actions;
            return posix_spawn_file_actions_addchdir_np(&actions, \"/\"); }" KIN_HAS_ADDCHDIR)
endif()

# The files in this folder that match, without those that are named for the other system.
macro(kin_glob variable)
    file(GLOB ${variable} CONFIGURE_DEPENDS ${ARGN})
    if(WIN32)
        list(FILTER ${variable} EXCLUDE REGEX "_posix\\.[ch]$")
    else()
        list(FILTER ${variable} EXCLUDE REGEX "_win32\\.[ch]$")
    endif()
endmacro()

# C11 without the compiler's extensions, and our warnings.
function(kin_compile target)
    set_target_properties(${target} PROPERTIES
        C_STANDARD 11 C_STANDARD_REQUIRED ON C_EXTENSIONS OFF)
    if(MSVC)
        target_compile_options(${target} PRIVATE /W4)
    else()
        target_compile_options(${target} PRIVATE
            -Wall -Wextra -Wpedantic -Wshadow -Wconversion)
    endif()
    if(KIN_WERROR)
        if(MSVC)
            target_compile_options(${target} PRIVATE /WX)
        else()
            target_compile_options(${target} PRIVATE -Werror)
        endif()
    endif()
    if(KIN_HAS_ADDCHDIR)
        target_compile_definitions(${target} PRIVATE KIN_HAVE_ADDCHDIR=1)
    endif()
    if(KIN_POSIX_PLAIN)
        target_compile_definitions(${target} PRIVATE KIN_POSIX_PLAIN=1)
    endif()
endfunction()

# A library of all sources.
function(kin_add_library target kind)
    add_library(${target} ${kind} ${kin_sources} ${kin_headers})
    kin_compile(${target})
    set_target_properties(${target} PROPERTIES
        OUTPUT_NAME kin POSITION_INDEPENDENT_CODE ON C_VISIBILITY_PRESET hidden)
    target_include_directories(${target}
        PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
               $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>
        PRIVATE ${PROJECT_SOURCE_DIR})
    target_compile_definitions(${target} PRIVATE KIN_BUILDING)
    if(kind STREQUAL "STATIC")
        target_compile_definitions(${target} PUBLIC KIN_STATIC)
    endif()
    target_link_libraries(${target} PRIVATE ${kin_threads} ${kin_system_libraries})
endfunction()

# A program that looks inside the library: it is linked to `library`, a static one.
function(kin_add_inside_program target library)
    add_executable(${target} ${ARGN})
    kin_compile(${target})
    target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR})
    target_link_libraries(${target} PRIVATE ${library} ${kin_threads})
    if(MINGW)
        target_link_options(${target} PRIVATE -static-libgcc)
    endif()
endfunction()
