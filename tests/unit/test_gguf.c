// SPDX-License-Identifier: Apache-2.0
//
// The GGUF reader: what is valid is listed as it is, and each rule has a file
// that breaks it and no other.
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "load/gguf_types.h"
#include "support/model_fixture.h"

static const char path[] = "model.gguf";

enum { UINT32 = 4, BOOL = 7, STRING = 8, ARRAY = 9 };

static fixture_file begin(uint32_t version, uint64_t tensors, uint64_t pairs) {
  fixture_file file = {0};
  fixture_put(&file, "GGUF", 4);
  fixture_put_u32(&file, version);
  fixture_put_u64(&file, tensors);
  fixture_put_u64(&file, pairs);
  return file;
}

static void put_key(fixture_file* file, const char* key, uint32_t type) {
  fixture_put_string(file, key);
  fixture_put_u32(file, type);
}

static void put_alignment(fixture_file* file, uint32_t alignment) {
  put_key(file, "general.alignment", UINT32);
  fixture_put_u32(file, alignment);
}

// A tensor of one or two dimensions; |rows| 0 = one.
static void put_tensor(fixture_file* file, const char* name, uint64_t row,
                       uint64_t rows, uint32_t type, uint64_t offset) {
  fixture_put_string(file, name);
  fixture_put_u32(file, rows > 0 ? 2 : 1);
  fixture_put_u64(file, row);
  if (rows > 0) fixture_put_u64(file, rows);
  fixture_put_u32(file, type);
  fixture_put_u64(file, offset);
}

static void align(fixture_file* file, size_t alignment) {
  while (file->size % alignment != 0) fixture_put_zeros(file, 1);
}

// What is at fault begins at the byte that the file has now.
static void expect(fixture_file* file, teg_result result, size_t place,
                   const char* text) {
  fixture_save_file(path, file);
  fixture_expect_broken(path, result, (int64_t)place, text);
}

static void lists_tensors_of_both_versions(void** state) {
  for (uint32_t version = 2; version <= 3; ++version) {
    fixture_file file = begin(version, 3, 0);
    put_tensor(&file, "second", 64, 3, 8, 64);
    put_tensor(&file, "first", 4, 0, 0, 0);
    put_tensor(&file, "empty", 0, 5, 2, 64);
    align(&file, 32);
    uint64_t data = file.size;
    fixture_put_zeros(&file, 64 + 6 * 34 + 5);
    fixture_save_file(path, &file);
    teg_model* model = fixture_model(path);
    assert_string_equal(teg_model_format(model),
                        version == 2 ? "gguf v2" : "gguf v3");
    teg_tensor_info info;
    assert_true(teg_model_tensor(model, 0, &info));
    assert_string_equal(info.name, "first");
    assert_string_equal(info.type, "F32");
    assert_int_equal(info.file_offset, data);
    assert_int_equal(info.bytes, 16);
    assert_true(teg_model_tensor(model, 1, &info));
    assert_string_equal(info.name, "empty");
    assert_int_equal(info.bytes, 0);
    assert_true(teg_model_tensor(model, 2, &info));
    assert_string_equal(info.name, "second");
    assert_string_equal(info.type, "Q8_0");
    assert_int_equal(info.dimension_count, 2);
    assert_int_equal(info.shape[0], 3);  // outermost first
    assert_int_equal(info.shape[1], 64);
    assert_int_equal(info.file_offset, data + 64);
    assert_int_equal(info.bytes, 6 * 34);
    teg_model_close(model);
  }
}

static void alignment_is_taken_from_the_metadata(void** state) {
  fixture_file file = begin(3, 2, 1);
  put_alignment(&file, 4096);
  put_tensor(&file, "a", 1, 0, 24, 0);
  put_tensor(&file, "b", 1, 0, 24, 4096);
  align(&file, 4096);
  fixture_put_zeros(&file, 4097);
  fixture_save_file(path, &file);
  teg_model* model = fixture_model(path);
  teg_tensor_info info;
  assert_true(teg_model_tensor(model, 1, &info));
  assert_int_equal(info.file_offset, 8192);
  teg_model_close(model);
}

static void put_scalars(fixture_file* file) {
  static const struct {
    uint32_t type;
    size_t size;
    uint64_t bits;
  } scalars[] = {{0, 1, 200},
                 {1, 1, 200},
                 {2, 2, 65535},
                 {3, 2, 65535},
                 {4, 4, UINT32_MAX},
                 {5, 4, UINT32_MAX},
                 {6, 4, 0x3dcccccd} /* 0.1f */,
                 {7, 1, 1},
                 {10, 8, UINT64_MAX},
                 {11, 8, UINT64_MAX},
                 {12, 8, 0x3fb999999999999a} /* 0.1 */};
  for (size_t i = 0; i < sizeof scalars / sizeof *scalars; ++i) {
    char key[8];
    snprintf(key, sizeof key, "k%zu", i);
    put_key(file, key, scalars[i].type);
    fixture_file bytes = {0};
    fixture_put_u64(&bytes, scalars[i].bits);
    fixture_put(file, bytes.data, scalars[i].size);
    free(bytes.data);
  }
}

static void metadata_of_every_type_is_text(void** state) {
  static const char* const texts[] = {
      "200",
      "-56",
      "65535",
      "-1",
      "4294967295",
      "-1",
      "0.1",
      "true",
      "18446744073709551615",
      "-1",
      "0.1",
      "a\xc3\xbc?b?",
      "[x, yy, x, yy, x, yy, x, yy, ... 10 in all]",
      "[0, 1, 2, 3, 4, 5, 6, 7, ... 20 in all]",
      "[[true], []]",
      "[]"};
  enum { COUNT = sizeof texts / sizeof *texts };
  fixture_file file = begin(3, 0, COUNT);
  put_scalars(&file);
  put_key(&file, "string", STRING);
  fixture_put_u64(&file, 6);
  fixture_put(&file, "a\xc3\xbc\0b\xff", 6);
  put_key(&file, "strings", ARRAY);
  fixture_put_u32(&file, STRING);
  fixture_put_u64(&file, 10);
  for (int i = 0; i < 5; ++i) {
    fixture_put_string(&file, "x");
    fixture_put_string(&file, "yy");
  }
  put_key(&file, "numbers", ARRAY);
  fixture_put_u32(&file, UINT32);
  fixture_put_u64(&file, 20);
  for (uint32_t i = 0; i < 20; ++i) fixture_put_u32(&file, i);
  put_key(&file, "arrays", ARRAY);
  fixture_put_u32(&file, ARRAY);
  fixture_put_u64(&file, 2);
  fixture_put_u32(&file, BOOL);
  fixture_put_u64(&file, 1);
  fixture_put(&file, "\1", 1);
  fixture_put_u32(&file, UINT32);
  fixture_put_u64(&file, 0);
  put_key(&file, "none", ARRAY);
  fixture_put_u32(&file, STRING);
  fixture_put_u64(&file, 0);
  fixture_save_file(path, &file);
  teg_model* model = fixture_model(path);
  const char* key;
  const char* value;
  for (uint64_t i = 0; i < COUNT; ++i) {
    assert_true(teg_model_metadata(model, i, &key, &value));
    assert_string_equal(value, texts[i]);
  }
  assert_false(teg_model_metadata(model, COUNT, &key, &value));
  teg_model_close(model);
}

static void long_strings_are_cut(void** state) {
  fixture_file file = begin(3, 0, 1);
  put_key(&file, "long", STRING);
  fixture_put_u64(&file, 100000);
  for (int i = 0; i < 100000; ++i) fixture_put(&file, "x", 1);
  fixture_save_file(path, &file);
  teg_model* model = fixture_model(path);
  const char* key;
  const char* value;
  assert_true(teg_model_metadata(model, 0, &key, &value));
  assert_int_equal(strlen(value), 65536);
  teg_model_close(model);
}

static void every_type_has_its_block(void** state) {
  for (uint32_t number = 0; tegi_gguf_type_of(number); ++number) {
    const tegi_gguf_type* type = tegi_gguf_type_of(number);
    assert_int_equal(type->number, number);
    fixture_file file = begin(3, 1, 0);
    put_tensor(&file, "a", type->block_elements, 3, number, 0);
    align(&file, 32);
    fixture_put_zeros(&file, 3 * type->block_bytes);
    fixture_save_file(path, &file);
    if (type->block_elements == 0) {
      fixture_expect_broken(path, TEG_UNSUPPORTED, -1, "taken out of ggml");
      continue;
    }
    teg_model* model = fixture_model(path);
    teg_tensor_info info;
    assert_true(teg_model_tensor(model, 0, &info));
    assert_string_equal(info.type, type->name);
    assert_int_equal(info.bytes, 3 * type->block_bytes);
    teg_model_close(model);
  }
}

static void wrong_beginnings_are_refused(void** state) {
  fixture_file file = begin(1, 0, 0);
  expect(&file, TEG_BAD_VERSION, 4, "GGUF version 1; versions 2 and 3");
  file = begin(4, 0, 0);
  expect(&file, TEG_BAD_VERSION, 4, "GGUF version 4;");
  file = begin(0x03000000, 0, 0);
  expect(&file, TEG_UNSUPPORTED, 4, "a big-endian GGUF file (version 3)");
  file = begin(3, UINT64_C(1) << 60, 0);
  expect(&file, TEG_CORRUPT, 8, "at most 1048576 are allowed");
  file = begin(3, 1000, 0);
  fixture_put_zeros(&file, 23999);
  expect(&file, TEG_TRUNCATED, 8,
         "1000 tensors, but only 23999 bytes are left");
  file = begin(3, 0, UINT64_MAX);
  expect(&file, TEG_CORRUPT, 16, "at most 1048576 are allowed");
  file = begin(3, 0, 2);
  fixture_put_zeros(&file, 27);
  expect(&file, TEG_TRUNCATED, 16, "2 pairs of metadata");
}

static void wrong_metadata_is_refused(void** state) {
  fixture_file file = begin(3, 0, 1);
  fixture_put_u64(&file, 0);
  fixture_put_zeros(&file, 20);
  expect(&file, TEG_CORRUPT, 24, "a key of metadata is empty");

  file = begin(3, 0, 1);
  fixture_put_u64(&file, 65536);
  fixture_put_zeros(&file, 70000);
  expect(&file, TEG_CORRUPT, 24, "65536 bytes; at most 65535");

  file = begin(3, 0, 1);
  fixture_put_u64(&file, 2);
  fixture_put(&file, "a\0", 2);
  fixture_put_zeros(&file, 20);
  expect(&file, TEG_CORRUPT, 33, "not text in UTF-8: there is byte 0x00");

  file = begin(3, 0, 1);
  put_key(&file, "k", 13);
  fixture_put_zeros(&file, 20);
  expect(&file, TEG_CORRUPT, 33, "the type of a value of metadata is 13");

  file = begin(3, 0, 1);
  put_key(&file, "k", BOOL);
  fixture_put(&file, "\2", 1);
  expect(&file, TEG_CORRUPT, 37, "a truth value is 2");

  file = begin(3, 0, 1);
  put_key(&file, "k", STRING);
  fixture_put_u64(&file, UINT64_MAX);
  expect(&file, TEG_TRUNCATED, 45, "but the file ends at byte 45");

  file = begin(3, 0, 1);
  put_key(&file, "k", ARRAY);
  fixture_put_u32(&file, 77);
  fixture_put_u64(&file, 0);
  expect(&file, TEG_CORRUPT, 37, "the type of an array of metadata is 77");

  file = begin(3, 0, 1);
  put_key(&file, "k", ARRAY);
  fixture_put_u32(&file, STRING);
  fixture_put_u64(&file, UINT64_C(1) << 61);
  fixture_put_zeros(&file, 16);
  expect(&file, TEG_TRUNCATED, 41, "elements, but only 16 bytes are left");

  file = begin(3, 0, 1);
  put_key(&file, "k", ARRAY);
  for (int i = 0; i < 10; ++i) {
    fixture_put_u32(&file, ARRAY);
    fixture_put_u64(&file, 1);
  }
  expect(&file, TEG_CORRUPT, 37 + 4 * 12, "nested more than 4 deep");

  file = begin(3, 0, 1);
  put_key(&file, "k", ARRAY);
  fixture_put_u32(&file, BOOL);
  fixture_put_u64(&file, 20);
  fixture_put_zeros(&file, 19);
  fixture_put(&file, "\2", 1);
  expect(&file, TEG_CORRUPT, 49 + 19, "a truth value is 2");

  file = begin(3, 0, 2);
  put_key(&file, "k", UINT32);
  fixture_put_u32(&file, 1);
  size_t second = file.size;
  put_key(&file, "k", UINT32);
  fixture_put_u32(&file, 1);
  expect(&file, TEG_CORRUPT, second, "\"k\" is there twice, first at byte 24");
}

static void the_size_of_the_header_is_bounded(void** state) {
  fixture_file file = begin(3, 0, 1);
  put_key(&file, "k", STRING);
  fixture_put_u64(&file, 256 << 20);
  fixture_save_file(path, &file);
  assert_int_equal(truncate(path, 300 << 20), 0);
  fixture_expect_broken(path, TEG_CORRUPT, 45,
                        "the largest header that is allowed ends at byte "
                        "268435456");
  assert_int_equal(truncate(path, 0), 0);
}

static void wrong_alignments_are_refused(void** state) {
  static const uint32_t wrong[] = {0, 3, 48};
  for (size_t i = 0; i < 3; ++i) {
    fixture_file file = begin(3, 0, 1);
    put_alignment(&file, wrong[i]);
    expect(&file, TEG_CORRUPT, 24 + 8 + 17, "expected a power of two");
  }
  fixture_file file = begin(3, 0, 1);
  put_key(&file, "general.alignment", 10);
  fixture_put_u64(&file, 32);
  expect(&file, TEG_CORRUPT, 24 + 8 + 17, "general.alignment is 32; expected");
}

// One tensor, its description from byte 24 on, with |data_bytes| behind it.
static void expect_tensor(uint64_t row, uint64_t rows, uint32_t type,
                          uint64_t offset, size_t data_bytes, teg_result result,
                          size_t place, const char* text) {
  fixture_file file = begin(3, 1, 0);
  put_tensor(&file, "a", row, rows, type, offset);
  align(&file, 32);
  fixture_put_zeros(&file, data_bytes);
  expect(&file, result, place, text);
}

static void wrong_tensors_are_refused(void** state) {
  fixture_file file = begin(3, 1, 0);
  fixture_put_u64(&file, 1025);
  fixture_put_zeros(&file, 2000);
  expect(&file, TEG_CORRUPT, 24, "the name of a tensor has 1025 bytes");

  file = begin(3, 1, 0);
  fixture_put_string(&file, "a");
  fixture_put_u32(&file, 5);
  fixture_put_zeros(&file, 100);
  expect(&file, TEG_CORRUPT, 33, "has 5 dimensions; at most 4");

  expect_tensor(32, 1, 43, 0, 100, TEG_UNSUPPORTED, 53, "the type 43");
  expect_tensor(32, 1, 4, 0, 100, TEG_UNSUPPORTED, 53, "the type Q4_2, which");
  expect_tensor(33, 1, 8, 0, 100, TEG_CORRUPT, 33, "33 elements in a row");
  expect_tensor(UINT64_C(1) << 32, UINT64_C(1) << 32, 24, 0, 9, TEG_CORRUPT, 33,
                "overflows 64 bits");
  expect_tensor(UINT64_C(1) << 61, 1, 28, 0, 9, TEG_CORRUPT, 33,
                "overflows 64 bits");
  expect_tensor(1, 1, 24, 31, 100, TEG_CORRUPT, 57, "no multiple of the align");
  expect_tensor(32, 1, 24, 0, 31, TEG_TRUNCATED, 24, "is at bytes 96 to 128");
  expect_tensor(1, 1, 24, UINT64_C(1) << 40, 31, TEG_TRUNCATED, 24, "the file");
  expect_tensor(1, 1, 24, UINT64_MAX - 31, 31, TEG_CORRUPT, 24, "overflows");

  for (uint64_t offset = 0; offset <= 32; offset += 32) {
    file = begin(3, 2, 0);
    put_tensor(&file, "a", 33, 0, 24, 0);
    size_t second = file.size;
    put_tensor(&file, "b", 40, 0, 24, offset);
    align(&file, 32);
    fixture_put_zeros(&file, 100);
    expect(&file, TEG_CORRUPT, second, "inside \"a\"");
  }

  file = begin(3, 2, 0);
  put_tensor(&file, "a", 32, 0, 24, 0);
  size_t second = file.size;
  put_tensor(&file, "a", 32, 0, 24, 32);
  align(&file, 32);
  fixture_put_zeros(&file, 64);
  expect(&file, TEG_CORRUPT, second, "\"a\" is there twice");
}

static void a_file_cut_anywhere_is_truncated(void** state) {
  fixture_file file = begin(3, 2, 2);
  put_alignment(&file, 32);
  put_key(&file, "k", ARRAY);
  fixture_put_u32(&file, STRING);
  fixture_put_u64(&file, 1);
  fixture_put_string(&file, "text");
  put_tensor(&file, "a", 32, 2, 8, 0);
  put_tensor(&file, "b", 4, 0, 0, 96);
  align(&file, 32);
  fixture_put_zeros(&file, 112);
  off_t size = (off_t)file.size;
  fixture_save_file(path, &file);
  teg_model_close(fixture_model(path));
  for (off_t cut = size - 1; cut >= 4; --cut) {
    assert_int_equal(truncate(path, cut), 0);
    fixture_expect_broken(path, TEG_TRUNCATED, -1, "byte ");
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(lists_tensors_of_both_versions),
      cmocka_unit_test(alignment_is_taken_from_the_metadata),
      cmocka_unit_test(metadata_of_every_type_is_text),
      cmocka_unit_test(long_strings_are_cut),
      cmocka_unit_test(every_type_has_its_block),
      cmocka_unit_test(wrong_beginnings_are_refused),
      cmocka_unit_test(wrong_metadata_is_refused),
      cmocka_unit_test(the_size_of_the_header_is_bounded),
      cmocka_unit_test(wrong_alignments_are_refused),
      cmocka_unit_test(wrong_tensors_are_refused),
      cmocka_unit_test(a_file_cut_anywhere_is_truncated),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
