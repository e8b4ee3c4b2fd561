// SPDX-License-Identifier: Apache-2.0
//
// The allocation callbacks of zstd and zlib. Stateless.
#include "trace/trace_codec.h"

#include <string.h>

#include "base/checked.h"

enum { PREFIX = _Alignof(max_align_t) };
_Static_assert(PREFIX >= sizeof(size_t), "the prefix holds a size");

static void* codec_alloc(void* opaque, size_t size) {
  uint64_t total;
  if (!tegi_add_u64(size, PREFIX, &total) || total > SIZE_MAX) return NULL;
  uint8_t* piece = tegi_host_alloc(opaque, (size_t)total);
  if (!piece) return NULL;
  memcpy(piece, &(size_t){(size_t)total}, sizeof(size_t));
  return piece + PREFIX;
}

static void codec_free(void* opaque, void* address) {
  if (!address) return;
  uint8_t* piece = (uint8_t*)address - PREFIX;
  size_t total;
  memcpy(&total, piece, sizeof total);
  tegi_host_free(opaque, piece, total);
}

static void* zlib_alloc(void* opaque, unsigned count, unsigned size) {
  uint64_t total;
  if (!tegi_mul_u64(count, size, &total) || total > SIZE_MAX) return NULL;
  return codec_alloc(opaque, (size_t)total);
}

ZSTD_customMem tegi_trace_zstd_memory(tegi_host* host) {
  return (ZSTD_customMem){codec_alloc, codec_free, host};
}

void tegi_trace_zlib_memory(z_stream* stream, tegi_host* host) {
  stream->zalloc = zlib_alloc;
  stream->zfree = codec_free;
  stream->opaque = host;
}
