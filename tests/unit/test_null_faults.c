// SPDX-License-Identifier: Apache-2.0
//
// The null device fails on demand, holds a budget and runs batches when told.
#include <string.h>

#include "support/device_fixture.h"
#include "tegula/null.h"

#define TILE UINT64_C(65536)

static const device_config config = {"null", "null", TILE, true, false};

static teg_null_report report_of(device_fixture* fx) {
  teg_null_report report = TEG_NULL_REPORT_INIT;
  assert_int_equal(teg_null_get_report(fx->device, &report), TEG_OK);
  return report;
}

static void arm(device_fixture* fx, teg_null_calls calls, uint64_t k,
                uint64_t count, teg_result result) {
  assert_int_equal(teg_null_fail(fx->device, calls, k, count, result), TEG_OK);
}

static teg_result create(device_fixture* fx, teg_memory** out_buffer) {
  return fx->tables.device->buffer_create(fx->device, 256, out_buffer,
                                          &fx->err);
}

static void call_number_k_fails(void** state) {
  (void)state;
  device_fixture fx;
  device_fixture_open(&fx, &config, NULL);
  arm(&fx, TEG_NULL_BUFFER_CREATE, 3, 2, TEG_DEVICE_ERROR);
  teg_memory* buffers[6];
  for (int i = 0; i < 6; i++) {
    bool must_fail = i == 2 || i == 3;
    EXPECT_RESULT(&fx, must_fail ? TEG_DEVICE_ERROR : TEG_OK,
                  create(&fx, &buffers[i]));
    assert_int_equal(buffers[i] == NULL, must_fail);
    // Other groups are not counted.
    fixture_destroy(&fx, fixture_heap(&fx, TILE));
  }
  assert_int_equal(report_of(&fx).counted_calls, 6);
  assert_int_equal(report_of(&fx).failed_calls, 2);
  assert_int_equal(report_of(&fx).used_bytes, 4 * 256);
  arm(&fx, TEG_NULL_ALL_CALLS, 1, UINT64_MAX, TEG_DEVICE_LOST);
  teg_memory* memory;
  for (int i = 0; i < 5; i++) {
    EXPECT_RESULT(&fx, TEG_DEVICE_LOST, create(&fx, &memory));
    EXPECT_RESULT(
        &fx, TEG_DEVICE_LOST,
        fx.tables.device->heap_create(fx.device, TILE, &memory, &fx.err));
  }
  arm(&fx, 0, 0, 0, TEG_OK);
  for (int i = 0; i < 6; i++) fixture_destroy(&fx, buffers[i]);
  assert_int_equal(report_of(&fx).used_bytes, 0);
  device_fixture_close(&fx);
}

// Each call of a script in turn; it works when it is made again.
static void run_script(device_fixture* fx, int* failure_count) {
  teg_memory *buffer, *heap, *range;
  teg_queue_stream* stream;
  const teg_queue_ops* queue = fx->tables.queue;
#define STEP(call)                                        \
  do {                                                    \
    if ((call) != TEG_OK) {                               \
      ++*failure_count;                                   \
      assert_int_equal(fx->err.result, TEG_DEVICE_ERROR); \
      EXPECT_OK(fx, call);                                \
    }                                                     \
  } while (0)
  STEP(create(fx, &buffer));
  STEP(fx->tables.device->heap_create(fx->device, TILE, &heap, &fx->err));
  STEP(fx->tables.remap->range_reserve(fx->device, TILE, &range, &fx->err));
  teg_tile_run run = {heap, 0, 0, 1};
  STEP(fx->tables.remap->map(fx->device, range, &run, 1, &fx->err));
  STEP(queue->stream_create(fx->device, &stream, &fx->err));
  teg_span target = {range, 0, 64, 1}, source = {buffer, 0, 64, 1};
  STEP(queue->record_fill(stream, &source, 0x05050505, &fx->err));
  STEP(queue->record_barrier(stream, &fx->err));
  STEP(queue->record_copy(stream, &target, &source, &fx->err));
  STEP(queue->submit(stream, 1, &fx->err));
  STEP(queue->wait(stream, 1, &fx->err));
  assert_true(fixture_all_bytes(fixture_bytes(fx, range), 64, 5));
  STEP(fx->tables.remap->unmap(fx->device, range, &run, 1, &fx->err));
#undef STEP
  queue->stream_destroy(fx->device, stream);
  fx->tables.remap->range_release(fx->device, range);
  fixture_destroy(fx, heap);
  fixture_destroy(fx, buffer);
}

static void every_call_can_fail_and_be_repeated(void** state) {
  (void)state;
  int failure_count;
  uint64_t k = 0;
  do {
    device_fixture fx;
    device_fixture_open(&fx, &config, NULL);
    arm(&fx, TEG_NULL_ALL_CALLS, ++k, 1, TEG_DEVICE_ERROR);
    failure_count = 0;
    run_script(&fx, &failure_count);
    assert_int_equal(report_of(&fx).failed_calls, failure_count);
    assert_int_equal(report_of(&fx).hazard_count, 0);
    device_fixture_close(&fx);
  } while (failure_count);
  assert_int_equal(k, 12);
}

static void budget_is_kept(void** state) {
  (void)state;
  device_fixture fx;
  device_fixture_open(&fx, &config, NULL);
  assert_int_equal(teg_null_set_budget(fx.device, 2 * TILE), TEG_OK);
  teg_memory* heap = fixture_heap(&fx, TILE);
  assert_int_equal(fx.tables.device->query_available(fx.device), TILE);
  teg_memory* memory;
  EXPECT_RESULT(
      &fx, TEG_OUT_OF_MEMORY,
      fx.tables.device->heap_create(fx.device, 2 * TILE, &memory, &fx.err));
  assert_non_null(strstr(fx.err.message, "budget of 131072"));
  teg_memory* buffer = fixture_buffer(&fx, TILE);
  EXPECT_RESULT(&fx, TEG_OUT_OF_MEMORY, create(&fx, &memory));
  assert_int_equal(fx.tables.device->query_available(fx.device), 0);
  // Lowered below what is held: nothing more, and nothing taken away.
  assert_int_equal(teg_null_set_budget(fx.device, 10), TEG_OK);
  assert_int_equal(fx.tables.device->query_available(fx.device), 0);
  fixture_destroy(&fx, buffer);
  EXPECT_RESULT(&fx, TEG_OUT_OF_MEMORY, create(&fx, &memory));
  fixture_destroy(&fx, heap);
  assert_int_equal(teg_null_set_budget(fx.device, UINT64_MAX), TEG_OK);
  fixture_destroy(&fx, fixture_buffer(&fx, TILE));
  device_fixture_close(&fx);
}

static void batches_run_when_told(void** state) {
  (void)state;
  device_fixture fx;
  device_fixture_open(&fx, &config, NULL);
  teg_memory* buffer = fixture_buffer(&fx, 256);
  teg_queue_stream* stream = fixture_stream(&fx);
  for (uint64_t serial = 1; serial <= 3; serial++) {
    teg_span span = {buffer, 0, 4, 1};
    EXPECT_OK(&fx, fx.tables.queue->record_fill(
                       stream, &span, (uint32_t)serial * 0x01010101u, &fx.err));
    EXPECT_OK(&fx, fx.tables.queue->submit(stream, serial, &fx.err));
  }
  assert_int_equal(fx.tables.queue->completed(stream), 0);
  assert_int_equal(teg_null_run_batches(fx.device, 2), 2);
  assert_int_equal(fx.tables.queue->completed(stream), 2);
  assert_int_equal(fixture_bytes(&fx, buffer)[0], 2);
  assert_int_equal(teg_null_run_batches(fx.device, UINT64_MAX), 1);
  assert_int_equal(fixture_bytes(&fx, buffer)[0], 3);
  fx.tables.queue->stream_destroy(fx.device, stream);
  fixture_destroy(&fx, buffer);
  device_fixture_close(&fx);
}

static void bad_arguments_are_refused(void** state) {
  (void)state;
  static const device_config host_config = {"host", "host", 0, true, false};
  device_fixture fx;
  device_fixture_open(&fx, &host_config, NULL);
  teg_null_report report = TEG_NULL_REPORT_INIT;
  assert_int_equal(teg_null_get_report(fx.device, &report), TEG_INVALID);
  assert_int_equal(teg_null_set_budget(fx.device, 1), TEG_INVALID);
  assert_int_equal(teg_null_fail(fx.device, 1, 1, 1, TEG_IO), TEG_INVALID);
  assert_int_equal(teg_null_run_batches(fx.device, 1), 0);
  teg_null_reset_report(fx.device);
  teg_null_reset_report(NULL);
  device_fixture_close(&fx);
  device_fixture_open(&fx, &config, NULL);
  assert_int_equal(teg_null_fail(NULL, 1, 1, 1, TEG_IO), TEG_INVALID);
  assert_int_equal(teg_null_fail(fx.device, 1u << 20, 1, 1, TEG_IO),
                   TEG_INVALID);
  assert_int_equal(teg_null_fail(fx.device, 1, 1, 0, TEG_IO), TEG_INVALID);
  assert_int_equal(teg_null_fail(fx.device, 1, 1, 1, TEG_OK), TEG_INVALID);
  report.struct_size = 8;
  assert_int_equal(teg_null_get_report(fx.device, &report), TEG_INVALID);
  device_fixture_close(&fx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(call_number_k_fails),
      cmocka_unit_test(every_call_can_fail_and_be_repeated),
      cmocka_unit_test(budget_is_kept),
      cmocka_unit_test(batches_run_when_told),
      cmocka_unit_test(bad_arguments_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
