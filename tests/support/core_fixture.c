// SPDX-License-Identifier: Apache-2.0
#include "support/core_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/tile_census.h"

const char* const core_policies[] = {
    "disabled", "lazy",      "simple", "bucket",  "dynamic",
    "paged",    "exclusive", "tiled",  "planned", NULL,
};

// ---- Host memory and log

static void* allocate(void* user, size_t size, size_t alignment) {
  core_fixture* fx = user;
  uint64_t number = tegi_fetch_add_relaxed(&fx->call_count, 1) + 1;
  uint64_t from = tegi_load_relaxed(&fx->fail_from);
  if (from && number >= from &&
      number - from < tegi_load_relaxed(&fx->fail_count)) {
    return NULL;
  }
  void* ptr =
      aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (ptr) tegi_fetch_add_relaxed(&fx->live_count, 1);
  return ptr;
}

static void release(void* user, void* ptr, size_t size) {
  (void)size;
  if (!ptr) return;
  core_fixture* fx = user;
  tegi_fetch_add_relaxed(&fx->live_count, ~UINT64_C(0));
  free(ptr);
}

void core_fail_host(core_fixture* fx, uint64_t from, uint64_t count) {
  tegi_store_relaxed(&fx->call_count, 0);
  tegi_store_relaxed(&fx->fail_count, count);
  tegi_store_relaxed(&fx->fail_from, from);
}

static void write_log(void* user, teg_log_level level, const char* line) {
  (void)level;
  core_fixture* fx = user;
  size_t length = strlen(line);
  if (fx->log_length + length + 2 > sizeof fx->log) return;
  memcpy(fx->log + fx->log_length, line, length);
  fx->log_length += length;
  fx->log[fx->log_length++] = '\n';
  fx->log[fx->log_length] = '\0';
}

// ---- Device

void core_set_options(teg_options* options, const char* text) {
  while (text && *text) {
    char pair[512];
    size_t length = strcspn(text, ";");
    assert_true(length < sizeof pair);
    memcpy(pair, text, length);
    pair[length] = '\0';
    teg_error err;
    teg_result result = teg_options_set_pair(options, pair, &err);
    if (result != TEG_OK) fail_msg("%s: %s", pair, err.message);
    text += length;
    if (*text == ';') text++;
  }
}

static teg_options* new_options(const char* text) {
  teg_options* options = NULL;
  assert_int_equal(teg_options_create(NULL, &options, NULL), TEG_OK);
  core_set_options(options, "completion=told");
  core_set_options(options, text);
  return options;
}

teg_result core_try_open(core_fixture* fx, const char* backend,
                         const char* options) {
  uint64_t fail_from = tegi_load_relaxed(&fx->fail_from);
  uint64_t fail_count = tegi_load_relaxed(&fx->fail_count);
  memset(fx, 0, sizeof *fx);
  core_fail_host(fx, fail_from, fail_count);
  teg_device_params params = TEG_DEVICE_PARAMS_INIT;
  teg_options* set = new_options(options);
  params.backend = backend;
  params.options = set;
  params.allocator = (teg_allocator){allocate, release, fx};
  params.log = (teg_log){write_log, fx, TEG_LOG_WARNING};
  teg_result result = teg_device_create(&params, &fx->device, &fx->err);
  teg_options_destroy(set);
  if (result != TEG_OK) return result;
  fx->backend = tegi_device_backend(fx->device);
  teg_backend_caps caps;
  teg_device_get_caps(fx->device, &caps);
  fx->tile = caps.remap == TEG_REMAP_NONE ? 0 : caps.tile_bytes;
  return TEG_OK;
}

void core_open(core_fixture* fx, const char* backend, const char* options) {
  CORE_OK(fx, core_try_open(fx, backend, options));
}

void core_close(core_fixture* fx) {
  core_fail_host(fx, 0, 0);
  teg_device_destroy(fx->device);
  fx->device = NULL;
  assert_int_equal(tegi_load_relaxed(&fx->live_count), 0);
}

// ---- Sessions and buffers

teg_result core_try_session(core_fixture* fx, const char* name,
                            const char* options, teg_session** out_session) {
  teg_session_params params = TEG_SESSION_PARAMS_INIT;
  teg_options* set = new_options(options);
  params.name = name;
  params.options = set;
  teg_result result =
      teg_session_create(fx->device, &params, out_session, &fx->err);
  teg_options_destroy(set);
  return result;
}

teg_session* core_session(core_fixture* fx, const char* name,
                          const char* options) {
  teg_session* session = NULL;
  CORE_OK(fx, core_try_session(fx, name, options, &session));
  return session;
}

static teg_result create(core_fixture* fx, teg_session* session, uint64_t size,
                         teg_lifetime lifetime, teg_stream* stream,
                         teg_buffer** out_buffer) {
  teg_buffer_params params = TEG_BUFFER_PARAMS_INIT;
  params.size = size;
  params.lifetime = lifetime;
  params.stream = stream;
  return teg_buffer_create(session, &params, out_buffer, &fx->err);
}

teg_result core_try_buffer(core_fixture* fx, teg_session* session,
                           uint64_t size, teg_lifetime lifetime,
                           teg_buffer** out_buffer) {
  return create(fx, session, size, lifetime, NULL, out_buffer);
}

teg_buffer* core_buffer_of(core_fixture* fx, teg_session* session,
                           uint64_t size, teg_lifetime lifetime) {
  teg_buffer* buffer = NULL;
  CORE_OK(fx, create(fx, session, size, lifetime, NULL, &buffer));
  return buffer;
}

teg_buffer* core_buffer(core_fixture* fx, teg_session* session, uint64_t size) {
  return core_buffer_of(fx, session, size, TEG_LIFETIME_RUN);
}

teg_buffer* core_buffer_on(core_fixture* fx, teg_session* session,
                           uint64_t size, teg_stream* stream) {
  teg_buffer* buffer = NULL;
  CORE_OK(fx, create(fx, session, size, TEG_LIFETIME_RUN, stream, &buffer));
  return buffer;
}

teg_buffer_info core_info(const teg_buffer* buffer) {
  teg_buffer_info info = {0};
  teg_buffer_get_info(buffer, &info);
  return info;
}

uint8_t* core_pointer(core_fixture* fx, const teg_buffer* buffer) {
  uint8_t* base = fx->device->tables.map->host_pointer(
      fx->backend, buffer->block.extent->memory);
  return base + buffer->block.offset;
}

uint8_t* core_pointer_at(core_fixture* fx, const teg_buffer* buffer,
                         uint64_t offset, uint64_t* out_bytes) {
  const teg_map_ops* map = fx->device->tables.map;
  teg_memory* memory = buffer->block.extent->memory;
  *out_bytes = buffer->size - offset;
  if (map->host_pointer(fx->backend, memory)) {
    return core_pointer(fx, buffer) + offset;
  }
  assert_non_null(map->tile_pointer);
  uint8_t* pointer = map->tile_pointer(
      fx->backend, memory, buffer->block.offset + offset, out_bytes);
  assert_non_null(pointer);
  return pointer;
}

// ---- Commands

void core_fill(core_fixture* fx, teg_stream* stream, teg_buffer* buffer,
               uint32_t pattern) {
  uint64_t size = core_info(buffer).size;
  CORE_OK(fx, teg_stream_fill(stream, buffer, 0, size, pattern, &fx->err));
}

void core_submit(core_fixture* fx, teg_stream* stream) {
  CORE_OK(fx, teg_stream_submit(stream, NULL, &fx->err));
}

void core_finish(core_fixture* fx, teg_stream* stream) {
  uint64_t serial = 0;
  CORE_OK(fx, teg_stream_submit(stream, &serial, &fx->err));
  CORE_OK(fx, teg_stream_wait(stream, serial, &fx->err));
}

static uint8_t byte_of(uint32_t pattern, uint64_t index) {
  return (uint8_t)(pattern >> (8 * (index % 4)));
}

void core_expect_pattern(core_fixture* fx, teg_stream* stream,
                         teg_buffer* buffer, uint32_t pattern) {
  core_finish(fx, stream);
  void* pointer = NULL;
  CORE_OK(fx, teg_buffer_map(buffer, &pointer, &fx->err));
  const uint8_t* bytes = pointer;
  uint64_t size = core_info(buffer).size;
  const uint64_t at[] = {0, size / 2, size - 1};
  for (size_t i = 0; i < 3; ++i) {
    assert_int_equal(bytes[at[i]], byte_of(pattern, at[i]));
  }
  teg_buffer_unmap(buffer);
}

// ---- Counters

teg_stats core_device_stats(const core_fixture* fx) {
  teg_stats stats = {.struct_size = sizeof stats};
  teg_device_get_stats(fx->device, &stats);
  return stats;
}

teg_stats core_session_stats(const teg_session* session) {
  teg_stats stats = {.struct_size = sizeof stats};
  teg_session_get_stats(session, &stats);
  return stats;
}

uint64_t core_reserved(const core_fixture* fx) {
  return core_device_stats(fx).reserved_bytes;
}

// ---- Validation

bool core_is_valid(core_fixture* fx, teg_session* session, const char** why) {
  if (session && teg_session_validate(session, &fx->err) != TEG_OK) {
    *why = fx->err.message;
    return false;
  }
  *why = tile_census_check(fx->device);
  return *why == NULL;
}

void core_validate(core_fixture* fx, teg_session* session) {
  const char* why = NULL;
  if (!core_is_valid(fx, session, &why)) fail_msg("%s", why);
}

void core_expect_text(const char* text, const char* part) {
  if (!strstr(text, part)) fail_msg("\"%s\" is not in \"%s\"", part, text);
}
