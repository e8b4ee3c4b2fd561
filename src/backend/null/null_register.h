// SPDX-License-Identifier: Apache-2.0
//
// The null backend, for the registry.
#ifndef TEGULA_BACKEND_NULL_REGISTER_H
#define TEGULA_BACKEND_NULL_REGISTER_H

#include "tegula/backend.h"

extern const teg_backend_ops tegi_nulldev_backend;

#endif  // TEGULA_BACKEND_NULL_REGISTER_H
