// SPDX-License-Identifier: Apache-2.0
#include "policy/exact.h"

static teg_result create(const tegi_policy_env* env, tegi_policy** out_policy,
                         teg_error* err) {
  return tegi_exact_create(env, &tegi_policy_dynamic, out_policy, err);
}

const tegi_policy_ops tegi_policy_dynamic = {
    .name = "dynamic",
    .keeps = "every buffer, by exact size",
    .create = create,
    .destroy = tegi_exact_destroy,
    .take = tegi_exact_take,
    .give = tegi_exact_give,
    .grow = tegi_exact_grow,
    .trim = tegi_exact_trim,
    .run_end = tegi_exact_run_end,
    .validate = tegi_exact_validate,
};
