// SPDX-License-Identifier: Apache-2.0
//
// The dynamic policy under threads: several that share one session, while
// another ends its runs, trims it and checks it; and two sessions that lend
// each other buffers.
#include <stdlib.h>
#include <string.h>

#include "base/thread.h"
#include "support/device_fixture.h"
#include "tegula/tegula.h"

enum { WORKERS = 3, LIVE = 16, STEPS = 20000 };

static teg_device* device;
static teg_session* sessions[2];
static tegi_atomic_u64 workers_left;
static tegi_atomic_u64 failure_count;

// A worker asks on a stream of its own, and its sizes change as it goes.
typedef struct worker {
  uint32_t number;
  teg_session* session;
  teg_stream* stream;
} worker;

static void expect(bool is_fine) {
  if (!is_fine) tegi_fetch_add_relaxed(&failure_count, 1);
}

static void submit(worker* w) {
  uint64_t serial;
  expect(teg_stream_submit(w->stream, &serial, NULL) == TEG_OK);
  if (serial > 2)
    expect(teg_stream_wait(w->stream, serial - 2, NULL) == TEG_OK);
}

static void* work(void* user) {
  worker* w = user;
  uint32_t seed = w->number;
  teg_buffer* live[LIVE] = {NULL};
  for (uint32_t step = 0; step < STEPS; ++step) {
    seed = seed * 1664525u + 1013904223u;
    uint32_t at = (seed >> 8) % LIVE;
    if (live[at]) {
      teg_buffer_destroy(live[at]);
      live[at] = NULL;
    } else {
      teg_buffer_params params = TEG_BUFFER_PARAMS_INIT;
      params.size = 256u * (1 + (seed >> 16) % (1 + step / 8));
      params.flags = TEG_BUFFER_FOREIGN;
      params.stream = w->stream;
      expect(teg_buffer_create(w->session, &params, &live[at], NULL) == TEG_OK);
      expect(teg_stream_fill(w->stream, live[at], 0, 256, w->number, NULL) ==
             TEG_OK);
    }
    if (step % 32 == 0) submit(w);
  }
  for (uint32_t i = 0; i < LIVE; ++i) teg_buffer_destroy(live[i]);
  submit(w);
  tegi_fetch_add_relaxed(&workers_left, UINT64_MAX);
  return NULL;
}

// Ends runs of both sessions as long as anybody works.
static void end_runs(void) {
  for (uint32_t i = 0; tegi_load_acquire(&workers_left) > 0; ++i) {
    teg_session* session = sessions[i % 2];
    expect(teg_session_run_begin(session, NULL) == TEG_OK);
    expect(teg_session_run_end(session, NULL) == TEG_OK);
    if (i % 64 == 0) expect(teg_session_validate(session, NULL) == TEG_OK);
    if (i % 256 == 0) (void)teg_session_trim(session, TEG_TRIM_FREE);
    tegi_thread_yield();
  }
}

static void threads_share_a_session_while_it_learns(void** state) {
  teg_error err;
  teg_options* options;
  assert_int_equal(teg_options_create(NULL, &options, &err), TEG_OK);
  assert_int_equal(teg_options_set(options, "policy", "dynamic", &err), TEG_OK);
  teg_device_params params = TEG_DEVICE_PARAMS_INIT;
  params.backend = "host";
  params.options = options;
  assert_int_equal(teg_device_create(&params, &device, &err), TEG_OK);
  for (int i = 0; i < 2; ++i) {
    teg_session_params of_session = TEG_SESSION_PARAMS_INIT;
    of_session.options = options;
    assert_int_equal(
        teg_session_create(device, &of_session, &sessions[i], &err), TEG_OK);
  }
  worker workers[WORKERS];
  tegi_thread threads[WORKERS];
  tegi_store_release(&workers_left, WORKERS);
  for (uint32_t i = 0; i < WORKERS; ++i) {
    // Two in the first session, one in the second.
    workers[i] = (worker){.number = i + 1, .session = sessions[i == 2]};
    assert_int_equal(
        teg_stream_create(workers[i].session, &workers[i].stream, &err),
        TEG_OK);
    assert_int_equal(tegi_thread_create(&threads[i], work, &workers[i]),
                     TEG_OK);
  }
  end_runs();
  for (uint32_t i = 0; i < WORKERS; ++i) {
    tegi_thread_join(&threads[i]);
    teg_stream_destroy(workers[i].stream);
  }
  assert_int_equal(tegi_load_relaxed(&failure_count), 0);
  for (int i = 0; i < 2; ++i) {
    assert_int_equal(teg_session_validate(sessions[i], &err), TEG_OK);
    teg_session_destroy(sessions[i]);
  }
  teg_device_destroy(device);
  teg_options_destroy(options);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(threads_share_a_session_while_it_learns),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
