// SPDX-License-Identifier: Apache-2.0
//
// Memories, tiles and host pointers of a checked device: the device's own, and
// the checker told of everything.
#include "backend/check/check_backend.h"
#include "base/error.h"

#define MEMORY_MAGIC 0x63686d6du

tegi_checkdev_memory* tegi_checkdev_memory_from(teg_memory* memory) {
  tegi_checkdev_memory* checked = (tegi_checkdev_memory*)(void*)memory;
  TEG_ASSERT(checked && checked->magic == MEMORY_MAGIC);
  return checked;
}

// ---- Memories.

// A wrapper with nothing of the device in it yet.
static tegi_checkdev_memory* memory_new(tegi_checkdev* device, bool is_range,
                                        uint64_t size, teg_error* err) {
  tegi_checkdev_memory* memory = tegi_host_alloc(&device->host, sizeof *memory);
  if (!memory) {
    tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                   "no host memory for the record of a memory");
    return NULL;
  }
  memory->magic = MEMORY_MAGIC;
  memory->is_range = is_range;
  memory->size = size;
  return memory;
}

static void memory_free(tegi_checkdev* device, tegi_checkdev_memory* memory) {
  memory->magic = 0;
  tegi_host_free(&device->host, memory, sizeof *memory);
}

// The checker's record, once the device has made |memory->inner|. On failure
// the wrapper is freed.
static teg_result memory_finish(tegi_checkdev* device,
                                tegi_checkdev_memory* memory, teg_result made,
                                teg_memory** out_memory, teg_error* err) {
  teg_result result = made;
  if (result == TEG_OK) {
    result =
        tegi_hazard_memory_add(device->hazard, memory->is_range, memory->size,
                               memory->inner, &memory->hazard, err);
    if (result == TEG_OK) {
      *out_memory = (teg_memory*)(void*)memory;
      return TEG_OK;
    }
    if (memory->is_range) {
      device->tables->remap->range_release(device->inner, memory->inner);
    } else {
      device->tables->device->memory_destroy(device->inner, memory->inner);
    }
  }
  memory_free(device, memory);
  return result;
}

static teg_result buffer_create(teg_backend_device* base, uint64_t size,
                                teg_memory** out_memory, teg_error* err) {
  *out_memory = NULL;
  tegi_checkdev* device = tegi_checkdev_from(base);
  tegi_checkdev_memory* memory = memory_new(device, false, size, err);
  if (!memory) return TEG_OUT_OF_HOST_MEMORY;
  teg_result result = device->tables->device->buffer_create(
      device->inner, size, &memory->inner, err);
  return memory_finish(device, memory, result, out_memory, err);
}

static teg_result heap_create(teg_backend_device* base, uint64_t size,
                              teg_memory** out_heap, teg_error* err) {
  *out_heap = NULL;
  tegi_checkdev* device = tegi_checkdev_from(base);
  tegi_checkdev_memory* memory = memory_new(device, false, size, err);
  if (!memory) return TEG_OUT_OF_HOST_MEMORY;
  teg_result result = device->tables->device->heap_create(device->inner, size,
                                                          &memory->inner, err);
  return memory_finish(device, memory, result, out_heap, err);
}

static teg_result staging_create(teg_backend_device* base, uint64_t size,
                                 bool is_readback, teg_memory** out_memory,
                                 teg_error* err) {
  *out_memory = NULL;
  tegi_checkdev* device = tegi_checkdev_from(base);
  tegi_checkdev_memory* memory = memory_new(device, false, size, err);
  if (!memory) return TEG_OUT_OF_HOST_MEMORY;
  teg_result result = device->tables->device->staging_create(
      device->inner, size, is_readback, &memory->inner, err);
  return memory_finish(device, memory, result, out_memory, err);
}

static void memory_destroy(teg_backend_device* base, teg_memory* memory) {
  if (!memory) return;
  tegi_checkdev* device = tegi_checkdev_from(base);
  tegi_checkdev_memory* checked = tegi_checkdev_memory_from(memory);
  tegi_hazard_memory_remove(device->hazard, checked->hazard);
  device->tables->device->memory_destroy(device->inner, checked->inner);
  memory_free(device, checked);
}

const teg_device_ops tegi_checkdev_memory_ops = {
    .abi_version = TEG_BACKEND_ABI_VERSION,
    .struct_size = sizeof(teg_device_ops),
    .buffer_create = buffer_create,
    .heap_create = heap_create,
    .staging_create = staging_create,
    .memory_destroy = memory_destroy,
};

teg_result tegi_checkdev_span(const teg_span* span, const char* what,
                              teg_span* out_inner, tegi_hazard_span* out_span,
                              teg_error* err) {
  const tegi_checkdev_memory* memory = tegi_checkdev_memory_from(span->memory);
  if (span->size > memory->size || span->offset > memory->size - span->size) {
    return tegi_error_set(
        err, TEG_INVALID, "%s: %llu bytes at %llu are not in a memory of %llu",
        what, (unsigned long long)span->size, (unsigned long long)span->offset,
        (unsigned long long)memory->size);
  }
  *out_inner = *span;
  out_inner->memory = memory->inner;
  *out_span = (tegi_hazard_span){.memory = memory->hazard,
                                 .offset = span->offset,
                                 .size = span->size,
                                 .owner = span->owner};
  return TEG_OK;
}

// ---- Ranges and tiles.

static teg_result range_reserve(teg_backend_device* base, uint64_t size,
                                teg_memory** out_range, teg_error* err) {
  *out_range = NULL;
  tegi_checkdev* device = tegi_checkdev_from(base);
  tegi_checkdev_memory* range = memory_new(device, true, size, err);
  if (!range) return TEG_OUT_OF_HOST_MEMORY;
  teg_result result = device->tables->remap->range_reserve(device->inner, size,
                                                           &range->inner, err);
  return memory_finish(device, range, result, out_range, err);
}

static void range_release(teg_backend_device* base, teg_memory* memory) {
  if (!memory) return;
  tegi_checkdev* device = tegi_checkdev_from(base);
  tegi_checkdev_memory* range = tegi_checkdev_memory_from(memory);
  tegi_hazard_memory_remove(device->hazard, range->hazard);
  device->tables->remap->range_release(device->inner, range->inner);
  memory_free(device, range);
}

// The runs of one call, for the device and for the checker. A few need no host
// memory, so that tiles can be given back when there is none.
enum { RUNS_IN_PLACE = 64 };

typedef struct run_lists {
  size_t count;
  teg_tile_run* inner;
  tegi_hazard_run* hazard;
  teg_tile_run inner_in_place[RUNS_IN_PLACE];
  tegi_hazard_run hazard_in_place[RUNS_IN_PLACE];
} run_lists;

static void run_lists_free(tegi_checkdev* device, run_lists* lists) {
  if (lists->count <= RUNS_IN_PLACE) return;
  tegi_host_free(&device->host, lists->inner,
                 lists->count * sizeof *lists->inner);
  tegi_host_free(&device->host, lists->hazard,
                 lists->count * sizeof *lists->hazard);
}

static teg_result run_lists_make(tegi_checkdev* device, bool has_heaps,
                                 const teg_tile_run* runs, size_t run_count,
                                 run_lists* out_lists, teg_error* err) {
  out_lists->count = run_count;
  out_lists->inner = out_lists->inner_in_place;
  out_lists->hazard = out_lists->hazard_in_place;
  if (run_count > RUNS_IN_PLACE) {
    out_lists->inner =
        tegi_host_calloc(&device->host, run_count, sizeof *out_lists->inner);
    out_lists->hazard =
        tegi_host_calloc(&device->host, run_count, sizeof *out_lists->hazard);
  }
  if (!out_lists->inner || !out_lists->hazard) {
    run_lists_free(device, out_lists);
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "no host memory for %zu runs", run_count);
  }
  for (size_t i = 0; i < run_count; i++) {
    tegi_checkdev_memory* heap = has_heaps && runs[i].heap
                                     ? tegi_checkdev_memory_from(runs[i].heap)
                                     : NULL;
    out_lists->inner[i] = runs[i];
    out_lists->inner[i].heap = heap ? heap->inner : NULL;
    out_lists->hazard[i] =
        (tegi_hazard_run){heap ? heap->hazard : NULL, runs[i].heap_tile_index,
                          runs[i].range_tile_index, runs[i].tile_count};
  }
  return TEG_OK;
}

// The checker reads tiles by number, so bounds come first. What the device
// would refuse for another reason is its business.
static bool are_inside(const tegi_checkdev* device,
                       const tegi_checkdev_memory* range, bool has_heaps,
                       const teg_tile_run* runs, size_t run_count) {
  uint64_t tile_bytes = device->tile_bytes;
  if (!range->is_range) return false;
  for (size_t i = 0; i < run_count; i++) {
    const teg_tile_run* run = &runs[i];
    if ((uint64_t)run->range_tile_index + run->tile_count >
        range->size / tile_bytes) {
      return false;
    }
    if (!has_heaps) continue;
    if (!run->heap) return false;
    const tegi_checkdev_memory* heap = tegi_checkdev_memory_from(run->heap);
    if (heap->is_range || (uint64_t)run->heap_tile_index + run->tile_count >
                              heap->size / tile_bytes) {
      return false;
    }
  }
  return true;
}

static teg_result map_tiles(teg_backend_device* base, teg_memory* memory,
                            const teg_tile_run* runs, size_t run_count,
                            teg_error* err) {
  tegi_checkdev* device = tegi_checkdev_from(base);
  tegi_checkdev_memory* range = tegi_checkdev_memory_from(memory);
  bool is_inside = are_inside(device, range, true, runs, run_count);
  TEG_REQUIRE(is_inside, err, "map: runs outside of the range or a heap");
  run_lists lists;
  teg_result result =
      run_lists_make(device, true, runs, run_count, &lists, err);
  if (result != TEG_OK) return result;
  result = tegi_hazard_check_map(device->hazard, range->hazard, lists.hazard,
                                 run_count, err);
  if (result == TEG_OK) {
    result = device->tables->remap->map(device->inner, range->inner,
                                        lists.inner, run_count, err);
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
  tegi_checkdev* device = tegi_checkdev_from(base);
  tegi_checkdev_memory* range = tegi_checkdev_memory_from(memory);
  bool is_inside = are_inside(device, range, false, runs, run_count);
  TEG_REQUIRE(is_inside, err, "unmap: runs outside of the range");
  run_lists lists;
  teg_result result =
      run_lists_make(device, false, runs, run_count, &lists, err);
  if (result != TEG_OK) return result;
  result = tegi_hazard_check_unmap(device->hazard, range->hazard, lists.hazard,
                                   run_count, err);
  if (result == TEG_OK) {
    result = device->tables->remap->unmap(device->inner, range->inner,
                                          lists.inner, run_count, err);
  }
  if (result == TEG_OK) {
    tegi_hazard_unmap_done(device->hazard, range->hazard, lists.hazard,
                           run_count);
  }
  run_lists_free(device, &lists);
  return result;
}

static teg_queue_stream* bind_stream(teg_backend_device* base) {
  return (teg_queue_stream*)(void*)tegi_checkdev_from(base)->bind_stream;
}

const teg_remap_ops tegi_checkdev_remap_ops = {
    .abi_version = TEG_BACKEND_ABI_VERSION,
    .struct_size = sizeof(teg_remap_ops),
    .range_reserve = range_reserve,
    .range_release = range_release,
    .map = map_tiles,
    .unmap = unmap_tiles,
    .bind_stream = bind_stream,
};

// ---- Host pointers.

static void* host_pointer(teg_backend_device* base, teg_memory* memory) {
  tegi_checkdev* device = tegi_checkdev_from(base);
  return device->tables->map->host_pointer(
      device->inner, tegi_checkdev_memory_from(memory)->inner);
}

static void* tile_pointer(teg_backend_device* base, teg_memory* range,
                          uint64_t offset, uint64_t* out_bytes) {
  tegi_checkdev* device = tegi_checkdev_from(base);
  return device->tables->map->tile_pointer(
      device->inner, tegi_checkdev_memory_from(range)->inner, offset,
      out_bytes);
}

static bool is_cached(teg_backend_device* base, teg_memory* memory) {
  tegi_checkdev* device = tegi_checkdev_from(base);
  return device->tables->map->is_cached(
      device->inner, tegi_checkdev_memory_from(memory)->inner);
}

static teg_result flush(teg_backend_device* base, teg_memory* memory,
                        uint64_t offset, uint64_t size, teg_error* err) {
  tegi_checkdev* device = tegi_checkdev_from(base);
  return device->tables->map->flush(device->inner,
                                    tegi_checkdev_memory_from(memory)->inner,
                                    offset, size, err);
}

static teg_result invalidate(teg_backend_device* base, teg_memory* memory,
                             uint64_t offset, uint64_t size, teg_error* err) {
  tegi_checkdev* device = tegi_checkdev_from(base);
  return device->tables->map->invalidate(
      device->inner, tegi_checkdev_memory_from(memory)->inner, offset, size,
      err);
}

const teg_map_ops tegi_checkdev_map_ops = {
    .abi_version = TEG_BACKEND_ABI_VERSION,
    .struct_size = sizeof(teg_map_ops),
    .host_pointer = host_pointer,
    .tile_pointer = tile_pointer,
    .is_cached = is_cached,
    .flush = flush,
    .invalidate = invalidate,
};

// ---- What the device is told.

static teg_result host_access(teg_backend_device* base, const teg_span* span,
                              bool is_read, bool is_written, teg_error* err) {
  tegi_checkdev* device = tegi_checkdev_from(base);
  teg_span inner;
  tegi_hazard_span access;
  teg_result result =
      tegi_checkdev_span(span, "CPU access", &inner, &access, err);
  if (result != TEG_OK) return result;
  access.is_read = is_read;
  access.is_written = is_written;
  result = tegi_hazard_host_access(device->hazard, &access, err);
  const teg_check_ops* check = device->tables->check;
  if (result != TEG_OK || !check) return result;
  return check->host_access(device->inner, &inner, is_read, is_written, err);
}

static uint64_t get_report(teg_backend_device* base, char* text,
                           size_t text_size) {
  return tegi_hazard_get_report(tegi_checkdev_from(base)->hazard, text,
                                text_size);
}

static void reset_report(teg_backend_device* base) {
  tegi_hazard_reset(tegi_checkdev_from(base)->hazard);
}

const teg_check_ops tegi_checkdev_check_ops = {
    .abi_version = TEG_BACKEND_ABI_VERSION,
    .struct_size = sizeof(teg_check_ops),
    .host_access = host_access,
    .get_report = get_report,
    .reset_report = reset_report,
};
