// SPDX-License-Identifier: Apache-2.0
//
// Arithmetic on sizes that says when it overflows, and bit tricks on 64-bit
// values. Every size that comes from outside goes through these.
#ifndef TEGULA_BASE_CHECKED_H
#define TEGULA_BASE_CHECKED_H

#include <stdbool.h>
#include <stdint.h>

// The largest size any buffer, heap or address range may have.
#define TEGI_MAX_BYTES (UINT64_C(1) << 62)

static inline bool tegi_add_u64(uint64_t a, uint64_t b, uint64_t* out_sum) {
  return !__builtin_add_overflow(a, b, out_sum);
}

static inline bool tegi_mul_u64(uint64_t a, uint64_t b, uint64_t* out_product) {
  return !__builtin_mul_overflow(a, b, out_product);
}

static inline bool tegi_is_power_of_two(uint64_t value) {
  return value != 0 && (value & (value - 1)) == 0;
}

// |alignment| is a power of two and |value| + |alignment| does not overflow.
static inline uint64_t tegi_align_up(uint64_t value, uint64_t alignment) {
  return (value + alignment - 1) & ~(alignment - 1);
}

static inline bool tegi_is_aligned(uint64_t value, uint64_t alignment) {
  return (value & (alignment - 1)) == 0;
}

static inline uint64_t tegi_align_down(uint64_t value, uint64_t alignment) {
  return value & ~(alignment - 1);
}

static inline uint64_t tegi_div_up(uint64_t value, uint64_t divisor) {
  return value / divisor + (value % divisor != 0);
}

static inline uint64_t tegi_min_u64(uint64_t a, uint64_t b) {
  return a < b ? a : b;
}

static inline uint64_t tegi_max_u64(uint64_t a, uint64_t b) {
  return a > b ? a : b;
}

// Index of the highest and lowest set bit; |value| is not 0.
static inline uint32_t tegi_high_bit(uint64_t value) {
  return 63u - (uint32_t)__builtin_clzll(value);
}

static inline uint32_t tegi_low_bit(uint64_t value) {
  return (uint32_t)__builtin_ctzll(value);
}

#endif  // TEGULA_BASE_CHECKED_H
