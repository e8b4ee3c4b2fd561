// SPDX-License-Identifier: Apache-2.0
//
// Buffers and heaps of the host device. Both kinds of memory come out of
// windows: large stretches that are mapped once, so that creating memory
// costs no mapping and mostly no system call. Pages come when touched and go
// with the buffer or heap: DONTNEED for buffers, a hole in the file for heaps,
// which also ends at its last heap.
//
// Guarded by memory_lock; the calls that give pages back run without it.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend/host/host_backend.h"
#include "backend/host/host_os.h"
#include "base/checked.h"
#include "base/error.h"

#define MEMORY_MAGIC 0x6d656d74u

// A window is as large as the machine's memory, within these.
#define MIN_WINDOW_BYTES (UINT64_C(1) << 30)
#define MAX_WINDOW_BYTES (UINT64_C(64) << 30)

tegi_hostdev_memory* tegi_hostdev_memory_from(teg_memory* memory) {
  tegi_hostdev_memory* host_memory = (tegi_hostdev_memory*)(void*)memory;
  TEG_ASSERT(host_memory && host_memory->magic == MEMORY_MAGIC);
  return host_memory;
}

teg_result tegi_hostdev_memory_init(tegi_hostdev* device, teg_error* err) {
  device->heaps.unit_bytes =
      device->has_remap ? device->tile_bytes : device->page_bytes;
  device->buffers.unit_bytes = device->page_bytes;
  tegi_hostdev_space_init(&device->heaps.space, &device->host);
  tegi_hostdev_space_init(&device->buffers.space, &device->host);
  int native = tegi_hostdev_os_file_create(&device->file);
  if (native) {
    return tegi_error_native(err, TEG_UNAVAILABLE, "host", native,
                             "memfd_create failed: %s", strerror(native));
  }
  return TEG_OK;
}

static void area_deinit(tegi_hostdev* device, tegi_hostdev_area* area) {
  for (size_t i = 0; i < area->window_count; i++) {
    tegi_hostdev_os_release(area->windows[i].pointer, area->windows[i].size);
  }
  tegi_host_free(&device->host, area->windows,
                 area->window_capacity * sizeof *area->windows);
  tegi_hostdev_space_deinit(&area->space);
}

void tegi_hostdev_memory_deinit(tegi_hostdev* device) {
  area_deinit(device, &device->heaps);
  area_deinit(device, &device->buffers);
}

// Where the file's windows end, less one tile number kept for "none".
static uint64_t next_file_offset(const tegi_hostdev_area* area) {
  if (area->window_count == 0) return 0;
  const tegi_hostdev_window* last = &area->windows[area->window_count - 1];
  // A unit between windows keeps their free intervals from merging.
  return last->start + last->size + area->unit_bytes;
}

// Maps one more window with room for |size|.
static teg_result window_add(tegi_hostdev* device, tegi_hostdev_area* area,
                             uint64_t size, teg_error* err) {
  bool is_file = area == &device->heaps;
  uint64_t wanted = MIN_WINDOW_BYTES;
  while (wanted < device->total_bytes && wanted < MAX_WINDOW_BYTES) {
    wanted *= 2;
  }
  wanted = tegi_align_up(tegi_max_u64(wanted, size), area->unit_bytes);
  if (!tegi_host_grow_array(&device->host, &area->windows,
                            &area->window_capacity, area->window_count + 1,
                            sizeof *area->windows)) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "no host memory for the records of a window");
  }
  uint64_t start = is_file ? next_file_offset(area) : 0;
  if (is_file && (start + wanted) / area->unit_bytes >= UINT32_MAX) {
    return tegi_error_set(err, TEG_OUT_OF_MEMORY,
                          "the heap file would have more than 2^32 tiles");
  }
  void* pointer = NULL;
  int native;
  for (;;) {
    native = is_file ? tegi_hostdev_os_map_window(device->file, start, wanted,
                                                  &pointer)
                     : tegi_hostdev_os_map_anonymous(wanted, &pointer);
    if (native != ENOMEM || wanted / 2 < size) break;
    wanted = tegi_align_up(wanted / 2, area->unit_bytes);
  }
  if (native) {
    return tegi_error_native(err, TEG_OUT_OF_MEMORY, "host", native,
                             "cannot map %llu bytes of addresses: %s",
                             (unsigned long long)wanted, strerror(native));
  }
  if (!is_file) start = (uint64_t)(uintptr_t)pointer;
  if (!tegi_hostdev_space_add(&area->space, start, wanted)) {
    tegi_hostdev_os_release(pointer, wanted);
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "no host memory for the records of a window");
  }
  area->windows[area->window_count++] =
      (tegi_hostdev_window){start, wanted, pointer};
  return TEG_OK;
}

// Takes |size| bytes, a multiple of the unit, adding a window if needed.
static teg_result area_take(tegi_hostdev* device, tegi_hostdev_area* area,
                            uint64_t size, uint64_t* out_start,
                            teg_error* err) {
  tegi_hostdev_take taken =
      tegi_hostdev_space_take(&area->space, size, out_start);
  if (taken == TEGI_HOSTDEV_NO_ROOM) {
    teg_result result = window_add(device, area, size, err);
    if (result != TEG_OK) return result;
    taken = tegi_hostdev_space_take(&area->space, size, out_start);
  }
  if (taken != TEGI_HOSTDEV_TAKEN) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "no host memory for the records of an allocation");
  }
  area->used_bytes += size;
  return TEG_OK;
}

static void area_give(tegi_hostdev_area* area, uint64_t start, uint64_t size) {
  tegi_hostdev_space_give(&area->space, start, size);
  area->used_bytes -= size;
}

static uint8_t* area_pointer(const tegi_hostdev_area* area, uint64_t start) {
  for (size_t i = area->window_count; i-- > 0;) {
    const tegi_hostdev_window* window = &area->windows[i];
    if (start >= window->start && start - window->start < window->size) {
      return window->pointer + (start - window->start);
    }
  }
  return NULL;
}

// The end of the highest heap.
static uint64_t used_file_end(const tegi_hostdev_area* area) {
  for (size_t i = area->window_count; i-- > 0;) {
    const tegi_hostdev_window* window = &area->windows[i];
    uint64_t end = window->start + window->size;
    uint64_t used_end = tegi_hostdev_space_free_before(&area->space, end);
    if (used_end != window->start) return used_end;
  }
  return 0;
}

static tegi_hostdev_memory* memory_new(tegi_hostdev* device,
                                       tegi_hostdev_kind kind, uint64_t size,
                                       teg_error* err) {
  tegi_hostdev_memory* memory = tegi_host_alloc(&device->host, sizeof *memory);
  if (!memory) {
    tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                   "no host memory for the record of a buffer or heap");
    return NULL;
  }
  memory->magic = MEMORY_MAGIC;
  memory->kind = kind;
  memory->size = size;
  return memory;
}

teg_result tegi_hostdev_buffer_create(teg_backend_device* base, uint64_t size,
                                      teg_memory** out_memory, teg_error* err) {
  *out_memory = NULL;
  tegi_hostdev* device = tegi_hostdev_from(base);
  teg_result result = tegi_hostdev_check_size(device, "buffer", size,
                                              TEGI_HOSTDEV_GRANULARITY, err);
  if (result != TEG_OK) return result;
  bool is_small = size < TEGI_HOSTDEV_SMALL_BYTES;
  tegi_hostdev_memory* memory = memory_new(
      device, is_small ? TEGI_HOSTDEV_SMALL_BUFFER : TEGI_HOSTDEV_BUFFER, size,
      err);
  if (!memory) return TEG_OUT_OF_HOST_MEMORY;
  if (is_small) {
    memory->pointer =
        aligned_alloc((size_t)TEGI_HOSTDEV_GRANULARITY, (size_t)size);
    if (!memory->pointer) {
      result = tegi_error_set(err, TEG_OUT_OF_MEMORY, "no memory for a buffer");
    }
  } else {
    memory->space_size = tegi_align_up(size, device->page_bytes);
    tegi_mutex_lock(&device->memory_lock);
    result = area_take(device, &device->buffers, memory->space_size,
                       &memory->space_start, err);
    if (result == TEG_OK) {
      memory->pointer = area_pointer(&device->buffers, memory->space_start);
    }
    tegi_mutex_unlock(&device->memory_lock);
  }
  if (result != TEG_OK) {
    tegi_host_free(&device->host, memory, sizeof *memory);
    return result;
  }
  tegi_fetch_add_relaxed(&device->object_count, 1);
  *out_memory = (teg_memory*)(void*)memory;
  return TEG_OK;
}

// Makes the file reach |end|, which is past its end.
static teg_result file_grow(tegi_hostdev* device, uint64_t end,
                            teg_error* err) {
  uint64_t limit = tegi_hostdev_os_file_size_limit();
  if (end > limit) {
    return tegi_error_native(
        err, TEG_OUT_OF_MEMORY, "host", EFBIG,
        "the heap file would have %llu bytes, and the limit of file sizes "
        "(RLIMIT_FSIZE, ulimit -f) is %llu",
        (unsigned long long)end, (unsigned long long)limit);
  }
  int native = tegi_hostdev_os_file_resize(device->file, end);
  if (native) {
    return tegi_error_native(err, TEG_OUT_OF_MEMORY, "host", native,
                             "cannot grow the heap file to %llu bytes: %s",
                             (unsigned long long)end, strerror(native));
  }
  device->file_bytes = end;
  return TEG_OK;
}

// Takes a file range and makes the file reach its end.
static teg_result heap_take(tegi_hostdev* device, tegi_hostdev_memory* heap,
                            teg_error* err) {
  teg_result result = area_take(device, &device->heaps, heap->space_size,
                                &heap->space_start, err);
  if (result != TEG_OK) return result;
  uint64_t end = heap->space_start + heap->space_size;
  if (end > device->file_bytes) {
    result = file_grow(device, end, err);
    if (result != TEG_OK) {
      area_give(&device->heaps, heap->space_start, heap->space_size);
      return result;
    }
  }
  heap->pointer = area_pointer(&device->heaps, heap->space_start);
  heap->tile_count = (uint32_t)(heap->size / device->tile_bytes);
  heap->first_slot = (uint32_t)(heap->space_start / device->tile_bytes) + 1;
  return TEG_OK;
}

teg_result tegi_hostdev_heap_create(teg_backend_device* base, uint64_t size,
                                    teg_memory** out_heap, teg_error* err) {
  *out_heap = NULL;
  tegi_hostdev* device = tegi_hostdev_from(base);
  teg_result result = tegi_hostdev_check_size(
      device, "heap", size,
      device->has_remap ? device->tile_bytes : TEGI_HOSTDEV_GRANULARITY, err);
  if (result != TEG_OK) return result;
  tegi_hostdev_memory* heap = memory_new(device, TEGI_HOSTDEV_HEAP, size, err);
  if (!heap) return TEG_OUT_OF_HOST_MEMORY;
  heap->space_size = tegi_align_up(size, device->heaps.unit_bytes);
  tegi_mutex_lock(&device->memory_lock);
  result = heap_take(device, heap, err);
  tegi_mutex_unlock(&device->memory_lock);
  if (result != TEG_OK) {
    tegi_host_free(&device->host, heap, sizeof *heap);
    return result;
  }
  tegi_fetch_add_relaxed(&device->object_count, 1);
  *out_heap = (teg_memory*)(void*)heap;
  return TEG_OK;
}

static void heap_destroy(tegi_hostdev* device, tegi_hostdev_memory* heap) {
  // The pages go before the range is free for another heap. A hole that
  // cannot be made only keeps them until the file ends or the range is used.
  (void)tegi_hostdev_os_file_punch(device->file, heap->space_start,
                                   heap->space_size);
  tegi_mutex_lock(&device->memory_lock);
  area_give(&device->heaps, heap->space_start, heap->space_size);
  uint64_t end = used_file_end(&device->heaps);
  if (end < device->file_bytes &&
      tegi_hostdev_os_file_resize(device->file, end) == 0) {
    device->file_bytes = end;
  }
  tegi_mutex_unlock(&device->memory_lock);
}

void tegi_hostdev_memory_destroy(teg_backend_device* base, teg_memory* memory) {
  if (!memory) return;
  tegi_hostdev* device = tegi_hostdev_from(base);
  tegi_hostdev_memory* host_memory = tegi_hostdev_memory_from(memory);
  switch (host_memory->kind) {
    case TEGI_HOSTDEV_SMALL_BUFFER:
      free(host_memory->pointer);
      break;
    case TEGI_HOSTDEV_BUFFER:
      (void)tegi_hostdev_os_drop_pages(host_memory->pointer,
                                       host_memory->space_size);
      tegi_mutex_lock(&device->memory_lock);
      area_give(&device->buffers, host_memory->space_start,
                host_memory->space_size);
      tegi_mutex_unlock(&device->memory_lock);
      break;
    case TEGI_HOSTDEV_HEAP:
      heap_destroy(device, host_memory);
      break;
    case TEGI_HOSTDEV_RANGE:
      // Ranges are released, not destroyed.
      TEG_ASSERT(host_memory->kind != TEGI_HOSTDEV_RANGE);
      return;
  }
  host_memory->magic = 0;
  tegi_host_free(&device->host, host_memory, sizeof *host_memory);
  tegi_fetch_add_relaxed(&device->object_count, (uint64_t)-1);
}
