// SPDX-License-Identifier: Apache-2.0
//
// Host memory for the library's own records, through the caller's allocator,
// counted so that the library can say what it costs.
#ifndef TEGULA_BASE_MEMORY_H
#define TEGULA_BASE_MEMORY_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "tegula/result.h"

// What two threads write is apart by this much, or the one waits for the other.
enum { TEGI_CACHE_LINE = 64 };

// A caller's allocator with a running count of the bytes it holds.
// One per device or per stand-alone object; shared by pointer, any thread.
typedef struct tegi_host {
  teg_allocator allocator;  // never with NULL functions after init
  _Atomic uint64_t live_bytes;
} tegi_host;

// Takes |allocator| (NULL or all-zero: malloc). TEG_INVALID if only one of
// the two functions is given.
teg_result tegi_host_init(tegi_host* host, const teg_allocator* allocator,
                          teg_error* err);

// Zeroed memory, or NULL. |size| 0 gives NULL.
void* tegi_host_alloc(tegi_host* host, size_t size);
void* tegi_host_alloc_aligned(tegi_host* host, size_t size, size_t alignment);
// As calloc; NULL on overflow as well.
void* tegi_host_calloc(tegi_host* host, size_t count, size_t size);
// |size| as given to alloc. NULL is fine.
void tegi_host_free(tegi_host* host, void* ptr, size_t size);

// Grows an array of |*capacity| elements to hold at least |needed|, doubling;
// keeps the content, new elements are zero. False on failure, array as it was.
// |array| points at the array pointer.
int tegi_host_grow_array(tegi_host* host, void* array, size_t* capacity,
                         size_t needed, size_t element_size);

// A copy of |text|; freed with tegi_host_free(ptr, strlen + 1).
char* tegi_host_strdup(tegi_host* host, const char* text);

#endif  // TEGULA_BASE_MEMORY_H
