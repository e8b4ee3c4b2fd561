// SPDX-License-Identifier: Apache-2.0
//
// Buffers by size class. Each class's list is in the order in which buffers
// were given back, the latest first: the latest is warm, the last is the first
// to go.
#include "policy/dynamic_shelf.h"

#include <inttypes.h>
#include <string.h>

#include "base/error.h"

// Below the bounds and above them there is one entry each.
static size_t items_bytes(const tegi_shelf* shelf) {
  return (shelf->capacity + 2u) * sizeof *shelf->items;
}

bool tegi_shelf_init(tegi_shelf* shelf, tegi_host* host, uint32_t capacity) {
  *shelf = (tegi_shelf){.generation = 1, .capacity = capacity};
  shelf->items = tegi_host_alloc(host, items_bytes(shelf));
  shelf->spare = tegi_host_alloc(host, items_bytes(shelf));
  if (shelf->items && shelf->spare) return true;
  tegi_shelf_deinit(shelf, host);
  return false;
}

void tegi_shelf_deinit(tegi_shelf* shelf, tegi_host* host) {
  tegi_host_free(host, shelf->items, items_bytes(shelf));
  tegi_host_free(host, shelf->spare, items_bytes(shelf));
  *shelf = (tegi_shelf){0};
}

uint32_t tegi_shelf_floor(const tegi_shelf* shelf, uint64_t size) {
  uint32_t low = 0;
  uint32_t high = shelf->class_count;
  while (low < high) {
    uint32_t middle = (low + high + 1) / 2;
    if (shelf->items[middle].bound <= size) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

uint32_t tegi_shelf_ceiling(const tegi_shelf* shelf, uint64_t size) {
  uint32_t floor = tegi_shelf_floor(shelf, size);
  bool is_exact = floor > 0 && shelf->items[floor].bound == size;
  return is_exact ? floor : floor + 1;
}

// ---- Changing the classes --------------------------------------------------

static tegi_block* merge_lists(tegi_block* a, tegi_block* b) {
  tegi_block* head = NULL;
  tegi_block** end = &head;
  while (a && b) {
    tegi_block** latest = a->cold_since > b->cold_since ? &a : &b;
    *end = *latest;
    end = &(*latest)->bin_next;
    *latest = *end;
  }
  *end = a ? a : b;
  return head;
}

// All free buffers in one list, the latest first. The classes' own lists are
// used up.
static tegi_block* gather_free(tegi_shelf_class* items, uint32_t count) {
  for (uint32_t step = 1; step < count; step *= 2) {
    for (uint32_t i = 0; i + step < count; i += 2 * step) {
      items[i].free.newest =
          merge_lists(items[i].free.newest, items[i + step].free.newest);
    }
  }
  return items[0].free.newest;
}

static void file_oldest(tegi_shelf* shelf, tegi_block* block) {
  tegi_shelf_class* entry = &shelf->items[block->bin];
  block->bin_prev = entry->free.oldest;
  block->bin_next = NULL;
  if (entry->free.oldest) {
    entry->free.oldest->bin_next = block;
  } else {
    entry->free.newest = block;
    shelf->filled[block->bin / 64] |= UINT64_C(1) << block->bin % 64;
  }
  entry->free.oldest = block;
  entry->free.count++;
}

static void carry_limits(tegi_shelf* shelf, const tegi_shelf_class* old,
                         uint32_t old_count) {
  for (uint32_t i = 0; i <= old_count; ++i) {
    tegi_shelf_class* entry =
        &shelf->items[tegi_shelf_floor(shelf, old[i].bound)];
    entry->peak += old[i].peak;
    entry->window_peak += old[i].window_peak;
    entry->limit += old[i].limit;
    entry->is_held |= old[i].is_held;
  }
}

void tegi_shelf_set_bounds(tegi_shelf* shelf, const uint64_t* bounds,
                           uint32_t count) {
  TEG_ASSERT(count <= shelf->capacity);
  tegi_shelf_class* old = shelf->items;
  uint32_t old_count = shelf->class_count;
  tegi_block* free_list = gather_free(old, old_count + 1);
  shelf->items = shelf->spare;
  shelf->spare = old;
  memset(shelf->items, 0, items_bytes(shelf));
  memset(shelf->filled, 0, sizeof shelf->filled);
  shelf->class_count = count;
  for (uint32_t i = 0; i < count; ++i) shelf->items[i + 1].bound = bounds[i];
  for (tegi_block* block = shelf->all; block; block = block->next) {
    block->bin = (uint16_t)tegi_shelf_floor(shelf, block->size);
    if (block->state == TEGI_BLOCK_USED) shelf->items[block->bin].used_count++;
  }
  while (free_list) {
    tegi_block* block = free_list;
    free_list = block->bin_next;
    file_oldest(shelf, block);
  }
  carry_limits(shelf, old, old_count);
  if (++shelf->generation == 0) shelf->generation = 1;
}

void tegi_shelf_get_bounds(const tegi_shelf* shelf, uint64_t* out_bounds) {
  for (uint32_t i = 0; i < shelf->class_count; ++i) {
    out_bounds[i] = shelf->items[i + 1].bound;
  }
}

bool tegi_shelf_add_bound(tegi_shelf* shelf, uint64_t bound, uint64_t old) {
  uint64_t bounds[TEGI_SHELF_MOST_CLASSES + 1];
  uint32_t count = 0;
  bool is_in = false;
  for (uint32_t i = 1; i <= shelf->class_count; ++i) {
    uint64_t present = shelf->items[i].bound;
    if (!is_in && present >= bound) {
      bounds[count++] = bound;
      is_in = true;
    }
    if (present != bound && present != old) bounds[count++] = present;
  }
  if (!is_in) bounds[count++] = bound;
  if (count > shelf->capacity) return false;
  tegi_shelf_set_bounds(shelf, bounds, count);
  return true;
}

// ---- Buffers ---------------------------------------------------------------

void tegi_shelf_add(tegi_shelf* shelf, tegi_block* block) {
  block->bin = (uint16_t)tegi_shelf_floor(shelf, block->size);
  block->prev = NULL;
  block->next = shelf->all;
  if (shelf->all) shelf->all->prev = block;
  shelf->all = block;
  tegi_shelf_class* entry = &shelf->items[block->bin];
  if (++entry->used_count > entry->peak) entry->peak = entry->used_count;
  shelf->held_bytes += block->size;
  shelf->used_bytes += block->size;
  block->state = TEGI_BLOCK_USED;
}

void tegi_shelf_remove(tegi_shelf* shelf, tegi_block* block) {
  TEG_ASSERT(block->state == TEGI_BLOCK_FREE);
  tegi_shelf_class* entry = &shelf->items[block->bin];
  tegi_free_list_remove(&entry->free, block);
  if (!entry->free.newest) {
    shelf->filled[block->bin / 64] &= ~(UINT64_C(1) << block->bin % 64);
  }
  if (block->prev) {
    block->prev->next = block->next;
  } else {
    shelf->all = block->next;
  }
  if (block->next) block->next->prev = block->prev;
  block->prev = block->next = NULL;
  shelf->held_bytes -= block->size;
}

// The first class from |class_index| on that has free buffers.
static uint32_t next_filled(const tegi_shelf* shelf, uint32_t class_index) {
  uint32_t word = class_index / 64;
  uint64_t bits = shelf->filled[word] & (~UINT64_C(0) << class_index % 64);
  while (bits == 0) {
    if (++word == TEGI_SHELF_WORDS) return UINT32_MAX;
    bits = shelf->filled[word];
  }
  return word * 64 + tegi_low_bit(bits);
}

tegi_block* tegi_shelf_find(const tegi_shelf* shelf, uint32_t class_index,
                            uint64_t size, uint64_t most, tegi_source* source,
                            tegi_stream_id stream) {
  enum { LOOKS_A_CLASS = 32 };
  tegi_block* best = NULL;
  uint32_t index = next_filled(shelf, class_index - 1);
  while (index != UINT32_MAX) {
    const tegi_shelf_class* entry = &shelf->items[index];
    if (entry->bound > most) break;
    tegi_block* block = entry->free.newest;
    for (int i = 0; i < LOOKS_A_CLASS && block; ++i) {
      if (block->size >= size && block->size <= most &&
          tegi_may_reuse(source, &block->use, stream)) {
        if (block->size == size) return block;
        best = block;
        most = block->size - 1;
      }
      block = block->bin_next;
    }
    index = next_filled(shelf, index + 1);
  }
  return best;
}

// ---- Limits ----------------------------------------------------------------

void tegi_shelf_end_epoch(tegi_shelf* shelf, bool is_window_over) {
  for (uint32_t i = 0; i <= shelf->class_count; ++i) {
    tegi_shelf_class* entry = &shelf->items[i];
    if (entry->window_peak < entry->peak) entry->window_peak = entry->peak;
    if (is_window_over) {
      entry->limit = entry->window_peak;
      entry->window_peak = 0;
    }
    uint32_t keep = entry->limit;
    if (keep < entry->window_peak) keep = entry->window_peak;
    if (keep < entry->peak) keep = entry->peak;
    entry->keep_count = keep;
    entry->peak = entry->used_count;
  }
}

uint32_t tegi_shelf_surplus(const tegi_shelf* shelf, uint32_t class_index) {
  const tegi_shelf_class* entry = &shelf->items[class_index];
  uint32_t held = entry->free.count + entry->used_count;
  uint32_t surplus = held > entry->keep_count ? held - entry->keep_count : 0;
  return surplus < entry->free.count ? surplus : entry->free.count;
}

// ---- Validity --------------------------------------------------------------

static teg_result wrong(teg_error* err, const char* what, uint64_t where) {
  return tegi_error_set(err, TEG_BAD_STATE, "dynamic: %s (%" PRIu64 ")", what,
                        where);
}

static teg_result validate_class(const tegi_shelf* shelf, uint32_t index,
                                 teg_error* err) {
  const tegi_shelf_class* entry = &shelf->items[index];
  uint64_t at = entry->bound;
  if (index == 0 ? at != 0 : at <= shelf->items[index - 1].bound) {
    return wrong(err, "class bounds do not ascend", at);
  }
  bool is_filled = (shelf->filled[index / 64] >> index % 64) & 1;
  if (is_filled != (entry->free.newest != NULL)) {
    return wrong(err, "the bit of a class does not tell of its list", at);
  }
  uint32_t count = 0;
  const tegi_block* before = NULL;
  for (const tegi_block* block = entry->free.newest; block;
       block = block->bin_next) {
    if (block->state != TEGI_BLOCK_FREE || block->bin != index ||
        block->bin_prev != before) {
      return wrong(err, "a free buffer is not in order in class", at);
    }
    if (before && before->cold_since <= block->cold_since) {
      return wrong(err, "free buffers are not by age in class", at);
    }
    before = block;
    count++;
  }
  if (before != entry->free.oldest || count != entry->free.count) {
    return wrong(err, "free buffers are not counted right in class", at);
  }
  return TEG_OK;
}

// The list of all buffers; counts those in use by class.
static teg_result validate_buffers(const tegi_shelf* shelf,
                                   uint32_t* out_used_counts, teg_error* err) {
  uint64_t held = 0;
  uint64_t used = 0;
  const tegi_block* before = NULL;
  for (const tegi_block* block = shelf->all; block; block = block->next) {
    if (block->prev != before || !block->extent || block->offset != 0 ||
        block->size != block->extent->bytes) {
      return wrong(err, "a buffer is not as it was made", block->size);
    }
    if (block->bin != tegi_shelf_floor(shelf, block->size)) {
      return wrong(err, "a buffer is in the wrong class", block->size);
    }
    held += block->size;
    before = block;
    if (block->state != TEGI_BLOCK_USED) continue;
    used += block->size;
    out_used_counts[block->bin]++;
  }
  if (held != shelf->held_bytes || used != shelf->used_bytes) {
    return wrong(err, "the bytes held are not counted right", held);
  }
  return TEG_OK;
}

teg_result tegi_shelf_validate(const tegi_shelf* shelf, teg_error* err) {
  uint32_t used_counts[TEGI_SHELF_MOST_CLASSES + 2] = {0};
  teg_result result = validate_buffers(shelf, used_counts, err);
  uint64_t free_bytes = 0;
  for (uint32_t i = 0; result == TEG_OK && i <= shelf->class_count; ++i) {
    const tegi_shelf_class* entry = &shelf->items[i];
    if (used_counts[i] != entry->used_count) {
      return wrong(err, "buffers in use are not counted right in class",
                   entry->bound);
    }
    result = validate_class(shelf, i, err);
    if (result != TEG_OK) return result;
    for (const tegi_block* block = entry->free.newest; block;
         block = block->bin_next) {
      free_bytes += block->size;
    }
  }
  if (result != TEG_OK) return result;
  if (free_bytes != shelf->held_bytes - shelf->used_bytes) {
    return wrong(err, "a free buffer is in no class", free_bytes);
  }
  if (shelf->items[shelf->class_count + 1].free.newest) {
    return wrong(err, "a buffer is filed above every class", 0);
  }
  return TEG_OK;
}
