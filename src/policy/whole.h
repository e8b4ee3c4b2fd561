// SPDX-License-Identifier: Apache-2.0
//
// What the policies share whose blocks are whole device buffers: making one,
// giving one back, handing one to another session, and size classes with a
// list of free buffers each.
#ifndef TEGULA_POLICY_WHOLE_H
#define TEGULA_POLICY_WHOLE_H

#include "base/checked.h"
#include "policy/free_list.h"
#include "policy/policy.h"

// The bytes of a device buffer for |bytes|.
static inline uint64_t tegi_whole_bytes(const tegi_policy_env* env,
                                        uint64_t bytes) {
  return tegi_align_up(bytes, env->caps->buffer_granularity);
}

// A block over a buffer of |bytes| exactly: adopted from the device if a free
// one of that size is lent there, else created. Growth mutex held, not locked.
teg_result tegi_whole_create(const tegi_policy_env* env, uint64_t bytes,
                             const tegi_request* request,
                             tegi_block** out_block, teg_error* err);

// The block's buffer goes back to the driver once its uses are over. Locked.
void tegi_whole_retire(const tegi_policy_env* env, tegi_block* block);

// The block's buffer goes to the device, for any session. Locked.
void tegi_whole_lend(const tegi_policy_env* env, tegi_block* block);

// tegi_policy_ops.exchange of all of them.
void tegi_whole_exchange(tegi_policy* policy, tegi_block* a, tegi_block* b);

// One class: free buffers of one size, latest first.
typedef struct tegi_class {
  uint64_t size;
  tegi_free_list free;
  uint32_t limit;  // most free buffers kept; UINT32_MAX = no limit
} tegi_class;

// The latest free buffer that |stream| may write, among a few; NULL = none.
tegi_block* tegi_class_take_slow(tegi_class* entry, tegi_source* source,
                                 tegi_stream_id stream);

static inline tegi_block* tegi_class_take(tegi_class* entry,
                                          tegi_source* source,
                                          tegi_stream_id stream) {
  tegi_block* block = entry->free.newest;
  if (!block) return NULL;
  if (tegi_may_reuse(source, &block->use, stream)) {
    tegi_free_list_remove(&entry->free, block);
    block->state = TEGI_BLOCK_USED;
    return block;
  }
  return tegi_class_take_slow(entry, source, stream);
}

// Retires all free buffers of a class. Locked.
uint64_t tegi_class_retire_all(const tegi_policy_env* env, tegi_class* entry);
// Retires those that have been free since |oldest| or longer. Locked.
void tegi_class_retire_aged(const tegi_policy_env* env, tegi_class* entry,
                            uint64_t oldest);

enum { TEGI_NOT_KEPT = UINT16_MAX };  // block.bin of a buffer of no class

// The classes of a policy; block.bin is the place of a buffer's class here.
typedef struct tegi_class_table {
  tegi_class* items;
  uint32_t count;
  uint16_t first_by_bit[65];  // first class >= 1 << i, if they ascend
} tegi_class_table;

// What a policy of size classes begins with; the calls below take one.
typedef struct tegi_class_policy {
  tegi_policy base;
  tegi_policy_env env;
  tegi_class_table table;
} tegi_class_policy;

static inline tegi_class_policy* tegi_class_policy_from(tegi_policy* policy) {
  return (tegi_class_policy*)policy;
}

// A policy of |bytes| in all, zeroed behind its environment and its calls;
// NULL and an error without host memory.
void* tegi_class_policy_new(const tegi_policy_env* env,
                            const tegi_policy_ops* ops, size_t bytes,
                            teg_error* err);
// The policy ends: all free buffers are retired.
void tegi_class_policy_retire_all(tegi_class_policy* self);

// Policy calls. Keeps a block that was released, or retires what is of no
// class or more than its class keeps.
void tegi_class_policy_give(tegi_policy* policy, tegi_block* block);
// Retires classes, smallest first.
uint64_t tegi_class_policy_trim(tegi_policy* policy, uint64_t wanted,
                                bool is_idle_only, tegi_stream_id stream);
void tegi_class_policy_lend(tegi_policy* policy, uint64_t min_bytes,
                            uint64_t max_bytes);
// Checks that every block is free, of its class's size, and counted, and that
// no class keeps more than its limit.
teg_result tegi_class_policy_validate(tegi_policy* policy, teg_error* err);

// ---- Tables whose classes ascend by size

// Call after |items| and |count| are set.
void tegi_class_table_index(tegi_class_table* table);

// The smallest class that holds |size|; |count| if there is none.
static inline uint32_t tegi_class_table_find(const tegi_class_table* table,
                                             uint64_t size) {
  uint32_t index = table->first_by_bit[tegi_high_bit(size)];
  while (index < table->count && table->items[index].size < size) index++;
  return index;
}

// A free buffer of the class for the request. Locked.
static inline tegi_block* tegi_class_policy_take(tegi_class_policy* self,
                                                 const tegi_request* request) {
  uint64_t size = tegi_max_u64(request->size, request->max_size);
  uint32_t index = tegi_class_table_find(&self->table, size);
  if (index == self->table.count) return NULL;
  return tegi_class_take(&self->table.items[index], self->env.source,
                         request->stream);
}

// Policy call. A new buffer of the class for the request; above the largest
// class an exact one that is not kept.
teg_result tegi_class_policy_grow(tegi_policy* policy,
                                  const tegi_request* request,
                                  tegi_block** out_block, teg_error* err);

#endif  // TEGULA_POLICY_WHOLE_H
