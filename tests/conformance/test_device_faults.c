// SPDX-License-Identifier: Apache-2.0
//
// The host allocator fails at the k-th call, for each k until none is left to
// fail. Each call that fails says TEG_OUT_OF_HOST_MEMORY, changes nothing, and
// works when it is made again.
#include <string.h>

#include "support/call.h"
#include "support/device_fixture.h"

// Makes a call; if it fails for want of host memory, makes it once more.
#define WITH_RETRY(fx, failure_count, call)       \
  do {                                            \
    teg_result first_ = (call);                   \
    if (first_ == TEG_OUT_OF_HOST_MEMORY) {       \
      ++*(failure_count);                         \
      assert_int_equal((fx)->err.result, first_); \
      (fx)->err.result = TEG_OK;                  \
      first_ = (call);                            \
    }                                             \
    EXPECT_OK(fx, first_);                        \
  } while (0)

static teg_result sum_kernel(void* user, void* const* pointers,
                             const uint64_t* sizes, uint32_t binding_count) {
  (void)binding_count;
  const uint8_t* bytes = pointers[0];
  for (uint64_t i = 0; i < sizes[0]; i++) *(uint64_t*)user += bytes[i];
  return TEG_OK;
}

// Tiles, out of order, so that runs and slots matter.
static teg_memory* map_tiles(device_fixture* fx, teg_memory* heap,
                             uint32_t* failure_count) {
  const teg_remap_ops* remap = fx->tables.remap;
  const uint64_t tile = fx->caps.tile_bytes;
  teg_memory* range;
  WITH_RETRY(fx, failure_count,
             remap->range_reserve(fx->device, 4 * tile, &range, &fx->err));
  const teg_tile_run runs[2] = {{heap, 2, 0, 2}, {heap, 0, 3, 1}};
  WITH_RETRY(fx, failure_count, fixture_map_runs(fx, range, runs, 2));
  // Where ranges have no pointer, reading would take host memory itself.
  uint8_t* bytes = fx->tables.map->host_pointer(fx->device, range);
  if (bytes) {
    memset(bytes, 4, 16);
    assert_true(fixture_all_bytes(fixture_bytes(fx, heap) + 2 * tile, 16, 4));
  }
  WITH_RETRY(fx, failure_count, fixture_unmap_runs(fx, range, runs, 2));
  return range;
}

static void run_commands(device_fixture* fx, teg_memory* buffer,
                         teg_memory* heap, uint32_t* failure_count) {
  const teg_queue_ops* queue = fx->tables.queue;
  teg_queue_stream* stream;
  WITH_RETRY(fx, failure_count,
             queue->stream_create(fx->device, &stream, &fx->err));
  uint64_t sum = 0, want = 0;
  for (uint64_t serial = 1; serial <= 2; serial++) {
    for (uint64_t i = 0; i < 20; i++) {
      teg_span target = {buffer, i * 8, 8, 1};
      teg_span copied = {heap, 64 + i * 8, 8, 1};
      teg_binding binding = {copied, true, false};
      WITH_RETRY(fx, failure_count, queue->record_barrier(stream, &fx->err));
      WITH_RETRY(fx, failure_count,
                 queue->record_fill(stream, &target, (uint32_t)i * 0x01010101u,
                                    &fx->err));
      WITH_RETRY(fx, failure_count, queue->record_barrier(stream, &fx->err));
      WITH_RETRY(fx, failure_count,
                 queue->record_copy(stream, &copied, &target, &fx->err));
      if (!fixture_has_calls(fx)) continue;
      WITH_RETRY(fx, failure_count, queue->record_barrier(stream, &fx->err));
      WITH_RETRY(fx, failure_count,
                 test_record_call(fx->device, stream, sum_kernel, &sum,
                                  &binding, 1, &fx->err));
      want += 8 * i;
    }
    WITH_RETRY(fx, failure_count, queue->submit(stream, serial, &fx->err));
  }
  WITH_RETRY(fx, failure_count, queue->wait(stream, 2, &fx->err));
  // Each command ran once, also those that were recorded twice.
  assert_int_equal(sum, want);
  // Where heaps have no pointer, reading would take host memory itself.
  bool is_readable = fx->tables.map->host_pointer(fx->device, heap) != NULL;
  if (!fixture_has_calls(fx) && is_readable) {
    uint8_t bytes[20 * 8];
    fixture_peek(fx, heap, 64, sizeof bytes, bytes);
    for (uint32_t i = 0; i < sizeof bytes; i++) {
      assert_int_equal(bytes[i], i / 8);
    }
  }
  queue->stream_destroy(fx->device, stream);
}

static void run_script(device_fixture* fx, uint32_t* failure_count) {
  const teg_device_ops* ops = fx->tables.device;
  const uint64_t tile = fx->caps.tile_bytes;
  teg_memory *buffer, *large, *heap, *range = NULL;
  WITH_RETRY(fx, failure_count,
             ops->buffer_create(fx->device, 4 * fx->caps.buffer_granularity,
                                &buffer, &fx->err));
  WITH_RETRY(fx, failure_count,
             ops->buffer_create(fx->device, 1 << 20, &large, &fx->err));
  WITH_RETRY(fx, failure_count,
             ops->heap_create(fx->device, 4 * tile, &heap, &fx->err));
  if (fx->tables.remap) range = map_tiles(fx, heap, failure_count);
  run_commands(fx, buffer, heap, failure_count);
  if (range) fx->tables.remap->range_release(fx->device, range);
  fixture_destroy(fx, heap);
  fixture_destroy(fx, large);
  fixture_destroy(fx, buffer);
}

static device_outcome faults_of_the_host_allocator(device_fixture* fx) {
  uint64_t k = 0;
  uint32_t failure_count;
  do {
    device_fixture faulty;
    device_fixture_open(&faulty, fx->config, NULL);
    tegi_store_relaxed(&faulty.allocator.fail_at, ++k);
    failure_count = 0;
    run_script(&faulty, &failure_count);
    bool has_fired = tegi_load_relaxed(&faulty.allocator.fail_at) == 0;
    assert_int_equal(failure_count, has_fired ? 1 : 0);
    tegi_store_relaxed(&faulty.allocator.fail_at, 0);
    device_fixture_close(&faulty);
  } while (failure_count);
  assert_true(k > 6);
  return DEVICE_PASSED;
}

static device_outcome faults_while_opening(device_fixture* fx) {
  const teg_backend_ops* backend = device_fixture_backend(fx->config->backend);
  for (uint64_t k = 1;; k++) {
    device_fixture faulty = {.config = fx->config};
    teg_backend_open_params params = device_fixture_params(&faulty);
    tegi_store_relaxed(&faulty.allocator.fail_at, k);
    teg_backend_device* device = fx->device;
    teg_result result = backend->open(&params, &device, &faulty.err);
    if (result == TEG_OK) {
      assert_true(k > 1);
      tegi_store_relaxed(&faulty.allocator.fail_at, 0);
      device->tables.device->close(device);
      assert_int_equal(tegi_load_relaxed(&faulty.allocator.live_count), 0);
      return DEVICE_PASSED;
    }
    EXPECT_RESULT(&faulty, TEG_OUT_OF_HOST_MEMORY, result);
    assert_null(device);
    assert_int_equal(tegi_load_relaxed(&faulty.allocator.live_count), 0);
  }
}

int main(void) {
  const device_test tests[] = {DEVICE_TEST(faults_of_the_host_allocator),
                               DEVICE_TEST(faults_while_opening)};
  return device_run_suite("device_faults", tests, 2, NULL, 0);
}
