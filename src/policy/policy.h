// SPDX-License-Identifier: Apache-2.0
//
// The seam between core and the policies. A policy decides by which rule freed
// memory is kept and found again; it is made for one session and one or more
// lifetimes. It knows no device: everything outside of its own bookkeeping it
// asks of a source, which core implements.
//
// Two locks, both core's. The session's short lock guards a policy's records:
// take, give and the other functions marked "locked" run under it and never
// call the driver. grow runs under the session's growth mutex, which
// serialises everything that calls the driver for this session, and takes the
// short lock itself (tegi_lock_acquire(env->lock)) around its bookkeeping,
// never across a call of the source marked "driver".
#ifndef TEGULA_POLICY_POLICY_H
#define TEGULA_POLICY_POLICY_H

#include "base/slab.h"
#include "base/thread.h"
#include "range/block.h"
#include "range/tilemap.h"
#include "tegula/backend.h"

// ---- The rule of reuse, as policies ask it ---------------------------------

// How a write reaches memory (docs/design.md, "The one rule of reuse").
typedef enum tegi_write {
  TEGI_WRITE_DEVICE = 0,  // a command recorded later
  TEGI_WRITE_QUEUE = 1,   // a queue write: lands at the next submit
  TEGI_WRITE_HOST = 2,    // a store through a mapping
  TEGI_WRITE_REMAP = 3,   // tiles go under another address
} tegi_write;

typedef enum tegi_verdict {
  TEGI_REUSE_NOW = 0,          // allowed as it is
  TEGI_REUSE_DEVICE_WAIT = 1,  // allowed after a device-side wait
  TEGI_REUSE_HOST_WAIT = 2,    // everything is submitted: wait, then allowed
  TEGI_REUSE_SUBMIT = 3,  // the asking stream's own batch stands in the way
  TEGI_REUSE_NEVER = 4,   // another stream's recorded batch, or a host hold
} tegi_verdict;

// ---- What a policy may ask for ---------------------------------------------

typedef struct tegi_source tegi_source;
typedef struct tegi_policy tegi_policy;

// How much may be held above the live peak (docs/design.md, "Slack"): at most
// |of_all_percent| of all live bytes of the device, and |of_run_percent| of
// those of the asking session that are not STATIC, less |margin_bytes|, each
// at its peak. |pending_bytes| are asked
// for right now and count as live.
typedef struct tegi_slack {
  uint32_t of_all_percent;
  uint32_t of_run_percent;
  uint64_t margin_bytes;
  uint64_t pending_bytes;
  bool is_unlimited;
} tegi_slack;

typedef struct tegi_source_ops {
  // -- Locked or not: no driver call.
  // What the rule says about a new owner on |stream| that writes by |write|.
  tegi_verdict (*check)(tegi_source* source, const tegi_use_set* use,
                        tegi_write write, tegi_stream_id stream);
  // Drops the entries of a set that are over; for sets with further entries.
  void (*prune)(tegi_source* source, tegi_use_set* use);
  // More bytes than this the device cannot have, whatever is given back.
  uint64_t (*most_bytes)(tegi_source* source);
  // Gives a device object back to the driver once |use| is over. Takes over
  // the set. Nothing is mapped in it any more.
  void (*retire)(tegi_source* source, tegi_extent* extent, tegi_use_set* use);
  // Bytes the device may still reserve before it holds more than |slack| above
  // the live peak. 0 = none.
  uint64_t (*headroom)(tegi_source* source, const tegi_slack* slack);
  // True when other sessions live on the device.
  bool (*is_shared)(tegi_source* source);

  // Hands a free committed buffer to the device, for any session to adopt;
  // takes over the set. And the other way round: the smallest one of at least
  // |min_bytes| and at most |max_bytes| that |stream| may write by DEVICE;
  // NULL = none. The set of what was adopted is moved to |out_use|.
  void (*lend)(tegi_source* source, tegi_extent* extent, tegi_use_set* use);
  // Bytes that wait for adoption, after the device's idle sessions were asked
  // to lend their free buffers of |min_bytes| to |max_bytes|. Not locked.
  uint64_t (*lent)(tegi_source* source, uint64_t min_bytes, uint64_t max_bytes);
  tegi_extent* (*adopt)(tegi_source* source, uint64_t min_bytes,
                        uint64_t max_bytes, tegi_stream_id stream,
                        tegi_use_set* out_use);

  // Takes up to |count| free tiles of the device, neighbours together, from
  // the fullest heaps first. Returns how many. And gives idle tiles back.
  uint32_t (*tiles_take)(tegi_source* source, uint32_t count, tegi_tile* out);
  void (*tiles_give)(tegi_source* source, const tegi_tile* tiles,
                     uint32_t count);
  // -- Driver: never under a short lock.
  // Blocks until the set is idle, submitting |stream|'s own batch if it stands
  // in the way. Counted and timed. TEG_BAD_STATE where the rule says never.
  teg_result (*wait)(tegi_source* source, const tegi_use_set* use,
                     tegi_stream_id stream, teg_error* err);
  // Retired objects whose use is over go back to the driver now.
  void (*collect)(tegi_source* source);
  // Asks the device's idle sessions to give |wanted| bytes of free memory back
  // to the driver, waiting for them if need be. Returns the bytes.
  uint64_t (*trim_idle)(tegi_source* source, uint64_t wanted);
  // Idle lent buffers go back to the driver, at least |wanted| bytes of them
  // if there are that many. Returns the bytes.
  uint64_t (*trim_lent)(tegi_source* source, uint64_t wanted);
  teg_result (*buffer_create)(tegi_source* source, uint64_t bytes,
                              tegi_extent** out_extent, teg_error* err);
  // A buffer that always has a host pointer, for what passes between the CPU
  // and the device.
  teg_result (*staging_create)(tegi_source* source, uint64_t bytes,
                               bool is_readback, tegi_extent** out_extent,
                               teg_error* err);
  // A heap of this policy's own, of which no tile is in the device's pool.
  // Counts as a driver allocation; given back with retire.
  teg_result (*heap_create)(tegi_source* source, uint64_t bytes,
                            tegi_extent** out_extent, teg_error* err);
  // A heap whose tiles are all put into the device's pool: at least
  // |tile_count| tiles, more by the heap step as far as the headroom for
  // |slack| allows (NULL: not more).
  teg_result (*tiles_grow)(tegi_source* source, uint32_t tile_count,
                           const tegi_slack* slack, teg_error* err);
  // Asks the session's other policies, and the device's idle sessions, for
  // |count| tiles of their holes; they come into the device's pool. Returns
  // how many came. |may_wait|: they may be waited for.
  uint32_t (*tiles_borrow)(tegi_source* source, const tegi_policy* asking,
                           uint32_t count, bool may_wait,
                           tegi_stream_id stream);
  // Addresses without memory; given back with retire.
  teg_result (*range_reserve)(tegi_source* source, uint64_t bytes,
                              tegi_extent** out_extent, teg_error* err);
  // Puts |count| tiles under the slots |slots| (ascending) of a range; and
  // takes what is under them away. |after|: uses of the tiles and the
  // addresses that may not be over, where remaps are queue-ordered; NULL =
  // none. At the mapping limit TEG_LIMIT, and all is as before.
  teg_result (*map)(tegi_source* source, tegi_extent* range,
                    const uint32_t* slots, const tegi_tile* tiles,
                    uint32_t count, const tegi_use_set* after, teg_error* err);
  teg_result (*unmap)(tegi_source* source, tegi_extent* range,
                      const uint32_t* slots, uint32_t count,
                      const tegi_use_set* after, teg_error* err);
  // Takes away what is under |count| slots from |first| on, whose uses are
  // over, in one call of the driver: a run that ends where nothing is mapped
  // needs no mapping more.
  teg_result (*unmap_run)(tegi_source* source, tegi_extent* range,
                          uint32_t first, uint32_t count, teg_error* err);
} tegi_source_ops;

struct tegi_source {
  const tegi_source_ops* ops;
};

// Whether a new owner on |stream| may write by DEVICE, as it is. The cell of
// the rule that needs no look at the device, the same stream, is decided here.
static inline bool tegi_may_reuse(tegi_source* source, const tegi_use_set* use,
                                  tegi_stream_id stream) {
  if (!use->more && use->host_holds == 0 &&
      (use->stream == 0 || use->stream == stream)) {
    return true;
  }
  return source->ops->check(source, use, TEGI_WRITE_DEVICE, stream) ==
         TEGI_REUSE_NOW;
}

// Drops what is over from the set of a hole, before it is copied to the parts
// of the hole and after neighbours have brought theirs: streams come and go,
// and a hole may outlive any number of them. Locked.
static inline void tegi_prune_hole(tegi_source* source, tegi_block* hole) {
  if (hole->use.more) source->ops->prune(source, &hole->use);
}

// ---- Options the policies read ---------------------------------------------

// Filled by core from the option table (src/core/options.def says what each
// one means).
typedef struct tegi_policy_options {
  uint32_t slack_percent;
  bool is_waiting_on_busy;  // on_busy=wait
  uint32_t age_runs;
  uint64_t chunk_bytes;
  uint32_t dynamic_classes;
  uint32_t dynamic_period_runs;
  uint32_t dynamic_horizon_runs;
  uint32_t dynamic_waste_percent;
  uint32_t dynamic_slack_percent;
  uint64_t page_min_bytes;
  uint64_t page_max_bytes;
  uint64_t exclusive_min_bytes;
  uint64_t exclusive_max_bytes;
  uint32_t exclusive_age_requests;
  uint32_t planned_warmup_runs;
  uint32_t planned_horizon_runs;
  const char* buckets;  // "64:250 128:200 ..."; "" = ONNX Runtime's table
} tegi_policy_options;

// ---- A policy --------------------------------------------------------------

// What a policy is given at creation; outlives it.
typedef struct tegi_policy_env {
  tegi_host* host;
  tegi_slab* blocks;  // records begin with a tegi_block; guarded by |lock|
  tegi_lock* lock;    // the session's short lock
  tegi_source* source;
  const teg_backend_caps* caps;
  const tegi_policy_options* options;
  bool is_static;  // serves STATIC: exact, contiguous, never remapped
  uint8_t policy_index;
} tegi_policy_env;

typedef struct tegi_request {
  uint64_t size;      // > 0, <= TEGI_MAX_BYTES, a multiple of buffer_alignment
  uint64_t max_size;  // > size: reserve addresses to grow into; else 0
  tegi_stream_id stream;
} tegi_request;

typedef struct tegi_policy_ops {
  const char* name;
  const char* keeps;  // one line for lists
  teg_result (*create)(const tegi_policy_env* env, tegi_policy** out_policy,
                       teg_error* err);
  // No block is used any more and nothing is pending. Not locked: gives every
  // device object back through retire.
  void (*destroy)(tegi_policy* policy);

  // Locked. A block for the request, or NULL when the policy must grow (or
  // has no host memory). The block's use set is what it inherited.
  tegi_block* (*take)(tegi_policy* policy, const tegi_request* request);
  // Locked. The block's set says who used it. Cannot fail.
  void (*give)(tegi_policy* policy, tegi_block* block);
  // Under the growth mutex. As take, growing as needed.
  // Returns TEG_OUT_OF_MEMORY, TEG_OVER_BUDGET, TEG_LIMIT,
  // TEG_OUT_OF_HOST_MEMORY, TEG_DEVICE_LOST; state as before then.
  teg_result (*grow)(tegi_policy* policy, const tegi_request* request,
                     tegi_block** out_block, teg_error* err);
  // Under the growth mutex. Gives free memory back: at least |wanted| bytes if
  // there are that many. |is_idle_only|: nothing is waited for; else
  // everything submitted may be waited for. |stream| is the asking one.
  // Returns the bytes given back or retired.
  uint64_t (*trim)(tegi_policy* policy, uint64_t wanted, bool is_idle_only,
                   tegi_stream_id stream);

  // Optional (NULL = nothing to do). Locked.
  void (*submitted)(tegi_policy* policy);
  // Optional. Under the growth mutex, not locked: what is learned between runs
  // may take its time.
  void (*run_begin)(tegi_policy* policy, tegi_stream_id stream);
  void (*run_end)(tegi_policy* policy, tegi_stream_id stream);
  // Optional. Under the growth mutex: gives up to |count| idle tiles of holes
  // to the device's pool, after waiting for them if it may. Returns how many.
  uint32_t (*lend_tiles)(tegi_policy* policy, uint32_t count, bool may_wait,
                         tegi_stream_id stream);
  // Optional. Under the growth mutex, not locked: hands all free buffers of
  // |min_bytes| to |max_bytes| to the device, for other sessions to adopt.
  void (*lend_buffers)(tegi_policy* policy, uint64_t min_bytes,
                       uint64_t max_bytes);
  // Optional. Under the growth mutex: changes the size of a block made with
  // max_size. State as before on failure. NULL = blocks are made with their
  // largest size at once.
  teg_result (*resize)(tegi_policy* policy, tegi_block* block, uint64_t size,
                       tegi_stream_id stream, teg_error* err);
  // Optional. Locked. Two used blocks of equal size, made without max_size,
  // trade what they stand for: memory, place and uses. The records stay with
  // their owners.
  void (*exchange)(tegi_policy* policy, tegi_block* a, tegi_block* b);
  // Locked. TEG_BAD_STATE with what is wrong.
  teg_result (*validate)(tegi_policy* policy, teg_error* err);
} tegi_policy_ops;

struct tegi_policy {
  const tegi_policy_ops* ops;
};

// TEG_INVALID with the place for a table of buckets that is not one; "" is
// ONNX Runtime's. src/policy/bucket.c
teg_result tegi_buckets_check(const char* text, teg_error* err);

// Every policy, "auto" excluded; NULL-terminated.
extern const tegi_policy_ops* const tegi_policies[];

extern const tegi_policy_ops tegi_policy_disabled, tegi_policy_lazy,
    tegi_policy_simple, tegi_policy_bucket, tegi_policy_dynamic,
    tegi_policy_paged, tegi_policy_exclusive, tegi_policy_tiled,
    tegi_policy_planned;

#endif  // TEGULA_POLICY_POLICY_H
