// SPDX-License-Identifier: Apache-2.0
//
// Which tile lies under each slot of an address range: 0, or a number that
// the device gave the tile. Tiles with following numbers are neighbours in
// memory, so that neighbouring slots over them are one kernel mapping where
// a device maps tiles by mmap. A range with slots s[0..n) uses one mapping
// more than it has breaks, and there is a break between two slots unless both
// are empty or the second's number follows the first's.
//
// Checks calls of the remap table and counts what they change; changes
// nothing but the slots. Guarded by the rule of backend.h for ranges.
#ifndef TEGULA_BACKEND_COMMON_TILE_SLOTS_H
#define TEGULA_BACKEND_COMMON_TILE_SLOTS_H

#include "base/memory.h"
#include "tegula/backend.h"

typedef struct tegi_slots {
  uint32_t* values;
  uint32_t count;
} tegi_slots;

// Gives the number of tile 0 of |heap|, > 0, and how many tiles it has. False
// if it is not a heap.
typedef bool (*tegi_slots_heap)(teg_memory* heap, uint32_t* out_first,
                                uint32_t* out_tile_count);

// A range of |size| bytes in tiles of |tile_bytes|: TEG_INVALID if it cannot
// be one.
teg_result tegi_slots_check_size(uint64_t size, uint64_t tile_bytes,
                                 teg_error* err);
// All empty. TEG_OUT_OF_HOST_MEMORY.
teg_result tegi_slots_init(tegi_slots* slots, tegi_host* host, uint32_t count,
                           teg_error* err);
void tegi_slots_deinit(tegi_slots* slots, tegi_host* host);

// TEG_INVALID unless all of a map or unmap call is as backend.h wants it.
teg_result tegi_slots_check_map(const tegi_slots* slots,
                                const teg_tile_run* runs, size_t run_count,
                                tegi_slots_heap heap_of, teg_error* err);
teg_result tegi_slots_check_unmap(const tegi_slots* slots,
                                  const teg_tile_run* runs, size_t run_count,
                                  teg_error* err);

// How many mappings more the range uses once the call, which was checked, is
// done. Negative: fewer.
int64_t tegi_slots_map_change(const tegi_slots* slots, const teg_tile_run* runs,
                              size_t run_count, tegi_slots_heap heap_of);
int64_t tegi_slots_unmap_change(const tegi_slots* slots,
                                const teg_tile_run* runs, size_t run_count);

// The call is done.
void tegi_slots_map(tegi_slots* slots, const teg_tile_run* runs,
                    size_t run_count, tegi_slots_heap heap_of);
void tegi_slots_unmap(tegi_slots* slots, const teg_tile_run* runs,
                      size_t run_count);

// Runs [i, end) of a map are neighbours here and in memory: one piece of it.
// Likewise of an unmap, where only addresses count.
size_t tegi_slots_joined_map(const teg_tile_run* runs, size_t run_count,
                             size_t i, tegi_slots_heap heap_of);
size_t tegi_slots_joined_unmap(const teg_tile_run* runs, size_t run_count,
                               size_t i);
// As joined_unmap, with the empty slots before, between and behind: the hole
// there will be, from *out_start to *out_end.
size_t tegi_slots_hole_unmap(const tegi_slots* slots, const teg_tile_run* runs,
                             size_t run_count, size_t i, uint64_t* out_start,
                             uint64_t* out_end);

static inline uint64_t tegi_run_end(const teg_tile_run* run) {
  return (uint64_t)run->range_tile_index + run->tile_count;
}

// True if two neighbouring slots need two mappings.
static inline bool tegi_slots_is_break(uint32_t low, uint32_t high) {
  return !(low == 0 ? high == 0 : high == low + 1);
}

#endif  // TEGULA_BACKEND_COMMON_TILE_SLOTS_H
