// SPDX-License-Identifier: Apache-2.0
//
// Buffers, staging buffers and heaps of the Vulkan device. All of one kind come
// from one memory type, chosen when the device opens: for heaps one that both
// plain and sparse buffers take, because a heap is under both. Memory that can
// be mapped is mapped for as long as it lives.
//
// Not locked: what is counted here is atomic.
#include <stddef.h>

#include "backend/vulkan/vulkan_backend.h"
#include "base/checked.h"
#include "base/error.h"

VkResult tegi_vk_create_buffer(const tegi_vk_device* device, uint64_t size,
                               VkBufferCreateFlags flags,
                               VkBuffer* out_buffer) {
  const VkBufferCreateInfo info = {
      .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
      .flags = flags,
      .size = size,
      .usage = device->usage,
      .sharingMode = VK_SHARING_MODE_EXCLUSIVE,
  };
  VkResult native =
      device->vk.CreateBuffer(device->handle, &info, NULL, out_buffer);
  if (native != VK_SUCCESS) *out_buffer = VK_NULL_HANDLE;
  return native;
}

// ---- Choosing types and the tile size.

static teg_result requirements_of(tegi_vk_device* device,
                                  VkBufferCreateFlags flags,
                                  VkMemoryRequirements* out_needs,
                                  teg_error* err) {
  VkBuffer buffer;
  VkResult native =
      tegi_vk_create_buffer(device, TEGI_VK_MIN_TILE_BYTES, flags, &buffer);
  if (native != VK_SUCCESS) {
    return tegi_vk_device_failed(device, native, "vkCreateBuffer", err);
  }
  device->vk.GetBufferMemoryRequirements(device->handle, buffer, out_needs);
  device->vk.DestroyBuffer(device->handle, buffer, NULL);
  return TEG_OK;
}

// Remap needs a memory type that sparse and plain buffers share, and a tile
// that sparse buffers can bind.
static teg_result init_remap(tegi_vk_device* device, uint64_t tile_bytes,
                             uint32_t buffer_bits, teg_error* err) {
  VkMemoryRequirements needs = {0};
  teg_result result = requirements_of(device, TEGI_VK_RANGE_FLAGS, &needs, err);
  if (result != TEG_OK) return result;
  uint32_t type = tegi_vk_facts_memory_type(&device->facts,
                                            buffer_bits & needs.memoryTypeBits);
  if (type == UINT32_MAX || needs.alignment > TEGI_VK_MAX_TILE_BYTES) {
    device->has_remap = false;
    return TEG_OK;
  }
  TEG_REQUIRE(tile_bytes == 0 || tile_bytes >= needs.alignment, err,
              "vulkan: a tile of %llu bytes is less than the %llu that this "
              "device binds at once",
              (unsigned long long)tile_bytes,
              (unsigned long long)needs.alignment);
  device->heap_type = type;
  device->tile_bytes = tegi_max_u64(device->tile_bytes, needs.alignment);
  return TEG_OK;
}

teg_result tegi_vk_memory_init(tegi_vk_device* device, uint64_t tile_bytes,
                               teg_error* err) {
  device->tile_bytes = tile_bytes ? tile_bytes : TEGI_VK_DEFAULT_TILE_BYTES;
  device->granularity =
      tegi_max_u64(TEGI_VK_GRANULARITY, device->facts.offset_alignment);
  VkMemoryRequirements needs = {0};
  teg_result result = requirements_of(device, 0, &needs, err);
  if (result != TEG_OK) return result;
  device->buffer_type =
      tegi_vk_facts_memory_type(&device->facts, needs.memoryTypeBits);
  if (device->buffer_type == UINT32_MAX) {
    return tegi_error_set(err, TEG_UNAVAILABLE,
                          "vulkan: %.100s has no memory type for buffers",
                          device->facts.name);
  }
  device->heap_type = device->buffer_type;
  device->upload_type =
      tegi_vk_facts_staging_type(&device->facts, needs.memoryTypeBits, false);
  device->readback_type =
      tegi_vk_facts_staging_type(&device->facts, needs.memoryTypeBits, true);
  if (device->upload_type == UINT32_MAX) {
    return tegi_error_set(err, TEG_UNAVAILABLE,
                          "vulkan: %.100s has no memory that the CPU reaches",
                          device->facts.name);
  }
  if (!device->has_remap) return TEG_OK;
  return init_remap(device, tile_bytes, needs.memoryTypeBits, err);
}

bool tegi_vk_has_staging(const tegi_vk_device* device) {
  const tegi_vk_facts* facts = &device->facts;
  const uint32_t type = device->buffer_type;
  return !(tegi_vk_facts_is_mappable(facts, type) &&
           tegi_vk_facts_is_coherent(facts, type) &&
           tegi_vk_facts_is_cached(facts, type));
}

uint64_t tegi_vk_max_allocation_bytes(const tegi_vk_device* device) {
  const tegi_vk_facts* facts = &device->facts;
  const VkPhysicalDeviceMemoryProperties* memory = &facts->memory;
  uint32_t heap = memory->memoryTypes[device->buffer_type].heapIndex;
  uint32_t tile_heap = memory->memoryTypes[device->heap_type].heapIndex;
  uint64_t bytes =
      tegi_min_u64(facts->max_allocation_bytes, facts->max_buffer_bytes);
  bytes = tegi_min_u64(bytes, memory->memoryHeaps[heap].size);
  bytes = tegi_min_u64(bytes, memory->memoryHeaps[tile_heap].size);
  return tegi_align_down(bytes, device->tile_bytes);
}

// ---- Create and destroy.

static teg_result check_size(tegi_vk_device* device, const char* what,
                             uint64_t size, uint64_t unit, teg_error* err) {
  if (size == 0 || size > TEGI_MAX_BYTES || size % unit != 0) {
    return tegi_error_set(
        err, TEG_INVALID,
        "%s: %llu bytes is not a positive multiple of %llu of at most 2^62",
        what, (unsigned long long)size, (unsigned long long)unit);
  }
  uint64_t most = tegi_vk_max_allocation_bytes(device);
  if (size > most) {
    return tegi_error_set(
        err, TEG_OUT_OF_MEMORY,
        "%s: %llu bytes is more than one allocation may have, %llu", what,
        (unsigned long long)size, (unsigned long long)most);
  }
  return tegi_vk_check_alive(device, err);
}

static teg_result allocate(tegi_vk_device* device, tegi_vk_memory* memory,
                           teg_error* err) {
  VkMemoryRequirements needs;
  device->vk.GetBufferMemoryRequirements(device->handle, memory->buffer,
                                         &needs);
  const VkMemoryAllocateFlagsInfo flags = {
      .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
      .flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT};
  const VkMemoryAllocateInfo info = {
      .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
      .pNext = device->facts.has_address ? &flags : NULL,
      .allocationSize = needs.size,
      .memoryTypeIndex = memory->type,
  };
  VkResult native =
      device->vk.AllocateMemory(device->handle, &info, NULL, &memory->memory);
  if (native != VK_SUCCESS) {
    memory->memory = VK_NULL_HANDLE;
    return tegi_vk_device_failed(device, native, "vkAllocateMemory", err);
  }
  native = device->vk.BindBufferMemory(device->handle, memory->buffer,
                                       memory->memory, 0);
  if (native != VK_SUCCESS) {
    return tegi_vk_device_failed(device, native, "vkBindBufferMemory", err);
  }
  if (!tegi_vk_facts_is_mappable(&device->facts, memory->type)) return TEG_OK;
  native = device->vk.MapMemory(device->handle, memory->memory, 0,
                                VK_WHOLE_SIZE, 0, &memory->pointer);
  if (native != VK_SUCCESS) {
    return tegi_vk_device_failed(device, native, "vkMapMemory", err);
  }
  return TEG_OK;
}

// Also of a memory that is made in part.
static void destroy(tegi_vk_device* device, tegi_vk_memory* memory) {
  device->vk.DestroyBuffer(device->handle, memory->buffer, NULL);
  // Freeing unmaps.
  device->vk.FreeMemory(device->handle, memory->memory, NULL);
  if (device->facts.is_cpu_driver) {
    tegi_mappings_sub(&device->memory_mappings, 1);
  }
  memory->magic = 0;
  tegi_host_free(&device->host, memory, sizeof *memory);
}

static teg_result create(tegi_vk_device* device, tegi_vk_kind kind,
                         uint32_t type, uint64_t size, teg_memory** out_memory,
                         teg_error* err) {
  tegi_vk_memory* memory = tegi_host_alloc(&device->host, sizeof *memory);
  if (!memory) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "no host memory for the record of a buffer or heap");
  }
  *memory = (tegi_vk_memory){
      .magic = TEGI_VK_MEMORY_MAGIC,
      .kind = kind,
      .id = tegi_vk_next_id(device),
      .type = type,
      .size = size,
  };
  teg_result result = TEG_OK;
  if (device->facts.is_cpu_driver) {
    result = tegi_mappings_add(&device->memory_mappings, 1, err);
    if (result != TEG_OK) {
      tegi_host_free(&device->host, memory, sizeof *memory);
      return result;
    }
  }
  VkResult native = tegi_vk_create_buffer(device, size, 0, &memory->buffer);
  if (native != VK_SUCCESS) {
    result = tegi_vk_device_failed(device, native, "vkCreateBuffer", err);
  } else {
    result = allocate(device, memory, err);
  }
  if (result != TEG_OK) {
    destroy(device, memory);
    return result;
  }
  tegi_fetch_add_relaxed(&device->object_count, 1);
  *out_memory = (teg_memory*)(void*)memory;
  return TEG_OK;
}

teg_result tegi_vk_buffer_create(teg_backend_device* base, uint64_t size,
                                 teg_memory** out_memory, teg_error* err) {
  *out_memory = NULL;
  tegi_vk_device* device = tegi_vk_device_from(base);
  teg_result result =
      check_size(device, "buffer", size, device->granularity, err);
  if (result != TEG_OK) return result;
  return create(device, TEGI_VK_BUFFER, device->buffer_type, size, out_memory,
                err);
}

teg_result tegi_vk_staging_create(teg_backend_device* base, uint64_t size,
                                  bool is_readback, teg_memory** out_memory,
                                  teg_error* err) {
  *out_memory = NULL;
  tegi_vk_device* device = tegi_vk_device_from(base);
  if (size <= TEGI_MAX_BYTES) size = tegi_align_up(size, device->granularity);
  teg_result result =
      check_size(device, "staging buffer", size, device->granularity, err);
  if (result != TEG_OK) return result;
  return create(device, TEGI_VK_BUFFER,
                is_readback ? device->readback_type : device->upload_type, size,
                out_memory, err);
}

teg_result tegi_vk_heap_create(teg_backend_device* base, uint64_t size,
                               teg_memory** out_heap, teg_error* err) {
  *out_heap = NULL;
  tegi_vk_device* device = tegi_vk_device_from(base);
  uint64_t unit = device->has_remap ? device->tile_bytes : device->granularity;
  teg_result result = check_size(device, "heap", size, unit, err);
  if (result != TEG_OK) return result;
  teg_memory* memory;
  result = create(device, TEGI_VK_HEAP, device->heap_type, size, &memory, err);
  if (result != TEG_OK) return result;
  tegi_vk_memory* heap = tegi_vk_memory_from(memory);
  heap->tile_count = (uint32_t)(size / device->tile_bytes);
  if (device->has_remap) result = tegi_vk_heaps_add(device, heap, err);
  if (result != TEG_OK) {
    tegi_vk_memory_destroy(base, memory);
    return result;
  }
  *out_heap = memory;
  return TEG_OK;
}

void tegi_vk_memory_destroy(teg_backend_device* base, teg_memory* memory) {
  if (!memory) return;
  tegi_vk_device* device = tegi_vk_device_from(base);
  tegi_vk_memory* vk_memory = tegi_vk_memory_from(memory);
  // Ranges are released, not destroyed.
  TEG_ASSERT(vk_memory->kind != TEGI_VK_RANGE);
  tegi_vk_rest_if_lost(device);
  tegi_vk_wait_for_binds_of(device, vk_memory);
  if (vk_memory->first_slot) tegi_vk_heaps_remove(device, vk_memory);
  destroy(device, vk_memory);
  tegi_fetch_add_relaxed(&device->object_count, (uint64_t)-1);
}
