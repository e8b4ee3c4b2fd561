// SPDX-License-Identifier: Apache-2.0
//
// What the dynamic policy learns from runs: the partition of sizes into
// classes against brute force, series of growing sizes, and when classes stay.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policy/dynamic_learn.h"

enum { MOST = 2048 };

static tegi_host host;

static uint32_t next_random(uint32_t* seed) {
  *seed = *seed * 1664525u + 1013904223u;
  return *seed >> 8;
}

// ---- Partition

typedef struct table {
  tegi_usage usage;
  uint64_t sizes[MOST];
  uint32_t sums[MOST + 1][TEGI_LEARN_RUNS];
} table;

static void point_at_itself(table* t) {
  t->usage.sizes = t->sizes;
  t->usage.sums = t->sums;
}

// Peaks of 0 to 4 buffers, about half of them 0.
static void fill_randomly(table* t, uint32_t sizes, uint32_t runs,
                          uint32_t* seed) {
  memset(t, 0, sizeof *t);
  point_at_itself(t);
  t->usage.size_count = sizes;
  t->usage.run_count = runs;
  uint64_t size = 0;
  for (uint32_t i = 0; i < sizes; ++i) {
    size += 256 * (1 + next_random(seed) % 40);
    t->sizes[i] = size;
    for (uint32_t r = 0; r < runs; ++r) {
      uint32_t peak = next_random(seed) % 2 ? next_random(seed) % 5 : 0;
      t->sums[i + 1][r] = t->sums[i][r] + peak;
    }
  }
}

// The least bytes over every way to cut, and the fewest classes with it.
static double cut_by_force(const tegi_usage* usage, uint32_t most_classes,
                           uint32_t* out_classes) {
  double best = -1;
  uint32_t cuts = usage->size_count - 1;
  for (uint32_t mask = 0; mask < 1u << cuts; ++mask) {
    double bytes = 0;
    uint32_t classes = 0;
    uint32_t first = 0;
    for (uint32_t i = 0; i <= cuts; ++i) {
      if (i < cuts && !(mask >> i & 1)) continue;
      bytes += (double)usage->sizes[i] * tegi_usage_peak(usage, first, i + 1);
      first = i + 1;
      classes++;
    }
    if (classes > most_classes) continue;
    bool is_fewer = bytes == best && classes < *out_classes;
    if (best < 0 || bytes < best || is_fewer) {
      best = bytes;
      *out_classes = classes;
    }
  }
  return best;
}

static void partition_is_as_cheap_as_brute_force(void** state) {
  uint32_t seed = 1;
  static table t;
  for (int round = 0; round < 2000; ++round) {
    uint32_t sizes = 1 + next_random(&seed) % 10;
    uint32_t runs = 1 + next_random(&seed) % 4;
    uint32_t classes = 1 + next_random(&seed) % 6;
    fill_randomly(&t, sizes, runs, &seed);
    uint64_t bounds[16];
    uint32_t count = 0;
    double bytes = 0;
    assert_true(
        tegi_usage_partition(&host, &t.usage, classes, bounds, &count, &bytes));
    uint32_t fewest = 0;
    assert_true(bytes == cut_by_force(&t.usage, classes, &fewest));
    assert_int_equal(count, fewest);
    for (uint32_t i = 1; i < count; ++i) assert_true(bounds[i - 1] < bounds[i]);
    double again = 0;
    assert_true(tegi_usage_cost(&t.usage, bounds, count, &again));
    assert_true(again == bytes);
  }
}

static void sizes_of_different_runs_share_a_class(void** state) {
  static table t;
  memset(&t, 0, sizeof t);
  point_at_itself(&t);
  t.usage.size_count = 2;
  t.usage.run_count = 2;
  t.sizes[0] = 900 * 256;
  t.sizes[1] = 1000 * 256;
  t.sums[1][0] = t.sums[2][0] = 1;  // run 0 uses the smaller only,
  t.sums[2][1] = 1;                 // run 1 the larger only
  uint64_t bounds[2];
  uint32_t count = 0;
  double bytes = 0;
  assert_true(tegi_usage_partition(&host, &t.usage, 2, bounds, &count, &bytes));
  assert_int_equal(count, 1);
  assert_true(bounds[0] == t.sizes[1]);
  assert_true(bytes == 1000.0 * 256);
}

static void cost_tells_when_a_size_has_no_class(void** state) {
  static table t;
  uint32_t seed = 7;
  fill_randomly(&t, 5, 2, &seed);
  double bytes = 0;
  assert_true(tegi_usage_cost(&t.usage, &t.sizes[4], 1, &bytes));
  assert_false(tegi_usage_cost(&t.usage, &t.sizes[3], 1, &bytes));
  assert_false(tegi_usage_cost(&t.usage, NULL, 0, &bytes));
}

static void merge_keeps_the_largest_size_and_every_peak(void** state) {
  static table t;
  static double costs[2 * MOST];
  uint32_t seed = 3;
  fill_randomly(&t, MOST, TEGI_LEARN_RUNS, &seed);
  uint64_t largest = t.sizes[MOST - 1];
  uint32_t totals[TEGI_LEARN_RUNS];
  memcpy(totals, t.sums[MOST], sizeof totals);
  for (uint32_t i = 0; i < MOST; ++i) {
    for (uint32_t r = 0; r < TEGI_LEARN_RUNS; ++r) {
      t.sums[i][r] = t.sums[i + 1][r] - t.sums[i][r];  // rows of their own
    }
  }
  tegi_usage_merge(&t.usage, TEGI_LEARN_MOST_SIZES, costs);
  assert_int_equal(t.usage.size_count, TEGI_LEARN_MOST_SIZES);
  assert_true(t.sizes[TEGI_LEARN_MOST_SIZES - 1] == largest);
  uint32_t again[TEGI_LEARN_RUNS] = {0};
  for (uint32_t i = 0; i < TEGI_LEARN_MOST_SIZES; ++i) {
    if (i > 0) assert_true(t.sizes[i - 1] < t.sizes[i]);
    for (uint32_t r = 0; r < TEGI_LEARN_RUNS; ++r) again[r] += t.sums[i][r];
  }
  assert_memory_equal(again, totals, sizeof totals);
}

// ---- Series

static void add(tegi_learner* learner, const tegi_size_use* uses,
                uint32_t count) {
  tegi_size_use copy[64];
  if (count > 0) memcpy(copy, uses, count * sizeof *uses);
  tegi_learner_add_run(learner, copy, count);
}

// A run with one size that stays and one that may grow.
static void add_cache_run(tegi_learner* learner, uint64_t size) {
  tegi_size_use uses[] = {{size, 3, 3}, {1024, 10, 2}};
  add(learner, uses, 2);
}

static uint64_t bound_of_run(tegi_learner* learner) {
  uint64_t old;
  uint64_t bound = 0;
  uint64_t more;
  if (tegi_learner_next_bound(learner, &old, &bound)) {
    assert_false(tegi_learner_next_bound(learner, &old, &more));
  }
  return bound;
}

static void growth_is_seen_at_the_second_equal_step(void** state) {
  tegi_learner learner;
  tegi_learner_init(&learner, &host, 256);
  uint64_t step = 256;
  add_cache_run(&learner, 65536);
  assert_true(bound_of_run(&learner) == 0);
  add_cache_run(&learner, 65536 + step);
  assert_true(bound_of_run(&learner) == 0);
  add_cache_run(&learner, 65536 + 2 * step);
  uint64_t bound = bound_of_run(&learner);
  // A 16th ahead, in whole steps.
  uint64_t size = 65536 + 2 * step;
  assert_true(bound == size + size / 16 / step * step);
  // No new bound until the next size would pass this one.
  while (size + step <= bound) {
    add_cache_run(&learner, size);
    assert_true(bound_of_run(&learner) == 0);
    size += step;
  }
  add_cache_run(&learner, size);
  assert_true(bound_of_run(&learner) > bound);
  tegi_learner_deinit(&learner);
}

static void horizon_limits_how_far_ahead_a_class_is(void** state) {
  for (uint32_t horizon = 0; horizon <= 5; ++horizon) {
    tegi_learner learner;
    tegi_learner_init(&learner, &host, horizon);
    for (uint64_t i = 0; i < 2; ++i) {
      add_cache_run(&learner, 1048576 + 256 * i);
      assert_true(bound_of_run(&learner) == 0);
    }
    add_cache_run(&learner, 1048576 + 256 * 2);
    uint64_t expected = horizon ? 1048576 + 256 * (2 + horizon) : 0;
    assert_true(bound_of_run(&learner) == expected);
    tegi_learner_deinit(&learner);
  }
}

static void what_is_not_growth_makes_no_series(void** state) {
  static const uint64_t runs[][5] = {
      {65536, 66048, 66304, 67072, 67328},   // steps that differ
      {65536, 65280, 65024, 64768, 64512},   // it shrinks
      {65536, 81920, 98304, 114688, 131072}  // steps too large
  };
  for (size_t i = 0; i < sizeof runs / sizeof runs[0]; ++i) {
    tegi_learner learner;
    tegi_learner_init(&learner, &host, 256);
    for (int run = 0; run < 5; ++run) {
      add_cache_run(&learner, runs[i][run]);
      assert_true(bound_of_run(&learner) == 0);
    }
    tegi_learner_deinit(&learner);
  }
}

static void series_is_forgotten_when_it_does_not_go_on(void** state) {
  tegi_learner learner;
  tegi_learner_init(&learner, &host, 256);
  for (uint64_t i = 0; i < 4; ++i) add_cache_run(&learner, 65536 + 256 * i);
  assert_int_equal(learner.series_count, 1);
  for (int i = 0; i < 4; ++i) {
    add_cache_run(&learner, 4096);
    assert_int_equal(learner.series_count, 1);
  }
  add_cache_run(&learner, 4096);
  assert_int_equal(learner.series_count, 0);
  tegi_learner_deinit(&learner);
}

static void series_of_several_sizes_are_followed_at_once(void** state) {
  tegi_learner learner;
  tegi_learner_init(&learner, &host, 256);
  for (uint64_t i = 0; i < 3; ++i) {
    tegi_size_use uses[] = {{65536 + 256 * i, 2, 2},
                            {131072 + 512 * i, 4, 4},
                            {1048576 + 1024 * i, 2, 1}};
    add(&learner, uses, 3);
  }
  uint64_t old;
  uint64_t bound;
  int count = 0;
  while (tegi_learner_next_bound(&learner, &old, &bound)) {
    assert_true(old == 0);
    count++;
  }
  assert_int_equal(count, 3);
  tegi_learner_deinit(&learner);
}

static void no_more_series_than_there_is_room_for(void** state) {
  tegi_learner learner;
  tegi_learner_init(&learner, &host, 256);
  for (uint64_t run = 0; run < 6; ++run) {
    static tegi_size_use uses[200];
    for (uint32_t i = 0; i < 200; ++i) {
      uses[i] =
          (tegi_size_use){UINT64_C(65536) * (i + 1) + 256 * run, i + 1, 1};
    }
    tegi_learner_add_run(&learner, uses, 200);
    assert_true(learner.series_count <= TEGI_LEARN_SERIES);
  }
  assert_int_equal(learner.series_count, TEGI_LEARN_SERIES);
  tegi_learner_deinit(&learner);
}

// ---- Lessons

static void add_repeated(tegi_learner* learner, uint64_t size, int runs) {
  for (int i = 0; i < runs; ++i) {
    tegi_size_use uses[] = {{size, 4, 4}, {1048576, 2, 2}};
    add(learner, uses, 2);
  }
}

static void runs_like_those_remembered_teach_nothing_new(void** state) {
  tegi_learner learner;
  tegi_learner_init(&learner, &host, 256);
  assert_false(learner.is_dirty);
  add_repeated(&learner, 65536, 1);
  assert_true(learner.is_dirty);
  tegi_lesson lesson;
  assert_true(tegi_learner_learn(&learner, 32, NULL, 0, &lesson));
  assert_false(learner.is_dirty);
  add_repeated(&learner, 65536, 20);
  assert_false(learner.is_dirty);
  add_repeated(&learner, 131072, 1);
  assert_true(learner.is_dirty);
  tegi_learner_deinit(&learner);
}

static void lesson_has_the_sizes_and_what_each_needs(void** state) {
  tegi_learner learner;
  tegi_learner_init(&learner, &host, 256);
  add_repeated(&learner, 65536, 2);
  tegi_lesson lesson;
  assert_true(tegi_learner_learn(&learner, 32, NULL, 0, &lesson));
  assert_int_equal(lesson.count, 2);
  assert_true(lesson.bounds[0] == 65536 && lesson.bounds[1] == 1048576);
  assert_int_equal(lesson.peaks[0], 4);
  assert_int_equal(lesson.peaks[1], 2);
  tegi_learner_deinit(&learner);
}

static void classes_stay_unless_others_are_much_cheaper(void** state) {
  tegi_learner learner;
  tegi_learner_init(&learner, &host, 256);
  add_repeated(&learner, 983040, 2);
  tegi_lesson lesson;
  // One class for both: 6 x 1048576. Two: 4 x 983040 less, under 10 %.
  uint64_t one[] = {1048576};
  assert_false(tegi_learner_learn(&learner, 32, one, 1, &lesson));
  // Twice too large is another matter,
  uint64_t large[] = {2097152};
  assert_true(tegi_learner_learn(&learner, 32, large, 1, &lesson));
  // and so is a size without a class, or too many classes.
  uint64_t small[] = {983040};
  assert_true(tegi_learner_learn(&learner, 32, small, 1, &lesson));
  uint64_t three[] = {65536, 983040, 1048576};
  assert_false(tegi_learner_learn(&learner, 3, three, 3, &lesson));
  assert_true(tegi_learner_learn(&learner, 2, three, 3, &lesson));
  assert_int_equal(lesson.count, 2);
  tegi_learner_deinit(&learner);
}

static void old_runs_are_forgotten(void** state) {
  tegi_learner learner;
  tegi_learner_init(&learner, &host, 256);
  add_repeated(&learner, 524288, 3);
  add_repeated(&learner, 65536, TEGI_LEARN_RUNS);
  tegi_lesson lesson;
  assert_true(tegi_learner_learn(&learner, 32, NULL, 0, &lesson));
  assert_int_equal(lesson.count, 2);
  assert_true(lesson.bounds[0] == 65536);
  tegi_learner_deinit(&learner);
}

static void growing_sizes_get_one_class_however_many_there_were(void** state) {
  tegi_learner learner;
  tegi_learner_init(&learner, &host, 256);
  uint64_t bound = 0;
  for (uint64_t i = 0; i < 8; ++i) {
    add_cache_run(&learner, 1048576 + 4096 * i);
    uint64_t next = bound_of_run(&learner);
    if (next) bound = next;
  }
  tegi_lesson lesson;
  assert_true(tegi_learner_learn(&learner, 2, NULL, 0, &lesson));
  assert_int_equal(lesson.count, 2);
  assert_true(lesson.bounds[0] == 1024);
  assert_true(lesson.bounds[1] == bound && bound > 1048576 + 4096 * 7);
  tegi_learner_deinit(&learner);
}

static void thousands_of_sizes_are_merged_before_they_are_learned(
    void** state) {
  tegi_learner learner;
  tegi_learner_init(&learner, &host, 256);
  uint32_t seed = 11;
  static tegi_size_use uses[MOST];
  uint64_t largest = 0;
  for (int run = 0; run < TEGI_LEARN_RUNS; ++run) {
    for (uint32_t i = 0; i < MOST; ++i) {
      uint64_t size = UINT64_C(256) * (1 + i * 16 + next_random(&seed) % 16);
      uses[i] = (tegi_size_use){size, 1 + next_random(&seed) % 8, 1};
      if (size > largest) largest = size;
    }
    tegi_learner_add_run(&learner, uses, MOST);
  }
  tegi_lesson lesson;
  assert_true(tegi_learner_learn(&learner, 256, NULL, 0, &lesson));
  assert_true(lesson.count <= TEGI_LEARN_BOUNDS);
  uint64_t last = lesson.bounds[lesson.count - 1];
  assert_true(last >= largest);
  tegi_learner_deinit(&learner);
}

static void empty_runs_and_no_runs_teach_nothing(void** state) {
  tegi_learner learner;
  tegi_learner_init(&learner, &host, 256);
  tegi_lesson lesson;
  assert_false(tegi_learner_learn(&learner, 32, NULL, 0, &lesson));
  for (int i = 0; i < 20; ++i) tegi_learner_add_run(&learner, NULL, 0);
  assert_false(tegi_learner_learn(&learner, 32, NULL, 0, &lesson));
  assert_true(bound_of_run(&learner) == 0);
  tegi_learner_deinit(&learner);
}

// ---- Host memory

static uint32_t calls_left;

static void* allocate_some(void* user, size_t size, size_t alignment) {
  if (calls_left == 0) return NULL;
  calls_left--;
  return malloc(size);
}

static void release(void* user, void* ptr, size_t size) { free(ptr); }

static void without_host_memory_nothing_is_learned_and_nothing_lost(
    void** state) {
  tegi_host poor;
  teg_allocator allocator = {allocate_some, release, NULL};
  assert_int_equal(tegi_host_init(&poor, &allocator, NULL), TEG_OK);
  for (uint32_t k = 0; k < 12; ++k) {
    tegi_learner learner;
    tegi_learner_init(&learner, &poor, 256);
    calls_left = k;
    add_repeated(&learner, 65536, 3);
    tegi_lesson lesson;
    bool is_learned = tegi_learner_learn(&learner, 32, NULL, 0, &lesson);
    // Three runs, three tables, two of the partition.
    assert_int_equal(is_learned, k >= 8);
    calls_left = UINT32_MAX;
    add_repeated(&learner, 65536, 3);
    assert_true(tegi_learner_learn(&learner, 32, NULL, 0, &lesson));
    assert_int_equal(lesson.count, 2);
    tegi_learner_deinit(&learner);
    assert_true(atomic_load(&poor.live_bytes) == 0);
  }
}

static int begin(void** state) { return tegi_host_init(&host, NULL, NULL); }

static int end(void** state) {
  assert_true(atomic_load(&host.live_bytes) == 0);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(partition_is_as_cheap_as_brute_force),
      cmocka_unit_test(sizes_of_different_runs_share_a_class),
      cmocka_unit_test(cost_tells_when_a_size_has_no_class),
      cmocka_unit_test(merge_keeps_the_largest_size_and_every_peak),
      cmocka_unit_test(growth_is_seen_at_the_second_equal_step),
      cmocka_unit_test(horizon_limits_how_far_ahead_a_class_is),
      cmocka_unit_test(what_is_not_growth_makes_no_series),
      cmocka_unit_test(series_is_forgotten_when_it_does_not_go_on),
      cmocka_unit_test(series_of_several_sizes_are_followed_at_once),
      cmocka_unit_test(no_more_series_than_there_is_room_for),
      cmocka_unit_test(runs_like_those_remembered_teach_nothing_new),
      cmocka_unit_test(lesson_has_the_sizes_and_what_each_needs),
      cmocka_unit_test(classes_stay_unless_others_are_much_cheaper),
      cmocka_unit_test(old_runs_are_forgotten),
      cmocka_unit_test(growing_sizes_get_one_class_however_many_there_were),
      cmocka_unit_test(thousands_of_sizes_are_merged_before_they_are_learned),
      cmocka_unit_test(empty_runs_and_no_runs_teach_nothing),
      cmocka_unit_test(without_host_memory_nothing_is_learned_and_nothing_lost),
  };
  return cmocka_run_group_tests(tests, begin, end);
}
