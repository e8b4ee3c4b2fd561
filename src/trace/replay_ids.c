// SPDX-License-Identifier: Apache-2.0
//
// Ids to slots, while a trace is loaded.
#include "trace/replay_ids.h"

#include <string.h>

enum { FIRST_PLACE_COUNT = 1024 };

void tegi_replay_ids_init(tegi_replay_ids* ids, tegi_host* host) {
  *ids = (tegi_replay_ids){.host = host};
}

void tegi_replay_ids_deinit(tegi_replay_ids* ids) {
  tegi_host_free(ids->host, ids->places,
                 ids->place_count * sizeof *ids->places);
  tegi_host_free(ids->host, ids->free_slots,
                 ids->free_capacity * sizeof *ids->free_slots);
  *ids = (tegi_replay_ids){0};
}

static size_t home_of(const tegi_replay_ids* ids, uint64_t id) {
  uint64_t hash = id * UINT64_C(0x9e3779b97f4a7c15);
  return (size_t)(hash >> 32) & (ids->place_count - 1);
}

// The place of |id|, or the empty place where it would go.
static size_t find_place(const tegi_replay_ids* ids, uint64_t id) {
  size_t place = home_of(ids, id);
  while (ids->places[place].id != 0 && ids->places[place].id != id) {
    place = (place + 1) & (ids->place_count - 1);
  }
  return place;
}

static bool grow(tegi_replay_ids* ids) {
  tegi_replay_ids old = *ids;
  ids->place_count = old.place_count ? old.place_count * 2 : FIRST_PLACE_COUNT;
  ids->places =
      tegi_host_calloc(ids->host, ids->place_count, sizeof *ids->places);
  if (!ids->places) {
    *ids = old;
    return false;
  }
  for (size_t i = 0; i < old.place_count; ++i) {
    if (old.places[i].id == 0) continue;
    ids->places[find_place(ids, old.places[i].id)] = old.places[i];
  }
  tegi_host_free(ids->host, old.places, old.place_count * sizeof *old.places);
  return true;
}

static uint32_t take_slot(tegi_replay_ids* ids) {
  if (ids->free_count > 0) return ids->free_slots[--ids->free_count];
  return ids->slot_count++;
}

bool tegi_replay_ids_add(tegi_replay_ids* ids, uint64_t id,
                         uint64_t event_index, uint32_t* out_slot) {
  if (ids->live_count >= ids->place_count / 2 && !grow(ids)) return false;
  // Room for every slot in use to become free.
  if (!tegi_host_grow_array(ids->host, &ids->free_slots, &ids->free_capacity,
                            ids->live_count + 1, sizeof *ids->free_slots)) {
    return false;
  }
  *out_slot = take_slot(ids);
  ids->places[find_place(ids, id)] =
      (tegi_replay_id){.id = id, .event_index = event_index, .slot = *out_slot};
  ids->live_count++;
  return true;
}

// Moves back what probing pushed past the place that became empty.
static void close_gap(tegi_replay_ids* ids, size_t gap) {
  size_t mask = ids->place_count - 1;
  size_t place = gap;
  for (;;) {
    place = (place + 1) & mask;
    if (ids->places[place].id == 0) break;
    size_t home = home_of(ids, ids->places[place].id);
    if (((place - home) & mask) < ((place - gap) & mask)) continue;
    ids->places[gap] = ids->places[place];
    gap = place;
  }
  ids->places[gap].id = 0;
}

bool tegi_replay_ids_remove(tegi_replay_ids* ids, uint64_t id,
                            uint64_t reuse_from_index,
                            tegi_replay_id* out_removed) {
  if (ids->live_count == 0 || id == 0) return false;
  size_t place = find_place(ids, id);
  if (ids->places[place].id != id) return false;
  *out_removed = ids->places[place];
  if (out_removed->event_index >= reuse_from_index) {
    ids->free_slots[ids->free_count++] = out_removed->slot;
  }
  ids->live_count--;
  close_gap(ids, place);
  return true;
}
