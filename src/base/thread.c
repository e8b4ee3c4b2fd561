// SPDX-License-Identifier: Apache-2.0
//
// POSIX threads behind thread.h and clock.h. Stateless. The pthread calls
// whose result is ignored can fail only for misuse, which is our own bug.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "base/thread.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <time.h>

#include "base/clock.h"
#include "base/error.h"

#define NS_PER_SECOND UINT64_C(1000000000)

// How often a taken lock is looked at before the thread yields, and how often
// it yields before it sleeps.
#define SPIN_COUNT 100
#define YIELD_COUNT 16
#define SLEEP_NS UINT64_C(50000)

static uint64_t read_clock(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (uint64_t)now.tv_sec * NS_PER_SECOND + (uint64_t)now.tv_nsec;
}

uint64_t tegi_now_ns(void) { return read_clock(CLOCK_MONOTONIC); }

uint64_t tegi_now_coarse_ns(void) { return read_clock(CLOCK_MONOTONIC_COARSE); }

static inline void pause_processor(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}

void tegi_lock_wait(tegi_lock* lock) {
  for (uint32_t round = 0;; round++) {
    for (int spin = 0; spin < SPIN_COUNT; spin++) {
      // Look before trying, so that waiting threads share the cache line.
      if (atomic_load_explicit(&lock->is_held, memory_order_relaxed) == 0 &&
          tegi_lock_try(lock)) {
        return;
      }
      pause_processor();
    }
    if (round < YIELD_COUNT) {
      tegi_thread_yield();
    } else {
      tegi_thread_sleep_ns(SLEEP_NS);
    }
  }
}

teg_result tegi_mutex_init(tegi_mutex* mutex) {
  return pthread_mutex_init(&mutex->native, NULL) == 0 ? TEG_OK
                                                       : TEG_OUT_OF_HOST_MEMORY;
}

void tegi_mutex_destroy(tegi_mutex* mutex) {
  int result = pthread_mutex_destroy(&mutex->native);
  TEG_ASSERT(result == 0);
  (void)result;
}

// Most sections are short, and to sleep and be woken costs far more than to
// look a few times.
void tegi_mutex_lock(tegi_mutex* mutex) {
  for (int spin = 0; spin < SPIN_COUNT; spin++) {
    if (pthread_mutex_trylock(&mutex->native) == 0) return;
    pause_processor();
  }
  int result = pthread_mutex_lock(&mutex->native);
  TEG_ASSERT(result == 0);
  (void)result;
}

bool tegi_mutex_try(tegi_mutex* mutex) {
  return pthread_mutex_trylock(&mutex->native) == 0;
}

void tegi_mutex_unlock(tegi_mutex* mutex) {
  int result = pthread_mutex_unlock(&mutex->native);
  TEG_ASSERT(result == 0);
  (void)result;
}

teg_result tegi_cond_init(tegi_cond* cond) {
  pthread_condattr_t attributes;
  if (pthread_condattr_init(&attributes) != 0) return TEG_OUT_OF_HOST_MEMORY;
  // Timed waits follow tegi_now_ns(), not the wall clock.
  int result = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  if (result == 0) result = pthread_cond_init(&cond->native, &attributes);
  pthread_condattr_destroy(&attributes);
  return result == 0 ? TEG_OK : TEG_OUT_OF_HOST_MEMORY;
}

void tegi_cond_destroy(tegi_cond* cond) {
  int result = pthread_cond_destroy(&cond->native);
  TEG_ASSERT(result == 0);
  (void)result;
}

void tegi_cond_wait(tegi_cond* cond, tegi_mutex* mutex) {
  pthread_cond_wait(&cond->native, &mutex->native);
}

bool tegi_cond_wait_for(tegi_cond* cond, tegi_mutex* mutex,
                        uint64_t timeout_ns) {
  uint64_t now_ns = tegi_now_ns();
  uint64_t end_ns;
  if (__builtin_add_overflow(now_ns, timeout_ns, &end_ns) ||
      end_ns > (uint64_t)INT64_MAX) {
    end_ns = (uint64_t)INT64_MAX;
  }
  struct timespec end = {.tv_sec = (time_t)(end_ns / NS_PER_SECOND),
                         .tv_nsec = (long)(end_ns % NS_PER_SECOND)};
  return pthread_cond_timedwait(&cond->native, &mutex->native, &end) !=
         ETIMEDOUT;
}

void tegi_cond_signal(tegi_cond* cond) { pthread_cond_signal(&cond->native); }

void tegi_cond_broadcast(tegi_cond* cond) {
  pthread_cond_broadcast(&cond->native);
}

teg_result tegi_thread_create(tegi_thread* out_thread, tegi_thread_entry entry,
                              void* user) {
  // The new thread inherits the mask: signals stay the program's business.
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  int result = pthread_create(&out_thread->native, NULL, entry, user);
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  return result == 0 ? TEG_OK : TEG_LIMIT;
}

void tegi_thread_join(tegi_thread* thread) {
  int result = pthread_join(thread->native, NULL);
  TEG_ASSERT(result == 0);
  (void)result;
}

bool tegi_thread_is_current(const tegi_thread* thread) {
  return pthread_equal(thread->native, pthread_self()) != 0;
}

void tegi_thread_yield(void) { sched_yield(); }

void tegi_thread_sleep_ns(uint64_t duration_ns) {
  struct timespec duration = {.tv_sec = (time_t)(duration_ns / NS_PER_SECOND),
                              .tv_nsec = (long)(duration_ns % NS_PER_SECOND)};
  while (nanosleep(&duration, &duration) != 0 && errno == EINTR) {
  }
}
