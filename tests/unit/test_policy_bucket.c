// SPDX-License-Identifier: Apache-2.0
//
// bucket: buffers by a table of size classes, each with a limit on how many
// free ones are kept: ONNX Runtime's 26 by default, or a table of the user's.
#include <stdio.h>

#include "support/core_fixture.h"

// buffer_manager.cc of ONNX Runtime's WebGPU provider.
static const struct {
  uint64_t size;
  uint32_t limit;
} ort[] = {
    {64, 250},      {128, 200},     {256, 200},     {512, 200},
    {2048, 230},    {4096, 200},    {8192, 50},     {16384, 50},
    {32768, 50},    {65536, 50},    {131072, 50},   {262144, 50},
    {524288, 50},   {1048576, 50},  {2097152, 30},  {4194304, 20},
    {8388608, 10},  {12582912, 10}, {16777216, 10}, {26214400, 15},
    {33554432, 22}, {44236800, 2},  {58982400, 6},  {67108864, 6},
    {134217728, 6}, {167772160, 6},
};
enum { CLASS_COUNT = sizeof ort / sizeof ort[0] };

static core_fixture fx;

static int begin(void** state) {
  (void)state;
  core_open(&fx, "host", NULL);
  return 0;
}

static int end(void** state) {
  (void)state;
  core_close(&fx);
  return 0;
}

static uint64_t granted(teg_session* session, uint64_t size) {
  teg_buffer* buffer = core_buffer(&fx, session, size);
  uint64_t bytes = core_info(buffer).granted_bytes;
  teg_buffer_destroy(buffer);
  return bytes;
}

static void the_default_classes_are_onnx_runtimes(void** state) {
  (void)state;
  assert_int_equal(CLASS_COUNT, 26);
  teg_session* session = core_session(&fx, "test", "policy=bucket");
  teg_backend_caps caps;
  teg_device_get_caps(fx.device, &caps);
  for (size_t i = 0; i < CLASS_COUNT; ++i) {
    uint64_t size = tegi_align_up(ort[i].size, caps.buffer_granularity);
    assert_int_equal(granted(session, ort[i].size), size);
    if (ort[i].size < caps.buffer_alignment) continue;
    // The next class begins a byte above; past the last one sizes are exact.
    uint64_t above = granted(session, ort[i].size + 1);
    uint64_t next = i + 1 < CLASS_COUNT ? ort[i + 1].size
                                        : ort[i].size + caps.buffer_granularity;
    assert_int_equal(above, tegi_align_up(next, caps.buffer_granularity));
  }
}

// How many of |count| buffers of |size| are kept once they are free.
static uint64_t count_kept(teg_session* session, uint64_t size,
                           uint32_t count) {
  static teg_buffer* buffers[256];
  assert_true(count <= 256);
  (void)teg_session_trim(session, TEG_TRIM_ALL);
  assert_int_equal(core_reserved(&fx), 0);
  for (uint32_t i = 0; i < count; ++i) {
    buffers[i] = core_buffer(&fx, session, size);
  }
  uint64_t each = core_reserved(&fx) / count;
  for (uint32_t i = 0; i < count; ++i) teg_buffer_destroy(buffers[i]);
  core_finish(&fx, teg_session_stream(session));
  core_validate(&fx, session);
  return core_reserved(&fx) / each;
}

static void the_default_limits_are_onnx_runtimes(void** state) {
  (void)state;
  teg_session* session = core_session(&fx, "test", "policy=bucket");
  teg_backend_caps caps;
  teg_device_get_caps(fx.device, &caps);
  for (size_t i = 0; i < CLASS_COUNT; ++i) {
    // Requests are multiples of the alignment: smaller classes stay empty.
    if (ort[i].size < caps.buffer_alignment) continue;
    assert_int_equal(count_kept(session, ort[i].size, ort[i].limit + 2),
                     ort[i].limit);
  }
}

static void above_the_largest_class_nothing_is_kept(void** state) {
  (void)state;
  teg_session* session = core_session(&fx, "test", "policy=bucket");
  assert_int_equal(count_kept(session, 167772161, 2), 0);
}

static void a_kept_buffer_serves_every_size_of_its_class(void** state) {
  (void)state;
  teg_session* session = core_session(&fx, "test", "policy=bucket");
  teg_buffer* a = core_buffer(&fx, session, 5000);
  const void* memory = core_info(a).memory;
  teg_buffer_destroy(a);
  teg_buffer* b = core_buffer(&fx, session, 8000);
  assert_ptr_equal(core_info(b).memory, memory);
  assert_int_equal(core_device_stats(&fx).allocation_count, 1);
}

static void a_table_of_the_users_is_taken(void** state) {
  (void)state;
  teg_session* session = core_session(
      &fx, "test", "policy=bucket;buckets=4096:2 65536:1,1000000:0");
  assert_int_equal(granted(session, 100), 4096);
  assert_int_equal(granted(session, 4097), 65536);
  assert_int_equal(count_kept(session, 4096, 5), 2);
  assert_int_equal(count_kept(session, 65536, 5), 1);
  assert_int_equal(count_kept(session, 900000, 5), 0);
  assert_int_equal(count_kept(session, 2000000, 5), 0);
}

static void a_bad_table_is_refused_with_the_place(void** state) {
  (void)state;
  static const struct {
    const char* table;
    const char* text;
  } bad[] = {
      {"4096", "\"4096\""},
      {"4096:", "no count"},
      {":5", "no size"},
      {"4096:5 4096:6", "\"4096:6\""},
      {"65536:5 4096:6", "do not ascend"},
      {"0:5", "do not ascend"},
      {"-1:5", "do not ascend"},
      {"99999999999999999999:5", "do not ascend"},
      {"4096:4294967295", "count too large"},
      {"4096:-1", "count too large"},
      {"4096:5 x", "\"x\""},
      {"4096:5;65536:2", "no size"},
      {"4KiB:5", "no size"},
      {" ", "no size"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i) {
    teg_options* options = NULL;
    CORE_OK(&fx, teg_options_create(NULL, &options, &fx.err));
    CORE_OK(&fx, teg_options_set(options, "policy", "bucket", &fx.err));
    assert_int_equal(teg_options_set(options, "buckets", bad[i].table, &fx.err),
                     TEG_INVALID);
    core_expect_text(fx.err.message, "buckets");
    core_expect_text(fx.err.message, bad[i].text);
    teg_options_destroy(options);
  }
  assert_int_equal(core_reserved(&fx), 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, begin, end)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(the_default_classes_are_onnx_runtimes),
      TEST(the_default_limits_are_onnx_runtimes),
      TEST(above_the_largest_class_nothing_is_kept),
      TEST(a_kept_buffer_serves_every_size_of_its_class),
      TEST(a_table_of_the_users_is_taken),
      TEST(a_bad_table_is_refused_with_the_place),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
