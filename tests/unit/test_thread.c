// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/thread.h"

#define THREADS 4
#define ROUNDS 20000

typedef struct shared {
  tegi_lock lock;
  tegi_mutex mutex;
  tegi_cond cond;
  uint64_t plain;  // guarded by lock or mutex
  tegi_atomic_u64 atomic;
  tegi_atomic_u32 references;
  int turn;  // guarded by mutex
} shared;

static void* add_under_lock(void* user) {
  shared* all = user;
  for (int i = 0; i < ROUNDS; i++) {
    tegi_lock_acquire(&all->lock);
    all->plain++;
    tegi_lock_release(&all->lock);
    tegi_fetch_add_relaxed(&all->atomic, 1);
  }
  return NULL;
}

static void lock_admits_one_thread_at_a_time(void** state) {
  (void)state;
  shared all = {.plain = 0};
  tegi_lock_init(&all.lock);
  tegi_thread threads[THREADS];
  for (int i = 0; i < THREADS; i++) {
    assert_int_equal(tegi_thread_create(&threads[i], add_under_lock, &all),
                     TEG_OK);
  }
  for (int i = 0; i < THREADS; i++) tegi_thread_join(&threads[i]);
  assert_int_equal(all.plain, THREADS * ROUNDS);
  assert_int_equal(tegi_load_acquire(&all.atomic), THREADS * ROUNDS);
}

static void lock_try_says_whether_it_is_free(void** state) {
  (void)state;
  tegi_lock lock = {0};
  assert_true(tegi_lock_try(&lock));
  assert_false(tegi_lock_try(&lock));
  tegi_lock_release(&lock);
  assert_true(tegi_lock_try(&lock));
  tegi_lock_release(&lock);
}

static void* release_late(void* user) {
  tegi_thread_sleep_ns(5000000);
  tegi_lock_release(user);
  return NULL;
}

static void lock_waits_through_spin_yield_and_sleep(void** state) {
  (void)state;
  tegi_lock lock = {0};
  tegi_thread thread;
  tegi_lock_acquire(&lock);
  assert_int_equal(tegi_thread_create(&thread, release_late, &lock), TEG_OK);
  tegi_lock_acquire(&lock);
  tegi_lock_release(&lock);
  tegi_thread_join(&thread);
}

static void* answer_turns(void* user) {
  shared* all = user;
  tegi_mutex_lock(&all->mutex);
  for (int i = 0; i < 100; i++) {
    while (all->turn % 2 == 0) tegi_cond_wait(&all->cond, &all->mutex);
    all->turn++;
    tegi_cond_signal(&all->cond);
  }
  tegi_mutex_unlock(&all->mutex);
  return NULL;
}

static void condition_hands_turns_back_and_forth(void** state) {
  (void)state;
  shared all = {.turn = 0};
  assert_int_equal(tegi_mutex_init(&all.mutex), TEG_OK);
  assert_int_equal(tegi_cond_init(&all.cond), TEG_OK);
  tegi_thread thread;
  assert_int_equal(tegi_thread_create(&thread, answer_turns, &all), TEG_OK);
  assert_false(tegi_thread_is_current(&thread));
  tegi_mutex_lock(&all.mutex);
  for (int i = 0; i < 100; i++) {
    while (all.turn % 2 == 1) tegi_cond_wait(&all.cond, &all.mutex);
    all.turn++;
    tegi_cond_broadcast(&all.cond);
  }
  tegi_mutex_unlock(&all.mutex);
  tegi_thread_join(&thread);
  assert_int_equal(all.turn, 200);
  tegi_cond_destroy(&all.cond);
  tegi_mutex_destroy(&all.mutex);
}

static void timed_wait_ends(void** state) {
  (void)state;
  tegi_mutex mutex;
  tegi_cond cond;
  assert_int_equal(tegi_mutex_init(&mutex), TEG_OK);
  assert_int_equal(tegi_cond_init(&cond), TEG_OK);
  tegi_mutex_lock(&mutex);
  uint64_t start = tegi_now_ns();
  while (tegi_cond_wait_for(&cond, &mutex, 2000000)) {
  }
  assert_true(tegi_now_ns() - start >= 1900000);
  tegi_mutex_unlock(&mutex);
  tegi_cond_destroy(&cond);
  tegi_mutex_destroy(&mutex);
}

static void clock_goes_forward_and_sleep_takes_time(void** state) {
  (void)state;
  uint64_t start = tegi_now_ns();
  tegi_thread_yield();
  tegi_thread_sleep_ns(1500000);
  assert_true(tegi_now_ns() - start >= 1500000);
}

static void counters_and_states_change(void** state) {
  (void)state;
  tegi_atomic_u64 counter = 5;
  tegi_counter_add(&counter, 7);
  tegi_counter_sub(&counter, 2);
  assert_int_equal(tegi_load_relaxed(&counter), 10);
  tegi_store_release(&counter, 3);
  assert_int_equal(tegi_fetch_add_relaxed(&counter, 1), 3);
  tegi_atomic_max(&counter, 2);
  assert_int_equal(tegi_load_relaxed(&counter), 4);
  tegi_atomic_max(&counter, 9);
  assert_int_equal(tegi_load_relaxed(&counter), 9);
  tegi_atomic_u32 state_word = 1;
  assert_false(tegi_change_state(&state_word, 0, 2));
  assert_true(tegi_change_state(&state_word, 1, 2));
  assert_int_equal(tegi_load_state(&state_word), 2);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(lock_admits_one_thread_at_a_time),
      cmocka_unit_test(lock_try_says_whether_it_is_free),
      cmocka_unit_test(lock_waits_through_spin_yield_and_sleep),
      cmocka_unit_test(condition_hands_turns_back_and_forth),
      cmocka_unit_test(timed_wait_ends),
      cmocka_unit_test(clock_goes_forward_and_sleep_takes_time),
      cmocka_unit_test(counters_and_states_change),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
