// SPDX-License-Identifier: Apache-2.0
//
// Kernels of every device, each in the form that the device takes: the bytes
// they touch, their parameters and groups, their order, their life.
#include <stdint.h>
#include <string.h>

#include "kernel_add.spv.h"
#include "kernel_groups.spv.h"
#include "kernel_idle.spv.h"
#include "kernel_step.spv.h"
#include "kernel_wide.spv.h"
#include "support/device_fixture.h"

#define OWNER 1
#define GROUP 64u  // invocations of a group of the shaders

// ---- The kernels, as shaders in tests/shaders and as functions.

typedef struct add_parameters {
  uint32_t scale;
  uint32_t shift;
} add_parameters;

static teg_result add_function(const teg_invocation* invocation) {
  const uint32_t* a = invocation->pointers[0];
  const uint32_t* b = invocation->pointers[1];
  uint32_t* sum = invocation->pointers[2];
  const add_parameters* parameters = invocation->parameters;
  if (invocation->parameter_bytes < sizeof *parameters) return TEG_INVALID;
  for (uint64_t i = 0; i < invocation->sizes[2] / 4; i++) {
    sum[i] = a[i] + parameters->scale * b[i] + parameters->shift;
  }
  return TEG_OK;
}

static teg_result step_function(const teg_invocation* invocation) {
  uint32_t* data = invocation->pointers[0];
  for (uint64_t i = 0; i < invocation->sizes[0] / 4; i++) {
    data[i] = 3 * data[i] + 1;
  }
  return TEG_OK;
}

typedef struct groups_seen {
  uint32_t count;
  uint32_t size[3];
} groups_seen;

static teg_result groups_function(const teg_invocation* invocation) {
  groups_seen* seen = invocation->pointers[0];
  const uint32_t* size = invocation->group_count;
  const uint32_t count = size[0] * size[1] * size[2];
  seen->count += count;
  if (count) memcpy(seen->size, size, sizeof seen->size);
  return TEG_OK;
}

static teg_result idle_function(const teg_invocation* invocation) {
  return invocation->binding_count ? TEG_INVALID : TEG_OK;
}

static teg_result wide_function(const teg_invocation* invocation) {
  const uint32_t* weights = invocation->parameters;
  const uint32_t last = invocation->binding_count - 1;
  uint32_t* sum = invocation->pointers[last];
  for (uint64_t i = 0; i < invocation->sizes[last] / 4; i++) {
    sum[i] = 0;
    for (uint32_t n = 0; n < last; n++) {
      sum[i] += weights[n] * ((const uint32_t*)invocation->pointers[n])[i];
    }
  }
  return TEG_OK;
}

typedef struct test_kernel {
  const char* name;
  const uint32_t* spirv;
  size_t spirv_bytes;
  teg_host_kernel function;
  uint32_t parameter_bytes;
  uint32_t binding_count;
  teg_access bindings[TEG_MOST_BINDINGS];
} test_kernel;

#define IN TEG_ACCESS_READ
#define OUT TEG_ACCESS_WRITE
#define SHADER(name) kernel_##name##_spv, sizeof kernel_##name##_spv

static const test_kernel add = {
    "add", SHADER(add), add_function, sizeof(add_parameters), 3, {IN, IN, OUT}};
static const test_kernel step = {"step", SHADER(step), step_function, 0,
                                 1,      {IN | OUT}};
static const test_kernel groups = {"groups", SHADER(groups), groups_function, 0,
                                   1,        {IN | OUT}};
static const test_kernel idle = {"idle", SHADER(idle), idle_function, 0,
                                 0,      {0}};
static const test_kernel wide = {
    "wide",
    SHADER(wide),
    wide_function,
    4 * TEG_MOST_BINDINGS,
    TEG_MOST_BINDINGS,
    {IN, IN, IN, IN, IN, IN, IN, IN, IN, IN, IN, IN, IN, IN, IN, IN,
     IN, IN, IN, IN, IN, IN, IN, IN, IN, IN, IN, IN, IN, IN, IN, OUT}};

static teg_backend_kernel* make(device_fixture* fx, const test_kernel* kernel) {
  const teg_kernel_params params = {
      .struct_size = sizeof params,
      .name = kernel->name,
      .spirv = kernel->spirv,
      .spirv_bytes = kernel->spirv_bytes,
      .function = kernel->function,
      .bindings = kernel->bindings,
      .binding_count = kernel->binding_count,
      .parameter_bytes = kernel->parameter_bytes,
  };
  teg_backend_kernel* made;
  EXPECT_OK(fx,
            fx->tables.kernel->create(fx->device, &params, &made, &fx->err));
  assert_non_null(made);
  return made;
}

static void unmake(device_fixture* fx, teg_backend_kernel* kernel) {
  fx->tables.kernel->destroy(fx->device, kernel);
}

// ---- Commands.

static teg_span span_of(teg_memory* memory, uint64_t offset, uint64_t size) {
  return (teg_span){memory, offset, size, OWNER};
}

// What a dispatch of |kernel| on |spans| says; |bindings| is room for them.
static teg_dispatch dispatch_of(const test_kernel* kernel,
                                teg_backend_kernel* made, const teg_span* spans,
                                teg_binding* bindings) {
  for (uint32_t i = 0; i < kernel->binding_count; i++) {
    bindings[i] = (teg_binding){spans[i], kernel->bindings[i] & IN,
                                (kernel->bindings[i] & OUT) != 0};
  }
  return (teg_dispatch){.kernel = made,
                        .bindings = bindings,
                        .binding_count = kernel->binding_count,
                        .group_count = {1, 1, 1}};
}

static void record(device_fixture* fx, teg_queue_stream* stream,
                   const teg_dispatch* dispatch) {
  EXPECT_OK(fx, fx->tables.kernel->record_dispatch(stream, dispatch, &fx->err));
}

static void record_step(device_fixture* fx, teg_queue_stream* stream,
                        teg_backend_kernel* kernel, teg_memory* memory,
                        uint64_t offset, uint64_t size) {
  const teg_span span = span_of(memory, offset, size);
  teg_binding binding;
  teg_dispatch dispatch = dispatch_of(&step, kernel, &span, &binding);
  dispatch.group_count[0] = (uint32_t)((size / 4 + GROUP - 1) / GROUP);
  record(fx, stream, &dispatch);
}

static void copy(device_fixture* fx, teg_queue_stream* stream,
                 teg_memory* target, uint64_t target_offset, teg_memory* source,
                 uint64_t source_offset, uint64_t size) {
  const teg_span to = span_of(target, target_offset, size);
  const teg_span from = span_of(source, source_offset, size);
  EXPECT_OK(fx, fx->tables.queue->record_copy(stream, &to, &from, &fx->err));
}

static void run(device_fixture* fx, teg_queue_stream* stream, uint64_t serial) {
  EXPECT_OK(fx, fx->tables.queue->submit(stream, serial, &fx->err));
  EXPECT_OK(fx, fx->tables.queue->wait(stream, serial, &fx->err));
}

static void drop(device_fixture* fx, teg_queue_stream* stream) {
  fx->tables.queue->stream_destroy(fx->device, stream);
}

static uint64_t round_up(uint64_t value, uint64_t unit) {
  return (value + unit - 1) / unit * unit;
}

static teg_memory* room(device_fixture* fx, uint64_t size) {
  return fixture_buffer(fx, round_up(size, fx->caps.buffer_granularity));
}

// Where parameters go: memory that the CPU writes.
static teg_memory* staging(device_fixture* fx, uint64_t size,
                           bool is_readback) {
  if (!fx->tables.device->staging_create) return room(fx, size);
  teg_memory* memory;
  EXPECT_OK(fx, fx->tables.device->staging_create(fx->device, size, is_readback,
                                                  &memory, &fx->err));
  assert_non_null(memory);
  return memory;
}

// The CPU has written the first |size| bytes, or is about to.
static void wrote(device_fixture* fx, teg_memory* memory, uint64_t size) {
  const teg_span span = span_of(memory, 0, size);
  if (fx->tables.check) {
    EXPECT_OK(fx, fx->tables.check->host_access(fx->device, &span, false, true,
                                                &fx->err));
  }
  if (!fx->tables.map->flush) return;
  EXPECT_OK(fx, fx->tables.map->flush(fx->device, memory, 0, size, &fx->err));
}

static void invalidate(device_fixture* fx, teg_memory* memory, uint64_t size) {
  if (!fx->tables.map->invalidate) return;
  EXPECT_OK(fx,
            fx->tables.map->invalidate(fx->device, memory, 0, size, &fx->err));
}

static uint32_t stepped(uint32_t value, int count) {
  while (count-- > 0) value = 3 * value + 1;
  return value;
}

// ---- Bytes.

// Bindings begin where they say and end where they say.
static device_outcome kernel_touches_its_bytes_only(device_fixture* fx) {
  const uint64_t unit = round_up(fx->caps.binding_alignment, 4);
  enum { WORDS = 150 };
  const uint64_t part = round_up(WORDS * 4 + 8, unit) + unit;
  teg_memory* buffer = room(fx, 3 * part);
  teg_memory* parameters =
      staging(fx, fx->caps.parameter_alignment + 64, false);
  teg_queue_stream* stream = fixture_stream(fx);
  teg_backend_kernel* kernel = make(fx, &add);
  uint32_t* words = (uint32_t*)(void*)fixture_bytes(fx, buffer);
  for (uint64_t i = 0; i < 3 * part / 4; i++) words[i] = (uint32_t)(i * i);
  const add_parameters given = {7, 1000};
  memcpy(fixture_bytes(fx, parameters) + fx->caps.parameter_alignment, &given,
         sizeof given);
  wrote(fx, parameters, fx->caps.parameter_alignment + 64);
  wrote(fx, buffer, 3 * part);
  const teg_span spans[3] = {span_of(buffer, unit, WORDS * 4),
                             span_of(buffer, part + unit, WORDS * 4),
                             span_of(buffer, 2 * part + unit, WORDS * 4)};
  teg_binding bindings[3];
  teg_dispatch dispatch = dispatch_of(&add, kernel, spans, bindings);
  dispatch.parameters =
      span_of(parameters, fx->caps.parameter_alignment, sizeof given);
  dispatch.group_count[0] = 3;  // more than the bytes need
  fixture_barrier(fx, stream);
  record(fx, stream, &dispatch);
  run(fx, stream, 1);
  invalidate(fx, buffer, 3 * part);
  const uint64_t a = unit / 4, b = (part + unit) / 4,
                 sum = (2 * part + unit) / 4;
  for (uint64_t i = 0; i < 3 * part / 4; i++) {
    uint32_t want = (uint32_t)(i * i);
    if (i >= sum && i < sum + WORDS) {
      const uint64_t x = a + i - sum, y = b + i - sum;
      want = (uint32_t)(x * x) + 7 * (uint32_t)(y * y) + 1000;
    }
    if (words[i] != want) fail_msg("word %d is wrong", (int)i);
  }
  unmake(fx, kernel);
  drop(fx, stream);
  fixture_destroy(fx, parameters);
  fixture_destroy(fx, buffer);
  return DEVICE_PASSED;
}

// One batch, the same bytes, each dispatch with parameters of its own.
static device_outcome kernel_parameters_are_each_its_own(device_fixture* fx) {
  enum { TIMES = 40 };
  const uint64_t slot =
      round_up(sizeof(add_parameters), fx->caps.parameter_alignment);
  const uint64_t part = round_up(64, fx->caps.binding_alignment);
  teg_memory* buffer = room(fx, (2 + TIMES) * part);
  teg_memory* parameters = staging(fx, TIMES * slot, false);
  teg_queue_stream* stream = fixture_stream(fx);
  teg_backend_kernel* kernel = make(fx, &add);
  uint8_t* bytes = fixture_bytes(fx, buffer);
  for (uint64_t i = 0; i < 16; i++) {
    ((uint32_t*)(void*)bytes)[i] = (uint32_t)i;
    ((uint32_t*)(void*)(bytes + part))[i] = 100;
  }
  for (uint32_t n = 0; n < TIMES; n++) {
    const add_parameters given = {n, n * n};
    memcpy(fixture_bytes(fx, parameters) + n * slot, &given, sizeof given);
  }
  wrote(fx, buffer, 2 * part);
  wrote(fx, parameters, TIMES * slot);
  fixture_barrier(fx, stream);
  for (uint32_t n = 0; n < TIMES; n++) {
    const teg_span spans[3] = {span_of(buffer, 0, 64),
                               span_of(buffer, part, 64),
                               span_of(buffer, (2 + n / 2 * 2) * part, 64)};
    teg_binding bindings[3];
    teg_dispatch dispatch = dispatch_of(&add, kernel, spans, bindings);
    dispatch.parameters = span_of(parameters, n * slot, sizeof(add_parameters));
    // Two write the same bytes; the second has the last word.
    if (n % 2) fixture_barrier(fx, stream);
    record(fx, stream, &dispatch);
  }
  run(fx, stream, 1);
  invalidate(fx, buffer, (2 + TIMES) * part);
  for (uint32_t n = 1; n < TIMES; n += 2) {
    const uint32_t* sum = (uint32_t*)(void*)(bytes + (2 + n - 1) * part);
    for (uint32_t i = 0; i < 16; i++) {
      assert_int_equal(sum[i], i + n * 100 + n * n);
    }
  }
  unmake(fx, kernel);
  drop(fx, stream);
  fixture_destroy(fx, parameters);
  fixture_destroy(fx, buffer);
  return DEVICE_PASSED;
}

static device_outcome kernel_takes_the_most_bindings(device_fixture* fx) {
  enum { WORDS = 64 };
  const uint64_t part = round_up(WORDS * 4, fx->caps.binding_alignment);
  teg_memory* buffer = room(fx, TEG_MOST_BINDINGS * part);
  teg_memory* parameters = staging(fx, wide.parameter_bytes, false);
  teg_queue_stream* stream = fixture_stream(fx);
  teg_backend_kernel* kernel = make(fx, &wide);
  uint8_t* bytes = fixture_bytes(fx, buffer);
  uint32_t* weights = (uint32_t*)(void*)fixture_bytes(fx, parameters);
  teg_span spans[TEG_MOST_BINDINGS];
  uint32_t total = 0;
  for (uint32_t n = 0; n < TEG_MOST_BINDINGS; n++) {
    spans[n] = span_of(buffer, n * part, WORDS * 4);
    weights[n] = n * n + 1;
    uint32_t* words = (uint32_t*)(void*)(bytes + n * part);
    for (uint32_t i = 0; i < WORDS; i++) words[i] = 3 * n + i;
    if (n + 1 < TEG_MOST_BINDINGS) total += weights[n] * 3 * n;
  }
  wrote(fx, buffer, TEG_MOST_BINDINGS * part);
  wrote(fx, parameters, wide.parameter_bytes);
  teg_binding bindings[TEG_MOST_BINDINGS];
  teg_dispatch dispatch = dispatch_of(&wide, kernel, spans, bindings);
  dispatch.parameters = span_of(parameters, 0, wide.parameter_bytes);
  fixture_barrier(fx, stream);
  record(fx, stream, &dispatch);
  run(fx, stream, 1);
  invalidate(fx, buffer, TEG_MOST_BINDINGS * part);
  assert_int_equal(*(uint32_t*)(void*)(bytes + (TEG_MOST_BINDINGS - 1) * part),
                   total);
  unmake(fx, kernel);
  drop(fx, stream);
  fixture_destroy(fx, parameters);
  fixture_destroy(fx, buffer);
  return DEVICE_PASSED;
}

// Through addresses that cross tiles.
static device_outcome kernel_reaches_across_tiles(device_fixture* fx) {
  if (!fx->tables.remap) return DEVICE_CANNOT;
  const uint64_t tile = fx->caps.tile_bytes;
  teg_memory* heap = fixture_heap(fx, 4 * tile);
  teg_memory* range = fixture_range(fx, 4 * tile);
  teg_queue_stream* stream = fixture_stream(fx);
  teg_backend_kernel* kernel = make(fx, &step);
  for (uint32_t i = 0; i < 4; i++) fixture_map(fx, range, i, heap, 3 - i, 1);
  uint32_t words[256];
  for (uint32_t i = 0; i < 256; i++) words[i] = i;
  const teg_span poked = span_of(range, tile - 512, sizeof words);
  if (fx->tables.check) {
    EXPECT_OK(fx, fx->tables.check->host_access(fx->device, &poked, false, true,
                                                &fx->err));
  }
  fixture_poke(fx, range, tile - 512, sizeof words, words);
  fixture_barrier(fx, stream);
  record_step(fx, stream, kernel, range, tile - 512, sizeof words);
  run(fx, stream, 1);
  fixture_peek(fx, heap, 4 * tile - 512, 512, words);
  fixture_peek(fx, heap, 2 * tile, 512, words + 128);
  for (uint32_t i = 0; i < 256; i++) assert_int_equal(words[i], 3 * i + 1);
  fixture_unmap(fx, range, 0, 4);
  unmake(fx, kernel);
  drop(fx, stream);
  fx->tables.remap->range_release(fx->device, range);
  fixture_destroy(fx, heap);
  return DEVICE_PASSED;
}

// ---- Order.

static device_outcome kernel_runs_in_order_behind_barriers(device_fixture* fx) {
  enum { BATCHES = 5, TIMES = 60, BYTES = 4096 };
  teg_memory* buffer = room(fx, BYTES);
  teg_queue_stream* streams[2] = {fixture_stream(fx), fixture_stream(fx)};
  teg_backend_kernel* kernel = make(fx, &step);
  uint32_t* words = (uint32_t*)(void*)fixture_bytes(fx, buffer);
  for (uint32_t i = 0; i < BYTES / 4; i++) words[i] = i;
  wrote(fx, buffer, BYTES);
  // Batches of two streams, each behind what the other has submitted.
  for (uint64_t n = 0; n < BATCHES; n++) {
    for (int s = 0; s < 2; s++) {
      for (int i = 0; i < TIMES; i++) {
        fixture_barrier(fx, streams[s]);
        if (i % 3 == 0) fixture_barrier(fx, streams[s]);
        record_step(fx, streams[s], kernel, buffer, 0, BYTES);
      }
      EXPECT_OK(fx, fx->tables.queue->submit(streams[s], n + 1, &fx->err));
    }
  }
  for (int s = 0; s < 2; s++) {
    EXPECT_OK(fx, fx->tables.queue->wait(streams[s], BATCHES, &fx->err));
  }
  invalidate(fx, buffer, BYTES);
  for (uint32_t i = 0; i < BYTES / 4; i++) {
    assert_int_equal(words[i], stepped(i, 2 * BATCHES * TIMES));
  }
  unmake(fx, kernel);
  drop(fx, streams[1]);
  drop(fx, streams[0]);
  fixture_destroy(fx, buffer);
  return DEVICE_PASSED;
}

// Dispatches on bytes of their own need no barrier between them, and copies and
// fills see what they wrote behind one.
static device_outcome kernel_needs_no_barrier_elsewhere(device_fixture* fx) {
  enum { PARTS = 300 };
  const uint64_t part = round_up(64, fx->caps.binding_alignment);
  teg_memory* buffer = room(fx, 2 * PARTS * part);
  teg_queue_stream* stream = fixture_stream(fx);
  teg_backend_kernel* kernel = make(fx, &step);
  uint8_t* bytes = fixture_bytes(fx, buffer);
  for (uint64_t serial = 1; serial <= 3; serial++) {
    const teg_span all = span_of(buffer, 0, PARTS * part);
    fixture_barrier(fx, stream);
    EXPECT_OK(fx, fx->tables.queue->record_fill(stream, &all, 5, &fx->err));
    for (int round = 0; round < 2; round++) {
      fixture_barrier(fx, stream);
      for (uint64_t i = 0; i < PARTS; i++) {
        if (i % 5 == 0 && round) continue;
        record_step(fx, stream, kernel, buffer, i * part, 64);
      }
    }
    fixture_barrier(fx, stream);
    copy(fx, stream, buffer, PARTS * part, buffer, 0, PARTS * part);
    run(fx, stream, serial);
    invalidate(fx, buffer, 2 * PARTS * part);
    for (uint64_t i = 0; i < PARTS; i++) {
      const uint32_t want = stepped(5, i % 5 ? 2 : 1);
      assert_int_equal(*(uint32_t*)(void*)(bytes + (PARTS + i) * part), want);
    }
  }
  unmake(fx, kernel);
  drop(fx, stream);
  fixture_destroy(fx, buffer);
  return DEVICE_PASSED;
}

// A fill whose ends are no whole words is one command to those around it.
static device_outcome kernel_and_ragged_fills_keep_apart(device_fixture* fx) {
  enum { TIMES = 30, BYTES = 256 };
  teg_memory* buffer = room(fx, TIMES * BYTES);
  teg_queue_stream* streams[2] = {fixture_stream(fx), fixture_stream(fx)};
  uint8_t* bytes = fixture_bytes(fx, buffer);
  memset(bytes, 0, TIMES * BYTES);
  wrote(fx, buffer, TIMES * BYTES);
  for (int s = 0; s < 2; s++) fixture_barrier(fx, streams[s]);
  for (uint32_t i = 0; i < TIMES; i++) {
    const teg_span target = span_of(buffer, i * BYTES + 3, 200);
    EXPECT_OK(fx,
              fx->tables.queue->record_fill(streams[i % 2], &target,
                                            0x01010101u * (i + 1), &fx->err));
  }
  for (int s = 0; s < 2; s++) {
    EXPECT_OK(fx, fx->tables.queue->submit(streams[s], 1, &fx->err));
  }
  for (int s = 0; s < 2; s++) {
    EXPECT_OK(fx, fx->tables.queue->wait(streams[s], 1, &fx->err));
  }
  invalidate(fx, buffer, TIMES * BYTES);
  for (uint32_t i = 0; i < TIMES; i++) {
    const uint8_t* part = bytes + i * BYTES;
    assert_true(fixture_all_bytes(part, 3, 0));
    assert_true(fixture_all_bytes(part + 3, 200, (uint8_t)(i + 1)));
    assert_true(fixture_all_bytes(part + 203, BYTES - 203, 0));
  }
  drop(fx, streams[1]);
  drop(fx, streams[0]);
  fixture_destroy(fx, buffer);
  return DEVICE_PASSED;
}

// ---- Groups.

static device_outcome kernel_group_counts(device_fixture* fx) {
  const uint64_t slot = round_up(16, fx->caps.binding_alignment);
  teg_memory* buffer = room(fx, 4 * slot);
  teg_memory* counts = staging(fx, 64, false);
  teg_queue_stream* stream = fixture_stream(fx);
  teg_backend_kernel* kernel = make(fx, &groups);
  uint8_t* bytes = fixture_bytes(fx, buffer);
  memset(bytes, 0, 4 * slot);
  // By the CPU, and by a command right before.
  const uint32_t by_cpu[3] = {5, 6, 7};
  memcpy(fixture_bytes(fx, counts) + 4, by_cpu, sizeof by_cpu);
  wrote(fx, buffer, 4 * slot);
  wrote(fx, counts, 64);
  const teg_span by_device = span_of(counts, 32, 12);
  fixture_barrier(fx, stream);
  EXPECT_OK(fx, fx->tables.queue->record_fill(stream, &by_device, 3, &fx->err));
  fixture_barrier(fx, stream);
  const teg_span by_cpu_span = span_of(counts, 4, 12);
  const teg_span* indirect[4] = {NULL, &by_cpu_span, &by_device, NULL};
  const uint32_t direct[4][3] = {{2, 3, 4}, {9, 9, 9}, {9, 9, 9}, {2, 0, 1}};
  for (uint32_t i = 0; i < 4; i++) {
    const teg_span span = span_of(buffer, i * slot, 16);
    teg_binding binding;
    teg_dispatch dispatch = dispatch_of(&groups, kernel, &span, &binding);
    memcpy(dispatch.group_count, direct[i], sizeof direct[i]);
    dispatch.indirect = indirect[i];
    record(fx, stream, &dispatch);
  }
  run(fx, stream, 1);
  invalidate(fx, buffer, 4 * slot);
  static const groups_seen want[4] = {
      {24, {2, 3, 4}}, {210, {5, 6, 7}}, {27, {3, 3, 3}}, {0, {0, 0, 0}}};
  for (uint32_t i = 0; i < 4; i++) {
    assert_memory_equal(bytes + i * slot, &want[i], sizeof want[i]);
  }
  unmake(fx, kernel);
  drop(fx, stream);
  fixture_destroy(fx, counts);
  fixture_destroy(fx, buffer);
  return DEVICE_PASSED;
}

// ---- Life.

static device_outcome kernel_may_go_before_it_runs(device_fixture* fx) {
  enum { TIMES = 8 };
  teg_memory* buffer = room(fx, 256);
  teg_queue_stream* stream = fixture_stream(fx);
  uint32_t* words = (uint32_t*)(void*)fixture_bytes(fx, buffer);
  words[0] = 2;
  wrote(fx, buffer, 256);
  for (uint64_t serial = 1; serial <= TIMES; serial++) {
    teg_backend_kernel* before = make(fx, &step);
    teg_backend_kernel* after = make(fx, &step);
    fixture_barrier(fx, stream);
    record_step(fx, stream, before, buffer, 0, 16);
    fixture_barrier(fx, stream);
    record_step(fx, stream, after, buffer, 0, 16);
    fixture_barrier(fx, stream);
    record_step(fx, stream, before, buffer, 0, 16);
    unmake(fx, before);
    EXPECT_OK(fx, fx->tables.queue->submit(stream, serial, &fx->err));
    unmake(fx, after);
  }
  EXPECT_OK(fx, fx->tables.queue->wait(stream, TIMES, &fx->err));
  invalidate(fx, buffer, 256);
  assert_int_equal(words[0], stepped(2, 3 * TIMES));
  // Recorded, and then dropped with its stream.
  teg_backend_kernel* kernel = make(fx, &step);
  fixture_barrier(fx, stream);
  record_step(fx, stream, kernel, buffer, 0, 16);
  unmake(fx, kernel);
  drop(fx, stream);
  unmake(fx, NULL);
  fixture_destroy(fx, buffer);
  return DEVICE_PASSED;
}

static device_outcome kernel_without_a_form_is_refused(device_fixture* fx) {
  teg_kernel_params params = {.struct_size = sizeof params, .name = "formless"};
  teg_backend_kernel* kernel = (teg_backend_kernel*)(void*)fx;
  EXPECT_RESULT(
      fx, TEG_UNSUPPORTED,
      fx->tables.kernel->create(fx->device, &params, &kernel, &fx->err));
  assert_null(kernel);
  assert_non_null(strstr(fx->err.message, "formless"));
  return DEVICE_PASSED;
}

static device_outcome kernel_without_bindings_runs(device_fixture* fx) {
  teg_memory* buffer = room(fx, 256);
  teg_queue_stream* stream = fixture_stream(fx);
  teg_backend_kernel* nothing = make(fx, &idle);
  teg_backend_kernel* kernel = make(fx, &step);
  uint32_t* words = (uint32_t*)(void*)fixture_bytes(fx, buffer);
  words[0] = 1;
  wrote(fx, buffer, 256);
  const teg_dispatch dispatch = {.kernel = nothing, .group_count = {3, 1, 1}};
  fixture_barrier(fx, stream);
  record(fx, stream, &dispatch);
  record_step(fx, stream, kernel, buffer, 0, 16);
  record(fx, stream, &dispatch);
  fixture_barrier(fx, stream);
  record_step(fx, stream, kernel, buffer, 0, 16);
  run(fx, stream, 1);
  invalidate(fx, buffer, 256);
  assert_int_equal(words[0], stepped(1, 2));
  unmake(fx, kernel);
  unmake(fx, nothing);
  drop(fx, stream);
  fixture_destroy(fx, buffer);
  return DEVICE_PASSED;
}

static device_outcome kernel_steady_state_allocates_nothing(
    device_fixture* fx) {
  if (fx->caps.flags & TEG_BACKEND_HAZARD_CHECKED) return DEVICE_CANNOT;
  enum { PARTS = 20 };
  const uint64_t part = round_up(64, fx->caps.binding_alignment);
  teg_memory* buffer = room(fx, (PARTS + 301) * part);
  teg_queue_stream* stream = fixture_stream(fx);
  teg_backend_kernel* kernel = make(fx, &step);
  for (uint64_t serial = 1; serial <= 300; serial++) {
    if (serial == 10) tegi_store_relaxed(&fx->allocator.fail_at, 1);
    fixture_barrier(fx, stream);
    for (uint64_t i = 0; i < PARTS; i++) {
      record_step(fx, stream, kernel, buffer, (serial + i) * part, 64);
    }
    run(fx, stream, serial);
  }
  assert_int_equal(tegi_load_relaxed(&fx->allocator.fail_at), 1);
  tegi_store_relaxed(&fx->allocator.fail_at, 0);
  unmake(fx, kernel);
  drop(fx, stream);
  fixture_destroy(fx, buffer);
  return DEVICE_PASSED;
}

static const device_never nevers[] = {
    {"*-fixed", "kernel_reaches_across_tiles", "opened without remap"},
    {"*-checked", "kernel_steady_state_allocates_nothing",
     "the checker keeps a record per command"},
    {"null-*", "kernel_steady_state_allocates_nothing",
     "the checker keeps a record per command"},
};

int main(void) {
  const device_test tests[] = {
      DEVICE_TEST(kernel_touches_its_bytes_only),
      DEVICE_TEST(kernel_parameters_are_each_its_own),
      DEVICE_TEST(kernel_takes_the_most_bindings),
      DEVICE_TEST(kernel_reaches_across_tiles),
      DEVICE_TEST(kernel_runs_in_order_behind_barriers),
      DEVICE_TEST(kernel_needs_no_barrier_elsewhere),
      DEVICE_TEST(kernel_and_ragged_fills_keep_apart),
      DEVICE_TEST(kernel_group_counts),
      DEVICE_TEST(kernel_may_go_before_it_runs),
      DEVICE_TEST(kernel_without_a_form_is_refused),
      DEVICE_TEST(kernel_without_bindings_runs),
      DEVICE_TEST(kernel_steady_state_allocates_nothing),
  };
  return device_run_suite("device_kernel", tests, sizeof tests / sizeof *tests,
                          nevers, sizeof nevers / sizeof *nevers);
}
