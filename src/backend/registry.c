// SPDX-License-Identifier: Apache-2.0
//
// The backends of this build, in the order they are listed and tried.
#include "core/registry.h"

#include "backend/host/host_register.h"
#include "backend/null/null_register.h"

const teg_backend_ops* const tegi_backends[] = {
    &tegi_hostdev_backend,
    &tegi_nulldev_backend,
    NULL,
};
