// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/trace_fixture.h"

static void expect_round_trip(const teg_trace_event* events, size_t count,
                              teg_trace_format format, uint32_t block_events) {
  fixture_bytes bytes = fixture_write(events, count, format, block_events, 3);
  fixture_read read = fixture_read_memory(bytes.data, bytes.size);
  if (read.result != TEG_END) fail_msg("%s", read.err.message);
  assert_true(fixture_same(events, count, read.events, read.count));
  fixture_read_free(&read);
  free(bytes.data);
}

static void trace_own_format_round_trips_random_events(void** state) {
  static const uint32_t blocks[] = {0, 1, 2, 100, 65536};
  for (uint64_t seed = 0; seed < 40; ++seed) {
    size_t count = seed < 5 ? (size_t)seed : (size_t)(seed * 97);
    teg_trace_event* events = fixture_events(seed, count, 0);
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; ++i) {
      if (blocks[i] == 1 && count > 500) continue;
      expect_round_trip(events, count, TEG_TRACE_FORMAT_TGT, blocks[i]);
    }
    free(events);
  }
}

static void trace_own_format_round_trips_over_many_blocks(void** state) {
  enum { COUNT = 200000 };
  teg_trace_event* events = fixture_events(77, COUNT, 0);
  expect_round_trip(events, COUNT, TEG_TRACE_FORMAT_TGT, 0);
  free(events);
}

static void trace_own_format_round_trips_extreme_values(void** state) {
  const uint64_t most = UINT64_MAX;
  const teg_trace_event events[] = {
      {.kind = TEG_TRACE_ALLOCATE, .time_ns = most, .id = most - 1, .size = 1},
      {.kind = TEG_TRACE_ALLOCATE,
       .id = most,
       .size = (UINT64_C(1) << 62) - 2,
       .stream = UINT32_MAX,
       .thread = UINT32_MAX,
       .tag = 3,
       .flags = TEG_TRACE_EVENT_DEDICATED,
       .lifetime = 255},
      {.kind = TEG_TRACE_RUN_END, .time_ns = most, .stream = UINT32_MAX},
      {.kind = TEG_TRACE_FREE, .time_ns = 1, .id = most - 1, .size = 1},
      {.kind = TEG_TRACE_FREE,
       .time_ns = most - 1,
       .id = most,
       .size = (UINT64_C(1) << 62) - 2,
       .tag = 3,
       .lifetime = 255},
  };
  expect_round_trip(events, 5, TEG_TRACE_FORMAT_TGT, 0);
  expect_round_trip(events, 5, TEG_TRACE_FORMAT_TGT, 1);
}

static void trace_rmm_csv_round_trips_random_events(void** state) {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    size_t count = (size_t)(seed * 31);
    teg_trace_event* events = fixture_events(seed, count, 1);
    expect_round_trip(events, count, TEG_TRACE_FORMAT_RMM_CSV, 0);
    free(events);
  }
}

// Writes to |path| by its extension and reads back.
static void expect_file(const teg_trace_event* events, size_t count,
                        const char* path) {
  teg_error err;
  teg_trace_writer* writer;
  assert_int_equal(teg_trace_writer_open(path, NULL, &writer, &err), TEG_OK);
  for (size_t i = 0; i < count; ++i) {
    assert_int_equal(teg_trace_writer_append(writer, &events[i], &err), TEG_OK);
  }
  assert_int_equal(teg_trace_writer_finish(writer, &err), TEG_OK);
  teg_trace_writer_close(writer);
  fixture_read read = fixture_read_path(path);
  assert_int_equal(read.result, TEG_END);
  assert_true(fixture_same(events, count, read.events, read.count));
  fixture_read_free(&read);
}

static void trace_files_are_packed_as_their_extension_says(void** state) {
  static const struct {
    const char* path;
    const char* magic;
  } files[] = {{"out.tgt", "\x89TGT"},
               {"out.csv", "Thread"},
               {"out.csv.gz", "\x1f\x8b"},
               {"out.csv.zst", "\x28\xb5\x2f\xfd"}};
  enum { COUNT = 30000 };
  teg_trace_event* events = fixture_events(5, COUNT, 1);
  for (size_t i = 0; i < sizeof files / sizeof *files; ++i) {
    expect_file(events, COUNT, files[i].path);
    char start[8] = {0};
    FILE* file = fopen(files[i].path, "rb");
    assert_non_null(file);
    assert_int_equal(fread(start, 1, 4, file), 4);
    fclose(file);
    assert_memory_equal(start, files[i].magic, strnlen(files[i].magic, 4));
    unlink(files[i].path);
  }
  free(events);
}

static void trace_copy_keeps_tags_beside_tags_that_were_there(void** state) {
  const teg_trace_event in[] = {
      {.kind = TEG_TRACE_ALLOCATE, .id = 1, .size = 8, .tag = 2},
      {.kind = TEG_TRACE_ALLOCATE, .id = 2, .size = 8},
  };
  fixture_bytes from = fixture_write(in, 2, TEG_TRACE_FORMAT_TGT, 1, 2);
  fixture_bytes to = {0};
  teg_trace_sink sink = fixture_sink(&to);
  teg_trace_writer_params params = TEG_TRACE_WRITER_PARAMS_INIT;
  params.format = TEG_TRACE_FORMAT_TGT;
  teg_error err;
  teg_trace_reader* reader;
  teg_trace_writer* writer;
  uint32_t tag;
  assert_int_equal(teg_trace_writer_open_sink(&sink, &params, &writer, &err),
                   TEG_OK);
  assert_int_equal(teg_trace_writer_add_tag(writer, "mine", &tag, &err),
                   TEG_OK);
  assert_int_equal(
      teg_trace_reader_open_memory(from.data, from.size, NULL, &reader, &err),
      TEG_OK);
  assert_int_equal(teg_trace_copy(reader, writer, &err), TEG_OK);
  assert_int_equal(teg_trace_writer_finish(writer, &err), TEG_OK);
  teg_trace_writer_close(writer);
  teg_trace_reader_close(reader);

  assert_int_equal(
      teg_trace_reader_open_memory(to.data, to.size, NULL, &reader, &err),
      TEG_OK);
  teg_trace_event event;
  assert_int_equal(teg_trace_reader_next(reader, &event, &err), TEG_OK);
  assert_string_equal(teg_trace_reader_tag(reader, event.tag), "tag 2");
  assert_int_equal(teg_trace_reader_next(reader, &event, &err), TEG_OK);
  assert_int_equal(event.tag, 0);
  assert_string_equal(teg_trace_reader_tag(reader, 0), "");
  assert_string_equal(teg_trace_reader_tag(reader, 1), "mine");
  assert_string_equal(teg_trace_reader_tag(reader, 4), "");
  teg_trace_reader_close(reader);
  free(from.data);
  free(to.data);
}

static void shipped_traces_are_what_their_readme_says(void** state) {
  static const struct {
    const char* name;
    uint64_t events, sizes, runs, peak, weights;
  } traces[] = {
      {"llama32-1b", 367203, 155, 258, 2996965636, 2471629060},
      {"phi3-mini", 705923, 158, 258, 8159441924, 7642159492},
      {"deepseek-r1-1.5b", 634876, 154, 258, 3684027524, 3554176516},
      {"sdxl", 48623, 105, 10, 6543361185, 5223416846},
      {"sdxl-vae-sizes", 3581, 95, 6, 2416595609, 98980358},
      {"bert-serving", 145991, 1552, 300, 498683680, 218972672},
  };
  int64_t total = 0;
  for (size_t i = 0; i < sizeof traces / sizeof *traces; ++i) {
    char path[1024];
    snprintf(path, sizeof path, "%s/traces/%s.tgt", TEGULA_SOURCE_DIR,
             traces[i].name);
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    total += status.st_size;
    teg_error err;
    teg_trace_reader* reader;
    assert_int_equal(teg_trace_reader_open(path, NULL, &reader, &err), TEG_OK);
    teg_trace_summary sum;
    assert_int_equal(teg_trace_summarize(reader, &sum, &err), TEG_OK);
    assert_int_equal(sum.event_count, traces[i].events);
    assert_int_equal(sum.distinct_size_count, traces[i].sizes);
    assert_int_equal(sum.run_count, traces[i].runs);
    assert_int_equal(sum.peak_live_bytes, traces[i].peak);
    assert_int_equal(sum.weight_bytes, traces[i].weights);
    assert_int_equal(sum.load_end_count, 1);
    teg_trace_reader_info info;
    teg_trace_reader_info_get(reader, &info);
    assert_string_equal(info.name, traces[i].name);
    teg_trace_reader_close(reader);
  }
  assert_true(total <= 6000000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(trace_own_format_round_trips_random_events),
      cmocka_unit_test(trace_own_format_round_trips_over_many_blocks),
      cmocka_unit_test(trace_own_format_round_trips_extreme_values),
      cmocka_unit_test(trace_rmm_csv_round_trips_random_events),
      cmocka_unit_test(trace_files_are_packed_as_their_extension_says),
      cmocka_unit_test(trace_copy_keeps_tags_beside_tags_that_were_there),
      cmocka_unit_test(shipped_traces_are_what_their_readme_says),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
