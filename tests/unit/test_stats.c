// SPDX-License-Identifier: Apache-2.0
//
// Counters: of a session, a lifetime, a tag, the device; as JSON.
#include <stdlib.h>
#include <string.h>

#include "support/core_fixture.h"

static core_fixture fx;
static teg_session* session;

static int begin(void** state) {
  (void)state;
  core_open(&fx, "null", "tile_bytes=64KiB;heap_min=64KiB");
  session = core_session(&fx, "test", "policy=simple");
  return 0;
}

static int end(void** state) {
  (void)state;
  core_close(&fx);
  return 0;
}

static teg_stats of_lifetime(teg_lifetime lifetime) {
  teg_stats stats = {.struct_size = sizeof stats};
  teg_session_get_lifetime_stats(session, lifetime, &stats);
  return stats;
}

static teg_stats of_tag(uint32_t tag) {
  teg_stats stats = {.struct_size = sizeof stats};
  teg_session_get_tag_stats(session, tag, &stats);
  return stats;
}

static void live_and_peak_follow_the_buffers(void** state) {
  (void)state;
  teg_buffer* a = core_buffer(&fx, session, 1000);
  teg_buffer* b = core_buffer(&fx, session, 3001);
  teg_stats stats = core_session_stats(session);
  assert_int_equal(stats.version, 1);
  assert_int_equal(stats.live_bytes, 4001);
  assert_int_equal(stats.peak_live_bytes, 4001);
  assert_int_equal(stats.granted_bytes,
                   core_info(a).granted_bytes + core_info(b).granted_bytes);
  assert_int_equal(stats.buffer_count, 2);
  assert_int_equal(stats.create_count, 2);
  assert_int_equal(stats.hit_count, 0);
  teg_buffer_destroy(b);
  b = core_buffer(&fx, session, 3001);
  teg_buffer_destroy(a);
  stats = core_session_stats(session);
  assert_int_equal(stats.live_bytes, 3001);
  assert_int_equal(stats.peak_live_bytes, 4001);
  assert_int_equal(stats.buffer_count, 1);
  assert_int_equal(stats.create_count, 3);
  assert_int_equal(stats.hit_count, 1);
}

static void lifetimes_are_counted_apart(void** state) {
  (void)state;
  (void)core_buffer_of(&fx, session, 500, TEG_LIFETIME_STATIC);
  (void)core_buffer_of(&fx, session, 700, TEG_LIFETIME_STATIC);
  teg_buffer* run = core_buffer_of(&fx, session, 900, TEG_LIFETIME_RUN);
  teg_buffer_destroy(run);
  assert_int_equal(of_lifetime(TEG_LIFETIME_STATIC).live_bytes, 1200);
  assert_int_equal(of_lifetime(TEG_LIFETIME_STATIC).buffer_count, 2);
  assert_int_equal(of_lifetime(TEG_LIFETIME_RUN).live_bytes, 0);
  assert_int_equal(of_lifetime(TEG_LIFETIME_RUN).peak_live_bytes, 900);
  assert_int_equal(of_lifetime(TEG_LIFETIME_STATE).create_count, 0);
  assert_int_equal(of_lifetime((teg_lifetime)77).live_bytes, 0);
}

static void tags_are_counted_apart(void** state) {
  (void)state;
  uint32_t tag = 0;
  CORE_OK(&fx, teg_session_tag(session, "attention", &tag, &fx.err));
  teg_buffer_params params = TEG_BUFFER_PARAMS_INIT;
  params.size = 800;
  params.tag = tag;
  teg_buffer* buffer = NULL;
  CORE_OK(&fx, teg_buffer_create(session, &params, &buffer, &fx.err));
  (void)core_buffer(&fx, session, 100);
  assert_int_equal(of_tag(tag).live_bytes, 800);
  assert_int_equal(of_tag(tag).buffer_count, 1);
  teg_buffer_destroy(buffer);
  assert_int_equal(of_tag(tag).live_bytes, 0);
  assert_int_equal(of_tag(tag).peak_live_bytes, 800);
  assert_int_equal(of_tag(tag + 1).create_count, 0);
  assert_int_equal(of_tag(64).create_count, 0);
  assert_int_equal(of_tag(UINT32_MAX).create_count, 0);
}

static void a_resize_is_counted(void** state) {
  (void)state;
  uint32_t tag = 0;
  CORE_OK(&fx, teg_session_tag(session, "cache", &tag, &fx.err));
  teg_buffer_params params = TEG_BUFFER_PARAMS_INIT;
  params.lifetime = TEG_LIFETIME_STATE;
  params.size = 1000;
  params.max_size = 5000;
  params.tag = tag;
  teg_buffer* buffer = NULL;
  CORE_OK(&fx, teg_buffer_create(session, &params, &buffer, &fx.err));
  CORE_OK(&fx, teg_buffer_resize(buffer, 5000, &fx.err));
  CORE_OK(&fx, teg_buffer_resize(buffer, 300, &fx.err));
  assert_int_equal(core_session_stats(session).live_bytes, 300);
  assert_int_equal(core_session_stats(session).peak_live_bytes, 5000);
  assert_int_equal(of_lifetime(TEG_LIFETIME_STATE).peak_live_bytes, 5000);
  assert_int_equal(of_tag(tag).live_bytes, 300);
  teg_buffer_destroy(buffer);
  assert_int_equal(core_session_stats(session).live_bytes, 0);
  assert_int_equal(of_tag(tag).live_bytes, 0);
}

static void failures_are_counted(void** state) {
  (void)state;
  teg_buffer* buffer = NULL;
  (void)!core_try_buffer(&fx, session, UINT64_C(1) << 60, TEG_LIFETIME_STATE,
                         &buffer);
  (void)!core_try_buffer(&fx, session, 0, TEG_LIFETIME_STATE, &buffer);
  // A bad argument is none of the allocator's failures.
  assert_int_equal(core_session_stats(session).failure_count, 1);
  assert_int_equal(of_lifetime(TEG_LIFETIME_STATE).failure_count, 1);
  assert_int_equal(core_device_stats(&fx).failure_count, 1);
}

static void the_device_adds_its_sessions_up(void** state) {
  (void)state;
  teg_session* other = core_session(&fx, "other", "policy=tiled");
  (void)core_buffer(&fx, session, MIB);
  teg_buffer* b = core_buffer(&fx, other, 2 * MIB);
  teg_stats stats = core_device_stats(&fx);
  assert_int_equal(stats.live_bytes, 3 * MIB);
  assert_int_equal(stats.buffer_count, 2);
  assert_true(stats.reserved_bytes >= 3 * MIB);
  assert_int_equal(stats.reserved_bytes, stats.peak_reserved_bytes);
  // To the grain in which sessions publish what they have.
  assert_true(stats.peak_live_bytes + 256 * KIB >= 3 * MIB);
  assert_true(stats.record_bytes > 0);
  assert_true(stats.driver_call_count > 0);
  teg_buffer_destroy(b);
  teg_session_destroy(other);
  stats = core_device_stats(&fx);
  // What the ended one has made is not forgotten.
  assert_int_equal(stats.create_count, 2);
  assert_int_equal(stats.live_bytes, MIB);
}

static void mapped_and_reserved_differ_by_free_tiles(void** state) {
  (void)state;
  teg_session* tiled = core_session(&fx, "tiled", "policy=tiled;slack=0");
  teg_buffer_params params = TEG_BUFFER_PARAMS_INIT;
  params.lifetime = TEG_LIFETIME_STATE;
  params.size = MIB;
  params.max_size = MIB;
  teg_buffer* buffer = NULL;
  CORE_OK(&fx, teg_buffer_create(tiled, &params, &buffer, &fx.err));
  teg_stats stats = core_device_stats(&fx);
  assert_int_equal(stats.mapped_bytes, stats.reserved_bytes);
  assert_int_equal(stats.tiles_mapped_count, 16);
  CORE_OK(&fx, teg_buffer_resize(buffer, 1, &fx.err));
  stats = core_device_stats(&fx);
  assert_int_equal(stats.mapped_bytes, 64 * KIB);
  assert_int_equal(stats.reserved_bytes, MIB);
  CORE_OK(&fx, teg_buffer_resize(buffer, MIB, &fx.err));
  stats = core_device_stats(&fx);
  assert_int_equal(stats.tiles_mapped_count, 31);
  assert_int_equal(stats.tiles_remapped_count, 15);
}

static void waits_are_counted_and_timed(void** state) {
  (void)state;
  teg_stream* stream = teg_session_stream(session);
  teg_buffer* buffer = core_buffer(&fx, session, 1000);
  core_fill(&fx, stream, buffer, 1);
  core_submit(&fx, stream);
  void* pointer = NULL;
  CORE_OK(&fx, teg_buffer_map(buffer, &pointer, &fx.err));
  teg_buffer_unmap(buffer);
  assert_int_equal(core_device_stats(&fx).wait_count, 1);
  assert_true(core_device_stats(&fx).wait_ns > 0);
  // Nothing is left to wait for.
  CORE_OK(&fx, teg_buffer_map(buffer, &pointer, &fx.err));
  teg_buffer_unmap(buffer);
  assert_int_equal(core_device_stats(&fx).wait_count, 1);
}

static void peaks_begin_anew(void** state) {
  (void)state;
  teg_buffer* kept = core_buffer(&fx, session, MIB);
  teg_buffer_destroy(core_buffer(&fx, session, 8 * MIB));
  (void)teg_session_trim(session, TEG_TRIM_FREE);
  assert_int_equal(core_device_stats(&fx).peak_live_bytes, 9 * MIB);
  teg_device_reset_peaks(fx.device);
  teg_stats stats = core_device_stats(&fx);
  assert_int_equal(stats.peak_live_bytes, MIB);
  assert_int_equal(stats.peak_reserved_bytes, MIB);
  assert_int_equal(core_session_stats(session).peak_live_bytes, MIB);
  assert_int_equal(of_lifetime(TEG_LIFETIME_RUN).peak_live_bytes, MIB);
  assert_int_equal(core_info(kept).size, MIB);
  teg_device_reset_peaks(NULL);
}

static void a_smaller_structure_gets_what_it_has_room_for(void** state) {
  (void)state;
  (void)core_buffer(&fx, session, 1000);
  teg_stats stats;
  memset(&stats, 0xee, sizeof stats);
  stats.struct_size = (uint32_t)(offsetof(teg_stats, live_bytes) + 8);
  teg_session_get_stats(session, &stats);
  assert_int_equal(stats.live_bytes, 1000);
  assert_int_equal(stats.peak_live_bytes, UINT64_C(0xeeeeeeeeeeeeeeee));
  assert_int_equal(stats.struct_size, offsetof(teg_stats, live_bytes) + 8);
  stats.struct_size = 0;
  stats.live_bytes = 5;
  teg_device_get_stats(fx.device, &stats);
  assert_int_equal(stats.live_bytes, 5);
}

static void null_is_harmless(void** state) {
  (void)state;
  teg_stats stats = {.struct_size = sizeof stats, .live_bytes = 5};
  teg_device_get_stats(NULL, &stats);
  teg_session_get_stats(NULL, &stats);
  teg_session_get_lifetime_stats(NULL, TEG_LIFETIME_RUN, &stats);
  teg_session_get_tag_stats(NULL, 0, &stats);
  assert_int_equal(stats.live_bytes, 5);
  teg_device_get_stats(fx.device, NULL);
  teg_session_get_stats(session, NULL);
  teg_session_get_lifetime_stats(session, TEG_LIFETIME_RUN, NULL);
  teg_session_get_tag_stats(session, 0, NULL);
  assert_int_equal(teg_stats_to_json(NULL, NULL, 0), 0);
}

static void json_has_every_field(void** state) {
  (void)state;
  teg_stats stats = {.struct_size = sizeof stats, .version = 1};
  uint64_t value = UINT64_MAX;
#define SET(field, help) stats.field = value--;
  TEG_STATS_FIELDS(SET)
#undef SET
  char text[4096];
  size_t length = teg_stats_to_json(&stats, text, sizeof text);
  assert_int_equal(length, strlen(text));
  assert_int_equal(text[0], '{');
  assert_int_equal(text[length - 1], '}');
#define EXPECT(field, help)                                                 \
  {                                                                         \
    const char* at = strstr(text, "\"" #field "\":");                       \
    assert_non_null(at);                                                    \
    assert_int_equal(strtoull(strchr(at, ':') + 1, NULL, 10), stats.field); \
    assert_true(strlen(help) > 5);                                          \
  }
  TEG_STATS_FIELDS(EXPECT)
#undef EXPECT
}

static void json_is_cut_at_the_capacity(void** state) {
  (void)state;
  teg_stats stats = core_device_stats(&fx);
  char whole[4096];
  size_t length = teg_stats_to_json(&stats, whole, sizeof whole);
  assert_int_equal(teg_stats_to_json(&stats, NULL, 0), length);
  for (size_t capacity = 1; capacity < length + 2; ++capacity) {
    char* text = malloc(capacity);
    assert_non_null(text);
    assert_int_equal(teg_stats_to_json(&stats, text, capacity), length);
    assert_true(strlen(text) < capacity);
    assert_memory_equal(text, whole, strlen(text));
    assert_int_equal(strlen(text), capacity > length ? length : capacity - 1);
    free(text);
  }
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, begin, end)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(live_and_peak_follow_the_buffers),
      TEST(lifetimes_are_counted_apart),
      TEST(tags_are_counted_apart),
      TEST(a_resize_is_counted),
      TEST(failures_are_counted),
      TEST(the_device_adds_its_sessions_up),
      TEST(mapped_and_reserved_differ_by_free_tiles),
      TEST(waits_are_counted_and_timed),
      TEST(peaks_begin_anew),
      TEST(a_smaller_structure_gets_what_it_has_room_for),
      TEST(null_is_harmless),
      TEST(json_has_every_field),
      TEST(json_is_cut_at_the_capacity),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
