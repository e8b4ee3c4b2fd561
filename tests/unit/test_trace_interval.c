// SPDX-License-Identifier: Apache-2.0
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/trace_fixture.h"

#define HEADER "id,lower,upper,size\n"

static void expect_error(const char* text, teg_result result,
                         const char* says) {
  fixture_read read = fixture_read_memory(text, strlen(text));
  if (read.result != result || !strstr(read.err.message, says)) {
    fail_msg("\"%s\" gives %s: %s", text, teg_result_name(read.result),
             read.err.message);
  }
  fixture_read_free(&read);
}

static teg_trace_event make(uint8_t kind, uint64_t time_ns, uint64_t id,
                            uint64_t size) {
  return (teg_trace_event){
      .kind = kind, .time_ns = time_ns, .id = id, .size = size};
}

static void interval_rows_become_events_by_time_frees_first(void** state) {
  static const char text[] =
      "id,lower,upper,size,alignment\r\n"
      "late,7,9,100,8\r\n"
      "b,0,4,16,8\r\n"
      "a,4,7,32,8\n"
      "c,0,7,64,8";
  const teg_trace_event expected[] = {
      make(TEG_TRACE_ALLOCATE, 0, 1, 16),
      make(TEG_TRACE_ALLOCATE, 0, 2, 64),
      make(TEG_TRACE_FREE, 4000, 1, 16),
      make(TEG_TRACE_ALLOCATE, 4000, 3, 32),
      make(TEG_TRACE_FREE, 7000, 3, 32),
      make(TEG_TRACE_FREE, 7000, 2, 64),
      make(TEG_TRACE_ALLOCATE, 7000, 4, 100),
      make(TEG_TRACE_FREE, 9000, 4, 100),
  };
  fixture_read read = fixture_read_memory(text, strlen(text));
  assert_int_equal(read.result, TEG_END);
  assert_true(fixture_same(read.events, read.count, expected, 8));
  fixture_read_free(&read);
}

// The live bytes at each instant are those of a sum over all rows.
static void interval_random_rows_keep_live_bytes(void** state) {
  enum { ROWS = 2000, TIMES = 300 };
  static uint64_t live[TIMES + 1];
  uint64_t seed = 9;
  char* text = malloc(ROWS * 64);
  assert_non_null(text);
  size_t size = (size_t)sprintf(text, HEADER);
  for (unsigned i = 0; i < ROWS; ++i) {
    uint64_t lower = fixture_random(&seed) % TIMES;
    uint64_t upper = lower + 1 + fixture_random(&seed) % (TIMES - lower);
    uint64_t bytes = fixture_random(&seed) % 5000 + 1;
    for (uint64_t t = lower; t < upper; ++t) live[t] += bytes;
    size += (size_t)sprintf(text + size,
                            "n%u,%" PRIu64 ",%" PRIu64 ",%" PRIu64 "\n", i,
                            lower, upper, bytes);
  }
  fixture_read read = fixture_read_memory(text, size);
  assert_int_equal(read.result, TEG_END);
  assert_int_equal(read.count, 2 * ROWS);
  uint64_t sum = 0;
  for (size_t i = 0; i < read.count; ++i) {
    const teg_trace_event* event = &read.events[i];
    sum += event->kind == TEG_TRACE_ALLOCATE ? event->size : 0 - event->size;
    bool is_last = i + 1 == read.count || event[1].time_ns != event->time_ns;
    if (is_last) assert_int_equal(sum, live[event->time_ns / 1000]);
    if (i > 0) assert_true(event->time_ns >= event[-1].time_ns);
  }
  fixture_read_free(&read);
  free(text);
}

static void interval_bad_rows_name_the_line(void** state) {
  static const struct {
    const char* text;
    const char* says;
  } rows[] = {
      {"id,lower,higher,size\n", "line 1: expected the header"},
      {"id,lower,upper\n", "line 1: expected the header"},
      {HEADER "a,1,2\n", "line 2: 3 columns"},
      {HEADER ",1,2,3\n", "line 2: the id is empty"},
      {HEADER "a,2,2,3\n", "line 2: upper (2) must be above lower (2)"},
      {HEADER "a,3,2,3\n", "line 2: upper (2) must be above lower (3)"},
      {HEADER "a,-1,2,3\n", "line 2: lower, upper and size"},
      {HEADER "a,1,2.5,3\n", "line 2: lower, upper and size"},
      {HEADER "a,1,18446744073709552,3\n", "line 2: lower, upper and size"},
      {HEADER "a,1,2,0\n", "line 2: a size of 0 bytes"},
      {HEADER "a,1,2,4611686018427387904\n", "below 2^62"},
      {HEADER "a,1,2,3\nb,1,2,3\na,3,4,5\n", "line 4: the id of line 2 again"},
      {HEADER "a,1,2,4611686018427387903\nb,1,2,3\n", "line 3: an allocation"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; ++i) {
    expect_error(rows[i].text, TEG_CORRUPT, rows[i].says);
  }
  expect_error(HEADER "a,1,2", TEG_TRUNCATED, "seems cut");
}

static void interval_rows_are_limited(void** state) {
  static const char text[] = HEADER "a,1,2,3\nb,4,5,3\nc,6,7,3\n";
  teg_trace_reader_params params = TEG_TRACE_READER_PARAMS_INIT;
  params.max_live_count = 2;
  teg_error err;
  teg_trace_reader* reader;
  assert_int_equal(
      teg_trace_reader_open_memory(text, strlen(text), &params, &reader, &err),
      TEG_LIMIT);
  fixture_read read = fixture_read_memory(HEADER, strlen(HEADER));
  assert_int_equal(read.result, TEG_END);
  fixture_read_free(&read);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(interval_rows_become_events_by_time_frees_first),
      cmocka_unit_test(interval_random_rows_keep_live_bytes),
      cmocka_unit_test(interval_bad_rows_name_the_line),
      cmocka_unit_test(interval_rows_are_limited),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
