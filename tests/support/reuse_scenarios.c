// SPDX-License-Identifier: Apache-2.0
#include "support/reuse_scenarios.h"

#include <stdio.h>
#include <string.h>

#include "backend/check/check_wrap.h"
#include "support/core_fixture.h"

enum { TILE = 65536, SIZE = 2 * TILE };

typedef struct scene {
  const reuse_setup* setup;
  core_fixture fx;
  teg_kernel* add;  // of kernel_scene.comp
  teg_session* session;
  teg_stream* a;  // the session's first
  teg_stream* b;
  teg_buffer* out;       // STATIC, SIZE bytes, written nowhere but in scenarios
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

static uint64_t hazards(scene* s) {
  teg_check_report report = TEG_CHECK_REPORT_INIT;
  CORE_OK(&s->fx,
          teg_device_get_check_report(s->fx.device, &report, &s->fx.err));
  bool is_surprise =
      report.hazard_count && !s->fx.device->timelines.is_rule_off;
  if (is_surprise) print_error("%s\n", report.first_hazard);
  return report.hazard_count;
}

static bool must_drop(scene* s) {
  return s->setup->is_driver_real && s->fx.device->timelines.is_rule_off &&
         hazards(s) > 0;
}

static void submit(scene* s, teg_stream* stream) {
  if (must_drop(s)) {
    took(s, teg_stream_discard(stream, &s->fx.err));
    return;
  }
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
  while (size > 0) {
    uint64_t piece = 0;
    const uint8_t* bytes = core_pointer_at(&s->fx, buffer, offset, &piece);
    piece = piece < size ? piece : size;
    for (uint64_t i = 0; i < piece; i += 4) {
      uint32_t found;
      memcpy(&found, bytes + i, 4);
      s->wrong_count += found != word;
    }
    offset += piece;
    size -= piece;
  }
}

static void expect(scene* s, teg_buffer* buffer, uint32_t word) {
  expect_at(s, buffer, 0, core_info(buffer).size, word);
}

static teg_result run_add(const teg_invocation* invocation) {
  uint32_t index;
  memcpy(&index, invocation->parameters, sizeof index);
  const uint32_t* groups = invocation->group_count;
  const uint32_t* argument = invocation->pointers[1];
  uint32_t* sums = invocation->pointers[0];
  sums[index] += groups[0] * groups[1] * groups[2] * argument[0];
  return TEG_OK;
}

static teg_kernel* make_add(scene* s) {
  static const teg_access accesses[] = {TEG_ACCESS_READ_WRITE, TEG_ACCESS_READ};
  teg_kernel_params params = TEG_KERNEL_PARAMS_INIT;
  params.name = "add";
  params.function = run_add;
  params.spirv = s->setup->spirv;
  params.spirv_bytes = s->setup->spirv_bytes;
  params.bindings = accesses;
  params.binding_count = 2;
  params.parameter_bytes = sizeof(uint32_t);
  teg_kernel* kernel;
  CORE_OK(&s->fx,
          teg_kernel_create(s->fx.device, &params, &kernel, &s->fx.err));
  return kernel;
}

// ---- Running a scenario twice.

typedef struct scenario {
  const char* name;
  void (*run)(scene* s);
  const char* policies;  // those that keep memory in the way it is about
} scenario;

typedef struct scenario_case {
  const reuse_setup* setup;
  const scenario* scenario;
  char policy[16];
  char name[128];
} scenario_case;

// Where tiles cannot be mapped, what is about mapping has them in heaps.
static bool needs_heaps(const scenario_case* c) {
  return c->setup->is_range_unmappable &&
         strncmp(c->scenario->name, "cpu_", 4) == 0;
}

static void scene_open(scene* s, const scenario_case* c) {
  memset(s, 0, sizeof *s);
  s->setup = c->setup;
  char options[128];
  snprintf(options, sizeof options, "%s%s", c->setup->options,
           needs_heaps(c) ? ";remap=off" : "");
  core_open(&s->fx, c->setup->backend, options);
  snprintf(options, sizeof options, "policy=%s;slack=0", c->policy);
  s->session = core_session(&s->fx, "scene", options);
  s->a = teg_session_stream(s->session);
  CORE_OK(&s->fx, teg_stream_create(s->session, &s->b, &s->fx.err));
  s->out = core_buffer_of(&s->fx, s->session, SIZE, TEG_LIFETIME_STATIC);
  s->add = make_add(s);
}

static void scene_close(scene* s) {
  s->fx.device->timelines.is_rule_off = false;
  teg_buffer_destroy(s->out);
  teg_session_destroy(s->session);
  teg_kernel_destroy(s->add);
}

// With the rule off memory goes while commands use it, which a real driver need
// not survive: there it goes when the scene is over.
static struct {
  teg_backend_device* inner;
  teg_backend_tables real;
  teg_device_ops device_ops;
  teg_remap_ops remap_ops;
  teg_memory* memories[1024];
  teg_memory* ranges[1024];
  uint32_t memory_count;
  uint32_t range_count;
} late;

static void keep_memory(teg_backend_device* device, teg_memory* memory) {
  assert_true(late.memory_count < 1024);
  late.memories[late.memory_count++] = memory;
}

static void keep_range(teg_backend_device* device, teg_memory* range) {
  assert_true(late.range_count < 1024);
  late.ranges[late.range_count++] = range;
}

static void keep_what_goes(teg_backend_device* inner) {
  late.inner = inner;
  late.real = inner->tables;
  late.memory_count = late.range_count = 0;
  late.device_ops = *inner->tables.device;
  late.device_ops.memory_destroy = keep_memory;
  inner->tables.device = &late.device_ops;
  if (!inner->tables.remap) return;
  late.remap_ops = *inner->tables.remap;
  late.remap_ops.range_release = keep_range;
  inner->tables.remap = &late.remap_ops;
}

static void let_go(void) {
  teg_backend_device* inner = late.inner;
  inner->tables = late.real;
  for (uint32_t i = 0; i < late.range_count; i++) {
    late.real.remap->range_release(inner, late.ranges[i]);
  }
  for (uint32_t i = 0; i < late.memory_count; i++) {
    late.real.device->memory_destroy(inner, late.memories[i]);
  }
}

static void play(const scenario_case* c, bool is_rule_off) {
  static scene s;
  scene_open(&s, c);
  bool is_late = is_rule_off && s.setup->is_driver_real;
  if (is_late) keep_what_goes(tegi_check_inner(s.fx.backend));
  s.fx.device->timelines.is_rule_off = is_rule_off;
  c->scenario->run(&s);
  uint64_t hazard_count = hazards(&s);
  core_validate(&s.fx, s.session);
  scene_close(&s);
  if (is_rule_off) {
    if (hazard_count == 0) {
      fail_msg(
          "the rule is off, and the checker reports nothing; %llu words "
          "are wrong",
          (unsigned long long)s.wrong_count);
    }
  } else {
    // Nor does anything that is left over at the end.
    assert_int_equal(hazards(&s), 0);
    assert_int_equal(s.wrong_count, 0);
    if (s.setup->is_driver_real) assert_string_equal(s.fx.log, "");
  }
  // What core still has goes with the device.
  (void)teg_device_trim(s.fx.device, TEG_TRIM_ALL);
  if (is_late) let_go();
  core_close(&s.fx);
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

// Word |index| of |out| is raised by |argument|, once for each group.
static void launch(scene* s, uint32_t index, teg_buffer* argument,
                   teg_buffer* counts) {
  static const uint32_t once[3] = {1, 1, 1};
  const teg_argument arguments[] = {{s->out, 0, SIZE}, {argument, 0, 0}};
  if (counts) {
    took(s, teg_stream_dispatch_indirect(s->a, s->add, arguments, 2, &index,
                                         counts, 0, &s->fx.err));
  } else {
    took(s, teg_stream_dispatch(s->a, s->add, arguments, 2, &index, once,
                                &s->fx.err));
  }
}

static void cpu_after_argument(scene* s) {
  fill(s, s->a, s->out, 0);
  teg_buffer* old = make(s, s->a, SIZE);
  store(s, old, 5);
  launch(s, 3, old, NULL);
  teg_buffer_destroy(old);
  teg_buffer* fresh = make(s, s->a, SIZE);
  store(s, fresh, 9);
  finish(s, s->a);
  expect_at(s, s->out, 12, 4, 5);
  teg_buffer_destroy(fresh);
}

// Counts that no command has touched yet: only the launch uses them.
static teg_buffer* counts_of_launch(scene* s, teg_buffer* argument) {
  fill(s, s->a, s->out, 0);
  teg_buffer* counts = make(s, s->a, SIZE);
  write_words(s, s->a, counts, 2);
  write_words(s, s->a, argument, 5);
  launch(s, 3, argument, counts);
  return counts;
}

// cubecl 1.6, #156: the buffer that a launch reads its counts from.
static void cpu_after_indirect_counts(scene* s) {
  teg_buffer* argument = make(s, s->a, 256);
  teg_buffer_destroy(counts_of_launch(s, argument));
  teg_buffer* fresh = make(s, s->a, SIZE);
  store(s, fresh, 3);
  finish(s, s->a);
  expect_at(s, s->out, 12, 4, 8 * 5);
  expect(s, fresh, 3);
  teg_buffer_destroy(fresh);
  teg_buffer_destroy(argument);
}

// cubecl 1.6, #814: every launch has parameters of its own, written by the CPU
// and freed after the launch is recorded, in one batch.
static void cpu_writes_parameters_of_each_launch(scene* s) {
  enum { LAUNCHES = 40 };
  fill(s, s->a, s->out, 0);
  for (uint32_t i = 0; i < LAUNCHES; i++) {
    teg_buffer* params =
        make_of(s, s->a, 256, TEG_LIFETIME_PARAMS, TEG_BUFFER_NONE);
    store(s, params, 100 + i);
    launch(s, i, params, NULL);
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
  fill(s, s->a, s->out, 0);
  for (uint32_t i = 0; i < LAUNCHES; i++) {
    teg_buffer* params =
        make_of(s, s->a, 256, TEG_LIFETIME_PARAMS, TEG_BUFFER_NONE);
    write_words(s, s->a, params, 100 + i);
    launch(s, i, params, NULL);
    teg_buffer_destroy(params);
  }
  finish(s, s->a);
  for (uint32_t i = 0; i < LAUNCHES; i++) {
    expect_at(s, s->out, 4 * i, 4, 100 + i);
  }
}

// cubecl 1.6, #1204 again: into one live buffer that each launch reads.
static void write_hundreds_of_times(scene* s) {
  enum { LAUNCHES = 300 };
  fill(s, s->a, s->out, 0);
  teg_buffer* argument = make(s, s->a, 256);
  for (uint32_t i = 0; i < LAUNCHES; i++) {
    write_words(s, s->a, argument, i + 1);
    launch(s, i, argument, NULL);
  }
  finish(s, s->a);
  for (uint32_t i = 0; i < LAUNCHES; i++) expect_at(s, s->out, 4 * i, 4, i + 1);
  teg_buffer_destroy(argument);
}

static void write_after_indirect_counts(scene* s) {
  teg_buffer* argument = make(s, s->a, 256);
  teg_buffer_destroy(counts_of_launch(s, argument));
  teg_buffer* fresh = make(s, s->a, SIZE);
  write_words(s, s->a, fresh, 3);
  finish(s, s->a);
  expect_at(s, s->out, 12, 4, 8 * 5);
  expect(s, fresh, 3);
  teg_buffer_destroy(fresh);
  teg_buffer_destroy(argument);
}

static void indirect_counts_elsewhere(scene* s) {
  teg_buffer* argument = make(s, s->a, 256);
  teg_buffer_destroy(counts_of_launch(s, argument));
  teg_buffer* fresh = make(s, s->b, SIZE);
  write_on_b(s, fresh);
  expect_at(s, s->out, 12, 4, 8 * 5);
  teg_buffer_destroy(argument);
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
  submit(s, s->b);
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
    {"cpu_after_argument", cpu_after_argument, ALL},
    {"cpu_after_indirect_counts", cpu_after_indirect_counts, ALL},
    {"cpu_writes_parameters_of_each_launch",
     cpu_writes_parameters_of_each_launch, ALL},
    {"cpu_loads_many_tensors", cpu_loads_many_tensors, ALL},
    {"write_after_recorded", write_after_recorded, KEEPING},
    {"write_twice_into_a_live_buffer", write_twice_into_a_live_buffer, ALL},
    {"write_parameters_of_each_launch", write_parameters_of_each_launch, ALL},
    {"write_hundreds_of_times", write_hundreds_of_times, ALL},
    {"write_after_indirect_counts", write_after_indirect_counts, KEEPING},
    {"indirect_counts_elsewhere", indirect_counts_elsewhere, ALL},
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

int reuse_scenarios_run(const reuse_setup* setup) {
  enum { COUNT = sizeof scenarios / sizeof *scenarios, MOST = COUNT * 9 };
  static scenario_case cases[MOST];
  static struct CMUnitTest list[MOST];
  size_t count = 0;
  for (size_t i = 0; i < COUNT; i++) {
    const char* at = scenarios[i].policies;
    while (*at) {
      scenario_case* c = &cases[count];
      int length = (int)strcspn(at, " ");
      c->setup = setup;
      c->scenario = &scenarios[i];
      memcpy(c->policy, at, (size_t)length);
      snprintf(c->name, sizeof c->name, "%s/%s/%.*s", setup->backend,
               scenarios[i].name, length, at);
      list[count++] = (struct CMUnitTest){
          .name = c->name, .test_func = run_case, .initial_state = c};
      at += length;
      at += strspn(at, " ");
    }
  }
  return _cmocka_run_group_tests(setup->name, list, count, NULL, NULL);
}
