// SPDX-License-Identifier: Apache-2.0
//
// Bit tricks over the slots of one chunk. Invariants: mapped_count is the
// number of bits set; capacity is a multiple of 64.
#include "range/tilemap.h"

#include <string.h>

#include "base/checked.h"

void tegi_tilemap_init(tegi_tilemap* map, uint32_t slot_count) {
  *map = (tegi_tilemap){.slot_count = slot_count};
}

bool tegi_tilemap_copy_larger(tegi_host* host, const tegi_tilemap* map,
                              uint32_t end, tegi_tilemap* larger) {
  enum { LEAST = 64 };
  // Doubling stops at what there are slots for, which fits after rounding up:
  // TEGI_MOST_SLOTS.
  uint64_t most = tegi_max_u64(map->slot_count, end);
  uint64_t wanted = tegi_min_u64((uint64_t)map->capacity * 2, most);
  wanted = tegi_max_u64(tegi_max_u64(wanted, end), LEAST);
  uint32_t capacity = (uint32_t)tegi_align_up(wanted, 64);
  *larger = *map;
  larger->capacity = capacity;
  larger->mapped = tegi_host_calloc(host, capacity / 64, sizeof *map->mapped);
  larger->tiles = tegi_host_calloc(host, capacity, sizeof *map->tiles);
  if (!larger->mapped || !larger->tiles) {
    tegi_tilemap_destroy(host, larger);
    return false;
  }
  if (map->capacity) {
    memcpy(larger->mapped, map->mapped,
           map->capacity / 64 * sizeof *map->mapped);
    memcpy(larger->tiles, map->tiles, map->capacity * sizeof *map->tiles);
  }
  return true;
}

void tegi_tilemap_destroy(tegi_host* host, tegi_tilemap* map) {
  tegi_host_free(host, map->mapped, map->capacity / 64 * sizeof *map->mapped);
  tegi_host_free(host, map->tiles, map->capacity * sizeof *map->tiles);
  map->mapped = NULL;
  map->tiles = NULL;
  map->capacity = 0;
}

// The bits of |word| that lie in [first, end), when it begins at |base|.
static uint64_t window(uint64_t word, uint32_t base, uint32_t first,
                       uint32_t end) {
  if (first > base) word &= ~UINT64_C(0) << (first - base);
  if (end < base + 64) word &= (UINT64_C(1) << (end - base)) - 1;
  return word;
}

uint32_t tegi_tilemap_count(const tegi_tilemap* map, uint32_t first,
                            uint32_t end) {
  uint32_t count = 0;
  if (end > map->capacity) end = map->capacity;
  for (uint32_t base = first & ~63u; base < end; base += 64) {
    uint64_t word = window(map->mapped[base / 64], base, first, end);
    count += (uint32_t)__builtin_popcountll(word);
  }
  return count;
}

uint32_t tegi_tilemap_next(const tegi_tilemap* map, uint32_t from, uint32_t end,
                           bool is_mapped) {
  uint32_t known = end < map->capacity ? end : map->capacity;
  for (uint32_t base = from & ~63u; base < known; base += 64) {
    uint64_t word = map->mapped[base / 64];
    word = window(is_mapped ? word : ~word, base, from, known);
    if (word) return base + tegi_low_bit(word);
  }
  if (is_mapped || known == end) return end;
  return from > known ? from : known;
}
