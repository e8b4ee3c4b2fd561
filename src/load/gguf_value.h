// SPDX-License-Identifier: Apache-2.0
//
// The values that the head of a GGUF file is made of: numbers, strings, and
// metadata of any type as text.
#ifndef TEGULA_LOAD_GGUF_VALUE_H
#define TEGULA_LOAD_GGUF_VALUE_H

#include "load/model_input.h"

// Types of metadata that readers ask for by name.
enum { TEGI_GGUF_UINT32 = 4 };

enum {
  TEGI_GGUF_MOST_TEXT_BYTES = 65536,  // longer values are cut
  TEGI_GGUF_MOST_SHOWN = 8,           // elements of an array as text
  TEGI_GGUF_MOST_DEPTH = 4,           // of arrays in arrays
};

// A text of bounded length; ends with NUL.
typedef struct tegi_gguf_text {
  char* bytes;
  size_t length;
} tegi_gguf_text;

teg_result tegi_gguf_text_init(tegi_gguf_text* text, tegi_host* host,
                               const tegi_model_input* input, teg_error* err);
void tegi_gguf_text_deinit(tegi_gguf_text* text, tegi_host* host);

teg_result tegi_gguf_u32(tegi_model_input* input, const char* what,
                         uint32_t* out_value, teg_error* err);
teg_result tegi_gguf_u64(tegi_model_input* input, const char* what,
                         uint64_t* out_value, teg_error* err);

// A string of at most |most| bytes, without a NUL, in UTF-8.
teg_result tegi_gguf_name(tegi_model_input* input, tegi_gguf_text* text,
                          uint64_t most, const char* what, teg_error* err);

// A value of metadata as text; |place| is where its type stands. What cannot
// be text becomes '?'.
teg_result tegi_gguf_value(tegi_model_input* input, tegi_gguf_text* text,
                           uint32_t type, uint64_t place, teg_error* err);

#endif  // TEGULA_LOAD_GGUF_VALUE_H
