// SPDX-License-Identifier: Apache-2.0
//
// Replays of small traces, on host and null: what becomes of marks, batches,
// weights, sessions and repeats; what is counted; how failures end.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tegula/replay.h"
#include "tegula/session.h"
#include "trace/replay_parts.h"

#define MIB UINT64_C(1048576)

// ---- Traces as text -----------------------------------------------------

typedef struct text_trace {
  char text[1 << 16];
  size_t length;
  uint64_t next_id;
  uint64_t time_us;
} text_trace;

static void add_line(text_trace* trace, const char* action, uint64_t id,
                     uint64_t size) {
  trace->time_us += 10;
  int length;
  if (id) {
    length = snprintf(
        trace->text + trace->length, sizeof trace->text - trace->length,
        "0,%llu,%s,%llu,%llu,0\n", (unsigned long long)trace->time_us, action,
        (unsigned long long)id, (unsigned long long)size);
  } else {
    length = snprintf(trace->text + trace->length,
                      sizeof trace->text - trace->length, "0,%llu,%s,,,\n",
                      (unsigned long long)trace->time_us, action);
  }
  assert_true(length > 0);
  trace->length += (size_t)length;
  assert_true(trace->length < sizeof trace->text);
}

static text_trace* new_trace(void) {
  text_trace* trace = calloc(1, sizeof *trace);
  assert_non_null(trace);
  trace->length = (size_t)snprintf(trace->text, sizeof trace->text,
                                   "Thread,Time,Action,Pointer,Size,Stream\n");
  return trace;
}

static uint64_t add_allocate(text_trace* trace, uint64_t size) {
  add_line(trace, "allocate", ++trace->next_id, size);
  return trace->next_id;
}

static void add_free(text_trace* trace, uint64_t id, uint64_t size) {
  add_line(trace, "free", id, size);
}

static void add_mark(text_trace* trace, const char* mark) {
  add_line(trace, mark, 0, 0);
}

// Frees |trace|.
static teg_result load(text_trace* trace, teg_replay** out_replay,
                       teg_error* err) {
  teg_trace_reader* reader = NULL;
  teg_result result = teg_trace_reader_open_memory(trace->text, trace->length,
                                                   NULL, &reader, err);
  assert_int_equal(result, TEG_OK);
  result = teg_replay_load(reader, "small", NULL, out_replay, err);
  teg_trace_reader_close(reader);
  free(trace);
  return result;
}

static teg_replay* load_ok(text_trace* trace) {
  teg_replay* replay = NULL;
  teg_error err;
  assert_int_equal(load(trace, &replay, &err), TEG_OK);
  return replay;
}

// Two weights, |run_count| runs that each have 3 MiB in two buffers at once,
// and the weights' end.
static text_trace* small_trace(int run_count) {
  text_trace* trace = new_trace();
  uint64_t weight = add_allocate(trace, 4 * MIB);
  uint64_t other = add_allocate(trace, 1000);
  add_mark(trace, "load_end");
  for (int run = 0; run < run_count; ++run) {
    add_mark(trace, "run_begin");
    uint64_t a = add_allocate(trace, 1 * MIB);
    uint64_t b = add_allocate(trace, 2 * MIB);
    add_free(trace, a, 1 * MIB);
    add_free(trace, b, 2 * MIB);
    add_mark(trace, "run_end");
  }
  add_free(trace, weight, 4 * MIB);
  add_free(trace, other, 1000);
  return trace;
}

// ---- Replays ------------------------------------------------------------

// "key=value key=value"; NULL = defaults.
static teg_options* options_of(const char* settings) {
  teg_options* options = NULL;
  assert_int_equal(teg_options_create(NULL, &options, NULL), TEG_OK);
  char text[200];
  snprintf(text, sizeof text, "%s", settings ? settings : "");
  char* rest = text;
  for (char* pair = strtok_r(text, " ", &rest); pair;
       pair = strtok_r(NULL, " ", &rest)) {
    assert_int_equal(teg_options_set_pair(options, pair, NULL), TEG_OK);
  }
  return options;
}

static teg_replay_result run(const teg_replay* replay, const char* settings,
                             teg_replay_params params) {
  teg_options* options = options_of(settings);
  params.options = options;
  teg_replay_result result = {.struct_size = sizeof result};
  teg_error err = {.message = ""};
  if (teg_replay_run(replay, &params, &result, &err) != TEG_OK) {
    fail_msg("%s", err.message);
  }
  teg_options_destroy(options);
  return result;
}

static teg_replay_params defaults(void) {
  teg_replay_params params = TEG_REPLAY_PARAMS_INIT;
  return params;
}

static void load_tells_what_it_read(void** state) {
  teg_replay* replay = load_ok(small_trace(3));
  teg_replay_info info = {.struct_size = sizeof info};
  teg_replay_get_info(replay, &info);
  assert_string_equal(info.name, "small");
  assert_int_equal(info.event_count, 2 + 1 + 3 * 6 + 2);
  assert_int_equal(info.request_count, 2 + 3 * 4 + 2);
  assert_int_equal(info.run_count, 3);
  assert_int_equal(info.load_end_index, 3);
  assert_int_equal(info.slot_count, 4);
  teg_replay_destroy(replay);
  teg_replay_destroy(NULL);
}

static void load_refuses(text_trace* trace, const char* words) {
  teg_replay* replay = (teg_replay*)1;
  teg_error err;
  assert_int_equal(load(trace, &replay, &err), TEG_CORRUPT);
  assert_null(replay);
  if (!strstr(err.message, words)) fail_msg("%s", err.message);
}

static void load_refuses_marks_out_of_order(void** state) {
  text_trace* trace = new_trace();
  add_mark(trace, "run_end");
  load_refuses(trace, "run_end without run_begin");
  trace = new_trace();
  add_mark(trace, "run_begin");
  add_mark(trace, "run_begin");
  load_refuses(trace, "run_begin inside of a run");
  trace = new_trace();
  add_mark(trace, "run_begin");
  add_mark(trace, "load_end");
  load_refuses(trace, "load_end inside of a run");
}

static void bytes_and_counts_are_the_traces(void** state) {
  teg_replay* replay = load_ok(small_trace(4));
  teg_replay_result result = run(replay, "policy=simple", defaults());
  assert_int_equal(result.is_complete, 1);
  assert_string_equal(result.trace, "small");
  assert_string_equal(result.policy, "simple");
  assert_string_equal(result.device, "host");
  assert_int_equal(result.events, 2 + 1 + 4 * 6 + 2);
  assert_int_equal(result.operations, 2 + 4 * 4 + 2);
  assert_int_equal(result.runs, 4);
  assert_int_equal(result.weights_bytes, 4 * MIB + 1000);
  assert_int_equal(result.peak_live_bytes, 7 * MIB + 1000);
  assert_int_equal(result.run_peak_live_bytes, 3 * MIB);
  assert_true(result.peak_reserved_bytes >= result.peak_live_bytes);
  assert_true(result.ratio >= 1 && result.ratio < 1.1);
  assert_true(result.run_ratio >= 1 && result.run_ratio < 1.1);
  assert_true(result.ns_per_op_median > 0);
  assert_true(result.sample_count >= 8);
  assert_int_equal(result.failures, 0);
  assert_int_equal(result.load_end_ns, 20000);
  // Every run after the first finds what it needs.
  assert_float_equal(result.allocations_per_late_run, 0, 0);
  teg_replay_result_clear(&result);
  teg_replay_destroy(replay);
}

static void disabled_allocates_in_each_run(void** state) {
  teg_replay* replay = load_ok(small_trace(4));
  teg_replay_result result = run(replay, "policy=disabled", defaults());
  assert_float_equal(result.allocations_per_run, 2, 0.001);
  assert_float_equal(result.allocations_per_late_run, 2, 0.001);
  teg_replay_result_clear(&result);
  teg_replay_destroy(replay);
}

static void short_traces_are_looked_at_after_every_operation(void** state) {
  teg_replay* replay = load_ok(small_trace(100));
  teg_replay_result result = run(replay, "policy=simple", defaults());
  assert_true(result.sample_count >= result.operations);
  assert_true(result.sample_count <= TEG_REPLAY_MAX_SAMPLES);
  assert_true(result.ns_per_op_median > 0);
  // Each buffer is seen by itself: 1, then 1 + 2, then 2 MiB, then none.
  bool has_one = false;
  for (size_t i = 0; i < result.sample_count; ++i) {
    if (result.samples[i].time_ns < result.load_end_ns) continue;
    has_one |= result.samples[i].live_bytes == 5 * MIB + 1000;
  }
  assert_true(has_one);
  teg_replay_result_clear(&result);
  teg_replay_destroy(replay);
}

static bool is_same_result(const teg_replay_result* a,
                           const teg_replay_result* b) {
  return a->peak_reserved_bytes == b->peak_reserved_bytes &&
         a->average_reserved_bytes == b->average_reserved_bytes &&
         a->driver_calls == b->driver_calls && a->waits == b->waits &&
         a->tiles_remapped == b->tiles_remapped &&
         a->sample_count == b->sample_count &&
         memcmp(a->samples, b->samples, a->sample_count * sizeof *a->samples) ==
             0;
}

static void replays_are_the_same_every_time(void** state) {
  teg_replay* replay = load_ok(small_trace(20));
  teg_replay_params params = defaults();
  params.batch_requests = 3;
  params.latency_batches = 2;
  teg_replay_result first = run(replay, "policy=tiled", params);
  for (int i = 0; i < 3; ++i) {
    teg_replay_result again = run(replay, "policy=tiled", params);
    assert_true(is_same_result(&first, &again));
    teg_replay_result_clear(&again);
  }
  teg_replay_result_clear(&first);
  teg_replay_destroy(replay);
}

// One buffer after another: with a batch each and no latency, the next finds
// the last one's memory; with latency it has to take more.
static void latency_keeps_memory_busy(void** state) {
  text_trace* trace = new_trace();
  for (int i = 0; i < 10; ++i) {
    uint64_t id = add_allocate(trace, MIB);
    add_free(trace, id, MIB);
  }
  teg_replay* replay = load_ok(trace);
  teg_replay_params params = defaults();
  params.batch_requests = 2;
  teg_replay_result prompt = run(replay, "policy=disabled", params);
  params.latency_batches = 3;
  teg_replay_result late = run(replay, "policy=disabled", params);
  assert_int_equal(prompt.peak_reserved_bytes, MIB);
  assert_int_equal(late.peak_reserved_bytes, 4 * MIB);
  teg_replay_result_clear(&prompt);
  teg_replay_result_clear(&late);
  teg_replay_destroy(replay);
}

static void sessions_take_turns_with_their_own_weights(void** state) {
  teg_replay* replay = load_ok(small_trace(6));
  teg_replay_params params = defaults();
  params.session_count = 3;
  teg_replay_result result = run(replay, "policy=simple", params);
  assert_int_equal(result.session_count, 3);
  assert_int_equal(result.runs, 18);
  assert_int_equal(result.weights_bytes, 3 * (4 * MIB + 1000));
  // One runs at a time.
  assert_true(result.run_peak_live_bytes >= 3 * MIB);
  assert_true(result.run_peak_live_bytes < 4 * MIB);
  assert_int_equal(result.failures, 0);
  teg_replay_result_clear(&result);
  teg_replay_destroy(replay);
}

static void repeats_keep_the_weights(void** state) {
  text_trace* trace = small_trace(2);
  add_allocate(trace, 5 * MIB);  // never freed: gone before the next repeat
  teg_replay* replay = load_ok(trace);
  teg_replay_params params = defaults();
  params.repeat_count = 3;
  teg_replay_result result = run(replay, "policy=simple", params);
  assert_int_equal(result.runs, 6);
  assert_int_equal(result.operations, 2 + 3 * (2 * 4 + 1) + 2);
  assert_int_equal(result.weights_bytes, 4 * MIB + 1000);
  assert_int_equal(result.run_peak_live_bytes, 5 * MIB);
  // The second repeat and the third begin with the weights live.
  uint64_t lowest = UINT64_MAX;
  for (size_t i = 0; i < result.sample_count; ++i) {
    const teg_replay_sample* sample = &result.samples[i];
    if (sample->time_ns < result.load_end_ns) continue;
    if (sample->time_ns > result.runs_end_ns) break;
    if (sample->live_bytes < lowest) lowest = sample->live_bytes;
  }
  assert_int_equal(lowest, 4 * MIB + 1000);
  teg_replay_result_clear(&result);
  teg_replay_destroy(replay);
}

static void trace_without_marks_is_one_turn(void** state) {
  text_trace* trace = new_trace();
  for (int i = 0; i < 100; ++i) {
    uint64_t id = add_allocate(trace, 1000);
    add_free(trace, id, 1000);
  }
  teg_replay* replay = load_ok(trace);
  teg_replay_result result = run(replay, "policy=simple", defaults());
  assert_int_equal(result.weights_bytes, 0);
  assert_int_equal(result.runs, 0);
  assert_int_equal(result.run_peak_live_bytes, 1000);
  assert_float_equal(result.run_ratio, result.ratio, 0);
  assert_float_equal(result.allocations_per_late_run, 0, 0);
  teg_replay_result_clear(&result);
  teg_replay_destroy(replay);
}

static void empty_trace_gives_zeros(void** state) {
  teg_replay* replay = load_ok(new_trace());
  teg_replay_params params = defaults();
  params.session_count = 2;
  params.repeat_count = 2;
  params.flags = TEG_REPLAY_VERIFY;
  teg_replay_result result = run(replay, NULL, params);
  assert_int_equal(result.is_complete, 1);
  assert_int_equal(result.events, 0);
  assert_int_equal(result.peak_live_bytes, 0);
  assert_float_equal(result.ratio, 0, 0);
  teg_replay_result_clear(&result);
  teg_replay_destroy(replay);
}

// A run that the trace ends in the middle of is ended before the next repeat.
static void open_run_is_ended_between_repeats(void** state) {
  text_trace* trace = new_trace();
  add_mark(trace, "run_begin");
  add_allocate(trace, 1000);
  teg_replay* replay = load_ok(trace);
  teg_replay_params params = defaults();
  params.repeat_count = 3;
  teg_replay_result result = run(replay, "policy=simple", params);
  assert_int_equal(result.failures, 0);
  assert_int_equal(result.is_complete, 1);
  teg_replay_result_clear(&result);
  teg_replay_destroy(replay);
}

static void verify_finds_every_policy_right(void** state) {
  static const char* const devices[] = {"host", "null"};
  teg_replay* replay = load_ok(small_trace(8));
  const teg_policy_info* policy;
  for (size_t i = 0; (policy = teg_policy_at(i)); ++i) {
    for (uint32_t way = 0; way < 4; ++way) {
      char settings[64];
      snprintf(settings, sizeof settings, "policy=%s", policy->name);
      teg_replay_params params = defaults();
      params.backend = devices[way % 2];
      params.flags = TEG_REPLAY_VERIFY;
      params.batch_requests = 3;
      params.latency_batches = way;
      params.session_count = 1 + way / 2;
      teg_replay_result result = run(replay, settings, params);
      if (result.failures) fail_msg("%s", result.failure.message);
      assert_int_equal(result.verify_mismatches, 0);
      assert_int_equal(result.is_complete, 1);
      teg_replay_result_clear(&result);
    }
  }
  teg_replay_destroy(replay);
}

static void scaled_trace_is_small_and_says_so(void** state) {
  teg_replay* replay = load_ok(small_trace(6));
  teg_replay_params params = defaults();
  params.scale = 0.01;
  params.flags = TEG_REPLAY_VERIFY;
  teg_replay_result result = run(replay, "policy=simple", params);
  assert_float_equal(result.scale, 0.01, 0);
  // 4 MiB and 1000 bytes of weights.
  assert_int_equal(result.weights_bytes, 164 * 256 + 256);
  assert_int_equal(result.verify_mismatches, 0);
  assert_int_equal(result.is_complete, 1);
  teg_replay_result_clear(&result);
  result = run(replay, "policy=simple", defaults());
  assert_float_equal(result.scale, 1, 0);
  assert_int_equal(result.weights_bytes, 4 * MIB + 1000);
  teg_replay_result_clear(&result);
  teg_replay_destroy(replay);
}

// What verifying holds for itself is not in the figures.
static void verify_changes_no_figures(void** state) {
  teg_replay* replay = load_ok(small_trace(6));
  teg_replay_params params = defaults();
  params.session_count = 2;
  teg_replay_result plain = run(replay, "policy=simple", params);
  params.flags = TEG_REPLAY_VERIFY;
  teg_replay_result verified = run(replay, "policy=simple", params);
  assert_int_equal(verified.weights_bytes, plain.weights_bytes);
  assert_int_equal(verified.peak_live_bytes, plain.peak_live_bytes);
  teg_replay_result_clear(&plain);
  teg_replay_result_clear(&verified);
  teg_replay_destroy(replay);
}

static void budget_too_small_stops_with_the_reason(void** state) {
  teg_replay* replay = load_ok(small_trace(4));
  teg_replay_result result =
      run(replay, "policy=simple budget=6MiB", defaults());
  assert_int_equal(result.is_complete, 0);
  assert_int_equal(result.failures, 1);
  assert_int_equal(result.failure.result, TEG_OVER_BUDGET);
  assert_non_null(strstr(result.failure.message, "event 5"));
  assert_non_null(strstr(result.failure.message, "2097152"));
  assert_non_null(strstr(result.failure.message, "budget"));
  assert_true(result.peak_reserved_bytes <= 6 * MIB);
  assert_int_equal(result.runs, 0);
  teg_replay_result_clear(&result);
  teg_replay_destroy(replay);
}

static void wrong_parameters_are_refused(void** state) {
  teg_replay* replay = load_ok(small_trace(1));
  teg_replay_result result = {.struct_size = sizeof result};
  teg_error err;
  teg_replay_params params = defaults();
  params.batch_requests = 1u << 30;
  assert_int_equal(teg_replay_run(replay, &params, &result, &err), TEG_INVALID);
  params = defaults();
  params.flags = 1u << 7;
  assert_int_equal(teg_replay_run(replay, &params, &result, &err), TEG_INVALID);
  const double wrong_scales[] = {-1, 1e-7, 1.5, NAN, INFINITY};
  for (size_t i = 0; i < sizeof wrong_scales / sizeof *wrong_scales; ++i) {
    params = defaults();
    params.scale = wrong_scales[i];
    assert_int_equal(teg_replay_run(replay, &params, &result, &err),
                     TEG_INVALID);
  }
  params = defaults();
  params.backend = "hots";
  assert_int_equal(teg_replay_run(replay, &params, &result, &err),
                   TEG_NOT_FOUND);
  assert_non_null(strstr(err.message, "host"));
  assert_int_equal(teg_replay_run(NULL, NULL, &result, &err), TEG_INVALID);
  result.struct_size = 3;
  assert_int_equal(teg_replay_run(replay, NULL, &result, &err), TEG_INVALID);
  teg_replay_destroy(replay);
}

// ---- Progress -----------------------------------------------------------

typedef struct progress_record {
  uint64_t call_count;
  uint64_t last;
  uint64_t total;
  uint64_t stop_at;
} progress_record;

static int record_progress(void* user, uint64_t done, uint64_t total) {
  progress_record* record = user;
  assert_true(done >= record->last);
  record->last = done;
  record->total = total;
  record->call_count++;
  return record->stop_at && done >= record->stop_at;
}

static void progress_goes_from_nothing_to_all(void** state) {
  teg_replay* replay = load_ok(small_trace(100));
  progress_record record = {0};
  teg_replay_params params = defaults();
  params.progress = record_progress;
  params.progress_user = &record;
  params.session_count = 2;
  params.repeat_count = 2;
  teg_replay_result result = run(replay, "policy=simple", params);
  assert_int_equal(record.last, record.total);
  assert_int_equal(record.total, 2 * (3 + 2 * (600 + 2)));
  assert_int_equal(result.events, record.total);
  assert_true(record.call_count > 100);
  teg_replay_result_clear(&result);
  teg_replay_destroy(replay);
}

static void progress_can_end_the_replay(void** state) {
  teg_replay* replay = load_ok(small_trace(100));
  progress_record record = {.stop_at = 50};
  teg_replay_params params = defaults();
  params.progress = record_progress;
  params.progress_user = &record;
  teg_replay_result result = {.struct_size = sizeof result};
  assert_int_equal(teg_replay_run(replay, &params, &result, NULL), TEG_END);
  assert_null(result.samples);
  teg_replay_destroy(replay);
}

// ---- Host memory --------------------------------------------------------

typedef struct failing_allocator {
  uint64_t call_count;
  uint64_t fail_at;  // 0 = never
  uint64_t live_count;
} failing_allocator;

static void* failing_allocate(void* user, size_t size, size_t alignment) {
  failing_allocator* failing = user;
  if (++failing->call_count == failing->fail_at) return NULL;
  ++failing->live_count;
  if (alignment < sizeof(void*)) alignment = sizeof(void*);
  return aligned_alloc(alignment,
                       (size + alignment - 1) / alignment * alignment);
}

static void failing_release(void* user, void* ptr, size_t size) {
  failing_allocator* failing = user;
  if (ptr) --failing->live_count;
  free(ptr);
}

static teg_result load_and_run(const text_trace* trace,
                               const teg_allocator* allocator) {
  teg_trace_reader* reader = NULL;
  assert_int_equal(teg_trace_reader_open_memory(trace->text, trace->length,
                                                NULL, &reader, NULL),
                   TEG_OK);
  teg_replay* replay = NULL;
  teg_result result = teg_replay_load(reader, "x", allocator, &replay, NULL);
  teg_trace_reader_close(reader);
  if (result != TEG_OK) return result;
  teg_replay_params params = defaults();
  params.flags = TEG_REPLAY_VERIFY;
  teg_options* options = options_of("policy=simple");
  params.options = options;
  teg_replay_result replayed = {.struct_size = sizeof replayed};
  result = teg_replay_run(replay, &params, &replayed, NULL);
  if (result == TEG_OK && replayed.failures) result = replayed.failure.result;
  teg_replay_result_clear(&replayed);
  teg_options_destroy(options);
  teg_replay_destroy(replay);
  return result;
}

static void every_failing_host_allocation_is_survived(void** state) {
  text_trace* trace = small_trace(3);
  failing_allocator failing = {0};
  teg_allocator allocator = {failing_allocate, failing_release, &failing};
  teg_result result = TEG_OUT_OF_HOST_MEMORY;
  uint64_t fail_at = 0;
  while (result != TEG_OK) {
    assert_true(fail_at < 2000);
    failing = (failing_allocator){.fail_at = ++fail_at};
    result = load_and_run(trace, &allocator);
    assert_true(result == TEG_OK || result == TEG_OUT_OF_HOST_MEMORY);
    assert_int_equal(failing.live_count, 0);
  }
  assert_true(fail_at > 10);
  free(trace);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(load_tells_what_it_read),
      cmocka_unit_test(load_refuses_marks_out_of_order),
      cmocka_unit_test(bytes_and_counts_are_the_traces),
      cmocka_unit_test(short_traces_are_looked_at_after_every_operation),
      cmocka_unit_test(disabled_allocates_in_each_run),
      cmocka_unit_test(replays_are_the_same_every_time),
      cmocka_unit_test(latency_keeps_memory_busy),
      cmocka_unit_test(sessions_take_turns_with_their_own_weights),
      cmocka_unit_test(repeats_keep_the_weights),
      cmocka_unit_test(trace_without_marks_is_one_turn),
      cmocka_unit_test(empty_trace_gives_zeros),
      cmocka_unit_test(open_run_is_ended_between_repeats),
      cmocka_unit_test(verify_finds_every_policy_right),
      cmocka_unit_test(verify_changes_no_figures),
      cmocka_unit_test(scaled_trace_is_small_and_says_so),
      cmocka_unit_test(budget_too_small_stops_with_the_reason),
      cmocka_unit_test(wrong_parameters_are_refused),
      cmocka_unit_test(progress_goes_from_nothing_to_all),
      cmocka_unit_test(progress_can_end_the_replay),
      cmocka_unit_test(every_failing_host_allocation_is_survived),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
