// SPDX-License-Identifier: Apache-2.0
//
// Memories and tiles of the null device: the host's, with a budget and poison.
#include "backend/host/host_fill.h"
#include "backend/null/null_backend.h"
#include "base/checked.h"
#include "base/error.h"

#define MEMORY_MAGIC 0x6e6d656du

tegi_nulldev_memory* tegi_nulldev_memory_from(teg_memory* memory) {
  tegi_nulldev_memory* null_memory = (tegi_nulldev_memory*)(void*)memory;
  TEG_ASSERT(null_memory && null_memory->magic == MEMORY_MAGIC);
  return null_memory;
}

// ---- Budget.

static teg_result budget_take(tegi_nulldev* device, uint64_t size,
                              bool* out_is_small, teg_error* err) {
  tegi_mutex_lock(&device->mutex);
  uint64_t used = device->used_bytes, budget = device->budget_bytes, sum;
  bool has_room = tegi_add_u64(used, size, &sum) && sum <= budget;
  if (has_room) device->used_bytes = sum;
  *out_is_small = has_room && sum <= TEGI_NULLDEV_POISON_DEVICE_BYTES;
  tegi_mutex_unlock(&device->mutex);
  if (has_room) return TEG_OK;
  return tegi_error_set(err, TEG_OUT_OF_MEMORY,
                        "null: %llu bytes do not fit beside %llu in a budget "
                        "of %llu",
                        (unsigned long long)size, (unsigned long long)used,
                        (unsigned long long)budget);
}

static void budget_give(tegi_nulldev* device, uint64_t size) {
  tegi_mutex_lock(&device->mutex);
  device->used_bytes -= size;
  tegi_mutex_unlock(&device->mutex);
}

// ---- Memories.

// A wrapper with nothing of the host in it yet.
static tegi_nulldev_memory* memory_new(tegi_nulldev* device, bool is_range,
                                       uint64_t size, teg_error* err) {
  tegi_nulldev_memory* memory = tegi_host_alloc(&device->host, sizeof *memory);
  if (!memory) {
    tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                   "null: no host memory for the record of a memory");
    return NULL;
  }
  memory->magic = MEMORY_MAGIC;
  memory->is_range = is_range;
  memory->size = size;
  return memory;
}

static void memory_free(tegi_nulldev* device, tegi_nulldev_memory* memory) {
  memory->magic = 0;
  tegi_host_free(&device->host, memory, sizeof *memory);
}

// The host's object for a wrapper.
static teg_result memory_make(tegi_nulldev* device, tegi_nulldev_memory* memory,
                              teg_result (*create)(teg_backend_device*,
                                                   uint64_t, teg_memory**,
                                                   teg_error*),
                              teg_error* err) {
  teg_result result = create(device->inner, memory->size, &memory->inner, err);
  if (result != TEG_OK) return result;
  memory->pointer =
      device->tables->map->host_pointer(device->inner, memory->inner);
  return TEG_OK;
}

static teg_result physical_create(tegi_nulldev* device, uint64_t size,
                                  teg_result (*create)(teg_backend_device*,
                                                       uint64_t, teg_memory**,
                                                       teg_error*),
                                  teg_memory** out_memory, teg_error* err) {
  tegi_nulldev_memory* memory = memory_new(device, false, size, err);
  if (!memory) return TEG_OUT_OF_HOST_MEMORY;
  bool is_small;
  teg_result result = budget_take(device, size, &is_small, err);
  if (result == TEG_OK) {
    result = memory_make(device, memory, create, err);
    if (result == TEG_OK) {
      if (is_small) {
        tegi_hostdev_fill(memory->pointer,
                          tegi_min_u64(size, TEGI_NULLDEV_POISON_BYTES),
                          TEG_NULL_POISON);
      }
      *out_memory = (teg_memory*)(void*)memory;
      return TEG_OK;
    }
    budget_give(device, size);
  }
  memory_free(device, memory);
  return result;
}

teg_result tegi_nulldev_buffer_create(teg_backend_device* base, uint64_t size,
                                      teg_memory** out_memory, teg_error* err) {
  *out_memory = NULL;
  tegi_nulldev* device = tegi_nulldev_from(base);
  teg_result result =
      tegi_nulldev_count_call(device, TEG_NULL_BUFFER_CREATE, err);
  if (result != TEG_OK) return result;
  return physical_create(device, size, device->tables->device->buffer_create,
                         out_memory, err);
}

teg_result tegi_nulldev_heap_create(teg_backend_device* base, uint64_t size,
                                    teg_memory** out_heap, teg_error* err) {
  *out_heap = NULL;
  tegi_nulldev* device = tegi_nulldev_from(base);
  teg_result result =
      tegi_nulldev_count_call(device, TEG_NULL_HEAP_CREATE, err);
  if (result != TEG_OK) return result;
  return physical_create(device, size, device->tables->device->heap_create,
                         out_heap, err);
}

void tegi_nulldev_memory_destroy(teg_backend_device* base, teg_memory* memory) {
  if (!memory) return;
  tegi_nulldev* device = tegi_nulldev_from(base);
  tegi_nulldev_memory* null_memory = tegi_nulldev_memory_from(memory);
  device->tables->device->memory_destroy(device->inner, null_memory->inner);
  budget_give(device, null_memory->size);
  memory_free(device, null_memory);
}

// ---- Ranges and tiles.

static teg_result range_reserve(teg_backend_device* base, uint64_t size,
                                teg_memory** out_range, teg_error* err) {
  *out_range = NULL;
  tegi_nulldev* device = tegi_nulldev_from(base);
  teg_result result =
      tegi_nulldev_count_call(device, TEG_NULL_RANGE_RESERVE, err);
  if (result != TEG_OK) return result;
  tegi_nulldev_memory* range = memory_new(device, true, size, err);
  if (!range) return TEG_OUT_OF_HOST_MEMORY;
  const teg_remap_ops* remap = device->tables->remap;
  result = memory_make(device, range, remap->range_reserve, err);
  if (result == TEG_OK) {
    *out_range = (teg_memory*)(void*)range;
    return TEG_OK;
  }
  memory_free(device, range);
  return result;
}

static void range_release(teg_backend_device* base, teg_memory* memory) {
  if (!memory) return;
  tegi_nulldev* device = tegi_nulldev_from(base);
  tegi_nulldev_memory* range = tegi_nulldev_memory_from(memory);
  device->tables->remap->range_release(device->inner, range->inner);
  memory_free(device, range);
}

// The runs of one call as the host takes them. A few need no host memory, so
// that tiles can be given back when there is none. NULL without memory.
enum { RUNS_IN_PLACE = 64 };

static teg_tile_run* host_runs(tegi_nulldev* device, const teg_tile_run* runs,
                               size_t run_count, teg_tile_run* in_place) {
  teg_tile_run* to = in_place;
  if (run_count > RUNS_IN_PLACE) {
    to = tegi_host_calloc(&device->host, run_count, sizeof *to);
  }
  for (size_t i = 0; to && i < run_count; i++) {
    to[i] = runs[i];
    to[i].heap = tegi_nulldev_memory_from(runs[i].heap)->inner;
  }
  return to;
}

static teg_result map_tiles(teg_backend_device* base, teg_memory* memory,
                            const teg_tile_run* runs, size_t run_count,
                            teg_error* err) {
  tegi_nulldev* device = tegi_nulldev_from(base);
  tegi_nulldev_memory* range = tegi_nulldev_memory_from(memory);
  teg_result result = tegi_nulldev_count_call(device, TEG_NULL_MAP, err);
  if (result != TEG_OK) return result;
  teg_tile_run in_place[RUNS_IN_PLACE];
  teg_tile_run* list = host_runs(device, runs, run_count, in_place);
  if (!list) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "null: no host memory for %zu runs", run_count);
  }
  result = device->tables->remap->map(device->inner, range->inner, list,
                                      run_count, err);
  if (list != in_place) {
    tegi_host_free(&device->host, list, run_count * sizeof *list);
  }
  return result;
}

static teg_result unmap_tiles(teg_backend_device* base, teg_memory* memory,
                              const teg_tile_run* runs, size_t run_count,
                              teg_error* err) {
  tegi_nulldev* device = tegi_nulldev_from(base);
  tegi_nulldev_memory* range = tegi_nulldev_memory_from(memory);
  teg_result result = tegi_nulldev_count_call(device, TEG_NULL_UNMAP, err);
  if (result != TEG_OK) return result;
  return device->tables->remap->unmap(device->inner, range->inner, runs,
                                      run_count, err);
}

const teg_remap_ops tegi_nulldev_remap_ops = {
    .abi_version = TEG_BACKEND_ABI_VERSION,
    .struct_size = sizeof(teg_remap_ops),
    .range_reserve = range_reserve,
    .range_release = range_release,
    .map = map_tiles,
    .unmap = unmap_tiles,
};
