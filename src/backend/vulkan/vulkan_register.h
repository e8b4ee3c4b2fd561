// SPDX-License-Identifier: Apache-2.0
//
// The Vulkan backend, for the registry. There where the build found Vulkan's
// headers: TEGI_HAS_VULKAN says so.
#ifndef TEGULA_BACKEND_VULKAN_REGISTER_H
#define TEGULA_BACKEND_VULKAN_REGISTER_H

#include "tegula/backend.h"

extern const teg_backend_ops tegi_vk_backend;

#endif  // TEGULA_BACKEND_VULKAN_REGISTER_H
