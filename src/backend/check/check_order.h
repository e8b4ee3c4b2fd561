// SPDX-License-Identifier: Apache-2.0
//
// What a batch follows, for the checker: a set of batches, as the last serial
// of each stream, beside the epoch and the bind batch that it is behind.
#ifndef TEGULA_BACKEND_CHECK_ORDER_H
#define TEGULA_BACKEND_CHECK_ORDER_H

#include <stdbool.h>

#include "base/memory.h"

typedef struct tegi_clock_entry {
  uint64_t stream_id;
  uint64_t serial;
} tegi_clock_entry;

typedef struct tegi_clock {
  uint64_t epoch;  // commands of lower epochs are followed
  uint64_t bind;   // bind batches up to this one are followed
  tegi_clock_entry* entries;
  size_t count;
  size_t capacity;
} tegi_clock;

// Room for |more| streams beyond those there are. False without host memory.
bool tegi_clock_reserve(tegi_host* host, tegi_clock* clock, size_t more);
// There is room for what these add.
void tegi_clock_add(tegi_clock* clock, uint64_t stream_id, uint64_t serial);
void tegi_clock_join(tegi_clock* clock, const tegi_clock* other);
void tegi_clock_remove(tegi_clock* clock, uint64_t stream_id);
// Whether batch |serial| of the stream is followed, by name.
bool tegi_clock_has(const tegi_clock* clock, uint64_t stream_id,
                    uint64_t serial);
// Empty, with the memory it has.
void tegi_clock_clear(tegi_clock* clock);
void tegi_clock_free(tegi_host* host, tegi_clock* clock);

#endif  // TEGULA_BACKEND_CHECK_ORDER_H
