// SPDX-License-Identifier: Apache-2.0
//
// The shelf of the dynamic policy: every buffer it holds, and the free ones by
// size class. A free buffer is filed in the class with the largest bound that
// is not above its size (its floor class); a request looks in the class with
// the smallest bound that is not below its size (its ceiling class), where
// each buffer is large enough. Classes may be replaced at any time: buffers
// keep their sizes and are filed anew.
//
// No lock: guarded by the session's short lock; the bounds only change under
// the growth mutex as well, so that its holder may read them without the lock.
// No function allocates once tegi_shelf_init has succeeded.
#ifndef TEGULA_POLICY_DYNAMIC_SHELF_H
#define TEGULA_POLICY_DYNAMIC_SHELF_H

#include "base/checked.h"
#include "policy/free_list.h"
#include "policy/policy.h"

typedef struct tegi_shelf_class {
  uint64_t bound;
  tegi_free_list free;
  uint32_t used_count;
  uint32_t peak;         // most used at once in this epoch
  uint32_t window_peak;  // the same in the epochs of the window so far
  uint32_t limit;        // the same in the window before
  uint32_t keep_count;   // the most of the three when the last epoch ended
  bool is_held;          // its sizes stay in use from run to run
} tegi_shelf_class;

enum { TEGI_SHELF_WORDS = 6, TEGI_SHELF_MOST_CLASSES = 64 * 6 - 2 };

typedef struct tegi_shelf {
  // items[0] has bound 0, for what is smaller than every class;
  // items[class_count + 1] is empty, for requests above every class.
  tegi_shelf_class* items;
  tegi_shelf_class* spare;  // what items was before the last change
  uint32_t class_count;
  uint32_t capacity;                  // most classes
  uint32_t generation;                // counts changes of the bounds; never 0
  uint64_t filled[TEGI_SHELF_WORDS];  // one bit a class: it has free buffers
  tegi_block* all;                    // through prev and next
  uint64_t clock;                     // counts buffers given back
  uint64_t held_bytes;                // of all buffers
  uint64_t used_bytes;                // of those in use
} tegi_shelf;

// |capacity| classes at most, up to TEGI_SHELF_MOST_CLASSES. False when the
// host has no memory.
bool tegi_shelf_init(tegi_shelf* shelf, tegi_host* host, uint32_t capacity);
// Every buffer has been removed.
void tegi_shelf_deinit(tegi_shelf* shelf, tegi_host* host);

uint32_t tegi_shelf_floor(const tegi_shelf* shelf, uint64_t size);
// class_count + 1 when every bound is smaller.
uint32_t tegi_shelf_ceiling(const tegi_shelf* shelf, uint64_t size);

// Puts classes with these ascending bounds in the place of the present ones.
// A limit goes to the class that a buffer of its bound's size goes to.
void tegi_shelf_set_bounds(tegi_shelf* shelf, const uint64_t* bounds,
                           uint32_t count);
// As above with one bound more and |old| (0 = none) less. False, and nothing
// changed, when there are too many.
bool tegi_shelf_add_bound(tegi_shelf* shelf, uint64_t bound, uint64_t old);
// Copies the bounds; room for class_count.
void tegi_shelf_get_bounds(const tegi_shelf* shelf, uint64_t* out_bounds);

// A buffer that comes into the shelf's care in use, and one that leaves it;
// when it leaves it is free.
void tegi_shelf_add(tegi_shelf* shelf, tegi_block* block);
void tegi_shelf_remove(tegi_shelf* shelf, tegi_block* block);

// The smallest free buffer of at least |size| and at most |most| bytes that
// |stream| may write to, among the first few of each class. |class_index| is
// the ceiling class of |size|.
tegi_block* tegi_shelf_find(const tegi_shelf* shelf, uint32_t class_index,
                            uint64_t size, uint64_t most, tegi_source* source,
                            tegi_stream_id stream);

// Closes an epoch: a class is to keep as many buffers as were in use at once
// in this window of epochs and the one before it.
void tegi_shelf_end_epoch(tegi_shelf* shelf, bool is_window_over);
// Free buffers of a class beyond what it is to keep.
uint32_t tegi_shelf_surplus(const tegi_shelf* shelf, uint32_t class_index);

// TEG_BAD_STATE with what is wrong.
teg_result tegi_shelf_validate(const tegi_shelf* shelf, teg_error* err);

// A free buffer is put in use, and back.
static inline void tegi_shelf_take(tegi_shelf* shelf, tegi_block* block) {
  tegi_shelf_class* entry = &shelf->items[block->bin];
  tegi_free_list_remove(&entry->free, block);
  if (!entry->free.newest) {
    shelf->filled[block->bin / 64] &= ~(UINT64_C(1) << block->bin % 64);
  }
  if (++entry->used_count > entry->peak) entry->peak = entry->used_count;
  shelf->used_bytes += block->size;
  block->state = TEGI_BLOCK_USED;
}

static inline void tegi_shelf_put(tegi_shelf* shelf, tegi_block* block) {
  tegi_shelf_class* entry = &shelf->items[block->bin];
  block->state = TEGI_BLOCK_FREE;
  block->cold_since = ++shelf->clock;
  if (!entry->free.newest) {
    shelf->filled[block->bin / 64] |= UINT64_C(1) << block->bin % 64;
  }
  tegi_free_list_push(&entry->free, block);
  entry->used_count--;
  shelf->used_bytes -= block->size;
}

#endif  // TEGULA_POLICY_DYNAMIC_SHELF_H
