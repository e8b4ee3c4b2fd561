// SPDX-License-Identifier: Apache-2.0
//
// The Vulkan loader, opened at run time, and the functions it gives: global
// ones and those of an instance and a device, in tables that belong to who
// made them. Also VkResult as a teg_result.
#ifndef TEGULA_BACKEND_VULKAN_LOADER_H
#define TEGULA_BACKEND_VULKAN_LOADER_H

// Functions are called through our tables only.
#define VK_NO_PROTOTYPES 1
#include <vulkan/vulkan_core.h>

#include "tegula/result.h"

// Functions of the library, of an instance made with it, of a device.
typedef struct tegi_vk_loader {
  void* library;
  PFN_vkGetInstanceProcAddr GetInstanceProcAddr;
#define TEGI_VK_GLOBAL(name) PFN_vk##name name;
#include "backend/vulkan/vulkan_symbols.def"
} tegi_vk_loader;

typedef struct tegi_vk_instance_table {
#define TEGI_VK_INSTANCE(name) PFN_vk##name name;
#define TEGI_VK_INSTANCE_OPTIONAL(name) PFN_vk##name name;
#include "backend/vulkan/vulkan_symbols.def"
} tegi_vk_instance_table;

typedef struct tegi_vk_device_table {
#define TEGI_VK_DEVICE(name) PFN_vk##name name;
#include "backend/vulkan/vulkan_symbols.def"
} tegi_vk_device_table;

// Opens the first of |names| (ends with NULL) that is there; NULL = the
// loader's usual names. TEG_UNAVAILABLE, with what was tried.
teg_result tegi_vk_loader_open(tegi_vk_loader* loader, const char* const* names,
                               teg_error* err);
// What it gave may not be used any more. An all-zero loader is fine.
void tegi_vk_loader_close(tegi_vk_loader* loader);

// TEG_UNAVAILABLE, naming the first function that is missing.
teg_result tegi_vk_load_instance(const tegi_vk_loader* loader,
                                 VkInstance instance,
                                 tegi_vk_instance_table* out_table,
                                 teg_error* err);
teg_result tegi_vk_load_device(const tegi_vk_instance_table* instance,
                               VkDevice device, tegi_vk_device_table* out_table,
                               teg_error* err);

// The name of a VkResult, "VK_ERROR_..."; never NULL.
const char* tegi_vk_result_name(VkResult native);
// |native|, a failure of |what|, as a result with its error filled in.
teg_result tegi_vk_failed(VkResult native, const char* what, teg_error* err);

#endif  // TEGULA_BACKEND_VULKAN_LOADER_H
