// SPDX-License-Identifier: Apache-2.0
//
// tiled: an address arena whose tiles can be moved under other addresses.
// This file places blocks in holes; tiled_fill.c finds tiles for them.
//
// Each hole knows two numbers, kept by arithmetic on the fast path: |backed|
// (link.key), the bytes from its low end up to the first slot without a tile,
// and |whole_count|, the mapped tiles that lie wholly inside and could be
// taken from it. A block is always placed at the low end of its hole. A hole
// keeps its tiles until someone needs them.
//
// STATIC buffers have an arena of their own, in which neighbours share the
// tile at their border whatever their size, so that weights cost what they
// are. Nothing under a used block ever moves.
#include "policy/tiled.h"

#include <assert.h>
#include <inttypes.h>

#include "base/error.h"

enum { CANDIDATES = 8 };

static tiled_policy* cast(tegi_policy* policy) { return (tiled_policy*)policy; }

static tegi_hole* as_hole(tegi_block* block) { return (tegi_hole*)block; }

static tiled_arena* arena_for(tiled_policy* self, uint64_t size) {
  bool is_small = self->small.backed && size < self->tile_bytes / 2;
  return is_small ? &self->small : &self->large;
}

static tiled_arena* arena_of(tiled_policy* self, const tegi_block* block) {
  return block->chunk->is_small ? &self->small : &self->large;
}

// ---- Life ------------------------------------------------------------------

static bool init_arena(tegi_host* host, tiled_arena* arena) {
  arena->backed = tegi_host_alloc(host, sizeof *arena->backed);
  arena->open = tegi_host_alloc(host, sizeof *arena->open);
  if (!arena->backed || !arena->open) return false;
  arena->open->link_offset = offsetof(tegi_hole, size_link);
  return true;
}

static void free_arena(tegi_host* host, tiled_arena* arena) {
  tegi_host_free(host, arena->backed, sizeof *arena->backed);
  tegi_host_free(host, arena->open, sizeof *arena->open);
}

static void free_policy(tiled_policy* self) {
  tegi_host* host = self->env.host;
  free_arena(host, &self->small);
  free_arena(host, &self->large);
  tegi_slab_destroy(&self->chunks);
  tegi_host_free(host, self, sizeof *self);
}

static teg_result create(const tegi_policy_env* env, tegi_policy** out_policy,
                         teg_error* err) {
  if (env->caps->remap == TEG_REMAP_NONE) {
    // Nothing can move: the same requests are placed within heaps.
    return tegi_policy_paged.create(env, out_policy, err);
  }
  tiled_policy* self = tegi_host_alloc(env->host, sizeof *self);
  bool is_complete = self != NULL;
  if (self) {
    self->env = *env;
    self->tile_bytes = env->caps->tile_bytes;
    self->tile_shift = tegi_low_bit(self->tile_bytes);
    tegi_slab_init(&self->chunks, env->host, sizeof(tegi_chunk));
    is_complete = init_arena(env->host, &self->large) &&
                  (env->is_static || init_arena(env->host, &self->small));
  }
  if (!is_complete) {
    if (self) free_policy(self);
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "policy tiled: no host memory");
  }
  self->base.ops = &tegi_policy_tiled;
  *out_policy = &self->base;
  return TEG_OK;
}

tegi_slack tegi_tiled_slack(const tiled_policy* self) {
  uint32_t percent = self->env.options->slack_percent;
  return (tegi_slack){.of_all_percent = percent,
                      .of_run_percent = percent * 2,
                      .margin_bytes = self->tile_bytes,
                      .is_unlimited = self->env.is_static};
}

// ---- Holes in their tables -------------------------------------------------

static void steal_append(tiled_steals* steals, tegi_hole* hole) {
  uint32_t at = tegi_high_bit(hole->whole_count);
  hole->steal_prev = steals->hottest[at];
  hole->steal_next = NULL;
  if (hole->steal_prev) {
    hole->steal_prev->steal_next = hole;
  } else {
    steals->coldest[at] = hole;
    steals->class_bits |= UINT64_C(1) << at;
  }
  steals->hottest[at] = hole;
}

static void steal_remove(tiled_steals* steals, tegi_hole* hole) {
  uint32_t at = tegi_high_bit(hole->whole_count);
  if (hole->steal_prev) {
    hole->steal_prev->steal_next = hole->steal_next;
  } else {
    steals->coldest[at] = hole->steal_next;
    if (!hole->steal_next) steals->class_bits &= ~(UINT64_C(1) << at);
  }
  if (hole->steal_next) {
    hole->steal_next->steal_prev = hole->steal_prev;
  } else {
    steals->hottest[at] = hole->steal_prev;
  }
}

// |hole|'s backed bytes are in link.key, where the bins keep them.
void tegi_tiled_insert(tiled_policy* self, tegi_hole* hole) {
  tiled_arena* arena = arena_of(self, &hole->block);
  uint64_t backed = hole->block.bin_key;
  if (backed > 0) tegi_bins_insert(arena->backed, &hole->block, backed);
  if (backed < hole->block.size) {
    tegi_bins_insert(arena->open, &hole->block, hole->block.size);
  }
  if (hole->whole_count > 0) steal_append(&self->steals, hole);
}

void tegi_tiled_remove(tiled_policy* self, tegi_hole* hole) {
  tiled_arena* arena = arena_of(self, &hole->block);
  uint64_t backed = hole->block.bin_key;
  if (backed > 0) tegi_bins_remove(arena->backed, &hole->block);
  if (backed < hole->block.size) {
    tegi_bins_remove(arena->open, &hole->block);
  }
  if (hole->whole_count > 0) steal_remove(&self->steals, hole);
}

static void unbin_hole(void* user, tegi_block* hole) {
  tegi_tiled_remove(user, as_hole(hole));
}

// Tiles touched by [at, at + bytes) that lie wholly inside [offset, offset +
// size).
static uint32_t whole_tiles(const tiled_policy* self, uint64_t offset,
                            uint64_t size, uint64_t at, uint64_t bytes) {
  uint32_t first = tegi_tiled_end_slot(self, offset);
  uint32_t end = tegi_tiled_first_slot(self, offset + size);
  uint32_t touched_first = tegi_tiled_first_slot(self, at);
  uint32_t touched_end = tegi_tiled_end_slot(self, at + bytes);
  if (touched_first > first) first = touched_first;
  if (touched_end < end) end = touched_end;
  return end > first ? end - first : 0;
}

void tegi_tiled_rescan(tiled_policy* self, tegi_hole* hole) {
  tegi_block* block = &hole->block;
  const tegi_tilemap* tiles = &block->chunk->tiles;
  uint64_t end_offset = block->offset + block->size;
  uint32_t first = tegi_tiled_first_slot(self, block->offset);
  uint32_t end = tegi_tiled_end_slot(self, end_offset);
  uint32_t unmapped = tegi_tilemap_next(tiles, first, end, false);
  uint64_t backed_end = (uint64_t)unmapped << self->tile_shift;
  block->bin_key = 0;
  if (unmapped == end) {
    block->bin_key = block->size;
  } else if (backed_end > block->offset) {
    block->bin_key = backed_end - block->offset;
  }
  uint32_t whole_first = tegi_tiled_end_slot(self, block->offset);
  uint32_t whole_end = tegi_tiled_first_slot(self, end_offset);
  hole->whole_count = whole_end > whole_first
                          ? tegi_tilemap_count(tiles, whole_first, whole_end)
                          : 0;
}

// ---- Take and give ---------------------------------------------------------

// Cuts the low end off a hole, which leaves its table. What is left of it is
// |out_high| (NULL = nothing), for the caller to insert. NULL without host
// memory, and the hole where it was.
static tegi_block* cut_low(tiled_policy* self, tegi_block* hole, uint64_t size,
                           tegi_block** out_high) {
  tegi_tiled_remove(self, as_hole(hole));
  tegi_block* low;
  tegi_block* block = tegi_arena_cut(self->env.host, self->env.blocks, hole,
                                     hole->offset, size, &low, out_high);
  if (!block) {
    tegi_tiled_insert(self, as_hole(hole));
    return NULL;
  }
  block->chunk->unused_runs = 0;
  return block;
}

// Cuts the low end off a hole that is backed for |size|. NULL without host
// memory.
static tegi_block* cut_backed(tiled_policy* self, tegi_block* hole,
                              uint64_t size) {
  tegi_prune_hole(self->env.source, hole);
  uint64_t backed = hole->bin_key;
  uint64_t hole_size = hole->size;
  uint32_t whole_count = as_hole(hole)->whole_count;
  tegi_block* high;
  tegi_block* block = cut_low(self, hole, size, &high);
  if (!block) return NULL;
  if (high) {
    high->bin_key = backed - size;
    as_hole(high)->whole_count =
        whole_count -
        whole_tiles(self, block->offset, hole_size, block->offset, size);
    tegi_tiled_insert(self, as_hole(high));
  }
  return block;
}

typedef struct asking {
  tegi_source* source;
  tegi_stream_id stream;
} asking;

static bool may_take(void* user, const tegi_block* hole) {
  const asking* who = user;
  return tegi_may_reuse(who->source, &hole->use, who->stream);
}

static tegi_block* find_backed(tiled_policy* self, tiled_arena* arena,
                               uint64_t size, tegi_stream_id stream) {
  tegi_block* hole = tegi_bins_find(arena->backed, size, NULL, NULL);
  if (!hole || tegi_may_reuse(self->env.source, &hole->use, stream)) {
    return hole;
  }
  asking who = {self->env.source, stream};
  return tegi_bins_find(arena->backed, size, may_take, &who);
}

static tegi_block* take(tegi_policy* policy, const tegi_request* request) {
  tiled_policy* self = cast(policy);
  if (request->max_size) return NULL;
  tiled_arena* arena = arena_for(self, request->size);
  tegi_block* hole = find_backed(self, arena, request->size, request->stream);
  if (hole) return cut_backed(self, hole, request->size);
  return self->placed ? self->placed->ops->take(self->placed, request) : NULL;
}

// What merging forgets of a neighbour.
typedef struct tiled_span {
  uint64_t size;
  uint64_t backed;
  uint32_t whole_count;
} tiled_span;

static tiled_span span_of(tegi_block* hole) {
  if (!hole || hole->state != TEGI_BLOCK_FREE) return (tiled_span){0};
  return (tiled_span){hole->size, hole->bin_key, as_hole(hole)->whole_count};
}

static void give(tegi_policy* policy, tegi_block* block) {
  tiled_policy* self = cast(policy);
  if (block->chunk->is_placed) {
    self->placed->ops->give(self->placed, block);
    return;
  }
  if (block->is_partial) {
    tegi_tiled_release_partial(self, block);
    return;
  }
  uint64_t offset = block->offset;
  uint64_t size = block->size;
  uint64_t backed = size;
  uint64_t end = offset + size;
  uint32_t whole_count = 0;
  tiled_span low = span_of(block->prev);
  tiled_span high = span_of(block->next);
  tegi_block* hole = tegi_arena_merge(self->env.host, self->env.blocks, block,
                                      unbin_hole, self);
  tegi_prune_hole(self->env.source, hole);
  if (hole->offset + hole->size != end) {
    backed += high.backed;
    whole_count += high.whole_count;
  }
  if (hole->offset != offset) {
    backed = low.backed == low.size ? low.size + backed : low.backed;
    whole_count += low.whole_count;
  }
  hole->bin_key = backed;
  as_hole(hole)->whole_count =
      whole_count + whole_tiles(self, hole->offset, hole->size, offset, size);
  tegi_tiled_insert(self, as_hole(hole));
}

void tegi_tiled_release_partial(tiled_policy* self, tegi_block* block) {
  block->is_partial = false;
  tegi_block* hole = tegi_arena_merge(self->env.host, self->env.blocks, block,
                                      unbin_hole, self);
  tegi_prune_hole(self->env.source, hole);
  tegi_tiled_rescan(self, as_hole(hole));
  tegi_tiled_insert(self, as_hole(hole));
}

// ---- Placing where tiles are missing ---------------------------------------

typedef struct choice {
  tegi_block* hole;
  uint32_t missing;
} choice;

static uint32_t missing_tiles(const tiled_policy* self, const tegi_block* hole,
                              uint64_t size) {
  uint32_t first = tegi_tiled_first_slot(self, hole->offset);
  uint32_t end = tegi_tiled_end_slot(self, hole->offset + size);
  return end - first - tegi_tilemap_count(&hole->chunk->tiles, first, end);
}

static void consider(tiled_policy* self, tegi_block* hole,
                     const tegi_request* request, choice* best) {
  if (hole->size < request->size ||
      !tegi_may_reuse(self->env.source, &hole->use, request->stream)) {
    return;
  }
  uint32_t missing = missing_tiles(self, hole, request->size);
  if (best->hole &&
      (missing > best->missing ||
       (missing == best->missing && hole->size >= best->hole->size))) {
    return;
  }
  *best = (choice){hole, missing};
}

// A few holes large enough, smallest first; and a few whose backed part is
// just too short, longest first. The one that needs the fewest tiles.
static tegi_block* choose_open(tiled_policy* self, tiled_arena* arena,
                               const tegi_request* request) {
  choice best = {NULL, 0};
  uint32_t own_bin = tegi_bin_of(request->size);
  uint32_t looks = CANDIDATES;
  uint32_t bin = tegi_bins_next(arena->open, own_bin);
  while (bin != UINT32_MAX && looks > 0) {
    tegi_block* hole = arena->open->heads[bin];
    for (; hole && looks > 0; looks--) {
      consider(self, hole, request, &best);
      hole = as_hole(hole)->size_link.next;
    }
    // In its own bin holes may be too small: they leave the others their turn.
    if (bin == own_bin) looks = CANDIDATES;
    bin = tegi_bins_next(arena->open, bin + 1);
  }
  looks = CANDIDATES;
  bin = tegi_bins_before(arena->backed, tegi_bin_of(request->size));
  while (bin != UINT32_MAX && looks > 0) {
    tegi_block* hole = arena->backed->heads[bin];
    for (; hole && looks > 0; looks--) {
      consider(self, hole, request, &best);
      hole = hole->bin_next;
    }
    bin = bin > 0 ? tegi_bins_before(arena->backed, bin - 1) : UINT32_MAX;
  }
  return best.hole;
}

// Cuts the low end off any hole; its tiles are to be filled in. Locked.
static tegi_block* cut_open(tiled_policy* self, tegi_block* hole,
                            uint64_t size) {
  tegi_prune_hole(self->env.source, hole);
  tegi_block* high;
  tegi_block* block = cut_low(self, hole, size, &high);
  if (!block) return NULL;
  if (high) {
    // The tile at the border may be missing still: the rest is backed only
    // once it is there, and is scanned again then.
    tegi_tiled_rescan(self, as_hole(high));
    tegi_tiled_insert(self, as_hole(high));
  }
  block->is_partial = true;
  return block;
}

// ---- Chunks ----------------------------------------------------------------

// Enters a chunk over |extent| with one hole. Locked; NULL without host
// memory.
static tegi_chunk* enter_chunk(tiled_policy* self, tegi_extent* extent,
                               bool is_small) {
  tegi_chunk* chunk = tegi_slab_take(&self->chunks);
  if (!chunk) return NULL;
  *chunk = (tegi_chunk){
      .extent = extent, .bytes = extent->bytes, .is_small = is_small};
  uint64_t slots = extent->bytes >> self->tile_shift;
  assert(slots <= TEGI_MOST_SLOTS);
  tegi_tilemap_init(&chunk->tiles, (uint32_t)slots);
  tegi_block* hole =
      tegi_arena_begin(self->env.blocks, chunk, self->env.policy_index);
  if (!hole) {
    tegi_slab_give(&self->chunks, chunk);
    return NULL;
  }
  chunk->next = self->first_chunk;
  if (chunk->next) chunk->next->prev = chunk;
  self->first_chunk = chunk;
  tegi_tiled_rescan(self, as_hole(hole));
  tegi_tiled_insert(self, as_hole(hole));
  return chunk;
}

static teg_result no_records(teg_error* err) {
  return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                        "policy tiled: no host memory for records");
}

// Addresses for |bytes|. The one place where they come from, so that the
// slots of every chunk can be counted in 32 bits.
static teg_result reserve_addresses(tiled_policy* self, uint64_t bytes,
                                    tegi_extent** out_extent, teg_error* err) {
  if (bytes >> self->tile_shift >= TEGI_MOST_SLOTS) {
    return tegi_error_set(err, TEG_LIMIT,
                          "policy tiled: %" PRIu64
                          " bytes are more tiles of %" PRIu64
                          " bytes than can be counted",
                          bytes, self->tile_bytes);
  }
  tegi_source* source = self->env.source;
  teg_result result =
      source->ops->range_reserve(source, bytes, out_extent, err);
  // Addresses take a mapping as well.
  self->is_mapping_full = result == TEG_LIMIT;
  return result;
}

// More addresses for a request of |size|.
static teg_result add_chunk(tiled_policy* self, uint64_t size, bool is_small,
                            teg_error* err) {
  tegi_source* source = self->env.source;
  tegi_extent* extent;
  uint64_t own = tegi_align_up(size, self->tile_bytes);
  uint64_t bytes =
      tegi_align_up(self->env.options->chunk_bytes, self->tile_bytes);
  uint64_t most = self->env.caps->max_range_bytes;
  if (most) {
    bytes = tegi_min_u64(bytes, tegi_align_down(most, self->tile_bytes));
  }
  bytes = tegi_max_u64(own, bytes);
  teg_result result = reserve_addresses(self, bytes, &extent, err);
  if (result != TEG_OK && bytes > own) {
    result = reserve_addresses(self, own, &extent, err);
  }
  if (result != TEG_OK) return result;
  tegi_lock_acquire(self->env.lock);
  tegi_chunk* chunk = enter_chunk(self, extent, is_small);
  if (!chunk) {
    tegi_use_set none = {0};
    source->ops->retire(source, extent, &none);
  }
  tegi_lock_release(self->env.lock);
  return chunk ? TEG_OK : no_records(err);
}

static void drop_chunk(tiled_policy* self, tegi_chunk* chunk) {
  // No tile is mapped here, but where the queue orders remapping, commands that
  // used the tiles that left can be on their way. All is one hole, which has
  // their uses.
  tegi_use_set use = chunk->first->use;
  chunk->first->use = (tegi_use_set){0};
  for (tegi_block* hole = chunk->first; hole; hole = hole->next) {
    tegi_tiled_remove(self, as_hole(hole));
  }
  tegi_arena_end(self->env.host, self->env.blocks, chunk);
  tegi_tilemap_destroy(self->env.host, &chunk->tiles);
  if (chunk->prev) {
    chunk->prev->next = chunk->next;
  } else {
    self->first_chunk = chunk->next;
  }
  if (chunk->next) chunk->next->prev = chunk->prev;
  self->env.source->ops->retire(self->env.source, chunk->extent, &use);
  tegi_slab_give(&self->chunks, chunk);
}

void tegi_tiled_drop_chunks(tiled_policy* self, uint32_t min_unused_runs) {
  for (tegi_chunk* chunk = self->first_chunk; chunk;) {
    tegi_chunk* next = chunk->next;
    if (chunk->used_count == 0 && chunk->tiles.mapped_count == 0 &&
        chunk->unused_runs >= min_unused_runs) {
      drop_chunk(self, chunk);
    }
    chunk = next;
  }
}

// ---- Grow ------------------------------------------------------------------

// Fills the slots of a block that was cut open; on failure it is a hole again.
// The uses of tiles that came under |block|, and reach into the hole behind it,
// while commands that use them may be on their way. Locked. Leaves |uses|
// empty, or what there was no host memory for.
static void inherit_uses(tiled_policy* self, tegi_block* block,
                         tegi_use_set* uses) {
  if (tegi_use_is_empty(uses)) return;
  tegi_host* host = self->env.host;
  tegi_block* next = block->next;
  if (next && next->state == TEGI_BLOCK_FREE) {
    tegi_use_set copy;
    if (!tegi_use_copy(host, &copy, uses)) return;
    bool is_merged = tegi_use_merge(host, &next->use, &copy);
    tegi_use_clear(host, &copy);
    if (!is_merged) return;
  }
  (void)tegi_use_merge(host, &block->use, uses);
}

// What could not be inherited is waited for. Not locked.
static void wait_for_rest(tiled_policy* self, tegi_use_set* uses,
                          tegi_stream_id stream) {
  if (tegi_use_is_empty(uses)) return;
  tegi_source* source = self->env.source;
  (void)source->ops->wait(source, uses, stream, NULL);
  tegi_use_clear(self->env.host, uses);
}

static teg_result fill_block(tiled_policy* self, tegi_block* block,
                             uint64_t size, tegi_stream_id stream,
                             teg_error* err) {
  tegi_use_set uses;
  teg_result result = tegi_tiled_fill(
      self, block->chunk, tegi_tiled_first_slot(self, block->offset),
      tegi_tiled_end_slot(self, block->offset + size), size, stream, &uses,
      err);
  tegi_lock_acquire(self->env.lock);
  if (result != TEG_OK) {
    tegi_tiled_release_partial(self, block);
  } else {
    block->is_partial = size < block->size;
    inherit_uses(self, block, &uses);
    tegi_block* next = block->next;
    if (next && next->state == TEGI_BLOCK_FREE) {
      tegi_tiled_remove(self, as_hole(next));
      tegi_tiled_rescan(self, as_hole(next));
      tegi_tiled_insert(self, as_hole(next));
    }
  }
  tegi_lock_release(self->env.lock);
  wait_for_rest(self, &uses, stream);
  return result;
}

// A block over all of its own chunk, so that no neighbour shares a tile that
// may go; |request->size| bytes of it are backed now.
static teg_result grow_growing(tiled_policy* self, const tegi_request* request,
                               tegi_block** out_block, teg_error* err) {
  tegi_source* source = self->env.source;
  uint64_t bytes = tegi_align_up(request->max_size, self->tile_bytes);
  tegi_extent* extent;
  teg_result result = reserve_addresses(self, bytes, &extent, err);
  if (result != TEG_OK) return result;
  tegi_lock_acquire(self->env.lock);
  tegi_chunk* chunk = enter_chunk(self, extent, false);
  tegi_block* block = chunk ? cut_open(self, chunk->first, chunk->bytes) : NULL;
  if (!chunk) {
    tegi_use_set none = {0};
    source->ops->retire(source, extent, &none);
  }
  tegi_lock_release(self->env.lock);
  if (!block) return no_records(err);
  result = fill_block(self, block, request->size, request->stream, err);
  if (result != TEG_OK) return result;
  block->is_partial = true;
  *out_block = block;
  return TEG_OK;
}

static teg_result grow_mapped(tegi_policy* policy, const tegi_request* request,
                              tegi_block** out_block, teg_error* err) {
  tiled_policy* self = cast(policy);
  *out_block = NULL;
  if (request->max_size) {
    return grow_growing(self, request, out_block, err);
  }
  tiled_arena* arena = arena_for(self, request->size);
  tegi_block* block = NULL;
  for (int attempt = 0; !block && attempt < 2; ++attempt) {
    if (attempt > 0) {
      teg_result result =
          add_chunk(self, request->size, arena == &self->small, err);
      if (result != TEG_OK) return result;
    }
    tegi_lock_acquire(self->env.lock);
    block = take(policy, request);
    bool is_ready = block != NULL;
    if (!block) {
      // The chunk that was just added is the first one, and all of it is free.
      tegi_block* hole = attempt > 0 ? self->first_chunk->first
                                     : choose_open(self, arena, request);
      if (hole) block = cut_open(self, hole, request->size);
    }
    tegi_lock_release(self->env.lock);
    if (is_ready) {
      *out_block = block;
      return TEG_OK;
    }
  }
  if (!block) return no_records(err);
  teg_result result =
      fill_block(self, block, request->size, request->stream, err);
  if (result == TEG_OK) *out_block = block;
  return result;
}

// At the mapping limit the request is placed within heaps instead.
static teg_result grow_placed(tiled_policy* self, const tegi_request* request,
                              tegi_block** out_block, teg_error* err) {
  if (!self->placed) {
    tegi_policy* placed;
    teg_result result = tegi_policy_paged.create(&self->env, &placed, err);
    if (result != TEG_OK) return result;
    tegi_lock_acquire(self->env.lock);
    self->placed = placed;
    tegi_lock_release(self->env.lock);
  }
  return self->placed->ops->grow(self->placed, request, out_block, err);
}

static teg_result grow(tegi_policy* policy, const tegi_request* request,
                       tegi_block** out_block, teg_error* err) {
  tiled_policy* self = cast(policy);
  self->is_mapping_full = false;
  teg_result result = grow_mapped(policy, request, out_block, err);
  if (result != TEG_LIMIT || !self->is_mapping_full) return result;
  return grow_placed(self, request, out_block, err);
}

static teg_result resize(tegi_policy* policy, tegi_block* block, uint64_t size,
                         tegi_stream_id stream, teg_error* err) {
  tiled_policy* self = cast(policy);
  // A block that was placed was made with its largest size.
  if (block->chunk->is_placed || !block->is_partial) return TEG_OK;
  uint32_t end = tegi_tiled_end_slot(self, size);
  tegi_use_set gained;
  teg_result result =
      tegi_tiled_fill(self, block->chunk, 0, end, 0, stream, &gained, err);
  if (result != TEG_OK) return result;
  tegi_lock_acquire(self->env.lock);
  inherit_uses(self, block, &gained);
  tegi_lock_release(self->env.lock);
  wait_for_rest(self, &gained, stream);
  uint32_t mapped_end = tegi_tilemap_next(
      &block->chunk->tiles, end, block->chunk->tiles.slot_count, false);
  if (mapped_end == end) return TEG_OK;
  // Shrinking: what used the bytes must be over before the tiles go.
  tegi_source* source = self->env.source;
  tegi_use_set use;
  tegi_lock_acquire(self->env.lock);
  bool is_copied = tegi_use_copy(self->env.host, &use, &block->use);
  tegi_lock_release(self->env.lock);
  if (!is_copied) return no_records(err);
  result = source->ops->wait(source, &use, stream, err);
  tegi_use_clear(self->env.host, &use);
  if (result != TEG_OK) return result;
  return tegi_tiled_empty(self, block->chunk, end, mapped_end, err);
}

// ---- Trim, age, end --------------------------------------------------------

static uint64_t trim(tegi_policy* policy, uint64_t wanted, bool is_idle_only,
                     tegi_stream_id stream) {
  tiled_policy* self = cast(policy);
  uint64_t tiles = tegi_div_up(wanted, self->tile_bytes);
  uint32_t count = tiles > UINT32_MAX ? UINT32_MAX : (uint32_t)tiles;
  uint32_t given = tegi_tiled_give_back(self, count, !is_idle_only, stream);
  tegi_lock_acquire(self->env.lock);
  tegi_tiled_drop_chunks(self, 0);
  tegi_lock_release(self->env.lock);
  uint64_t bytes = (uint64_t)given << self->tile_shift;
  if (self->placed && bytes < wanted) {
    bytes += self->placed->ops->trim(self->placed, wanted - bytes, is_idle_only,
                                     stream);
  }
  return bytes;
}

static uint32_t lend_tiles(tegi_policy* policy, uint32_t count, bool may_wait,
                           tegi_stream_id stream) {
  return tegi_tiled_give_back(cast(policy), count, may_wait, stream);
}

static void run_end(tegi_policy* policy, tegi_stream_id stream) {
  tiled_policy* self = cast(policy);
  if (self->placed) self->placed->ops->run_end(self->placed, stream);
  tegi_lock_acquire(self->env.lock);
  for (tegi_chunk* chunk = self->first_chunk; chunk; chunk = chunk->next) {
    if (chunk->used_count > 0) {
      chunk->unused_runs = 0;
    } else {
      chunk->unused_runs++;
    }
  }
  tegi_tiled_drop_chunks(self, self->env.options->age_runs);
  tegi_lock_release(self->env.lock);
}

static void destroy(tegi_policy* policy) {
  tiled_policy* self = cast(policy);
  if (self->placed) self->placed->ops->destroy(self->placed);
  for (tegi_chunk* chunk = self->first_chunk; chunk; chunk = chunk->next) {
    tegi_tiled_give_all(self, chunk);
  }
  tegi_lock_acquire(self->env.lock);
  while (self->first_chunk) drop_chunk(self, self->first_chunk);
  tegi_lock_release(self->env.lock);
  free_policy(self);
}

static void exchange(tegi_policy* policy, tegi_block* a, tegi_block* b) {
  (void)policy;
  tegi_arena_exchange(a, b);
}

// ---- Validate --------------------------------------------------------------

static teg_result validate_hole(tiled_policy* self, const tegi_block* block,
                                teg_error* err) {
  tegi_hole copy = *(const tegi_hole*)block;
  tegi_tiled_rescan(self, &copy);
  if (copy.block.bin_key == block->bin_key &&
      copy.whole_count == ((const tegi_hole*)block)->whole_count) {
    return TEG_OK;
  }
  return tegi_error_set(err, TEG_BAD_STATE,
                        "tiled: hole at %" PRIu64 " of %" PRIu64
                        " bytes says %" PRIu64 " backed and %" PRIu32
                        " whole tiles; the map says %" PRIu64 " and %" PRIu32,
                        block->offset, block->size, block->bin_key,
                        ((const tegi_hole*)block)->whole_count,
                        copy.block.bin_key, copy.whole_count);
}

static teg_result validate_block(tiled_policy* self, const tegi_block* block,
                                 teg_error* err) {
  if (block->state == TEGI_BLOCK_FREE) return validate_hole(self, block, err);
  if (block->is_partial || missing_tiles(self, block, block->size) == 0) {
    return TEG_OK;
  }
  return tegi_error_set(err, TEG_BAD_STATE,
                        "tiled: a used block at %" PRIu64
                        " has a slot without a tile",
                        block->offset);
}

static teg_result validate(tegi_policy* policy, teg_error* err) {
  tiled_policy* self = cast(policy);
  uint64_t backed_count = 0;
  uint64_t open_count = 0;
  for (const tegi_chunk* chunk = self->first_chunk; chunk;
       chunk = chunk->next) {
    teg_result result = tegi_arena_validate(chunk, err);
    for (const tegi_block* block = chunk->first; result == TEG_OK && block;
         block = block->next) {
      result = validate_block(self, block, err);
      if (block->state != TEGI_BLOCK_FREE) continue;
      if (block->bin_key > 0) backed_count++;
      if (block->bin_key < block->size) open_count++;
    }
    if (result != TEG_OK) return result;
  }
  uint64_t in_backed = self->large.backed->count;
  uint64_t in_open = self->large.open->count;
  if (self->small.backed) {
    in_backed += self->small.backed->count;
    in_open += self->small.open->count;
  }
  if (in_backed == backed_count && in_open == open_count) {
    return self->placed ? self->placed->ops->validate(self->placed, err)
                        : TEG_OK;
  }
  return tegi_error_set(err, TEG_BAD_STATE,
                        "tiled: bins hold %" PRIu64 " and %" PRIu64
                        " holes, chunks %" PRIu64 " and %" PRIu64,
                        in_backed, in_open, backed_count, open_count);
}

const tegi_policy_ops tegi_policy_tiled = {
    .name = "tiled",
    .keeps = "addresses whose tiles move under other addresses",
    .create = create,
    .destroy = destroy,
    .take = take,
    .give = give,
    .grow = grow,
    .trim = trim,
    .run_end = run_end,
    .lend_tiles = lend_tiles,
    .resize = resize,
    .exchange = exchange,
    .validate = validate,
};
