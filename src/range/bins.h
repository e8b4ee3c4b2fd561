// SPDX-License-Identifier: Apache-2.0
//
// Free blocks by size: two levels of bins (a power of two, 32 steps inside),
// each bin a list, with bitmaps to find the next bin that is not empty. Insert
// and remove are constant time; a search looks at a bounded number of blocks.
// The layout is that of two-level segregated fit (Masmano et al., "TLSF: a new
// dynamic memory allocator for real-time systems", 2004); the search differs:
// it looks inside the request's own bin first, for the tightest fit.
//
// Owns nothing: blocks are linked through a tegi_bin_link in their record, so
// that one block can be in several tables. No lock.
#ifndef TEGULA_RANGE_BINS_H
#define TEGULA_RANGE_BINS_H

#include <stddef.h>

#include "base/checked.h"
#include "range/block.h"

enum {
  TEGI_BIN_STEP_BITS = 5,
  TEGI_BIN_STEPS = 1 << TEGI_BIN_STEP_BITS,
  TEGI_BIN_UNIT_BITS = 4,  // sizes are counted in 16 bytes
  TEGI_BIN_LEVELS = 40,    // the last bin holds everything larger
};

typedef struct tegi_bins {
  uint64_t level_bits;
  uint32_t step_bits[TEGI_BIN_LEVELS];
  uint32_t link_offset;  // of the tegi_bin_link in a record; 0 = block.link
  uint64_t count;        // blocks in all bins
  tegi_block* heads[TEGI_BIN_LEVELS * TEGI_BIN_STEPS];
} tegi_bins;

// The bin of a size; monotone.
static inline uint32_t tegi_bin_of(uint64_t size) {
  uint64_t units = size >> TEGI_BIN_UNIT_BITS;
  if (units < TEGI_BIN_STEPS) return (uint32_t)units;
  uint32_t high = tegi_high_bit(units);
  uint32_t level = high - TEGI_BIN_STEP_BITS + 1;
  if (level >= TEGI_BIN_LEVELS) return TEGI_BIN_LEVELS * TEGI_BIN_STEPS - 1;
  uint32_t step =
      (uint32_t)(units >> (high - TEGI_BIN_STEP_BITS)) & (TEGI_BIN_STEPS - 1);
  return level * TEGI_BIN_STEPS + step;
}

static inline tegi_bin_link* tegi_bins_link(const tegi_bins* bins,
                                            tegi_block* block) {
  uint32_t offset = bins->link_offset ? bins->link_offset
                                      : (uint32_t)offsetof(tegi_block, link);
  return (tegi_bin_link*)(void*)((char*)block + offset);
}

// Enters |block| under |key|: its size, or whatever the table goes by.
static inline void tegi_bins_insert(tegi_bins* bins, tegi_block* block,
                                    uint64_t key) {
  uint32_t bin = tegi_bin_of(key);
  tegi_block* head = bins->heads[bin];
  tegi_bin_link* link = tegi_bins_link(bins, block);
  *link = (tegi_bin_link){NULL, head, key};
  if (head) tegi_bins_link(bins, head)->prev = block;
  bins->heads[bin] = block;
  bins->level_bits |= UINT64_C(1) << (bin / TEGI_BIN_STEPS);
  bins->step_bits[bin / TEGI_BIN_STEPS] |= 1u << (bin % TEGI_BIN_STEPS);
  bins->count++;
}

static inline void tegi_bins_remove(tegi_bins* bins, tegi_block* block) {
  tegi_bin_link* link = tegi_bins_link(bins, block);
  bins->count--;
  if (link->next) tegi_bins_link(bins, link->next)->prev = link->prev;
  if (link->prev) {
    tegi_bins_link(bins, link->prev)->next = link->next;
    return;
  }
  uint32_t bin = tegi_bin_of(link->key);
  bins->heads[bin] = link->next;
  if (link->next) return;
  uint32_t level = bin / TEGI_BIN_STEPS;
  bins->step_bits[level] &= ~(1u << (bin % TEGI_BIN_STEPS));
  if (bins->step_bits[level] == 0) {
    bins->level_bits &= ~(UINT64_C(1) << level);
  }
}

// First bin >= |bin| that is not empty; UINT32_MAX = none.
static inline uint32_t tegi_bins_next(const tegi_bins* bins, uint32_t bin) {
  uint32_t level = bin / TEGI_BIN_STEPS;
  if (level >= TEGI_BIN_LEVELS) return UINT32_MAX;
  uint32_t steps = bins->step_bits[level] & (~0u << (bin % TEGI_BIN_STEPS));
  if (steps == 0) {
    if (level + 1 >= TEGI_BIN_LEVELS) return UINT32_MAX;
    uint64_t levels = bins->level_bits & (~UINT64_C(0) << (level + 1));
    if (levels == 0) return UINT32_MAX;
    level = tegi_low_bit(levels);
    steps = bins->step_bits[level];
  }
  return level * TEGI_BIN_STEPS + tegi_low_bit(steps);
}

// Last bin <= |bin| that is not empty; UINT32_MAX = none.
static inline uint32_t tegi_bins_before(const tegi_bins* bins, uint32_t bin) {
  uint32_t level = bin / TEGI_BIN_STEPS;
  uint32_t steps =
      bins->step_bits[level] & (~0u >> (31 - bin % TEGI_BIN_STEPS));
  if (steps == 0) {
    uint64_t levels = bins->level_bits & ((UINT64_C(1) << level) - 1);
    if (levels == 0) return UINT32_MAX;
    level = tegi_high_bit(levels);
    steps = bins->step_bits[level];
  }
  return level * TEGI_BIN_STEPS + tegi_high_bit(steps);
}

// Called for candidates that fit; false = not this one.
typedef bool (*tegi_bins_filter)(void* user, const tegi_block* block);

// The block with the smallest key of at least |key| among the first few of the
// bins where it can be. NULL = none. |filter| may be NULL.
tegi_block* tegi_bins_find(const tegi_bins* bins, uint64_t key,
                           tegi_bins_filter filter, void* user);

// As above, and does not look in bins that hold nothing of at most |most|.
// The filter says no to what is larger in the last one.
tegi_block* tegi_bins_find_within(const tegi_bins* bins, uint64_t key,
                                  uint64_t most, tegi_bins_filter filter,
                                  void* user);

#endif  // TEGULA_RANGE_BINS_H
