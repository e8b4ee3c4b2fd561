// SPDX-License-Identifier: Apache-2.0
//
// Where a written trace goes: a file that appears at its path only when it is
// complete, or a callback; through gzip or zstd where asked. Also a growing
// array of bytes for the encoders.
#ifndef TEGULA_TRACE_TRACE_OUTPUT_H
#define TEGULA_TRACE_TRACE_OUTPUT_H

#include <stdbool.h>

#include "tegula/trace.h"
#include "trace/trace_codec.h"
#include "trace/trace_input.h"

typedef struct tegi_trace_output {
  tegi_host* host;
  teg_trace_sink sink;
  int fd;           // -1 = none
  char* path;       // where the file goes, for messages too; owned
  char* temporary;  // where it is written, NULL = directly
  tegi_trace_packing packing;
  uint8_t* plain;  // bytes not yet compressed or written
  size_t plain_size;
  uint8_t* packed;
  z_stream* gzip;
  ZSTD_CCtx* zstd;
  uint64_t offset;  // plain bytes taken
} tegi_trace_output;

// Begins output to |path|, or to |sink| when |path| is NULL. |level| is that
// of |packing|, 0 = default. On failure deinit has been done.
teg_result tegi_trace_output_init(tegi_trace_output* output, tegi_host* host,
                                  const char* path, const teg_trace_sink* sink,
                                  tegi_trace_packing packing, int level,
                                  teg_error* err);

teg_result tegi_trace_output_write(tegi_trace_output* output, const void* data,
                                   size_t size, teg_error* err);

// Writes what is buffered, ends the compression, and moves the file to its
// path.
teg_result tegi_trace_output_commit(tegi_trace_output* output, teg_error* err);

// Removes what is not committed. A zeroed output is fine.
void tegi_trace_output_deinit(tegi_trace_output* output);

typedef struct tegi_trace_bytes {
  uint8_t* data;
  size_t size, capacity;
} tegi_trace_bytes;

// Appends; false when there is no memory.
bool tegi_trace_bytes_add(tegi_trace_bytes* bytes, tegi_host* host,
                          const void* data, size_t size);
bool tegi_trace_bytes_add_varint(tegi_trace_bytes* bytes, tegi_host* host,
                                 uint64_t value);
void tegi_trace_bytes_deinit(tegi_trace_bytes* bytes, tegi_host* host);

#endif  // TEGULA_TRACE_TRACE_OUTPUT_H
