// SPDX-License-Identifier: Apache-2.0
//
// Kernels on the Vulkan device through core: what a program does, from SPIR-V
// to the bytes it reads back, compared with the same on the CPU.
// cmocka.h wants these first.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "backend/vulkan/vulkan_register.h"
#include "kernel_add.spv.h"
#include "kernel_groups.spv.h"
#include "tegula/tegula.h"

#define WORDS 10000u
#define GROUP 64u

static teg_error err;
static teg_device* device;
static teg_session* session;
static teg_stream* stream;
static uint32_t complaint_count;

#define OK(call)                                       \
  do {                                                 \
    if ((call) != TEG_OK) fail_msg("%s", err.message); \
  } while (0)

static void complain(void* user, teg_log_level level, const char* line) {
  (void)user;
  if (level > TEG_LOG_WARNING) return;
  complaint_count++;
  print_error("%s\n", line);
}

static bool open(void) {
  uint32_t count;
  if (tegi_vk_backend.probe(&count, NULL) != TEG_OK) return false;
  complaint_count = 0;
  teg_device_params params = TEG_DEVICE_PARAMS_INIT;
  params.backend = "vulkan";
  params.log = (teg_log){complain, NULL, TEG_LOG_WARNING};
  OK(teg_device_create(&params, &device, &err));
  OK(teg_session_create(device, NULL, &session, &err));
  OK(teg_stream_create(session, &stream, &err));
  return true;
}

static void close_all(void) {
  teg_stream_destroy(stream);
  teg_session_destroy(session);
  teg_device_destroy(device);
  assert_int_equal(complaint_count, 0);
}

static teg_buffer* buffer_of(uint64_t size) {
  teg_buffer_params params = TEG_BUFFER_PARAMS_INIT;
  params.size = size;
  params.lifetime = TEG_LIFETIME_RUN;
  teg_buffer* buffer;
  OK(teg_buffer_create(session, &params, &buffer, &err));
  return buffer;
}

static teg_kernel* kernel_of(const uint32_t* spirv, size_t bytes,
                             const teg_access* bindings, uint32_t count,
                             uint32_t parameter_bytes) {
  teg_kernel_params params = TEG_KERNEL_PARAMS_INIT;
  params.name = "tested";
  params.spirv = spirv;
  params.spirv_bytes = bytes;
  params.bindings = bindings;
  params.binding_count = count;
  params.parameter_bytes = parameter_bytes;
  teg_kernel* kernel;
  OK(teg_kernel_create(device, &params, &kernel, &err));
  return kernel;
}

static const teg_access add_bindings[] = {TEG_ACCESS_READ, TEG_ACCESS_READ,
                                          TEG_ACCESS_WRITE};

// Three buffers, on the device and in the model.
typedef struct adder {
  teg_kernel* kernel;
  teg_buffer* buffers[3];
  uint32_t model[3][WORDS];
} adder;

static void add(adder* sums, uint32_t a, uint32_t b, uint32_t sum,
                uint32_t scale, uint32_t shift) {
  const teg_argument arguments[3] = {
      {sums->buffers[a], 0, 4 * (uint64_t)WORDS},
      {sums->buffers[b], 0, 4 * (uint64_t)WORDS},
      {sums->buffers[sum], 0, 4 * (uint64_t)WORDS}};
  const uint32_t parameters[2] = {scale, shift};
  const uint32_t groups[3] = {(WORDS + GROUP - 1) / GROUP, 1, 1};
  OK(teg_stream_dispatch(stream, sums->kernel, arguments, 3, parameters, groups,
                         &err));
  for (uint32_t i = 0; i < WORDS; i++) {
    sums->model[sum][i] = sums->model[a][i] + scale * sums->model[b][i] + shift;
  }
}

static void chains_of_kernels_match_a_model(void** state) {
  (void)state;
  if (!open()) skip();
  adder* sums = calloc(1, sizeof *sums);
  uint32_t* read = malloc(sizeof sums->model[0]);
  assert_true(sums && read);
  sums->kernel =
      kernel_of(kernel_add_spv, sizeof kernel_add_spv, add_bindings, 3, 8);
  for (uint32_t b = 0; b < 3; b++) {
    sums->buffers[b] = buffer_of(sizeof sums->model[b]);
    for (uint32_t i = 0; i < WORDS; i++) sums->model[b][i] = b * 77 + i;
    OK(teg_stream_write(stream, sums->buffers[b], 0, sums->model[b],
                        sizeof sums->model[b], &err));
  }
  // Each reads what the one before wrote, and writes what it read.
  for (uint32_t n = 0; n < 300; n++) {
    add(sums, n % 3, (n + 1) % 3, (n + 2) % 3, n, n * n);
  }
  // The kernel may go; what is recorded still runs.
  teg_kernel_destroy(sums->kernel);
  for (uint32_t b = 0; b < 3; b++) {
    OK(teg_stream_read(stream, sums->buffers[b], 0, read, sizeof sums->model[b],
                       &err));
    assert_memory_equal(read, sums->model[b], sizeof sums->model[b]);
    teg_buffer_destroy(sums->buffers[b]);
  }
  free(read);
  free(sums);
  close_all();
}

// Counts that the device has written, and the time it took.
static void counts_and_times_come_from_the_device(void** state) {
  (void)state;
  if (!open()) skip();
  static const teg_access bindings[] = {TEG_ACCESS_READ_WRITE};
  teg_kernel* kernel =
      kernel_of(kernel_groups_spv, sizeof kernel_groups_spv, bindings, 1, 0);
  teg_buffer* seen = buffer_of(16);
  teg_buffer* counts = buffer_of(12);
  OK(teg_stream_fill(stream, seen, 0, 16, 0, &err));
  OK(teg_stream_fill(stream, counts, 0, 12, 4, &err));
  teg_timestamp before, after;
  OK(teg_stream_timestamp(stream, &before, &err));
  const teg_argument argument = {seen, 0, 16};
  OK(teg_stream_dispatch_indirect(stream, kernel, &argument, 1, NULL, counts, 0,
                                  &err));
  OK(teg_stream_timestamp(stream, &after, &err));
  uint32_t got[4];
  OK(teg_stream_read(stream, seen, 0, got, sizeof got, &err));
  static const uint32_t want[4] = {64, 4, 4, 4};
  assert_memory_equal(got, want, sizeof want);
  uint64_t before_ns, after_ns;
  OK(teg_stream_timestamp_ns(stream, &before, &before_ns, &err));
  OK(teg_stream_timestamp_ns(stream, &after, &after_ns, &err));
  assert_true(after_ns >= before_ns && before_ns > 0);
  teg_buffer_destroy(counts);
  teg_buffer_destroy(seen);
  teg_kernel_destroy(kernel);
  close_all();
}

// ---- Bad input

#define REFUSED(expected, part, call)                                \
  do {                                                               \
    assert_int_equal(call, expected);                                \
    if (!strstr(err.message, part)) fail_msg("\"%s\"", err.message); \
  } while (0)

static void expect_kernel_refused(const teg_kernel_params* params,
                                  const char* part) {
  teg_kernel* kernel;
  REFUSED(TEG_INVALID, "\"wrong\"",
          teg_kernel_create(device, params, &kernel, &err));
  if (!strstr(err.message, part)) fail_msg("\"%s\"", err.message);
  assert_null(kernel);
}

// One kernel runs, and gives what it should.
static void expect_usable(void) {
  teg_kernel* kernel =
      kernel_of(kernel_add_spv, sizeof kernel_add_spv, add_bindings, 3, 8);
  teg_buffer* buffers[3];
  teg_argument arguments[3];
  for (uint32_t i = 0; i < 3; i++) {
    buffers[i] = buffer_of(4096);
    arguments[i] = (teg_argument){buffers[i], 0, 0};
    OK(teg_stream_fill(stream, buffers[i], 0, 4096, i + 5, &err));
  }
  const uint32_t parameters[2] = {10, 7};
  const uint32_t groups[3] = {4096 / 4 / GROUP, 1, 1};
  OK(teg_stream_dispatch(stream, kernel, arguments, 3, parameters, groups,
                         &err));
  uint32_t got;
  OK(teg_stream_read(stream, buffers[2], 4092, &got, 4, &err));
  assert_int_equal(got, 5 + 10 * 6 + 7);
  for (uint32_t i = 0; i < 3; i++) teg_buffer_destroy(buffers[i]);
  teg_kernel_destroy(kernel);
}

static void bad_kernels_are_named(void** state) {
  (void)state;
  if (!open()) skip();
  teg_kernel_params good = TEG_KERNEL_PARAMS_INIT;
  good.name = "wrong";
  good.spirv = kernel_add_spv;
  good.spirv_bytes = sizeof kernel_add_spv;
  good.bindings = add_bindings;
  good.binding_count = 3;
  good.parameter_bytes = 8;
  teg_kernel_params bad = good;
  bad.parameter_bytes = 0;
  expect_kernel_refused(&bad, "no parameters");
  bad = good;
  bad.binding_count = 2;
  expect_kernel_refused(&bad, "binding 2");
  static const teg_access written[] = {TEG_ACCESS_WRITE, TEG_ACCESS_READ,
                                       TEG_ACCESS_WRITE};
  bad = good;
  bad.bindings = written;
  expect_kernel_refused(&bad, "binding 0 is declared as written");
  static const uint32_t text[8] = {0x6c6c6568, 0x6f77206f, 0x21646c72};
  bad = good;
  bad.spirv = text;
  bad.spirv_bytes = sizeof text;
  expect_kernel_refused(&bad, "not SPIR-V");
  bad = good;
  bad.spirv_bytes = 12;
  expect_kernel_refused(&bad, "not SPIR-V");
  bad = good;
  bad.spirv_bytes -= 12;  // inside of the last label
  expect_kernel_refused(&bad, "ends inside the instruction");
  expect_usable();
  close_all();
}

static void bad_commands_are_named(void** state) {
  (void)state;
  if (!open()) skip();
  teg_buffer* a = buffer_of(4096);
  teg_buffer* b = buffer_of(4096);
  uint8_t byte = 0;
  REFUSED(TEG_INVALID, "outside of buffer",
          teg_stream_copy(stream, a, 4000, b, 0, 100, &err));
  REFUSED(TEG_INVALID, "outside of buffer",
          teg_stream_copy(stream, a, 0, b, UINT64_MAX, 4, &err));
  REFUSED(TEG_INVALID, "outside of buffer",
          teg_stream_fill(stream, a, 4096, 4, 0, &err));
  REFUSED(TEG_INVALID, "outside of buffer",
          teg_stream_write(stream, a, 4096, &byte, 1, &err));
  REFUSED(TEG_INVALID, "outside of buffer",
          teg_stream_read(stream, a, 4096, &byte, 1, &err));
  uint64_t next = teg_stream_submitted(stream) + 1;
  REFUSED(TEG_BAD_STATE, "not submitted", teg_stream_wait(stream, next, &err));
  REFUSED(TEG_BAD_STATE, "not submitted",
          teg_stream_wait_for(stream, teg_session_stream(session), 1, &err));
  teg_buffer_destroy(a);
  teg_buffer_destroy(b);
  expect_usable();
  close_all();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(chains_of_kernels_match_a_model),
      cmocka_unit_test(counts_and_times_come_from_the_device),
      cmocka_unit_test(bad_kernels_are_named),
      cmocka_unit_test(bad_commands_are_named),
  };
  return cmocka_run_group_tests_name("vulkan_dispatch", tests, NULL, NULL);
}
