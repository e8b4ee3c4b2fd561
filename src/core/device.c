// SPDX-License-Identifier: Apache-2.0
//
// Devices: opened from a backend of the registry, closed with everything that
// is left on them.
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "core/objects.h"
#include "core/registry.h"
#include "tegula/check.h"

// ---- Backends --------------------------------------------------------------

teg_result teg_backend_get_info(size_t index, teg_backend_info* out_info) {
  if (!out_info) return TEG_INVALID;
  for (size_t i = 0; i <= index; ++i) {
    if (!tegi_backends[i]) return TEG_END;
  }
  const teg_backend_ops* backend = tegi_backends[index];
  *out_info = (teg_backend_info){.struct_size = sizeof *out_info,
                                 .name = backend->name,
                                 .summary = backend->summary};
  teg_error_clear(&out_info->error);
  out_info->result = backend->probe(&out_info->device_count, &out_info->error);
  return TEG_OK;
}

teg_result teg_backend_describe(size_t index, uint32_t device_index,
                                teg_device_description* out_description,
                                teg_error* err) {
  TEG_REQUIRE(out_description, err, "backend_describe: no description");
  TEG_REQUIRE(out_description->struct_size == sizeof *out_description, err,
              "backend_describe: struct_size is %u, expected %zu",
              out_description->struct_size, sizeof *out_description);
  for (size_t i = 0; i <= index; ++i) {
    if (!tegi_backends[i]) return TEG_END;
  }
  const teg_backend_ops* backend = tegi_backends[index];
  if (!backend->describe) {
    return tegi_error_set(err, TEG_UNSUPPORTED,
                          "backend \"%s\" does not describe its devices",
                          backend->name);
  }
  return backend->describe(device_index, out_description, err);
}

static const teg_backend_ops* find_backend(const char* name, teg_error* err) {
  enum { MOST_BACKENDS = 16 };
  const char* names[MOST_BACKENDS + 1] = {NULL};
  for (int i = 0; tegi_backends[i] && i < MOST_BACKENDS; ++i) {
    if (strcmp(tegi_backends[i]->name, name) == 0) return tegi_backends[i];
    names[i] = tegi_backends[i]->name;
  }
  const char* nearest = tegi_nearest(name, names);
  (void)tegi_error_set(err, TEG_NOT_FOUND,
                       "no device backend is called \"%.100s\"%s%s%s", name,
                       nearest ? "; the nearest is \"" : "",
                       nearest ? nearest : "", nearest ? "\"" : "");
  return NULL;
}

static teg_result check_tables(const teg_backend_tables* tables,
                               teg_error* err) {
  bool is_complete =
      tables->device && tables->queue &&
      tables->device->abi_version == TEG_BACKEND_ABI_VERSION &&
      tables->device->struct_size >= sizeof(teg_device_ops) &&
      tables->queue->struct_size >= sizeof(teg_queue_ops) &&
      (!tables->remap || tables->remap->struct_size >= sizeof(teg_remap_ops)) &&
      (!tables->map || tables->map->struct_size >= sizeof(teg_map_ops)) &&
      (!tables->native ||
       tables->native->struct_size >= sizeof(teg_native_ops));
  if (is_complete) return TEG_OK;
  return tegi_error_set(err, TEG_BAD_VERSION,
                        "the backend's tables are of another version");
}

// ---- Log -------------------------------------------------------------------

void tegi_log_line(const teg_device* device, teg_log_level level,
                   const char* format, ...) {
  if (!device->log.write || level > device->log.level) return;
  char line[512];
  va_list args;
  va_start(args, format);
  vsnprintf(line, sizeof line, format, args);
  va_end(args);
  device->log.write(device->log.user, level, line);
}

// ---- Create and destroy ----------------------------------------------------

static teg_result check_backend(teg_device* device, teg_error* err) {
  teg_backend_caps caps = {.struct_size = sizeof caps};
  teg_backend_device* backend = device->backend;
  backend->tables.device->query_caps(backend, &caps);
  if (caps.flags & TEG_BACKEND_HAZARD_CHECKED) return TEG_OK;
  teg_backend_device* checked;
  teg_result result =
      tegi_backend_check(backend, &device->host.allocator, &checked, err);
  if (result == TEG_OK) device->backend = checked;
  return result;
}

static teg_result open_backend(teg_device* device,
                               const teg_device_params* params,
                               const teg_backend_ops* backend, teg_error* err) {
  const teg_options* options = &device->options;
  teg_backend_open_params open = {
      .struct_size = sizeof open,
      .device_index = params->device_index,
      .tile_bytes = options->tile_bytes,
      .max_mapping_count = options->mapping_limit,
      .is_remap_disabled = options->remap == TEGI_REMAP_OFF,
      .is_told = options->completion == TEGI_COMPLETION_TOLD,
      .adopt = params->adopt,
      .allocator = device->host.allocator,
      .log = device->log,
  };
  teg_result result = backend->open(&open, &device->backend, err);
  if (result != TEG_OK) return result;
  result = check_tables(&device->backend->tables, err);
  if (result == TEG_OK && options->check == TEGI_CHECK_ON) {
    result = check_backend(device, err);
  }
  if (result != TEG_OK) return result;
  device->tables = device->backend->tables;
  device->caps.struct_size = sizeof device->caps;
  device->tables.device->query_caps(device->backend, &device->caps);
  if (!device->tables.remap) device->caps.remap = TEG_REMAP_NONE;
  return tegi_binds_init(device, err);
}

static void destroy_device(teg_device* device) {
  (void)tegi_device_trim_lent(device);
  tegi_device_drop_heaps(device);
  tegi_heaps_destroy(&device->host, &device->heaps);
  tegi_slab_destroy(&device->extents);
  tegi_slab_destroy(&device->lent_blocks);
  tegi_host_free(&device->host, device->lent, sizeof *device->lent);
  tegi_host_free(&device->host, device->streams,
                 device->stream_capacity * sizeof *device->streams);
  if (device->backend) device->backend->tables.device->close(device->backend);
  tegi_binds_deinit(device);
  tegi_mutex_destroy(&device->registry);
  tegi_host host = {.allocator = device->host.allocator};
  tegi_host_free(&host, device, sizeof *device);
}

teg_result teg_device_create(const teg_device_params* params,
                             teg_device** out_device, teg_error* err) {
  TEG_REQUIRE(out_device, err, "device_create: out_device is NULL");
  *out_device = NULL;
  teg_device_params defaults = TEG_DEVICE_PARAMS_INIT;
  if (!params) params = &defaults;
  TEG_REQUIRE(params->struct_size == sizeof *params, err,
              "device_create: params->struct_size is %u, expected %zu",
              params->struct_size, sizeof *params);
  const teg_backend_ops* backend =
      find_backend(params->backend ? params->backend : "host", err);
  if (!backend) return TEG_NOT_FOUND;
  if (params->adopt && !backend->can_adopt) {
    return tegi_error_set(err, TEG_UNSUPPORTED,
                          "device_create: backend \"%.100s\" adopts no "
                          "objects of the program",
                          backend->name);
  }
  tegi_host host;
  teg_result result = tegi_host_init(&host, &params->allocator, err);
  if (result != TEG_OK) return result;
  teg_device* device = tegi_host_alloc_aligned(&host, sizeof *device, 64);
  if (!device || tegi_mutex_init(&device->registry) != TEG_OK) {
    tegi_host_free(&host, device, sizeof *device);
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "device_create: no host memory");
  }
  device->host.allocator = host.allocator;
  device->log = params->log;
  device->backend_name = backend->name;
  tegi_options_default(&device->options);
  if (params->options) tegi_options_copy(&device->options, params->options);
  tegi_slab_init(&device->extents, &device->host, sizeof(tegi_extent));
  tegi_slab_init(&device->lent_blocks, &device->host, sizeof(tegi_block));
  result = open_backend(device, params, backend, err);
  if (result != TEG_OK) {
    destroy_device(device);
    return result;
  }
  *out_device = device;
  return TEG_OK;
}

void teg_device_destroy(teg_device* device) {
  if (!device) return;
  while (device->sessions) teg_session_destroy(device->sessions);
  destroy_device(device);
}

void teg_device_get_caps(const teg_device* device, teg_backend_caps* out_caps) {
  if (device && out_caps) *out_caps = device->caps;
}

const char* teg_device_backend_name(const teg_device* device) {
  return device ? device->backend_name : "";
}

teg_backend_device* tegi_device_backend(teg_device* device) {
  return device->backend;
}

// ---- Check -----------------------------------------------------------------

teg_result teg_device_get_check_report(teg_device* device,
                                       teg_check_report* out_report,
                                       teg_error* err) {
  TEG_REQUIRE(device && out_report, err,
              "get_check_report: device or report is NULL");
  TEG_REQUIRE(out_report->struct_size == sizeof *out_report, err,
              "get_check_report: struct_size is %u, expected %zu",
              out_report->struct_size, sizeof *out_report);
  out_report->hazard_count = 0;
  out_report->first_hazard[0] = '\0';
  const teg_check_ops* check = device->tables.check;
  if (!check) {
    return tegi_error_set(err, TEG_UNSUPPORTED,
                          "this device is not checked: open it with the "
                          "option check=on");
  }
  out_report->hazard_count =
      check->get_report(device->backend, out_report->first_hazard,
                        sizeof out_report->first_hazard);
  return TEG_OK;
}

void teg_device_reset_check_report(teg_device* device) {
  if (!device || !device->tables.check) return;
  device->tables.check->reset_report(device->backend);
}

// ---- Trim ------------------------------------------------------------------

uint64_t teg_device_trim(teg_device* device, teg_trim_level level) {
  if (!device) return 0;
  uint64_t before = tegi_load_relaxed(&device->reserved_bytes);
  if (level == TEG_TRIM_UNUSED) {
    (void)tegi_device_trim_heaps(device, 1);
  } else {
    (void)tegi_device_trim_idle(device, NULL, level == TEG_TRIM_FREE);
    (void)tegi_device_trim_lent(device);
    (void)tegi_device_trim_heaps(device, 0);
  }
  uint64_t after = tegi_load_relaxed(&device->reserved_bytes);
  return before > after ? before - after : 0;
}
