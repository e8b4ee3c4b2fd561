// SPDX-License-Identifier: Apache-2.0
//
// The pieces of the replay engine that need no device: slots for ids, blocks
// of time, samples that are thinned out, scaled sizes.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "trace/replay_ids.h"
#include "trace/replay_parts.h"

static tegi_host default_host(void) {
  tegi_host host;
  assert_int_equal(tegi_host_init(&host, NULL, NULL), TEG_OK);
  return host;
}

// ---- Ids ----------------------------------------------------------------

static void ids_reuse_the_slot_freed_last(void** state) {
  tegi_host host = default_host();
  tegi_replay_ids ids;
  tegi_replay_ids_init(&ids, &host);
  uint32_t slot;
  for (uint64_t id = 1; id <= 3; ++id) {
    assert_true(tegi_replay_ids_add(&ids, id, id, &slot));
    assert_int_equal(slot, id - 1);
  }
  tegi_replay_id removed;
  assert_true(tegi_replay_ids_remove(&ids, 2, 0, &removed));
  assert_int_equal(removed.slot, 1);
  assert_int_equal(removed.event_index, 2);
  assert_false(tegi_replay_ids_remove(&ids, 2, 0, &removed));
  assert_true(tegi_replay_ids_add(&ids, 9, 9, &slot));
  assert_int_equal(slot, 1);
  assert_int_equal(ids.slot_count, 3);
  tegi_replay_ids_deinit(&ids);
  assert_int_equal(host.live_bytes, 0);
}

static void ids_keep_the_slots_of_weights(void** state) {
  tegi_host host = default_host();
  tegi_replay_ids ids;
  tegi_replay_ids_init(&ids, &host);
  uint32_t slot;
  tegi_replay_id removed;
  assert_true(tegi_replay_ids_add(&ids, 1, 0, &slot));
  assert_true(tegi_replay_ids_remove(&ids, 1, 5, &removed));
  assert_true(tegi_replay_ids_add(&ids, 2, 6, &slot));
  assert_int_equal(slot, 1);
  tegi_replay_ids_deinit(&ids);
}

static uint32_t next_random(uint32_t* random) {
  *random = *random * 1664525u + 1013904223u;
  return *random >> 8;
}

// Against a plain array of who has which slot.
static void ids_match_a_plain_array(void** state) {
  enum { COUNT = 4000, STEPS = 60000 };
  static uint32_t slot_of[STEPS + 1];
  static uint64_t live[COUNT];
  tegi_host host = default_host();
  tegi_replay_ids ids;
  tegi_replay_ids_init(&ids, &host);
  uint32_t random = 7;
  size_t live_count = 0;
  uint64_t next_id = 1;
  for (int step = 0; step < STEPS; ++step) {
    bool adds =
        live_count == 0 || (live_count < COUNT && next_random(&random) % 5 < 3);
    if (adds) {
      assert_true(
          tegi_replay_ids_add(&ids, next_id, next_id, &slot_of[next_id]));
      live[live_count++] = next_id++;
    } else {
      size_t at = next_random(&random) % live_count;
      tegi_replay_id removed;
      assert_true(tegi_replay_ids_remove(&ids, live[at], 0, &removed));
      assert_int_equal(removed.slot, slot_of[live[at]]);
      live[at] = live[--live_count];
    }
  }
  assert_int_equal(ids.live_count, live_count);
  tegi_replay_ids_deinit(&ids);
  assert_int_equal(host.live_bytes, 0);
}

// ---- Timer --------------------------------------------------------------

static void timer_leaves_driver_and_waits_out(void** state) {
  tegi_host host = default_host();
  tegi_replay_timer timer;
  tegi_replay_timer_init(&timer, &host);
  teg_stats stats = {.driver_ns = 1000, .wait_ns = 500};
  tegi_replay_timer_restart(&timer, &stats);
  timer.block_ns = 10000;
  stats.driver_ns += 3000;
  stats.wait_ns += 1000;
  assert_true(tegi_replay_timer_end_block(&timer, 100, &stats));
  assert_float_equal(timer.blocks[0], 60, 0.001);
  // Nothing is below 0, whatever the clocks say.
  timer.block_ns = 10;
  stats.driver_ns += 3000;
  assert_true(tegi_replay_timer_end_block(&timer, 100, &stats));
  assert_float_equal(timer.blocks[1], 0, 0.001);
  tegi_replay_timer_deinit(&timer);
  assert_int_equal(host.live_bytes, 0);
}

static void timer_gives_medians_of_all_and_of_late_blocks(void** state) {
  tegi_host host = default_host();
  tegi_replay_timer timer;
  tegi_replay_timer_init(&timer, &host);
  teg_stats stats = {0};
  for (int i = 1; i <= 100; ++i) {
    if (i == 51) tegi_replay_timer_mark_late(&timer);
    if (i == 70) tegi_replay_timer_mark_late(&timer);  // the first one counts
    timer.block_ns = (uint64_t)i * 10;
    assert_true(tegi_replay_timer_end_block(&timer, 10, &stats));
  }
  teg_replay_result result = {0};
  tegi_replay_timer_finish(&timer, &result);
  assert_float_equal(result.ns_per_op_median, 50, 0.001);
  assert_float_equal(result.ns_per_op_p99, 99, 0.001);
  assert_float_equal(result.ns_per_op_late_median, 75, 0.001);
  tegi_replay_timer_deinit(&timer);
}

// ---- Timeline -----------------------------------------------------------

static teg_stats bytes(uint64_t live, uint64_t peak_live, uint64_t reserved,
                       uint64_t peak_reserved) {
  return (teg_stats){.live_bytes = live,
                     .peak_live_bytes = peak_live,
                     .mapped_bytes = reserved,
                     .reserved_bytes = reserved,
                     .peak_reserved_bytes = peak_reserved};
}

static void timeline_puts_peaks_in_the_middle(void** state) {
  tegi_host host = default_host();
  tegi_replay_timeline timeline;
  tegi_replay_timeline_init(&timeline, &host);
  teg_stats first = bytes(10, 10, 20, 20);
  teg_stats second = bytes(12, 50, 20, 60);
  teg_stats third = bytes(14, 14, 20, 20);
  assert_true(tegi_replay_timeline_add(&timeline, 100, &first));
  assert_true(tegi_replay_timeline_add(&timeline, 200, &second));
  assert_true(tegi_replay_timeline_add(&timeline, 300, &third));
  assert_int_equal(timeline.sample_count, 4);
  assert_int_equal(timeline.samples[1].time_ns, 150);
  assert_int_equal(timeline.samples[1].live_bytes, 50);
  assert_int_equal(timeline.samples[1].reserved_bytes, 60);
  assert_int_equal(timeline.peak_live_bytes, 50);
  assert_int_equal(timeline.peak_reserved_bytes, 60);
  tegi_replay_timeline_deinit(&timeline);
  assert_int_equal(host.live_bytes, 0);
}

static void timeline_averages_over_time(void** state) {
  tegi_host host = default_host();
  tegi_replay_timeline timeline;
  tegi_replay_timeline_init(&timeline, &host);
  assert_int_equal(tegi_replay_timeline_average(&timeline), 0);
  teg_stats low = bytes(0, 0, 100, 100);
  teg_stats high = bytes(0, 0, 300, 300);
  assert_true(tegi_replay_timeline_add(&timeline, 0, &low));
  assert_int_equal(tegi_replay_timeline_average(&timeline), 100);
  assert_true(tegi_replay_timeline_add(&timeline, 900, &low));
  assert_true(tegi_replay_timeline_add(&timeline, 900, &high));
  assert_true(tegi_replay_timeline_add(&timeline, 1000, &high));
  assert_int_equal(tegi_replay_timeline_average(&timeline), 120);
  tegi_replay_timeline_deinit(&timeline);
}

static void thinning_keeps_lowest_and_highest(void** state) {
  enum { COUNT = 50000, CAPACITY = 2000 };
  teg_replay_sample* samples = calloc(COUNT, sizeof *samples);
  teg_replay_sample kept[CAPACITY];
  uint32_t random = 3;
  for (uint64_t i = 0; i < COUNT; ++i) {
    samples[i] = (teg_replay_sample){
        .time_ns = i * 10,
        .live_bytes = 1000 + next_random(&random) % 1000,
        .mapped_bytes = 5000 + next_random(&random) % 1000,
        .reserved_bytes = 9000 + next_random(&random) % 1000};
  }
  samples[31234].live_bytes = 7;
  samples[31235].live_bytes = 100000;
  samples[41234].mapped_bytes = 8;
  samples[21234].reserved_bytes = 200000;
  size_t count = tegi_replay_thin_out(samples, COUNT, CAPACITY, kept);
  assert_in_range(count, CAPACITY / 2, CAPACITY);
  int found = 0;
  for (size_t i = 0; i < count; ++i) {
    found += kept[i].live_bytes == 7;
    found += kept[i].live_bytes == 100000;
    found += kept[i].mapped_bytes == 8;
    found += kept[i].reserved_bytes == 200000;
    if (i > 0) assert_true(kept[i].time_ns > kept[i - 1].time_ns);
  }
  assert_int_equal(found, 4);
  assert_memory_equal(&kept[0], &samples[0], sizeof kept[0]);
  assert_memory_equal(&kept[count - 1], &samples[COUNT - 1], sizeof kept[0]);
  free(samples);
}

static void thinning_takes_all_that_fit(void** state) {
  teg_replay_sample samples[20] = {{0}};
  teg_replay_sample kept[20];
  for (uint64_t i = 0; i < 20; ++i) samples[i].time_ns = i;
  assert_int_equal(tegi_replay_thin_out(samples, 20, 20, kept), 20);
  assert_memory_equal(kept, samples, sizeof samples);
  assert_int_equal(tegi_replay_thin_out(samples, 0, 20, kept), 0);
}

// All at one moment: there is but one stretch.
static void thinning_survives_a_standing_clock(void** state) {
  teg_replay_sample samples[100] = {{0}};
  teg_replay_sample kept[12];
  for (uint64_t i = 0; i < 100; ++i) samples[i].live_bytes = i;
  size_t count = tegi_replay_thin_out(samples, 100, 12, kept);
  assert_in_range(count, 2, 12);
  assert_int_equal(kept[count - 1].live_bytes, 99);
}

// ---- Sizes --------------------------------------------------------------

static void scaled_sizes_are_rounded_up(void** state) {
  assert_int_equal(tegi_replay_scaled_size(1, 0.01), 256);
  assert_int_equal(tegi_replay_scaled_size(25600, 0.01), 256);
  assert_int_equal(tegi_replay_scaled_size(25601, 0.01), 512);
  assert_int_equal(tegi_replay_scaled_size(512, 0.5), 256);
  assert_int_equal(tegi_replay_scaled_size(UINT64_C(1) << 62, 0.25), UINT64_C(1)
                                                                         << 60);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(ids_reuse_the_slot_freed_last),
      cmocka_unit_test(ids_keep_the_slots_of_weights),
      cmocka_unit_test(ids_match_a_plain_array),
      cmocka_unit_test(timer_leaves_driver_and_waits_out),
      cmocka_unit_test(timer_gives_medians_of_all_and_of_late_blocks),
      cmocka_unit_test(timeline_puts_peaks_in_the_middle),
      cmocka_unit_test(timeline_averages_over_time),
      cmocka_unit_test(thinning_keeps_lowest_and_highest),
      cmocka_unit_test(thinning_takes_all_that_fit),
      cmocka_unit_test(thinning_survives_a_standing_clock),
      cmocka_unit_test(scaled_sizes_are_rounded_up),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
