// SPDX-License-Identifier: Apache-2.0
//
// Loading models: every way on every device, what a load holds while it goes
// on, conversions, and that whatever goes wrong leaves the session as it was.
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/load_fixture.h"

static core_fixture fx;

#define MODEL "model.safetensors"

// Small ones, none, and more than a slot of a small ring.
static const uint64_t sizes[] = {1,   4096, 0,  100000, 700001, 17, 33,
                                 300, 5,    64, 250000, 3,      0,  99999};
enum { COUNT = sizeof sizes / sizeof sizes[0] };

typedef struct load_config {
  const char* backend;
  const char* device_options;
} load_config;

static const load_config configs[] = {
    {"host", ""},
    {"host", "remap=off"},
    {"host", "tile_bytes=64KiB;completion=worker"},
    {"null", ""},
    {"null", "remap=off"},
    {"vulkan", ""},
    {"vulkan", "remap=off"},
};

enum { CONFIG_COUNT = sizeof configs / sizeof configs[0] };

#define SMALL_RING "ring_min=64KiB;ring_max=64KiB"

// False if there is no such device here.
static bool open_config(const load_config* config) {
  teg_result result =
      core_try_open(&fx, config->backend, config->device_options);
  if (result == TEG_OK) return true;
  assert_string_equal(config->backend, "vulkan");
  return false;
}

static uint64_t total_bytes(void) {
  uint64_t total = 0;
  for (size_t i = 0; i < COUNT; ++i) total += sizes[i];
  return total;
}

static teg_load_stats stats_of(const teg_weights* weights) {
  teg_load_stats stats;
  teg_weights_get_stats(weights, &stats);
  return stats;
}

static teg_result try_load(teg_session* session, const teg_model* model,
                           const teg_load_params* params,
                           teg_weights** out_weights) {
  teg_error_clear(&fx.err);
  return teg_load(session, model, params, out_weights, &fx.err);
}

static teg_weights* load(teg_session* session, const teg_model* model,
                         const teg_load_params* params) {
  teg_weights* weights = NULL;
  CORE_OK(&fx, try_load(session, model, params, &weights));
  assert_non_null(weights);
  return weights;
}

static void expect_all(teg_session* session, const teg_weights* weights) {
  for (uint64_t i = 0; i < COUNT; ++i) {
    load_fixture_expect(&fx, teg_session_stream(session), weights, i, sizes[i]);
  }
}

// Nothing of the session's or the device's is in use or kept any more.
static void expect_nothing(teg_session* session) {
  teg_stats stats = core_session_stats(session);
  assert_int_equal(stats.live_bytes, 0);
  assert_int_equal(stats.buffer_count, 0);
  assert_int_equal(core_reserved(&fx), 0);
  core_validate(&fx, session);
}

// ---- Ways ------------------------------------------------------------------

static void check_stats(const teg_weights* weights, teg_load_way way,
                        uint64_t granted) {
  teg_load_stats stats = stats_of(weights);
  assert_int_equal(stats.bytes, total_bytes());
  assert_int_equal(stats.mapped_bytes + stats.staged_bytes, stats.bytes);
  if (way != TEG_LOAD_AUTO) assert_int_equal(stats.way, way);
  if (way == TEG_LOAD_MAPPED) assert_int_equal(stats.staged_bytes, 0);
  if (way == TEG_LOAD_STAGED) assert_int_equal(stats.mapped_bytes, 0);
  assert_true(stats.ring_bytes <= 64 * KIB);
  if (stats.staged_bytes == 0) assert_int_equal(stats.ring_bytes, 0);
  // Tiles are taken whole, and heaps of two megabytes at a time.
  assert_true(stats.peak_reserved_bytes >= granted + stats.ring_bytes);
  assert_true(stats.peak_reserved_bytes <=
              granted + stats.ring_bytes + 2 * MIB);
}

static void load_in_every_way(const load_config* config, teg_load_way way,
                              bool is_packed, uint32_t threads) {
  if (!open_config(config)) return;
  teg_session* session = core_session(&fx, "load", SMALL_RING);
  teg_model* model = load_fixture_open(MODEL);
  teg_load_params params = TEG_LOAD_PARAMS_INIT;
  params.way = way;
  params.is_packed = is_packed;
  params.thread_count = threads;
  teg_weights* weights = NULL;
  teg_result result = try_load(session, model, &params, &weights);
  if (result == TEG_UNSUPPORTED) {
    // Only where it was asked for and there are no pointers.
    assert_int_equal(way, TEG_LOAD_MAPPED);
    assert_string_equal(config->backend, "vulkan");
    expect_nothing(session);
  } else {
    CORE_OK(&fx, result);
    check_stats(weights, way, core_session_stats(session).granted_bytes);
    assert_int_equal(stats_of(weights).thread_count, threads);
    assert_int_equal(core_session_stats(session).buffer_count,
                     is_packed ? 1 : COUNT - 2);
    core_validate(&fx, session);
    // The ring is back, before anything else is read through one.
    teg_load_stats stats = stats_of(weights);
    assert_true(core_reserved(&fx) + stats.ring_bytes <=
                stats.peak_reserved_bytes);
    expect_all(session, weights);
    teg_weights_destroy(weights);
    (void)teg_session_trim(session, TEG_TRIM_ALL);
  }
  teg_model_close(model);
  teg_session_destroy(session);
  assert_int_equal(core_reserved(&fx), 0);
  core_close(&fx);
}

static void every_way_gives_the_bytes_of_the_file(void** state) {
  (void)state;
  load_fixture_write(MODEL, sizes, COUNT);
  for (size_t i = 0; i < CONFIG_COUNT; ++i) {
    for (int way = TEG_LOAD_AUTO; way <= TEG_LOAD_STAGED; ++way) {
      load_in_every_way(&configs[i], (teg_load_way)way, false, 1);
      load_in_every_way(&configs[i], (teg_load_way)way, false, 3);
      load_in_every_way(&configs[i], (teg_load_way)way, true, 2);
      load_in_every_way(&configs[i], (teg_load_way)way, true, 24);
    }
  }
}

static void unified_memory_is_read_in_place(void** state) {
  (void)state;
  load_fixture_write(MODEL, sizes, COUNT);
  core_open(&fx, "host", "");
  teg_session* session = core_session(&fx, "load", NULL);
  teg_model* model = load_fixture_open(MODEL);
  teg_weights* weights = load(session, model, NULL);
  assert_int_equal(stats_of(weights).way, TEG_LOAD_MAPPED);
  assert_int_equal(stats_of(weights).mapped_bytes, total_bytes());
  assert_true(stats_of(weights).thread_count <= 4);
  teg_weights_destroy(weights);
  teg_model_close(model);
  core_close(&fx);
}

// A bus is crossed better by the device's copies than by the CPU's stores.
static void memory_of_the_devices_own_is_staged(void** state) {
  (void)state;
  load_fixture_write(MODEL, sizes, COUNT);
  core_open(&fx, "host", "");
  fx.device->caps.flags &= ~(teg_backend_flags)TEG_BACKEND_UNIFIED;
  teg_session* session = core_session(&fx, "load", SMALL_RING);
  teg_model* model = load_fixture_open(MODEL);
  teg_weights* weights = load(session, model, NULL);
  assert_int_equal(stats_of(weights).way, TEG_LOAD_STAGED);
  assert_int_equal(stats_of(weights).staged_bytes, total_bytes());
  expect_all(session, weights);
  teg_weights_destroy(weights);
  teg_model_close(model);
  core_close(&fx);
}

// Little is left beside the weights: the ring makes do with it.
static void a_ring_without_room_is_smaller(void** state) {
  (void)state;
  const uint64_t one[] = {900000};
  load_fixture_write(MODEL, one, 1);
  core_open(&fx, "null", "remap=off;budget=910000");
  teg_session* session = core_session(&fx, "load", NULL);
  teg_model* model = load_fixture_open(MODEL);
  teg_load_params params = TEG_LOAD_PARAMS_INIT;
  params.way = TEG_LOAD_STAGED;
  teg_weights* weights = load(session, model, &params);
  assert_in_range(stats_of(weights).ring_bytes, 1, 10000);
  load_fixture_expect(&fx, teg_session_stream(session), weights, 0, one[0]);
  teg_weights_destroy(weights);
  teg_model_close(model);
  core_close(&fx);
}

// ---- Which tensors ---------------------------------------------------------

static void only_the_tensors_asked_for_are_loaded(void** state) {
  (void)state;
  load_fixture_write(MODEL, sizes, COUNT);
  core_open(&fx, "null", "");
  teg_session* session = core_session(&fx, "load", NULL);
  teg_model* model = load_fixture_open(MODEL);
  const uint64_t wanted[] = {10, 3, 2};
  teg_load_params params = TEG_LOAD_PARAMS_INIT;
  params.tensors = wanted;
  params.tensor_count = 3;
  teg_weights* weights = load(session, model, &params);
  assert_int_equal(stats_of(weights).bytes, sizes[10] + sizes[3]);
  for (uint64_t i = 0; i < 3; ++i) {
    load_fixture_expect(&fx, teg_session_stream(session), weights, wanted[i],
                        sizes[wanted[i]]);
  }
  teg_buffer* buffer;
  uint64_t offset, bytes;
  CORE_EXPECT(
      &fx, TEG_NOT_FOUND,
      teg_weights_tensor(weights, 4, &buffer, &offset, &bytes, &fx.err));
  teg_weights_destroy(weights);
  teg_model_close(model);
  core_close(&fx);
}

static void a_model_can_be_loaded_in_no_part(void** state) {
  (void)state;
  load_fixture_write(MODEL, sizes, 0);
  core_open(&fx, "null", "");
  teg_session* session = core_session(&fx, "load", NULL);
  teg_model* model = load_fixture_open(MODEL);
  teg_weights* weights = load(session, model, NULL);
  assert_int_equal(stats_of(weights).bytes, 0);
  teg_weights_destroy(weights);
  teg_weights_destroy(NULL);
  expect_nothing(session);
  teg_model_close(model);
  core_close(&fx);
}

static uint64_t keep_all(void* user, const teg_tensor_info* tensor) {
  (void)user;
  (void)tensor;
  return TEG_LOAD_AS_IT_IS;
}

static void wrong_arguments_are_named(void** state) {
  (void)state;
  load_fixture_write(MODEL, sizes, COUNT);
  core_open(&fx, "null", "");
  teg_session* session = core_session(&fx, "load", NULL);
  teg_model* model = load_fixture_open(MODEL);
  const uint64_t twice[] = {5, 3, 5};
  const uint64_t beyond[] = {COUNT};
  const teg_load_hook half = {.result_bytes = keep_all};
  teg_load_params all[6];
  const char* texts[6] = {"struct_size is 1", "asked for twice",
                          "no tensor 14",     "unknown way",
                          "more than 64",     "lacks a function"};
  for (int i = 0; i < 6; ++i) all[i] = (teg_load_params)TEG_LOAD_PARAMS_INIT;
  all[0].struct_size = 1;
  all[1].tensors = twice;
  all[1].tensor_count = 3;
  all[2].tensors = beyond;
  all[2].tensor_count = 1;
  all[3].way = (teg_load_way)7;
  all[4].thread_count = 65;
  all[5].hook = &half;
  for (int i = 0; i < 6; ++i) {
    teg_weights* weights = (void*)1;
    CORE_EXPECT(&fx, TEG_INVALID, try_load(session, model, &all[i], &weights));
    assert_null(weights);
    core_expect_text(fx.err.message, texts[i]);
    expect_nothing(session);
  }
  teg_weights* weights;
  assert_int_equal(teg_load(NULL, model, NULL, &weights, NULL), TEG_INVALID);
  assert_int_equal(teg_load(session, NULL, NULL, &weights, NULL), TEG_INVALID);
  assert_int_equal(teg_load(session, model, NULL, NULL, NULL), TEG_INVALID);
  teg_model_close(model);
  core_close(&fx);
}

// ---- Not enough room -------------------------------------------------------

// The file is gone: whoever reads it would say so.
static void expect_missing(teg_session* session, teg_result expected,
                           const char* text) {
  teg_model* model = load_fixture_open(MODEL);
  assert_int_equal(unlink(MODEL), 0);
  teg_weights* weights;
  CORE_EXPECT(&fx, expected, try_load(session, model, NULL, &weights));
  core_expect_text(fx.err.message, text);
  expect_nothing(session);
  teg_model_close(model);
}

static void a_budget_says_what_is_missing_before_reading(void** state) {
  (void)state;
  const uint64_t one[] = {5 * MIB};
  load_fixture_write(MODEL, one, 1);
  core_open(&fx, "null", "budget=4MiB");
  expect_missing(core_session(&fx, "load", NULL), TEG_OVER_BUDGET,
                 "1048576 bytes are missing");
  core_close(&fx);
  load_fixture_write(MODEL, one, 1);
  core_open(&fx, "null", "");
  expect_missing(core_session(&fx, "load", "budget_session=3MiB"),
                 TEG_OVER_BUDGET, "2097152 bytes are missing");
  core_close(&fx);
}

static void a_full_device_says_what_is_missing_before_reading(void** state) {
  (void)state;
  const uint64_t one[] = {5 * MIB};
  load_fixture_write(MODEL, one, 1);
  core_open(&fx, "null", "");
  CORE_OK(&fx, teg_null_set_budget(fx.backend, 4 * MIB));
  expect_missing(core_session(&fx, "load", NULL), TEG_OUT_OF_MEMORY,
                 "1048576 bytes are missing");
  core_close(&fx);
}

// Memory that the session keeps free is not missing.
static void memory_that_is_free_counts_as_room(void** state) {
  (void)state;
  load_fixture_write(MODEL, sizes, COUNT);
  core_open(&fx, "null", "budget=4MiB");
  teg_session* session = core_session(&fx, "load", "policy=exclusive");
  teg_buffer_destroy(core_buffer(&fx, session, 3 * MIB));
  assert_true(core_reserved(&fx) > 3 * MIB);
  teg_model* model = load_fixture_open(MODEL);
  teg_weights* weights = load(session, model, NULL);
  expect_all(session, weights);
  teg_weights_destroy(weights);
  teg_model_close(model);
  core_close(&fx);
}

// ---- What is in use --------------------------------------------------------

// Weights take the place of a buffer that submitted commands still write.
static void busy_memory_is_not_read_into(void** state) {
  (void)state;
  const uint64_t one[] = {100000};
  load_fixture_write(MODEL, one, 1);
  for (int way = TEG_LOAD_AUTO; way <= TEG_LOAD_STAGED; ++way) {
    core_open(&fx, "null", "");
    teg_session* session = core_session(&fx, "load", SMALL_RING);
    teg_stream* stream = teg_session_stream(session);
    teg_buffer* before =
        core_buffer_of(&fx, session, 100000, TEG_LIFETIME_STATIC);
    core_fill(&fx, stream, before, 7);
    core_submit(&fx, stream);
    teg_buffer_destroy(before);
    teg_model* model = load_fixture_open(MODEL);
    teg_load_params params = TEG_LOAD_PARAMS_INIT;
    params.way = (teg_load_way)way;
    teg_weights* weights = load(session, model, &params);
    (void)teg_null_run_batches(fx.backend, UINT64_MAX);
    load_fixture_expect(&fx, stream, weights, 0, one[0]);
    teg_null_report report = TEG_NULL_REPORT_INIT;
    CORE_OK(&fx, teg_null_get_report(fx.backend, &report));
    if (report.hazard_count) fail_msg("%s", report.first_hazard);
    teg_weights_destroy(weights);
    teg_model_close(model);
    core_close(&fx);
  }
}

static void what_the_program_has_recorded_stays_recorded(void** state) {
  (void)state;
  load_fixture_write(MODEL, sizes, COUNT);
  core_open(&fx, "null", "");
  teg_session* session = core_session(&fx, "load", SMALL_RING);
  teg_stream* stream = teg_session_stream(session);
  teg_buffer* own = core_buffer(&fx, session, 1000);
  core_fill(&fx, stream, own, 9);
  uint64_t recording = teg_stream_recording(stream);
  teg_model* model = load_fixture_open(MODEL);
  teg_load_params params = TEG_LOAD_PARAMS_INIT;
  params.way = TEG_LOAD_STAGED;
  teg_weights* weights = load(session, model, &params);
  assert_int_equal(teg_stream_recording(stream), recording);
  core_expect_pattern(&fx, stream, own, 9);
  expect_all(session, weights);
  teg_weights_destroy(weights);
  teg_model_close(model);
  core_close(&fx);
}

// ---- Conversion ------------------------------------------------------------

typedef struct conversion {
  teg_session* session;
  uint64_t buffers_before;
  uint64_t last_offset;
  uint32_t call_count;
  uint64_t fail_tensor_bytes;  // 0 = never
} conversion;

// Large tensors become their first half, tensors of 3 and of 33 bytes are
// dropped, one keeps its size.
static uint64_t half_of(void* user, const teg_tensor_info* tensor) {
  (void)user;
  if (tensor->bytes == 3 || tensor->bytes == 33) return 0;
  if (tensor->bytes == 300) return 300;
  return tensor->bytes >= 99999 ? tensor->bytes / 2 : TEG_LOAD_AS_IT_IS;
}

static teg_result copy_half(void* user, const teg_tensor_info* tensor,
                            teg_stream* stream, teg_buffer* original,
                            teg_buffer* result, uint64_t result_offset,
                            teg_error* err) {
  conversion* seen = user;
  seen->call_count++;
  assert_true(tensor->file_offset > seen->last_offset);
  seen->last_offset = tensor->file_offset;
  assert_int_equal(core_info(original).size, tensor->bytes);
  // Its original is the only one.
  assert_int_equal(core_session_stats(seen->session).buffer_count,
                   seen->buffers_before + 1);
  if (tensor->bytes == seen->fail_tensor_bytes) {
    (void)snprintf(err->message, sizeof err->message, "no such luck");
    return TEG_DEVICE_ERROR;
  }
  uint64_t kept = half_of(user, tensor);
  teg_buffer* scratch = core_buffer_on(&fx, seen->session, kept, stream);
  CORE_OK(&fx, teg_stream_copy(stream, scratch, 0, original, 0, kept, err));
  CORE_OK(&fx, teg_stream_copy(stream, result, result_offset, scratch, 0, kept,
                               err));
  teg_buffer_destroy(scratch);
  return TEG_OK;
}

static void expect_converted(teg_session* session, const teg_weights* weights) {
  for (uint64_t i = 0; i < COUNT; ++i) {
    const teg_tensor_info info = {.bytes = sizes[i]};
    uint64_t kept = half_of(NULL, &info);
    if (kept == TEG_LOAD_AS_IT_IS) kept = sizes[i];
    if (kept > 0 || sizes[i] == 0) {
      load_fixture_expect(&fx, teg_session_stream(session), weights, i, kept);
      continue;
    }
    teg_buffer* buffer;
    uint64_t offset, bytes;
    CORE_EXPECT(
        &fx, TEG_NOT_FOUND,
        teg_weights_tensor(weights, i, &buffer, &offset, &bytes, &fx.err));
  }
}

static void convert_on(const load_config* config, teg_load_way way,
                       bool is_packed) {
  if (!open_config(config)) return;
  teg_session* session = core_session(&fx, "load", SMALL_RING);
  teg_model* model = load_fixture_open(MODEL);
  conversion seen = {.session = session,
                     .buffers_before = is_packed ? 1 : COUNT - 4};
  const teg_load_hook hook = {&seen, half_of, copy_half};
  teg_load_params params = TEG_LOAD_PARAMS_INIT;
  params.way = way;
  params.is_packed = is_packed;
  params.hook = &hook;
  teg_weights* weights = NULL;
  teg_result result = try_load(session, model, &params, &weights);
  if (result != TEG_UNSUPPORTED) {
    CORE_OK(&fx, result);
    assert_int_equal(seen.call_count, 5);
    expect_converted(session, weights);
    core_validate(&fx, session);
    // What the originals took is back.
    assert_true(core_reserved(&fx) <=
                core_session_stats(session).granted_bytes + 2 * MIB);
    teg_weights_destroy(weights);
  }
  teg_model_close(model);
  core_close(&fx);
}

static void tensors_are_converted_one_at_a_time(void** state) {
  (void)state;
  load_fixture_write(MODEL, sizes, COUNT);
  for (size_t i = 0; i < CONFIG_COUNT; ++i) {
    for (int way = TEG_LOAD_AUTO; way <= TEG_LOAD_STAGED; ++way) {
      convert_on(&configs[i], (teg_load_way)way, false);
      convert_on(&configs[i], (teg_load_way)way, true);
    }
  }
}

static void a_conversion_that_fails_ends_the_load(void** state) {
  (void)state;
  load_fixture_write(MODEL, sizes, COUNT);
  core_open(&fx, "null", "");
  teg_session* session = core_session(&fx, "load", SMALL_RING);
  teg_model* model = load_fixture_open(MODEL);
  conversion seen = {.session = session,
                     .buffers_before = COUNT - 4,
                     .fail_tensor_bytes = 250000};
  const teg_load_hook hook = {&seen, half_of, copy_half};
  teg_load_params params = TEG_LOAD_PARAMS_INIT;
  params.hook = &hook;
  teg_weights* weights;
  CORE_EXPECT(&fx, TEG_DEVICE_ERROR,
              try_load(session, model, &params, &weights));
  core_expect_text(fx.err.message, "\"t10\"");
  core_expect_text(fx.err.message, "no such luck");
  expect_nothing(session);
  teg_model_close(model);
  core_close(&fx);
}

// ---- Progress and cancelling -----------------------------------------------

typedef struct watching {
  uint64_t call_count;
  uint64_t cancel_at;  // 0 = never
  uint64_t last_bytes;
  uint64_t total_bytes;
  void (*then)(void);  // at the second call
} watching;

static bool watch(void* user, const teg_load_progress* progress) {
  watching* seen = user;
  assert_true(progress->done_bytes >= seen->last_bytes);
  assert_true(progress->done_bytes <= progress->total_bytes);
  seen->last_bytes = progress->done_bytes;
  seen->total_bytes = progress->total_bytes;
  seen->call_count++;
  if (seen->then && seen->call_count == 2) seen->then();
  return seen->call_count != seen->cancel_at;
}

static void progress_ends_with_all_bytes(void** state) {
  (void)state;
  load_fixture_write(MODEL, sizes, COUNT);
  core_open(&fx, "host", "");
  teg_session* session = core_session(&fx, "load", SMALL_RING);
  teg_model* model = load_fixture_open(MODEL);
  watching seen = {0};
  teg_load_params params = TEG_LOAD_PARAMS_INIT;
  params.watch = watch;
  params.watch_user = &seen;
  teg_weights_destroy(load(session, model, &params));
  assert_true(seen.call_count > 10);
  assert_int_equal(seen.total_bytes, total_bytes());
  assert_int_equal(seen.last_bytes, total_bytes());
  teg_model_close(model);
  core_close(&fx);
}

static void cancel_everywhere(const load_config* config, teg_load_way way) {
  if (!open_config(config)) return;
  teg_session* session = core_session(&fx, "load", SMALL_RING);
  teg_model* model = load_fixture_open(MODEL);
  teg_result result = TEG_CANCELLED;
  for (uint64_t at = 1; result != TEG_OK; ++at) {
    watching seen = {.cancel_at = at};
    conversion converted = {.session = session, .buffers_before = COUNT - 4};
    const teg_load_hook hook = {&converted, half_of, copy_half};
    teg_load_params params = TEG_LOAD_PARAMS_INIT;
    params.way = way;
    params.watch = watch;
    params.watch_user = &seen;
    params.hook = at % 2 ? &hook : NULL;
    teg_weights* weights;
    result = try_load(session, model, &params, &weights);
    if (result == TEG_UNSUPPORTED) break;
    if (result == TEG_OK) {
      assert_true(seen.call_count < at);
      teg_weights_destroy(weights);
      continue;
    }
    CORE_EXPECT(&fx, TEG_CANCELLED, result);
    assert_null(weights);
    expect_nothing(session);
  }
  teg_model_close(model);
  core_close(&fx);
}

static void a_load_can_be_cancelled_at_any_time(void** state) {
  (void)state;
  load_fixture_write(MODEL, sizes, COUNT);
  for (size_t i = 0; i < CONFIG_COUNT; ++i) {
    cancel_everywhere(&configs[i], TEG_LOAD_MAPPED);
    cancel_everywhere(&configs[i], TEG_LOAD_STAGED);
  }
}

// ---- Files that change -----------------------------------------------------

static void shrink(void) { assert_int_equal(truncate(MODEL, 500000), 0); }

static void rewrite(void) {
  usleep(20000);  // so that the clock of the files moves
  int file = open(MODEL, O_WRONLY);
  assert_true(file >= 0);
  assert_int_equal(pwrite(file, "x", 1, 900000), 1);
  close(file);
}

static void change_while_loading(void (*change)(void), const char* text) {
  for (int way = TEG_LOAD_MAPPED; way <= TEG_LOAD_STAGED; ++way) {
    load_fixture_write(MODEL, sizes, COUNT);
    core_open(&fx, "host", "");
    teg_session* session = core_session(&fx, "load", SMALL_RING);
    teg_model* model = load_fixture_open(MODEL);
    watching seen = {.then = change};
    teg_load_params params = TEG_LOAD_PARAMS_INIT;
    params.way = (teg_load_way)way;
    params.watch = watch;
    params.watch_user = &seen;
    teg_weights* weights;
    CORE_EXPECT(&fx, TEG_IO, try_load(session, model, &params, &weights));
    core_expect_text(fx.err.message, MODEL);
    core_expect_text(fx.err.message, text);
    expect_nothing(session);
    teg_model_close(model);
    core_close(&fx);
  }
}

static void a_file_that_shrinks_is_named(void** state) {
  (void)state;
  change_while_loading(shrink, "has changed since");
}

static void a_file_that_is_written_to_is_named(void** state) {
  (void)state;
  change_while_loading(rewrite, "since the model was opened");
}

static void a_file_that_is_gone_is_named(void** state) {
  (void)state;
  load_fixture_write(MODEL, sizes, COUNT);
  core_open(&fx, "host", "");
  teg_session* session = core_session(&fx, "load", NULL);
  teg_model* model = load_fixture_open(MODEL);
  assert_int_equal(unlink(MODEL), 0);
  teg_weights* weights;
  CORE_EXPECT(&fx, TEG_IO, try_load(session, model, NULL, &weights));
  core_expect_text(fx.err.message, MODEL);
  expect_nothing(session);
  teg_model_close(model);
  core_close(&fx);
}

// ---- Calls that fail -------------------------------------------------------

static void fail_every_call(teg_load_way way, bool has_hook) {
  core_open(&fx, "null", "");
  teg_session* session = core_session(&fx, "load", SMALL_RING);
  teg_model* model = load_fixture_open(MODEL);
  teg_result result = TEG_DEVICE_ERROR;
  uint64_t failed_count = 0;
  for (uint64_t k = 1; result != TEG_OK; ++k) {
    conversion seen = {.session = session, .buffers_before = COUNT - 4};
    const teg_load_hook hook = {&seen, half_of, copy_half};
    teg_load_params params = TEG_LOAD_PARAMS_INIT;
    params.way = way;
    params.thread_count = 1;
    params.hook = has_hook ? &hook : NULL;
    // Calls inside the hook are asserted to succeed.
    teg_null_calls calls = TEG_NULL_ALL_CALLS;
    if (has_hook) calls &= ~(teg_null_calls)TEG_NULL_RECORD;
    CORE_OK(&fx, teg_null_fail(fx.backend, calls, k, 1, TEG_DEVICE_ERROR));
    teg_weights* weights = NULL;
    result = try_load(session, model, &params, &weights);
    teg_null_report report = TEG_NULL_REPORT_INIT;
    CORE_OK(&fx, teg_null_get_report(fx.backend, &report));
    CORE_OK(&fx, teg_null_fail(fx.backend, 0, 0, 0, TEG_OK));
    if (result == TEG_OK) {
      if (has_hook) {
        expect_converted(session, weights);
      } else {
        expect_all(session, weights);
      }
      teg_weights_destroy(weights);
      if (report.failed_calls > 0) result = TEG_DEVICE_ERROR;
      (void)teg_session_trim(session, TEG_TRIM_ALL);
    } else {
      assert_true(report.failed_calls > 0);
      assert_null(weights);
      failed_count++;
    }
    expect_nothing(session);
    // The session can be used as before.
    core_finish(&fx, teg_session_stream(session));
  }
  assert_true(failed_count >= (way == TEG_LOAD_MAPPED ? 3 : 20));
  teg_model_close(model);
  core_close(&fx);
}

static void calls_that_fail_leave_the_session_as_it_was(void** state) {
  (void)state;
  load_fixture_write(MODEL, sizes, COUNT);
  fail_every_call(TEG_LOAD_MAPPED, false);
  fail_every_call(TEG_LOAD_STAGED, false);
  fail_every_call(TEG_LOAD_STAGED, true);
}

static void no_host_memory_leaves_the_session_as_it_was(void** state) {
  (void)state;
  load_fixture_write(MODEL, sizes, COUNT);
  for (int way = TEG_LOAD_MAPPED; way <= TEG_LOAD_STAGED; ++way) {
    core_open(&fx, "null", "");
    teg_session* session = core_session(&fx, "load", SMALL_RING);
    teg_model* model = load_fixture_open(MODEL);
    teg_load_params params = TEG_LOAD_PARAMS_INIT;
    params.way = (teg_load_way)way;
    teg_result result = TEG_OUT_OF_HOST_MEMORY;
    for (uint64_t k = 1; result != TEG_OK; ++k) {
      core_fail_host(&fx, k, 1);
      teg_weights* weights = NULL;
      result = try_load(session, model, &params, &weights);
      core_fail_host(&fx, 0, 0);
      if (result == TEG_OK) {
        expect_all(session, weights);
        teg_weights_destroy(weights);
        (void)teg_session_trim(session, TEG_TRIM_ALL);
      }
      expect_nothing(session);
    }
    teg_model_close(model);
    core_close(&fx);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_way_gives_the_bytes_of_the_file),
      cmocka_unit_test(unified_memory_is_read_in_place),
      cmocka_unit_test(memory_of_the_devices_own_is_staged),
      cmocka_unit_test(a_ring_without_room_is_smaller),
      cmocka_unit_test(only_the_tensors_asked_for_are_loaded),
      cmocka_unit_test(a_model_can_be_loaded_in_no_part),
      cmocka_unit_test(wrong_arguments_are_named),
      cmocka_unit_test(a_budget_says_what_is_missing_before_reading),
      cmocka_unit_test(a_full_device_says_what_is_missing_before_reading),
      cmocka_unit_test(memory_that_is_free_counts_as_room),
      cmocka_unit_test(busy_memory_is_not_read_into),
      cmocka_unit_test(what_the_program_has_recorded_stays_recorded),
      cmocka_unit_test(tensors_are_converted_one_at_a_time),
      cmocka_unit_test(a_conversion_that_fails_ends_the_load),
      cmocka_unit_test(progress_ends_with_all_bytes),
      cmocka_unit_test(a_load_can_be_cancelled_at_any_time),
      cmocka_unit_test(a_file_that_shrinks_is_named),
      cmocka_unit_test(a_file_that_is_written_to_is_named),
      cmocka_unit_test(a_file_that_is_gone_is_named),
      cmocka_unit_test(calls_that_fail_leave_the_session_as_it_was),
      cmocka_unit_test(no_host_memory_leaves_the_session_as_it_was),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
