// SPDX-License-Identifier: Apache-2.0
//
// Opening and closing the Vulkan device, its capabilities and description.
#include <stddef.h>
#include <stdio.h>

#include "backend/vulkan/vulkan_backend.h"
#include "backend/vulkan/vulkan_features.h"
#include "backend/vulkan/vulkan_register.h"
#include "base/checked.h"
#include "base/error.h"

#define DEVICE_MAGIC 0x766b6476u

static_assert(offsetof(tegi_vk_device, base) == 0, "base comes first");

tegi_vk_device* tegi_vk_device_from(teg_backend_device* base) {
  tegi_vk_device* device = (tegi_vk_device*)(void*)base;
  TEG_ASSERT(device && device->magic == DEVICE_MAGIC);
  return device;
}

teg_result tegi_vk_check_alive(tegi_vk_device* device, teg_error* err) {
  if (!atomic_load_explicit(&device->is_lost, memory_order_relaxed)) {
    return TEG_OK;
  }
  return tegi_error_native(err, TEG_DEVICE_LOST, "vulkan", VK_ERROR_DEVICE_LOST,
                           "vulkan: %.100s was lost", device->facts.name);
}

teg_result tegi_vk_device_failed(tegi_vk_device* device, VkResult native,
                                 const char* what, teg_error* err) {
  if (native == VK_ERROR_DEVICE_LOST) atomic_store(&device->is_lost, true);
  return tegi_vk_failed(native, what, err);
}

// ---- Tables.

void tegi_vk_rest_if_lost(tegi_vk_device* device) {
  if (tegi_vk_check_alive(device, NULL) == TEG_OK) return;
  tegi_mutex_lock(&device->queue_lock);
  if (!device->is_at_rest) {
    // The program's other queues are not tegula's to wait for.
    tegi_vk_queues_lock(device);
    (void)device->vk.QueueWaitIdle(device->queue);
    if (device->bind_queue != device->queue) {
      (void)device->vk.QueueWaitIdle(device->bind_queue);
    }
    tegi_vk_queues_unlock(device);
    device->is_at_rest = true;
  }
  tegi_mutex_unlock(&device->queue_lock);
}

void tegi_vk_queues_lock(tegi_vk_device* device) {
  if (device->lock) device->lock(device->lock_user);
}

void tegi_vk_queues_unlock(tegi_vk_device* device) {
  if (device->unlock) device->unlock(device->lock_user);
}

static void free_device(tegi_vk_device* device) {
  if (device->handle) {
    // Fails on a lost device, whose work is over all the same. The program's
    // own work is not waited for: that of streams was when they went.
    if (!device->is_adopted) (void)device->vk.DeviceWaitIdle(device->handle);
    if (device->scratch) {
      tegi_vk_memory_destroy(&device->base,
                             (teg_memory*)(void*)device->scratch);
    }
    tegi_vk_stream_close(device, device->bind_stream);
    tegi_vk_layouts_deinit(device);
    tegi_vk_heaps_deinit(device);
    if (!device->is_adopted) device->vk.DestroyDevice(device->handle, NULL);
    tegi_mutex_destroy(&device->queue_lock);
  }
  tegi_vk_instance_destroy(&device->instance);
  device->magic = 0;
  // The allocator lives in what it frees.
  tegi_host host;
  tegi_host_init(&host, &device->host.allocator, NULL);
  tegi_host_free(&host, device, sizeof *device);
}

static void close_device(teg_backend_device* base) {
  if (!base) return;
  tegi_vk_device* device = tegi_vk_device_from(base);
  uint64_t left = tegi_load_relaxed(&device->object_count) - 1;  // the scratch
  const teg_log* log = &device->instance.log;
  if (left && log->write) {
    char line[112];
    snprintf(line, sizeof line,
             "vulkan: closed with %llu memories, ranges, streams or kernels "
             "alive",
             (unsigned long long)left);
    log->write(log->user, TEG_LOG_ERROR, line);
  }
  free_device(device);
}

static const VkMemoryHeap* main_heap(const tegi_vk_device* device) {
  const VkPhysicalDeviceMemoryProperties* memory = &device->facts.memory;
  return &memory->memoryHeaps[memory->memoryTypes[device->heap_type].heapIndex];
}

static void query_caps(teg_backend_device* base, teg_backend_caps* out_caps) {
  tegi_vk_device* device = tegi_vk_device_from(base);
  const tegi_vk_facts* facts = &device->facts;
  teg_backend_flags flags = TEG_BACKEND_NONE;
  if (tegi_vk_facts_is_unified(facts)) flags |= TEG_BACKEND_UNIFIED;
  if (device->is_told) flags |= TEG_BACKEND_TOLD;
  uint64_t most = facts->max_allocation_count;
  *out_caps = (teg_backend_caps){
      .struct_size = sizeof *out_caps,
      .flags = flags,
      .buffer_alignment = device->granularity,
      .buffer_granularity = device->granularity,
      .max_allocation_bytes = tegi_vk_max_allocation_bytes(device),
      .max_binding_bytes = facts->max_binding_bytes,
      // One is the device's own.
      .max_allocation_count = most > 1 ? most - 1 : most,
      .tile_bytes = device->tile_bytes,
      .max_mapping_count =
          device->has_mapping_limit ? device->range_mappings.limit : 0,
      .total_bytes = main_heap(device)->size,
      .remap = device->has_remap ? TEG_REMAP_QUEUE_ORDERED : TEG_REMAP_NONE,
      .max_range_bytes = tegi_vk_max_range_bytes(device),
      .binding_alignment = facts->storage_alignment,
      .parameter_alignment = facts->uniform_alignment,
      .max_parameter_bytes = facts->max_uniform_bytes,
      .max_group_count = {facts->max_group_count[0], facts->max_group_count[1],
                          facts->max_group_count[2]},
  };
}

static uint64_t query_available(teg_backend_device* base) {
  tegi_vk_device* device = tegi_vk_device_from(base);
  const VkMemoryType* type =
      &device->facts.memory.memoryTypes[device->heap_type];
  return tegi_vk_facts_available(&device->instance, &device->facts,
                                 type->heapIndex);
}

static const teg_device_ops device_ops = {
    .abi_version = TEG_BACKEND_ABI_VERSION,
    .struct_size = sizeof(teg_device_ops),
    .close = close_device,
    .query_caps = query_caps,
    .query_available = query_available,
    .buffer_create = tegi_vk_buffer_create,
    .heap_create = tegi_vk_heap_create,
    .staging_create = tegi_vk_staging_create,
    .memory_destroy = tegi_vk_memory_destroy,
};

// The tables of this device: what it lacks is NULL.
static void init_tables(tegi_vk_device* device) {
  device->device_ops = device_ops;
  if (!tegi_vk_has_staging(device)) device->device_ops.staging_create = NULL;
  device->map_ops = tegi_vk_map_ops;
  if (tegi_vk_all_types(device, tegi_vk_facts_is_cached)) {
    device->map_ops.is_cached = NULL;
  }
  if (tegi_vk_all_types(device, tegi_vk_facts_is_coherent)) {
    device->map_ops.flush = NULL;
    device->map_ops.invalidate = NULL;
  }
  device->queue_ops = tegi_vk_queue_ops;
  device->timestamp_bits =
      tegi_vk_facts_timestamp_bits(&device->instance, &device->facts);
  if (device->timestamp_bits == 0) {
    device->queue_ops.record_timestamp = NULL;
    device->queue_ops.timestamp = NULL;
  }
  device->base.tables = (teg_backend_tables){
      .device = &device->device_ops,
      .remap = device->has_remap ? &tegi_vk_remap_ops : NULL,
      .map = &device->map_ops,
      .queue = &device->queue_ops,
      .kernel = &tegi_vk_kernel_ops,
      .native = &tegi_vk_native_ops,
  };
}

// ---- Opening.

// Sets device->handle if it succeeds.
static teg_result take_native(tegi_vk_device* device, VkDevice handle,
                              teg_error* err) {
  teg_result result =
      tegi_vk_load_device(&device->instance.vk, handle, &device->vk, err);
  if (result == TEG_OK && tegi_mutex_init(&device->queue_lock) != TEG_OK) {
    result = tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                            "vulkan: cannot make a lock");
  }
  if (result == TEG_OK) device->handle = handle;
  return result;
}

static teg_result create_native(tegi_vk_device* device, teg_error* err) {
  const tegi_vk_facts* facts = &device->facts;
  const float priority = 1.0f;
  const uint32_t families[2] = {facts->queue_family, facts->bind_family};
  VkDeviceQueueCreateInfo queues[2];
  for (uint32_t i = 0; i < 2; i++) {
    queues[i] = (VkDeviceQueueCreateInfo){
        .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
        .queueFamilyIndex = families[i],
        .queueCount = 1,
        .pQueuePriorities = &priority,
    };
  }
  bool has_bind_family = device->has_remap && families[1] != families[0];
  tegi_vk_features features;
  tegi_vk_features_choose(&device->instance, facts, device->has_remap,
                          &features);
  static const char* const extensions[] = {VK_EXT_MEMORY_BUDGET_EXTENSION_NAME};
  const VkDeviceCreateInfo info = {
      .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
      .pNext = &features.all,
      .queueCreateInfoCount = has_bind_family ? 2 : 1,
      .pQueueCreateInfos = queues,
      .enabledExtensionCount = facts->has_budget ? 1 : 0,
      .ppEnabledExtensionNames = extensions,
  };
  VkDevice handle;
  VkResult native =
      device->instance.vk.CreateDevice(facts->gpu, &info, NULL, &handle);
  if (native != VK_SUCCESS)
    return tegi_vk_failed(native, "vkCreateDevice", err);
  teg_result result = take_native(device, handle, err);
  if (result != TEG_OK) {
    if (device->vk.DestroyDevice) device->vk.DestroyDevice(handle, NULL);
    return result;
  }
  device->vk.GetDeviceQueue(handle, families[0], 0, &device->queue);
  device->bind_queue = device->queue;
  if (has_bind_family) {
    device->vk.GetDeviceQueue(handle, families[1], 0, &device->bind_queue);
  }
  return TEG_OK;
}

static teg_result adopt_native(tegi_vk_device* device,
                               const teg_vulkan_adopt_params* adopt,
                               teg_error* err) {
  teg_result result = take_native(device, (VkDevice)adopt->device, err);
  if (result != TEG_OK) return result;
  device->queue = (VkQueue)adopt->queue;
  device->bind_queue =
      adopt->bind_queue ? (VkQueue)adopt->bind_queue : device->queue;
  return TEG_OK;
}

static teg_result choose_gpu(tegi_vk_device* device,
                             const teg_backend_open_params* params,
                             teg_error* err) {
  const uint32_t device_index = params->device_index;
  teg_result result = tegi_vk_instance_create(&device->instance, &device->host,
                                              params->log, err);
  if (result != TEG_OK) return result;
  VkPhysicalDevice gpus[TEGI_VK_MAX_GPUS];
  uint32_t count;
  result = tegi_vk_instance_gpus(&device->instance, gpus, &count, err);
  if (result != TEG_OK) return result;
  TEG_REQUIRE(device_index < count, err,
              "vulkan: there are %u devices; there is no device %u", count,
              device_index);
  return tegi_vk_facts_read(&device->instance, &device->host,
                            gpus[device_index], &device->facts, err);
}

// Where tiles are the driver's kernel mappings they are counted against the
// kernel's limit; elsewhere only if the caller wants a limit.
static void init_mappings(tegi_vk_device* device, uint64_t wanted_limit) {
  if (device->facts.is_cpu_driver) {
    tegi_mappings_init(&device->range_mappings, "vulkan", wanted_limit);
    tegi_mappings_init(&device->memory_mappings, "vulkan", 0);
  } else if (wanted_limit) {
    tegi_mappings_init_own(&device->range_mappings, "vulkan", wanted_limit);
  }
  device->has_mapping_limit = device->facts.is_cpu_driver || wanted_limit;
}

static teg_result init_device(tegi_vk_device* device,
                              const teg_backend_open_params* params,
                              teg_error* err) {
  const teg_vulkan_adopt_params* adopt = params->adopt;
  teg_result result = adopt ? tegi_vk_adopt(device, adopt, params->log, err)
                            : choose_gpu(device, params, err);
  if (result != TEG_OK) return result;
  device->has_remap = device->facts.has_sparse && !params->is_remap_disabled;
  device->usage =
      VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT |
      VK_BUFFER_USAGE_UNIFORM_BUFFER_BIT | VK_BUFFER_USAGE_STORAGE_BUFFER_BIT |
      VK_BUFFER_USAGE_INDIRECT_BUFFER_BIT;
  if (device->facts.has_address) {
    device->usage |= VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT;
  }
  result =
      adopt ? adopt_native(device, adopt, err) : create_native(device, err);
  if (result == TEG_OK) result = tegi_vk_heaps_init(device, err);
  if (result == TEG_OK) result = tegi_vk_layouts_init(device, err);
  if (result == TEG_OK) {
    init_mappings(device, params->max_mapping_count);
    result = tegi_vk_memory_init(device, params->tile_bytes, err);
  }
  if (result == TEG_OK && device->has_remap) {
    result = tegi_vk_stream_open(device, true, &device->bind_stream, err);
  }
  teg_memory* scratch = NULL;
  if (result == TEG_OK) {
    result = tegi_vk_buffer_create(&device->base, device->granularity, &scratch,
                                   err);
  }
  if (result == TEG_OK) device->scratch = tegi_vk_memory_from(scratch);
  return result;
}

static teg_result check_params(const teg_backend_open_params* params,
                               teg_error* err) {
  uint64_t tile_bytes = params->tile_bytes;
  TEG_REQUIRE(tile_bytes == 0 || (tegi_is_power_of_two(tile_bytes) &&
                                  tile_bytes >= TEGI_VK_MIN_TILE_BYTES &&
                                  tile_bytes <= TEGI_VK_MAX_TILE_BYTES),
              err,
              "vulkan: a tile of %llu bytes is not a power of two from %llu to "
              "%llu",
              (unsigned long long)tile_bytes,
              (unsigned long long)TEGI_VK_MIN_TILE_BYTES,
              (unsigned long long)TEGI_VK_MAX_TILE_BYTES);
  return TEG_OK;
}

static teg_result open_device(const teg_backend_open_params* params,
                              teg_backend_device** out_device, teg_error* err) {
  *out_device = NULL;
  teg_result result = check_params(params, err);
  if (result != TEG_OK) return result;
  tegi_host host;
  result = tegi_host_init(&host, &params->allocator, err);
  if (result != TEG_OK) return result;
  tegi_vk_device* device = tegi_host_alloc(&host, sizeof *device);
  if (!device) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "vulkan: no host memory for the device");
  }
  tegi_host_init(&device->host, &params->allocator, NULL);
  device->magic = DEVICE_MAGIC;
  device->is_told = params->is_told;
  result = init_device(device, params, err);
  if (result != TEG_OK) {
    free_device(device);
    return result;
  }
  init_tables(device);
  *out_device = &device->base;
  return TEG_OK;
}

// ---- Without a device.

// Runs |use| over the physical devices of an instance that is made for it.
static teg_result with_gpus(teg_result (*use)(tegi_vk_instance* instance,
                                              tegi_host* host,
                                              const VkPhysicalDevice* gpus,
                                              uint32_t count, void* user,
                                              teg_error* err),
                            void* user, teg_error* err) {
  tegi_host host;
  teg_result result = tegi_host_init(&host, NULL, err);
  if (result != TEG_OK) return result;
  tegi_vk_instance instance;
  const teg_log silent = {0};
  result = tegi_vk_instance_create(&instance, &host, silent, err);
  if (result != TEG_OK) return result;
  VkPhysicalDevice gpus[TEGI_VK_MAX_GPUS];
  uint32_t count;
  result = tegi_vk_instance_gpus(&instance, gpus, &count, err);
  if (result == TEG_OK) {
    result = use(&instance, &host, gpus, count, user, err);
  }
  tegi_vk_instance_destroy(&instance);
  return result;
}

static teg_result count_gpus(tegi_vk_instance* instance, tegi_host* host,
                             const VkPhysicalDevice* gpus, uint32_t count,
                             void* user, teg_error* err) {
  (void)instance;
  (void)host;
  (void)gpus;
  (void)err;
  *(uint32_t*)user = count;
  return TEG_OK;
}

static teg_result probe(uint32_t* out_device_count, teg_error* err) {
  *out_device_count = 0;
  return with_gpus(count_gpus, out_device_count, err);
}

typedef struct description_wanted {
  uint32_t device_index;
  teg_device_description* out;
} description_wanted;

static teg_device_type type_of(VkPhysicalDeviceType type) {
  switch (type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
      return TEG_DEVICE_DISCRETE;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
      return TEG_DEVICE_INTEGRATED;
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU:
      return TEG_DEVICE_VIRTUAL;
    case VK_PHYSICAL_DEVICE_TYPE_CPU:
      return TEG_DEVICE_CPU;
    default:
      return TEG_DEVICE_OTHER;
  }
}

static void describe_heaps(const tegi_vk_instance* instance,
                           const tegi_vk_facts* facts,
                           teg_device_description* out) {
  const VkPhysicalDeviceMemoryProperties* memory = &facts->memory;
  out->heap_count = memory->memoryHeapCount;
  for (uint32_t i = 0; i < memory->memoryHeapCount; i++) {
    const VkMemoryHeap* heap = &memory->memoryHeaps[i];
    out->heaps[i] = (teg_device_heap){
        .bytes = heap->size,
        .available_bytes = tegi_vk_facts_available(instance, facts, i),
        .is_device_local = heap->flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT,
    };
  }
  for (uint32_t i = 0; i < memory->memoryTypeCount; i++) {
    teg_device_heap* heap = &out->heaps[memory->memoryTypes[i].heapIndex];
    heap->is_mappable |= tegi_vk_facts_is_mappable(facts, i);
  }
  uint32_t type = tegi_vk_facts_memory_type(facts, UINT32_MAX);
  if (type != UINT32_MAX && tegi_vk_facts_is_mappable(facts, type)) {
    out->mappable_bytes = out->heaps[memory->memoryTypes[type].heapIndex].bytes;
  }
}

static teg_result describe_gpu(tegi_vk_instance* instance, tegi_host* host,
                               const VkPhysicalDevice* gpus, uint32_t count,
                               void* user, teg_error* err) {
  const description_wanted* wanted = user;
  teg_device_description* out = wanted->out;
  TEG_REQUIRE(wanted->device_index < count, err,
              "vulkan: there are %u devices; there is no device %u", count,
              wanted->device_index);
  tegi_vk_facts facts;
  teg_result result = tegi_vk_facts_read(
      instance, host, gpus[wanted->device_index], &facts, err);
  if (result != TEG_OK) return result;
  out->type = type_of(facts.type);
  snprintf(out->name, sizeof out->name, "%.255s", facts.name);
  snprintf(out->driver, sizeof out->driver, "%.255s", facts.driver);
  snprintf(out->version, sizeof out->version, "%s", facts.version);
  out->max_binding_bytes = facts.max_binding_bytes;
  out->tile_bytes = TEGI_VK_DEFAULT_TILE_BYTES;
  out->remap = facts.has_sparse ? TEG_REMAP_QUEUE_ORDERED : TEG_REMAP_NONE;
  describe_heaps(instance, &facts, out);
  return TEG_OK;
}

static teg_result describe(uint32_t device_index,
                           teg_device_description* out_description,
                           teg_error* err) {
  *out_description =
      (teg_device_description){.struct_size = sizeof *out_description};
  description_wanted wanted = {device_index, out_description};
  return with_gpus(describe_gpu, &wanted, err);
}

const teg_backend_ops tegi_vk_backend = {
    .abi_version = TEG_BACKEND_ABI_VERSION,
    .struct_size = sizeof(teg_backend_ops),
    .name = "vulkan",
    .summary = "GPUs with a Vulkan 1.2 driver",
    .probe = probe,
    .open = open_device,
    .describe = describe,
    .can_adopt = true,
};
