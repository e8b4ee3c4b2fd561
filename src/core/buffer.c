// SPDX-License-Identifier: Apache-2.0
//
// Buffers: the front door of allocation. The fast path takes the session's
// short lock once, asks the policy for a block, and counts. Everything that
// must grow goes through the growth mutex and the ladder.
#include <inttypes.h>

#include "base/error.h"
#include "core/objects.h"

// ---- Create ----------------------------------------------------------------

static teg_result check_params(const teg_session* session,
                               const teg_buffer_params* params,
                               teg_error* err) {
  TEG_REQUIRE(session, err, "buffer_create: session is NULL");
  TEG_REQUIRE(params, err, "buffer_create: params is NULL");
  TEG_REQUIRE(params->struct_size == sizeof *params, err,
              "buffer_create: params->struct_size is %" PRIu32 ", expected %zu",
              params->struct_size, sizeof *params);
  TEG_REQUIRE(params->size > 0 && params->size <= TEGI_MAX_BYTES, err,
              "buffer_create: size %" PRIu64 " is not in 1 to 2^62",
              params->size);
  TEG_REQUIRE((uint32_t)params->lifetime < TEG_LIFETIME_COUNT, err,
              "buffer_create: unknown lifetime %d", (int)params->lifetime);
  uint32_t unknown = params->flags & ~(uint32_t)TEGI_BUFFER_KNOWN_FLAGS;
  TEG_REQUIRE(unknown == 0, err, "buffer_create: unknown flags 0x%" PRIx32,
              unknown);
  TEG_REQUIRE(params->tag < tegi_load_state(&session->tag_count), err,
              "buffer_create: tag %" PRIu32 " was not made by session_tag",
              params->tag);
  bool is_growing = params->max_size != 0;
  TEG_REQUIRE(!is_growing || (params->lifetime == TEG_LIFETIME_STATE &&
                              params->max_size >= params->size &&
                              params->max_size <= TEGI_MAX_BYTES),
              err,
              "buffer_create: max_size %" PRIu64
              " needs the lifetime STATE and at least size bytes",
              params->max_size);
  TEG_REQUIRE(!params->stream || params->stream->session == session, err,
              "buffer_create: the home stream is another session's");
  return TEG_OK;
}

static tegi_policy* choose_policy(const teg_session* session,
                                  const teg_buffer_params* params) {
  if (params->flags & TEG_BUFFER_DEDICATED) return session->dedicated;
  return session->by_lifetime[params->lifetime];
}

// What |home| has recorded, and not submitted, on the bytes of a new buffer.
// No other stream can have: the rule for DEVICE.
static tegi_use inherited_use(const tegi_use_set* set,
                              const tegi_timeline* home) {
  bool is_home = (set->stream & ~TEGI_USE_QUEUE) == home->id;
  tegi_use inherited = {home->id, 0, is_home ? set->serial : 0};
  tegi_use use;
  for (size_t i = 1; set->more && tegi_use_at(set, i, &use); ++i) {
    is_home = (use.stream & ~TEGI_USE_QUEUE) == home->id;
    if (is_home && use.serial > inherited.serial) inherited.serial = use.serial;
  }
  if (inherited.serial <= tegi_load_relaxed(&home->submitted)) {
    inherited.serial = 0;
  }
  return inherited;
}

// Session's lock held. Counts and describes a block that was just taken.
static bool begin_life(teg_session* session, tegi_block* block,
                       const teg_buffer_params* params, teg_stream* stream) {
  teg_buffer* buffer = (teg_buffer*)block;
  if (block->use.more) tegi_device_prune(session->device, &block->use);
  uint32_t flags = params->flags;
  tegi_use inherited = inherited_use(&block->use, &stream->timeline);
  if (inherited.serial) {
    flags |= TEGI_BUFFER_HAS_INHERITED;
    buffer->inherited = inherited;
  }
  if ((params->flags & TEG_BUFFER_FOREIGN) &&
      !tegi_use_stamp(&session->device->host, &block->use, stream->timeline.id,
                      tegi_load_relaxed(&stream->timeline.submitted) + 1)) {
    return false;
  }
  buffer->session = session;
  buffer->size = params->size;
  buffer->number = ++session->next_buffer_number;
  buffer->stream = stream;
  if (params->max_size) {
    flags |= TEGI_BUFFER_HAS_MAX_SIZE;
    buffer->max_size = params->max_size;
  }
  buffer->has_foreign = false;
  buffer->has_spares = false;
  buffer->flags = flags & 63;
  buffer->tag = params->tag & 63;
  buffer->lifetime = (uint32_t)params->lifetime & 15;
  uint64_t granted = block->size;
  tegi_counters_add(&session->totals, params->size, granted);
  tegi_counters_add(&session->lifetimes[params->lifetime], params->size,
                    granted);
  if (params->tag) {
    tegi_counters_add(&session->tags[params->tag].counters, params->size,
                      granted);
  }
  tegi_session_publish(session, false);
  return true;
}

static void count_failure(teg_session* session,
                          const teg_buffer_params* params) {
  tegi_lock_acquire(&session->lock);
  tegi_counter_add(&session->totals.failure_count, 1);
  tegi_counter_add(&session->lifetimes[params->lifetime].failure_count, 1);
  tegi_lock_release(&session->lock);
}

// Session's lock held. TEG_OVER_BUDGET if |more| live bytes are too many.
static teg_result check_session_budget(teg_session* session, uint64_t more,
                                       teg_error* err) {
  uint64_t live = tegi_load_relaxed(&session->totals.live_bytes);
  uint64_t budget = session->session_budget;
  if (budget == 0 || live + more <= budget) return TEG_OK;
  return tegi_error_set(err, TEG_OVER_BUDGET,
                        "%" PRIu64
                        " bytes more would exceed the budget of %" PRIu64
                        " of session \"%.60s\", which has %" PRIu64 " live",
                        more, budget, session->name, live);
}

// The policy has no block ready: grows it. TEG_OK gives a block of the policy
// that no one counts yet.
static teg_result grow(teg_session* session, tegi_policy* policy,
                       const tegi_request* request, bool is_static,
                       tegi_block** out_block, teg_error* err) {
  tegi_mutex_lock(&session->growth);
  tegi_lock_acquire(&session->lock);
  *out_block = policy->ops->take(policy, request);
  tegi_lock_release(&session->lock);
  teg_result result = TEG_OK;
  if (!*out_block) {
    result =
        tegi_ladder_grow(session, policy, request, is_static, out_block, err);
  }
  tegi_mutex_unlock(&session->growth);
  return result;
}

static teg_result create_by_growing(teg_session* session, tegi_policy* policy,
                                    const tegi_request* request,
                                    const teg_buffer_params* params,
                                    teg_stream* stream, teg_buffer** out_buffer,
                                    teg_error* err) {
  tegi_block* block = NULL;
  bool is_static = params->lifetime == TEG_LIFETIME_STATIC;
  teg_result result = grow(session, policy, request, is_static, &block, err);
  if (result == TEG_OK) {
    tegi_lock_acquire(&session->lock);
    // Other threads may have made theirs while this one grew.
    result = check_session_budget(session, params->size, err);
    if (result == TEG_OK && !begin_life(session, block, params, stream)) {
      result = tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                              "buffer_create: no host memory for its uses");
    }
    if (result == TEG_OK) {
      tegi_session_publish(session, true);
      *out_buffer = (teg_buffer*)block;
    } else {
      policy->ops->give(policy, block);
    }
    tegi_lock_release(&session->lock);
  }
  if (result != TEG_OK) count_failure(session, params);
  return result;
}

teg_result teg_buffer_create(teg_session* session,
                             const teg_buffer_params* params,
                             teg_buffer** out_buffer, teg_error* err) {
  TEG_REQUIRE(out_buffer, err, "buffer_create: out_buffer is NULL");
  *out_buffer = NULL;
  teg_result result = check_params(session, params, err);
  if (result != TEG_OK) return result;
  teg_stream* stream = params->stream ? params->stream : session->first_stream;
  uint64_t alignment = session->device->caps.buffer_alignment;
  tegi_request request = {
      .size = tegi_align_up(params->size, alignment),
      .max_size =
          params->max_size ? tegi_align_up(params->max_size, alignment) : 0,
      .stream = stream->timeline.id,
  };
  tegi_policy* policy = choose_policy(session, params);
  tegi_lock_acquire(&session->lock);
  result = check_session_budget(session, params->size, err);
  if (result != TEG_OK) {
    tegi_lock_release(&session->lock);
    count_failure(session, params);
    return result;
  }
  tegi_block* block = policy->ops->take(policy, &request);
  if (block && begin_life(session, block, params, stream)) {
    tegi_counter_add(&session->hit_count, 1);
    *out_buffer = (teg_buffer*)block;
    tegi_lock_release(&session->lock);
    return TEG_OK;
  }
  if (block) policy->ops->give(policy, block);
  tegi_lock_release(&session->lock);
  return create_by_growing(session, policy, &request, params, stream,
                           out_buffer, err);
}

// ---- Destroy ---------------------------------------------------------------

static void stamp_recording(teg_session* session, tegi_use_set* use,
                            tegi_stream_id id) {
  teg_device* device = session->device;
  tegi_lock_acquire(&device->lock);
  const tegi_timeline* timeline =
      device->timelines.find(device->timelines.user, id);
  uint64_t serial = timeline ? tegi_load_relaxed(&timeline->submitted) + 1 : 0;
  tegi_lock_release(&device->lock);
  // The entry was made by used_on, so this cannot need memory.
  if (serial) (void)tegi_use_stamp(&device->host, use, id, serial);
}

static size_t foreign_bytes(uint32_t capacity) {
  return sizeof(tegi_foreign_streams) + capacity * sizeof(tegi_stream_id);
}

// Uses that tegula cannot see end here.
static void stamp_foreign(teg_buffer* buffer) {
  teg_session* session = buffer->session;
  tegi_use_set* use = &buffer->block.use;
  const teg_stream* home = buffer->stream;
  uint64_t serial = tegi_load_relaxed(&home->timeline.submitted) + 1;
  (void)tegi_use_stamp(&session->device->host, use, home->timeline.id, serial);
  if (!buffer->has_foreign) return;
  tegi_foreign_streams* foreign = buffer->foreign;
  for (uint32_t i = 0; i < foreign->count; ++i) {
    stamp_recording(session, use, foreign->ids[i]);
  }
  tegi_host_free(&session->device->host, foreign,
                 foreign_bytes(foreign->capacity));
}

void teg_buffer_destroy(teg_buffer* buffer) {
  if (!buffer) return;
  // The policy reads the second line behind the lock, which lets no read pass.
  __builtin_prefetch((const char*)buffer + TEGI_CACHE_LINE, 1);
  teg_session* session = buffer->session;
  tegi_lock_acquire(&session->lock);
  if ((buffer->flags & TEG_BUFFER_FOREIGN) || buffer->has_foreign) {
    stamp_foreign(buffer);
  }
  if (buffer->has_spares) tegi_fresh_release(buffer);
  buffer->block.use.host_holds = 0;
  uint64_t granted = buffer->block.size;
  tegi_counters_remove(&session->totals, buffer->size, granted);
  tegi_counters_remove(&session->lifetimes[buffer->lifetime], buffer->size,
                       granted);
  if (buffer->tag) {
    tegi_counters_remove(&session->tags[buffer->tag].counters, buffer->size,
                         granted);
  }
  tegi_session_publish(session, false);
  tegi_policy* policy = tegi_buffer_policy(buffer);
  policy->ops->give(policy, &buffer->block);
  tegi_lock_release(&session->lock);
}

// ---- Resize ----------------------------------------------------------------

typedef struct resizing {
  teg_buffer* buffer;
  tegi_policy* policy;
  uint64_t size;  // aligned
} resizing;

static teg_result try_resize(void* user, teg_error* err) {
  const resizing* wanted = user;
  if (!wanted->policy->ops->resize) return TEG_OK;
  return wanted->policy->ops->resize(wanted->policy, &wanted->buffer->block,
                                     wanted->size,
                                     wanted->buffer->stream->timeline.id, err);
}

// Session's lock held.
static void count_resize(teg_buffer* buffer, uint64_t size) {
  teg_session* session = buffer->session;
  tegi_counters* all[] = {
      &session->totals,
      &session->lifetimes[buffer->lifetime],
      buffer->tag ? &session->tags[buffer->tag].counters : NULL,
  };
  for (size_t i = 0; i < sizeof all / sizeof all[0]; ++i) {
    if (!all[i]) continue;
    uint64_t live =
        tegi_load_relaxed(&all[i]->live_bytes) - buffer->size + size;
    tegi_store_relaxed(&all[i]->live_bytes, live);
    tegi_atomic_max(&all[i]->peak_live_bytes, live);
  }
  buffer->size = size;
  tegi_session_publish(session, false);
}

// The growth mutex is held.
static teg_result resize(teg_buffer* buffer, uint64_t size, teg_error* err) {
  teg_session* session = buffer->session;
  if (size > buffer->size) {
    tegi_lock_acquire(&session->lock);
    teg_result result = check_session_budget(session, size - buffer->size, err);
    tegi_lock_release(&session->lock);
    if (result != TEG_OK) return result;
  }
  uint64_t alignment = session->device->caps.buffer_alignment;
  resizing wanted = {buffer, tegi_buffer_policy(buffer),
                     tegi_align_up(size, alignment)};
  return tegi_ladder_climb(session, size, buffer->stream->timeline.id,
                           try_resize, &wanted, err);
}

teg_result teg_buffer_resize(teg_buffer* buffer, uint64_t size,
                             teg_error* err) {
  TEG_REQUIRE(buffer, err, "buffer_resize: buffer is NULL");
  TEG_REQUIRE(buffer->flags & TEGI_BUFFER_HAS_MAX_SIZE, err,
              "buffer_resize: buffer %" PRIu64 " was made without a max_size",
              buffer->number);
  TEG_REQUIRE(size > 0 && size <= buffer->max_size, err,
              "buffer_resize: size %" PRIu64 " is not in 1 to %" PRIu64, size,
              buffer->max_size);
  teg_session* session = buffer->session;
  tegi_mutex_lock(&session->growth);
  teg_result result = resize(buffer, size, err);
  tegi_lock_acquire(&session->lock);
  if (result == TEG_OK) {
    count_resize(buffer, size);
  } else {
    tegi_counter_add(&session->totals.failure_count, 1);
  }
  tegi_lock_release(&session->lock);
  tegi_mutex_unlock(&session->growth);
  return result;
}

// ---- Uses tegula cannot see ------------------------------------------------

static bool add_foreign(teg_session* session, teg_buffer* buffer,
                        tegi_stream_id id) {
  tegi_host* host = &session->device->host;
  tegi_foreign_streams* foreign = buffer->has_foreign ? buffer->foreign : NULL;
  for (uint32_t i = 0; foreign && i < foreign->count; ++i) {
    if (foreign->ids[i] == id) return true;
  }
  if (!foreign || foreign->count == foreign->capacity) {
    uint32_t capacity = foreign ? foreign->capacity * 2 : 4;
    tegi_foreign_streams* grown =
        tegi_host_alloc(host, foreign_bytes(capacity));
    if (!grown) return false;
    grown->capacity = capacity;
    for (uint32_t i = 0; foreign && i < foreign->count; ++i) {
      grown->ids[grown->count++] = foreign->ids[i];
    }
    if (foreign) {
      tegi_host_free(host, foreign, foreign_bytes(foreign->capacity));
    }
    buffer->foreign = foreign = grown;
    buffer->has_foreign = true;
  }
  foreign->ids[foreign->count++] = id;
  return true;
}

static bool stamp_now(teg_session* session, tegi_use_set* use,
                      const teg_stream* stream) {
  return tegi_use_stamp(&session->device->host, use, stream->timeline.id,
                        tegi_load_relaxed(&stream->timeline.submitted) + 1);
}

teg_result teg_buffer_used_on(teg_buffer* buffer, teg_stream* stream,
                              teg_error* err) {
  TEG_REQUIRE(buffer && stream, err, "buffer_used_on: an argument is NULL");
  teg_session* session = buffer->session;
  TEG_REQUIRE(stream->session == session, err,
              "buffer_used_on: the stream is another session's");
  tegi_use inherited = tegi_buffer_inherited(buffer);
  if (inherited.serial && inherited.stream != stream->timeline.id) {
    teg_result result = tegi_device_submit_use(session->device, inherited, err);
    if (result != TEG_OK) return result;
  }
  tegi_lock_acquire(&session->lock);
  // On its home stream as well: what is stamped there at the end must find its
  // entry.
  bool is_added = stamp_now(session, &buffer->block.use, stream) &&
                  stamp_now(session, &buffer->block.use, buffer->stream) &&
                  add_foreign(session, buffer, stream->timeline.id);
  tegi_lock_release(&session->lock);
  if (is_added) return TEG_OK;
  return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                        "buffer_used_on: no host memory");
}

// ---- Map -------------------------------------------------------------------

teg_result tegi_buffer_host_access(const teg_buffer* buffer, uint64_t offset,
                                   uint64_t size, bool is_written,
                                   teg_error* err) {
  teg_span span = tegi_buffer_span(buffer, offset, size);
  return tegi_device_host_access(buffer->session->device, &span, is_written,
                                 err);
}

teg_result tegi_buffer_wait_idle(const teg_buffer* buffer,
                                 tegi_stream_id asking, teg_error* err) {
  teg_session* session = buffer->session;
  tegi_host* host = &session->device->host;
  tegi_use_set use;
  tegi_lock_acquire(&session->lock);
  bool is_copied = tegi_use_copy(host, &use, &buffer->block.use);
  tegi_lock_release(&session->lock);
  if (!is_copied) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "no host memory to wait for buffer %" PRIu64,
                          buffer->number);
  }
  // Later maps while one is open need not wait for themselves.
  use.host_holds = 0;
  teg_result result = tegi_device_wait(session->device, &use, asking, err);
  tegi_use_clear(host, &use);
  return result;
}

teg_result teg_buffer_map(teg_buffer* buffer, void** out_pointer,
                          teg_error* err) {
  TEG_REQUIRE(buffer && out_pointer, err, "buffer_map: an argument is NULL");
  *out_pointer = NULL;
  teg_session* session = buffer->session;
  teg_device* device = session->device;
  char* base = NULL;
  if (device->tables.map) {
    base = device->tables.map->host_pointer(device->backend,
                                            buffer->block.extent->memory);
  }
  if (!base) {
    return tegi_error_set(err, TEG_UNSUPPORTED,
                          "buffer_map: memory of %s has no host pointers",
                          device->tables.map ? "this buffer" : "this device");
  }
  teg_result result =
      tegi_buffer_wait_idle(buffer, buffer->stream->timeline.id, err);
  if (result == TEG_OK) {
    result = tegi_buffer_host_access(buffer, 0, buffer->size, true, err);
  }
  if (result == TEG_OK) {
    result = tegi_device_invalidate(device, buffer->block.extent->memory,
                                    buffer->block.offset, buffer->size, err);
  }
  if (result != TEG_OK) return result;
  tegi_lock_acquire(&session->lock);
  buffer->block.use.host_holds++;
  tegi_lock_release(&session->lock);
  *out_pointer = base + buffer->block.offset;
  return TEG_OK;
}

void teg_buffer_unmap(teg_buffer* buffer) {
  if (!buffer) return;
  teg_session* session = buffer->session;
  // Only a lost device refuses, and then nobody reads the bytes.
  (void)tegi_device_flush(session->device, buffer->block.extent->memory,
                          buffer->block.offset, buffer->size, NULL);
  tegi_lock_acquire(&session->lock);
  if (buffer->block.use.host_holds > 0) buffer->block.use.host_holds--;
  tegi_lock_release(&session->lock);
}

void teg_buffer_get_info(const teg_buffer* buffer, teg_buffer_info* out_info) {
  if (!buffer || !out_info) return;
  *out_info = (teg_buffer_info){
      .struct_size = sizeof *out_info,
      .lifetime = (teg_lifetime)buffer->lifetime,
      .flags = buffer->flags & (uint32_t)TEGI_BUFFER_KNOWN_FLAGS,
      .tag = buffer->tag,
      .size = buffer->size,
      .granted_bytes = buffer->block.size,
      .number = buffer->number,
      .offset = buffer->block.offset,
      .memory = buffer->block.extent->memory,
      .policy = tegi_buffer_policy(buffer)->ops->name,
  };
}
