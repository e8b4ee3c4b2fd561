// SPDX-License-Identifier: Apache-2.0
//
// The few atomic operations the library uses, with their memory order in the
// name. Only this file and thread.h touch the primitives.
#ifndef TEGULA_BASE_ATOMIC_H
#define TEGULA_BASE_ATOMIC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#if defined(__cplusplus)
#error "internal header, C only"
#endif

typedef _Atomic uint32_t tegi_atomic_u32;
typedef _Atomic uint64_t tegi_atomic_u64;

// Values that other threads act upon: what was written before the release is
// seen after the acquire.
static inline uint64_t tegi_load_acquire(const tegi_atomic_u64* value) {
  return atomic_load_explicit(value, memory_order_acquire);
}

static inline void tegi_store_release(tegi_atomic_u64* value, uint64_t next) {
  atomic_store_explicit(value, next, memory_order_release);
}

// Values that order nothing.
static inline uint64_t tegi_load_relaxed(const tegi_atomic_u64* value) {
  return atomic_load_explicit(value, memory_order_relaxed);
}

static inline void tegi_store_relaxed(tegi_atomic_u64* value, uint64_t next) {
  atomic_store_explicit(value, next, memory_order_relaxed);
}

// A counter with any number of writers. Returns the value before.
static inline uint64_t tegi_fetch_add_relaxed(tegi_atomic_u64* value,
                                              uint64_t add) {
  return atomic_fetch_add_explicit(value, add, memory_order_relaxed);
}

// A counter with one writer at a time, any number of readers: a plain store.
static inline void tegi_counter_add(tegi_atomic_u64* counter, uint64_t add) {
  tegi_store_relaxed(counter, tegi_load_relaxed(counter) + add);
}

static inline void tegi_counter_sub(tegi_atomic_u64* counter, uint64_t sub) {
  tegi_store_relaxed(counter, tegi_load_relaxed(counter) - sub);
}

// Raises a value to |candidate| if it is lower; any number of writers.
static inline void tegi_atomic_max(tegi_atomic_u64* value, uint64_t candidate) {
  uint64_t present = tegi_load_relaxed(value);
  while (present < candidate &&
         !atomic_compare_exchange_weak_explicit(value, &present, candidate,
                                                memory_order_acq_rel,
                                                memory_order_relaxed)) {
  }
}

// A state that is changed by whoever finds it as expected.
static inline bool tegi_change_state(tegi_atomic_u32* state, uint32_t expected,
                                     uint32_t next) {
  return atomic_compare_exchange_strong_explicit(
      state, &expected, next, memory_order_acq_rel, memory_order_relaxed);
}

static inline uint32_t tegi_load_state(const tegi_atomic_u32* state) {
  return atomic_load_explicit(state, memory_order_acquire);
}

// A reference count.
static inline void tegi_retain(tegi_atomic_u32* count) {
  atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
}

// True for the last reference.
static inline bool tegi_release(tegi_atomic_u32* count) {
  return atomic_fetch_sub_explicit(count, 1, memory_order_acq_rel) == 1;
}

#endif  // TEGULA_BASE_ATOMIC_H
