// SPDX-License-Identifier: Apache-2.0
//
// Commands that are C functions, without the ceremony: each call makes a
// kernel, dispatches it once and lets go of it. On host and null. All static.
#ifndef TEGULA_TESTS_CALL_H
#define TEGULA_TESTS_CALL_H

#include "base/atomic.h"
#include "tegula/stream.h"

typedef teg_result (*test_function)(void* user, void* const* pointers,
                                    const uint64_t* sizes,
                                    uint32_t binding_count);

typedef struct test_argument {
  teg_buffer* buffer;
  uint64_t offset;
  uint64_t size;  // 0 = to the end of the buffer
  bool is_read;
  bool is_written;
} test_argument;

typedef struct test_thunk {
  test_function function;
  void* user;
} test_thunk;

// A call's thunk lives until so many more are made.
enum { TEST_THUNKS = 1 << 16 };

static inline teg_result test_run_thunk(const teg_invocation* invocation) {
  const test_thunk* thunk = invocation->user;
  return thunk->function(thunk->user, invocation->pointers, invocation->sizes,
                         invocation->binding_count);
}

static inline test_thunk* test_new_thunk(test_function function, void* user) {
  static test_thunk pool[TEST_THUNKS];
  static tegi_atomic_u64 next;
  test_thunk* thunk = &pool[tegi_fetch_add_relaxed(&next, 1) % TEST_THUNKS];
  *thunk = (test_thunk){function, user};
  return thunk;
}

static inline teg_kernel_params test_kernel_params(test_function function,
                                                   void* user,
                                                   const teg_access* accesses,
                                                   uint32_t count) {
  teg_kernel_params params = {.struct_size = sizeof params};
  params.name = "test";
  params.function = test_run_thunk;
  params.user = test_new_thunk(function, user);
  params.bindings = accesses;
  params.binding_count = count;
  return params;
}

static inline teg_access test_access(bool is_read, bool is_written) {
  return (is_read ? TEG_ACCESS_READ : 0u) |
         (is_written ? TEG_ACCESS_WRITE : 0u);
}

// Through core, on a stream of |device|.
static inline teg_result test_stream_call(
    teg_device* device, teg_stream* stream, test_function function, void* user,
    const test_argument* arguments, uint32_t argument_count, teg_error* err) {
  static const uint32_t once[3] = {1, 1, 1};
  teg_access accesses[64];
  teg_argument passed[64];
  for (uint32_t i = 0; i < argument_count; ++i) {
    accesses[i] = test_access(arguments[i].is_read, arguments[i].is_written);
    passed[i] = (teg_argument){arguments[i].buffer, arguments[i].offset,
                               arguments[i].size};
  }
  teg_kernel_params params =
      test_kernel_params(function, user, accesses, argument_count);
  teg_kernel* kernel;
  teg_result result = teg_kernel_create(device, &params, &kernel, err);
  if (result != TEG_OK) return result;
  result = teg_stream_dispatch(stream, kernel, passed, argument_count, NULL,
                               once, err);
  teg_kernel_destroy(kernel);
  return result;
}

// Through a backend's tables.
static inline teg_result test_record_call(teg_backend_device* device,
                                          teg_queue_stream* stream,
                                          test_function function, void* user,
                                          const teg_binding* bindings,
                                          uint32_t count, teg_error* err) {
  const teg_kernel_ops* ops = device->tables.kernel;
  teg_access accesses[64];
  for (uint32_t i = 0; i < count; ++i) {
    accesses[i] = test_access(bindings[i].is_read, bindings[i].is_written);
  }
  teg_kernel_params params =
      test_kernel_params(function, user, accesses, count);
  teg_dispatch dispatch = {
      .bindings = bindings, .binding_count = count, .group_count = {1, 1, 1}};
  teg_result result = ops->create(device, &params, &dispatch.kernel, err);
  if (result != TEG_OK) return result;
  result = ops->record_dispatch(stream, &dispatch, err);
  ops->destroy(device, dispatch.kernel);
  return result;
}

#endif  // TEGULA_TESTS_CALL_H
