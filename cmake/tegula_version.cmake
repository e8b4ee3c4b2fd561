# SPDX-License-Identifier: Apache-2.0
#
# Refuses to configure when the TEG_VERSION_* macros of the public header and
# the project's version are not the same.
set(version_header "${PROJECT_SOURCE_DIR}/include/tegula/tegula.h")
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS
                                       "${version_header}")
if(EXISTS "${version_header}")
  file(STRINGS "${version_header}" version_lines REGEX
       "^#define TEG_VERSION_(MAJOR|MINOR|PATCH) +[0-9]+")
  foreach(part MAJOR MINOR PATCH)
    if(NOT version_lines MATCHES
       "TEG_VERSION_${part} +${PROJECT_VERSION_${part}}([^0-9]|$)")
      message(
        FATAL_ERROR
          "include/tegula/tegula.h: TEG_VERSION_${part} is not "
          "${PROJECT_VERSION_${part}}, as CMakeLists.txt has it "
          "(found: ${version_lines})")
    endif()
  endforeach()
endif()
