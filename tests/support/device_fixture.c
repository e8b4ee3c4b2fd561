// SPDX-License-Identifier: Apache-2.0
#include "support/device_fixture.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/registry.h"

#define KIB UINT64_C(1024)
#define MIB (UINT64_C(1024) * KIB)

const device_config device_configs[] = {
    {"host-2m", "host", 0, false, false},
    {"host-4k", "host", 4 * KIB, false, false},
    {"host-64k", "host", 64 * KIB, false, false},
    {"host-64m", "host", 64 * MIB, false, false},
    {"host-told", "host", 64 * KIB, true, false},
    {"host-fixed", "host", 0, false, true},
    {"host-checked", "host", 64 * KIB, false, false},
    {"null-2m", "null", 0, false, false},
    {"null-64k", "null", 64 * KIB, true, false},
    {"null-fixed", "null", 64 * KIB, true, true},
    {"vulkan-2m", "vulkan", 0, false, false},
    {"vulkan-64k", "vulkan", 64 * KIB, false, false},
    {"vulkan-told", "vulkan", 64 * KIB, true, false},
    {"vulkan-fixed", "vulkan", 0, false, true},
    {"vulkan-checked", "vulkan", 64 * KIB, false, false},
};
const size_t device_config_count =
    sizeof device_configs / sizeof *device_configs;

// ---- Allocator.

static void* allocate(void* user, size_t size, size_t alignment) {
  device_allocator* allocator = user;
  uint64_t fail_at = tegi_load_relaxed(&allocator->fail_at);
  if (fail_at) {
    tegi_store_relaxed(&allocator->fail_at, fail_at - 1);
    if (fail_at == 1) return NULL;
  }
  void* ptr =
      aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (ptr) tegi_fetch_add_relaxed(&allocator->live_count, 1);
  return ptr;
}

static void release(void* user, void* ptr, size_t size) {
  (void)size;
  if (!ptr) return;
  device_allocator* allocator = user;
  tegi_fetch_add_relaxed(&allocator->live_count, (uint64_t)-1);
  free(ptr);
}

teg_allocator device_fixture_allocator(device_allocator* allocator) {
  return (teg_allocator){allocate, release, allocator};
}

// ---- Fixture.

static const teg_backend_ops* find_backend(const char* name) {
  for (size_t i = 0; tegi_backends[i]; i++) {
    if (strcmp(tegi_backends[i]->name, name) == 0) return tegi_backends[i];
  }
  return NULL;
}

static void complain(void* user, teg_log_level level, const char* line) {
  device_fixture* fx = user;
  if (level > TEG_LOG_WARNING) return;
  if (fx->complaint_count++ == 0) {
    snprintf(fx->complaint, sizeof fx->complaint, "%s", line);
  }
}

void device_fixture_filter(void) {
  const char* filter = getenv("TEGULA_TEST_FILTER");
  if (filter) cmocka_set_test_filter(filter);
}

const teg_backend_ops* device_fixture_backend(const char* name) {
  const teg_backend_ops* backend = find_backend(name);
  if (!backend) fail_msg("no backend %s", name);
  return backend;
}

teg_backend_open_params device_fixture_params(device_fixture* fx) {
  teg_backend_open_params params = {.struct_size = sizeof params};
  params.tile_bytes = fx->config->tile_bytes;
  params.is_told = fx->config->is_told;
  params.is_remap_disabled = fx->config->is_remap_disabled;
  params.allocator = device_fixture_allocator(&fx->allocator);
  params.log = (teg_log){complain, fx, TEG_LOG_WARNING};
  return params;
}

void device_fixture_open(device_fixture* fx, const device_config* config,
                         const teg_backend_open_params* params) {
  *fx = (device_fixture){.config = config};
  teg_backend_open_params own = device_fixture_params(fx);
  if (params) {
    teg_log log = own.log;
    own = *params;
    own.allocator = device_fixture_allocator(&fx->allocator);
    if (!own.log.write) own.log = log;
  }
  const teg_backend_ops* backend = device_fixture_backend(config->backend);
  EXPECT_OK(fx, backend->open(&own, &fx->device, &fx->err));
  if (fnmatch("*-checked", config->name, 0) == 0) {
    teg_backend_device* inner = fx->device;
    EXPECT_OK(fx,
              tegi_backend_check(inner, &own.allocator, &fx->device, &fx->err));
  }
  fx->tables = fx->device->tables;
  fx->tables.device->query_caps(fx->device, &fx->caps);
}

void device_fixture_close(device_fixture* fx) {
  fx->tables.queue->stream_destroy(fx->device, fx->copy_stream);
  fx->tables.device->memory_destroy(fx->device, fx->copy_buffer);
  fx->tables.device->close(fx->device);
  assert_int_equal(tegi_load_relaxed(&fx->allocator.live_count), 0);
  if (fx->complaint_count) {
    fail_msg("%u warnings; the first: %s", fx->complaint_count, fx->complaint);
  }
}

teg_memory* fixture_buffer(device_fixture* fx, uint64_t size) {
  teg_memory* memory;
  EXPECT_OK(fx, fx->tables.device->buffer_create(fx->device, size, &memory,
                                                 &fx->err));
  assert_non_null(memory);
  return memory;
}

teg_memory* fixture_heap(device_fixture* fx, uint64_t size) {
  teg_memory* memory;
  EXPECT_OK(
      fx, fx->tables.device->heap_create(fx->device, size, &memory, &fx->err));
  assert_non_null(memory);
  return memory;
}

teg_memory* fixture_range(device_fixture* fx, uint64_t size) {
  teg_memory* range;
  EXPECT_OK(
      fx, fx->tables.remap->range_reserve(fx->device, size, &range, &fx->err));
  assert_non_null(range);
  return range;
}

static void wait_for_binds(device_fixture* fx, teg_queue_stream* stream) {
  if (!fx->bind_serial) return;
  teg_queue_stream* binds = fx->tables.remap->bind_stream(fx->device);
  EXPECT_OK(fx, fx->tables.queue->record_wait(stream, binds, fx->bind_serial,
                                              &fx->err));
}

teg_queue_stream* fixture_stream(device_fixture* fx) {
  teg_queue_stream* stream;
  EXPECT_OK(fx, fx->tables.queue->stream_create(fx->device, &stream, &fx->err));
  assert_non_null(stream);
  assert_true(fx->stream_count < FIXTURE_MOST_STREAMS);
  fx->streams[fx->stream_count++] = stream;
  wait_for_binds(fx, stream);
  return stream;
}

void fixture_stream_destroy(device_fixture* fx, teg_queue_stream* stream) {
  for (uint32_t i = 0; i < fx->stream_count; i++) {
    if (fx->streams[i] != stream) continue;
    fx->streams[i] = fx->streams[--fx->stream_count];
    break;
  }
  fx->tables.queue->stream_destroy(fx->device, stream);
}

void fixture_destroy(device_fixture* fx, teg_memory* memory) {
  fx->tables.device->memory_destroy(fx->device, memory);
}

static teg_result submit_binds(device_fixture* fx) {
  if (fx->caps.remap != TEG_REMAP_QUEUE_ORDERED) return TEG_OK;
  const teg_queue_ops* queue = fx->tables.queue;
  teg_queue_stream* binds = fx->tables.remap->bind_stream(fx->device);
  teg_result result = queue->submit(binds, fx->bind_serial + 1, &fx->err);
  if (result != TEG_OK) {
    queue->discard(binds);
    return result;
  }
  fx->bind_serial++;
  for (uint32_t i = 0; i < fx->stream_count; i++) {
    wait_for_binds(fx, fx->streams[i]);
  }
  return TEG_OK;
}

teg_result fixture_map_runs(device_fixture* fx, teg_memory* range,
                            const teg_tile_run* runs, size_t run_count) {
  teg_result result =
      fx->tables.remap->map(fx->device, range, runs, run_count, &fx->err);
  return result == TEG_OK ? submit_binds(fx) : result;
}

teg_result fixture_unmap_runs(device_fixture* fx, teg_memory* range,
                              const teg_tile_run* runs, size_t run_count) {
  teg_result result =
      fx->tables.remap->unmap(fx->device, range, runs, run_count, &fx->err);
  return result == TEG_OK ? submit_binds(fx) : result;
}

void fixture_map(device_fixture* fx, teg_memory* range, uint32_t range_tile,
                 teg_memory* heap, uint32_t heap_tile, uint32_t count) {
  teg_tile_run run = {heap, heap_tile, range_tile, count};
  EXPECT_OK(fx, fixture_map_runs(fx, range, &run, 1));
}

void fixture_unmap(device_fixture* fx, teg_memory* range, uint32_t range_tile,
                   uint32_t count) {
  teg_tile_run run = {NULL, 0, range_tile, count};
  EXPECT_OK(fx, fixture_unmap_runs(fx, range, &run, 1));
}

void fixture_barrier(device_fixture* fx, teg_queue_stream* stream) {
  EXPECT_OK(fx, fx->tables.queue->record_barrier(stream, &fx->err));
}

uint8_t* fixture_bytes(device_fixture* fx, teg_memory* memory) {
  uint8_t* bytes = fx->tables.map->host_pointer(fx->device, memory);
  assert_non_null(bytes);
  return bytes;
}

// The pointer to |memory|, or NULL and a buffer and stream to copy through.
static uint8_t* pointer_or_copies(device_fixture* fx, teg_memory* memory,
                                  uint64_t size) {
  uint8_t* bytes = fx->tables.map->host_pointer(fx->device, memory);
  if (bytes) return bytes;
  assert_true(size <= FIXTURE_COPY_BYTES);
  if (!fx->copy_stream) {
    fx->copy_stream = fixture_stream(fx);
    fx->copy_buffer = fixture_buffer(fx, FIXTURE_COPY_BYTES);
  }
  return NULL;
}

static void copy_bytes(device_fixture* fx, teg_span target, teg_span source) {
  fixture_barrier(fx, fx->copy_stream);
  EXPECT_OK(fx, fx->tables.queue->record_copy(fx->copy_stream, &target, &source,
                                              &fx->err));
}

static void finish_copies(device_fixture* fx) {
  const teg_queue_ops* queue = fx->tables.queue;
  EXPECT_OK(fx, queue->submit(fx->copy_stream, ++fx->copy_serial, &fx->err));
  EXPECT_OK(fx, queue->wait(fx->copy_stream, fx->copy_serial, &fx->err));
}

void fixture_peek_many(device_fixture* fx, const teg_span* spans, size_t count,
                       void* out_bytes) {
  uint64_t size = 0;
  for (size_t i = 0; i < count; i++) size += spans[i].size;
  const uint8_t* from = pointer_or_copies(fx, spans[0].memory, size);
  uint64_t done = 0;
  for (size_t i = 0; i < count; i++) {
    if (from) {
      memcpy((uint8_t*)out_bytes + done, from + spans[i].offset, spans[i].size);
    } else {
      copy_bytes(fx, (teg_span){fx->copy_buffer, done, spans[i].size, 0},
                 spans[i]);
    }
    done += spans[i].size;
  }
  if (from) return;
  finish_copies(fx);
  memcpy(out_bytes, fixture_bytes(fx, fx->copy_buffer), size);
}

void fixture_peek(device_fixture* fx, teg_memory* memory, uint64_t offset,
                  uint64_t size, void* out_bytes) {
  teg_span span = {memory, offset, size, 0};
  fixture_peek_many(fx, &span, 1, out_bytes);
}

void fixture_poke(device_fixture* fx, teg_memory* memory, uint64_t offset,
                  uint64_t size, const void* bytes) {
  uint8_t* to = pointer_or_copies(fx, memory, size);
  if (to) {
    memcpy(to + offset, bytes, size);
    return;
  }
  memcpy(fixture_bytes(fx, fx->copy_buffer), bytes, size);
  copy_bytes(fx, (teg_span){memory, offset, size, 0},
             (teg_span){fx->copy_buffer, 0, size, 0});
  finish_copies(fx);
}

bool fixture_all_bytes(const uint8_t* bytes, uint64_t size, uint8_t value) {
  for (uint64_t i = 0; i < size; i++) {
    if (bytes[i] != value) return false;
  }
  return true;
}

// ---- Runner.

typedef struct suite_case {
  const device_config* config;
  const device_test* test;
  const char* never_reason;  // NULL = must pass
  char name[128];
} suite_case;

static bool matches(const char* pattern, const char* name) {
  return fnmatch(pattern, name, 0) == 0;
}

// Why a configuration cannot be had here; NULL if it can.
static const char* skip_reason(const device_config* config) {
  static char reason[1200];
  static const device_config* asked;
  if (asked == config) return reason[0] ? reason : NULL;
  asked = config;
  reason[0] = '\0';
  const teg_backend_ops* backend = find_backend(config->backend);
  if (!backend) {
    snprintf(reason, sizeof reason, "this build does not have the backend %s",
             config->backend);
    return reason;
  }
  uint32_t count;
  teg_error err = {.result = TEG_OK};
  if (backend->probe(&count, &err) != TEG_OK) {
    snprintf(reason, sizeof reason, "%s", err.message);
    return reason;
  }
  device_fixture fx;
  device_fixture_open(&fx, config, NULL);
  if (!config->is_remap_disabled && !fx.tables.remap) {
    snprintf(reason, sizeof reason, "the device cannot remap");
  } else if (!fx.tables.map) {
    snprintf(reason, sizeof reason, "the device's memory has no pointers");
  }
  device_fixture_close(&fx);
  return reason[0] ? reason : NULL;
}

static void run_case(void** state) {
  const suite_case* one = *state;
  const char* why_not = skip_reason(one->config);
  if (why_not) {
    print_message("%s\n", why_not);
    skip();
  }
  device_fixture fx;
  device_fixture_open(&fx, one->config, NULL);
  device_outcome outcome = one->test->run(&fx);
  device_fixture_close(&fx);
  if (one->never_reason) {
    if (outcome == DEVICE_PASSED) {
      fail_msg("passed, but is listed as never supported: %s",
               one->never_reason);
    }
    print_message("[  NEVER   ] %s\n", one->never_reason);
  } else if (outcome != DEVICE_PASSED) {
    fail_msg("the device refuses it, and no table says so");
  }
}

int device_run_suite(const char* name, const device_test* tests,
                     size_t test_count, const device_never* nevers,
                     size_t never_count) {
  size_t count = test_count * device_config_count;
  suite_case* cases = calloc(count, sizeof *cases);
  struct CMUnitTest* list = calloc(count, sizeof *list);
  if (!cases || !list) return 1;
  for (size_t i = 0; i < count; i++) {
    suite_case* one = &cases[i];
    one->config = &device_configs[i / test_count];
    one->test = &tests[i % test_count];
    snprintf(one->name, sizeof one->name, "%s/%s", one->config->name,
             one->test->name);
    for (size_t n = 0; n < never_count; n++) {
      if (matches(nevers[n].config, one->config->name) &&
          matches(nevers[n].test, one->test->name)) {
        one->never_reason = nevers[n].reason;
      }
    }
    list[i].name = one->name;
    list[i].test_func = run_case;
    list[i].initial_state = one;
  }
  device_fixture_filter();
  int failures = _cmocka_run_group_tests(name, list, count, NULL, NULL);
  free(list);
  free(cases);
  return failures;
}
