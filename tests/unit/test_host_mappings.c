// SPDX-License-Identifier: Apache-2.0
//
// The host device counts its kernel mappings exactly, respects the limits and
// undoes what the kernel refuses half-way.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/common/kernel_mappings.h"
#include "backend/host/host_backend.h"
#include "backend/host/host_os.h"
#include "support/device_fixture.h"
#include "tegula/host.h"

#define TILES 24u

static const device_config small_tiles = {"host", "host", 4096, true, false};

static teg_host_info info_of(device_fixture* fx) {
  teg_host_info info = TEG_HOST_INFO_INIT;
  assert_int_equal(teg_host_get_info(fx->device, &info), TEG_OK);
  return info;
}

// Kernel mappings that lie in, or reach into, the addresses of |range|.
static uint64_t kernel_count(device_fixture* fx, teg_memory* range,
                             uint64_t size) {
  uint64_t start = (uint64_t)(uintptr_t)fixture_bytes(fx, range);
  char line[512];
  unsigned long long low, high;
  uint64_t count = 0;
  FILE* maps = fopen("/proc/self/maps", "re");
  assert_non_null(maps);
  while (fgets(line, sizeof line, maps)) {
    if (sscanf(line, "%llx-%llx", &low, &high) == 2 && low < start + size &&
        high > start) {
      count++;
    }
  }
  fclose(maps);
  return count;
}

static void mapping_count_is_the_kernels(void** state) {
  (void)state;
  device_fixture fx;
  device_fixture_open(&fx, &small_tiles, NULL);
  const uint64_t tile = fx.caps.tile_bytes;
  teg_memory* heaps[2] = {fixture_heap(&fx, TILES * tile),
                          fixture_heap(&fx, TILES * tile)};
  teg_memory* range = fixture_range(&fx, TILES * tile);
  bool is_mapped[TILES] = {false};
  srand(3);
  for (int step = 0; step < 3000; step++) {
    teg_tile_run runs[TILES];
    size_t run_count = 0;
    bool is_map = rand() % 2;
    for (uint32_t t = 0; t < TILES; t++) {
      if (is_mapped[t] == is_map || rand() % 3) continue;
      is_mapped[t] = is_map;
      // Often a continuation of the run before, sometimes of another heap:
      // the two heaps are neighbours in the file.
      uint32_t heap = (uint32_t)rand() % 2;
      uint32_t heap_tile = rand() % 2 ? t : (uint32_t)rand() % TILES;
      runs[run_count++] = (teg_tile_run){heaps[heap], heap_tile, t, 1};
    }
    EXPECT_OK(&fx, is_map ? fx.tables.remap->map(fx.device, range, runs,
                                                 run_count, &fx.err)
                          : fx.tables.remap->unmap(fx.device, range, runs,
                                                   run_count, &fx.err));
    assert_int_equal(info_of(&fx).mapping_count,
                     kernel_count(&fx, range, TILES * tile));
  }
  // Two heaps that are neighbours in the file are one mapping.
  for (uint32_t t = 0; t < TILES; t++) {
    if (is_mapped[t]) fixture_unmap(&fx, range, t, 1);
  }
  assert_int_equal(info_of(&fx).mapping_count, 1);
  const teg_tile_run border[2] = {{heaps[0], TILES - 2, 0, 2},
                                  {heaps[1], 0, 2, TILES - 2}};
  EXPECT_OK(&fx, fx.tables.remap->map(fx.device, range, border, 2, &fx.err));
  assert_int_equal(info_of(&fx).mapping_count, 1);
  assert_int_equal(kernel_count(&fx, range, TILES * tile), 1);
  fixture_unmap(&fx, range, 0, TILES);
  fx.tables.remap->range_release(fx.device, range);
  assert_int_equal(info_of(&fx).mapping_count, 0);
  fixture_destroy(&fx, heaps[0]);
  fixture_destroy(&fx, heaps[1]);
  device_fixture_close(&fx);
}

// Lowering the limit has the same effect at any number.
static void every_limit_is_kept_exactly(void** state) {
  (void)state;
  for (uint64_t limit = 1; limit < 2 * TILES; limit++) {
    device_fixture fx = {.config = &small_tiles};
    teg_backend_open_params params = device_fixture_params(&fx);
    params.max_mapping_count = limit;
    device_fixture_open(&fx, &small_tiles, &params);
    assert_int_equal(info_of(&fx).mapping_limit, limit);
    const uint64_t tile = fx.caps.tile_bytes;
    teg_memory* heap = fixture_heap(&fx, TILES * tile);
    teg_memory* range = fixture_range(&fx, TILES * tile);
    bool is_mapped[TILES] = {false};
    srand((unsigned)limit);
    int refused_count = 0;
    for (int step = 0; step < 200; step++) {
      uint32_t t = (uint32_t)rand() % TILES;
      uint64_t before = info_of(&fx).mapping_count;
      teg_tile_run run = {heap, (uint32_t)rand() % TILES, t, 1};
      teg_result result =
          is_mapped[t]
              ? fx.tables.remap->unmap(fx.device, range, &run, 1, &fx.err)
              : fx.tables.remap->map(fx.device, range, &run, 1, &fx.err);
      uint64_t after = info_of(&fx).mapping_count;
      assert_int_equal(after, kernel_count(&fx, range, TILES * tile));
      if (result == TEG_OK) {
        is_mapped[t] = !is_mapped[t];
        assert_true(after <= limit);
      } else {
        EXPECT_RESULT(&fx, TEG_LIMIT, result);
        assert_int_equal(after, before);
        assert_true(before + 2 >= limit);
        refused_count++;
      }
    }
    if (limit < 5) assert_true(refused_count > 0);
    for (uint32_t t = 0; t < TILES; t++) {
      // From the front: no hole is made, so no mapping is needed.
      if (is_mapped[t]) fixture_unmap(&fx, range, t, 1);
    }
    fx.tables.remap->range_release(fx.device, range);
    fixture_destroy(&fx, heap);
    device_fixture_close(&fx);
  }
}

// Not only lowered: the kernel's own limit, shared by the devices of the
// process, is never reached.
static void process_limit_holds_over_two_devices(void** state) {
  (void)state;
  device_fixture a, b;
  device_fixture_open(&a, &small_tiles, NULL);
  device_fixture_open(&b, &small_tiles, NULL);
  const uint64_t limit = a.caps.max_mapping_count;
  assert_true(limit + TEGI_MAPPINGS_RESERVE < tegi_mappings_kernel_limit());
  const uint64_t tile = a.caps.tile_bytes;
  const uint32_t tiles = (uint32_t)limit + 64;
  device_fixture* both[2] = {&a, &b};
  teg_memory *heaps[2], *ranges[2];
  uint64_t mapped = 0;
  teg_result result = TEG_OK;
  for (int d = 0; d < 2; d++) {
    heaps[d] = fixture_heap(both[d], tiles * tile);
    ranges[d] = fixture_range(both[d], tiles * tile);
  }
  for (uint32_t i = 0; result == TEG_OK; i++) {
    int d = (int)(i % 2);
    teg_tile_run run = {heaps[d], tiles - 1 - i, i, 1};
    result = both[d]->tables.remap->map(both[d]->device, ranges[d], &run, 1,
                                        &both[d]->err);
    if (result == TEG_OK) mapped++;
  }
  EXPECT_RESULT(&a, TEG_LIMIT, result);
  uint64_t sum = info_of(&a).mapping_count + info_of(&b).mapping_count;
  assert_true(sum <= limit && sum + 2 >= limit);
  // The reserve is still there for everybody else.
  assert_true(tegi_mappings_kernel_count() + TEGI_MAPPINGS_RESERVE <=
              tegi_mappings_kernel_limit() + 64);
  for (uint32_t i = 0; i < mapped; i++) {
    int d = (int)(i % 2);
    teg_tile_run run = {NULL, 0, i, 1};
    EXPECT_OK(both[d], both[d]->tables.remap->unmap(both[d]->device, ranges[d],
                                                    &run, 1, &both[d]->err));
  }
  for (int d = 0; d < 2; d++) {
    both[d]->tables.remap->range_release(both[d]->device, ranges[d]);
    fixture_destroy(both[d], heaps[d]);
    device_fixture_close(both[d]);
  }
}

typedef struct scene {
  device_fixture fx;
  teg_memory* heap;
  teg_memory* range;
} scene;

static void scene_begin(scene* s) {
  device_fixture_open(&s->fx, &small_tiles, NULL);
  s->heap = fixture_heap(&s->fx, TILES * s->fx.caps.tile_bytes);
  s->range = fixture_range(&s->fx, TILES * s->fx.caps.tile_bytes);
  uint8_t* bytes = fixture_bytes(&s->fx, s->heap);
  for (uint32_t t = 0; t < TILES; t++) {
    memset(bytes + t * s->fx.caps.tile_bytes, (int)t + 1, 64);
  }
}

static void scene_end(scene* s) {
  s->fx.tables.remap->range_release(s->fx.device, s->range);
  fixture_destroy(&s->fx, s->heap);
  device_fixture_close(&s->fx);
}

static void failed_map_is_rolled_back(void** state) {
  (void)state;
  enum { RUNS = 5 };
  for (uint64_t k = 1;; k++) {
    scene s;
    scene_begin(&s);
    teg_tile_run runs[RUNS];
    for (uint32_t i = 0; i < RUNS; i++) {
      runs[i] = (teg_tile_run){s.heap, TILES - 2 - 2 * i, 3 * i, 2};
    }
    tegi_hostdev_os_fail(k, 1);
    teg_result result =
        s.fx.tables.remap->map(s.fx.device, s.range, runs, RUNS, &s.fx.err);
    bool has_fired = tegi_hostdev_os_fail(0, 0);
    uint64_t size = TILES * s.fx.caps.tile_bytes;
    if (has_fired) {
      EXPECT_RESULT(&s.fx, TEG_LIMIT, result);
      assert_int_equal(info_of(&s.fx).mapping_count, 1);
      assert_int_equal(kernel_count(&s.fx, s.range, size), 1);
      result =
          s.fx.tables.remap->map(s.fx.device, s.range, runs, RUNS, &s.fx.err);
    }
    EXPECT_OK(&s.fx, result);
    assert_int_equal(info_of(&s.fx).mapping_count,
                     kernel_count(&s.fx, s.range, size));
    for (uint32_t i = 0; i < RUNS; i++) {
      assert_int_equal(
          fixture_bytes(
              &s.fx, s.range)[runs[i].range_tile_index * s.fx.caps.tile_bytes],
          TILES - 1 - 2 * i);
    }
    EXPECT_OK(&s.fx, s.fx.tables.remap->unmap(s.fx.device, s.range, runs, RUNS,
                                              &s.fx.err));
    scene_end(&s);
    if (!has_fired) {
      assert_int_equal(k, RUNS + 1);
      break;
    }
  }
}

static void failed_unmap_is_rolled_back(void** state) {
  (void)state;
  for (uint64_t k = 1;; k++) {
    scene s;
    scene_begin(&s);
    for (uint32_t t = 0; t < TILES; t++) {
      fixture_map(&s.fx, s.range, t, s.heap, TILES - 1 - t, 1);
    }
    const teg_tile_run runs[3] = {
        {NULL, 0, 1, 2}, {NULL, 0, 4, 3}, {NULL, 0, 9, 1}};
    tegi_hostdev_os_fail(k, 1);
    teg_result result =
        s.fx.tables.remap->unmap(s.fx.device, s.range, runs, 3, &s.fx.err);
    bool has_fired = tegi_hostdev_os_fail(0, 0);
    if (has_fired) {
      EXPECT_RESULT(&s.fx, TEG_LIMIT, result);
      for (uint32_t t = 0; t < TILES; t++) {
        assert_int_equal(
            fixture_bytes(&s.fx, s.range)[t * s.fx.caps.tile_bytes], TILES - t);
      }
      assert_int_equal(
          info_of(&s.fx).mapping_count,
          kernel_count(&s.fx, s.range, TILES * s.fx.caps.tile_bytes));
      fixture_unmap(&s.fx, s.range, 0, TILES);
    } else {
      EXPECT_OK(&s.fx, result);
    }
    scene_end(&s);
    if (!has_fired) {
      assert_int_equal(k, 4);
      break;
    }
  }
}

static void failed_rollback_loses_the_device(void** state) {
  (void)state;
  scene s;
  scene_begin(&s);
  fixture_map(&s.fx, s.range, 0, s.heap, 0, TILES);
  const teg_tile_run runs[2] = {{NULL, 0, 1, 1}, {NULL, 0, 3, 1}};
  tegi_hostdev_os_fail(2, UINT64_MAX);
  EXPECT_RESULT(
      &s.fx, TEG_DEVICE_LOST,
      s.fx.tables.remap->unmap(s.fx.device, s.range, runs, 2, &s.fx.err));
  tegi_hostdev_os_fail(0, 0);
  teg_memory* memory;
  EXPECT_RESULT(&s.fx, TEG_DEVICE_LOST,
                s.fx.tables.device->heap_create(
                    s.fx.device, s.fx.caps.tile_bytes, &memory, &s.fx.err));
  EXPECT_RESULT(
      &s.fx, TEG_DEVICE_LOST,
      s.fx.tables.remap->unmap(s.fx.device, s.range, runs, 2, &s.fx.err));
  scene_end(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(mapping_count_is_the_kernels),
      cmocka_unit_test(every_limit_is_kept_exactly),
      cmocka_unit_test(process_limit_holds_over_two_devices),
      cmocka_unit_test(failed_map_is_rolled_back),
      cmocka_unit_test(failed_unmap_is_rolled_back),
      cmocka_unit_test(failed_rollback_loses_the_device),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
