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
  tegi_session_collect(session);
  return bytes;
}

uint64_t tegi_device_trim_idle(teg_device* device, const teg_session* asking,
                               bool is_idle_only) {
  uint64_t bytes = 0;
  tegi_mutex_lock(&device->registry);
  for (teg_session* session = device->sessions; session;
       session = session->next) {
    if (session == asking || (asking && session->is_running)) continue;
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
      break;
    case STEP_TRIM_OWN:
      (void)tegi_session_trim_policies(session, false);
      break;
    case STEP_TRIM_IDLE_SESSIONS:
      (void)tegi_device_trim_idle(device, session, true);
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
  for (uint32_t i = 1; i < session->tag_count; ++i) {
    uint64_t live = tegi_load_relaxed(&session->tags[i].counters.live_bytes);
    if (live > best_live) {
      best = i;
      best_live = live;
    }
  }
  if (best_live > 0) {
    tegi_error_append(err, ", most of it tagged \"%.40s\": %" PRIu64,
                      session->tags[best].name, best_live);
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

static void report(teg_session* session, const tegi_request* request,
                   teg_result result, teg_error* err) {
  if (!err) return;
  teg_device* device = session->device;
  char reason[400];
  int64_t native_code = err->native_code;
  char backend[sizeof err->backend];
  snprintf(reason, sizeof reason, "%.390s", err->message);
  snprintf(backend, sizeof backend, "%s", err->backend);
  (void)tegi_error_native(
      err, result, backend, native_code,
      "no memory for %" PRIu64 " bytes: %s; reserved %" PRIu64, request->size,
      reason, tegi_load_relaxed(&device->reserved_bytes));
  if (device->options.budget) {
    tegi_error_append(err, " of a budget of %" PRIu64, device->options.budget);
  }
  append_holders(device, err);
  tegi_error_append(err, "; tried:");
  for (int step = 0; step < STEP_COUNT; ++step) {
    tegi_error_append(err, "%s %s", step ? "," : "", step_names[step]);
  }
}

// Weights that need a device buffer of their own take the place of what
// loading has let go of: the session's other policies give back what the slack
// does not cover any more.
static void make_room(teg_session* session, const tegi_policy* policy,
                      const tegi_request* request) {
  if (policy != session->by_lifetime[TEG_LIFETIME_STATIC] ||
      policy->ops->lend_tiles) {
    return;
  }
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

teg_result tegi_ladder_grow(teg_session* session, tegi_policy* policy,
                            const tegi_request* request, tegi_block** out_block,
                            teg_error* err) {
  teg_error detail;
  teg_error_clear(&detail);
  tegi_session_collect(session);
  make_room(session, policy, request);
  teg_result result = policy->ops->grow(policy, request, out_block, &detail);
  for (int step = 0; is_out_of_memory(result) && step < STEP_COUNT; ++step) {
    take_step(session, (ladder_step)step, request->stream);
    teg_error_clear(&detail);
    result = policy->ops->grow(policy, request, out_block, &detail);
  }
  if (result == TEG_OK) return TEG_OK;
  if (is_out_of_memory(result)) report(session, request, result, &detail);
  if (err) *err = detail;
  return result;
}
