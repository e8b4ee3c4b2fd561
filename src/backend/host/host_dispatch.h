// SPDX-License-Identifier: Apache-2.0
//
// Dispatches of C functions, for host and for null on top of it: the bindings,
// the parameters and the indirect counts of one are a flat list of bytes.
#ifndef TEGULA_BACKEND_HOST_DISPATCH_H
#define TEGULA_BACKEND_HOST_DISPATCH_H

#include "base/memory.h"
#include "tegula/backend.h"

enum { TEGI_HOSTDEV_MOST_FLAT = TEG_MOST_BINDINGS + 2 };

typedef struct tegi_hostdev_kernel {
  teg_host_kernel function;
  void* user;
} tegi_hostdev_kernel;

// What the list means.
typedef struct tegi_hostdev_shape {
  tegi_hostdev_kernel kernel;
  uint32_t binding_count;
  uint32_t group_count[3];
  bool has_parameters;  // behind the bindings
  bool is_indirect;     // last
} tegi_hostdev_shape;

static inline tegi_hostdev_kernel* tegi_hostdev_kernel_from(
    teg_backend_kernel* kernel) {
  return (tegi_hostdev_kernel*)(void*)kernel;
}

// Lays |dispatch| out flat; returns how many entries |out_flat|, of
// TEGI_HOSTDEV_MOST_FLAT, has.
uint32_t tegi_hostdev_flatten(const teg_dispatch* dispatch,
                              tegi_hostdev_shape* out_shape,
                              teg_binding* out_flat);
// Calls the function on the bytes of the list.
teg_result tegi_hostdev_invoke(const tegi_hostdev_shape* shape,
                               void* const* pointers, const uint64_t* sizes);

// A command that is |function|, called with the bytes of the bindings: what
// null records every command as.
typedef teg_result (*tegi_hostdev_function)(void* user, void* const* pointers,
                                            const uint64_t* sizes);
teg_result tegi_hostdev_record_call(teg_queue_stream* stream,
                                    tegi_hostdev_function function, void* user,
                                    const teg_binding* bindings,
                                    uint32_t binding_count, teg_error* err);

// teg_kernel_ops.create and destroy with |host|'s memory.
teg_result tegi_hostdev_kernel_make(tegi_host* host,
                                    const teg_kernel_params* params,
                                    teg_backend_kernel** out_kernel,
                                    teg_error* err);
void tegi_hostdev_kernel_free(tegi_host* host, teg_backend_kernel* kernel);
extern const teg_kernel_ops tegi_hostdev_kernel_ops;

#endif  // TEGULA_BACKEND_HOST_DISPATCH_H
