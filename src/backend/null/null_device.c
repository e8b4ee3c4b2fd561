// SPDX-License-Identifier: Apache-2.0
//
// Opening and closing the null device, its switches, and null.h. What is
// opened is the checked device around it.
#include <stddef.h>
#include <string.h>

#include "backend/check/check_wrap.h"
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
static void on_new_owner(void* user, teg_memory* memory, uint64_t offset,
                         uint64_t size) {
  tegi_nulldev* device = user;
  uint8_t* pointer = tegi_nulldev_memory_from(memory)->pointer;
  uint64_t room = TEGI_NULLDEV_POISON_BYTES - device->poisoned_bytes;
  size = tegi_min_u64(size, room);
  tegi_hostdev_fill(pointer + offset, size, TEG_NULL_POISON);
  device->poisoned_bytes += size;
}

static void close_device(teg_backend_device* base) {
  if (!base) return;
  tegi_nulldev* device = tegi_nulldev_from(base);
  device->tables->device->close(device->inner);
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

static teg_result probe(uint32_t* out_device_count, teg_error* err) {
  return tegi_hostdev_backend.probe(out_device_count, err);
}

static teg_result open_host(tegi_nulldev* device,
                            const teg_backend_open_params* params,
                            teg_error* err) {
  teg_backend_open_params inner_params = *params;
  inner_params.is_told = true;
  teg_result result =
      tegi_hostdev_backend.open(&inner_params, &device->inner, err);
  if (result == TEG_OK) device->tables = &device->inner->tables;
  return result;
}

// The device itself, not checked yet.
static teg_result open_null(const teg_backend_open_params* params,
                            tegi_nulldev** out_device, teg_error* err) {
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
  result = open_host(device, params, err);
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
  };
  *out_device = device;
  return TEG_OK;
}

static teg_result open_device(const teg_backend_open_params* params,
                              teg_backend_device** out_device, teg_error* err) {
  *out_device = NULL;
  tegi_nulldev* device = NULL;
  teg_result result = open_null(params, &device, err);
  if (result != TEG_OK) return result;
  tegi_check_params check = {
      .allocator = params->allocator,
      .next_command = tegi_nulldev_next_command,
      .on_new_owner = on_new_owner,
      .user = device,
  };
  result = tegi_check_wrap(&device->base, &check, out_device, err);
  if (result != TEG_OK) close_device(&device->base);
  return result;
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
  teg_backend_device* inner = tegi_check_inner(base);
  bool is_null = inner && inner->tables.device == &device_ops;
  return is_null ? tegi_nulldev_from(inner) : NULL;
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
  if (!device) return 0;
  uint64_t count = teg_host_run_batches(device->inner, max_count);
  tegi_check_observe_all(base);
  return count;
}

teg_result teg_null_get_report(teg_backend_device* base,
                               teg_null_report* out_report) {
  tegi_nulldev* device = device_of(base);
  if (!device || !out_report || out_report->struct_size < sizeof *out_report) {
    return TEG_INVALID;
  }
  out_report->hazard_count = base->tables.check->get_report(
      base, out_report->first_hazard, sizeof out_report->first_hazard);
  tegi_mutex_lock(&device->mutex);
  out_report->counted_calls = device->faults.counted_calls;
  out_report->failed_calls = device->faults.failed_calls;
  out_report->used_bytes = device->used_bytes;
  tegi_mutex_unlock(&device->mutex);
  return TEG_OK;
}

void teg_null_reset_report(teg_backend_device* base) {
  if (device_of(base)) base->tables.check->reset_report(base);
}
