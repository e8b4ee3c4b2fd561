// SPDX-License-Identifier: Apache-2.0
//
// CSV lines out of the input's window. Owns nothing.
#include "trace/trace_lines.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

void tegi_trace_line_place(const tegi_trace_line* line,
                           char out_text[TEGI_TRACE_PLACE_SIZE]) {
  snprintf(out_text, TEGI_TRACE_PLACE_SIZE, "line %" PRIu64, line->number);
}

teg_result tegi_trace_line_bad(teg_trace_reader* reader,
                               const tegi_trace_line* line, teg_error* err,
                               const char* format, ...) {
  char text[400];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  if (line->is_complete) {
    return tegi_error_set(err, TEG_CORRUPT, "%s: line %" PRIu64 ": %s",
                          reader->path, line->number, text);
  }
  return tegi_error_set(err, TEG_TRUNCATED,
                        "%s: line %" PRIu64
                        ": %s; the file ends in this line and seems cut",
                        reader->path, line->number, text);
}

static teg_result split(teg_trace_reader* reader, tegi_trace_line* line,
                        const char* text, size_t size, teg_error* err) {
  line->field_count = 0;
  for (;;) {
    if (line->field_count == TEGI_TRACE_MAX_FIELDS) {
      return tegi_trace_line_bad(reader, line, err, "more than %d columns",
                                 TEGI_TRACE_MAX_FIELDS);
    }
    tegi_trace_field* field = &line->fields[line->field_count++];
    const char* comma = memchr(text, ',', size);
    field->text = text;
    field->size = comma ? (size_t)(comma - text) : size;
    if (!comma) return TEG_OK;
    text = comma + 1;
    size -= field->size + 1;
  }
}

// Finds the line at the front of the input; |*out_size| is without its end.
static teg_result find_line(teg_trace_reader* reader, tegi_trace_line* line,
                            const char** out_text, size_t* out_size,
                            teg_error* err) {
  tegi_trace_input* input = &reader->input;
  const uint8_t* data = input->window + input->begin;
  size_t size = input->end - input->begin;
  const uint8_t* newline = size ? memchr(data, '\n', size) : NULL;
  if (!newline) {
    teg_result result = tegi_trace_input_peek(input, TEGI_TRACE_MAX_LINE + 1,
                                              &data, &size, err);
    if (result != TEG_OK) return result;
    if (size == 0) return TEG_END;
    newline = memchr(data, '\n', size);
  }
  ++line->number;
  line->is_complete = newline != NULL;
  size_t length = newline ? (size_t)(newline - data) : size;
  if (length > TEGI_TRACE_MAX_LINE) {
    line->is_complete = true;
    return tegi_trace_line_bad(reader, line, err, "longer than %d bytes",
                               TEGI_TRACE_MAX_LINE);
  }
  tegi_trace_input_skip(input, length + (newline != NULL));
  *out_text = (const char*)data;
  *out_size = length - (length > 0 && data[length - 1] == '\r');
  return TEG_OK;
}

teg_result tegi_trace_line_next(teg_trace_reader* reader, tegi_trace_line* line,
                                teg_error* err) {
  const char* text = NULL;
  size_t size = 0;
  do {
    teg_result result = find_line(reader, line, &text, &size, err);
    if (result != TEG_OK) return result;
  } while (size == 0);
  return split(reader, line, text, size, err);
}

bool tegi_trace_field_decimal(tegi_trace_field field, uint64_t* out_value) {
  uint64_t value = 0;
  if (field.size == 0) return false;
  for (size_t i = 0; i < field.size; ++i) {
    unsigned digit = (unsigned)(unsigned char)field.text[i] - '0';
    if (digit > 9) return false;
    if (field.size < 20) {
      value = value * 10 + digit;
    } else if (!tegi_mul_u64(value, 10, &value) ||
               !tegi_add_u64(value, digit, &value)) {
      return false;
    }
  }
  *out_value = value;
  return true;
}

static bool hexadecimal(tegi_trace_field field, uint64_t* out_value) {
  uint64_t value = 0;
  if (field.size == 0) return false;
  for (size_t i = 0; i < field.size; ++i) {
    unsigned letter = (unsigned char)field.text[i] | 0x20u;
    unsigned digit = (unsigned)(unsigned char)field.text[i] - '0';
    if (digit > 9) digit = letter - 'a' + 10;
    if (digit > 15 || (digit >= 10 && letter < 'a') || value >> 60) {
      return false;
    }
    value = value << 4 | digit;
  }
  *out_value = value;
  return true;
}

bool tegi_trace_field_number(tegi_trace_field field, uint64_t* out_value) {
  bool is_hex = field.size > 2 && field.text[0] == '0' &&
                (field.text[1] == 'x' || field.text[1] == 'X');
  if (!is_hex) return tegi_trace_field_decimal(field, out_value);
  return hexadecimal((tegi_trace_field){field.text + 2, field.size - 2},
                     out_value);
}
