// SPDX-License-Identifier: Apache-2.0
//
// What the files of the replay engine share:
//   replay_load.c      events of a trace as an array, ids as dense slots
//   replay.c           the loop that plays them, sessions and their turns
//   replay_timer.c     nanoseconds per operation over blocks of operations
//   replay_timeline.c  samples of the device's bytes, thinned out
//   replay_verify.c    stamps in the buffers' memory
// Everything here is used by the one thread that called teg_replay_run(); only
// the kernels of replay_verify.c run elsewhere.
#ifndef TEGULA_TRACE_REPLAY_PARTS_H
#define TEGULA_TRACE_REPLAY_PARTS_H

#include "base/memory.h"
#include "tegula/kernel.h"
#include "tegula/replay.h"
#include "tegula/stats.h"
#include "tegula/stream.h"

// ---------------------------------------------------------------------------
// The loaded trace

// |lifetime| is never UNKNOWN. A free repeats nothing but the slot.
typedef struct tegi_replay_event {
  uint64_t size;
  uint64_t time_ns;  // never steps back
  uint32_t slot;
  uint16_t buffer_flags;
  uint8_t kind;  // teg_trace_kind, or the one below
  uint8_t lifetime;
} tegi_replay_event;

// The free of a weight: left out of all passes but the last, so that every
// pass finds the weights there.
enum { TEGI_REPLAY_FREE_WEIGHT = 0x80 };

struct teg_replay {
  tegi_host host;
  char name[128];
  tegi_replay_event* events;
  size_t event_count;
  size_t event_capacity;
  // A turn is events[turn_ends[i - 1] .. turn_ends[i]); turn 0 is the load.
  size_t* turn_ends;
  size_t turn_count;
  size_t turn_capacity;
  // Slots of the buffers that begin after LOAD_END and never end.
  uint32_t* leftovers;
  size_t leftover_count;
  size_t leftover_capacity;
  uint32_t slot_count;
  uint64_t request_count;
  uint64_t run_count;
  uint64_t load_run_count;  // of them in turn 0
  bool has_load_end;
};

enum { TEGI_REPLAY_SCALED_ALIGNMENT = 256 };

// |size| times |scale| (above 0, at most 1), rounded up.
static inline uint64_t tegi_replay_scaled_size(uint64_t size, double scale) {
  double scaled = (double)size * scale;
  uint64_t units = (uint64_t)(scaled / TEGI_REPLAY_SCALED_ALIGNMENT);
  uint64_t bytes = units * TEGI_REPLAY_SCALED_ALIGNMENT;
  return (double)bytes < scaled ? bytes + TEGI_REPLAY_SCALED_ALIGNMENT : bytes;
}

// ---------------------------------------------------------------------------
// Timer

enum { TEGI_REPLAY_BLOCK_OPERATIONS = 256 };

// Adds up the time of the operations of one block, the driver's and the waits'
// left out. Runs from resume to pause.
typedef struct tegi_replay_timer {
  tegi_host* host;
  float* blocks;  // nanoseconds per operation
  size_t block_count;
  size_t block_capacity;
  size_t late_index;  // of the first late block; SIZE_MAX = none yet
  uint64_t block_ns;  // of the open block
  uint64_t resumed_ns;
  uint64_t outside_ns;  // driver and waits when the open block began
} tegi_replay_timer;

void tegi_replay_timer_init(tegi_replay_timer* timer, tegi_host* host);
void tegi_replay_timer_deinit(tegi_replay_timer* timer);
void tegi_replay_timer_resume(tegi_replay_timer* timer);
void tegi_replay_timer_pause(tegi_replay_timer* timer);
// Begins a block anew, paused; what the open one had is dropped.
void tegi_replay_timer_restart(tegi_replay_timer* timer,
                               const teg_stats* stats);
// Ends the open block after |operation_count| operations, paused, and begins
// the next. False when there is no memory for it.
bool tegi_replay_timer_end_block(tegi_replay_timer* timer,
                                 uint64_t operation_count,
                                 const teg_stats* stats);
// The open block is the first late one, unless one was named before.
void tegi_replay_timer_mark_late(tegi_replay_timer* timer);
// Sorts the blocks and fills the three figures of |result|.
void tegi_replay_timer_finish(tegi_replay_timer* timer,
                              teg_replay_result* result);

// ---------------------------------------------------------------------------
// Timeline

// Samples in order of time, all of them until finish thins them out, and the
// figures that come from them.
typedef struct tegi_replay_timeline {
  tegi_host* host;
  teg_replay_sample* samples;
  size_t sample_count;
  size_t sample_capacity;
  double reserved_area;  // bytes times nanoseconds
  uint64_t peak_live_bytes;
  uint64_t peak_reserved_bytes;
  uint64_t peak_record_bytes;
} tegi_replay_timeline;

void tegi_replay_timeline_init(tegi_replay_timeline* timeline, tegi_host* host);
void tegi_replay_timeline_deinit(tegi_replay_timeline* timeline);
// |stats| has the present values and the peaks since the last call.
bool tegi_replay_timeline_add(tegi_replay_timeline* timeline, uint64_t time_ns,
                              const teg_stats* stats);
// Forgets the peaks so far, but not the samples.
void tegi_replay_timeline_reset_peaks(tegi_replay_timeline* timeline);
uint64_t tegi_replay_timeline_average(const tegi_replay_timeline* timeline);
// Puts at most |capacity| (>= 12) of |count| samples at |out_samples|, with
// the lowest and highest of each kind of bytes in every stretch of time.
// Returns how many.
size_t tegi_replay_thin_out(const teg_replay_sample* samples, size_t count,
                            size_t capacity, teg_replay_sample* out_samples);

// ---------------------------------------------------------------------------
// Stamps

// The kernels that stamp and check, on one device.
typedef struct tegi_replay_verify {
  teg_kernel* stamp;
  teg_kernel* check;
  uint64_t piece_bytes;  // most of a buffer that one dispatch stamps
} tegi_replay_verify;

// What is known of a buffer that was stamped. Whole words of it are.
typedef struct tegi_replay_stamp {
  uint64_t number;  // of the buffer on its device; 0 = not stamped
  uint64_t size;
  uint64_t event_index;
} tegi_replay_stamp;

// What the checks of one stream have found.
typedef struct tegi_replay_changes {
  uint64_t buffer_count;
  // The first: which buffer, where, and the word that is there.
  uint64_t buffer_number;
  uint64_t event_index;
  uint64_t offset;
  uint32_t expected;
  uint32_t found;
} tegi_replay_changes;

// Returns TEG_UNSUPPORTED where the device runs neither form of the kernels.
teg_result tegi_replay_verify_open(tegi_replay_verify* verify,
                                   teg_device* device, teg_error* err);
// Fine also for one that is zeroed or did not open.
void tegi_replay_verify_close(tegi_replay_verify* verify);
// Makes the buffer in which the checks of |stream| say what they find.
teg_result tegi_replay_verify_begin(teg_session* session, teg_stream* stream,
                                    teg_buffer** out_results, teg_error* err);
// Records the commands that stamp |buffer|, made by event |event_index|.
teg_result tegi_replay_verify_stamp(const tegi_replay_verify* verify,
                                    teg_stream* stream, teg_buffer* buffer,
                                    uint64_t event_index,
                                    tegi_replay_stamp* out_stamp,
                                    teg_error* err);
// Records the commands that check |buffer|.
teg_result tegi_replay_verify_check(const tegi_replay_verify* verify,
                                    const tegi_replay_stamp* stamp,
                                    teg_stream* stream, teg_buffer* buffer,
                                    teg_buffer* results, teg_error* err);
// Reads what the checks recorded so far find; waits for them.
teg_result tegi_replay_verify_read(const tegi_replay_verify* verify,
                                   teg_stream* stream, teg_buffer* results,
                                   tegi_replay_changes* out_changes,
                                   teg_error* err);
// The first change as a sentence; its buffer has |size| bytes.
void tegi_replay_changes_describe(const tegi_replay_changes* changes,
                                  uint64_t size, teg_error* out_mismatch);

#endif  // TEGULA_TRACE_REPLAY_PARTS_H
