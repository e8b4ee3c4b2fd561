// SPDX-License-Identifier: Apache-2.0
//
// Counters: each has one writer, the holder of its session's lock; readers add
// them up without a lock. What a session has live is told to the device only
// when it has moved by a sixteenth (64 KiB to 4 MiB), and when the session
// grows, so that two sessions on two threads do
// not share a cache line on every operation.
#include <inttypes.h>
#include <stdio.h>

#include "base/error.h"
#include "core/objects.h"

enum {
  LEAST_PUBLISH_BYTES = 64 * 1024,
  MOST_PUBLISH_BYTES = 4 * 1024 * 1024,
  PUBLISH_DIVISOR = 16,
};

void tegi_counters_add(tegi_counters* counters, uint64_t size,
                       uint64_t granted) {
  uint64_t live = tegi_load_relaxed(&counters->live_bytes) + size;
  tegi_store_relaxed(&counters->live_bytes, live);
  if (live > tegi_load_relaxed(&counters->peak_live_bytes)) {
    tegi_store_relaxed(&counters->peak_live_bytes, live);
  }
  tegi_counter_add(&counters->granted_bytes, granted);
  tegi_counter_add(&counters->create_count, 1);
}

void tegi_counters_remove(tegi_counters* counters, uint64_t size,
                          uint64_t granted) {
  tegi_counter_sub(&counters->live_bytes, size);
  tegi_counter_sub(&counters->granted_bytes, granted);
  tegi_counter_add(&counters->destroy_count, 1);
}

static uint64_t distance(uint64_t a, uint64_t b) {
  return a > b ? a - b : b - a;
}

void tegi_session_publish(teg_session* session, bool is_forced) {
  uint64_t run = tegi_session_run_live(session);
  if (run > tegi_load_relaxed(&session->peak_run_live_bytes)) {
    tegi_store_relaxed(&session->peak_run_live_bytes, run);
  }
  uint64_t fixed =
      tegi_load_relaxed(&session->lifetimes[TEG_LIFETIME_STATIC].live_bytes);
  uint64_t step =
      tegi_min_u64((run + fixed) / PUBLISH_DIVISOR, MOST_PUBLISH_BYTES);
  step = tegi_max_u64(step, LEAST_PUBLISH_BYTES);
  if (!is_forced && distance(run, session->published_run_bytes) < step &&
      distance(fixed, session->published_static_bytes) < step) {
    return;
  }
  teg_device* device = session->device;
  uint64_t run_step = run - session->published_run_bytes;
  uint64_t fixed_step = fixed - session->published_static_bytes;
  uint64_t all_run =
      tegi_fetch_add_relaxed(&device->run_live_bytes, run_step) + run_step;
  uint64_t all_fixed =
      tegi_fetch_add_relaxed(&device->static_live_bytes, fixed_step) +
      fixed_step;
  session->published_run_bytes = run;
  session->published_static_bytes = fixed;
  tegi_atomic_max(&device->peak_run_live_bytes, all_run);
  tegi_atomic_max(&device->peak_live_bytes, all_run + all_fixed);
}

void tegi_session_restart_slack(teg_session* session) {
  tegi_lock_acquire(&session->lock);
  tegi_session_publish(session, true);
  tegi_store_relaxed(&session->peak_run_live_bytes,
                     tegi_session_run_live(session));
  tegi_lock_release(&session->lock);
  teg_device* device = session->device;
  tegi_store_relaxed(&device->peak_run_live_bytes,
                     tegi_load_relaxed(&device->run_live_bytes));
}

static void fill_counters(const tegi_counters* counters, teg_stats* stats) {
  uint64_t created = tegi_load_relaxed(&counters->create_count);
  uint64_t destroyed = tegi_load_relaxed(&counters->destroy_count);
  stats->live_bytes = tegi_load_relaxed(&counters->live_bytes);
  stats->peak_live_bytes = tegi_load_relaxed(&counters->peak_live_bytes);
  stats->granted_bytes = tegi_load_relaxed(&counters->granted_bytes);
  stats->create_count = created;
  stats->buffer_count = created > destroyed ? created - destroyed : 0;
  stats->failure_count = tegi_load_relaxed(&counters->failure_count);
}

// Copies as much as the caller's structure has room for.
static void deliver(const teg_stats* stats, teg_stats* out_stats) {
  size_t room = out_stats->struct_size;
  if (room > sizeof *stats) room = sizeof *stats;
  uint32_t struct_size = out_stats->struct_size;
  __builtin_memcpy(out_stats, stats, room);
  out_stats->struct_size = struct_size;
}

void teg_session_get_stats(const teg_session* session, teg_stats* out_stats) {
  if (!session || !out_stats) return;
  teg_stats stats = {.version = 1};
  fill_counters(&session->totals, &stats);
  stats.hit_count = tegi_load_relaxed(&session->hit_count);
  stats.direct_write_bytes =
      tegi_load_relaxed(&session->written_bytes[TEGI_WAY_DIRECT]);
  stats.fresh_write_bytes =
      tegi_load_relaxed(&session->written_bytes[TEGI_WAY_FRESH]);
  stats.ring_write_bytes =
      tegi_load_relaxed(&session->written_bytes[TEGI_WAY_RING]);
  deliver(&stats, out_stats);
}

void teg_session_get_lifetime_stats(const teg_session* session,
                                    teg_lifetime lifetime,
                                    teg_stats* out_stats) {
  if (!session || !out_stats) return;
  teg_stats stats = {.version = 1};
  if ((unsigned)lifetime < TEG_LIFETIME_COUNT) {
    fill_counters(&session->lifetimes[lifetime], &stats);
  }
  deliver(&stats, out_stats);
}

void teg_session_get_tag_stats(const teg_session* session, uint32_t tag,
                               teg_stats* out_stats) {
  if (!session || !out_stats) return;
  teg_stats stats = {.version = 1};
  if (tag < TEGI_TAG_COUNT) fill_counters(&session->tags[tag].counters, &stats);
  deliver(&stats, out_stats);
}

static void add_sessions(teg_device* device, teg_stats* stats) {
  tegi_mutex_lock(&device->registry);
  uint32_t count = 0;
  uint64_t only_peak = 0;
  for (const teg_session* session = device->sessions; session;
       session = session->next) {
    teg_stats one = {.version = 1};
    fill_counters(&session->totals, &one);
    stats->live_bytes += one.live_bytes;
    stats->granted_bytes += one.granted_bytes;
    stats->create_count += one.create_count;
    stats->buffer_count += one.buffer_count;
    stats->failure_count += one.failure_count;
    stats->hit_count += tegi_load_relaxed(&session->hit_count);
    stats->direct_write_bytes +=
        tegi_load_relaxed(&session->written_bytes[TEGI_WAY_DIRECT]);
    stats->fresh_write_bytes +=
        tegi_load_relaxed(&session->written_bytes[TEGI_WAY_FRESH]);
    stats->ring_write_bytes +=
        tegi_load_relaxed(&session->written_bytes[TEGI_WAY_RING]);
    only_peak = one.peak_live_bytes;
    count++;
  }
  // With one session its own peak is exact; the device's is only as
  // good as what was published.
  if (count == 1 && device->next_session_number == 1) {
    stats->peak_live_bytes = only_peak;
  }
  tegi_mutex_unlock(&device->registry);
}

void teg_device_get_stats(teg_device* device, teg_stats* out_stats) {
  if (!device || !out_stats) return;
  teg_stats stats = {.version = 1};
  stats.peak_live_bytes = tegi_load_relaxed(&device->peak_live_bytes);
  stats.create_count = tegi_load_relaxed(&device->ended_create_count);
  stats.hit_count = tegi_load_relaxed(&device->ended_hit_count);
  stats.failure_count = tegi_load_relaxed(&device->ended_failure_count);
  add_sessions(device, &stats);
  stats.reserved_bytes = tegi_load_relaxed(&device->reserved_bytes);
  stats.peak_reserved_bytes = tegi_load_relaxed(&device->peak_reserved_bytes);
  tegi_lock_acquire(&device->lock);
  uint64_t free_bytes = device->heaps.free_tiles * device->caps.tile_bytes;
  tegi_lock_release(&device->lock);
  stats.mapped_bytes =
      stats.reserved_bytes > free_bytes ? stats.reserved_bytes - free_bytes : 0;
  stats.record_bytes = tegi_load_relaxed(&device->host.live_bytes);
  stats.driver_call_count = tegi_load_relaxed(&device->driver_call_count);
  stats.driver_ns = tegi_load_relaxed(&device->driver_ns);
  stats.allocation_count = tegi_load_relaxed(&device->allocation_count);
  stats.tiles_mapped_count = tegi_load_relaxed(&device->tiles_mapped_count);
  stats.tiles_remapped_count = tegi_load_relaxed(&device->tiles_remapped_count);
  stats.wait_count = tegi_load_relaxed(&device->wait_count);
  stats.wait_ns = tegi_load_relaxed(&device->wait_ns);
  deliver(&stats, out_stats);
}

static void restart_peak(tegi_counters* counters) {
  tegi_store_relaxed(&counters->peak_live_bytes,
                     tegi_load_relaxed(&counters->live_bytes));
}

static void restart_session(teg_session* session) {
  tegi_lock_acquire(&session->lock);
  tegi_session_publish(session, true);
  restart_peak(&session->totals);
  for (uint32_t i = 0; i < TEG_LIFETIME_COUNT; ++i) {
    restart_peak(&session->lifetimes[i]);
  }
  for (uint32_t i = 0; i < TEGI_TAG_COUNT; ++i) {
    restart_peak(&session->tags[i].counters);
  }
  tegi_lock_release(&session->lock);
}

void teg_device_reset_peaks(teg_device* device) {
  if (!device) return;
  tegi_mutex_lock(&device->registry);
  for (teg_session* session = device->sessions; session;
       session = session->next) {
    restart_session(session);
  }
  tegi_mutex_unlock(&device->registry);
  tegi_store_relaxed(&device->peak_reserved_bytes,
                     tegi_load_relaxed(&device->reserved_bytes));
  tegi_store_relaxed(&device->peak_live_bytes,
                     tegi_load_relaxed(&device->run_live_bytes) +
                         tegi_load_relaxed(&device->static_live_bytes));
}

size_t teg_stats_to_json(const teg_stats* stats, char* text, size_t capacity) {
  if (!stats) return 0;
  size_t length = 0;
  char spare[1];
  const char* separator = "{";
#define JSON_FIELD(field, help)                                             \
  {                                                                         \
    bool has_room = text && length < capacity;                              \
    int n = snprintf(has_room ? text + length : spare,                      \
                     has_room ? capacity - length : sizeof spare,           \
                     "%s\"" #field "\":%" PRIu64, separator, stats->field); \
    length += n > 0 ? (size_t)n : 0;                                        \
    separator = ",";                                                        \
  }
  TEG_STATS_FIELDS(JSON_FIELD)
#undef JSON_FIELD
  bool has_room = text && length < capacity;
  snprintf(has_room ? text + length : spare,
           has_room ? capacity - length : sizeof spare, "}");
  return length + 1;
}
