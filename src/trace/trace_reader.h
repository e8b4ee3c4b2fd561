// SPDX-License-Identifier: Apache-2.0
//
// Inside of the reader: what its front door (trace_reader.c) shares with the
// decoders, one per format. A decoder finds the next raw event; the front
// door keeps the table of live buffers and checks every event against it.
#ifndef TEGULA_TRACE_TRACE_READER_H
#define TEGULA_TRACE_TRACE_READER_H

#include "base/checked.h"
#include "base/error.h"
#include "trace/trace_input.h"
#include "trace/trace_map.h"

enum { TEGI_TRACE_PLACE_SIZE = 96 };

// A format's decoder.
//   open   after the format was recognised; nothing is consumed yet. May leave
//          |state| for close even when it fails.
//   next   fills |event|, which is zeroed; TEG_END when the file is complete
//   place  where the last event stood, for messages: "line 7"
//   close  |state| may be NULL or half-built
typedef struct tegi_trace_decoder_ops {
  teg_result (*open)(teg_trace_reader* reader, teg_error* err);
  teg_result (*next)(teg_trace_reader* reader, teg_trace_event* event,
                     teg_error* err);
  void (*place)(const teg_trace_reader* reader,
                char out_text[TEGI_TRACE_PLACE_SIZE]);
  void (*close)(teg_trace_reader* reader);
} tegi_trace_decoder_ops;

extern const tegi_trace_decoder_ops tegi_trace_tgt_decoder;
extern const tegi_trace_decoder_ops tegi_trace_rmm_decoder;
extern const tegi_trace_decoder_ops tegi_trace_interval_decoder;

struct teg_trace_reader {
  tegi_host host;
  uint64_t max_live_count;
  char* path;  // also what messages call the trace
  char* name;
  char* source;
  tegi_trace_input input;
  teg_trace_format format;
  uint32_t version;
  const tegi_trace_decoder_ops* decoder;
  void* state;          // the decoder's
  tegi_trace_map live;  // keyed as the decoder likes: id or address
  uint64_t live_bytes;
  uint64_t last_id;  // highest id given out
  uint64_t event_count;
  uint64_t skipped_count;
  char** tags;  // tags[i] is the text of tag i + 1
  size_t tag_count, tag_capacity;
  teg_error failure;  // result != TEG_OK: what every further call returns
};

// Completes an ALLOCATE of |event|->size bytes known to the file as |key|;
// |event|->id is set and above last_id.
teg_result tegi_trace_reader_allocate(teg_trace_reader* reader, uint64_t key,
                                      const teg_trace_event* event,
                                      teg_error* err);

// Completes a FREE of what the file knows as |key|. |event|->size 0 means that
// the file does not say; otherwise it must be what was allocated.
teg_result tegi_trace_reader_free(teg_trace_reader* reader, uint64_t key,
                                  teg_trace_event* event, teg_error* err);

// TEG_CORRUPT with the place of the last event: "NAME: PLACE: ...".
teg_result tegi_trace_reader_corrupt(teg_trace_reader* reader, teg_error* err,
                                     const char* format, ...) TEGI_PRINTF(3, 4);

teg_result tegi_trace_reader_no_memory(teg_trace_reader* reader,
                                       teg_error* err);

// Adds a tag of |size| bytes at |text|.
teg_result tegi_trace_reader_add_tag(teg_trace_reader* reader, const char* text,
                                     size_t size, teg_error* err);

#endif  // TEGULA_TRACE_TRACE_READER_H
