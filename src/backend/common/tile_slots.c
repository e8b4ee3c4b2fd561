// SPDX-License-Identifier: Apache-2.0
//
// The bookkeeping behind a range's tiles. See tile_slots.h.
#include "backend/common/tile_slots.h"

#include <string.h>

#include "base/checked.h"
#include "base/error.h"

teg_result tegi_slots_check_size(uint64_t size, uint64_t tile_bytes,
                                 teg_error* err) {
  if (size > 0 && size <= TEGI_MAX_BYTES && size % tile_bytes == 0 &&
      size / tile_bytes <= UINT32_MAX) {
    return TEG_OK;
  }
  return tegi_error_set(
      err, TEG_INVALID,
      "address range: %llu bytes is not a positive multiple of the tile "
      "size, %llu, of at most 2^32 - 1 tiles",
      (unsigned long long)size, (unsigned long long)tile_bytes);
}

teg_result tegi_slots_init(tegi_slots* slots, tegi_host* host, uint32_t count,
                           teg_error* err) {
  slots->values = tegi_host_calloc(host, count, sizeof *slots->values);
  slots->count = slots->values ? count : 0;
  if (slots->values) return TEG_OK;
  return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                        "no host memory for %u tile slots", count);
}

void tegi_slots_deinit(tegi_slots* slots, tegi_host* host) {
  tegi_host_free(host, slots->values, slots->count * sizeof *slots->values);
  *slots = (tegi_slots){0};
}

// ---- Checks.

// Order and bounds of the range side of a call's runs.
static teg_result check_runs(const tegi_slots* slots, const teg_tile_run* runs,
                             size_t run_count, teg_error* err) {
  uint64_t floor = 0;
  for (size_t i = 0; i < run_count; i++) {
    if (runs[i].tile_count == 0 || runs[i].range_tile_index < floor ||
        tegi_run_end(&runs[i]) > slots->count) {
      return tegi_error_set(
          err, TEG_INVALID,
          "run %zu of %zu, %u tiles at tile %u of a range of %u, is empty, "
          "outside, or not behind the run before it",
          i, run_count, runs[i].tile_count, runs[i].range_tile_index,
          slots->count);
    }
    floor = tegi_run_end(&runs[i]);
  }
  return TEG_OK;
}

teg_result tegi_slots_check_map(const tegi_slots* slots,
                                const teg_tile_run* runs, size_t run_count,
                                tegi_slots_heap heap_of, teg_error* err) {
  teg_result result = check_runs(slots, runs, run_count, err);
  for (size_t i = 0; i < run_count && result == TEG_OK; i++) {
    const teg_tile_run* run = &runs[i];
    uint32_t first = 0;
    uint32_t heap_tiles = 0;
    if (!run->heap || !heap_of(run->heap, &first, &heap_tiles) ||
        (uint64_t)run->heap_tile_index + run->tile_count > heap_tiles) {
      return tegi_error_set(err, TEG_INVALID,
                            "run %zu of %zu: %u tiles at tile %u are not in "
                            "the heap",
                            i, run_count, run->tile_count,
                            run->heap_tile_index);
    }
    for (uint32_t tile = 0; tile < run->tile_count; tile++) {
      if (slots->values[run->range_tile_index + tile] != 0) {
        return tegi_error_set(err, TEG_INVALID,
                              "tile %u of the range has memory already",
                              run->range_tile_index + tile);
      }
    }
  }
  return result;
}

teg_result tegi_slots_check_unmap(const tegi_slots* slots,
                                  const teg_tile_run* runs, size_t run_count,
                                  teg_error* err) {
  teg_result result = check_runs(slots, runs, run_count, err);
  if (result != TEG_OK) return result;
  for (size_t i = 0; i < run_count; i++) {
    for (uint64_t tile = runs[i].range_tile_index;
         tile < tegi_run_end(&runs[i]); tile++) {
      if (slots->values[tile] == 0) {
        return tegi_error_set(err, TEG_INVALID,
                              "tile %llu of the range has no memory",
                              (unsigned long long)tile);
      }
    }
  }
  return TEG_OK;
}

// ---- Counting.

// The values that a run writes.
static uint32_t first_slot(const teg_tile_run* run, tegi_slots_heap heap_of) {
  uint32_t first = 0;
  uint32_t tile_count;
  (void)heap_of(run->heap, &first, &tile_count);
  return first + run->heap_tile_index;
}

static uint32_t last_slot(const teg_tile_run* run, tegi_slots_heap heap_of) {
  return first_slot(run, heap_of) + run->tile_count - 1;
}

int64_t tegi_slots_map_change(const tegi_slots* slots, const teg_tile_run* runs,
                              size_t run_count, tegi_slots_heap heap_of) {
  const uint32_t* values = slots->values;
  int64_t change = 0;
  for (size_t i = 0; i < run_count; i++) {
    uint32_t start = runs[i].range_tile_index;
    uint64_t end = tegi_run_end(&runs[i]);
    if (start > 0) {
      uint32_t before = values[start - 1];
      bool is_joined = i > 0 && tegi_run_end(&runs[i - 1]) == start;
      uint32_t after = is_joined ? last_slot(&runs[i - 1], heap_of) : before;
      change += tegi_slots_is_break(after, first_slot(&runs[i], heap_of)) -
                tegi_slots_is_break(before, 0);
    }
    bool has_next = i + 1 < run_count && runs[i + 1].range_tile_index == end;
    if (end < slots->count && !has_next) {
      uint32_t next = values[end];
      change += tegi_slots_is_break(last_slot(&runs[i], heap_of), next) -
                tegi_slots_is_break(0, next);
    }
  }
  return change;
}

int64_t tegi_slots_unmap_change(const tegi_slots* slots,
                                const teg_tile_run* runs, size_t run_count) {
  const uint32_t* values = slots->values;
  int64_t change = 0;
  for (size_t i = 0; i < run_count;) {
    size_t end_run = tegi_slots_joined_unmap(runs, run_count, i);
    uint64_t start = runs[i].range_tile_index;
    uint64_t end = tegi_run_end(&runs[end_run - 1]);
    for (uint64_t tile = start; tile + 1 < end; tile++) {
      change -= tegi_slots_is_break(values[tile], values[tile + 1]);
    }
    if (start > 0) {
      change += tegi_slots_is_break(values[start - 1], 0) -
                tegi_slots_is_break(values[start - 1], values[start]);
    }
    if (end < slots->count) {
      change += tegi_slots_is_break(0, values[end]) -
                tegi_slots_is_break(values[end - 1], values[end]);
    }
    i = end_run;
  }
  return change;
}

// ---- Changing.

void tegi_slots_map(tegi_slots* slots, const teg_tile_run* runs,
                    size_t run_count, tegi_slots_heap heap_of) {
  for (size_t i = 0; i < run_count; i++) {
    uint32_t value = first_slot(&runs[i], heap_of);
    uint32_t* values = slots->values + runs[i].range_tile_index;
    for (uint32_t tile = 0; tile < runs[i].tile_count; tile++) {
      values[tile] = value + tile;
    }
  }
}

void tegi_slots_unmap(tegi_slots* slots, const teg_tile_run* runs,
                      size_t run_count) {
  for (size_t i = 0; i < run_count; i++) {
    memset(slots->values + runs[i].range_tile_index, 0,
           runs[i].tile_count * sizeof *slots->values);
  }
}

// ---- Neighbours.

size_t tegi_slots_joined_map(const teg_tile_run* runs, size_t run_count,
                             size_t i, tegi_slots_heap heap_of) {
  size_t end = i + 1;
  while (end < run_count &&
         tegi_run_end(&runs[end - 1]) == runs[end].range_tile_index &&
         !tegi_slots_is_break(last_slot(&runs[end - 1], heap_of),
                              first_slot(&runs[end], heap_of))) {
    end++;
  }
  return end;
}

size_t tegi_slots_joined_unmap(const teg_tile_run* runs, size_t run_count,
                               size_t i) {
  size_t end = i + 1;
  while (end < run_count &&
         tegi_run_end(&runs[end - 1]) == runs[end].range_tile_index) {
    end++;
  }
  return end;
}

size_t tegi_slots_hole_unmap(const tegi_slots* slots, const teg_tile_run* runs,
                             size_t run_count, size_t i, uint64_t* out_start,
                             uint64_t* out_end) {
  uint64_t start = runs[i].range_tile_index;
  while (start > 0 && slots->values[start - 1] == 0) start--;
  uint64_t end;
  size_t next = i;
  do {
    next = tegi_slots_joined_unmap(runs, run_count, next);
    end = tegi_run_end(&runs[next - 1]);
    while (end < slots->count && slots->values[end] == 0) end++;
  } while (next < run_count && runs[next].range_tile_index == end);
  *out_start = start;
  *out_end = end;
  return next;
}
