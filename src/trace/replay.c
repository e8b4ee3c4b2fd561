// SPDX-License-Identifier: Apache-2.0
//
// The loop that plays a loaded trace. It owns one device, its sessions and
// their buffers for the time of one call, and sees them through the public API
// only. One thread does it all.
//
// Invariants: the timer runs inside play() and stands still everywhere else;
// the device's peaks start anew with every sample, so that the timeline knows
// the peak between any two; a failed request stops the replay, and the figures
// reach up to it.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "tegula/session.h"
#include "trace/replay_parts.h"

enum {
  DEFAULT_BATCH_REQUESTS = 32,
  MAX_BATCH_REQUESTS = 1 << 20,
  MAX_LATENCY_BATCHES = 4096,
  MAX_SESSIONS = 1024,
  MAX_REPEATS = 1 << 20,
  MAX_OPTION_TEXT = 1 << 16,
  MIN_TIMED_LOOK_STEP = 64,
};

#define MIN_SCALE 1e-6

// One session and what it has in hand.
typedef struct replay_player {
  teg_session* session;
  teg_stream* stream;
  teg_buffer** buffers;       // by slot; NULL = none
  tegi_replay_stamp* stamps;  // by slot; NULL when nothing is verified
  teg_buffer* results;        // of the checks; NULL when nothing is verified
  uint64_t last_time_ns;      // of the trace, up to which the clock has counted
  uint32_t batch_left;        // requests until the batch is full
  bool is_in_run;
} replay_player;

typedef struct replay_engine {
  tegi_host host;
  const teg_replay* replay;
  teg_replay_params params;
  teg_replay_result* result;
  teg_error* err;
  teg_result fatal;  // why the call itself fails; TEG_OK = it does not
  teg_options* options;
  teg_device* device;
  replay_player* players;
  tegi_replay_timer timer;
  tegi_replay_timeline timeline;
  tegi_replay_verify verify;
  bool is_verifying;
  teg_stats opened;     // what the device held before the first event
  bool is_loaded;       // every session has played its turn 0
  uint32_t block_left;  // operations of the block from the next look on
  uint32_t look_step;   // operations from one look to the next; divides a block
  uint32_t look_left;   // of them until the next
  bool is_last_pass;
  uint64_t clock_ns;
  const tegi_replay_event* turn;  // first event of the open turn
  uint64_t played_events;         // before the open turn
  uint64_t total_events;
  uint64_t total_runs;
  uint64_t begun_runs;
  uint64_t ended_late_runs;
  teg_stats after_load;
  teg_stats late_begin;
  teg_stats late_end;
} replay_engine;

// ---------------------------------------------------------------------------
// Failures

// The call fails. Always false.
static bool fail_call(replay_engine* engine, teg_result result) {
  if (engine->fatal == TEG_OK) engine->fatal = result;
  return false;
}

static bool fail_no_memory(replay_engine* engine) {
  return fail_call(engine,
                   tegi_error_set(engine->err, TEG_OUT_OF_HOST_MEMORY,
                                  "no host memory to replay the trace"));
}

// Something of the replay failed: counted, and the first is kept with |what|
// in front. Always false.
static bool fail_replay(replay_engine* engine, const teg_error* err,
                        const char* what) {
  teg_replay_result* result = engine->result;
  if (result->failures++ > 0) return false;
  result->failure = *err;
  snprintf(result->failure.message, sizeof result->failure.message, "%s: %.*s",
           what, (int)(sizeof err->message - strlen(what) - 3), err->message);
  return false;
}

// ---------------------------------------------------------------------------
// Looking at the device; the timer stands still

static uint64_t above(uint64_t value, uint64_t floor) {
  return value > floor ? value - floor : 0;
}

static teg_stats device_stats(const replay_engine* engine) {
  teg_stats stats = {.struct_size = sizeof stats};
  teg_device_get_stats(engine->device, &stats);
  // What verifying itself has held from the beginning is left out.
  const teg_stats* opened = &engine->opened;
  stats.live_bytes = above(stats.live_bytes, opened->live_bytes);
  stats.peak_live_bytes = above(stats.peak_live_bytes, opened->live_bytes);
  stats.mapped_bytes = above(stats.mapped_bytes, opened->mapped_bytes);
  stats.reserved_bytes = above(stats.reserved_bytes, opened->reserved_bytes);
  stats.peak_reserved_bytes =
      above(stats.peak_reserved_bytes, opened->reserved_bytes);
  return stats;
}

// Takes a sample at |time_ns| of the trace of |player|.
static bool sample(replay_engine* engine, replay_player* player,
                   uint64_t time_ns, teg_stats* out_stats) {
  engine->clock_ns += time_ns - player->last_time_ns;
  player->last_time_ns = time_ns;
  *out_stats = device_stats(engine);
  teg_device_reset_peaks(engine->device);
  return tegi_replay_timeline_add(&engine->timeline, engine->clock_ns,
                                  out_stats) ||
         fail_no_memory(engine);
}

static bool tell_progress(replay_engine* engine, uint64_t played_events) {
  if (!engine->params.progress) return true;
  if (engine->params.progress(engine->params.progress_user, played_events,
                              engine->total_events) == 0) {
    return true;
  }
  return fail_call(
      engine, tegi_error_set(engine->err, TEG_END, "the replay was ended"));
}

// The timer is paused.
static void begin_block(replay_engine* engine) {
  engine->look_left = engine->look_step;
  engine->block_left = TEGI_REPLAY_BLOCK_OPERATIONS - engine->look_step;
}

static bool end_block(replay_engine* engine, const tegi_replay_event* event,
                      const teg_stats* stats) {
  begin_block(engine);
  if (!tegi_replay_timer_end_block(&engine->timer, TEGI_REPLAY_BLOCK_OPERATIONS,
                                   stats)) {
    return fail_no_memory(engine);
  }
  return tell_progress(
      engine, engine->played_events + (uint64_t)(event - engine->turn));
}

// Takes a sample, and ends the block if it is full.
static bool look(replay_engine* engine, replay_player* player,
                 const tegi_replay_event* event) {
  tegi_replay_timer_pause(&engine->timer);
  teg_stats stats;
  bool is_ok = sample(engine, player, event->time_ns, &stats);
  if (is_ok && engine->block_left == 0) {
    is_ok = end_block(engine, event, &stats);
  } else {
    engine->look_left = engine->look_step;
    engine->block_left -= engine->look_step;
  }
  tegi_replay_timer_resume(&engine->timer);
  return is_ok;
}

// ---------------------------------------------------------------------------
// Batches

static bool wait_for(replay_engine* engine, replay_player* player,
                     uint64_t serial) {
  teg_error err;
  teg_result result = teg_stream_wait(player->stream, serial, &err);
  if (result == TEG_OK) return true;
  fail_replay(engine, &err, "a batch");
  return result == TEG_HAZARD;  // the memory is as before: go on
}

// Ends the batch; waits until at most |latency| batches are unfinished.
static bool submit(replay_engine* engine, replay_player* player,
                   uint64_t latency) {
  player->batch_left = engine->params.batch_requests;
  teg_error err;
  uint64_t serial = 0;
  if (teg_stream_submit(player->stream, &serial, &err) != TEG_OK) {
    return fail_replay(engine, &err, "a submit");
  }
  return serial <= latency || wait_for(engine, player, serial - latency);
}

// ---------------------------------------------------------------------------
// Events

static bool stamp(replay_engine* engine, replay_player* player,
                  const tegi_replay_event* event) {
  teg_error err;
  uint64_t index = (uint64_t)(event - engine->replay->events);
  teg_result result = tegi_replay_verify_stamp(
      &engine->verify, player->stream, player->buffers[event->slot], index,
      &player->stamps[event->slot], &err);
  return result == TEG_OK || fail_replay(engine, &err, "a stamp");
}

// Destroys the buffer in |slot|, if there is one.
static bool release(replay_engine* engine, replay_player* player,
                    uint32_t slot) {
  teg_buffer* buffer = player->buffers[slot];
  bool is_ok = true;
  if (player->stamps && player->stamps[slot].number) {
    teg_error err;
    teg_result result =
        tegi_replay_verify_check(&engine->verify, &player->stamps[slot],
                                 player->stream, buffer, player->results, &err);
    player->stamps[slot].number = 0;
    if (result != TEG_OK) is_ok = fail_replay(engine, &err, "a check");
  }
  player->buffers[slot] = NULL;
  teg_buffer_destroy(buffer);
  return is_ok;
}

// The size of what |event| allocates, scaled.
static inline uint64_t size_of(const replay_engine* engine,
                               const tegi_replay_event* event) {
  double scale = engine->params.scale;
  if (scale == 1) return event->size;
  return tegi_replay_scaled_size(event->size, scale);
}

static bool fail_create(replay_engine* engine, const tegi_replay_event* event,
                        const teg_error* err) {
  char what[96];
  snprintf(what, sizeof what, "event %zu, a buffer of %" PRIu64 " bytes",
           (size_t)(event - engine->replay->events), size_of(engine, event));
  return fail_replay(engine, err, what);
}

static inline bool create(replay_engine* engine, replay_player* player,
                          teg_buffer_params* params,
                          const tegi_replay_event* event) {
  params->size = size_of(engine, event);
  params->lifetime = (teg_lifetime)event->lifetime;
  params->flags = event->buffer_flags;
  teg_error err;
  if (teg_buffer_create(player->session, params, &player->buffers[event->slot],
                        &err) != TEG_OK) {
    player->buffers[event->slot] = NULL;
    return fail_create(engine, event, &err);
  }
  return !engine->is_verifying || stamp(engine, player, event);
}

// Ends the batch if the request just played has filled it; looks at the device
// when it is time to.
static inline bool count_request(replay_engine* engine, replay_player* player,
                                 const tegi_replay_event* event) {
  if (--player->batch_left == 0 &&
      !submit(engine, player, engine->params.latency_batches)) {
    return false;
  }
  return --engine->look_left != 0 || look(engine, player, event);
}

static inline bool play_request(replay_engine* engine, replay_player* player,
                                teg_buffer_params* params,
                                const tegi_replay_event* event) {
  bool is_ok = event->kind == TEG_TRACE_ALLOCATE
                   ? create(engine, player, params, event)
                   : release(engine, player, event->slot);
  return is_ok && count_request(engine, player, event);
}

// ---------------------------------------------------------------------------
// Marks

// The open block is dropped: trimming is not what is timed.
static bool play_load_end(replay_engine* engine, replay_player* player,
                          uint64_t time_ns) {
  if (!submit(engine, player, 0)) return false;
  tegi_replay_timer_pause(&engine->timer);
  teg_session_trim(player->session, TEG_TRIM_ALL);
  teg_stats stats;
  bool is_ok = sample(engine, player, time_ns, &stats);
  tegi_replay_timer_restart(&engine->timer, &stats);
  begin_block(engine);
  tegi_replay_timer_resume(&engine->timer);
  return is_ok;
}

static bool play_run_begin(replay_engine* engine, replay_player* player,
                           uint64_t time_ns) {
  tegi_replay_timer_pause(&engine->timer);
  teg_stats stats;
  bool is_ok = sample(engine, player, time_ns, &stats);
  if (engine->begun_runs == engine->total_runs / 2) {
    engine->late_begin = stats;
    tegi_replay_timer_mark_late(&engine->timer);
  }
  engine->begun_runs++;
  tegi_replay_timer_resume(&engine->timer);
  if (!is_ok) return false;
  teg_error err;
  if (teg_session_run_begin(player->session, &err) != TEG_OK) {
    return fail_replay(engine, &err, "a run_begin");
  }
  player->is_in_run = true;
  return true;
}

static bool end_run(replay_engine* engine, replay_player* player) {
  teg_error err;
  player->is_in_run = false;
  return teg_session_run_end(player->session, &err) == TEG_OK ||
         fail_replay(engine, &err, "a run_end");
}

static bool play_run_end(replay_engine* engine, replay_player* player,
                         uint64_t time_ns) {
  if (!submit(engine, player, engine->params.latency_batches)) return false;
  if (!end_run(engine, player)) return false;
  tegi_replay_timer_pause(&engine->timer);
  teg_stats stats;
  bool is_ok = sample(engine, player, time_ns, &stats);
  engine->result->runs++;
  engine->result->runs_end_ns = engine->clock_ns;
  if (engine->begun_runs > engine->total_runs / 2) {
    engine->late_end = stats;
    engine->ended_late_runs++;
  }
  tegi_replay_timer_resume(&engine->timer);
  return is_ok;
}

static bool play_weight(replay_engine* engine, replay_player* player,
                        const tegi_replay_event* event) {
  if (!engine->is_last_pass) return true;
  engine->result->operations++;
  return release(engine, player, event->slot) &&
         count_request(engine, player, event);
}

static bool play_mark(replay_engine* engine, replay_player* player,
                      const tegi_replay_event* event) {
  switch (event->kind) {
    case TEGI_REPLAY_FREE_WEIGHT:
      return play_weight(engine, player, event);
    case TEG_TRACE_LOAD_END:
      return play_load_end(engine, player, event->time_ns);
    case TEG_TRACE_RUN_BEGIN:
      return play_run_begin(engine, player, event->time_ns);
    default:
      return play_run_end(engine, player, event->time_ns);
  }
}

// ---------------------------------------------------------------------------
// Turns

// Plays events [begin, end). What is timed is in here.
static bool play(replay_engine* engine, replay_player* player, size_t begin,
                 size_t end) {
  const tegi_replay_event* events = engine->replay->events;
  teg_buffer_params params = TEG_BUFFER_PARAMS_INIT;
  params.stream = player->stream;
  uint64_t operations = 0;
  bool is_ok = true;
  size_t i = begin;
  engine->turn = &events[begin];
  tegi_replay_timer_resume(&engine->timer);
  for (; i < end && is_ok; ++i) {
    if (events[i].kind <= TEG_TRACE_FREE) {
      is_ok = play_request(engine, player, &params, &events[i]);
      ++operations;
    } else {
      is_ok = play_mark(engine, player, &events[i]);
    }
  }
  tegi_replay_timer_pause(&engine->timer);
  engine->result->operations += operations;
  engine->result->events += i - begin;
  engine->played_events += i - begin;
  if (is_ok && i > begin) {
    uint64_t time = events[i - 1].time_ns;
    engine->clock_ns += time - player->last_time_ns;
    player->last_time_ns = time;
  }
  return is_ok && tell_progress(engine, engine->played_events);
}

static bool play_loads(replay_engine* engine) {
  size_t end = engine->replay->turn_ends[0];
  for (uint32_t s = 0; s < engine->params.session_count; ++s) {
    if (!play(engine, &engine->players[s], 0, end)) return false;
  }
  engine->after_load = device_stats(engine);
  engine->result->load_end_ns = engine->clock_ns;
  engine->is_loaded = true;
  if (engine->replay->has_load_end) {
    engine->result->weights_bytes = engine->after_load.live_bytes;
  }
  return true;
}

// All sessions play the part after the load once.
static bool play_pass(replay_engine* engine) {
  const teg_replay* replay = engine->replay;
  size_t load_end = replay->turn_ends[0];
  uint64_t start = load_end ? replay->events[load_end - 1].time_ns : 0;
  for (uint32_t s = 0; s < engine->params.session_count; ++s) {
    engine->players[s].last_time_ns = start;
  }
  for (size_t turn = 1; turn < replay->turn_count; ++turn) {
    for (uint32_t s = 0; s < engine->params.session_count; ++s) {
      if (!play(engine, &engine->players[s], replay->turn_ends[turn - 1],
                replay->turn_ends[turn])) {
        return false;
      }
    }
  }
  return true;
}

// Between two passes: what the last one left is given back.
static bool clean_up_pass(replay_engine* engine) {
  for (uint32_t s = 0; s < engine->params.session_count; ++s) {
    replay_player* player = &engine->players[s];
    for (size_t i = 0; i < engine->replay->leftover_count; ++i) {
      if (!release(engine, player, engine->replay->leftovers[i])) return false;
    }
    if (!submit(engine, player, 0)) return false;
    if (player->is_in_run && !end_run(engine, player)) return false;
  }
  return true;
}

static bool play_all(replay_engine* engine) {
  teg_stats stats = device_stats(engine);
  tegi_replay_timer_restart(&engine->timer, &stats);
  if (!sample(engine, &engine->players[0], 0, &stats)) return false;
  if (!play_loads(engine)) return false;
  engine->result->peak_live_bytes = engine->timeline.peak_live_bytes;
  engine->result->peak_reserved_bytes = engine->timeline.peak_reserved_bytes;
  if (engine->replay->has_load_end) {
    tegi_replay_timeline_reset_peaks(&engine->timeline);
  }
  for (uint32_t pass = 0; pass < engine->params.repeat_count; ++pass) {
    if (pass > 0 && !clean_up_pass(engine)) return false;
    engine->is_last_pass = pass + 1 == engine->params.repeat_count;
    if (!play_pass(engine)) return false;
  }
  engine->result->is_complete = 1;
  return true;
}

// ---------------------------------------------------------------------------
// Results

static double ratio(uint64_t part, uint64_t whole) {
  return whole ? (double)part / (double)whole : 0;
}

static void fill_bytes(replay_engine* engine) {
  teg_replay_result* result = engine->result;
  const tegi_replay_timeline* timeline = &engine->timeline;
  if (engine->is_loaded) {
    result->run_peak_live_bytes =
        above(timeline->peak_live_bytes, result->weights_bytes);
    result->run_peak_reserved_bytes =
        above(timeline->peak_reserved_bytes, result->weights_bytes);
  }
  result->run_ratio =
      ratio(result->run_peak_reserved_bytes, result->run_peak_live_bytes);
  result->peak_live_bytes =
      tegi_max_u64(result->peak_live_bytes, timeline->peak_live_bytes);
  result->peak_reserved_bytes =
      tegi_max_u64(result->peak_reserved_bytes, timeline->peak_reserved_bytes);
  result->ratio = ratio(result->peak_reserved_bytes, result->peak_live_bytes);
  result->average_reserved_bytes = tegi_replay_timeline_average(timeline);
  result->record_bytes_peak = timeline->peak_record_bytes;
}

static void fill_counts(replay_engine* engine, const teg_stats* stats) {
  teg_replay_result* result = engine->result;
  const teg_stats* begin = &engine->late_begin;
  const teg_stats* end = &engine->late_end;
  uint64_t late = engine->ended_late_runs;
  result->driver_calls = stats->driver_call_count;
  result->driver_ns = (double)stats->driver_ns;
  result->allocations = stats->allocation_count;
  result->allocations_per_run =
      ratio(above(stats->allocation_count, engine->after_load.allocation_count),
            result->runs);
  result->allocations_per_late_run =
      ratio(above(end->allocation_count, begin->allocation_count), late);
  result->tiles_remapped = stats->tiles_remapped_count;
  result->tiles_remapped_per_late_run = ratio(
      above(end->tiles_remapped_count, begin->tiles_remapped_count), late);
  result->waits = stats->wait_count;
  result->waits_per_late_run =
      ratio(above(end->wait_count, begin->wait_count), late);
  result->wait_ns = (double)stats->wait_ns;
}

static bool fill_samples(replay_engine* engine) {
  teg_replay_result* result = engine->result;
  const tegi_replay_timeline* timeline = &engine->timeline;
  result->allocator = engine->host.allocator;
  teg_replay_sample* samples =
      tegi_host_calloc(&engine->host, TEG_REPLAY_MAX_SAMPLES, sizeof *samples);
  if (!samples) return fail_no_memory(engine);
  result->samples = samples;
  result->sample_count =
      tegi_replay_thin_out(timeline->samples, timeline->sample_count,
                           TEG_REPLAY_MAX_SAMPLES, samples);
  return true;
}

// After the last event, or the failure.
static void finish(replay_engine* engine) {
  replay_player* last = &engine->players[engine->params.session_count - 1];
  teg_stats stats;
  if (!sample(engine, last, last->last_time_ns, &stats)) return;
  uint32_t rest =
      TEGI_REPLAY_BLOCK_OPERATIONS - engine->block_left - engine->look_left;
  if (engine->timer.block_count == 0 && rest > 0 &&
      !tegi_replay_timer_end_block(&engine->timer, rest, &stats)) {
    fail_no_memory(engine);
    return;
  }
  fill_bytes(engine);
  fill_counts(engine, &stats);
  tegi_replay_timer_finish(&engine->timer, engine->result);
  fill_samples(engine);
}

// ---------------------------------------------------------------------------
// Begin and end

static teg_result copy_option(teg_options* target, const teg_options* source,
                              const char* key, char* text, teg_error* err) {
  teg_result result = teg_options_get(source, key, text, MAX_OPTION_TEXT, err);
  return result == TEG_OK ? teg_options_set(target, key, text, err) : result;
}

// What makes replays repeatable: batches complete when told, and the replay
// alone says when they are submitted.
static teg_result set_repeatable(replay_engine* engine) {
  static const char* const fixed[][2] = {
      {"completion", "told"}, {"batch_dispatches", "0"},  {"batch_bytes", "0"},
      {"batch_age", "0"},     {"batches_in_flight", "0"},
  };
  teg_result result = TEG_OK;
  for (size_t i = 0; result == TEG_OK && i < sizeof fixed / sizeof *fixed;
       ++i) {
    result =
        teg_options_set(engine->options, fixed[i][0], fixed[i][1], engine->err);
  }
  return result;
}

// The caller's options, with those that make replays repeatable.
static bool make_options(replay_engine* engine) {
  teg_result result = teg_options_create(&engine->host.allocator,
                                         &engine->options, engine->err);
  if (result != TEG_OK) return fail_call(engine, result);
  const teg_options* given = engine->params.options;
  char* text = tegi_host_alloc(&engine->host, MAX_OPTION_TEXT);
  if (!text) return fail_no_memory(engine);
  const teg_option_info* info;
  for (size_t i = 0; given && (info = teg_option_at(i)); ++i) {
    result = copy_option(engine->options, given, info->key, text, engine->err);
    if (result != TEG_OK) break;
  }
  if (result == TEG_OK) result = set_repeatable(engine);
  if (result == TEG_OK) {
    result = teg_options_get(engine->options, "policy", engine->result->policy,
                             sizeof engine->result->policy, engine->err);
  }
  tegi_host_free(&engine->host, text, MAX_OPTION_TEXT);
  return result == TEG_OK || fail_call(engine, result);
}

static bool open_device(replay_engine* engine) {
  teg_device_params params = TEG_DEVICE_PARAMS_INIT;
  params.backend = engine->params.backend;
  params.device_index = engine->params.device_index;
  params.options = engine->options;
  params.allocator = engine->host.allocator;
  params.log = engine->params.log;
  teg_result result = teg_device_create(&params, &engine->device, engine->err);
  if (result != TEG_OK) return fail_call(engine, result);
  teg_backend_caps caps = {.struct_size = sizeof caps};
  teg_device_get_caps(engine->device, &caps);
  engine->result->tile_bytes = caps.tile_bytes;
  snprintf(engine->result->device, sizeof engine->result->device, "%s",
           teg_device_backend_name(engine->device));
  return true;
}

static bool open_player(replay_engine* engine, replay_player* player,
                        uint32_t index) {
  char name[32];
  snprintf(name, sizeof name, "session %" PRIu32, index);
  teg_session_params params = TEG_SESSION_PARAMS_INIT;
  params.name = name;
  params.options = engine->options;
  teg_result result = teg_session_create(engine->device, &params,
                                         &player->session, engine->err);
  if (result != TEG_OK) return fail_call(engine, result);
  player->stream = teg_session_stream(player->session);
  player->batch_left = engine->params.batch_requests;
  size_t slots = engine->replay->slot_count;
  if (slots == 0) return true;
  player->buffers =
      tegi_host_calloc(&engine->host, slots, sizeof *player->buffers);
  if (!player->buffers) return fail_no_memory(engine);
  if (!engine->is_verifying) return true;
  player->stamps =
      tegi_host_calloc(&engine->host, slots, sizeof *player->stamps);
  if (!player->stamps) return fail_no_memory(engine);
  result = tegi_replay_verify_begin(player->session, player->stream,
                                    &player->results, engine->err);
  return result == TEG_OK || fail_call(engine, result);
}

static bool open_verify(replay_engine* engine) {
  if (!engine->is_verifying) return true;
  teg_result result =
      tegi_replay_verify_open(&engine->verify, engine->device, engine->err);
  return result == TEG_OK || fail_call(engine, result);
}

static bool open_players(replay_engine* engine) {
  uint32_t count = engine->params.session_count;
  engine->players =
      tegi_host_calloc(&engine->host, count, sizeof *engine->players);
  if (!engine->players) return fail_no_memory(engine);
  for (uint32_t s = 0; s < count; ++s) {
    if (!open_player(engine, &engine->players[s], s)) return false;
  }
  snprintf(engine->result->policy_in_use, sizeof engine->result->policy_in_use,
           "%s",
           teg_session_policy(engine->players[0].session, TEG_LIFETIME_RUN));
  if (engine->is_verifying) engine->opened = device_stats(engine);
  return true;
}

// ---------------------------------------------------------------------------
// The end

// Adds up what the checks of |player| found, all of which are submitted.
static void read_changes(replay_engine* engine, replay_player* player) {
  teg_replay_result* result = engine->result;
  tegi_replay_changes changes;
  teg_error err;
  if (tegi_replay_verify_read(&engine->verify, player->stream, player->results,
                              &changes, &err) != TEG_OK) {
    fail_replay(engine, &err, "the results of the checks");
    return;
  }
  uint64_t before = result->verify_mismatches;
  result->verify_mismatches += changes.buffer_count;
  if (before > 0 || changes.buffer_count == 0) return;
  const tegi_replay_event* event = &engine->replay->events[changes.event_index];
  tegi_replay_changes_describe(&changes, size_of(engine, event),
                               &result->mismatch);
}

// Destroys what is still alive; when verifying, waits for the last checks.
static void close_player(replay_engine* engine, replay_player* player) {
  size_t slots = engine->replay->slot_count;
  for (uint32_t slot = 0; player->buffers && slot < slots; ++slot) {
    release(engine, player, slot);
  }
  if (player->session) submit(engine, player, 0);
  if (player->results) read_changes(engine, player);
  teg_session_destroy(player->session);
  tegi_host_free(&engine->host, player->buffers,
                 slots * sizeof *player->buffers);
  tegi_host_free(&engine->host, player->stamps, slots * sizeof *player->stamps);
}

static void close_all(replay_engine* engine) {
  for (uint32_t s = 0; engine->players && s < engine->params.session_count;
       ++s) {
    close_player(engine, &engine->players[s]);
  }
  tegi_host_free(&engine->host, engine->players,
                 engine->params.session_count * sizeof *engine->players);
  tegi_replay_verify_close(&engine->verify);
  teg_device_destroy(engine->device);
  teg_options_destroy(engine->options);
  tegi_replay_timer_deinit(&engine->timer);
  tegi_replay_timeline_deinit(&engine->timeline);
}

static teg_result check_params(const teg_replay_params* params,
                               teg_error* err) {
  TEG_REQUIRE((params->flags & ~(uint32_t)TEG_REPLAY_VERIFY) == 0, err,
              "replay: unknown flags 0x%x", (unsigned)params->flags);
  TEG_REQUIRE(params->reserved == 0, err, "replay: reserved is not 0");
  TEG_REQUIRE(params->batch_requests <= MAX_BATCH_REQUESTS, err,
              "replay: a batch has 1 to %d requests, not %" PRIu32,
              MAX_BATCH_REQUESTS, params->batch_requests);
  TEG_REQUIRE(params->latency_batches <= MAX_LATENCY_BATCHES, err,
              "replay: latency is 0 to %d batches, not %" PRIu32,
              MAX_LATENCY_BATCHES, params->latency_batches);
  TEG_REQUIRE(params->session_count <= MAX_SESSIONS, err,
              "replay: 1 to %d sessions take turns, not %" PRIu32, MAX_SESSIONS,
              params->session_count);
  TEG_REQUIRE(params->repeat_count <= MAX_REPEATS, err,
              "replay: a trace is repeated 1 to %d times, not %" PRIu32,
              MAX_REPEATS, params->repeat_count);
  // Not a number is none of these.
  TEG_REQUIRE(
      params->scale == 0 || (params->scale >= MIN_SCALE && params->scale <= 1),
      err, "replay: sizes are scaled by %g to 1, not by %g", MIN_SCALE,
      params->scale);
  return TEG_OK;
}

static void set_defaults(teg_replay_params* params) {
  if (params->batch_requests == 0) {
    params->batch_requests = DEFAULT_BATCH_REQUESTS;
  }
  if (params->session_count == 0) params->session_count = 1;
  if (params->repeat_count == 0) params->repeat_count = 1;
  if (params->scale == 0) params->scale = 1;
}

static uint64_t count_events(const teg_replay* replay,
                             const teg_replay_params* params) {
  uint64_t load_events = replay->turn_ends[0];
  return params->session_count *
         (load_events +
          (replay->event_count - load_events) * params->repeat_count);
}

// As often as gives the timeline its samples, but not more than once an
// operation, and at least once a block.
static uint32_t choose_look_step(uint64_t event_count) {
  uint32_t step = 1;
  while (step < TEGI_REPLAY_BLOCK_OPERATIONS &&
         step < event_count / TEG_REPLAY_MAX_SAMPLES) {
    step *= 2;
  }
  return step;
}

static void init_engine(replay_engine* engine, const teg_replay* replay,
                        teg_replay_result* result, teg_error* err) {
  tegi_host_init(&engine->host, &replay->host.allocator, NULL);
  const teg_replay_params* params = &engine->params;
  engine->replay = replay;
  engine->result = result;
  engine->err = err;
  engine->is_verifying = (params->flags & TEG_REPLAY_VERIFY) != 0;
  uint64_t load_runs = replay->load_run_count;
  engine->total_events = count_events(replay, params);
  engine->total_runs =
      params->session_count *
      (load_runs + (replay->run_count - load_runs) * params->repeat_count);
  begin_block(engine);
  tegi_replay_timer_init(&engine->timer, &engine->host);
  tegi_replay_timeline_init(&engine->timeline, &engine->host);
  memcpy(result->trace, replay->name, sizeof result->trace);
  result->session_count = params->session_count;
  result->repeat_count = params->repeat_count;
  result->batch_requests = params->batch_requests;
  result->latency_batches = params->latency_batches;
  result->scale = params->scale;
}

static teg_result play_once(const teg_replay* replay,
                            const teg_replay_params* params, uint32_t look_step,
                            teg_replay_result* result, teg_error* err) {
  replay_engine engine = {.params = *params, .look_step = look_step};
  init_engine(&engine, replay, result, err);
  if (make_options(&engine) && open_device(&engine) && open_verify(&engine) &&
      open_players(&engine)) {
    play_all(&engine);
    finish(&engine);
  }
  close_all(&engine);
  if (engine.fatal != TEG_OK) {
    teg_replay_result_clear(result);
    result->struct_size = sizeof *result;
  }
  return engine.fatal;
}

// Plays once more, looking at the device often, for the timeline alone: bytes
// are the same every time.
static teg_result refine_timeline(const teg_replay* replay,
                                  const teg_replay_params* params,
                                  uint32_t look_step, teg_replay_result* result,
                                  teg_error* err) {
  teg_replay_params again = *params;
  again.flags = 0;
  again.progress = NULL;
  again.log = (teg_log){0};
  teg_replay_result fine = {.struct_size = sizeof fine};
  teg_result code = play_once(replay, &again, look_step, &fine, err);
  if (code != TEG_OK) return code;
  if (fine.events == result->events) {
    teg_replay_sample* samples = result->samples;
    result->samples = fine.samples;
    result->sample_count = fine.sample_count;
    result->average_reserved_bytes = fine.average_reserved_bytes;
    fine.samples = samples;
  }
  teg_replay_result_clear(&fine);
  return TEG_OK;
}

teg_result teg_replay_run(const teg_replay* replay,
                          const teg_replay_params* params,
                          teg_replay_result* out_result, teg_error* err) {
  TEG_REQUIRE(out_result && out_result->struct_size == sizeof *out_result, err,
              "teg_replay_run: out_result is NULL or of another size");
  *out_result = (teg_replay_result){.struct_size = sizeof *out_result};
  TEG_REQUIRE(replay, err, "teg_replay_run: replay is NULL");
  TEG_REQUIRE(!params || params->struct_size == sizeof *params, err,
              "teg_replay_run: params of another size");
  teg_replay_params used = TEG_REPLAY_PARAMS_INIT;
  if (params) used = *params;
  teg_result result = check_params(&used, err);
  if (result != TEG_OK) return result;
  set_defaults(&used);
  uint32_t step = choose_look_step(count_events(replay, &used));
  // Looking so often would show in the time of an operation.
  bool is_played_twice = step < MIN_TIMED_LOOK_STEP;
  result = play_once(replay, &used,
                     is_played_twice ? TEGI_REPLAY_BLOCK_OPERATIONS : step,
                     out_result, err);
  if (result != TEG_OK || !is_played_twice) return result;
  result = refine_timeline(replay, &used, step, out_result, err);
  if (result != TEG_OK) {
    teg_replay_result_clear(out_result);
    out_result->struct_size = sizeof *out_result;
  }
  return result;
}

void teg_replay_result_clear(teg_replay_result* result) {
  if (!result) return;
  tegi_host host;
  tegi_host_init(&host, &result->allocator, NULL);
  tegi_host_free(&host, result->samples,
                 TEG_REPLAY_MAX_SAMPLES * sizeof *result->samples);
  memset(result, 0, sizeof *result);
}
