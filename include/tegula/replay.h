// SPDX-License-Identifier: Apache-2.0
//
// Replay: the requests of a trace, made again under one policy on one device.
// A loaded trace is read-only: it can be replayed any number of times, one
// replay after the other or by several threads at once. A result is a value of
// the caller's that owns its timeline.
//
//   reader --load--> teg_replay --run(params)--> teg_replay_result
//                        |             one device and |session_count| sessions,
//                     destroy          which end with the call
//
// How the trace becomes requests:
//   - Batches. A batch is |batch_requests| allocations and frees; it also ends
//     at LOAD_END and at each RUN_END. The device completes batches only when
//     told to: batch k is complete exactly when batch k + |latency_batches| is
//     submitted, so a replay gives the same bytes every time. A free is
//     released by the batch it falls in.
//   - Lifetimes. What the trace says; where it says nothing, STATIC for what
//     lives through the first LOAD_END, and RUN for the rest.
//   - LOAD_END submits, waits and trims the session to what is live: these
//     bytes are the weights.
//   - Sessions take turns run by run, after each has loaded its weights. A turn
//     reaches up to and with the next RUN_END.
//   - Repeats play what follows LOAD_END again. Weights are freed by the last
//     repeat only; what another leaves alive of its own is destroyed before
//     the next.
//   - Time is the trace's. Where sessions take turns, the clock is the sum of
//     the time each turn took.
#ifndef TEGULA_REPLAY_H
#define TEGULA_REPLAY_H

#include "tegula/options.h"
#include "tegula/result.h"
#include "tegula/trace.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct teg_replay teg_replay;

// Reads |reader| to its end and keeps its events, 24 bytes each.
//   name        what results call the trace; NULL = the reader's name; copied,
//               at most 127 bytes of it
//   allocator   NULL = malloc; also serves the replays
//   out_replay  set only on TEG_OK; give back with teg_replay_destroy()
// Returns   TEG_INVALID, TEG_OUT_OF_HOST_MEMORY, TEG_LIMIT (over 2^31 buffers
//           live at once), or the reader's error
// Threads: any. May block: on the file. Since 0.1
TEG_API TEG_NODISCARD teg_result teg_replay_load(teg_trace_reader* reader,
                                                 const char* name,
                                                 const teg_allocator* allocator,
                                                 teg_replay** out_replay,
                                                 teg_error* err);

// No replay of it is going on. NULL is fine. Since 0.1
TEG_API void teg_replay_destroy(teg_replay* replay);

// What was loaded. Since 0.1
typedef struct teg_replay_info {
  uint32_t struct_size;  // set by the caller
  uint32_t reserved;
  const char* name;         // lives as long as the replay
  uint64_t event_count;     // marks included
  uint64_t request_count;   // allocations and frees
  uint64_t run_count;       // RUN_END marks
  uint64_t load_end_index;  // event after the first LOAD_END; 0 = none
  uint64_t slot_count;      // places for buffers that the replay needs
  uint64_t duration_ns;
} teg_replay_info;

TEG_API void teg_replay_get_info(const teg_replay* replay,
                                 teg_replay_info* out_info);

typedef uint32_t teg_replay_flags;
enum {
  TEG_REPLAY_NONE = 0,
  // Every buffer's memory is stamped by a kernel when it is created (both ends
  // and places inside, whole 32-bit words) and checked by another just before
  // it is destroyed. Times then include the stamps; the staging memory that
  // kernels take their parameters from counts as reserved.
  TEG_REPLAY_VERIFY = 1u << 0,
};

// Told now and then how far a replay is, outside of what is timed. A non-zero
// return ends the replay with TEG_END.
typedef int (*teg_replay_progress)(void* user, uint64_t done_count,
                                   uint64_t total_count);

typedef struct teg_replay_params {
  uint32_t struct_size;
  teg_replay_flags flags;
  const char* backend;       // "host", "null", "vulkan"; NULL = "host"
  uint32_t device_index;     // which of the backend's devices
  uint32_t batch_requests;   // 1 .. 2^20; 0 = 32
  uint32_t latency_batches;  // 0 .. 4096
  uint32_t session_count;    // 1 .. 1024; 0 = 1
  uint32_t repeat_count;     // 1 .. 2^20; 0 = 1
  uint32_t reserved;         // 0
  double scale;  // sizes are multiplied by it and rounded up to 256 bytes, so
                 // that a trace fits a small device: 1e-6 .. 1; 0 = 1, and
                 // nothing is rounded
  const teg_options* options;  // device and session options, `policy` among
                               // them; NULL = defaults. `completion` is set to
                               // "told" whatever it says.
  teg_replay_progress progress;  // NULL = none
  void* progress_user;
  teg_log log;  // the device's; all-zero = silent
} teg_replay_params;

#define TEG_REPLAY_PARAMS_INIT                                             \
  {                                                                        \
    sizeof(teg_replay_params), TEG_REPLAY_NONE, NULL, 0, 0, 0, 0, 0, 0, 0, \
        NULL, NULL, NULL, {                                                \
      NULL, NULL, TEG_LOG_ERROR                                            \
    }                                                                      \
  }

// X(kind, field, unit, help): every figure of a result, in the order in which
// tables and JSON have them. Kinds: TEXT char[128], COUNT uint64_t,
// NUMBER double. Keys are stable: they are only ever added.
// "Late" is the second half of the runs: run index >= run_count / 2.
#define TEG_REPLAY_FIELDS(X)                                                   \
  X(TEXT, trace, "", "name of the trace")                                      \
  X(TEXT, policy, "", "policy that was asked for")                             \
  X(TEXT, policy_in_use, "", "policy that served lifetime RUN")                \
  X(TEXT, device, "", "backend of the device")                                 \
  X(COUNT, tile_bytes, "bytes", "size of a tile; 0 = the device has none")     \
  X(COUNT, session_count, "", "sessions that took turns")                      \
  X(COUNT, repeat_count, "", "times the part after LOAD_END was played")       \
  X(COUNT, batch_requests, "", "allocations and frees a batch")                \
  X(COUNT, latency_batches, "", "batches that ran behind")                     \
  X(NUMBER, scale, "", "what sizes were multiplied by")                        \
  X(COUNT, events, "", "events played, marks included")                        \
  X(COUNT, operations, "", "buffers created plus buffers destroyed")           \
  X(COUNT, runs, "", "runs that were played to their end")                     \
  X(COUNT, load_end_ns, "ns", "time at which every session had loaded")        \
  X(COUNT, runs_end_ns, "ns", "time at which the last run ended")              \
  X(COUNT, weights_bytes, "bytes", "live after the trim at LOAD_END")          \
  X(COUNT, peak_live_bytes, "bytes", "most asked for and not freed at once")   \
  X(COUNT, peak_reserved_bytes, "bytes", "most taken from the device at once") \
  X(NUMBER, ratio, "", "peak reserved / peak live")                            \
  X(COUNT, run_peak_live_bytes, "bytes",                                       \
    "peak live after LOAD_END, no weights")                                    \
  X(COUNT, run_peak_reserved_bytes, "bytes",                                   \
    "peak reserved after the trim at LOAD_END, less the weights' bytes")       \
  X(NUMBER, run_ratio, "", "the same ratio over run memory alone")             \
  X(COUNT, average_reserved_bytes, "bytes", "reserved, averaged over time")    \
  X(COUNT, driver_calls, "", "calls of the driver that manage memory")         \
  X(NUMBER, driver_ns, "ns", "time inside those calls")                        \
  X(COUNT, allocations, "", "device allocations made")                         \
  X(NUMBER, allocations_per_run, "",                                           \
    "device allocations a run, after LOAD_END")                                \
  X(NUMBER, allocations_per_late_run, "", "the same, late")                    \
  X(COUNT, tiles_remapped, "", "tiles mapped anew that were mapped before")    \
  X(NUMBER, tiles_remapped_per_late_run, "", "the same, late, a run")          \
  X(COUNT, waits, "", "times a policy waited for the device")                  \
  X(NUMBER, waits_per_late_run, "", "the same, late, a run")                   \
  X(NUMBER, wait_ns, "ns", "time spent in those waits")                        \
  X(NUMBER, ns_per_op_median, "ns",                                            \
    "time of one operation without driver and waits, median over blocks")      \
  X(NUMBER, ns_per_op_p99, "ns", "the same, 99th percentile")                  \
  X(NUMBER, ns_per_op_late_median, "ns", "the same, median, late")             \
  X(COUNT, record_bytes_peak, "bytes", "the library's own records, most seen") \
  X(COUNT, failures, "", "requests and batches that failed")                   \
  X(COUNT, verify_mismatches, "", "buffers whose stamps had changed")

#define TEG_REPLAY_MEMBER_TEXT(field) char field[128];
#define TEG_REPLAY_MEMBER_COUNT(field) uint64_t field;
#define TEG_REPLAY_MEMBER_NUMBER(field) double field;
#define TEG_REPLAY_MEMBER(kind, field, unit, help) \
  TEG_REPLAY_MEMBER_##kind(field)

// A moment of a replay. Between two moments that were looked at, the peaks
// are put in the middle.
typedef struct teg_replay_sample {
  uint64_t time_ns;  // from the start of the trace
  uint64_t live_bytes;
  uint64_t mapped_bytes;
  uint64_t reserved_bytes;
} teg_replay_sample;

enum { TEG_REPLAY_MAX_SAMPLES = 2000 };

typedef struct teg_replay_result {
  uint32_t struct_size;  // set by the caller
  // 1 if the last event was played. A replay that failed stops there, and its
  // figures reach so far.
  uint32_t is_complete;
  TEG_REPLAY_FIELDS(TEG_REPLAY_MEMBER)
  teg_error failure;           // the first failure; TEG_OK = none
  teg_error mismatch;          // the first verify mismatch; TEG_OK = none
  size_t sample_count;         // at most TEG_REPLAY_MAX_SAMPLES
  teg_replay_sample* samples;  // in order of time; owned by the result
  teg_allocator allocator;     // which |samples| goes back to
} teg_replay_result;

// Replays |replay| once.
//   params      NULL = defaults
//   out_result  give back with teg_replay_result_clear() after TEG_OK; zeroed
//               otherwise
// Returns   TEG_OK when the replay took place, failed requests included: see
//           |failures|, |failure| and |verify_mismatches|;
//           TEG_INVALID, TEG_NOT_FOUND, TEG_UNAVAILABLE ... when the device or
//           a session could not be made; TEG_UNSUPPORTED when verifying on a
//           device that runs no kernels; TEG_END when |progress| ended it;
//           TEG_OUT_OF_HOST_MEMORY
// Threads: any. May block: yes. Since 0.1
TEG_API TEG_NODISCARD teg_result teg_replay_run(const teg_replay* replay,
                                                const teg_replay_params* params,
                                                teg_replay_result* out_result,
                                                teg_error* err);

// Frees what |result| owns and zeroes it. NULL is fine. Since 0.1
TEG_API void teg_replay_result_clear(teg_replay_result* result);

#ifdef __cplusplus
}
#endif

#endif  // TEGULA_REPLAY_H
