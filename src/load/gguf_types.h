// SPDX-License-Identifier: Apache-2.0
//
// The types of tensors that GGUF files have.
#ifndef TEGULA_LOAD_GGUF_TYPES_H
#define TEGULA_LOAD_GGUF_TYPES_H

#include <stdint.h>

typedef struct tegi_gguf_type {
  uint32_t number;
  const char* name;
  uint32_t block_elements;  // 0 = taken out of ggml, no longer has a size
  uint32_t block_bytes;
} tegi_gguf_type;

// NULL if it is not known.
const tegi_gguf_type* tegi_gguf_type_of(uint32_t number);

#endif  // TEGULA_LOAD_GGUF_TYPES_H
