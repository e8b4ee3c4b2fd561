// SPDX-License-Identifier: Apache-2.0
//
// The backends that were built in, and the checker that can be put around any
// of their devices. Defined by the backend room, so that core includes nothing
// of it.
#ifndef TEGULA_CORE_REGISTRY_H
#define TEGULA_CORE_REGISTRY_H

#include "tegula/backend.h"

// NULL-terminated; "host" comes first.
extern const teg_backend_ops* const tegi_backends[];

// Puts the hazard checker around |inner|: the device that is returned takes
// the same calls, and closes |inner| with itself. On failure |inner| is still
// the caller's.
teg_result tegi_backend_check(teg_backend_device* inner,
                              const teg_allocator* allocator,
                              teg_backend_device** out_device, teg_error* err);

#endif  // TEGULA_CORE_REGISTRY_H
