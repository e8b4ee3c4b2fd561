// SPDX-License-Identifier: Apache-2.0
//
// Pages of records. Page sizes double from 32 records to 1024, so that a small
// session stays small. Invariant: every record is either used or on the free
// list; used_count counts the former.
#include "base/slab.h"

enum { FIRST_PAGE_RECORDS = 32, LARGEST_PAGE_RECORDS = 1024 };

struct tegi_slab_page {
  tegi_slab_page* next;
  size_t bytes;
  size_t record_count;
};

enum { PAGE_HEADER_BYTES = 64 };
_Static_assert(sizeof(tegi_slab_page) <= PAGE_HEADER_BYTES, "header fits");

void tegi_slab_init(tegi_slab* slab, tegi_host* host, size_t record_size) {
  *slab = (tegi_slab){
      .host = host,
      .record_size = (record_size + 63) & ~(size_t)63,
      .next_page_records = FIRST_PAGE_RECORDS,
  };
}

void tegi_slab_destroy(tegi_slab* slab) {
  while (slab->pages) {
    tegi_slab_page* page = slab->pages;
    slab->pages = page->next;
    tegi_host_free(slab->host, page, page->bytes);
  }
  slab->free_list = NULL;
}

static int add_page(tegi_slab* slab) {
  size_t records = slab->next_page_records;
  size_t bytes = PAGE_HEADER_BYTES + records * slab->record_size;
  tegi_slab_page* page = tegi_host_alloc_aligned(slab->host, bytes, 64);
  if (!page) return 0;
  *page = (tegi_slab_page){slab->pages, bytes, records};
  slab->pages = page;
  char* first = (char*)page + PAGE_HEADER_BYTES;
  for (size_t i = records; i-- > 0;) {
    void* record = first + i * slab->record_size;
    *(void**)record = slab->free_list;
    slab->free_list = record;
  }
  if (records < LARGEST_PAGE_RECORDS) slab->next_page_records = records * 2;
  return 1;
}

int tegi_slab_reserve(tegi_slab* slab, size_t count) {
  size_t available = 0;
  for (void* free = slab->free_list; free && available < count;
       free = *(void**)free) {
    available++;
  }
  while (available < count) {
    size_t records = slab->next_page_records;
    if (!add_page(slab)) return 0;
    available += records;
  }
  return 1;
}

void tegi_slab_each(tegi_slab* slab, void (*visit)(void* user, void* record),
                    void* user) {
  for (tegi_slab_page* page = slab->pages; page; page = page->next) {
    char* first = (char*)page + PAGE_HEADER_BYTES;
    for (size_t i = 0; i < page->record_count; ++i) {
      visit(user, first + i * slab->record_size);
    }
  }
}
