// SPDX-License-Identifier: Apache-2.0
//
// The fail-the-k-th-call loop over every policy: a workload that uses
// everything is run with call k of the device, or allocation k of the host,
// failing (that one, or it and all that follow), for k = 1, 2, ... until
// nothing fails any more. Whatever fails must say so with the right code and
// cleared outputs; the session stays valid and of use; nothing is left behind.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/call.h"
#include "support/core_fixture.h"

enum { SLOTS = 12, RUNS = 4 };

typedef struct script {
  core_fixture fx;
  const char* policy;
  teg_result injected;  // what a failure may come out as
  uint64_t failed_count;
  teg_session* session;
  teg_session* other;
  teg_stream* first;
  teg_stream* second;
  teg_buffer* slots[SLOTS];
  bool is_filled[SLOTS];
} script;

// True when the call went well; otherwise it failed as injected.
static bool went_well(script* s, teg_result result, const char* what) {
  if (result == TEG_OK) return true;
  if (result != s->injected) {
    fail_msg("%s, %s: %s: %s", s->policy, what, teg_result_name(result),
             s->fx.err.message);
  }
  assert_int_equal(s->fx.err.result, result);
  assert_true(s->fx.err.message[0] != '\0');
  s->failed_count++;
  if (s->session) core_validate(&s->fx, s->session);
  return false;
}

#define TRY(s, call) went_well(s, call, #call)

static void make(script* s, size_t slot, const teg_buffer_params* params) {
  teg_buffer* out = (teg_buffer*)(uintptr_t)1;
  if (!TRY(s, teg_buffer_create(s->session, params, &out, &s->fx.err))) {
    assert_null(out);
  }
  s->slots[slot] = out;
  if (!out) return;
  teg_stream* stream = params->stream ? params->stream : s->first;
  s->is_filled[slot] = TRY(
      s, teg_stream_fill(stream, out, 0, params->size, 0x01020304, &s->fx.err));
}

static void drop(script* s, size_t slot) {
  teg_buffer_destroy(s->slots[slot]);
  s->slots[slot] = NULL;
}

static void submit(script* s, teg_stream* stream) {
  if (!stream) return;
  uint64_t serial = 99;
  if (!TRY(s, teg_stream_submit(stream, &serial, &s->fx.err))) {
    assert_int_equal(serial, 0);
  }
}

static void wait(script* s, teg_stream* stream) {
  if (!stream) return;
  (void)TRY(s,
            teg_stream_wait(stream, teg_stream_submitted(stream), &s->fx.err));
}

static teg_result look(void* user, void* const* pointers, const uint64_t* sizes,
                       uint32_t binding_count) {
  (void)user;
  (void)pointers;
  (void)sizes;
  (void)binding_count;
  return TEG_OK;
}

static void use_two(script* s, size_t target, size_t source, uint64_t size) {
  bool is_there = s->slots[target] && s->slots[source];
  if (!is_there || !s->is_filled[target] || !s->is_filled[source]) return;
  (void)TRY(s, teg_stream_copy(s->first, s->slots[target], 0, s->slots[source],
                               0, size, &s->fx.err));
  const test_argument arguments[] = {
      {s->slots[target], 0, 0, true, true},
      {s->slots[source], 0, 0, true, false},
  };
  (void)TRY(s, test_stream_call(s->fx.device, s->first, look, NULL, arguments,
                                2, &s->fx.err));
}

static void map_one(script* s, size_t slot) {
  if (!s->slots[slot]) return;
  void* pointer = s;
  if (TRY(s, teg_buffer_map(s->slots[slot], &pointer, &s->fx.err))) {
    ((uint8_t*)pointer)[0] = 1;
    teg_buffer_unmap(s->slots[slot]);
  } else {
    assert_null(pointer);
  }
}

static void grow_and_shrink(script* s, size_t slot) {
  static const uint64_t sizes[] = {50000, 17000, 100000, 1};
  for (size_t i = 0; s->slots[slot] && i < 4; ++i) {
    uint64_t before = core_info(s->slots[slot]).size;
    bool is_done =
        TRY(s, teg_buffer_resize(s->slots[slot], sizes[i], &s->fx.err));
    uint64_t after = core_info(s->slots[slot]).size;
    assert_int_equal(after, is_done ? sizes[i] : before);
  }
}

static teg_buffer_params params_of(uint64_t size) {
  teg_buffer_params params = TEG_BUFFER_PARAMS_INIT;
  params.size = size;
  return params;
}

static void load(script* s) {
  uint32_t tag = 99;
  if (!TRY(s, teg_session_tag(s->session, "weights", &tag, &s->fx.err))) {
    assert_int_equal(tag, 0);
  }
  teg_buffer_params params = params_of(22000);
  params.lifetime = TEG_LIFETIME_STATIC;
  params.tag = tag;
  make(s, 0, &params);
  params = params_of(12000);
  params.lifetime = TEG_LIFETIME_STATE;
  params.max_size = 100000;
  make(s, 1, &params);
  params = params_of(1200);
  params.flags = TEG_BUFFER_DEDICATED;
  make(s, 2, &params);
  drop(s, 2);
  submit(s, s->first);
  (void)teg_session_trim(s->session, TEG_TRIM_ALL);
}

// Sizes differ in every other run, so that tiles have to move.
static void run(script* s, uint32_t number) {
  bool is_running = TRY(s, teg_session_run_begin(s->session, &s->fx.err));
  uint64_t step = (number / 2) * 10000;
  make(s, 3,
       &(teg_buffer_params){.struct_size = sizeof(teg_buffer_params),
                            .size = 75000 + step,
                            .lifetime = TEG_LIFETIME_RUN});
  teg_buffer_params params = params_of(1000);
  make(s, 4, &params);
  params = params_of(32000 + step);
  make(s, 5, &params);
  use_two(s, 3, 5, 1000);
  drop(s, 3);
  submit(s, s->first);
  params = params_of(50000);
  params.stream = s->second;
  make(s, 6, &params);
  if (s->second && s->slots[5]) {
    (void)TRY(s,
              teg_stream_wait_for(s->second, s->first,
                                  teg_stream_submitted(s->first), &s->fx.err));
    (void)TRY(s, teg_buffer_used_on(s->slots[5], s->second, &s->fx.err));
  }
  drop(s, 5);
  submit(s, s->second);
  params = params_of(120000 - step);
  make(s, 7, &params);
  map_one(s, 7);
  drop(s, 6);
  drop(s, 7);
  drop(s, 4);
  submit(s, s->first);
  if (is_running) {
    assert_int_equal(teg_session_run_end(s->session, &s->fx.err), TEG_OK);
  }
}

static void lend(script* s) {
  if (!TRY(s, core_try_session(&s->fx, "other", "policy=simple", &s->other))) {
    assert_null(s->other);
    return;
  }
  teg_buffer* buffer = NULL;
  if (TRY(s, core_try_buffer(&s->fx, s->other, 50000, TEG_LIFETIME_RUN,
                             &buffer))) {
    (void)TRY(s, teg_stream_fill(teg_session_stream(s->other), buffer, 0, 1000,
                                 7, &s->fx.err));
    teg_buffer_destroy(buffer);
  }
  submit(s, teg_session_stream(s->other));
}

static void play(script* s) {
  s->session = s->other = NULL;
  s->first = s->second = NULL;
  memset(s->slots, 0, sizeof s->slots);
  char options[256];
  snprintf(options, sizeof options,
           "policy=%s;slack=0;page_min=64KiB;chunk=1MiB", s->policy);
  if (!TRY(s, core_try_session(&s->fx, "main", options, &s->session))) {
    assert_null(s->session);
    return;
  }
  s->first = teg_session_stream(s->session);
  if (!TRY(s, teg_stream_create(s->session, &s->second, &s->fx.err))) {
    assert_null(s->second);
  }
  load(s);
  for (uint32_t i = 0; i < RUNS; ++i) {
    run(s, i);
    if (i == 1) lend(s);
  }
  grow_and_shrink(s, 1);
  wait(s, s->first);
  (void)teg_session_trim(s->session, TEG_TRIM_FREE);
  wait(s, s->second);
  if (s->first) (void)TRY(s, teg_stream_discard(s->first, &s->fx.err));
  (void)teg_device_trim(s->fx.device, TEG_TRIM_ALL);
}

// Nothing fails any more: the session must serve as if nothing had happened.
static void expect_of_use(script* s) {
  if (!s->session) return;
  core_validate(&s->fx, s->session);
  core_finish(&s->fx, s->first);
  teg_buffer* large = core_buffer(&s->fx, s->session, 150000);
  teg_buffer* small = core_buffer(&s->fx, s->session, 3000);
  core_fill(&s->fx, s->first, large, 0x11223344);
  core_fill(&s->fx, s->first, small, 0x55667788);
  core_expect_pattern(&s->fx, s->first, large, 0x11223344);
  core_expect_pattern(&s->fx, s->first, small, 0x55667788);
  teg_buffer_destroy(large);
  teg_buffer_destroy(small);
  core_validate(&s->fx, s->session);
}

// Ends the sessions with what is alive in them; nothing may stay.
static void expect_nothing_left(script* s) {
  teg_session_destroy(s->session);
  s->session = NULL;
  core_validate(&s->fx, NULL);
  teg_session_destroy(s->other);
  s->other = NULL;
  (void)teg_device_trim(s->fx.device, TEG_TRIM_ALL);
  core_validate(&s->fx, NULL);
  assert_int_equal(core_reserved(&s->fx), 0);
  teg_null_report report = TEG_NULL_REPORT_INIT;
  assert_int_equal(teg_null_get_report(s->fx.backend, &report), TEG_OK);
  assert_int_equal(report.used_bytes, 0);
  assert_string_equal(report.first_hazard, "");
}

static const char device_options[] = "tile_bytes=16KiB;heap_min=64KiB";

static script* open_script(const char* policy) {
  static script s;
  s.policy = policy;
  core_open(&s.fx, "null", device_options);
  return &s;
}

// True when something failed.
static bool fail_device(script* s, teg_null_calls calls, uint64_t k,
                        uint64_t count) {
  s->failed_count = 0;
  assert_int_equal(teg_null_fail(s->fx.backend, calls, k, count, s->injected),
                   TEG_OK);
  play(s);
  teg_null_report report = TEG_NULL_REPORT_INIT;
  assert_int_equal(teg_null_get_report(s->fx.backend, &report), TEG_OK);
  assert_int_equal(teg_null_fail(s->fx.backend, 0, 0, 0, TEG_OK), TEG_OK);
  expect_of_use(s);
  expect_nothing_left(s);
  return report.failed_calls > 0;
}

typedef struct device_fault {
  const char* name;
  teg_null_calls calls;
  teg_result injected;
} device_fault;

static const device_fault faults[] = {
    {"memory", TEG_NULL_BUFFER_CREATE | TEG_NULL_HEAP_CREATE,
     TEG_OUT_OF_MEMORY},
    {"addresses", TEG_NULL_RANGE_RESERVE, TEG_OUT_OF_MEMORY},
    {"map", TEG_NULL_MAP, TEG_OUT_OF_MEMORY},
    {"map limit", TEG_NULL_MAP, TEG_LIMIT},
    {"unmap limit", TEG_NULL_UNMAP, TEG_LIMIT},
    {"stream", TEG_NULL_STREAM_CREATE, TEG_DEVICE_ERROR},
    {"record", TEG_NULL_RECORD, TEG_DEVICE_ERROR},
    {"submit", TEG_NULL_SUBMIT, TEG_DEVICE_ERROR},
    {"wait", TEG_NULL_WAIT, TEG_DEVICE_ERROR},
};

static void device_faults_of(const char* policy, uint64_t count) {
  script* s = open_script(policy);
  for (size_t i = 0; i < sizeof faults / sizeof faults[0]; ++i) {
    s->injected = faults[i].injected;
    uint64_t k = 1;
    while (fail_device(s, faults[i].calls, k, count)) {
      k++;
      assert_true(k < 1000);
    }
  }
  core_close(&s->fx);
}

static void a_device_call_that_fails_once_changes_nothing(void** state) {
  (void)state;
  for (size_t i = 0; core_policies[i]; ++i) {
    device_faults_of(core_policies[i], 1);
  }
}

static void a_device_that_fails_from_a_call_on_changes_nothing(void** state) {
  (void)state;
  for (size_t i = 0; core_policies[i]; ++i) {
    device_faults_of(core_policies[i], UINT64_MAX);
  }
}

// True when allocation |k| was reached. The end comes while the host still has
// no memory: giving back needs none.
static bool fail_host(script* s, uint64_t k, uint64_t count) {
  s->injected = TEG_OUT_OF_HOST_MEMORY;
  s->failed_count = 0;
  core_fail_host(&s->fx, k, count);
  play(s);
  bool is_reached = tegi_load_relaxed(&s->fx.call_count) >= k;
  if (count == 1) {
    core_fail_host(&s->fx, 0, 0);
    expect_of_use(s);
  }
  expect_nothing_left(s);
  return is_reached;
}

static void host_faults_of(const char* policy, uint64_t count,
                           bool is_device_fresh) {
  script* s = open_script(policy);
  for (uint64_t k = 1; fail_host(s, k, count); ++k) {
    assert_true(k < 5000);
    if (!is_device_fresh) continue;
    core_close(&s->fx);
    s = open_script(policy);
  }
  core_close(&s->fx);
}

// Records of the device grow with the first sessions on it, so one policy gets
// a fresh one each time.
static void host_faults(uint64_t count) {
  for (size_t i = 0; core_policies[i]; ++i) {
    host_faults_of(core_policies[i], count, false);
  }
  host_faults_of("tiled", count, true);
}

static void a_host_allocation_that_fails_once_changes_nothing(void** state) {
  (void)state;
  host_faults(1);
}

static void a_host_without_memory_can_still_give_back(void** state) {
  (void)state;
  host_faults(UINT64_MAX);
}

static void a_device_that_cannot_be_made_leaves_nothing(void** state) {
  (void)state;
  static core_fixture fx;
  for (uint64_t k = 1;; ++k) {
    core_fail_host(&fx, k, 1);
    teg_result result = core_try_open(&fx, "null", device_options);
    if (result == TEG_OK) break;
    assert_int_equal(result, TEG_OUT_OF_HOST_MEMORY);
    assert_null(fx.device);
    assert_int_equal(tegi_load_relaxed(&fx.live_count), 0);
  }
  core_close(&fx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_device_that_cannot_be_made_leaves_nothing),
      cmocka_unit_test(a_device_call_that_fails_once_changes_nothing),
      cmocka_unit_test(a_device_that_fails_from_a_call_on_changes_nothing),
      cmocka_unit_test(a_host_allocation_that_fails_once_changes_nothing),
      cmocka_unit_test(a_host_without_memory_can_still_give_back),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
