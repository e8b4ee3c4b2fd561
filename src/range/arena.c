// SPDX-License-Identifier: Apache-2.0
//
// Boundary tags without tags in memory: neighbours are linked by address.
// Invariants: the blocks of a chunk start at 0, touch each other and end at
// its size; used_count counts the used ones.
#include "range/arena.h"

#include <inttypes.h>
#include <string.h>

#include "base/error.h"

tegi_block* tegi_arena_begin(tegi_slab* slab, tegi_chunk* chunk,
                             uint8_t policy_index) {
  tegi_block* hole = tegi_slab_take(slab);
  if (!hole) return NULL;
  *hole = (tegi_block){
      .size = chunk->bytes,
      .extent = chunk->extent,
      .chunk = chunk,
      .state = TEGI_BLOCK_FREE,
      .policy_index = policy_index,
  };
  chunk->first = hole;
  chunk->used_count = 0;
  return hole;
}

// A new hole record for a part of |hole|; NULL without host memory.
static tegi_block* split_off(tegi_host* host, tegi_slab* slab,
                             const tegi_block* hole, uint64_t offset,
                             uint64_t size) {
  tegi_block* part = tegi_slab_take(slab);
  if (!part) return NULL;
  if (!hole->use.more) {
    part->use = hole->use;
  } else if (!tegi_use_copy(host, &part->use, &hole->use)) {
    tegi_slab_give(slab, part);
    return NULL;
  }
  part->offset = offset;
  part->size = size;
  part->extent = hole->extent;
  part->chunk = hole->chunk;
  part->bin_prev = NULL;
  part->bin_next = NULL;
  part->cold_since = hole->cold_since;
  part->is_partial = false;
  part->state = TEGI_BLOCK_FREE;
  part->policy_index = hole->policy_index;
  return part;
}

tegi_block* tegi_arena_cut(tegi_host* host, tegi_slab* slab, tegi_block* hole,
                           uint64_t offset, uint64_t size, tegi_block** out_low,
                           tegi_block** out_high) {
  uint64_t low_bytes = offset - hole->offset;
  uint64_t high_bytes = hole->size - low_bytes - size;
  tegi_block* low = NULL;
  tegi_block* high = NULL;
  *out_low = *out_high = NULL;
  if (low_bytes) {
    low = split_off(host, slab, hole, hole->offset, low_bytes);
    if (!low) return NULL;
  }
  if (high_bytes) {
    high = split_off(host, slab, hole, offset + size, high_bytes);
    if (!high) {
      if (low) {
        tegi_use_clear(host, &low->use);
        tegi_slab_give(slab, low);
      }
      return NULL;
    }
  }
  if (low) {
    low->prev = hole->prev;
    low->next = hole;
    if (low->prev) {
      low->prev->next = low;
    } else {
      hole->chunk->first = low;
    }
    hole->prev = low;
  }
  if (high) {
    high->next = hole->next;
    high->prev = hole;
    if (high->next) high->next->prev = high;
    hole->next = high;
  }
  hole->offset = offset;
  hole->size = size;
  hole->state = TEGI_BLOCK_USED;
  hole->chunk->used_count++;
  *out_low = low;
  *out_high = high;
  return hole;
}

// Takes |gone|, the right neighbour of |kept|, into |kept|.
static void swallow(tegi_slab* slab, tegi_block* kept, tegi_block* gone) {
  kept->size += gone->size;
  if (gone->cold_since > kept->cold_since) kept->cold_since = gone->cold_since;
  kept->next = gone->next;
  if (kept->next) kept->next->prev = kept;
  tegi_slab_give(slab, gone);
}

tegi_block* tegi_arena_merge(tegi_host* host, tegi_slab* slab,
                             tegi_block* block,
                             void (*unbin)(void* user, tegi_block* hole),
                             void* user) {
  block->state = TEGI_BLOCK_FREE;
  block->chunk->used_count--;
  tegi_block* next = block->next;
  if (next && next->state == TEGI_BLOCK_FREE &&
      tegi_use_merge(host, &block->use, &next->use)) {
    unbin(user, next);
    swallow(slab, block, next);
  }
  tegi_block* prev = block->prev;
  if (prev && prev->state == TEGI_BLOCK_FREE &&
      tegi_use_merge(host, &prev->use, &block->use)) {
    unbin(user, prev);
    swallow(slab, prev, block);
    block = prev;
  }
  return block;
}

// Makes |block|'s neighbours, and its chunk, point to it.
static void announce(tegi_block* block) {
  if (block->prev) {
    block->prev->next = block;
  } else {
    block->chunk->first = block;
  }
  if (block->next) block->next->prev = block;
}

void tegi_arena_exchange(tegi_block* a, tegi_block* b) {
  tegi_block held = *a;
  *a = *b;
  *b = held;
  // What core keeps of a used block stays in its record.
  b->link = a->link;
  a->link = held.link;
  memcpy(b->of_core, a->of_core, sizeof held.of_core);
  memcpy(a->of_core, held.of_core, sizeof held.of_core);
  // Neighbours: each now has itself where the other was.
  if (a->prev == a) a->prev = b;
  if (a->next == a) a->next = b;
  if (b->prev == b) b->prev = a;
  if (b->next == b) b->next = a;
  announce(a);
  announce(b);
}

void tegi_arena_end(tegi_host* host, tegi_slab* slab, tegi_chunk* chunk) {
  while (chunk->first) {
    tegi_block* block = chunk->first;
    chunk->first = block->next;
    tegi_use_clear(host, &block->use);
    tegi_slab_give(slab, block);
  }
}

teg_result tegi_arena_validate(const tegi_chunk* chunk, teg_error* err) {
  uint64_t at = 0;
  uint32_t used_count = 0;
  const tegi_block* before = NULL;
  for (const tegi_block* block = chunk->first; block; block = block->next) {
    if (block->offset != at || block->size == 0 || block->prev != before ||
        block->chunk != chunk || block->extent != chunk->extent) {
      return tegi_error_set(err, TEG_BAD_STATE,
                            "arena: block at %" PRIu64 " of %" PRIu64
                            " bytes does not follow its neighbour, which ends "
                            "at %" PRIu64,
                            block->offset, block->size, at);
    }
    if (block->state != TEGI_BLOCK_FREE) used_count++;
    at += block->size;
    before = block;
  }
  if (at != chunk->bytes || used_count != chunk->used_count) {
    return tegi_error_set(err, TEG_BAD_STATE,
                          "arena: blocks cover %" PRIu64 " of %" PRIu64
                          " bytes, %" PRIu32 " used of %" PRIu32,
                          at, chunk->bytes, used_count, chunk->used_count);
  }
  return TEG_OK;
}
