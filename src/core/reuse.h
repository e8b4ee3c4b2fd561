// SPDX-License-Identifier: Apache-2.0
//
// The one rule of reuse: when may bytes pass to a new owner, or be written
// once more, while commands that use them are still on their way?
//
// Every block, hole and tile carries a use set (range/useset.h). Its worst
// entry gives the phase: recorded (the batch is not submitted), submitted (not
// complete), idle. Every write says how it reaches memory:
//
//   write    takes effect            same stream          another stream
//   DEVICE   in its place in the     always               idle; submitted on
//            stream                                       the same queue;
//                                                         submitted elsewhere
//                                                         with a device wait
//   QUEUE    at the next submit to   submitted, idle      submitted on the same
//            that queue                                   queue, idle
//   HOST     at once                 idle                 idle
//   REMAP    at once, or in queue    idle; submitted      the same
//            order                   where the queue
//                                    orders it
//
// A host hold (a mapping, a map request not yet answered) forbids all of them.
#ifndef TEGULA_CORE_REUSE_H
#define TEGULA_CORE_REUSE_H

#include "base/atomic.h"
#include "policy/policy.h"

typedef enum tegi_phase {
  TEGI_PHASE_IDLE = 0,
  TEGI_PHASE_SUBMITTED = 1,
  TEGI_PHASE_RECORDED = 2,
} tegi_phase;

// What the rule needs to know of one stream. Part of teg_stream.
//   submitted   serial of the last batch handed to the queue; a batch that is
//               dropped is handed over empty, so that its stamps come back and
//               its queue writes land
//   completed   serial of the last batch known to be complete
// Written by the thread that uses the stream; read by any.
typedef struct tegi_timeline {
  tegi_stream_id id;
  uint32_t queue_id;  // streams that share a queue have the same
  tegi_atomic_u64 submitted;
  tegi_atomic_u64 completed;
} tegi_timeline;

// Finds the timeline of a stream; NULL when the stream is gone, which means
// that all it did is complete. Called with the table locked by the caller.
//   is_rule_off  for tests that show what the rule prevents: every check says
//                TEGI_REUSE_NOW and every set is idle
typedef struct tegi_timelines {
  const tegi_timeline* (*find)(void* user, tegi_stream_id id);
  void* user;
  bool is_rule_off;
} tegi_timelines;

tegi_phase tegi_use_phase(const tegi_timeline* timeline, tegi_use use);

// The phase of the set's worst entry. Host holds do not count.
tegi_phase tegi_set_phase(const tegi_timelines* timelines,
                          const tegi_use_set* set);

// True when nothing can touch the bytes any more: idle, and no host hold.
bool tegi_set_is_idle(const tegi_timelines* timelines, const tegi_use_set* set);

// The rule. |stream| is the one that asks; |is_remap_queue_ordered| says
// whether REMAP acts in queue order on this device.
tegi_verdict tegi_reuse_check(const tegi_timelines* timelines,
                              const tegi_use_set* set, tegi_write write,
                              const tegi_timeline* stream,
                              bool is_remap_queue_ordered);

// Drops the entries that are idle.
void tegi_set_prune(tegi_host* host, const tegi_timelines* timelines,
                    tegi_use_set* set);

#endif  // TEGULA_CORE_REUSE_H
