// SPDX-License-Identifier: Apache-2.0
//
// Free tiles. Takes come from the one heap that fits most tightly, or else
// from the fullest heaps first, so that the emptiest drain and can go back to
// the driver one by one. Invariants: free_tiles is the sum of free_count, and
// free_count the number of bits set in free_bits.
#include "core/heaps.h"

#include "base/checked.h"

static size_t words_of(uint32_t tile_count) { return tile_count / 64 + 1; }

static void free_bitmaps(tegi_host* host, tegi_heap* heap) {
  size_t bytes = words_of(heap->tile_count) * sizeof *heap->free_bits;
  tegi_host_free(host, heap->free_bits, bytes);
  tegi_host_free(host, heap->mapped_bits, bytes);
  *heap = (tegi_heap){0};
}

void tegi_heaps_destroy(tegi_host* host, tegi_heaps* heaps) {
  for (uint32_t i = 0; i < heaps->count; ++i) {
    if (heaps->table[i].extent) free_bitmaps(host, &heaps->table[i]);
  }
  tegi_host_free(host, heaps->table, heaps->capacity * sizeof *heaps->table);
  *heaps = (tegi_heaps){0};
}

bool tegi_heaps_add(tegi_host* host, tegi_heaps* heaps, tegi_extent* extent,
                    uint32_t tile_count) {
  uint32_t index = 0;
  while (index < heaps->count && heaps->table[index].extent) index++;
  if (!tegi_host_grow_array(host, &heaps->table, &heaps->capacity, index + 1,
                            sizeof *heaps->table)) {
    return false;
  }
  tegi_heap* heap = &heaps->table[index];
  *heap = (tegi_heap){.tile_count = tile_count};
  size_t words = words_of(tile_count);
  heap->free_bits = tegi_host_calloc(host, words, sizeof *heap->free_bits);
  heap->mapped_bits = tegi_host_calloc(host, words, sizeof *heap->mapped_bits);
  if (!heap->free_bits || !heap->mapped_bits) {
    free_bitmaps(host, heap);
    return false;
  }
  heap->extent = extent;
  extent->heap_index = index;
  if (index == heaps->count) heaps->count++;
  return true;
}

tegi_extent* tegi_heaps_remove_whole(tegi_host* host, tegi_heaps* heaps,
                                     uint64_t oldest) {
  if (heaps->whole_count == 0) return NULL;
  for (uint32_t i = 0; i < heaps->count; ++i) {
    tegi_heap* heap = &heaps->table[i];
    if (!heap->extent || heap->free_count != heap->tile_count ||
        heap->free_since > oldest) {
      continue;
    }
    tegi_extent* extent = heap->extent;
    heaps->free_tiles -= heap->free_count;
    heaps->whole_count--;
    free_bitmaps(host, heap);
    return extent;
  }
  return NULL;
}

static bool is_free(const tegi_heap* heap, uint32_t tile) {
  return (heap->free_bits[tile / 64] >> (tile % 64)) & 1u;
}

static void take_tile(tegi_heaps* heaps, tegi_heap* heap, uint32_t tile) {
  if (heap->free_count == heap->tile_count) heaps->whole_count--;
  heap->free_bits[tile / 64] &= ~(UINT64_C(1) << (tile % 64));
  heap->free_count--;
  heaps->free_tiles--;
}

// The first tile of the shortest run of at least |count| free tiles; of the
// longest run if none is that long. Its length goes to |out_length|.
static uint32_t find_run(const tegi_heap* heap, uint32_t count,
                         uint32_t* out_length) {
  uint32_t best = 0;
  uint32_t best_length = 0;
  uint32_t tile = 0;
  while (tile < heap->tile_count) {
    uint64_t word = heap->free_bits[tile / 64] >> (tile % 64);
    if (word == 0) {
      tile = (tile / 64 + 1) * 64;
      continue;
    }
    tile += tegi_low_bit(word);
    uint32_t first = tile;
    while (tile < heap->tile_count && is_free(heap, tile)) tile++;
    uint32_t length = tile - first;
    bool is_better = best_length < count
                         ? length > best_length
                         : length >= count && length < best_length;
    if (is_better) {
      best = first;
      best_length = length;
    }
  }
  *out_length = best_length;
  return best;
}

// The heap with the fewest free tiles that still has |least| of them.
static tegi_heap* tightest(tegi_heaps* heaps, uint32_t least) {
  tegi_heap* best = NULL;
  for (uint32_t i = 0; i < heaps->count; ++i) {
    tegi_heap* heap = &heaps->table[i];
    if (!heap->extent || heap->free_count < least || heap->free_count == 0) {
      continue;
    }
    if (!best || heap->free_count < best->free_count) best = heap;
  }
  return best;
}

uint32_t tegi_heaps_take(tegi_heaps* heaps, uint32_t count, tegi_tile* out) {
  uint32_t taken = 0;
  while (taken < count && heaps->free_tiles > 0) {
    tegi_heap* heap = tightest(heaps, count - taken);
    if (!heap) heap = tightest(heaps, 1);
    uint32_t index = heap->extent->heap_index;
    while (taken < count && heap->free_count > 0) {
      uint32_t length;
      uint32_t first = find_run(heap, count - taken, &length);
      for (uint32_t i = 0; i < length && taken < count; ++i) {
        take_tile(heaps, heap, first + i);
        out[taken++] = (tegi_tile){index, first + i};
      }
    }
  }
  return taken;
}

void tegi_heaps_give(tegi_heaps* heaps, const tegi_tile* tiles, uint32_t count,
                     uint64_t run_clock) {
  for (uint32_t i = 0; i < count; ++i) {
    tegi_heap* heap = &heaps->table[tiles[i].heap_index];
    uint32_t tile = tiles[i].tile_index;
    heap->free_bits[tile / 64] |= UINT64_C(1) << (tile % 64);
    heap->free_count++;
    heaps->free_tiles++;
    if (heap->free_count == heap->tile_count) {
      heaps->whole_count++;
      heap->free_since = run_clock;
    }
  }
}

uint32_t tegi_heaps_mark_mapped(tegi_heaps* heaps, const tegi_tile* tiles,
                                uint32_t count) {
  uint32_t again = 0;
  for (uint32_t i = 0; i < count; ++i) {
    tegi_heap* heap = &heaps->table[tiles[i].heap_index];
    uint64_t bit = UINT64_C(1) << (tiles[i].tile_index % 64);
    uint64_t* word = &heap->mapped_bits[tiles[i].tile_index / 64];
    if (*word & bit) again++;
    *word |= bit;
  }
  return again;
}
