// SPDX-License-Identifier: Apache-2.0
//
// The host backend, for the registry and for decorators.
#ifndef TEGULA_BACKEND_HOST_REGISTER_H
#define TEGULA_BACKEND_HOST_REGISTER_H

#include "tegula/backend.h"

extern const teg_backend_ops tegi_hostdev_backend;

#endif  // TEGULA_BACKEND_HOST_REGISTER_H
