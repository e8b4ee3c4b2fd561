// SPDX-License-Identifier: Apache-2.0
//
// Clocks of the checker. See check_order.h. The lists are short: one entry a
// stream that was waited for.
#include "backend/check/check_order.h"

#include "base/checked.h"

bool tegi_clock_reserve(tegi_host* host, tegi_clock* clock, size_t more) {
  return tegi_host_grow_array(host, &clock->entries, &clock->capacity,
                              clock->count + more, sizeof *clock->entries) != 0;
}

static tegi_clock_entry* find(const tegi_clock* clock, uint64_t stream_id) {
  for (size_t i = 0; i < clock->count; i++) {
    if (clock->entries[i].stream_id == stream_id) return &clock->entries[i];
  }
  return NULL;
}

void tegi_clock_add(tegi_clock* clock, uint64_t stream_id, uint64_t serial) {
  tegi_clock_entry* entry = find(clock, stream_id);
  if (entry) {
    entry->serial = tegi_max_u64(entry->serial, serial);
  } else {
    clock->entries[clock->count++] = (tegi_clock_entry){stream_id, serial};
  }
}

void tegi_clock_join(tegi_clock* clock, const tegi_clock* other) {
  clock->epoch = tegi_max_u64(clock->epoch, other->epoch);
  clock->bind = tegi_max_u64(clock->bind, other->bind);
  for (size_t i = 0; i < other->count; i++) {
    tegi_clock_add(clock, other->entries[i].stream_id,
                   other->entries[i].serial);
  }
}

void tegi_clock_remove(tegi_clock* clock, uint64_t stream_id) {
  tegi_clock_entry* entry = find(clock, stream_id);
  if (entry) *entry = clock->entries[--clock->count];
}

bool tegi_clock_has(const tegi_clock* clock, uint64_t stream_id,
                    uint64_t serial) {
  const tegi_clock_entry* entry = find(clock, stream_id);
  return entry && entry->serial >= serial;
}

void tegi_clock_clear(tegi_clock* clock) {
  clock->epoch = 0;
  clock->bind = 0;
  clock->count = 0;
}

void tegi_clock_free(tegi_host* host, tegi_clock* clock) {
  tegi_host_free(host, clock->entries,
                 clock->capacity * sizeof *clock->entries);
  *clock = (tegi_clock){0};
}
