// SPDX-License-Identifier: Apache-2.0
//
// Tiles under addresses, on every device.
#include <string.h>

#include "support/device_fixture.h"

// Bytes looked at at either end of a tile.
#define EDGE 256u

static void mark_tile(device_fixture* fx, teg_memory* memory, uint32_t tile,
                      uint8_t value) {
  const uint64_t start = tile * fx->caps.tile_bytes;
  uint8_t bytes[EDGE];
  memset(bytes, value, EDGE);
  fixture_poke(fx, memory, start, EDGE, bytes);
  fixture_poke(fx, memory, start + fx->caps.tile_bytes - EDGE, EDGE, bytes);
}

static bool has_mark(device_fixture* fx, teg_memory* memory, uint32_t tile,
                     uint8_t value) {
  const uint64_t start = tile * fx->caps.tile_bytes;
  uint8_t low[EDGE], high[EDGE];
  fixture_peek(fx, memory, start, EDGE, low);
  fixture_peek(fx, memory, start + fx->caps.tile_bytes - EDGE, EDGE, high);
  return fixture_all_bytes(low, EDGE, value) &&
         fixture_all_bytes(high, EDGE, value);
}

static device_outcome remap_sizes_are_checked(device_fixture* fx) {
  const teg_remap_ops* remap = fx->tables.remap;
  if (!remap) return DEVICE_CANNOT;
  uint64_t tile = fx->caps.tile_bytes;
  const uint64_t sizes[] = {
      0, 1, tile - 1, tile + 1, UINT64_C(1) << 63, UINT64_MAX & ~(tile - 1)};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    teg_memory* range = (teg_memory*)(void*)fx;
    EXPECT_RESULT(fx, TEG_INVALID,
                  remap->range_reserve(fx->device, sizes[i], &range, &fx->err));
    assert_null(range);
  }
  // More addresses than a process has, or more tiles than have numbers.
  teg_memory* range;
  teg_result result =
      remap->range_reserve(fx->device, UINT64_C(1) << 60, &range, &fx->err);
  assert_true(result == TEG_OUT_OF_MEMORY || result == TEG_INVALID ||
              result == TEG_LIMIT);
  return DEVICE_PASSED;
}

static device_outcome remap_moves_data_with_the_tile(device_fixture* fx) {
  if (!fx->tables.remap) return DEVICE_CANNOT;
  enum { TILES = 4 };
  teg_memory* heap = fixture_heap(fx, TILES * fx->caps.tile_bytes);
  teg_memory* a = fixture_range(fx, TILES * fx->caps.tile_bytes);
  teg_memory* b = fixture_range(fx, 2 * TILES * fx->caps.tile_bytes);
  fixture_map(fx, a, 0, heap, 0, TILES);
  for (uint32_t i = 0; i < TILES; i++) mark_tile(fx, a, i, (uint8_t)(i + 1));
  // The heap's own pointer shows the same bytes.
  for (uint32_t i = 0; i < TILES; i++) {
    assert_true(has_mark(fx, heap, i, (uint8_t)(i + 1)));
  }
  fixture_unmap(fx, a, 0, TILES);
  for (uint32_t i = 0; i < TILES; i++) {
    fixture_map(fx, b, 2 * i + 1, heap, TILES - 1 - i, 1);
  }
  for (uint32_t i = 0; i < TILES; i++) {
    assert_true(has_mark(fx, b, 2 * i + 1, (uint8_t)(TILES - i)));
  }
  for (uint32_t i = 0; i < TILES; i++) fixture_unmap(fx, b, 2 * i + 1, 1);
  fixture_map(fx, a, 0, heap, 1, 2);
  assert_true(has_mark(fx, a, 0, 2) && has_mark(fx, a, 1, 3));
  fixture_unmap(fx, a, 0, 2);
  fx->tables.remap->range_release(fx->device, a);
  fx->tables.remap->range_release(fx->device, b);
  fixture_destroy(fx, heap);
  return DEVICE_PASSED;
}

static device_outcome remap_takes_many_runs_in_a_call(device_fixture* fx) {
  if (!fx->tables.remap) return DEVICE_CANNOT;
  const uint64_t tile = fx->caps.tile_bytes;
  teg_memory* low = fixture_heap(fx, 6 * tile);
  teg_memory* high = fixture_heap(fx, 6 * tile);
  teg_memory* range = fixture_range(fx, 16 * tile);
  for (uint32_t i = 0; i < 6; i++) mark_tile(fx, low, i, (uint8_t)(10 + i));
  for (uint32_t i = 0; i < 6; i++) mark_tile(fx, high, i, (uint8_t)(20 + i));
  // Neighbours of one heap, of two heaps, with gaps, and out of order in the
  // heap.
  const teg_tile_run runs[] = {{low, 4, 1, 2},  {high, 0, 3, 2},
                               {high, 5, 5, 1}, {low, 0, 8, 1},
                               {low, 1, 9, 1},  {high, 3, 15, 1}};
  EXPECT_OK(fx, fx->tables.remap->map(fx->device, range, runs, 6, &fx->err));
  const uint8_t want[16] = {0,  14, 15, 20, 21, 25, 0, 0,
                            10, 11, 0,  0,  0,  0,  0, 23};
  for (uint32_t i = 0; i < 16; i++) {
    if (want[i]) assert_true(has_mark(fx, range, i, want[i]));
  }
  // Unmap other runs than were mapped: parts, and across heaps.
  const teg_tile_run gone[] = {
      {NULL, 0, 2, 2}, {NULL, 0, 4, 1}, {NULL, 0, 9, 1}};
  EXPECT_OK(fx, fx->tables.remap->unmap(fx->device, range, gone, 3, &fx->err));
  assert_true(has_mark(fx, range, 1, 14));
  assert_true(has_mark(fx, range, 5, 25));
  assert_true(has_mark(fx, range, 8, 10));
  const teg_tile_run rest[] = {
      {NULL, 0, 1, 1}, {NULL, 0, 5, 1}, {NULL, 0, 8, 1}, {NULL, 0, 15, 1}};
  EXPECT_OK(fx, fx->tables.remap->unmap(fx->device, range, rest, 4, &fx->err));
  EXPECT_OK(fx, fx->tables.remap->map(fx->device, range, runs, 0, &fx->err));
  EXPECT_OK(fx, fx->tables.remap->unmap(fx->device, range, runs, 0, &fx->err));
  fx->tables.remap->range_release(fx->device, range);
  fixture_destroy(fx, high);
  fixture_destroy(fx, low);
  return DEVICE_PASSED;
}

static device_outcome remap_bad_runs_change_nothing(device_fixture* fx) {
  const teg_remap_ops* remap = fx->tables.remap;
  if (!remap) return DEVICE_CANNOT;
  const uint64_t tile = fx->caps.tile_bytes;
  teg_memory* heap = fixture_heap(fx, 4 * tile);
  teg_memory* buffer = fixture_buffer(fx, fx->caps.buffer_granularity);
  teg_memory* range = fixture_range(fx, 4 * tile);
  for (uint32_t i = 0; i < 4; i++) mark_tile(fx, heap, i, (uint8_t)(i + 1));
  fixture_map(fx, range, 1, heap, 1, 1);
  const teg_tile_run bad_maps[][2] = {
      {{heap, 2, 2, 1}, {heap, 0, 1, 1}},           // not sorted
      {{heap, 0, 0, 1}, {heap, 2, 1, 1}},           // mapped already
      {{heap, 0, 0, 1}, {heap, 2, 2, 3}},           // past the range
      {{heap, 0, 0, 1}, {heap, 3, 2, 2}},           // past the heap
      {{heap, 0, 0, 1}, {heap, 2, 2, 0}},           // empty
      {{heap, 0, 0, 1}, {heap, UINT32_MAX, 2, 2}},  // wraps
      {{heap, 0, 0, 1}, {buffer, 0, 2, 1}},         // no heap
      {{heap, 0, 0, 1}, {NULL, 0, 2, 1}},
  };
  for (size_t i = 0; i < sizeof bad_maps / sizeof *bad_maps; i++) {
    EXPECT_RESULT(fx, TEG_INVALID,
                  remap->map(fx->device, range, bad_maps[i], 2, &fx->err));
    assert_true(has_mark(fx, range, 1, 2));
  }
  const teg_tile_run bad_unmaps[][2] = {
      {{NULL, 0, 1, 1}, {NULL, 0, 2, 1}},  // nothing there
      {{NULL, 0, 1, 1}, {NULL, 0, 3, 2}},  // past the range
      {{NULL, 0, 1, 1}, {NULL, 0, 1, 1}},  // twice
  };
  for (size_t i = 0; i < sizeof bad_unmaps / sizeof *bad_unmaps; i++) {
    EXPECT_RESULT(fx, TEG_INVALID,
                  remap->unmap(fx->device, range, bad_unmaps[i], 2, &fx->err));
    assert_true(has_mark(fx, range, 1, 2));
  }
  // All the rest is still free.
  fixture_map(fx, range, 0, heap, 0, 1);
  fixture_map(fx, range, 2, heap, 2, 2);
  for (uint32_t i = 0; i < 4; i++) {
    assert_true(has_mark(fx, range, i, (uint8_t)(i + 1)));
  }
  fixture_unmap(fx, range, 0, 4);
  remap->range_release(fx->device, range);
  fixture_destroy(fx, buffer);
  fixture_destroy(fx, heap);
  return DEVICE_PASSED;
}

// A tile under two addresses is one memory with two names.
static device_outcome remap_same_tile_under_two_ranges(device_fixture* fx) {
  const teg_remap_ops* remap = fx->tables.remap;
  if (!remap) return DEVICE_CANNOT;
  const uint64_t tile = fx->caps.tile_bytes;
  teg_memory* heap = fixture_heap(fx, 2 * tile);
  teg_memory* a = fixture_range(fx, 2 * tile);
  teg_memory* b = fixture_range(fx, 2 * tile);
  fixture_map(fx, a, 0, heap, 0, 2);
  teg_tile_run run = {heap, 1, 0, 1};
  teg_result result = remap->map(fx->device, b, &run, 1, &fx->err);
  device_outcome outcome = DEVICE_PASSED;
  if (result == TEG_HAZARD) {
    outcome = DEVICE_CANNOT;
  } else {
    EXPECT_OK(fx, result);
    mark_tile(fx, a, 1, 77);
    assert_true(has_mark(fx, b, 0, 77));
    fixture_unmap(fx, b, 0, 1);
  }
  mark_tile(fx, a, 1, 78);
  assert_true(has_mark(fx, heap, 1, 78));
  fixture_unmap(fx, a, 0, 2);
  remap->range_release(fx->device, a);
  remap->range_release(fx->device, b);
  fixture_destroy(fx, heap);
  return outcome;
}

static device_outcome remap_stops_at_the_mapping_limit(device_fixture* fx) {
  if (!fx->tables.remap) return DEVICE_CANNOT;
  enum { TILES = 64, LIMIT = 21 };
  device_fixture small;
  teg_backend_open_params params = device_fixture_params(fx);
  params.max_mapping_count = LIMIT;
  device_fixture_open(&small, fx->config, &params);
  fx = &small;
  assert_int_equal(fx->caps.max_mapping_count, LIMIT);
  const teg_remap_ops* remap = fx->tables.remap;
  const uint64_t tile = fx->caps.tile_bytes;
  teg_memory* heap = fixture_heap(fx, TILES * tile);
  teg_memory* range = fixture_range(fx, TILES * tile);
  for (uint32_t i = 0; i < TILES; i++) mark_tile(fx, heap, i, (uint8_t)(i + 1));
  // Every other tile, each a mapping of its own.
  uint32_t count = 0;
  teg_result result = TEG_OK;
  while (result == TEG_OK) {
    assert_true(count < LIMIT);
    teg_tile_run run = {heap, 2 * count, 2 * count, 1};
    result = remap->map(fx->device, range, &run, 1, &fx->err);
    if (result == TEG_OK) count++;
  }
  EXPECT_RESULT(fx, TEG_LIMIT, result);
  assert_true(count >= LIMIT / 2 - 1);
  // A large call fails whole; nothing of it is there.
  teg_tile_run many[10];
  for (uint32_t i = 0; i < 10; i++) {
    many[i] = (teg_tile_run){heap, TILES - 1 - i, 2 * (count + i), 1};
  }
  EXPECT_RESULT(fx, TEG_LIMIT,
                remap->map(fx->device, range, many, 10, &fx->err));
  for (uint32_t i = 0; i < count; i++) {
    assert_true(has_mark(fx, range, 2 * i, (uint8_t)(2 * i + 1)));
  }
  // Nor another range; what takes no more mappings goes on.
  teg_memory* other;
  teg_result reserved =
      remap->range_reserve(fx->device, tile, &other, &fx->err);
  if (reserved == TEG_OK) {
    remap->range_release(fx->device, other);
  } else {
    EXPECT_RESULT(fx, TEG_LIMIT, reserved);
  }
  for (uint32_t i = 0; i + 1 < count; i++) {
    fixture_map(fx, range, 2 * i + 1, heap, 2 * i + 1, 1);
  }
  for (uint32_t i = 0; i < 2 * count - 1; i++) {
    assert_true(has_mark(fx, range, i, (uint8_t)(i + 1)));
  }
  fixture_unmap(fx, range, 0, 2 * count - 1);
  remap->range_release(fx->device, range);
  fixture_destroy(fx, heap);
  device_fixture_close(&small);
  return DEVICE_PASSED;
}

static device_outcome remap_unmap_may_meet_the_limit(device_fixture* fx) {
  if (!fx->tables.remap) return DEVICE_CANNOT;
  device_fixture small;
  teg_backend_open_params params = device_fixture_params(fx);
  params.max_mapping_count = 2;
  device_fixture_open(&small, fx->config, &params);
  fx = &small;
  const uint64_t tile = fx->caps.tile_bytes;
  teg_memory* heap = fixture_heap(fx, 3 * tile);
  teg_memory* range = fixture_range(fx, 3 * tile);
  for (uint32_t i = 0; i < 3; i++) mark_tile(fx, heap, i, (uint8_t)(i + 1));
  fixture_map(fx, range, 0, heap, 0, 3);
  // A hole in the middle makes three mappings of one.
  teg_tile_run middle = {NULL, 0, 1, 1};
  EXPECT_RESULT(
      fx, TEG_LIMIT,
      fx->tables.remap->unmap(fx->device, range, &middle, 1, &fx->err));
  for (uint32_t i = 0; i < 3; i++) {
    assert_true(has_mark(fx, range, i, (uint8_t)(i + 1)));
  }
  fixture_unmap(fx, range, 2, 1);
  fixture_unmap(fx, range, 0, 2);
  fx->tables.remap->range_release(fx->device, range);
  fixture_destroy(fx, heap);
  device_fixture_close(&small);
  return DEVICE_PASSED;
}

static device_outcome remap_needs_no_remap_to_have_heaps(device_fixture* fx) {
  teg_memory* heap = fixture_heap(fx, 2 * fx->caps.tile_bytes);
  mark_tile(fx, heap, 1, 5);
  assert_true(has_mark(fx, heap, 1, 5));
  fixture_destroy(fx, heap);
  return DEVICE_PASSED;
}

static const device_never nevers[] = {
    {"*-fixed", "remap_[!n]*", "opened without remap"},
    {"null-[26]*", "remap_same_tile_under_two_ranges",
     "the checker refuses a tile that is mapped elsewhere"},
    {"*-checked", "remap_same_tile_under_two_ranges",
     "the checker refuses a tile that is mapped elsewhere"},
};

int main(void) {
  const device_test tests[] = {
      DEVICE_TEST(remap_sizes_are_checked),
      DEVICE_TEST(remap_moves_data_with_the_tile),
      DEVICE_TEST(remap_takes_many_runs_in_a_call),
      DEVICE_TEST(remap_bad_runs_change_nothing),
      DEVICE_TEST(remap_same_tile_under_two_ranges),
      DEVICE_TEST(remap_stops_at_the_mapping_limit),
      DEVICE_TEST(remap_unmap_may_meet_the_limit),
      DEVICE_TEST(remap_needs_no_remap_to_have_heaps),
  };
  return device_run_suite("device_remap", tests, sizeof tests / sizeof *tests,
                          nevers, sizeof nevers / sizeof *nevers);
}
