// SPDX-License-Identifier: Apache-2.0
//
// Checks a kernel's SPIR-V against what its parameters declare, before a
// driver sees it. Needs no driver, allocates nothing and believes no length:
// any bytes may be given.
//
// What is declared is looked at, not what is done: types, decorations, global
// variables and entry points, all of which stand before the first function.
// Of functions only the lengths are checked.
#ifndef TEGULA_BACKEND_COMMON_SPIRV_H
#define TEGULA_BACKEND_COMMON_SPIRV_H

#include "tegula/backend.h"

// As the second word of a module has it.
#define TEGI_SPIRV_VERSION(major, minor) \
  (((uint32_t)(major) << 16) | ((uint32_t)(minor) << 8))

// The entry point that |params| wants.
static inline const char* tegi_spirv_entry_point(
    const teg_kernel_params* params) {
  return params->entry_point ? params->entry_point : "main";
}

// TEG_INVALID, naming what is wrong, unless |params| has a whole module with a
// compute entry point of the wanted name, whose resources are exactly storage
// buffers 0 to binding_count - 1 of descriptor set 0 and, if there are
// parameters, a uniform buffer behind them. TEG_UNSUPPORTED for a version
// above |max_version|.
teg_result tegi_spirv_check(const teg_kernel_params* params,
                            uint32_t max_version, teg_error* err);

#endif  // TEGULA_BACKEND_COMMON_SPIRV_H
