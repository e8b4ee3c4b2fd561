// SPDX-License-Identifier: Apache-2.0
//
// planned: tiled, which after some runs with the same sequence of requests
// serves the next from offsets computed for the whole run.
//
// Every run is recorded: each request (its size) and each release of what the
// run itself made. Two runs are the same when requests and releases come in
// the same order; a size may grow by the same step each time (a KV cache), and
// the plan then leaves room for the next runs. What lives past its run is no
// part of the plan and is served by tiled.
//
// A plan is one block of the tiled policy (the slab), taken at the first
// request of a run and given back when the run is over. The first request or
// release that differs ends the plan for this run: tiled serves the rest, and
// the slab goes back when the last block in it has been released.
//
// Buffers that may grow are no part of a run.
//
// Blocks in the slab have no neighbours and pass each other's bytes on in the
// order of one stream; a block that another stream used ends the plan, too.
#include <string.h>

#include "base/error.h"
#include "policy/tiled.h"
#include "range/planner.h"

enum { MOST_REQUESTS = 8192, IN_SLAB = 1, GROWTH_WASTE_DIVISOR = 8 };

#define RELEASE_BIT 0x80000000u

// One run's requests and releases, in order.
typedef struct record {
  uint64_t* sizes;   // by request
  uint32_t* events;  // request index; or RELEASE_BIT and the index
  size_t size_capacity;
  size_t event_capacity;
  uint32_t request_count;
  uint32_t event_count;
  bool is_whole;  // nothing was left out
} record;

typedef struct planned_policy {
  tegi_policy base;
  tiled_policy* tiled;
  record runs[2];       // this one, and the one before
  uint32_t present;     // index into runs
  uint32_t equal_runs;  // how many runs in a row were the same
  uint64_t run_number;
  bool is_running;

  tegi_interval* plan;  // by request index; events as in plan_events
  size_t plan_capacity;
  uint32_t plan_count;
  uint64_t plan_bytes;
  bool has_plan;
  uint32_t* plan_events;
  size_t plan_event_capacity;
  uint32_t plan_event_count;

  tegi_block* slab;  // of the run that is served from the plan
  tegi_use_set slab_use;
  uint32_t in_slab_count;
  bool is_following;  // the present run has matched the plan so far
} planned_policy;

static planned_policy* cast(tegi_policy* policy) {
  return (planned_policy*)policy;
}

static const tegi_policy_env* env_of(const planned_policy* self) {
  return &self->tiled->env;
}

// ---- Recording -------------------------------------------------------------

static bool grow_record(planned_policy* self, record* run) {
  tegi_host* host = env_of(self)->host;
  return tegi_host_grow_array(host, &run->sizes, &run->size_capacity,
                              run->request_count + 1, sizeof *run->sizes) &&
         tegi_host_grow_array(host, &run->events, &run->event_capacity,
                              run->event_count + 1, sizeof *run->events);
}

static inline bool has_room(const record* run) {
  return run->request_count < run->size_capacity &&
         run->event_count < run->event_capacity;
}

// Notes a request; its number goes into the block.
static void note_request(planned_policy* self, tegi_block* block) {
  record* run = &self->runs[self->present];
  block->cold_since = 0;
  if (!self->is_running || !run->is_whole) return;
  if (run->request_count == MOST_REQUESTS ||
      (!has_room(run) && !grow_record(self, run))) {
    run->is_whole = false;
    return;
  }
  uint32_t index = run->request_count++;
  run->sizes[index] = block->size;
  run->events[run->event_count++] = index;
  block->cold_since = self->run_number << 32 | index;
}

// Notes the release of a block that the present run made.
static void note_release(planned_policy* self, const tegi_block* block) {
  record* run = &self->runs[self->present];
  if (!self->is_running || !run->is_whole ||
      block->cold_since >> 32 != self->run_number) {
    return;
  }
  if (!has_room(run) && !grow_record(self, run)) {
    run->is_whole = false;
    return;
  }
  run->events[run->event_count++] = RELEASE_BIT | (uint32_t)block->cold_since;
}

// ---- The plan --------------------------------------------------------------

static bool is_same_run(const record* a, const record* b) {
  if (!a->is_whole || !b->is_whole || a->request_count == 0 ||
      a->request_count != b->request_count ||
      a->event_count != b->event_count) {
    return false;
  }
  for (uint32_t i = 0; i < a->event_count; ++i) {
    if (a->events[i] != b->events[i]) return false;
  }
  // A size may stay or grow a little; another workload has other sizes.
  for (uint32_t i = 0; i < a->request_count; ++i) {
    uint64_t before = a->sizes[i];
    uint64_t after = b->sizes[i];
    if (after < before || after - before > before / GROWTH_WASTE_DIVISOR) {
      return false;
    }
  }
  return true;
}

// Sizes for the plan: with room for growth, as far as it wastes little.
static uint64_t planned_size(uint64_t before, uint64_t after,
                             uint32_t horizon_runs, uint64_t alignment) {
  uint64_t step = after - before;
  if (step == 0 || horizon_runs == 0) return after;
  uint64_t room =
      tegi_min_u64(step * horizon_runs, after / GROWTH_WASTE_DIVISOR);
  return tegi_align_up(after + tegi_max_u64(room, step), alignment);
}

static void plan_intervals(planned_policy* self, const record* before,
                           const record* after) {
  const tegi_policy_env* env = env_of(self);
  for (uint32_t i = 0; i < after->request_count; ++i) {
    self->plan[i] = (tegi_interval){.offset = TEGI_NO_OFFSET};
  }
  for (uint32_t t = 0; t < after->event_count; ++t) {
    uint32_t event = after->events[t];
    uint32_t index = event & ~RELEASE_BIT;
    tegi_interval* interval = &self->plan[index];
    if (event & RELEASE_BIT) {
      // Only what is released in the run has a size in the plan.
      interval->last = t;
      interval->size = planned_size(before->sizes[index], after->sizes[index],
                                    env->options->planned_horizon_runs,
                                    env->caps->buffer_alignment);
    } else {
      interval->first = t;
    }
  }
}

// Makes the plan from the last two runs. Growth mutex held, not locked: no run
// is open, so nobody writes to the records, and nobody follows a plan.
static bool make_plan(planned_policy* self) {
  const record* after = &self->runs[self->present];
  const record* before = &self->runs[self->present ^ 1];
  tegi_host* host = env_of(self)->host;
  if (!tegi_host_grow_array(host, &self->plan, &self->plan_capacity,
                            after->request_count, sizeof *self->plan) ||
      !tegi_host_grow_array(host, &self->plan_events,
                            &self->plan_event_capacity, after->event_count,
                            sizeof *self->plan_events)) {
    return false;
  }
  plan_intervals(self, before, after);
  self->plan_count = after->request_count;
  self->plan_event_count = after->event_count;
  memcpy(self->plan_events, after->events,
         after->event_count * sizeof *after->events);
  return tegi_plan_intervals(host, self->plan, self->plan_count,
                             &self->plan_bytes) &&
         self->plan_bytes > 0;
}

// ---- Following it ----------------------------------------------------------

// Locked. The slab goes back once nothing of the plan is alive in it.
static void leave_slab(planned_policy* self) {
  self->is_following = false;
  if (!self->slab || self->in_slab_count > 0) return;
  tegi_block* slab = self->slab;
  self->slab = NULL;
  // The slab's set began as what it inherited and has all of its blocks' uses.
  tegi_use_clear(env_of(self)->host, &slab->use);
  slab->use = self->slab_use;
  self->slab_use = (tegi_use_set){0};
  self->tiled->base.ops->give(&self->tiled->base, slab);
}

// Locked. The block of the next request of the plan; NULL where it differs.
static tegi_block* follow(planned_policy* self, const tegi_request* request) {
  const record* run = &self->runs[self->present];
  uint32_t index = run->request_count;
  if (run->event_count >= self->plan_event_count ||
      self->plan_events[run->event_count] != index ||
      request->stream != self->slab_use.stream) {
    leave_slab(self);
    return NULL;
  }
  const tegi_interval* interval = &self->plan[index];
  if (interval->size == 0) return NULL;  // outlives the run
  tegi_block* block = request->size <= interval->size
                          ? tegi_slab_take(env_of(self)->blocks)
                          : NULL;
  if (!block) {
    leave_slab(self);
    return NULL;
  }
  const tegi_block* slab = self->slab;
  block->offset = slab->offset + interval->offset;
  block->size = request->size;
  block->extent = slab->extent;
  block->use = self->slab_use;
  block->chunk = slab->chunk;
  block->bin = IN_SLAB;
  block->state = TEGI_BLOCK_USED;
  block->policy_index = slab->policy_index;
  block->is_partial = false;
  self->in_slab_count++;
  note_request(self, block);
  return block;
}

static void give_in_slab(planned_policy* self, tegi_block* block) {
  tegi_use_set* use = &self->slab_use;
  bool is_in_order = !block->use.more && block->use.host_holds == 0 &&
                     block->use.stream == use->stream;
  if (is_in_order) {
    if (use->serial < block->use.serial) use->serial = block->use.serial;
  } else {
    self->is_following = false;
    // Without host memory for the merge the slab is held back for good.
    if (!tegi_use_merge(env_of(self)->host, use, &block->use)) {
      use->host_holds++;
      tegi_use_clear(env_of(self)->host, &block->use);
    }
  }
  block->state = TEGI_BLOCK_FREE;
  tegi_slab_give(env_of(self)->blocks, block);
  self->in_slab_count--;
  if (!self->is_following) leave_slab(self);
}

static tegi_block* take(tegi_policy* policy, const tegi_request* request) {
  planned_policy* self = cast(policy);
  if (request->max_size) return NULL;
  if (self->is_following) {
    if (!self->slab) return NULL;  // grow takes it
    tegi_block* block = follow(self, request);
    if (block) return block;
  }
  tegi_policy* tiled = &self->tiled->base;
  tegi_block* block = tiled->ops->take(tiled, request);
  if (!block) return NULL;
  block->bin = 0;
  note_request(self, block);
  return block;
}

static void give(tegi_policy* policy, tegi_block* block) {
  planned_policy* self = cast(policy);
  const record* run = &self->runs[self->present];
  bool is_of_run = block->cold_since >> 32 == self->run_number;
  if (self->is_following && is_of_run) {
    uint32_t expected = run->event_count < self->plan_event_count
                            ? self->plan_events[run->event_count]
                            : 0;
    if (expected != (RELEASE_BIT | (uint32_t)block->cold_since)) {
      self->is_following = false;
    }
  }
  note_release(self, block);
  if (block->bin == IN_SLAB) {
    give_in_slab(self, block);
    return;
  }
  self->tiled->base.ops->give(&self->tiled->base, block);
  if (!self->is_following) leave_slab(self);
}

// The first request of a run that may follow the plan: takes the slab. That
// there is no memory for it is no failure: tiled serves the run.
static void open_slab(planned_policy* self, tegi_stream_id stream) {
  tegi_policy* tiled = &self->tiled->base;
  const tegi_policy_env* env = env_of(self);
  tegi_request whole = {
      .size = tegi_align_up(self->plan_bytes, env->caps->buffer_alignment),
      .stream = stream,
  };
  tegi_lock_acquire(env->lock);
  tegi_block* slab = tiled->ops->take(tiled, &whole);
  tegi_lock_release(env->lock);
  if (!slab && tiled->ops->grow(tiled, &whole, &slab, NULL) != TEG_OK) {
    slab = NULL;
  }
  tegi_lock_acquire(env->lock);
  bool is_in_order = slab && !slab->use.more && slab->use.host_holds == 0 &&
                     (slab->use.stream == 0 || slab->use.stream == stream);
  if (is_in_order) {
    self->slab = slab;
    slab->state = TEGI_BLOCK_HELD;
    self->slab_use = slab->use;
    self->slab_use.stream = stream;
  } else {
    self->is_following = false;
    if (slab) tiled->ops->give(tiled, slab);
  }
  tegi_lock_release(env->lock);
}

static teg_result grow(tegi_policy* policy, const tegi_request* request,
                       tegi_block** out_block, teg_error* err) {
  planned_policy* self = cast(policy);
  const tegi_policy_env* env = env_of(self);
  tegi_policy* tiled = &self->tiled->base;
  tegi_lock_acquire(env->lock);
  bool is_opening = self->is_following && !self->slab && !request->max_size;
  tegi_lock_release(env->lock);
  if (is_opening) {
    open_slab(self, request->stream);
    tegi_lock_acquire(env->lock);
    *out_block = take(policy, request);
    tegi_lock_release(env->lock);
    if (*out_block) return TEG_OK;
  }
  teg_result result = tiled->ops->grow(tiled, request, out_block, err);
  if (result != TEG_OK) return result;
  tegi_lock_acquire(env->lock);
  (*out_block)->bin = 0;
  if (request->max_size) {
    (*out_block)->cold_since = 0;
  } else {
    note_request(self, *out_block);
  }
  tegi_lock_release(env->lock);
  return TEG_OK;
}

// ---- Runs ------------------------------------------------------------------

static void run_begin(tegi_policy* policy, tegi_stream_id stream) {
  (void)stream;
  planned_policy* self = cast(policy);
  tegi_lock_acquire(env_of(self)->lock);
  self->present ^= 1;
  record* run = &self->runs[self->present];
  run->request_count = run->event_count = 0;
  run->is_whole = true;
  self->run_number++;
  self->is_running = true;
  self->is_following = self->has_plan && !self->slab;
  tegi_lock_release(env_of(self)->lock);
}

// Whether the run that ends could be served from the plan again.
static bool fits_plan(const planned_policy* self, const record* run) {
  if (!self->has_plan || run->event_count != self->plan_event_count ||
      run->request_count != self->plan_count) {
    return false;
  }
  for (uint32_t i = 0; i < run->request_count; ++i) {
    uint64_t size = self->plan[i].size;
    if (size != 0 && run->sizes[i] > size) return false;
  }
  return memcmp(run->events, self->plan_events,
                run->event_count * sizeof *run->events) == 0;
}

static void run_end(tegi_policy* policy, tegi_stream_id stream) {
  planned_policy* self = cast(policy);
  const tegi_policy_env* env = env_of(self);
  tegi_lock_acquire(env->lock);
  self->is_running = false;
  leave_slab(self);
  tegi_lock_release(env->lock);
  const record* run = &self->runs[self->present];
  bool is_same = is_same_run(&self->runs[self->present ^ 1], run);
  self->equal_runs = is_same ? self->equal_runs + 1 : 1;
  // A run of another kind in between does not spoil the plan; two that are
  // the same and do not fit it do.
  if (is_same && self->equal_runs >= env->options->planned_warmup_runs &&
      !self->slab && !fits_plan(self, run)) {
    self->has_plan = make_plan(self);
  }
  self->tiled->base.ops->run_end(&self->tiled->base, stream);
}

// ---- The rest is tiled's ---------------------------------------------------

static void free_record(tegi_host* host, record* run) {
  tegi_host_free(host, run->sizes, run->size_capacity * sizeof *run->sizes);
  tegi_host_free(host, run->events, run->event_capacity * sizeof *run->events);
}

static teg_result create(const tegi_policy_env* env, tegi_policy** out_policy,
                         teg_error* err) {
  if (env->caps->remap == TEG_REMAP_NONE) {
    return tegi_policy_paged.create(env, out_policy, err);
  }
  tegi_policy* tiled = NULL;
  teg_result result = tegi_policy_tiled.create(env, &tiled, err);
  if (result != TEG_OK) return result;
  planned_policy* self = tegi_host_alloc(env->host, sizeof *self);
  if (!self) {
    tiled->ops->destroy(tiled);
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "policy planned: no host memory");
  }
  self->base.ops = &tegi_policy_planned;
  self->tiled = (tiled_policy*)tiled;
  *out_policy = &self->base;
  return TEG_OK;
}

static void destroy(tegi_policy* policy) {
  planned_policy* self = cast(policy);
  tegi_host* host = env_of(self)->host;
  tegi_lock_acquire(env_of(self)->lock);
  leave_slab(self);
  tegi_lock_release(env_of(self)->lock);
  tegi_use_clear(host, &self->slab_use);
  free_record(host, &self->runs[0]);
  free_record(host, &self->runs[1]);
  tegi_host_free(host, self->plan, self->plan_capacity * sizeof *self->plan);
  tegi_host_free(host, self->plan_events,
                 self->plan_event_capacity * sizeof *self->plan_events);
  self->tiled->base.ops->destroy(&self->tiled->base);
  tegi_host_free(host, self, sizeof *self);
}

static uint64_t trim(tegi_policy* policy, uint64_t wanted, bool is_idle_only,
                     tegi_stream_id stream) {
  tegi_policy* tiled = &cast(policy)->tiled->base;
  return tiled->ops->trim(tiled, wanted, is_idle_only, stream);
}

static uint32_t lend_tiles(tegi_policy* policy, uint32_t count, bool may_wait,
                           tegi_stream_id stream) {
  tegi_policy* tiled = &cast(policy)->tiled->base;
  return tiled->ops->lend_tiles(tiled, count, may_wait, stream);
}

static teg_result resize(tegi_policy* policy, tegi_block* block, uint64_t size,
                         tegi_stream_id stream, teg_error* err) {
  tegi_policy* tiled = &cast(policy)->tiled->base;
  return tiled->ops->resize(tiled, block, size, stream, err);
}

static teg_result validate(tegi_policy* policy, teg_error* err) {
  planned_policy* self = cast(policy);
  if (self->in_slab_count > 0 && !self->slab) {
    return tegi_error_set(err, TEG_BAD_STATE,
                          "planned: blocks are in a slab that is gone");
  }
  tegi_policy* tiled = &self->tiled->base;
  return tiled->ops->validate(tiled, err);
}

const tegi_policy_ops tegi_policy_planned = {
    .name = "planned",
    .keeps = "tiled, with offsets computed for runs that repeat",
    .create = create,
    .destroy = destroy,
    .take = take,
    .give = give,
    .grow = grow,
    .trim = trim,
    .run_begin = run_begin,
    .run_end = run_end,
    .lend_tiles = lend_tiles,
    .resize = resize,
    .validate = validate,
};
