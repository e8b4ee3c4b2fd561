// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <errno.h>
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

static teg_trace_event allocation(uint64_t id, uint64_t size) {
  return (teg_trace_event){.kind = TEG_TRACE_ALLOCATE, .id = id, .size = size};
}

static teg_trace_writer* open_sink(fixture_bytes* bytes) {
  teg_trace_sink sink = fixture_sink(bytes);
  teg_trace_writer_params params = TEG_TRACE_WRITER_PARAMS_INIT;
  params.format = TEG_TRACE_FORMAT_TGT;
  teg_trace_writer* writer;
  assert_int_equal(teg_trace_writer_open_sink(&sink, &params, &writer, NULL),
                   TEG_OK);
  return writer;
}

// Files in the working folder that begin with |name|.
static int files_named(const char* name) {
  int count = 0;
  DIR* folder = opendir(".");
  assert_non_null(folder);
  for (struct dirent* entry; (entry = readdir(folder)) != NULL;) {
    count += strncmp(entry->d_name, name, strlen(name)) == 0;
  }
  closedir(folder);
  return count;
}

static void writer_refuses_bad_arguments(void** state) {
  teg_error err;
  teg_trace_writer* writer = (teg_trace_writer*)&err;
  assert_int_equal(teg_trace_writer_open(NULL, NULL, &writer, &err),
                   TEG_INVALID);
  assert_null(writer);
  assert_int_equal(teg_trace_writer_open("x.txt", NULL, &writer, &err),
                   TEG_INVALID);
  assert_non_null(strstr(err.message, ".tgt, .csv or .json"));
  assert_int_equal(files_named("x.txt"), 0);
  teg_trace_writer_params params = TEG_TRACE_WRITER_PARAMS_INIT;
  params.format = TEG_TRACE_FORMAT_INTERVAL_CSV;
  assert_int_equal(teg_trace_writer_open("x.csv", &params, &writer, &err),
                   TEG_UNSUPPORTED);
  params.format = TEG_TRACE_FORMAT_TGT;
  params.compression_level = 20;
  assert_int_equal(teg_trace_writer_open("x.tgt", &params, &writer, &err),
                   TEG_INVALID);
  params.compression_level = 0;
  params.block_event_count = 65537;
  assert_int_equal(teg_trace_writer_open("x.tgt", &params, &writer, &err),
                   TEG_INVALID);
  params.block_event_count = 0;
  char name[257];
  memset(name, 'n', 256);
  name[256] = '\0';
  params.name = name;
  assert_int_equal(teg_trace_writer_open("x.tgt", &params, &writer, &err),
                   TEG_INVALID);
  params.name = NULL;
  params.reserved2 = 1;
  assert_int_equal(teg_trace_writer_open("x.tgt", &params, &writer, &err),
                   TEG_INVALID);
  fixture_bytes bytes = {0};
  teg_trace_sink sink = fixture_sink(&bytes);
  assert_int_equal(teg_trace_writer_open_sink(&sink, NULL, &writer, &err),
                   TEG_INVALID);
  assert_int_equal(files_named("x"), 0);
  teg_trace_writer_close(NULL);
}

static void writer_refuses_bad_events_and_goes_on(void** state) {
  fixture_bytes bytes = {0};
  teg_trace_writer* writer = open_sink(&bytes);
  teg_trace_event first = allocation(5, 100);
  assert_int_equal(teg_trace_writer_append(writer, &first, NULL), TEG_OK);
  const uint64_t huge = UINT64_C(1) << 62;
  const teg_trace_event bad[] = {
      allocation(5, 8),
      allocation(4, 8),
      allocation(6, 0),
      allocation(6, huge),
      allocation(6, huge - 100),
      {.kind = TEG_TRACE_ALLOCATE, .id = 6, .size = 8, .tag = 1},
      {.kind = TEG_TRACE_ALLOCATE, .id = 6, .size = 8, .flags = 2},
      {.kind = TEG_TRACE_FREE, .id = 4},
      {.kind = TEG_TRACE_FREE, .id = 0},
      {.kind = TEG_TRACE_FREE, .id = 5, .size = 99},
      {.kind = TEG_TRACE_FREE, .id = 5, .flags = 1},
      {.kind = TEG_TRACE_RUN_END, .id = 5},
      {.kind = TEG_TRACE_RUN_END, .size = 5},
      {.kind = TEG_TRACE_LOAD_END, .lifetime = 5},
      {.kind = 0},
      {.kind = 6},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; ++i) {
    teg_error err;
    if (teg_trace_writer_append(writer, &bad[i], &err) != TEG_INVALID) {
      fail_msg("bad event %zu is taken", i);
    }
    assert_non_null(strstr(err.message, "event 1:"));
  }
  teg_trace_event last = {.kind = TEG_TRACE_FREE, .id = 5};
  assert_int_equal(teg_trace_writer_append(writer, &last, NULL), TEG_OK);
  assert_int_equal(teg_trace_writer_finish(writer, NULL), TEG_OK);
  assert_int_equal(teg_trace_writer_finish(writer, NULL), TEG_BAD_STATE);
  assert_int_equal(teg_trace_writer_append(writer, &last, NULL), TEG_BAD_STATE);
  teg_trace_writer_close(writer);
  last.size = 100;
  const teg_trace_event expected[] = {first, last};
  fixture_read read = fixture_read_memory(bytes.data, bytes.size);
  assert_int_equal(read.result, TEG_END);
  assert_true(fixture_same(read.events, read.count, expected, 2));
  fixture_read_free(&read);
  free(bytes.data);
}

static void writer_limits_tags(void** state) {
  fixture_bytes bytes = {0};
  teg_trace_writer* writer = open_sink(&bytes);
  uint32_t tag = 7;
  assert_int_equal(teg_trace_writer_add_tag(writer, "", &tag, NULL),
                   TEG_INVALID);
  assert_int_equal(tag, 0);
  char text[257];
  memset(text, 't', 256);
  text[256] = '\0';
  assert_int_equal(teg_trace_writer_add_tag(writer, text, &tag, NULL),
                   TEG_INVALID);
  for (int i = 0; i < 65535; ++i) {
    assert_int_equal(teg_trace_writer_add_tag(writer, "t", &tag, NULL), TEG_OK);
  }
  assert_int_equal(tag, 65535);
  assert_int_equal(teg_trace_writer_add_tag(writer, "t", &tag, NULL),
                   TEG_LIMIT);
  teg_trace_event event = allocation(1, 8);
  event.tag = 65535;
  assert_int_equal(teg_trace_writer_append(writer, &event, NULL), TEG_OK);
  assert_int_equal(teg_trace_writer_finish(writer, NULL), TEG_OK);
  teg_trace_writer_close(writer);
  fixture_read read = fixture_read_memory(bytes.data, bytes.size);
  assert_int_equal(read.result, TEG_END);
  assert_int_equal(read.events[0].tag, 65535);
  fixture_read_free(&read);
  free(bytes.data);
}

static void writer_leaves_the_old_file_until_finished(void** state) {
  FILE* file = fopen("keep.csv", "w");
  assert_non_null(file);
  fputs("old", file);
  fclose(file);
  for (int is_finished = 0; is_finished < 2; ++is_finished) {
    teg_trace_writer* writer;
    assert_int_equal(teg_trace_writer_open("keep.csv", NULL, &writer, NULL),
                     TEG_OK);
    teg_trace_event event = allocation(1, 8);
    assert_int_equal(teg_trace_writer_append(writer, &event, NULL), TEG_OK);
    assert_int_equal(files_named("keep.csv"), 2);
    if (is_finished) {
      assert_int_equal(teg_trace_writer_finish(writer, NULL), TEG_OK);
    }
    teg_trace_writer_close(writer);
    assert_int_equal(files_named("keep.csv"), 1);
    struct stat status;
    assert_int_equal(stat("keep.csv", &status), 0);
    assert_int_equal(status.st_size, is_finished ? 58 : 3);
  }
  unlink("keep.csv");
}

static void writer_replaces_what_a_link_names(void** state) {
  FILE* file = fopen("target.csv", "w");
  assert_non_null(file);
  fclose(file);
  unlink("link.csv");
  assert_int_equal(symlink("target.csv", "link.csv"), 0);
  teg_trace_writer* writer;
  assert_int_equal(teg_trace_writer_open("link.csv", NULL, &writer, NULL),
                   TEG_OK);
  assert_int_equal(teg_trace_writer_finish(writer, NULL), TEG_OK);
  teg_trace_writer_close(writer);
  struct stat status;
  assert_int_equal(lstat("link.csv", &status), 0);
  assert_true(S_ISLNK(status.st_mode));
  assert_int_equal(stat("target.csv", &status), 0);
  assert_int_equal(status.st_size, 39);
  unlink("link.csv");
  unlink("target.csv");
}

static void writer_reports_a_full_disk(void** state) {
  static const teg_trace_format formats[] = {TEG_TRACE_FORMAT_TGT,
                                             TEG_TRACE_FORMAT_RMM_CSV,
                                             TEG_TRACE_FORMAT_CHROME_JSON};
  for (size_t i = 0; i < 3; ++i) {
    teg_trace_writer_params params = TEG_TRACE_WRITER_PARAMS_INIT;
    params.format = formats[i];
    teg_error err;
    teg_trace_writer* writer;
    assert_int_equal(teg_trace_writer_open("/dev/full", &params, &writer, &err),
                     TEG_OK);
    teg_trace_event event = allocation(1, 8);
    assert_int_equal(teg_trace_writer_append(writer, &event, &err), TEG_OK);
    assert_int_equal(teg_trace_writer_finish(writer, &err), TEG_NO_SPACE);
    assert_int_equal(err.native_code, ENOSPC);
    assert_non_null(strstr(err.message, "/dev/full"));
    // It stays failed.
    assert_int_equal(teg_trace_writer_finish(writer, &err), TEG_NO_SPACE);
    event.id = 2;
    assert_int_equal(teg_trace_writer_append(writer, &event, &err),
                     TEG_NO_SPACE);
    teg_trace_writer_close(writer);
  }
}

static void writer_reports_a_full_disk_while_appending(void** state) {
  teg_trace_writer_params params = TEG_TRACE_WRITER_PARAMS_INIT;
  params.format = TEG_TRACE_FORMAT_RMM_CSV;
  teg_error err;
  teg_trace_writer* writer;
  assert_int_equal(teg_trace_writer_open("/dev/full", &params, &writer, &err),
                   TEG_OK);
  teg_result result = TEG_OK;
  for (uint64_t id = 1; id < 100000 && result == TEG_OK; ++id) {
    teg_trace_event event = allocation(id, 8);
    result = teg_trace_writer_append(writer, &event, &err);
  }
  assert_int_equal(result, TEG_NO_SPACE);
  teg_trace_writer_close(writer);
}

static void writer_in_a_missing_folder_names_the_path(void** state) {
  teg_error err;
  teg_trace_writer* writer;
  assert_int_equal(teg_trace_writer_open("no/such/x.tgt", NULL, &writer, &err),
                   TEG_IO);
  assert_int_equal(err.native_code, ENOENT);
  assert_non_null(strstr(err.message, "no/such/x.tgt"));
}

static teg_result refuse(void* user, const void* data, size_t size,
                         teg_error* err) {
  size_t* left = user;
  assert_non_null(err);
  if (size > *left) return TEG_DEVICE_LOST;
  *left -= size;
  return TEG_OK;
}

static void writer_passes_on_what_a_sink_reports(void** state) {
  size_t left = 20;
  teg_trace_sink sink = {refuse, &left};
  teg_trace_writer_params params = TEG_TRACE_WRITER_PARAMS_INIT;
  params.format = TEG_TRACE_FORMAT_TGT;
  teg_error err;
  teg_trace_writer* writer;
  assert_int_equal(teg_trace_writer_open_sink(&sink, &params, &writer, &err),
                   TEG_OK);
  assert_int_equal(teg_trace_writer_finish(writer, &err), TEG_DEVICE_LOST);
  assert_non_null(strstr(err.message, "the sink failed"));
  teg_trace_writer_close(writer);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(writer_refuses_bad_arguments),
      cmocka_unit_test(writer_refuses_bad_events_and_goes_on),
      cmocka_unit_test(writer_limits_tags),
      cmocka_unit_test(writer_leaves_the_old_file_until_finished),
      cmocka_unit_test(writer_replaces_what_a_link_names),
      cmocka_unit_test(writer_reports_a_full_disk),
      cmocka_unit_test(writer_reports_a_full_disk_while_appending),
      cmocka_unit_test(writer_in_a_missing_folder_names_the_path),
      cmocka_unit_test(writer_passes_on_what_a_sink_reports),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
