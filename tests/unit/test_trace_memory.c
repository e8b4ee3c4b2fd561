// SPDX-License-Identifier: Apache-2.0
//
// The k-th host allocation fails, for every k until all goes well.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/trace_fixture.h"

enum { COUNT = 3000 };

// Reads |bytes| with |heap| and sums up; the count of its events goes out.
static teg_result read_with(fixture_heap* heap, const fixture_bytes* bytes,
                            uint64_t* out_count) {
  teg_trace_reader_params params = TEG_TRACE_READER_PARAMS_INIT;
  params.allocator = fixture_allocator(heap);
  teg_error err;
  teg_trace_reader* reader;
  teg_result result = teg_trace_reader_open_memory(bytes->data, bytes->size,
                                                   &params, &reader, &err);
  if (result == TEG_OK) {
    teg_trace_summary sum;
    result = teg_trace_summarize(reader, &sum, &err);
    *out_count = sum.event_count;
    teg_trace_reader_close(reader);
  } else {
    assert_null(reader);
  }
  assert_int_equal(err.result, result);
  if (result != TEG_OK) assert_true(err.message[0] != '\0');
  return result;
}

static void expect_every_failure_read(const fixture_bytes* bytes,
                                      uint64_t event_count) {
  for (uint64_t k = 1;; ++k) {
    fixture_heap heap = {.fail_at = k};
    uint64_t count = 0;
    teg_result result = read_with(&heap, bytes, &count);
    assert_int_equal(heap.live_count, 0);
    assert_int_equal(heap.live_bytes, 0);
    if (result == TEG_OK) {
      assert_true(heap.calls < k);
      assert_int_equal(count, event_count);
      return;
    }
    assert_int_equal(result, TEG_OUT_OF_HOST_MEMORY);
    assert_true(k < 10000);
  }
}

static fixture_bytes bytes_of_path(const char* path) {
  fixture_bytes bytes = {0};
  FILE* file = fopen(path, "rb");
  assert_non_null(file);
  bytes.data = malloc(1 << 20);
  assert_non_null(bytes.data);
  bytes.size = fread(bytes.data, 1, 1 << 20, file);
  fclose(file);
  remove(path);
  return bytes;
}

static void memory_failing_in_the_reader_is_reported(void** state) {
  teg_trace_event* events = fixture_events(21, COUNT, 1);
  static const teg_trace_format formats[] = {TEG_TRACE_FORMAT_TGT,
                                             TEG_TRACE_FORMAT_RMM_CSV};
  for (size_t i = 0; i < 2; ++i) {
    fixture_bytes bytes = fixture_write(events, COUNT, formats[i], 1000, 20);
    expect_every_failure_read(&bytes, COUNT);
    free(bytes.data);
  }
  static const char intervals[] =
      "id,lower,upper,size\na,1,2,3\nb,3,4,5\nc,3,4,5\nd,3,4,5\n"
      "e,1,2,3\nf,1,2,3\ng,1,2,3\nh,1,2,3\ni,1,2,3\nj,1,2,3\n";
  fixture_bytes bytes = {(uint8_t*)intervals, sizeof intervals - 1, 0};
  expect_every_failure_read(&bytes, 20);
  free(events);
}

// Writes |events| to |path| with |heap|.
static teg_result write_with(fixture_heap* heap, const char* path,
                             const teg_trace_event* events) {
  teg_trace_writer_params params = TEG_TRACE_WRITER_PARAMS_INIT;
  params.block_event_count = 1000;
  params.compression_level = 1;
  params.allocator = fixture_allocator(heap);
  teg_error err;
  teg_trace_writer* writer;
  teg_result result = teg_trace_writer_open(path, &params, &writer, &err);
  if (result != TEG_OK) {
    assert_null(writer);
    assert_true(err.message[0] != '\0');
    return result;
  }
  uint32_t tag;
  result = teg_trace_writer_add_tag(writer, "tag", &tag, &err);
  for (size_t i = 0; i < COUNT && result == TEG_OK; ++i) {
    result = teg_trace_writer_append(writer, &events[i], &err);
  }
  if (result == TEG_OK) result = teg_trace_writer_finish(writer, &err);
  if (result != TEG_OK) assert_true(err.message[0] != '\0');
  teg_trace_writer_close(writer);
  return result;
}

static void memory_failing_in_the_writer_leaves_no_file(void** state) {
  teg_trace_event* events = fixture_events(22, COUNT, 1);
  static const char* const paths[] = {"oom.tgt", "oom.csv", "oom.csv.gz",
                                      "oom.csv.zst", "oom.json"};
  for (size_t i = 0; i < sizeof paths / sizeof *paths; ++i) {
    teg_result result = TEG_OUT_OF_HOST_MEMORY;
    for (uint64_t k = 1; result != TEG_OK; ++k) {
      fixture_heap heap = {.fail_at = k};
      result = write_with(&heap, paths[i], events);
      assert_int_equal(heap.live_count, 0);
      FILE* file = fopen(paths[i], "rb");
      assert_int_equal(file != NULL, result == TEG_OK);
      if (file) fclose(file);
      if (result != TEG_OK) {
        assert_int_equal(result, TEG_OUT_OF_HOST_MEMORY);
      }
      assert_true(k < 10000);
    }
    if (!strstr(paths[i], "json")) {
      fixture_bytes bytes = bytes_of_path(paths[i]);
      expect_every_failure_read(&bytes, COUNT);
      free(bytes.data);
    }
    remove(paths[i]);
  }
  free(events);
}

static void memory_of_the_reader_is_bounded_by_what_is_live(void** state) {
  enum { MANY = 300000 };
  teg_trace_event* events = fixture_events(23, MANY, 1);
  fixture_bytes bytes = fixture_write(events, MANY, TEG_TRACE_FORMAT_TGT, 0, 0);
  fixture_heap heap = {0};
  uint64_t count;
  assert_int_equal(read_with(&heap, &bytes, &count), TEG_OK);
  assert_int_equal(count, MANY);
  // All sizes are different here: the sum's map of sizes is the largest part.
  assert_true(heap.peak_bytes < 32 << 20);
  free(bytes.data);
  free(events);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(memory_failing_in_the_reader_is_reported),
      cmocka_unit_test(memory_failing_in_the_writer_leaves_no_file),
      cmocka_unit_test(memory_of_the_reader_is_bounded_by_what_is_live),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
