// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"

static void result_names_are_unique_and_not_unknown(void** state) {
  static const teg_result all[] = {
#define LIST(code, number, name, message) code,
      TEG_RESULTS(LIST)
#undef LIST
  };
  const size_t count = sizeof all / sizeof all[0];
  for (size_t i = 0; i < count; ++i) {
    assert_string_not_equal(teg_result_name(all[i]), "unknown");
    assert_string_not_equal(teg_result_message(all[i]), "unknown");
    for (size_t j = 0; j < i; ++j) {
      assert_string_not_equal(teg_result_name(all[i]), teg_result_name(all[j]));
    }
  }
}

static void result_numbers_are_pinned(void** state) {
  assert_int_equal(TEG_OK, 0);
  assert_int_equal(TEG_INVALID, -1);
  assert_int_equal(TEG_OUT_OF_HOST_MEMORY, -10);
  assert_int_equal(TEG_OUT_OF_MEMORY, -11);
  assert_int_equal(TEG_UNAVAILABLE, -20);
  assert_int_equal(TEG_IO, -30);
}

static void result_without_a_name_is_unknown(void** state) {
  assert_string_equal(teg_result_name((teg_result)-99), "unknown");
  assert_string_equal(teg_result_message((teg_result)-99), "unknown");
}

static void error_set_fills_every_field_and_returns_the_result(void** state) {
  teg_error err;
  memset(&err, 0x5a, sizeof err);
  assert_int_equal(tegi_error_set(&err, TEG_LIMIT, "%d of %s", 3, "tiles"),
                   TEG_LIMIT);
  assert_int_equal(err.result, TEG_LIMIT);
  assert_int_equal(err.native_code, 0);
  assert_string_equal(err.backend, "");
  assert_string_equal(err.message, "3 of tiles");
}

static void error_native_keeps_the_code_and_who_said_it(void** state) {
  teg_error err;
  assert_int_equal(
      tegi_error_native(&err, TEG_DEVICE_ERROR, "host", 12, "mmap: %s", "no"),
      TEG_DEVICE_ERROR);
  assert_int_equal(err.native_code, 12);
  assert_string_equal(err.backend, "host");
  assert_string_equal(err.message, "mmap: no");
}

static void error_text_too_long_is_cut_not_overrun(void** state) {
  teg_error err;
  char text[2 * sizeof err.message];
  memset(text, 'x', sizeof text - 1);
  text[sizeof text - 1] = '\0';
  assert_int_equal(tegi_error_native(&err, TEG_IO, text, 1, "%s", text),
                   TEG_IO);
  assert_int_equal(strlen(err.message), sizeof err.message - 1);
  assert_int_equal(strlen(err.backend), sizeof err.backend - 1);
  tegi_error_append(&err, "%s", text);
  assert_int_equal(strlen(err.message), sizeof err.message - 1);
}

static void error_append_keeps_result_and_text(void** state) {
  teg_error err;
  assert_int_equal(tegi_error_set(&err, TEG_OVER_BUDGET, "asked 5"),
                   TEG_OVER_BUDGET);
  tegi_error_append(&err, ", held %d", 7);
  assert_int_equal(err.result, TEG_OVER_BUDGET);
  assert_string_equal(err.message, "asked 5, held 7");
}

static void error_clear_resets_to_ok(void** state) {
  teg_error err;
  assert_int_equal(tegi_error_native(&err, TEG_IO, "host", 5, "gone"), TEG_IO);
  teg_error_clear(&err);
  assert_int_equal(err.result, TEG_OK);
  assert_int_equal(err.native_code, 0);
  assert_string_equal(err.backend, "");
  assert_string_equal(err.message, "");
}

static void null_error_is_accepted_everywhere(void** state) {
  assert_int_equal(tegi_error_set(NULL, TEG_IO, "x"), TEG_IO);
  assert_int_equal(tegi_error_native(NULL, TEG_IO, "host", 1, "x"), TEG_IO);
  tegi_error_append(NULL, "x");
  teg_error_clear(NULL);
}

static teg_result positive_only(int value, teg_error* err) {
  TEG_REQUIRE(value > 0, err, "value is %d, must be above 0", value);
  return TEG_OK;
}

static void require_returns_invalid_with_the_reason(void** state) {
  teg_error err;
  assert_int_equal(positive_only(1, &err), TEG_OK);
  assert_int_equal(positive_only(-4, &err), TEG_INVALID);
  assert_string_equal(err.message, "value is -4, must be above 0");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(result_names_are_unique_and_not_unknown),
      cmocka_unit_test(result_numbers_are_pinned),
      cmocka_unit_test(result_without_a_name_is_unknown),
      cmocka_unit_test(error_set_fills_every_field_and_returns_the_result),
      cmocka_unit_test(error_native_keeps_the_code_and_who_said_it),
      cmocka_unit_test(error_text_too_long_is_cut_not_overrun),
      cmocka_unit_test(error_append_keeps_result_and_text),
      cmocka_unit_test(error_clear_resets_to_ok),
      cmocka_unit_test(null_error_is_accepted_everywhere),
      cmocka_unit_test(require_returns_invalid_with_the_reason),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
