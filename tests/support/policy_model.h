// SPDX-License-Identifier: Apache-2.0
//
// Random operations on one device against a naive model: a list of live
// buffers with their addresses and contents. After each step no two buffers
// overlap, every structure is valid, and the counters are what the list says;
// contents are written and checked by recorded commands.
//
// Choices come from a generator or from given bytes. All static, and without
// cmocka: a unit test and a fuzz target share it. The includer defines
// MODEL_CHECK(model, condition), which does not return when it is false.
#ifndef TEGULA_TESTS_POLICY_MODEL_H
#define TEGULA_TESTS_POLICY_MODEL_H

#include <stdio.h>
#include <string.h>

#include "support/call.h"
#include "support/tile_census.h"
#include "tegula/null.h"

enum {
  MODEL_BUFFERS = 40,
  MODEL_SESSIONS = 2,
  MODEL_STREAMS = 3,
  MODEL_POPULAR = 8,
  MODEL_RUN_STEPS = 24,
};

typedef struct model_input {
  uint64_t random;      // state of the generator; not 0
  const uint8_t* data;  // NULL = from the generator
  size_t size;
} model_input;

typedef struct model_buffer {
  teg_buffer* handle;  // NULL = free entry
  uint32_t session;
  uint64_t size;
  uint64_t max_size;
  uint32_t pattern;  // 0 = contents unknown
  teg_stream* home;  // NULL = gone
  teg_stream* last;  // used it last, in batch |serial|; NULL = nobody yet
  uint64_t serial;
  uintptr_t address;
  bool is_foreign;
} model_buffer;

typedef struct model_session {
  teg_session* handle;
  teg_stream* streams[MODEL_STREAMS];  // [0] is the session's own
  const teg_options* options;
  bool is_running;
} model_session;

typedef struct model model;
struct model {
  model_input input;
  model_input run_input;  // of a run that is repeated
  bool is_in_run_input;
  teg_device* device;
  teg_backend_device* backend;
  bool is_null;
  bool may_fail;  // a budget or a limit is set
  model_session sessions[MODEL_SESSIONS];
  uint32_t session_count;
  model_buffer buffers[MODEL_BUFFERS];
  uint64_t popular[MODEL_POPULAR];
  uint64_t run_seed;
  uint32_t next_pattern;
  uint64_t step_count;
  uint64_t create_count;
  uint64_t refused_count;
  const char* operation;
  teg_error err;
  char why[1200];
};

// ---- Choices ----------------------------------------------------------------

static uint32_t model_random(uint64_t* state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return (uint32_t)(*state >> 32);
}

// A number below |bound|.
static uint32_t model_pick(model* m, uint32_t bound) {
  model_input* input = m->is_in_run_input ? &m->run_input : &m->input;
  if (!input->data) return model_random(&input->random) % bound;
  uint32_t value = 0;
  for (uint32_t most = bound; most > 1 && input->size > 0; most >>= 8) {
    value = value << 8 | *input->data++;
    input->size--;
  }
  return value % bound;
}

static bool model_chance(model* m, uint32_t percent) {
  return model_pick(m, 100) < percent;
}

static uint64_t model_size(model* m) {
  uint32_t kind = model_pick(m, 16);
  if (kind < 8) return m->popular[model_pick(m, MODEL_POPULAR)];
  if (kind < 12) return 1 + model_pick(m, 8192);
  if (kind < 15) return 1 + model_pick(m, 256 * 1024);
  return 1 + model_pick(m, 2 * 1024 * 1024);
}

// ---- Checks -----------------------------------------------------------------

#define MODEL_REQUIRE(m, condition, ...)               \
  do {                                                 \
    if (!(condition)) {                                \
      snprintf((m)->why, sizeof(m)->why, __VA_ARGS__); \
      MODEL_CHECK(m, condition);                       \
    }                                                  \
  } while (0)

#define MODEL_OK(m, call)                                                \
  do {                                                                   \
    teg_result got_ = (call);                                            \
    MODEL_REQUIRE(m, got_ == TEG_OK, "%s: %s", #call, (m)->err.message); \
  } while (0)

static uint64_t model_mismatches;

static uint8_t model_byte(uint32_t pattern, uint64_t index) {
  return (uint8_t)(pattern >> (8 * (index % 4)));
}

// Both ends, and places inside.
static bool model_holds(const uint8_t* bytes, uint64_t size, uint32_t pattern) {
  uint64_t step = size / 61 + 1;
  for (uint64_t i = 0; i < size; i += step) {
    if (bytes[i] != model_byte(pattern, i)) return false;
  }
  return bytes[size - 1] == model_byte(pattern, size - 1);
}

// The pattern is the pointer itself.
static teg_result model_kernel(void* user, void* const* pointers,
                               const uint64_t* sizes, uint32_t binding_count) {
  (void)binding_count;
  if (!model_holds(pointers[0], sizes[0], (uint32_t)(uintptr_t)user)) {
    model_mismatches++;
  }
  return TEG_OK;
}

static uintptr_t model_address(model* m, const teg_buffer* buffer) {
  char* base = m->device->tables.map->host_pointer(
      m->backend, buffer->block.extent->memory);
  return (uintptr_t)(base + buffer->block.offset);
}

static void model_check_overlap(model* m, const model_buffer* one) {
  for (uint32_t i = 0; i < MODEL_BUFFERS; ++i) {
    const model_buffer* other = &m->buffers[i];
    if (other == one || !other->handle) continue;
    MODEL_REQUIRE(m,
                  one->address + one->size <= other->address ||
                      other->address + other->size <= one->address,
                  "two live buffers share bytes: %llu and %llu bytes",
                  (unsigned long long)one->size,
                  (unsigned long long)other->size);
  }
}

static void model_check_counters(model* m, uint32_t s) {
  uint64_t live = 0;
  uint64_t count = 0;
  for (uint32_t i = 0; i < MODEL_BUFFERS; ++i) {
    if (!m->buffers[i].handle || m->buffers[i].session != s) continue;
    live += m->buffers[i].size;
    count++;
  }
  teg_stats stats = {.struct_size = sizeof stats};
  teg_session_get_stats(m->sessions[s].handle, &stats);
  MODEL_REQUIRE(m, stats.live_bytes == live && stats.buffer_count == count,
                "the session counts %llu bytes live, the model %llu",
                (unsigned long long)stats.live_bytes, (unsigned long long)live);
  MODEL_REQUIRE(m, stats.granted_bytes >= live, "granted is less than live");
}

static void model_check_device(model* m) {
  const char* why = tile_census_check(m->device);
  MODEL_REQUIRE(m, !why, "%s", why);
  teg_stats stats = {.struct_size = sizeof stats};
  teg_device_get_stats(m->device, &stats);
  uint64_t budget = m->device->options.budget;
  MODEL_REQUIRE(m, !budget || stats.peak_reserved_bytes <= budget,
                "more was reserved than the budget");
  if (!m->is_null) return;
  teg_null_report report = TEG_NULL_REPORT_INIT;
  MODEL_OK(m, teg_null_get_report(m->backend, &report));
  MODEL_REQUIRE(m, report.hazard_count == 0, "%s", report.first_hazard);
  MODEL_REQUIRE(m, report.used_bytes == stats.reserved_bytes,
                "the device holds %llu bytes, counted are %llu",
                (unsigned long long)report.used_bytes,
                (unsigned long long)stats.reserved_bytes);
}

static void model_check(model* m) {
  for (uint32_t s = 0; s < MODEL_SESSIONS; ++s) {
    if (!m->sessions[s].handle) continue;
    MODEL_OK(m, teg_session_validate(m->sessions[s].handle, &m->err));
    model_check_counters(m, s);
  }
  model_check_device(m);
  MODEL_REQUIRE(m, model_mismatches == 0, "a buffer lost its contents");
}

// ---- Commands ---------------------------------------------------------------

static void model_submit(model* m, teg_stream* stream) {
  MODEL_OK(m, teg_stream_submit(stream, NULL, &m->err));
}

// Makes the next use of |buffer| by |stream| one that the program may make:
// what was recorded elsewhere is submitted first.
static void model_hand_over(model* m, model_buffer* buffer,
                            teg_stream* stream) {
  teg_stream* before = buffer->last ? buffer->last : buffer->home;
  if (before && before != stream &&
      (!buffer->last || buffer->serial > teg_stream_submitted(before))) {
    model_submit(m, before);
  }
  buffer->last = stream;
  buffer->serial = teg_stream_recording(stream);
}

static void model_fill(model* m, model_buffer* buffer, teg_stream* stream) {
  model_hand_over(m, buffer, stream);
  buffer->pattern = ++m->next_pattern * UINT32_C(0x01010107) | 1u;
  MODEL_OK(m, teg_stream_fill(stream, buffer->handle, 0, buffer->size,
                              buffer->pattern, &m->err));
}

static void model_expect(model* m, model_buffer* buffer, teg_stream* stream) {
  if (buffer->pattern == 0) return;
  model_hand_over(m, buffer, stream);
  test_argument argument = {.buffer = buffer->handle, .is_read = true};
  MODEL_OK(m, test_stream_call(m->device, stream, model_kernel,
                               (void*)(uintptr_t)buffer->pattern, &argument, 1,
                               &m->err));
}

// What was recorded on |stream| and not submitted will not run.
static void model_forget(model* m, const teg_stream* stream,
                         uint64_t recording) {
  for (uint32_t i = 0; i < MODEL_BUFFERS; ++i) {
    model_buffer* buffer = &m->buffers[i];
    if (!buffer->handle || buffer->last != stream) continue;
    if (buffer->serial >= recording) buffer->pattern = 0;
  }
}

static teg_stream* model_stream(model* m, uint32_t s) {
  model_session* session = &m->sessions[s];
  teg_stream* stream = session->streams[model_pick(m, MODEL_STREAMS)];
  return stream ? stream : session->streams[0];
}

// A live buffer; NULL if there is none. With |session| >= 0 only that one's.
static model_buffer* model_any(model* m) {
  uint32_t first = model_pick(m, MODEL_BUFFERS);
  for (uint32_t i = 0; i < MODEL_BUFFERS; ++i) {
    model_buffer* buffer = &m->buffers[(first + i) % MODEL_BUFFERS];
    if (buffer->handle) return buffer;
  }
  return NULL;
}

// ---- Operations -------------------------------------------------------------

static model_buffer* model_create_sized(model* m, uint32_t s, uint64_t size) {
  m->operation = "create";
  model_buffer* buffer = NULL;
  for (uint32_t i = 0; i < MODEL_BUFFERS && !buffer; ++i) {
    if (!m->buffers[i].handle) buffer = &m->buffers[i];
  }
  if (!buffer) return NULL;
  teg_buffer_params params = TEG_BUFFER_PARAMS_INIT;
  params.size = size;
  params.stream = model_stream(m, s);
  uint32_t kind = model_pick(m, 16);
  if (kind == 0) params.lifetime = TEG_LIFETIME_STATIC;
  if (kind == 1) params.lifetime = TEG_LIFETIME_STATE;
  if (kind == 2) params.lifetime = TEG_LIFETIME_PARAMS;
  if (kind == 3) params.flags = TEG_BUFFER_DEDICATED;
  if (kind == 4) params.flags = TEG_BUFFER_FOREIGN;
  if (kind == 5) {
    params.lifetime = TEG_LIFETIME_STATE;
    params.max_size = params.size + model_pick(m, 512 * 1024);
  }
  *buffer = (model_buffer){.session = s,
                           .size = params.size,
                           .max_size = params.max_size,
                           .home = params.stream,
                           .is_foreign = kind == 4};
  teg_result result = teg_buffer_create(m->sessions[s].handle, &params,
                                        &buffer->handle, &m->err);
  if (result != TEG_OK) {
    MODEL_REQUIRE(m, !buffer->handle, "a failed create set its output");
    MODEL_REQUIRE(
        m,
        m->may_fail && (result == TEG_OUT_OF_MEMORY ||
                        result == TEG_OVER_BUDGET || result == TEG_LIMIT),
        "create: %s", m->err.message);
    m->refused_count++;
    return NULL;
  }
  m->create_count++;
  buffer->address = model_address(m, buffer->handle);
  model_check_overlap(m, buffer);
  if (model_chance(m, 85)) model_fill(m, buffer, params.stream);
  return buffer;
}

static void model_destroy(model* m, model_buffer* buffer) {
  if (!buffer) return;
  m->operation = "destroy";
  if (model_chance(m, 60)) {
    uint32_t s = buffer->session;
    model_expect(m, buffer,
                 model_chance(m, 80) && buffer->last ? buffer->last
                                                     : model_stream(m, s));
  }
  teg_buffer_destroy(buffer->handle);
  buffer->handle = NULL;
}

static void model_resize(model* m, model_buffer* buffer) {
  if (!buffer || !buffer->max_size) return;
  m->operation = "resize";
  uint64_t size = 1 + model_pick(m, (uint32_t)buffer->max_size);
  teg_stream* used = buffer->last ? buffer->last : buffer->home;
  // A shrinking buffer waits for its uses; those of others must be submitted.
  if (used && used != buffer->home) model_submit(m, used);
  teg_result result = teg_buffer_resize(buffer->handle, size, &m->err);
  if (result != TEG_OK) {
    MODEL_REQUIRE(
        m,
        m->may_fail && (result == TEG_OUT_OF_MEMORY ||
                        result == TEG_OVER_BUDGET || result == TEG_LIMIT),
        "resize: %s", m->err.message);
    m->refused_count++;
    return;
  }
  MODEL_REQUIRE(m, buffer->address == model_address(m, buffer->handle),
                "a resized buffer moved");
  if (size > buffer->size) buffer->pattern = 0;
  buffer->size = size;
  model_check_overlap(m, buffer);
  teg_stream* stream = used ? used : m->sessions[buffer->session].streams[0];
  if (model_chance(m, 80)) model_fill(m, buffer, stream);
}

static void model_map(model* m, model_buffer* buffer) {
  if (!buffer || buffer->is_foreign) return;
  m->operation = "map";
  if (buffer->last) model_submit(m, buffer->last);
  void* pointer = NULL;
  MODEL_OK(m, teg_buffer_map(buffer->handle, &pointer, &m->err));
  MODEL_REQUIRE(m, (uintptr_t)pointer == buffer->address, "mapped elsewhere");
  if (buffer->pattern) {
    MODEL_REQUIRE(m, model_holds(pointer, buffer->size, buffer->pattern),
                  "a mapped buffer lost its contents");
  }
  teg_buffer_unmap(buffer->handle);
}

static void model_run_toggle(model* m, uint32_t s) {
  model_session* session = &m->sessions[s];
  m->operation = session->is_running ? "run_end" : "run_begin";
  if (session->is_running) {
    MODEL_OK(m, teg_session_run_end(session->handle, &m->err));
  } else {
    MODEL_OK(m, teg_session_run_begin(session->handle, &m->err));
  }
  session->is_running = !session->is_running;
}

static void model_stream_toggle(model* m, uint32_t s) {
  uint32_t i = 1 + model_pick(m, MODEL_STREAMS - 1);
  teg_stream** stream = &m->sessions[s].streams[i];
  if (!*stream) {
    m->operation = "stream_create";
    MODEL_OK(m, teg_stream_create(m->sessions[s].handle, stream, &m->err));
    return;
  }
  m->operation = "stream_destroy";
  model_forget(m, *stream, teg_stream_recording(*stream));
  teg_stream_destroy(*stream);
  for (uint32_t b = 0; b < MODEL_BUFFERS; ++b) {
    model_buffer* buffer = &m->buffers[b];
    if (buffer->home == *stream) buffer->home = NULL;
    if (buffer->last == *stream) buffer->last = NULL;
  }
  *stream = NULL;
}

static void model_begin_session(model* m, uint32_t s) {
  m->operation = "session_create";
  model_session* session = &m->sessions[s];
  teg_session_params params = TEG_SESSION_PARAMS_INIT;
  params.options = session->options;
  MODEL_OK(m,
           teg_session_create(m->device, &params, &session->handle, &m->err));
  session->streams[0] = teg_session_stream(session->handle);
}

static void model_end_session(model* m, uint32_t s) {
  m->operation = "session_destroy";
  model_session* session = &m->sessions[s];
  for (uint32_t i = 0; i < MODEL_BUFFERS; ++i) {
    if (m->buffers[i].handle && m->buffers[i].session == s) {
      m->buffers[i].handle = NULL;  // left to the session
    }
  }
  teg_session_destroy(session->handle);
  *session = (model_session){.options = session->options};
}

// A run whose steps come from a seed, mostly that of the run before: buffers
// of its own, made and freed in an order of its own, with a step of another
// kind in between now and then.
static void model_run(model* m, uint32_t s) {
  if (m->sessions[s].is_running || m->is_in_run_input) return;
  if (model_chance(m, 25)) m->run_seed = 1 + model_pick(m, 1u << 30);
  uint32_t disturb_at =
      model_chance(m, 40) ? model_pick(m, MODEL_RUN_STEPS) : MODEL_RUN_STEPS;
  model_run_toggle(m, s);
  m->run_input = (model_input){.random = m->run_seed};
  model_buffer* own[MODEL_RUN_STEPS] = {NULL};
  uint32_t own_count = 0;
  for (uint32_t i = 0; i < MODEL_RUN_STEPS; ++i) {
    m->is_in_run_input = i != disturb_at;
    uint32_t what = model_pick(m, 8);
    uint32_t which = model_pick(m, MODEL_RUN_STEPS);
    uint64_t size = model_size(m);
    m->is_in_run_input = true;
    if (what < 4) {
      own[own_count] = model_create_sized(m, s, size);
      if (own[own_count]) own_count++;
    } else if (what < 7 && own_count > 0) {
      which %= own_count;
      model_destroy(m, own[which]);
      own[which] = own[--own_count];
    } else if (what == 7) {
      model_submit(m, m->sessions[s].streams[0]);
    }
    model_check(m);
  }
  m->is_in_run_input = false;
  for (uint32_t i = 0; i < own_count; ++i) {
    if (!model_chance(m, 5)) model_destroy(m, own[i]);
  }
  model_submit(m, m->sessions[s].streams[0]);
  model_run_toggle(m, s);
}

static void model_step(model* m) {
  uint32_t s = model_pick(m, m->session_count);
  model_session* session = &m->sessions[s];
  if (!session->handle) model_begin_session(m, s);
  uint32_t what = model_pick(m, 64);
  teg_stream* stream = model_stream(m, s);
  m->operation = "command";
  if (what < 20) {
    (void)model_create_sized(m, s, model_size(m));
  } else if (what < 34) {
    model_destroy(m, model_any(m));
  } else if (what < 40) {
    model_buffer* buffer = model_any(m);
    if (buffer && buffer->session == s) model_expect(m, buffer, stream);
  } else if (what < 43) {
    model_buffer* buffer = model_any(m);
    if (buffer && buffer->session == s) model_fill(m, buffer, stream);
  } else if (what < 48) {
    m->operation = "submit";
    model_submit(m, stream);
  } else if (what < 51) {
    m->operation = "wait";
    uint64_t last = teg_stream_submitted(stream);
    uint64_t serial = last - tegi_min_u64(last, model_pick(m, 3));
    MODEL_OK(m, teg_stream_wait(stream, serial, &m->err));
  } else if (what < 54) {
    model_run(m, s);
  } else if (what == 54) {
    model_run_toggle(m, s);
  } else if (what == 55) {
    m->operation = "session_trim";
    (void)teg_session_trim(session->handle, (teg_trim_level)model_pick(m, 3));
  } else if (what == 56) {
    m->operation = "device_trim";
    (void)teg_device_trim(m->device, (teg_trim_level)model_pick(m, 3));
  } else if (what < 60) {
    model_resize(m, model_any(m));
  } else if (what == 60) {
    model_map(m, model_any(m));
  } else if (what == 61) {
    m->operation = "discard";
    model_forget(m, stream, teg_stream_recording(stream));
    MODEL_OK(m, teg_stream_discard(stream, &m->err));
  } else if (what == 62) {
    model_stream_toggle(m, s);
  } else if (model_chance(m, 25)) {
    model_end_session(m, s);
  } else {
    model_buffer* buffer = model_any(m);
    m->operation = "used_on";
    if (buffer && buffer->session == s) {
      model_hand_over(m, buffer, stream);
      buffer->is_foreign = true;
      MODEL_OK(m, teg_buffer_used_on(buffer->handle, stream, &m->err));
    }
  }
  m->step_count++;
  model_check(m);
}

// ---- A whole life -----------------------------------------------------------

// Begins on an open device. The options are the sessions' and outlive the
// model.
static void model_begin(model* m, teg_device* device, model_input input,
                        uint32_t session_count, const teg_options* options) {
  *m = (model){.input = input, .device = device, .run_seed = 1};
  m->backend = tegi_device_backend(device);
  m->is_null = strcmp(teg_device_backend_name(device), "null") == 0;
  m->session_count = session_count;
  model_mismatches = 0;
  for (uint32_t i = 0; i < MODEL_POPULAR; ++i) {
    m->popular[i] = 1 + model_pick(m, 1024u << i);
  }
  for (uint32_t s = 0; s < session_count; ++s) {
    m->sessions[s].options = options;
    model_begin_session(m, s);
  }
}

// Ends the sessions and looks for what is left on the device.
static void model_end(model* m) {
  for (uint32_t s = 0; s < m->session_count; ++s) {
    if (m->sessions[s].handle) model_end_session(m, s);
    model_check(m);
  }
  m->operation = "device_trim";
  (void)teg_device_trim(m->device, TEG_TRIM_ALL);
  model_check(m);
  teg_stats stats = {.struct_size = sizeof stats};
  teg_device_get_stats(m->device, &stats);
  MODEL_REQUIRE(m, stats.reserved_bytes == 0, "%llu bytes are still reserved",
                (unsigned long long)stats.reserved_bytes);
}

#endif  // TEGULA_TESTS_POLICY_MODEL_H
