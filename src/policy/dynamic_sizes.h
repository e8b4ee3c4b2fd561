// SPDX-License-Identifier: Apache-2.0
//
// The sizes a session asks for: a hash table from size to what the dynamic
// policy knows of it, and how it is used in the present run. Records of sizes
// that are not used any more are given up when there are many; beyond that,
// sizes are put together (rounded up by 1/32 at most), so that the table is
// bounded whatever a program asks for.
//
// No lock: guarded by the session's short lock. Records stay where they are
// numbered for as long as a buffer of theirs is in use.
#ifndef TEGULA_POLICY_DYNAMIC_SIZES_H
#define TEGULA_POLICY_DYNAMIC_SIZES_H

#include <stdbool.h>

#include "base/checked.h"
#include "base/memory.h"
#include "policy/dynamic_learn.h"

enum {
  TEGI_SIZES_EXACT = 1024,  // from so many records on, sizes are rounded
  // All rounded sizes there are (32 in each of 55 powers of two) beside them.
  TEGI_SIZES_MOST = TEGI_SIZES_EXACT + 32 * 55,
};
#define TEGI_SIZE_NONE UINT32_MAX

typedef struct tegi_size_record {
  uint64_t size;           // 0 = the record is unused
  uint32_t class_index;    // the ceiling class of |size|, as of |generation|
  uint32_t generation;     // of the shelf; 0 = not looked up yet
  uint32_t request_count;  // in this run; not 0 = in the list of the run
  uint32_t used_count;     // buffers in use
  uint32_t peak;           // most of them at once in this run
  uint32_t next;           // in the list of the run, or of unused records
  uint32_t last_run;       // that asked for it
  bool is_held;  // some were in use when the last run that asked for it ended
} tegi_size_record;

typedef struct tegi_sizes {
  tegi_host* host;
  tegi_size_record* records;
  size_t capacity;
  uint16_t* slots;      // number of a record, plus 1; 0 = empty
  uint32_t slot_count;  // a power of two, at least twice the records
  uint32_t slot_shift;  // of the hash
  uint32_t count;       // records that are used
  uint32_t end;         // records before it have been used
  uint32_t unused;      // list of unused ones before |end|
  uint32_t run_list;    // sizes asked for in this run
  uint32_t run_list_count;
  uint32_t run;        // number of this run
  uint32_t sweep_run;  // the last in which records were given up
} tegi_sizes;

void tegi_sizes_init(tegi_sizes* sizes, tegi_host* host);
void tegi_sizes_deinit(tegi_sizes* sizes);

// The number of the record for |size|, a multiple of 64: made if there is
// none, perhaps for a size a bit above. TEGI_SIZE_NONE when the host has no
// memory. May allocate.
uint32_t tegi_sizes_enter(tegi_sizes* sizes, uint64_t size);

// Ends the run: tells what was asked for in it, at most |most| sizes, and
// begins the next one. Returns how many.
uint32_t tegi_sizes_end_run(tegi_sizes* sizes, tegi_size_use* out_uses,
                            size_t most);

// TEG_BAD_STATE with what is wrong.
teg_result tegi_sizes_validate(const tegi_sizes* sizes, teg_error* err);

// |size| rounded up to one of 32 steps between powers of two.
static inline uint64_t tegi_sizes_round(uint64_t size) {
  uint32_t high = tegi_high_bit(size);
  return high < 6 ? size : tegi_align_up(size, UINT64_C(1) << (high - 5));
}

static inline uint32_t tegi_sizes_slot(const tegi_sizes* sizes, uint64_t size) {
  return (uint32_t)((size * UINT64_C(0x9E3779B97F4A7C15)) >> sizes->slot_shift);
}

// The number of the record for exactly |size|.
static inline uint32_t tegi_sizes_find_exact(const tegi_sizes* sizes,
                                             uint64_t size) {
  if (sizes->slot_count == 0) return TEGI_SIZE_NONE;
  uint32_t slot = tegi_sizes_slot(sizes, size);
  while (sizes->slots[slot] != 0) {
    uint32_t number = sizes->slots[slot] - 1u;
    if (sizes->records[number].size == size) return number;
    slot = (slot + 1) & (sizes->slot_count - 1);
  }
  return TEGI_SIZE_NONE;
}

// The number of the record that |size| goes by.
static inline uint32_t tegi_sizes_find(const tegi_sizes* sizes, uint64_t size) {
  uint32_t number = tegi_sizes_find_exact(sizes, size);
  if (number == TEGI_SIZE_NONE && sizes->count >= TEGI_SIZES_EXACT) {
    number = tegi_sizes_find_exact(sizes, tegi_sizes_round(size));
  }
  return number;
}

// A buffer for the record's size goes in use.
static inline void tegi_sizes_count(tegi_sizes* sizes, uint32_t number) {
  tegi_size_record* record = &sizes->records[number];
  if (record->request_count++ == 0) {
    record->next = sizes->run_list;
    record->last_run = sizes->run;
    sizes->run_list = number;
    sizes->run_list_count++;
  }
  if (++record->used_count > record->peak) record->peak = record->used_count;
}

#endif  // TEGULA_POLICY_DYNAMIC_SIZES_H
