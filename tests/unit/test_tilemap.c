// SPDX-License-Identifier: Apache-2.0
//
// Tile maps against a plain array of slots.
#include <stdlib.h>
#include <string.h>

#include "range/tilemap.h"
#include "support/device_fixture.h"

enum { SLOTS = 500, STEPS = 8000 };

typedef struct scene {
  device_allocator allocator;
  tegi_host host;
  tegi_tilemap map;
  bool mapped[SLOTS];
  tegi_tile tiles[SLOTS];
} scene;

static uint32_t draw(uint32_t below) { return (uint32_t)rand() % below; }

// Records for slots below |end|, as tiled makes them.
static bool reserve(tegi_host* host, tegi_tilemap* map, uint32_t end) {
  if (end <= map->capacity) return true;
  tegi_tilemap larger;
  if (!tegi_tilemap_copy_larger(host, map, end, &larger)) return false;
  tegi_tilemap_destroy(host, map);
  *map = larger;
  return true;
}

static void scene_init(scene* s) {
  memset(s, 0, sizeof *s);
  teg_allocator allocator = device_fixture_allocator(&s->allocator);
  assert_int_equal(tegi_host_init(&s->host, &allocator, NULL), TEG_OK);
  tegi_tilemap_init(&s->map, SLOTS);
}

static void scene_deinit(scene* s) {
  tegi_tilemap_destroy(&s->host, &s->map);
  assert_int_equal(tegi_load_relaxed(&s->allocator.live_count), 0);
}

static uint32_t naive_count(const scene* s, uint32_t first, uint32_t end) {
  uint32_t count = 0;
  for (uint32_t slot = first; slot < end; slot++) count += s->mapped[slot];
  return count;
}

static uint32_t naive_next(const scene* s, uint32_t from, uint32_t end,
                           bool is_mapped) {
  while (from < end && s->mapped[from] != is_mapped) from++;
  return from;
}

static void check(const scene* s) {
  assert_int_equal(s->map.mapped_count, naive_count(s, 0, SLOTS));
  for (uint32_t slot = 0; slot < SLOTS; slot++) {
    assert_int_equal(tegi_tilemap_is_mapped(&s->map, slot), s->mapped[slot]);
    if (!s->mapped[slot]) continue;
    assert_memory_equal(&s->map.tiles[slot], &s->tiles[slot],
                        sizeof(tegi_tile));
  }
}

static void check_searches(const scene* s, uint32_t first, uint32_t end) {
  assert_int_equal(tegi_tilemap_count(&s->map, first, end),
                   naive_count(s, first, end));
  assert_int_equal(tegi_tilemap_next(&s->map, first, end, true),
                   naive_next(s, first, end, true));
  assert_int_equal(tegi_tilemap_next(&s->map, first, end, false),
                   naive_next(s, first, end, false));
}

static void set(scene* s, uint32_t slot) {
  s->tiles[slot] = (tegi_tile){draw(9), draw(1000)};
  s->mapped[slot] = true;
  tegi_tilemap_set(&s->map, slot, s->tiles[slot]);
}

static void clear(scene* s, uint32_t slot) {
  s->mapped[slot] = false;
  tegi_tilemap_clear(&s->map, slot);
}

static void step(scene* s) {
  uint32_t first = draw(SLOTS);
  uint32_t end = first + 1 + draw(draw(2) ? 4 : SLOTS - first);
  if (end > SLOTS) end = SLOTS;
  bool is_adding = draw(2);
  if (is_adding && end > s->map.capacity) {
    if (draw(4)) return;
    tegi_tilemap before = s->map;
    if (!reserve(&s->host, &s->map, end)) {
      assert_memory_equal(&s->map, &before, sizeof before);
      return;
    }
    assert_true(s->map.capacity >= end);
    assert_int_equal(s->map.capacity % 64, 0);
  }
  for (uint32_t slot = first; slot < end; slot++) {
    if (is_adding && !s->mapped[slot]) set(s, slot);
    if (!is_adding && s->mapped[slot]) clear(s, slot);
  }
}

static void play(unsigned seed, bool is_failing) {
  static scene s;
  for (int round = 0; round < 20; round++) {
    scene_init(&s);
    srand(seed + (unsigned)round);
    for (int i = 0; i < STEPS / 20; i++) {
      if (is_failing) tegi_store_relaxed(&s.allocator.fail_at, draw(4));
      step(&s);
      tegi_store_relaxed(&s.allocator.fail_at, 0);
      check(&s);
      for (int look = 0; look < 8; look++) {
        uint32_t first = draw(SLOTS + 1);
        check_searches(&s, first, first + draw(SLOTS - first + 1));
      }
    }
    scene_deinit(&s);
  }
}

static void maps_match_a_plain_array(void** state) { play(1, false); }

static void maps_stay_whole_without_host_memory(void** state) {
  play(100, true);
}

// Every pair of bounds around the borders of words, with one slot set.
static void borders_of_words_are_respected(void** state) {
  static scene s;
  scene_init(&s);
  assert_true(reserve(&s.host, &s.map, 200));
  static const uint32_t at[] = {0, 1, 62, 63, 64, 65, 127, 128, 129, 191};
  enum { COUNT = sizeof at / sizeof *at };
  for (uint32_t i = 0; i < COUNT; i++) {
    set(&s, at[i]);
    for (uint32_t first = 0; first < COUNT; first++) {
      for (uint32_t end = first; end < COUNT; end++) {
        check_searches(&s, at[first], at[end]);
        check_searches(&s, at[first], at[end] + 1);
      }
    }
    clear(&s, at[i]);
  }
  scene_deinit(&s);
}

// A map of much address space costs what is mapped of it.
static void slots_without_a_record_are_unmapped(void** state) {
  static scene s;
  scene_init(&s);
  tegi_tilemap_init(&s.map, 1u << 28);
  assert_int_equal(s.host.live_bytes, 0);
  assert_false(tegi_tilemap_is_mapped(&s.map, 12345));
  assert_int_equal(tegi_tilemap_count(&s.map, 0, 1u << 28), 0);
  assert_int_equal(tegi_tilemap_next(&s.map, 5, 1u << 28, true), 1u << 28);
  assert_int_equal(tegi_tilemap_next(&s.map, 5, 1u << 28, false), 5);
  assert_true(reserve(&s.host, &s.map, 10));
  assert_true(s.host.live_bytes < 4096);
  for (uint32_t slot = 0; slot < 64; slot++) set(&s, slot);
  assert_int_equal(tegi_tilemap_next(&s.map, 0, 1u << 28, false), 64);
  assert_int_equal(tegi_tilemap_next(&s.map, 100, 1u << 28, false), 100);
  assert_int_equal(tegi_tilemap_next(&s.map, 100, 1u << 28, true), 1u << 28);
  assert_int_equal(tegi_tilemap_count(&s.map, 60, 1u << 28), 4);
  memset(s.mapped, 0, sizeof s.mapped);
  scene_deinit(&s);
}

static void reserve_fails_at_every_allocation(void** state) {
  static scene s;
  scene_init(&s);
  assert_true(reserve(&s.host, &s.map, 1));
  set(&s, 0);
  set(&s, 63);
  for (uint64_t k = 1; k <= 2; k++) {
    tegi_store_relaxed(&s.allocator.fail_at, k);
    assert_false(reserve(&s.host, &s.map, 65));
    check(&s);
  }
  assert_true(reserve(&s.host, &s.map, 65));
  check(&s);
  scene_deinit(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(maps_match_a_plain_array),
      cmocka_unit_test(maps_stay_whole_without_host_memory),
      cmocka_unit_test(borders_of_words_are_respected),
      cmocka_unit_test(slots_without_a_record_are_unmapped),
      cmocka_unit_test(reserve_fails_at_every_allocation),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
