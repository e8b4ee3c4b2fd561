// SPDX-License-Identifier: Apache-2.0
//
// What the sentences of the rule of reuse say about streams and buffers, on
// the null device: what stamps, what gives stamps back, what is refused, and
// what waits do. What goes wrong without the rule: test_reuse_scenarios.c.
#include <string.h>

#include "support/call.h"
#include "support/core_fixture.h"

enum { SIZE = 4096 };

typedef struct scene {
  core_fixture fx;
  teg_session* session;
  teg_stream* a;  // the session's first
  teg_stream* b;
} scene;

static int scene_begin(void** state) {
  static scene s;
  memset(&s, 0, sizeof s);
  core_open(&s.fx, "null", "tile_bytes=64KiB;heap_min=64KiB");
  s.session =
      core_session(&s.fx, "s", "policy=simple;policy_state=tiled;slack=0");
  s.a = teg_session_stream(s.session);
  CORE_OK(&s.fx, teg_stream_create(s.session, &s.b, &s.fx.err));
  *state = &s;
  return 0;
}

static int scene_end(void** state) {
  scene* s = *state;
  if (!s->fx.device) return 0;
  core_validate(&s->fx, s->session);
  teg_session_destroy(s->session);
  teg_null_report report = TEG_NULL_REPORT_INIT;
  assert_int_equal(teg_null_get_report(s->fx.backend, &report), TEG_OK);
  if (report.hazard_count) print_error("%s\n", report.first_hazard);
  assert_int_equal(report.hazard_count, 0);
  core_close(&s->fx);
  return 0;
}

static tegi_phase phase_of(scene* s, const teg_buffer* buffer) {
  return tegi_set_phase(&s->fx.device->timelines, &buffer->block.use);
}

// The serial of |stream| in the buffer's set; 0 = none.
static uint64_t serial_of(const teg_buffer* buffer, const teg_stream* stream) {
  tegi_use use;
  for (size_t i = 0; tegi_use_at(&buffer->block.use, i, &use); i++) {
    if (use.stream == stream->timeline.id) return use.serial;
  }
  return 0;
}

static teg_result map_of(scene* s, teg_buffer* buffer) {
  void* pointer = NULL;
  teg_result result = teg_buffer_map(buffer, &pointer, &s->fx.err);
  assert_int_equal(pointer != NULL, result == TEG_OK);
  return result;
}

static bool is_same_memory(const teg_buffer* one, const teg_buffer_info* two) {
  teg_buffer_info info = core_info(one);
  return info.memory == two->memory && info.offset == two->offset;
}

static teg_result do_nothing(void* user, void* const* pointers,
                             const uint64_t* sizes, uint32_t binding_count) {
  return TEG_OK;
}

static teg_result do_fail(void* user, void* const* pointers,
                          const uint64_t* sizes, uint32_t binding_count) {
  return TEG_IO;
}

// ---- What stamps.

static void commands_stamp_what_they_touch(void** state) {
  scene* s = *state;
  teg_buffer* target = core_buffer(&s->fx, s->session, SIZE);
  teg_buffer* source = core_buffer(&s->fx, s->session, SIZE);
  teg_buffer* read = core_buffer(&s->fx, s->session, SIZE);
  teg_buffer* written = core_buffer(&s->fx, s->session, SIZE);
  assert_int_equal(phase_of(s, target), TEGI_PHASE_IDLE);
  core_fill(&s->fx, s->a, source, 1);
  core_fill(&s->fx, s->a, read, 1);
  assert_int_equal(serial_of(source, s->a), 1);
  assert_int_equal(phase_of(s, source), TEGI_PHASE_RECORDED);
  core_submit(&s->fx, s->a);
  assert_int_equal(phase_of(s, source), TEGI_PHASE_SUBMITTED);
  CORE_OK(&s->fx,
          teg_stream_copy(s->a, target, 0, source, 0, SIZE, &s->fx.err));
  assert_int_equal(serial_of(target, s->a), 2);
  assert_int_equal(serial_of(source, s->a), 2);
  test_argument arguments[] = {{read, 0, 0, true, false},
                               {written, 0, 0, false, true}};
  CORE_OK(&s->fx, test_stream_call(s->fx.device, s->b, do_nothing, NULL,
                                   arguments, 2, &s->fx.err));
  assert_int_equal(serial_of(read, s->b), 1);
  assert_int_equal(serial_of(read, s->a), 1);
  assert_int_equal(serial_of(written, s->b), 1);
  assert_int_equal(phase_of(s, read), TEGI_PHASE_RECORDED);
  core_finish(&s->fx, s->a);
  core_finish(&s->fx, s->b);
  teg_buffer* all[] = {target, source, read, written};
  for (size_t i = 0; i < 4; i++) {
    assert_int_equal(phase_of(s, all[i]), TEGI_PHASE_IDLE);
    teg_buffer_destroy(all[i]);
  }
}

static void refused_commands_do_not_stamp(void** state) {
  scene* s = *state;
  teg_buffer* buffer = core_buffer(&s->fx, s->session, SIZE);
  CORE_EXPECT(&s->fx, TEG_INVALID,
              teg_stream_fill(s->a, buffer, SIZE, 4, 0, &s->fx.err));
  CORE_EXPECT(&s->fx, TEG_INVALID,
              teg_stream_copy(s->a, buffer, 0, buffer, 4, 8, &s->fx.err));
  test_argument arguments[] = {{buffer, 0, 8, true, false},
                               {buffer, 4, 8, false, true}};
  CORE_EXPECT(&s->fx, TEG_INVALID,
              test_stream_call(s->fx.device, s->a, do_nothing, NULL, arguments,
                               2, &s->fx.err));
  CORE_OK(&s->fx, teg_stream_fill(s->a, buffer, 0, 0, 0, &s->fx.err));
  assert_true(tegi_use_is_empty(&buffer->block.use));
  teg_buffer_destroy(buffer);
}

// Where there is no memory for a stamp nothing is recorded.
static void a_command_that_cannot_stamp_is_not_recorded(void** state) {
  enum { STREAMS = 9 };
  scene* s = *state;
  teg_stream* streams[STREAMS];
  teg_buffer* buffer = core_buffer(&s->fx, s->session, SIZE);
  uint64_t failures = 0;
  for (uint32_t i = 0; i < STREAMS; i++) {
    CORE_OK(&s->fx, teg_stream_create(s->session, &streams[i], &s->fx.err));
    teg_result result = TEG_OUT_OF_HOST_MEMORY;
    for (uint64_t k = 1; result != TEG_OK; k++) {
      core_fail_host(&s->fx, k, 1);
      result = teg_stream_fill(streams[i], buffer, 0, SIZE, i, &s->fx.err);
      core_fail_host(&s->fx, 0, 0);
      if (result == TEG_OK) continue;
      assert_int_equal(result, TEG_OUT_OF_HOST_MEMORY);
      failures++;
      tegi_use use;
      size_t count = 0;
      while (tegi_use_at(&buffer->block.use, count, &use)) count++;
      // The record may have failed after the stamp, which does no harm.
      assert_true(count == i || count == i + 1);
    }
    assert_int_equal(serial_of(buffer, streams[i]), 1);
  }
  assert_true(failures >= 2);
  for (uint32_t i = 0; i < STREAMS; i++) core_finish(&s->fx, streams[i]);
  core_expect_pattern(&s->fx, s->a, buffer, STREAMS - 1);
  for (uint32_t i = 0; i < STREAMS; i++) teg_stream_destroy(streams[i]);
  assert_int_equal(phase_of(s, buffer), TEGI_PHASE_IDLE);
  teg_buffer_destroy(buffer);
}

static void foreign_buffers_are_stamped_at_their_end(void** state) {
  scene* s = *state;
  teg_buffer_params params = TEG_BUFFER_PARAMS_INIT;
  params.size = SIZE;
  params.flags = TEG_BUFFER_FOREIGN;
  params.stream = s->b;
  teg_buffer* buffer = NULL;
  CORE_OK(&s->fx, teg_buffer_create(s->session, &params, &buffer, &s->fx.err));
  CORE_OK(&s->fx, teg_buffer_used_on(buffer, s->a, &s->fx.err));
  teg_buffer_info info = core_info(buffer);
  core_finish(&s->fx, s->a);
  core_finish(&s->fx, s->b);
  core_finish(&s->fx, s->b);
  assert_int_equal(phase_of(s, buffer), TEGI_PHASE_IDLE);
  teg_buffer_destroy(buffer);
  // Recorded on both: nobody but a third stream's patience gets it.
  teg_buffer* on_a = core_buffer_on(&s->fx, s->session, SIZE, s->a);
  teg_buffer* on_b = core_buffer_on(&s->fx, s->session, SIZE, s->b);
  assert_false(is_same_memory(on_a, &info));
  assert_false(is_same_memory(on_b, &info));
  core_submit(&s->fx, s->a);
  core_submit(&s->fx, s->b);
  teg_buffer* later = core_buffer_on(&s->fx, s->session, SIZE, s->a);
  assert_true(is_same_memory(later, &info));
  assert_int_equal(serial_of(later, s->a), 2);
  assert_int_equal(serial_of(later, s->b), 3);
  core_finish(&s->fx, s->b);
  teg_buffer_destroy(on_a);
  teg_buffer_destroy(on_b);
  teg_buffer_destroy(later);
}

// Named streams without host memory: all or nothing, and nothing is lost.
static void naming_streams_without_host_memory(void** state) {
  enum { STREAMS = 7 };  // fill the first entry and a node
  scene* s = *state;
  teg_buffer* buffer = core_buffer(&s->fx, s->session, SIZE);
  teg_stream* streams[STREAMS];
  uint64_t failures = 0;
  for (uint32_t i = 0; i < STREAMS; i++) {
    CORE_OK(&s->fx, teg_stream_create(s->session, &streams[i], &s->fx.err));
    teg_result result = TEG_OUT_OF_HOST_MEMORY;
    for (uint64_t k = 1; result != TEG_OK; k++) {
      core_fail_host(&s->fx, k, 1);
      result = teg_buffer_used_on(buffer, streams[i], &s->fx.err);
      core_fail_host(&s->fx, 0, 0);
      failures += result != TEG_OK;
      if (result != TEG_OK) assert_int_equal(result, TEG_OUT_OF_HOST_MEMORY);
    }
  }
  assert_true(failures >= 2);
  for (uint32_t i = 0; i < STREAMS; i++) core_finish(&s->fx, streams[i]);
  core_finish(&s->fx, s->a);
  teg_buffer_info info = core_info(buffer);
  // At the end it is stamped on all of them without needing memory.
  core_fail_host(&s->fx, 1, UINT64_MAX);
  teg_buffer_destroy(buffer);
  core_fail_host(&s->fx, 0, 0);
  for (uint32_t i = 0; i < STREAMS; i++) {
    teg_buffer* fresh = core_buffer(&s->fx, s->session, SIZE);
    assert_false(is_same_memory(fresh, &info));
    teg_buffer_destroy(fresh);
    core_submit(&s->fx, streams[i]);
  }
  // Its home stream's is left.
  teg_buffer* others[2];
  for (int i = 0; i < 2; i++) {
    others[i] = core_buffer_on(&s->fx, s->session, SIZE, s->b);
    assert_false(is_same_memory(others[i], &info));
  }
  core_submit(&s->fx, s->a);
  teg_buffer* fresh = core_buffer_on(&s->fx, s->session, SIZE, s->b);
  assert_true(is_same_memory(fresh, &info));
  teg_buffer_destroy(fresh);
  for (int i = 0; i < 2; i++) teg_buffer_destroy(others[i]);
  for (uint32_t i = 0; i < STREAMS; i++) teg_stream_destroy(streams[i]);
}

// ---- What gives stamps back.

static void a_discarded_batch_gives_its_stamps_back(void** state) {
  scene* s = *state;
  teg_buffer* buffer = core_buffer(&s->fx, s->session, SIZE);
  teg_buffer_info info = core_info(buffer);
  core_fill(&s->fx, s->a, buffer, 1);
  teg_buffer_destroy(buffer);
  teg_buffer* other = core_buffer_on(&s->fx, s->session, SIZE, s->b);
  assert_false(is_same_memory(other, &info));
  CORE_OK(&s->fx, teg_stream_discard(s->a, &s->fx.err));
  assert_int_equal(teg_stream_recording(s->a), 2);
  teg_buffer* fresh = core_buffer_on(&s->fx, s->session, SIZE, s->b);
  assert_true(is_same_memory(fresh, &info));
  core_fill(&s->fx, s->b, fresh, 2);
  core_expect_pattern(&s->fx, s->b, fresh, 2);
  teg_buffer_destroy(fresh);
  teg_buffer_destroy(other);
}

// What was submitted before stays.
static void discarding_keeps_the_stamps_of_earlier_batches(void** state) {
  scene* s = *state;
  teg_buffer* buffer = core_buffer(&s->fx, s->session, SIZE);
  core_fill(&s->fx, s->a, buffer, 1);
  core_submit(&s->fx, s->a);
  core_fill(&s->fx, s->a, buffer, 2);
  CORE_OK(&s->fx, teg_stream_discard(s->a, &s->fx.err));
  assert_int_equal(phase_of(s, buffer), TEGI_PHASE_SUBMITTED);
  assert_int_equal(teg_stream_completed(s->a), 0);
  CORE_OK(&s->fx, map_of(s, buffer));
  assert_int_equal(teg_stream_completed(s->a), 2);
  assert_int_equal(*core_pointer(&s->fx, buffer), 1);
  teg_buffer_unmap(buffer);
  teg_buffer_destroy(buffer);
}

static void a_batch_that_fails_to_submit_keeps_its_stamps(void** state) {
  scene* s = *state;
  teg_buffer* buffer = core_buffer(&s->fx, s->session, SIZE);
  teg_buffer_info info = core_info(buffer);
  core_fill(&s->fx, s->a, buffer, 1);
  teg_buffer_destroy(buffer);
  assert_int_equal(
      teg_null_fail(s->fx.backend, TEG_NULL_SUBMIT, 1, 2, TEG_DEVICE_LOST),
      TEG_OK);
  CORE_EXPECT(&s->fx, TEG_DEVICE_LOST,
              teg_stream_submit(s->a, NULL, &s->fx.err));
  CORE_EXPECT(&s->fx, TEG_DEVICE_LOST, teg_stream_discard(s->a, &s->fx.err));
  assert_int_equal(teg_stream_submitted(s->a), 0);
  teg_buffer* fresh = core_buffer_on(&s->fx, s->session, SIZE, s->b);
  assert_false(is_same_memory(fresh, &info));
  teg_buffer_destroy(fresh);
}

// ---- Waits.

static void waiting_for_a_recorded_batch_is_refused(void** state) {
  scene* s = *state;
  teg_buffer* buffer = core_buffer(&s->fx, s->session, SIZE);
  core_fill(&s->fx, s->a, buffer, 1);
  CORE_EXPECT(&s->fx, TEG_BAD_STATE, teg_stream_wait(s->a, 1, &s->fx.err));
  CORE_EXPECT(&s->fx, TEG_BAD_STATE,
              teg_stream_wait_for(s->b, s->a, 1, &s->fx.err));
  CORE_EXPECT(&s->fx, TEG_BAD_STATE,
              teg_stream_wait_for(s->a, s->a, 1, &s->fx.err));
  assert_int_equal(teg_stream_submitted(s->a), 0);
  core_submit(&s->fx, s->a);
  CORE_OK(&s->fx, teg_stream_wait_for(s->b, s->a, 1, &s->fx.err));
  CORE_OK(&s->fx, teg_stream_wait_for(s->a, s->a, 1, &s->fx.err));
  CORE_EXPECT(&s->fx, TEG_BAD_STATE,
              teg_stream_wait_for(s->b, s->a, 2, &s->fx.err));
  CORE_OK(&s->fx, teg_stream_wait(s->a, 1, &s->fx.err));
  assert_int_equal(teg_stream_completed(s->a), 1);
  teg_buffer_destroy(buffer);
}

// The library submits the batch that it waits for only on the home stream.
static void a_map_waits_for_its_own_stream_only(void** state) {
  scene* s = *state;
  teg_buffer* buffer = core_buffer(&s->fx, s->session, SIZE);
  core_fill(&s->fx, s->b, buffer, 1);
  CORE_EXPECT(&s->fx, TEG_BAD_STATE, map_of(s, buffer));
  assert_int_equal(teg_stream_submitted(s->b), 0);
  assert_int_equal(buffer->block.use.host_holds, 0);
  core_submit(&s->fx, s->b);
  CORE_OK(&s->fx, map_of(s, buffer));
  assert_int_equal(teg_stream_completed(s->b), 1);
  teg_buffer_unmap(buffer);
  core_fill(&s->fx, s->a, buffer, 2);
  CORE_OK(&s->fx, map_of(s, buffer));
  assert_int_equal(teg_stream_completed(s->a), 1);
  assert_int_equal(*core_pointer(&s->fx, buffer), 2);
  teg_buffer_unmap(buffer);
  teg_buffer_destroy(buffer);
}

typedef struct recorder {
  scene* s;
  teg_stream* stream;
  teg_buffer* buffer;  // NULL: submits what is recorded
  teg_result result;
} recorder;

static void* record_there(void* user) {
  recorder* r = user;
  teg_error err;
  if (r->buffer) {
    r->result = teg_stream_fill(r->stream, r->buffer, 0, SIZE, 7, &err);
  } else {
    r->result = teg_stream_submit(r->stream, NULL, &err);
  }
  return NULL;
}

// A thread that is not this one, alive until another has been started, so
// that its number is not given to anyone else.
static void on_a_thread(recorder* r) {
  tegi_thread thread;
  assert_int_equal(tegi_thread_create(&thread, record_there, r), TEG_OK);
  tegi_thread_join(&thread);
  assert_int_equal(r->result, TEG_OK);
}

static void nobody_submits_another_threads_stream(void** state) {
  scene* s = *state;
  teg_buffer* buffer = core_buffer_on(&s->fx, s->session, SIZE, s->b);
  recorder there = {s, s->b, buffer, TEG_OK};
  on_a_thread(&there);
  // A map would have to.
  CORE_EXPECT(&s->fx, TEG_BAD_STATE, map_of(s, buffer));
  core_expect_text(s->fx.err.message, "another thread");
  // So would a command of a new owner on another stream.
  teg_buffer_destroy(buffer);
  teg_buffer* fresh = core_buffer_on(&s->fx, s->session, SIZE, s->b);
  CORE_EXPECT(&s->fx, TEG_BAD_STATE,
              teg_stream_fill(s->a, fresh, 0, SIZE, 1, &s->fx.err));
  CORE_EXPECT(&s->fx, TEG_BAD_STATE,
              teg_stream_copy(s->a, fresh, 0, fresh, 8, 8, &s->fx.err));
  CORE_EXPECT(&s->fx, TEG_BAD_STATE,
              teg_buffer_used_on(fresh, s->a, &s->fx.err));
  assert_int_equal(serial_of(fresh, s->a), 0);
  // And the ladder, when memory is short.
  assert_int_equal(teg_null_set_budget(s->fx.backend, 0), TEG_OK);
  teg_buffer_params params = TEG_BUFFER_PARAMS_INIT;
  params.size = 2 * SIZE;
  params.stream = s->b;
  teg_buffer* none = NULL;
  CORE_EXPECT(&s->fx, TEG_OUT_OF_MEMORY,
              teg_buffer_create(s->session, &params, &none, &s->fx.err));
  assert_int_equal(teg_null_set_budget(s->fx.backend, UINT64_MAX), TEG_OK);
  assert_int_equal(teg_stream_submitted(s->b), 0);
  // Once its thread has submitted it, all is well.
  there.buffer = NULL;
  on_a_thread(&there);
  CORE_OK(&s->fx, teg_stream_fill(s->a, fresh, 0, SIZE, 1, &s->fx.err));
  core_expect_pattern(&s->fx, s->a, fresh, 1);
  teg_buffer_destroy(fresh);
}

// A batch that the library waits for may have failed: the program still
// learns of it, once.
static void an_error_found_by_the_library_is_kept(void** state) {
  scene* s = *state;
  teg_buffer* buffer = core_buffer(&s->fx, s->session, SIZE);
  test_argument argument = {buffer, 0, 0, false, true};
  CORE_OK(&s->fx, test_stream_call(s->fx.device, s->a, do_fail, NULL, &argument,
                                   1, &s->fx.err));
  CORE_OK(&s->fx, map_of(s, buffer));
  teg_buffer_unmap(buffer);
  CORE_EXPECT(&s->fx, TEG_IO, teg_stream_wait(s->a, 1, &s->fx.err));
  core_expect_text(s->fx.err.message, "batch 1");
  CORE_OK(&s->fx, teg_stream_wait(s->a, 1, &s->fx.err));
  teg_buffer_destroy(buffer);
}

// A wait that did not happen is not taken for one that did.
static void a_failed_wait_makes_nothing_idle(void** state) {
  scene* s = *state;
  teg_buffer* buffer = core_buffer(&s->fx, s->session, SIZE);
  core_fill(&s->fx, s->a, buffer, 1);
  const teg_result reasons[] = {TEG_DEVICE_ERROR, TEG_DEVICE_LOST};
  for (size_t i = 0; i < 2; i++) {
    assert_int_equal(
        teg_null_fail(s->fx.backend, TEG_NULL_WAIT, 1, 1, reasons[i]), TEG_OK);
    CORE_EXPECT(&s->fx, reasons[i], map_of(s, buffer));
    assert_int_equal(teg_stream_completed(s->a), 0);
    assert_int_equal(buffer->block.use.host_holds, 0);
    assert_int_equal(phase_of(s, buffer), TEGI_PHASE_SUBMITTED);
  }
  CORE_OK(&s->fx, map_of(s, buffer));
  assert_int_equal(*core_pointer(&s->fx, buffer), 1);
  teg_buffer_unmap(buffer);
  teg_buffer_destroy(buffer);
}

// ---- Host holds.

static void maps_are_counted_and_end_with_the_buffer(void** state) {
  scene* s = *state;
  teg_buffer* buffer = core_buffer(&s->fx, s->session, SIZE);
  teg_buffer_info info = core_info(buffer);
  CORE_OK(&s->fx, map_of(s, buffer));
  CORE_OK(&s->fx, map_of(s, buffer));
  assert_int_equal(buffer->block.use.host_holds, 2);
  teg_buffer_unmap(buffer);
  assert_int_equal(buffer->block.use.host_holds, 1);
  const tegi_write writes[] = {TEGI_WRITE_DEVICE, TEGI_WRITE_QUEUE,
                               TEGI_WRITE_HOST, TEGI_WRITE_REMAP};
  for (size_t i = 0; i < 4; i++) {
    assert_int_equal(tegi_device_check(s->fx.device, &buffer->block.use,
                                       writes[i], s->a->timeline.id),
                     TEGI_REUSE_NEVER);
  }
  teg_buffer_destroy(buffer);
  teg_buffer* fresh = core_buffer(&s->fx, s->session, SIZE);
  assert_true(is_same_memory(fresh, &info));
  assert_int_equal(fresh->block.use.host_holds, 0);
  teg_buffer_unmap(fresh);  // one too many does no harm
  assert_int_equal(fresh->block.use.host_holds, 0);
  teg_buffer_destroy(fresh);
}

// Tiles do not leave from under a pointer that the program holds.
static void a_mapped_buffer_does_not_shrink(void** state) {
  scene* s = *state;
  teg_buffer_params params = TEG_BUFFER_PARAMS_INIT;
  params.lifetime = TEG_LIFETIME_STATE;
  params.size = 4 * 65536;
  params.max_size = 8 * 65536;
  teg_buffer* buffer = NULL;
  CORE_OK(&s->fx, teg_buffer_create(s->session, &params, &buffer, &s->fx.err));
  assert_string_equal(core_info(buffer).policy, "tiled");
  CORE_OK(&s->fx, map_of(s, buffer));
  CORE_EXPECT(&s->fx, TEG_BAD_STATE,
              teg_buffer_resize(buffer, 65536, &s->fx.err));
  assert_int_equal(core_info(buffer).size, 4 * 65536);
  core_pointer(&s->fx, buffer)[4 * 65536 - 1] = 1;
  CORE_OK(&s->fx, teg_buffer_resize(buffer, 6 * 65536, &s->fx.err));
  core_pointer(&s->fx, buffer)[6 * 65536 - 1] = 1;
  teg_buffer_unmap(buffer);
  CORE_OK(&s->fx, teg_buffer_resize(buffer, 65536, &s->fx.err));
  core_validate(&s->fx, s->session);
  teg_buffer_destroy(buffer);
}

// ---- New owners.

// The new owner carries what it inherited until its own use covers it.
static void a_new_owner_inherits(void** state) {
  scene* s = *state;
  teg_buffer* buffer = core_buffer(&s->fx, s->session, SIZE);
  teg_buffer_info info = core_info(buffer);
  core_fill(&s->fx, s->a, buffer, 1);
  core_fill(&s->fx, s->b, buffer, 2);
  core_submit(&s->fx, s->b);
  teg_buffer_destroy(buffer);
  teg_buffer* heir = core_buffer(&s->fx, s->session, SIZE);
  assert_true(is_same_memory(heir, &info));
  assert_int_equal(serial_of(heir, s->a), 1);
  assert_int_equal(serial_of(heir, s->b), 1);
  assert_int_equal(phase_of(s, heir), TEGI_PHASE_RECORDED);
  core_submit(&s->fx, s->a);
  core_fill(&s->fx, s->a, heir, 3);
  assert_int_equal(serial_of(heir, s->a), 2);
  assert_int_equal(serial_of(heir, s->b), 1);
  teg_buffer_destroy(heir);
  // Handed out and freed unused, again and again.
  for (int i = 0; i < 3; i++) {
    heir = core_buffer(&s->fx, s->session, SIZE);
    assert_true(is_same_memory(heir, &info));
    assert_int_equal(serial_of(heir, s->a), 2);
    teg_buffer_destroy(heir);
  }
  core_finish(&s->fx, s->a);
}

static void a_command_elsewhere_submits_what_was_inherited(void** state) {
  scene* s = *state;
  teg_buffer* buffer = core_buffer(&s->fx, s->session, SIZE);
  core_fill(&s->fx, s->a, buffer, 1);
  teg_buffer_destroy(buffer);
  teg_buffer* heir = core_buffer(&s->fx, s->session, SIZE);
  // On the home stream nothing needs to be submitted.
  core_fill(&s->fx, s->a, heir, 2);
  assert_int_equal(teg_stream_submitted(s->a), 0);
  core_fill(&s->fx, s->b, heir, 3);
  assert_int_equal(teg_stream_submitted(s->a), 1);
  // Nor a second time, nor for what the buffer itself has recorded there.
  core_fill(&s->fx, s->a, heir, 4);
  CORE_OK(&s->fx,
          teg_stream_copy(s->b, heir, 0, heir, SIZE / 2, SIZE / 2, &s->fx.err));
  assert_int_equal(teg_stream_submitted(s->a), 1);
  core_finish(&s->fx, s->b);
  core_expect_pattern(&s->fx, s->a, heir, 4);
  teg_buffer_destroy(heir);
}

// ---- Stream ids.

static void stream_ids_are_never_reused(void** state) {
  scene* s = *state;
  tegi_stream_id last = s->b->timeline.id;
  for (int i = 0; i < 100; i++) {
    teg_stream* stream = NULL;
    CORE_OK(&s->fx, teg_stream_create(s->session, &stream, &s->fx.err));
    assert_true(stream->timeline.id > last);
    last = stream->timeline.id;
    teg_stream_destroy(stream);
  }
}

static void uses_of_a_stream_that_is_gone_are_over(void** state) {
  scene* s = *state;
  teg_stream* gone = NULL;
  CORE_OK(&s->fx, teg_stream_create(s->session, &gone, &s->fx.err));
  teg_buffer* submitted = core_buffer_on(&s->fx, s->session, SIZE, gone);
  teg_buffer* recorded = core_buffer_on(&s->fx, s->session, SIZE, gone);
  core_fill(&s->fx, gone, submitted, 1);
  core_submit(&s->fx, gone);
  core_fill(&s->fx, gone, recorded, 2);
  CORE_OK(&s->fx, teg_buffer_used_on(recorded, gone, &s->fx.err));
  teg_stream_destroy(gone);
  assert_int_equal(phase_of(s, submitted), TEGI_PHASE_IDLE);
  assert_int_equal(phase_of(s, recorded), TEGI_PHASE_IDLE);
  assert_int_equal(*core_pointer(&s->fx, submitted), 1);
  // Their home is the session's first stream now.
  CORE_OK(&s->fx, map_of(s, recorded));
  teg_buffer_unmap(recorded);
  teg_buffer_info info = core_info(recorded);
  teg_buffer_destroy(recorded);
  core_submit(&s->fx, s->a);
  teg_buffer* fresh = core_buffer_on(&s->fx, s->session, SIZE, s->b);
  assert_true(is_same_memory(fresh, &info));
  core_fill(&s->fx, s->b, fresh, 3);
  core_expect_pattern(&s->fx, s->b, fresh, 3);
  teg_buffer_destroy(fresh);
  teg_buffer_destroy(submitted);
}

// Commands touch the buffers of their own session only: another session's
// memory may go with it while they are recorded.
static void a_buffer_of_another_session_is_refused(void** state) {
  scene* s = *state;
  teg_session* other = core_session(&s->fx, "other", "policy=tiled;slack=0");
  teg_buffer* buffer = core_buffer(&s->fx, other, 65536);
  assert_int_equal(teg_stream_fill(s->a, buffer, 0, 64, 1, &s->fx.err),
                   TEG_INVALID);
  core_expect_text(s->fx.err.message, "\"other\"");
  // Nor by the CPU on the stream's behalf, though nothing uses it.
  uint32_t word = 1;
  teg_read* read;
  assert_int_equal(teg_stream_write(s->a, buffer, 0, &word, 4, &s->fx.err),
                   TEG_INVALID);
  core_expect_text(s->fx.err.message, "\"other\"");
  assert_int_equal(teg_stream_read(s->a, buffer, 0, &word, 4, &s->fx.err),
                   TEG_INVALID);
  assert_int_equal(teg_stream_read_begin(s->a, buffer, 0, 4, &read, &s->fx.err),
                   TEG_INVALID);
  assert_int_equal(teg_buffer_used_on(buffer, s->a, &s->fx.err), TEG_INVALID);
  teg_session_destroy(other);
  core_submit(&s->fx, s->a);
}

#define TEST(function) \
  cmocka_unit_test_setup_teardown(function, scene_begin, scene_end)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(commands_stamp_what_they_touch),
      TEST(refused_commands_do_not_stamp),
      TEST(a_command_that_cannot_stamp_is_not_recorded),
      TEST(foreign_buffers_are_stamped_at_their_end),
      TEST(naming_streams_without_host_memory),
      TEST(a_discarded_batch_gives_its_stamps_back),
      TEST(discarding_keeps_the_stamps_of_earlier_batches),
      TEST(a_batch_that_fails_to_submit_keeps_its_stamps),
      TEST(waiting_for_a_recorded_batch_is_refused),
      TEST(a_map_waits_for_its_own_stream_only),
      TEST(nobody_submits_another_threads_stream),
      TEST(an_error_found_by_the_library_is_kept),
      TEST(a_failed_wait_makes_nothing_idle),
      TEST(maps_are_counted_and_end_with_the_buffer),
      TEST(a_mapped_buffer_does_not_shrink),
      TEST(a_new_owner_inherits),
      TEST(a_command_elsewhere_submits_what_was_inherited),
      TEST(stream_ids_are_never_reused),
      TEST(uses_of_a_stream_that_is_gone_are_over),
      TEST(a_buffer_of_another_session_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
