// SPDX-License-Identifier: Apache-2.0
//
// What the fuzz targets of model readers share: files in memory that can be
// opened by path, and the promises of teg_model.
#ifndef TEGULA_TESTS_FUZZ_MODEL_H
#define TEGULA_TESTS_FUZZ_MODEL_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tegula/load.h"

#define CHECK(condition)                                      \
  do {                                                        \
    if (!(condition)) {                                       \
      fprintf(stderr, "line %d: %s\n", __LINE__, #condition); \
      abort();                                                \
    }                                                         \
  } while (0)

// A file without a name at the descriptor |number|: /proc/self/fd/NUMBER.
static inline void make_file(int number) {
  int fd = memfd_create("fuzz", 0);
  CHECK(fd >= 0 && dup2(fd, number) == number);
  close(fd);
}

// Makes |bytes| its content, followed by zeros up to |total|, which cost no
// memory.
static inline void fill_file(int number, const void* bytes, size_t size,
                             uint64_t total) {
  CHECK(ftruncate(number, 0) == 0);
  CHECK(pwrite(number, bytes, size, 0) == (ssize_t)size);
  if (total > size) CHECK(ftruncate(number, (off_t)total) == 0);
}

static inline uint64_t size_of_file(const char* path) {
  FILE* file = fopen(path, "rb");
  CHECK(file && fseeko(file, 0, SEEK_END) == 0);
  off_t size = ftello(file);
  fclose(file);
  return (uint64_t)size;
}

// What an opened model says holds together.
static inline void check_model(const teg_model* model) {
  uint64_t bytes = 0;
  uint64_t end = 0;
  uint32_t file_index = 0;
  uint64_t file_bytes = 0;
  teg_tensor_info info;
  for (uint64_t i = 0; teg_model_tensor(model, i, &info); ++i) {
    CHECK(info.file_index >= file_index);
    if (i == 0 || info.file_index != file_index) {
      file_index = info.file_index;
      file_bytes = size_of_file(teg_model_file_path(model, file_index));
      end = 0;
    }
    CHECK(info.file_offset >= end && info.file_offset <= file_bytes);
    CHECK(info.bytes <= file_bytes - info.file_offset);
    CHECK(info.type[0] != '\0');
    CHECK(info.dimension_count <= TEG_TENSOR_MOST_DIMENSIONS);
    end = info.file_offset + info.bytes;
    bytes += info.bytes;
    uint64_t index;
    CHECK(teg_model_find(model, info.name, &index, NULL) == TEG_OK);
    CHECK(index == i);
  }
  CHECK(bytes == teg_model_tensor_bytes(model));
  const char* key;
  const char* value;
  for (uint64_t i = 0; teg_model_metadata(model, i, &key, &value); ++i) {
    CHECK(key && value);
  }
}

// Opens; a failure says what and where. NULL if it failed.
static inline teg_model* open_model(const char* path) {
  teg_model* model = NULL;
  teg_error err;
  teg_result result = teg_model_open(path, NULL, &model, &err);
  CHECK(err.result == result && !model == (result != TEG_OK));
  if (model) return model;
  CHECK(strncmp(err.message, "/proc/self/fd/", 14) == 0);
  CHECK(strstr(err.message, ": byte ") || result == TEG_NOT_FOUND ||
        result == TEG_IO);
  return NULL;
}

#endif  // TEGULA_TESTS_FUZZ_MODEL_H
