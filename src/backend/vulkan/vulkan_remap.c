// SPDX-License-Identifier: Apache-2.0
//
// Address ranges of the Vulkan device: buffers with sparse residency, so that
// a part without memory may stay so, and aliasing, so that a tile may be under
// two addresses and under its heap's own buffer.
//
// map and unmap note what they change in the batch that the bind stream
// records; vulkan_binds.c has the rest.
//
// Where the driver maps tiles by mmap (lavapipe) mappings are counted as the
// host device does and refused at the limit, because the driver drops binds
// past it and reports success.
#include "backend/vulkan/vulkan_backend.h"
#include "base/checked.h"
#include "base/error.h"

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

static teg_result take_mapping(tegi_vk_device* device, teg_error* err) {
  if (!device->has_mapping_limit) return TEG_OK;
  return tegi_mappings_add(&device->range_mappings, 1, err);
}

// ---- Ranges.

// Also of a range that is made in part, whose mapping_count is 0.
static void destroy(tegi_vk_device* device, tegi_vk_memory* range) {
  device->vk.DestroyBuffer(device->handle, range->buffer, NULL);
  tegi_slots_deinit(&range->slots, &device->host);
  if (device->has_mapping_limit && range->mapping_count) {
    tegi_mappings_sub(&device->range_mappings, range->mapping_count);
  }
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
  *range = (tegi_vk_memory){.magic = TEGI_VK_MEMORY_MAGIC,
                            .kind = TEGI_VK_RANGE,
                            .id = tegi_vk_next_id(device)};
  result = addresses_add(device, size, err);
  if (result == TEG_OK) {
    range->size = size;
    result = take_mapping(device, err);
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
  tegi_vk_rest_if_lost(device);
  (void)tegi_vk_stream_finish(device->bind_stream, range->last_bind, NULL);
  // Only then is the bind stream this thread's to use.
  if (range->is_noted) {
    tegi_vk_binds_forget(device, tegi_vk_stream_noted(device->bind_stream),
                         range);
  }
  destroy(device, range);
  tegi_fetch_add_relaxed(&device->object_count, (uint64_t)-1);
}

void tegi_vk_wait_for_binds_of(tegi_vk_device* device,
                               const tegi_vk_memory* memory) {
  tegi_vk_stream* stream = device->bind_stream;
  if (!memory->was_bound) return;
  (void)tegi_vk_stream_finish(stream, tegi_load_acquire(&stream->submitted),
                              NULL);
}

// ---- Map and unmap.

// The binds that a call adds to, with room for |count| changes.
static teg_result begin(tegi_vk_device* device, size_t count,
                        tegi_vk_binds** out_binds, teg_error* err) {
  teg_result result = tegi_vk_stream_binds(device->bind_stream, out_binds, err);
  if (result != TEG_OK) return result;
  if (tegi_vk_binds_reserve(device, *out_binds, count)) return TEG_OK;
  return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                        "no host memory for %zu binds", count);
}

// Takes the mappings of a call. Nothing fails behind it.
static teg_result charge(tegi_vk_device* device, tegi_vk_memory* range,
                         tegi_vk_binds* binds, int64_t change, teg_error* err) {
  teg_result result = tegi_vk_binds_charge(device, binds, change, err);
  if (result != TEG_OK) return result;
  range->mapping_count = (uint32_t)(range->mapping_count + change);
  range->noted_mappings += change;
  return TEG_OK;
}

static teg_result check_range(tegi_vk_device* device,
                              const tegi_vk_memory* range, teg_error* err) {
  TEG_REQUIRE(range->kind == TEGI_VK_RANGE, err, "not an address range");
  return tegi_vk_check_alive(device, err);
}

static teg_result map_tiles(teg_backend_device* base, teg_memory* memory,
                            const teg_tile_run* runs, size_t run_count,
                            teg_error* err) {
  tegi_vk_device* device = tegi_vk_device_from(base);
  tegi_vk_memory* range = tegi_vk_memory_from(memory);
  tegi_vk_binds* binds;
  teg_result result = check_range(device, range, err);
  if (result == TEG_OK) {
    result = tegi_slots_check_map(&range->slots, runs, run_count, heap_of, err);
  }
  if (result == TEG_OK) result = begin(device, run_count, &binds, err);
  if (result != TEG_OK) return result;
  int64_t change =
      tegi_slots_map_change(&range->slots, runs, run_count, heap_of);
  result = charge(device, range, binds, change, err);
  if (result != TEG_OK) return result;
  for (size_t i = 0; i < run_count; i++) {
    tegi_vk_memory* heap = tegi_vk_memory_from(runs[i].heap);
    heap->was_bound = true;
    tegi_vk_binds_note(binds,
                       (tegi_vk_change){
                           .range = range,
                           .heap = heap,
                           .first = runs[i].range_tile_index,
                           .count = runs[i].tile_count,
                           .value = heap->first_slot + runs[i].heap_tile_index,
                       });
  }
  tegi_slots_map(&range->slots, runs, run_count, heap_of);
  return TEG_OK;
}

// Slots from |first| whose tiles are neighbours in memory, up to |end|.
static uint64_t end_of_neighbours(const tegi_slots* slots, uint64_t first,
                                  uint64_t end) {
  uint64_t next = first + 1;
  while (next < end &&
         !tegi_slots_is_break(slots->values[next - 1], slots->values[next])) {
    next++;
  }
  return next;
}

// Notes the tiles of a run, or with |binds| NULL only counts the changes.
static size_t note_unmap(tegi_vk_memory* range, const teg_tile_run* run,
                         tegi_vk_binds* binds) {
  size_t count = 0;
  const uint64_t end = tegi_run_end(run);
  for (uint64_t first = run->range_tile_index; first < end; count++) {
    uint64_t next = end_of_neighbours(&range->slots, first, end);
    if (binds) {
      tegi_vk_binds_note(binds, (tegi_vk_change){
                                    .range = range,
                                    .first = (uint32_t)first,
                                    .count = (uint32_t)(next - first),
                                    .value = range->slots.values[first],
                                });
    }
    first = next;
  }
  return count;
}

static teg_result unmap_tiles(teg_backend_device* base, teg_memory* memory,
                              const teg_tile_run* runs, size_t run_count,
                              teg_error* err) {
  tegi_vk_device* device = tegi_vk_device_from(base);
  tegi_vk_memory* range = tegi_vk_memory_from(memory);
  tegi_vk_binds* binds;
  teg_result result = check_range(device, range, err);
  if (result == TEG_OK) {
    result = tegi_slots_check_unmap(&range->slots, runs, run_count, err);
  }
  if (result != TEG_OK) return result;
  size_t count = 0;
  for (size_t i = 0; i < run_count; i++) {
    count += note_unmap(range, &runs[i], NULL);
  }
  result = begin(device, count, &binds, err);
  if (result != TEG_OK) return result;
  int64_t change = tegi_slots_unmap_change(&range->slots, runs, run_count);
  result = charge(device, range, binds, change, err);
  if (result != TEG_OK) return result;
  for (size_t i = 0; i < run_count; i++) {
    (void)note_unmap(range, &runs[i], binds);
  }
  tegi_slots_unmap(&range->slots, runs, run_count);
  return TEG_OK;
}

static teg_queue_stream* bind_stream(teg_backend_device* base) {
  return (teg_queue_stream*)(void*)tegi_vk_device_from(base)->bind_stream;
}

const teg_remap_ops tegi_vk_remap_ops = {
    .abi_version = TEG_BACKEND_ABI_VERSION,
    .struct_size = sizeof(teg_remap_ops),
    .range_reserve = range_reserve,
    .range_release = range_release,
    .map = map_tiles,
    .unmap = unmap_tiles,
    .bind_stream = bind_stream,
};
