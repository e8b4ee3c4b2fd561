// SPDX-License-Identifier: Apache-2.0
//
// What the files of the checker share; see check_hazard.h. All fields are
// guarded by hazard->mutex.
#ifndef TEGULA_BACKEND_CHECK_PARTS_H
#define TEGULA_BACKEND_CHECK_PARTS_H

#include "backend/check/check_hazard.h"
#include "backend/check/check_order.h"
#include "base/error.h"
#include "base/thread.h"

#define TEGI_NOBODY UINT64_MAX  // the owner of bytes that were never written

// ---- check_bytes.c: memory, tiles, and who wrote the bytes.

typedef struct tegi_segment {
  uint64_t start;
  uint64_t owner;
  uint64_t serial;     // of the writing batch; 0 = the CPU
  uint64_t stream_id;  // 0 = the CPU
  const char* what;
} tegi_segment;

typedef struct tegi_slot_state {
  tegi_hazard_memory* heap;  // NULL = no tile
  uint32_t tile_index;
  uint64_t bind;  // batch that has put it there; 0 = at once
} tegi_slot_state;

// Segments ascend, the first starts at 0, and each ends where the next starts;
// neighbours may be alike. There is always room for two more per byte range
// that a command not yet executed will write.
struct tegi_hazard_memory {
  uint64_t id;
  uint64_t size;
  void* user;
  // Held until it is removed, by commands, by slots and by recorded binds.
  uint64_t reference_count;
  bool is_removed;
  bool is_range;
  tegi_slot_state* slots;  // range
  uint32_t slot_count;
  tegi_segment* segments;  // physical
  size_t segment_count;
  size_t segment_capacity;
  size_t unwritten_count;  // byte ranges that commands will write
  uint32_t* tile_maps;     // physical: how often each tile is mapped
  uint64_t tile_count;
};

// Physical bytes; |memory| NULL where nothing is mapped.
typedef struct tegi_piece {
  tegi_hazard_memory* memory;
  uint64_t offset;
  uint64_t size;
} tegi_piece;

// The physical bytes from |offset| on, as many of |size| as lie in one tile;
// |out_bind| (or NULL): the bind they came with.
tegi_piece tegi_bytes_resolve(const tegi_hazard* hazard,
                              const tegi_hazard_memory* memory, uint64_t offset,
                              uint64_t size, uint64_t* out_bind);
static inline bool tegi_pieces_meet(const tegi_piece* a, const tegi_piece* b) {
  return a->memory && a->memory == b->memory &&
         a->offset < b->offset + b->size && b->offset < a->offset + a->size;
}
void tegi_bytes_retain(tegi_hazard_memory* memory);
void tegi_bytes_release(tegi_hazard* hazard, tegi_hazard_memory* memory);
// Room for what a write of one more byte range can add.
bool tegi_bytes_reserve(tegi_hazard* hazard, tegi_hazard_memory* memory);
// The bytes belong to |writer| from now on. There is room.
void tegi_bytes_write(const tegi_piece* bytes, const tegi_segment* writer);
// The first segment in |bytes| that |owner| must not read; NULL if all is
// well.
const tegi_segment* tegi_bytes_foreign(const tegi_piece* bytes, uint64_t owner,
                                       uint64_t* out_offset);
// Shows bytes that change hands to on_new_owner.
void tegi_bytes_tell_new_owner(const tegi_hazard* hazard,
                               const tegi_piece* bytes, uint64_t owner);

// ---- check_hazard.c: commands and batches.

typedef struct tegi_span_record {
  tegi_hazard_span span;
  size_t first_piece;
  size_t piece_count;
} tegi_span_record;

struct tegi_hazard_command {
  tegi_hazard_command* previous;  // of all, in record order
  tegi_hazard_command* next;
  tegi_hazard_command* older;  // of its batch, while that is recorded
  tegi_hazard_command* newer;
  tegi_hazard_stream* stream;
  uint64_t sequence;  // record order over all streams
  uint64_t serial;
  uint64_t number;  // in its batch, from 1
  uint64_t epoch;   // until it is submitted: barriers of its batch before it
  uint64_t bind;    // the latest that has put tiles under its bytes
  const char* what;
  bool is_call;
  bool is_submitted;
  bool is_executed;
  bool is_bad;  // bytes that it was recorded for were not there
  uint32_t span_count;
  size_t piece_count;
  size_t allocated_bytes;
  tegi_span_record* spans;
  tegi_piece* pieces;
};

// A batch that is submitted and not known to be complete.
typedef struct tegi_batch_record {
  struct tegi_batch_record* next;
  uint64_t serial;
  tegi_clock clock;  // what it follows; epoch: behind its last barrier
} tegi_batch_record;

// A tile that a recorded bind takes from or puts under a range.
typedef struct tegi_bind_move {
  tegi_hazard_memory* range;
  uint32_t slot_index;
  tegi_slot_state before;
  tegi_slot_state after;
} tegi_bind_move;

struct tegi_hazard_stream {
  tegi_hazard* hazard;
  tegi_hazard_stream* next;
  uint64_t id;
  bool is_bind;
  uint64_t submitted;
  uint64_t observed;  // complete, as the host knows
  tegi_batch_record* first_batch;
  tegi_batch_record* last_batch;
  // Of the batch recorded now.
  tegi_hazard_command* oldest;
  tegi_hazard_command* newest;
  uint64_t command_count;
  uint64_t barrier_count;
  tegi_clock waits;
  tegi_batch_record* fresh;  // between submit_begin and submit_end
  char recorded_text[TEGI_HAZARD_TEXT_BYTES];
  // Of batches submitted, until somebody waits; serial 0 = none.
  uint64_t kept_serial;
  char kept_text[TEGI_HAZARD_TEXT_BYTES];
};

struct tegi_hazard {
  tegi_hazard_params params;
  tegi_mutex mutex;
  tegi_hazard_stream* streams;
  tegi_hazard_stream* bind_stream;  // NULL = none
  // All commands that are not known to be complete.
  tegi_hazard_command* first_pending;
  tegi_hazard_command* last_pending;
  uint64_t recorded_count;  // of them, those not submitted
  uint64_t last_sequence;
  uint64_t last_memory_id;
  uint64_t last_stream_id;
  // The queue: its epoch, the last bind that a batch on it follows, and the
  // same as of the last barrier.
  uint64_t epoch;
  uint64_t queue_bind;
  uint64_t barrier_bind;
  uint64_t done_epoch;  // commands of lower epochs are complete
  // Binds: what those submitted follow, and the moves recorded.
  tegi_clock bind_clock;
  tegi_bind_move* moves;
  size_t move_count;
  size_t move_capacity;
  uint64_t report_count;
  char first_text[TEGI_HAZARD_TEXT_BYTES];
};

typedef struct tegi_name_text {
  char text[128];
} tegi_name_text;

// "stream 1 batch 3 (copy)"
tegi_name_text tegi_hazard_command_name(const tegi_hazard_command* command);

// Counts a finding, and keeps it for the batch of |stream| with that serial
// (NULL = none). Returns TEG_HAZARD.
teg_result tegi_hazard_report(tegi_hazard* hazard, tegi_hazard_stream* stream,
                              uint64_t serial, teg_error* err,
                              const char* format, ...) TEGI_PRINTF(5, 6);

// The first span of |command| that meets |bytes| and, with |only_written|,
// writes it. NULL if there is none.
const tegi_span_record* tegi_hazard_span_on(const tegi_hazard_command* command,
                                            const tegi_piece* bytes,
                                            bool only_written);
// The first unfinished command that touches |bytes|.
tegi_hazard_command* tegi_hazard_pending_on(const tegi_hazard* hazard,
                                            const tegi_piece* bytes,
                                            bool only_written,
                                            bool only_recorded);

// ---- check_tiles.c: what is mapped where.

// The moves recorded go with batch |serial| of the stream of binds, which
// follows what |clock| says: reports commands that it overtakes.
void tegi_hazard_moves_submit(tegi_hazard* hazard, uint64_t serial,
                              const tegi_clock* clock);
void tegi_hazard_moves_discard(tegi_hazard* hazard);

#endif  // TEGULA_BACKEND_CHECK_PARTS_H
