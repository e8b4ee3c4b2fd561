// SPDX-License-Identifier: Apache-2.0
//
// Devices: opened by name, with options; closed with what is left on them.
#include <stdio.h>
#include <string.h>

#include "support/core_fixture.h"

static core_fixture fx;

static teg_result open_with(const teg_device_params* params) {
  teg_device* device = (teg_device*)(uintptr_t)1;
  teg_result result = teg_device_create(params, &device, &fx.err);
  if (result != TEG_OK) {
    assert_null(device);
    assert_int_equal(fx.err.result, result);
  }
  teg_device_destroy(device);
  return result;
}

static void without_parameters_it_is_the_host(void** state) {
  (void)state;
  teg_device* device = NULL;
  CORE_OK(&fx, teg_device_create(NULL, &device, &fx.err));
  assert_string_equal(teg_device_backend_name(device), "host");
  teg_backend_caps caps;
  teg_device_get_caps(device, &caps);
  assert_int_equal(caps.tile_bytes, 2 * MIB);
  assert_int_equal(caps.remap, TEG_REMAP_AT_ONCE);
  teg_device_destroy(device);
}

static void a_wrong_backend_gets_the_nearest_name(void** state) {
  (void)state;
  teg_device_params params = TEG_DEVICE_PARAMS_INIT;
  params.backend = "hots";
  CORE_EXPECT(&fx, TEG_NOT_FOUND, open_with(&params));
  core_expect_text(fx.err.message, "\"host\"");
  params.backend = "";
  CORE_EXPECT(&fx, TEG_NOT_FOUND, open_with(&params));
}

static void bad_parameters_are_refused(void** state) {
  (void)state;
  teg_device_params params = TEG_DEVICE_PARAMS_INIT;
  params.struct_size = 4;
  CORE_EXPECT(&fx, TEG_INVALID, open_with(&params));
  params = (teg_device_params)TEG_DEVICE_PARAMS_INIT;
  params.device_index = 7;
  assert_true(open_with(&params) != TEG_OK);
  assert_true(fx.err.message[0] != '\0');
  params = (teg_device_params)TEG_DEVICE_PARAMS_INIT;
  params.allocator.user = &fx;
  params.allocator.allocate = (void* (*)(void*, size_t, size_t))NULL;
  CORE_OK(&fx, open_with(&params));
  assert_int_equal(teg_device_create(NULL, NULL, &fx.err), TEG_INVALID);
  teg_device_destroy(NULL);
}

static void tile_sizes_are_checked_by_the_device(void** state) {
  (void)state;
  static const char* const good[] = {"tile_bytes=4KiB", "tile_bytes=64KiB",
                                     "tile_bytes=64MiB"};
  for (size_t i = 0; i < 3; ++i) {
    core_open(&fx, "host", good[i]);
    core_close(&fx);
  }
  assert_int_equal(core_try_open(&fx, "host", "tile_bytes=5000"), TEG_INVALID);
  assert_true(fx.err.message[0] != '\0');
  assert_int_equal(tegi_load_relaxed(&fx.live_count), 0);
}

static void remap_off_has_no_tiles_to_move(void** state) {
  (void)state;
  core_open(&fx, "host", "remap=off");
  teg_backend_caps caps;
  teg_device_get_caps(fx.device, &caps);
  assert_int_equal(caps.remap, TEG_REMAP_NONE);
  core_close(&fx);
}

static void every_backend_is_listed(void** state) {
  (void)state;
  bool has_host = false;
  bool has_null = false;
  teg_backend_info info = {.struct_size = sizeof info};
  size_t i = 0;
  for (; teg_backend_get_info(i, &info) == TEG_OK; ++i) {
    assert_true(strlen(info.name) > 0 && strlen(info.summary) > 10);
    assert_true(info.result != TEG_OK || info.device_count > 0);
    if (strcmp(info.name, "host") == 0) has_host = true;
    if (strcmp(info.name, "null") == 0) has_null = true;
  }
  assert_true(has_host && has_null);
  assert_int_equal(teg_backend_get_info(i, &info), TEG_END);
  assert_int_equal(teg_backend_get_info(0, NULL), TEG_INVALID);
}

static void its_end_ends_its_sessions(void** state) {
  (void)state;
  core_open(&fx, "null", "tile_bytes=64KiB");
  for (int i = 0; i < 3; ++i) {
    teg_session* session = core_session(&fx, "left", "policy=tiled");
    teg_stream* stream = teg_session_stream(session);
    teg_buffer* buffer = core_buffer(&fx, session, 100000);
    core_fill(&fx, stream, buffer, 1);
    if (i > 0) core_submit(&fx, stream);
  }
  // The fixture asserts that no host memory stays.
  core_close(&fx);
  core_expect_text(fx.log, "\"left\"");
  core_expect_text(fx.log, "100000");
}

static void a_trim_reaches_every_session(void** state) {
  (void)state;
  core_open(&fx, "null", "tile_bytes=64KiB");
  for (size_t i = 0; core_policies[i]; ++i) {
    char options[64];
    snprintf(options, sizeof options, "policy=%s", core_policies[i]);
    teg_session* session = core_session(&fx, core_policies[i], options);
    teg_buffer_destroy(core_buffer(&fx, session, 300000));
  }
  uint64_t held = core_reserved(&fx);
  assert_true(held > 0);
  assert_int_equal(teg_device_trim(fx.device, TEG_TRIM_FREE), held);
  assert_int_equal(core_reserved(&fx), 0);
  assert_int_equal(teg_device_trim(NULL, TEG_TRIM_ALL), 0);
  core_close(&fx);
}

static void only_the_last_level_of_a_trim_waits(void** state) {
  (void)state;
  core_open(&fx, "null", "tile_bytes=64KiB;heap_min=64KiB");
  teg_session* session = core_session(&fx, "test", "policy=tiled");
  teg_stream* stream = teg_session_stream(session);
  teg_buffer* buffer = core_buffer(&fx, session, 300000);
  core_fill(&fx, stream, buffer, 1);
  core_submit(&fx, stream);
  teg_buffer_destroy(buffer);
  assert_int_equal(teg_device_trim(fx.device, TEG_TRIM_UNUSED), 0);
  assert_int_equal(teg_device_trim(fx.device, TEG_TRIM_FREE), 0);
  assert_true(teg_device_trim(fx.device, TEG_TRIM_ALL) >= 300000);
  assert_int_equal(core_reserved(&fx), 0);
  core_close(&fx);
}

// A buffer passes to another session while a stream of the first one still
// uses it; whoever ends first, it goes back in the end.
static void sessions_may_end_in_any_order(void** state) {
  (void)state;
  for (int first = 0; first < 2; ++first) {
    core_open(&fx, "null", "tile_bytes=64KiB");
    teg_session* sessions[2] = {core_session(&fx, "a", "policy=simple"),
                                core_session(&fx, "b", "policy=simple")};
    teg_stream* stream = teg_session_stream(sessions[0]);
    CORE_OK(&fx, teg_session_run_begin(sessions[0], &fx.err));
    teg_buffer* a = core_buffer(&fx, sessions[0], 5000);
    core_fill(&fx, stream, a, 1);
    teg_buffer_destroy(a);
    core_submit(&fx, stream);
    CORE_OK(&fx, teg_session_run_end(sessions[0], &fx.err));
    teg_buffer* b = core_buffer(&fx, sessions[1], 5000);
    assert_int_equal(core_device_stats(&fx).allocation_count, 1);
    core_fill(&fx, teg_session_stream(sessions[1]), b, 2);
    core_submit(&fx, teg_session_stream(sessions[1]));
    teg_session_destroy(sessions[first]);
    teg_session_destroy(sessions[1 - first]);
    (void)teg_device_trim(fx.device, TEG_TRIM_ALL);
    assert_int_equal(core_reserved(&fx), 0);
    core_close(&fx);
  }
}

static void null_handles_are_harmless(void** state) {
  (void)state;
  teg_backend_caps caps = {.struct_size = 5};
  teg_device_get_caps(NULL, &caps);
  assert_int_equal(caps.struct_size, 5);
  assert_string_equal(teg_device_backend_name(NULL), "");
  core_open(&fx, "host", NULL);
  teg_device_get_caps(fx.device, NULL);
  core_close(&fx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(without_parameters_it_is_the_host),
      cmocka_unit_test(a_wrong_backend_gets_the_nearest_name),
      cmocka_unit_test(bad_parameters_are_refused),
      cmocka_unit_test(tile_sizes_are_checked_by_the_device),
      cmocka_unit_test(remap_off_has_no_tiles_to_move),
      cmocka_unit_test(every_backend_is_listed),
      cmocka_unit_test(its_end_ends_its_sessions),
      cmocka_unit_test(a_trim_reaches_every_session),
      cmocka_unit_test(only_the_last_level_of_a_trim_waits),
      cmocka_unit_test(sessions_may_end_in_any_order),
      cmocka_unit_test(null_handles_are_harmless),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
