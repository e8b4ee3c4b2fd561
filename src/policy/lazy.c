// SPDX-License-Identifier: Apache-2.0
//
// lazy: a released buffer can be found again, by its exact size, until the
// submit that follows; then it is given back. (ONNX Runtime's lazyRelease
// keeps it until then as well, but never finds it again.)
#include "policy/exact.h"

static teg_result create(const tegi_policy_env* env, tegi_policy** out_policy,
                         teg_error* err) {
  return tegi_exact_create(env, &tegi_policy_lazy, out_policy, err);
}

static void submitted(tegi_policy* policy) {
  tegi_class_policy* self = tegi_class_policy_from(policy);
  for (uint32_t i = 0; i < self->table.count; ++i) {
    tegi_class* entry = &self->table.items[i];
    if (entry->free.newest) (void)tegi_class_retire_all(&self->env, entry);
  }
}

const tegi_policy_ops tegi_policy_lazy = {
    .name = "lazy",
    .keeps = "nothing past the submit that follows the release",
    .create = create,
    .destroy = tegi_exact_destroy,
    .take = tegi_exact_take,
    .give = tegi_class_policy_give,
    .grow = tegi_exact_grow,
    .trim = tegi_class_policy_trim,
    .submitted = submitted,
    .exchange = tegi_whole_exchange,
    .validate = tegi_class_policy_validate,
};
