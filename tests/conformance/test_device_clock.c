// SPDX-License-Identifier: Apache-2.0
//
// Timestamps of every device that has a clock.
#include "support/device_fixture.h"

static void run(device_fixture* fx, teg_queue_stream* stream, uint64_t serial) {
  EXPECT_OK(fx, fx->tables.queue->submit(stream, serial, &fx->err));
  EXPECT_OK(fx, fx->tables.queue->wait(stream, serial, &fx->err));
}

static void drop(device_fixture* fx, teg_queue_stream* stream) {
  fx->tables.queue->stream_destroy(fx->device, stream);
}

static uint64_t stamp(device_fixture* fx, teg_queue_stream* stream) {
  uint64_t number;
  EXPECT_OK(fx, fx->tables.queue->record_timestamp(stream, &number, &fx->err));
  assert_true(number > 0);
  return number;
}

static uint64_t time_of(device_fixture* fx, teg_queue_stream* stream,
                        uint64_t number) {
  uint64_t ns;
  EXPECT_OK(fx, fx->tables.queue->timestamp(stream, number, &ns, &fx->err));
  return ns;
}

static device_outcome clock_timestamps_go_up(device_fixture* fx) {
  if (!fx->tables.queue->record_timestamp) return DEVICE_CANNOT;
  enum { TIMES = 20, BYTES = 1 << 20 };
  teg_memory* buffer = fixture_buffer(fx, BYTES);
  teg_queue_stream* stream = fixture_stream(fx);
  const teg_span span = {buffer, 0, BYTES, 1};
  uint64_t last = 0;
  for (uint64_t serial = 1; serial <= 3; serial++) {
    uint64_t numbers[TIMES + 1];
    fixture_barrier(fx, stream);
    numbers[0] = stamp(fx, stream);
    for (int i = 1; i <= TIMES; i++) {
      fixture_barrier(fx, stream);
      EXPECT_OK(fx, fx->tables.queue->record_fill(stream, &span, 1, &fx->err));
      numbers[i] = stamp(fx, stream);
    }
    run(fx, stream, serial);
    uint64_t first = time_of(fx, stream, numbers[0]);
    for (int i = 0; i <= TIMES; i++) {
      const uint64_t now = time_of(fx, stream, numbers[i]);
      assert_true(now >= last);
      last = now;
    }
    // The work took some time, and less than the test may.
    assert_true(last > first && last - first < UINT64_C(600000000000));
  }
  drop(fx, stream);
  fixture_destroy(fx, buffer);
  return DEVICE_PASSED;
}

static device_outcome clock_timestamps_are_kept(device_fixture* fx) {
  if (!fx->tables.queue->record_timestamp) return DEVICE_CANNOT;
  enum { EACH = 300, BATCHES = 5, KEPT = 1024 };
  teg_queue_stream* stream = fixture_stream(fx);
  uint64_t numbers[EACH * BATCHES];
  for (uint64_t serial = 1; serial <= BATCHES; serial++) {
    for (int i = 0; i < EACH; i++) {
      numbers[(serial - 1) * EACH + (uint64_t)i] = stamp(fx, stream);
    }
    run(fx, stream, serial);
  }
  uint64_t last = 0;
  for (int i = 0; i < EACH * BATCHES; i++) {
    uint64_t ns;
    teg_result want = i < EACH * BATCHES - KEPT ? TEG_NOT_FOUND : TEG_OK;
    EXPECT_RESULT(
        fx, want,
        fx->tables.queue->timestamp(stream, numbers[i], &ns, &fx->err));
    if (want != TEG_OK) continue;
    assert_true(ns >= last && ns > 0);
    last = ns;
  }
  drop(fx, stream);
  return DEVICE_PASSED;
}

int main(void) {
  const device_test tests[] = {DEVICE_TEST(clock_timestamps_go_up),
                               DEVICE_TEST(clock_timestamps_are_kept)};
  return device_run_suite("device_clock", tests, 2, NULL, 0);
}
