// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as a safetensors file or the index of a sharded model. 'H' and a
// header make a file with the size of that header in front and as many bytes
// behind as its largest number. 'I', an index, a byte 0xff and a header make a
// model of one file called "101". What the reader takes, jansson takes too.
#include <jansson.h>

#include "fuzz_model.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

enum { FILE_NUMBER = 100, SHARD_NUMBER = 101 };

// Up to 1 TiB.
static uint64_t largest_number(const uint8_t* text, size_t size) {
  static const uint64_t most = UINT64_C(1) << 40;
  uint64_t largest = 0;
  uint64_t number = 0;
  for (size_t i = 0; i < size; ++i) {
    int is_digit = text[i] >= '0' && text[i] <= '9';
    number = is_digit ? number * 10 + (uint64_t)(text[i] - '0') : 0;
    if (number > most) number = most;
    if (number > largest) largest = number;
  }
  return largest;
}

static void fill_from_header(int number, const uint8_t* header, size_t size) {
  uint8_t* file = malloc(8 + size);
  CHECK(file);
  for (int i = 0; i < 8; ++i) file[i] = (uint8_t)((uint64_t)size >> (8 * i));
  if (size > 0) memcpy(file + 8, header, size);
  fill_file(number, file, 8 + size, 8 + size + largest_number(header, size));
  free(file);
}

// Numbers between 2^63 and 2^64 are not jansson's.
static void check_json(const uint8_t* header, size_t size) {
  json_error_t error;
  json_t* json =
      json_loadb((const char*)header, size, JSON_REJECT_DUPLICATES, &error);
  CHECK(json || json_error_code(&error) == json_error_numeric_overflow);
  json_decref(json);
}

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static int is_made;
  if (!is_made) {
    make_file(FILE_NUMBER);
    make_file(SHARD_NUMBER);
  }
  is_made = 1;
  char kind = size > 0 ? (char)data[0] : 0;
  if (kind == 'H') {
    fill_from_header(FILE_NUMBER, data + 1, size - 1);
  } else if (kind == 'I') {
    const uint8_t* end = memchr(data, 0xff, size);
    if (!end) end = data + size;
    size_t rest = size - (size_t)(end - data);
    fill_file(FILE_NUMBER, data + 1, (size_t)(end - data) - 1, 0);
    fill_from_header(SHARD_NUMBER, end + (rest > 0), rest > 0 ? rest - 1 : 0);
  } else {
    fill_file(FILE_NUMBER, data, size, 0);
  }
  teg_model* model = open_model("/proc/self/fd/100");
  if (model) check_model(model);
  if (model && kind == 'H') check_json(data + 1, size - 1);
  teg_model_close(model);
  return 0;
}
