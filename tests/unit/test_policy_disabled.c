// SPDX-License-Identifier: Apache-2.0
//
// disabled: each request is a device buffer of its own, and nothing is kept.
#include "support/core_fixture.h"

static core_fixture fx;
static teg_session* session;
static teg_stream* stream;

static int begin(void** state) {
  (void)state;
  core_open(&fx, "null", "tile_bytes=64KiB");
  session = core_session(&fx, "test", "policy=disabled");
  stream = teg_session_stream(session);
  return 0;
}

static int end(void** state) {
  (void)state;
  core_validate(&fx, session);
  core_close(&fx);
  return 0;
}

static void each_request_is_a_device_buffer(void** state) {
  (void)state;
  teg_buffer* a = core_buffer(&fx, session, 5000);
  teg_buffer* b = core_buffer(&fx, session, 5000);
  assert_ptr_not_equal(core_info(a).memory, core_info(b).memory);
  assert_int_equal(core_info(a).offset, 0);
  assert_int_equal(core_info(b).offset, 0);
  assert_int_equal(core_device_stats(&fx).allocation_count, 2);
  assert_string_equal(core_info(a).policy, "disabled");
}

static void sizes_are_rounded_to_the_device_only(void** state) {
  (void)state;
  teg_backend_caps caps;
  teg_device_get_caps(fx.device, &caps);
  teg_buffer* buffer = core_buffer(&fx, session, 5001);
  uint64_t granted = tegi_align_up(5001, caps.buffer_granularity);
  assert_int_equal(core_info(buffer).granted_bytes, granted);
  assert_int_equal(core_reserved(&fx), granted);
}

static void nothing_freed_is_found_again(void** state) {
  (void)state;
  for (int i = 0; i < 3; ++i) {
    teg_buffer_destroy(core_buffer(&fx, session, 5000));
  }
  assert_int_equal(core_device_stats(&fx).allocation_count, 3);
  assert_int_equal(core_session_stats(session).hit_count, 0);
}

static void a_buffer_goes_back_when_its_commands_are_complete(void** state) {
  (void)state;
  teg_buffer* buffer = core_buffer(&fx, session, 5000);
  uint64_t held = core_reserved(&fx);
  core_fill(&fx, stream, buffer, 1);
  teg_buffer_destroy(buffer);
  assert_int_equal(core_reserved(&fx), held);
  core_submit(&fx, stream);
  assert_int_equal(core_reserved(&fx), held);
  core_finish(&fx, stream);
  assert_int_equal(core_reserved(&fx), 0);
}

static void a_buffer_that_was_not_used_goes_back_at_the_next_call(
    void** state) {
  (void)state;
  teg_buffer_destroy(core_buffer(&fx, session, 5000));
  teg_buffer* other = core_buffer(&fx, session, 7000);
  assert_int_equal(core_reserved(&fx), core_info(other).granted_bytes);
}

static void growing_buffers_have_their_largest_size_at_once(void** state) {
  (void)state;
  teg_buffer_params params = TEG_BUFFER_PARAMS_INIT;
  params.lifetime = TEG_LIFETIME_STATE;
  params.size = 100;
  params.max_size = 1 << 20;
  teg_buffer* buffer = NULL;
  CORE_OK(&fx, teg_buffer_create(session, &params, &buffer, &fx.err));
  assert_int_equal(core_reserved(&fx), 1 << 20);
  CORE_OK(&fx, teg_buffer_resize(buffer, 1 << 20, &fx.err));
  core_fill(&fx, stream, buffer, 0x01020304);
  core_expect_pattern(&fx, stream, buffer, 0x01020304);
  assert_int_equal(core_device_stats(&fx).allocation_count, 1);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, begin, end)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(each_request_is_a_device_buffer),
      TEST(sizes_are_rounded_to_the_device_only),
      TEST(nothing_freed_is_found_again),
      TEST(a_buffer_goes_back_when_its_commands_are_complete),
      TEST(a_buffer_that_was_not_used_goes_back_at_the_next_call),
      TEST(growing_buffers_have_their_largest_size_at_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
