// SPDX-License-Identifier: Apache-2.0
//
// simple: every buffer is kept, by its exact size, until it is trimmed.
#include "support/core_fixture.h"

static core_fixture fx;
static teg_session* session;
static teg_stream* stream;

static int begin(void** state) {
  (void)state;
  core_open(&fx, "null", "tile_bytes=64KiB");
  session = core_session(&fx, "test", "policy=simple");
  stream = teg_session_stream(session);
  return 0;
}

static int end(void** state) {
  (void)state;
  core_validate(&fx, session);
  core_close(&fx);
  return 0;
}

static void a_buffer_is_kept_past_submits_and_runs(void** state) {
  (void)state;
  teg_buffer* a = core_buffer(&fx, session, 5000);
  const void* memory = core_info(a).memory;
  core_fill(&fx, stream, a, 1);
  teg_buffer_destroy(a);
  for (int i = 0; i < 40; ++i) {
    CORE_OK(&fx, teg_session_run_begin(session, &fx.err));
    core_finish(&fx, stream);
    CORE_OK(&fx, teg_session_run_end(session, &fx.err));
  }
  teg_buffer* b = core_buffer(&fx, session, 5000);
  assert_ptr_equal(core_info(b).memory, memory);
}

static void only_the_exact_size_is_served(void** state) {
  (void)state;
  teg_buffer_destroy(core_buffer(&fx, session, 8192));
  (void)core_buffer(&fx, session, 4096);
  (void)core_buffer(&fx, session, 8193);
  assert_int_equal(core_device_stats(&fx).allocation_count, 3);
}

static void every_size_stays_reserved(void** state) {
  (void)state;
  uint64_t sum = 0;
  for (uint64_t size = 4096; size <= 300 * 4096; size += 4096) {
    teg_buffer_destroy(core_buffer(&fx, session, size));
    sum += size;
  }
  assert_int_equal(core_reserved(&fx), sum);
  // All of them are found again, without a call of the driver.
  uint64_t calls = core_device_stats(&fx).driver_call_count;
  for (uint64_t size = 4096; size <= 300 * 4096; size += 4096) {
    teg_buffer_destroy(core_buffer(&fx, session, size));
  }
  assert_int_equal(core_device_stats(&fx).driver_call_count, calls);
}

static void a_trim_gives_back_what_is_free_and_idle(void** state) {
  (void)state;
  teg_buffer* kept = core_buffer(&fx, session, 8192);
  teg_buffer* idle = core_buffer(&fx, session, 4096);
  teg_buffer* busy = core_buffer(&fx, session, 16384);
  core_fill(&fx, stream, busy, 1);
  teg_buffer_destroy(idle);
  teg_buffer_destroy(busy);
  assert_int_equal(teg_session_trim(session, TEG_TRIM_FREE), 4096);
  assert_int_equal(core_reserved(&fx), 8192 + 16384);
  core_finish(&fx, stream);
  assert_int_equal(teg_session_trim(session, TEG_TRIM_FREE), 16384);
  assert_int_equal(core_reserved(&fx), 8192);
  assert_int_equal(core_info(kept).size, 8192);
}

static void the_same_stream_reuses_at_once_another_after_the_submit(
    void** state) {
  (void)state;
  teg_stream* second = NULL;
  CORE_OK(&fx, teg_stream_create(session, &second, &fx.err));
  teg_buffer* a = core_buffer(&fx, session, 5000);
  const void* memory = core_info(a).memory;
  core_fill(&fx, stream, a, 1);
  teg_buffer_destroy(a);
  // Recorded by the first stream: not for the second.
  teg_buffer* b = core_buffer_on(&fx, session, 5000, second);
  assert_ptr_not_equal(core_info(b).memory, memory);
  teg_buffer* c = core_buffer_on(&fx, session, 5000, stream);
  assert_ptr_equal(core_info(c).memory, memory);
  core_fill(&fx, stream, c, 2);
  teg_buffer_destroy(c);
  core_submit(&fx, stream);
  // Submitted to the queue that the streams share.
  teg_buffer* d = core_buffer_on(&fx, session, 5000, second);
  assert_ptr_equal(core_info(d).memory, memory);
  core_fill(&fx, second, d, 3);
  core_expect_pattern(&fx, second, d, 3);
  teg_null_report report = TEG_NULL_REPORT_INIT;
  CORE_OK(&fx, teg_null_get_report(fx.backend, &report));
  assert_string_equal(report.first_hazard, "");
}

static void free_buffers_of_an_idle_session_are_lent(void** state) {
  (void)state;
  teg_session* other = core_session(&fx, "other", "policy=simple");
  CORE_OK(&fx, teg_session_run_begin(session, &fx.err));
  teg_buffer* a = core_buffer(&fx, session, 5000);
  const void* memory = core_info(a).memory;
  core_fill(&fx, stream, a, 1);
  teg_buffer_destroy(a);
  core_submit(&fx, stream);
  CORE_OK(&fx, teg_session_run_end(session, &fx.err));
  teg_buffer* b = core_buffer(&fx, other, 5000);
  assert_ptr_equal(core_info(b).memory, memory);
  assert_int_equal(core_device_stats(&fx).allocation_count, 1);
  // Inside of a run it is the session's own.
  CORE_OK(&fx, teg_session_run_begin(other, &fx.err));
  teg_buffer_destroy(b);
  teg_buffer* c = core_buffer(&fx, session, 5000);
  assert_ptr_not_equal(core_info(c).memory, memory);
  CORE_OK(&fx, teg_session_run_end(other, &fx.err));
  core_validate(&fx, other);
}

static void an_idle_session_lends_only_what_is_asked_for(void** state) {
  (void)state;
  teg_session* other = core_session(&fx, "other", "policy=simple");
  teg_buffer* a = core_buffer(&fx, session, 5000);
  teg_buffer* b = core_buffer(&fx, session, 9000);
  const void* memory = core_info(b).memory;
  teg_buffer_destroy(a);
  teg_buffer_destroy(b);
  core_finish(&fx, stream);
  (void)core_buffer(&fx, other, 5000);
  assert_int_equal(core_device_stats(&fx).allocation_count, 2);
  // The other size is still its own: found without a look at the device.
  uint64_t hits = core_device_stats(&fx).hit_count;
  assert_ptr_equal(core_info(core_buffer(&fx, session, 9000)).memory, memory);
  assert_int_equal(core_device_stats(&fx).hit_count, hits + 1);
}

static void what_is_lent_already_is_adopted_first(void** state) {
  (void)state;
  teg_session* second = core_session(&fx, "second", "policy=simple");
  teg_session* third = core_session(&fx, "third", "policy=simple");
  // Two of the first session's, of which the second one takes one.
  teg_buffer* a = core_buffer(&fx, session, 5000);
  teg_buffer* b = core_buffer(&fx, session, 5000);
  teg_buffer_destroy(a);
  teg_buffer_destroy(b);
  core_finish(&fx, stream);
  teg_buffer* c = core_buffer(&fx, second, 5000);
  const void* memory = core_info(c).memory;
  teg_buffer_destroy(c);
  core_finish(&fx, teg_session_stream(second));
  // The third one takes the other, and the second one keeps what it has.
  assert_ptr_not_equal(core_info(core_buffer(&fx, third, 5000)).memory, memory);
  uint64_t hits = core_device_stats(&fx).hit_count;
  assert_ptr_equal(core_info(core_buffer(&fx, second, 5000)).memory, memory);
  assert_int_equal(core_device_stats(&fx).hit_count, hits + 1);
  assert_int_equal(core_device_stats(&fx).allocation_count, 2);
}

// Two threads whose runs overlap: what is free at the end of a run is wanted
// again at once.
static void a_session_between_two_runs_lends_nothing_to_a_run_under_way(
    void** state) {
  (void)state;
  teg_session* other = core_session(&fx, "other", "policy=simple");
  CORE_OK(&fx, teg_session_run_begin(session, &fx.err));
  teg_buffer* a = core_buffer(&fx, session, 5000);
  const void* memory = core_info(a).memory;
  teg_buffer_destroy(a);
  core_finish(&fx, stream);
  CORE_OK(&fx, teg_session_run_begin(other, &fx.err));
  CORE_OK(&fx, teg_session_run_end(session, &fx.err));
  teg_buffer* b = core_buffer(&fx, other, 5000);
  assert_ptr_not_equal(core_info(b).memory, memory);
  CORE_OK(&fx, teg_session_run_end(other, &fx.err));
  // The next run finds the session idle.
  CORE_OK(&fx, teg_session_run_begin(other, &fx.err));
  assert_ptr_equal(core_info(core_buffer(&fx, other, 5000)).memory, memory);
  CORE_OK(&fx, teg_session_run_end(other, &fx.err));
}

static void a_session_that_comes_later_is_lent_as_well(void** state) {
  (void)state;
  CORE_OK(&fx, teg_session_run_begin(session, &fx.err));
  teg_buffer_destroy(core_buffer(&fx, session, 5000));
  CORE_OK(&fx, teg_session_run_end(session, &fx.err));
  teg_session* other = core_session(&fx, "other", "policy=simple");
  (void)core_buffer(&fx, other, 5000);
  assert_int_equal(core_device_stats(&fx).allocation_count, 1);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, begin, end)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(a_buffer_is_kept_past_submits_and_runs),
      TEST(only_the_exact_size_is_served),
      TEST(every_size_stays_reserved),
      TEST(a_trim_gives_back_what_is_free_and_idle),
      TEST(the_same_stream_reuses_at_once_another_after_the_submit),
      TEST(free_buffers_of_an_idle_session_are_lent),
      TEST(an_idle_session_lends_only_what_is_asked_for),
      TEST(what_is_lent_already_is_adopted_first),
      TEST(a_session_between_two_runs_lends_nothing_to_a_run_under_way),
      TEST(a_session_that_comes_later_is_lent_as_well),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
