// SPDX-License-Identifier: Apache-2.0
//
// tegula next to a program's own Vulkan: adopting its device, and giving out
// the objects behind tegula's (tegula/vulkan.h).
#include <stdio.h>
#include <string.h>

#include "backend/vulkan/vulkan_backend.h"
#include "base/error.h"

// ---- Adopting.

#define SPARSE_FEATURES                                             \
  (TEG_VULKAN_SPARSE_BINDING | TEG_VULKAN_SPARSE_RESIDENCY_BUFFER | \
   TEG_VULKAN_SPARSE_RESIDENCY_ALIASED)
#define KNOWN_FEATURES                               \
  (TEG_VULKAN_TIMELINE_SEMAPHORE | SPARSE_FEATURES | \
   TEG_VULKAN_BUFFER_DEVICE_ADDRESS | TEG_VULKAN_MEMORY_BUDGET)

static teg_result check_params(const teg_vulkan_adopt_params* adopt,
                               teg_error* err) {
  TEG_REQUIRE(adopt->struct_size == sizeof *adopt, err,
              "vulkan: adopt: there are no parameters, or their struct_size, "
              "%u, is not %zu",
              adopt->struct_size, sizeof *adopt);
  const struct {
    const void* handle;
    const char* name;
  } needed[] = {{adopt->instance, "instance"},
                {adopt->physical_device, "physical_device"},
                {adopt->device, "device"},
                {adopt->queue, "queue"}};
  for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) {
    TEG_REQUIRE(needed[i].handle, err, "vulkan: adopt: %s is NULL",
                needed[i].name);
  }
  TEG_REQUIRE(!adopt->lock == !adopt->unlock, err,
              "vulkan: adopt: lock and unlock come together");
  TEG_REQUIRE(!(adopt->features & ~(uint32_t)KNOWN_FEATURES), err,
              "vulkan: adopt: features has unknown bits, 0x%x",
              adopt->features & ~(uint32_t)KNOWN_FEATURES);
  if (adopt->features & TEG_VULKAN_TIMELINE_SEMAPHORE) return TEG_OK;
  return tegi_error_set(err, TEG_UNSUPPORTED,
                        "vulkan: adopt: timelineSemaphore is needed and not "
                        "enabled on the device");
}

static teg_result check_family(const tegi_vk_device* device, const char* name,
                               uint32_t family, VkQueueFlags wanted,
                               const char* ability, teg_error* err) {
  VkQueueFamilyProperties families[TEGI_VK_MAX_FAMILIES];
  uint32_t count =
      tegi_vk_read_families(&device->instance, device->facts.gpu, families);
  TEG_REQUIRE(family < count, err,
              "vulkan: adopt: %s is %u, %.100s has %u families", name, family,
              device->facts.name, count);
  TEG_REQUIRE(families[family].queueFlags & wanted, err,
              "vulkan: adopt: %s: queues of family %u of %.100s do not %s",
              name, family, device->facts.name, ability);
  return TEG_OK;
}

// Where the program has no queue for it, the one that computes may bind.
static void choose_bind_family(tegi_vk_device* device,
                               const teg_vulkan_adopt_params* adopt) {
  tegi_vk_facts* facts = &device->facts;
  facts->bind_family = adopt->bind_queue_family;
  if (adopt->bind_queue) return;
  bool can_bind = check_family(device, "", adopt->queue_family,
                               VK_QUEUE_SPARSE_BINDING_BIT, "", NULL) == TEG_OK;
  facts->bind_family = can_bind ? adopt->queue_family : UINT32_MAX;
}

// What the program says is enabled must be there.
static teg_result check_feature(const tegi_vk_facts* facts, bool is_enabled,
                                bool is_there, const char* name,
                                teg_error* err) {
  TEG_REQUIRE(!is_enabled || is_there, err,
              "vulkan: adopt: %s is said to be enabled, and %.100s lacks it",
              name, facts->name);
  return TEG_OK;
}

static teg_result adopt_features(tegi_vk_device* device,
                                 teg_vulkan_features features, teg_error* err) {
  tegi_vk_facts* facts = &device->facts;
  const bool has_sparse = (features & SPARSE_FEATURES) == SPARSE_FEATURES;
  const bool has_address = features & TEG_VULKAN_BUFFER_DEVICE_ADDRESS;
  const bool has_budget = features & TEG_VULKAN_MEMORY_BUDGET;
  teg_result result =
      check_feature(facts, true, facts->has_timeline, "timelineSemaphore", err);
  if (result == TEG_OK) {
    result = check_feature(facts, has_sparse, facts->has_sparse,
                           "sparse residency of buffers", err);
  }
  if (result == TEG_OK) {
    result = check_feature(facts, has_address, facts->has_address,
                           "bufferDeviceAddress", err);
  }
  if (result == TEG_OK) {
    result = check_feature(facts, has_budget, facts->has_budget,
                           "VK_EXT_memory_budget", err);
  }
  facts->has_sparse = has_sparse && facts->bind_family != UINT32_MAX;
  facts->has_address = has_address;
  facts->has_budget = has_budget;
  return result;
}

static teg_result adopt_facts(tegi_vk_device* device,
                              const teg_vulkan_adopt_params* adopt,
                              teg_error* err) {
  tegi_vk_facts* facts = &device->facts;
  teg_result result =
      tegi_vk_facts_read(&device->instance, &device->host,
                         (VkPhysicalDevice)adopt->physical_device, facts, err);
  if (result != TEG_OK) return result;
  if (facts->api_version < VK_API_VERSION_1_2) {
    return tegi_error_set(err, TEG_UNSUPPORTED,
                          "vulkan: adopt: %.100s knows Vulkan %u.%u only, 1.2 "
                          "is needed",
                          facts->name, VK_API_VERSION_MAJOR(facts->api_version),
                          VK_API_VERSION_MINOR(facts->api_version));
  }
  result = check_family(device, "queue_family", adopt->queue_family,
                        VK_QUEUE_COMPUTE_BIT, "compute", err);
  if (result == TEG_OK && adopt->bind_queue) {
    result =
        check_family(device, "bind_queue_family", adopt->bind_queue_family,
                     VK_QUEUE_SPARSE_BINDING_BIT, "bind sparse memory", err);
  }
  if (result != TEG_OK) return result;
  facts->queue_family = adopt->queue_family;
  choose_bind_family(device, adopt);
  return adopt_features(device, adopt->features, err);
}

static PFN_vkGetInstanceProcAddr as_get(void* symbol) {
  PFN_vkGetInstanceProcAddr get;
  memcpy(&get, &symbol, sizeof get);
  return get;
}

teg_result tegi_vk_adopt(tegi_vk_device* device,
                         const teg_vulkan_adopt_params* adopt, teg_log log,
                         teg_error* err) {
  teg_result result = check_params(adopt, err);
  if (result != TEG_OK) return result;
  device->is_adopted = true;
  device->lock = adopt->lock;
  device->unlock = adopt->unlock;
  device->lock_user = adopt->user;
  result =
      tegi_vk_instance_adopt(&device->instance, (VkInstance)adopt->instance,
                             as_get(adopt->get_instance_proc_addr), log, err);
  return result == TEG_OK ? adopt_facts(device, adopt, err) : result;
}

// ---- Giving out.

static teg_result check_size(uint32_t given, size_t wanted, const char* what,
                             teg_error* err) {
  TEG_REQUIRE(given == wanted, err, "vulkan: %s: struct_size is %u, not %zu",
              what, given, wanted);
  return TEG_OK;
}

static teg_result describe_device(teg_backend_device* base, void* out,
                                  teg_error* err) {
  tegi_vk_device* device = tegi_vk_device_from(base);
  teg_vulkan_device_info* info = out;
  teg_result result =
      check_size(info->struct_size, sizeof *info, "device info", err);
  if (result != TEG_OK) return result;
  const tegi_vk_facts* facts = &device->facts;
  teg_vulkan_features features = TEG_VULKAN_TIMELINE_SEMAPHORE;
  if (device->has_remap) features |= SPARSE_FEATURES;
  if (facts->has_address) features |= TEG_VULKAN_BUFFER_DEVICE_ADDRESS;
  if (facts->has_budget) features |= TEG_VULKAN_MEMORY_BUDGET;
  *info = (teg_vulkan_device_info){
      .struct_size = sizeof *info,
      .features = features,
      .instance = device->instance.handle,
      .physical_device = facts->gpu,
      .device = device->handle,
      .queue = device->queue,
      .bind_queue = device->has_remap ? device->bind_queue : NULL,
      .queue_family = facts->queue_family,
      .bind_queue_family = device->has_remap ? facts->bind_family : 0,
  };
  return TEG_OK;
}

static teg_result describe_memory(teg_backend_device* base, teg_memory* memory,
                                  uint64_t offset, void* out, teg_error* err) {
  tegi_vk_device* device = tegi_vk_device_from(base);
  const tegi_vk_memory* vk_memory = tegi_vk_memory_from(memory);
  teg_vulkan_buffer_info* info = out;
  teg_result result =
      check_size(info->struct_size, sizeof *info, "buffer info", err);
  if (result != TEG_OK) return result;
  info->buffer = (uint64_t)vk_memory->buffer;
  info->offset = offset;
  info->address = 0;
  if (!device->facts.has_address) return TEG_OK;
  const VkBufferDeviceAddressInfo wanted = {
      .sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO,
      .buffer = vk_memory->buffer,
  };
  info->address =
      device->vk.GetBufferDeviceAddress(device->handle, &wanted) + offset;
  return TEG_OK;
}

static teg_result describe_stream(teg_queue_stream* stream, void* out,
                                  teg_error* err) {
  const tegi_vk_stream* vk_stream = tegi_vk_stream_from(stream);
  teg_vulkan_stream_info* info = out;
  teg_result result =
      check_size(info->struct_size, sizeof *info, "stream info", err);
  if (result != TEG_OK) return result;
  if (vk_stream->device->is_told) {
    return tegi_error_set(err, TEG_UNSUPPORTED,
                          "vulkan: nobody may wait for the semaphore of a "
                          "device that only completes what it is told to");
  }
  info->semaphore = (uint64_t)vk_stream->timeline->semaphore;
  return TEG_OK;
}

// Handles of this kind are pointers on some machines and numbers on others.
static VkSemaphore as_semaphore(uint64_t number) {
  VkSemaphore semaphore;
  static_assert(sizeof semaphore == sizeof number, "as Vulkan has it");
  memcpy(&semaphore, &number, sizeof semaphore);
  return semaphore;
}

static teg_result record_wait(teg_queue_stream* stream, const void* event,
                              teg_error* err) {
  const teg_vulkan_event* wanted = event;
  teg_result result =
      check_size(wanted->struct_size, sizeof *wanted, "event", err);
  if (result != TEG_OK) return result;
  TEG_REQUIRE(wanted->semaphore, err, "vulkan: wait: semaphore is NULL");
  return tegi_vk_stream_wait_semaphore(tegi_vk_stream_from(stream),
                                       as_semaphore(wanted->semaphore),
                                       wanted->value, err);
}

const teg_native_ops tegi_vk_native_ops = {
    .abi_version = TEG_BACKEND_ABI_VERSION,
    .struct_size = sizeof(teg_native_ops),
    .backend = "vulkan",
    .describe_device = describe_device,
    .describe_memory = describe_memory,
    .describe_stream = describe_stream,
    .record_wait = record_wait,
};
