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
  bytes = tegi_whole_bytes(env, bytes);
  tegi_lock_acquire(env->lock);
  tegi_block* block = tegi_slab_take(env->blocks);
  tegi_lock_release(env->lock);
  if (!block) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "no host memory for the record of a buffer");
  }
  *block =
      (tegi_block){.policy_index = env->policy_index, .state = TEGI_BLOCK_FREE};
  block->extent =
      ops->adopt(env->source, bytes, bytes, request->stream, &block->use);
  // What is lent already comes first: idle sessions are not asked in vain.
  if (!block->extent && ops->lent(env->source, bytes, bytes) > 0) {
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

void tegi_whole_exchange(tegi_policy* policy, tegi_block* a, tegi_block* b) {
  (void)policy;
  tegi_extent* extent = a->extent;
  a->extent = b->extent;
  b->extent = extent;
  tegi_use_set use = a->use;
  a->use = b->use;
  b->use = use;
  uint16_t bin = a->bin;
  a->bin = b->bin;
  b->bin = bin;
}

void tegi_whole_lend(const tegi_policy_env* env, tegi_block* block) {
  block->state = TEGI_BLOCK_FREE;
  env->source->ops->lend(env->source, block->extent, &block->use);
  tegi_slab_give(env->blocks, block);
}

// Streams that alternate each find their own behind the other's.
enum { CLASS_LOOKS = 8 };

tegi_block* tegi_class_take_slow(tegi_class* entry, tegi_source* source,
                                 tegi_stream_id stream) {
  tegi_block* block = entry->free.newest;
  for (uint32_t looks = CLASS_LOOKS; block && looks > 0; --looks) {
    if (tegi_may_reuse(source, &block->use, stream)) {
      tegi_free_list_remove(&entry->free, block);
      block->state = TEGI_BLOCK_USED;
      return block;
    }
    block = block->bin_next;
  }
  return NULL;
}

// Retires the free buffers of a class; only the idle ones if |is_idle_only|.
static uint64_t retire_class(const tegi_policy_env* env, tegi_class* entry,
                             bool is_idle_only, tegi_stream_id stream) {
  tegi_source* source = env->source;
  uint64_t bytes = 0;
  for (tegi_block* block = entry->free.oldest; block;) {
    tegi_block* next = block->bin_prev;
    if (!is_idle_only ||
        source->ops->check(source, &block->use, TEGI_WRITE_HOST, stream) ==
            TEGI_REUSE_NOW) {
      tegi_free_list_remove(&entry->free, block);
      bytes += block->size;
      tegi_whole_retire(env, block);
    }
    block = next;
  }
  return bytes;
}

uint64_t tegi_class_retire_all(const tegi_policy_env* env, tegi_class* entry) {
  return retire_class(env, entry, false, 0);
}

void tegi_class_retire_aged(const tegi_policy_env* env, tegi_class* entry,
                            uint64_t oldest) {
  tegi_block* block;
  while ((block = entry->free.oldest) != NULL && block->cold_since <= oldest) {
    tegi_free_list_remove(&entry->free, block);
    tegi_whole_retire(env, block);
  }
}

static teg_result validate_class(const tegi_class* entry, const char* policy,
                                 teg_error* err) {
  uint32_t count = 0;
  const tegi_block* before = NULL;
  for (const tegi_block* block = entry->free.newest; block;
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
  if (count == entry->free.count && entry->free.oldest == before &&
      count <= entry->limit) {
    return TEG_OK;
  }
  return tegi_error_set(
      err, TEG_BAD_STATE,
      "%s: class %" PRIu64 " counts %" PRIu32 " free buffers and has %" PRIu32
      ", its limit is %" PRIu32,
      policy, entry->size, entry->free.count, count, entry->limit);
}

// ---- All classes of a policy

void* tegi_class_policy_new(const tegi_policy_env* env,
                            const tegi_policy_ops* ops, size_t bytes,
                            teg_error* err) {
  tegi_class_policy* self = tegi_host_alloc(env->host, bytes);
  if (!self) {
    tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY, "policy %s: no host memory",
                   ops->name);
    return NULL;
  }
  self->base.ops = ops;
  self->env = *env;
  return self;
}

void tegi_class_policy_give(tegi_policy* policy, tegi_block* block) {
  tegi_class_policy* self = tegi_class_policy_from(policy);
  tegi_class* entry =
      block->bin == TEGI_NOT_KEPT ? NULL : &self->table.items[block->bin];
  if (entry && entry->free.count < entry->limit) {
    block->state = TEGI_BLOCK_FREE;
    tegi_free_list_push(&entry->free, block);
  } else {
    tegi_whole_retire(&self->env, block);
  }
}

uint64_t tegi_class_policy_trim(tegi_policy* policy, uint64_t wanted,
                                bool is_idle_only, tegi_stream_id stream) {
  tegi_class_policy* self = tegi_class_policy_from(policy);
  const tegi_class_table* table = &self->table;
  uint64_t bytes = 0;
  tegi_lock_acquire(self->env.lock);
  for (uint32_t i = 0; i < table->count && bytes < wanted; ++i) {
    bytes += retire_class(&self->env, &table->items[i], is_idle_only, stream);
  }
  tegi_lock_release(self->env.lock);
  return bytes;
}

void tegi_class_policy_lend(tegi_policy* policy, uint64_t min_bytes,
                            uint64_t max_bytes) {
  tegi_class_policy* self = tegi_class_policy_from(policy);
  const tegi_class_table* table = &self->table;
  tegi_lock_acquire(self->env.lock);
  for (uint32_t i = 0; i < table->count; ++i) {
    tegi_class* entry = &table->items[i];
    // Buffers of a class have its size, rounded up to what devices make.
    if (tegi_whole_bytes(&self->env, entry->size) < min_bytes ||
        entry->size > max_bytes) {
      continue;
    }
    tegi_block* block;
    while ((block = entry->free.oldest) != NULL) {
      tegi_free_list_remove(&entry->free, block);
      tegi_whole_lend(&self->env, block);
    }
  }
  tegi_lock_release(self->env.lock);
}

void tegi_class_policy_retire_all(tegi_class_policy* self) {
  for (uint32_t i = 0; i < self->table.count; ++i) {
    (void)tegi_class_retire_all(&self->env, &self->table.items[i]);
  }
}

teg_result tegi_class_policy_validate(tegi_policy* policy, teg_error* err) {
  const tegi_class_table* table = &tegi_class_policy_from(policy)->table;
  for (uint32_t i = 0; i < table->count; ++i) {
    teg_result result =
        validate_class(&table->items[i], policy->ops->name, err);
    if (result != TEG_OK) return result;
  }
  return TEG_OK;
}

teg_result tegi_class_policy_grow(tegi_policy* policy,
                                  const tegi_request* request,
                                  tegi_block** out_block, teg_error* err) {
  tegi_class_policy* self = tegi_class_policy_from(policy);
  uint64_t size = tegi_max_u64(request->size, request->max_size);
  uint32_t index = tegi_class_table_find(&self->table, size);
  bool is_kept = index < self->table.count;
  if (is_kept) size = self->table.items[index].size;
  teg_result result =
      tegi_whole_create(&self->env, size, request, out_block, err);
  if (result == TEG_OK) {
    (*out_block)->bin = is_kept ? (uint16_t)index : (uint16_t)TEGI_NOT_KEPT;
  }
  return result;
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
