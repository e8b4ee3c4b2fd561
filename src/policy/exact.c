// SPDX-License-Identifier: Apache-2.0
//
// Exact sizes: a hash table from size to class, made larger when half full. A
// size whose class cannot be recorded is served, but not kept.
#include "policy/exact.h"

#include "base/error.h"

enum { FIRST_SLOTS = 64, NOT_KEPT = UINT16_MAX };

static tegi_exact* cast(tegi_policy* policy) { return (tegi_exact*)policy; }

static uint32_t hash_slot(const tegi_exact* self, uint64_t size) {
  uint64_t mixed = (size >> 4) * UINT64_C(0x9E3779B97F4A7C15);
  return (uint32_t)(mixed >> 32) & (self->slot_count - 1);
}

// The class of a size, or NULL.
static tegi_class* find_class(tegi_exact* self, uint64_t size) {
  if (self->slot_count == 0) return NULL;
  uint32_t slot = hash_slot(self, size);
  while (self->slots[slot] != 0) {
    tegi_class* entry = &self->classes[self->slots[slot] - 1];
    if (entry->size == size) return entry;
    slot = (slot + 1) & (self->slot_count - 1);
  }
  return NULL;
}

static void enter_slot(tegi_exact* self, uint32_t class_index) {
  uint32_t slot = hash_slot(self, self->classes[class_index].size);
  while (self->slots[slot] != 0) slot = (slot + 1) & (self->slot_count - 1);
  self->slots[slot] = class_index + 1;
}

static bool grow_slots(tegi_exact* self) {
  uint32_t count = self->slot_count ? self->slot_count * 2 : FIRST_SLOTS;
  uint32_t* slots = tegi_host_calloc(self->env.host, count, sizeof *slots);
  if (!slots) return false;
  tegi_host_free(self->env.host, self->slots,
                 self->slot_count * sizeof *self->slots);
  self->slots = slots;
  self->slot_count = count;
  for (uint32_t i = 0; i < self->class_count; ++i) enter_slot(self, i);
  return true;
}

static tegi_class* add_class(tegi_exact* self, uint64_t size) {
  if (self->class_count >= NOT_KEPT) return NULL;
  if (self->class_count * 2 >= self->slot_count && !grow_slots(self)) {
    return NULL;
  }
  if (!tegi_host_grow_array(self->env.host, &self->classes,
                            &self->class_capacity, self->class_count + 1,
                            sizeof *self->classes)) {
    return NULL;
  }
  tegi_class* entry = &self->classes[self->class_count];
  *entry = (tegi_class){.size = size, .limit = UINT32_MAX};
  enter_slot(self, self->class_count++);
  return entry;
}

teg_result tegi_exact_create(const tegi_policy_env* env,
                             const tegi_policy_ops* ops,
                             tegi_policy** out_policy, teg_error* err) {
  tegi_exact* self = tegi_host_alloc(env->host, sizeof *self);
  if (!self) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "policy %s: no host memory", ops->name);
  }
  self->base.ops = ops;
  self->env = *env;
  *out_policy = &self->base;
  return TEG_OK;
}

void tegi_exact_destroy(tegi_policy* policy) {
  tegi_exact* self = cast(policy);
  for (uint32_t i = 0; i < self->class_count; ++i) {
    (void)tegi_class_retire_all(&self->env, &self->classes[i]);
  }
  tegi_host* host = self->env.host;
  tegi_host_free(host, self->classes,
                 self->class_capacity * sizeof *self->classes);
  tegi_host_free(host, self->slots, self->slot_count * sizeof *self->slots);
  tegi_host_free(host, self, sizeof *self);
}

tegi_block* tegi_exact_take(tegi_policy* policy, const tegi_request* request) {
  tegi_exact* self = cast(policy);
  uint64_t size = tegi_max_u64(request->size, request->max_size);
  tegi_class* entry = find_class(self, size);
  if (!entry || !entry->newest) return NULL;
  if (!tegi_may_reuse(self->env.source, &entry->newest->use, request->stream)) {
    return NULL;
  }
  return tegi_class_pop(entry);
}

void tegi_exact_give(tegi_policy* policy, tegi_block* block) {
  tegi_exact* self = cast(policy);
  if (block->bin == NOT_KEPT) {
    tegi_whole_retire(&self->env, block);
  } else {
    tegi_class_push(&self->classes[block->bin], block);
  }
}

teg_result tegi_exact_grow(tegi_policy* policy, const tegi_request* request,
                           tegi_block** out_block, teg_error* err) {
  tegi_exact* self = cast(policy);
  uint64_t size = tegi_max_u64(request->size, request->max_size);
  tegi_block* block;
  teg_result result = tegi_whole_create(&self->env, size, request, &block, err);
  if (result != TEG_OK) return result;
  tegi_lock_acquire(self->env.lock);
  tegi_class* entry = find_class(self, size);
  if (!entry) entry = add_class(self, size);
  block->bin = entry ? (uint16_t)(entry - self->classes) : NOT_KEPT;
  tegi_lock_release(self->env.lock);
  *out_block = block;
  return TEG_OK;
}

uint64_t tegi_exact_trim(tegi_policy* policy, uint64_t wanted,
                         bool is_idle_only, tegi_stream_id stream) {
  (void)is_idle_only;
  (void)stream;
  tegi_exact* self = cast(policy);
  uint64_t bytes = 0;
  tegi_lock_acquire(self->env.lock);
  for (uint32_t i = 0; i < self->class_count && bytes < wanted; ++i) {
    bytes += tegi_class_retire_all(&self->env, &self->classes[i]);
  }
  tegi_lock_release(self->env.lock);
  return bytes;
}

void tegi_exact_run_end(tegi_policy* policy, tegi_stream_id stream) {
  (void)stream;
  tegi_exact* self = cast(policy);
  if (!self->env.source->ops->is_shared(self->env.source)) return;
  tegi_lock_acquire(self->env.lock);
  for (uint32_t i = 0; i < self->class_count; ++i) {
    tegi_class_lend_all(&self->env, &self->classes[i]);
  }
  tegi_lock_release(self->env.lock);
}

teg_result tegi_exact_validate(tegi_policy* policy, teg_error* err) {
  tegi_exact* self = cast(policy);
  for (uint32_t i = 0; i < self->class_count; ++i) {
    teg_result result =
        tegi_class_validate(&self->classes[i], policy->ops->name, err);
    if (result != TEG_OK) return result;
  }
  return TEG_OK;
}
