// SPDX-License-Identifier: Apache-2.0
//
// Whole buffers kept by their exact size: what `simple` and `lazy` share.
#ifndef TEGULA_POLICY_EXACT_H
#define TEGULA_POLICY_EXACT_H

#include "policy/whole.h"

typedef struct tegi_exact {
  tegi_class_policy kept;  // classes in the order their sizes were first seen
  size_t class_capacity;
  uint32_t* slots;  // hash of the size to class index + 1; 0 = empty
  uint32_t slot_count;
} tegi_exact;

teg_result tegi_exact_create(const tegi_policy_env* env,
                             const tegi_policy_ops* ops,
                             tegi_policy** out_policy, teg_error* err);
void tegi_exact_destroy(tegi_policy* policy);
tegi_block* tegi_exact_take(tegi_policy* policy, const tegi_request* request);
teg_result tegi_exact_grow(tegi_policy* policy, const tegi_request* request,
                           tegi_block** out_block, teg_error* err);

#endif  // TEGULA_POLICY_EXACT_H
