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
//   kernel  a compute pipeline
//
// Buffers and heaps have host pointers where the CPU reaches their memory type.
// Ranges never have, but their tiles have those of their heaps.
//
// Binds act in queue order. They are batches of a stream of their own, the bind
// stream, and go to the queue that binds; semaphores order them with the
// batches of other streams, on one queue as well as between two.
//
// Locks: queue_lock guards the two queues and the list of held batches. Where
// the program shares its queues, its own lock is taken inside.
#ifndef TEGULA_BACKEND_VULKAN_BACKEND_H
#define TEGULA_BACKEND_VULKAN_BACKEND_H

#include "backend/common/kernel_mappings.h"
#include "backend/common/tile_slots.h"
#include "backend/vulkan/vulkan_instance.h"
#include "base/atomic.h"
#include "base/error.h"
#include "base/thread.h"
#include "tegula/vulkan.h"

#define TEGI_VK_MIN_TILE_BYTES (UINT64_C(64) << 10)
#define TEGI_VK_DEFAULT_TILE_BYTES (UINT64_C(2) << 20)
#define TEGI_VK_MAX_TILE_BYTES (UINT64_C(64) << 20)
// Least alignment and granularity of buffers, as on host.
#define TEGI_VK_GRANULARITY UINT64_C(256)

typedef struct tegi_vk_device tegi_vk_device;
typedef struct tegi_vk_batch tegi_vk_batch;
typedef struct tegi_vk_stream tegi_vk_stream;

typedef enum tegi_vk_kind {
  TEGI_VK_BUFFER = 1,
  TEGI_VK_HEAP,
  TEGI_VK_RANGE,
} tegi_vk_kind;

#define TEGI_VK_MEMORY_MAGIC 0x766b6d65u
#define TEGI_VK_STREAM_MAGIC 0x766b7374u

// What a teg_memory is here.
typedef struct tegi_vk_memory {
  uint32_t magic;
  tegi_vk_kind kind;
  uint64_t id;  // never used again, as handles and addresses are
  VkBuffer buffer;
  VkDeviceMemory memory;  // not of ranges
  uint32_t type;          // of |memory|
  void* pointer;          // NULL where the CPU does not reach it
  uint64_t size;
  uint32_t tile_count;     // heap
  uint32_t first_slot;     // heap: the number of its first tile
  tegi_slots slots;        // range
  uint32_t mapping_count;  // range: as the driver maps it, its ends included
  int64_t noted_mappings;  // range: of them, by binds that are not submitted
  bool is_noted;           // range: there are such binds
  uint64_t last_bind;      // range: serial of the last batch of binds under it
  bool was_bound;          // heap: tiles of it have been under a range
} tegi_vk_memory;

// Tiles put under slots of a range, or taken away.
typedef struct tegi_vk_change {
  tegi_vk_memory* range;
  tegi_vk_memory* heap;  // NULL: taken away
  uint32_t first;        // slot
  uint32_t count;
  uint32_t value;  // of the first slot: new, or old where taken away
} tegi_vk_change;

// What a batch of the bind stream carries; see vulkan_binds.c.
typedef struct tegi_vk_binds {
  tegi_vk_change* changes;  // as they were called
  size_t change_count;
  size_t change_capacity;
  int64_t mapping_change;  // by the changes
  int64_t charged;         // mappings taken from the limit for them
  // As they go to the queue, set by submit.
  tegi_vk_change* pieces;
  size_t piece_count;
  size_t piece_capacity;
  VkSparseMemoryBind* natives;
  uint32_t native_count;
  size_t native_capacity;
  VkSparseBufferMemoryBindInfo* buffers;
  uint32_t buffer_count;
  size_t buffer_capacity;
} tegi_vk_binds;

// A semaphore that other streams' batches may still wait for when its stream
// is gone.
typedef struct tegi_vk_timeline {
  VkSemaphore semaphore;
  tegi_atomic_u32 reference_count;
} tegi_vk_timeline;

// A stream's timestamps. Number n, from 1 on, is query (n - 1) % 1024.
typedef struct tegi_vk_clock {
  VkQueryPool pool;  // made when first needed
  uint64_t recorded_count;
  uint64_t submitted_count;
} tegi_vk_clock;

// The heaps of a device by the numbers of their tiles.
typedef struct tegi_vk_heaps {
  tegi_mutex lock;
  tegi_vk_memory** list;  // in the order of first_slot
  size_t count;
  size_t capacity;
  uint64_t next_slot;
} tegi_vk_heaps;

// Kernels with as many bindings are laid out alike, with parameters and
// without: their descriptor sets and pipeline layouts are the same.
#define TEGI_VK_LAYOUTS (2u * (TEG_MOST_BINDINGS + 1u))
typedef struct tegi_vk_layout {
  uint32_t buffer_count;
  bool has_parameters;
  VkDescriptorSetLayout sets;  // NULL where there are no descriptors
  VkPipelineLayout pipeline;
} tegi_vk_layout;

typedef struct tegi_vk_layouts {
  tegi_mutex lock;
  bool has_lock;
  tegi_vk_layout* made[TEGI_VK_LAYOUTS];
} tegi_vk_layouts;

typedef struct tegi_vk_kernel tegi_vk_kernel;
typedef struct tegi_vk_set_list tegi_vk_set_list;

// What a batch keeps for its dispatches, and what its open command buffer has
// bound. See vulkan_sets.c and vulkan_kernel.c.
typedef struct tegi_vk_dispatches {
  tegi_vk_set_list* lists[TEGI_VK_LAYOUTS];  // NULL = none was needed
  tegi_vk_kernel** kernels;                  // each with a reference
  size_t kernel_count;
  size_t kernel_capacity;
  uint64_t use;  // a number for this use of the batch
  VkPipeline pipeline;
  VkDescriptorSet set;
  uint32_t parameter_offset;
} tegi_vk_dispatches;

// What a batch waits for, beyond those before it.
typedef struct tegi_vk_waits {
  size_t count;
  tegi_vk_timeline** timelines;  // each with a reference; NULL = foreign
  VkSemaphore* semaphores;       // of the timelines
  uint64_t* values;
  VkPipelineStageFlags* stages;
  size_t timeline_capacity;
  size_t semaphore_capacity;
  size_t value_capacity;
  size_t stage_capacity;
} tegi_vk_waits;

struct tegi_vk_batch {
  tegi_vk_batch* next;       // in its stream
  tegi_vk_batch* next_held;  // in the device, when told
  tegi_vk_stream* stream;
  uint64_t serial;
  VkCommandPool pool;
  VkCommandBuffer* buffers;  // all but one come from failed submits
  size_t capacity;
  uint32_t made_count;     // buffers that the pool has
  uint32_t used_count;     // of them, those with commands
  VkCommandBuffer open;    // the last used one, while it can take commands
  bool is_behind_barrier;  // there is no command since the last barrier
  tegi_vk_waits waits;
  tegi_vk_dispatches dispatches;
  tegi_vk_binds binds;  // of the bind stream
};

struct tegi_vk_stream {
  uint32_t magic;
  bool is_bind;  // the bind stream
  tegi_vk_device* device;
  tegi_vk_timeline* timeline;  // its value is the last serial completed
  tegi_vk_batch* recording;    // NULL until something is recorded
  tegi_vk_batch* first_batch;  // submitted, oldest first
  tegi_vk_batch* last_batch;
  tegi_vk_batch* unused;
  tegi_atomic_u64 submitted;
  tegi_atomic_u64 told;  // told devices: the last serial a wait has reached
  tegi_vk_clock clock;
};

struct tegi_vk_device {
  teg_backend_device base;
  uint32_t magic;
  tegi_host host;
  tegi_vk_instance instance;
  tegi_vk_facts facts;
  VkDevice handle;
  bool is_adopted;  // the handle and queues are the program's
  // Around every use of a queue; NULL = none.
  void (*lock)(void* user);
  void (*unlock)(void* user);
  void* lock_user;
  tegi_vk_device_table vk;
  // The tables, without what this device lacks.
  teg_device_ops device_ops;
  teg_map_ops map_ops;
  teg_queue_ops queue_ops;
  VkBufferUsageFlags usage;  // of every buffer
  uint64_t granularity;
  uint64_t tile_bytes;
  uint32_t buffer_type;  // memory types
  uint32_t heap_type;
  uint32_t upload_type;
  uint32_t readback_type;
  uint32_t timestamp_bits;  // 0 = the queue has no timestamps
  bool is_told;
  bool has_remap;
  _Atomic bool is_lost;

  tegi_mutex queue_lock;
  bool is_at_rest;  // lost, and waited for. Guarded by queue_lock
  VkQueue queue;
  VkQueue bind_queue;         // often the same
  tegi_vk_batch* first_held;  // told: submitted, not yet handed over
  tegi_vk_batch* last_held;
  tegi_vk_stream* bind_stream;  // NULL: no remap

  tegi_vk_memory* scratch;       // of fills; see vulkan_queue.c
  tegi_mappings range_mappings;  // all-zero where tiles are not mappings
  tegi_mappings memory_mappings;
  bool has_mapping_limit;        // tiles of ranges are counted
  tegi_atomic_u64 sparse_bytes;  // of all ranges
  tegi_atomic_u64 object_count;  // memories, streams and kernels alive
  tegi_atomic_u64 last_id;       // of memories and of uses of batches
  tegi_atomic_u64 last_tick;     // of all timestamps, in bits beyond its own
  tegi_vk_heaps heaps;
  tegi_vk_layouts layouts;
};

// Checked casts.
tegi_vk_device* tegi_vk_device_from(teg_backend_device* base);

static inline tegi_vk_memory* tegi_vk_memory_from(teg_memory* memory) {
  tegi_vk_memory* vk_memory = (tegi_vk_memory*)(void*)memory;
  TEG_ASSERT(vk_memory && vk_memory->magic == TEGI_VK_MEMORY_MAGIC);
  return vk_memory;
}

static inline tegi_vk_stream* tegi_vk_stream_from(teg_queue_stream* stream) {
  tegi_vk_stream* vk_stream = (tegi_vk_stream*)(void*)stream;
  TEG_ASSERT(vk_stream && vk_stream->magic == TEGI_VK_STREAM_MAGIC);
  return vk_stream;
}

// TEG_DEVICE_LOST if the device is lost.
teg_result tegi_vk_check_alive(tegi_vk_device* device, teg_error* err);
// As tegi_vk_failed, and remembers a loss of the device.
teg_result tegi_vk_device_failed(tegi_vk_device* device, VkResult native,
                                 const char* what, teg_error* err);

static inline uint64_t tegi_vk_next_id(tegi_vk_device* device) {
  return 1 + tegi_fetch_add_relaxed(&device->last_id, 1);
}

// Before anything goes that a lost device may not have let go of: waits for
// what it still does, once. Nothing on a device that is not lost.
void tegi_vk_rest_if_lost(tegi_vk_device* device);
// The program's lock on the queues, taken inside queue_lock.
void tegi_vk_queues_lock(tegi_vk_device* device);
void tegi_vk_queues_unlock(tegi_vk_device* device);

// ---- vulkan_native.c: the program's own Vulkan.
extern const teg_native_ops tegi_vk_native_ops;
// Checks and takes the instance, facts and lock; half of it may be done when
// it fails. TEG_INVALID, TEG_UNSUPPORTED, TEG_UNAVAILABLE.
teg_result tegi_vk_adopt(tegi_vk_device* device,
                         const teg_vulkan_adopt_params* adopt, teg_log log,
                         teg_error* err);

// ---- vulkan_memory.c: buffers and heaps.
// Chooses memory types, and the tile size where remap is wanted and possible.
teg_result tegi_vk_memory_init(tegi_vk_device* device, uint64_t tile_bytes,
                               teg_error* err);
uint64_t tegi_vk_max_allocation_bytes(const tegi_vk_device* device);
teg_result tegi_vk_buffer_create(teg_backend_device* base, uint64_t size,
                                 teg_memory** out_memory, teg_error* err);
teg_result tegi_vk_heap_create(teg_backend_device* base, uint64_t size,
                               teg_memory** out_heap, teg_error* err);
teg_result tegi_vk_staging_create(teg_backend_device* base, uint64_t size,
                                  bool is_readback, teg_memory** out_memory,
                                  teg_error* err);
// False where plain buffers are as good.
bool tegi_vk_has_staging(const tegi_vk_device* device);
void tegi_vk_memory_destroy(teg_backend_device* base, teg_memory* memory);
VkResult tegi_vk_create_buffer(const tegi_vk_device* device, uint64_t size,
                               VkBufferCreateFlags flags, VkBuffer* out_buffer);

// ---- vulkan_heaps.c: which heap has a tile.
teg_result tegi_vk_heaps_init(tegi_vk_device* device, teg_error* err);
// An all-zero one is fine.
void tegi_vk_heaps_deinit(tegi_vk_device* device);
// Gives |heap| its first_slot. TEG_OUT_OF_HOST_MEMORY, TEG_LIMIT.
teg_result tegi_vk_heaps_add(tegi_vk_device* device, tegi_vk_memory* heap,
                             teg_error* err);
void tegi_vk_heaps_remove(tegi_vk_device* device, const tegi_vk_memory* heap);
// The heap whose tile has that number; NULL = none.
tegi_vk_memory* tegi_vk_heaps_find(tegi_vk_device* device, uint32_t slot);

// ---- vulkan_map.c: host pointers.
extern const teg_map_ops tegi_vk_map_ops;
// True if all memory that the CPU reaches has |has|.
bool tegi_vk_all_types(const tegi_vk_device* device,
                       bool (*has)(const tegi_vk_facts* facts, uint32_t type));

// ---- vulkan_binds.c: what a batch of the bind stream carries.
// Room for |count| changes more; false without host memory.
bool tegi_vk_binds_reserve(tegi_vk_device* device, tegi_vk_binds* binds,
                           size_t count);
// Takes the mappings that |change| more of them need. TEG_LIMIT.
teg_result tegi_vk_binds_charge(tegi_vk_device* device, tegi_vk_binds* binds,
                                int64_t change, teg_error* err);
// Notes a change for which there is room.
void tegi_vk_binds_note(tegi_vk_binds* binds, tegi_vk_change change);
// Puts ranges and the limit back as they were without what is noted.
void tegi_vk_binds_undo(tegi_vk_device* device, tegi_vk_binds* binds);
// |range| goes: what is noted of it as well, and all its mappings.
void tegi_vk_binds_forget(tegi_vk_device* device, tegi_vk_binds* binds,
                          tegi_vk_memory* range);
// Sets the structures that go to the queue. TEG_OUT_OF_HOST_MEMORY.
teg_result tegi_vk_binds_resolve(tegi_vk_device* device, tegi_vk_binds* binds,
                                 teg_error* err);
// They are on the queue, or held, as batch |serial|.
void tegi_vk_binds_submitted(tegi_vk_device* device, tegi_vk_binds* binds,
                             uint64_t serial);
void tegi_vk_binds_deinit(tegi_vk_device* device, tegi_vk_binds* binds);

// ---- vulkan_remap.c: ranges.
extern const teg_remap_ops tegi_vk_remap_ops;
#define TEGI_VK_RANGE_FLAGS                \
  (VK_BUFFER_CREATE_SPARSE_BINDING_BIT |   \
   VK_BUFFER_CREATE_SPARSE_RESIDENCY_BIT | \
   VK_BUFFER_CREATE_SPARSE_ALIASED_BIT)
uint64_t tegi_vk_max_range_bytes(const tegi_vk_device* device);
// Before memory goes. The tiles of a heap may still have to be taken away.
void tegi_vk_wait_for_binds_of(tegi_vk_device* device,
                               const tegi_vk_memory* memory);

// ---- vulkan_layouts.c: layouts of descriptors.
teg_result tegi_vk_layouts_init(tegi_vk_device* device, teg_error* err);
// An all-zero one is fine.
void tegi_vk_layouts_deinit(tegi_vk_device* device);
// Made when first asked for; lives as long as the device.
teg_result tegi_vk_layouts_get(tegi_vk_device* device, uint32_t buffer_count,
                               bool has_parameters,
                               const tegi_vk_layout** out_layout,
                               teg_error* err);
static inline uint32_t tegi_vk_layout_index(uint32_t buffer_count,
                                            bool has_parameters) {
  return 2 * buffer_count + has_parameters;
}

// ---- vulkan_sets.c: descriptor sets of a batch.
// A set that says |bindings| and, with an offset added to them when it is
// bound, |parameters|.
teg_result tegi_vk_sets_take(tegi_vk_device* device,
                             tegi_vk_dispatches* dispatches,
                             const tegi_vk_layout* layout,
                             const teg_dispatch* dispatch,
                             uint64_t parameter_bytes, VkDescriptorSet* out_set,
                             teg_error* err);
// All may be written again: the batch is complete or dropped.
void tegi_vk_sets_reset(tegi_vk_dispatches* dispatches);
void tegi_vk_sets_deinit(tegi_vk_device* device,
                         tegi_vk_dispatches* dispatches);

// ---- vulkan_kernel.c: kernels and dispatches.
extern const teg_kernel_ops tegi_vk_kernel_ops;
// A batch is begun; its command buffer is; it is complete or dropped; it goes.
void tegi_vk_dispatches_begin(tegi_vk_device* device,
                              tegi_vk_dispatches* dispatches);
void tegi_vk_dispatches_unbind(tegi_vk_dispatches* dispatches);
void tegi_vk_dispatches_reset(tegi_vk_device* device,
                              tegi_vk_dispatches* dispatches);
void tegi_vk_dispatches_deinit(tegi_vk_device* device,
                               tegi_vk_dispatches* dispatches);

// ---- vulkan_clock.c: timestamps.
teg_result tegi_vk_record_timestamp(teg_queue_stream* stream,
                                    uint64_t* out_number, teg_error* err);
teg_result tegi_vk_timestamp(teg_queue_stream* stream, uint64_t number,
                             uint64_t* out_ns, teg_error* err);
// |ticks| of |device|'s clock in nanoseconds.
uint64_t tegi_vk_ticks_to_ns(tegi_vk_device* device, uint64_t ticks);
void tegi_vk_clock_deinit(tegi_vk_stream* stream);

// ---- vulkan_commands.c: fills, copies and the barrier.
void tegi_vk_span_outside(const teg_span* span, const char* what,
                          teg_error* err);
// Its bytes are all in its memory.
static inline bool tegi_vk_is_inside(const teg_span* span) {
  const tegi_vk_memory* memory = tegi_vk_memory_from(span->memory);
  return span->size <= memory->size &&
         span->offset <= memory->size - span->size;
}
// The memory of |span|; NULL, and an error, if its bytes are not all in it.
static inline const tegi_vk_memory* tegi_vk_span_memory(const teg_span* span,
                                                        const char* what,
                                                        teg_error* err) {
  if (tegi_vk_is_inside(span)) return tegi_vk_memory_from(span->memory);
  tegi_vk_span_outside(span, what, err);
  return NULL;
}
teg_result tegi_vk_record_fill(teg_queue_stream* stream, const teg_span* target,
                               uint32_t pattern, teg_error* err);
teg_result tegi_vk_record_copy(teg_queue_stream* stream, const teg_span* target,
                               const teg_span* source, teg_error* err);
// What comes before is done, and seen by commands; by the CPU.
void tegi_vk_barrier_to_commands(const tegi_vk_device* device,
                                 VkCommandBuffer buffer);
void tegi_vk_barrier_to_host(const tegi_vk_device* device,
                             VkCommandBuffer buffer);

// ---- vulkan_queue.c: streams.
extern const teg_queue_ops tegi_vk_queue_ops;
// Opens a command buffer of the batch being recorded, which has none open.
teg_result tegi_vk_buffer_open(tegi_vk_stream* stream, teg_error* err);

// A command buffer that takes commands.
static inline teg_result tegi_vk_buffer_begin(tegi_vk_stream* stream,
                                              VkCommandBuffer* out_buffer,
                                              teg_error* err) {
  if (!stream->recording || !stream->recording->open) {
    teg_result result = tegi_vk_buffer_open(stream, err);
    if (result != TEG_OK) return result;
  }
  *out_buffer = stream->recording->open;
  return TEG_OK;
}

// As above, for a command that reads or writes memory; and what its batch
// keeps for dispatches.
static inline teg_result tegi_vk_command_begin(
    tegi_vk_stream* stream, VkCommandBuffer* out_buffer,
    tegi_vk_dispatches** out_dispatches, teg_error* err) {
  teg_result result = tegi_vk_buffer_begin(stream, out_buffer, err);
  if (result != TEG_OK) return result;
  stream->recording->is_behind_barrier = false;
  *out_dispatches = &stream->recording->dispatches;
  return TEG_OK;
}

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
teg_result tegi_vk_stream_open(tegi_vk_device* device, bool is_bind,
                               tegi_vk_stream** out_stream, teg_error* err);
// Waits for what was submitted. NULL is fine.
void tegi_vk_stream_close(tegi_vk_device* device, tegi_vk_stream* stream);
// Waits for batch |serial|, which is submitted; 0 = none.
teg_result tegi_vk_stream_finish(tegi_vk_stream* stream, uint64_t serial,
                                 teg_error* err);
// The batch being recorded waits for a semaphore of the program.
teg_result tegi_vk_stream_wait_semaphore(tegi_vk_stream* stream,
                                         VkSemaphore semaphore, uint64_t value,
                                         teg_error* err);
// What the bind stream's next batch carries. |*out_binds| is set on TEG_OK.
teg_result tegi_vk_stream_binds(tegi_vk_stream* stream,
                                tegi_vk_binds** out_binds, teg_error* err);
// As above, when something is noted.
tegi_vk_binds* tegi_vk_stream_noted(tegi_vk_stream* stream);

#endif  // TEGULA_BACKEND_VULKAN_BACKEND_H
