// SPDX-License-Identifier: Apache-2.0
//
// tiled, seen by the files that make it up (tiled.c: placing; tiled_fill.c:
// where tiles come from) and by planned, which stands on it.
#ifndef TEGULA_POLICY_TILED_H
#define TEGULA_POLICY_TILED_H

#include "policy/policy.h"
#include "range/arena.h"

enum { TEGI_STEAL_CLASSES = 33 };

// Chunks of addresses and the holes in them. Requests under half a tile have
// an arena of their own, so that they do not pin tiles.
typedef struct tiled_arena {
  tegi_bins* backed;  // holes by the bytes that are backed from the low end
  tegi_bins* open;    // holes that are not backed to their end, by size
} tiled_arena;

// Holes with whole tiles in them, coldest first, by the power of two of how
// many: what steals choose from.
typedef struct tiled_steals {
  uint64_t class_bits;
  tegi_hole* coldest[TEGI_STEAL_CLASSES];
  tegi_hole* hottest[TEGI_STEAL_CLASSES];
} tiled_steals;

typedef struct tiled_policy {
  tegi_policy base;
  tegi_policy_env env;
  uint64_t tile_bytes;
  uint32_t tile_shift;
  tiled_arena small;  // requests under half a tile; not for STATIC
  tiled_arena large;
  tiled_steals steals;
  tegi_slab chunks;
  tegi_chunk* first_chunk;
  // Serves what cannot be mapped any more, at the mapping limit: paged. NULL
  // until the limit was met once.
  tegi_policy* placed;
  bool is_mapping_full;  // as the driver said last. Growth mutex
} tiled_policy;

// ---- tiled.c: all locked
// Counts the backed bytes and the whole tiles of a hole anew, from the map.
void tegi_tiled_rescan(tiled_policy* self, tegi_hole* hole);
void tegi_tiled_insert(tiled_policy* self, tegi_hole* hole);
void tegi_tiled_remove(tiled_policy* self, tegi_hole* hole);
// Makes a used block whose tiles are in any state free.
void tegi_tiled_release_partial(tiled_policy* self, tegi_block* block);
// Retires chunks that hold nothing and are mapped nowhere.
void tegi_tiled_drop_chunks(tiled_policy* self, uint32_t min_unused_runs);
// Slots overlapped by [offset, offset + size). Both fit: no chunk has more
// than TEGI_MOST_SLOTS.
static inline uint32_t tegi_tiled_first_slot(const tiled_policy* self,
                                             uint64_t offset) {
  return (uint32_t)(offset >> self->tile_shift);
}
static inline uint32_t tegi_tiled_end_slot(const tiled_policy* self,
                                           uint64_t end) {
  return (uint32_t)((end + self->tile_bytes - 1) >> self->tile_shift);
}

// ---- tiled_fill.c: growth mutex held, not locked
// Maps tiles under every slot of [first, end) of |chunk| that has none.
//   pending_bytes  what the caller will count as live when this is done
//   uses           gets the uses of tiles that may still be on their way, which
//                  whoever owns the addresses inherits
teg_result tegi_tiled_fill(tiled_policy* self, tegi_chunk* chunk,
                           uint32_t first, uint32_t end, uint64_t pending_bytes,
                           tegi_stream_id stream, tegi_use_set* uses,
                           teg_error* err);
// Takes tiles away from holes and gives them to the device: at least |count|
// if there are as many. Returns how many.
uint32_t tegi_tiled_give_back(tiled_policy* self, uint32_t count, bool may_wait,
                              tegi_stream_id stream);
// Gives every tile of a chunk without used blocks to the device, for good:
// needs no host memory. The session ends, so only streams of other sessions
// can use what is in it still; what they have submitted is waited for.
void tegi_tiled_give_all(tiled_policy* self, tegi_chunk* chunk);
// Gives the tiles of the slots [first, end), all mapped, to the device; their
// uses are over.
teg_result tegi_tiled_empty(tiled_policy* self, tegi_chunk* chunk,
                            uint32_t first, uint32_t end, teg_error* err);

tegi_slack tegi_tiled_slack(const tiled_policy* self);

#endif  // TEGULA_POLICY_TILED_H
