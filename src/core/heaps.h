// SPDX-License-Identifier: Apache-2.0
//
// The device's heaps that are cut into tiles, and which of those tiles are
// free. A free tile is idle: nothing can touch it, and it is mapped nowhere.
// Guarded by device->lock.
#ifndef TEGULA_CORE_HEAPS_H
#define TEGULA_CORE_HEAPS_H

#include "range/block.h"
#include "range/tilemap.h"

typedef struct tegi_heap {
  tegi_extent* extent;  // NULL = no heap in this place of the table
  uint32_t tile_count;
  uint32_t free_count;
  uint64_t* free_bits;
  uint64_t* mapped_bits;  // tiles that have ever been mapped
  uint64_t free_since;    // run clock when it fell wholly free
} tegi_heap;

typedef struct tegi_heaps {
  tegi_heap* table;
  size_t capacity;
  uint32_t count;        // places used in the table
  uint32_t whole_count;  // heaps all of whose tiles are free
  uint64_t free_tiles;
} tegi_heaps;

void tegi_heaps_destroy(tegi_host* host, tegi_heaps* heaps);

// Enters a heap with no tile free; sets extent->heap_index.
// False when the host has no memory.
bool tegi_heaps_add(tegi_host* host, tegi_heaps* heaps, tegi_extent* extent,
                    uint32_t tile_count);
// Takes a wholly free heap out of the table. NULL if none was free before
// |oldest| (run clock).
tegi_extent* tegi_heaps_remove_whole(tegi_host* host, tegi_heaps* heaps,
                                     uint64_t oldest);

// Takes any heap out of the table, whatever is free of it. NULL if none is
// left: at the end of a device that was lost, whose tiles did not come back.
tegi_extent* tegi_heaps_remove_any(tegi_host* host, tegi_heaps* heaps);

// See tegi_source_ops.
uint32_t tegi_heaps_take(tegi_heaps* heaps, uint32_t count, tegi_tile* out);
void tegi_heaps_give(tegi_heaps* heaps, const tegi_tile* tiles, uint32_t count,
                     uint64_t run_clock);
// As above for |count| tiles of one heap, |tile| and those behind it.
void tegi_heaps_give_run(tegi_heaps* heaps, tegi_tile tile, uint32_t count,
                         uint64_t run_clock);

// Marks tiles as mapped; returns how many had been mapped before.
uint32_t tegi_heaps_mark_mapped(tegi_heaps* heaps, const tegi_tile* tiles,
                                uint32_t count);

#endif  // TEGULA_CORE_HEAPS_H
