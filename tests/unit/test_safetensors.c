// SPDX-License-Identifier: Apache-2.0
//
// The safetensors reader: what is valid is listed as it is, and each rule has a
// file that breaks it and no other.
#include <inttypes.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/model_fixture.h"
#include "support/trace_fixture.h"

static const char path[] = "model.safetensors";

#define T(type, shape, begin, end)                                        \
  "{\"dtype\":\"" type "\",\"shape\":" shape ",\"data_offsets\":[" #begin \
  "," #end "]}"

static void lists_tensors_by_their_bytes(void** state) {
  fixture_save_safetensors(
      path,
      "{\"b\":" T("F16", "[2,3]", 4, 16) ",\"a\":" T(
          "F32", "[]", 0, 4) ",\"e\":" T("I64", "[0,7]", 16, 16) "}   ",
      16);
  teg_model* model = fixture_model(path);
  assert_string_equal(teg_model_format(model), "safetensors");
  assert_int_equal(teg_model_file_count(model), 1);
  assert_string_equal(teg_model_file_path(model, 0), path);
  assert_null(teg_model_file_path(model, 1));
  assert_int_equal(teg_model_tensor_count(model), 3);
  assert_int_equal(teg_model_tensor_bytes(model), 16);
  teg_tensor_info info;
  assert_true(teg_model_tensor(model, 0, &info));
  assert_string_equal(info.name, "a");
  assert_int_equal(info.dimension_count, 0);
  uint64_t begin = info.file_offset;
  assert_true(teg_model_tensor(model, 1, &info));
  assert_string_equal(info.name, "b");
  assert_string_equal(info.type, "F16");
  assert_int_equal(info.dimension_count, 2);
  assert_int_equal(info.shape[0], 2);
  assert_int_equal(info.shape[1], 3);
  assert_int_equal(info.file_offset, begin + 4);
  assert_int_equal(info.bytes, 12);
  assert_true(teg_model_tensor(model, 2, &info));
  assert_string_equal(info.name, "e");
  assert_int_equal(info.bytes, 0);
  assert_false(teg_model_tensor(model, 3, &info));
  teg_model_close(model);
}

static void no_tensor_at_all_is_a_model(void** state) {
  fixture_save_safetensors(path, "{}", 0);
  teg_model* model = fixture_model(path);
  assert_int_equal(teg_model_tensor_count(model), 0);
  uint64_t index;
  assert_int_equal(teg_model_find(model, "a", &index, NULL), TEG_NOT_FOUND);
  teg_model_close(model);
}

static void metadata_is_listed_in_order_with_escapes(void** state) {
  fixture_save_safetensors(path,
                           "{\"__metadata__\":{\"z\":"
                           "\"\\u20ac\\u00fc\\ud83d\\ude00\\n\\/\",\"a\":\"\","
                           "\"u\":\"\xc3\xbc\xf0\x9f\x98\x80\"}}",
                           0);
  teg_model* model = fixture_model(path);
  const char* key;
  const char* value;
  assert_true(teg_model_metadata(model, 0, &key, &value));
  assert_string_equal(key, "z");
  assert_string_equal(value, "\xe2\x82\xac\xc3\xbc\xf0\x9f\x98\x80\n/");
  assert_true(teg_model_metadata(model, 1, &key, &value));
  assert_string_equal(key, "a");
  assert_string_equal(value, "");
  assert_true(teg_model_metadata(model, 2, &key, &value));
  assert_string_equal(value, "\xc3\xbc\xf0\x9f\x98\x80");
  assert_false(teg_model_metadata(model, 3, &key, &value));
  assert_null(key);
  teg_model_close(model);
}

static void long_metadata_is_cut_at_a_character(void** state) {
  enum { LONG = 200001 };
  fixture_file header = {0};
  fixture_put(&header, "{\"__metadata__\":{\"k\":\"x", 23);
  for (int i = 0; i < LONG / 2; ++i) fixture_put(&header, "\xc3\xbc", 2);
  fixture_put(&header, "\"}}", 4);
  fixture_save_safetensors(path, (const char*)header.data, 0);
  free(header.data);
  teg_model* model = fixture_model(path);
  const char* key;
  const char* value;
  assert_true(teg_model_metadata(model, 0, &key, &value));
  assert_int_equal(strlen(value), 65535);
  assert_string_equal(value + 65533, "\xc3\xbc");
  teg_model_close(model);
}

static void every_type_has_its_size(void** state) {
  static const struct {
    const char* name;
    unsigned bytes;  // of 8 elements
  } types[] = {
      {"BOOL", 8},    {"F4", 4},          {"F6_E2M3", 6},     {"F6_E3M2", 6},
      {"U8", 8},      {"I8", 8},          {"F8_E5M2", 8},     {"F8_E4M3", 8},
      {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16},
      {"U16", 16},    {"F16", 16},        {"BF16", 16},       {"I32", 32},
      {"U32", 32},    {"F32", 32},        {"C64", 64},        {"F64", 64},
      {"I64", 64},    {"U64", 64}};
  for (size_t i = 0; i < sizeof types / sizeof *types; ++i) {
    char header[200];
    snprintf(header, sizeof header,
             "{\"a\":{\"dtype\":\"%s\",\"shape\":[2,4],\"data_offsets\":[0,%u]}"
             "}",
             types[i].name, types[i].bytes);
    fixture_save_safetensors(path, header, types[i].bytes);
    teg_model* model = fixture_model(path);
    teg_tensor_info info;
    assert_true(teg_model_tensor(model, 0, &info));
    assert_string_equal(info.type, types[i].name);
    teg_model_close(model);
  }
}

// "~" is where the fault is to be found.
static const struct {
  const char* header;
  size_t data_bytes;
  teg_result result;
  const char* text;
} broken[] = {
    // JSON
    {"~x", 0, TEG_CORRUPT, "expected '{' of the header, but there is 'x'"},
    {"~[]", 0, TEG_CORRUPT, "expected '{' of the header"},
    {"{~", 1, TEG_CORRUPT,
     "expected a name in quotation marks, but the header"},
    {"{}  ~x", 0, TEG_CORRUPT, "expected nothing behind the last '}'"},
    {"{}~{}", 0, TEG_CORRUPT, "expected nothing behind the last '}'"},
    {"{~a:1}", 0, TEG_CORRUPT, "expected a name in quotation marks"},
    {"{\"a\"~1}", 0, TEG_CORRUPT, "expected ':' behind a name"},
    {"{\"a\\~q\":1}", 0, TEG_CORRUPT, "an escape of JSON"},
    {"{\"a~\n\":1}", 0, TEG_CORRUPT, "the rest of a string, but there is byte"},
    {"{\"~\xff\":1}", 0, TEG_CORRUPT, "text in UTF-8, but there is byte 0xff"},
    {"{\"~\xc3\":1}", 0, TEG_CORRUPT, "text in UTF-8"},
    {"{\"~\xc0\x80\":1}", 0, TEG_CORRUPT, "text in UTF-8"},
    {"{\"~\xed\xa0\x80\":1}", 0, TEG_CORRUPT, "text in UTF-8"},
    {"{\"~\\u0000\":1}", 0, TEG_CORRUPT, "a NUL"},
    {"{\"~\\ud800\\u0041\":1}", 0, TEG_CORRUPT, "half of a surrogate"},
    {"{\"\\ud800~x\":1}", 0, TEG_CORRUPT, "the other half of a surrogate"},
    {"{\"~\\udc00\":1}", 0, TEG_CORRUPT, "half of a surrogate"},
    {"{\"\\u00~g0\":1}", 0, TEG_CORRUPT, "four hex digits"},
    {"{\"__metadata__\":{\"a\":\"b\",~}}", 0, TEG_CORRUPT, "a name"},
    {"{\"__metadata__\":{\"a\":\"b\" ~\"c\":\"d\"}}", 0, TEG_CORRUPT,
     "expected ',' or '}'"},
    // Metadata
    {"{\"__metadata__\":~[]}", 0, TEG_CORRUPT, "'{' of the metadata"},
    {"{\"__metadata__\":{\"a\":~1}}", 0, TEG_CORRUPT, "expected a text"},
    {"{\"__metadata__\":{},~\"__metadata__\":{}}", 0, TEG_CORRUPT, "twice"},
    {"{\"__metadata__\":{\"k\":\"1\",\"k\":~\"2\"}}", 0, TEG_CORRUPT,
     "the key \"k\" is there twice"},
    // Tensors
    {"{\"a\":~1}", 0, TEG_CORRUPT, "'{' of the description of a tensor"},
    {"{~\"a\":{}}", 0, TEG_CORRUPT, "\"a\" has no dtype"},
    {"{~\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, TEG_CORRUPT,
     "\"a\" has no shape"},
    {"{~\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, TEG_CORRUPT,
     "\"a\" has no data_offsets"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],~\"x\":1}}",
     1, TEG_CORRUPT, "\"a\" has \"x\""},
    {"{\"a\":{\"dtype\":\"U8\",~\"dtype\":\"U8\",\"shape\":[1],"
     "\"data_offsets\":[0,1]}}",
     1, TEG_CORRUPT, "has dtype twice"},
    {"{\"a\":{\"dtype\":~7,\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
     TEG_CORRUPT, "the name of a type"},
    {"{\"a\":{\"dtype\":~\"F128\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
     TEG_UNSUPPORTED, "the type \"F128\", which is not known"},
    {"{\"a\":{\"dtype\":~\"u8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
     TEG_UNSUPPORTED, "the type \"u8\""},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":~1,\"data_offsets\":[0,1]}}", 1,
     TEG_CORRUPT, "'[' of a shape"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[~-1],\"data_offsets\":[0,1]}}", 1,
     TEG_CORRUPT, "a dimension of a shape, but there is '-'"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1~.0],\"data_offsets\":[0,1]}}", 1,
     TEG_CORRUPT, "a whole number"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1~e0],\"data_offsets\":[0,1]}}", 1,
     TEG_CORRUPT, "a whole number"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[0~1],\"data_offsets\":[0,1]}}", 1,
     TEG_CORRUPT, "a whole number"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[~18446744073709551616],"
     "\"data_offsets\":[0,1]}}",
     1, TEG_CORRUPT, "does not fit 64 bits"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":~[4294967296,4294967296],"
     "\"data_offsets\":[0,0]}}",
     0, TEG_CORRUPT, "the shape of the tensor \"a\" overflows"},
    {"{\"a\":{\"dtype\":\"F64\",\"shape\":~[2305843009213693952],"
     "\"data_offsets\":[0,0]}}",
     0, TEG_CORRUPT, "the shape of the tensor \"a\" overflows"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":~[1,1,1,1,1,1,1,1,1],"
     "\"data_offsets\":[0,1]}}",
     1, TEG_UNSUPPORTED, "more than 8 dimensions"},
    {"{\"a\":{\"dtype\":\"F4\",\"shape\":~[3],\"data_offsets\":[0,1]}}", 1,
     TEG_CORRUPT, "does not end with a whole byte"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":~[0]}}", 1,
     TEG_CORRUPT, "two offsets"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":~[0,1,2]}}", 1,
     TEG_CORRUPT, "two offsets"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":~[1,0]}}", 1,
     TEG_CORRUPT, "the offsets 1 to 0, but type and shape make 1 bytes"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":~[0,1]}}", 1,
     TEG_CORRUPT, "the offsets 0 to 1, but type and shape make 2 bytes"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":~[0,2]}}", 1,
     TEG_TRUNCATED, "ends at byte 2 behind the header, but the file has 1"},
    {"{\"a\":" T("U8", "[2]", 0, 2) ",~\"a\":" T("U8", "[1]", 2, 3) "}", 3,
     TEG_CORRUPT, "\"a\" is there twice, first at byte 9"},
    {"{\"a\":" T("U8", "[2]", 0, 2) ",~\"\\u0061\":" T("U8", "[1]", 2, 3) "}",
     3, TEG_CORRUPT, "\"a\" is there twice"},
    {"{\"a\":" T("U8", "[2]", 0, 2) ",~\"b\":" T("U8", "[2]", 1, 3) "}", 3,
     TEG_CORRUPT, "inside \"a\", which ends at byte "},
    {"{\"a\":" T("U8", "[1]", 0, 1) ",~\"b\":" T("U8", "[1]", 2, 3) "}", 3,
     TEG_CORRUPT, "a gap is not allowed"},
    {"{~\"a\":" T("U8", "[1]", 1, 2) "}", 2, TEG_CORRUPT,
     "a gap is not allowed"},
};

static void each_rule_has_a_file_that_breaks_it(void** state) {
  for (size_t i = 0; i < sizeof broken / sizeof *broken; ++i) {
    int64_t place;
    char* header = fixture_unmark(broken[i].header, &place);
    assert_true(place >= 0);
    fixture_save_safetensors(path, header, broken[i].data_bytes);
    fixture_expect_broken(path, broken[i].result, 8 + place, broken[i].text);
    free(header);
  }
}

static void bytes_behind_the_tensors_are_refused(void** state) {
  fixture_save_safetensors(path, "{\"a\":" T("U8", "[1]", 0, 1) "}", 4);
  fixture_expect_broken(path, TEG_CORRUPT, -1, "the file has 3 bytes more");
}

static void lying_sizes_of_the_header_are_refused(void** state) {
  fixture_file file = {0};
  fixture_put_u64(&file, 100000001);
  fixture_put(&file, "{}", 2);
  fixture_save_file(path, &file);
  fixture_expect_broken(path, TEG_CORRUPT, 0, "at most 100000000 are allowed");
  fixture_put_u64(&file, UINT64_MAX);
  fixture_put(&file, "{}", 2);
  fixture_save_file(path, &file);
  fixture_expect_broken(path, TEG_CORRUPT, 0,
                        "the header is to have 18446744073709551615 bytes");
  fixture_put_u64(&file, 3);
  fixture_put(&file, "{}", 2);
  fixture_save_file(path, &file);
  fixture_expect_broken(path, TEG_TRUNCATED, 0, "the file ends after 2");
}

static void long_names_are_refused(void** state) {
  fixture_file header = {0};
  fixture_put(&header, "{\"", 2);
  for (int i = 0; i < 65536; ++i) fixture_put(&header, "n", 1);
  fixture_put(&header, "\":1}", 5);
  fixture_save_safetensors(path, (const char*)header.data, 0);
  free(header.data);
  fixture_expect_broken(path, TEG_CORRUPT, 9, "longer than 65535 bytes");
}

// |count| numbered members between |begin| and |end|.
static char* many(const char* begin, const char* end, int count,
                  const char* before, const char* behind) {
  fixture_file text = {0};
  fixture_put(&text, begin, strlen(begin));
  for (int i = 0; i < count; ++i) {
    char member[100];
    int size = snprintf(member, sizeof member, "%s%s%d%s", i > 0 ? "," : "",
                        before, i, behind);
    fixture_put(&text, member, (size_t)size);
  }
  fixture_put(&text, end, strlen(end) + 1);
  return (char*)text.data;
}

static void counts_are_bounded(void** state) {
  enum { TOO_MANY = (1 << 20) + 1 };
  char* header = many("{", "}", TOO_MANY, "\"",
                      "\":{\"dtype\":\"U8\",\"shape\":[0],"
                      "\"data_offsets\":[0,0]}");
  fixture_save_safetensors(path, header, 0);
  free(header);
  fixture_expect_broken(path, TEG_CORRUPT, -1, "more than 1048576 tensors");
  header = many("{\"__metadata__\":{", "}}", TOO_MANY, "\"", "\":\"\"");
  fixture_save_safetensors(path, header, 0);
  free(header);
  fixture_expect_broken(path, TEG_CORRUPT, -1, "more than 1048576 pairs");
  header = many("{\"weight_map\":{", "}}", TOO_MANY, "\"", "\":\"f\"");
  fixture_save(path, header, strlen(header));
  free(header);
  fixture_expect_broken(path, TEG_CORRUPT, -1, "more than 1048576 tensors");
  fixture_save(path, "{ \"x\": 1}", 8);
  assert_int_equal(truncate(path, 100000001), 0);
  fixture_expect_broken(path, TEG_CORRUPT, 0, "at most 100000000 are allowed");
  fixture_save(path, "", 0);
}

static void a_file_cut_anywhere_is_refused(void** state) {
  static const char header[] =
      "{\"__metadata__\":{\"k\":\"v\"},\"a\":" T("F32", "[2,2]", 0, 16) "}";
  fixture_save_safetensors(path, header, 16);
  off_t size = (off_t)(8 + strlen(header) + 16);
  for (off_t cut = size - 1; cut >= 0; --cut) {
    assert_int_equal(truncate(path, cut), 0);
    teg_model* model = NULL;
    teg_error err;
    teg_result result = teg_model_open(path, NULL, &model, &err);
    assert_null(model);
    if (result != TEG_TRUNCATED && !(cut < 8 && result == TEG_CORRUPT)) {
      fail_msg("cut to %d: %s", (int)cut, err.message);
    }
  }
}

// ---- Random files
// --------------------------------------------------------------

enum { MOST_TENSORS = 40 };

typedef struct planned {
  char name[32];
  const char* type;
  uint32_t dimension_count;
  uint64_t shape[TEG_TENSOR_MOST_DIMENSIONS];
  uint64_t begin, bytes;
} planned;

static size_t plan(uint64_t* seed, planned* tensors, uint64_t* out_bytes) {
  static const struct {
    const char* name;
    uint64_t bytes;
  } types[] = {{"U8", 1}, {"BF16", 2}, {"F32", 4}, {"I64", 8}};
  size_t count = fixture_random(seed) % MOST_TENSORS;
  uint64_t offset = 0;
  for (size_t i = 0; i < count; ++i) {
    planned* t = &tensors[i];
    snprintf(t->name, sizeof t->name, "t.%zu/\\\"\xc3\xbc",
             i * 7919 % MOST_TENSORS);
    size_t type = fixture_random(seed) % 4;
    t->type = types[type].name;
    t->bytes = types[type].bytes;
    t->dimension_count = (uint32_t)(fixture_random(seed) % 9);
    for (uint32_t d = 0; d < t->dimension_count; ++d) {
      t->shape[d] = fixture_random(seed) % 4 + (fixture_random(seed) % 8 > 0);
      t->bytes *= t->shape[d];
    }
    t->begin = offset;
    offset += t->bytes;
  }
  *out_bytes = offset;
  return count;
}

static char* header_of(uint64_t* seed, const planned* tensors, size_t count) {
  json_t* header = json_object();
  size_t from = count > 0 ? fixture_random(seed) % count : 0;
  for (size_t i = 0; i < count; ++i) {
    const planned* t = &tensors[(from + i) % count];
    json_t* shape = json_array();
    for (uint32_t d = 0; d < t->dimension_count; ++d) {
      json_array_append_new(shape, json_integer((json_int_t)t->shape[d]));
    }
    json_object_set_new(header, t->name,
                        json_pack("{ss so s[II]}", "dtype", t->type, "shape",
                                  shape, "data_offsets", (json_int_t)t->begin,
                                  (json_int_t)(t->begin + t->bytes)));
  }
  size_t flags = fixture_random(seed) % 2 ? JSON_ENSURE_ASCII | JSON_INDENT(3)
                                          : JSON_COMPACT;
  char* text = json_dumps(header, flags);
  json_decref(header);
  return text;
}

static void random_files_come_back(void** state) {
  for (uint64_t round = 1; round <= 200; ++round) {
    uint64_t seed = round;
    planned tensors[MOST_TENSORS] = {0};
    uint64_t bytes;
    size_t count = plan(&seed, tensors, &bytes);
    char* header = header_of(&seed, tensors, count);
    fixture_save_safetensors(path, header, bytes);
    teg_model* model = fixture_model(path);
    assert_int_equal(teg_model_tensor_count(model), count);
    assert_int_equal(teg_model_tensor_bytes(model), bytes);
    for (size_t i = 0; i < count; ++i) {
      uint64_t index;
      teg_tensor_info info;
      assert_int_equal(teg_model_find(model, tensors[i].name, &index, NULL),
                       TEG_OK);
      assert_true(teg_model_tensor(model, index, &info));
      assert_string_equal(info.name, tensors[i].name);
      assert_string_equal(info.type, tensors[i].type);
      assert_int_equal(info.dimension_count, tensors[i].dimension_count);
      assert_memory_equal(info.shape, tensors[i].shape, sizeof info.shape);
      assert_int_equal(info.bytes, tensors[i].bytes);
      assert_int_equal(info.file_offset, 8 + strlen(header) + tensors[i].begin);
    }
    teg_model_close(model);
    free(header);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(lists_tensors_by_their_bytes),
      cmocka_unit_test(no_tensor_at_all_is_a_model),
      cmocka_unit_test(metadata_is_listed_in_order_with_escapes),
      cmocka_unit_test(long_metadata_is_cut_at_a_character),
      cmocka_unit_test(every_type_has_its_size),
      cmocka_unit_test(each_rule_has_a_file_that_breaks_it),
      cmocka_unit_test(bytes_behind_the_tensors_are_refused),
      cmocka_unit_test(lying_sizes_of_the_header_are_refused),
      cmocka_unit_test(long_names_are_refused),
      cmocka_unit_test(counts_are_bounded),
      cmocka_unit_test(a_file_cut_anywhere_is_refused),
      cmocka_unit_test(random_files_come_back),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
