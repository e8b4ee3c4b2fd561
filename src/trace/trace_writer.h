// SPDX-License-Identifier: Apache-2.0
//
// Inside of the writer: what its front door (trace_writer.c) shares with the
// encoders, one per format. The front door checks every event against what is
// live and hands complete events to the encoder.
#ifndef TEGULA_TRACE_TRACE_WRITER_H
#define TEGULA_TRACE_TRACE_WRITER_H

#include "base/checked.h"
#include "base/error.h"
#include "trace/trace_map.h"
#include "trace/trace_output.h"

// A format's encoder.
//   open    writes what comes first. May leave |state| for close when it fails
//   append  an event that is complete and checked; live_bytes and last_id are
//           already those after it
//   finish  writes what comes last
//   close   |state| may be NULL or half-built
typedef struct tegi_trace_encoder_ops {
  teg_result (*open)(teg_trace_writer* writer, teg_error* err);
  teg_result (*append)(teg_trace_writer* writer, const teg_trace_event* event,
                       teg_error* err);
  teg_result (*finish)(teg_trace_writer* writer, teg_error* err);
  void (*close)(teg_trace_writer* writer);
} tegi_trace_encoder_ops;

extern const tegi_trace_encoder_ops tegi_trace_tgt_encoder;
extern const tegi_trace_encoder_ops tegi_trace_rmm_encoder;
extern const tegi_trace_encoder_ops tegi_trace_chrome_encoder;

struct teg_trace_writer {
  tegi_host host;
  teg_trace_format format;
  int level;  // 0 = the format's default
  uint32_t block_event_count;
  char* name;
  char* source;
  tegi_trace_output output;
  const tegi_trace_encoder_ops* encoder;
  void* state;  // the encoder's
  tegi_trace_map live;
  uint64_t live_bytes;
  uint64_t last_id;
  uint64_t event_count;
  uint64_t allocate_count, free_count;
  char** tags;  // tags[i] is the text of tag i + 1
  size_t tag_count, tag_capacity;
  bool is_finished;
  teg_error failure;  // result != TEG_OK: what every further call returns
};

teg_result tegi_trace_writer_no_memory(teg_trace_writer* writer,
                                       teg_error* err);

#endif  // TEGULA_TRACE_TRACE_WRITER_H
