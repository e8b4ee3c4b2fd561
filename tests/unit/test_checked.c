// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/checked.h"

static void add_and_mul_report_overflow(void** state) {
  uint64_t result = 0;
  assert_true(tegi_add_u64(UINT64_MAX - 1, 1, &result));
  assert_true(result == UINT64_MAX);
  assert_false(tegi_add_u64(UINT64_MAX, 1, &result));
  assert_true(tegi_mul_u64(UINT32_MAX, UINT32_MAX, &result));
  assert_true(result == UINT64_C(0xfffffffe00000001));
  assert_false(tegi_mul_u64(UINT64_C(1) << 63, 2, &result));
}

static void power_of_two_excludes_zero(void** state) {
  assert_false(tegi_is_power_of_two(0));
  for (uint32_t bit = 0; bit < 64; ++bit) {
    assert_true(tegi_is_power_of_two(UINT64_C(1) << bit));
  }
  assert_false(tegi_is_power_of_two(3));
  assert_false(tegi_is_power_of_two(UINT64_MAX));
}

static void align_keeps_aligned_values_and_moves_the_rest(void** state) {
  assert_true(tegi_align_up(0, 64) == 0);
  assert_true(tegi_align_up(1, 64) == 64);
  assert_true(tegi_align_up(64, 64) == 64);
  assert_true(tegi_align_up(65, 64) == 128);
  assert_true(tegi_align_down(63, 64) == 0);
  assert_true(tegi_align_down(64, 64) == 64);
  assert_true(tegi_align_up(7, 1) == 7);
  assert_true(tegi_align_up(TEGI_MAX_BYTES - 1, 4096) == TEGI_MAX_BYTES);
}

static void div_up_does_not_overflow_at_the_top(void** state) {
  assert_true(tegi_div_up(0, 4) == 0);
  assert_true(tegi_div_up(4, 4) == 1);
  assert_true(tegi_div_up(5, 4) == 2);
  assert_true(tegi_div_up(UINT64_MAX, 2) == UINT64_C(1) << 63);
}

static void min_and_max_order_their_arguments(void** state) {
  assert_true(tegi_min_u64(2, 3) == 2 && tegi_min_u64(3, 2) == 2);
  assert_true(tegi_max_u64(2, 3) == 3 && tegi_max_u64(3, 2) == 3);
}

static void bits_are_found_at_both_ends(void** state) {
  assert_int_equal(tegi_high_bit(1), 0);
  assert_int_equal(tegi_high_bit(UINT64_MAX), 63);
  assert_int_equal(tegi_high_bit(UINT64_C(0x1001)), 12);
  assert_int_equal(tegi_low_bit(UINT64_C(1) << 63), 63);
  assert_int_equal(tegi_low_bit(UINT64_C(0x1100)), 8);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(add_and_mul_report_overflow),
      cmocka_unit_test(power_of_two_excludes_zero),
      cmocka_unit_test(align_keeps_aligned_values_and_moves_the_rest),
      cmocka_unit_test(div_up_does_not_overflow_at_the_top),
      cmocka_unit_test(min_and_max_order_their_arguments),
      cmocka_unit_test(bits_are_found_at_both_ends),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
