// SPDX-License-Identifier: Apache-2.0
//
// paged: ranges of pages, split and merged; empty pages go back. Three rules
// keep it tight without remapping (docs/policies.md has what each one buys):
//   - holes in pages that hold something come first, so that pages drain
//   - a large empty page opens only for a request of at least half of it
//   - before more is reserved than the slack allows, empty pages are given
//     back, coldest first; then the page is made, whatever it takes
//
// A page is a chunk of one hole or more. Chunks without a used block are
// "empty": their hole is in |empty_holes| and they are in the cold list, in
// the order in which they fell empty. All other holes are in |holes|.
#include "base/error.h"
#include "policy/policy.h"
#include "range/arena.h"

enum { PAGE_DIVISOR = 16, MOST_PASSED = 16, MOST_WAITS = 1024 };

// Which table a hole is in: block.bin.
enum { IN_HOLES = 0, IN_EMPTY_HOLES = 1 };

// Empty pages larger than this are kept for requests of half their size.
#define LARGE_PAGE_BYTES (UINT64_C(32) << 20)
// Pages made for one request are rounded up to this.
#define OWN_PAGE_GRANULE UINT64_C(65536)

typedef struct paged_policy {
  tegi_policy base;
  tegi_policy_env env;
  tegi_bins* holes;
  tegi_bins* empty_holes;
  tegi_slab chunks;
  tegi_chunk* pages;
  tegi_chunk* coldest;
  tegi_chunk* hottest;
  uint64_t page_bytes;
} paged_policy;

static paged_policy* cast(tegi_policy* policy) { return (paged_policy*)policy; }

// ---- Life ------------------------------------------------------------------

static void free_policy(paged_policy* self) {
  tegi_host* host = self->env.host;
  tegi_slab_destroy(&self->chunks);
  tegi_host_free(host, self->holes, sizeof *self->holes);
  tegi_host_free(host, self->empty_holes, sizeof *self->empty_holes);
  tegi_host_free(host, self, sizeof *self);
}

static teg_result create(const tegi_policy_env* env, tegi_policy** out_policy,
                         teg_error* err) {
  paged_policy* self = tegi_host_alloc(env->host, sizeof *self);
  if (self) {
    tegi_slab_init(&self->chunks, env->host, sizeof(tegi_chunk));
    self->env = *env;
    self->holes = tegi_host_alloc(env->host, sizeof *self->holes);
    self->empty_holes = tegi_host_alloc(env->host, sizeof *self->empty_holes);
  }
  if (!self || !self->holes || !self->empty_holes) {
    if (self) free_policy(self);
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "policy paged: no host memory");
  }
  self->base.ops = &tegi_policy_paged;
  *out_policy = &self->base;
  return TEG_OK;
}

// ---- The cold list ---------------------------------------------------------

static void cold_append(paged_policy* self, tegi_chunk* page) {
  page->is_cold = true;
  page->unused_runs = 0;
  page->cold_prev = self->hottest;
  page->cold_next = NULL;
  if (self->hottest) {
    self->hottest->cold_next = page;
  } else {
    self->coldest = page;
  }
  self->hottest = page;
}

static void cold_remove(paged_policy* self, tegi_chunk* page) {
  page->is_cold = false;
  if (page->cold_prev) {
    page->cold_prev->cold_next = page->cold_next;
  } else {
    self->coldest = page->cold_next;
  }
  if (page->cold_next) {
    page->cold_next->cold_prev = page->cold_prev;
  } else {
    self->hottest = page->cold_prev;
  }
}

// ---- Take and give ---------------------------------------------------------

// Puts a free block where it belongs.
static void bin_hole(paged_policy* self, tegi_block* hole) {
  tegi_chunk* page = hole->chunk;
  bool is_empty = page->used_count == 0;
  hole->bin = is_empty ? IN_EMPTY_HOLES : IN_HOLES;
  tegi_bins_insert(is_empty ? self->empty_holes : self->holes, hole,
                   hole->size);
  if (is_empty && !page->is_cold) cold_append(self, page);
}

// An empty page may have more than one hole, where the host had no memory to
// merge them: then some are in the other table.
static void unbin_hole(void* user, tegi_block* hole) {
  paged_policy* self = user;
  tegi_bins_remove(
      hole->bin == IN_EMPTY_HOLES ? self->empty_holes : self->holes, hole);
}

// The low end of |hole| becomes a block. NULL without host memory.
static tegi_block* cut_low(paged_policy* self, tegi_block* hole,
                           uint64_t size) {
  tegi_chunk* page = hole->chunk;
  tegi_prune_hole(self->env.source, hole);
  unbin_hole(self, hole);
  tegi_block* low;
  tegi_block* high;
  tegi_block* block = tegi_arena_cut(self->env.host, self->env.blocks, hole,
                                     hole->offset, size, &low, &high);
  if (!block) {
    bin_hole(self, hole);
    return NULL;
  }
  if (page->is_cold) cold_remove(self, page);
  if (high) bin_hole(self, high);
  return block;
}

typedef struct search {
  paged_policy* self;
  uint64_t size;
  tegi_stream_id stream;
} search;

static bool fits_page(const tegi_block* hole, uint64_t size) {
  uint64_t page_bytes = hole->chunk->bytes;
  return page_bytes <= LARGE_PAGE_BYTES || page_bytes <= 2 * size;
}

static bool may_take(void* user, const tegi_block* hole) {
  const search* wanted = user;
  return tegi_may_reuse(wanted->self->env.source, &hole->use, wanted->stream);
}

static bool may_take_empty(void* user, const tegi_block* hole) {
  const search* wanted = user;
  return fits_page(hole, wanted->size) && may_take(user, hole);
}

static tegi_block* take(tegi_policy* policy, const tegi_request* request) {
  paged_policy* self = cast(policy);
  search wanted = {self, tegi_max_u64(request->size, request->max_size),
                   request->stream};
  tegi_block* hole = tegi_bins_find(self->holes, wanted.size, NULL, NULL);
  if (hole && !may_take(&wanted, hole)) {
    hole = tegi_bins_find(self->holes, wanted.size, may_take, &wanted);
  }
  if (!hole) {
    hole =
        tegi_bins_find(self->empty_holes, wanted.size, may_take_empty, &wanted);
  }
  return hole ? cut_low(self, hole, wanted.size) : NULL;
}

static void give(tegi_policy* policy, tegi_block* block) {
  paged_policy* self = cast(policy);
  block = tegi_arena_merge(self->env.host, self->env.blocks, block, unbin_hole,
                           self);
  tegi_prune_hole(self->env.source, block);
  bin_hole(self, block);
}

// ---- Pages -----------------------------------------------------------------

static tegi_slack slack_of(const paged_policy* self) {
  // Half of the slack: holes inside of pages take the other half.
  uint32_t percent = self->env.options->slack_percent;
  return (tegi_slack){.of_all_percent = percent / 2,
                      .of_run_percent = percent * 2};
}

// Takes the records of an empty page apart and retires its heap. Locked. The
// page is one hole, or nothing of the session is pending any more.
static void drop_page(paged_policy* self, tegi_chunk* page) {
  tegi_use_set use = {0};
  tegi_block* whole = tegi_arena_whole(page);
  for (tegi_block* hole = page->first; hole; hole = hole->next) {
    unbin_hole(self, hole);
  }
  if (whole) {
    use = whole->use;
    whole->use = (tegi_use_set){0};
  }
  cold_remove(self, page);
  tegi_arena_end(self->env.host, self->env.blocks, page);
  if (page->prev) {
    page->prev->next = page->next;
  } else {
    self->pages = page->next;
  }
  if (page->next) page->next->prev = page->prev;
  self->page_bytes -= page->bytes;
  self->env.source->ops->retire(self->env.source, page->extent, &use);
  tegi_slab_give(&self->chunks, page);
}

// Whether nothing can touch an empty page any more.
typedef enum settled {
  SETTLED,   // nothing can
  WAITED,    // the lock was let go for a wait: look again
  UNSETTLED  // something can, and it cannot be waited for
} settled;

// Makes an empty page idle, waiting if |may_wait|. Locked on entry and return.
static settled settle(paged_policy* self, tegi_chunk* page, bool may_wait,
                      tegi_stream_id stream) {
  tegi_source* source = self->env.source;
  tegi_block* hole = tegi_arena_whole(page);
  if (!hole) return UNSETTLED;
  tegi_verdict verdict =
      source->ops->check(source, &hole->use, TEGI_WRITE_HOST, stream);
  if (verdict == TEGI_REUSE_NOW) return SETTLED;
  if (!may_wait || verdict == TEGI_REUSE_NEVER) return UNSETTLED;
  tegi_use_set use;
  if (!tegi_use_copy(self->env.host, &use, &hole->use)) return UNSETTLED;
  tegi_lock_release(self->env.lock);
  teg_result result = source->ops->wait(source, &use, stream, NULL);
  tegi_use_clear(self->env.host, &use);
  tegi_lock_acquire(self->env.lock);
  return result == TEG_OK ? WAITED : UNSETTLED;
}

// Gives empty pages back, coldest first, until |wanted| bytes are gone or none
// is left that may go. A page that another stream has recorded on is passed
// over, a few times. Growth mutex held, not locked.
static uint64_t give_back(paged_policy* self, uint64_t wanted, bool may_wait,
                          tegi_stream_id stream) {
  uint64_t bytes = 0;
  uint32_t passed = 0;
  uint32_t waits = 0;
  tegi_lock_acquire(self->env.lock);
  tegi_chunk* page = self->coldest;
  while (bytes < wanted && page && passed < MOST_PASSED) {
    tegi_chunk* next = page->cold_next;
    switch (settle(self, page, may_wait && waits < MOST_WAITS, stream)) {
      case SETTLED:
        bytes += page->bytes;
        drop_page(self, page);
        page = next;
        break;
      case WAITED:
        // While it waited any page may have been taken or have fallen empty.
        waits++;
        passed = 0;
        page = self->coldest;
        break;
      case UNSETTLED:
        passed++;
        page = next;
        break;
    }
  }
  tegi_lock_release(self->env.lock);
  self->env.source->ops->collect(self->env.source);
  return bytes;
}

// The bytes of the next page, and what has to go back before it is made.
static uint64_t page_size(const paged_policy* self, uint64_t size,
                          uint64_t* out_excess) {
  const tegi_policy_options* options = self->env.options;
  uint64_t step =
      tegi_max_u64(self->page_bytes / PAGE_DIVISOR, options->page_min_bytes);
  step = tegi_min_u64(step, options->page_max_bytes);
  uint64_t granule =
      tegi_max_u64(OWN_PAGE_GRANULE, self->env.caps->buffer_granularity);
  uint64_t own = tegi_align_up(size, granule);
  uint64_t want = tegi_align_up(step, granule);
  if (want < size) want = own;
  tegi_slack slack = slack_of(self);
  slack.pending_bytes = size;
  uint64_t room = self->env.source->ops->headroom(self->env.source, &slack);
  if (want > room && want > own) {
    uint64_t least =
        tegi_align_up(tegi_max_u64(room, options->page_min_bytes), granule);
    want = tegi_min_u64(want, tegi_max_u64(own, least));
  }
  *out_excess = want > room ? want - room : 0;
  return want;
}

// Enters a new page and cuts |size| bytes off it. Locked. NULL without host
// memory: the page is then retired.
static tegi_block* open_page(paged_policy* self, tegi_extent* extent,
                             uint64_t size) {
  tegi_chunk* page = tegi_slab_take(&self->chunks);
  tegi_block* hole = NULL;
  if (page) {
    *page = (tegi_chunk){
        .extent = extent, .bytes = extent->bytes, .is_placed = true};
    hole = tegi_arena_begin(self->env.blocks, page, self->env.policy_index);
    if (!hole) tegi_slab_give(&self->chunks, page);
  }
  if (!hole) {
    tegi_use_set none = {0};
    self->env.source->ops->retire(self->env.source, extent, &none);
    return NULL;
  }
  page->next = self->pages;
  if (page->next) page->next->prev = page;
  self->pages = page;
  self->page_bytes += page->bytes;
  bin_hole(self, hole);
  return cut_low(self, hole, size);
}

static teg_result add_page(paged_policy* self, uint64_t bytes, uint64_t size,
                           tegi_block** out_block, teg_error* err) {
  tegi_source* source = self->env.source;
  tegi_extent* extent;
  teg_result result = source->ops->heap_create(source, bytes, &extent, err);
  if (result != TEG_OK) return result;
  tegi_lock_acquire(self->env.lock);
  *out_block = open_page(self, extent, size);
  tegi_lock_release(self->env.lock);
  if (*out_block) return TEG_OK;
  return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                        "policy paged: no host memory for the records of a "
                        "page");
}

static teg_result grow(tegi_policy* policy, const tegi_request* request,
                       tegi_block** out_block, teg_error* err) {
  paged_policy* self = cast(policy);
  *out_block = NULL;
  uint64_t size = tegi_max_u64(request->size, request->max_size);
  uint64_t excess;
  uint64_t bytes = page_size(self, size, &excess);
  if (excess > 0) {
    uint64_t given = give_back(self, excess, true, request->stream);
    if (given < excess) {
      tegi_source* source = self->env.source;
      (void)source->ops->trim_idle(source, excess - given);
    }
  }
  teg_result result = add_page(self, bytes, size, out_block, err);
  uint64_t own = tegi_align_up(size, OWN_PAGE_GRANULE);
  if (result == TEG_OK || result == TEG_OUT_OF_HOST_MEMORY || bytes <= own) {
    return result;
  }
  return add_page(self, own, size, out_block, err);
}

static void exchange(tegi_policy* policy, tegi_block* a, tegi_block* b) {
  (void)policy;
  tegi_arena_exchange(a, b);
}

// ---- Trim and age ----------------------------------------------------------

static uint64_t trim(tegi_policy* policy, uint64_t wanted, bool is_idle_only,
                     tegi_stream_id stream) {
  return give_back(cast(policy), wanted, !is_idle_only, stream);
}

static void run_end(tegi_policy* policy, tegi_stream_id stream) {
  paged_policy* self = cast(policy);
  tegi_lock_acquire(self->env.lock);
  for (tegi_chunk* page = self->coldest; page; page = page->cold_next) {
    page->unused_runs++;
  }
  uint32_t age = self->env.options->age_runs;
  tegi_chunk* page = self->coldest;
  uint32_t passed = 0;
  while (page && page->unused_runs > age && passed < MOST_PASSED) {
    tegi_chunk* next = page->cold_next;
    if (settle(self, page, false, stream) == SETTLED) {
      drop_page(self, page);
    } else {
      passed++;
    }
    page = next;
  }
  tegi_lock_release(self->env.lock);
}

static void destroy(tegi_policy* policy) {
  paged_policy* self = cast(policy);
  while (self->coldest) drop_page(self, self->coldest);
  free_policy(self);
}

static teg_result validate(tegi_policy* policy, teg_error* err) {
  paged_policy* self = cast(policy);
  uint64_t hole_count = 0;
  uint64_t bytes = 0;
  for (const tegi_chunk* page = self->pages; page; page = page->next) {
    teg_result result = tegi_arena_validate(page, err);
    if (result != TEG_OK) return result;
    if (page->is_cold != (page->used_count == 0)) {
      return tegi_error_set(err, TEG_BAD_STATE,
                            "paged: a page with %u used blocks is%s in the "
                            "cold list",
                            page->used_count, page->is_cold ? "" : " not");
    }
    for (const tegi_block* block = page->first; block; block = block->next) {
      if (block->state == TEGI_BLOCK_FREE) hole_count++;
    }
    bytes += page->bytes;
  }
  if (hole_count == self->holes->count + self->empty_holes->count &&
      bytes == self->page_bytes) {
    return TEG_OK;
  }
  return tegi_error_set(err, TEG_BAD_STATE,
                        "paged: the bins or the page bytes are miscounted");
}

const tegi_policy_ops tegi_policy_paged = {
    .name = "paged",
    .keeps = "ranges of pages, split and merged; empty pages go back",
    .create = create,
    .destroy = destroy,
    .take = take,
    .give = give,
    .grow = grow,
    .trim = trim,
    .run_end = run_end,
    .exchange = exchange,
    .validate = validate,
};
