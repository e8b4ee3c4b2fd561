// SPDX-License-Identifier: Apache-2.0
//
// Greedy by size: the large intervals shape the plan, the small ones fill the
// gaps. (Pisarchyk and Lee, "Efficient memory management for deep neural net
// inference", 2020, compare it with others; it is within a few percent of the
// lower bound on networks.)
#include "range/planner.h"

#include <stdlib.h>

typedef struct order_entry {
  uint64_t size;
  uint32_t index;
} order_entry;

static int compare_order(const void* a, const void* b) {
  const order_entry* x = a;
  const order_entry* y = b;
  if (x->size != y->size) return x->size < y->size ? 1 : -1;
  return x->index < y->index ? -1 : x->index > y->index;
}

// |placed| holds the intervals that have an offset, ascending by offset.
static uint64_t find_gap(const tegi_interval* intervals, const uint32_t* placed,
                         uint32_t placed_count, const tegi_interval* wanted) {
  uint64_t best = TEGI_NO_OFFSET;
  uint64_t best_gap = UINT64_MAX;
  uint64_t at = 0;
  for (uint32_t i = 0; i < placed_count; ++i) {
    const tegi_interval* other = &intervals[placed[i]];
    if (other->last < wanted->first || other->first > wanted->last) continue;
    if (other->offset > at) {
      uint64_t gap = other->offset - at;
      if (gap >= wanted->size && gap < best_gap) {
        best = at;
        best_gap = gap;
      }
    }
    uint64_t end = other->offset + other->size;
    if (end > at) at = end;
  }
  return best != TEGI_NO_OFFSET ? best : at;
}

static void insert_placed(const tegi_interval* intervals, uint32_t* placed,
                          uint32_t placed_count, uint32_t index) {
  uint32_t at = placed_count;
  uint64_t offset = intervals[index].offset;
  while (at > 0 && intervals[placed[at - 1]].offset > offset) {
    placed[at] = placed[at - 1];
    at--;
  }
  placed[at] = index;
}

bool tegi_plan_intervals(tegi_host* host, tegi_interval* intervals,
                         uint32_t count, uint64_t* out_bytes) {
  *out_bytes = 0;
  if (count == 0) return true;
  order_entry* order = tegi_host_calloc(host, count, sizeof *order);
  uint32_t* placed = tegi_host_calloc(host, count, sizeof *placed);
  bool is_ready = order && placed;
  if (is_ready) {
    uint32_t order_count = 0;
    for (uint32_t i = 0; i < count; ++i) {
      intervals[i].offset = TEGI_NO_OFFSET;
      if (intervals[i].size == 0) continue;
      order[order_count++] = (order_entry){intervals[i].size, i};
    }
    qsort(order, order_count, sizeof *order, compare_order);
    for (uint32_t i = 0; i < order_count; ++i) {
      tegi_interval* interval = &intervals[order[i].index];
      interval->offset = find_gap(intervals, placed, i, interval);
      insert_placed(intervals, placed, i, order[i].index);
      uint64_t end = interval->offset + interval->size;
      if (end > *out_bytes) *out_bytes = end;
    }
  }
  tegi_host_free(host, order, count * sizeof *order);
  tegi_host_free(host, placed, count * sizeof *placed);
  return is_ready;
}
