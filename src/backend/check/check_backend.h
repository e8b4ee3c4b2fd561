// SPDX-License-Identifier: Apache-2.0
//
// The decorator of check_wrap.h. Shared by the files of this folder only.
//
// Memories and streams wrap the device's; kernels are its own. Locks: mutex
// guards the list of streams. It is held while the device is asked what is
// complete, and never while the checker calls.
#ifndef TEGULA_BACKEND_CHECK_BACKEND_H
#define TEGULA_BACKEND_CHECK_BACKEND_H

#include "backend/check/check_hazard.h"
#include "base/memory.h"
#include "base/thread.h"
#include "tegula/backend.h"

typedef struct tegi_checkdev tegi_checkdev;
typedef struct tegi_checkdev_stream tegi_checkdev_stream;

// What a teg_memory is here.
typedef struct tegi_checkdev_memory {
  uint32_t magic;
  bool is_range;
  uint64_t size;
  teg_memory* inner;
  tegi_hazard_memory* hazard;
} tegi_checkdev_memory;

struct tegi_checkdev_stream {
  uint32_t magic;
  tegi_checkdev* device;
  tegi_checkdev_stream* previous;
  tegi_checkdev_stream* next;
  teg_queue_stream* inner;
  tegi_hazard_stream* hazard;
};

struct tegi_checkdev {
  teg_backend_device base;
  uint32_t magic;
  tegi_host host;
  teg_backend_device* inner;
  const teg_backend_tables* tables;  // of |inner|
  tegi_hazard* hazard;
  uint64_t tile_bytes;
  tegi_checkdev_stream* bind_stream;  // NULL = none
  void (*next_command)(teg_queue_stream* inner_stream,
                       tegi_hazard_command* command);
  void (*on_new_owner)(void* user, teg_memory* inner_memory, uint64_t offset,
                       uint64_t size);
  void* user;
  tegi_mutex mutex;
  tegi_checkdev_stream* streams;  // guarded by mutex
  // The tables above, with what |inner| has.
  teg_device_ops device_ops;
  teg_remap_ops remap_ops;
  teg_map_ops map_ops;
  teg_queue_ops queue_ops;
};

// Checked casts.
tegi_checkdev* tegi_checkdev_from(teg_backend_device* base);
tegi_checkdev_memory* tegi_checkdev_memory_from(teg_memory* memory);
tegi_checkdev_stream* tegi_checkdev_stream_from(teg_queue_stream* stream);

// ---- check_memory.c
extern const teg_device_ops tegi_checkdev_memory_ops;  // create, destroy
extern const teg_remap_ops tegi_checkdev_remap_ops;
extern const teg_map_ops tegi_checkdev_map_ops;
extern const teg_check_ops tegi_checkdev_check_ops;
// The span in the device's terms and in the checker's. TEG_INVALID, naming
// |what|, for bytes that are not in the memory.
teg_result tegi_checkdev_span(const teg_span* span, const char* what,
                              teg_span* out_inner, tegi_hazard_span* out_span,
                              teg_error* err);

// ---- check_queue.c
extern const teg_queue_ops tegi_checkdev_queue_ops;
extern const teg_kernel_ops tegi_checkdev_kernel_ops;
// A record for a stream of the device.
teg_result tegi_checkdev_stream_make(tegi_checkdev* device, bool is_bind,
                                     teg_queue_stream* inner,
                                     tegi_checkdev_stream** out_stream,
                                     teg_error* err);
void tegi_checkdev_stream_drop(tegi_checkdev_stream* stream);

#endif  // TEGULA_BACKEND_CHECK_BACKEND_H
