# SPDX-License-Identifier: Apache-2.0
#
# The installed tree: libraries, headers, the program, the CMake package and
# the pkg-config file. All of it may be moved after it is installed.
include(CMakePackageConfigHelpers)

set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/tegula")

install(TARGETS tegula EXPORT tegula-targets)
install(TARGETS tegula_static EXPORT tegula-static-targets)
if(TARGET tegula_program)
  install(TARGETS tegula_program)
endif()
# What the program runs to read PyTorch's snapshots.
install(PROGRAMS tools/pytorch_snapshot.py
        DESTINATION "${CMAKE_INSTALL_DATADIR}/tegula")
install(
  DIRECTORY include/tegula
  DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
  FILES_MATCHING
  PATTERN "*.h")

foreach(set tegula-targets tegula-static-targets)
  install(
    EXPORT ${set}
    NAMESPACE tegula::
    DESTINATION "${package_dir}")
endforeach()
configure_package_config_file(
  cmake/tegula-config.cmake.in tegula-config.cmake
  INSTALL_DESTINATION "${package_dir}" NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(tegula-config-version.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/tegula-config.cmake"
              "${PROJECT_BINARY_DIR}/tegula-config-version.cmake"
        DESTINATION "${package_dir}")

# From where tegula.pc lies up to the prefix, whatever the prefix becomes.
file(RELATIVE_PATH pc_to_prefix "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
string(REGEX REPLACE "/$" "" pc_to_prefix "${pc_to_prefix}")
configure_file(tegula.pc.in tegula.pc @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/tegula.pc"
        DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
