// SPDX-License-Identifier: Apache-2.0
//
// The bounded best-fit search. In the request's own bin a block may be too
// small, so more of it is looked at; in the bins above any block fits. Looking
// at more than this buys next to nothing (docs/policies.md).
#include "range/bins.h"

enum { OWN_BIN_LOOKS = 4, NEXT_BIN_LOOKS = 4, FILTERED_LOOKS = 16 };

static tegi_block* best_of(const tegi_bins* bins, uint32_t bin, uint64_t key,
                           uint32_t looks, tegi_bins_filter filter,
                           void* user) {
  tegi_block* best = NULL;
  uint64_t best_key = UINT64_MAX;
  tegi_block* block = bins->heads[bin];
  for (; block && looks > 0; looks--) {
    const tegi_bin_link* link = tegi_bins_link(bins, block);
    if (link->key >= key && link->key < best_key &&
        (!filter || filter(user, block))) {
      best = block;
      best_key = link->key;
      if (best_key == key) break;
    }
    block = link->next;
  }
  return best;
}

// Looks no further than the bin |last|.
static tegi_block* find_until(const tegi_bins* bins, uint64_t key,
                              uint32_t last, tegi_bins_filter filter,
                              void* user) {
  uint32_t bin = tegi_bin_of(key);
  uint32_t own_looks = filter ? FILTERED_LOOKS : OWN_BIN_LOOKS;
  tegi_block* best = best_of(bins, bin, key, own_looks, filter, user);
  while (!best && bin < last) {
    bin = tegi_bins_next(bins, bin + 1);
    if (bin > last) return NULL;
    uint32_t looks = filter ? FILTERED_LOOKS : NEXT_BIN_LOOKS;
    best = best_of(bins, bin, key, looks, filter, user);
  }
  return best;
}

tegi_block* tegi_bins_find(const tegi_bins* bins, uint64_t key,
                           tegi_bins_filter filter, void* user) {
  const uint32_t last = TEGI_BIN_LEVELS * TEGI_BIN_STEPS - 1;
  return find_until(bins, key, last, filter, user);
}

tegi_block* tegi_bins_find_within(const tegi_bins* bins, uint64_t key,
                                  uint64_t most, tegi_bins_filter filter,
                                  void* user) {
  return find_until(bins, key, tegi_bin_of(most), filter, user);
}
