// SPDX-License-Identifier: Apache-2.0
//
// A hash table with open addressing over an array of records. Nothing is ever
// taken out of it one by one: when records are given up the table is filled
// anew.
#include "policy/dynamic_sizes.h"

#include <string.h>

#include "base/error.h"

enum { FIRST_SLOTS = 128 };

static_assert(TEGI_SIZES_MOST < UINT16_MAX, "slots hold record numbers");

void tegi_sizes_init(tegi_sizes* sizes, tegi_host* host) {
  *sizes = (tegi_sizes){.host = host,
                        .unused = TEGI_SIZE_NONE,
                        .run_list = TEGI_SIZE_NONE,
                        .run = 1};
}

void tegi_sizes_deinit(tegi_sizes* sizes) {
  tegi_host_free(sizes->host, sizes->records,
                 sizes->capacity * sizeof *sizes->records);
  tegi_host_free(sizes->host, sizes->slots,
                 sizes->slot_count * sizeof *sizes->slots);
  *sizes = (tegi_sizes){0};
}

static void enter_slot(tegi_sizes* sizes, uint32_t number) {
  uint32_t slot = tegi_sizes_slot(sizes, sizes->records[number].size);
  while (sizes->slots[slot] != 0) slot = (slot + 1) & (sizes->slot_count - 1);
  sizes->slots[slot] = (uint16_t)(number + 1);
}

static void refill_slots(tegi_sizes* sizes) {
  memset(sizes->slots, 0, sizes->slot_count * sizeof *sizes->slots);
  for (uint32_t i = 0; i < sizes->end; ++i) {
    if (sizes->records[i].size != 0) enter_slot(sizes, i);
  }
}

// Makes room for one more record. State as before on failure.
static bool grow(tegi_sizes* sizes) {
  if (sizes->unused != TEGI_SIZE_NONE) return true;
  if (sizes->end == TEGI_SIZES_MOST ||
      !tegi_host_grow_array(sizes->host, &sizes->records, &sizes->capacity,
                            sizes->end + 1u, sizeof *sizes->records)) {
    return false;
  }
  if (sizes->slot_count >= 2 * (sizes->end + 1)) return true;
  uint32_t count = sizes->slot_count ? 2 * sizes->slot_count : FIRST_SLOTS;
  uint16_t* slots = tegi_host_calloc(sizes->host, count, sizeof *slots);
  if (!slots) return false;
  tegi_host_free(sizes->host, sizes->slots,
                 sizes->slot_count * sizeof *sizes->slots);
  sizes->slots = slots;
  sizes->slot_count = count;
  sizes->slot_shift = 64 - tegi_high_bit(count);
  refill_slots(sizes);
  return true;
}

// Gives up what no run remembered by the learner has asked for.
static void sweep(tegi_sizes* sizes) {
  sizes->sweep_run = sizes->run;
  uint32_t before = sizes->count;
  for (uint32_t i = 0; i < sizes->end; ++i) {
    tegi_size_record* record = &sizes->records[i];
    if (record->size == 0 || record->used_count > 0 ||
        record->request_count > 0 ||
        sizes->run - record->last_run <= TEGI_LEARN_RUNS) {
      continue;
    }
    *record = (tegi_size_record){.next = sizes->unused};
    sizes->unused = i;
    sizes->count--;
  }
  if (sizes->count < before) refill_slots(sizes);
}

uint32_t tegi_sizes_enter(tegi_sizes* sizes, uint64_t size) {
  uint32_t number = tegi_sizes_find(sizes, size);
  if (number != TEGI_SIZE_NONE) return number;
  if (sizes->count >= TEGI_SIZES_EXACT && sizes->sweep_run != sizes->run) {
    sweep(sizes);
  }
  if (sizes->count >= TEGI_SIZES_EXACT) {
    size = tegi_sizes_round(size);
    number = tegi_sizes_find_exact(sizes, size);
    if (number != TEGI_SIZE_NONE) return number;
  }
  if (!grow(sizes)) return TEGI_SIZE_NONE;
  number = sizes->unused;
  if (number != TEGI_SIZE_NONE) {
    sizes->unused = sizes->records[number].next;
  } else {
    number = sizes->end++;
  }
  sizes->records[number] =
      (tegi_size_record){.size = size, .last_run = sizes->run};
  sizes->count++;
  enter_slot(sizes, number);
  return number;
}

uint32_t tegi_sizes_end_run(tegi_sizes* sizes, tegi_size_use* out_uses,
                            size_t most) {
  uint32_t count = 0;
  uint32_t number = sizes->run_list;
  while (number != TEGI_SIZE_NONE) {
    tegi_size_record* record = &sizes->records[number];
    if (count < most) {
      out_uses[count++] =
          (tegi_size_use){record->size, record->request_count, record->peak};
    }
    record->request_count = 0;
    record->peak = record->used_count;
    record->is_held = record->used_count > 0;
    number = record->next;
  }
  sizes->run_list = TEGI_SIZE_NONE;
  sizes->run_list_count = 0;
  sizes->run++;
  return count;
}

teg_result tegi_sizes_validate(const tegi_sizes* sizes, teg_error* err) {
  uint32_t used = 0;
  uint32_t asked = 0;
  for (uint32_t i = 0; i < sizes->end; ++i) {
    const tegi_size_record* record = &sizes->records[i];
    if (record->size == 0) continue;
    used++;
    asked += record->request_count > 0;
    if (tegi_sizes_find_exact(sizes, record->size) != i) {
      return tegi_error_set(err, TEG_BAD_STATE,
                            "dynamic: the record of a size is not found");
    }
    if (record->used_count > record->peak) {
      return tegi_error_set(err, TEG_BAD_STATE,
                            "dynamic: more buffers of a size are in use than "
                            "ever were");
    }
  }
  uint32_t listed = 0;
  for (uint32_t number = sizes->run_list; number != TEGI_SIZE_NONE;
       number = sizes->records[number].next) {
    listed++;
  }
  if (used != sizes->count || asked != sizes->run_list_count ||
      listed != asked) {
    return tegi_error_set(err, TEG_BAD_STATE,
                          "dynamic: the records of sizes are not counted "
                          "right");
  }
  return TEG_OK;
}
