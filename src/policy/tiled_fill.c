// SPDX-License-Identifier: Apache-2.0
//
// Where tiles come from, in this order: the device's free tiles; growth within
// the slack; idle holes, those with the longest runs first and of these the
// coldest; holes of idle sessions; holes that are only busy, by waiting; a new
// heap. The growth mutex is held throughout; the short lock only around
// bookkeeping, never across a call of the driver.
//
// A slot without a tile has an empty use set by construction: its tile was
// taken away only when the hole's set was idle (or, where the queue orders
// remapping, in its place in the queue). So the rule is asked for the hole
// that a tile leaves, and the address it goes to passes. Where the queue orders
// it a tile may leave while commands that use it are on their way: what it
// goes under inherits their uses. What goes to the device is idle always.
#include <inttypes.h>

#include "base/error.h"
#include "policy/tiled.h"

// Tiles gathered for one fill, and scratch for the slots they leave.
typedef struct gathering {
  tiled_policy* self;
  tegi_stream_id stream;
  tegi_tile* tiles;
  uint32_t* slots;
  uint32_t count;
  uint32_t wanted;
  uint64_t pending_bytes;
  tegi_write write;   // REMAP: for addresses of our own; HOST: for the device
  tegi_use_set uses;  // of the tiles, where they may not be over
} gathering;

enum { STEAL_LOOKS = 8 };

static teg_result no_memory(teg_error* err) {
  return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                        "policy tiled: no host memory to gather tiles");
}

// ---- Stealing --------------------------------------------------------------

typedef struct victim {
  tegi_hole* idle;  // can be robbed now
  tegi_hole* busy;  // the oldest that can be after a wait
} victim;

static void look_at(const gathering* g, tegi_hole* hole, victim* found) {
  tegi_source* source = g->self->env.source;
  tegi_verdict verdict =
      source->ops->check(source, &hole->block.use, g->write, g->stream);
  if (verdict == TEGI_REUSE_NOW) {
    found->idle = hole;
  } else if (verdict != TEGI_REUSE_NEVER &&
             (!found->busy ||
              hole->block.use.serial < found->busy->block.use.serial)) {
    found->busy = hole;
  }
}

// Longest runs first, coldest first among those. Locked.
static victim find_victim(const gathering* g) {
  victim found = {NULL, NULL};
  const tiled_steals* steals = &g->self->steals;
  uint64_t classes = steals->class_bits;
  while (classes && !found.idle) {
    uint32_t at = tegi_high_bit(classes);
    classes &= ~(UINT64_C(1) << at);
    uint32_t looks = STEAL_LOOKS;
    for (tegi_hole* hole = steals->coldest[at];
         hole && looks > 0 && !found.idle; looks--) {
      look_at(g, hole, &found);
      hole = hole->steal_next;
    }
  }
  return found;
}

// Takes tiles from the high end of |hole| down, so that it keeps its backed
// low end. Their slots go to g->slots, descending. Locked. Returns how many.
static uint32_t pick_tiles(gathering* g, tegi_hole* hole, tegi_tile* out) {
  tiled_policy* self = g->self;
  tegi_tilemap* map = &hole->block.chunk->tiles;
  uint32_t wanted = g->wanted - g->count;
  uint32_t first = tegi_tiled_end_slot(self, hole->block.offset);
  uint32_t slot =
      tegi_tiled_first_slot(self, hole->block.offset + hole->block.size);
  uint32_t picked = 0;
  tegi_tiled_remove(self, hole);
  while (slot > first && picked < wanted) {
    slot--;
    if (!tegi_tilemap_is_mapped(map, slot)) continue;
    out[picked] = map->tiles[slot];
    g->slots[picked++] = slot;
    tegi_tilemap_clear(map, slot);
  }
  tegi_tiled_rescan(self, hole);
  tegi_tiled_insert(self, hole);
  return picked;
}

static void reverse(uint32_t* slots, tegi_tile* tiles, uint32_t count) {
  for (uint32_t i = 0; i < count / 2; ++i) {
    uint32_t j = count - 1 - i;
    uint32_t slot = slots[i];
    slots[i] = slots[j];
    slots[j] = slot;
    tegi_tile tile = tiles[i];
    tiles[i] = tiles[j];
    tiles[j] = tile;
  }
}

// The driver refused to take tiles away: they stay where they were. Locked.
static void put_back(tiled_policy* self, tegi_chunk* chunk,
                     const uint32_t* slots, const tegi_tile* tiles,
                     uint32_t count) {
  for (uint32_t i = 0; i < count; ++i) {
    tegi_tilemap_set(&chunk->tiles, slots[i], tiles[i]);
  }
  for (tegi_block* hole = chunk->first; hole; hole = hole->next) {
    if (hole->state != TEGI_BLOCK_FREE) continue;
    tegi_tiled_remove(self, (tegi_hole*)hole);
    tegi_tiled_rescan(self, (tegi_hole*)hole);
    tegi_tiled_insert(self, (tegi_hole*)hole);
  }
}

// The uses of a hole that is robbed while they are on their way. False without
// host memory. Locked.
static bool copy_uses(gathering* g, const tegi_hole* hole, tegi_use_set* uses) {
  const tiled_policy* self = g->self;
  *uses = (tegi_use_set){0};
  if (g->write != TEGI_WRITE_REMAP ||
      self->env.caps->remap != TEG_REMAP_QUEUE_ORDERED) {
    return true;
  }
  if (!tegi_use_copy(self->env.host, uses, &hole->block.use)) return false;
  self->env.source->ops->prune(self->env.source, uses);
  return true;
}

// Where there is no room for more uses they are waited for.
static void add_uses(gathering* g, tegi_use_set* uses) {
  const tiled_policy* self = g->self;
  if (tegi_use_merge(self->env.host, &g->uses, uses)) return;
  tegi_source* source = self->env.source;
  (void)source->ops->wait(source, uses, g->stream, NULL);
  tegi_use_clear(self->env.host, uses);
}

// Locked on entry; unlocked on return.
static teg_result rob(gathering* g, tegi_hole* hole, teg_error* err) {
  tiled_policy* self = g->self;
  tegi_chunk* chunk = hole->block.chunk;
  tegi_tile* tiles = g->tiles + g->count;
  tegi_use_set uses;
  if (!copy_uses(g, hole, &uses)) {
    tegi_lock_release(self->env.lock);
    return no_memory(err);
  }
  uint32_t picked = pick_tiles(g, hole, tiles);
  tegi_lock_release(self->env.lock);
  reverse(g->slots, tiles, picked);
  teg_result result = self->env.source->ops->unmap(
      self->env.source, chunk->extent, g->slots, picked, &uses, err);
  if (result == TEG_OK) {
    g->count += picked;
    add_uses(g, &uses);
    return TEG_OK;
  }
  tegi_use_clear(self->env.host, &uses);
  tegi_lock_acquire(self->env.lock);
  put_back(self, chunk, g->slots, tiles, picked);
  tegi_lock_release(self->env.lock);
  return result;
}

// Waits until |hole| can be robbed. Locked on entry; unlocked on return.
static teg_result wait_for(gathering* g, const tegi_hole* hole,
                           teg_error* err) {
  tiled_policy* self = g->self;
  tegi_use_set use;
  bool is_copied = tegi_use_copy(self->env.host, &use, &hole->block.use);
  tegi_lock_release(self->env.lock);
  if (!is_copied) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "policy tiled: no host memory for a wait");
  }
  tegi_source* source = self->env.source;
  teg_result result = source->ops->wait(source, &use, g->stream, err);
  tegi_use_clear(self->env.host, &use);
  return result;
}

// Gathers from holes until there is enough or nothing can be had.
// TEG_EXHAUSTED: no hole is left that can be robbed.
static teg_result steal(gathering* g, bool may_wait, teg_error* err) {
  while (g->count < g->wanted) {
    tegi_lock_acquire(g->self->env.lock);
    victim found = find_victim(g);
    teg_result result;
    if (found.idle) {
      result = rob(g, found.idle, err);
    } else if (found.busy && may_wait) {
      result = wait_for(g, found.busy, err);
    } else {
      tegi_lock_release(g->self->env.lock);
      return TEG_EXHAUSTED;
    }
    if (result != TEG_OK) return result;
  }
  return TEG_OK;
}

// ---- Gathering -------------------------------------------------------------

static void take_free(gathering* g) {
  tegi_source* source = g->self->env.source;
  g->count += source->ops->tiles_take(source, g->wanted - g->count,
                                      g->tiles + g->count);
}

// Tiles in the largest heap the device makes: what is larger is gathered from
// several.
static uint32_t most_tiles(const tiled_policy* self) {
  uint64_t tiles = self->env.caps->max_allocation_bytes >> self->tile_shift;
  return (uint32_t)tegi_max_u64(tegi_min_u64(tiles, UINT32_MAX), 1);
}

// Grows as far as the slack allows. That it cannot is no failure yet.
static void grow_within_slack(gathering* g) {
  tegi_source* source = g->self->env.source;
  tegi_slack slack = tegi_tiled_slack(g->self);
  slack.pending_bytes = g->pending_bytes;
  uint32_t piece = most_tiles(g->self);
  bool is_more = true;
  while (is_more && g->count < g->wanted) {
    uint64_t room =
        source->ops->headroom(source, &slack) >> g->self->tile_shift;
    if (room == 0) return;
    uint32_t need = g->wanted - g->count;
    is_more = need > piece;
    if (is_more) need = piece;
    bool is_within = need <= room;
    if (!is_within) need = (uint32_t)room;
    if (source->ops->tiles_grow(source, need, is_within ? &slack : NULL,
                                NULL) != TEG_OK) {
      return;
    }
    take_free(g);
    is_more = is_more && is_within;
  }
}

// Grows whatever it takes. The tiles of a new heap are anyone's until they are
// taken, so another session may be faster, a few times.
static teg_result grow_beyond(gathering* g, teg_error* err) {
  enum { MOST_LOSSES = 4 };
  tegi_source* source = g->self->env.source;
  uint32_t piece = most_tiles(g->self);
  int losses = 0;
  while (g->count < g->wanted && losses < MOST_LOSSES) {
    uint32_t before = g->count;
    uint32_t need = g->wanted - before;
    if (need > piece) need = piece;
    teg_result result = source->ops->tiles_grow(source, need, NULL, err);
    if (result != TEG_OK) return result;
    take_free(g);
    if (g->count - before < need) losses++;
  }
  if (g->count == g->wanted) return TEG_OK;
  return tegi_error_set(err, TEG_OUT_OF_MEMORY,
                        "policy tiled: the tiles of new heaps were taken by "
                        "another session");
}

static void borrow(gathering* g, bool may_wait) {
  tegi_source* source = g->self->env.source;
  if (source->ops->tiles_borrow(source, &g->self->base, g->wanted - g->count,
                                may_wait, g->stream) > 0) {
    take_free(g);
  }
}

static teg_result gather(gathering* g, teg_error* err) {
  bool may_wait = g->self->env.options->is_waiting_on_busy;
  take_free(g);
  // Weights take what loading has let go of before they grow.
  if (g->self->env.is_static && g->count < g->wanted) borrow(g, may_wait);
  if (g->count < g->wanted) grow_within_slack(g);
  if (g->count < g->wanted) (void)steal(g, false, NULL);
  if (g->count < g->wanted) borrow(g, false);
  if (g->count < g->wanted && may_wait) (void)steal(g, true, NULL);
  if (g->count < g->wanted && may_wait) borrow(g, true);
  if (g->count == g->wanted) return TEG_OK;
  return grow_beyond(g, err);
}

static bool begin_gathering(gathering* g, tiled_policy* self, uint32_t wanted,
                            tegi_write write, tegi_stream_id stream) {
  *g = (gathering){
      .self = self, .stream = stream, .wanted = wanted, .write = write};
  g->tiles = tegi_host_calloc(self->env.host, wanted, sizeof *g->tiles);
  g->slots = tegi_host_calloc(self->env.host, wanted, sizeof *g->slots);
  return g->tiles && g->slots;
}

static void end_gathering(gathering* g) {
  tegi_host* host = g->self->env.host;
  tegi_host_free(host, g->tiles, g->wanted * sizeof *g->tiles);
  tegi_host_free(host, g->slots, g->wanted * sizeof *g->slots);
  tegi_use_clear(host, &g->uses);
}

// Nothing was made of the tiles: they go to the device, idle.
static void give_gathered(gathering* g) {
  tegi_source* source = g->self->env.source;
  if (!tegi_use_is_empty(&g->uses)) {
    (void)source->ops->wait(source, &g->uses, g->stream, NULL);
  }
  source->ops->tiles_give(source, g->tiles, g->count);
}

// Puts what was gathered under the unmapped slots of [first, end).
static teg_result map_gathered(gathering* g, tegi_chunk* chunk, uint32_t first,
                               uint32_t end, teg_error* err) {
  tegi_source* source = g->self->env.source;
  uint32_t count = 0;
  uint32_t slot = tegi_tilemap_next(&chunk->tiles, first, end, false);
  while (slot < end) {
    g->slots[count++] = slot;
    slot = tegi_tilemap_next(&chunk->tiles, slot + 1, end, false);
  }
  teg_result result = source->ops->map(source, chunk->extent, g->slots,
                                       g->tiles, count, &g->uses, err);
  g->self->is_mapping_full = result == TEG_LIMIT;
  if (result != TEG_OK) return result;
  tegi_lock_acquire(g->self->env.lock);
  for (uint32_t i = 0; i < count; ++i) {
    tegi_tilemap_set(&chunk->tiles, g->slots[i], g->tiles[i]);
  }
  tegi_lock_release(g->self->env.lock);
  return TEG_OK;
}

// What no budget and no device can hold is refused before anything is made
// for it.
static teg_result check_possible(const tiled_policy* self, uint32_t wanted,
                                 teg_error* err) {
  tegi_source* source = self->env.source;
  uint64_t bytes = (uint64_t)wanted << self->tile_shift;
  uint64_t most = source->ops->most_bytes(source);
  if (bytes <= most) return TEG_OK;
  teg_result result =
      most == self->env.caps->total_bytes ? TEG_OUT_OF_MEMORY : TEG_OVER_BUDGET;
  return tegi_error_set(err, result,
                        "policy tiled: %" PRIu64
                        " bytes of tiles are more than the %" PRIu64
                        " the device may ever hold",
                        bytes, most);
}

// Records for slots below |end|. Only who holds the growth mutex changes the
// map, so that it can be copied without the short lock.
static teg_result reserve_records(tiled_policy* self, tegi_tilemap* map,
                                  uint32_t end, teg_error* err) {
  if (end <= map->capacity) return TEG_OK;
  tegi_tilemap larger;
  if (!tegi_tilemap_copy_larger(self->env.host, map, end, &larger)) {
    return no_memory(err);
  }
  tegi_lock_acquire(self->env.lock);
  tegi_tilemap old = *map;
  *map = larger;
  tegi_lock_release(self->env.lock);
  tegi_tilemap_destroy(self->env.host, &old);
  return TEG_OK;
}

teg_result tegi_tiled_fill(tiled_policy* self, tegi_chunk* chunk,
                           uint32_t first, uint32_t end, uint64_t pending_bytes,
                           tegi_stream_id stream, tegi_use_set* uses,
                           teg_error* err) {
  *uses = (tegi_use_set){0};
  uint32_t wanted = end - first - tegi_tilemap_count(&chunk->tiles, first, end);
  if (wanted == 0) return TEG_OK;
  teg_result result = check_possible(self, wanted, err);
  if (result == TEG_OK) {
    result = reserve_records(self, &chunk->tiles, end, err);
  }
  if (result != TEG_OK) return result;
  gathering g;
  if (!begin_gathering(&g, self, wanted, TEGI_WRITE_REMAP, stream)) {
    end_gathering(&g);
    return no_memory(err);
  }
  g.pending_bytes = pending_bytes;
  result = gather(&g, err);
  if (result == TEG_OK) result = map_gathered(&g, chunk, first, end, err);
  if (result == TEG_OK) {
    *uses = g.uses;
    g.uses = (tegi_use_set){0};
  } else {
    give_gathered(&g);
  }
  end_gathering(&g);
  return result;
}

// ---- Giving back -----------------------------------------------------------

enum { GIVE_AT_A_TIME = 1024 };

uint32_t tegi_tiled_give_back(tiled_policy* self, uint32_t count, bool may_wait,
                              tegi_stream_id stream) {
  uint32_t given = 0;
  while (given < count) {
    uint32_t left = count - given;
    uint32_t wanted = left < GIVE_AT_A_TIME ? left : GIVE_AT_A_TIME;
    gathering g;
    bool has_room = begin_gathering(&g, self, wanted, TEGI_WRITE_HOST, stream);
    teg_result result = has_room ? steal(&g, may_wait, NULL) : TEG_EXHAUSTED;
    give_gathered(&g);
    given += g.count;
    end_gathering(&g);
    if (result != TEG_OK) break;
  }
  return given;
}

// Only who holds the growth mutex changes the map.
teg_result tegi_tiled_empty(tiled_policy* self, tegi_chunk* chunk,
                            uint32_t first, uint32_t end, teg_error* err) {
  tegi_source* source = self->env.source;
  teg_result result =
      source->ops->unmap_run(source, chunk->extent, first, end - first, err);
  if (result != TEG_OK) return result;
  source->ops->tiles_give(source, &chunk->tiles.tiles[first], end - first);
  tegi_lock_acquire(self->env.lock);
  for (uint32_t slot = first; slot < end; ++slot) {
    tegi_tilemap_clear(&chunk->tiles, slot);
  }
  tegi_lock_release(self->env.lock);
  return TEG_OK;
}

void tegi_tiled_give_all(tiled_policy* self, tegi_chunk* chunk) {
  tegi_source* source = self->env.source;
  for (tegi_block* hole = chunk->first; hole; hole = hole->next) {
    (void)source->ops->wait(source, &hole->use, 0, NULL);
    tegi_tiled_remove(self, (tegi_hole*)hole);
  }
  // A whole run at a time, so that the limit of mappings does not matter: cut
  // in two, a run can need one more.
  const tegi_tilemap* tiles = &chunk->tiles;
  uint32_t end = tiles->slot_count;
  uint32_t first = tegi_tilemap_next(tiles, 0, end, true);
  while (first < end) {
    uint32_t run_end = tegi_tilemap_next(tiles, first, end, false);
    (void)tegi_tiled_empty(self, chunk, first, run_end, NULL);
    first = tegi_tilemap_next(tiles, run_end, end, true);
  }
  for (tegi_block* hole = chunk->first; hole; hole = hole->next) {
    tegi_tiled_rescan(self, (tegi_hole*)hole);
    tegi_tiled_insert(self, (tegi_hole*)hole);
  }
}
