// SPDX-License-Identifier: Apache-2.0
//
// What the dynamic policy learns from a session's runs: which size classes
// waste least, and which sizes grow from run to run. Knows no device and no
// buffer: a run is told as a list of sizes with how often each was asked for
// and how many were in use at once, and the answer is a list of class bounds.
//
// Owned by one policy; guarded by its session's growth mutex, because learning
// may take a millisecond. Host memory that is not there is never an error: the
// run is not remembered, or the classes stay as they are.
#ifndef TEGULA_POLICY_DYNAMIC_LEARN_H
#define TEGULA_POLICY_DYNAMIC_LEARN_H

#include <stdbool.h>

#include "base/memory.h"

enum {
  TEGI_LEARN_RUNS = 8,  // runs that are remembered
  // Sizes that are told apart when learning: four a class between these two.
  TEGI_LEARN_LEAST_SIZES = 128,
  TEGI_LEARN_MOST_SIZES = 256,
  TEGI_LEARN_CLASSES = 256,  // most classes
  TEGI_LEARN_SERIES = 64,    // growing sizes that are followed at once
  TEGI_LEARN_BOUNDS = TEGI_LEARN_CLASSES + TEGI_LEARN_SERIES,
};

// How one size was used in one run.
typedef struct tegi_size_use {
  uint64_t size;
  uint32_t request_count;
  uint32_t peak;  // most in use at once
} tegi_size_use;

// ---- The best classes for a table of uses ----------------------------------

// Ascending sizes, and how many of each were in use at once in each run.
typedef struct tegi_usage {
  uint32_t size_count;
  uint32_t run_count;
  uint64_t* sizes;
  // Row i has the peaks of sizes 0 to i - 1 added up, run by run, so that the
  // peaks of a class are the difference of two rows; size_count + 1 rows.
  uint32_t (*sums)[TEGI_LEARN_RUNS];
} tegi_usage;

// Most buffers that a class of the sizes [first, end) needs in any run.
uint32_t tegi_usage_peak(const tegi_usage* usage, uint32_t first, uint32_t end);

// Bytes that classes with these ascending bounds would hold: each class its
// bound times its peak. False when a size is above the last bound.
bool tegi_usage_cost(const tegi_usage* usage, const uint64_t* bounds,
                     uint32_t bound_count, double* out_bytes);

// The bounds of at most |most_classes| classes that cost least; the fewest of
// equal ones. False when the host has no memory, or there is no size.
bool tegi_usage_partition(tegi_host* host, const tegi_usage* usage,
                          uint32_t most_classes, uint64_t* out_bounds,
                          uint32_t* out_count, double* out_bytes);

// Merges neighbours, the smaller into the larger, those first where it costs
// least, until at most |most_sizes| are left. Here a row holds its own size's
// peaks, not sums. |costs| has room for twice size_count.
void tegi_usage_merge(tegi_usage* usage, uint32_t most_sizes, double* costs);

// ---- The learner -----------------------------------------------------------

// A size that comes back larger by the same step, run after run (a key-value
// cache that grows by a token never asks for an old size again).
typedef struct tegi_series {
  uint64_t size;   // the latest
  uint64_t step;   // 1 / 8 of the size at most
  uint64_t bound;  // of the class that was made for it; 0 = none yet
  uint64_t last_run;
  uint32_t step_count;  // a series from the second step on
} tegi_series;

typedef struct tegi_learner_run {
  tegi_size_use* uses;  // ascending
  size_t capacity;
  uint32_t count;
  uint64_t signature;  // of its sizes and peaks, growing sizes left out
} tegi_learner_run;

typedef struct tegi_learner {
  tegi_host* host;
  uint32_t horizon_runs;  // most steps a series is extrapolated; 0 = not at all
  bool is_dirty;  // since learning last, a run came that was unlike the others
  uint64_t run_count;
  tegi_learner_run runs[TEGI_LEARN_RUNS];  // by run number modulo their count
  uint32_t series_count;
  tegi_series series[TEGI_LEARN_SERIES];
} tegi_learner;

void tegi_learner_init(tegi_learner* learner, tegi_host* host,
                       uint32_t horizon_runs);
void tegi_learner_deinit(tegi_learner* learner);

// Remembers one more run; forgets the oldest. Sorts |uses|.
void tegi_learner_add_run(tegi_learner* learner, tegi_size_use* uses,
                          uint32_t count);

// A class bound that a growing size needs from now on, and the one it had
// before (0 = none). False when there is no further one for this run.
bool tegi_learner_next_bound(tegi_learner* learner, uint64_t* out_old,
                             uint64_t* out_new);

// Classes as they are to be, and the most buffers each needed in one run.
typedef struct tegi_lesson {
  uint32_t count;
  uint64_t bounds[TEGI_LEARN_BOUNDS];
  uint32_t peaks[TEGI_LEARN_BOUNDS];
} tegi_lesson;

// Learns at most |most_classes| classes from the runs remembered, those for
// growing sizes included. True if they are to replace the present |bounds|:
// when these cost 10 % more, are too many, or leave a size without a class.
bool tegi_learner_learn(tegi_learner* learner, uint32_t most_classes,
                        const uint64_t* bounds, uint32_t bound_count,
                        tegi_lesson* out_lesson);

#endif  // TEGULA_POLICY_DYNAMIC_LEARN_H
