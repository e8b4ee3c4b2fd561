// SPDX-License-Identifier: Apache-2.0
//
// Where tiles and pages come from, and go to, at the ends of what there is:
// requests no device can serve, requests larger than any heap, and empty pages
// behind one that cannot go.
#include "support/core_fixture.h"

static core_fixture fx;

static void what_no_budget_can_hold_is_refused_at_once(void** state) {
  (void)state;
  core_open(&fx, "null", "tile_bytes=4096;budget=1GiB");
  teg_session* session = core_session(&fx, "test", "policy=tiled");
  teg_buffer* buffer = NULL;
  uint64_t before = core_device_stats(&fx).record_bytes;
  CORE_EXPECT(
      &fx, TEG_OVER_BUDGET,
      core_try_buffer(&fx, session, 256 * GIB, TEG_LIFETIME_RUN, &buffer));
  // Records for so many tiles would take 512 MiB.
  assert_true(core_device_stats(&fx).record_bytes < before + MIB);
  core_validate(&fx, session);
  core_close(&fx);
}

static void more_tiles_than_can_be_counted_are_a_limit(void** state) {
  (void)state;
  core_open(&fx, "null", "tile_bytes=4096");
  teg_session* session = core_session(&fx, "test", "policy=tiled");
  teg_buffer* buffer = NULL;
  uint64_t sizes[] = {UINT64_C(1) << 44, (UINT64_C(1) << 44) - 8192,
                      UINT64_C(1) << 62};
  for (int i = 0; i < 3; ++i) {
    CORE_EXPECT(
        &fx, TEG_LIMIT,
        core_try_buffer(&fx, session, sizes[i], TEG_LIFETIME_RUN, &buffer));
  }
  core_validate(&fx, session);
  core_close(&fx);
}

static void a_request_larger_than_any_heap_is_gathered(void** state) {
  (void)state;
  core_open(&fx, "null", "tile_bytes=64KiB;heap_min=64KiB");
  fx.device->caps.max_allocation_bytes = MIB;
  teg_session* session = core_session(&fx, "test", "policy=tiled");
  teg_buffer* buffer = core_buffer(&fx, session, 5 * MIB + 64 * KIB);
  assert_int_equal(core_reserved(&fx), 5 * MIB + 64 * KIB);
  assert_int_equal(core_device_stats(&fx).allocation_count, 6);
  teg_stream* stream = teg_session_stream(session);
  core_fill(&fx, stream, buffer, 7);
  core_finish(&fx, stream);
  core_validate(&fx, session);
  core_close(&fx);
}

// Two pages, the colder of which another stream has recorded on.
static void a_page_that_cannot_go_is_passed_over(void** state) {
  (void)state;
  core_open(&fx, "null", "tile_bytes=64KiB");
  teg_session* session =
      core_session(&fx, "test", "policy=paged;page_min=1MiB;page_max=1MiB");
  teg_stream* stream = teg_session_stream(session);
  teg_stream* other = NULL;
  CORE_OK(&fx, teg_stream_create(session, &other, &fx.err));
  teg_buffer* first = core_buffer_on(&fx, session, MIB, other);
  teg_buffer* second = core_buffer_on(&fx, session, MIB, stream);
  assert_int_equal(core_reserved(&fx), 2 * MIB);
  core_fill(&fx, other, first, 1);
  teg_buffer_destroy(first);
  teg_buffer_destroy(second);
  tegi_policy* policy = session->by_lifetime[TEG_LIFETIME_RUN];
  tegi_mutex_lock(&session->growth);
  uint64_t bytes = policy->ops->trim(policy, UINT64_MAX, true, 1);
  tegi_mutex_unlock(&session->growth);
  assert_int_equal(bytes, MIB);
  assert_int_equal(core_reserved(&fx), MIB);
  core_validate(&fx, session);
  core_finish(&fx, other);
  core_close(&fx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_no_budget_can_hold_is_refused_at_once),
      cmocka_unit_test(more_tiles_than_can_be_counted_are_a_limit),
      cmocka_unit_test(a_request_larger_than_any_heap_is_gathered),
      cmocka_unit_test(a_page_that_cannot_go_is_passed_over),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
