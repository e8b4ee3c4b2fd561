// SPDX-License-Identifier: Apache-2.0
//
// The list of policies. "auto" is core's: it depends on the device.
#include "policy/policy.h"

const tegi_policy_ops* const tegi_policies[] = {
    &tegi_policy_disabled,  &tegi_policy_lazy,
    &tegi_policy_simple,    &tegi_policy_bucket,
    &tegi_policy_dynamic,   &tegi_policy_paged,
    &tegi_policy_exclusive, &tegi_policy_tiled,
    &tegi_policy_planned,   NULL,
};
