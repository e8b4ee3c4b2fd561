// SPDX-License-Identifier: Apache-2.0
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/trace_fixture.h"

#define HEADER "Thread,Time,Action,Pointer,Size,Stream\n"
#define ALLOCATED HEADER "0,1,allocate,5,64,0\n"

static void expect_events(const char* text, const teg_trace_event* expected,
                          size_t count) {
  fixture_read read = fixture_read_memory(text, strlen(text));
  if (read.result != TEG_END) fail_msg("%s", read.err.message);
  assert_true(fixture_same(read.events, read.count, expected, count));
  fixture_read_free(&read);
}

static void expect_error(const char* text, teg_result result,
                         const char* says) {
  fixture_read read = fixture_read_memory(text, strlen(text));
  if (read.result != result || !strstr(read.err.message, says)) {
    fail_msg("\"%s\" gives %s: %s", text, teg_result_name(read.result),
             read.err.message);
  }
  fixture_read_free(&read);
}

static void rmm_log_with_clock_and_addresses_is_renumbered(void** state) {
  const teg_trace_event expected[] = {
      {.kind = TEG_TRACE_ALLOCATE, .id = 1, .size = 256, .thread = 1718},
      {.kind = TEG_TRACE_ALLOCATE,
       .time_ns = 1500000000,
       .id = 2,
       .size = 512,
       .thread = 1718,
       .stream = UINT32_C(1) << 31},
      {.kind = TEG_TRACE_FREE,
       .time_ns = 1500001000,
       .id = 1,
       .size = 256,
       .thread = 1718},
      {.kind = TEG_TRACE_ALLOCATE,
       .time_ns = 1500002000,
       .id = 3,
       .size = 100,
       .thread = UINT32_C(1) << 31,
       .stream = 2},
      {.kind = TEG_TRACE_FREE,
       .time_ns = 1500003000,
       .id = 3,
       .size = 100,
       .stream = (UINT32_C(1) << 31) + 1},
      {.kind = TEG_TRACE_FREE,
       .time_ns = 1500003000,
       .id = 2,
       .size = 512,
       .stream = UINT32_C(1) << 31},
  };
  static const char text[] = HEADER
      "1718,23:59:59.000000,allocate,0x7f0000000000,256,0x0\n"
      "1718,00:00:00:500000,allocate,0x7F0000000100,512,0x5581aabbcc00\n"
      "1718,00:00:00.500001,free,0x7f0000000000,256,0x0\n"
      "1718,00:00:00.500001,allocate failure,0x0,99999999999,0x0\n"
      "139912345678912,00:00:00.500002,allocate,0x7f0000000000,100,0x2\n"
      "0,00:00:00.500003,free,0x7f0000000000,100,0x5581aabbcc01\n"
      "0,00:00:00.500003,free,0x7f0000000100,512,0x5581aabbcc00\n";
  expect_events(text, expected, 6);
}

static void rmm_failed_allocations_are_counted(void** state) {
  static const char text[] =
      HEADER "1,5,allocate failure,(nil),1000,0\n0,6,allocate,0x10,1,0\n";
  teg_error err;
  teg_trace_reader* reader;
  assert_int_equal(
      teg_trace_reader_open_memory(text, strlen(text), NULL, &reader, &err),
      TEG_OK);
  teg_trace_event event;
  assert_int_equal(teg_trace_reader_next(reader, &event, &err), TEG_OK);
  assert_int_equal(event.id, 1);
  teg_trace_reader_info info;
  teg_trace_reader_info_get(reader, &info);
  assert_int_equal(info.skipped_count, 1);
  teg_trace_reader_close(reader);
}

static void rmm_clock_may_step_back_a_little(void** state) {
  const teg_trace_event expected[] = {
      {.kind = TEG_TRACE_RUN_BEGIN},
      {.kind = TEG_TRACE_RUN_END},
      {.kind = TEG_TRACE_RUN_BEGIN, .time_ns = 5000},
      {.kind = TEG_TRACE_RUN_END, .time_ns = 3000},
      {.kind = TEG_TRACE_RUN_END, .time_ns = UINT64_C(86400) * 1000000000},
  };
  expect_events(HEADER
                "0,10:00:00.000010,run_begin,,,\n"
                "0,10:00:00.000007,run_end,,,\n"
                "0,10:00:00.000015,run_begin,,,\n"
                "0,10:00:00.000013,run_end,,,\n",
                expected, 4);
  const teg_trace_event days[] = {
      {.kind = TEG_TRACE_RUN_BEGIN},
      {.kind = TEG_TRACE_RUN_BEGIN, .time_ns = UINT64_C(43200) * 1000000000},
      {.kind = TEG_TRACE_RUN_BEGIN, .time_ns = UINT64_C(72000) * 1000000000},
      {.kind = TEG_TRACE_RUN_BEGIN, .time_ns = UINT64_C(86400) * 1000000000},
  };
  expect_events(HEADER
                "0,10:00:00.000000,run_begin,,,\n"
                "0,22:00:00.000000,run_begin,,,\n"
                "0,06:00:00.000000,run_begin,,,\n"
                "0,10:00:00.000000,run_begin,,,\n",
                days, 4);
}

static void rmm_numbers_marks_and_line_ends_are_taken(void** state) {
  const teg_trace_event expected[] = {
      {.kind = TEG_TRACE_ALLOCATE, .time_ns = 1250, .id = 1, .size = 8},
      {.kind = TEG_TRACE_LOAD_END, .time_ns = 2000, .stream = 4},
      {.kind = TEG_TRACE_FREE, .time_ns = 2007, .id = 1, .size = 8},
      {.kind = TEG_TRACE_RUN_END, .time_ns = 3000, .thread = 9},
  };
  expect_events(
      "\xef\xbb\xbfThread,Time,Action,Pointer,Size,Stream\r\n"
      "0,1.25,allocate,0,8,0\r\n"
      "\r\n\n"
      "0,2,load_end,,,4\n"
      "0,2.007,free,0,,0\n"
      "9,3,run_end,,,",
      expected, 4);
  expect_events(HEADER, expected, 0);
}

static void rmm_bad_lines_name_line_and_column(void** state) {
  static const struct {
    const char* text;
    const char* says;
  } lines[] = {
      {"Thread,Time,What,Pointer,Size,Stream\n", "line 1: expected the header"},
      {"Thread,Time,Action,Pointer,Size,Stream,More\n", "line 1: expected"},
      {ALLOCATED "0,1,free,5,64\n", "line 3: 5 columns instead of 6"},
      {ALLOCATED "0,1,free,5,64,0,0\n", "line 3: 7 columns"},
      {ALLOCATED ",,,,,,,,,,,,,,,,,,\n", "line 3: more than 16 columns"},
      {ALLOCATED "\n0,1,free,6,64,0\n", "line 4: frees 6"},
      {ALLOCATED "0,1,free,5,63,0\n", "line 3: frees 5 (0x5) as 63 bytes"},
      {ALLOCATED "0,1,free,5,0,0\n", "line 3: Size is \"0\""},
      {ALLOCATED "0,1,grow,5,64,0\n", "Action is \"grow\", expected allocate"},
      {ALLOCATED "0,,free,5,64,0\n", "Time is \"\""},
      {ALLOCATED "0,12:00:00.000000,free,5,64,0\n", "as on the lines before"},
      {ALLOCATED "0,-1,free,5,64,0\n", "Time is \"-1\""},
      {ALLOCATED "0,1.2345,free,5,64,0\n", "Time is"},
      {ALLOCATED "0,1.,free,5,64,0\n", "Time is"},
      {ALLOCATED "0,18446744073709552,free,5,64,0\n", "Time is"},
      {ALLOCATED "x,1,free,5,64,0\n", "Thread is \"x\", expected a number"},
      {ALLOCATED "0,1,free,0x,64,0\n", "Pointer is \"0x\""},
      {ALLOCATED "0,1,free,0x5g,64,0\n", "Pointer is"},
      {ALLOCATED "0,1,free,0x11112222333344445,64,0\n", "Pointer is"},
      {ALLOCATED "0,1,free,5,64,\n", "Stream is \"\""},
      {ALLOCATED "0,1,free,5,64,18446744073709551616\n", "Stream is"},
      {ALLOCATED "0,1,allocate,6,1e3,0\n", "Size is \"1e3\""},
      {ALLOCATED "0,1,allocate,6,,0\n", "Size is \"\""},
      {ALLOCATED "0,1,allocate,6,-5,0\n", "Size is \"-5\""},
      {ALLOCATED "0,1,allocate,6,4611686018427387904,0\n", "below 2^62"},
      {ALLOCATED "0,1,allocate,6,4611686018427387841,0\n", "below 2^62"},
      {ALLOCATED "0,1,load_end,5,,\n", "nothing beside a mark"},
      {ALLOCATED "0,1,load_end,,5,\n", "nothing beside a mark"},
      {ALLOCATED "0,1,load_end,,,x\n", "Stream is \"x\""},
      {HEADER "0,24:00:00.000000,run_end,,,\n", "Time is"},
      {HEADER "0,12:60:00.000000,run_end,,,\n", "Time is"},
      {HEADER "0,12:00:00.00000,run_end,,,\n", "Time is"},
      {HEADER "0,12:00:00.000000,run_end,,,\n0,5,run_end,,,\n",
       "expected HH:MM:SS.ffffff as on the lines before"},
  };
  for (size_t i = 0; i < sizeof lines / sizeof *lines; ++i) {
    expect_error(lines[i].text, TEG_CORRUPT, lines[i].says);
  }
  expect_error(ALLOCATED "0,1,fr", TEG_TRUNCATED, "seems cut");
  expect_error("Thread,Time,Act", TEG_TRUNCATED, "seems cut");
}

static void rmm_lines_too_long_are_refused(void** state) {
  char text[3000] = ALLOCATED;
  size_t start = strlen(text);
  memset(text + start, '7', 1025);
  expect_error(text, TEG_CORRUPT, "line 3: longer than 1024 bytes");
  strcat(text, "\n");
  expect_error(text, TEG_CORRUPT, "line 3: longer than 1024 bytes");
  text[start + 1024] = '\n';
  text[start + 1025] = '\0';
  expect_error(text, TEG_CORRUPT, "line 3: 1 columns");
}

static void rmm_handles_beyond_the_limit_are_refused(void** state) {
  enum { HANDLES = 65537, LINE = 64 };
  char* text = malloc((size_t)HANDLES * LINE + 64);
  assert_non_null(text);
  size_t size = (size_t)sprintf(text, HEADER);
  for (uint64_t i = 0; i < HANDLES; ++i) {
    size += (size_t)sprintf(text + size, "0,1,run_end,,,0x%" PRIx64 "\n",
                            (UINT64_C(1) << 40) + i);
  }
  fixture_read read = fixture_read_memory(text, size);
  assert_int_equal(read.result, TEG_CORRUPT);
  assert_int_equal(read.count, 65536);
  assert_int_equal(read.events[65535].stream, (UINT32_C(1) << 31) + 65535);
  fixture_read_free(&read);
  free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rmm_log_with_clock_and_addresses_is_renumbered),
      cmocka_unit_test(rmm_failed_allocations_are_counted),
      cmocka_unit_test(rmm_clock_may_step_back_a_little),
      cmocka_unit_test(rmm_numbers_marks_and_line_ends_are_taken),
      cmocka_unit_test(rmm_bad_lines_name_line_and_column),
      cmocka_unit_test(rmm_lines_too_long_are_refused),
      cmocka_unit_test(rmm_handles_beyond_the_limit_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
