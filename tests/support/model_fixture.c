// SPDX-License-Identifier: Apache-2.0
#include "support/model_fixture.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

void fixture_put(fixture_file* file, const void* bytes, size_t size) {
  if (file->size + size > file->capacity) {
    file->capacity = (file->size + size) * 2;
    file->data = realloc(file->data, file->capacity);
    assert_non_null(file->data);
  }
  if (size > 0) memcpy(file->data + file->size, bytes, size);
  file->size += size;
}

void fixture_put_zeros(fixture_file* file, size_t size) {
  static const uint8_t zero = 0;
  while (size-- > 0) fixture_put(file, &zero, 1);
}

static void put_le(fixture_file* file, uint64_t value, size_t size) {
  uint8_t bytes[8];
  for (size_t i = 0; i < size; ++i) bytes[i] = (uint8_t)(value >> (8 * i));
  fixture_put(file, bytes, size);
}

void fixture_put_u32(fixture_file* file, uint32_t value) {
  put_le(file, value, 4);
}

void fixture_put_u64(fixture_file* file, uint64_t value) {
  put_le(file, value, 8);
}

void fixture_put_string(fixture_file* file, const char* text) {
  fixture_put_u64(file, strlen(text));
  fixture_put(file, text, strlen(text));
}

void fixture_save(const char* path, const void* bytes, size_t size) {
  FILE* file = fopen(path, "wb");
  assert_non_null(file);
  if (size > 0) assert_int_equal(fwrite(bytes, 1, size, file), size);
  assert_int_equal(fclose(file), 0);
}

void fixture_save_file(const char* path, fixture_file* file) {
  fixture_save(path, file->data, file->size);
  free(file->data);
  *file = (fixture_file){0};
}

void fixture_save_safetensors(const char* path, const char* header,
                              size_t data_bytes) {
  fixture_file file = {0};
  fixture_put_string(&file, header);
  for (size_t i = 0; i < data_bytes; ++i) {
    uint8_t byte = (uint8_t)i;
    fixture_put(&file, &byte, 1);
  }
  fixture_save_file(path, &file);
}

teg_model* fixture_model(const char* path) {
  teg_model* model = NULL;
  teg_error err;
  if (teg_model_open(path, NULL, &model, &err) != TEG_OK) {
    fail_msg("%s", err.message);
  }
  assert_non_null(model);
  return model;
}

void fixture_expect_broken(const char* path, teg_result result, int64_t place,
                           const char* text) {
  teg_model* model = NULL;
  teg_error err;
  teg_result got = teg_model_open(path, NULL, &model, &err);
  assert_null(model);
  char wanted[4200];
  snprintf(wanted, sizeof wanted, "%s: ", path);
  if (place >= 0) {
    snprintf(wanted, sizeof wanted, "%s: byte %" PRId64 ": ", path, place);
  }
  if (got != result || err.result != result ||
      strncmp(err.message, wanted, strlen(wanted)) != 0 ||
      !strstr(err.message, text)) {
    fail_msg("wanted %s \"%s...%s\", got %s \"%s\"", teg_result_name(result),
             wanted, text, teg_result_name(got), err.message);
  }
}

char* fixture_unmark(const char* header, int64_t* out_place) {
  char* copy = strdup(header);
  assert_non_null(copy);
  char* mark = strchr(copy, '~');
  *out_place = mark ? mark - copy : -1;
  if (mark) memmove(mark, mark + 1, strlen(mark));
  return copy;
}
