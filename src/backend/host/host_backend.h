// SPDX-License-Identifier: Apache-2.0
//
// The host device: ordinary memory playing a GPU. Shared by the files of this
// folder only.
//
//   heap    a range of one memfd per device. The file lives in windows: each
//           window maps a stretch of it whole, so a heap has a host pointer
//           without a mapping of its own. Bytes past the file's end fault.
//   buffer  small: aligned_alloc; large: part of an anonymous window, whose
//           untouched pages cost nothing.
//   range   PROT_NONE addresses; a mapped tile is an mmap of the memfd.
//   stream  batches of commands, executed in submit order on one queue per
//           device, by a worker thread or, when told, inside wait().
//
// Locks: memory_lock guards the spaces, windows and the file's size;
// queue_lock guards the queue and what its streams have executed. Neither is
// taken with the other held. A range's slots are guarded by the rule of
// backend.h.
#ifndef TEGULA_BACKEND_HOST_BACKEND_H
#define TEGULA_BACKEND_HOST_BACKEND_H

#include "backend/common/kernel_mappings.h"
#include "backend/common/tile_slots.h"
#include "backend/host/host_space.h"
#include "base/atomic.h"
#include "base/memory.h"
#include "base/thread.h"
#include "tegula/backend.h"

// Alignment and granularity of buffers.
#define TEGI_HOSTDEV_GRANULARITY UINT64_C(256)
// Buffers below this come from the C library.
#define TEGI_HOSTDEV_SMALL_BYTES (UINT64_C(32) << 10)
#define TEGI_HOSTDEV_DEFAULT_TILE_BYTES (UINT64_C(2) << 20)
#define TEGI_HOSTDEV_MAX_TILE_BYTES (UINT64_C(64) << 20)

typedef struct tegi_hostdev tegi_hostdev;
typedef struct tegi_hostdev_batch tegi_hostdev_batch;

typedef enum tegi_hostdev_kind {
  TEGI_HOSTDEV_SMALL_BUFFER = 1,
  TEGI_HOSTDEV_BUFFER,
  TEGI_HOSTDEV_HEAP,
  TEGI_HOSTDEV_RANGE,
} tegi_hostdev_kind;

// What a teg_memory is here.
typedef struct tegi_hostdev_memory {
  uint32_t magic;
  tegi_hostdev_kind kind;
  uint8_t* pointer;
  uint64_t size;
  // Buffer: its address. Heap: its offset in the file. In units of the space.
  uint64_t space_start;
  uint64_t space_size;
  uint32_t tile_count;     // heap
  uint32_t first_slot;     // heap: its first file tile's number + 1
  tegi_slots slots;        // range: file tile number + 1; 0 = none
  uint32_t mapping_count;  // range: kernel mappings between its ends
} tegi_hostdev_memory;

// A stretch of the heap file, or of buffer addresses, that is mapped whole.
typedef struct tegi_hostdev_window {
  uint64_t start;  // file offset, or the address again
  uint64_t size;
  uint8_t* pointer;
} tegi_hostdev_window;

// One kind of memory: its windows and what is free in them.
typedef struct tegi_hostdev_area {
  tegi_hostdev_space space;
  tegi_hostdev_window* windows;
  size_t window_capacity;
  size_t window_count;
  uint64_t unit_bytes;  // takes are multiples of it
  uint64_t used_bytes;
} tegi_hostdev_area;

typedef struct tegi_hostdev_stream {
  // Streams of different threads share no cache line.
  _Alignas(TEGI_CACHE_LINE) uint32_t magic;
  uint32_t batch_count;  // that there are. Whoever records, as below
  tegi_hostdev* device;
  tegi_hostdev_batch* recording;  // NULL until something is recorded
  tegi_hostdev_batch* spare;      // executed, ready to be recorded
  tegi_hostdev_batch* unused;     // executed since; guarded by queue_lock
  tegi_atomic_u64 submitted;
  tegi_atomic_u64 completed;
  uint64_t* times;  // of timestamps, by number; NULL until there are any
  uint64_t time_count;
  tegi_atomic_u32 has_error;  // set before |completed|
  teg_error error;            // guarded by queue_lock
} tegi_hostdev_stream;

// What one thread writes often lies on lines of its own.
// NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding)
struct tegi_hostdev {
  teg_backend_device base;
  uint32_t magic;
  tegi_host host;
  teg_log log;
  uint64_t page_bytes;
  uint64_t total_bytes;
  uint64_t tile_bytes;
  bool is_told;
  bool has_remap;
  _Atomic bool is_lost;  // a rollback failed: addresses are not what we think
  int file;              // the memfd

  // What is above is read by all threads; what is below they write.
  _Alignas(TEGI_CACHE_LINE) tegi_mutex memory_lock;
  tegi_hostdev_area heaps;
  tegi_hostdev_area buffers;
  uint64_t file_bytes;

  tegi_mappings mappings;        // over all ranges
  tegi_atomic_u64 object_count;  // memories and streams alive

  // One cache line is all that a submit passes from thread to thread.
  _Alignas(TEGI_CACHE_LINE) tegi_mutex queue_lock;
  tegi_hostdev_batch* first_batch;
  tegi_hostdev_batch* last_batch;
  uint32_t waiter_count;
  bool is_executing;
  bool is_stopping;
  bool is_worker_idle;
  bool has_worker;
  tegi_cond work_arrived;   // the worker waits for it
  tegi_cond work_finished;  // wait() waits for it
  tegi_thread worker;
};

// Checked casts.
tegi_hostdev* tegi_hostdev_from(teg_backend_device* base);
tegi_hostdev_memory* tegi_hostdev_memory_from(teg_memory* memory);

// TEG_DEVICE_LOST if the device is lost.
teg_result tegi_hostdev_check_alive(tegi_hostdev* device, teg_error* err);
// A size given to a create function: > 0, sane, a multiple of |unit|.
teg_result tegi_hostdev_check_size(tegi_hostdev* device, const char* what,
                                   uint64_t size, uint64_t unit,
                                   teg_error* err);

// ---- host_memory.c: buffers and heaps.
teg_result tegi_hostdev_memory_init(tegi_hostdev* device, teg_error* err);
void tegi_hostdev_memory_deinit(tegi_hostdev* device);
teg_result tegi_hostdev_buffer_create(teg_backend_device* base, uint64_t size,
                                      teg_memory** out_memory, teg_error* err);
teg_result tegi_hostdev_heap_create(teg_backend_device* base, uint64_t size,
                                    teg_memory** out_heap, teg_error* err);
void tegi_hostdev_memory_destroy(teg_backend_device* base, teg_memory* memory);

// ---- host_remap.c: address ranges.
extern const teg_remap_ops tegi_hostdev_remap_ops;

// ---- host_queue.c: streams and the worker.
extern const teg_queue_ops tegi_hostdev_queue_ops;
teg_result tegi_hostdev_queue_init(tegi_hostdev* device);
// Stops the worker; nothing is submitted any more.
void tegi_hostdev_queue_deinit(tegi_hostdev* device);
// Executes up to |max_count| submitted batches now; returns how many. Told
// devices only.
uint64_t tegi_hostdev_queue_run(tegi_hostdev* device, uint64_t max_count);

#endif  // TEGULA_BACKEND_HOST_BACKEND_H
