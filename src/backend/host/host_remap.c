// SPDX-License-Identifier: Apache-2.0
//
// Address ranges of the host device. A range is PROT_NONE addresses; mapping
// a run of tiles puts a stretch of the heap file over them, unmapping puts
// PROT_NONE back.
//
// The kernel limits the mappings of a process, so they are counted exactly: a
// range with slots s[0..n) uses one more mapping than it has breaks, and there
// is a break between two slots unless both are empty or the second's file
// tile follows the first's. A call computes its change first, takes it from
// the limit, and only then maps. Slots change last: until then they say what
// to put back after a failure.
//
// One static counter adds up all host devices of the process, because they
// share the kernel's limit.
#include <errno.h>
#include <string.h>

#include "backend/host/host_backend.h"
#include "backend/host/host_os.h"
#include "base/checked.h"
#include "base/error.h"

#define RANGE_MAGIC 0x6d656d74u

static tegi_atomic_u64 process_mapping_count;

void tegi_hostdev_remap_init(tegi_hostdev* device, uint64_t wanted_limit) {
  uint64_t ours = tegi_load_relaxed(&process_mapping_count);
  uint64_t others = tegi_hostdev_os_mapping_count();
  others = others > ours ? others - ours : 0;
  uint64_t kept = others + TEGI_HOSTDEV_MAPPING_RESERVE;
  uint64_t limit = tegi_hostdev_os_mapping_limit();
  // 0 would read as "no limit".
  limit = limit > kept ? limit - kept : 1;
  device->process_mapping_limit = limit;
  device->mapping_limit =
      wanted_limit ? tegi_min_u64(wanted_limit, limit) : limit;
}

static void mappings_sub(tegi_hostdev* device, uint64_t count) {
  tegi_fetch_add_relaxed(&device->mapping_count, (uint64_t)0 - count);
  tegi_fetch_add_relaxed(&process_mapping_count, (uint64_t)0 - count);
}

// Takes |count| mappings from the limits.
static teg_result mappings_add(tegi_hostdev* device, uint64_t count,
                               teg_error* err) {
  uint64_t own = tegi_fetch_add_relaxed(&device->mapping_count, count) + count;
  uint64_t all = tegi_fetch_add_relaxed(&process_mapping_count, count) + count;
  if (own <= device->mapping_limit && all <= device->process_mapping_limit) {
    return TEG_OK;
  }
  mappings_sub(device, count);
  return tegi_error_set(
      err, TEG_LIMIT,
      "%llu more kernel mappings would pass the limit: this device has %llu "
      "of at most %llu, all host devices %llu of at most %llu",
      (unsigned long long)count, (unsigned long long)(own - count),
      (unsigned long long)device->mapping_limit,
      (unsigned long long)(all - count),
      (unsigned long long)device->process_mapping_limit);
}

static teg_result range_reserve(teg_backend_device* base, uint64_t size,
                                teg_memory** out_range, teg_error* err) {
  *out_range = NULL;
  tegi_hostdev* device = tegi_hostdev_from(base);
  if (size == 0 || size > TEGI_MAX_BYTES || size % device->tile_bytes != 0 ||
      size / device->tile_bytes > UINT32_MAX) {
    return tegi_error_set(
        err, TEG_INVALID,
        "address range: %llu bytes is not a positive multiple of the tile "
        "size, %llu, of at most 2^32 - 1 tiles",
        (unsigned long long)size, (unsigned long long)device->tile_bytes);
  }
  teg_result result = mappings_add(device, 1, err);
  if (result != TEG_OK) return result;
  uint32_t slot_count = (uint32_t)(size / device->tile_bytes);
  void* pointer = NULL;
  // Addresses first: an absurd size must not reach the host allocator.
  int native = tegi_hostdev_os_reserve(size, &pointer);
  if (native) {
    mappings_sub(device, 1);
    return tegi_error_native(err, TEG_OUT_OF_MEMORY, "host", native,
                             "cannot reserve %llu bytes of addresses: %s",
                             (unsigned long long)size, strerror(native));
  }
  tegi_hostdev_memory* range = tegi_host_alloc(&device->host, sizeof *range);
  uint32_t* slots =
      range ? tegi_host_calloc(&device->host, slot_count, sizeof *slots) : NULL;
  if (!slots) {
    tegi_host_free(&device->host, range, sizeof *range);
    tegi_hostdev_os_release(pointer, size);
    mappings_sub(device, 1);
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "no host memory for %u tile slots", slot_count);
  }
  *range = (tegi_hostdev_memory){.magic = RANGE_MAGIC,
                                 .kind = TEGI_HOSTDEV_RANGE,
                                 .pointer = pointer,
                                 .size = size,
                                 .slots = slots,
                                 .slot_count = slot_count,
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
  mappings_sub(device, range->mapping_count);
  tegi_host_free(&device->host, range->slots,
                 range->slot_count * sizeof *range->slots);
  range->magic = 0;
  tegi_host_free(&device->host, range, sizeof *range);
  tegi_fetch_add_relaxed(&device->object_count, (uint64_t)-1);
}

// 1 if two neighbouring slots need two mappings.
static int is_break(uint32_t low, uint32_t high) {
  return !(low == 0 ? high == 0 : high == low + 1);
}

// The slot values that a run would write.
static uint32_t first_slot(const tegi_hostdev* device,
                           const teg_tile_run* run) {
  const tegi_hostdev_memory* heap = tegi_hostdev_memory_from(run->heap);
  return (uint32_t)(heap->space_start / device->tile_bytes) +
         run->heap_tile_index + 1;
}

static uint32_t last_slot(const tegi_hostdev* device, const teg_tile_run* run) {
  return first_slot(device, run) + run->tile_count - 1;
}

static uint64_t run_end(const teg_tile_run* run) {
  return (uint64_t)run->range_tile_index + run->tile_count;
}

// Order and bounds of the range side of a call's runs.
static teg_result check_runs(const tegi_hostdev_memory* range,
                             const teg_tile_run* runs, size_t run_count,
                             teg_error* err) {
  if (range->kind != TEGI_HOSTDEV_RANGE) {
    return tegi_error_set(err, TEG_INVALID, "not an address range");
  }
  uint64_t floor = 0;
  for (size_t i = 0; i < run_count; i++) {
    if (runs[i].tile_count == 0 || runs[i].range_tile_index < floor ||
        run_end(&runs[i]) > range->slot_count) {
      return tegi_error_set(
          err, TEG_INVALID,
          "run %zu of %zu, %u tiles at tile %u of a range of %u, is empty, "
          "outside, or not behind the run before it",
          i, run_count, runs[i].tile_count, runs[i].range_tile_index,
          range->slot_count);
    }
    floor = run_end(&runs[i]);
  }
  return TEG_OK;
}

static teg_result check_map(const tegi_hostdev* device,
                            const tegi_hostdev_memory* range,
                            const teg_tile_run* runs, size_t run_count,
                            teg_error* err) {
  teg_result result = check_runs(range, runs, run_count, err);
  for (size_t i = 0; i < run_count && result == TEG_OK; i++) {
    const teg_tile_run* run = &runs[i];
    const tegi_hostdev_memory* heap =
        run->heap ? tegi_hostdev_memory_from(run->heap) : NULL;
    if (!heap || heap->kind != TEGI_HOSTDEV_HEAP ||
        (uint64_t)run->heap_tile_index + run->tile_count >
            heap->size / device->tile_bytes) {
      return tegi_error_set(err, TEG_INVALID,
                            "run %zu of %zu: %u tiles at tile %u are not in "
                            "the heap",
                            i, run_count, run->tile_count,
                            run->heap_tile_index);
    }
    for (uint32_t tile = 0; tile < run->tile_count; tile++) {
      if (range->slots[run->range_tile_index + tile] != 0) {
        return tegi_error_set(err, TEG_INVALID,
                              "tile %u of the range has memory already",
                              run->range_tile_index + tile);
      }
    }
  }
  return result;
}

// How many mappings more the range uses once the runs are mapped.
static int64_t map_change(const tegi_hostdev* device,
                          const tegi_hostdev_memory* range,
                          const teg_tile_run* runs, size_t run_count) {
  int64_t change = 0;
  for (size_t i = 0; i < run_count; i++) {
    uint32_t start = runs[i].range_tile_index;
    uint64_t end = run_end(&runs[i]);
    if (start > 0) {
      uint32_t before = range->slots[start - 1];
      bool is_joined = i > 0 && run_end(&runs[i - 1]) == start;
      uint32_t after = is_joined ? last_slot(device, &runs[i - 1]) : before;
      change +=
          is_break(after, first_slot(device, &runs[i])) - is_break(before, 0);
    }
    bool has_next = i + 1 < run_count && runs[i + 1].range_tile_index == end;
    if (end < range->slot_count && !has_next) {
      uint32_t next = range->slots[end];
      change += is_break(last_slot(device, &runs[i]), next) - is_break(0, next);
    }
  }
  return change;
}

static teg_result native_failed(const tegi_hostdev* device, const char* what,
                                int native, teg_error* err) {
  return tegi_error_native(
      err, native == ENOMEM ? TEG_LIMIT : TEG_DEVICE_ERROR, "host", native,
      "cannot %s tiles, with %llu kernel mappings in use: %s", what,
      (unsigned long long)tegi_load_relaxed(&device->mapping_count),
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

static teg_result map_tiles(teg_backend_device* base, teg_memory* memory,
                            const teg_tile_run* runs, size_t run_count,
                            teg_error* err) {
  tegi_hostdev* device = tegi_hostdev_from(base);
  tegi_hostdev_memory* range = tegi_hostdev_memory_from(memory);
  teg_result result = tegi_hostdev_check_alive(device, err);
  if (result == TEG_OK) result = check_map(device, range, runs, run_count, err);
  if (result != TEG_OK) return result;
  int64_t change = map_change(device, range, runs, run_count);
  if (change > 0) result = mappings_add(device, (uint64_t)change, err);
  if (result != TEG_OK) return result;

  for (size_t i = 0; i < run_count;) {
    // Neighbours here and in the file are one mapping.
    size_t end = i + 1;
    uint64_t tile_count = runs[i].tile_count;
    while (end < run_count &&
           run_end(&runs[end - 1]) == runs[end].range_tile_index &&
           !is_break(last_slot(device, &runs[end - 1]),
                     first_slot(device, &runs[end]))) {
      tile_count += runs[end++].tile_count;
    }
    int native = tegi_hostdev_os_map_tiles(
        range->pointer + runs[i].range_tile_index * device->tile_bytes,
        device->file, (first_slot(device, &runs[i]) - 1) * device->tile_bytes,
        tile_count * device->tile_bytes);
    if (native) {
      unmap_all(device, range, runs, i);
      if (change > 0) mappings_sub(device, (uint64_t)change);
      return native_failed(device, "map", native, err);
    }
    i = end;
  }

  for (size_t i = 0; i < run_count; i++) {
    uint32_t slot = first_slot(device, &runs[i]);
    uint32_t* slots = range->slots + runs[i].range_tile_index;
    for (uint32_t tile = 0; tile < runs[i].tile_count; tile++) {
      slots[tile] = slot + tile;
    }
  }
  if (change < 0) mappings_sub(device, (uint64_t)-change);
  range->mapping_count = (uint32_t)(range->mapping_count + change);
  return TEG_OK;
}

// Runs [i, end) of an unmap that are neighbours count as one.
static size_t joined_end(const teg_tile_run* runs, size_t run_count, size_t i) {
  size_t end = i + 1;
  while (end < run_count &&
         run_end(&runs[end - 1]) == runs[end].range_tile_index) {
    end++;
  }
  return end;
}

// How many mappings more, mostly fewer, once the runs are gone.
static int64_t unmap_change(const tegi_hostdev_memory* range,
                            const teg_tile_run* runs, size_t run_count) {
  const uint32_t* slots = range->slots;
  int64_t change = 0;
  for (size_t i = 0; i < run_count;) {
    size_t end_run = joined_end(runs, run_count, i);
    uint64_t start = runs[i].range_tile_index;
    uint64_t end = run_end(&runs[end_run - 1]);
    for (uint64_t tile = start; tile + 1 < end; tile++) {
      change -= is_break(slots[tile], slots[tile + 1]);
    }
    if (start > 0) {
      change += is_break(slots[start - 1], 0) -
                is_break(slots[start - 1], slots[start]);
    }
    if (end < range->slot_count) {
      change += is_break(0, slots[end]) - is_break(slots[end - 1], slots[end]);
    }
    i = end_run;
  }
  return change;
}

// Maps what the slots of [start, end) say, after a failed unmap.
static bool map_slots(tegi_hostdev* device, const tegi_hostdev_memory* range,
                      uint64_t start, uint64_t end) {
  while (start < end) {
    uint64_t stop = start + 1;
    while (stop < end &&
           !is_break(range->slots[stop - 1], range->slots[stop])) {
      stop++;
    }
    if (tegi_hostdev_os_map_tiles(
            range->pointer + start * device->tile_bytes, device->file,
            (uint64_t)(range->slots[start] - 1) * device->tile_bytes,
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
    if (map_slots(device, range, runs[i].range_tile_index, run_end(&runs[i]))) {
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
  teg_result result = tegi_hostdev_check_alive(device, err);
  if (result == TEG_OK) result = check_runs(range, runs, run_count, err);
  if (result != TEG_OK) return result;
  for (size_t i = 0; i < run_count; i++) {
    for (uint64_t tile = runs[i].range_tile_index; tile < run_end(&runs[i]);
         tile++) {
      if (range->slots[tile] == 0) {
        return tegi_error_set(err, TEG_INVALID,
                              "tile %llu of the range has no memory",
                              (unsigned long long)tile);
      }
    }
  }
  int64_t change = unmap_change(range, runs, run_count);
  if (change > 0) result = mappings_add(device, (uint64_t)change, err);
  if (result != TEG_OK) return result;

  for (size_t i = 0; i < run_count;) {
    size_t end = joined_end(runs, run_count, i);
    uint64_t start = runs[i].range_tile_index;
    int native = tegi_hostdev_os_unmap_tiles(
        range->pointer + start * device->tile_bytes,
        (run_end(&runs[end - 1]) - start) * device->tile_bytes);
    if (native) {
      if (change > 0) mappings_sub(device, (uint64_t)change);
      return unmap_failed(device, range, runs, i, native, err);
    }
    i = end;
  }

  for (size_t i = 0; i < run_count; i++) {
    memset(range->slots + runs[i].range_tile_index, 0,
           runs[i].tile_count * sizeof *range->slots);
  }
  if (change < 0) mappings_sub(device, (uint64_t)-change);
  range->mapping_count = (uint32_t)(range->mapping_count + change);
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
