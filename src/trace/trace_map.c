// SPDX-License-Identifier: Apache-2.0
//
// The hash map of live buffers. Owns its slots; no locks. Invariant: every
// entry can be reached from its home slot without crossing an unused one.
#include "trace/trace_map.h"

#include <string.h>

// A finaliser that spreads sequential ids and aligned addresses alike.
static uint64_t mix(uint64_t key) {
  key ^= key >> 32;
  key *= UINT64_C(0xd6e8feb86659fd93);
  key ^= key >> 32;
  return key;
}

static size_t home_of(const tegi_trace_map* map, uint64_t key) {
  return (size_t)mix(key) & (map->capacity - 1);
}

void tegi_trace_map_init(tegi_trace_map* map, tegi_host* host) {
  *map = (tegi_trace_map){.host = host};
}

void tegi_trace_map_deinit(tegi_trace_map* map) {
  if (!map->slots) return;
  tegi_host_free(map->host, map->slots, map->capacity * sizeof *map->slots);
  *map = (tegi_trace_map){.host = map->host};
}

void tegi_trace_map_clear(tegi_trace_map* map) {
  if (map->slots) memset(map->slots, 0, map->capacity * sizeof *map->slots);
  map->count = 0;
}

tegi_trace_entry* tegi_trace_map_find(const tegi_trace_map* map, uint64_t key) {
  if (map->capacity == 0) return NULL;
  size_t mask = map->capacity - 1;
  for (size_t i = home_of(map, key);; i = (i + 1) & mask) {
    tegi_trace_entry* entry = &map->slots[i];
    if (!entry->is_used) return NULL;
    if (entry->key == key) return entry;
  }
}

static tegi_trace_entry* free_slot(const tegi_trace_map* map, uint64_t key) {
  size_t mask = map->capacity - 1;
  size_t i = home_of(map, key);
  while (map->slots[i].is_used) i = (i + 1) & mask;
  return &map->slots[i];
}

static bool grow(tegi_trace_map* map) {
  tegi_trace_map bigger = *map;
  bigger.capacity = map->capacity ? map->capacity * 2 : 64;
  bigger.slots =
      tegi_host_calloc(map->host, bigger.capacity, sizeof *bigger.slots);
  if (!bigger.slots) return false;
  for (size_t i = 0; i < map->capacity; ++i) {
    if (!map->slots[i].is_used) continue;
    *free_slot(&bigger, map->slots[i].key) = map->slots[i];
  }
  tegi_host_free(map->host, map->slots, map->capacity * sizeof *map->slots);
  *map = bigger;
  return true;
}

tegi_trace_entry* tegi_trace_map_add(tegi_trace_map* map, uint64_t key) {
  if (map->count >= map->capacity / 4 * 3 && !grow(map)) return NULL;
  tegi_trace_entry* entry = free_slot(map, key);
  *entry = (tegi_trace_entry){.key = key, .is_used = true};
  ++map->count;
  return entry;
}

void tegi_trace_map_remove(tegi_trace_map* map, tegi_trace_entry* entry) {
  size_t mask = map->capacity - 1;
  size_t hole = (size_t)(entry - map->slots);
  for (size_t i = (hole + 1) & mask; map->slots[i].is_used;
       i = (i + 1) & mask) {
    size_t home = home_of(map, map->slots[i].key);
    // Entry i may move into the hole unless its home lies after the hole.
    if (((i - home) & mask) < ((i - hole) & mask)) continue;
    map->slots[hole] = map->slots[i];
    hole = i;
  }
  map->slots[hole].is_used = false;
  --map->count;
}
