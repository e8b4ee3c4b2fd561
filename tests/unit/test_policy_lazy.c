// SPDX-License-Identifier: Apache-2.0
//
// lazy: a released buffer can be found again, by exact size, until the submit
// that follows; then it goes back.
#include "support/core_fixture.h"

static core_fixture fx;
static teg_session* session;
static teg_stream* stream;

static int begin(void** state) {
  (void)state;
  core_open(&fx, "null", "tile_bytes=64KiB");
  session = core_session(&fx, "test", "policy=lazyRelease");
  stream = teg_session_stream(session);
  assert_string_equal(teg_session_policy(session, TEG_LIFETIME_RUN), "lazy");
  return 0;
}

static int end(void** state) {
  (void)state;
  core_validate(&fx, session);
  core_close(&fx);
  return 0;
}

static void a_released_buffer_is_found_again_before_the_submit(void** state) {
  (void)state;
  teg_buffer* a = core_buffer(&fx, session, 5000);
  core_fill(&fx, stream, a, 1);
  const void* memory = core_info(a).memory;
  teg_buffer_destroy(a);
  teg_buffer* b = core_buffer(&fx, session, 5000);
  assert_ptr_equal(core_info(b).memory, memory);
  assert_int_equal(core_device_stats(&fx).allocation_count, 1);
  assert_int_equal(core_session_stats(session).hit_count, 1);
}

static void another_size_is_not_served_from_it(void** state) {
  (void)state;
  teg_buffer_destroy(core_buffer(&fx, session, 50000));
  (void)core_buffer(&fx, session, 40000);
  assert_int_equal(core_device_stats(&fx).allocation_count, 2);
}

static void it_is_gone_after_the_submit_that_follows(void** state) {
  (void)state;
  teg_buffer* a = core_buffer(&fx, session, 5000);
  core_fill(&fx, stream, a, 1);
  teg_buffer_destroy(a);
  core_submit(&fx, stream);
  (void)core_buffer(&fx, session, 5000);
  assert_int_equal(core_device_stats(&fx).allocation_count, 2);
  // It went back to the driver once idle; the second one is alive.
  core_finish(&fx, stream);
  teg_backend_caps caps;
  teg_device_get_caps(fx.device, &caps);
  assert_int_equal(core_reserved(&fx),
                   tegi_align_up(5000, caps.buffer_granularity));
}

static void what_is_released_after_a_submit_lives_to_the_next(void** state) {
  (void)state;
  teg_buffer* a = core_buffer(&fx, session, 5000);
  core_submit(&fx, stream);
  teg_buffer_destroy(a);
  teg_buffer* b = core_buffer(&fx, session, 5000);
  assert_int_equal(core_device_stats(&fx).allocation_count, 1);
  teg_buffer_destroy(b);
  core_submit(&fx, stream);
  (void)core_buffer(&fx, session, 5000);
  assert_int_equal(core_device_stats(&fx).allocation_count, 2);
}

static void a_submit_of_any_stream_counts(void** state) {
  (void)state;
  teg_stream* second = NULL;
  CORE_OK(&fx, teg_stream_create(session, &second, &fx.err));
  teg_buffer_destroy(core_buffer(&fx, session, 5000));
  core_submit(&fx, second);
  (void)core_buffer(&fx, session, 5000);
  assert_int_equal(core_device_stats(&fx).allocation_count, 2);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, begin, end)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(a_released_buffer_is_found_again_before_the_submit),
      TEST(another_size_is_not_served_from_it),
      TEST(it_is_gone_after_the_submit_that_follows),
      TEST(what_is_released_after_a_submit_lives_to_the_next),
      TEST(a_submit_of_any_stream_counts),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
