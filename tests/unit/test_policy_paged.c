// SPDX-License-Identifier: Apache-2.0
//
// paged: ranges of pages, split and merged; the rules that keep it tight, one
// test each (docs/policies.md).
#include "support/core_fixture.h"

static core_fixture fx;
static teg_session* session;
static teg_stream* stream;

static void open_with(const char* options) {
  session = core_session(&fx, "test", options);
  stream = teg_session_stream(session);
}

static int begin(void** state) {
  (void)state;
  core_open(&fx, "host", "tile_bytes=64KiB");
  return 0;
}

static int end(void** state) {
  (void)state;
  core_validate(&fx, session);
  core_close(&fx);
  return 0;
}

static void run(void) {
  CORE_OK(&fx, teg_session_run_begin(session, &fx.err));
  CORE_OK(&fx, teg_session_run_end(session, &fx.err));
}

static void requests_share_a_page_low_end_first(void** state) {
  (void)state;
  open_with("policy=paged;page_min=1MiB");
  teg_buffer* a = core_buffer(&fx, session, 10000);
  teg_buffer* b = core_buffer(&fx, session, 10000);
  assert_ptr_equal(core_info(a).memory, core_info(b).memory);
  assert_int_equal(core_info(a).offset, 0);
  assert_int_equal(core_info(b).offset, core_info(a).granted_bytes);
  assert_int_equal(core_device_stats(&fx).allocation_count, 1);
}

static void neighbours_that_are_free_are_one_hole(void** state) {
  (void)state;
  open_with("policy=paged;page_min=64KiB;slack=0");
  teg_buffer* parts[4];
  teg_buffer* whole = core_buffer(&fx, session, 256 * KIB);
  teg_buffer_destroy(whole);
  for (int i = 0; i < 4; ++i) {
    parts[i] = core_buffer(&fx, session, 64 * KIB);
  }
  static const int order[] = {1, 3, 0, 2};
  for (int i = 0; i < 4; ++i) teg_buffer_destroy(parts[order[i]]);
  uint64_t allocations = core_device_stats(&fx).allocation_count;
  whole = core_buffer(&fx, session, 256 * KIB);
  assert_int_equal(core_info(whole).offset, 0);
  assert_int_equal(core_device_stats(&fx).allocation_count, allocations);
}

static void holes_in_used_pages_come_before_empty_pages(void** state) {
  (void)state;
  open_with("policy=paged;page_min=64KiB;slack=1000");
  // Page 1 holds |used| and a hole of 3 MiB; page 2 is empty and would fit
  // more tightly.
  teg_buffer* first = core_buffer(&fx, session, 4 * MIB);
  teg_buffer* second = core_buffer(&fx, session, 2 * MIB);
  teg_buffer_destroy(first);
  teg_buffer* used = core_buffer(&fx, session, MIB);
  teg_buffer_destroy(second);
  teg_buffer* wanted = core_buffer(&fx, session, 2 * MIB);
  assert_ptr_equal(core_info(wanted).memory, core_info(used).memory);
  // With nothing else in it page 2 can go back.
  uint64_t before = core_reserved(&fx);
  assert_int_equal(teg_session_trim(session, TEG_TRIM_FREE), 2 * MIB);
  assert_int_equal(core_reserved(&fx), before - 2 * MIB);
}

static void a_large_empty_page_opens_for_half_its_size_only(void** state) {
  (void)state;
  open_with("policy=paged;page_min=64KiB;page_max=64KiB;slack=1000");
  teg_buffer* large = core_buffer(&fx, session, 40 * MIB);
  const void* memory = core_info(large).memory;
  teg_buffer_destroy(large);
  teg_buffer* small = core_buffer(&fx, session, 20 * MIB - 64 * KIB);
  assert_ptr_not_equal(core_info(small).memory, memory);
  teg_buffer* half = core_buffer(&fx, session, 20 * MIB);
  assert_ptr_equal(core_info(half).memory, memory);
  // Once it holds something its hole is for everyone.
  teg_buffer* tiny = core_buffer(&fx, session, MIB);
  assert_ptr_equal(core_info(tiny).memory, memory);
}

static void a_page_of_32_mib_is_open_for_all(void** state) {
  (void)state;
  open_with("policy=paged;page_min=64KiB;page_max=64KiB;slack=1000");
  teg_buffer* large = core_buffer(&fx, session, 32 * MIB);
  const void* memory = core_info(large).memory;
  teg_buffer_destroy(large);
  teg_buffer* tiny = core_buffer(&fx, session, MIB);
  assert_ptr_equal(core_info(tiny).memory, memory);
}

static void empty_pages_go_back_before_more_is_reserved(void** state) {
  (void)state;
  open_with("policy=paged;page_min=64KiB;slack=0");
  teg_buffer* a = core_buffer(&fx, session, MIB);
  teg_buffer* b = core_buffer(&fx, session, MIB);
  teg_buffer_destroy(a);
  teg_buffer_destroy(b);
  teg_buffer* c = core_buffer(&fx, session, 2 * MIB);
  assert_int_equal(core_info(c).size, 2 * MIB);
  assert_int_equal(core_reserved(&fx), 2 * MIB);
  assert_int_equal(core_device_stats(&fx).peak_reserved_bytes, 2 * MIB);
}

static void busy_empty_pages_are_waited_for(void** state) {
  (void)state;
  open_with("policy=paged;page_min=64KiB;slack=0");
  teg_buffer* a = core_buffer(&fx, session, MIB);
  core_fill(&fx, stream, a, 1);
  teg_buffer_destroy(a);
  core_submit(&fx, stream);
  (void)core_buffer(&fx, session, 2 * MIB);
  assert_int_equal(core_device_stats(&fx).wait_count, 1);
  assert_int_equal(core_reserved(&fx), 2 * MIB);
}

static void within_the_slack_nothing_goes_back(void** state) {
  (void)state;
  open_with("policy=paged;page_min=64KiB;slack=1000");
  teg_buffer* a = core_buffer(&fx, session, MIB);
  teg_buffer_destroy(a);
  (void)core_buffer(&fx, session, 2 * MIB);
  assert_int_equal(core_reserved(&fx), 3 * MIB);
}

static void pages_empty_for_so_many_runs_go_back(void** state) {
  (void)state;
  open_with("policy=paged;page_min=64KiB;age=3");
  teg_buffer* a = core_buffer(&fx, session, MIB);
  core_fill(&fx, stream, a, 1);
  teg_buffer_destroy(a);
  core_finish(&fx, stream);
  for (int i = 0; i < 3; ++i) run();
  assert_int_equal(core_reserved(&fx), MIB);
  run();
  assert_int_equal(core_reserved(&fx), 0);
}

static void a_page_that_is_used_again_is_young_again(void** state) {
  (void)state;
  open_with("policy=paged;page_min=64KiB;age=3");
  for (int i = 0; i < 4; ++i) {
    teg_buffer_destroy(core_buffer(&fx, session, MIB));
    run();
    run();
  }
  assert_int_equal(core_device_stats(&fx).allocation_count, 1);
}

static void pages_grow_with_what_is_held(void** state) {
  (void)state;
  open_with("policy=paged;page_min=64KiB;page_max=1MiB;slack=1000");
  (void)core_buffer(&fx, session, 32 * MIB);
  uint64_t before = core_reserved(&fx);
  // A sixteenth would be 2 MiB.
  (void)core_buffer(&fx, session, 1000);
  assert_int_equal(core_reserved(&fx), before + MIB);
}

static void growing_buffers_stay_where_they_are(void** state) {
  (void)state;
  open_with("policy=paged;page_min=64KiB");
  teg_buffer_params params = TEG_BUFFER_PARAMS_INIT;
  params.lifetime = TEG_LIFETIME_STATE;
  params.size = 1000;
  params.max_size = 300 * KIB;
  teg_buffer* buffer = NULL;
  CORE_OK(&fx, teg_buffer_create(session, &params, &buffer, &fx.err));
  const uint8_t* pointer = core_pointer(&fx, buffer);
  teg_buffer* neighbour = core_buffer(&fx, session, 1000);
  core_fill(&fx, stream, neighbour, 0x05060708);
  CORE_OK(&fx, teg_buffer_resize(buffer, 300 * KIB, &fx.err));
  assert_ptr_equal(core_pointer(&fx, buffer), pointer);
  core_fill(&fx, stream, buffer, 0x01020304);
  core_expect_pattern(&fx, stream, buffer, 0x01020304);
  core_expect_pattern(&fx, stream, neighbour, 0x05060708);
}

// Two neighbours that different streams used are one hole, unless the host has
// no memory for the set of both.
static void holes_that_could_not_be_merged_are_kept_apart(void** state) {
  (void)state;
  open_with("policy=paged;page_min=64KiB;slack=0");
  teg_stream* second = NULL;
  CORE_OK(&fx, teg_stream_create(session, &second, &fx.err));
  teg_buffer* a = core_buffer(&fx, session, 32 * KIB);
  teg_buffer* b = core_buffer_on(&fx, session, 32 * KIB, second);
  assert_ptr_equal(core_info(a).memory, core_info(b).memory);
  core_fill(&fx, stream, a, 1);
  core_fill(&fx, second, b, 2);
  teg_buffer_destroy(a);
  core_fail_host(&fx, 1, UINT64_MAX);
  teg_buffer_destroy(b);
  core_fail_host(&fx, 0, 0);
  core_validate(&fx, session);
  (void)teg_session_trim(session, TEG_TRIM_FREE);
  core_validate(&fx, session);
  teg_buffer* again[2];
  for (int i = 0; i < 2; ++i) {
    again[i] = core_buffer(&fx, session, 32 * KIB);
    core_fill(&fx, stream, again[i], 0x01010101u << i);
    core_validate(&fx, session);
  }
  assert_ptr_not_equal(core_pointer(&fx, again[0]),
                       core_pointer(&fx, again[1]));
  for (int i = 0; i < 2; ++i) {
    core_expect_pattern(&fx, stream, again[i], 0x01010101u << i);
    teg_buffer_destroy(again[i]);
    core_validate(&fx, session);
  }
  core_finish(&fx, stream);
  core_finish(&fx, second);
  (void)teg_session_trim(session, TEG_TRIM_ALL);
  core_validate(&fx, session);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, begin, end)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(requests_share_a_page_low_end_first),
      TEST(neighbours_that_are_free_are_one_hole),
      TEST(holes_in_used_pages_come_before_empty_pages),
      TEST(a_large_empty_page_opens_for_half_its_size_only),
      TEST(a_page_of_32_mib_is_open_for_all),
      TEST(empty_pages_go_back_before_more_is_reserved),
      TEST(busy_empty_pages_are_waited_for),
      TEST(within_the_slack_nothing_goes_back),
      TEST(pages_empty_for_so_many_runs_go_back),
      TEST(a_page_that_is_used_again_is_young_again),
      TEST(pages_grow_with_what_is_held),
      TEST(growing_buffers_stay_where_they_are),
      TEST(holes_that_could_not_be_merged_are_kept_apart),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
