// SPDX-License-Identifier: Apache-2.0
//
// PyTorch snapshots through cli/trace_input.c, which runs the converter.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../cli/trace_input.c"

#define TOOLS TEGULA_SOURCE_DIR "/tools"

// Makes PATH a pickle of |expression|, with Python.
static void make_pickle(const char* path, const char* expression) {
  char command[2000];
  snprintf(command, sizeof command,
           "python3 -c 'import pickle; pickle.dump(%s, open(\"%s\", \"wb\"))'",
           expression, path);
  assert_int_equal(system(command), 0);
}

#define EVENT(action, addr, size, time)                                \
  "{\"action\": \"" action "\", \"addr\": " #addr ", \"size\": " #size \
  ", \"stream\": 0, \"time_us\": " #time "}"

static int use_converter(void** state) {
  setenv("TEGULA_DATA_DIR", TOOLS, 1);
  make_pickle(
      "good.pickle",
      "{\"device_traces\": [[], [" EVENT("free_completed", 9, 8, 1) ", " EVENT(
          "alloc", 7, 64, 3) ", " EVENT("free_requested", 7, 64, 5) "]]}");
  return 0;
}

static int remove_pickles(void** state) {
  remove("good.pickle");
  remove("bad.pickle");
  return 0;
}

static void expect_failure(const char* path, teg_result result,
                           const char* says) {
  teg_error err;
  teg_trace_reader* reader = NULL;
  teg_result got = tegula_trace_open(path, &reader, &err);
  if (got != result || !strstr(err.message, says)) {
    fail_msg("%s: %s", teg_result_name(got), err.message);
  }
  assert_null(reader);
  // Nobody is left to wait for.
  assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void snapshot_is_read_as_any_trace(void** state) {
  teg_error err;
  teg_trace_reader* reader;
  teg_result result = tegula_trace_open("good.pickle", &reader, &err);
  if (result != TEG_OK) fail_msg("%s", err.message);
  teg_trace_event events[9];
  size_t count;
  assert_int_equal(teg_trace_reader_next_many(reader, 9, events, &count, &err),
                   TEG_OK);
  assert_int_equal(count, 2);
  assert_int_equal(events[0].size, 64);
  assert_int_equal(events[0].time_ns, 2000);
  assert_int_equal(events[1].kind, TEG_TRACE_FREE);
  assert_int_equal(teg_trace_reader_next(reader, events, &err), TEG_END);
  teg_trace_reader_info info;
  teg_trace_reader_info_get(reader, &info);
  assert_string_equal(info.name, "good");
  teg_trace_reader_close(reader);
  assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void snapshot_may_be_closed_before_its_end(void** state) {
  char expression[1000];
  snprintf(expression, sizeof expression,
           "{\"device_traces\": [[" EVENT("alloc", 7, 64, 3) ", " EVENT(
               "free_requested", 7, 64, 5) "] * 200000]}");
  make_pickle("bad.pickle", expression);
  teg_error err;
  teg_trace_reader* reader;
  assert_int_equal(tegula_trace_open("bad.pickle", &reader, &err), TEG_OK);
  teg_trace_event event;
  assert_int_equal(teg_trace_reader_next(reader, &event, &err), TEG_OK);
  teg_trace_reader_close(reader);
  assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void snapshot_that_fails_says_why(void** state) {
  make_pickle("bad.pickle", "[1, 2]");
  expect_failure("bad.pickle", TEG_CORRUPT, "no memory snapshot");
  // Fails after the header is written.
  make_pickle("bad.pickle",
              "{\"device_traces\": [[" EVENT("alloc", 7, 64, 3) ", " EVENT(
                  "explode", 7, 64, 3) "]]}");
  teg_error err;
  teg_trace_reader* reader = NULL;
  teg_result result = tegula_trace_open("bad.pickle", &reader, &err);
  teg_trace_event events[9];
  size_t count;
  while (result == TEG_OK) {
    result = teg_trace_reader_next_many(reader, 9, events, &count, &err);
  }
  assert_int_equal(result, TEG_CORRUPT);
  assert_non_null(strstr(err.message, "unknown event 'explode'"));
  teg_trace_reader_close(reader);
}

static void snapshot_without_python_or_script_says_what_is_needed(
    void** state) {
  setenv("TEGULA_DATA_DIR", "/no/such", 1);
  expect_failure("good.pickle", TEG_UNAVAILABLE, "is not in /no/such");
  setenv("TEGULA_DATA_DIR", TOOLS, 1);
  char* path = strdup(getenv("PATH"));
  assert_non_null(path);
  setenv("PATH", "/no/such", 1);
  expect_failure("good.pickle", TEG_UNAVAILABLE, "python3 is needed");
  setenv("PATH", path, 1);
  free(path);
}

static void other_traces_need_no_converter(void** state) {
  teg_error err;
  teg_trace_reader* reader;
  assert_int_equal(
      tegula_trace_open(TEGULA_SOURCE_DIR "/tests/golden/v1_whole.tgt", &reader,
                        &err),
      TEG_OK);
  teg_trace_reader_close(reader);
  expect_failure(TEGULA_SOURCE_DIR "/tests/golden/bad_foreign.tgt", TEG_CORRUPT,
                 "not a trace");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(snapshot_is_read_as_any_trace),
      cmocka_unit_test(snapshot_may_be_closed_before_its_end),
      cmocka_unit_test(snapshot_that_fails_says_why),
      cmocka_unit_test(snapshot_without_python_or_script_says_what_is_needed),
      cmocka_unit_test(other_traces_need_no_converter),
  };
  return cmocka_run_group_tests(tests, use_converter, remove_pickles);
}
