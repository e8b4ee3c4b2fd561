// SPDX-License-Identifier: Apache-2.0
//
// tiled: addresses whose tiles move under other addresses. One test for each
// rule of docs/policies.md.
#include <stdio.h>
#include <string.h>

#include "policy/tiled.h"
#include "support/core_fixture.h"
#include "tegula/host.h"

#define TILE (64 * KIB)

static core_fixture fx;
static teg_session* session;
static teg_stream* stream;

// Tiles of 64 KiB, nothing above the live peak, small heaps.
static void open_null(const char* device_options, const char* options) {
  char text[256];
  snprintf(text, sizeof text, "tile_bytes=64KiB;heap_min=64KiB;%s",
           device_options);
  core_open(&fx, "null", text);
  session = core_session(&fx, "test", options);
  stream = teg_session_stream(session);
}

static int end(void** state) {
  (void)state;
  core_validate(&fx, session);
  if (strcmp(teg_device_backend_name(fx.device), "null") == 0) {
    teg_null_report report = TEG_NULL_REPORT_INIT;
    CORE_OK(&fx, teg_null_get_report(fx.backend, &report));
    assert_string_equal(report.first_hazard, "");
  }
  core_close(&fx);
  return 0;
}

static uint64_t remapped(void) {
  return core_device_stats(&fx).tiles_remapped_count;
}

static void run_begin(void) {
  CORE_OK(&fx, teg_session_run_begin(session, &fx.err));
}

static void run_end(void) {
  CORE_OK(&fx, teg_session_run_end(session, &fx.err));
}

static teg_buffer* filled(uint64_t size, uint32_t pattern) {
  teg_buffer* buffer = core_buffer(&fx, session, size);
  core_fill(&fx, stream, buffer, pattern);
  return buffer;
}

// ---- How much is held

// docs/design.md: 100 x 4 MiB, then 50 x 8 MiB, then 25 x 16 MiB.
static void the_worked_example_holds_400_mib(void** state) {
  (void)state;
  core_open(&fx, "host", NULL);
  session = core_session(&fx, "test", "policy=tiled");
  stream = teg_session_stream(session);
  static teg_buffer* buffers[100];
  for (uint64_t count = 100, size = 4 * MIB; count >= 25;
       count /= 2, size *= 2) {
    for (uint64_t i = 0; i < count; ++i) {
      buffers[i] = core_buffer(&fx, session, size);
    }
    assert_int_equal(core_reserved(&fx), 400 * MIB);
    for (uint64_t i = 0; i < count; ++i) {
      teg_buffer_destroy(buffers[(i * 7) % count]);
    }
    core_finish(&fx, stream);
  }
  assert_int_equal(core_device_stats(&fx).peak_reserved_bytes, 400 * MIB);
}

// The same while the holes are scattered: each request finds two holes of half
// its size that are no neighbours.
static void scattered_holes_serve_larger_requests(void** state) {
  (void)state;
  core_open(&fx, "host", NULL);
  session = core_session(&fx, "test", "policy=tiled;slack=0");
  stream = teg_session_stream(session);
  static teg_buffer* small[100];
  static teg_buffer* large[50];
  for (size_t i = 0; i < 100; ++i) {
    small[i] = core_buffer(&fx, session, 4 * MIB);
  }
  for (size_t i = 0; i < 50; ++i) {
    teg_buffer_destroy(small[i]);
    teg_buffer_destroy(small[i + 50]);
    large[i] = core_buffer(&fx, session, 8 * MIB);
    core_validate(&fx, session);
    assert_int_equal(core_reserved(&fx), 400 * MIB);
  }
  assert_true(remapped() > 0);
  for (size_t i = 0; i < 25; ++i) {
    teg_buffer_destroy(large[i]);
    teg_buffer_destroy(large[49 - i]);
    teg_buffer* huge = core_buffer(&fx, session, 16 * MIB);
    assert_int_equal(core_info(huge).size, 16 * MIB);
  }
  assert_int_equal(core_device_stats(&fx).peak_reserved_bytes, 400 * MIB);
}

static void neighbours_share_the_tile_at_their_border(void** state) {
  (void)state;
  open_null("", "policy=tiled;slack=0");
  teg_buffer* a = filled(TILE * 3 / 2, 0x01010101);
  teg_buffer* b = filled(TILE * 3 / 2, 0x02020202);
  assert_int_equal(core_reserved(&fx), 3 * TILE);
  core_expect_pattern(&fx, stream, a, 0x01010101);
  core_expect_pattern(&fx, stream, b, 0x02020202);
}

static void small_requests_have_an_arena_of_their_own(void** state) {
  (void)state;
  open_null("", "policy=tiled;slack=0");
  teg_buffer* large = core_buffer(&fx, session, TILE / 2);
  teg_buffer* small = core_buffer(&fx, session, TILE / 2 - 256);
  teg_buffer* tiny = core_buffer(&fx, session, 10);
  assert_ptr_not_equal(core_info(large).memory, core_info(small).memory);
  assert_ptr_equal(core_info(small).memory, core_info(tiny).memory);
  assert_int_equal(core_reserved(&fx), 2 * TILE);
}

static void weights_share_border_tiles_whatever_their_size(void** state) {
  (void)state;
  open_null("", "policy=tiled;slack=0");
  teg_buffer* before = NULL;
  for (int i = 0; i < 10; ++i) {
    teg_buffer* weight =
        core_buffer_of(&fx, session, 10 * KIB, TEG_LIFETIME_STATIC);
    if (before) {
      assert_ptr_equal(core_pointer(&fx, weight),
                       core_pointer(&fx, before) + 10 * KIB);
    }
    before = weight;
  }
  assert_int_equal(core_reserved(&fx), 2 * TILE);
}

static void no_more_than_the_slack_is_held(void** state) {
  (void)state;
  open_null("", "policy=tiled;slack=0");
  // A hole that is too small and cannot be extended, again and again.
  teg_buffer* pins[8];
  for (uint64_t i = 0; i < 8; ++i) {
    teg_buffer* hole = core_buffer(&fx, session, (4 + i) * TILE);
    pins[i] = core_buffer(&fx, session, TILE);
    teg_buffer_destroy(hole);
  }
  for (int i = 0; i < 8; ++i) assert_int_equal(core_info(pins[i]).size, TILE);
  teg_stats stats = core_device_stats(&fx);
  assert_int_equal(stats.peak_reserved_bytes, stats.peak_live_bytes);
}

// ---- Where tiles come from

static void free_tiles_of_the_device_come_first(void** state) {
  (void)state;
  open_null("heap_min=1MiB", "policy=tiled;slack=1000");
  teg_buffer* a = core_buffer(&fx, session, 4 * TILE);
  assert_true(core_reserved(&fx) >= 8 * TILE);
  teg_buffer* b = core_buffer(&fx, session, 4 * TILE);
  assert_int_equal(core_device_stats(&fx).allocation_count, 1);
  assert_int_equal(core_info(a).size + core_info(b).size, 8 * TILE);
}

// A hole of four tiles that no request of six can be placed over, and a live
// peak of seven: four of the six have to come from the hole.
static teg_buffer* hole_and_pin(bool is_submitted, bool is_complete) {
  teg_buffer* hole = filled(4 * TILE, 0x01010101);
  teg_buffer* pin = filled(TILE, 0x02020202);
  teg_buffer_destroy(hole);
  if (is_submitted) core_submit(&fx, stream);
  if (is_complete) core_finish(&fx, stream);
  return pin;
}

static void expect_moved(teg_buffer* pin, uint64_t waits) {
  teg_buffer* wanted = filled(6 * TILE, 0x03030303);
  assert_int_equal(remapped(), 4);
  assert_int_equal(core_reserved(&fx), 7 * TILE);
  assert_int_equal(core_device_stats(&fx).wait_count, waits);
  core_expect_pattern(&fx, stream, wanted, 0x03030303);
  core_expect_pattern(&fx, stream, pin, 0x02020202);
}

static void growth_within_the_slack_precedes_holes(void** state) {
  (void)state;
  open_null("", "policy=tiled;slack=1000");
  (void)hole_and_pin(true, true);
  (void)filled(6 * TILE, 0x03030303);
  assert_int_equal(remapped(), 0);
}

static void idle_holes_give_their_tiles_without_waiting(void** state) {
  (void)state;
  open_null("", "policy=tiled;slack=0");
  expect_moved(hole_and_pin(true, true), 0);
}

static void busy_holes_are_waited_for(void** state) {
  (void)state;
  open_null("", "policy=tiled;slack=0");
  teg_buffer* pin = hole_and_pin(true, false);
  expect_moved(pin, 1);
}

static void the_streams_own_batch_is_submitted_first(void** state) {
  (void)state;
  open_null("", "policy=tiled;slack=0");
  teg_buffer* pin = hole_and_pin(false, false);
  assert_int_equal(teg_stream_submitted(stream), 0);
  expect_moved(pin, 1);
}

static void idle_holes_are_robbed_before_busy_ones_are_waited_for(
    void** state) {
  (void)state;
  open_null("", "policy=tiled;slack=0");
  teg_buffer* idle[2];
  for (int i = 0; i < 2; ++i) {
    idle[i] = filled(4 * TILE, 0x01010101);
    (void)filled(TILE, 0x02020202);
  }
  core_finish(&fx, stream);
  teg_buffer* busy = filled(5 * TILE, 0x04040404);
  (void)filled(TILE, 0x05050505);
  core_submit(&fx, stream);
  // The busy hole is the longer and the colder one, but the idle ones are
  // enough.
  teg_buffer_destroy(busy);
  teg_buffer_destroy(idle[0]);
  teg_buffer_destroy(idle[1]);
  (void)filled(6 * TILE, 0x03030303);
  assert_int_equal(remapped(), 6);
  assert_int_equal(core_device_stats(&fx).wait_count, 0);
}

static void on_busy_grow_takes_more_memory_instead(void** state) {
  (void)state;
  open_null("", "policy=tiled;slack=0;on_busy=grow");
  teg_buffer* pin = hole_and_pin(true, false);
  teg_buffer* wanted = filled(6 * TILE, 0x03030303);
  assert_int_equal(remapped(), 0);
  assert_int_equal(core_reserved(&fx), 11 * TILE);
  assert_int_equal(core_device_stats(&fx).wait_count, 0);
  core_expect_pattern(&fx, stream, wanted, 0x03030303);
  core_expect_pattern(&fx, stream, pin, 0x02020202);
}

static void what_another_stream_has_recorded_is_left_alone(void** state) {
  (void)state;
  open_null("", "policy=tiled;slack=0");
  teg_stream* second = NULL;
  CORE_OK(&fx, teg_stream_create(session, &second, &fx.err));
  teg_buffer* hole = core_buffer_on(&fx, session, 4 * TILE, second);
  core_fill(&fx, second, hole, 0x01010101);
  (void)filled(TILE, 0x02020202);
  teg_buffer_destroy(hole);
  (void)filled(6 * TILE, 0x03030303);
  assert_int_equal(teg_stream_submitted(second), 0);
  assert_int_equal(remapped(), 0);
  assert_int_equal(core_reserved(&fx), 11 * TILE);
}

// The search looks at a few holes only; new addresses are found all the same.
static void many_busy_holes_do_not_hide_new_addresses(void** state) {
  (void)state;
  open_null("", "policy=tiled;slack=0;chunk=1MiB");
  teg_stream* second = NULL;
  CORE_OK(&fx, teg_stream_create(session, &second, &fx.err));
  teg_buffer* busy[20];
  for (int i = 0; i < 20; ++i) {
    // Of each chunk of 16 tiles 12 are a hole, 9 of them backed.
    (void)core_buffer(&fx, session, 4 * TILE);
    busy[i] = core_buffer_on(&fx, session, 9 * TILE, second);
    core_fill(&fx, second, busy[i], 1);
  }
  for (int i = 0; i < 20; ++i) teg_buffer_destroy(busy[i]);
  teg_buffer* wanted = filled(10 * TILE, 0x03030303);
  core_expect_pattern(&fx, stream, wanted, 0x03030303);
}

static void mapped_bytes_are_left_alone(void** state) {
  (void)state;
  open_null("", "policy=tiled;slack=0");
  teg_buffer* mapped = filled(4 * TILE, 0x01010101);
  void* pointer = NULL;
  CORE_OK(&fx, teg_buffer_map(mapped, &pointer, &fx.err));
  (void)filled(TILE, 0x02020202);
  (void)filled(6 * TILE, 0x03030303);
  assert_int_equal(remapped(), 0);
  teg_buffer_unmap(mapped);
}

static void idle_holes_are_robbed_under_on_busy_grow_as_well(void** state) {
  (void)state;
  open_null("", "policy=tiled;slack=0;on_busy=grow");
  expect_moved(hole_and_pin(true, true), 0);
}

static void the_longest_hole_is_robbed_first(void** state) {
  (void)state;
  open_null("", "policy=tiled;slack=0");
  teg_buffer* shorter = filled(3 * TILE, 1);
  const uint8_t* pointer = core_pointer(&fx, shorter);
  (void)filled(TILE, 1);
  teg_buffer* longer = filled(9 * TILE, 1);
  (void)filled(TILE, 1);
  core_finish(&fx, stream);
  teg_buffer_destroy(shorter);
  teg_buffer_destroy(longer);
  // All nine of the longer and one of the shorter: its low end keeps two.
  (void)filled(10 * TILE, 1);
  assert_int_equal(core_reserved(&fx), 14 * TILE);
  assert_int_equal(remapped(), 10);
  teg_buffer* rest = filled(2 * TILE, 1);
  assert_ptr_equal(core_pointer(&fx, rest), pointer);
  assert_int_equal(remapped(), 10);
}

static void other_policies_of_the_session_lend_their_holes(void** state) {
  (void)state;
  open_null("", "policy=tiled;slack=0");
  teg_buffer* loading = filled(8 * TILE, 1);
  core_finish(&fx, stream);
  teg_buffer_destroy(loading);
  // Weights have a policy of their own.
  (void)core_buffer_of(&fx, session, 6 * TILE, TEG_LIFETIME_STATIC);
  assert_int_equal(core_reserved(&fx), 8 * TILE);
  assert_int_equal(remapped(), 6);
}

static void idle_sessions_lend_their_holes(void** state) {
  (void)state;
  open_null("", "policy=tiled;slack=0");
  teg_session* other = core_session(&fx, "other", "policy=tiled;slack=0");
  run_begin();
  teg_buffer* a = filled(8 * TILE, 1);
  core_finish(&fx, stream);
  teg_buffer_destroy(a);
  run_end();
  CORE_OK(&fx, teg_session_run_begin(other, &fx.err));
  teg_buffer* b = core_buffer(&fx, other, 8 * TILE);
  core_fill(&fx, teg_session_stream(other), b, 0x07070707);
  assert_int_equal(core_reserved(&fx), 8 * TILE);
  core_expect_pattern(&fx, teg_session_stream(other), b, 0x07070707);
  CORE_OK(&fx, teg_session_run_end(other, &fx.err));
  core_validate(&fx, other);
}

static void sessions_inside_of_a_run_lend_nothing(void** state) {
  (void)state;
  open_null("", "policy=tiled;slack=0");
  teg_session* other = core_session(&fx, "other", "policy=tiled;slack=0");
  run_begin();
  teg_buffer* a = filled(8 * TILE, 1);
  core_finish(&fx, stream);
  teg_buffer_destroy(a);
  (void)core_buffer(&fx, other, 8 * TILE);
  assert_int_equal(core_reserved(&fx), 16 * TILE);
  run_end();
}

// ---- A repeating workload

static void one_run(void) {
  teg_buffer* buffers[12] = {NULL};
  run_begin();
  uint64_t random = 5;
  for (int i = 0; i < 200; ++i) {
    random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
    size_t at = (size_t)(random >> 33) % 12;
    if (buffers[at]) {
      teg_buffer_destroy(buffers[at]);
      buffers[at] = NULL;
    } else {
      buffers[at] = filled(1000 + (random >> 40) % (6 * TILE), 1);
    }
    if (i % 16 == 0) core_submit(&fx, stream);
  }
  for (size_t i = 0; i < 12; ++i) teg_buffer_destroy(buffers[i]);
  core_submit(&fx, stream);
  run_end();
}

// What |runs| runs more move and allocate.
static void expect_still(int runs) {
  uint64_t moved = remapped();
  uint64_t allocations = core_device_stats(&fx).allocation_count;
  for (int i = 0; i < runs; ++i) one_run();
  assert_int_equal(remapped(), moved);
  assert_int_equal(core_device_stats(&fx).allocation_count, allocations);
}

static void a_repeating_workload_comes_to_remap_nothing(void** state) {
  (void)state;
  open_null("", "policy=tiled;slack=40");
  for (int i = 0; i < 8; ++i) one_run();
  expect_still(8);
}

// ---- Growing buffers

static teg_buffer* growing(uint64_t size, uint64_t max_size) {
  teg_buffer_params params = TEG_BUFFER_PARAMS_INIT;
  params.lifetime = TEG_LIFETIME_STATE;
  params.size = size;
  params.max_size = max_size;
  teg_buffer* buffer = NULL;
  CORE_OK(&fx, teg_buffer_create(session, &params, &buffer, &fx.err));
  return buffer;
}

static void a_growing_buffer_keeps_its_address_and_content(void** state) {
  (void)state;
  open_null("", "policy=tiled;slack=0");
  teg_buffer* buffer = growing(TILE, 64 * TILE);
  assert_int_equal(core_reserved(&fx), TILE);
  core_fill(&fx, stream, buffer, 0x01020304);
  const uint8_t* pointer = core_pointer(&fx, buffer);
  for (uint64_t tiles = 2; tiles <= 64; tiles *= 2) {
    CORE_OK(&fx, teg_buffer_resize(buffer, tiles * TILE, &fx.err));
    assert_int_equal(core_reserved(&fx), tiles * TILE);
    assert_ptr_equal(core_pointer(&fx, buffer), pointer);
    core_finish(&fx, stream);
    assert_int_equal(pointer[0], 0x04);
    assert_int_equal(pointer[TILE - 1], 0x01);
  }
}

static void a_shrinking_buffer_gives_its_tiles_back(void** state) {
  (void)state;
  open_null("", "policy=tiled;slack=0");
  teg_buffer* buffer = growing(32 * TILE, 64 * TILE);
  core_fill(&fx, stream, buffer, 0x01020304);
  CORE_OK(&fx, teg_buffer_resize(buffer, 3 * TILE / 2, &fx.err));
  assert_int_equal(core_device_stats(&fx).mapped_bytes, 2 * TILE);
  // They serve others.
  teg_buffer* other = filled(30 * TILE, 0x05050505);
  assert_int_equal(core_reserved(&fx), 32 * TILE);
  core_expect_pattern(&fx, stream, buffer, 0x01020304);
  core_expect_pattern(&fx, stream, other, 0x05050505);
  // And what grows takes from holes in turn.
  teg_buffer_destroy(other);
  CORE_OK(&fx, teg_buffer_resize(buffer, 32 * TILE, &fx.err));
  assert_int_equal(core_reserved(&fx), 32 * TILE);
}

static void no_neighbour_lives_in_a_growing_buffers_last_tile(void** state) {
  (void)state;
  open_null("", "policy=tiled;slack=0");
  teg_buffer* buffer = growing(TILE, 5 * TILE / 2);
  teg_buffer* other = filled(TILE / 2, 0x05050505);
  CORE_OK(&fx, teg_buffer_resize(buffer, 5 * TILE / 2, &fx.err));
  CORE_OK(&fx, teg_buffer_resize(buffer, 1, &fx.err));
  core_validate(&fx, session);
  core_expect_pattern(&fx, stream, other, 0x05050505);
}

static void sizes_of_a_growing_buffer_are_checked(void** state) {
  (void)state;
  open_null("", "policy=tiled");
  teg_buffer* buffer = growing(1000, 2 * TILE);
  teg_buffer* fixed = core_buffer(&fx, session, 1000);
  CORE_EXPECT(&fx, TEG_INVALID, teg_buffer_resize(buffer, 0, &fx.err));
  CORE_EXPECT(&fx, TEG_INVALID,
              teg_buffer_resize(buffer, 2 * TILE + 1, &fx.err));
  CORE_EXPECT(&fx, TEG_INVALID, teg_buffer_resize(fixed, 10, &fx.err));
  assert_int_equal(core_info(buffer).size, 1000);
}

static void a_failed_resize_leaves_the_buffer_as_it_was(void** state) {
  (void)state;
  open_null("budget=1MiB", "policy=tiled;slack=0");
  teg_buffer* buffer = growing(4 * TILE, 64 * TILE);
  core_fill(&fx, stream, buffer, 0x01020304);
  CORE_EXPECT(&fx, TEG_OVER_BUDGET,
              teg_buffer_resize(buffer, 17 * TILE, &fx.err));
  assert_int_equal(core_info(buffer).size, 4 * TILE);
  core_validate(&fx, session);
  core_expect_pattern(&fx, stream, buffer, 0x01020304);
  CORE_OK(&fx, teg_buffer_resize(buffer, 16 * TILE, &fx.err));
}

// ---- Dedicated, remap off, limits

static void a_dedicated_buffer_is_an_object_of_its_own(void** state) {
  (void)state;
  open_null("", "policy=tiled;slack=0");
  teg_buffer* neighbour = core_buffer(&fx, session, TILE);
  teg_buffer_params params = TEG_BUFFER_PARAMS_INIT;
  params.size = 1000;
  params.flags = TEG_BUFFER_DEDICATED;
  teg_buffer* buffer = NULL;
  CORE_OK(&fx, teg_buffer_create(session, &params, &buffer, &fx.err));
  assert_int_equal(core_info(buffer).offset, 0);
  assert_ptr_not_equal(core_info(buffer).memory, core_info(neighbour).memory);
  assert_int_equal(core_info(buffer).flags, TEG_BUFFER_DEDICATED);
  assert_string_equal(core_info(buffer).policy, "disabled");
}

static void without_remap_requests_are_placed_within_heaps(void** state) {
  (void)state;
  open_null("remap=off", "policy=tiled;slack=0;page_min=1MiB");
  assert_string_equal(teg_session_policy(session, TEG_LIFETIME_RUN), "paged");
  teg_buffer* a = core_buffer(&fx, session, 1000);
  teg_buffer* b = core_buffer(&fx, session, 1000);
  assert_ptr_equal(core_info(a).memory, core_info(b).memory);
  assert_int_equal(core_device_stats(&fx).tiles_mapped_count, 0);
}

// Every second tile is taken away, which is one mapping more each time.
static void at_the_mapping_limit_nothing_is_lost(void** state) {
  (void)state;
  open_null("mapping_limit=20", "policy=tiled;slack=0");
  static teg_buffer* buffers[64];
  for (uint32_t i = 0; i < 64; ++i) buffers[i] = filled(TILE, i + 1);
  core_finish(&fx, stream);
  for (uint32_t i = 0; i < 64; i += 2) {
    teg_buffer_destroy(buffers[i]);
    buffers[i] = NULL;
  }
  teg_buffer* large[8];
  for (uint32_t i = 0; i < 8; ++i) {
    large[i] = filled(4 * TILE, 100 + i);
    core_validate(&fx, session);
  }
  for (uint32_t i = 1; i < 64; i += 2) {
    core_expect_pattern(&fx, stream, buffers[i], i + 1);
  }
  for (uint32_t i = 0; i < 8; ++i) {
    core_expect_pattern(&fx, stream, large[i], 100 + i);
    teg_buffer_destroy(large[i]);
  }
  core_finish(&fx, stream);
  (void)teg_session_trim(session, TEG_TRIM_ALL);
  core_validate(&fx, session);
}

// Each session's run of tiles starts at the low end of its range, so that
// taking a part of it away would be one mapping more.
static void at_the_mapping_limit_sessions_give_every_tile_back(void** state) {
  (void)state;
  open_null("mapping_limit=16", "policy=tiled;slack=0");
  teg_session* others[8];
  for (int i = 0; i < 8; ++i) {
    others[i] = core_session(&fx, "other", "policy=tiled;slack=0");
    (void)core_buffer(&fx, others[i], 200 * TILE);
  }
  for (int i = 0; i < 8; ++i) teg_session_destroy(others[i]);
  (void)teg_device_trim(fx.device, TEG_TRIM_ALL);
  assert_int_equal(core_device_stats(&fx).reserved_bytes, 0);
}

static void at_the_mapping_limit_growing_buffers_say_so(void** state) {
  (void)state;
  open_null("mapping_limit=16", "policy=tiled;slack=0");
  static teg_buffer* buffers[32];
  uint32_t count = 0;
  uint32_t grown = 0;
  // Tiles of many growing buffers are scattered over the heaps.
  for (; count < 32; ++count) buffers[count] = growing(TILE, 32 * TILE);
  for (int round = 0; round < 4; ++round) {
    for (uint32_t i = 0; i < count; ++i) {
      uint64_t size = core_info(buffers[i]).size;
      teg_result result = teg_buffer_resize(buffers[i], size + TILE, &fx.err);
      if (result == TEG_OK) {
        grown++;
        continue;
      }
      CORE_EXPECT(&fx, TEG_LIMIT, result);
      core_expect_text(fx.err.message, "limit");
      assert_int_equal(core_info(buffers[i]).size, size);
    }
    core_validate(&fx, session);
  }
  assert_true(grown > 0);
}

// ---- Giving back

static void a_trim_gives_every_idle_tile_back(void** state) {
  (void)state;
  open_null("", "policy=tiled;slack=0");
  teg_buffer* kept = filled(2 * TILE, 0x01020304);
  teg_buffer* idle = filled(4 * TILE, 1);
  core_finish(&fx, stream);
  teg_buffer* busy = filled(8 * TILE, 1);
  core_submit(&fx, stream);
  teg_buffer_destroy(idle);
  teg_buffer_destroy(busy);
  (void)teg_session_trim(session, TEG_TRIM_FREE);
  uint64_t after_idle = core_reserved(&fx);
  assert_true(after_idle >= 10 * TILE && after_idle <= 14 * TILE);
  (void)teg_session_trim(session, TEG_TRIM_ALL);
  assert_int_equal(core_reserved(&fx), 2 * TILE);
  core_expect_pattern(&fx, stream, kept, 0x01020304);
}

static void what_was_trimmed_comes_back_when_it_is_needed(void** state) {
  (void)state;
  open_null("", "policy=tiled;slack=0");
  for (int i = 0; i < 3; ++i) {
    teg_buffer* buffer = filled(4 * TILE, 7);
    core_expect_pattern(&fx, stream, buffer, 7);
    teg_buffer_destroy(buffer);
    assert_int_equal(teg_session_trim(session, TEG_TRIM_FREE), 4 * TILE);
    assert_int_equal(core_reserved(&fx), 0);
  }
}

static uint64_t chunk_count(void) {
  const tiled_policy* tiled =
      (const tiled_policy*)session->by_lifetime[TEG_LIFETIME_RUN];
  uint64_t count = 0;
  for (const tegi_chunk* chunk = tiled->first_chunk; chunk;
       chunk = chunk->next) {
    count++;
  }
  return count;
}

static void addresses_unused_for_so_many_runs_go(void** state) {
  (void)state;
  open_null("", "policy=tiled;slack=0;chunk=1MiB;age=3");
  teg_buffer* a = filled(16 * TILE, 1);
  teg_buffer* b = filled(16 * TILE, 1);
  core_finish(&fx, stream);
  assert_int_equal(chunk_count(), 2);
  teg_buffer_destroy(b);
  // Its tiles are taken, its addresses remain for a while.
  teg_buffer* weights =
      core_buffer_of(&fx, session, 16 * TILE, TEG_LIFETIME_STATIC);
  assert_int_equal(chunk_count(), 2);
  for (int i = 0; i < 4; ++i) {
    run_begin();
    run_end();
  }
  assert_int_equal(chunk_count(), 1);
  assert_int_equal(core_info(a).size + core_info(weights).size, 32 * TILE);
}

static void heaps_that_are_wholly_free_for_so_many_runs_go(void** state) {
  (void)state;
  open_null("", "policy=tiled;slack=0;age=3");
  teg_buffer* buffer = growing(8 * TILE, 8 * TILE);
  core_finish(&fx, stream);
  CORE_OK(&fx, teg_buffer_resize(buffer, TILE, &fx.err));
  // The heap of eight keeps one tile; the other seven cannot go.
  teg_buffer_destroy(buffer);
  (void)core_session(&fx, "other", "policy=simple");
  for (int i = 0; i < 20; ++i) {
    run_begin();
    run_end();
  }
  assert_int_equal(core_reserved(&fx), 8 * TILE);
  (void)teg_session_trim(session, TEG_TRIM_FREE);
  assert_int_equal(core_reserved(&fx), 0);
}

#define TEST(function) cmocka_unit_test_teardown(function, end)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(the_worked_example_holds_400_mib),
      TEST(scattered_holes_serve_larger_requests),
      TEST(neighbours_share_the_tile_at_their_border),
      TEST(small_requests_have_an_arena_of_their_own),
      TEST(weights_share_border_tiles_whatever_their_size),
      TEST(no_more_than_the_slack_is_held),
      TEST(free_tiles_of_the_device_come_first),
      TEST(growth_within_the_slack_precedes_holes),
      TEST(idle_holes_give_their_tiles_without_waiting),
      TEST(busy_holes_are_waited_for),
      TEST(the_streams_own_batch_is_submitted_first),
      TEST(idle_holes_are_robbed_before_busy_ones_are_waited_for),
      TEST(on_busy_grow_takes_more_memory_instead),
      TEST(what_another_stream_has_recorded_is_left_alone),
      TEST(many_busy_holes_do_not_hide_new_addresses),
      TEST(mapped_bytes_are_left_alone),
      TEST(idle_holes_are_robbed_under_on_busy_grow_as_well),
      TEST(the_longest_hole_is_robbed_first),
      TEST(other_policies_of_the_session_lend_their_holes),
      TEST(idle_sessions_lend_their_holes),
      TEST(sessions_inside_of_a_run_lend_nothing),
      TEST(a_repeating_workload_comes_to_remap_nothing),
      TEST(a_growing_buffer_keeps_its_address_and_content),
      TEST(a_shrinking_buffer_gives_its_tiles_back),
      TEST(no_neighbour_lives_in_a_growing_buffers_last_tile),
      TEST(sizes_of_a_growing_buffer_are_checked),
      TEST(a_failed_resize_leaves_the_buffer_as_it_was),
      TEST(a_dedicated_buffer_is_an_object_of_its_own),
      TEST(without_remap_requests_are_placed_within_heaps),
      TEST(at_the_mapping_limit_nothing_is_lost),
      TEST(at_the_mapping_limit_sessions_give_every_tile_back),
      TEST(at_the_mapping_limit_growing_buffers_say_so),
      TEST(a_trim_gives_every_idle_tile_back),
      TEST(what_was_trimmed_comes_back_when_it_is_needed),
      TEST(addresses_unused_for_so_many_runs_go),
      TEST(heaps_that_are_wholly_free_for_so_many_runs_go),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
