# SPDX-License-Identifier: Apache-2.0
#
# Dependencies, and tegula_flags: the language, warnings and definitions every
# target of this repository is compiled with. It is never part of the exported
# package.

set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)

get_property(is_multi_config GLOBAL PROPERTY GENERATOR_IS_MULTI_CONFIG)
if(PROJECT_IS_TOP_LEVEL
   AND NOT is_multi_config
   AND NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE RelWithDebInfo)
endif()

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(ZLIB REQUIRED)
pkg_check_modules(TEGULA_ZSTD REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(TEGULA_JANSSON REQUIRED IMPORTED_TARGET jansson)
set(tegula_dependencies
    PkgConfig::TEGULA_ZSTD
    PkgConfig::TEGULA_JANSSON
    ZLIB::ZLIB
    Threads::Threads
    m
    ${CMAKE_DL_LIBS})

# Vulkan's headers are all that its backend needs at build time: the loader is
# opened at run time.
option(TEGULA_VULKAN "Build the Vulkan backend where its headers are" ON)
set(TEGULA_HAS_VULKAN OFF)
if(TEGULA_VULKAN)
  find_path(TEGULA_VULKAN_INCLUDE vulkan/vulkan_core.h)
  if(TEGULA_VULKAN_INCLUDE)
    set(TEGULA_HAS_VULKAN ON)
  else()
    message(STATUS "No Vulkan backend: vulkan/vulkan_core.h is not installed "
                   "(Debian: libvulkan-dev)")
  endif()
endif()

add_library(tegula_flags INTERFACE)
target_link_libraries(tegula_flags INTERFACE ${tegula_dependencies})
# Empty on purpose: a file's own "#define _GNU_SOURCE" then says the same.
target_compile_definitions(tegula_flags INTERFACE "_GNU_SOURCE=")
target_compile_options(
  tegula_flags
  INTERFACE -Wall
            -Wextra
            -Wconversion
            -Wshadow
            -Wstrict-prototypes
            -Wmissing-prototypes
            $<$<BOOL:${TEGULA_WERROR}>:-Werror>)
target_link_options(tegula_flags INTERFACE -Wl,--as-needed)

if(TEGULA_SANITIZE)
  add_compile_options(-fsanitize=${TEGULA_SANITIZE} -fno-omit-frame-pointer
                      -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${TEGULA_SANITIZE})
endif()
if(TEGULA_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
