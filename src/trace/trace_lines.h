// SPDX-License-Identifier: Apache-2.0
//
// Lines and fields of a CSV trace: a bounded line at a time, split at commas,
// and numbers that must be numbers. No quoting: the formats have none.
#ifndef TEGULA_TRACE_TRACE_LINES_H
#define TEGULA_TRACE_TRACE_LINES_H

#include <stdbool.h>
#include <string.h>

#include "trace/trace_reader.h"

enum { TEGI_TRACE_MAX_LINE = 1024, TEGI_TRACE_MAX_FIELDS = 16 };

typedef struct tegi_trace_field {
  const char* text;  // not terminated
  size_t size;
} tegi_trace_field;

typedef struct tegi_trace_line {
  uint64_t number;   // from 1; 0 = none read yet
  bool is_complete;  // it ended with a newline
  size_t field_count;
  tegi_trace_field fields[TEGI_TRACE_MAX_FIELDS];
} tegi_trace_line;

// Reads the next line that is not empty, after the one in |line|; TEG_END if
// there is none. The fields are valid until the next call. A carriage return
// at the end is dropped.
teg_result tegi_trace_line_next(teg_trace_reader* reader, tegi_trace_line* line,
                                teg_error* err);

// TEG_CORRUPT naming the line; TEG_TRUNCATED if it is a last line without its
// newline, since then the file was cut.
teg_result tegi_trace_line_bad(teg_trace_reader* reader,
                               const tegi_trace_line* line, teg_error* err,
                               const char* format, ...) TEGI_PRINTF(4, 5);

// "line 7".
void tegi_trace_line_place(const tegi_trace_line* line,
                           char out_text[TEGI_TRACE_PLACE_SIZE]);

static inline bool tegi_trace_field_is(tegi_trace_field field,
                                       const char* text) {
  return field.size == strlen(text) &&
         memcmp(field.text, text, field.size) == 0;
}

// Decimal digits only; false if none, anything else, or above 2^64 - 1.
bool tegi_trace_field_decimal(tegi_trace_field field, uint64_t* out_value);

// Decimal, or hexadecimal after 0x.
bool tegi_trace_field_number(tegi_trace_field field, uint64_t* out_value);

#endif  // TEGULA_TRACE_TRACE_LINES_H
