// SPDX-License-Identifier: Apache-2.0
//
// The allocator's records: a block is a range of bytes inside one device
// object (an extent), used or free. A buffer is a block that a caller holds;
// core keeps its own fields behind the block in the same record.
#ifndef TEGULA_RANGE_BLOCK_H
#define TEGULA_RANGE_BLOCK_H

#include "range/useset.h"


typedef struct teg_memory teg_memory;  // tegula/backend.h
typedef struct tegi_block tegi_block;
typedef struct tegi_extent tegi_extent;
typedef struct tegi_chunk tegi_chunk;

typedef enum tegi_extent_kind {
  TEGI_EXTENT_BUFFER,  // a committed buffer
  TEGI_EXTENT_HEAP,    // a heap that buffers are placed in by offset
  TEGI_EXTENT_RANGE,   // reserved addresses, tiles mapped under them
} tegi_extent_kind;

// A device object as policies know it. Made and retired through the source
// (policy/policy.h); belongs to whoever holds it.
struct tegi_extent {
  teg_memory* memory;
  uint64_t bytes;
  tegi_extent_kind kind;
  uint32_t heap_index;  // TEGI_EXTENT_HEAP: its place in the device's table
  tegi_extent* next;    // in a list of whoever holds it
  tegi_use_set use;     // while it is retired or lent: what must be over
};

typedef enum tegi_block_state {
  TEGI_BLOCK_USED = 1,  // a caller holds it
  TEGI_BLOCK_FREE = 2,  // a hole, or a buffer kept for reuse
} tegi_block_state;

struct tegi_block {
  uint64_t offset;  // in the extent
  uint64_t size;    // granted bytes
  tegi_extent* extent;
  tegi_use_set use;
  tegi_chunk* chunk;  // the chunk it lies in (range/arena.h); NULL = none
  tegi_block* prev;  // neighbours by address; or the policy's own list
  tegi_block* next;
  tegi_block* bin_prev;  // free blocks: neighbours in their bin
  tegi_block* bin_next;
  uint64_t cold_since;    // free blocks: the policy's clock when freed
  uint32_t missing;       // holes over tiles: how many are not mapped
  uint16_t bin;           // free blocks: number of the bin
  uint8_t state;          // tegi_block_state
  uint8_t policy_index;   // which of the session's policies it belongs to
};

#endif  // TEGULA_RANGE_BLOCK_H
