// SPDX-License-Identifier: Apache-2.0
//
// The numbers of tegula's own trace format, as docs/trace-format.md describes
// it, shared by its reader and its writer, with the helpers for little-endian
// integers and variable-length integers. Everything is inline.
#ifndef TEGULA_TRACE_TRACE_FORMAT_H
#define TEGULA_TRACE_TRACE_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TEGI_TGT_MAGIC "\x89TGT\r\n\x1a\n"
enum {
  TEGI_TGT_VERSION = 1,
  TEGI_TGT_MAGIC_SIZE = 8,
  // magic, version, header size, flags, name size, source size; then the two
  // texts and a checksum of everything before it.
  TEGI_TGT_HEADER_FIXED_SIZE = 28,
  TEGI_TGT_CRC_SIZE = 4,
  TEGI_TGT_MAX_NAME = 255,
  TEGI_TGT_MAX_SOURCE = 4095,
  TEGI_TGT_MAX_HEADER_SIZE = TEGI_TGT_HEADER_FIXED_SIZE + TEGI_TGT_MAX_NAME +
                             TEGI_TGT_MAX_SOURCE + TEGI_TGT_CRC_SIZE,
  // kind, event count, packed size, plain size, first event, checksum of the
  // payload, checksum of these fields.
  TEGI_TGT_BLOCK_HEADER_SIZE = 32,
  TEGI_TGT_FOOTER_SIZE = 48,
  TEGI_TGT_MAX_BLOCK_EVENTS = 65536,
  // 65,536 events of ten 10-byte columns, a size table, tags: below this.
  TEGI_TGT_MAX_PLAIN_SIZE = 32 << 20,
  TEGI_TGT_MAX_PACKED_SIZE = 33 << 20,
  TEGI_TGT_MAX_TAGS = 65535,
  TEGI_TGT_MAX_TAG_SIZE = 255,
  TEGI_TGT_MAX_VARINT_SIZE = 10,
};

#define TEGI_TGT_BLOCK_EVENTS UINT32_C(0x564b4c42)  // "BLKV"
#define TEGI_TGT_BLOCK_FOOTER UINT32_C(0x544f4f46)  // "FOOT"

// Columns of a block, in the order of the file.
typedef enum tegi_tgt_column {
  TEGI_TGT_KIND,        // every event: teg_trace_kind - 1
  TEGI_TGT_TIME,        // every event: signed difference, in time units
  TEGI_TGT_THREAD,      // every event: signed difference
  TEGI_TGT_STREAM,      // every event: signed difference
  TEGI_TGT_ID_GAP,      // allocations: ids skipped since the last allocation
  TEGI_TGT_SIZE_INDEX,  // allocations: index into the block's size table
  TEGI_TGT_LIFETIME,    // allocations
  TEGI_TGT_TAG,         // allocations
  TEGI_TGT_FLAGS,       // allocations
  TEGI_TGT_DISTANCE,    // frees: last allocated id minus the freed id
  TEGI_TGT_COLUMN_COUNT,
} tegi_tgt_column;

// Events of tegula's own flag bits that this version knows.
#define TEGI_TRACE_KNOWN_FLAGS 1u

static inline uint32_t tegi_load_u32(const uint8_t* at) {
  return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
         (uint32_t)at[3] << 24;
}

static inline uint64_t tegi_load_u64(const uint8_t* at) {
  return (uint64_t)tegi_load_u32(at) | (uint64_t)tegi_load_u32(at + 4) << 32;
}

static inline void tegi_store_u32(uint8_t* at, uint32_t value) {
  for (int i = 0; i < 4; ++i) at[i] = (uint8_t)(value >> (8 * i));
}

static inline void tegi_store_u64(uint8_t* at, uint64_t value) {
  for (int i = 0; i < 8; ++i) at[i] = (uint8_t)(value >> (8 * i));
}

// Signed differences, taken modulo 2^64, as small unsigned numbers.
static inline uint64_t tegi_zigzag(uint64_t difference) {
  return (difference << 1) ^ (difference >> 63 ? UINT64_MAX : 0);
}

static inline uint64_t tegi_unzigzag(uint64_t value) {
  return (value >> 1) ^ (value & 1 ? UINT64_MAX : 0);
}

// Writes |value| seven bits a byte, lowest first; returns the bytes written,
// at most TEGI_TGT_MAX_VARINT_SIZE.
static inline size_t tegi_varint_store(uint8_t* at, uint64_t value) {
  size_t size = 0;
  while (value >= 0x80) {
    at[size++] = (uint8_t)(value | 0x80);
    value >>= 7;
  }
  at[size++] = (uint8_t)value;
  return size;
}

// Reads a number from |*at|, which moves on; false if it passes |end| or does
// not fit 64 bits.
static inline bool tegi_varint_load(const uint8_t** at, const uint8_t* end,
                                    uint64_t* out_value) {
  uint64_t value = 0;
  for (uint32_t shift = 0; shift < 64; shift += 7) {
    if (*at == end) return false;
    uint8_t byte = *(*at)++;
    if (shift == 63 && byte > 1) return false;
    value |= (uint64_t)(byte & 0x7f) << shift;
    if (byte < 0x80) {
      *out_value = value;
      return true;
    }
  }
  return false;
}

#endif  // TEGULA_TRACE_TRACE_FORMAT_H
