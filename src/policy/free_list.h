// SPDX-License-Identifier: Apache-2.0
//
// Free blocks by when they were given back, linked through their bin fields.
// Guarded by the session's short lock.
#ifndef TEGULA_POLICY_FREE_LIST_H
#define TEGULA_POLICY_FREE_LIST_H

#include "range/block.h"

typedef struct tegi_free_list {
  tegi_block* newest;
  tegi_block* oldest;
  uint32_t count;
} tegi_free_list;

static inline void tegi_free_list_push(tegi_free_list* list,
                                       tegi_block* block) {
  block->bin_prev = NULL;
  block->bin_next = list->newest;
  if (list->newest) {
    list->newest->bin_prev = block;
  } else {
    list->oldest = block;
  }
  list->newest = block;
  list->count++;
}

static inline void tegi_free_list_remove(tegi_free_list* list,
                                         tegi_block* block) {
  tegi_block* before = block->bin_prev;
  tegi_block* after = block->bin_next;
  if (before) {
    before->bin_next = after;
  } else {
    list->newest = after;
  }
  if (after) {
    after->bin_prev = before;
  } else {
    list->oldest = before;
  }
  list->count--;
}

#endif  // TEGULA_POLICY_FREE_LIST_H
