// SPDX-License-Identifier: Apache-2.0
//
// The head of a model's file, byte after byte, through a window of fixed size:
// what the file claims about itself costs no memory. All errors name the file
// and the byte.
#ifndef TEGULA_LOAD_MODEL_INPUT_H
#define TEGULA_LOAD_MODEL_INPUT_H

#include <stdbool.h>

#include "base/error.h"
#include "load/model_file.h"

enum { TEGI_MODEL_WINDOW = 64 * 1024 };

typedef struct tegi_model_input {
  tegi_host* host;
  const tegi_model_file* file;
  int fd;
  uint64_t offset;  // of the next byte
  uint64_t end;     // nothing is read from here on: the file's, or a limit
  const char* end_reason;
  uint8_t* window;
  uint64_t window_offset;
  size_t window_size;
} tegi_model_input;

// Does not own |fd|.
teg_result tegi_model_input_init(tegi_model_input* input, tegi_host* host,
                                 const tegi_model_file* file, int fd,
                                 teg_error* err);
void tegi_model_input_deinit(tegi_model_input* input);

// Lets nothing be read from |end| on, which is at most the file's, because
// "|reason|" ("the header ends").
void tegi_model_input_limit(tegi_model_input* input, uint64_t end,
                            const char* reason);

// The next byte, which stays; -1 at the end.
teg_result tegi_model_input_peek(tegi_model_input* input, int* out_byte,
                                 teg_error* err);

static inline void tegi_model_input_take(tegi_model_input* input) {
  TEG_ASSERT(input->offset < input->end);
  ++input->offset;
}

// Exactly |size| bytes of |what|. Reading into NULL passes over them.
teg_result tegi_model_input_read(tegi_model_input* input, void* to,
                                 uint64_t size, const char* what,
                                 teg_error* err);

static inline uint64_t tegi_model_input_left(const tegi_model_input* input) {
  return input->end - input->offset;
}

// "FILE: byte PLACE: ...". Returns |result|.
teg_result tegi_model_input_fail(const tegi_model_input* input, uint64_t place,
                                 teg_result result, teg_error* err,
                                 const char* format, ...) TEGI_PRINTF(5, 6);

#ifdef __clang_analyzer__
// As for tegi_error_set.
#define tegi_model_input_fail(input, place, result, err, ...)                  \
  tegi_error_given(                                                            \
      (tegi_model_input_fail)((input), (place), (result), (err), __VA_ARGS__), \
      (result))
#endif

#endif  // TEGULA_LOAD_MODEL_INPUT_H
