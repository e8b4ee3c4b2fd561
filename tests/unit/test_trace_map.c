// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "support/trace_fixture.h"
#include "trace/trace_crc.h"
#include "trace/trace_map.h"

// Against an array that says which of 1000 keys are there.
static void map_agrees_with_an_array_under_random_operations(void** state) {
  enum { KEYS = 1000, STEPS = 200000 };
  static uint64_t value_of[KEYS];  // 0 = not there
  tegi_host host;
  assert_int_equal(tegi_host_init(&host, NULL, NULL), TEG_OK);
  tegi_trace_map map;
  tegi_trace_map_init(&map, &host);
  uint64_t seed = 42;
  size_t count = 0;
  for (int step = 1; step <= STEPS; ++step) {
    uint64_t index = fixture_random(&seed) % KEYS;
    // Keys that differ in low or in high bits only.
    uint64_t key = index % 2 ? index : index << 54;
    tegi_trace_entry* entry = tegi_trace_map_find(&map, key);
    assert_int_equal(entry ? entry->id : 0, value_of[index]);
    // Waves of growing and of shrinking.
    bool is_growing = step / 20000 % 2 == 0;
    uint64_t dice = fixture_random(&seed) % 4;
    bool is_adding = is_growing ? dice != 0 : dice == 0;
    if (!entry && is_adding) {
      entry = tegi_trace_map_add(&map, key);
      assert_non_null(entry);
      entry->id = (uint64_t)step;
      value_of[index] = (uint64_t)step;
      ++count;
    } else if (entry && !is_adding) {
      tegi_trace_map_remove(&map, entry);
      value_of[index] = 0;
      --count;
    }
    assert_int_equal(map.count, count);
  }
  tegi_trace_map_clear(&map);
  assert_null(tegi_trace_map_find(&map, 1));
  tegi_trace_map_deinit(&map);
  assert_int_equal(host.live_bytes, 0);
}

static void crc_has_the_check_value_of_the_description(void** state) {
  assert_int_equal(tegi_trace_crc32c(0, "123456789", 9), 0xe3069283);
  uint32_t part = tegi_trace_crc32c(0, "1234", 4);
  assert_int_equal(tegi_trace_crc32c(part, "56789", 5), 0xe3069283);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(map_agrees_with_an_array_under_random_operations),
      cmocka_unit_test(crc_has_the_check_value_of_the_description),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
