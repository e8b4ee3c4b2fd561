// SPDX-License-Identifier: Apache-2.0
//
// The structures behind the public handles, and how core's files call each
// other. Locks, by rank (take them in this order only):
//   1 session->growth   mutex   serialises what calls the driver for a session
//   2 device->registry  mutex   the lists of sessions and streams
//     device->binds     mutex   the bind stream; nothing is taken under it but
//     4
//   3 session->lock     short   the session's policies, buffers and counters
//   4 device->lock      short   timelines, extents, lent buffers, free tiles
// The driver is never called under 3 or 4.
#ifndef TEGULA_CORE_OBJECTS_H
#define TEGULA_CORE_OBJECTS_H

#include "base/clock.h"
#include "base/error.h"
#include "core/barriers.h"
#include "core/binds.h"
#include "core/heaps.h"
#include "core/options.h"
#include "core/parameters.h"
#include "core/reuse.h"
#include "core/transfer.h"
#include "range/bins.h"
#include "tegula/device.h"
#include "tegula/session.h"
#include "tegula/stats.h"
#include "tegula/stream.h"

enum { TEGI_TAG_COUNT = 64, TEGI_POLICY_SLOTS = TEG_LIFETIME_COUNT + 1 };

// Counters with one writer (the holder of the session's lock).
typedef struct tegi_counters {
  tegi_atomic_u64 live_bytes;
  tegi_atomic_u64 peak_live_bytes;
  tegi_atomic_u64 granted_bytes;
  tegi_atomic_u64 create_count;
  tegi_atomic_u64 destroy_count;
  tegi_atomic_u64 failure_count;
} tegi_counters;

// What one thread writes often lies on lines of its own.
// NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding)
struct teg_device {
  tegi_host host;
  teg_log log;
  teg_options options;
  const char* backend_name;
  teg_backend_device* backend;
  teg_backend_tables tables;
  teg_backend_caps caps;

  // Written all the time, and so on other lines than what is above.
  _Alignas(TEGI_CACHE_LINE) tegi_mutex registry;
  teg_session* sessions;  // guarded by registry
  tegi_atomic_u64 session_count;
  tegi_atomic_u64 running_count;  // sessions that are in a run
  uint32_t next_session_number;   // guarded by registry

  _Alignas(TEGI_CACHE_LINE) tegi_lock lock;
  teg_stream** streams;     // by id; NULL = gone. Guarded by lock
  size_t stream_capacity;   // guarded by lock
  uint32_t next_stream_id;  // guarded by lock
  tegi_slab extents;        // guarded by lock
  tegi_slab lent_blocks;    // guarded by lock
  tegi_bins* lent;          // free buffers of any session. Guarded by lock
  // Retired by sessions that have ended, and not idle yet. Guarded by lock
  tegi_extent* orphans;
  tegi_atomic_u64 lent_bytes;
  tegi_heaps heaps;  // guarded by lock
  tegi_timelines timelines;
  tegi_binds binds;
  bool is_barrier_off;  // for tests that show what barriers prevent

  // Any number of writers.
  _Alignas(TEGI_CACHE_LINE) tegi_atomic_u64 reserved_bytes;
  tegi_atomic_u64 peak_reserved_bytes;
  tegi_atomic_u64 driver_call_count;
  tegi_atomic_u64 driver_ns;
  tegi_atomic_u64 allocation_count;
  tegi_atomic_u64 allocations_alive;
  tegi_atomic_u64 tiles_mapped_count;
  tegi_atomic_u64 tiles_remapped_count;
  tegi_atomic_u64 wait_count;
  tegi_atomic_u64 wait_ns;
  tegi_atomic_u64 run_clock;
  // Live bytes the sessions have published: see stats.c.
  tegi_atomic_u64 run_live_bytes;
  tegi_atomic_u64 static_live_bytes;
  tegi_atomic_u64 peak_run_live_bytes;
  tegi_atomic_u64 peak_live_bytes;
  // What sessions that have ended have counted.
  tegi_atomic_u64 ended_create_count;
  tegi_atomic_u64 ended_hit_count;
  tegi_atomic_u64 ended_failure_count;
};

// On cache lines of its own, as two threads use two streams.
struct teg_stream {
  _Alignas(TEGI_CACHE_LINE) tegi_timeline timeline;
  teg_session* session;
  teg_queue_stream* queue;
  tegi_atomic_u64 thread;  // that recorded or submitted last; 0 = none yet
  uint32_t pin_count;      // guarded by device->lock
  tegi_ring ring;          // staging of its uploads
  tegi_ring readback;      // and of its downloads
  tegi_parameters parameters;
  uint64_t bound;  // the last bind that its batches wait for
  // Of the batch being recorded.
  tegi_barriers barriers;
  uint32_t dispatch_count;
  uint64_t staged_bytes;
  uint64_t begin_ns;  // of its first dispatch
  // Of a batch that the library waited for: for whoever waits for the stream
  // next. Guarded by device->lock, save that a 0 is seen without it.
  tegi_atomic_u32 has_kept_error;
  teg_error kept_error;
  // Errors that were reported, and the last of them: for reads that had begun.
  // Guarded by device->lock, save that the count is read without it.
  tegi_atomic_u64 error_count;
  teg_error last_error;
  teg_stream* next;  // in the session. Guarded by registry
};

typedef struct tegi_tag {
  char* name;
  tegi_counters counters;
} tegi_tag;

typedef struct tegi_core_source {
  tegi_source base;
  teg_session* session;
} tegi_core_source;

struct teg_session {
  _Alignas(TEGI_CACHE_LINE) teg_device* device;
  char* name;
  uint32_t number;
  teg_options options;
  tegi_policy_options policy_options;
  teg_session* next;  // guarded by registry

  tegi_mutex growth;
  tegi_core_source source;
  teg_stream* streams;  // guarded by registry
  teg_stream* first_stream;
  tegi_atomic_u32 is_running;  // 1 = in a run, 2 = the run is ending
  // The device's run_clock when the last run began, and when it had ended.
  tegi_atomic_u64 run_begin_clock;
  tegi_atomic_u64 run_end_clock;

  tegi_lock lock;  // guards everything below
  tegi_slab blocks;
  uint64_t next_buffer_number;
  tegi_policy* by_lifetime[TEG_LIFETIME_COUNT];
  tegi_policy* dedicated;
  tegi_policy* slots[TEGI_POLICY_SLOTS];  // each policy once
  uint32_t slot_count;
  bool has_submit_hooks;
  tegi_extent* retired_head;  // in the order they were retired
  tegi_extent** retired_tail;
  tegi_atomic_u64 retired_count;  // read without the lock
  uint64_t session_budget;
  tegi_counters totals;
  tegi_counters lifetimes[TEG_LIFETIME_COUNT];
  tegi_tag tags[TEGI_TAG_COUNT];
  tegi_atomic_u32 tag_count;
  tegi_atomic_u64 hit_count;
  tegi_atomic_u64 written_bytes[TEGI_WAY_COUNT];  // by the way they took
  tegi_atomic_u64 peak_run_live_bytes;
  uint64_t published_run_bytes;
  uint64_t published_static_bytes;
};

struct teg_kernel {
  teg_device* device;
  char* name;
  teg_backend_kernel* native;
  uint32_t binding_count;
  uint32_t parameter_bytes;
  teg_access bindings[TEG_MOST_BINDINGS];
};

typedef struct tegi_foreign_streams {
  uint32_t count;
  uint32_t capacity;
  tegi_stream_id ids[];
} tegi_foreign_streams;

// Besides the caller's flags: which of the rare fields are set. The others are
// as the record's owner before left them.
enum {
  TEGI_BUFFER_KNOWN_FLAGS = TEG_BUFFER_DEDICATED | TEG_BUFFER_FOREIGN,
  TEGI_BUFFER_HAS_INHERITED = 1 << 4,
  TEGI_BUFFER_HAS_MAX_SIZE = 1 << 5,
};
_Static_assert(TEGI_BUFFER_KNOWN_FLAGS < TEGI_BUFFER_HAS_INHERITED,
               "flags are apart");

// A buffer is a block and what the caller said about it.
struct teg_buffer {
  union {
    tegi_block block;
    struct {  // where a used block has room
      char before[offsetof(tegi_block, of_core)];
      uint8_t has_foreign : 1;  // guarded by the session's lock, as has_spares
      uint8_t has_spares : 1;
      uint16_t : 0;
      uint16_t tag : 6;  // these never change
      uint16_t lifetime : 4;
      uint16_t flags : 6;
      teg_session* session;  // NULL = another buffer's spare block: see fresh.c
      teg_stream* stream;
      uint64_t size;
    };
  };
  uint64_t number;
  // Of who had the bytes before: in the home stream's batch that was recorded
  // when the buffer was made.
  tegi_use inherited;             // if flags say so
  uint64_t max_size;              // if flags say so
  tegi_foreign_streams* foreign;  // beyond the home stream; if has_foreign
  tegi_block* spares;             // see fresh.c; if has_spares
};

_Static_assert(offsetof(teg_buffer, session) == offsetof(tegi_block, link) &&
                   offsetof(teg_buffer, size) == offsetof(tegi_block, bin_key),
               "core's fields are where the link is");
_Static_assert(TEGI_TAG_COUNT <= 64 && TEG_LIFETIME_COUNT <= 16,
               "tags and lifetimes fit");

// ---- core/device.c
void tegi_log_line(const teg_device* device, teg_log_level level,
                   const char* format, ...) TEGI_PRINTF(3, 4);
// The backend's device behind a device, for host.h and null.h.
teg_backend_device* tegi_device_backend(teg_device* device);

// ---- core/timeline.c
// Publishes |stream| under a new id. TEG_OUT_OF_HOST_MEMORY.
teg_result tegi_timeline_add(teg_device* device, teg_stream* stream,
                             teg_error* err);
// After this the id is unknown, which means idle. Waits for pins.
void tegi_timeline_remove(teg_device* device, teg_stream* stream);
// Asks the queue what is complete. No lock is held.
void tegi_stream_poll(teg_stream* stream);
bool tegi_device_set_is_idle(teg_device* device, const tegi_use_set* set);
tegi_verdict tegi_device_check(teg_device* device, const tegi_use_set* set,
                               tegi_write write, tegi_stream_id stream);
void tegi_device_prune(teg_device* device, tegi_use_set* set);
// Blocks until the set is idle; see tegi_source_ops.wait.
teg_result tegi_device_wait(teg_device* device, const tegi_use_set* set,
                            tegi_stream_id asking, teg_error* err);
// Records on |waiting| a wait for every use of the set that is not complete;
// TEG_BAD_STATE if one is not submitted.
teg_result tegi_device_record_waits(teg_device* device,
                                    teg_queue_stream* waiting,
                                    const tegi_use_set* set, teg_error* err);
// Submits the batch of |use| if it is only recorded. TEG_BAD_STATE where that
// is another thread's to do.
teg_result tegi_device_submit_use(teg_device* device, tegi_use use,
                                  teg_error* err);
// As tegi_device_wait, and reports what batches of the set's streams have kept:
// the program is about to see what they wrote. The set may have uses of another
// session, who had the bytes before: their errors are that session's.
teg_result tegi_session_wait_reporting(teg_session* session,
                                       const tegi_use_set* set,
                                       tegi_stream_id asking, teg_error* err);
// Blocks until batch |serial|, which is submitted, is complete, and reports
// the first error that is kept, once.
teg_result tegi_stream_report(teg_stream* stream, uint64_t serial,
                              teg_error* err);
// The error reported last.
teg_result tegi_stream_last_error(teg_stream* stream, teg_error* err);

// ---- core/buffer.c
// A checker is told that the CPU writes bytes of the buffer, or reads them.
teg_result tegi_buffer_host_access(const teg_buffer* buffer, uint64_t offset,
                                   uint64_t size, bool is_written,
                                   teg_error* err);
// Waits until nothing uses the buffer's bytes but the program's own maps.
// |asking| is the caller's stream: its batch is submitted if need be.
teg_result tegi_buffer_wait_idle(const teg_buffer* buffer,
                                 tegi_stream_id asking, teg_error* err);

// ---- core/stream.c
// The error for bytes that are not in the buffer, or no buffer.
teg_result tegi_buffer_bad_range(const teg_buffer* buffer, const char* what,
                                 uint64_t offset, uint64_t size,
                                 teg_error* err);
// TEG_INVALID, naming |what|, for bytes that are not in the buffer.
static inline teg_result tegi_buffer_check_range(const teg_buffer* buffer,
                                                 const char* what,
                                                 uint64_t offset, uint64_t size,
                                                 teg_error* err) {
  if (buffer && size <= buffer->size && offset <= buffer->size - size) {
    return TEG_OK;
  }
  return tegi_buffer_bad_range(buffer, what, offset, size, err);
}
// The serial of the batch being recorded.
static inline uint64_t tegi_stream_recording(const teg_stream* stream) {
  return tegi_load_acquire(&stream->timeline.submitted) + 1;
}
// TEG_INVALID for a buffer of another session than the stream's.
teg_result tegi_stream_check_session(const teg_stream* stream,
                                     const teg_buffer* buffer, teg_error* err);
// Before a command that touches the buffer is recorded: orders it behind what
// the buffer inherited, and stamps the buffer.
teg_result tegi_stream_begin_use(teg_stream* stream, teg_buffer* buffer,
                                 teg_error* err);
teg_result tegi_stream_begin_uses(teg_stream* stream,
                                  teg_buffer* const* buffers, uint32_t count,
                                  teg_error* err);
// Before a command is recorded and anything stamped for it: submits the batch
// if it is full or old.
teg_result tegi_stream_begin_command(teg_stream* stream, bool is_dispatch,
                                     teg_error* err);
// Records a copy of as many bytes, behind a barrier where it needs one.
teg_result tegi_stream_record_copy(teg_stream* stream, const teg_span* to,
                                   const teg_span* from, teg_error* err);
// Blocks until batch |serial| of the caller's own stream is complete, and
// submits it before if need be. Its errors are kept for the program.
teg_result tegi_stream_wait_own(teg_stream* stream, uint64_t serial,
                                teg_error* err);
// As teg_stream_submit, for the ladder and waits: only when |stream| is the
// calling thread's own, TEG_BAD_STATE otherwise.
teg_result tegi_stream_submit_own(teg_stream* stream, teg_error* err);

// ---- core/transfer.c
// The pointer to byte |offset| of the buffer; |*out_bytes| of it from there on
// are in one piece. NULL where there is none.
char* tegi_buffer_pointer(const teg_buffer* buffer, uint64_t offset,
                          uint64_t* out_bytes);
// Staging memory and its host pointer. Takes the growth mutex.
teg_result tegi_staging_create(teg_session* session, uint64_t bytes,
                               bool is_readback, tegi_extent** out_extent,
                               char** out_pointer, teg_error* err);
// Gives it back when what |stream| has recorded so far is over.
void tegi_staging_retire(teg_stream* stream, tegi_extent* extent);
// A checker is told that the CPU writes bytes through a host pointer, or reads
// them.
teg_result tegi_device_host_access(teg_device* device, const teg_span* span,
                                   bool is_written, teg_error* err);
// The CPU has written bytes through a host pointer; it is about to read them.
teg_result tegi_device_flush(teg_device* device, teg_memory* memory,
                             uint64_t offset, uint64_t size, teg_error* err);
teg_result tegi_device_invalidate(teg_device* device, teg_memory* memory,
                                  uint64_t offset, uint64_t size,
                                  teg_error* err);

// ---- core/source.c
extern const tegi_source_ops tegi_core_source_ops;
// Destroys what was retired and is idle. No lock is held.
void tegi_session_collect(teg_session* session);
// As above for all of it, waiting for what is submitted; |stream|'s own batch
// is submitted where it stands in the way. No lock but the growth mutex.
void tegi_session_collect_all(teg_session* session, tegi_stream_id stream);
// Objects that ended sessions left behind busy and that are idle by now.
uint64_t tegi_device_collect_orphans(teg_device* device);
// As above, and leaves to the device what is not idle yet because a stream of
// another session uses it. Nobody else sees the session any more.
void tegi_session_collect_last(teg_session* session);
// Gives wholly free heaps back; |is_aged| only those free for `age` runs.
uint64_t tegi_device_trim_heaps(teg_device* device, uint64_t min_age_runs);
// Gives all heaps back: the device ends.
void tegi_device_drop_heaps(teg_device* device);
// Destroys lent buffers that are idle, and so what ended sessions have left;
// the bytes given back.
uint64_t tegi_device_trim_lent(teg_device* device);

// ---- core/ladder.c
// One attempt at what needs memory.
typedef teg_result (*tegi_attempt)(void* user, teg_error* err);

// Makes the attempt, and again after each step of the out-of-memory ladder.
//   asked_bytes  for the report; |stream| is the asking one
// The growth mutex is held.
teg_result tegi_ladder_climb(teg_session* session, uint64_t asked_bytes,
                             tegi_stream_id stream, tegi_attempt attempt,
                             void* user, teg_error* err);
// Grows |policy| for |request| so. |is_static|: weights, which take the place
// of what loading has let go of.
teg_result tegi_ladder_grow(teg_session* session, tegi_policy* policy,
                            const tegi_request* request, bool is_static,
                            tegi_block** out_block, teg_error* err);
// All of a session's policies give back what they can; growth mutex held.
uint64_t tegi_session_trim_policies(teg_session* session, bool is_idle_only);
// As above for the idle sessions other than |asking| (NULL = for all).
uint64_t tegi_device_trim_idle(teg_device* device, const teg_session* asking,
                               bool is_idle_only);

// ---- core/stats.c
void tegi_counters_add(tegi_counters* counters, uint64_t size,
                       uint64_t granted);
void tegi_counters_remove(tegi_counters* counters, uint64_t size,
                          uint64_t granted);
// Session's lock held: tells the device of live bytes if they moved enough.
void tegi_session_publish(teg_session* session, bool is_forced);
// The live peak that slack is measured by starts anew: after a trim.
void tegi_session_restart_slack(teg_session* session);

// Live bytes that are not STATIC. Session's lock held, or approximate.
static inline uint64_t tegi_session_run_live(const teg_session* session) {
  return tegi_load_relaxed(&session->totals.live_bytes) -
         tegi_load_relaxed(&session->lifetimes[TEG_LIFETIME_STATIC].live_bytes);
}

static inline teg_span tegi_buffer_span(const teg_buffer* buffer,
                                        uint64_t offset, uint64_t size) {
  return (teg_span){buffer->block.extent->memory, buffer->block.offset + offset,
                    size, buffer->number};
}

// Serial 0 = the buffer has inherited nothing.
static inline tegi_use tegi_buffer_inherited(const teg_buffer* buffer) {
  return buffer->flags & TEGI_BUFFER_HAS_INHERITED ? buffer->inherited
                                                   : (tegi_use){0};
}

static inline tegi_policy* tegi_buffer_policy(const teg_buffer* buffer) {
  return buffer->session->slots[buffer->block.policy_index];
}

#endif  // TEGULA_CORE_OBJECTS_H
