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

tegi_extent* tegi_heaps_remove_any(tegi_host* host, tegi_heaps* heaps) {
  for (uint32_t i = 0; i < heaps->count; ++i) {
    tegi_heap* heap = &heaps->table[i];
    tegi_extent* extent = heap->extent;
    if (!extent) continue;
    heaps->free_tiles -= heap->free_count;
    if (heap->free_count == heap->tile_count) heaps->whole_count--;
    free_bitmaps(host, heap);
    return extent;
  }
  return NULL;
}

// The bits of one word that stand for the tiles [first, end) of it.
static uint64_t bits_between(uint32_t first, uint32_t end) {
  uint64_t below = end < 64 ? (UINT64_C(1) << end) - 1 : ~UINT64_C(0);
  return below & (~UINT64_C(0) << first);
}

// Marks |count| tiles from |tile| on as free or as taken, by whole words.
static void mark_run(uint64_t* bits, uint32_t tile, uint32_t count,
                     bool is_free) {
  uint32_t end = tile + count;
  while (tile < end) {
    uint32_t base = tile & ~63u;
    uint32_t in_word = end - base < 64 ? end - base : 64;
    uint64_t mask = bits_between(tile - base, in_word);
    if (is_free) {
      bits[base / 64] |= mask;
    } else {
      bits[base / 64] &= ~mask;
    }
    tile = base + in_word;
  }
}

// The first run of free tiles from |tile| on; false = there is none.
static bool next_run(const tegi_heap* heap, uint32_t tile, uint32_t* out_first,
                     uint32_t* out_length) {
  uint32_t count = heap->tile_count;
  uint64_t word = 0;
  while (tile < count) {
    word = heap->free_bits[tile / 64] >> (tile % 64);
    if (word) break;
    tile = (tile & ~63u) + 64;
  }
  if (tile >= count) return false;
  tile += tegi_low_bit(word);
  *out_first = tile;
  while (tile < count) {
    uint64_t taken = ~heap->free_bits[tile / 64] >> (tile % 64);
    if (taken) {
      tile += tegi_low_bit(taken);
      break;
    }
    tile = (tile & ~63u) + 64;
  }
  *out_length = (tile < count ? tile : count) - *out_first;
  return true;
}

// The first tile of the shortest run of at least |count| free tiles;
// UINT32_MAX if no run is that long.
static uint32_t find_run(const tegi_heap* heap, uint32_t count) {
  uint32_t best = UINT32_MAX;
  uint32_t best_length = UINT32_MAX;
  uint32_t first = 0;
  uint32_t length = 0;
  while (best_length != count &&
         next_run(heap, first + length, &first, &length)) {
    if (length >= count && length < best_length) {
      best = first;
      best_length = length;
    }
  }
  return best;
}

// Writes |count| tiles from |first| on to |out| and marks them taken.
static void take_run(tegi_heaps* heaps, tegi_heap* heap, uint32_t first,
                     uint32_t count, tegi_tile* out) {
  if (heap->free_count == heap->tile_count) heaps->whole_count--;
  mark_run(heap->free_bits, first, count, false);
  heap->free_count -= count;
  heaps->free_tiles -= count;
  for (uint32_t i = 0; i < count; ++i) {
    out[i] = (tegi_tile){heap->extent->heap_index, first + i};
  }
}

// Up to |count| tiles of one heap: one run if one is long enough, else runs as
// they come, so that a heap in pieces is walked twice and no more.
static uint32_t take_from(tegi_heaps* heaps, tegi_heap* heap, uint32_t count,
                          tegi_tile* out) {
  uint32_t whole =
      heap->free_count >= count ? find_run(heap, count) : UINT32_MAX;
  if (whole != UINT32_MAX) {
    take_run(heaps, heap, whole, count, out);
    return count;
  }
  uint32_t taken = 0;
  uint32_t first = 0;
  uint32_t length = 0;
  while (taken < count && next_run(heap, first + length, &first, &length)) {
    if (length > count - taken) length = count - taken;
    take_run(heaps, heap, first, length, out + taken);
    taken += length;
  }
  return taken;
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
    taken += take_from(heaps, heap, count - taken, out + taken);
  }
  return taken;
}

void tegi_heaps_give_run(tegi_heaps* heaps, tegi_tile tile, uint32_t count,
                         uint64_t run_clock) {
  if (count == 0) return;
  tegi_heap* heap = &heaps->table[tile.heap_index];
  mark_run(heap->free_bits, tile.tile_index, count, true);
  heap->free_count += count;
  heaps->free_tiles += count;
  if (heap->free_count == heap->tile_count) {
    heaps->whole_count++;
    heap->free_since = run_clock;
  }
}

void tegi_heaps_give(tegi_heaps* heaps, const tegi_tile* tiles, uint32_t count,
                     uint64_t run_clock) {
  for (uint32_t i = 0; i < count; ++i) {
    tegi_heaps_give_run(heaps, tiles[i], 1, run_clock);
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
