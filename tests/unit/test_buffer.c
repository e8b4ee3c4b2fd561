// SPDX-License-Identifier: Apache-2.0
//
// Buffers: what is refused, what is told, maps.
#include <string.h>

#include "support/core_fixture.h"

static core_fixture fx;
static teg_session* session;
static teg_stream* stream;

static int begin(void** state) {
  (void)state;
  core_open(&fx, "null", "tile_bytes=64KiB");
  session = core_session(&fx, "test", NULL);
  stream = teg_session_stream(session);
  return 0;
}

static int end(void** state) {
  (void)state;
  core_validate(&fx, session);
  core_close(&fx);
  return 0;
}

// Refused with TEG_INVALID and |text|; the output is cleared, nothing counts.
static void expect_invalid(const teg_buffer_params* params, const char* text) {
  teg_buffer* buffer = (teg_buffer*)(uintptr_t)1;
  CORE_EXPECT(&fx, TEG_INVALID,
              teg_buffer_create(session, params, &buffer, &fx.err));
  assert_null(buffer);
  core_expect_text(fx.err.message, text);
  assert_int_equal(core_session_stats(session).create_count, 0);
  assert_int_equal(core_reserved(&fx), 0);
}

static teg_buffer_params params_of(uint64_t size) {
  teg_buffer_params params = TEG_BUFFER_PARAMS_INIT;
  params.size = size;
  return params;
}

static void size_0_is_refused(void** state) {
  (void)state;
  teg_buffer_params params = params_of(0);
  expect_invalid(&params, "size 0");
}

static void sizes_above_2_to_the_62_are_refused(void** state) {
  (void)state;
  teg_buffer_params params = params_of((UINT64_C(1) << 62) + 1);
  expect_invalid(&params, "2^62");
  params = params_of(UINT64_C(1) << 63);
  expect_invalid(&params, "9223372036854775808");
  params = params_of(UINT64_MAX);
  expect_invalid(&params, "18446744073709551615");
}

// Larger than any device: a failure that says so, under every policy.
static void size_2_to_the_62_is_too_much_for_the_device(void** state) {
  (void)state;
  static const uint64_t sizes[] = {UINT64_C(1) << 62, (UINT64_C(1) << 62) - 1,
                                   UINT64_C(1) << 50};
  for (size_t i = 0; core_policies[i]; ++i) {
    char options[64] = "policy=";
    strcat(options, core_policies[i]);
    teg_session* one = core_session(&fx, core_policies[i], options);
    for (size_t k = 0; k < 3; ++k) {
      for (int lifetime = 0; lifetime < TEG_LIFETIME_COUNT; ++lifetime) {
        teg_buffer* buffer = (teg_buffer*)(uintptr_t)1;
        teg_result result = core_try_buffer(&fx, one, sizes[k],
                                            (teg_lifetime)lifetime, &buffer);
        if (result != TEG_OUT_OF_MEMORY && result != TEG_LIMIT) {
          fail_msg("%s: %s", core_policies[i], fx.err.message);
        }
        assert_null(buffer);
        core_expect_text(fx.err.message, "no memory for");
        core_expect_text(fx.err.message, "tried:");
      }
    }
    teg_buffer_params params = params_of(1000);
    params.lifetime = TEG_LIFETIME_STATE;
    params.max_size = UINT64_C(1) << 62;
    teg_buffer* buffer = NULL;
    assert_true(teg_buffer_create(one, &params, &buffer, &fx.err) != TEG_OK);
    core_validate(&fx, one);
    teg_buffer* small = core_buffer(&fx, one, 1000);
    core_fill(&fx, teg_session_stream(one), small, 9);
    core_expect_pattern(&fx, teg_session_stream(one), small, 9);
    teg_session_destroy(one);
  }
}

static void unknown_flags_lifetimes_and_tags_are_refused(void** state) {
  (void)state;
  teg_buffer_params params = params_of(1000);
  params.flags = 1u << 7;
  expect_invalid(&params, "flags 0x80");
  params = params_of(1000);
  params.lifetime = TEG_LIFETIME_COUNT;
  expect_invalid(&params, "lifetime 7");
  params.lifetime = (teg_lifetime)-1;
  expect_invalid(&params, "lifetime");
  params = params_of(1000);
  params.tag = 1;
  expect_invalid(&params, "tag 1");
  params.tag = 64;
  expect_invalid(&params, "tag 64");
  params = params_of(1000);
  params.struct_size = 8;
  expect_invalid(&params, "struct_size");
}

static void a_largest_size_is_for_state_only(void** state) {
  (void)state;
  teg_buffer_params params = params_of(1000);
  params.max_size = 2000;
  expect_invalid(&params, "STATE");
  params.lifetime = TEG_LIFETIME_STATE;
  params.max_size = 999;
  expect_invalid(&params, "max_size 999");
  params.max_size = (UINT64_C(1) << 62) + 1;
  expect_invalid(&params, "max_size");
  params.max_size = 1000;
  teg_buffer* buffer = NULL;
  CORE_OK(&fx, teg_buffer_create(session, &params, &buffer, &fx.err));
}

// Records are taken over as they are: what is rare must not be the one's
// before.
static void a_record_keeps_nothing_of_the_buffer_before(void** state) {
  (void)state;
  teg_session* keeper = core_session(&fx, "keeper", "policy_state=simple");
  teg_stream* second = NULL;
  CORE_OK(&fx, teg_stream_create(keeper, &second, &fx.err));
  teg_buffer_params params = params_of(1000);
  params.lifetime = TEG_LIFETIME_STATE;
  params.max_size = 4000;
  teg_buffer* growing = NULL;
  CORE_OK(&fx, teg_buffer_create(keeper, &params, &growing, &fx.err));
  CORE_OK(&fx, teg_buffer_used_on(growing, second, &fx.err));
  CORE_OK(&fx, teg_buffer_resize(growing, 4000, &fx.err));
  teg_buffer_destroy(growing);
  core_finish(&fx, second);
  core_finish(&fx, teg_session_stream(keeper));
  params = params_of(4000);
  params.lifetime = TEG_LIFETIME_STATE;
  teg_buffer* plain = NULL;
  CORE_OK(&fx, teg_buffer_create(keeper, &params, &plain, &fx.err));
  assert_ptr_equal(plain, growing);
  CORE_EXPECT(&fx, TEG_INVALID, teg_buffer_resize(plain, 2000, &fx.err));
  core_expect_text(fx.err.message, "without a max_size");
  assert_int_equal(core_info(plain).flags, 0);
  // The list of its streams would be freed twice.
  teg_buffer_destroy(plain);
}

static void null_is_refused_everywhere(void** state) {
  (void)state;
  teg_buffer_params params = params_of(1000);
  teg_buffer* buffer = (teg_buffer*)(uintptr_t)1;
  void* pointer = &params;
  assert_int_equal(teg_buffer_create(NULL, &params, &buffer, &fx.err),
                   TEG_INVALID);
  assert_null(buffer);
  assert_int_equal(teg_buffer_create(session, NULL, &buffer, NULL),
                   TEG_INVALID);
  assert_int_equal(teg_buffer_create(session, &params, NULL, &fx.err),
                   TEG_INVALID);
  assert_int_equal(teg_buffer_resize(NULL, 1, &fx.err), TEG_INVALID);
  assert_int_equal(teg_buffer_used_on(NULL, stream, &fx.err), TEG_INVALID);
  assert_int_equal(teg_buffer_map(NULL, &pointer, &fx.err), TEG_INVALID);
  buffer = core_buffer(&fx, session, 1000);
  assert_int_equal(teg_buffer_used_on(buffer, NULL, &fx.err), TEG_INVALID);
  assert_int_equal(teg_buffer_map(buffer, NULL, &fx.err), TEG_INVALID);
  teg_buffer_unmap(NULL);
  teg_buffer_destroy(NULL);
  teg_buffer_get_info(NULL, NULL);
  teg_buffer_get_info(buffer, NULL);
}

static void a_stream_of_another_session_is_refused(void** state) {
  (void)state;
  teg_session* other = core_session(&fx, "other", NULL);
  teg_buffer_params params = params_of(1000);
  params.stream = teg_session_stream(other);
  expect_invalid(&params, "stream");
}

static void a_stream_of_another_device_is_refused(void** state) {
  (void)state;
  static core_fixture other;
  core_open(&other, "null", NULL);
  teg_session* elsewhere = core_session(&other, "elsewhere", NULL);
  teg_buffer* buffer = core_buffer(&fx, session, 1000);
  CORE_EXPECT(
      &fx, TEG_INVALID,
      teg_buffer_used_on(buffer, teg_session_stream(elsewhere), &fx.err));
  CORE_EXPECT(
      &fx, TEG_INVALID,
      teg_stream_fill(teg_session_stream(elsewhere), buffer, 0, 1, 0, &fx.err));
  core_close(&other);
}

static void a_buffer_tells_what_it_is(void** state) {
  (void)state;
  uint32_t tag = 0;
  CORE_OK(&fx, teg_session_tag(session, "t", &tag, &fx.err));
  teg_buffer_params params = params_of(1001);
  params.lifetime = TEG_LIFETIME_STATIC;
  params.flags = TEG_BUFFER_FOREIGN;
  params.tag = tag;
  teg_buffer* buffer = NULL;
  CORE_OK(&fx, teg_buffer_create(session, &params, &buffer, &fx.err));
  teg_buffer_info info = core_info(buffer);
  assert_int_equal(info.struct_size, sizeof info);
  assert_int_equal(info.lifetime, TEG_LIFETIME_STATIC);
  assert_int_equal(info.flags, TEG_BUFFER_FOREIGN);
  assert_int_equal(info.tag, tag);
  assert_int_equal(info.size, 1001);
  assert_true(info.granted_bytes >= 1001);
  assert_non_null(info.memory);
  assert_string_equal(info.policy,
                      teg_session_policy(session, TEG_LIFETIME_STATIC));
}

static void numbers_are_never_given_twice(void** state) {
  (void)state;
  teg_session* other = core_session(&fx, "other", NULL);
  uint64_t numbers[64];
  for (size_t i = 0; i < 64; ++i) {
    teg_buffer* buffer = core_buffer(&fx, i % 2 ? session : other, 1000);
    numbers[i] = core_info(buffer).number;
    teg_buffer_destroy(buffer);
    for (size_t k = 0; k < i; ++k) {
      assert_int_not_equal(numbers[i], numbers[k]);
    }
  }
}

static void an_unknown_lifetime_is_a_runs(void** state) {
  (void)state;
  teg_buffer* buffer = core_buffer_of(&fx, session, 1000, TEG_LIFETIME_UNKNOWN);
  assert_string_equal(core_info(buffer).policy,
                      teg_session_policy(session, TEG_LIFETIME_RUN));
}

// ---- Maps

static void a_map_waits_for_the_device(void** state) {
  (void)state;
  teg_buffer* buffer = core_buffer(&fx, session, 1000);
  core_fill(&fx, stream, buffer, 0x01020304);
  // The batch is only recorded: the map submits it.
  uint8_t* bytes = NULL;
  CORE_OK(&fx, teg_buffer_map(buffer, (void**)&bytes, &fx.err));
  assert_int_equal(teg_stream_submitted(stream), 1);
  assert_int_equal(bytes[0], 4);
  assert_int_equal(bytes[999], 1);
  teg_buffer_unmap(buffer);
}

static void commands_see_what_was_written_through_a_map(void** state) {
  (void)state;
  teg_buffer* from = core_buffer(&fx, session, 1000);
  teg_buffer* to = core_buffer(&fx, session, 1000);
  uint8_t* bytes = NULL;
  CORE_OK(&fx, teg_buffer_map(from, (void**)&bytes, &fx.err));
  memset(bytes, 7, 1000);
  teg_buffer_unmap(from);
  CORE_OK(&fx, teg_stream_copy(stream, to, 0, from, 0, 1000, &fx.err));
  core_expect_pattern(&fx, stream, to, 0x07070707);
}

static void maps_may_be_nested(void** state) {
  (void)state;
  teg_buffer* buffer = core_buffer(&fx, session, 1000);
  void* first = NULL;
  void* second = NULL;
  CORE_OK(&fx, teg_buffer_map(buffer, &first, &fx.err));
  CORE_OK(&fx, teg_buffer_map(buffer, &second, &fx.err));
  assert_ptr_equal(first, second);
  teg_buffer_unmap(buffer);
  teg_buffer_unmap(buffer);
  teg_buffer_unmap(buffer);
  teg_buffer_destroy(buffer);
  // The hold is gone: the bytes are found again.
  (void)core_buffer(&fx, session, 1000);
  assert_int_equal(core_session_stats(session).hit_count, 1);
}

static void a_map_of_what_another_stream_has_recorded_is_refused(void** state) {
  (void)state;
  teg_stream* second = NULL;
  CORE_OK(&fx, teg_stream_create(session, &second, &fx.err));
  teg_buffer* buffer = core_buffer(&fx, session, 1000);
  CORE_OK(&fx, teg_buffer_used_on(buffer, second, &fx.err));
  void* pointer = &fx;
  CORE_EXPECT(&fx, TEG_BAD_STATE, teg_buffer_map(buffer, &pointer, &fx.err));
  assert_null(pointer);
  core_submit(&fx, second);
  CORE_OK(&fx, teg_buffer_map(buffer, &pointer, &fx.err));
  teg_buffer_unmap(buffer);
}

static void foreign_uses_are_stamped_at_the_end(void** state) {
  (void)state;
  teg_session* simple = core_session(&fx, "simple", "policy=simple");
  teg_stream* home = teg_session_stream(simple);
  teg_stream* second = NULL;
  CORE_OK(&fx, teg_stream_create(simple, &second, &fx.err));
  teg_buffer_params params = params_of(1000);
  params.flags = TEG_BUFFER_FOREIGN;
  teg_buffer* buffer = NULL;
  CORE_OK(&fx, teg_buffer_create(simple, &params, &buffer, &fx.err));
  core_submit(&fx, home);
  teg_buffer_destroy(buffer);
  // Nothing was recorded that tegula saw, and yet the other stream waits.
  teg_buffer* b = core_buffer_on(&fx, simple, 1000, second);
  assert_int_equal(core_device_stats(&fx).allocation_count, 2);
  core_submit(&fx, home);
  teg_buffer_destroy(b);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, begin, end)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(size_0_is_refused),
      TEST(sizes_above_2_to_the_62_are_refused),
      TEST(size_2_to_the_62_is_too_much_for_the_device),
      TEST(unknown_flags_lifetimes_and_tags_are_refused),
      TEST(a_largest_size_is_for_state_only),
      TEST(a_record_keeps_nothing_of_the_buffer_before),
      TEST(null_is_refused_everywhere),
      TEST(a_stream_of_another_session_is_refused),
      TEST(a_stream_of_another_device_is_refused),
      TEST(a_buffer_tells_what_it_is),
      TEST(numbers_are_never_given_twice),
      TEST(an_unknown_lifetime_is_a_runs),
      TEST(a_map_waits_for_the_device),
      TEST(commands_see_what_was_written_through_a_map),
      TEST(maps_may_be_nested),
      TEST(a_map_of_what_another_stream_has_recorded_is_refused),
      TEST(foreign_uses_are_stamped_at_the_end),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
