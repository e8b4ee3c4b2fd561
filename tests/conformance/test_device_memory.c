// SPDX-License-Identifier: Apache-2.0
//
// Buffers and heaps of every device, through the backend's tables.
#include <string.h>

#include "support/device_fixture.h"

static device_outcome caps_make_sense(device_fixture* fx) {
  const teg_backend_caps* caps = &fx->caps;
  assert_int_equal(caps->struct_size, sizeof *caps);
  uint64_t powers[] = {caps->buffer_alignment, caps->buffer_granularity,
                       caps->tile_bytes};
  for (size_t i = 0; i < 3; i++) {
    assert_int_not_equal(powers[i], 0);
    assert_int_equal(powers[i] & (powers[i] - 1), 0);
  }
  assert_true(caps->max_allocation_bytes >= 1u << 30);
  // What Vulkan asks of every device.
  assert_true(caps->max_binding_bytes >= UINT64_C(1) << 27);
  assert_true(caps->max_allocation_bytes <= caps->total_bytes);
  if (fx->tables.remap) {
    assert_true(caps->max_range_bytes == 0 ||
                caps->max_range_bytes >= caps->max_allocation_bytes);
  }
  assert_int_equal(caps->remap == TEG_REMAP_NONE, fx->tables.remap == NULL);
  assert_int_equal(fx->config->is_remap_disabled, fx->tables.remap == NULL);
  assert_non_null(fx->tables.device);
  assert_non_null(fx->tables.map);
  assert_non_null(fx->tables.queue);
  bool is_checked = (caps->flags & TEG_BACKEND_HAZARD_CHECKED) != 0;
  assert_int_equal(is_checked, fx->tables.check != NULL);
  uint64_t available = fx->tables.device->query_available(fx->device);
  assert_true(available > 0);
  return DEVICE_PASSED;
}

typedef teg_result (*create_function)(teg_backend_device*, uint64_t,
                                      teg_memory**, teg_error*);

static void expect_refused(device_fixture* fx, create_function create,
                           uint64_t size, teg_result expected) {
  teg_memory* memory = (teg_memory*)(void*)fx;
  fx->err.message[0] = '\0';
  EXPECT_RESULT(fx, expected, create(fx->device, size, &memory, &fx->err));
  assert_null(memory);
  assert_int_equal(fx->err.result, expected);
  assert_true(strlen(fx->err.message) > 10);
  // And without anybody to tell.
  EXPECT_RESULT(fx, expected, create(fx->device, size, &memory, NULL));
}

static device_outcome absurd_sizes_are_refused(device_fixture* fx) {
  create_function creates[] = {fx->tables.device->buffer_create,
                               fx->tables.device->heap_create};
  for (size_t i = 0; i < 2; i++) {
    expect_refused(fx, creates[i], 0, TEG_INVALID);
    expect_refused(fx, creates[i], UINT64_C(1) << 63, TEG_INVALID);
    expect_refused(fx, creates[i], UINT64_MAX, TEG_INVALID);
    expect_refused(fx, creates[i], 1, TEG_INVALID);
    uint64_t above = fx->caps.max_allocation_bytes + fx->caps.tile_bytes;
    expect_refused(fx, creates[i], above, TEG_OUT_OF_MEMORY);
  }
  if (fx->tables.remap) {
    expect_refused(fx, creates[1],
                   fx->caps.tile_bytes + fx->caps.buffer_granularity,
                   TEG_INVALID);
  }
  return DEVICE_PASSED;
}

static device_outcome heaps_without_tiles_have_any_size(device_fixture* fx) {
  uint64_t size = fx->caps.tile_bytes + fx->caps.buffer_granularity;
  teg_memory* heap;
  teg_result result =
      fx->tables.device->heap_create(fx->device, size, &heap, &fx->err);
  if (result == TEG_INVALID) return DEVICE_CANNOT;
  EXPECT_OK(fx, result);
  fixture_poke(fx, heap, size - 1, 1, "7");
  fixture_destroy(fx, heap);
  return DEVICE_PASSED;
}

static device_outcome buffers_are_apart_and_aligned(device_fixture* fx) {
  static const uint64_t sizes[] = {1,   2,   3,    16,   127, 128,
                                   129, 300, 1000, 4096, 8192};
  enum { COUNT = sizeof sizes / sizeof *sizes };
  teg_memory* buffers[COUNT];
  for (size_t i = 0; i < COUNT; i++) {
    uint64_t size = sizes[i] * fx->caps.buffer_granularity;
    buffers[i] = fixture_buffer(fx, size);
    uint8_t* bytes = fixture_bytes(fx, buffers[i]);
    assert_int_equal((uintptr_t)bytes % fx->caps.buffer_alignment, 0);
    memset(bytes, (int)i + 1, size);
  }
  for (size_t i = 0; i < COUNT; i++) {
    assert_true(fixture_all_bytes(fixture_bytes(fx, buffers[i]),
                                  sizes[i] * fx->caps.buffer_granularity,
                                  (uint8_t)(i + 1)));
  }
  for (size_t i = 0; i < COUNT; i += 2) fixture_destroy(fx, buffers[i]);
  for (size_t i = 1; i < COUNT; i += 2) {
    assert_true(fixture_all_bytes(fixture_bytes(fx, buffers[i]),
                                  sizes[i] * fx->caps.buffer_granularity,
                                  (uint8_t)(i + 1)));
    fixture_destroy(fx, buffers[i]);
  }
  return DEVICE_PASSED;
}

static device_outcome heaps_are_apart(device_fixture* fx) {
  enum { COUNT = 6, EDGE = 4096 };
  teg_memory* heaps[COUNT];
  for (int round = 0; round < 3; round++) {
    for (size_t i = 0; i < COUNT; i++) {
      if (round && i % 2 == 0) continue;
      uint64_t size = fx->caps.tile_bytes * (1 + (i + (size_t)round) % 3);
      heaps[i] = fixture_heap(fx, size);
      uint8_t bytes[EDGE];
      memset(bytes, (int)i + 1, EDGE);
      fixture_poke(fx, heaps[i], 0, EDGE, bytes);
      fixture_poke(fx, heaps[i], size - EDGE, EDGE, bytes);
    }
    for (size_t i = 0; i < COUNT; i++) {
      uint8_t bytes[EDGE];
      fixture_peek(fx, heaps[i], 0, EDGE, bytes);
      assert_true(fixture_all_bytes(bytes, EDGE, (uint8_t)(i + 1)));
    }
    for (size_t i = 1; i < COUNT; i += 2) fixture_destroy(fx, heaps[i]);
  }
  for (size_t i = 0; i < COUNT; i += 2) fixture_destroy(fx, heaps[i]);
  return DEVICE_PASSED;
}

static device_outcome destroying_nothing_is_fine(device_fixture* fx) {
  fx->tables.device->memory_destroy(fx->device, NULL);
  fx->tables.queue->stream_destroy(fx->device, NULL);
  if (fx->tables.remap) fx->tables.remap->range_release(fx->device, NULL);
  return DEVICE_PASSED;
}

// Much more than the machine has: memory nobody touches is only promised.
static device_outcome untouched_memory_costs_nothing(device_fixture* fx) {
  enum { COUNT = 3 };
  if (strcmp(fx->config->backend, "vulkan") == 0) return DEVICE_CANNOT;
  uint64_t available = fx->tables.device->query_available(fx->device);
  teg_memory* memory[2 * COUNT];
  for (size_t i = 0; i < COUNT; i++) {
    memory[2 * i] = fixture_heap(fx, fx->caps.max_allocation_bytes);
    memory[2 * i + 1] = fixture_buffer(fx, fx->caps.max_allocation_bytes);
  }
  uint64_t left = fx->tables.device->query_available(fx->device);
  // Other processes come and go.
  assert_true(left + (UINT64_C(4) << 30) > available);
  for (size_t i = 0; i < 2 * COUNT; i++) fixture_destroy(fx, memory[i]);
  return DEVICE_PASSED;
}

static device_outcome devices_are_independent(device_fixture* fx) {
  device_fixture other;
  device_fixture_open(&other, fx->config, NULL);
  teg_memory* mine = fixture_heap(fx, fx->caps.tile_bytes);
  teg_memory* theirs = fixture_heap(&other, other.caps.tile_bytes);
  uint32_t one = 1, two = 2, got;
  fixture_poke(fx, mine, 0, sizeof one, &one);
  fixture_poke(&other, theirs, 0, sizeof two, &two);
  fixture_peek(fx, mine, 0, sizeof got, &got);
  assert_int_equal(got, 1);
  fixture_destroy(&other, theirs);
  device_fixture_close(&other);
  fixture_peek(fx, mine, 0, sizeof got, &got);
  assert_int_equal(got, 1);
  fixture_destroy(fx, mine);
  return DEVICE_PASSED;
}

static device_outcome bad_open_parameters_are_refused(device_fixture* fx) {
  const teg_backend_ops* backend = device_fixture_backend(fx->config->backend);
  teg_backend_device* device = fx->device;
  static const uint64_t tiles[] = {
      1, 100, 2048, 12288, UINT64_C(128) << 20, UINT64_C(1) << 63};
  for (size_t i = 0; i < sizeof tiles / sizeof *tiles; i++) {
    teg_backend_open_params params = device_fixture_params(fx);
    params.tile_bytes = tiles[i];
    EXPECT_RESULT(fx, TEG_INVALID, backend->open(&params, &device, &fx->err));
    assert_null(device);
  }
  teg_backend_open_params params = device_fixture_params(fx);
  uint32_t device_count = 0;
  EXPECT_OK(fx, backend->probe(&device_count, &fx->err));
  assert_true(device_count > 0);
  params.device_index = device_count;
  EXPECT_RESULT(fx, TEG_INVALID, backend->open(&params, &device, &fx->err));
  params = device_fixture_params(fx);
  params.allocator.release = NULL;
  EXPECT_RESULT(fx, TEG_INVALID, backend->open(&params, &device, &fx->err));
  return DEVICE_PASSED;
}

static const device_never nevers[] = {
    {"*-[!f]*", "heaps_without_tiles_have_any_size", "heaps are whole tiles"},
    {"vulkan-*", "untouched_memory_costs_nothing",
     "a driver may take memory when it is allocated"},
};

int main(void) {
  const device_test tests[] = {
      DEVICE_TEST(caps_make_sense),
      DEVICE_TEST(absurd_sizes_are_refused),
      DEVICE_TEST(heaps_without_tiles_have_any_size),
      DEVICE_TEST(buffers_are_apart_and_aligned),
      DEVICE_TEST(heaps_are_apart),
      DEVICE_TEST(destroying_nothing_is_fine),
      DEVICE_TEST(untouched_memory_costs_nothing),
      DEVICE_TEST(devices_are_independent),
      DEVICE_TEST(bad_open_parameters_are_refused),
  };
  return device_run_suite("device_memory", tests, sizeof tests / sizeof *tests,
                          nevers, sizeof nevers / sizeof *nevers);
}
