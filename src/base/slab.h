// SPDX-License-Identifier: Apache-2.0
//
// Records of one size from pages of the host allocator. Taking one is a pop
// of a free list; pages go back only when the slab is destroyed. No lock: the
// owner's lock guards it.
#ifndef TEGULA_BASE_SLAB_H
#define TEGULA_BASE_SLAB_H

#include <stddef.h>

#include "base/memory.h"

typedef struct tegi_slab_page tegi_slab_page;

typedef struct tegi_slab {
  tegi_host* host;
  size_t record_size;  // multiple of 64
  size_t next_page_records;
  void* free_list;  // first word of a free record links to the next
  tegi_slab_page* pages;
  size_t used_count;
} tegi_slab;

// |record_size| is rounded up to 64 bytes, so that records share no line.
void tegi_slab_init(tegi_slab* slab, tegi_host* host, size_t record_size);
void tegi_slab_destroy(tegi_slab* slab);

// Makes sure that the next |count| takes succeed. 0 on failure.
int tegi_slab_reserve(tegi_slab* slab, size_t count);

// Calls |visit| for every record of every page, used or free: a free one is
// zero or as it was given back, save for its first word.
void tegi_slab_each(tegi_slab* slab, void (*visit)(void* user, void* record),
                    void* user);

// The content is undefined. NULL when the host has no memory.
static inline void* tegi_slab_take(tegi_slab* slab) {
  if (!slab->free_list && !tegi_slab_reserve(slab, 1)) return NULL;
  void* record = slab->free_list;
  slab->free_list = *(void**)record;
  slab->used_count++;
  return record;
}

static inline void tegi_slab_give(tegi_slab* slab, void* record) {
  *(void**)record = slab->free_list;
  slab->free_list = record;
  slab->used_count--;
}

#endif  // TEGULA_BASE_SLAB_H
