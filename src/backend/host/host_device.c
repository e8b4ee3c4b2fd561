// SPDX-License-Identifier: Apache-2.0
//
// Opening and closing the host device, its capabilities, and host.h.
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

#include "backend/host/host_backend.h"
#include "backend/host/host_dispatch.h"
#include "backend/host/host_os.h"
#include "backend/host/host_register.h"
#include "base/checked.h"
#include "base/error.h"
#include "tegula/host.h"

#define DEVICE_MAGIC 0x686f7374u

static_assert(offsetof(tegi_hostdev, base) == 0, "base comes first");

tegi_hostdev* tegi_hostdev_from(teg_backend_device* base) {
  tegi_hostdev* device = (tegi_hostdev*)(void*)base;
  TEG_ASSERT(device && device->magic == DEVICE_MAGIC);
  return device;
}

teg_result tegi_hostdev_check_alive(tegi_hostdev* device, teg_error* err) {
  if (!atomic_load_explicit(&device->is_lost, memory_order_relaxed)) {
    return TEG_OK;
  }
  return tegi_error_set(err, TEG_DEVICE_LOST,
                        "an earlier failure left tiles unmapped that are in "
                        "use");
}

static uint64_t max_allocation_bytes(const tegi_hostdev* device) {
  return tegi_align_down(device->total_bytes, TEGI_HOSTDEV_MAX_TILE_BYTES);
}

teg_result tegi_hostdev_check_size(tegi_hostdev* device, const char* what,
                                   uint64_t size, uint64_t unit,
                                   teg_error* err) {
  if (size == 0 || size > TEGI_MAX_BYTES || size % unit != 0) {
    return tegi_error_set(
        err, TEG_INVALID,
        "%s: %llu bytes is not a positive multiple of %llu of at most 2^62",
        what, (unsigned long long)size, (unsigned long long)unit);
  }
  if (size > max_allocation_bytes(device)) {
    return tegi_error_set(
        err, TEG_OUT_OF_MEMORY,
        "%s: %llu bytes is more than one allocation may have, %llu", what,
        (unsigned long long)size,
        (unsigned long long)max_allocation_bytes(device));
  }
  return tegi_hostdev_check_alive(device, err);
}

static void close_device(teg_backend_device* base) {
  if (!base) return;
  tegi_hostdev* device = tegi_hostdev_from(base);
  tegi_hostdev_queue_deinit(device);
  uint64_t left = tegi_load_relaxed(&device->object_count);
  if (left && device->log.write) {
    char line[96];
    snprintf(line, sizeof line,
             "host: closed with %llu memories, ranges or streams alive",
             (unsigned long long)left);
    device->log.write(device->log.user, TEG_LOG_ERROR, line);
  }
  tegi_hostdev_memory_deinit(device);
  tegi_mutex_destroy(&device->memory_lock);
  close(device->file);
  device->magic = 0;
  // The allocator lives in what it frees.
  tegi_host host;
  tegi_host_init(&host, &device->host.allocator, NULL);
  tegi_host_free(&host, device, sizeof *device);
}

static void query_caps(teg_backend_device* base, teg_backend_caps* out_caps) {
  tegi_hostdev* device = tegi_hostdev_from(base);
  teg_backend_flags flags = TEG_BACKEND_UNIFIED;
  if (device->is_told) flags |= TEG_BACKEND_TOLD;
  *out_caps = (teg_backend_caps){
      .struct_size = sizeof *out_caps,
      .flags = flags,
      .buffer_alignment = TEGI_HOSTDEV_GRANULARITY,
      .buffer_granularity = TEGI_HOSTDEV_GRANULARITY,
      .max_allocation_bytes = max_allocation_bytes(device),
      .max_binding_bytes = TEGI_MAX_BYTES,
      .tile_bytes = device->tile_bytes,
      .max_mapping_count = device->mappings.limit,
      .total_bytes = device->total_bytes,
      .binding_alignment = 4,
      .parameter_alignment = 16,
      .max_parameter_bytes = 65536,
      .max_group_count = {UINT32_MAX, UINT32_MAX, UINT32_MAX},
      .remap = device->has_remap ? TEG_REMAP_AT_ONCE : TEG_REMAP_NONE,
  };
}

static uint64_t query_available(teg_backend_device* base) {
  (void)base;
  return tegi_hostdev_os_available_bytes();
}

static const teg_device_ops device_ops = {
    .abi_version = TEG_BACKEND_ABI_VERSION,
    .struct_size = sizeof(teg_device_ops),
    .close = close_device,
    .query_caps = query_caps,
    .query_available = query_available,
    .buffer_create = tegi_hostdev_buffer_create,
    .heap_create = tegi_hostdev_heap_create,
    .memory_destroy = tegi_hostdev_memory_destroy,
};

static void* host_pointer(teg_backend_device* device, teg_memory* memory) {
  (void)device;
  return tegi_hostdev_memory_from(memory)->pointer;
}

static const teg_map_ops map_ops = {
    .abi_version = TEG_BACKEND_ABI_VERSION,
    .struct_size = sizeof(teg_map_ops),
    .host_pointer = host_pointer,
};

static teg_result probe(uint32_t* out_device_count, teg_error* err) {
  (void)err;
  *out_device_count = 1;
  return TEG_OK;
}

static teg_result check_params(const teg_backend_open_params* params,
                               teg_error* err) {
  TEG_REQUIRE(params->device_index == 0, err,
              "host: there is only device 0, not %u", params->device_index);
  uint64_t tile_bytes = params->tile_bytes;
  uint64_t page_bytes = tegi_hostdev_os_page_bytes();
  TEG_REQUIRE(tile_bytes == 0 || (tegi_is_power_of_two(tile_bytes) &&
                                  tile_bytes >= page_bytes &&
                                  tile_bytes <= TEGI_HOSTDEV_MAX_TILE_BYTES),
              err,
              "host: a tile of %llu bytes is not a power of two from %llu to "
              "%llu",
              (unsigned long long)tile_bytes, (unsigned long long)page_bytes,
              (unsigned long long)TEGI_HOSTDEV_MAX_TILE_BYTES);
  return TEG_OK;
}

// Makes everything but the object itself.
static teg_result init_device(tegi_hostdev* device,
                              const teg_backend_open_params* params,
                              teg_error* err) {
  teg_result result = tegi_mutex_init(&device->memory_lock);
  if (result != TEG_OK) {
    return tegi_error_set(err, result, "host: cannot make a lock");
  }
  result = tegi_hostdev_queue_init(device);
  if (result != TEG_OK) {
    tegi_mutex_destroy(&device->memory_lock);
    return tegi_error_set(err, result, "host: cannot make the queue");
  }
  tegi_mappings_init(&device->mappings, "host", params->max_mapping_count);
  result = tegi_hostdev_memory_init(device, err);
  if (result != TEG_OK) {
    tegi_hostdev_queue_deinit(device);
    tegi_mutex_destroy(&device->memory_lock);
  }
  return result;
}

static teg_result open_device(const teg_backend_open_params* params,
                              teg_backend_device** out_device, teg_error* err) {
  *out_device = NULL;
  teg_result result = check_params(params, err);
  if (result != TEG_OK) return result;
  tegi_host host;
  result = tegi_host_init(&host, &params->allocator, err);
  if (result != TEG_OK) return result;
  tegi_hostdev* device =
      tegi_host_alloc_aligned(&host, sizeof *device, TEGI_CACHE_LINE);
  if (!device) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "host: no host memory for the device");
  }
  tegi_host_init(&device->host, &params->allocator, NULL);
  device->magic = DEVICE_MAGIC;
  device->log = params->log;
  device->page_bytes = tegi_hostdev_os_page_bytes();
  device->total_bytes = tegi_hostdev_os_total_bytes();
  device->tile_bytes =
      params->tile_bytes
          ? params->tile_bytes
          : tegi_max_u64(TEGI_HOSTDEV_DEFAULT_TILE_BYTES, device->page_bytes);
  device->has_remap = !params->is_remap_disabled;
  device->is_told = params->is_told;
  result = init_device(device, params, err);
  if (result != TEG_OK) {
    tegi_host_free(&host, device, sizeof *device);
    return result;
  }
  device->base.tables = (teg_backend_tables){
      .device = &device_ops,
      .remap = device->has_remap ? &tegi_hostdev_remap_ops : NULL,
      .map = &map_ops,
      .queue = &tegi_hostdev_queue_ops,
      .kernel = &tegi_hostdev_kernel_ops,
  };
  *out_device = &device->base;
  return TEG_OK;
}

static teg_result describe(uint32_t device_index,
                           teg_device_description* out_description,
                           teg_error* err) {
  TEG_REQUIRE(device_index == 0, err, "host: there is only device 0, not %u",
              device_index);
  uint64_t total_bytes = tegi_hostdev_os_total_bytes();
  *out_description = (teg_device_description){
      .struct_size = sizeof *out_description,
      .type = TEG_DEVICE_HOST,
      .name = "this machine's memory",
      .driver = "tegula",
      .heap_count = 1,
      .heaps = {{.bytes = total_bytes,
                 .available_bytes = tegi_hostdev_os_available_bytes(),
                 .is_device_local = true,
                 .is_mappable = true}},
      .tile_bytes = tegi_max_u64(TEGI_HOSTDEV_DEFAULT_TILE_BYTES,
                                 tegi_hostdev_os_page_bytes()),
      .remap = TEG_REMAP_AT_ONCE,
      .mappable_bytes = total_bytes,
      .max_binding_bytes = TEGI_MAX_BYTES,
  };
  return TEG_OK;
}

const teg_backend_ops tegi_hostdev_backend = {
    .abi_version = TEG_BACKEND_ABI_VERSION,
    .struct_size = sizeof(teg_backend_ops),
    .name = "host",
    .summary = "the host's memory playing a device; always there",
    .probe = probe,
    .open = open_device,
    .describe = describe,
};

// ---- host.h

// NULL if |base| is some other backend's.
static tegi_hostdev* device_of(teg_backend_device* base) {
  bool is_host = base && base->tables.device == &device_ops;
  return is_host ? tegi_hostdev_from(base) : NULL;
}

teg_result teg_host_get_info(teg_backend_device* base,
                             teg_host_info* out_info) {
  tegi_hostdev* device = device_of(base);
  if (!device || !out_info || out_info->struct_size < sizeof *out_info) {
    return TEG_INVALID;
  }
  tegi_mutex_lock(&device->memory_lock);
  *out_info = (teg_host_info){
      .struct_size = out_info->struct_size,
      .file_descriptor = device->file,
      .page_bytes = device->page_bytes,
      .heap_bytes = device->heaps.used_bytes,
      .heap_file_bytes = device->file_bytes,
      .large_buffer_bytes = device->buffers.used_bytes,
      .mapping_count = tegi_load_relaxed(&device->mappings.count),
      .mapping_limit = device->mappings.limit,
      .object_count = tegi_load_relaxed(&device->object_count),
  };
  tegi_mutex_unlock(&device->memory_lock);
  return TEG_OK;
}

uint64_t teg_host_run_batches(teg_backend_device* base, uint64_t max_count) {
  tegi_hostdev* device = device_of(base);
  if (!device || !device->is_told) return 0;
  return tegi_hostdev_queue_run(device, max_count);
}
