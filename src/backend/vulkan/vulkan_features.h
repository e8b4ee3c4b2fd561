// SPDX-License-Identifier: Apache-2.0
//
// The features that a device of tegula's own is made with: what tegula needs,
// and everything the GPU has that makes more kernels valid.
#ifndef TEGULA_BACKEND_VULKAN_FEATURES_H
#define TEGULA_BACKEND_VULKAN_FEATURES_H

#include "backend/vulkan/vulkan_instance.h"

// Stays where it is while it is used: |all| leads to the others.
typedef struct tegi_vk_features {
  VkPhysicalDeviceFeatures2 all;
  VkPhysicalDeviceVulkan11Features vulkan11;
  VkPhysicalDeviceVulkan12Features vulkan12;
  VkPhysicalDeviceVulkan13Features vulkan13;  // not chained below 1.3
} tegi_vk_features;

// For vkCreateDevice. Those for sparse buffers only if |has_remap|.
void tegi_vk_features_choose(const tegi_vk_instance* instance,
                             const tegi_vk_facts* facts, bool has_remap,
                             tegi_vk_features* out_features);

#endif  // TEGULA_BACKEND_VULKAN_FEATURES_H
