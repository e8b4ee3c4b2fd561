// SPDX-License-Identifier: Apache-2.0
//
// Whole buffers. A block over a whole buffer has offset 0, no chunk, and the
// buffer's size; it keeps its record for as long as the buffer exists.
#include "policy/whole.h"

#include <inttypes.h>

#include "base/error.h"

teg_result tegi_whole_create(const tegi_policy_env* env, uint64_t bytes,
                             const tegi_request* request,
                             tegi_block** out_block, teg_error* err) {
  *out_block = NULL;
  const tegi_source_ops* ops = env->source->ops;
  bytes = tegi_align_up(bytes, env->caps->buffer_granularity);
  tegi_lock_acquire(env->lock);
  tegi_block* block = tegi_slab_take(env->blocks);
  tegi_lock_release(env->lock);
  if (!block) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "no host memory for the record of a buffer");
  }
  *block =
      (tegi_block){.policy_index = env->policy_index, .state = TEGI_BLOCK_FREE};
  if (ops->is_shared(env->source)) {
    block->extent =
        ops->adopt(env->source, bytes, bytes, request->stream, &block->use);
  }
  teg_result result = TEG_OK;
  if (!block->extent) {
    result = ops->buffer_create(env->source, bytes, &block->extent, err);
  }
  if (result != TEG_OK) {
    tegi_lock_acquire(env->lock);
    tegi_slab_give(env->blocks, block);
    tegi_lock_release(env->lock);
    return result;
  }
  block->size = block->extent->bytes;
  block->state = TEGI_BLOCK_USED;
  *out_block = block;
  return TEG_OK;
}

void tegi_whole_retire(const tegi_policy_env* env, tegi_block* block) {
  block->state = TEGI_BLOCK_FREE;
  env->source->ops->retire(env->source, block->extent, &block->use);
  tegi_slab_give(env->blocks, block);
}

void tegi_whole_lend(const tegi_policy_env* env, tegi_block* block) {
  block->state = TEGI_BLOCK_FREE;
  env->source->ops->lend(env->source, block->extent, &block->use);
  tegi_slab_give(env->blocks, block);
}

tegi_block* tegi_class_pop_oldest(tegi_class* entry) {
  tegi_block* block = entry->oldest;
  if (!block) return NULL;
  entry->oldest = block->bin_prev;
  if (entry->oldest) {
    entry->oldest->bin_next = NULL;
  } else {
    entry->newest = NULL;
  }
  entry->free_count--;
  return block;
}

uint64_t tegi_class_retire_all(const tegi_policy_env* env, tegi_class* entry) {
  uint64_t bytes = 0;
  tegi_block* block;
  while ((block = tegi_class_pop_oldest(entry)) != NULL) {
    bytes += block->size;
    tegi_whole_retire(env, block);
  }
  return bytes;
}

void tegi_class_lend_all(const tegi_policy_env* env, tegi_class* entry) {
  tegi_block* block;
  while ((block = tegi_class_pop_oldest(entry)) != NULL) {
    tegi_whole_lend(env, block);
  }
}

teg_result tegi_class_validate(const tegi_class* entry, const char* policy,
                               teg_error* err) {
  uint32_t count = 0;
  const tegi_block* before = NULL;
  for (const tegi_block* block = entry->newest; block;
       block = block->bin_next) {
    if (block->state != TEGI_BLOCK_FREE || block->bin_prev != before ||
        block->size < entry->size || !block->extent) {
      return tegi_error_set(err, TEG_BAD_STATE,
                            "%s: a free buffer of %" PRIu64
                            " bytes is not in order in class %" PRIu64,
                            policy, block->size, entry->size);
    }
    before = block;
    count++;
  }
  if (count == entry->free_count && entry->oldest == before) return TEG_OK;
  return tegi_error_set(err, TEG_BAD_STATE,
                        "%s: class %" PRIu64 " counts %" PRIu32
                        " free buffers and has %" PRIu32,
                        policy, entry->size, entry->free_count, count);
}

void tegi_class_table_index(tegi_class_table* table) {
  uint32_t index = 0;
  for (uint32_t bit = 0; bit < 64; ++bit) {
    while (index < table->count &&
           table->items[index].size < (UINT64_C(1) << bit)) {
      index++;
    }
    table->first_by_bit[bit] = (uint16_t)index;
  }
  table->first_by_bit[64] = (uint16_t)table->count;
}
