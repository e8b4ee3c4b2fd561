// SPDX-License-Identifier: Apache-2.0
//
// Memories and tiles of the null device: the host's, with a budget, poison and
// the hazard checker told of everything.
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

// The host's object for a wrapper, and the checker's.
static teg_result memory_make(tegi_nulldev* device, tegi_nulldev_memory* memory,
                              teg_result (*create)(teg_backend_device*,
                                                   uint64_t, teg_memory**,
                                                   teg_error*),
                              teg_error* err) {
  teg_result result = create(device->inner, memory->size, &memory->inner, err);
  if (result != TEG_OK) return result;
  memory->pointer =
      device->tables->map->host_pointer(device->inner, memory->inner);
  return tegi_hazard_memory_add(device->hazard, memory->is_range, memory->size,
                                memory->pointer, &memory->hazard, err);
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
    device->tables->device->memory_destroy(device->inner, memory->inner);
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
  tegi_hazard_memory_remove(device->hazard, null_memory->hazard);
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
  remap->range_release(device->inner, range->inner);
  memory_free(device, range);
  return result;
}

static void range_release(teg_backend_device* base, teg_memory* memory) {
  if (!memory) return;
  tegi_nulldev* device = tegi_nulldev_from(base);
  tegi_nulldev_memory* range = tegi_nulldev_memory_from(memory);
  tegi_hazard_memory_remove(device->hazard, range->hazard);
  device->tables->remap->range_release(device->inner, range->inner);
  memory_free(device, range);
}

// The runs of one call, for the host and for the checker. A few need no host
// memory, so that tiles can be given back when there is none.
enum { RUNS_IN_PLACE = 64 };

typedef struct run_lists {
  size_t count;
  teg_tile_run* host;
  tegi_hazard_run* hazard;
  teg_tile_run host_in_place[RUNS_IN_PLACE];
  tegi_hazard_run hazard_in_place[RUNS_IN_PLACE];
} run_lists;

static void run_lists_free(tegi_nulldev* device, run_lists* lists) {
  if (lists->count <= RUNS_IN_PLACE) return;
  tegi_host_free(&device->host, lists->host,
                 lists->count * sizeof *lists->host);
  tegi_host_free(&device->host, lists->hazard,
                 lists->count * sizeof *lists->hazard);
}

static teg_result run_lists_make(tegi_nulldev* device, bool has_heaps,
                                 const teg_tile_run* runs, size_t run_count,
                                 run_lists* out_lists, teg_error* err) {
  out_lists->count = run_count;
  out_lists->host = out_lists->host_in_place;
  out_lists->hazard = out_lists->hazard_in_place;
  if (run_count > RUNS_IN_PLACE) {
    out_lists->host =
        tegi_host_calloc(&device->host, run_count, sizeof *out_lists->host);
    out_lists->hazard =
        tegi_host_calloc(&device->host, run_count, sizeof *out_lists->hazard);
  }
  if (!out_lists->host || !out_lists->hazard) {
    run_lists_free(device, out_lists);
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "null: no host memory for %zu runs", run_count);
  }
  for (size_t i = 0; i < run_count; i++) {
    tegi_nulldev_memory* heap = has_heaps && runs[i].heap
                                    ? tegi_nulldev_memory_from(runs[i].heap)
                                    : NULL;
    out_lists->host[i] = runs[i];
    out_lists->host[i].heap = heap ? heap->inner : NULL;
    out_lists->hazard[i] =
        (tegi_hazard_run){heap ? heap->hazard : NULL, runs[i].heap_tile_index,
                          runs[i].range_tile_index, runs[i].tile_count};
  }
  return TEG_OK;
}

// The checker reads tiles by number, so bounds come first. What the host
// would refuse for another reason is its business.
static bool are_inside(const tegi_nulldev* device,
                       const tegi_nulldev_memory* range, bool has_heaps,
                       const teg_tile_run* runs, size_t run_count) {
  teg_backend_caps caps;
  device->tables->device->query_caps(device->inner, &caps);
  if (!range->is_range) return false;
  for (size_t i = 0; i < run_count; i++) {
    const teg_tile_run* run = &runs[i];
    if ((uint64_t)run->range_tile_index + run->tile_count >
        range->size / caps.tile_bytes) {
      return false;
    }
    if (!has_heaps) continue;
    if (!run->heap) return false;
    const tegi_nulldev_memory* heap = tegi_nulldev_memory_from(run->heap);
    if (heap->is_range || (uint64_t)run->heap_tile_index + run->tile_count >
                              heap->size / caps.tile_bytes) {
      return false;
    }
  }
  return true;
}

static teg_result map_tiles(teg_backend_device* base, teg_memory* memory,
                            const teg_tile_run* runs, size_t run_count,
                            teg_error* err) {
  tegi_nulldev* device = tegi_nulldev_from(base);
  tegi_nulldev_memory* range = tegi_nulldev_memory_from(memory);
  teg_result result = tegi_nulldev_count_call(device, TEG_NULL_MAP, err);
  if (result != TEG_OK) return result;
  bool is_inside = are_inside(device, range, true, runs, run_count);
  TEG_REQUIRE(is_inside, err, "null: runs outside of the range or a heap");
  run_lists lists;
  result = run_lists_make(device, true, runs, run_count, &lists, err);
  if (result != TEG_OK) return result;
  result = tegi_hazard_check_map(device->hazard, range->hazard, lists.hazard,
                                 run_count, err);
  if (result == TEG_OK) {
    result = device->tables->remap->map(device->inner, range->inner, lists.host,
                                        run_count, err);
  }
  if (result == TEG_OK) {
    tegi_hazard_map_done(device->hazard, range->hazard, lists.hazard,
                         run_count);
  }
  run_lists_free(device, &lists);
  return result;
}

static teg_result unmap_tiles(teg_backend_device* base, teg_memory* memory,
                              const teg_tile_run* runs, size_t run_count,
                              teg_error* err) {
  tegi_nulldev* device = tegi_nulldev_from(base);
  tegi_nulldev_memory* range = tegi_nulldev_memory_from(memory);
  teg_result result = tegi_nulldev_count_call(device, TEG_NULL_UNMAP, err);
  if (result != TEG_OK) return result;
  bool is_inside = are_inside(device, range, false, runs, run_count);
  TEG_REQUIRE(is_inside, err, "null: runs outside of the range");
  run_lists lists;
  result = run_lists_make(device, false, runs, run_count, &lists, err);
  if (result != TEG_OK) return result;
  result = tegi_hazard_check_unmap(device->hazard, range->hazard, lists.hazard,
                                   run_count, err);
  if (result == TEG_OK) {
    result = device->tables->remap->unmap(device->inner, range->inner,
                                          lists.host, run_count, err);
  }
  if (result == TEG_OK) {
    tegi_hazard_unmap_done(device->hazard, range->hazard, lists.hazard,
                           run_count);
  }
  run_lists_free(device, &lists);
  return result;
}

const teg_remap_ops tegi_nulldev_remap_ops = {
    .abi_version = TEG_BACKEND_ABI_VERSION,
    .struct_size = sizeof(teg_remap_ops),
    .range_reserve = range_reserve,
    .range_release = range_release,
    .map = map_tiles,
    .unmap = unmap_tiles,
};
