// SPDX-License-Identifier: Apache-2.0
//
// Filling a teg_error, and the checks of the front door.
#ifndef TEGULA_BASE_ERROR_H
#define TEGULA_BASE_ERROR_H

#include <assert.h>

#include "tegula/result.h"

#if defined(__GNUC__)
#define TEGI_PRINTF(format_index, first) \
  __attribute__((format(printf, format_index, first)))
#else
#define TEGI_PRINTF(format_index, first)
#endif

// Fills |err| (NULL is fine) and returns |result|.
teg_result tegi_error_set(teg_error* err, teg_result result, const char* format,
                          ...) TEGI_PRINTF(3, 4);

// As above, with a native code and who reported it.
teg_result tegi_error_native(teg_error* err, teg_result result,
                             const char* backend, int64_t native_code,
                             const char* format, ...) TEGI_PRINTF(5, 6);

// Appends to the message that is there already; keeps the result.
void tegi_error_append(teg_error* err, const char* format, ...)
    TEGI_PRINTF(2, 3);

#ifdef __clang_analyzer__
// The analyzer does not look into error.c. Without this it takes a failing
// path for one that may return TEG_OK, and follows it with outputs unset.
static inline teg_result tegi_error_given(teg_result returned,
                                          teg_result given) {
  (void)returned;
  return given;
}
#define tegi_error_set(err, result, ...) \
  tegi_error_given((tegi_error_set)((err), (result), __VA_ARGS__), (result))
#define tegi_error_native(err, result, ...) \
  tegi_error_given((tegi_error_native)((err), (result), __VA_ARGS__), (result))
#endif

// Always-on argument check of a public function: returns TEG_INVALID.
#define TEG_REQUIRE(condition, err, ...)                                      \
  do {                                                                        \
    if (!(condition)) return tegi_error_set((err), TEG_INVALID, __VA_ARGS__); \
  } while (0)

// For our own bugs, debug builds only.
#define TEG_ASSERT(condition) assert(condition)

#endif  // TEGULA_BASE_ERROR_H
