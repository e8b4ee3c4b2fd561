// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/trace_fixture.h"

#define HEADER "Thread,Time,Action,Pointer,Size,Stream\n"

static teg_trace_reader* open_text(const char* text) {
  teg_error err;
  teg_trace_reader* reader;
  teg_result result =
      teg_trace_reader_open_memory(text, strlen(text), NULL, &reader, &err);
  if (result != TEG_OK) fail_msg("%s", err.message);
  return reader;
}

// A source that gives |step| bytes a call, and fails at |fail_at|.
typedef struct drip {
  const uint8_t* data;
  size_t size, at, step, fail_at;
  int closed;
  const char* message;
} drip;

static teg_result drip_read(void* user, void* buffer, size_t capacity,
                            size_t* out_size, teg_error* err) {
  drip* from = user;
  assert_int_equal(from->closed, 0);
  assert_non_null(err);
  if (from->fail_at && from->at >= from->fail_at) {
    if (from->message) strcpy(err->message, from->message);
    return TEG_DEVICE_LOST;
  }
  size_t size = from->size - from->at;
  if (size > from->step) size = from->step;
  if (size > capacity) size = capacity;
  memcpy(buffer, from->data + from->at, size);
  from->at += size;
  *out_size = size;
  return TEG_OK;
}

static void drip_close(void* user) { ++((drip*)user)->closed; }

static void reader_refuses_bad_arguments(void** state) {
  teg_error err;
  teg_trace_reader* reader = (teg_trace_reader*)&err;
  assert_int_equal(teg_trace_reader_open(NULL, NULL, &reader, &err),
                   TEG_INVALID);
  assert_null(reader);
  assert_int_equal(teg_trace_reader_open("", NULL, &reader, NULL), TEG_INVALID);
  assert_int_equal(teg_trace_reader_open("x", NULL, NULL, &err), TEG_INVALID);
  assert_int_equal(teg_trace_reader_open_memory(NULL, 1, NULL, &reader, &err),
                   TEG_INVALID);
  teg_trace_source none = {0};
  assert_int_equal(
      teg_trace_reader_open_source(&none, NULL, NULL, &reader, &err),
      TEG_INVALID);
  teg_trace_reader_params params = TEG_TRACE_READER_PARAMS_INIT;
  params.struct_size = 4;
  assert_int_equal(
      teg_trace_reader_open_memory(HEADER, 39, &params, &reader, &err),
      TEG_INVALID);
  params = (teg_trace_reader_params)TEG_TRACE_READER_PARAMS_INIT;
  params.reserved = 1;
  assert_int_equal(
      teg_trace_reader_open_memory(HEADER, 39, &params, &reader, &err),
      TEG_INVALID);
  teg_trace_reader_close(NULL);
}

static void reader_next_refuses_bad_arguments(void** state) {
  teg_trace_reader* reader = open_text(HEADER);
  teg_trace_event event;
  size_t count = 7;
  assert_int_equal(teg_trace_reader_next_many(reader, 0, &event, &count, NULL),
                   TEG_INVALID);
  assert_int_equal(count, 0);
  assert_int_equal(teg_trace_reader_next(NULL, &event, NULL), TEG_INVALID);
  assert_int_equal(teg_trace_reader_next_many(reader, 1, &event, NULL, NULL),
                   TEG_INVALID);
  teg_trace_reader_close(reader);
}

static void reader_of_a_missing_file_names_it(void** state) {
  teg_error err;
  teg_trace_reader* reader;
  assert_int_equal(teg_trace_reader_open("no/such.tgt", NULL, &reader, &err),
                   TEG_IO);
  assert_int_equal(err.native_code, ENOENT);
  assert_non_null(strstr(err.message, "no/such.tgt"));
  assert_int_equal(teg_trace_reader_open("/", NULL, &reader, &err), TEG_IO);
  assert_int_equal(err.native_code, EISDIR);
}

static void reader_of_a_pickle_names_the_converter(void** state) {
  teg_error err;
  teg_trace_reader* reader;
  assert_int_equal(
      teg_trace_reader_open_memory("\x80\x04\x95\x0a", 4, NULL, &reader, &err),
      TEG_UNSUPPORTED);
  assert_non_null(strstr(err.message, "tools/pytorch_snapshot.py"));
}

static void reader_gives_events_before_a_broken_line_first(void** state) {
  teg_trace_reader* reader = open_text(HEADER
                                       "0,1,allocate,1,8,0\n"
                                       "0,2,run_begin,,,\n"
                                       "0,3,free,9,8,0\n"
                                       "0,4,free,1,8,0\n");
  teg_trace_event events[8];
  size_t count;
  teg_error err;
  assert_int_equal(teg_trace_reader_next_many(reader, 8, events, &count, &err),
                   TEG_OK);
  assert_int_equal(count, 2);
  for (int i = 0; i < 3; ++i) {
    assert_int_equal(
        teg_trace_reader_next_many(reader, 8, events, &count, &err),
        TEG_CORRUPT);
    assert_int_equal(count, 0);
    assert_non_null(strstr(err.message, "line 4"));
  }
  memset(events, 1, sizeof events);
  assert_int_equal(teg_trace_reader_next(reader, events, NULL), TEG_CORRUPT);
  teg_trace_reader_close(reader);
}

static void reader_says_end_again_and_again(void** state) {
  teg_trace_reader* reader = open_text(HEADER "0,1,allocate,1,8,0\n");
  teg_trace_event event;
  teg_error err;
  assert_int_equal(teg_trace_reader_next(reader, &event, &err), TEG_OK);
  assert_int_equal(teg_trace_reader_next(reader, &event, &err), TEG_END);
  assert_int_equal(teg_trace_reader_next(reader, &event, &err), TEG_END);
  assert_int_equal(event.kind, 0);
  teg_trace_reader_info info;
  teg_trace_reader_info_get(reader, &info);
  assert_int_equal(info.format, TEG_TRACE_FORMAT_RMM_CSV);
  assert_int_equal(info.event_count, 1);
  assert_int_equal(info.live_count, 1);
  assert_int_equal(info.live_bytes, 8);
  assert_int_equal(info.byte_count, info.total_bytes);
  assert_string_equal(info.name, "");
  teg_trace_reader_close(reader);
}

static void reader_limits_what_is_live(void** state) {
  static const char text[] =
      HEADER "0,1,allocate,1,8,0\n0,1,allocate,2,8,0\n0,1,allocate,3,8,0\n";
  teg_trace_reader_params params = TEG_TRACE_READER_PARAMS_INIT;
  params.max_live_count = 2;
  teg_error err;
  teg_trace_reader* reader;
  assert_int_equal(
      teg_trace_reader_open_memory(text, strlen(text), &params, &reader, &err),
      TEG_OK);
  teg_trace_event events[4];
  size_t count;
  assert_int_equal(teg_trace_reader_next_many(reader, 4, events, &count, &err),
                   TEG_OK);
  assert_int_equal(count, 2);
  assert_int_equal(teg_trace_reader_next(reader, events, &err), TEG_LIMIT);
  assert_non_null(strstr(err.message, "max_live_count"));
  teg_trace_reader_close(reader);
}

static void reader_is_named_after_the_file(void** state) {
  static const struct {
    const char* path;
    const char* name;
  } names[] = {{"a/b/model.csv.gz", "model"},
               {"deepseek-r1-1.5b.csv.gz", "deepseek-r1-1.5b"},
               {"v2.csv", "v2"},
               {".hidden.csv", ".hidden"},
               {"plain", "plain"},
               {"", ""}};
  for (size_t i = 0; i < sizeof names / sizeof *names; ++i) {
    drip from = {
        .data = (const uint8_t*)HEADER, .size = sizeof HEADER - 1, .step = 99};
    teg_trace_source source = {drip_read, NULL, &from};
    teg_error err;
    teg_trace_reader* reader;
    assert_int_equal(teg_trace_reader_open_source(&source, names[i].path, NULL,
                                                  &reader, &err),
                     TEG_OK);
    teg_trace_reader_info info;
    teg_trace_reader_info_get(reader, &info);
    assert_string_equal(info.name, names[i].name);
    teg_trace_reader_close(reader);
  }
}

static void reader_takes_a_source_a_byte_at_a_time(void** state) {
  static const teg_trace_format formats[] = {TEG_TRACE_FORMAT_TGT,
                                             TEG_TRACE_FORMAT_RMM_CSV};
  teg_trace_event* events = fixture_events(4, 300, 1);
  for (size_t i = 0; i < 2; ++i) {
    fixture_bytes bytes = fixture_write(events, 300, formats[i], 64, 0);
    drip from = {.data = bytes.data, .size = bytes.size, .step = 1};
    teg_trace_source source = {drip_read, drip_close, &from};
    teg_error err;
    teg_trace_reader* reader;
    assert_int_equal(teg_trace_reader_open_source(&source, "dir/drip.bin", NULL,
                                                  &reader, &err),
                     TEG_OK);
    teg_trace_event got;
    for (size_t j = 0; j < 300; ++j) {
      assert_int_equal(teg_trace_reader_next(reader, &got, &err), TEG_OK);
      assert_true(fixture_same(&got, 1, &events[j], 1));
    }
    assert_int_equal(teg_trace_reader_next(reader, &got, &err), TEG_END);
    teg_trace_reader_info info;
    teg_trace_reader_info_get(reader, &info);
    assert_string_equal(info.name, i ? "drip" : "fixture");
    assert_int_equal(info.total_bytes, 0);
    assert_int_equal(info.byte_count, bytes.size);
    assert_int_equal(from.closed, 0);
    teg_trace_reader_close(reader);
    assert_int_equal(from.closed, 1);
    free(bytes.data);
  }
  free(events);
}

static void reader_passes_on_what_a_source_reports(void** state) {
  static const char text[] = HEADER "0,1,allocate,1,8,0\n";
  for (int has_message = 0; has_message < 2; ++has_message) {
    for (size_t at = 1; at < sizeof text - 1; at += 7) {
      drip from = {.data = (const uint8_t*)text,
                   .size = sizeof text - 1,
                   .step = 1,
                   .fail_at = at,
                   .message = has_message ? "the pipe broke" : NULL};
      teg_trace_source source = {drip_read, drip_close, &from};
      teg_error err;
      teg_trace_reader* reader;
      assert_int_equal(
          teg_trace_reader_open_source(&source, "pipe", NULL, &reader, &err),
          TEG_DEVICE_LOST);
      assert_null(reader);
      assert_int_equal(from.closed, 1);
      assert_non_null(strstr(err.message, has_message ? "broke" : "pipe: the"));
    }
  }
}

static void reader_works_without_an_error_to_fill(void** state) {
  static const char text[] = HEADER "0,1,free,1,8,0\n";
  teg_trace_reader* reader;
  assert_int_equal(teg_trace_reader_open_memory("zzzz", 4, NULL, &reader, NULL),
                   TEG_CORRUPT);
  assert_int_equal(
      teg_trace_reader_open_memory(text, strlen(text), NULL, &reader, NULL),
      TEG_OK);
  teg_trace_event event;
  assert_int_equal(teg_trace_reader_next(reader, &event, NULL), TEG_CORRUPT);
  teg_trace_reader_close(reader);
}

static void trace_names_are_known(void** state) {
  assert_string_equal(teg_trace_format_name(TEG_TRACE_FORMAT_TGT), "tgt");
  assert_string_equal(teg_trace_format_name((teg_trace_format)99), "unknown");
  assert_string_equal(teg_trace_kind_name(TEG_TRACE_RUN_END), "run_end");
  assert_string_equal(teg_trace_kind_name(0), "unknown");
  assert_string_equal(teg_trace_kind_name(6), "unknown");
  assert_int_equal(teg_trace_format_of_path("a.json.gz"),
                   TEG_TRACE_FORMAT_CHROME_JSON);
  assert_int_equal(teg_trace_format_of_path("a.tgt"), TEG_TRACE_FORMAT_TGT);
  assert_int_equal(teg_trace_format_of_path("a.txt"), TEG_TRACE_FORMAT_UNKNOWN);
  assert_int_equal(teg_trace_format_of_path(NULL), TEG_TRACE_FORMAT_UNKNOWN);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(reader_refuses_bad_arguments),
      cmocka_unit_test(reader_next_refuses_bad_arguments),
      cmocka_unit_test(reader_of_a_missing_file_names_it),
      cmocka_unit_test(reader_of_a_pickle_names_the_converter),
      cmocka_unit_test(reader_gives_events_before_a_broken_line_first),
      cmocka_unit_test(reader_says_end_again_and_again),
      cmocka_unit_test(reader_limits_what_is_live),
      cmocka_unit_test(reader_is_named_after_the_file),
      cmocka_unit_test(reader_takes_a_source_a_byte_at_a_time),
      cmocka_unit_test(reader_passes_on_what_a_source_reports),
      cmocka_unit_test(reader_works_without_an_error_to_fill),
      cmocka_unit_test(trace_names_are_known),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
