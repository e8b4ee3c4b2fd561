// SPDX-License-Identifier: Apache-2.0
//
// Counted host memory over the caller's allocator. No locks; the counter is
// relaxed because it orders nothing.
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"

static void* default_allocate(void* user, size_t size, size_t alignment) {
  (void)user;
  if (alignment <= _Alignof(max_align_t)) return malloc(size);
  return aligned_alloc(alignment, (size + alignment - 1) & ~(alignment - 1));
}

static void default_release(void* user, void* ptr, size_t size) {
  (void)user;
  (void)size;
  free(ptr);
}

teg_result tegi_host_init(tegi_host* host, const teg_allocator* allocator,
                          teg_error* err) {
  bool has_allocate = allocator && allocator->allocate;
  bool has_release = allocator && allocator->release;
  TEG_REQUIRE(has_allocate == has_release, err,
              "host allocator: give both allocate and release, or neither");
  if (has_allocate) {
    host->allocator = *allocator;
  } else {
    host->allocator = (teg_allocator){default_allocate, default_release, NULL};
  }
  atomic_init(&host->live_bytes, 0);
  return TEG_OK;
}

void* tegi_host_alloc_aligned(tegi_host* host, size_t size, size_t alignment) {
  if (size == 0) return NULL;
  void* ptr = host->allocator.allocate(host->allocator.user, size, alignment);
  if (!ptr) return NULL;
  memset(ptr, 0, size);
  atomic_fetch_add_explicit(&host->live_bytes, size, memory_order_relaxed);
  return ptr;
}

void* tegi_host_alloc(tegi_host* host, size_t size) {
  return tegi_host_alloc_aligned(host, size, _Alignof(max_align_t));
}

void* tegi_host_calloc(tegi_host* host, size_t count, size_t size) {
  size_t total;
  if (__builtin_mul_overflow(count, size, &total)) return NULL;
  return tegi_host_alloc(host, total);
}

void tegi_host_free(tegi_host* host, void* ptr, size_t size) {
  if (!ptr) return;
  host->allocator.release(host->allocator.user, ptr, size);
  atomic_fetch_sub_explicit(&host->live_bytes, size, memory_order_relaxed);
}

int tegi_host_grow_array(tegi_host* host, void* array, size_t* capacity,
                         size_t needed, size_t element_size) {
  if (needed <= *capacity) return 1;
  size_t grown = *capacity ? *capacity : 8;
  while (grown < needed) {
    if (__builtin_mul_overflow(grown, (size_t)2, &grown)) return 0;
  }
  void* old = NULL;
  memcpy(&old, array, sizeof old);
  void* fresh = tegi_host_calloc(host, grown, element_size);
  if (!fresh) return 0;
  if (old) memcpy(fresh, old, *capacity * element_size);
  tegi_host_free(host, old, *capacity * element_size);
  memcpy(array, &fresh, sizeof fresh);
  *capacity = grown;
  return 1;
}

char* tegi_host_strdup(tegi_host* host, const char* text) {
  size_t size = strlen(text) + 1;
  char* copy = tegi_host_alloc(host, size);
  if (copy) memcpy(copy, text, size);
  return copy;
}
