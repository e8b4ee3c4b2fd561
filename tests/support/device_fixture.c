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
    {"null-2m", "null", 0, false, false},
    {"null-64k", "null", 64 * KIB, true, false},
    {"null-fixed", "null", 64 * KIB, true, true},
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

const teg_backend_ops* device_fixture_backend(const char* name) {
  for (size_t i = 0; tegi_backends[i]; i++) {
    if (strcmp(tegi_backends[i]->name, name) == 0) return tegi_backends[i];
  }
  fail_msg("no backend %s", name);
  return NULL;
}

teg_backend_open_params device_fixture_params(device_fixture* fx) {
  teg_backend_open_params params = {.struct_size = sizeof params};
  params.tile_bytes = fx->config->tile_bytes;
  params.is_told = fx->config->is_told;
  params.is_remap_disabled = fx->config->is_remap_disabled;
  params.allocator = device_fixture_allocator(&fx->allocator);
  return params;
}

void device_fixture_open(device_fixture* fx, const device_config* config,
                         const teg_backend_open_params* params) {
  *fx = (device_fixture){.config = config};
  teg_backend_open_params own = device_fixture_params(fx);
  if (params) {
    own = *params;
    own.allocator = device_fixture_allocator(&fx->allocator);
  }
  const teg_backend_ops* backend = device_fixture_backend(config->backend);
  EXPECT_OK(fx, backend->open(&own, &fx->device, &fx->err));
  fx->tables = fx->device->tables;
  fx->tables.device->query_caps(fx->device, &fx->caps);
}

void device_fixture_close(device_fixture* fx) {
  fx->tables.device->close(fx->device);
  assert_int_equal(tegi_load_relaxed(&fx->allocator.live_count), 0);
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

teg_queue_stream* fixture_stream(device_fixture* fx) {
  teg_queue_stream* stream;
  EXPECT_OK(fx, fx->tables.queue->stream_create(fx->device, &stream, &fx->err));
  assert_non_null(stream);
  return stream;
}

void fixture_destroy(device_fixture* fx, teg_memory* memory) {
  fx->tables.device->memory_destroy(fx->device, memory);
}

void fixture_map(device_fixture* fx, teg_memory* range, uint32_t range_tile,
                 teg_memory* heap, uint32_t heap_tile, uint32_t count) {
  teg_tile_run run = {heap, heap_tile, range_tile, count};
  EXPECT_OK(fx, fx->tables.remap->map(fx->device, range, &run, 1, &fx->err));
}

void fixture_unmap(device_fixture* fx, teg_memory* range, uint32_t range_tile,
                   uint32_t count) {
  teg_tile_run run = {NULL, 0, range_tile, count};
  EXPECT_OK(fx, fx->tables.remap->unmap(fx->device, range, &run, 1, &fx->err));
}

uint8_t* fixture_bytes(device_fixture* fx, teg_memory* memory) {
  return fx->tables.map->host_pointer(fx->device, memory);
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

static void run_case(void** state) {
  const suite_case* one = *state;
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
  int failures = _cmocka_run_group_tests(name, list, count, NULL, NULL);
  free(list);
  free(cases);
  return failures;
}
