// SPDX-License-Identifier: Apache-2.0
//
// Chunks cut into blocks, against a plain array with an entry for every byte:
// which block it is in, and the latest use of it on every stream.
#include <stdlib.h>
#include <string.h>

#include "range/arena.h"
#include "support/device_fixture.h"

enum { BYTES = 160, STREAMS = 9, BLOCKS = 40, STEPS = 20000 };

typedef struct scene {
  device_allocator allocator;
  tegi_host host;
  tegi_slab slab;
  tegi_extent extent;
  tegi_chunk chunk;
  tegi_block* used[BLOCKS];
  uint32_t used_count;
  // The model.
  uint32_t owners[BYTES];  // 0 = free
  uint64_t serials[BYTES][STREAMS];
  uint32_t next_owner;
  // Holes that are in a bin; unbin takes them out.
  tegi_block* binned[BLOCKS + 1];
  uint32_t binned_count;
} scene;

static uint32_t draw(uint32_t below) { return (uint32_t)rand() % below; }

static void bin(scene* s, tegi_block* hole) {
  if (hole) s->binned[s->binned_count++] = hole;
}

static void unbin(void* user, tegi_block* hole) {
  scene* s = user;
  for (uint32_t i = 0; i < s->binned_count; i++) {
    if (s->binned[i] != hole) continue;
    s->binned[i] = s->binned[--s->binned_count];
    return;
  }
  fail_msg("a hole is taken out of a bin that it is not in");
}

static void scene_init(scene* s) {
  memset(s, 0, sizeof *s);
  teg_allocator allocator = device_fixture_allocator(&s->allocator);
  assert_int_equal(tegi_host_init(&s->host, &allocator, NULL), TEG_OK);
  tegi_slab_init(&s->slab, &s->host, sizeof(tegi_block));
  s->extent = (tegi_extent){.bytes = BYTES};
  s->chunk = (tegi_chunk){.extent = &s->extent, .bytes = BYTES};
  tegi_block* hole = tegi_arena_begin(&s->slab, &s->chunk, 3);
  assert_non_null(hole);
  bin(s, hole);
}

static void scene_deinit(scene* s) {
  tegi_arena_end(&s->host, &s->slab, &s->chunk);
  assert_null(s->chunk.first);
  assert_int_equal(s->slab.used_count, 0);
  tegi_slab_destroy(&s->slab);
  assert_int_equal(tegi_load_relaxed(&s->allocator.live_count), 0);
}

static uint32_t owner_of(const scene* s, const tegi_block* block) {
  return s->owners[block->offset];
}

// The block's set has at least the uses of every byte in it, and none later
// than the latest of any byte: merging takes the union.
static void check_uses(const scene* s, const tegi_block* block) {
  uint64_t found[STREAMS] = {0};
  tegi_use use;
  for (size_t i = 0; tegi_use_at(&block->use, i, &use); i++) {
    assert_true(use.stream < STREAMS);
    assert_int_equal(found[use.stream], 0);
    found[use.stream] = use.serial;
  }
  for (uint64_t at = block->offset; at < block->offset + block->size; at++) {
    assert_memory_equal(s->serials[at], found, sizeof found);
  }
}

// |may_be_split|: neighbours whose sets could not be merged are allowed.
static void check(const scene* s, bool may_be_split) {
  teg_error err;
  teg_result result = tegi_arena_validate(&s->chunk, &err);
  if (result != TEG_OK) fail_msg("%s", err.message);
  uint32_t used = 0;
  uint32_t holes = 0;
  bool was_free = false;
  for (const tegi_block* block = s->chunk.first; block; block = block->next) {
    bool is_free = block->state == TEGI_BLOCK_FREE;
    assert_int_equal(is_free, owner_of(s, block) == 0);
    for (uint64_t i = 0; i < block->size; i++) {
      assert_int_equal(s->owners[block->offset + i], owner_of(s, block));
    }
    assert_int_equal(block->policy_index, 3);
    if (is_free) {
      assert_true(may_be_split || !was_free);
      holes++;
    } else {
      used++;
    }
    was_free = is_free;
    check_uses(s, block);
  }
  assert_int_equal(used, s->used_count);
  assert_int_equal(holes, s->binned_count);
  assert_int_equal(s->slab.used_count, used + holes);
  tegi_block* whole = tegi_arena_whole(&s->chunk);
  assert_int_equal(whole != NULL, used == 0 && holes == 1);
}

static void step_cut(scene* s) {
  if (s->binned_count == 0 || s->used_count == BLOCKS) return;
  tegi_block* hole = s->binned[draw(s->binned_count)];
  uint64_t size = 1 + draw((uint32_t)hole->size);
  if (draw(3) == 0) size = hole->size;
  uint64_t offset = hole->offset;
  if (draw(2)) offset += draw((uint32_t)(hole->size - size) + 1);
  unbin(s, hole);
  tegi_block* low = hole;
  tegi_block* high = hole;
  tegi_block before = *hole;
  tegi_block* block =
      tegi_arena_cut(&s->host, &s->slab, hole, offset, size, &low, &high);
  if (!block) {
    assert_memory_equal(hole, &before, sizeof before);
    bin(s, hole);
    return;
  }
  assert_int_equal(block->state, TEGI_BLOCK_USED);
  assert_int_equal(block->offset, offset);
  assert_int_equal(block->size, size);
  assert_int_equal(low != NULL, offset > before.offset);
  assert_int_equal(high != NULL, offset + size < before.offset + before.size);
  bin(s, low);
  bin(s, high);
  s->used[s->used_count++] = block;
  s->next_owner++;
  for (uint64_t i = 0; i < size; i++) s->owners[offset + i] = s->next_owner;
}

static void step_stamp(scene* s) {
  if (s->used_count == 0) return;
  tegi_block* block = s->used[draw(s->used_count)];
  uint32_t stream = 1 + draw(STREAMS - 1);
  uint64_t serial = 1 + draw(100);
  if (!tegi_use_stamp(&s->host, &block->use, stream, serial)) return;
  for (uint64_t i = 0; i < block->size; i++) {
    uint64_t* known = &s->serials[block->offset + i][stream];
    if (serial > *known) *known = serial;
  }
}

// All bytes of the hole a block became part of share their uses.
static void model_merge(scene* s, const tegi_block* hole) {
  uint64_t latest[STREAMS] = {0};
  for (uint64_t at = hole->offset; at < hole->offset + hole->size; at++) {
    for (uint32_t stream = 0; stream < STREAMS; stream++) {
      uint64_t serial = s->serials[at][stream];
      if (serial > latest[stream]) latest[stream] = serial;
    }
  }
  for (uint64_t at = hole->offset; at < hole->offset + hole->size; at++) {
    memcpy(s->serials[at], latest, sizeof latest);
    s->owners[at] = 0;
  }
}

static void step_merge(scene* s) {
  if (s->used_count == 0) return;
  uint32_t i = draw(s->used_count);
  tegi_block* block = s->used[i];
  uint64_t offset = block->offset;
  uint64_t end = offset + block->size;
  s->used[i] = s->used[--s->used_count];
  tegi_block* hole = tegi_arena_merge(&s->host, &s->slab, block, unbin, s);
  assert_int_equal(hole->state, TEGI_BLOCK_FREE);
  assert_true(hole->offset <= offset && hole->offset + hole->size >= end);
  bin(s, hole);
  model_merge(s, hole);
}

// Uses are over once in a while, or sets would only grow.
static bool is_over(void* user, tegi_use use) { return true; }

static void step_prune(scene* s) {
  for (tegi_block* block = s->chunk.first; block; block = block->next) {
    tegi_use_prune(&s->host, &block->use, is_over, NULL);
  }
  memset(s->serials, 0, sizeof s->serials);
}

static void step(scene* s) {
  switch (draw(40)) {
    case 0:
      step_prune(s);
      break;
    case 1:
      while (s->used_count) step_merge(s);
      break;
    default:
      switch (draw(3)) {
        case 0:
          step_cut(s);
          break;
        case 1:
          step_stamp(s);
          break;
        default:
          step_merge(s);
      }
  }
}

static void blocks_match_an_array_of_bytes(void** state) {
  static scene s;
  scene_init(&s);
  srand(1);
  for (int i = 0; i < STEPS; i++) {
    step(&s);
    if (draw(2)) step_cut(&s);
    check(&s, false);
  }
  while (s.used_count) step_merge(&s);
  check(&s, false);
  assert_non_null(tegi_arena_whole(&s.chunk));
  scene_deinit(&s);
}

// While allocations fail nothing is lost: cuts change nothing, holes stay
// apart where their sets cannot be merged.
static void blocks_stay_whole_without_host_memory(void** state) {
  static scene s;
  scene_init(&s);
  srand(2);
  for (int i = 0; i < STEPS; i++) {
    tegi_store_relaxed(&s.allocator.fail_at, draw(4));
    step(&s);
    if (draw(2)) step_cut(&s);
    tegi_store_relaxed(&s.allocator.fail_at, 0);
    check(&s, true);
  }
  scene_deinit(&s);
}

// A record for each part, and a copy of a set with more than one entry: the
// cut fails at every one of these allocations in turn.
static void a_cut_fails_at_every_allocation(void** state) {
  static scene s;
  uint64_t failures = 0;
  for (uint64_t k = 1;; k++) {
    scene_init(&s);
    // The slab has no record left.
    void* records[64];
    uint32_t count = 0;
    while (s.slab.free_list) records[count++] = tegi_slab_take(&s.slab);
    tegi_block* hole = s.binned[0];
    for (uint32_t stream = 1; stream < STREAMS; stream++) {
      assert_true(tegi_use_stamp(&s.host, &hole->use, stream, stream));
      for (uint32_t at = 0; at < BYTES; at++) s.serials[at][stream] = stream;
    }
    unbin(&s, hole);
    tegi_store_relaxed(&s.allocator.fail_at, k);
    tegi_block* low;
    tegi_block* high;
    tegi_block* block =
        tegi_arena_cut(&s.host, &s.slab, hole, 10, 20, &low, &high);
    tegi_store_relaxed(&s.allocator.fail_at, 0);
    while (count) tegi_slab_give(&s.slab, records[--count]);
    if (block) {
      bin(&s, low);
      bin(&s, high);
      s.used[s.used_count++] = block;
      for (uint32_t i = 10; i < 30; i++) s.owners[i] = 1;
    } else {
      failures++;
      bin(&s, hole);
    }
    check(&s, false);
    scene_deinit(&s);
    if (block) break;
  }
  // Two nodes for each of two copies, and a page.
  assert_int_equal(failures, 5);
}

static void a_chunk_without_host_memory_is_not_begun(void** state) {
  static scene s;
  scene_init(&s);
  tegi_slab empty;
  tegi_slab_init(&empty, &s.host, sizeof(tegi_block));
  tegi_chunk chunk = {.extent = &s.extent, .bytes = 64};
  tegi_store_relaxed(&s.allocator.fail_at, 1);
  assert_null(tegi_arena_begin(&empty, &chunk, 0));
  assert_null(chunk.first);
  tegi_slab_destroy(&empty);
  scene_deinit(&s);
}

// Merged blocks have the later of the times at which they were freed.
static void a_merged_hole_is_as_warm_as_its_warmest_part(void** state) {
  static scene s;
  scene_init(&s);
  tegi_block* low;
  tegi_block* high;
  tegi_block* hole = s.binned[0];
  unbin(&s, hole);
  hole->cold_since = 7;
  tegi_block* block =
      tegi_arena_cut(&s.host, &s.slab, hole, 20, 20, &low, &high);
  assert_int_equal(low->cold_since, 7);
  assert_int_equal(high->cold_since, 7);
  bin(&s, low);
  bin(&s, high);
  block->cold_since = 9;
  high->cold_since = 8;
  hole = tegi_arena_merge(&s.host, &s.slab, block, unbin, &s);
  assert_int_equal(hole->cold_since, 9);
  bin(&s, hole);
  check(&s, false);
  scene_deinit(&s);
}

// ---- What validate finds.

static void expect_broken(const scene* s) {
  teg_error err;
  assert_int_equal(tegi_arena_validate(&s->chunk, &err), TEG_BAD_STATE);
  assert_true(strlen(err.message) > 0);
}

static void validate_finds_what_is_wrong(void** state) {
  static scene s;
  scene_init(&s);
  tegi_block* hole = s.binned[0];
  unbin(&s, hole);
  tegi_block* low;
  tegi_block* high;
  tegi_block* block =
      tegi_arena_cut(&s.host, &s.slab, hole, 20, 20, &low, &high);
  assert_int_equal(tegi_arena_validate(&s.chunk, NULL), TEG_OK);
  block->size--;
  expect_broken(&s);
  block->size++;
  block->offset++;
  expect_broken(&s);
  block->offset--;
  block->prev = NULL;
  expect_broken(&s);
  block->prev = s.chunk.first;
  s.chunk.used_count++;
  expect_broken(&s);
  s.chunk.used_count--;
  s.chunk.bytes++;
  expect_broken(&s);
  s.chunk.bytes--;
  block->extent = NULL;
  expect_broken(&s);
  block->extent = &s.extent;
  assert_int_equal(tegi_arena_validate(&s.chunk, NULL), TEG_OK);
  scene_deinit(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(blocks_match_an_array_of_bytes),
      cmocka_unit_test(blocks_stay_whole_without_host_memory),
      cmocka_unit_test(a_cut_fails_at_every_allocation),
      cmocka_unit_test(a_chunk_without_host_memory_is_not_begun),
      cmocka_unit_test(a_merged_hole_is_as_warm_as_its_warmest_part),
      cmocka_unit_test(validate_finds_what_is_wrong),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
