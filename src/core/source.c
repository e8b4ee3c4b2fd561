// SPDX-License-Identifier: Apache-2.0
//
// What policies ask core for: device objects, tiles, the rule of reuse, and
// how much more may be reserved. Every call of the driver is counted and timed
// here, and happens outside of the short locks.
#include <inttypes.h>

#include "base/error.h"
#include "core/objects.h"

static teg_session* session_of(tegi_source* source) {
  return ((tegi_core_source*)source)->session;
}

static teg_device* device_of(tegi_source* source) {
  return session_of(source)->device;
}

// ---- Counting the driver ---------------------------------------------------

static uint64_t driver_enter(teg_device* device) {
  tegi_fetch_add_relaxed(&device->driver_call_count, 1);
  return tegi_now_ns();
}

static void driver_leave(teg_device* device, uint64_t begin_ns) {
  tegi_fetch_add_relaxed(&device->driver_ns, tegi_now_ns() - begin_ns);
}

static void subtract(tegi_atomic_u64* value, uint64_t amount) {
  tegi_fetch_add_relaxed(value, ~amount + 1);
}

// Enters |bytes| as reserved if the budget and the driver's limits allow it.
static teg_result reserve_bytes(teg_device* device, uint64_t bytes,
                                teg_error* err) {
  if (bytes > device->caps.max_allocation_bytes) {
    return tegi_error_set(err, TEG_LIMIT,
                          "%" PRIu64
                          " bytes are more than the device's "
                          "largest allocation of %" PRIu64,
                          bytes, device->caps.max_allocation_bytes);
  }
  uint64_t most = device->caps.max_allocation_count;
  if (most && tegi_load_relaxed(&device->allocations_alive) >= most) {
    return tegi_error_set(
        err, TEG_LIMIT,
        "the device allows no more than %" PRIu64 " allocations", most);
  }
  uint64_t budget = device->options.budget;
  uint64_t before = tegi_fetch_add_relaxed(&device->reserved_bytes, bytes);
  if (budget && before + bytes > budget) {
    subtract(&device->reserved_bytes, bytes);
    return tegi_error_set(err, TEG_OVER_BUDGET,
                          "%" PRIu64
                          " bytes more would exceed the device's "
                          "budget of %" PRIu64 " (reserved: %" PRIu64 ")",
                          bytes, budget, before);
  }
  return TEG_OK;
}

// Tiles of one heap or range are counted in 32 bits.
#define MOST_TILES (UINT32_MAX - 64)

// ---- Extents ---------------------------------------------------------------

static tegi_extent* take_extent(teg_device* device) {
  tegi_lock_acquire(&device->lock);
  tegi_extent* extent = tegi_slab_take(&device->extents);
  tegi_lock_release(&device->lock);
  if (extent) *extent = (tegi_extent){.heap_index = UINT32_MAX};
  return extent;
}

static void give_extent(teg_device* device, tegi_extent* extent) {
  tegi_use_clear(&device->host, &extent->use);
  tegi_lock_acquire(&device->lock);
  tegi_slab_give(&device->extents, extent);
  tegi_lock_release(&device->lock);
}

// Made of whole tiles where there are any.
static bool is_cut(tegi_extent_kind kind) {
  return kind == TEGI_EXTENT_HEAP || kind == TEGI_EXTENT_RANGE;
}

static uint64_t granule(const teg_device* device, tegi_extent_kind kind) {
  bool is_tiled = is_cut(kind) && device->tables.remap;
  return is_tiled ? device->caps.tile_bytes : device->caps.buffer_granularity;
}

static teg_result make(teg_device* device, tegi_extent_kind kind,
                       uint64_t bytes, tegi_extent* extent, teg_error* err) {
  teg_result result;
  uint64_t begin_ns = driver_enter(device);
  const teg_device_ops* ops = device->tables.device;
  teg_backend_device* backend = device->backend;
  bool is_staging = kind == TEGI_EXTENT_UPLOAD || kind == TEGI_EXTENT_READBACK;
  if (kind == TEGI_EXTENT_RANGE) {
    result = device->tables.remap->range_reserve(backend, bytes,
                                                 &extent->memory, err);
  } else if (kind == TEGI_EXTENT_HEAP) {
    result = ops->heap_create(backend, bytes, &extent->memory, err);
  } else if (is_staging && ops->staging_create) {
    result = ops->staging_create(backend, bytes, kind == TEGI_EXTENT_READBACK,
                                 &extent->memory, err);
  } else {
    result = ops->buffer_create(backend, bytes, &extent->memory, err);
  }
  driver_leave(device, begin_ns);
  return result;
}

static teg_result create_extent(teg_device* device, tegi_extent_kind kind,
                                uint64_t bytes, tegi_extent** out_extent,
                                teg_error* err) {
  *out_extent = NULL;
  if (bytes > TEGI_MAX_BYTES) {
    return tegi_error_set(err, TEG_LIMIT, "%" PRIu64 " bytes: too many", bytes);
  }
  bytes = tegi_align_up(bytes, granule(device, kind));
  if (is_cut(kind) && device->caps.tile_bytes &&
      bytes / device->caps.tile_bytes >= MOST_TILES) {
    return tegi_error_set(err, TEG_LIMIT,
                          "%" PRIu64
                          " bytes are more than 2^32 tiles of %" PRIu64,
                          bytes, device->caps.tile_bytes);
  }
  tegi_extent* extent = take_extent(device);
  if (!extent) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "no host memory for the record of a device object");
  }
  extent->bytes = bytes;
  extent->kind = kind;
  teg_result result = TEG_OK;
  bool is_memory = kind != TEGI_EXTENT_RANGE;
  if (is_memory) result = reserve_bytes(device, bytes, err);
  if (result == TEG_OK) {
    result = make(device, kind, bytes, extent, err);
    if (result != TEG_OK && is_memory) {
      subtract(&device->reserved_bytes, bytes);
    }
  }
  if (result != TEG_OK) {
    give_extent(device, extent);
    return result;
  }
  if (is_memory) {
    tegi_atomic_max(&device->peak_reserved_bytes,
                    tegi_load_relaxed(&device->reserved_bytes));
    tegi_fetch_add_relaxed(&device->allocation_count, 1);
    tegi_fetch_add_relaxed(&device->allocations_alive, 1);
  }
  *out_extent = extent;
  return TEG_OK;
}

static void destroy_extent(teg_device* device, tegi_extent* extent) {
  uint64_t begin_ns = driver_enter(device);
  if (extent->kind == TEGI_EXTENT_RANGE) {
    device->tables.remap->range_release(device->backend, extent->memory);
  } else {
    device->tables.device->memory_destroy(device->backend, extent->memory);
  }
  driver_leave(device, begin_ns);
  if (extent->kind != TEGI_EXTENT_RANGE) {
    subtract(&device->reserved_bytes, extent->bytes);
    subtract(&device->allocations_alive, 1);
  }
  give_extent(device, extent);
}

static teg_result buffer_create(tegi_source* source, uint64_t bytes,
                                tegi_extent** out_extent, teg_error* err) {
  return create_extent(device_of(source), TEGI_EXTENT_BUFFER, bytes, out_extent,
                       err);
}

static teg_result staging_create(tegi_source* source, uint64_t bytes,
                                 bool is_readback, tegi_extent** out_extent,
                                 teg_error* err) {
  return create_extent(device_of(source),
                       is_readback ? TEGI_EXTENT_READBACK : TEGI_EXTENT_UPLOAD,
                       bytes, out_extent, err);
}

static teg_result heap_create(tegi_source* source, uint64_t bytes,
                              tegi_extent** out_extent, teg_error* err) {
  return create_extent(device_of(source), TEGI_EXTENT_HEAP, bytes, out_extent,
                       err);
}

static teg_result range_reserve(tegi_source* source, uint64_t bytes,
                                tegi_extent** out_extent, teg_error* err) {
  return create_extent(device_of(source), TEGI_EXTENT_RANGE, bytes, out_extent,
                       err);
}

// Puts a retired object back, behind the others. Session's lock held.
static void retire_again(teg_session* session, tegi_extent* extent) {
  extent->next = NULL;
  *session->retired_tail = extent;
  session->retired_tail = &extent->next;
  tegi_counter_add(&session->retired_count, 1);
}

// Session's lock held, or nobody else can see the session.
static void retire(tegi_source* source, tegi_extent* extent,
                   tegi_use_set* use) {
  extent->use = *use;
  *use = (tegi_use_set){0};
  retire_again(session_of(source), extent);
}

// Takes the longest retired object out. Session's lock held; NULL = none.
static tegi_extent* take_retired(teg_session* session) {
  tegi_extent* extent = session->retired_head;
  if (!extent) return NULL;
  session->retired_head = extent->next;
  if (!session->retired_head) session->retired_tail = &session->retired_head;
  tegi_counter_sub(&session->retired_count, 1);
  return extent;
}

void tegi_session_collect(teg_session* session) {
  enum { MOST_BUSY_LOOKS = 64 };
  uint64_t left = tegi_load_relaxed(&session->retired_count);
  if (left == 0) return;
  teg_device* device = session->device;
  tegi_extent* idle = NULL;
  uint32_t busy_count = 0;
  tegi_lock_acquire(&session->lock);
  // Busy ones go behind the others, so that each has its turn.
  for (; left > 0 && busy_count < MOST_BUSY_LOOKS; --left) {
    tegi_extent* extent = take_retired(session);
    if (!extent) break;
    if (tegi_device_set_is_idle(device, &extent->use)) {
      extent->next = idle;
      idle = extent;
    } else {
      retire_again(session, extent);
      busy_count++;
    }
  }
  tegi_lock_release(&session->lock);
  while (idle) {
    tegi_extent* extent = idle;
    idle = extent->next;
    destroy_extent(device, extent);
  }
}

void tegi_session_collect_all(teg_session* session, tegi_stream_id stream) {
  teg_device* device = session->device;
  uint64_t left = tegi_load_relaxed(&session->retired_count);
  for (; left > 0; --left) {
    tegi_lock_acquire(&session->lock);
    tegi_extent* extent = take_retired(session);
    tegi_lock_release(&session->lock);
    if (!extent) return;
    bool is_idle =
        tegi_device_set_is_idle(device, &extent->use) ||
        tegi_device_wait(device, &extent->use, stream, NULL) == TEG_OK;
    if (is_idle) {
      destroy_extent(device, extent);
    } else {
      tegi_lock_acquire(&session->lock);
      retire_again(session, extent);
      tegi_lock_release(&session->lock);
    }
  }
}

void tegi_session_collect_last(teg_session* session) {
  tegi_session_collect(session);
  teg_device* device = session->device;
  tegi_lock_acquire(&device->lock);
  if (session->retired_head) {
    *session->retired_tail = device->orphans;
    device->orphans = session->retired_head;
    session->retired_head = NULL;
  }
  tegi_lock_release(&device->lock);
}

// An idle orphan, out of the list; NULL = none.
static tegi_extent* take_orphan(teg_device* device) {
  tegi_lock_acquire(&device->lock);
  tegi_extent** at = &device->orphans;
  while (*at && !tegi_set_is_idle(&device->timelines, &(*at)->use)) {
    at = &(*at)->next;
  }
  tegi_extent* extent = *at;
  if (extent) *at = extent->next;
  tegi_lock_release(&device->lock);
  return extent;
}

static void collect(tegi_source* source) {
  tegi_session_collect(session_of(source));
}

// ---- The rule, and how much may be reserved --------------------------------

static tegi_verdict check(tegi_source* source, const tegi_use_set* use,
                          tegi_write write, tegi_stream_id stream) {
  return tegi_device_check(device_of(source), use, write, stream);
}

static void prune(tegi_source* source, tegi_use_set* use) {
  tegi_device_prune(device_of(source), use);
}

static uint64_t most_bytes(tegi_source* source) {
  const teg_device* device = device_of(source);
  uint64_t most = device->caps.total_bytes;
  if (most == 0) most = UINT64_MAX;
  uint64_t budget = device->options.budget;
  return budget ? tegi_min_u64(budget, most) : most;
}

static teg_result wait(tegi_source* source, const tegi_use_set* use,
                       tegi_stream_id stream, teg_error* err) {
  return tegi_device_wait(device_of(source), use, stream, err);
}

static bool is_alone(const teg_device* device) {
  return tegi_load_relaxed(&device->session_count) <= 1;
}

static bool is_shared(tegi_source* source) {
  return !is_alone(device_of(source));
}

static uint64_t run_peak(tegi_source* source) {
  const teg_session* session = session_of(source);
  if (is_alone(session->device)) {
    return tegi_load_relaxed(&session->peak_run_live_bytes);
  }
  return tegi_load_relaxed(&session->device->peak_run_live_bytes);
}

static uint64_t run_live(tegi_source* source) {
  const teg_session* session = session_of(source);
  if (is_alone(session->device)) return tegi_session_run_live(session);
  return tegi_load_relaxed(&session->device->run_live_bytes);
}

static uint64_t static_live(tegi_source* source) {
  const teg_session* session = session_of(source);
  if (is_alone(session->device)) {
    return tegi_load_relaxed(
        &session->lifetimes[TEG_LIFETIME_STATIC].granted_bytes);
  }
  return tegi_load_relaxed(&session->device->static_live_bytes);
}

static uint64_t reserved(tegi_source* source) {
  return tegi_load_relaxed(&device_of(source)->reserved_bytes);
}

static uint64_t headroom(tegi_source* source, const tegi_slack* slack) {
  if (slack->is_unlimited) return UINT64_MAX;
  uint64_t run = run_peak(source);
  if (slack->pending_bytes) {
    run = tegi_max_u64(run, run_live(source) + slack->pending_bytes);
  }
  // Sessions that are idle need no slack: the asking one's own run counts.
  uint64_t own_run =
      is_shared(source)
          ? tegi_load_relaxed(&session_of(source)->peak_run_live_bytes)
          : run;
  uint64_t fixed = static_live(source);
  uint64_t of_all = (fixed + run) / 100 * slack->of_all_percent;
  uint64_t of_run = own_run / 100 * slack->of_run_percent;
  of_run -= tegi_min_u64(of_run, slack->margin_bytes);
  uint64_t limit = fixed + run + tegi_min_u64(of_all, of_run);
  uint64_t held = reserved(source);
  return limit > held ? limit - held : 0;
}

// ---- Free buffers that move between sessions -------------------------------

static void lend(tegi_source* source, tegi_extent* extent, tegi_use_set* use) {
  teg_device* device = device_of(source);
  tegi_lock_acquire(&device->lock);
  tegi_block* block =
      device->lent ? tegi_slab_take(&device->lent_blocks) : NULL;
  if (block) {
    *block = (tegi_block){.size = extent->bytes, .extent = extent};
    extent->use = *use;
    *use = (tegi_use_set){0};
    tegi_bins_insert(device->lent, block, block->size);
    tegi_fetch_add_relaxed(&device->lent_bytes, block->size);
  }
  tegi_lock_release(&device->lock);
  if (!block) retire(source, extent, use);
}

typedef struct adoption {
  teg_device* device;
  uint64_t max_bytes;
  tegi_stream_id stream;
} adoption;

// device->lock is held.
static bool may_adopt(void* user, const tegi_block* block) {
  const adoption* wanted = user;
  teg_device* device = wanted->device;
  const tegi_timeline* stream =
      device->timelines.find(device->timelines.user, wanted->stream);
  return block->size <= wanted->max_bytes &&
         tegi_reuse_check(&device->timelines, &block->extent->use,
                          TEGI_WRITE_DEVICE, stream, false) == TEGI_REUSE_NOW;
}

static tegi_extent* unlend(teg_device* device, tegi_block* block) {
  tegi_extent* extent = block->extent;
  subtract(&device->lent_bytes, block->size);
  tegi_bins_remove(device->lent, block);
  tegi_slab_give(&device->lent_blocks, block);
  return extent;
}

static tegi_extent* adopt(tegi_source* source, uint64_t min_bytes,
                          uint64_t max_bytes, tegi_stream_id stream,
                          tegi_use_set* out_use) {
  teg_device* device = device_of(source);
  tegi_extent* extent = NULL;
  if (tegi_load_relaxed(&device->lent_bytes) == 0) return NULL;
  tegi_lock_acquire(&device->lock);
  if (device->lent) {
    adoption wanted = {device, max_bytes, stream};
    tegi_block* block = tegi_bins_find_within(device->lent, min_bytes,
                                              max_bytes, may_adopt, &wanted);
    if (block) {
      extent = unlend(device, block);
      *out_use = extent->use;
      extent->use = (tegi_use_set){0};
    }
  }
  tegi_lock_release(&device->lock);
  return extent;
}

static bool is_idle_block(const teg_device* device, const tegi_block* block) {
  return tegi_set_is_idle(&device->timelines, &block->extent->use);
}

// The first idle lent buffer of at least |least| bytes, whatever is in its way:
// a search for a fit would look at a few of each bin only. device->lock held.
static tegi_block* find_idle_lent(teg_device* device, uint64_t least) {
  const tegi_bins* bins = device->lent;
  uint32_t bin = bins ? tegi_bins_next(bins, tegi_bin_of(least)) : UINT32_MAX;
  while (bin != UINT32_MAX) {
    for (tegi_block* block = bins->heads[bin]; block; block = block->bin_next) {
      if (block->size >= least && is_idle_block(device, block)) return block;
    }
    bin = tegi_bins_next(bins, bin + 1);
  }
  return NULL;
}

// Destroys idle lent buffers, few large ones rather than many small ones.
static uint64_t destroy_lent(teg_device* device, uint64_t wanted) {
  uint64_t bytes = 0;
  uint64_t least = wanted;
  while (bytes < wanted && least > 0) {
    tegi_extent* extent = NULL;
    tegi_lock_acquire(&device->lock);
    tegi_block* block = find_idle_lent(device, least);
    if (block) extent = unlend(device, block);
    tegi_lock_release(&device->lock);
    if (extent) {
      bytes += extent->bytes;
      destroy_extent(device, extent);
    } else {
      least /= 2;
    }
  }
  return bytes;
}

uint64_t tegi_device_collect_orphans(teg_device* device) {
  uint64_t bytes = 0;
  tegi_extent* orphan;
  while ((orphan = take_orphan(device)) != NULL) {
    bytes += orphan->bytes;
    destroy_extent(device, orphan);
  }
  return bytes;
}

uint64_t tegi_device_trim_lent(teg_device* device) {
  return destroy_lent(device, UINT64_MAX) + tegi_device_collect_orphans(device);
}

static uint64_t trim_lent(tegi_source* source, uint64_t wanted) {
  return destroy_lent(device_of(source), wanted);
}

// ---- Tiles -----------------------------------------------------------------

static uint32_t tiles_take(tegi_source* source, uint32_t count,
                           tegi_tile* out) {
  teg_device* device = device_of(source);
  tegi_lock_acquire(&device->lock);
  uint32_t taken = tegi_heaps_take(&device->heaps, count, out);
  tegi_lock_release(&device->lock);
  return taken;
}

static void tiles_give(tegi_source* source, const tegi_tile* tiles,
                       uint32_t count) {
  teg_device* device = device_of(source);
  tegi_lock_acquire(&device->lock);
  tegi_heaps_give(&device->heaps, tiles, count,
                  tegi_load_relaxed(&device->run_clock));
  tegi_lock_release(&device->lock);
}

// The bytes of a new heap for |tile_count| tiles: docs/design.md, "Heaps".
static uint64_t heap_bytes(tegi_source* source, uint32_t tile_count,
                           const tegi_slack* slack) {
  const teg_device* device = device_of(source);
  const teg_options* options = &device->options;
  uint64_t needed = (uint64_t)tile_count * device->caps.tile_bytes;
  if (!slack) return needed;
  uint64_t step = reserved(source) / options->heap_divisor;
  step = tegi_max_u64(step, options->heap_min);
  step = tegi_min_u64(step, options->heap_max);
  uint64_t most = device->caps.max_allocation_count;
  uint64_t alive = tegi_load_relaxed(&device->allocations_alive);
  if (most && alive > most / 2) step *= 4;
  step = tegi_min_u64(step, headroom(source, slack));
  step = tegi_align_down(step, device->caps.tile_bytes);
  return tegi_min_u64(tegi_max_u64(step, needed),
                      tegi_max_u64(device->caps.max_allocation_bytes, needed));
}

// A heap in the device's table, none of its tiles free.
static teg_result add_heap(tegi_source* source, uint64_t bytes,
                           tegi_extent** out_extent, teg_error* err) {
  teg_device* device = device_of(source);
  tegi_extent* extent;
  teg_result result =
      create_extent(device, TEGI_EXTENT_HEAP, bytes, &extent, err);
  if (result != TEG_OK) return result;
  uint32_t tiles = (uint32_t)(extent->bytes / device->caps.tile_bytes);
  tegi_lock_acquire(&device->lock);
  bool is_added = tegi_heaps_add(&device->host, &device->heaps, extent, tiles);
  tegi_lock_release(&device->lock);
  if (!is_added) {
    destroy_extent(device, extent);
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "no host memory for the record of a heap");
  }
  *out_extent = extent;
  return TEG_OK;
}

static teg_result tiles_grow(tegi_source* source, uint32_t tile_count,
                             const tegi_slack* slack, teg_error* err) {
  tegi_extent* extent;
  uint64_t needed = heap_bytes(source, tile_count, NULL);
  uint64_t bytes = heap_bytes(source, tile_count, slack);
  teg_result result = add_heap(source, bytes, &extent, err);
  if (result != TEG_OK && bytes > needed) {
    result = add_heap(source, needed, &extent, err);
  }
  if (result != TEG_OK) return result;
  teg_device* device = device_of(source);
  uint32_t count = (uint32_t)(extent->bytes / device->caps.tile_bytes);
  tegi_tile first = {extent->heap_index, 0};
  tegi_lock_acquire(&device->lock);
  tegi_heaps_give_run(&device->heaps, first, count,
                      tegi_load_relaxed(&device->run_clock));
  tegi_lock_release(&device->lock);
  return TEG_OK;
}

uint64_t tegi_device_trim_heaps(teg_device* device, uint64_t min_age_runs) {
  uint64_t now = tegi_load_relaxed(&device->run_clock);
  if (now < min_age_runs) return 0;
  uint64_t bytes = 0;
  for (;;) {
    tegi_lock_acquire(&device->lock);
    tegi_extent* extent = tegi_heaps_remove_whole(&device->host, &device->heaps,
                                                  now - min_age_runs);
    tegi_lock_release(&device->lock);
    if (!extent) return bytes;
    bytes += extent->bytes;
    destroy_extent(device, extent);
  }
}

void tegi_device_drop_heaps(teg_device* device) {
  tegi_extent* extent;
  while ((extent = tegi_heaps_remove_any(&device->host, &device->heaps))) {
    destroy_extent(device, extent);
  }
}

// Whether it is worth looking for idle sessions: a glance without a lock.
static bool has_idle_others(const teg_session* own) {
  const teg_device* device = own->device;
  uint64_t idle = tegi_load_relaxed(&device->session_count) -
                  tegi_load_relaxed(&device->running_count);
  return idle > (tegi_load_state(&own->is_running) ? 0u : 1u);
}

// An idle session other than |own| whose growth mutex is now held; the search
// goes on behind |after|. The registry is held.
static teg_session* next_idle(teg_device* device, const teg_session* own,
                              teg_session* after) {
  teg_session* session = after ? after->next : device->sessions;
  for (; session; session = session->next) {
    if (session == own || tegi_load_state(&session->is_running)) continue;
    if (tegi_mutex_try(&session->growth)) return session;
  }
  return NULL;
}

// A session between two of its runs wants its buffers back at once: it lends
// nothing to a run that began before its own last one ended.
static bool is_idle_for_run_of(const teg_session* session,
                               const teg_session* asking) {
  return !tegi_load_state(&asking->is_running) ||
         tegi_load_relaxed(&session->run_end_clock) <=
             tegi_load_relaxed(&asking->run_begin_clock);
}

static void lend_buffers(teg_session* session, uint64_t min_bytes,
                         uint64_t max_bytes) {
  for (uint32_t i = 0; i < session->slot_count; ++i) {
    tegi_policy* policy = session->slots[i];
    if (!policy->ops->lend_buffers) continue;
    policy->ops->lend_buffers(policy, min_bytes, max_bytes);
  }
}

static uint64_t lent(tegi_source* source, uint64_t min_bytes,
                     uint64_t max_bytes) {
  teg_session* own = session_of(source);
  teg_device* device = own->device;
  if (has_idle_others(own)) {
    tegi_mutex_lock(&device->registry);
    teg_session* session = NULL;
    while ((session = next_idle(device, own, session)) != NULL) {
      if (is_idle_for_run_of(session, own)) {
        lend_buffers(session, min_bytes, max_bytes);
      }
      tegi_mutex_unlock(&session->growth);
    }
    tegi_mutex_unlock(&device->registry);
  }
  return tegi_load_relaxed(&device->lent_bytes);
}

static uint64_t trim_idle(tegi_source* source, uint64_t wanted) {
  teg_session* own = session_of(source);
  teg_device* device = own->device;
  if (!has_idle_others(own)) return 0;
  uint64_t bytes = 0;
  tegi_mutex_lock(&device->registry);
  teg_session* session = next_idle(device, own, NULL);
  while (session) {
    for (uint32_t i = 0; i < session->slot_count && bytes < wanted; ++i) {
      tegi_policy* policy = session->slots[i];
      bytes += policy->ops->trim(policy, wanted - bytes, false,
                                 session->first_stream->timeline.id);
    }
    tegi_session_collect(session);
    tegi_mutex_unlock(&session->growth);
    session = bytes < wanted ? next_idle(device, own, session) : NULL;
  }
  tegi_mutex_unlock(&device->registry);
  return bytes;
}

// The growth mutex of |session| is held.
static uint32_t borrow_from(teg_session* session, const tegi_policy* asking,
                            uint32_t count, bool may_wait,
                            tegi_stream_id stream) {
  uint32_t got = 0;
  for (uint32_t i = 0; i < session->slot_count && got < count; ++i) {
    tegi_policy* policy = session->slots[i];
    if (policy == asking || !policy->ops->lend_tiles) continue;
    got += policy->ops->lend_tiles(policy, count - got, may_wait, stream);
  }
  return got;
}

static uint32_t tiles_borrow(tegi_source* source, const tegi_policy* asking,
                             uint32_t count, bool may_wait,
                             tegi_stream_id stream) {
  teg_session* own = session_of(source);
  teg_device* device = own->device;
  uint32_t got = borrow_from(own, asking, count, may_wait, stream);
  if (got == count || !has_idle_others(own)) return got;
  tegi_mutex_lock(&device->registry);
  teg_session* session = next_idle(device, own, NULL);
  while (session) {
    got += borrow_from(session, NULL, count - got, may_wait,
                       session->first_stream->timeline.id);
    tegi_mutex_unlock(&session->growth);
    session = got < count ? next_idle(device, own, session) : NULL;
  }
  tegi_mutex_unlock(&device->registry);
  return got;
}

// ---- Mapping ---------------------------------------------------------------

enum { RUNS_ON_STACK = 64 };

// Neighbouring slots over neighbouring tiles become one run.
static size_t build_runs(teg_device* device, const uint32_t* slots,
                         const tegi_tile* tiles, uint32_t count,
                         uint32_t* in_out_from, teg_tile_run* runs) {
  size_t run_count = 0;
  uint32_t i = *in_out_from;
  while (i < count && run_count < RUNS_ON_STACK) {
    uint32_t first = i++;
    while (i < count && slots[i] == slots[i - 1] + 1 &&
           (!tiles || (tiles[i].heap_index == tiles[i - 1].heap_index &&
                       tiles[i].tile_index == tiles[i - 1].tile_index + 1))) {
      i++;
    }
    teg_tile_run* run = &runs[run_count++];
    *run = (teg_tile_run){.range_tile_index = slots[first],
                          .tile_count = i - first};
    if (tiles) {
      run->heap_tile_index = tiles[first].tile_index;
      tegi_lock_acquire(&device->lock);
      run->heap = device->heaps.table[tiles[first].heap_index].extent->memory;
      tegi_lock_release(&device->lock);
    }
  }
  *in_out_from = i;
  return run_count;
}

static teg_result unmap_runs(teg_device* device, tegi_extent* range,
                             const teg_tile_run* runs, size_t run_count,
                             teg_error* err) {
  uint64_t begin_ns = driver_enter(device);
  teg_result result = device->tables.remap->unmap(
      device->backend, range->memory, runs, run_count, err);
  driver_leave(device, begin_ns);
  return result;
}

// Not ordered: between binds_begin and binds_end.
static teg_result unmap_slots(teg_device* device, tegi_extent* range,
                              const uint32_t* slots, uint32_t count,
                              teg_error* err) {
  teg_tile_run runs[RUNS_ON_STACK];
  uint32_t from = 0;
  while (from < count) {
    size_t run_count = build_runs(device, slots, NULL, count, &from, runs);
    teg_result result = unmap_runs(device, range, runs, run_count, err);
    if (result != TEG_OK) return result;
  }
  return TEG_OK;
}

// As above. What was mapped before a failure is taken away again, here or by
// binds_end.
static teg_result map_slots(teg_device* device, tegi_extent* range,
                            const uint32_t* slots, const tegi_tile* tiles,
                            uint32_t count, teg_error* err) {
  teg_tile_run runs[RUNS_ON_STACK];
  uint32_t from = 0;
  while (from < count) {
    uint32_t done = from;
    size_t run_count = build_runs(device, slots, tiles, count, &from, runs);
    uint64_t begin_ns = driver_enter(device);
    teg_result result = device->tables.remap->map(
        device->backend, range->memory, runs, run_count, err);
    driver_leave(device, begin_ns);
    if (result != TEG_OK) {
      if (!device->binds.stream) {
        (void)unmap_slots(device, range, slots, done, NULL);
      }
      return result;
    }
  }
  return TEG_OK;
}

static teg_result map(tegi_source* source, tegi_extent* range,
                      const uint32_t* slots, const tegi_tile* tiles,
                      uint32_t count, const tegi_use_set* after,
                      teg_error* err) {
  teg_device* device = device_of(source);
  teg_result result = tegi_binds_begin(device, after, err);
  if (result != TEG_OK) return result;
  result = map_slots(device, range, slots, tiles, count, err);
  result = tegi_binds_end(device, result, err);
  if (result != TEG_OK) return result;
  tegi_lock_acquire(&device->lock);
  uint32_t again = tegi_heaps_mark_mapped(&device->heaps, tiles, count);
  tegi_lock_release(&device->lock);
  tegi_fetch_add_relaxed(&device->tiles_mapped_count, count);
  tegi_fetch_add_relaxed(&device->tiles_remapped_count, again);
  return TEG_OK;
}

static teg_result unmap(tegi_source* source, tegi_extent* range,
                        const uint32_t* slots, uint32_t count,
                        const tegi_use_set* after, teg_error* err) {
  teg_device* device = device_of(source);
  teg_result result = tegi_binds_begin(device, after, err);
  if (result != TEG_OK) return result;
  result = unmap_slots(device, range, slots, count, err);
  return tegi_binds_end(device, result, err);
}

static teg_result unmap_run(tegi_source* source, tegi_extent* range,
                            uint32_t first, uint32_t count, teg_error* err) {
  teg_device* device = device_of(source);
  teg_tile_run run = {.range_tile_index = first, .tile_count = count};
  teg_result result = tegi_binds_begin(device, NULL, err);
  if (result != TEG_OK) return result;
  result = unmap_runs(device, range, &run, 1, err);
  return tegi_binds_end(device, result, err);
}

const tegi_source_ops tegi_core_source_ops = {
    .check = check,
    .prune = prune,
    .most_bytes = most_bytes,
    .retire = retire,
    .headroom = headroom,
    .is_shared = is_shared,
    .lend = lend,
    .lent = lent,
    .adopt = adopt,
    .tiles_take = tiles_take,
    .tiles_give = tiles_give,
    .wait = wait,
    .collect = collect,
    .trim_idle = trim_idle,
    .trim_lent = trim_lent,
    .buffer_create = buffer_create,
    .staging_create = staging_create,
    .heap_create = heap_create,
    .tiles_grow = tiles_grow,
    .tiles_borrow = tiles_borrow,
    .range_reserve = range_reserve,
    .map = map,
    .unmap = unmap,
    .unmap_run = unmap_run,
};
