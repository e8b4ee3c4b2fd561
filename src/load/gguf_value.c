// SPDX-License-Identifier: Apache-2.0
//
// Values of GGUF files. The text is the caller's; arrays are passed over save
// for their first elements, so a value costs no more than the text.
#include "load/gguf_value.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "load/utf8.h"

enum {
  UINT8 = 0,
  INT8,
  UINT16,
  INT16,
  UINT32 = TEGI_GGUF_UINT32,
  INT32,
  FLOAT32,
  BOOL,
  STRING,
  ARRAY,
  UINT64,
  INT64,
  FLOAT64,
  TYPE_COUNT,
};

// Bytes of a value; of a string or an array, of the empty one.
static const uint8_t least_bytes[TYPE_COUNT] = {1, 1, 2,  2, 4, 4, 4,
                                                1, 8, 12, 8, 8, 8};

teg_result tegi_gguf_text_init(tegi_gguf_text* text, tegi_host* host,
                               const tegi_model_input* input, teg_error* err) {
  *text = (tegi_gguf_text){
      .bytes = tegi_host_alloc(host, TEGI_GGUF_MOST_TEXT_BYTES + 1)};
  if (text->bytes) return TEG_OK;
  return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                        "%s: no host memory to read it", input->file->path);
}

void tegi_gguf_text_deinit(tegi_gguf_text* text, tegi_host* host) {
  tegi_host_free(host, text->bytes, TEGI_GGUF_MOST_TEXT_BYTES + 1);
  text->bytes = NULL;
}

// ---- Text -------------------------------------------------------------------

static void clear(tegi_gguf_text* text) {
  text->length = 0;
  text->bytes[0] = '\0';
}

static void add(tegi_gguf_text* text, const char* format, ...)
    TEGI_PRINTF(2, 3);

// What does not fit is cut.
static void add(tegi_gguf_text* text, const char* format, ...) {
  size_t room = TEGI_GGUF_MOST_TEXT_BYTES + 1 - text->length;
  va_list args;
  va_start(args, format);
  int length = vsnprintf(text->bytes + text->length, room, format, args);
  va_end(args);
  if (length > 0) text->length += tegi_min_u64((uint64_t)length, room - 1);
}

// As %g writes it, with as many digits as give the same number again.
static void add_float(tegi_gguf_text* text, double value, bool is_single) {
  char digits[40];
  for (int precision = 6; precision <= 17; ++precision) {
    snprintf(digits, sizeof digits, "%.*g", precision, value);
    double again = strtod(digits, NULL);
    if (is_single ? (float)again == (float)value : again == value) break;
  }
  add(text, "%s", digits);
}

// ---- Numbers ----------------------------------------------------------------

static teg_result read_le(tegi_model_input* input, size_t size,
                          const char* what, uint64_t* out_value,
                          teg_error* err) {
  uint8_t bytes[8];
  *out_value = 0;
  teg_result result = tegi_model_input_read(input, bytes, size, what, err);
  if (result != TEG_OK) return result;
  for (size_t i = size; i-- > 0;) *out_value = *out_value << 8 | bytes[i];
  return TEG_OK;
}

teg_result tegi_gguf_u32(tegi_model_input* input, const char* what,
                         uint32_t* out_value, teg_error* err) {
  uint64_t value;
  teg_result result = read_le(input, 4, what, &value, err);
  *out_value = (uint32_t)value;
  return result;
}

teg_result tegi_gguf_u64(tegi_model_input* input, const char* what,
                         uint64_t* out_value, teg_error* err) {
  return read_le(input, 8, what, out_value, err);
}

static void add_number(tegi_gguf_text* text, uint32_t type, uint64_t bits) {
  float single;
  double twice;
  uint32_t low = (uint32_t)bits;
  switch (type) {
    case INT8:
      add(text, "%" PRId8, (int8_t)bits);
      return;
    case INT16:
      add(text, "%" PRId16, (int16_t)bits);
      return;
    case INT32:
      add(text, "%" PRId32, (int32_t)bits);
      return;
    case INT64:
      add(text, "%" PRId64, (int64_t)bits);
      return;
    case FLOAT32:
      memcpy(&single, &low, sizeof single);
      add_float(text, (double)single, true);
      return;
    case FLOAT64:
      memcpy(&twice, &bits, sizeof twice);
      add_float(text, twice, false);
      return;
    case BOOL:
      add(text, "%s", bits ? "true" : "false");
      return;
    default:
      add(text, "%" PRIu64, bits);
      return;
  }
}

static teg_result read_number(tegi_model_input* input, tegi_gguf_text* text,
                              uint32_t type, teg_error* err) {
  uint64_t place = input->offset;
  uint64_t bits;
  teg_result result =
      read_le(input, least_bytes[type], "a number of metadata", &bits, err);
  if (result != TEG_OK) return result;
  if (type == BOOL && bits > 1) {
    return tegi_model_input_fail(
        input, place, TEG_CORRUPT, err,
        "a truth value is %" PRIu64 "; expected 0 or 1", bits);
  }
  if (text) add_number(text, type, bits);
  return TEG_OK;
}

// ---- Strings ----------------------------------------------------------------

teg_result tegi_gguf_name(tegi_model_input* input, tegi_gguf_text* text,
                          uint64_t most, const char* what, teg_error* err) {
  TEG_ASSERT(most <= TEGI_GGUF_MOST_TEXT_BYTES);
  uint64_t place = input->offset;
  uint64_t length;
  clear(text);
  teg_result result = tegi_gguf_u64(input, what, &length, err);
  if (result != TEG_OK) return result;
  if (length > most) {
    return tegi_model_input_fail(input, place, TEG_CORRUPT, err,
                                 "%s has %" PRIu64 " bytes; at most %" PRIu64
                                 " are allowed",
                                 what, length, most);
  }
  result = tegi_model_input_read(input, text->bytes, length, what, err);
  if (result != TEG_OK) return result;
  text->length = (size_t)length;
  text->bytes[length] = '\0';
  size_t good = tegi_utf8_length(text->bytes, text->length);
  if (good == text->length) return TEG_OK;
  return tegi_model_input_fail(input, place + 8 + good, TEG_CORRUPT, err,
                               "%s is not text in UTF-8: there is byte 0x%02x",
                               what, (unsigned)(uint8_t)text->bytes[good]);
}

// Makes text of the bytes from |begin| on.
static void mend(tegi_gguf_text* text, size_t begin) {
  while (begin < text->length) {
    begin += tegi_utf8_length(text->bytes + begin, text->length - begin);
    if (begin < text->length) text->bytes[begin] = '?';
  }
}

static teg_result read_string(tegi_model_input* input, tegi_gguf_text* text,
                              teg_error* err) {
  static const char what[] = "a string of metadata";
  uint64_t length;
  teg_result result = tegi_gguf_u64(input, what, &length, err);
  if (result != TEG_OK) return result;
  if (!text || length > tegi_model_input_left(input)) {
    return tegi_model_input_read(input, NULL, length, what, err);
  }
  size_t begin = text->length;
  uint64_t kept = tegi_min_u64(length, TEGI_GGUF_MOST_TEXT_BYTES - begin);
  result = tegi_model_input_read(input, text->bytes + begin, kept, what, err);
  if (result == TEG_OK) {
    result = tegi_model_input_read(input, NULL, length - kept, what, err);
  }
  if (result != TEG_OK) return result;
  text->length += (size_t)kept;
  text->bytes[text->length] = '\0';
  mend(text, begin);
  return TEG_OK;
}

// ---- Arrays and any value ---------------------------------------------------

static teg_result read_value(tegi_model_input* input, tegi_gguf_text* text,
                             uint32_t type, uint64_t place, int depth,
                             teg_error* err);

static teg_result check_array(tegi_model_input* input, uint64_t place,
                              uint32_t type, uint64_t count, int depth,
                              teg_error* err) {
  if (depth == TEGI_GGUF_MOST_DEPTH) {
    return tegi_model_input_fail(input, place, TEG_CORRUPT, err,
                                 "arrays are nested more than %d deep",
                                 TEGI_GGUF_MOST_DEPTH);
  }
  if (type >= TYPE_COUNT) {
    return tegi_model_input_fail(input, place, TEG_CORRUPT, err,
                                 "the type of an array of metadata is %" PRIu32
                                 "; expected 0 to %d",
                                 type, TYPE_COUNT - 1);
  }
  uint64_t left = tegi_model_input_left(input);
  if (count > left / least_bytes[type]) {
    return tegi_model_input_fail(input, place + 4, TEG_TRUNCATED, err,
                                 "an array of metadata is to have %" PRIu64
                                 " elements, but only %" PRIu64
                                 " bytes are left",
                                 count, left);
  }
  return TEG_OK;
}

// The elements from |shown| on, which are not shown.
static teg_result pass_over(tegi_model_input* input, uint32_t type,
                            uint64_t count, uint64_t place, int depth,
                            teg_error* err) {
  bool is_fixed = type != STRING && type != ARRAY && type != BOOL;
  if (is_fixed) {
    return tegi_model_input_read(input, NULL, count * least_bytes[type],
                                 "an array of metadata", err);
  }
  for (uint64_t i = 0; i < count; ++i) {
    teg_result result = read_value(input, NULL, type, place, depth, err);
    if (result != TEG_OK) return result;
  }
  return TEG_OK;
}

static teg_result read_array(tegi_model_input* input, tegi_gguf_text* text,
                             int depth, teg_error* err) {
  uint64_t place = input->offset;
  uint32_t type;
  uint64_t count;
  teg_result result =
      tegi_gguf_u32(input, "the type of an array of metadata", &type, err);
  if (result != TEG_OK) return result;
  result =
      tegi_gguf_u64(input, "the length of an array of metadata", &count, err);
  if (result == TEG_OK) {
    result = check_array(input, place, type, count, depth, err);
  }
  uint64_t shown = text ? tegi_min_u64(count, TEGI_GGUF_MOST_SHOWN) : 0;
  if (text) add(text, "[");
  for (uint64_t i = 0; i < shown && result == TEG_OK; ++i) {
    if (i > 0) add(text, ", ");
    result = read_value(input, text, type, place, depth + 1, err);
  }
  if (result != TEG_OK) return result;
  if (text && shown < count) add(text, ", ... %" PRIu64 " in all", count);
  if (text) add(text, "]");
  return pass_over(input, type, count - shown, place, depth + 1, err);
}

// |text| is NULL for what is passed over.
static teg_result read_value(tegi_model_input* input, tegi_gguf_text* text,
                             uint32_t type, uint64_t place, int depth,
                             teg_error* err) {
  if (type >= TYPE_COUNT) {
    return tegi_model_input_fail(input, place, TEG_CORRUPT, err,
                                 "the type of a value of metadata is %" PRIu32
                                 "; expected 0 to %d",
                                 type, TYPE_COUNT - 1);
  }
  if (type == STRING) return read_string(input, text, err);
  if (type == ARRAY) return read_array(input, text, depth, err);
  return read_number(input, text, type, err);
}

teg_result tegi_gguf_value(tegi_model_input* input, tegi_gguf_text* text,
                           uint32_t type, uint64_t place, teg_error* err) {
  clear(text);
  return read_value(input, text, type, place, 0, err);
}
