// SPDX-License-Identifier: Apache-2.0
//
// What the policies share whose blocks are whole device buffers: making one,
// giving one back, handing one to another session, and size classes with a
// list of free buffers each.
#ifndef TEGULA_POLICY_WHOLE_H
#define TEGULA_POLICY_WHOLE_H

#include "base/checked.h"
#include "policy/policy.h"

// A block over a buffer of |bytes| exactly: adopted from the device if a free
// one of that size is lent there, else created. Growth mutex held, not locked.
teg_result tegi_whole_create(const tegi_policy_env* env, uint64_t bytes,
                             const tegi_request* request,
                             tegi_block** out_block, teg_error* err);

// The block's buffer goes back to the driver once its uses are over. Locked.
void tegi_whole_retire(const tegi_policy_env* env, tegi_block* block);

// The block's buffer goes to the device, for any session. Locked.
void tegi_whole_lend(const tegi_policy_env* env, tegi_block* block);

// One class: free buffers of one size, latest first.
typedef struct tegi_class {
  uint64_t size;
  tegi_block* newest;
  tegi_block* oldest;
  uint32_t free_count;
  uint32_t limit;  // most free buffers kept; UINT32_MAX = no limit
} tegi_class;

static inline tegi_block* tegi_class_pop(tegi_class* entry) {
  tegi_block* block = entry->newest;
  if (!block) return NULL;
  entry->newest = block->bin_next;
  if (entry->newest) {
    entry->newest->bin_prev = NULL;
  } else {
    entry->oldest = NULL;
  }
  entry->free_count--;
  block->state = TEGI_BLOCK_USED;
  return block;
}

static inline void tegi_class_push(tegi_class* entry, tegi_block* block) {
  block->state = TEGI_BLOCK_FREE;
  block->bin_prev = NULL;
  block->bin_next = entry->newest;
  if (entry->newest) {
    entry->newest->bin_prev = block;
  } else {
    entry->oldest = block;
  }
  entry->newest = block;
  entry->free_count++;
}

tegi_block* tegi_class_pop_oldest(tegi_class* entry);

// Retires (or lends) all free buffers of a class. Locked.
uint64_t tegi_class_retire_all(const tegi_policy_env* env, tegi_class* entry);
void tegi_class_lend_all(const tegi_policy_env* env, tegi_class* entry);

// Checks one class: every block free, of the class's size, and counted.
teg_result tegi_class_validate(const tegi_class* entry, const char* policy,
                               teg_error* err);

// Classes in ascending order of size.
typedef struct tegi_class_table {
  tegi_class* items;
  uint32_t count;
  uint16_t first_by_bit[65];  // first class >= 1 << i
} tegi_class_table;

// Call after |items| and |count| are set.
void tegi_class_table_index(tegi_class_table* table);

// The smallest class that holds |size|; |count| if there is none.
static inline uint32_t tegi_class_table_find(const tegi_class_table* table,
                                             uint64_t size) {
  uint32_t index = table->first_by_bit[tegi_high_bit(size)];
  while (index < table->count && table->items[index].size < size) index++;
  return index;
}

#endif  // TEGULA_POLICY_WHOLE_H
