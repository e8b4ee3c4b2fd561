# SPDX-License-Identifier: Apache-2.0
#
# Compute shaders in GLSL, compiled to SPIR-V as C headers when tegula is built.
#   tegula_shaders(TARGET FILE.comp...)
# The sources of TARGET may then include "NAME.spv.h", which has
# const uint32_t NAME_spv[]: one file of a program includes it, behind <stdint.h>.
find_program(TEGULA_GLSLANG glslangValidator)

# All of them, for tools that read sources and build nothing.
add_custom_target(tegula_shader_headers)

function(tegula_shaders target)
  if(NOT TEGULA_GLSLANG)
    message(FATAL_ERROR "glslangValidator is needed (Debian: glslang-tools)")
  endif()
  set(folder "${CMAKE_CURRENT_BINARY_DIR}/${target}_shaders")
  foreach(source IN LISTS ARGN)
    cmake_path(GET source STEM name)
    cmake_path(ABSOLUTE_PATH source BASE_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}")
    set(header "${folder}/${name}.spv.h")
    # What it may include lies beside it.
    cmake_path(GET source PARENT_PATH source_folder)
    file(GLOB included CONFIGURE_DEPENDS "${source_folder}/*.glsl")
    add_custom_command(
      OUTPUT "${header}"
      COMMAND "${CMAKE_COMMAND}" -E make_directory "${folder}"
      COMMAND "${TEGULA_GLSLANG}" --quiet -V --target-env vulkan1.2 --vn
              "${name}_spv" -o "${header}" "${source}"
      DEPENDS "${source}" ${included}
      VERBATIM)
    target_sources(${target} PRIVATE "${header}")
    add_custom_target(${target}_${name}_header DEPENDS "${header}")
    add_dependencies(${target} ${target}_${name}_header)
    add_dependencies(tegula_shader_headers ${target}_${name}_header)
  endforeach()
  target_include_directories(${target} SYSTEM PRIVATE "${folder}")
endfunction()
