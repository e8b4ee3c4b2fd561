// SPDX-License-Identifier: Apache-2.0
//
// The rule of reuse, in one place. Stateless: reads use sets and timelines.
// tests/unit/test_reuse*.c have a test for every cell and sentence of it.
#include "core/reuse.h"

tegi_phase tegi_use_phase(const tegi_timeline* timeline, tegi_use use) {
  if (!timeline) return TEGI_PHASE_IDLE;
  uint64_t submitted = tegi_load_acquire(&timeline->submitted);
  if (use.serial > submitted) return TEGI_PHASE_RECORDED;
  if (use.serial > tegi_load_acquire(&timeline->completed)) {
    return TEGI_PHASE_SUBMITTED;
  }
  return TEGI_PHASE_IDLE;
}

static const tegi_timeline* find(const tegi_timelines* timelines,
                                 uint32_t stream) {
  return timelines->find(timelines->user, stream & ~TEGI_USE_QUEUE);
}

tegi_phase tegi_set_phase(const tegi_timelines* timelines,
                          const tegi_use_set* set) {
  tegi_phase worst = TEGI_PHASE_IDLE;
  tegi_use use;
  for (size_t i = 0; tegi_use_at(set, i, &use); ++i) {
    tegi_phase phase = tegi_use_phase(find(timelines, use.stream), use);
    if (phase > worst) worst = phase;
  }
  return worst;
}

bool tegi_set_is_idle(const tegi_timelines* timelines,
                      const tegi_use_set* set) {
  if (timelines->is_rule_off) return true;
  return set->host_holds == 0 &&
         tegi_set_phase(timelines, set) == TEGI_PHASE_IDLE;
}

// One entry of the set against one write.
static tegi_verdict check_use(const tegi_timeline* owner, tegi_use use,
                              tegi_write write, const tegi_timeline* asking,
                              bool is_remap_queue_ordered) {
  tegi_phase phase = tegi_use_phase(owner, use);
  if (phase == TEGI_PHASE_IDLE) return TEGI_REUSE_NOW;
  bool is_same_stream = asking && owner->id == asking->id;
  bool is_same_queue = asking && owner->queue_id == asking->queue_id;
  if (write == TEGI_WRITE_DEVICE && is_same_stream) return TEGI_REUSE_NOW;
  if (phase == TEGI_PHASE_RECORDED) {
    return is_same_stream ? TEGI_REUSE_SUBMIT : TEGI_REUSE_NEVER;
  }
  switch (write) {
    case TEGI_WRITE_DEVICE:
      return is_same_queue ? TEGI_REUSE_NOW : TEGI_REUSE_DEVICE_WAIT;
    case TEGI_WRITE_QUEUE:
      return is_same_queue ? TEGI_REUSE_NOW : TEGI_REUSE_HOST_WAIT;
    case TEGI_WRITE_HOST:
      return TEGI_REUSE_HOST_WAIT;
    case TEGI_WRITE_REMAP:
      return is_remap_queue_ordered ? TEGI_REUSE_NOW : TEGI_REUSE_HOST_WAIT;
  }
  return TEGI_REUSE_NEVER;
}

tegi_verdict tegi_reuse_check(const tegi_timelines* timelines,
                              const tegi_use_set* set, tegi_write write,
                              const tegi_timeline* stream,
                              bool is_remap_queue_ordered) {
  if (timelines->is_rule_off) return TEGI_REUSE_NOW;
  if (set->host_holds != 0) return TEGI_REUSE_NEVER;
  tegi_verdict worst = TEGI_REUSE_NOW;
  tegi_use use;
  for (size_t i = 0; tegi_use_at(set, i, &use); ++i) {
    tegi_verdict verdict = check_use(find(timelines, use.stream), use, write,
                                     stream, is_remap_queue_ordered);
    if (verdict > worst) worst = verdict;
  }
  return worst;
}

static bool is_over(void* user, tegi_use use) {
  const tegi_timelines* timelines = user;
  return tegi_use_phase(find(timelines, use.stream), use) == TEGI_PHASE_IDLE;
}

void tegi_set_prune(tegi_host* host, const tegi_timelines* timelines,
                    tegi_use_set* set) {
  tegi_timelines copy = *timelines;
  tegi_use_prune(host, set, is_over, &copy);
}
