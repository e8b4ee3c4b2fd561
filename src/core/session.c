// SPDX-License-Identifier: Apache-2.0
//
// Sessions: which policy serves which lifetime, runs, tags, and an end that
// leaves nothing behind.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "core/objects.h"

// A record is a buffer while it is used and may be a hole while it is free.
enum {
  RECORD_BYTES = sizeof(teg_buffer) > sizeof(tegi_hole) ? sizeof(teg_buffer)
                                                        : sizeof(tegi_hole),
};

// ---- Policies --------------------------------------------------------------

static void fill_policy_options(teg_session* session) {
  const teg_options* o = &session->options;
  session->policy_options = (tegi_policy_options){
      .slack_percent = (uint32_t)o->slack,
      .is_waiting_on_busy = o->on_busy == TEGI_ON_BUSY_WAIT,
      .age_runs = (uint32_t)o->age,
      .chunk_bytes = o->chunk,
      .dynamic_classes = (uint32_t)o->dynamic_classes,
      .dynamic_period_runs = (uint32_t)o->dynamic_period,
      .dynamic_horizon_runs = (uint32_t)o->dynamic_horizon,
      .dynamic_waste_percent = (uint32_t)o->dynamic_waste,
      .dynamic_slack_percent = (uint32_t)o->dynamic_slack,
      .page_min_bytes = tegi_min_u64(o->page_min, o->page_max),
      .page_max_bytes = o->page_max,
      .exclusive_min_bytes = tegi_min_u64(o->exclusive_min, o->exclusive_max),
      .exclusive_max_bytes = o->exclusive_max,
      .exclusive_age_requests = (uint32_t)o->exclusive_age,
      .planned_warmup_runs = (uint32_t)o->planned_warmup,
      .planned_horizon_runs = (uint32_t)o->planned_horizon,
      .buckets = o->buckets.text,
  };
}

static const tegi_policy_ops* policy_of(const char* name,
                                        const tegi_policy_ops* when_auto) {
  int index = tegi_policy_find(name, NULL);
  return index >= 0 ? tegi_policies[index] : when_auto;
}

// A policy object of the session; lifetimes with the same rule share one, so
// that they share free memory. STATIC has its own.
static teg_result add_policy(teg_session* session, const tegi_policy_ops* ops,
                             bool is_static, tegi_policy** out_policy,
                             teg_error* err) {
  uint32_t slot = session->slot_count;
  tegi_policy_env env = {
      .host = &session->device->host,
      .blocks = &session->blocks,
      .lock = &session->lock,
      .source = &session->source.base,
      .caps = &session->device->caps,
      .options = &session->policy_options,
      .is_static = is_static,
      .policy_index = (uint8_t)slot,
  };
  teg_result result = ops->create(&env, out_policy, err);
  if (result != TEG_OK) return result;
  session->slots[slot] = *out_policy;
  session->slot_count++;
  if ((*out_policy)->ops->submitted) session->has_submit_hooks = true;
  return TEG_OK;
}

static teg_result share_policy(teg_session* session, const tegi_policy_ops* ops,
                               tegi_policy** out_policy, teg_error* err) {
  for (uint32_t i = 0; i < session->slot_count; ++i) {
    tegi_policy* policy = session->slots[i];
    bool is_static_one = policy == session->by_lifetime[TEG_LIFETIME_STATIC] &&
                         policy != session->dedicated;
    if (!is_static_one && policy->ops->name == ops->name) {
      *out_policy = policy;
      return TEG_OK;
    }
  }
  return add_policy(session, ops, false, out_policy, err);
}

static teg_result create_policies(teg_session* session, teg_error* err) {
  const teg_options* options = &session->options;
  bool can_remap = session->device->caps.remap != TEG_REMAP_NONE;
  const tegi_policy_ops* run =
      policy_of(options->policy.text,
                can_remap ? &tegi_policy_tiled : &tegi_policy_paged);
  bool is_tiled = run == &tegi_policy_tiled || run == &tegi_policy_planned;
  const tegi_policy_ops* fixed = policy_of(
      options->policy_static.text,
      can_remap && is_tiled ? &tegi_policy_tiled : &tegi_policy_disabled);
  tegi_policy** by = session->by_lifetime;
  teg_result result = add_policy(session, &tegi_policy_disabled, false,
                                 &session->dedicated, err);
  if (result == TEG_OK && fixed == &tegi_policy_disabled) {
    by[TEG_LIFETIME_STATIC] = session->dedicated;
  } else if (result == TEG_OK) {
    result = add_policy(session, fixed, true, &by[TEG_LIFETIME_STATIC], err);
  }
  const struct {
    teg_lifetime lifetime;
    const char* name;
  } rows[] = {
      {TEG_LIFETIME_RUN, options->policy.text},
      {TEG_LIFETIME_STATE, options->policy_state.text},
      {TEG_LIFETIME_PARAMS, options->policy_params.text},
      {TEG_LIFETIME_STAGING, options->policy_staging.text},
      {TEG_LIFETIME_READBACK, options->policy_readback.text},
  };
  for (size_t i = 0; result == TEG_OK && i < sizeof rows / sizeof rows[0];
       ++i) {
    result = share_policy(session, policy_of(rows[i].name, run),
                          &by[rows[i].lifetime], err);
  }
  by[TEG_LIFETIME_UNKNOWN] = by[TEG_LIFETIME_RUN];
  return result;
}

const char* teg_session_policy(const teg_session* session,
                               teg_lifetime lifetime) {
  if (!session || (unsigned)lifetime >= TEG_LIFETIME_COUNT) return "";
  return session->by_lifetime[lifetime]->ops->name;
}

// ---- Life ------------------------------------------------------------------

// Frees the session's own records. Works on a half-built session.
static void free_session(teg_session* session) {
  teg_device* device = session->device;
  for (uint32_t i = 0; i < session->slot_count; ++i) {
    session->slots[i]->ops->destroy(session->slots[i]);
  }
  tegi_session_collect(session);
  session->first_stream = NULL;
  while (session->streams) teg_stream_destroy(session->streams);
  tegi_session_collect_last(session);
  tegi_slab_destroy(&session->blocks);
  for (uint32_t i = 0; i < TEGI_TAG_COUNT; ++i) {
    char* name = session->tags[i].name;
    if (name) tegi_host_free(&device->host, name, strlen(name) + 1);
  }
  if (session->name) {
    tegi_host_free(&device->host, session->name, strlen(session->name) + 1);
  }
  tegi_mutex_destroy(&session->growth);
  tegi_host_free(&device->host, session, sizeof *session);
}

static teg_result build_session(teg_session* session,
                                const teg_session_params* params,
                                teg_error* err) {
  teg_device* device = session->device;
  session->name =
      tegi_host_strdup(&device->host, params->name ? params->name : "session");
  if (!session->name) {
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "session_create: no host memory");
  }
  tegi_options_default(&session->options);
  if (params->options) tegi_options_copy(&session->options, params->options);
  session->session_budget = session->options.budget_session;
  fill_policy_options(session);
  tegi_slab_init(&session->blocks, &device->host, RECORD_BYTES);
  session->source = (tegi_core_source){{&tegi_core_source_ops}, session};
  session->retired_tail = &session->retired_head;
  (void)tegi_change_state(&session->tag_count, 0, 1);
  teg_result result = teg_stream_create(session, &session->first_stream, err);
  if (result != TEG_OK) return result;
  return create_policies(session, err);
}

// Room for buffers that sessions lend each other; made with the second one.
static void begin_lending(teg_device* device) {
  if (device->lent) return;
  tegi_bins* bins = tegi_host_alloc(&device->host, sizeof *bins);
  tegi_lock_acquire(&device->lock);
  device->lent = bins;
  tegi_lock_release(&device->lock);
}

teg_result teg_session_create(teg_device* device,
                              const teg_session_params* params,
                              teg_session** out_session, teg_error* err) {
  TEG_REQUIRE(out_session, err, "session_create: out_session is NULL");
  *out_session = NULL;
  TEG_REQUIRE(device, err, "session_create: device is NULL");
  teg_session_params defaults = TEG_SESSION_PARAMS_INIT;
  if (!params) params = &defaults;
  TEG_REQUIRE(params->struct_size == sizeof *params && params->reserved == 0,
              err,
              "session_create: params has another size or a reserved "
              "field is not 0");
  teg_session* session =
      tegi_host_alloc_aligned(&device->host, sizeof *session, 64);
  if (!session || tegi_mutex_init(&session->growth) != TEG_OK) {
    tegi_host_free(&device->host, session, sizeof *session);
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "session_create: no host memory");
  }
  session->device = device;
  teg_result result = build_session(session, params, err);
  if (result != TEG_OK) {
    free_session(session);
    return result;
  }
  tegi_mutex_lock(&device->registry);
  session->number = ++device->next_session_number;
  session->next_buffer_number = (uint64_t)session->number << 40;
  if (device->sessions) begin_lending(device);
  session->next = device->sessions;
  device->sessions = session;
  tegi_fetch_add_relaxed(&device->session_count, 1);
  tegi_mutex_unlock(&device->registry);
  *out_session = session;
  return TEG_OK;
}

static void end_buffer(void* user, void* record) {
  teg_session* session = user;
  teg_buffer* buffer = record;
  if (buffer->block.state != TEGI_BLOCK_USED || !buffer->session) return;
  const char* tag = session->tags[buffer->tag].name;
  tegi_log_line(session->device, TEG_LOG_WARNING,
                "session \"%s\": buffer %" PRIu64 " of %" PRIu64
                " bytes was still alive at its end (tag \"%s\")",
                session->name, buffer->number, buffer->size, tag ? tag : "");
  teg_buffer_destroy(buffer);
}

static void unlink_session(teg_session* session) {
  teg_device* device = session->device;
  tegi_mutex_lock(&device->registry);
  teg_session** at = &device->sessions;
  while (*at && *at != session) at = &(*at)->next;
  if (*at) {
    *at = session->next;
    tegi_fetch_add_relaxed(&device->session_count, ~UINT64_C(0));
  }
  tegi_mutex_unlock(&device->registry);
}

// What is recorded is dropped, what is submitted is waited for. Errors that
// batches had kept have nobody left to go to but the log.
static void drain_streams(teg_session* session) {
  for (teg_stream* stream = session->streams; stream; stream = stream->next) {
    teg_error error;
    teg_error_clear(&error);
    teg_result result = teg_stream_discard(stream, &error);
    uint64_t submitted = teg_stream_submitted(stream);
    if (result == TEG_OK && submitted > 0) {
      result = teg_stream_wait(stream, submitted, &error);
    }
    if (result != TEG_OK) {
      tegi_log_line(session->device, TEG_LOG_WARNING,
                    "session \"%s\": at its end: %s", session->name,
                    error.message);
    }
  }
}

void teg_session_destroy(teg_session* session) {
  if (!session) return;
  teg_device* device = session->device;
  unlink_session(session);
  if (tegi_load_state(&session->is_running)) {
    tegi_fetch_add_relaxed(&device->running_count, ~UINT64_C(0));
  }
  tegi_slab_each(&session->blocks, end_buffer, session);
  drain_streams(session);
  tegi_lock_acquire(&session->lock);
  tegi_session_publish(session, true);
  tegi_lock_release(&session->lock);
  tegi_fetch_add_relaxed(&device->ended_create_count,
                         tegi_load_relaxed(&session->totals.create_count));
  tegi_fetch_add_relaxed(&device->ended_hit_count,
                         tegi_load_relaxed(&session->hit_count));
  tegi_fetch_add_relaxed(&device->ended_failure_count,
                         tegi_load_relaxed(&session->totals.failure_count));
  free_session(session);
  (void)tegi_device_collect_orphans(device);
  (void)tegi_device_trim_heaps(device, 0);
}

// ---- Runs ------------------------------------------------------------------

teg_result teg_session_run_begin(teg_session* session, teg_error* err) {
  TEG_REQUIRE(session, err, "run_begin: session is NULL");
  if (!tegi_change_state(&session->is_running, 0, 1)) {
    return tegi_error_set(err, TEG_BAD_STATE,
                          "run_begin: session \"%.60s\" is in a run already",
                          session->name);
  }
  tegi_fetch_add_relaxed(&session->device->running_count, 1);
  tegi_store_relaxed(&session->run_begin_clock,
                     tegi_load_relaxed(&session->device->run_clock));
  tegi_stream_id stream = session->first_stream->timeline.id;
  tegi_mutex_lock(&session->growth);
  for (uint32_t i = 0; i < session->slot_count; ++i) {
    tegi_policy* policy = session->slots[i];
    if (policy->ops->run_begin) policy->ops->run_begin(policy, stream);
  }
  tegi_mutex_unlock(&session->growth);
  return TEG_OK;
}

teg_result teg_session_run_end(teg_session* session, teg_error* err) {
  TEG_REQUIRE(session, err, "run_end: session is NULL");
  if (!tegi_change_state(&session->is_running, 1, 2)) {
    return tegi_error_set(err, TEG_BAD_STATE,
                          "run_end: session \"%.60s\" is in no run",
                          session->name);
  }
  teg_device* device = session->device;
  tegi_stream_id stream = session->first_stream->timeline.id;
  tegi_mutex_lock(&session->growth);
  for (uint32_t i = 0; i < session->slot_count; ++i) {
    tegi_policy* policy = session->slots[i];
    if (policy->ops->run_end) policy->ops->run_end(policy, stream);
  }
  tegi_mutex_unlock(&session->growth);
  uint64_t clock = tegi_fetch_add_relaxed(&device->run_clock, 1) + 1;
  tegi_store_relaxed(&session->run_end_clock, clock);
  (void)tegi_change_state(&session->is_running, 2, 0);
  tegi_fetch_add_relaxed(&device->running_count, ~UINT64_C(0));
  tegi_session_collect(session);
  (void)tegi_device_collect_orphans(device);
  uint64_t sessions = tegi_load_relaxed(&device->session_count);
  (void)tegi_device_trim_heaps(device, session->options.age * sessions);
  return TEG_OK;
}

uint64_t teg_session_trim(teg_session* session, teg_trim_level level) {
  if (!session) return 0;
  teg_device* device = session->device;
  uint64_t before = tegi_load_relaxed(&device->reserved_bytes);
  if (level != TEG_TRIM_UNUSED) {
    tegi_mutex_lock(&session->growth);
    (void)tegi_session_trim_policies(session, level == TEG_TRIM_FREE);
    tegi_session_restart_slack(session);
    tegi_mutex_unlock(&session->growth);
  }
  (void)tegi_device_trim_heaps(device, level == TEG_TRIM_UNUSED ? 1 : 0);
  uint64_t after = tegi_load_relaxed(&device->reserved_bytes);
  return before > after ? before - after : 0;
}

// ---- Tags, stream, validation ----------------------------------------------

teg_result teg_session_tag(teg_session* session, const char* name,
                           uint32_t* out_tag, teg_error* err) {
  TEG_REQUIRE(session && name && out_tag, err,
              "session_tag: an argument is NULL");
  *out_tag = 0;
  tegi_mutex_lock(&session->growth);
  teg_result result = TEG_OK;
  uint32_t tag = 1;
  uint32_t count = tegi_load_state(&session->tag_count);
  while (tag < count && strcmp(session->tags[tag].name, name) != 0) tag++;
  if (tag == count) {
    char* copy = tag < TEGI_TAG_COUNT
                     ? tegi_host_strdup(&session->device->host, name)
                     : NULL;
    if (tag == TEGI_TAG_COUNT) {
      result = tegi_error_set(err, TEG_LIMIT,
                              "session_tag: a session has at most %d tags",
                              TEGI_TAG_COUNT - 1);
    } else if (!copy) {
      result = tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                              "session_tag: no host memory");
    } else {
      tegi_lock_acquire(&session->lock);
      session->tags[tag].name = copy;
      (void)tegi_change_state(&session->tag_count, count, count + 1);
      tegi_lock_release(&session->lock);
    }
  }
  if (result == TEG_OK) *out_tag = tag;
  tegi_mutex_unlock(&session->growth);
  return result;
}

teg_stream* teg_session_stream(teg_session* session) {
  return session ? session->first_stream : NULL;
}

teg_result teg_session_validate(teg_session* session, teg_error* err) {
  TEG_REQUIRE(session, err, "session_validate: session is NULL");
  teg_result result = TEG_OK;
  tegi_mutex_lock(&session->growth);
  tegi_lock_acquire(&session->lock);
  for (uint32_t i = 0; result == TEG_OK && i < session->slot_count; ++i) {
    tegi_policy* policy = session->slots[i];
    result = policy->ops->validate(policy, err);
  }
  tegi_lock_release(&session->lock);
  tegi_mutex_unlock(&session->growth);
  return result;
}
