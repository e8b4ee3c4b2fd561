// SPDX-License-Identifier: Apache-2.0
//
// Remapping on devices whose queue orders it (TEG_REMAP_QUEUE_ORDERED): map
// and unmap go to the device's bind stream, behind what uses the tiles, and
// every stream's next batch goes behind the last bind. Elsewhere, where tiles
// move at once, nothing here does anything.
#ifndef TEGULA_CORE_BINDS_H
#define TEGULA_CORE_BINDS_H

#include "base/atomic.h"
#include "base/thread.h"
#include "policy/policy.h"
#include "tegula/stream.h"

typedef struct tegi_binds {
  tegi_mutex mutex;
  bool has_mutex;
  teg_queue_stream* stream;   // NULL = tiles move at once
  tegi_atomic_u64 submitted;  // serial of the last bind
  bool is_wait_off;           // for tests that show what the waits prevent
} tegi_binds;

teg_result tegi_binds_init(teg_device* device, teg_error* err);
void tegi_binds_deinit(teg_device* device);

// What is mapped and unmapped from here to end comes after the uses of |after|
// (NULL = none), which are submitted. The mutex is held until end. No other
// lock but growth mutexes is held.
teg_result tegi_binds_begin(teg_device* device, const tegi_use_set* after,
                            teg_error* err);
// Hands it to the queue if |result| is TEG_OK, else takes it back. Returns
// |result|, or what went wrong.
teg_result tegi_binds_end(teg_device* device, teg_result result,
                          teg_error* err);

// What |stream| has recorded runs after all binds so far, the last of which is
// |*out_serial|: stream->bound, once the batch is submitted.
teg_result tegi_binds_wait(teg_stream* stream, uint64_t* out_serial,
                           teg_error* err);

#endif  // TEGULA_CORE_BINDS_H
