// SPDX-License-Identifier: Apache-2.0
//
// simple: every buffer is kept, by its exact size, until it is trimmed.
#include "policy/exact.h"

static teg_result create(const tegi_policy_env* env, tegi_policy** out_policy,
                         teg_error* err) {
  return tegi_exact_create(env, &tegi_policy_simple, out_policy, err);
}

const tegi_policy_ops tegi_policy_simple = {
    .name = "simple",
    .keeps = "every buffer, by exact size",
    .create = create,
    .destroy = tegi_exact_destroy,
    .take = tegi_exact_take,
    .give = tegi_class_policy_give,
    .grow = tegi_exact_grow,
    .trim = tegi_class_policy_trim,
    .lend_buffers = tegi_class_policy_lend,
    .exchange = tegi_whole_exchange,
    .validate = tegi_class_policy_validate,
};
