// SPDX-License-Identifier: Apache-2.0
//
// Learning from runs. Three parts: the partition of sizes into classes, by
// dynamic programming; series of growing sizes, by pairing the sizes that are
// new in a run with those that are gone; and the memory of the last runs.
#include "policy/dynamic_learn.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"

// ---- The best classes for a table of uses ----------------------------------

uint32_t tegi_usage_peak(const tegi_usage* usage, uint32_t first,
                         uint32_t end) {
  uint32_t most = 0;
  for (uint32_t run = 0; run < usage->run_count; ++run) {
    uint32_t peak = usage->sums[end][run] - usage->sums[first][run];
    if (peak > most) most = peak;
  }
  return most;
}

bool tegi_usage_cost(const tegi_usage* usage, const uint64_t* bounds,
                     uint32_t bound_count, double* out_bytes) {
  uint32_t first = 0;
  *out_bytes = 0;
  for (uint32_t i = 0; i < bound_count && first < usage->size_count; ++i) {
    uint32_t end = first;
    while (end < usage->size_count && usage->sizes[end] <= bounds[i]) end++;
    if (end == first) continue;
    *out_bytes += (double)bounds[i] * tegi_usage_peak(usage, first, end);
    first = end;
  }
  return first == usage->size_count;
}

// The least bytes for the first |row| sizes in exactly |column| classes, and
// where the last of these classes begins.
typedef struct partition {
  uint32_t columns;
  double* bytes;
  uint32_t* begins;
} partition;

static size_t cell(const partition* p, uint32_t row, uint32_t column) {
  return (size_t)row * p->columns + column;
}

// All cells of one row, from those of the rows before it.
static void fill_row(const partition* p, const tegi_usage* usage,
                     uint32_t row) {
  double* bytes = &p->bytes[cell(p, row, 0)];
  uint32_t* begins = &p->begins[cell(p, row, 0)];
  for (uint32_t column = 0; column < p->columns; ++column) {
    bytes[column] = (double)INFINITY;
  }
  for (uint32_t begin = 0; begin < row; ++begin) {
    double size = (double)usage->sizes[row - 1];
    double own = size * tegi_usage_peak(usage, begin, row);
    const double* before = &p->bytes[cell(p, begin, 0)];
    uint32_t last = begin + 1 < p->columns ? begin + 1 : p->columns - 1;
    for (uint32_t column = 1; column <= last; ++column) {
      double candidate = before[column - 1] + own;
      if (candidate < bytes[column]) {
        bytes[column] = candidate;
        begins[column] = begin;
      }
    }
  }
}

// More classes are not always better: sizes of different runs can share
// buffers only within a class.
static uint32_t best_column(const partition* p, uint32_t row) {
  uint32_t best = 1;
  for (uint32_t column = 2; column < p->columns; ++column) {
    if (p->bytes[cell(p, row, column)] < p->bytes[cell(p, row, best)]) {
      best = column;
    }
  }
  return best;
}

bool tegi_usage_partition(tegi_host* host, const tegi_usage* usage,
                          uint32_t most_classes, uint64_t* out_bounds,
                          uint32_t* out_count, double* out_bytes) {
  uint32_t sizes = usage->size_count;
  uint32_t classes = most_classes < sizes ? most_classes : sizes;
  *out_count = 0;
  if (classes == 0) return false;
  partition p = {.columns = classes + 1};
  size_t cells = (size_t)(sizes + 1) * p.columns;
  p.bytes = tegi_host_calloc(host, cells, sizeof *p.bytes);
  p.begins = tegi_host_calloc(host, cells, sizeof *p.begins);
  if (p.bytes && p.begins) {
    for (uint32_t i = 1; i <= classes; ++i) p.bytes[i] = (double)INFINITY;
    for (uint32_t row = 1; row <= sizes; ++row) fill_row(&p, usage, row);
    *out_count = best_column(&p, sizes);
    *out_bytes = p.bytes[cell(&p, sizes, *out_count)];
    uint32_t row = sizes;
    for (uint32_t column = *out_count; column > 0; --column) {
      out_bounds[column - 1] = usage->sizes[row - 1];
      row = p.begins[cell(&p, row, column)];
    }
  }
  tegi_host_free(host, p.bytes, cells * sizeof *p.bytes);
  tegi_host_free(host, p.begins, cells * sizeof *p.begins);
  return *out_count > 0;
}

static int compare_doubles(const void* a, const void* b) {
  double left = *(const double*)a;
  double right = *(const double*)b;
  return (left > right) - (left < right);
}

void tegi_usage_merge(tegi_usage* usage, uint32_t most_sizes, double* costs) {
  uint32_t count = usage->size_count;
  if (count <= most_sizes) return;
  uint32_t excess = count - most_sizes;
  double* sorted = costs + count;
  for (uint32_t i = 0; i + 1 < count; ++i) {
    uint32_t most = 0;
    for (uint32_t run = 0; run < usage->run_count; ++run) {
      if (usage->sums[i][run] > most) most = usage->sums[i][run];
    }
    costs[i] = (double)(usage->sizes[i + 1] - usage->sizes[i]) * most;
    sorted[i] = costs[i];
  }
  qsort(sorted, count - 1, sizeof *sorted, compare_doubles);
  double dearest = sorted[excess - 1];
  uint32_t kept = 0;
  for (uint32_t i = 0; i < count; ++i) {
    if (excess > 0 && i + 1 < count && costs[i] <= dearest) {
      for (uint32_t run = 0; run < usage->run_count; ++run) {
        usage->sums[i + 1][run] += usage->sums[i][run];
      }
      excess--;
      continue;
    }
    usage->sizes[kept] = usage->sizes[i];
    memcpy(usage->sums[kept], usage->sums[i], sizeof usage->sums[i]);
    kept++;
  }
  usage->size_count = kept;
}

// ---- Series ----------------------------------------------------------------

enum {
  FORGET_RUNS = 4,       // a series that did not come for so long is over
  LARGEST_STEP = 8,      // a step is at most the size divided by this
  LONGEST_REACH = 16,    // a bound is ahead of the size by at most size / this
  STEPS_REMEMBERED = 16  // sizes that far behind a series are still its own
};

static bool is_confirmed(const tegi_series* series) {
  return series->step_count >= 2;
}

static void forget_series(tegi_learner* learner) {
  for (uint32_t i = 0; i < learner->series_count;) {
    if (learner->run_count - learner->series[i].last_run > FORGET_RUNS) {
      learner->series[i] = learner->series[--learner->series_count];
    } else {
      i++;
    }
  }
}

// One size went, another one that was asked for as often came in its place.
static void enter_step(tegi_learner* learner, uint64_t from, uint64_t to) {
  if (to <= from || to - from > from / LARGEST_STEP) return;
  uint64_t step = to - from;
  for (uint32_t i = 0; i < learner->series_count; ++i) {
    tegi_series* series = &learner->series[i];
    if (series->size != from || series->step != step) continue;
    series->size = to;
    series->step_count++;
    series->last_run = learner->run_count;
    return;
  }
  if (learner->series_count == TEGI_LEARN_SERIES) return;
  learner->series[learner->series_count++] =
      (tegi_series){.size = to,
                    .step = step,
                    .last_run = learner->run_count,
                    .step_count = 1};
}

static bool has_size(const tegi_learner_run* run, uint64_t size) {
  uint32_t low = 0;
  uint32_t high = run->count;
  while (low < high) {
    uint32_t middle = (low + high) / 2;
    if (run->uses[middle].size < size) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low < run->count && run->uses[low].size == size;
}

// Pairs the sizes of |run| that |last| did not have with those of |last| that
// |run| has not, in order of size and by equal request counts.
static void pair_sizes(tegi_learner* learner, const tegi_learner_run* last,
                       const tegi_learner_run* run) {
  uint32_t gone = 0;
  for (uint32_t i = 0; i < run->count; ++i) {
    const tegi_size_use* use = &run->uses[i];
    if (has_size(last, use->size)) continue;
    while (gone < last->count &&
           (last->uses[gone].request_count != use->request_count ||
            has_size(run, last->uses[gone].size))) {
      gone++;
    }
    if (gone == last->count) return;
    enter_step(learner, last->uses[gone++].size, use->size);
  }
}

bool tegi_learner_next_bound(tegi_learner* learner, uint64_t* out_old,
                             uint64_t* out_new) {
  if (learner->horizon_runs == 0) return false;
  for (uint32_t i = 0; i < learner->series_count; ++i) {
    tegi_series* series = &learner->series[i];
    bool is_of_this_run = series->last_run + 1 == learner->run_count;
    if (!is_confirmed(series) || !is_of_this_run ||
        series->size + series->step <= series->bound) {
      continue;
    }
    uint64_t steps = series->size / LONGEST_REACH / series->step;
    steps = tegi_min_u64(tegi_max_u64(steps, 1), learner->horizon_runs);
    *out_old = series->bound;
    *out_new = series->bound = series->size + steps * series->step;
    return true;
  }
  return false;
}

// ---- Runs ------------------------------------------------------------------

void tegi_learner_init(tegi_learner* learner, tegi_host* host,
                       uint32_t horizon_runs) {
  *learner = (tegi_learner){.host = host, .horizon_runs = horizon_runs};
}

void tegi_learner_deinit(tegi_learner* learner) {
  for (uint32_t i = 0; i < TEGI_LEARN_RUNS; ++i) {
    tegi_learner_run* run = &learner->runs[i];
    tegi_host_free(learner->host, run->uses, run->capacity * sizeof *run->uses);
  }
  *learner = (tegi_learner){0};
}

static int compare_uses(const void* a, const void* b) {
  uint64_t left = ((const tegi_size_use*)a)->size;
  uint64_t right = ((const tegi_size_use*)b)->size;
  return (left > right) - (left < right);
}

static uint64_t mix(uint64_t hash, uint64_t value) {
  return (hash ^ value) * UINT64_C(1099511628211);
}

// Whether |size| is where a series is now.
static bool is_growing(const tegi_learner* learner, uint64_t size) {
  for (uint32_t i = 0; i < learner->series_count; ++i) {
    const tegi_series* series = &learner->series[i];
    if (is_confirmed(series) && series->size == size) return true;
  }
  return false;
}

static uint64_t sign(const tegi_learner* learner, const tegi_learner_run* run) {
  uint64_t hash = UINT64_C(1469598103934665603);
  for (uint32_t i = 0; i < run->count; ++i) {
    if (is_growing(learner, run->uses[i].size)) continue;
    hash = mix(hash, run->uses[i].size);
    hash = mix(hash, run->uses[i].peak);
  }
  return hash;
}

static bool is_known(const tegi_learner* learner, uint64_t signature) {
  uint64_t count = tegi_min_u64(learner->run_count, TEGI_LEARN_RUNS);
  for (uint64_t i = 0; i < count; ++i) {
    if (learner->runs[i].signature == signature) return true;
  }
  return false;
}

void tegi_learner_add_run(tegi_learner* learner, tegi_size_use* uses,
                          uint32_t count) {
  if (count > 1) qsort(uses, count, sizeof *uses, compare_uses);
  forget_series(learner);
  const tegi_learner_run now = {.uses = uses, .count = count};
  uint64_t number = learner->run_count;
  if (number > 0 && learner->horizon_runs > 0) {
    pair_sizes(learner, &learner->runs[(number - 1) % TEGI_LEARN_RUNS], &now);
  }
  uint64_t signature = sign(learner, &now);
  if (!is_known(learner, signature)) learner->is_dirty = true;
  tegi_learner_run* run = &learner->runs[number % TEGI_LEARN_RUNS];
  run->count = 0;
  run->signature = signature;
  if (tegi_host_grow_array(learner->host, &run->uses, &run->capacity, count,
                           sizeof *uses)) {
    if (count > 0) memcpy(run->uses, uses, count * sizeof *uses);
    run->count = count;
  }
  learner->run_count++;
}

// ---- Learning --------------------------------------------------------------

// Growing sizes are served by the classes made for them.
static bool is_of_series(const tegi_learner* learner, uint64_t size) {
  for (uint32_t i = 0; i < learner->series_count; ++i) {
    const tegi_series* series = &learner->series[i];
    if (is_confirmed(series) && size <= series->bound &&
        size + STEPS_REMEMBERED * series->step >= series->size) {
      return true;
    }
  }
  return false;
}

// Host memory for one lesson.
typedef struct lesson_scratch {
  size_t capacity;
  tegi_usage usage;
  double* costs;
} lesson_scratch;

static void free_scratch(tegi_host* host, lesson_scratch* scratch) {
  size_t capacity = scratch->capacity;
  tegi_usage* usage = &scratch->usage;
  tegi_host_free(host, usage->sizes, capacity * sizeof *usage->sizes);
  tegi_host_free(host, usage->sums, (capacity + 1) * sizeof *usage->sums);
  tegi_host_free(host, scratch->costs, 2 * capacity * sizeof(double));
}

static bool alloc_scratch(tegi_host* host, lesson_scratch* scratch,
                          size_t capacity) {
  tegi_usage* usage = &scratch->usage;
  scratch->capacity = capacity;
  usage->sizes = tegi_host_calloc(host, capacity, sizeof *usage->sizes);
  usage->sums = tegi_host_calloc(host, capacity + 1, sizeof *usage->sums);
  scratch->costs = tegi_host_calloc(host, 2 * capacity, sizeof(double));
  return usage->sizes && usage->sums && scratch->costs;
}

// Merges the runs, which are ascending, into one table: sizes, and for each
// its own peaks.
static void collect_sizes(const tegi_learner* learner, tegi_usage* usage) {
  uint32_t at[TEGI_LEARN_RUNS] = {0};
  for (;;) {
    uint64_t least = UINT64_MAX;
    for (uint32_t r = 0; r < usage->run_count; ++r) {
      const tegi_learner_run* run = &learner->runs[r];
      if (at[r] < run->count) {
        least = tegi_min_u64(least, run->uses[at[r]].size);
      }
    }
    if (least == UINT64_MAX) return;
    bool is_left_out = is_of_series(learner, least);
    uint32_t* row = usage->sums[usage->size_count];
    for (uint32_t r = 0; r < usage->run_count; ++r) {
      const tegi_learner_run* run = &learner->runs[r];
      if (at[r] == run->count || run->uses[at[r]].size != least) continue;
      if (!is_left_out) row[r] = run->uses[at[r]].peak;
      at[r]++;
    }
    if (!is_left_out) usage->sizes[usage->size_count++] = least;
  }
}

// Own peaks become sums of all rows before.
static void add_up(tegi_usage* usage) {
  uint32_t total[TEGI_LEARN_RUNS] = {0};
  for (uint32_t i = 0; i <= usage->size_count; ++i) {
    for (uint32_t run = 0; run < usage->run_count; ++run) {
      uint32_t own = i < usage->size_count ? usage->sums[i][run] : 0;
      usage->sums[i][run] = total[run];
      total[run] += own;
    }
  }
}

// Puts the bounds of the series among those of |lesson|, ascending, each once.
static void add_series_bounds(const tegi_learner* learner,
                              tegi_lesson* lesson) {
  for (uint32_t i = 0; i < learner->series_count; ++i) {
    const tegi_series* series = &learner->series[i];
    if (!is_confirmed(series) || series->bound == 0) continue;
    uint32_t at = lesson->count;
    while (at > 0 && lesson->bounds[at - 1] > series->bound) at--;
    if (at > 0 && lesson->bounds[at - 1] == series->bound) continue;
    memmove(&lesson->bounds[at + 1], &lesson->bounds[at],
            (lesson->count - at) * sizeof *lesson->bounds);
    lesson->bounds[at] = series->bound;
    lesson->count++;
  }
}

static void set_peaks(const tegi_usage* usage, tegi_lesson* lesson) {
  uint32_t first = 0;
  for (uint32_t i = 0; i < lesson->count; ++i) {
    uint32_t end = first;
    while (end < usage->size_count && usage->sizes[end] <= lesson->bounds[i]) {
      end++;
    }
    lesson->peaks[i] = tegi_usage_peak(usage, first, end);
    first = end;
  }
}

// More tell the classes hardly better, and the partition takes as long as their
// square: a quarter of a millisecond for 128 sizes in 32 classes.
static uint32_t distinct_sizes(uint32_t most_classes) {
  if (most_classes <= TEGI_LEARN_LEAST_SIZES / 4) return TEGI_LEARN_LEAST_SIZES;
  if (most_classes >= TEGI_LEARN_MOST_SIZES / 4) return TEGI_LEARN_MOST_SIZES;
  return 4 * most_classes;
}

static bool learn_from(const tegi_learner* learner, const tegi_usage* usage,
                       uint32_t most_classes, const uint64_t* bounds,
                       uint32_t bound_count, tegi_lesson* lesson) {
  uint32_t series_count = 0;
  for (uint32_t i = 0; i < learner->series_count; ++i) {
    if (is_confirmed(&learner->series[i])) series_count++;
  }
  uint32_t classes =
      most_classes > series_count ? most_classes - series_count : 1;
  double best = 0;
  if (!tegi_usage_partition(learner->host, usage, classes, lesson->bounds,
                            &lesson->count, &best)) {
    return false;
  }
  // Changing classes costs allocations until buffers of the new sizes are
  // there, so a small gain is left.
  double present = 0;
  bool is_covered = tegi_usage_cost(usage, bounds, bound_count, &present);
  if (is_covered && bound_count <= most_classes && best * 10 >= present * 9) {
    return false;
  }
  add_series_bounds(learner, lesson);
  set_peaks(usage, lesson);
  return true;
}

bool tegi_learner_learn(tegi_learner* learner, uint32_t most_classes,
                        const uint64_t* bounds, uint32_t bound_count,
                        tegi_lesson* out_lesson) {
  lesson_scratch scratch = {0};
  size_t uses = 0;
  for (uint32_t i = 0; i < TEGI_LEARN_RUNS; ++i) uses += learner->runs[i].count;
  learner->is_dirty = false;
  bool is_new = false;
  if (uses > 0 && alloc_scratch(learner->host, &scratch, uses)) {
    tegi_usage* usage = &scratch.usage;
    usage->run_count =
        (uint32_t)tegi_min_u64(learner->run_count, TEGI_LEARN_RUNS);
    collect_sizes(learner, usage);
    tegi_usage_merge(usage, distinct_sizes(most_classes), scratch.costs);
    add_up(usage);
    is_new = learn_from(learner, usage, most_classes, bounds, bound_count,
                        out_lesson);
  } else if (uses > 0) {
    learner->is_dirty = true;  // the next time there may be memory
  }
  free_scratch(learner->host, &scratch);
  return is_new;
}
