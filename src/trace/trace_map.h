// SPDX-License-Identifier: Apache-2.0
//
// A hash map from 64-bit keys to the facts of a buffer: what is live while a
// trace is read or written, keyed by id or by address. Also counts distinct
// values. Not thread-safe.
#ifndef TEGULA_TRACE_TRACE_MAP_H
#define TEGULA_TRACE_TRACE_MAP_H

#include <stdbool.h>

#include "base/memory.h"

typedef struct tegi_trace_entry {
  uint64_t key;
  uint64_t id;
  uint64_t size;
  uint32_t tag;
  uint8_t lifetime;
  bool is_used;  // owned by the map
} tegi_trace_entry;

// Open addressing with linear probing; a removal shifts entries back, so
// there are no tombstones. Zeroed plus |host| is a valid empty map.
typedef struct tegi_trace_map {
  tegi_host* host;
  tegi_trace_entry* slots;
  size_t capacity;  // 0 or a power of two; at most 3/4 full
  size_t count;
} tegi_trace_map;

void tegi_trace_map_init(tegi_trace_map* map, tegi_host* host);
void tegi_trace_map_deinit(tegi_trace_map* map);
// Forgets every entry, keeps the memory.
void tegi_trace_map_clear(tegi_trace_map* map);

// The entry of |key|, or NULL. Valid until the next add, remove or clear.
tegi_trace_entry* tegi_trace_map_find(const tegi_trace_map* map, uint64_t key);

// Adds |key|, which is not there, and returns its entry with everything else
// zero; NULL when there is no memory, the map as it was.
tegi_trace_entry* tegi_trace_map_add(tegi_trace_map* map, uint64_t key);

// Removes |entry|, which the map returned.
void tegi_trace_map_remove(tegi_trace_map* map, tegi_trace_entry* entry);

#endif  // TEGULA_TRACE_TRACE_MAP_H
