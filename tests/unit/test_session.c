// SPDX-License-Identifier: Apache-2.0
//
// Sessions: runs, tags, and an end that leaves nothing and says what was
// forgotten.
#include <stdio.h>
#include <string.h>

#include "support/core_fixture.h"

static core_fixture fx;
static teg_session* session;

static int begin(void** state) {
  (void)state;
  core_open(&fx, "null", "tile_bytes=64KiB;heap_min=64KiB");
  session = core_session(&fx, "model", NULL);
  return 0;
}

static int end(void** state) {
  (void)state;
  core_close(&fx);
  return 0;
}

static void a_run_inside_a_run_is_refused(void** state) {
  (void)state;
  CORE_OK(&fx, teg_session_run_begin(session, &fx.err));
  CORE_EXPECT(&fx, TEG_BAD_STATE, teg_session_run_begin(session, &fx.err));
  core_expect_text(fx.err.message, "\"model\"");
  // The run is still open and can be ended once.
  CORE_OK(&fx, teg_session_run_end(session, &fx.err));
  CORE_EXPECT(&fx, TEG_BAD_STATE, teg_session_run_end(session, &fx.err));
  CORE_OK(&fx, teg_session_run_begin(session, &fx.err));
}

static void an_end_without_a_begin_is_refused(void** state) {
  (void)state;
  CORE_EXPECT(&fx, TEG_BAD_STATE, teg_session_run_end(session, &fx.err));
  core_expect_text(fx.err.message, "no run");
}

static void the_end_of_a_run_submits_nothing(void** state) {
  (void)state;
  teg_stream* stream = teg_session_stream(session);
  CORE_OK(&fx, teg_session_run_begin(session, &fx.err));
  core_fill(&fx, stream, core_buffer(&fx, session, 1000), 1);
  CORE_OK(&fx, teg_session_run_end(session, &fx.err));
  assert_int_equal(teg_stream_submitted(stream), 0);
}

static void a_session_may_end_inside_a_run(void** state) {
  (void)state;
  CORE_OK(&fx, teg_session_run_begin(session, &fx.err));
  (void)core_buffer(&fx, session, 1000);
  teg_session_destroy(session);
  assert_int_equal(core_reserved(&fx), 0);
}

static void the_same_name_is_the_same_tag(void** state) {
  (void)state;
  uint32_t first = 0;
  uint32_t again = 0;
  uint32_t other = 0;
  CORE_OK(&fx, teg_session_tag(session, "attention", &first, &fx.err));
  CORE_OK(&fx, teg_session_tag(session, "mlp", &other, &fx.err));
  CORE_OK(&fx, teg_session_tag(session, "attention", &again, &fx.err));
  assert_true(first != 0 && other != 0);
  assert_int_equal(first, again);
  assert_int_not_equal(first, other);
}

static void a_session_has_63_tags(void** state) {
  (void)state;
  char name[32];
  uint32_t tag = 0;
  for (uint32_t i = 1; i <= 63; ++i) {
    snprintf(name, sizeof name, "tag %u", i);
    CORE_OK(&fx, teg_session_tag(session, name, &tag, &fx.err));
    assert_int_equal(tag, i);
  }
  CORE_EXPECT(&fx, TEG_LIMIT,
              teg_session_tag(session, "one more", &tag, &fx.err));
  assert_int_equal(tag, 0);
  core_expect_text(fx.err.message, "63");
  CORE_OK(&fx, teg_session_tag(session, "tag 40", &tag, &fx.err));
  assert_int_equal(tag, 40);
}

static void what_was_forgotten_is_named_in_the_log(void** state) {
  (void)state;
  uint32_t tag = 0;
  CORE_OK(&fx, teg_session_tag(session, "attention", &tag, &fx.err));
  teg_buffer_params params = TEG_BUFFER_PARAMS_INIT;
  params.size = 12345;
  params.tag = tag;
  teg_buffer* buffer = NULL;
  CORE_OK(&fx, teg_buffer_create(session, &params, &buffer, &fx.err));
  core_fill(&fx, teg_session_stream(session), buffer, 1);
  void* pointer = NULL;
  CORE_OK(&fx, teg_buffer_map(buffer, &pointer, &fx.err));
  teg_buffer_destroy(core_buffer(&fx, session, 76543));
  teg_session_destroy(session);
  core_expect_text(fx.log, "\"model\"");
  core_expect_text(fx.log, "12345");
  core_expect_text(fx.log, "\"attention\"");
  assert_null(strstr(fx.log, "76543"));
  assert_int_equal(core_reserved(&fx), 0);
}

static void an_end_with_everything_alive_leaves_nothing(void** state) {
  (void)state;
  for (size_t i = 0; core_policies[i]; ++i) {
    char options[64];
    snprintf(options, sizeof options, "policy=%s", core_policies[i]);
    teg_session* one = core_session(&fx, core_policies[i], options);
    teg_stream* second = NULL;
    CORE_OK(&fx, teg_stream_create(one, &second, &fx.err));
    for (int k = 0; k < TEG_LIFETIME_COUNT; ++k) {
      teg_buffer* buffer =
          core_buffer_of(&fx, one, 70000 + 1000 * (uint64_t)k, (teg_lifetime)k);
      teg_stream* stream = k % 2 ? second : teg_session_stream(one);
      core_fill(&fx, stream, buffer, 1);
      if (k == 3) core_submit(&fx, stream);
      if (k == 4) teg_buffer_destroy(buffer);
    }
    teg_session_destroy(one);
    (void)teg_device_trim(fx.device, TEG_TRIM_FREE);
    assert_int_equal(core_reserved(&fx), 0);
    core_validate(&fx, NULL);
  }
}

static void errors_that_nobody_waited_for_go_to_the_log(void** state) {
  (void)state;
  teg_stream* stream = teg_session_stream(session);
  teg_buffer* buffer = core_buffer(&fx, session, 1000);
  // Nobody wrote it.
  teg_buffer* other = core_buffer(&fx, session, 1000);
  CORE_OK(&fx, teg_stream_copy(stream, buffer, 0, other, 0, 1000, &fx.err));
  core_submit(&fx, stream);
  teg_session_destroy(session);
  core_expect_text(fx.log, "written last by nobody");
}

static void a_trim_says_what_went_back(void** state) {
  (void)state;
  teg_buffer_destroy(core_buffer(&fx, session, 300000));
  uint64_t held = core_reserved(&fx);
  assert_int_equal(teg_session_trim(session, TEG_TRIM_UNUSED), 0);
  assert_int_equal(teg_session_trim(session, TEG_TRIM_FREE), held);
  assert_int_equal(teg_session_trim(session, TEG_TRIM_FREE), 0);
  assert_int_equal(teg_session_trim(NULL, TEG_TRIM_FREE), 0);
}

static void a_trim_begins_the_peak_of_the_slack_anew(void** state) {
  (void)state;
  teg_session* one = core_session(&fx, "one", "policy=tiled;slack=0");
  teg_session_destroy(session);
  teg_buffer_destroy(core_buffer(&fx, one, 4 * MIB));
  (void)teg_session_trim(one, TEG_TRIM_FREE);
  // 4 MiB would be within the old peak.
  teg_buffer* pins[4];
  for (uint64_t i = 0; i < 4; ++i) {
    teg_buffer* hole = core_buffer(&fx, one, (i + 2) * 64 * KIB);
    pins[i] = core_buffer(&fx, one, 64 * KIB);
    teg_buffer_destroy(hole);
  }
  assert_int_equal(core_info(pins[3]).size, 64 * KIB);
  assert_int_equal(core_reserved(&fx), (5 + 3 + 1) * 64 * KIB);
}

static void sessions_count_as_their_options_say(void** state) {
  (void)state;
  teg_options* options = NULL;
  CORE_OK(&fx, teg_options_create(NULL, &options, &fx.err));
  core_set_options(options, "policy=simple");
  teg_session_params params = TEG_SESSION_PARAMS_INIT;
  params.options = options;
  teg_session* one = NULL;
  CORE_OK(&fx, teg_session_create(fx.device, &params, &one, &fx.err));
  // They are copied.
  core_set_options(options, "policy=bucket");
  teg_options_destroy(options);
  assert_string_equal(teg_session_policy(one, TEG_LIFETIME_RUN), "simple");
  assert_string_equal(teg_session_policy(one, (teg_lifetime)99), "");
  assert_string_equal(teg_session_policy(NULL, TEG_LIFETIME_RUN), "");
}

static void bad_arguments_are_refused(void** state) {
  (void)state;
  teg_session* out = (teg_session*)(uintptr_t)1;
  CORE_EXPECT(&fx, TEG_INVALID, teg_session_create(NULL, NULL, &out, &fx.err));
  assert_null(out);
  CORE_EXPECT(&fx, TEG_INVALID,
              teg_session_create(fx.device, NULL, NULL, &fx.err));
  teg_session_params params = TEG_SESSION_PARAMS_INIT;
  params.reserved = 1;
  CORE_EXPECT(&fx, TEG_INVALID,
              teg_session_create(fx.device, &params, &out, &fx.err));
  params = (teg_session_params)TEG_SESSION_PARAMS_INIT;
  params.struct_size--;
  CORE_EXPECT(&fx, TEG_INVALID,
              teg_session_create(fx.device, &params, &out, &fx.err));
  uint32_t tag;
  CORE_EXPECT(&fx, TEG_INVALID, teg_session_tag(NULL, "x", &tag, &fx.err));
  CORE_EXPECT(&fx, TEG_INVALID, teg_session_tag(session, NULL, &tag, &fx.err));
  CORE_EXPECT(&fx, TEG_INVALID, teg_session_tag(session, "x", NULL, &fx.err));
  CORE_EXPECT(&fx, TEG_INVALID, teg_session_run_begin(NULL, &fx.err));
  CORE_EXPECT(&fx, TEG_INVALID, teg_session_run_end(NULL, &fx.err));
  CORE_EXPECT(&fx, TEG_INVALID, teg_session_validate(NULL, &fx.err));
  assert_null(teg_session_stream(NULL));
  teg_session_destroy(NULL);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, begin, end)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(a_run_inside_a_run_is_refused),
      TEST(an_end_without_a_begin_is_refused),
      TEST(the_end_of_a_run_submits_nothing),
      TEST(a_session_may_end_inside_a_run),
      TEST(the_same_name_is_the_same_tag),
      TEST(a_session_has_63_tags),
      TEST(what_was_forgotten_is_named_in_the_log),
      TEST(an_end_with_everything_alive_leaves_nothing),
      TEST(errors_that_nobody_waited_for_go_to_the_log),
      TEST(a_trim_says_what_went_back),
      TEST(a_trim_begins_the_peak_of_the_slack_anew),
      TEST(sessions_count_as_their_options_say),
      TEST(bad_arguments_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
