// SPDX-License-Identifier: Apache-2.0
//
// Splitting and merging of blocks inside chunks. A chunk is one contiguous
// space [0, bytes) over one extent; its blocks cover it without gaps, in
// address order through prev and next. Two free neighbours are merged, save
// where the host had no memory to merge their use sets.
//
// Records come from a slab that the caller owns; nothing else is allocated.
// Which bins a free block is kept in is the caller's: cut takes a hole that is
// in no bin, and what is left of it comes back in no bin. No lock.
#ifndef TEGULA_RANGE_ARENA_H
#define TEGULA_RANGE_ARENA_H

#include "base/slab.h"
#include "range/bins.h"
#include "range/tilemap.h"
#include "tegula/result.h"

struct tegi_chunk {
  tegi_extent* extent;
  uint64_t bytes;
  tegi_block* first;     // block at offset 0
  uint32_t used_count;   // blocks in use
  uint32_t unused_runs;  // the policy's: runs since anything was placed here
  tegi_chunk* prev;      // in the policy's list
  tegi_chunk* next;
  tegi_chunk* cold_prev;  // in the policy's list of empty chunks
  tegi_chunk* cold_next;
  bool is_placed;      // the policy's: a page, where tiles cannot be mapped
  bool is_small;       // the policy's: belongs to the arena of small requests
  bool is_cold;        // in the list of empty chunks
  tegi_tilemap tiles;  // slot_count 0 where there are no tiles
};

// Starts a chunk with one hole over all of it (returned; in no bin).
// NULL when the host has no memory.
tegi_block* tegi_arena_begin(tegi_slab* slab, tegi_chunk* chunk,
                             uint8_t policy_index);

// Cuts [offset, offset + size) out of |hole|, which covers it and is in no
// bin. The returned record is that part, marked used, with the hole's use set.
//   out_low, out_high  what is left before and behind; NULL = nothing
// NULL when the host has no memory: the hole is as it was.
tegi_block* tegi_arena_cut(tegi_host* host, tegi_slab* slab, tegi_block* hole,
                           uint64_t offset, uint64_t size, tegi_block** out_low,
                           tegi_block** out_high);

// Marks |block| free and merges it with free neighbours, for each of which
// |unbin| is called first. Returns the hole, in no bin.
tegi_block* tegi_arena_merge(tegi_host* host, tegi_slab* slab,
                             tegi_block* block,
                             void (*unbin)(void* user, tegi_block* hole),
                             void* user);

// Two used blocks of equal size trade places, in one chunk or two.
void tegi_arena_exchange(tegi_block* a, tegi_block* b);

// The only hole of a chunk without used blocks; NULL if there is more than one
// (merging found no host memory).
static inline tegi_block* tegi_arena_whole(const tegi_chunk* chunk) {
  tegi_block* first = chunk->first;
  return first && !first->next && first->state == TEGI_BLOCK_FREE ? first
                                                                  : NULL;
}

// Takes the records of a chunk back. No block of it is used or in a bin.
void tegi_arena_end(tegi_host* host, tegi_slab* slab, tegi_chunk* chunk);

// Checks the order, cover and counts of one chunk.
// Returns TEG_BAD_STATE with what is wrong.
teg_result tegi_arena_validate(const tegi_chunk* chunk, teg_error* err);

#endif  // TEGULA_RANGE_ARENA_H
