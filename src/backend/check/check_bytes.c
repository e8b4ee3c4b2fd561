// SPDX-License-Identifier: Apache-2.0
//
// Physical bytes for the checker: where they are, and who wrote them last.
#include <string.h>

#include "backend/check/check_parts.h"
#include "base/checked.h"

// ---- Memories.

static void memory_free(tegi_hazard* hazard, tegi_hazard_memory* memory) {
  tegi_host* host = hazard->params.host;
  tegi_host_free(host, memory->slots,
                 memory->slot_count * sizeof *memory->slots);
  tegi_host_free(host, memory->segments,
                 memory->segment_capacity * sizeof *memory->segments);
  tegi_host_free(host, memory->tile_maps,
                 (size_t)memory->tile_count * sizeof *memory->tile_maps);
  tegi_host_free(host, memory, sizeof *memory);
}

void tegi_bytes_retain(tegi_hazard_memory* memory) {
  if (memory) memory->reference_count++;
}

void tegi_bytes_release(tegi_hazard* hazard, tegi_hazard_memory* memory) {
  if (!memory) return;
  memory->reference_count--;
  if (memory->reference_count == 0) memory_free(hazard, memory);
}

// Slots of a range, or segments and tile counts of physical memory.
static bool memory_init(tegi_hazard* hazard, tegi_hazard_memory* memory) {
  tegi_host* host = hazard->params.host;
  uint64_t tile_bytes = hazard->params.tile_bytes;
  if (memory->is_range) {
    uint32_t slot_count = (uint32_t)(memory->size / tile_bytes);
    memory->slots = tegi_host_calloc(host, slot_count, sizeof *memory->slots);
    if (memory->slots) memory->slot_count = slot_count;
    return memory->slots != NULL;
  }
  uint64_t tile_count = tile_bytes ? memory->size / tile_bytes : 0;
  if (tile_count) {
    memory->tile_maps =
        tegi_host_calloc(host, (size_t)tile_count, sizeof *memory->tile_maps);
    if (!memory->tile_maps) return false;
    memory->tile_count = tile_count;
  }
  if (!tegi_host_grow_array(host, &memory->segments, &memory->segment_capacity,
                            1, sizeof *memory->segments)) {
    return false;
  }
  memory->segments[0] = (tegi_segment){.owner = TEGI_NOBODY};
  memory->segment_count = 1;
  return true;
}

teg_result tegi_hazard_memory_add(tegi_hazard* hazard, bool is_range,
                                  uint64_t size, void* memory_user,
                                  tegi_hazard_memory** out_memory,
                                  teg_error* err) {
  *out_memory = NULL;
  tegi_hazard_memory* memory =
      tegi_host_alloc(hazard->params.host, sizeof *memory);
  if (memory) {
    memory->is_range = is_range;
    memory->size = size;
    memory->user = memory_user;
    memory->reference_count = 1;
    if (!memory_init(hazard, memory)) {
      memory_free(hazard, memory);
      memory = NULL;
    }
  }
  if (!memory) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "no host memory for the records of a memory");
  }
  tegi_mutex_lock(&hazard->mutex);
  memory->id = ++hazard->last_memory_id;
  tegi_mutex_unlock(&hazard->mutex);
  *out_memory = memory;
  return TEG_OK;
}

// ---- Resolving addresses to physical bytes.

tegi_piece tegi_bytes_resolve(const tegi_hazard* hazard,
                              const tegi_hazard_memory* memory, uint64_t offset,
                              uint64_t size, uint64_t* out_bind) {
  if (out_bind) *out_bind = 0;
  // The pieces of a command hold the memory.
  if (!memory->is_range) {
    return (tegi_piece){(tegi_hazard_memory*)memory, offset, size};
  }
  uint64_t tile_bytes = hazard->params.tile_bytes;
  uint64_t in_tile = offset % tile_bytes;
  const tegi_slot_state* at = &memory->slots[offset / tile_bytes];
  if (out_bind) *out_bind = at->bind;
  return (tegi_piece){at->heap, at->tile_index * tile_bytes + in_tile,
                      tegi_min_u64(size, tile_bytes - in_tile)};
}

// ---- Who wrote the bytes.

// Index of the segment that holds |offset|.
static size_t segment_at(const tegi_hazard_memory* memory, uint64_t offset) {
  size_t low = 0, high = memory->segment_count;
  while (high - low > 1) {
    size_t middle = low + (high - low) / 2;
    if (memory->segments[middle].start <= offset) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

static uint64_t segment_end(const tegi_hazard_memory* memory, size_t index) {
  return index + 1 < memory->segment_count ? memory->segments[index + 1].start
                                           : memory->size;
}

bool tegi_bytes_reserve(tegi_hazard* hazard, tegi_hazard_memory* memory) {
  return tegi_host_grow_array(
             hazard->params.host, &memory->segments, &memory->segment_capacity,
             memory->segment_count + 2 * (memory->unwritten_count + 1),
             sizeof *memory->segments) != 0;
}

void tegi_bytes_write(const tegi_piece* bytes, const tegi_segment* writer) {
  tegi_hazard_memory* memory = bytes->memory;
  uint64_t start = bytes->offset, end = bytes->offset + bytes->size;
  size_t first = segment_at(memory, start);
  size_t last = segment_at(memory, end - 1);
  tegi_segment tail = memory->segments[last];
  bool has_tail = end < segment_end(memory, last);
  // A part of |first| before the bytes stays; those after it are replaced.
  bool has_head = memory->segments[first].start < start;
  size_t put = first + (has_head ? 1 : 0);
  size_t fresh_count = has_tail ? 2 : 1;
  size_t rest = last + 1;
  size_t rest_count = memory->segment_count - rest;
  TEG_ASSERT(put + fresh_count + rest_count <= memory->segment_capacity);
  memmove(&memory->segments[put + fresh_count], &memory->segments[rest],
          rest_count * sizeof *memory->segments);
  memory->segments[put] = *writer;
  memory->segments[put].start = start;
  if (has_tail) {
    tail.start = end;
    memory->segments[put + 1] = tail;
  }
  memory->segment_count = put + fresh_count + rest_count;
}

const tegi_segment* tegi_bytes_foreign(const tegi_piece* bytes, uint64_t owner,
                                       uint64_t* out_offset) {
  if (owner == 0 || bytes->size == 0) return NULL;
  const tegi_hazard_memory* memory = bytes->memory;
  uint64_t end = bytes->offset + bytes->size;
  for (size_t i = segment_at(memory, bytes->offset);
       i < memory->segment_count && memory->segments[i].start < end; i++) {
    const tegi_segment* at = &memory->segments[i];
    if (at->owner != owner && at->owner != 0) {
      *out_offset = tegi_max_u64(at->start, bytes->offset);
      return at;
    }
  }
  return NULL;
}

void tegi_bytes_tell_new_owner(const tegi_hazard* hazard,
                               const tegi_piece* bytes, uint64_t owner) {
  if (!hazard->params.on_new_owner || bytes->size == 0) return;
  const tegi_hazard_memory* memory = bytes->memory;
  uint64_t end = bytes->offset + bytes->size;
  for (size_t i = segment_at(memory, bytes->offset);
       i < memory->segment_count && memory->segments[i].start < end; i++) {
    if (memory->segments[i].owner == owner) continue;
    uint64_t start = tegi_max_u64(memory->segments[i].start, bytes->offset);
    uint64_t stop = tegi_min_u64(segment_end(memory, i), end);
    hazard->params.on_new_owner(hazard->params.user, memory->user, start,
                                stop - start);
  }
}
