// SPDX-License-Identifier: Apache-2.0
//
// Kernels that are C functions. See host_dispatch.h.
#include "backend/host/host_dispatch.h"

#include <string.h>

#include "base/error.h"

uint32_t tegi_hostdev_flatten(const teg_dispatch* dispatch,
                              tegi_hostdev_shape* out_shape,
                              teg_binding* out_flat) {
  uint32_t count = dispatch->binding_count;
  *out_shape = (tegi_hostdev_shape){
      .kernel = *tegi_hostdev_kernel_from(dispatch->kernel),
      .binding_count = count,
      .has_parameters = dispatch->parameters.memory != NULL,
      .is_indirect = dispatch->indirect != NULL,
  };
  memcpy(out_shape->group_count, dispatch->group_count,
         sizeof out_shape->group_count);
  for (uint32_t i = 0; i < count; i++) out_flat[i] = dispatch->bindings[i];
  if (out_shape->has_parameters) {
    out_flat[count++] = (teg_binding){dispatch->parameters, true, false};
  }
  if (dispatch->indirect) {
    out_flat[count++] = (teg_binding){*dispatch->indirect, true, false};
  }
  return count;
}

teg_result tegi_hostdev_invoke(const tegi_hostdev_shape* shape,
                               void* const* pointers, const uint64_t* sizes) {
  uint32_t next = shape->binding_count;
  teg_invocation invocation = {.user = shape->kernel.user,
                               .pointers = pointers,
                               .sizes = sizes,
                               .binding_count = shape->binding_count};
  memcpy(invocation.group_count, shape->group_count,
         sizeof invocation.group_count);
  if (shape->has_parameters) {
    invocation.parameters = pointers[next];
    invocation.parameter_bytes = sizes[next++];
  }
  if (shape->is_indirect) {
    memcpy(invocation.group_count, pointers[next],
           sizeof invocation.group_count);
  }
  return shape->kernel.function(&invocation);
}

teg_result tegi_hostdev_kernel_make(tegi_host* host,
                                    const teg_kernel_params* params,
                                    teg_backend_kernel** out_kernel,
                                    teg_error* err) {
  *out_kernel = NULL;
  if (!params->function) {
    return tegi_error_set(err, TEG_UNSUPPORTED,
                          "kernel \"%.60s\" has no C function, the only form "
                          "that this device runs",
                          params->name);
  }
  tegi_hostdev_kernel* kernel = tegi_host_alloc(host, sizeof *kernel);
  if (!kernel) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "no host memory for kernel \"%.60s\"", params->name);
  }
  *kernel = (tegi_hostdev_kernel){params->function, params->user};
  *out_kernel = (teg_backend_kernel*)(void*)kernel;
  return TEG_OK;
}

// Commands have copied what they need.
void tegi_hostdev_kernel_free(tegi_host* host, teg_backend_kernel* kernel) {
  if (!kernel) return;
  tegi_host_free(host, kernel, sizeof(tegi_hostdev_kernel));
}
