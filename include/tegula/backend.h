// SPDX-License-Identifier: Apache-2.0
//
// What a device must be able to do for tegula, as a table of functions. Core
// meets every backend through this header only; it never asks which one it
// has, it reads capabilities. Programs do not need this header.
//
// A backend is registered at link time (src/backend/registry.c). open() makes
// one device; the groups below are all functions of that device:
//   device  always there          remap  tiles can be moved under addresses
//   map     memory has a host pointer    queue  commands are run later
//   kernel  commands can be the program's kernels
// A group that a device lacks is NULL, never a stub; so is a function whose
// text says that it may be NULL.
//
// Units: bytes unless the name says otherwise. Ownership: every object made
// here is given back through the same table before close(). Threads: core
// calls from any thread; calls on one stream are never concurrent (save wait
// and completed, which any thread may call at any time), and calls
// on one address range are never concurrent. None of these functions is
// called with a core lock held that another call could need.
#ifndef TEGULA_BACKEND_H
#define TEGULA_BACKEND_H

#include <stdbool.h>

#include "tegula/result.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TEG_BACKEND_ABI_VERSION 1u

// One opened device; begins the backend's own structure.
typedef struct teg_backend_device teg_backend_device;
// Memory of a device that has bytes one can name: a committed buffer, a heap,
// or a reserved address range. Begins the backend's own structure.
typedef struct teg_memory teg_memory;
// An ordered list of commands on the device's queue.
typedef struct teg_queue_stream teg_queue_stream;

typedef enum teg_remap_kind {
  TEG_REMAP_NONE = 0,           // addresses are fixed to memory for life
  TEG_REMAP_AT_ONCE = 1,        // map and unmap act when called (CUDA, host)
  TEG_REMAP_QUEUE_ORDERED = 2,  // they act in queue order (Vulkan sparse)
} teg_remap_kind;

typedef uint32_t teg_backend_flags;
enum {
  TEG_BACKEND_NONE = 0,
  TEG_BACKEND_UNIFIED = 1u << 0,         // CPU and device share the memory
  TEG_BACKEND_HAZARD_CHECKED = 1u << 1,  // commands are checked by bytes
  TEG_BACKEND_TOLD = 1u << 2,  // batches complete only when waited for
};

// Facts about one device. Fixed from open() on, except budget_bytes.
typedef struct teg_backend_caps {
  uint32_t struct_size;
  teg_backend_flags flags;
  uint64_t buffer_alignment;      // of offsets inside a heap; power of two
  uint64_t buffer_granularity;    // committed buffers are rounded up to it
  uint64_t max_allocation_bytes;  // largest committed buffer or heap
  uint64_t max_binding_bytes;     // largest range one command may name
  uint64_t max_allocation_count;  // driver allocations alive; 0 = no limit
  uint64_t tile_bytes;            // 0 = no tiles; else a power of two
  uint64_t max_mapping_count;     // runs of tiles mapped at once; 0 = no limit
  uint64_t total_bytes;           // of device memory; 0 = not known
  teg_remap_kind remap;
  uint64_t max_range_bytes;  // largest address range; 0 = no limit
  // Offsets of a kernel's bindings, and of its parameters; powers of two.
  uint64_t binding_alignment;
  uint64_t parameter_alignment;
  uint64_t max_parameter_bytes;  // of one dispatch
  uint32_t max_group_count[3];   // of one dispatch
} teg_backend_caps;

// What a device is, for people. Filled in without keeping the device open.
typedef enum teg_device_type {
  TEG_DEVICE_OTHER = 0,
  TEG_DEVICE_HOST = 1,  // ordinary memory plays the device
  TEG_DEVICE_DISCRETE = 2,
  TEG_DEVICE_INTEGRATED = 3,
  TEG_DEVICE_VIRTUAL = 4,
  TEG_DEVICE_CPU = 5,  // a GPU's driver that runs on the CPU
} teg_device_type;

typedef struct teg_device_heap {
  uint64_t bytes;
  // That the driver would still give to this process; UINT64_MAX = not known.
  uint64_t available_bytes;
  bool is_device_local;
  bool is_mappable;  // the CPU reaches memory of it
} teg_device_heap;

enum { TEG_DEVICE_MOST_HEAPS = 16 };

typedef struct teg_device_description {
  uint32_t struct_size;
  teg_device_type type;
  char name[256];
  char driver[256];
  char version[64];  // of the driver and what it speaks; "" = not known
  uint32_t heap_count;
  teg_device_heap heaps[TEG_DEVICE_MOST_HEAPS];
  uint64_t tile_bytes;  // by default; 0 = none
  teg_remap_kind remap;
  uint64_t mappable_bytes;  // of device memory that buffers are made in
  uint64_t max_binding_bytes;
} teg_device_description;

// A run of |tile_count| neighbouring tiles of |heap|, mapped to neighbouring
// tiles of a range. Index units: tiles.
typedef struct teg_tile_run {
  teg_memory* heap;
  uint32_t heap_tile_index;
  uint32_t range_tile_index;
  uint32_t tile_count;
} teg_tile_run;

// Bytes a command touches. |owner| is the number of the buffer they belong to
// (never reused); a hazard checker compares it with who wrote the bytes last.
typedef struct teg_span {
  teg_memory* memory;
  uint64_t offset;
  uint64_t size;
  uint64_t owner;
} teg_span;

// What a kernel does with one of its bindings.
typedef uint32_t teg_access;
enum {
  TEG_ACCESS_READ = 1u << 0,
  TEG_ACCESS_WRITE = 1u << 1,
  TEG_ACCESS_READ_WRITE = TEG_ACCESS_READ | TEG_ACCESS_WRITE,
};

enum { TEG_MOST_BINDINGS = 32 };

// One dispatch, as a kernel that is a C function sees it.
typedef struct teg_invocation {
  void* user;             // of the kernel
  void* const* pointers;  // of the bindings, in order
  const uint64_t* sizes;  // of the bindings
  uint32_t binding_count;
  uint32_t group_count[3];
  const void* parameters;  // NULL if there are none
  uint64_t parameter_bytes;
} teg_invocation;

// A kernel that is a C function: called once a dispatch while its batch
// executes, on the device's worker thread. A result other than TEG_OK is kept
// as the batch's error. It must not wait for a stream.
typedef teg_result (*teg_host_kernel)(const teg_invocation* invocation);

// A kernel in the forms it has; a device takes the one it understands.
//   SPIR-V    bindings are storage buffers 0, 1, ... of descriptor set 0; the
//             parameters, if any, the uniform buffer behind the last of them
//   function  as above
typedef struct teg_kernel_params {
  uint32_t struct_size;
  const char* name;  // for errors
  const uint32_t* spirv;
  size_t spirv_bytes;
  const char* entry_point;  // of the SPIR-V; NULL = "main"
  teg_host_kernel function;
  void* user;
  const teg_access* bindings;  // one each
  uint32_t binding_count;
  uint32_t parameter_bytes;  // 0 = none
} teg_kernel_params;

typedef struct teg_binding {
  teg_span span;
  bool is_read;
  bool is_written;
} teg_binding;

// A kernel as a device has it.
typedef struct teg_backend_kernel teg_backend_kernel;

typedef struct teg_dispatch {
  teg_backend_kernel* kernel;
  const teg_binding* bindings;  // as many as the kernel has
  uint32_t binding_count;
  teg_span parameters;       // memory NULL = none
  uint32_t group_count[3];   // where |indirect| is NULL
  const teg_span* indirect;  // three 32-bit counts in memory, read when it runs
} teg_dispatch;

typedef struct teg_backend_open_params {
  uint32_t struct_size;
  uint32_t device_index;
  uint64_t tile_bytes;         // wanted tile size; 0 = the device's default
  uint64_t max_mapping_count;  // lower the limit to this; 0 = the device's own
  bool is_remap_disabled;      // offer no remap group
  bool is_told;  // batches execute and complete only inside stream_wait()
  // Objects of the program to work with, as the backend's own header has them;
  // they are not destroyed. NULL = objects of its own.
  const void* adopt;
  teg_allocator allocator;
  teg_log log;
} teg_backend_open_params;

// Always there.
typedef struct teg_device_ops {
  uint32_t abi_version;
  uint32_t struct_size;
  void (*close)(teg_backend_device* device);
  void (*query_caps)(teg_backend_device* device, teg_backend_caps* out_caps);
  // Bytes the driver says can still be allocated; UINT64_MAX = not known.
  uint64_t (*query_available)(teg_backend_device* device);
  // A buffer with memory of its own. |size| is a multiple of
  // buffer_granularity. Returns TEG_OUT_OF_MEMORY, TEG_LIMIT, TEG_DEVICE_LOST.
  teg_result (*buffer_create)(teg_backend_device* device, uint64_t size,
                              teg_memory** out_memory, teg_error* err);
  // A heap: memory that buffers are placed in by offset, and whose tiles can
  // be mapped. |size| is a multiple of tile_bytes, or, where there is no
  // remap group, of buffer_granularity. Errors as above.
  teg_result (*heap_create)(teg_backend_device* device, uint64_t size,
                            teg_memory** out_heap, teg_error* err);
  // A buffer of memory that always has host pointers, for what passes between
  // the CPU and the device: staging, parameters. |is_readback|: the CPU reads
  // it, so it is cached. NULL where buffer_create's memory is as good.
  teg_result (*staging_create)(teg_backend_device* device, uint64_t size,
                               bool is_readback, teg_memory** out_memory,
                               teg_error* err);
  // Gives a buffer or heap back. It is idle, and no tile of it is mapped.
  void (*memory_destroy)(teg_backend_device* device, teg_memory* memory);
} teg_device_ops;

// Tiles under addresses. NULL where the device cannot.
//
// Where remapping is TEG_REMAP_QUEUE_ORDERED, map and unmap are recorded on a
// stream of their own, bind_stream: record_wait on it says what they come
// after, submit hands all that was recorded to the queue as one batch, and
// other streams record_wait for that batch before they touch the bytes. What
// is mapped counts as changed from the call on, for the checks of the next
// one; discard takes back what was not submitted. A range that is released
// takes along what is recorded of it; before a heap is destroyed, the unmaps
// of its tiles are submitted. Both wait for the binds that concern them. One
// thread at a time maps, unmaps, releases a range of which something is
// recorded, or uses the stream, wait and completed aside.
typedef struct teg_remap_ops {
  uint32_t abi_version;
  uint32_t struct_size;
  // Addresses without memory. |size| is a multiple of tile_bytes.
  teg_result (*range_reserve)(teg_backend_device* device, uint64_t size,
                              teg_memory** out_range, teg_error* err);
  // Releases addresses; nothing is mapped there any more.
  void (*range_release)(teg_backend_device* device, teg_memory* range);
  // Puts runs of tiles under free addresses of |range|. Runs come sorted by
  // range_tile_index, and are as long as they can be. All or nothing. A tile
  // may be under two addresses; a hazard checker refuses that.
  // Returns TEG_LIMIT, before anything is tried, where max_mapping_count
  // would be exceeded.
  teg_result (*map)(teg_backend_device* device, teg_memory* range,
                    const teg_tile_run* runs, size_t run_count, teg_error* err);
  // Takes tiles away again; all of them are mapped. Only the fields
  // range_tile_index and tile_count are read. Cannot fail, save at the
  // mapping limit: then TEG_LIMIT and everything as before.
  teg_result (*unmap)(teg_backend_device* device, teg_memory* range,
                      const teg_tile_run* runs, size_t run_count,
                      teg_error* err);
  // Where remapping is queue-ordered: the stream of map and unmap, as long as
  // the device lives. It records nothing else. NULL elsewhere.
  teg_queue_stream* (*bind_stream)(teg_backend_device* device);
} teg_remap_ops;

// Host pointers. NULL where device memory cannot be mapped.
typedef struct teg_map_ops {
  uint32_t abi_version;
  uint32_t struct_size;
  // The pointer to byte 0 of |memory|, valid until it is destroyed. In an
  // address range only bytes with tiles under them may be touched. NULL for
  // memory that has none, as the ranges of Vulkan.
  void* (*host_pointer)(teg_backend_device* device, teg_memory* memory);
  // The pointer to byte |offset| of an address range without a host pointer of
  // its own, through the heap whose tile is there; |*out_bytes| from there on
  // are in one piece. NULL where there is none. The function may be NULL.
  void* (*tile_pointer)(teg_backend_device* device, teg_memory* range,
                        uint64_t offset, uint64_t* out_bytes);
  // Whether the CPU reads |memory| at the speed of its own: not so where it is
  // write-combined. NULL = all of it is.
  bool (*is_cached)(teg_backend_device* device, teg_memory* memory);
  // The CPU has written the bytes; the CPU is about to read them. NULL where
  // the CPU and the device see the same. Bytes that share
  // buffer_alignment are flushed together.
  teg_result (*flush)(teg_backend_device* device, teg_memory* memory,
                      uint64_t offset, uint64_t size, teg_error* err);
  teg_result (*invalidate)(teg_backend_device* device, teg_memory* memory,
                           uint64_t offset, uint64_t size, teg_error* err);
} teg_map_ops;

// A device whose commands are checked: what it wants to be told that it cannot
// see, and what it has found. NULL for others.
typedef struct teg_check_ops {
  uint32_t abi_version;
  uint32_t struct_size;
  // The CPU is about to read or write |span| through a host pointer.
  // Returns TEG_HAZARD where the rule of reuse forbids it.
  teg_result (*host_access)(teg_backend_device* device, const teg_span* span,
                            bool is_read, bool is_written, teg_error* err);
  // How many hazards were found, and the first one's text ("" if none).
  uint64_t (*get_report)(teg_backend_device* device, char* text,
                         size_t text_size);
  // Forgets them.
  void (*reset_report)(teg_backend_device* device);
} teg_check_ops;

// Commands. Core counts the batches of each stream and says the serial when it
// submits one.
typedef struct teg_queue_ops {
  uint32_t abi_version;
  uint32_t struct_size;
  teg_result (*stream_create)(teg_backend_device* device,
                              teg_queue_stream** out_stream, teg_error* err);
  // Waits for what was submitted, drops what was only recorded.
  void (*stream_destroy)(teg_backend_device* device, teg_queue_stream* stream);
  // Byte i of |target| becomes byte i % 4 of |pattern|, little-endian,
  // whatever the offset.
  teg_result (*record_fill)(teg_queue_stream* stream, const teg_span* target,
                            uint32_t pattern, teg_error* err);
  teg_result (*record_copy)(teg_queue_stream* stream, const teg_span* target,
                            const teg_span* source, teg_error* err);
  // Commands recorded behind it see what those before it have written, and
  // write after those have read: of this batch, and of batches submitted to
  // the same queue before. Without it neither is promised, between the
  // batches of one stream neither.
  teg_result (*record_barrier)(teg_queue_stream* stream, teg_error* err);
  // The time at which what is recorded before is done, under a number of the
  // stream, > 0. The last 1024 of a stream are kept. NULL where there is no
  // clock.
  teg_result (*record_timestamp)(teg_queue_stream* stream, uint64_t* out_number,
                                 teg_error* err);
  // Of a batch that is complete. Nanoseconds from any beginning.
  // TEG_NOT_FOUND if it is not kept any more.
  teg_result (*timestamp)(teg_queue_stream* stream, uint64_t number,
                          uint64_t* out_ns, teg_error* err);
  // The batch recorded next waits for batch |serial| of |other|, on the
  // device. |serial| is submitted already.
  teg_result (*record_wait)(teg_queue_stream* stream, teg_queue_stream* other,
                            uint64_t serial, teg_error* err);
  // Drops what is recorded and not submitted. Cannot fail.
  void (*discard)(teg_queue_stream* stream);
  // Submits the recorded batch as batch |serial|, the one after the last. On
  // failure nothing of it reached the queue and it is still recorded.
  teg_result (*submit)(teg_queue_stream* stream, uint64_t serial,
                       teg_error* err);
  // Serial of the last batch known to be complete. Does not block.
  uint64_t (*completed)(teg_queue_stream* stream);
  // Blocks until batch |serial| is complete. Reports, once, the first error a
  // completed batch of the stream has kept; the commands after a failed one
  // have run. TEG_BAD_STATE if |serial| is not submitted.
  teg_result (*wait)(teg_queue_stream* stream, uint64_t serial, teg_error* err);
} teg_queue_ops;

// Kernels. NULL where there are none.
typedef struct teg_kernel_ops {
  uint32_t abi_version;
  uint32_t struct_size;
  // Nothing of |params| is kept but |function| and |user|. Returns
  // TEG_UNSUPPORTED (not in a form that this device understands), TEG_INVALID
  // (not SPIR-V, or its bindings are not those of |params|).
  teg_result (*create)(teg_backend_device* device,
                       const teg_kernel_params* params,
                       teg_backend_kernel** out_kernel, teg_error* err);
  // Commands that are recorded or on their way still run.
  void (*destroy)(teg_backend_device* device, teg_backend_kernel* kernel);
  // Checked by core: the bindings' count, alignment, size and place, that bytes
  // read and bytes written do not overlap, that there are parameters where the
  // kernel has them, and the group counts, or where they are.
  teg_result (*record_dispatch)(teg_queue_stream* stream,
                                const teg_dispatch* dispatch, teg_error* err);
} teg_kernel_ops;

// The driver's objects behind the device's, for programs that call the driver
// themselves. NULL where there are none, or where none may be seen.
typedef struct teg_native_ops {
  uint32_t abi_version;
  uint32_t struct_size;
  const char* backend;  // whose header says what |out| and |event| are
  teg_result (*describe_device)(teg_backend_device* device, void* out,
                                teg_error* err);
  teg_result (*describe_memory)(teg_backend_device* device, teg_memory* memory,
                                uint64_t offset, void* out, teg_error* err);
  teg_result (*describe_stream)(teg_queue_stream* stream, void* out,
                                teg_error* err);
  // The batch recorded next waits for |event| on the device.
  teg_result (*record_wait)(teg_queue_stream* stream, const void* event,
                            teg_error* err);
} teg_native_ops;

// The tables of one device.
typedef struct teg_backend_tables {
  const teg_device_ops* device;
  const teg_remap_ops* remap;  // NULL: cannot remap
  const teg_map_ops* map;      // NULL: no host pointers
  const teg_queue_ops* queue;
  const teg_kernel_ops* kernel;  // NULL: no kernels
  const teg_check_ops* check;    // NULL: nothing to tell
  const teg_native_ops* native;  // NULL: nothing to see
} teg_backend_tables;

struct teg_backend_device {
  teg_backend_tables tables;
};

// One backend, as listed in the registry.
typedef struct teg_backend_ops {
  uint32_t abi_version;
  uint32_t struct_size;
  const char* name;     // "host", "null", "vulkan" ...
  const char* summary;  // one line for lists
  // How many devices there are; TEG_UNAVAILABLE with a sentence if no driver.
  teg_result (*probe)(uint32_t* out_device_count, teg_error* err);
  teg_result (*open)(const teg_backend_open_params* params,
                     teg_backend_device** out_device, teg_error* err);
  // Describes device |device_index|. NULL where there is nothing to say.
  // Returns TEG_INVALID (no such device), TEG_UNAVAILABLE.
  teg_result (*describe)(uint32_t device_index,
                         teg_device_description* out_description,
                         teg_error* err);
  bool can_adopt;  // open() takes params->adopt
} teg_backend_ops;

#ifdef __cplusplus
}
#endif

#endif  // TEGULA_BACKEND_H
