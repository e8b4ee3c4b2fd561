// SPDX-License-Identifier: Apache-2.0
//
// tegula next to a program's own Vulkan: a device that tegula works with but
// does not own, and the objects behind its own. Vulkan's headers are not
// needed: handles are void* where Vulkan's are pointers on every machine
// (instance, physical device, device, queue) and uint64_t elsewhere.
//
//   the program's work after tegula's   wait for the stream's semaphore to
//                                       reach the serial of a batch
//   tegula's after the program's        teg_vulkan_stream_wait()
#ifndef TEGULA_VULKAN_H
#define TEGULA_VULKAN_H

#include "tegula/native.h"

#ifdef __cplusplus
extern "C" {
#endif

// What is enabled on the program's VkDevice.
typedef uint32_t teg_vulkan_features;
enum {
  TEG_VULKAN_TIMELINE_SEMAPHORE = 1u << 0,  // needed
  // All three are needed to move tiles; without them buffers are placed
  // inside heaps.
  TEG_VULKAN_SPARSE_BINDING = 1u << 1,
  TEG_VULKAN_SPARSE_RESIDENCY_BUFFER = 1u << 2,
  TEG_VULKAN_SPARSE_RESIDENCY_ALIASED = 1u << 3,
  TEG_VULKAN_BUFFER_DEVICE_ADDRESS = 1u << 4,
  TEG_VULKAN_MEMORY_BUDGET = 1u << 5,  // the extension VK_EXT_memory_budget
};

// A program's Vulkan 1.2 device. Its objects outlive the teg_device, which
// destroys none of them.
typedef struct teg_vulkan_adopt_params {
  uint32_t struct_size;
  teg_vulkan_features features;
  void* instance;
  void* physical_device;
  void* device;
  void* queue;                   // of a family that computes
  void* bind_queue;              // that binds sparsely; NULL = |queue|
  uint32_t queue_family;         // of |queue|
  uint32_t bind_queue_family;    // of |bind_queue|
  void* get_instance_proc_addr;  // NULL = of the machine's Vulkan loader
  // Called around every use of a queue, if other threads of the program use
  // the queues. They must not call tegula, and nobody who holds the lock may.
  // Both NULL = nobody else uses them.
  void (*lock)(void* user);
  void (*unlock)(void* user);
  void* user;
} teg_vulkan_adopt_params;

#define TEG_VULKAN_ADOPT_PARAMS_INIT                                        \
  {                                                                         \
    sizeof(teg_vulkan_adopt_params), 0, NULL, NULL, NULL, NULL, NULL, 0, 0, \
        NULL, NULL, NULL, NULL                                              \
  }

// As teg_device_create; |params| may be NULL, its backend and device_index are
// not read.
// Returns TEG_UNSUPPORTED, naming what is needed and not there; TEG_INVALID
//         for objects that are missing or do not fit each other.
static inline TEG_NODISCARD teg_result teg_device_adopt_vulkan(
    const teg_device_params* params, const teg_vulkan_adopt_params* adopt,
    teg_device** out_device, teg_error* err) {
  teg_device_params own = TEG_DEVICE_PARAMS_INIT;
  // Without one there is nothing to adopt: a size of 0 says so.
  static const teg_vulkan_adopt_params none = {
      0, 0, NULL, NULL, NULL, NULL, NULL, 0, 0, NULL, NULL, NULL, NULL};
  if (params) own = *params;
  own.backend = "vulkan";
  own.device_index = 0;
  own.adopt = adopt ? adopt : &none;
  return teg_device_create(&own, out_device, err);
}

// The objects of any Vulkan device. Its queues are tegula's alone unless they
// were adopted with a lock.
typedef struct teg_vulkan_device_info {
  uint32_t struct_size;
  teg_vulkan_features features;
  void* instance;
  void* physical_device;
  void* device;
  void* queue;
  void* bind_queue;  // NULL = tiles cannot be moved
  uint32_t queue_family;
  uint32_t bind_queue_family;
} teg_vulkan_device_info;

#define TEG_VULKAN_DEVICE_INFO_INIT \
  { sizeof(teg_vulkan_device_info), 0, NULL, NULL, NULL, NULL, NULL, 0, 0 }

static inline TEG_NODISCARD teg_result
teg_vulkan_device_handles(const teg_device* device,
                          teg_vulkan_device_info* out_info, teg_error* err) {
  return teg_device_native(device, "vulkan", out_info, err);
}

// Where a buffer's bytes are: in a VkBuffer with every usage that tegula has
// for it (transfer, storage, uniform, indirect, device address). The bytes
// beside them are others'.
// Where tiles can be moved, the memory is under the addresses once a batch
// that its stream submitted after the buffer was made has completed: what the
// program submits itself waits for one.
typedef struct teg_vulkan_buffer_info {
  uint32_t struct_size;
  uint64_t buffer;  // VkBuffer
  uint64_t offset;
  uint64_t address;  // of the buffer's first byte; 0 = not enabled
} teg_vulkan_buffer_info;

#define TEG_VULKAN_BUFFER_INFO_INIT \
  { sizeof(teg_vulkan_buffer_info), 0, 0, 0 }

static inline TEG_NODISCARD teg_result
teg_vulkan_buffer(const teg_buffer* buffer, teg_vulkan_buffer_info* out_info,
                  teg_error* err) {
  return teg_buffer_native(buffer, "vulkan", out_info, err);
}

// A stream's timeline semaphore: its value is the serial of the last batch
// that is complete. The program waits for it and never signals it.
// TEG_UNSUPPORTED on a device that only completes what it is told to.
typedef struct teg_vulkan_stream_info {
  uint32_t struct_size;
  uint64_t semaphore;  // VkSemaphore
} teg_vulkan_stream_info;

#define TEG_VULKAN_STREAM_INFO_INIT \
  { sizeof(teg_vulkan_stream_info), 0 }

static inline TEG_NODISCARD teg_result
teg_vulkan_stream_semaphore(const teg_stream* stream,
                            teg_vulkan_stream_info* out_info, teg_error* err) {
  return teg_stream_native(stream, "vulkan", out_info, err);
}

typedef struct teg_vulkan_event {
  uint32_t struct_size;
  uint64_t semaphore;  // VkSemaphore of the program, a timeline
  uint64_t value;
} teg_vulkan_event;

// The batch being recorded waits until |semaphore|, a timeline semaphore that
// lives until the batch is complete, has reached |value|.
static inline TEG_NODISCARD teg_result teg_vulkan_stream_wait(
    teg_stream* stream, uint64_t semaphore, uint64_t value, teg_error* err) {
  teg_vulkan_event event;
  event.struct_size = sizeof event;
  event.semaphore = semaphore;
  event.value = value;
  return teg_stream_wait_native(stream, "vulkan", &event, err);
}

#ifdef __cplusplus
}
#endif

#endif  // TEGULA_VULKAN_H
