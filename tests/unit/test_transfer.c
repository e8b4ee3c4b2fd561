// SPDX-License-Identifier: Apache-2.0
//
// Writes land in their place in the stream, whichever way they take, and
// exactly; the ring stays within its bound; a read gives the error of a failed
// batch instead of stale bytes.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/objects.h"
#include "support/call.h"
#include "tegula/null.h"
#include "tegula/tegula.h"

typedef struct world {
  teg_device* device;
  teg_session* session;
  teg_stream* stream;
  teg_error err;
} world;

static void open_world(world* w, const char* backend, const char* completion,
                       const char* ring_max) {
  teg_options* options;
  assert_int_equal(teg_options_create(NULL, &options, &w->err), TEG_OK);
  assert_int_equal(teg_options_set(options, "completion", completion, &w->err),
                   TEG_OK);
  assert_int_equal(teg_options_set(options, "ring_min", "64KiB", &w->err),
                   TEG_OK);
  assert_int_equal(teg_options_set(options, "ring_max", ring_max, &w->err),
                   TEG_OK);
  assert_int_equal(teg_options_set(options, "fresh_max", "0", &w->err), TEG_OK);
  teg_device_params device = TEG_DEVICE_PARAMS_INIT;
  device.backend = backend;
  device.options = options;
  assert_int_equal(teg_device_create(&device, &w->device, &w->err), TEG_OK);
  teg_session_params session = TEG_SESSION_PARAMS_INIT;
  session.options = options;
  assert_int_equal(
      teg_session_create(w->device, &session, &w->session, &w->err), TEG_OK);
  w->stream = teg_session_stream(w->session);
  teg_options_destroy(options);
}

static void close_world(world* w) {
  teg_stats stats = {.struct_size = sizeof stats};
  teg_session_destroy(w->session);
  teg_device_get_stats(w->device, &stats);
  assert_int_equal(stats.reserved_bytes, 0);
  teg_device_destroy(w->device);
}

static teg_buffer* make_buffer(world* w, uint64_t size,
                               teg_buffer_flags flags) {
  teg_buffer_params params = TEG_BUFFER_PARAMS_INIT;
  params.size = size;
  params.flags = flags;
  teg_buffer* buffer;
  assert_int_equal(teg_buffer_create(w->session, &params, &buffer, &w->err),
                   TEG_OK);
  return buffer;
}

static teg_stats session_stats(const world* w) {
  teg_stats stats = {.struct_size = sizeof stats};
  teg_session_get_stats(w->session, &stats);
  return stats;
}

static uint64_t reserved(const world* w) {
  teg_stats stats = {.struct_size = sizeof stats};
  teg_device_get_stats(w->device, &stats);
  return stats.reserved_bytes;
}

static void write_goes_direct_when_idle_and_by_the_ring_when_not(void** state) {
  (void)state;
  world w;
  open_world(&w, "host", "told", "1MiB");
  teg_buffer* buffer = make_buffer(&w, 4096, TEG_BUFFER_NONE);
  char bytes[4096];
  memset(bytes, 1, sizeof bytes);
  assert_int_equal(
      teg_stream_write(w.stream, buffer, 0, bytes, sizeof bytes, &w.err),
      TEG_OK);
  assert_int_equal(session_stats(&w).direct_write_bytes, 4096);
  assert_int_equal(teg_stream_fill(w.stream, buffer, 0, 4096, 0, &w.err),
                   TEG_OK);
  assert_int_equal(teg_stream_write(w.stream, buffer, 8, bytes, 8, &w.err),
                   TEG_OK);
  assert_int_equal(session_stats(&w).ring_write_bytes, 8);
  char got[24];
  assert_int_equal(teg_stream_read(w.stream, buffer, 0, got, 24, &w.err),
                   TEG_OK);
  char expected[24] = {0};
  memset(expected + 8, 1, 8);
  assert_memory_equal(got, expected, 24);
  teg_buffer_destroy(buffer);
  close_world(&w);
}

static void write_never_goes_direct_into_a_foreign_buffer(void** state) {
  (void)state;
  world w;
  open_world(&w, "host", "told", "1MiB");
  teg_buffer* buffer = make_buffer(&w, 64, TEG_BUFFER_FOREIGN);
  assert_int_equal(teg_stream_write(w.stream, buffer, 0, "abc", 3, &w.err),
                   TEG_OK);
  assert_int_equal(session_stats(&w).direct_write_bytes, 0);
  assert_int_equal(session_stats(&w).ring_write_bytes, 3);
  teg_buffer_destroy(buffer);
  close_world(&w);
}

static teg_result add_one(void* user, void* const* pointers,
                          const uint64_t* sizes, uint32_t count) {
  (void)count;
  uint32_t* total = user;
  for (uint64_t i = 0; i < sizes[0] / 4; ++i) {
    *total += ((const uint32_t*)pointers[0])[i];
  }
  return TEG_OK;
}

// Write, read by a kernel, write, read by a kernel, in one batch: the second
// write must not overtake the first kernel (CubeCL's corruption of 2024-08).
static void alternating_writes_and_kernels_keep_their_order(void** state) {
  (void)state;
  const char* backends[] = {"host", "null"};
  for (size_t b = 0; b < 2; ++b) {
    world w;
    open_world(&w, backends[b], "told", "1MiB");
    teg_buffer* buffer = make_buffer(&w, 4, TEG_BUFFER_NONE);
    uint32_t seen[300] = {0};
    test_argument argument = {buffer, 0, 0, true, false};
    for (uint32_t i = 0; i < 300; ++i) {
      assert_int_equal(
          teg_stream_write(w.stream, buffer, 0, &i, sizeof i, &w.err), TEG_OK);
      assert_int_equal(test_stream_call(w.device, w.stream, add_one, &seen[i],
                                        &argument, 1, &w.err),
                       TEG_OK);
    }
    uint32_t last;
    assert_int_equal(
        teg_stream_read(w.stream, buffer, 0, &last, sizeof last, &w.err),
        TEG_OK);
    assert_int_equal(last, 299);
    for (uint32_t i = 0; i < 300; ++i) assert_int_equal(seen[i], i);
    teg_buffer_destroy(buffer);
    close_world(&w);
  }
}

// 8 MiB into a buffer in use, through a ring of 256 KiB.
static void ring_stays_within_its_bound(void** state) {
  (void)state;
  enum { SIZE = 8 << 20 };
  world w;
  open_world(&w, "host", "told", "256KiB");
  teg_buffer* buffer = make_buffer(&w, SIZE, TEG_BUFFER_NONE);
  assert_int_equal(teg_stream_fill(w.stream, buffer, 0, SIZE, 7, &w.err),
                   TEG_OK);
  uint64_t before = reserved(&w);
  uint8_t* data = malloc(SIZE);
  assert_non_null(data);
  for (size_t i = 0; i < SIZE; ++i) data[i] = (uint8_t)(i * 31 + i / 4096);
  assert_int_equal(teg_stream_write(w.stream, buffer, 0, data, SIZE, &w.err),
                   TEG_OK);
  assert_int_equal(session_stats(&w).ring_write_bytes, SIZE);
  teg_stats stats = {.struct_size = sizeof stats};
  teg_device_get_stats(w.device, &stats);
  // The ring, and rings it has outgrown that are still read from.
  assert_true(stats.peak_reserved_bytes <= before + (512 << 10));
  uint8_t* got = malloc(SIZE);
  assert_non_null(got);
  assert_int_equal(teg_stream_read(w.stream, buffer, 0, got, SIZE, &w.err),
                   TEG_OK);
  assert_memory_equal(got, data, SIZE);
  free(got);
  free(data);
  teg_buffer_destroy(buffer);
  close_world(&w);
}

static void random_traffic(const char* backend, const char* completion) {
  enum { BUFFERS = 3, SIZE = 100000, STEPS = 400 };
  world w;
  open_world(&w, backend, completion, "64KiB");
  teg_buffer* buffers[BUFFERS];
  uint8_t* model[BUFFERS];
  uint8_t* scratch = malloc(SIZE);
  assert_non_null(scratch);
  for (int i = 0; i < BUFFERS; ++i) {
    buffers[i] = make_buffer(&w, SIZE, TEG_BUFFER_NONE);
    model[i] = calloc(1, SIZE);
    assert_non_null(model[i]);
    assert_int_equal(teg_stream_fill(w.stream, buffers[i], 0, SIZE, 0, &w.err),
                     TEG_OK);
  }
  uint32_t seed = 12345;
#define NEXT(limit) ((seed = seed * 1664525u + 1013904223u) >> 8) % (limit)
  for (int step = 0; step < STEPS; ++step) {
    uint32_t a = NEXT(BUFFERS);
    uint32_t b = (a + 1) % BUFFERS;
    uint32_t size = NEXT(4) == 0 ? NEXT(SIZE) : NEXT(200);
    uint32_t at = NEXT(SIZE - size + 1);
    uint32_t to = NEXT(SIZE - size + 1);
    switch (NEXT(5)) {
      case 0:
        assert_int_equal(teg_stream_copy(w.stream, buffers[b], to, buffers[a],
                                         at, size, &w.err),
                         TEG_OK);
        memcpy(model[b] + to, model[a] + at, size);
        break;
      case 1:
        assert_int_equal(
            teg_stream_read(w.stream, buffers[a], at, scratch, size, &w.err),
            TEG_OK);
        assert_memory_equal(scratch, model[a] + at, size);
        break;
      case 2:
        assert_int_equal(teg_stream_submit(w.stream, NULL, &w.err), TEG_OK);
        break;
      default:
        for (uint32_t i = 0; i < size; ++i) scratch[i] = (uint8_t)NEXT(256);
        assert_int_equal(
            teg_stream_write(w.stream, buffers[a], at, scratch, size, &w.err),
            TEG_OK);
        memcpy(model[a] + at, scratch, size);
        memset(scratch, 0xAA, size);  // it is the program's again
        break;
    }
  }
#undef NEXT
  for (int i = 0; i < BUFFERS; ++i) {
    assert_int_equal(
        teg_stream_read(w.stream, buffers[i], 0, scratch, SIZE, &w.err),
        TEG_OK);
    assert_memory_equal(scratch, model[i], SIZE);
    teg_buffer_destroy(buffers[i]);
    free(model[i]);
  }
  free(scratch);
  close_world(&w);
}

static void random_traffic_equals_a_model(void** state) {
  (void)state;
  random_traffic("host", "told");
  random_traffic("host", "worker");
  random_traffic("null", "told");
}

static teg_result break_down(void* user, void* const* pointers,
                             const uint64_t* sizes, uint32_t count) {
  (void)user;
  (void)pointers;
  (void)sizes;
  (void)count;
  return TEG_DEVICE_ERROR;
}

static void read_after_a_failed_call_returns_the_error(void** state) {
  (void)state;
  world w;
  open_world(&w, "host", "told", "64KiB");
  teg_buffer* buffer = make_buffer(&w, 16, TEG_BUFFER_NONE);
  test_argument argument = {buffer, 0, 0, false, true};
  assert_int_equal(test_stream_call(w.device, w.stream, break_down, NULL,
                                    &argument, 1, &w.err),
                   TEG_OK);
  char data[16] = "untouched";
  assert_int_equal(teg_stream_read(w.stream, buffer, 0, data, 16, &w.err),
                   TEG_DEVICE_ERROR);
  assert_string_equal(data, "untouched");
  assert_int_equal(teg_stream_read(w.stream, buffer, 0, data, 16, &w.err),
                   TEG_OK);
  teg_buffer_destroy(buffer);
  close_world(&w);
}

static void wrong_arguments_are_named(void** state) {
  (void)state;
  world w;
  open_world(&w, "host", "told", "64KiB");
  teg_buffer* buffer = make_buffer(&w, 16, TEG_BUFFER_NONE);
  char data[32] = {0};
  assert_int_equal(teg_stream_write(w.stream, buffer, 8, data, 9, &w.err),
                   TEG_INVALID);
  assert_non_null(strstr(w.err.message, "outside"));
  assert_int_equal(
      teg_stream_write(w.stream, buffer, UINT64_MAX, data, 1, &w.err),
      TEG_INVALID);
  assert_int_equal(teg_stream_read(w.stream, buffer, 0, data, 17, &w.err),
                   TEG_INVALID);
  assert_int_equal(teg_stream_write(NULL, buffer, 0, data, 1, &w.err),
                   TEG_INVALID);
  assert_int_equal(teg_stream_write(w.stream, NULL, 0, data, 1, &w.err),
                   TEG_INVALID);
  assert_int_equal(teg_stream_write(w.stream, buffer, 0, NULL, 1, &w.err),
                   TEG_INVALID);
  assert_int_equal(teg_stream_read(w.stream, buffer, 0, NULL, 1, &w.err),
                   TEG_INVALID);
  assert_int_equal(teg_stream_write(w.stream, buffer, 16, NULL, 0, &w.err),
                   TEG_OK);
  teg_buffer_destroy(buffer);
  close_world(&w);
}

// Every driver call of a write by the ring fails once: the error comes back,
// and a later write works.
static void write_survives_a_failing_driver(void** state) {
  (void)state;
  for (uint64_t k = 1; k <= 12; ++k) {
    world w;
    open_world(&w, "null", "told", "64KiB");
    teg_buffer* buffer = make_buffer(&w, 60000, TEG_BUFFER_NONE);
    char* data = calloc(1, 60000);
    assert_non_null(data);
    assert_int_equal(teg_stream_fill(w.stream, buffer, 0, 60000, 1, &w.err),
                     TEG_OK);
    teg_backend_device* null = tegi_device_backend(w.device);
    assert_int_equal(
        teg_null_fail(null, TEG_NULL_ALL_CALLS, k, 1, TEG_DEVICE_ERROR),
        TEG_OK);
    teg_result ignored =
        teg_stream_write(w.stream, buffer, 0, data, 60000, &w.err);
    (void)ignored;
    assert_int_equal(teg_null_fail(null, TEG_NULL_ALL_CALLS, 0, 0, TEG_OK),
                     TEG_OK);
    assert_int_equal(teg_stream_write(w.stream, buffer, 0, data, 60000, &w.err),
                     TEG_OK);
    char got[16];
    assert_int_equal(teg_stream_read(w.stream, buffer, 100, got, 16, &w.err),
                     TEG_OK);
    assert_memory_equal(got, data, 16);
    free(data);
    teg_buffer_destroy(buffer);
    close_world(&w);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(write_goes_direct_when_idle_and_by_the_ring_when_not),
      cmocka_unit_test(write_never_goes_direct_into_a_foreign_buffer),
      cmocka_unit_test(alternating_writes_and_kernels_keep_their_order),
      cmocka_unit_test(ring_stays_within_its_bound),
      cmocka_unit_test(random_traffic_equals_a_model),
      cmocka_unit_test(read_after_a_failed_call_returns_the_error),
      cmocka_unit_test(wrong_arguments_are_named),
      cmocka_unit_test(write_survives_a_failing_driver),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
