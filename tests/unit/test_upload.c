// SPDX-License-Identifier: Apache-2.0
//
// What a large upload takes besides its destination, on devices whose memory
// is the process's own: the driver's bytes by the library's account, and all
// that is resident by the kernel's. 256 MiB, and 1 GiB with TEGULA_LARGE=1,
// which takes some 15 seconds.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/core_fixture.h"

enum { BUFFERS = 4, SAMPLE = 4 << 20 };

static const uint64_t allowance = UINT64_C(16) << 20;

typedef struct upload {
  core_fixture fx;
  teg_session* session;
  teg_stream* stream;
  uint64_t size;  // of each buffer
  teg_buffer* buffers[BUFFERS];
  // Each buffer is given |size| of it, from another word on.
  uint32_t* words;
} upload;

typedef struct place {
  const char* backend;
  const char* options;  // of the device
} place;

static uint64_t wanted_bytes(void) {
  const char* text = getenv("TEGULA_LARGE");
  bool is_large = text && strcmp(text, "1") == 0;
  return UINT64_C(1) << (is_large ? 30 : 28);
}

// ---- What the process has resident

// A line of /proc/self/status, in bytes.
static uint64_t status_bytes(const char* key) {
  FILE* file = fopen("/proc/self/status", "r");
  assert_non_null(file);
  char line[256];
  unsigned long long kib = 0;
  bool is_found = false;
  while (!is_found && fgets(line, sizeof line, file)) {
    size_t length = strlen(key);
    is_found = strncmp(line, key, length) == 0 &&
               sscanf(line + length, ": %llu kB", &kib) == 1;
  }
  fclose(file);
  assert_true(is_found);
  return (uint64_t)kib << 10;
}

// VmHWM begins anew.
static void reset_peak(void) {
  FILE* file = fopen("/proc/self/clear_refs", "w");
  assert_non_null(file);
  assert_true(fputs("5", file) >= 0);
  assert_int_equal(fclose(file), 0);
}

// ---- Device, buffers and data

static bool upload_open(upload* u, const place* at) {
  if (core_try_open(&u->fx, at->backend, at->options) != TEG_OK) {
    print_message("%s\n", u->fx.err.message);
    return false;
  }
  u->session = core_session(&u->fx, "upload", "policy=tiled;slack=0");
  u->stream = teg_session_stream(u->session);
  u->size = wanted_bytes() / BUFFERS;
  uint64_t word_count = u->size / 4 + BUFFERS;
  u->words = malloc(word_count * 4);
  assert_non_null(u->words);
  for (uint64_t i = 0; i < word_count; ++i) {
    u->words[i] = (uint32_t)i * UINT32_C(2654435761);
  }
  for (uint32_t i = 0; i < BUFFERS; ++i) {
    u->buffers[i] = core_buffer(&u->fx, u->session, u->size);
    core_fill(&u->fx, u->stream, u->buffers[i], 1);
  }
  core_finish(&u->fx, u->stream);
  return true;
}

static void write_buffer(upload* u, uint32_t i) {
  CORE_OK(&u->fx, teg_stream_write(u->stream, u->buffers[i], 0, u->words + i,
                                   u->size, &u->fx.err));
}

static void expect_bytes(upload* u) {
  uint8_t* got = malloc(SAMPLE);
  assert_non_null(got);
  for (uint32_t i = 0; i < BUFFERS; ++i) {
    const uint8_t* wanted = (const uint8_t*)(u->words + i);
    for (uint64_t at = 0; at < u->size; at += SAMPLE) {
      uint64_t size = u->size - at < SAMPLE ? u->size - at : SAMPLE;
      CORE_OK(&u->fx, teg_stream_read(u->stream, u->buffers[i], at, got, size,
                                      &u->fx.err));
      assert_int_equal(memcmp(got, wanted + at, size), 0);
    }
  }
  free(got);
}

static void upload_close(upload* u) {
  free(u->words);
  for (uint32_t i = 0; i < BUFFERS; ++i) teg_buffer_destroy(u->buffers[i]);
  teg_session_destroy(u->session);
  assert_string_equal(u->fx.log, "");
  core_close(&u->fx);
}

// ---- Tests

static void an_upload_into_buffers_in_use_takes_the_ring(void** state) {
  static upload u;
  if (!upload_open(&u, *state)) skip();
  uint64_t bound = u.session->options.ring_max + allowance;
  uint64_t reserved = core_reserved(&u.fx);
  reset_peak();
  uint64_t resident = status_bytes("VmRSS");
  for (uint32_t i = 0; i < BUFFERS; ++i) {
    core_fill(&u.fx, u.stream, u.buffers[i], 2);
    write_buffer(&u, i);
  }
  core_finish(&u.fx, u.stream);
  uint64_t resident_peak = status_bytes("VmHWM");
  teg_stats stats = core_device_stats(&u.fx);
  print_message(
      "%llu MiB: device %+.1f MiB, resident %+.1f MiB, at most %llu\n",
      (unsigned long long)(u.size * BUFFERS >> 20),
      (double)(stats.peak_reserved_bytes - reserved) / 1048576,
      ((double)resident_peak - (double)resident) / 1048576,
      (unsigned long long)(bound >> 20));
  assert_int_equal(stats.ring_write_bytes, u.size * BUFFERS);
  assert_true(stats.peak_reserved_bytes <= reserved + bound);
  assert_true(resident_peak <= resident + bound);
  expect_bytes(&u);
  upload_close(&u);
}

static void an_upload_into_mapped_memory_stages_nothing(void** state) {
  static upload u;
  if (!upload_open(&u, *state)) skip();
  uint64_t reserved = core_reserved(&u.fx);
  uint64_t resident = status_bytes("RssAnon");
  for (uint32_t i = 0; i < BUFFERS; ++i) write_buffer(&u, i);
  uint64_t resident_after = status_bytes("RssAnon");
  teg_stats stats = core_device_stats(&u.fx);
  assert_int_equal(stats.direct_write_bytes, u.size * BUFFERS);
  assert_int_equal(stats.ring_write_bytes, 0);
  assert_int_equal(stats.peak_reserved_bytes, reserved);
  assert_true(resident_after <= resident + (UINT64_C(1) << 20));
  expect_bytes(&u);
  upload_close(&u);
}

int main(void) {
  static place places[] = {
      {"host", "completion=worker"},
      {"host", "completion=worker;remap=off"},
      {"vulkan", "completion=worker"},
      {"vulkan", "completion=worker;remap=off"},
  };
  enum { PLACES = sizeof places / sizeof *places };
  static char names[2 * PLACES][96];
  struct CMUnitTest tests[2 * PLACES];
  for (size_t i = 0; i < 2 * PLACES; ++i) {
    place* at = &places[i / 2];
    bool is_staged = i % 2 == 0;
    snprintf(names[i], sizeof names[i], "%s/%s/%s", at->backend,
             strstr(at->options, "remap=off") ? "placed" : "tiled",
             is_staged ? "an_upload_into_buffers_in_use_takes_the_ring"
                       : "an_upload_into_mapped_memory_stages_nothing");
    tests[i] = (struct CMUnitTest){
        .name = names[i],
        .test_func = is_staged ? an_upload_into_buffers_in_use_takes_the_ring
                               : an_upload_into_mapped_memory_stages_nothing,
        .initial_state = at};
  }
  return cmocka_run_group_tests_name("upload", tests, NULL, NULL);
}
