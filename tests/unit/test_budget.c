// SPDX-License-Identifier: Apache-2.0
//
// Budgets of the device and of a session, and the ladder that is gone down
// before a request fails: what it frees, and what the error says.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "support/core_fixture.h"

#define TILE (64 * KIB)

static core_fixture fx;

static void open_with_budget(const char* budget) {
  char options[128];
  snprintf(options, sizeof options, "tile_bytes=64KiB;heap_min=64KiB;budget=%s",
           budget);
  core_open(&fx, "null", options);
}

static int end(void** state) {
  (void)state;
  core_validate(&fx, NULL);
  core_close(&fx);
  return 0;
}

static teg_session* session_of(const char* name, const char* policy) {
  char options[128];
  snprintf(options, sizeof options,
           "policy=%s;page_min=64KiB;exclusive_max=4MiB", policy);
  return core_session(&fx, name, options);
}

static void the_device_never_reserves_more_than_its_budget(void** state) {
  (void)state;
  for (size_t i = 0; core_policies[i]; ++i) {
    open_with_budget("4MiB");
    teg_session* session = session_of(core_policies[i], core_policies[i]);
    teg_stream* stream = teg_session_stream(session);
    teg_buffer* buffers[64];
    uint32_t count = 0;
    teg_result result = TEG_OK;
    while (count < 64 && result == TEG_OK) {
      result = core_try_buffer(&fx, session, 200 * KIB, TEG_LIFETIME_RUN,
                               &buffers[count]);
      if (result != TEG_OK) break;
      core_fill(&fx, stream, buffers[count], count + 1);
      count++;
    }
    CORE_EXPECT(&fx, TEG_OVER_BUDGET, result);
    assert_null(buffers[count]);
    assert_true(count >= 10 && count <= 20);
    assert_true(core_device_stats(&fx).peak_reserved_bytes <= 4 * MIB);
    // After the failure everything still works.
    core_validate(&fx, session);
    for (uint32_t k = 0; k < count; ++k) {
      core_expect_pattern(&fx, stream, buffers[k], k + 1);
      teg_buffer_destroy(buffers[k]);
    }
    teg_buffer* again = core_buffer(&fx, session, 200 * KIB);
    core_fill(&fx, stream, again, 77);
    core_expect_pattern(&fx, stream, again, 77);
    core_close(&fx);
  }
  open_with_budget("4MiB");
}

static void the_error_says_what_is_asked_held_and_tried(void** state) {
  (void)state;
  open_with_budget("4MiB");
  teg_session* loader = session_of("loader", "tiled");
  teg_session* asker = session_of("asker", "tiled");
  uint32_t tag = 0;
  CORE_OK(&fx, teg_session_tag(loader, "attention", &tag, &fx.err));
  teg_buffer_params params = TEG_BUFFER_PARAMS_INIT;
  params.size = 2 * MIB;
  params.tag = tag;
  teg_buffer* buffer = NULL;
  CORE_OK(&fx, teg_buffer_create(loader, &params, &buffer, &fx.err));
  (void)core_buffer_of(&fx, loader, MIB, TEG_LIFETIME_STATIC);
  teg_buffer* out = NULL;
  CORE_EXPECT(&fx, TEG_OVER_BUDGET,
              core_try_buffer(&fx, asker, 2 * MIB, TEG_LIFETIME_RUN, &out));
  const char* text = fx.err.message;
  core_expect_text(text, "2097152 bytes");
  core_expect_text(text, "budget of 4194304");
  core_expect_text(text, "reserved 3145728");
  core_expect_text(text, "\"loader\" holds 3145728 live (1048576 static)");
  core_expect_text(text, "\"attention\": 2097152");
  core_expect_text(text, "\"asker\" holds 0 live");
  core_expect_text(text, "submitting the stream's own batch");
  core_expect_text(text, "waiting for submitted work");
  core_expect_text(text, "trimming the session's own free memory");
  core_expect_text(text, "trimming idle sessions");
}

static void the_error_of_many_sessions_fits(void** state) {
  (void)state;
  open_with_budget("1MiB");
  teg_session* last = NULL;
  char name[200];
  memset(name, 'n', sizeof name);
  name[199] = '\0';
  for (int i = 0; i < 12; ++i) last = session_of(name, "simple");
  teg_buffer* out = NULL;
  CORE_EXPECT(&fx, TEG_OVER_BUDGET,
              core_try_buffer(&fx, last, 2 * MIB, TEG_LIFETIME_RUN, &out));
  core_expect_text(fx.err.message, "and more sessions");
  core_expect_text(fx.err.message, "trimming idle sessions");
}

static void without_an_error_to_fill_it_fails_the_same(void** state) {
  (void)state;
  open_with_budget("1MiB");
  teg_session* session = session_of("s", "tiled");
  teg_buffer_params params = TEG_BUFFER_PARAMS_INIT;
  params.size = 2 * MIB;
  teg_buffer* out = (teg_buffer*)(uintptr_t)1;
  assert_int_equal(teg_buffer_create(session, &params, &out, NULL),
                   TEG_OVER_BUDGET);
  assert_null(out);
}

// ---- The ladder

// Half of the budget is freed by commands that are only recorded: the stream's
// own batch is submitted and waited for.
static void the_streams_own_batch_is_submitted_and_waited_for(void** state) {
  (void)state;
  for (size_t i = 0; core_policies[i]; ++i) {
    open_with_budget("4MiB");
    teg_session* session = session_of("s", core_policies[i]);
    teg_stream* stream = teg_session_stream(session);
    for (int k = 0; k < 3; ++k) {
      teg_buffer* buffer = core_buffer(&fx, session, MIB);
      core_fill(&fx, stream, buffer, 1);
      teg_buffer_destroy(buffer);
    }
    teg_buffer* large = core_buffer(&fx, session, 4 * MIB);
    core_fill(&fx, stream, large, 3);
    core_expect_pattern(&fx, stream, large, 3);
    core_validate(&fx, session);
    core_close(&fx);
  }
  open_with_budget("4MiB");
}

static void what_the_session_keeps_is_given_back(void** state) {
  (void)state;
  for (size_t i = 0; core_policies[i]; ++i) {
    open_with_budget("4MiB");
    teg_session* session = session_of("s", core_policies[i]);
    teg_buffer* kept = core_buffer(&fx, session, 200 * KIB);
    for (uint64_t k = 1; k <= 6; ++k) {
      teg_buffer_destroy(core_buffer(&fx, session, k * 300 * KIB));
    }
    (void)core_buffer(&fx, session, 2 * MIB);
    assert_int_equal(core_info(kept).size, 200 * KIB);
    core_close(&fx);
  }
  open_with_budget("4MiB");
}

static void idle_sessions_are_trimmed(void** state) {
  (void)state;
  for (size_t i = 0; core_policies[i]; ++i) {
    open_with_budget("4MiB");
    teg_session* idle = session_of("idle", core_policies[i]);
    teg_session* asker = session_of("asker", "simple");
    teg_buffer_destroy(core_buffer(&fx, idle, 3 * MIB));
    (void)core_buffer(&fx, asker, 4 * MIB);
    core_validate(&fx, idle);
    core_validate(&fx, asker);
    core_close(&fx);
  }
  open_with_budget("4MiB");
}

static void sessions_inside_of_a_run_are_not_trimmed(void** state) {
  (void)state;
  open_with_budget("4MiB");
  teg_session* running = session_of("running", "simple");
  teg_session* asker = session_of("asker", "simple");
  CORE_OK(&fx, teg_session_run_begin(running, &fx.err));
  teg_buffer_destroy(core_buffer(&fx, running, 3 * MIB));
  teg_buffer* out = NULL;
  CORE_EXPECT(&fx, TEG_OVER_BUDGET,
              core_try_buffer(&fx, asker, 4 * MIB, TEG_LIFETIME_RUN, &out));
  CORE_OK(&fx, teg_session_run_end(running, &fx.err));
  (void)core_buffer(&fx, asker, 4 * MIB);
}

static void lent_buffers_go_before_a_request_fails(void** state) {
  (void)state;
  open_with_budget("4MiB");
  teg_session* one = session_of("one", "simple");
  teg_session* two = session_of("two", "simple");
  CORE_OK(&fx, teg_session_run_begin(one, &fx.err));
  for (uint64_t i = 1; i <= 3; ++i) {
    teg_buffer_destroy(core_buffer(&fx, one, MIB + i * 4096));
  }
  CORE_OK(&fx, teg_session_run_end(one, &fx.err));
  (void)core_buffer(&fx, two, 4 * MIB);
}

static void a_driver_without_memory_is_reported_as_such(void** state) {
  (void)state;
  open_with_budget("64MiB");
  CORE_OK(&fx, teg_null_set_budget(fx.backend, 2 * MIB));
  for (size_t i = 0; core_policies[i]; ++i) {
    teg_session* session = session_of(core_policies[i], core_policies[i]);
    teg_buffer* out = NULL;
    CORE_EXPECT(&fx, TEG_OUT_OF_MEMORY,
                core_try_buffer(&fx, session, 3 * MIB, TEG_LIFETIME_RUN, &out));
    core_expect_text(fx.err.message, "no memory for 3145728 bytes");
    teg_buffer_destroy(core_buffer(&fx, session, MIB));
    core_validate(&fx, session);
    teg_session_destroy(session);
    (void)teg_device_trim(fx.device, TEG_TRIM_ALL);
  }
}

static void a_budget_below_one_tile_is_a_clear_failure(void** state) {
  (void)state;
  open_with_budget("1000");
  teg_session* session = session_of("s", "tiled");
  teg_buffer* out = NULL;
  CORE_EXPECT(&fx, TEG_OVER_BUDGET,
              core_try_buffer(&fx, session, 10, TEG_LIFETIME_RUN, &out));
  core_expect_text(fx.err.message, "budget of 1000");
}

// ---- Sessions

static void a_session_holds_no_more_than_its_budget(void** state) {
  (void)state;
  open_with_budget("64MiB");
  for (size_t i = 0; core_policies[i]; ++i) {
    char options[128];
    snprintf(options, sizeof options, "policy=%s;budget_session=1MiB",
             core_policies[i]);
    teg_session* session = core_session(&fx, "small", options);
    teg_buffer* first = core_buffer(&fx, session, MIB - 1000);
    teg_buffer* out = NULL;
    CORE_EXPECT(&fx, TEG_OVER_BUDGET,
                core_try_buffer(&fx, session, 1001, TEG_LIFETIME_RUN, &out));
    assert_null(out);
    core_expect_text(fx.err.message, "1001 bytes");
    core_expect_text(fx.err.message, "budget of 1048576");
    core_expect_text(fx.err.message, "\"small\"");
    core_expect_text(fx.err.message, "1047576 live");
    assert_int_equal(core_session_stats(session).failure_count, 1);
    (void)core_buffer(&fx, session, 1000);
    teg_buffer_destroy(first);
    (void)core_buffer(&fx, session, MIB - 1000);
    teg_session_destroy(session);
  }
}

static void a_resize_is_held_to_the_sessions_budget(void** state) {
  (void)state;
  open_with_budget("64MiB");
  for (size_t i = 0; core_policies[i]; ++i) {
    char options[128];
    snprintf(options, sizeof options, "policy=%s;budget_session=1MiB",
             core_policies[i]);
    teg_session* session = core_session(&fx, "small", options);
    teg_buffer_params params = TEG_BUFFER_PARAMS_INIT;
    params.lifetime = TEG_LIFETIME_STATE;
    params.size = 1000;
    params.max_size = 2 * MIB;
    teg_buffer* buffer = NULL;
    CORE_OK(&fx, teg_buffer_create(session, &params, &buffer, &fx.err));
    CORE_OK(&fx, teg_buffer_resize(buffer, MIB, &fx.err));
    CORE_EXPECT(&fx, TEG_OVER_BUDGET,
                teg_buffer_resize(buffer, MIB + 1, &fx.err));
    assert_int_equal(core_info(buffer).size, MIB);
    CORE_OK(&fx, teg_buffer_resize(buffer, 1000, &fx.err));
    teg_session_destroy(session);
  }
}

static void one_sessions_budget_is_not_anothers(void** state) {
  (void)state;
  open_with_budget("64MiB");
  teg_session* small =
      core_session(&fx, "small", "policy=simple;budget_session=4096");
  teg_session* large = core_session(&fx, "large", "policy=simple");
  teg_buffer* out = NULL;
  CORE_EXPECT(&fx, TEG_OVER_BUDGET,
              core_try_buffer(&fx, small, 8192, TEG_LIFETIME_RUN, &out));
  (void)core_buffer(&fx, large, 8192);
}

#define TEST(function) cmocka_unit_test_teardown(function, end)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(the_device_never_reserves_more_than_its_budget),
      TEST(the_error_says_what_is_asked_held_and_tried),
      TEST(the_error_of_many_sessions_fits),
      TEST(without_an_error_to_fill_it_fails_the_same),
      TEST(the_streams_own_batch_is_submitted_and_waited_for),
      TEST(what_the_session_keeps_is_given_back),
      TEST(idle_sessions_are_trimmed),
      TEST(sessions_inside_of_a_run_are_not_trimmed),
      TEST(lent_buffers_go_before_a_request_fails),
      TEST(a_driver_without_memory_is_reported_as_such),
      TEST(a_budget_below_one_tile_is_a_clear_failure),
      TEST(a_session_holds_no_more_than_its_budget),
      TEST(a_resize_is_held_to_the_sessions_budget),
      TEST(one_sessions_budget_is_not_anothers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
