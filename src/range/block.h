// SPDX-License-Identifier: Apache-2.0
//
// The allocator's records: a block is a range of bytes inside one device
// object (an extent), used or free. A buffer is a block that a caller holds;
// core keeps its own fields behind the block in the same record, and where a
// block that is used has no link.
//
// With many buffers alive the time of an operation is that of the cache lines
// it reads: the first one has all that a policy of whole buffers reads of a
// block, the second what arenas need as well.
#ifndef TEGULA_RANGE_BLOCK_H
#define TEGULA_RANGE_BLOCK_H

#include <stddef.h>

#include "range/useset.h"

typedef struct teg_memory teg_memory;  // tegula/backend.h
typedef struct tegi_block tegi_block;
typedef struct tegi_extent tegi_extent;
typedef struct tegi_chunk tegi_chunk;

typedef enum tegi_extent_kind {
  TEGI_EXTENT_BUFFER,    // a committed buffer
  TEGI_EXTENT_UPLOAD,    // staging that the CPU writes
  TEGI_EXTENT_READBACK,  // staging that the CPU reads
  TEGI_EXTENT_HEAP,      // a heap that buffers are placed in by offset
  TEGI_EXTENT_RANGE,     // reserved addresses, tiles mapped under them
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
  TEGI_BLOCK_HELD = 3,  // the policy itself holds it
} tegi_block_state;

// A block's place in one table of bins (range/bins.h).
typedef struct tegi_bin_link {
  tegi_block* prev;
  tegi_block* next;
  uint64_t key;  // what the bin was chosen by
} tegi_bin_link;

struct tegi_block {
  tegi_use_set use;
  uint64_t size;         // granted bytes
  uint16_t bin;          // the policy's own: which class it belongs to
  uint8_t state;         // tegi_block_state
  uint8_t policy_index;  // which of the session's policies it belongs to
  bool is_partial;       // not all tiles under it are mapped: it may grow
  uint8_t of_core[3];    // core's
  union {  // free blocks: neighbours in their bin or list; used ones: core's
    struct {
      tegi_block* bin_prev;
      tegi_block* bin_next;
      uint64_t bin_key;
    };
    tegi_bin_link link;
  };
  // The second line.
  uint64_t offset;  // in the extent
  tegi_extent* extent;
  tegi_chunk* chunk;  // the chunk it lies in (range/arena.h); NULL = none
  tegi_block* prev;   // neighbours by address; or the policy's own list
  tegi_block* next;
  // Free blocks: the policy's clock when freed; used ones: the policy's own.
  uint64_t cold_since;
};

_Static_assert(offsetof(tegi_block, offset) == TEGI_CACHE_LINE,
               "the first line is full");

// A hole over tiles. Records are large enough for it; a used block has core's
// fields in the same place.
typedef struct tegi_hole tegi_hole;
struct tegi_hole {
  tegi_block block;       // link: by the bytes backed from its low end
  uint32_t whole_count;   // mapped tiles that lie wholly inside
  tegi_hole* steal_prev;  // among holes with whole tiles, coldest first
  tegi_hole* steal_next;
  tegi_bin_link size_link;  // by size, while not all of it is backed
};

#endif  // TEGULA_RANGE_BLOCK_H
