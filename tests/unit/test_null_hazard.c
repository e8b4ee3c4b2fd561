// SPDX-License-Identifier: Apache-2.0
//
// What the null device reports, and what it does not.
#include <string.h>

#include "support/call.h"
#include "support/device_fixture.h"
#include "tegula/null.h"

#define TILE UINT64_C(65536)

static const device_config config = {"null", "null", TILE, true, false};

typedef struct scene {
  device_fixture fx;
  const teg_queue_ops* queue;
  teg_memory* heap;   // 8 tiles
  teg_memory* range;  // 8 tiles, none mapped
  teg_memory* buffer;
  teg_queue_stream* a;
  teg_queue_stream* b;
  uint64_t a_serial;
  uint64_t b_serial;
} scene;

static int scene_begin(void** state) {
  static scene s;
  s = (scene){.heap = NULL};
  device_fixture_open(&s.fx, &config, NULL);
  s.queue = s.fx.tables.queue;
  s.heap = fixture_heap(&s.fx, 8 * TILE);
  s.range = fixture_range(&s.fx, 8 * TILE);
  s.buffer = fixture_buffer(&s.fx, TILE);
  s.a = fixture_stream(&s.fx);
  s.b = fixture_stream(&s.fx);
  *state = &s;
  return 0;
}

static int scene_end(void** state) {
  scene* s = *state;
  s->queue->stream_destroy(s->fx.device, s->b);
  s->queue->stream_destroy(s->fx.device, s->a);
  for (uint32_t t = 0; s->range && t < 8; t++) {
    teg_tile_run run = {NULL, 0, t, 1};
    teg_result result =
        s->fx.tables.remap->unmap(s->fx.device, s->range, &run, 1, NULL);
    (void)result;
  }
  s->fx.tables.remap->range_release(s->fx.device, s->range);
  fixture_destroy(&s->fx, s->buffer);
  fixture_destroy(&s->fx, s->heap);
  device_fixture_close(&s->fx);
  return 0;
}

static uint64_t hazard_count(scene* s) {
  teg_null_report report = TEG_NULL_REPORT_INIT;
  assert_int_equal(teg_null_get_report(s->fx.device, &report), TEG_OK);
  return report.hazard_count;
}

// Exactly |count| hazards, the first one's text has |text| in it.
static void expect_report(scene* s, uint64_t count, const char* text) {
  teg_null_report report = TEG_NULL_REPORT_INIT;
  assert_int_equal(teg_null_get_report(s->fx.device, &report), TEG_OK);
  if (report.hazard_count != count) print_error("%s\n", report.first_hazard);
  assert_int_equal(report.hazard_count, count);
  if (!strstr(report.first_hazard, text)) {
    fail_msg("\"%s\" is not in \"%s\"", text, report.first_hazard);
  }
}

static teg_span span(teg_memory* memory, uint64_t offset, uint64_t size,
                     uint64_t owner) {
  return (teg_span){memory, offset, size, owner};
}

// Every command of these tests comes behind a barrier: they are about who owns
// the bytes. Order is the matter of test_check_order.c.
static void barrier(scene* s, teg_queue_stream* stream) {
  EXPECT_OK(&s->fx, s->queue->record_barrier(stream, &s->fx.err));
}

static void fill(scene* s, teg_queue_stream* stream, teg_span target) {
  barrier(s, stream);
  EXPECT_OK(&s->fx,
            s->queue->record_fill(stream, &target, 0x01010101, &s->fx.err));
}

static void copy(scene* s, teg_queue_stream* stream, teg_span target,
                 teg_span source) {
  barrier(s, stream);
  EXPECT_OK(&s->fx,
            s->queue->record_copy(stream, &target, &source, &s->fx.err));
}

static void submit(scene* s, teg_queue_stream* stream) {
  uint64_t* serial = stream == s->a ? &s->a_serial : &s->b_serial;
  EXPECT_OK(&s->fx, s->queue->submit(stream, ++*serial, &s->fx.err));
}

static teg_result finish(scene* s, teg_queue_stream* stream) {
  uint64_t serial = stream == s->a ? s->a_serial : s->b_serial;
  return s->queue->wait(stream, serial, &s->fx.err);
}

static teg_result map(scene* s, uint32_t range_tile, uint32_t heap_tile) {
  teg_tile_run run = {s->heap, heap_tile, range_tile, 1};
  return s->fx.tables.remap->map(s->fx.device, s->range, &run, 1, &s->fx.err);
}

static teg_result unmap(scene* s, uint32_t range_tile) {
  teg_tile_run run = {NULL, 0, range_tile, 1};
  return s->fx.tables.remap->unmap(s->fx.device, s->range, &run, 1, &s->fx.err);
}

static teg_result touch(scene* s, teg_span bytes, bool is_read,
                        bool is_written) {
  return s->fx.tables.check->host_access(s->fx.device, &bytes, is_read,
                                         is_written, &s->fx.err);
}

// ---- What is fine.

static void own_bytes_in_order_are_fine(void** state) {
  scene* s = *state;
  EXPECT_OK(&s->fx, map(s, 0, 3));
  EXPECT_OK(&s->fx, map(s, 1, 1));
  fill(s, s->a, span(s->range, 0, 2 * TILE, 1));
  copy(s, s->a, span(s->buffer, 0, 100, 2), span(s->range, TILE - 50, 100, 1));
  submit(s, s->a);
  // Another owner takes the bytes over, on the same stream, in its place.
  fill(s, s->a, span(s->range, 100, 200, 3));
  copy(s, s->a, span(s->buffer, 100, 200, 2), span(s->range, 100, 200, 3));
  copy(s, s->a, span(s->buffer, 300, 100, 2), span(s->range, 0, 100, 1));
  submit(s, s->a);
  // And another stream, once that is submitted.
  fill(s, s->b, span(s->range, 50, 100, 4));
  submit(s, s->b);
  EXPECT_OK(&s->fx, finish(s, s->b));
  EXPECT_OK(&s->fx, finish(s, s->a));
  // Idle: unmap, map elsewhere, read by the owner who wrote it.
  EXPECT_OK(&s->fx, unmap(s, 0));
  EXPECT_OK(&s->fx, map(s, 5, 3));
  copy(s, s->b, span(s->buffer, 0, 100, 5),
       span(s->range, 5 * TILE + 50, 100, 4));
  submit(s, s->b);
  EXPECT_OK(&s->fx, finish(s, s->b));
  assert_int_equal(hazard_count(s), 0);
}

static void owner_zero_is_not_followed(void** state) {
  scene* s = *state;
  copy(s, s->a, span(s->buffer, 0, 8, 0), span(s->heap, 0, 8, 0));
  fill(s, s->a, span(s->heap, 0, 8, 0));
  copy(s, s->a, span(s->buffer, 8, 8, 7), span(s->heap, 0, 8, 7));
  submit(s, s->a);
  EXPECT_OK(&s->fx, finish(s, s->a));
  assert_int_equal(hazard_count(s), 0);
}

static void host_access_to_idle_bytes_is_fine(void** state) {
  scene* s = *state;
  EXPECT_OK(&s->fx, touch(s, span(s->buffer, 0, 64, 1), false, true));
  EXPECT_OK(&s->fx, touch(s, span(s->buffer, 16, 16, 1), true, false));
  fill(s, s->a, span(s->buffer, 64, 64, 2));
  EXPECT_OK(&s->fx, touch(s, span(s->buffer, 0, 64, 1), true, true));
  // Bytes that a pending command reads may be read.
  copy(s, s->a, span(s->buffer, 128, 8, 1), span(s->buffer, 0, 8, 1));
  EXPECT_OK(&s->fx, touch(s, span(s->buffer, 0, 8, 1), true, false));
  submit(s, s->a);
  EXPECT_OK(&s->fx, finish(s, s->a));
  assert_int_equal(hazard_count(s), 0);
}

// ---- Found when a command executes.

static void reading_another_owners_bytes_is_found(void** state) {
  scene* s = *state;
  fill(s, s->a, span(s->heap, 0, 1000, 1));
  fill(s, s->a, span(s->heap, 500, 10, 2));
  copy(s, s->a, span(s->buffer, 0, 1000, 1), span(s->heap, 0, 1000, 1));
  submit(s, s->a);
  EXPECT_RESULT(&s->fx, TEG_HAZARD, finish(s, s->a));
  assert_non_null(strstr(s->fx.err.message, "reads byte 500"));
  assert_non_null(strstr(s->fx.err.message, "owner 2"));
  EXPECT_OK(&s->fx, finish(s, s->a));  // once
  expect_report(s, 1, "stream 1 batch 1 (copy) reads byte 500");
  teg_null_reset_report(s->fx.device);
  expect_report(s, 0, "");
}

static void reading_through_another_address_is_found(void** state) {
  scene* s = *state;
  EXPECT_OK(&s->fx, map(s, 2, 6));
  fill(s, s->a, span(s->range, 2 * TILE, TILE, 1));
  submit(s, s->a);
  EXPECT_OK(&s->fx, finish(s, s->a));
  EXPECT_OK(&s->fx, unmap(s, 2));
  EXPECT_OK(&s->fx, map(s, 7, 6));
  copy(s, s->a, span(s->buffer, 0, 4, 2), span(s->range, 7 * TILE, 4, 2));
  submit(s, s->a);
  EXPECT_RESULT(&s->fx, TEG_HAZARD, finish(s, s->a));
  expect_report(s, 1, "written last by owner 1");
}

static void reading_unwritten_bytes_is_found(void** state) {
  scene* s = *state;
  fill(s, s->a, span(s->buffer, 0, 10, 1));
  copy(s, s->a, span(s->heap, 0, 11, 1), span(s->buffer, 0, 11, 1));
  submit(s, s->a);
  EXPECT_RESULT(&s->fx, TEG_HAZARD, finish(s, s->a));
  expect_report(s, 1, "written last by nobody");
}

static teg_result fail_kernel(void* user, void* const* pointers,
                              const uint64_t* sizes, uint32_t binding_count) {
  (void)pointers;
  (void)sizes;
  (void)binding_count;
  ++*(int*)user;
  return TEG_HAZARD;
}

static void in_place_kernel_on_foreign_bytes_is_found(void** state) {
  scene* s = *state;
  int call_count = 0;
  teg_binding binding = {span(s->buffer, 0, 16, 2), true, true};
  fill(s, s->a, span(s->buffer, 0, 16, 1));
  barrier(s, s->a);
  EXPECT_OK(&s->fx, test_record_call(s->fx.device, s->a, fail_kernel,
                                     &call_count, &binding, 1, &s->fx.err));
  submit(s, s->a);
  EXPECT_RESULT(&s->fx, TEG_HAZARD, finish(s, s->a));
  // It runs all the same: its bytes are there.
  assert_int_equal(call_count, 1);
  expect_report(s, 1, "(dispatch) reads byte 0");
}

// ---- Found when a batch is submitted.

static void overtaking_a_recorded_command_is_found(void** state) {
  scene* s = *state;
  fill(s, s->a, span(s->heap, 0, 64, 1));
  submit(s, s->a);
  copy(s, s->a, span(s->buffer, 0, 64, 9), span(s->heap, 0, 64, 1));
  // Owner 2 takes the bytes while a's read is only recorded.
  fill(s, s->b, span(s->heap, 32, 64, 2));
  submit(s, s->b);
  expect_report(s, 1, "was recorded earlier on the same bytes");
  EXPECT_RESULT(&s->fx, TEG_HAZARD, finish(s, s->b));
  submit(s, s->a);
  EXPECT_RESULT(&s->fx, TEG_HAZARD, finish(s, s->a));
  expect_report(s, 2, "stream 2 batch 1 (fill) for owner 2");
}

static void overtaking_on_other_bytes_is_fine(void** state) {
  scene* s = *state;
  fill(s, s->a, span(s->heap, 0, 64, 1));
  fill(s, s->b, span(s->heap, 64, 64, 2));
  submit(s, s->b);
  submit(s, s->a);
  EXPECT_OK(&s->fx, finish(s, s->a));
  EXPECT_OK(&s->fx, finish(s, s->b));
  assert_int_equal(hazard_count(s), 0);
}

// ---- Found at once.

static void host_write_over_pending_bytes_is_found(void** state) {
  scene* s = *state;
  EXPECT_OK(&s->fx, touch(s, span(s->buffer, 0, 64, 1), false, true));
  copy(s, s->a, span(s->heap, 0, 64, 1), span(s->buffer, 0, 64, 1));
  // Recorded.
  EXPECT_RESULT(&s->fx, TEG_HAZARD,
                touch(s, span(s->buffer, 63, 10, 2), false, true));
  assert_non_null(strstr(s->fx.err.message, "before stream 1 batch 1 (copy)"));
  submit(s, s->a);
  // Submitted; reading what will be written is no better.
  EXPECT_RESULT(&s->fx, TEG_HAZARD,
                touch(s, span(s->buffer, 0, 1, 1), false, true));
  EXPECT_RESULT(&s->fx, TEG_HAZARD,
                touch(s, span(s->heap, 8, 8, 0), true, false));
  expect_report(s, 3, "the CPU writes");
}

static void host_read_of_foreign_bytes_is_found(void** state) {
  scene* s = *state;
  EXPECT_RESULT(&s->fx, TEG_HAZARD,
                touch(s, span(s->buffer, 0, 1, 1), true, false));
  expect_report(s, 1, "the CPU reads byte 0");
  EXPECT_RESULT(&s->fx, TEG_HAZARD,
                touch(s, span(s->range, 0, 1, 1), true, false));
  expect_report(s, 2, "the CPU reads byte 0");
  EXPECT_RESULT(&s->fx, TEG_INVALID,
                touch(s, span(s->buffer, TILE, 1, 1), true, false));
}

static void unmap_under_pending_commands_is_refused(void** state) {
  scene* s = *state;
  EXPECT_OK(&s->fx, map(s, 0, 0));
  EXPECT_OK(&s->fx, map(s, 1, 1));
  fill(s, s->a, span(s->range, TILE - 8, 8, 1));
  EXPECT_RESULT(&s->fx, TEG_HAZARD, unmap(s, 0));
  submit(s, s->a);
  EXPECT_RESULT(&s->fx, TEG_HAZARD, unmap(s, 0));
  expect_report(s, 2, "tile 0 of memory 1 is unmapped before stream 1 batch 1");
  // Its neighbour has nothing to wait for.
  EXPECT_OK(&s->fx, unmap(s, 1));
  EXPECT_OK(&s->fx, finish(s, s->a));
  EXPECT_OK(&s->fx, unmap(s, 0));
}

static void map_of_busy_or_mapped_tiles_is_refused(void** state) {
  scene* s = *state;
  EXPECT_OK(&s->fx, map(s, 0, 0));
  EXPECT_RESULT(&s->fx, TEG_HAZARD, map(s, 1, 0));
  expect_report(s, 1, "mapped elsewhere already");
  // A command that names the heap itself.
  fill(s, s->a, span(s->heap, 3 * TILE + 5, 1, 1));
  EXPECT_RESULT(&s->fx, TEG_HAZARD, map(s, 1, 3));
  submit(s, s->a);
  EXPECT_OK(&s->fx, finish(s, s->a));
  EXPECT_OK(&s->fx, map(s, 1, 3));
}

static void command_on_unmapped_addresses_is_found(void** state) {
  scene* s = *state;
  EXPECT_OK(&s->fx, map(s, 0, 0));
  fill(s, s->a, span(s->range, 0, TILE + 1, 1));
  expect_report(s, 1, "is recorded for addresses of memory 2 with no tile");
  submit(s, s->a);
  EXPECT_RESULT(&s->fx, TEG_HAZARD, finish(s, s->a));
  // It did not run.
  assert_int_not_equal(fixture_bytes(&s->fx, s->heap)[0], 1);
  // Nor does it when tiles come later: it was recorded for none.
  fill(s, s->a, span(s->range, TILE, 1, 1));
  EXPECT_OK(&s->fx, map(s, 1, 1));
  submit(s, s->a);
  EXPECT_RESULT(&s->fx, TEG_HAZARD, finish(s, s->a));
}

static void destroy_under_pending_commands_is_found(void** state) {
  scene* s = *state;
  teg_memory* gone = fixture_buffer(&s->fx, 4096);
  fill(s, s->a, span(gone, 0, 8, 1));
  fill(s, s->a, span(s->buffer, 0, 8, 1));
  submit(s, s->a);
  fixture_destroy(&s->fx, gone);
  expect_report(s, 1, "is destroyed before stream 1 batch 1 (fill)");
  // That command is not run, the others are.
  EXPECT_RESULT(&s->fx, TEG_HAZARD, finish(s, s->a));
  expect_report(s, 2, "is destroyed before");
  assert_true(fixture_all_bytes(fixture_bytes(&s->fx, s->buffer), 8, 1));
}

static void release_of_addresses_in_use_is_found(void** state) {
  scene* s = *state;
  EXPECT_OK(&s->fx, map(s, 0, 0));
  fill(s, s->a, span(s->range, 0, 8, 1));
  submit(s, s->a);
  s->fx.tables.remap->range_release(s->fx.device, s->range);
  s->range = NULL;
  expect_report(s, 1, "memory 2 is destroyed before stream 1");
  EXPECT_RESULT(&s->fx, TEG_HAZARD, finish(s, s->a));
}

static void destroy_of_mapped_tiles_is_found(void** state) {
  scene* s = *state;
  teg_memory* heap = fixture_heap(&s->fx, 2 * TILE);
  teg_tile_run run = {heap, 1, 4, 1};
  EXPECT_OK(&s->fx, s->fx.tables.remap->map(s->fx.device, s->range, &run, 1,
                                            &s->fx.err));
  fixture_destroy(&s->fx, heap);
  expect_report(s, 1, "is destroyed with 1 of its tiles mapped");
  // A command through them is found too, and not run.
  fill(s, s->a, span(s->range, 4 * TILE, 8, 1));
  submit(s, s->a);
  EXPECT_RESULT(&s->fx, TEG_HAZARD, finish(s, s->a));
}

static void dropped_commands_do_not_count(void** state) {
  scene* s = *state;
  teg_queue_stream* stream = fixture_stream(&s->fx);
  fill(s, stream, span(s->heap, 0, 64, 1));
  s->queue->stream_destroy(s->fx.device, stream);
  EXPECT_OK(&s->fx, map(s, 0, 0));
  EXPECT_OK(&s->fx, touch(s, span(s->heap, 0, 64, 2), false, true));
  EXPECT_OK(&s->fx, unmap(s, 0));
  assert_int_equal(hazard_count(s), 0);
}

// ---- Poison.

static teg_result look_kernel(void* user, void* const* pointers,
                              const uint64_t* sizes, uint32_t binding_count) {
  (void)sizes;
  (void)binding_count;
  memcpy(user, pointers[0], 16);
  return TEG_OK;
}

static void unwritten_bytes_are_poisoned(void** state) {
  scene* s = *state;
  uint32_t words[4], poison[4];
  for (int i = 0; i < 4; i++) poison[i] = TEG_NULL_POISON;
  assert_memory_equal(fixture_bytes(&s->fx, s->buffer), poison, 16);
  assert_memory_equal(fixture_bytes(&s->fx, s->heap) + 5 * TILE, poison, 16);
  // A kernel that claims only to write sees nothing of the owner before.
  fill(s, s->a, span(s->heap, 0, 64, 1));
  teg_binding binding = {span(s->heap, 16, 16, 2), false, true};
  barrier(s, s->a);
  EXPECT_OK(&s->fx, test_record_call(s->fx.device, s->a, look_kernel, words,
                                     &binding, 1, &s->fx.err));
  submit(s, s->a);
  EXPECT_OK(&s->fx, finish(s, s->a));
  assert_memory_equal(words, poison, 16);
  // Its own bytes are left alone.
  memset(fixture_bytes(&s->fx, s->heap) + 16, 6, 16);
  barrier(s, s->a);
  EXPECT_OK(&s->fx, test_record_call(s->fx.device, s->a, look_kernel, words,
                                     &binding, 1, &s->fx.err));
  submit(s, s->a);
  EXPECT_OK(&s->fx, finish(s, s->a));
  assert_true(fixture_all_bytes((const uint8_t*)words, 16, 6));
}

#define SCENE_TEST(function) \
  cmocka_unit_test_setup_teardown(function, scene_begin, scene_end)

int main(void) {
  const struct CMUnitTest tests[] = {
      SCENE_TEST(own_bytes_in_order_are_fine),
      SCENE_TEST(owner_zero_is_not_followed),
      SCENE_TEST(host_access_to_idle_bytes_is_fine),
      SCENE_TEST(reading_another_owners_bytes_is_found),
      SCENE_TEST(reading_through_another_address_is_found),
      SCENE_TEST(reading_unwritten_bytes_is_found),
      SCENE_TEST(in_place_kernel_on_foreign_bytes_is_found),
      SCENE_TEST(overtaking_a_recorded_command_is_found),
      SCENE_TEST(overtaking_on_other_bytes_is_fine),
      SCENE_TEST(host_write_over_pending_bytes_is_found),
      SCENE_TEST(host_read_of_foreign_bytes_is_found),
      SCENE_TEST(unmap_under_pending_commands_is_refused),
      SCENE_TEST(map_of_busy_or_mapped_tiles_is_refused),
      SCENE_TEST(command_on_unmapped_addresses_is_found),
      SCENE_TEST(destroy_under_pending_commands_is_found),
      SCENE_TEST(release_of_addresses_in_use_is_found),
      SCENE_TEST(destroy_of_mapped_tiles_is_found),
      SCENE_TEST(dropped_commands_do_not_count),
      SCENE_TEST(unwritten_bytes_are_poisoned),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
