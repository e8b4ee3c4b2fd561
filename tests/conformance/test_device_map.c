// SPDX-License-Identifier: Apache-2.0
//
// What passes between the CPU and every device: staging memory, and pointers to
// the tiles of a range.
#include "support/device_fixture.h"

#define OWNER 1

static teg_span span_of(teg_memory* memory, uint64_t offset, uint64_t size) {
  return (teg_span){memory, offset, size, OWNER};
}

static void copy(device_fixture* fx, teg_queue_stream* stream,
                 teg_memory* target, uint64_t target_offset, teg_memory* source,
                 uint64_t source_offset, uint64_t size) {
  const teg_span to = span_of(target, target_offset, size);
  const teg_span from = span_of(source, source_offset, size);
  EXPECT_OK(fx, fx->tables.queue->record_copy(stream, &to, &from, &fx->err));
}

static void run(device_fixture* fx, teg_queue_stream* stream, uint64_t serial) {
  EXPECT_OK(fx, fx->tables.queue->submit(stream, serial, &fx->err));
  EXPECT_OK(fx, fx->tables.queue->wait(stream, serial, &fx->err));
}

static void drop(device_fixture* fx, teg_queue_stream* stream) {
  fx->tables.queue->stream_destroy(fx->device, stream);
}

static uint64_t round_up(uint64_t value, uint64_t unit) {
  return (value + unit - 1) / unit * unit;
}

static teg_memory* room(device_fixture* fx, uint64_t size) {
  return fixture_buffer(fx, round_up(size, fx->caps.buffer_granularity));
}

// Where parameters go: memory that the CPU writes.
static teg_memory* staging(device_fixture* fx, uint64_t size,
                           bool is_readback) {
  if (!fx->tables.device->staging_create) return room(fx, size);
  teg_memory* memory;
  EXPECT_OK(fx, fx->tables.device->staging_create(fx->device, size, is_readback,
                                                  &memory, &fx->err));
  assert_non_null(memory);
  return memory;
}

// The CPU has written the first |size| bytes, or is about to.
static void wrote(device_fixture* fx, teg_memory* memory, uint64_t size) {
  const teg_span span = span_of(memory, 0, size);
  if (fx->tables.check) {
    EXPECT_OK(fx, fx->tables.check->host_access(fx->device, &span, false, true,
                                                &fx->err));
  }
  if (!fx->tables.map->flush) return;
  EXPECT_OK(fx, fx->tables.map->flush(fx->device, memory, 0, size, &fx->err));
}

static void invalidate(device_fixture* fx, teg_memory* memory, uint64_t size) {
  if (!fx->tables.map->invalidate) return;
  EXPECT_OK(fx,
            fx->tables.map->invalidate(fx->device, memory, 0, size, &fx->err));
}

static device_outcome map_staging_passes_bytes(device_fixture* fx) {
  enum { BYTES = 5000 };
  teg_memory* up = staging(fx, BYTES, false);
  teg_memory* down = staging(fx, BYTES, true);
  teg_memory* buffer = room(fx, BYTES);
  teg_queue_stream* stream = fixture_stream(fx);
  uint8_t* written = fixture_bytes(fx, up);
  const uint8_t* read = fixture_bytes(fx, down);
  if (fx->tables.map->is_cached) {
    assert_true(fx->tables.map->is_cached(fx->device, down));
  }
  for (uint32_t i = 0; i < BYTES; i++) written[i] = (uint8_t)(i % 251);
  wrote(fx, up, BYTES);
  fixture_barrier(fx, stream);
  copy(fx, stream, buffer, 0, up, 0, BYTES);
  fixture_barrier(fx, stream);
  copy(fx, stream, down, 0, buffer, 0, BYTES);
  run(fx, stream, 1);
  invalidate(fx, down, BYTES);
  assert_memory_equal(read, written, BYTES);
  drop(fx, stream);
  fixture_destroy(fx, buffer);
  fixture_destroy(fx, down);
  fixture_destroy(fx, up);
  return DEVICE_PASSED;
}

static void expect_piece(device_fixture* fx, teg_memory* range, uint64_t offset,
                         const uint8_t* want, uint64_t want_bytes) {
  uint64_t bytes = 1;
  const uint8_t* pointer =
      fx->tables.map->tile_pointer(fx->device, range, offset, &bytes);
  if (!want) want_bytes = 0;
  assert_ptr_equal(pointer, want);
  assert_int_equal(bytes, want_bytes);
}

static device_outcome map_tiles_have_pointers(device_fixture* fx) {
  if (!fx->tables.remap || !fx->tables.map->tile_pointer) return DEVICE_CANNOT;
  const uint64_t tile = fx->caps.tile_bytes;
  teg_memory* first = fixture_heap(fx, 4 * tile);
  teg_memory* second = fixture_heap(fx, 2 * tile);
  teg_memory* range = fixture_range(fx, 8 * tile);
  const uint8_t* a = fx->tables.map->host_pointer(fx->device, first);
  const uint8_t* b = fx->tables.map->host_pointer(fx->device, second);
  expect_piece(fx, range, 0, NULL, 0);
  fixture_map(fx, range, 0, first, 2, 2);
  fixture_map(fx, range, 2, second, 0, 1);
  fixture_map(fx, range, 4, first, 0, 1);
  fixture_map(fx, range, 5, second, 1, 1);
  fixture_map(fx, range, 6, first, 1, 1);
  if (a && b) {
    expect_piece(fx, range, 0, a + 2 * tile, 2 * tile);
    expect_piece(fx, range, 5, a + 2 * tile + 5, 2 * tile - 5);
    expect_piece(fx, range, 2 * tile - 1, a + 4 * tile - 1, 1);
    expect_piece(fx, range, 2 * tile, b, tile);
    expect_piece(fx, range, 4 * tile, a, tile);
    expect_piece(fx, range, 5 * tile + 7, b + tile + 7, tile - 7);
    expect_piece(fx, range, 6 * tile, a + tile, tile);
  }
  expect_piece(fx, range, 3 * tile, NULL, 0);
  expect_piece(fx, range, 8 * tile - 1, NULL, 0);
  expect_piece(fx, range, 8 * tile, NULL, 0);
  fixture_unmap(fx, range, 0, 1);
  expect_piece(fx, range, 0, NULL, 0);
  fixture_unmap(fx, range, 1, 2);
  fixture_unmap(fx, range, 4, 3);
  fx->tables.remap->range_release(fx->device, range);
  fixture_destroy(fx, second);
  fixture_destroy(fx, first);
  return DEVICE_PASSED;
}

static const device_never nevers[] = {
    {"*-fixed", "map_tiles_have_pointers", "opened without remap"},
    {"host-*", "map_tiles_have_pointers", "ranges have pointers of their own"},
    {"null-*", "map_tiles_have_pointers", "ranges have pointers of their own"},
};

int main(void) {
  const device_test tests[] = {DEVICE_TEST(map_staging_passes_bytes),
                               DEVICE_TEST(map_tiles_have_pointers)};
  return device_run_suite("device_map", tests, 2, nevers,
                          sizeof nevers / sizeof *nevers);
}
