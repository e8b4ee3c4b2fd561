// SPDX-License-Identifier: Apache-2.0
//
// exclusive: one buffer a page, sizes spaced evenly in their logarithm,
// released after so many requests without use.
#include "support/core_fixture.h"

static core_fixture fx;

static int begin(void** state) {
  (void)state;
  core_open(&fx, "host", "tile_bytes=64KiB");
  return 0;
}

static int end(void** state) {
  (void)state;
  core_close(&fx);
  return 0;
}

static uint64_t granted(teg_session* session, uint64_t size) {
  teg_buffer* buffer = core_buffer(&fx, session, size);
  teg_buffer_info info = core_info(buffer);
  assert_int_equal(info.offset, 0);
  assert_true(info.granted_bytes >= size);
  teg_buffer_destroy(buffer);
  return info.granted_bytes;
}

static void classes_are_spaced_evenly_in_their_logarithm(void** state) {
  (void)state;
  teg_session* session = core_session(
      &fx, "test", "policy=exclusive;exclusive_min=64KiB;exclusive_max=64MiB");
  uint64_t before = granted(session, 1);
  assert_int_equal(before, 64 * KIB);
  size_t count = 1;
  while (before < 64 * MIB) {
    uint64_t next = granted(session, before + 1);
    // 2 to the power of 10 / 23, up to the rounding to the device.
    double ratio = (double)next / (double)before;
    assert_true(ratio > 1.34 && ratio < 1.37);
    before = next;
    count++;
  }
  assert_int_equal(before, 64 * MIB);
  assert_int_equal(count, 24);
}

static void a_page_serves_every_size_of_its_class(void** state) {
  (void)state;
  teg_session* session = core_session(
      &fx, "test", "policy=exclusive;exclusive_min=1MiB;exclusive_max=64MiB");
  for (uint64_t size = 1; size < MIB; size += 100000) {
    assert_int_equal(granted(session, size), MIB);
  }
  assert_int_equal(core_device_stats(&fx).allocation_count, 1);
}

static void above_the_largest_class_requests_are_exact_and_not_kept(
    void** state) {
  (void)state;
  teg_session* session = core_session(
      &fx, "test", "policy=exclusive;exclusive_min=64KiB;exclusive_max=1MiB");
  assert_int_equal(granted(session, 3 * MIB + 4096), 3 * MIB + 4096);
  core_finish(&fx, teg_session_stream(session));
  assert_int_equal(core_reserved(&fx), 0);
}

static void a_page_goes_back_after_so_many_requests(void** state) {
  (void)state;
  teg_session* session = core_session(
      &fx, "test", "policy=exclusive;exclusive_min=64KiB;exclusive_age=20");
  uint64_t large = granted(session, MIB);
  uint64_t small = granted(session, 1000);
  for (int i = 0; i < 18; ++i) (void)granted(session, 1000);
  core_finish(&fx, teg_session_stream(session));
  assert_int_equal(core_reserved(&fx), large + small);
  for (int i = 0; i < 12; ++i) (void)granted(session, 1000);
  core_finish(&fx, teg_session_stream(session));
  core_validate(&fx, session);
  // The small one has been in use all the time.
  assert_int_equal(core_reserved(&fx), small);
}

static void pages_in_use_do_not_age(void** state) {
  (void)state;
  teg_session* session = core_session(
      &fx, "test", "policy=exclusive;exclusive_min=64KiB;exclusive_age=5");
  teg_buffer* kept = core_buffer(&fx, session, MIB);
  for (int i = 0; i < 30; ++i) (void)granted(session, 1000);
  core_finish(&fx, teg_session_stream(session));
  core_fill(&fx, teg_session_stream(session), kept, 0x01020304);
  core_expect_pattern(&fx, teg_session_stream(session), kept, 0x01020304);
}

static void a_largest_size_below_the_smallest_wins(void** state) {
  (void)state;
  teg_session* session = core_session(
      &fx, "test", "policy=exclusive;exclusive_min=1MiB;exclusive_max=64KiB");
  assert_int_equal(granted(session, 10), 65536);
  assert_int_equal(granted(session, 2 * MIB), 2 * MIB);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, begin, end)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(classes_are_spaced_evenly_in_their_logarithm),
      TEST(a_page_serves_every_size_of_its_class),
      TEST(above_the_largest_class_requests_are_exact_and_not_kept),
      TEST(a_page_goes_back_after_so_many_requests),
      TEST(pages_in_use_do_not_age),
      TEST(a_largest_size_below_the_smallest_wins),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
