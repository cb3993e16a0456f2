# One target, kin_cmocka, wherever CMocka comes from: a package's CMake file, a prefix, or
# pkg-config.

find_package(cmocka CONFIG QUIET)
add_library(kin_cmocka INTERFACE)
if(TARGET cmocka::cmocka)
    target_link_libraries(kin_cmocka INTERFACE cmocka::cmocka)
    return()
endif()

# Older packages name files instead of a target.
find_path(KIN_CMOCKA_INCLUDE_DIR cmocka.h HINTS ${CMOCKA_INCLUDE_DIR})
find_library(KIN_CMOCKA_LIBRARY cmocka)
if(KIN_CMOCKA_INCLUDE_DIR AND KIN_CMOCKA_LIBRARY)
    target_include_directories(kin_cmocka SYSTEM INTERFACE ${KIN_CMOCKA_INCLUDE_DIR})
    target_link_libraries(kin_cmocka INTERFACE ${KIN_CMOCKA_LIBRARY})
    return()
endif()

if(NOT CMAKE_FIND_ROOT_PATH)
    find_package(PkgConfig QUIET)
    if(PkgConfig_FOUND)
        pkg_check_modules(KIN_CMOCKA QUIET IMPORTED_TARGET cmocka)
    endif()
endif()
if(NOT TARGET PkgConfig::KIN_CMOCKA)
    message(FATAL_ERROR "The tests need CMocka. `ci/install` with the name of the preset "
                        "installs it; -DKIN_TESTS=OFF builds without them.")
endif()
target_link_libraries(kin_cmocka INTERFACE PkgConfig::KIN_CMOCKA)
