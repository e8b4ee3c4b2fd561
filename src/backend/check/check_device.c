// SPDX-License-Identifier: Apache-2.0
//
// Wrapping a device, and what the decorator is as a whole.
#include <stddef.h>

#include "backend/check/check_backend.h"
#include "backend/check/check_wrap.h"
#include "base/error.h"

#define DEVICE_MAGIC 0x6368646bu

static_assert(offsetof(tegi_checkdev, base) == 0, "base comes first");

tegi_checkdev* tegi_checkdev_from(teg_backend_device* base) {
  tegi_checkdev* device = (tegi_checkdev*)(void*)base;
  TEG_ASSERT(device && device->magic == DEVICE_MAGIC);
  return device;
}

static void free_device(tegi_checkdev* device) {
  if (device->bind_stream) tegi_checkdev_stream_drop(device->bind_stream);
  tegi_hazard_destroy(device->hazard);
  tegi_mutex_destroy(&device->mutex);
  device->magic = 0;
  // The allocator lives in what it frees.
  tegi_host host;
  tegi_host_init(&host, &device->host.allocator, NULL);
  tegi_host_free(&host, device, sizeof *device);
}

static void close_device(teg_backend_device* base) {
  if (!base) return;
  tegi_checkdev* device = tegi_checkdev_from(base);
  teg_backend_device* inner = device->inner;
  const teg_device_ops* ops = device->tables->device;
  // The device still asks while it closes.
  ops->close(inner);
  free_device(device);
}

static void query_caps(teg_backend_device* base, teg_backend_caps* out_caps) {
  tegi_checkdev* device = tegi_checkdev_from(base);
  device->tables->device->query_caps(device->inner, out_caps);
  out_caps->flags |= TEG_BACKEND_HAZARD_CHECKED;
}

static uint64_t query_available(teg_backend_device* base) {
  tegi_checkdev* device = tegi_checkdev_from(base);
  return device->tables->device->query_available(device->inner);
}

static void on_new_owner(void* user, void* memory_user, uint64_t offset,
                         uint64_t size) {
  tegi_checkdev* device = user;
  device->on_new_owner(device->user, memory_user, offset, size);
}

// A function that the device lacks is not there.
static void make_tables(tegi_checkdev* device) {
  const teg_backend_tables* inner = device->tables;
  device->device_ops = tegi_checkdev_memory_ops;
  device->device_ops.close = close_device;
  device->device_ops.query_caps = query_caps;
  device->device_ops.query_available = query_available;
  if (!inner->device->staging_create) device->device_ops.staging_create = NULL;
  device->queue_ops = tegi_checkdev_queue_ops;
  if (!inner->queue->record_timestamp) {
    device->queue_ops.record_timestamp = NULL;
    device->queue_ops.timestamp = NULL;
  }
  device->base.tables = (teg_backend_tables){
      .device = &device->device_ops,
      .queue = &device->queue_ops,
      .kernel = inner->kernel ? &tegi_checkdev_kernel_ops : NULL,
      .check = &tegi_checkdev_check_ops,
  };
  if (inner->remap) {
    device->remap_ops = tegi_checkdev_remap_ops;
    if (!inner->remap->bind_stream) device->remap_ops.bind_stream = NULL;
    device->base.tables.remap = &device->remap_ops;
  }
  if (inner->map) {
    device->map_ops = tegi_checkdev_map_ops;
    if (!inner->map->tile_pointer) device->map_ops.tile_pointer = NULL;
    if (!inner->map->is_cached) device->map_ops.is_cached = NULL;
    if (!inner->map->flush) device->map_ops.flush = NULL;
    if (!inner->map->invalidate) device->map_ops.invalidate = NULL;
    device->base.tables.map = &device->map_ops;
  }
}

static teg_result init_device(tegi_checkdev* device, teg_error* err) {
  const teg_remap_ops* remap = device->tables->remap;
  teg_backend_caps caps;
  device->tables->device->query_caps(device->inner, &caps);
  device->tile_bytes = remap ? caps.tile_bytes : 0;
  tegi_hazard_params params = {
      .host = &device->host,
      .tile_bytes = device->tile_bytes,
      .remap = remap ? caps.remap : TEG_REMAP_NONE,
      .is_asked = device->next_command != NULL,
      .on_new_owner = device->on_new_owner ? on_new_owner : NULL,
      .user = device,
  };
  teg_result result = tegi_hazard_create(&params, &device->hazard, err);
  if (result != TEG_OK || !remap || !remap->bind_stream) return result;
  return tegi_checkdev_stream_make(device, true,
                                   remap->bind_stream(device->inner),
                                   &device->bind_stream, err);
}

teg_result tegi_check_wrap(teg_backend_device* inner,
                           const tegi_check_params* params,
                           teg_backend_device** out_device, teg_error* err) {
  *out_device = NULL;
  tegi_host host;
  teg_result result = tegi_host_init(&host, &params->allocator, err);
  if (result != TEG_OK) return result;
  tegi_checkdev* device = tegi_host_alloc(&host, sizeof *device);
  if (!device || tegi_mutex_init(&device->mutex) != TEG_OK) {
    tegi_host_free(&host, device, sizeof *device);
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "no host memory for a checked device");
  }
  tegi_host_init(&device->host, &params->allocator, NULL);
  device->magic = DEVICE_MAGIC;
  device->inner = inner;
  device->tables = &inner->tables;
  device->next_command = params->next_command;
  device->on_new_owner = params->on_new_owner;
  device->user = params->user;
  result = init_device(device, err);
  if (result != TEG_OK) {
    free_device(device);
    return result;
  }
  make_tables(device);
  *out_device = &device->base;
  return TEG_OK;
}

teg_backend_device* tegi_check_inner(teg_backend_device* base) {
  bool is_checked = base && base->tables.check == &tegi_checkdev_check_ops;
  return is_checked ? tegi_checkdev_from(base)->inner : NULL;
}
