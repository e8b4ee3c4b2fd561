// SPDX-License-Identifier: Apache-2.0
//
// A kernel: a program that a dispatch runs on the device. It is given in the
// forms it has, SPIR-V for Vulkan, a C function for host and null; a device
// takes the form it understands (teg_kernel_params in backend.h says how
// bindings are numbered). Belongs to its device and is used by any session of
// it. Threads: any.
#ifndef TEGULA_KERNEL_H
#define TEGULA_KERNEL_H

#include "tegula/backend.h"
#include "tegula/device.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct teg_kernel teg_kernel;

#define TEG_KERNEL_PARAMS_INIT \
  { sizeof(teg_kernel_params), 0, 0, 0, 0, 0, 0, 0, 0, 0 }

// Everything in |params| is copied, |user| is handed to |function|.
// Returns TEG_UNSUPPORTED where the device has no kernels or understands none
// of the forms, TEG_INVALID for SPIR-V that is none, or whose bindings are not
// those that |params| declares.
TEG_API TEG_NODISCARD teg_result
teg_kernel_create(teg_device* device, const teg_kernel_params* params,
                  teg_kernel** out_kernel, teg_error* err);
// Dispatches that are recorded or on their way still run. NULL is fine. Every
// kernel is destroyed before its device.
TEG_API void teg_kernel_destroy(teg_kernel* kernel);

TEG_API const char* teg_kernel_name(const teg_kernel* kernel);

#ifdef __cplusplus
}
#endif

#endif  // TEGULA_KERNEL_H
