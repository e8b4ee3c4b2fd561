// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/trace_fixture.h"

#define GOLDEN TEGULA_SOURCE_DIR "/tests/golden/"

// Files that must fail, how, and what the message must say.
static const struct {
  const char* name;
  teg_result result;
  size_t events;  // given out before
  const char* says;
} bad[] = {
    {"bad_block_missing.tgt", TEG_CORRUPT, 0, "begins with event 6 instead"},
    {"bad_bytes_follow.tgt", TEG_CORRUPT, 10, "follow the footer, at byte 355"},
    {"bad_cut.csv.gz", TEG_TRUNCATED, 0, "gzip data ends too early"},
    {"bad_cut.csv.zst", TEG_TRUNCATED, 198, "zstd data ends too early"},
    {"bad_cut_block.tgt", TEG_TRUNCATED, 0, "block 0 at byte 57"},
    {"bad_cut_header.tgt", TEG_TRUNCATED, 0, "ends inside the file header"},
    {"bad_cut_line.csv", TEG_TRUNCATED, 0, "line 2: 5 columns instead of 6"},
    {"bad_empty.tgt", TEG_TRUNCATED, 0, "the file is empty"},
    {"bad_feature.tgt", TEG_BAD_VERSION, 0, "features 0x4"},
    {"bad_flags.tgt", TEG_CORRUPT, 0, "event 0"},
    {"bad_flip.tgt", TEG_CORRUPT, 0, "block 0 at byte 57: wrong checksum"},
    {"bad_footer_of_another.tgt", TEG_CORRUPT, 2, "total 0 of the footer is 3"},
    {"bad_foreign.tgt", TEG_CORRUPT, 0, "expected tegula's own format"},
    {"bad_freed_twice.csv", TEG_CORRUPT, 2, "line 4: frees 16 (0x10)"},
    {"bad_freed_twice.tgt", TEG_CORRUPT, 2, "event 2: frees 1 (0x1)"},
    {"bad_header_flip.tgt", TEG_CORRUPT, 0, "header at byte 0: wrong checksum"},
    {"bad_interval.csv", TEG_CORRUPT, 0, "line 3: upper (4) must be above"},
    {"bad_kind.tgt", TEG_CORRUPT, 0, "event 0"},
    {"bad_live_twice.csv", TEG_CORRUPT, 1, "line 3: allocates 0x5"},
    {"bad_newer_version.tgt", TEG_BAD_VERSION, 0, "version 2"},
    {"bad_no_footer.tgt", TEG_TRUNCATED, 10, "no footer yet"},
    {"bad_size_huge.csv", TEG_CORRUPT, 0, "line 2: an allocation of 9223372"},
    {"bad_size_huge.tgt", TEG_CORRUPT, 0, "an allocation of 9223372"},
    {"bad_size_zero.csv", TEG_CORRUPT, 0, "line 2: an allocation of 0 bytes"},
    {"bad_size_zero.tgt", TEG_CORRUPT, 0, "event 0: an allocation of 0 bytes"},
    {"bad_sum_huge.tgt", TEG_CORRUPT, 1, "below 2^62"},
    {"bad_tag.tgt", TEG_CORRUPT, 0, "event 0"},
    {"bad_text_mode.tgt", TEG_CORRUPT, 0, "a transfer as text"},
    {"bad_unknown_free.csv", TEG_CORRUPT, 0, "line 2: frees 77"},
};

static const char* const good[] = {"v1_whole.tgt", "v1_empty.tgt", "rmm.csv.gz",
                                   "rmm.csv.zst"};

static fixture_read read_golden(const char* name) {
  char path[1024];
  snprintf(path, sizeof path, GOLDEN "%s", name);
  return fixture_read_path(path);
}

static void golden_bad_files_fail_with_result_and_place(void** state) {
  for (size_t i = 0; i < sizeof bad / sizeof *bad; ++i) {
    fixture_read read = read_golden(bad[i].name);
    if (read.result != bad[i].result || read.count != bad[i].events ||
        !strstr(read.err.message, bad[i].says) ||
        !strstr(read.err.message, bad[i].name)) {
      fail_msg("%s: %zu events, then %s: %s", bad[i].name, read.count,
               teg_result_name(read.result), read.err.message);
    }
    assert_int_equal(read.err.result, read.result);
    fixture_read_free(&read);
  }
}

static void golden_whole_file_gives_every_field(void** state) {
  const uint64_t most = UINT64_MAX;
  const uint64_t rest = (UINT64_C(1) << 62) - (UINT64_C(1) << 40) - 4097;
  const teg_trace_event expected[] = {
      {.kind = TEG_TRACE_ALLOCATE,
       .id = 1,
       .size = 4096,
       .lifetime = 1,
       .tag = 1},
      {.kind = TEG_TRACE_ALLOCATE,
       .time_ns = 1000,
       .id = 2,
       .size = UINT64_C(1) << 40,
       .lifetime = 1,
       .tag = 2,
       .flags = TEG_TRACE_EVENT_DEDICATED},
      {.kind = TEG_TRACE_LOAD_END, .time_ns = 2000},
      {.kind = TEG_TRACE_RUN_BEGIN, .time_ns = 5000},
      {.kind = TEG_TRACE_ALLOCATE,
       .time_ns = 6000,
       .id = 10,
       .size = 1,
       .lifetime = 3,
       .thread = UINT32_MAX,
       .stream = 7},
      {.kind = TEG_TRACE_FREE,
       .time_ns = 4000,
       .id = 10,
       .size = 1,
       .lifetime = 3,
       .thread = 1,
       .stream = UINT32_MAX},
      {.kind = TEG_TRACE_ALLOCATE,
       .time_ns = most,
       .id = most,
       .size = rest,
       .lifetime = 255,
       .tag = 3},
      {.kind = TEG_TRACE_FREE,
       .time_ns = 3,
       .id = most,
       .size = rest,
       .lifetime = 255,
       .tag = 3},
      {.kind = TEG_TRACE_FREE, .id = 1, .size = 4096, .lifetime = 1, .tag = 1},
      {.kind = TEG_TRACE_RUN_END, .time_ns = 7, .stream = 2},
  };
  fixture_read read = read_golden("v1_whole.tgt");
  assert_int_equal(read.result, TEG_END);
  assert_true(fixture_same(read.events, read.count, expected,
                           sizeof expected / sizeof *expected));
  fixture_read_free(&read);

  teg_error err;
  teg_trace_reader* reader;
  assert_int_equal(
      teg_trace_reader_open(GOLDEN "v1_whole.tgt", NULL, &reader, &err),
      TEG_OK);
  teg_trace_summary sum;
  assert_int_equal(teg_trace_summarize(reader, &sum, &err), TEG_OK);
  teg_trace_reader_info info;
  teg_trace_reader_info_get(reader, &info);
  assert_string_equal(info.name, "golden");
  assert_string_equal(info.source, "made by make.py, \xc3\xa9");
  assert_int_equal(info.version, 1);
  assert_int_equal(info.tag_count, 3);
  assert_string_equal(teg_trace_reader_tag(reader, 1), "weights.0");
  assert_string_equal(teg_trace_reader_tag(reader, 2), "\xff\x01");
  assert_int_equal(strlen(teg_trace_reader_tag(reader, 3)), 255);
  teg_trace_reader_close(reader);
}

static void golden_empty_trace_and_packed_logs_are_read(void** state) {
  fixture_read read = read_golden("v1_empty.tgt");
  assert_int_equal(read.result, TEG_END);
  assert_int_equal(read.count, 0);
  fixture_read_free(&read);
  const teg_trace_event expected[] = {
      {.kind = TEG_TRACE_ALLOCATE, .time_ns = 10000, .id = 1, .size = 64},
      {.kind = TEG_TRACE_FREE, .time_ns = 11000, .id = 1, .size = 64}};
  for (int i = 0; i < 2; ++i) {
    read = read_golden(i ? "rmm.csv.gz" : "rmm.csv.zst");
    assert_int_equal(read.result, TEG_END);
    assert_true(fixture_same(read.events, read.count, expected, 2));
    fixture_read_free(&read);
  }
}

static int is_known(const char* name) {
  if (!strcmp(name, "make.py") || !strcmp(name, "README.md")) return 1;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; ++i) {
    if (!strcmp(name, bad[i].name)) return 1;
  }
  for (size_t i = 0; i < sizeof good / sizeof *good; ++i) {
    if (!strcmp(name, good[i])) return 1;
  }
  return 0;
}

static void golden_folder_holds_no_file_without_a_test(void** state) {
  DIR* folder = opendir(GOLDEN);
  assert_non_null(folder);
  size_t count = 0;
  for (struct dirent* entry; (entry = readdir(folder)) != NULL;) {
    if (entry->d_name[0] == '.') continue;
    if (!is_known(entry->d_name)) fail_msg("%s has no test", entry->d_name);
    ++count;
  }
  closedir(folder);
  assert_true(count >= sizeof bad / sizeof *bad + sizeof good / sizeof *good);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(golden_bad_files_fail_with_result_and_place),
      cmocka_unit_test(golden_whole_file_gives_every_field),
      cmocka_unit_test(golden_empty_trace_and_packed_logs_are_read),
      cmocka_unit_test(golden_folder_holds_no_file_without_a_test),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
