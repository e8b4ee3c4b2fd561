// SPDX-License-Identifier: Apache-2.0
#include "support/load_fixture.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

uint8_t load_fixture_byte(uint64_t tensor, uint64_t index) {
  uint64_t mixed = (index + tensor * 1000003) * UINT64_C(0x9e3779b97f4a7c15);
  return (uint8_t)(mixed >> 40);
}

static FILE* write_header(const char* path, const uint64_t* sizes,
                          size_t count) {
  char* header = NULL;
  size_t size = 0;
  FILE* text = open_memstream(&header, &size);
  assert_non_null(text);
  uint64_t begin = 0;
  fputc('{', text);
  for (size_t i = 0; i < count; ++i) {
    fprintf(text,
            "%s\"t%zu\":{\"dtype\":\"U8\",\"shape\":[%" PRIu64
            "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}",
            i ? "," : "", i, sizes[i], begin, begin + sizes[i]);
    begin += sizes[i];
  }
  fputc('}', text);
  fclose(text);
  FILE* file = fopen(path, "wb");
  assert_non_null(file);
  uint64_t length = size;
  assert_int_equal(fwrite(&length, sizeof length, 1, file), 1);
  assert_int_equal(fwrite(header, 1, size, file), size);
  free(header);
  return file;
}

void load_fixture_write(const char* path, const uint64_t* sizes, size_t count) {
  FILE* file = write_header(path, sizes, count);
  for (size_t i = 0; i < count; ++i) {
    for (uint64_t at = 0; at < sizes[i]; ++at)
      putc(load_fixture_byte(i, at), file);
  }
  assert_int_equal(fclose(file), 0);
}

void load_fixture_write_sparse(const char* path, const uint64_t* sizes,
                               size_t count) {
  FILE* file = write_header(path, sizes, count);
  off_t end = ftello(file);
  for (size_t i = 0; i < count; ++i) end += (off_t)sizes[i];
  assert_int_equal(fclose(file), 0);
  assert_int_equal(truncate(path, end), 0);
}

teg_model* load_fixture_open(const char* path) {
  teg_model* model = NULL;
  teg_error err;
  teg_error_clear(&err);
  if (teg_model_open(path, NULL, &model, &err) != TEG_OK) {
    fail_msg("%s", err.message);
  }
  return model;
}

void load_fixture_expect(core_fixture* fx, teg_stream* stream,
                         const teg_weights* weights, uint64_t tensor,
                         uint64_t size) {
  teg_buffer* buffer = NULL;
  uint64_t offset = 0;
  uint64_t bytes = 0;
  CORE_OK(fx, teg_weights_tensor(weights, tensor, &buffer, &offset, &bytes,
                                 &fx->err));
  assert_int_equal(bytes, size);
  if (size == 0) {
    assert_null(buffer);
    return;
  }
  uint8_t* got = malloc((size_t)size);
  assert_non_null(got);
  CORE_OK(fx, teg_stream_read(stream, buffer, offset, got, size, &fx->err));
  for (uint64_t i = 0; i < size; ++i) {
    if (got[i] == load_fixture_byte(tensor, i)) continue;
    fail_msg("tensor %" PRIu64 ", byte %" PRIu64 ": %u is not %u", tensor, i,
             got[i], load_fixture_byte(tensor, i));
  }
  free(got);
}
