// SPDX-License-Identifier: Apache-2.0
//
// What the policies over whole buffers share: which free buffer of a class is
// served, and which ones a trim takes.
#include <stdio.h>

#include "support/core_fixture.h"

static core_fixture fx;

static const char* const policies[] = {"simple", "lazy", "bucket", "exclusive"};

enum { POLICIES = sizeof policies / sizeof policies[0] };

static teg_session* open_with(const char* policy) {
  char options[64];
  snprintf(options, sizeof options, "policy=%s", policy);
  core_open(&fx, "null", NULL);
  return core_session(&fx, "test", options);
}

static void streams_that_alternate_find_their_own(void** state) {
  (void)state;
  for (int i = 0; i < POLICIES; ++i) {
    teg_session* session = open_with(policies[i]);
    teg_stream* streams[2] = {teg_session_stream(session), NULL};
    CORE_OK(&fx, teg_stream_create(session, &streams[1], &fx.err));
    uint64_t reserved = 0;
    for (int k = 0; k < 40; ++k) {
      teg_stream* stream = streams[k % 2];
      teg_buffer* buffer = core_buffer_on(&fx, session, MIB, stream);
      core_fill(&fx, stream, buffer, 1);
      teg_buffer_destroy(buffer);
      if (k == 1) reserved = core_reserved(&fx);
    }
    assert_int_equal(core_reserved(&fx), reserved);
    core_validate(&fx, session);
    core_finish(&fx, streams[0]);
    core_finish(&fx, streams[1]);
    core_close(&fx);
  }
}

// The one in the middle: busy ones on both sides of it stay.
static void a_trim_of_idle_memory_leaves_busy_buffers(void** state) {
  (void)state;
  for (int i = 0; i < POLICIES; ++i) {
    teg_session* session = open_with(policies[i]);
    teg_stream* stream = teg_session_stream(session);
    teg_buffer* buffers[3];
    for (int k = 0; k < 3; ++k) {
      buffers[k] = core_buffer(&fx, session, MIB);
      if (k != 1) core_fill(&fx, stream, buffers[k], 1);
    }
    for (int k = 0; k < 3; ++k) teg_buffer_destroy(buffers[k]);
    tegi_policy* policy = session->by_lifetime[TEG_LIFETIME_RUN];
    uint64_t one = core_reserved(&fx) / 3;
    tegi_mutex_lock(&session->growth);
    uint64_t bytes = policy->ops->trim(policy, UINT64_MAX, true, 1);
    tegi_mutex_unlock(&session->growth);
    assert_int_equal(bytes, one);
    core_validate(&fx, session);
    core_finish(&fx, stream);
    core_close(&fx);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(streams_that_alternate_find_their_own),
      cmocka_unit_test(a_trim_of_idle_memory_leaves_busy_buffers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
