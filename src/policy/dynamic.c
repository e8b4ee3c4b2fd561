// SPDX-License-Identifier: Apache-2.0
//
// dynamic: whole buffers by size classes that are learned from the session's
// own runs. ONNX Runtime's table of classes is tuned for the average of eighty
// models; this one is tuned for the model at hand.
//
// Four parts. The shelf (dynamic_shelf.h) holds the buffers; the size records
// (dynamic_sizes.h) remember which class each exact size goes to and how it is
// used; the learner (dynamic_learn.h) turns runs into classes; and this file
// decides: which buffer serves a request, when one is made, and what goes back
// so that it can be.
//
// A request is served, in this order, by
//   1. the latest free buffer of its class, at most twice its size: O(1);
//   2. one of the few latest of the class below, which are often large enough;
//   3. the tightest fit that does not waste too much (most_bytes);
//   4. a free buffer lent by another session, within the same bound;
//   5. a new buffer: the class's bound if that is close, else exact. If that
//      would hold more than the cap, idle buffers go first, the largest and
//      coldest of them.
// Until dynamic_period runs have been seen each size is a class of its own, as
// far as there are classes. From then on classes, limits and the bounds of
// growing sizes change in run_end only.
//
// Locking: shelf, sizes and the counters below are guarded by the session's
// short lock. The learner, and the order of create, reclaim and learn, by the
// growth mutex. Nothing in use or pending is ever given back: reclaim takes
// what check() calls idle, the rest of what goes is retired, and the source
// waits for it.
//
// Invariants: live_bytes is the sum of the requests in use (a buffer without
// a size record counts by its own size); a used block's cold_since is the
// number of its record.
#include <inttypes.h>

#include "base/error.h"
#include "policy/dynamic_shelf.h"
#include "policy/dynamic_sizes.h"
#include "policy/whole.h"

enum {
  LEAST_UNIT = 256,     // sizes are rounded up to it, to have fewer of them
  SMALL_BYTES = 65536,  // below it, waste does not matter and reclaim does not
                        // help
  BELOW_LOOKS = 4,      // buffers of the class below that are looked at
  // Buffers that stay in use from run to run waste for long: for them, and as
  // long as nothing has been learned, a buffer may be so much too large.
  HELD_WASTE_PERCENT = 25,
  CLASS_WASTE_PERCENT = 25,  // new buffers are of the class's size up to this
  WINDOW_EPOCHS = 4,         // of dynamic_period runs each: see the shelf
  LEAST_VICTIM_PART = 32,    // of the bytes needed; less is not reclaimed
  VICTIM_AGE = 32,           // makes age count less among the warm
};

static_assert((int)TEGI_LEARN_BOUNDS <= (int)TEGI_SHELF_MOST_CLASSES,
              "a lesson fits");

typedef struct dynamic_policy {
  tegi_policy base;
  tegi_policy_env env;
  uint64_t unit;  // sizes are multiples of it; a power of two
  tegi_shelf shelf;
  tegi_sizes sizes;
  uint64_t live_bytes;
  // The most since everything free was given back last.
  uint64_t peak_live_bytes;
  uint64_t peak_held_bytes;
  uint64_t run_count;

  // Guarded by the growth mutex.
  tegi_learner learner;
  tegi_size_use* uses;  // of the run that ends
  size_t use_capacity;  // at least the number of size records, if memory lets
} dynamic_policy;

static dynamic_policy* cast(tegi_policy* policy) {
  return (dynamic_policy*)policy;
}

static uint64_t percent_of(uint64_t bytes, uint32_t percent) {
  // No device has as much; what is above would overflow.
  bytes = tegi_min_u64(bytes, UINT64_C(1) << 50);
  return bytes * percent / 100;
}

static bool is_learned(const dynamic_policy* self) {
  return self->run_count >= self->env.options->dynamic_period_runs;
}

// ---- Life ------------------------------------------------------------------

static void free_policy(dynamic_policy* self) {
  tegi_host* host = self->env.host;
  tegi_learner_deinit(&self->learner);
  tegi_sizes_deinit(&self->sizes);
  tegi_shelf_deinit(&self->shelf, host);
  tegi_host_free(host, self->uses, self->use_capacity * sizeof *self->uses);
  tegi_host_free(host, self, sizeof *self);
}

static teg_result create(const tegi_policy_env* env, tegi_policy** out_policy,
                         teg_error* err) {
  dynamic_policy* self = tegi_host_alloc(env->host, sizeof *self);
  uint32_t classes = env->options->dynamic_classes;
  if (classes > TEGI_LEARN_CLASSES) classes = TEGI_LEARN_CLASSES;
  if (!self ||
      !tegi_shelf_init(&self->shelf, env->host, classes + TEGI_LEARN_SERIES)) {
    tegi_host_free(env->host, self, sizeof *self);
    return tegi_error_set(err, TEG_OUT_OF_HOST_MEMORY,
                          "policy dynamic: no host memory");
  }
  self->base.ops = &tegi_policy_dynamic;
  self->env = *env;
  self->unit = tegi_max_u64(LEAST_UNIT, env->caps->buffer_granularity);
  tegi_sizes_init(&self->sizes, env->host);
  tegi_learner_init(&self->learner, env->host,
                    env->options->dynamic_horizon_runs);
  *out_policy = &self->base;
  return TEG_OK;
}

// ---- Serving from the shelf ------------------------------------------------

// What is asked for, as the policy sees it.
typedef struct dynamic_want {
  uint64_t size;         // rounded up to the unit, and to its record's
  uint32_t record;       // TEGI_SIZE_NONE = nothing is known of the size
  uint32_t class_index;  // its ceiling class
  uint32_t waste_percent;
  bool is_held;  // what is asked for is likely to outlive the run
  tegi_stream_id stream;
} dynamic_want;

// The classes have changed since the record was asked for last.
static void __attribute__((noinline))
file_record(const dynamic_policy* self, tegi_size_record* record) {
  record->class_index = tegi_shelf_ceiling(&self->shelf, record->size);
  record->generation = self->shelf.generation;
}

// Leaves the waste for the slow path.
static inline dynamic_want want_record(const dynamic_policy* self,
                                       uint32_t number, tegi_stream_id stream) {
  tegi_size_record* record = &self->sizes.records[number];
  if (__builtin_expect(record->generation != self->shelf.generation, 0)) {
    file_record(self, record);
  }
  return (dynamic_want){.size = record->size,
                        .record = number,
                        .class_index = record->class_index,
                        .is_held = record->is_held,
                        .stream = stream};
}

static uint64_t round_size(const dynamic_policy* self,
                           const tegi_request* request) {
  uint64_t size = tegi_max_u64(request->size, request->max_size);
  return tegi_align_up(size, self->unit);
}

static void set_waste(const dynamic_policy* self, dynamic_want* want) {
  uint32_t waste = self->env.options->dynamic_waste_percent;
  bool is_less = want->is_held || !is_learned(self);
  if (is_less && waste > HELD_WASTE_PERCENT) waste = HELD_WASTE_PERCENT;
  want->waste_percent = waste;
}

// How large a buffer may be so that those in use, with it, stay within 5 / 4
// of the live peak; whatever that says, an eighth too large is fine.
static uint64_t room_bytes(const dynamic_policy* self, uint64_t size) {
  uint64_t peak = tegi_max_u64(self->peak_live_bytes, self->live_bytes + size);
  uint64_t most = peak + peak / 4;
  uint64_t used = self->shelf.used_bytes;
  uint64_t fine = size < SMALL_BYTES ? 2 * size : size + size / 8;
  return tegi_max_u64(most > used ? most - used : 0, fine);
}

// The largest buffer that may serve |want| when none of its class is free.
static uint64_t most_bytes(const dynamic_policy* self,
                           const dynamic_want* want) {
  uint64_t most =
      want->size < SMALL_BYTES
          ? 2 * want->size
          : want->size + percent_of(want->size, want->waste_percent);
  return tegi_min_u64(most, room_bytes(self, want->size));
}

// The largest buffer that serves |want| without a second thought.
static inline uint64_t near_bytes(const dynamic_want* want) {
  bool is_tight = want->is_held && want->size >= SMALL_BYTES;
  return want->size + (is_tight ? want->size / 4 : want->size + LEAST_UNIT);
}

// The classes are made so that what lies between two bounds is close to the
// lower one, so most of what the class below keeps will do. Taking it, even
// where it is much too large, is what keeps sizes that never come back from
// being created one by one.
static tegi_block* find_below(const dynamic_policy* self,
                              const dynamic_want* want) {
  uint64_t most = near_bytes(want);
  if (!want->is_held) {
    most = tegi_max_u64(most, room_bytes(self, want->size));
  }
  tegi_block* block = self->shelf.items[want->class_index - 1].free.newest;
  for (int i = 0; i < BELOW_LOOKS && block; ++i) {
    if (block->size >= want->size && block->size <= most &&
        tegi_may_reuse(self->env.source, &block->use, want->stream)) {
      return block;
    }
    block = block->bin_next;
  }
  return NULL;
}

// Bounded: a few buffers of each class that may serve.
static tegi_block* __attribute__((noinline))
find_other(const dynamic_policy* self, dynamic_want* want) {
  tegi_block* block = find_below(self, want);
  if (block) return block;
  set_waste(self, want);
  return tegi_shelf_find(&self->shelf, want->class_index, want->size,
                         most_bytes(self, want), self->env.source,
                         want->stream);
}

// The class's latest buffer, or NULL.
static inline tegi_block* find_own(const dynamic_policy* self,
                                   const dynamic_want* want) {
  tegi_block* block = self->shelf.items[want->class_index].free.newest;
  if (block && block->size <= near_bytes(want) &&
      tegi_may_reuse(self->env.source, &block->use, want->stream)) {
    return block;
  }
  return NULL;
}

static inline void begin_use(dynamic_policy* self, uint32_t number,
                             tegi_block* block) {
  uint64_t size = block->size;
  block->cold_since = number;
  if (number != TEGI_SIZE_NONE) {
    size = self->sizes.records[number].size;
    tegi_sizes_count(&self->sizes, number);
  }
  self->live_bytes += size;
  if (self->live_bytes > self->peak_live_bytes) {
    self->peak_live_bytes = self->live_bytes;
  }
}

static tegi_block* take(tegi_policy* policy, const tegi_request* request) {
  dynamic_policy* self = cast(policy);
  uint64_t size = round_size(self, request);
  uint32_t number = tegi_sizes_find(&self->sizes, size);
  if (number == TEGI_SIZE_NONE) return NULL;
  dynamic_want want = want_record(self, number, request->stream);
  tegi_block* block = find_own(self, &want);
  if (!block) block = find_other(self, &want);
  if (!block) return NULL;
  tegi_shelf_take(&self->shelf, block);
  begin_use(self, number, block);
  return block;
}

static void give(tegi_policy* policy, tegi_block* block) {
  dynamic_policy* self = cast(policy);
  uint64_t size = block->size;
  if (block->cold_since != TEGI_SIZE_NONE) {
    tegi_size_record* record = &self->sizes.records[block->cold_since];
    size = record->size;
    record->used_count--;
  }
  self->live_bytes -= size;
  tegi_shelf_put(&self->shelf, block);
}

// ---- Giving back -----------------------------------------------------------

// A free buffer leaves the policy. Locked.
static void retire(dynamic_policy* self, tegi_block* block) {
  tegi_shelf_remove(&self->shelf, block);
  tegi_whole_retire(&self->env, block);
}

// Whether nothing runs that uses the buffer. A host store needs just that;
// a remap may be ordered behind what runs, and the buffer then is not free yet.
static bool is_idle(const dynamic_policy* self, const tegi_block* block,
                    tegi_stream_id stream) {
  const tegi_source_ops* ops = self->env.source->ops;
  return ops->check(self->env.source, &block->use, TEGI_WRITE_HOST, stream) ==
         TEGI_REUSE_NOW;
}

// The idle buffer to give back for |needed| bytes: large and long unused.
// Small ones would be many calls for little. NULL = none.
static tegi_block* find_victim(const dynamic_policy* self, uint64_t needed,
                               tegi_stream_id stream) {
  const tegi_shelf* shelf = &self->shelf;
  uint64_t least = tegi_max_u64(SMALL_BYTES, needed / LEAST_VICTIM_PART);
  tegi_block* victim = NULL;
  double most = 0;
  for (uint32_t i = 0; i <= shelf->class_count; ++i) {
    tegi_block* block = shelf->items[i].free.oldest;
    if (!block || block->size < least) continue;
    uint64_t age = shelf->clock - block->cold_since + VICTIM_AGE;
    double score = (double)block->size * (double)age;
    if (score <= most || !is_idle(self, block, stream)) continue;
    victim = block;
    most = score;
  }
  return victim;
}

// The cap is of what the policy itself holds: other sessions, weights and
// other lifetimes have their own. It stays at the most that was ever needed,
// or every run that needs as much would create and give back again.
static uint64_t cap_bytes(const dynamic_policy* self, uint64_t size) {
  uint64_t peak = tegi_max_u64(self->peak_live_bytes, self->live_bytes + size);
  uint64_t slack = percent_of(peak, self->env.options->dynamic_slack_percent);
  return tegi_max_u64(peak + slack, self->peak_held_bytes);
}

// Buffers that sessions have lent are nobody's, and in nobody's cap: the device
// as a whole keeps to the same slack above what it needed at once.
static void trim_lent(const dynamic_policy* self, uint64_t more) {
  tegi_source* source = self->env.source;
  if (!source->ops->is_shared(source)) return;
  uint32_t percent = self->env.options->dynamic_slack_percent;
  tegi_slack slack = {.of_all_percent = percent,
                      .of_run_percent = percent,
                      .pending_bytes = more};
  uint64_t room = source->ops->headroom(source, &slack);
  if (room < more) (void)source->ops->trim_lent(source, more - room);
}

// Gives idle buffers back until |more| bytes can be taken within the cap.
// Growth mutex held, not locked. False when there were not enough of them.
static bool make_room(dynamic_policy* self, const dynamic_want* want,
                      uint64_t more) {
  trim_lent(self, more);
  tegi_lock_acquire(self->env.lock);
  uint64_t held = self->shelf.held_bytes;
  uint64_t cap = cap_bytes(self, want->size);
  bool is_within = self->shelf.held_bytes + more <= cap;
  while (!is_within) {
    tegi_block* victim = find_victim(self, more, want->stream);
    if (!victim) break;
    retire(self, victim);
    is_within = self->shelf.held_bytes + more <= cap;
  }
  bool is_less = self->shelf.held_bytes < held;
  tegi_lock_release(self->env.lock);
  if (is_less) self->env.source->ops->collect(self->env.source);
  return is_within;
}

static uint64_t trim(tegi_policy* policy, uint64_t wanted, bool is_idle_only,
                     tegi_stream_id stream) {
  (void)is_idle_only;
  (void)stream;
  dynamic_policy* self = cast(policy);
  tegi_shelf* shelf = &self->shelf;
  uint64_t bytes = 0;
  tegi_lock_acquire(self->env.lock);
  for (uint32_t i = shelf->class_count + 1; i-- > 0;) {
    while (bytes < wanted && shelf->items[i].free.oldest) {
      bytes += shelf->items[i].free.oldest->size;
      retire(self, shelf->items[i].free.oldest);
    }
  }
  // Whoever asks for everything back does not want it held again.
  if (bytes < wanted) {
    self->peak_live_bytes = self->live_bytes;
    self->peak_held_bytes = shelf->held_bytes;
  }
  tegi_lock_release(self->env.lock);
  return bytes;
}

static void destroy(tegi_policy* policy) {
  dynamic_policy* self = cast(policy);
  for (uint32_t i = 0; i <= self->shelf.class_count; ++i) {
    while (self->shelf.items[i].free.oldest) {
      retire(self, self->shelf.items[i].free.oldest);
    }
  }
  free_policy(self);
}

// ---- Growing ---------------------------------------------------------------

// A block over a buffer that another session has lent, or NULL.
static tegi_block* adopt(dynamic_policy* self, const dynamic_want* want) {
  const tegi_policy_env* env = &self->env;
  // All there is: what does not fit is given back before more is taken.
  if (env->source->ops->lent(env->source, 0, UINT64_MAX) == 0) return NULL;
  tegi_lock_acquire(env->lock);
  uint64_t most = most_bytes(self, want);
  tegi_block* block = tegi_slab_take(env->blocks);
  tegi_lock_release(env->lock);
  if (!block) return NULL;
  *block =
      (tegi_block){.policy_index = env->policy_index, .state = TEGI_BLOCK_FREE};
  block->extent = env->source->ops->adopt(env->source, want->size, most,
                                          want->stream, &block->use);
  if (block->extent) {
    block->size = block->extent->bytes;
    return block;
  }
  tegi_lock_acquire(env->lock);
  tegi_slab_give(env->blocks, block);
  tegi_lock_release(env->lock);
  return NULL;
}

// A new buffer has the size of its class if that is close, so that it will
// serve the class's other sizes as well.
static uint64_t new_bytes(const dynamic_policy* self,
                          const dynamic_want* want) {
  const tegi_shelf* shelf = &self->shelf;
  if (want->class_index > shelf->class_count) return want->size;
  uint64_t bound = shelf->items[want->class_index].bound;
  uint64_t most = want->size + percent_of(want->size, CLASS_WASTE_PERCENT);
  return bound <= most ? bound : want->size;
}

// Serves from the shelf. Locked.
static tegi_block* serve(dynamic_policy* self, dynamic_want* want) {
  tegi_block* block = find_own(self, want);
  if (!block) block = find_other(self, want);
  if (!block) return NULL;
  tegi_shelf_take(&self->shelf, block);
  begin_use(self, want->record, block);
  return block;
}

// As above, wasting as much as allowed at all: before anything is learned this
// is better than holding more than the cap, which is then still a guess.
static tegi_block* serve_wastefully(dynamic_policy* self, dynamic_want* want) {
  want->waste_percent = self->env.options->dynamic_waste_percent;
  tegi_lock_acquire(self->env.lock);
  tegi_block* block =
      tegi_shelf_find(&self->shelf, want->class_index, want->size,
                      most_bytes(self, want), self->env.source, want->stream);
  if (block) {
    tegi_shelf_take(&self->shelf, block);
    begin_use(self, want->record, block);
  }
  tegi_lock_release(self->env.lock);
  return block;
}

// A buffer that was not on the shelf comes into use.
static void enter(dynamic_policy* self, const dynamic_want* want,
                  tegi_block* block) {
  tegi_lock_acquire(self->env.lock);
  tegi_shelf_add(&self->shelf, block);
  begin_use(self, want->record, block);
  self->peak_held_bytes =
      tegi_max_u64(self->peak_held_bytes, self->shelf.held_bytes);
  tegi_lock_release(self->env.lock);
}

// Nothing on the shelf will do. Growth mutex held, not locked.
static teg_result obtain(dynamic_policy* self, const tegi_request* request,
                         dynamic_want* want, tegi_block** out_block,
                         teg_error* err) {
  *out_block = adopt(self, want);
  if (*out_block) {
    enter(self, want, *out_block);
    return TEG_OK;
  }
  uint64_t bytes = new_bytes(self, want);
  if (want->size >= SMALL_BYTES && !make_room(self, want, bytes)) {
    if (!is_learned(self)) *out_block = serve_wastefully(self, want);
    if (*out_block) return TEG_OK;
    bytes = want->size;
    (void)make_room(self, want, bytes);
  }
  teg_result result =
      tegi_whole_create(&self->env, bytes, request, out_block, err);
  if (result == TEG_OK) enter(self, want, *out_block);
  return result;
}

// The record of a size, which may be new. Locked.
static uint32_t enter_size(dynamic_policy* self, uint64_t size) {
  uint32_t number = tegi_sizes_enter(&self->sizes, size);
  if (number == TEGI_SIZE_NONE) return number;
  tegi_size_record* record = &self->sizes.records[number];
  if (record->generation != 0) return number;
  tegi_shelf* shelf = &self->shelf;
  uint32_t index = tegi_shelf_ceiling(shelf, record->size);
  record->is_held = shelf->items[index].is_held;
  // Until something is learned each size is its own class.
  if (!is_learned(self) &&
      shelf->class_count < self->env.options->dynamic_classes) {
    (void)tegi_shelf_add_bound(shelf, record->size, 0);
  }
  return number;
}

static teg_result grow(tegi_policy* policy, const tegi_request* request,
                       tegi_block** out_block, teg_error* err) {
  dynamic_policy* self = cast(policy);
  uint64_t size = round_size(self, request);
  tegi_lock_acquire(self->env.lock);
  uint32_t number = enter_size(self, size);
  dynamic_want want = {.size = size,
                       .record = number,
                       .class_index = tegi_shelf_ceiling(&self->shelf, size),
                       .stream = request->stream};
  if (number != TEGI_SIZE_NONE) {
    want = want_record(self, number, request->stream);
  }
  *out_block = serve(self, &want);
  tegi_lock_release(self->env.lock);
  if (*out_block) return TEG_OK;
  return obtain(self, request, &want, out_block, err);
}

// ---- Between runs ----------------------------------------------------------

// Sizes that are in use now, between runs, mark their classes: sizes not seen
// before that go there are likely to stay as well. Locked.
static void mark_held_classes(dynamic_policy* self) {
  const tegi_sizes* sizes = &self->sizes;
  uint32_t number = sizes->run_list;
  while (number != TEGI_SIZE_NONE) {
    const tegi_size_record* record = &sizes->records[number];
    if (record->used_count > 0 &&
        record->generation == self->shelf.generation &&
        record->class_index <= self->shelf.class_count) {
      self->shelf.items[record->class_index].is_held = true;
    }
    number = record->next;
  }
}

// What the run asked for goes to the learner.
static void end_sizes(dynamic_policy* self) {
  (void)tegi_host_grow_array(self->env.host, &self->uses, &self->use_capacity,
                             self->sizes.end, sizeof *self->uses);
  tegi_lock_acquire(self->env.lock);
  mark_held_classes(self);
  uint32_t count =
      tegi_sizes_end_run(&self->sizes, self->uses, self->use_capacity);
  tegi_lock_release(self->env.lock);
  tegi_learner_add_run(&self->learner, self->uses, count);
}

// Classes ahead of growing sizes.
static void extrapolate(dynamic_policy* self) {
  tegi_shelf* shelf = &self->shelf;
  uint64_t old = 0;
  uint64_t bound = 0;
  while (tegi_learner_next_bound(&self->learner, &old, &bound)) {
    tegi_lock_acquire(self->env.lock);
    if (tegi_shelf_add_bound(shelf, bound, old)) {
      shelf->items[tegi_shelf_ceiling(shelf, bound)].is_held = true;
    }
    tegi_lock_release(self->env.lock);
  }
}

static void learn(dynamic_policy* self) {
  tegi_shelf* shelf = &self->shelf;
  tegi_lesson lesson = {0};
  uint64_t bounds[TEGI_SHELF_MOST_CLASSES];
  tegi_shelf_get_bounds(shelf, bounds);
  if (!tegi_learner_learn(&self->learner, self->env.options->dynamic_classes,
                          bounds, shelf->class_count, &lesson)) {
    return;
  }
  tegi_lock_acquire(self->env.lock);
  tegi_shelf_set_bounds(shelf, lesson.bounds, lesson.count);
  for (uint32_t i = 0; i < lesson.count; ++i) {
    tegi_shelf_class* entry = &shelf->items[i + 1];
    if (entry->window_peak < lesson.peaks[i]) {
      entry->window_peak = lesson.peaks[i];
    }
  }
  tegi_lock_release(self->env.lock);
}

// Free buffers beyond the limits go back, the coldest first, if they are idle.
static void retire_surplus(dynamic_policy* self, tegi_stream_id stream) {
  tegi_shelf* shelf = &self->shelf;
  uint64_t epoch = self->run_count / self->env.options->dynamic_period_runs;
  tegi_lock_acquire(self->env.lock);
  tegi_shelf_end_epoch(shelf, epoch % WINDOW_EPOCHS == 0);
  for (uint32_t i = 0; i <= shelf->class_count; ++i) {
    while (tegi_shelf_surplus(shelf, i) > 0 &&
           is_idle(self, shelf->items[i].free.oldest, stream)) {
      retire(self, shelf->items[i].free.oldest);
    }
  }
  tegi_lock_release(self->env.lock);
}

static void lend_buffers(tegi_policy* policy, uint64_t min_bytes,
                         uint64_t max_bytes) {
  dynamic_policy* self = cast(policy);
  tegi_shelf* shelf = &self->shelf;
  tegi_lock_acquire(self->env.lock);
  for (uint32_t i = 0; i <= shelf->class_count; ++i) {
    tegi_block* next;
    for (tegi_block* block = shelf->items[i].free.oldest; block; block = next) {
      next = block->bin_prev;
      if (block->size < min_bytes || block->size > max_bytes) continue;
      tegi_shelf_remove(shelf, block);
      tegi_whole_lend(&self->env, block);
    }
  }
  tegi_lock_release(self->env.lock);
}

static void run_end(tegi_policy* policy, tegi_stream_id stream) {
  dynamic_policy* self = cast(policy);
  end_sizes(self);
  extrapolate(self);
  tegi_lock_acquire(self->env.lock);
  self->run_count++;
  tegi_lock_release(self->env.lock);
  if (self->run_count % self->env.options->dynamic_period_runs == 0) {
    if (self->learner.is_dirty) learn(self);
    retire_surplus(self, stream);
  }
}

// ---- Validity --------------------------------------------------------------

static teg_result wrong(teg_error* err, const char* what) {
  return tegi_error_set(err, TEG_BAD_STATE, "dynamic: %s", what);
}

static teg_result validate(tegi_policy* policy, teg_error* err) {
  dynamic_policy* self = cast(policy);
  const tegi_sizes* sizes = &self->sizes;
  teg_result result = tegi_shelf_validate(&self->shelf, err);
  if (result == TEG_OK) result = tegi_sizes_validate(sizes, err);
  if (result != TEG_OK) return result;
  uint64_t live = 0;
  uint64_t recorded = 0;
  for (const tegi_block* block = self->shelf.all; block; block = block->next) {
    if (block->state != TEGI_BLOCK_USED) continue;
    uint64_t size = block->size;
    if (block->cold_since != TEGI_SIZE_NONE) {
      if (block->cold_since >= sizes->end) return wrong(err, "no such record");
      size = sizes->records[block->cold_since].size;
      recorded++;
    }
    if (size == 0 || size > block->size) {
      return wrong(err, "a buffer is smaller than what it serves");
    }
    live += size;
  }
  for (uint32_t i = 0; i < sizes->end; ++i) {
    recorded -= sizes->records[i].used_count;
  }
  if (recorded != 0) return wrong(err, "buffers are not counted by size");
  if (live != self->live_bytes || live > self->peak_live_bytes) {
    return wrong(err, "live bytes are not counted right");
  }
  return TEG_OK;
}

const tegi_policy_ops tegi_policy_dynamic = {
    .name = "dynamic",
    .keeps = "size classes learned from the session's own runs",
    .create = create,
    .destroy = destroy,
    .take = take,
    .give = give,
    .grow = grow,
    .trim = trim,
    .run_end = run_end,
    .lend_buffers = lend_buffers,
    .exchange = tegi_whole_exchange,
    .validate = validate,
};
