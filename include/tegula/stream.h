// SPDX-License-Identifier: Apache-2.0
//
// A stream: an ordered list of commands on one device queue. Commands are
// recorded into a batch; a batch is submitted as a whole and later completes.
// Batches are numbered 1, 2, 3 ... by their serial. A stream belongs to its
// session, touches buffers of that session only, and is used by one thread at
// a time.
//
//   fill, copy, call   go into the batch being recorded
//   submit             hands it to the queue; returns at once
//   wait               blocks until a submitted batch is complete
#ifndef TEGULA_STREAM_H
#define TEGULA_STREAM_H

#include "tegula/backend.h"
#include "tegula/buffer.h"

#ifdef __cplusplus
extern "C" {
#endif

TEG_API TEG_NODISCARD teg_result teg_stream_create(teg_session* session,
                                                   teg_stream** out_stream,
                                                   teg_error* err);
// Waits for submitted work; recorded commands are dropped. Buffers that are at
// home on it move to the session's first stream. NULL is fine. The first
// stream itself is not destroyed this way.
TEG_API void teg_stream_destroy(teg_stream* stream);

// Serials: of the batch being recorded, of the last one submitted and of the
// last one known to be complete. Threads: any.
TEG_API uint64_t teg_stream_recording(const teg_stream* stream);
TEG_API uint64_t teg_stream_submitted(const teg_stream* stream);
TEG_API uint64_t teg_stream_completed(teg_stream* stream);

// Fills |size| bytes at |offset| with a repeated 32-bit pattern.
// Returns TEG_INVALID for bytes outside of the buffer.
TEG_API TEG_NODISCARD teg_result teg_stream_fill(teg_stream* stream,
                                                 teg_buffer* target,
                                                 uint64_t offset, uint64_t size,
                                                 uint32_t pattern,
                                                 teg_error* err);

// Copies bytes between buffers; ranges of one buffer must not overlap.
TEG_API TEG_NODISCARD teg_result teg_stream_copy(
    teg_stream* stream, teg_buffer* target, uint64_t target_offset,
    teg_buffer* source, uint64_t source_offset, uint64_t size, teg_error* err);

// Writes |size| bytes of the program's memory to the buffer, in their place in
// the stream: commands recorded before see the old bytes, commands recorded
// after the new ones. |data| is the program's again when this returns.
// Where nothing can touch the bytes any more, and they have a host pointer,
// they are stored directly; else they are copied by a command from a staging
// ring of at most ring_max bytes, which is waited for when it is full.
// Returns TEG_INVALID for bytes outside of the buffer, TEG_UNSUPPORTED where
// the device has no host pointers at all, or as a wait does.
// May block: when the ring is full. May submit the stream: then as well.
TEG_API TEG_NODISCARD teg_result
teg_stream_write(teg_stream* stream, teg_buffer* target, uint64_t offset,
                 const void* data, uint64_t size, teg_error* err);

// Reads |size| bytes of the buffer, as they are after everything recorded on
// the stream so far: submits, waits, copies. If one of those batches failed,
// its error is returned and |data| is not touched.
TEG_API TEG_NODISCARD teg_result teg_stream_read(teg_stream* stream,
                                                 teg_buffer* source,
                                                 uint64_t offset, void* data,
                                                 uint64_t size, teg_error* err);

typedef struct teg_argument {
  teg_buffer* buffer;
  uint64_t offset;
  uint64_t size;  // 0 = to the end of the buffer
  bool is_read;
  bool is_written;
} teg_argument;

// Runs a C function on the bytes when the batch executes; |user| must live
// until then. Only on devices whose memory has host pointers.
// Bytes bound for reading and for writing must not overlap: TEG_INVALID,
// naming both.
TEG_API TEG_NODISCARD teg_result teg_stream_call(
    teg_stream* stream, teg_host_kernel kernel, void* user,
    const teg_argument* arguments, uint32_t argument_count, teg_error* err);

// Submits the batch. An empty batch is submitted too: its serial counts.
//   out_serial  may be NULL
TEG_API TEG_NODISCARD teg_result teg_stream_submit(teg_stream* stream,
                                                   uint64_t* out_serial,
                                                   teg_error* err);

// Drops what is recorded and not submitted; what it would have used is given
// back. Its serial is that of an empty batch, which is submitted.
TEG_API TEG_NODISCARD teg_result teg_stream_discard(teg_stream* stream,
                                                    teg_error* err);

// Blocks until batch |serial| is complete; reports the first error a batch
// has kept, once. Waiting for a batch that is not submitted is TEG_BAD_STATE.
TEG_API TEG_NODISCARD teg_result teg_stream_wait(teg_stream* stream,
                                                 uint64_t serial,
                                                 teg_error* err);

// What is recorded on |stream| from here on runs after batch |serial| of
// |other|, which must be submitted (TEG_BAD_STATE otherwise).
TEG_API TEG_NODISCARD teg_result teg_stream_wait_for(teg_stream* stream,
                                                     teg_stream* other,
                                                     uint64_t serial,
                                                     teg_error* err);

#ifdef __cplusplus
}
#endif

#endif  // TEGULA_STREAM_H
