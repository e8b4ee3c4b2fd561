# SPDX-License-Identifier: Apache-2.0
#
# The target bench: one program for each bench/*.c, linked with bench/support/
# if that is there. They may look inside the library. Not part of "all".
file(GLOB bench_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/bench/*.c")
file(GLOB bench_support CONFIGURE_DEPENDS
     "${PROJECT_SOURCE_DIR}/bench/support/*.c")
add_custom_target(bench)
if(TARGET tegula_program)
  add_dependencies(bench tegula_program)
endif()
foreach(source IN LISTS bench_sources)
  cmake_path(GET source STEM name)
  add_executable(${name} EXCLUDE_FROM_ALL ${source} ${bench_support})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY
                                           "${PROJECT_BINARY_DIR}/bench")
  target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}/src"
                                             "${PROJECT_SOURCE_DIR}/bench")
  target_link_libraries(${name} PRIVATE tegula_flags tegula_static)
  add_dependencies(bench ${name})
endforeach()
