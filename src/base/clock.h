// SPDX-License-Identifier: Apache-2.0
//
// Time that only goes forward.
#ifndef TEGULA_BASE_CLOCK_H
#define TEGULA_BASE_CLOCK_H

#include <stdint.h>

// Nanoseconds since an arbitrary moment; monotonic, never fails.
uint64_t tegi_now_ns(void);
// The same to a few milliseconds, at a fifth of the cost. Only to be compared
// with itself.
uint64_t tegi_now_coarse_ns(void);

#endif  // TEGULA_BASE_CLOCK_H
