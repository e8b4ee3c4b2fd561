// SPDX-License-Identifier: Apache-2.0
//
// What the tests of model readers share: files out of text and numbers, and
// broken ones that must be refused at a given byte.
#ifndef TEGULA_TESTS_MODEL_FIXTURE_H
#define TEGULA_TESTS_MODEL_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>

#include "tegula/load.h"

// Bytes of a file that is being made; free |data| with free().
typedef struct fixture_file {
  uint8_t* data;
  size_t size, capacity;
} fixture_file;

void fixture_put(fixture_file* file, const void* bytes, size_t size);
void fixture_put_zeros(fixture_file* file, size_t size);
void fixture_put_u32(fixture_file* file, uint32_t value);
void fixture_put_u64(fixture_file* file, uint64_t value);
// As GGUF has strings: length and bytes.
void fixture_put_string(fixture_file* file, const char* text);

// Writes |size| bytes to |path|.
void fixture_save(const char* path, const void* bytes, size_t size);
// Writes the file and frees it.
void fixture_save_file(const char* path, fixture_file* file);

// A safetensors file with |header| and |data_bytes| bytes behind it, byte i of
// which is i.
void fixture_save_safetensors(const char* path, const char* header,
                              size_t data_bytes);

// Opens the model at |path|; fails the test with the message if that fails.
teg_model* fixture_model(const char* path);

// Opening fails with |result| and "PATH: byte PLACE: ...TEXT...". A |place|
// below 0 is not looked for.
void fixture_expect_broken(const char* path, teg_result result, int64_t place,
                           const char* text);

// The header with a "~" taken out of it, which is where the fault is; -1 as
// |out_place| if there is none. Free with free().
char* fixture_unmark(const char* header, int64_t* out_place);

#endif  // TEGULA_TESTS_MODEL_FIXTURE_H
