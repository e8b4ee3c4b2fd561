// SPDX-License-Identifier: Apache-2.0
//
// Nanoseconds per operation. Single operations are shorter than reading the
// clock, so blocks of them are timed; the clock stands still while the engine
// looks at the device's counters.
#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "trace/replay_parts.h"

void tegi_replay_timer_init(tegi_replay_timer* timer, tegi_host* host) {
  *timer = (tegi_replay_timer){.host = host, .late_index = SIZE_MAX};
}

void tegi_replay_timer_deinit(tegi_replay_timer* timer) {
  tegi_host_free(timer->host, timer->blocks,
                 timer->block_capacity * sizeof *timer->blocks);
  *timer = (tegi_replay_timer){0};
}

void tegi_replay_timer_resume(tegi_replay_timer* timer) {
  timer->resumed_ns = tegi_now_ns();
}

void tegi_replay_timer_pause(tegi_replay_timer* timer) {
  timer->block_ns += tegi_now_ns() - timer->resumed_ns;
}

void tegi_replay_timer_restart(tegi_replay_timer* timer,
                               const teg_stats* stats) {
  timer->block_ns = 0;
  timer->outside_ns = stats->driver_ns + stats->wait_ns;
}

bool tegi_replay_timer_end_block(tegi_replay_timer* timer,
                                 uint64_t operation_count,
                                 const teg_stats* stats) {
  if (!tegi_host_grow_array(timer->host, &timer->blocks, &timer->block_capacity,
                            timer->block_count + 1, sizeof *timer->blocks)) {
    return false;
  }
  uint64_t outside = stats->driver_ns + stats->wait_ns - timer->outside_ns;
  uint64_t own = timer->block_ns > outside ? timer->block_ns - outside : 0;
  timer->blocks[timer->block_count++] = (float)own / (float)operation_count;
  tegi_replay_timer_restart(timer, stats);
  return true;
}

void tegi_replay_timer_mark_late(tegi_replay_timer* timer) {
  if (timer->late_index == SIZE_MAX) timer->late_index = timer->block_count;
}

static int compare_floats(const void* a, const void* b) {
  float left = *(const float*)a;
  float right = *(const float*)b;
  return (left > right) - (left < right);
}

// The smallest value that |share| of the sorted values do not exceed.
static double quantile(const float* sorted, size_t count, double share) {
  if (count == 0) return 0;
  size_t rank = (size_t)ceil(share * (double)count);
  if (rank > 0) --rank;
  return (double)sorted[rank];
}

void tegi_replay_timer_finish(tegi_replay_timer* timer,
                              teg_replay_result* result) {
  size_t count = timer->block_count;
  if (timer->late_index < count) {
    float* late = timer->blocks + timer->late_index;
    size_t late_count = count - timer->late_index;
    qsort(late, late_count, sizeof *late, compare_floats);
    result->ns_per_op_late_median = quantile(late, late_count, 0.5);
  }
  if (count > 0) {
    qsort(timer->blocks, count, sizeof *timer->blocks, compare_floats);
  }
  result->ns_per_op_median = quantile(timer->blocks, count, 0.5);
  result->ns_per_op_p99 = quantile(timer->blocks, count, 0.99);
}
