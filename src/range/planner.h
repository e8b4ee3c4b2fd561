// SPDX-License-Identifier: Apache-2.0
//
// Offsets for intervals whose times are known: the static planning problem of
// one run. Pure: no state, no lock.
#ifndef TEGULA_RANGE_PLANNER_H
#define TEGULA_RANGE_PLANNER_H

#include <stdbool.h>

#include "base/memory.h"

#define TEGI_NO_OFFSET UINT64_MAX

// Alive from time |first| to time |last|, both included.
typedef struct tegi_interval {
  uint64_t size;  // > 0, or 0: not placed
  uint32_t first;
  uint32_t last;
  uint64_t offset;  // out; TEGI_NO_OFFSET where size is 0
} tegi_interval;

// Gives every interval an offset so that two that are alive at the same time
// do not overlap. Largest first, each at the lowest place that fits most
// tightly; ties by position, so that equal inputs give equal plans. Time is
// quadratic in |count|.
//   out_bytes  the end of the highest interval
// False when the host has no memory.
bool tegi_plan_intervals(tegi_host* host, tegi_interval* intervals,
                         uint32_t count, uint64_t* out_bytes);

#endif  // TEGULA_RANGE_PLANNER_H
