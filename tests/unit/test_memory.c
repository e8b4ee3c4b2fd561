// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"

// A caller's allocator that counts, and fails when told.
typedef struct counting_allocator {
  int allocate_count;
  int release_count;
  size_t last_size;
  bool fails;
} counting_allocator;

static void* counting_allocate(void* user, size_t size, size_t alignment) {
  counting_allocator* counting = user;
  if (counting->fails) return NULL;
  ++counting->allocate_count;
  counting->last_size = size;
  // Dirty on purpose: the library promises zeroed records.
  void* ptr =
      aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (ptr) memset(ptr, 0xa5, size);
  return ptr;
}

static void counting_release(void* user, void* ptr, size_t size) {
  counting_allocator* counting = user;
  ++counting->release_count;
  counting->last_size = size;
  free(ptr);
}

static teg_allocator counting_as_allocator(counting_allocator* counting) {
  return (teg_allocator){counting_allocate, counting_release, counting};
}

static tegi_host default_host(void) {
  tegi_host host;
  assert_int_equal(tegi_host_init(&host, NULL, NULL), TEG_OK);
  return host;
}

static void init_refuses_half_an_allocator(void** state) {
  tegi_host host;
  teg_error err;
  teg_allocator half = {counting_allocate, NULL, NULL};
  assert_int_equal(tegi_host_init(&host, &half, &err), TEG_INVALID);
  assert_non_null(strstr(err.message, "both"));
  half = (teg_allocator){NULL, counting_release, NULL};
  assert_int_equal(tegi_host_init(&host, &half, NULL), TEG_INVALID);
}

static void memory_is_zeroed_aligned_and_counted(void** state) {
  counting_allocator counting = {0};
  teg_allocator allocator = counting_as_allocator(&counting);
  tegi_host host;
  assert_int_equal(tegi_host_init(&host, &allocator, NULL), TEG_OK);
  for (size_t alignment = 8; alignment <= 4096; alignment *= 2) {
    uint8_t* bytes = tegi_host_alloc_aligned(&host, 100, alignment);
    assert_non_null(bytes);
    assert_int_equal((uintptr_t)bytes % alignment, 0);
    for (size_t i = 0; i < 100; ++i) assert_int_equal(bytes[i], 0);
    assert_int_equal(atomic_load(&host.live_bytes), 100);
    tegi_host_free(&host, bytes, 100);
    assert_int_equal(counting.last_size, 100);
    assert_int_equal(atomic_load(&host.live_bytes), 0);
  }
  assert_int_equal(counting.allocate_count, counting.release_count);
}

static void alloc_of_nothing_is_null_and_free_of_null_is_fine(void** state) {
  tegi_host host = default_host();
  assert_null(tegi_host_alloc(&host, 0));
  assert_null(tegi_host_calloc(&host, 0, 8));
  tegi_host_free(&host, NULL, 0);
  assert_int_equal(atomic_load(&host.live_bytes), 0);
}

static void calloc_overflow_is_null(void** state) {
  tegi_host host = default_host();
  assert_null(tegi_host_calloc(&host, SIZE_MAX / 2, 3));
}

static void failed_allocation_counts_nothing(void** state) {
  counting_allocator counting = {.fails = true};
  teg_allocator allocator = counting_as_allocator(&counting);
  tegi_host host;
  assert_int_equal(tegi_host_init(&host, &allocator, NULL), TEG_OK);
  assert_null(tegi_host_alloc(&host, 16));
  assert_null(tegi_host_strdup(&host, "text"));
  assert_int_equal(atomic_load(&host.live_bytes), 0);
}

static void grown_array_keeps_content_and_zeroes_the_rest(void** state) {
  tegi_host host = default_host();
  uint32_t* array = NULL;
  size_t capacity = 0;
  assert_true(tegi_host_grow_array(&host, &array, &capacity, 1, sizeof *array));
  assert_true(capacity >= 1);
  const size_t first = capacity;
  for (size_t i = 0; i < first; ++i) array[i] = (uint32_t)i + 1;
  assert_true(
      tegi_host_grow_array(&host, &array, &capacity, first + 1, sizeof *array));
  for (size_t i = 0; i < first; ++i) assert_int_equal(array[i], i + 1);
  for (size_t i = first; i < capacity; ++i) assert_int_equal(array[i], 0);
  tegi_host_free(&host, array, capacity * sizeof *array);
  assert_int_equal(atomic_load(&host.live_bytes), 0);
}

static void array_that_cannot_grow_stays_as_it_was(void** state) {
  counting_allocator counting = {0};
  teg_allocator allocator = counting_as_allocator(&counting);
  tegi_host host;
  assert_int_equal(tegi_host_init(&host, &allocator, NULL), TEG_OK);
  uint64_t* array = NULL;
  size_t capacity = 0;
  assert_true(tegi_host_grow_array(&host, &array, &capacity, 4, sizeof *array));
  uint64_t* const before = array;
  const size_t before_capacity = capacity;
  counting.fails = true;
  assert_false(
      tegi_host_grow_array(&host, &array, &capacity, 1000, sizeof *array));
  assert_false(
      tegi_host_grow_array(&host, &array, &capacity, SIZE_MAX, sizeof *array));
  assert_ptr_equal(array, before);
  assert_int_equal(capacity, before_capacity);
  tegi_host_free(&host, array, capacity * sizeof *array);
}

static void strdup_copies_the_text(void** state) {
  tegi_host host = default_host();
  const char* text = "a tile";
  char* copy = tegi_host_strdup(&host, text);
  assert_non_null(copy);
  assert_ptr_not_equal(copy, text);
  assert_string_equal(copy, text);
  tegi_host_free(&host, copy, strlen(text) + 1);
  assert_int_equal(atomic_load(&host.live_bytes), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(init_refuses_half_an_allocator),
      cmocka_unit_test(memory_is_zeroed_aligned_and_counted),
      cmocka_unit_test(alloc_of_nothing_is_null_and_free_of_null_is_fine),
      cmocka_unit_test(calloc_overflow_is_null),
      cmocka_unit_test(failed_allocation_counts_nothing),
      cmocka_unit_test(grown_array_keeps_content_and_zeroes_the_rest),
      cmocka_unit_test(array_that_cannot_grow_stays_as_it_was),
      cmocka_unit_test(strdup_copies_the_text),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
