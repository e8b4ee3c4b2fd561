// SPDX-License-Identifier: Apache-2.0
//
// Address ranges of the Vulkan device: buffers with sparse residency, so that
// a part without memory may stay so, and aliasing, so that a tile may be under
// two addresses and under its heap's own buffer.
//
// A call is one vkQueueBindSparse, in which neighbours are one bind, and is
// waited for. Binds are chained by the device's bind timeline: its value must
// not fall, and nothing else orders two binds.
//
// Where the driver maps tiles by mmap (lavapipe) mappings are counted as the
// host device does and refused at the limit, because the driver drops binds
// past it and reports success. There an unbound piece is a mapping of its own,
// which never merges with the hole beside it: so unmapping unbinds the hole
// that there will be as a whole.
#include "backend/vulkan/vulkan_backend.h"
#include "base/checked.h"
#include "base/error.h"

#define MEMORY_MAGIC 0x766b6d65u
// Binds of one call that need no host memory; core sends no more.
#define BINDS_ON_STACK 64

static bool heap_of(teg_memory* memory, uint32_t* out_first,
                    uint32_t* out_tile_count) {
  const tegi_vk_memory* heap = tegi_vk_memory_from(memory);
  *out_first = heap->first_slot;
  *out_tile_count = heap->tile_count;
  return heap->kind == TEGI_VK_HEAP;
}

uint64_t tegi_vk_max_range_bytes(const tegi_vk_device* device) {
  uint64_t bytes = device->facts.max_buffer_bytes;
  if (device->facts.sparse_bytes) {
    bytes = tegi_min_u64(bytes, device->facts.sparse_bytes);
  }
  return tegi_align_down(bytes, device->tile_bytes);
}

// ---- Limits.

// Takes |size| bytes of the addresses that sparse buffers may have in all.
static teg_result addresses_add(tegi_vk_device* device, uint64_t size,
                                teg_error* err) {
  uint64_t largest = tegi_vk_max_range_bytes(device);
  if (size > largest) {
    return tegi_error_set(err, TEG_LIMIT,
                          "address range: %llu bytes is more than the largest "
                          "sparse buffer, %llu",
                          (unsigned long long)size,
                          (unsigned long long)largest);
  }
  uint64_t before = tegi_fetch_add_relaxed(&device->sparse_bytes, size);
  uint64_t most = device->facts.sparse_bytes;
  if (!most || before + size <= most) return TEG_OK;
  tegi_fetch_add_relaxed(&device->sparse_bytes, (uint64_t)0 - size);
  return tegi_error_set(err, TEG_LIMIT,
                        "address range: %llu bytes more than %llu in use pass "
                        "the device's %llu of sparse addresses",
                        (unsigned long long)size, (unsigned long long)before,
                        (unsigned long long)most);
}

static teg_result mappings_add(tegi_vk_device* device, int64_t change,
                               teg_error* err) {
  if (!device->has_mapping_limit || change <= 0) return TEG_OK;
  return tegi_mappings_add(&device->range_mappings, (uint64_t)change, err);
}

static void mappings_sub(tegi_vk_device* device, int64_t change) {
  if (!device->has_mapping_limit || change <= 0) return;
  tegi_mappings_sub(&device->range_mappings, (uint64_t)change);
}

// ---- Ranges.

// Also of a range that is made in part. Nothing is bound under it.
static void destroy(tegi_vk_device* device, tegi_vk_memory* range) {
  device->vk.DestroyBuffer(device->handle, range->buffer, NULL);
  tegi_slots_deinit(&range->slots, &device->host);
  mappings_sub(device, range->mapping_count);
  tegi_fetch_add_relaxed(&device->sparse_bytes, (uint64_t)0 - range->size);
  range->magic = 0;
  tegi_host_free(&device->host, range, sizeof *range);
}

static teg_result range_reserve(teg_backend_device* base, uint64_t size,
                                teg_memory** out_range, teg_error* err) {
  *out_range = NULL;
  tegi_vk_device* device = tegi_vk_device_from(base);
  teg_result result = tegi_slots_check_size(size, device->tile_bytes, err);
  if (result == TEG_OK) result = tegi_vk_check_alive(device, err);
  if (result != TEG_OK) return result;
  tegi_vk_memory* range = tegi_host_alloc(&device->host, sizeof *range);
  if (!range) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "no host memory for the record of a range");
  }
  *range = (tegi_vk_memory){.magic = MEMORY_MAGIC,
                            .kind = TEGI_VK_RANGE,
                            .id = tegi_vk_next_id(device)};
  result = addresses_add(device, size, err);
  if (result == TEG_OK) {
    range->size = size;
    result = mappings_add(device, 1, err);
  }
  if (result == TEG_OK) {
    range->mapping_count = 1;
    VkResult native = tegi_vk_create_buffer(device, size, TEGI_VK_RANGE_FLAGS,
                                            &range->buffer);
    if (native != VK_SUCCESS) {
      result = tegi_vk_device_failed(device, native, "vkCreateBuffer", err);
    }
  }
  if (result == TEG_OK) {
    result = tegi_slots_init(&range->slots, &device->host,
                             (uint32_t)(size / device->tile_bytes), err);
  }
  if (result != TEG_OK) {
    destroy(device, range);
    return result;
  }
  tegi_fetch_add_relaxed(&device->object_count, 1);
  *out_range = (teg_memory*)(void*)range;
  return TEG_OK;
}

static void range_release(teg_backend_device* base, teg_memory* memory) {
  if (!memory) return;
  tegi_vk_device* device = tegi_vk_device_from(base);
  tegi_vk_memory* range = tegi_vk_memory_from(memory);
  TEG_ASSERT(range->kind == TEGI_VK_RANGE);
  destroy(device, range);
  tegi_fetch_add_relaxed(&device->object_count, (uint64_t)-1);
}

// ---- Binding.

// A call's binds. |list| is |on_stack| unless there are more.
typedef struct bind_list {
  VkSparseMemoryBind* list;
  size_t capacity;
  uint32_t count;
  VkSparseMemoryBind on_stack[BINDS_ON_STACK];
} bind_list;

static teg_result binds_init(tegi_vk_device* device, bind_list* binds,
                             size_t run_count, teg_error* err) {
  binds->count = 0;
  binds->list = binds->on_stack;
  binds->capacity = 0;
  if (run_count <= BINDS_ON_STACK) return TEG_OK;
  binds->list = tegi_host_calloc(&device->host, run_count, sizeof *binds->list);
  if (!binds->list) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "no host memory for %zu binds", run_count);
  }
  binds->capacity = run_count;
  return TEG_OK;
}

static void binds_deinit(tegi_vk_device* device, bind_list* binds) {
  if (binds->list == binds->on_stack) return;
  tegi_host_free(&device->host, binds->list,
                 binds->capacity * sizeof *binds->list);
}

// Submits binds behind all earlier ones and waits for them.
static teg_result bind(tegi_vk_device* device, const tegi_vk_memory* range,
                       const bind_list* binds, teg_error* err) {
  if (binds->count == 0) return TEG_OK;
  const VkSparseBufferMemoryBindInfo buffer = {
      .buffer = range->buffer,
      .bindCount = binds->count,
      .pBinds = binds->list,
  };
  tegi_mutex_lock(&device->queue_lock);
  const uint64_t before = device->bind_count;
  const uint64_t after = before + 1;
  const VkTimelineSemaphoreSubmitInfo values = {
      .sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
      .waitSemaphoreValueCount = 1,
      .pWaitSemaphoreValues = &before,
      .signalSemaphoreValueCount = 1,
      .pSignalSemaphoreValues = &after,
  };
  const VkBindSparseInfo info = {
      .sType = VK_STRUCTURE_TYPE_BIND_SPARSE_INFO,
      .pNext = &values,
      .waitSemaphoreCount = 1,
      .pWaitSemaphores = &device->bind_timeline->semaphore,
      .bufferBindCount = 1,
      .pBufferBinds = &buffer,
      .signalSemaphoreCount = 1,
      .pSignalSemaphores = &device->bind_timeline->semaphore,
  };
  VkResult native =
      device->vk.QueueBindSparse(device->bind_queue, 1, &info, VK_NULL_HANDLE);
  if (native == VK_SUCCESS) device->bind_count = after;
  tegi_mutex_unlock(&device->queue_lock);
  if (native == VK_SUCCESS) {
    native = tegi_vk_timeline_wait(device, device->bind_timeline, after);
  }
  if (native == VK_SUCCESS) return TEG_OK;
  return tegi_vk_device_failed(device, native, "vkQueueBindSparse", err);
}

static teg_result check_range(tegi_vk_device* device,
                              const tegi_vk_memory* range, teg_error* err) {
  TEG_REQUIRE(range->kind == TEGI_VK_RANGE, err, "not an address range");
  return tegi_vk_check_alive(device, err);
}

// Submits a call, with |change| mappings taken where it needs more.
static teg_result bind_counted(tegi_vk_device* device, tegi_vk_memory* range,
                               const bind_list* binds, int64_t change,
                               teg_error* err) {
  teg_result result = mappings_add(device, change, err);
  if (result != TEG_OK) return result;
  result = bind(device, range, binds, err);
  if (result != TEG_OK) {
    mappings_sub(device, change);
    return result;
  }
  mappings_sub(device, -change);
  range->mapping_count = (uint32_t)(range->mapping_count + change);
  return TEG_OK;
}

static teg_result map_tiles(teg_backend_device* base, teg_memory* memory,
                            const teg_tile_run* runs, size_t run_count,
                            teg_error* err) {
  tegi_vk_device* device = tegi_vk_device_from(base);
  tegi_vk_memory* range = tegi_vk_memory_from(memory);
  const uint64_t tile_bytes = device->tile_bytes;
  bind_list binds;
  teg_result result = check_range(device, range, err);
  if (result == TEG_OK) {
    result = tegi_slots_check_map(&range->slots, runs, run_count, heap_of, err);
  }
  if (result == TEG_OK) result = binds_init(device, &binds, run_count, err);
  if (result != TEG_OK) return result;
  for (size_t i = 0; i < run_count;) {
    size_t end = tegi_slots_joined_map(runs, run_count, i, heap_of);
    uint64_t start = runs[i].range_tile_index;
    binds.list[binds.count++] = (VkSparseMemoryBind){
        .resourceOffset = start * tile_bytes,
        .size = (tegi_run_end(&runs[end - 1]) - start) * tile_bytes,
        .memory = tegi_vk_memory_from(runs[i].heap)->memory,
        .memoryOffset = runs[i].heap_tile_index * tile_bytes,
    };
    i = end;
  }
  int64_t change =
      tegi_slots_map_change(&range->slots, runs, run_count, heap_of);
  result = bind_counted(device, range, &binds, change, err);
  if (result == TEG_OK) {
    tegi_slots_map(&range->slots, runs, run_count, heap_of);
  }
  binds_deinit(device, &binds);
  return result;
}

// The tiles to unbind for the runs from |i| on; returns the run after them.
static size_t next_hole(const tegi_vk_device* device,
                        const tegi_vk_memory* range, const teg_tile_run* runs,
                        size_t run_count, size_t i, uint64_t* out_start,
                        uint64_t* out_end) {
  if (device->facts.is_cpu_driver) {
    return tegi_slots_hole_unmap(&range->slots, runs, run_count, i, out_start,
                                 out_end);
  }
  size_t next = tegi_slots_joined_unmap(runs, run_count, i);
  *out_start = runs[i].range_tile_index;
  *out_end = tegi_run_end(&runs[next - 1]);
  return next;
}

static teg_result unmap_tiles(teg_backend_device* base, teg_memory* memory,
                              const teg_tile_run* runs, size_t run_count,
                              teg_error* err) {
  tegi_vk_device* device = tegi_vk_device_from(base);
  tegi_vk_memory* range = tegi_vk_memory_from(memory);
  const uint64_t tile_bytes = device->tile_bytes;
  bind_list binds;
  teg_result result = check_range(device, range, err);
  if (result == TEG_OK) {
    result = tegi_slots_check_unmap(&range->slots, runs, run_count, err);
  }
  if (result == TEG_OK) result = binds_init(device, &binds, run_count, err);
  if (result != TEG_OK) return result;
  for (size_t i = 0; i < run_count;) {
    uint64_t start, end;
    i = next_hole(device, range, runs, run_count, i, &start, &end);
    binds.list[binds.count++] =
        (VkSparseMemoryBind){.resourceOffset = start * tile_bytes,
                             .size = (end - start) * tile_bytes};
  }
  int64_t change = tegi_slots_unmap_change(&range->slots, runs, run_count);
  result = bind_counted(device, range, &binds, change, err);
  if (result == TEG_OK) tegi_slots_unmap(&range->slots, runs, run_count);
  binds_deinit(device, &binds);
  return result;
}

const teg_remap_ops tegi_vk_remap_ops = {
    .abi_version = TEG_BACKEND_ABI_VERSION,
    .struct_size = sizeof(teg_remap_ops),
    .range_reserve = range_reserve,
    .range_release = range_release,
    .map = map_tiles,
    .unmap = unmap_tiles,
};
