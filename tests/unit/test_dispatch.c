// SPDX-License-Identifier: Apache-2.0
//
// Kernels and dispatches: what is refused, what a kernel gets, where barriers
// go, what becomes of parameters, and when a batch closes.
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "support/core_fixture.h"

static core_fixture fx;
static teg_session* session;
static teg_stream* stream;
static const uint32_t once[3] = {1, 1, 1};

static void open_on(const char* backend, const char* session_options) {
  core_open(&fx, backend, NULL);
  session = core_session(&fx, "test", session_options);
  stream = teg_session_stream(session);
}

static int end(void** state) {
  (void)state;
  if (session) core_validate(&fx, session);
  session = NULL;
  core_close(&fx);
  return 0;
}

// ---- Kernels

typedef struct seen {
  uint32_t call_count;
  uint32_t group_count[3];
  uint64_t sizes[4];
  uint64_t parameter_bytes;
  uint64_t sum;  // of the parameters' first words
} seen;

static teg_result look(const teg_invocation* invocation) {
  seen* what = invocation->user;
  what->call_count++;
  memcpy(what->group_count, invocation->group_count, sizeof what->group_count);
  for (uint32_t i = 0; i < invocation->binding_count && i < 4; ++i) {
    what->sizes[i] = invocation->sizes[i];
  }
  what->parameter_bytes = invocation->parameter_bytes;
  if (invocation->parameters) {
    uint32_t word;
    memcpy(&word, invocation->parameters, sizeof word);
    what->sum += word;
  }
  return TEG_OK;
}

// target[i] = source[i] + parameter, words.
static teg_result add(const teg_invocation* invocation) {
  uint32_t more;
  memcpy(&more, invocation->parameters, sizeof more);
  uint32_t* target = invocation->pointers[0];
  const uint32_t* source = invocation->pointers[1];
  for (uint64_t i = 0; i < invocation->sizes[0] / 4; ++i) {
    target[i] = source[i] + more;
  }
  return TEG_OK;
}

static teg_result break_down(const teg_invocation* invocation) {
  (void)invocation;
  return TEG_HAZARD;
}

static teg_kernel_params params_of(teg_host_kernel function, void* user,
                                   const teg_access* bindings, uint32_t count,
                                   uint32_t parameter_bytes) {
  teg_kernel_params params = TEG_KERNEL_PARAMS_INIT;
  params.name = "tested";
  params.function = function;
  params.user = user;
  params.bindings = bindings;
  params.binding_count = count;
  params.parameter_bytes = parameter_bytes;
  return params;
}

static teg_kernel* kernel_of(teg_host_kernel function, void* user,
                             const teg_access* bindings, uint32_t count,
                             uint32_t parameter_bytes) {
  teg_kernel_params params =
      params_of(function, user, bindings, count, parameter_bytes);
  teg_kernel* kernel = NULL;
  CORE_OK(&fx, teg_kernel_create(fx.device, &params, &kernel, &fx.err));
  return kernel;
}

static teg_kernel* add_kernel(void) {
  static const teg_access accesses[] = {TEG_ACCESS_WRITE, TEG_ACCESS_READ};
  return kernel_of(add, NULL, accesses, 2, 4);
}

static void expect_kernel_refused(teg_kernel_params params, teg_result result,
                                  const char* part) {
  teg_kernel* kernel = (teg_kernel*)1;
  CORE_EXPECT(&fx, result,
              teg_kernel_create(fx.device, &params, &kernel, &fx.err));
  assert_null(kernel);
  core_expect_text(fx.err.message, part);
}

static void bad_kernels_are_refused(void** state) {
  (void)state;
  open_on("null", NULL);
  static const teg_access one = TEG_ACCESS_READ;
  static const teg_access none = 0;
  static const teg_access odd = 4;
  teg_kernel_params good = params_of(look, NULL, &one, 1, 0);
  teg_kernel_params bad = good;
  bad.struct_size = 8;
  expect_kernel_refused(bad, TEG_INVALID, "struct_size");
  bad = good;
  bad.name = NULL;
  expect_kernel_refused(bad, TEG_INVALID, "name");
  bad = good;
  bad.function = NULL;
  expect_kernel_refused(bad, TEG_UNSUPPORTED, "\"tested\" has no C function");
  bad = good;
  bad.bindings = &none;
  expect_kernel_refused(bad, TEG_INVALID, "binding 0 has access 0x0");
  bad.bindings = &odd;
  expect_kernel_refused(bad, TEG_INVALID, "access 0x4");
  bad.bindings = NULL;
  expect_kernel_refused(bad, TEG_INVALID, "bindings is NULL");
  bad.binding_count = TEG_MOST_BINDINGS + 1;
  expect_kernel_refused(bad, TEG_INVALID, "33 bindings, at most 32");
  bad = good;
  bad.parameter_bytes = 1 << 20;
  expect_kernel_refused(bad, TEG_INVALID, "1048576 bytes of parameters");
  bad = good;
  bad.spirv_bytes = 20;
  expect_kernel_refused(bad, TEG_INVALID, "spirv is NULL");
  CORE_EXPECT(&fx, TEG_INVALID,
              teg_kernel_create(NULL, &good, &(teg_kernel*){NULL}, &fx.err));
  CORE_EXPECT(
      &fx, TEG_INVALID,
      teg_kernel_create(fx.device, NULL, &(teg_kernel*){NULL}, &fx.err));
  CORE_EXPECT(&fx, TEG_INVALID,
              teg_kernel_create(fx.device, &good, NULL, &fx.err));
  teg_kernel_destroy(NULL);
  assert_string_equal(teg_kernel_name(NULL), "");
}

// ---- What a kernel gets

static void a_kernel_gets_its_bytes_and_parameters(void** state) {
  (void)state;
  open_on("null", NULL);
  static const teg_access accesses[] = {TEG_ACCESS_READ, TEG_ACCESS_WRITE};
  seen what = {0};
  teg_kernel* kernel = kernel_of(look, &what, accesses, 2, 12);
  assert_string_equal(teg_kernel_name(kernel), "tested");
  teg_buffer* a = core_buffer(&fx, session, 1000);
  teg_buffer* b = core_buffer(&fx, session, 48);
  core_fill(&fx, stream, a, 1);
  const teg_argument arguments[] = {{a, 500, 0}, {b, 8, 16}};
  const uint32_t parameters[3] = {7, 8, 9};
  const uint32_t groups[3] = {3, 2, 5};
  CORE_OK(&fx, teg_stream_dispatch(stream, kernel, arguments, 2, parameters,
                                   groups, &fx.err));
  // Recorded: the kernel may go.
  teg_kernel_destroy(kernel);
  assert_int_equal(what.call_count, 0);
  core_finish(&fx, stream);
  assert_int_equal(what.call_count, 1);
  assert_memory_equal(what.group_count, groups, sizeof groups);
  assert_int_equal(what.sizes[0], 500);
  assert_int_equal(what.sizes[1], 16);
  assert_int_equal(what.parameter_bytes, 12);
  assert_int_equal(what.sum, 7);
}

static void indirect_counts_are_read_when_it_runs(void** state) {
  (void)state;
  open_on("null", NULL);
  seen what = {0};
  teg_kernel* kernel = kernel_of(look, &what, NULL, 0, 0);
  teg_buffer* counts = core_buffer(&fx, session, 64);
  core_fill(&fx, stream, counts, 3);
  CORE_OK(&fx, teg_stream_dispatch_indirect(stream, kernel, NULL, 0, NULL,
                                            counts, 16, &fx.err));
  // Recorded behind it: not seen by it.
  core_fill(&fx, stream, counts, 9);
  core_finish(&fx, stream);
  const uint32_t groups[3] = {3, 3, 3};
  assert_memory_equal(what.group_count, groups, sizeof groups);
  CORE_EXPECT(&fx, TEG_INVALID,
              teg_stream_dispatch_indirect(stream, kernel, NULL, 0, NULL,
                                           counts, 56, &fx.err));
  core_expect_text(fx.err.message, "outside of buffer");
  CORE_EXPECT(&fx, TEG_INVALID,
              teg_stream_dispatch_indirect(stream, kernel, NULL, 0, NULL,
                                           counts, 2, &fx.err));
  core_expect_text(fx.err.message, "multiple of 4");
  CORE_EXPECT(&fx, TEG_INVALID,
              teg_stream_dispatch_indirect(stream, kernel, NULL, 0, NULL, NULL,
                                           0, &fx.err));
  teg_kernel_destroy(kernel);
}

static void expect_dispatch_refused(teg_kernel* kernel,
                                    const teg_argument* arguments,
                                    uint32_t count, const void* parameters,
                                    const uint32_t* groups, const char* part) {
  CORE_EXPECT(&fx, TEG_INVALID,
              teg_stream_dispatch(stream, kernel, arguments, count, parameters,
                                  groups, &fx.err));
  core_expect_text(fx.err.message, part);
}

static void bad_dispatches_are_refused(void** state) {
  (void)state;
  open_on("null", NULL);
  teg_kernel* kernel = add_kernel();
  teg_buffer* a = core_buffer(&fx, session, 256);
  teg_buffer* b = core_buffer(&fx, session, 256);
  core_fill(&fx, stream, b, 1);
  const uint32_t p = 1;
  teg_argument good[2] = {{a, 0, 0}, {b, 0, 0}};
  expect_dispatch_refused(kernel, good, 1, &p, once,
                          "2 bindings and is given 1");
  expect_dispatch_refused(kernel, NULL, 2, &p, once, "arguments is NULL");
  expect_dispatch_refused(kernel, good, 2, NULL, once, "parameters is NULL");
  expect_dispatch_refused(kernel, good, 2, &p, NULL, "no group count");
  teg_argument bad[2] = {{a, 0, 0}, {NULL, 0, 0}};
  expect_dispatch_refused(kernel, bad, 2, &p, once, "buffer is NULL");
  bad[1] = (teg_argument){b, 0, 257};
  expect_dispatch_refused(kernel, bad, 2, &p, once, "outside of buffer");
  bad[1] = (teg_argument){b, 256, 0};
  expect_dispatch_refused(kernel, bad, 2, &p, once, "binding 1");
  bad[1] = (teg_argument){b, 2, 0};
  expect_dispatch_refused(kernel, bad, 2, &p, once, "not a multiple");
  bad[1] = (teg_argument){a, 252, 0};
  expect_dispatch_refused(kernel, bad, 2, &p, once, "overlap");
  char both[64];
  snprintf(both, sizeof both, "bindings 0 (buffer %llu) and 1 (buffer %llu)",
           (unsigned long long)core_info(a).number,
           (unsigned long long)core_info(a).number);
  core_expect_text(fx.err.message, both);
  CORE_EXPECT(
      &fx, TEG_INVALID,
      teg_stream_dispatch_indirect(stream, kernel, good, 2, &p, a, 0, &fx.err));
  core_expect_text(fx.err.message, "overlap");
  CORE_EXPECT(&fx, TEG_INVALID,
              teg_stream_dispatch(NULL, kernel, good, 2, &p, once, &fx.err));
  CORE_EXPECT(&fx, TEG_INVALID,
              teg_stream_dispatch(stream, NULL, good, 2, &p, once, &fx.err));
  fx.device->caps.max_group_count[1] = 5;
  const uint32_t many[3] = {1, 6, 1};
  expect_dispatch_refused(kernel, good, 2, &p, many,
                          "6 groups in dimension 1, at most 5");
  fx.device->caps.max_binding_bytes = 128;
  expect_dispatch_refused(kernel, good, 2, &p, once, "binds at most 128");
  // And the stream is as before.
  fx.device->caps.max_binding_bytes = 256;
  CORE_OK(&fx, teg_stream_dispatch(stream, kernel, good, 2, &p, once, &fx.err));
  core_expect_pattern(&fx, stream, a, 2);
  teg_kernel_destroy(kernel);
}

static void a_kernel_of_another_device_is_refused(void** state) {
  (void)state;
  open_on("null", NULL);
  teg_device_params params = TEG_DEVICE_PARAMS_INIT;
  params.backend = "null";
  teg_device* other;
  assert_int_equal(teg_device_create(&params, &other, NULL), TEG_OK);
  teg_kernel_params wanted = params_of(look, NULL, NULL, 0, 0);
  teg_kernel* kernel;
  assert_int_equal(teg_kernel_create(other, &wanted, &kernel, NULL), TEG_OK);
  expect_dispatch_refused(kernel, NULL, 0, NULL, once, "another device");
  teg_kernel_destroy(kernel);
  teg_device_destroy(other);
}

static void a_failed_dispatch_is_told_by_the_next_read(void** state) {
  (void)state;
  open_on("null", NULL);
  teg_kernel* kernel = kernel_of(break_down, NULL, NULL, 0, 0);
  teg_buffer* a = core_buffer(&fx, session, 64);
  core_fill(&fx, stream, a, 5);
  CORE_OK(&fx,
          teg_stream_dispatch(stream, kernel, NULL, 0, NULL, once, &fx.err));
  uint32_t words[16] = {0};
  CORE_EXPECT(&fx, TEG_HAZARD,
              teg_stream_read(stream, a, 0, words, sizeof words, &fx.err));
  assert_int_equal(words[0], 0);
  CORE_OK(&fx, teg_stream_read(stream, a, 0, words, sizeof words, &fx.err));
  assert_int_equal(words[15], 5);
  teg_kernel_destroy(kernel);
}

// ---- Barriers

static uint32_t barrier_count;
static const teg_queue_ops* counted_ops;

static teg_result count_barrier(teg_queue_stream* queue, teg_error* err) {
  barrier_count++;
  return counted_ops->record_barrier(queue, err);
}

static void count_barriers(void) {
  static teg_queue_ops ops;
  counted_ops = fx.device->tables.queue;
  ops = *counted_ops;
  ops.record_barrier = count_barrier;
  fx.device->tables.queue = &ops;
  barrier_count = 0;
}

static uint32_t barriers_of_copy(teg_buffer* to, uint64_t to_offset,
                                 teg_buffer* from, uint64_t from_offset) {
  uint32_t before = barrier_count;
  CORE_OK(&fx, teg_stream_copy(stream, to, to_offset, from, from_offset, 64,
                               &fx.err));
  return barrier_count - before;
}

static void barriers_stand_where_bytes_meet(void** state) {
  (void)state;
  open_on("null", NULL);
  teg_buffer* a = core_buffer(&fx, session, 256);
  teg_buffer* b = core_buffer(&fx, session, 256);
  teg_buffer* c = core_buffer(&fx, session, 256);
  core_fill(&fx, stream, a, 1);
  core_fill(&fx, stream, b, 2);
  core_submit(&fx, stream);
  count_barriers();
  assert_int_equal(barriers_of_copy(c, 0, a, 0), 1);    // begins the batch
  assert_int_equal(barriers_of_copy(c, 64, a, 0), 0);   // both read
  assert_int_equal(barriers_of_copy(c, 128, b, 0), 0);  // apart
  assert_int_equal(barriers_of_copy(a, 64, b, 64), 0);  // not what was read
  assert_int_equal(barriers_of_copy(a, 32, b, 0), 1);   // was read
  assert_int_equal(barriers_of_copy(a, 128, b, 0), 0);
  assert_int_equal(barriers_of_copy(c, 192, a, 0), 1);  // was written, in part
  assert_int_equal(barriers_of_copy(c, 192, b, 0), 1);  // written twice
  core_submit(&fx, stream);
  assert_int_equal(barriers_of_copy(c, 0, b, 0), 1);  // the next batch
  CORE_OK(&fx, teg_stream_discard(stream, &fx.err));
  assert_int_equal(barriers_of_copy(c, 0, b, 0), 1);
  core_finish(&fx, stream);
}

// By place, not by buffer: the second owner's bytes are the first's.
static void a_second_owner_within_a_batch_is_behind_a_barrier(void** state) {
  (void)state;
  open_on("null", "policy=simple");
  count_barriers();
  teg_buffer* a = core_buffer(&fx, session, 4096);
  core_fill(&fx, stream, a, 1);
  teg_buffer_destroy(a);
  teg_buffer* b = core_buffer(&fx, session, 4096);
  assert_int_equal(barrier_count, 1);
  core_fill(&fx, stream, b, 2);
  assert_int_equal(barrier_count, 2);
  core_expect_pattern(&fx, stream, b, 2);
}

static void a_long_batch_has_few_barriers(void** state) {
  (void)state;
  open_on("null", NULL);
  teg_buffer* a = core_buffer(&fx, session, 1000 * 256);
  count_barriers();
  for (uint32_t i = 0; i < 1000; ++i) {
    CORE_OK(&fx, teg_stream_fill(stream, a, i * 256, 256, i, &fx.err));
  }
  assert_int_equal(barrier_count,
                   (1000 + TEGI_BARRIER_SPANS - 1) / TEGI_BARRIER_SPANS);
  core_finish(&fx, stream);
}

// ---- Parameters

static void equal_parameters_share_a_slot(void** state) {
  (void)state;
  open_on("null", "batch_dispatches=0;batch_age=0");
  seen what = {0};
  teg_kernel* kernel = kernel_of(look, &what, NULL, 0, 4);
  for (uint32_t i = 0; i < 100; ++i) {
    uint32_t word = i % 4;
    CORE_OK(&fx,
            teg_stream_dispatch(stream, kernel, NULL, 0, &word, once, &fx.err));
  }
  assert_int_equal(stream->parameters.miss_count, 4);
  assert_int_equal(stream->parameters.hit_count, 96);
  core_finish(&fx, stream);
  assert_int_equal(what.sum, 25 * (0 + 1 + 2 + 3));
  teg_kernel_destroy(kernel);
}

// More contents than there are slots, of three sizes: each dispatch sees its
// own, and the memory stays within its bound.
static void slots_are_written_again_when_their_batch_is_over(void** state) {
  (void)state;
  const char* const backends[] = {"null", "host"};
  for (int b = 0; b < 2; ++b) {
    open_on(backends[b], "parameters_max=160KiB;batches_in_flight=0");
    const uint32_t sizes[] = {16, 700, 16000};
    seen what = {0};
    uint64_t expected = 0;
    teg_kernel* kernels[3];
    for (int i = 0; i < 3; ++i) {
      kernels[i] = kernel_of(look, &what, NULL, 0, sizes[i]);
    }
    static uint8_t content[16000];
    for (uint32_t i = 0; i < 3000; ++i) {
      uint32_t word = i * 7919 % 1500;
      memcpy(content, &word, sizeof word);
      expected += word;
      CORE_OK(&fx, teg_stream_dispatch(stream, kernels[i % 3], NULL, 0, content,
                                       once, &fx.err));
    }
    core_finish(&fx, stream);
    assert_int_equal(what.sum, expected);
    assert_int_equal(what.call_count, 3000);
    assert_true(stream->parameters.bytes <= 160 * KIB);
    for (int i = 0; i < 3; ++i) teg_kernel_destroy(kernels[i]);
    if (b == 0) end(NULL);
  }
}

static void parameters_without_room_are_refused(void** state) {
  (void)state;
  open_on("null", "parameters_max=64KiB");
  seen what = {0};
  teg_kernel* small = kernel_of(look, &what, NULL, 0, 4);
  teg_kernel* large = kernel_of(look, &what, NULL, 0, 65536);
  uint32_t word = 1;
  static uint8_t content[65536];
  CORE_OK(&fx,
          teg_stream_dispatch(stream, small, NULL, 0, &word, once, &fx.err));
  CORE_EXPECT(
      &fx, TEG_LIMIT,
      teg_stream_dispatch(stream, large, NULL, 0, content, once, &fx.err));
  core_expect_text(fx.err.message, "parameters_max");
  core_finish(&fx, stream);
  assert_int_equal(what.call_count, 1);
  teg_kernel_destroy(small);
  teg_kernel_destroy(large);
}

// ---- When a batch closes

static void a_batch_closes_when_it_has_its_dispatches(void** state) {
  (void)state;
  open_on("null", "batch_dispatches=4;batch_age=0;batches_in_flight=0");
  seen what = {0};
  teg_kernel* kernel = kernel_of(look, &what, NULL, 0, 0);
  for (int i = 0; i < 9; ++i) {
    CORE_OK(&fx,
            teg_stream_dispatch(stream, kernel, NULL, 0, NULL, once, &fx.err));
  }
  assert_int_equal(teg_stream_submitted(stream), 2);
  core_submit(&fx, stream);
  for (int i = 0; i < 4; ++i) {
    CORE_OK(&fx,
            teg_stream_dispatch(stream, kernel, NULL, 0, NULL, once, &fx.err));
  }
  assert_int_equal(teg_stream_submitted(stream), 3);
  core_finish(&fx, stream);
  assert_int_equal(what.call_count, 13);
  teg_kernel_destroy(kernel);
}

static void a_batch_closes_when_it_is_old(void** state) {
  (void)state;
  open_on("null", "batch_dispatches=0;batch_age=1;batches_in_flight=0");
  seen what = {0};
  teg_kernel* kernel = kernel_of(look, &what, NULL, 0, 0);
  CORE_OK(&fx,
          teg_stream_dispatch(stream, kernel, NULL, 0, NULL, once, &fx.err));
  assert_int_equal(teg_stream_submitted(stream), 0);
  uint64_t begin_ns = tegi_now_ns();
  while (tegi_now_ns() - begin_ns < 12000000) continue;
  CORE_OK(&fx,
          teg_stream_dispatch(stream, kernel, NULL, 0, NULL, once, &fx.err));
  assert_int_equal(teg_stream_submitted(stream), 1);
  core_finish(&fx, stream);
  teg_kernel_destroy(kernel);
}

static void a_batch_closes_when_it_has_staged_its_bytes(void** state) {
  (void)state;
  open_on("null",
          "batch_bytes=64KiB;ring_max=1MiB;batches_in_flight=0;fresh_max=0");
  teg_buffer* a = core_buffer(&fx, session, 40000);
  static uint8_t data[40000];
  for (uint32_t i = 0; i < 5; ++i) {
    core_fill(&fx, stream, a, i);  // in use, so that it must be staged
    memset(data, (int)i, sizeof data);
    CORE_OK(&fx, teg_stream_write(stream, a, 0, data, sizeof data, &fx.err));
  }
  assert_int_equal(teg_stream_submitted(stream), 2);
  core_expect_pattern(&fx, stream, a, 0x04040404);
}

static void few_batches_run_ahead(void** state) {
  (void)state;
  open_on("null", "batches_in_flight=2");
  teg_buffer* a = core_buffer(&fx, session, 64);
  for (uint64_t i = 1; i <= 6; ++i) {
    core_fill(&fx, stream, a, (uint32_t)i);
    core_submit(&fx, stream);
    assert_int_equal(teg_stream_completed(stream), i < 3 ? 0 : i - 2);
  }
  core_expect_pattern(&fx, stream, a, 6);
}

// The error of a batch that the library waited for is not lost.
static void an_error_of_a_batch_waited_for_is_kept(void** state) {
  (void)state;
  open_on("null", "batches_in_flight=1");
  teg_kernel* kernel = kernel_of(break_down, NULL, NULL, 0, 0);
  CORE_OK(&fx,
          teg_stream_dispatch(stream, kernel, NULL, 0, NULL, once, &fx.err));
  core_submit(&fx, stream);
  core_submit(&fx, stream);
  CORE_EXPECT(&fx, TEG_HAZARD, teg_stream_wait(stream, 2, &fx.err));
  CORE_OK(&fx, teg_stream_wait(stream, 2, &fx.err));
  teg_kernel_destroy(kernel);
}

// ---- Timestamps

static void timestamps_follow_the_commands(void** state) {
  (void)state;
  open_on("null", NULL);
  teg_timestamp first, second;
  uint64_t ns;
  teg_buffer* a = core_buffer(&fx, session, 1 << 20);
  CORE_OK(&fx, teg_stream_timestamp(stream, &first, &fx.err));
  core_fill(&fx, stream, a, 1);
  CORE_OK(&fx, teg_stream_timestamp(stream, &second, &fx.err));
  CORE_EXPECT(&fx, TEG_BAD_STATE,
              teg_stream_timestamp_ns(stream, &first, &ns, &fx.err));
  core_finish(&fx, stream);
  uint64_t first_ns = 0;
  uint64_t second_ns = 0;
  CORE_OK(&fx, teg_stream_timestamp_ns(stream, &first, &first_ns, &fx.err));
  CORE_OK(&fx, teg_stream_timestamp_ns(stream, &second, &second_ns, &fx.err));
  assert_true(first_ns > 0 && second_ns > first_ns);
  for (int i = 0; i < 1024; ++i) {
    teg_timestamp later;
    CORE_OK(&fx, teg_stream_timestamp(stream, &later, &fx.err));
  }
  core_finish(&fx, stream);
  CORE_EXPECT(&fx, TEG_NOT_FOUND,
              teg_stream_timestamp_ns(stream, &second, &ns, &fx.err));
  teg_timestamp never = {0};
  CORE_EXPECT(&fx, TEG_NOT_FOUND,
              teg_stream_timestamp_ns(stream, &never, &ns, &fx.err));
}

// ---- The k-th allocation fails

static bool dispatch_some(teg_buffer* a, teg_buffer* b) {
  teg_kernel_params params = params_of(
      add, NULL, (const teg_access[]){TEG_ACCESS_WRITE, TEG_ACCESS_READ}, 2, 4);
  teg_kernel* kernel;
  if (teg_kernel_create(fx.device, &params, &kernel, &fx.err) != TEG_OK) {
    return false;
  }
  const teg_argument arguments[] = {{a, 0, 0}, {b, 0, 0}};
  bool is_good = true;
  for (uint32_t i = 0; i < 3 && is_good; ++i) {
    is_good = teg_stream_dispatch(stream, kernel, arguments, 2, &i, once,
                                  &fx.err) == TEG_OK;
  }
  teg_kernel_destroy(kernel);
  return is_good;
}

static void every_failed_allocation_leaves_the_stream_usable(void** state) {
  (void)state;
  uint64_t k = 1;
  bool is_through = false;
  for (; !is_through; ++k) {
    open_on("null", NULL);
    teg_buffer* a = core_buffer(&fx, session, 256);
    teg_buffer* b = core_buffer(&fx, session, 256);
    core_fill(&fx, stream, b, 1);
    core_fill(&fx, stream, a, 7);
    core_fail_host(&fx, k, 1);
    is_through = dispatch_some(a, b);
    core_fail_host(&fx, 0, 0);
    if (!is_through) {
      assert_int_equal(fx.err.result, TEG_OUT_OF_HOST_MEMORY);
    }
    assert_true(dispatch_some(a, b));
    core_expect_pattern(&fx, stream, a, 3);
    if (!is_through) end(NULL);
  }
  assert_true(k > 4);
}

#define TEST(name) cmocka_unit_test_teardown(name, end)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(bad_kernels_are_refused),
      TEST(a_kernel_gets_its_bytes_and_parameters),
      TEST(indirect_counts_are_read_when_it_runs),
      TEST(bad_dispatches_are_refused),
      TEST(a_kernel_of_another_device_is_refused),
      TEST(a_failed_dispatch_is_told_by_the_next_read),
      TEST(barriers_stand_where_bytes_meet),
      TEST(a_second_owner_within_a_batch_is_behind_a_barrier),
      TEST(a_long_batch_has_few_barriers),
      TEST(equal_parameters_share_a_slot),
      TEST(slots_are_written_again_when_their_batch_is_over),
      TEST(parameters_without_room_are_refused),
      TEST(a_batch_closes_when_it_has_its_dispatches),
      TEST(a_batch_closes_when_it_is_old),
      TEST(a_batch_closes_when_it_has_staged_its_bytes),
      TEST(few_batches_run_ahead),
      TEST(an_error_of_a_batch_waited_for_is_kept),
      TEST(timestamps_follow_the_commands),
      TEST(every_failed_allocation_leaves_the_stream_usable),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
