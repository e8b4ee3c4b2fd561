// SPDX-License-Identifier: Apache-2.0
//
// Threads in sessions, on a host device whose worker completes batches later:
// two sessions side by side, two threads in one session that hand buffers
// over, and sessions that rob each other of memory under a budget. Contents
// are written and checked by commands. And sessions that take turns hold
// little more than one of them.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/thread.h"
#include "support/call.h"
#include "support/core_fixture.h"

// cmocka's assertions are for the main thread only.
#define CHECK(condition)                                      \
  do {                                                        \
    if (!(condition)) {                                       \
      fprintf(stderr, "line %d: %s\n", __LINE__, #condition); \
      abort();                                                \
    }                                                         \
  } while (0)

#define CHECK_OK(err, call)                                       \
  do {                                                            \
    if ((call) != TEG_OK) {                                       \
      fprintf(stderr, "line %d: %s\n", __LINE__, (err)->message); \
      abort();                                                    \
    }                                                             \
  } while (0)

enum { OWN = 12, ROUNDS = 150, RUN_STEPS = 12 };

static _Atomic uint64_t mismatches;

static uint32_t next(uint64_t* random) {
  *random ^= *random << 13;
  *random ^= *random >> 7;
  *random ^= *random << 17;
  return (uint32_t)(*random >> 32);
}

// The pattern is the pointer itself.
static teg_result check(void* user, void* const* pointers,
                        const uint64_t* sizes, uint32_t binding_count) {
  (void)binding_count;
  const uint8_t* bytes = pointers[0];
  uint32_t pattern = (uint32_t)(uintptr_t)user;
  uint64_t step = sizes[0] / 31 + 1;
  for (uint64_t i = 0; i < sizes[0]; i += step) {
    if (bytes[i] != (uint8_t)(pattern >> (8 * (i % 4)))) {
      atomic_fetch_add(&mismatches, 1);
      break;
    }
  }
  return TEG_OK;
}

// One thread's stream in a session and the buffers it holds.
typedef struct worker {
  teg_device* device;
  teg_session* session;
  teg_stream* stream;
  uint64_t random;
  uint32_t pattern;
  bool may_fail;  // a budget is set
  bool has_runs;  // the only thread that begins and ends the session's runs
  uint64_t made_count;
  teg_buffer* buffers[OWN];
  uint32_t patterns[OWN];
  teg_error err;
  struct exchange* exchange;
} worker;

static uint64_t pick_size(worker* w) {
  uint32_t kind = next(&w->random) % 8;
  if (kind < 3) return 1 + next(&w->random) % 4096;
  if (kind < 7) return 1 + next(&w->random) % (128 * 1024);
  return 1 + next(&w->random) % (1024 * 1024);
}

static void drop(worker* w, size_t at) {
  if (!w->buffers[at]) return;
  test_argument argument = {.buffer = w->buffers[at], .is_read = true};
  CHECK_OK(&w->err, test_stream_call(w->device, w->stream, check,
                                     (void*)(uintptr_t)w->patterns[at],
                                     &argument, 1, &w->err));
  teg_buffer_destroy(w->buffers[at]);
  w->buffers[at] = NULL;
}

static void make(worker* w, size_t at) {
  drop(w, at);
  teg_buffer_params params = TEG_BUFFER_PARAMS_INIT;
  params.size = pick_size(w);
  params.stream = w->stream;
  if (next(&w->random) % 16 == 0) params.flags = TEG_BUFFER_DEDICATED;
  teg_result result =
      teg_buffer_create(w->session, &params, &w->buffers[at], &w->err);
  if (result != TEG_OK) {
    CHECK(w->may_fail && !w->buffers[at]);
    CHECK(result == TEG_OVER_BUDGET || result == TEG_OUT_OF_MEMORY ||
          result == TEG_LIMIT);
    return;
  }
  w->made_count++;
  w->patterns[at] = ++w->pattern * 0x01010107u;
  CHECK_OK(&w->err, teg_stream_fill(w->stream, w->buffers[at], 0, params.size,
                                    w->patterns[at], &w->err));
}

static void submit(worker* w, bool is_waiting) {
  uint64_t serial;
  CHECK_OK(&w->err, teg_stream_submit(w->stream, &serial, &w->err));
  if (is_waiting) {
    CHECK_OK(&w->err, teg_stream_wait(w->stream, serial, &w->err));
  }
}

static void step(worker* w) {
  uint32_t what = next(&w->random) % 16;
  size_t at = next(&w->random) % OWN;
  if (what < 9) {
    make(w, at);
  } else if (what < 12) {
    drop(w, at);
  } else if (what < 15) {
    submit(w, what == 14);
  } else if (next(&w->random) % 8 == 0) {
    (void)teg_session_trim(w->session, (teg_trim_level)(next(&w->random) % 3));
  }
}

static void finish(worker* w) {
  for (size_t i = 0; i < OWN; ++i) drop(w, i);
  submit(w, true);
}

static void* work(void* user) {
  worker* w = user;
  for (int round = 0; round < ROUNDS; ++round) {
    if (w->has_runs) {
      CHECK_OK(&w->err, teg_session_run_begin(w->session, &w->err));
    }
    for (int i = 0; i < RUN_STEPS; ++i) step(w);
    if (w->has_runs) {
      if (round % 3 == 0) finish(w);
      CHECK_OK(&w->err, teg_session_run_end(w->session, &w->err));
    }
  }
  finish(w);
  return NULL;
}

// Looks at everything while the others work.
typedef struct watcher {
  teg_device* device;
  teg_session* sessions[2];
  _Atomic uint32_t is_over;
} watcher;

static void* watch(void* user) {
  watcher* w = user;
  teg_error err;
  uint32_t tag;
  char name[32];
  for (int i = 0; !atomic_load(&w->is_over); ++i) {
    teg_stats stats = {.struct_size = sizeof stats};
    teg_device_get_stats(w->device, &stats);
    for (int s = 0; s < 2 && w->sessions[s]; ++s) {
      CHECK_OK(&err, teg_session_validate(w->sessions[s], &err));
      teg_session_get_stats(w->sessions[s], &stats);
      snprintf(name, sizeof name, "tag %d", i % 40);
      CHECK_OK(&err, teg_session_tag(w->sessions[s], name, &tag, &err));
    }
    if (i % 8 == 0) (void)teg_device_trim(w->device, TEG_TRIM_FREE);
    tegi_thread_sleep_ns(200000);
  }
  return NULL;
}

static void run_threads(worker* workers, size_t count, watcher* watching) {
  tegi_thread threads[4];
  tegi_thread watching_thread;
  assert_int_equal(tegi_thread_create(&watching_thread, watch, watching),
                   TEG_OK);
  for (size_t i = 0; i < count; ++i) {
    assert_int_equal(tegi_thread_create(&threads[i], work, &workers[i]),
                     TEG_OK);
  }
  for (size_t i = 0; i < count; ++i) tegi_thread_join(&threads[i]);
  atomic_store(&watching->is_over, 1);
  tegi_thread_join(&watching_thread);
  assert_int_equal(mismatches, 0);
}

static void open_device(core_fixture* fx, const char* more) {
  char options[256];
  snprintf(options, sizeof options,
           "completion=worker;tile_bytes=64KiB;heap_min=256KiB;%s", more);
  core_open(fx, "host", options);
  mismatches = 0;
}

static teg_session* open_session(core_fixture* fx, const char* policy) {
  char options[128];
  snprintf(options, sizeof options, "policy=%s;page_min=64KiB;slack=0;age=2",
           policy);
  return core_session(fx, policy, options);
}

static worker new_worker(core_fixture* fx, teg_session* session,
                         uint64_t seed) {
  return (worker){.device = fx->device,
                  .session = session,
                  .stream = teg_session_stream(session),
                  .random = seed * UINT64_C(0x9E3779B97F4A7C15),
                  .pattern = (uint32_t)seed << 20};
}

// ---- Two sessions

static void two_sessions(const char* policy_a, const char* policy_b,
                         const char* device_options, bool may_fail) {
  static core_fixture fx;
  open_device(&fx, device_options);
  teg_session* a = open_session(&fx, policy_a);
  teg_session* b = open_session(&fx, policy_b);
  worker workers[2] = {new_worker(&fx, a, 1), new_worker(&fx, b, 2)};
  for (int i = 0; i < 2; ++i) {
    workers[i].has_runs = true;
    workers[i].may_fail = may_fail;
  }
  watcher watching = {.device = fx.device, .sessions = {a, b}};
  run_threads(workers, 2, &watching);
  for (int i = 0; i < 2; ++i) assert_true(workers[i].made_count > ROUNDS);
  core_validate(&fx, a);
  core_validate(&fx, b);
  teg_session_destroy(a);
  teg_session_destroy(b);
  (void)teg_device_trim(fx.device, TEG_TRIM_ALL);
  assert_int_equal(core_reserved(&fx), 0);
  core_close(&fx);
}

static void two_threads_in_two_sessions(void** state) {
  (void)state;
  for (size_t i = 0; core_policies[i]; ++i) {
    two_sessions(core_policies[i], core_policies[i], "", false);
  }
}

static void sessions_under_a_budget_rob_each_other(void** state) {
  (void)state;
  two_sessions("tiled", "tiled", "budget=6MiB", true);
  two_sessions("simple", "dynamic", "budget=6MiB", true);
  two_sessions("planned", "paged", "budget=6MiB", true);
}

static void tiles_are_borrowed_at_the_mapping_limit(void** state) {
  (void)state;
  two_sessions("tiled", "tiled", "mapping_limit=40", true);
}

// ---- Two threads in one session

// Buffers on their way to the other thread.
typedef struct exchange {
  tegi_mutex mutex;
  struct {
    teg_buffer* buffer;
    uint32_t pattern;
    teg_stream* stream;  // wrote it, in batch |serial|
    uint64_t serial;
  } slots[2][8];
} exchange;

static void hand_over(worker* w, int from) {
  size_t at = next(&w->random) % OWN;
  if (!w->buffers[at]) return;
  submit(w, false);
  tegi_mutex_lock(&w->exchange->mutex);
  for (size_t i = 0; i < 8; ++i) {
    if (w->exchange->slots[from][i].buffer) continue;
    w->exchange->slots[from][i].buffer = w->buffers[at];
    w->exchange->slots[from][i].pattern = w->patterns[at];
    w->exchange->slots[from][i].stream = w->stream;
    w->exchange->slots[from][i].serial = teg_stream_submitted(w->stream);
    w->buffers[at] = NULL;
    break;
  }
  tegi_mutex_unlock(&w->exchange->mutex);
}

static bool take_over(worker* w, int from) {
  size_t at = next(&w->random) % OWN;
  drop(w, at);
  teg_stream* stream = NULL;
  uint64_t serial = 0;
  tegi_mutex_lock(&w->exchange->mutex);
  for (size_t i = 0; i < 8 && !stream; ++i) {
    if (!w->exchange->slots[from][i].buffer) continue;
    stream = w->exchange->slots[from][i].stream;
    serial = w->exchange->slots[from][i].serial;
    w->patterns[at] = w->exchange->slots[from][i].pattern;
    w->buffers[at] = w->exchange->slots[from][i].buffer;
    w->exchange->slots[from][i].buffer = NULL;
  }
  tegi_mutex_unlock(&w->exchange->mutex);
  if (!stream) return false;
  CHECK_OK(&w->err, teg_stream_wait_for(w->stream, stream, serial, &w->err));
  if (next(&w->random) % 2) {
    // One of its own before it goes: another owner's bytes in the same place.
    drop(w, at);
    submit(w, next(&w->random) % 4 == 0);
  }
  return true;
}

typedef struct pair_worker {
  worker base;
  int side;
} pair_worker;

static void* work_in_pair(void* user) {
  pair_worker* pair = user;
  worker* w = &pair->base;
  for (int i = 0; i < ROUNDS * RUN_STEPS / 2; ++i) {
    step(w);
    if (i % 3 == 0) hand_over(w, pair->side);
    if (i % 3 == 1) (void)take_over(w, 1 - pair->side);
  }
  while (take_over(w, 1 - pair->side)) {
  }
  finish(w);
  return NULL;
}

static void one_session_of_two_threads(const char* policy) {
  static core_fixture fx;
  open_device(&fx, "");
  teg_session* session = open_session(&fx, policy);
  exchange between = {.slots = {{{NULL, 0, NULL, 0}}}};
  assert_int_equal(tegi_mutex_init(&between.mutex), TEG_OK);
  pair_worker workers[2];
  tegi_thread threads[2];
  for (int i = 0; i < 2; ++i) {
    workers[i] = (pair_worker){new_worker(&fx, session, 5 + (uint64_t)i), i};
    workers[i].base.exchange = &between;
  }
  CORE_OK(&fx, teg_stream_create(session, &workers[1].base.stream, &fx.err));
  watcher watching = {.device = fx.device, .sessions = {session, NULL}};
  tegi_thread watching_thread;
  assert_int_equal(tegi_thread_create(&watching_thread, watch, &watching),
                   TEG_OK);
  for (int i = 0; i < 2; ++i) {
    assert_int_equal(tegi_thread_create(&threads[i], work_in_pair, &workers[i]),
                     TEG_OK);
  }
  for (int i = 0; i < 2; ++i) tegi_thread_join(&threads[i]);
  atomic_store(&watching.is_over, 1);
  tegi_thread_join(&watching_thread);
  assert_int_equal(mismatches, 0);
  core_validate(&fx, session);
  // What the first to end has left on its way goes with the session.
  teg_session_destroy(session);
  (void)teg_device_trim(fx.device, TEG_TRIM_ALL);
  assert_int_equal(core_reserved(&fx), 0);
  tegi_mutex_destroy(&between.mutex);
  core_close(&fx);
}

static void two_threads_in_one_session_hand_buffers_over(void** state) {
  (void)state;
  for (size_t i = 0; core_policies[i]; ++i) {
    one_session_of_two_threads(core_policies[i]);
  }
}

// ---- Threads that come and go

static void* come_and_go(void* user) {
  core_fixture* fx = user;
  teg_error err;
  for (int i = 0; i < 12; ++i) {
    teg_session_params params = TEG_SESSION_PARAMS_INIT;
    worker w = {.device = fx->device, .random = 7, .pattern = 1};
    CHECK_OK(&err, teg_session_create(fx->device, &params, &w.session, &err));
    CHECK_OK(&err, teg_stream_create(w.session, &w.stream, &err));
    for (int k = 0; k < 40; ++k) step(&w);
    if (i % 2) finish(&w);
    for (size_t k = 0; k < OWN; ++k) teg_buffer_destroy(w.buffers[k]);
    if (i % 3) teg_stream_destroy(w.stream);
    teg_session_destroy(w.session);
  }
  return NULL;
}

static void sessions_come_and_go_side_by_side(void** state) {
  (void)state;
  static core_fixture fx;
  open_device(&fx, "");
  tegi_thread threads[3];
  for (int i = 0; i < 3; ++i) {
    assert_int_equal(tegi_thread_create(&threads[i], come_and_go, &fx), TEG_OK);
  }
  for (int i = 0; i < 3; ++i) tegi_thread_join(&threads[i]);
  assert_int_equal(mismatches, 0);
  (void)teg_device_trim(fx.device, TEG_TRIM_ALL);
  core_validate(&fx, NULL);
  assert_int_equal(core_reserved(&fx), 0);
  core_close(&fx);
}

// ---- Taking turns

enum { TURN_SESSIONS = 8, TURN_RUNS = 4, LAYERS = 24 };

// A small model: a residual stream, and three buffers in each layer.
static void run_model(core_fixture* fx, teg_session* session) {
  teg_stream* stream = teg_session_stream(session);
  CORE_OK(fx, teg_session_run_begin(session, &fx->err));
  teg_buffer* residual = core_buffer(fx, session, 300 * KIB);
  core_fill(fx, stream, residual, 1);
  for (uint64_t layer = 0; layer < LAYERS; ++layer) {
    teg_buffer* a = core_buffer(fx, session, 900 * KIB);
    teg_buffer* b = core_buffer(fx, session, (200 + layer % 3 * 64) * KIB);
    core_fill(fx, stream, a, 2);
    teg_buffer* c = core_buffer(fx, session, MIB + layer % 2 * 128 * KIB);
    core_fill(fx, stream, c, 3);
    teg_buffer_destroy(b);
    teg_buffer_destroy(a);
    teg_buffer* out = core_buffer(fx, session, 300 * KIB);
    core_fill(fx, stream, out, 4);
    teg_buffer_destroy(c);
    teg_buffer_destroy(residual);
    residual = out;
    if (layer % 8 == 7) core_submit(fx, stream);
  }
  core_expect_pattern(fx, stream, residual, 4);
  teg_buffer_destroy(residual);
  CORE_OK(fx, teg_session_run_end(session, &fx->err));
}

// Bytes reserved at most beyond the weights.
static uint64_t hold_turns(const char* policy, size_t session_count) {
  static core_fixture fx;
  open_device(&fx, "");
  teg_session* sessions[TURN_SESSIONS];
  char options[64];
  snprintf(options, sizeof options, "policy=%s", policy);
  for (size_t i = 0; i < session_count; ++i) {
    sessions[i] = core_session(&fx, "turn", options);
    (void)core_buffer_of(&fx, sessions[i], 2 * MIB, TEG_LIFETIME_STATIC);
  }
  for (int run = 0; run < TURN_RUNS; ++run) {
    for (size_t i = 0; i < session_count; ++i) run_model(&fx, sessions[i]);
  }
  uint64_t peak = core_device_stats(&fx).peak_reserved_bytes;
  for (size_t i = 0; i < session_count; ++i) core_validate(&fx, sessions[i]);
  core_close(&fx);
  return peak - session_count * 2 * MIB;
}

static void sessions_that_take_turns_share_their_run_memory(void** state) {
  (void)state;
  static const char* const policies[] = {"tiled",  "planned",   "simple",
                                         "bucket", "exclusive", "dynamic"};
  for (size_t i = 0; i < sizeof policies / sizeof policies[0]; ++i) {
    uint64_t one = hold_turns(policies[i], 1);
    uint64_t eight = hold_turns(policies[i], TURN_SESSIONS);
    // A tenth more, and one step of the heaps.
    if (eight > one + one / 10 + 256 * KIB) {
      fail_msg("%s: eight sessions hold %" PRIu64 " bytes, one holds %" PRIu64,
               policies[i], eight, one);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(two_threads_in_two_sessions),
      cmocka_unit_test(sessions_under_a_budget_rob_each_other),
      cmocka_unit_test(tiles_are_borrowed_at_the_mapping_limit),
      cmocka_unit_test(two_threads_in_one_session_hand_buffers_over),
      cmocka_unit_test(sessions_come_and_go_side_by_side),
      cmocka_unit_test(sessions_that_take_turns_share_their_run_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
