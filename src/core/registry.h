// SPDX-License-Identifier: Apache-2.0
//
// The backends that were built in. Defined by the backend room, so that core
// includes nothing of it.
#ifndef TEGULA_CORE_REGISTRY_H
#define TEGULA_CORE_REGISTRY_H

#include "tegula/backend.h"

// NULL-terminated; "host" comes first.
extern const teg_backend_ops* const tegi_backends[];

#endif  // TEGULA_CORE_REGISTRY_H
