// SPDX-License-Identifier: Apache-2.0
//
// A Vulkan instance, the physical devices it lists, and what tegula wants to
// know about one of them before it is opened.
#ifndef TEGULA_BACKEND_VULKAN_INSTANCE_H
#define TEGULA_BACKEND_VULKAN_INSTANCE_H

#include "backend/vulkan/vulkan_loader.h"
#include "base/memory.h"
#include "tegula/backend.h"

#define TEGI_VK_MAX_GPUS 32u
#define TEGI_VK_MAX_FAMILIES 32u

// Stays where it is while it lives: the messenger points at |log|.
typedef struct tegi_vk_instance {
  tegi_vk_loader loader;
  VkInstance handle;
  bool is_adopted;  // the program's
  tegi_vk_instance_table vk;
  teg_log log;
  VkDebugUtilsMessengerEXT messenger;  // where log is wanted and possible
} tegi_vk_instance;

// Facts about one physical device. Limits are the driver's own.
typedef struct tegi_vk_facts {
  VkPhysicalDevice gpu;
  uint32_t api_version;
  VkPhysicalDeviceType type;
  char name[VK_MAX_PHYSICAL_DEVICE_NAME_SIZE];
  char driver[VK_MAX_DRIVER_NAME_SIZE + VK_MAX_DRIVER_INFO_SIZE];
  char version[64];  // of the driver, and of Vulkan
  // It runs on the CPU as lavapipe does: a bound tile is a kernel mapping.
  bool is_cpu_driver;
  bool has_timeline;
  bool has_sparse;  // binding, residency of buffers, aliasing
  bool has_address;
  bool has_budget;
  uint32_t queue_family;  // UINT32_MAX = none computes
  uint32_t bind_family;   // UINT32_MAX = none binds sparsely
  uint64_t offset_alignment;
  uint64_t max_buffer_bytes;
  uint64_t max_allocation_bytes;
  uint64_t max_allocation_count;  // 0 = no limit
  uint64_t max_binding_bytes;
  uint64_t storage_alignment;    // of offsets of storage buffers
  uint64_t uniform_alignment;    // of offsets of uniform buffers
  uint64_t max_uniform_bytes;    // of one uniform buffer
  uint64_t atom_bytes;           // flushed together
  uint32_t max_storage_buffers;  // of one kernel
  uint32_t max_group_count[3];
  float timestamp_ns;     // of one tick
  uint64_t sparse_bytes;  // of all sparse buffers together; 0 = no limit
  VkPhysicalDeviceMemoryProperties memory;
} tegi_vk_facts;

// TEG_UNAVAILABLE without a loader or a driver. |log| may be all-zero.
teg_result tegi_vk_instance_create(tegi_vk_instance* instance, tegi_host* host,
                                   teg_log log, teg_error* err);
// Takes the program's instance. |get| NULL = of the machine's loader.
teg_result tegi_vk_instance_adopt(tegi_vk_instance* instance, VkInstance handle,
                                  PFN_vkGetInstanceProcAddr get, teg_log log,
                                  teg_error* err);
// An all-zero or half-made instance is fine.
void tegi_vk_instance_destroy(tegi_vk_instance* instance);

// The families of the queues to use: one that computes and binds if there is
// one. UINT32_MAX = none.
void tegi_vk_choose_families(const VkQueueFamilyProperties* families,
                             uint32_t count, uint32_t* out_queue,
                             uint32_t* out_bind);
// The families of |gpu|, at most TEGI_VK_MAX_FAMILIES; returns how many.
uint32_t tegi_vk_read_families(const tegi_vk_instance* instance,
                               VkPhysicalDevice gpu,
                               VkQueueFamilyProperties* out_families);
// The physical devices tegula can open, best first, at most TEGI_VK_MAX_GPUS.
// TEG_UNAVAILABLE, saying why, if there is none.
teg_result tegi_vk_instance_gpus(const tegi_vk_instance* instance,
                                 VkPhysicalDevice* out_gpus,
                                 uint32_t* out_count, teg_error* err);

teg_result tegi_vk_facts_read(const tegi_vk_instance* instance, tegi_host* host,
                              VkPhysicalDevice gpu, tegi_vk_facts* out_facts,
                              teg_error* err);
// Bytes of heap |heap_index| that can still be allocated; UINT64_MAX = not
// known.
uint64_t tegi_vk_facts_available(const tegi_vk_instance* instance,
                                 const tegi_vk_facts* facts,
                                 uint32_t heap_index);
// Bits of a timestamp of the queue family that commands go to; 0 = it has none.
uint32_t tegi_vk_facts_timestamp_bits(const tegi_vk_instance* instance,
                                      const tegi_vk_facts* facts);
// The index of the best memory type among |type_bits| for what only the device
// reads; UINT32_MAX if there is none. A type that the CPU reaches as well is
// preferred where that is true of the whole heap.
uint32_t tegi_vk_facts_memory_type(const tegi_vk_facts* facts,
                                   uint32_t type_bits);
// The index of the best memory type among |type_bits| for what the CPU writes
// and the device reads once or, |is_readback|, the other way; UINT32_MAX if
// there is none.
uint32_t tegi_vk_facts_staging_type(const tegi_vk_facts* facts,
                                    uint32_t type_bits, bool is_readback);
// True if memory of that type can be mapped.
bool tegi_vk_facts_is_mappable(const tegi_vk_facts* facts, uint32_t type);
// True if the CPU and the device see the same there without a flush.
bool tegi_vk_facts_is_coherent(const tegi_vk_facts* facts, uint32_t type);
// True if the CPU reads it through its caches.
bool tegi_vk_facts_is_cached(const tegi_vk_facts* facts, uint32_t type);
// True if every heap is the device's own and the CPU reaches it.
bool tegi_vk_facts_is_unified(const tegi_vk_facts* facts);

#endif  // TEGULA_BACKEND_VULKAN_INSTANCE_H
