// SPDX-License-Identifier: Apache-2.0
//
// The window over a model's file. Invariant: offset <= end <= the file's
// bytes; what is in the window was read from window_offset on.
#include "load/model_input.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"

// The analyzer's stand-in, where it runs.
#undef tegi_model_input_fail

teg_result tegi_model_input_init(tegi_model_input* input, tegi_host* host,
                                 const tegi_model_file* file, int fd,
                                 teg_error* err) {
  *input = (tegi_model_input){.host = host, .file = file, .fd = fd};
  tegi_model_input_limit(input, file->bytes, "the file ends");
  input->window = tegi_host_alloc(host, TEGI_MODEL_WINDOW);
  if (input->window) return TEG_OK;
  return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                        "%s: no host memory to read it", file->path);
}

void tegi_model_input_deinit(tegi_model_input* input) {
  if (!input->host) return;
  tegi_host_free(input->host, input->window, TEGI_MODEL_WINDOW);
  input->window = NULL;
}

void tegi_model_input_limit(tegi_model_input* input, uint64_t end,
                            const char* reason) {
  TEG_ASSERT(end >= input->offset && end <= input->file->bytes);
  input->end = end;
  input->end_reason = reason;
}

// Has the byte at |offset|, which is before |end|, in the window.
static teg_result fill(tegi_model_input* input, teg_error* err) {
  if (input->offset >= input->window_offset &&
      input->offset - input->window_offset < input->window_size) {
    return TEG_OK;
  }
  uint64_t size =
      tegi_min_u64(TEGI_MODEL_WINDOW, input->file->bytes - input->offset);
  input->window_size = 0;
  teg_result result = tegi_model_file_read(
      input->file, input->fd, input->offset, input->window, (size_t)size, err);
  if (result != TEG_OK) return result;
  input->window_offset = input->offset;
  input->window_size = (size_t)size;
  return TEG_OK;
}

teg_result tegi_model_input_peek(tegi_model_input* input, int* out_byte,
                                 teg_error* err) {
  *out_byte = -1;
  if (input->offset == input->end) return TEG_OK;
  teg_result result = fill(input, err);
  if (result != TEG_OK) return result;
  *out_byte = input->window[input->offset - input->window_offset];
  return TEG_OK;
}

teg_result tegi_model_input_read(tegi_model_input* input, void* to,
                                 uint64_t size, const char* what,
                                 teg_error* err) {
  uint64_t left = tegi_model_input_left(input);
  if (size > left) {
    teg_result result =
        input->end == input->file->bytes ? TEG_TRUNCATED : TEG_CORRUPT;
    return tegi_model_input_fail(input, input->offset, result, err,
                                 "%s needs %" PRIu64
                                 " bytes, but %s at byte "
                                 "%" PRIu64,
                                 what, size, input->end_reason, input->end);
  }
  if (!to) {
    input->offset += size;
    return TEG_OK;
  }
  uint8_t* at = to;
  while (size > 0) {
    teg_result result = fill(input, err);
    if (result != TEG_OK) return result;
    size_t begin = (size_t)(input->offset - input->window_offset);
    size_t step = (size_t)tegi_min_u64(size, input->window_size - begin);
    memcpy(at, input->window + begin, step);
    at += step;
    size -= step;
    input->offset += step;
  }
  return TEG_OK;
}

teg_result tegi_model_input_fail(const tegi_model_input* input, uint64_t place,
                                 teg_result result, teg_error* err,
                                 const char* format, ...) {
  if (!err) return result;
  char detail[sizeof err->message];
  va_list args;
  va_start(args, format);
  vsnprintf(detail, sizeof detail, format, args);
  va_end(args);
  return tegi_error_set(err, result, "%s: byte %" PRIu64 ": %s",
                        input->file->path, place, detail);
}
