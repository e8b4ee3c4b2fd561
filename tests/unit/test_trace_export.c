// SPDX-License-Identifier: Apache-2.0
//
// What is made of whole traces: the sum, and the timeline for Perfetto.
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/trace_fixture.h"

static const teg_trace_event sample_events[] = {
    {.kind = TEG_TRACE_ALLOCATE,
     .id = 1,
     .size = 1000,
     .time_ns = 2000,
     .tag = 1,
     .lifetime = 1},
    {.kind = TEG_TRACE_LOAD_END, .time_ns = 3000},
    {.kind = TEG_TRACE_RUN_BEGIN, .time_ns = 4000, .thread = 2},
    {.kind = TEG_TRACE_ALLOCATE,
     .id = 2,
     .size = 1536,
     .time_ns = 5001,
     .stream = 3},
    {.kind = TEG_TRACE_ALLOCATE, .id = 3, .size = 1000, .time_ns = 1000},
    {.kind = TEG_TRACE_FREE, .id = 2, .size = 1536, .time_ns = 9000},
    {.kind = TEG_TRACE_RUN_END, .time_ns = 9500, .thread = 2},
    {.kind = TEG_TRACE_ALLOCATE, .id = 4, .size = 1, .time_ns = 9600},
    {.kind = TEG_TRACE_RUN_END, .time_ns = 9700},
};
enum { COUNT = sizeof sample_events / sizeof *sample_events };

static void summary_counts_every_kind(void** state) {
  fixture_bytes bytes =
      fixture_write(sample_events, COUNT, TEG_TRACE_FORMAT_TGT, 2, 1);
  teg_error err;
  teg_trace_reader* reader;
  assert_int_equal(
      teg_trace_reader_open_memory(bytes.data, bytes.size, NULL, &reader, &err),
      TEG_OK);
  teg_trace_summary sum;
  assert_int_equal(teg_trace_summarize(reader, &sum, &err), TEG_OK);
  teg_trace_reader_close(reader);
  free(bytes.data);
  assert_int_equal(sum.event_count, COUNT);
  assert_int_equal(sum.allocate_count, 4);
  assert_int_equal(sum.free_count, 1);
  assert_int_equal(sum.run_count, 1);
  assert_int_equal(sum.load_end_count, 1);
  assert_int_equal(sum.distinct_size_count, 3);
  assert_int_equal(sum.largest_size, 1536);
  assert_int_equal(sum.allocated_bytes, 3537);
  assert_int_equal(sum.weight_count, 1);
  assert_int_equal(sum.weight_bytes, 1000);
  assert_int_equal(sum.peak_live_bytes, 3536);
  assert_int_equal(sum.peak_live_count, 3);
  assert_int_equal(sum.peak_event_index, 4);
  assert_int_equal(sum.peak_time_ns, 1000);
  assert_int_equal(sum.end_live_count, 3);
  assert_int_equal(sum.end_live_bytes, 2001);
  assert_int_equal(sum.first_time_ns, 1000);
  assert_int_equal(sum.duration_ns, 8700);
  assert_int_equal(sum.stream_count, 2);
  assert_int_equal(sum.thread_count, 2);
}

static void summary_of_a_broken_trace_is_zero(void** state) {
  static const char text[] =
      "Thread,Time,Action,Pointer,Size,Stream\n0,1,allocate,1,8,0\n?\n";
  teg_error err;
  teg_trace_reader* reader;
  assert_int_equal(
      teg_trace_reader_open_memory(text, strlen(text), NULL, &reader, &err),
      TEG_OK);
  teg_trace_summary sum, zero;
  memset(&zero, 0, sizeof zero);
  memset(&sum, 1, sizeof sum);
  assert_int_equal(teg_trace_summarize(reader, &sum, &err), TEG_CORRUPT);
  assert_memory_equal(&sum, &zero, sizeof sum);
  teg_trace_reader_close(reader);
}

static json_t* find(json_t* events, const char* name, const char* phase,
                    size_t skip) {
  size_t index;
  json_t* event;
  json_array_foreach(events, index, event) {
    const char* its_name = json_string_value(json_object_get(event, "name"));
    const char* its_phase = json_string_value(json_object_get(event, "ph"));
    assert_non_null(its_name);
    assert_non_null(its_phase);
    if (!strcmp(name, its_name) && !strcmp(phase, its_phase) && skip-- == 0) {
      return event;
    }
  }
  return NULL;
}

static double number_of(json_t* event, const char* key) {
  json_t* value = json_object_get(event, key);
  if (!value) value = json_object_get(json_object_get(event, "args"), key);
  assert_true(json_is_number(value));
  return json_number_value(value);
}

static json_t* load_timeline(const teg_trace_event* events, size_t count,
                             uint32_t tags) {
  fixture_bytes bytes =
      fixture_write(events, count, TEG_TRACE_FORMAT_CHROME_JSON, 0, tags);
  json_error_t error;
  json_t* root = json_loadb((const char*)bytes.data, bytes.size, 0, &error);
  if (!root) fail_msg("line %d: %s", error.line, error.text);
  free(bytes.data);
  return root;
}

static void timeline_has_counter_slices_and_marks(void** state) {
  json_t* root = load_timeline(sample_events, COUNT, 1);
  json_t* events = json_object_get(root, "traceEvents");
  assert_int_equal(json_array_size(events), 1 + 4 * 2 + 2 + 4 + 2);
  json_t* tagged = find(events, "tag 1", "b", 0);
  assert_non_null(tagged);
  assert_true(number_of(tagged, "ts") == 2);
  assert_true(number_of(tagged, "bytes") == 1000);
  json_t* begin = find(events, "1.50 KiB", "b", 0);
  json_t* end = find(events, "1.50 KiB", "e", 0);
  assert_true(number_of(begin, "ts") == 5.001);
  assert_true(number_of(end, "ts") == 9);
  assert_true(number_of(begin, "stream") == 3);
  assert_string_equal(json_string_value(json_object_get(begin, "id")),
                      json_string_value(json_object_get(end, "id")));
  json_t* counter = find(events, "live bytes", "C", 2);
  assert_true(number_of(counter, "bytes") == 3536);
  assert_non_null(find(events, "load_end", "i", 0));
  assert_non_null(find(events, "run_begin", "i", 0));
  assert_non_null(find(events, "run_end", "i", 1));
  // One run; the second end has no beginning.
  assert_non_null(find(events, "run", "b", 0));
  assert_non_null(find(events, "run", "e", 0));
  assert_null(find(events, "run", "e", 1));
  json_decref(root);
}

static void timeline_of_random_events_is_json(void** state) {
  enum { MANY = 5000 };
  teg_trace_event* many = fixture_events(1, MANY, 0);
  json_decref(load_timeline(many, MANY, 3));
  free(many);
  json_decref(load_timeline(sample_events, 0, 0));
}

static void timeline_escapes_names_and_tags(void** state) {
  fixture_bytes bytes = {0};
  teg_trace_sink sink = fixture_sink(&bytes);
  teg_trace_writer_params params = TEG_TRACE_WRITER_PARAMS_INIT;
  params.format = TEG_TRACE_FORMAT_CHROME_JSON;
  char name[256];
  memset(name, 1, 255);
  name[255] = '\0';
  params.name = name;
  teg_trace_writer* writer;
  assert_int_equal(teg_trace_writer_open_sink(&sink, &params, &writer, NULL),
                   TEG_OK);
  uint32_t tag;
  assert_int_equal(
      teg_trace_writer_add_tag(writer, "a\"\\\n\xff%s", &tag, NULL), TEG_OK);
  teg_trace_event event = {
      .kind = TEG_TRACE_ALLOCATE, .id = 1, .size = 1, .tag = tag};
  assert_int_equal(teg_trace_writer_append(writer, &event, NULL), TEG_OK);
  assert_int_equal(teg_trace_writer_finish(writer, NULL), TEG_OK);
  teg_trace_writer_close(writer);
  json_t* root = json_loadb((const char*)bytes.data, bytes.size, 0, NULL);
  assert_non_null(root);
  json_t* events = json_object_get(root, "traceEvents");
  assert_non_null(find(events, "a\"\\\n?%s", "b", 0));
  json_decref(root);
  free(bytes.data);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(summary_counts_every_kind),
      cmocka_unit_test(summary_of_a_broken_trace_is_zero),
      cmocka_unit_test(timeline_has_counter_slices_and_marks),
      cmocka_unit_test(timeline_of_random_events_is_json),
      cmocka_unit_test(timeline_escapes_names_and_tags),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
