# What an installed kin consists of: headers, libraries, a CMake package and a pkg-config file.

include(CMakePackageConfigHelpers)

set(kin_package_directory ${CMAKE_INSTALL_LIBDIR}/cmake/kin)
set(kin_installed_targets)
foreach(target kin_static kin_shared)
    if(TARGET ${target})
        list(APPEND kin_installed_targets ${target})
    endif()
endforeach()

install(TARGETS ${kin_installed_targets} EXPORT kin
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
    RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(FILES ${kin_headers} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/kin)
install(EXPORT kin NAMESPACE kin:: FILE kinTargets.cmake DESTINATION ${kin_package_directory})

configure_package_config_file(cmake/kinConfig.cmake.in ${PROJECT_BINARY_DIR}/kinConfig.cmake
    INSTALL_DESTINATION ${kin_package_directory} NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/kinConfigVersion.cmake
    COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/kinConfig.cmake ${PROJECT_BINARY_DIR}/kinConfigVersion.cmake
    DESTINATION ${kin_package_directory})

# kin.pc finds its prefix from its own place, so that an installed tree can be moved.
file(RELATIVE_PATH kin_prefix_from_pc
    ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" kin_prefix_from_pc "${kin_prefix_from_pc}")
set(kin_pc_prefix "\${pcfiledir}/${kin_prefix_from_pc}")
foreach(kind LIBDIR INCLUDEDIR)
    if(IS_ABSOLUTE "${CMAKE_INSTALL_${kind}}")
        set(kin_pc_${kind} "${CMAKE_INSTALL_${kind}}")
    else()
        set(kin_pc_${kind} "\${prefix}/${CMAKE_INSTALL_${kind}}")
    endif()
endforeach()
set(kin_pc_cflags)
set(kin_pc_cflags_private)
set(kin_pc_libs)
set(kin_pc_libs_private ${CMAKE_THREAD_LIBS_INIT})
foreach(library ${kin_system_libraries})
    string(APPEND kin_pc_libs_private " -l${library}")
endforeach()
if(TARGET kin_shared)
    set(kin_pc_cflags_private " -DKIN_STATIC")
else()
    set(kin_pc_cflags " -DKIN_STATIC")
    set(kin_pc_libs " ${kin_pc_libs_private}")
    set(kin_pc_libs_private)
endif()
configure_file(cmake/kin.pc.in ${PROJECT_BINARY_DIR}/kin.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/kin.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
