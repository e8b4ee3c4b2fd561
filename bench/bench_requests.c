// SPDX-License-Identifier: Apache-2.0
//
// The requests of recorded traces, made of every policy and of the anchors
// beside them by one loop, the subjects taking turns round by round. As in
// `tegula replay`: weights first, then the runs; a batch is 32 requests and
// ends with its run; blocks of 256 operations are timed, driver and waits
// taken off; a round's figure is the median over the blocks of the second half
// of the runs, the printed one the median over the rounds.
//
// With --passes N nothing is timed: the runs are played N times in one
// session. Under callgrind the difference of two such counts is what a pass
// costs in instructions (bench/run).
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/measure.h"
#include "support/subject.h"
#include "tegula/tegula.h"

// One request or mark.
typedef struct trace_request {
  uint64_t size;
  uint32_t slot;
  uint8_t kind;      // teg_trace_kind
  uint8_t lifetime;  // teg_lifetime
  bool is_weight;    // a weight's free: only in the last pass
} trace_request;

typedef struct request_list {
  char name[64];
  trace_request* at;
  size_t count;
  size_t load_end;  // index behind the mark LOAD_END; 0 = none
  uint32_t slot_count;
  uint32_t run_count;
  uint64_t operations_per_pass;
  uint64_t peak_live_bytes;
} request_list;

typedef struct trace_player {
  const request_list* list;
  bench_subject* subject;
  void** live;  // by slot
  uint32_t batch_left;
  bool is_last_pass;
  // When timing; NULL otherwise.
  bench_values* late;
  uint32_t block_left;
  uint32_t runs_begun;
  uint64_t block_start_ns;
  uint64_t outside_ns;
} trace_player;

// ---- Loading ----------------------------------------------------------------

static void require(teg_result result, const teg_error* err) {
  if (result != TEG_OK) BENCH_FAIL("%s", err->message);
}

// Slots are used again, last freed first, as a program's own variables are.
typedef struct slot_map {
  uint64_t* ids;    // of allocations so far, ascending
  uint32_t* slots;  // of these
  size_t count;
  uint32_t* free;
  uint32_t free_count;
} slot_map;

static size_t find_id(const slot_map* map, uint64_t id) {
  size_t low = 0;
  size_t high = map->count;
  while (high - low > 1) {
    size_t middle = low + (high - low) / 2;
    if (map->ids[middle] <= id) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

static void add_request(request_list* list, slot_map* map,
                        const teg_trace_event* event) {
  trace_request* added = &list->at[list->count++];
  *added = (trace_request){.kind = event->kind, .lifetime = event->lifetime};
  if (event->kind == TEG_TRACE_ALLOCATE) {
    added->size = event->size;
    added->slot =
        map->free_count ? map->free[--map->free_count] : list->slot_count++;
    map->ids[map->count] = event->id;
    map->slots[map->count++] = added->slot;
  } else if (event->kind == TEG_TRACE_FREE) {
    added->slot = map->slots[find_id(map, event->id)];
    map->free[map->free_count++] = added->slot;
  } else if (event->kind == TEG_TRACE_LOAD_END && list->load_end == 0) {
    list->load_end = list->count;
  }
}

// Weights are what lives through LOAD_END and never changes after it.
static void mark_weights(request_list* list) {
  bool* is_weight = bench_alloc(list->slot_count, sizeof *is_weight);
  uint32_t* maker = bench_alloc(list->slot_count, sizeof *maker);
  for (size_t i = 0; i < list->count; ++i) {
    trace_request* one = &list->at[i];
    if (i < list->load_end && one->kind == TEG_TRACE_ALLOCATE) {
      is_weight[one->slot] = true;
      maker[one->slot] = (uint32_t)i;
    } else if (i < list->load_end && one->kind == TEG_TRACE_FREE) {
      is_weight[one->slot] = false;
    } else if (i >= list->load_end && one->kind == TEG_TRACE_FREE) {
      one->is_weight = is_weight[one->slot];
      if (one->is_weight) {
        // Freed once; the slot's later buffers are no weights.
        list->at[maker[one->slot]].lifetime = TEG_LIFETIME_STATIC;
        is_weight[one->slot] = false;
      }
    }
  }
  for (uint32_t slot = 0; slot < list->slot_count; ++slot) {
    trace_request* made = &list->at[maker[slot]];
    if (is_weight[slot] && made->lifetime == TEG_LIFETIME_UNKNOWN) {
      made->lifetime = TEG_LIFETIME_STATIC;
    }
  }
  free(maker);
  free(is_weight);
}

static void count_operations(request_list* list) {
  for (size_t i = list->load_end; i < list->count; ++i) {
    const trace_request* one = &list->at[i];
    bool is_request = one->kind <= TEG_TRACE_FREE;
    if (is_request && !one->is_weight) list->operations_per_pass++;
    if (one->kind == TEG_TRACE_RUN_END) list->run_count++;
  }
}

static void load(const char* path, request_list* list) {
  teg_error err;
  teg_trace_summary summary;
  teg_trace_reader* reader = NULL;
  require(teg_trace_reader_open(path, NULL, &reader, &err), &err);
  require(teg_trace_summarize(reader, &summary, &err), &err);
  teg_trace_reader_close(reader);
  *list = (request_list){.peak_live_bytes = summary.peak_live_bytes};
  list->at = bench_alloc(summary.event_count, sizeof *list->at);
  slot_map map = {.count = 0};
  map.ids = bench_alloc(summary.allocate_count, sizeof *map.ids);
  map.slots = bench_alloc(summary.allocate_count, sizeof *map.slots);
  map.free = bench_alloc(summary.allocate_count, sizeof *map.free);
  require(teg_trace_reader_open(path, NULL, &reader, &err), &err);
  teg_trace_event event;
  teg_result result;
  while ((result = teg_trace_reader_next(reader, &event, &err)) == TEG_OK) {
    add_request(list, &map, &event);
  }
  if (result != TEG_END) require(result, &err);
  teg_trace_reader_info info;
  teg_trace_reader_info_get(reader, &info);
  snprintf(list->name, sizeof list->name, "%s", info.name);
  teg_trace_reader_close(reader);
  free(map.ids);
  free(map.slots);
  free(map.free);
  mark_weights(list);
  count_operations(list);
}

// ---- Playing ----------------------------------------------------------------

static void submit(trace_player* player) {
  player->batch_left = BENCH_BATCH_REQUESTS;
  player->subject->ops->submit(player->subject);
}

static void begin_block(trace_player* player) {
  player->block_left = BENCH_BLOCK_OPERATIONS;
  player->outside_ns = player->subject->ops->outside_ns(player->subject);
  player->block_start_ns = bench_now_ns();
}

static void end_block(trace_player* player) {
  uint64_t spent = bench_now_ns() - player->block_start_ns;
  uint64_t outside =
      player->subject->ops->outside_ns(player->subject) - player->outside_ns;
  if (player->runs_begun > player->list->run_count / 2) {
    bench_values_add(player->late,
                     (double)(spent > outside ? spent - outside : 0) /
                         BENCH_BLOCK_OPERATIONS);
  }
  begin_block(player);
}

static inline void play_request(trace_player* player,
                                const trace_request* one) {
  const bench_subject_ops* ops = player->subject->ops;
  void** at = &player->live[one->slot];
  if (one->kind == TEG_TRACE_ALLOCATE) {
    *at = ops->take(player->subject, one->size, one->lifetime);
    if (!*at) {
      BENCH_FAIL("%s: %s has no memory", player->list->name,
                 player->subject->name);
    }
  } else {
    ops->give(player->subject, *at);
    *at = NULL;
  }
  if (--player->batch_left == 0) submit(player);
  if (player->late && --player->block_left == 0) end_block(player);
}

static void play_mark(trace_player* player, const trace_request* one) {
  const bench_subject_ops* ops = player->subject->ops;
  if (one->kind == TEG_TRACE_RUN_BEGIN) {
    player->runs_begun++;
    ops->run_begin(player->subject);
  } else {
    submit(player);
    if (one->kind == TEG_TRACE_RUN_END) {
      ops->run_end(player->subject);
    } else {
      ops->trim(player->subject);
    }
  }
}

static void play(trace_player* player, size_t begin, size_t end) {
  for (size_t i = begin; i < end; ++i) {
    const trace_request* one = &player->list->at[i];
    if (one->kind > TEG_TRACE_FREE) {
      play_mark(player, one);
    } else if (!one->is_weight || player->is_last_pass) {
      play_request(player, one);
    }
  }
}

// What a pass has left alive, but for the weights.
static void clean_up(trace_player* player, void** weights) {
  for (uint32_t slot = 0; slot < player->list->slot_count; ++slot) {
    if (player->live[slot] && player->live[slot] != weights[slot]) {
      player->subject->ops->give(player->subject, player->live[slot]);
      player->live[slot] = weights[slot];
    }
  }
  submit(player);
}

static bench_subject* play_all(const request_list* list, const char* name,
                               uint32_t passes, bench_values* late) {
  trace_player player = {.list = list,
                         .subject = subject_open(name),
                         .batch_left = BENCH_BATCH_REQUESTS};
  player.live = bench_alloc(list->slot_count, sizeof *player.live);
  void** weights = bench_alloc(list->slot_count, sizeof *weights);
  play(&player, 0, list->load_end);
  memcpy(weights, player.live, list->slot_count * sizeof *weights);
  player.late = late;
  for (uint32_t pass = 0; pass < passes; ++pass) {
    player.is_last_pass = pass + 1 == passes;
    if (late) begin_block(&player);
    play(&player, list->load_end, list->count);
    player.late = NULL;
    memset(weights, 0,
           player.is_last_pass ? list->slot_count * sizeof *weights : 0);
    clean_up(&player, weights);
  }
  free(weights);
  free(player.live);
  return player.subject;
}

// ---- Measuring --------------------------------------------------------------

static void measure(const request_list* list, const subject_names* names,
                    uint32_t rounds) {
  bench_values* medians = bench_alloc(names->count, sizeof *medians);
  double* peaks = bench_alloc(names->count, sizeof *peaks);
  for (uint32_t round = 0; round < rounds; ++round) {
    for (uint32_t s = 0; s < names->count; ++s) {
      bench_values late = {0};
      bench_subject* subject = play_all(list, names->at[s], 1, &late);
      peaks[s] = (double)subject->ops->peak_bytes(subject);
      subject->ops->close(subject);
      bench_values_add(&medians[s], bench_median(late.at, late.count));
      bench_values_clear(&late);
    }
  }
  for (uint32_t s = 0; s < names->count; ++s) {
    const char* name = names->at[s];
    bench_row("requests", name, list->name, "ns_per_op",
              bench_median(medians[s].at, medians[s].count), "ns");
    bench_row("requests", name, list->name, "ns_per_op_fastest",
              medians[s].at[0], "ns");
    if (peaks[s] > 0) {
      bench_row("requests", name, list->name, "peak_ratio",
                peaks[s] / (double)list->peak_live_bytes, "");
    }
    bench_values_clear(&medians[s]);
  }
  free(peaks);
  free(medians);
}

static void only_play(const request_list* list, const subject_names* names,
                      uint32_t passes) {
  for (uint32_t s = 0; s < names->count; ++s) {
    bench_subject* subject = play_all(list, names->at[s], passes, NULL);
    subject->ops->close(subject);
    bench_row("requests", names->at[s], list->name, "operations_per_pass",
              (double)list->operations_per_pass, "");
  }
}

int main(int argc, char** argv) {
  static const struct option options[] = {
      {"subjects", required_argument, NULL, 's'},
      {"vma", required_argument, NULL, 'v'},
      {"rounds", required_argument, NULL, 'r'},
      {"passes", required_argument, NULL, 'p'},
      {NULL, 0, NULL, 0}};
  const char* subjects = NULL;
  const char* vma_module = NULL;
  uint32_t rounds = 9;
  uint32_t passes = 0;
  int option;
  while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
    if (option == 's') subjects = optarg;
    if (option == 'v') vma_module = optarg;
    if (option == 'r') rounds = bench_number("--rounds", optarg, 1, 1000);
    if (option == 'p') passes = bench_number("--passes", optarg, 1, 1000);
    if (option == '?') return 1;
  }
  if (optind == argc) BENCH_FAIL("a trace is needed");
  subject_names names = subject_choose(subjects, vma_module);
  bench_row_header();
  for (int i = optind; i < argc; ++i) {
    request_list list;
    load(argv[i], &list);
    if (passes > 0) {
      only_play(&list, &names, passes);
    } else {
      measure(&list, &names, rounds);
    }
    free(list.at);
  }
  return 0;
}
