// SPDX-License-Identifier: Apache-2.0
//
// Where a stream needs a barrier: at the begin of every batch, and before a
// command that touches what another one of the batch has written, or writes
// what another one has touched. By place in memory, not by buffer: two buffers
// may follow each other on the same bytes within a batch.
#ifndef TEGULA_CORE_BARRIERS_H
#define TEGULA_CORE_BARRIERS_H

#include "tegula/stream.h"

enum { TEGI_BARRIER_SPANS = 64 };

typedef struct tegi_touched {
  const teg_memory* memory;
  uint64_t offset;
  uint64_t end;
  bool is_written;
} tegi_touched;

// What the commands since the last barrier have touched.
typedef struct tegi_barriers {
  bool has_begun;  // the batch has its first barrier
  uint32_t count;
  tegi_touched touched[TEGI_BARRIER_SPANS];
} tegi_barriers;

// Before a command with these bindings is recorded: records a barrier if one
// is needed.
teg_result tegi_barriers_before(teg_stream* stream, const teg_binding* bindings,
                                uint32_t binding_count, teg_error* err);

// The batch is submitted or dropped.
static inline void tegi_barriers_restart(tegi_barriers* barriers) {
  barriers->has_begun = false;
  barriers->count = 0;
}

#endif  // TEGULA_CORE_BARRIERS_H
