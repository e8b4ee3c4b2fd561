// SPDX-License-Identifier: Apache-2.0
//
// Time of one operation against the number of live buffers: does it stay flat?
// N buffers live; a random one is destroyed and one of a random size (256 B to
// 256 KiB, logarithms even) is created, over and over. An operation is one
// create or one destroy. The subjects take turns round by round; blocks of 256
// operations are timed, driver and waits taken off; the figure is the median
// over the rounds of the median over a round's blocks. A run ends every eighth
// block; what that costs shows in the mean.
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/measure.h"
#include "support/subject.h"
#include "tegula/buffer.h"

enum { SIZE_COUNT = 1 << 10, RUN_BLOCKS = 8, MOST_LIVE_COUNTS = 16 };

typedef struct test_bed {
  bench_subject* subject;
  void** live;
  uint32_t live_count;
  bench_random random;
  bench_values medians;  // one a round
  bench_values means;
  bool is_full;  // a request failed: out of the race
} test_bed;

typedef struct curve_plan {
  subject_names names;
  uint32_t live_counts[MOST_LIVE_COUNTS];
  uint32_t live_count_count;
  uint32_t rounds;
  uint32_t blocks;
  uint64_t* sizes;
} curve_plan;

static void* take(const curve_plan* plan, test_bed* bed) {
  uint32_t index = bench_below(&bed->random, SIZE_COUNT);
  return bed->subject->ops->take(bed->subject, plan->sizes[index],
                                 TEG_LIFETIME_RUN);
}

// One block. What is replaced is random, and so is what it is replaced by.
static void replace(const curve_plan* plan, test_bed* bed) {
  const bench_subject_ops* ops = bed->subject->ops;
  for (uint32_t i = 0; i < BENCH_BLOCK_OPERATIONS / 2 && !bed->is_full; ++i) {
    uint32_t slot = bench_below(&bed->random, bed->live_count);
    ops->give(bed->subject, bed->live[slot]);
    bed->live[slot] = take(plan, bed);
    bed->is_full = !bed->live[slot];
    if (i % (BENCH_BATCH_REQUESTS / 2) == BENCH_BATCH_REQUESTS / 2 - 1) {
      ops->submit(bed->subject);
    }
  }
}

static void fill(const curve_plan* plan, test_bed* bed, uint32_t live_count) {
  const bench_subject_ops* ops = bed->subject->ops;
  ops->run_begin(bed->subject);
  for (uint32_t i = 0; i < live_count && !bed->is_full; ++i) {
    bed->live[i] = take(plan, bed);
    bed->is_full = !bed->live[i];
    if (!bed->is_full) bed->live_count++;
    if (i % BENCH_BATCH_REQUESTS == 0) ops->submit(bed->subject);
  }
  ops->submit(bed->subject);
  ops->run_end(bed->subject);
}

// Replaces |block_count| blocks, a run for every few; |values| NULL: untimed.
static void play(const curve_plan* plan, test_bed* bed, uint32_t block_count,
                 bench_values* values) {
  const bench_subject_ops* ops = bed->subject->ops;
  for (uint32_t i = 0; i < block_count && !bed->is_full; ++i) {
    uint64_t outside = values ? ops->outside_ns(bed->subject) : 0;
    uint64_t start = bench_now_ns();
    if (i % RUN_BLOCKS == 0) ops->run_begin(bed->subject);
    replace(plan, bed);
    if (i % RUN_BLOCKS == RUN_BLOCKS - 1) ops->run_end(bed->subject);
    uint64_t spent = bench_now_ns() - start;
    if (!values) continue;
    outside = ops->outside_ns(bed->subject) - outside;
    bench_values_add(values, (double)(spent > outside ? spent - outside : 0) /
                                 BENCH_BLOCK_OPERATIONS);
  }
}

static uint32_t whole_runs(uint32_t block_count) {
  return (block_count + RUN_BLOCKS - 1) / RUN_BLOCKS * RUN_BLOCKS;
}

static void play_round(const curve_plan* plan, test_bed* bed) {
  bench_values blocks = {0};
  play(plan, bed, RUN_BLOCKS, NULL);
  play(plan, bed, whole_runs(plan->blocks), &blocks);
  if (!bed->is_full) {
    double sum = 0;
    for (size_t i = 0; i < blocks.count; ++i) sum += blocks.at[i];
    bench_values_add(&bed->means, sum / (double)blocks.count);
    bench_values_add(&bed->medians, bench_median(blocks.at, blocks.count));
  }
  bench_values_clear(&blocks);
}

static void report(const test_bed* bed, uint32_t live_count) {
  char place[32];
  snprintf(place, sizeof place, "%u", live_count);
  const char* name = bed->subject->name;
  if (bed->is_full) {
    fprintf(stderr, "curve: %s has no memory for %u buffers\n", name,
            live_count);
    return;
  }
  bench_row("curve", name, place, "ns_per_op",
            bench_median(bed->medians.at, bed->medians.count), "ns");
  bench_row("curve", name, place, "ns_per_op_fastest", bed->medians.at[0],
            "ns");
  bench_row("curve", name, place, "ns_per_op_mean",
            bench_median(bed->means.at, bed->means.count), "ns");
}

static void measure(const curve_plan* plan, uint32_t live_count) {
  uint32_t count = plan->names.count;
  test_bed* beds = bench_alloc(count, sizeof *beds);
  for (uint32_t s = 0; s < count; ++s) {
    beds[s].subject = subject_open(plan->names.at[s]);
    beds[s].live = bench_alloc(live_count, sizeof *beds[s].live);
    beds[s].random.state = UINT64_C(0x9e3779b97f4a7c15);
    fill(plan, &beds[s], live_count);
    // Every buffer replaced twice: the holes are those of a long life.
    uint32_t operations = 4 * live_count;
    play(plan, &beds[s], whole_runs(operations / BENCH_BLOCK_OPERATIONS + 1),
         NULL);
  }
  for (uint32_t round = 0; round < plan->rounds; ++round) {
    for (uint32_t s = 0; s < count; ++s) play_round(plan, &beds[s]);
  }
  for (uint32_t s = 0; s < count; ++s) {
    test_bed* bed = &beds[s];
    report(bed, live_count);
    for (uint32_t i = 0; i < bed->live_count; ++i) {
      if (bed->live[i]) bed->subject->ops->give(bed->subject, bed->live[i]);
    }
    bed->subject->ops->submit(bed->subject);
    bed->subject->ops->close(bed->subject);
    free(bed->live);
    bench_values_clear(&bed->medians);
    bench_values_clear(&bed->means);
  }
  free(beds);
}

static void choose_live_counts(curve_plan* plan, char* list) {
  char* text;
  plan->live_count_count = 0;
  while ((text = strsep(&list, ","))) {
    if (plan->live_count_count == MOST_LIVE_COUNTS) {
      BENCH_FAIL("--live: at most %d numbers", MOST_LIVE_COUNTS);
    }
    plan->live_counts[plan->live_count_count++] =
        bench_number("--live", text, 1, 10000000);
  }
}

int main(int argc, char** argv) {
  static const struct option options[] = {
      {"subjects", required_argument, NULL, 's'},
      {"vma", required_argument, NULL, 'v'},
      {"live", required_argument, NULL, 'l'},
      {"rounds", required_argument, NULL, 'r'},
      {"blocks", required_argument, NULL, 'b'},
      {NULL, 0, NULL, 0}};
  curve_plan plan = {.live_counts = {100, 1000, 10000, 100000},
                     .live_count_count = 4,
                     .rounds = 15,
                     .blocks = 64};
  const char* subjects = NULL;
  const char* vma_module = NULL;
  int option;
  while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
    if (option == 's') subjects = optarg;
    if (option == 'v') vma_module = optarg;
    if (option == 'l') choose_live_counts(&plan, optarg);
    if (option == 'r') plan.rounds = bench_number("--rounds", optarg, 1, 1000);
    if (option == 'b') {
      plan.blocks = bench_number("--blocks", optarg, 1, 1000000);
    }
    if (option == '?') return 1;
  }
  plan.names = subject_choose(subjects, vma_module);
  plan.sizes = bench_alloc(SIZE_COUNT, sizeof *plan.sizes);
  bench_random random = {1};
  bench_log_uniform(&random, 256, 256 << 10, plan.sizes, SIZE_COUNT);
  bench_row_header();
  for (uint32_t i = 0; i < plan.live_count_count; ++i) {
    measure(&plan, plan.live_counts[i]);
  }
  free(plan.sizes);
  return 0;
}
