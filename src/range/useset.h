// SPDX-License-Identifier: Apache-2.0
//
// Use sets: who may still be touching a range of bytes. At most one serial for
// each stream (the latest), a second one for its queue writes, and the number
// of host holds. What a set means for the next owner is the rule of reuse
// (src/core/reuse.c); here it is only data that is copied, merged and stamped.
//
// The common set has one entry and lives inline; more entries are kept in an
// array from the host. No lock: guarded by whatever guards the range.
#ifndef TEGULA_RANGE_USESET_H
#define TEGULA_RANGE_USESET_H

#include <stdbool.h>

#include "base/memory.h"

typedef uint32_t tegi_stream_id;  // 0 = no stream; never reused on a device

// Marks the entry of a stream's queue writes, which land at the next submit
// whatever becomes of the batch.
#define TEGI_USE_QUEUE 0x80000000u

typedef struct tegi_use {
  uint32_t stream;  // tegi_stream_id, with TEGI_USE_QUEUE
  uint32_t unused;
  uint64_t serial;
} tegi_use;

typedef struct tegi_use_list tegi_use_list;

typedef struct tegi_use_set {
  uint64_t serial;      // of the inline entry
  uint32_t stream;      // of the inline entry; 0 = the set has no entry
  uint32_t host_holds;  // mappings, and map requests not answered yet
  tegi_use_list* more;  // further entries; NULL = none
} tegi_use_set;

static inline bool tegi_use_is_empty(const tegi_use_set* set) {
  return set->stream == 0 && set->host_holds == 0;
}

// Adds a use: the later serial of |stream| stays. False when the host has no
// memory for another entry; the set is then as it was.
bool tegi_use_stamp_slow(tegi_host* host, tegi_use_set* set, uint32_t stream,
                         uint64_t serial);

static inline bool tegi_use_stamp(tegi_host* host, tegi_use_set* set,
                                  uint32_t stream, uint64_t serial) {
  if (!set->more && (set->stream == stream || set->stream == 0)) {
    if (set->stream == 0 || set->serial < serial) set->serial = serial;
    set->stream = stream;
    return true;
  }
  return tegi_use_stamp_slow(host, set, stream, serial);
}

// Merges |from| into |into| and leaves |from| empty. False when the host has
// no memory for another entry; both are then as they were.
bool tegi_use_merge_slow(tegi_host* host, tegi_use_set* into,
                         tegi_use_set* from);

static inline bool tegi_use_merge(tegi_host* host, tegi_use_set* into,
                                  tegi_use_set* from) {
  if (!into->more && !from->more &&
      (into->stream == from->stream || from->stream == 0 ||
       into->stream == 0)) {
    if (into->stream == 0 ||
        (from->stream != 0 && into->serial < from->serial)) {
      into->serial = from->serial;
      into->stream = from->stream;
    }
    into->host_holds += from->host_holds;
    *from = (tegi_use_set){0};
    return true;
  }
  return tegi_use_merge_slow(host, into, from);
}

// Copies a set, for a split. False when the host has no memory; |into| is
// then empty.
bool tegi_use_copy(tegi_host* host, tegi_use_set* into,
                   const tegi_use_set* from);

void tegi_use_clear(tegi_host* host, tegi_use_set* set);

// Entries, index 0, 1, ...; false past the end.
bool tegi_use_at(const tegi_use_set* set, size_t index, tegi_use* out_use);

// Drops every entry for which |is_over| says yes.
void tegi_use_prune(tegi_host* host, tegi_use_set* set,
                    bool (*is_over)(void* user, tegi_use use), void* user);

#endif  // TEGULA_RANGE_USESET_H
