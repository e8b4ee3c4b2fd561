// SPDX-License-Identifier: Apache-2.0
//
// A checker of the rule of reuse by physical bytes. It knows nothing of any
// backend: a decorator tells it what memory there is, what is mapped where,
// and what each command touches, when it is recorded, submitted and executed.
//
// It keeps, per physical memory, who wrote each byte last, and per command
// not yet executed, which physical bytes it was recorded for. It reports:
//   at execution  a read of bytes that another owner wrote last, or that
//                 nobody wrote; bytes whose tiles were remapped, unmapped or
//                 destroyed since the command was recorded
//   at submit     a batch that overtakes an earlier recorded command of
//                 another owner on the same bytes, one of the two writing
//   at once       CPU access to bytes that unexecuted commands touch; map,
//                 unmap or destroy of such bytes; a tile mapped twice
// A command found wrong keeps TEG_HAZARD as its result. Everything found is
// counted, and the first text is kept.
//
// Owner 0 is not followed: it may read anything, and anyone may read what it
// wrote. Threads: any; one mutex inside. Only record and create allocate.
#ifndef TEGULA_BACKEND_NULL_HAZARD_H
#define TEGULA_BACKEND_NULL_HAZARD_H

#include "base/memory.h"
#include "tegula/backend.h"

typedef struct tegi_hazard tegi_hazard;
typedef struct tegi_hazard_memory tegi_hazard_memory;
typedef struct tegi_hazard_stream tegi_hazard_stream;
typedef struct tegi_hazard_command tegi_hazard_command;

typedef struct tegi_hazard_params {
  tegi_host* host;       // outlives the checker
  uint64_t tile_bytes;   // 0 = no tiles
  teg_remap_kind remap;  // queue-ordered remaps may follow submitted commands
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

// Physical memory, or an address range of whole tiles. Remove reports
// unexecuted commands and mapped tiles, and removes it all the same.
teg_result tegi_hazard_memory_add(tegi_hazard* hazard, bool is_range,
                                  uint64_t size, void* memory_user,
                                  tegi_hazard_memory** out_memory,
                                  teg_error* err);
void tegi_hazard_memory_remove(tegi_hazard* hazard, tegi_hazard_memory* memory);

// TEG_HAZARD if the runs must not be mapped or unmapped now. Changes nothing.
// Runs are inside their range and heap, and were checked to be free or mapped
// by the device: done() is called after it has succeeded.
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

teg_result tegi_hazard_stream_add(tegi_hazard* hazard,
                                  tegi_hazard_stream** out_stream,
                                  teg_error* err);
// Drops the commands that were not executed.
void tegi_hazard_stream_remove(tegi_hazard* hazard, tegi_hazard_stream* stream);

// A command of the batch recorded now. Spans are inside their memories.
// |what| is static text for reports. |is_call|: bytes that are only written
// may be given to on_new_owner first. Fails for want of host memory only.
teg_result tegi_hazard_record(tegi_hazard_stream* stream, const char* what,
                              bool is_call, const tegi_hazard_span* spans,
                              uint32_t span_count,
                              tegi_hazard_command** out_command,
                              teg_error* err);
// Takes back the last one recorded.
void tegi_hazard_unrecord(tegi_hazard_command* command);
// The batch recorded so far is submitted.
void tegi_hazard_submit(tegi_hazard_stream* stream);
// The command executes now, and is gone after. |*out_may_run| is false if its
// bytes are not there any more. Returns TEG_OK or TEG_HAZARD.
teg_result tegi_hazard_execute(tegi_hazard_command* command, bool* out_may_run);
// The first report about a command of |stream| since the last take; "" if
// there is none.
void tegi_hazard_take_text(tegi_hazard_stream* stream, char* text,
                           size_t text_size);

#endif  // TEGULA_BACKEND_NULL_HAZARD_H
