// SPDX-License-Identifier: Apache-2.0
//
// Options by name: every row of the table, every type, ONNX Runtime's
// spellings, and the nearest name for a wrong one.
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/core_fixture.h"

static teg_options* options;
static teg_error err;

static int begin(void** state) {
  (void)state;
  return teg_options_create(NULL, &options, &err) == TEG_OK ? 0 : -1;
}

static int end(void** state) {
  (void)state;
  teg_options_destroy(options);
  return 0;
}

static void expect_set(const char* key, const char* value, const char* got) {
  char text[2048];
  teg_result result = teg_options_set(options, key, value, &err);
  if (result != TEG_OK) fail_msg("%s=%s: %s", key, value, err.message);
  assert_int_equal(teg_options_get(options, key, text, sizeof text, &err),
                   TEG_OK);
  assert_string_equal(text, got);
}

// Refused with |result| and |text|, and nothing changes.
static void expect_refused(const char* key, const char* value,
                           teg_result result, const char* text) {
  char before[2048] = "";
  char after[2048] = "";
  (void)!teg_options_get(options, key, before, sizeof before, NULL);
  assert_int_equal(teg_options_set(options, key, value, &err), result);
  assert_int_equal(err.result, result);
  core_expect_text(err.message, text);
  (void)!teg_options_get(options, key, after, sizeof after, NULL);
  assert_string_equal(before, after);
}

// ---- The table

static void every_row_has_its_default_in_effect(void** state) {
  (void)state;
  size_t count = 0;
  for (const teg_option_info* info; (info = teg_option_at(count)); ++count) {
    char text[2048];
    assert_int_equal(
        teg_options_get(options, info->key, text, sizeof text, &err), TEG_OK);
    if (info->type == TEG_OPTION_BYTES) {
      uint64_t bytes;
      assert_int_equal(teg_parse_bytes(info->default_value, &bytes, &err),
                       TEG_OK);
      assert_int_equal(strtoull(text, NULL, 10), bytes);
    } else {
      assert_string_equal(text, info->default_value);
    }
    // And can be set to it again, whatever the range.
    assert_int_equal(
        teg_options_set(options, info->key, info->default_value, &err), TEG_OK);
  }
  assert_true(count > 20);
  assert_null(teg_option_at(count));
  assert_null(teg_option_at(SIZE_MAX));
}

static void every_row_is_told_in_full(void** state) {
  (void)state;
  const teg_option_info* info;
  for (size_t i = 0; (info = teg_option_at(i)); ++i) {
    assert_true(strlen(info->help) > 10);
    assert_non_null(info->unit);
    assert_true(isdigit((unsigned char)info->since[0]));
    assert_true((info->type == TEG_OPTION_CHOICE) ==
                (info->choices[0] != '\0'));
    for (size_t k = 0; k < i; ++k) {
      assert_string_not_equal(info->key, teg_option_at(k)->key);
    }
  }
}

static void every_number_has_its_range(void** state) {
  (void)state;
  const teg_option_info* info;
  for (size_t i = 0; (info = teg_option_at(i)); ++i) {
    if (info->type == TEG_OPTION_CHOICE || info->type == TEG_OPTION_TEXT) {
      continue;
    }
    char text[32];
    const uint64_t good[] = {info->min, info->max};
    for (size_t k = 0; k < 2; ++k) {
      snprintf(text, sizeof text, "%" PRIu64, good[k]);
      expect_set(info->key, text, text);
    }
    if (info->max < UINT64_MAX) {
      snprintf(text, sizeof text, "%" PRIu64, info->max + 1);
      bool is_too_large = info->max == UINT64_C(1) << 62;
      expect_refused(info->key, text, TEG_INVALID,
                     is_too_large ? "2^62" : "out of range");
      core_expect_text(err.message, info->key);
    }
    snprintf(text, sizeof text, "%" PRIu64, info->min - 1);
    bool is_default = info->min > 0 && strcmp(text, info->default_value) == 0;
    if (info->min > 0 && !is_default) {
      expect_refused(info->key, text, TEG_INVALID, "out of range");
    }
    expect_refused(info->key, "99999999999999999999999", TEG_INVALID, "");
  }
}

static void every_choice_is_taken_and_no_other_word(void** state) {
  (void)state;
  const teg_option_info* info;
  for (size_t i = 0; (info = teg_option_at(i)); ++i) {
    if (info->type != TEG_OPTION_CHOICE) continue;
    char words[256];
    snprintf(words, sizeof words, "%s", info->choices);
    char* rest = NULL;
    for (char* word = strtok_r(words, " ", &rest); word;
         word = strtok_r(NULL, " ", &rest)) {
      expect_set(info->key, word, word);
    }
    expect_refused(info->key, "maybe", TEG_NOT_FOUND, info->choices);
    expect_refused(info->key, "", TEG_NOT_FOUND, info->key);
    expect_refused(info->key, "o", TEG_NOT_FOUND, "\"o\"");
  }
}

// ---- Values

static void sizes_may_have_units(void** state) {
  (void)state;
  static const struct {
    const char* text;
    uint64_t bytes;
  } good[] = {
      {"0", 0},
      {"4096", 4096},
      {" 4096", 4096},
      {"64KiB", 65536},
      {"64 KiB", 65536},
      {"64kib", 65536},
      {"2M", 2 * MIB},
      {"2MB", 2000000},
      {"1.5GB", 1500000000},
      {"2Mi", 2 * MIB},
      {"3B", 3},
      {"1.5GiB", 3 * GIB / 2},
      {"0.25KiB", 256},
      {"0.12500000009KiB", 128},
      {"1TiB", 1024 * GIB},
      {"4611686018427387904", UINT64_C(1) << 62},
      {"4194304TiB", UINT64_C(1) << 62},
  };
  for (size_t i = 0; i < sizeof good / sizeof good[0]; ++i) {
    uint64_t bytes = 1;
    teg_result result = teg_parse_bytes(good[i].text, &bytes, &err);
    if (result != TEG_OK) fail_msg("%s: %s", good[i].text, err.message);
    assert_int_equal(bytes, good[i].bytes);
  }
  static const char* const bad[] = {
      "",
      "x",
      "-1",
      "KiB",
      "1XiB",
      "1KiBs",
      "1..5KiB",
      "1,5KiB",
      "0x10",
      "4611686018427387905",
      "5EiB",
      "4194305TiB",
      "1e9",
      "18446744073709551616",
      "4194304.5TiB",
  };
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i) {
    uint64_t bytes = 1;
    if (teg_parse_bytes(bad[i], &bytes, &err) == TEG_OK) {
      fail_msg("\"%s\" was taken as %" PRIu64, bad[i], bytes);
    }
    assert_int_equal(err.result, TEG_INVALID);
    assert_int_equal(bytes, 0);
    assert_true(strlen(err.message) > 10);
  }
  assert_int_equal(teg_parse_bytes(NULL, NULL, &err), TEG_INVALID);
}

static void counts_are_whole_numbers(void** state) {
  (void)state;
  expect_set("age", "7", "7");
  expect_set("age", " 7", "7");
  static const char* const bad[] = {"",   "-1", "1.5",  "7 ", "seven",
                                    "7%", "+7", "7KiB", "0x7"};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i) {
    expect_refused("age", bad[i], TEG_INVALID, "not a whole number");
  }
}

static void percents_may_have_their_sign(void** state) {
  (void)state;
  expect_set("slack", "15", "15");
  expect_set("slack", "20%", "20");
  expect_refused("slack", "20%%", TEG_INVALID, "not a whole number");
  expect_refused("slack", "2000", TEG_INVALID, "0 to 1000 percent");
}

static void texts_are_taken_as_they_are_up_to_their_length(void** state) {
  (void)state;
  expect_set("buckets", "4096:50 65536:20", "4096:50 65536:20");
  expect_set("buckets", "", "");
  char longest[1024];
  memset(longest, ' ', sizeof longest);
  memcpy(longest, "4096:50", 7);
  longest[1023] = '\0';
  expect_set("buckets", longest, longest);
  expect_refused("buckets", "nonsense", TEG_INVALID, "\"nonsense\"");
  char longer[1025];
  memset(longer, '1', sizeof longer);
  longer[1024] = '\0';
  expect_refused("buckets", longer, TEG_INVALID, "1023");
}

// ---- Policies

static void every_policy_can_be_named_everywhere(void** state) {
  (void)state;
  static const char* const keys[] = {"policy",         "policy_static",
                                     "policy_state",   "policy_params",
                                     "policy_staging", "policy_readback"};
  const teg_policy_info* info;
  size_t count = 0;
  for (; (info = teg_policy_at(count)); ++count) {
    assert_true(strlen(info->keeps) > 5);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; ++i) {
      expect_set(keys[i], info->name, info->name);
    }
  }
  assert_int_equal(count, 10);
  assert_null(teg_policy_at(SIZE_MAX));
}

static void a_wrong_policy_gets_the_nearest_name(void** state) {
  (void)state;
  expect_refused("policy", "tilled", TEG_NOT_FOUND, "\"tiled\"");
  expect_refused("policy", "buket", TEG_NOT_FOUND, "\"bucket\"");
  expect_refused("policy", "Planned", TEG_NOT_FOUND, "\"planned\"");
  expect_refused("policy", "", TEG_NOT_FOUND, "policy");
  expect_refused("policy", "lazyrelase", TEG_NOT_FOUND, "\"lazyRelease\"");
  expect_refused("policy", "bogus", TEG_NOT_FOUND, "nearest");
}

static const char* policy_of(core_fixture* fx, teg_lifetime lifetime) {
  teg_session_params params = TEG_SESSION_PARAMS_INIT;
  params.options = options;
  teg_session* session = NULL;
  CORE_OK(fx, teg_session_create(fx->device, &params, &session, &fx->err));
  const char* name = teg_session_policy(session, lifetime);
  teg_session_destroy(session);
  return name;
}

static void onnx_runtimes_values_are_understood(void** state) {
  (void)state;
  core_fixture fx = {.tile = 0};
  core_open(&fx, "host", NULL);
  static const struct {
    const char* theirs;
    const char* ours;
  } values[] = {{"disabled", "disabled"},     {"lazyRelease", "lazy"},
                {"simple", "simple"},         {"bucket", "bucket"},
                {"dynamicBucket", "dynamic"}, {"lazy", "lazy"},
                {"dynamic", "dynamic"}};
  for (size_t i = 0; i < sizeof values / sizeof values[0]; ++i) {
    assert_int_equal(teg_options_set(options, "policy", values[i].theirs, &err),
                     TEG_OK);
    assert_string_equal(policy_of(&fx, TEG_LIFETIME_RUN), values[i].ours);
  }
  core_close(&fx);
}

static void onnx_runtimes_keys_choose_lifetimes(void** state) {
  (void)state;
  core_fixture fx = {.tile = 0};
  core_open(&fx, "host", NULL);
  static const struct {
    const char* key;
    teg_lifetime lifetime;
    const char* ours;
  } keys[] = {
      {"storageBufferCacheMode", TEG_LIFETIME_RUN, "policy"},
      {"uniformBufferCacheMode", TEG_LIFETIME_PARAMS, "policy_params"},
      {"queryResolveBufferCacheMode", TEG_LIFETIME_READBACK, "policy_readback"},
      {"defaultBufferCacheMode", TEG_LIFETIME_STAGING, "policy_staging"},
  };
  for (size_t i = 0; i < sizeof keys / sizeof keys[0]; ++i) {
    char key[128];
    expect_set(keys[i].key, "simple", "simple");
    assert_string_equal(policy_of(&fx, keys[i].lifetime), "simple");
    snprintf(key, sizeof key, "ep.webgpuexecutionprovider.%s", keys[i].key);
    expect_set(key, "lazyRelease", "lazyRelease");
    assert_string_equal(policy_of(&fx, keys[i].lifetime), "lazy");
    snprintf(key, sizeof key, "ep.WebGpuExecutionProvider.%s", keys[i].key);
    expect_set(key, "bucket", "bucket");
    assert_string_equal(policy_of(&fx, keys[i].lifetime), "bucket");
    char text[64];
    assert_int_equal(
        teg_options_get(options, keys[i].ours, text, sizeof text, &err),
        TEG_OK);
    assert_string_equal(text, "bucket");
  }
  core_close(&fx);
}

static void lifetimes_follow_the_policy_unless_told(void** state) {
  (void)state;
  core_fixture fx = {.tile = 0};
  core_open(&fx, "host", NULL);
  core_set_options(options, "policy=bucket;policy_state=paged");
  for (int i = 0; i < TEG_LIFETIME_COUNT; ++i) {
    const char* wanted = i == TEG_LIFETIME_STATE    ? "paged"
                         : i == TEG_LIFETIME_STATIC ? "disabled"
                                                    : "bucket";
    assert_string_equal(policy_of(&fx, (teg_lifetime)i), wanted);
  }
  core_set_options(options, "policy=auto;policy_state=auto");
  assert_string_equal(policy_of(&fx, TEG_LIFETIME_RUN), "tiled");
  assert_string_equal(policy_of(&fx, TEG_LIFETIME_STATIC), "tiled");
  core_close(&fx);
  core_open(&fx, "host", "remap=off");
  assert_string_equal(policy_of(&fx, TEG_LIFETIME_RUN), "paged");
  core_close(&fx);
}

// ---- Keys

static void a_wrong_key_gets_the_nearest_name(void** state) {
  (void)state;
  expect_refused("slak", "1", TEG_NOT_FOUND, "\"slack\"");
  expect_refused("Policy", "tiled", TEG_NOT_FOUND, "\"policy\"");
  expect_refused("tile-bytes", "1", TEG_NOT_FOUND, "\"tile_bytes\"");
  expect_refused("storagebuffercachemode", "simple", TEG_NOT_FOUND,
                 "\"storageBufferCacheMode\"");
  expect_refused("", "1", TEG_NOT_FOUND, "no option");
  char key[300];
  memset(key, 'k', sizeof key);
  key[299] = '\0';
  expect_refused(key, "1", TEG_NOT_FOUND, "no option");
  char text[8];
  assert_int_equal(teg_options_get(options, "slak", text, sizeof text, &err),
                   TEG_NOT_FOUND);
  assert_string_equal(text, "");
}

static void pairs_are_split_at_the_first_sign(void** state) {
  (void)state;
  assert_int_equal(teg_options_set_pair(options, "slack=12%", &err), TEG_OK);
  char text[64];
  assert_int_equal(teg_options_get(options, "slack", text, sizeof text, &err),
                   TEG_OK);
  assert_string_equal(text, "12");
  assert_int_equal(teg_options_set_pair(options, "policy=a=b", &err),
                   TEG_NOT_FOUND);
  assert_non_null(strstr(err.message, "\"a=b\""));
  static const char* const bad[] = {"slack", "=12", "", "="};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i) {
    assert_int_equal(teg_options_set_pair(options, bad[i], &err), TEG_INVALID);
    core_expect_text(err.message, "key=value");
  }
}

static void get_cuts_at_the_capacity(void** state) {
  (void)state;
  char text[4] = "xxx";
  assert_int_equal(teg_options_set(options, "policy", "planned", &err), TEG_OK);
  assert_int_equal(teg_options_get(options, "policy", text, sizeof text, &err),
                   TEG_OK);
  assert_string_equal(text, "pla");
  assert_int_equal(teg_options_get(options, "policy", text, 0, &err),
                   TEG_INVALID);
}

static void null_is_refused_everywhere(void** state) {
  (void)state;
  char text[8];
  assert_int_equal(teg_options_create(NULL, NULL, &err), TEG_INVALID);
  assert_int_equal(teg_options_set(NULL, "slack", "1", &err), TEG_INVALID);
  assert_int_equal(teg_options_set(options, NULL, "1", &err), TEG_INVALID);
  assert_int_equal(teg_options_set(options, "slack", NULL, NULL), TEG_INVALID);
  assert_int_equal(teg_options_set_pair(options, NULL, &err), TEG_INVALID);
  assert_int_equal(teg_options_set_pair(NULL, "slack=1", &err), TEG_INVALID);
  assert_int_equal(teg_options_get(NULL, "slack", text, 8, &err), TEG_INVALID);
  assert_int_equal(teg_options_get(options, NULL, text, 8, &err), TEG_INVALID);
  assert_int_equal(teg_options_get(options, "slack", NULL, 8, &err),
                   TEG_INVALID);
  teg_options_destroy(NULL);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, begin, end)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(every_row_has_its_default_in_effect),
      TEST(every_row_is_told_in_full),
      TEST(every_number_has_its_range),
      TEST(every_choice_is_taken_and_no_other_word),
      TEST(sizes_may_have_units),
      TEST(counts_are_whole_numbers),
      TEST(percents_may_have_their_sign),
      TEST(texts_are_taken_as_they_are_up_to_their_length),
      TEST(every_policy_can_be_named_everywhere),
      TEST(a_wrong_policy_gets_the_nearest_name),
      TEST(onnx_runtimes_values_are_understood),
      TEST(onnx_runtimes_keys_choose_lifetimes),
      TEST(lifetimes_follow_the_policy_unless_told),
      TEST(a_wrong_key_gets_the_nearest_name),
      TEST(pairs_are_split_at_the_first_sign),
      TEST(get_cuts_at_the_capacity),
      TEST(null_is_refused_everywhere),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
