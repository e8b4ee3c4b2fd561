// SPDX-License-Identifier: Apache-2.0
//
// Options by name: the table, the parser of values, ONNX Runtime's spellings,
// and the nearest name for a wrong one. Stateless beyond the set itself.
#include "core/options.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/checked.h"
#include "base/error.h"
#include "policy/policy.h"

static const teg_option_info table[] = {
#define X(scope, key, type, unit, min, max, value, choices, since, help) \
  {#key,                                                                 \
   TEG_OPTION_##scope,                                                   \
   TEG_OPTION_##type,                                                    \
   unit,                                                                 \
   min,                                                                  \
   max,                                                                  \
   value,                                                                \
   choices,                                                              \
   since,                                                                \
   help},
#include "core/options.def"
#undef X
};

static const size_t value_offsets[] = {
#define X(scope, key, type, unit, min, max, value, choices, since, help) \
  offsetof(teg_options, key),
#include "core/options.def"
#undef X
};

enum { OPTION_COUNT = sizeof table / sizeof table[0] };

const teg_option_info* teg_option_at(size_t index) {
  return index < OPTION_COUNT ? &table[index] : NULL;
}

// ---- Names ------------------------------------------------------------------

static size_t edit_distance(const char* a, const char* b) {
  enum { LONGEST = 64 };
  size_t a_length = strlen(a);
  size_t b_length = strlen(b);
  if (a_length > LONGEST || b_length > LONGEST) return SIZE_MAX;
  size_t row[LONGEST + 1];
  for (size_t j = 0; j <= b_length; ++j) row[j] = j;
  for (size_t i = 1; i <= a_length; ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b_length; ++j) {
      bool is_same =
          tolower((unsigned char)a[i - 1]) == tolower((unsigned char)b[j - 1]);
      size_t change = diagonal + (is_same ? 0 : 1);
      diagonal = row[j];
      size_t shift = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
      row[j] = change < shift ? change : shift;
    }
  }
  return row[b_length];
}

const char* tegi_nearest(const char* text, const char* const* names) {
  const char* nearest = NULL;
  size_t best = SIZE_MAX;
  for (; *names; ++names) {
    size_t distance = edit_distance(text, *names);
    if (distance < best) {
      best = distance;
      nearest = *names;
    }
  }
  return nearest;
}

static teg_result unknown_name(teg_error* err, const char* what,
                               const char* text, const char* const* names) {
  const char* nearest = tegi_nearest(text, names);
  if (nearest) {
    return tegi_error_set(err, TEG_NOT_FOUND,
                          "no %s is called \"%.100s\"; the nearest is \"%s\"",
                          what, text, nearest);
  }
  return tegi_error_set(err, TEG_NOT_FOUND, "no %s is called \"%.100s\"", what,
                        text);
}

int tegi_policy_find(const char* name, teg_error* err) {
  if (strcmp(name, "auto") == 0) return -1;
  if (strcmp(name, "lazyRelease") == 0) name = "lazy";
  if (strcmp(name, "dynamicBucket") == 0) name = "dynamic";
  enum { LONGEST_LIST = 32, OTHER_NAMES = 3 };
  const char* names[LONGEST_LIST] = {"auto", "lazyRelease", "dynamicBucket"};
  int count = 0;
  for (; tegi_policies[count] && count + OTHER_NAMES + 1 < LONGEST_LIST;
       ++count) {
    if (strcmp(name, tegi_policies[count]->name) == 0) return count;
    names[count + OTHER_NAMES] = tegi_policies[count]->name;
  }
  (void)unknown_name(err, "policy", name, names);
  return -2;
}

const teg_policy_info* teg_policy_at(size_t index) {
  static const teg_policy_info infos[] = {
      {"auto", "tiled where the device remaps, otherwise paged"},
      {"disabled", "nothing: each request is a device buffer of its own"},
      {"lazy", "nothing past the submit that follows the release"},
      {"simple", "every buffer, by exact size"},
      {"bucket", "buffers by a table of size classes with limits"},
      {"dynamic", "size classes learned from the session's own runs"},
      {"paged", "ranges of pages, split and merged; empty pages go back"},
      {"exclusive", "one buffer a page, sizes log-spaced, released by age"},
      {"tiled", "addresses whose tiles move under other addresses"},
      {"planned", "tiled, with offsets computed for runs that repeat"},
  };
  return index < sizeof infos / sizeof infos[0] ? &infos[index] : NULL;
}

// ONNX Runtime's four cache keys, for the lifetimes they serve there.
static const struct {
  const char* theirs;
  const char* ours;
} ort_keys[] = {
    {"storageBufferCacheMode", "policy"},
    {"uniformBufferCacheMode", "policy_params"},
    {"queryResolveBufferCacheMode", "policy_readback"},
    {"defaultBufferCacheMode", "policy_staging"},
};

enum { ORT_KEY_COUNT = sizeof ort_keys / sizeof ort_keys[0] };

static const char* canonical_key(const char* key) {
  static const char prefix[] = "ep.webgpuexecutionprovider.";
  const char* rest = key;
  if (strncasecmp(key, prefix, sizeof prefix - 1) == 0) {
    rest += sizeof prefix - 1;
  }
  for (size_t i = 0; i < ORT_KEY_COUNT; ++i) {
    if (strcmp(rest, ort_keys[i].theirs) == 0) return ort_keys[i].ours;
  }
  return key;
}

static int find_option(const char* key, teg_error* err) {
  const char* wanted = canonical_key(key);
  const char* names[OPTION_COUNT + ORT_KEY_COUNT + 1] = {NULL};
  for (int i = 0; i < OPTION_COUNT; ++i) {
    if (strcmp(wanted, table[i].key) == 0) return i;
    names[i] = table[i].key;
  }
  for (int i = 0; i < ORT_KEY_COUNT; ++i) {
    names[OPTION_COUNT + i] = ort_keys[i].theirs;
  }
  (void)unknown_name(err, "option", key, names);
  return -1;
}

// ---- Values -----------------------------------------------------------------

static uint64_t* number_of(teg_options* options, int index) {
  return (uint64_t*)(void*)((char*)options + value_offsets[index]);
}

static char* text_of(teg_options* options, int index) {
  return (char*)options + value_offsets[index];
}

// The factor of a unit: "K" and "KiB" are 1024, "KB" is 1000; 0 if it is none.
static uint64_t unit_factor(const char* unit) {
  static const char letters[] = "KMGTPE";
  if (*unit == '\0' || strcasecmp(unit, "B") == 0) return 1;
  const char* letter = strchr(letters, toupper((unsigned char)*unit));
  if (!letter) return 0;
  const char* rest = unit + 1;
  bool is_binary = *rest == '\0' || strcasecmp(rest, "iB") == 0 ||
                   strcasecmp(rest, "i") == 0;
  if (!is_binary && strcasecmp(rest, "B") != 0) return 0;
  uint64_t factor = 1;
  for (const char* at = letters; at <= letter; ++at) {
    factor *= is_binary ? 1024 : 1000;
  }
  return factor;
}

teg_result teg_parse_bytes(const char* text, uint64_t* out_bytes,
                           teg_error* err) {
  TEG_REQUIRE(text && out_bytes, err, "parse_bytes: an argument is NULL");
  *out_bytes = 0;
  const char* at = text;
  while (isspace((unsigned char)*at)) at++;
  if (!isdigit((unsigned char)*at)) {
    return tegi_error_set(err, TEG_INVALID,
                          "\"%.100s\" is not a size: expected a number such "
                          "as 4096, 64KiB or 2MiB",
                          text);
  }
  char* end = NULL;
  uint64_t whole = strtoull(at, &end, 10);
  uint64_t fraction = 0;
  uint64_t scale = 1;
  if (*end == '.') {
    for (end++; isdigit((unsigned char)*end); end++) {
      if (scale == 1000000) continue;  // finer digits say nothing
      fraction = fraction * 10 + (uint64_t)(*end - '0');
      scale *= 10;
    }
  }
  while (isspace((unsigned char)*end)) end++;
  uint64_t factor = unit_factor(end);
  uint64_t bytes;
  if (factor == 0) {
    return tegi_error_set(err, TEG_INVALID,
                          "\"%.100s\" has an unknown unit \"%.20s\": use KiB, "
                          "MiB, GiB or TiB",
                          text, end);
  }
  uint64_t rest = fraction * factor / scale;
  if (!tegi_mul_u64(whole, factor, &bytes) || bytes > TEGI_MAX_BYTES - rest) {
    return tegi_error_set(err, TEG_INVALID,
                          "\"%.100s\" is larger than 2^62 bytes", text);
  }
  *out_bytes = bytes + rest;
  return TEG_OK;
}

static teg_result parse_count(const teg_option_info* info, const char* text,
                              uint64_t* out_value, teg_error* err) {
  char* end = NULL;
  const char* at = text;
  while (isspace((unsigned char)*at)) at++;
  uint64_t value = isdigit((unsigned char)*at) ? strtoull(at, &end, 10) : 0;
  if (end && info->type == TEG_OPTION_PERCENT && *end == '%') end++;
  if (!end || *end != '\0') {
    return tegi_error_set(err, TEG_INVALID,
                          "%s: \"%.100s\" is not a whole number", info->key,
                          text);
  }
  *out_value = value;
  return TEG_OK;
}

static teg_result parse_choice(const teg_option_info* info, const char* text,
                               uint64_t* out_value, teg_error* err) {
  const char* at = info->choices;
  for (uint64_t index = 0; *at; ++index) {
    size_t length = strcspn(at, " ");
    if (strlen(text) == length && strncmp(text, at, length) == 0) {
      *out_value = index;
      return TEG_OK;
    }
    at += length;
    at += strspn(at, " ");
  }
  return tegi_error_set(err, TEG_NOT_FOUND, "%s: \"%.100s\" is not one of: %s",
                        info->key, text, info->choices);
}

// The default means "not set" and may lie outside of the range.
static teg_result check_range(const teg_option_info* info, const char* text,
                              uint64_t value, teg_error* err) {
  bool is_default = strcmp(text, info->default_value) == 0;
  if (is_default || (value >= info->min && value <= info->max)) return TEG_OK;
  return tegi_error_set(err, TEG_INVALID,
                        "%s: %.100s is out of range: %" PRIu64 " to %" PRIu64
                        " %s",
                        info->key, text, info->min, info->max, info->unit);
}

static teg_result check_text(const teg_option_info* info, const char* text,
                             teg_error* err) {
  TEG_REQUIRE(strlen(text) < TEGI_OPTION_TEXT_BYTES, err,
              "%s: longer than %d characters", info->key,
              TEGI_OPTION_TEXT_BYTES - 1);
  if (strcmp(info->key, "buckets") == 0) return tegi_buckets_check(text, err);
  bool is_policy = strncmp(info->key, "policy", 6) == 0;
  if (is_policy && tegi_policy_find(text, err) == -2) return TEG_NOT_FOUND;
  return TEG_OK;
}

static teg_result set_value(teg_options* options, int index, const char* text,
                            teg_error* err) {
  const teg_option_info* info = &table[index];
  if (info->type == TEG_OPTION_TEXT) {
    teg_result result = check_text(info, text, err);
    if (result != TEG_OK) return result;
    snprintf(text_of(options, index), TEGI_OPTION_TEXT_BYTES, "%s", text);
    return TEG_OK;
  }
  uint64_t value = 0;
  teg_result result = TEG_OK;
  if (info->type == TEG_OPTION_CHOICE) {
    result = parse_choice(info, text, &value, err);
  } else if (info->type == TEG_OPTION_BYTES) {
    result = teg_parse_bytes(text, &value, err);
    if (result != TEG_OK && err) {
      char reason[sizeof err->message];
      snprintf(reason, sizeof reason, "%s", err->message);
      (void)tegi_error_set(err, result, "%s: %.900s", info->key, reason);
    }
  } else {
    result = parse_count(info, text, &value, err);
  }
  if (result == TEG_OK && info->type != TEG_OPTION_CHOICE) {
    result = check_range(info, text, value, err);
  }
  if (result == TEG_OK) *number_of(options, index) = value;
  return result;
}

void tegi_options_default(teg_options* options) {
  for (int i = 0; i < OPTION_COUNT; ++i) {
    teg_result result = set_value(options, i, table[i].default_value, NULL);
    TEG_ASSERT(result == TEG_OK);
    (void)result;
  }
}

void tegi_options_copy(teg_options* into, const teg_options* from) {
  size_t values = offsetof(teg_options, tile_bytes);
  memcpy((char*)into + values, (const char*)from + values,
         sizeof *into - values);
}

// ---- The public set ---------------------------------------------------------

teg_result teg_options_create(const teg_allocator* allocator,
                              teg_options** out_options, teg_error* err) {
  TEG_REQUIRE(out_options, err, "options_create: out_options is NULL");
  *out_options = NULL;
  tegi_host host;
  teg_result result = tegi_host_init(&host, allocator, err);
  if (result != TEG_OK) return result;
  teg_options* options = tegi_host_alloc(&host, sizeof *options);
  if (!options) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "options_create: no host memory");
  }
  options->host.allocator = host.allocator;
  tegi_options_default(options);
  *out_options = options;
  return TEG_OK;
}

void teg_options_destroy(teg_options* options) {
  if (!options) return;
  tegi_host host = {.allocator = options->host.allocator};
  tegi_host_free(&host, options, sizeof *options);
}

teg_result teg_options_set(teg_options* options, const char* key,
                           const char* value, teg_error* err) {
  TEG_REQUIRE(options && key && value, err, "options_set: an argument is NULL");
  int index = find_option(key, err);
  if (index < 0) return TEG_NOT_FOUND;
  return set_value(options, index, value, err);
}

teg_result teg_options_set_pair(teg_options* options, const char* pair,
                                teg_error* err) {
  TEG_REQUIRE(options && pair, err, "options_set_pair: an argument is NULL");
  const char* equals = strchr(pair, '=');
  char key[128];
  TEG_REQUIRE(equals && equals != pair && (size_t)(equals - pair) < sizeof key,
              err, "\"%.100s\" is not of the form key=value", pair);
  snprintf(key, sizeof key, "%.*s", (int)(equals - pair), pair);
  return teg_options_set(options, key, equals + 1, err);
}

static void choice_name(const teg_option_info* info, uint64_t index, char* text,
                        size_t capacity) {
  const char* at = info->choices;
  for (; index > 0; --index) {
    at += strcspn(at, " ");
    at += strspn(at, " ");
  }
  snprintf(text, capacity, "%.*s", (int)strcspn(at, " "), at);
}

teg_result teg_options_get(const teg_options* options, const char* key,
                           char* text, size_t capacity, teg_error* err) {
  TEG_REQUIRE(options && key && text && capacity > 0, err,
              "options_get: an argument is NULL or the capacity is 0");
  text[0] = '\0';
  int index = find_option(key, err);
  if (index < 0) return TEG_NOT_FOUND;
  const teg_option_info* info = &table[index];
  const char* at = (const char*)options + value_offsets[index];
  if (info->type == TEG_OPTION_TEXT) {
    snprintf(text, capacity, "%s", at);
    return TEG_OK;
  }
  uint64_t value = *(const uint64_t*)(const void*)at;
  if (info->type == TEG_OPTION_CHOICE) {
    choice_name(info, value, text, capacity);
  } else {
    snprintf(text, capacity, "%" PRIu64, value);
  }
  return TEG_OK;
}
