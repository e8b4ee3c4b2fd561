// SPDX-License-Identifier: Apache-2.0
//
// The bytes of a trace: from a file, memory or a callback, through gzip or
// zstd where the content says so, as a window that can be looked at ahead.
// Memory is bounded whatever the file holds.
#ifndef TEGULA_TRACE_TRACE_INPUT_H
#define TEGULA_TRACE_TRACE_INPUT_H

#include <stdbool.h>

#include "tegula/trace.h"
#include "trace/trace_codec.h"

typedef enum tegi_trace_packing {
  TEGI_TRACE_PLAIN = 0,
  TEGI_TRACE_GZIP = 1,
  TEGI_TRACE_ZSTD = 2,
} tegi_trace_packing;

typedef struct tegi_trace_input {
  tegi_host* host;
  const char* name;  // for messages; the owner's
  teg_trace_source source;
  int fd;  // -1 = none
  const uint8_t* memory;
  size_t memory_size;
  uint64_t total_bytes;  // 0 = unknown
  uint64_t raw_offset;   // bytes taken from the source
  tegi_trace_packing packing;
  bool is_source_at_end;
  bool is_at_end;      // nothing more will come into |window|
  bool is_frame_open;  // a compressed frame has begun and not ended
  uint8_t* raw;        // compressed bytes [raw_begin, raw_end)
  size_t raw_begin, raw_end;
  uint8_t* window;  // plain bytes [begin, end)
  size_t begin, end;
  uint64_t offset;  // of |begin| in the plain bytes
  z_stream* gzip;
  ZSTD_DCtx* zstd;
} tegi_trace_input;

enum { TEGI_TRACE_WINDOW_SIZE = 256 * 1024 };

// Each begins |input| over its bytes and finds the packing. |host| and |name|
// outlive it. On failure deinit has been done.
teg_result tegi_trace_input_init_path(tegi_trace_input* input, tegi_host* host,
                                      const char* path, teg_error* err);
teg_result tegi_trace_input_init_memory(tegi_trace_input* input,
                                        tegi_host* host, const char* name,
                                        const void* data, size_t size,
                                        teg_error* err);
teg_result tegi_trace_input_init_source(tegi_trace_input* input,
                                        tegi_host* host, const char* name,
                                        const teg_trace_source* source,
                                        teg_error* err);
// A zeroed input is fine.
void tegi_trace_input_deinit(tegi_trace_input* input);

// Makes |wanted| (at most half the window) bytes visible where the end allows.
// The bytes are at |*out_data|, |*out_size| of them, perhaps more than asked.
teg_result tegi_trace_input_peek(tegi_trace_input* input, size_t wanted,
                                 const uint8_t** out_data, size_t* out_size,
                                 teg_error* err);

// Passes over |size| bytes that are visible.
void tegi_trace_input_skip(tegi_trace_input* input, size_t size);

// Copies |size| bytes out and passes over them; |*out_size| is less only at
// the end.
teg_result tegi_trace_input_read(tegi_trace_input* input, void* buffer,
                                 size_t size, size_t* out_size, teg_error* err);

#endif  // TEGULA_TRACE_TRACE_INPUT_H
