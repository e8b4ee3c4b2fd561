// SPDX-License-Identifier: Apache-2.0
//
// The out-of-memory ladder. A policy that cannot grow is helped step by step;
// when the last step has failed the error says what was asked for, what was
// tried, the budget, and who holds the memory. The growth mutex is held.
#include <inttypes.h>
#include <stdio.h>

#include "base/error.h"
#include "core/objects.h"

typedef enum ladder_step {
  STEP_SUBMIT_OWN,
  STEP_WAIT_SUBMITTED,
  STEP_TRIM_OWN,
  STEP_TRIM_IDLE_SESSIONS,
  STEP_COUNT,
} ladder_step;

static const char* const step_names[STEP_COUNT] = {
    "submitting the stream's own batch",
    "waiting for submitted work",
    "trimming the session's own free memory",
    "trimming idle sessions",
};

static bool is_out_of_memory(teg_result result) {
  return result == TEG_OUT_OF_MEMORY || result == TEG_OVER_BUDGET ||
         result == TEG_LIMIT;
}

static teg_stream* find_stream(teg_session* session, tegi_stream_id id) {
  teg_device* device = session->device;
  tegi_mutex_lock(&device->registry);
  teg_stream* stream = session->streams;
  while (stream && stream->timeline.id != id) stream = stream->next;
  tegi_mutex_unlock(&device->registry);
  return stream;
}

// Waits for everything that |stream| has submitted.
static void wait_submitted(teg_session* session, teg_stream* stream) {
  tegi_use_set use = {
      .stream = stream->timeline.id,
      .serial = tegi_load_acquire(&stream->timeline.submitted),
  };
  if (use.serial > 0) {
    (void)tegi_device_wait(session->device, &use, use.stream, NULL);
  }
}

uint64_t tegi_session_trim_policies(teg_session* session, bool is_idle_only) {
  uint64_t bytes = 0;
  tegi_stream_id stream = session->first_stream->timeline.id;
  for (uint32_t i = 0; i < session->slot_count; ++i) {
    tegi_policy* policy = session->slots[i];
    bytes += policy->ops->trim(policy, UINT64_MAX, is_idle_only, stream);
  }
  if (is_idle_only) {
    tegi_session_collect(session);
  } else {
    tegi_session_collect_all(session, stream);
  }
  return bytes;
}

uint64_t tegi_device_trim_idle(teg_device* device, const teg_session* asking,
                               bool is_idle_only) {
  uint64_t bytes = 0;
  tegi_mutex_lock(&device->registry);
  for (teg_session* session = device->sessions; session;
       session = session->next) {
    if (session == asking || tegi_load_state(&session->is_running)) continue;
    if (!tegi_mutex_try(&session->growth)) continue;
    bytes += tegi_session_trim_policies(session, is_idle_only);
    tegi_mutex_unlock(&session->growth);
  }
  tegi_mutex_unlock(&device->registry);
  return bytes;
}

static void take_step(teg_session* session, ladder_step step,
                      tegi_stream_id asking) {
  teg_device* device = session->device;
  teg_stream* stream = find_stream(session, asking);
  switch (step) {
    case STEP_SUBMIT_OWN:
      if (stream) (void)tegi_stream_submit_own(stream, NULL);
      break;
    case STEP_WAIT_SUBMITTED:
      if (stream) wait_submitted(session, stream);
      tegi_session_collect_all(session, asking);
      break;
    case STEP_TRIM_OWN:
      (void)tegi_session_trim_policies(session, false);
      break;
    case STEP_TRIM_IDLE_SESSIONS:
      (void)tegi_device_trim_idle(device, session, false);
      break;
    case STEP_COUNT:
      break;
  }
  tegi_session_collect(session);
  if (step >= STEP_TRIM_OWN) {
    (void)tegi_device_trim_lent(device);
    (void)tegi_device_trim_heaps(device, 0);
  }
}

// ---- The report ------------------------------------------------------------

static void append_tags(teg_session* session, teg_error* err) {
  uint32_t best = 0;
  uint64_t best_live = 0;
  tegi_lock_acquire(&session->lock);
  for (uint32_t i = 1; i < tegi_load_state(&session->tag_count); ++i) {
    uint64_t live = tegi_load_relaxed(&session->tags[i].counters.live_bytes);
    if (live > best_live) {
      best = i;
      best_live = live;
    }
  }
  const char* name = best_live > 0 ? session->tags[best].name : NULL;
  tegi_lock_release(&session->lock);
  // A name stays where it is until its session ends, which the registry's
  // holder holds up.
  if (name) {
    tegi_error_append(err, ", most of it tagged \"%.40s\": %" PRIu64, name,
                      best_live);
  }
}

static void append_holders(teg_device* device, teg_error* err) {
  enum { MOST_SESSIONS = 6 };
  uint32_t shown = 0;
  tegi_mutex_lock(&device->registry);
  for (teg_session* session = device->sessions; session;
       session = session->next) {
    if (++shown > MOST_SESSIONS) {
      tegi_error_append(err, "; and more sessions");
      break;
    }
    uint64_t live = tegi_load_relaxed(&session->totals.live_bytes);
    uint64_t fixed =
        tegi_load_relaxed(&session->lifetimes[TEG_LIFETIME_STATIC].live_bytes);
    tegi_error_append(
        err, "; session \"%.40s\" holds %" PRIu64 " live (%" PRIu64 " static)",
        session->name, live, fixed);
    append_tags(session, err);
  }
  tegi_mutex_unlock(&device->registry);
}

static void report(teg_device* device, uint64_t asked_bytes, teg_result result,
                   int step_count, teg_error* err) {
  char reason[400];
  int64_t native_code = err->native_code;
  char backend[sizeof err->backend];
  snprintf(reason, sizeof reason, "%.390s", err->message);
  snprintf(backend, sizeof backend, "%s", err->backend);
  (void)tegi_error_native(
      err, result, backend, native_code,
      "no memory for %" PRIu64 " bytes: %s; reserved %" PRIu64, asked_bytes,
      reason, tegi_load_relaxed(&device->reserved_bytes));
  if (device->options.budget) {
    tegi_error_append(err, " of a budget of %" PRIu64, device->options.budget);
  }
  tegi_error_append(err, "; tried:");
  for (int step = 0; step < step_count; ++step) {
    tegi_error_append(err, "%s %s", step ? "," : "", step_names[step]);
  }
  append_holders(device, err);
}

teg_result tegi_ladder_climb(teg_session* session, uint64_t asked_bytes,
                             tegi_stream_id stream, tegi_attempt attempt,
                             void* user, teg_error* err) {
  teg_error detail;
  teg_error_clear(&detail);
  tegi_session_collect(session);
  teg_result result = attempt(user, &detail);
  int step = 0;
  for (; is_out_of_memory(result) && step < STEP_COUNT; ++step) {
    take_step(session, (ladder_step)step, stream);
    teg_error_clear(&detail);
    result = attempt(user, &detail);
  }
  if (result == TEG_OK) return TEG_OK;
  if (is_out_of_memory(result)) {
    report(session->device, asked_bytes, result, step, &detail);
  }
  if (err) *err = detail;
  return result;
}

// Weights that need a device buffer of their own take the place of what
// loading has let go of: the session's other policies give back what the slack
// does not cover any more.
static void make_room(teg_session* session, const tegi_policy* policy,
                      const tegi_request* request) {
  if (policy->ops->lend_tiles) return;
  const tegi_slack none = {.pending_bytes = request->size};
  tegi_source* source = &session->source.base;
  uint64_t room = source->ops->headroom(source, &none);
  for (uint32_t i = 0; i < session->slot_count && room < request->size; ++i) {
    tegi_policy* other = session->slots[i];
    if (other == policy) continue;
    room +=
        other->ops->trim(other, request->size - room, false, request->stream);
  }
  tegi_session_collect(session);
}

typedef struct growth {
  tegi_policy* policy;
  const tegi_request* request;
  tegi_block* block;
} growth;

static teg_result try_grow(void* user, teg_error* err) {
  growth* wanted = user;
  return wanted->policy->ops->grow(wanted->policy, wanted->request,
                                   &wanted->block, err);
}

teg_result tegi_ladder_grow(teg_session* session, tegi_policy* policy,
                            const tegi_request* request, bool is_static,
                            tegi_block** out_block, teg_error* err) {
  if (is_static) make_room(session, policy, request);
  growth wanted = {policy, request, NULL};
  uint64_t asked = tegi_max_u64(request->size, request->max_size);
  teg_result result = tegi_ladder_climb(session, asked, request->stream,
                                        try_grow, &wanted, err);
  *out_block = wanted.block;
  return result;
}
