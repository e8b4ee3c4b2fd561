// SPDX-License-Identifier: Apache-2.0
//
// Traces: the recorded memory requests of a program. A reader turns a file of
// any supported format into a stream of events and checks it on the way; a
// writer turns events into a file. Both are stand-alone objects owned by who
// opened them, hold no device, and are used by one thread at a time.
//
//   file.tgt .csv .csv.gz .csv.zst          file.tgt .csv[.gz|.zst] .json
//        |                                        ^
//        v                                        |
//   teg_trace_reader --> teg_trace_event ... --> teg_trace_writer
//        open  next_many  close             open  append  finish  close
//
// Formats read (found by content, never by name): tegula's own (.tgt, see
// docs/trace-format.md), RMM's CSV log, interval CSV. Either CSV may be
// compressed with gzip or zstd. Formats written: the own one, RMM's CSV, and a
// Chrome/Perfetto JSON timeline.
#ifndef TEGULA_TRACE_H
#define TEGULA_TRACE_H

#include "tegula/result.h"

#ifdef __cplusplus
extern "C" {
#endif

// ---------------------------------------------------------------------------
// Events

typedef enum teg_trace_kind {
  TEG_TRACE_ALLOCATE = 1,   // buffer |id| of |size| bytes begins
  TEG_TRACE_FREE = 2,       // buffer |id| ends
  TEG_TRACE_LOAD_END = 3,   // mark: all weights are in
  TEG_TRACE_RUN_BEGIN = 4,  // mark: one inference begins
  TEG_TRACE_RUN_END = 5,    // mark: it ended
} teg_trace_kind;

typedef uint32_t teg_trace_event_flags;
enum {
  TEG_TRACE_EVENT_NONE = 0,
  // The request asked for a device buffer of its own.
  TEG_TRACE_EVENT_DEDICATED = 1u << 0,
};

// One event. A reader fills every field and promises:
//   - ALLOCATE: |id| is above every id before it, so ids are never reused;
//     0 < |size| < 2^62; the bytes live at once stay below 2^62;
//   - FREE: |id| is live; |size|, |tag| and |lifetime| repeat the allocation's;
//     |flags| is 0;
//   - marks: |id|, |size|, |tag|, |lifetime| and |flags| are 0.
// Times may step back a little where several threads logged.
// Proved by test_trace_reader, test_trace_rmm and test_trace_corrupt.
typedef struct teg_trace_event {
  uint64_t time_ns;  // from the start of the recording
  uint64_t id;       // number of the buffer, > 0; 0 for a mark
  uint64_t size;     // bytes asked for
  uint32_t stream;   // number of the stream that asked; 0 = the default one
  uint32_t thread;   // number of the host thread that asked
  uint32_t tag;      // text of teg_trace_reader_tag(); 0 = none
  uint16_t flags;    // teg_trace_event_flags
  uint8_t kind;      // teg_trace_kind
  uint8_t lifetime;  // TEG_LIFETIME_...; 0 = the trace does not say
} teg_trace_event;

typedef enum teg_trace_format {
  TEG_TRACE_FORMAT_UNKNOWN = 0,
  TEG_TRACE_FORMAT_TGT = 1,           // tegula's own
  TEG_TRACE_FORMAT_RMM_CSV = 2,       // Thread,Time,Action,Pointer,Size,Stream
  TEG_TRACE_FORMAT_INTERVAL_CSV = 3,  // id,lower,upper,size; read only
  TEG_TRACE_FORMAT_CHROME_JSON = 4,   // write only
} teg_trace_format;

// "tgt", "rmm-csv", "interval-csv", "chrome-json"; "unknown" for the rest.
// Never NULL; static storage. Threads: any.
TEG_API const char* teg_trace_format_name(teg_trace_format format);

// "allocate", "free", "load_end", "run_begin", "run_end"; "unknown" for the
// rest. Never NULL; static storage. Threads: any.
TEG_API const char* teg_trace_kind_name(uint32_t kind);

// The format that a file called |path| is written in (.tgt, .csv, .json, the
// last two also with .gz or .zst); TEG_TRACE_FORMAT_UNKNOWN for other names.
// Threads: any.
TEG_API teg_trace_format teg_trace_format_of_path(const char* path);

// ---------------------------------------------------------------------------
// Reader

typedef struct teg_trace_reader teg_trace_reader;

typedef struct teg_trace_reader_params {
  uint32_t struct_size;  // sizeof(teg_trace_reader_params)
  uint32_t reserved;     // 0
  // Most buffers live at once, and most rows of an interval CSV, before the
  // file is refused with TEG_LIMIT: it bounds the host memory that a file can
  // make the reader use (about 64 bytes each). 0 = 16,777,216.
  uint64_t max_live_count;
  teg_allocator allocator;  // all-zero = malloc
} teg_trace_reader_params;

#define TEG_TRACE_READER_PARAMS_INIT             \
  {                                              \
    sizeof(teg_trace_reader_params), 0, 0, { 0 } \
  }

// Where bytes come from when they are not in a file.
//   read   puts up to |capacity| (> 0) bytes at |buffer| and their number in
//          |out_size|; 0 bytes with TEG_OK is the end, and it is not called
//          again. Any other result makes the reader fail with it; |err| is
//          never NULL and may be filled.
//   close  NULL, or called once, after the last read: when the reader is
//          closed or opening it failed, except with TEG_INVALID
typedef struct teg_trace_source {
  teg_result (*read)(void* user, void* buffer, size_t capacity,
                     size_t* out_size, teg_error* err);
  void (*close)(void* user);
  void* user;
} teg_trace_source;

// Opens the trace at |path| and looks at its first bytes.
//   params      NULL = defaults
//   out_reader  set only on TEG_OK, NULL otherwise; give back with
//               teg_trace_reader_close()
// Returns TEG_INVALID (argument), TEG_IO (cannot be opened or read),
//         TEG_TRUNCATED (empty, or ends inside its header), TEG_CORRUPT (not a
//         trace: the message says what was expected), TEG_BAD_VERSION,
//         TEG_UNSUPPORTED (a Python pickle such as a PyTorch memory snapshot:
//         tools/pytorch_snapshot.py turns it into RMM's CSV),
//         TEG_OUT_OF_HOST_MEMORY
// Threads: any. May block: on the file. Since 0.1
TEG_API TEG_NODISCARD teg_result
teg_trace_reader_open(const char* path, const teg_trace_reader_params* params,
                      teg_trace_reader** out_reader, teg_error* err);

// As above, over |size| bytes at |data|, which must outlive the reader.
// Since 0.1
TEG_API TEG_NODISCARD teg_result teg_trace_reader_open_memory(
    const void* data, size_t size, const teg_trace_reader_params* params,
    teg_trace_reader** out_reader, teg_error* err);

// As above, over bytes that |source| gives; it is copied, its |user| must
// outlive the reader.
//   name  what messages call it; NULL = "trace"
// Since 0.1
TEG_API TEG_NODISCARD teg_result
teg_trace_reader_open_source(const teg_trace_source* source, const char* name,
                             const teg_trace_reader_params* params,
                             teg_trace_reader** out_reader, teg_error* err);

// Reads the next event.
//   out_event  zeroed unless TEG_OK
// Returns TEG_END after the last event of a complete file, and again after
//         that; TEG_CORRUPT (message names the line or the block, byte and
//         event, and the thing), TEG_TRUNCATED, TEG_BAD_VERSION, TEG_LIMIT
//         (max_live_count), TEG_IO, TEG_OUT_OF_HOST_MEMORY. A failed reader
//         stays failed and repeats its error.
// Threads: one at a time. May block: on the file. Since 0.1
TEG_API TEG_NODISCARD teg_result teg_trace_reader_next(
    teg_trace_reader* reader, teg_trace_event* out_event, teg_error* err);

// Reads up to |capacity| (> 0) events; faster than one by one.
//   out_count  events put at |out_events|; > 0 on TEG_OK, else 0. It may be
//              below |capacity| before the end. Events that come before a
//              broken place are given first, the error with the next call.
// Returns as teg_trace_reader_next(). Since 0.1
TEG_API TEG_NODISCARD teg_result teg_trace_reader_next_many(
    teg_trace_reader* reader, size_t capacity, teg_trace_event* out_events,
    size_t* out_count, teg_error* err);

// What is known of a trace while it is read.
typedef struct teg_trace_reader_info {
  teg_trace_format format;
  uint32_t version;        // of the own format; 0 for the others
  const char* name;        // from the file, else the file name up to its first
                           // dot, else ""; lives as long as the reader
  const char* source;      // free text from the file; "" if none
  uint64_t event_count;    // events given out so far
  uint64_t skipped_count;  // lines passed over: RMM's failed allocations
  uint64_t byte_count;     // bytes taken from the file so far
  uint64_t total_bytes;    // of the file; 0 = not known
  uint64_t live_count;     // buffers live after the last event given out
  uint64_t live_bytes;
  uint32_t tag_count;  // tags known so far, without number 0
} teg_trace_reader_info;

// Fills |out_info|. Threads: one at a time. Since 0.1
TEG_API void teg_trace_reader_info_get(const teg_trace_reader* reader,
                                       teg_trace_reader_info* out_info);

// The text of tag number |tag| of the events given out so far; "" for 0 and
// for numbers that the file has not named. Never NULL; lives as long as the
// reader. Threads: one at a time. Since 0.1
TEG_API const char* teg_trace_reader_tag(const teg_trace_reader* reader,
                                         uint32_t tag);

// Gives the reader and its file back. NULL is fine. Since 0.1
TEG_API void teg_trace_reader_close(teg_trace_reader* reader);

// ---------------------------------------------------------------------------
// Writer

typedef struct teg_trace_writer teg_trace_writer;

typedef struct teg_trace_writer_params {
  uint32_t struct_size;        // sizeof(teg_trace_writer_params)
  uint32_t reserved;           // 0
  teg_trace_format format;     // UNKNOWN = by the path's extension
  int32_t compression_level;   // zstd 1..19, gzip up to 9; 0 = 19 for .tgt,
                               // 6 for the others
  uint32_t block_event_count;  // .tgt: events a block, 1..65536; 0 = 65536
  uint32_t reserved2;          // 0
  const char* name;            // .tgt: at most 255 bytes; NULL = ""
  const char* source;          // .tgt: at most 4095 bytes; NULL = ""
  teg_allocator allocator;     // all-zero = malloc
} teg_trace_writer_params;

#define TEG_TRACE_WRITER_PARAMS_INIT                                       \
  {                                                                        \
    sizeof(teg_trace_writer_params), 0, TEG_TRACE_FORMAT_UNKNOWN, 0, 0, 0, \
        NULL, NULL, {                                                      \
      0                                                                    \
    }                                                                      \
  }

// Where bytes go when it is not a file. |write| takes all |size| bytes or
// fails; |err| is never NULL.
typedef struct teg_trace_sink {
  teg_result (*write)(void* user, const void* data, size_t size,
                      teg_error* err);
  void* user;
} teg_trace_sink;

// Begins the trace that will be at |path|. The bytes go to a temporary file
// beside it, which teg_trace_writer_finish() renames: until then whatever is
// at |path| stays, and a failure leaves nothing behind. A path that is no
// regular file (a pipe, /dev/stdout) is written directly.
//   params      NULL = defaults; strings are copied
//   out_writer  set only on TEG_OK, NULL otherwise; give back with
//               teg_trace_writer_close()
// Returns TEG_INVALID (argument, a path whose extension names no format),
//         TEG_UNSUPPORTED (a format that is only read), TEG_IO, TEG_NO_SPACE,
//         TEG_OUT_OF_HOST_MEMORY
// Threads: any. May block: on the file. Since 0.1
TEG_API TEG_NODISCARD teg_result
teg_trace_writer_open(const char* path, const teg_trace_writer_params* params,
                      teg_trace_writer** out_writer, teg_error* err);

// As above, into |sink|, which is copied; its |user| must outlive the writer.
// |params|->format must be given. Since 0.1
TEG_API TEG_NODISCARD teg_result teg_trace_writer_open_sink(
    const teg_trace_sink* sink, const teg_trace_writer_params* params,
    teg_trace_writer** out_writer, teg_error* err);

// Gives |text| a number for teg_trace_event.tag. The same text twice gives two
// numbers; numbers are 1, 2, 3 ... Formats without tags take and drop it.
//   text  1 to 255 bytes
// Returns TEG_INVALID, TEG_LIMIT (65,535 tags), TEG_OUT_OF_HOST_MEMORY.
// Since 0.1
TEG_API TEG_NODISCARD teg_result
teg_trace_writer_add_tag(teg_trace_writer* writer, const char* text,
                         uint32_t* out_tag, teg_error* err);

// Appends one event. It must keep the promises of teg_trace_event, but the
// size of a FREE may be 0 and its tag and lifetime are ignored.
// Returns TEG_INVALID (the event breaks a promise: nothing is written and the
//         writer goes on), TEG_NO_SPACE, TEG_IO, TEG_OUT_OF_HOST_MEMORY (the
//         writer has failed: every later call repeats the error).
// Threads: one at a time. May block: on the file. Since 0.1
TEG_API TEG_NODISCARD teg_result teg_trace_writer_append(
    teg_trace_writer* writer, const teg_trace_event* event, teg_error* err);

// Writes what is left and the footer, flushes to storage, and puts the file
// at its path. Call it once; then only teg_trace_writer_close() is allowed.
// Returns TEG_NO_SPACE, TEG_IO, TEG_OUT_OF_HOST_MEMORY, TEG_BAD_STATE (called
//         twice). On failure nothing is at the path that was not there before.
// Since 0.1
TEG_API TEG_NODISCARD teg_result
teg_trace_writer_finish(teg_trace_writer* writer, teg_error* err);

// Gives the writer back; without a successful teg_trace_writer_finish() the
// unfinished file is removed. NULL is fine. Since 0.1
TEG_API void teg_trace_writer_close(teg_trace_writer* writer);

// ---------------------------------------------------------------------------
// Whole traces

// Appends every event that |reader| still has to |writer|, tags included.
// Does not finish the writer. Tags added to |writer| before stay.
// Returns TEG_OK at the reader's end, or the first error of either.
// Since 0.1
TEG_API TEG_NODISCARD teg_result teg_trace_copy(teg_trace_reader* reader,
                                                teg_trace_writer* writer,
                                                teg_error* err);

typedef struct teg_trace_summary {
  uint64_t event_count;  // marks included
  uint64_t allocate_count;
  uint64_t free_count;
  uint64_t run_count;       // RUN_BEGIN marks
  uint64_t load_end_count;  // 0 = the trace does not tell weights apart
  uint64_t distinct_size_count;
  uint64_t largest_size;
  uint64_t allocated_bytes;  // over all allocations; sticks at 2^64 - 1
  uint64_t weight_count;     // live at the first LOAD_END
  uint64_t weight_bytes;
  uint64_t peak_live_bytes;
  uint64_t peak_live_count;   // most buffers at once, at whatever time
  uint64_t peak_event_index;  // of the event that first reached peak_live_bytes
  uint64_t peak_time_ns;
  uint64_t end_live_count;  // never freed
  uint64_t end_live_bytes;
  uint64_t first_time_ns;
  uint64_t duration_ns;   // latest time minus earliest
  uint32_t stream_count;  // distinct
  uint32_t thread_count;  // distinct
} teg_trace_summary;

// Reads |reader| to its end and sums it up.
//   out_summary  zeroed unless TEG_OK
// Returns TEG_OK, or the reader's error. Since 0.1
TEG_API TEG_NODISCARD teg_result teg_trace_summarize(
    teg_trace_reader* reader, teg_trace_summary* out_summary, teg_error* err);

#ifdef __cplusplus
}
#endif

#endif  // TEGULA_TRACE_H
