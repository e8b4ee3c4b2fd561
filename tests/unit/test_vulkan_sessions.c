// SPDX-License-Identifier: Apache-2.0
//
// Two sessions on one Vulkan device, each with a thread, that make buffers out
// of tiles of each other and of themselves while commands still use them. The
// CPU waits rarely: before a buffer goes, a command copies a word of it to a
// log, which is compared at the end.
#include <stdio.h>
#include <stdlib.h>

#include "backend/vulkan/vulkan_register.h"
#include "base/thread.h"
#include "support/core_fixture.h"

// cmocka's assertions are for the main thread only.
#define CHECK_OK(w, call)                                           \
  do {                                                              \
    if ((call) != TEG_OK) {                                         \
      fprintf(stderr, "line %d: %s\n", __LINE__, (w)->err.message); \
      abort();                                                      \
    }                                                               \
  } while (0)

enum { OWN = 10, ROUNDS = 60, STEPS = 40, WORDS = ROUNDS * STEPS };

typedef struct worker {
  teg_session* session;
  teg_stream* stream;
  uint64_t random;
  teg_buffer* log;
  uint32_t word_count;
  uint32_t wanted[WORDS];
  teg_buffer* buffers[OWN];
  uint64_t sizes[OWN];
  uint32_t patterns[OWN];
  uint32_t pattern;
  teg_error err;
} worker;

static uint32_t next(worker* w) {
  w->random ^= w->random << 13;
  w->random ^= w->random >> 7;
  w->random ^= w->random << 17;
  return (uint32_t)(w->random >> 32);
}

static void drop(worker* w, size_t at) {
  if (!w->buffers[at]) return;
  uint64_t words = w->sizes[at] / 4;
  CHECK_OK(w, teg_stream_copy(w->stream, w->log, w->word_count * UINT64_C(4),
                              w->buffers[at], next(w) % words * 4, 4, &w->err));
  w->wanted[w->word_count++] = w->patterns[at];
  teg_buffer_destroy(w->buffers[at]);
  w->buffers[at] = NULL;
}

static void make(worker* w, size_t at) {
  drop(w, at);
  teg_buffer_params params = TEG_BUFFER_PARAMS_INIT;
  params.size = w->sizes[at] = (1 + next(w) % 12) * 32 * KIB;
  params.stream = w->stream;
  CHECK_OK(w, teg_buffer_create(w->session, &params, &w->buffers[at], &w->err));
  w->patterns[at] = ++w->pattern * 0x01010107u;
  CHECK_OK(w, teg_stream_fill(w->stream, w->buffers[at], 0, params.size,
                              w->patterns[at], &w->err));
}

static void* work(void* user) {
  worker* w = user;
  for (int round = 0; round < ROUNDS; ++round) {
    CHECK_OK(w, teg_session_run_begin(w->session, &w->err));
    for (int step = 0; step < STEPS; ++step) {
      make(w, next(w) % OWN);
      if (next(w) % 4 == 0) {
        CHECK_OK(w, teg_stream_submit(w->stream, NULL, &w->err));
      }
    }
    if (round % 5 == 4) {
      for (size_t i = 0; i < OWN; ++i) drop(w, i);
      (void)teg_session_trim(w->session, (teg_trim_level)(round % 3));
    }
    CHECK_OK(w, teg_session_run_end(w->session, &w->err));
    if (w->word_count + OWN + STEPS > WORDS) break;
  }
  for (size_t i = 0; i < OWN; ++i) drop(w, i);
  return NULL;
}

static void begin(core_fixture* fx, worker* w, uint32_t number) {
  *w = (worker){.random = number * UINT64_C(0x9E3779B97F4A7C15),
                .pattern = number << 20};
  w->session = core_session(fx, number == 1 ? "one" : "two",
                            "policy=tiled;slack=0;age=2;chunk=16MiB");
  w->stream = teg_session_stream(w->session);
  teg_buffer_params params = TEG_BUFFER_PARAMS_INIT;
  params.size = WORDS * 4;
  params.flags = TEG_BUFFER_DEDICATED;
  CORE_OK(fx, teg_buffer_create(w->session, &params, &w->log, &fx->err));
}

static void compare(core_fixture* fx, worker* w) {
  static uint32_t words[WORDS];
  CORE_OK(fx, teg_stream_read(w->stream, w->log, 0, words,
                              w->word_count * UINT64_C(4), &fx->err));
  for (uint32_t i = 0; i < w->word_count; ++i) {
    if (words[i] != w->wanted[i]) {
      fail_msg("word %u is 0x%x, not 0x%x", i, words[i], w->wanted[i]);
    }
  }
  core_validate(fx, w->session);
}

static void sessions_share_tiles_in_queue_order(void** state) {
  (void)state;
  uint32_t count;
  if (tegi_vk_backend.probe(&count, NULL) != TEG_OK) skip();
  static core_fixture fx;
  core_open(&fx, "vulkan",
            "completion=worker;tile_bytes=64KiB;heap_min=256KiB");
  if (fx.device->caps.remap != TEG_REMAP_QUEUE_ORDERED) {
    core_close(&fx);
    skip();
  }
  static worker workers[2];
  tegi_thread threads[2];
  for (uint32_t i = 0; i < 2; ++i) begin(&fx, &workers[i], i + 1);
  for (uint32_t i = 0; i < 2; ++i) {
    assert_int_equal(tegi_thread_create(&threads[i], work, &workers[i]),
                     TEG_OK);
  }
  for (uint32_t i = 0; i < 2; ++i) tegi_thread_join(&threads[i]);
  for (uint32_t i = 0; i < 2; ++i) compare(&fx, &workers[i]);
  assert_true(core_device_stats(&fx).tiles_remapped_count > 1000);
  core_close(&fx);
}

// Robbed of its tiles while a command that used them is on its way, a chunk of
// addresses is not released before that is over.
static void addresses_stay_while_commands_use_them(void** state) {
  (void)state;
  uint32_t count;
  if (tegi_vk_backend.probe(&count, NULL) != TEG_OK) skip();
  static core_fixture fx;
  core_open(&fx, "vulkan", "check=on;tile_bytes=64KiB;heap_min=64KiB");
  if (fx.device->caps.remap != TEG_REMAP_QUEUE_ORDERED) {
    core_close(&fx);
    skip();
  }
  teg_session* session =
      core_session(&fx, "s", "policy=tiled;slack=0;chunk=1MiB");
  teg_stream* stream = teg_session_stream(session);
  teg_buffer* first = core_buffer(&fx, session, MIB);
  core_fill(&fx, stream, first, 1);
  core_submit(&fx, stream);
  teg_buffer_destroy(first);
  teg_buffer_params params = TEG_BUFFER_PARAMS_INIT;
  params.lifetime = TEG_LIFETIME_STATE;
  params.size = params.max_size = MIB;
  teg_buffer* second;
  CORE_OK(&fx, teg_buffer_create(session, &params, &second, &fx.err));
  assert_int_equal(core_device_stats(&fx).tiles_remapped_count, 16);
  assert_int_equal(teg_stream_completed(stream), 0);
  (void)teg_session_trim(session, TEG_TRIM_FREE);
  teg_check_report report = TEG_CHECK_REPORT_INIT;
  CORE_OK(&fx, teg_device_get_check_report(fx.device, &report, &fx.err));
  assert_string_equal(report.first_hazard, "");
  assert_int_equal(teg_stream_completed(stream), 0);
  assert_int_equal(session->retired_count, 1);
  core_finish(&fx, stream);
  assert_int_equal(session->retired_count, 0);
  core_validate(&fx, session);
  core_close(&fx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sessions_share_tiles_in_queue_order),
      cmocka_unit_test(addresses_stay_while_commands_use_them),
  };
  return cmocka_run_group_tests_name("vulkan_sessions", tests, NULL, NULL);
}
