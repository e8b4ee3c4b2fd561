// SPDX-License-Identifier: Apache-2.0
//
// Streams of every device: what commands do, in which order, how batches
// complete and how failures come out.
#include <string.h>

#include "support/call.h"
#include "support/device_fixture.h"

#define OWNER 1

static teg_span span_of(teg_memory* memory, uint64_t offset, uint64_t size) {
  return (teg_span){memory, offset, size, OWNER};
}

static void fill(device_fixture* fx, teg_queue_stream* stream,
                 teg_memory* memory, uint64_t offset, uint64_t size,
                 uint32_t pattern) {
  teg_span span = span_of(memory, offset, size);
  fixture_barrier(fx, stream);
  EXPECT_OK(fx,
            fx->tables.queue->record_fill(stream, &span, pattern, &fx->err));
}

static void copy(device_fixture* fx, teg_queue_stream* stream,
                 teg_memory* target, uint64_t target_offset, teg_memory* source,
                 uint64_t source_offset, uint64_t size) {
  teg_span to = span_of(target, target_offset, size);
  teg_span from = span_of(source, source_offset, size);
  fixture_barrier(fx, stream);
  EXPECT_OK(fx, fx->tables.queue->record_copy(stream, &to, &from, &fx->err));
}

static void submit(device_fixture* fx, teg_queue_stream* stream,
                   uint64_t serial) {
  EXPECT_OK(fx, fx->tables.queue->submit(stream, serial, &fx->err));
}

static void wait(device_fixture* fx, teg_queue_stream* stream,
                 uint64_t serial) {
  EXPECT_OK(fx, fx->tables.queue->wait(stream, serial, &fx->err));
}

static void drop(device_fixture* fx, teg_queue_stream* stream) {
  fx->tables.queue->stream_destroy(fx->device, stream);
}

// Byte i of a fill is byte i % 4 of the pattern, whatever the offset.
static device_outcome queue_fills_any_offset_and_size(device_fixture* fx) {
  const uint64_t granularity = fx->caps.buffer_granularity;
  teg_memory* buffer = fixture_buffer(fx, granularity);
  teg_queue_stream* stream = fixture_stream(fx);
  uint8_t* bytes = fixture_bytes(fx, buffer);
  uint64_t serial = 0;
  for (uint64_t offset = 0; offset < 6; offset++) {
    for (uint64_t size = 0; size < 14; size++) {
      for (int is_plain = 0; is_plain < 2; is_plain++) {
        fill(fx, stream, buffer, 0, granularity, 0xeeeeeeee);
        fill(fx, stream, buffer, offset, size,
             is_plain ? 0x05050505 : 0x04030201);
        submit(fx, stream, ++serial);
        wait(fx, stream, serial);
        for (uint64_t i = 0; i < 32; i++) {
          uint8_t want = 0xee;
          if (i >= offset && i < offset + size) {
            want = is_plain ? 5 : (uint8_t)(1 + (i - offset) % 4);
          }
          assert_int_equal(bytes[i], want);
        }
      }
    }
  }
  drop(fx, stream);
  fixture_destroy(fx, buffer);
  return DEVICE_PASSED;
}

static device_outcome queue_fills_and_copies_large(device_fixture* fx) {
  const uint64_t size = 3 << 20;
  teg_memory* a = fixture_buffer(fx, size);
  teg_memory* heap = fixture_heap(fx, 64 << 20);
  teg_queue_stream* stream = fixture_stream(fx);
  fill(fx, stream, a, 1, size - 1, 0xd4c3b2a1);
  copy(fx, stream, heap, 12345, a, 3, size - 3);
  submit(fx, stream, 1);
  wait(fx, stream, 1);
  static const uint8_t pattern[4] = {0xa1, 0xb2, 0xc3, 0xd4};
  static uint8_t copied[FIXTURE_COPY_BYTES];
  for (uint64_t done = 0; done < size - 3; done += sizeof copied) {
    uint64_t left = size - 3 - done;
    uint64_t count = left < sizeof copied ? left : sizeof copied;
    fixture_peek(fx, heap, 12345 + done, count, copied);
    for (uint64_t i = 0; i < count; i++) {
      if (copied[i] != pattern[(done + i + 2) % 4]) {
        fail_msg("byte %d", (int)(done + i));
      }
    }
  }
  drop(fx, stream);
  fixture_destroy(fx, heap);
  fixture_destroy(fx, a);
  return DEVICE_PASSED;
}

// Fills and copies through addresses that cross tiles.
static device_outcome queue_reaches_across_tiles(device_fixture* fx) {
  if (!fx->tables.remap) return DEVICE_CANNOT;
  const uint64_t tile = fx->caps.tile_bytes;
  teg_memory* heap = fixture_heap(fx, 4 * tile);
  teg_memory* range = fixture_range(fx, 4 * tile);
  teg_queue_stream* stream = fixture_stream(fx);
  for (uint32_t i = 0; i < 4; i++) fixture_map(fx, range, i, heap, 3 - i, 1);
  fill(fx, stream, range, tile - 3, 8, 0x04030201);
  copy(fx, stream, range, 3 * tile - 4, range, tile - 3, 8);
  submit(fx, stream, 1);
  wait(fx, stream, 1);
  static const uint8_t want[8] = {1, 2, 3, 4, 1, 2, 3, 4};
  uint8_t got[8];
  fixture_peek(fx, range, 3 * tile - 4, 8, got);
  assert_memory_equal(got, want, 8);
  // Range tiles 2 and 3 are heap tiles 1 and 0.
  fixture_peek(fx, heap, 2 * tile - 4, 4, got);
  assert_memory_equal(got, want, 4);
  fixture_peek(fx, heap, 0, 4, got);
  assert_memory_equal(got, want + 4, 4);
  fixture_unmap(fx, range, 0, 4);
  drop(fx, stream);
  fx->tables.remap->range_release(fx->device, range);
  fixture_destroy(fx, heap);
  return DEVICE_PASSED;
}

// Adds binding 0 to binding 1, byte by byte.
static teg_result add_kernel(void* user, void* const* pointers,
                             const uint64_t* sizes, uint32_t binding_count) {
  int* call_count = user;
  if (binding_count != 2 || sizes[0] != sizes[1]) return TEG_INVALID;
  const uint8_t* from = pointers[0];
  uint8_t* to = pointers[1];
  for (uint64_t i = 0; i < sizes[0]; i++) to[i] = (uint8_t)(to[i] + from[i]);
  ++*call_count;
  return TEG_OK;
}

static teg_result no_binding_kernel(void* user, void* const* pointers,
                                    const uint64_t* sizes,
                                    uint32_t binding_count) {
  (void)pointers;
  (void)sizes;
  *(uint32_t*)user += 1 + binding_count;
  return TEG_OK;
}

static device_outcome queue_calls_get_their_bytes(device_fixture* fx) {
  if (!fixture_has_calls(fx)) return DEVICE_CANNOT;
  teg_memory* a = fixture_buffer(fx, 2 * fx->caps.buffer_granularity);
  teg_memory* b = fixture_buffer(fx, 2 * fx->caps.buffer_granularity);
  teg_queue_stream* stream = fixture_stream(fx);
  int call_count = 0;
  uint32_t other_count = 0;
  fill(fx, stream, a, 5, 100, 0x01010101);
  fill(fx, stream, b, 7, 100, 0x02020202);
  teg_binding bindings[2] = {{span_of(a, 5, 100), true, false},
                             {span_of(b, 7, 100), true, true}};
  for (int i = 0; i < 20; i++) {
    fixture_barrier(fx, stream);
    EXPECT_OK(fx, test_record_call(fx->device, stream, add_kernel, &call_count,
                                   bindings, 2, &fx->err));
    EXPECT_OK(fx, test_record_call(fx->device, stream, no_binding_kernel,
                                   &other_count, NULL, 0, &fx->err));
  }
  submit(fx, stream, 1);
  wait(fx, stream, 1);
  assert_int_equal(call_count, 20);
  assert_int_equal(other_count, 20);
  assert_true(fixture_all_bytes(fixture_bytes(fx, b) + 7, 100, 22));
  drop(fx, stream);
  fixture_destroy(fx, b);
  fixture_destroy(fx, a);
  return DEVICE_PASSED;
}

static device_outcome queue_refuses_bytes_outside(device_fixture* fx) {
  const teg_queue_ops* queue = fx->tables.queue;
  const uint64_t size = fx->caps.buffer_granularity;
  teg_memory* buffer = fixture_buffer(fx, size);
  teg_queue_stream* stream = fixture_stream(fx);
  const teg_span bad[] = {
      span_of(buffer, 0, size + 1), span_of(buffer, 1, size),
      span_of(buffer, size + 1, 0), span_of(buffer, UINT64_MAX, 2),
      span_of(buffer, 2, UINT64_MAX)};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    teg_span good = span_of(buffer, 0, bad[i].size);
    teg_binding binding = {bad[i], true, false};
    EXPECT_RESULT(fx, TEG_INVALID,
                  queue->record_fill(stream, &bad[i], 0, &fx->err));
    EXPECT_RESULT(fx, TEG_INVALID,
                  queue->record_copy(stream, &bad[i], &good, &fx->err));
    EXPECT_RESULT(fx, TEG_INVALID,
                  queue->record_copy(stream, &good, &bad[i], &fx->err));
    if (!fixture_has_calls(fx)) continue;
    EXPECT_RESULT(fx, TEG_INVALID,
                  test_record_call(fx->device, stream, no_binding_kernel, NULL,
                                   &binding, 1, &fx->err));
  }
  teg_span four = span_of(buffer, 0, 4), five = span_of(buffer, 8, 5);
  EXPECT_RESULT(fx, TEG_INVALID,
                queue->record_copy(stream, &four, &five, &fx->err));
  // Nothing of it was recorded.
  memset(fixture_bytes(fx, buffer), 3, size);
  submit(fx, stream, 1);
  wait(fx, stream, 1);
  assert_true(fixture_all_bytes(fixture_bytes(fx, buffer), size, 3));
  drop(fx, stream);
  fixture_destroy(fx, buffer);
  return DEVICE_PASSED;
}

static device_outcome queue_counts_batches(device_fixture* fx) {
  const teg_queue_ops* queue = fx->tables.queue;
  teg_queue_stream* stream = fixture_stream(fx);
  assert_int_equal(queue->completed(stream), 0);
  wait(fx, stream, 0);
  EXPECT_RESULT(fx, TEG_BAD_STATE, queue->wait(stream, 1, &fx->err));
  EXPECT_RESULT(fx, TEG_INVALID, queue->submit(stream, 0, &fx->err));
  EXPECT_RESULT(fx, TEG_INVALID, queue->submit(stream, 2, &fx->err));
  uint64_t last = 0;
  for (uint64_t serial = 1; serial <= 200; serial++) {
    submit(fx, stream, serial);  // empty batches count too
    uint64_t now = queue->completed(stream);
    assert_true(now >= last && now <= serial);
    last = now;
    if (serial % 7 == 0) {
      wait(fx, stream, serial - 3);
      assert_true(queue->completed(stream) >= serial - 3);
    }
  }
  wait(fx, stream, 200);
  assert_int_equal(queue->completed(stream), 200);
  wait(fx, stream, 1);
  drop(fx, stream);
  return DEVICE_PASSED;
}

static device_outcome queue_told_batches_wait_for_wait(device_fixture* fx) {
  if (!(fx->caps.flags & TEG_BACKEND_TOLD)) return DEVICE_CANNOT;
  const teg_queue_ops* queue = fx->tables.queue;
  teg_memory* buffer = fixture_buffer(fx, fx->caps.buffer_granularity);
  teg_queue_stream* a = fixture_stream(fx);
  teg_queue_stream* b = fixture_stream(fx);
  memset(fixture_bytes(fx, buffer), 0, 16);
  fill(fx, a, buffer, 0, 4, 0x01010101);
  submit(fx, a, 1);
  fill(fx, b, buffer, 4, 4, 0x02020202);
  submit(fx, b, 1);
  fill(fx, a, buffer, 8, 4, 0x03030303);
  submit(fx, a, 2);
  assert_int_equal(queue->completed(a), 0);
  assert_true(fixture_all_bytes(fixture_bytes(fx, buffer), 16, 0));
  // What was submitted before runs first, what came later stays.
  wait(fx, b, 1);
  assert_int_equal(queue->completed(a), 1);
  assert_int_equal(queue->completed(b), 1);
  static const uint8_t want[12] = {1, 1, 1, 1, 2, 2, 2, 2, 0, 0, 0, 0};
  assert_memory_equal(fixture_bytes(fx, buffer), want, 12);
  wait(fx, a, 2);
  assert_int_equal(fixture_bytes(fx, buffer)[8], 3);
  drop(fx, a);
  drop(fx, b);
  fixture_destroy(fx, buffer);
  return DEVICE_PASSED;
}

static device_outcome queue_batches_complete_unasked(device_fixture* fx) {
  if (fx->caps.flags & TEG_BACKEND_TOLD) return DEVICE_CANNOT;
  teg_queue_stream* stream = fixture_stream(fx);
  submit(fx, stream, 1);
  // ctest's timeout is the limit.
  while (fx->tables.queue->completed(stream) < 1) {
  }
  drop(fx, stream);
  return DEVICE_PASSED;
}

typedef struct order_log {
  int entries[64];
  int count;
} order_log;
typedef struct order_entry {
  order_log* log;
  int value;
} order_entry;

static teg_result log_kernel(void* user, void* const* pointers,
                             const uint64_t* sizes, uint32_t binding_count) {
  (void)pointers;
  (void)sizes;
  (void)binding_count;
  order_entry* entry = user;
  entry->log->entries[entry->log->count++] = entry->value;
  return TEG_OK;
}

static device_outcome queue_runs_in_submit_order(device_fixture* fx) {
  if (!fixture_has_calls(fx)) return DEVICE_CANNOT;
  enum { STREAMS = 3, EACH = 8 };
  teg_queue_stream* streams[STREAMS];
  order_log log = {.count = 0};
  order_entry entries[STREAMS * EACH];
  for (int i = 0; i < STREAMS; i++) streams[i] = fixture_stream(fx);
  // Recorded round robin, submitted stream by stream.
  for (int i = 0; i < STREAMS * EACH; i++) {
    entries[i] = (order_entry){&log, (i % STREAMS) * EACH + i / STREAMS};
    EXPECT_OK(fx, test_record_call(fx->device, streams[i % STREAMS], log_kernel,
                                   &entries[i], NULL, 0, &fx->err));
  }
  for (int i = 0; i < STREAMS; i++) submit(fx, streams[i], 1);
  for (int i = STREAMS; i-- > 0;) wait(fx, streams[i], 1);
  assert_int_equal(log.count, STREAMS * EACH);
  for (int i = 0; i < log.count; i++) assert_int_equal(log.entries[i], i);
  for (int i = 0; i < STREAMS; i++) drop(fx, streams[i]);
  return DEVICE_PASSED;
}

// A byte is handed on from cell to cell in the order of submits. A command that
// ran too early would hand on a zero.
static device_outcome queue_chains_through_streams(device_fixture* fx) {
  enum { STREAMS = 3, EACH = 16, CELLS = STREAMS * EACH + 1 };
  teg_memory* buffer = fixture_buffer(fx, fx->caps.buffer_granularity);
  teg_queue_stream* streams[STREAMS];
  for (int i = 0; i < STREAMS; i++) streams[i] = fixture_stream(fx);
  fill(fx, streams[0], buffer, 0, CELLS, 0);
  fill(fx, streams[0], buffer, 0, 1, 0x2a);
  for (uint64_t i = 0; i < STREAMS * EACH; i++) {
    // Recorded round robin, submitted stream by stream.
    uint64_t from = i % STREAMS * EACH + i / STREAMS;
    copy(fx, streams[i % STREAMS], buffer, from + 1, buffer, from, 1);
  }
  for (int i = 0; i < STREAMS; i++) submit(fx, streams[i], 1);
  wait(fx, streams[STREAMS - 1], 1);
  assert_true(fixture_all_bytes(fixture_bytes(fx, buffer), CELLS, 0x2a));
  for (int i = 0; i < STREAMS; i++) drop(fx, streams[i]);
  fixture_destroy(fx, buffer);
  return DEVICE_PASSED;
}

// A stream may go while another one's batch still waits for it.
static device_outcome queue_waits_outlive_their_stream(device_fixture* fx) {
  teg_memory* buffer = fixture_buffer(fx, fx->caps.buffer_granularity);
  teg_queue_stream* a = fixture_stream(fx);
  teg_queue_stream* b = fixture_stream(fx);
  fill(fx, a, buffer, 0, 16, 0x07070707);
  submit(fx, a, 1);
  EXPECT_OK(fx, fx->tables.queue->record_wait(b, a, 1, &fx->err));
  copy(fx, b, buffer, 16, buffer, 0, 16);
  drop(fx, a);
  submit(fx, b, 1);
  wait(fx, b, 1);
  assert_true(fixture_all_bytes(fixture_bytes(fx, buffer), 32, 7));
  drop(fx, b);
  fixture_destroy(fx, buffer);
  return DEVICE_PASSED;
}

static device_outcome queue_waits_between_streams(device_fixture* fx) {
  const teg_queue_ops* queue = fx->tables.queue;
  teg_memory* buffer = fixture_buffer(fx, fx->caps.buffer_granularity);
  teg_queue_stream* a = fixture_stream(fx);
  teg_queue_stream* b = fixture_stream(fx);
  EXPECT_RESULT(fx, TEG_BAD_STATE, queue->record_wait(b, a, 1, &fx->err));
  for (uint64_t serial = 1; serial <= 50; serial++) {
    uint32_t pattern = (uint32_t)serial * 0x01010101u;
    fill(fx, a, buffer, 0, 64, pattern);
    submit(fx, a, serial);
    EXPECT_OK(fx, queue->record_wait(b, a, serial, &fx->err));
    copy(fx, b, buffer, 64, buffer, 0, 64);
    submit(fx, b, serial);
    EXPECT_OK(fx, queue->record_wait(a, b, serial, &fx->err));
  }
  wait(fx, b, 50);
  assert_true(fixture_all_bytes(fixture_bytes(fx, buffer), 128, 50));
  drop(fx, b);
  drop(fx, a);
  fixture_destroy(fx, buffer);
  return DEVICE_PASSED;
}

static teg_result failing_kernel(void* user, void* const* pointers,
                                 const uint64_t* sizes,
                                 uint32_t binding_count) {
  (void)pointers;
  (void)sizes;
  (void)binding_count;
  return *(const teg_result*)user;
}

static void call_failing(device_fixture* fx, teg_queue_stream* stream,
                         teg_result* result) {
  EXPECT_OK(fx, test_record_call(fx->device, stream, failing_kernel, result,
                                 NULL, 0, &fx->err));
}

static device_outcome queue_keeps_errors_and_tells_once(device_fixture* fx) {
  if (!fixture_has_calls(fx)) return DEVICE_CANNOT;
  const teg_queue_ops* queue = fx->tables.queue;
  teg_memory* buffer = fixture_buffer(fx, fx->caps.buffer_granularity);
  teg_queue_stream* a = fixture_stream(fx);
  teg_queue_stream* b = fixture_stream(fx);
  teg_result first = TEG_CORRUPT, second = TEG_IO;
  submit(fx, a, 1);
  call_failing(fx, a, &first);
  call_failing(fx, a, &second);
  // Commands after a failed one run all the same.
  fill(fx, a, buffer, 0, 4, 0x09090909);
  submit(fx, a, 2);
  submit(fx, a, 3);
  // Another stream's wait does not take it.
  submit(fx, b, 1);
  wait(fx, b, 1);
  fx->err.message[0] = '\0';
  EXPECT_RESULT(fx, TEG_CORRUPT, queue->wait(a, 3, &fx->err));
  assert_int_equal(fx->err.result, TEG_CORRUPT);
  assert_true(strlen(fx->err.message) > 10);
  assert_int_equal(queue->completed(a), 3);
  assert_int_equal(fixture_bytes(fx, buffer)[0], 9);
  wait(fx, a, 3);
  // And a later one is told again.
  call_failing(fx, a, &second);
  submit(fx, a, 4);
  EXPECT_RESULT(fx, TEG_IO, queue->wait(a, 4, NULL));
  wait(fx, a, 4);
  drop(fx, b);
  drop(fx, a);
  fixture_destroy(fx, buffer);
  return DEVICE_PASSED;
}

static device_outcome queue_destroy_waits_and_drops(device_fixture* fx) {
  teg_memory* buffer = fixture_buffer(fx, fx->caps.buffer_granularity);
  uint8_t* bytes = fixture_bytes(fx, buffer);
  memset(bytes, 0, 16);
  teg_queue_stream* stream = fixture_stream(fx);
  fill(fx, stream, buffer, 0, 8, 0x01010101);
  submit(fx, stream, 1);
  fill(fx, stream, buffer, 8, 8, 0x02020202);  // never submitted
  drop(fx, stream);
  assert_true(fixture_all_bytes(bytes, 8, 1));
  assert_true(fixture_all_bytes(bytes + 8, 8, 0));
  fixture_destroy(fx, buffer);
  return DEVICE_PASSED;
}

static device_outcome queue_discard_drops_what_is_recorded(device_fixture* fx) {
  teg_memory* buffer = fixture_buffer(fx, fx->caps.buffer_granularity);
  uint8_t* bytes = fixture_bytes(fx, buffer);
  memset(bytes, 0, 16);
  teg_queue_stream* stream = fixture_stream(fx);
  fx->tables.queue->discard(stream);
  fill(fx, stream, buffer, 0, 4, 0x01010101);
  submit(fx, stream, 1);
  fill(fx, stream, buffer, 4, 4, 0x02020202);
  fill(fx, stream, buffer, 8, 4, 0x02020202);
  fx->tables.queue->discard(stream);
  // Nothing waits for those commands any more.
  if (fx->tables.check) {
    teg_span span = span_of(buffer, 4, 8);
    EXPECT_OK(fx, fx->tables.check->host_access(fx->device, &span, false, true,
                                                &fx->err));
  }
  fill(fx, stream, buffer, 12, 4, 0x03030303);
  submit(fx, stream, 2);
  wait(fx, stream, 2);
  static const uint8_t want[16] = {1, 1, 1, 1, 0, 0, 0, 0,
                                   0, 0, 0, 0, 3, 3, 3, 3};
  assert_memory_equal(bytes, want, 16);
  drop(fx, stream);
  fixture_destroy(fx, buffer);
  return DEVICE_PASSED;
}

static device_outcome queue_steady_state_allocates_nothing(device_fixture* fx) {
  if (fx->caps.flags & TEG_BACKEND_HAZARD_CHECKED) return DEVICE_CANNOT;
  teg_memory* buffer = fixture_buffer(fx, fx->caps.buffer_granularity);
  teg_queue_stream* stream = fixture_stream(fx);
  int call_count = 0;
  teg_binding bindings[2] = {{span_of(buffer, 0, 8), true, false},
                             {span_of(buffer, 8, 8), true, true}};
  const teg_access accesses[2] = {TEG_ACCESS_READ, TEG_ACCESS_READ_WRITE};
  teg_kernel_params params =
      test_kernel_params(add_kernel, &call_count, accesses, 2);
  teg_dispatch dispatch = {
      .bindings = bindings, .binding_count = 2, .group_count = {1, 1, 1}};
  const teg_kernel_ops* kernels = fx->tables.kernel;
  if (fixture_has_calls(fx)) {
    EXPECT_OK(fx,
              kernels->create(fx->device, &params, &dispatch.kernel, &fx->err));
  }
  for (uint64_t serial = 1; serial <= 300; serial++) {
    // After the first rounds the host allocator gives nothing any more.
    if (serial == 10) tegi_store_relaxed(&fx->allocator.fail_at, 1);
    for (int i = 0; i < 20; i++) {
      fill(fx, stream, buffer, 0, 16, 1);
      if (!fixture_has_calls(fx)) continue;
      fixture_barrier(fx, stream);
      EXPECT_OK(fx, kernels->record_dispatch(stream, &dispatch, &fx->err));
    }
    submit(fx, stream, serial);
    wait(fx, stream, serial);
  }
  assert_int_equal(tegi_load_relaxed(&fx->allocator.fail_at), 1);
  tegi_store_relaxed(&fx->allocator.fail_at, 0);
  if (dispatch.kernel) kernels->destroy(fx->device, dispatch.kernel);
  drop(fx, stream);
  fixture_destroy(fx, buffer);
  return DEVICE_PASSED;
}

static const device_never nevers[] = {
    {"*-fixed", "queue_reaches_across_tiles", "opened without remap"},
    {"host-[!t]*", "queue_told_batches_wait_for_wait",
     "the worker executes batches by itself"},
    {"host-told", "queue_batches_complete_unasked",
     "batches execute when told only"},
    {"null-*", "queue_batches_complete_unasked",
     "batches execute when told only"},
    {"vulkan-[!t]*", "queue_told_batches_wait_for_wait",
     "the queue executes batches by itself"},
    {"vulkan-told", "queue_batches_complete_unasked",
     "batches execute when told only"},
    {"vulkan-*", "queue_calls_get_their_bytes",
     "C functions do not run on a GPU"},
    {"vulkan-*", "queue_runs_in_submit_order",
     "C functions do not run on a GPU; queue_chains_through_streams has it"},
    {"vulkan-*", "queue_keeps_errors_and_tells_once",
     "commands fail in C functions only"},
    {"*-checked", "queue_steady_state_allocates_nothing",
     "the checker notes every command"},
    {"null-*", "queue_steady_state_allocates_nothing",
     "the checker keeps a record per command"},
};

int main(void) {
  const device_test tests[] = {
      DEVICE_TEST(queue_fills_any_offset_and_size),
      DEVICE_TEST(queue_fills_and_copies_large),
      DEVICE_TEST(queue_reaches_across_tiles),
      DEVICE_TEST(queue_calls_get_their_bytes),
      DEVICE_TEST(queue_refuses_bytes_outside),
      DEVICE_TEST(queue_counts_batches),
      DEVICE_TEST(queue_told_batches_wait_for_wait),
      DEVICE_TEST(queue_batches_complete_unasked),
      DEVICE_TEST(queue_runs_in_submit_order),
      DEVICE_TEST(queue_chains_through_streams),
      DEVICE_TEST(queue_waits_between_streams),
      DEVICE_TEST(queue_waits_outlive_their_stream),
      DEVICE_TEST(queue_keeps_errors_and_tells_once),
      DEVICE_TEST(queue_destroy_waits_and_drops),
      DEVICE_TEST(queue_discard_drops_what_is_recorded),
      DEVICE_TEST(queue_steady_state_allocates_nothing),
  };
  return device_run_suite("device_queue", tests, sizeof tests / sizeof *tests,
                          nevers, sizeof nevers / sizeof *nevers);
}
