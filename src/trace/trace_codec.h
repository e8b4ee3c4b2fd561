// SPDX-License-Identifier: Apache-2.0
//
// Lets zstd and zlib take their memory from a tegi_host. Both are given a
// size only when they allocate, so each piece carries it in front.
#ifndef TEGULA_TRACE_TRACE_CODEC_H
#define TEGULA_TRACE_TRACE_CODEC_H

#define ZSTD_STATIC_LINKING_ONLY  // ZSTD_customMem
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "base/memory.h"

// |host| outlives whatever is created with the result.
ZSTD_customMem tegi_trace_zstd_memory(tegi_host* host);

// Fills the allocation fields of |stream|.
void tegi_trace_zlib_memory(z_stream* stream, tegi_host* host);

#endif  // TEGULA_TRACE_TRACE_CODEC_H
