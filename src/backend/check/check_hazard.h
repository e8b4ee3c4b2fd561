// SPDX-License-Identifier: Apache-2.0
//
// A checker of the rule of reuse, and of the order of commands, by physical
// bytes. It knows nothing of any backend: a decorator tells it what memory
// there is, what is mapped where, and what each command touches, when it is
// recorded, submitted and complete.
//
// It keeps, per physical memory, who wrote each byte last, and every command
// until it is known to be complete, with the physical bytes it was recorded
// for. It reports:
//   at record     a command without a barrier to one before it in the batch
//                 that it conflicts with: same bytes, one of the two writing;
//                 addresses without tiles
//   at submit     the same against batches submitted before that neither a
//                 barrier nor a wait orders; bytes under tiles that a bind
//                 batch maps which is not waited for; a batch that overtakes
//                 an earlier recorded command of another owner on the same
//                 bytes; a bind batch that does not wait for commands that
//                 touch its tiles
//   at execution  a read of bytes that another owner wrote last, or that
//                 nobody wrote; bytes whose tiles were remapped, unmapped or
//                 destroyed since the command was recorded
//   at once       CPU access to bytes that unfinished commands touch; map,
//                 unmap or destroy of such bytes (where binds are ordered by
//                 the queue: of recorded commands); a tile mapped twice
// Where a device asks before each command (is_asked), execution is that;
// elsewhere commands count as executed in the order of submits.
//
// All streams share one queue, but for the stream of binds. What is submitted
// is cut into epochs by the barriers: a command follows all of lower epochs.
// A batch follows the batches it waits for and all that they follow; what the
// batches before a barrier follow, those behind it follow too.
//
// A batch with a command found wrong is reported by the wait for it. All that
// is found is counted, and the first text is kept.
//
// Owner 0 is not followed: it may read anything, and anyone may read what it
// wrote. Threads: any; one mutex inside. What cannot fail does not allocate.
#ifndef TEGULA_BACKEND_CHECK_HAZARD_H
#define TEGULA_BACKEND_CHECK_HAZARD_H

#include "base/memory.h"
#include "tegula/backend.h"

enum { TEGI_HAZARD_TEXT_BYTES = 512 };

typedef struct tegi_hazard tegi_hazard;
typedef struct tegi_hazard_memory tegi_hazard_memory;
typedef struct tegi_hazard_stream tegi_hazard_stream;
typedef struct tegi_hazard_command tegi_hazard_command;

typedef struct tegi_hazard_params {
  tegi_host* host;      // outlives the checker
  uint64_t tile_bytes;  // 0 = no tiles
  teg_remap_kind remap;
  bool is_asked;  // tegi_hazard_execute() is called for every command
  // Bytes of |memory_user|'s memory get a new owner that will write, but may
  // not read, them. NULL = nobody wants to know. Called with the lock held.
  void (*on_new_owner)(void* user, void* memory_user, uint64_t offset,
                       uint64_t size);
  void* user;
} tegi_hazard_params;

// What a command touches.
typedef struct tegi_hazard_span {
  tegi_hazard_memory* memory;
  uint64_t offset;
  uint64_t size;
  uint64_t owner;
  bool is_read;
  bool is_written;
} tegi_hazard_span;

typedef struct tegi_hazard_run {
  tegi_hazard_memory* heap;  // not read by unmap
  uint32_t heap_tile_index;
  uint32_t range_tile_index;
  uint32_t tile_count;
} tegi_hazard_run;

teg_result tegi_hazard_create(const tegi_hazard_params* params,
                              tegi_hazard** out_hazard, teg_error* err);
void tegi_hazard_destroy(tegi_hazard* hazard);

// How many were found, and the first one's text ("" if none). |text| may be
// NULL. reset forgets both.
uint64_t tegi_hazard_get_report(tegi_hazard* hazard, char* text,
                                size_t text_size);
void tegi_hazard_reset(tegi_hazard* hazard);

// ---- Memory.

// Physical memory, or an address range of whole tiles. Remove reports
// unfinished commands, binds that are only recorded and mapped tiles, and
// removes it all the same.
teg_result tegi_hazard_memory_add(tegi_hazard* hazard, bool is_range,
                                  uint64_t size, void* memory_user,
                                  tegi_hazard_memory** out_memory,
                                  teg_error* err);
void tegi_hazard_memory_remove(tegi_hazard* hazard, tegi_hazard_memory* memory);

// TEG_HAZARD if the runs must not be mapped or unmapped now. Runs are inside
// their range and heap, and were checked to be free or mapped by the device:
// done() is called after it has succeeded. TEG_OUT_OF_HOST_MEMORY where binds
// are ordered by the queue.
teg_result tegi_hazard_check_map(tegi_hazard* hazard, tegi_hazard_memory* range,
                                 const tegi_hazard_run* runs, size_t run_count,
                                 teg_error* err);
void tegi_hazard_map_done(tegi_hazard* hazard, tegi_hazard_memory* range,
                          const tegi_hazard_run* runs, size_t run_count);
teg_result tegi_hazard_check_unmap(tegi_hazard* hazard,
                                   tegi_hazard_memory* range,
                                   const tegi_hazard_run* runs,
                                   size_t run_count, teg_error* err);
void tegi_hazard_unmap_done(tegi_hazard* hazard, tegi_hazard_memory* range,
                            const tegi_hazard_run* runs, size_t run_count);

// The CPU reads or writes bytes now.
teg_result tegi_hazard_host_access(tegi_hazard* hazard,
                                   const tegi_hazard_span* span,
                                   teg_error* err);

// ---- Streams and commands.

// |is_bind|: the one stream of binds, for a device whose queue orders them.
teg_result tegi_hazard_stream_add(tegi_hazard* hazard, bool is_bind,
                                  tegi_hazard_stream** out_stream,
                                  teg_error* err);
// All that was submitted is complete; what was only recorded is dropped.
void tegi_hazard_stream_remove(tegi_hazard* hazard, tegi_hazard_stream* stream);

// A command of the batch recorded now. Spans are inside their memories.
// |what| is static text for reports. |is_call|: bytes that are only written
// may be given to on_new_owner first. Fails for want of host memory only.
teg_result tegi_hazard_record(tegi_hazard_stream* stream, const char* what,
                              bool is_call, const tegi_hazard_span* spans,
                              uint32_t span_count,
                              tegi_hazard_command** out_command,
                              teg_error* err);
// Takes back the last one recorded, which the device refused.
void tegi_hazard_unrecord(tegi_hazard_command* command);
// A barrier is recorded.
void tegi_hazard_barrier(tegi_hazard_stream* stream);
// The batch recorded now waits for batch |serial| of |other|. reserve() comes
// first and may fail; the wait then cannot.
teg_result tegi_hazard_reserve_wait(tegi_hazard_stream* stream,
                                    const tegi_hazard_stream* other,
                                    uint64_t serial, teg_error* err);
void tegi_hazard_wait_for(tegi_hazard_stream* stream,
                          const tegi_hazard_stream* other, uint64_t serial);
// Drops what is recorded. On the stream of binds tiles are again where they
// were.
void tegi_hazard_discard(tegi_hazard_stream* stream);

// The batch recorded so far is submitted between begin and end: the checker
// is locked, so that it knows the order of submits. end() unlocks it, and must
// follow where begin() gave TEG_OK.
teg_result tegi_hazard_submit_begin(tegi_hazard_stream* stream, teg_error* err);
void tegi_hazard_submit_end(tegi_hazard_stream* stream, bool is_submitted);

// The device is about to run a submitted command. |*out_may_run| is false if
// its bytes are not there any more. Only where is_asked.
void tegi_hazard_execute(tegi_hazard_command* command, bool* out_may_run);

// The host has seen that the stream's batches up to |serial| are complete.
void tegi_hazard_observe(tegi_hazard_stream* stream, uint64_t serial);
// TEG_HAZARD with the text, once, if a batch up to |serial| was found wrong.
teg_result tegi_hazard_take_error(tegi_hazard_stream* stream, uint64_t serial,
                                  teg_error* err);

#endif  // TEGULA_BACKEND_CHECK_HAZARD_H
