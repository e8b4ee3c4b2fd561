// SPDX-License-Identifier: Apache-2.0
//
// The Vulkan device. Shared by the files of this folder only.
//
//   buffer  a VkBuffer with a VkDeviceMemory of its own
//   heap    a VkDeviceMemory with one VkBuffer over all of it, so that a
//           placed range is that buffer and an offset
//   range   a VkBuffer with sparse residency and aliasing; tiles of heaps are
//           bound under it
//   stream  a timeline semaphore and command buffers, on the device's queue
//
// Buffers and heaps have host pointers where their memory type is coherent and
// the CPU reaches the whole heap. Ranges never have.
//
// Binds act when called: each is waited for (core remaps idle tiles only), and
// every batch begins with a global memory barrier, so that what follows a bind
// sees the new tiles. The barrier is global because a buffer barrier says
// nothing about another buffer over the same tile.
//
// Locks: queue_lock guards the two queues and the list of held batches.
#ifndef TEGULA_BACKEND_VULKAN_BACKEND_H
#define TEGULA_BACKEND_VULKAN_BACKEND_H

#include "backend/common/kernel_mappings.h"
#include "backend/common/tile_slots.h"
#include "backend/vulkan/vulkan_instance.h"
#include "base/atomic.h"
#include "base/thread.h"

#define TEGI_VK_MIN_TILE_BYTES (UINT64_C(64) << 10)
#define TEGI_VK_DEFAULT_TILE_BYTES (UINT64_C(2) << 20)
#define TEGI_VK_MAX_TILE_BYTES (UINT64_C(64) << 20)
// Least alignment and granularity of buffers, as on host.
#define TEGI_VK_GRANULARITY UINT64_C(256)

typedef struct tegi_vk_device tegi_vk_device;
typedef struct tegi_vk_batch tegi_vk_batch;

typedef enum tegi_vk_kind {
  TEGI_VK_BUFFER = 1,
  TEGI_VK_HEAP,
  TEGI_VK_RANGE,
} tegi_vk_kind;

// What a teg_memory is here.
typedef struct tegi_vk_memory {
  uint32_t magic;
  tegi_vk_kind kind;
  VkBuffer buffer;
  VkDeviceMemory memory;  // not of ranges
  void* pointer;          // NULL where the CPU does not reach it
  uint64_t size;
  uint32_t tile_count;     // heap
  uint32_t first_slot;     // heap: the number of its first tile
  tegi_slots slots;        // range
  uint32_t mapping_count;  // range: as the driver maps it, its ends included
} tegi_vk_memory;

// A semaphore that other streams' batches may still wait for when its stream
// is gone.
typedef struct tegi_vk_timeline {
  VkSemaphore semaphore;
  tegi_atomic_u32 reference_count;
} tegi_vk_timeline;

typedef struct tegi_vk_stream {
  uint32_t magic;
  tegi_vk_device* device;
  tegi_vk_timeline* timeline;  // its value is the last serial completed
  tegi_vk_batch* recording;    // NULL until something is recorded
  tegi_vk_batch* first_batch;  // submitted, oldest first
  tegi_vk_batch* last_batch;
  tegi_vk_batch* unused;
  tegi_atomic_u64 submitted;
  tegi_atomic_u64 told;  // told devices: the last serial a wait has reached
} tegi_vk_stream;

struct tegi_vk_device {
  teg_backend_device base;
  uint32_t magic;
  tegi_host host;
  tegi_vk_instance instance;
  tegi_vk_facts facts;
  VkDevice handle;
  tegi_vk_device_table vk;
  VkBufferUsageFlags usage;  // of every buffer
  uint64_t granularity;
  uint64_t tile_bytes;
  uint32_t buffer_type;  // memory types
  uint32_t heap_type;
  bool is_told;
  bool has_remap;
  _Atomic bool is_lost;

  tegi_mutex queue_lock;
  VkQueue queue;
  VkQueue bind_queue;         // often the same
  tegi_vk_batch* first_held;  // told: submitted, not yet handed over
  tegi_vk_batch* last_held;
  tegi_vk_timeline* bind_timeline;
  uint64_t bind_count;  // guarded by queue_lock

  tegi_vk_memory* scratch;       // of fills; see vulkan_queue.c
  tegi_mappings range_mappings;  // all-zero where tiles are not mappings
  tegi_mappings memory_mappings;
  bool has_mapping_limit;        // tiles of ranges are counted
  tegi_atomic_u64 next_slot;     // for heaps
  tegi_atomic_u64 sparse_bytes;  // of all ranges
  tegi_atomic_u64 object_count;  // memories and streams alive
};

// Checked casts.
tegi_vk_device* tegi_vk_device_from(teg_backend_device* base);
tegi_vk_memory* tegi_vk_memory_from(teg_memory* memory);

// TEG_DEVICE_LOST if the device is lost.
teg_result tegi_vk_check_alive(tegi_vk_device* device, teg_error* err);
// As tegi_vk_failed, and remembers a loss of the device.
teg_result tegi_vk_device_failed(tegi_vk_device* device, VkResult native,
                                 const char* what, teg_error* err);

// ---- vulkan_memory.c: buffers and heaps.
// Chooses memory types, and the tile size where remap is wanted and possible.
teg_result tegi_vk_memory_init(tegi_vk_device* device, uint64_t tile_bytes,
                               teg_error* err);
uint64_t tegi_vk_max_allocation_bytes(const tegi_vk_device* device);
teg_result tegi_vk_buffer_create(teg_backend_device* base, uint64_t size,
                                 teg_memory** out_memory, teg_error* err);
teg_result tegi_vk_heap_create(teg_backend_device* base, uint64_t size,
                               teg_memory** out_heap, teg_error* err);
void tegi_vk_memory_destroy(teg_backend_device* base, teg_memory* memory);
VkResult tegi_vk_create_buffer(const tegi_vk_device* device, uint64_t size,
                               VkBufferCreateFlags flags, VkBuffer* out_buffer);

// ---- vulkan_remap.c: ranges.
extern const teg_remap_ops tegi_vk_remap_ops;
#define TEGI_VK_RANGE_FLAGS                \
  (VK_BUFFER_CREATE_SPARSE_BINDING_BIT |   \
   VK_BUFFER_CREATE_SPARSE_RESIDENCY_BIT | \
   VK_BUFFER_CREATE_SPARSE_ALIASED_BIT)
uint64_t tegi_vk_max_range_bytes(const tegi_vk_device* device);

// ---- vulkan_queue.c: streams.
extern const teg_queue_ops tegi_vk_queue_ops;
teg_result tegi_vk_timeline_create(tegi_vk_device* device,
                                   tegi_vk_timeline** out_timeline,
                                   teg_error* err);
// NULL is fine.
void tegi_vk_timeline_release(tegi_vk_device* device,
                              tegi_vk_timeline* timeline);
// Until |timeline| has reached |value|.
VkResult tegi_vk_timeline_wait(const tegi_vk_device* device,
                               const tegi_vk_timeline* timeline,
                               uint64_t value);

#endif  // TEGULA_BACKEND_VULKAN_BACKEND_H
