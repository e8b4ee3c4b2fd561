// SPDX-License-Identifier: Apache-2.0
#include "support/subject.h"

#include <dlfcn.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "support/measure.h"
#include "support/vma_block.h"
#include "tegula/tegula.h"

// ---- tegula -----------------------------------------------------------------

typedef struct tegula_subject {
  bench_subject base;
  teg_device* device;
  bool is_owner;  // of the device
  teg_session* session;
  teg_stream* stream;
  teg_buffer_params params;
  teg_error err;
} tegula_subject;

static tegula_subject* as_tegula(bench_subject* self) {
  return (tegula_subject*)(void*)self;
}

static void require(teg_result result, const teg_error* err,
                    const char* subject_name) {
  if (result != TEG_OK) BENCH_FAIL("%s: %s", subject_name, err->message);
}

static teg_options* make_options(const char* policy) {
  teg_options* options = NULL;
  teg_error err;
  require(teg_options_create(NULL, &options, &err), &err, policy);
  require(teg_options_set(options, "policy", policy, &err), &err, policy);
  require(teg_options_set(options, "completion", "told", &err), &err, policy);
  return options;
}

static const bench_subject_ops tegula_ops;

// |device| NULL: one of its own.
static bench_subject* tegula_open(const char* policy, teg_device* device) {
  tegula_subject* self = bench_alloc(1, sizeof *self);
  self->base = (bench_subject){&tegula_ops, policy};
  self->device = device;
  self->is_owner = !device;
  teg_options* options = make_options(policy);
  if (!device) {
    teg_device_params params = TEG_DEVICE_PARAMS_INIT;
    params.options = options;
    require(teg_device_create(&params, &self->device, &self->err), &self->err,
            policy);
  }
  teg_session_params params = TEG_SESSION_PARAMS_INIT;
  params.options = options;
  require(teg_session_create(self->device, &params, &self->session, &self->err),
          &self->err, policy);
  teg_options_destroy(options);
  self->stream = teg_session_stream(self->session);
  self->params = (teg_buffer_params)TEG_BUFFER_PARAMS_INIT;
  self->params.stream = self->stream;
  // As in a replay: a buffer is busy until the batch it was freed in is over.
  self->params.flags = TEG_BUFFER_FOREIGN;
  return &self->base;
}

static bench_subject* tegula_open_beside(bench_subject* first) {
  return tegula_open(first->name, as_tegula(first)->device);
}

static void tegula_close(bench_subject* base) {
  tegula_subject* self = as_tegula(base);
  teg_session_destroy(self->session);
  if (self->is_owner) teg_device_destroy(self->device);
  free(self);
}

static void* tegula_take(bench_subject* base, uint64_t size, int lifetime) {
  tegula_subject* self = as_tegula(base);
  self->params.size = size;
  self->params.lifetime = (teg_lifetime)lifetime;
  teg_buffer* buffer = NULL;
  teg_result result =
      teg_buffer_create(self->session, &self->params, &buffer, &self->err);
  return result == TEG_OK ? buffer : NULL;
}

static void tegula_give(bench_subject* base, void* handle) {
  (void)base;
  teg_buffer_destroy(handle);
}

static void tegula_submit(bench_subject* base) {
  tegula_subject* self = as_tegula(base);
  uint64_t serial = 0;
  teg_result result = teg_stream_submit(self->stream, &serial, &self->err);
  if (result == TEG_OK) {
    result = teg_stream_wait(self->stream, serial, &self->err);
  }
  require(result, &self->err, base->name);
}

static void tegula_run_begin(bench_subject* base) {
  tegula_subject* self = as_tegula(base);
  require(teg_session_run_begin(self->session, &self->err), &self->err,
          base->name);
}

static void tegula_run_end(bench_subject* base) {
  tegula_subject* self = as_tegula(base);
  require(teg_session_run_end(self->session, &self->err), &self->err,
          base->name);
}

static void tegula_trim(bench_subject* base) {
  teg_session_trim(as_tegula(base)->session, TEG_TRIM_ALL);
}

static teg_stats tegula_stats(bench_subject* base) {
  teg_stats stats = {.struct_size = sizeof stats};
  teg_device_get_stats(as_tegula(base)->device, &stats);
  return stats;
}

static uint64_t tegula_outside_ns(bench_subject* base) {
  teg_stats stats = tegula_stats(base);
  return stats.driver_ns + stats.wait_ns;
}

static uint64_t tegula_peak_bytes(bench_subject* base) {
  return tegula_stats(base).peak_reserved_bytes;
}

static const bench_subject_ops tegula_ops = {
    .open_beside = tegula_open_beside,
    .close = tegula_close,
    .take = tegula_take,
    .give = tegula_give,
    .submit = tegula_submit,
    .run_begin = tegula_run_begin,
    .run_end = tegula_run_end,
    .trim = tegula_trim,
    .outside_ns = tegula_outside_ns,
    .peak_bytes = tegula_peak_bytes,
};

// ---- What anchors do not have -----------------------------------------------

static void do_nothing(bench_subject* self) { (void)self; }

static uint64_t zero(bench_subject* self) {
  (void)self;
  return 0;
}

static void close_plain(bench_subject* self) { free(self); }

static bench_subject* open_plain(const bench_subject_ops* ops,
                                 const char* name) {
  bench_subject* self = bench_alloc(1, sizeof *self);
  *self = (bench_subject){ops, name};
  return self;
}

// ---- none -------------------------------------------------------------------

static bench_subject* none_open_beside(bench_subject* first) {
  return open_plain(first->ops, first->name);
}

static void* none_take(bench_subject* self, uint64_t size, int lifetime) {
  (void)size;
  (void)lifetime;
  return self;
}

static void none_give(bench_subject* self, void* handle) {
  (void)self;
  (void)handle;
}

static const bench_subject_ops none_ops = {
    .open_beside = none_open_beside,
    .close = close_plain,
    .take = none_take,
    .give = none_give,
    .submit = do_nothing,
    .run_begin = do_nothing,
    .run_end = do_nothing,
    .trim = do_nothing,
    .outside_ns = zero,
    .peak_bytes = zero,
};

// ---- freelist ---------------------------------------------------------------

enum { RECORD_BYTES = 192, PAGE_RECORDS = 1024 };

typedef struct freelist_subject freelist_subject;

typedef struct free_record {
  struct free_record* next;
  freelist_subject* owner;
  uint64_t size;
  char rest[RECORD_BYTES - 24];
} free_record;

typedef struct record_page {
  struct record_page* next;
  free_record records[PAGE_RECORDS];
} record_page;

struct freelist_subject {
  bench_subject base;
  atomic_flag lock;
  free_record* free;
  record_page* pages;
};

static void lock_freelist(freelist_subject* self) {
  while (atomic_flag_test_and_set_explicit(&self->lock, memory_order_acquire)) {
  }
}

static void unlock_freelist(freelist_subject* self) {
  atomic_flag_clear_explicit(&self->lock, memory_order_release);
}

static const bench_subject_ops freelist_ops;

static bench_subject* freelist_open(const char* name) {
  freelist_subject* self = bench_alloc(1, sizeof *self);
  self->base = (bench_subject){&freelist_ops, name};
  return &self->base;
}

static bench_subject* freelist_open_beside(bench_subject* first) {
  return freelist_open(first->name);
}

static void freelist_close(bench_subject* base) {
  freelist_subject* self = (freelist_subject*)(void*)base;
  while (self->pages) {
    record_page* page = self->pages;
    self->pages = page->next;
    free(page);
  }
  free(self);
}

static void freelist_give(bench_subject* base, void* handle) {
  (void)base;
  free_record* record = handle;
  freelist_subject* self = record->owner;
  lock_freelist(self);
  record->next = self->free;
  self->free = record;
  unlock_freelist(self);
}

static void add_records(freelist_subject* self) {
  record_page* page = bench_alloc(1, sizeof *page);
  page->next = self->pages;
  self->pages = page;
  for (size_t i = PAGE_RECORDS; i-- > 0;) {
    page->records[i].owner = self;
    page->records[i].next = self->free;
    self->free = &page->records[i];
  }
}

static void* freelist_take(bench_subject* base, uint64_t size, int lifetime) {
  (void)lifetime;
  freelist_subject* self = (freelist_subject*)(void*)base;
  lock_freelist(self);
  if (!self->free) add_records(self);
  free_record* record = self->free;
  self->free = record->next;
  unlock_freelist(self);
  record->size = size;
  return record;
}

static const bench_subject_ops freelist_ops = {
    .open_beside = freelist_open_beside,
    .close = freelist_close,
    .take = freelist_take,
    .give = freelist_give,
    .submit = do_nothing,
    .run_begin = do_nothing,
    .run_end = do_nothing,
    .trim = do_nothing,
    .outside_ns = zero,
    .peak_bytes = zero,
};

// ---- malloc -----------------------------------------------------------------

static void* malloc_take(bench_subject* self, uint64_t size, int lifetime) {
  (void)self;
  (void)lifetime;
  return malloc(size);
}

static void malloc_give(bench_subject* self, void* handle) {
  (void)self;
  free(handle);
}

static const bench_subject_ops malloc_ops = {
    .open_beside = none_open_beside,
    .close = close_plain,
    .take = malloc_take,
    .give = malloc_give,
    .submit = do_nothing,
    .run_begin = do_nothing,
    .run_end = do_nothing,
    .trim = do_nothing,
    .outside_ns = zero,
    .peak_bytes = zero,
};

// ---- vma --------------------------------------------------------------------

// Far more than any trace needs: the block never ends the search.
#define VMA_BLOCK_BYTES (UINT64_C(1) << 40)
enum { VMA_ALIGNMENT = 256 };  // what tegula's host device rounds to

typedef struct vma_subject {
  bench_subject base;
  void* block;
  uint64_t high_water;
} vma_subject;

static const vma_block_ops* vma;

static void load_vma(const char* path) {
  void* module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!module) BENCH_FAIL("vma: %s", dlerror());
  vma = dlsym(module, VMA_BLOCK_SYMBOL);
  if (!vma) BENCH_FAIL("vma: %s", dlerror());
}

static vma_subject* as_vma(bench_subject* self) {
  return (vma_subject*)(void*)self;
}

static const bench_subject_ops vma_ops;

static bench_subject* vma_open(const char* name) {
  vma_subject* self = bench_alloc(1, sizeof *self);
  self->base = (bench_subject){&vma_ops, name};
  self->block = vma->open(VMA_BLOCK_BYTES);
  if (!self->block) BENCH_FAIL("vma: no memory");
  return &self->base;
}

static bench_subject* vma_open_beside(bench_subject* first) {
  return vma_open(first->name);
}

static void vma_close(bench_subject* base) {
  vma->close(as_vma(base)->block);
  free(base);
}

static void* vma_take(bench_subject* base, uint64_t size, int lifetime) {
  (void)lifetime;
  vma_subject* self = as_vma(base);
  uint64_t offset = 0;
  void* handle = vma->take(self->block, size, VMA_ALIGNMENT, &offset);
  if (offset + size > self->high_water) self->high_water = offset + size;
  return handle;
}

static void vma_give(bench_subject* base, void* handle) {
  vma->give(as_vma(base)->block, handle);
}

static uint64_t vma_peak_bytes(bench_subject* base) {
  return as_vma(base)->high_water;
}

static const bench_subject_ops vma_ops = {
    .open_beside = vma_open_beside,
    .close = vma_close,
    .take = vma_take,
    .give = vma_give,
    .submit = do_nothing,
    .run_begin = do_nothing,
    .run_end = do_nothing,
    .trim = do_nothing,
    .outside_ns = zero,
    .peak_bytes = vma_peak_bytes,
};

// ---- Names ------------------------------------------------------------------

bool subject_is_policy(const char* name) {
  const teg_policy_info* info;
  for (size_t i = 0; (info = teg_policy_at(i)); ++i) {
    if (strcmp(info->name, name) == 0) return true;
  }
  return false;
}

static void add_name(subject_names* names, const char* name) {
  if (names->count == sizeof names->at / sizeof names->at[0]) {
    BENCH_FAIL("too many subjects");
  }
  names->at[names->count++] = name;
}

static void add_named(subject_names* names, const char* name) {
  bool is_anchor = strcmp(name, "malloc") == 0 ||
                   strcmp(name, "freelist") == 0 || strcmp(name, "none") == 0;
  if (strcmp(name, "vma") == 0) {
    if (!vma) BENCH_FAIL("vma: its module is not given (--vma MODULE)");
  } else if (!is_anchor && !subject_is_policy(name)) {
    BENCH_FAIL("\"%s\" is no policy and no anchor", name);
  }
  add_name(names, name);
}

subject_names subject_choose(const char* list, const char* vma_module) {
  // For malloc as an anchor; the library's records come from the same heap.
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, -1);
  if (vma_module) load_vma(vma_module);
  subject_names names = {.count = 0};
  if (list) {
    char* rest = strdup(list);
    char* name;
    while ((name = strsep(&rest, ","))) add_named(&names, name);
    return names;
  }
  const teg_policy_info* info;
  for (size_t i = 0; (info = teg_policy_at(i)); ++i) {
    if (strcmp(info->name, "auto") != 0) add_name(&names, info->name);
  }
  add_name(&names, "malloc");
  if (vma) add_name(&names, "vma");
  add_name(&names, "freelist");
  add_name(&names, "none");
  return names;
}

bench_subject* subject_open(const char* name) {
  if (strcmp(name, "vma") == 0) return vma_open(name);
  if (strcmp(name, "malloc") == 0) return open_plain(&malloc_ops, name);
  if (strcmp(name, "freelist") == 0) return freelist_open(name);
  if (strcmp(name, "none") == 0) return open_plain(&none_ops, name);
  return tegula_open(name, NULL);
}
