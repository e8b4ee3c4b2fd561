// SPDX-License-Identifier: Apache-2.0
//
// What a batch of the bind stream carries. Calls of map and unmap are noted in
// order, with what undoes them; submit resolves the notes to one bind for each
// run of slots, where a later note wins over those before it, and hands all of
// them to the queue in one vkQueueBindSparse. Binds are chained by the bind
// stream's own timeline: its value must not fall, and nothing else orders two.
//
// Mappings are taken from the limit when noted. Those that a batch sets free
// are given back when it is submitted, and serve its own calls until then; so
// undoing a batch cannot meet the limit.
//
// Where the driver maps tiles by mmap (lavapipe) an unbound piece is a mapping
// of its own, which never merges with the hole beside it: so the hole that
// there will be is unbound as a whole. Between two binds of a batch there may
// be two mappings more for every bind than before or after: the mappings kept
// in reserve have room for FREE_CHANGES of them, more are taken in advance.
//
// Not locked: one thread at a time uses the bind stream and what it carries.
#include <string.h>

#include "backend/vulkan/vulkan_backend.h"
#include "base/checked.h"
#include "base/error.h"

// Twice as many mappings are half of the reserve.
#define FREE_CHANGES (TEGI_MAPPINGS_RESERVE / 4)

static uint64_t end_of(const tegi_vk_change* change) {
  return (uint64_t)change->first + change->count;
}

static teg_result no_host_memory(size_t count, teg_error* err) {
  return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                        "no host memory for %zu binds", count);
}

// ---- Noting.

// Whether |next| goes on where |last| ends, here and in memory.
static bool is_continued(const tegi_vk_change* last,
                         const tegi_vk_change* next) {
  return last->range == next->range && last->heap == next->heap &&
         end_of(last) == next->first &&
         (uint64_t)last->value + last->count == next->value;
}

bool tegi_vk_binds_reserve(tegi_vk_device* device, tegi_vk_binds* binds,
                           size_t count) {
  return tegi_host_grow_array(
      &device->host, &binds->changes, &binds->change_capacity,
      binds->change_count + count, sizeof *binds->changes);
}

void tegi_vk_binds_note(tegi_vk_binds* binds, tegi_vk_change change) {
  size_t count = binds->change_count;
  change.range->is_noted = true;
  if (count && is_continued(&binds->changes[count - 1], &change)) {
    binds->changes[count - 1].count += change.count;
    return;
  }
  TEG_ASSERT(count < binds->change_capacity);
  binds->changes[count] = change;
  binds->change_count = count + 1;
}

teg_result tegi_vk_binds_charge(tegi_vk_device* device, tegi_vk_binds* binds,
                                int64_t change, teg_error* err) {
  if (!device->has_mapping_limit) return TEG_OK;
  int64_t wanted = binds->mapping_change + change;
  if (device->facts.is_cpu_driver && binds->change_count > FREE_CHANGES) {
    wanted += 2 * (int64_t)(binds->change_count - FREE_CHANGES);
  }
  if (wanted > binds->charged) {
    teg_result result = tegi_mappings_add(
        &device->range_mappings, (uint64_t)(wanted - binds->charged), err);
    if (result != TEG_OK) return result;
    binds->charged = wanted;
  }
  binds->mapping_change += change;
  return TEG_OK;
}

static void give_back_mappings(tegi_vk_device* device, int64_t count) {
  if (!device->has_mapping_limit || count <= 0) return;
  tegi_mappings_sub(&device->range_mappings, (uint64_t)count);
}

static void clear(tegi_vk_binds* binds) {
  binds->change_count = 0;
  binds->charged = 0;
  binds->mapping_change = 0;
}

void tegi_vk_binds_undo(tegi_vk_device* device, tegi_vk_binds* binds) {
  for (size_t i = binds->change_count; i-- > 0;) {
    const tegi_vk_change* change = &binds->changes[i];
    tegi_vk_memory* range = change->range;
    uint32_t* slots = range->slots.values + change->first;
    for (uint32_t tile = 0; tile < change->count; tile++) {
      slots[tile] = change->heap ? 0 : change->value + tile;
    }
    range->mapping_count =
        (uint32_t)(range->mapping_count - range->noted_mappings);
    range->noted_mappings = 0;
    range->is_noted = false;
  }
  give_back_mappings(device, binds->charged);
  clear(binds);
}

void tegi_vk_binds_forget(tegi_vk_device* device, tegi_vk_binds* binds,
                          tegi_vk_memory* range) {
  size_t kept = 0;
  for (size_t i = 0; i < binds->change_count; i++) {
    if (binds->changes[i].range == range) continue;
    binds->changes[kept++] = binds->changes[i];
  }
  binds->change_count = kept;
  binds->mapping_change -= range->noted_mappings;
  // What the range set free, and others of the batch have used, is used.
  int64_t more = binds->mapping_change - binds->charged;
  if (more > 0) binds->charged += more;
  give_back_mappings(device, (int64_t)range->mapping_count -
                                 range->noted_mappings - (more > 0 ? more : 0));
  range->mapping_count = 0;
  range->noted_mappings = 0;
}

void tegi_vk_binds_submitted(tegi_vk_device* device, tegi_vk_binds* binds,
                             uint64_t serial) {
  for (size_t i = 0; i < binds->change_count; i++) {
    tegi_vk_memory* range = binds->changes[i].range;
    range->last_bind = serial;
    range->noted_mappings = 0;
    range->is_noted = false;
  }
  give_back_mappings(device, binds->charged - binds->mapping_change);
  clear(binds);
}

// ---- Resolving.

// Pieces are kept from the last to the first, by range and slot, because notes
// are looked at backwards: so most of them are put at the end.
static bool is_before(const tegi_vk_change* piece, const tegi_vk_memory* range,
                      uint64_t slot) {
  if (piece->range != range) return (uintptr_t)piece->range < (uintptr_t)range;
  return piece->first < slot;
}

// The first piece that begins before |slot|.
static size_t find_piece(const tegi_vk_binds* binds,
                         const tegi_vk_memory* range, uint64_t slot) {
  size_t low = 0;
  size_t high = binds->piece_count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (is_before(&binds->pieces[middle], range, slot)) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

// Makes slots [first, end) of |change| piece |at|.
static bool insert_piece(tegi_vk_device* device, tegi_vk_binds* binds,
                         size_t at, const tegi_vk_change* change,
                         uint64_t first, uint64_t end) {
  if (!tegi_host_grow_array(&device->host, &binds->pieces,
                            &binds->piece_capacity, binds->piece_count + 1,
                            sizeof *binds->pieces)) {
    return false;
  }
  tegi_vk_change* piece = &binds->pieces[at];
  memmove(piece + 1, piece, (binds->piece_count - at) * sizeof *piece);
  *piece = *change;
  piece->first = (uint32_t)first;
  piece->count = (uint32_t)(end - first);
  piece->value = (uint32_t)(change->value + (first - change->first));
  binds->piece_count++;
  return true;
}

// Adds what no later change has covered.
static bool add_uncovered(tegi_vk_device* device, tegi_vk_binds* binds,
                          const tegi_vk_change* change) {
  uint64_t end = end_of(change);
  size_t at = find_piece(binds, change->range, end);
  while (end > change->first) {
    uint64_t covered = change->first;  // up to here: by piece |at|
    bool has_piece = at < binds->piece_count &&
                     binds->pieces[at].range == change->range &&
                     end_of(&binds->pieces[at]) > change->first;
    if (has_piece) covered = tegi_min_u64(end_of(&binds->pieces[at]), end);
    if (covered < end) {
      if (!insert_piece(device, binds, at, change, covered, end)) return false;
      at++;
    }
    if (!has_piece) break;
    end = binds->pieces[at].first;
    at++;
  }
  return true;
}

static bool resolve(tegi_vk_device* device, tegi_vk_binds* binds) {
  binds->piece_count = 0;
  for (size_t i = binds->change_count; i-- > 0;) {
    if (!add_uncovered(device, binds, &binds->changes[i])) return false;
  }
  return true;
}

// ---- Vulkan's structures.

// The hole of which |piece| is a part.
static void widen_hole(const tegi_slots* slots, uint64_t* first,
                       uint64_t* end) {
  while (*first > 0 && slots->values[*first - 1] == 0) (*first)--;
  while (*end < slots->count && slots->values[*end] == 0) (*end)++;
}

// Pieces from |at| down to the one returned are one bind, of slots [*out_first,
// *out_end).
static size_t join_pieces(const tegi_vk_device* device,
                          const tegi_vk_binds* binds, size_t at,
                          uint64_t* out_first, uint64_t* out_end) {
  const tegi_vk_change* start = &binds->pieces[at];
  *out_first = start->first;
  *out_end = end_of(start);
  bool is_hole = !start->heap;
  for (;;) {
    if (is_hole && device->facts.is_cpu_driver) {
      widen_hole(&start->range->slots, out_first, out_end);
    }
    if (at == 0) return 0;
    const tegi_vk_change* next = &binds->pieces[at - 1];
    bool is_joined = next->range == start->range && next->heap == start->heap &&
                     (is_hole ? next->first <= *out_end
                              : is_continued(&binds->pieces[at], next));
    if (!is_joined) return at;
    *out_end = tegi_max_u64(*out_end, end_of(next));
    at--;
  }
}

static VkSparseMemoryBind native_bind(const tegi_vk_device* device,
                                      const tegi_vk_change* piece,
                                      uint64_t first, uint64_t end) {
  const uint64_t tile_bytes = device->tile_bytes;
  VkSparseMemoryBind bind = {.resourceOffset = first * tile_bytes,
                             .size = (end - first) * tile_bytes};
  if (piece->heap) {
    bind.memory = piece->heap->memory;
    bind.memoryOffset = (piece->value - piece->heap->first_slot) * tile_bytes;
  }
  return bind;
}

// As many binds as pieces at most, and as many buffers as binds.
static bool reserve_natives(tegi_vk_device* device, tegi_vk_binds* binds) {
  return tegi_host_grow_array(&device->host, &binds->natives,
                              &binds->native_capacity, binds->piece_count,
                              sizeof *binds->natives) &&
         tegi_host_grow_array(&device->host, &binds->buffers,
                              &binds->buffer_capacity, binds->piece_count,
                              sizeof *binds->buffers);
}

teg_result tegi_vk_binds_resolve(tegi_vk_device* device, tegi_vk_binds* binds,
                                 teg_error* err) {
  binds->native_count = 0;
  binds->buffer_count = 0;
  if (!resolve(device, binds) || !reserve_natives(device, binds)) {
    return no_host_memory(binds->change_count, err);
  }
  const tegi_vk_memory* range = NULL;
  for (size_t at = binds->piece_count; at > 0;) {
    const tegi_vk_change* piece = &binds->pieces[at - 1];
    uint64_t first, end;
    at = join_pieces(device, binds, at - 1, &first, &end);
    if (piece->range != range) {
      range = piece->range;
      binds->buffers[binds->buffer_count++] = (VkSparseBufferMemoryBindInfo){
          .buffer = range->buffer,
          .pBinds = binds->natives + binds->native_count};
    }
    binds->buffers[binds->buffer_count - 1].bindCount++;
    binds->natives[binds->native_count++] =
        native_bind(device, piece, first, end);
  }
  return TEG_OK;
}

void tegi_vk_binds_deinit(tegi_vk_device* device, tegi_vk_binds* binds) {
  tegi_host* host = &device->host;
  tegi_host_free(host, binds->changes,
                 binds->change_capacity * sizeof *binds->changes);
  tegi_host_free(host, binds->pieces,
                 binds->piece_capacity * sizeof *binds->pieces);
  tegi_host_free(host, binds->natives,
                 binds->native_capacity * sizeof *binds->natives);
  tegi_host_free(host, binds->buffers,
                 binds->buffer_capacity * sizeof *binds->buffers);
  *binds = (tegi_vk_binds){0};
}
