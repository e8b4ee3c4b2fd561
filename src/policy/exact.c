// SPDX-License-Identifier: Apache-2.0
//
// Exact sizes: a hash table from size to class, made larger when half full. A
// size whose class cannot be recorded is served, but not kept.
#include "policy/exact.h"

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
    tegi_class* entry = &self->kept.table.items[self->slots[slot] - 1];
    if (entry->size == size) return entry;
    slot = (slot + 1) & (self->slot_count - 1);
  }
  return NULL;
}

static void enter_slot(tegi_exact* self, uint32_t class_index) {
  uint32_t slot = hash_slot(self, self->kept.table.items[class_index].size);
  while (self->slots[slot] != 0) slot = (slot + 1) & (self->slot_count - 1);
  self->slots[slot] = class_index + 1;
}

static bool grow_slots(tegi_exact* self) {
  uint32_t count = self->slot_count ? self->slot_count * 2 : FIRST_SLOTS;
  uint32_t* slots = tegi_host_calloc(self->kept.env.host, count, sizeof *slots);
  if (!slots) return false;
  tegi_host_free(self->kept.env.host, self->slots,
                 self->slot_count * sizeof *self->slots);
  self->slots = slots;
  self->slot_count = count;
  for (uint32_t i = 0; i < self->kept.table.count; ++i) enter_slot(self, i);
  return true;
}

static tegi_class* add_class(tegi_exact* self, uint64_t size) {
  if (self->kept.table.count >= TEGI_NOT_KEPT) return NULL;
  if (self->kept.table.count * 2 >= self->slot_count && !grow_slots(self)) {
    return NULL;
  }
  if (!tegi_host_grow_array(self->kept.env.host, &self->kept.table.items,
                            &self->class_capacity, self->kept.table.count + 1,
                            sizeof *self->kept.table.items)) {
    return NULL;
  }
  tegi_class* entry = &self->kept.table.items[self->kept.table.count];
  *entry = (tegi_class){.size = size, .limit = UINT32_MAX};
  enter_slot(self, self->kept.table.count++);
  return entry;
}

teg_result tegi_exact_create(const tegi_policy_env* env,
                             const tegi_policy_ops* ops,
                             tegi_policy** out_policy, teg_error* err) {
  tegi_exact* self = tegi_class_policy_new(env, ops, sizeof *self, err);
  if (!self) return TEG_OUT_OF_HOST_MEMORY;
  *out_policy = &self->kept.base;
  return TEG_OK;
}

void tegi_exact_destroy(tegi_policy* policy) {
  tegi_exact* self = cast(policy);
  tegi_class_policy_retire_all(&self->kept);
  tegi_host* host = self->kept.env.host;
  tegi_host_free(host, self->kept.table.items,
                 self->class_capacity * sizeof *self->kept.table.items);
  tegi_host_free(host, self->slots, self->slot_count * sizeof *self->slots);
  tegi_host_free(host, self, sizeof *self);
}

tegi_block* tegi_exact_take(tegi_policy* policy, const tegi_request* request) {
  tegi_exact* self = cast(policy);
  uint64_t size = tegi_max_u64(request->size, request->max_size);
  tegi_class* entry = find_class(self, size);
  return entry ? tegi_class_take(entry, self->kept.env.source, request->stream)
               : NULL;
}

teg_result tegi_exact_grow(tegi_policy* policy, const tegi_request* request,
                           tegi_block** out_block, teg_error* err) {
  tegi_exact* self = cast(policy);
  uint64_t size = tegi_max_u64(request->size, request->max_size);
  tegi_block* block;
  teg_result result =
      tegi_whole_create(&self->kept.env, size, request, &block, err);
  if (result != TEG_OK) return result;
  tegi_lock_acquire(self->kept.env.lock);
  tegi_class* entry = find_class(self, size);
  if (!entry) entry = add_class(self, size);
  block->bin =
      entry ? (uint16_t)(entry - self->kept.table.items) : TEGI_NOT_KEPT;
  tegi_lock_release(self->kept.env.lock);
  *out_block = block;
  return TEG_OK;
}
