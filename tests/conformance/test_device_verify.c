// SPDX-License-Identifier: Apache-2.0
//
// The kernels of `tegula replay --verify` on every device that has kernels:
// what they stamp they find whole, and they tell where it was written over.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tegula/session.h"
#include "trace/replay_parts.h"

typedef struct verify_fixture {
  teg_device* device;
  teg_session* session;
  teg_stream* stream;
  tegi_replay_verify verify;
  teg_buffer* results;
} verify_fixture;

static const char* const backends[] = {"host", "null", "vulkan"};
enum { BACKEND_COUNT = sizeof backends / sizeof *backends };

static teg_error err;
static uint32_t complaint_count;

// What the validation layers say comes here.
static void complain(void* user, teg_log_level level, const char* line) {
  if (level > TEG_LOG_WARNING) return;
  if (complaint_count++ == 0) print_message("warnings; the first: %s\n", line);
}

#define ASSERT_OK(call)                                           \
  do {                                                            \
    if ((call) != TEG_OK) fail_msg("%s: %s", #call, err.message); \
  } while (0)

// False where the device is not there or has no kernels.
static bool open_fixture(verify_fixture* fx, const char* backend) {
  *fx = (verify_fixture){0};
  teg_device_params params = TEG_DEVICE_PARAMS_INIT;
  params.backend = backend;
  params.log = (teg_log){complain, NULL, TEG_LOG_WARNING};
  if (teg_device_create(&params, &fx->device, &err) != TEG_OK) {
    print_message("%s\n", err.message);
    return false;
  }
  teg_result result = tegi_replay_verify_open(&fx->verify, fx->device, &err);
  if (result != TEG_OK) {
    assert_int_equal(result, TEG_UNSUPPORTED);
    teg_device_destroy(fx->device);
    return false;
  }
  ASSERT_OK(teg_session_create(fx->device, NULL, &fx->session, &err));
  fx->stream = teg_session_stream(fx->session);
  ASSERT_OK(
      tegi_replay_verify_begin(fx->session, fx->stream, &fx->results, &err));
  return true;
}

static void close_fixture(verify_fixture* fx) {
  teg_buffer_destroy(fx->results);
  teg_session_destroy(fx->session);
  tegi_replay_verify_close(&fx->verify);
  teg_device_destroy(fx->device);
}

static teg_buffer* stamped(verify_fixture* fx, uint64_t size, uint64_t event,
                           tegi_replay_stamp* stamp) {
  teg_buffer_params params = TEG_BUFFER_PARAMS_INIT;
  params.size = size;
  teg_buffer* buffer = NULL;
  ASSERT_OK(teg_buffer_create(fx->session, &params, &buffer, &err));
  ASSERT_OK(tegi_replay_verify_stamp(&fx->verify, fx->stream, buffer, event,
                                     stamp, &err));
  assert_int_equal(stamp->size, size);
  return buffer;
}

static void check(verify_fixture* fx, teg_buffer* buffer,
                  const tegi_replay_stamp* stamp) {
  ASSERT_OK(tegi_replay_verify_check(&fx->verify, stamp, fx->stream, buffer,
                                     fx->results, &err));
}

static tegi_replay_changes read_changes(verify_fixture* fx) {
  tegi_replay_changes changes;
  ASSERT_OK(tegi_replay_verify_read(&fx->verify, fx->stream, fx->results,
                                    &changes, &err));
  return changes;
}

static void stamps_of_all_sizes_are_found_whole(verify_fixture* fx) {
  static const uint64_t sizes[] = {1,   3,   4,   64,   65,   511,    512,
                                   513, 516, 575, 1027, 4096, 100001, 5000000};
  enum { COUNT = sizeof sizes / sizeof *sizes };
  teg_buffer* buffers[COUNT];
  tegi_replay_stamp stamps[COUNT];
  for (size_t i = 0; i < COUNT; ++i) {
    buffers[i] = stamped(fx, sizes[i], i, &stamps[i]);
  }
  for (size_t i = 0; i < COUNT; ++i) check(fx, buffers[i], &stamps[i]);
  assert_int_equal(read_changes(fx).buffer_count, 0);
  for (size_t i = 0; i < COUNT; ++i) teg_buffer_destroy(buffers[i]);
}

// Writes |word| over the buffer at |offset|; the change is found there.
static void expect_change(verify_fixture* fx, uint64_t size, uint64_t offset,
                          uint64_t event) {
  tegi_replay_stamp stamp;
  teg_buffer* buffer = stamped(fx, size, event, &stamp);
  ASSERT_OK(teg_stream_fill(fx->stream, buffer, offset, 4, 0x01020304, &err));
  check(fx, buffer, &stamp);
  tegi_replay_changes changes = read_changes(fx);
  assert_int_equal(changes.buffer_count, 1);
  assert_int_equal(changes.buffer_number, stamp.number);
  assert_int_equal(changes.event_index, event);
  assert_int_equal(changes.offset, offset);
  assert_int_equal(changes.found, 0x01020304);
  assert_int_not_equal(changes.expected, changes.found);
  teg_buffer_destroy(buffer);
  ASSERT_OK(teg_stream_fill(fx->stream, fx->results, 0, 44, 0, &err));
}

static void changes_are_told_with_their_place(verify_fixture* fx) {
  expect_change(fx, 4, 0, 7);
  expect_change(fx, 512, 256, 8);
  expect_change(fx, 100000, 0, 9);
  expect_change(fx, 100000, 60, 10);
  expect_change(fx, 100000, 100000 - 4, 11);
  expect_change(fx, 100003, 100000 - 4, UINT64_C(5) << 32);
}

// Two buffers over the same bytes: what one stamps, the other misses, wherever
// in it the bytes are.
static void written_over_inside_is_found(verify_fixture* fx) {
  tegi_replay_stamp stamp;
  teg_buffer* buffer = stamped(fx, 400000, 1, &stamp);
  ASSERT_OK(teg_stream_fill(fx->stream, buffer, 64, 400000 - 128, 0, &err));
  check(fx, buffer, &stamp);
  tegi_replay_changes changes = read_changes(fx);
  assert_int_equal(changes.buffer_count, 1);
  assert_in_range(changes.offset, 64, 400000 - 68);
  teg_buffer_destroy(buffer);
}

// The stamp of another buffer is not taken for a buffer's own.
static void stamps_differ_from_buffer_to_buffer(verify_fixture* fx) {
  tegi_replay_stamp first;
  tegi_replay_stamp second;
  teg_buffer* a = stamped(fx, 10000, 100, &first);
  teg_buffer* b = stamped(fx, 10000, 101, &second);
  check(fx, a, &first);
  check(fx, a, &second);
  check(fx, b, &first);
  tegi_replay_changes changes = read_changes(fx);
  assert_int_equal(changes.buffer_count, 2);
  assert_int_equal(changes.event_index, 101);
  assert_int_equal(changes.buffer_number, second.number);
  teg_buffer_destroy(a);
  teg_buffer_destroy(b);
}

// A buffer counts once, however many of its pieces have changed.
static void large_buffers_are_stamped_in_pieces(verify_fixture* fx) {
  fx->verify.piece_bytes = 65536;
  uint64_t size = 3 * 65536 + 1000;
  tegi_replay_stamp stamp;
  teg_buffer* buffer = stamped(fx, size, 3, &stamp);
  check(fx, buffer, &stamp);
  assert_int_equal(read_changes(fx).buffer_count, 0);
  uint64_t second_end = 2 * 65536 - 4;
  ASSERT_OK(teg_stream_fill(fx->stream, buffer, second_end, 8, 0, &err));
  check(fx, buffer, &stamp);
  tegi_replay_changes changes = read_changes(fx);
  assert_int_equal(changes.buffer_count, 1);
  assert_int_equal(changes.offset, second_end);
  assert_int_equal(changes.found, 0);
  teg_error mismatch;
  tegi_replay_changes_describe(&changes, size, &mismatch);
  assert_non_null(strstr(mismatch.message, " of 197608 bytes, from event 3,"));
  assert_non_null(strstr(mismatch.message, "at byte 131068 is 0x00000000 and"));
  teg_buffer_destroy(buffer);
}

static void run_on_every_device(void (*test)(verify_fixture* fx)) {
  for (size_t i = 0; i < BACKEND_COUNT; ++i) {
    verify_fixture fx;
    if (!open_fixture(&fx, backends[i])) continue;
    test(&fx);
    close_fixture(&fx);
    assert_int_equal(complaint_count, 0);
  }
}

#define ON_EVERY_DEVICE(X)               \
  X(stamps_of_all_sizes_are_found_whole) \
  X(changes_are_told_with_their_place)   \
  X(written_over_inside_is_found)        \
  X(stamps_differ_from_buffer_to_buffer) \
  X(large_buffers_are_stamped_in_pieces)

#define DEFINE_TEST(name) \
  static void test_##name(void** state) { run_on_every_device(name); }
ON_EVERY_DEVICE(DEFINE_TEST)

int main(void) {
#define LIST_TEST(name) cmocka_unit_test(test_##name),
  const struct CMUnitTest tests[] = {ON_EVERY_DEVICE(LIST_TEST)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
