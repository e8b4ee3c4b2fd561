// SPDX-License-Identifier: Apache-2.0
//
// Result names and error text. Stateless.
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

// The analyzer's stand-ins, where it runs.
#undef tegi_error_set
#undef tegi_error_native

const char* teg_result_name(teg_result result) {
  switch (result) {
#define NAME_CASE(code, number, name, message) \
  case code:                                   \
    return name;
    TEG_RESULTS(NAME_CASE)
#undef NAME_CASE
  }
  return "unknown";
}

const char* teg_result_message(teg_result result) {
  switch (result) {
#define MESSAGE_CASE(code, number, name, message) \
  case code:                                      \
    return message;
    TEG_RESULTS(MESSAGE_CASE)
#undef MESSAGE_CASE
  }
  return "unknown";
}

void teg_error_clear(teg_error* err) {
  if (!err) return;
  err->result = TEG_OK;
  err->native_code = 0;
  err->backend[0] = '\0';
  err->message[0] = '\0';
}

static void fill(teg_error* err, teg_result result, const char* backend,
                 int64_t native_code, const char* format, va_list args) {
  err->result = result;
  err->native_code = native_code;
  snprintf(err->backend, sizeof err->backend, "%s", backend);
  vsnprintf(err->message, sizeof err->message, format, args);
}

teg_result tegi_error_set(teg_error* err, teg_result result, const char* format,
                          ...) {
  if (!err) return result;
  va_list args;
  va_start(args, format);
  fill(err, result, "", 0, format, args);
  va_end(args);
  return result;
}

teg_result tegi_error_native(teg_error* err, teg_result result,
                             const char* backend, int64_t native_code,
                             const char* format, ...) {
  if (!err) return result;
  va_list args;
  va_start(args, format);
  fill(err, result, backend, native_code, format, args);
  va_end(args);
  return result;
}

void tegi_error_append(teg_error* err, const char* format, ...) {
  if (!err) return;
  size_t used = strlen(err->message);
  va_list args;
  va_start(args, format);
  vsnprintf(err->message + used, sizeof err->message - used, format, args);
  va_end(args);
}
