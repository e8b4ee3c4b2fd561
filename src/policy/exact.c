// SPDX-License-Identifier: Apache-2.0
//
// Exact sizes: a hash table from size to class, made larger when half full. A
// size whose class cannot be recorded is served, but not kept.
#include "policy/exact.h"

#include "base/error.h"

enum { FIRST_SLOTS = 64 };

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
    tegi_class* entry = &self->table.items[self->slots[slot] - 1];
    if (entry->size == size) return entry;
    slot = (slot + 1) & (self->slot_count - 1);
  }
  return NULL;
}

static void enter_slot(tegi_exact* self, uint32_t class_index) {
  uint32_t slot = hash_slot(self, self->table.items[class_index].size);
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
  for (uint32_t i = 0; i < self->table.count; ++i) enter_slot(self, i);
  return true;
}

static tegi_class* add_class(tegi_exact* self, uint64_t size) {
  if (self->table.count >= TEGI_NOT_KEPT) return NULL;
  if (self->table.count * 2 >= self->slot_count && !grow_slots(self)) {
    return NULL;
  }
  if (!tegi_host_grow_array(self->env.host, &self->table.items,
                            &self->class_capacity, self->table.count + 1,
                            sizeof *self->table.items)) {
    return NULL;
  }
  tegi_class* entry = &self->table.items[self->table.count];
  *entry = (tegi_class){.size = size, .limit = UINT32_MAX};
  enter_slot(self, self->table.count++);
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
  tegi_class_table_retire_all(&self->env, &self->table);
  tegi_host* host = self->env.host;
  tegi_host_free(host, self->table.items,
                 self->class_capacity * sizeof *self->table.items);
  tegi_host_free(host, self->slots, self->slot_count * sizeof *self->slots);
  tegi_host_free(host, self, sizeof *self);
}

tegi_block* tegi_exact_take(tegi_policy* policy, const tegi_request* request) {
  tegi_exact* self = cast(policy);
  uint64_t size = tegi_max_u64(request->size, request->max_size);
  tegi_class* entry = find_class(self, size);
  return entry ? tegi_class_take(entry, self->env.source, request->stream)
               : NULL;
}

void tegi_exact_give(tegi_policy* policy, tegi_block* block) {
  tegi_exact* self = cast(policy);
  tegi_class_table_give(&self->env, &self->table, block);
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
  block->bin = entry ? (uint16_t)(entry - self->table.items) : TEGI_NOT_KEPT;
  tegi_lock_release(self->env.lock);
  *out_block = block;
  return TEG_OK;
}

uint64_t tegi_exact_trim(tegi_policy* policy, uint64_t wanted,
                         bool is_idle_only, tegi_stream_id stream) {
  tegi_exact* self = cast(policy);
  return tegi_class_table_trim(&self->env, &self->table, wanted, is_idle_only,
                               stream);
}

void tegi_exact_lend(tegi_policy* policy) {
  tegi_exact* self = cast(policy);
  tegi_class_table_lend(&self->env, &self->table);
}

teg_result tegi_exact_validate(tegi_policy* policy, teg_error* err) {
  return tegi_class_table_validate(&cast(policy)->table, policy->ops->name,
                                   err);
}
