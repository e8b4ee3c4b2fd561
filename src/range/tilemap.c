// SPDX-License-Identifier: Apache-2.0
//
// Bit tricks over the slots of one chunk. Invariant: mapped_count is the
// number of bits set.
#include "range/tilemap.h"

#include "base/checked.h"

bool tegi_tilemap_init(tegi_host* host, tegi_tilemap* map, uint32_t slot_count,
                       uint32_t tile_shift, bool has_tiles) {
  *map = (tegi_tilemap){.slot_count = slot_count, .tile_shift = tile_shift};
  map->mapped =
      tegi_host_calloc(host, slot_count / 64 + 1, sizeof *map->mapped);
  if (has_tiles) {
    map->tiles = tegi_host_calloc(host, slot_count, sizeof *map->tiles);
  }
  if (!map->mapped || (has_tiles && !map->tiles)) {
    tegi_tilemap_destroy(host, map);
    return false;
  }
  return true;
}

void tegi_tilemap_destroy(tegi_host* host, tegi_tilemap* map) {
  tegi_host_free(host, map->mapped,
                 (map->slot_count / 64 + 1) * sizeof *map->mapped);
  tegi_host_free(host, map->tiles, map->slot_count * sizeof *map->tiles);
  *map = (tegi_tilemap){0};
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
  for (uint32_t base = first & ~63u; base < end; base += 64) {
    uint64_t word = window(map->mapped[base / 64], base, first, end);
    count += (uint32_t)__builtin_popcountll(word);
  }
  return count;
}

uint32_t tegi_tilemap_next(const tegi_tilemap* map, uint32_t from,
                           uint32_t end, bool is_mapped) {
  for (uint32_t base = from & ~63u; base < end; base += 64) {
    uint64_t word = map->mapped[base / 64];
    word = window(is_mapped ? word : ~word, base, from, end);
    if (word) return base + tegi_low_bit(word);
  }
  return end;
}
