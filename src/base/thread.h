// SPDX-License-Identifier: Apache-2.0
//
// Threads, mutexes, condition variables, and a lock of one word for critical
// sections of a few dozen nanoseconds. Nothing here allocates.
//
// tegi_lock is for sections that never block, never call a driver and never
// allocate; a thread that finds it taken spins shortly and then gives the
// processor away. Everything else uses tegi_mutex.
#ifndef TEGULA_BASE_THREAD_H
#define TEGULA_BASE_THREAD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "tegula/result.h"

// ---- Short lock. All-zero is an unlocked lock; needs no destroy.
typedef struct tegi_lock {
  _Atomic uint32_t is_held;
} tegi_lock;

// The slow path of acquire: spins, then yields, then sleeps.
void tegi_lock_wait(tegi_lock* lock);

static inline void tegi_lock_init(tegi_lock* lock) {
  atomic_init(&lock->is_held, 0u);
}

static inline bool tegi_lock_try(tegi_lock* lock) {
  uint32_t expected = 0;
  return atomic_compare_exchange_strong_explicit(&lock->is_held, &expected, 1u,
                                                 memory_order_acquire,
                                                 memory_order_relaxed);
}

static inline void tegi_lock_acquire(tegi_lock* lock) {
  if (__builtin_expect(!tegi_lock_try(lock), 0)) tegi_lock_wait(lock);
}

static inline void tegi_lock_release(tegi_lock* lock) {
  atomic_store_explicit(&lock->is_held, 0u, memory_order_release);
}

// ---- Mutex. Not recursive.
typedef struct tegi_mutex {
  pthread_mutex_t native;
} tegi_mutex;

// TEG_OUT_OF_HOST_MEMORY if the system has no resources for it.
TEG_NODISCARD teg_result tegi_mutex_init(tegi_mutex* mutex);
void tegi_mutex_destroy(tegi_mutex* mutex);
void tegi_mutex_lock(tegi_mutex* mutex);
// False, and not taken, when somebody holds it.
bool tegi_mutex_try(tegi_mutex* mutex);
void tegi_mutex_unlock(tegi_mutex* mutex);

// ---- Condition variable.
typedef struct tegi_cond {
  pthread_cond_t native;
} tegi_cond;

TEG_NODISCARD teg_result tegi_cond_init(tegi_cond* cond);
void tegi_cond_destroy(tegi_cond* cond);
// |mutex| is held. May wake without a signal: test in a loop.
void tegi_cond_wait(tegi_cond* cond, tegi_mutex* mutex);
// As above, for at most |timeout_ns|. False when the time is over.
bool tegi_cond_wait_for(tegi_cond* cond, tegi_mutex* mutex,
                        uint64_t timeout_ns);
void tegi_cond_signal(tegi_cond* cond);
void tegi_cond_broadcast(tegi_cond* cond);

// ---- Thread.
typedef struct tegi_thread {
  pthread_t native;
} tegi_thread;

typedef void* (*tegi_thread_entry)(void* user);

// Starts a thread with all signals blocked. It must be joined.
// Returns TEG_LIMIT if the system has no room for one more.
TEG_NODISCARD teg_result tegi_thread_create(tegi_thread* out_thread,
                                            tegi_thread_entry entry,
                                            void* user);
void tegi_thread_join(tegi_thread* thread);
bool tegi_thread_is_current(const tegi_thread* thread);
// A number for the calling thread, not 0; other threads that live at the same
// time have others.
static inline uint64_t tegi_thread_self(void) {
  return (uint64_t)pthread_self();
}
// Gives the processor to another thread.
void tegi_thread_yield(void);
void tegi_thread_sleep_ns(uint64_t duration_ns);

#endif  // TEGULA_BASE_THREAD_H
