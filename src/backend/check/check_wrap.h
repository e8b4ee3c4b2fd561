// SPDX-License-Identifier: Apache-2.0
//
// A decorator over any opened device that feeds the hazard checker: every call
// goes on to the device, and what the checker finds comes out as TEG_HAZARD:
// of map, unmap and host_access, which then have done nothing, and of the wait
// for a batch, whose commands have run all the same. Destroying cannot be
// refused: it is counted.
#ifndef TEGULA_BACKEND_CHECK_WRAP_H
#define TEGULA_BACKEND_CHECK_WRAP_H

#include "backend/check/check_hazard.h"

typedef struct tegi_check_params {
  teg_allocator allocator;
  // For a device that asks the checker before it runs a command: the next
  // command recorded on |inner_stream| is |command|; the device calls
  // tegi_hazard_execute() for it. NULL for all others.
  void (*next_command)(teg_queue_stream* inner_stream,
                       tegi_hazard_command* command);
  // As in tegi_hazard_params; may be NULL. Only for a device that asks.
  void (*on_new_owner)(void* user, teg_memory* inner_memory, uint64_t offset,
                       uint64_t size);
  void* user;
} tegi_check_params;

// The device that is returned owns |inner|, and closes it with itself. On
// failure |inner| is still the caller's.
teg_result tegi_check_wrap(teg_backend_device* inner,
                           const tegi_check_params* params,
                           teg_backend_device** out_device, teg_error* err);

// What |base| was wrapped around; NULL if it is no such device.
teg_backend_device* tegi_check_inner(teg_backend_device* base);

// Batches may have completed without a call through |base|: looks.
void tegi_check_observe_all(teg_backend_device* base);

#endif  // TEGULA_BACKEND_CHECK_WRAP_H
