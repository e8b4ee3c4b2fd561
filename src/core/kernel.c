// SPDX-License-Identifier: Apache-2.0
//
// Kernels: what a program declares, beside what its device made of it.
#include "tegula/kernel.h"

#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "core/objects.h"

static teg_result check_bindings(const teg_kernel_params* params,
                                 teg_error* err) {
  TEG_REQUIRE(params->binding_count <= TEG_MOST_BINDINGS, err,
              "kernel \"%.60s\": %" PRIu32 " bindings, at most %d",
              params->name, params->binding_count, TEG_MOST_BINDINGS);
  TEG_REQUIRE(params->binding_count == 0 || params->bindings, err,
              "kernel \"%.60s\": bindings is NULL", params->name);
  for (uint32_t i = 0; i < params->binding_count; ++i) {
    teg_access access = params->bindings[i];
    TEG_REQUIRE(access >= TEG_ACCESS_READ && access <= TEG_ACCESS_READ_WRITE,
                err,
                "kernel \"%.60s\": binding %" PRIu32 " has access 0x%" PRIx32,
                params->name, i, access);
  }
  return TEG_OK;
}

static teg_result check_params(const teg_device* device,
                               const teg_kernel_params* params,
                               teg_error* err) {
  TEG_REQUIRE(device, err, "kernel_create: device is NULL");
  TEG_REQUIRE(params, err, "kernel_create: params is NULL");
  TEG_REQUIRE(params->struct_size == sizeof *params, err,
              "kernel_create: params->struct_size is %" PRIu32 ", expected %zu",
              params->struct_size, sizeof *params);
  TEG_REQUIRE(params->name && params->name[0], err,
              "kernel_create: the kernel has no name");
  if (!device->tables.kernel) {
    return tegi_error_set(err, TEG_UNSUPPORTED,
                          "kernel \"%.60s\": this device has no kernels",
                          params->name);
  }
  TEG_REQUIRE(!params->spirv_bytes || params->spirv, err,
              "kernel \"%.60s\": spirv is NULL", params->name);
  TEG_REQUIRE(
      params->parameter_bytes <= device->caps.max_parameter_bytes, err,
      "kernel \"%.60s\": %" PRIu32 " bytes of parameters, at most %" PRIu64,
      params->name, params->parameter_bytes, device->caps.max_parameter_bytes);
  return check_bindings(params, err);
}

teg_result teg_kernel_create(teg_device* device,
                             const teg_kernel_params* params,
                             teg_kernel** out_kernel, teg_error* err) {
  TEG_REQUIRE(out_kernel, err, "kernel_create: out_kernel is NULL");
  *out_kernel = NULL;
  teg_result result = check_params(device, params, err);
  if (result != TEG_OK) return result;
  size_t name_bytes = strlen(params->name) + 1;
  teg_kernel* kernel = tegi_host_alloc(&device->host, sizeof *kernel);
  char* name = tegi_host_alloc(&device->host, name_bytes);
  if (kernel && name) {
    result = device->tables.kernel->create(device->backend, params,
                                           &kernel->native, err);
  } else {
    result = tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                            "kernel \"%.60s\": no host memory", params->name);
  }
  if (result != TEG_OK) {
    tegi_host_free(&device->host, kernel, sizeof *kernel);
    tegi_host_free(&device->host, name, name_bytes);
    return result;
  }
  memcpy(name, params->name, name_bytes);
  kernel->device = device;
  kernel->name = name;
  kernel->binding_count = params->binding_count;
  kernel->parameter_bytes = params->parameter_bytes;
  for (uint32_t i = 0; i < params->binding_count; ++i) {
    kernel->bindings[i] = params->bindings[i];
  }
  *out_kernel = kernel;
  return TEG_OK;
}

void teg_kernel_destroy(teg_kernel* kernel) {
  if (!kernel) return;
  teg_device* device = kernel->device;
  device->tables.kernel->destroy(device->backend, kernel->native);
  tegi_host_free(&device->host, kernel->name, strlen(kernel->name) + 1);
  tegi_host_free(&device->host, kernel, sizeof *kernel);
}

const char* teg_kernel_name(const teg_kernel* kernel) {
  return kernel ? kernel->name : "";
}
