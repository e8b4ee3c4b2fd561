// SPDX-License-Identifier: Apache-2.0
//
// Model files for tests: safetensors whose every byte is known.
#ifndef TEGULA_TESTS_LOAD_FIXTURE_H
#define TEGULA_TESTS_LOAD_FIXTURE_H

#include "support/core_fixture.h"

// Byte |index| of tensor |tensor|.
uint8_t load_fixture_byte(uint64_t tensor, uint64_t index);

// Writes a file of |count| tensors of type U8, "t0", "t1", ... of |sizes|.
void load_fixture_write(const char* path, const uint64_t* sizes, size_t count);
// The same with a hole for the tensors' bytes, which are zeros then.
void load_fixture_write_sparse(const char* path, const uint64_t* sizes,
                               size_t count);

// Opens a model. Asserts success.
teg_model* load_fixture_open(const char* path);

// Asserts that |weights| hold all bytes of tensor |tensor|, read through
// |stream|.
void load_fixture_expect(core_fixture* fx, teg_stream* stream,
                         const teg_weights* weights, uint64_t tensor,
                         uint64_t size);

#endif  // TEGULA_TESTS_LOAD_FIXTURE_H
