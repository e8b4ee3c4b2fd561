// SPDX-License-Identifier: Apache-2.0
//
// Opening and closing the null device, its switches, and null.h.
#include <stddef.h>
#include <string.h>

#include "backend/host/host_fill.h"
#include "backend/host/host_register.h"
#include "backend/null/null_backend.h"
#include "backend/null/null_register.h"
#include "base/checked.h"
#include "base/error.h"
#include "tegula/host.h"

#define DEVICE_MAGIC 0x6e756c6cu

static_assert(offsetof(tegi_nulldev, base) == 0, "base comes first");

tegi_nulldev* tegi_nulldev_from(teg_backend_device* base) {
  tegi_nulldev* device = (tegi_nulldev*)(void*)base;
  TEG_ASSERT(device && device->magic == DEVICE_MAGIC);
  return device;
}

static bool must_fail(tegi_nulldev_faults* faults, teg_null_calls call) {
  if (!(faults->calls & call)) return false;
  faults->counted_calls++;
  if (faults->countdown == 0 || --faults->countdown > 0) return false;
  // Stays at the next call until all have failed.
  if (--faults->left_count > 0) faults->countdown = 1;
  faults->failed_calls++;
  return true;
}

teg_result tegi_nulldev_count_call(tegi_nulldev* device, teg_null_calls call,
                                   teg_error* err) {
  tegi_mutex_lock(&device->mutex);
  bool is_failing = must_fail(&device->faults, call);
  teg_result result = is_failing ? device->faults.result : TEG_OK;
  tegi_mutex_unlock(&device->mutex);
  if (result == TEG_OK) return TEG_OK;
  return tegi_error_set(err, result, "null: told to fail");
}

// Bytes get a new owner, in the command that executes now.
static void on_new_owner(void* user, void* memory_user, uint64_t offset,
                         uint64_t size) {
  tegi_nulldev* device = user;
  uint8_t* pointer = memory_user;
  uint64_t room = TEGI_NULLDEV_POISON_BYTES - device->poisoned_bytes;
  size = tegi_min_u64(size, room);
  tegi_hostdev_fill(pointer + offset, size, TEG_NULL_POISON);
  device->poisoned_bytes += size;
}

static void close_device(teg_backend_device* base) {
  if (!base) return;
  tegi_nulldev* device = tegi_nulldev_from(base);
  device->tables->device->close(device->inner);
  tegi_hazard_destroy(device->hazard);
  tegi_mutex_destroy(&device->mutex);
  device->magic = 0;
  // The allocator lives in what it frees.
  tegi_host host;
  tegi_host_init(&host, &device->host.allocator, NULL);
  tegi_host_free(&host, device, sizeof *device);
}

static void query_caps(teg_backend_device* base, teg_backend_caps* out_caps) {
  tegi_nulldev* device = tegi_nulldev_from(base);
  device->tables->device->query_caps(device->inner, out_caps);
  out_caps->flags |= TEG_BACKEND_HAZARD_CHECKED;
}

static uint64_t query_available(teg_backend_device* base) {
  tegi_nulldev* device = tegi_nulldev_from(base);
  uint64_t available = device->tables->device->query_available(device->inner);
  tegi_mutex_lock(&device->mutex);
  uint64_t left = device->budget_bytes > device->used_bytes
                      ? device->budget_bytes - device->used_bytes
                      : 0;
  tegi_mutex_unlock(&device->mutex);
  return tegi_min_u64(available, left);
}

static const teg_device_ops device_ops = {
    .abi_version = TEG_BACKEND_ABI_VERSION,
    .struct_size = sizeof(teg_device_ops),
    .close = close_device,
    .query_caps = query_caps,
    .query_available = query_available,
    .buffer_create = tegi_nulldev_buffer_create,
    .heap_create = tegi_nulldev_heap_create,
    .memory_destroy = tegi_nulldev_memory_destroy,
};

static void* host_pointer(teg_backend_device* device, teg_memory* memory) {
  (void)device;
  return tegi_nulldev_memory_from(memory)->pointer;
}

static const teg_map_ops map_ops = {
    .abi_version = TEG_BACKEND_ABI_VERSION,
    .struct_size = sizeof(teg_map_ops),
    .host_pointer = host_pointer,
};

static teg_result host_access(teg_backend_device* base, const teg_span* span,
                              bool is_read, bool is_written, teg_error* err) {
  tegi_nulldev* device = tegi_nulldev_from(base);
  tegi_nulldev_memory* memory = tegi_nulldev_memory_from(span->memory);
  TEG_REQUIRE(
      span->size <= memory->size && span->offset <= memory->size - span->size,
      err, "CPU access past the end of a memory");
  tegi_hazard_span access = {memory->hazard, span->offset, span->size,
                             span->owner,    is_read,      is_written};
  return tegi_hazard_host_access(device->hazard, &access, err);
}

static const teg_check_ops check_ops = {
    .abi_version = TEG_BACKEND_ABI_VERSION,
    .struct_size = sizeof(teg_check_ops),
    .host_access = host_access,
};

static teg_result probe(uint32_t* out_device_count, teg_error* err) {
  return tegi_hostdev_backend.probe(out_device_count, err);
}

static teg_result init_device(tegi_nulldev* device,
                              const teg_backend_open_params* params,
                              teg_error* err) {
  teg_backend_open_params inner_params = *params;
  inner_params.is_told = true;
  teg_result result =
      tegi_hostdev_backend.open(&inner_params, &device->inner, err);
  if (result != TEG_OK) return result;
  device->tables = &device->inner->tables;
  teg_backend_caps caps;
  device->tables->device->query_caps(device->inner, &caps);
  tegi_hazard_params hazard_params = {
      .host = &device->host,
      .tile_bytes = device->tables->remap ? caps.tile_bytes : 0,
      .remap = caps.remap,
      .on_new_owner = on_new_owner,
      .user = device,
  };
  result = tegi_hazard_create(&hazard_params, &device->hazard, err);
  if (result != TEG_OK) device->tables->device->close(device->inner);
  return result;
}

static teg_result open_device(const teg_backend_open_params* params,
                              teg_backend_device** out_device, teg_error* err) {
  *out_device = NULL;
  tegi_host host;
  teg_result result = tegi_host_init(&host, &params->allocator, err);
  if (result != TEG_OK) return result;
  tegi_nulldev* device = tegi_host_alloc(&host, sizeof *device);
  if (!device || tegi_mutex_init(&device->mutex) != TEG_OK) {
    tegi_host_free(&host, device, sizeof *device);
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "null: no host memory for the device");
  }
  tegi_host_init(&device->host, &params->allocator, NULL);
  device->magic = DEVICE_MAGIC;
  device->budget_bytes = UINT64_MAX;
  result = init_device(device, params, err);
  if (result != TEG_OK) {
    tegi_mutex_destroy(&device->mutex);
    tegi_host_free(&host, device, sizeof *device);
    return result;
  }
  device->base.tables = (teg_backend_tables){
      .device = &device_ops,
      .remap = device->tables->remap ? &tegi_nulldev_remap_ops : NULL,
      .map = &map_ops,
      .queue = &tegi_nulldev_queue_ops,
      .kernel = &tegi_nulldev_kernel_ops,
      .check = &check_ops,
  };
  *out_device = &device->base;
  return TEG_OK;
}

const teg_backend_ops tegi_nulldev_backend = {
    .abi_version = TEG_BACKEND_ABI_VERSION,
    .struct_size = sizeof(teg_backend_ops),
    .name = "null",
    .summary = "host that checks hazards, fails on demand and runs when told",
    .probe = probe,
    .open = open_device,
};

// ---- null.h

// NULL if |base| is some other backend's.
static tegi_nulldev* device_of(teg_backend_device* base) {
  bool is_null = base && base->tables.device == &device_ops;
  return is_null ? tegi_nulldev_from(base) : NULL;
}

teg_result teg_null_fail(teg_backend_device* base, teg_null_calls calls,
                         uint64_t k, uint64_t count, teg_result result) {
  tegi_nulldev* device = device_of(base);
  if (!device || (calls & ~(teg_null_calls)TEG_NULL_ALL_CALLS) ||
      (k && (count == 0 || result == TEG_OK))) {
    return TEG_INVALID;
  }
  tegi_mutex_lock(&device->mutex);
  device->faults = (tegi_nulldev_faults){
      .calls = calls, .countdown = k, .left_count = count, .result = result};
  tegi_mutex_unlock(&device->mutex);
  return TEG_OK;
}

teg_result teg_null_set_budget(teg_backend_device* base, uint64_t bytes) {
  tegi_nulldev* device = device_of(base);
  if (!device) return TEG_INVALID;
  tegi_mutex_lock(&device->mutex);
  device->budget_bytes = bytes;
  tegi_mutex_unlock(&device->mutex);
  return TEG_OK;
}

uint64_t teg_null_run_batches(teg_backend_device* base, uint64_t max_count) {
  tegi_nulldev* device = device_of(base);
  return device ? teg_host_run_batches(device->inner, max_count) : 0;
}

teg_result teg_null_get_report(teg_backend_device* base,
                               teg_null_report* out_report) {
  tegi_nulldev* device = device_of(base);
  if (!device || !out_report || out_report->struct_size < sizeof *out_report) {
    return TEG_INVALID;
  }
  out_report->hazard_count =
      tegi_hazard_get_report(device->hazard, out_report->first_hazard,
                             sizeof out_report->first_hazard);
  tegi_mutex_lock(&device->mutex);
  out_report->counted_calls = device->faults.counted_calls;
  out_report->failed_calls = device->faults.failed_calls;
  out_report->used_bytes = device->used_bytes;
  tegi_mutex_unlock(&device->mutex);
  return TEG_OK;
}

void teg_null_reset_report(teg_backend_device* base) {
  tegi_nulldev* device = device_of(base);
  if (device) tegi_hazard_reset(device->hazard);
}
