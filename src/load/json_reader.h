// SPDX-License-Identifier: Apache-2.0
//
// Strict JSON (RFC 8259), pulled value by value out of a model's header. It
// keeps the last text and nothing else, so a header of any size or depth costs
// no memory, and every error has its byte.
//
//   for (uint64_t i = 0;; ++i) {
//     result = tegi_json_next_key(&json, i, &has_key, err);
//     if (result != TEG_OK || !has_key) break;
//     ... json.text is the key; read exactly one value
//   }
#ifndef TEGULA_LOAD_JSON_READER_H
#define TEGULA_LOAD_JSON_READER_H

#include "load/model_input.h"

typedef struct tegi_json {
  tegi_model_input* input;
  uint64_t place;  // where the last key or value began
  char* text;      // the last key, string or number; ends with NUL
  size_t text_length;
  size_t text_capacity;
  bool is_text_cut;  // it was longer
} tegi_json;

enum {
  TEGI_JSON_MOST_NAME_BYTES = 65535,  // longer keys are refused
  TEGI_JSON_MOST_TEXT_BYTES = 65536,  // longer texts are cut
  TEGI_JSON_MOST_DEPTH = 32,          // of values that are passed over
};

void tegi_json_init(tegi_json* json, tegi_model_input* input);
void tegi_json_deinit(tegi_json* json);

// The '{' or '[' of a value. |what| is what the value should be, for messages.
teg_result tegi_json_open(tegi_json* json, char bracket, const char* what,
                          teg_error* err);
// The key of member |index| (from 0) and its ':'; or the '}'.
teg_result tegi_json_next_key(tegi_json* json, uint64_t index, bool* out_has,
                              teg_error* err);
// What leads to element |index|; or the ']'.
teg_result tegi_json_next_element(tegi_json* json, uint64_t index,
                                  bool* out_has, teg_error* err);

teg_result tegi_json_string(tegi_json* json, const char* what, teg_error* err);
// A whole number from 0 on, with neither fraction nor exponent.
teg_result tegi_json_count(tegi_json* json, const char* what,
                           uint64_t* out_count, teg_error* err);
// Any value. |text| is that of a string or number, true, false or null, and
// "{...}" or "[...]" for the others.
teg_result tegi_json_any(tegi_json* json, teg_error* err);

// Nothing but white space up to the end of the input.
teg_result tegi_json_end(tegi_json* json, teg_error* err);

#endif  // TEGULA_LOAD_JSON_READER_H
