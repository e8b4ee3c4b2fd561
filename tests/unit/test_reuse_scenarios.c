// SPDX-License-Identifier: Apache-2.0
//
// The rule of reuse through the public API, on the null device: batches run
// when they are waited for, a checker follows physical bytes, and fresh memory
// is poisoned. A scenario is one function that is run twice: with the rule on
// nothing may be reported and every byte must be right; with the rule off the
// same steps must end in a hazard or in wrong bytes.
#include <stdio.h>
#include <string.h>

#include "support/call.h"
#include "support/core_fixture.h"

enum { TILE = 65536, SIZE = 2 * TILE };

typedef struct scene {
  core_fixture fx;
  teg_session* session;
  teg_stream* a;  // the session's first
  teg_stream* b;
  teg_buffer* out;  // STATIC, SIZE bytes, written nowhere but in scenarios
  uint64_t hazard_count;
  uint64_t wrong_count;  // words that are not what they should be
} scene;

// ---- Steps. With the rule off a step may end in TEG_HAZARD, nothing else.

static void took(scene* s, teg_result result) {
  if (result == TEG_HAZARD && s->fx.device->timelines.is_rule_off) return;
  if (result != TEG_OK) print_error("%s\n", s->fx.err.message);
  assert_int_equal(result, TEG_OK);
}

static teg_buffer* make_of(scene* s, teg_stream* stream, uint64_t size,
                           teg_lifetime lifetime, teg_buffer_flags flags) {
  teg_buffer_params params = TEG_BUFFER_PARAMS_INIT;
  params.size = size;
  params.lifetime = lifetime;
  params.flags = flags;
  params.stream = stream;
  teg_buffer* buffer = NULL;
  took(s, teg_buffer_create(s->session, &params, &buffer, &s->fx.err));
  return buffer;
}

static teg_buffer* make(scene* s, teg_stream* stream, uint64_t size) {
  return make_of(s, stream, size, TEG_LIFETIME_RUN, TEG_BUFFER_NONE);
}

static void fill(scene* s, teg_stream* stream, teg_buffer* buffer,
                 uint32_t word) {
  uint64_t size = core_info(buffer).size;
  took(s, teg_stream_fill(stream, buffer, 0, size, word, &s->fx.err));
}

static void copy(scene* s, teg_stream* stream, teg_buffer* target,
                 uint64_t target_offset, teg_buffer* source, uint64_t size) {
  took(s, teg_stream_copy(stream, target, target_offset, source, 0, size,
                          &s->fx.err));
}

static void submit(scene* s, teg_stream* stream) {
  took(s, teg_stream_submit(stream, NULL, &s->fx.err));
}

static void wait(scene* s, teg_stream* stream) {
  took(s, teg_stream_wait(stream, teg_stream_submitted(stream), &s->fx.err));
}

static void finish(scene* s, teg_stream* stream) {
  submit(s, stream);
  wait(s, stream);
}

// The CPU writes |word| to all of a buffer. As teg_buffer_map() waits for the
// device, this is where a scenario's own batch may be submitted.
static void store(scene* s, teg_buffer* buffer, uint32_t word) {
  void* pointer = NULL;
  took(s, teg_buffer_map(buffer, &pointer, &s->fx.err));
  if (!pointer) {
    // The checker's refusal. What a program would have written, all the same.
    pointer = core_pointer(&s->fx, buffer);
    for (uint64_t i = 0; i < core_info(buffer).size / 4; i++) {
      ((uint32_t*)pointer)[i] = word;
    }
    return;
  }
  for (uint64_t i = 0; i < core_info(buffer).size / 4; i++) {
    ((uint32_t*)pointer)[i] = word;
  }
  teg_buffer_unmap(buffer);
}

// The program writes |word| to all of a buffer, in its place in the stream.
static void write_words(scene* s, teg_stream* stream, teg_buffer* buffer,
                        uint32_t word) {
  static uint32_t words[SIZE / 4];
  uint64_t size = core_info(buffer).size;
  for (uint64_t i = 0; i < size / 4; i++) words[i] = word;
  took(s, teg_stream_write(stream, buffer, 0, words, size, &s->fx.err));
}

// Everything that could write is over: |size| bytes at |offset| must be
// |word|.
static void expect_at(scene* s, teg_buffer* buffer, uint64_t offset,
                      uint64_t size, uint32_t word) {
  const uint8_t* bytes = core_pointer(&s->fx, buffer) + offset;
  for (uint64_t i = 0; i < size; i += 4) {
    uint32_t found;
    memcpy(&found, bytes + i, 4);
    s->wrong_count += found != word;
  }
}

static void expect(scene* s, teg_buffer* buffer, uint32_t word) {
  expect_at(s, buffer, 0, core_info(buffer).size, word);
}

static uint64_t hazards(scene* s) {
  teg_null_report report = TEG_NULL_REPORT_INIT;
  assert_int_equal(teg_null_get_report(s->fx.backend, &report), TEG_OK);
  bool is_surprise =
      report.hazard_count && !s->fx.device->timelines.is_rule_off;
  if (is_surprise) print_error("%s\n", report.first_hazard);
  return report.hazard_count;
}

// ---- Running a scenario twice.

typedef struct scenario {
  const char* name;
  void (*run)(scene* s);
  const char* policies;  // those that keep memory in the way it is about
} scenario;

typedef struct scenario_case {
  const scenario* scenario;
  char policy[16];
  char name[128];
} scenario_case;

static void scene_open(scene* s, const char* policy) {
  char options[64];
  snprintf(options, sizeof options, "policy=%s;slack=0", policy);
  memset(s, 0, sizeof *s);
  core_open(&s->fx, "null", "tile_bytes=64KiB;heap_min=64KiB");
  s->session = core_session(&s->fx, "scene", options);
  s->a = teg_session_stream(s->session);
  CORE_OK(&s->fx, teg_stream_create(s->session, &s->b, &s->fx.err));
  s->out = core_buffer_of(&s->fx, s->session, SIZE, TEG_LIFETIME_STATIC);
}

static void scene_close(scene* s) {
  s->fx.device->timelines.is_rule_off = false;
  core_validate(&s->fx, s->session);
  core_close(&s->fx);
}

static void play(const scenario_case* c, bool is_rule_off) {
  static scene s;
  scene_open(&s, c->policy);
  s.fx.device->timelines.is_rule_off = is_rule_off;
  c->scenario->run(&s);
  s.hazard_count = hazards(&s);
  if (is_rule_off) {
    if (s.hazard_count + s.wrong_count == 0) {
      fail_msg("the rule is off, and nothing went wrong");
    }
  } else {
    assert_int_equal(s.hazard_count, 0);
    assert_int_equal(s.wrong_count, 0);
    // Nor does anything that is left over at the end.
    teg_session_destroy(s.session);
    assert_int_equal(hazards(&s), 0);
    core_close(&s.fx);
    return;
  }
  scene_close(&s);
}

static void run_case(void** state) {
  play(*state, false);
  play(*state, true);
}

#define KEEPING "lazy simple bucket dynamic paged exclusive tiled planned"
#define ALL "disabled " KEEPING

// ---- Another stream's recorded batch.

// Stream b writes |fresh| and is submitted before a's batch, which still holds
// what the bytes were used for before.
static void write_on_b(scene* s, teg_buffer* fresh) {
  fill(s, s->b, fresh, 2);
  submit(s, s->b);
  submit(s, s->a);
  wait(s, s->a);
  wait(s, s->b);
  expect(s, fresh, 2);
  teg_buffer_destroy(fresh);
}

// A buffer recorded on one stream is freed; its bytes go to a buffer of
// another stream only once the batch is submitted.
static void recorded_elsewhere(scene* s) {
  teg_buffer* old = make(s, s->a, SIZE);
  fill(s, s->a, old, 1);
  teg_buffer_destroy(old);
  teg_buffer* fresh = make(s, s->b, SIZE);
  write_on_b(s, fresh);
}

// Handed out on its own stream and freed unused it has not become idle.
static void unused_in_between(scene* s) {
  teg_buffer* old = make(s, s->a, SIZE);
  fill(s, s->a, old, 1);
  teg_buffer_destroy(old);
  teg_buffer* idler = make(s, s->a, SIZE);
  teg_buffer_destroy(idler);
  teg_buffer* fresh = make(s, s->b, SIZE);
  write_on_b(s, fresh);
}

// A new owner inherits what its own stream has recorded on the bytes: another
// stream that writes them does not overtake it.
static void inherited_and_used_elsewhere(scene* s) {
  teg_buffer* old = make(s, s->a, SIZE);
  fill(s, s->a, old, 1);
  teg_buffer_destroy(old);
  teg_buffer* fresh = make(s, s->a, SIZE);
  write_on_b(s, fresh);
}

// ---- The CPU.

// cubecl 1.5: a launch is recorded on a range, its buffer freed, and the range
// handed to a write of the CPU before the launch has run.
static void cpu_after_recorded(scene* s) {
  teg_buffer* old = make(s, s->a, SIZE);
  fill(s, s->a, old, 1);
  copy(s, s->a, s->out, 0, old, SIZE);
  teg_buffer_destroy(old);
  teg_buffer* fresh = make(s, s->a, SIZE);
  store(s, fresh, 2);
  finish(s, s->a);
  expect(s, s->out, 1);
  expect(s, fresh, 2);
  teg_buffer_destroy(fresh);
}

static void cpu_after_submitted(scene* s) {
  teg_buffer* old = make(s, s->a, SIZE);
  fill(s, s->a, old, 1);
  copy(s, s->a, s->out, 0, old, SIZE);
  submit(s, s->a);
  teg_buffer_destroy(old);
  teg_buffer* fresh = make(s, s->b, SIZE);
  store(s, fresh, 2);
  wait(s, s->a);
  expect(s, s->out, 1);
  expect(s, fresh, 2);
  teg_buffer_destroy(fresh);
}

// cubecl 1.6, #83: W R W R into one live buffer becomes W W R R.
static void cpu_twice_into_a_live_buffer(scene* s) {
  teg_buffer* buffer = make(s, s->a, TILE);
  store(s, buffer, 1);
  copy(s, s->a, s->out, 0, buffer, TILE);
  store(s, buffer, 2);
  copy(s, s->a, s->out, TILE, buffer, TILE);
  finish(s, s->a);
  expect_at(s, s->out, 0, TILE, 1);
  expect_at(s, s->out, TILE, TILE, 2);
  teg_buffer_destroy(buffer);
}

// cubecl 1.6, #83 again: the target of a copy is a use as well.
static void cpu_after_copy_target(scene* s) {
  fill(s, s->a, s->out, 1);
  teg_buffer* old = make(s, s->a, SIZE);
  copy(s, s->a, old, 0, s->out, SIZE);
  teg_buffer_destroy(old);
  teg_buffer* fresh = make(s, s->a, SIZE);
  store(s, fresh, 2);
  finish(s, s->a);
  expect(s, fresh, 2);
  teg_buffer_destroy(fresh);
}

static teg_result add_word(void* user, void* const* pointers,
                           const uint64_t* sizes, uint32_t binding_count) {
  const uint32_t* index = user;
  const uint32_t* argument = pointers[1];
  ((uint32_t*)pointers[0])[*index] += argument[0];
  return TEG_OK;
}

static void call_add(scene* s, uint32_t* index, teg_buffer* argument) {
  test_argument arguments[] = {
      {s->out, 0, SIZE, true, true},
      {argument, 0, 0, true, false},
  };
  took(s, test_stream_call(s->fx.device, s->a, add_word, index, arguments, 2,
                           &s->fx.err));
}

// cubecl 1.6, #156: a buffer that a launch reads its arguments from.
static void cpu_after_call_argument(scene* s) {
  uint32_t index = 3;
  fill(s, s->a, s->out, 0);
  teg_buffer* old = make(s, s->a, SIZE);
  store(s, old, 5);
  call_add(s, &index, old);
  teg_buffer_destroy(old);
  teg_buffer* fresh = make(s, s->a, SIZE);
  store(s, fresh, 9);
  finish(s, s->a);
  expect_at(s, s->out, 12, 4, 5);
  teg_buffer_destroy(fresh);
}

// cubecl 1.6, #814: every launch has parameters of its own, written by the CPU
// and freed after the launch is recorded, in one batch.
static void cpu_writes_parameters_of_each_launch(scene* s) {
  enum { LAUNCHES = 40 };
  uint32_t indices[LAUNCHES];
  fill(s, s->a, s->out, 0);
  for (uint32_t i = 0; i < LAUNCHES; i++) {
    indices[i] = i;
    teg_buffer* params =
        make_of(s, s->a, 256, TEG_LIFETIME_PARAMS, TEG_BUFFER_NONE);
    store(s, params, 100 + i);
    call_add(s, &indices[i], params);
    teg_buffer_destroy(params);
  }
  finish(s, s->a);
  for (uint32_t i = 0; i < LAUNCHES; i++) {
    expect_at(s, s->out, 4 * i, 4, 100 + i);
  }
}

// cubecl 1.6, #1204: hundreds of tensors are loaded through staging buffers
// without a submit of the program's.
static void cpu_loads_many_tensors(scene* s) {
  enum { TENSORS = 300, BYTES = 1024 };
  static teg_buffer* tensors[TENSORS];
  for (uint32_t i = 0; i < TENSORS; i++) {
    tensors[i] = make_of(s, s->a, BYTES, TEG_LIFETIME_STATIC, TEG_BUFFER_NONE);
    teg_buffer* staging =
        make_of(s, s->a, BYTES, TEG_LIFETIME_STAGING, TEG_BUFFER_NONE);
    store(s, staging, i + 1);
    copy(s, s->a, tensors[i], 0, staging, BYTES);
    teg_buffer_destroy(staging);
  }
  finish(s, s->a);
  for (uint32_t i = 0; i < TENSORS; i++) expect(s, tensors[i], i + 1);
  for (uint32_t i = 0; i < TENSORS; i++) teg_buffer_destroy(tensors[i]);
}

// ---- The same with writes that take their place in the stream.

static void write_after_recorded(scene* s) {
  teg_buffer* old = make(s, s->a, SIZE);
  fill(s, s->a, old, 1);
  copy(s, s->a, s->out, 0, old, SIZE);
  teg_buffer_destroy(old);
  teg_buffer* fresh = make(s, s->a, SIZE);
  write_words(s, s->a, fresh, 2);
  finish(s, s->a);
  expect(s, s->out, 1);
  expect(s, fresh, 2);
  teg_buffer_destroy(fresh);
}

// W R W R again.
static void write_twice_into_a_live_buffer(scene* s) {
  teg_buffer* buffer = make(s, s->a, TILE);
  write_words(s, s->a, buffer, 1);
  copy(s, s->a, s->out, 0, buffer, TILE);
  write_words(s, s->a, buffer, 2);
  copy(s, s->a, s->out, TILE, buffer, TILE);
  finish(s, s->a);
  expect_at(s, s->out, 0, TILE, 1);
  expect_at(s, s->out, TILE, TILE, 2);
  teg_buffer_destroy(buffer);
}

static void write_parameters_of_each_launch(scene* s) {
  enum { LAUNCHES = 40 };
  uint32_t indices[LAUNCHES];
  fill(s, s->a, s->out, 0);
  for (uint32_t i = 0; i < LAUNCHES; i++) {
    indices[i] = i;
    teg_buffer* params =
        make_of(s, s->a, 256, TEG_LIFETIME_PARAMS, TEG_BUFFER_NONE);
    write_words(s, s->a, params, 100 + i);
    call_add(s, &indices[i], params);
    teg_buffer_destroy(params);
  }
  finish(s, s->a);
  for (uint32_t i = 0; i < LAUNCHES; i++) {
    expect_at(s, s->out, 4 * i, 4, 100 + i);
  }
}

// Written on another stream than the one that has used the bytes.
static void write_elsewhere(scene* s) {
  teg_buffer* old = make(s, s->a, SIZE);
  fill(s, s->a, old, 1);
  teg_buffer_destroy(old);
  teg_buffer* fresh = make(s, s->a, SIZE);
  write_words(s, s->b, fresh, 2);
  submit(s, s->b);
  submit(s, s->a);
  wait(s, s->a);
  wait(s, s->b);
  expect(s, fresh, 2);
  teg_buffer_destroy(fresh);
}

// ---- Uses that tegula cannot see.

// What a program does with a native handle: past the library, under the nose
// of the checker.
static void native_fill(scene* s, teg_stream* stream, teg_buffer* buffer,
                        uint32_t word) {
  teg_span span = {buffer->block.extent->memory, buffer->block.offset,
                   buffer->size, buffer->number};
  took(s, s->fx.device->tables.queue->record_fill(stream->queue, &span, word,
                                                  &s->fx.err));
}

static void fresh_on_b_after_a(scene* s, teg_buffer* old) {
  teg_buffer_destroy(old);
  teg_buffer* fresh = make(s, s->b, SIZE);
  write_on_b(s, fresh);
}

static void foreign_on_its_home_stream(scene* s) {
  teg_buffer* old =
      make_of(s, s->a, SIZE, TEG_LIFETIME_RUN, TEG_BUFFER_FOREIGN);
  submit(s, s->a);  // what was stamped at creation is not enough
  native_fill(s, s->a, old, 1);
  fresh_on_b_after_a(s, old);
}

static void foreign_on_a_named_stream(scene* s) {
  teg_buffer* old = make(s, s->b, SIZE);
  took(s, teg_buffer_used_on(old, s->a, &s->fx.err));
  finish(s, s->a);
  native_fill(s, s->a, old, 1);
  fresh_on_b_after_a(s, old);
}

// A buffer that names a stream is foreign on its home stream as well.
static void foreign_by_name_on_its_home_stream(scene* s) {
  teg_buffer* old = make(s, s->a, SIZE);
  took(s, teg_buffer_used_on(old, s->b, &s->fx.err));
  finish(s, s->b);
  native_fill(s, s->a, old, 1);
  fresh_on_b_after_a(s, old);
}

// ---- Giving memory back.

// Memory goes back to the driver, by whatever way, only when it is idle.
static void trim_of_busy_memory(scene* s) {
  teg_buffer* old = make(s, s->a, SIZE);
  fill(s, s->a, old, 1);
  copy(s, s->a, s->out, 0, old, SIZE);
  teg_buffer_destroy(old);
  (void)teg_session_trim(s->session, TEG_TRIM_FREE);
  (void)teg_device_trim(s->fx.device, TEG_TRIM_FREE);
  submit(s, s->a);
  (void)teg_session_trim(s->session, TEG_TRIM_FREE);
  (void)teg_device_trim(s->fx.device, TEG_TRIM_FREE);
  wait(s, s->a);
  expect(s, s->out, 1);
}

static void dedicated_memory_goes_when_idle(scene* s) {
  teg_buffer* old =
      make_of(s, s->a, SIZE, TEG_LIFETIME_RUN, TEG_BUFFER_DEDICATED);
  fill(s, s->a, old, 1);
  copy(s, s->a, s->out, 0, old, SIZE);
  teg_buffer_destroy(old);
  submit(s, s->a);
  submit(s, s->b);
  wait(s, s->a);
  expect(s, s->out, 1);
}

// What one session has freed goes to another, with its uses.
static void lent_to_another_session(scene* s) {
  teg_session* other = core_session(&s->fx, "other", "policy=simple");
  took(s, teg_session_run_begin(s->session, &s->fx.err));
  teg_buffer* old = make(s, s->a, SIZE);
  fill(s, s->a, old, 1);
  copy(s, s->a, s->out, 0, old, SIZE);
  submit(s, s->a);
  teg_buffer_destroy(old);
  took(s, teg_session_run_end(s->session, &s->fx.err));
  teg_buffer* fresh = core_buffer(&s->fx, other, SIZE);
  store(s, fresh, 2);
  wait(s, s->a);
  expect(s, s->out, 1);
  expect(s, fresh, 2);
  teg_buffer_destroy(fresh);
  // And not at all while it is only recorded.
  took(s, teg_session_run_begin(s->session, &s->fx.err));
  old = make(s, s->a, SIZE);
  fill(s, s->a, old, 3);
  teg_buffer_destroy(old);
  took(s, teg_session_run_end(s->session, &s->fx.err));
  fresh = core_buffer(&s->fx, other, SIZE);
  teg_stream* stream = teg_session_stream(other);
  fill(s, stream, fresh, 4);
  finish(s, stream);
  finish(s, s->a);
  expect(s, fresh, 4);
  teg_buffer_destroy(fresh);
}

// ---- Tiles.

// Tiles of a hole are moved under another address only when nothing that is
// recorded or submitted uses them.
static void tiles_of_recorded_holes(scene* s) {
  teg_buffer* first = make(s, s->a, 4 * TILE);
  teg_buffer* between = make(s, s->a, 4 * TILE);
  teg_buffer* last = make(s, s->a, 4 * TILE);
  fill(s, s->a, first, 1);
  fill(s, s->a, between, 2);
  fill(s, s->a, last, 3);
  copy(s, s->a, s->out, 0, first, TILE);
  copy(s, s->a, s->out, TILE, last, TILE);
  teg_buffer_destroy(first);
  teg_buffer_destroy(last);
  teg_buffer* large = make(s, s->a, 8 * TILE);
  fill(s, s->a, large, 4);
  finish(s, s->a);
  expect_at(s, s->out, 0, TILE, 1);
  expect_at(s, s->out, TILE, TILE, 3);
  expect(s, between, 2);
  expect(s, large, 4);
  teg_buffer_destroy(between);
  teg_buffer_destroy(large);
}

static void tiles_of_submitted_holes(scene* s) {
  teg_buffer* first = make(s, s->a, 4 * TILE);
  teg_buffer* between = make(s, s->a, 4 * TILE);
  fill(s, s->a, first, 1);
  copy(s, s->a, s->out, 0, first, SIZE);
  submit(s, s->a);
  teg_buffer_destroy(first);
  teg_buffer* large = make(s, s->b, 6 * TILE);
  fill(s, s->b, large, 4);
  finish(s, s->b);
  wait(s, s->a);
  expect(s, s->out, 1);
  expect(s, large, 4);
  teg_buffer_destroy(between);
  teg_buffer_destroy(large);
}

// A tile's uses are those of all the blocks that lie over it.
static void tile_of_two_blocks(scene* s) {
  teg_buffer* one = make(s, s->a, TILE / 4);
  teg_buffer* two = make(s, s->a, TILE / 4);
  fill(s, s->b, one, 1);
  copy(s, s->b, s->out, 0, one, TILE / 4);
  submit(s, s->b);
  fill(s, s->a, two, 2);
  finish(s, s->a);
  // The first is still on its way when its tile is wanted elsewhere: with two
  // streams on one queue it would be complete by now.
  fill(s, s->b, one, 3);
  copy(s, s->b, s->out, TILE / 4, one, TILE / 4);
  submit(s, s->b);
  teg_buffer_destroy(one);
  teg_buffer_destroy(two);
  teg_buffer* large = make(s, s->a, TILE);
  fill(s, s->a, large, 4);
  finish(s, s->a);
  wait(s, s->b);
  expect_at(s, s->out, 0, TILE / 4, 1);
  expect_at(s, s->out, TILE / 4, TILE / 4, 3);
  expect(s, large, 4);
  teg_buffer_destroy(large);
}

// A buffer that shrinks lets go of tiles that its commands still use.
static void tiles_of_a_shrinking_buffer(scene* s) {
  teg_buffer_params params = TEG_BUFFER_PARAMS_INIT;
  params.size = 6 * TILE;
  params.max_size = 8 * TILE;
  params.lifetime = TEG_LIFETIME_STATE;
  teg_buffer* state = NULL;
  took(s, teg_buffer_create(s->session, &params, &state, &s->fx.err));
  fill(s, s->a, state, 1);
  copy(s, s->a, s->out, 0, state, SIZE);
  took(s, teg_buffer_resize(state, TILE, &s->fx.err));
  finish(s, s->a);
  expect(s, s->out, 1);
  expect_at(s, state, 0, TILE, 1);
  teg_buffer_destroy(state);
}

// ---- The list.

static const scenario scenarios[] = {
    {"recorded_elsewhere", recorded_elsewhere, ALL},
    {"unused_in_between", unused_in_between, ALL},
    {"inherited_and_used_elsewhere", inherited_and_used_elsewhere, KEEPING},
    {"cpu_after_recorded", cpu_after_recorded, ALL},
    {"cpu_after_submitted", cpu_after_submitted, ALL},
    {"cpu_twice_into_a_live_buffer", cpu_twice_into_a_live_buffer, ALL},
    {"cpu_after_copy_target", cpu_after_copy_target, ALL},
    {"cpu_after_call_argument", cpu_after_call_argument, ALL},
    {"cpu_writes_parameters_of_each_launch",
     cpu_writes_parameters_of_each_launch, ALL},
    {"cpu_loads_many_tensors", cpu_loads_many_tensors, ALL},
    {"write_after_recorded", write_after_recorded, KEEPING},
    {"write_twice_into_a_live_buffer", write_twice_into_a_live_buffer, ALL},
    {"write_parameters_of_each_launch", write_parameters_of_each_launch, ALL},
    {"write_elsewhere", write_elsewhere, KEEPING},
    {"foreign_on_its_home_stream", foreign_on_its_home_stream, ALL},
    {"foreign_on_a_named_stream", foreign_on_a_named_stream, ALL},
    {"foreign_by_name_on_its_home_stream", foreign_by_name_on_its_home_stream,
     ALL},
    {"trim_of_busy_memory", trim_of_busy_memory, ALL},
    {"dedicated_memory_goes_when_idle", dedicated_memory_goes_when_idle, ALL},
    {"lent_to_another_session", lent_to_another_session, "simple"},
    {"tiles_of_recorded_holes", tiles_of_recorded_holes, "tiled planned"},
    {"tiles_of_submitted_holes", tiles_of_submitted_holes, "tiled planned"},
    {"tile_of_two_blocks", tile_of_two_blocks, "tiled planned"},
    {"tiles_of_a_shrinking_buffer", tiles_of_a_shrinking_buffer,
     "tiled planned"},
};

int main(void) {
  enum { COUNT = sizeof scenarios / sizeof *scenarios, MOST = COUNT * 9 };
  static scenario_case cases[MOST];
  static struct CMUnitTest list[MOST];
  size_t count = 0;
  for (size_t i = 0; i < COUNT; i++) {
    const char* at = scenarios[i].policies;
    while (*at) {
      scenario_case* c = &cases[count];
      size_t length = strcspn(at, " ");
      c->scenario = &scenarios[i];
      memcpy(c->policy, at, length);
      snprintf(c->name, sizeof c->name, "%s/%.*s", scenarios[i].name,
               (int)length, at);
      list[count++] = (struct CMUnitTest){
          .name = c->name, .test_func = run_case, .initial_state = c};
      at += length + strspn(at + length, " ");
    }
  }
  return _cmocka_run_group_tests("scenarios", list, count, NULL, NULL);
}
