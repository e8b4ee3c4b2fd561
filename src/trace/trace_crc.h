// SPDX-License-Identifier: Apache-2.0
//
// The checksum of the trace format.
#ifndef TEGULA_TRACE_TRACE_CRC_H
#define TEGULA_TRACE_TRACE_CRC_H

#include <stddef.h>
#include <stdint.h>

// CRC-32C of |data|, going on from |crc| (0 to begin).
uint32_t tegi_trace_crc32c(uint32_t crc, const void* data, size_t size);

#endif  // TEGULA_TRACE_TRACE_CRC_H
