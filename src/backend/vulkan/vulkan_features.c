// SPDX-License-Identifier: Apache-2.0
//
// SPIR-V may use a capability only where the device was made with its feature.
// Those that cost speed whether or not a kernel uses them, such as checks of
// bounds, stay off.
#include "backend/vulkan/vulkan_features.h"

// What compute kernels can use, as members of tegi_vk_features.
#define KERNEL_FEATURES(X)                        \
  X(all.features.shaderFloat64)                   \
  X(all.features.shaderInt64)                     \
  X(all.features.shaderInt16)                     \
  X(vulkan11.storageBuffer16BitAccess)            \
  X(vulkan11.uniformAndStorageBuffer16BitAccess)  \
  X(vulkan11.variablePointersStorageBuffer)       \
  X(vulkan11.variablePointers)                    \
  X(vulkan12.storageBuffer8BitAccess)             \
  X(vulkan12.uniformAndStorageBuffer8BitAccess)   \
  X(vulkan12.shaderBufferInt64Atomics)            \
  X(vulkan12.shaderSharedInt64Atomics)            \
  X(vulkan12.shaderFloat16)                       \
  X(vulkan12.shaderInt8)                          \
  X(vulkan12.scalarBlockLayout)                   \
  X(vulkan12.uniformBufferStandardLayout)         \
  X(vulkan12.shaderSubgroupExtendedTypes)         \
  X(vulkan12.vulkanMemoryModel)                   \
  X(vulkan12.vulkanMemoryModelDeviceScope)        \
  X(vulkan13.subgroupSizeControl)                 \
  X(vulkan13.computeFullSubgroups)                \
  X(vulkan13.shaderZeroInitializeWorkgroupMemory) \
  X(vulkan13.shaderIntegerDotProduct)

static void init(const tegi_vk_facts* facts, tegi_vk_features* features) {
  *features = (tegi_vk_features){
      .all.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
      .vulkan11.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES,
      .vulkan12.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
      .vulkan13.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES,
  };
  features->all.pNext = &features->vulkan11;
  features->vulkan11.pNext = &features->vulkan12;
  if (facts->api_version >= VK_API_VERSION_1_3) {
    features->vulkan12.pNext = &features->vulkan13;
  }
}

void tegi_vk_features_choose(const tegi_vk_instance* instance,
                             const tegi_vk_facts* facts, bool has_remap,
                             tegi_vk_features* out_features) {
  tegi_vk_features offered;
  init(facts, &offered);
  instance->vk.GetPhysicalDeviceFeatures2(facts->gpu, &offered.all);
  init(facts, out_features);
#define TAKE(feature) out_features->feature = offered.feature;
  KERNEL_FEATURES(TAKE)
#undef TAKE
  out_features->vulkan12.timelineSemaphore = VK_TRUE;
  out_features->vulkan12.bufferDeviceAddress = facts->has_address;
  out_features->all.features.sparseBinding = has_remap;
  out_features->all.features.sparseResidencyBuffer = has_remap;
  out_features->all.features.sparseResidencyAliased = has_remap;
}
