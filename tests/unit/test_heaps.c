// SPDX-License-Identifier: Apache-2.0
//
// The device's free tiles against a plain table of tiles.
#include <stdlib.h>
#include <string.h>

#include "core/heaps.h"
#include "support/device_fixture.h"

enum { HEAPS = 12, TILES = 150, STEPS = 15000 };

typedef enum tile_state { NO_TILE, OUT, FREE } tile_state;

// The heaps there are, by their place in the table.
typedef struct scene {
  device_allocator allocator;
  tegi_host host;
  tegi_heaps heaps;
  tegi_extent extents[HEAPS];
  bool is_used[HEAPS];
  // By place in the table.
  tegi_extent* at[HEAPS];
  uint32_t tile_counts[HEAPS];
  uint64_t free_since[HEAPS];
  tile_state tiles[HEAPS][TILES];
  bool was_mapped[HEAPS][TILES];
  uint64_t clock;
} scene;

static uint32_t draw(uint32_t below) { return (uint32_t)rand() % below; }

static void scene_init(scene* s) {
  memset(s, 0, sizeof *s);
  teg_allocator allocator = device_fixture_allocator(&s->allocator);
  assert_int_equal(tegi_host_init(&s->host, &allocator, NULL), TEG_OK);
}

static void scene_deinit(scene* s) {
  tegi_heaps_destroy(&s->host, &s->heaps);
  assert_int_equal(tegi_load_relaxed(&s->allocator.live_count), 0);
}

static uint32_t free_count(const scene* s, uint32_t place) {
  uint32_t count = 0;
  for (uint32_t t = 0; t < TILES; t++) count += s->tiles[place][t] == FREE;
  return count;
}

static void check(const scene* s) {
  uint64_t free_tiles = 0;
  uint32_t whole = 0;
  for (uint32_t place = 0; place < s->heaps.count; place++) {
    const tegi_heap* heap = &s->heaps.table[place];
    assert_ptr_equal(heap->extent, s->at[place]);
    if (!heap->extent) continue;
    assert_int_equal(heap->extent->heap_index, place);
    assert_int_equal(heap->tile_count, s->tile_counts[place]);
    assert_int_equal(heap->free_count, free_count(s, place));
    for (uint32_t t = 0; t < heap->tile_count; t++) {
      assert_int_equal(heap->free_bits[t / 64] >> (t % 64) & 1u,
                       s->tiles[place][t] == FREE);
    }
    free_tiles += heap->free_count;
    whole += heap->free_count == heap->tile_count;
  }
  for (uint32_t place = s->heaps.count; place < HEAPS; place++) {
    assert_null(s->at[place]);
  }
  assert_int_equal(s->heaps.free_tiles, free_tiles);
  assert_int_equal(s->heaps.whole_count, whole);
}

// ---- Steps.

static void give(scene* s, const tegi_tile* tiles, uint32_t count) {
  tegi_heaps_give(&s->heaps, tiles, count, s->clock);
  for (uint32_t i = 0; i < count; i++) {
    uint32_t place = tiles[i].heap_index;
    s->tiles[place][tiles[i].tile_index] = FREE;
    if (free_count(s, place) == s->tile_counts[place]) {
      s->free_since[place] = s->clock;
    }
  }
}

// Gives some of the tiles that are out, or all.
static void step_give(scene* s, uint32_t one_in) {
  tegi_tile tiles[HEAPS * TILES];
  uint32_t count = 0;
  for (uint32_t place = 0; place < HEAPS; place++) {
    for (uint32_t t = 0; t < TILES; t++) {
      if (s->tiles[place][t] == OUT && draw(one_in) == 0) {
        tiles[count++] = (tegi_tile){place, t};
      }
    }
  }
  for (uint32_t i = 0; i + 1 < count; i++) {
    uint32_t j = i + draw(count - i);
    tegi_tile tile = tiles[i];
    tiles[i] = tiles[j];
    tiles[j] = tile;
  }
  give(s, tiles, count);
}

static void step_add(scene* s) {
  uint32_t i = draw(HEAPS);
  if (s->is_used[i]) return;
  uint32_t count = 1 + draw(draw(2) ? TILES : 3);
  s->extents[i].heap_index = UINT32_MAX;
  if (!tegi_heaps_add(&s->host, &s->heaps, &s->extents[i], count)) return;
  uint32_t place = s->extents[i].heap_index;
  // The lowest place that is free.
  for (uint32_t p = 0; p < place; p++) assert_non_null(s->at[p]);
  assert_null(s->at[place]);
  s->is_used[i] = true;
  s->at[place] = &s->extents[i];
  s->tile_counts[place] = count;
  for (uint32_t t = 0; t < TILES; t++) {
    s->tiles[place][t] = t < count ? OUT : NO_TILE;
    s->was_mapped[place][t] = false;
  }
}

static void step_take(scene* s) {
  tegi_tile out[HEAPS * TILES];
  uint32_t wanted = 1 + draw(draw(2) ? 8 : TILES * 2);
  uint64_t before = s->heaps.free_tiles;
  // The heap with the fewest free tiles that has enough serves all of it.
  uint32_t tightest = UINT32_MAX;
  for (uint32_t place = 0; place < HEAPS; place++) {
    uint32_t count = free_count(s, place);
    if (count >= wanted && count < tightest) tightest = count;
  }
  if (tightest != UINT32_MAX) {
    uint32_t counts[HEAPS];
    for (uint32_t place = 0; place < HEAPS; place++) {
      counts[place] = free_count(s, place);
    }
    assert_int_equal(tegi_heaps_take(&s->heaps, wanted, out), wanted);
    assert_int_equal(counts[out[0].heap_index], tightest);
    for (uint32_t i = 1; i < wanted; i++) {
      assert_int_equal(out[i].heap_index, out[0].heap_index);
    }
  } else {
    uint32_t taken = tegi_heaps_take(&s->heaps, wanted, out);
    assert_int_equal(taken, before < wanted ? before : wanted);
    wanted = taken;
  }
  for (uint32_t i = 0; i < wanted; i++) {
    tile_state* tile = &s->tiles[out[i].heap_index][out[i].tile_index];
    assert_int_equal(*tile, FREE);
    *tile = OUT;
  }
  uint32_t again = 0;
  for (uint32_t i = 0; i < wanted; i++) {
    bool* was_mapped = &s->was_mapped[out[i].heap_index][out[i].tile_index];
    again += *was_mapped;
    *was_mapped = true;
  }
  assert_int_equal(tegi_heaps_mark_mapped(&s->heaps, out, wanted), again);
}

static void step_remove(scene* s) {
  uint64_t oldest = draw(3) ? s->clock - draw(10) % (s->clock + 1) : s->clock;
  tegi_extent* extent = tegi_heaps_remove_whole(&s->host, &s->heaps, oldest);
  bool was_there = false;
  for (uint32_t place = 0; place < HEAPS; place++) {
    bool is_ready = s->at[place] &&
                    free_count(s, place) == s->tile_counts[place] &&
                    s->free_since[place] <= oldest;
    was_there = was_there || is_ready;
    if (extent && s->at[place] == extent) {
      assert_true(is_ready);
      s->at[place] = NULL;
      s->is_used[extent - s->extents] = false;
      memset(s->tiles[place], 0, sizeof s->tiles[place]);
    }
  }
  assert_int_equal(extent != NULL, was_there);
}

static void step(scene* s) {
  s->clock += draw(3) == 0;
  switch (draw(8)) {
    case 0:
      step_add(s);
      break;
    case 1:
      step_remove(s);
      break;
    case 2:
    case 3:
      step_give(s, draw(10) ? 4 : 1);
      break;
    default:
      step_take(s);
  }
}

static void play(unsigned seed, bool is_failing) {
  static scene s;
  scene_init(&s);
  srand(seed);
  for (int i = 0; i < STEPS; i++) {
    if (is_failing) tegi_store_relaxed(&s.allocator.fail_at, draw(4));
    step(&s);
    tegi_store_relaxed(&s.allocator.fail_at, 0);
    check(&s);
  }
  scene_deinit(&s);
}

static void tiles_match_a_plain_table(void** state) { play(1, false); }

static void tables_stay_whole_without_host_memory(void** state) {
  play(2, true);
}

// ---- What a take looks like.

static void add_free(scene* s, uint32_t i, uint32_t count) {
  assert_true(tegi_heaps_add(&s->host, &s->heaps, &s->extents[i], count));
  tegi_tile first = {s->extents[i].heap_index, 0};
  tegi_heaps_give_run(&s->heaps, first, count, 0);
}

// Neighbours are kept together: the shortest run that is long enough.
static void neighbours_are_taken_together(void** state) {
  static scene s;
  scene_init(&s);
  add_free(&s, 0, 100);
  tegi_tile out[100];
  assert_int_equal(tegi_heaps_take(&s.heaps, 100, out), 100);
  for (uint32_t i = 0; i < 100; i++) assert_int_equal(out[i].tile_index, i);
  // Free runs of 3, 10, 5 and, over a border of words, 8.
  tegi_heaps_give(&s.heaps, out + 1, 3, 0);
  tegi_heaps_give(&s.heaps, out + 10, 10, 0);
  tegi_heaps_give(&s.heaps, out + 30, 5, 0);
  tegi_heaps_give(&s.heaps, out + 60, 8, 0);
  tegi_tile got[26];
  assert_int_equal(tegi_heaps_take(&s.heaps, 4, got), 4);
  assert_int_equal(got[0].tile_index, 30);
  assert_int_equal(got[3].tile_index, 33);
  assert_int_equal(tegi_heaps_take(&s.heaps, 8, got), 8);
  assert_int_equal(got[0].tile_index, 60);
  assert_int_equal(got[7].tile_index, 67);
  // None is long enough: runs as they come.
  assert_int_equal(tegi_heaps_take(&s.heaps, 12, got), 12);
  assert_int_equal(got[0].tile_index, 1);
  assert_int_equal(got[3].tile_index, 10);
  assert_int_equal(got[11].tile_index, 18);
  assert_int_equal(s.heaps.free_tiles, 2);
  assert_int_equal(tegi_heaps_take(&s.heaps, 5, got), 2);
  assert_int_equal(tegi_heaps_take(&s.heaps, 5, got), 0);
  scene_deinit(&s);
}

// A heap with every other tile free is walked, not searched for each tile.
static void a_heap_in_pieces_is_taken_in_one_walk(void** state) {
  enum { PIECES = 200000 };
  static scene s;
  static tegi_tile out[2 * PIECES];
  scene_init(&s);
  add_free(&s, 0, 2 * PIECES);
  assert_int_equal(tegi_heaps_take(&s.heaps, 2 * PIECES, out), 2 * PIECES);
  for (uint32_t i = 0; i < PIECES; i++) {
    tegi_heaps_give(&s.heaps, &out[2 * i], 1, 0);
  }
  assert_int_equal(tegi_heaps_take(&s.heaps, PIECES, out), PIECES);
  for (uint32_t i = 0; i < PIECES; i++) {
    assert_int_equal(out[i].tile_index, 2 * i);
  }
  assert_int_equal(s.heaps.free_tiles, 0);
  scene_deinit(&s);
}

// From the fullest heaps, so that the emptiest can go.
static void the_emptiest_heap_drains(void** state) {
  static scene s;
  scene_init(&s);
  add_free(&s, 0, 10);
  add_free(&s, 1, 10);
  tegi_tile first[4];
  tegi_tile more[12];
  assert_int_equal(tegi_heaps_take(&s.heaps, 4, first), 4);
  assert_int_equal(tegi_heaps_take(&s.heaps, 2, more), 2);
  assert_int_equal(more[0].heap_index, first[0].heap_index);
  assert_int_equal(s.heaps.whole_count, 1);
  // More than any heap has is taken from all of them, the fullest first.
  assert_int_equal(tegi_heaps_take(&s.heaps, 12, more), 12);
  assert_int_equal(more[0].heap_index, first[0].heap_index);
  assert_int_equal(more[11].heap_index, 1 - first[0].heap_index);
  scene_deinit(&s);
}

static void a_heap_goes_when_it_has_been_free_for_long(void** state) {
  static scene s;
  scene_init(&s);
  add_free(&s, 0, 2);
  tegi_tile out[2];
  assert_int_equal(tegi_heaps_take(&s.heaps, 1, out), 1);
  assert_null(tegi_heaps_remove_whole(&s.host, &s.heaps, UINT64_MAX));
  tegi_heaps_give(&s.heaps, out, 1, 5);
  assert_null(tegi_heaps_remove_whole(&s.host, &s.heaps, 4));
  assert_ptr_equal(tegi_heaps_remove_whole(&s.host, &s.heaps, 5),
                   &s.extents[0]);
  assert_int_equal(s.heaps.free_tiles, 0);
  assert_int_equal(s.heaps.whole_count, 0);
  scene_deinit(&s);
}

static void adding_fails_at_every_allocation(void** state) {
  static scene s;
  uint64_t k = 1;
  for (bool is_added = false; !is_added; k++) {
    scene_init(&s);
    tegi_store_relaxed(&s.allocator.fail_at, k);
    is_added = tegi_heaps_add(&s.host, &s.heaps, &s.extents[0], 1000);
    tegi_store_relaxed(&s.allocator.fail_at, 0);
    assert_int_equal(s.heaps.count, is_added);
    if (!is_added) check(&s);
    scene_deinit(&s);
  }
  // The table and two bitmaps.
  assert_int_equal(k, 5);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(tiles_match_a_plain_table),
      cmocka_unit_test(tables_stay_whole_without_host_memory),
      cmocka_unit_test(neighbours_are_taken_together),
      cmocka_unit_test(a_heap_in_pieces_is_taken_in_one_walk),
      cmocka_unit_test(the_emptiest_heap_drains),
      cmocka_unit_test(a_heap_goes_when_it_has_been_free_for_long),
      cmocka_unit_test(adding_fails_at_every_allocation),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
