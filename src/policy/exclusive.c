// SPDX-License-Identifier: Apache-2.0
//
// exclusive: one buffer a page, for interfaces that track usage by whole
// buffer. Pages come in sizes spaced evenly in their logarithm; a page free
// for long goes back, long being counted in requests. Requests above the
// largest size are served exactly and not kept.
#include <math.h>

#include "policy/whole.h"

enum { CLASS_COUNT = 24, SWEEPS_PER_AGE = 5 };

typedef struct exclusive_policy {
  tegi_class_policy kept;
  tegi_class classes[CLASS_COUNT];
  uint64_t request_count;
  uint64_t next_sweep;
} exclusive_policy;

static exclusive_policy* cast(tegi_policy* policy) {
  return (exclusive_policy*)policy;
}

static void space_classes(exclusive_policy* self) {
  const tegi_policy_options* options = self->kept.env.options;
  uint64_t granularity = self->kept.env.caps->buffer_granularity;
  double least = log2((double)options->exclusive_min_bytes);
  uint64_t largest =
      tegi_max_u64(options->exclusive_max_bytes, options->exclusive_min_bytes);
  double most = log2((double)largest);
  uint32_t count = 0;
  for (uint32_t i = 0; i < CLASS_COUNT; ++i) {
    double at = least + (most - least) * i / (CLASS_COUNT - 1);
    uint64_t size = tegi_align_up((uint64_t)ceil(exp2(at)), granularity);
    if (count > 0 && size <= self->classes[count - 1].size) continue;
    self->classes[count++] = (tegi_class){.size = size, .limit = UINT32_MAX};
  }
  self->kept.table.items = self->classes;
  self->kept.table.count = count;
  tegi_class_table_index(&self->kept.table);
}

static teg_result create(const tegi_policy_env* env, tegi_policy** out_policy,
                         teg_error* err) {
  exclusive_policy* self =
      tegi_class_policy_new(env, &tegi_policy_exclusive, sizeof *self, err);
  if (!self) return TEG_OUT_OF_HOST_MEMORY;
  space_classes(self);
  *out_policy = &self->kept.base;
  return TEG_OK;
}

static void destroy(tegi_policy* policy) {
  exclusive_policy* self = cast(policy);
  tegi_class_policy_retire_all(&self->kept);
  tegi_host_free(self->kept.env.host, self, sizeof *self);
}

// Retires what has been free for exclusive_age requests.
static void sweep(exclusive_policy* self) {
  uint64_t age = self->kept.env.options->exclusive_age_requests;
  self->next_sweep = self->request_count + age / SWEEPS_PER_AGE + 1;
  if (self->request_count < age) return;
  for (uint32_t i = 0; i < self->kept.table.count; ++i) {
    tegi_class_retire_aged(&self->kept.env, &self->kept.table.items[i],
                           self->request_count - age);
  }
}

static tegi_block* take(tegi_policy* policy, const tegi_request* request) {
  exclusive_policy* self = cast(policy);
  if (self->request_count >= self->next_sweep) sweep(self);
  tegi_block* block = tegi_class_policy_take(&self->kept, request);
  if (block) self->request_count++;
  return block;
}

static void give(tegi_policy* policy, tegi_block* block) {
  exclusive_policy* self = cast(policy);
  block->cold_since = self->request_count;
  tegi_class_policy_give(policy, block);
}

static teg_result grow(tegi_policy* policy, const tegi_request* request,
                       tegi_block** out_block, teg_error* err) {
  exclusive_policy* self = cast(policy);
  teg_result result = tegi_class_policy_grow(policy, request, out_block, err);
  // Counted here and not in take, which is asked more than once for these.
  tegi_lock_acquire(self->kept.env.lock);
  if (result == TEG_OK) self->request_count++;
  tegi_lock_release(self->kept.env.lock);
  return result;
}

const tegi_policy_ops tegi_policy_exclusive = {
    .name = "exclusive",
    .keeps = "one buffer a page, sizes log-spaced, released by age",
    .create = create,
    .destroy = destroy,
    .take = take,
    .give = give,
    .grow = grow,
    .trim = tegi_class_policy_trim,
    .lend_buffers = tegi_class_policy_lend,
    .exchange = tegi_whole_exchange,
    .validate = tegi_class_policy_validate,
};
