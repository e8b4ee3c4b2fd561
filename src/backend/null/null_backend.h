// SPDX-License-Identifier: Apache-2.0
//
// The null device: a decorator over a host device in told mode, under the
// decorator that checks hazards (check/check_wrap.h). Shared by the files of
// this folder only.
//
// Memories and streams wrap the host's. Every command, fills and copies too,
// reaches the host as a call, whose function first asks the checker; so a
// command whose memory is gone is not run.
//
// Locks: mutex guards the fields marked with it and the streams' node lists.
// It is never held while the host device or the checker is called.
#ifndef TEGULA_BACKEND_NULL_BACKEND_H
#define TEGULA_BACKEND_NULL_BACKEND_H

#include "backend/check/check_hazard.h"
#include "base/memory.h"
#include "base/thread.h"
#include "tegula/null.h"

// Poison is written where it costs little: to the first bytes of new memory,
// while the device holds little, and to the first bytes that change hands in
// a command.
#define TEGI_NULLDEV_POISON_BYTES (UINT64_C(1) << 20)
#define TEGI_NULLDEV_POISON_DEVICE_BYTES (UINT64_C(64) << 20)

typedef struct tegi_nulldev tegi_nulldev;
typedef struct tegi_nulldev_node tegi_nulldev_node;

// What a teg_memory is here.
typedef struct tegi_nulldev_memory {
  uint32_t magic;
  bool is_range;
  uint64_t size;
  uint8_t* pointer;
  teg_memory* inner;
} tegi_nulldev_memory;

typedef struct tegi_nulldev_stream {
  uint32_t magic;
  tegi_nulldev* device;
  teg_queue_stream* inner;
  tegi_hazard_command* next_command;  // the checker's, recorded next
  tegi_nulldev_node* unused;          // executed commands; guarded by mutex
  tegi_nulldev_node* active;          // all others; guarded by mutex
  teg_binding* bindings;              // scratch: one command's, for the host
  size_t binding_capacity;
} tegi_nulldev_stream;

// The test switch of teg_null_fail.
typedef struct tegi_nulldev_faults {
  teg_null_calls calls;
  uint64_t countdown;  // 0 = off; 1 = the next call fails
  uint64_t left_count;
  teg_result result;
  uint64_t counted_calls;
  uint64_t failed_calls;
} tegi_nulldev_faults;

struct tegi_nulldev {
  teg_backend_device base;
  uint32_t magic;
  tegi_host host;
  teg_backend_device* inner;
  const teg_backend_tables* tables;  // of |inner|
  tegi_mutex mutex;
  tegi_nulldev_faults faults;  // guarded by mutex
  uint64_t budget_bytes;       // guarded by mutex
  uint64_t used_bytes;         // guarded by mutex
  uint64_t poisoned_bytes;     // in the command that executes now
};

// Checked casts.
tegi_nulldev* tegi_nulldev_from(teg_backend_device* base);
tegi_nulldev_memory* tegi_nulldev_memory_from(teg_memory* memory);

// Counts a call; TEG_OK, or the result it was told to fail with.
teg_result tegi_nulldev_count_call(tegi_nulldev* device, teg_null_calls call,
                                   teg_error* err);

// ---- null_memory.c
teg_result tegi_nulldev_buffer_create(teg_backend_device* base, uint64_t size,
                                      teg_memory** out_memory, teg_error* err);
teg_result tegi_nulldev_heap_create(teg_backend_device* base, uint64_t size,
                                    teg_memory** out_heap, teg_error* err);
void tegi_nulldev_memory_destroy(teg_backend_device* base, teg_memory* memory);
extern const teg_remap_ops tegi_nulldev_remap_ops;

// ---- null_queue.c
// The checker's name for what is recorded next.
void tegi_nulldev_next_command(teg_queue_stream* stream,
                               tegi_hazard_command* command);
extern const teg_queue_ops tegi_nulldev_queue_ops;
extern const teg_kernel_ops tegi_nulldev_kernel_ops;

#endif  // TEGULA_BACKEND_NULL_BACKEND_H
