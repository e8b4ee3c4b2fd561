// SPDX-License-Identifier: Apache-2.0
//
// Counts every tile of a device: each is free in its heap or under one address
// of one session. All static, and without cmocka: fuzz targets use it as well.
// Not for while other threads use the device.
#ifndef TEGULA_TESTS_TILE_CENSUS_H
#define TEGULA_TESTS_TILE_CENSUS_H

#include <stdlib.h>

#include "core/objects.h"
#include "policy/tiled.h"

// One byte for each tile of each heap: 1 = free, 2 = under an address.
typedef struct tile_census {
  uint8_t* seen[256];
  const char* why;
} tile_census;

static void see(tile_census* census, const tegi_heaps* heaps, uint32_t heap,
                uint32_t tile, uint8_t mark) {
  if (heap >= heaps->count || !heaps->table[heap].extent ||
      tile >= heaps->table[heap].tile_count) {
    census->why = "a tile of a heap that is not there";
  } else if (census->seen[heap][tile]) {
    census->why = "a tile in two places";
  } else {
    census->seen[heap][tile] = mark;
  }
}

static void count_free(tile_census* census, const tegi_heaps* heaps) {
  uint64_t free_tiles = 0;
  uint32_t whole_count = 0;
  for (uint32_t i = 0; i < heaps->count; ++i) {
    const tegi_heap* heap = &heaps->table[i];
    if (!heap->extent) continue;
    uint32_t free_count = 0;
    for (uint32_t tile = 0; tile < heap->tile_count; ++tile) {
      if (!((heap->free_bits[tile / 64] >> (tile % 64)) & 1u)) continue;
      see(census, heaps, i, tile, 1);
      free_count++;
    }
    if (free_count != heap->free_count) census->why = "free tiles of a heap";
    if (free_count == heap->tile_count) whole_count++;
    free_tiles += free_count;
  }
  if (free_tiles != heaps->free_tiles || whole_count != heaps->whole_count) {
    census->why = "the sums over the heaps";
  }
}

static void count_mapped(tile_census* census, const tegi_heaps* heaps,
                         const tiled_policy* tiled) {
  for (const tegi_chunk* chunk = tiled->first_chunk; chunk;
       chunk = chunk->next) {
    uint32_t mapped = 0;
    for (uint32_t slot = 0; slot < chunk->tiles.slot_count; ++slot) {
      slot =
          tegi_tilemap_next(&chunk->tiles, slot, chunk->tiles.slot_count, true);
      if (slot == chunk->tiles.slot_count) break;
      tegi_tile tile = chunk->tiles.tiles[slot];
      see(census, heaps, tile.heap_index, tile.tile_index, 2);
      mapped++;
    }
    if (mapped != chunk->tiles.mapped_count) census->why = "mapped_count";
  }
}

// The first members of planned_policy.
typedef struct planned_prefix {
  tegi_policy base;
  tiled_policy* tiled;
} planned_prefix;

static const tiled_policy* tiled_of(const tegi_policy* policy) {
  if (policy->ops == &tegi_policy_tiled) return (const tiled_policy*)policy;
  if (policy->ops == &tegi_policy_planned) {
    return ((const planned_prefix*)policy)->tiled;
  }
  return NULL;
}

// What is wrong with the tiles of |device|; NULL = nothing.
static const char* tile_census_check(const teg_device* device) {
  tile_census census = {.why = NULL};
  const tegi_heaps* heaps = &device->heaps;
  if (heaps->count > 256) return "more heaps than the census has room for";
  for (uint32_t i = 0; i < heaps->count; ++i) {
    if (!heaps->table[i].extent) continue;
    census.seen[i] = calloc(heaps->table[i].tile_count, 1);
    if (!census.seen[i]) abort();
  }
  count_free(&census, heaps);
  for (const teg_session* session = device->sessions; session;
       session = session->next) {
    for (uint32_t i = 0; i < session->slot_count; ++i) {
      const tiled_policy* tiled = tiled_of(session->slots[i]);
      if (tiled) count_mapped(&census, heaps, tiled);
    }
  }
  for (uint32_t i = 0; i < heaps->count; ++i) {
    uint32_t count = heaps->table[i].extent ? heaps->table[i].tile_count : 0;
    for (uint32_t tile = 0; tile < count; ++tile) {
      if (!census.seen[i][tile]) census.why = "a tile was lost";
    }
    free(census.seen[i]);
  }
  return census.why;
}

#endif  // TEGULA_TESTS_TILE_CENSUS_H
