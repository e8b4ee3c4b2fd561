// SPDX-License-Identifier: Apache-2.0
//
// The fill command on host memory.
#ifndef TEGULA_BACKEND_HOST_FILL_H
#define TEGULA_BACKEND_HOST_FILL_H

#include <stdint.h>

// Byte i becomes byte i % 4 of |pattern|, little-endian.
void tegi_hostdev_fill(void* target, uint64_t size, uint32_t pattern);

#endif  // TEGULA_BACKEND_HOST_FILL_H
