// SPDX-License-Identifier: Apache-2.0
//
// Streams: ranges of commands, serials, errors that are kept, what is
// discarded.
#include <stdio.h>
#include <string.h>

#include "support/call.h"
#include "support/core_fixture.h"

static core_fixture fx;
static teg_session* session;
static teg_stream* stream;

static int begin(void** state) {
  (void)state;
  core_open(&fx, "null", "tile_bytes=64KiB");
  session = core_session(&fx, "test", NULL);
  stream = teg_session_stream(session);
  return 0;
}

static int end(void** state) {
  (void)state;
  core_validate(&fx, session);
  core_close(&fx);
  return 0;
}

static void expect_bytes(teg_buffer* buffer, const uint8_t* expected,
                         size_t size) {
  uint8_t* bytes = NULL;
  CORE_OK(&fx, teg_buffer_map(buffer, (void**)&bytes, &fx.err));
  assert_memory_equal(bytes, expected, size);
  teg_buffer_unmap(buffer);
}

// ---- Ranges

static void a_fill_repeats_its_pattern_from_its_own_begin(void** state) {
  (void)state;
  teg_buffer* buffer = core_buffer(&fx, session, 12);
  CORE_OK(&fx, teg_stream_fill(stream, buffer, 0, 12, 0, &fx.err));
  CORE_OK(&fx, teg_stream_fill(stream, buffer, 3, 6, 0x44332211, &fx.err));
  static const uint8_t expected[12] = {0,    0,    0,    0x11, 0x22, 0x33,
                                       0x44, 0x11, 0x22, 0,    0,    0};
  expect_bytes(buffer, expected, 12);
}

static void a_fill_outside_of_the_buffer_is_refused(void** state) {
  (void)state;
  teg_buffer* buffer = core_buffer(&fx, session, 100);
  static const uint64_t bad[][2] = {{0, 101},        {100, 1},
                                    {101, 0},        {1, UINT64_MAX},
                                    {UINT64_MAX, 1}, {UINT64_MAX, UINT64_MAX}};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i) {
    CORE_EXPECT(
        &fx, TEG_INVALID,
        teg_stream_fill(stream, buffer, bad[i][0], bad[i][1], 0, &fx.err));
    core_expect_text(fx.err.message, "which has 100");
  }
  CORE_OK(&fx, teg_stream_fill(stream, buffer, 100, 0, 0, &fx.err));
  CORE_OK(&fx, teg_stream_fill(stream, buffer, 99, 1, 0, &fx.err));
}

static void a_copy_moves_bytes_between_buffers_and_inside_one(void** state) {
  (void)state;
  teg_buffer* a = core_buffer(&fx, session, 8);
  teg_buffer* b = core_buffer(&fx, session, 8);
  CORE_OK(&fx, teg_stream_fill(stream, a, 0, 8, 0x04030201, &fx.err));
  CORE_OK(&fx, teg_stream_fill(stream, b, 0, 8, 0, &fx.err));
  CORE_OK(&fx, teg_stream_copy(stream, b, 1, a, 2, 3, &fx.err));
  CORE_OK(&fx, teg_stream_copy(stream, b, 4, b, 0, 4, &fx.err));
  static const uint8_t expected[8] = {0, 3, 4, 1, 0, 3, 4, 1};
  expect_bytes(b, expected, 8);
}

static void a_copy_outside_or_onto_itself_is_refused(void** state) {
  (void)state;
  teg_buffer* a = core_buffer(&fx, session, 100);
  teg_buffer* b = core_buffer(&fx, session, 50);
  CORE_EXPECT(&fx, TEG_INVALID,
              teg_stream_copy(stream, a, 0, b, 0, 51, &fx.err));
  core_expect_text(fx.err.message, "source");
  CORE_EXPECT(&fx, TEG_INVALID,
              teg_stream_copy(stream, b, 1, a, 0, 50, &fx.err));
  core_expect_text(fx.err.message, "target");
  CORE_EXPECT(&fx, TEG_INVALID,
              teg_stream_copy(stream, a, 0, a, 49, 50, &fx.err));
  core_expect_text(fx.err.message, "overlap");
  CORE_EXPECT(&fx, TEG_INVALID,
              teg_stream_copy(stream, a, 49, a, 0, 50, &fx.err));
  CORE_EXPECT(&fx, TEG_INVALID,
              teg_stream_copy(stream, a, 0, a, UINT64_MAX, 2, &fx.err));
  core_fill(&fx, stream, a, 1);
  CORE_OK(&fx, teg_stream_copy(stream, a, 0, a, 50, 50, &fx.err));
}

typedef struct call_record {
  uint32_t count;
  uint32_t binding_count;
  uint64_t sizes[3];
  void* pointers[3];
} call_record;

static teg_result note(void* user, void* const* pointers, const uint64_t* sizes,
                       uint32_t binding_count) {
  call_record* record = user;
  record->count++;
  record->binding_count = binding_count;
  for (uint32_t i = 0; i < binding_count && i < 3; ++i) {
    record->sizes[i] = sizes[i];
    record->pointers[i] = pointers[i];
  }
  return TEG_OK;
}

static void a_call_gets_one_pointer_a_binding(void** state) {
  (void)state;
  teg_buffer* a = core_buffer(&fx, session, 1000);
  teg_buffer* b = core_buffer(&fx, session, 50);
  core_fill(&fx, stream, a, 1);
  call_record record = {.count = 0};
  const test_argument arguments[] = {
      {a, 0, 10, true, false},
      {a, 500, 0, true, false},
      {b, 0, 0, false, true},
  };
  CORE_OK(&fx, test_stream_call(fx.device, stream, note, &record, arguments, 3,
                                &fx.err));
  assert_int_equal(record.count, 0);
  core_finish(&fx, stream);
  assert_int_equal(record.count, 1);
  assert_int_equal(record.binding_count, 3);
  assert_int_equal(record.sizes[0], 10);
  assert_int_equal(record.sizes[1], 500);
  assert_int_equal(record.sizes[2], 50);
  assert_ptr_equal((uint8_t*)record.pointers[0] + 500, record.pointers[1]);
}

static void bytes_bound_twice_and_written_are_refused_naming_both(
    void** state) {
  (void)state;
  teg_buffer* a = core_buffer(&fx, session, 1000);
  teg_buffer* b = core_buffer(&fx, session, 1000);
  call_record record = {.count = 0};
  test_argument arguments[] = {
      {b, 0, 0, true, false},
      {a, 0, 600, true, false},
      {a, 596, 100, false, true},
  };
  CORE_EXPECT(&fx, TEG_INVALID,
              test_stream_call(fx.device, stream, note, &record, arguments, 3,
                               &fx.err));
  core_expect_text(fx.err.message, "bindings 1 (buffer");
  core_expect_text(fx.err.message, "and 2 (buffer");
  char number[32];
  snprintf(number, sizeof number, "buffer %llu",
           (unsigned long long)core_info(a).number);
  core_expect_text(fx.err.message, number);
  // Read twice, or apart, is fine.
  arguments[2].offset = 600;
  core_fill(&fx, stream, a, 1);
  core_fill(&fx, stream, b, 1);
  CORE_OK(&fx, test_stream_call(fx.device, stream, note, &record, arguments, 3,
                                &fx.err));
  arguments[2] = arguments[1];
  CORE_OK(&fx, test_stream_call(fx.device, stream, note, &record, arguments, 3,
                                &fx.err));
  core_finish(&fx, stream);
  assert_int_equal(record.count, 2);
}

static void bad_calls_are_refused(void** state) {
  (void)state;
  teg_buffer* a = core_buffer(&fx, session, 1000);
  call_record record;
  test_argument argument = {a, 0, 1001, true, false};
  CORE_EXPECT(&fx, TEG_INVALID,
              test_stream_call(fx.device, stream, note, &record, &argument, 1,
                               &fx.err));
  argument = (test_argument){a, 1001, 0, true, false};
  CORE_EXPECT(&fx, TEG_INVALID,
              test_stream_call(fx.device, stream, note, &record, &argument, 1,
                               &fx.err));
  argument = (test_argument){NULL, 0, 0, true, false};
  CORE_EXPECT(&fx, TEG_INVALID,
              test_stream_call(fx.device, stream, note, &record, &argument, 1,
                               &fx.err));
  static test_argument many[33];
  for (size_t i = 0; i < 33; ++i) {
    many[i] = (test_argument){a, i, 1, true, false};
  }
  CORE_EXPECT(
      &fx, TEG_INVALID,
      test_stream_call(fx.device, stream, note, &record, many, 33, &fx.err));
  core_expect_text(fx.err.message, "33");
}

static void null_is_refused_everywhere(void** state) {
  (void)state;
  teg_buffer* a = core_buffer(&fx, session, 10);
  teg_stream* out = stream;
  assert_int_equal(teg_stream_create(NULL, &out, &fx.err), TEG_INVALID);
  assert_null(out);
  assert_int_equal(teg_stream_create(session, NULL, &fx.err), TEG_INVALID);
  assert_int_equal(teg_stream_fill(NULL, a, 0, 1, 0, &fx.err), TEG_INVALID);
  assert_int_equal(teg_stream_fill(stream, NULL, 0, 1, 0, NULL), TEG_INVALID);
  assert_int_equal(teg_stream_copy(stream, a, 0, NULL, 0, 1, &fx.err),
                   TEG_INVALID);
  assert_int_equal(teg_stream_copy(stream, NULL, 0, a, 0, 1, &fx.err),
                   TEG_INVALID);
  uint64_t serial = 9;
  assert_int_equal(teg_stream_submit(NULL, &serial, &fx.err), TEG_INVALID);
  assert_int_equal(serial, 0);
  assert_int_equal(teg_stream_wait(NULL, 1, &fx.err), TEG_INVALID);
  assert_int_equal(teg_stream_wait_for(stream, NULL, 0, &fx.err), TEG_INVALID);
  assert_int_equal(teg_stream_wait_for(NULL, stream, 0, &fx.err), TEG_INVALID);
  assert_int_equal(teg_stream_discard(NULL, &fx.err), TEG_INVALID);
  assert_int_equal(teg_stream_recording(NULL), 0);
  assert_int_equal(teg_stream_submitted(NULL), 0);
  assert_int_equal(teg_stream_completed(NULL), 0);
  teg_stream_destroy(NULL);
}

// ---- Serials

static void serials_count_from_1(void** state) {
  (void)state;
  assert_int_equal(teg_stream_recording(stream), 1);
  assert_int_equal(teg_stream_submitted(stream), 0);
  uint64_t serial = 0;
  for (uint64_t i = 1; i <= 3; ++i) {
    // An empty batch counts.
    CORE_OK(&fx, teg_stream_submit(stream, &serial, &fx.err));
    assert_int_equal(serial, i);
    assert_int_equal(teg_stream_recording(stream), i + 1);
  }
  CORE_OK(&fx, teg_stream_wait(stream, 2, &fx.err));
  assert_true(teg_stream_completed(stream) >= 2);
  CORE_OK(&fx, teg_stream_wait(stream, 3, &fx.err));
  assert_int_equal(teg_stream_completed(stream), 3);
}

static void batches_complete_when_told(void** state) {
  (void)state;
  core_fill(&fx, stream, core_buffer(&fx, session, 10), 1);
  core_submit(&fx, stream);
  core_fill(&fx, stream, core_buffer(&fx, session, 10), 1);
  core_submit(&fx, stream);
  assert_int_equal(teg_stream_completed(stream), 0);
  assert_int_equal(teg_null_run_batches(fx.backend, 1), 1);
  assert_int_equal(teg_stream_completed(stream), 1);
  CORE_OK(&fx, teg_stream_wait(stream, 2, &fx.err));
}

static void a_wait_for_what_is_not_submitted_is_refused(void** state) {
  (void)state;
  core_submit(&fx, stream);
  core_fill(&fx, stream, core_buffer(&fx, session, 10), 1);
  CORE_EXPECT(&fx, TEG_BAD_STATE, teg_stream_wait(stream, 2, &fx.err));
  core_expect_text(fx.err.message, "batch 2");
  CORE_EXPECT(&fx, TEG_BAD_STATE, teg_stream_wait(stream, UINT64_MAX, &fx.err));
  CORE_OK(&fx, teg_stream_wait(stream, 0, &fx.err));
  assert_int_equal(teg_stream_submitted(stream), 1);
}

static void a_stream_waits_for_submitted_batches_only(void** state) {
  (void)state;
  teg_stream* second = NULL;
  CORE_OK(&fx, teg_stream_create(session, &second, &fx.err));
  CORE_EXPECT(&fx, TEG_BAD_STATE,
              teg_stream_wait_for(second, stream, 1, &fx.err));
  core_expect_text(fx.err.message, "not submitted");
  teg_buffer* buffer = core_buffer(&fx, session, 1000);
  core_fill(&fx, stream, buffer, 5);
  core_submit(&fx, stream);
  CORE_OK(&fx, teg_stream_wait_for(second, stream, 1, &fx.err));
  CORE_OK(&fx, teg_stream_wait_for(second, second, 0, &fx.err));
  teg_buffer* copy = core_buffer_on(&fx, session, 1000, second);
  CORE_OK(&fx, teg_stream_copy(second, copy, 0, buffer, 0, 1000, &fx.err));
  core_expect_pattern(&fx, second, copy, 5);
}

// ---- Errors

static teg_result refuse(void* user, void* const* pointers,
                         const uint64_t* sizes, uint32_t binding_count) {
  (void)pointers;
  (void)sizes;
  (void)binding_count;
  (*(uint32_t*)user)++;
  return TEG_CORRUPT;
}

static void an_error_of_a_batch_is_reported_once(void** state) {
  (void)state;
  uint32_t calls = 0;
  CORE_OK(&fx, test_stream_call(fx.device, stream, refuse, &calls, NULL, 0,
                                &fx.err));
  core_submit(&fx, stream);
  core_submit(&fx, stream);
  CORE_EXPECT(&fx, TEG_CORRUPT, teg_stream_wait(stream, 2, &fx.err));
  assert_int_equal(calls, 1);
  CORE_OK(&fx, teg_stream_wait(stream, 2, &fx.err));
}

static void the_first_of_two_errors_is_kept(void** state) {
  (void)state;
  uint32_t calls = 0;
  teg_buffer* buffer = core_buffer(&fx, session, 100);
  CORE_OK(&fx, test_stream_call(fx.device, stream, refuse, &calls, NULL, 0,
                                &fx.err));
  core_fill(&fx, stream, buffer, 3);
  CORE_OK(&fx, test_stream_call(fx.device, stream, refuse, &calls, NULL, 0,
                                &fx.err));
  core_submit(&fx, stream);
  CORE_EXPECT(&fx, TEG_CORRUPT, teg_stream_wait(stream, 1, &fx.err));
  // What followed the failed command has run.
  assert_int_equal(calls, 2);
  core_expect_pattern(&fx, stream, buffer, 3);
}

static void an_error_outlives_a_wait_of_the_librarys_own(void** state) {
  (void)state;
  uint32_t calls = 0;
  CORE_OK(&fx, test_stream_call(fx.device, stream, refuse, &calls, NULL, 0,
                                &fx.err));
  teg_buffer* buffer = core_buffer(&fx, session, 100);
  core_fill(&fx, stream, buffer, 3);
  void* pointer = NULL;
  CORE_OK(&fx, teg_buffer_map(buffer, &pointer, &fx.err));
  teg_buffer_unmap(buffer);
  assert_int_equal(calls, 1);
  CORE_EXPECT(&fx, TEG_CORRUPT, teg_stream_wait(stream, 1, &fx.err));
  CORE_OK(&fx, teg_stream_wait(stream, 1, &fx.err));
}

static void a_hazard_is_an_error_of_its_batch(void** state) {
  (void)state;
  teg_buffer* a = core_buffer(&fx, session, 100);
  teg_buffer* b = core_buffer(&fx, session, 100);
  CORE_OK(&fx, teg_stream_copy(stream, a, 0, b, 0, 100, &fx.err));
  core_submit(&fx, stream);
  CORE_EXPECT(&fx, TEG_HAZARD, teg_stream_wait(stream, 1, &fx.err));
}

// ---- Discard, destroy

static void what_is_discarded_never_runs(void** state) {
  (void)state;
  uint32_t calls = 0;
  CORE_OK(&fx, test_stream_call(fx.device, stream, refuse, &calls, NULL, 0,
                                &fx.err));
  CORE_OK(&fx, teg_stream_discard(stream, &fx.err));
  assert_int_equal(teg_stream_submitted(stream), 1);
  CORE_OK(&fx, teg_stream_wait(stream, 1, &fx.err));
  assert_int_equal(calls, 0);
}

static void what_a_discarded_batch_used_is_given_back(void** state) {
  (void)state;
  teg_session* disabled = core_session(&fx, "test", "policy=disabled");
  teg_stream* own = teg_session_stream(disabled);
  teg_buffer* buffer = core_buffer(&fx, disabled, 1000);
  core_fill(&fx, own, buffer, 1);
  teg_buffer_destroy(buffer);
  assert_true(core_reserved(&fx) > 0);
  CORE_OK(&fx, teg_stream_discard(own, &fx.err));
  CORE_OK(&fx, teg_stream_wait(own, 1, &fx.err));
  assert_int_equal(core_reserved(&fx), 0);
}

static void a_destroyed_stream_drops_what_it_recorded(void** state) {
  (void)state;
  teg_stream* second = NULL;
  CORE_OK(&fx, teg_stream_create(session, &second, &fx.err));
  uint32_t calls = 0;
  CORE_OK(&fx, test_stream_call(fx.device, second, refuse, &calls, NULL, 0,
                                &fx.err));
  core_submit(&fx, second);
  CORE_OK(&fx, test_stream_call(fx.device, second, refuse, &calls, NULL, 0,
                                &fx.err));
  teg_buffer* buffer = core_buffer_on(&fx, session, 1000, second);
  core_fill(&fx, second, buffer, 1);
  teg_stream_destroy(second);
  assert_int_equal(calls, 1);
  // Its buffers live on.
  core_fill(&fx, stream, buffer, 2);
  core_expect_pattern(&fx, stream, buffer, 2);
  teg_buffer_destroy(buffer);
}

static void the_sessions_own_stream_stays(void** state) {
  (void)state;
  teg_stream_destroy(stream);
  teg_buffer* buffer = core_buffer(&fx, session, 1000);
  core_fill(&fx, stream, buffer, 2);
  core_expect_pattern(&fx, stream, buffer, 2);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, begin, end)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(a_fill_repeats_its_pattern_from_its_own_begin),
      TEST(a_fill_outside_of_the_buffer_is_refused),
      TEST(a_copy_moves_bytes_between_buffers_and_inside_one),
      TEST(a_copy_outside_or_onto_itself_is_refused),
      TEST(a_call_gets_one_pointer_a_binding),
      TEST(bytes_bound_twice_and_written_are_refused_naming_both),
      TEST(bad_calls_are_refused),
      TEST(null_is_refused_everywhere),
      TEST(serials_count_from_1),
      TEST(batches_complete_when_told),
      TEST(a_wait_for_what_is_not_submitted_is_refused),
      TEST(a_stream_waits_for_submitted_batches_only),
      TEST(an_error_of_a_batch_is_reported_once),
      TEST(the_first_of_two_errors_is_kept),
      TEST(an_error_outlives_a_wait_of_the_librarys_own),
      TEST(a_hazard_is_an_error_of_its_batch),
      TEST(what_is_discarded_never_runs),
      TEST(what_a_discarded_batch_used_is_given_back),
      TEST(a_destroyed_stream_drops_what_it_recorded),
      TEST(the_sessions_own_stream_stays),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
