// SPDX-License-Identifier: Apache-2.0
//
// What holes remember: the streams whose work may not be over yet, and no
// others, however many streams have come and gone.
#include <stdio.h>

#include "support/core_fixture.h"

static core_fixture fx;

// A stream that makes, uses and releases one buffer, and ends.
static void live_and_die(teg_session* session) {
  teg_stream* stream = NULL;
  CORE_OK(&fx, teg_stream_create(session, &stream, &fx.err));
  teg_buffer* buffer = core_buffer_on(&fx, session, MIB, stream);
  core_fill(&fx, stream, buffer, 1);
  core_finish(&fx, stream);
  teg_buffer_destroy(buffer);
  teg_stream_destroy(stream);
}

static void streams_that_ended_leave_nothing_in(const char* policy) {
  enum { STREAMS = 300 };
  char options[64];
  snprintf(options, sizeof options, "policy=%s", policy);
  core_open(&fx, "null", NULL);
  teg_session* session = core_session(&fx, "test", options);
  teg_buffer* kept = core_buffer(&fx, session, 3 * MIB);
  for (int i = 0; i < 10; ++i) live_and_die(session);
  uint64_t before = tegi_load_relaxed(&fx.live_count);
  for (int i = 0; i < STREAMS; ++i) live_and_die(session);
  assert_true(tegi_load_relaxed(&fx.live_count) <= before + 2);
  core_validate(&fx, session);
  teg_buffer_destroy(kept);
  core_close(&fx);
}

static void holes_of_tiles_forget_streams_that_ended(void** state) {
  (void)state;
  streams_that_ended_leave_nothing_in("tiled");
}

static void holes_in_pages_forget_streams_that_ended(void** state) {
  (void)state;
  streams_that_ended_leave_nothing_in("paged");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(holes_of_tiles_forget_streams_that_ended),
      cmocka_unit_test(holes_in_pages_forget_streams_that_ended),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
