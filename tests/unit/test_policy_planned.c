// SPDX-License-Identifier: Apache-2.0
//
// planned: after some equal runs the next is served from offsets computed for
// the whole run. Blocks of a plan are told by their mark (block.bin), as
// src/policy/planned.c sets it.
#include <string.h>

#include "support/call.h"
#include "support/core_fixture.h"

#define TILE (64 * KIB)

enum { IN_SLAB = 1, COUNT = 6 };

static core_fixture fx;
static teg_session* session;
static teg_stream* stream;

static void open_with(const char* options) {
  core_open(&fx, "null", "tile_bytes=64KiB;heap_min=64KiB");
  session = core_session(&fx, "test", options);
  stream = teg_session_stream(session);
}

static int begin(void** state) {
  (void)state;
  open_with("policy=planned");
  return 0;
}

static int end(void** state) {
  (void)state;
  core_validate(&fx, session);
  teg_null_report report = TEG_NULL_REPORT_INIT;
  CORE_OK(&fx, teg_null_get_report(fx.backend, &report));
  assert_string_equal(report.first_hazard, "");
  core_close(&fx);
  return 0;
}

static bool is_planned(const teg_buffer* buffer) {
  return buffer->block.bin == IN_SLAB;
}

// A run: sizes that overlap in time, each buffer filled and checked.
typedef struct run_result {
  const uint8_t* pointers[COUNT];
  uint32_t planned_count;
} run_result;

static void run_begin(void) {
  CORE_OK(&fx, teg_session_run_begin(session, &fx.err));
}

static void run_end(void) {
  CORE_OK(&fx, teg_session_run_end(session, &fx.err));
}

static teg_buffer* make(uint64_t size, uint32_t pattern) {
  teg_buffer* buffer = core_buffer(&fx, session, size);
  core_fill(&fx, stream, buffer, pattern);
  return buffer;
}

static teg_result holds(void* user, void* const* pointers,
                        const uint64_t* sizes, uint32_t binding_count) {
  (void)binding_count;
  const uint8_t* bytes = pointers[0];
  uint8_t value = (uint8_t)(uintptr_t)user;
  return bytes[0] == value && bytes[sizes[0] - 1] == value ? TEG_OK
                                                           : TEG_CORRUPT;
}

// Checks on the device, without waiting, and frees.
static void check_and_drop(teg_buffer* buffer, uint32_t pattern) {
  test_argument argument = {.buffer = buffer, .is_read = true};
  CORE_OK(&fx, test_stream_call(fx.device, stream, holds,
                                (void*)(uintptr_t)(pattern & 0xff), &argument,
                                1, &fx.err));
  teg_buffer_destroy(buffer);
}

// |grown| bytes are added to every size; from request |differs_at| on the
// sizes are others.
static run_result play(uint64_t grown, uint32_t differs_at) {
  static const uint64_t sizes[COUNT] = {3 * TILE, 1000,     TILE,
                                        5 * TILE, TILE / 2, 2 * TILE};
  run_result result = {.planned_count = 0};
  teg_buffer* live[2] = {NULL, NULL};
  run_begin();
  for (uint32_t i = 0; i < COUNT; ++i) {
    uint64_t size = sizes[i] + grown;
    if (i >= differs_at) size = size * 3 / 2;
    uint32_t pattern = (i + 1) * 0x01010101u;
    teg_buffer* buffer = make(size, pattern);
    result.pointers[i] = core_pointer(&fx, buffer);
    if (is_planned(buffer)) result.planned_count++;
    if (live[i % 2]) check_and_drop(live[i % 2], (i - 1) * 0x01010101u);
    live[i % 2] = buffer;
    if (i == 2) core_submit(&fx, stream);
  }
  check_and_drop(live[1], COUNT * 0x01010101u);
  check_and_drop(live[0], (COUNT - 1) * 0x01010101u);
  core_finish(&fx, stream);
  run_end();
  core_validate(&fx, session);
  return result;
}

static void expect_same_places(const run_result* a, const run_result* b) {
  for (uint32_t i = 0; i < COUNT; ++i) {
    assert_ptr_equal(a->pointers[i], b->pointers[i]);
  }
}

static void two_equal_runs_make_the_plan_of_the_third(void** state) {
  (void)state;
  assert_int_equal(play(0, COUNT).planned_count, 0);
  assert_int_equal(play(0, COUNT).planned_count, 0);
  run_result third = play(0, COUNT);
  assert_int_equal(third.planned_count, COUNT);
  for (int i = 0; i < 4; ++i) {
    run_result next = play(0, COUNT);
    assert_int_equal(next.planned_count, COUNT);
    expect_same_places(&third, &next);
  }
}

static void the_warmup_can_be_chosen(void** state) {
  (void)state;
  open_with("policy=planned;planned_warmup=4");
  for (int i = 0; i < 4; ++i) {
    assert_int_equal(play(0, COUNT).planned_count, 0);
  }
  assert_int_equal(play(0, COUNT).planned_count, COUNT);
}

static void a_planned_run_calls_no_driver_and_hits(void** state) {
  (void)state;
  for (int i = 0; i < 4; ++i) (void)play(0, COUNT);
  teg_stats before = core_device_stats(&fx);
  uint64_t hits = core_session_stats(session).hit_count;
  for (int i = 0; i < 5; ++i) (void)play(0, COUNT);
  teg_stats after = core_device_stats(&fx);
  assert_int_equal(after.driver_call_count, before.driver_call_count);
  // The first request of a run opens the plan, the others are hits.
  uint64_t made = core_session_stats(session).hit_count - hits;
  assert_true(made >= 5 * (COUNT - 1));
}

static void a_plan_needs_no_more_than_the_peak(void** state) {
  (void)state;
  for (int i = 0; i < 6; ++i) (void)play(0, COUNT);
  teg_stats stats = core_device_stats(&fx);
  assert_true(stats.peak_reserved_bytes <= stats.peak_live_bytes * 5 / 4);
}

static void sizes_that_grow_step_by_step_stay_planned(void** state) {
  (void)state;
  uint64_t grown = 0;
  uint32_t planned_runs = 0;
  for (int i = 0; i < 40; ++i) {
    if (play(grown, COUNT).planned_count == COUNT) planned_runs++;
    grown += 256;
  }
  // A plan leaves room for the runs to come, so that few are made anew.
  assert_true(planned_runs >= 25);
}

static void the_first_request_that_differs_ends_the_plan(void** state) {
  (void)state;
  (void)play(0, COUNT);
  run_result second = play(0, COUNT);
  assert_int_equal(second.planned_count, 0);
  assert_int_equal(play(0, 3).planned_count, 3);
  // A run of another kind does not spoil the plan.
  assert_int_equal(play(0, COUNT).planned_count, COUNT);
  assert_int_equal(play(0, 0).planned_count, 0);
  assert_int_equal(play(0, COUNT).planned_count, COUNT);
}

static void another_workload_gets_a_plan_of_its_own(void** state) {
  (void)state;
  for (int i = 0; i < 3; ++i) (void)play(0, COUNT);
  (void)play(0, 0);
  (void)play(0, 0);
  assert_int_equal(play(0, 0).planned_count, COUNT);
}

static void a_release_that_differs_ends_the_plan(void** state) {
  (void)state;
  for (int i = 0; i < 4; ++i) {
    run_begin();
    teg_buffer* a = make(3 * TILE, 0x11111111);
    teg_buffer* b = make(2 * TILE, 0x22222222);
    bool is_swapped = i == 3;
    check_and_drop(is_swapped ? b : a, is_swapped ? 0x22222222 : 0x11111111);
    teg_buffer* c = make(3 * TILE, 0x33333333);
    assert_int_equal(is_planned(c), i == 2);
    check_and_drop(is_swapped ? a : b, is_swapped ? 0x11111111 : 0x22222222);
    check_and_drop(c, 0x33333333);
    core_finish(&fx, stream);
    run_end();
  }
}

static void what_outlives_its_run_is_not_planned(void** state) {
  (void)state;
  teg_buffer* kept[5];
  for (uint32_t i = 0; i < 5; ++i) {
    run_begin();
    teg_buffer* a = make(3 * TILE, 0x11111111);
    kept[i] = make(TILE, 0x40404040 + i);
    teg_buffer* b = make(2 * TILE, 0x22222222);
    assert_int_equal(is_planned(a), i >= 2);
    assert_int_equal(is_planned(b), i >= 2);
    assert_false(is_planned(kept[i]));
    check_and_drop(a, 0x11111111);
    check_and_drop(b, 0x22222222);
    core_finish(&fx, stream);
    run_end();
  }
  for (uint32_t i = 0; i < 5; ++i) {
    core_expect_pattern(&fx, stream, kept[i], 0x40404040 + i);
  }
}

static void a_planned_buffer_that_is_kept_keeps_its_bytes(void** state) {
  (void)state;
  for (int i = 0; i < 2; ++i) (void)play(0, COUNT);
  // Begins like the plan, but its first buffer stays.
  run_begin();
  teg_buffer* kept = make(3 * TILE, 0x77777777);
  assert_true(is_planned(kept));
  core_finish(&fx, stream);
  run_end();
  for (int i = 0; i < 3; ++i) {
    // No plan while its memory is still in use.
    assert_int_equal(play(0, COUNT).planned_count, 0);
    core_expect_pattern(&fx, stream, kept, 0x77777777);
  }
  teg_buffer_destroy(kept);
  assert_int_equal(play(0, COUNT).planned_count, COUNT);
}

static void a_request_on_another_stream_ends_the_plan(void** state) {
  (void)state;
  teg_stream* second = NULL;
  CORE_OK(&fx, teg_stream_create(session, &second, &fx.err));
  for (int i = 0; i < 2; ++i) (void)play(0, COUNT);
  run_begin();
  teg_buffer* a = make(3 * TILE, 0x11111111);
  assert_true(is_planned(a));
  teg_buffer* b = core_buffer_on(&fx, session, 1000, second);
  assert_false(is_planned(b));
  core_fill(&fx, second, b, 0x22222222);
  check_and_drop(a, 0x11111111);
  core_finish(&fx, stream);
  core_expect_pattern(&fx, second, b, 0x22222222);
  teg_buffer_destroy(b);
  run_end();
  assert_int_equal(play(0, COUNT).planned_count, COUNT);
}

// Bytes of the plan that another stream read are not the next owner's before
// that is over.
static void a_use_by_another_stream_ends_the_plan(void** state) {
  (void)state;
  teg_stream* second = NULL;
  CORE_OK(&fx, teg_stream_create(session, &second, &fx.err));
  for (int i = 0; i < 2; ++i) (void)play(0, COUNT);
  // As play() begins.
  run_begin();
  teg_buffer* a = make(3 * TILE, 0x11111111);
  teg_buffer* b = make(1000, 0x22222222);
  teg_buffer* c = make(TILE, 0x33333333);
  assert_true(is_planned(a) && is_planned(b) && is_planned(c));
  core_submit(&fx, stream);
  test_argument argument = {.buffer = a, .is_read = true};
  CORE_OK(&fx, test_stream_call(fx.device, second, holds,
                                (void*)(uintptr_t)0x11, &argument, 1, &fx.err));
  teg_buffer_destroy(a);
  teg_buffer* d = make(5 * TILE, 0x44444444);
  assert_false(is_planned(d));
  check_and_drop(b, 0x22222222);
  check_and_drop(c, 0x33333333);
  check_and_drop(d, 0x44444444);
  run_end();
  // The second stream's batch is only recorded; this run overwrites all.
  (void)play(0, COUNT);
  core_finish(&fx, second);
  (void)play(0, COUNT);
  assert_int_equal(play(0, COUNT).planned_count, COUNT);
}

static void growing_buffers_are_no_part_of_a_plan(void** state) {
  (void)state;
  for (int i = 0; i < 5; ++i) {
    run_begin();
    teg_buffer* a = make(3 * TILE, 0x11111111);
    teg_buffer_params params = TEG_BUFFER_PARAMS_INIT;
    params.lifetime = TEG_LIFETIME_STATE;
    params.size = TILE;
    params.max_size = 16 * TILE;
    teg_buffer* state_buffer = NULL;
    CORE_OK(&fx, teg_buffer_create(session, &params, &state_buffer, &fx.err));
    teg_buffer* b = make(2 * TILE, 0x22222222);
    assert_false(is_planned(state_buffer));
    assert_int_equal(is_planned(b), i >= 2);
    CORE_OK(&fx, teg_buffer_resize(state_buffer, 16 * TILE, &fx.err));
    core_fill(&fx, stream, state_buffer, 0x33333333);
    check_and_drop(a, 0x11111111);
    check_and_drop(b, 0x22222222);
    check_and_drop(state_buffer, 0x33333333);
    core_finish(&fx, stream);
    run_end();
  }
}

static void outside_of_runs_nothing_is_planned(void** state) {
  (void)state;
  for (int i = 0; i < 3; ++i) (void)play(0, COUNT);
  teg_buffer* a = make(3 * TILE, 0x11111111);
  assert_false(is_planned(a));
  // A run beside it is, and neither disturbs the other.
  assert_int_equal(play(0, COUNT).planned_count, COUNT);
  core_expect_pattern(&fx, stream, a, 0x11111111);
}

static void a_trim_between_runs_leaves_the_plan(void** state) {
  (void)state;
  for (int i = 0; i < 3; ++i) (void)play(0, COUNT);
  (void)teg_session_trim(session, TEG_TRIM_ALL);
  assert_int_equal(core_reserved(&fx), 0);
  assert_int_equal(play(0, COUNT).planned_count, COUNT);
}

static void without_memory_for_the_plan_tiled_serves_the_run(void** state) {
  (void)state;
  for (int i = 0; i < 3; ++i) (void)play(0, COUNT);
  (void)teg_session_trim(session, TEG_TRIM_ALL);
  // The memory of the plan cannot be had, tried in as many ways.
  CORE_OK(&fx, teg_null_fail(fx.backend, TEG_NULL_HEAP_CREATE, 1, 3,
                             TEG_OUT_OF_MEMORY));
  assert_int_equal(play(0, COUNT).planned_count, 0);
  assert_int_equal(play(0, COUNT).planned_count, COUNT);
}

static void more_requests_than_can_be_recorded_are_served(void** state) {
  (void)state;
  for (int i = 0; i < 3; ++i) {
    run_begin();
    for (int k = 0; k < 9000; ++k) {
      teg_buffer* buffer = core_buffer(&fx, session, 1000);
      assert_false(is_planned(buffer));
      teg_buffer_destroy(buffer);
    }
    run_end();
  }
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, begin, end)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(two_equal_runs_make_the_plan_of_the_third),
      cmocka_unit_test_teardown(the_warmup_can_be_chosen, end),
      TEST(a_planned_run_calls_no_driver_and_hits),
      TEST(a_plan_needs_no_more_than_the_peak),
      TEST(sizes_that_grow_step_by_step_stay_planned),
      TEST(the_first_request_that_differs_ends_the_plan),
      TEST(another_workload_gets_a_plan_of_its_own),
      TEST(a_release_that_differs_ends_the_plan),
      TEST(what_outlives_its_run_is_not_planned),
      TEST(a_planned_buffer_that_is_kept_keeps_its_bytes),
      TEST(a_request_on_another_stream_ends_the_plan),
      TEST(a_use_by_another_stream_ends_the_plan),
      TEST(growing_buffers_are_no_part_of_a_plan),
      TEST(outside_of_runs_nothing_is_planned),
      TEST(a_trim_between_runs_leaves_the_plan),
      TEST(without_memory_for_the_plan_tiled_serves_the_run),
      TEST(more_requests_than_can_be_recorded_are_served),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
