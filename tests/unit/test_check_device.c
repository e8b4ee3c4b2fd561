// SPDX-License-Identifier: Apache-2.0
//
// The option check=on through the public API, on devices that run whatever
// they are given: what a program does rightly is never reported, with any
// policy, and with one of the library's own precautions switched off the
// checker says so.
#include <stdio.h>
#include <string.h>

#include "backend/check/check_wrap.h"
#include "core/registry.h"
#include "support/core_fixture.h"
#include "tegula/check.h"

enum { TILE = 65536, SIZE = 2 * TILE };

static const char* const backends[] = {"null", "host", "vulkan"};
enum { BACKENDS = sizeof backends / sizeof *backends };

typedef struct scene {
  core_fixture fx;
  teg_session* session;
  teg_stream* a;
  teg_stream* b;
  teg_buffer* out;
} scene;

static bool is_there(const char* backend) {
  uint32_t count;
  for (size_t i = 0; tegi_backends[i]; i++) {
    if (strcmp(tegi_backends[i]->name, backend) != 0) continue;
    return tegi_backends[i]->probe(&count, NULL) == TEG_OK;
  }
  return false;
}

static void scene_open(scene* s, const char* backend, const char* policy) {
  char options[64];
  snprintf(options, sizeof options, "policy=%s;slack=0", policy);
  core_open(&s->fx, backend, "check=on;tile_bytes=64KiB;heap_min=64KiB");
  s->session = core_session(&s->fx, "scene", options);
  s->a = teg_session_stream(s->session);
  CORE_OK(&s->fx, teg_stream_create(s->session, &s->b, &s->fx.err));
  s->out = core_buffer_of(&s->fx, s->session, SIZE, TEG_LIFETIME_STATIC);
}

static teg_check_report report_of(core_fixture* fx) {
  teg_check_report report = TEG_CHECK_REPORT_INIT;
  CORE_OK(fx, teg_device_get_check_report(fx->device, &report, &fx->err));
  return report;
}

static void expect_silence(core_fixture* fx) {
  teg_check_report report = report_of(fx);
  if (report.hazard_count) fail_msg("%s", report.first_hazard);
}

// ---- The option.

static void a_device_is_not_checked_unless_asked(void** state) {
  (void)state;
  core_fixture fx;
  core_open(&fx, "host", NULL);
  teg_backend_caps caps;
  teg_device_get_caps(fx.device, &caps);
  assert_int_equal(caps.flags & TEG_BACKEND_HAZARD_CHECKED, 0);
  // Nothing stands between core and the device.
  assert_null(tegi_check_inner(fx.backend));
  teg_check_report report = TEG_CHECK_REPORT_INIT;
  CORE_EXPECT(&fx, TEG_UNSUPPORTED,
              teg_device_get_check_report(fx.device, &report, &fx.err));
  core_expect_text(fx.err.message, "check=on");
  teg_device_reset_check_report(fx.device);
  core_close(&fx);
}

static void a_device_is_checked_once(void** state) {
  (void)state;
  for (int i = 0; i < BACKENDS; i++) {
    if (!is_there(backends[i])) continue;
    core_fixture fx;
    core_open(&fx, backends[i], "check=on");
    teg_backend_caps caps;
    teg_device_get_caps(fx.device, &caps);
    assert_true(caps.flags & TEG_BACKEND_HAZARD_CHECKED);
    teg_backend_device* inner = tegi_check_inner(fx.backend);
    assert_non_null(inner);
    assert_null(tegi_check_inner(inner));
    expect_silence(&fx);
    core_close(&fx);
  }
}

static void bad_requests_for_a_report_are_refused(void** state) {
  (void)state;
  core_fixture fx;
  core_open(&fx, "null", NULL);
  teg_check_report report = TEG_CHECK_REPORT_INIT;
  CORE_EXPECT(&fx, TEG_INVALID,
              teg_device_get_check_report(NULL, &report, &fx.err));
  CORE_EXPECT(&fx, TEG_INVALID,
              teg_device_get_check_report(fx.device, NULL, &fx.err));
  report.struct_size = 3;
  CORE_EXPECT(&fx, TEG_INVALID,
              teg_device_get_check_report(fx.device, &report, &fx.err));
  teg_device_reset_check_report(NULL);
  core_close(&fx);
}

static void opening_checked_without_host_memory_fails_cleanly(void** state) {
  (void)state;
  uint64_t failure_count = 0;
  for (uint64_t k = 1;; k++) {
    core_fixture fx = {.fail_from = 0};
    core_fail_host(&fx, k, 1);
    teg_result result = core_try_open(&fx, "host", "check=on");
    core_fail_host(&fx, 0, 0);
    if (result == TEG_OK) {
      core_close(&fx);
      break;
    }
    failure_count++;
    assert_int_equal(result, TEG_OUT_OF_HOST_MEMORY);
    assert_null(fx.device);
    assert_int_equal(tegi_load_relaxed(&fx.live_count), 0);
  }
  assert_true(failure_count >= 3);
}

// ---- What is right is not reported.

static teg_buffer* make(scene* s, teg_stream* stream, uint64_t size) {
  return core_buffer_on(&s->fx, s->session, size, stream);
}

static void fill(scene* s, teg_stream* stream, teg_buffer* buffer,
                 uint32_t word) {
  CORE_OK(&s->fx, teg_stream_fill(stream, buffer, 0, core_info(buffer).size,
                                  word, &s->fx.err));
}

static void copy(scene* s, teg_stream* stream, teg_buffer* target,
                 teg_buffer* source, uint64_t size) {
  CORE_OK(&s->fx,
          teg_stream_copy(stream, target, 0, source, 0, size, &s->fx.err));
}

// Buffers that come and go on two streams, written and read in all ways.
static void work(scene* s) {
  static uint32_t words[SIZE / 4];
  for (uint32_t round = 1; round <= 6; round++) {
    CORE_OK(&s->fx, teg_session_run_begin(s->session, &s->fx.err));
    for (uint32_t i = 0; i < 12; i++) {
      teg_stream* stream = i % 3 ? s->a : s->b;
      uint64_t size = TILE / 4 * (1 + (i * round) % 7);
      teg_buffer* one = make(s, stream, size);
      teg_buffer* two = make(s, stream, size);
      if (i % 4 == 0) {
        CORE_OK(&s->fx,
                teg_stream_write(stream, one, 0, words,
                                 size < SIZE ? size : SIZE, &s->fx.err));
      }
      fill(s, stream, one, i);
      copy(s, stream, two, one, size);
      teg_buffer_destroy(one);
      teg_buffer* three = make(s, stream, size);
      copy(s, stream, three, two, size);
      if (i % 5 == 0) core_submit(&s->fx, stream);
      uint32_t word = 0;
      if (i % 6 == 1) {
        CORE_OK(&s->fx,
                teg_stream_read(stream, three, size - 4, &word, 4, &s->fx.err));
        assert_int_equal(word, i);
      }
      teg_buffer_destroy(two);
      teg_buffer_destroy(three);
    }
    core_submit(&s->fx, s->a);
    core_submit(&s->fx, s->b);
    CORE_OK(&s->fx, teg_session_run_end(s->session, &s->fx.err));
  }
  core_finish(&s->fx, s->a);
  core_finish(&s->fx, s->b);
}

static void right_work_is_never_reported(void** state) {
  const char* backend = *state;
  if (!is_there(backend)) skip();
  for (size_t i = 0; core_policies[i]; i++) {
    static scene s;
    scene_open(&s, backend, core_policies[i]);
    work(&s);
    expect_silence(&s.fx);
    teg_session_destroy(s.session);
    (void)teg_device_trim(s.fx.device, TEG_TRIM_ALL);
    expect_silence(&s.fx);
    core_close(&s.fx);
  }
}

// ---- With a precaution off.

static void expect_hazard(scene* s, const char* part) {
  teg_check_report report = report_of(&s->fx);
  if (report.hazard_count == 0) fail_msg("nothing was found");
  if (!strstr(report.first_hazard, part)) {
    fail_msg("\"%s\" is not in \"%s\"", part, report.first_hazard);
  }
}

// The end of a scene in which things went wrong.
static void scene_close(scene* s) {
  s->fx.device->timelines.is_rule_off = false;
  s->fx.device->is_barrier_off = false;
  core_close(&s->fx);
}

static void missing_barriers_are_found(void** state) {
  const char* backend = *state;
  if (!is_there(backend)) skip();
  static scene s;
  scene_open(&s, backend, "simple");
  teg_buffer* buffer = make(&s, s.a, SIZE);
  s.fx.device->is_barrier_off = true;
  fill(&s, s.a, buffer, 1);
  copy(&s, s.a, s.out, buffer, SIZE);
  core_submit(&s.fx, s.a);
  CORE_EXPECT(&s.fx, TEG_HAZARD, teg_stream_wait(s.a, 1, &s.fx.err));
  core_expect_text(s.fx.err.message, "no barrier between");
  char owner[32];
  snprintf(owner, sizeof owner, "for owner %llu",
           (unsigned long long)core_info(buffer).number);
  core_expect_text(s.fx.err.message, owner);
  CORE_OK(&s.fx, teg_stream_wait(s.a, 1, &s.fx.err));
  expect_hazard(&s, "no barrier between");
  teg_device_reset_check_report(s.fx.device);
  expect_silence(&s.fx);
  teg_buffer_destroy(buffer);
  scene_close(&s);
}

// As a program would: what a took part in is over for the checker's purposes.
static void finish_wrong(scene* s, teg_stream* stream) {
  core_submit(&s->fx, stream);
  teg_result result =
      teg_stream_wait(stream, teg_stream_submitted(stream), &s->fx.err);
  assert_true(result == TEG_OK || result == TEG_HAZARD);
}

// The bytes go to another stream's buffer while the batch that uses them is
// only recorded: one phase too early.
static void reuse_of_recorded_bytes_is_found(void** state) {
  const char* backend = *state;
  if (!is_there(backend)) skip();
  const char* const policies[] = {"simple", "paged", "tiled"};
  for (size_t i = 0; i < 3; i++) {
    static scene s;
    scene_open(&s, backend, policies[i]);
    s.fx.device->timelines.is_rule_off = true;
    teg_buffer* old = make(&s, s.a, SIZE);
    fill(&s, s.a, old, 1);
    copy(&s, s.a, s.out, old, SIZE);
    teg_buffer_destroy(old);
    teg_buffer* fresh = make(&s, s.b, SIZE);
    fill(&s, s.b, fresh, 2);
    finish_wrong(&s, s.b);
    expect_hazard(&s, "which was recorded earlier on the same bytes");
    finish_wrong(&s, s.a);
    s.fx.device->timelines.is_rule_off = false;
    teg_buffer_destroy(fresh);
    scene_close(&s);
  }
}

// The CPU writes bytes whose commands are submitted, not complete.
static void cpu_reuse_of_submitted_bytes_is_found(void** state) {
  const char* backend = *state;
  if (!is_there(backend)) skip();
  static scene s;
  scene_open(&s, backend, "simple");
  s.fx.device->timelines.is_rule_off = true;
  teg_buffer* old = make(&s, s.a, SIZE);
  fill(&s, s.a, old, 1);
  copy(&s, s.a, s.out, old, SIZE);
  core_submit(&s.fx, s.a);
  teg_buffer_destroy(old);
  teg_buffer* fresh = make(&s, s.b, SIZE);
  void* pointer = NULL;
  teg_result result = teg_buffer_map(fresh, &pointer, &s.fx.err);
  if (result == TEG_UNSUPPORTED) {
    // No host pointer, nothing to go wrong.
  } else {
    assert_int_equal(result, TEG_HAZARD);
    expect_hazard(&s, "the CPU writes");
  }
  finish_wrong(&s, s.a);
  s.fx.device->timelines.is_rule_off = false;
  teg_buffer_destroy(fresh);
  scene_close(&s);
}

// The stream takes what is submitted for complete.
static void believe_complete(teg_stream* stream) {
  tegi_store_release(&stream->timeline.completed, teg_stream_submitted(stream));
}

// The staging ring comes round to bytes that a copy still reads.
static void staging_written_too_early_is_found(void** state) {
  const char* backend = *state;
  if (!is_there(backend)) skip();
  static scene s;
  static char bytes[TILE];
  scene_open(&s, backend, "simple");
  teg_session* session = core_session(
      &s.fx, "ring",
      "policy=simple;ring_min=64KiB;ring_max=64KiB;batches_in_flight=0");
  teg_stream* stream = teg_session_stream(session);
  teg_buffer_params params = TEG_BUFFER_PARAMS_INIT;
  params.size = TILE;
  params.flags = TEG_BUFFER_FOREIGN;  // written by copies only
  teg_buffer* buffer = NULL;
  CORE_OK(&s.fx, teg_buffer_create(session, &params, &buffer, &s.fx.err));
  CORE_OK(&s.fx, teg_stream_write(stream, buffer, 0, bytes, TILE, &s.fx.err));
  core_submit(&s.fx, stream);
  expect_silence(&s.fx);
  believe_complete(stream);
  CORE_EXPECT(&s.fx, TEG_HAZARD,
              teg_stream_write(stream, buffer, 0, bytes, TILE, &s.fx.err));
  core_expect_text(s.fx.err.message, "the CPU writes");
  core_expect_text(s.fx.err.message, "(copy) is complete");
  teg_buffer_destroy(buffer);
  scene_close(&s);
}

static teg_result idle(const teg_invocation* invocation) {
  (void)invocation;
  return TEG_OK;
}

// A slot of parameters is written anew under a dispatch that still reads it.
static void parameters_written_too_early_are_found(void** state) {
  const char* backend = *state;
  if (!is_there(backend) || strcmp(backend, "vulkan") == 0) skip();
  static scene s;
  scene_open(&s, backend, "simple");
  teg_kernel_params params = TEG_KERNEL_PARAMS_INIT;
  params.name = "idle";
  params.function = idle;
  params.parameter_bytes = 4;
  teg_kernel* kernel = NULL;
  CORE_OK(&s.fx, teg_kernel_create(s.fx.device, &params, &kernel, &s.fx.err));
  teg_result result = TEG_OK;
  const uint32_t once[3] = {1, 1, 1};
  for (uint32_t i = 0; i < 1000 && result == TEG_OK; i++) {
    result = teg_stream_dispatch(s.a, kernel, NULL, 0, &i, once, &s.fx.err);
    believe_complete(s.a);
  }
  assert_int_equal(result, TEG_HAZARD);
  core_expect_text(s.fx.err.message, "the CPU writes 4 bytes");
  core_expect_text(s.fx.err.message, "(dispatch) is complete");
  teg_kernel_destroy(kernel);
  scene_close(&s);
}

// A bind that overtakes, and commands that overtake a bind.
static void missing_waits_for_binds_are_found(void** state) {
  const char* backend = *state;
  if (!is_there(backend)) skip();
  static scene s;
  scene_open(&s, backend, "tiled");
  if (!s.fx.device->binds.stream) {
    scene_close(&s);
    skip();
  }
  s.fx.device->binds.is_wait_off = true;
  teg_buffer* first = make(&s, s.a, 4 * TILE);
  fill(&s, s.a, first, 1);
  core_submit(&s.fx, s.a);
  expect_hazard(&s, "no wait orders it behind bind batch");
  finish_wrong(&s, s.a);
  s.fx.device->binds.is_wait_off = false;
  teg_buffer_destroy(first);
  scene_close(&s);
}

int main(void) {
  enum { OTHERS = 4, EACH = 7 };
  static struct CMUnitTest tests[OTHERS + EACH * BACKENDS] = {
      cmocka_unit_test(a_device_is_not_checked_unless_asked),
      cmocka_unit_test(a_device_is_checked_once),
      cmocka_unit_test(bad_requests_for_a_report_are_refused),
      cmocka_unit_test(opening_checked_without_host_memory_fails_cleanly),
  };
  static const struct CMUnitTest each[EACH] = {
      cmocka_unit_test(right_work_is_never_reported),
      cmocka_unit_test(missing_barriers_are_found),
      cmocka_unit_test(reuse_of_recorded_bytes_is_found),
      cmocka_unit_test(cpu_reuse_of_submitted_bytes_is_found),
      cmocka_unit_test(staging_written_too_early_is_found),
      cmocka_unit_test(parameters_written_too_early_are_found),
      cmocka_unit_test(missing_waits_for_binds_are_found),
  };
  static char names[EACH * BACKENDS][96];
  for (int i = 0; i < EACH * BACKENDS; i++) {
    struct CMUnitTest* test = &tests[OTHERS + i];
    *test = each[i % EACH];
    const char* backend = backends[i / EACH];
    snprintf(names[i], sizeof names[i], "%s/%s", backend, test->name);
    test->name = names[i];
    test->initial_state = (void*)(uintptr_t)backend;
  }
  return _cmocka_run_group_tests("check", tests, OTHERS + EACH * BACKENDS, NULL,
                                 NULL);
}
