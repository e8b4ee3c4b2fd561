// SPDX-License-Identifier: Apache-2.0
//
// Which tile lies under which slot of a chunk of addresses. A slot is
// tile_bytes of addresses; a tile is a piece of a heap. Bits say quickly how
// many slots of a range have no tile. Owned by its chunk; no lock.
#ifndef TEGULA_RANGE_TILEMAP_H
#define TEGULA_RANGE_TILEMAP_H

#include <stdbool.h>

#include "base/memory.h"

// A physical tile: which heap of the device's table, which tile of it.
typedef struct tegi_tile {
  uint32_t heap_index;
  uint32_t tile_index;
} tegi_tile;

typedef struct tegi_tilemap {
  uint32_t slot_count;
  uint32_t capacity;  // slots there are records for: those beyond are unmapped
  uint32_t mapped_count;
  uint64_t* mapped;  // a bit a slot
  tegi_tile* tiles;  // of mapped slots
} tegi_tilemap;

// Most slots of a map: counts of them, rounded up to words, fit 32 bits.
#define TEGI_MOST_SLOTS (UINT32_MAX - 64)

// All slots start unmapped, without a record.
void tegi_tilemap_init(tegi_tilemap* map, uint32_t slot_count);
// Makes in |larger| a copy of |map| with records for slots below |end|, so
// that a chunk of much address space costs only what is mapped of it. The
// caller puts it in the place of |map|, and destroys the one left over. False
// when the host has no memory.
bool tegi_tilemap_copy_larger(tegi_host* host, const tegi_tilemap* map,
                              uint32_t end, tegi_tilemap* larger);
void tegi_tilemap_destroy(tegi_host* host, tegi_tilemap* map);

static inline bool tegi_tilemap_is_mapped(const tegi_tilemap* map,
                                          uint32_t slot) {
  return slot < map->capacity && ((map->mapped[slot / 64] >> (slot % 64)) & 1u);
}

// |slot| has a record.
static inline void tegi_tilemap_set(tegi_tilemap* map, uint32_t slot,
                                    tegi_tile tile) {
  map->mapped[slot / 64] |= UINT64_C(1) << (slot % 64);
  map->mapped_count++;
  map->tiles[slot] = tile;
}

static inline void tegi_tilemap_clear(tegi_tilemap* map, uint32_t slot) {
  map->mapped[slot / 64] &= ~(UINT64_C(1) << (slot % 64));
  map->mapped_count--;
}

// Mapped slots among [first, end).
uint32_t tegi_tilemap_count(const tegi_tilemap* map, uint32_t first,
                            uint32_t end);

// First slot >= |from| and < |end| that is mapped (or not); |end| if none.
uint32_t tegi_tilemap_next(const tegi_tilemap* map, uint32_t from, uint32_t end,
                           bool is_mapped);

#endif  // TEGULA_RANGE_TILEMAP_H
