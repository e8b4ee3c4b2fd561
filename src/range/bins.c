// SPDX-License-Identifier: Apache-2.0
//
// The bounded best-fit search. In the request's own bin a block may be too
// small, so more of it is looked at; in the bins above any block fits.
#include "range/bins.h"

enum { OWN_BIN_LOOKS = 16, NEXT_BIN_LOOKS = 4, LAST_BIN_LOOKS = 64 };

static tegi_block* best_of(tegi_block* head, uint64_t size, uint32_t looks,
                           tegi_bins_filter filter, void* user) {
  tegi_block* best = NULL;
  for (tegi_block* block = head; block && looks > 0;
       block = block->bin_next, looks--) {
    if (block->size < size || (best && best->size <= block->size)) continue;
    if (filter && !filter(user, block)) continue;
    best = block;
    if (block->size == size) break;
  }
  return best;
}

tegi_block* tegi_bins_find(const tegi_bins* bins, uint64_t size,
                           tegi_bins_filter filter, void* user) {
  const uint32_t last = TEGI_BIN_LEVELS * TEGI_BIN_STEPS - 1;
  uint32_t bin = tegi_bin_of(size);
  uint32_t looks = bin == last ? LAST_BIN_LOOKS : OWN_BIN_LOOKS;
  tegi_block* best = best_of(bins->heads[bin], size, looks, filter, user);
  while (!best && bin < last) {
    bin = tegi_bins_next(bins, bin + 1);
    if (bin == UINT32_MAX) return NULL;
    best = best_of(bins->heads[bin], size, NEXT_BIN_LOOKS, filter, user);
    if (!filter) return best;
  }
  return best;
}
