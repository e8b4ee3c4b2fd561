// SPDX-License-Identifier: Apache-2.0
//
// The JSON reader. No lock; owns the text. After an error it is only ended.
#include "load/json_reader.h"

#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "load/utf8.h"

void tegi_json_init(tegi_json* json, tegi_model_input* input) {
  *json = (tegi_json){.input = input};
}

void tegi_json_deinit(tegi_json* json) {
  if (json->input) {
    tegi_host_free(json->input->host, json->text, json->text_capacity);
  }
  json->text = NULL;
}

// ---- Bytes ------------------------------------------------------------------

// How a byte, or the end, is called in a message.
typedef struct shown {
  char text[32];
} shown;

static shown show(const tegi_json* json, int byte) {
  shown out;
  if (byte < 0) {
    snprintf(out.text, sizeof out.text, "%s", json->input->end_reason);
  } else if (byte > 0x20 && byte < 0x7f) {
    snprintf(out.text, sizeof out.text, "there is '%c'", byte);
  } else {
    snprintf(out.text, sizeof out.text, "there is byte 0x%02x", (unsigned)byte);
  }
  return out;
}

static teg_result expected(tegi_json* json, const char* what, int byte,
                           teg_error* err) {
  bool is_file_end = byte < 0 && json->input->end == json->input->file->bytes;
  return tegi_model_input_fail(json->input, json->input->offset,
                               is_file_end ? TEG_TRUNCATED : TEG_CORRUPT, err,
                               "expected %s, but %s", what,
                               show(json, byte).text);
}

static bool is_space(int byte) {
  return byte == ' ' || byte == '\n' || byte == '\r' || byte == '\t';
}

// The first byte that is no space; it stays.
static teg_result peek(tegi_json* json, int* out_byte, teg_error* err) {
  for (;;) {
    teg_result result = tegi_model_input_peek(json->input, out_byte, err);
    if (result != TEG_OK || !is_space(*out_byte)) return result;
    tegi_model_input_take(json->input);
  }
}

// As peek, and it is where the value begins.
static teg_result begin(tegi_json* json, int* out_byte, teg_error* err) {
  teg_result result = peek(json, out_byte, err);
  json->place = json->input->offset;
  return result;
}

// ---- Text -------------------------------------------------------------------

static void clear_text(tegi_json* json) {
  json->text_length = 0;
  json->is_text_cut = false;
}

static teg_result add_bytes(tegi_json* json, const char* bytes, size_t size,
                            teg_error* err) {
  size_t needed = json->text_length + size + 1;
  if (!tegi_host_grow_array(json->input->host, &json->text,
                            &json->text_capacity, needed, 1)) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "%s: no host memory to read it",
                          json->input->file->path);
  }
  if (size > 0) memcpy(json->text + json->text_length, bytes, size);
  json->text_length += size;
  json->text[json->text_length] = '\0';
  return TEG_OK;
}

// |size| bytes of one character. Whole characters are cut.
static teg_result add_character(tegi_json* json, const char* bytes, size_t size,
                                teg_error* err) {
  if (json->text_length + size > TEGI_JSON_MOST_TEXT_BYTES) {
    json->is_text_cut = true;
  }
  return json->is_text_cut ? TEG_OK : add_bytes(json, bytes, size, err);
}

static teg_result add_point(tegi_json* json, uint32_t point, teg_error* err) {
  char bytes[4];
  size_t size;
  if (point < 0x80) {
    bytes[0] = (char)point;
    size = 1;
  } else if (point < 0x800) {
    bytes[0] = (char)(0xc0 | point >> 6);
    bytes[1] = (char)(0x80 | (point & 0x3f));
    size = 2;
  } else if (point < 0x10000) {
    bytes[0] = (char)(0xe0 | point >> 12);
    bytes[1] = (char)(0x80 | (point >> 6 & 0x3f));
    bytes[2] = (char)(0x80 | (point & 0x3f));
    size = 3;
  } else {
    bytes[0] = (char)(0xf0 | point >> 18);
    bytes[1] = (char)(0x80 | (point >> 12 & 0x3f));
    bytes[2] = (char)(0x80 | (point >> 6 & 0x3f));
    bytes[3] = (char)(0x80 | (point & 0x3f));
    size = 4;
  }
  return add_character(json, bytes, size, err);
}

// A character of more than one byte.
static teg_result read_utf8(tegi_json* json, teg_error* err) {
  uint64_t place = json->input->offset;
  char bytes[4] = {0};
  size_t size = 0;
  for (size_t character = 0; character == 0 && size < sizeof bytes;) {
    int byte;
    teg_result result = tegi_model_input_peek(json->input, &byte, err);
    if (result != TEG_OK) return result;
    if (byte < 0x80) break;
    bytes[size++] = (char)byte;
    tegi_model_input_take(json->input);
    character = tegi_utf8_character(bytes, size);
  }
  if (tegi_utf8_character(bytes, size) == size) {
    return add_character(json, bytes, size, err);
  }
  return tegi_model_input_fail(json->input, place, TEG_CORRUPT, err,
                               "expected text in UTF-8, but there is byte "
                               "0x%02x",
                               (unsigned)(uint8_t)bytes[0]);
}

static int hex_value(int byte) {
  if (byte >= '0' && byte <= '9') return byte - '0';
  if (byte >= 'a' && byte <= 'f') return byte - 'a' + 10;
  if (byte >= 'A' && byte <= 'F') return byte - 'A' + 10;
  return -1;
}

static teg_result read_hex4(tegi_json* json, uint32_t* out_unit,
                            teg_error* err) {
  *out_unit = 0;
  for (int i = 0; i < 4; ++i) {
    int byte;
    teg_result result = tegi_model_input_peek(json->input, &byte, err);
    if (result != TEG_OK) return result;
    int value = hex_value(byte);
    if (value < 0) return expected(json, "four hex digits", byte, err);
    *out_unit = *out_unit << 4 | (uint32_t)value;
    tegi_model_input_take(json->input);
  }
  return TEG_OK;
}

static teg_result take_expected(tegi_json* json, char wanted, const char* what,
                                teg_error* err) {
  int byte;
  teg_result result = tegi_model_input_peek(json->input, &byte, err);
  if (result != TEG_OK) return result;
  if (byte != wanted) return expected(json, what, byte, err);
  tegi_model_input_take(json->input);
  return TEG_OK;
}

// After "\u".
static teg_result read_unicode_escape(tegi_json* json, teg_error* err) {
  uint64_t place = json->input->offset - 2;
  uint32_t point;
  teg_result result = read_hex4(json, &point, err);
  if (result != TEG_OK) return result;
  if (point == 0) {
    return tegi_model_input_fail(json->input, place, TEG_CORRUPT, err,
                                 "a text has a NUL in it");
  }
  if (point >= 0xd800 && point <= 0xdbff) {
    static const char what[] = "the other half of a surrogate pair";
    uint32_t low;
    result = take_expected(json, '\\', what, err);
    if (result == TEG_OK) result = take_expected(json, 'u', what, err);
    if (result == TEG_OK) result = read_hex4(json, &low, err);
    if (result != TEG_OK) return result;
    if (low < 0xdc00 || low > 0xdfff) point = 0xdc00;
    if (point != 0xdc00) {
      point = 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
    }
  }
  if (point >= 0xdc00 && point <= 0xdfff) {
    return tegi_model_input_fail(json->input, place, TEG_CORRUPT, err,
                                 "half of a surrogate pair is no character");
  }
  return add_point(json, point, err);
}

static teg_result read_escape(tegi_json* json, teg_error* err) {
  static const char names[] = "\"\\/bfnrt";
  static const char values[] = "\"\\/\b\f\n\r\t";
  tegi_model_input_take(json->input);
  int byte;
  teg_result result = tegi_model_input_peek(json->input, &byte, err);
  if (result != TEG_OK) return result;
  const char* name = byte > 0 ? strchr(names, byte) : NULL;
  if (!name && byte != 'u') {
    return expected(json, "an escape of JSON behind \\", byte, err);
  }
  tegi_model_input_take(json->input);
  if (!name) return read_unicode_escape(json, err);
  return add_character(json, &values[name - names], 1, err);
}

// The string whose '"' is next.
static teg_result read_string(tegi_json* json, teg_error* err) {
  clear_text(json);
  tegi_model_input_take(json->input);
  for (;;) {
    int byte;
    teg_result result = tegi_model_input_peek(json->input, &byte, err);
    if (result != TEG_OK) return result;
    if (byte < 0x20) {
      return expected(json, "the rest of a string", byte, err);
    }
    if (byte == '"') {
      tegi_model_input_take(json->input);
      return add_bytes(json, NULL, 0, err);
    }
    if (byte == '\\') {
      result = read_escape(json, err);
    } else if (byte >= 0x80) {
      result = read_utf8(json, err);
    } else {
      char character = (char)byte;
      tegi_model_input_take(json->input);
      result = add_character(json, &character, 1, err);
    }
    if (result != TEG_OK) return result;
  }
}

// ---- Structure --------------------------------------------------------------

teg_result tegi_json_open(tegi_json* json, char bracket, const char* what,
                          teg_error* err) {
  int byte;
  teg_result result = begin(json, &byte, err);
  if (result != TEG_OK) return result;
  if (byte != bracket) return expected(json, what, byte, err);
  tegi_model_input_take(json->input);
  return TEG_OK;
}

// Either the |closing| bracket, or what separates member |index| from the last.
static teg_result next_member(tegi_json* json, uint64_t index, char closing,
                              bool* out_has, teg_error* err) {
  *out_has = false;
  int byte;
  teg_result result = peek(json, &byte, err);
  if (result != TEG_OK) return result;
  if (byte == closing) {
    tegi_model_input_take(json->input);
    return TEG_OK;
  }
  if (index > 0) {
    if (byte != ',') {
      return expected(json, closing == '}' ? "',' or '}'" : "',' or ']'", byte,
                      err);
    }
    tegi_model_input_take(json->input);
  }
  *out_has = true;
  return TEG_OK;
}

teg_result tegi_json_next_key(tegi_json* json, uint64_t index, bool* out_has,
                              teg_error* err) {
  teg_result result = next_member(json, index, '}', out_has, err);
  if (result != TEG_OK || !*out_has) return result;
  int byte;
  result = begin(json, &byte, err);
  if (result != TEG_OK) return result;
  if (byte != '"') {
    return expected(json, "a name in quotation marks", byte, err);
  }
  uint64_t place = json->place;
  result = read_string(json, err);
  if (result != TEG_OK) return result;
  if (json->is_text_cut || json->text_length > TEGI_JSON_MOST_NAME_BYTES) {
    return tegi_model_input_fail(json->input, place, TEG_CORRUPT, err,
                                 "a name is longer than %d bytes: \"%.40s...\"",
                                 TEGI_JSON_MOST_NAME_BYTES, json->text);
  }
  result = peek(json, &byte, err);
  if (result != TEG_OK) return result;
  return take_expected(json, ':', "':' behind a name", err);
}

teg_result tegi_json_next_element(tegi_json* json, uint64_t index,
                                  bool* out_has, teg_error* err) {
  return next_member(json, index, ']', out_has, err);
}

teg_result tegi_json_end(tegi_json* json, teg_error* err) {
  int byte;
  teg_result result = begin(json, &byte, err);
  if (result != TEG_OK || byte < 0) return result;
  return expected(json, "nothing behind the last '}' but space", byte, err);
}

// ---- Values -----------------------------------------------------------------

teg_result tegi_json_string(tegi_json* json, const char* what, teg_error* err) {
  int byte;
  teg_result result = begin(json, &byte, err);
  if (result != TEG_OK) return result;
  if (byte != '"') return expected(json, what, byte, err);
  return read_string(json, err);
}

static bool is_digit(int byte) { return byte >= '0' && byte <= '9'; }

teg_result tegi_json_count(tegi_json* json, const char* what,
                           uint64_t* out_count, teg_error* err) {
  *out_count = 0;
  int byte;
  teg_result result = begin(json, &byte, err);
  if (result != TEG_OK) return result;
  if (!is_digit(byte)) return expected(json, what, byte, err);
  bool is_zero = byte == '0';
  bool fits = true;
  uint64_t count = 0;
  while (is_digit(byte)) {
    fits = fits && tegi_mul_u64(count, 10, &count) &&
           tegi_add_u64(count, (uint64_t)(byte - '0'), &count);
    tegi_model_input_take(json->input);
    result = tegi_model_input_peek(json->input, &byte, err);
    if (result != TEG_OK) return result;
    if (is_zero && is_digit(byte)) break;
  }
  if (is_digit(byte) || byte == '.' || byte == 'e' || byte == 'E') {
    return expected(json, "a whole number as JSON writes it", byte, err);
  }
  if (!fits) {
    return tegi_model_input_fail(json->input, json->place, TEG_CORRUPT, err,
                                 "%s does not fit 64 bits", what);
  }
  *out_count = count;
  return TEG_OK;
}

// Digits, at least one; a number that |is_whole| has no 0 in front.
static teg_result read_digits(tegi_json* json, bool is_whole, teg_error* err) {
  bool is_over = false;
  for (uint64_t count = 0;; ++count) {
    int byte;
    teg_result result = tegi_model_input_peek(json->input, &byte, err);
    if (result != TEG_OK) return result;
    if (!is_digit(byte)) {
      return count > 0 ? TEG_OK : expected(json, "a digit", byte, err);
    }
    if (is_over) return expected(json, "no digit behind a 0", byte, err);
    is_over = is_whole && count == 0 && byte == '0';
    char digit = (char)byte;
    result = add_character(json, &digit, 1, err);
    if (result != TEG_OK) return result;
    tegi_model_input_take(json->input);
  }
}

// Takes the next byte into the text if it is one of |wanted|.
static teg_result take_one_of(tegi_json* json, const char* wanted,
                              bool* out_took, teg_error* err) {
  int byte;
  *out_took = false;
  teg_result result = tegi_model_input_peek(json->input, &byte, err);
  if (result != TEG_OK || byte <= 0 || !strchr(wanted, byte)) return result;
  *out_took = true;
  char taken = (char)byte;
  tegi_model_input_take(json->input);
  return add_character(json, &taken, 1, err);
}

static teg_result read_number(tegi_json* json, teg_error* err) {
  clear_text(json);
  bool took;
  teg_result result = take_one_of(json, "-", &took, err);
  if (result == TEG_OK) result = read_digits(json, true, err);
  if (result == TEG_OK) result = take_one_of(json, ".", &took, err);
  if (result == TEG_OK && took) result = read_digits(json, false, err);
  if (result == TEG_OK) result = take_one_of(json, "eE", &took, err);
  if (result == TEG_OK && took) {
    result = take_one_of(json, "+-", &took, err);
    if (result == TEG_OK) result = read_digits(json, false, err);
  }
  return result;
}

static teg_result set_text(tegi_json* json, const char* text, teg_error* err) {
  clear_text(json);
  return add_bytes(json, text, strlen(text), err);
}

static teg_result read_word(tegi_json* json, const char* word, teg_error* err) {
  for (const char* at = word; *at; ++at) {
    teg_result result = take_expected(json, *at, word, err);
    if (result != TEG_OK) return result;
  }
  return set_text(json, word, err);
}

static teg_result read_any(tegi_json* json, int depth, teg_error* err);

static teg_result read_members(tegi_json* json, char bracket, int depth,
                               teg_error* err) {
  if (depth == TEGI_JSON_MOST_DEPTH) {
    return tegi_model_input_fail(json->input, json->input->offset, TEG_CORRUPT,
                                 err, "values are nested more than %d deep",
                                 TEGI_JSON_MOST_DEPTH);
  }
  tegi_model_input_take(json->input);
  for (uint64_t i = 0;; ++i) {
    bool has;
    teg_result result = bracket == '{'
                            ? tegi_json_next_key(json, i, &has, err)
                            : tegi_json_next_element(json, i, &has, err);
    if (result != TEG_OK) return result;
    if (!has) return set_text(json, bracket == '{' ? "{...}" : "[...]", err);
    result = read_any(json, depth + 1, err);
    if (result != TEG_OK) return result;
  }
}

static teg_result read_any(tegi_json* json, int depth, teg_error* err) {
  int byte;
  teg_result result = begin(json, &byte, err);
  if (result != TEG_OK) return result;
  if (byte == '{' || byte == '[') {
    return read_members(json, (char)byte, depth, err);
  }
  if (byte == '"') return read_string(json, err);
  if (byte == '-' || is_digit(byte)) return read_number(json, err);
  if (byte == 't') return read_word(json, "true", err);
  if (byte == 'f') return read_word(json, "false", err);
  if (byte == 'n') return read_word(json, "null", err);
  return expected(json, "a value", byte, err);
}

teg_result tegi_json_any(tegi_json* json, teg_error* err) {
  int byte;
  teg_result result = begin(json, &byte, err);
  if (result != TEG_OK) return result;
  uint64_t place = json->place;
  result = read_any(json, 0, err);
  json->place = place;
  return result;
}
