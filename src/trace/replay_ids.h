// SPDX-License-Identifier: Apache-2.0
//
// The live ids of a trace and the dense slots they were given. Slots are
// reused as soon as they are free, the last one freed first. Private to the
// replay engine; the caller allocates through one tegi_host.
#ifndef TEGULA_TRACE_REPLAY_IDS_H
#define TEGULA_TRACE_REPLAY_IDS_H

#include <stdbool.h>

#include "base/memory.h"

typedef struct tegi_replay_id {
  uint64_t id;  // 0 = an empty place
  uint64_t event_index;
  uint32_t slot;
} tegi_replay_id;

// A hash table with linear probing, at most half full.
typedef struct tegi_replay_ids {
  tegi_host* host;
  tegi_replay_id* places;
  size_t place_count;  // a power of two, or 0
  size_t live_count;
  uint32_t* free_slots;
  size_t free_count;
  size_t free_capacity;
  uint32_t slot_count;  // ever used at once
} tegi_replay_ids;

void tegi_replay_ids_init(tegi_replay_ids* ids, tegi_host* host);
void tegi_replay_ids_deinit(tegi_replay_ids* ids);
// Gives |id| (not 0, not live) a slot. False when there is no host memory.
bool tegi_replay_ids_add(tegi_replay_ids* ids, uint64_t id,
                         uint64_t event_index, uint32_t* out_slot);
// Ends |id|, whose slot is reused unless it was added before
// |reuse_from_index|. False when it is not live.
bool tegi_replay_ids_remove(tegi_replay_ids* ids, uint64_t id,
                            uint64_t reuse_from_index,
                            tegi_replay_id* out_removed);

#endif  // TEGULA_TRACE_REPLAY_IDS_H
