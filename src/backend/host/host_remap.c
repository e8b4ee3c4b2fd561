// SPDX-License-Identifier: Apache-2.0
//
// Address ranges of the host device. A range is PROT_NONE addresses; mapping
// a run of tiles puts a stretch of the heap file over them, unmapping puts
// PROT_NONE back.
//
// The kernel limits the mappings of a process, so they are counted exactly
// (tile_slots.h). A call computes its change first, takes it from the limit,
// and only then maps. Slots change last: until then they say what to put back
// after a failure.
#include <errno.h>
#include <string.h>

#include "backend/host/host_backend.h"
#include "backend/host/host_os.h"
#include "base/checked.h"
#include "base/error.h"

#define RANGE_MAGIC 0x6d656d74u

static bool heap_of(teg_memory* memory, uint32_t* out_first,
                    uint32_t* out_tile_count) {
  const tegi_hostdev_memory* heap = tegi_hostdev_memory_from(memory);
  *out_first = heap->first_slot;
  *out_tile_count = heap->tile_count;
  return heap->kind == TEGI_HOSTDEV_HEAP;
}

static teg_result range_reserve(teg_backend_device* base, uint64_t size,
                                teg_memory** out_range, teg_error* err) {
  *out_range = NULL;
  tegi_hostdev* device = tegi_hostdev_from(base);
  teg_result result = tegi_slots_check_size(size, device->tile_bytes, err);
  if (result == TEG_OK) result = tegi_mappings_add(&device->mappings, 1, err);
  if (result != TEG_OK) return result;
  uint32_t slot_count = (uint32_t)(size / device->tile_bytes);
  void* pointer = NULL;
  // Addresses first: an absurd size must not reach the host allocator.
  int native = tegi_hostdev_os_reserve(size, &pointer);
  if (native) {
    tegi_mappings_sub(&device->mappings, 1);
    return tegi_error_native(err, TEG_OUT_OF_MEMORY, "host", native,
                             "cannot reserve %llu bytes of addresses: %s",
                             (unsigned long long)size, strerror(native));
  }
  tegi_hostdev_memory* range = tegi_host_alloc(&device->host, sizeof *range);
  tegi_slots slots = {0};
  if (range) result = tegi_slots_init(&slots, &device->host, slot_count, err);
  if (!range || result != TEG_OK) {
    tegi_host_free(&device->host, range, sizeof *range);
    tegi_hostdev_os_release(pointer, size);
    tegi_mappings_sub(&device->mappings, 1);
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "no host memory for a range of %u tiles", slot_count);
  }
  *range = (tegi_hostdev_memory){.magic = RANGE_MAGIC,
                                 .kind = TEGI_HOSTDEV_RANGE,
                                 .pointer = pointer,
                                 .size = size,
                                 .slots = slots,
                                 .mapping_count = 1};
  tegi_fetch_add_relaxed(&device->object_count, 1);
  *out_range = (teg_memory*)(void*)range;
  return TEG_OK;
}

static void range_release(teg_backend_device* base, teg_memory* memory) {
  if (!memory) return;
  tegi_hostdev* device = tegi_hostdev_from(base);
  tegi_hostdev_memory* range = tegi_hostdev_memory_from(memory);
  TEG_ASSERT(range->kind == TEGI_HOSTDEV_RANGE);
  tegi_hostdev_os_release(range->pointer, range->size);
  tegi_mappings_sub(&device->mappings, range->mapping_count);
  tegi_slots_deinit(&range->slots, &device->host);
  range->magic = 0;
  tegi_host_free(&device->host, range, sizeof *range);
  tegi_fetch_add_relaxed(&device->object_count, (uint64_t)-1);
}

static teg_result native_failed(const tegi_hostdev* device, const char* what,
                                int native, teg_error* err) {
  return tegi_error_native(
      err, native == ENOMEM ? TEG_LIMIT : TEG_DEVICE_ERROR, "host", native,
      "cannot %s tiles, with %llu kernel mappings in use: %s", what,
      (unsigned long long)tegi_load_relaxed(&device->mappings.count),
      strerror(native));
}

// Puts PROT_NONE back over the first |run_count| runs.
static void unmap_all(tegi_hostdev* device, const tegi_hostdev_memory* range,
                      const teg_tile_run* runs, size_t run_count) {
  for (size_t i = 0; i < run_count; i++) {
    // What cannot be taken back stays mapped under addresses that nobody
    // owns; the next map over it replaces it.
    (void)tegi_hostdev_os_unmap_tiles(
        range->pointer + runs[i].range_tile_index * device->tile_bytes,
        runs[i].tile_count * device->tile_bytes);
  }
}

// A call's range, on a device that is alive.
static teg_result check_range(tegi_hostdev* device,
                              const tegi_hostdev_memory* range,
                              teg_error* err) {
  TEG_REQUIRE(range->kind == TEGI_HOSTDEV_RANGE, err, "not an address range");
  return tegi_hostdev_check_alive(device, err);
}

// Enters the mappings that a call has made or given up.
static void count_change(tegi_hostdev* device, tegi_hostdev_memory* range,
                         int64_t change) {
  if (change < 0) tegi_mappings_sub(&device->mappings, (uint64_t)-change);
  range->mapping_count = (uint32_t)(range->mapping_count + change);
}

static teg_result map_tiles(teg_backend_device* base, teg_memory* memory,
                            const teg_tile_run* runs, size_t run_count,
                            teg_error* err) {
  tegi_hostdev* device = tegi_hostdev_from(base);
  tegi_hostdev_memory* range = tegi_hostdev_memory_from(memory);
  teg_result result = check_range(device, range, err);
  if (result == TEG_OK) {
    result = tegi_slots_check_map(&range->slots, runs, run_count, heap_of, err);
  }
  if (result != TEG_OK) return result;
  int64_t change =
      tegi_slots_map_change(&range->slots, runs, run_count, heap_of);
  if (change > 0) {
    result = tegi_mappings_add(&device->mappings, (uint64_t)change, err);
  }
  if (result != TEG_OK) return result;

  for (size_t i = 0; i < run_count;) {
    // Neighbours here and in the file are one mapping.
    size_t end = tegi_slots_joined_map(runs, run_count, i, heap_of);
    const tegi_hostdev_memory* heap = tegi_hostdev_memory_from(runs[i].heap);
    uint64_t file_tile = heap->first_slot - 1 + runs[i].heap_tile_index;
    uint64_t start = runs[i].range_tile_index;
    int native = tegi_hostdev_os_map_tiles(
        range->pointer + start * device->tile_bytes, device->file,
        file_tile * device->tile_bytes,
        (tegi_run_end(&runs[end - 1]) - start) * device->tile_bytes);
    if (native) {
      unmap_all(device, range, runs, i);
      if (change > 0) tegi_mappings_sub(&device->mappings, (uint64_t)change);
      return native_failed(device, "map", native, err);
    }
    i = end;
  }
  tegi_slots_map(&range->slots, runs, run_count, heap_of);
  count_change(device, range, change);
  return TEG_OK;
}

// Maps what the slots of [start, end) say, after a failed unmap.
static bool map_slots(tegi_hostdev* device, const tegi_hostdev_memory* range,
                      uint64_t start, uint64_t end) {
  const uint32_t* slots = range->slots.values;
  while (start < end) {
    uint64_t stop = start + 1;
    while (stop < end && !tegi_slots_is_break(slots[stop - 1], slots[stop])) {
      stop++;
    }
    if (tegi_hostdev_os_map_tiles(
            range->pointer + start * device->tile_bytes, device->file,
            (uint64_t)(slots[start] - 1) * device->tile_bytes,
            (stop - start) * device->tile_bytes) != 0) {
      return false;
    }
    start = stop;
  }
  return true;
}

static teg_result unmap_failed(tegi_hostdev* device,
                               const tegi_hostdev_memory* range,
                               const teg_tile_run* runs, size_t run_count,
                               int native, teg_error* err) {
  for (size_t i = 0; i < run_count; i++) {
    if (map_slots(device, range, runs[i].range_tile_index,
                  tegi_run_end(&runs[i]))) {
      continue;
    }
    atomic_store(&device->is_lost, true);
    return tegi_error_native(err, TEG_DEVICE_LOST, "host", native,
                             "unmapping failed half-way, and so did putting "
                             "the tiles back: %s",
                             strerror(native));
  }
  return native_failed(device, "unmap", native, err);
}

static teg_result unmap_tiles(teg_backend_device* base, teg_memory* memory,
                              const teg_tile_run* runs, size_t run_count,
                              teg_error* err) {
  tegi_hostdev* device = tegi_hostdev_from(base);
  tegi_hostdev_memory* range = tegi_hostdev_memory_from(memory);
  teg_result result = check_range(device, range, err);
  if (result == TEG_OK) {
    result = tegi_slots_check_unmap(&range->slots, runs, run_count, err);
  }
  if (result != TEG_OK) return result;
  int64_t change = tegi_slots_unmap_change(&range->slots, runs, run_count);
  if (change > 0) {
    result = tegi_mappings_add(&device->mappings, (uint64_t)change, err);
  }
  if (result != TEG_OK) return result;

  for (size_t i = 0; i < run_count;) {
    size_t end = tegi_slots_joined_unmap(runs, run_count, i);
    uint64_t start = runs[i].range_tile_index;
    int native = tegi_hostdev_os_unmap_tiles(
        range->pointer + start * device->tile_bytes,
        (tegi_run_end(&runs[end - 1]) - start) * device->tile_bytes);
    if (native) {
      if (change > 0) tegi_mappings_sub(&device->mappings, (uint64_t)change);
      return unmap_failed(device, range, runs, i, native, err);
    }
    i = end;
  }
  tegi_slots_unmap(&range->slots, runs, run_count);
  count_change(device, range, change);
  return TEG_OK;
}

const teg_remap_ops tegi_hostdev_remap_ops = {
    .abi_version = TEG_BACKEND_ABI_VERSION,
    .struct_size = sizeof(teg_remap_ops),
    .range_reserve = range_reserve,
    .range_release = range_release,
    .map = map_tiles,
    .unmap = unmap_tiles,
};
